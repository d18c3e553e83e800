//! Arguments that several commands share, as clap reads them: as they are typed, without meaning yet. What one command
//! alone takes is in the command's own file.
//!
//! Environment variables are not clap's business: it would show their values, passphrases among them, in its help.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::{ArgAction, Args};

use crate::repository::state_dir::Head;

use super::values;

/// Options of all commands.
#[derive(Args, Clone, Default, PartialEq, Eq)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArguments {
    /// The repository: a path or URL
    #[arg(short, long, global = true, value_name = "LOCATION")]
    pub repo: Option<String>,
    /// Set an option of the store, such as region=eu-central-1; may be given again
    #[arg(short, long, global = true, value_name = "KEY=VALUE")]
    pub option: Vec<String>,
    /// Send no more than RATE a second to a server, such as 512K or 2M
    #[arg(long, global = true, value_name = "RATE", value_parser = values::rate)]
    pub limit_upload: Option<u64>,
    /// Receive no more than RATE a second from a server
    #[arg(long, global = true, value_name = "RATE", value_parser = values::rate)]
    pub limit_download: Option<u64>,
    /// Read the passphrase from this file
    #[arg(short, long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Run this command with bash; what it prints is the passphrase
    #[arg(long, global = true, value_name = "CMD", conflicts_with = "password_file")]
    pub password_command: Option<String>,
    /// Use this machine's credential instead of a passphrase
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["password_file", "password_command"])]
    pub credential: Option<PathBuf>,
    /// The variable that holds the passphrase, as the configuration names it
    #[arg(skip)]
    pub passphrase_variable: Option<String>,
    /// The command that prints the passphrase, as the configuration has it
    #[arg(skip)]
    pub passphrase_command: Option<String>,
    /// Directory of the cache; it may be deleted at any time
    #[arg(long, global = true, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Fail if the history does not contain this record, as printed by `log --head`
    #[arg(long, global = true, value_name = "NUMBER:HASH")]
    pub expect_head: Option<Head>,
    /// Print only warnings and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Be more verbose: list new and modified files; twice: also unchanged files
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Print JSON: one object, or one object a line for lists
    #[arg(long, global = true)]
    pub json: bool,
    /// Show no progress
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// With --json: print progress events too, one object a line
    #[arg(long, global = true, conflicts_with = "no_progress")]
    pub progress: bool,
}

impl fmt::Debug for GlobalArguments {
    /// Without the command, in which a secret may stand.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalArguments").field("repo", &self.repo).finish_non_exhaustive()
    }
}

/// Which snapshots are meant.
#[derive(Args, Clone, Default)]
pub struct FilterArguments {
    /// Only of this machine
    #[arg(short = 'H', long, value_name = "NAME", help_heading = "Snapshot selection")]
    pub host: Vec<String>,
    /// Only snapshots with this tag; `a,b` means both; repeat the option for alternatives
    #[arg(long, value_name = "TAG[,TAG]", help_heading = "Snapshot selection")]
    pub tag: Vec<String>,
    /// Only with this path
    #[arg(long, value_name = "PATH", help_heading = "Snapshot selection")]
    pub path: Vec<PathBuf>,
    /// Only of this source
    #[arg(long, value_name = "NAME", help_heading = "Snapshot selection")]
    pub source: Vec<String>,
    /// Only with a label that matches GLOB, such as 'datahub-*'
    #[arg(long, value_name = "GLOB", value_parser = glob::Pattern::new, help_heading = "Snapshot selection")]
    pub label: Vec<glob::Pattern>,
}

/// One snapshot, or a place in one.
#[derive(Args, Clone, Default)]
pub struct SnapshotArguments {
    /// The first digits of an id, `latest` or `latest~N`; with `:PATH`, a part of it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub snapshot: Option<OsString>,
    /// The newest snapshot at or before this time, instead of naming one; a day includes its backups
    #[arg(long, value_name = "TIME", help_heading = "Snapshot selection")]
    pub at: Option<String>,
    /// Filters.
    #[command(flatten)]
    pub filter: FilterArguments,
}

/// Which set is meant.
#[derive(Args, Clone, Default)]
pub struct SetArguments {
    /// The set: the first digits of its id, `latest` or `latest~N`
    #[arg(long, value_name = "SET", conflicts_with = "snapshot", help_heading = "Snapshot selection")]
    pub set: Option<String>,
    /// With --set: of this job
    #[arg(long, value_name = "JOB", requires = "set", help_heading = "Snapshot selection")]
    pub job: Option<String>,
    /// With --set: of this type of job, such as Daily
    #[arg(long = "type", value_name = "TYPE", requires = "set", help_heading = "Snapshot selection")]
    pub job_type: Option<String>,
    /// With --set: accept a partial set
    #[arg(long, requires = "set", help_heading = "Snapshot selection")]
    pub partial: bool,
    /// With --set latest: take the newest good snapshot of each source, whichever sets they are of
    #[arg(long, requires = "set", help_heading = "Snapshot selection")]
    pub per_source: bool,
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

/// Where a new passphrase comes from.
#[derive(Args)]
pub struct NewSecretArguments {
    /// Read the new passphrase from this file [default: ask]
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
}

impl GlobalArguments {
    /// Whether the summary of a command is printed for people.
    pub(super) fn tells(&self) -> bool {
        !self.quiet && !self.json
    }
}
