//! `show`: one run, one set or one snapshot, with all that is known of it.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::cli::jobs::logged::{RunOfHost, run_of_host};
use crate::format::record::Outcome;
use crate::jobs::journal::{Journal, Run, RunSource};
use crate::ops::runs::logged_runs;
use crate::repository::Repository;
use crate::repository::sets::{Set, sets};
use crate::repository::snapshots::Snapshot;

use super::super::context::Session;
use super::super::error::{CliError, Result};
use super::super::exit::Exit;
use super::super::output::json::outcome;
use super::super::output::text::{count, duration, escape, pluralize, size};
use super::super::settings::places;
use super::super::time::{rfc3339, show, zone_name};
use super::super::values;

use super::runs::run_json;
use super::snapshots::SnapshotJson;
use crate::cli::jobs::journal::{journal_failed, outcome as run_outcome};

/// Options of `show`.
#[derive(Args)]
pub struct ShowArguments {
    /// A run of this machine's journal, a set, a snapshot or a run of the repository's log: the first digits of its id
    #[arg(value_name = "RUN|SET|ID")]
    pub id: String,
    /// Wait until the run has ended, for TIME at the most
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub wait: Option<String>,
    /// Exit with the state: 0 complete or warnings, 1 running, 2 partial, 3 failed or crashed, 64 usage
    #[arg(long)]
    pub exit_state: bool,
}

/// How often a run that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The code of what cannot be found, with `--exit-state`: EX_USAGE of sysexits.h.
const USAGE: u8 = 64;

/// Shows it. The journal is asked first: a machine that may only add knows its own runs.
pub(crate) fn run(session: &Session, arguments: &ShowArguments) -> Result<Exit> {
    match shown(session, arguments) {
        Ok(state) if arguments.exit_state => Ok(Exit::Command(code(&state))),
        Ok(_) => Ok(Exit::Done),
        Err(e) if arguments.exit_state && Exit::of(&e) == Exit::Usage => {
            session.env.eprint_line(&format!("error: {e}"));
            Ok(Exit::Command(USAGE))
        }
        Err(e) => Err(e),
    }
}

/// The number of a state. They are those of CommCare's check of its snapshots: 1 is one that goes on.
fn code(state: &str) -> u8 {
    match state {
        "complete" | "warnings" => 0,
        "running" => 1,
        "partial" => 2,
        _ => 3,
    }
}

fn shown(session: &Session, arguments: &ShowArguments) -> Result<String> {
    let prefix = arguments.id.to_lowercase();
    if prefix.is_empty() {
        return Err(CliError::Usage("name a run, a set or a snapshot by the first digits of its id".to_owned()));
    }
    let journal = Journal::open(&places(session.global, session.env)?.state).map_err(journal_failed)?;
    if let Some(state) = of_journal(session, arguments, &journal, &prefix)? {
        return Ok(state);
    }
    let repository = session.open()?;
    let all = session.with(&repository, |repository| Ok(repository.snapshots()?))?;
    let is_set = |set: &&Set| set.described().is_some_and(|d| d.id.to_string().starts_with(&prefix));
    let sets = sets(all.clone());
    let found: Vec<&Set> = sets.iter().filter(is_set).collect();
    let single: Vec<&Snapshot> = all.iter().filter(|s| s.id.to_string().starts_with(&prefix)).collect();
    match (&found[..], &single[..]) {
        ([set], []) => of_set(session, set),
        ([], [snapshot]) => {
            match session.global.json {
                true => session.print_json(&SnapshotJson::from(*snapshot))?,
                false => session.print(&snapshot_lines(session, snapshot).join("\n"))?,
            }
            Ok(outcome(snapshot.state.outcome).to_owned())
        }
        ([], []) => of_log(session, &repository, &prefix),
        _ => Err(CliError::Usage(format!("`{}` is not enough: several sets or snapshots begin so", arguments.id))),
    }
}

