//! Verify: whether everything would come back.
//!
//! * keyless: every object's bytes against its name or checksum, without any key
//! * structure: the whole log replayed, every snapshot's tree walked, every block located
//! * read-data: all that, and every pack opened and every id recomputed
//!
//! Each finding names the object and the snapshots and files that it hurts.

mod data;
mod keyless;
mod objects;
mod trees;

use std::sync::Arc;

use crate::log::Verdict;
use crate::primitives::ids::{ObjectHash, SnapshotId};
use crate::primitives::progress::{Observer, Severity, Unit};
use crate::repository::{Repository, RepositoryError};

pub use keyless::verify_keyless;
pub(super) use objects::BadObject;

/// Which packs to read: those that were read longest ago first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Part {
    /// All of them.
    All,
    /// This part of their bytes: 0.05 is a twentieth.
    Share(f64),
    /// So many bytes.
    Bytes(u64),
    /// The n-th of so many groups, by their names; n counts from 1.
    Group {
        /// Which.
        n: u64,
        /// Of how many.
        of: u64,
    },
}

/// How deep to look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum VerifyDepth {
    /// Log, trees, locations, and that every object is there with its length.
    Structure,
    /// Everything is read, opened and recomputed.
    ReadData,
    /// Some of it is, and no more than can be done in so many milliseconds.
    ReadPart(Part, Option<i64>),
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The object, or what was looked for.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// Snapshots it hurts, each with the first few paths and how many there are.
    pub affects: Vec<(SnapshotId, Vec<String>, u64)>,
}

/// What came of a verification.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// Records replayed.
    pub records: u64,
    /// Void records: number and why.
    pub void: Vec<(u64, String)>,
    /// Snapshots walked.
    pub snapshots: u64,
    /// Files found in them, equal ones counted once.
    pub files: u64,
    /// Objects looked at.
    pub objects: u64,
    /// Bytes read from the store.
    pub bytes_read: u64,
    /// Packs that were read and found sound.
    pub sound: Vec<ObjectHash>,
    /// Objects that could not be read because they are in an archive class.
    pub archived: Vec<String>,
    /// Live packs that were to be read or not.
    pub packs: u64,
    /// Objects that nothing names: of runs that are open, or to be swept by the next prune.
    pub unnamed: u64,
    /// What is wrong. Empty: everything would come back, as far as was looked.
    pub findings: Vec<Finding>,
}

impl VerifyReport {
    /// Adds a finding; returns its number.
    fn find(&mut self, object: impl Into<String>, what: impl Into<String>) -> usize {
        self.findings.push(Finding { object: object.into(), what: what.into(), affects: Vec::new() });
        self.findings.len() - 1
    }

    fn find_error(&mut self, error: &RepositoryError) -> usize {
        match error {
            RepositoryError::Damaged { name, cause } | RepositoryError::Newer { name, cause } => {
                self.find(name.clone(), cause.to_string())
            }
            RepositoryError::Missing { name } => self.find(name.clone(), "it is missing"),
            RepositoryError::Store(crate::store::StoreError::Missing { name }) => {
                self.find(name.clone(), "it is missing")
            }
            e => self.find("the repository", e.to_string()),
        }
    }
}

/// Verifies the repository.
pub fn verify(
    repository: &Arc<Repository>,
    depth: VerifyDepth,
    observer: &dyn Observer,
) -> Result<VerifyReport, RepositoryError> {
    let (mut report, bad) = survey(repository, depth, observer)?;
    trees::check(repository, depth, &bad, &mut report, observer)?;
    if !report.findings.is_empty() {
        // What is gone must not be deduplicated against tonight because it was there this morning.
        repository.distrust_listing()?;
    }
    Ok(report)
}

/// Remembers in the log which packs were read and found sound, so that the next verification begins with others. Only the
/// owner can; returns whether it was done.
pub fn remember(repository: &Repository, report: &VerifyReport) -> Result<bool, RepositoryError> {
    if repository.keys.master().is_none() || report.sound.is_empty() {
        return Ok(false);
    }
    repository.vouch(&report.sound)?;
    Ok(true)
}

