//! What `--json` prints. Programs depend on it: fields are added, never renamed or removed.
//!
//! A command prints one object on one line; `snapshots`, `ls` and `log` print one line for each thing they list. If a
//! command fails, its last line on standard output is an [`ErrorJson`]. Every object says what it is by `type`.
//!
//! Times are RFC 3339 in UTC. Lengths are bytes, durations milliseconds. Ids are hex, and whole. A path is UTF-8
//! with what is not replaced; if something was, `path_hex` holds its very bytes. Fields that say nothing are left out.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::format::description::Figures;
use crate::format::record::Outcome;
use crate::format::tree::{Metadata, Node, NodeKind};
use crate::ops::backup::SourceReport;
use crate::ops::stats::Stats;
use crate::ops::verify::{Coverage, Finding};
use crate::primitives::ids::write_hex;
use crate::repository::snapshots::Snapshot;

use crate::cli::time::rfc3339;

fn is_zero(n: &u64) -> bool {
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

/// `type: "init"`: a repository was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InitJson {
    /// `init`.
    pub r#type: &'static str,
    /// Id of the repository.
    pub repository: String,
    /// Where it is.
    pub location: String,
    /// The file with its passphrase, if one was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<String>,
}

/// `type: "backup"`.
#[derive(Debug, Serialize)]
pub struct BackupJson {
    /// `backup`.
    pub r#type: &'static str,
    /// Whether nothing was stored.
    pub dry_run: bool,
    /// Number of the run; not for a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// The worst outcome: `complete`, `warnings`, `partial` or `failed`.
    pub outcome: &'static str,
    /// One for each source.
    pub sources: Vec<SourceJson>,
    /// Finished packs of interrupted runs that were found again.
    #[serde(skip_serializing_if = "is_zero")]
    pub resumed_packs: u64,
    /// Their bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub resumed_bytes: u64,
    /// The repository that `--init` made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made: Option<InitJson>,
    /// What was found on the way.
    #[serde(flatten)]
    pub findings: FindingsJson,
}

/// What came of one source.
#[derive(Debug, Serialize)]
pub struct SourceJson {
    /// Its name.
    pub source: String,
    /// Id of its snapshot, if one was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// How complete it is.
    pub outcome: &'static str,
    /// What was read and stored.
    pub figures: FiguresJson,
    /// Why nothing was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Exclusion rules that matched nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules_unmatched: Vec<String>,
    /// What the exclusion rules left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleJson>,
}

/// What one exclusion rule left out.
#[derive(Debug, Serialize)]
pub struct RuleJson {
    /// The rule.
    pub rule: String,
    /// Entries.
    pub matches: u64,
    /// Bytes of their files, as far as they were counted.
    pub bytes: u64,
}

impl From<&SourceReport> for SourceJson {
    fn from(s: &SourceReport) -> Self {
        let rule =
            |r: &crate::source::RuleSummary| RuleJson { rule: r.rule.clone(), matches: r.matches, bytes: r.bytes };
        Self {
            source: s.source.clone(),
            snapshot: s.snapshot.map(|id| id.to_string()),
            outcome: outcome(s.outcome),
            figures: (&s.figures).into(),
            error: s.error.clone(),
            rules_unmatched: s.rules_unmatched.clone(),
            rules: s.rules.iter().map(rule).collect(),
        }
    }
}

/// `type: "restore"`.
#[derive(Debug, Serialize)]
pub struct RestoreJson {
    /// `restore`.
    pub r#type: &'static str,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Id of the snapshot.
    pub snapshot: String,
    /// Where it went.
    pub target: PathJson,
    /// Regular files written.
    pub files: u64,
    /// Bytes of content written.
    pub bytes: u64,
    /// Directories made or found.
    pub directories: u64,
    /// Links, pipes and devices made.
    pub others: u64,
    /// Files that were there and were kept.
    pub kept: u64,
    /// Sockets, which are not restored.
    pub skipped: u64,
    /// Extras deleted.
    pub deleted: u64,
    /// Entries that could not be restored, or not fully. Not 0: the restore is incomplete.
    pub problems: u64,
    /// Objects that must be brought back from an archive class first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub archived: Vec<String>,
    /// How long it took.
    pub duration_ms: u64,
    /// What was found on the way.
    #[serde(flatten)]
    pub findings: FindingsJson,
}

