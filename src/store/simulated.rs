//! A store that fails as it is told, for the crash and fault tests of every layer.
//!
//! It wraps another store, writes down every call, and can crash at a chosen call, answer chosen calls with
//! chosen faults, hold creates back, let them happen long after they were given up, and damage what is stored.
//! It has no clock and no randomness: the same calls from one thread always go the same way.
//!
//! A process that crashed is a store that answers nothing but errors; the process that is started after it is a
//! new wrapper around the same inner store.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::name::is_within;
use super::{Created, Foreign, Listed, RequestCounts, Store, StoreError, Verb};

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens, and the caller gets [`StoreError::Other`].
    Before,
    /// It happens, and the caller gets [`StoreError::Other`] nevertheless.
    After,
    /// A create happens, and the caller gets [`StoreError::Ambiguous`]; other verbs as [`Fault::After`].
    Half,
    /// A create does not happen, and the caller gets [`StoreError::Ambiguous`]; other verbs as [`Fault::Before`].
    Lost,
    /// As [`Fault::Lost`], but the create happens when [`SimulatedStore::release`] is called: a request that
    /// was under way for longer than anybody waited.
    Late,
    /// [`StoreError::Missing`], although it may be there.
    Missing,
    /// [`StoreError::Denied`].
    Denied,
    /// [`StoreError::Full`].
    Full,
}

/// Which calls a crash counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Creates and deletes.
    Mutating,
    /// Every call.
    All,
}

/// What may befall an object behind everybody's back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// It is gone.
    Delete,
    /// Only its first bytes are left.
    Truncate(u64),
    /// One bit is another; bits are counted from the lowest of the first byte, and modulo the length.
    FlipBit(u64),
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As the inner store answered, which may have been an error of its own.
    Done,
    /// With this fault.
    Faulted(Fault),
    /// It came after the crash.
    Dead,
}

/// One call, as the log shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What was asked for.
    pub verb: Verb,
    /// Of which object or folder.
    pub name: String,
    /// How many bytes were sent, or were asked for as a range.
    pub size: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// A wrapper that counts, logs and fails.
#[derive(Debug)]
pub struct SimulatedStore {
    inner: Arc<dyn Store>,
    script: Mutex<Script>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Script {
    calls: Vec<Call>,
    crash: Option<Crash>,
    dead: bool,
    rules: Vec<Rule>,
    /// Folders whose creates wait.
    held_folders: Vec<String>,
    /// Creates that wait at this moment.
    held: Vec<String>,
    late: Vec<(String, Bytes)>,
}

#[derive(Debug)]
struct Crash {
    calls_left: u64,
    scope: Scope,
    fault: Fault,
}

#[derive(Debug)]
struct Rule {
    verb: Option<Verb>,
    prefix: String,
    /// Matching calls that still go well.
    skip: u64,
    /// Calls behind those that fail.
    times: u64,
    fault: Fault,
}

impl SimulatedStore {
    /// Wraps `inner`, and lets everything through until it is told otherwise.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, script: Mutex::default(), changed: Condvar::new() }
    }

    /// The store within, untouched by faults.
    pub fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    /// Crashes at the `n`-th call of `scope` from now on (1 is the next one): that call ends as `fault` says,
    /// and every call after it fails. Replaces what was set before.
    pub fn crash_after(&self, n: u64, scope: Scope, fault: Fault) {
        self.script().crash = Some(Crash { calls_left: n, scope, fault });
    }

    /// Crashes now: every call from now on fails.
    pub fn crash(&self) {
        self.script().dead = true;
        self.changed.notify_all();
    }

    /// Whether it has crashed.
    pub fn has_crashed(&self) -> bool {
        self.script().dead
    }

    /// Ends the crash, forgets every fault, and lets held creates go. The log stays.
    pub fn revive(&self) {
        let mut script = self.script();
        let late = std::mem::take(&mut script.late);
        *script = Script { calls: std::mem::take(&mut script.calls), late, ..Script::default() };
        self.changed.notify_all();
    }

