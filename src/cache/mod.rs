//! The local cache: one SQLite database per repository, filled only by folding the log.
//!
//! It holds the folded state, where blocks and meta nodes are, which chunks can be deduplicated against, and
//! the file cache. It may be deleted at any time. Everything it says can be checked: a hit is compared with
//! the frame's directory, and a directory is bound to its pack by the pack's hash.
//!
//! All processes of a user on this machine share it, and each of them has folded the log up to another record. The
//! rows are true for one position of the log, which never steps back: a process that has folded less takes nothing
//! out and brings no pack in that the others may know to be gone. That there are no rows of a pack says nothing.
//!
//! * [`locations`]: packs, frames, blocks, meta nodes
//! * [`chunk_ids`]: chunk ids, in sorted generations
//! * [`scan`]: all of them, a row at a time
//! * [`file_cache`]: what the last backup of a source saw

pub mod chunk_ids;
mod error;
pub mod file_cache;
pub mod locations;
mod rows;
pub mod scan;

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::format::state::State;
use crate::primitives::ids::RepositoryId;
use crate::primitives::system::{OsSystem, random};

pub use error::{CacheError, Result};

/// So many prepared statements are kept; there are some thirty.
const STATEMENTS: usize = 64;
/// Written into the database; another number makes the cache start anew.
const SCHEMA: i64 = 3;
/// So long a process waits for another one that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS stamp(key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS packs(
    id INTEGER PRIMARY KEY AUTOINCREMENT, name BLOB NOT NULL UNIQUE, kind INTEGER NOT NULL, run INTEGER NOT NULL,
    len INTEGER NOT NULL, directory_offset INTEGER NOT NULL, directory_len INTEGER NOT NULL,
    first_frame INTEGER NOT NULL, frames INTEGER NOT NULL, published INTEGER NOT NULL, content INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS packs_unpublished ON packs(published) WHERE published = 0;
CREATE TABLE IF NOT EXISTS frames(
    id INTEGER PRIMARY KEY, pack INTEGER NOT NULL, place INTEGER NOT NULL, offset INTEGER NOT NULL,
    len INTEGER NOT NULL, base BLOB, directory BLOB);
