//! Backup: trees and streams in, snapshots out.
//!
//! One run holds any number of sources: all paths together are one, and every stream is one. Each source
//! becomes a snapshot of its own, published as soon as it is finished; a stream whose command fails publishes
//! nothing. What is unreadable is reported and left out, and the outcome says so.
//!
//! Paths and streams are [`Source`]s; whatever else is to be saved implements that trait.

mod ancestors;
mod assemble;
mod compare;
mod content;
pub mod cut;
mod dry_run;
mod dump;
mod dumps;
mod file;
mod first;
mod follow;
mod foresee;
mod foreseen;
mod framed;
mod limits;
mod links;
mod paths;
mod pipeline;
mod report;
mod roots;
mod scan;
mod snapshot_writer;
mod sources;
mod stream;
mod tally;
mod together;
mod tree;
mod turns;

use std::path::PathBuf;
use std::sync::Arc;

use crate::compression::CompressionLevel;
use crate::format::description::{Figures, RunDescription, SetDescription, SourceOutcome};
use crate::format::record::{Outcome, RunKind};
use crate::primitives::ids::RunId;
use crate::primitives::progress::{Observer, Severity};
use crate::repository::write::packer::PackerThreads;
use crate::repository::write::run::{Run, run_description};
use crate::repository::{Repository, RepositoryError};
use crate::source::ExcludeRules;
use crate::source::exclude::ExcludeOptions;

use snapshot_writer::save_all;
use together::Together;

pub use compare::Compare;
pub use dump::{Dump, Dumped, Origin};
pub use dumps::{ListDumps, dumps_source};
pub use follow::Follower;
pub use foresee::foresee;
pub use foreseen::{Foreseen, ForeseenContent, ForeseenStream};
pub use framed::{Frame, framed_source, line_source};
pub use limits::{Limits, UsualLength};
pub use report::SourceReport;
pub use snapshot_writer::{SnapshotWriter, Source};
pub use sources::{paths_source, stream_source};
pub use stream::{StreamOptions, StreamSource};

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
    /// The job that this is a run of, if a configuration names one.
    pub job: Option<Job>,
    /// The time the snapshots stand for, in milliseconds since the epoch; by default now.
    pub time_ms: Option<i64>,
    /// What is left out.
    pub exclude: ExcludeOptions,
    /// Relative paths that are read before the rest, below each of the paths.
    pub first: Vec<PathBuf>,
    /// Says what would be read, as far as the file cache knows; reads and stores nothing.
    pub dry_run: bool,
    /// Reads every file, also those that look unchanged.
    pub read_all: bool,
    /// What a file must have in common with the last backup's to look unchanged.
    pub compare: Compare,
    /// How much time is spent on making new data smaller.
    pub compression: CompressionLevel,
    /// A stream of no bytes is saved; else it fails.
    pub allow_empty: bool,
    /// How many sources, or dumps of sources, are saved at a time; at least one.
    pub parallel: usize,
    /// What was asked, without secrets: kept with the run.
    pub command: String,
    /// Is told what was published as soon as it was.
    pub follower: Option<Arc<dyn Follower>>,
}

/// Paths that are saved as one source, and how.
#[derive(Debug, Clone)]
pub struct PathOptions {
    /// See [`BackupOptions::paths`].
    pub paths: Vec<PathBuf>,
    /// See [`BackupOptions::source`].
    pub source: Option<String>,
    /// See [`BackupOptions::exclude`].
    pub exclude: ExcludeOptions,
    /// See [`BackupOptions::first`].
    pub first: Vec<PathBuf>,
    /// See [`BackupOptions::read_all`].
    pub read_all: bool,
    /// See [`BackupOptions::compare`].
    pub compare: Compare,
    /// What it must keep to.
    pub limits: Limits,
}

impl BackupOptions {
    /// What is said of the paths.
    fn of_paths(&self) -> PathOptions {
        let (paths, source, exclude) = (self.paths.clone(), self.source.clone(), self.exclude.clone());
        let (first, read_all, compare) = (self.first.clone(), self.read_all, self.compare);
        PathOptions { paths, source, exclude, first, read_all, compare, limits: Limits::default() }
    }
}

