//! One file for each command: its arguments, its run, its text and its JSON.

pub(super) mod audit;
pub(super) mod backup;
pub(super) mod base_backup;
pub(super) mod branches;
pub(super) mod cat;
pub(super) mod config;
pub(super) mod copy;
pub(super) mod credential;
pub(super) mod diff;
pub(super) mod find;
pub(super) mod forget;
pub(super) mod hooks;
pub(super) mod in_place;
pub(super) mod init;
pub(super) mod key;
pub(super) mod load;
pub(super) mod log;
pub(super) mod ls;
pub(super) mod manual;
pub(super) mod prune;
pub(super) mod repair;
pub(super) mod restore;
pub(super) mod run;
pub(super) mod runs;
pub(super) mod show;
pub(super) mod snapshots;
pub(super) mod stats;
pub(super) mod unlock;
pub(super) mod verify;

use std::ffi::OsString;

use clap::Subcommand;

use super::context::Session;
use super::error::Result;
use super::exit::Exit;
use super::jobs::hooks::remind;
use super::redact;

use audit::{AUDIT_EXAMPLES, AuditArguments};
use backup::{BACKUP_EXAMPLES, BackupArguments};
use cat::{CAT_EXAMPLES, CatArguments};
use config::ConfigArguments;
use copy::CopyArguments;
use credential::CredentialCommand;
use diff::DiffArguments;
use find::{FIND_EXAMPLES, FindArguments};
use forget::{FORGET_EXAMPLES, ForgetArguments, HoldArguments};
use hooks::HooksArguments;
use init::InitArguments;
use key::KeyCommand;
use load::{LOAD_EXAMPLES, LoadArguments};
use log::LogArguments;
use ls::LsArguments;
use manual::{CompletionsArguments, ManArguments};
use prune::{PRUNE_EXAMPLES, PruneCommand};
use repair::{REPAIR_EXAMPLES, RepairArguments};
use restore::{RESTORE_EXAMPLES, RestoreArguments};
use run::RunArguments;
use runs::RunsArguments;
use show::ShowArguments;
use snapshots::SnapshotsArguments;
use stats::StatsArguments;
use verify::VerifyArguments;

/// What can be done.
#[derive(Subcommand)]
pub enum Command {
    /// Create a new repository
    Init(InitArguments),
    /// Create snapshots of paths, standard input or the output of commands
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(Box<BackupArguments>),
    /// Restore a snapshot or part of one
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(Box<RestoreArguments>),
    /// Load the dumps of a set into running databases
    #[command(after_help = LOAD_EXAMPLES)]
    Load(Box<LoadArguments>),
    /// Write one file of a snapshot to standard output or to a command
    #[command(visible_alias = "dump", after_help = CAT_EXAMPLES)]
    Cat(CatArguments),
    /// List snapshots
    Snapshots(SnapshotsArguments),
    /// List what is in a snapshot [default: latest]
    Ls(LsArguments),
    /// Show what changed between two snapshots
    Diff(DiffArguments),
    /// Copy snapshots to another repository; data that is there already is not sent
    Copy(CopyArguments),
    /// Search all snapshots for file names
    #[command(after_help = FIND_EXAMPLES)]
    Find(FindArguments),
    /// Show the history of the repository: which machine ran what, and when
    Log(LogArguments),
    /// Show repository size and deduplication statistics
    Stats(StatsArguments),
    /// Check repository integrity
    #[command(visible_alias = "check")]
    Verify(VerifyArguments),
    /// Manage machine credentials
    #[command(subcommand)]
    Credential(CredentialCommand),
    /// Manage passphrases, key files and recovery words
    #[command(subcommand)]
    Key(KeyCommand),
    /// Show which credential is in use and what it may do
    Whoami,
    /// Forget snapshots that a policy does not keep
    #[command(after_help = FORGET_EXAMPLES)]
    Forget(Box<ForgetArguments>),
    /// Remove data no longer referenced by any snapshot (safe while backups run)
    #[command(after_help = PRUNE_EXAMPLES)]
    Prune(PruneCommand),
    /// Protect snapshots from being forgotten
    Hold(HoldArguments),
    /// Remove a hold
    Unhold(HoldArguments),
    /// Recover missing or damaged data where other copies allow
    #[command(after_help = REPAIR_EXAMPLES)]
    Repair(RepairArguments),
    /// Run jobs of the configuration file
    Run(RunArguments),
    /// List what this machine ran, from its own journal, or all machines
    Runs(RunsArguments),
    /// Show for each source whether it is saved as its schedule asks
    #[command(after_help = AUDIT_EXAMPLES)]
    Audit(AuditArguments),
    /// Print in one line whether all sources are saved as their schedules ask, for monitoring
    #[command(after_help = AUDIT_EXAMPLES)]
    Freshness(AuditArguments),
    /// Show all that is known of a run of this machine, a set or a snapshot
    Show(ShowArguments),
    /// List or run the hooks of jobs that were interrupted
    Hooks(HooksArguments),
    /// Check or show the configuration file of jobs
    Config(ConfigArguments),
    /// Explain why there are no locks to remove
    Unlock,
    /// Print completions for a shell
    Completions(CompletionsArguments),
    /// Write manual pages
    Man(ManArguments),
    /// Print the version
    Version,
    /// Show what the exit codes mean
    #[command(long_about = Exit::help())]
    ExitCodes,
}

