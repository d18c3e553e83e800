//! What was tried: of this machine by its journal, of all machines by the repository's log.

use crate::cli::context::Session;
use crate::cli::error::Result;
use crate::cli::output::json::outcome;
use crate::format::description::{SetDescription, SourceOutcome};
use crate::jobs::audit::{Attempt, Ending, RunFacts, SourceResult};
use crate::jobs::config::Config;
use crate::jobs::journal::{Journal, Run, RunSource};
use crate::ops::runs::{LoggedEnd, LoggedRun};

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
pub(in crate::cli) fn of_log(runs: &[LoggedRun]) -> Vec<Attempt> {
    let is_backup = |run: &&LoggedRun| !run.set.as_ref().is_some_and(SetDescription::is_pre_restore);
    runs.iter().filter(is_backup).flat_map(|run| facts_of_log(run).attempts()).collect()
}

fn facts_of_log(run: &LoggedRun) -> RunFacts {
    let result = |source: &SourceOutcome| SourceResult {
        path: source.path.clone(),
        ending: Ending::of_word(outcome(source.outcome)),
        error: source.error.clone(),
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
    RunFacts {
        host: run.host.clone(),
        job: set.and_then(|set| set.job.clone()),
        job_type: set.and_then(|set| set.job_type.clone()),
        alone: set.is_some_and(SetDescription::is_alone),
        begun_ms: run.began_ms,
        ended_ms: run.ended_ms,
        ending,
        error: run.findings.first().cloned(),
        planned: set.map(|set| set.sources.clone()).unwrap_or_default(),
        unfinished: Vec::new(),
        results: run.sources.iter().map(result).collect(),
    }
}
