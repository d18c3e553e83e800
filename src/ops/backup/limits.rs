//! What a source must keep to: how long it may take, and how long its content is as a rule.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::format::record::Outcome;
use crate::primitives::progress::{Change, Observer, Severity, Unit};

/// The length that content has as a rule, by the path of the source or member.
pub type UsualLength = Arc<dyn Fn(&str) -> Option<u64> + Send + Sync>;

/// What a source must keep to.
#[derive(Clone, Default)]
pub struct Limits {
    /// How long it may take; then it is ended with all that it started, and has failed.
    pub timeout: Option<Duration>,
    /// How often a stream that failed is tried again.
    pub retries: u32,
    /// The median length of its last good ones in bytes, if there were enough.
    pub usual: Option<UsualLength>,
    /// A shorter one than so much of the usual is a warning.
    pub min_ratio: Option<f64>,
    /// A longer one than so much of the usual is a warning.
    pub max_ratio: Option<f64>,
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").field("timeout", &self.timeout).field("retries", &self.retries).finish_non_exhaustive()
    }
}

impl Limits {
    /// What is unusual about the length of what was saved.
    pub fn unusual(&self, path: &str, len: u64) -> Option<String> {
        let usual = self.usual.as_ref()?(path).filter(|usual| *usual > 0)?;
        let ratio = len as f64 / usual as f64;
        let (word, key, limit) = match (self.min_ratio, self.max_ratio) {
            (Some(least), _) if ratio < least => ("less", "min_ratio", least),
            (_, Some(most)) if ratio > most => ("more", "max_ratio", most),
            _ => return None,
        };
        let percent = (ratio * 100.0).round();
        Some(format!(
            "{path} has {len} bytes, {percent} % of its usual {usual}: that is {word} than {key} = {limit} allows"
        ))
    }

    /// As an outcome: what is unusual is a warning.
    pub fn judge(&self, path: &str, len: u64) -> (Outcome, Option<String>) {
        match self.unusual(path, len) {
            Some(text) => (Outcome::Warnings, Some(text)),
            None => (Outcome::Complete, None),
        }
    }
}

/// An observer that also asks to stop when a time is over, or when a flag is raised.
pub(super) struct Alarm<'a> {
    inner: &'a dyn Observer,
    stopped: &'a AtomicBool,
    began: Instant,
    /// In milliseconds after `began`; [`NEVER`] if none is set.
    deadline: AtomicU64,
}

const NEVER: u64 = u64::MAX;

impl<'a> Alarm<'a> {
    /// Without a deadline.
    pub(super) fn new(inner: &'a dyn Observer, stopped: &'a AtomicBool) -> Self {
        Self { inner, stopped, began: Instant::now(), deadline: AtomicU64::new(NEVER) }
    }

    /// From now on, this long; `None`: for ever.
    pub(super) fn set(&self, timeout: Option<Duration>) {
        let at = timeout.map(|timeout| self.began.elapsed().saturating_add(timeout).as_millis());
        let at = at.map_or(NEVER, |at| u64::try_from(at).unwrap_or(NEVER));
        self.deadline.store(at, Ordering::Relaxed);
    }

    /// Whether the time is over, and nobody asked to stop.
    pub(super) fn is_over(&self) -> bool {
        let deadline = self.deadline.load(Ordering::Relaxed);
        deadline != NEVER && self.began.elapsed().as_millis() >= u128::from(deadline) && !self.is_stopped()
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.inner.interrupted()
    }
}

impl Observer for Alarm<'_> {
    fn phase(&self, name: &str, total: Option<u64>, unit: Unit) {
        self.inner.phase(name, total, unit);
    }
    fn advance(&self, n: u64) {
        self.inner.advance(n);
    }
    fn grow(&self, n: u64) {
        self.inner.grow(n);
    }
    fn wants_total(&self) -> bool {
        self.inner.wants_total()
    }
    fn current(&self, what: &str) {
        self.inner.current(what);
    }
    fn file(&self, change: Change, path: &dyn Fn() -> PathBuf, len: u64) {
        self.inner.file(change, path, len);
    }
    fn finding(&self, severity: Severity, text: &str) {
        self.inner.finding(severity, text);
    }
    fn interrupted(&self) -> bool {
        self.is_stopped() || self.is_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::progress::Silent;

    #[test]
    fn lengths_are_compared_with_the_usual_one() {
        let usual: UsualLength = Arc::new(|path| (path == "a").then_some(1000));
        let limits = Limits { usual: Some(usual), min_ratio: Some(0.5), max_ratio: Some(2.0), ..Limits::default() };
        assert!(limits.unusual("a", 400).is_some_and(|text| text.contains("40 %") && text.contains("min_ratio")));
        assert!(limits.unusual("a", 2500).is_some_and(|text| text.contains("max_ratio")));
        assert!(limits.unusual("a", 500).is_none() && limits.unusual("a", 2000).is_none());
        assert!(limits.unusual("b", 1).is_none(), "nothing is known of it");
        assert_eq!(limits.judge("a", 1).0, Outcome::Warnings);
    }

    #[test]
    fn an_alarm_asks_to_stop_when_its_time_is_over() {
        let stopped = AtomicBool::new(false);
        let alarm = Alarm::new(&Silent, &stopped);
        assert!(!alarm.interrupted());
        alarm.set(Some(Duration::from_secs(1000)));
        assert!(!alarm.interrupted());
        alarm.set(Some(Duration::ZERO));
        assert!(alarm.interrupted() && alarm.is_over());
        stopped.store(true, Ordering::Relaxed);
        assert!(alarm.interrupted() && !alarm.is_over(), "that is not because of the time");
        stopped.store(false, Ordering::Relaxed);
        alarm.set(None);
        assert!(!alarm.interrupted());
    }
}
