//! The command line as clap reads it: options as they are typed, without meaning yet.
//!
//! Environment variables are not clap's business: it would show their values, passphrases among them, in its help.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use jiff::Span;

use crate::operations::prune::MAX_UNUSED;
use crate::operations::prune::plan::MaxUnused;
use crate::operations::verify::Part;

use super::commands::forget::parse_span;
use super::commands::prune::{parse_max_unused, parse_wait};
use super::commands::verify::parse_part;
use super::exit::Exit;
use super::text::parse_size;

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

/// What can be done with credentials.
#[derive(Subcommand)]
pub enum CredentialCommand {
    /// Admit a machine: writes the one small file that it needs
    #[command(after_help = CREDENTIAL_EXAMPLES)]
    Add(CredentialAddArguments),
    /// List the machines that were admitted
    #[command(visible_alias = "ls")]
    List,
    /// End what a machine may do, at once and for ever
    Revoke(CredentialRevokeArguments),
}

const CREDENTIAL_EXAMPLES: &str = "\
Examples:
  strongroom credential add --role backup --host db1 --output db1.credential
  strongroom credential add --role backup --host web1 --source /srv/www --output web1.credential
  strongroom credential add --role read --name drill --output drill.credential";

/// Roles that can be given.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleArgument {
    /// Adds snapshots of its hosts, and reads nothing.
    Backup,
    /// Reads everything, and adds nothing.
    Read,
}

/// Options of `credential add`.
#[derive(Args)]
pub struct CredentialAddArguments {
    /// What it may do
    #[arg(long, value_enum)]
    pub role: RoleArgument,
    /// A host that it may speak for; may be given again
    #[arg(short = 'H', long, value_name = "NAME")]
    pub host: Vec<String>,
    /// A source that it may speak for; may be given again [default: any]
    #[arg(long, value_name = "NAME")]
    pub source: Vec<String>,
    /// Its name [default: the first host]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Write the file here [default: standard output, if that is no terminal]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Options of `credential revoke`.
#[derive(Args)]
pub struct CredentialRevokeArguments {
    /// The beginning of its id, or its name
    #[arg(value_name = "CREDENTIAL")]
    pub which: String,
}

/// What can be done with key slots.
#[derive(Subcommand)]
pub enum KeyCommand {
    /// Add a passphrase, a key file or recovery words
    Add(KeyAddArguments),
    /// List the key slots
    #[command(visible_alias = "ls")]
    List,
    /// Remove a key slot; the last one stays
    Remove(KeyRemoveArguments),
    /// Replace the passphrase that was given by a new one
    Passwd(NewSecretArguments),
}

/// Where a new passphrase comes from.
#[derive(Args)]
pub struct NewSecretArguments {
    /// Read the new passphrase from this file [default: ask]
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
}

/// Options of `key add`.
#[derive(Args)]
pub struct KeyAddArguments {
    /// Where it comes from
    #[command(flatten)]
    pub new: NewSecretArguments,
    /// Say in the list that it is a key file
    #[arg(long, requires = "new_password_file")]
    pub key_file: bool,
    /// Make twelve recovery words and print them
    #[arg(long, conflicts_with_all = ["new_password_file", "key_file"])]
    pub words: bool,
}

/// Options of `key remove`.
#[derive(Args)]
pub struct KeyRemoveArguments {
    /// The beginning of its id
    #[arg(value_name = "KEY")]
    pub key: String,
}

const FORGET_EXAMPLES: &str = "\
Each host and source is a group of its own, to which the policy applies; the newest successful snapshot of a group never goes.
Partial snapshots fill no count.

Examples:
  strongroom forget --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run
  strongroom forget --expire-after 15d --min-count 5 --max-count 30
  strongroom forget --host db1 --keep-within-daily 14d --keep-tag release";

/// By what snapshots are grouped.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupArgument {
    /// The machine.
    Host,
    /// The source.
    Source,
    /// The set of tags.
    Tags,
    /// The set of paths.
    Paths,
    /// All are one group.
    None,
}

