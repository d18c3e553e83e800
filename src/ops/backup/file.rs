//! Reading files: small ones in batches on several threads, long ones as streams.
//!
//! A file that changes while it is read is read again; if it changes each time, what was read is kept and
//! flagged.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::format::tree::{DataRun, Metadata};
use crate::repository::write::run::ChunkClass;
use crate::source::{Directory, FileKind, OwnerNames, Problem, SourceFile, Stat, changed, open_file, read_metadata};

use crate::primitives::progress::Change;
use crate::primitives::system::System;

use super::cut::{Cutter, Group, Piece};

/// Files longer than this are read as streams.
pub(super) const BATCHED_LEN_MAX: u64 = 4 << 20;
/// About so many bytes are read in a batch.
pub(super) const BATCH_LEN: u64 = 4 << 20;
/// What is read first of a file that says it is empty.
const UNSIZED_LEN: usize = 4096;
/// How often a file that changes while it is read is read.
const READS_MAX: u32 = 3;
/// A file that was changed so lately is still being written: reading it once more would find it changed again.
const IN_USE: Duration = Duration::from_secs(1);

/// A file to read.
#[derive(Debug, Clone)]
pub(super) struct FileJob {
    /// Which directory of the backup it belongs to.
    pub directory: u64,
    /// Absolute path of the directory, and the path below the root.
    pub path: Arc<(PathBuf, PathBuf)>,
    /// Its name.
    pub name: Vec<u8>,
    /// What became of it.
    pub change: Change,
}

impl FileJob {
    /// Where the file is.
    pub(super) fn file_path(&self) -> PathBuf {
        self.path.0.join(name_of(&self.name))
    }
}

/// Files to read at once.
#[derive(Debug)]
pub(super) struct Batch {
    /// The root of the walk, open.
    pub root: Arc<Directory>,
    /// The files, those of one directory together.
    pub files: Vec<FileJob>,
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct ReadFile {
    /// Which directory of the backup it belongs to.
    pub directory: u64,
    /// Its name.
    pub name: Vec<u8>,
    /// What became of it.
    pub change: Change,
    /// What was read, or why not.
    pub outcome: Result<Outcome, Problem>,
    /// Problems with its attributes.
    pub problems: Vec<Problem>,
}

/// What came of a file in a batch.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was read.
    Read(Box<FileContent>),
    /// It is longer than its listing said: it is read as a stream, so that it is not held in memory.
    Long(FileJob),
}

/// What was read of a file.
#[derive(Debug)]
pub(super) struct FileContent {
    /// Its stat after the last byte was read.
    pub stat: Stat,
    /// What the clock said before the first byte was read, in milliseconds since the epoch.
    pub read_ms: i64,
    /// Its metadata.
    pub meta: Metadata,
    /// Its holes, if it has any.
    pub sparse: Option<Vec<DataRun>>,
    /// Which blocks its chunks go to.
    pub class: ChunkClass,
    /// Its chunks.
    pub pieces: Vec<Piece>,
    /// Where its bytes begin in the batch's buffer.
    pub at: usize,
    /// It changed each time it was read.
    pub changed: bool,
}

/// A batch that was read.
#[derive(Debug)]
pub(super) struct ReadBatch {
    /// The root of the walk, open.
    pub root: Arc<Directory>,
    /// The files in their order.
    pub files: Vec<ReadFile>,
    /// Their bytes.
    pub bytes: Vec<u8>,
}

