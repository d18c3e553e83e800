//! Backup: trees and streams in, snapshots out.
//!
//! One run holds any number of sources: all paths together are one, and every stream is one. Each source
//! becomes a snapshot of its own, published as soon as it is finished; a stream whose command fails publishes
//! nothing. What is unreadable is reported and left out, and the outcome says so.

mod ancestors;
pub mod content;
mod dry_run;
mod paths;
mod read;
mod stream;
pub mod tree;

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use crate::compression::CompressionLevel;
use crate::format::description::{self, Figures, RunDescription, SnapshotDescription};
use crate::format::record::{Outcome, Role, RunKind, SnapshotEntry};
use crate::format::tree::check_name;
use crate::primitives::ids::{ChunkId, RunId, SnapshotId};
use crate::primitives::progress::{Observer, Severity};
use crate::primitives::system::random;
use crate::repository::write::packer::PackerThreads;
use crate::repository::write::run::{Publication, Run, program, run_description};
use crate::repository::{Repository, RepositoryError};
use crate::source::command::CommandSource;
use crate::source::exclude::{ExcludeOptions, RuleSummary};
use crate::source::{ExcludeRules, stat_root};

use tree::Stop;

pub use tree::Compare;

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

impl From<Stop> for BackupError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Interrupted => Self::Interrupted,
            Stop::Repository(RepositoryError::Interrupted) => Self::Interrupted,
            Stop::Repository(e) => Self::Repository(e),
        }
    }
}

/// Makes the backup.
pub fn backup(
    repository: &Arc<Repository>,
    mut options: BackupOptions,
    observer: &dyn Observer,
) -> Result<BackupReport, BackupError> {
    let streams = std::mem::take(&mut options.streams);
    check_sources(&options, &streams)?;
    let rules = exclude_rules(&options)?;
    check_allowed(repository, &options, &streams)?;
    if options.dry_run {
        return dry_run::dry_run(repository, &options, &rules, observer);
    }
    let resumed = repository.resume_runs(observer)?;
    let damage = check_store(repository, observer)?;
    // What was read before cannot be relied on when something is gone: all is read, and stored where it lacks.
    options.read_all |= !damage.is_empty() || !repository.suspects().is_empty();
    let begun = run_description(&options.host, &options.command);
    let mut run = repository.begin_run(RunKind::Backup, &options.host, &begun, PackerThreads::default())?;
    run.compress_at(options.compression);
    let id = run.id();
    let started_ms = repository.system.now_ms();
    let (run_ref, reports) = (&mut run, Vec::new());
    let mut work =
        Work { run: run_ref, options: &options, observer, begun: &begun, reports, left: 0, waiting: Vec::new() };
    let mut done = work.sources(rules, streams);
    // What is stored is published, whatever came after it.
    let published = work.publish_waiting(false);
    if done.is_ok() {
        done = published.map(drop);
    }
    let reports = work.reports;
    let outcome = match done {
        Ok(()) => worst(&reports),
        Err(error) => {
            // What is uploaded is published, so that the next run need not store it again. If that fails too,
            // the packs are found by their kept directories.
            let findings = vec![error.to_string()];
            let described = RunDescription { findings, ..begun };
            if let Err(e) = run.end(Outcome::Failed, &described) {
                observer.finding(Severity::Warning, &format!("the run could not be ended: {e}"));
            }
            return Err(error);
        }
    };
    // With a snapshot published last, its record ended the run already.
    let ended = repository.state().runs.get(&id).is_some_and(|r| r.over.is_some());
    if !ended {
        let figures = Figures {
            duration_ms: (repository.system.now_ms() - started_ms).max(0) as u64,
            ..reports.last().map(|r| r.figures).unwrap_or_default()
        };
        let findings = reports.iter().filter_map(|r| r.error.clone()).collect();
        run.end(outcome, &RunDescription { figures, findings, ..begun })?;
    }
    Ok(BackupReport { run: Some(id), sources: reports, resumed, damage, outcome })
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

fn check_sources(options: &BackupOptions, streams: &[StreamSource]) -> Result<(), BackupError> {
    if options.paths.is_empty() && streams.is_empty() {
        return Err(BackupError::NoSources);
    }
    for stream in streams {
        check_name(stream.name().as_bytes()).map_err(|_| BackupError::StreamName(stream.name().to_owned()))?;
    }
    // Of several paths one may be missing; if all are, nothing is begun.
    let mut missing = None;
    for path in &options.paths {
        match stat_root(path) {
            Ok(_) => return Ok(()),
            Err(source) => drop(missing.get_or_insert(BackupError::Root { path: path.clone(), source })),
        }
    }
    missing.map_or(Ok(()), Err)
}

/// What everyone would hold to be void is not begun.
fn check_allowed(
    repository: &Repository,
    options: &BackupOptions,
    streams: &[StreamSource],
) -> Result<(), BackupError> {
    let not = |what: String| Err(RepositoryError::NotAllowed { what }.into());
    let state = repository.state();
    let Some(credential) = state.credentials.get(&repository.keys.id()) else { return Ok(()) };
    let (certificate, keys) = (&credential.certificate, repository.domain_keys());
    if certificate.role != Role::Backup {
        return not("this credential is read-only".to_owned());
    }
    if !certificate.hosts.contains(&keys.host(&options.host)) {
        return not(format!(
            "this credential may not speak for host {:?}: `strongroom whoami` says for which, and --host names one",
            options.host
        ));
    }
    let paths = (!options.paths.is_empty()).then(|| paths::source_of(options));
    let alone = options.paths.is_empty() && streams.len() == 1;
    let names = streams.iter().map(|s| match &options.source {
        Some(source) if alone => source.clone(),
        _ => s.name().to_owned(),
    });
    for source in paths.into_iter().chain(names) {
        if !certificate.sources.is_empty() && !certificate.sources.contains(&keys.source(&source)) {
            return not(format!(
                "this credential may not speak for source {source:?}: `strongroom whoami` says for which, and --source names one"
            ));
        }
    }
    Ok(())
}

/// One set of rules for all roots: their counters are shared.
fn exclude_rules(options: &BackupOptions) -> Result<Option<ExcludeRules>, BackupError> {
    let exclude = ExcludeOptions { roots: options.paths.clone(), ..options.exclude.clone() };
    options.paths.first().map(|root| ExcludeRules::new(&exclude, root)).transpose().map_err(BackupError::from)
}

fn worst(reports: &[SourceReport]) -> Outcome {
    let failed = reports.iter().filter(|r| r.outcome == Outcome::Failed).count();
    match reports.iter().map(|r| r.outcome).max() {
        Some(Outcome::Failed) if failed < reports.len() => Outcome::Partial,
        Some(outcome) => outcome,
        None => Outcome::Complete,
    }
}

/// A backup in progress: what its sources share.
struct Work<'a> {
    run: &'a mut Run,
    options: &'a BackupOptions,
    observer: &'a dyn Observer,
    begun: &'a RunDescription,
    /// Sources that are done.
    reports: Vec<SourceReport>,
    /// How many come after the one at hand.
    left: usize,
    /// Streams that are stored and not published yet.
    waiting: Vec<Waiting>,
}

