//! `restore`: a snapshot, or a part of it, back into a directory; or one file into a command.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::destination::room_above;
use crate::destination::{Overwrite, OwnerMap, Ownership, RelativePath, TargetOptions};
use crate::format::tree::{Node, NodeKind};
use crate::ops::list;
use crate::ops::restore::{RestoreError, RestoreOptions, RestoreReport, restore};
use crate::patterns::ignore_case;
use crate::repository::Repository;

use crate::primitives::progress::{Observer, Severity};

use super::super::context::Session;
use super::super::error::{CliError, Result, error_text};
use super::super::exit::Exit;
use super::super::output::json::PathJson;
use super::super::output::text::{count, duration, escape, notes_text, pluralize, size};
use super::super::paths::{absolute, split_last};
use super::super::select::{Chosen, choose, choose_set};
use super::base_backup::{self, BaseBackupArguments, BaseBackupJson, How, is_base_backup, mappings, told};
use crate::cli::args::{SetArguments, SnapshotArguments};
use crate::cli::output::json::FindingsJson;
use crate::databases::load::by_hand::by_hand;
use crate::databases::postgres::base_backup::Mapping;
use crate::format::description::{SetDescription, SnapshotDescription};
use crate::repository::sets::Set;
use crate::source::dss;
use clap::Args;
use clap::ValueEnum;
use serde::Serialize;

pub(super) const RESTORE_EXAMPLES: &str = "\
Examples:
  strongroom restore latest --target /tmp/back
  strongroom restore latest:/srv/www --target /srv/www --overwrite if-changed --delete
  strongroom restore --at '2026-11-03 04:30' :/etc --target /tmp/etc
  strongroom restore 3fa9c1:/etc/passwd --target /tmp           one file
  strongroom restore latest:/data/dss --in-place --stop 'dss stop' --start 'dss start'
  strongroom restore latest:shop.sql --to-command 'psql shop'
  strongroom restore latest --target /srv/pg/data --tablespace-mapping /srv/fast=/mnt/fast";

/// What is done with files that are in the target already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OverwriteArgument {
    /// Overwrite them
    Always,
    /// Overwrite them if size or modification time differ
    IfChanged,
    /// Keep them
    Never,
}

/// Options of a restore in place.
#[derive(Args, Default)]
pub struct InPlaceArguments {
    /// Restore to where it was saved, or to --target: replace what differs, delete what the snapshot does not have
    #[arg(long, conflicts_with = "to_command", help_heading = "In place")]
    pub in_place: bool,
    /// Run CMD, with `bash -o pipefail`, before the directory is changed
    #[arg(long, value_name = "CMD", requires = "in_place", help_heading = "In place")]
    pub stop: Option<String>,
    /// Run CMD afterwards, also if --stop fails, but not on a directory that is half restored
    #[arg(long, value_name = "CMD", requires = "in_place", help_heading = "In place")]
    pub start: Option<String>,
    /// End --stop or --start if it takes longer than TIME [default: 30m]
    #[arg(long, value_name = "TIME", requires = "in_place", help_heading = "In place")]
    pub hook_timeout: Option<String>,
    /// Restore beside the directory, exchange the two, and keep the old one as NAME.before-ID
    #[arg(long, requires = "in_place", conflicts_with_all = ["include", "iinclude", "include_file", "exclude", "iexclude", "exclude_file"], help_heading = "In place")]
    pub keep_old: bool,
}