impl Command {
    /// Runs the command. `argv` is the command line, for the description of what it writes.
    pub fn run(&self, session: &Session, argv: &[OsString]) -> Result<Exit> {
        if !self.says_nothing_of_hooks() {
            remind(session);
        }
        match self {
            Self::Init(arguments) => init::run(session, arguments),
            Self::Backup(arguments) => backup::run(session, arguments, redact::command_line(argv)),
            Self::Restore(arguments) if arguments.in_place.in_place => in_place::run(session, arguments),
            Self::Restore(arguments) => restore::run(session, arguments),
            Self::Load(arguments) => load::run(session, arguments, &redact::command_line(argv)),
            Self::Cat(arguments) => cat::run(session, arguments),
            Self::Snapshots(arguments) => snapshots::run(session, arguments),
            Self::Ls(arguments) => ls::run(session, arguments),
            Self::Diff(arguments) => diff::run(session, arguments),
            Self::Run(arguments) => run::run(session, arguments, &redact::command_line(argv)),
            Self::Runs(arguments) => runs::run(session, arguments),
            Self::Audit(arguments) => audit::run(session, arguments),
            Self::Freshness(arguments) => audit::freshness(session, arguments),
            Self::Show(arguments) => show::run(session, arguments),
            Self::Hooks(arguments) => hooks::run(session, arguments),
            Self::Config(arguments) => config::run(session, arguments),
            Self::Copy(arguments) => copy::run(session, arguments, argv),
            Self::Find(arguments) => find::run(session, arguments),
            Self::Completions(arguments) => manual::completions(session, arguments),
            Self::Man(arguments) => manual::man(session, arguments),
            Self::Log(arguments) => log::run(session, arguments),
            Self::Stats(arguments) => stats::run(session, arguments),
            Self::Verify(arguments) => verify::run(session, arguments),
            Self::Credential(command) => credential::run(session, command),
            Self::Key(command) => key::run(session, command),
            Self::Whoami => credential::whoami(session),
            Self::Forget(arguments) => forget::run(session, arguments, argv),
            Self::Prune(arguments) => prune::run(session, &arguments.how, arguments.dry_run, argv),
            Self::Hold(arguments) => forget::hold(session, arguments, true),
            Self::Unhold(arguments) => forget::hold(session, arguments, false),
            Self::Repair(arguments) => repair::run(session, arguments, argv),
            Self::Unlock => unlock::run(session),
            Self::Version => session.print(concat!("strongroom ", env!("CARGO_PKG_VERSION"))).map(|()| Exit::Done),
            Self::ExitCodes => session.print(&Exit::help()).map(|()| Exit::Done),
        }
    }
    /// Whether it has nothing to do with this machine's backups, or tells itself of hooks that are to run.
    fn says_nothing_of_hooks(&self) -> bool {
        matches!(
            self,
            Self::Run(_)
                | Self::Hooks(_)
                | Self::Unlock
                | Self::Completions(_)
                | Self::Man(_)
                | Self::Version
                | Self::ExitCodes
        )
    }
}
