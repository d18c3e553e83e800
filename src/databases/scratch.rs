//! Private folders for what cannot be streamed.
//!
//! A [`Scratch`] is removed when it is dropped. Whoever is killed removes nothing: making one also removes those beside it
//! that no process holds any more.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, statvfs};
use tempfile::TempDir;

/// How the names of these folders begin.
const PREFIX: &str = "strongroom-scratch-";

/// Held by the process that uses the folder.
const LOCK: &str = "lock";

/// A private folder. Removed when it is dropped.
#[derive(Debug)]
pub struct Scratch {
    folder: TempDir,
    _lock: File,
}

impl Scratch {
    /// A folder in `parent`, in which `len` bytes have room: for the system user `user`, if it is another one. An error
    /// says what is wrong, and what to do.
    pub fn new(parent: &Path, len: u64, user: Option<&str>) -> Result<Self, String> {
        let shown = parent.display();
        let fail = |e: io::Error| format!("cannot use scratch_dir {shown}: {e}");
        remove_abandoned(parent).map_err(fail)?;
        let room = statvfs(parent).map_err(|e| fail(e.into()))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if free < len {
            return Err(format!(
                "scratch_dir {shown} has {free} bytes free and up to {len} are needed: make room, or name another directory"
            ));
        }
        Self::make(parent, user).map_err(fail)
    }

    fn make(parent: &Path, user: Option<&str>) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(PREFIX).permissions(mode(0o700)).tempdir_in(parent)?;
        let lock = tempfile::Builder::new().tempfile_in(folder.path())?;
        // Locked before it has its name: no other process finds it without.
        flock(lock.as_file(), FlockOperation::NonBlockingLockExclusive)?;
        let lock = lock.persist(folder.path().join(LOCK)).map_err(|e| e.error)?;
        let data = folder.path().join("data");
        fs::create_dir(&data)?;
        fs::set_permissions(&data, mode(0o700))?;
        if let Some(user) = user {
            let text = format!("there is no user {user}");
            let user = nix::unistd::User::from_name(user)?.ok_or_else(|| io::Error::other(text))?;
            for path in [folder.path(), &data] {
                chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
            }
        }
        Ok(Self { folder, _lock: lock })
    }

    /// The folder to be filled; empty at first.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

fn mode(mode: u32) -> fs::Permissions {
    fs::Permissions::from_mode(mode)
}

/// Removes what a process left that was killed.
fn remove_abandoned(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) || !entry.file_type()?.is_dir() {
            continue;
        }
        // One that has no lock yet is just being made; one that is another user's is not ours to remove.
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // Another process may be removing it, too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_removed_and_removes_what_was_abandoned() {
        let parent = tempfile::tempdir().unwrap();
        let count = || fs::read_dir(parent.path()).unwrap().count();
        let scratch = Scratch::new(parent.path(), 1, None).unwrap();
        assert_eq!(fs::metadata(scratch.path()).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(scratch.path().join("x"), "x").unwrap();
        let other = Scratch::new(parent.path(), 1, None).unwrap();
        assert!(scratch.path().exists(), "it is held");
        drop(other);
        assert_eq!(count(), 1);
        // As after a KILL: the folder is there, and nobody holds it.
        let Scratch { folder, _lock: lock } = scratch;
        let left = folder.keep();
        drop(lock);
        // What other tests start at this moment may share the lock until it runs.
        let is_removed = (0..10_000).any(|_| {
            drop(Scratch::new(parent.path(), 1, None).unwrap());
            !left.exists()
        });
        assert!(is_removed);
        assert_eq!(count(), 0);
    }

    #[test]
    fn too_little_room_and_a_missing_folder_are_named() {
        let parent = tempfile::tempdir().unwrap();
        let error = Scratch::new(parent.path(), u64::MAX, None).unwrap_err();
        assert!(error.contains("make room") && error.contains(&u64::MAX.to_string()), "{error}");
        let error = Scratch::new(&parent.path().join("none"), 0, None).unwrap_err();
        assert!(error.contains("cannot use scratch_dir"), "{error}");
    }
}
