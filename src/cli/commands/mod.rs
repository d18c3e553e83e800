//! One file for each command: its arguments, its run, its text and its JSON.

pub mod backup;
pub mod branches;
pub mod cat;
pub mod copy;
pub mod credential;
pub mod diff;
pub mod find;
pub mod forget;
pub mod init;
pub mod key;
pub mod log;
pub mod ls;
pub mod manual;
pub mod prune;
pub mod repair;
pub mod restore;
pub mod snapshots;
pub mod stats;
pub mod unlock;
pub mod verify;

use std::ffi::OsString;

use clap::Subcommand;

use super::context::Session;
use super::error::Result;
use super::exit::Exit;
use super::redact;

use backup::{BACKUP_EXAMPLES, BackupArguments};
use cat::{CAT_EXAMPLES, CatArguments};
use copy::CopyArguments;
use credential::CredentialCommand;
use diff::DiffArguments;
use find::{FIND_EXAMPLES, FindArguments};
use forget::{FORGET_EXAMPLES, ForgetArguments, HoldArguments};
use init::InitArguments;
use key::KeyCommand;
use log::LogArguments;
use ls::LsArguments;
use manual::{CompletionsArguments, ManArguments};
use prune::{PRUNE_EXAMPLES, PruneCommand};
use repair::{REPAIR_EXAMPLES, RepairArguments};
use restore::{RESTORE_EXAMPLES, RestoreArguments};
use snapshots::SnapshotsArguments;
use stats::StatsArguments;
use verify::VerifyArguments;

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

impl Command {
    /// Runs the command. `typed` is the command line, for the description of what it writes.
    pub fn run(&self, session: &Session, typed: &[OsString]) -> Result<Exit> {
        match self {
            Self::Init(arguments) => init::run(session, arguments),
            Self::Backup(arguments) => backup::run(session, arguments, redact::command_line(typed)),
            Self::Restore(arguments) => restore::run(session, arguments),
            Self::Cat(arguments) => cat::run(session, arguments),
            Self::Snapshots(arguments) => snapshots::run(session, arguments),
            Self::Ls(arguments) => ls::run(session, arguments),
            Self::Diff(arguments) => diff::run(session, arguments),
            Self::Copy(arguments) => copy::run(session, arguments, typed),
            Self::Find(arguments) => find::run(session, arguments),
            Self::Completions(arguments) => manual::completions(session, arguments),
            Self::Man(arguments) => manual::man(session, arguments),
            Self::Log(arguments) => log::run(session, arguments),
            Self::Stats(arguments) => stats::run(session, arguments),
            Self::Verify(arguments) => verify::run(session, arguments),
            Self::Credential(command) => credential::run(session, command),
            Self::Key(command) => key::run(session, command),
            Self::Whoami => credential::whoami(session),
            Self::Forget(arguments) => forget::run(session, arguments, typed),
            Self::Prune(arguments) => prune::run(session, &arguments.how, arguments.dry_run, typed),
            Self::Hold(arguments) => forget::hold(session, arguments, true),
            Self::Unhold(arguments) => forget::hold(session, arguments, false),
            Self::Repair(arguments) => repair::run(session, arguments, typed),
            Self::Unlock => unlock::run(session),
            Self::ExitCodes => session.print(&Exit::help()).map(|()| Exit::Done),
        }
    }
}
