//! Bytes of a file that is to be replaced, for the file that replaces it.
//!
//! The new file is always another inode, as every file of a restore is. Where the file system can, it begins as a clone
//! of the old one: both share their blocks until one of them is written, and nobody else writes to the clone. Elsewhere
//! the old file is read. Whoever asks compares the bytes that were read with what they should be: nothing is believed of
//! a file because of its name, size or times, and it may change at any moment.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, FileType, Mode, OFlags};

use crate::format::tree::FileNode;

use super::beneath::Place;
use super::error::TargetError;
use super::file::{FileToken, TargetFile};
use super::path::RelativePath;
use super::{Overwrite, Target};

/// A file that may hold bytes that are to be restored.
#[derive(Debug)]
pub struct Existing(File);

impl Existing {
    /// Fills the buffer with what stands at `offset`; false if that is not to be had, for whatever reason.
    pub fn fill(&self, offset: u64, buffer: &mut [u8]) -> bool {
        self.0.read_exact_at(buffer, offset).is_ok()
    }
}

impl Target {
    /// Whether a regular file would be replaced at `path`. A symbolic link is none.
    pub fn replaces_file(&self, path: &RelativePath) -> bool {
        let replaces = matches!(self.shared.overwrite, Overwrite::IfChanged | Overwrite::Always);
        replaces && self.look(path).ok().flatten().is_some_and(|found| found.is_file)
    }

    /// Makes a file as [`Target::create_file`] does, as a clone of the one that has its name if that can be.
    pub fn create_file_from_existing(
        &self,
        path: &RelativePath,
        file: &FileNode,
    ) -> Result<(TargetFile, FileToken), TargetError> {
        let created = self.create_file(path, file.size)?;
        let token = created.token()?;
        // With the sparse option, zeros are not written: they would not replace what the clone has.
        if self.shared.sparse {
            return Ok((created, token));
        }
        let place = self.shared.beneath.place(path)?;
        let Some(old) = open_regular(&place, place.name) else { return Ok((created, token)) };
        if rustix::fs::ioctl_ficlone(created.as_fd(), old.as_fd()).is_err() {
            return Ok((created, token));
        }
        if clear_holes(&created, file).is_ok() {
            return Ok((created, token.as_clone()));
        }
        created.discard()?;
        let created = self.create_file(path, file.size)?;
        let token = created.token()?;
        Ok((created, token))
    }

    /// Opens what may hold bytes of a file that is being restored: the clone that it began as, else the file that has its
    /// name.
    pub fn open_existing(&self, path: &RelativePath, token: &FileToken) -> Option<Existing> {
        let place = self.shared.beneath.place(path).ok()?;
        let number = if token.is_clone() { token.temporary() } else { None };
        let fd = open_regular(&place, &self.shared.name_on_disk(place.name, number))?;
        if token.is_clone() && !token.names(&rustix::fs::fstat(&fd).ok()?) {
            return None;
        }
        Some(Existing(fd.into()))
    }
}

/// Opens a regular file for reading. Nothing else is opened, for that might do something.
fn open_regular(place: &Place<'_>, name: &[u8]) -> Option<OwnedFd> {
    let is_regular = |mode| FileType::from_raw_mode(mode) == FileType::RegularFile;
    let there = super::stat_at(place.dir.as_fd(), name).ok().flatten()?;
    if !is_regular(there.st_mode) {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&place.dir, name, flags, Mode::empty()).ok()?;
    is_regular(rustix::fs::fstat(&fd).ok()?.st_mode).then_some(fd)
}

/// Gives a clone the length and the holes of the file that it becomes: no bytes of the old file may stay there.
fn clear_holes(clone: &TargetFile, file: &FileNode) -> Result<(), TargetError> {
    let mut at = 0;
    for run in file.sparse.iter().flatten() {
        clone.punch(at, run.hole)?;
        at += run.hole + run.data;
    }
    if file.sparse.is_some() {
        // What is shorter grows by zeros, and what comes after the last data is cut off first.
        clone.set_len(at)?;
    }
    clone.set_len(file.size)
}

impl TargetFile {
    fn punch(&self, offset: u64, len: u64) -> Result<(), TargetError> {
        if len == 0 {
            return Ok(());
        }
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(self.as_fd(), how, offset, len).map_err(TargetError::io("make a hole in", self.path()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::TargetOptions;
    use crate::format::tree::{Content, DataRun, Metadata};
    use crate::primitives::ids::{ChunkId, ContentId};

    /// Of what a clone has of the old file nothing may stay but what was compared.
    #[test]
    fn a_clone_gets_the_holes_and_the_length_of_the_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let options = TargetOptions { overwrite: Overwrite::Always, ..TargetOptions::default() };
        let target = Target::open(folder.path(), options).unwrap();
        let path = RelativePath::parse(b"f").unwrap();
        let run = |hole, data| DataRun { hole, data };
        let content = || Content::List(ChunkId([0; 16]));
        for (size, sparse) in [
            (100, None),
            (300_000, None),
            (300_000, Some(vec![run(10_000, 90_000), run(50_000, 1)])),
            (150_001, Some(vec![run(0, 20), run(150_000 - 20, 1)])),
            (90_000, Some(vec![])),
        ] {
            let data = |at: u64| match &sparse {
                None => at < size.min(200_000),
                Some(runs) => {
                    let mut from = 0;
                    runs.iter().any(|run| {
                        from += run.hole + run.data;
                        (from - run.data..from).contains(&at)
                    })
                }
            };
            let node = FileNode {
                size,
                content: content(),
                content_id: ContentId([0; 16]),
                sparse: sparse.clone(),
                changed_while_read: false,
            };
            let file = target.create_file(&path, size).unwrap();
            file.write_at(0, &[7; 200_000]).unwrap();
            clear_holes(&file, &node).unwrap();
            file.finish(&Metadata { mode: 0o600, ..Metadata::default() }, size).unwrap();
            let expected: Vec<u8> = (0..size).map(|at| if data(at) { 7 } else { 0 }).collect();
            assert!(std::fs::read(folder.path().join("f")).unwrap() == expected, "{size} {sparse:?}");
        }
    }
}
