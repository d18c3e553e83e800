//! `credential` and `whoami`: what machines may do, and what this one may.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;

use crate::cli::config_file::{ConfigFileArgument, load};
use crate::format::record::Role;
use crate::ops::credentials::{self, CredentialReport, NewCredential};
use crate::repository::Repository;

use super::super::context::Session;
use super::super::error::{CliError, Result};
use super::super::exit::Exit;
use super::super::given::{check_names, check_text};
use super::super::output::text::{Side, escape, pluralize};
use super::super::settings::Settings;
use super::super::time::{self, rfc3339, show};
use clap::Args;
use clap::Subcommand;
use clap::ValueEnum;
use std::path::PathBuf;

/// What can be done with credentials.
#[derive(Subcommand)]
pub enum CredentialCommand {
    /// Create a credential for a machine and write it to a file
    #[command(after_help = CREDENTIAL_EXAMPLES)]
    Add(CredentialAddArguments),
    /// List credentials
    #[command(visible_alias = "ls")]
    List,
    /// Permanently revoke a credential
    Revoke(CredentialRevokeArguments),
}

const CREDENTIAL_EXAMPLES: &str = "\
Examples:
  strongroom credential add --role backup --host db1 --output db1.credential
  strongroom credential add --role backup --host web1 --source /srv/www --output web1.credential
  strongroom credential add --role read --name drill --output drill.credential";

/// Roles that can be given.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleArgument {
    /// Adds snapshots of its hosts, and reads nothing.
    Backup,
    /// Reads everything, and adds nothing.
    Read,
}

/// Options of `credential add`.
#[derive(Args)]
pub struct CredentialAddArguments {
    /// What the credential allows
    #[arg(long, value_enum)]
    pub role: RoleArgument,
    /// A host whose snapshots it may add; may be repeated
    #[arg(short = 'H', long, value_name = "NAME")]
    pub host: Vec<String>,
    /// A source whose snapshots it may add; may be repeated [default: any]
    #[arg(long, value_name = "NAME")]
    pub source: Vec<String>,
    /// A job of the configuration file: its sources, and whatever its list names; may be repeated
    #[arg(long, value_name = "JOB")]
    pub job: Vec<String>,
    /// The configuration file.
    #[command(flatten)]
    pub file: ConfigFileArgument,
    /// Name of the credential [default: the first host]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Write the credential to this file [default: standard output, unless it is a terminal]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Options of `credential revoke`.
#[derive(Args)]
pub struct CredentialRevokeArguments {
    /// An ID prefix, or the name
    #[arg(value_name = "CREDENTIAL")]
    pub which: String,
    /// Answer yes to all questions
    #[arg(short, long)]
    pub yes: bool,
}

/// Does what the subcommand says.
pub(crate) fn run(session: &Session, command: &CredentialCommand) -> Result<Exit> {
    match command {
        CredentialCommand::Add(arguments) => add(session, arguments),
        CredentialCommand::List => list(session),
        CredentialCommand::Revoke(arguments) => revoke(session, arguments),
    }
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Backup => "backup",
        Role::Read => "read",
    }
}

