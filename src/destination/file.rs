//! Regular files: made new, filled from anywhere, then given their attributes and their name.
//!
//! A file is always a fresh inode: an existing file may have other names, also outside of the target, and its
//! bytes are not to be changed through them. Where something has the name already, the new file stands under
//! a temporary name in the same directory until it is finished, so that a crash leaves the old or the new.
//! With `Overwrite::Never` that is so for every file: what a later run finds and keeps must be whole.

use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use crate::format::tree::Metadata;

use super::attributes::{Handle, Kind};
use super::beneath::stat_at;
use super::error::{Problem, TargetError};
use super::path::RelativePath;
use super::{Overwrite, Shared, Target, name_of};

/// What file systems allocate; zeros are looked for in such blocks.
const BLOCK_LEN: usize = 4096;
/// Shorter runs of zeros are written: a hole saves less than a file in pieces costs.
const HOLE_LEN_MIN: usize = 4 * BLOCK_LEN;
/// From here on a file system may refuse the size; better at once than after hours.
const LARGE_FILE_LEN: u64 = 1 << 31;

/// Names a file that was made and is not open: enough to open it again and be sure that it is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileToken {
    temporary: Option<u64>,
    device: u64,
    inode: u64,
    /// It began as a clone of the file that it replaces.
    is_clone: bool,
}

impl FileToken {
    /// Whether the file began as a clone of the one that it replaces.
    pub fn is_clone(&self) -> bool {
        self.is_clone
    }

    pub(super) fn as_clone(self) -> Self {
        Self { is_clone: true, ..self }
    }

    pub(super) fn temporary(&self) -> Option<u64> {
        self.temporary
    }

    /// Whether it is this file.
    pub(super) fn names(&self, stat: &Stat) -> bool {
        (stat.st_dev, stat.st_ino) == (self.device, self.inode)
    }
}

/// A file being restored, open. May be written from several threads.
#[derive(Debug)]
pub struct TargetFile {
    shared: Arc<Shared>,
    dir: Arc<OwnedFd>,
    file: File,
    path: RelativePath,
    temporary: Option<u64>,
    /// End of what was written through this handle.
    end: AtomicU64,
}

impl Target {
    /// Makes an empty file, mode 0600, that will have `size` bytes. It gets its name at the latest when it is
    /// finished.
    pub fn create_file(&self, path: &RelativePath, size: u64) -> Result<TargetFile, TargetError> {
        let place = self.shared.beneath.place(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let whole = self.shared.overwrite == Overwrite::Never;
        let (fd, temporary) = self.shared.make_entry(&place, whole, "create", |dir, name| {
            rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
        })?;
        let (dir, path) = (place.dir, path.clone());
        let shared = self.shared.clone();
        let file = TargetFile { shared, dir, file: fd.into(), path, temporary, end: AtomicU64::new(0) };
        if size >= LARGE_FILE_LEN
            && let Err(error) = file.set_len(size)
        {
            file.discard()?;
            return Err(error);
        }
        Ok(file)
    }

    /// Opens a file again that [`TargetFile::token`] names; it must still be the same.
    pub fn reopen(&self, path: &RelativePath, token: &FileToken) -> Result<TargetFile, TargetError> {
        let place = self.shared.beneath.place(path)?;
        let name = self.shared.name_on_disk(place.name, token.temporary);
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&place.dir, name.as_ref(), flags, Mode::empty()) {
            // Nothing, a link, a pipe, a directory: not what was made.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::ISDIR) => {
                return Err(TargetError::Replaced { path: path.clone() });
            }
            answer => answer.map_err(TargetError::io("open", path))?,
        };
        let stat = rustix::fs::fstat(&fd).map_err(TargetError::io("look at", path))?;
        if !token.names(&stat) {
            return Err(TargetError::Replaced { path: path.clone() });
        }
        let (dir, path, temporary) = (place.dir, path.clone(), token.temporary);
        let shared = self.shared.clone();
        Ok(TargetFile { shared, dir, file: fd.into(), path, temporary, end: AtomicU64::new(0) })
    }

    /// Writes into a file that is not held open.
    pub fn write_at(
        &self,
        path: &RelativePath,
        token: &FileToken,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), TargetError> {
        self.reopen(path, token)?.write_at(offset, bytes)
    }

    /// Finishes a file that is not held open. One that cannot be finished is removed.
    pub fn finish_file(
        &self,
        path: &RelativePath,
        token: &FileToken,
        meta: &Metadata,
        size: u64,
    ) -> Result<Vec<Problem>, TargetError> {
        let file = self.reopen(path, token)?;
        file.finish(meta, size).inspect_err(|_| {
            // The first error is the one to tell of.
            file.discard().ok();
        })
    }

    /// Makes, fills and finishes a file whose bytes are all at hand, as pieces with their offsets. A file that
    /// cannot be completed is removed.
    pub fn write_file(
        &self,
        path: &RelativePath,
        meta: &Metadata,
        size: u64,
        pieces: &[(u64, &[u8])],
    ) -> Result<Vec<Problem>, TargetError> {
        let file = self.create_file(path, size)?;
        let written = pieces.iter().try_for_each(|(offset, bytes)| file.write_at(*offset, bytes));
        written.and_then(|()| file.finish(meta, size)).inspect_err(|_| {
            // The first error is the one to tell of.
            file.discard().ok();
        })
    }

    /// Gives a file that was kept the recorded owner, mode, attributes and times. It may have other names.
    pub fn refresh_file(&self, path: &RelativePath, meta: &Metadata) -> Result<Vec<Problem>, TargetError> {
        let place = self.shared.beneath.place(path)?;
        let fd = place.open_entry()?;
        let stat = rustix::fs::fstat(&fd).map_err(TargetError::io("look at", path))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let plain = self.shared.plain_path(&place, place.name);
                let handle = Handle::unopened(fd.as_fd(), plain.as_deref());
                Ok(self.shared.attributes.set(handle, Kind::Other, path, meta))
            }
            kind => Err(TargetError::WrongKind { path: path.clone(), kind: name_of(kind) }),
        }
    }
}

