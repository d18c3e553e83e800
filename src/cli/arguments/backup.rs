//! New repositories, and backups into them.

use std::path::PathBuf;

use clap::Args;

use super::super::output::text::parse_size;
use super::OtherArguments;

pub(super) const BACKUP_EXAMPLES: &str = "\
Examples:
  strongroom backup /etc /home                                  one snapshot of both
  strongroom backup --exclude-preset caches --exclude '*.iso' ~
  pg_dump shop | strongroom backup --stdin-name shop.sql -      a stream
  strongroom backup --from-command shop.sql='pg_dump shop'      its exit status decides
  strongroom backup --init ~/Documents                          makes a repository on this machine if there is none

Exit code 3: saved, but a file was unreadable, vanished or changed while it was read, or one of several sources failed.";

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
    /// The time it stands for, not in the future: 2026-11-03, '2026-11-03 04:30' or RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", help_heading = "What the snapshot says")]
    pub time: Option<String>,

    /// Say what would be read; store nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Read every file, also those that look unchanged
    #[arg(long, visible_alias = "force")]
    pub read_all: bool,
    /// Do not compare times of change: for trees in which links are made or attributes set all the time
    #[arg(long)]
    pub ignore_ctime: bool,
    /// Do not compare inode numbers: for file systems that give them anew (sshfs, mergerfs, some NFS and SMB)
    #[arg(long)]
    pub ignore_inode: bool,
    /// Save a stream also if it is empty; without this, an empty stream fails and is not saved
    #[arg(long)]
    pub allow_empty: bool,

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_without_a_name_is_refused() {
        let parse = |text| parse_from_command(text).map(|f| (f.name, f.command));
        assert_eq!(parse("a.sql=x --y=z"), Ok(("a.sql".to_owned(), "x --y=z".to_owned())));
        for bad in ["pg_dump x", "mysqldump --opt=x", "=x", "a=", "a/b=x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