/// Reads a batch, one file after the other.
pub(super) fn read_batch(batch: Batch, cutter: &Cutter, owners: &OwnerNames, system: &dyn System) -> ReadBatch {
    let mut bytes = Vec::with_capacity(BATCH_LEN as usize + (64 << 10));
    let mut files = Vec::with_capacity(batch.files.len());
    let mut open: Option<(u64, io::Result<Directory>)> = None;
    for job in batch.files {
        let here = open.as_ref().is_some_and(|(directory, _)| *directory == job.directory);
        if !here {
            open = Some((job.directory, batch.root.open_below(&job.path.1)));
        }
        let (_, directory) = open.as_ref().expect("set just now");
        let mut problems = Vec::new();
        let path = job.file_path();
        let read_ms = system.now_ms();
        let outcome = match directory {
            Ok(directory) => read_file(directory, &job.name, (cutter, owners), &mut bytes, &mut problems),
            Err(e) => Err(clone_error(e)),
        };
        let outcome = match outcome {
            Ok(Some(content)) => Ok(Outcome::Read(Box::new(FileContent { read_ms, ..content }))),
            Ok(None) => Ok(Outcome::Long(job.clone())),
            Err(e) => Err(Problem::reading(&path, &e)),
        };
        files.push(ReadFile { directory: job.directory, name: job.name, change: job.change, outcome, problems });
    }
    ReadBatch { root: batch.root, files, bytes }
}

fn clone_error(e: &io::Error) -> io::Error {
    match e.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(e.kind(), e.to_string()),
    }
}

/// A name as a path component.
pub(super) fn name_of(name: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(name))
}

/// A file opened for reading, with what was true of it then.
struct Opened {
    /// The file.
    file: SourceFile,
    /// Its stat.
    stat: Stat,
    /// Its holes.
    sparse: Option<Vec<DataRun>>,
}

/// Opens a file that must still be a regular one.
fn open(directory: &Directory, name: &[u8]) -> io::Result<Opened> {
    let file = open_file(directory, name)?;
    let (stat, sparse) = look(&file)?;
    Ok(Opened { file, stat, sparse })
}

/// Stat and holes of an open file, as they are now.
fn look(file: &SourceFile) -> io::Result<(Stat, Option<Vec<DataRun>>)> {
    let stat = file.stat()?;
    if stat.kind != FileKind::File {
        return Err(rustix::io::Errno::STALE.into());
    }
    let sparse = if stat.may_have_holes() { file.data_runs(stat.size)? } else { None };
    Ok((stat, sparse))
}

/// Reads a file into `bytes`; `None` if it is too long for that by now.
fn read_file(
    directory: &Directory,
    name: &[u8],
    (cutter, owners): (&Cutter, &OwnerNames),
    bytes: &mut Vec<u8>,
    problems: &mut Vec<Problem>,
) -> io::Result<Option<FileContent>> {
    let Opened { file, mut stat, mut sparse } = open(directory, name)?;
    let at = bytes.len();
    let mut reads = 0;
    let changed = loop {
        bytes.truncate(at);
        if stored_len(stat.size, sparse.as_deref()) as u64 > BATCHED_LEN_MAX {
            return Ok(None);
        }
        reads += 1;
        let read = match stat.size {
            0 => read_unsized(&file, bytes),
            size => read_runs(&file, size, sparse.as_deref(), bytes),
        };
        if bytes.len() - at > BATCHED_LEN_MAX as usize {
            bytes.truncate(at);
            return Ok(None);
        }
        if let Err(e) = read {
            bytes.truncate(at);
            return Err(e);
        }
        let (after, sparse_after) = look(&file)?;
        let len = bytes.len() - at;
        // What says that it is empty and is not (files of /proc, documents in some mounts) is as long as it was.
        let is_unsized = stat.size == 0 && after.size == 0 && len > 0;
        let same = !changed(&stat, &after) && (is_unsized || len == stored_len(stat.size, sparse.as_deref()));
        stat = after;
        if same && is_unsized {
            stat.size = len as u64;
        }
        if same {
            break false;
        }
        if reads == READS_MAX {
            // What was read is what there is: its own length counts, and it has no holes.
            sparse = None;
            bytes.truncate(at);
            if stat.size > BATCHED_LEN_MAX {
                return Ok(None);
            }
            read_runs(&file, stat.size, None, bytes)?;
            stat.size = (bytes.len() - at) as u64;
            break true;
        }
        sparse = sparse_after;
    };
    let (meta, found) = read_metadata(directory, name, &stat, owners);
    problems.extend(found);
    let mut pieces = Vec::new();
    let class = cutter.cut_whole(&bytes[at..], &mut pieces);
    Ok(Some(FileContent { stat, read_ms: 0, meta, sparse, class, pieces, at, changed }))
}

