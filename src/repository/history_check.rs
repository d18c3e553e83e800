//! Looking for what contradicts the folded history, and settling it.
//!
//! A log whose end is missing, or one of whose objects was exchanged, still folds: into a shorter or another history.
//! Who took that for the truth would list fewer snapshots, and delete the packs of the others. So what does not fit is
//! kept in mind: reading and backups go on, and say so; nothing is forgotten or deleted until the missing records are
//! back, or the owner has said that the history counts as it is ([`Repository::settle`]).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use crate::format::description::{self, RunDescription};
use crate::format::envelope::FormatError;
use crate::format::names::{self, ObjectName};
use crate::format::record::{self, Operation, Record, SignedRecord};
use crate::format::state::State;
use crate::primitives::ids::{CredentialId, ObjectHash, RunId};
use crate::primitives::system::random;
use crate::store::{StoreError, Version, VersionKind};

use super::Repository;
use super::doubt::{Doubt, Gap, GapCause};
use super::error::{RepositoryError, Result};
use super::log::{as_void, is_garbage};
use super::state_dir::Head;
use crate::log::verifier;

/// The folders of objects that belong to a run or a record.
const EVERYWHERE: [&str; 4] = [names::META, names::DATA, names::INDEX, names::CHECKPOINT];

impl Repository {
    /// All that contradicts the history, as far as it is known now.
    pub fn doubts(&self) -> Vec<Doubt> {
        let state = self.state();
        let mut doubts = Vec::new();
        doubts.extend(self.gap().map(Doubt::Gap));
        doubts.extend(contradictions(&state));
        doubts.extend(self.versions.lock().clone());
        if doubts.is_empty() {
            doubts.extend(self.beyond.lock().clone());
        }
        doubts
    }

    /// Refuses to go on if anything contradicts the history: for whoever forgets or deletes.
    pub fn check_undoubted(&self) -> Result<()> {
        self.look_beyond()?;
        self.look_at_versions()?;
        let doubts = self.doubts();
        if doubts.is_empty() { Ok(()) } else { Err(RepositoryError::Contradicted { doubts }) }
    }

    /// Refuses to append what deletes or forgets while anything contradicts the history, and anything at all where
    /// records lie behind a gap.
    pub(super) fn check_may_append(&self, operations: &[Operation]) -> Result<()> {
        let gap = self.gap().filter(Gap::forbids_records);
        let settles = operations.iter().any(|o| matches!(o, Operation::Settle { .. }));
        if settles || (gap.is_none() && !operations.iter().any(takes_away)) {
            return Ok(());
        }
        let doubts = self.doubts();
        if doubts.is_empty() { Ok(()) } else { Err(RepositoryError::Contradicted { doubts }) }
    }

    /// What a new run tells everyone, if records are missing at the end of the log: later records will hide it.
    pub(super) fn testimony(&self, state: &State) -> Option<Operation> {
        let beyond = self.beyond.lock().clone()?;
        let Doubt::Beyond { run, .. } = beyond else { return None };
        (contradictions(state).next().is_none() && run.0 > state.number).then_some(Operation::Beyond { run })
    }

    pub(super) fn gap(&self) -> Option<Gap> {
        self.gap.lock().clone()
    }

    /// Whether the owner's next record follows another history than the one that was folded.
    pub(super) fn forks(&self) -> bool {
        self.gap().is_some_and(|gap| matches!(gap.cause, GapCause::Fork(_)))
    }

    /// Looks for other versions of records that the owner has not settled yet. Who may not list versions is none the wiser;
    /// any other failure is one.
    pub fn look_at_versions(&self) -> Result<()> {
        let found = self.numbers_with_versions()?;
        let doubt = (!found.is_empty()).then_some(Doubt::Versions { numbers: found });
        *self.versions.lock() = doubt;
        Ok(())
    }

