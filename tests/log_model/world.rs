//! The world of the model: the log, the store, and who knows what.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::bytes::ByteVec;
use strongroom::crypto::sign::Verifier;
use strongroom::format::names::PackKind;
use strongroom::format::record::{
    InlineDirectories, Operation, Outcome, PackEntry, RECORD_VERSION, Record, RunKind, SnapshotEntry,
};
use strongroom::format::state::State;
use strongroom::log::{LogEntry, Signed, judge, orphaned, step, sweepable};
use strongroom::primitives::ids::{BlockId, ChunkId, KeyedTag, ObjectHash, OperationId, RunId, SnapshotId};

use super::Broken;
use super::backup::Backup;
use super::prune::Prune;
use super::repair::Repair;

pub(crate) const OWNER: Verifier = Verifier([1; 32]);

/// A block, by number.
pub(crate) type Block = u8;
/// A pack, by number; its name follows from it.
pub(crate) type Pack = u8;

pub(crate) fn name(pack: Pack) -> ObjectHash {
    ObjectHash([pack; 32])
}

pub(crate) fn snapshot_id(n: u8) -> SnapshotId {
    SnapshotId([n; 16])
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub log: State,
    /// Packs in the store.
    pub there: BTreeSet<Pack>,
    /// Packs that were sent and may arrive any time.
    pub coming: BTreeSet<Pack>,
    /// What each pack that was ever made holds, and the run in whose folder it lies.
    pub packs: BTreeMap<Pack, (BTreeSet<Block>, RunId)>,
    /// What each published snapshot needs.
    pub needs: BTreeMap<SnapshotId, BTreeSet<Block>>,
    pub backups: Vec<Backup>,
    pub prunes: Vec<Prune>,
    pub repair: Repair,
    /// Packs that are there and cannot be read.
    pub damaged: BTreeSet<Pack>,
    /// Packs that may still be damaged, and repairs that may still begin.
    pub damages_left: u8,
    pub repairs_left: u8,
    /// Whether a snapshot ever had holes, and ever was healed.
    pub had_holes: bool,
    pub was_healed: bool,
    /// Runs that may still be closed by somebody who believes them silent.
    pub closes_left: u8,
    pub forgets_left: u8,
    /// A backup was refused although nobody closed its run and its parent lives.
    pub refused_for_nothing: bool,
    /// Something was deleted that the log did not allow to.
    pub deleted_too_early: bool,
}

struct Plain(Record);

impl Signed for Plain {
    fn record(&self) -> &Record {
        &self.0
    }
    fn signed_by(&self, verifier: &Verifier) -> bool {
        verifier.id() == self.0.writer
    }
}

/// Appends a record of the owner's, if it is valid; says whether it was.
pub(crate) fn append(log: &mut State, operations: Vec<Operation>) -> bool {
    let number = log.number + 1;
    let mut operation = [0; 16];
    operation[..8].copy_from_slice(&number.to_be_bytes());
    let record = Record {
        version: RECORD_VERSION,
        number,
        previous: log.hash,
        previous_valid: log.valid,
        writer: OWNER.id(),
        operation: OperationId(operation),
        time_ms: 0,
        operations,
    };
    // Every writer asks first what everyone will say of its record.
    if judge(log, &record).is_err() {
        return false;
    }
    let plain = Plain(record);
    // Histories that lead to the same state are the same: the hash says how long they are, and no more.
    let entry = LogEntry { number, hash: ObjectHash([number as u8; 32]), content: Ok(&plain) };
    step(log, &entry).expect("a record of our own").is_valid()
}

pub(crate) fn text() -> ByteVec {
    ByteVec::from(vec![])
}

pub(crate) fn begin(kind: RunKind) -> Operation {
    Operation::Begin { kind, host: KeyedTag([1; 16]), description: text() }
}

pub(crate) fn end(run: RunId) -> Operation {
    Operation::End { run, outcome: Outcome::Complete, description: text() }
}

pub(crate) fn entry(pack: Pack, run: RunId) -> PackEntry {
    PackEntry { name: name(pack), kind: PackKind::Data, len: 1, run }
}

pub(crate) fn inline(packs: &[Pack]) -> Option<InlineDirectories> {
    let packs: Vec<ObjectHash> = packs.iter().map(|p| name(*p)).collect();
    (!packs.is_empty()).then(|| InlineDirectories { packs, bytes: text() })
}

