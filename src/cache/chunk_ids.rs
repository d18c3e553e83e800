//! Chunk ids that can be deduplicated against, in sorted generations.
//!
//! Random keys are ruinous for one big B-tree: every batch touches every page. So each batch becomes a
//! *generation* of its own, written in order of the keys, and generations of like size are merged in order
//! again. A row is the first eight bytes of an id and where the chunk was when it was added; whoever finds
//! one compares the whole id with the frame's directory, because eight bytes can meet by chance and because
//! the block may have gone.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::primitives::ids::{BlockId, ChunkId, RunId};

use super::Cache;
use super::error::{CacheError, Result};

/// Generations of like size that are let stand before they are merged.
const GENERATIONS_OF_A_SIZE: usize = 4;

/// The part of an id that is a key.
pub fn prefix(id: &ChunkId) -> i64 {
    i64::from_be_bytes(id.0[..8].try_into().expect("an id has sixteen bytes"))
}

/// Adds rows (key, block, number within the block) as one generation, and merges if there are too many.
pub(super) fn add_generation(transaction: &Transaction, mut entries: Vec<(i64, BlockId, u32)>) -> rusqlite::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    entries.sort_unstable_by_key(|e| e.0);
    let id: i64 = transaction.query_row("SELECT coalesce(max(id), 0) + 1 FROM generations", [], |row| row.get(0))?;
    transaction.execute("INSERT INTO generations(id, rows) VALUES(?1, ?2)", params![id, entries.len() as i64])?;
    {
        let mut add = transaction.prepare_cached(
            "INSERT OR IGNORE INTO chunks(generation, prefix, run, number, place) VALUES(?1, ?2, ?3, ?4, ?5)",
        )?;
        for (key, block, place) in entries {
            add.execute(params![id, key, block.run.0 as i64, block.number, place])?;
        }
    }
    merge(transaction)
}

/// Merges generations of like size (within a factor of four) until few of each size are left.
fn merge(transaction: &Transaction) -> rusqlite::Result<()> {
    loop {
        let mut all: Vec<(i64, i64)> = {
            let mut statement = transaction.prepare_cached("SELECT rows, id FROM generations ORDER BY rows")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        let alike = all.windows(GENERATIONS_OF_A_SIZE + 1).position(|w| w[GENERATIONS_OF_A_SIZE].0 <= 4 * w[0].0);
        let Some(at) = alike else { return Ok(()) };
        let merged: Vec<(i64, i64)> = all.drain(at..=at + GENERATIONS_OF_A_SIZE).collect();
        let id: i64 = transaction.query_row("SELECT max(id) + 1 FROM generations", [], |row| row.get(0))?;
        let list = merged.iter().map(|(_, id)| id.to_string()).collect::<Vec<_>>().join(",");
        let rows = transaction.execute(
            &format!(
                "INSERT OR IGNORE INTO chunks(generation, prefix, run, number, place)
                   SELECT {id}, prefix, run, number, place FROM chunks WHERE generation IN ({list}) ORDER BY prefix, generation DESC"
            ),
            [],
        )?;
        transaction.execute(&format!("DELETE FROM chunks WHERE generation IN ({list})"), [])?;
        transaction.execute(&format!("DELETE FROM generations WHERE id IN ({list})"), [])?;
        transaction.execute("INSERT INTO generations(id, rows) VALUES(?1, ?2)", params![id, rows as i64])?;
    }
}

/// Looks chunks up, through a connection of its own.
#[derive(Debug)]
pub struct ChunkFinder {
    connection: Connection,
    generations: Vec<i64>,
}

impl ChunkFinder {
    /// Looks into the generations that exist now.
    pub fn new(cache: &Cache) -> Result<Self> {
        let connection = cache.reader()?;
        let generations = {
            let read = || -> rusqlite::Result<Vec<i64>> {
                let mut statement = connection.prepare("SELECT id FROM generations ORDER BY rows DESC")?;
                let rows = statement.query_map([], |row| row.get(0))?;
                rows.collect()
            };
            read().map_err(cache.error())?
        };
        Ok(Self { connection, generations })
    }

    /// Whether there is nothing to be found.
    pub fn is_empty(&self) -> bool {
        self.generations.is_empty()
    }

    /// Hands `accept` the places where a chunk with this id may be, the larger generations first, until it takes one.
    pub fn find<T, E: From<CacheError>>(
        &self,
        cache: &Cache,
        id: &ChunkId,
        accept: &mut dyn FnMut(BlockId, u32) -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        let find = |generation: i64| -> rusqlite::Result<Option<(BlockId, u32)>> {
            self.connection
                .prepare_cached("SELECT run, number, place FROM chunks WHERE generation = ?1 AND prefix = ?2")?
                .query_row(params![generation, prefix(id)], |row| {
                    let block = BlockId { run: RunId(row.get::<_, i64>(0)? as u64), number: row.get(1)? };
                    Ok((block, row.get(2)?))
                })
                .optional()
        };
        for generation in &self.generations {
            if let Some((block, place)) = find(*generation).map_err(cache.error())?
                && let Some(taken) = accept(block, place)?
            {
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::ids::RepositoryId;

    #[test]
    fn what_was_added_is_found_however_often_generations_merged() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), RepositoryId([1; 16])).unwrap();
        let id = |n: u32| ChunkId(blake3::hash(&n.to_le_bytes()).as_bytes()[..16].try_into().unwrap());
        for batch in 0..30u32 {
            let block = BlockId { run: RunId(1), number: batch };
            let entries = (0..10).map(|n| (prefix(&id(batch * 10 + n)), block, n)).collect();
            let mut connection = cache.lock();
            let transaction = connection.transaction().unwrap();
            add_generation(&transaction, entries).unwrap();
            transaction.commit().unwrap();
        }
        let finder = ChunkFinder::new(&cache).unwrap();
        assert!(finder.generations.len() <= 3 * GENERATIONS_OF_A_SIZE, "{:?}", finder.generations);
        for n in 0..300 {
            let found =
                finder.find::<_, CacheError>(&cache, &id(n), &mut |block, place| Ok(Some((block, place)))).unwrap();
            assert_eq!(found, Some((BlockId { run: RunId(1), number: n / 10 }, n % 10)));
        }
        let first = |block, place| Ok(Some((block, place)));
        assert_eq!(finder.find::<_, CacheError>(&cache, &id(300), &mut { first }).unwrap(), None);
    }
}
