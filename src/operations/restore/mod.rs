//! Restore: a snapshot, or a part of one, back into a directory.
//!
//! Planned from references: each frame is fetched, opened and decompressed once, neighbours in one request,
//! files are written in parallel, metadata last.

use std::path::PathBuf;

use crate::machinery::repository::RepositoryError;
use crate::machinery::repository::snapshots::Snapshot;
use crate::machinery::target::{RelativePath, TargetError, TargetOptions};

/// What to restore, and where.
pub struct RestoreOptions<'a> {
    /// The directory to restore into.
    pub target: PathBuf,
    /// Ownership, overwriting, attributes.
    pub target_options: TargetOptions,
    /// The part of the snapshot that becomes the target's root; all of it if `None`.
    pub subtree: Option<Vec<u8>>,
    /// Patterns (gitignore meaning, below the restored root): only what matches is restored. Empty: everything.
    pub include: Vec<String>,
    /// Patterns: what matches is left out.
    pub exclude: Vec<String>,
    /// Called with what is in the target and not in the snapshot, before anything of it is deleted; deletes
    /// if it says so. `None`: extras stay.
    pub delete: Option<&'a mut dyn FnMut(&[RelativePath]) -> bool>,
    /// Says what would be done, and does nothing.
    pub dry_run: bool,
}

/// What came of a restore.
#[derive(Debug, Clone, Default)]
pub struct RestoreReport {
    /// Regular files written.
    pub files: u64,
    /// Bytes of content written.
    pub bytes: u64,
    /// Directories made or found.
    pub directories: u64,
    /// Links, pipes and devices made.
    pub others: u64,
    /// Files that were there and were kept.
    pub kept: u64,
    /// Sockets, which are not restored.
    pub skipped: u64,
    /// Extras deleted.
    pub deleted: u64,
    /// Entries that could not be restored, or not fully, and why. Not empty: the restore is incomplete.
    pub problems: Vec<String>,
}

/// Why nothing could be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The target cannot be used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A pattern cannot be understood.
    #[error("the pattern {pattern} cannot be understood")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why.
        source: ignore::Error,
    },
    /// The part to restore is no directory; `cat` streams files.
    #[error("{path} is not a directory")]
    NotADirectory {
        /// The path, printable.
        path: String,
    },
    /// Not deleting was chosen, after the target was looked at.
    #[error("nothing was restored: deleting the extras was not agreed to")]
    NotAgreed,
    /// The user asked to stop.
    #[error("interrupted; the target is incomplete")]
    Interrupted,
    /// The repository could not do its part.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// Restores the snapshot.
pub fn restore(
    _repository: &std::sync::Arc<crate::machinery::repository::Repository>,
    _snapshot: &Snapshot,
    _options: RestoreOptions,
    _observer: &dyn crate::words::observer::Observer,
) -> Result<RestoreReport, RestoreError> {
    todo!()
}