pub(crate) fn publish(run: RunId, packs: &[Pack], snapshot: Option<(u8, Vec<SnapshotId>)>) -> Operation {
    let snapshots = snapshot.map(|(n, parents)| SnapshotEntry {
        id: snapshot_id(n),
        time_ms: 0,
        root: ChunkId([n; 16]),
        outcome: Outcome::Complete,
        parents,
        host: KeyedTag([1; 16]),
        source: KeyedTag([1; 16]),
        description: text(),
    });
    Operation::Publish {
        run,
        packs: packs.iter().map(|p| entry(*p, run)).collect(),
        segments: vec![],
        inline: inline(packs),
        snapshots: snapshots.into_iter().collect(),
    }
}

impl World {
    pub(crate) fn is_live(&self, pack: Pack) -> bool {
        self.log.packs.get(&name(pack)).is_some_and(|p| p.live())
    }

    /// Whether a live pack holds the block, as the log has it.
    pub(crate) fn is_held(&self, block: Block) -> bool {
        self.packs.iter().any(|(pack, (blocks, _))| blocks.contains(&block) && self.is_live(*pack))
    }

    pub(crate) fn needed(&self) -> BTreeSet<Block> {
        self.log.snapshots.keys().flat_map(|id| self.needs[id].iter().copied()).collect()
    }

    /// The promise: all that live snapshots need is in packs that exist and are live; and one of which that does not hold is
    /// said to have holes. (What is damaged and not yet found is beyond any log.)
    pub(crate) fn keeps_its_promise(&self) -> bool {
        let held = |block: &Block| {
            let holds = |(pack, (blocks, _)): (&Pack, &(BTreeSet<Block>, RunId))| {
                blocks.contains(block) && self.is_live(*pack) && self.there.contains(pack)
            };
            self.packs.iter().any(holds)
        };
        let whole = |id: &SnapshotId| self.needs[id].iter().all(held);
        self.log.snapshots.iter().all(|(id, snapshot)| snapshot.damaged || whole(id))
    }

    /// Whether a pack that was published cannot be counted on any more, through nobody's doing.
    pub(crate) fn has_lost(&self) -> bool {
        self.log.packs.values().any(|p| p.lost.is_some()) || self.log.snapshots.values().any(|s| s.damaged)
    }

    pub(crate) fn is_open(&self, run: RunId) -> bool {
        self.log.runs.get(&run).is_some_and(|r| r.over.is_none())
    }

    /// Whether the block was found dead in some pack before: then nobody counts on it.
    pub(crate) fn is_doomed(&self, block: Block) -> bool {
        let id = BlockId { run: RunId(0), number: u32::from(block) };
        self.log.packs.values().any(|p| p.doom.as_ref().is_some_and(|d| d.dead.contains_key(&id)))
    }

    /// Lets a run that was closed go on for one record, which no valid transition allows.
    pub(crate) fn reopened<T>(&mut self, run: RunId, broken: Broken, work: impl FnOnce(&mut Self) -> T) -> T {
        let over = self.log.runs.get(&run).and_then(|r| r.over).filter(|_| broken == Broken::ClosedRunGoesOn);
        if over.is_some() {
            self.log.runs.get_mut(&run).expect("known").over = None;
        }
        let done = work(self);
        if over.is_some() {
            self.log.runs.get_mut(&run).expect("known").over = over;
        }
        done
    }

    pub(crate) fn delete(&mut self, pack: Pack) {
        let allowed = sweepable(&self.log).packs.contains(&name(pack)) || self.is_orphan(pack);
        self.deleted_too_early |= !allowed;
        self.there.remove(&pack);
    }

    pub(crate) fn is_orphan(&self, pack: Pack) -> bool {
        orphaned(&self.log, self.packs[&pack].1, &name(pack))
    }

    pub(crate) fn swept(&mut self) -> Option<()> {
        let gone = |n: &ObjectHash| !self.there.contains(&n.0[0]);
        let packs: Vec<ObjectHash> = sweepable(&self.log).packs.into_iter().filter(gone).collect();
        if packs.is_empty() {
            return None;
        }
        append(&mut self.log, vec![Operation::Swept { packs, segments: vec![], orphans: vec![] }]).then_some(())
    }
}
