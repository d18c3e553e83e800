//! `repair`: what is damaged or gone is replaced, as far as the rest of the repository can tell it.

use std::cell::Cell;
use std::error::Error;
use std::ffi::OsString;

use crate::ops::repair::{RepairOptions, RepairReport, repair};
use crate::repository::{Repository, RepositoryError};

use super::super::context::Session;
use super::super::error::{CliError, Result, error_text};
use super::super::exit::Exit;
use super::super::output::text::{escape, pluralize};
use super::super::redact::command_line;
use super::super::settings::Settings;
use super::branches::{self, Consent};
use super::verify::{DamageJson, told_finding};
use crate::repository::state_dir::Head;
use clap::Args;

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

/// Goes on behind garbage at the end of the log, then repairs everything else.
pub fn run(session: &Session, arguments: &RepairArguments, argv: &[OsString]) -> Result<Exit> {
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
    let (mut garbage, mut settled) = (None, None);
    let report = session.with(&repository, |repository| {
        if arguments.accept_history {
            settled = accept(session, arguments, repository, gave_up.get())?;
        } else if repository.ends_in_garbage()? {
            garbage = overrule(session, arguments, repository)?;
        }
        session.listen()?;
        Ok(repair(repository, &options, &session.progress)?)
    })?;
    session.finish();
    tell(session, arguments, (garbage, settled), &report)?;
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

fn tell(
    session: &Session,
    arguments: &RepairArguments,
    (garbage, settled): (Option<u64>, Option<u64>),
    r: &RepairReport,
) -> Result<()> {
    if session.global.json {
        let ids = |all: &[crate::primitives::ids::SnapshotId]| all.iter().map(|id| id.to_string()).collect::<Vec<_>>();
        let dropped = r
            .dropped
            .iter()
            .map(|d| serde_json::json!({ "old": d.old.to_string(), "new": d.new.to_string(), "lost": d.lost }));
        return session.print_object(serde_json::json!({
            "type": "repair",
            "dry_run": arguments.dry_run,
            "garbage_record": garbage,
            "settled_by_record": settled,
            "brought_back": r.brought_back,
            "packs_found": r.found.iter().map(|p| p.to_string()).collect::<Vec<_>>(),
            "findings": r.findings.iter().map(DamageJson::from).collect::<Vec<_>>(),
            "directories": r.directories,
            "chunks_saved": r.saved,
            "chunks_filled_in": r.filled,
            "packs_lost": r.lost.iter().map(|p| p.to_string()).collect::<Vec<_>>(),
            "damaged": ids(&r.damaged),
            "healed": ids(&r.healed),
            "dropped": dropped.collect::<Vec<_>>(),
            "checkpoint": r.checkpoint,
        }));
    }
    for finding in &r.findings {
        told_finding(finding).iter().for_each(|line| session.env.eprint_line(line));
    }
    if !session.global.tells() {
        return Ok(());
    }
    if let Some(number) = garbage {
        session.print(&format!("record {number} is garbage from now on; everyone goes on behind it"))?;
    }
    if let Some(number) = settled {
        session.print(&format!("record {number} settles the history; everyone goes on from there"))?;
    }
    let told = |n: u64, one: &str, many: &str, did: &str| (n > 0).then(|| format!("{} {did}", pluralize(n, one, many)));
    let lines = [
        told(
            r.brought_back.len() as u64,
            "object",
            "objects",
            match arguments.dry_run {
                true => "that somebody deleted can be brought back from the bucket's versions",
                false => "that somebody deleted brought back from the bucket's versions",
            },
        ),
        told(
            r.found.len() as u64,
            "lost pack",
            "lost packs",
            if arguments.dry_run { "there again; a repair takes them in" } else { "found again and taken in" },
        ),
        told(r.directories, "directory", "directories", "written anew from the packs themselves"),
        told(r.saved, "chunk", "chunks", "saved out of damaged packs"),
        told(r.filled, "chunk", "chunks", "filled in from equal ones"),
        told(r.lost.len() as u64, "pack", "packs", "declared lost; a prune removes what is left of them"),
        told(r.healed.len() as u64, "snapshot", "snapshots", "whole again"),
    ];
    for line in lines.into_iter().flatten() {
        session.print(&line)?;
    }
    for dropped in &r.dropped {
        let lost: Vec<String> = dropped.lost.iter().take(10).map(|p| escape(p.as_bytes())).collect();
        let more = dropped.lost.len().saturating_sub(lost.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        session.print(&format!(
            "{} is {} now, without {}{more}",
            dropped.old.short(),
            dropped.new.short(),
            lost.join(", ")
        ))?;
    }
    if !r.damaged.is_empty() {
        let ids: Vec<String> = r.damaged.iter().map(|id| id.short()).collect();
        session.print(&format!(
            "damaged snapshots: {}\nback these machines up again, then repair again: it fills in what comes back; --drop-lost gives up the rest",
            ids.join(", ")
        ))?;
    } else if garbage.is_none()
        && settled.is_none()
        && r.findings.is_empty()
        && r.brought_back.is_empty()
        && r.found.is_empty()
    {
        session.print("nothing to repair")?;
    }
    Ok(())
}
