//! What a writer asks of the state before it acts. The rules are those of the transitions.

use crate::format::state::{PackState, State};
use crate::primitives::ids::{ObjectHash, RunId};

use super::rewrite::check_condemnable;

/// Names that may be deleted now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sweepable {
    /// Condemned packs, ascending.
    pub packs: Vec<ObjectHash>,
    /// Condemned segments, ascending.
    pub segments: Vec<ObjectHash>,
}

/// The oldest open run but `run`. Looks at every run.
pub fn oldest_other_open_run(state: &State, run: RunId) -> Option<RunId> {
    state.open_runs().map(|(id, _)| id).find(|id| *id != run)
}

/// Whether a Rewrite of `run` in the next record may condemn the pack. Looks at every run; for many packs,
/// [`condemnable_packs`].
pub fn condemnable(state: &State, run: RunId, pack: &ObjectHash) -> bool {
    let oldest = oldest_other_open_run(state, run);
    state.packs.get(pack).is_some_and(|p| fits(state, run, oldest, pack, p))
}

/// All packs that a Rewrite of `run` in the next record may condemn, ascending.
pub fn condemnable_packs(state: &State, run: RunId) -> impl Iterator<Item = ObjectHash> {
    let oldest = oldest_other_open_run(state, run);
    state.packs.iter().filter(move |(name, pack)| fits(state, run, oldest, name, pack)).map(|(name, _)| *name)
}

fn fits(state: &State, run: RunId, oldest: Option<RunId>, name: &ObjectHash, pack: &PackState) -> bool {
    check_condemnable(name, pack, oldest, |of| of != run && is_open(state, of)).is_ok()
}

/// Number of the last valid record: it covers all before it. (A void one covers nothing.)
pub fn covered(state: &State) -> u64 {
    (1..=state.number).rev().find(|n| !state.void.contains(n)).unwrap_or(0)
}

/// The condemned packs and segments that may be deleted, and named by Swept in the next record.
///
/// A later valid record must cover the one that condemned them, and their run must be over.
pub fn sweepable(state: &State) -> Sweepable {
    let covered = covered(state);
    let ripe = |condemned: Option<u64>, run| condemned.is_some_and(|n| n < covered) && is_over(state, run);
    let packs = state.packs.iter().filter(|(_, p)| ripe(p.condemned, p.run));
    let segments = state.segments.iter().filter(|(_, s)| ripe(s.condemned, s.run));
    Sweepable { packs: packs.map(|(name, _)| *name).collect(), segments: segments.map(|(name, _)| *name).collect() }
}

/// Whether an object found in the run's folder may be deleted because nothing published it and nothing can.
pub fn orphaned(state: &State, run: RunId, name: &ObjectHash) -> bool {
    let settled = match state.runs.get(&run) {
        Some(known) => known.over.is_some_and(|o| o.number < covered(state)),
        None => run.0 < covered(state),
    };
    settled
        && state.packs.get(name).is_none_or(|p| p.run != run)
        && state.segments.get(name).is_none_or(|s| s.run != run)
}

fn is_open(state: &State, run: RunId) -> bool {
    state.runs.get(&run).is_some_and(|r| r.over.is_none())
}

fn is_over(state: &State, run: RunId) -> bool {
    state.runs.get(&run).is_some_and(|r| r.over.is_some())
}
