//! What is saved of a server, and how.

use std::path::PathBuf;
use std::time::Duration;

use glob::Pattern;

use crate::crypto::secret::Secret;
use crate::databases::tool::Tools;

use super::connection::Connection;
use super::tables::Counting;

/// The format of the dumps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// `pg_dump -Fc`, not compressed.
    #[default]
    Custom,
    /// SQL, for psql.
    Plain,
    /// `pg_dump -Fd`, as one tar stream.
    Directory,
    /// `pg_basebackup`: the whole server, as one tar stream.
    BaseBackup,
}

impl Format {
    /// Its name in the configuration and in descriptions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Custom => "custom",
            Self::Plain => "plain",
            Self::Directory => "directory",
            Self::BaseBackup => "basebackup",
        }
    }
}

/// What is saved of roles and tablespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Globals {
    /// All, with the passwords of roles; this needs a superuser.
    All,
    /// All but passwords.
    NoPasswords,
    /// Nothing.
    None,
}

/// What is saved of a PostgreSQL server, and how.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// What the source is called.
    pub name: String,
    /// Where the server is.
    pub connection: Connection,
    /// Where and how the tools are run; a password is `PGPASSWORD` of their environment.
    pub tools: Tools,
    /// The databases, by their names; none: every one that may be connected to.
    pub databases: Vec<String>,
    /// Databases whose names match are saved, besides those that are named.
    pub include: Vec<Pattern>,
    /// Databases whose names match are not saved.
    pub exclude: Vec<Pattern>,
    /// Only these tables, as `pg_dump --table` reads them.
    pub tables: Vec<String>,
    /// The format of the dumps.
    pub format: Format,
    /// Roles and tablespaces; unsaid: all for a whole server, nothing where databases or tables are named.
    pub globals: Option<Globals>,
    /// What is counted.
    pub counting: Counting,
    /// Where dumps in the directory format, and base backups with tablespaces, are put for a while.
    pub scratch_dir: Option<PathBuf>,
    /// From which the key of `\restrict` is made; without it, pg_dump makes a new one each time.
    pub restrict_secret: Option<Secret>,
    /// How long a dump waits for a lock.
    pub lock_wait: Option<Duration>,
}

/// How long a dump waits for a lock, unless it is said.
const LOCK_WAIT: Duration = Duration::from_secs(60);

impl PostgresOptions {
    /// Why they contradict each other, if they do.
    pub fn contradiction(&self) -> Option<String> {
        let only = |key: &str, format: &str| format!("`{key}` does not go with format = \"{format}\"");
        match self.format {
            Format::BaseBackup => {
                let keys = [
                    ("databases", !self.databases.is_empty()),
                    ("include", !self.include.is_empty()),
                    ("exclude", !self.exclude.is_empty()),
                    ("tables", !self.tables.is_empty()),
                    ("globals", !matches!(self.globals, None | Some(Globals::None))),
                ];
                let key = keys.iter().find(|(_, is_set)| *is_set)?.0;
                Some(format!("{}: a base backup is of the whole server, with its roles", only(key, "basebackup")))
            }
            Format::Directory if self.tools.container.is_some() => Some(format!(
                "{}: the tool in the container cannot write to `scratch_dir`; \"custom\" needs none",
                only("container", "directory")
            )),
            Format::Directory if self.scratch_dir.is_none() => Some(
                "format = \"directory\" needs `scratch_dir`, a directory with room for a whole dump; \"custom\" needs none"
                    .to_owned(),
            ),
            _ if self.tables.iter().any(String::is_empty) => Some("`tables` holds an empty name".to_owned()),
            _ => None,
        }
    }

    /// Which roles and tablespaces are saved.
    pub(super) fn globals(&self) -> Globals {
        let is_whole = self.databases.is_empty() && self.include.is_empty() && self.tables.is_empty();
        self.globals.unwrap_or(if is_whole { Globals::All } else { Globals::None })
    }

    /// How long a dump waits for a lock.
    pub(super) fn lock_wait(&self) -> Duration {
        self.lock_wait.unwrap_or(LOCK_WAIT)
    }

    /// The tool that writes the dumps.
    pub(super) fn tool(&self) -> &'static str {
        if self.format == Format::BaseBackup { "pg_basebackup" } else { "pg_dump" }
    }
}