/// Options of `forget`.
#[derive(Args, Default)]
pub struct ForgetArguments {
    /// Keep the newest N
    #[arg(long, value_name = "N", help_heading = "What to keep")]
    pub keep_last: Option<u32>,
    /// Keep the newest of each of the last N hours that have any
    #[arg(long, value_name = "N", help_heading = "What to keep")]
    pub keep_hourly: Option<u32>,
    /// Keep the newest of each of the last N days that have any
    #[arg(long, value_name = "N", help_heading = "What to keep")]
    pub keep_daily: Option<u32>,
    /// Keep the newest of each of the last N weeks that have any
    #[arg(long, value_name = "N", help_heading = "What to keep")]
    pub keep_weekly: Option<u32>,
    /// Keep the newest of each of the last N months that have any
    #[arg(long, value_name = "N", help_heading = "What to keep")]
    pub keep_monthly: Option<u32>,
    /// Keep the newest of each of the last N quarters that have any
    #[arg(long, value_name = "N", help_heading = "What to keep")]
    pub keep_quarterly: Option<u32>,
    /// Keep the newest of each of the last N years that have any
    #[arg(long, value_name = "N", help_heading = "What to keep")]
    pub keep_yearly: Option<u32>,
    /// Keep all that are no older than SPAN (36h, 15d, 8w, 6m, 1y6m) before the newest
    #[arg(long, value_name = "SPAN", value_parser = parse_span, help_heading = "What to keep")]
    pub keep_within: Option<Span>,
    /// Keep the newest of each hour, as far back as SPAN before the newest
    #[arg(long, value_name = "SPAN", value_parser = parse_span, help_heading = "What to keep")]
    pub keep_within_hourly: Option<Span>,
    /// Keep the newest of each day, as far back as SPAN before the newest
    #[arg(long, value_name = "SPAN", value_parser = parse_span, help_heading = "What to keep")]
    pub keep_within_daily: Option<Span>,
    /// Keep the newest of each week, as far back as SPAN before the newest
    #[arg(long, value_name = "SPAN", value_parser = parse_span, help_heading = "What to keep")]
    pub keep_within_weekly: Option<Span>,
    /// Keep the newest of each month, as far back as SPAN before the newest
    #[arg(long, value_name = "SPAN", value_parser = parse_span, help_heading = "What to keep")]
    pub keep_within_monthly: Option<Span>,
    /// Keep the newest of each quarter, as far back as SPAN before the newest
    #[arg(long, value_name = "SPAN", value_parser = parse_span, help_heading = "What to keep")]
    pub keep_within_quarterly: Option<Span>,
    /// Keep the newest of each year, as far back as SPAN before the newest
    #[arg(long, value_name = "SPAN", value_parser = parse_span, help_heading = "What to keep")]
    pub keep_within_yearly: Option<Span>,
    /// Keep those with this tag; with all of `a,b`; given again: or with these
    #[arg(long, value_name = "TAG[,TAG]", help_heading = "What to keep")]
    pub keep_tag: Vec<String>,
    /// Keep the one whose id begins so
    #[arg(long, value_name = "ID", help_heading = "What to keep")]
    pub keep_id: Vec<String>,
    /// Forget what is older than SPAN (max_age in OpenSearch)
    #[arg(long, visible_alias = "max-age", value_name = "SPAN", value_parser = parse_span, help_heading = "Expiry")]
    pub expire_after: Option<Span>,
    /// But keep the newest N successful ones however old [default: 1]
    #[arg(long, value_name = "N", help_heading = "Expiry")]
    pub min_count: Option<u32>,
    /// And forget what is beyond the newest N successful ones however young
    #[arg(long, value_name = "N", help_heading = "Expiry")]
    pub max_count: Option<u32>,
    /// What makes a group
    #[arg(long, value_enum, value_delimiter = ',', default_value = "host,source", value_name = "BY")]
    pub group_by: Vec<GroupArgument>,
    /// Only these are looked at
    #[command(flatten)]
    pub filter: FilterArguments,
    /// Explain every decision; forget nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Agree beforehand that more than half may go
    #[arg(long)]
    pub yes: bool,
    /// Then prune
    #[arg(long)]
    pub prune: bool,
    /// How to prune
    #[command(flatten)]
    pub how: PruneArguments,
}

const PRUNE_EXAMPLES: &str = "\
Examples:
  strongroom prune --dry-run
  strongroom prune --max-unused 0
  strongroom forget --keep-daily 7 --keep-weekly 5 --prune";

/// Options of `prune`.
#[derive(Args)]
pub struct PruneArguments {
    /// How much may stay unused rather than be rewritten: 5%, 2GiB, 0 or unlimited
    #[arg(long, value_name = "PART|SIZE", value_parser = parse_max_unused, default_value = "10%")]
    pub max_unused: MaxUnused,
    /// Delete only what was condemned so long ago, by the store's clock: 36h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_wait, default_value = "0s")]
    pub grace: i64,
    /// On a bucket with versions, remove for good what was deleted and nothing needs
    #[arg(long)]
    pub remove_noncurrent: bool,
}

impl Default for PruneArguments {
    fn default() -> Self {
        Self { max_unused: MAX_UNUSED, grace: 0, remove_noncurrent: false }
    }
}

