//! Publishing what sources stored: each as a snapshot, small streams together, the last one with the end of the run.

use std::collections::VecDeque;

use crate::format::description::{
    self, Figures, RunDescription, SetDescription, SnapshotDescription, StreamDescription,
};
use crate::format::record::{Outcome, SnapshotEntry};
use crate::primitives::component::component;
use crate::primitives::ids::{ChunkId, SetId, SnapshotId};
use crate::primitives::progress::Observer;
use crate::primitives::system::random;
use crate::repository::Repository;
use crate::repository::write::run::{Publication, Run, program};
use crate::source::exclude::RuleSummary;

use super::limits::Alarm;
use super::{BackupError, BackupOptions, worst};

/// Something that is saved as snapshots of its own: paths, or a stream.
pub trait Source {
    /// What it is called: in its snapshots, in messages, and in the certificates of credentials.
    fn name(&self) -> &str;

    /// What its snapshots are signed for, which the certificate of a credential must allow: its name, unless it is a line
    /// of a list, which is its job's.
    fn identity(&self) -> &str {
        self.name()
    }

    /// Saves it through `writer`, which publishes its snapshot.
    ///
    /// What came of it goes to [`SnapshotWriter::report`]: of each member, if it has several. A source that cannot be
    /// saved reports [`SourceReport::failed`], and the others are saved all the same. An error ends the run.
    fn store(self: Box<Self>, writer: &mut SnapshotWriter<'_>) -> Result<(), BackupError>;
}

/// What came of one source, or of one member of it.
#[derive(Debug, Clone)]
pub struct SourceReport {
    /// Name of the source.
    pub source: String,
    /// The database or other part of it that this is, as the server calls it.
    pub member: Option<String>,
    /// Its snapshot; `None` if nothing was published.
    pub snapshot: Option<SnapshotId>,
    /// How complete it is; [`Outcome::Failed`] if nothing was published.
    pub outcome: Outcome,
    /// What was read and stored.
    pub figures: Figures,
    /// Why nothing was published, or what was is not complete.
    pub error: Option<String>,
    /// Exclusion rules that matched nothing.
    pub rules_unmatched: Vec<String>,
    /// What the exclusion rules left out.
    pub rules: Vec<RuleSummary>,
}

impl SourceReport {
    /// Of a source that was looked at, and of which nothing is published yet.
    pub fn new(source: String, outcome: Outcome, figures: Figures) -> Self {
        let (rules_unmatched, rules) = (Vec::new(), Vec::new());
        Self { source, member: None, snapshot: None, outcome, figures, error: None, rules_unmatched, rules }
    }

    /// Of a source of which nothing was published.
    pub fn failed(source: String, figures: Figures, error: String) -> Self {
        Self { error: Some(error), ..Self::new(source, Outcome::Failed, figures) }
    }

    /// The source, and behind a slash the member.
    pub fn path(&self) -> String {
        match &self.member {
            Some(member) => format!("{}/{}", self.source, component(member)),
            None => self.source.clone(),
        }
    }
}

/// A run in progress: what its sources are stored and published through.
pub struct SnapshotWriter<'a> {
    pub(super) run: &'a mut Run,
    pub(super) options: &'a BackupOptions,
    pub(super) observer: &'a dyn Observer,
    pub(super) alarm: &'a Alarm<'a>,
    begun: &'a RunDescription,
    /// Sources that are done.
    reports: Vec<SourceReport>,
    /// How many come after the one at hand.
    left: usize,
    /// Streams that are stored and not published yet.
    waiting: Vec<Waiting>,
    /// The set that the snapshots make, if there are several sources.
    set: Option<SetDescription>,
    /// The line of a list that is being saved: the job that has it, and its name.
    pub(super) line: Option<(String, String)>,
    /// Of so many reports the follower was told.
    told: usize,
    /// Sources that have ended, each with the number of reports by then, as long as the follower was not told.
    ended: VecDeque<(String, usize)>,
    /// What waited could not be published: reports say what is not so, and nobody is told.
    is_broken: bool,
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
pub(super) struct Stored {
    pub described: SnapshotDescription,
    pub root: ChunkId,
    pub outcome: Outcome,
    pub parents: Vec<SnapshotId>,
    pub started_ms: i64,
}

impl<'a> SnapshotWriter<'a> {
    /// For the sources of a run that was begun with this description.
    pub(super) fn new(
        run: &'a mut Run,
        options: &'a BackupOptions,
        alarm: &'a Alarm<'a>,
        begun: &'a RunDescription,
    ) -> Self {
        Self {
            run,
            options,
            observer: alarm,
            alarm,
            begun,
            reports: Vec::new(),
            left: 0,
            waiting: Vec::new(),
            set: None,
            line: None,
            told: 0,
            ended: VecDeque::new(),
            is_broken: false,
        }
    }

