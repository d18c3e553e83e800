//! Prune: what no live snapshot needs goes, while others back up and restore.
//!
//! Marks what live snapshots need, plans, says in the log what is dead (Doom), moves what is needed of packs that go into
//! new ones and condemns the old (Rewrite), deletes what an earlier record condemned and says so (Swept), and leaves a
//! checkpoint where newcomers start. It may be cut off anywhere: what it has done counts, and the next one goes on.

pub mod plan;
mod rewrite;
mod sweep;
mod usage;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::format::description::{Figures, RunDescription};
use crate::format::names::ObjectName;
use crate::format::record::{DoomedPack, Operation, Outcome, RunKind};
use crate::format::state::{DirectoryHome, State};
use crate::log::condemnable_packs;
use crate::primitives::error_chain::error_chain;
use crate::primitives::ids::{ObjectHash, RunId};
use crate::primitives::progress::{Observer, Severity, Unit};
use crate::repository::inventory::all_objects;
use crate::repository::write::packer::PackerThreads;
use crate::repository::write::run::run_description;
use crate::repository::{Repository, RepositoryError};
use crate::store::{Listed, RequestCounts};

pub use super::reachable::Marks;
use super::versions::{Noncurrent, noncurrent};
use plan::{MaxUnused, Plan, plan};
pub use sweep::Swept;
use usage::Packs;

/// How much may stay unused if nobody says otherwise: see `docs/PERFORMANCE.md`.
pub const MAX_UNUSED: MaxUnused = MaxUnused::Part(0.05);
/// A run that has done nothing for so long may be closed, in milliseconds: seven days.
pub const SILENT_MS: i64 = 7 * 24 * 3600 * 1000;
/// Ranges of dead chunks that one record names.
const RANGES_PER_RECORD: usize = 50_000;
/// When so many packs have their directories inside records, those are gathered into a segment.
const INLINE_MANY: usize = 16;
/// A checkpoint is written when the log has grown by so many records, or when something was rewritten.
const CHECKPOINT_EVERY: u64 = 32;

/// How to prune.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// How much may stay unused.
    pub max_unused: MaxUnused,
    /// What was condemned less than this ago is not deleted yet, in milliseconds by the store's clock.
    pub grace_ms: i64,
    /// On a bucket with versions, also removes for good what was deleted and nothing needs.
    pub remove_noncurrent: bool,
    /// Only plans.
    pub dry_run: bool,
    /// This machine, as the run names it.
    pub host: String,
    /// What was asked, as the run keeps it.
    pub command: String,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            max_unused: MAX_UNUSED,
            grace_ms: 0,
            remove_noncurrent: false,
            dry_run: false,
            host: String::new(),
            command: String::new(),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct PruneReport {
    /// What was planned.
    pub plan: Plan,
    /// Snapshots whose content stays.
    pub snapshots: u64,
    /// Chunks and nodes that they need.
    pub needed: (u64, u64),
    /// Objects and bytes in the store before.
    pub before: (u64, u64),
    /// Objects and bytes in the store afterwards.
    pub after: (u64, u64),
    /// Packs condemned by this prune.
    pub condemned: u64,
    /// Bytes read from packs that were rewritten.
    pub bytes_read: u64,
    /// Bytes of new packs and segments.
    pub bytes_written: u64,
    /// What was deleted, or would be.
    pub swept: Swept,
    /// Runs that were silent and are closed now.
    pub closed: Vec<RunId>,
    /// Open runs that keep packs from going.
    pub open: Vec<RunId>,
    /// Packs that were vouched for.
    pub vouched: u64,
    /// Chunks and nodes that snapshots need and that are nowhere.
    pub missing: u64,
    /// What could not be read and was left as it is.
    pub damaged: Vec<String>,
    /// Number of the record that the new checkpoint stands for.
    pub checkpoint: Option<u64>,
    /// What the bucket keeps of what was deleted, if it keeps versions.
    pub noncurrent: Option<Noncurrent>,
    /// Why that is not known.
    pub noncurrent_unknown: Option<String>,
    /// Requests made.
    pub requests: RequestCounts,
}

impl PruneReport {
    /// Whether something was left undone that should have been done.
    pub fn has_problems(&self) -> bool {
        let kept = self.noncurrent.as_ref().is_some_and(|n| !n.refused.is_empty() || !n.needed.is_empty());
        !self.damaged.is_empty() || !self.swept.refused.is_empty() || self.missing > 0 || kept
    }
}

