//! Runs of all machines, as the repository's log tells them, in the words of the journal.

use crate::cli::output::json::outcome;
use crate::jobs::journal::{Run, RunSource};
use crate::ops::runs::{LoggedEnd, LoggedRun};

/// A run and the machine that made it.
pub(in crate::cli) struct RunOfHost {
    /// The machine.
    pub(in crate::cli) host: String,
    /// The run. Its id is that of its set; of a run without one, its number in the log.
    pub(in crate::cli) run: Run,
    /// How it ended; `running` if it has not, as far as the log says.
    pub(in crate::cli) outcome: String,
}

/// A run of the log. One that no configuration asked for has no job.
pub(in crate::cli) fn run_of_host(logged: &LoggedRun) -> RunOfHost {
    let set = logged.set.as_ref();
    let ended = match logged.end {
        LoggedEnd::Open => "running",
        LoggedEnd::Ended(ended) => outcome(ended),
        LoggedEnd::Closed => "crashed",
    };
    let sources: Vec<RunSource> = logged
        .sources
        .iter()
        .map(|source| RunSource {
            source: source.path.clone(),
            outcome: outcome(source.outcome).to_owned(),
            snapshot: source.snapshot.map(|id| id.to_string()),
            error: source.error.clone(),
            bytes: source.bytes,
            bytes_stored: source.bytes_stored,
            done_ms: None,
        })
        .collect();
    let is_done = |name: &String| {
        sources
            .iter()
            .any(|s| s.source.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    };
    let planned = set.map(|set| set.sources.as_slice()).unwrap_or_default();
    let unfinished = planned.iter().filter(|name| !is_done(name)).cloned().collect();
    let alone = set.filter(|set| set.is_alone()).map(|set| set.sources.clone());
    // Why a source failed stands with the source.
    let error = logged.findings.iter().find(|found| !sources.iter().any(|s| s.error.as_ref() == Some(found)));
    RunOfHost {
        host: logged.host.clone(),
        outcome: ended.to_owned(),
        run: Run {
            run: set.map_or_else(|| logged.id.0.to_string(), |set| set.id.short()),
            job: set.and_then(|set| set.job.clone()).unwrap_or_default(),
            job_type: set.and_then(|set| set.job_type.clone()).unwrap_or_default(),
            begun_ms: logged.began_ms,
            slot_ms: None,
            alone: alone.unwrap_or_default(),
            ended_ms: logged.ended_ms,
            outcome: (logged.end != LoggedEnd::Open).then(|| ended.to_owned()),
            error: error.cloned(),
            sources,
            unfinished,
        },
    }
}
