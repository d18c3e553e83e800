//! Repair: what is damaged or gone is replaced as far as the rest of the repository can tell it.
//!
//! Segments are written anew from the packs whose directories they held. Of packs that are damaged, what can still be
//! read moves to new ones, and chunks that are gone are filled in from equal chunks that other backups stored. What
//! then is still missing is said in the log: the packs are lost, and the snapshots that need them have holes. Nothing is
//! deleted. A later repair fills what later backups have brought back.

pub mod branches;
mod drop_lost;
pub mod found;
mod salvage;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::format::description::{Figures, RunDescription};
use crate::format::names;
use crate::format::record::{Operation, Outcome, RunKind};
use crate::format::state::DirectoryHome;
use crate::primitives::error_chain::error_chain;
use crate::primitives::ids::{ObjectHash, SnapshotId};
use crate::primitives::progress::{Observer, Severity};
use crate::repository::write::rewrite::PerhapsRewriting;
use crate::repository::write::run::run_description;
use crate::repository::{Repository, RepositoryError};

use super::prune::Marks;
use super::verify::{BadObject, Finding, VerifyDepth, affected, survey};

pub use drop_lost::Dropped;

/// How to repair.
#[derive(Debug, Clone)]
pub struct RepairOptions {
    /// Reads everything, to find all damage; else only what is missing or has another length is found.
    pub read_data: bool,
    /// Rewrites snapshots that still have holes without the files that are lost.
    pub drop_lost: bool,
    /// Declares lost what is gone, even if it is not known whether the bucket has older versions of it.
    pub ignore_versions: bool,
    /// Only says what is damaged.
    pub dry_run: bool,
    /// This machine, as the run names it.
    pub host: String,
    /// What was asked, as the run keeps it.
    pub command: String,
}

