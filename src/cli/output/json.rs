//! What `--json` prints. Programs depend on it: fields are added, never renamed or removed.
//!
//! A command prints one object on one line; `snapshots`, `ls` and `log` print one line for each thing they list. If a
//! command fails, its last line on standard output is an [`ErrorJson`]. Every object says what it is by `type`.
//!
//! Times are RFC 3339 in UTC. Lengths are bytes, durations milliseconds. Ids are hex, and whole. A path is UTF-8
//! with what is not replaced; if something was, `path_hex` holds its very bytes. Fields that say nothing are left out.

use serde::Serialize;

use crate::format::description::Figures;
use crate::format::record::Outcome;
use crate::format::tree::{Metadata, Node, NodeKind};
use crate::primitives::ids::write_hex;

/// For figures that are left out if they are zero.
pub fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// `type: "error"`: the command failed.
#[derive(Debug, Serialize)]
pub struct ErrorJson {
    /// `error`.
    pub r#type: &'static str,
    /// The error and its causes.
    pub message: String,
    /// What can be done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// How the program ends.
    pub exit_code: u8,
}

/// Something that was found on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FindingJson {
    /// `note`, `warning` or `error`.
    pub severity: &'static str,
    /// One line.
    pub text: String,
}

/// What was found on the way: of backup and restore.
#[derive(Debug, Default, Serialize)]
pub struct FindingsJson {
    /// How many warnings there were.
    pub warnings: u64,
    /// How many errors.
    pub errors: u64,
    /// The first thousand findings.
    pub findings: Vec<FindingJson>,
}

/// A path as bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathJson {
    /// As UTF-8.
    pub path: String,
    /// Its bytes as hex, if they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
}

impl PathJson {
    /// A path for JSON.
    pub fn new(bytes: &[u8]) -> Self {
        let path_hex = std::str::from_utf8(bytes).is_err().then(|| {
            let mut hex = String::with_capacity(2 * bytes.len());
            write_hex(&mut hex, bytes).expect("writing to a string does not fail");
            hex
        });
        Self { path: String::from_utf8_lossy(bytes).into_owned(), path_hex }
    }
}

/// The word for an outcome.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "complete",
        Outcome::Warnings => "warnings",
        Outcome::Partial => "partial",
        Outcome::Failed => "failed",
        Outcome::Crashed => "crashed",
    }
}

/// What was read and stored.
#[derive(Debug, Serialize)]
pub struct FiguresJson {
    /// Regular files.
    pub files: u64,
    /// Files whose content was read.
    pub files_read: u64,
    /// Directories.
    pub directories: u64,
    /// Links, pipes, devices, sockets.
    pub others: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Bytes that were not there before.
    pub bytes_new: u64,
    /// Bytes added to the repository, everything counted.
    pub bytes_stored: u64,
    /// Entries that could not be read.
    #[serde(skip_serializing_if = "is_zero")]
    pub unreadable: u64,
    /// Entries that vanished.
    #[serde(skip_serializing_if = "is_zero")]
    pub vanished: u64,
    /// Files that changed while they were read.
    #[serde(skip_serializing_if = "is_zero")]
    pub changed: u64,
    /// How long it took.
    pub duration_ms: u64,
}

impl From<&Figures> for FiguresJson {
    fn from(f: &Figures) -> Self {
        Self {
            files: f.files,
            files_read: f.files_read,
            directories: f.directories,
            others: f.others,
            bytes: f.bytes,
            bytes_read: f.bytes_read,
            bytes_new: f.bytes_new,
            bytes_stored: f.bytes_stored,
            unreadable: f.unreadable,
            vanished: f.vanished,
            changed: f.changed,
            duration_ms: f.duration_ms,
        }
    }
}

/// `type: "entry"`: a line of `ls`.
#[derive(Debug, Serialize)]
pub struct EntryJson {
    /// `entry`.
    pub r#type: &'static str,
    /// Absolute, from the snapshot's root.
    #[serde(flatten)]
    pub path: PathJson,
    /// `file`, `directory`, `symlink`, `fifo`, `char_device`, `block_device` or `socket`.
    pub kind: &'static str,
    /// Permission bits in octal.
    pub mode: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// User name, if there was one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Group name, if there was one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Time of last modification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtime: Option<String>,
    /// Length of a file, holes included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Where a symbolic link points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<PathJson>,
    /// Major and minor number of a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<(u32, u32)>,
    /// Names of extended attributes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<String>,
    /// The file changed while it was read: it may be torn.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub changed_while_read: bool,
    /// Equal contents have equal ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_id: Option<String>,
}

impl EntryJson {
    /// An entry for JSON.
    pub fn new(path: &[u8], node: &Node) -> Self {
        let Metadata { mode, owner, mtime, xattrs, .. } = &node.meta;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let file = if let NodeKind::File(file) = &node.kind { Some(file) } else { None };
        let mtime = jiff::Timestamp::new(mtime.secs, mtime.nanos as i32).ok().map(|t| t.to_string());
        Self {
            r#type: "entry",
            path: PathJson::new(path),
            kind: match &node.kind {
                NodeKind::File(_) => "file",
                NodeKind::Directory(_) => "directory",
                NodeKind::Symlink(_) => "symlink",
                NodeKind::Fifo => "fifo",
                NodeKind::CharDevice(..) => "char_device",
                NodeKind::BlockDevice(..) => "block_device",
                NodeKind::Socket => "socket",
            },
            mode: format!("{mode:04o}"),
            uid: owner.uid,
            gid: owner.gid,
            user: text(&owner.user),
            group: text(&owner.group),
            mtime,
            size: file.map(|f| f.size),
            target: if let NodeKind::Symlink(to) = &node.kind { Some(PathJson::new(to)) } else { None },
            device: match node.kind {
                NodeKind::CharDevice(major, minor) | NodeKind::BlockDevice(major, minor) => Some((major, minor)),
                _ => None,
            },
            xattrs: xattrs.iter().map(|x| text(&x.name)).collect(),
            changed_while_read: file.is_some_and(|f| f.changed_while_read),
            content_id: file.map(|f| f.content_id.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_no_text_keeps_its_bytes() {
        let json = |bytes: &[u8]| serde_json::to_string(&PathJson::new(bytes)).expect("it can be written");
        assert_eq!(json(b"/a b"), r#"{"path":"/a b"}"#);
        assert_eq!(json(b"/\xff"), "{\"path\":\"/\u{fffd}\",\"path_hex\":\"2fff\"}");
    }
}