/// Options of `restore`.
#[derive(Args, Default)]
pub struct RestoreArguments {
    /// The snapshot.
    #[command(flatten)]
    pub snapshot: SnapshotArguments,
    /// The set.
    #[command(flatten)]
    pub set: SetArguments,
    /// The directory to restore into, if it is not given with --target
    #[arg(value_name = "DIR", conflicts_with_all = ["target", "to_command"])]
    pub directory: Option<PathBuf>,
    /// The directory to restore into
    #[arg(short, long, value_name = "DIR", required_unless_present_any = ["to_command", "directory", "in_place"])]
    pub target: Option<PathBuf>,
    /// Pipe one file to CMD, run with `bash -o pipefail`, and exit with its status
    #[arg(long, value_name = "CMD", conflicts_with = "target")]
    pub to_command: Option<String>,
    /// Allow CMD to exit with status 0 before it has read the whole file (for `pg_restore --list`)
    #[arg(long, requires = "to_command")]
    pub allow_partial_read: bool,
    /// Restore only files that match PATTERN (gitignore syntax, relative to what is restored)
    #[arg(short, long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// Restore only files that match PATTERN, ignoring the case of ASCII letters
    #[arg(long, value_name = "PATTERN")]
    pub iinclude: Vec<String>,
    /// Read include patterns from a file, one per line
    #[arg(long, value_name = "FILE")]
    pub include_file: Vec<PathBuf>,
    /// Exclude files that match PATTERN
    #[arg(short, long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Exclude files that match PATTERN, ignoring the case of ASCII letters
    #[arg(long, value_name = "PATTERN")]
    pub iexclude: Vec<String>,
    /// Read exclude patterns from a file, one per line
    #[arg(long, value_name = "FILE")]
    pub exclude_file: Vec<PathBuf>,
    /// Allow a target that is not empty, and choose what happens to existing files
    #[arg(long, value_name = "WHEN")]
    pub overwrite: Option<OverwriteArgument>,
    /// Delete files in the target that are not in the snapshot, after confirmation
    #[arg(long)]
    pub delete: bool,
    /// In place.
    #[command(flatten)]
    pub in_place: InPlaceArguments,
    /// Base backups.
    #[command(flatten)]
    pub base_backup: BaseBackupArguments,
    /// Do not check for free space before restoring
    #[arg(long)]
    pub no_space_check: bool,
    /// Answer yes to all questions
    #[arg(short, long)]
    pub yes: bool,
    /// Show what would be restored; write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Restore owners by numeric ID instead of name
    #[arg(long, help_heading = "Attributes")]
    pub numeric_ids: bool,
    /// Do not restore owners
    #[arg(long, conflicts_with_all = ["numeric_ids", "owner", "owner_map"], help_heading = "Attributes")]
    pub no_ownership: bool,
    /// Give what belonged to OLD to NEW: [user:|group:]OLD=NEW, names or numbers, OLD may be *
    #[arg(long, value_name = "OLD=NEW", help_heading = "Attributes")]
    pub owner_map: Vec<String>,
    /// Set this owner on everything
    #[arg(long, value_name = "USER[:GROUP]", help_heading = "Attributes")]
    pub owner: Option<String>,
    /// Do not restore extended attributes and access control lists
    #[arg(long, help_heading = "Attributes")]
    pub no_xattrs: bool,
    /// Also create sparse files where data is all zeros
    #[arg(long, help_heading = "Attributes")]
    pub sparse: bool,
}

/// `type: "restore"`.
#[derive(Debug, Serialize)]
pub(crate) struct RestoreJson {
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
    /// Of these, bytes that stood in the files that were replaced and were not read from the repository.
    pub reused: u64,
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
    /// The command that would load the file into its database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<String>,
    /// What is to be done after a restore, as the job says it, and for data directories that are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// Where the old directory is kept, after a restore in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_old: Option<PathJson>,
    /// What a base backup of PostgreSQL is that was unpacked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_backup: Option<BaseBackupJson>,
    /// How long it took.
    pub duration_ms: u64,
    /// What was found on the way.
    #[serde(flatten)]
    pub findings: FindingsJson,
}

/// Extras that are shown before they are deleted.
const EXTRAS_SHOWN_MAX: usize = 20;

/// Restores.
pub(crate) fn run(session: &Session, arguments: &RestoreArguments) -> Result<Exit> {
    session.with_repository(|repository| {
        if let Some(text) = &arguments.set.set {
            return whole_set(session, repository, text, arguments);
        }
        let chosen = choose(repository, &arguments.snapshot, session.env)?;
        if let Some(command) = &arguments.to_command {
            let how = super::cat::Feeding { may_leave: arguments.allow_partial_read, strips: false };
            return super::cat::feed(session, repository, &chosen, command, how);
        }
        let target =
            arguments.target.as_deref().or(arguments.directory.as_deref()).map(|t| absolute(t, &session.env.cwd));
        let target = target.ok_or_else(|| CliError::Usage("name a directory with --target".to_owned()))?;
        let mappings = mappings(&arguments.base_backup, &[&chosen.snapshot.described])?;
        session.listen()?;
        let started = Instant::now();
        let (report, base) = match list::find(repository, &chosen.snapshot, &chosen.path)? {
            Some(node) if !matches!(node.kind, NodeKind::Directory(_)) => {
                (one_entry(session, repository, &chosen, &node, arguments, &target)?, None)
            }
            _ => whole(session, repository, &chosen, arguments, &mappings, &target)?,
        };
        let took_ms = started.elapsed().as_millis() as u64;
        let base = base.as_ref();
        tell(
            session,
            &chosen,
            arguments,
            Restored { target: &target, report: &report, kept_old: None, base, took_ms },
        )?;
        tell_notes(session, chosen.snapshot.described.set.as_ref())?;
        Ok(if report.problems_count > 0 { Exit::Problems } else { Exit::Done })
    })
}

