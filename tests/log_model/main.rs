//! The promise of the log, checked by going through every order of events: a model over the very transitions that the
//! program runs.
//!
//! Machines back up and prune, snapshots are forgotten, runs are closed by whoever believes them silent, orphans are swept,
//! packs are deleted; every machine may stop anywhere, for a while or for ever, and what it had sent may arrive
//! late. What stands in a record is folded by the real `transitions::step`; what a writer holds beside it is modelled
//! here, and each of these checks can be left out: then the checker must find what goes wrong.
//!
//! Content is modelled at the level of blocks: a snapshot needs some, a pack holds some, a rewritten pack holds the
//! same blocks under the same ids.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::bytes::ByteVec;
use stateright::{Checker, Model, Property};
use strongroom::formats::names::PackKind;
use strongroom::formats::record::{
    DeadChunks, DoomedPack, InlineDirectories, Operation, Outcome, PackEntry, RECORD_VERSION, Record, RunKind,
    SnapshotEntry,
};
use strongroom::formats::state::State;
use strongroom::machinery::repository::transitions::{LogEntry, Signed, condemnable, judge, orphaned, step, sweepable};
use strongroom::parts::crypto::sign::Verifier;
use strongroom::words::ids::{BlockId, ChunkId, KeyedTag, ObjectHash, OperationId, RunId, SnapshotId};

const OWNER: Verifier = Verifier([1; 32]);

/// A block, by number.
type Block = u8;
/// A pack, by number; its name follows from it.
type Pack = u8;

fn name(pack: Pack) -> ObjectHash {
    ObjectHash([pack; 32])
}

fn snapshot_id(n: u8) -> SnapshotId {
    SnapshotId([n; 16])
}

/// What is left out of what a writer has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// Nothing.
    Sound,
    /// A backup publishes without looking again whether what it found is still there.
    NoLookBeforePublish,
    /// A backup reuses content unread without declaring the snapshot that it was read under.
    ReuseWithoutParent,
    /// A prune condemns what it planned, although the log has gone on.
    NoLookBeforeRewrite,
    /// A prune looks again, but only at the snapshots that it marked.
    NewSnapshotsNotMarked,
    /// Objects of runs that are open are taken for orphans: they look old.
    SweepsOpenRuns,
    /// A run that was closed is let go on.
    ClosedRunGoesOn,
    /// A pack counts as stored when it was sent.
    CountsWhatWasSent,
    /// What was found dead is deleted before a record condemns it.
    DeletesWhatIsDoomed,
    /// What a record condemns is deleted although it was never said to be dead.
    CondemnsWithoutDoom,
}

/// Where a backup stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Backup {
    Idle,
    /// It has looked for its block before it began, with a cache that may be old.
    Looked {
        found: bool,
    },
    Begun {
        run: RunId,
        found: Option<bool>,
    },
    /// Its pack is on its way.
    Sent {
        run: RunId,
    },
    /// It was told that its pack is there, and does not look again.
    Stored {
        run: RunId,
    },
    Done,
    /// It found that what it counted on is gone, or that its run was closed.
    Refused,
}

/// Where a prune stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Prune {
    Idle,
    /// What was needed, by which snapshots, and which packs are to go.
    Marked {
        needed: BTreeSet<Block>,
        snapshots: BTreeSet<SnapshotId>,
        going: BTreeSet<Pack>,
    },
    Begun {
        run: RunId,
        needed: BTreeSet<Block>,
        snapshots: BTreeSet<SnapshotId>,
        going: BTreeSet<Pack>,
    },
    Doomed {
        run: RunId,
        needed: BTreeSet<Block>,
        snapshots: BTreeSet<SnapshotId>,
        going: BTreeSet<Pack>,
    },
    Sent {
        run: RunId,
        needed: BTreeSet<Block>,
        snapshots: BTreeSet<SnapshotId>,
        going: BTreeSet<Pack>,
    },
    Stored {
        run: RunId,
        needed: BTreeSet<Block>,
        snapshots: BTreeSet<SnapshotId>,
        going: BTreeSet<Pack>,
    },
    Rewritten {
        run: RunId,
    },
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    log: State,
    /// Packs in the store.
    there: BTreeSet<Pack>,
    /// Packs that were sent and may arrive any time.
    coming: BTreeSet<Pack>,
    /// What each pack that was ever made holds, and the run in whose folder it lies.
    packs: BTreeMap<Pack, (BTreeSet<Block>, RunId)>,
    /// What each published snapshot needs.
    needs: BTreeMap<SnapshotId, BTreeSet<Block>>,
    backups: Vec<Backup>,
    prunes: Vec<Prune>,
    /// Runs that may still be closed by somebody who believes them silent.
    closes_left: u8,
    forgets_left: u8,
    /// A backup was refused although nobody closed its run and its parent lives.
    refused_for_nothing: bool,
    /// Something was deleted that the log did not allow to.
    deleted_too_early: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Event {
    Backup(usize),
    /// A run is closed, whoever is still at work in it.
    Close(RunId),
    Prune(usize),
    Forget(SnapshotId),
    Arrives(Pack),
    Delete(Pack),
    Swept,
}

