//! One regular file, opened to be read.
//!
//! What is opened is a regular file or an error: a link in its place is not followed, and a named pipe in its
//! place does not make the backup wait. Reading is by offset, so that holes can be passed over.
//!
//! Whether a file changed while it was read is decided from two stats by [`changed`]; reading it again is up to
//! the backup operation.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{Advice, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use crate::format::tree::DataRun;

use super::directory::{Directory, open_unseen};
use super::stat::{self, FileKind, Stat};

/// A hole shorter than this is data: describing it would cost more than its zeros.
pub const HOLE_LEN_MIN: u64 = 4096;

/// Data runs of one file at the most; with more, the shorter holes count as data.
pub const DATA_RUNS_MAX: usize = 10_000;

/// A regular file that is open for reading.
#[derive(Debug)]
pub struct SourceFile {
    file: File,
}

/// Opens the regular file `name` in `dir`.
pub fn open_file(dir: &Directory, name: &[u8]) -> io::Result<SourceFile> {
    // NONBLOCK: if a pipe took the file's place, opening it does not wait for somebody to write.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let opened = match open_with(dir, name, flags) {
        // Somebody holds a lease (Samba does). He has been told; opening again waits until he has let go.
        Err(Errno::AGAIN) if dir.stat(name)?.kind == FileKind::File => open_with(dir, name, flags - OFlags::NONBLOCK),
        other => other,
    };
    let file = opened?;
    if file.stat()?.kind != FileKind::File {
        return Err(Errno::STALE.into());
    }
    Ok(file)
}

fn open_with(dir: &Directory, name: &[u8], flags: OFlags) -> Result<SourceFile, Errno> {
    let fd = open_unseen(|extra| rustix::fs::openat(dir, name, flags | extra, Mode::empty()))?;
    Ok(SourceFile { file: File::from(fd) })
}

impl SourceFile {
    /// The stat of the file that is open, as it is now.
    pub fn stat(&self) -> io::Result<Stat> {
        stat::stat_fd(&self.file)
    }

    /// Tells the system that the file is read from start to end.
    pub fn will_read_all(&self) {
        // Advice: without it, or where it is not understood, reading is merely slower.
        let _ = rustix::fs::fadvise(&self.file, 0, None, Advice::Sequential);
    }

    /// Fills `buffer` from `offset` on. Fewer bytes than it holds mean that the file ends there.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Where the first `size` bytes hold data. `None`: everywhere, or the file system cannot tell.
    ///
    /// Worth asking only if [`Stat::may_have_holes`]. What `size` has beyond the last run is a hole.
    pub fn data_runs(&self, size: u64) -> io::Result<Option<Vec<DataRun>>> {
        let mut spans = Spans::new(DATA_RUNS_MAX);
        let mut at = 0;
        while at < size {
            let start = match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
                Ok(start) => start,
                // No data from here on.
                Err(Errno::NXIO) => break,
                Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let end = match rustix::fs::seek(&self.file, SeekFrom::Hole(start)) {
                Ok(end) => end.min(size),
                // Cut off since the last call; what was read shows it.
                Err(Errno::NXIO) => size,
                Err(error) => return Err(error.into()),
            };
            if start >= size {
                break;
            }
            // A hole punched between the two calls leaves no data at `start`; one byte of it read as zero is right
            // as well, and the loop goes on.
            at = end.max(start + 1);
            spans.add(start, at);
        }
        Ok(spans.into_data_runs(size))
    }
}

impl AsFd for SourceFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether a file is no longer what it was: another file, another length, or written to since.
pub fn changed(before: &Stat, after: &Stat) -> bool {
    let key = |s: &Stat| (s.size, s.mtime, s.ctime, s.inode);
    key(before) != key(after)
}

/// Spans of data, joined over the holes that are too short to count.
struct Spans {
    spans: Vec<(u64, u64)>,
    spans_max: usize,
    hole_len_min: u64,
}

impl Spans {
    fn new(spans_max: usize) -> Self {
        Self { spans: Vec::new(), spans_max, hole_len_min: HOLE_LEN_MIN }
    }

    fn add(&mut self, start: u64, end: u64) {
        let before = self.spans.last().map_or(0, |s| s.1);
        let short = start - before < self.hole_len_min;
        match self.spans.last_mut() {
            Some(last) if short => last.1 = end,
            // A short hole at the very start has no span before it to join.
            None if short => self.spans.push((0, end)),
            _ => self.spans.push((start, end)),
        }
        while self.spans.len() > self.spans_max {
            self.raise_hole_len_min();
        }
    }