    /// Stores the sources one after the other. What is stored is published, whatever comes after it.
    pub(super) fn store(&mut self, sources: Vec<Box<dyn Source>>) -> Result<(), BackupError> {
        self.left = sources.len();
        let job = self.options.job.as_ref();
        self.set = (sources.len() > 1 || job.is_some()).then(|| SetDescription {
            id: SetId(random(&*self.run.repository().system)),
            sources: sources.iter().map(|source| source.name().to_owned()).collect(),
            job: job.map(|job| job.name.clone()),
            job_type: job.map(|job| job.job_type.clone()),
            notes: job.and_then(|job| job.notes.clone()),
            records: job.map(|job| job.records.clone()).filter(|records| !records.is_empty()),
            alone: job.map(|job| job.alone).filter(|alone| *alone),
        });
        if let Some(follower) = &self.options.follower {
            follower.begins(&sources.iter().map(|source| source.name().to_owned()).collect::<Vec<_>>());
        }
        let mut done = Ok(());
        for source in sources {
            self.left -= 1;
            let name = source.name().to_owned();
            if let Err(e) = source.store(self) {
                done = Err(e);
                break;
            }
            self.ended.push_back((name, self.reports.len()));
            self.tell();
        }
        let published = self.publish_waiting(false);
        self.tell();
        done.and(published.map(drop))
    }

    /// Takes down what came of a source, or of a member of one.
    pub fn report(&mut self, report: SourceReport) {
        self.reports.push(report);
        self.tell();
    }

    /// Tells the follower of what is published, and of what failed.
    fn tell(&mut self) {
        let options = self.options;
        let Some(follower) = options.follower.as_ref().filter(|_| !self.is_broken) else { return };
        let settled = self.waiting.first().map_or(self.reports.len(), |waiting| waiting.report);
        loop {
            while let Some((source, _)) = self.ended.front().filter(|(_, reports)| *reports <= self.told) {
                follower.ended(source);
                self.ended.pop_front();
            }
            if self.told >= settled {
                return;
            }
            follower.saved(&self.reports[self.told]);
            self.told += 1;
        }
    }

    /// What came of the sources so far.
    pub fn reports(&self) -> &[SourceReport] {
        &self.reports
    }

    /// What came of the sources from the `first` on is not without a warning.
    pub(super) fn warn_of(&mut self, first: usize, text: &str) {
        for (n, report) in self.reports.iter_mut().enumerate().skip(first) {
            report.outcome = report.outcome.max(Outcome::Warnings);
            report.error.get_or_insert_with(|| text.to_owned());
            if let Some(follower) = self.options.follower.as_ref().filter(|_| n < self.told) {
                follower.saved(report);
            }
        }
    }

    /// A member of a source turned out to be none: what waits to be published does not list it.
    pub(super) fn lacks(&mut self, source: &str, member: &str) {
        let described = self.waiting.iter_mut().map(|waiting| &mut waiting.stored.described);
        for stream in described.filter(|d| d.source_path() == source).filter_map(|d| d.stream.as_mut()) {
            stream.members.retain(|known| known != member);
        }
    }

