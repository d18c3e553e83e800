//! Statuses for tests.

use super::status::{State, Status};

/// A source in this state, whose last attempt was at 1 ms.
pub(crate) fn status(host: &str, source: &str, state: State) -> Status {
    let good = matches!(state, State::Good | State::Warnings | State::Unscheduled);
    Status {
        host: host.to_owned(),
        job: source.split('/').next().unwrap_or_default().to_owned(),
        source: source.to_owned(),
        kind: "path".to_owned(),
        schedule: Some("daily 02:00".to_owned()),
        state,
        level: state.level(),
        error: (!good).then(|| "no space left on device".to_owned()),
        begun_ms: Some(1),
        duration_ms: Some(2000),
        success_ms: good.then_some(1),
        missed_ms: None,
        due_by_ms: None,
        bytes: good.then_some(1 << 20),
        usual_bytes: None,
        snapshot: None,
    }
}
