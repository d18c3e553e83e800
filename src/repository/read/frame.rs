//! Reading blocks and nodes: fetch, open, decompress, and recompute every id before a byte is believed.

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::format::directory::{ChunkEntry, FrameDirectory, PackDirectory};
use crate::format::envelope::{ENVELOPE_LEN, FormatError};
use crate::format::names;
use crate::format::pack::{CompressedFrame, DirectoryPlace, PackReader, TRAILER_LEN};
use crate::format::segment::PackSummary;
use crate::format::state::PackState;
use crate::primitives::ids::{ChunkId, ObjectHash, Reference};
use crate::store::StoreError;

use crate::cache::locations::{BlockPlace, FramePlace, FrameRow, MetaPlace, PackPlace, PackRow};
use crate::repository::Repository;
use crate::repository::dedup::is_dead;
use crate::repository::error::{RepositoryError, Result};
use crate::repository::index_sync::OVERTAKEN_MAX;

use super::locate::missing_block;

/// Frames of nodes that are read at once from a server.
const META_WINDOW: u32 = 16;
/// Opened frames of meta packs held in memory, in bytes of plaintext.
const FRAMES_LEN_MAX: u64 = 64 << 20;
/// Opened packs (key and directory) held in memory, in bytes.
const PACKS_LEN_MAX: u64 = 64 << 20;
/// How many of each fit, roughly.
const ITEMS_EXPECTED: usize = 1024;

/// A pack whose key was found and whose directory was read.
pub struct OpenPack {
    /// Where it is.
    pub place: PackPlace,
    /// Name of the object.
    pub object: String,
    /// Its directory.
    pub directory: PackDirectory,
    reader: PackReader,
    /// Offset of each frame.
    offsets: Vec<u64>,
}

/// A frame's plaintext and what it holds; every id was recomputed.
#[derive(Debug)]
pub struct OpenFrame {
    /// Its directory.
    pub directory: FrameDirectory,
    /// Its chunks, one after the other.
    pub plaintext: Vec<u8>,
    /// Offset of each chunk, and the end.
    offsets: Vec<u32>,
}

impl OpenFrame {
    /// The bytes of chunks `from..to` of the frame.
    pub fn chunks(&self, from: usize, to: usize) -> &[u8] {
        &self.plaintext[self.offsets[from] as usize..self.offsets[to] as usize]
    }

    /// The first `count` chunks of `reference`, in order.
    pub fn entries(&self, reference: &Reference, count: u32) -> Option<&[ChunkEntry]> {
        self.directory.entries(&Reference { count, ..*reference })
    }

    /// The bytes of those chunks of `reference` that the frame holds in one piece starting at its first one,
    /// and how many chunks that is.
    pub fn take(&self, reference: &Reference) -> Option<(&[u8], u32)> {
        let at = self.directory.position(reference.block, reference.first)?;
        let mut before = 0usize;
        for span in &self.directory.spans {
            let end = before + span.count as usize;
            if at < end {
                let count = (reference.count as usize).min(end - at);
                return Some((self.chunks(at, at + count), count as u32));
            }
            before = end;
        }
        None
    }
}

/// What was opened lately. Two threads that want the same pack open it once.
pub struct ReadCache {
    packs: Cache<PackRow, Arc<OpenPack>, Weight>,
    frames: Cache<FrameRow, Arc<OpenFrame>, Weight>,
}

impl Default for ReadCache {
    fn default() -> Self {
        Self {
            packs: Cache::with_weighter(ITEMS_EXPECTED, PACKS_LEN_MAX, Weight),
            frames: Cache::with_weighter(ITEMS_EXPECTED, FRAMES_LEN_MAX, Weight),
        }
    }
}

impl std::fmt::Debug for ReadCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReadCache(..)")
    }
}

/// What an opened thing takes in memory, in bytes.
#[derive(Clone)]
struct Weight;

