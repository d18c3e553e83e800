//! `repair`: what is damaged or gone is replaced, as far as the rest of the repository can tell it.

use std::cell::Cell;
use std::error::Error;
use std::ffi::OsString;

use clap::Args;
use serde_json::json;

use crate::ops::repair::{Dropped, RepairOptions, RepairReport, repair};
use crate::primitives::ids::{ObjectHash, SnapshotId};
use crate::repository::state_dir::Head;
use crate::repository::{Repository, RepositoryError};

use super::super::context::Session;
use super::super::error::{CliError, Result, error_text};
use super::super::exit::Exit;
use super::super::output::text::{escape, pluralize};
use super::super::redact::command_line;
use super::super::settings::Settings;
use super::branches::{self, Consent};
use super::verify::{DamageJson, told_finding};

pub(super) const REPAIR_EXAMPLES: &str = "\
Segments are written anew from the packs; what can be read of damaged packs moves to new ones; chunks that are gone are filled
in from equal ones that other backups stored. What is still missing is declared lost, and the snapshots that need it have
holes: back the machine up again, then run `repair` again. Nothing is deleted.

Examples:
  strongroom repair --dry-run --read-data
  strongroom repair --read-data
  strongroom repair --drop-lost";

/// Options of `repair`.
#[derive(Args, Default)]
pub struct RepairArguments {
    /// Read all data to find all damage; by default only missing objects and wrong lengths are found
    #[arg(long)]
    pub read_data: bool,
    /// Rewrite damaged snapshots without the files that are lost
    #[arg(long)]
    pub drop_lost: bool,
    /// Declare missing objects lost even if the bucket may have older versions of them
    #[arg(long)]
    pub ignore_versions: bool,
    /// Show what is damaged; change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Accept the history as far as it can be read; records after a gap or fork are given up
    #[arg(long)]
    pub accept_history: bool,
    /// List the histories that a versioned bucket holds; with BRANCH, switch to that one and copy the snapshots of the others
    #[arg(long, value_name = "BRANCH", num_args = 0..=1, conflicts_with_all = ["accept_history", "drop_lost"])]
    pub from_versions: Option<Option<Head>>,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
}

/// Records that were written before the repair.
#[derive(Default, PartialEq, Eq)]
struct Settled {
    /// Taken for garbage.
    garbage: Option<u64>,
    /// Accepts the history.
    history: Option<u64>,
}

/// Goes on behind garbage at the end of the log, then repairs everything else.
pub(crate) fn run(session: &Session, arguments: &RepairArguments, argv: &[OsString]) -> Result<Exit> {
    let settings = Settings::find(session.global, session.env, false)?;
    if let Some(chosen) = &arguments.from_versions {
        let consent = Consent { dry_run: arguments.dry_run, yes: arguments.yes };
        return branches::run(session, consent, &settings, chosen.as_ref(), argv);
    }
    let gave_up = Cell::new(false);
    let gives_up = |e: &RepositoryError| {
        gave_up.set(arguments.accept_history && !arguments.dry_run && confirm_loss(session, arguments, e));
        gave_up.get()
    };
    let repository = settings.open_for_repair(session.global, session.env, &gives_up)?;
    let options = RepairOptions {
        read_data: arguments.read_data,
        drop_lost: arguments.drop_lost,
        ignore_versions: arguments.ignore_versions,
        dry_run: arguments.dry_run,
        host: session.env.host.clone(),
        command: command_line(argv),
    };
    let mut settled = Settled::default();
    let report = session.with(&repository, |repository| {
        if arguments.accept_history {
            settled.history = accept(session, arguments, repository, gave_up.get())?;
        } else if repository.ends_in_garbage()? {
            settled.garbage = overrule(session, arguments, repository)?;
        }
        session.listen()?;
        Ok(repair(repository, &options, &session.progress)?)
    })?;
    session.finish();
    let print = if session.global.json { print_json } else { print_report };
    print(session, arguments, &settled, &report)?;
    let unmended = !report.damaged.is_empty() || (arguments.dry_run && !report.findings.is_empty());
    Ok(if unmended { Exit::Problems } else { Exit::Done })
}

/// Asks whether to accept the history as it can be read, in spite of `why`.
fn confirm_loss(session: &Session, arguments: &RepairArguments, why: &dyn Error) -> bool {
    let question = format!(
        "{}\nSnapshots of records that cannot be read are given up, and a later prune deletes what only they need. Accept the \
         history as it can be read? [y/N]",
        error_text(why)
    );
    arguments.yes || session.progress.suspended(|| session.env.confirm(&question))
}

/// Settles the history. If this machine `gave_up` what it had seen, others may have seen it too: they are told.
fn accept(
    session: &Session,
    arguments: &RepairArguments,
    repository: &Repository,
    gave_up: bool,
) -> Result<Option<u64>> {
    match repository.check_undoubted() {
        Ok(()) if gave_up => Ok(repository.settle(true)?),
        Ok(()) => Ok(None),
        Err(e @ RepositoryError::Contradicted { .. }) if arguments.dry_run => Err(e.into()),
        Err(e @ RepositoryError::Contradicted { .. }) => match confirm_loss(session, arguments, &e) {
            true => Ok(repository.settle(gave_up)?),
            false => Err(e.into()),
        },
        Err(e) => Err(e.into()),
    }
}

