//! Base backups of PostgreSQL for `restore`: unpacked, tablespaces in their places, and verified.

use std::io::{self, BufWriter};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::cli::context::Session;
use crate::cli::error::{CliError, Result};
use crate::cli::launcher;
use crate::cli::output::json::PathJson;
use crate::cli::output::text::escape;
use crate::cli::select::{Chosen, only_file};
use crate::databases::postgres::base_backup::{
    Mapping, Tablespace, UnpackOptions, Unpacked, Unpacking, Verified, Verifier, unpack,
};
use crate::databases::tool::Tools;
use crate::destination::TargetOptions;
use crate::format::description::SnapshotDescription;
use crate::format::tree::NodeKind;
use crate::ops::cat::{CatError, cat};
use crate::ops::list;
use crate::ops::restore::RestoreReport;
use crate::primitives::progress::{Observer, Severity, Unit};
use crate::repository::Repository;

/// Bytes that are gathered before they are written into the pipe.
const PIPE_LEN: usize = 128 << 10;

/// Options of `restore` for base backups.
#[derive(Args, Default)]
pub struct BaseBackupArguments {
    /// Put the tablespace that was in OLD into NEW; `\=` stands for `=` in a path [default: DIR.tablespaces/OID]
    #[arg(long, value_name = "OLD=NEW", help_heading = "Base backups of PostgreSQL")]
    pub tablespace_mapping: Vec<String>,
    /// Restore the tar file as it is; verify nothing
    #[arg(long, conflicts_with = "tablespace_mapping", help_heading = "Base backups of PostgreSQL")]
    pub no_unpack: bool,
    /// The directory of pg_verifybackup, of the major version of the backup
    #[arg(long, value_name = "DIR", help_heading = "Base backups of PostgreSQL")]
    pub bin: Option<PathBuf>,
}

/// `base_backup` of `type: "restore"`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct BaseBackupJson {
    /// The major version of the server.
    pub version: String,
    /// `sound`, `failed` or `not_run`.
    pub verified: &'static str,
    /// The command that verifies it.
    pub verify: String,
    /// The command that starts a server with it.
    pub start: String,
    /// Tablespaces, and where they are now.
    pub tablespaces: Vec<TablespaceJson>,
}

/// A tablespace.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TablespaceJson {
    /// The number that the server has for it.
    pub oid: u32,
    /// Where it was.
    pub old: PathJson,
    /// Where it is now.
    pub new: PathJson,
}

/// Whether a snapshot is a base backup.
pub(super) fn is_base_backup(described: &SnapshotDescription) -> bool {
    described.stream.as_ref().is_some_and(|stream| stream.kind == "postgres" && stream.format == "basebackup")
}

/// What the options say, and how files are written.
pub(super) struct How<'a> {
    pub(super) arguments: &'a BaseBackupArguments,
    pub(super) mappings: Vec<Mapping>,
    pub(super) target_options: TargetOptions,
    pub(super) no_space_check: bool,
    pub(super) dry_run: bool,
}

/// The mappings that the options name. One that none of the snapshots can need is an error.
pub(super) fn mappings(arguments: &BaseBackupArguments, described: &[&SnapshotDescription]) -> Result<Vec<Mapping>> {
    let known: Vec<String> = described
        .iter()
        .filter(|described| is_base_backup(described))
        .flat_map(|described| described.stream.iter().flat_map(|stream| &stream.properties))
        .filter(|(name, _)| name == "tablespace")
        .filter_map(|(_, value)| serde_json::from_str::<(String, String)>(value).ok())
        .map(|(_, place)| place)
        .collect();
    let mut all = Vec::new();
    for text in &arguments.tablespace_mapping {
        let mapping = Mapping::parse(text).map_err(CliError::Usage)?;
        if !known.iter().any(|place| place.trim_end_matches('/').as_bytes() == mapping.old()) {
            let known = match known.is_empty() {
                true => "the backup has no tablespaces of its own".to_owned(),
                false => format!("the backup has tablespaces in {}", escape(known.join(", ").as_bytes())),
            };
            let old = escape(mapping.old());
            return Err(CliError::Usage(format!("--tablespace-mapping names {old}, where no tablespace was: {known}")));
        }
        all.push(mapping);
    }
    Ok(all)
}

/// Unpacks a base backup into `target`, and verifies it. A failed verification is a problem of the report.
pub(super) fn restore(
    session: &Session,
    repository: &Repository,
    chosen: &Chosen,
    target: &Path,
    how: How<'_>,
) -> Result<(RestoreReport, Option<BaseBackupJson>)> {
    let path = only_file(repository, chosen)?;
    let node = list::find(repository, &chosen.snapshot, &path)?;
    let size = node.and_then(|n| if let NodeKind::File(file) = n.kind { Some(file.size) } else { None }).unwrap_or(0);
    let options = UnpackOptions {
        target: target.to_owned(),
        target_options: how.target_options,
        mappings: how.mappings,
        no_space_check: how.no_space_check,
    };
    if options.mappings.is_empty() {
        options.check_room(target, size)?;
    }
    if how.dry_run {
        return Ok((RestoreReport { files: 1, bytes: size, ..RestoreReport::default() }, None));
    }
    session.progress.phase("unpacking", Some(size), Unit::Bytes);
    let unpacked = unpacking(repository, chosen, &path, &options, &session.progress)?.finish()?;
    let mut report = RestoreReport {
        files: unpacked.files,
        bytes: unpacked.bytes,
        directories: unpacked.directories,
        others: unpacked.links,
        problems_count: unpacked.problems_count,
        problems: unpacked.problems.clone(),
        ..RestoreReport::default()
    };
    report.problems.iter().for_each(|text| session.progress.finding(Severity::Error, text));
    let json = verified(session, target, &unpacked, how.arguments, &mut report);
    if session.env.signals.interrupted() {
        return Err(CliError::Interrupted);
    }
    Ok((report, Some(json)))
}