/// Prunes.
pub fn prune(
    repository: &Arc<Repository>,
    options: &PruneOptions,
    observer: &dyn Observer,
) -> Result<PruneReport, RepositoryError> {
    repository.master_for("prune")?;
    if options.remove_noncurrent && repository.store.is_remote() && repository.store.versions().is_none() {
        let what = "this kind of store is not asked for versions: leave out --remove-noncurrent".to_owned();
        return Err(RepositoryError::NotAllowed { what });
    }
    let requests_before = repository.store.requests();
    repository.check_undoubted()?;
    let mut report = PruneReport::default();
    if !options.dry_run {
        repository.check_may_write()?;
        repository.resume_runs(observer)?;
    }
    observer.phase("listing", None, Unit::Items);
    let listed = all_objects(&*repository.store)?.0;
    observer.advance(listed.len() as u64);
    report.before = (listed.len() as u64, listed.iter().map(|l| l.size).sum());
    close_silent(repository, &listed, options.dry_run, &mut report)?;

    let Marked { mut marks, state, packs, mut uses } = marked_whole(repository, observer)?;
    let mut missing = 0;
    if state.snapshots.values().any(|s| s.damaged) {
        marks.mark(repository, observer)?;
        (uses, missing) = usage::usage(repository, &state, &packs, &marks)?;
    }
    (report.snapshots, report.needed, report.missing) = (marks.snapshots.len() as u64, marks.counts(), missing);
    if missing > 0 {
        let text = format!(
            "{missing} chunks or nodes of damaged snapshots are missing; `strongroom repair` recovers them where other copies exist"
        );
        observer.finding(Severity::Warning, &text);
    }
    report.plan = plan(&uses, options.max_unused, u64::from(repository.config.parameters.pack_len));
    report.open = state.open_runs().map(|(id, _)| id).collect();
    if options.dry_run {
        report.swept = sweep::sweep(repository, &listed, options.grace_ms, true, observer)?;
        let gone = report.plan.deleted.packs + report.plan.rewritten.packs + report.swept.objects;
        let bytes = (report.before.1 + report.plan.written_bytes)
            .saturating_sub(report.plan.deleted.bytes + report.plan.rewritten.bytes + report.swept.bytes);
        report.after = (report.before.0.saturating_sub(gone), bytes);
        look_at_versions(repository, options, &mut report, observer)?;
        report.requests = repository.store.requests().since(&requests_before);
        return Ok(report);
    }
    let changed = execute(repository, options, &packs, &mut marks, &mut report, observer)?;
    report.vouched = vouch(repository, &marks)?;
    // What this prune condemned is covered by its End; what it made since the listing is not in it.
    let listed = if changed { all_objects(&*repository.store)?.0 } else { listed };
    report.swept = sweep::sweep(repository, &listed, options.grace_ms, false, observer)?;
    report.checkpoint = checkpoint(repository, &listed, changed || report.swept.objects > 0)?;
    let there: (u64, u64) = (listed.len() as u64, listed.iter().map(|l| l.size).sum());
    report.after = (there.0 - report.swept.objects, there.1 - report.swept.bytes);
    look_at_versions(repository, options, &mut report, observer)?;
    report.requests = repository.store.requests().since(&requests_before);
    Ok(report)
}

/// What snapshots without holes need, and how much of each pack that is.
struct Marked {
    marks: Marks,
    state: Arc<State>,
    packs: Packs,
    uses: Vec<plan::PackUse>,
}

/// So often everything is marked again because others changed the repository meanwhile.
const MARKS_MAX: usize = 8;

/// Marks. Something that is missing is an error, unless somebody has forgotten what needs it meanwhile.
fn marked_whole(repository: &Arc<Repository>, observer: &dyn Observer) -> Result<Marked, RepositoryError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let (before, mut marks) = (repository.state().number, Marks::default());
        marks.mark_whole(repository, observer)?;
        let state = repository.refresh()?;
        let packs = Packs::find(repository, &state, None)?;
        let (uses, missing) = usage::usage(repository, &state, &packs, &marks)?;
        if missing == 0 {
            return Ok(Marked { marks, state, packs, uses });
        }
        if tries == MARKS_MAX || repository.refresh_by_name()?.number == before {
            // What is dead may be what makes them whole again.
            let name = format!("something that snapshots need ({missing} chunks; nothing was pruned)");
            return Err(RepositoryError::Missing { name });
        }
    }
}

