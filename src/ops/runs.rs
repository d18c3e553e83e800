//! The runs of backups, as the repository's log tells them: of all machines, for who may read descriptions.

use std::collections::BTreeMap;

use crate::format::description::{self, RunDescription, SetDescription, SnapshotDescription, SourceOutcome};
use crate::format::record::{Operation, Outcome, Record, RunKind, SnapshotEntry};
use crate::primitives::ids::RunId;
use crate::repository::{Repository, Result};

use super::log::history;

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoggedEnd {
    /// It has not ended, as far as the log says.
    Open,
    /// It ended.
    Ended(Outcome),
    /// It fell silent, and was closed.
    Closed,
}

/// A run of a backup, as the log tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedRun {
    /// Its id.
    pub id: RunId,
    /// The machine.
    pub host: String,
    /// What was asked, without secrets.
    pub command: String,
    /// The set that it saves, if a job or several sources were asked for.
    pub set: Option<SetDescription>,
    /// When it began by its writer's clock, in milliseconds since the epoch.
    pub began_ms: i64,
    /// When it ended or was closed, likewise.
    pub ended_ms: Option<i64>,
    /// How it stands.
    pub end: LoggedEnd,
    /// What was found.
    pub findings: Vec<String>,
    /// Whether its end says what came of each source: else sources with several members may lack some.
    pub is_told: bool,
    /// What came of its sources: of those with a snapshot as the snapshot says, of others as the run says.
    pub sources: Vec<SourceOutcome>,
}

/// The runs of backups, oldest first. A run that says another machine than its credential may speak for is left out, and so
/// is a snapshot that says another source: nobody speaks for another one here.
pub fn logged_runs(repository: &Repository) -> Result<Vec<LoggedRun>> {
    let mut runs = BTreeMap::new();
    history(repository, &mut |folded| {
        if folded.verdict == crate::log::Verdict::Valid
            && let Some(record) = &folded.record
        {
            for operation in &record.operations {
                take(repository, &mut runs, folded.number, record, operation);
            }
        }
        Ok(())
    })?;
    Ok(runs.into_values().collect())
}

fn take(
    repository: &Repository,
    runs: &mut BTreeMap<RunId, LoggedRun>,
    number: u64,
    record: &Record,
    operation: &Operation,
) {
    let keys = repository.domain_keys();
    match operation {
        Operation::Begin { kind: RunKind::Backup, host, description } => {
            let Ok(described) = description::open::<RunDescription>(description, |e| repository.keys.secret(e)) else {
                return;
            };
            if keys.host(&described.host) != *host {
                return;
            }
            let RunDescription { host, command, set, findings, .. } = described;
            let id = RunId(number);
            let (end, sources) = (LoggedEnd::Open, Vec::new());
            let run = LoggedRun {
                id,
                host,
                command,
                set,
                began_ms: record.time_ms,
                ended_ms: None,
                end,
                findings,
                sources,
                is_told: false,
            };
            runs.insert(id, run);
        }
        Operation::Publish { run, snapshots, .. } => {
            let Some(run) = runs.get_mut(run) else { return };
            run.sources.extend(snapshots.iter().filter_map(|entry| saved(repository, entry, &run.host)));
        }
        Operation::End { run, outcome, description } => {
            let Some(run) = runs.get_mut(run) else { return };
            (run.end, run.ended_ms) = (LoggedEnd::Ended(*outcome), Some(record.time_ms));
            if let Ok(described) = description::open::<RunDescription>(description, |e| repository.keys.secret(e)) {
                run.findings = described.findings;
                run.is_told = described.sources.is_some();
                complete(run, described.sources.unwrap_or_default());
            }
        }
        Operation::Close { run } => {
            let Some(run) = runs.get_mut(run) else { return };
            (run.end, run.ended_ms) = (LoggedEnd::Closed, Some(record.time_ms));
        }
        _ => {}
    }
}

/// What a snapshot says of its source.
fn saved(repository: &Repository, entry: &SnapshotEntry, host: &str) -> Option<SourceOutcome> {
    let described: SnapshotDescription = description::open(&entry.description, |e| repository.keys.secret(e)).ok()?;
    let keys = repository.domain_keys();
    let is_so =
        keys.source(&described.source) == entry.source && described.host == host && keys.host(host) == entry.host;
    is_so.then(|| SourceOutcome {
        path: described.member_path(),
        outcome: entry.outcome,
        snapshot: Some(entry.id),
        error: described.findings.first().map(|found| SourceOutcome::shortened(found)),
        bytes: described.figures.bytes,
        bytes_stored: described.figures.bytes_stored,
    })
}

/// Adds what the end of a run says of sources that have no snapshot, and why others are not complete.
fn complete(run: &mut LoggedRun, said: Vec<SourceOutcome>) {
    for source in said {
        match run.sources.iter_mut().find(|known| known.path == source.path) {
            Some(known) => {
                known.outcome = known.outcome.max(source.outcome);
                known.error = source.error.or(known.error.take());
            }
            // Without a snapshot nothing is saved, whatever is said.
            None => run.sources.push(SourceOutcome { snapshot: None, outcome: Outcome::Failed, ..source }),
        }
    }
}
