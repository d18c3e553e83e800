//! `prune`: what no live snapshot needs goes.

use std::ffi::OsString;
use std::time::Instant;

use crate::ops::prune::plan::{Amount, MaxUnused, Plan};
use crate::ops::prune::{PruneOptions, PruneReport, prune};

use super::super::context::Session;
use super::super::error::Result;
use super::super::exit::Exit;
use super::super::output::json::FindingsJson;
use super::super::output::text::{count, duration, pluralize, size};
use super::super::redact::command_line;
use crate::cli::values;
use crate::ops::prune::MAX_UNUSED;
use clap::Args;

pub(super) const PRUNE_EXAMPLES: &str = "\
Examples:
  strongroom prune --dry-run
  strongroom prune --max-unused 0
  strongroom forget --keep-daily 7 --keep-weekly 5 --prune";

/// Options of `prune`.
#[derive(Args)]
pub struct PruneArguments {
    /// Tolerate this much unused data instead of rewriting packs: 5%, 2GiB, 0 or unlimited
    #[arg(long, value_name = "PART|SIZE", value_parser = values::max_unused, default_value = "5%")]
    pub max_unused: MaxUnused,
    /// Delete only data that was marked for deletion at least this long ago: 36h, 7d
    #[arg(long, value_name = "TIME", value_parser = values::duration_ms, default_value = "0s")]
    pub grace: i64,
    /// In a versioned bucket, permanently remove old versions that are no longer needed
    #[arg(long)]
    pub remove_noncurrent: bool,
}

impl Default for PruneArguments {
    fn default() -> Self {
        Self { max_unused: MAX_UNUSED, grace: 0, remove_noncurrent: false }
    }
}

