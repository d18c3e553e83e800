//! `backup`: paths, standard input and commands become snapshots.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::compression::CompressionLevel;
use crate::format::record::{Outcome, Role};
use crate::ops::backup::{BackupOptions, BackupReport, Compare, SourceReport, StreamSource, backup};
use crate::ops::forget;
use crate::primitives::ids::SnapshotId;
use crate::primitives::progress::{Observer, Severity};
use crate::repository::Repository;
use crate::source::{CommandSource, ExcludeOptions, RuleSummary};
use crate::store;

use super::super::context::Session;
use super::super::env::Env;
use super::super::error::{CliError, Result};
use super::super::exit::Exit;
use super::super::files_from::{PathLists, listed_paths};
use super::super::given::{check_stream, check_tags, check_text};
use super::super::launcher;
use super::super::output::json::{is_zero, outcome};
use super::super::output::text::{count, duration, escape, pluralize, shortened, size};
use super::super::passphrase::HIDDEN_VARIABLES;
use super::super::paths::on_disk;
use super::super::settings::{Settings, places};
use super::super::time;
use super::init::InitJson;
use super::init::make_if_missing;
use crate::cli::error::error_text;
use crate::cli::output::json::FiguresJson;
use crate::cli::output::json::FindingsJson;
use crate::cli::values::FromCommand;
use crate::cli::values::{self, DayMeans};
use clap::{Args, ValueEnum};
use serde::Serialize;

pub(super) const BACKUP_EXAMPLES: &str = "\
Examples:
  strongroom backup /etc /home                                  one snapshot of both
  strongroom backup --exclude-preset caches --exclude '*.iso' ~
  pg_dump shop | strongroom backup --stdin-name shop.sql -      a stream
  strongroom backup --from-command shop.sql='pg_dump shop'      its exit status decides
  strongroom backup --init ~/Documents                          makes a repository on this machine if there is none

Exit code 3: saved, but a file was unreadable, vanished or changed while it was read, or one of several sources failed.";

/// How much time is spent on compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum CompressionArgument {
    /// Store new data as it is
    Off,
    /// zstd level 1
    #[value(alias = "fastest")]
    Fast,
    /// zstd level 3
    #[default]
    #[value(alias = "auto")]
    Default,
    /// zstd level 19
    #[value(alias = "better")]
    Max,
}

impl From<CompressionArgument> for CompressionLevel {
    fn from(argument: CompressionArgument) -> Self {
        match argument {
            CompressionArgument::Off => Self::Off,
            CompressionArgument::Fast => Self::Fast,
            CompressionArgument::Default => Self::Default,
            CompressionArgument::Max => Self::Max,
        }
    }
}

/// Options of `backup`.
#[derive(Args, Default)]
pub struct BackupArguments {
    /// Files and directories to save as one snapshot; `-` is standard input
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Save standard input, as `-` does
    #[arg(long)]
    pub stdin: bool,
    /// The name under which standard input is saved [default: stdin]
    #[arg(long, visible_alias = "stdin-filename", value_name = "NAME")]
    pub stdin_name: Option<String>,
    /// Run CMD with `bash -o pipefail` and save its output as NAME if it exits with status 0
    #[arg(long, value_name = "NAME=CMD", value_parser = values::from_command)]
    pub from_command: Vec<FromCommand>,
    /// Take the paths as a command with its arguments, and save its output if it exits with status 0
    #[arg(long, conflicts_with_all = ["stdin", "from_command", "files_from", "files_from_verbatim", "files_from_raw"])]
    pub stdin_from_command: bool,
    /// Read paths from a file, one per line, with wildcards and # comments; - reads standard input
    #[arg(long, value_name = "FILE")]
    pub files_from: Vec<PathBuf>,
    /// Read paths from a file, one per line, as they are
    #[arg(long, value_name = "FILE")]
    pub files_from_verbatim: Vec<PathBuf>,
    /// Read paths from a file, each followed by a NUL character
    #[arg(long, value_name = "FILE")]
    pub files_from_raw: Vec<PathBuf>,
    /// Create the repository if it does not exist; by default a local one with a passphrase file
    #[arg(long)]
    pub init: bool,

