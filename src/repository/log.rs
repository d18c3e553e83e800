//! Folding the log and appending to it.
//!
//! Whoever appends record n+1 has folded 1..n and holds that its own preconditions are true at n. If the
//! number is taken, it folds what came, checks again, and tries the next. There are no locks.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use crate::crypto::keys::Epoch;
use crate::format::description::{self, RunDescription};
use crate::format::envelope::{Envelope, FormatError, Kind, check_checksum};
use crate::format::names;
use crate::format::record::{self, Operation, RECORD_VERSION, Record, SignedRecord};
use crate::format::state::State;
use crate::primitives::ids::{ObjectHash, OperationId};
use crate::primitives::system::random;

use super::Repository;
use super::create::{Stands, settle};
use super::doubt::{Gap, GapCause};
use super::error::{RepositoryError, Result};
use super::index_sync::OVERTAKEN_MAX;
use super::read::object;
use super::state_dir::Head;
use crate::log::{Broken, LogEntry, Signed, Verdict};

/// One record as it was folded: for `log` and `verify`.
#[derive(Debug, Clone)]
pub struct FoldedRecord {
    /// Its number.
    pub number: u64,
    /// Hash of its bytes.
    pub hash: ObjectHash,
    /// What it says, if it could be opened.
    pub record: Option<Record>,
    /// Whether it counts, and why not.
    pub verdict: Verdict,
}

impl Repository {
    /// The folded state as far as it is known.
    pub fn state(&self) -> Arc<State> {
        self.state.lock().clone()
    }

    pub(super) fn set_state(&self, state: State) -> Arc<State> {
        let state = Arc::new(state);
        *self.state.lock() = state.clone();
        state
    }

    /// Folds what others have appended. Once that shows another history than the one seen before, nothing more
    /// is appended through this handle.
    pub fn refresh(&self) -> Result<Arc<State>> {
        for _ in 1..OVERTAKEN_MAX {
            let state = self.refresh_to(0)?;
            if self.places_are_synced() {
                return Ok(state);
            }
        }
        self.refresh_to(0)
    }

    /// As [`Repository::refresh`], and asks for the next record by its name: a listing may come late. For whoever is about to
    /// call something missing.
    pub fn refresh_by_name(&self) -> Result<Arc<State>> {
        let mut state = self.refresh()?;
        while self.gap().is_none() && self.is_there(&names::record(state.number + 1))? {
            let before = state.number;
            self.refresh_to(before + 1)?;
            state = self.refresh()?;
            if state.number == before {
                break;
            }
        }
        Ok(state)
    }

    /// As [`Repository::refresh`]; the record of number `at_least` is known to be there.
    fn refresh_to(&self, at_least: u64) -> Result<Arc<State>> {
        let refreshed = self.refresh_trusting(at_least);
        if let Err(RepositoryError::History { what } | RepositoryError::Fork { what }) = &refreshed {
            let mut distrust = self.distrust.lock();
            distrust.get_or_insert_with(|| what.clone());
        }
        refreshed
    }

    fn refresh_trusting(&self, at_least: u64) -> Result<Arc<State>> {
        let mut state = (*self.state()).clone();
        let from = state.number;
        // Before the log is listed: other processes of this machine move it on meanwhile.
        let seen = self.seen_head()?;
        let gap = self.fold_log(&mut state, &mut |_| Ok(()))?;
        // A store may list late what is there already.
        for number in state.number + 1..=at_least {
            self.fold_at(&mut state, number)?;
        }
        check_not_rolled_back(seen, &state)?;
        self.check_not_lost(&state)?;
        *self.gap.lock() = gap;
        if state.number != from {
            // Others' records may be visible before they are durable; nothing may build on them until they are.
            self.store.sync()?;
        }
        self.remember(&state)?;
        let state = self.set_state(state);
        self.sync_places(&state)?;
        Ok(state)
    }

    /// Remembers outside the cache how far this machine has seen the log, and which settlement of it.
    pub(super) fn remember(&self, state: &State) -> Result<()> {
        if state.settled.number > 0 {
            self.local.set_settled(state.settled.number)?;
        }
        self.local.set_head(Head { number: state.number, hash: state.hash })
    }