/// Says what noncurrent versions cost, and removes them if that was asked for. Not to know is no failure then only.
fn look_at_versions(
    repository: &Repository,
    options: &PruneOptions,
    report: &mut PruneReport,
    observer: &dyn Observer,
) -> Result<(), RepositoryError> {
    match noncurrent(repository, options.remove_noncurrent && !options.dry_run, observer) {
        Ok(kept) => report.noncurrent = kept,
        Err(RepositoryError::Store(e)) if !options.remove_noncurrent => {
            report.noncurrent_unknown = Some(error_chain(&e));
        }
        Err(e) => return Err(e),
    }
    for (name, why) in report.noncurrent.iter().flat_map(|n| &n.refused) {
        observer.finding(Severity::Warning, &format!("could not delete old versions of {name}: {why}"));
    }
    if let Some(n) = report.noncurrent.as_ref().map(|n| n.overwritten).filter(|n| *n > 0) {
        let text = format!("objects that were overwritten, which nobody may do: {n}; older versions of them are kept");
        observer.finding(Severity::Warning, &text);
    }
    if let Some(first) = report.noncurrent.as_ref().and_then(|n| n.needed.first()) {
        let text =
            format!("{first} is needed, and somebody deleted it: the bucket still has it, and `repair` brings it back");
        observer.finding(Severity::Warning, &text);
    }
    Ok(())
}

/// Dooms, rewrites and condemns; says whether there was anything to do.
fn execute(
    repository: &Arc<Repository>,
    options: &PruneOptions,
    packs: &Packs,
    marks: &mut Marks,
    report: &mut PruneReport,
    observer: &dyn Observer,
) -> Result<bool, RepositoryError> {
    let going: Vec<ObjectHash> = report.plan.delete.iter().chain(&report.plan.rewrite).copied().collect();
    let doomed = to_doom(repository, packs, marks, &going, &report.plan.wait)?;
    let state = repository.state();
    let inline = state.packs.values().filter(|p| p.condemned.is_none() && matches!(p.home, DirectoryHome::Record(_)));
    let gather = inline.count() >= INLINE_MANY;
    if going.is_empty() && doomed.is_empty() && !gather {
        return Ok(false);
    }
    let described = run_description(&options.host, &options.command);
    let mut run = repository.begin_rewriting(RunKind::Prune, &options.host, &described, PackerThreads::default())?;
    for part in doom_records(doomed) {
        repository.append(&mut |state| {
            let live = |d: &&DoomedPack| state.packs.get(&d.pack).is_some_and(|p| p.condemned.is_none());
            Ok(vec![Operation::Doom { packs: part.iter().filter(live).cloned().collect() }])
        })?;
    }
    // A run that began between the plan and the Doom makes some of them wait.
    let may: std::collections::HashSet<ObjectHash> = condemnable_packs(&repository.state(), run.id()).collect();
    let only = |names: &[ObjectHash]| names.iter().filter(|n| may.contains(*n)).copied().collect::<Vec<_>>();
    let (delete, rewrite) = (only(&report.plan.delete), only(&report.plan.rewrite));
    let total = rewrite.iter().filter_map(|n| packs.get(n)).map(|k| k.place.len).sum();
    observer.phase("rewriting", Some(total), Unit::Bytes);
    let mut work =
        rewrite::Work { repository, packs, marks, observer, bytes_read: 0, damaged: Vec::new(), condemned: Vec::new() };
    let done = work.run(&mut run, &delete, &rewrite);
    (report.bytes_read, report.condemned) = (work.bytes_read, work.condemned.len() as u64);
    report.damaged = std::mem::take(&mut work.damaged);
    report.bytes_written = run.bytes_stored;
    let outcome = match &done {
        Ok(()) if report.damaged.is_empty() => Outcome::Complete,
        Ok(()) => Outcome::Partial,
        Err(RepositoryError::Interrupted) => Outcome::Partial,
        // Perhaps the store is away: then this fails too, and a later run ends it.
        Err(_) => Outcome::Failed,
    };
    let figures = Figures { bytes_read: report.bytes_read, bytes_stored: report.bytes_written, ..Figures::default() };
    let ended = run.end(outcome, &RunDescription { figures, findings: report.damaged.clone(), ..described });
    done?;
    ended?;
    Ok(true)
}

/// What is to be said dead: of packs that go now unless that was said before, and of those that wait.
fn to_doom(
    repository: &Repository,
    packs: &Packs,
    marks: &Marks,
    going: &[ObjectHash],
    wait: &[ObjectHash],
) -> Result<Vec<DoomedPack>, RepositoryError> {
    let state = repository.state();
    let open = state.open_runs().next().is_some();
    let mut doomed = Vec::new();
    for name in going {
        // With others open, a pack goes by what was said before they began: a new Doom would make it wait again.
        if open && state.packs.get(name).is_some_and(|p| p.doom.is_some()) {
            continue;
        }
        let new = usage::dead(repository, packs, marks, name)?;
        if !says_the_same(&state, &new) {
            doomed.push(new);
        }
    }
    for name in wait {
        let new = usage::dead(repository, packs, marks, name)?;
        if !says_the_same(&state, &new) {
            doomed.push(new);
        }
    }
    Ok(doomed)
}

