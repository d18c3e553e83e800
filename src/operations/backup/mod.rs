//! Backup: trees and streams in, snapshots out.
//!
//! One run holds any number of sources: all paths together are one, and every stream is one. Each source
//! becomes a snapshot of its own, published as soon as it is finished; a stream whose command fails publishes
//! nothing. What is unreadable is reported and left out, and the outcome says so.

pub mod content;
mod dry;
mod read;
mod stream;
pub mod tree;

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::formats::description::{self, Figures, RunDescription, SnapshotDescription};
use crate::formats::record::{Outcome, RunKind, SnapshotEntry};
use crate::formats::tree::{FileTime, Node, NodeKind, check_name};
use crate::machinery::repository::cache::files::FileCacheReader;
use crate::machinery::repository::packer::PackerThreads;
use crate::machinery::repository::run::{Publication, Run, program};
use crate::machinery::repository::{Repository, RepositoryError};
use crate::machinery::source::command::CommandSource;
use crate::machinery::source::exclude::{ExcludeOptions, RuleSummary};
use crate::machinery::source::{ExcludeRules, FileKind, stat_root};
use crate::words::ids::{ChunkId, RunId, SnapshotId};
use crate::words::observer::{Observer, Severity, Unit};
use crate::words::world::random;

use tree::{Stop, TreeBackup};

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
    if options.dry_run {
        return dry::dry_run(repository, &options, &rules, observer);
    }
    let resumed = repository.resume_runs(observer)?;
    let begun = RunDescription {
        host: options.host.clone(),
        command: options.command.clone(),
        program: program(),
        ..RunDescription::default()
    };
    let mut run = repository.begin_run(RunKind::Backup, &options.host, &begun, PackerThreads::default())?;
    let id = run.id();
    let mut reports = Vec::new();
    let started_ms = repository.world.now_ms();
    let count = usize::from(!options.paths.is_empty()) + streams.len();
    let done = backup_sources(&mut run, &options, streams, rules, observer, &mut reports, count, &begun);
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
            duration_ms: (repository.world.now_ms() - started_ms).max(0) as u64,
            ..reports.last().map(|r| r.figures).unwrap_or_default()
        };
        let findings = reports.iter().filter_map(|r| r.error.clone()).collect();
        run.end(outcome, &RunDescription { figures, findings, ..begun })?;
    }
    Ok(BackupReport { run: Some(id), sources: reports, resumed, outcome })
}

fn check_sources(options: &BackupOptions, streams: &[StreamSource]) -> Result<(), BackupError> {
    if options.paths.is_empty() && streams.is_empty() {
        return Err(BackupError::NoSources);
    }
    for stream in streams {
        check_name(stream.name().as_bytes()).map_err(|_| BackupError::StreamName(stream.name().to_owned()))?;
    }
    for path in &options.paths {
        stat_root(path).map_err(|source| BackupError::Root { path: path.clone(), source })?;
    }
    Ok(())
}

/// One set of rules for all roots: their counters are shared.
fn exclude_rules(options: &BackupOptions) -> Result<Option<ExcludeRules>, BackupError> {
    options.paths.first().map(|root| ExcludeRules::new(&options.exclude, root)).transpose().map_err(BackupError::from)
}

fn worst(reports: &[SourceReport]) -> Outcome {
    let failed = reports.iter().filter(|r| r.outcome == Outcome::Failed).count();
    match reports.iter().map(|r| r.outcome).max() {
        Some(Outcome::Failed) if failed < reports.len() => Outcome::Partial,
        Some(outcome) => outcome,
        None => Outcome::Complete,
    }
}

