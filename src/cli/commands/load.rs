//! `load`: the dumps of a set, into running databases.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;
use zeroize::Zeroizing;

use super::super::context::Session;
use super::super::error::{CliError, Result};
use super::super::exit::Exit;
use super::super::output::text::{duration, escape, notes_text, pluralize, size};
use super::super::paths::absolute;
use super::super::select::choose_set;
use super::super::settings::places;
use super::super::time::show;
use crate::cli::args::{FilterArguments, SetArguments, SnapshotArguments};
use crate::databases::load::connection::Connection;
use crate::databases::load::item::choose;
use crate::databases::load::load;
use crate::databases::load::options::{IfExists, LoadOptions, LoadOutcome, Loaded};
use crate::databases::tool::Tools;
use crate::format::record::Role;
use crate::primitives::progress::{Observer, Severity};
use crate::repository::Repository;
use crate::repository::sets::Set;

pub(super) const LOAD_EXAMPLES: &str = "\
Examples:
  strongroom load --job idp --to 'host=new user=admin'
  strongroom load --job idp --to 'host=new user=admin' gen3/fence --rename fence=fence_copy
  strongroom load --set 3fa9c1 mydb/orders --to 'host=db2 user=root' --login ~/.my.cnf

It reads data: it needs the owner's passphrase or a read credential. Passwords of databases come from PGPASSWORD or
MYSQL_PWD, from the clients' own files, or from --to-password-file.";

/// What is done with a database that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum IfExistsArgument {
    /// Refuse it
    #[default]
    Fail,
    /// Replace it, once the new one is loaded and compared
    Replace,
    /// Keep it under the name NAME_before_ID
    KeepOld,
}

/// Options of `load`.
#[derive(Args)]
pub struct LoadArguments {
    /// The sources to load: SOURCE, JOB/SOURCE, or one database of it, SOURCE/NAME [default: all]
    #[arg(value_name = "SOURCE")]
    pub sources: Vec<String>,
    /// The server: words such as 'host=NAME port=N user=NAME', as libpq takes them, or a postgresql:// URL
    #[arg(long, value_name = "CONNECTION", default_value = "", hide_default_value = true)]
    pub to: String,
    /// Read user and password for MySQL or MariaDB from this file of options
    #[arg(long, value_name = "FILE")]
    pub login: Option<PathBuf>,
    /// Read the password for the server from this file
    #[arg(long, value_name = "FILE", conflicts_with = "login")]
    pub to_password_file: Option<PathBuf>,
    /// Do not load roles, users and grants
    #[arg(long)]
    pub no_globals: bool,
    /// Change roles and users that exist to what was saved; never the one that is connected
    #[arg(long)]
    pub alter_roles: bool,
    /// What to do with a database that exists and is not empty
    #[arg(long, value_name = "WHAT", default_value = "fail")]
    pub if_exists: IfExistsArgument,
    /// Load the database OLD as NEW; may be given again
    #[arg(long, value_name = "OLD=NEW")]
    pub rename: Vec<String>,
    /// Load only this table of each database (PostgreSQL, formats custom and directory)
    #[arg(long, value_name = "[SCHEMA.]TABLE")]
    pub table: Option<String>,
    /// Make everything belong to the user that is connected (PostgreSQL)
    #[arg(long)]
    pub no_owner: bool,
    /// Load no grants on objects (PostgreSQL)
    #[arg(long, visible_alias = "no-acl")]
    pub no_privileges: bool,
    /// Create objects as this role (PostgreSQL)
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// Load one database by N connections, from a file in the scratch directory (PostgreSQL, not plain)
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub jobs: u32,
    /// Where dumps are unpacked that cannot be streamed [default: TMPDIR or /tmp]
    #[arg(long, value_name = "DIR")]
    pub scratch_dir: Option<PathBuf>,
    /// Also load dumps that lack their end
    #[arg(long)]
    pub force: bool,
    /// Also run the commands that sources of kind command name for their way back
    #[arg(long)]
    pub run_commands: bool,
    /// Show what would be loaded; change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Directory of the database's tools
    #[arg(long, value_name = "DIR", help_heading = "Tools")]
    pub bin: Option<PathBuf>,
    /// System user that runs the tools, for peer authentication
    #[arg(long, value_name = "USER", help_heading = "Tools")]
    pub run_as: Option<String>,
    /// Container in which the tools are run
    #[arg(long, value_name = "NAME", help_heading = "Tools")]
    pub container: Option<String>,
    /// The set: the first digits of its id, `latest` or `latest~N`
    #[arg(long, value_name = "SET", default_value = "latest", help_heading = "Set selection")]
    pub set: String,
    /// Of this job
    #[arg(long, value_name = "JOB", help_heading = "Set selection")]
    pub job: Option<String>,
    /// Of this type of job, such as Daily
    #[arg(long = "type", value_name = "TYPE", help_heading = "Set selection")]
    pub job_type: Option<String>,
    /// Accept a partial set
    #[arg(long, help_heading = "Set selection")]
    pub partial: bool,
    /// The newest set at or before this time; a day includes its backups
    #[arg(long, value_name = "TIME", help_heading = "Set selection")]
    pub at: Option<String>,
    /// Only of this machine
    #[arg(short = 'H', long, value_name = "NAME", help_heading = "Set selection")]
    pub host: Vec<String>,
    /// Only with a label that matches GLOB, such as 'datahub-*'
    #[arg(long, value_name = "GLOB", value_parser = glob::Pattern::new, help_heading = "Set selection")]
    pub label: Vec<glob::Pattern>,
}