    /// Folds the records after `state.number`, handing each to `each`. Returns why it ended before the last one, if it
    /// did; what this machine has seen before is an error instead.
    pub fn fold_log(&self, state: &mut State, each: &mut dyn FnMut(FoldedRecord) -> Result<()>) -> Result<Option<Gap>> {
        self.fold_from(state, self.seen_head()?, each)
    }

    /// As [`Repository::fold_log`], for a machine that has seen this much.
    pub(super) fn fold_from(
        &self,
        state: &mut State,
        seen: Option<Head>,
        each: &mut dyn FnMut(FoldedRecord) -> Result<()>,
    ) -> Result<Option<Gap>> {
        let is_newcomer = state.number == 0 && seen.is_none();
        // The listing begins at the last record known: if that one is gone, the log was cut.
        let after = state.number.checked_sub(1).map(names::record);
        let mut numbers = Vec::new();
        self.store.list(names::LOG, after.as_deref(), &mut |listed| {
            if let Some(names::ObjectName::Record(n)) = names::ObjectName::parse(&listed.name) {
                numbers.push(n);
            }
            ControlFlow::Continue(())
        })?;
        if state.number > 0 {
            if numbers.first() == Some(&state.number) {
                numbers.remove(0);
            } else if !self.is_there(&names::record(state.number))? {
                // Not only that a listing is late.
                return Err(history(format!("record {} was there before and is missing now", state.number)));
            }
        }
        // After a void record the state's hash covers more than its bytes; the next valid one will be compared.
        // What stands behind a gap proves nothing of it.
        let follows = numbers.first() == Some(&(state.number + 1));
        if !follows && state.number > 0 && state.valid {
            let bytes = self.get(&names::record(state.number))?;
            if record::hash(&bytes) != state.hash {
                return Err(history(format!("record {} is not the one seen before", state.number)));
            }
        }
        // What a listing leaves out between others is there nevertheless, or it is missing.
        for number in state.number + 1..=numbers.last().copied().unwrap_or(0) {
            match self.fold_next(state, number, seen, &numbers)? {
                Next::Folded(folded) => {
                    check_seen(seen, state)?;
                    each(folded)?;
                }
                Next::End => break,
                Next::Gap(cause) => return Ok(Some(Gap { number, cause })),
            }
        }
        // Nor is what this machine has seen before gone because a listing comes late.
        for number in state.number + 1..=seen.map_or(0, |head| head.number) {
            if !self.is_there(&names::record(number))? {
                break;
            }
            let folded = self.fold_at(state, number)?;
            check_seen(seen, state)?;
            each(folded)?;
        }
        // Who has seen nothing before knows the end of the log by the listing alone, which may end too soon.
        while is_newcomer && self.is_there(&names::record(state.number + 1))? {
            let number = state.number + 1;
            match self.fold_next(state, number, seen, &[])? {
                Next::Folded(folded) => each(folded)?,
                Next::End => break,
                Next::Gap(cause) => return Ok(Some(Gap { number, cause })),
            }
        }
        Ok(None)
    }

    /// Folds the next record, or says why it cannot be. What was seen before and has changed since is an error.
    fn fold_next(&self, state: &mut State, number: u64, seen: Option<Head>, listed: &[u64]) -> Result<Next> {
        let error = match self.fold_at(state, number) {
            Ok(folded) => return Ok(Next::Folded(folded)),
            // Nor is a history without its beginning an empty one.
            Err(e) if number == 1 || seen.is_some_and(|head| head.number >= number) => return Err(e),
            Err(e) => e,
        };
        match error {
            RepositoryError::Fork { what } => {
                // Nor is this a fork behind what was seen, if that is not there any more.
                let bytes = self.get(&names::record(state.number))?;
                if state.valid && record::hash(&bytes) != state.hash {
                    return Err(history(format!("record {} is not the one seen before", state.number)));
                }
                Ok(Next::Gap(GapCause::Fork(what)))
            }
            RepositoryError::Damaged { cause, .. } => Ok(Next::Gap(GapCause::Damaged(cause.to_string()))),
            e if e.is_missing() => {
                let stray = |n: &u64| state.settled.strays.contains_key(n);
                match listed.iter().find(|n| **n > number && !stray(n)).copied() {
                    Some(next) => Ok(Next::Gap(GapCause::Missing { next, genuine: self.is_genuine(state, next)? })),
                    None if listed.iter().any(|n| *n > number) => Ok(Next::End),
                    None => Err(e),
                }
            }
            e => Err(e),
        }
    }

