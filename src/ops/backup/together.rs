//! What sources have in common that are saved at the same time: the run, what waits to be published, what came of them.
//!
//! All of them store their chunks in one run, in turns of a few MiB: what one has stored, the others find. A source that
//! waits for its command holds nothing up.
//!
//! What the content of each found in the repository is kept for each by itself ([`Part`]), until its snapshot is
//! published: the record that publishes one must not be where another one's chunks are looked after for the last time.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::format::description::{
    self, Figures, RunDescription, SetDescription, SnapshotDescription, StreamDescription,
};
use crate::format::record::{Outcome, SnapshotEntry};
use crate::primitives::ids::{ChunkId, SnapshotId};
use crate::primitives::progress::{Observer, Unit};
use crate::primitives::system::random;
use crate::repository::dedup::Found;
use crate::repository::write::run::{Publication, Run, program};
use crate::repository::{Repository, RepositoryError};

use super::follow::Follower;
use super::report::SourceReport;
use super::turns::{Place, Turns};
use super::{BackupError, BackupOptions, worst};

/// What the options say of all sources alike.
pub(super) struct Common {
    pub host: String,
    user: String,
    tags: Vec<String>,
    label: Option<String>,
    time_ms: Option<i64>,
    /// See [`BackupOptions::read_all`].
    pub read_all: bool,
    /// See [`BackupOptions::allow_empty`].
    pub allow_empty: bool,
    /// Whether this is the run of a job.
    pub is_of_job: bool,
}

/// A run in progress, and all that its sources share.
pub(super) struct Together<'a> {
    pub common: Common,
    pub observer: &'a dyn Observer,
    /// So many sources, or dumps of them, are saved at a time.
    pub turns: Turns,
    /// One failed so that nothing more can be saved: the others are to end.
    pub stopped: AtomicBool,
    begun: &'a RunDescription,
    repository: Arc<Repository>,
    /// The set that the snapshots make, if there are several sources.
    set: Option<SetDescription>,
    /// Is told what is published.
    follower: Option<Arc<dyn Follower>>,
    /// What is being saved now, for a line of progress.
    shown: Mutex<Vec<String>>,
    state: Mutex<State>,
    changed: Condvar,
}

/// What is locked for each step of a source.
struct State {
    run: Run,
    /// Sources that are not begun.
    left: usize,
    /// Contents that are being stored.
    open: usize,
    /// Streams that are stored and not published yet, and what they found.
    waiting: Vec<Waiting>,
    found: Found,
    /// When they are to be published in any case.
    due: Option<Instant>,
    settled: Settled,
    reports: BTreeMap<Place, SourceReport>,
    /// Of what the follower was told.
    told: BTreeSet<Place>,
    /// Sources that have ended, by their numbers, as long as the follower was not told.
    ended: BTreeMap<usize, String>,
    /// What waited could not be published: reports say what is not so, and nobody is told.
    is_broken: bool,
    failed: Option<BackupError>,
    is_over: bool,
}

/// What of the run's counts was shared out among sources.
#[derive(Default)]
struct Settled {
    flushed: u64,
    new: u64,
}

/// Streams that brought less than this wait for the next, so that they share packs and a record: 14 unchanged dumps cost
/// what one does.
const WAITING_LEN_MAX: u64 = 8 << 20;
/// So long after the first of them began they are published when one has ended, in milliseconds.
const WAITING_TIME_MAX: i64 = 60_000;
/// So long after the first of them has ended they are published in any case: the next one may take hours.
const WAITING_MAX: Duration = Duration::from_secs(60);

/// A stream that waits to be published.
struct Waiting {
    id: SnapshotId,
    stored: Stored,
    /// Where its report is.
    place: Place,
}

/// A source that is stored and not published yet.
pub(super) struct Stored {
    pub described: SnapshotDescription,
    pub root: ChunkId,
    pub outcome: Outcome,
    pub parents: Vec<SnapshotId>,
    pub started_ms: i64,
}

