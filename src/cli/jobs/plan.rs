//! What this machine is to run.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;

use crate::cli::env::Env;
use crate::cli::error::{CliError, Result};
use crate::jobs::config::{Config, Job, Source, runs_here};

/// Keys of jobs and sources that this version does not carry out, and without which a run would mean something else.
pub(in crate::cli) const NEEDED: [&str; 3] = ["for_each", "record", "container"];
/// Keys that this version does not carry out, and without which a run means the same.
pub(in crate::cli) const PASSED_OVER: [&str; 7] =
    ["timeout", "retries", "min_ratio", "max_ratio", "first", "trailer", "min_size"];

/// What is to be run of a job.
pub(in crate::cli) struct Planned<'c> {
    pub(in crate::cli) job: &'c Job,
    pub(in crate::cli) sources: Vec<&'c Source>,
}

pub(in crate::cli) fn zone_of(config: &Config, job: &Job) -> Result<Option<TimeZone>> {
    let zone = job.table.text("time_zone").or(config.table.text("time_zone"));
    zone.map(TimeZone::get).transpose().map_err(|e| CliError::Usage(e.to_string()))
}

pub(in crate::cli) fn host(env: &Env) -> String {
    env.variable("STRONGROOM_HOST").map_or_else(|| env.host.clone(), |host| host.to_string_lossy().into_owned())
}

pub(in crate::cli) fn plan<'c>(config: &'c Config, named: &[String], host: &str) -> Result<Vec<Planned<'c>>> {
    let mine = |job: &'c Job| -> Vec<&'c Source> {
        job.sources.iter().filter(|source| source.is_enabled() && runs_here(&source.table, host)).collect()
    };
    if named.is_empty() {
        let jobs = config.jobs.iter().filter(|job| job.is_enabled());
        let planned = jobs.map(|job| Planned { job, sources: mine(job) });
        return Ok(planned.filter(|planned| !planned.sources.is_empty()).collect());
    }
    let mut planned: Vec<Planned<'c>> = Vec::new();
    for name in named {
        let (job, source) = name.split_once('/').map_or((name.as_str(), None), |(job, source)| (job, Some(source)));
        let known = || config.jobs.iter().map(|job| job.name.clone()).collect::<Vec<_>>().join(", ");
        let Some(job) = config.job(job) else {
            return Err(CliError::Usage(format!("there is no job `{job}`; there are: {}", known())));
        };
        let sources = match source {
            None => mine(job),
            Some(source) => {
                let found = job.sources.iter().find(|known| known.name == source);
                let missing = || CliError::Usage(format!("job `{}` has no source `{source}`", job.name));
                vec![found.ok_or_else(missing)?]
            }
        };
        if !job.is_enabled() || sources.iter().any(|source| !source.is_enabled()) {
            return Err(CliError::Usage(format!("`{name}` is disabled: `enabled = false`")));
        }
        if sources.iter().any(|source| !runs_here(&source.table, host)) || sources.is_empty() {
            let text = format!("`{name}` is not run on {host}: `hosts` of the configuration names other machines");
            return Err(CliError::Usage(text));
        }
        match planned.iter_mut().find(|planned| planned.job.name == job.name) {
            Some(planned) => {
                let known: BTreeSet<&str> = planned.sources.iter().map(|source| source.name.as_str()).collect();
                planned.sources.extend(sources.into_iter().filter(|source| !known.contains(source.name.as_str())));
            }
            None => planned.push(Planned { job, sources }),
        }
    }
    Ok(planned)
}

/// Refuses what would not be done as it is written.
pub(in crate::cli) fn check_supported(planned: &Planned<'_>) -> Result<()> {
    let job = &planned.job.name;
    let refuse =
        |what: String| Err(CliError::Usage(format!("{what}, which this version does not do; nothing was run")));
    if let Some(key) = NEEDED.iter().find(|key| planned.job.table.get(key).is_some()) {
        return refuse(format!("job `{job}` has `{key}`"));
    }
    for source in &planned.sources {
        if let Some(key) = NEEDED.iter().find(|key| source.table.get(key).is_some()) {
            return refuse(format!("source `{job}/{}` has `{key}`", source.name));
        }
        if !matches!(source.table.text("kind"), Some("path" | "command")) {
            let kind = source.table.text("kind").unwrap_or_default();
            return refuse(format!("source `{job}/{}` is of kind {kind}", source.name));
        }
    }
    Ok(())
}
