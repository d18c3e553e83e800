//! The file cache: what the last backup of a source saw, by directory.
//!
//! A source is stamped with the snapshot under which all of its rows were read or confirmed. A row holds, for
//! each file of one directory that was at rest, its inode, device and change time, and its whole node as it
//! stands in the tree. Rows are gathered during a backup and put in place once its snapshot is published.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::format::tree::{FileTime, Node, TreeNode};
use crate::primitives::codec::{CodecError, Reader, Write};
use crate::primitives::ids::SnapshotId;

use super::Cache;
use super::error::Result;

/// The time of change of a file that was there and is never believed to be unchanged: no system sets it.
pub const NEVER: FileTime = FileTime { secs: i64::MIN, nanos: 0 };

/// A file as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenFile {
    /// Its inode number.
    pub inode: u64,
    /// Its device.
    pub device: u64,
    /// Its change time.
    pub ctime: FileTime,
    /// Its node in the tree.
    pub node: Node,
}

/// The files of one directory, ascending by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeenDirectory {
    /// The files.
    pub files: Vec<SeenFile>,
}

impl SeenDirectory {
    /// The file of this name.
    pub fn get(&self, name: &[u8]) -> Option<&SeenFile> {
        self.files.binary_search_by(|f| f.node.name.as_slice().cmp(name)).ok().map(|i| &self.files[i])
    }

    fn encode(&self, path: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.bytes(path);
        out.varint(self.files.len() as u64);
        for file in &self.files {
            out.varint(file.inode);
            out.varint(file.device);
            out.signed(file.ctime.secs);
            out.varint(u64::from(file.ctime.nanos));
        }
        out.raw(&TreeNode::Leaf(self.files.iter().map(|f| f.node.clone()).collect()).encode());
        out
    }

    fn decode(bytes: &[u8], path: &[u8]) -> Result<Option<Self>, CodecError> {
        let mut r = Reader::new(bytes);
        if r.bytes()? != path {
            return Ok(None);
        }
        let n = r.count(4)?;
        let mut stats = Vec::with_capacity(n);
        for _ in 0..n {
            let (inode, device) = (r.varint()?, r.varint()?);
            stats.push((inode, device, FileTime { secs: r.signed()?, nanos: r.varint32("nanoseconds")? }));
        }
        let TreeNode::Leaf(nodes) = TreeNode::decode(r.take(r.left())?)? else {
            return Err(r.invalid("leaf"));
        };
        if nodes.len() != stats.len() {
            return Err(r.invalid("number of nodes"));
        }
        let files = stats.into_iter().zip(nodes);
        let files = files.map(|((inode, device, ctime), node)| SeenFile { inode, device, ctime, node }).collect();
        Ok(Some(Self { files }))
    }
}

