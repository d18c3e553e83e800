//! Lost, Found, Vouch, Swept: what the owner found, checked and deleted. Beyond, Settle: what contradicts the history.

use crate::format::state::Settlement;
use crate::primitives::ids::{ObjectHash, RunId, SnapshotId};

use super::VoidReason;
use super::staged::Staged;

/// Says that the store has objects of a run that the log does not reach. Anyone may say so.
pub(super) fn beyond(staged: &mut Staged<'_>, run: RunId) -> Result<(), VoidReason> {
    // An object of the run that this record begins cannot have been there before it.
    if run.0 < staged.number {
        return Err(VoidReason::NotBeyond(run));
    }
    staged.contradicts = true;
    Ok(())
}

/// Settles what contradicts the history up to this record.
pub(super) fn settle(staged: &mut Staged<'_>, strays: &[(u64, ObjectHash)], run: RunId) -> Result<(), VoidReason> {
    staged.owner_only("settle the history")?;
    let number = staged.number;
    if let Some((reached, _)) = strays.iter().find(|(at, _)| *at <= number) {
        return Err(VoidReason::StrayReached(*reached));
    }
    let mut settled = Settlement { number, run, strays: strays.iter().copied().collect() };
    let before = staged.settled_before();
    settled.run = settled.run.max(before.run);
    let still = before.strays.iter().filter(|(at, _)| **at > number);
    for (at, hash) in still {
        settled.strays.entry(*at).or_insert(*hash);
    }
    staged.settled = Some(settled);
    Ok(())
}

/// Takes lost packs in again: they have the bytes of their names.
pub(super) fn found(staged: &mut Staged<'_>, packs: &[ObjectHash]) -> Result<(), VoidReason> {
    staged.owner_only("take packs in again")?;
    for name in packs {
        let pack = staged.uncondemned_pack(name)?;
        if pack.lost.take().is_none() {
            return Err(VoidReason::PackNotLost(*name));
        }
    }
    Ok(())
}

/// Declares live packs lost, and snapshots damaged. Deletes nothing.
pub(super) fn lost(staged: &mut Staged<'_>, packs: &[ObjectHash], damaged: &[SnapshotId]) -> Result<(), VoidReason> {
    staged.owner_only("declare packs lost")?;
    let number = staged.number;
    for name in packs {
        staged.live_pack(name)?.lost = Some(number);
    }
    for id in damaged {
        // One that had holes before may have one more.
        staged.snapshot(id)?.damaged = true;
    }
    Ok(())
}

/// Vouches for live packs. The newest word counts: it says how long ago the pack was last read.
pub(super) fn vouch(staged: &mut Staged<'_>, packs: &[ObjectHash]) -> Result<(), VoidReason> {
    staged.owner_only("vouch for packs")?;
    let number = staged.number;
    for name in packs {
        staged.live_pack(name)?.vouched = Some(number);
    }
    Ok(())
}

/// Says that names were deleted. Packs and segments leave the state, which is sound because their runs are
/// over: nothing can publish a name in the folder of such a run.
pub(super) fn swept(
    staged: &mut Staged<'_>,
    packs: &[ObjectHash],
    segments: &[ObjectHash],
    orphans: &[(RunId, ObjectHash)],
) -> Result<(), VoidReason> {
    staged.owner_only("sweep")?;
    for (run, name) in orphans {
        check_orphan(staged, *run, name)?;
    }
    for name in packs {
        let found = staged.packs.get(name).map(|p| (p.run, p.condemned));
        check_swept(staged, name, found)?;
        staged.packs.remove(*name);
    }
    for name in segments {
        let found = staged.segments.get(name).map(|s| (s.run, s.condemned));
        check_swept(staged, name, found)?;
        staged.segments.remove(*name);
    }
    Ok(())
}

fn check_swept(staged: &Staged<'_>, name: &ObjectHash, found: Option<(RunId, Option<u64>)>) -> Result<(), VoidReason> {
    let Some((run, Some(condemned))) = found else { return Err(VoidReason::NotCondemned(*name)) };
    if condemned >= staged.number {
        return Err(VoidReason::NotCondemned(*name));
    }
    match staged.open_run(run) {
        Ok(_) => Err(VoidReason::SweptOfOpenRun { name: *name, run }),
        Err(_) => Ok(()),
    }
}

