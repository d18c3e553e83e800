//! What can be said on the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// Encrypted, deduplicating backups of dumps, search-index snapshots and data directories.
#[derive(Debug, Parser)]
#[command(name = "strongroom", version, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Args {
    /// For every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, ClapArgs)]
pub struct Global {
    /// The repository: a directory [env: STRONGROOM_REPO]
    #[arg(short = 'r', long = "repo", global = true, value_name = "LOCATION")]
    pub repo: Option<String>,
    /// Read the passphrase from this file, without its last line end [env: STRONGROOM_PASSWORD_FILE]
    #[arg(short = 'p', long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Take the passphrase from what this command prints [env: STRONGROOM_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND")]
    pub password_command: Option<String>,
    /// Where the cache is kept [env: STRONGROOM_CACHE_DIR] [default: ~/.cache/strongroom]
    #[arg(long, global = true, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Print problems only
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print JSON to standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Show no progress bar
    #[arg(long, global = true)]
    pub no_progress: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a repository
    Init(InitArgs),
    /// Back up directories, files, standard input or the output of commands
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(Box<BackupArgs>),
    /// Restore a snapshot, or a part of one, into a directory
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(Box<RestoreArgs>),
    /// Write a file of a snapshot to standard output, or into a command
    #[command(visible_alias = "dump")]
    Cat(CatArgs),
    /// List the snapshots
    Snapshots(SnapshotsArgs),
    /// List the entries of a snapshot
    Ls(LsArgs),
    /// Show the repository's own history
    Log,
    /// Show how much there is of what
    Stats,
    /// Check that everything would come back
    #[command(visible_alias = "check")]
    Verify(VerifyArgs),
    /// Say that there are no locks
    Unlock,
}

const BACKUP_EXAMPLES: &str = "Examples:
  strongroom backup /etc /home
  strongroom backup --exclude '*.tmp' --exclude-preset caches .
  pg_dump datahub | strongroom backup --stdin-name datahub.sql -
  strongroom backup --from-command datahub.sql='pg_dump datahub'";

const RESTORE_EXAMPLES: &str = "Examples:
  strongroom restore latest --target /tmp/back
  strongroom restore latest:/etc/nginx --target /etc/nginx --overwrite if-changed
  strongroom restore --at 2026-11-18T02:00 --host db1 --target /tmp/back
  strongroom restore latest:datahub.sql --to-command 'psql datahub'";

/// Options of `init`.
#[derive(Debug, ClapArgs)]
pub struct InitArgs {
    /// Chunk sizes of what can be compressed, in KiB: least,nominal,most
    #[arg(long, hide = true, value_parser = parse_sizes)]
    pub chunk_fine: Option<[u32; 3]>,
    /// Chunk sizes of what is compressed already, in KiB: least,nominal,most
    #[arg(long, hide = true, value_parser = parse_sizes)]
    pub chunk_coarse: Option<[u32; 3]>,
    /// Length of blocks, in KiB
    #[arg(long, hide = true)]
    pub block_len: Option<u32>,
    /// Length of blocks of trees, in KiB
    #[arg(long, hide = true)]
    pub meta_block_len: Option<u32>,
    /// Length of packs, in KiB
    #[arg(long, hide = true)]
    pub pack_len: Option<u32>,
}

