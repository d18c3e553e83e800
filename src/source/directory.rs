//! An open directory: where entries are looked at and opened from.
//!
//! Everything below it is reached relative to its handle and never through a symbolic link, so that nobody
//! who may write in the tree can lead a backup that runs as root out of it. A path longer than the system
//! takes at once is walked in pieces.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

use super::stat::{self, Stat};

/// Bytes of a path that are handed to the system at once; below Linux's PATH_MAX of 4096.
const PATH_PIECE_MAX: usize = 3840;

/// An open directory and its path.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

/// A name in a directory, with the inode number that the directory gives it.
pub(super) struct NameAndInode {
    pub name: Vec<u8>,
    pub inode: u64,
}

impl Directory {
    /// Opens a directory by its path. A symbolic link is not followed unless `path` ends in `/`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = open_unseen(|extra| rustix::fs::openat(CWD, path, directory_flags() | extra, Mode::empty()))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Opens the directory that holds `path`, and says by which name: for a source that is no directory.
    ///
    /// The links that lead to the parent are followed, as they are on the way to every source.
    pub fn open_parent(path: &Path) -> io::Result<(Self, Vec<u8>)> {
        let name = path.file_name().ok_or(Errno::INVAL)?.as_bytes().to_vec();
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Joining nothing adds a slash.
        Ok((Self::open(&parent.join(""))?.at_path(parent.to_owned()), name))
    }

    /// Opens the directory called `name` in this one.
    pub fn open_child(&self, name: &[u8]) -> io::Result<Self> {
        let fd = open_unseen(|extra| rustix::fs::openat(&self.fd, name, directory_flags() | extra, Mode::empty()))?;
        Ok(Self { fd, path: self.path.join(OsStr::from_bytes(name)) })
    }

    /// Opens the directory at `below`, a relative path without `..`, however long; empty means this one again.
    pub fn open_below(&self, below: &Path) -> io::Result<Self> {
        let path = self.path.join(below);
        let mut rest = below.as_os_str().as_bytes();
        let mut at: Option<OwnedFd> = None;
        while rest.len() > PATH_PIECE_MAX {
            let (piece, after) = split_path(rest)?;
            at = Some(open_beneath(at.as_ref().unwrap_or(&self.fd), piece, OFlags::PATH | handle_flags())?);
            rest = after;
        }
        let from = at.as_ref().unwrap_or(&self.fd);
        let last = if rest.is_empty() { b"." } else { rest };
        let fd = open_unseen(|extra| open_beneath(from, last, directory_flags() | extra))?;
        Ok(Self { fd, path })
    }

    /// The same directory under another path.
    pub(super) fn at_path(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The stat of `name` in this directory, or with `.` of the directory itself.
    pub fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        stat::stat_at(&self.fd, name)
    }

    /// Reads all names but `.` and `..`, in no order. After an error what was read so far is still there.
    pub(super) fn names(&self, buffer: &mut Vec<u8>) -> (Vec<NameAndInode>, Option<io::Error>) {
        let mut names = Vec::new();
        let mut raw = RawDir::new(&self.fd, buffer.spare_capacity_mut());
        while let Some(entry) = raw.next() {
            match entry {
                Ok(entry) => match entry.file_name().to_bytes() {
                    b"." | b".." => {}
                    name => names.push(NameAndInode { name: name.to_vec(), inode: entry.ino() }),
                },
                Err(error) => return (names, Some(error.into())),
            }
        }
        (names, None)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens without touching the access time where the system lets us, which is for owner and root alone.
pub(super) fn open_unseen(open: impl Fn(OFlags) -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    match open(OFlags::NOATIME) {
        Err(Errno::PERM) => open(OFlags::empty()),
        other => other,
    }
}

fn handle_flags() -> OFlags {
    OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | handle_flags()
}

fn open_beneath(dir: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve) {
        // Kernels before 5.6, and sandboxes that forbid what they do not know: O_NOFOLLOW guards one
        // component, so the path is taken one by one.
        Err(Errno::NOSYS | Errno::PERM) => open_one_by_one(dir, path, flags),
        other => other,
    }
}

fn open_one_by_one(dir: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut at: Option<OwnedFd> = None;
    let mut rest = path;
    while let Some(slash) = rest.iter().position(|&c| c == b'/') {
        let from = at.as_ref().unwrap_or(dir);
        at = Some(rustix::fs::openat(from, &rest[..slash], OFlags::PATH | handle_flags(), Mode::empty())?);
        rest = &rest[slash + 1..];
    }
    rustix::fs::openat(at.as_ref().unwrap_or(dir), rest, flags, Mode::empty())
}

/// Splits a path that is too long at a slash.
fn split_path(path: &[u8]) -> Result<(&[u8], &[u8]), Errno> {
    let slash = path[..PATH_PIECE_MAX].iter().rposition(|&c| c == b'/').ok_or(Errno::NAMETOOLONG)?;
    Ok((&path[..slash], &path[slash + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_anywhere_below_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("real/inner")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        let root = Directory::open(dir.path()).unwrap();
        assert!(root.open_below(Path::new("real/inner")).is_ok());
        assert!(root.open_below(Path::new("link/inner")).is_err());
        assert!(root.open_below(Path::new("link")).is_err());
        assert!(root.open_child(b"link").is_err());
    }

    #[test]
    fn the_old_way_finds_the_same_directory_and_refuses_links_too() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("real/inner")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        let root = Directory::open(dir.path()).unwrap();
        let fd = open_one_by_one(&root.fd, b"real/inner", directory_flags()).unwrap();
        let inode = root.open_below(Path::new("real/inner")).unwrap().stat(b".").unwrap().inode;
        assert_eq!(stat::stat_fd(fd).unwrap().inode, inode);
        assert!(open_one_by_one(&root.fd, b"link/inner", directory_flags()).is_err());
    }

    #[test]
    fn the_parent_of_a_source_is_found_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::fs::write(dir.path().join("real/file"), b"12").unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        let (parent, name) = Directory::open_parent(&dir.path().join("link/file")).unwrap();
        assert_eq!(parent.stat(&name).unwrap().size, 2);
        assert_eq!(parent.path(), dir.path().join("link"));
        assert_eq!(Directory::open_parent(Path::new("Cargo.toml")).unwrap().1, b"Cargo.toml");
        assert!(Directory::open_parent(Path::new("/")).is_err());
    }

    #[test]
    fn a_root_that_is_a_link_is_followed_only_with_a_slash() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
        assert!(Directory::open(&dir.path().join("link")).is_err());
        assert!(Directory::open(&dir.path().join("link/")).is_ok());
    }
}
