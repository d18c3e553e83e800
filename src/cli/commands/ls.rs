//! `ls`: what is in a snapshot; the newest, if none is named.

use std::ffi::OsString;
use std::io::Write;

use crate::format::tree::{Metadata, Node, NodeKind};
use crate::ops::list::list;
use crate::repository::RepositoryError;

use super::super::context::Session;
use super::super::error::{CliError, Result};
use super::super::exit::Exit;
use super::super::output::json::EntryJson;
use super::super::output::text::escape;
use super::super::select::choose_at;
use super::super::time::show;
use crate::cli::args::SnapshotArguments;
use clap::Args;

/// Options of `ls`.
#[derive(Args, Default)]
pub struct LsArguments {
    /// The snapshot.
    #[command(flatten)]
    pub snapshot: SnapshotArguments,
    /// The directory or file, if it is not given after the colon
    #[arg(value_name = "PATH")]
    pub file: Option<OsString>,
    /// Show mode, owner, size and time
    #[arg(short, long)]
    pub long: bool,
    /// List subdirectories too (the default)
    #[arg(long, overrides_with = "no_recursive")]
    pub recursive: bool,
    /// List only the directory itself
    #[arg(long)]
    pub no_recursive: bool,
}

/// Lists the entries, one a line.
pub(crate) fn run(session: &Session, arguments: &LsArguments) -> Result<Exit> {
    session.with_repository(|repository| {
        let mut named = arguments.snapshot.clone();
        if named.snapshot.is_none() && named.at.is_none() {
            named.snapshot = Some("latest".into());
        }
        let chosen = choose_at(repository, &named, arguments.file.as_deref(), session.env)?;
        // Our own failures to write have to pass through the library's hands.
        let mut unwritten = None;
        let done = list(repository, &chosen.snapshot, &chosen.path, !arguments.no_recursive, &mut |path, node| {
            let written = match (session.global.json, arguments.long) {
                (true, _) => session.print_json(&EntryJson::new(path, node)),
                (_, long) => print(session, path, node, long),
            };
            written.map_err(|e| {
                unwritten = Some(e);
                RepositoryError::Interrupted
            })
        });
        match (done, unwritten) {
            (_, Some(e)) => Err(e),
            (Ok(()), None) => Ok(Exit::Done),
            (Err(e), None) => Err(e.into()),
        }
    })
}

fn print(session: &Session, path: &[u8], node: &Node, long: bool) -> Result<()> {
    let mut line = Vec::with_capacity(128);
    if long {
        line.extend_from_slice(details(session, node).as_bytes());
    }
    line.extend(session.name(path));
    if let (true, NodeKind::Symlink(to)) = (long, &node.kind) {
        line.extend_from_slice(b" -> ");
        line.extend(session.name(to));
    }
    line.push(b'\n');
    session.env.out().write_all(&line).map_err(CliError::Output)
}

/// Mode, owner, size and time, in columns.
fn details(session: &Session, node: &Node) -> String {
    let Metadata { mode, owner, mtime, .. } = &node.meta;
    let name = |name: &[u8], id: u32| if name.is_empty() { id.to_string() } else { escape(name) };
    let size = match &node.kind {
        NodeKind::File(file) => file.size.to_string(),
        NodeKind::Symlink(to) => to.len().to_string(),
        NodeKind::CharDevice(major, minor) | NodeKind::BlockDevice(major, minor) => format!("{major}, {minor}"),
        _ => "0".to_owned(),
    };
    let time = show(mtime.secs.saturating_mul(1000), &session.env.zone);
    let (user, group) = (name(&owner.user, owner.uid), name(&owner.group, owner.gid));
    format!("{} {user:<8} {group:<8} {size:>12} {time} ", mode_text(&node.kind, *mode))
}

/// Kind and permissions as `ls -l` shows them.
fn mode_text(kind: &NodeKind, mode: u32) -> String {
    let mut text = String::with_capacity(10);
    text.push(match kind {
        NodeKind::File(_) => '-',
        NodeKind::Directory(_) => 'd',
        NodeKind::Symlink(_) => 'l',
        NodeKind::Fifo => 'p',
        NodeKind::CharDevice(..) => 'c',
        NodeKind::BlockDevice(..) => 'b',
        NodeKind::Socket => 's',
    });
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_ls_shows_them() {
        assert_eq!(mode_text(&NodeKind::Fifo, 0o640), "prw-r-----");
        assert_eq!(mode_text(&NodeKind::Symlink(vec![]), 0o777), "lrwxrwxrwx");
        assert_eq!(mode_text(&NodeKind::Socket, 0o6755), "srwsr-sr-x");
        assert_eq!(mode_text(&NodeKind::Socket, 0o7000), "s--S--S--T");
    }
}
