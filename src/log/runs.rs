//! Begin, End, Close: a run is named by the record that begins it, and over is for ever.

use crate::format::record::{Outcome, RunKind};
use crate::format::state::{Over, RunState};
use crate::primitives::ids::{KeyedTag, RunId};

use super::VoidReason;
use super::staged::Staged;

/// Begins the run whose id is the record's number. A backup credential begins runs for its own hosts only, and
/// none whose operations it could not sign.
pub(super) fn begin(staged: &mut Staged<'_>, kind: RunKind, host: KeyedTag) -> Result<(), VoidReason> {
    let run = RunId(staged.number);
    if staged.runs.has(&run) {
        return Err(VoidReason::SecondBegin(run));
    }
    if matches!(kind, RunKind::Prune | RunKind::Repair) {
        staged.owner_only("begin a prune or repair")?;
    }
    if staged.certificate().is_some_and(|c| !c.hosts.contains(&host)) {
        return Err(VoidReason::ForeignHost(staged.writer));
    }
    let (writer, began_ms) = (staged.writer, staged.time_ms);
    staged.runs.put(run, RunState { writer, kind, host, began_ms, over: None });
    Ok(())
}

/// Ends the signer's own run.
pub(super) fn end(staged: &mut Staged<'_>, run: RunId, outcome: Outcome) -> Result<(), VoidReason> {
    staged.own_open_run(run)?;
    finish(staged, run, Some(outcome))
}

/// Closes anybody's run.
pub(super) fn close(staged: &mut Staged<'_>, run: RunId) -> Result<(), VoidReason> {
    staged.owner_only("close runs")?;
    finish(staged, run, None)
}

fn finish(staged: &mut Staged<'_>, run: RunId, outcome: Option<Outcome>) -> Result<(), VoidReason> {
    let over = Over { number: staged.number, outcome };
    let open = staged.runs.edit(&run).filter(|r| r.over.is_none());
    open.ok_or(VoidReason::RunNotOpen(run))?.over = Some(over);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::{Over, RunId, RunKind, RunState, VoidReason};
    use crate::format::record::Outcome::{Complete, Crashed};

    #[test]
    fn a_run_is_named_by_its_record_and_over_is_for_ever() {
        let mut scene = Scene::new();
        let run = scene.ok(ALICE, vec![note(), begin(RunKind::Backup, 1)]);
        let state = |scene: &Scene| scene.state.runs[&RunId(run)].clone();
        let open = RunState { writer: ALICE.id(), kind: RunKind::Backup, host: tag(1), began_ms: 1_000, over: None };
        assert_eq!(state(&scene), open);
        let number = scene.ok(ALICE, vec![end(run)]);
        assert_eq!(state(&scene).over, Some(Over { number, outcome: Some(Complete) }));
        for (writer, operation) in [(ALICE, end(run)), (OWNER, close(run)), (ALICE, publish(run, &[1], vec![]))] {
            scene.void(writer, vec![operation], VoidReason::RunNotOpen(RunId(run)));
        }
    }

    #[test]
    fn only_its_writer_ends_a_run_and_only_the_owner_closes_it() {
        let mut scene = Scene::new();
        let run = scene.ok(ALICE, vec![begin(RunKind::Backup, 1)]);
        scene.void(BOB, vec![end(run)], VoidReason::RunOfAnother(RunId(run)));
        scene.void(OWNER, vec![end(run)], VoidReason::RunOfAnother(RunId(run)));
        let refused = VoidReason::NotAllowed { writer: ALICE.id(), what: "close runs" };
        scene.void(ALICE, vec![close(run)], refused);
        scene.void(OWNER, vec![close(99)], VoidReason::RunNotOpen(RunId(99)));
        let number = scene.ok(OWNER, vec![close(run)]);
        assert_eq!(scene.state.runs[&RunId(run)].over, Some(Over { number, outcome: None }));
    }

    #[test]
    fn a_record_begins_one_run() {
        let mut scene = Scene::new();
        let next = RunId(scene.state.number + 1);
        let twice = vec![begin(RunKind::Backup, 1), begin(RunKind::Backup, 1)];
        scene.void(ALICE, twice, VoidReason::SecondBegin(next));
        let next = scene.state.number + 1;
        let after = vec![begin(RunKind::Backup, 1), end(next), begin(RunKind::Backup, 1)];
        scene.void(ALICE, after, VoidReason::SecondBegin(RunId(next)));
    }

    #[test]
    fn a_publish_before_the_begin_of_its_run_is_void_and_after_it_valid() {
        let mut scene = Scene::new();
        let next = scene.state.number + 1;
        let before = vec![publish(next, &[1], vec![]), begin(RunKind::Backup, 1)];
        scene.void(ALICE, before, VoidReason::RunNotOpen(RunId(next)));
        let next = scene.state.number + 1;
        scene.ok(ALICE, vec![begin(RunKind::Backup, 1), publish(next, &[1], vec![]), end(next)]);
    }

    #[test]
    fn a_backup_credential_begins_backups_of_its_own_hosts() {
        let mut scene = Scene::new();
        scene.void(ALICE, vec![begin(RunKind::Backup, 2)], VoidReason::ForeignHost(ALICE.id()));
        for kind in [RunKind::Prune, RunKind::Repair] {
            let reason = VoidReason::NotAllowed { writer: ALICE.id(), what: "begin a prune or repair" };
            scene.void(ALICE, vec![begin(kind, 1)], reason);
            scene.ok(OWNER, vec![begin(kind, 77)]);
        }
        scene.ok(ALICE, vec![begin(RunKind::Copy, 1)]);
    }

    /// A revoked machine cannot end its run; the owner can.
    #[test]
    fn the_run_of_a_revoked_credential_stays_open_until_it_is_closed() {
        let mut scene = Scene::new();
        let run = scene.ok(ALICE, vec![begin(RunKind::Backup, 1)]);
        scene.ok(OWNER, vec![revoke(ALICE, 1)]);
        let crashed = crate::format::record::Operation::End { run: RunId(run), outcome: Crashed, description: text() };
        scene.void(ALICE, vec![crashed], VoidReason::RevokedWriter(ALICE.id()));
        assert!(scene.state.open_runs().any(|(id, _)| id == RunId(run)));
        scene.ok(OWNER, vec![close(run)]);
    }
}