/// How much of a repository was read by verifications that are remembered, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coverage {
    /// Live packs.
    pub packs: u64,
    /// Those that were never read since they were written.
    pub never: u64,
    /// When the one was read that was read longest ago, of those that were: milliseconds since the epoch.
    pub oldest_ms: Option<i64>,
}

/// Looks the coverage up; costs one record.
pub fn coverage(repository: &Repository) -> Result<Coverage, RepositoryError> {
    let state = repository.state();
    let live = || state.packs.values().filter(|p| p.live());
    let never = live().filter(|p| p.vouched.is_none()).count() as u64;
    let oldest_ms = match live().filter_map(|p| p.vouched).min() {
        Some(number) => Some(repository.record_time_ms(number)?),
        None => None,
    };
    Ok(Coverage { packs: live().count() as u64, never, oldest_ms })
}

/// Everything but the snapshots: the log, the objects and, if asked, all that is in them.
pub(super) fn survey(
    repository: &Arc<Repository>,
    depth: VerifyDepth,
    observer: &dyn Observer,
) -> Result<(VerifyReport, BadObject), RepositoryError> {
    let mut report = VerifyReport::default();
    verify_log(repository, &mut report, observer)?;
    let mut bad = objects::check(repository, &mut report, observer)?;
    let reading = match depth {
        VerifyDepth::Structure => None,
        VerifyDepth::ReadData => Some((Part::All, None)),
        VerifyDepth::ReadPart(part, budget_ms) => Some((part, budget_ms)),
    };
    if let Some((part, budget_ms)) = reading {
        // Their ids are compared with those of the packs themselves: a pack is vouched for only if both say the same.
        repository.sync_content(true)?;
        for damage in repository.take_damage() {
            match &damage {
                // It is whole: only what lies between is not.
                RepositoryError::Unsteady { .. } => observer.finding(Severity::Warning, &damage.to_string()),
                damage => drop(report.find_error(damage)),
            }
        }
        data::check(repository, part, budget_ms, &mut report, &mut bad, observer)?;
    }
    Ok((report, bad))
}

/// The findings about snapshots that come of places being bad.
pub(super) fn affected(
    repository: &Arc<Repository>,
    bad: &BadObject,
    mut report: VerifyReport,
    observer: &dyn Observer,
) -> Result<VerifyReport, RepositoryError> {
    trees::check(repository, VerifyDepth::Structure, bad, &mut report, observer)?;
    Ok(report)
}

/// Replays the log from its first record and compares where that leads with what was folded before.
fn verify_log(
    repository: &Repository,
    report: &mut VerifyReport,
    observer: &dyn Observer,
) -> Result<(), RepositoryError> {
    observer.phase("replaying the log", Some(repository.state().number), Unit::Items);
    let mut replayed = repository.empty_state()?;
    let folded = repository.fold_log(&mut replayed, &mut |record| {
        report.records += 1;
        report.objects += 1;
        observer.advance(1);
        if let Verdict::Void(why) = &record.verdict {
            report.void.push((record.number, why.to_string()));
        }
        if observer.interrupted() { Err(RepositoryError::Interrupted) } else { Ok(()) }
    });
    match folded {
        Ok(_) => {}
        Err(e) if e.is_damage() || matches!(e, RepositoryError::History { .. } | RepositoryError::Fork { .. }) => {
            report.find_error(&e);
            return Ok(());
        }
        Err(e) => return Err(e),
    }
    repository.look_at_versions()?;
    for doubt in repository.doubts() {
        let (object, what) = doubt.finding();
        report.find(object, what);
    }
    let known = repository.state();
    if replayed.number < known.number {
        report.find("log", format!("it ends at record {} and went to {} before", replayed.number, known.number));
    } else if replayed.number == known.number && replayed != *known {
        report.find("log", "replaying it leads to another state than the one folded before");
    }
    Ok(())
}
