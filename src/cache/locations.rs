//! Where blocks and meta nodes are: packs, their frames, and which chunks of which blocks those hold.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::format::directory::{FrameDirectory, encode_spans};
use crate::format::envelope::ENVELOPE_LEN;
use crate::format::names::PackKind;
use crate::format::pack::DirectoryPlace;
use crate::format::segment::{PackLocation, SegmentContent};
use crate::primitives::codec::Reader;
use crate::primitives::ids::{BlockId, ChunkId, ObjectHash, Reference, RunId};

pub use super::rows::{FrameRow, PackRow};

use super::chunk_ids::prefix;
use super::error::Result;
use super::{Cache, number, set_number};

/// The record that the rows of packs, frames, blocks and nodes are true for.
const POSITION: &str = "position";

/// A pack, as far as finding frames in it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackPlace {
    /// Row in the cache.
    pub row: PackRow,
    /// Name.
    pub name: ObjectHash,
    /// What it holds.
    pub kind: PackKind,
    /// Whose folder it lies in.
    pub run: RunId,
    /// Length in bytes.
    pub len: u64,
    /// Where its directory is.
    pub directory: DirectoryPlace,
    /// How many frames it has.
    pub frames: u32,
}

/// A frame that holds some chunks of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FramePlace {
    /// Row of its pack.
    pub pack: PackRow,
    /// Number within the pack.
    pub place: u32,
    /// Offset in the pack.
    pub offset: u64,
    /// Sealed length.
    pub len: u32,
    /// Row in the cache.
    pub row: FrameRow,
}

/// One location of a span of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockPlace {
    /// What is there of the block.
    pub span: Reference,
    /// Where.
    pub frame: FramePlace,
}

impl BlockPlace {
    /// Whether chunk `n` of the block is there.
    pub fn holds(&self, n: u32) -> bool {
        (self.span.first..self.span.end()).contains(&n)
    }
}

/// Where one meta node is.
#[derive(Debug, Clone)]
pub struct MetaPlace {
    /// The frame.
    pub frame: FramePlace,
    /// The frame's directory.
    pub directory: Arc<FrameDirectory>,
    /// Which of its chunks.
    pub place: usize,
}

impl Cache {
    /// Adds what a segment or a record says. Packs that are there already stay as they are; directories that
    /// were missing are filled in.
    ///
    /// `folded` is the number of the last record that the caller has folded; `None` for packs that no record names yet.
    /// If the rows are true for a later record, no pack is brought in: it may be gone by then.
    pub fn add_places(&self, content: &SegmentContent, folded: Option<u64>) -> Result<()> {
        self.write(|transaction| {
            let late = folded.is_some_and(|n| (n as i64) < number(transaction, POSITION).unwrap_or(i64::MAX));
            let mut rows = Vec::with_capacity(content.locations.len());
            for location in &content.locations {
                rows.push(match known_pack(transaction, location, folded)? {
                    None if late => None,
                    None => Some(add_pack(transaction, location, folded)?),
                    known => known,
                });
            }
            let mut entries = Vec::new();
            for (i, directory) in content.meta.iter().chain(content.content.iter().flatten()) {
                let location = &content.locations[*i as usize];
                let Some((pack, first_frame)) = rows[*i as usize] else { continue };
                let known: bool =
                    transaction.query_row("SELECT content FROM packs WHERE id = ?1", [pack], |row| row.get(0))?;
                if known {
                    continue;
                }
                for (n, frame) in directory.frames.iter().enumerate() {
                    add_directory(transaction, location.kind, first_frame.nth(n as u32), frame)?;
                    if location.kind == PackKind::Data {
                        let places = frame.places().zip(&frame.chunks);
                        entries.extend(places.map(|((block, n), c)| (prefix(&c.id), block, n)));
                    }
                }
                transaction.execute("UPDATE packs SET content = 1 WHERE id = ?1", [pack])?;
            }
            super::chunk_ids::add_generation(transaction, entries)
        })
    }

