//! Getting things back.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::SnapshotArguments;

pub(super) const RESTORE_EXAMPLES: &str = "\
Examples:
  strongroom restore latest --target /tmp/back
  strongroom restore latest:/srv/www --target /srv/www --overwrite if-changed --delete
  strongroom restore --at '2026-11-03 04:30' :/etc --target /tmp/etc
  strongroom restore 3fa9c1:/etc/passwd --target /tmp           one file
  strongroom restore latest:shop.sql --to-command 'psql shop'";

pub(super) const CAT_EXAMPLES: &str = "\
Examples:
  strongroom cat latest:shop.sql > shop.sql
  strongroom cat latest~1:/etc/passwd
  strongroom cat --tag dump latest:shop.sql --to-command 'psql shop'";

/// What is done with files that are in the target already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OverwriteArgument {
    /// Replace them
    Always,
    /// Replace them unless size and time of modification are as recorded
    IfChanged,
    /// Keep them
    Never,
}

/// Options of `restore`.
#[derive(Args, Default)]
pub struct RestoreArguments {
    /// The snapshot.
    #[command(flatten)]
    pub snapshot: SnapshotArguments,
    /// The directory to restore into
    #[arg(short, long, value_name = "DIR", required_unless_present = "to_command")]
    pub target: Option<PathBuf>,
    /// Feed the one file that is named to CMD, run with `bash -o pipefail`; its exit status becomes ours
    #[arg(long, value_name = "CMD", conflicts_with = "target")]
    pub to_command: Option<String>,
    /// Accept that CMD ends with status 0 before it has read all of the file, such as `pg_restore --list`
    #[arg(long, requires = "to_command")]
    pub allow_partial_read: bool,
    /// Restore only what matches (gitignore meaning, below what is restored)
    #[arg(short, long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// Restore only what matches a line of this file
    #[arg(long, value_name = "FILE")]
    pub include_file: Vec<PathBuf>,
    /// Leave out what matches
    #[arg(short, long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Leave out what matches a line of this file
    #[arg(long, value_name = "FILE")]
    pub exclude_file: Vec<PathBuf>,
    /// Restore into a directory that is not empty, and do this with files that are there
    #[arg(long, value_name = "WHEN")]
    pub overwrite: Option<OverwriteArgument>,
    /// Delete what is in the target and not in the snapshot, after asking
    #[arg(long)]
    pub delete: bool,
    /// Begin also if the target seems to have too little free space
    #[arg(long)]
    pub no_space_check: bool,
    /// Agree to all questions
    #[arg(short, long)]
    pub yes: bool,
    /// Say what would be restored; write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Set owners by number, not by name
    #[arg(long, help_heading = "Attributes")]
    pub numeric_ids: bool,
    /// Set no owners
    #[arg(long, conflicts_with_all = ["numeric_ids", "owner", "owner_map"], help_heading = "Attributes")]
    pub no_ownership: bool,
    /// Give what belonged to OLD to NEW: [user:|group:]OLD=NEW, names or numbers, OLD may be *
    #[arg(long, value_name = "OLD=NEW", help_heading = "Attributes")]
    pub owner_map: Vec<String>,
    /// Give everything to this owner
    #[arg(long, value_name = "USER[:GROUP]", help_heading = "Attributes")]
    pub owner: Option<String>,
    /// Set no extended attributes and no access control lists
    #[arg(long, help_heading = "Attributes")]
    pub no_xattrs: bool,
    /// Make holes of long runs of zeros, beside those that were recorded
    #[arg(long, help_heading = "Attributes")]
    pub sparse: bool,
}

/// Options of `cat`.
#[derive(Args, Default)]
pub struct CatArguments {
    /// The file.
    #[command(flatten)]
    pub snapshot: SnapshotArguments,
    /// The path, if it does not stand after the colon
    #[arg(value_name = "PATH")]
    pub file: Option<OsString>,
    /// Feed the file to CMD, run with `bash -o pipefail`; its exit status becomes ours
    #[arg(long, value_name = "CMD")]
    pub to_command: Option<String>,
    /// Accept that CMD ends with status 0 before it has read all of the file, such as `pg_restore --list`
    #[arg(long, requires = "to_command")]
    pub allow_partial_read: bool,
}