/// A job of a configuration: what it saves at once is a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its name.
    pub name: String,
    /// Its type, such as `Daily`.
    pub job_type: String,
    /// What a person is told after it was restored.
    pub notes: Option<String>,
    /// Answers that are kept with the set: a name, and what a command printed.
    pub records: Vec<(String, String)>,
    /// Only some of its sources were asked for: the set is none of the whole job.
    pub alone: bool,
}

/// What came of a backup.
#[derive(Debug, Clone)]
pub struct BackupReport {
    /// The run; `None` for a dry run.
    pub run: Option<RunId>,
    /// One per source, in the order given, paths first; of a source with members, one per member.
    pub sources: Vec<SourceReport>,
    /// Finished packs of interrupted runs that were found again, and their bytes.
    pub resumed: (usize, u64),
    /// Objects of the repository that are missing or have another length, and what is wrong with each.
    pub damage: Vec<String>,
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
    Exclude(#[from] crate::source::exclude::ExcludeError),
    /// The user asked to stop. What was uploaded is published, and no snapshot.
    #[error("interrupted; what was uploaded will be found again by the next run")]
    Interrupted,
    /// The repository could not do its part.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// What stopped a source before its end, and the run with it.
#[derive(Debug)]
pub enum Stop {
    /// The user.
    Interrupted,
    /// The repository.
    Repository(RepositoryError),
}

impl From<RepositoryError> for Stop {
    fn from(e: RepositoryError) -> Self {
        Self::Repository(e)
    }
}

impl From<Stop> for BackupError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Interrupted => Self::Interrupted,
            Stop::Repository(RepositoryError::Interrupted) => Self::Interrupted,
            Stop::Repository(e) => Self::Repository(e),
        }
    }
}

/// Backs up what the options name: all paths as one source, and each stream as one.
pub fn backup(
    repository: &Arc<Repository>,
    mut options: BackupOptions,
    observer: &dyn Observer,
) -> Result<BackupReport, BackupError> {
    let streams = std::mem::take(&mut options.streams);
    sources::check(&options, &streams)?;
    let rules = exclude_rules(&options.of_paths())?;
    if options.dry_run {
        sources::check_allowed(repository, &options.host, sources::names(&options, &streams))?;
        return dry_run::dry_run(repository, &options, &rules, observer);
    }
    let sources = sources::sources(&options, rules, streams);
    backup_sources(repository, sources, options, observer)
}

/// Backs up the sources in one run, as many at a time as the options say. What comes of them is reported in their order.
pub fn backup_sources(
    repository: &Arc<Repository>,
    sources: Vec<Box<dyn Source>>,
    mut options: BackupOptions,
    observer: &dyn Observer,
) -> Result<BackupReport, BackupError> {
    if sources.is_empty() {
        return Err(BackupError::NoSources);
    }
    sources::check_allowed(repository, &options.host, sources.iter().map(|s| s.identity().to_owned()))?;
    let resumed = repository.resume_runs(observer)?;
    let damage = check_store(repository, observer)?;
    // What was read before cannot be relied on when something is gone: all is read, and stored where it lacks.
    options.read_all |= !damage.is_empty() || !repository.suspects().is_empty();
    let set = sources::set_of(repository, &sources, options.job.as_ref());
    let begun = begun(&options.host, &options.command, set.clone());
    let mut run = repository.begin_run(RunKind::Backup, &options.host, &begun, PackerThreads::default())?;
    run.compress_at(options.compression);
    let (id, started_ms) = (run.id(), repository.system.now_ms());
    if let Some(follower) = &options.follower {
        follower.begins(&sources.iter().map(|source| source.name().to_owned()).collect::<Vec<_>>());
    }
    let together = Together::new(run, &options, observer, &begun, set, sources.len());
    save_all(&together, sources);
    let (run, reports, done) = together.finish();
    if let Err(error) = done {
        end_failed(run, &error, begun, observer);
        return Err(error);
    }
    let outcome = worst(reports.iter().map(|report| report.outcome));
    // With a snapshot published last, its record ended the run already.
    let is_over = repository.state().runs.get(&id).is_some_and(|r| r.over.is_some());
    if !is_over {
        let figures = Figures {
            duration_ms: (repository.system.now_ms() - started_ms).max(0) as u64,
            ..reports.last().map(|r| r.figures).unwrap_or_default()
        };
        run.end(outcome, &RunDescription { figures, ..ended(&begun, &reports) })?;
    }
    Ok(BackupReport { run: Some(id), sources: reports, resumed, damage, outcome })
}

