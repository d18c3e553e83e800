//! Sources, and what they are saved through: several at a time, each on a thread of its own.

use std::sync::Arc;
use std::vec;

use parking_lot::Mutex;

use crate::format::description::SnapshotDescription;
use crate::primitives::ids::SnapshotId;
use crate::primitives::progress::{Observer, Unit};
use crate::repository::Repository;

use super::BackupError;
use super::foreseen::ForeseenContent;
use super::limits::Alarm;
use super::report::SourceReport;
use super::together::{Common, Part, Stored, Together};
use super::turns::{Place, Turn};

/// Something that is saved as snapshots of its own: paths, or a stream.
pub trait Source: Send {
    /// What it is called: in its snapshots, in messages, and in the certificates of credentials.
    fn name(&self) -> &str;

    /// What its snapshots are signed for, which the certificate of a credential must allow: its name, unless it is a line
    /// of a list, which is its job's.
    fn identity(&self) -> &str {
        self.name()
    }

    /// Saves it through `writer`, which publishes its snapshot. Others may be saved at the same time, on other threads.
    ///
    /// What came of it goes to [`SnapshotWriter::report`]: of each member, if it has several. A source that cannot be
    /// saved reports [`SourceReport::failed`], and the others are saved all the same. An error ends the run.
    fn store(self: Box<Self>, writer: &mut SnapshotWriter<'_>) -> Result<(), BackupError>;

    /// What it would save. Nothing is saved, and nothing is run that is not needed to tell.
    fn foresee(
        self: Box<Self>,
        repository: &Arc<Repository>,
        observer: &dyn Observer,
    ) -> Result<ForeseenContent, BackupError>;
}

/// What one source, or one of its dumps, is stored and published through.
pub struct SnapshotWriter<'a> {
    together: &'a Together<'a>,
    /// What is being stored.
    pub(super) part: Part<'a>,
    pub(super) observer: &'a dyn Observer,
    pub(super) alarm: &'a Alarm<'a>,
    /// Where its report stands.
    place: Place,
    turn: Option<Turn<'a>>,
    /// The line of a list that is being saved: the job that has it, and its name.
    pub(super) line: Option<(String, String)>,
}

/// Saves the sources, so many at a time as the options say. They begin in their order, and what is stored is published,
/// whatever comes after it.
pub(super) fn save_all(together: &Together<'_>, sources: Vec<Box<dyn Source>>) {
    if !together.is_one_by_one() {
        together.observer.phase("backing up", None, Unit::Bytes);
    }
    std::thread::scope(|outer| {
        let _end = EndOnDrop(together);
        if together.common.is_of_job {
            outer.spawn(|| together.publish_what_waits());
        }
        std::thread::scope(|scope| {
            for (n, source) in sources.into_iter().enumerate() {
                let turn = together.turns.take((n, 0), &|| true);
                if together.is_stopped() {
                    break;
                }
                together.next_source();
                if together.is_one_by_one() {
                    save(together, n, source, turn);
                } else {
                    scope.spawn(move || save(together, n, source, turn));
                }
            }
        });
    });
}

fn save<'a>(together: &'a Together<'a>, n: usize, source: Box<dyn Source>, turn: Option<Turn<'a>>) {
    let _stop = StopIfPanicking(together);
    let alarm = Alarm::new(together.observer, &together.stopped);
    let mut writer = SnapshotWriter::new(together, &alarm, (n, 0), turn);
    let name = source.name().to_owned();
    match source.store(&mut writer) {
        Ok(()) => together.source_ended(n, name),
        Err(e) => together.fail(e),
    }
}

/// Has the thread end that publishes what waits.
struct EndOnDrop<'t>(&'t Together<'t>);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Has the other sources end if this thread panics.
struct StopIfPanicking<'t>(&'t Together<'t>);

impl Drop for StopIfPanicking<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(BackupError::Interrupted);
        }
    }
}

impl<'a> SnapshotWriter<'a> {
    fn new(together: &'a Together<'a>, alarm: &'a Alarm<'a>, place: Place, turn: Option<Turn<'a>>) -> Self {
        Self { together, part: Part::new(together), observer: alarm, alarm, place, turn, line: None }
    }

    /// Takes down what came of a source, or of a member of one.
    pub fn report(&mut self, report: SourceReport) {
        self.together.report(self.place, report);
    }

    /// What came of this source so far.
    pub fn reports(&self) -> Vec<SourceReport> {
        self.together.reports_of(self.place.0)
    }

    /// What came of this source is not without a warning.
    pub(super) fn warn_of(&mut self, text: &str) {
        self.together.warn_of(self.place.0, text);
    }

    /// A member of a source turned out to be none: what waits to be published does not list it.
    pub(super) fn lacks(&mut self, source: &str, member: &str) {
        self.together.lacks(source, member);
    }