#[allow(clippy::too_many_arguments)]
fn backup_sources(
    run: &mut Run,
    options: &BackupOptions,
    streams: Vec<StreamSource>,
    rules: Option<ExcludeRules>,
    observer: &dyn Observer,
    reports: &mut Vec<SourceReport>,
    count: usize,
    begun: &RunDescription,
) -> Result<(), BackupError> {
    let mut left = count;
    if let Some(rules) = rules {
        left -= 1;
        let report = match backup_paths(run, options, &rules, observer, !options.read_all, left == 0, reports, begun) {
            // A parent or a block was forgotten meanwhile: everything is read, and what is there is found by its ids.
            Err(BackupError::Repository(RepositoryError::Refused { what })) if !options.read_all => {
                observer.finding(Severity::Note, &format!("{what}; everything is read again"));
                backup_paths(run, options, &rules, observer, false, left == 0, reports, begun)?
            }
            done => done?,
        };
        reports.push(report);
    }
    for stream in streams {
        left -= 1;
        let report = stream::backup_stream(run, options, stream, observer, left == 0, reports, begun)?;
        reports.push(report);
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)]
fn backup_paths(
    run: &mut Run,
    options: &BackupOptions,
    rules: &ExcludeRules,
    observer: &dyn Observer,
    use_cache: bool,
    last: bool,
    before: &[SourceReport],
    begun: &RunDescription,
) -> Result<SourceReport, BackupError> {
    let repository = run.repository().clone();
    let started_ms = repository.world.now_ms();
    let roots = roots(&options.paths);
    let source = options.source.clone().unwrap_or_else(|| source_name(&roots));
    observer.phase("backing up", None, Unit::Bytes);
    let seen = if use_cache { seen_by_last(&repository, &source)? } else { None };
    let counted = Counted::of(run);
    let mut backup = TreeBackup::new(run, observer, seen);
    let mut top = Directory::default();
    for root in &roots {
        let rules = rules.for_root(root)?;
        let stat = stat_root(root).map_err(|source| BackupError::Root { path: root.clone(), source })?;
        let name = root.file_name().map(|n| n.as_bytes().to_vec()).unwrap_or_default();
        let node = match stat.kind {
            FileKind::Directory => backup.directory(root, &name, &rules)?,
            _ => backup.single(root)?,
        };
        if let Some(node) = node {
            top.insert(root, node);
        }
    }
    let tree = top.store(&mut backup, Path::new("/"))?;
    let parents = backup.parent().into_iter().collect();
    let (mut figures, findings) = (backup.figures, std::mem::take(&mut backup.findings));
    let rows = std::mem::take(&mut backup.rows);
    drop(backup);
    let outcome = match figures {
        f if f.unreadable > 0 => Outcome::Partial,
        f if f.vanished > 0 || f.changed > 0 => Outcome::Warnings,
        _ => Outcome::Complete,
    };
    run.flush()?;
    counted.add_to(run, &mut figures);
    figures.duration_ms = (repository.world.now_ms() - started_ms).max(0) as u64;
    let described = SnapshotDescription {
        source: source.clone(),
        paths: roots.iter().map(|p| p.as_os_str().as_bytes().to_vec().into()).collect(),
        excludes: rules.summary().into_iter().map(|r| r.rule).collect(),
        figures,
        findings,
        ..described(options)
    };
    let id = publish(run, options, described, tree, outcome, parents, started_ms, last, before, begun)?;
    rows.commit(repository.cache(), source.as_bytes(), id)?;
    Ok(SourceReport {
        source,
        snapshot: Some(id),
        outcome,
        figures,
        error: None,
        rules_unmatched: rules.unmatched(),
        rules: rules.summary(),
    })
}

/// Counters of the run before a source, so that the source's own share can be told.
struct Counted {
    new: u64,
    stored: u64,
}

impl Counted {
    fn of(run: &Run) -> Self {
        Self { new: run.bytes_new, stored: run.bytes_flushed() }
    }

    fn add_to(&self, run: &Run, figures: &mut Figures) {
        figures.bytes_new = run.bytes_new - self.new;
        figures.bytes_stored = run.bytes_flushed().saturating_sub(self.stored);
    }
}

/// What every snapshot of this backup says alike.
fn described(options: &BackupOptions) -> SnapshotDescription {
    SnapshotDescription {
        host: options.host.clone(),
        user: options.user.clone(),
        tags: options.tags.clone(),
        label: options.label.clone(),
        program: program(),
        ..SnapshotDescription::default()
    }
}