    /// Lets the calls of `verb` (of any, if `None`) whose name begins with the bytes of `prefix` fail with
    /// `fault`, from the `occurrence`-th on (1 is the next one), `times` times.
    pub fn fail(&self, verb: Option<Verb>, prefix: &str, occurrence: u64, times: u64, fault: Fault) {
        let rule = Rule { verb, prefix: prefix.to_owned(), skip: occurrence.saturating_sub(1), times, fault };
        self.script().rules.push(rule);
    }

    /// Lets creates in the folder `folder` wait until [`SimulatedStore::release`]. Each blocks its thread, and
    /// nobody else.
    pub fn hold(&self, folder: &str) {
        self.script().held_folders.push(folder.to_owned());
    }

    /// Waits until `n` creates are held.
    pub fn wait_held(&self, n: usize) {
        let mut script = self.script();
        self.changed.wait_while(&mut script, |script| script.held.len() < n);
    }

    /// The names of the creates that are held at this moment, in the order they came.
    pub fn held(&self) -> Vec<String> {
        self.script().held.clone()
    }

    /// Lets every held create go, and does the late ones, in the order they came. What came first to a name
    /// stays, as ever.
    pub fn release(&self) -> Result<(), StoreError> {
        let late = {
            let mut script = self.script();
            script.held_folders.clear();
            self.changed.notify_all();
            std::mem::take(&mut script.late)
        };
        for (name, bytes) in late {
            self.inner.create(&name, bytes)?;
        }
        Ok(())
    }

    /// Every call so far, in the order they came.
    pub fn calls(&self) -> Vec<Call> {
        self.script().calls.clone()
    }

    /// Forgets the calls so far.
    pub fn clear_calls(&self) {
        self.script().calls.clear();
    }

    /// Damages an object, past write-once and past the log.
    pub fn damage(&self, name: &str, damage: Damage) -> Result<(), StoreError> {
        let mut bytes = self.inner.get(name)?.to_vec();
        match damage {
            Damage::Delete => return self.inner.delete(name),
            Damage::Truncate(len) => bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX)),
            Damage::FlipBit(bit) if !bytes.is_empty() => {
                let bit = bit % (bytes.len() as u64 * 8);
                bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
            }
            Damage::FlipBit(_) => {}
        }
        self.overwrite(name, bytes.into())
    }

    /// Puts `bytes` in the place of an object, or where there is none, past write-once and past the log.
    pub fn overwrite(&self, name: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.inner.delete(name)?;
        self.inner.create(name, bytes).map(drop)
    }

    /// Exchanges two objects, past write-once and past the log.
    pub fn swap(&self, one: &str, other: &str) -> Result<(), StoreError> {
        let (first, second) = (self.inner.get(one)?, self.inner.get(other)?);
        self.overwrite(one, second)?;
        self.overwrite(other, first)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock()
    }

    /// Does one call as the script wants it.
    fn call<T>(
        &self,
        verb: Verb,
        name: &str,
        size: u64,
        act: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let outcome = {
            let mut script = self.script();
            let outcome = script.decide(verb, name);
            script.calls.push(Call { verb, name: name.to_owned(), size, outcome });
            outcome
        };
        match outcome {
            Outcome::Done => act(),
            Outcome::Dead => Err(simulated(Fault::Before, verb, name, "simulated crash")),
            Outcome::Faulted(fault) => {
                if matches!(fault, Fault::After | Fault::Half) {
                    act()?;
                }
                let text = if self.has_crashed() { "simulated crash" } else { "simulated fault" };
                Err(simulated(fault, verb, name, text))
            }
        }
    }

    /// Waits while creates of this name are held.
    fn wait_for_release(&self, name: &str) {
        let is_held = |script: &Script| !script.dead && script.held_folders.iter().any(|f| is_within(name, f));
        let mut script = self.script();
        if !is_held(&script) {
            return;
        }
        script.held.push(name.to_owned());
        self.changed.notify_all();
        self.changed.wait_while(&mut script, |script| is_held(script));
        script.held.retain(|held| held != name);
        self.changed.notify_all();
    }
}