/// What a run says of itself when it begins. Notes and records stand with the snapshots.
fn begun(host: &str, command: &str, set: Option<SetDescription>) -> RunDescription {
    let set = set.map(|set| SetDescription { notes: None, records: None, ..set });
    RunDescription { set, ..run_description(host, command) }
}

/// What a run says of itself at its end, but for its figures.
fn ended(begun: &RunDescription, reports: &[SourceReport]) -> RunDescription {
    let outcome = |report: &SourceReport| SourceOutcome {
        path: report.path(),
        outcome: report.outcome,
        snapshot: report.snapshot,
        error: report.error.as_deref().map(SourceOutcome::shortened),
        bytes: report.figures.bytes,
        bytes_stored: report.figures.bytes_stored,
    };
    let findings = reports.iter().filter_map(|report| report.error.clone()).collect();
    RunDescription { findings, sources: Some(reports.iter().map(outcome).collect()), ..begun.clone() }
}

/// Writes into the log that a run failed before it read anything, and why: whoever reads the log is to know of it. `job`
/// is what it was to save, with the names of the sources.
pub fn failed_run(
    repository: &Arc<Repository>,
    host: &str,
    command: &str,
    job: (&Job, Vec<String>),
    why: String,
) -> Result<(), BackupError> {
    let begun = begun(host, command, Some(sources::set_of_job(repository, job.1, Some(job.0))));
    let run = repository.begin_run(RunKind::Backup, host, &begun, PackerThreads::default())?;
    run.end(Outcome::Failed, &RunDescription { findings: vec![why], ..begun })?;
    Ok(())
}

/// Ends a run that could not save all its sources. What is uploaded is published, so that the next run need not store it
/// again; if that fails too, the packs are found by their kept directories.
fn end_failed(run: Run, error: &BackupError, begun: RunDescription, observer: &dyn Observer) {
    let described = RunDescription { findings: vec![error.to_string()], ..begun };
    if let Err(e) = run.end(Outcome::Failed, &described) {
        observer.finding(Severity::Warning, &format!("the run could not be ended: {e}"));
    }
}

/// Compares the store's listing with the log once a day, and tells what differs.
fn check_store(repository: &Repository, observer: &dyn Observer) -> Result<Vec<String>, BackupError> {
    let damage: Vec<String> =
        repository.check_listing()?.iter().map(|d| format!("{}: {}", d.object, d.what())).collect();
    for text in &damage {
        observer.finding(Severity::Error, text);
    }
    if !damage.is_empty() || !repository.suspects().is_empty() {
        let text = "objects of the repository are missing or damaged: this backup stores again what it needs of that; `strongroom verify` says what earlier snapshots lost";
        observer.finding(Severity::Note, text);
    }
    Ok(damage)
}

/// One set of rules for all roots: their counters are shared.
fn exclude_rules(options: &PathOptions) -> Result<Option<ExcludeRules>, BackupError> {
    let exclude = ExcludeOptions { roots: options.paths.clone(), ..options.exclude.clone() };
    options.paths.first().map(|root| ExcludeRules::new(&exclude, root)).transpose().map_err(BackupError::from)
}

fn worst(outcomes: impl Iterator<Item = Outcome>) -> Outcome {
    let outcomes: Vec<Outcome> = outcomes.collect();
    match outcomes.iter().copied().max() {
        Some(Outcome::Failed) if outcomes.iter().any(|o| *o != Outcome::Failed) => Outcome::Partial,
        Some(outcome) => outcome,
        None => Outcome::Complete,
    }
}