    /// Name this source [default: the paths, or the name of the stream]
    #[arg(long, value_name = "NAME", help_heading = "Snapshot description")]
    pub source: Option<String>,
    /// Tag the snapshot
    #[arg(long, value_name = "TAG", value_delimiter = ',', help_heading = "Snapshot description")]
    pub tag: Vec<String>,
    /// Name this machine [default: the system's host name]
    #[arg(short = 'H', long, value_name = "NAME", help_heading = "Snapshot description")]
    pub host: Option<String>,
    /// Describe the snapshot
    #[arg(long, value_name = "TEXT", help_heading = "Snapshot description")]
    pub label: Option<String>,
    /// Set the time of the snapshot, not in the future: 2026-11-03, '2026-11-03 04:30' or RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", help_heading = "Snapshot description")]
    pub time: Option<String>,

    /// Show what would be read; store nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Read every file, even if it appears unchanged
    #[arg(long, visible_alias = "force")]
    pub read_all: bool,
    /// Ignore the change time (ctime) when detecting modified files
    #[arg(long)]
    pub ignore_ctime: bool,
    /// Ignore inode numbers when detecting modified files (for sshfs, mergerfs, some NFS and SMB)
    #[arg(long)]
    pub ignore_inode: bool,
    /// Choose how much time is spent on compressing new data
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "default")]
    pub compression: CompressionArgument,
    /// Protect the snapshots from being forgotten, as `hold` does
    #[arg(long, conflicts_with = "dry_run")]
    pub hold: bool,
    /// Save empty streams; by default an empty stream is an error
    #[arg(long)]
    pub allow_empty: bool,

    /// Exclude files that match PATTERN (gitignore syntax, relative to each path; absolute patterns work too)
    #[arg(short, long, value_name = "PATTERN", help_heading = "Exclusions")]
    pub exclude: Vec<String>,
    /// Read exclude patterns from a file, one per line
    #[arg(long, value_name = "FILE", help_heading = "Exclusions")]
    pub exclude_file: Vec<PathBuf>,
    /// Exclude files that match PATTERN, ignoring the case of ASCII letters
    #[arg(long, value_name = "PATTERN", help_heading = "Exclusions")]
    pub iexclude: Vec<String>,
    /// Read exclude patterns from a file, one per line, ignoring the case of ASCII letters
    #[arg(long, value_name = "FILE", help_heading = "Exclusions")]
    pub iexclude_file: Vec<PathBuf>,
    /// Exclude a named set of files: tmp, caches, logs, vcs, build, dss:temp, dss:logs, dss:other, dss:data
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Exclusions")]
    pub exclude_preset: Vec<String>,
    /// Exclude the contents of directories that contain a CACHEDIR.TAG file
    #[arg(long, help_heading = "Exclusions")]
    pub exclude_caches: bool,
    /// Exclude the contents of directories that contain a file NAME
    #[arg(long, value_name = "NAME", help_heading = "Exclusions")]
    pub exclude_if_present: Vec<String>,
    /// Exclude files larger than SIZE, such as 500M
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "Exclusions")]
    pub exclude_larger_than: Option<u64>,
    /// Do not cross file system boundaries
    #[arg(short = 'x', long, help_heading = "Exclusions")]
    pub one_file_system: bool,
}