/// Options of the command `prune` itself.
#[derive(Args)]
pub struct PruneCommand {
    /// How
    #[command(flatten)]
    pub how: PruneArguments,
    /// Show what would be done and what it would cost; change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

const REPAIR_EXAMPLES: &str = "\
Segments are written anew from the packs; what can be read of damaged packs moves to new ones; chunks that are gone are filled
in from equal ones that other backups stored. What is still missing is declared lost, and the snapshots that need it have
holes: back the machine up again, then run `repair` again. Nothing is deleted.

Examples:
  strongroom repair --dry-run --read-data
  strongroom repair --read-data
  strongroom repair --drop-lost";

/// Options of `repair`.
#[derive(Args, Default)]
pub struct RepairArguments {
    /// Read everything, to find all damage; else only what is missing or has another length is found
    #[arg(long)]
    pub read_data: bool,
    /// Rewrite snapshots that still have holes without the files that are lost
    #[arg(long)]
    pub drop_lost: bool,
    /// Only say what is damaged
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Agree beforehand that unreadable bytes at the end of the log are garbage
    #[arg(long)]
    pub yes: bool,
}

/// Options of `hold` and `unhold`.
#[derive(Args)]
pub struct HoldArguments {
    /// Ids, or latest
    #[arg(value_name = "SNAPSHOT", required = true)]
    pub snapshots: Vec<String>,
}

const BACKUP_EXAMPLES: &str = "\
Examples:
  strongroom backup /etc /home                                  one snapshot of both
  strongroom backup --exclude-preset caches --exclude '*.iso' ~
  pg_dump shop | strongroom backup --stdin-name shop.sql -      a stream
  strongroom backup --from-command shop.sql='pg_dump shop'      its exit status decides
  strongroom backup --init ~/Documents                          makes a repository on this machine if there is none

Exit code 3: saved, but a file was unreadable, vanished or changed while it was read, or one of several sources failed.";

const RESTORE_EXAMPLES: &str = "\
Examples:
  strongroom restore latest --target /tmp/back
  strongroom restore latest:/srv/www --target /srv/www --overwrite if-changed --delete
  strongroom restore --at '2026-11-03 04:30' :/etc --target /tmp/etc
  strongroom restore 3fa9c1:/etc/passwd --target /tmp           one file
  strongroom restore latest:shop.sql --to-command 'psql shop'";

const CAT_EXAMPLES: &str = "\
Examples:
  strongroom cat latest:shop.sql > shop.sql
  strongroom cat latest~1:/etc/passwd
  strongroom cat --tag dump latest:shop.sql --to-command 'psql shop'";

/// Options of `init`: sizes for measurements, not for people, who have no reason to choose them.
#[derive(Args, Default)]
pub struct InitArguments {
    /// Cut and pack as this other repository does, so that both find each other's content again after a `copy`
    #[arg(long, value_name = "REPO", conflicts_with_all = ["chunk_fine", "chunk_coarse", "block_len", "meta_block_len", "pack_len"])]
    pub copy_parameters_from: Option<String>,
    /// The other's passphrase.
    #[command(flatten)]
    pub other: OtherArguments,
    /// For a store that cannot keep machines apart (Garage, rclone): only this machine may ever write
    #[arg(long)]
    pub single_writer: bool,
    /// Chunk sizes of what can be compressed, in KiB: LEAST,NOMINAL,MOST
    #[arg(long, hide = true, value_parser = parse_sizes)]
    pub chunk_fine: Option<[u32; 3]>,
    /// Chunk sizes of what is compressed already, in KiB: LEAST,NOMINAL,MOST
    #[arg(long, hide = true, value_parser = parse_sizes)]
    pub chunk_coarse: Option<[u32; 3]>,
    /// Length of blocks, in KiB
    #[arg(long, hide = true, value_parser = clap::value_parser!(u32).range(1..1 << 20))]
    pub block_len: Option<u32>,
    /// Length of blocks of trees, in KiB
    #[arg(long, hide = true, value_parser = clap::value_parser!(u32).range(1..1 << 20))]
    pub meta_block_len: Option<u32>,
    /// Length of packs, in KiB
    #[arg(long, hide = true, value_parser = clap::value_parser!(u32).range(1..1 << 20))]
    pub pack_len: Option<u32>,
}

fn parse_sizes(text: &str) -> Result<[u32; 3], String> {
    let bad = || format!("{text:?} is not LEAST,NOMINAL,MOST");
    let sizes: Result<Vec<u32>, _> = text.split(',').map(str::parse).collect();
    let sizes: [u32; 3] = sizes.map_err(|_| bad())?.try_into().map_err(|_| bad())?;
    if sizes.iter().all(|n| (1..1 << 20).contains(n)) { Ok(sizes) } else { Err(bad()) }
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
    /// Run CMD with `bash -o pipefail` and save its output as NAME, if it ends well
    #[arg(long, value_name = "NAME=CMD", value_parser = parse_from_command)]
    pub from_command: Vec<FromCommand>,
    /// Make the repository if there is none; without any named, a local one with a passphrase file
    #[arg(long)]
    pub init: bool,

    /// Name this source [default: the paths, or the name of the stream]
    #[arg(long, value_name = "NAME", help_heading = "What the snapshot says")]
    pub source: Option<String>,
    /// Tag the snapshot
    #[arg(long, value_name = "TAG", value_delimiter = ',', help_heading = "What the snapshot says")]
    pub tag: Vec<String>,
    /// Name this machine [default: the system's host name]
    #[arg(short = 'H', long, value_name = "NAME", help_heading = "What the snapshot says")]
    pub host: Option<String>,
    /// Describe the snapshot
    #[arg(long, value_name = "TEXT", help_heading = "What the snapshot says")]
    pub label: Option<String>,
    /// The time it stands for: 2026-11-03, '2026-11-03 04:30' or RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", help_heading = "What the snapshot says")]
    pub time: Option<String>,

    /// Say what would be read; store nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Read every file, also those that look unchanged
    #[arg(long, visible_alias = "force")]
    pub read_all: bool,

    /// Leave out what matches (gitignore meaning, anchored at each source)
    #[arg(short, long, value_name = "PATTERN", help_heading = "Exclusions")]
    pub exclude: Vec<String>,
    /// Leave out what matches a line of this file
    #[arg(long, value_name = "FILE", help_heading = "Exclusions")]
    pub exclude_file: Vec<PathBuf>,
    /// Leave out a named set: tmp, caches, logs, vcs, build, dss:temp, dss:logs, dss:other, dss:data
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Exclusions")]
    pub exclude_preset: Vec<String>,
    /// Leave out the contents of directories that are tagged by CACHEDIR.TAG
    #[arg(long, help_heading = "Exclusions")]
    pub exclude_caches: bool,
    /// Leave out the contents of directories that hold this file
    #[arg(long, value_name = "NAME", help_heading = "Exclusions")]
    pub exclude_if_present: Vec<String>,
    /// Leave out files that are larger, such as 500M
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Exclusions")]
    pub exclude_larger_than: Option<u64>,
    /// Stay on the file systems of the paths
    #[arg(short = 'x', long, help_heading = "Exclusions")]
    pub one_file_system: bool,
}

/// A stream that is the output of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromCommand {
    /// Name of the stream.
    pub name: String,
    /// The command.
    pub command: String,
}

