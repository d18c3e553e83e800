//! The command line as clap reads it: options as they are typed, without meaning yet.
//!
//! Environment variables are not clap's business: it would show their values, passphrases among them, in its help.

mod access;
mod backup;
mod look;
mod restore;
mod upkeep;

use std::fmt;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::repository::state_dir::Head;

use super::exit::Exit;

pub use access::{
    CredentialAddArguments, CredentialCommand, CredentialRevokeArguments, KeyAddArguments, KeyCommand,
    KeyRemoveArguments, NewSecretArguments, RoleArgument,
};
pub use backup::{BackupArguments, FromCommand, InitArguments};
pub use look::{
    CopyArguments, DiffArguments, FilterArguments, FindArguments, LogArguments, LsArguments, OtherArguments,
    ShareArgument, SnapshotArguments, SnapshotsArguments, StatsArguments,
};
pub use restore::{CatArguments, OverwriteArgument, RestoreArguments};
pub use upkeep::{
    ForgetArguments, GroupArgument, HoldArguments, PruneArguments, PruneCommand, RepairArguments, VerifyArguments,
};

use backup::BACKUP_EXAMPLES;
use look::FIND_EXAMPLES;
use restore::{CAT_EXAMPLES, RESTORE_EXAMPLES};
use upkeep::{FORGET_EXAMPLES, PRUNE_EXAMPLES, REPAIR_EXAMPLES};

const VARIABLES: &str = "\
Environment:
  STRONGROOM_REPO              the repository (or STRONGROOM_REPOSITORY)
  STRONGROOM_PASSPHRASE        the passphrase (or STRONGROOM_PASSWORD)
  STRONGROOM_PASSWORD_FILE     a file that holds it
  STRONGROOM_PASSWORD_COMMAND  a command that prints it
  STRONGROOM_OPTIONS           options of the store, KEY=VALUE with spaces between; for S3 also the usual AWS_ variables
  STRONGROOM_CREDENTIAL        this machine's credential file, instead of a passphrase
  STRONGROOM_HOST              this machine's name in snapshots
  STRONGROOM_CACHE_DIR         the cache, which may be deleted; else $XDG_CACHE_HOME/strongroom
  STRONGROOM_STATE_DIR         what must not be deleted; else $XDG_STATE_HOME/strongroom";

fn after_help() -> String {
    format!("{VARIABLES}\n\n{}", Exit::help())
}

/// Backups of dumps, search-index snapshots and data directories: deduplicated, encrypted, many machines, no locks.
#[derive(Parser)]
#[command(name = "strongroom", version, max_term_width = 110, after_help = after_help(), arg_required_else_help = true)]
#[command(subcommand_required = true, propagate_version = false, infer_subcommands = false)]
pub struct Arguments {
    /// Options of all commands.
    #[command(flatten)]
    pub global: GlobalArguments,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

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
    /// Read the passphrase from this file
    #[arg(short, long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Run this command with bash; what it prints is the passphrase
    #[arg(long, global = true, value_name = "CMD", conflicts_with = "password_file")]
    pub password_command: Option<String>,
    /// Use this machine's credential instead of a passphrase
    #[arg(long, global = true, value_name = "FILE", conflicts_with_all = ["password_file", "password_command"])]
    pub credential: Option<PathBuf>,
    /// Keep the cache here; it may be deleted at any time
    #[arg(long, global = true, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Refuse a history that does not go through this record, as `log --head` printed it
    #[arg(long, global = true, value_name = "NUMBER:HASH")]
    pub expect_head: Option<Head>,
    /// Print only problems
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Print JSON: one object, or one a line for lists
    #[arg(long, global = true)]
    pub json: bool,
    /// Show no progress bar
    #[arg(long, global = true)]
    pub no_progress: bool,
}

impl fmt::Debug for GlobalArguments {
    /// Without the command, in which a secret may stand.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalArguments").field("repo", &self.repo).finish_non_exhaustive()
    }
}