impl<'a> Together<'a> {
    /// For so many sources, which make this set, of a run that was begun with this description.
    pub(super) fn new(
        run: Run,
        options: &BackupOptions,
        observer: &'a dyn Observer,
        begun: &'a RunDescription,
        set: Option<SetDescription>,
        left: usize,
    ) -> Self {
        let repository = run.repository().clone();
        let common = Common {
            host: options.host.clone(),
            user: options.user.clone(),
            tags: options.tags.clone(),
            label: options.label.clone(),
            time_ms: options.time_ms,
            read_all: options.read_all,
            allow_empty: options.allow_empty,
            is_of_job: options.job.is_some(),
        };
        let state = State {
            run,
            left,
            open: 0,
            waiting: Vec::new(),
            found: Found::default(),
            due: None,
            settled: Settled::default(),
            reports: BTreeMap::new(),
            told: BTreeSet::new(),
            ended: BTreeMap::new(),
            is_broken: false,
            failed: None,
            is_over: false,
        };
        Self {
            common,
            observer,
            turns: Turns::new(options.parallel),
            stopped: AtomicBool::new(false),
            begun,
            repository,
            set,
            follower: options.follower.clone(),
            shown: Mutex::default(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    pub(super) fn repository(&self) -> &Arc<Repository> {
        &self.repository
    }

    /// Whether one source is saved after the other.
    pub(super) fn is_one_by_one(&self) -> bool {
        self.turns.count() == 1
    }

    /// The next source begins.
    pub(super) fn next_source(&self) {
        self.state.lock().left -= 1;
    }

    /// Nothing more can be saved, for this reason; the sources that are being saved are asked to end.
    pub(super) fn fail(&self, error: BackupError) {
        let mut state = self.state.lock();
        // That the others were asked to end is no reason.
        if matches!(state.failed, None | Some(BackupError::Interrupted)) {
            state.failed = Some(error);
        }
        self.stop();
    }

    /// Asks the sources that are being saved to end.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Shows that a stream is being saved, until what is returned is dropped.
    pub(super) fn show_stream(&self, name: &str) -> Shown<'_> {
        self.show(format!("backing up {name}"), name)
    }

    /// Shows that paths are being saved, until what is returned is dropped.
    pub(super) fn show_paths(&self, source: &str) -> Shown<'_> {
        self.show("backing up".to_owned(), source)
    }

    fn show(&self, phase: String, what: &str) -> Shown<'_> {
        if self.is_one_by_one() {
            self.observer.phase(&phase, None, Unit::Bytes);
            return Shown(None);
        }
        self.shown.lock().push(what.to_owned());
        self.tell_shown();
        Shown(Some((self, what.to_owned())))
    }

    fn tell_shown(&self) {
        let shown = self.shown.lock().join(", ");
        self.observer.current(&shown);
    }

    /// Takes down what came of a source or member: at its place, or behind that if something stands there.
    pub(super) fn report(&self, (source, member): Place, report: SourceReport) {
        let state = &mut *self.state.lock();
        let place = (member..).map(|member| (source, member)).find(|place| !state.reports.contains_key(place));
        state.reports.extend(place.map(|place| (place, report)));
        self.tell(state);
    }

    /// A source has ended, with all its members.
    pub(super) fn source_ended(&self, source: usize, name: String) {
        let state = &mut *self.state.lock();
        state.ended.insert(source, name);
        self.tell(state);
    }

    /// Tells the follower of what is published, and of what failed.
    fn tell(&self, state: &mut State) {
        let Some(follower) = self.follower.as_ref().filter(|_| !state.is_broken) else { return };
        let waiting: BTreeSet<Place> = state.waiting.iter().map(|w| w.place).collect();
        let sources: BTreeSet<usize> =
            state.reports.keys().map(|(source, _)| *source).chain(state.ended.keys().copied()).collect();
        for source in sources {
            let of_source = (source, 0)..(source + 1, 0);
            for (place, report) in state.reports.range(of_source.clone()) {
                if !waiting.contains(place) && state.told.insert(*place) {
                    follower.saved(report);
                }
            }
            if waiting.range(of_source).next().is_none()
                && let Some(name) = state.ended.remove(&source)
            {
                follower.ended(&name);
            }
        }
    }

    /// What came of a source so far.
    pub(super) fn reports_of(&self, source: usize) -> Vec<SourceReport> {
        self.state.lock().reports.range((source, 0)..(source + 1, 0)).map(|(_, report)| report.clone()).collect()
    }

    /// What came of a source is not without a warning.
    pub(super) fn warn_of(&self, source: usize, text: &str) {
        let state = &mut *self.state.lock();
        for (place, report) in state.reports.range_mut((source, 0)..(source + 1, 0)) {
            report.outcome = report.outcome.max(Outcome::Warnings);
            report.error.get_or_insert_with(|| text.to_owned());
            if let Some(follower) = self.follower.as_ref().filter(|_| state.told.contains(place)) {
                follower.saved(report);
            }
        }
    }

