//! Scanning one directory: its names, their stats, what is left out, what went wrong.
//!
//! A child is opened from its parent's handle while that is still open, and from the root by its path otherwise. How
//! many handles stay open is bounded, however wide and deep the tree is.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use walkdir::WalkDir;

use super::directory::{Directory, NameAndInode};
use super::exclude::{Decision, ExcludeRules, Measure};
use super::listing::{Entry, Listing, stat_root};
use super::problem::Problem;
use super::stat::{FileKind, Stat};

/// Handles of parents that are kept for their children at the most; the usual limit of a process is 1024.
const HANDLES_KEPT_MAX: usize = 128;

/// Bytes of names that are read at once.
const NAMES_BUFFER_LEN: usize = 64 << 10;

/// What one scan of a tree has in common.
pub(super) struct Scanner<'a> {
    rules: &'a ExcludeRules,
    /// Absolute path of the root, without a slash at its end.
    root_path: PathBuf,
    root: io::Result<Arc<Directory>>,
    root_stat: Stat,
    handles_kept: Arc<AtomicUsize>,
}

/// A directory to be scanned.
pub(super) enum Job {
    Root,
    Child(Arc<Parent>, Entry),
}

/// What the children of a directory need to be opened.
pub(super) struct Parent {
    below: PathBuf,
    handle: Option<KeptHandle>,
}

struct KeptHandle {
    directory: Arc<Directory>,
    kept: Arc<AtomicUsize>,
}

