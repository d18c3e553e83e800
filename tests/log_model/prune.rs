//! A machine that prunes.

use std::collections::{BTreeMap, BTreeSet};

use strongroom::format::record::{DeadChunks, DoomedPack, Operation, RunKind};
use strongroom::format::state::Doom;
use strongroom::log::condemnable;
use strongroom::primitives::ids::{BlockId, RunId, SnapshotId};

use super::world::{Block, Pack, World, append, begin, end, entry, inline, name};
use super::{Broken, Setup};

/// Where a prune stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Prune {
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

impl World {
    pub(crate) fn prune(&mut self, i: usize, setup: &Setup) -> Option<()> {
        let pack = 20 + i as u8;
        match self.prunes[i].clone() {
            Prune::Idle => self.prunes[i] = self.marked(i)?,
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
                    .filter(|p| self.is_live(**p) || self.is_lost(**p))
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
            Prune::Doomed { run, needed, snapshots, mut going } => {
                // What cannot be read stays, unless nothing of it is needed.
                let unreadable = |p: &Pack| self.damaged.contains(p) && !self.is_lost(*p);
                going.retain(|p| !unreadable(p) || !self.packs[p].0.iter().any(|b| needed.contains(b)));
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
                let done = self.rewrite(pack, run, (&needed, &snapshots, &going), setup);
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

    /// What prune `i` finds to do; `None` if there is nothing.
    fn marked(&self, i: usize) -> Option<Prune> {
        let needed = self.needed();
        let snapshots = self.log.snapshots.keys().copied().collect();
        // Of two places of a block one prune keeps the first, the other the second.
        let live: Vec<Pack> = self.packs.keys().copied().filter(|p| *p < 10 && self.is_live(*p)).collect();
        let elsewhere = |p: &Pack, b: &Block| live.iter().any(|q| q != p && self.packs[q].0.contains(b));
        let kept = if i == 0 { live.first() } else { live.last() };
        let goes = |p: &&Pack| {
            let blocks = &self.packs[*p].0;
            blocks.iter().any(|b| !needed.contains(b)) || (Some(*p) != kept && blocks.iter().any(|b| elsewhere(p, b)))
        };
        let lost = self.packs.keys().filter(|p| self.is_lost(**p)).copied();
        let going: BTreeSet<Pack> = live.iter().filter(goes).copied().chain(lost).collect();
        if going.is_empty() {
            return None;
        }
        Some(Prune::Marked { needed, snapshots, going })
    }

    /// Brings the new pack in and condemns the old ones; whether that was allowed.
    fn rewrite(
        &mut self,
        pack: Pack,
        run: RunId,
        (needed, snapshots, going): (&BTreeSet<Block>, &BTreeSet<SnapshotId>, &BTreeSet<Pack>),
        setup: &Setup,
    ) -> bool {
        let brings = self.packs.contains_key(&pack);
        let new: &[Pack] = if brings { &[pack] } else { &[] };
        let condemned = self.condemned(run, needed, snapshots, going, new, setup.broken);
        let operation = Operation::Rewrite {
            run,
            packs: new.iter().map(|p| entry(*p, run)).collect(),
            segments: vec![],
            inline: inline(new),
            condemned_packs: condemned.iter().map(|p| name(*p)).collect(),
            condemned_segments: vec![],
        };
        self.reopened(run, setup.broken, |w| {
            if setup.broken == Broken::CondemnsWithoutDoom {
                w.condemn_unsaid(&condemned);
            }
            append(&mut w.log, vec![operation])
        })
    }

    fn is_lost(&self, pack: Pack) -> bool {
        self.log.packs.get(&name(pack)).is_some_and(|p| p.lost.is_some() && p.condemned.is_none())
    }

    /// Doom and Rewrite in one, as no valid transition allows: whoever began before knows nothing of it.
    pub(crate) fn condemn_unsaid(&mut self, condemned: &BTreeSet<Pack>) {
        for pack in condemned {
            if let Some(known) = self.log.packs.get_mut(&name(*pack)) {
                known.doom = Some(Doom { number: 0, dead: BTreeMap::new() });
            }
        }
    }

    /// What a prune takes along from the packs that are to go: what is needed and in no other pack that stays.
    pub(crate) fn moved(&self, needed: &BTreeSet<Block>, going: &BTreeSet<Pack>, _: usize) -> BTreeSet<Block> {
        let stays = |b: &Block| {
            let holds = |(p, (blocks, _)): (&Pack, &(BTreeSet<Block>, RunId))| {
                blocks.contains(b) && self.is_live(*p) && !going.contains(p)
            };
            self.packs.iter().any(holds)
        };
        let readable = going.iter().filter(|p| self.is_live(**p) && !self.damaged.contains(p));
        readable.flat_map(|p| self.packs[p].0.iter().copied()).filter(|b| needed.contains(b) && !stays(b)).collect()
    }

    /// What a prune may condemn at its record's place in the log.
    pub(crate) fn condemned(
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
        condemned.retain(|p| self.is_live(*p) || self.is_lost(*p));
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
            // Nobody relies on what is lost.
            let alone =
                |p: &&Pack| !self.is_lost(**p) && self.packs[*p].0.iter().any(|b| still.contains(b) && !held(b));
            let Some(stays) = condemned.iter().find(alone).copied() else { return condemned };
            condemned.remove(&stays);
        }
    }
}
