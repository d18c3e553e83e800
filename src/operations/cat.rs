//! Cat: one file of a snapshot as a stream of bytes, every chunk checked before it is written.

use std::io::Write;

use crate::machinery::repository::snapshots::Snapshot;
use crate::machinery::repository::{Repository, RepositoryError};
use crate::words::observer::Observer;

/// Why a file could not be streamed. What was written before is sound.
#[derive(Debug, thiserror::Error)]
pub enum CatError {
    /// The snapshot has no such entry.
    #[error("snapshot {snapshot} has no {path}")]
    NoSuchPath {
        /// The snapshot, shortened.
        snapshot: String,
        /// The path, printable.
        path: String,
    },
    /// The entry is no regular file.
    #[error("{path} in snapshot {snapshot} is not a regular file")]
    NotAFile {
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
    _repository: &Repository,
    _snapshot: &Snapshot,
    _path: &[u8],
    _out: &mut dyn Write,
    _observer: &dyn Observer,
) -> Result<u64, CatError> {
    todo!()
}
