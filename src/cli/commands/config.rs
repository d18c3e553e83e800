//! `config`: what the configuration file says, and whether it can be used.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json, json};

use super::super::context::Session;
use super::super::error::{CliError, Result};
use super::super::exit::Exit;
use super::super::output::text::{escape, pluralize};
use super::super::redact::{mask, quote};
use crate::cli::config_file::{ConfigFileArgument, load};
use crate::cli::jobs::check::tried;
use crate::cli::jobs::plan::host;
use crate::cli::jobs::repository::{SECRET_KEYS, Stronger};
use crate::jobs::config::tree::{Node, Table, Value};
use crate::jobs::config::{Config, find, keys, runs_here, schema};
use crate::jobs::starter;
use crate::primitives::progress::{Observer, Severity};

/// Options of `config`.
#[derive(Args)]
pub struct ConfigArguments {
    /// What to do.
    #[command(subcommand)]
    pub action: ConfigAction,
    /// The file.
    #[command(flatten)]
    pub file: ConfigFileArgument,
}

/// What can be done with a configuration file.
#[derive(Subcommand)]
pub enum ConfigAction {
    /// Check the configuration file, the repositories and the sources of this machine's jobs; nothing is saved
    Check {
        /// Check only the file; open nothing
        #[arg(long)]
        file_only: bool,
    },
    /// Show what is in force for each job and source, and where each value comes from
    Show {
        /// Only these jobs
        #[arg(value_name = "JOB")]
        jobs: Vec<String>,
    },
    /// Write a configuration file to begin with, for what is found on this machine
    Init,
    /// Print a JSON schema of the configuration file
    Schema,
}

