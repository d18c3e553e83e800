//! The audit: of each source that a machine is to save, whether it is saved as its schedule asks.
//!
//! Nothing here reads a clock, a file or a repository. [`audit`] compares what is expected with what was tried. A source
//! is judged by its own schedule and grace, and by no other number of hours: a job from Monday to Friday is not late on
//! Sunday. A newer good copy of the same source counts, whichever job or type made it.

mod attempt;
mod deadline;
mod expected;
mod runs;
mod status;
#[cfg(test)]
pub(crate) mod testing;

pub use attempt::{Attempt, Ending};
pub use deadline::Deadline;
pub use expected::Expected;
pub use runs::{RunFacts, SourceResult};
pub use status::{Level, State, Status};

use std::collections::BTreeMap;

use crate::jobs::schedule::Schedule;

/// So many of the last good ones make up what is usual; of fewer than the second figure nothing is concluded.
const GOOD_ONES: usize = 7;
const GOOD_ONES_LEAST: usize = 3;

/// Judges every source that is expected, and names those that were saved and are in no configuration. The order is that
/// of `expected`; what is in no configuration comes last, sorted.
///
/// `attempts` may come in any order.
pub fn audit(expected: &[Expected], attempts: &[Attempt], now_ms: i64) -> Vec<Status> {
    let mut by_source: BTreeMap<(&str, &str), Vec<&Attempt>> = BTreeMap::new();
    for attempt in attempts {
        by_source.entry((&attempt.host, &attempt.source)).or_default().push(attempt);
    }
    by_source.values_mut().for_each(|all| all.sort_by_key(|attempt| attempt.begun_ms));
    let none = Vec::new();
    let mut statuses: Vec<Status> = expected
        .iter()
        .map(|e| {
            let of_source = by_source.get(&(e.host.as_str(), e.source.as_str())).unwrap_or(&none);
            judge(e, of_source, now_ms)
        })
        .collect();
    for ((host, source), all) in &by_source {
        let is_job = all.iter().all(|attempt| attempt.job.as_deref() == Some(*source));
        if !is_job && !expected.iter().any(|e| e.host == *host && e.source == *source) {
            statuses.extend(unconfigured(all, now_ms));
        }
    }
    statuses
}

/// Judges one source; its attempts come oldest first.
fn judge(expected: &Expected, attempts: &[&Attempt], now_ms: i64) -> Status {
    let success = attempts.iter().rfind(|attempt| attempt.ending.is_good());
    // Failures of runs that somebody made by hand with another type are his own business.
    let own = |attempt: &&&Attempt| attempt.ending.is_good() || attempt.is_of(&expected.job, &expected.job_type);
    let last = attempts.iter().rfind(own);
    let tried_ms = attempts.first().map(|attempt| attempt.begun_ms);
    let deadline = Deadline::of(expected, success.map(|attempt| attempt.begun_ms), tried_ms, now_ms);
    let is_older =
        |attempt: &Attempt| deadline.is_missed && deadline.slot_ms.is_some_and(|slot| attempt.begun_ms < slot);
    let state = match last {
        None if expected.schedule.is_none() => State::Unscheduled,
        None => State::Never,
        Some(last) => match last.ending {
            // Without time-outs, a run that nobody ended would go on for ever: it does until the next slot is over.
            Ending::Running => match expected.timeout_ms {
                Some(timeout) if now_ms <= last.begun_ms.saturating_add(timeout) => State::Running,
                None if !is_older(last) => State::Running,
                _ => State::Overdue,
            },
            _ if is_older(last) => State::Overdue,
            Ending::Complete | Ending::Warnings if expected.schedule.is_none() => State::Unscheduled,
            Ending::Complete => State::Good,
            Ending::Warnings => State::Warnings,
            Ending::Partial => State::Partial,
            Ending::Failed => State::Failed,
            Ending::Crashed => State::Crashed,
        },
    };
    let level = match state {
        // No schedule asks for it.
        State::Never if expected.schedule == Some(Schedule::Manual) => Level::Good,
        // Its first slot is not over.
        State::Never if !deadline.is_missed => Level::Warning,
        state => state.level(),
    };
    Status {
        level,
        usual_bytes: usual(attempts),
        missed_ms: deadline.slot_ms.filter(|_| deadline.is_missed),
        due_by_ms: deadline.next_ms,
        ..Status::new(expected, state, last.copied(), success.copied(), now_ms)
    }
}

/// What was saved and is in no configuration. It is no alarm: nothing of it is lost.
fn unconfigured(attempts: &[&Attempt], now_ms: i64) -> Option<Status> {
    let last = attempts.last()?;
    let success = attempts.iter().rfind(|attempt| attempt.ending.is_good());
    let expected = Expected::of_attempt(last);
    let status = Status::new(&expected, State::Unconfigured, Some(last), success.copied(), now_ms);
    Some(Status { level: Level::Good, usual_bytes: usual(attempts), ..status })
}

/// The median length of the last good ones.
fn usual(attempts: &[&Attempt]) -> Option<u64> {
    let good = attempts.iter().rev().filter(|attempt| attempt.ending == Ending::Complete);
    let mut last: Vec<u64> = good.take(GOOD_ONES).map(|attempt| attempt.bytes).collect();
    last.sort_unstable();
    (last.len() >= GOOD_ONES_LEAST).then(|| last[last.len() / 2])
}

#[cfg(test)]
mod tests;
