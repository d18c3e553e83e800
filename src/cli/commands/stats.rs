//! `stats`: how much there is and what it costs.

use crate::ops::stats::{Share, ShareBy, Stats, shares, stats};
use crate::ops::verify::coverage;

use super::super::context::Session;
use super::super::error::Result;
use super::super::exit::Exit;
use super::super::output::text::{Side, count, escape, pluralize, size};
use super::super::time::{self, rfc3339, show};
use super::verify::told_coverage;
use crate::ops::verify::Coverage;
use clap::Args;
use clap::ValueEnum;
use serde::Serialize;

/// Options of `stats`.
#[derive(Args, Default)]
pub struct StatsArguments {
    /// Show what each source, or each night, costs
    #[arg(long, value_enum, value_name = "BY")]
    pub by: Option<ShareArgument>,
}

/// By what costs are shown.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareArgument {
    /// Host and source.
    Source,
    /// The day that a snapshot stands for.
    Night,
}

/// `type: "stats"`.
#[derive(Debug, Serialize)]
pub(crate) struct StatsJson {
    /// `stats`.
    pub r#type: &'static str,
    /// Id of the repository.
    pub repository: String,
    /// Where it is.
    pub location: String,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Records in the log.
    pub records: u64,
    /// Of these, void ones.
    pub records_void: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Content of all snapshots, as if each were stored alone.
    pub content_bytes: u64,
    /// Packs of content, and their bytes.
    pub data_packs: u64,
    /// Their bytes.
    pub data_bytes: u64,
    /// Packs of trees and lists.
    pub meta_packs: u64,
    /// Their bytes.
    pub meta_bytes: u64,
    /// Segments of the index.
    pub segments: u64,
    /// Their bytes.
    pub segment_bytes: u64,
    /// Runs that are open.
    pub runs_open: u64,
    /// Packs that no verification that is remembered has read.
    pub packs_never_read: u64,
    /// When the pack was read that was read longest ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_read: Option<String>,
}

impl StatsJson {
    /// Figures for JSON.
    pub(crate) fn new(repository: String, location: String, created_ms: i64, s: &Stats, covered: &Coverage) -> Self {
        Self {
            r#type: "stats",
            repository,
            location,
            created: rfc3339(created_ms),
            records: s.records,
            records_void: s.records_void,
            snapshots: s.snapshots,
            content_bytes: s.content,
            data_packs: s.data_packs,
            data_bytes: s.data_len,
            meta_packs: s.meta_packs,
            meta_bytes: s.meta_len,
            segments: s.segments,
            segment_bytes: s.segment_len,
            runs_open: s.runs_open,
            packs_never_read: covered.never,
            oldest_read: covered.oldest_ms.and_then(rfc3339),
        }
    }
}

/// Shows the figures.
pub(crate) fn run(session: &Session, arguments: &StatsArguments) -> Result<Exit> {
    session.with_repository(|repository| {
        if let Some(by) = arguments.by {
            let by = match by {
                ShareArgument::Source => ShareBy::Source,
                ShareArgument::Night => ShareBy::Night,
            };
            return tell_shares(session, &shares(repository, by, &session.env.zone)?);
        }
        let covered = coverage(repository)?;
        let stats = stats(repository)?;
        let (id, location) = (repository.config.id.to_string(), repository.store.location());
        let created_ms = repository.config.created_ms;
        if session.global.json {
            session.print_json(&StatsJson::new(id, location, created_ms, &stats, &covered))?;
        } else {
            let made = show(created_ms, &session.env.zone);
            let covered = told_coverage(&covered, session);
            session.print(&format!(
                "repository {id} at {location}, made {made}\n{}\nverified   {covered}",
                told(&stats)
            ))?;
        }
        Ok(Exit::Done)
    })
}

fn tell_shares(session: &Session, shares: &[Share]) -> Result<Exit> {
    if session.global.json {
        for share in shares {
            session.print_object(serde_json::json!({
                "type": "share",
                "name": share.name,
                "snapshots": share.snapshots,
                "newest": rfc3339(share.newest_ms),
                "content_bytes": share.content,
                "new_bytes": share.new,
                "stored_bytes": share.stored,
            }))?;
        }
        return Ok(Exit::Done);
    }
    let newest = time::heading("NEWEST", &session.env.zone);
    let head = ["NAME", "SNAPSHOTS", &newest, "CONTENT", "NEW", "STORED"].map(str::to_owned).to_vec();
    let row = |s: &Share| {
        let newest = show(s.newest_ms, &session.env.zone);
        vec![escape(s.name.as_bytes()), count(s.snapshots), newest, size(s.content), size(s.new), size(s.stored)]
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(shares.iter().map(row)).collect();
    let sides = [Side::Left, Side::Right, Side::Whole, Side::Right, Side::Right, Side::Right];
    session.table(&sides, &rows)?;
    Ok(Exit::Done)
}

fn told(s: &Stats) -> String {
    let stored = s.data_len + s.meta_len + s.segment_len;
    // Padding makes a repository of next to nothing larger than its content: that says nothing.
    let ratio = if stored > 0 && s.content > stored {
        format!(", compression and deduplication ratio {:.1}x", s.content as f64 / stored as f64)
    } else {
        String::new()
    };
    let void = if s.records_void > 0 { format!(", {} of them invalid", count(s.records_void)) } else { String::new() };
    let open = if s.runs_open > 0 { format!("\nopen runs  {}", count(s.runs_open)) } else { String::new() };
    format!(
        "snapshots  {}, {} of content\ncontent    {} in {}\ntrees      {} in {}\nindex      {} in {}\nstored     {}{ratio}\nlog        {}{void}{open}",
        count(s.snapshots),
        size(s.content),
        size(s.data_len),
        pluralize(s.data_packs, "pack", "packs"),
        size(s.meta_len),
        pluralize(s.meta_packs, "pack", "packs"),
        size(s.segment_len),
        pluralize(s.segments, "segment", "segments"),
        size(stored),
        pluralize(s.records, "record", "records"),
    )
}