/// `type: "credential"`.
#[derive(Serialize)]
struct CredentialJson {
    r#type: &'static str,
    id: String,
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hosts: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_by_record: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

/// The sources that are named, and those of the jobs that are: lines of a list belong to the job itself.
fn sources(session: &Session, arguments: &CredentialAddArguments) -> Result<Vec<String>> {
    let mut sources = arguments.source.clone();
    if arguments.job.is_empty() {
        return Ok(sources);
    }
    let config = load(session, &arguments.file)?;
    for name in &arguments.job {
        let known = || config.jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>().join(", ");
        let missing = || CliError::Usage(format!("there is no job `{name}`; there are: {}", known()));
        let job = config.job(name).ok_or_else(missing)?;
        sources.push(job.family.clone());
        sources.extend(job.sources.iter().map(|source| format!("{}/{}", job.family, source.name)));
    }
    Ok(sources)
}

fn add(session: &Session, arguments: &CredentialAddArguments) -> Result<Exit> {
    check_names("--host", &arguments.host)?;
    check_names("--source", &arguments.source)?;
    arguments.name.as_deref().map_or(Ok(()), |name| check_text("--name", name))?;
    let settings = Settings::find(session.global, session.env, false)?;
    let repository = settings.open(session.global, session.env)?;
    let role = match arguments.role {
        RoleArgument::Backup => Role::Backup,
        RoleArgument::Read => Role::Read,
    };
    let name = arguments.name.clone().or_else(|| arguments.host.first().cloned());
    let new = NewCredential {
        role,
        name: name.unwrap_or_else(|| role_word(role).to_owned()),
        hosts: arguments.host.clone(),
        sources: sources(session, arguments)?,
        location: settings.location_elsewhere(session.env),
    };
    session.with(&repository, |repository| {
        let file = credentials::prepare(repository, new)?;
        let text = file.encode();
        // First the file: what is admitted and lies nowhere could never be used.
        match &arguments.output {
            Some(path) => write_file(&session.env.cwd.join(path), text.as_bytes())?,
            None if session.env.output_is_terminal || session.global.json => {
                let what = "a credential is a secret: name the file to write it to with --output FILE".to_owned();
                return Err(CliError::Usage(what));
            }
            None => {}
        }
        credentials::admit(repository, &file)?;
        if arguments.output.is_none() {
            return session.print(&text);
        }
        let path = arguments.output.as_ref().map(|p| p.display().to_string()).unwrap_or_default();
        if session.global.json {
            return session.print_json(&CredentialJson {
                r#type: "credential",
                id: file.id().to_string(),
                role: role_word(role),
                name: Some(file.name.clone()),
                hosts: Some(file.hosts.clone()),
                sources: Some(file.sources.clone()),
                created: None,
                revoked_by_record: None,
                file: Some(path),
            });
        }
        if session.global.tells() {
            let may = match role {
                Role::Backup => "add snapshots and read nothing",
                _ => "read everything and add nothing",
            };
            session.print(&format!(
                "admitted credential {} ({}), which may {may}\nit is in {path}: move it to the machine, and use it with --credential FILE or STRONGROOM_CREDENTIAL",
                file.id().short(),
                escape(file.name.as_bytes()),
            ))?;
        }
        Ok(())
    })?;
    Ok(Exit::Done)
}

fn write_file(path: &Path, text: &[u8]) -> Result<()> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text)?;
        file.sync_all()
    };
    write().map_err(CliError::file("write the credential to", path))
}

fn list(session: &Session) -> Result<Exit> {
    let all = session.with_repository(|repository| Ok(credentials::list(repository)))?;
    if session.global.json {
        all.iter().try_for_each(|c| session.print_json(&json(c)))?;
        return Ok(Exit::Done);
    }
    let made = time::heading("MADE", &session.env.zone);
    let heading = ["ID", "ROLE", "NAME", "HOSTS", "SOURCES", &made, "STATE"].map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(heading).chain(all.iter().map(|c| row(session, c))).collect();
    if !all.is_empty() {
        session
            .table(&[Side::Whole, Side::Left, Side::Left, Side::Left, Side::Left, Side::Whole, Side::Left], &rows)?;
    }
    if session.global.tells() {
        session.print(&format!("{} besides the owner's", pluralize(all.len() as u64, "credential", "credentials")))?;
    }
    Ok(Exit::Done)
}

fn row(session: &Session, c: &CredentialReport) -> Vec<String> {
    let text = |t: &str| escape(t.as_bytes());
    let state = match c.revoked {
        Some(record) => format!("revoked by record {record}"),
        None if c.open_runs.is_empty() => "valid".to_owned(),
        None => format!("valid, {}", pluralize(c.open_runs.len() as u64, "open run", "open runs")),
    };
    let (name, hosts, sources, made) = match &c.described {
        Some(d) => {
            let sources = if d.sources.is_empty() { "any".to_owned() } else { text(&d.sources.join(",")) };
            (text(&d.name), text(&d.hosts.join(",")), sources, show(d.created_ms, &session.env.zone))
        }
        None => Default::default(),
    };
    vec![c.id.short(), role_word(c.role).to_owned(), name, hosts, sources, made, state]
}