/// Shows a run of any machine that saved nothing, or whose snapshots are forgotten: the log still knows it.
fn of_log(session: &Session, repository: &Repository, prefix: &str) -> Result<String> {
    let logged = logged_runs(repository)?;
    let runs: Vec<RunOfHost> = logged.iter().map(run_of_host).collect();
    let found: Vec<&RunOfHost> = runs.iter().filter(|known| known.run.run.starts_with(prefix)).collect();
    match found[..] {
        [RunOfHost { host, run, outcome }] => {
            match session.global.json {
                true => session.print_json(&run_json(Some(host.clone()), run, outcome.clone()))?,
                false => {
                    let mut lines = run_lines(session, run, outcome);
                    lines.insert(1, line("host", &text(host)));
                    session.print(&lines.join("\n"))?;
                }
            }
            Ok(outcome.clone())
        }
        [] => {
            let text = format!(
                "there is no run, no set and no snapshot `{prefix}`: `strongroom runs` and `strongroom snapshots` list them"
            );
            Err(CliError::Usage(text))
        }
        _ => Err(CliError::Usage(format!("`{prefix}` is not enough: several runs begin so"))),
    }
}

/// Shows a run of the journal and says how it stands; `None` if there is none.
fn of_journal(session: &Session, arguments: &ShowArguments, journal: &Journal, prefix: &str) -> Result<Option<String>> {
    let wait = arguments.wait.as_deref().filter(|time| !time.is_empty()).map(values::duration_ms);
    let wait = wait.transpose().map_err(CliError::Usage)?.map(|ms| Duration::from_millis(ms.unsigned_abs()));
    let began = Instant::now();
    session.listen()?;
    loop {
        let runs = journal.runs().map_err(journal_failed)?;
        let found: Vec<&Run> = runs.iter().filter(|run| run.run.starts_with(prefix)).collect();
        let run = match found[..] {
            [] => return Ok(None),
            [run] => run,
            _ => return Err(CliError::Usage(format!("`{}` is not enough: several runs begin so", arguments.id))),
        };
        let state = run_outcome(journal, run, &runs)?;
        let waits = arguments.wait.is_some() && wait.is_none_or(|wait| began.elapsed() < wait);
        if state == "running" && waits {
            if session.env.signals.interrupted() {
                return Err(CliError::Interrupted);
            }
            std::thread::sleep(LOOK_EVERY);
            continue;
        }
        match session.global.json {
            true => session.print_json(&run_json(None, run, state.clone()))?,
            false => session.print(&run_lines(session, run, &state).join("\n"))?,
        }
        return Ok(Some(state));
    }
}

fn line(name: &str, value: &str) -> String {
    format!("{name:<10} {value}")
}

fn text(text: &str) -> String {
    escape(text.as_bytes())
}

fn time(session: &Session, time_ms: i64) -> String {
    format!("{} ({})", show(time_ms, &session.env.zone), zone_name(&session.env.zone))
}

fn run_lines(session: &Session, run: &Run, state: &str) -> Vec<String> {
    let mut lines = vec![
        line("run", &run.run),
        line("job", &format!("{} ({})", text(&run.job), text(&run.job_type))),
        line("outcome", state),
        line("began", &time(session, run.begun_ms)),
    ];
    lines.extend((!run.alone.is_empty()).then(|| line("only", &text(&run.alone.join(", ")))));
    lines.extend(run.slot_ms.map(|slot| line("due", &time(session, slot))));
    lines.extend(run.ended_ms.map(|ended| {
        let took = duration(ended.saturating_sub(run.begun_ms).max(0).unsigned_abs());
        line("ended", &format!("{}, after {took}", time(session, ended)))
    }));
    lines.extend(run.error.iter().flat_map(|error| error.lines().map(|error| line("error", &text(error)))));
    for RunSource { source, outcome, snapshot, error, bytes, bytes_stored, .. } in &run.sources {
        let saved = snapshot.as_ref().map(|id| {
            let id: String = id.chars().take(8).collect();
            format!(", snapshot {id}, {}, {} stored", size(*bytes), size(*bytes_stored))
        });
        lines.push(line("source", &format!("{}: {outcome}{}", text(source), saved.unwrap_or_default())));
        lines.extend(error.iter().flat_map(|error| error.lines().map(|error| line("", &text(error)))));
    }
    lines.extend(run.unfinished.iter().map(|source| line("source", &format!("{}: not finished", text(source)))));
    lines
}

