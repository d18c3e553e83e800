//! How long a server is asked again, and who is told of it.
//!
//! The time counts from the first failure of a trouble, not from each request: while nothing is answered as it should
//! be, all requests share it, also those that follow because an earlier one gave up. An answer ends the trouble.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::super::options::Notice;
use super::wire::WireError;

/// After this time without an answer, or with failures only, people are told.
const TOLD_AFTER: Duration = Duration::from_secs(3);
/// A failure so long after the last one begins a new trouble: longer than any pause between two tries.
const OVER_AFTER: Duration = Duration::from_secs(30);
/// Troubles of single requests that are remembered.
const TROUBLES_MAX: usize = 1000;

/// How long a store is asked again.
#[derive(Clone)]
pub(crate) struct Patience(Arc<Inner>);

struct Inner {
    limit: Duration,
    notice: Notice,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Something was answered once.
    answered: bool,
    /// Of all requests.
    all: Option<Trouble>,
    /// Of single ones.
    of: HashMap<String, Trouble>,
    /// People were told of a trouble that is not over.
    told: bool,
}

#[derive(Debug, Clone, Copy)]
struct Trouble {
    since: Instant,
    last: Instant,
}

impl Trouble {
    fn goes_on(known: Option<Self>, began: Instant, now: Instant) -> Self {
        let same = known.filter(|t| began.saturating_duration_since(t.last) < OVER_AFTER);
        Self { since: same.map_or(now, |t| t.since), last: now }
    }
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience").field("limit", &self.0.limit).finish_non_exhaustive()
    }
}

impl Patience {
    /// Tries again for `limit`, and tells `notice` of it.
    pub(crate) fn new(limit: Duration, notice: Notice) -> Self {
        Self(Arc::new(Inner { limit, notice, state: Mutex::default() }))
    }

    /// For how long it is tried again.
    pub(crate) fn limit(&self) -> Duration {
        self.0.limit
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    /// Waits for a first answer, and says so if it takes its time.
    pub(crate) async fn watched<T>(&self, host: &str, attempt: impl Future<Output = T>) -> T {
        let mut attempt = std::pin::pin!(attempt);
        if !self.state().answered {
            match tokio::time::timeout(TOLD_AFTER, &mut attempt).await {
                Ok(done) => return done,
                Err(_) => {
                    let first = !std::mem::replace(&mut self.state().told, true);
                    if first {
                        (self.0.notice)(&format!("{host} has not answered for {} s; waiting", TOLD_AFTER.as_secs()));
                    }
                }
            }
        }
        attempt.await
    }

    /// A request was answered as it should be.
    pub(crate) fn answered(&self, key: &str) {
        let mut state = self.state();
        state.answered = true;
        state.all = None;
        state.of.remove(key);
        if std::mem::take(&mut state.told) {
            drop(state);
            (self.0.notice)("the store answers again");
        }
    }

    /// A try of a request that began at `began` failed in a way that may pass. An error says that it is not to be
    /// tried again.
    pub(crate) fn failed(&self, key: &str, began: Instant, cause: String, full: bool) -> Result<(), WireError> {
        let now = Instant::now();
        let mut state = self.state();
        let all = Trouble::goes_on(state.all, began, now);
        let one = Trouble::goes_on(state.of.get(key).copied(), began, now);
        state.all = Some(all);
        if state.of.len() >= TROUBLES_MAX {
            state.of.retain(|_, t| now.saturating_duration_since(t.last) < OVER_AFTER);
        }
        state.of.insert(key.to_owned(), one);
        let lasted = now.saturating_duration_since(all.since.min(one.since));
        if lasted >= self.0.limit {
            return Err(WireError::GaveUp { cause, seconds: lasted.as_secs(), full });
        }
        if lasted >= TOLD_AFTER && !std::mem::replace(&mut state.told, true) {
            drop(state);
            let left = (self.0.limit - lasted).as_secs().max(1);
            (self.0.notice)(&format!(
                "the store does not answer as it should: {cause}; trying again for up to {left} s"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(limit_s: u64) -> (Patience, Arc<Mutex<Vec<String>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let kept = told.clone();
        let notice: Notice = Arc::new(move |text: &str| kept.lock().push(text.to_owned()));
        (Patience::new(Duration::from_secs(limit_s), notice), told)
    }

    #[test]
    fn the_time_is_that_of_all_requests_together() {
        let (patience, told) = patience(10);
        let now = Instant::now();
        let before = |s| now.checked_sub(Duration::from_secs(s)).unwrap();
        patience.state().all = Some(Trouble { since: before(5), last: before(1) });
        assert_eq!(patience.failed("a", now, "503".into(), false), Ok(()));
        assert!(told.lock()[0].contains("503; trying again for up to "), "{told:?}");
        patience.state().all = Some(Trouble { since: before(11), last: before(1) });
        let gave_up = patience.failed("b", now, "503".into(), false);
        assert!(matches!(gave_up, Err(WireError::GaveUp { seconds: 11, .. })), "{gave_up:?}");
        // A trouble of an hour ago that nobody saw the end of.
        patience.state().all = Some(Trouble { since: before(100), last: before(40) });
        patience.state().of.clear();
        assert_eq!(patience.failed("a", now, "503".into(), false), Ok(()));
        patience.answered("a");
        assert_eq!(told.lock().last().unwrap(), "the store answers again");
        assert!(patience.state().all.is_none());
    }

    #[test]
    fn one_request_that_always_fails_ends_though_others_succeed() {
        let (patience, _) = patience(10);
        let now = Instant::now();
        let before = now.checked_sub(Duration::from_secs(20)).unwrap();
        patience.state().of.insert("a".into(), Trouble { since: before, last: now });
        patience.answered("b");
        assert!(patience.failed("a", now, "500".into(), false).is_err());
        assert!(patience.failed("c", now, "500".into(), false).is_ok());
    }

    #[test]
    fn no_time_is_one_try() {
        assert!(patience(0).0.failed("a", Instant::now(), "500".into(), false).is_err());
    }
}
