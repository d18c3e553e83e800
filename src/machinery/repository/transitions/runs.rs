//! Begin, End, Close: a run is named by the record that begins it, and over is for ever.

use crate::formats::record::{Outcome, RunKind};
use crate::formats::state::{Over, RunState};
use crate::words::ids::{KeyedTag, RunId};

use super::VoidReason;
use super::draft::Draft;

/// Begins the run whose id is the record's number. A backup credential begins runs for its own hosts only, and
/// none whose operations it could not sign.
pub(super) fn begin(draft: &mut Draft<'_>, kind: RunKind, host: KeyedTag) -> Result<(), VoidReason> {
    let run = RunId(draft.number);
    if draft.runs.has(&run) {
        return Err(VoidReason::SecondBegin(run));
    }
    if matches!(kind, RunKind::Prune | RunKind::Repair) {
        draft.owner_only("begin a prune or repair")?;
    }
    if draft.certificate().is_some_and(|c| !c.hosts.contains(&host)) {
        return Err(VoidReason::ForeignHost(draft.writer));
    }
    let (writer, began_ms) = (draft.writer, draft.time_ms);
    draft.runs.put(run, RunState { writer, kind, host, began_ms, over: None });
    Ok(())
}

/// Ends the signer's own run.
pub(super) fn end(draft: &mut Draft<'_>, run: RunId, outcome: Outcome) -> Result<(), VoidReason> {
    draft.own_open_run(run)?;
    finish(draft, run, Some(outcome))
}

/// Closes anybody's run.
pub(super) fn close(draft: &mut Draft<'_>, run: RunId) -> Result<(), VoidReason> {
    draft.owner_only("close runs")?;
    finish(draft, run, None)
}

fn finish(draft: &mut Draft<'_>, run: RunId, outcome: Option<Outcome>) -> Result<(), VoidReason> {
    let over = Over { number: draft.number, outcome };
    let open = draft.runs.edit(&run).filter(|r| r.over.is_none());
    open.ok_or(VoidReason::RunNotOpen(run))?.over = Some(over);
    Ok(())
}