    /// The record that the rows are true for.
    pub fn position(&self) -> Result<u64> {
        let connection = self.lock();
        Ok(number(&connection, POSITION).map_err(self.error())? as u64)
    }

    /// Says that the rows are true for record `folded`: packs for which `live` answers nothing are gone, others were
    /// published by the record that it names. Does nothing if the rows are true for a later record.
    pub fn settle_places(&self, folded: u64, live: &dyn Fn(&ObjectHash) -> Option<u64>) -> Result<()> {
        self.write(|transaction| {
            if number(transaction, POSITION)? > folded as i64 {
                return Ok(());
            }
            let rows: Vec<(ObjectHash, i64)> = {
                let mut statement = transaction.prepare_cached("SELECT name, published FROM packs")?;
                let rows = statement.query_map([], |row| Ok((ObjectHash(row.get(0)?), row.get(1)?)))?;
                rows.collect::<rusqlite::Result<_>>()?
            };
            let mut publish = transaction.prepare_cached("UPDATE packs SET published = ?2 WHERE name = ?1")?;
            let mut gone = Vec::new();
            for (name, published) in rows {
                match live(&name) {
                    Some(record) if published == 0 => drop(publish.execute(params![name.0, record as i64])?),
                    Some(_) => {}
                    // What no record names yet is its run's own.
                    None if published == 0 => {}
                    None => gone.push(name),
                }
            }
            remove_packs(transaction, &gone)?;
            set_number(transaction, POSITION, folded as i64)
        })
    }

    /// Removes packs and what is known of their frames.
    pub fn remove_places(&self, packs: &[ObjectHash]) -> Result<()> {
        if packs.is_empty() {
            return Ok(());
        }
        self.write(|transaction| remove_packs(transaction, packs))
    }

    /// Packs that a crashed run left unpublished.
    pub fn unpublished(&self) -> Result<Vec<ObjectHash>> {
        self.pack_names("SELECT name FROM packs WHERE published = 0")
    }

    /// Data packs whose content directories are not here.
    pub fn without_content(&self) -> Result<Vec<ObjectHash>> {
        self.pack_names("SELECT name FROM packs WHERE content = 0")
    }

    /// All packs known.
    pub fn known_packs(&self) -> Result<HashSet<ObjectHash>> {
        Ok(self.pack_names("SELECT name FROM packs")?.into_iter().collect())
    }