impl TargetFile {
    /// Writes `bytes` at `offset`. With the sparse option long runs of zeros become holes; each place is to
    /// be written only once.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), TargetError> {
        if !self.shared.sparse {
            return self.write_run(offset, bytes);
        }
        data_runs(offset, bytes, |run| self.write_run(offset + run.start as u64, &bytes[run]))
    }

    fn write_run(&self, offset: u64, bytes: &[u8]) -> Result<(), TargetError> {
        self.file.write_all_at(bytes, offset).map_err(TargetError::io("write", &self.path))?;
        self.end.fetch_max(offset + bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// What opens this file again after it is closed by dropping it.
    pub fn token(&self) -> Result<FileToken, TargetError> {
        let stat = rustix::fs::fstat(&self.file).map_err(TargetError::io("look at", &self.path))?;
        Ok(FileToken { temporary: self.temporary, device: stat.st_dev, inode: stat.st_ino, is_clone: false })
    }

    /// Sets length and attributes and gives the file its name. Nothing may be written afterwards.
    pub fn finish(&self, meta: &Metadata, size: u64) -> Result<Vec<Problem>, TargetError> {
        if self.end.load(Ordering::Relaxed) != size {
            self.set_len(size)?;
        }
        let problems = self.shared.attributes.set(Handle::Open(self.file.as_fd()), Kind::Other, &self.path, meta);
        if let Some(temporary) = self.temporary {
            self.rename(temporary)?;
        }
        Ok(problems)
    }

    /// Removes a file that will not be finished.
    pub fn discard(&self) -> Result<(), TargetError> {
        let Some((_, name)) = self.path.split() else { return Ok(()) };
        let name = self.shared.name_on_disk(name, self.temporary);
        let ours = self.token()?;
        let there = stat_at(self.dir.as_fd(), &name).map_err(TargetError::io("look at", &self.path))?;
        if there.is_none_or(|stat| !ours.names(&stat)) {
            return Ok(());
        }
        rustix::fs::unlinkat(&self.dir, name.as_ref(), AtFlags::empty()).map_err(TargetError::io("remove", &self.path))
    }

    pub(super) fn set_len(&self, size: u64) -> Result<(), TargetError> {
        rustix::fs::ftruncate(&self.file, size).map_err(TargetError::io("set the length of", &self.path))
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(super) fn path(&self) -> &RelativePath {
        &self.path
    }

    fn rename(&self, temporary: u64) -> Result<(), TargetError> {
        let Some((_, name)) = self.path.split() else { return Ok(()) };
        let from = self.shared.name_on_disk(name, Some(temporary));
        let flags = match self.shared.overwrite {
            Overwrite::Never => RenameFlags::NOREPLACE,
            _ => RenameFlags::empty(),
        };
        let answer = match rustix::fs::renameat_with(&self.dir, from.as_ref(), &self.dir, name, flags) {
            // A file system that knows no such flag: a link is refused in the same way.
            Err(Errno::INVAL | Errno::NOSYS) if !flags.is_empty() => {
                rustix::fs::linkat(&self.dir, from.as_ref(), &self.dir, name, AtFlags::empty())
                    .and_then(|()| rustix::fs::unlinkat(&self.dir, from.as_ref(), AtFlags::empty()))
            }
            answer => answer,
        };
        match answer {
            Err(Errno::EXIST) => {
                Err(TargetError::InTheWay { path: self.path.clone(), found: "something that came meanwhile" })
            }
            Err(Errno::ISDIR) => Err(TargetError::InTheWay { path: self.path.clone(), found: "a directory" }),
            answer => answer.map_err(TargetError::io("give its name to", &self.path)),
        }
    }
}

/// Calls `each` for the parts of `bytes` that are not long runs of zeros.
fn data_runs<E>(offset: u64, bytes: &[u8], mut each: impl FnMut(Range<usize>) -> Result<(), E>) -> Result<(), E> {
    let (mut data, mut at) = (0, 0);
    let mut zeros: Option<usize> = None;
    while at < bytes.len() {
        let in_block = ((offset + at as u64) % BLOCK_LEN as u64) as usize;
        let end = bytes.len().min(at + BLOCK_LEN - in_block);
        if is_zero(&bytes[at..end]) {
            zeros.get_or_insert(at);
        } else if let Some(from) = zeros.take()
            && at - from >= HOLE_LEN_MIN
        {
            if data < from {
                each(data..from)?;
            }
            data = at;
        }
        at = end;
    }
    let end = match zeros {
        // The next write may go on with zeros: a piece without anything else is left out at any length.
        Some(from) if from == 0 || bytes.len() - from >= HOLE_LEN_MIN => from,
        _ => bytes.len(),
    };
    if data < end { each(data..end) } else { Ok(()) }
}

fn is_zero(bytes: &[u8]) -> bool {
    let (head, tail) = bytes.split_at(bytes.len().min(16));
    let zero = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all | byte) == 0;
    zero(head) && zero(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(offset: u64, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut runs = Vec::new();
        data_runs::<()>(offset, bytes, |run| {
            runs.push(run);
            Ok(())
        })
        .unwrap();
        runs
    }

    #[test]
    fn long_runs_of_zero_blocks_are_left_out_and_short_ones_written() {
        let mut bytes = vec![0; 100 * BLOCK_LEN];
        assert!(runs(0, &bytes).is_empty());
        assert!(runs(17, &bytes[..100]).is_empty());
        bytes[10 * BLOCK_LEN] = 1;
        bytes[13 * BLOCK_LEN] = 1;
        bytes[50 * BLOCK_LEN - 1] = 1;
        let block = |n: usize| n * BLOCK_LEN;
        assert_eq!(runs(0, &bytes), [block(10)..block(14), block(49)..block(50)]);
        // The blocks are those of the file, not of the piece.
        let shifted = runs(100, &bytes);
        assert_eq!(shifted.last().unwrap(), &(block(50) - 100..block(51) - 100));
        bytes[block(100) - 1] = 1;
        assert_eq!(runs(0, &bytes).last().unwrap(), &(block(99)..block(100)));
        assert!(runs(0, &bytes[..0]).is_empty());
    }

    /// Whatever is left out was zero: the runs and zeros give the bytes back.
    #[test]
    fn runs_and_zeros_are_the_bytes() {
        for seed in 0..200u64 {
            let mut state = seed;
            let mut random = |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % below
            };
            let mut bytes = vec![0u8; random(200_000) as usize + 1];
            for _ in 0..random(8) {
                let at = random(bytes.len() as u64) as usize;
                bytes[at] = 7;
            }
            let mut copy = vec![0u8; bytes.len()];
            for run in runs(random(9000), &bytes) {
                copy[run.clone()].copy_from_slice(&bytes[run]);
            }
            assert!(copy == bytes, "seed {seed}");
        }
    }
}