/// Bytes that are stored of a file of this size.
pub(super) fn stored_len(size: u64, sparse: Option<&[DataRun]>) -> usize {
    match sparse {
        None => size as usize,
        Some(runs) => runs.iter().map(|r| r.data as usize).sum(),
    }
}

/// Appends the file's data; what is beyond its size at the time is not read, what is missing is left out.
fn read_runs(file: &SourceFile, size: u64, sparse: Option<&[DataRun]>, bytes: &mut Vec<u8>) -> io::Result<()> {
    let whole = [DataRun { hole: 0, data: size }];
    let mut offset = 0;
    for run in sparse.unwrap_or(&whole) {
        offset += run.hole;
        let start = bytes.len();
        bytes.resize(start + run.data as usize, 0);
        let n = file.read_at(&mut bytes[start..], offset)?;
        bytes.truncate(start + n);
        offset += run.data;
    }
    Ok(())
}

/// Appends what a file holds that says it is empty, up to a little more than a batch takes.
fn read_unsized(file: &SourceFile, bytes: &mut Vec<u8>) -> io::Result<()> {
    let (start, mut part) = (bytes.len(), vec![0; UNSIZED_LEN]);
    loop {
        let n = file.read_at(&mut part, (bytes.len() - start) as u64)?;
        bytes.extend_from_slice(&part[..n]);
        if n == 0 || (bytes.len() - start) as u64 > BATCHED_LEN_MAX {
            return Ok(());
        }
        // Most have one page.
        part.resize(64 << 10, 0);
    }
}

/// Whether a file is still being written.
fn is_in_use(stat: &Stat) -> bool {
    let changed = UNIX_EPOCH + Duration::new(u64::try_from(stat.ctime.secs).unwrap_or(0), stat.ctime.nanos);
    // A clock that differs tells nothing.
    SystemTime::now().duration_since(changed).is_ok_and(|since| since < IN_USE)
}

/// A long file while it is read: as a stream, and again if it changes meanwhile.
pub(super) struct LongFile {
    opened: Opened,
    /// How often it was read.
    reads: u32,
}

impl LongFile {
    /// Opens a file that must still be a regular one.
    pub(super) fn open(directory: &Directory, name: &[u8]) -> io::Result<Self> {
        Ok(Self { opened: open(directory, name)?, reads: 0 })
    }

    /// Its stat; after [`LongFile::judge`], the one that belongs to what was read.
    pub(super) fn stat(&self) -> &Stat {
        &self.opened.stat
    }

    /// Reads it once, by its stat and holes at the beginning; returns how many bytes were read.
    pub(super) fn read(&self, cutter: &Cutter, emit: &mut dyn FnMut(Group) -> bool) -> io::Result<u64> {
        stream_file(&self.opened, cutter, emit)
    }

    /// Whether what was just read is kept, and whether the file changed meanwhile; `None` if it is to be read again.
    /// `read` bytes came from it and `stored` of them are stored.
    pub(super) fn judge(&mut self, read: u64, stored: u64) -> io::Result<Option<bool>> {
        self.reads += 1;
        let (after, sparse) = look(&self.opened.file)?;
        let opened = &mut self.opened;
        // What says that it is empty and is not is as long as it was.
        let is_unsized = opened.stat.size == 0 && after.size == 0 && read > 0;
        let complete = is_unsized || read == stored_len(opened.stat.size, opened.sparse.as_deref()) as u64;
        let size = if is_unsized { read } else { opened.stat.size };
        if complete && !changed(&opened.stat, &after) {
            opened.stat.size = size;
            return Ok(Some(false));
        }
        // Reading once more what is written all the time stores it once more, and finds it changed again.
        if complete && (self.reads >= READS_MAX || is_in_use(&after)) {
            // Sound as far as it goes: the length and holes that it had when it was read.
            opened.stat = Stat { size, ..after };
            return Ok(Some(true));
        }
        if self.reads > READS_MAX {
            // It shrinks under our hands: keep just what was read.
            opened.sparse = None;
            opened.stat = Stat { size: stored, ..after };
            return Ok(Some(true));
        }
        opened.stat = after;
        opened.sparse = if self.reads >= READS_MAX { None } else { sparse };
        Ok(None)
    }

