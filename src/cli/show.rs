//! `snapshots`, `ls`, `log` and `stats`.

use std::io::Write;

use serde_json::{Value, json};

use crate::formats::description::Figures;
use crate::formats::record::{Operation, Outcome};
use crate::formats::tree::{Node, NodeKind};
use crate::machinery::repository::snapshots::Snapshot;
use crate::machinery::repository::transitions::Verdict;
use crate::operations::{history, list, stats as operation};

use super::args::{LsArgs, SnapshotsArgs};
use super::context::{Context, snapshot_filter, split_path};
use super::exit::{Code, Failure};
use super::format::{printable, rfc3339, size, time};

/// One word for an outcome.
pub fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "complete",
        Outcome::Warnings => "warnings",
        Outcome::Partial => "partial",
        Outcome::Failed => "failed",
        Outcome::Crashed => "crashed",
    }
}

/// Figures as JSON: counts and bytes.
pub fn figures_json(f: &Figures) -> Value {
    json!({
        "files": f.files, "files_read": f.files_read, "directories": f.directories, "others": f.others,
        "bytes": f.bytes, "bytes_read": f.bytes_read, "bytes_new": f.bytes_new, "bytes_stored": f.bytes_stored,
        "unreadable": f.unreadable, "vanished": f.vanished, "changed": f.changed, "duration_ms": f.duration_ms,
    })
}

/// Bytes as JSON text, with their hex beside it if they are no text.
fn path_json(object: &mut Value, key: &str, bytes: &[u8]) {
    object[key] = json!(String::from_utf8_lossy(bytes));
    if std::str::from_utf8(bytes).is_err() {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        object[format!("{key}_hex")] = json!(hex);
    }
}

/// Prints a line; a reader that has had enough ends the program quietly.
pub fn line(out: &mut dyn Write, text: &str) {
    if writeln!(out, "{text}").is_err() {
        std::process::exit(Code::Failed as i32);
    }
}

/// Lists snapshots, oldest first.
pub fn snapshots(context: &Context, args: &SnapshotsArgs) -> Result<Code, Failure> {
    let repository = context.open()?;
    let filter = snapshot_filter(&args.filter);
    let found: Vec<Snapshot> = repository.snapshots()?.into_iter().filter(|s| filter.matches(s)).collect();
    context.close(&repository);
    let mut out = std::io::stdout().lock();
    if context.global.json {
        found.iter().for_each(|s| line(&mut out, &snapshot_json(s).to_string()));
        return Ok(Code::Done);
    }
    let mut rows = vec![["ID", "TIME", "HOST", "SOURCE", "TAGS", "FILES", "SIZE", "STATE"].map(str::to_owned).to_vec()];
    for s in &found {
        let d = &s.described;
        let state = if s.state.holed { "holed" } else { outcome_word(s.state.outcome) };
        let held = if s.state.held { ", held" } else { "" };
        rows.push(vec![
            s.id.short(),
            time(s.state.time_ms),
            printable(d.host.as_bytes()),
            printable(d.source.as_bytes()),
            printable(d.tags.join(",").as_bytes()),
            d.figures.files.to_string(),
            size(d.figures.bytes),
            format!("{state}{held}"),
        ]);
    }
    table(&mut out, &rows, &[5, 6]);
    if !context.global.quiet {
        line(&mut out, &format!("{} snapshots", found.len()));
    }
    Ok(Code::Done)
}

fn snapshot_json(s: &Snapshot) -> Value {
    let d = &s.described;
    let paths: Vec<Value> = d
        .paths
        .iter()
        .map(|p| {
            let mut path = json!({});
            path_json(&mut path, "path", p);
            path
        })
        .collect();
    json!({
        "id": s.id.to_string(), "short_id": s.id.short(), "time": rfc3339(s.state.time_ms), "host": d.host,
        "user": d.user, "source": d.source, "paths": paths, "tags": d.tags, "label": d.label,
        "outcome": outcome_word(s.state.outcome), "held": s.state.held, "holed": s.state.holed,
        "run": s.state.run.0, "record": s.state.published, "program": d.program, "excludes": d.excludes,
        "figures": figures_json(&d.figures), "findings": d.findings,
    })
}