/// `type: "snapshot"`: a line of `snapshots`.
#[derive(Debug, Serialize)]
pub struct SnapshotJson {
    /// `snapshot`.
    pub r#type: &'static str,
    /// Its id.
    pub id: String,
    /// The time it stands for.
    pub time: Option<String>,
    /// The machine.
    pub host: String,
    /// The user that ran the backup.
    pub user: String,
    /// The source.
    pub source: String,
    /// Absolute paths, or the names of streams.
    pub paths: Vec<PathJson>,
    /// Tags.
    pub tags: Vec<String>,
    /// The label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How complete it is.
    pub outcome: &'static str,
    /// Whether it is protected from being forgotten.
    pub held: bool,
    /// Whether some of its content is lost.
    pub holed: bool,
    /// Why its description is not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
    /// Number of the run that published it.
    pub run: u64,
    /// Number of the record that published it.
    pub record: u64,
    /// Exclusion rules that were in force.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excludes: Vec<String>,
    /// Problems that were kept with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
    /// The program that made it.
    pub program: String,
    /// What was read and stored.
    pub figures: FiguresJson,
}

impl From<&Snapshot> for SnapshotJson {
    fn from(s: &Snapshot) -> Self {
        let d = &s.described;
        Self {
            r#type: "snapshot",
            id: s.id.to_string(),
            time: rfc3339(s.state.time_ms),
            host: d.host.clone(),
            user: d.user.clone(),
            source: d.source.clone(),
            paths: d.paths.iter().map(|p| PathJson::new(p)).collect(),
            tags: d.tags.clone(),
            label: d.label.clone(),
            outcome: outcome(s.state.outcome),
            held: s.state.held,
            holed: s.state.holed,
            doubt: s.doubt.clone(),
            run: s.state.run.0,
            record: s.state.published,
            excludes: d.excludes.clone(),
            findings: d.findings.clone(),
            program: d.program.clone(),
            figures: (&d.figures).into(),
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

/// `type: "record"`: a line of `log`.
#[derive(Debug, Serialize)]
pub struct RecordJson {
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
    pub operations: Vec<String>,
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

/// `type: "stats"`.
#[derive(Debug, Serialize)]
pub struct StatsJson {
    /// `stats`.
    pub r#type: &'static str,
    /// Id of the repository.
    pub repository: String,
    /// Where it is.
    pub location: String,
    /// When it was made.
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
    pub oldest_read: Option<String>,
}

impl StatsJson {
    /// Figures for JSON.
    pub fn new(repository: String, location: String, created_ms: i64, s: &Stats, covered: &Coverage) -> Self {
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

/// `type: "verify"`.
#[derive(Debug, Serialize)]
pub struct VerifyJson {
    /// `verify`.
    pub r#type: &'static str,
    /// `keyless`, `structure` or `read_data`.
    pub depth: &'static str,
    /// Whether nothing was found.
    pub sound: bool,
    /// Records replayed.
    pub records: u64,
    /// Void records: why, by number.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub void: BTreeMap<u64, String>,
    /// Snapshots walked.
    pub snapshots: u64,
    /// Files found in them, equal ones counted once.
    pub files: u64,
    /// Objects looked at.
    pub objects: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Objects that nothing names.
    pub unnamed: u64,
    /// Live packs.
    pub packs: u64,
    /// Objects that must be brought back from an archive class first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub archived: Vec<String>,
    /// Packs that were read and found sound.
    pub packs_sound: u64,
    /// Live packs that no verification that is remembered has read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packs_never_read: Option<u64>,
    /// When the pack was read that was read longest ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_read: Option<String>,
    /// What is wrong.
    pub findings: Vec<DamageJson>,
    /// How long it took.
    pub duration_ms: u64,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
pub struct DamageJson {
    /// The object, or what was looked for.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// Snapshots it hurts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hurts: Vec<HurtJson>,
}

/// A snapshot that is hurt.
#[derive(Debug, Serialize)]
pub struct HurtJson {
    /// Its id.
    pub snapshot: String,
    /// How many of its paths.
    pub count: u64,
    /// The first of them.
    pub paths: Vec<String>,
}

impl From<&Finding> for DamageJson {
    fn from(f: &Finding) -> Self {
        let hurt = |(id, paths, count): &(crate::primitives::ids::SnapshotId, Vec<String>, u64)| HurtJson {
            snapshot: id.to_string(),
            count: *count,
            paths: paths.clone(),
        };
        Self { object: f.object.clone(), what: f.what.clone(), hurts: f.hurts.iter().map(hurt).collect() }
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
