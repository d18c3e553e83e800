//! The local cache: one SQLite database per repository, filled only by folding the log.
//!
//! It holds the folded state, where blocks and meta nodes are, which chunks can be deduplicated against, and
//! the file cache. It may be deleted at any time. Everything it says can be checked: a hit is compared with
//! the frame's directory, and a directory is bound to its pack by the pack's hash.
//!
//! * [`places`]: packs, frames, blocks, meta nodes
//! * [`chunks`]: chunk ids, in sorted generations
//! * [`walk`]: all of them, a row at a time
//! * [`files`]: what the last backup of a source saw

pub mod chunks;
pub mod files;
pub mod places;
pub mod walk;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use rusqlite::{Connection, OptionalExtension, params};

use crate::formats::state::State;
use crate::words::ids::RepositoryId;

use super::error::{RepositoryError, Result};

/// So many prepared statements are kept; there are some thirty.
const STATEMENTS: usize = 64;
/// Written into the database; another number makes the cache start anew.
const SCHEMA: i64 = 2;

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
    connection: Mutex<Connection>,
}

impl Cache {
    /// Opens, and makes if needed, the cache of `repository` below `root`.
    ///
    /// A database of another schema or repository, or one that is no database, is thrown away: nothing in it
    /// is worth more than the time to fill it again.
    pub fn open(root: &Path, repository: RepositoryId) -> Result<Self> {
        let folder = root.join(repository.to_string());
        std::fs::create_dir_all(&folder).map_err(RepositoryError::local(&folder))?;
        let path = folder.join("cache.sqlite");
        let cache_error = |source| RepositoryError::Cache { path: path.clone(), source };
        let connection = match prepare(&path, repository) {
            Ok(Some(connection)) => connection,
            Ok(None) => fresh(&path, repository)?,
            Err(e) if is_damage(&e) => fresh(&path, repository)?,
            Err(e) => return Err(cache_error(e)),
        };
        Ok(Self { path, connection: Mutex::new(connection) })
    }

    /// The connection that writes.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Another connection, for reading from another thread.
    pub(crate) fn reader(&self) -> Result<Connection> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(self.error())?;
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
    pub(crate) fn error(&self) -> impl Fn(rusqlite::Error) -> RepositoryError + '_ {
        move |source| RepositoryError::Cache { path: self.path.clone(), source }
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

    /// Says that the rows now belong to `state`.
    pub fn set_state(&self, state: &State) -> Result<()> {
        let bytes = minicbor::to_vec(state).expect("writing to memory does not fail");
        let connection = self.lock();
        connection
            .execute("INSERT OR REPLACE INTO stamp(key, value) VALUES('state', ?1)", params![bytes])
            .map_err(self.error())?;
        Ok(())
    }
}

fn is_damage(e: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(e.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Opens the database; `None` if it belongs to something else.
fn prepare(path: &Path, repository: RepositoryId) -> rusqlite::Result<Option<Connection>> {
    let connection = Connection::open(path)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.busy_timeout(std::time::Duration::from_secs(60))?;
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
            connection.execute("INSERT OR IGNORE INTO stamp(key, value) VALUES('cache', ?1)", params![expected])?;
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
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(RepositoryError::local(path)(e)),
            _ => {}
        }
    }
    let error = |source| RepositoryError::Cache { path: path.to_owned(), source };
    let connection = prepare(path, repository).map_err(error)?;
    connection.ok_or_else(|| RepositoryError::LocalDamaged { path: path.to_owned() })
}
