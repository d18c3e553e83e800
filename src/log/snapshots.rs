//! Forget, Hold, Unhold, Healed: the fate of snapshots.

use crate::primitives::ids::SnapshotId;

use super::VoidReason;
use super::staged::Staged;

/// Removes snapshots, none of which is held.
pub(super) fn forget(staged: &mut Staged<'_>, snapshots: &[SnapshotId]) -> Result<(), VoidReason> {
    staged.owner_only("forget snapshots")?;
    for id in snapshots {
        if staged.snapshot(id)?.held {
            return Err(VoidReason::Held(*id));
        }
        staged.forget(*id);
    }
    Ok(())
}

/// Sets or takes back the protection of snapshots. That it is so already is no fault.
pub(super) fn hold(staged: &mut Staged<'_>, snapshots: &[SnapshotId], held: bool) -> Result<(), VoidReason> {
    staged.owner_only("hold snapshots")?;
    for id in snapshots {
        staged.snapshot(id)?.held = held;
    }
    Ok(())
}

/// Declares damaged snapshots whole.
pub(super) fn healed(staged: &mut Staged<'_>, snapshots: &[SnapshotId]) -> Result<(), VoidReason> {
    staged.owner_only("heal snapshots")?;
    for id in snapshots {
        let snapshot = staged.snapshot(id)?;
        if !snapshot.damaged {
            return Err(VoidReason::NotHoled(*id));
        }
        snapshot.damaged = false;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::format::record::{Operation, RunKind};

    fn scene() -> Scene {
        let mut scene = Scene::new();
        let run = scene.ok(ALICE, vec![begin(RunKind::Backup, 1)]);
        scene.ok(ALICE, vec![publish(run, &[], [1, 2].map(|n| snapshot(n, &[], 1, 1)).to_vec()), end(run)]);
        scene
    }

    fn forget(ids: &[u64]) -> Operation {
        Operation::Forget { snapshots: snaps(ids) }
    }

    fn hold(ids: &[u64]) -> Operation {
        Operation::Hold { snapshots: snaps(ids) }
    }

    fn unhold(ids: &[u64]) -> Operation {
        Operation::Unhold { snapshots: snaps(ids) }
    }

    fn healed(ids: &[u64]) -> Operation {
        Operation::Healed { snapshots: snaps(ids) }
    }

    #[test]
    fn only_the_owner_decides_over_snapshots() {
        let writer = ALICE.id();
        for (operation, what) in [
            (forget(&[1]), "forget snapshots"),
            (hold(&[1]), "hold snapshots"),
            (unhold(&[1]), "hold snapshots"),
            (healed(&[1]), "heal snapshots"),
        ] {
            scene().void(ALICE, vec![operation], VoidReason::NotAllowed { writer, what });
        }
    }

    #[test]
    fn what_does_not_exist_is_not_forgotten_held_or_healed() {
        for operation in [forget, hold, unhold, healed] {
            scene().void(OWNER, vec![operation(&[7])], VoidReason::UnknownSnapshot(snap(7)));
        }
        scene().void(OWNER, vec![forget(&[1, 1])], VoidReason::UnknownSnapshot(snap(1)));
    }

    #[test]
    fn a_held_snapshot_is_not_forgotten_until_it_is_let_go() {
        let mut scene = scene();
        scene.ok(OWNER, vec![hold(&[1]), hold(&[1])]);
        scene.void(OWNER, vec![forget(&[2, 1])], VoidReason::Held(snap(1)));
        scene.ok(OWNER, vec![unhold(&[1, 2]), forget(&[1])]);
        assert_eq!(scene.state.snapshots.keys().collect::<Vec<_>>(), [&snap(2)]);
        assert!(scene.state.forgotten.contains(&snap(1)));
    }

    #[test]
    fn a_damaged_snapshot_is_healed_once() {
        let mut scene = scene();
        scene.void(OWNER, vec![healed(&[1])], VoidReason::NotHoled(snap(1)));
        scene.ok(OWNER, vec![lost(&[], &[1])]);
        scene.ok(OWNER, vec![healed(&[1])]);
        assert!(!scene.state.snapshots[&snap(1)].damaged);
        scene.void(OWNER, vec![healed(&[1])], VoidReason::NotHoled(snap(1)));
    }
}
