//! Which snapshots are meant, and looking into them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Which snapshots are meant.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Which snapshot")]
pub struct FilterArguments {
    /// Only of this machine
    #[arg(short = 'H', long, value_name = "NAME")]
    pub host: Vec<String>,
    /// Only with this tag; with all of `a,b`; given again: or with these
    #[arg(long, value_name = "TAG[,TAG]")]
    pub tag: Vec<String>,
    /// Only with this path
    #[arg(long, value_name = "PATH")]
    pub path: Vec<PathBuf>,
    /// Only of this source
    #[arg(long, value_name = "NAME")]
    pub source: Vec<String>,
}

/// One snapshot, or a place in one.
#[derive(Args, Clone, Default)]
pub struct SnapshotArguments {
    /// The first digits of an id, `latest` or `latest~N`; with `:PATH`, a part of it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub snapshot: Option<OsString>,
    /// The newest snapshot at or before this time, instead of naming one; a day includes its backups
    #[arg(long, value_name = "TIME", help_heading = "Which snapshot")]
    pub at: Option<String>,
    /// Filters.
    #[command(flatten)]
    pub filter: FilterArguments,
}

/// Options of `snapshots`.
#[derive(Args, Default)]
pub struct SnapshotsArguments {
    /// Filters.
    #[command(flatten)]
    pub filter: FilterArguments,
    /// Only the newest N of each host and source
    #[arg(long, value_name = "N")]
    pub latest: Option<usize>,
}

/// Options of `ls`.
#[derive(Args, Default)]
pub struct LsArguments {
    /// The snapshot.
    #[command(flatten)]
    pub snapshot: SnapshotArguments,
    /// Show mode, owner, size and time
    #[arg(short, long)]
    pub long: bool,
    /// Go into directories; this is the default
    #[arg(long, overrides_with = "no_recursive")]
    pub recursive: bool,
    /// Show only the directory's own entries
    #[arg(long)]
    pub no_recursive: bool,
}

/// Options of `log`.
#[derive(Args, Default)]
pub struct LogArguments {
    /// Only the last N records
    #[arg(short = 'n', long, value_name = "N")]
    pub last: Option<usize>,
    /// Print only number and hash of the last record, for --expect-head
    #[arg(long, conflicts_with = "last")]
    pub head: bool,
}

/// Where the passphrase of another repository comes from.
#[derive(Args, Default)]
pub struct OtherArguments {
    /// Read the other repository's passphrase from this file [variable: STRONGROOM_OTHER_PASSPHRASE]
    #[arg(long, value_name = "FILE")]
    pub other_password_file: Option<PathBuf>,
    /// Take the other repository's passphrase from what this command prints
    #[arg(long, value_name = "CMD", conflicts_with = "other_password_file")]
    pub other_password_command: Option<String>,
}

/// Options of `copy`.
#[derive(Args)]
pub struct CopyArguments {
    /// Only these [default: all that the filters let through]
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<OsString>,
    /// The other repository
    #[arg(long, value_name = "REPO")]
    pub to: String,
    /// The other's passphrase.
    #[command(flatten)]
    pub other: OtherArguments,
    /// Show what would be copied; copy nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Filters.
    #[command(flatten)]
    pub filter: FilterArguments,
}

/// Options of `diff`.
#[derive(Args)]
pub struct DiffArguments {
    /// The first
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub one: OsString,
    /// The second
    #[arg(value_name = "SNAPSHOT[:PATH]", default_value = "latest")]
    pub other: OsString,
    /// Show entries too of which only mode, owner, time or attributes differ
    #[arg(long)]
    pub metadata: bool,
    /// Filters.
    #[command(flatten)]
    pub filter: FilterArguments,
}

pub(super) const FIND_EXAMPLES: &str = "\
A pattern without a slash is compared with names, one with a slash with whole paths; `**` goes over folders.

Examples:
  strongroom find 'report-*.pdf'
  strongroom find '/srv/**/config.json' --host web1
  strongroom find id_rsa --newer-than 2026-11-01";

/// Options of `find`.
#[derive(Args)]
pub struct FindArguments {
    /// What to look for; any of several
    #[arg(value_name = "PATTERN", required = true)]
    pub patterns: Vec<String>,
    /// Upper and lower case are the same
    #[arg(short, long)]
    pub ignore_case: bool,
    /// Modified at or after this time
    #[arg(long, value_name = "TIME")]
    pub newer_than: Option<String>,
    /// Modified before this time
    #[arg(long, value_name = "TIME")]
    pub older_than: Option<String>,
    /// Filters.
    #[command(flatten)]
    pub filter: FilterArguments,
}

/// Options of `stats`.
#[derive(Args, Default)]
pub struct StatsArguments {
    /// Show what each source, or each night, costs
    #[arg(long, value_enum, value_name = "BY")]
    pub by: Option<ShareArgument>,
}

/// By what costs are shown.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareArgument {
    /// Host and source.
    Source,
    /// The day that a snapshot stands for.
    Night,
}
