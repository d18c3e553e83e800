//! Names of one file: which entries may become hard links of each other.

use std::collections::HashMap;

use crate::destination::RelativePath;
use crate::format::tree::{FileNode, FileTime, HardLink, Metadata, NodeKind};
use crate::primitives::ids::ContentId;

/// Names that are tried before the content is written anew.
const TRIED_MAX: usize = 8;

/// What two names must have in common to become names of one file.
///
/// The device and inode alone do not say it: an inode that is freed during a backup is used again by another file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LinkKey {
    link: HardLink,
    mtime: FileTime,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum What {
    File(u64, ContentId),
    Symlink(Vec<u8>),
    Fifo,
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
}

impl LinkKey {
    /// The key of an entry that had further names.
    pub(super) fn of(meta: &Metadata, kind: &NodeKind) -> Option<Self> {
        let what = match kind {
            NodeKind::File(FileNode { size, content_id, .. }) => What::File(*size, *content_id),
            NodeKind::Symlink(to) => What::Symlink(to.clone()),
            NodeKind::Fifo => What::Fifo,
            NodeKind::CharDevice(major, minor) => What::CharDevice(*major, *minor),
            NodeKind::BlockDevice(major, minor) => What::BlockDevice(*major, *minor),
            NodeKind::Directory(_) | NodeKind::Socket => return None,
        };
        meta.link.map(|link| Self { link, mtime: meta.mtime, what })
    }
}

/// Entries that are there, as recorded, and may get further names.
#[derive(Debug, Default)]
pub(super) struct Links {
    there: HashMap<LinkKey, Vec<RelativePath>>,
}

impl Links {
    /// Notes an entry that was restored, or kept because it is as recorded.
    pub(super) fn add(&mut self, key: LinkKey, path: RelativePath) {
        self.there.entry(key).or_default().push(path);
    }

    /// The names that a further one may be linked to, the newest first: a file may have been written once for each file
    /// system of the target, or anew because it had as many names as a file can have.
    pub(super) fn of(&self, key: &LinkKey) -> Vec<RelativePath> {
        self.there.get(key).map_or_else(Vec::new, |all| all.iter().rev().take(TRIED_MAX).cloned().collect())
    }
}