fn table(out: &mut dyn Write, rows: &[Vec<String>], right: &[usize]) {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().enumerate().map(|(c, cell)| {
            let width = widths[c];
            if right.contains(&c) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        line(out, cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// Lists the entries of a snapshot.
pub fn ls(context: &Context, args: &LsArgs) -> Result<Code, Failure> {
    let (name, path) = split_path(&args.snapshot)?;
    let name = if args.at.is_some() && name == "latest" { "" } else { &name };
    let repository = context.open()?;
    let snapshot = context.choose(&repository, Some(name), args.at.as_deref(), &args.filter)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let path = &path.unwrap_or_default();
    list::list(&repository, &snapshot, path, !args.no_recursive, &mut |path, node| {
        let text = match (context.global.json, args.long) {
            (true, _) => node_json(path, node).to_string(),
            (false, true) => long(path, node),
            (false, false) => printable(path),
        };
        line(&mut out, &text);
        Ok(())
    })?;
    out.flush().map_err(|e| Failure::new(format!("cannot write: {e}")))?;
    context.close(&repository);
    Ok(Code::Done)
}

fn kind_word(kind: &NodeKind) -> (&'static str, char) {
    match kind {
        NodeKind::File(_) => ("file", '-'),
        NodeKind::Directory(_) => ("directory", 'd'),
        NodeKind::Symlink(_) => ("symlink", 'l'),
        NodeKind::Fifo => ("fifo", 'p'),
        NodeKind::CharDevice(..) => ("chardev", 'c'),
        NodeKind::BlockDevice(..) => ("blockdev", 'b'),
        NodeKind::Socket => ("socket", 's'),
    }
}

fn node_json(path: &[u8], node: &Node) -> Value {
    let m = &node.meta;
    let mut value = json!({
        "type": kind_word(&node.kind).0, "mode": format!("{:04o}", m.mode), "uid": m.owner.uid, "gid": m.owner.gid,
        "user": String::from_utf8_lossy(&m.owner.user), "group": String::from_utf8_lossy(&m.owner.group),
        "mtime_s": m.mtime.secs, "mtime_ns": m.mtime.nanos, "xattrs": m.xattrs.len(),
    });
    path_json(&mut value, "path", path);
    match &node.kind {
        NodeKind::File(f) => {
            value["size"] = json!(f.size);
            value["changed_while_read"] = json!(f.changed_while_read);
            value["content"] = json!(f.content_id.to_string());
        }
        NodeKind::Symlink(target) => path_json(&mut value, "target", target),
        NodeKind::CharDevice(major, minor) | NodeKind::BlockDevice(major, minor) => {
            value["device"] = json!([major, minor]);
        }
        _ => {}
    }
    value
}

fn mode_text(mode: u32) -> String {
    let mut text: Vec<char> =
        (0..9).rev().map(|bit| if mode >> bit & 1 == 1 { ['x', 'w', 'r'][bit % 3] } else { '-' }).collect();
    for (bit, at, with, without) in [(0o4000, 2, 's', 'S'), (0o2000, 5, 's', 'S'), (0o1000, 8, 't', 'T')] {
        if mode & bit != 0 {
            text[at] = if text[at] == 'x' { with } else { without };
        }
    }
    text.into_iter().collect()
}

fn long(path: &[u8], node: &Node) -> String {
    let m = &node.meta;
    let mode = mode_text(m.mode);
    let name = |name: &[u8], id: u32| if name.is_empty() { id.to_string() } else { printable(name) };
    let length = if let NodeKind::File(f) = &node.kind { f.size } else { 0 };
    let arrow = if let NodeKind::Symlink(t) = &node.kind { format!(" -> {}", printable(t)) } else { String::new() };
    format!(
        "{}{mode} {:<8} {:<8} {length:>12} {} {}{arrow}",
        kind_word(&node.kind).1,
        name(&m.owner.user, m.owner.uid),
        name(&m.owner.group, m.owner.gid),
        time(m.mtime.secs.saturating_mul(1000)),
        printable(path)
    )
}

/// Shows the log.
pub fn log(context: &Context) -> Result<Code, Failure> {
    let repository = context.open()?;
    let mut out = std::io::stdout().lock();
    history::history(&repository, &mut |folded| {
        let why = match &folded.verdict {
            Verdict::Valid => None,
            Verdict::Void(why) => Some(why.to_string()),
        };
        let Some(record) = &folded.record else {
            let why = why.unwrap_or_default();
            match context.global.json {
                true => line(&mut out, &json!({ "number": folded.number, "void": why }).to_string()),
                false => line(&mut out, &format!("{:>6}  void: {why}", folded.number)),
            }
            return Ok(());
        };
        let words: Vec<String> = record.operations.iter().map(words).collect();
        let hosts: Vec<String> = history::described(&repository, record).into_iter().map(|d| d.host).collect();
        let host = hosts.first().cloned().unwrap_or_default();
        if context.global.json {
            let value = json!({
                "number": record.number, "time": rfc3339(record.time_ms), "writer": record.writer.to_string(),
                "host": host, "operations": words, "void": why, "hash": folded.hash.to_string(),
            });
            line(&mut out, &value.to_string());
        } else {
            let void = why.map(|w| format!("  VOID: {w}")).unwrap_or_default();
            let host = printable(host.as_bytes());
            let text = format!(
                "{:>6}  {}  {}  {host}  {}{void}",
                record.number,
                time(record.time_ms),
                record.writer.short(),
                words.join("; ")
            );
            line(&mut out, &text);
        }
        Ok(())
    })?;
    context.close(&repository);
    Ok(Code::Done)
}

fn words(operation: &Operation) -> String {
    let ids = |ids: &[crate::words::ids::SnapshotId]| ids.iter().map(|i| i.short()).collect::<Vec<_>>().join(", ");
    match operation {
        Operation::Begin { kind, .. } => format!("begins a {} run", format!("{kind:?}").to_lowercase()),
        Operation::End { run, outcome, .. } => format!("ends run {}: {}", run.0, outcome_word(*outcome)),
        Operation::Publish { packs, snapshots, .. } => {
            let bytes: u64 = packs.iter().fold(0, |sum, p| sum.saturating_add(p.len));
            let added = format!("publishes {} packs ({})", packs.len(), size(bytes));
            match snapshots.iter().map(|s| s.id.short()).collect::<Vec<_>>() {
                ids if ids.is_empty() => added,
                ids => format!("{added} and snapshot {}", ids.join(", ")),
            }
        }
        Operation::Close { run } => format!("closes run {}", run.0),
        Operation::Forget { snapshots } => format!("forgets {}", ids(snapshots)),
        Operation::Hold { snapshots } => format!("holds {}", ids(snapshots)),
        Operation::Unhold { snapshots } => format!("lets go of {}", ids(snapshots)),
        Operation::Doom { packs } => format!("dooms chunks in {} packs", packs.len()),
        Operation::Rewrite { packs, condemned_packs, .. } => {
            format!("writes {} packs anew and condemns {}", packs.len(), condemned_packs.len())
        }
        Operation::Lost { packs, holed } => {
            format!("declares {} packs lost, {} snapshots holed", packs.len(), holed.len())
        }
        Operation::Vouch { packs } => format!("vouches for {} packs", packs.len()),
        Operation::Swept { packs, segments, orphans } => {
            format!("swept {} packs, {} segments, {} orphans", packs.len(), segments.len(), orphans.len())
        }
        Operation::Credential { certificate } => format!("admits credential {}", certificate.verifier.id().short()),
        Operation::Revoke { credential, epoch, .. } => {
            format!("revokes credential {}, epoch {epoch} begins", credential.short())
        }
        Operation::Healed { snapshots } => format!("healed {}", ids(snapshots)),
        Operation::Note { .. } => "a note".to_owned(),
    }
}

/// Shows figures of the repository.
pub fn stats(context: &Context) -> Result<Code, Failure> {
    let repository = context.open()?;
    let s = operation::stats(&repository)?;
    context.close(&repository);
    let stored = s.data_len + s.meta_len + s.segment_len;
    if context.global.json {
        line(
            &mut std::io::stdout().lock(),
            &json!({
                "records": s.records, "records_void": s.records_void, "snapshots": s.snapshots, "content": s.content,
                "data_packs": s.data_packs, "data_len": s.data_len, "meta_packs": s.meta_packs, "meta_len": s.meta_len,
                "segments": s.segments, "segment_len": s.segment_len, "runs_open": s.runs_open, "stored": stored,
            })
            .to_string(),
        );
        return Ok(Code::Done);
    }
    let mut out = std::io::stdout().lock();
    line(&mut out, &format!("repository  {} at {}", repository.config.id, repository.store.location()));
    line(&mut out, &format!("log         {} records, {} void, {} runs open", s.records, s.records_void, s.runs_open));
    line(&mut out, &format!("snapshots   {}, {} of content", s.snapshots, size(s.content)));
    line(&mut out, &format!("content     {} packs, {}", s.data_packs, size(s.data_len)));
    line(&mut out, &format!("trees       {} packs, {}", s.meta_packs, size(s.meta_len)));
    line(&mut out, &format!("index       {} segments, {}", s.segments, size(s.segment_len)));
    let ratio = if stored > 0 { s.content as f64 / stored as f64 } else { 1.0 };
    line(&mut out, &format!("stored      {}, one part in {ratio:.1} of the content", size(stored)));
    Ok(Code::Done)
}
