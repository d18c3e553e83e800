//! What is saved before a load replaces it, and how it is found again.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::commands::backup::tell;
use crate::cli::context::Session;
use crate::cli::error::{CliError, Result};
use crate::cli::jobs::plan::host;
use crate::cli::output::text::escape;
use crate::databases::load::before::{changes_roles, is_of_roles, replaced, source};
use crate::databases::load::item::Item;
use crate::databases::load::options::{LoadError, LoadOptions};
use crate::databases::load::way_back::{Load, WayBack};
use crate::format::description::PRE_RESTORE;
use crate::format::record::Outcome;
use crate::ops::backup::{BackupOptions, BackupReport, Job, backup_sources};
use crate::primitives::progress::{Observer, Severity};
use crate::repository::Repository;
use crate::repository::sets::{Set, sets};
use crate::repository::snapshots::Snapshot;
use crate::source::ExcludeOptions;

/// Saves the databases that the load will replace, as a set of their own. Returns which ones; `None` if nothing is done.
pub(super) fn save_first(
    session: &Session,
    repository: &Arc<Repository>,
    set: &Set,
    items: &[Item],
    options: &LoadOptions,
    argv: &str,
) -> Result<Option<BTreeSet<String>>> {
    let described = set.described();
    let Some((job, id)) = described.and_then(|set| Some((set.job.as_deref()?, set.id))) else {
        let text = "the set belongs to no job, and --pre-backup keeps what it saves with the job: save the databases by \
                    a job of their own, and load without --pre-backup";
        return Err(CliError::Usage(text.to_owned()));
    };
    let databases = replaced(repository, items, options, &session.progress)?;
    let with_roles = changes_roles(items, options);
    let what: Vec<&str> = databases.iter().map(String::as_str).chain(with_roles.then_some("roles")).collect();
    let names = escape(what.join(", ").as_bytes());
    let (to, of) = (options.to.shown(), id.to_string());
    let load = Load { to: &to, job, of: &of, time_ms: session.env.system.now_ms() };
    let print = |text: &str| if session.global.tells() { session.print(text) } else { Ok(()) };
    if what.is_empty() {
        print("nothing is replaced: nothing is saved first")?;
        if options.dry_run {
            return Ok(None);
        }
        load.saved(&options.state, None, &[], None)?;
        return Ok(Some(BTreeSet::new()));
    }
    if options.dry_run {
        print(&format!("would first save {names}, as a set of type {PRE_RESTORE}"))?;
        return Ok(None);
    }
    let inner = Session::new(session.global, session.env);
    let from = source(format!("{job}/{PRE_RESTORE}"), items, databases, options)?;
    let options_of = backup_options(session, job, &id.short(), argv);
    let report = backup_sources(repository, vec![from], options_of, &inner.progress)?;
    tell(&inner, &report, false, None)?;
    check(&report, with_roles)?;
    let saved = snapshots_of(repository, &report)?;
    let id = saved.iter().find_map(|snapshot| Some(snapshot.described.set.as_ref()?.id));
    let streams = saved.iter().filter_map(|snapshot| snapshot.described.stream.as_ref());
    let (roles, databases): (Vec<_>, Vec<_>) = streams.partition(|stream| is_of_roles(stream));
    let members: Vec<String> = databases.into_iter().filter_map(|stream| stream.member.clone()).collect();
    let roles = roles.first().and_then(|stream| stream.member.as_deref());
    load.saved(&options.state, id.map(|id| id.to_string()).as_deref(), &members, roles)?;
    let id = id.map(|id| id.short()).unwrap_or_default();
    print(&format!("saved first: {names}, as set {id} of type {PRE_RESTORE}; `load --rollback` brings it back"))?;
    Ok(Some(members.into_iter().collect()))
}

fn backup_options(session: &Session, job: &str, of: &str, argv: &str) -> BackupOptions {
    let (name, job_type) = (job.to_owned(), PRE_RESTORE.to_owned());
    BackupOptions {
        paths: Vec::new(),
        streams: Vec::new(),
        source: None,
        host: host(session.env),
        user: session.env.user.clone(),
        tags: Vec::new(),
        label: Some(format!("before load of {of}")),
        job: Some(Job { name, job_type, notes: None, records: Vec::new(), alone: false }),
        time_ms: None,
        exclude: ExcludeOptions::default(),
        dry_run: false,
        read_all: false,
        compare: Default::default(),
        compression: Default::default(),
        allow_empty: false,
        command: argv.to_owned(),
        follower: None,
    }
}

/// Refuses to go on if not all is saved.
fn check(report: &BackupReport, with_roles: bool) -> Result<()> {
    let lost: Vec<String> = report
        .sources
        .iter()
        .filter(|source| source.outcome >= Outcome::Partial || source.snapshot.is_none())
        .map(|source| {
            let why = source.error.as_deref().and_then(|error| error.lines().next()).unwrap_or("it is not whole");
            format!("{}: {why}", source.path())
        })
        .collect();
    if lost.is_empty() {
        return Ok(());
    }
    let of_roles = if with_roles { " (roles are saved because --alter-roles changes them)" } else { "" };
    Err(LoadError::NotSaved(format!("{}{of_roles}", lost.join("; "))).into())
}

fn snapshots_of(repository: &Repository, report: &BackupReport) -> Result<Vec<Snapshot>> {
    let mut all = repository.snapshots()?;
    all.retain(|snapshot| report.sources.iter().any(|source| source.snapshot == Some(snapshot.id)));
    Ok(all)
}

/// What the last load replaced, as one set: of each database, what it was before.
pub(super) fn rollback_set(session: &Session, repository: &Repository, way: &WayBack) -> Result<Set> {
    let all = sets(repository.snapshots()?);
    let mut members = Vec::new();
    let roles = way.roles.iter().map(|(set, member)| (member, set, "roles"));
    for (database, id, what) in roles.chain(way.databases.iter().map(|(name, set)| (name, set, "the database"))) {
        let set = all.iter().find(|set| set.described().is_some_and(|d| d.id.to_string() == *id));
        let is_it =
            |s: &&Snapshot| s.described.stream.as_ref().and_then(|d| d.member.as_deref()) == Some(database.as_str());
        match set.and_then(|set| set.members.iter().find(is_it)) {
            Some(snapshot) => members.push(snapshot.clone()),
            None => {
                let text = format!("set {id}, which holds {what} {database} as it was, is not in the repository");
                return Err(LoadError::NoWayBack(text).into());
            }
        }
    }
    for database in &way.new {
        let text = format!("the database {database} was loaded and replaced nothing: it stays as it is");
        session.progress.finding(Severity::Note, &text);
    }
    Ok(Set { members })
}

/// Remembers that all of a load is done, or all of a rollback: what is saved before the next one is another way back.
pub(super) fn remember_end(session: &Session, set: &Set, way: Option<&WayBack>, options: &LoadOptions) -> Result<()> {
    let described = set.described();
    let job = way.map(|way| way.job.as_str()).or(described.and_then(|set| set.job.as_deref()));
    let of = way.map(|way| way.of.clone()).or(described.map(|set| set.id.to_string()));
    let (Some(job), Some(of)) = (job, of) else { return Ok(()) };
    let (file, to): (&PathBuf, String) = (&options.state, options.to.shown());
    Ok(Load { to: &to, job, of: &of, time_ms: session.env.system.now_ms() }.ended(file)?)
}
