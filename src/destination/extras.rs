//! What is in the target but not in the snapshot: removed on request.
//!
//! Removing goes down into directories but never through a symbolic link and never into another file system,
//! and holds one directory open however deep it goes.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::beneath::{Place, open_one, open_unmounted};
use super::error::TargetError;
use super::path::RelativePath;
use super::{Target, entries_of};

/// A directory that is being emptied.
struct Level {
    /// Its name in the directory above.
    name: Vec<u8>,
    /// The directory above, to be found again on the way up.
    above: Identity,
    /// Directories in it that are still to be removed.
    pending: Vec<Vec<u8>>,
}

type Identity = (u64, u64);

impl Target {
    /// Removes an entry and all that is in it; answers with the number of entries removed. What is gone
    /// already is no error.
    pub fn remove_extra(&self, path: &RelativePath) -> Result<u64, TargetError> {
        let place = self.shared.beneath.place(path)?;
        match place.kind()? {
            None => Ok(0),
            Some(FileType::Directory) => {
                self.shared.beneath.forget();
                Emptying::new(&place)?.run()
            }
            Some(_) => remove(&place.dir, place.name, AtFlags::empty(), path),
        }
    }
}

/// Removes a directory with everything in it.
struct Emptying<'a> {
    place: &'a Place<'a>,
    removed: u64,
    /// From the entry itself down to where we are.
    levels: Vec<Level>,
    /// The directory that the last level names; without levels, the one the entry is in.
    at: OwnedFd,
}

impl<'a> Emptying<'a> {
    fn new(place: &'a Place<'a>) -> Result<Self, TargetError> {
        let at = open_one(place.dir.as_fd(), b".", OFlags::PATH).map_err(TargetError::io("open", place.path))?;
        Ok(Self { place, removed: 0, levels: Vec::new(), at })
    }

    fn run(mut self) -> Result<u64, TargetError> {
        self.go_down(self.place.name.to_vec())?;
        while let Some(level) = self.levels.last_mut() {
            match level.pending.pop() {
                Some(name) => self.go_down(name)?,
                None => self.go_up()?,
            }
        }
        Ok(self.removed)
    }

    fn go_down(&mut self, name: Vec<u8>) -> Result<(), TargetError> {
        let path = self.place.path;
        let above = identity(&self.place.stat_of(&self.at)?);
        let dir = match open_unmounted(self.at.as_fd(), &name) {
            Ok(dir) => dir,
            // It was replaced by something that is no directory, or removed.
            Err(Errno::LOOP | Errno::NOTDIR | Errno::NOENT) => {
                self.removed += remove(&self.at, &name, AtFlags::empty(), path)?;
                return Ok(());
            }
            Err(Errno::XDEV) => return Err(TargetError::OtherFileSystem { path: path.clone() }),
            Err(errno) => return Err(TargetError::io("open to remove", path)(errno)),
        };
        let mut pending = Vec::new();
        for (entry, kind) in entries_of(&dir).map_err(TargetError::io("read to remove", path))? {
            match kind {
                FileType::Directory => pending.push(entry),
                _ => self.removed += remove(&dir, &entry, AtFlags::empty(), path)?,
            }
        }
        self.levels.push(Level { name, above, pending });
        self.at = dir;
        Ok(())
    }

    fn go_up(&mut self) -> Result<(), TargetError> {
        let path = self.place.path;
        let Some(level) = self.levels.pop() else { return Ok(()) };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let above = rustix::fs::openat(&self.at, "..", flags, Mode::empty())
            .map_err(TargetError::io("open to remove", path))?;
        // Somebody may have moved the directory, even out of the target: `..` must be where we came from.
        if identity(&self.place.stat_of(&above)?) != level.above {
            return Err(TargetError::Replaced { path: path.clone() });
        }
        self.removed += remove(&above, &level.name, AtFlags::REMOVEDIR, path)?;
        self.at = above;
        Ok(())
    }
}

impl Place<'_> {
    fn stat_of(&self, fd: &OwnedFd) -> Result<Stat, TargetError> {
        rustix::fs::fstat(fd).map_err(TargetError::io("look at", self.path))
    }
}

fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

fn remove(dir: &OwnedFd, name: &[u8], flags: AtFlags, path: &RelativePath) -> Result<u64, TargetError> {
    match rustix::fs::unlinkat(dir, name, flags) {
        Ok(()) => Ok(1),
        Err(Errno::NOENT) => Ok(0),
        Err(errno) => Err(TargetError::io("remove", path)(errno)),
    }
}