fn check_orphan(staged: &Staged<'_>, run: RunId, name: &ObjectHash) -> Result<(), VoidReason> {
    // A record that began no run never will: nothing in the folder of its number can be published.
    let settled = match staged.runs.get(&run) {
        Some(known) => known.over.is_some_and(|o| o.number < staged.number),
        None => run.0 < staged.number,
    };
    if !settled {
        return Err(VoidReason::RunNotOver(run));
    }
    let published =
        staged.packs.get(name).is_some_and(|p| p.run == run) || staged.segments.get(name).is_some_and(|s| s.run == run);
    if published { Err(VoidReason::NotOrphan { name: *name, run }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::{RunId, VoidReason};
    use crate::format::record::{Operation, RunKind};
    use crate::log::{Sweepable, covered, orphaned, sweepable};

    /// Packs 1 and 2 in segment 9, and snapshot 1, of run 2, which is over; a prune is open.
    fn scene() -> (Scene, u64) {
        let mut scene = Scene::new();
        let run = scene.ok(ALICE, vec![begin(RunKind::Backup, 1)]);
        let snapshots = publish(run, &[], vec![snapshot(1, &[], 1, 1)]);
        scene.ok(ALICE, vec![publish_segment(run, &[1, 2], 9), snapshots, end(run)]);
        let prune = scene.ok(OWNER, vec![begin(RunKind::Prune, 1)]);
        (scene, prune)
    }

    fn vouch(packs: &[u64]) -> Operation {
        Operation::Vouch { packs: packs.iter().map(|p| name(*p)).collect() }
    }

    fn all_condemned() -> (Scene, u64) {
        let (mut scene, prune) = scene();
        scene.ok(OWNER, vec![doom_ranges(1, &[]), doom_ranges(2, &[]), rewrite(prune, &[30], &[1, 2], &[9])]);
        (scene, prune)
    }

    #[test]
    fn only_the_owner_loses_vouches_and_sweeps() {
        for (operation, what) in
            [(lost(&[1], &[]), "declare packs lost"), (vouch(&[1]), "vouch for packs"), (swept(&[], &[], &[]), "sweep")]
        {
            scene().0.void(ALICE, vec![operation], VoidReason::NotAllowed { writer: ALICE.id(), what });
        }
    }

    #[test]
    fn a_lost_pack_that_is_found_again_is_live_unless_it_was_condemned() {
        let (mut scene, prune) = scene();
        let found = |n: u64| Operation::Found { packs: vec![name(n)] };
        scene.void(ALICE, vec![found(1)], VoidReason::NotAllowed { writer: ALICE.id(), what: "take packs in again" });
        scene.void(OWNER, vec![found(1)], VoidReason::PackNotLost(name(1)));
        scene.ok(OWNER, vec![lost(&[1, 2], &[1])]);
        scene.ok(OWNER, vec![found(1)]);
        assert!(scene.state.packs[&name(1)].live());
        scene.ok(OWNER, vec![doom_ranges(2, &[]), rewrite(prune, &[], &[2], &[])]);
        scene.void(OWNER, vec![found(2)], VoidReason::PackNotLive(name(2)));
    }

    #[test]
    fn who_sees_objects_beyond_the_log_says_so_and_the_owner_settles_it() {
        let (mut scene, _) = scene();
        let beyond = |run| Operation::Beyond { run: RunId(run) };
        let settle = |strays: &[u64], run| {
            let strays = strays.iter().map(|n| (*n, name(*n))).collect();
            Operation::Settle { strays, run: RunId(run) }
        };
        let next = scene.state.number + 1;
        scene.void(ALICE, vec![beyond(next - 1)], VoidReason::NotBeyond(RunId(next - 1)));
        let number = scene.ok(ALICE, vec![beyond(80)]);
        assert_eq!(scene.state.contradicted, [(number, ALICE.id())].into());
        let refused = VoidReason::NotAllowed { writer: ALICE.id(), what: "settle the history" };
        scene.void(ALICE, vec![settle(&[], 80)], refused);
        scene.void(OWNER, vec![settle(&[3], 80)], VoidReason::StrayReached(3));
        let settled = scene.ok(OWNER, vec![settle(&[90], 80)]);
        assert!(scene.state.contradicted.is_empty());
        assert_eq!((scene.state.settled.number, scene.state.settled.run), (settled, RunId(80)));
        // What was settled before stays so.
        scene.ok(OWNER, vec![settle(&[], 7)]);
        assert_eq!(scene.state.settled.run, RunId(80));
        assert_eq!(scene.state.settled.strays, [(90, name(90))].into());
    }

    #[test]
    fn lost_leaves_holes() {
        let (mut scene, prune) = scene();
        scene.void(OWNER, vec![lost(&[77], &[])], VoidReason::PackNotLive(name(77)));
        scene.void(OWNER, vec![lost(&[1], &[77])], VoidReason::UnknownSnapshot(snap(77)));
        let number = scene.ok(OWNER, vec![doom_ranges(1, &[]), lost(&[1], &[1])]);
        assert_eq!(scene.state.packs[&name(1)].lost, Some(number));
        assert!(scene.state.snapshots[&snap(1)].damaged);
        scene.void(OWNER, vec![lost(&[1], &[])], VoidReason::PackNotLive(name(1)));
        scene.ok(OWNER, vec![lost(&[2], &[1])]);
        scene.ok(OWNER, vec![Operation::Healed { snapshots: snaps(&[1]) }]);
        assert!(!scene.state.packs[&name(1)].live());
        // What is lost goes like what is dead.
        scene.ok(OWNER, vec![doom_ranges(1, &[]), rewrite(prune, &[], &[1], &[])]);
        assert!(scene.state.packs[&name(1)].condemned.is_some());
    }

    #[test]
    fn the_newest_voucher_for_a_live_pack_counts() {
        let (mut scene, _) = scene();
        scene.ok(OWNER, vec![vouch(&[1])]);
        let newest = scene.ok(OWNER, vec![vouch(&[1, 2])]);
        assert_eq!(scene.state.packs[&name(1)].vouched, Some(newest));
        scene.void(OWNER, vec![vouch(&[77])], VoidReason::PackNotLive(name(77)));
        scene.ok(OWNER, vec![lost(&[1], &[])]);
        scene.void(OWNER, vec![vouch(&[1])], VoidReason::PackNotLive(name(1)));
    }

    #[test]
    fn what_an_earlier_record_condemned_is_swept_and_leaves_the_state() {
        let (mut scene, prune) = all_condemned();
        assert_eq!(sweepable(&scene.state), Sweepable::default());
        scene.ok(OWNER, vec![note()]);
        let ripe = Sweepable { packs: vec![name(1), name(2)], segments: vec![name(9)] };
        assert_eq!(sweepable(&scene.state), ripe);
        scene.ok(OWNER, vec![swept(&[1, 2], &[9], &[])]);
        assert_eq!(scene.state.packs.keys().collect::<Vec<_>>(), [&name(30)]);
        assert!(scene.state.segments.is_empty());
        scene.void(OWNER, vec![swept(&[1], &[], &[])], VoidReason::NotCondemned(name(1)));
        // Nor can the name come back: its run is over.
        scene.void(ALICE, vec![publish(2, &[1], vec![])], VoidReason::RunNotOpen(RunId(2)));
        scene.ok(OWNER, vec![end(prune)]);
    }

    #[test]
    fn what_is_not_condemned_before_the_record_is_not_swept() {
        let (mut scene, prune) = scene();
        for (operation, n) in [(swept(&[1], &[], &[]), 1), (swept(&[], &[9], &[]), 9), (swept(&[77], &[], &[]), 77)] {
            scene.void(OWNER, vec![operation], VoidReason::NotCondemned(name(n)));
        }
        let at_once = vec![doom_ranges(1, &[]), rewrite(prune, &[], &[1], &[]), swept(&[1], &[], &[])];
        scene.void(OWNER, at_once, VoidReason::NotCondemned(name(1)));
    }

    /// A pack of an open run was condemned and swept. Had the state forgotten its name, the run could publish
    /// the deleted pack again.
    #[test]
    fn what_an_open_run_could_publish_again_is_not_swept() {
        let (mut scene, prune) = scene();
        scene.ok(OWNER, vec![publish_segment(prune, &[50], 95), doom_ranges(50, &[])]);
        scene.ok(OWNER, vec![rewrite(prune, &[], &[50], &[95])]);
        scene.ok(OWNER, vec![note()]);
        assert_eq!(sweepable(&scene.state), Sweepable::default());
        let run = RunId(prune);
        for (operation, n) in [(swept(&[50], &[], &[]), 50), (swept(&[], &[95], &[]), 95)] {
            scene.void(OWNER, vec![operation], VoidReason::SweptOfOpenRun { name: name(n), run });
        }
        scene.void(OWNER, vec![publish(prune, &[50], vec![])], VoidReason::PackExists(name(50)));
        scene.ok(OWNER, vec![end(prune), swept(&[50], &[95], &[])]);
    }

    #[test]
    fn an_orphan_belongs_to_a_run_that_was_over_before_and_was_not_published() {
        let (mut scene, prune) = scene();
        let not_over = |run| VoidReason::RunNotOver(RunId(run));
        for run in [prune, 99] {
            scene.void(OWNER, vec![swept(&[], &[], &[(run, 70)])], not_over(run));
            assert!(!orphaned(&scene.state, RunId(run), &name(70)));
        }
        // Record 1 began no run: whatever lies in a folder of its number is nobody's.
        assert!(orphaned(&scene.state, RunId(1), &name(70)));
        scene.ok(OWNER, vec![swept(&[], &[], &[(1, 70)])]);
        scene.void(OWNER, vec![end(prune), swept(&[], &[], &[(prune, 70)])], not_over(prune));
        for n in [1, 9] {
            let reason = VoidReason::NotOrphan { name: name(n), run: RunId(2) };
            scene.void(OWNER, vec![swept(&[], &[], &[(2, n)])], reason);
            assert!(!orphaned(&scene.state, RunId(2), &name(n)));
        }
        scene.ok(OWNER, vec![end(prune)]);
        assert!(orphaned(&scene.state, RunId(2), &name(70)));
        assert!(!orphaned(&scene.state, RunId(prune), &name(70)));
        // Pack 1 of run 2 says nothing of an object of the same name in another run's folder.
        scene.ok(OWNER, vec![swept(&[], &[], &[(2, 70), (prune, 1)])]);
        assert!(orphaned(&scene.state, RunId(prune), &name(70)));
    }

    #[test]
    fn a_void_record_covers_nothing() {
        let (mut scene, _) = all_condemned();
        let condemned = scene.state.number;
        scene.fold(scene.record(ALICE, vec![end(99)]));
        assert_eq!((covered(&scene.state), sweepable(&scene.state)), (condemned, Sweepable::default()));
        scene.ok(BOB, vec![note()]);
        assert_eq!(sweepable(&scene.state).packs, [name(1), name(2)]);
    }
}