fn overrule(session: &Session, arguments: &RepairArguments, repository: &Repository) -> Result<Option<u64>> {
    let question = "The log ends in bytes that nobody can read: they will be taken for garbage from now on. If they were a record \
                    that was damaged, what it published is lost. Do it? [y/N]";
    if arguments.dry_run || !(arguments.yes || session.progress.suspended(|| session.env.confirm(question))) {
        return Err(CliError::Usage(
            "the log ends in bytes that nobody can read, and nothing was changed: --yes agrees to take them for garbage"
                .to_owned(),
        ));
    }
    Ok(repository.overrule_garbage()?)
}

fn print_json(session: &Session, arguments: &RepairArguments, settled: &Settled, r: &RepairReport) -> Result<()> {
    let ids = |all: &[SnapshotId]| all.iter().map(|id| id.to_string()).collect::<Vec<_>>();
    let packs = |all: &[ObjectHash]| all.iter().map(|p| p.to_string()).collect::<Vec<_>>();
    let dropped =
        r.dropped.iter().map(|d| json!({ "old": d.old.to_string(), "new": d.new.to_string(), "lost": d.lost }));
    session.print_object(json!({
        "type": "repair",
        "dry_run": arguments.dry_run,
        "garbage_record": settled.garbage,
        "settled_by_record": settled.history,
        "brought_back": r.brought_back,
        "packs_found": packs(&r.found),
        "findings": r.findings.iter().map(DamageJson::from).collect::<Vec<_>>(),
        "directories": r.directories,
        "chunks_saved": r.saved,
        "chunks_filled_in": r.filled,
        "packs_lost": packs(&r.lost),
        "damaged": ids(&r.damaged),
        "healed": ids(&r.healed),
        "dropped": dropped.collect::<Vec<_>>(),
        "checkpoint": r.checkpoint,
    }))
}

fn print_report(session: &Session, arguments: &RepairArguments, settled: &Settled, r: &RepairReport) -> Result<()> {
    for finding in &r.findings {
        told_finding(finding).iter().for_each(|line| session.env.eprint_line(line));
    }
    if !session.global.tells() {
        return Ok(());
    }
    if let Some(number) = settled.garbage {
        session.print(&format!("record {number} is garbage from now on; everyone goes on behind it"))?;
    }
    if let Some(number) = settled.history {
        session.print(&format!("record {number} settles the history; everyone goes on from there"))?;
    }
    for line in counted(r, arguments.dry_run) {
        session.print(&line)?;
    }
    for dropped in &r.dropped {
        session.print(&dropped_line(dropped))?;
    }
    let nothing = settled == &Settled::default()
        && r.findings.is_empty()
        && r.brought_back.is_empty()
        && r.found.is_empty()
        && r.damaged.is_empty();
    if !r.damaged.is_empty() {
        let ids: Vec<String> = r.damaged.iter().map(|id| id.short()).collect();
        session.print(&format!(
            "damaged snapshots: {}\nback these machines up again, then repair again: it fills in what comes back; --drop-lost gives up the rest",
            ids.join(", ")
        ))?;
    } else if nothing {
        session.print("nothing to repair")?;
    }
    Ok(())
}

/// How much was done of what.
fn counted(r: &RepairReport, dry_run: bool) -> Vec<String> {
    let len = |all: usize| all as u64;
    let brought_back = match dry_run {
        true => "that somebody deleted can be brought back from the bucket's versions",
        false => "that somebody deleted brought back from the bucket's versions",
    };
    let found = if dry_run { "there again; a repair takes them in" } else { "found again and taken in" };
    let all = [
        (len(r.brought_back.len()), "object", "objects", brought_back),
        (len(r.found.len()), "lost pack", "lost packs", found),
        (r.directories, "directory", "directories", "written anew from the packs themselves"),
        (r.saved, "chunk", "chunks", "saved out of damaged packs"),
        (r.filled, "chunk", "chunks", "filled in from equal ones"),
        (len(r.lost.len()), "pack", "packs", "declared lost; a prune removes what is left of them"),
        (len(r.healed.len()), "snapshot", "snapshots", "whole again"),
    ];
    let done = all.into_iter().filter(|(n, ..)| *n > 0);
    done.map(|(n, one, many, what)| format!("{} {what}", pluralize(n, one, many))).collect()
}

fn dropped_line(dropped: &Dropped) -> String {
    let lost: Vec<String> = dropped.lost.iter().take(10).map(|p| escape(p.as_bytes())).collect();
    let more = dropped.lost.len().saturating_sub(lost.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{} is {} now, without {}{more}", dropped.old.short(), dropped.new.short(), lost.join(", "))
}