    /// A log without any record is that of a new repository; beside packs it is one that was lost. Whoever took it for
    /// empty would begin it anew, and prune what it does not name.
    fn check_not_lost(&self, state: &State) -> Result<()> {
        if state.number > 0 {
            return Ok(());
        }
        for folder in [names::DATA, names::META, names::INDEX, names::CHECKPOINT] {
            let mut found = None;
            self.store.list(folder, None, &mut |listed| {
                found = Some(listed.name);
                ControlFlow::Break(())
            })?;
            let first = names::record(1);
            // Others may have begun a new repository since the log was listed: their first record came before any object.
            if let Some(object) = found
                && !self.is_there(&first)?
            {
                return Err(history(format!("{first} and all records after it are missing, but {object} is there")));
            }
        }
        Ok(())
    }

    fn fold_at(&self, state: &mut State, number: u64) -> Result<FoldedRecord> {
        let bytes = self.get(&names::record(number))?;
        match self.fold_one(state, number, &bytes) {
            Err(e) if is_garbage(&e) || e.is_fork() => match self.is_overruled(state, number, &bytes)? {
                true => {
                    let folded;
                    (*state, folded) = as_void(state, number, &bytes)?;
                    Ok(folded)
                }
                false => Err(e),
            },
            folded => folded,
        }
    }

    pub(super) fn fold_one(&self, state: &mut State, number: u64, bytes: &Bytes) -> Result<FoldedRecord> {
        let name = names::record(number);
        let hash = record::hash(bytes);
        if state.settled.strays.get(&number) == Some(&hash) {
            let folded;
            (*state, folded) = as_void(state, number, bytes)?;
            return Ok(folded);
        }
        // A record whose own checksum fails is damage; one that is sound and says nothing we can open is void.
        check_checksum(bytes).map_err(RepositoryError::object(&name))?;
        let decoded = self.open_record(state, bytes);
        if let Err(cause @ (FormatError::Newer { .. } | FormatError::NoEpochKeys { .. })) = decoded {
            // Not void: others can read it.
            return Err(self.revoked(state).unwrap_or_else(|| RepositoryError::object(name)(cause)));
        }
        let content = decoded.as_ref().map(|signed| signed as &dyn Signed);
        let epoch = state.epoch;
        let verdict = crate::log::step(state, &LogEntry { number, hash, content }).map_err(|e| match e {
            Broken::WrongPrevious { .. } | Broken::WrongVerdict { .. } => RepositoryError::Fork { what: e.to_string() },
            e => history(e.to_string()),
        })?;
        self.follow_epochs(state, epoch)?;
        Ok(FoldedRecord { number, hash, record: decoded.ok().map(|s| s.record), verdict })
    }

    /// Whether the log ends in bytes that stop every writer until the owner has said what they are.
    ///
    /// Anyone who may create objects can put such bytes there: only the owner's word tells garbage from a record that
    /// rotted.
    pub fn ends_in_garbage(&self) -> Result<bool> {
        match self.refresh() {
            Ok(_) => {
                let Some(Gap { number, cause: GapCause::Damaged(_) }) = self.gap() else { return Ok(false) };
                Ok(!self.is_there(&names::record(number + 1))?)
            }
            Err(e) if is_garbage(&e) => Ok(true),
            Err(e) => Err(e),
        }
    }