/// Restores every snapshot of a set into a directory of its own.
fn whole_set(
    session: &Session,
    repository: &Arc<Repository>,
    text: &str,
    arguments: &RestoreArguments,
) -> Result<Exit> {
    if arguments.to_command.is_some() || arguments.delete {
        let text = "--to-command and --delete make no sense with a set: name one of its snapshots";
        return Err(CliError::Usage(text.to_owned()));
    }
    let target = arguments.target.as_deref().or(arguments.directory.as_deref());
    let target = target.ok_or_else(|| CliError::Usage("name a directory with --target".to_owned()))?;
    let target = absolute(target, &session.env.cwd);
    let set = choose_set(session, repository, text, &arguments.set, &arguments.snapshot)?;
    let described: Vec<&SnapshotDescription> = set.members.iter().map(|member| &member.described).collect();
    let mappings = mappings(&arguments.base_backup, &described)?;
    if !arguments.no_space_check {
        check_room(&target, &set)?;
    }
    session.listen()?;
    let mut exit = if set.missing().is_empty() { Exit::Done } else { Exit::Problems };
    for snapshot in &set.members {
        let started = Instant::now();
        let place = target.join(set.place_of(snapshot));
        let chosen = Chosen { snapshot: snapshot.clone(), path: Vec::new() };
        match whole(session, repository, &chosen, arguments, &mappings, &place) {
            Ok((report, base)) => {
                let took_ms = started.elapsed().as_millis() as u64;
                let base = base.as_ref();
                let restored = Restored { target: &place, report: &report, kept_old: None, base, took_ms };
                tell(session, &chosen, arguments, restored)?;
                if report.problems_count > 0 {
                    exit = Exit::Problems;
                }
            }
            // One that cannot be restored keeps no other from being restored.
            Err(e) if Exit::of(&e) != Exit::Interrupted => {
                let source = escape(snapshot.described.member_path().as_bytes());
                session.progress.finding(Severity::Error, &format!("source {source}: {}", error_text(&e)));
                exit = Exit::Problems;
            }
            Err(e) => return Err(e),
        }
    }
    tell_notes(session, set.described())?;
    Ok(exit)
}

/// Refuses a set for which there is too little room, before anything is written.
fn check_room(target: &Path, set: &Set) -> Result<()> {
    let figures = || set.members.iter().map(|s| &s.described.figures);
    let needed =
        (figures().map(|f| f.bytes).sum::<u64>(), figures().map(|f| f.files + f.directories + f.others).sum::<u64>());
    match room_above(target) {
        Some(room) if !room.holds(needed.0, needed.1) => {
            Err(RestoreError::NoRoom { target: target.to_owned(), needed, room }.into())
        }
        _ => Ok(()),
    }
}

pub(super) fn target_options(arguments: &RestoreArguments) -> Result<TargetOptions> {
    let mut owner_map = match &arguments.owner {
        Some(owner) => OwnerMap::give_all_to(owner)?,
        None => OwnerMap::default(),
    };
    for entry in &arguments.owner_map {
        owner_map.add(entry)?;
    }
    Ok(TargetOptions {
        ownership: match (arguments.no_ownership, arguments.numeric_ids) {
            (true, _) => Ownership::None,
            (_, true) => Ownership::ByNumber,
            _ => Ownership::ByName,
        },
        owner_map,
        overwrite: overwrite(arguments),
        xattrs: !arguments.no_xattrs,
        sparse: arguments.sparse,
    })
}

fn overwrite(arguments: &RestoreArguments) -> Overwrite {
    match arguments.overwrite {
        None => Overwrite::Refuse,
        Some(OverwriteArgument::Always) => Overwrite::Always,
        Some(OverwriteArgument::IfChanged) => Overwrite::IfChanged,
        Some(OverwriteArgument::Never) => Overwrite::Never,
    }
}