/// Key of a directory's row.
pub fn directory_key(path: &[u8]) -> i64 {
    i64::from_le_bytes(blake3::hash(path).as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
}

/// Reads the rows of one source from any thread.
#[derive(Debug)]
pub struct FileCacheReader {
    source: i64,
    /// The snapshot under which the rows were read or confirmed.
    pub snapshot: SnapshotId,
    connections: parking_lot::Mutex<Vec<Connection>>,
}

impl FileCacheReader {
    /// Opens the rows of the source with this key; `None` if it has none.
    pub fn open(cache: &Cache, key: &[u8]) -> Result<Option<Self>> {
        let connection = cache.reader()?;
        let found: Option<(i64, Vec<u8>)> = connection
            .query_row("SELECT id, snapshot FROM sources WHERE key = ?1", params![key], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()
            .map_err(cache.error())?;
        let Some((source, snapshot)) = found else { return Ok(None) };
        let Ok(snapshot) = snapshot.try_into() else { return Ok(None) };
        Ok(Some(Self {
            source,
            snapshot: SnapshotId(snapshot),
            connections: parking_lot::Mutex::new(vec![connection]),
        }))
    }

    /// Whether any directory of the source held a file at rest. What cannot be read says no.
    pub fn has_files(&self, cache: &Cache) -> bool {
        let look = || -> rusqlite::Result<bool> {
            let connection = cache.reader().map_err(|_| rusqlite::Error::InvalidQuery)?;
            let mut statement = connection.prepare("SELECT content FROM files WHERE source = ?1")?;
            let mut rows = statement.query(params![self.source])?;
            while let Some(row) = rows.next()? {
                let content: Vec<u8> = row.get(0)?;
                let mut reader = Reader::new(&content);
                if reader.bytes().and_then(|_| reader.varint()).is_ok_and(|count| count > 0) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        look().unwrap_or(false)
    }

    /// The row of the directory at `path`. A row that cannot be read is no row.
    pub fn directory(&self, cache: &Cache, path: &[u8]) -> Option<SeenDirectory> {
        let pooled = self.connections.lock().pop();
        let connection = match pooled {
            Some(connection) => connection,
            None => cache.reader().ok()?,
        };
        let bytes: Option<Vec<u8>> = connection
            .prepare_cached(
                "SELECT f.content FROM sources s JOIN files f ON f.source = s.id
                   WHERE s.id = ?1 AND s.snapshot = ?3 AND f.directory = ?2",
            )
            .and_then(|mut s| {
                // Rows that another backup of this source has put in place meanwhile belong to its snapshot.
                let values = params![self.source, directory_key(path), self.snapshot.0];
                s.query_row(values, |row| row.get(0)).optional()
            })
            .ok()
            .flatten();
        self.connections.lock().push(connection);
        SeenDirectory::decode(&bytes?, path).ok().flatten()
    }
}

/// Gathers the rows of one backup.
#[derive(Debug, Default)]
pub struct FileCacheWriter {
    visited: Vec<i64>,
    changed: Vec<(i64, Vec<u8>)>,
    changed_len: usize,
    spilled: Option<tempfile::NamedTempFile>,
}

/// Changed rows are held in memory up to this many bytes.
const ROWS_IN_MEMORY_MAX: usize = 64 << 20;

impl FileCacheWriter {
    /// The directory is as its row says.
    pub fn unchanged(&mut self, path: &[u8]) {
        self.visited.push(directory_key(path));
    }

    /// The directory's new row.
    pub fn changed(&mut self, path: &[u8], seen: &SeenDirectory) {
        let row = seen.encode(path);
        self.visited.push(directory_key(path));
        self.changed_len += row.len();
        self.changed.push((directory_key(path), row));
        if self.changed_len > ROWS_IN_MEMORY_MAX {
            self.spill();
        }
    }

    /// Moves rows to a temporary database. If that fails they are dropped: the files are read again next time.
    fn spill(&mut self) {
        self.changed_len = 0;
        let rows = std::mem::take(&mut self.changed);
        if self.spilled.is_none() {
            self.spilled = tempfile::NamedTempFile::new().ok();
        }
        let write = |path: &std::path::Path| -> rusqlite::Result<()> {
            let mut connection = Connection::open(path)?;
            connection.pragma_update(None, "synchronous", "OFF")?;
            connection.execute("CREATE TABLE IF NOT EXISTS rows(directory INTEGER, content BLOB)", [])?;
            let transaction = connection.transaction()?;
            for (key, row) in rows {
                transaction
                    .prepare_cached("INSERT INTO rows(directory, content) VALUES(?1, ?2)")?
                    .execute(params![key, row])?;
            }
            transaction.commit()
        };
        if let Some(file) = &self.spilled {
            // A row that is missing only costs reading the files again.
            let _ = write(file.path());
        }
    }

    /// Puts the rows in place: they belong to `snapshot` now. `before` is the snapshot that the rows belonged to when the
    /// backup began; if another backup of the source has put its own in place since, they stay.
    pub fn commit(mut self, cache: &Cache, key: &[u8], before: Option<SnapshotId>, snapshot: SnapshotId) -> Result<()> {
        if self.spilled.is_some() {
            self.spill();
        }
        let mut connection = cache.lock();
        let error = cache.error();
        if let Some(file) = &self.spilled {
            let path = file.path().to_string_lossy().into_owned();
            connection.execute("ATTACH ?1 AS spilled", params![path]).map_err(&error)?;
        }
        let mut put = |connection: &mut Connection| -> rusqlite::Result<()> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let find = "SELECT snapshot FROM sources WHERE key = ?1";
            let now: Option<Vec<u8>> = transaction.query_row(find, params![key], |row| row.get(0)).optional()?;
            if now.as_deref() == before.as_ref().map(|s| &s.0[..]) {
                self.put(&transaction, key, snapshot)?;
            }
            transaction.commit()
        };
        put(&mut connection).map_err(&error)?;
        if self.spilled.is_some() {
            connection.execute("DETACH spilled", []).map_err(&error)?;
        }
        Ok(())
    }

    fn put(&mut self, transaction: &Transaction, key: &[u8], snapshot: SnapshotId) -> rusqlite::Result<()> {
        transaction.execute(
            "INSERT INTO sources(key, snapshot) VALUES(?1, ?2) ON CONFLICT(key) DO UPDATE SET snapshot = ?2",
            params![key, snapshot.0],
        )?;
        let source: i64 = transaction.query_row("SELECT id FROM sources WHERE key = ?1", params![key], |r| r.get(0))?;
        if self.spilled.is_some() {
            transaction.execute(
                "INSERT OR REPLACE INTO files(source, directory, content)
                   SELECT ?1, directory, content FROM spilled.rows ORDER BY directory",
                params![source],
            )?;
        }
        self.changed.sort_unstable_by_key(|row| row.0);
        {
            let mut put = transaction
                .prepare_cached("INSERT OR REPLACE INTO files(source, directory, content) VALUES(?1, ?2, ?3)")?;
            for (directory, row) in &self.changed {
                put.execute(params![source, directory, row])?;
            }
        }
        // Rows of directories that were not visited do not belong to this snapshot.
        let visited: std::collections::HashSet<i64> = self.visited.iter().copied().collect();
        let rows: usize = transaction
            .query_row("SELECT count(*) FROM files WHERE source = ?1", [source], |r| r.get::<_, i64>(0))?
            as usize;
        if rows != visited.len() {
            let stale: Vec<i64> = {
                let mut statement = transaction.prepare_cached("SELECT directory FROM files WHERE source = ?1")?;
                let keys = statement.query_map([source], |row| row.get::<_, i64>(0))?;
                keys.collect::<rusqlite::Result<Vec<i64>>>()?.into_iter().filter(|k| !visited.contains(k)).collect()
            };
            let mut delete = transaction.prepare_cached("DELETE FROM files WHERE source = ?1 AND directory = ?2")?;
            for key in stale {
                delete.execute(params![source, key])?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::tree::{Metadata, NodeKind};
    use crate::primitives::ids::RepositoryId;

    fn seen(name: &str) -> SeenDirectory {
        let node = Node { name: name.into(), meta: Metadata::default(), kind: NodeKind::Fifo };
        let ctime = FileTime { secs: 5, nanos: 6 };
        SeenDirectory { files: vec![SeenFile { inode: 7, device: 8, ctime, node }] }
    }

    #[test]
    fn rows_belong_to_the_snapshot_that_confirmed_them() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), RepositoryId([1; 16])).unwrap();
        assert!(FileCacheReader::open(&cache, b"s").unwrap().is_none());
        let mut writer = FileCacheWriter::default();
        writer.changed(b"/a", &seen("x"));
        writer.changed(b"/b", &seen("y"));
        writer.commit(&cache, b"s", None, SnapshotId([1; 16])).unwrap();

        let mut writer = FileCacheWriter::default();
        writer.unchanged(b"/a");
        writer.commit(&cache, b"s", Some(SnapshotId([1; 16])), SnapshotId([2; 16])).unwrap();
        let reader = FileCacheReader::open(&cache, b"s").unwrap().unwrap();
        assert_eq!(reader.snapshot, SnapshotId([2; 16]));
        assert_eq!(reader.directory(&cache, b"/a"), Some(seen("x")));
        assert_eq!(reader.directory(&cache, b"/b"), None, "a directory that was not visited");
        assert!(reader.has_files(&cache));
        let mut writer = FileCacheWriter::default();
        writer.changed(b"/c", &SeenDirectory::default());
        writer.commit(&cache, b"empty", None, SnapshotId([3; 16])).unwrap();
        assert!(!FileCacheReader::open(&cache, b"empty").unwrap().unwrap().has_files(&cache));
    }

    /// Two backups of one source ran at once. The rows of one were attributed to the snapshot of the other: once the
    /// first was forgotten, the second was believed to keep content that it never referred to.
    #[test]
    fn rows_of_two_backups_at_once_are_never_mixed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), RepositoryId([1; 16])).unwrap();
        let put = |path: &[u8], name, before: Option<u8>, id| {
            let mut writer = FileCacheWriter::default();
            writer.changed(path, &seen(name));
            writer.commit(&cache, b"s", before.map(|b| SnapshotId([b; 16])), SnapshotId([id; 16])).unwrap();
        };
        put(b"/a", "x", None, 1);
        let slow = FileCacheReader::open(&cache, b"s").unwrap().unwrap();
        put(b"/a", "y", Some(1), 2);
        assert_eq!(slow.directory(&cache, b"/a"), None, "it is of a snapshot that this backup does not declare");
        put(b"/a", "z", Some(1), 3);
        let reader = FileCacheReader::open(&cache, b"s").unwrap().unwrap();
        assert_eq!((reader.snapshot, reader.directory(&cache, b"/a")), (SnapshotId([2; 16]), Some(seen("y"))));
    }

    #[test]
    fn rows_beyond_the_memory_bound_come_back_too() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), RepositoryId([1; 16])).unwrap();
        let mut writer = FileCacheWriter::default();
        writer.changed(b"/a", &seen("x"));
        writer.spill();
        writer.changed(b"/b", &seen("y"));
        writer.commit(&cache, b"s", None, SnapshotId([1; 16])).unwrap();
        let reader = FileCacheReader::open(&cache, b"s").unwrap().unwrap();
        assert_eq!(reader.directory(&cache, b"/a"), Some(seen("x")));
        assert_eq!(reader.directory(&cache, b"/b"), Some(seen("y")));
    }
}