/// Which machines there are.
struct Setup {
    broken: Broken,
    backups: usize,
    prunes: usize,
    /// Backups reuse block 0 unread from snapshot 0, if it is live when they look.
    by_parent: bool,
    /// Backups look before they begin, with a cache that may be old.
    look_early: bool,
    closes: u8,
    forgets: u8,
    /// Block 1 is in a second pack: an earlier prune was cut off.
    two_places: bool,
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
fn append(log: &mut State, operations: Vec<Operation>) -> bool {
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

fn text() -> ByteVec {
    ByteVec::from(vec![])
}

fn begin(kind: RunKind) -> Operation {
    Operation::Begin { kind, host: KeyedTag([1; 16]), description: text() }
}

fn end(run: RunId) -> Operation {
    Operation::End { run, outcome: Outcome::Complete, description: text() }
}

fn entry(pack: Pack, run: RunId) -> PackEntry {
    PackEntry { name: name(pack), kind: PackKind::Data, len: 1, run }
}

fn inline(packs: &[Pack]) -> Option<InlineDirectories> {
    let packs: Vec<ObjectHash> = packs.iter().map(|p| name(*p)).collect();
    (!packs.is_empty()).then(|| InlineDirectories { packs, bytes: text() })
}

fn publish(run: RunId, packs: &[Pack], snapshot: Option<(u8, Vec<SnapshotId>)>) -> Operation {
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
    fn is_live(&self, pack: Pack) -> bool {
        self.log.packs.get(&name(pack)).is_some_and(|p| p.live())
    }

    /// Whether a live pack holds the block, as the log has it.
    fn is_held(&self, block: Block) -> bool {
        self.packs.iter().any(|(pack, (blocks, _))| blocks.contains(&block) && self.is_live(*pack))
    }

    fn needed(&self) -> BTreeSet<Block> {
        self.log.snapshots.keys().flat_map(|id| self.needs[id].iter().copied()).collect()
    }

    /// The promise: all that live snapshots need is in packs that exist and are live.
    fn keeps_its_promise(&self) -> bool {
        let held = |block: &Block| {
            let holds = |(pack, (blocks, _)): (&Pack, &(BTreeSet<Block>, RunId))| {
                blocks.contains(block) && self.is_live(*pack) && self.there.contains(pack)
            };
            self.packs.iter().any(holds)
        };
        self.needed().iter().all(held)
    }

    fn is_open(&self, run: RunId) -> bool {
        self.log.runs.get(&run).is_some_and(|r| r.over.is_none())
    }

    /// Whether the block was found dead in some pack before: then nobody counts on it.
    fn is_doomed(&self, block: Block) -> bool {
        let id = BlockId { run: RunId(0), number: u32::from(block) };
        self.log.packs.values().any(|p| p.doom.as_ref().is_some_and(|d| d.dead.contains_key(&id)))
    }

    /// Lets a run that was closed go on for one record, which no valid transition allows.
    fn reopened<T>(&mut self, run: RunId, broken: Broken, work: impl FnOnce(&mut Self) -> T) -> T {
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

    /// Whether a backup that looks now finds its block.
    fn finds(&self, setup: &Setup) -> bool {
        match setup.by_parent {
            true => self.log.snapshots.contains_key(&snapshot_id(0)),
            false => self.is_held(0) && !self.is_doomed(0),
        }
    }

    fn backup(&mut self, i: usize, setup: &Setup) -> Option<()> {
        let (pack, snapshot) = (10 + i as u8, 10 + i as u8);
        // Content of block 0, or a block of its own with the same content.
        let own: Block = 10 + i as u8;
        match self.backups[i].clone() {
            Backup::Idle if setup.look_early => {
                self.backups[i] = Backup::Looked { found: self.finds(setup) };
            }
            Backup::Idle => {
                append(&mut self.log, vec![begin(RunKind::Backup)]);
                self.backups[i] = Backup::Begun { run: RunId(self.log.number), found: None };
            }
            Backup::Looked { found } => {
                append(&mut self.log, vec![begin(RunKind::Backup)]);
                self.backups[i] = Backup::Begun { run: RunId(self.log.number), found: Some(found) };
            }
            Backup::Begun { run, found: None } => {
                let found = self.finds(setup);
                self.backups[i] = Backup::Begun { run, found: Some(found) };
            }
            Backup::Begun { run, found: Some(true) } => {
                let parent = setup.by_parent && setup.broken != Broken::ReuseWithoutParent;
                let looks = !setup.by_parent && setup.broken != Broken::NoLookBeforePublish;
                let gone = looks && !self.is_held(0);
                let parents = if parent { vec![snapshot_id(0)] } else { vec![] };
                let operations = vec![publish(run, &[], Some((snapshot, parents))), end(run)];
                let published = !gone && self.reopened(run, setup.broken, |w| append(&mut w.log, operations));
                if published {
                    self.needs.insert(snapshot_id(snapshot), BTreeSet::from([0]));
                    self.backups[i] = Backup::Done;
                } else {
                    let parent_gone = parent && !self.log.snapshots.contains_key(&snapshot_id(0));
                    self.refused_for_nothing |= self.is_open(run) && !parent_gone;
                    self.backups[i] = Backup::Refused;
                }
            }
            Backup::Begun { run, found: Some(false) } => {
                self.packs.insert(pack, (BTreeSet::from([own]), run));
                self.coming.insert(pack);
                self.backups[i] = Backup::Sent { run };
            }
            Backup::Sent { run } => {
                if !self.there.contains(&pack) && setup.broken != Broken::CountsWhatWasSent {
                    return None;
                }
                self.backups[i] = Backup::Stored { run };
            }
            Backup::Stored { run } => {
                let operations = vec![publish(run, &[pack], Some((snapshot, vec![]))), end(run)];
                if self.reopened(run, setup.broken, |w| append(&mut w.log, operations)) {
                    self.needs.insert(snapshot_id(snapshot), BTreeSet::from([own]));
                    self.backups[i] = Backup::Done;
                } else {
                    self.refused_for_nothing |= self.is_open(run);
                    self.backups[i] = Backup::Refused;
                }
            }
            Backup::Done | Backup::Refused => return None,
        }
        Some(())
    }

    fn prune(&mut self, i: usize, setup: &Setup) -> Option<()> {
        let pack = 20 + i as u8;
        match self.prunes[i].clone() {
            Prune::Idle => {
                let needed = self.needed();
                let snapshots = self.log.snapshots.keys().copied().collect();
                // Of two places of a block one prune keeps the first, the other the second.
                let live: Vec<Pack> = self.packs.keys().copied().filter(|p| *p < 10 && self.is_live(*p)).collect();
                let elsewhere = |p: &Pack, b: &Block| live.iter().any(|q| q != p && self.packs[q].0.contains(b));
                let kept = if i == 0 { live.first() } else { live.last() };
                let goes = |p: &&Pack| {
                    let blocks = &self.packs[*p].0;
                    blocks.iter().any(|b| !needed.contains(b))
                        || (Some(*p) != kept && blocks.iter().any(|b| elsewhere(p, b)))
                };
                let going: BTreeSet<Pack> = live.iter().filter(goes).copied().collect();
                if going.is_empty() {
                    return None;
                }
                self.prunes[i] = Prune::Marked { needed, snapshots, going };
            }
            Prune::Marked { needed, snapshots, going } => {
                append(&mut self.log, vec![begin(RunKind::Prune)]);
                self.prunes[i] = Prune::Begun { run: RunId(self.log.number), needed, snapshots, going };
            }
            Prune::Begun { run, needed, snapshots, going } => {
                let dead = |p: &Pack| -> Vec<DeadChunks> {
                    let blocks = self.packs[p].0.iter().filter(|b| !needed.contains(*b));
                    let id = |b: &Block| BlockId { run: RunId(0), number: u32::from(*b) };
                    blocks.map(|b| DeadChunks { block: id(b), ranges: vec![(0, 1)] }).collect()
                };
                let packs: Vec<DoomedPack> = going
                    .iter()
                    .filter(|p| self.is_live(**p))
                    .map(|p| DoomedPack { pack: name(*p), dead: dead(p) })
                    .collect();
                if setup.broken != Broken::CondemnsWithoutDoom {
                    append(&mut self.log, vec![Operation::Doom { packs }]);
                }
                if setup.broken == Broken::DeletesWhatIsDoomed {
                    self.there.retain(|p| !going.contains(p));
                }
                self.prunes[i] = Prune::Doomed { run, needed, snapshots, going };
            }
            Prune::Doomed { run, needed, snapshots, going } => {
                let moved = self.moved(&needed, &going, i);
                if !moved.is_empty() {
                    self.packs.insert(pack, (moved, run));
                    self.coming.insert(pack);
                }
                self.prunes[i] = Prune::Sent { run, needed, snapshots, going };
            }
            Prune::Sent { run, needed, snapshots, going } => {
                let brings = self.packs.contains_key(&pack);
                if brings && !self.there.contains(&pack) && setup.broken != Broken::CountsWhatWasSent {
                    return None;
                }
                self.prunes[i] = Prune::Stored { run, needed, snapshots, going };
            }
            Prune::Stored { run, needed, snapshots, going } => {
                let brings = self.packs.contains_key(&pack);
                let new: &[Pack] = if brings { &[pack] } else { &[] };
                let condemned = self.condemned(run, &needed, &snapshots, &going, new, setup.broken);
                let operation = Operation::Rewrite {
                    run,
                    packs: new.iter().map(|p| entry(*p, run)).collect(),
                    segments: vec![],
                    inline: inline(new),
                    condemned_packs: condemned.iter().map(|p| name(*p)).collect(),
                    condemned_segments: vec![],
                };
                let done = self.reopened(run, setup.broken, |w| {
                    if setup.broken == Broken::CondemnsWithoutDoom {
                        w.condemn_unsaid(&condemned);
                    }
                    append(&mut w.log, vec![operation])
                });
                self.prunes[i] = if done { Prune::Rewritten { run } } else { Prune::Done };
            }
            Prune::Rewritten { run } => {
                append(&mut self.log, vec![end(run)]);
                self.prunes[i] = Prune::Done;
            }
            Prune::Done => return None,
        }
        Some(())
    }

    /// Doom and Rewrite in one, as no valid transition allows: whoever began before knows nothing of it.
    fn condemn_unsaid(&mut self, condemned: &BTreeSet<Pack>) {
        for pack in condemned {
            if let Some(known) = self.log.packs.get_mut(&name(*pack)) {
                known.doom = Some(strongroom::formats::state::Doom { number: 0, dead: BTreeMap::new() });
            }
        }
    }

    /// What a prune takes along from the packs that are to go: what is needed and in no other pack that stays.
    fn moved(&self, needed: &BTreeSet<Block>, going: &BTreeSet<Pack>, _: usize) -> BTreeSet<Block> {
        let stays = |b: &Block| {
            let holds = |(p, (blocks, _)): (&Pack, &(BTreeSet<Block>, RunId))| {
                blocks.contains(b) && self.is_live(*p) && !going.contains(p)
            };
            self.packs.iter().any(holds)
        };
        going.iter().flat_map(|p| self.packs[p].0.iter().copied()).filter(|b| needed.contains(b) && !stays(b)).collect()
    }

    /// What a prune may condemn at its record's place in the log.
    fn condemned(
        &self,
        run: RunId,
        needed: &BTreeSet<Block>,
        snapshots: &BTreeSet<SnapshotId>,
        going: &BTreeSet<Pack>,
        new: &[Pack],
        broken: Broken,
    ) -> BTreeSet<Pack> {
        let may = |p: &&Pack| condemnable(&self.log, run, &name(**p)) || broken == Broken::CondemnsWithoutDoom;
        let mut condemned: BTreeSet<Pack> = going.iter().filter(may).copied().collect();
        condemned.retain(|p| self.is_live(*p));
        if broken == Broken::NoLookBeforeRewrite {
            return condemned;
        }
        let still: BTreeSet<Block> = match broken {
            Broken::NewSnapshotsNotMarked => {
                let marked = self.log.snapshots.keys().filter(|id| snapshots.contains(id));
                marked.flat_map(|id| self.needs[id].iter().copied()).chain(needed.iter().copied()).collect()
            }
            _ => self.needed().into_iter().chain(needed.iter().copied()).collect(),
        };
        // A pack that stays may be what another one that goes relies on.
        loop {
            let held = |b: &Block| {
                let counts = |p: &Pack| new.contains(p) || (self.is_live(*p) && !condemned.contains(p));
                self.packs.iter().any(|(p, (blocks, _))| blocks.contains(b) && counts(p))
            };
            let alone = |p: &&Pack| self.packs[*p].0.iter().any(|b| still.contains(b) && !held(b));
            let Some(stays) = condemned.iter().find(alone).copied() else { return condemned };
            condemned.remove(&stays);
        }
    }

    fn delete(&mut self, pack: Pack) {
        let allowed = sweepable(&self.log).packs.contains(&name(pack)) || self.is_orphan(pack);
        self.deleted_too_early |= !allowed;
        self.there.remove(&pack);
    }

    fn is_orphan(&self, pack: Pack) -> bool {
        orphaned(&self.log, self.packs[&pack].1, &name(pack))
    }

    fn swept(&mut self) -> Option<()> {
        let gone = |n: &ObjectHash| !self.there.contains(&n.0[0]);
        let packs: Vec<ObjectHash> = sweepable(&self.log).packs.into_iter().filter(gone).collect();
        if packs.is_empty() {
            return None;
        }
        append(&mut self.log, vec![Operation::Swept { packs, segments: vec![], orphans: vec![] }]).then_some(())
    }
}

impl Model for Setup {
    type State = World;
    type Action = Event;

    /// Two snapshots of a run that is over; pack 0 holds what both need, and perhaps pack 1 some of it too.
    fn init_states(&self) -> Vec<World> {
        let mut log = State::new(OWNER, ObjectHash([0; 32]));
        assert!(append(&mut log, vec![begin(RunKind::Backup)]));
        let run = RunId(1);
        let mut packs = BTreeMap::from([(0, (BTreeSet::from([0, 1]), run))]);
        if self.two_places {
            packs.insert(1, (BTreeSet::from([0, 1]), run));
        }
        let all: Vec<Pack> = packs.keys().copied().collect();
        let operations = vec![publish(run, &all, Some((0, vec![]))), publish(run, &[], Some((1, vec![]))), end(run)];
        assert!(append(&mut log, operations));
        vec![World {
            log,
            there: all.into_iter().collect(),
            coming: BTreeSet::new(),
            packs,
            needs: BTreeMap::from([(snapshot_id(0), BTreeSet::from([0])), (snapshot_id(1), BTreeSet::from([1]))]),
            backups: vec![Backup::Idle; self.backups],
            prunes: vec![Prune::Idle; self.prunes],
            closes_left: self.closes,
            forgets_left: self.forgets,
            refused_for_nothing: false,
            deleted_too_early: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Event>) {
        actions.extend((0..self.backups).map(Event::Backup));
        actions.extend((0..self.prunes).map(Event::Prune));
        if world.forgets_left > 0 {
            actions.extend(world.log.snapshots.keys().filter(|id| id.0[0] != 1).map(|id| Event::Forget(*id)));
        }
        if world.closes_left > 0 {
            actions.extend(world.log.open_runs().map(|(run, _)| Event::Close(run)));
        }
        actions.extend(world.coming.iter().map(|p| Event::Arrives(*p)));
        let ripe = sweepable(&world.log).packs;
        for pack in &world.there {
            let open = self.broken == Broken::SweepsOpenRuns && !world.log.packs.contains_key(&name(*pack));
            if ripe.contains(&name(*pack)) || world.is_orphan(*pack) || open {
                actions.push(Event::Delete(*pack));
            }
        }
        actions.push(Event::Swept);
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        let mut next = world.clone();
        match event {
            // A machine that is never asked again has crashed, or sleeps.
            Event::Backup(i) => next.backup(i, self)?,
            Event::Prune(i) => next.prune(i, self)?,
            Event::Forget(id) => {
                next.forgets_left -= 1;
                append(&mut next.log, vec![Operation::Forget { snapshots: vec![id] }]).then_some(())?;
            }
            Event::Close(run) => {
                next.closes_left -= 1;
                append(&mut next.log, vec![Operation::Close { run }]).then_some(())?;
            }
            Event::Arrives(pack) => {
                next.coming.remove(&pack);
                next.there.insert(pack);
            }
            Event::Delete(pack) => next.delete(pack),
            Event::Swept => next.swept()?,
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always("every live snapshot has all it needs", |_, world| world.keeps_its_promise()),
            Property::<Self>::always("nothing is deleted before the log allows it", |_, world| {
                !world.deleted_too_early
            }),
            Property::<Self>::always("a prune costs a backup nothing", |setup, world| {
                // Whoever looks with an old cache may have to look again: that costs, and loses nothing.
                setup.look_early || !world.refused_for_nothing
            }),
            Property::<Self>::sometimes("a backup finds what is there", |setup, world| {
                let found = world.needs.get(&snapshot_id(10)).is_some_and(|n| n.contains(&0));
                setup.backups == 0 || found
            }),
            Property::<Self>::sometimes("a pack is condemned and deleted", |setup, world| {
                setup.prunes == 0
                    || world.packs.keys().any(|p| *p < 10 && !world.there.contains(p) && !world.is_live(*p))
            }),
        ]
    }
}

const SOUND: Setup = Setup {
    broken: Broken::Sound,
    backups: 1,
    prunes: 1,
    by_parent: false,
    look_early: false,
    closes: 1,
    forgets: 2,
    two_places: false,
};

fn setups() -> Vec<(&'static str, Setup)> {
    vec![
        ("a backup and a prune", Setup { ..SOUND }),
        ("a backup that looks with an old cache", Setup { look_early: true, ..SOUND }),
        ("a backup that reuses unread", Setup { by_parent: true, ..SOUND }),
        ("one that reuses unread with an old cache", Setup { by_parent: true, look_early: true, ..SOUND }),
        ("two backups and a prune", Setup { backups: 2, forgets: 1, ..SOUND }),
        ("two prunes and two places", Setup { backups: 0, prunes: 2, two_places: true, forgets: 1, ..SOUND }),
        ("a backup and two prunes", Setup { prunes: 2, two_places: true, forgets: 1, closes: 0, ..SOUND }),
    ]
}

#[test]
fn the_promise_is_kept_whatever_the_order() {
    for (what, setup) in setups() {
        let checker = setup.checker().threads(2).spawn_bfs().join();
        println!("{what}: {} states, {} of them different", checker.state_count(), checker.unique_state_count());
        checker.assert_properties();
        assert!(checker.unique_state_count() > 500, "{what}: the model hardly moves");
    }
}

/// Each check that is left out is missed: the checker finds the order of events in which it would have mattered.
#[test]
fn every_check_that_is_left_out_is_missed() {
    const PROMISE: &str = "every live snapshot has all it needs";
    let cases = [
        (Broken::NoLookBeforePublish, Setup { look_early: true, ..SOUND }, PROMISE),
        (Broken::ReuseWithoutParent, Setup { by_parent: true, look_early: true, ..SOUND }, PROMISE),
        (Broken::NoLookBeforeRewrite, Setup { backups: 0, prunes: 2, two_places: true, ..SOUND }, PROMISE),
        (Broken::NewSnapshotsNotMarked, Setup { ..SOUND }, PROMISE),
        (Broken::SweepsOpenRuns, Setup { ..SOUND }, PROMISE),
        (Broken::ClosedRunGoesOn, Setup { ..SOUND }, PROMISE),
        (Broken::CountsWhatWasSent, Setup { ..SOUND }, PROMISE),
        (Broken::DeletesWhatIsDoomed, Setup { ..SOUND }, PROMISE),
        (Broken::CondemnsWithoutDoom, Setup { closes: 0, ..SOUND }, "a prune costs a backup nothing"),
    ];
    for (broken, setup, property) in cases {
        let checker = Setup { broken, ..setup }.checker().threads(2).spawn_bfs().join();
        let found = checker.discovery(property);
        let path = found.unwrap_or_else(|| panic!("{broken:?}: {property} is not violated"));
        let events: Vec<String> = path.into_actions().iter().map(|a| format!("{a:?}")).collect();
        println!("{broken:?}: {}", events.join(", "));
    }
}
