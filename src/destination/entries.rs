//! Entries without bytes: directories, symbolic links, pipes, devices, further names of a file.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode, Stat, makedev};
use rustix::io::Errno;

use crate::format::tree::{Metadata, Node, NodeKind};

use super::attributes::{Handle, Kind};
use super::beneath::Place;
use super::error::{Problem, TargetError};
use super::path::RelativePath;
use super::{Overwrite, Shared, Target, mtime, name_of, open_entry, temporary_name};

/// What became of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryMade {
    /// It is new, and empty.
    New,
    /// It was there, and may hold anything.
    Existed,
}

/// What became of an entry.
#[derive(Debug)]
pub enum Made {
    /// It was made; some of its attributes may not have been set.
    Done(Vec<Problem>),
    /// What was there is kept.
    Kept,
    /// What was there is as recorded and got its attributes; some may not have been set.
    Refreshed(Vec<Problem>),
    /// A socket: only a running service can make one.
    Skipped,
}

impl Target {
    /// Makes a directory, for now with mode 0700, or takes the one that is there. Only a real directory will
    /// do: a symbolic link, or anything else, is replaced or in the way.
    pub fn make_directory(&self, path: &RelativePath) -> Result<DirectoryMade, TargetError> {
        if path.is_root() {
            return Ok(DirectoryMade::Existed);
        }
        let place = self.shared.beneath.place(path)?;
        // Somebody may put things in the way as fast as we remove them; that is no reason to do so for ever.
        for _ in 0..8 {
            match rustix::fs::mkdirat(&place.dir, place.name, Mode::RWXU) {
                Ok(()) => return Ok(DirectoryMade::New),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(TargetError::io("make directory", path)(errno)),
            }
            match place.kind()? {
                Some(FileType::Directory) => return self.use_directory(&place),
                Some(kind) => self.remove_from_the_way(&place, kind)?,
                None => {}
            }
        }
        Err(TargetError::Replaced { path: path.clone() })
    }

    /// Sees that entries can be made in a directory that was there before.
    fn use_directory(&self, place: &Place<'_>) -> Result<DirectoryMade, TargetError> {
        let fd = place.open_entry()?;
        let stat = rustix::fs::fstat(&fd).map_err(TargetError::io("look at", place.path))?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !self.shared.attributes.root && is_directory && stat.st_mode & 0o700 != 0o700 {
            // If it is not ours, the entries will say so.
            let plain = self.shared.plain_path(place, place.name);
            Handle::unopened(fd.as_fd(), plain.as_deref()).chmod(stat.st_mode & 0o7777 | 0o700).ok();
        }
        Ok(DirectoryMade::Existed)
    }

    fn remove_from_the_way(&self, place: &Place<'_>, kind: FileType) -> Result<(), TargetError> {
        if matches!(self.shared.overwrite, Overwrite::Refuse | Overwrite::Never) {
            return Err(TargetError::InTheWay { path: place.path.clone(), found: name_of(kind) });
        }
        match rustix::fs::unlinkat(&place.dir, place.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => Ok(()),
            Err(errno) => Err(TargetError::io("replace", place.path)(errno)),
        }
    }

    /// Sets a directory's owner, mode, attributes and times. To be called after everything in it is made.
    pub fn finish_directory(&self, path: &RelativePath, meta: &Metadata) -> Result<Vec<Problem>, TargetError> {
        let fd = self.shared.beneath.open_readable(path)?;
        Ok(self.shared.attributes.set(Handle::Open(fd.as_fd()), Kind::Directory, path, meta))
    }

    /// Makes a symbolic link, named pipe or device with its attributes.
    pub fn make_other(&self, path: &RelativePath, node: &Node) -> Result<Made, TargetError> {
        let wrong = |kind| Err(TargetError::WrongKind { path: path.clone(), kind });
        let kind = match &node.kind {
            NodeKind::Socket => return Ok(Made::Skipped),
            NodeKind::File(_) => return wrong("a file"),
            NodeKind::Directory(_) => return wrong("a directory"),
            other => file_type(other),
        };
        let place = self.shared.beneath.place(path)?;
        if self.keeps(&place, |stat| is_same(&place, stat, node))? {
            return Ok(match self.shared.overwrite {
                Overwrite::IfChanged => Made::Refreshed(self.refresh_other(&place, node)?),
                _ => Made::Kept,
            });
        }
        let mode = Mode::RUSR | Mode::WUSR;
        let ((), temporary) = self.shared.make_entry(&place, false, "make", |dir, name| match &node.kind {
            NodeKind::Symlink(to) => rustix::fs::symlinkat(to.as_slice(), dir, name),
            NodeKind::CharDevice(major, minor) | NodeKind::BlockDevice(major, minor) => {
                rustix::fs::mknodat(dir, name, kind, mode, makedev(*major, *minor))
            }
            _ => rustix::fs::mknodat(dir, name, FileType::Fifo, mode, 0),
        })?;
        let name = self.shared.name_on_disk(place.name, temporary);
        let failed = |errno| TargetError::io("open", path)(errno);
        let fd = open_entry(place.dir.as_fd(), &name).map_err(failed)?;
        // Somebody may have put another entry there, a further name of a file outside: that keeps its owner.
        if FileType::from_raw_mode(rustix::fs::fstat(&fd).map_err(failed)?.st_mode) != kind {
            return Err(TargetError::Replaced { path: path.clone() });
        }
        let problems = self.set_other(&place, &name, fd.as_fd(), node);
        if temporary.is_some() {
            self.shared.rename_onto(&place, &name)?;
        }
        Ok(Made::Done(problems))
    }

