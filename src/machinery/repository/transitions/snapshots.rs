//! Forget, Hold, Unhold, Healed: the fate of snapshots.

use crate::words::ids::SnapshotId;

use super::VoidReason;
use super::draft::Draft;

/// Removes snapshots, none of which is held.
pub(super) fn forget(draft: &mut Draft<'_>, snapshots: &[SnapshotId]) -> Result<(), VoidReason> {
    draft.owner_only("forget snapshots")?;
    for id in snapshots {
        if draft.snapshot(id)?.held {
            return Err(VoidReason::Held(*id));
        }
        draft.forget(*id);
    }
    Ok(())
}

/// Sets or takes back the protection of snapshots. That it is so already is no fault.
pub(super) fn hold(draft: &mut Draft<'_>, snapshots: &[SnapshotId], held: bool) -> Result<(), VoidReason> {
    draft.owner_only("hold snapshots")?;
    for id in snapshots {
        draft.snapshot(id)?.held = held;
    }
    Ok(())
}

/// Declares holed snapshots whole.
pub(super) fn healed(draft: &mut Draft<'_>, snapshots: &[SnapshotId]) -> Result<(), VoidReason> {
    draft.owner_only("heal snapshots")?;
    for id in snapshots {
        let snapshot = draft.snapshot(id)?;
        if !snapshot.holed {
            return Err(VoidReason::NotHoled(*id));
        }
        snapshot.holed = false;
    }
    Ok(())
}
