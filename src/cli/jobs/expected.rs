//! What the configuration expects to be saved, on every machine that it names.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use crate::cli::context::Session;
use crate::cli::error::{CliError, Result};
use crate::cli::values;
use crate::jobs::audit::{Attempt, Expected};
use crate::jobs::config::tree::{Table, Value};
use crate::jobs::config::{Config, Job, Source};
use crate::jobs::schedule::{Schedule, jitter_ms};

use super::hooks::timeout_ms;
use super::plan::{host, zone_of};

/// How long after its slot a source counts as overdue if nothing is said: 2 hours.
const GRACE_MS: i64 = 2 * 3_600_000;

/// Which machines are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Machines {
    /// This one.
    This,
    /// All that the configuration names, and all that saved something.
    All,
}

/// The sources that are expected, in the order of the configuration. `attempts` say where jobs run that name no
/// machine.
pub(in crate::cli) fn expected(
    session: &Session,
    config: &Config,
    machines: Machines,
    attempts: &[Attempt],
) -> Result<Vec<Expected>> {
    let this = host(session.env);
    let now_ms = session.env.system.now_ms();
    let since_ms = changed_ms(config).filter(|changed| *changed <= now_ms);
    let mut all = Vec::new();
    for job in config.jobs.iter().filter(|job| job.is_enabled()) {
        if job.table.get("for_each").is_some() {
            let list = Source { name: job.name.clone(), table: Table::default() };
            for host in hosts(&job.table, &job.name, machines, &this, attempts) {
                let of_list = of_source(session, config, job, &list, &job.name)?;
                all.push(Expected { host, since_ms, kind: "for_each".to_owned(), ..of_list });
            }
        }
        for source in sources(job, attempts) {
            let path = format!("{}/{}", job.family, source.name);
            for host in hosts(&source.table, &path, machines, &this, attempts) {
                all.push(Expected { host, since_ms, ..of_source(session, config, job, &source, &path)? });
            }
        }
    }
    // A jitter belongs to a machine.
    for expected in &mut all {
        if let Some(job) = config.job(&expected.job) {
            expected.jitter_ms = jitter_ms(&expected.host, &job.name, duration(&job.table, "jitter")?.unwrap_or(0));
        }
    }
    Ok(all)
}

/// The sources of a job, and those that its list named when it was last run on some machine.
fn sources(job: &Job, attempts: &[Attempt]) -> Vec<Source> {
    let mut sources: Vec<Source> = job.sources.iter().filter(|source| source.is_enabled()).cloned().collect();
    if job.table.get("for_each").is_none() {
        return sources;
    }
    let of_job = || attempts.iter().filter(|attempt| attempt.job.as_deref() == Some(job.name.as_str()));
    let hosts: BTreeSet<&str> = of_job().map(|attempt| attempt.host.as_str()).collect();
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for host in hosts {
        // The newest run whose list was had.
        let of_host = || {
            let of_host = of_job().filter(|attempt| attempt.host == host && !attempt.alone);
            of_host.filter_map(|attempt| {
                Some((attempt.begun_ms, attempt.source.strip_prefix(job.family.as_str())?.strip_prefix('/')?))
            })
        };
        let last = of_host().map(|(begun_ms, _)| begun_ms).max();
        names.extend(of_host().filter(|(begun_ms, _)| Some(*begun_ms) == last).map(|(_, name)| name));
    }
    for name in names {
        if !job.sources.iter().any(|known| known.name == name) {
            sources.push(Source { name: name.to_owned(), table: Table::default() });
        }
    }
    sources
}

/// The machines that are to save a source.
fn hosts(table: &Table, path: &str, machines: Machines, this: &str, attempts: &[Attempt]) -> Vec<String> {
    let named: Option<Vec<&str>> = match table.get("hosts").map(|node| &node.value) {
        Some(Value::List(hosts)) => Some(
            hosts
                .iter()
                .filter_map(|node| match &node.value {
                    Value::Text(name) => Some(name.as_str()),
                    _ => None,
                })
                .collect(),
        ),
        _ => None,
    };
    let is_everywhere = named.as_ref().is_none_or(|names| names.contains(&"*"));
    let mut hosts: BTreeSet<String> =
        named.into_iter().flatten().filter(|name| *name != "*").map(str::to_owned).collect();
    match machines {
        Machines::This => return if is_everywhere || hosts.contains(this) { vec![this.to_owned()] } else { vec![] },
        // Where it was tried before, it is to be run.
        Machines::All if is_everywhere => {
            hosts.extend(attempts.iter().filter(|a| a.source == path).map(|a| a.host.clone()));
        }
        Machines::All => {}
    }
    hosts.into_iter().collect()
}

fn of_source(session: &Session, config: &Config, job: &Job, source: &Source, path: &str) -> Result<Expected> {
    let schedule = job.table.text("schedule").map(str::to_owned);
    let parsed = schedule.as_deref().map(str::parse::<Schedule>).transpose().map_err(CliError::Usage)?;
    Ok(Expected {
        host: String::new(),
        job: job.name.clone(),
        job_type: job.table.text("type").unwrap_or("Daily").to_owned(),
        source: path.to_owned(),
        kind: source.table.text("kind").unwrap_or_default().to_owned(),
        schedule: parsed,
        schedule_text: schedule,
        zone: zone_of(config, job)?.unwrap_or(session.env.zone.clone()),
        jitter_ms: 0,
        grace_ms: duration(&job.table, "grace")?.unwrap_or(GRACE_MS),
        timeout_ms: longest_ms(job)?,
        since_ms: None,
    })
}

/// How long a run of a job may take: its sources come one after the other. `None` if one of them has no limit, or has
/// databases, for the time-out counts for each of them by itself.
fn longest_ms(job: &Job) -> Result<Option<i64>> {
    let has_members =
        |source: &Source| matches!(source.table.text("kind"), Some("postgres" | "mysql" | "mariadb" | "sqlite"));
    if job.table.get("for_each").is_some() || job.sources.iter().any(has_members) {
        return Ok(None);
    }
    let mut sum = i64::try_from(timeout_ms(&job.table)?.saturating_mul(3)).unwrap_or(i64::MAX);
    for source in job.sources.iter().filter(|source| source.is_enabled()) {
        let Some(timeout) = duration(&source.table, "timeout")? else { return Ok(None) };
        let retries = match source.table.get("retries").map(|node| &node.value) {
            Some(Value::Integer(retries)) => *retries,
            _ => 0,
        };
        sum = sum.saturating_add(timeout.saturating_mul(retries.saturating_add(1)));
    }
    Ok(Some(sum))
}

fn duration(table: &Table, key: &str) -> Result<Option<i64>> {
    table.text(key).map(values::duration_ms).transpose().map_err(CliError::Usage)
}

/// When the configuration was changed: what it names may be new since then.
fn changed_ms(config: &Config) -> Option<i64> {
    let times = config.files.iter().filter_map(|file| std::fs::metadata(file).ok()?.modified().ok());
    let newest = times.max()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(newest.as_millis()).ok()
}
