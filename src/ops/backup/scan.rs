//! What the scanning threads find out about a directory: what is unchanged since the last backup, what is to be read, and
//! everything else.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cache::file_cache::{FileCacheReader, SeenDirectory, SeenFile};
use crate::format::tree::{Metadata, Node, NodeKind};
use crate::primitives::ids::SnapshotId;
use crate::primitives::progress::{Change, Observer};
use crate::repository::Repository;
use crate::source::{
    Directory, Entry, Event, ExcludeRules, FileKind, Listing, OwnerNames, Problem, Stat, WalkOptions, read_link,
    read_metadata, walk,
};

use super::Stop;
use super::compare::{Compare, RowKey, Unchanged, compare_with_seen};
use super::file::name_of;

/// What a directory holds, compared with what the last backup saw of it.
pub(super) struct DirectoryDiff {
    /// What the clock said before its entries were looked at.
    pub read_ms: i64,
    /// Its own metadata.
    pub meta: Metadata,
    /// What went wrong.
    pub problems: Vec<Problem>,
    /// Per entry, in their order.
    pub entries: Vec<EntryState>,
    /// Whether the file cache has exactly these files already.
    pub unchanged: bool,
}

/// What is to become of an entry.
pub(super) enum EntryState {
    /// A directory, visited on its own.
    Directory,
    /// As the file cache has it.
    Unchanged(SeenFile),
    /// With the content that the file cache has.
    SameContent(SeenFile),
    /// A regular file to read.
    Read(Change),
    /// Anything else, complete.
    Other(Node),
    /// Gone or unreadable; the problem is told.
    Lost,
}

/// What a source that is a single entry is, compared with what the last backup saw of it.
pub(super) struct SingleEntry {
    /// The directory that holds it.
    pub parent: Directory,
    /// Its name there.
    pub name: Vec<u8>,
    /// Its stat.
    pub stat: Stat,
    /// What is to become of it.
    pub state: EntryState,
    /// What went wrong.
    pub problems: Vec<Problem>,
}

/// How entries are compared with what the last backup saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScanOptions {
    /// What an unchanged file has in common with what was seen.
    pub compare: Compare,
    /// Whether it is known which files the last backup had. If not, no file is called new.
    pub knows_last: bool,
}

/// Compares what is there with what the last backup saw. Scanning threads share it.
pub(super) struct Scanner {
    repository: Arc<Repository>,
    owners: Arc<OwnerNames>,
    seen: Option<FileCacheReader>,
    options: ScanOptions,
}

impl Scanner {
    /// Of one source; `seen` is what its last backup saw.
    pub(super) fn new(repository: &Arc<Repository>, seen: Option<FileCacheReader>, options: ScanOptions) -> Self {
        let owners = Arc::new(OwnerNames::from_system());
        Self { repository: repository.clone(), owners, seen, options }
    }

    /// Names of owners, looked up once.
    pub(super) fn owners(&self) -> &Arc<OwnerNames> {
        &self.owners
    }

    /// The snapshot that belongs to what the last backup saw.
    pub(super) fn last(&self) -> Option<SnapshotId> {
        self.seen.as_ref().map(|s| s.snapshot)
    }

    fn row(&self, key: &[u8]) -> Option<SeenDirectory> {
        self.seen.as_ref().and_then(|s| s.directory(self.repository.cache(), key))
    }

    /// What became of a file that is to be read.
    fn change(&self, known: bool) -> Change {
        match (known, self.options.knows_last) {
            (true, _) => Change::Modified,
            (false, true) => Change::New,
            (false, false) => Change::Read,
        }
    }

    /// Compares a directory with the file cache, and reads of it what is not file content.
    pub(super) fn directory(&self, key: &RowKey, listing: &Listing) -> DirectoryDiff {
        let row = self.row(&key.of(listing));
        let read_ms = self.repository.system.now_ms();
        let mut problems = Vec::new();
        let handle = listing.directory();
        let meta = match &handle {
            Ok(handle) => {
                let (meta, found) = read_metadata(handle, b".", &listing.stat, &self.owners);
                problems.extend(found);
                meta
            }
            Err(_) => Metadata { mode: listing.stat.mode, mtime: listing.stat.mtime, ..Metadata::default() },
        };
        let mut matched = 0;
        let mut entries = Vec::with_capacity(listing.entries.len());
        for entry in &listing.entries {
            let known = row.as_ref().and_then(|r| r.get(&entry.name));
            let directory = handle.as_deref().map_err(|e| io::Error::new(e.kind(), e.to_string()));
            let state = self.entry(entry, known, directory, &mut problems).unwrap_or_else(|e| {
                problems.push(Problem::reading(&listing.path.join(name_of(&entry.name)), &e));
                EntryState::Lost
            });
            matched += usize::from(matches!(state, EntryState::Unchanged(_)));
            entries.push(state);
        }
        let unchanged = row.is_some_and(|r| r.files.len() == matched);
        DirectoryDiff { read_ms, meta, problems, entries, unchanged }
    }

