//! Going through all that is known of where blocks and nodes are, a row at a time: for marking and planning.

use rusqlite::{Row, params};

use crate::format::directory::{FrameDirectory, decode_spans};
use crate::format::names::PackKind;
use crate::primitives::codec::Reader;
use crate::primitives::ids::{BlockId, Reference, RunId};

use super::Cache;
use super::error::{CacheError, Result};
use super::locations::{BlockPlace, FramePlace, FrameRow, PackRow};

impl Cache {
    /// Hands every block of content with all its places to `each`, block by block.
    pub fn each_block<E: From<CacheError>>(
        &self,
        mut each: impl FnMut(BlockId, &[BlockPlace]) -> Result<(), E>,
    ) -> Result<(), E> {
        let connection = self.scanner()?;
        let error = self.error();
        let mut statement = connection
            .prepare(
                "SELECT b.run, b.number, b.first, b.count, f.pack, f.place, f.offset, f.len, f.id
                   FROM blocks b JOIN frames f ON f.id = b.frame JOIN packs p ON p.id = f.pack
                   WHERE p.kind = ?1 ORDER BY b.run, b.number, b.first",
            )
            .map_err(&error)?;
        let mut rows = statement.query([PackKind::Data as i64]).map_err(&error)?;
        let mut group: Vec<BlockPlace> = Vec::new();
        while let Some(row) = rows.next().map_err(&error)? {
            let place = block_place(row).map_err(&error)?;
            if group.first().is_some_and(|first| first.span.block != place.span.block) {
                each(group[0].span.block, &group)?;
                group.clear();
            }
            group.push(place);
        }
        match group.first() {
            Some(first) => each(first.span.block, &group),
            None => Ok(()),
        }
    }

    /// Hands every frame of nodes with its directory to `each`: row of the pack, row of the frame.
    pub fn each_meta_frame<E: From<CacheError>>(
        &self,
        mut each: impl FnMut(PackRow, FrameRow, &FrameDirectory) -> Result<(), E>,
    ) -> Result<(), E> {
        let connection = self.scanner()?;
        let error = self.error();
        let mut statement = connection
            .prepare(
                "SELECT f.pack, f.id, f.directory FROM packs p JOIN frames f
                   ON f.id >= p.first_frame AND f.id < p.first_frame + p.frames WHERE p.kind = ?1 ORDER BY f.id",
            )
            .map_err(&error)?;
        let mut rows = statement.query([PackKind::Meta as i64]).map_err(&error)?;
        while let Some(row) = rows.next().map_err(&error)? {
            let read = || -> rusqlite::Result<(PackRow, FrameRow, Option<Vec<u8>>)> {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            };
            let (pack, frame, bytes) = read().map_err(&error)?;
            let directory = bytes.and_then(|b| FrameDirectory::decode(&mut Reader::new(&b)).ok());
            match directory {
                Some(directory) => each(pack, frame, &directory)?,
                None => return Err(CacheError::Damaged { path: self.path.clone() }.into()),
            }
        }
        Ok(())
    }

    /// The frames that were compressed against a base, and the base of each.
    pub fn based_frames(&self) -> Result<Vec<(FrameRow, Reference)>> {
        let connection = self.lock();
        let read = || -> rusqlite::Result<Vec<(FrameRow, Vec<u8>)>> {
            let mut statement =
                connection.prepare_cached("SELECT id, base FROM frames WHERE base IS NOT NULL ORDER BY id")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let rows = read().map_err(self.error())?;
        let decode = |(row, bytes): (FrameRow, Vec<u8>)| {
            let spans = decode_spans(&mut Reader::new(&bytes)).ok()?.0;
            Some((row, *spans.first()?))
        };
        Ok(rows.into_iter().filter_map(decode).collect())
    }

    /// What a frame holds of which blocks, in no order.
    pub fn spans(&self, frame: FrameRow) -> Result<Vec<Reference>> {
        let connection = self.lock();
        let read = || -> rusqlite::Result<Vec<Reference>> {
            let mut statement =
                connection.prepare_cached("SELECT run, number, first, count FROM blocks WHERE frame = ?1")?;
            statement.query_map([frame], span)?.collect()
        };
        read().map_err(self.error())
    }

    /// What a pack holds of which blocks, frame by frame.
    pub fn pack_spans(&self, pack: PackRow) -> Result<Vec<BlockPlace>> {
        let connection = self.lock();
        let read = || -> rusqlite::Result<Vec<BlockPlace>> {
            let mut statement = connection.prepare_cached(
                "SELECT b.run, b.number, b.first, b.count, f.pack, f.place, f.offset, f.len, f.id
                   FROM packs p JOIN frames f ON f.id >= p.first_frame AND f.id < p.first_frame + p.frames
                   JOIN blocks b ON b.frame = f.id WHERE p.id = ?1 ORDER BY f.id, b.run, b.number, b.first",
            )?;
            statement.query_map(params![pack], block_place)?.collect()
        };
        read().map_err(self.error())
    }
}

fn span(row: &Row) -> rusqlite::Result<Reference> {
    let block = BlockId { run: RunId(row.get::<_, i64>(0)? as u64), number: row.get(1)? };
    Ok(Reference { block, first: row.get(2)?, count: row.get(3)? })
}

fn block_place(row: &Row) -> rusqlite::Result<BlockPlace> {
    let frame = FramePlace {
        pack: row.get(4)?,
        place: row.get(5)?,
        offset: row.get::<_, i64>(6)? as u64,
        len: row.get(7)?,
        row: row.get(8)?,
    };
    Ok(BlockPlace { span: span(row)?, frame })
}