/// The patterns given one by one, then those of files.
pub(super) fn patterns(
    session: &Session,
    given: &[String],
    without_case: &[String],
    files: &[PathBuf],
) -> Result<Vec<String>> {
    let mut all = given.to_vec();
    all.extend(without_case.iter().map(|pattern| ignore_case(pattern)));
    for file in files {
        let path = session.env.cwd.join(file);
        let text = std::fs::read_to_string(&path).map_err(CliError::file("read the patterns in", &path))?;
        let lines = text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#'));
        all.extend(lines.map(str::to_owned));
    }
    Ok(all)
}

/// Restores a snapshot, or a directory of it. A base backup is unpacked.
fn whole(
    session: &Session,
    repository: &Arc<Repository>,
    chosen: &Chosen,
    arguments: &RestoreArguments,
    mappings: &[Mapping],
    target: &Path,
) -> Result<(RestoreReport, Option<BaseBackupJson>)> {
    let is_unpacked = chosen.path.is_empty() && is_base_backup(&chosen.snapshot.described);
    if !is_unpacked || arguments.base_backup.no_unpack {
        return Ok((tree(session, repository, chosen, arguments, target)?, None));
    }
    let patterns = [&arguments.include, &arguments.iinclude, &arguments.exclude, &arguments.iexclude];
    let files = [&arguments.include_file, &arguments.exclude_file];
    let chooses = patterns.iter().any(|all| !all.is_empty()) || files.iter().any(|all| !all.is_empty());
    if chooses || arguments.delete || arguments.overwrite.is_some() {
        let text = "a base backup is unpacked whole, into an empty directory, without --include, --exclude, --delete and \
                    --overwrite: --no-unpack restores its tar file";
        return Err(CliError::Usage(text.to_owned()));
    }
    let how = How {
        arguments: &arguments.base_backup,
        mappings: mappings.to_vec(),
        target_options: target_options(arguments)?,
        no_space_check: arguments.no_space_check,
        dry_run: arguments.dry_run,
    };
    base_backup::restore(session, repository, chosen, target, how)
}

fn tree(
    session: &Session,
    repository: &Arc<Repository>,
    chosen: &Chosen,
    arguments: &RestoreArguments,
    target: &Path,
) -> Result<RestoreReport> {
    let mut agree = |extras: &[RelativePath]| confirm(session, arguments, target, extras);
    let options = RestoreOptions {
        target: target.to_owned(),
        target_options: target_options(arguments)?,
        subtree: (!chosen.path.is_empty()).then(|| chosen.path.clone()),
        include: patterns(session, &arguments.include, &arguments.iinclude, &arguments.include_file)?,
        only: Vec::new(),
        exclude: patterns(session, &arguments.exclude, &arguments.iexclude, &arguments.exclude_file)?,
        own: Vec::new(),
        delete: if arguments.delete { Some(&mut agree) } else { None },
        no_space_check: arguments.no_space_check,
        dry_run: arguments.dry_run,
    };
    Ok(restore(repository, &chosen.snapshot, options, &session.progress)?)
}

/// Shows what would be deleted, and asks.
fn confirm(session: &Session, arguments: &RestoreArguments, target: &Path, extras: &[RelativePath]) -> bool {
    let what = pluralize(extras.len() as u64, "entry", "entries");
    let (target, rest) = (escape(target.as_os_str().as_bytes()), extras.len().saturating_sub(EXTRAS_SHOWN_MAX));
    if arguments.yes && session.global.quiet {
        return true;
    }
    session.progress.suspended(|| {
        let env = session.env;
        env.eprint_line(&format!("{what} in {target} that the snapshot does not have:"));
        for extra in extras.iter().take(EXTRAS_SHOWN_MAX) {
            env.eprint_line(&format!("  {}", escape(extra.as_bytes())));
        }
        if rest > 0 {
            env.eprint_line(&format!("  and {} more", count(rest as u64)));
        }
        arguments.yes || env.confirm("delete them, with all that is in them? [y/N]")
    })
}

