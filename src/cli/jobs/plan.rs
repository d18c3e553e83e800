//! What this machine is to run.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;

use crate::cli::env::Env;
use crate::cli::error::{CliError, Result};
use crate::jobs::config::tree::Value;
use crate::jobs::config::{Config, Job, Source, runs_here};

/// What is to be run of a job.
pub(in crate::cli) struct Planned<'c> {
    pub(in crate::cli) job: &'c Job,
    pub(in crate::cli) sources: Vec<Source>,
    /// What is to be run of the sources that a command lists.
    pub(in crate::cli) lines: Lines,
    /// Only sources of it were named, and not the job.
    pub(in crate::cli) alone: bool,
}

impl Planned<'_> {
    /// What its sources are called in the repository, as far as no command lists them.
    pub(in crate::cli) fn names(&self) -> Vec<String> {
        let lines = if let Lines::Named(names) = &self.lines { names.as_slice() } else { &[] };
        let names = self.sources.iter().map(|source| &source.name).chain(lines);
        names.map(|name| format!("{}/{name}", self.job.family)).collect()
    }

    /// The sources that were named; none if that was the whole job.
    pub(in crate::cli) fn asked_for(&self) -> Vec<String> {
        let lines: &[String] = if let Lines::Named(lines) = &self.lines { lines } else { &[] };
        let names = self.sources.iter().map(|source| &source.name).chain(lines);
        names.filter(|_| self.alone).map(|name| format!("{}/{name}", self.job.name)).collect()
    }
}

/// What is to be run of the sources that a command lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Lines {
    /// Nothing.
    None,
    /// All of them.
    All,
    /// These.
    Named(Vec<String>),
}

pub(in crate::cli) fn zone_of(config: &Config, job: &Job) -> Result<Option<TimeZone>> {
    let zone = job.table.text("time_zone").or(config.table.text("time_zone"));
    zone.map(TimeZone::get).transpose().map_err(|e| CliError::Usage(e.to_string()))
}

/// How many dumps of a job are made at a time.
pub(in crate::cli) fn parallel(job: &Job) -> usize {
    match job.table.get("parallel").map(|node| &node.value) {
        Some(Value::Integer(count)) => usize::try_from(*count).unwrap_or(1).max(1),
        _ => 1,
    }
}

/// The name of this machine in snapshots and in `hosts`.
pub(in crate::cli) fn host(env: &Env) -> String {
    if let Some(named) = env.named_host.get() {
        return named.clone();
    }
    env.variable("STRONGROOM_HOST").map_or_else(|| env.host.clone(), |host| host.to_string_lossy().into_owned())
}

/// The sources of a job that this machine runs, and whether it runs those that a command lists.
fn mine(job: &Job, host: &str) -> (Vec<Source>, Lines) {
    let is_mine = |source: &&Source| source.is_enabled() && runs_here(&source.table, host);
    let sources = job.sources.iter().filter(is_mine).cloned().collect();
    let lists = job.table.get("for_each").is_some() && runs_here(&job.table, host);
    (sources, if lists { Lines::All } else { Lines::None })
}

/// What is to be run: what is named, or all that this machine runs.
pub(in crate::cli) fn plan<'c>(config: &'c Config, named: &[String], host: &str) -> Result<Vec<Planned<'c>>> {
    if named.is_empty() {
        let jobs = config.jobs.iter().filter(|job| job.is_enabled());
        let planned = jobs.map(|job| {
            let (sources, lines) = mine(job, host);
            Planned { job, sources, lines, alone: false }
        });
        return Ok(planned.filter(|p| !p.sources.is_empty() || p.lines != Lines::None).collect());
    }
    let mut planned: Vec<Planned<'c>> = Vec::new();
    for name in named {
        let one = plan_one(config, name, host)?;
        match planned.iter_mut().find(|planned| planned.job.name == one.job.name) {
            Some(planned) => {
                let known: BTreeSet<String> = planned.sources.iter().map(|source| source.name.clone()).collect();
                planned.sources.extend(one.sources.into_iter().filter(|source| !known.contains(&source.name)));
                planned.lines = std::mem::replace(&mut planned.lines, Lines::None).and(one.lines);
                planned.alone &= one.alone;
            }
            None => planned.push(one),
        }
    }
    Ok(planned)
}

impl Lines {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, other) => other,
            (own, Self::None) => own,
            (Self::Named(own), Self::Named(more)) => Self::Named([own, more].concat()),
            _ => Self::All,
        }
    }
}

fn plan_one<'c>(config: &'c Config, name: &str, host: &str) -> Result<Planned<'c>> {
    let (job, source) = name.split_once('/').map_or((name, None), |(job, source)| (job, Some(source)));
    let known = || config.jobs.iter().map(|job| job.name.clone()).collect::<Vec<_>>().join(", ");
    let Some(job) = config.job(job) else {
        return Err(CliError::Usage(format!("there is no job `{job}`; there are: {}", known())));
    };
    let (sources, lines) = match source {
        None => mine(job, host),
        Some(source) => match job.sources.iter().find(|known| known.name == source) {
            Some(found) => (vec![found.clone()], Lines::None),
            None if job.table.get("for_each").is_some() && runs_here(&job.table, host) => {
                (Vec::new(), Lines::Named(vec![source.to_owned()]))
            }
            None => return Err(CliError::Usage(format!("job `{}` has no source `{source}`", job.name))),
        },
    };
    if !job.is_enabled() || sources.iter().any(|source| !source.is_enabled()) {
        return Err(CliError::Usage(format!("`{name}` is disabled: `enabled = false`")));
    }
    let is_elsewhere = sources.iter().any(|source| !runs_here(&source.table, host));
    if is_elsewhere || (sources.is_empty() && lines == Lines::None) {
        let text = format!("`{name}` is not run on {host}: `hosts` of the configuration names other machines");
        return Err(CliError::Usage(text));
    }
    Ok(Planned { job, sources, lines, alone: source.is_some() })
}

/// Refuses what would not be done as it is written.
pub(in crate::cli) fn check_supported(planned: &Planned<'_>) -> Result<()> {
    let job = &planned.job.name;
    let refuse =
        |what: String| Err(CliError::Usage(format!("{what}, which this version does not do; nothing was run")));
    for source in &planned.sources {
        let kind = source.table.text("kind").unwrap_or_default();
        if !matches!(kind, "path" | "command" | "postgres" | "mysql" | "mariadb" | "sqlite") {
            return refuse(format!("source `{job}/{}` is of kind {kind}", source.name));
        }
        if matches!(kind, "path" | "command" | "sqlite") && source.table.get("container").is_some() {
            let text = format!("source `{job}/{}` has `container`: kind {kind} runs no tool in one", source.name);
            return Err(CliError::Usage(text));
        }
    }
    Ok(())
}
