//! What `load` takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::config_file::ConfigFileArgument;

pub(in crate::cli) const LOAD_EXAMPLES: &str = "\
Examples:
  strongroom load --job idp --to 'host=new user=admin'
  strongroom load --job idp --to 'host=new user=admin' gen3/fence --rename fence=fence_copy
  strongroom load --set 3fa9c1 mydb/orders --to 'host=db2 user=root' --login ~/.my.cnf
  strongroom load --job idp --to 'host=db user=admin' --if-exists replace --pre-backup
  strongroom load --to 'host=db user=admin' --rollback

It reads data: it needs the owner's passphrase or a read credential; --pre-backup needs the passphrase.
Passwords of databases come from PGPASSWORD or MYSQL_PWD, from the clients' own files, or from
--to-password-file.";

/// What is done with a database that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum IfExistsArgument {
    /// Refuse it
    #[default]
    Fail,
    /// Replace it, once the new one is loaded and compared
    Replace,
    /// Keep it under the name NAME_before_ID
    KeepOld,
}

/// Options of `load`.
#[derive(Args)]
pub struct LoadArguments {
    /// The sources to load: SOURCE, JOB/SOURCE, or one database of it, SOURCE/NAME [default: all]
    #[arg(value_name = "SOURCE")]
    pub sources: Vec<String>,
    /// The server: words such as 'host=NAME port=N user=NAME', as libpq takes them, or a postgresql:// URL
    #[arg(long, value_name = "CONNECTION", default_value = "", hide_default_value = true)]
    pub to: String,
    /// Read user and password for MySQL or MariaDB from this file of options
    #[arg(long, value_name = "FILE")]
    pub login: Option<PathBuf>,
    /// Read the password for the server from this file
    #[arg(long, value_name = "FILE", conflicts_with = "login")]
    pub to_password_file: Option<PathBuf>,
    /// Do not load roles, users and grants
    #[arg(long)]
    pub no_globals: bool,
    /// Change roles and users that exist to what was saved; never the one that is connected
    #[arg(long)]
    pub alter_roles: bool,
    /// What to do with a database that exists and is not empty
    #[arg(long, value_name = "WHAT", default_value = "fail")]
    pub if_exists: IfExistsArgument,
    /// First save the databases that will be replaced or kept, as a set of type pre-restore of the same job
    #[arg(long)]
    pub pre_backup: bool,
    /// Bring back what the last load with --pre-backup into this server replaced
    #[arg(long, conflicts_with_all = ["pre_backup", "if_exists", "rename", "table", "set", "job_type", "at", "label",
        "host", "partial", "per_source", "alter_roles", "run_commands"])]
    pub rollback: bool,
    /// Load the database OLD as NEW; may be given again
    #[arg(long, value_name = "OLD=NEW")]
    pub rename: Vec<String>,
    /// Load only this table of each database (PostgreSQL, formats custom and directory)
    #[arg(long, value_name = "[SCHEMA.]TABLE")]
    pub table: Option<String>,
    /// Make everything belong to the user that is connected (PostgreSQL)
    #[arg(long)]
    pub no_owner: bool,
    /// Load no grants on objects (PostgreSQL)
    #[arg(long, visible_alias = "no-acl")]
    pub no_privileges: bool,
    /// Create objects as this role (PostgreSQL)
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// Load one database by N connections, from a file in the scratch directory (PostgreSQL, not plain)
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub jobs: u32,
    /// Where dumps are unpacked that cannot be streamed [default: TMPDIR or /tmp]
    #[arg(long, value_name = "DIR")]
    pub scratch_dir: Option<PathBuf>,
    /// Also load dumps that lack their end
    #[arg(long)]
    pub force: bool,
    /// Also run the commands that sources of kind command name for their way back
    #[arg(long)]
    pub run_commands: bool,
    /// Run this with bash afterwards; an empty one: nothing [default: after_load of the job's configuration]
    #[arg(long, value_name = "CMD")]
    pub after_load: Option<String>,
    /// Do not compare with the answers that were recorded with the set
    #[arg(long)]
    pub no_records: bool,
    /// The configuration file.
    #[command(flatten)]
    pub file: ConfigFileArgument,
    /// Show what would be loaded; change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Directory of the database's tools
    #[arg(long, value_name = "DIR", help_heading = "Tools")]
    pub bin: Option<PathBuf>,
    /// System user that runs the tools, for peer authentication
    #[arg(long, value_name = "USER", help_heading = "Tools")]
    pub run_as: Option<String>,
    /// Container in which the tools are run
    #[arg(long, value_name = "NAME", help_heading = "Tools")]
    pub container: Option<String>,
    /// The set: the first digits of its id, `latest` or `latest~N`
    #[arg(long, value_name = "SET", default_value = "latest", help_heading = "Set selection")]
    pub set: String,
    /// Of this job
    #[arg(long, value_name = "JOB", help_heading = "Set selection")]
    pub job: Option<String>,
    /// Of this type of job, such as Daily
    #[arg(long = "type", value_name = "TYPE", help_heading = "Set selection")]
    pub job_type: Option<String>,
    /// Accept a partial set
    #[arg(long, help_heading = "Set selection")]
    pub partial: bool,
    /// Take the newest good dump of each source and database, whichever sets they are of
    #[arg(long, help_heading = "Set selection")]
    pub per_source: bool,
    /// The newest set at or before this time; a day includes its backups
    #[arg(long, value_name = "TIME", help_heading = "Set selection")]
    pub at: Option<String>,
    /// Only of this machine
    #[arg(short = 'H', long, value_name = "NAME", help_heading = "Set selection")]
    pub host: Vec<String>,
    /// Only with a label that matches GLOB, such as 'datahub-*'
    #[arg(long, value_name = "GLOB", value_parser = glob::Pattern::new, help_heading = "Set selection")]
    pub label: Vec<glob::Pattern>,
}