/// Reads the archive on one thread, and unpacks it on another.
fn unpacking(
    repository: &Repository,
    chosen: &Chosen,
    path: &[u8],
    options: &UnpackOptions,
    observer: &(dyn Observer + Sync),
) -> Result<Unpacking> {
    let failed = |source| CliError::OsSystem { action: "make a pipe", source };
    let (reader, writer) = io::pipe().map_err(failed)?;
    std::thread::scope(|scope| {
        let unpacking = scope.spawn(move || unpack(reader, options));
        let mut out = BufWriter::with_capacity(PIPE_LEN, writer);
        let read = cat(repository, &chosen.snapshot, path, &mut out, observer);
        // Its end is the end of the archive.
        drop(out);
        let unpacked = unpacking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match read {
            Ok(_) => Ok(unpacked?),
            // Whoever unpacks has stopped reading, and knows why.
            Err(CatError::Write(e)) => Err(unpacked.err().map_or(CatError::Write(e).into(), CliError::from)),
            Err(e) => Err(e.into()),
        }
    })
}

/// Verifies what was unpacked, and says what came of it.
fn verified(
    session: &Session,
    target: &Path,
    unpacked: &Unpacked,
    arguments: &BaseBackupArguments,
    report: &mut RestoreReport,
) -> BaseBackupJson {
    let tools = Tools { bin: arguments.bin.clone(), launcher: launcher(), ..Tools::default() };
    let verifier = Verifier::find(target, unpacked, &tools);
    session.progress.phase("verifying", None, Unit::Bytes);
    let found = verifier.run(unpacked, &tools, &|| session.env.signals.interrupted());
    let shown = escape(target.as_os_str().as_bytes());
    let (verified, finding) = match found {
        Verified::Sound { wal: true } => ("sound", None),
        Verified::Sound { wal: false } => {
            let text = "the WAL of the backup was not checked: there is no pg_waldump beside pg_verifybackup";
            ("sound", Some((Severity::Warning, text.to_owned())))
        }
        Verified::Failed(why) => {
            report.problems_count += 1;
            ("failed", Some((Severity::Error, format!("the base backup in {shown} is damaged: {}", lines(&why)))))
        }
        Verified::NotRun(why) => {
            ("not_run", Some((Severity::Warning, format!("the base backup in {shown} was not verified: {why}"))))
        }
    };
    if let Some((severity, text)) = finding {
        session.progress.finding(severity, &text);
        if severity == Severity::Error {
            report.problems.push(text);
        }
    }
    if !unpacked.has_configuration {
        let text = format!(
            "{shown} has no postgresql.conf: the server had its configuration elsewhere; bring that back, and name it \
             with pg_ctl -o '-c config_file=FILE'"
        );
        session.progress.finding(Severity::Note, &text);
    }
    let tablespace = |one: &Tablespace| TablespaceJson {
        oid: one.oid,
        old: PathJson::new(&one.old),
        new: PathJson::new(one.new.as_os_str().as_bytes()),
    };
    BaseBackupJson {
        version: unpacked.version.clone(),
        verified,
        verify: verifier.shown(),
        start: verifier.start(target),
        tablespaces: unpacked.tablespaces.iter().map(tablespace).collect(),
    }
}

/// Lines of a tool in one.
fn lines(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// What a base backup is now, and what can be done with it.
pub(super) fn told(json: &BaseBackupJson) -> Vec<String> {
    let mut told = vec![match json.verified {
        "sound" => format!("  PostgreSQL {}; pg_verifybackup found no errors", escape(json.version.as_bytes())),
        _ => format!(
            "  PostgreSQL {}; to verify it: {}",
            escape(json.version.as_bytes()),
            escape(json.verify.as_bytes())
        ),
    }];
    told.extend(json.tablespaces.iter().map(|one| {
        let (old, new) = (escape(one.old.path.as_bytes()), escape(one.new.path.as_bytes()));
        format!("  tablespace {} is in {new}; it was in {old}", one.oid)
    }));
    if json.verified != "failed" {
        told.push(format!("  to start it, as its owner: {}", escape(json.start.as_bytes())));
        told.push(
            "  for a later moment, first set restore_command and make the file recovery.signal (recovery.conf before \
             PostgreSQL 12)"
                .to_owned(),
        );
    }
    told
}