    fn pack_names(&self, sql: &str) -> Result<Vec<ObjectHash>> {
        let connection = self.lock();
        let read = || -> rusqlite::Result<Vec<ObjectHash>> {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| Ok(ObjectHash(row.get(0)?)))?;
            rows.collect()
        };
        read().map_err(self.error())
    }

    /// A pack by its row.
    pub fn pack(&self, row: PackRow) -> Result<Option<PackPlace>> {
        let connection = self.lock();
        read_pack(&connection, "id = ?1", params![row]).map_err(self.error())
    }

    /// A pack by its name.
    pub fn pack_by_name(&self, name: &ObjectHash) -> Result<Option<PackPlace>> {
        let connection = self.lock();
        read_pack(&connection, "name = ?1", params![name.0]).map_err(self.error())
    }

    /// The frames of a pack, in order.
    pub fn frames(&self, pack: PackRow) -> Result<Vec<FramePlace>> {
        let connection = self.lock();
        let read = || -> rusqlite::Result<Vec<FramePlace>> {
            let mut statement = connection.prepare_cached(
                "SELECT f.pack, f.place, f.offset, f.len, f.id FROM packs p JOIN frames f
                   ON f.id >= p.first_frame AND f.id < p.first_frame + p.frames WHERE p.id = ?1 ORDER BY f.id",
            )?;
            let rows = statement.query_map([pack], |row| read_frame(row, 0))?;
            rows.collect()
        };
        read().map_err(self.error())
    }

    /// All places that hold chunks of `block`, ascending by first chunk.
    pub fn block(&self, block: BlockId) -> Result<Vec<BlockPlace>> {
        let connection = self.lock();
        let read = || -> rusqlite::Result<Vec<BlockPlace>> {
            let mut statement = connection.prepare_cached(
                "SELECT b.first, b.count, f.pack, f.place, f.offset, f.len, f.id FROM blocks b
                   JOIN frames f ON f.id = b.frame WHERE b.run = ?1 AND b.number = ?2 ORDER BY b.first",
            )?;
            let rows = statement.query_map(params![block.run.0 as i64, block.number], |row| {
                let span = Reference { block, first: row.get(0)?, count: row.get(1)? };
                Ok(BlockPlace { span, frame: read_frame(row, 2)? })
            })?;
            rows.collect()
        };
        read().map_err(self.error())
    }

    /// The directory of a frame, if it is here.
    pub fn frame_directory(&self, row: FrameRow) -> Result<Option<FrameDirectory>> {
        let connection = self.lock();
        let bytes: Option<Option<Vec<u8>>> = connection
            .prepare_cached("SELECT directory FROM frames WHERE id = ?1")
            .and_then(|mut s| s.query_row([row], |row| row.get(0)).optional())
            .map_err(self.error())?;
        Ok(bytes.flatten().and_then(|b| FrameDirectory::decode(&mut Reader::new(&b)).ok()))
    }

    /// Where the meta node `id` is, everywhere it is.
    pub fn meta(&self, id: &ChunkId) -> Result<Vec<MetaPlace>> {
        let connection = self.lock();
        let read = || -> rusqlite::Result<Vec<MetaPlace>> {
            let mut statement = connection.prepare_cached(
                "SELECT m.place, f.directory, f.pack, f.place, f.offset, f.len, f.id FROM meta m
                   JOIN frames f ON f.id = m.frame WHERE m.prefix = ?1 ORDER BY m.frame",
            )?;
            let mut rows = statement.query([prefix(id)])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let place: usize = row.get::<_, u32>(0)? as usize;
                let bytes: Option<Vec<u8>> = row.get(1)?;
                let Some(directory) = bytes.and_then(|b| FrameDirectory::decode(&mut Reader::new(&b)).ok()) else {
                    continue;
                };
                if directory.chunks.get(place).is_some_and(|c| c.id == *id) {
                    found.push(MetaPlace { frame: read_frame(row, 2)?, directory: Arc::new(directory), place });
                }
            }
            Ok(found)
        };
        read().map_err(self.error())
    }
}

/// All or nothing: a pack whose frames are there and whose blocks are not would look like one that nothing needs.
fn remove_packs(transaction: &Transaction, packs: &[ObjectHash]) -> rusqlite::Result<()> {
    let frames = "SELECT f.id FROM frames f JOIN packs p
                    ON f.id >= p.first_frame AND f.id < p.first_frame + p.frames WHERE p.name = ?1";
    let of_frames = ["blocks WHERE frame", "meta WHERE frame", "frames WHERE id"];
    let mut statements: Vec<String> =
        of_frames.iter().map(|rows| format!("DELETE FROM {rows} IN ({frames})")).collect();
    statements.push("DELETE FROM packs WHERE name = ?1".to_owned());
    for sql in &statements {
        let mut statement = transaction.prepare_cached(sql)?;
        packs.iter().try_for_each(|pack| statement.execute(params![pack.0]).map(drop))?;
    }
    Ok(())
}

