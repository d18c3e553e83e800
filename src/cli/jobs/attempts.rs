//! What was tried: of this machine by its journal, of all machines by the repository's log.

use std::collections::BTreeMap;

use crate::cli::context::Session;
use crate::cli::error::Result;
use crate::cli::output::json::outcome;
use crate::format::description::{SetDescription, SourceOutcome};
use crate::format::state::SnapshotState;
use crate::jobs::audit::{Attempt, Ending, RunFacts, SourceResult};
use crate::jobs::config::Config;
use crate::jobs::journal::{Journal, Run, RunSource};
use crate::ops::runs::{LoggedEnd, LoggedRun};
use crate::primitives::ids::SnapshotId;

use super::journal::{journal_failed, outcome as word_of};
use super::plan::host;

/// The attempts of this machine, as its journal tells them.
pub(in crate::cli) fn of_journal(session: &Session, config: &Config, journal: &Journal) -> Result<Vec<Attempt>> {
    let runs = journal.runs().map_err(journal_failed)?;
    let host = host(session.env);
    let mut attempts = Vec::new();
    for run in &runs {
        let ending = Ending::of_word(&word_of(journal, run, &runs)?);
        attempts.extend(facts_of_run(config, &host, run, ending).attempts());
    }
    Ok(attempts)
}

fn facts_of_run(config: &Config, host: &str, run: &Run, ending: Ending) -> RunFacts {
    let result = |source: &RunSource| SourceResult {
        path: source.source.clone(),
        ending: Ending::of_word(&source.outcome),
        error: source.error.clone(),
        snapshot: source.snapshot.clone(),
        bytes: source.bytes,
        bytes_stored: source.bytes_stored,
    };
    let results: Vec<SourceResult> = run.sources.iter().map(result).collect();
    // One that failed before its sources were known failed for all that it was to save.
    let planned = match (results.is_empty() && run.unfinished.is_empty(), config.job(&run.job)) {
        (true, Some(job)) => {
            let names = job.sources.iter().filter(|source| source.is_enabled()).map(|source| source.name.clone());
            let is_meant = |name: &String| run.alone.is_empty() || run.alone.contains(&format!("{}/{name}", run.job));
            names.filter(is_meant).map(|name| format!("{}/{name}", job.family)).collect()
        }
        _ => Vec::new(),
    };
    RunFacts {
        host: host.to_owned(),
        job: Some(run.job.clone()),
        job_type: Some(run.job_type.clone()),
        alone: !run.alone.is_empty(),
        begun_ms: run.begun_ms,
        ended_ms: run.ended_ms,
        ending,
        error: run.error.clone(),
        planned,
        unfinished: run.unfinished.clone(),
        results,
    }
}

/// The attempts of all machines, as the log of a repository tells them. What was saved to be loaded back is none.
/// `snapshots` are those that are there now: what was forgotten or lost is no good copy.
pub(in crate::cli) fn of_log(runs: &[LoggedRun], snapshots: &BTreeMap<SnapshotId, SnapshotState>) -> Vec<Attempt> {
    let is_backup = |run: &&LoggedRun| !run.set.as_ref().is_some_and(SetDescription::is_pre_restore);
    runs.iter().filter(is_backup).flat_map(|run| facts_of_log(run, snapshots).attempts()).collect()
}

/// Why a snapshot that was published is no good copy now.
fn lost(source: &SourceOutcome, snapshots: &BTreeMap<SnapshotId, SnapshotState>) -> Option<&'static str> {
    match snapshots.get(&source.snapshot?) {
        None => Some("its snapshot was forgotten"),
        Some(snapshot) if snapshot.damaged => Some("its snapshot is damaged: `strongroom verify` says what it lacks"),
        Some(_) => None,
    }
}

fn facts_of_log(run: &LoggedRun, snapshots: &BTreeMap<SnapshotId, SnapshotState>) -> RunFacts {
    let result = |source: &SourceOutcome| SourceResult {
        path: source.path.clone(),
        ending: match lost(source, snapshots) {
            Some(_) => Ending::Failed,
            None => Ending::of_word(outcome(source.outcome)),
        },
        error: lost(source, snapshots).map(str::to_owned).or(source.error.clone()),
        snapshot: source.snapshot.map(|id| id.to_string()),
        bytes: source.bytes,
        bytes_stored: source.bytes_stored,
    };
    let ending = match run.end {
        LoggedEnd::Open => Ending::Running,
        LoggedEnd::Ended(ended) => Ending::of_word(outcome(ended)),
        LoggedEnd::Closed => Ending::Crashed,
    };
    let set = run.set.as_ref();
    let planned = set.map(|set| set.sources.clone()).unwrap_or_default();
    // Of a source that is one snapshot, that is all; others may have more members than were published.
    let is_whole = |name: &&String| run.is_told || run.sources.iter().any(|source| source.path == **name);
    let unfinished = planned.iter().filter(|name| !is_whole(name)).cloned().collect();
    RunFacts {
        host: run.host.clone(),
        job: set.and_then(|set| set.job.clone()),
        job_type: set.and_then(|set| set.job_type.clone()),
        alone: set.is_some_and(SetDescription::is_alone),
        begun_ms: run.began_ms,
        ended_ms: run.ended_ms,
        ending,
        error: run.findings.first().cloned(),
        planned,
        unfinished,
        results: run.sources.iter().map(result).collect(),
    }
}