/// `type: "load"`: what came of one snapshot.
#[derive(Debug, Serialize)]
struct LoadJson {
    /// `load`.
    r#type: &'static str,
    /// The source, and the database of it.
    source: String,
    /// Id of the snapshot.
    snapshot: String,
    /// Kind of the source.
    kind: String,
    /// What the database is called now.
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    /// `loaded`, `already`, `planned`, `skipped` or `failed`.
    outcome: &'static str,
    /// Tables that were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    tables: Option<u64>,
    /// Their rows.
    rows: u64,
    /// Bytes of the dump.
    bytes: u64,
    /// How long it took.
    duration_ms: u64,
    /// What is to be known of it.
    notes: Vec<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The command that the description names.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
}

/// Loads.
pub(crate) fn run(session: &Session, arguments: &LoadArguments) -> Result<Exit> {
    let rename = arguments.rename.iter().map(|text| renamed(text)).collect::<Result<Vec<_>>>()?;
    let to = Connection::parse(&arguments.to).map_err(|e| CliError::Usage(e.to_string()))?;
    let to = to.with_login(arguments.login.as_ref().map(|path| absolute(path, &session.env.cwd)));
    session.with_repository(|repository| {
        if repository.keys.role == Role::Backup {
            let text =
                "this credential only adds and cannot read: load with the owner's passphrase or a read credential";
            return Err(CliError::Usage(text.to_owned()));
        }
        let set = set_of(session, repository, arguments)?;
        let items = choose(&set, &arguments.sources, &rename)?;
        let options = options_of(session, repository, arguments, to, rename)?;
        session.listen()?;
        begin(session, &set, &options)?;
        let mut printed = Ok(());
        let mut told = |loaded: &Loaded| {
            let done = tell(session, loaded);
            if printed.is_ok() {
                printed = done;
            }
        };
        let done = load(repository, &items, &options, &session.progress, &mut told)?;
        printed?;
        session.finish();
        let notes = set.described().and_then(|set| set.notes.as_deref()).filter(|_| !options.dry_run);
        if let Some(notes) = notes.filter(|_| session.global.tells()) {
            session.print(&notes_text(notes))?;
        }
        Ok(exit_of(&done))
    })
}

/// How it ends: all of it, some of it, or none.
fn exit_of(done: &[Loaded]) -> Exit {
    let failed = done.iter().filter(|loaded| loaded.outcome == LoadOutcome::Failed).count();
    let skipped = done.iter().filter(|loaded| loaded.outcome == LoadOutcome::Skipped).count();
    match failed {
        0 => Exit::Done,
        n if n + skipped == done.len() => Exit::Failed,
        _ => Exit::Problems,
    }
}

fn renamed(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_owned(), new.to_owned())),
        _ => Err(CliError::Usage(format!("invalid --rename `{text}`: expected OLD=NEW"))),
    }
}

fn set_of(session: &Session, repository: &Repository, arguments: &LoadArguments) -> Result<Set> {
    let filter =
        FilterArguments { host: arguments.host.clone(), label: arguments.label.clone(), ..FilterArguments::default() };
    let snapshot = SnapshotArguments { snapshot: None, at: arguments.at.clone(), filter };
    let sets = SetArguments {
        set: Some(arguments.set.clone()),
        job: arguments.job.clone(),
        job_type: arguments.job_type.clone(),
        partial: arguments.partial,
    };
    choose_set(session, repository, &arguments.set, &sets, &snapshot)
}

