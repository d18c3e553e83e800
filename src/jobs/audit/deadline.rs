//! Until when a source must have been saved.

use jiff::Timestamp;

use super::expected::Expected;

/// The last moment at which a source had to be saved, and the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// The last slot whose time is over: a good copy must be newer.
    pub slot_ms: Option<i64>,
    /// Whether there is none.
    pub is_missed: bool,
    /// When the source is overdue if nothing is saved from now on.
    pub next_ms: Option<i64>,
}

impl Deadline {
    /// The deadline of a source whose newest good copy was begun at `success_ms`, and which was first tried at `tried_ms`.
    pub(super) fn of(expected: &Expected, success_ms: Option<i64>, tried_ms: Option<i64>, now_ms: i64) -> Self {
        let none = Self { slot_ms: None, is_missed: false, next_ms: None };
        let Some(schedule) = &expected.schedule else { return none };
        let allowed_ms = expected.jitter_ms.saturating_add(expected.grace_ms);
        let at = |ms: i64| Some(Timestamp::from_millisecond(ms).ok()?.to_zoned(expected.zone.clone()));
        let slot = at(now_ms.saturating_sub(allowed_ms)).and_then(|then| schedule.latest(&then));
        let slot_ms = slot.map(|slot| slot.timestamp().as_millisecond());
        // Only what was never tried may be new: a configuration that is written anew each night hides nothing.
        let since_ms = if tried_ms.is_none() { expected.since_ms } else { None };
        let slot_ms = slot_ms.filter(|slot| since_ms.is_none_or(|since| since <= *slot));
        let is_missed = slot_ms.is_some_and(|slot| success_ms.is_none_or(|success| success < slot));
        // The first slot that the newest good copy does not serve.
        let from = success_ms.or(since_ms).unwrap_or(now_ms);
        let next = at(from).and_then(|from| schedule.next(&from));
        let next_ms = next.map(|slot| slot.timestamp().as_millisecond().saturating_add(allowed_ms));
        Self { slot_ms, is_missed, next_ms }
    }
}