    fn raise_hole_len_min(&mut self) {
        self.hole_len_min *= 2;
        for (start, end) in std::mem::take(&mut self.spans) {
            self.add(start, end);
        }
    }

    fn into_data_runs(self, size: u64) -> Option<Vec<DataRun>> {
        let (mut runs, mut at) = (Vec::with_capacity(self.spans.len()), 0);
        let last = self.spans.len().wrapping_sub(1);
        for (i, (start, mut end)) in self.spans.into_iter().enumerate() {
            if i == last && size - end < self.hole_len_min {
                end = size;
            }
            runs.push(DataRun { hole: start - at, data: end - start });
            at = end;
        }
        let whole = runs.len() == 1 && runs[0].hole == 0 && at == size;
        let short = runs.is_empty() && size < HOLE_LEN_MIN;
        if whole || short { None } else { Some(runs) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    fn open(dir: &Path, name: &str) -> io::Result<SourceFile> {
        open_file(&Directory::open(dir).unwrap(), name.as_bytes())
    }

    #[test]
    fn a_file_is_read_by_offset_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), b"0123456789").unwrap();
        let file = open(dir.path(), "a").unwrap();
        file.will_read_all();
        let mut buffer = [0; 6];
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 6);
        assert_eq!(file.read_at(&mut buffer, 6).unwrap(), 4);
        assert_eq!(&buffer[..4], b"6789");
        assert_eq!(file.read_at(&mut buffer, 10).unwrap(), 0);
    }

    /// A backup that opens a pipe where a file was would wait for a writer for ever.
    #[test]
    fn a_pipe_a_link_or_a_directory_in_place_of_a_file_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("pipe"), mode).unwrap();
        std::fs::write(dir.path().join("file"), b"").unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        for name in ["pipe", "link", "dir", "none"] {
            let error = open(dir.path(), name).unwrap_err();
            assert!(super::super::problem::is_vanished(&error), "{name}: {error}");
        }
    }

    #[test]
    fn a_file_that_is_written_to_or_replaced_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), b"12345").unwrap();
        let file = open(dir.path(), "a").unwrap();
        let before = file.stat().unwrap();
        assert!(!changed(&before, &file.stat().unwrap()));
        std::fs::write(dir.path().join("a"), b"1234567").unwrap();
        assert!(changed(&before, &file.stat().unwrap()));
        let now = file.stat().unwrap();
        assert!(changed(&now, &Stat { inode: now.inode + 1, ..now }));
        assert!(!changed(&now, &Stat { nlink: 9, ..now }));
    }

    fn sparse(dir: &Path, size: u64, data: &[(u64, usize)]) -> Option<Vec<DataRun>> {
        let file = File::create(dir.join("sparse")).unwrap();
        file.set_len(size).unwrap();
        for &(at, len) in data {
            file.write_all_at(&vec![1; len], at).unwrap();
        }
        open(dir, "sparse").unwrap().data_runs(size).unwrap()
    }

    #[test]
    fn holes_are_found_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let run = |hole, data| DataRun { hole, data };
        let mib = 1 << 20;
        assert_eq!(sparse(dir.path(), 3 * mib, &[(mib, 65536)]), Some(vec![run(mib, 65536)]));
        assert_eq!(
            sparse(dir.path(), 4 * mib, &[(0, 65536), (2 * mib, 65536)]),
            Some(vec![run(0, 65536), run(2 * mib - 65536, 65536)])
        );
        assert_eq!(sparse(dir.path(), mib, &[]), Some(vec![]));
        assert_eq!(sparse(dir.path(), 65536, &[(0, 65536)]), None);
        assert_eq!(sparse(dir.path(), 0, &[]), None);
    }

    #[test]
    fn runs_add_up_to_no_more_than_the_file() {
        let mut spans = Spans::new(10);
        spans.add(100, 200);
        spans.add(8000, 9000);
        assert_eq!(
            spans.into_data_runs(9001),
            Some(vec![DataRun { hole: 0, data: 200 }, DataRun { hole: 7800, data: 1001 }])
        );
    }

    #[test]
    fn too_many_runs_are_joined_over_their_shortest_holes() {
        let mut spans = Spans::new(10);
        for i in 0..1000u64 {
            spans.add(i * 8192 + 4096, i * 8192 + 8192);
        }
        spans.add(1 << 40, (1 << 40) + 1);
        let runs = spans.into_data_runs(1 << 41).unwrap();
        assert!(runs.len() <= 10);
        assert_eq!(runs.last().unwrap().data, 1, "a long hole stays");
        let total: u64 = runs.iter().map(|r| r.hole + r.data).sum();
        assert_eq!(total, (1 << 40) + 1);
    }
}