/// What can be done.
#[derive(Subcommand)]
pub enum Command {
    /// Make a repository
    Init(InitArguments),
    /// Save paths, standard input or the output of commands as snapshots
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(Box<BackupArguments>),
    /// Bring a snapshot, or a part of it, back
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(Box<RestoreArguments>),
    /// Write one file of a snapshot to standard output, or into a command
    #[command(visible_alias = "dump", after_help = CAT_EXAMPLES)]
    Cat(CatArguments),
    /// List snapshots
    Snapshots(SnapshotsArguments),
    /// List what is in a snapshot [default: latest]
    Ls(LsArguments),
    /// Show what changed between two snapshots
    Diff(DiffArguments),
    /// Copy snapshots into another repository, only what it lacks
    Copy(CopyArguments),
    /// Find names in all snapshots
    #[command(after_help = FIND_EXAMPLES)]
    Find(FindArguments),
    /// Show the repository's own history: who did what, and when
    Log(LogArguments),
    /// Show how much there is and what it costs
    Stats(StatsArguments),
    /// Check that everything would come back
    #[command(visible_alias = "check")]
    Verify(VerifyArguments),
    /// Admit machines, list them, and end what they may do
    #[command(subcommand)]
    Credential(CredentialCommand),
    /// Look after the ways to the master key: passphrases, key files, recovery words
    #[command(subcommand)]
    Key(KeyCommand),
    /// Say what this credential may do
    Whoami,
    /// Forget snapshots that a policy does not keep
    #[command(after_help = FORGET_EXAMPLES)]
    Forget(Box<ForgetArguments>),
    /// Free what no snapshot needs any more, beside backups and restores
    #[command(after_help = PRUNE_EXAMPLES)]
    Prune(PruneCommand),
    /// Protect snapshots from every policy
    Hold(HoldArguments),
    /// Take that protection back
    Unhold(HoldArguments),
    /// Replace what is damaged or gone, as far as the rest can tell it
    #[command(after_help = REPAIR_EXAMPLES)]
    Repair(RepairArguments),
    /// Say why there is nothing to unlock
    Unlock,
    /// Print completions for a shell
    Completions(CompletionsArguments),
    /// Write manual pages
    Man(ManArguments),
    /// Show what the exit codes mean
    #[command(long_about = Exit::help())]
    ExitCodes,
}

/// Options of `completions`.
#[derive(Args)]
pub struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Options of `man`.
#[derive(Args)]
pub struct ManArguments {
    /// The folder
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub output: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn read(line: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("strongroom").chain(line.iter().copied()))
    }

    #[test]
    fn clap_finds_no_contradiction() {
        Arguments::command().debug_assert();
    }

    /// The lines that `peers.py`, the database tests and the README use.
    #[test]
    fn the_documented_lines_are_understood() {
        for line in [
            "init --quiet",
            "backup --quiet --tag tree .",
            "backup --quiet --tag dump --stdin-name dump.sql -",
            "backup --stdin --stdin-filename dump.sql --tag a,b",
            "restore --quiet --tag tree latest --target /x",
            "cat --tag dump latest:dump.sql",
            "dump latest /dump.sql",
            "verify --quiet --read-data",
            "check --keyless",
            "-r /x snapshots --json",
            "restore --at 2026-11-03 :/etc -t /x --overwrite if-changed --delete --yes",
            "restore latest:x --to-command cat",
            "help exit-codes",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            match read(&words) {
                Ok(_) => {}
                Err(e) => assert_eq!(e.kind(), clap::error::ErrorKind::DisplayHelp, "{line}: {e}"),
            }
        }
    }

    #[test]
    fn restore_needs_a_target_or_a_command() {
        assert!(read(&["restore", "latest"]).is_err());
        assert!(read(&["restore", "latest", "-t", "/x", "--to-command", "cat"]).is_err());
    }

    #[test]
    fn the_help_of_exit_codes_shows_the_table() {
        let error = read(&["help", "exit-codes"]).err().expect("help is an error to clap");
        assert!(error.to_string().contains("130  interrupted"), "{error}");
    }
}
