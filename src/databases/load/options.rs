//! How databases are loaded, and what came of each.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::databases::tool::Tools;
use crate::primitives::ids::SnapshotId;

use super::connection::Connection;

/// What is done with a database that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IfExists {
    /// It is refused.
    #[default]
    Fail,
    /// It is replaced, once the new one is loaded and compared.
    Replace,
    /// It is given another name.
    KeepOld,
}

/// How databases are loaded.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The server.
    pub to: Connection,
    /// Its tools, with the password in their environment.
    pub tools: Tools,
    /// Roles, users and grants are loaded, too.
    pub globals: bool,
    /// Roles that are there already are made as they were saved.
    pub alter_roles: bool,
    /// See [`IfExists`].
    pub if_exists: IfExists,
    /// Everything belongs to whoever loads.
    pub no_owner: bool,
    /// No grants.
    pub no_privileges: bool,
    /// The role that everything is made as.
    pub role: Option<String>,
    /// Of each database only this table.
    pub table: Option<String>,
    /// Databases that are given another name: what they were called, and what they are to be called.
    pub rename: Vec<(String, String)>,
    /// Dumps that lack their end are loaded, too.
    pub force: bool,
    /// Connections that load one database at a time, where its format allows it.
    pub jobs: u32,
    /// Where dumps are unpacked that cannot be streamed.
    pub scratch: PathBuf,
    /// Commands that the descriptions name are run.
    pub run_commands: bool,
    /// Nothing is changed.
    pub dry_run: bool,
    /// The file that remembers what was loaded.
    pub state: PathBuf,
    /// Databases that were saved as they are: no other one may be replaced. `None`: nothing was to be saved.
    pub saved: Option<BTreeSet<String>>,
}

impl LoadOptions {
    /// Refuses to replace a database that was to be saved first and was not.
    pub(super) fn check_saved(&self, database: &str) -> Result<(), Failure> {
        match self.saved.as_ref().is_some_and(|saved| !saved.contains(database)) {
            true => Err(Failure::Because(format!(
                "the database {database} would be replaced, and was not saved by --pre-backup, because there was nothing \
                 to be replaced then: run the same command again"
            ))),
            false => Ok(()),
        }
    }
}

/// What came of something that was to be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadOutcome {
    /// It was loaded, and compared as far as it can be.
    Loaded,
    /// An earlier run loaded it, and it still has the rows that it was saved with.
    Already,
    /// It would be loaded.
    Planned,
    /// It is nothing that is loaded into a server: `notes` say what to do.
    Skipped,
    /// It was not loaded, or is not what was saved.
    Failed,
}

/// What was loaded of one snapshot.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The source, and behind a slash the member of it.
    pub path: String,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Kind of the source: `postgres`, `mysql`.
    pub kind: String,
    /// What the database is called now; `None` of globals, and of what is no database.
    pub database: Option<String>,
    /// What came of it.
    pub outcome: LoadOutcome,
    /// Tables whose rows were compared; `None` if nothing was.
    pub tables: Option<u64>,
    /// Their rows.
    pub rows: u64,
    /// Bytes of the dump.
    pub bytes: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// What is to be known of it.
    pub notes: Vec<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// The command that the description names, if it was not loaded by this program.
    pub command: Option<String>,
}

/// What was done with one snapshot, before it is put into words.
#[derive(Debug, Clone, Default)]
pub(super) struct Done {
    /// An earlier run did it.
    pub already: bool,
    /// What it is called now.
    pub database: Option<String>,
    /// Tables whose rows were compared.
    pub tables: Option<u64>,
    /// Their rows.
    pub rows: u64,
    /// What is to be known.
    pub notes: Vec<String>,
}

/// Why nothing was loaded at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A source that was named is not in the set.
    #[error("the set has no source {name}: it has {known}")]
    NoSuchSource {
        /// What was named.
        name: String,
        /// What there is.
        known: String,
    },
    /// Sources of several kinds for one server.
    #[error("the set has databases of several kinds: {0}")]
    SeveralKinds(String),
    /// Two databases would have one name.
    #[error("{one} and {other} would both become the database {name}")]
    SameName {
        /// A snapshot.
        one: String,
        /// Another one.
        other: String,
        /// The name.
        name: String,
    },
    /// A name of `--rename` that no database has.
    #[error("--rename names the database {0}, which is not among what is loaded")]
    RenamesNothing(String),
    /// There is nothing to load.
    #[error("there is nothing to load into a server: {0}")]
    Nothing(String),
    /// What is there could not be saved before it is replaced.
    #[error("what would be replaced could not be saved: {0}; nothing was loaded")]
    NotSaved(String),
    /// Nothing that was saved before a load can be brought back.
    #[error("{0}")]
    NoWayBack(String),
    /// The server cannot be loaded into.
    #[error("{0}")]
    Server(String),
    /// What was loaded cannot be remembered.
    #[error("cannot {action} {path}", path = path.display())]
    State {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The user asked to stop.
    #[error("interrupted; the same command goes on with what is not loaded yet")]
    Interrupted,
}

/// Why one snapshot was not loaded.
#[derive(Debug)]
pub(super) enum Failure {
    /// In words.
    Because(String),
    /// The user asked to stop.
    Interrupted,
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Because(text)
    }
}

impl From<Failure> for LoadError {
    /// An error of a server is one of all.
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Because(why) => Self::Server(why),
            Failure::Interrupted => Self::Interrupted,
        }
    }
}

impl Failure {
    pub(super) fn because(text: impl Into<String>) -> Self {
        Self::Because(text.into())
    }
}

/// Counts with their noun.
pub(super) fn counted(n: u64, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}
