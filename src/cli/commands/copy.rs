//! `copy`: snapshots into another repository.

use std::ffi::OsString;
use std::time::Instant;

use crate::ops::copy::{CopyOptions, CopyReport, copy};
use crate::repository::snapshots::Snapshot;

use super::super::context::Session;
use super::super::error::{CliError, Result};
use super::super::exit::Exit;
use super::super::output::text::{duration, pluralize, size};
use super::super::paths::SnapshotSpec;
use super::super::redact::command_line;
use super::super::select::filter;
use super::super::settings::Settings;
use crate::cli::args::FilterArguments;
use crate::cli::args::OtherArguments;
use clap::Args;

/// Options of `copy`.
#[derive(Args)]
pub struct CopyArguments {
    /// Snapshots to copy [default: all that match the filters]
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<OsString>,
    /// The destination repository
    #[arg(long, value_name = "REPO")]
    pub to: String,
    /// The other's passphrase.
    #[command(flatten)]
    pub other: OtherArguments,
    /// Show what would be copied; copy nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Filters.
    #[command(flatten)]
    pub filter: FilterArguments,
}

/// Copies the snapshots that are named, or all that the filter lets through.
pub(crate) fn run(session: &Session, arguments: &CopyArguments, argv: &[OsString]) -> Result<Exit> {
    let env = session.env;
    let options = CopyOptions { dry_run: arguments.dry_run, host: env.host.clone(), command: command_line(argv) };
    let target = Settings::other(&arguments.to, &arguments.other, session.global, env)?;
    let mut started = Instant::now();
    let report = session.with_repository(|from| {
        let to = target.open(session.global, env)?;
        let filter = filter(&arguments.filter, env);
        let mut snapshots: Vec<Snapshot> = Vec::new();
        for text in &arguments.snapshots {
            let spec = SnapshotSpec::parse(text).map_err(CliError::Usage)?;
            let name = spec.name.filter(|_| spec.path.is_empty());
            let name = name.ok_or_else(|| CliError::Usage("snapshots are copied whole".to_owned()))?;
            snapshots.push(from.choose(&name, &filter)?);
        }
        if arguments.snapshots.is_empty() {
            snapshots = from.snapshots()?;
            snapshots.retain(|s| filter.matches(s));
        }
        snapshots.sort_by_key(|s| (s.state.time_ms, s.id));
        snapshots.dedup_by_key(|s| s.id);
        session.listen()?;
        started = Instant::now();
        session.with(&to, |to| Ok(copy(from, to, &snapshots, &options, &session.progress)?))
    })?;
    let took_ms = started.elapsed().as_millis() as u64;
    session.finish();
    tell(session, &report, arguments.dry_run, took_ms)?;
    Ok(if report.doubted.is_empty() && report.problems == 0 { Exit::Done } else { Exit::Problems })
}

fn tell(session: &Session, r: &CopyReport, dry_run: bool, took_ms: u64) -> Result<()> {
    if session.global.json {
        let pair = |(from, to): &(crate::primitives::ids::SnapshotId, Option<crate::primitives::ids::SnapshotId>)| serde_json::json!({ "from": from.to_string(), "to": to.map(|id| id.to_string()) });
        return session.print_object(serde_json::json!({
            "type": "copy",
            "dry_run": dry_run,
            "copied": r.copied.iter().map(pair).collect::<Vec<_>>(),
            "there": r.there,
            "bytes_read": r.figures.bytes_read,
            "bytes_new": r.figures.bytes_new,
            "bytes_stored": r.figures.bytes_stored,
            "duration_ms": took_ms,
        }));
    }
    if !session.global.tells() {
        return Ok(());
    }
    let snapshots = |n: u64| pluralize(n, "snapshot", "snapshots");
    let (copied, there) = (snapshots(r.copied.len() as u64), r.there);
    session.print(&match dry_run {
        true => format!("would copy {copied}; {there} are there already"),
        false => format!(
            "copied {copied}: read {}, stored {} new as {}, in {}; {there} were there already",
            size(r.figures.bytes_read),
            size(r.figures.bytes_new),
            size(r.figures.bytes_stored),
            duration(took_ms)
        ),
    })
}
