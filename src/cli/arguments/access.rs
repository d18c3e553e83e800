//! Credentials and keys.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

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
    /// Agree to all questions
    #[arg(short, long)]
    pub yes: bool,
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