    /// Numbers of records behind the last settlement of which the bucket has versions with other bytes.
    fn numbers_with_versions(&self) -> Result<Vec<u64>> {
        let Some(store) = self.store.versions() else { return Ok(Vec::new()) };
        match store.keeps_versions() {
            Ok(true) => {}
            Ok(false) | Err(StoreError::Denied { .. }) => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        }
        let (settled, mut of) = (self.state().settled.number, BTreeMap::<u64, Vec<Version>>::new());
        let listed = store.list_versions(names::LOG, &mut |version| {
            if let (Some(ObjectName::Record(number)), VersionKind::Bytes) =
                (ObjectName::parse(&version.name), version.kind)
                && number > settled
            {
                of.entry(number).or_default().push(version);
            }
        });
        match listed {
            Ok(()) => {}
            Err(StoreError::Denied { .. }) => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        }
        let mut found = Vec::new();
        for (number, versions) in of.iter().filter(|(_, versions)| versions.len() > 1) {
            let hashes: std::result::Result<BTreeSet<ObjectHash>, StoreError> =
                versions.iter().map(|version| Ok(record::hash(&store.get_version(version)?))).collect();
            let differ = match hashes {
                Ok(hashes) => hashes.len() > 1,
                // There are several, and they cannot be compared: nothing is deleted on the strength of that.
                Err(StoreError::Denied { .. }) => true,
                Err(e) => return Err(e.into()),
            };
            found.extend(differ.then_some(*number));
        }
        Ok(found)
    }

    /// Looks for objects that only a later record than the last one can have led to: the log was cut.
    pub fn look_beyond(&self) -> Result<()> {
        self.look_beyond_in(&EVERYWHERE)
    }

    /// As [`Repository::look_beyond`], in these folders alone. Whatever run published content also made a pack below
    /// `meta/`.
    pub(super) fn look_beyond_in(&self, folders: &[&str]) -> Result<()> {
        loop {
            let state = self.state();
            let found = match self.gap() {
                Some(_) => None,
                None => self.beyond_in(&state, folders, true)?.into_iter().next(),
            };
            // Others may have gone on since the log was listed: a record comes before the objects of its run.
            if found.is_some()
                && self.is_there(&names::record(state.number + 1))?
                && self.refresh()?.number > state.number
            {
                continue;
            }
            let doubt = found.map(|(object, run)| Doubt::Beyond { end: state.number, object, run });
            *self.beyond.lock() = doubt;
            return Ok(());
        }
    }