impl Script {
    fn decide(&mut self, verb: Verb, name: &str) -> Outcome {
        if self.dead {
            return Outcome::Dead;
        }
        if let Some(crash) = &mut self.crash
            && (crash.scope == Scope::All || verb.mutates())
        {
            crash.calls_left = crash.calls_left.saturating_sub(1);
            if crash.calls_left == 0 {
                self.dead = true;
                return Outcome::Faulted(crash.fault);
            }
        }
        let matching =
            |rule: &&mut Rule| rule.times > 0 && rule.verb.is_none_or(|v| v == verb) && name.starts_with(&rule.prefix);
        // Every matching rule counts the call; the first that is due decides.
        let mut decided = Outcome::Done;
        for rule in self.rules.iter_mut().filter(matching) {
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if decided == Outcome::Done {
                rule.times -= 1;
                decided = Outcome::Faulted(rule.fault);
            }
        }
        decided
    }
}

impl Store for SimulatedStore {
    fn location(&self) -> String {
        format!("simulated over {}", self.inner.location())
    }

    fn create(&self, name: &str, bytes: Bytes) -> Result<Created, StoreError> {
        self.wait_for_release(name);
        let sent = bytes.clone();
        let answer = self.call(Verb::Create, name, bytes.len() as u64, || self.inner.create(name, bytes));
        if let Err(StoreError::Ambiguous { source, .. }) = &answer
            && source.downcast_ref::<Simulated>().is_some_and(|s| s.fault == Fault::Late)
        {
            self.script().late.push((name.to_owned(), sent));
        }
        answer
    }

    fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        self.call(Verb::Get, name, 0, || self.inner.get(name))
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let size = range.end.saturating_sub(range.start);
        self.call(Verb::GetRange, name, size, || self.inner.get_range(name, range))
    }

    fn size(&self, name: &str) -> Result<u64, StoreError> {
        self.call(Verb::Size, name, 0, || self.inner.size(name))
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        each: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<Foreign, StoreError> {
        self.call(Verb::List, prefix, 0, || self.inner.list(prefix, after, each))
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.call(Verb::Delete, name, 0, || self.inner.delete(name))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.call(Verb::Sync, "", 0, || self.inner.sync())
    }

    fn requests(&self) -> RequestCounts {
        self.inner.requests()
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    fn server(&self) -> Option<String> {
        self.inner.server()
    }

    fn assume_single_writer(&self) {
        self.inner.assume_single_writer();
    }
}

/// The cause of every simulated error.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Simulated {
    fault: Fault,
    text: &'static str,
}

