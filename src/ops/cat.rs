//! Cat: one file of a snapshot as a stream of bytes, every chunk checked before it is written.

use std::io::Write;

use crate::crypto::keys::ContentHasher;
use crate::format::tree::{DataRun, FileNode, NodeKind};
use crate::primitives::progress::Observer;
use crate::repository::read::file::FileReader;
use crate::repository::snapshots::Snapshot;
use crate::repository::{Repository, RepositoryError};

use super::list;

/// Why a file could not be streamed. What was written before is sound, but for [`CatError::WrongContent`].
#[derive(Debug, thiserror::Error)]
pub enum CatError {
    /// The entry is no regular file.
    #[error("{path} in snapshot {snapshot} is not a regular file")]
    NotAFile {
        /// The snapshot, shortened.
        snapshot: String,
        /// The path, printable.
        path: String,
    },
    /// All chunks are sound, and together they are not the content that was recorded.
    #[error("{path} in snapshot {snapshot} does not have the content that its content id names")]
    WrongContent {
        /// The snapshot, shortened.
        snapshot: String,
        /// The path, printable.
        path: String,
    },
    /// The receiver took no more.
    #[error("cannot write")]
    Write(#[source] std::io::Error),
    /// The repository could not do its part.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// Writes the file at `path` of the snapshot to `out`; returns how many bytes it has.
pub fn cat(
    repository: &Repository,
    snapshot: &Snapshot,
    path: &[u8],
    out: &mut dyn Write,
    observer: &dyn Observer,
) -> Result<u64, CatError> {
    let (printable, id) = (String::from_utf8_lossy(path).into_owned(), snapshot.id.short());
    let node = list::find(repository, snapshot, path)?;
    let Some(NodeKind::File(file)) = node.map(|n| n.kind) else {
        return Err(CatError::NotAFile { snapshot: id, path: printable });
    };
    let streamed = stream(repository, &file, out, observer).map_err(|e| match e {
        CatError::Repository(e) => CatError::Repository(repository.within(&snapshot.id, e)),
        e => e,
    })?;
    match streamed {
        Some(len) => Ok(len),
        None => Err(CatError::WrongContent { snapshot: id, path: printable }),
    }
}

/// Writes the content of a file, its holes as zeros. `None`: it is not the content that the node names by its id.
fn stream(
    repository: &Repository,
    file: &FileNode,
    out: &mut dyn Write,
    observer: &dyn Observer,
) -> Result<Option<u64>, CatError> {
    let mut hasher = ContentHasher::new(repository.domain_keys());
    let mut any = false;
    let mut sparse = SparseWriter::new(file);
    let mut failure = None;
    let read = FileReader::new(repository).for_each_part(&file.content, &mut |part| {
        if observer.interrupted() {
            return Err(RepositoryError::Interrupted);
        }
        if let Err(e) = sparse.write(part.bytes(), out) {
            failure = Some(e);
            return Err(RepositoryError::Interrupted);
        }
        observer.advance(part.bytes().len() as u64);
        part.entries().iter().for_each(|chunk| hasher.add(chunk.id));
        any = true;
        Ok(())
    });
    if let Some(e) = failure {
        return Err(CatError::Write(e));
    }
    read?;
    sparse.finish(out).and_then(|()| out.flush()).map_err(CatError::Write)?;
    if sparse.written != file.size {
        let what = format!("a file has {} bytes instead of {}", sparse.written, file.size);
        let cause = crate::format::envelope::FormatError::Malformed(what);
        return Err(RepositoryError::object("its content list")(cause).into());
    }
    // Whoever writes a node chooses its references: each leads to sound chunks, and only the id says to which.
    let is_meant = !any || hasher.take() == file.content_id;
    Ok(is_meant.then_some(sparse.written))
}

/// Puts the holes back between the data.
struct SparseWriter<'a> {
    runs: Option<std::slice::Iter<'a, DataRun>>,
    left: u64,
    size: u64,
    written: u64,
}

impl<'a> SparseWriter<'a> {
    fn new(file: &'a FileNode) -> Self {
        Self { runs: file.sparse.as_ref().map(|r| r.iter()), left: 0, size: file.size, written: 0 }
    }

    fn write(&mut self, mut bytes: &[u8], out: &mut dyn Write) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let mut n = bytes.len();
            if let Some(runs) = &mut self.runs {
                if self.left == 0 {
                    if let Some(run) = runs.next() {
                        self.left = run.data;
                        let hole = run.hole;
                        self.zeros(hole, out)?;
                        continue;
                    }
                    // More data than the runs say: the length will tell.
                    self.left = u64::MAX;
                }
                n = n.min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= n as u64;
            }
            out.write_all(&bytes[..n])?;
            self.written += n as u64;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write) -> std::io::Result<()> {
        match self.runs {
            Some(_) => self.zeros(self.size.saturating_sub(self.written), out),
            None => Ok(()),
        }
    }

    fn zeros(&mut self, mut n: u64, out: &mut dyn Write) -> std::io::Result<()> {
        let zeros = [0u8; 64 << 10];
        while n > 0 {
            let part = n.min(zeros.len() as u64);
            out.write_all(&zeros[..part as usize])?;
            self.written += part;
            n -= part;
        }
        Ok(())
    }
}
