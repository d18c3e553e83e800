//! `diff`: what changed between two snapshots.

use crate::format::tree::{Node, NodeKind};
use crate::ops::diff::{Change, DiffTotals, diff};
use crate::ops::list;
use crate::primitives::ids::ChunkId;
use crate::repository::RepositoryError;

use super::super::context::Session;
use super::super::error::{CliError, Result};
use super::super::exit::Exit;
use super::super::output::json::PathJson;
use super::super::output::text::{escape, pluralize, size};
use super::super::select::{Chosen, choose};
use crate::cli::args::FilterArguments;
use crate::cli::args::SnapshotArguments;
use clap::Args;
use std::ffi::OsString;

/// Options of `diff`.
#[derive(Args)]
pub struct DiffArguments {
    /// The first
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub one: OsString,
    /// The second
    #[arg(value_name = "SNAPSHOT[:PATH]", default_value = "latest")]
    pub other: OsString,
    /// Also show entries of which only mode, owner, time or extended attributes differ
    #[arg(long)]
    pub metadata: bool,
    /// Filters.
    #[command(flatten)]
    pub filter: FilterArguments,
}

/// Compares.
pub(crate) fn run(session: &Session, arguments: &DiffArguments) -> Result<Exit> {
    session.with_repository(|repository| {
        let chosen = |text: &std::ffi::OsString| {
            let snapshot = Some(text.clone());
            let named = SnapshotArguments { snapshot, at: None, filter: arguments.filter.clone() };
            choose(repository, &named, session.env)
        };
        let tree = |c: &Chosen| -> Result<ChunkId> {
            match list::find(repository, &c.snapshot, &c.path)? {
                None => Ok(c.snapshot.state.root),
                Some(Node { kind: NodeKind::Directory(id), .. }) => Ok(id),
                Some(_) => Err(CliError::Usage(format!("/{} is no directory", escape(&c.path)))),
            }
        };
        let (one, other) = (chosen(&arguments.one)?, chosen(&arguments.other)?);
        let mut unwritten = None;
        let compared = diff(repository, &tree(&one)?, &tree(&other)?, b"", &mut |path, change, a, b| {
            if change == Change::Metadata && !arguments.metadata {
                return Ok(());
            }
            tell(session, path, change, a, b).map_err(|e| {
                unwritten = Some(e);
                RepositoryError::Interrupted
            })
        });
        match unwritten {
            Some(e) => Err(e),
            None => {
                let within = |e| repository.within(&other.snapshot.id, repository.within(&one.snapshot.id, e));
                tell_totals(session, &compared.map_err(within)?)
            }
        }
    })
}

fn tell(session: &Session, path: &[u8], change: Change, a: Option<&Node>, b: Option<&Node>) -> Result<()> {
    let bytes = |n: Option<&Node>| match n.map(|n| &n.kind) {
        Some(NodeKind::File(file)) => Some(file.size),
        _ => None,
    };
    if session.global.json {
        let word = match change {
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Content => "content",
            Change::Metadata => "metadata",
            Change::Kind => "kind",
        };
        let path = PathJson::new(path);
        return session.print_object(serde_json::json!({
            "type": "change", "path": path.path, "path_hex": path.path_hex, "change": word,
            "size_before": bytes(a), "size_after": bytes(b),
        }));
    }
    let sign = match change {
        Change::Added => "+",
        Change::Removed => "-",
        Change::Content => "M",
        Change::Metadata => "U",
        Change::Kind => "T",
    };
    let is_directory = |n: Option<&Node>| matches!(n.map(|n| &n.kind), Some(NodeKind::Directory(_)));
    let slash = if is_directory(b.or(a)) { "/" } else { "" };
    session.print(&format!("{sign}  {}{slash}", escape(path)))
}

fn tell_totals(session: &Session, t: &DiffTotals) -> Result<Exit> {
    if session.global.json {
        session.print_object(serde_json::json!({
            "type": "diff", "added": t.added, "added_bytes": t.added_bytes, "removed": t.removed,
            "removed_bytes": t.removed_bytes, "changed": t.changed, "metadata": t.metadata,
        }))?;
    } else if session.global.tells() {
        session.print(&format!(
            "{} added ({}), {} removed ({}), {} changed, {} with other metadata only",
            pluralize(t.added, "entry", "entries"),
            size(t.added_bytes),
            t.removed,
            size(t.removed_bytes),
            t.changed,
            t.metadata
        ))?;
    }
    Ok(Exit::Done)
}
