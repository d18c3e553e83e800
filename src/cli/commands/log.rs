//! `log`: the repository's own history.

use std::collections::VecDeque;

use crate::format::record::{Operation, RunKind};
use crate::log::Verdict;
use crate::ops::log::{described, history};
use crate::repository::Repository;
use crate::repository::log::FoldedRecord;
use crate::repository::state_dir::Head;

use super::super::context::Session;
use super::super::error::{Result, error_text};
use super::super::exit::Exit;
use super::super::output::json::outcome;
use super::super::output::text::{escape, pluralize, shortened, shortened_to};
use super::super::time::{rfc3339, show};
use clap::Args;
use serde::Serialize;

/// Options of `log`.
#[derive(Args, Default)]
pub struct LogArguments {
    /// Show only the last N records
    #[arg(short = 'n', long, value_name = "N")]
    pub last: Option<usize>,
    /// Print only the number and hash of the last record, for --expect-head
    #[arg(long, conflicts_with = "last")]
    pub head: bool,
}

/// `type: "record"`: a line of `log`.
#[derive(Debug, Serialize)]
pub(crate) struct RecordJson {
    /// `record`.
    pub r#type: &'static str,
    /// Its number.
    pub number: u64,
    /// BLAKE3 of its bytes.
    pub hash: String,
    /// Why it is void; left out if it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub void: Option<String>,
    /// The writer's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The writer's credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
    /// What it does, in words.
    pub operations: Vec<serde_json::Value>,
    /// Machines of the runs it begins or ends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Commands of the runs it begins or ends, without secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// Findings that were kept with these runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
}

/// Prints the records, oldest first.
pub(crate) fn run(session: &Session, arguments: &LogArguments) -> Result<Exit> {
    if arguments.head {
        return head(session);
    }
    session.with_repository(|repository| {
        let last = arguments.last.unwrap_or(usize::MAX);
        let mut records = VecDeque::new();
        history(repository, &mut |record| {
            records.push_back(record);
            if records.len() > last {
                records.pop_front();
            }
            Ok(())
        })?;
        for record in &records {
            match session.global.json {
                true => session.print_json(&json(repository, record))?,
                false => session.print(&told(session, repository, record))?,
            }
        }
        Ok(Exit::Done)
    })
}

/// Prints what `--expect-head` takes.
fn head(session: &Session) -> Result<Exit> {
    session.with_repository(|repository| {
        let state = repository.state();
        let head = Head { number: state.number, hash: state.hash };
        match session.global.json {
            true => session.print_object(serde_json::json!({
                "type": "head", "number": head.number, "hash": head.hash.to_string(), "head": head.to_string(),
            }))?,
            false => session.print(&head.to_string())?,
        }
        Ok(Exit::Done)
    })
}

fn json(repository: &Repository, folded: &FoldedRecord) -> RecordJson {
    let record = folded.record.as_ref();
    let runs = record.map(|r| described(repository, r)).unwrap_or_default();
    RecordJson {
        r#type: "record",
        number: folded.number,
        hash: folded.hash.to_string(),
        void: void(folded),
        time: record.and_then(|r| rfc3339(r.time_ms)),
        writer: record.map(|r| r.writer.to_string()),
        operations: record.map(|r| r.operations.iter().map(operation_json).collect()).unwrap_or_default(),
        hosts: runs.iter().map(|r| r.host.clone()).collect(),
        commands: runs.iter().map(|r| r.command.clone()).collect(),
        findings: runs.into_iter().flat_map(|r| r.findings).collect(),
    }
}

fn void(folded: &FoldedRecord) -> Option<String> {
    match &folded.verdict {
        Verdict::Valid => None,
        Verdict::Void(why) => Some(error_text(why)),
    }
}

fn told(session: &Session, repository: &Repository, folded: &FoldedRecord) -> String {
    let number = folded.number;
    let void = void(folded).map(|why| format!("  VOID: {why}")).unwrap_or_default();
    let Some(record) = &folded.record else { return format!("{number:>6}  cannot be opened{void}") };
    let time = show(record.time_ms, &session.env.zone);
    let done: Vec<String> = record.operations.iter().map(words).collect();
    let mut text = format!("{number:>6}  {time}  {}  {}{void}", record.writer.short(), done.join("; "));
    // A Begin says what was asked; the same again at the End says nothing.
    let begins = record.operations.iter().any(|o| matches!(o, Operation::Begin { .. }));
    for run in described(repository, record) {
        if begins {
            let host = shortened(&escape(run.host.as_bytes()));
            let command = shortened_to(LINE_LEN_MAX, &escape(run.command.as_bytes()));
            text.push_str(&format!("\n{:>8}{host}: {command}", ""));
        }
        let mut lines = run.findings.iter().flat_map(|f| f.lines());
        for line in lines.by_ref().take(LINES_MAX) {
            text.push_str(&format!("\n{:>8}{}", "", shortened_to(LINE_LEN_MAX, &escape(line.as_bytes()))));
        }
        let more = lines.count() as u64;
        if more > 0 {
            text.push_str(&format!(
                "\n{:>8}and {}, which --json shows",
                "",
                pluralize(more, "more line", "more lines")
            ));
        }
    }
    text
}

/// Characters of a line that are shown, and lines of what was found.
const LINE_LEN_MAX: usize = 1000;
const LINES_MAX: usize = 1000;