impl RepairOptions {
    fn depth(&self) -> VerifyDepth {
        if self.read_data { VerifyDepth::ReadData } else { VerifyDepth::Structure }
    }
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct RepairReport {
    /// Objects that somebody deleted, and that a bucket with versions still had.
    pub brought_back: Vec<String>,
    /// Packs that were declared lost and are there again, sound.
    pub found: Vec<ObjectHash>,
    /// What was damaged, and what it hurts.
    pub findings: Vec<Finding>,
    /// Packs whose directories were written anew.
    pub directories: u64,
    /// Chunks that moved out of damaged packs.
    pub saved: u64,
    /// Chunks that were filled in from equal ones.
    pub filled: u64,
    /// Packs that were declared lost.
    pub lost: Vec<ObjectHash>,
    /// Snapshots that have holes now.
    pub damaged: Vec<SnapshotId>,
    /// Snapshots that had holes and are whole again.
    pub healed: Vec<SnapshotId>,
    /// Snapshots that were rewritten without what is lost.
    pub dropped: Vec<Dropped>,
    /// Number of the record that a new checkpoint stands for.
    pub checkpoint: Option<u64>,
}

/// Repairs.
pub fn repair(
    repository: &Arc<Repository>,
    options: &RepairOptions,
    observer: &dyn Observer,
) -> Result<RepairReport, RepositoryError> {
    repository.master_for("repair")?;
    let mut report = RepairReport::default();
    if !options.dry_run {
        repository.check_undoubted()?;
        repository.check_may_write()?;
        repository.resume_runs(observer)?;
    }
    let unasked = bring_back(repository, options, &mut report, observer)?;
    repository.refresh()?;
    report.found = found::lost_and_there(repository, observer)?;
    if options.dry_run {
        let (found, bad) = survey(repository, options.depth(), observer)?;
        report.findings = affected(repository, &bad, found, observer)?.findings;
        report.damaged = damaged_snapshots(repository).into_iter().collect();
        return Ok(report);
    }
    report.found = found::take_in(repository, &report.found)?;
    let described = run_description(&options.host, &options.command);
    let mut run = PerhapsRewriting::new(repository, RunKind::Repair, &described);
    mend(repository, options, &mut run, unasked, &mut report, observer)?;
    if let Some(run) = run.begun() {
        let figures = Figures { bytes_stored: run.bytes_stored, ..Figures::default() };
        let outcome = if report.damaged.is_empty() { Outcome::Complete } else { Outcome::Warnings };
        run.end(outcome, &RunDescription { figures, ..described.clone() })?;
    }
    if options.drop_lost {
        report.dropped = drop_lost::drop_lost(repository, options, &described, observer)?;
        let gone: HashSet<SnapshotId> = report.dropped.iter().map(|d| d.old).collect();
        report.damaged.retain(|id| !gone.contains(id));
    }
    let checkpoints: Vec<&Finding> =
        report.findings.iter().filter(|f| f.object.starts_with(names::CHECKPOINT)).collect();
    if !checkpoints.is_empty() {
        for finding in checkpoints {
            repository.store.delete(&finding.object)?;
        }
        report.checkpoint = Some(repository.write_checkpoint()?);
    }
    Ok(report)
}

/// Replaces directories and chunks, and says in the log what cannot be replaced. `unasked` says why older versions of
/// missing objects are not known, if they are not.
fn mend(
    repository: &Arc<Repository>,
    options: &RepairOptions,
    run: &mut PerhapsRewriting<'_>,
    unasked: Option<String>,
    report: &mut RepairReport,
    observer: &dyn Observer,
) -> Result<(), RepositoryError> {
    let (mut found, mut bad) = survey(repository, options.depth(), observer)?;
    // First what leads to everything else.
    if !bad.segments.is_empty() {
        report.findings.extend(found.findings.iter().filter(|f| f.object.starts_with(names::INDEX)).cloned());
        report.directories = rebuild_segments(repository, run, &bad, observer)?;
        (found, bad) = survey(repository, options.depth(), observer)?;
    }
    let unknown = unknown_packs(repository)?;
    let nothing_lost = bad.touched.is_empty() && unknown.is_empty();
    // To be lost is for ever.
    if let Some(why) = unasked.filter(|_| !options.ignore_versions && !nothing_lost) {
        let what = format!(
            "packs are missing or damaged, and whether the bucket has older versions of them is not known, so nothing was \
             declared lost ({why}); see to that first, or give them up with --ignore-versions"
        );
        return Err(RepositoryError::NotAllowed { what });
    }
    let before = affected(repository, &bad, found, observer)?;
    let damaged_before = damaged_snapshots(repository);
    if !nothing_lost || !damaged_before.is_empty() {
        repository.sync_content(true)?;
        let mut marks = Marks::default();
        marks.mark_despite_holes(repository, observer)?;
        if !nothing_lost {
            run.get()?;
        }
        (report.saved, report.filled) = salvage::heal(repository, run, &bad, &marks, observer)?;
        run.commit()?;
        settle(repository, &bad, &unknown, &damaged_before, report, observer)?;
    }
    report.findings.extend(before.findings);
    Ok(())
}

/// Snapshots of which the log says that data is missing.
fn damaged_snapshots(repository: &Repository) -> BTreeSet<SnapshotId> {
    repository.state().snapshots.iter().filter(|(_, s)| s.damaged).map(|(id, _)| *id).collect()
}

/// Makes current again what a bucket with versions still has. Returns why that is not known, if it is not.
fn bring_back(
    repository: &Repository,
    options: &RepairOptions,
    report: &mut RepairReport,
    observer: &dyn Observer,
) -> Result<Option<String>, RepositoryError> {
    let back = match super::versions::bring_back(repository, options.dry_run) {
        Ok(back) => back,
        Err(RepositoryError::Store(e)) => return Ok(Some(error_chain(&e))),
        Err(e) => return Err(e),
    };
    report.brought_back = back.names;
    for (name, why) in &back.refused {
        observer.finding(
            Severity::Warning,
            &format!("{name} was deleted, the bucket still has it, and it stays so: {why}"),
        );
    }
    Ok(back.refused.first().map(|(name, why)| format!("{name}: {why}")))
}

/// Writes the directories of packs anew whose segments cannot be read. Returns how many.
fn rebuild_segments(
    repository: &Arc<Repository>,
    run: &mut PerhapsRewriting<'_>,
    bad: &BadObject,
    observer: &dyn Observer,
) -> Result<u64, RepositoryError> {
    let state = repository.state();
    let homes: HashSet<DirectoryHome> = bad.segments.iter().map(|s| DirectoryHome::Segment(*s)).collect();
    let mut count = 0;
    for (name, pack) in state.packs.iter().filter(|(_, p)| p.live() && homes.contains(&p.home)) {
        match repository.summary_of_pack(name, pack) {
            Ok(summary) => {
                run.get()?.recover_directory(summary);
                count += 1;
            }
            Err(e) if e.is_damage() => {
                let text = format!("{e}: and the segment with its directory cannot be read either");
                observer.finding(Severity::Warning, &text);
            }
            Err(e) => return Err(e),
        }
    }
    run.commit()?;
    Ok(count)
}

/// Live packs that can neither be found through a segment nor be read themselves.
fn unknown_packs(repository: &Repository) -> Result<Vec<ObjectHash>, RepositoryError> {
    let (state, known) = (repository.state(), repository.cache().known_packs()?);
    let mut unknown = Vec::new();
    for (name, pack) in state.packs.iter().filter(|(name, p)| p.live() && !known.contains(*name)) {
        match repository.summary_of_pack(name, pack) {
            // It is there: nothing of it is lost, and a later repair finds its directory a place.
            Ok(_) => {}
            Err(e) if e.is_damage() => unknown.push(*name),
            Err(e) => return Err(e),
        }
    }
    Ok(unknown)
}

/// Says in the log which packs are lost, which snapshots have holes, and which are whole again.
fn settle(
    repository: &Arc<Repository>,
    bad: &BadObject,
    unknown: &[ObjectHash],
    damaged_before: &BTreeSet<SnapshotId>,
    report: &mut RepairReport,
    observer: &dyn Observer,
) -> Result<(), RepositoryError> {
    let mut lost: BTreeSet<ObjectHash> = unknown.iter().copied().collect();
    for row in bad.touched.keys() {
        lost.extend(repository.cache().pack(*row)?.map(|p| p.name));
    }
    // Whole packs: what was sound in them is elsewhere now.
    let gone = BadObject { packs: bad.touched.clone(), ..BadObject::default() };
    let mut looked: Option<(BTreeSet<SnapshotId>, BTreeSet<ObjectHash>, BTreeSet<SnapshotId>)> = None;
    repository.append(&mut |state| {
        let all: BTreeSet<SnapshotId> = state.snapshots.keys().copied().collect();
        let live: BTreeSet<ObjectHash> = state.packs.iter().filter(|(_, p)| p.live()).map(|(name, _)| *name).collect();
        // The list must be complete for the state before the record: it is made again if there is a new snapshot, or if a
        // prune has condemned the other place of what is lost here.
        if looked.as_ref().is_none_or(|(snapshots, packs, _)| *snapshots != all || *packs != live) {
            let findings = affected(repository, &gone, fake(&gone), observer)?.findings;
            let damaged = findings.iter().flat_map(|f| f.affects.iter().map(|(id, ..)| *id)).collect();
            looked = Some((all.clone(), live, damaged));
        }
        let damaged = &looked.as_ref().expect("set just now").2;
        let packs: Vec<ObjectHash> =
            lost.iter().filter(|n| state.packs.get(*n).is_some_and(|p| p.live())).copied().collect();
        report.healed =
            damaged_before.iter().filter(|id| all.contains(*id) && !damaged.contains(*id)).copied().collect();
        report.damaged = damaged.iter().copied().collect();
        report.lost = packs.clone();
        let mut operations = Vec::new();
        if !packs.is_empty() || damaged.iter().any(|id| !damaged_before.contains(id)) {
            operations.push(Operation::Lost { packs, damaged: report.damaged.clone() });
        }
        if !report.healed.is_empty() {
            operations.push(Operation::Healed { snapshots: report.healed.clone() });
        }
        Ok(operations)
    })?;
    Ok(())
}

/// A report with as many findings as `bad` counts on.
fn fake(bad: &BadObject) -> super::verify::VerifyReport {
    let count = bad.packs.values().max().map_or(0, |n| n + 1);
    let finding = Finding { object: "pack".to_owned(), what: String::new(), affects: Vec::new() };
    super::verify::VerifyReport { findings: vec![finding; count], ..Default::default() }
}