/// Restores one entry that is no directory into `target`.
///
/// A restore gives its target the attributes of the directory it restores. Who brings one file back into a directory
/// does not want that directory to change: so the file is restored into one of its own beside it, and moved.
fn one_entry(
    session: &Session,
    repository: &Arc<Repository>,
    chosen: &Chosen,
    node: &Node,
    arguments: &RestoreArguments,
    target: &Path,
) -> Result<RestoreReport> {
    let has_patterns = [&arguments.include, &arguments.exclude].iter().any(|p| !p.is_empty())
        || [&arguments.include_file, &arguments.exclude_file].iter().any(|p| !p.is_empty());
    if arguments.delete || has_patterns {
        let text = "--delete, --include and --exclude make no sense with a single file";
        return Err(CliError::Usage(text.to_owned()));
    }
    let (parent, name) = split_last(&chosen.path);
    let place = target.join(std::ffi::OsStr::from_bytes(name));
    let options = |folder: &Path| -> Result<RestoreOptions<'static>> {
        Ok(RestoreOptions {
            target: folder.to_owned(),
            target_options: TargetOptions { overwrite: Overwrite::Refuse, ..target_options(arguments)? },
            subtree: (!parent.is_empty()).then(|| parent.to_vec()),
            only: vec![name.to_vec()],
            dry_run: arguments.dry_run,
            no_space_check: arguments.no_space_check,
            ..RestoreOptions::default()
        })
    };
    if stays(&place, node, overwrite(arguments))? {
        return Ok(RestoreReport { kept: 1, ..RestoreReport::default() });
    }
    if arguments.dry_run {
        return Ok(restore(repository, &chosen.snapshot, options(target)?, &session.progress)?);
    }
    std::fs::create_dir_all(target).map_err(CliError::file("make", target))?;
    let folder = tempfile::Builder::new().prefix(".strongroom-restore-").tempdir_in(target);
    let folder = folder.map_err(CliError::file("write into", target))?;
    let restored = restore(repository, &chosen.snapshot, options(folder.path())?, &session.progress);
    let mut report = restored.map_err(|e| match e {
        // The user knows nothing of the directory that held the file for a while.
        RestoreError::NoRoom { needed, room, .. } => RestoreError::NoRoom { target: target.to_owned(), needed, room },
        e => e,
    })?;
    // The directory that held the file for a while.
    report.directories = 0;
    let made = folder.path().join(std::ffi::OsStr::from_bytes(name));
    match std::fs::rename(&made, &place) {
        Ok(()) => {}
        // It was not restored, which the report says.
        Err(e) if e.kind() == io::ErrorKind::NotFound && report.problems_count > 0 => {}
        Err(e) => return Err(CliError::file("replace", &place)(e)),
    }
    Ok(report)
}

/// Whether what has the name in the target is kept.
fn stays(place: &Path, node: &Node, overwrite: Overwrite) -> Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let found = match place.symlink_metadata() {
        Ok(found) => found,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(false),
        Err(e) => return Err(CliError::file("look at", place)(e)),
    };
    match overwrite {
        Overwrite::Refuse => Err(CliError::Exists { path: place.to_owned() }),
        Overwrite::Never => Ok(true),
        Overwrite::Always => Ok(false),
        Overwrite::IfChanged => {
            let NodeKind::File(file) = &node.kind else { return Ok(false) };
            let mtime = &node.meta.mtime;
            let times = found.mtime() == mtime.secs && found.mtime_nsec() == i64::from(mtime.nanos);
            Ok(found.is_file() && found.len() == file.size && times)
        }
    }
}

/// What came of a restore.
pub(super) struct Restored<'a> {
    pub(super) target: &'a Path,
    pub(super) report: &'a RestoreReport,
    /// Where the old directory is kept.
    pub(super) kept_old: Option<&'a Path>,
    /// The base backup that it is.
    pub(super) base: Option<&'a BaseBackupJson>,
    pub(super) took_ms: u64,
}