impl Weighter<PackRow, Arc<OpenPack>> for Weight {
    fn weight(&self, _: &PackRow, pack: &Arc<OpenPack>) -> u64 {
        pack.weight() as u64
    }
}

impl Weighter<FrameRow, Arc<OpenFrame>> for Weight {
    fn weight(&self, _: &FrameRow, frame: &Arc<OpenFrame>) -> u64 {
        frame.plaintext.len() as u64
    }
}

impl Repository {
    /// Reads, and once more what does not open: a line, a proxy or a memory may have changed one answer, and nothing is
    /// called damaged for that.
    pub(crate) fn twice<T>(&self, read: impl Fn() -> Result<T>) -> Result<T> {
        match read() {
            Err(RepositoryError::Damaged { name, .. }) => {
                let again = read();
                match &again {
                    Ok(_) => self.note_unsteady(&name),
                    Err(RepositoryError::Damaged { name, .. }) => self.note_suspect(name),
                    Err(_) => {}
                }
                again
            }
            found => found,
        }
    }

    /// The frame that holds the first chunk of `reference`, and where it was read: every place but those in the pack
    /// `not_in` is tried before it is called damaged or missing.
    pub fn frame_of(&self, reference: &Reference, not_in: Option<PackRow>) -> Result<(FramePlace, OpenFrame)> {
        match self.where_it_is_now(|| self.frame_as_known(reference, not_in, true)) {
            Err(e) if e.is_missing() => {
                // The next backup looks what else is missing.
                let _ = self.distrust_listing();
                Err(e)
            }
            found => found,
        }
    }

    fn frame_as_known(
        &self,
        reference: &Reference,
        not_in: Option<PackRow>,
        may_have_base: bool,
    ) -> Result<(FramePlace, OpenFrame)> {
        self.at_each_location(reference, |BlockPlace { frame: place, .. }| {
            if Some(place.pack) == not_in {
                return Ok(None);
            }
            let pack = self.open_pack(place.pack)?;
            let directory = pack.directory.frames.get(place.place as usize);
            if !may_have_base && directory.is_some_and(|f| f.base.is_some()) {
                return Err(pack.damaged(FormatError::Malformed("a base has a base".to_owned())));
            }
            let frame = self.read_frame(&pack, place.place)?;
            Ok(frame.take(reference).is_some().then_some((*place, frame)))
        })
    }

    /// The bytes of a tree or list node. Every place it is at is tried before it is called damaged or missing.
    pub fn node(&self, id: &ChunkId) -> Result<Bytes> {
        self.where_it_is_now(|| self.node_as_known(id))
    }

    /// Calls `read` again as long as what it wants is missing and others have gone on since: a prune may have moved it, and
    /// another one may have moved it once more.
    pub fn where_it_is_now<T>(&self, mut read: impl FnMut() -> Result<T>) -> Result<T> {
        for _ in 1..OVERTAKEN_MAX {
            let before = self.state().number;
            match read() {
                Err(e) if e.is_missing() && self.refresh_by_name()?.number != before => {}
                Err(e) if self.has_come_back(&e)? => {}
                found => return found,
            }
        }
        read()
    }

    /// Whether the object that one answer called missing is there: a server under load may say so of what it has.
    fn has_come_back(&self, error: &RepositoryError) -> Result<bool> {
        let RepositoryError::Store(StoreError::Missing { name }) = error else { return Ok(false) };
        let is_there = self.store.is_remote() && self.is_there(name)?;
        if is_there {
            self.note_unsteady(name);
        }
        Ok(is_there)
    }

    fn node_as_known(&self, id: &ChunkId) -> Result<Bytes> {
        self.at_each_location_of_node(id, |place| place.frame.row, |place| self.node_at(place).map(Some))
    }

    /// The bytes of the node that is at this place.
    pub fn node_at(&self, place: &MetaPlace) -> Result<Bytes> {
        let frame = self.meta_frame(place.frame, &place.directory)?;
        Ok(Bytes::copy_from_slice(frame.chunks(place.place, place.place + 1)))
    }

