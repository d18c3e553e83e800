//! Random histories keep what the transitions promise.
//!
//! Operations are drawn from a small world of names, so that most rules are met and broken often. The
//! generator is SplitMix64: a failure names its seed.

use std::collections::BTreeSet;

use crate::crypto::sign::Verifier;
use crate::format::record::{Operation, RunKind, SegmentEntry};
use crate::format::state::{DirectoryHome, State};
use crate::primitives::ids::{ObjectHash, RunId, SnapshotId};

use super::testing::*;
use super::{condemnable_packs, orphaned, sweepable};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.below(from.len() as u64) as usize]) }
    }

    fn some<T: Copy>(&mut self, from: &[T]) -> Vec<T> {
        let n = self.below(3);
        let picked: Vec<_> = (0..n).filter_map(|_| self.pick(from)).collect();
        picked
    }
}

/// What must never be undone.
#[derive(Default)]
struct Past {
    over: BTreeSet<RunId>,
    condemned: BTreeSet<(RunId, ObjectHash)>,
    forgotten: BTreeSet<SnapshotId>,
    swept: BTreeSet<(RunId, ObjectHash)>,
}

impl Past {
    fn check(&mut self, before: &State, after: &State) {
        let over = |s: &State, run: &RunId| s.runs.get(run).is_some_and(|r| r.over.is_some());
        assert!(self.over.iter().all(|run| over(after, run)), "over is for ever");
        self.over.extend(after.runs.keys().filter(|run| over(after, run)));
        for (name, pack) in &before.packs {
            // The same hash in another run's folder is another object.
            match after.packs.get(name).filter(|now| now.run == pack.run) {
                None => {
                    assert!(pack.condemned.is_some_and(|n| n <= before.number), "swept without being condemned");
                    assert!(over(after, &pack.run), "swept while it could come back");
                    self.swept.insert((pack.run, *name));
                }
                Some(now) => assert!(pack.condemned.is_none() || pack.condemned == now.condemned),
            }
        }
        for (name, pack) in &after.packs {
            assert!(!self.swept.contains(&(pack.run, *name)), "a swept name came back");
            let key = (pack.run, *name);
            assert!(pack.condemned.is_some() || !self.condemned.contains(&key), "condemned is for ever");
            self.condemned.extend(pack.condemned.map(|_| key));
        }
        for (name, segment) in &before.segments {
            let gone = !after.segments.contains_key(name);
            assert!(!gone || segment.condemned.is_some_and(|n| n <= before.number) && over(after, &segment.run));
        }
        assert!(after.snapshots.keys().all(|id| !self.forgotten.contains(id)), "a forgotten id came back");
        let gone = before.snapshots.keys().filter(|id| !after.snapshots.contains_key(id));
        self.forgotten.extend(gone);
    }
}

fn every_pack_that_stays_has_a_directory_that_stays(state: &State) {
    for (name, pack) in state.packs.iter().filter(|(_, p)| p.condemned.is_none()) {
        match pack.home {
            DirectoryHome::Record(number) => assert!(number <= state.number && !state.void.contains(&number)),
            DirectoryHome::Segment(segment) => {
                let home = &state.segments[&segment];
                assert!(home.condemned.is_none() && home.packs.contains(name));
            }
        }
    }
}

fn names(from: impl Iterator<Item = ObjectHash>) -> Vec<u64> {
    from.map(|n| u64::from_be_bytes(n.0[..8].try_into().unwrap())).collect()
}

fn begin_something(random: &mut Random, writer: Verifier) -> Operation {
    let kinds = [RunKind::Backup, RunKind::Prune, RunKind::Repair];
    let kind = if writer == OWNER { random.pick(&kinds).unwrap() } else { RunKind::Backup };
    begin(kind, if writer == BOB { 2 } else { 1 })
}

fn publish_something(random: &mut Random, state: &State, run: u64, writer: Verifier) -> Operation {
    let number = state.number + 1;
    let fresh = |random: &mut Random| 1000 + number * 10 + random.below(4);
    let mut packs: BTreeSet<u64> = (0..random.below(3)).map(|_| fresh(random)).collect();
    if random.below(4) == 0 {
        packs.extend(random.some(&[1, 2, 3]));
    }
    let packs: Vec<u64> = packs.into_iter().collect();
    if random.below(2) == 0 {
        return publish_segment(run, &packs, fresh(random));
    }
    let parents: Vec<u64> = random.some(&[1, 2, 3]);
    let tag = if writer == BOB { 2 } else { 1 };
    let id = if random.below(3) == 0 { random.below(6) } else { number };
    publish(run, &packs, vec![snapshot(id, if random.below(2) == 0 { &[] } else { &parents }, tag, tag)])
}