    /// Compares an entry with what was seen of it.
    fn entry(
        &self,
        Entry { name, stat }: &Entry,
        known: Option<&SeenFile>,
        directory: io::Result<&Directory>,
        problems: &mut Vec<Problem>,
    ) -> io::Result<EntryState> {
        if stat.kind == FileKind::Directory {
            return Ok(EntryState::Directory);
        }
        let compared = known.map_or(Unchanged::No, |file| compare_with_seen(file, stat, self.options.compare));
        match (known, compared, directory) {
            (Some(file), Unchanged::All, _) => Ok(EntryState::Unchanged(with_device(file, stat))),
            (Some(file), Unchanged::Content, Ok(directory)) => {
                let (meta, found) = read_metadata(directory, name, stat, &self.owners);
                problems.extend(found);
                let node = Node { meta, ..file.node.clone() };
                let seen = SeenFile { inode: stat.inode, device: stat.device, ctime: stat.ctime, node };
                Ok(EntryState::SameContent(seen))
            }
            _ if stat.kind == FileKind::File => Ok(EntryState::Read(self.change(known.is_some()))),
            (_, _, directory) => {
                let (node, found) = other(directory?, name, stat, &self.owners)?;
                problems.extend(found);
                Ok(EntryState::Other(node))
            }
        }
    }

    /// Compares a source that is a single entry and no directory.
    pub(super) fn single(&self, key: &RowKey, path: &Path) -> io::Result<SingleEntry> {
        let (parent, name) = Directory::open_parent(path)?;
        let stat = parent.stat(&name)?;
        // As the only entry of a directory that is not kept; its row has a name that no directory has.
        let row = self.row(&key.of_single(path));
        let known = row.as_ref().and_then(|r| r.get(&name));
        let mut problems = Vec::new();
        let state = match known.map(|file| (file, compare_with_seen(file, &stat, self.options.compare))) {
            Some((file, Unchanged::All)) => EntryState::Unchanged(with_device(file, &stat)),
            _ if stat.kind == FileKind::File => EntryState::Read(self.change(known.is_some())),
            _ => {
                let (node, found) = other(&parent, &name, &stat, &self.owners)?;
                problems = found;
                EntryState::Other(node)
            }
        };
        Ok(SingleEntry { parent, name, stat, state, problems })
    }
}

/// Device numbers change when a machine boots; links of one file must still agree.
fn with_device(file: &SeenFile, stat: &Stat) -> SeenFile {
    let mut file = file.clone();
    if let Some(link) = &mut file.node.meta.link {
        link.device = stat.device;
    }
    file
}

/// The node of an entry that is neither a directory nor a regular file.
fn other(directory: &Directory, name: &[u8], stat: &Stat, owners: &OwnerNames) -> io::Result<(Node, Vec<Problem>)> {
    let kind = match stat.kind {
        FileKind::Symlink => NodeKind::Symlink(read_link(directory, name)?),
        FileKind::Fifo => NodeKind::Fifo,
        FileKind::CharDevice => NodeKind::CharDevice(stat.rdev_major, stat.rdev_minor),
        FileKind::BlockDevice => NodeKind::BlockDevice(stat.rdev_major, stat.rdev_minor),
        FileKind::Socket => NodeKind::Socket,
        FileKind::File | FileKind::Directory => return Err(rustix::io::Errno::STALE.into()),
    };
    let (meta, problems) = read_metadata(directory, name, stat, owners);
    Ok((Node { name: name.to_vec(), meta, kind }, problems))
}

/// Bytes that an entry counts for in the progress.
pub(super) fn counted_len(stat: &Stat) -> u64 {
    if stat.kind == FileKind::File { stat.size } else { 0 }
}

/// Counts the bytes of all files below the roots, and tells the observer as it goes, until `over` is raised.
///
/// Problems are left to the backup itself, which meets them too.
pub(super) fn count(roots: &[PathBuf], rules: &ExcludeRules, observer: &dyn Observer, over: &AtomicBool) {
    for root in roots {
        // One that is no directory is not walked.
        if !root.is_dir() {
            continue;
        }
        let Ok(rules) = rules.for_root(root) else { return };
        let options = WalkOptions { threads: 1, ..WalkOptions::default() };
        let each = |event| {
            if let Event::Enter(listing, ()) = event {
                let lens = listing.entries.iter().map(|entry| counted_len(&entry.stat));
                observer.grow(lens.fold(0, u64::saturating_add));
            }
            if over.load(Ordering::Relaxed) { Err(Stop::Interrupted) } else { Ok(()) }
        };
        let _ = walk(root, &rules, &options, |_| (), each);
    }
}
