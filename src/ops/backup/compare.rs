//! Comparing a file with what the last backup saw: what is unchanged is not read again.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::cache::file_cache::{FileCacheReader, NEVER, SeenFile};
use crate::format::tree::NodeKind;
use crate::repository::{Repository, RepositoryError};
use crate::source::{FileKind, Listing, Stat};

/// What a file must have in common with what the last backup saw to be taken for unchanged, beside its length and time of
/// modification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compare {
    /// Its time of change, which also a new name, owner or mode sets.
    pub ctime: bool,
    /// Its inode number, which some network and union file systems give anew.
    pub inode: bool,
}

impl Default for Compare {
    fn default() -> Self {
        Self { ctime: true, inode: true }
    }
}

/// How a file compares with what the last backup saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unchanged {
    /// It is read.
    No,
    /// Its content; its attributes may differ.
    Content,
    /// All of it.
    All,
}

/// What rows of the file cache are called: by the path of a directory, or, for a source with a name of its own that may
/// be mounted elsewhere each night, by the number of the root and the path below it.
#[derive(Debug, Clone, Default)]
pub(super) struct RowKey(pub Option<Vec<u8>>);

impl RowKey {
    /// The row of a directory.
    pub(super) fn of(&self, listing: &Listing) -> Vec<u8> {
        match &self.0 {
            None => listing.path.as_os_str().as_bytes().to_vec(),
            Some(root) => [root, &b"/"[..], listing.below.as_os_str().as_bytes()].concat(),
        }
    }

    /// What rows are called below a path that is walked by itself: as if it were walked with the rest.
    pub(super) fn below(&self, path: &Path) -> Self {
        Self(self.0.as_ref().map(|root| [root, &b"/"[..], path.as_os_str().as_bytes()].concat()))
    }

    /// The row of a source that is a single entry: no directory is called so.
    pub(super) fn of_single(&self, path: &Path) -> Vec<u8> {
        match &self.0 {
            None => path.join(".").as_os_str().as_bytes().to_vec(),
            Some(root) => [root, &b"/."[..]].concat(),
        }
    }
}

/// Whether a file is as it was seen: kind, size, times and inode.
pub(super) fn compare_with_seen(file: &SeenFile, stat: &Stat, compare: Compare) -> Unchanged {
    let kind = match &file.node.kind {
        NodeKind::File(f) => stat.kind == FileKind::File && f.size == stat.size,
        NodeKind::Symlink(_) => stat.kind == FileKind::Symlink,
        NodeKind::Fifo => stat.kind == FileKind::Fifo,
        NodeKind::CharDevice(..) => stat.kind == FileKind::CharDevice,
        NodeKind::BlockDevice(..) => stat.kind == FileKind::BlockDevice,
        NodeKind::Socket => stat.kind == FileKind::Socket,
        NodeKind::Directory(_) => false,
    };
    let same_links = (stat.nlink > 1) == file.node.meta.link.is_some();
    let same_inode = file.inode == stat.inode;
    if !kind || file.ctime == NEVER || file.node.meta.mtime != stat.mtime || (compare.inode && !same_inode) {
        return Unchanged::No;
    }
    match file.ctime == stat.ctime && same_links && same_inode {
        true => Unchanged::All,
        false if compare.ctime && (file.ctime != stat.ctime || !same_links) => Unchanged::No,
        false => Unchanged::Content,
    }
}

/// The file cache of the source, if the snapshot that it belongs to is still one.
pub(super) fn seen_by_last(repository: &Repository, source: &str) -> Result<Option<FileCacheReader>, RepositoryError> {
    let seen = FileCacheReader::open(repository.cache(), source.as_bytes())?;
    let state = repository.state();
    Ok(seen.filter(|s| state.snapshots.get(&s.snapshot).is_some_and(|snapshot| !snapshot.damaged)))
}
