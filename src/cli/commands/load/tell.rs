//! What `load` says of each database, as text and as JSON.

use serde::Serialize;

use crate::cli::context::Session;
use crate::cli::error::Result;
use crate::cli::output::text::{duration, escape, pluralize, size};
use crate::cli::time::show;
use crate::databases::load::options::{LoadOptions, LoadOutcome, Loaded};
use crate::primitives::progress::{Observer, Severity};
use crate::repository::sets::Set;

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

/// Says which set is loaded, and where.
pub(super) fn begin(session: &Session, set: &Set, per_source: bool, options: &LoadOptions) -> Result<()> {
    if !session.global.tells() {
        return Ok(());
    }
    let described = set.described();
    let job = described.and_then(|set| set.job.as_deref()).map(|job| format!(" of job {job}")).unwrap_or_default();
    if per_source {
        let job = escape(job.as_bytes());
        return session.print(&format!("the newest of each source{job}, into {}", options.to.shown()));
    }
    let id = described.map(|set| set.id.short()).unwrap_or_default();
    let time = show(set.time_ms(), &session.env.zone);
    session.print(&format!("set {id}{} of {time}, into {}", escape(job.as_bytes()), options.to.shown()))
}

/// What a tool said, in one line.
pub(super) fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    escape(lines.join(" / ").as_bytes())
}

/// Tells what came of one.
pub(super) fn tell(session: &Session, loaded: &Loaded) -> Result<()> {
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