    /// Says, as the owner, that the bytes at the end of the log are garbage: from then on everyone takes them for void.
    ///
    /// Returns their number; `None` if the log has nothing of the kind. Refuses if this machine has seen a record there,
    /// or if records follow: then it is a record that was damaged, not garbage that was put behind the last one.
    pub fn overrule_garbage(&self) -> Result<Option<u64>> {
        let not = |what: String| Err(RepositoryError::NotAllowed { what });
        self.master_for("say what in the log is garbage")?;
        let mut state = (*self.state()).clone();
        match self.fold_log(&mut state, &mut |_| Ok(())) {
            Ok(Some(Gap { cause: GapCause::Damaged(_), .. })) => {}
            Ok(_) => return Ok(None),
            Err(e) if is_garbage(&e) => {}
            Err(e) => return Err(e),
        }
        let number = state.number + 1;
        let bytes = self.get(&names::record(number))?;
        if self.local.head()?.is_some_and(|head| head.number >= number) {
            return not(format!(
                "this machine has seen a record {number}: it is damaged, and no garbage; bring it back from a copy"
            ));
        }
        match self.store.size(&names::record(number + 1)) {
            Err(e) if e.is_missing() => {}
            Ok(_) => {
                return not(format!("records follow record {number}, which is damaged: bring it back from a copy"));
            }
            Err(e) => return Err(e.into()),
        }
        let (after, _) = as_void(&state, number, &bytes)?;
        self.set_state(after);
        *self.gap.lock() = None;
        let described = RunDescription {
            program: super::write::run::program(),
            findings: vec![format!("the bytes at record {number} are garbage")],
            ..RunDescription::default()
        };
        let secret = self.run_secret()?;
        let note = description::seal(&described, &secret.sealing(), random(&*self.system));
        self.append(&mut |_| Ok(vec![Operation::Note { description: note.clone() }]))?;
        Ok(Some(number))
    }

    /// Opens a record that stands behind `state`. In which epoch it must be sealed does not depend on who reads.
    pub(super) fn open_record(&self, state: &State, bytes: &Bytes) -> Result<SignedRecord, FormatError> {
        let found = Envelope::expect(bytes, Kind::Record)?.epoch.0;
        if found != state.epoch {
            return Err(FormatError::WrongEpoch { found, current: state.epoch });
        }
        SignedRecord::decode(bytes, |e| self.keys.secret(e))
    }

    /// Learns the keys of the epochs that came after `known`, as far as they are sealed to this credential.
    pub(super) fn follow_epochs(&self, state: &State, known: u32) -> Result<()> {
        for (number, began) in state.epochs.range(known + 1..) {
            self.keys.follow(*number, began).map_err(RepositoryError::object(names::record(began.began)))?;
        }
        Ok(())
    }

    /// That this credential was revoked, if it was.
    fn revoked(&self, state: &State) -> Option<RepositoryError> {
        let (credential, record) = (self.keys.id(), state.credentials.get(&self.keys.id())?.revoked?);
        Some(RepositoryError::Revoked { credential, record })
    }

    /// Refuses a credential that the owner revoked, or never admitted.
    pub(super) fn check_admitted(&self, state: &State) -> Result<()> {
        let id = self.keys.id();
        match self.revoked(state) {
            Some(revoked) => Err(revoked),
            None if id != state.owner.id() && !state.credentials.contains_key(&id) => {
                Err(RepositoryError::UnknownCredential(id))
            }
            None => Ok(()),
        }
    }

    /// The last record that this machine has seen. A file that cannot be read is said, and stops nobody: what is in the
    /// store may be the only copy.
    fn seen_head(&self) -> Result<Option<Head>> {
        match self.local.head() {
            Err(e @ RepositoryError::LocalDamaged { .. }) => {
                self.note_damage(e);
                Ok(None)
            }
            head => head,
        }
    }

