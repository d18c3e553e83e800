//! `repair --from-versions`: the histories that a bucket with versions still holds, and the choice of one of them.

use std::sync::Arc;

use crate::ops::copy::CopyOptions;
use crate::ops::repair::branches::{Branch, Branches, Rescued, branches, make_current, rescue};
use crate::primitives::progress::{Observer, Severity};
use crate::repository::snapshots::Snapshot;
use crate::repository::state_dir::Head;
use crate::repository::{LocalPlaces, Repository};

use super::super::context::Session;
use super::super::error::{CliError, Result};
use super::super::exit::Exit;
use super::super::output::text::{Side, escape, pluralize};
use super::super::redact::command_line;
use super::super::settings::{Settings, places};
use super::super::time::{heading, show};

/// What was agreed to beforehand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Consent {
    /// Nothing is to be changed.
    pub dry_run: bool,
    /// Nothing is to be asked.
    pub yes: bool,
}

/// Lists the branches, or makes one of them the history.
pub(crate) fn run(
    session: &Session,
    consent: Consent,
    settings: &Settings,
    chosen: Option<&Head>,
    argv: &[std::ffi::OsString],
) -> Result<Exit> {
    let scratch = scratch(session)?;
    let beside = LocalPlaces { cache: scratch.path().join("cache"), state: scratch.path().join("state") };
    // What this machine has seen is the history of one branch: it must not decide what there is.
    let repository = settings.open_beside(session.env, &beside)?;
    session.listen()?;
    let found = branches(&repository, scratch.path(), &session.progress)?;
    for text in &found.unreadable {
        session.progress.finding(Severity::Warning, text);
    }
    let Some(chosen) = chosen else {
        session.finish();
        list(session, &found)?;
        return Ok(Exit::Done);
    };
    let branch = found.find(chosen).ok_or_else(|| {
        let text = format!(
            "the bucket holds no branch {chosen}: `strongroom repair --from-versions` lists those that there are"
        );
        CliError::Usage(text)
    })?;
    if !consent.dry_run && !confirm(session, consent, &found, branch) {
        let text = "the history was not changed: --yes agrees to it beforehand".to_owned();
        return Err(CliError::Usage(text));
    }
    if consent.dry_run {
        session.finish();
        list(session, &found)?;
        return Ok(Exit::Done);
    }
    repository.check_may_write()?;
    make_current(&repository, branch, &session.progress)?;
    drop(repository);
    let repository = settings.open_forgetting(session.global, session.env)?;
    let (settled, rescued) = session.with(&repository, |repository| {
        let settled = repository.settle(true)?;
        let options = CopyOptions { dry_run: false, host: session.env.host.clone(), command: command_line(argv) };
        let rescued = rescue(repository, &found, branch, scratch.path(), &options, &session.progress)?;
        Ok((settled, rescued))
    })?;
    session.finish();
    tell(session, &repository, branch, settled, &rescued)?;
    Ok(if rescued.failed.is_empty() { Exit::Done } else { Exit::Problems })
}

/// A folder below the cache, gone afterwards.
fn scratch(session: &Session) -> Result<tempfile::TempDir> {
    let cache = places(session.global, session.env)?.cache;
    let failed = |source| CliError::OsSystem { action: "make a folder below the cache", source };
    std::fs::create_dir_all(&cache).map_err(failed)?;
    tempfile::Builder::new().prefix("branches-").tempdir_in(&cache).map_err(failed)
}

fn confirm(session: &Session, consent: Consent, found: &Branches, branch: &Branch) -> bool {
    let elsewhere: usize = found.all.iter().filter(|b| b.head != branch.head).map(|b| found.own(b).len()).sum();
    let question = format!(
        "The history will be that of branch {}. {} that only other branches hold will be copied into it. No other machine may \
         write to the repository meanwhile. Do it? [y/N]",
        branch.head,
        pluralize(elsewhere as u64, "snapshot", "snapshots"),
    );
    consent.yes || session.progress.suspended(|| session.env.confirm(&question))
}

fn list(session: &Session, found: &Branches) -> Result<()> {
    if session.global.json {
        for branch in &found.all {
            let ids = |all: &[&Snapshot]| all.iter().map(|s| s.id.to_string()).collect::<Vec<_>>();
            session.print_object(serde_json::json!({
                "type": "branch",
                "branch": branch.head.to_string(),
                "time_ms": branch.time_ms,
                "current": branch.current,
                "snapshots": ids(&branch.snapshots.iter().collect::<Vec<_>>()),
                "only_here": ids(&found.own(branch)),
            }))?;
        }
        return Ok(());
    }
    if found.all.is_empty() {
        return session.print("no record of the log has a second version: there is one history");
    }
    let zone = &session.env.zone;
    for branch in &found.all {
        session.print(&format!(
            "branch {}{}: last record of {}, {}",
            branch.head,
            if branch.current { ", the current one" } else { "" },
            show(branch.time_ms, zone),
            pluralize(branch.snapshots.len() as u64, "snapshot", "snapshots"),
        ))?;
        let own = found.own(branch);
        if own.is_empty() {
            session.print("  holds nothing that no other branch holds")?;
            continue;
        }
        let rows: Vec<Vec<String>> = own.iter().map(|s| row(s, zone)).collect();
        let head = ["  ONLY HERE", &heading("TIME", zone), "HOST", "SOURCE"].map(str::to_owned).to_vec();
        session.table(&[Side::Left; 4], &[vec![head], rows].concat())?;
    }
    session.print(
        "choose one with `strongroom repair --from-versions BRANCH`: what only the others hold is copied into it",
    )
}

fn row(s: &Snapshot, zone: &jiff::tz::TimeZone) -> Vec<String> {
    let told = |text: &str| escape(text.as_bytes());
    vec![
        format!("  {}", s.id.short()),
        show(s.state.time_ms, zone),
        told(&s.described.host),
        told(&s.described.member_path()),
    ]
}

fn tell(
    session: &Session,
    repository: &Arc<Repository>,
    branch: &Branch,
    settled: Option<u64>,
    rescued: &Rescued,
) -> Result<()> {
    if session.global.json {
        return session.print_object(serde_json::json!({
            "type": "branch_chosen",
            "branch": branch.head.to_string(),
            "settled_by_record": settled,
            "copied": rescued.copied.iter().map(|(old, new)| serde_json::json!({ "old": old.to_string(), "new": new.to_string() })).collect::<Vec<_>>(),
            "failed": rescued.failed.iter().map(|(id, why)| serde_json::json!({ "snapshot": id.to_string(), "why": why })).collect::<Vec<_>>(),
            "snapshots": repository.state().snapshots.len(),
        }));
    }
    if !session.global.tells() {
        return Ok(());
    }
    session.print(&format!("the history is that of branch {} now", branch.head))?;
    for (old, new) in &rescued.copied {
        session.print(&format!("copied {} of another branch; it is {} now", old.short(), new.short()))?;
    }
    let count = repository.state().snapshots.len() as u64;
    session.print(&format!(
        "{} in all; `strongroom verify --read-data` proves them",
        pluralize(count, "snapshot", "snapshots")
    ))
}
