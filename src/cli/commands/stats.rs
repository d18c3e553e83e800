//! `stats`: how much there is and what it costs.

use crate::operations::stats::{Stats, stats};

use super::super::error::Result;
use super::super::exit::Exit;
use super::super::json::StatsJson;
use super::super::session::Session;
use super::super::text::{count, size, things};
use super::super::time::show;

/// Shows the figures.
pub fn run(session: &Session) -> Result<Exit> {
    session.with_repository(|repository| {
        let stats = stats(repository)?;
        let (id, location) = (repository.config.id.to_string(), repository.store.location());
        let created_ms = repository.config.created_ms;
        if session.global.json {
            session.print_json(&StatsJson::new(id, location, created_ms, &stats))?;
        } else {
            let made = show(created_ms, &session.around.zone);
            session.print(&format!("repository {id} at {location}, made {made}\n{}", told(&stats)))?;
        }
        Ok(Exit::Done)
    })
}

fn told(s: &Stats) -> String {
    let stored = s.data_len + s.meta_len + s.segment_len;
    let ratio = if stored > 0 && s.content > 0 {
        format!(", {:.1} times smaller than the snapshots one by one", s.content as f64 / stored as f64)
    } else {
        String::new()
    };
    let void = if s.records_void > 0 { format!(", {} of them void", count(s.records_void)) } else { String::new() };
    let open = if s.runs_open > 0 { format!("\nopen runs  {}", count(s.runs_open)) } else { String::new() };
    format!(
        "snapshots  {}, {} of content\ncontent    {} in {}\ntrees      {} in {}\nindex      {} in {}\nstored     {}{ratio}\nlog        {}{void}{open}",
        count(s.snapshots),
        size(s.content),
        size(s.data_len),
        things(s.data_packs, "pack", "packs"),
        size(s.meta_len),
        things(s.meta_packs, "pack", "packs"),
        size(s.segment_len),
        things(s.segments, "segment", "segments"),
        size(stored),
        things(s.records, "record", "records"),
    )
}