    /// A member of a source turned out to be none: what waits to be published does not list it.
    pub(super) fn lacks(&self, source: &str, member: &str) {
        let mut state = self.state.lock();
        let described = state.waiting.iter_mut().map(|waiting| &mut waiting.stored.described);
        for stream in described.filter(|d| d.source_path() == source).filter_map(|d| d.stream.as_mut()) {
            stream.members.retain(|known| known != member);
        }
    }

    /// Publishes what waits for long, until all is over.
    pub(super) fn publish_what_waits(&self) {
        let mut state = self.state.lock();
        while !state.is_over {
            match state.due {
                None => self.changed.wait(&mut state),
                Some(due) if Instant::now() < due => drop(self.changed.wait_until(&mut state, due)),
                Some(_) => {
                    if let Err(e) = self.publish_waiting(&mut state, false) {
                        drop(state);
                        return self.fail(e);
                    }
                }
            }
        }
    }

    /// All sources have ended.
    pub(super) fn end(&self) {
        self.state.lock().is_over = true;
        self.changed.notify_all();
    }

    /// Publishes what still waits; answers with the run, what came of its sources, and why not all were saved.
    pub(super) fn finish(self) -> (Run, Vec<SourceReport>, Result<(), BackupError>) {
        let published = self.publish_all_waiting();
        let State { run, reports, failed, .. } = self.state.into_inner();
        (run, reports.into_values().collect(), failed.map_or(published, Err))
    }

    /// Publishes what waits.
    pub(super) fn publish_all_waiting(&self) -> Result<(), BackupError> {
        self.publish_waiting(&mut self.state.lock(), false)
    }

    /// Whether the source at hand is the last thing of the run: then its record ends the run, too. What a job does after
    /// its last source may still change how it ends.
    fn ends_now(&self, state: &State) -> bool {
        state.left == 0 && !self.common.is_of_job && self.is_one_by_one()
    }

    /// Publishes a source as a snapshot. The last one ends the run in the same record. Also says what it cost.
    pub(super) fn publish(&self, part: &Part<'_>, mut stored: Stored) -> Result<(SnapshotId, u64), BackupError> {
        let mut found = part.close();
        let state = &mut *self.state.lock();
        state.run.flush()?;
        let cost: u64 = state.settle(&[stored.described.figures.bytes_new]).iter().sum();
        stored.described.figures.bytes_stored = cost;
        let id = state.run.snapshot_id();
        let entry = self.entry(&state.run, id, &stored);
        let outcomes = state.reports.values().map(|report| report.outcome).chain([stored.outcome]);
        let end = self.ends_now(state).then(|| self.ending(state, outcomes, stored.described.figures));
        state.run.exchange_found(&mut found);
        let published = state.publish(vec![entry], end);
        state.run.exchange_found(&mut found);
        published?;
        Ok((id, cost))
    }

    /// Publishes a stream, perhaps later and together with others, and takes down what came of it.
    pub(super) fn publish_soon(
        &self,
        part: &Part<'_>,
        stored: Stored,
        (place, report): (Place, SourceReport),
    ) -> Result<(), BackupError> {
        let found = part.close();
        let state = &mut *self.state.lock();
        let id = state.run.snapshot_id();
        state.found.add(found);
        state.reports.insert(place, SourceReport { snapshot: Some(id), ..report });
        state.waiting.push(Waiting { id, stored, place });
        let new: u64 = state.waiting.iter().map(|w| w.stored.described.figures.bytes_new).sum();
        let since = state.waiting[0].stored.started_ms;
        let waits = self.repository.system.now_ms() - since < WAITING_TIME_MAX && new < WAITING_LEN_MAX;
        let ends = self.ends_now(state);
        if ends || !waits {
            return self.publish_waiting(state, ends);
        }
        state.due.get_or_insert_with(|| Instant::now() + WAITING_MAX);
        self.changed.notify_all();
        Ok(())
    }

    /// Publishes the streams that wait, and ends the run in the same record if `ends` says so.
    fn publish_waiting(&self, state: &mut State, ends: bool) -> Result<(), BackupError> {
        state.due = None;
        let waiting = std::mem::take(&mut state.waiting);
        let published = self.publish_together(state, waiting, ends);
        state.is_broken |= published.is_err();
        self.tell(state);
        published
    }

