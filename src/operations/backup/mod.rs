//! Backup: trees and streams in, snapshots out.
//!
//! One run holds any number of sources: all paths together are one, and every stream is one. Each source
//! becomes a snapshot of its own, published as soon as it is finished; a stream whose command fails publishes
//! nothing. What is unreadable is reported and left out, and the outcome says so.

use std::io::Read;
use std::path::PathBuf;

use crate::formats::description::Figures;
use crate::formats::record::Outcome;
use crate::machinery::repository::RepositoryError;
use crate::machinery::source::command::CommandSource;
use crate::machinery::source::exclude::{ExcludeOptions, RuleSummary};
use crate::words::ids::{RunId, SnapshotId};

/// What to back up, and how.
pub struct BackupOptions {
    /// Absolute paths, without `.` and `..`; all of them become one snapshot.
    pub paths: Vec<PathBuf>,
    /// Streams; each becomes a snapshot.
    pub streams: Vec<StreamSource>,
    /// Name of the source made of the paths; by default the sorted paths, joined by commas.
    pub source: Option<String>,
    /// The machine's name.
    pub host: String,
    /// The user's name.
    pub user: String,
    /// Tags of all snapshots.
    pub tags: Vec<String>,
    /// Label of all snapshots.
    pub label: Option<String>,
    /// The time the snapshots stand for, in milliseconds since the epoch; by default now.
    pub time_ms: Option<i64>,
    /// What is left out.
    pub exclude: ExcludeOptions,
    /// Reads and compares, and stores nothing.
    pub dry_run: bool,
    /// Reads every file, also those that look unchanged.
    pub read_all: bool,
    /// What was asked, without secrets: kept with the run.
    pub command: String,
}

/// A stream to back up as a file.
pub enum StreamSource {
    /// Bytes from a reader, such as standard input.
    Reader {
        /// Name of the file.
        name: String,
        /// The bytes.
        reader: Box<dyn Read + Send>,
    },
    /// The standard output of a command, whose exit status decides.
    Command(CommandSource),
}

impl StreamSource {
    /// Name of the file, and of the source.
    pub fn name(&self) -> &str {
        match self {
            Self::Reader { name, .. } => name,
            Self::Command(command) => &command.name,
        }
    }
}

/// What came of one source.
#[derive(Debug, Clone)]
pub struct SourceReport {
    /// Name of the source.
    pub source: String,
    /// Its snapshot; `None` if nothing was published.
    pub snapshot: Option<SnapshotId>,
    /// How complete it is; [`Outcome::Failed`] if nothing was published.
    pub outcome: Outcome,
    /// What was read and stored.
    pub figures: Figures,
    /// Why nothing was published.
    pub error: Option<String>,
    /// Exclusion rules that matched nothing.
    pub rules_unmatched: Vec<String>,
    /// What the exclusion rules left out.
    pub rules: Vec<RuleSummary>,
}

/// What came of a backup.
#[derive(Debug, Clone)]
pub struct BackupReport {
    /// The run; `None` for a dry run.
    pub run: Option<RunId>,
    /// One per source, in the order given: paths first.
    pub sources: Vec<SourceReport>,
    /// Finished packs of interrupted runs that were found again, and their bytes.
    pub resumed: (usize, u64),
    /// The worst outcome.
    pub outcome: Outcome,
}

/// Why no backup was made at all.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Nothing to back up was named.
    #[error("nothing to back up was named")]
    NoSources,
    /// A path that was named cannot be read.
    #[error("cannot read {path}")]
    Root {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A name of a stream that cannot be a file name.
    #[error("{0:?} cannot be the name of a file")]
    StreamName(String),
    /// An exclusion rule that cannot be understood.
    #[error(transparent)]
    Exclude(#[from] crate::machinery::source::exclude::ExcludeError),
    /// The user asked to stop. What was uploaded is published, and no snapshot.
    #[error("interrupted; what was uploaded will be found again by the next run")]
    Interrupted,
    /// The repository could not do its part.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// Makes the backup.
pub fn backup(
    _repository: &std::sync::Arc<crate::machinery::repository::Repository>,
    _options: BackupOptions,
    _observer: &dyn crate::words::observer::Observer,
) -> Result<BackupReport, BackupError> {
    todo!()
}