/// Options of `backup`.
#[derive(Debug, ClapArgs)]
pub struct BackupArgs {
    /// Directories and files; `-` is standard input
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Name of the file that standard input becomes
    #[arg(long, visible_alias = "stdin-filename", value_name = "NAME", default_value = "stdin")]
    pub stdin_name: String,
    /// Back up standard input, as `-` does
    #[arg(long)]
    pub stdin: bool,
    /// Back up what a command prints, as a file called NAME; its exit status decides
    #[arg(long, value_name = "NAME=COMMAND")]
    pub from_command: Vec<String>,
    /// Name of the source, which later backups of it compare with
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Tag the snapshot; several by commas or by repeating it
    #[arg(long, value_delimiter = ',')]
    pub tag: Vec<String>,
    /// Name of this machine
    #[arg(long)]
    pub host: Option<String>,
    /// Label the snapshot
    #[arg(long)]
    pub label: Option<String>,
    /// The time the snapshot stands for, instead of now
    #[arg(long)]
    pub time: Option<String>,
    /// Say what would be read, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Read every file, also those that look unchanged
    #[arg(long, visible_alias = "force")]
    pub read_all: bool,
    /// Make a default repository in your home directory if none is configured
    #[arg(long)]
    pub init: bool,
    /// What is left out.
    #[command(flatten)]
    pub exclude: ExcludeArgs,
}

/// What a backup leaves out. Patterns mean what they mean in .gitignore, anchored at the source.
#[derive(Debug, ClapArgs)]
pub struct ExcludeArgs {
    /// Leave out what matches; `!` takes it in again
    #[arg(long, value_name = "PATTERN", help_heading = "Exclusion")]
    pub exclude: Vec<String>,
    /// Read patterns from a file, one a line
    #[arg(long, value_name = "FILE", help_heading = "Exclusion")]
    pub exclude_file: Vec<PathBuf>,
    /// Leave out what directories with a CACHEDIR.TAG hold
    #[arg(long, help_heading = "Exclusion")]
    pub exclude_caches: bool,
    /// Leave out what directories with an entry of this name hold
    #[arg(long, value_name = "NAME", help_heading = "Exclusion")]
    pub exclude_if_present: Vec<String>,
    /// Leave out files larger than this: 500K, 20M, 3G
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Exclusion")]
    pub exclude_larger_than: Option<u64>,
    /// Leave out what usually need not be kept: tmp, caches, logs, vcs, build, dss:temp, dss:logs, dss:other, dss:data
    #[arg(long, value_name = "PRESET", value_delimiter = ',', help_heading = "Exclusion")]
    pub exclude_preset: Vec<String>,
    /// Stay on the file system of the source
    #[arg(short = 'x', long, help_heading = "Exclusion")]
    pub one_file_system: bool,
}

/// Which snapshots are meant.
#[derive(Debug, Clone, ClapArgs)]
pub struct FilterArgs {
    /// Only snapshots of this machine
    #[arg(long, help_heading = "Choosing snapshots")]
    pub host: Vec<String>,
    /// Only snapshots with this tag, or with all of TAG,TAG
    #[arg(long, help_heading = "Choosing snapshots")]
    pub tag: Vec<String>,
    /// Only snapshots of this path
    #[arg(long, help_heading = "Choosing snapshots")]
    pub path: Vec<PathBuf>,
    /// Only snapshots of this source
    #[arg(long, help_heading = "Choosing snapshots")]
    pub source: Vec<String>,
}

/// When a file that is there is written over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OverwriteArg {
    /// Always.
    Always,
    /// If size or time differ.
    IfChanged,
    /// Never.
    Never,
}