CREATE INDEX IF NOT EXISTS frames_based ON frames(id) WHERE base IS NOT NULL;
CREATE TABLE IF NOT EXISTS blocks(
    run INTEGER, number INTEGER, first INTEGER, count INTEGER NOT NULL, frame INTEGER,
    PRIMARY KEY(run, number, first, frame)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blocks_by_frame ON blocks(frame);
CREATE TABLE IF NOT EXISTS meta(prefix INTEGER, frame INTEGER, place INTEGER,
    PRIMARY KEY(prefix, frame, place)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS meta_by_frame ON meta(frame);
CREATE TABLE IF NOT EXISTS generations(id INTEGER PRIMARY KEY, rows INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS chunks(generation INTEGER, prefix INTEGER, run INTEGER NOT NULL,
    number INTEGER NOT NULL, place INTEGER NOT NULL, PRIMARY KEY(generation, prefix)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sources(id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, snapshot BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS files(source INTEGER, directory INTEGER, content BLOB NOT NULL,
    PRIMARY KEY(source, directory)) WITHOUT ROWID;
";

/// The cache of one repository. One connection writes; readers open their own.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    /// Tells this database from one that another process puts in its place.
    identity: Mutex<Vec<u8>>,
    connection: Mutex<Connection>,
}

impl Cache {
    /// Opens, and makes if needed, the cache of `repository` below `root`.
    ///
    /// A database of another schema or repository, or one that is no database, is thrown away: nothing in it
    /// is worth more than the time to fill it again.
    pub fn open(root: &Path, repository: RepositoryId) -> Result<Self> {
        let folder = root.join(repository.to_string());
        let path = folder.join("cache.sqlite");
        make_private(&folder, &path).map_err(|source| CacheError::Folder { path: folder.clone(), source })?;
        let cache_error = |source| CacheError::Database { path: path.clone(), source };
        let connection = match prepare(&path, repository) {
            Ok(Some(connection)) => connection,
            Ok(None) => fresh(&path, repository)?,
            Err(e) if is_damage(&e) => fresh(&path, repository)?,
            Err(e) => return Err(cache_error(e)),
        };
        let identity = identity(&connection).map_err(cache_error)?;
        Ok(Self { path, identity: Mutex::new(identity), connection: Mutex::new(connection) })
    }

    /// The connection that writes.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock()
    }

    /// Another connection, for reading from another thread.
    pub(crate) fn reader(&self) -> Result<Connection> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(self.error())?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(self.error())?;
        keep_plans(&connection).map_err(self.error())?;
        // Rows of another database mean other packs.
        if identity(&connection).map_err(self.error())? != *self.identity.lock() {
            return Err(CacheError::Damaged { path: self.path.clone() });
        }
        connection.pragma_update(None, "mmap_size", 256i64 << 20).map_err(self.error())?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    }

    /// Another connection, for going through much once: it maps nothing, so that what it has read does not count as ours.
    pub(crate) fn scanner(&self) -> Result<Connection> {
        let connection = self.reader()?;
        connection.pragma_update(None, "mmap_size", 0i64).map_err(self.error())?;
        connection.pragma_update(None, "cache_size", -8_192i64).map_err(self.error())?;
        Ok(connection)
    }

    /// Wraps an error of SQLite.
    pub(crate) fn error(&self) -> impl Fn(rusqlite::Error) -> CacheError + '_ {
        move |source| CacheError::Database { path: self.path.clone(), source }
    }

    /// The folded state that the rows belong to.
    pub fn state(&self) -> Result<Option<State>> {
        let connection = self.lock();
        let bytes: Option<Vec<u8>> = connection
            .query_row("SELECT value FROM stamp WHERE key = 'state'", [], |row| row.get(0))
            .optional()
            .map_err(self.error())?;
        // A state that cannot be read is as good as none: it is folded again.
        Ok(bytes.and_then(|b| minicbor::decode(&b).ok()))
    }

    /// Keeps the folded state for the next command, unless another process has kept a later one.
    pub fn set_state(&self, state: &State) -> Result<()> {
        let bytes = minicbor::to_vec(state).expect("writing to memory does not fail");
        self.write(|transaction| {
            if number(transaction, "state_number")? < state.number as i64 {
                transaction.execute("INSERT OR REPLACE INTO stamp(key, value) VALUES('state', ?1)", params![bytes])?;
                set_number(transaction, "state_number", state.number as i64)?;
            }
            Ok(())
        })
    }

    /// Empties it: what it holds belongs to another history. Other processes find another identity.
    pub fn clear(&self) -> Result<()> {
        let identity: [u8; 16] = random(&OsSystem);
        self.write(|transaction| {
            let mut tables = transaction.prepare("SELECT name FROM sqlite_master WHERE type = 'table'")?;
            let names: Vec<String> = tables.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            drop(tables);
            for name in names.iter().filter(|name| *name != "stamp") {
                transaction.execute(&format!("DELETE FROM {name}"), [])?;
            }
            transaction.execute("DELETE FROM stamp WHERE key NOT IN ('cache', 'identity')", [])?;
            transaction.execute("UPDATE stamp SET value = ?1 WHERE key = 'identity'", params![identity])?;
            Ok(())
        })?;
        *self.identity.lock() = identity.to_vec();
        Ok(())
    }

    /// Runs `write` as one transaction that excludes every other writer from its beginning.
    pub(crate) fn write<T>(&self, write: impl FnOnce(&Transaction) -> rusqlite::Result<T>) -> Result<T> {
        let mut connection = self.lock();
        let run = || -> rusqlite::Result<T> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = write(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        run().map_err(self.error())
    }
}

/// Makes the folder and the database readable by their owner only: they hold names and link targets of what was backed up.
fn make_private(folder: &Path, database: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if fs::metadata(folder)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    // SQLite gives its other files the mode of the database.
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(database)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// The database's own random number.
fn identity(connection: &Connection) -> rusqlite::Result<Vec<u8>> {
    let read = "SELECT value FROM stamp WHERE key = 'identity'";
    Ok(connection.query_row(read, [], |row| row.get(0)).optional()?.unwrap_or_default())
}

/// A number of the stamp; 0 if it was never set.
pub(crate) fn number(connection: &Connection, key: &str) -> rusqlite::Result<i64> {
    let read = "SELECT value FROM stamp WHERE key = ?1";
    Ok(connection.prepare_cached(read)?.query_row([key], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Sets a number of the stamp.
pub(crate) fn set_number(connection: &Connection, key: &str, value: i64) -> rusqlite::Result<()> {
    let write = "INSERT OR REPLACE INTO stamp(key, value) VALUES(?1, ?2)";
    connection.prepare_cached(write)?.execute(params![key, value]).map(drop)
}

fn is_damage(e: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(e.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Keeps the plan of a statement whatever is bound to it. Without this SQLite plans anew for each value: a quarter of an
/// unchanged night was spent so.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Opens the database; `None` if it belongs to something else.
fn prepare(path: &Path, repository: RepositoryId) -> rusqlite::Result<Option<Connection>> {
    let connection = Connection::open(path)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    keep_plans(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A cache may lose its last transactions in a power cut; it must not be torn, and WAL sees to that.
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "cache_size", -65_536i64)?;
    connection.pragma_update(None, "mmap_size", 256i64 << 20)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.execute_batch(TABLES)?;
    let stamp: Option<Vec<u8>> =
        connection.query_row("SELECT value FROM stamp WHERE key = 'cache'", [], |row| row.get(0)).optional()?;
    let expected = [&repository.0[..], &SCHEMA.to_le_bytes()].concat();
    match stamp {
        None => {
            let identity: [u8; 16] = random(&OsSystem);
            let add = "INSERT OR IGNORE INTO stamp(key, value) VALUES('cache', ?1), ('identity', ?2)";
            connection.execute(add, params![expected, identity])?;
            Ok(Some(connection))
        }
        Some(stamp) => Ok((stamp == expected).then_some(connection)),
    }
}

fn fresh(path: &Path, repository: RepositoryId) -> Result<Connection> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(CacheError::Folder { path: path.to_owned(), source });
            }
            _ => {}
        }
    }
    let private = |source| CacheError::Folder { path: path.to_owned(), source };
    make_private(path.parent().unwrap_or(path), path).map_err(private)?;
    let error = |source| CacheError::Database { path: path.to_owned(), source };
    let connection = prepare(path, repository).map_err(error)?;
    connection.ok_or_else(|| CacheError::Damaged { path: path.to_owned() })
}
