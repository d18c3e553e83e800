//! Lost, Vouch, Swept: what the owner found, checked and deleted.

use crate::words::ids::{ObjectHash, RunId, SnapshotId};

use super::VoidReason;
use super::draft::Draft;

/// Declares live packs lost, for ever, and snapshots holed. Deletes nothing.
pub(super) fn lost(draft: &mut Draft<'_>, packs: &[ObjectHash], holed: &[SnapshotId]) -> Result<(), VoidReason> {
    draft.owner_only("declare packs lost")?;
    let number = draft.number;
    for name in packs {
        draft.live_pack(name)?.lost = Some(number);
    }
    for id in holed {
        // One that had holes before may have one more.
        draft.snapshot(id)?.holed = true;
    }
    Ok(())
}

/// Vouches for live packs. The first word counts.
pub(super) fn vouch(draft: &mut Draft<'_>, packs: &[ObjectHash]) -> Result<(), VoidReason> {
    draft.owner_only("vouch for packs")?;
    let number = draft.number;
    for name in packs {
        draft.live_pack(name)?.vouched.get_or_insert(number);
    }
    Ok(())
}

/// Says that names were deleted. Packs and segments leave the state, which is sound because their runs are
/// over: nothing can publish a name in the folder of such a run.
pub(super) fn swept(
    draft: &mut Draft<'_>,
    packs: &[ObjectHash],
    segments: &[ObjectHash],
    orphans: &[(RunId, ObjectHash)],
) -> Result<(), VoidReason> {
    draft.owner_only("sweep")?;
    for (run, name) in orphans {
        check_orphan(draft, *run, name)?;
    }
    for name in packs {
        let found = draft.packs.get(name).map(|p| (p.run, p.condemned));
        check_swept(draft, name, found)?;
        draft.packs.remove(*name);
    }
    for name in segments {
        let found = draft.segments.get(name).map(|s| (s.run, s.condemned));
        check_swept(draft, name, found)?;
        draft.segments.remove(*name);
    }
    Ok(())
}

fn check_swept(draft: &Draft<'_>, name: &ObjectHash, found: Option<(RunId, Option<u64>)>) -> Result<(), VoidReason> {
    let Some((run, Some(condemned))) = found else { return Err(VoidReason::NotCondemned(*name)) };
    if condemned >= draft.number {
        return Err(VoidReason::NotCondemned(*name));
    }
    match draft.open_run(run) {
        Ok(_) => Err(VoidReason::SweptOfOpenRun { name: *name, run }),
        Err(_) => Ok(()),
    }
}

fn check_orphan(draft: &Draft<'_>, run: RunId, name: &ObjectHash) -> Result<(), VoidReason> {
    let over = draft.runs.get(&run).and_then(|r| r.over);
    if over.is_none_or(|o| o.number >= draft.number) {
        return Err(VoidReason::RunNotOver(run));
    }
    let published =
        draft.packs.get(name).is_some_and(|p| p.run == run) || draft.segments.get(name).is_some_and(|s| s.run == run);
    if published { Err(VoidReason::NotOrphan { name: *name, run }) } else { Ok(()) }
}