fn rewrite_something(random: &mut Random, state: &State, run: u64) -> Operation {
    let (number, id) = (state.number + 1, RunId(run));
    let ripe = names(condemnable_packs(state, id));
    let known = names(state.packs.keys().copied());
    let condemned = if random.below(8) == 0 { random.some(&known) } else { ripe };
    let live = names(state.segments.iter().filter(|(_, s)| s.live()).map(|(n, _)| *n));
    let gone = random.some(&live);
    let mut operation = rewrite(run, &[5000 + number], &condemned, &gone);
    let stranded = state.packs.iter().filter(|(_, p)| match p.home {
        DirectoryHome::Segment(s) => p.condemned.is_none() && names([s].into_iter()).iter().all(|s| gone.contains(s)),
        DirectoryHome::Record(_) => false,
    });
    let mut stranded = names(stranded.map(|(n, _)| *n));
    stranded.retain(|n| !condemned.contains(n));
    if random.below(8) == 0 {
        stranded.pop();
    }
    let new: SegmentEntry = segment(run, 7000 + number, &stranded);
    if let Operation::Rewrite { segments, .. } = &mut operation {
        segments.push(new);
    }
    operation
}

fn sweep_something(random: &mut Random, state: &State) -> Operation {
    let ripe = sweepable(state);
    let all = names(state.packs.keys().copied());
    let packs = if random.below(6) == 0 { random.some(&all) } else { names(ripe.packs.into_iter()) };
    let run = 1 + random.below(state.number);
    let orphan = (run, random.pick(&all).unwrap_or(1));
    let orphans = if orphaned(state, RunId(run), &name(orphan.1)) { vec![orphan] } else { vec![] };
    swept(&packs, &names(ripe.segments.into_iter()), &orphans)
}

fn operation(random: &mut Random, state: &State, writer: Verifier) -> Operation {
    let runs: Vec<u64> = state.open_runs().filter(|(_, r)| r.writer == writer.id()).map(|(id, _)| id.0).collect();
    let run = random.pick(&runs).unwrap_or(state.number + 1);
    let any_run = 1 + random.below(state.number + 1);
    let packs = names(state.packs.keys().copied());
    let pack = random.pick(&packs).unwrap_or(1);
    let ids: Vec<SnapshotId> = state.snapshots.keys().copied().collect();
    let snapshots = random.some(&ids);
    let first = random.below(6) as u32;
    match random.below(if writer == OWNER { 17 } else { 6 }) {
        0 if runs.len() < 2 => begin_something(random, writer),
        0 => end(run),
        1..=3 => publish_something(random, state, run, writer),
        4 => end(run),
        5 => note(),
        6 => close(any_run),
        7 => Operation::Forget { snapshots },
        8 => Operation::Hold { snapshots },
        9 => Operation::Unhold { snapshots: ids },
        10 => doom_ranges(pack, &[(first, 1 + random.below(4) as u32), (12, 1)]),
        11 => doom_ranges(pack, &[]),
        12 | 13 => {
            let prunes: Vec<u64> =
                runs.iter().copied().filter(|r| state.runs[&RunId(*r)].kind != RunKind::Backup).collect();
            let run = random.pick(&prunes).unwrap_or(run);
            rewrite_something(random, state, run)
        }
        14 => sweep_something(random, state),
        15 if random.below(4) == 0 => Operation::Lost { packs: vec![name(pack)], damaged: snapshots },
        15 => Operation::Healed { snapshots },
        _ => Operation::Vouch { packs: vec![name(pack)] },
    }
}

/// Folds a random history; `see` is shown the state before and after each record.
fn history(seed: u64, len: usize, mut see: impl FnMut(&State, &State)) -> State {
    let (mut random, mut scene) = (Random(seed), Scene::new());
    for _ in 0..len {
        let writer = random.pick(&[OWNER, OWNER, ALICE, BOB]).unwrap();
        let before = scene.state.clone();
        let count = 1 + random.below(3);
        let operations = (0..count).map(|_| operation(&mut random, &before, writer)).collect();
        scene.fold(scene.record(writer, operations));
        see(&before, &scene.state);
    }
    scene.state
}

#[test]
fn random_histories_keep_every_promise() {
    let (mut valid, mut void, mut swept, mut condemned) = (0, 0, 0, 0);
    for seed in 0..60 {
        let mut past = Past::default();
        let end = history(seed, 250, |before, after| {
            past.check(before, after);
            every_pack_that_stays_has_a_directory_that_stays(after);
        });
        void += end.void.len();
        valid += end.number as usize - end.void.len();
        swept += past.swept.len();
        condemned += past.condemned.len();
    }
    // The generator must reach the rules, or the test proves nothing.
    assert!(valid > 4000 && void > 1000 && condemned > 300 && swept > 100, "{valid} {void} {condemned} {swept}");
}

#[test]
fn the_same_history_makes_the_same_state() {
    for seed in 100..110 {
        let fold = || history(seed, 100, |_, _| ());
        assert_eq!(fold(), fold(), "seed {seed}");
    }
}
