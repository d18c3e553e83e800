//! The repository of a job.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::cli::args::GlobalArguments;
use crate::cli::context::Session;
use crate::cli::error::{CliError, Result};
use crate::cli::values;
use crate::compression::CompressionLevel;
use crate::jobs::config::find::check_private;
use crate::jobs::config::{Config, Job};

use super::plan::host;
use super::secrets::secret_file;
use super::texts::Texts;

pub(in crate::cli) fn compression(config: &Config, job: &Job) -> CompressionLevel {
    let name = job.table.text("repository").unwrap_or_default();
    let repository = config.table.table("repositories").and_then(|all| all.table(name));
    match job.table.text("compression").or(repository.and_then(|table| table.text("compression"))) {
        Some("off") => CompressionLevel::Off,
        Some("fast") => CompressionLevel::Fast,
        Some("max") => CompressionLevel::Max,
        _ => CompressionLevel::default(),
    }
}

/// The repositories that jobs name, for somebody who reads: a credential that only adds is not used. What the command line
/// names goes before.
pub(in crate::cli) fn reading(session: &Session, config: &Config) -> Result<Vec<GlobalArguments>> {
    if session.global.repo.is_some() {
        return Ok(vec![session.global.clone()]);
    }
    let host = host(session.env);
    let mut names = BTreeSet::new();
    let mut all = Vec::new();
    for job in config.jobs.iter().filter(|job| job.is_enabled()) {
        let name = job.table.text("repository").unwrap_or_default();
        if !names.insert(name) {
            continue;
        }
        let texts = Texts { env: session.env, host: &host, job: &job.name };
        let table = config.table.table("repositories").and_then(|all| all.table(name));
        let named = repository_of(session.global, config, job, &texts)?;
        let table = table.map(|table| table.without(&["credential"])).unwrap_or_default();
        all.push(GlobalArguments {
            credential: session.global.credential.clone(),
            password_file: secret_file(&table, "password", &texts, None)?,
            passphrase_variable: table.text("password_env").map(str::to_owned),
            password_command: table.text("password_command").map(str::to_owned),
            ..named
        });
    }
    Ok(all)
}

/// The global options as if the job's repository had been named there.
pub(in crate::cli) fn repository_of(
    global: &GlobalArguments,
    config: &Config,
    job: &Job,
    texts: &Texts<'_>,
) -> Result<GlobalArguments> {
    let name = job.table.text("repository").unwrap_or_default();
    let missing = || CliError::Usage(format!("repository `{name}` has no `url`"));
    let table = config.table.table("repositories").and_then(|all| all.table(name)).ok_or_else(missing)?;
    let text = |key: &str| table.text(key).map(|text| texts.filled(text, None)).transpose();
    let rate = |text: Option<&str>| text.map(values::rate).transpose().map_err(CliError::Usage);
    let credential = text("credential")?.map(PathBuf::from);
    let is_owner = credential.is_none();
    if let Some(file) = &credential {
        check_private(file).map_err(CliError::Usage)?;
    }
    let password_file = if is_owner { secret_file(table, "password", texts, None)? } else { None };
    Ok(GlobalArguments {
        repo: Some(text("url")?.ok_or_else(missing)?),
        credential,
        password_file,
        passphrase_variable: table.text("password_env").map(str::to_owned).filter(|_| is_owner),
        // A command is for a shell: nothing is filled in.
        password_command: table.text("password_command").map(str::to_owned).filter(|_| is_owner),
        limit_upload: rate(job.table.text("limit_upload").or(table.text("limit_upload")))?.or(global.limit_upload),
        ..global.clone()
    })
}