fn simulated(fault: Fault, verb: Verb, name: &str, text: &'static str) -> StoreError {
    let (name, source) = (name.to_owned(), Box::new(Simulated { fault, text }));
    match fault {
        Fault::Half | Fault::Lost | Fault::Late if verb == Verb::Create => StoreError::Ambiguous { name, source },
        Fault::Missing => StoreError::Missing { name },
        Fault::Denied => StoreError::Denied { verb, name, source },
        Fault::Full => StoreError::Full { verb, name, source },
        _ => StoreError::Other { verb, name, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, list_all};

    fn store() -> SimulatedStore {
        SimulatedStore::new(Arc::new(MemoryStore::new()))
    }

    fn names(store: &SimulatedStore) -> Vec<String> {
        list_all(&**store.inner(), "").unwrap().into_iter().map(|listed| listed.name).collect()
    }

    fn create(store: &SimulatedStore, name: &str) -> Result<Created, StoreError> {
        store.create(name, Bytes::from_static(b"bytes"))
    }

    #[test]
    fn a_crash_before_the_effect_leaves_nothing_and_ends_everything() {
        let store = store();
        store.crash_after(2, Scope::Mutating, Fault::Before);
        create(&store, "a").unwrap();
        store.get("a").unwrap();
        let error = create(&store, "b").unwrap_err();
        assert!(matches!(&error, StoreError::Other { source, .. } if source.to_string() == "simulated crash"));
        assert!(store.has_crashed() && store.get("a").is_err() && create(&store, "c").is_err());
        assert_eq!(names(&store), ["a"]);
        store.revive();
        create(&store, "b").unwrap();
        assert_eq!(names(&store), ["a", "b"]);
    }

    #[test]
    fn a_crash_after_the_effect_or_half_of_it_leaves_the_object() {
        for (fault, ambiguous) in [(Fault::After, false), (Fault::Half, true)] {
            let store = store();
            store.crash_after(1, Scope::All, fault);
            let error = create(&store, "a").unwrap_err();
            assert_eq!(matches!(error, StoreError::Ambiguous { .. }), ambiguous);
            assert_eq!(names(&store), ["a"]);
        }
    }

    #[test]
    fn every_crash_point_of_a_sequence_can_be_visited() {
        for n in 1..=3 {
            let store = store();
            store.crash_after(n, Scope::Mutating, Fault::Before);
            let done = ["a", "b", "c"].into_iter().take_while(|name| create(&store, name).is_ok()).count();
            assert_eq!(done as u64, n - 1);
        }
    }

    #[test]
    fn faults_strike_by_verb_name_and_occurrence() {
        let store = store();
        store.fail(Some(Verb::Create), "log/", 2, 1, Fault::Denied);
        store.fail(Some(Verb::Get), "log/1", 1, 2, Fault::Missing);
        create(&store, "data/1").unwrap();
        create(&store, "log/1").unwrap();
        assert!(matches!(create(&store, "log/2").unwrap_err(), StoreError::Denied { .. }));
        create(&store, "log/2").unwrap();
        assert!(store.get("log/1").unwrap_err().is_missing() && store.get("log/1").unwrap_err().is_missing());
        store.get("log/1").unwrap();
    }

    #[test]
    fn a_late_create_happens_when_it_is_released_and_only_if_nobody_was_first() {
        let store = store();
        store.fail(Some(Verb::Create), "", 1, 2, Fault::Late);
        assert!(matches!(create(&store, "a").unwrap_err(), StoreError::Ambiguous { .. }));
        assert!(matches!(create(&store, "b").unwrap_err(), StoreError::Ambiguous { .. }));
        assert!(names(&store).is_empty());
        store.create("b", Bytes::from_static(b"first")).unwrap();
        store.release().unwrap();
        assert_eq!(names(&store), ["a", "b"]);
        assert_eq!(store.get("b").unwrap(), "first");
    }

    #[test]
    fn held_creates_wait_for_their_release() {
        let store = store();
        store.hold("log");
        std::thread::scope(|scope| {
            let held = scope.spawn(|| create(&store, "log/1"));
            store.wait_held(1);
            create(&store, "data/1").unwrap();
            assert_eq!((store.held(), names(&store)), (vec!["log/1".to_owned()], vec!["data/1".to_owned()]));
            store.release().unwrap();
            assert_eq!(held.join().unwrap().unwrap(), Created::New);
        });
        assert_eq!(names(&store), ["data/1", "log/1"]);
    }

    #[test]
    fn damage_passes_write_once_and_the_log() {
        let store = store();
        create(&store, "a").unwrap();
        store.create("b", Bytes::from_static(b"other")).unwrap();
        store.swap("a", "b").unwrap();
        assert_eq!(store.inner().get("a").unwrap(), "other");
        store.damage("a", Damage::FlipBit(0)).unwrap();
        assert_eq!(store.inner().get("a").unwrap(), "nther");
        store.damage("a", Damage::Truncate(2)).unwrap();
        assert_eq!(store.inner().get("a").unwrap(), "nt");
        store.damage("a", Damage::Delete).unwrap();
        assert_eq!(names(&store), ["b"]);
        let call = |name: &str| Call { verb: Verb::Create, name: name.into(), size: 5, outcome: Outcome::Done };
        assert_eq!(store.calls(), [call("a"), call("b")]);
    }
}
