//! A machine that backs up.

use std::collections::BTreeSet;

use strongroom::format::record::RunKind;
use strongroom::primitives::ids::RunId;

use super::world::{Block, World, append, begin, end, publish, snapshot_id};
use super::{Broken, Setup};

/// Where a backup stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Backup {
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

impl World {
    /// Whether a backup that looks now finds its block.
    fn finds(&self, setup: &Setup) -> bool {
        match setup.by_parent {
            true => self.log.snapshots.get(&snapshot_id(0)).is_some_and(|s| !s.damaged),
            false => self.is_held(0) && !self.is_doomed(0),
        }
    }

    pub(crate) fn backup(&mut self, i: usize, setup: &Setup) -> Option<()> {
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
                    self.refused_for_nothing |= self.is_open(run) && !parent_gone && !self.has_lost();
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
}