/// Options of the command `prune` itself.
#[derive(Args)]
pub struct PruneCommand {
    /// How
    #[command(flatten)]
    pub how: PruneArguments,
    /// Show what would be done; change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// Prunes.
pub(crate) fn run(session: &Session, arguments: &PruneArguments, dry_run: bool, argv: &[OsString]) -> Result<Exit> {
    let env = session.env;
    let options = PruneOptions {
        max_unused: arguments.max_unused,
        grace_ms: arguments.grace,
        remove_noncurrent: arguments.remove_noncurrent,
        dry_run,
        host: env.host.clone(),
        command: command_line(argv),
    };
    let mut started = Instant::now();
    let report = session.with_repository(|repository| {
        session.listen()?;
        started = Instant::now();
        Ok(prune(repository, &options, &session.progress)?)
    })?;
    let took_ms = started.elapsed().as_millis() as u64;
    let findings = session.finish();
    if session.global.json {
        session.print_object(in_json(&report, dry_run, took_ms, findings))?;
    } else if session.global.tells() {
        session.print(&summary(&report, dry_run, took_ms))?;
    }
    Ok(if report.has_problems() { Exit::Problems } else { Exit::Done })
}

fn in_json(r: &PruneReport, dry_run: bool, took_ms: u64, findings: FindingsJson) -> serde_json::Value {
    let amount = |a: &Amount| serde_json::json!({ "packs": a.packs, "bytes": a.bytes });
    let objects = |(objects, bytes): (u64, u64)| serde_json::json!({ "objects": objects, "bytes": bytes });
    let refused = r.swept.refused.iter();
    serde_json::json!({
        "type": "prune",
        "dry_run": dry_run,
        "snapshots": r.snapshots,
        "chunks_needed": r.needed.0,
        "nodes_needed": r.needed.1,
        "missing": r.missing,
        "bytes_unused_before": r.plan.unused_before,
        "bytes_unused_after": r.plan.unused_after,
        "dropped": amount(&r.plan.deleted),
        "rewritten": amount(&r.plan.rewritten),
        "waiting": amount(&r.plan.waiting),
        "open_runs": r.open.iter().map(|run| run.0).collect::<Vec<_>>(),
        "closed_runs": r.closed.iter().map(|run| run.0).collect::<Vec<_>>(),
        "condemned_packs": r.condemned,
        "vouched_packs": r.vouched,
        "deleted": objects((r.swept.objects, r.swept.bytes)),
        "not_deleted": refused.map(|(name, why)| serde_json::json!({ "object": name, "why": why })).collect::<Vec<_>>(),
        "in_grace": r.swept.waiting,
        "noncurrent": r.noncurrent.as_ref().map(|n| serde_json::json!({
            "objects": n.objects,
            "versions": n.versions,
            "bytes": n.bytes,
            "removed_objects": n.removed,
            "removed_key_slots": n.slots,
            "overwritten_objects": n.overwritten,
            "not_removed": n.refused.iter().map(|(o, why)| serde_json::json!({ "object": o, "why": why })).collect::<Vec<_>>(),
            "needed": n.needed,
        })),
        "noncurrent_unknown": r.noncurrent_unknown,
        "before": objects(r.before),
        "after": objects(r.after),
        "requests": r.requests.total(),
        "bytes_down": r.requests.bytes_down,
        "bytes_up": r.requests.bytes_up,
        "checkpoint": r.checkpoint,
        "damaged": r.damaged,
        "duration_ms": took_ms,
        "warnings": findings.warnings,
        "errors": findings.errors,
        "findings": findings.findings,
    })
}

fn summary(r: &PruneReport, dry_run: bool, took_ms: u64) -> String {
    let mut lines = vec![freed(r, dry_run), unused(&r.plan)];
    lines.extend(moved(r, dry_run));
    lines.extend(deleted(r, dry_run));
    lines.extend(told_versions(r, dry_run));
    lines.push(format!(
        "read {}, wrote {}, with {} in {}",
        size(r.requests.bytes_down),
        size(r.requests.bytes_up),
        match r.requests.total() {
            1 => "1 request".to_owned(),
            n => format!("{} requests", count(n)),
        },
        duration(took_ms)
    ));
    lines.join("\n")
}

fn freed(r: &PruneReport, dry_run: bool) -> String {
    let (would, d, about) = if dry_run { ("would ", "", "about ") } else { ("", "d", "") };
    let (before, after) = (r.before.1, r.after.1);
    match before.checked_sub(after) {
        _ if r.plan.deleted.packs + r.plan.rewritten.packs + r.swept.objects == 0 => {
            format!("nothing to remove; the repository has {}", size(before))
        }
        Some(freed) => format!("{would}free{d} {about}{}; the repository has {about}{}", size(freed), size(after)),
        None => format!("{would}free{d} nothing yet; the repository has {about}{}", size(after)),
    }
}

fn unused(plan: &Plan) -> String {
    let unused = format!("{} of {} in packs are unused", size(plan.unused_before), size(plan.before.bytes));
    match plan.unused_after {
        0 => unused,
        after => format!("{unused}; {} stay unused (--max-unused)", size(after)),
    }
}

/// What was done with packs and runs.
fn moved(r: &PruneReport, dry_run: bool) -> Vec<String> {
    let plan = &r.plan;
    let packs = |n: u64| pluralize(n, "pack", "packs");
    let (would, remove, rewrite) =
        if dry_run { ("would ", "would remove", "rewrite") } else { ("", "removed", "rewrote") };
    let mut lines = Vec::new();
    if plan.deleted.packs + plan.rewritten.packs > 0 {
        lines.push(format!(
            "{remove} {} ({}) and {rewrite} {} ({} to about {})",
            packs(plan.deleted.packs),
            size(plan.deleted.bytes),
            packs(plan.rewritten.packs),
            size(plan.rewritten.bytes),
            size(plan.written_bytes),
        ));
    }
    if plan.waiting.packs > 0 {
        let runs: Vec<String> = r.open.iter().map(|run| run.0.to_string()).collect();
        lines.push(format!(
            "{} of {} go with a later prune, once run {} is over",
            packs(plan.waiting.packs),
            size(plan.waiting.bytes),
            runs.join(", ")
        ));
    }
    for run in &r.closed {
        lines.push(format!("{would}close run {}, which was silent for seven days", run.0));
    }
    if r.vouched > 0 {
        lines.push(format!("verified {}: other machines may deduplicate against them now", packs(r.vouched)));
    }
    lines
}

fn deleted(r: &PruneReport, dry_run: bool) -> Vec<String> {
    let objects = |n: u64| pluralize(n, "object", "objects");
    let mut lines = Vec::new();
    if r.swept.waiting > 0 {
        lines.push(format!("{} within the grace period", objects(r.swept.waiting)));
    }
    if r.swept.objects > 0 {
        let delete = if dry_run { "would delete" } else { "deleted" };
        lines.push(format!("{delete} {} ({})", objects(r.swept.objects), size(r.swept.bytes)));
    }
    lines
}

fn told_versions(r: &PruneReport, dry_run: bool) -> Vec<String> {
    if let Some(why) = &r.noncurrent_unknown {
        return vec![format!("what the bucket keeps of deleted objects is not known: {why}")];
    }
    let Some(kept) = &r.noncurrent else { return Vec::new() };
    let objects = |n: u64| pluralize(n, "deleted object", "deleted objects");
    let mut lines = vec![match (kept.asked, kept.objects) {
        (_, 0) => "the bucket keeps versions, and none that may be removed".to_owned(),
        (false, n) => format!(
            "the bucket {} {} of {} as noncurrent versions; --remove-noncurrent removes them for good",
            if dry_run { "keeps" } else { "still keeps" },
            objects(n),
            size(kept.bytes)
        ),
        (true, n) => {
            let (removed, bytes) = (count(kept.removed), size(kept.bytes));
            format!("removed {removed} of {} for good; all their versions were {bytes}", objects(n))
        }
    }];
    if kept.slots > 0 {
        let slots = pluralize(kept.slots, "removed key slot lives", "removed key slots live");
        lines.push(format!(
            "{slots} on as noncurrent versions, which their old secrets open: `key remove ID` removes them"
        ));
    }
    lines
}