/// Rows of the pack and of its first frame, if it is there; it is published if `folded` says so.
fn known_pack(
    transaction: &Transaction,
    location: &PackLocation,
    folded: Option<u64>,
) -> rusqlite::Result<Option<(PackRow, FrameRow)>> {
    let known: Option<(PackRow, FrameRow)> = transaction
        .prepare_cached("SELECT id, first_frame FROM packs WHERE name = ?1")?
        .query_row(params![location.name.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let (Some((row, _)), Some(number)) = (known, folded) {
        let publish = "UPDATE packs SET published = ?2 WHERE id = ?1 AND published = 0";
        transaction.execute(publish, params![row, number as i64])?;
    }
    Ok(known)
}

fn add_pack(
    transaction: &Transaction,
    location: &PackLocation,
    folded: Option<u64>,
) -> rusqlite::Result<(PackRow, FrameRow)> {
    // No row is ever used twice: others may hold on to the row of a frame that is gone.
    let first_frame: FrameRow = transaction
        .prepare_cached("SELECT coalesce((SELECT value FROM stamp WHERE key = 'next_frame'), 1)")?
        .query_row([], |row| row.get(0))?;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO stamp(key, value) VALUES('next_frame', ?1)")?
        .execute([first_frame.nth(location.frames.len() as u32)])?;
    transaction
        .prepare_cached(
            "INSERT INTO packs(name, kind, run, len, directory_offset, directory_len, first_frame, frames,
               published, content) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0)",
        )?
        .execute(params![
            location.name.0,
            location.kind as i64,
            location.run.0 as i64,
            location.len as i64,
            location.place.offset as i64,
            location.place.len,
            first_frame,
            location.frames.len() as i64,
            folded.unwrap_or(0) as i64
        ])?;
    let pack = PackRow(transaction.last_insert_rowid());
    let mut add_frame = transaction
        .prepare_cached("INSERT INTO frames(id, pack, place, offset, len, base) VALUES(?1, ?2, ?3, ?4, ?5, ?6)")?;
    let mut add_block = transaction
        .prepare_cached("INSERT OR IGNORE INTO blocks(run, number, first, count, frame) VALUES(?1, ?2, ?3, ?4, ?5)")?;
    let mut offset = ENVELOPE_LEN as i64;
    for (n, frame) in location.frames.iter().enumerate() {
        let row = first_frame.nth(n as u32);
        let base = frame.base.map(|base| {
            let mut bytes = Vec::new();
            encode_spans(&[base], &mut bytes);
            bytes
        });
        add_frame.execute(params![row, pack, n as i64, offset, frame.sealed_len, base])?;
        offset += i64::from(frame.sealed_len);
        for span in &frame.spans {
            add_block.execute(params![span.block.run.0 as i64, span.block.number, span.first, span.count, row])?;
        }
    }
    Ok((pack, first_frame))
}

fn add_directory(
    transaction: &Transaction,
    kind: PackKind,
    frame: FrameRow,
    directory: &FrameDirectory,
) -> rusqlite::Result<()> {
    let mut bytes = Vec::new();
    directory.encode(&mut bytes);
    transaction.prepare_cached("UPDATE frames SET directory = ?1 WHERE id = ?2")?.execute(params![bytes, frame])?;
    if kind == PackKind::Meta {
        let mut add =
            transaction.prepare_cached("INSERT OR IGNORE INTO meta(prefix, frame, place) VALUES(?1, ?2, ?3)")?;
        for (place, chunk) in directory.chunks.iter().enumerate() {
            add.execute(params![prefix(&chunk.id), frame, place as i64])?;
        }
    }
    Ok(())
}

fn read_pack(
    connection: &Connection,
    condition: &str,
    values: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<Option<PackPlace>> {
    let sql = format!(
        "SELECT id, name, kind, run, len, directory_offset, directory_len, frames
           FROM packs WHERE {condition}"
    );
    connection
        .prepare_cached(&sql)?
        .query_row(values, |row| {
            Ok(PackPlace {
                row: row.get(0)?,
                name: ObjectHash(row.get(1)?),
                kind: if row.get::<_, i64>(2)? == 0 { PackKind::Data } else { PackKind::Meta },
                run: RunId(row.get::<_, i64>(3)? as u64),
                len: row.get::<_, i64>(4)? as u64,
                directory: DirectoryPlace { offset: row.get::<_, i64>(5)? as u64, len: row.get(6)? },
                frames: row.get(7)?,
            })
        })
        .optional()
}

fn read_frame(row: &rusqlite::Row, at: usize) -> rusqlite::Result<FramePlace> {
    Ok(FramePlace {
        pack: row.get(at)?,
        place: row.get(at + 1)?,
        offset: row.get::<_, i64>(at + 2)? as u64,
        len: row.get(at + 3)?,
        row: row.get(at + 4)?,
    })
}