    /// Whether the node is stored where this writer may refer to it. One that was found dead is none to begin with,
    /// but whoever refers to it already may go on: it stays while that run is open.
    pub fn node_is_usable(&self, id: &ChunkId, referred: bool) -> Result<bool> {
        let state = self.state();
        for place in self.cache.meta(id)? {
            let Some(pack) = self.cache.pack(place.frame.pack)? else { continue };
            let dead = || {
                let found = place.directory.places().nth(place.place);
                !referred && found.is_some_and(|(block, number)| is_dead(&state, &pack.name, block, number))
            };
            if self.may_deduplicate(&state, &pack.name) && !dead() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn meta_frame(&self, place: FramePlace, directory: &FrameDirectory) -> Result<Arc<OpenFrame>> {
        let pack = self.open_pack(place.pack)?;
        let frame = self.read_cache.frames.get_or_insert_with(&place.row, || match self.store.is_remote() {
            true => self.read_meta_window(&pack, place),
            false => Ok(Arc::new(self.read_frame(&pack, place.place)?)),
        })?;
        if frame.directory.chunks != directory.chunks {
            // The ids that led here are not those of the pack itself.
            return Err(pack.damaged(FormatError::Malformed("its directory differs from the segment's".to_owned())));
        }
        Ok(frame)
    }

    /// Reads a frame of nodes together with its neighbours: where a request costs a journey, one brings what the next
    /// ones would ask for.
    fn read_meta_window(&self, pack: &OpenPack, place: FramePlace) -> Result<Arc<OpenFrame>> {
        let first = place.place - place.place % META_WINDOW;
        let end = (first + META_WINDOW).min(pack.directory.frames.len() as u32).max(place.place + 1);
        let range = pack.range(first, end)?;
        let sealed = self.store.get_range(&pack.object, range.clone())?;
        let mut wanted = None;
        for number in first..end {
            let of_frame = pack.range(number, number + 1)?;
            let bytes = sealed.slice((of_frame.start - range.start) as usize..(of_frame.end - range.start) as usize);
            match self.open_frame(pack, number, bytes.to_vec()) {
                Ok(frame) if number == place.place => wanted = Some(Arc::new(frame)),
                Ok(frame) => {
                    // Rows of the frames of a pack follow each other.
                    let row = FrameRow(place.row.0 - i64::from(place.place)).nth(number);
                    self.read_cache.frames.insert(row, Arc::new(frame));
                }
                Err(e) if number == place.place => return Err(e),
                // Whoever needs it will be told.
                Err(_) => {}
            }
        }
        wanted.ok_or_else(|| pack.no_frame(place.place))
    }

    /// Opens a pack of the cache: finds its key and reads its directory.
    pub fn open_pack(&self, row: PackRow) -> Result<Arc<OpenPack>> {
        self.read_cache.packs.get_or_insert_with(&row, || {
            let missing = || RepositoryError::Missing { name: format!("a pack of the cache ({row})") };
            let place = self.cache.pack(row)?.ok_or_else(missing)?;
            Ok(Arc::new(self.open_pack_at(place)?))
        })
    }

    fn open_pack_at(&self, place: PackPlace) -> Result<OpenPack> {
        let object = names::pack(place.kind, place.run, &place.name);
        let (reader, directory) = self.twice(|| {
            let envelope = self.store.get_range(&object, 0..ENVELOPE_LEN as u64)?;
            let at = place.directory.offset;
            let sealed = self.store.get_range(&object, at..at.saturating_add(u64::from(place.directory.len)))?;
            let open = || {
                let reader = PackReader::new(place.kind, &envelope, |e| self.keys.secret(e))?;
                let directory = reader.directory(&sealed, place.directory)?;
                Ok((reader, directory))
            };
            open().map_err(RepositoryError::object(&object))
        })?;
        Ok(OpenPack::new(place, object, reader, directory))
    }

    /// Opens a whole pack that is in memory, from its own trailer.
    pub fn open_pack_bytes(&self, place: PackPlace, bytes: &[u8]) -> Result<OpenPack> {
        let object = names::pack(place.kind, place.run, &place.name);
        let open = || {
            let reader = PackReader::new(place.kind, bytes, |e| self.keys.secret(e))?;
            let short = || FormatError::Malformed("it is cut short".to_owned());
            let at = bytes.len().checked_sub(crate::format::pack::TRAILER_LEN).ok_or_else(short)?;
            let found = reader.trailer(&bytes[at..], bytes.len() as u64)?;
            let start = found.offset as usize;
            let directory = reader.directory(&bytes[start..start + found.len as usize], found)?;
            Ok((reader, directory))
        };
        let (reader, directory) = open().map_err(RepositoryError::object(&object))?;
        Ok(OpenPack::new(place, object, reader, directory))
    }

    /// Opens a pack of which not everything can be read: its directory is taken from the cache.
    pub fn open_pack_as_known(&self, row: PackRow) -> Result<OpenPack> {
        let missing = || RepositoryError::Missing { name: format!("a pack of the cache ({row})") };
        let place = self.cache.pack(row)?.ok_or_else(missing)?;
        let object = names::pack(place.kind, place.run, &place.name);
        let mut directory = PackDirectory::default();
        for frame in self.cache.frames(row)? {
            directory.frames.push(self.cache.frame_directory(frame.row)?.ok_or_else(missing)?);
        }
        let envelope = self.store.get_range(&object, 0..ENVELOPE_LEN as u64)?;
        let reader = PackReader::new(place.kind, &envelope, |e| self.keys.secret(e));
        let reader = reader.map_err(RepositoryError::object(&object))?;
        Ok(OpenPack::new(place, object, reader, directory))
    }

    /// All that a segment would say of a pack, read from the pack itself.
    pub fn summary_of_pack(&self, name: &ObjectHash, pack: &PackState) -> Result<PackSummary> {
        let object = names::pack(pack.kind, pack.run, name);
        let bytes = self.get(&object)?;
        if ObjectHash(*blake3::hash(&bytes).as_bytes()) != *name {
            return Err(RepositoryError::object(&object)(FormatError::Checksum));
        }
        let (kind, run, len) = (pack.kind, pack.run, pack.len);
        let place = PackPlace {
            row: PackRow(0),
            name: *name,
            kind,
            run,
            len,
            directory: DirectoryPlace { offset: 0, len: 0 },
            frames: 0,
        };
        let directory = self.open_pack_bytes(place, &bytes)?.directory;
        let frames: u64 = directory.frames.iter().map(|f| u64::from(f.sealed_len)).sum();
        let offset = ENVELOPE_LEN as u64 + frames;
        let place = DirectoryPlace { offset, len: (len - TRAILER_LEN as u64 - offset) as u32 };
        Ok(PackSummary { name: *name, kind, run, len, place, directory })
    }

    /// Fetches and opens one frame.
    pub fn read_frame(&self, pack: &OpenPack, number: u32) -> Result<OpenFrame> {
        let range = pack.range(number, number + 1)?;
        let sealed = self.store.get_range(&pack.object, range)?;
        self.open_frame(pack, number, sealed.to_vec())
    }

    /// Opens a frame whose sealed bytes are here; recomputes every chunk id. What does not open is fetched once more.
    pub fn open_frame(&self, pack: &OpenPack, number: u32, sealed: Vec<u8>) -> Result<OpenFrame> {
        Ok(self.open_fetched(pack, number, sealed)?.0)
    }

    fn open_fetched(&self, pack: &OpenPack, number: u32, sealed: Vec<u8>) -> Result<(OpenFrame, Vec<u8>)> {
        let first = std::cell::Cell::new(Some(sealed));
        self.twice(|| {
            let sealed = match first.take() {
                Some(sealed) => sealed,
                None => self.store.get_range(&pack.object, pack.range(number, number + 1)?)?.to_vec(),
            };
            let compressed = pack.compressed(number, sealed)?;
            Ok((self.open_compressed(pack, number, compressed.clone())?, compressed))
        })
    }

    /// As [`Repository::open_frame`], and also hands out the frame as it was compressed: it can be sealed anew, unless
    /// it needs a base.
    pub fn open_frame_again(
        &self,
        pack: &OpenPack,
        number: u32,
        sealed: Vec<u8>,
    ) -> Result<(OpenFrame, Option<CompressedFrame>)> {
        let (frame, bytes) = self.open_fetched(pack, number, sealed)?;
        let FrameDirectory { codec, base, spans, chunks, .. } = frame.directory.clone();
        Ok((frame, base.is_none().then_some(CompressedFrame { spans, chunks, codec, bytes })))
    }

    fn open_compressed(&self, pack: &OpenPack, number: u32, compressed: Vec<u8>) -> Result<OpenFrame> {
        let directory = pack.directory.frames.get(number as usize).ok_or_else(|| pack.no_frame(number))?;
        let prefix = match &directory.base {
            Some(base) => self.content(base)?,
            None => Vec::new(),
        };
        let plaintext =
            PackReader::plaintext(compressed, directory, &prefix).map_err(RepositoryError::object(&pack.object))?;
        let mut offsets = Vec::with_capacity(directory.chunks.len() + 1);
        let mut at = 0u32;
        for chunk in &directory.chunks {
            offsets.push(at);
            let end = at + chunk.len;
            if self.keys.domain_keys.chunk(&plaintext[at as usize..end as usize]) != chunk.id {
                let what = format!("chunk {} of frame {number} is not what its id says", offsets.len() - 1);
                return Err(pack.damaged(FormatError::Malformed(what)));
            }
            at = end;
        }
        offsets.push(at);
        Ok(OpenFrame { directory: directory.clone(), plaintext, offsets })
    }

    /// The bytes of a reference, for a base: small, and rarely needed.
    fn content(&self, reference: &Reference) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut rest = *reference;
        while rest.count > 0 {
            let (_, frame) = self.frame_as_known(&rest, None, false)?;
            let (bytes, count) = frame.take(&rest).ok_or_else(|| missing_block(&rest))?;
            out.extend_from_slice(bytes);
            rest.first += count;
            rest.count -= count;
        }
        Ok(out)
    }
}

impl OpenPack {
    fn new(place: PackPlace, object: String, reader: PackReader, directory: PackDirectory) -> Self {
        let mut offsets = vec![ENVELOPE_LEN as u64];
        for frame in &directory.frames {
            offsets.push(offsets[offsets.len() - 1] + u64::from(frame.sealed_len));
        }
        Self { place, object, directory, reader, offsets }
    }

    /// Bytes that it takes in memory, about.
    fn weight(&self) -> usize {
        1024 + self.directory.frames.len() * 160 + self.directory.chunks() * size_of::<ChunkEntry>()
    }

    /// The bytes of frames `from..to` in the object.
    pub fn range(&self, from: u32, to: u32) -> Result<std::ops::Range<u64>> {
        match (self.offsets.get(from as usize), self.offsets.get(to as usize)) {
            (Some(start), Some(end)) => Ok(*start..*end),
            _ => Err(self.no_frame(to)),
        }
    }

    fn compressed(&self, number: u32, sealed: Vec<u8>) -> Result<Vec<u8>> {
        self.reader.compressed(number, sealed).map_err(RepositoryError::object(&self.object))
    }

    fn no_frame(&self, number: u32) -> RepositoryError {
        self.damaged(FormatError::Malformed(format!("it has no frame {number}")))
    }

    fn damaged(&self, cause: FormatError) -> RepositoryError {
        RepositoryError::object(&self.object)(cause)
    }
}
