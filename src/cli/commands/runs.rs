//! `runs`: what this machine ran, from its own journal, or all machines, from the log of the repository.

use clap::Args;
use serde::Serialize;

use super::super::context::Session;
use super::super::error::Result;
use super::super::exit::Exit;
use super::super::output::text::{Side, duration, escape, shortened};
use super::super::settings::places;
use super::super::time::{heading, rfc3339, show};
use crate::cli::jobs::journal::{journal_failed, outcome};
use crate::cli::jobs::logged::{RunOfHost, run_of_host};
use crate::jobs::journal::{Journal, Run, RunSource};
use crate::ops::runs::logged_runs;

/// Options of `runs`.
#[derive(Args)]
pub struct RunsArguments {
    /// Only of these jobs
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
    /// Only the newest N
    #[arg(long, value_name = "N")]
    pub latest: Option<usize>,
    /// Of all machines, from the repository: for the owner, and who may read
    #[arg(long)]
    pub all_hosts: bool,
}

/// A run of `runs --json`.
#[derive(Debug, Serialize)]
pub(crate) struct RunJson {
    /// `run`.
    pub r#type: &'static str,
    /// Tells the run from others of this machine; with `--all-hosts` the id of its set, else its number in the log.
    pub run: String,
    /// The machine; with `--all-hosts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The job; empty if none was asked for.
    pub job: String,
    /// The type of the run.
    pub job_type: String,
    /// When it began.
    pub began: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// The slot of the schedule that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// The sources that were asked for, if that was not the whole job.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alone: Vec<String>,
    /// How complete its set is; `running` or `crashed` if it has not ended.
    pub outcome: String,
    /// Why it failed as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Its sources, as far as they were saved or have failed.
    pub sources: Vec<RunSourceJson>,
    /// Sources that it was to save and that have not ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unfinished: Vec<String>,
}

/// A source of a run.
#[derive(Debug, Serialize)]
pub(crate) struct RunSourceJson {
    /// The source.
    pub source: String,
    /// How complete it is.
    pub outcome: String,
    /// Its snapshot, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Bytes of its content.
    pub bytes: u64,
    /// Bytes added to the repository.
    pub bytes_stored: u64,
    /// When it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<String>,
    /// Why it is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// So many complete sources of a run are named; more are counted.
const SOURCES_SHOWN_MAX: usize = 3;

/// Lists the runs, oldest first.
pub(crate) fn run(session: &Session, arguments: &RunsArguments) -> Result<Exit> {
    let mut runs = if arguments.all_hosts { of_log(session)? } else { of_journal(session)? };
    runs.retain(|(_, run, _)| arguments.jobs.is_empty() || arguments.jobs.contains(&run.job));
    let skipped = arguments.latest.map_or(0, |newest| runs.len().saturating_sub(newest));
    let mut rows = Vec::new();
    for (host, run, outcome) in runs.into_iter().skip(skipped) {
        if session.global.json {
            session.print_json(&run_json(host, &run, outcome))?;
        } else {
            let mut row = row(session, &run, outcome);
            row.splice(2..2, host.map(|host| escape(host.as_bytes())));
            rows.push(row);
        }
    }
    if session.global.json {
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        session.print(if arguments.all_hosts { "no runs" } else { "no runs of jobs on this machine" })?;
        return Ok(Exit::Done);
    }
    let began = heading("BEGAN", &session.env.zone);
    let mut head = ["RUN", &began, "JOB", "TYPE", "OUTCOME", "TOOK", "SOURCES"].map(str::to_owned).to_vec();
    use Side::{Left, Right, Whole};
    let mut sides = vec![Whole, Whole, Left, Left, Left, Right, Left];
    if arguments.all_hosts {
        head.insert(2, "HOST".to_owned());
        sides.insert(2, Left);
    }
    session.table(&sides, &[vec![head], rows].concat())?;
    Ok(Exit::Done)
}

/// Runs with their outcomes; of the log, with the machine.
type Runs = Vec<(Option<String>, Run, String)>;

fn of_journal(session: &Session) -> Result<Runs> {
    let journal = Journal::open(&places(session.global, session.env)?.state).map_err(journal_failed)?;
    let runs = journal.runs().map_err(journal_failed)?;
    let with_outcome = |run: &Run| Ok((None, run.clone(), outcome(&journal, run, &runs)?));
    runs.iter().map(with_outcome).collect()
}

fn of_log(session: &Session) -> Result<Runs> {
    let logged = session.with_repository(|repository| Ok(logged_runs(repository)?))?;
    let known = logged.iter().map(run_of_host).map(|RunOfHost { host, run, outcome }| (Some(host), run, outcome));
    Ok(known.collect())
}

fn row(session: &Session, run: &Run, outcome: String) -> Vec<String> {
    let text = |text: &str| escape(text.as_bytes());
    let source = |RunSource { source, outcome, error, .. }: &RunSource| match error {
        None if outcome == "complete" => text(source),
        None => format!("{} ({outcome})", text(source)),
        Some(error) => format!("{} ({outcome}: {})", text(source), text(error.lines().next().unwrap_or_default())),
    };
    let is_good = |source: &&RunSource| source.outcome == "complete" && source.error.is_none();
    let good = run.sources.iter().filter(is_good).count();
    // What is not well comes first, and is never cut off by what is.
    let mut sources: Vec<String> = run.sources.iter().filter(|source| !is_good(source)).map(source).collect();
    sources.extend(run.unfinished.iter().map(|source| format!("{} (not finished)", text(source))));
    match good {
        0 => {}
        n if n > SOURCES_SHOWN_MAX => sources.push(format!("{n} complete")),
        _ => sources.extend(run.sources.iter().filter(is_good).map(source)),
    }
    sources.extend(run.error.as_deref().map(|error| text(error.lines().next().unwrap_or_default())));
    let took = run.ended_ms.map(|ended| duration(ended.saturating_sub(run.begun_ms).max(0).unsigned_abs()));
    vec![
        run.run.clone(),
        show(run.begun_ms, &session.env.zone),
        if run.alone.is_empty() { text(&run.job) } else { shortened(&text(&run.alone.join(", "))) },
        text(&run.job_type),
        outcome,
        took.unwrap_or_default(),
        shortened(&sources.join(", ")),
    ]
}

pub(super) fn run_json(host: Option<String>, run: &Run, outcome: String) -> RunJson {
    let source = |of: &RunSource| RunSourceJson {
        source: of.source.clone(),
        outcome: of.outcome.clone(),
        snapshot: of.snapshot.clone(),
        bytes: of.bytes,
        bytes_stored: of.bytes_stored,
        done: of.done_ms.and_then(rfc3339),
        error: of.error.clone(),
    };
    RunJson {
        r#type: "run",
        run: run.run.clone(),
        host,
        job: run.job.clone(),
        job_type: run.job_type.clone(),
        began: rfc3339(run.begun_ms),
        ended: run.ended_ms.and_then(rfc3339),
        slot: run.slot_ms.and_then(rfc3339),
        alone: run.alone.clone(),
        outcome,
        error: run.error.clone(),
        sources: run.sources.iter().map(source).collect(),
        unfinished: run.unfinished.clone(),
    }
}