/// Checks or shows the configuration.
pub(crate) fn run(session: &Session, arguments: &ConfigArguments) -> Result<Exit> {
    match &arguments.action {
        ConfigAction::Schema => {
            let mut whole =
                json!({ "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "strongroom.toml" });
            if let (Json::Object(whole), Json::Object(schema)) = (&mut whole, schema::json_schema(keys::FILE)) {
                whole.extend(schema);
            }
            let text = serde_json::to_string_pretty(&whole).map_err(|e| CliError::Output(e.into()))?;
            session.print(&text)?;
        }
        ConfigAction::Init => init(session, &arguments.file)?,
        ConfigAction::Check { file_only } => return check(session, &arguments.file, *file_only),
        ConfigAction::Show { jobs } => show(session, &load(session, &arguments.file)?, jobs)?,
    }
    Ok(Exit::Done)
}

/// Writes a file that is not there yet. Only its owner can read it.
fn init(session: &Session, argument: &ConfigFileArgument) -> Result<()> {
    let env = session.env;
    let variable = env.variable("STRONGROOM_CONFIG").map(PathBuf::from);
    let users = || env.xdg("XDG_CONFIG_HOME", ".config").map(|folder| folder.join("strongroom").join(find::NAME));
    let usual = || match env.user == "root" {
        true => Some(Path::new(find::SYSTEM).join(find::NAME)),
        false => users(),
    };
    let file = argument.config.clone().or(variable).map(|file| env.cwd.join(file)).or_else(usual);
    let file = file.ok_or_else(|| CliError::Usage("name the file with --config".to_owned()))?;
    let repository = session.global.repo.clone();
    let repository =
        repository.or_else(|| env.variable("STRONGROOM_REPO").map(|repo| repo.to_string_lossy().into_owned()));
    let credential = session.global.credential.as_deref().map(|file| env.cwd.join(file));
    let found = starter::find(Path::new("/"));
    let text = starter::text(&found, repository.as_deref(), credential.as_deref());
    let folder = file.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(folder).map_err(CliError::file("make", folder))?;
    let new = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
    let written = new.and_then(|mut new| new.write_all(text.as_bytes()).and_then(|()| new.sync_all()));
    match written {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(CliError::Exists { path: file });
        }
        written => written.map_err(CliError::file("write", &file))?,
    }
    let shown = file.display().to_string();
    if session.global.json {
        return session.print_object(json!({
            "type": "config_init",
            "file": shown,
            "postgres": found.postgres,
            "mysql": found.mysql,
            "dss": found.dss,
        }));
    }
    let mut kinds: Vec<String> = Vec::new();
    kinds.extend(found.postgres.map(|_| "a PostgreSQL server".to_owned()));
    kinds.extend(found.mysql.map(|_| "a MySQL or MariaDB server".to_owned()));
    kinds.extend(found.dss.iter().map(|folder| format!("a DSS data directory, {}", folder.display())));
    let kinds = if kinds.is_empty() { "no databases and no DSS".to_owned() } else { kinds.join(", ") };
    let option = argument.config.as_ref().map(|file| format!(" --config {}", quote(&file.to_string_lossy())));
    let option = option.unwrap_or_default();
    session.print(&format!("{shown} is written; found {kinds}\nedit it, then try it: strongroom config check{option}"))
}

fn check(session: &Session, file: &ConfigFileArgument, file_only: bool) -> Result<Exit> {
    let config = load(session, file)?;
    let problems = if file_only { Vec::new() } else { tried(session, &config)? };
    for problem in &problems {
        session.progress.finding(Severity::Error, problem);
    }
    if session.global.json {
        session.print_object(json!({
            "type": "config_check",
            "files": files(&config),
            "jobs": config.jobs.len(),
            "problems": problems,
        }))?;
    } else if session.global.tells() {
        let sources: usize = config.jobs.iter().map(|job| job.sources.len()).sum();
        let (jobs, sources) =
            (pluralize(config.jobs.len() as u64, "job", "jobs"), pluralize(sources as u64, "source", "sources"));
        let found = match problems.len() as u64 {
            0 => "no errors found".to_owned(),
            n => pluralize(n, "error found", "errors found"),
        };
        session.print(&format!("{}: {found}; {jobs}, {sources}", files(&config).join(", ")))?;
    }
    Ok(if problems.is_empty() { Exit::Done } else { Exit::Failed })
}

fn files(config: &Config) -> Vec<String> {
    config.files.iter().map(|file| file.display().to_string()).collect()
}

fn show(session: &Session, config: &Config, only: &[String]) -> Result<()> {
    if let Some(unknown) = only.iter().find(|name| config.job(name).is_none()) {
        let known: Vec<&str> = config.jobs.iter().map(|job| job.name.as_str()).collect();
        return Err(CliError::Usage(format!("there is no job `{unknown}`; there are: {}", known.join(", "))));
    }
    let (stronger, host) = (Stronger::of(session.global, session.env), host(session.env));
    let jobs = || config.jobs.iter().filter(|job| only.is_empty() || only.contains(&job.name));
    let rest = config.table.without(&["jobs", "defaults"]);
    if session.global.json {
        let mut all = Map::new();
        for job in jobs() {
            let mut table = as_json(&job.table);
            let sources = job.sources.iter().map(|source| (source.name.clone(), Json::Object(as_json(&source.table))));
            table.insert("sources".to_owned(), Json::Object(sources.collect()));
            all.insert(job.name.clone(), Json::Object(table));
        }
        let mut rest = as_json(&rest);
        rest.insert("jobs".to_owned(), Json::Object(all));
        let (url, by_url) = stronger.url.as_ref().map(|(by, url)| (mask(url), *by)).unzip();
        return session.print_object(json!({
            "type": "config",
            "files": files(config),
            "config": rest,
            "instead": {
                "url": url,
                "url_by": by_url,
                "password_by": stronger.secret,
                "limit_upload_by": stronger.limit_upload,
            },
        }));
    }
    let mut lines = Vec::new();
    if only.is_empty() {
        table_lines("", &rest, &stronger, &mut lines);
    }
    for job in jobs() {
        let here = if runs_here(&job.table, &host) { "" } else { "   # not run on this machine" };
        lines.push(format!("[jobs.{}]{here}", job.name));
        table_lines("", &job.table, &stronger, &mut lines);
        for source in &job.sources {
            let here = if runs_here(&source.table, &host) { "" } else { "   # not run on this machine" };
            lines.push(format!("[jobs.{}.sources.{}]{here}", job.name, source.name));
            table_lines("", &source.table, &stronger, &mut lines);
        }
    }
    session.print(&lines.join("\n"))
}

/// A line for each value, with the place where it stands; tables below are keys with dots.
fn table_lines(above: &str, table: &Table, stronger: &Stronger, lines: &mut Vec<String>) {
    for entry in &table.0 {
        let name = if above.is_empty() { entry.key.clone() } else { format!("{above}.{}", entry.key) };
        match &entry.node.value {
            Value::Table(table) => table_lines(&name, table, stronger, lines),
            _ => lines.push(line(&name, &entry.node, stronger)),
        }
    }
}

/// A value and the place where it stands; or what counts in its place, by the command line or the environment.
fn line(name: &str, node: &Node, stronger: &Stronger) -> String {
    let of_repository = name.strip_prefix("repositories.").and_then(|rest| Some(rest.rsplit_once('.')?.1));
    let place = &node.place;
    if let (Some("url"), Some((by, url))) = (of_repository, &stronger.url) {
        return format!("{name} = {}   # {by}, in place of {place}", json!(escape(mask(url).as_bytes())));
    }
    let by = match of_repository {
        Some(key) if SECRET_KEYS.contains(&key) => stronger.secret,
        Some("limit_upload") => stronger.limit_upload,
        None if name == "limit_upload" => stronger.limit_upload,
        _ => None,
    };
    let not_used = by.map(|by| format!(", not used: {by} takes its place")).unwrap_or_default();
    format!("{name} = {}   # {place}{not_used}", shown(node))
}

/// A value as a file would say it, without what looks like a secret.
fn shown(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => json!(escape(mask(text).as_bytes())).to_string(),
        Value::List(list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(", ")),
        other => json_of(other).to_string(),
    }
}

fn as_json(table: &Table) -> Map<String, Json> {
    table.0.iter().map(|entry| (entry.key.clone(), json_of(&entry.node.value))).collect()
}

fn json_of(value: &Value) -> Json {
    match value {
        Value::Text(text) => json!(mask(text)),
        Value::Integer(number) => json!(number),
        Value::Number(number) => json!(number),
        Value::Bool(value) => json!(value),
        Value::List(list) => list.iter().map(|node| json_of(&node.value)).collect(),
        Value::Table(table) => Json::Object(as_json(table)),
    }
}