fn options_of(
    session: &Session,
    repository: &Arc<Repository>,
    arguments: &LoadArguments,
    to: Connection,
    rename: Vec<(String, String)>,
) -> Result<LoadOptions> {
    let env = session.env;
    let mut variables: Vec<(OsString, OsString)> = Vec::new();
    if let Some(path) = &arguments.to_password_file {
        let path = env.cwd.join(path);
        let text = std::fs::read_to_string(&path).map_err(CliError::file("read the password in", &path))?;
        let text = Zeroizing::new(text);
        // Each client looks at its own.
        for variable in ["PGPASSWORD", "MYSQL_PWD"] {
            variables.push((variable.into(), text.trim_end_matches(['\n', '\r']).into()));
        }
    } else if arguments.container.is_some() {
        // A container is given what is named.
        let named = ["PGPASSWORD", "MYSQL_PWD"];
        variables.extend(named.iter().filter_map(|name| Some(((*name).into(), env.variable(name)?.to_owned()))));
    }
    let tools = Tools {
        bin: arguments.bin.as_ref().map(|path| absolute(path, &env.cwd)),
        container: arguments.container.clone(),
        run_as: arguments.run_as.clone(),
        env: variables,
        launcher: super::super::launcher(),
    };
    let scratch = arguments.scratch_dir.as_ref().map(|path| absolute(path, &env.cwd));
    let state = places(session.global, env)?.state.join(repository.keys.repository.to_string()).join("loads");
    Ok(LoadOptions {
        to,
        tools,
        globals: !arguments.no_globals,
        alter_roles: arguments.alter_roles,
        if_exists: match arguments.if_exists {
            IfExistsArgument::Fail => IfExists::Fail,
            IfExistsArgument::Replace => IfExists::Replace,
            IfExistsArgument::KeepOld => IfExists::KeepOld,
        },
        no_owner: arguments.no_owner,
        no_privileges: arguments.no_privileges,
        role: arguments.role.clone(),
        table: arguments.table.clone(),
        rename,
        force: arguments.force,
        jobs: arguments.jobs,
        scratch: scratch.unwrap_or_else(std::env::temp_dir),
        run_commands: arguments.run_commands,
        dry_run: arguments.dry_run,
        state,
    })
}

/// Says which set is loaded, and where.
fn begin(session: &Session, set: &Set, options: &LoadOptions) -> Result<()> {
    if !session.global.tells() {
        return Ok(());
    }
    let described = set.described();
    let job = described.and_then(|set| set.job.as_deref()).map(|job| format!(" of job {job}")).unwrap_or_default();
    let id = described.map(|set| set.id.short()).unwrap_or_default();
    let time = show(set.time_ms(), &session.env.zone);
    session.print(&format!("set {id}{} of {time}, into {}", escape(job.as_bytes()), options.to.shown()))
}

/// What a tool said, in one line.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    escape(lines.join(" / ").as_bytes())
}

/// Tells what came of one.
fn tell(session: &Session, loaded: &Loaded) -> Result<()> {
    let path = escape(loaded.path.as_bytes());
    let outcome = match loaded.outcome {
        LoadOutcome::Loaded => "loaded",
        LoadOutcome::Already => "already",
        LoadOutcome::Planned => "planned",
        LoadOutcome::Skipped => "skipped",
        LoadOutcome::Failed => "failed",
    };
    if let Some(error) = &loaded.error {
        session.progress.finding(Severity::Error, &format!("{path} was not loaded: {}", one_line(error)));
    }
    if session.global.json {
        return session.print_json(&LoadJson {
            r#type: "load",
            source: loaded.path.clone(),
            snapshot: loaded.snapshot.to_string(),
            kind: loaded.kind.clone(),
            database: loaded.database.clone(),
            outcome,
            tables: loaded.tables,
            rows: loaded.rows,
            bytes: loaded.bytes,
            duration_ms: loaded.duration_ms,
            notes: loaded.notes.clone(),
            error: loaded.error.clone(),
            command: loaded.command.clone(),
        });
    }
    if !session.global.tells() {
        return Ok(());
    }
    let database = loaded.database.as_ref().map(|name| escape(name.as_bytes()));
    let into = database.as_ref().map(|name| format!(" as {name}")).unwrap_or_default();
    let compared = match loaded.tables {
        Some(tables) => {
            let tables = pluralize(tables, "table", "tables");
            format!("{tables} with {} compared", pluralize(loaded.rows, "row", "rows"))
        }
        None => "not compared".to_owned(),
    };
    let compared = if loaded.database.is_some() { format!("; {compared}") } else { String::new() };
    let line = match loaded.outcome {
        LoadOutcome::Loaded => {
            let (bytes, took) = (size(loaded.bytes), duration(loaded.duration_ms));
            format!("loaded {path}{into}: {bytes} in {took}{compared}")
        }
        LoadOutcome::Already => format!("{path} is loaded already{into}{compared}"),
        LoadOutcome::Planned => format!("would load {path}{into}: {}", size(loaded.bytes)),
        LoadOutcome::Skipped => format!("skipped {path}"),
        LoadOutcome::Failed => String::new(),
    };
    let mut lines: Vec<String> = if line.is_empty() { Vec::new() } else { vec![line] };
    lines.extend(loaded.notes.iter().map(|note| format!("  {}", one_line(note))));
    lines.extend(loaded.command.iter().map(|command| format!("  its command: {}", escape(command.as_bytes()))));
    if lines.is_empty() { Ok(()) } else { session.print(&lines.join("\n")) }
}
