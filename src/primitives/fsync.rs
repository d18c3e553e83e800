//! Making the names in a folder durable, where the file system has a way to do that.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

/// Makes the names in a folder durable.
///
/// A file system that has no way to do that (some network and FUSE ones) does it by itself or not at all: the bytes of files are
/// durable there all the same, so it is no error.
pub fn sync_folder(folder: impl AsFd) -> io::Result<()> {
    judge(rustix::fs::fsync(folder))
}

/// Whether the answer to a sync of a folder is an error.
fn judge(answer: Result<(), Errno>) -> io::Result<()> {
    match answer {
        Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS | Errno::ISDIR | Errno::BADF) => Ok(()),
        answer => Ok(answer?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CIFS and some FUSE mounts answer EINVAL: neither `init` nor any backup went there (borg#1287, restic#3751).
    #[test]
    fn only_what_says_that_it_cannot_sync_folders_is_passed_over() {
        for cannot in [Errno::INVAL, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS] {
            assert!(judge(Err(cannot)).is_ok(), "{cannot}");
        }
        for failed in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::INTR] {
            let error = judge(Err(failed)).expect_err("the names may be lost");
            assert_eq!(error.raw_os_error(), Some(failed.raw_os_error()));
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        sync_folder(std::fs::File::open(folder.path()).expect("it is there")).expect("this file system can");
    }
}
