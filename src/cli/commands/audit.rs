//! `audit`: whether each source is saved as its schedule asks; `freshness`: the same in one line.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde::Serialize;

use super::super::context::Session;
use super::super::error::{CliError, Result, error_text};
use super::super::exit::Exit;
use super::super::output::text::{Side, age, duration, escape, pluralize, shortened_to, size};
use super::super::settings::places;
use super::super::time::{heading, rfc3339, show};
use crate::cli::config_file::{ConfigFileArgument, load};
use crate::cli::jobs::attempts::{of_journal, of_log};
use crate::cli::jobs::expected::{Machines, expected};
use crate::cli::jobs::journal::journal_failed;
use crate::cli::jobs::notify::Notifier;
use crate::cli::jobs::plan::host;
use crate::cli::jobs::repository::reading;
use crate::cli::settings::Settings;
use crate::jobs::audit::{Attempt, Level, State, Status, audit};
use crate::jobs::config::Config;
use crate::jobs::journal::Journal;
use crate::ops::runs::logged_runs;

/// Options of `audit` and `freshness`.
#[derive(Args)]
pub struct AuditArguments {
    /// Only of these jobs, or sources of jobs
    #[arg(value_name = "JOB[/SOURCE]")]
    pub jobs: Vec<String>,
    /// Of all machines, from the repository; without it: of this machine, from its own journal
    #[arg(long)]
    pub all_hosts: bool,
    /// Only of these machines; implies --all-hosts
    #[arg(long = "of-host", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// The configuration file.
    #[command(flatten)]
    pub file: ConfigFileArgument,
}

/// Examples of `audit`.
pub(super) const AUDIT_EXAMPLES: &str = "\
Exit codes, as monitoring systems expect them: 0 all is well, 1 a warning, 2 something is wrong,
3 it could not be found out.

Examples:
  strongroom audit
  strongroom audit --all-hosts
  strongroom freshness --all-hosts --of-host db1";

/// The code of what could not be found out, as Nagios' plugins have it.
pub(in crate::cli) const UNKNOWN: u8 = 3;

/// A source of `audit --json`.
#[derive(Debug, Serialize)]
pub(crate) struct StatusJson {
    /// `status`.
    pub r#type: &'static str,
    /// The machine.
    pub host: String,
    /// The job; left out if no job saved it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub job: String,
    /// The source.
    pub source: String,
    /// Its kind; left out if it is in no configuration.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// `good`, `warnings`, `partial`, `failed`, `running`, `crashed`, `overdue`, `never`, `unscheduled` or `unconfigured`.
    pub state: State,
    /// `good`, `warning` or `critical`.
    pub level: Level,
    /// Why the last attempt was not good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When the last attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began: Option<String>,
    /// Milliseconds that it took, or has been going on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    /// When the newest good copy was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success: Option<String>,
    /// Its age in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_s: Option<i64>,
    /// The slot for which there is no good copy, though its time is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<String>,
    /// When it is overdue if nothing is saved from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_by: Option<String>,
    /// Bytes of the newest good copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Bytes that are usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usual_bytes: Option<u64>,
    /// The snapshot of the newest good copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
}

impl StatusJson {
    fn new(status: &Status, now_ms: i64) -> Self {
        Self {
            r#type: "status",
            host: status.host.clone(),
            job: status.job.clone(),
            source: status.source.clone(),
            kind: status.kind.clone(),
            schedule: status.schedule.clone(),
            state: status.state,
            level: status.level,
            error: status.error.clone(),
            began: status.begun_ms.and_then(rfc3339),
            duration_ms: status.duration_ms,
            last_success: status.success_ms.and_then(rfc3339),
            age_s: status.success_ms.map(|success| (now_ms - success).max(0) / 1000),
            missed: status.missed_ms.and_then(rfc3339),
            due_by: status.due_by_ms.and_then(rfc3339),
            bytes: status.bytes,
            usual_bytes: status.usual_bytes,
            snapshot: status.snapshot.clone(),
        }
    }
}

/// Tells how each source stands.
pub(crate) fn run(session: &Session, arguments: &AuditArguments) -> Result<Exit> {
    or_unknown(session, statuses(session, arguments), |_, statuses| {
        let now_ms = session.env.system.now_ms();
        if session.global.json {
            for status in statuses {
                session.print_json(&StatusJson::new(status, now_ms))?;
            }
            return Ok(());
        }
        print(session, statuses, now_ms)
    })
}

/// Tells in one line whether all is well, and writes the files of `[notify]`.
pub(crate) fn freshness(session: &Session, arguments: &AuditArguments) -> Result<Exit> {
    or_unknown(session, statuses(session, arguments), |config, statuses| {
        if arguments.jobs.is_empty() && arguments.hosts.is_empty() {
            Notifier { session, config }.files(statuses);
        }
        let now_ms = session.env.system.now_ms();
        match session.global.json {
            true => session.print_object(serde_json::json!({
                "type": "freshness",
                "level": worst(statuses),
                "summary": summary(statuses),
                "sources": statuses.len(),
                "oldest_success_age_s": oldest_age_ms(statuses, now_ms).map(|ms| ms / 1000),
            })),
            false => session.print(&line(statuses)),
        }
    })
}

