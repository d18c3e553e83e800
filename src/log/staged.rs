//! What a record would change, above a state that stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::record::{Certificate, Record, Role};
use crate::format::state::{
    CredentialState, EpochState, PackState, RunState, SegmentState, Settlement, SnapshotState, State,
};
use crate::primitives::ids::{CredentialId, ObjectHash, OperationId, RunId, SnapshotId};

use super::VoidReason;

/// A map with changes above it.
pub(super) struct Layer<'a, K, V> {
    base: &'a BTreeMap<K, V>,
    changed: Changed<K, V>,
}

/// New values by key; `None` where the entry is gone.
type Changed<K, V> = BTreeMap<K, Option<V>>;

impl<'a, K: Ord + Copy, V: Clone> Layer<'a, K, V> {
    fn new(base: &'a BTreeMap<K, V>) -> Self {
        Self { base, changed: BTreeMap::new() }
    }

    /// The entry as it is after the operations so far.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        match self.changed.get(key) {
            Some(value) => value.as_ref(),
            None => self.base.get(key),
        }
    }

    /// Whether there is such an entry.
    pub(super) fn has(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Sets an entry.
    pub(super) fn put(&mut self, key: K, value: V) {
        self.changed.insert(key, Some(value));
    }

    /// All entries as they are after the operations so far.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let below = self.base.iter().filter(|(key, _)| !self.changed.contains_key(key));
        below.chain(self.changed.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))))
    }

    /// Takes an entry away.
    pub(super) fn remove(&mut self, key: K) {
        self.changed.insert(key, None);
    }

    /// The entry, to be changed; copied from below if it was not yet.
    pub(super) fn edit(&mut self, key: &K) -> Option<&mut V> {
        if !self.changed.contains_key(key) {
            let value = self.base.get(key)?.clone();
            self.changed.insert(*key, Some(value));
        }
        self.changed.get_mut(key)?.as_mut()
    }
}

/// A record's effect so far.
pub(super) struct Staged<'a> {
    base: &'a State,
    /// Number of the record.
    pub number: u64,
    /// Its writer's clock.
    pub time_ms: i64,
    /// Who signs.
    pub writer: CredentialId,
    /// The writer's certificate; `None` for the owner.
    certificate: Option<&'a Certificate>,
    pub epoch: u32,
    /// Epochs that begin.
    pub epochs: BTreeMap<u32, EpochState>,
    pub credentials: Layer<'a, CredentialId, CredentialState>,
    pub runs: Layer<'a, RunId, RunState>,
    pub packs: Layer<'a, ObjectHash, PackState>,
    pub segments: Layer<'a, ObjectHash, SegmentState>,
    pub snapshots: Layer<'a, SnapshotId, SnapshotState>,
    forgotten: BTreeSet<SnapshotId>,
    /// Whether the record says that the log was cut.
    pub contradicts: bool,
    /// What is settled from here on.
    pub settled: Option<Settlement>,
}

impl<'a> Staged<'a> {
    /// Nothing done yet. The writer must be known to `state`.
    pub(super) fn new(state: &'a State, record: &Record) -> Self {
        Self {
            base: state,
            number: record.number,
            time_ms: record.time_ms,
            writer: record.writer,
            certificate: match record.writer == state.owner.id() {
                true => None,
                false => state.credentials.get(&record.writer).map(|c| &c.certificate),
            },
            epoch: state.epoch,
            epochs: BTreeMap::new(),
            credentials: Layer::new(&state.credentials),
            runs: Layer::new(&state.runs),
            packs: Layer::new(&state.packs),
            segments: Layer::new(&state.segments),
            snapshots: Layer::new(&state.snapshots),
            forgotten: BTreeSet::new(),
            contradicts: false,
            settled: None,
        }
    }

    /// Id of the owner.
    pub(super) fn owner(&self) -> CredentialId {
        self.base.owner.id()
    }