fn parse_from_command(text: &str) -> Result<FromCommand, String> {
    match text.split_once('=') {
        // `mysqldump --opt=x` begins with no name.
        Some((name, command)) if !name.is_empty() && !name.contains([' ', '/', '\t']) && !command.trim().is_empty() => {
            Ok(FromCommand { name: name.to_owned(), command: command.to_owned() })
        }
        _ => Err("write NAME=CMD, such as shop.sql='pg_dump shop'; NAME has no space and no slash".to_owned()),
    }
}

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

const FIND_EXAMPLES: &str = "\
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

/// Options of `verify`.
#[derive(Args, Default)]
pub struct VerifyArguments {
    /// Check every object's bytes against its name or checksum; needs no passphrase
    #[arg(long, conflicts_with = "read_data")]
    pub keyless: bool,
    /// Read, open and recompute everything
    #[arg(long)]
    pub read_data: bool,
    /// Read a part: 5%, 2GiB, or the third of seven groups: 3/7; what was read longest ago comes first
    #[arg(long, value_name = "PART", value_parser = parse_part, conflicts_with_all = ["keyless", "read_data"])]
    pub read_data_subset: Option<Part>,
    /// Read as long as this at the most: 20m, 2h; what was read longest ago comes first
    #[arg(long, value_name = "TIME", value_parser = parse_wait, conflicts_with = "keyless")]
    pub time_budget: Option<i64>,
    /// Do not remember in the log what was read
    #[arg(long)]
    pub no_record: bool,
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
    fn a_command_without_a_name_is_refused() {
        let parse = |text| parse_from_command(text).map(|f| (f.name, f.command));
        assert_eq!(parse("a.sql=x --y=z"), Ok(("a.sql".to_owned(), "x --y=z".to_owned())));
        for bad in ["pg_dump x", "mysqldump --opt=x", "=x", "a=", "a/b=x"] {
            assert!(parse(bad).is_err(), "{bad}");
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