fn of_set(session: &Session, set: &Set) -> Result<String> {
    let Some(described) = set.described() else { return Ok(outcome(set.outcome()).to_owned()) };
    let state = match set.outcome() {
        Outcome::Crashed => Outcome::Partial,
        state => state,
    };
    let first = &set.members[0].described;
    if session.global.json {
        let records = described.records.iter().flatten().map(|(name, text)| (name.clone(), json!(text)));
        session.print_object(json!({
            "type": "set",
            "set": described.id.to_string(),
            "host": first.host,
            "job": described.job,
            "job_type": described.job_type,
            "label": first.label,
            "time": rfc3339(set.time_ms()),
            "outcome": outcome(state),
            "alone": described.is_alone(),
            "sources": described.sources,
            "missing": set.missing(),
            "notes": described.notes,
            "records": serde_json::Value::Object(records.collect()),
            "members": set.members.iter().map(SnapshotJson::from).collect::<Vec<_>>(),
        }))?;
        return Ok(outcome(state).to_owned());
    }
    let job = described.job.as_ref().map(|job| {
        let job_type = described.job_type.as_deref().unwrap_or_default();
        line("job", &format!("{} ({})", text(job), text(job_type)))
    });
    let mut lines = vec![line("set", &described.id.short()), line("host", &text(&first.host))];
    lines.extend(job);
    let alone = described.is_alone().then(|| described.sources.join(", "));
    lines.extend(alone.map(|sources| line("only", &text(&sources))));
    lines.push(line("time", &time(session, set.time_ms())));
    lines.push(line("outcome", outcome(state)));
    lines.extend(first.label.iter().map(|label| line("label", &text(label))));
    lines.extend(set.missing().iter().map(|path| line("missing", &text(path))));
    for (name, answer) in described.records.iter().flatten() {
        lines.push(line("record", &format!("{}: {}", text(name), text(answer))));
    }
    lines.extend(described.notes.iter().flat_map(|notes| notes.lines().map(|notes| line("notes", &text(notes)))));
    for member in &set.members {
        lines.push(String::new());
        lines.extend(snapshot_lines(session, member));
    }
    session.print(&lines.join("\n"))?;
    Ok(outcome(state).to_owned())
}

fn snapshot_lines(session: &Session, snapshot: &Snapshot) -> Vec<String> {
    let (d, f) = (&snapshot.described, &snapshot.described.figures);
    let mut lines = vec![
        line("snapshot", &snapshot.id.short()),
        line("source", &text(&d.member_path())),
        line("host", &text(&d.host)),
        line("time", &time(session, snapshot.state.time_ms)),
        line("outcome", outcome(snapshot.state.outcome)),
    ];
    for (is, word) in [(snapshot.state.held, "held"), (snapshot.state.damaged, "damaged")] {
        lines.extend(is.then(|| line("state", word)));
    }
    lines.extend(snapshot.doubt.iter().map(|doubt| line("doubt", &text(doubt))));
    let files = pluralize(f.files, "file", "files");
    let took = duration(f.duration_ms);
    lines.push(line(
        "content",
        &format!("{files}, {}; {} new, {} stored; {took}", size(f.bytes), size(f.bytes_new), size(f.bytes_stored)),
    ));
    for known in d.data_directories.iter().flatten() {
        let (path, product) = (escape(&known.path), text(&format!("{} {}", known.product, known.version)));
        lines.push(line("directory", &format!("{path}: {}", product.trim_end())));
    }
    if let Some(stream) = &d.stream {
        let kind = [stream.kind.as_str(), &stream.format].into_iter().filter(|word| !word.is_empty());
        lines.push(line("kind", &text(&kind.collect::<Vec<_>>().join(", "))));
        lines.extend(stream.tool.iter().map(|tool| line("tool", &text(tool))));
        lines.extend(stream.server.iter().map(|server| line("server", &text(server))));
        if let Some(tables) = &stream.tables {
            let rows: u64 = tables.iter().map(|table| table.rows).sum();
            let tables = pluralize(tables.len() as u64, "table", "tables");
            lines.push(line("rows", &format!("{} in {tables}", count(rows))));
        }
        lines.extend(stream.load.iter().map(|load| line("load", &text(load))));
    }
    lines.extend(d.findings.iter().flat_map(|found| found.lines().map(|found| line("finding", &text(found)))));
    lines
}