/// Streams that brought less than this wait for the next, so that they share packs and a record: 14 unchanged dumps cost
/// what one does.
const WAITING_LEN_MAX: u64 = 8 << 20;
/// So long after the first of them began they are published in any case when one has ended, in milliseconds.
const WAITING_TIME_MAX: i64 = 60_000;

/// A stream that waits to be published.
struct Waiting {
    id: SnapshotId,
    stored: Stored,
    /// Which report is its.
    report: usize,
}

/// A source that is stored and not published yet.
struct Stored {
    described: SnapshotDescription,
    root: ChunkId,
    outcome: Outcome,
    parents: Vec<SnapshotId>,
    started_ms: i64,
}

impl Work<'_> {
    fn sources(&mut self, rules: Option<ExcludeRules>, streams: Vec<StreamSource>) -> Result<(), BackupError> {
        self.left = usize::from(rules.is_some()) + streams.len();
        if let Some(rules) = rules {
            self.left -= 1;
            let report = paths::backup_paths(self, &rules)?;
            self.reports.push(report);
        }
        for stream in streams {
            self.left -= 1;
            let report = stream::backup_stream(self, stream)?;
            self.reports.push(report);
        }
        Ok(())
    }

    /// Publishes a source as a snapshot. The last one ends the run in the same record.
    fn publish(&mut self, stored: Stored) -> Result<SnapshotId, BackupError> {
        let repository = self.run.repository().clone();
        let id = self.run.snapshot_id();
        let entry = self.entry(id, &stored, &repository);
        let end = (self.left == 0).then(|| self.ending(stored.outcome, stored.described.figures));
        let end = end.as_ref().map(|(outcome, described)| (*outcome, described));
        self.run.publish(Publication { snapshots: vec![entry], end })?;
        Ok(id)
    }

    /// Publishes a stream, perhaps later and together with others; says what it is called and what it cost, as far as
    /// that is known.
    fn publish_soon(&mut self, stored: Stored) -> Result<(SnapshotId, Option<u64>), BackupError> {
        let (id, report) = (self.run.snapshot_id(), self.reports.len());
        self.waiting.push(Waiting { id, stored, report });
        let new: u64 = self.waiting.iter().map(|w| w.stored.described.figures.bytes_new).sum();
        let since = self.waiting[0].stored.started_ms;
        let waits = self.run.repository().system.now_ms() - since < WAITING_TIME_MAX && new < WAITING_LEN_MAX;
        if self.left > 0 && waits {
            return Ok((id, None));
        }
        let cost = self.publish_waiting(self.left == 0)?;
        Ok((id, cost))
    }

    /// Publishes the streams that wait, and ends the run in the same record if `ends` says so. Returns what the last of
    /// them cost.
    fn publish_waiting(&mut self, ends: bool) -> Result<Option<u64>, BackupError> {
        let mut waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return Ok(None);
        }
        let repository = self.run.repository().clone();
        let before = self.run.bytes_published();
        self.run.flush()?;
        // What they share is told by what each of them brought.
        let cost = self.run.bytes_flushed().saturating_sub(before);
        let new: u64 = waiting.iter().map(|w| w.stored.described.figures.bytes_new).sum();
        let (mut rest, count) = (cost, waiting.len() as u64);
        for (n, w) in waiting.iter_mut().enumerate() {
            let figures = &mut w.stored.described.figures;
            let share = match new {
                0 => cost / count,
                new => (u128::from(cost) * u128::from(figures.bytes_new) / u128::from(new)) as u64,
            };
            figures.bytes_stored = if n as u64 + 1 == count { rest } else { share };
            rest -= figures.bytes_stored;
            if let Some(report) = self.reports.get_mut(w.report) {
                report.figures.bytes_stored = figures.bytes_stored;
            }
        }
        let last = waiting.last().expect("there is one");
        let (outcome, cost) = (last.stored.outcome, last.stored.described.figures.bytes_stored);
        let end = ends.then(|| self.ending(outcome, last.stored.described.figures));
        let snapshots = waiting.iter().map(|w| self.entry(w.id, &w.stored, &repository)).collect();
        let end = end.as_ref().map(|(outcome, described)| (*outcome, described));
        self.run.publish(Publication { snapshots, end })?;
        Ok(Some(cost))
    }

    fn entry(&self, id: SnapshotId, stored: &Stored, repository: &Repository) -> SnapshotEntry {
        let (keys, described) = (repository.domain_keys(), &stored.described);
        SnapshotEntry {
            id,
            time_ms: self.options.time_ms.unwrap_or(stored.started_ms),
            root: stored.root,
            outcome: stored.outcome,
            parents: stored.parents.clone(),
            host: keys.host(&described.host),
            source: keys.source(&described.source),
            description: description::seal(described, &self.run.secret().sealing(), random(&*repository.system)),
        }
    }

    /// How the run ends with a source of this outcome, and what it says of itself.
    fn ending(&self, outcome: Outcome, figures: Figures) -> (Outcome, RunDescription) {
        let run_outcome = match (outcome, worst(&self.reports)) {
            (o, w) if self.reports.is_empty() || w <= o => o,
            (_, Outcome::Failed) => Outcome::Partial,
            (_, w) => w,
        };
        let findings = self.reports.iter().filter_map(|r| r.error.clone()).collect();
        (run_outcome, RunDescription { figures, findings, ..self.begun.clone() })
    }

    /// What every snapshot of this backup says alike.
    fn described(&self) -> SnapshotDescription {
        let options = self.options;
        SnapshotDescription {
            host: options.host.clone(),
            user: options.user.clone(),
            tags: options.tags.clone(),
            label: options.label.clone(),
            program: program(),
            ..SnapshotDescription::default()
        }
    }
}

/// Counters of the run before a source, so that the source's own share can be told.
struct CounterSnapshot {
    new: u64,
    stored: u64,
}

impl CounterSnapshot {
    fn of(run: &Run) -> Self {
        Self { new: run.bytes_new, stored: run.bytes_flushed() }
    }

    fn add_to(&self, run: &Run, figures: &mut Figures) {
        figures.bytes_new = run.bytes_new - self.new;
        figures.bytes_stored = run.bytes_flushed().saturating_sub(self.stored);
    }
}
