//! `load`: the dumps of a set, into running databases.

mod after;
mod arguments;
mod before;
mod tell;

use std::ffi::OsString;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::super::context::Session;
use super::super::error::{CliError, Result};
use super::super::exit::Exit;
use super::super::output::text::notes_text;
use super::super::paths::absolute;
use super::super::select::choose_set;
use super::super::settings::places;
use crate::cli::args::{FilterArguments, SetArguments, SnapshotArguments};
use crate::databases::load::connection::Connection;
use crate::databases::load::item::{Item, choose};
use crate::databases::load::load;
use crate::databases::load::options::{IfExists, LoadOptions, LoadOutcome, Loaded};
use crate::databases::load::way_back::way_back;
use crate::databases::tool::Tools;
use crate::format::record::Role;
use crate::repository::Repository;
use crate::repository::sets::Set;

use after::{After, LocalJob};
use arguments::IfExistsArgument;
use before::{remember_end, rollback_set, save_first};
use tell::{begin, tell};

pub(super) use arguments::{LOAD_EXAMPLES, LoadArguments};

/// Loads.
pub(crate) fn run(session: &Session, arguments: &LoadArguments, argv: &str) -> Result<Exit> {
    let rename = arguments.rename.iter().map(|text| renamed(text)).collect::<Result<Vec<_>>>()?;
    let to = Connection::parse(&arguments.to).map_err(|e| CliError::Usage(e.to_string()))?;
    let to = to.with_login(arguments.login.as_ref().map(|path| absolute(path, &session.env.cwd)));
    if arguments.pre_backup && arguments.if_exists == IfExistsArgument::Fail {
        let text = "--pre-backup saves what is replaced: it needs --if-exists replace or keep-old";
        return Err(CliError::Usage(text.to_owned()));
    }
    session.with_repository(|repository| {
        check_role(repository, arguments.pre_backup)?;
        let mut options = options_of(session, repository, arguments, to, rename)?;
        let (set, way) = match arguments.rollback {
            true => {
                options.if_exists = IfExists::Replace;
                let way = way_back(&options.state, &options.to.shown(), arguments.job.as_deref())?;
                // They are to be as they were.
                options.alter_roles = way.roles.is_some();
                (rollback_set(session, repository, &way)?, Some(way))
            }
            false => (set_of(session, repository, arguments)?, None),
        };
        let items = choose(&set, &arguments.sources, &options.rename)?;
        let local = LocalJob::find(session, arguments, &set)?;
        session.listen()?;
        begin(session, &set, arguments.per_source, &options)?;
        if arguments.pre_backup {
            options.saved = save_first(session, repository, &set, &items, &options, argv)?;
        }
        let done = load_all(session, repository, &items, &options)?;
        let mut exit = exit_of(&done);
        if !options.dry_run {
            if exit == Exit::Done {
                remember_end(session, &set, way.as_ref(), &options)?;
            }
            let after = After { session, arguments, set: &set, items: &items, local: local.as_ref() };
            if !after.run(&done)? && exit == Exit::Done {
                exit = Exit::Problems;
            }
        }
        session.finish();
        let notes = set.described().and_then(|set| set.notes.as_deref()).filter(|_| !options.dry_run);
        if let Some(notes) = notes.filter(|_| session.global.tells()) {
            session.print(&notes_text(notes))?;
        }
        Ok(exit)
    })
}

/// Refuses what the credential cannot do, before anything is done.
fn check_role(repository: &Repository, writes: bool) -> Result<()> {
    match repository.keys.role {
        Role::Backup => {
            let text =
                "this credential only adds and cannot read: load with the owner's passphrase or a read credential";
            Err(CliError::Usage(text.to_owned()))
        }
        Role::Read if writes => {
            let text = "this credential only reads, and --pre-backup saves: load with the owner's passphrase";
            Err(CliError::Usage(text.to_owned()))
        }
        _ => Ok(()),
    }
}

fn load_all(
    session: &Session,
    repository: &Arc<Repository>,
    items: &[Item],
    options: &LoadOptions,
) -> Result<Vec<Loaded>> {
    let mut printed = Ok(());
    let mut told = |loaded: &Loaded| {
        let done = tell(session, loaded);
        if printed.is_ok() {
            printed = done;
        }
    };
    let done = load(repository, items, options, &session.progress, &mut told)?;
    printed?;
    Ok(done)
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
        per_source: arguments.per_source,
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
        saved: None,
    })
}