impl Drop for KeptHandle {
    fn drop(&mut self) {
        self.kept.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<'a> Scanner<'a> {
    pub(super) fn new(root: &Path, rules: &'a ExcludeRules) -> Self {
        let root_path = absolute_without_slash(root);
        let opened = Directory::open(root).and_then(|dir| {
            let stat = dir.stat(b".")?;
            // Paths are shown and joined from the absolute one; the handle is what was opened as the user said.
            Ok((Arc::new(dir.at_path(root_path.clone())), stat))
        });
        let (root, root_stat) = match opened {
            Ok((dir, stat)) => (Ok(dir), stat),
            Err(error) => {
                let unknown = Stat { kind: FileKind::Directory, ..Stat::default() };
                (Err(error), stat_root(root).unwrap_or(unknown))
            }
        };
        Self { rules, root_path, root, root_stat, handles_kept: Arc::default() }
    }

    pub(super) fn buffer() -> Vec<u8> {
        Vec::with_capacity(NAMES_BUFFER_LEN)
    }

    /// Scans the directory of `job`. While `annotate` runs, the listing holds the open handle.
    pub(super) fn scan<T>(
        &self,
        job: &Job,
        buffer: &mut Vec<u8>,
        annotate: impl FnOnce(&Listing) -> T,
    ) -> (Listing, T, Option<Arc<Parent>>) {
        let mut listing = self.list(job, buffer);
        let note = annotate(&listing);
        let directory = listing.held.take();
        let has_children = listing.entries.iter().any(|e| e.stat.kind == FileKind::Directory);
        let parent = has_children.then(|| {
            let handle = directory.and_then(|directory| self.keep(directory));
            Arc::new(Parent { below: listing.below.clone(), handle })
        });
        (listing, note, parent)
    }

    fn keep(&self, directory: Arc<Directory>) -> Option<KeptHandle> {
        let kept = &self.handles_kept;
        let more = |n: usize| (n < HANDLES_KEPT_MAX).then_some(n + 1);
        kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(KeptHandle { directory, kept: Arc::clone(kept) })
    }

    fn list(&self, job: &Job, buffer: &mut Vec<u8>) -> Listing {
        let (below, known) = match job {
            Job::Root => (PathBuf::new(), self.root_stat),
            Job::Child(parent, entry) => (parent.below.join(OsStr::from_bytes(&entry.name)), entry.stat),
        };
        let path = if below.as_os_str().is_empty() { self.root_path.clone() } else { self.root_path.join(&below) };
        let root = self.root.as_ref().ok().map(Arc::clone);
        let mut listing =
            Listing { path, below, stat: known, entries: Vec::new(), problems: Vec::new(), held: None, root };
        if self.rules.one_file_system() && known.device != self.root_stat.device {
            self.rules.leave_mount_point();
            return listing;
        }
        // The stat is read before the names: a change in between makes the directory look new next time, never old.
        let opened = self.open(job, &listing.below).and_then(|dir| Ok((dir.stat(b".")?, dir)));
        match opened {
            Ok((stat, dir)) => {
                listing.stat = stat;
                self.fill(&mut listing, &dir, buffer);
                listing.held = Some(dir);
            }
            Err(error) => listing.problems.push(Problem::reading(&listing.path, &error)),
        }
        listing
    }

    fn open(&self, job: &Job, below: &Path) -> io::Result<Arc<Directory>> {
        let root = match &self.root {
            Ok(root) => root,
            Err(error) => return Err(same_error(error)),
        };
        match job {
            Job::Root => Ok(Arc::clone(root)),
            Job::Child(parent, entry) => Ok(Arc::new(match &parent.handle {
                Some(handle) => handle.directory.open_child(&entry.name)?,
                None => root.open_below(below)?,
            })),
        }
    }

    fn fill(&self, listing: &mut Listing, dir: &Directory, buffer: &mut Vec<u8>) {
        let (names, error) = dir.names(buffer);
        if let Some(error) = error {
            listing.problems.push(Problem::reading(&listing.path, &error));
        }
        let tag = self.rules.tag_in(dir, |name| names.iter().any(|n| n.name == name));
        self.read_stats(listing, dir, names);
        match tag {
            Some((tag, rule)) => self.leave_all_but(listing, &tag, rule),
            None => self.leave_out(listing, dir),
        }
    }

    fn read_stats(&self, listing: &mut Listing, dir: &Directory, mut names: Vec<NameAndInode>) {
        // By inode number first: where the disk has to seek, it then seeks in one direction.
        names.sort_unstable_by_key(|n| n.inode);
        listing.entries.reserve_exact(names.len());
        for NameAndInode { name, .. } in names {
            match dir.stat(&name) {
                Ok(stat) => listing.entries.push(Entry { name, stat }),
                Err(error) => {
                    listing.problems.push(Problem::reading(&listing.path.join(OsStr::from_bytes(&name)), &error));
                }
            }
        }
        listing.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        listing.problems.sort_by(|a, b| a.path.cmp(&b.path));
    }

    fn leave_all_but(&self, listing: &mut Listing, tag: &[u8], rule: usize) {
        let mut bytes = 0;
        listing.entries.retain(|entry| {
            let keep = entry.name == tag;
            if !keep && entry.stat.kind == FileKind::File {
                bytes += entry.stat.size;
            }
            keep
        });
        self.rules.leave_contents(rule, bytes);
    }

    /// Counts what lies below a directory that is left out.
    fn measure(&self, rule: usize, dir: &Directory, entry: &Entry) {
        let path = dir.path().join(OsStr::from_bytes(&entry.name));
        let (bytes, entries, has_more) = match self.rules.measures(rule) {
            Measure::All => bytes_below(&path, u64::MAX),
            Measure::Entries(_) if entry.stat.device != self.root_stat.device => (0, 0, true),
            Measure::Entries(max) => bytes_below(&path, max),
        };
        self.rules.add_below(rule, bytes, entries, has_more);
    }

    fn leave_out(&self, listing: &mut Listing, dir: &Directory) {
        if self.rules.keeps_all() {
            return;
        }
        let mut path = listing.below.as_os_str().as_bytes().to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        let parent_len = path.len();
        listing.entries.retain(|entry| {
            path.truncate(parent_len);
            path.extend_from_slice(&entry.name);
            let below = Path::new(OsStr::from_bytes(&path));
            if self.rules.is_apart(below) {
                return false;
            }
            match self.rules.decide(below, &entry.stat) {
                Decision::Keep => true,
                Decision::Leave { rule } => {
                    if entry.stat.kind == FileKind::Directory {
                        self.measure(rule, dir, entry);
                    }
                    false
                }
            }
        });
    }
}

/// Bytes of the regular files below a directory that is left out, on its file system, among the first entries; how many
/// entries that were, and whether there are more. What cannot be read is not counted.
fn bytes_below(path: &Path, entries_max: u64) -> (u64, u64, bool) {
    let (mut bytes, mut entries) = (0, 0);
    for found in WalkDir::new(path).min_depth(1).same_file_system(true) {
        if entries == entries_max {
            return (bytes, entries, true);
        }
        entries += 1;
        let Ok(found) = found else { continue };
        if found.file_type().is_file() {
            bytes += found.metadata().map_or(0, |meta| meta.len());
        }
    }
    (bytes, entries, false)
}

fn absolute_without_slash(root: &Path) -> PathBuf {
    let absolute = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    // Collecting components drops a slash at the end.
    absolute.components().collect()
}

fn same_error(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::from(error.kind()), io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_below_are_counted_up_to_so_many_entries() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        for name in ["a/b", "a/c"] {
            std::fs::write(dir.path().join(name), b"12345").unwrap();
        }
        assert_eq!(bytes_below(dir.path(), 3), (10, 3, false));
        assert_eq!(bytes_below(dir.path(), 2), (5, 2, true));
        assert_eq!(bytes_below(dir.path(), 0), (0, 0, true));
        assert_eq!(bytes_below(&dir.path().join("missing"), 9).0, 0);
    }
}