    fn publish_together(&self, state: &mut State, mut waiting: Vec<Waiting>, ends: bool) -> Result<(), BackupError> {
        let Some(last) = waiting.last() else { return Ok(()) };
        let figures = last.stored.described.figures;
        waiting.sort_by_key(|w| w.place);
        state.run.flush()?;
        let news: Vec<u64> = waiting.iter().map(|w| w.stored.described.figures.bytes_new).collect();
        for (w, cost) in waiting.iter_mut().zip(state.settle(&news)) {
            w.stored.described.figures.bytes_stored = cost;
            if let Some(report) = state.reports.get_mut(&w.place) {
                report.figures.bytes_stored = cost;
            }
        }
        let outcomes = state.reports.values().map(|report| report.outcome);
        let end = ends.then(|| self.ending(state, outcomes, figures));
        let snapshots = waiting.iter().map(|w| self.entry(&state.run, w.id, &w.stored)).collect();
        let mut found = std::mem::take(&mut state.found);
        state.run.exchange_found(&mut found);
        let published = state.publish(snapshots, end);
        state.run.exchange_found(&mut found);
        published
    }

    fn entry(&self, run: &Run, id: SnapshotId, stored: &Stored) -> SnapshotEntry {
        let (keys, described) = (self.repository.domain_keys(), &stored.described);
        SnapshotEntry {
            id,
            time_ms: self.common.time_ms.unwrap_or(stored.started_ms),
            root: stored.root,
            outcome: stored.outcome,
            parents: stored.parents.clone(),
            host: keys.host(&described.host),
            source: keys.source(&described.source),
            description: description::seal(described, &run.secret().sealing(), random(&*self.repository.system)),
        }
    }

    /// How the run ends with sources of these outcomes, and what it says of itself.
    fn ending(
        &self,
        state: &State,
        outcomes: impl Iterator<Item = Outcome>,
        figures: Figures,
    ) -> (Outcome, RunDescription) {
        let findings = state.reports.values().filter_map(|r| r.error.clone()).collect();
        (worst(outcomes), RunDescription { figures, findings, ..self.begun.clone() })
    }

    /// What every snapshot of this backup says alike.
    pub(super) fn described(&self) -> SnapshotDescription {
        let common = &self.common;
        SnapshotDescription {
            host: common.host.clone(),
            user: common.user.clone(),
            tags: common.tags.clone(),
            label: common.label.clone(),
            program: program(),
            set: self.set.clone(),
            ..SnapshotDescription::default()
        }
    }
}

impl Stored {
    /// What is saved of a line of a list belongs to the job.
    pub(super) fn with_line(mut self, line: Option<&(String, String)>) -> Self {
        if let Some((job, line)) = line {
            self.described.source = job.clone();
            let path = || StreamDescription { kind: "path".to_owned(), ..StreamDescription::default() };
            self.described.stream.get_or_insert_with(path).line = Some(line.clone());
        }
        self
    }
}

impl State {
    fn publish(
        &mut self,
        snapshots: Vec<SnapshotEntry>,
        end: Option<(Outcome, RunDescription)>,
    ) -> Result<(), BackupError> {
        let before = self.run.bytes_flushed();
        let end = end.as_ref().map(|(outcome, described)| (*outcome, described));
        self.run.publish(Publication { snapshots, end })?;
        // The segment is nobody's.
        self.settled.flushed += self.run.bytes_flushed() - before;
        Ok(())
    }

    /// Shares out what was stored since the last time among those that brought so much, and others that are not done yet.
    fn settle(&mut self, news: &[u64]) -> Vec<u64> {
        let stored = self.run.bytes_flushed() - self.settled.flushed;
        let (all_new, new) = (self.run.bytes_new - self.settled.new, news.iter().sum::<u64>());
        let is_all = self.open == 0 && self.waiting.is_empty();
        let cost = if is_all { stored } else { part_of(stored, new, all_new) };
        self.settled.flushed += cost;
        self.settled.new += if is_all { all_new } else { new };
        share_out(cost, news)
    }
}

