//! A machine that repairs: it finds packs damaged, fills in what it can, and says what is lost.

use std::collections::BTreeSet;

use strongroom::format::record::{Operation, RunKind};
use strongroom::primitives::ids::{ObjectHash, RunId, SnapshotId};

use super::world::{Block, Pack, World, append, begin, end, entry, inline, name};
use super::{Broken, Setup};

/// The pack in which a repair puts what it fills in.
const FILLED: Pack = 30;

/// What a repair said is hurt, and for which log that holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Hurt {
    snapshots: BTreeSet<SnapshotId>,
    live: BTreeSet<ObjectHash>,
    damaged: BTreeSet<SnapshotId>,
}

/// Where a repair stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Repair {
    Idle,
    /// It has read everything.
    Looked {
        lost: BTreeSet<Pack>,
    },
    Begun {
        run: RunId,
        lost: BTreeSet<Pack>,
    },
    /// What it fills in is on its way.
    Sent {
        run: RunId,
        lost: BTreeSet<Pack>,
    },
    Stored {
        run: RunId,
        lost: BTreeSet<Pack>,
    },
    /// What it filled in is in the log. It has looked which snapshots have holes.
    Judged {
        run: RunId,
        lost: BTreeSet<Pack>,
        hurt: Hurt,
    },
    Settled {
        run: RunId,
    },
    Done,
}

impl World {
    pub(crate) fn repair(&mut self, setup: &Setup) -> Option<()> {
        match self.repair.clone() {
            Repair::Idle => {
                let live = self.packs.keys().filter(|p| self.is_live(**p));
                let lost: BTreeSet<Pack> = live.filter(|p| self.damaged.contains(p)).copied().collect();
                let damaged = self.log.snapshots.values().any(|s| s.damaged);
                if lost.is_empty() && !damaged {
                    return None;
                }
                self.repair = Repair::Looked { lost };
            }
            Repair::Looked { lost } => {
                append(&mut self.log, vec![begin(RunKind::Repair)]);
                self.repair = Repair::Begun { run: RunId(self.log.number), lost };
            }
            Repair::Begun { run, lost } => {
                if self.may_fill(&lost) {
                    self.packs.insert(FILLED, (BTreeSet::from([0]), run));
                    self.coming.insert(FILLED);
                }
                self.repair = Repair::Sent { run, lost };
            }
            Repair::Sent { run, lost } => {
                if self.packs.contains_key(&FILLED) && !self.there.contains(&FILLED) {
                    return None;
                }
                self.repair = Repair::Stored { run, lost };
            }
            Repair::Stored { run, lost } => {
                if self.packs.contains_key(&FILLED) && !self.is_live(FILLED) {
                    let operation = Operation::Rewrite {
                        run,
                        packs: vec![entry(FILLED, run)],
                        segments: vec![],
                        inline: inline(&[FILLED]),
                        condemned_packs: vec![],
                        condemned_segments: vec![],
                    };
                    if !append(&mut self.log, vec![operation]) {
                        self.repair = Repair::Done;
                        return Some(());
                    }
                }
                self.repair = Repair::Judged { run, hurt: self.hurt(&lost), lost };
            }
            Repair::Judged { run, lost, hurt } => {
                let now = self.hurt(&lost);
                let stale = match setup.broken {
                    Broken::NewSnapshotsNotHoled => false,
                    Broken::OnlyNewSnapshotsLookedAt => now.snapshots != hurt.snapshots,
                    _ => now.snapshots != hurt.snapshots || now.live != hurt.live,
                };
                let hurt = if stale { now } else { hurt };
                self.settle(&lost, &hurt.damaged, setup.broken);
                self.repair = Repair::Settled { run };
            }
            Repair::Settled { run } => {
                append(&mut self.log, vec![end(run)]);
                self.repair = Repair::Done;
            }
            Repair::Done => return None,
        }
        Some(())
    }

    /// Whether block 0 is lost and needed, and its content is elsewhere under another number.
    fn may_fill(&self, lost: &BTreeSet<Pack>) -> bool {
        let sound = |block: Block| {
            let holds = |(pack, (blocks, _)): (&Pack, &(BTreeSet<Block>, RunId))| {
                blocks.contains(&block) && self.is_live(*pack) && !lost.contains(pack) && !self.damaged.contains(pack)
            };
            self.packs.iter().any(holds)
        };
        self.needed().contains(&0) && !sound(0) && (10..20).any(sound) && !self.packs.contains_key(&FILLED)
    }

    /// Which snapshots have holes without these packs.
    fn hurt(&self, lost: &BTreeSet<Pack>) -> Hurt {
        let held = |block: &Block| {
            let holds = |(pack, (blocks, _)): (&Pack, &(BTreeSet<Block>, RunId))| {
                blocks.contains(block) && self.is_live(*pack) && !lost.contains(pack)
            };
            self.packs.iter().any(holds)
        };
        let live = self.log.packs.iter().filter(|(_, p)| p.live()).map(|(name, _)| *name).collect();
        let snapshots: BTreeSet<SnapshotId> = self.log.snapshots.keys().copied().collect();
        let damaged = snapshots.iter().filter(|id| !self.needs[*id].iter().all(held)).copied().collect();
        Hurt { snapshots, live, damaged }
    }

    fn settle(&mut self, lost: &BTreeSet<Pack>, damaged: &BTreeSet<SnapshotId>, broken: Broken) {
        let known = |id: &&SnapshotId| self.log.snapshots.contains_key(id);
        let packs: Vec<ObjectHash> = lost.iter().filter(|p| self.is_live(**p)).map(|p| name(*p)).collect();
        let had = |id: &SnapshotId| self.log.snapshots[id].damaged;
        let whole = |id: &SnapshotId| had(id) && (!damaged.contains(id) || broken == Broken::HealedUnseen);
        let healed: Vec<SnapshotId> = self.log.snapshots.keys().filter(|id| whole(id)).copied().collect();
        let damaged: Vec<SnapshotId> = damaged.iter().filter(known).copied().collect();
        let mut operations = Vec::new();
        if !packs.is_empty() || damaged.iter().any(|id| !had(id)) {
            operations.push(Operation::Lost { packs, damaged });
        }
        if !healed.is_empty() {
            operations.push(Operation::Healed { snapshots: healed });
        }
        if !operations.is_empty() {
            append(&mut self.log, operations);
        }
    }
}