    /// Appends a record with the operations that `build` makes for the state at the moment. `build` is called
    /// again whenever others were faster, and checks what it relies on each time. If it makes none, nothing is written.
    ///
    /// Returns the number of the record, or of the last one.
    pub fn append(&self, build: &mut dyn FnMut(&State) -> Result<Vec<Operation>>) -> Result<u64> {
        let distrust = self.distrust.lock().clone();
        if let Some(what) = distrust {
            return Err(history(what));
        }
        self.check_may_write()?;
        let mut state = self.state();
        loop {
            let operations = build(&state)?;
            if operations.is_empty() {
                return Ok(state.number);
            }
            self.check_may_append(&operations)?;
            let record = Record {
                version: RECORD_VERSION,
                number: state.number + 1,
                previous: state.hash,
                previous_valid: state.valid,
                writer: self.keys.id(),
                operation: OperationId(random(&*self.system)),
                time_ms: self.system.now_ms(),
                operations,
            };
            crate::log::judge(&state, &record).map_err(|e| RepositoryError::Conflict { what: e.to_string() })?;
            let sealing =
                self.keys.log_sealing(Epoch(state.epoch)).map_err(RepositoryError::object("the next record"))?;
            let bytes = record.encode(self.keys.signer(), &sealing.sealing(), random(&*self.system));
            let bytes = Bytes::from(bytes);
            let stands = settle(&*self.store, &names::record(record.number), &bytes)?;
            self.check_versions()?;
            match stands {
                Stands::Theirs => state = self.refresh_to(record.number)?,
                Stands::Ours if !self.still_stands(&names::record(record.number), &bytes)? => {
                    state = self.refresh_to(record.number)?;
                }
                Stands::Ours => {
                    let mut next = (*state).clone();
                    let folded = self.fold_one(&mut next, record.number, &bytes)?;
                    if folded.verdict != Verdict::Valid {
                        return Err(history(format!("our own record {} is void", record.number)));
                    }
                    self.remember(&next)?;
                    let next = self.set_state(next);
                    self.sync_places(&next)?;
                    return Ok(record.number);
                }
            }
        }
    }

    /// What a record's writer said the time was, in milliseconds since the epoch.
    pub fn record_time_ms(&self, number: u64) -> Result<i64> {
        let name = names::record(number);
        let bytes = self.get(&name)?;
        let signed = SignedRecord::decode(&bytes, |e| self.keys.secret(e)).map_err(RepositoryError::object(&name))?;
        Ok(signed.record.time_ms)
    }

    /// Whether an object is there, whatever a listing says.
    pub fn is_there(&self, name: &str) -> Result<bool> {
        match self.store.size(name) {
            Ok(_) => Ok(true),
            Err(e) if e.is_missing() => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Reads a whole object, once more if its bytes are not those that its name or checksum stands for.
    pub fn get(&self, name: &str) -> Result<Bytes> {
        let whole = object::read(&*self.store, name)?;
        if whole.unsteady {
            self.note_unsteady(name);
        }
        Ok(whole.bytes)
    }
}

/// What folding the next record came to.
enum Next {
    /// It was folded.
    Folded(FoldedRecord),
    /// There is none: what lies behind was settled.
    End,
    /// It cannot be.
    Gap(GapCause),
}

/// Bytes in the log that stop everyone until the owner has said what they are.
pub(super) fn is_garbage(error: &RepositoryError) -> bool {
    let name = match error {
        RepositoryError::Damaged { name, .. } | RepositoryError::Newer { name, .. } => name,
        _ => return false,
    };
    matches!(names::ObjectName::parse(name), Some(names::ObjectName::Record(_)))
}

/// The state behind bytes that are taken for void.
pub(super) fn as_void(state: &State, number: u64, bytes: &[u8]) -> Result<(State, FoldedRecord)> {
    let (mut after, hash) = (state.clone(), record::hash(bytes));
    let garbage = FormatError::Malformed("the owner says that it is garbage".to_owned());
    let verdict = crate::log::step(&mut after, &LogEntry { number, hash, content: Err(&garbage) })
        .map_err(|e| history(e.to_string()))?;
    Ok((after, FoldedRecord { number, hash, record: None, verdict }))
}

/// Whether the record that was folded last is the one that this machine has seen at its number.
fn check_seen(seen: Option<Head>, state: &State) -> Result<()> {
    match seen {
        Some(head) if head.number == state.number && head.hash != state.hash => {
            Err(history(format!("record {} is not the one that this machine has seen", state.number)))
        }
        _ => Ok(()),
    }
}

fn check_not_rolled_back(seen: Option<Head>, state: &State) -> Result<()> {
    match seen {
        Some(head) if head.number > state.number => Err(history(format!(
            "this machine has seen record {}, and the log ends at {}; it was rolled back, or this is a copy",
            head.number, state.number
        ))),
        _ => Ok(()),
    }
}

fn history(what: String) -> RepositoryError {
    RepositoryError::History { what }
}