/// `type: "backup"`.
#[derive(Debug, Serialize)]
pub(crate) struct BackupJson {
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
pub(crate) struct SourceJson {
    /// Its name.
    pub source: String,
    /// The database or other part of it that this is, as the server calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Id of its snapshot, if one was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// How complete it is.
    pub outcome: &'static str,
    /// What was read and stored.
    pub figures: FiguresJson,
    /// Why nothing was published, or it is not complete.
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
pub(crate) struct RuleJson {
    /// The rule.
    pub rule: String,
    /// Entries.
    pub matches: u64,
    /// Bytes of their files, as far as they were counted.
    pub bytes: u64,
    /// Whether there are more bytes, which were not counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub has_more: bool,
}

impl From<&SourceReport> for SourceJson {
    fn from(s: &SourceReport) -> Self {
        let rule = |r: &RuleSummary| RuleJson {
            rule: r.rule.clone(),
            matches: r.matches,
            bytes: r.bytes,
            has_more: r.has_more,
        };
        Self {
            source: s.source.clone(),
            member: s.member.clone(),
            snapshot: s.snapshot.map(|id| id.to_string()),
            outcome: outcome(s.outcome),
            figures: (&s.figures).into(),
            error: s.error.clone(),
            rules_unmatched: s.rules_unmatched.clone(),
            rules: s.rules.iter().map(rule).collect(),
        }
    }
}

/// Makes the backup. `argv` is the command line without secrets.
pub(crate) fn run(session: &Session, arguments: &BackupArguments, argv: String) -> Result<Exit> {
    let env = session.env;
    let mut settings = Settings::find(session.global, env, arguments.init)?;
    let mut options = options(session, &settings, arguments, argv)?;
    let made = if arguments.init { make_if_missing(session, &mut settings)? } else { None };
    let repository = settings.open(session.global, env)?;
    leave_out_own(session, &settings, &options.paths.clone(), &mut options.exclude)?;
    session.listen()?;
    check_hold(&repository, arguments.hold)?;
    let (report, not_held) = session.with(&repository, |repository| {
        let report = backup(repository, options, &session.progress)?;
        let not_held = hold_all(repository, &report, arguments.hold);
        Ok((report, not_held))
    })?;
    not_held.iter().for_each(|text| session.progress.finding(Severity::Error, text));
    tell(session, &report, arguments.dry_run, made)?;
    Ok(match exit(report.outcome) {
        Exit::Done if !report.damage.is_empty() || not_held.is_some() => Exit::Problems,
        exit => exit,
    })
}

/// Where this very program writes: a path without symbolic links, and what it is.
pub(in crate::cli) fn own_places(session: &Session, settings: &Settings) -> Result<Vec<(PathBuf, &'static str)>> {
    let env = session.env;
    let places = places(session.global, env)?;
    let folder = store::local_folder(&settings.location).map(|path| env.cwd.join(path));
    let own = [(folder, "repository"), (Some(places.cache), "cache"), (Some(places.state), "state folder")];
    Ok(own.into_iter().filter_map(|(path, what)| Some((path?.canonicalize().ok()?, what))).collect())
}

/// Leaves out what this very program writes meanwhile, if it lies in a source: a repository that saves itself grows by all
/// that it holds each night.
pub(in crate::cli) fn leave_out_own(
    session: &Session,
    settings: &Settings,
    roots: &[PathBuf],
    exclude: &mut ExcludeOptions,
) -> Result<()> {
    for (path, what) in own_places(session, settings)? {
        for root in roots {
            let Ok(real) = root.canonicalize() else { continue };
            let Some(below) = path.strip_prefix(&real).ok().filter(|below| !below.as_os_str().is_empty()) else {
                continue;
            };
            let place = root.join(below);
            let text = format!("{} is left out: it is the {what} of this backup", place.display());
            session.progress.finding(Severity::Note, &text);
            exclude.own.push(place);
        }
    }
    Ok(())
}

pub(in crate::cli) fn exit(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Complete => Exit::Done,
        Outcome::Warnings | Outcome::Partial => Exit::Problems,
        Outcome::Failed | Outcome::Crashed => Exit::Failed,
    }
}

/// Refuses a hold that the credential may not make, before anything is saved.
pub(in crate::cli) fn check_hold(repository: &Repository, hold: bool) -> Result<()> {
    match repository.keys.role {
        Role::Owner => Ok(()),
        _ if hold => Err(CliError::Usage("--hold needs the owner's passphrase: a credential cannot hold".to_owned())),
        _ => Ok(()),
    }
}

/// Protects what was saved from being forgotten. It stays saved if that fails; then this says why.
pub(in crate::cli) fn hold_all(repository: &Repository, report: &BackupReport, hold: bool) -> Option<String> {
    let ids: Vec<SnapshotId> = report.sources.iter().filter_map(|source| source.snapshot).collect();
    if !hold || ids.is_empty() {
        return None;
    }
    let error = error_text(&forget::hold(repository, &ids, true).err()?);
    let short: Vec<String> = ids.iter().map(|id| id.short()).collect();
    let ids = short.join(" ");
    Some(format!("the snapshots are saved and could not be held: {error}; `strongroom hold {ids}` holds them"))
}

fn options(session: &Session, settings: &Settings, arguments: &BackupArguments, argv: String) -> Result<BackupOptions> {
    let env = session.env;
    let time_ms = arguments.time.as_deref().map(|text| values::time(text, DayMeans::Start, &env.zone));
    let host = arguments.host.clone().or_else(|| env.variable("STRONGROOM_HOST").map(lossy));
    let mut tags: Vec<String> = Vec::new();
    for tag in arguments.tag.iter().map(|t| t.trim()).filter(|t| !t.is_empty()) {
        if !tags.iter().any(|t| t == tag) {
            tags.push(tag.to_owned());
        }
    }
    let texts =
        [("--host", host.as_ref()), ("--source", arguments.source.as_ref()), ("--label", arguments.label.as_ref())];
    for (option, text) in texts.into_iter().filter_map(|(option, text)| Some((option, text?))) {
        check_text(option, text)?;
    }
    check_tags(&tags)?;
    let time_ms = not_to_come(time_ms.transpose().map_err(CliError::Usage)?, env)?;
    let label = arguments.label.as_ref().map(|label| dated(label, time_ms.unwrap_or(env.system.now_ms()), &env.zone));
    Ok(BackupOptions {
        paths: paths(session, arguments)?,
        streams: streams(env, arguments)?,
        source: arguments.source.clone(),
        host: host.unwrap_or_else(|| own_host(settings, env)),
        user: env.user.clone(),
        tags,
        job: None,
        label: label.transpose()?,
        time_ms,
        exclude: ExcludeOptions {
            presets: arguments.exclude_preset.clone(),
            pattern_files: arguments.exclude_file.iter().map(|p| env.cwd.join(p)).collect(),
            patterns: arguments.exclude.clone(),
            pattern_files_ignoring_case: arguments.iexclude_file.iter().map(|p| env.cwd.join(p)).collect(),
            patterns_ignoring_case: arguments.iexclude.clone(),
            caches: arguments.exclude_caches,
            if_present: arguments.exclude_if_present.clone(),
            larger_than: arguments.exclude_larger_than,
            one_file_system: arguments.one_file_system,
            measure: session.global.verbose > 0,
            // Set once the sources are known.
            ..ExcludeOptions::default()
        },
        dry_run: arguments.dry_run,
        read_all: arguments.read_all,
        compare: Compare { ctime: !arguments.ignore_ctime, inode: !arguments.ignore_inode },
        compression: arguments.compression.into(),
        allow_empty: arguments.allow_empty,
        command: argv,
        follower: None,
    })
}

/// A label in which conversions such as `%Y-%m-%d` stand for the time of the snapshot.
pub(in crate::cli) fn dated(label: &str, time_ms: i64, zone: &TimeZone) -> Result<String> {
    let bad = |e: jiff::Error| CliError::Usage(format!("invalid label {label:?}: {e}; write %% for a percent sign"));
    if !label.contains('%') {
        return Ok(label.to_owned());
    }
    let at = Timestamp::from_millisecond(time_ms).map_err(bad)?.to_zoned(zone.clone());
    jiff::fmt::strtime::format(label, &at).map_err(bad)
}

/// The system's host name, or the first that the credential may speak for if that one is not among them.
fn own_host(settings: &Settings, env: &Env) -> String {
    let hosts = settings.credential.as_ref().map(|c| c.hosts.as_slice()).unwrap_or_default();
    match hosts.first() {
        Some(first) if !hosts.contains(&env.host) => first.clone(),
        _ => env.host.clone(),
    }
}

/// A minute by which clocks may differ.
const CLOCKS_DIFFER_MS: i64 = 60_000;

/// Refuses a time to come: a snapshot that stands for 2037 would be the newest for years.
fn not_to_come(time_ms: Option<i64>, env: &Env) -> Result<Option<i64>> {
    let now_ms = env.system.now_ms();
    match time_ms.filter(|time| *time > now_ms.saturating_add(CLOCKS_DIFFER_MS)) {
        Some(time) => {
            let (time, now) = (time::show(time, &env.zone), time::show(now_ms, &env.zone));
            Err(CliError::Usage(format!("--time {time} is in the future: it is {now} now")))
        }
        None => Ok(time_ms),
    }
}

fn lossy(text: &std::ffi::OsStr) -> String {
    text.to_string_lossy().into_owned()
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The paths, absolute.
fn paths(session: &Session, arguments: &BackupArguments) -> Result<Vec<PathBuf>> {
    if arguments.stdin_from_command {
        return Ok(Vec::new());
    }
    let mut named: Vec<PathBuf> = arguments.paths.iter().filter(|p| !is_stdin(p)).cloned().collect();
    let lists = PathLists {
        patterns: &arguments.files_from,
        verbatim: &arguments.files_from_verbatim,
        raw: &arguments.files_from_raw,
    };
    let listed = listed_paths(session, &lists)?;
    if !listed.is_empty() && arguments.source.is_none() {
        let text = "the source is named by its paths: with --source NAME it stays the same when the list changes";
        session.progress.finding(Severity::Note, text);
    }
    named.extend(listed);
    let mut all = on_disk(&named, &session.env.cwd);
    for path in &mut all {
        // A slash at the end means the directory that a link points to.
        let slash = |p: &&PathBuf| p.as_os_str().as_bytes().ends_with(b"/") && same(p, path, session.env);
        if path.is_symlink() {
            match named.iter().any(|p| slash(&p)) {
                true => path.push(""),
                false => session.progress.finding(
                    Severity::Warning,
                    &format!(
                        "{} is a symbolic link, and is saved as one; end it with / for what it points to",
                        path.display()
                    ),
                ),
            }
        }
    }
    Ok(all)
}

fn same(named: &Path, absolute: &Path, env: &Env) -> bool {
    super::super::paths::absolute(named, &env.cwd) == absolute
}

fn streams(env: &Env, arguments: &BackupArguments) -> Result<Vec<StreamSource>> {
    let usage = |text: &str| Err(CliError::Usage(text.to_owned()));
    let mut streams = Vec::new();
    let reads_stdin = arguments.stdin || !arguments.stdin_from_command && arguments.paths.iter().any(|p| is_stdin(p));
    match (&arguments.stdin_name, reads_stdin) {
        (_, true) if env.input_is_terminal => return usage("standard input is a terminal: pipe something into it"),
        (name, true) => {
            let reader = env.input.lock().take();
            let Some(reader) = reader else { return usage("there is no standard input") };
            let name = name.clone().unwrap_or_else(|| "stdin".to_owned());
            check_stream("--stdin-name", &name)?;
            streams.push(StreamSource::Reader { name, reader });
        }
        (Some(_), false) if arguments.stdin_from_command => {}
        (Some(_), false) => return usage("--stdin-name goes with `-`, which reads standard input"),
        (None, false) => {}
    }
    if arguments.stdin_from_command {
        streams.push(StreamSource::Command(command_of_paths(arguments)?));
    }
    arguments.from_command.iter().try_for_each(|c| check_stream("--from-command", &c.name))?;
    let commands = arguments.from_command.iter();
    streams.extend(commands.map(|c| StreamSource::Command(command(c.name.clone(), c.command.clone()))));
    let mut names = BTreeSet::new();
    match streams.iter().find(|s| !names.insert(s.name().to_owned())) {
        Some(twice) => usage(&format!("two streams are called {}", twice.name())),
        None => Ok(streams),
    }
}

pub(in crate::cli) fn command(name: String, command: String) -> CommandSource {
    let mut source = CommandSource::new(name, command);
    source.launcher = launcher();
    // The passphrase is none of the command's business.
    source.env.extend(HIDDEN_VARIABLES.map(|name| (name.into(), "".into())));
    source
}

/// The command that stands in the place of paths, as `--stdin-from-command` has it.
fn command_of_paths(arguments: &BackupArguments) -> Result<CommandSource> {
    let usage = |text: &str| CliError::Usage(text.to_owned());
    let words = arguments.paths.iter().map(|word| word.to_str());
    let words = words.collect::<Option<Vec<&str>>>().ok_or_else(|| usage("the command is not valid UTF-8"))?;
    if words.is_empty() {
        return Err(usage("--stdin-from-command needs a command: strongroom backup --stdin-from-command -- CMD ARGS"));
    }
    let line = shlex::try_join(words).map_err(|_| usage("the command holds a NUL character"))?;
    let name = arguments.stdin_name.clone().unwrap_or_else(|| "stdin".to_owned());
    check_stream("--stdin-name", &name)?;
    Ok(command(name, line))
}

pub(in crate::cli) fn tell(
    session: &Session,
    report: &BackupReport,
    dry_run: bool,
    made: Option<InitJson>,
) -> Result<()> {
    for rule in report.sources.iter().flat_map(|s| &s.rules_unmatched) {
        session.progress.finding(Severity::Warning, &format!("the exclusion rule {rule} matched nothing"));
    }
    if session.global.quiet {
        // The last words of commands were notes, and not shown.
        for line in report.sources.iter().filter_map(|s| s.error.as_ref()).flat_map(|e| e.lines().skip(1)) {
            session.progress.line(&format!("  {}", escape(line.as_bytes())));
        }
    }
    let findings = session.finish();
    if session.global.json {
        return session.print_json(&BackupJson {
            r#type: "backup",
            dry_run,
            run: report.run.map(|run| run.0),
            outcome: outcome(report.outcome),
            sources: report.sources.iter().map(Into::into).collect(),
            resumed_packs: report.resumed.0 as u64,
            resumed_bytes: report.resumed.1,
            made,
            findings,
        });
    }
    if !session.global.tells() {
        return Ok(());
    }
    if report.resumed.0 > 0 {
        let (packs, bytes) = (pluralize(report.resumed.0 as u64, "pack", "packs"), size(report.resumed.1));
        session.print(&format!("found {packs} ({bytes}) of an interrupted run again"))?;
    }
    for source in &report.sources {
        session.print(&told(source, dry_run))?;
        for rule in source.rules.iter().filter(|r| r.matches > 0) {
            session.print(&left_out(rule))?;
        }
    }
    Ok(())
}

/// What a rule left out, in words.
fn left_out(rule: &RuleSummary) -> String {
    let matches = pluralize(rule.matches, "entry", "entries");
    let bytes = match (rule.bytes, rule.has_more) {
        (0, true) => "their size was not counted".to_owned(),
        (bytes, true) => format!("{} or more", size(bytes)),
        (bytes, false) => size(bytes),
    };
    format!("  left out {matches}, {bytes}: {}", escape(rule.rule.as_bytes()))
}

/// What came of one source, in words.
fn told(source: &SourceReport, dry_run: bool) -> String {
    let (name, f) = (shortened(&escape(source.path().as_bytes())), &source.figures);
    let files = pluralize(f.files, "file", "files");
    if dry_run {
        let read = format!("{} to read, {}", pluralize(f.files_read, "file", "files"), size(f.bytes_read));
        return format!("{name}: {read}; {files} in all, {}; nothing was stored", size(f.bytes));
    }
    let Some(id) = source.snapshot else {
        return format!("{name}: failed, no snapshot");
    };
    let (id, took) = (id.short(), duration(f.duration_ms));
    let problems = [(f.unreadable, "unreadable"), (f.vanished, "vanished"), (f.changed, "changed while read")];
    let problems: Vec<String> =
        problems.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", count(*n))).collect();
    let state = match source.outcome {
        Outcome::Complete => String::new(),
        o if problems.is_empty() => format!(" ({})", outcome(o)),
        o => format!(" ({}: {})", outcome(o), problems.join(", ")),
    };
    if f.files_read == 0 && f.bytes_new == 0 && source.outcome == Outcome::Complete {
        return format!("snapshot {id} of {name}: unchanged, {files}, {}, in {took}", size(f.bytes));
    }
    if (f.files, f.files_read, f.directories) == (1, 1, 0) {
        let (bytes, new, stored) = (size(f.bytes), size(f.bytes_new), size(f.bytes_stored));
        return format!("snapshot {id} of {name}{state}: {bytes}, {new} new, {stored} stored, in {took}");
    }
    let unchanged = f.files.saturating_sub(f.files_read);
    let directories = pluralize(f.directories, "directory", "directories");
    let others = if f.others > 0 { format!(", {} other", count(f.others)) } else { String::new() };
    format!(
        "snapshot {id} of {name}{state}\n  files  {} read, {} unchanged; {directories}{others}\n  bytes  {} in all, {} read, {} new, {} stored\n  took   {took}",
        count(f.files_read),
        count(unchanged),
        size(f.bytes),
        size(f.bytes_read),
        size(f.bytes_new),
        size(f.bytes_stored),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::env;

    /// A mistyped year made a snapshot of 2037 the newest for eleven years. Clocks may differ by a minute.
    #[test]
    fn a_time_to_come_is_refused_but_for_a_minute() {
        const NOW_MS: i64 = 1_793_676_600_000;
        let mut env = env();
        env.system = std::sync::Arc::new(crate::primitives::system::Scripted::new(NOW_MS, 1));
        for time_ms in [NOW_MS - 1, NOW_MS, NOW_MS + CLOCKS_DIFFER_MS] {
            assert_eq!(not_to_come(Some(time_ms), &env).expect("it is no time to come"), Some(time_ms));
        }
        assert_eq!(not_to_come(None, &env).expect("now is meant"), None);
        let refused = not_to_come(Some(NOW_MS + CLOCKS_DIFFER_MS + 1), &env).expect_err("it lies in the future");
        let said = "--time 2026-11-03 03:31:00 is in the future: it is 2026-11-03 03:30:00 now";
        assert!(matches!(&refused, CliError::Usage(text) if text == said), "{refused}");
    }
}