pub(super) fn tell(
    session: &Session,
    chosen: &Chosen,
    arguments: &RestoreArguments,
    restored: Restored<'_>,
) -> Result<()> {
    let findings = session.finish();
    let Restored { target, report, kept_old, base, took_ms } = restored;
    let known = known_notes(&chosen.snapshot.described, &chosen.path, target);
    let described = &chosen.snapshot.described;
    let load = load_command(chosen, target).filter(|_| base.is_none());
    if session.global.json {
        return session.print_json(&RestoreJson {
            r#type: "restore",
            dry_run: arguments.dry_run,
            snapshot: chosen.snapshot.id.to_string(),
            target: PathJson::new(target.as_os_str().as_bytes()),
            files: report.files,
            bytes: report.bytes,
            reused: report.reused,
            directories: report.directories,
            others: report.others,
            kept: report.kept,
            skipped: report.skipped,
            deleted: report.deleted,
            problems: report.problems_count,
            archived: report.archived.iter().cloned().collect(),
            load,
            notes: all_notes(described.set.as_ref(), &known),
            kept_old: kept_old.map(|path| PathJson::new(path.as_os_str().as_bytes())),
            base_backup: base.cloned(),
            duration_ms: took_ms,
            findings,
        });
    }
    if !report.archived.is_empty() {
        let text = "were not read, and the files that need them not restored";
        session.env.eprint_line(&super::verify::told_archived(report.archived.iter(), text));
    }
    if report.problems_count > 0 {
        let problems = pluralize(report.problems_count, "entry was", "entries were");
        session.env.eprint_line(&format!("warning: the restore is incomplete: {problems} not restored, or not fully"));
    }
    if !session.global.tells() {
        return Ok(());
    }
    let (id, target) = (chosen.snapshot.id.short(), escape(target.as_os_str().as_bytes()));
    let parts = counted(report);
    session.print(&match arguments.dry_run {
        true => format!("would restore {id} into {target}: {parts}"),
        false => format!("restored {id} into {target}: {parts} in {}", duration(took_ms)),
    })?;
    if arguments.dry_run {
        return Ok(());
    }
    base.iter().flat_map(|base| told(base)).try_for_each(|line| session.print(&line))?;
    if let Some(command) = load {
        session.print(&format!("  to load it: {}", escape(command.as_bytes())))?;
    }
    known.iter().try_for_each(|note| session.print(note))
}

/// What a report counts, in words.
pub(super) fn counted(report: &RestoreReport) -> String {
    let mut parts = vec![format!("{}, {}", pluralize(report.files, "file", "files"), size(report.bytes))];
    if report.reused > 0 {
        parts.push(format!("{} taken from the files that were replaced", size(report.reused)));
    }
    for (n, one, many) in [
        (report.directories, "directory", "directories"),
        (report.others, "link or device", "links and devices"),
        (report.kept, "file kept as it was", "files kept as they were"),
        (report.skipped, "socket left out", "sockets left out"),
        (report.deleted, "extra deleted", "extras deleted"),
    ] {
        if n > 0 {
            parts.push(pluralize(n, one, many));
        }
    }
    parts.join("; ")
}

/// The notes of the job, and those for data directories that are known.
fn all_notes(set: Option<&SetDescription>, known: &[String]) -> Option<String> {
    let notes: Vec<&str> =
        set.and_then(|set| set.notes.as_deref()).into_iter().chain(known.iter().map(String::as_str)).collect();
    (!notes.is_empty()).then(|| notes.join("\n"))
}

/// What is to be done with the data directories that a restore of `path` has brought to `target`.
fn known_notes(described: &SnapshotDescription, path: &[u8], target: &Path) -> Vec<String> {
    let root = Path::new("/").join(OsStr::from_bytes(path));
    let known = described.data_directories.iter().flatten().filter_map(|known| {
        let below = Path::new(OsStr::from_bytes(&known.path)).strip_prefix(&root).ok()?;
        // Joining an empty path would end it with a slash.
        let place = if below.as_os_str().is_empty() { target.to_owned() } else { target.join(below) };
        Some(dss::restore_notes(&escape(place.as_os_str().as_bytes()), &escape(known.version.as_bytes())))
    });
    known.collect()
}

/// The command that would load what was restored, if it is a stream of a source that knows one.
fn load_command(chosen: &Chosen, target: &Path) -> Option<String> {
    let described = &chosen.snapshot.described;
    let stream = described.stream.as_ref().filter(|_| chosen.path.is_empty())?;
    let name = described.paths.first()?;
    by_hand(stream, &target.join(std::ffi::OsStr::from_bytes(name)))
}

/// Prints what the job of a set says is to be done after a restore.
pub(super) fn tell_notes(session: &Session, set: Option<&SetDescription>) -> Result<()> {
    match set.and_then(|set| set.notes.as_deref()).filter(|_| session.global.tells()) {
        Some(notes) => session.print(&notes_text(notes)),
        None => Ok(()),
    }
}
