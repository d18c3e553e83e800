//! Two processes of one machine over one cache: a listing that is slow, and a prune; another machine backs up meanwhile.
//!
//! The rows of the cache say which blocks are in which packs, and stand for a position of the log. A process brings them in
//! step with what it has folded, unless another one has brought them further. The prune plans by the rows.

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Checker, Model, Property};
use strongroom::format::record::{DoomedPack, Operation, RunKind};
use strongroom::format::state::State;
use strongroom::primitives::ids::{ObjectHash, RunId, SnapshotId};

use super::world::{Block, OWNER, Pack, append, begin, end, entry, inline, name, publish, snapshot_id};

/// What is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// The rows are brought in step with whatever a process has folded, also if that is less.
    Position,
    /// As before; and what no row names is taken for what nobody needs.
    PositionAndLook,
    /// A prune that misses something does not look whether others have gone on.
    SecondLook,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Prune {
    Idle,
    Folded,
    Synced,
    /// What is needed by the log, and what no row holds of it.
    Marked {
        missing: bool,
        going: BTreeSet<Pack>,
    },
    Doomed {
        run: RunId,
        going: BTreeSet<Pack>,
    },
    Done,
    Refused,
}

/// What a process has folded: number of the record, and the packs that are live then.
type Folded = (u64, BTreeSet<Pack>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Machine {
    log: State,
    packs: BTreeMap<Pack, BTreeSet<Block>>,
    needs: BTreeMap<SnapshotId, BTreeSet<Block>>,
    rows: BTreeSet<Pack>,
    position: u64,
    listing: Option<Folded>,
    looks_left: u8,
    folded: Folded,
    prune: Prune,
    backups_left: u8,
    forgets_left: u8,
    /// Another machine's prune, in one step.
    others_left: u8,
    stepped_back: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Event {
    ListingFolds,
    ListingSyncs,
    Prune,
    BackupElsewhere,
    Forget(SnapshotId),
    PruneElsewhere,
}

impl Machine {
    fn live(&self) -> BTreeSet<Pack> {
        self.packs.keys().copied().filter(|p| self.log.packs.get(&name(*p)).is_some_and(|p| p.live())).collect()
    }

    fn needed(&self) -> BTreeSet<Block> {
        self.log.snapshots.keys().flat_map(|id| self.needs[id].iter().copied()).collect()
    }

    fn sync(&mut self, folded: &Folded, left: Left) {
        let always = matches!(left, Left::Position | Left::PositionAndLook);
        if always || self.position <= folded.0 {
            self.stepped_back |= folded.0 < self.position;
            self.rows.clone_from(&folded.1);
            self.position = folded.0;
        }
    }

    fn fold(&self) -> Folded {
        (self.log.number, self.live())
    }

    /// Moves what is needed of `going` to a new pack, as far as the rows know what that is, and condemns them.
    fn rewrite(&mut self, run: RunId, going: &BTreeSet<Pack>, new: Pack, known: &BTreeSet<Pack>) {
        let needed = self.needed();
        let live = self.live();
        let going: BTreeSet<Pack> = going.intersection(&live).copied().collect();
        let stays = |b: &Block| live.iter().any(|p| !going.contains(p) && self.packs[p].contains(b));
        let of = going.iter().filter(|p| known.contains(p)).flat_map(|p| self.packs[p].iter().copied());
        let moved: BTreeSet<Block> = of.filter(|b| needed.contains(b) && !stays(b)).collect();
        let brings: Vec<Pack> = if moved.is_empty() { vec![] } else { vec![new] };
        if !moved.is_empty() {
            self.packs.insert(new, moved);
        }
        let operation = Operation::Rewrite {
            run,
            packs: brings.iter().map(|p| entry(*p, run)).collect(),
            segments: vec![],
            inline: inline(&brings),
            condemned_packs: going.iter().map(|p| name(*p)).collect(),
            condemned_segments: vec![],
        };
        append(&mut self.log, vec![operation, end(run)]);
    }

    fn doom(&mut self, going: &BTreeSet<Pack>) -> RunId {
        append(&mut self.log, vec![begin(RunKind::Prune)]);
        let run = RunId(self.log.number);
        let live = self.live();
        let packs = going.intersection(&live).map(|p| DoomedPack { pack: name(*p), dead: vec![] }).collect();
        append(&mut self.log, vec![Operation::Doom { packs }]);
        run
    }

    fn prune(&mut self, left: Left) -> Option<()> {
        self.prune = match self.prune.clone() {
            Prune::Idle => {
                self.folded = self.fold();
                Prune::Folded
            }
            Prune::Folded => {
                self.sync(&self.folded.clone(), left);
                Prune::Synced
            }
            Prune::Synced => {
                let needed = self.needed();
                let held = |b: &Block| self.rows.iter().any(|p| self.packs[p].contains(b));
                let missing = needed.iter().any(|b| !held(b)) && left != Left::PositionAndLook;
                let unneeded = |p: &&Pack| !self.rows.contains(p) || self.packs[*p].iter().any(|b| !needed.contains(b));
                let going = self.folded.1.iter().filter(unneeded).copied().collect();
                Prune::Marked { missing, going }
            }
            Prune::Marked { missing: true, .. } => match self.log.number != self.folded.0 && left != Left::SecondLook {
                true => Prune::Idle,
                false => Prune::Refused,
            },
            Prune::Marked { missing: false, going } if going.is_empty() => Prune::Done,
            Prune::Marked { missing: false, going } => Prune::Doomed { run: self.doom(&going), going },
            Prune::Doomed { run, going } => {
                self.rewrite(run, &going, 20, &self.rows.clone());
                Prune::Done
            }
            Prune::Done | Prune::Refused => return None,
        };
        Some(())
    }
}

struct OneCache(Left);

impl Model for OneCache {
    type State = Machine;
    type Action = Event;

    /// Two snapshots share a pack, and the rows know it.
    fn init_states(&self) -> Vec<Machine> {
        let mut log = State::new(OWNER, ObjectHash([0; 32]));
        assert!(append(&mut log, vec![begin(RunKind::Backup)]));
        let run = RunId(1);
        let operations = vec![publish(run, &[0], Some((0, vec![]))), publish(run, &[], Some((1, vec![]))), end(run)];
        assert!(append(&mut log, operations));
        let folded = (log.number, BTreeSet::from([0]));
        vec![Machine {
            packs: BTreeMap::from([(0, BTreeSet::from([0, 1]))]),
            needs: BTreeMap::from([(snapshot_id(0), BTreeSet::from([0])), (snapshot_id(1), BTreeSet::from([1]))]),
            rows: BTreeSet::from([0]),
            position: log.number,
            log,
            listing: None,
            looks_left: 2,
            folded,
            prune: Prune::Idle,
            backups_left: 1,
            forgets_left: 1,
            others_left: 1,
            stepped_back: false,
        }]
    }

    fn actions(&self, machine: &Machine, actions: &mut Vec<Event>) {
        actions.extend([Event::ListingFolds, Event::ListingSyncs, Event::Prune]);
        actions.extend([Event::BackupElsewhere, Event::PruneElsewhere]);
        actions.extend(machine.log.snapshots.keys().map(|id| Event::Forget(*id)));
    }

    fn next_state(&self, machine: &Machine, event: Event) -> Option<Machine> {
        let mut next = machine.clone();
        match event {
            Event::ListingFolds => {
                next.looks_left = next.looks_left.checked_sub(1)?;
                next.listing = Some(next.fold());
            }
            Event::ListingSyncs => {
                let folded = next.listing.take()?;
                next.sync(&folded, self.0);
            }
            Event::Prune => next.prune(self.0)?,
            Event::BackupElsewhere => {
                next.backups_left = next.backups_left.checked_sub(1)?;
                let n = 10 + next.backups_left;
                append(&mut next.log, vec![begin(RunKind::Backup)]);
                let run = RunId(next.log.number);
                next.packs.insert(n, BTreeSet::from([n]));
                next.needs.insert(snapshot_id(n), BTreeSet::from([n]));
                append(&mut next.log, vec![publish(run, &[n], Some((n, vec![]))), end(run)]).then_some(())?;
            }
            Event::Forget(id) => {
                next.forgets_left = next.forgets_left.checked_sub(1)?;
                append(&mut next.log, vec![Operation::Forget { snapshots: vec![id] }]).then_some(())?;
            }
            Event::PruneElsewhere => {
                next.others_left = next.others_left.checked_sub(1)?;
                let going = BTreeSet::from([0]);
                let run = next.doom(&going);
                let all = next.live();
                next.rewrite(run, &going, 30, &all);
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always(PROMISE, |_, machine| {
                let live = machine.live();
                machine.needed().iter().all(|b| live.iter().any(|p| machine.packs[p].contains(b)))
            }),
            Property::<Self>::always(REFUSED, |_, machine| machine.prune != Prune::Refused),
            Property::<Self>::always(BACK, |_, machine| !machine.stepped_back),
            Property::<Self>::sometimes("a pack is condemned", |_, machine| {
                machine.prune == Prune::Done && machine.packs.len() > machine.live().len()
            }),
        ]
    }
}

const PROMISE: &str = "every live snapshot has all it needs";
const REFUSED: &str = "no prune is refused for its neighbours' sake";
const BACK: &str = "the rows never step back";

#[test]
fn two_processes_share_a_cache_whatever_the_order() {
    let checker = OneCache(Left::Nothing).checker().threads(2).spawn_bfs().join();
    println!("one cache: {} states, {} of them different", checker.state_count(), checker.unique_state_count());
    checker.assert_properties();
    assert!(checker.unique_state_count() > 500, "the model hardly moves");
}

#[test]
fn what_a_shared_cache_must_hold_is_missed_if_it_is_left_out() {
    let cases = [
        (Left::Position, BACK),
        (Left::Position, REFUSED),
        (Left::PositionAndLook, PROMISE),
        (Left::SecondLook, REFUSED),
    ];
    for (left, property) in cases {
        let checker = OneCache(left).checker().threads(2).spawn_bfs().join();
        let path = checker.discovery(property).unwrap_or_else(|| panic!("{left:?}: {property:?} is not violated"));
        let events: Vec<String> = path.into_actions().iter().map(|a| format!("{a:?}")).collect();
        println!("{left:?}: {}", events.join(", "));
    }
}