    /// Shows what goes on, and says whether to stop.
    pub fn observer(&self) -> &'a dyn Observer {
        self.observer
    }

    /// What the run shares.
    pub(super) fn together(&self) -> &'a Together<'a> {
        self.together
    }

    /// What is said of all sources.
    pub(super) fn common(&self) -> &'a Common {
        &self.together.common
    }

    pub(super) fn repository(&self) -> &'a Arc<Repository> {
        self.together.repository()
    }

    /// What every snapshot of this backup says alike.
    pub(super) fn described(&self) -> SnapshotDescription {
        self.together.described()
    }

    /// Publishes a source as a snapshot. The last one ends the run in the same record. Also says what it cost.
    pub(super) fn publish(&mut self, stored: Stored) -> Result<(SnapshotId, u64), BackupError> {
        self.together.publish(&self.part, stored.with_line(self.line.as_ref()))
    }

    /// Publishes a stream, perhaps later and together with others, and takes down what came of it.
    pub(super) fn publish_soon(&mut self, stored: Stored, report: SourceReport) -> Result<(), BackupError> {
        self.together.publish_soon(&self.part, stored.with_line(self.line.as_ref()), (self.place, report))
    }

    /// Publishes the streams that wait.
    pub(super) fn publish_waiting(&mut self) -> Result<(), BackupError> {
        self.together.publish_all_waiting()
    }

    /// Saves the dumps of this source with `save`: several at a time if others leave turns for that, and each at the
    /// place of its number. An error of one ends the others.
    pub(super) fn each<T: Send>(&mut self, dumps: Vec<T>, save: Save<'_, T>) -> Result<(), BackupError> {
        let (together, source) = (self.together, self.place.0);
        let helpers = together.turns.count().min(dumps.len()).saturating_sub(1);
        let left = Left { dumps: dumps.into_iter().enumerate(), at_work: 1, turn: None, error: None };
        let (left, line) = (Mutex::new(left), self.line.clone());
        std::thread::scope(|scope| {
            for helper in 1..=helpers {
                let (left, line) = (&left, line.clone());
                scope.spawn(move || {
                    let _stop = StopIfPanicking(together);
                    let is_wanted = || left.lock().dumps.len() > 0;
                    let Some(turn) = together.turns.take((source, helper), &is_wanted) else { return };
                    if !begins(left) {
                        return;
                    }
                    let alarm = Alarm::new(together.observer, &together.stopped);
                    let mut writer = SnapshotWriter::new(together, &alarm, (source, 0), None);
                    writer.line = line;
                    work_off(&mut writer, Some(turn), left, save);
                });
            }
            let turn = self.turn.take();
            work_off(self, turn, &left, save);
        });
        let Left { turn, error, .. } = left.into_inner();
        self.turn = turn;
        error.map_or(Ok(()), Err)
    }
}

/// Takes one dump after the other. Who is the last at work leaves the turn for the source: what comes after its dumps does
/// not wait for other sources.
fn work_off<'t, T: Send>(
    writer: &mut SnapshotWriter<'_>,
    turn: Option<Turn<'t>>,
    left: &Mutex<Left<'t, T>>,
    save: Save<'_, T>,
) {
    loop {
        let next = left.lock().dumps.next();
        let Some((n, dump)) = next else { break };
        // Who waits for a turn may have nothing to do any more.
        writer.together.turns.wake();
        writer.place.1 = n;
        if let Err(e) = save(writer, dump) {
            writer.together.stop();
            give_up(left, e);
            writer.together.turns.wake();
        }
    }
    let mut left = left.lock();
    left.at_work -= 1;
    if left.at_work == 0 {
        left.turn = turn;
    } else {
        // Who waits for a turn looks at what is left: first let go of that.
        drop(left);
        drop(turn);
    }
}

/// Nothing more is to be saved of the source, for this reason.
fn give_up<T>(left: &Mutex<Left<'_, T>>, error: BackupError) {
    let mut left = left.lock();
    left.dumps = Vec::new().into_iter().enumerate();
    // That the others were asked to end is no reason.
    if matches!(left.error, None | Some(BackupError::Interrupted)) {
        left.error = Some(error);
    }
}

/// Whether there is still something to do for one more.
fn begins<T>(left: &Mutex<Left<'_, T>>) -> bool {
    let mut left = left.lock();
    let is_needed = left.dumps.len() > 0;
    left.at_work += usize::from(is_needed);
    is_needed
}

/// Saves one dump.
type Save<'f, T> = &'f (dyn Fn(&mut SnapshotWriter<'_>, T) -> Result<(), BackupError> + Sync);

/// Dumps of a source that nobody has taken yet.
struct Left<'a, T> {
    dumps: std::iter::Enumerate<vec::IntoIter<T>>,
    /// How many threads save some.
    at_work: usize,
    /// Of the last one that was at work.
    turn: Option<Turn<'a>>,
    /// Why it ended early.
    error: Option<BackupError>,
}
