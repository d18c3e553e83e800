//! Packs that were declared lost and are there again: a disk that was mounted late, a folder that was put back.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cache::locations::{PackPlace, PackRow};
use crate::format::names;
use crate::format::record::Operation;
use crate::format::state::{DirectoryHome, PackState, State};
use crate::primitives::ids::{ObjectHash, SnapshotId};
use crate::primitives::progress::{Observer, Unit};
use crate::repository::{Repository, RepositoryError};

use super::super::verify::Finding;

/// Lost packs that are in the store as they were published: every byte was read.
pub fn lost_and_there(repository: &Repository, observer: &dyn Observer) -> Result<Vec<ObjectHash>, RepositoryError> {
    let state = repository.state();
    let lost: Vec<(&ObjectHash, &PackState)> =
        state.packs.iter().filter(|(_, p)| p.lost.is_some() && p.condemned.is_none()).collect();
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    observer.phase("looking for lost packs", Some(lost.len() as u64), Unit::Items);
    let mut found = Vec::new();
    for (name, pack) in lost {
        if observer.interrupted() {
            return Err(RepositoryError::Interrupted);
        }
        match is_sound(repository, &state, name, pack) {
            Ok(true) => found.push(*name),
            Ok(false) => {}
            Err(e) if e.is_damage() => {}
            Err(e) => return Err(e),
        }
        observer.advance(1);
    }
    Ok(found)
}

/// Whether the pack has the bytes of its name, the directory that was published, and chunks with the ids in it.
fn is_sound(
    repository: &Repository,
    state: &State,
    name: &ObjectHash,
    pack: &PackState,
) -> Result<bool, RepositoryError> {
    let object = names::pack(pack.kind, pack.run, name);
    if !repository.is_there(&object)? {
        return Ok(false);
    }
    let summary = repository.summary_of_pack(name, pack)?;
    if !published(repository, state, pack.home, name, &summary.directory)? {
        return Ok(false);
    }
    let place = PackPlace {
        row: PackRow(0),
        name: *name,
        kind: pack.kind,
        run: pack.run,
        len: pack.len,
        directory: summary.place,
        frames: summary.directory.frames.len() as u32,
    };
    let open = repository.open_pack_bytes(place, &repository.get(&object)?)?;
    for frame in 0..summary.directory.frames.len() as u32 {
        match repository.read_frame(&open, frame) {
            // What a frame is a difference to may be in another lost pack.
            Ok(_) => {}
            Err(e) if e.is_missing() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

fn published(
    repository: &Repository,
    state: &State,
    home: DirectoryHome,
    name: &ObjectHash,
    directory: &crate::format::directory::PackDirectory,
) -> Result<bool, RepositoryError> {
    let summaries = repository.summaries(state, home)?;
    Ok(summaries.iter().any(|s| s.name == *name && s.directory == *directory))
}

/// Says in the log that lost packs were found. Returns those that were still lost.
pub fn take_in(repository: &Arc<Repository>, found: &[ObjectHash]) -> Result<Vec<ObjectHash>, RepositoryError> {
    let mut taken = Vec::new();
    if found.is_empty() {
        return Ok(taken);
    }
    repository.append(&mut |state| {
        let lost =
            |name: &&ObjectHash| state.packs.get(*name).is_some_and(|p| p.lost.is_some() && p.condemned.is_none());
        taken = found.iter().filter(lost).copied().collect();
        match taken.is_empty() {
            true => Ok(Vec::new()),
            false => Ok(vec![Operation::Found { packs: taken.clone() }]),
        }
    })?;
    Ok(taken)
}

/// Says in the log that snapshots with holes are whole again: those about which a verification, which began at state
/// `seen`, found nothing. Returns them; none if a pack went or was lost since, which may be one that they need.
pub fn heal_whole(
    repository: &Repository,
    seen: &State,
    findings: &[Finding],
) -> Result<Vec<SnapshotId>, RepositoryError> {
    let affected: BTreeSet<SnapshotId> = findings.iter().flat_map(|f| f.affects.iter().map(|(id, ..)| *id)).collect();
    let looked_at = |id: &SnapshotId| seen.snapshots.contains_key(id) && !affected.contains(id);
    let mut healed = Vec::new();
    repository.append(&mut |state| {
        let live = |name: &ObjectHash| state.packs.get(name).is_some_and(PackState::live);
        let mut relied_on = seen.packs.iter().filter(|(_, p)| p.live()).map(|(name, _)| name);
        healed = match relied_on.all(live) {
            true => state.snapshots.iter().filter(|(id, s)| s.damaged && looked_at(id)).map(|(id, _)| *id).collect(),
            false => Vec::new(),
        };
        match healed.is_empty() {
            true => Ok(Vec::new()),
            false => Ok(vec![Operation::Healed { snapshots: healed.clone() }]),
        }
    })?;
    Ok(healed)
}