/// So much of `whole` as `part` is of `parts`.
fn part_of(whole: u64, part: u64, parts: u64) -> u64 {
    match parts {
        0 => whole,
        parts => (u128::from(whole) * u128::from(part.min(parts)) / u128::from(parts)) as u64,
    }
}

/// Shares `cost` out by what each brought; the last one has what is left.
fn share_out(cost: u64, news: &[u64]) -> Vec<u64> {
    let new: u64 = news.iter().sum();
    let mut shares: Vec<u64> =
        news.iter().map(|n| if new == 0 { cost / news.len() as u64 } else { part_of(cost, *n, new) }).collect();
    let rest = cost - shares.iter().sum::<u64>();
    shares.last_mut().into_iter().for_each(|last| *last += rest);
    shares
}

/// See [`Together::show_stream`].
pub(super) struct Shown<'t>(Option<(&'t Together<'t>, String)>);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if let Some((together, what)) = &self.0 {
            let mut shown = together.shown.lock();
            let at = shown.iter().position(|known| known == what);
            at.map(|at| shown.remove(at));
            drop(shown);
            together.tell_shown();
        }
    }
}

/// One of the contents that are stored at the same time: what it found in the repository, and what it brought.
pub(super) struct Part<'a> {
    together: &'a Together<'a>,
    found: RefCell<Found>,
    new: Cell<u64>,
    /// What the run had stored when it began.
    flushed_before: Cell<u64>,
    is_open: Cell<bool>,
}

impl<'a> Part<'a> {
    /// One that has not begun.
    pub(super) fn new(together: &'a Together<'a>) -> Self {
        let (found, new, flushed_before) = (RefCell::default(), Cell::new(0), Cell::new(0));
        Self { together, found, new, flushed_before, is_open: Cell::new(false) }
    }

    /// A content begins. What was found for the one before it is forgotten.
    pub(super) fn begin(&self) {
        self.close();
        let mut state = self.together.state.lock();
        state.open += 1;
        self.is_open.set(true);
        self.new.set(0);
        self.flushed_before.set(state.run.bytes_flushed());
    }

    /// The content has ended; answers with what it found.
    fn close(&self) -> Found {
        if self.is_open.replace(false) {
            self.together.state.lock().open -= 1;
        }
        self.found.take()
    }

    /// The run, for a step of this content: nobody else has it meanwhile.
    pub(super) fn lock(&self) -> PartGuard<'_> {
        let mut state = self.together.state.lock();
        let mut found = self.found.borrow_mut();
        state.run.exchange_found(&mut found);
        let new_before = state.run.bytes_new;
        PartGuard { state, found, new: &self.new, new_before }
    }

    /// Adds what the content brought, and no more than that of what was stored since it began.
    pub(super) fn add_to(&self, figures: &mut Figures) {
        figures.bytes_new = self.new.get();
        let flushed = self.together.state.lock().run.bytes_flushed();
        let stored = flushed.saturating_sub(self.flushed_before.get());
        figures.bytes_stored = if self.together.is_one_by_one() { stored } else { stored.min(figures.bytes_new) };
    }

    /// Stores what it has so far for good.
    pub(super) fn flush(&self) -> Result<(), RepositoryError> {
        self.lock().flush()
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

/// The run, while a content takes a step.
pub(super) struct PartGuard<'p> {
    state: MutexGuard<'p, State>,
    found: RefMut<'p, Found>,
    new: &'p Cell<u64>,
    new_before: u64,
}

impl Deref for PartGuard<'_> {
    type Target = Run;

    fn deref(&self) -> &Run {
        &self.state.run
    }
}

impl DerefMut for PartGuard<'_> {
    fn deref_mut(&mut self) -> &mut Run {
        &mut self.state.run
    }
}

impl Drop for PartGuard<'_> {
    fn drop(&mut self) {
        self.new.set(self.new.get() + self.state.run.bytes_new - self.new_before);
        self.state.run.exchange_found(&mut self.found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_is_shared_out_by_what_each_brought() {
        assert_eq!(share_out(100, &[1, 1, 2]), [25, 25, 50]);
        assert_eq!(share_out(10, &[1, 1, 1]), [3, 3, 4]);
        assert_eq!(share_out(10, &[0, 0]), [5, 5]);
        assert_eq!(share_out(0, &[]), [0; 0]);
        assert_eq!((part_of(100, 3, 4), part_of(100, 0, 0), part_of(100, 9, 4)), (75, 100, 100));
    }
}
