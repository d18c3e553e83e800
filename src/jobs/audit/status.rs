//! What the audit says of a source.

use serde::Serialize;

use super::attempt::{Attempt, Ending};
use super::expected::Expected;

/// How a source stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is saved, as its schedule asks.
    Good,
    /// Likewise, and something is to be noticed.
    Warnings,
    /// The last run saved some of it.
    Partial,
    /// The last run saved nothing of it.
    Failed,
    /// It is being saved.
    Running,
    /// The last run never ended.
    Crashed,
    /// It was not saved when it was due.
    Overdue,
    /// It was never tried.
    Never,
    /// It is configured and has no schedule.
    Unscheduled,
    /// It was saved, and is in no configuration.
    Unconfigured,
}

/// How grave it is; the numbers are the exit codes of Nagios' plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing is to be done.
    Good = 0,
    /// It is to be noticed.
    Warning = 1,
    /// It is to be mended.
    Critical = 2,
}

impl State {
    /// How grave it is.
    pub(super) fn level(self) -> Level {
        match self {
            Self::Good | Self::Running | Self::Unconfigured => Level::Good,
            Self::Warnings | Self::Unscheduled => Level::Warning,
            Self::Partial | Self::Failed | Self::Crashed | Self::Overdue | Self::Never => Level::Critical,
        }
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "Good",
            Self::Warnings => "Warnings",
            Self::Partial => "Partial",
            Self::Failed => "Failed",
            Self::Running => "Running",
            Self::Crashed => "Crashed",
            Self::Overdue => "Overdue",
            Self::Never => "Never",
            Self::Unscheduled => "Unscheduled",
            Self::Unconfigured => "Unconfigured",
        }
    }
}

/// What the audit says of a source on a machine. Times are milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The machine.
    pub host: String,
    /// The job; empty if none saved it.
    pub job: String,
    /// The path of the source.
    pub source: String,
    /// Its kind; empty if it is in no configuration.
    pub kind: String,
    /// Its schedule, as it is written.
    pub schedule: Option<String>,
    /// How it stands.
    pub state: State,
    /// How grave that is.
    pub level: Level,
    /// Why the last attempt was not good.
    pub error: Option<String>,
    /// When the last attempt began.
    pub begun_ms: Option<i64>,
    /// How long it took, or has been going on.
    pub duration_ms: Option<i64>,
    /// When the newest good copy was begun.
    pub success_ms: Option<i64>,
    /// The slot for which there is no good copy, though its time is over.
    pub missed_ms: Option<i64>,
    /// When it is overdue if nothing is saved from now on.
    pub due_by_ms: Option<i64>,
    /// Bytes of the newest good copy.
    pub bytes: Option<u64>,
    /// Bytes that are usual.
    pub usual_bytes: Option<u64>,
    /// The snapshot of the newest good copy.
    pub snapshot: Option<String>,
}

impl Status {
    pub(super) fn new(
        expected: &Expected,
        state: State,
        last: Option<&Attempt>,
        success: Option<&Attempt>,
        now_ms: i64,
    ) -> Self {
        let duration = |attempt: &Attempt| {
            let ended = match attempt.ending {
                Ending::Running => Some(now_ms),
                _ => attempt.ended_ms,
            };
            ended.map(|ended| ended.saturating_sub(attempt.begun_ms).max(0))
        };
        Self {
            host: expected.host.clone(),
            job: expected.job.clone(),
            source: expected.source.clone(),
            kind: expected.kind.clone(),
            schedule: expected.schedule_text.clone(),
            state,
            level: state.level(),
            error: last.and_then(|attempt| attempt.error.clone()),
            begun_ms: last.map(|attempt| attempt.begun_ms),
            duration_ms: last.and_then(duration),
            success_ms: success.map(|attempt| attempt.begun_ms),
            missed_ms: None,
            due_by_ms: None,
            bytes: success.map(|attempt| attempt.bytes),
            usual_bytes: None,
            snapshot: success.and_then(|attempt| attempt.snapshot.clone()),
        }
    }
}