    /// The writer's certificate; `None` if the owner signs, who may speak for all.
    pub(super) fn certificate(&self) -> Option<&'a Certificate> {
        self.certificate
    }

    /// What the owner has settled before this record.
    pub(super) fn settled_before(&self) -> &'a Settlement {
        &self.base.settled
    }

    /// Refuses everyone but the owner.
    pub(super) fn owner_only(&self, what: &'static str) -> Result<(), VoidReason> {
        let owner = self.certificate.is_none_or(|c| c.role == Role::Owner);
        if owner { Ok(()) } else { Err(VoidReason::NotAllowed { writer: self.writer, what }) }
    }

    /// The run, if it is open.
    pub(super) fn open_run(&self, run: RunId) -> Result<&RunState, VoidReason> {
        self.runs.get(&run).filter(|r| r.over.is_none()).ok_or(VoidReason::RunNotOpen(run))
    }

    /// The run, if it is open and the signer's own.
    pub(super) fn own_open_run(&self, run: RunId) -> Result<&RunState, VoidReason> {
        let found = self.open_run(run)?;
        if found.writer == self.writer { Ok(found) } else { Err(VoidReason::RunOfAnother(run)) }
    }

    /// The oldest run but `run` that is open. Looks at every run.
    pub(super) fn oldest_other_open_run(&self, run: RunId) -> Option<RunId> {
        let ids = self.base.open_runs().map(|(id, _)| id).chain(self.runs.changed.keys().copied());
        ids.filter(|id| *id != run && self.open_run(*id).is_ok()).min()
    }

    /// The snapshot, if it exists.
    pub(super) fn snapshot(&mut self, id: &SnapshotId) -> Result<&mut SnapshotState, VoidReason> {
        self.snapshots.edit(id).ok_or(VoidReason::UnknownSnapshot(*id))
    }

    /// The pack, if its blocks can be counted on.
    pub(super) fn live_pack(&mut self, name: &ObjectHash) -> Result<&mut PackState, VoidReason> {
        self.packs.edit(name).filter(|p| p.live()).ok_or(VoidReason::PackNotLive(*name))
    }

    /// The pack, if it was not condemned; it may be lost.
    pub(super) fn uncondemned_pack(&mut self, name: &ObjectHash) -> Result<&mut PackState, VoidReason> {
        self.packs.edit(name).filter(|p| p.condemned.is_none()).ok_or(VoidReason::PackNotLive(*name))
    }

    /// Whether the id was ever published.
    pub(super) fn snapshot_was_published(&self, id: &SnapshotId) -> bool {
        self.snapshots.has(id) || self.forgotten.contains(id) || self.base.forgotten.contains(id)
    }

    /// Takes a snapshot away, for ever.
    pub(super) fn forget(&mut self, id: SnapshotId) {
        self.snapshots.remove(id);
        self.forgotten.insert(id);
    }

    /// All that is to be changed.
    pub(super) fn finish(self, operation: OperationId) -> Changes {
        Changes {
            epoch: self.epoch,
            epochs: self.epochs,
            credentials: self.credentials.changed,
            runs: self.runs.changed,
            packs: self.packs.changed,
            segments: self.segments.changed,
            snapshots: self.snapshots.changed,
            forgotten: self.forgotten,
            contradicts: self.contradicts.then_some((self.number, self.writer)),
            settled: self.settled,
            operation,
        }
    }
}

/// What a valid record changes.
pub(super) struct Changes {
    epoch: u32,
    epochs: BTreeMap<u32, EpochState>,
    credentials: Changed<CredentialId, CredentialState>,
    runs: Changed<RunId, RunState>,
    packs: Changed<ObjectHash, PackState>,
    segments: Changed<ObjectHash, SegmentState>,
    snapshots: Changed<SnapshotId, SnapshotState>,
    forgotten: BTreeSet<SnapshotId>,
    contradicts: Option<(u64, CredentialId)>,
    settled: Option<Settlement>,
    operation: OperationId,
}

impl Changes {
    /// Does it.
    pub(super) fn apply(self, state: &mut State) {
        state.epoch = self.epoch;
        state.epochs.extend(self.epochs);
        replace(&mut state.credentials, self.credentials);
        replace(&mut state.runs, self.runs);
        replace(&mut state.packs, self.packs);
        replace(&mut state.segments, self.segments);
        replace(&mut state.snapshots, self.snapshots);
        state.forgotten.extend(self.forgotten);
        if let Some(settled) = self.settled {
            state.contradicted.clear();
            state.settled = settled;
        }
        state.contradicted.extend(self.contradicts);
        state.operations.insert(self.operation);
    }
}

fn replace<K: Ord, V>(map: &mut BTreeMap<K, V>, changed: Changed<K, V>) {
    for (key, value) in changed {
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
}