fn says_the_same(state: &State, new: &DoomedPack) -> bool {
    let Some(old) = state.packs.get(&new.pack).and_then(|p| p.doom.as_ref()) else { return false };
    let plain = |ranges: &Vec<(u32, u32, u64)>| {
        let mut out: Vec<(u32, u32)> = Vec::new();
        for (first, count, _) in ranges {
            match out.last_mut() {
                Some((from, len)) if *from + *len == *first => *len += count,
                _ => out.push((*first, *count)),
            }
        }
        out
    };
    let old: BTreeMap<_, _> = old.dead.iter().map(|(block, ranges)| (*block, plain(ranges))).collect();
    let new: BTreeMap<_, _> = new.dead.iter().map(|d| (d.block, d.ranges.clone())).collect();
    old == new
}

fn doom_records(doomed: Vec<DoomedPack>) -> Vec<Vec<DoomedPack>> {
    let mut records: Vec<Vec<DoomedPack>> = Vec::new();
    let mut ranges = usize::MAX;
    for pack in doomed {
        let own = 1 + pack.dead.iter().map(|d| d.ranges.len()).sum::<usize>();
        if ranges.saturating_add(own) > RANGES_PER_RECORD {
            records.push(Vec::new());
            ranges = 0;
        }
        ranges += own;
        records.last_mut().expect("pushed just now").push(pack);
    }
    records
}

/// Closes runs that neither wrote a record nor an object for long, by the store's clock.
fn close_silent(
    repository: &Repository,
    listed: &[Listed],
    dry_run: bool,
    report: &mut PruneReport,
) -> Result<(), RepositoryError> {
    let state = repository.state();
    let mut last: HashMap<RunId, i64> = HashMap::new();
    let mut newest_ms = 0;
    for object in listed {
        newest_ms = newest_ms.max(object.modified_ms);
        let run = match ObjectName::parse(&object.name) {
            Some(ObjectName::Pack(_, run, _) | ObjectName::Segment(run, _)) => run,
            Some(ObjectName::Record(number)) => RunId(number),
            _ => continue,
        };
        let at = last.entry(run).or_insert(object.modified_ms);
        *at = (*at).max(object.modified_ms);
    }
    for (run, _) in state.open_runs() {
        if last.get(&run).is_none_or(|at| newest_ms - at < SILENT_MS) {
            continue;
        }
        report.closed.push(run);
    }
    if dry_run || report.closed.is_empty() {
        return Ok(());
    }
    let silent = report.closed.clone();
    repository.append(&mut |state| {
        let open = |run: &&RunId| state.runs.get(run).is_some_and(|r| r.over.is_none());
        Ok(silent.iter().filter(open).map(|run| Operation::Close { run: *run }).collect())
    })?;
    Ok(())
}

/// Vouches for packs of nodes of which every frame was opened while marking.
fn vouch(repository: &Repository, marks: &Marks) -> Result<u64, RepositoryError> {
    let state = repository.state();
    let mut sound = Vec::new();
    for (name, pack) in state.packs.iter().filter(|(_, p)| p.live() && p.vouched.is_none()) {
        if repository.is_owners(&state, pack) {
            continue;
        }
        let Some(place) = repository.cache().pack_by_name(name)? else { continue };
        let frames = repository.cache().frames(place.row)?;
        if !frames.is_empty() && frames.iter().all(|f| marks.opened.contains(&f.row)) {
            sound.push(*name);
        }
    }
    repository.vouch(&sound)
}

/// Writes a checkpoint if that is worth its while.
fn checkpoint(repository: &Repository, listed: &[Listed], changed: bool) -> Result<Option<u64>, RepositoryError> {
    let number = |l: &Listed| match ObjectName::parse(&l.name) {
        Some(ObjectName::Checkpoint(number)) => Some(number),
        _ => None,
    };
    // One of a later record than the last belongs to a history that the owner gave up.
    let end = repository.state().number;
    let newest = listed.iter().filter_map(number).filter(|n| *n <= end).max().unwrap_or(0);
    let grown = end - newest;
    match changed || grown >= CHECKPOINT_EVERY {
        true if grown > 0 => repository.write_checkpoint().map(Some),
        _ => Ok(None),
    }
}
