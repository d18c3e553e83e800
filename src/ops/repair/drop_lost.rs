//! Rewriting snapshots with holes without the files that are lost.

use std::sync::Arc;

use crate::format::description::{self, RunDescription};
use crate::format::record::{Operation, Outcome, RunKind, SnapshotEntry};
use crate::format::tree::{Node, NodeKind};
use crate::primitives::ids::{ChunkId, SnapshotId};
use crate::primitives::progress::{Observer, Severity, Unit};
use crate::primitives::system::random;
use crate::repository::write::packer::PackerThreads;
use crate::repository::write::run::{Publication, Run};
use crate::repository::{Repository, RepositoryError};

use super::super::rewrite_tree::{Rebuild, rebuild};
use super::RepairOptions;

/// Paths named in the snapshot's description.
const PATHS_MAX: usize = 100;

/// A snapshot that was rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The one with holes, which is forgotten.
    pub old: SnapshotId,
    /// The one in its place.
    pub new: SnapshotId,
    /// Files and folders that are not in it.
    pub lost: Vec<String>,
}

/// Rewrites every snapshot that has holes.
pub(super) fn drop_lost(
    repository: &Arc<Repository>,
    options: &RepairOptions,
    described: &RunDescription,
    observer: &dyn Observer,
) -> Result<Vec<Dropped>, RepositoryError> {
    let state = repository.state();
    let damaged: Vec<SnapshotId> =
        state.snapshots.iter().filter(|(_, s)| s.damaged && !s.held).map(|(id, _)| *id).collect();
    if damaged.is_empty() {
        return Ok(Vec::new());
    }
    observer.phase("rewriting snapshots", Some(damaged.len() as u64), Unit::Items);
    let mut run = repository.begin_run(RunKind::Backup, &options.host, described, PackerThreads::default())?;
    let mut dropped = Vec::new();
    for old in damaged {
        let Some(snapshot) = state.snapshots.get(&old) else { continue };
        let mut dropping = Dropping { run: &mut run, lost: Vec::new() };
        let root = rebuild(&mut dropping, &snapshot.root)?;
        let lost = dropping.lost;
        let mut text: description::SnapshotDescription =
            match description::open(&snapshot.description, |e| repository.keys.secret(e)) {
                Ok(text) => text,
                Err(cause) => {
                    observer.finding(Severity::Warning, &format!("the description of snapshot {old}: {cause}"));
                    continue;
                }
            };
        text.findings.push(format!("in place of snapshot {old}, without {} entries that are lost", lost.len()));
        text.findings.extend(lost.iter().take(PATHS_MAX).map(|path| format!("lost: {path}")));
        let new = run.snapshot_id();
        let entry = SnapshotEntry {
            id: new,
            time_ms: snapshot.time_ms,
            root,
            outcome: Outcome::Partial,
            parents: Vec::new(),
            host: snapshot.host,
            source: snapshot.source,
            description: description::seal(&text, &run.secret().sealing(), random(&*repository.system)),
        };
        run.publish(Publication { snapshots: vec![entry], end: None })?;
        repository.append(&mut |state| {
            let there = state.snapshots.contains_key(&old);
            Ok(vec![Operation::Forget { snapshots: if there { vec![old] } else { Vec::new() } }])
        })?;
        dropped.push(Dropped { old, new, lost });
        observer.advance(1);
    }
    run.end(Outcome::Complete, described)?;
    Ok(dropped)
}

/// Leaves out what is lost.
struct Dropping<'a> {
    run: &'a mut Run,
    lost: Vec<String>,
}

impl Rebuild for Dropping<'_> {
    fn run(&mut self) -> &mut Run {
        self.run
    }

    fn entries(&mut self, id: &ChunkId, path: &[u8]) -> Result<Vec<Node>, RepositoryError> {
        let mut nodes = Vec::new();
        let listed = self.run.repository().for_each_entry(id, &mut |node| {
            nodes.push(node);
            Ok(())
        });
        match listed {
            Ok(()) => {}
            Err(e) if e.is_damage() => {
                self.lost.push(format!("{}/ (part of the folder)", String::from_utf8_lossy(path)))
            }
            Err(e) => return Err(e),
        }
        Ok(nodes)
    }

    fn keeps(&mut self, node: &mut Node, path: &[u8]) -> Result<bool, RepositoryError> {
        let keeps = match &node.kind {
            NodeKind::File(file) => whole(self.run.repository(), &file.content)?,
            _ => true,
        };
        if !keeps {
            self.lost.push(String::from_utf8_lossy(path).into_owned());
        }
        Ok(keeps)
    }
}

/// Whether all of a file's content has a place.
fn whole(repository: &Repository, content: &crate::format::tree::Content) -> Result<bool, RepositoryError> {
    let mut references = Vec::new();
    let listed = repository.for_each_extent(content, &mut |extent| {
        references.push(extent.reference);
        Ok(())
    });
    match listed.and_then(|()| repository.check_covered(references.into_iter())) {
        Ok(()) => Ok(true),
        Err(RepositoryError::Conflict { .. }) => Ok(false),
        Err(e) if e.is_damage() => Ok(false),
        Err(e) => Err(e),
    }
}