    /// What is known of it once it is stored.
    pub(super) fn done(self, read_ms: i64, meta: Metadata, changed: bool) -> FileContent {
        let Opened { stat, sparse, .. } = self.opened;
        FileContent { stat, read_ms, meta, sparse, class: ChunkClass::Fine, pieces: Vec::new(), at: 0, changed }
    }
}

/// Reads a long file as a stream of groups: once, from its stat and holes at the beginning.
///
/// Returns how many bytes were read.
fn stream_file(opened: &Opened, cutter: &Cutter, emit: &mut dyn FnMut(Group) -> bool) -> io::Result<u64> {
    opened.file.will_read_all();
    // One that says it is empty is read to its end.
    let size = if opened.stat.size == 0 { u64::MAX } else { opened.stat.size };
    let whole = [DataRun { hole: 0, data: size }];
    let runs = opened.sparse.as_deref().unwrap_or(&whole);
    let (mut next, mut offset, mut left, mut total) = (0, 0, 0, 0);
    let mut read = |buffer: &mut [u8]| -> io::Result<usize> {
        while left == 0 {
            let Some(run) = runs.get(next) else { return Ok(0) };
            offset += run.hole;
            left = run.data;
            next += 1;
        }
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = opened.file.read_at(&mut buffer[..want], offset)?;
        offset += n as u64;
        // A file that became shorter ends here; its stat will tell.
        left = if n < want { 0 } else { left - n as u64 };
        if n < want {
            next = runs.len();
        }
        total += n as u64;
        Ok(n)
    };
    cutter.cut_stream(&mut read, emit)?;
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::config::Parameters;
    use crate::primitives::system::Scripted;
    use crate::repository::{LocalPlaces, Repository, init};
    use crate::store::MemoryStore;

    /// A file of 0 bytes in the listing had 1.2 GB when it was read, and all of it was held in memory.
    #[test]
    fn a_file_that_grew_is_not_held_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let places = LocalPlaces { cache: folder.path().join("cache"), state: folder.path().join("state") };
        let (store, system) = (Arc::new(MemoryStore::new()), Arc::new(Scripted::new(1, 2)));
        init(&*store, b"x", Parameters::default(), None, &*system).unwrap();
        let passphrase = zeroize::Zeroizing::new(b"x".to_vec());
        let repository = Repository::open(store, &passphrase, &places, system).unwrap();
        let (cutter, owners) = (Cutter::new(&repository), OwnerNames::from_system());
        let directory = Directory::open(dir.path()).unwrap();
        let (mut bytes, mut problems) = (b"before".to_vec(), Vec::new());
        let mut read = |len: usize, bytes: &mut Vec<u8>| {
            std::fs::write(dir.path().join("a"), vec![7; len]).unwrap();
            read_file(&directory, b"a", (&cutter, &owners), bytes, &mut problems).unwrap()
        };
        assert!(read(BATCHED_LEN_MAX as usize + 1, &mut bytes).is_none());
        assert_eq!(bytes, b"before");
        assert_eq!(read(1000, &mut bytes).unwrap().stat.size, 1000);
        assert_eq!(bytes.len(), 1006);
    }

    #[test]
    fn what_was_changed_a_second_ago_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "a").unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        let stat = directory.stat(b"a").unwrap();
        assert!(is_in_use(&stat));
        let old = crate::format::tree::FileTime { secs: stat.ctime.secs - 60, nanos: 0 };
        assert!(!is_in_use(&Stat { ctime: old, ..stat }));
        let ahead = crate::format::tree::FileTime { secs: stat.ctime.secs + 3600, nanos: 0 };
        assert!(!is_in_use(&Stat { ctime: ahead, ..stat }));
    }
}