fn json(c: &CredentialReport) -> CredentialJson {
    let d = c.described.as_ref();
    CredentialJson {
        r#type: "credential",
        id: c.id.to_string(),
        role: role_word(c.role),
        name: d.map(|d| d.name.clone()),
        hosts: d.map(|d| d.hosts.clone()),
        sources: d.map(|d| d.sources.clone()),
        created: d.and_then(|d| rfc3339(d.created_ms)),
        revoked_by_record: c.revoked,
        file: None,
    }
}

fn revoke(session: &Session, arguments: &CredentialRevokeArguments) -> Result<Exit> {
    let report = session.with_repository(|repository| {
        let id = credentials::find(repository, &arguments.which)?;
        let question = format!(
            "Credential {} would be revoked for good: what it signs from now on is void. Do it? [y/N]",
            id.short()
        );
        if !arguments.yes && !session.progress.suspended(|| session.env.confirm(&question)) {
            return Err(CliError::Usage("nothing was revoked: agree to it, or give --yes".to_owned()));
        }
        Ok(credentials::revoke(repository, id)?)
    })?;
    if session.global.json {
        session.print_object(serde_json::json!({
            "type": "revoke",
            "id": report.id.to_string(),
            "epoch": report.epoch,
            "remaining": report.remaining,
            "closed_runs": report.closed.iter().map(|r| r.0).collect::<Vec<_>>(),
        }))?;
    } else if session.global.tells() {
        let closed = match report.closed.len() as u64 {
            0 => String::new(),
            n => format!("; {} of it closed", pluralize(n, "open run was", "open runs were")),
        };
        session.print(&format!(
            "revoked credential {}: what it signs from now on is void{closed}\nepoch {} began; {} its keys\ntake its key to the bucket away too: it may still read and write what the store lets it",
            report.id.short(),
            report.epoch,
            match report.remaining as u64 {
                1 => "the one other credential was given".to_owned(),
                n => format!("the {n} others were given"),
            },
        ))?;
    }
    Ok(Exit::Done)
}

/// Says what this credential is, and what it may do.
pub(crate) fn whoami(session: &Session) -> Result<Exit> {
    let settings = Settings::find(session.global, session.env, false)?;
    let repository = settings.open(session.global, session.env)?;
    session.with(&repository, |repository| say(session, &settings, repository))?;
    Ok(Exit::Done)
}

fn say(session: &Session, settings: &Settings, repository: &Repository) -> Result<()> {
    let role = repository.keys.role;
    let (may, may_not) = match role {
        Role::Owner => ("everything", "nothing"),
        Role::Backup => (
            "backup: add snapshots of its hosts and sources, and deduplicate against what the owner vouches for",
            "restore, list names, forget, prune, admit or revoke others",
        ),
        Role::Read => ("restore, cat, ls, snapshots, verify, stats, log", "change anything"),
    };
    let (hosts, sources) = match &settings.credential {
        Some(file) => (file.hosts.clone(), file.sources.clone()),
        None => (Vec::new(), Vec::new()),
    };
    if session.global.json {
        return session.print_object(serde_json::json!({
            "type": "whoami",
            "credential": repository.keys.id().to_string(),
            "role": role_word(role),
            "name": settings.credential.as_ref().map(|f| f.name.clone()),
            "hosts": hosts,
            "sources": sources,
            "repository": repository.config.id.to_string(),
            "location": settings.location,
            "epoch": repository.state().epoch,
        }));
    }
    let any = |names: &[String]| match (role, names.is_empty()) {
        (Role::Backup, false) | (Role::Read, false) => escape(names.join(", ").as_bytes()),
        _ => "any".to_owned(),
    };
    let name = settings.credential.as_ref().map(|f| format!(" ({})", escape(f.name.as_bytes()))).unwrap_or_default();
    session.print(&format!(
        "credential  {}{name}, role {}\nrepository  {} at {}\nhosts       {}\nsources     {}\nmay         {may}\nmay not     {may_not}",
        repository.keys.id().short(),
        role_word(role),
        repository.config.id.short(),
        settings.location,
        any(&hosts),
        any(&sources),
    ))
}