/// An operation in words.
fn words(operation: &Operation) -> String {
    let n = |n: usize, one: &str, many: &str| pluralize(n as u64, one, many);
    let snapshots =
        |s: &[crate::primitives::ids::SnapshotId]| s.iter().map(|id| id.short()).collect::<Vec<_>>().join(", ");
    match operation {
        Operation::Begin { kind, .. } => format!("begin {}", kind_word(*kind)),
        Operation::End { run, outcome: o, .. } => format!("end run {}: {}", run.0, outcome(*o)),
        Operation::Publish { run, packs, segments, snapshots, .. } => {
            let ids: Vec<String> = snapshots.iter().map(|s| s.id.short()).collect();
            let mut parts = Vec::new();
            if !packs.is_empty() {
                parts.push(n(packs.len(), "pack", "packs"));
            }
            if !segments.is_empty() {
                parts.push(n(segments.len(), "segment", "segments"));
            }
            if !ids.is_empty() {
                parts.push(format!("snapshot {}", ids.join(", ")));
            }
            format!("publish for run {}: {}", run.0, parts.join(", "))
        }
        Operation::Close { run } => format!("close inactive run {}", run.0),
        Operation::Forget { snapshots: s } => format!("forget {}", snapshots(s)),
        Operation::Hold { snapshots: s } => format!("hold {}", snapshots(s)),
        Operation::Unhold { snapshots: s } => format!("unhold {}", snapshots(s)),
        Operation::Doom { packs } => format!("mark unused chunks of {}", n(packs.len(), "pack", "packs")),
        Operation::Rewrite { packs, condemned_packs, condemned_segments, .. } => format!(
            "rewrite into {}, retire {} and {}",
            n(packs.len(), "pack", "packs"),
            n(condemned_packs.len(), "pack", "packs"),
            n(condemned_segments.len(), "segment", "segments")
        ),
        Operation::Lost { packs, damaged } => {
            format!("declare {} lost; damaged: {}", n(packs.len(), "pack", "packs"), snapshots(damaged))
        }
        Operation::Vouch { packs } => format!("verified {}", n(packs.len(), "pack", "packs")),
        Operation::Swept { packs, segments, orphans } => {
            format!("deleted {}", n(packs.len() + segments.len() + orphans.len(), "object", "objects"))
        }
        Operation::Credential { certificate } => format!("admit a credential: {:?}", certificate.role).to_lowercase(),
        Operation::Revoke { credential, epoch, .. } => {
            format!("revoke credential {}, begin epoch {epoch}", credential.short())
        }
        Operation::Healed { snapshots: s } => format!("healed {}", snapshots(s)),
        Operation::Note { .. } => "a note".to_owned(),
        Operation::Beyond { run } => format!("say that records are missing: objects of run {} were there", run.0),
        Operation::Settle { strays, .. } => match strays.len() {
            0 => "settle the history".to_owned(),
            len => format!("settle the history, without {}", n(len, "later record", "later records")),
        },
        Operation::Found { packs } => format!("find {} again", n(packs.len(), "lost pack", "lost packs")),
    }
}

/// An operation as data: what it is, with the ids and counts that it names.
fn operation_json(operation: &Operation) -> serde_json::Value {
    use serde_json::json;
    let ids = |s: &[crate::primitives::ids::SnapshotId]| s.iter().map(ToString::to_string).collect::<Vec<_>>();
    match operation {
        Operation::Begin { kind, .. } => json!({ "operation": "begin", "kind": kind_word(*kind) }),
        Operation::End { run, outcome: o, .. } => json!({ "operation": "end", "run": run.0, "outcome": outcome(*o) }),
        Operation::Publish { run, packs, segments, snapshots: s, .. } => json!({
            "operation": "publish",
            "run": run.0,
            "packs": packs.len(),
            "segments": segments.len(),
            "snapshots": s.iter().map(|s| s.id.to_string()).collect::<Vec<_>>(),
        }),
        Operation::Close { run } => json!({ "operation": "close", "run": run.0 }),
        Operation::Forget { snapshots } => json!({ "operation": "forget", "snapshots": ids(snapshots) }),
        Operation::Hold { snapshots } => json!({ "operation": "hold", "snapshots": ids(snapshots) }),
        Operation::Unhold { snapshots } => json!({ "operation": "unhold", "snapshots": ids(snapshots) }),
        Operation::Doom { packs } => json!({ "operation": "mark_unused", "packs": packs.len() }),
        Operation::Rewrite { packs, condemned_packs, condemned_segments, .. } => json!({
            "operation": "rewrite",
            "packs": packs.len(),
            "retired_packs": condemned_packs.len(),
            "retired_segments": condemned_segments.len(),
        }),
        Operation::Lost { packs, damaged } => {
            json!({ "operation": "lost", "packs": packs.len(), "damaged": ids(damaged) })
        }
        Operation::Vouch { packs } => json!({ "operation": "verified", "packs": packs.len() }),
        Operation::Swept { packs, segments, orphans } => {
            json!({ "operation": "deleted", "objects": packs.len() + segments.len() + orphans.len() })
        }
        Operation::Credential { certificate } => {
            json!({ "operation": "credential", "role": format!("{:?}", certificate.role).to_lowercase() })
        }
        Operation::Revoke { credential, epoch, .. } => {
            json!({ "operation": "revoke", "credential": credential.to_string(), "epoch": epoch })
        }
        Operation::Healed { snapshots } => json!({ "operation": "healed", "snapshots": ids(snapshots) }),
        Operation::Note { .. } => json!({ "operation": "note" }),
        Operation::Beyond { run } => json!({ "operation": "records_missing", "run": run.0 }),
        Operation::Settle { strays, .. } => json!({ "operation": "settle", "left_out": strays.len() }),
        Operation::Found { packs } => json!({ "operation": "found", "packs": packs.len() }),
    }
}

fn kind_word(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Backup => "backup",
        RunKind::Prune => "prune",
        RunKind::Repair => "repair",
        RunKind::Copy => "copy",
    }
}
