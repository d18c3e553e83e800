//! What stands in the way of jobs, before the first night.

use std::collections::BTreeSet;

use crate::cli::context::Session;
use crate::cli::error::{Result, error_text};
use crate::cli::hints::with_hint;
use crate::cli::settings::Settings;
use crate::databases;
use crate::jobs::config::{Config, Job, Source};
use crate::primitives::progress::{Observer, Severity};

use super::mysql::mysql_options;
use super::plan::{Lines, check_supported, host, plan};
use super::repository::{Stronger, repository_of};
use super::sqlite::sqlite_options;
use super::texts::Texts;
use super::{for_each, notify, postgres};

/// What stands in the way of the jobs of this machine: each repository is opened, each path looked for, each server asked.
/// Nothing is saved.
pub(in crate::cli) fn tried(session: &Session, config: &Config) -> Result<Vec<String>> {
    let (env, host) = (session.env, host(session.env));
    let mut problems = Vec::new();
    let mut opened = BTreeSet::new();
    problems.extend(notify::check(session, config)?);
    for planned in plan(config, &[], &host)? {
        let job = planned.job;
        let texts = Texts { env, host: &host, job: &job.name };
        problems.extend(check_supported(&planned).err().map(|e| error_text(&e)));
        let repository = job.table.text("repository").unwrap_or_default().to_owned();
        if opened.insert(repository.clone()) {
            for note in Stronger::of(session.global, env).notes(config, job, &texts) {
                session.progress.finding(Severity::Note, &note);
            }
            let open = || -> Result<()> {
                let global = repository_of(session.global, config, job, &texts)?;
                Settings::find(&global, env, false)?.open(&global, env)?;
                Ok(())
            };
            let failed = open().err().map(|e| format!("repository {repository}: {}", with_hint(&e)));
            problems.extend(failed);
        }
        let mut sources = planned.sources.clone();
        if planned.lines != Lines::None {
            match for_each::listed(job, &texts) {
                Ok(listed) => sources.extend(listed),
                Err(e) => problems.push(error_text(&e)),
            }
        }
        for source in &sources {
            let found = of_source(job, source, &texts).unwrap_or_else(|e| vec![error_text(&e)]);
            problems.extend(found.into_iter().map(|what| format!("source {}/{}: {what}", job.name, source.name)));
        }
    }
    Ok(problems)
}

/// What stands in the way of a source.
fn of_source(job: &Job, source: &Source, texts: &Texts<'_>) -> Result<Vec<String>> {
    Ok(match source.table.text("kind") {
        Some("path") => {
            let paths = texts.paths(source)?;
            let missing = paths.iter().filter_map(|path| Some((path, path.symlink_metadata().err()?)));
            missing.map(|(path, e)| format!("cannot read {}: {e}", path.display())).collect()
        }
        Some("postgres") => {
            let name = format!("{}/{}", job.family, source.name);
            databases::postgres::check(&postgres::options(name, source, texts, None)?)
        }
        Some("mysql" | "mariadb") => databases::mysql::check(&mysql_options(source, texts)?),
        Some("sqlite") => databases::sqlite::check(&sqlite_options(source, texts)?),
        _ => Vec::new(),
    })
}