    /// Gives an entry that is kept the recorded owner, mode and attributes.
    fn refresh_other(&self, place: &Place<'_>, node: &Node) -> Result<Vec<Problem>, TargetError> {
        let fd = place.open_entry()?;
        let stat = rustix::fs::fstat(&fd).map_err(TargetError::io("look at", place.path))?;
        match FileType::from_raw_mode(stat.st_mode) {
            kind if kind == file_type(&node.kind) => Ok(self.set_other(place, place.name, fd.as_fd(), node)),
            _ => Err(TargetError::Replaced { path: place.path.clone() }),
        }
    }

    fn set_other(&self, place: &Place<'_>, name: &[u8], fd: BorrowedFd<'_>, node: &Node) -> Vec<Problem> {
        let kind = if matches!(node.kind, NodeKind::Symlink(_)) { Kind::Symlink } else { Kind::Other };
        let plain = self.shared.plain_path(place, name);
        self.shared.attributes.set(Handle::unopened(fd, plain.as_deref()), kind, place.path, &node.meta)
    }

    /// Gives the file `existing` the further name `new`.
    pub fn hard_link(&self, new: &RelativePath, existing: &RelativePath) -> Result<Made, TargetError> {
        let from = self.shared.beneath.place(existing)?;
        let place = self.shared.beneath.place(new)?;
        let first = from.stat()?;
        let is_first = |stat: &Stat| first.is_some_and(|s| (s.st_dev, s.st_ino) == (stat.st_dev, stat.st_ino));
        // Renaming one name of a file onto another does nothing, so this is for all modes.
        if place.stat()?.is_some_and(|stat| is_first(&stat)) || self.keeps(&place, is_first)? {
            return Ok(Made::Kept);
        }
        let ((), temporary) = self.shared.make_entry(&place, false, "link", |dir, name| {
            rustix::fs::linkat(&from.dir, from.name, dir, name, AtFlags::empty())
        })?;
        if let Some(number) = temporary {
            self.shared.rename_onto(&place, temporary_name(number).as_bytes())?;
        }
        Ok(Made::Done(Vec::new()))
    }

    /// Whether what is at `place` stays: always, never, or if it `is_same`.
    fn keeps(&self, place: &Place<'_>, is_same: impl Fn(&Stat) -> bool) -> Result<bool, TargetError> {
        Ok(match self.shared.overwrite {
            Overwrite::Refuse | Overwrite::Always => false,
            Overwrite::Never => place.kind()?.is_some(),
            Overwrite::IfChanged => place.stat()?.is_some_and(|stat| is_same(&stat)),
        })
    }
}

impl Shared {
    fn rename_onto(&self, place: &Place<'_>, temporary: &[u8]) -> Result<(), TargetError> {
        let answer = rustix::fs::renameat(&place.dir, temporary, &place.dir, place.name);
        answer.map_err(|errno| {
            rustix::fs::unlinkat(&place.dir, temporary, AtFlags::empty()).ok();
            TargetError::io("give its name to", place.path)(errno)
        })
    }
}

fn file_type(kind: &NodeKind) -> FileType {
    match kind {
        NodeKind::File(_) => FileType::RegularFile,
        NodeKind::Directory(_) => FileType::Directory,
        NodeKind::Symlink(_) => FileType::Symlink,
        NodeKind::Fifo => FileType::Fifo,
        NodeKind::CharDevice(..) => FileType::CharacterDevice,
        NodeKind::BlockDevice(..) => FileType::BlockDevice,
        NodeKind::Socket => FileType::Socket,
    }
}

fn is_same(place: &Place<'_>, stat: &Stat, node: &Node) -> bool {
    FileType::from_raw_mode(stat.st_mode) == file_type(&node.kind)
        && mtime(stat) == node.meta.mtime
        && match &node.kind {
            NodeKind::Symlink(to) => rustix::fs::readlinkat(&place.dir, place.name, Vec::new())
                .is_ok_and(|found| found.as_bytes() == to.as_slice()),
            NodeKind::CharDevice(major, minor) | NodeKind::BlockDevice(major, minor) => {
                stat.st_rdev == makedev(*major, *minor)
            }
            _ => true,
        }
}
