//! What can go wrong with the cache.

use std::path::PathBuf;

/// Why the local cache could not be used. It may be deleted at any time.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The database could not be used.
    #[error("the local cache {path} cannot be used")]
    Database {
        /// Its file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// Its folder could not be made, or not be written to.
    #[error("the local cache in {path} cannot be used")]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What is in the database makes no sense, or another process put another one in its place.
    #[error("the local cache {path} is damaged")]
    Damaged {
        /// Its file.
        path: PathBuf,
    },
}

/// What most functions here return.
pub type Result<T, E = CacheError> = std::result::Result<T, E>;