/// Options of `restore`.
#[derive(Debug, ClapArgs)]
pub struct RestoreArgs {
    /// Beginning of an id, `latest` or `latest~N`; with :PATH, that directory becomes the target
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub snapshot: Option<OsString>,
    /// The newest snapshot at or before this time
    #[arg(long, value_name = "TIME", help_heading = "Choosing snapshots")]
    pub at: Option<String>,
    /// The directory to restore into
    #[arg(short, long, required_unless_present = "to_command")]
    pub target: Option<PathBuf>,
    /// Send the file into this command instead, and end as it does
    #[arg(long, value_name = "COMMAND", conflicts_with = "target")]
    pub to_command: Option<String>,
    /// Which snapshots.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Restore only what matches
    #[arg(short, long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// Restore only what matches a line of the file
    #[arg(long, value_name = "FILE")]
    pub include_file: Vec<PathBuf>,
    /// Leave out what matches
    #[arg(short, long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Leave out what matches a line of the file
    #[arg(long, value_name = "FILE")]
    pub exclude_file: Vec<PathBuf>,
    /// Restore into a directory that is not empty
    #[arg(long, value_enum)]
    pub overwrite: Option<OverwriteArg>,
    /// Delete what is in the target and not in the snapshot; shows it and asks
    #[arg(long)]
    pub delete: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Owners by number, not by name
    #[arg(long)]
    pub numeric_ids: bool,
    /// Leave owners as they come out
    #[arg(long, conflicts_with = "numeric_ids")]
    pub no_ownership: bool,
    /// Give what belonged to OLD to NEW; user:OLD=NEW and group:OLD=NEW tell them apart
    #[arg(long, value_name = "OLD=NEW")]
    pub owner_map: Vec<String>,
    /// Give everything to this user and group
    #[arg(long, value_name = "USER[:GROUP]", conflicts_with = "owner_map")]
    pub owner: Option<String>,
    /// Do not restore extended attributes and ACLs
    #[arg(long)]
    pub no_xattrs: bool,
    /// Make holes of long runs of zeros, too
    #[arg(long)]
    pub sparse: bool,
}

/// Options of `cat`.
#[derive(Debug, ClapArgs)]
pub struct CatArgs {
    /// Snapshot and file: `latest:datahub.sql`
    #[arg(value_name = "SNAPSHOT:PATH")]
    pub snapshot: OsString,
    /// The newest snapshot at or before this time; then only the path is named, as `:PATH`
    #[arg(long, value_name = "TIME", help_heading = "Choosing snapshots")]
    pub at: Option<String>,
    /// Send it into this command, and end as it does
    #[arg(long, value_name = "COMMAND")]
    pub to_command: Option<String>,
    /// Which snapshots.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Options of `snapshots`.
#[derive(Debug, ClapArgs)]
pub struct SnapshotsArgs {
    /// Which snapshots.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Options of `ls`.
#[derive(Debug, ClapArgs)]
pub struct LsArgs {
    /// Snapshot, and where to begin
    #[arg(value_name = "SNAPSHOT[:PATH]", default_value = "latest")]
    pub snapshot: OsString,
    /// The newest snapshot at or before this time
    #[arg(long, value_name = "TIME", help_heading = "Choosing snapshots")]
    pub at: Option<String>,
    /// Which snapshots.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Mode, owner, size and time, too
    #[arg(short, long)]
    pub long: bool,
    /// Only the directory's own entries
    #[arg(long)]
    pub no_recursive: bool,
}

/// Options of `verify`.
#[derive(Debug, ClapArgs)]
pub struct VerifyArgs {
    /// Every object's bytes against its name or checksum; needs no passphrase
    #[arg(long, conflicts_with = "read_data")]
    pub keyless: bool,
    /// Read, open and recompute everything
    #[arg(long)]
    pub read_data: bool,
}

/// Three sizes in KiB.
pub fn parse_sizes(text: &str) -> Result<[u32; 3], String> {
    let sizes: Vec<u32> = text.split(',').filter_map(|n| n.parse().ok()).filter(|n| *n < 1 << 20).collect();
    sizes.try_into().map_err(|_| format!("{text:?} is not LEAST,NOMINAL,MOST"))
}

/// A size with an optional unit of 1024: `500K`, `20M`, `3GiB`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let shift = match unit.trim().to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(format!("{unit:?} is no unit; use K, M, G or T")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no size"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text:?} is too large"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn sizes_with_and_without_units() {
        assert_eq!(parse_size("17"), Ok(17));
        assert_eq!(parse_size("2k"), Ok(2048));
        assert_eq!(parse_size("3GiB"), Ok(3 << 30));
        assert!(parse_size("3X").is_err());
        assert!(parse_size("M").is_err());
        assert!(parse_size("99999999999T").is_err());
    }
}