    /// Shows what goes on, and says whether the user asked to stop.
    pub fn observer(&self) -> &'a dyn Observer {
        self.observer
    }

    /// Whether the source at hand is the last thing of the run: then its record ends the run, too. What a job does after
    /// its last source may still change how it ends.
    fn ends_now(&self) -> bool {
        self.left == 0 && self.options.job.is_none()
    }

    /// What came of the sources that are done.
    pub(super) fn into_reports(self) -> Vec<SourceReport> {
        self.reports
    }

    /// Publishes a source as a snapshot. The last one ends the run in the same record.
    pub(super) fn publish(&mut self, stored: Stored) -> Result<SnapshotId, BackupError> {
        let stored = self.with_line(stored);
        let repository = self.run.repository().clone();
        let id = self.run.snapshot_id();
        let entry = self.entry(id, &stored, &repository);
        let end = self.ends_now().then(|| self.ending(stored.outcome, stored.described.figures));
        let end = end.as_ref().map(|(outcome, described)| (*outcome, described));
        self.run.publish(Publication { snapshots: vec![entry], end })?;
        Ok(id)
    }

    /// Publishes a stream, perhaps later and together with others; says what it is called and what it cost, as far as
    /// that is known.
    pub(super) fn publish_soon(&mut self, stored: Stored) -> Result<(SnapshotId, Option<u64>), BackupError> {
        let stored = self.with_line(stored);
        let (id, report) = (self.run.snapshot_id(), self.reports.len());
        self.waiting.push(Waiting { id, stored, report });
        let new: u64 = self.waiting.iter().map(|w| w.stored.described.figures.bytes_new).sum();
        let since = self.waiting[0].stored.started_ms;
        let waits = self.run.repository().system.now_ms() - since < WAITING_TIME_MAX && new < WAITING_LEN_MAX;
        let ends = self.ends_now();
        if !ends && waits {
            return Ok((id, None));
        }
        let cost = self.publish_waiting(ends)?;
        Ok((id, cost))
    }

    /// Publishes the streams that wait, and ends the run in the same record if `ends` says so. Returns what the last of
    /// them cost.
    pub(super) fn publish_waiting(&mut self, ends: bool) -> Result<Option<u64>, BackupError> {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return Ok(None);
        }
        let published = self.publish_together(waiting, ends);
        self.is_broken |= published.is_err();
        self.tell();
        published.map(Some)
    }

    fn publish_together(&mut self, mut waiting: Vec<Waiting>, ends: bool) -> Result<u64, BackupError> {
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
        Ok(cost)
    }

    /// What is saved of a line belongs to the job.
    fn with_line(&self, mut stored: Stored) -> Stored {
        if let Some((job, line)) = &self.line {
            stored.described.source = job.clone();
            let path = || StreamDescription { kind: "path".to_owned(), ..StreamDescription::default() };
            stored.described.stream.get_or_insert_with(path).line = Some(line.clone());
        }
        stored
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
    pub(super) fn described(&self) -> SnapshotDescription {
        let options = self.options;
        SnapshotDescription {
            host: options.host.clone(),
            user: options.user.clone(),
            tags: options.tags.clone(),
            label: options.label.clone(),
            program: program(),
            set: self.set.clone(),
            ..SnapshotDescription::default()
        }
    }
}

/// Counters of the run before a source, so that the source's own share can be told.
pub(super) struct CounterSnapshot {
    new: u64,
    stored: u64,
}

impl CounterSnapshot {
    pub(super) fn of(run: &Run) -> Self {
        Self { new: run.bytes_new, stored: run.bytes_flushed() }
    }

    pub(super) fn add_to(&self, run: &Run, figures: &mut Figures) {
        figures.bytes_new = run.bytes_new - self.new;
        figures.bytes_stored = run.bytes_flushed().saturating_sub(self.stored);
    }
}
