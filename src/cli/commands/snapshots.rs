//! `snapshots`: what can be restored.

use std::collections::HashMap;

use crate::primitives::progress::{Observer, Severity};
use crate::repository::snapshots::Snapshot;

use super::super::arguments::SnapshotsArguments;
use super::super::context::Session;
use super::super::error::Result;
use super::super::exit::Exit;
use super::super::output::json::{SnapshotJson, outcome};
use super::super::output::text::{Side, count, escape, size, table, things};
use super::super::select::filter;
use super::super::time::show;

/// Lists the snapshots, oldest first.
pub fn run(session: &Session, arguments: &SnapshotsArguments) -> Result<Exit> {
    let filter = filter(&arguments.filter, session.around);
    let mut all = session.with_repository(|repository| Ok(repository.snapshots()?))?;
    all.retain(|s| filter.matches(s));
    if let Some(newest) = arguments.latest {
        keep_newest(&mut all, newest);
    }
    if session.global.json {
        all.iter().try_for_each(|s| session.print_json(&SnapshotJson::from(s)))?;
        return Ok(Exit::Done);
    }
    let heading = ["ID", "TIME", "HOST", "SOURCE", "TAGS", "FILES", "SIZE", "STATE"].map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(heading).chain(all.iter().map(|s| row(session, s))).collect();
    use Side::{Left, Right};
    if !all.is_empty() {
        session.print(&table(&[Left, Left, Left, Left, Left, Right, Right, Left], &rows))?;
    }
    for s in all.iter().filter(|s| !session.global.json && s.doubt.is_some()) {
        let why = s.doubt.as_deref().unwrap_or_default();
        let text = format!(
            "snapshot {} is not believed: {why}; `strongroom forget {}` removes it",
            s.id.short(),
            s.id.short()
        );
        session.progress.finding(Severity::Warning, &text);
    }
    if session.global.tells() {
        session.print(&things(all.len() as u64, "snapshot", "snapshots"))?;
    }
    Ok(if all.iter().any(|s| s.doubt.is_some()) { Exit::Problems } else { Exit::Done })
}

/// Keeps the newest `n` of each host and source; they come oldest first.
fn keep_newest(all: &mut Vec<Snapshot>, n: usize) {
    let mut seen: HashMap<(String, String), usize> = HashMap::new();
    let mut keep = vec![false; all.len()];
    for (i, s) in all.iter().enumerate().rev() {
        let of = seen.entry((s.described.host.clone(), s.described.source.clone())).or_default();
        *of += 1;
        keep[i] = *of <= n;
    }
    let mut keep = keep.into_iter();
    all.retain(|_| keep.next().unwrap_or(false));
}

fn row(session: &Session, s: &Snapshot) -> Vec<String> {
    let (d, text) = (&s.described, |t: &str| escape(t.as_bytes()));
    let mut state = outcome(s.state.outcome).to_owned();
    for (is, word) in [(s.state.held, ", held"), (s.state.holed, ", has holes"), (s.doubt.is_some(), ", not believed")]
    {
        if is {
            state.push_str(word);
        }
    }
    vec![
        s.id.short(),
        show(s.state.time_ms, &session.around.zone),
        text(&d.host),
        text(&d.source),
        text(&d.tags.join(",")),
        count(d.figures.files),
        size(d.figures.bytes),
        state,
    ]
}