    /// Objects of runs, and checkpoints, that the log does not reach and that the owner has not settled; the first one
    /// alone if that is enough.
    fn beyond_in(&self, state: &State, folders: &[&str], first: bool) -> Result<Vec<(String, RunId)>> {
        let end = state.number.max(state.settled.run.0);
        let mut found = Vec::new();
        for folder in folders {
            let after = match *folder {
                names::CHECKPOINT => names::checkpoint(end),
                // Behind everything that lies in the folder of the last run.
                _ => format!("{folder}/{}/{}", RunId(end), "f".repeat(64)),
            };
            self.store.list(folder, Some(&after), &mut |listed| {
                let run = match ObjectName::parse(&listed.name) {
                    Some(ObjectName::Pack(_, run, _) | ObjectName::Segment(run, _)) => run,
                    Some(ObjectName::Checkpoint(number)) => RunId(number),
                    _ => return ControlFlow::Continue(()),
                };
                if run.0 > end {
                    found.push((listed.name, run));
                }
                if first && !found.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if first && !found.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    /// Whether the object at this number is a record that was signed for this place by somebody who may sign.
    pub(super) fn is_genuine(&self, state: &State, number: u64) -> Result<bool> {
        let bytes = match self.get(&names::record(number)) {
            Ok(bytes) => bytes,
            Err(e) if e.is_missing() => return Ok(false),
            Err(e) => return Err(e),
        };
        Ok(match SignedRecord::decode(&bytes, |e| self.keys.secret(e)) {
            Ok(signed) => signed.record.number == number && is_signed(state, &signed),
            // Others may be able to read it.
            Err(FormatError::NoEpochKeys { .. } | FormatError::Newer { .. } | FormatError::MayNotRead) => true,
            Err(_) => false,
        })
    }

    /// Says, as the owner, that the history counts as it was folded: what lies behind a gap, was signed for another
    /// history or belongs to records that are missing is given up. Returns the number of the record; `None` if there is
    /// nothing to settle, unless `force` says that other machines may have seen another history.
    pub fn settle(&self, force: bool) -> Result<Option<u64>> {
        self.master_for("settle the history")?;
        self.refresh()?;
        self.look_beyond()?;
        self.look_at_versions()?;
        let doubts = self.doubts();
        if doubts.is_empty() && !force {
            return Ok(None);
        }
        self.pass_over()?;
        let secret = self.run_secret()?;
        let described = RunDescription {
            program: super::write::run::program(),
            findings: doubts.iter().map(ToString::to_string).collect(),
            ..RunDescription::default()
        };
        let note = description::seal(&described, &secret.sealing(), random(&*self.system));
        let number = self.append(&mut |state| {
            let strays = self.strays(state)?;
            let run =
                self.beyond_in(state, &EVERYWHERE, false)?.into_iter().map(|(_, run)| run).max().unwrap_or(RunId(0));
            Ok(vec![Operation::Settle { strays, run }, Operation::Note { description: note.clone() }])
        })?;
        *self.gap.lock() = None;
        *self.beyond.lock() = None;
        *self.versions.lock() = None;
        self.refresh()?;
        Ok(Some(number))
    }

    /// Goes on behind records that cannot be folded, to the first number that is free.
    fn pass_over(&self) -> Result<()> {
        if !self.gap().is_some_and(|gap| matches!(gap.cause, GapCause::Damaged(_) | GapCause::Fork(_))) {
            return Ok(());
        }
        let mut state = (*self.state()).clone();
        while self.is_there(&names::record(state.number + 1))? {
            self.fold_over(&mut state)?;
        }
        self.set_state(state);
        Ok(())
    }

    /// Folds the next object, as void if nobody can fold it.
    fn fold_over(&self, state: &mut State) -> Result<()> {
        let number = state.number + 1;
        let bytes = self.get(&names::record(number))?;
        match self.fold_one(state, number, &bytes) {
            Err(e) if is_garbage(&e) || e.is_fork() => {
                *state = as_void(state, number, &bytes)?.0;
                Ok(())
            }
            folded => folded.map(drop),
        }
    }

    /// The objects of the log behind the next record.
    fn strays(&self, state: &State) -> Result<Vec<(u64, ObjectHash)>> {
        let next = state.number + 1;
        let mut numbers = Vec::new();
        self.store.list(names::LOG, Some(&names::record(next)), &mut |listed| {
            if let Some(ObjectName::Record(number)) = ObjectName::parse(&listed.name) {
                numbers.push(number);
            }
            ControlFlow::Continue(())
        })?;
        // If the next number is taken, these are records that will be folded; the append comes back.
        if self.is_there(&names::record(next))? {
            return Ok(Vec::new());
        }
        numbers.into_iter().map(|n| Ok((n, record::hash(&self.get(&names::record(n))?)))).collect()
    }

    /// Whether the owner has settled later that the object at `number`, and perhaps some behind it, are void: `bytes` are
    /// damaged, or of another history.
    pub(super) fn is_overruled(&self, state: &State, number: u64, bytes: &[u8]) -> Result<bool> {
        let mut after = as_void(state, number, bytes)?.0;
        loop {
            let next = match self.get(&names::record(after.number + 1)) {
                Ok(next) => next,
                Err(e) if e.is_missing() => return Ok(false),
                Err(e) => return Err(e),
            };
            if let Ok(signed) = self.open_record(&after, &next)
                && is_the_owners_word(&after, &signed, after.number == number)
            {
                return Ok(true);
            }
            self.fold_over(&mut after)?;
        }
    }

    /// After this machine has seen another history: takes the one in the store if the owner has settled it by a record
    /// that this machine has not seen.
    ///
    /// A settlement that was seen proves nothing: the log may have been rolled back to it. One that was not seen cannot
    /// be of the history that was, or it comes after what was seen of that.
    pub(super) fn adopt_settlement(&self) -> Result<bool> {
        let seen = self.local.settled()?;
        let mut state = self.empty_state()?;
        self.fold_from(&mut state, None, &mut |_| Ok(()))?;
        if state.settled.number <= seen {
            return Ok(false);
        }
        self.cache.clear()?;
        self.local.forget_head()?;
        self.remember(&state)?;
        *self.distrust.lock() = None;
        self.set_state(state);
        Ok(true)
    }

    /// Checks that the history goes through this head.
    pub fn expect_head(&self, expected: Head) -> Result<()> {
        let state = self.state();
        let other = |what: String| Err(RepositoryError::History { what });
        if state.number < expected.number {
            return other(format!(
                "the log ends at record {}, and record {} is expected",
                state.number, expected.number
            ));
        }
        let mut hash = expected.hash;
        let mut number = expected.number;
        // The next valid record names the head; the bytes of void ones between are part of it.
        let stands = loop {
            if number == state.number {
                break hash == state.hash;
            }
            number += 1;
            let bytes = self.get(&names::record(number))?;
            if !state.void.contains(&number) {
                let signed = SignedRecord::decode(&bytes, |e| self.keys.secret(e))
                    .map_err(RepositoryError::object(names::record(number)))?;
                break signed.record.number == number
                    && is_signed_ever(&state, &signed)
                    && signed.record.previous == hash;
            }
            hash = crate::log::head(&hash, &record::hash(&bytes), false);
        };
        if stands { Ok(()) } else { other(format!("record {} is not the one that is expected", expected.number)) }
    }
}

/// Records that contradict the history, as long as their writers' words count.
fn contradictions(state: &State) -> impl Iterator<Item = Doubt> + '_ {
    let revoked = |writer: &CredentialId| state.credentials.get(writer).is_some_and(|c| c.revoked.is_some());
    state.contradicted.iter().filter(move |(_, writer)| !revoked(writer)).map(|(number, writer)| {
        match state.void.contains(number) {
            true => Doubt::Record { number: *number, writer: *writer },
            false => Doubt::Witness { number: *number, writer: *writer },
        }
    })
}

/// Whether the operation gives up what others may need.
fn takes_away(operation: &Operation) -> bool {
    match operation {
        Operation::Rewrite { condemned_packs, condemned_segments, .. } => {
            !condemned_packs.is_empty() || !condemned_segments.is_empty()
        }
        Operation::Forget { .. } | Operation::Doom { .. } | Operation::Lost { .. } | Operation::Swept { .. } => true,
        _ => false,
    }
}

fn is_signed(state: &State, signed: &SignedRecord) -> bool {
    verifier(state, signed.record.writer).is_some_and(|(verifier, _)| signed.verify(&verifier).is_ok())
}

/// As [`is_signed`], also by one who was revoked since.
fn is_signed_ever(state: &State, signed: &SignedRecord) -> bool {
    let known = state.credentials.get(&signed.record.writer).map(|c| c.certificate.verifier);
    is_signed(state, signed) || known.is_some_and(|verifier| signed.verify(&verifier).is_ok())
}

/// Whether the owner says in this record, which stands behind `state`, that what stands before it is void.
fn is_the_owners_word(state: &State, signed: &SignedRecord, is_next: bool) -> bool {
    let record: &Record = &signed.record;
    let settles = record.operations.iter().any(|o| matches!(o, Operation::Settle { .. }));
    record.writer == state.owner.id()
        && record.number == state.number + 1
        && record.previous == state.hash
        && record.previous_valid == state.valid
        && (settles || (is_next && !state.valid))
        && signed.verify(&state.owner).is_ok()
}