/// What cannot be found out is told with a code of its own: a check that fails must never look like one that is well.
fn or_unknown(
    session: &Session,
    statuses: Result<(Config, Vec<Status>)>,
    tell: impl FnOnce(&Config, &[Status]) -> Result<()>,
) -> Result<Exit> {
    let told = statuses.and_then(|(config, statuses)| {
        tell(&config, &statuses)?;
        Ok(worst(&statuses))
    });
    match told {
        Ok(level) => Ok(Exit::Command(level as u8)),
        Err(e @ (CliError::Interrupted | CliError::Output(_))) => Err(e),
        Err(e) => {
            session.env.eprint_line(&format!("error: {}", error_text(&e)));
            Ok(Exit::Command(UNKNOWN))
        }
    }
}

fn worst(statuses: &[Status]) -> Level {
    statuses.iter().map(|status| status.level).max().unwrap_or(Level::Good)
}

/// How the sources that are meant stand; there is at least one: that nothing is expected must not look like all is well.
fn statuses(session: &Session, arguments: &AuditArguments) -> Result<(Config, Vec<Status>)> {
    let config = load(session, &arguments.file)?;
    let is_of_all = arguments.all_hosts || !arguments.hosts.is_empty();
    let machines = if is_of_all { Machines::All } else { Machines::This };
    let attempts = if is_of_all { of_repositories(session, &config)? } else { of_this(session, &config)? };
    let expected = expected(session, &config, machines, &attempts)?;
    let mut statuses = audit(&expected, &attempts, session.env.system.now_ms());
    let is_meant = |status: &Status| {
        let of_job = |name: &String| {
            status.job == *name
                || status.source == *name
                || status.source.split_once('/').is_some_and(|(_, source)| format!("{}/{source}", status.job) == *name)
        };
        (arguments.jobs.is_empty() || arguments.jobs.iter().any(of_job))
            && (arguments.hosts.is_empty() || arguments.hosts.contains(&status.host))
    };
    statuses.retain(is_meant);
    let known: BTreeSet<&str> = statuses.iter().map(|status| status.job.as_str()).collect();
    let unknown = arguments.jobs.iter().find(|name| {
        let job = name.split('/').next().unwrap_or(name);
        !known.contains(job) && config.job(job).is_none()
    });
    if let Some(name) = unknown {
        return Err(CliError::Usage(format!("there is no job `{name}` in the configuration")));
    }
    if statuses.is_empty() {
        let place = match (&arguments.hosts[..], is_of_all) {
            ([], false) => format!(" on this machine, {}", host(session.env)),
            ([], true) => String::new(),
            (hosts, _) => format!(" on {}", hosts.join(", ")),
        };
        let which =
            if arguments.jobs.is_empty() { String::new() } else { format!(" of {}", arguments.jobs.join(", ")) };
        return Err(CliError::Usage(format!("no source{which} is expected{place}, and none was saved")));
    }
    Ok((config, statuses))
}

/// How the sources of this machine stand, by its journal.
pub(in crate::cli) fn statuses_here(session: &Session, config: &Config) -> Result<Vec<Status>> {
    let attempts = of_this(session, config)?;
    let expected = expected(session, config, Machines::This, &attempts)?;
    Ok(audit(&expected, &attempts, session.env.system.now_ms()))
}

fn of_this(session: &Session, config: &Config) -> Result<Vec<Attempt>> {
    let journal = Journal::open(&places(session.global, session.env)?.state).map_err(journal_failed)?;
    of_journal(session, config, &journal)
}

/// The attempts of all machines in every repository that a job names.
fn of_repositories(session: &Session, config: &Config) -> Result<Vec<Attempt>> {
    let mut attempts = Vec::new();
    for global in reading(session, config)? {
        let inner = Session::new(&global, session.env);
        let repository = Settings::find(&global, session.env, false)?.open(&global, session.env)?;
        let runs = inner.with(&repository, |repository| Ok(logged_runs(repository)?))?;
        attempts.extend(of_log(&runs, &repository.state().snapshots));
    }
    Ok(attempts)
}

