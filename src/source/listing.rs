//! One directory as it was scanned: what it holds, and the handle to read that.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::CWD;

use super::directory::Directory;
use super::problem::Problem;
use super::stat::{self, Stat};

/// One directory.
#[derive(Debug)]
pub struct Listing {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its path below the root of the source; empty for the root.
    pub below: PathBuf,
    /// Its own stat, read before its names.
    pub stat: Stat,
    /// What it holds and is backed up, sorted by the bytes of the names.
    pub entries: Vec<Entry>,
    /// What went wrong in reading it.
    pub problems: Vec<Problem>,
    pub(super) held: Option<Arc<Directory>>,
    pub(super) root: Option<Arc<Directory>>,
}

impl Listing {
    /// The directory, open: the handle it was scanned with while it is being annotated, a new one later.
    ///
    /// Needed to read metadata and files; costs a call, so ask once per directory and only if something is to be read.
    pub fn directory(&self) -> io::Result<Arc<Directory>> {
        match (&self.held, &self.root) {
            (Some(held), _) => Ok(Arc::clone(held)),
            (None, Some(root)) if self.below.as_os_str().is_empty() => Ok(Arc::clone(root)),
            (None, Some(root)) => root.open_below(&self.below).map(Arc::new),
            (None, None) => Directory::open(&self.path).map(Arc::new),
        }
    }
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, in bytes.
    pub name: Vec<u8>,
    /// The stat of what it names, not following a link.
    pub stat: Stat,
}

/// The stat of a source as the user named it. A symbolic link is followed only if the path ends in `/`.
pub fn stat_root(path: &Path) -> io::Result<Stat> {
    stat::stat_at(CWD, path)
}