#[allow(clippy::too_many_arguments)]
fn publish(
    run: &mut Run,
    options: &BackupOptions,
    described: SnapshotDescription,
    root: ChunkId,
    outcome: Outcome,
    parents: Vec<SnapshotId>,
    started_ms: i64,
    last: bool,
    before: &[SourceReport],
    begun: &RunDescription,
) -> Result<SnapshotId, BackupError> {
    let repository = run.repository().clone();
    let keys = repository.domain_keys();
    let id = run.snapshot_id();
    let entry = SnapshotEntry {
        id,
        time_ms: options.time_ms.unwrap_or(started_ms),
        root,
        outcome,
        parents,
        host: keys.host(&described.host),
        source: keys.source(&described.source),
        description: description::seal(&described, &run.secret().sealing(), random(&*repository.world)),
    };
    let failed_before = before.iter().filter_map(|r| r.error.clone()).collect::<Vec<_>>();
    let run_outcome = match (outcome, worst(before)) {
        (o, w) if before.is_empty() || w <= o => o,
        (_, Outcome::Failed) => Outcome::Partial,
        (_, w) => w,
    };
    let end = RunDescription { figures: described.figures, findings: failed_before, ..begun.clone() };
    let end = last.then_some((run_outcome, &end));
    run.publish(Publication { snapshots: vec![entry], end })?;
    Ok(id)
}

/// The file cache of the source, if the snapshot that it belongs to is still one.
fn seen_by_last(repository: &Repository, source: &str) -> Result<Option<FileCacheReader>, RepositoryError> {
    let seen = FileCacheReader::open(repository.cache(), source.as_bytes())?;
    let state = repository.state();
    Ok(seen.filter(|s| state.snapshots.get(&s.snapshot).is_some_and(|snapshot| !snapshot.holed)))
}

/// The paths sorted, each once, without those that lie below another.
fn roots(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut sorted = paths.to_vec();
    sorted.sort();
    let mut roots: Vec<PathBuf> = Vec::new();
    for path in sorted {
        if !roots.iter().any(|root| path.starts_with(root)) {
            roots.push(path);
        }
    }
    roots
}

fn source_name(roots: &[PathBuf]) -> String {
    roots.iter().map(|p| p.to_string_lossy().into_owned()).collect::<Vec<_>>().join(",")
}

/// The directories that lead from `/` to the roots.
#[derive(Default)]
struct Directory {
    nodes: BTreeMap<Vec<u8>, Node>,
    below: BTreeMap<Vec<u8>, Directory>,
    /// The root of everything was a source itself.
    whole: Option<ChunkId>,
}

impl Directory {
    fn insert(&mut self, root: &Path, node: Node) {
        let names: Vec<&[u8]> = root
            .components()
            .filter_map(|c| if let Component::Normal(name) = c { Some(name.as_bytes()) } else { None })
            .collect();
        match (names.split_last(), &node.kind) {
            (Some((name, above)), _) => {
                let directory = above.iter().fold(self, |d, n| d.below.entry(n.to_vec()).or_default());
                directory.nodes.insert(name.to_vec(), Node { name: name.to_vec(), ..node });
            }
            (None, NodeKind::Directory(id)) => self.whole = Some(*id),
            (None, _) => {}
        }
    }

    fn newest(&self) -> FileTime {
        let here = self.nodes.values().map(|n| n.meta.mtime);
        here.chain(self.below.values().map(Directory::newest)).max().unwrap_or_default()
    }

    fn store(self, backup: &mut TreeBackup, path: &Path) -> Result<ChunkId, RepositoryError> {
        if let Some(id) = self.whole {
            return Ok(id);
        }
        let mut nodes = self.nodes;
        for (name, directory) in self.below {
            let path = path.join(read::name_of(&name));
            let mut meta = backup.ancestor(&path);
            // Its own time changes with neighbours that are not backed up, and would make a night without changes
            // look changed: the newest time of what leads further down stands for it.
            meta.mtime = directory.newest();
            let id = directory.store(backup, &path)?;
            nodes.insert(name.clone(), Node { name, meta, kind: NodeKind::Directory(id) });
        }
        tree::build(backup.run(), nodes.into_values().collect())
    }
}