/// What is wrong comes first, and then the table of all.
fn print(session: &Session, statuses: &[Status], now_ms: i64) -> Result<()> {
    let wrong: Vec<&Status> = statuses.iter().filter(|status| status.level > Level::Good).collect();
    for status in &wrong {
        session.print(&told(session, status, now_ms))?;
    }
    if session.global.tells() {
        if !wrong.is_empty() {
            session.print("")?;
        }
        let last = heading("LAST SUCCESS", &session.env.zone);
        let head = ["HOST", "SOURCE", "KIND", "SCHEDULE", "STATE", &last, "AGE", "TOOK", "SIZE"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(statuses.iter().map(|status| row(session, status, now_ms)));
        use Side::{Left, Right, Whole};
        session.table(&[Left, Left, Left, Left, Whole, Whole, Right, Right, Right], &rows)?;
        session.print(&line(statuses))?;
    }
    Ok(())
}

fn row(session: &Session, status: &Status, now_ms: i64) -> Vec<String> {
    let text = |text: &str| escape(text.as_bytes());
    let success = status.success_ms;
    vec![
        text(&status.host),
        text(&name(status)),
        text(&status.kind),
        text(status.schedule.as_deref().unwrap_or_default()),
        status.state.word().to_owned(),
        success.map(|ms| show(ms, &session.env.zone)).unwrap_or_default(),
        success.map(|ms| age(now_ms - ms)).unwrap_or_default(),
        status.duration_ms.map(|ms| duration(ms.unsigned_abs())).unwrap_or_default(),
        status.bytes.map(size).unwrap_or_default(),
    ]
}

/// The source as its job names it.
fn name(status: &Status) -> String {
    match status.source.split_once('/') {
        Some((family, source)) if !status.job.is_empty() && family != status.job => format!("{}/{source}", status.job),
        _ => status.source.clone(),
    }
}

/// Characters of an error that are told in a line.
const ERROR_LEN_MAX: usize = 300;

/// What is wrong with a source, and what to do.
fn told(session: &Session, status: &Status, now_ms: i64) -> String {
    let zone = &session.env.zone;
    let text =
        |text: &str| shortened_to(ERROR_LEN_MAX, &escape(text.lines().collect::<Vec<_>>().join("; ").as_bytes()));
    let why = status.error.as_deref().map(|error| format!(": {}", text(error))).unwrap_or_default();
    let at = |ms: Option<i64>| ms.map(|ms| show(ms, zone)).unwrap_or_default();
    let what = match status.state {
        State::Overdue => match status.missed_ms {
            Some(slot) => format!("nothing was saved since it was due at {}", show(slot, zone)),
            None => format!("a run that began at {} has not ended in its time", at(status.begun_ms)),
        },
        State::Never => match status.missed_ms {
            Some(slot) => format!("it was never saved; it was due at {}", show(slot, zone)),
            None => "it was never saved".to_owned(),
        },
        State::Failed | State::Partial | State::Crashed | State::Warnings => {
            format!("the run of {}{why}", at(status.begun_ms))
        }
        State::Unscheduled => "it has no schedule: nobody would miss it".to_owned(),
        State::Good | State::Running | State::Unconfigured => String::new(),
    };
    let last = match status.success_ms {
        Some(ms) => format!("last success {}, {} ago", show(ms, zone), age(now_ms - ms)),
        None if status.state == State::Never => return format!("{}: {what}", subject(status)),
        None => "no success so far".to_owned(),
    };
    format!("{}: {what}; {last}", subject(status))
}

/// The state, the source and the machine.
fn subject(status: &Status) -> String {
    let (host, name) = (escape(status.host.as_bytes()), escape(name(status).as_bytes()));
    format!("{} {name} on {host}", status.state.word())
}

/// All in one line, as monitoring systems show it: `OK: 12 sources on 4 machines`.
fn line(statuses: &[Status]) -> String {
    let word = match worst(statuses) {
        Level::Good => "OK",
        Level::Warning => "WARNING",
        Level::Critical => "CRITICAL",
    };
    let wrong: Vec<String> = statuses.iter().filter(|status| status.level > Level::Good).map(subject).collect();
    let named = match wrong.len() {
        0 => String::new(),
        n if n > NAMED_MAX => format!(" ({} and {} more)", wrong[..NAMED_MAX].join(", "), n - NAMED_MAX),
        _ => format!(" ({})", wrong.join(", ")),
    };
    format!("{word}: {}{named}", summary(statuses))
}

/// So many sources that are not well are named in a line.
const NAMED_MAX: usize = 5;

/// How many sources are in each state.
fn summary(statuses: &[Status]) -> String {
    let hosts: BTreeSet<&str> = statuses.iter().map(|status| status.host.as_str()).collect();
    let mut states: BTreeMap<State, usize> = BTreeMap::new();
    for status in statuses {
        *states.entry(status.state).or_default() += 1;
    }
    let states: Vec<String> = states.iter().map(|(state, n)| format!("{n} {}", state.word().to_lowercase())).collect();
    let sources = pluralize(statuses.len() as u64, "source", "sources");
    let machines = pluralize(hosts.len() as u64, "machine", "machines");
    format!("{sources} on {machines}: {}", states.join(", "))
}

fn oldest_age_ms(statuses: &[Status], now_ms: i64) -> Option<i64> {
    let scheduled = statuses.iter().filter(|status| status.schedule.is_some());
    scheduled.filter_map(|status| status.success_ms).min().map(|oldest| (now_ms - oldest).max(0))
}
