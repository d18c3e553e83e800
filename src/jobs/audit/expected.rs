//! What is expected: one source on one machine.

use jiff::tz::TimeZone;

use super::attempt::Attempt;
use crate::jobs::schedule::Schedule;

/// One source that a machine is to save.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The machine.
    pub host: String,
    /// The job.
    pub job: String,
    /// The type of its runs.
    pub job_type: String,
    /// The path of the source, such as `commcare/postgresql`: jobs with the same sources share it.
    pub source: String,
    /// Its kind.
    pub kind: String,
    /// When it is due; `None`: nobody said.
    pub schedule: Option<Schedule>,
    /// The schedule as it is written.
    pub schedule_text: Option<String>,
    /// The zone of the schedule.
    pub zone: TimeZone,
    /// By how much the start comes later than the slot on this machine, in milliseconds.
    pub jitter_ms: i64,
    /// How long after its start it counts as overdue, in milliseconds.
    pub grace_ms: i64,
    /// How long a run of it may take, in milliseconds; `None`: there is no limit.
    pub timeout_ms: Option<i64>,
    /// Since when it may be expected, in milliseconds since the epoch: if it was never tried, slots before count for
    /// nothing. `None`: for ever.
    pub since_ms: Option<i64>,
}

impl Expected {
    /// What an attempt would be expected as that is in no configuration.
    pub(super) fn of_attempt(attempt: &Attempt) -> Self {
        Self {
            host: attempt.host.clone(),
            job: attempt.job.clone().unwrap_or_default(),
            job_type: attempt.job_type.clone().unwrap_or_default(),
            source: attempt.source.clone(),
            kind: String::new(),
            schedule: None,
            schedule_text: None,
            zone: TimeZone::UTC,
            jitter_ms: 0,
            grace_ms: 0,
            timeout_ms: None,
            since_ms: None,
        }
    }
}
