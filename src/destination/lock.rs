//! Directories that one process at a time restores in place.
//!
//! Two restores into one directory would each delete what the other one writes. Each holds a lock on the directory itself,
//! which holds for all users of the machine and ends with the process. Where a file system has no such locks, it is done
//! without.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// Locks on directories. They end when this is dropped.
#[derive(Debug, Default)]
pub struct DirectoryLocks(Vec<(u64, u64, OwnedFd)>);

impl DirectoryLocks {
    /// Locks a directory; of one that is not there, the nearest above it. False if another process has the lock.
    pub fn add(&mut self, path: &Path) -> io::Result<bool> {
        let there = path.ancestors().find(|at| at.is_dir()).map_or(PathBuf::from("/"), Path::to_owned);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&there, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        if self.0.iter().any(|(device, inode, _)| (*device, *inode) == (stat.st_dev, stat.st_ino)) {
            return Ok(true);
        }
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Ok(()) | Err(Errno::BADF | Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.0.push((stat.st_dev, stat.st_ino, fd));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_by_one_at_a_time_and_by_that_one_as_often_as_it_likes() {
        let folder = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (DirectoryLocks::default(), DirectoryLocks::default());
        assert!(one.add(folder.path()).unwrap());
        // What is missing below it is the same directory.
        assert!(one.add(&folder.path().join("a/b")).unwrap());
        assert!(!other.add(folder.path()).unwrap() && !other.add(&folder.path().join("c")).unwrap());
        drop(one);
        assert!(other.add(folder.path()).unwrap());
    }
}
