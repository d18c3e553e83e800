//! The promise of the log, checked by going through every order of events: a model over the very transitions that the
//! program runs.
//!
//! Machines back up, prune and repair, snapshots are forgotten, runs are closed by whoever believes them silent, orphans are
//! swept, packs are deleted, packs rot; every machine may stop anywhere, for a while or for ever, and what it had sent may arrive
//! late. What stands in a record is folded by the real `log::step`; what a writer holds beside it is modelled
//! here, and each of these checks can be left out: then the checker must find what goes wrong.
//!
//! Content is modelled at the level of blocks: a snapshot needs some, a pack holds some, a rewritten pack holds the
//! same blocks under the same ids.

mod backup;
mod cache;
mod prune;
mod repair;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Checker, Model, Property};
use strongroom::format::record::{Operation, RunKind};
use strongroom::format::state::State;
use strongroom::log::sweepable;
use strongroom::primitives::ids::{ObjectHash, RunId, SnapshotId};

use backup::Backup;
use prune::Prune;
use repair::Repair;
use world::{OWNER, Pack, World, append, begin, end, name, publish, snapshot_id};

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
    /// A repair says which snapshots have holes as it found them, although the log has gone on.
    NewSnapshotsNotHoled,
    /// A repair looks again only if there are other snapshots, and not if packs have been condemned meanwhile.
    OnlyNewSnapshotsLookedAt,
    /// A repair declares snapshots whole without looking.
    HealedUnseen,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Event {
    Backup(usize),
    /// A run is closed, whoever is still at work in it.
    Close(RunId),
    Prune(usize),
    Repair,
    /// A repair that is over, or that died, is followed by another.
    RepairAgain,
    Damage(Pack),
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
    damages: u8,
    repairs: u8,
    /// Block 1 is in a second pack: an earlier prune was cut off.
    two_places: bool,
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
            repair: Repair::Idle,
            damaged: BTreeSet::new(),
            damages_left: self.damages,
            repairs_left: self.repairs,
            had_holes: false,
            was_healed: false,
            closes_left: self.closes,
            forgets_left: self.forgets,
            refused_for_nothing: false,
            deleted_too_early: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Event>) {
        actions.extend((0..self.backups).map(Event::Backup));
        actions.extend((0..self.prunes).map(Event::Prune));
        if self.repairs > 0 {
            actions.push(Event::Repair);
            if world.repairs_left > 1 && world.repair != Repair::Idle {
                actions.push(Event::RepairAgain);
            }
        }
        if world.damages_left > 0 {
            actions.extend(world.there.iter().filter(|p| **p < 10).map(|p| Event::Damage(*p)));
        }
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
            Event::Repair => next.repair(self)?,
            Event::RepairAgain => {
                next.repairs_left -= 1;
                next.repair = Repair::Idle;
            }
            Event::Damage(pack) => {
                next.damages_left -= 1;
                next.damaged.insert(pack).then_some(())?;
            }
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
        let damaged = |w: &World| w.log.snapshots.values().filter(|s| s.damaged).count();
        next.had_holes |= damaged(&next) > 0;
        let healed = |id: &SnapshotId| world.log.snapshots[id].damaged && !next.log.snapshots[id].damaged;
        let both = world.log.snapshots.keys().filter(|id| next.log.snapshots.contains_key(id));
        next.was_healed |= both.into_iter().any(healed);
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
            Property::<Self>::sometimes("a snapshot has holes", |setup, world| setup.repairs == 0 || world.had_holes),
            Property::<Self>::sometimes("a snapshot is made whole again", |setup, world| {
                setup.repairs < 2 || setup.backups == 0 || setup.by_parent || world.was_healed
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
    damages: 0,
    repairs: 0,
    two_places: false,
};

const DAMAGED: Setup = Setup { damages: 1, repairs: 1, closes: 0, forgets: 1, prunes: 0, ..SOUND };

fn setups() -> Vec<(&'static str, Setup)> {
    vec![
        ("a backup and a prune", Setup { ..SOUND }),
        ("a backup that looks with an old cache", Setup { look_early: true, ..SOUND }),
        ("a backup that reuses unread", Setup { by_parent: true, ..SOUND }),
        ("one that reuses unread with an old cache", Setup { by_parent: true, look_early: true, ..SOUND }),
        ("two backups and a prune", Setup { backups: 2, forgets: 1, ..SOUND }),
        ("two prunes and two places", Setup { backups: 0, prunes: 2, two_places: true, forgets: 1, ..SOUND }),
        ("a backup and two prunes", Setup { prunes: 2, two_places: true, forgets: 1, closes: 0, ..SOUND }),
        ("damage, a backup and two repairs", Setup { repairs: 2, ..DAMAGED }),
        ("damage, a backup that reuses unread and a repair", Setup { by_parent: true, look_early: true, ..DAMAGED }),
        ("damage, a prune and a repair of two places", Setup { backups: 0, prunes: 1, two_places: true, ..DAMAGED }),
        ("damage, a backup, a prune and a repair", Setup { prunes: 1, ..DAMAGED }),
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
        (Broken::NoLookBeforePublish, Setup { ..DAMAGED }, PROMISE),
        (Broken::NewSnapshotsNotHoled, Setup { ..DAMAGED }, PROMISE),
        (Broken::OnlyNewSnapshotsLookedAt, Setup { backups: 0, prunes: 1, two_places: true, ..DAMAGED }, PROMISE),
        (Broken::HealedUnseen, Setup { repairs: 2, ..DAMAGED }, PROMISE),
    ];
    for (broken, setup, property) in cases {
        let checker = Setup { broken, ..setup }.checker().threads(2).spawn_bfs().join();
        let found = checker.discovery(property);
        let path = found.unwrap_or_else(|| panic!("{broken:?}: {property} is not violated"));
        let events: Vec<String> = path.into_actions().iter().map(|a| format!("{a:?}")).collect();
        println!("{broken:?}: {}", events.join(", "));
    }
}
