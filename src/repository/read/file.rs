//! Reading files: from the beginning to the end, or any part of one. Every chunk is checked before it is handed out.

use std::ops::ControlFlow;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::unsync::Cache;

use crate::cache::locations::FrameRow;
use crate::format::directory::ChunkEntry;
use crate::format::envelope::FormatError;
use crate::format::tree::{Content, DataRun, FileNode};
use crate::primitives::ids::{Extent, Reference};
use crate::repository::Repository;
use crate::repository::error::{RepositoryError, Result};

use super::frame::OpenFrame;
use super::locate::missing_block;

/// Opened frames held in memory, in bytes: the versions of a dump refer to a few hundred blocks in turn.
const FRAMES_LEN_MAX: u64 = 256 << 20;
/// About so many frames are that.
const FRAMES: usize = 256;

/// Reads files of one repository. Frames that were opened lately stay open.
pub struct FileReader<'a> {
    repository: &'a Repository,
    frames: Cache<FrameRow, Arc<OpenFrame>, PlaintextLen>,
}

/// Weighs a frame by what it takes in memory.
#[derive(Clone)]
struct PlaintextLen;

impl Weighter<FrameRow, Arc<OpenFrame>> for PlaintextLen {
    fn weight(&self, _: &FrameRow, frame: &Arc<OpenFrame>) -> u64 {
        frame.plaintext.len() as u64 + 1
    }
}

/// Consecutive chunks of a file that lie together in a frame.
pub struct Part {
    /// The frame.
    pub frame: Arc<OpenFrame>,
    first: usize,
    count: usize,
}

impl Part {
    /// Their bytes.
    pub fn bytes(&self) -> &[u8] {
        self.frame.chunks(self.first, self.first + self.count)
    }

    /// Their ids and lengths.
    pub fn entries(&self) -> &[ChunkEntry] {
        &self.frame.directory.chunks[self.first..self.first + self.count]
    }

    /// Each with its bytes.
    pub fn chunks(&self) -> impl Iterator<Item = (&ChunkEntry, &[u8])> {
        let numbers = self.first..self.first + self.count;
        numbers.map(|n| (&self.frame.directory.chunks[n], self.frame.chunks(n, n + 1)))
    }
}

impl<'a> FileReader<'a> {
    /// With no frame open.
    pub fn new(repository: &'a Repository) -> Self {
        Self { repository, frames: Cache::with_weighter(FRAMES, FRAMES_LEN_MAX, PlaintextLen) }
    }

    /// Hands out all parts of a content in order.
    pub fn for_each_part(&mut self, content: &Content, each: &mut dyn FnMut(&Part) -> Result<()>) -> Result<()> {
        self.repository.for_each_extent(content, &mut |extent| {
            self.parts(&extent, &mut |part| each(part).map(ControlFlow::Continue)).map(drop)
        })
    }

    /// Fills `buffer` with what the file has from `offset` on, holes as zeros. Returns how many bytes that are: fewer than
    /// asked for only at the end of the file.
    ///
    /// Each chunk is what its id says. That the chunks together are the content of the file is known only to who reads all.
    pub fn read_at(&mut self, file: &FileNode, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let len = file.size.saturating_sub(offset).min(buffer.len() as u64);
        let end = offset + len;
        let buffer = &mut buffer[..len as usize];
        buffer.fill(0);
        let whole = [DataRun { hole: 0, data: file.size }];
        let (mut at, mut stored) = (0u64, 0u64);
        for run in file.sparse.as_deref().unwrap_or(&whole) {
            let (from, to) = (at.saturating_add(run.hole), at.saturating_add(run.hole).saturating_add(run.data));
            let (wanted_from, wanted_to) = (from.max(offset), to.min(end));
            if wanted_from < wanted_to {
                let into = &mut buffer[(wanted_from - offset) as usize..(wanted_to - offset) as usize];
                self.read_stored(&file.content, stored + (wanted_from - from), into)?;
            }
            if to >= end {
                break;
            }
            (at, stored) = (to, stored.saturating_add(run.data));
        }
        Ok(len as usize)
    }

    /// Fills `into` with the stored bytes from `from` on.
    fn read_stored(&mut self, content: &Content, from: u64, into: &mut [u8]) -> Result<()> {
        let end = from + into.len() as u64;
        let mut filled = 0;
        self.repository.for_each_extent_from(content, from, &mut |start, extent| {
            let mut at = start;
            self.parts(&extent, &mut |part| {
                let bytes = part.bytes();
                let (part_from, part_to) = (at.max(from), (at + bytes.len() as u64).min(end));
                if part_from < part_to {
                    let taken = &bytes[(part_from - at) as usize..(part_to - at) as usize];
                    into[(part_from - from) as usize..(part_to - from) as usize].copy_from_slice(taken);
                    filled += taken.len();
                }
                at += bytes.len() as u64;
                Ok(if at >= end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })
        })?;
        match filled == into.len() {
            true => Ok(()),
            false => {
                let what = format!("a file ends after {} bytes", from + filled as u64);
                Err(RepositoryError::object("its content list")(FormatError::Malformed(what)))
            }
        }
    }

    /// The parts that an extent lies in: one, but after a prune it may be several.
    fn parts(
        &mut self,
        extent: &Extent,
        each: &mut dyn FnMut(&Part) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        let mut rest = extent.reference;
        while rest.count > 0 {
            let frame = self.frame(&rest)?;
            let (_, count) = frame.take(&rest).ok_or_else(|| missing_block(&rest))?;
            let first = frame.directory.position(rest.block, rest.first).ok_or_else(|| missing_block(&rest))?;
            if each(&Part { frame, first, count: count as usize })?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            rest.first += count;
            rest.count -= count;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The frame that holds the first chunk of `reference`, wherever it can be read.
    fn frame(&mut self, reference: &Reference) -> Result<Arc<OpenFrame>> {
        for place in self.repository.cache().block(reference.block)? {
            if let Some(frame) = self.frames.get(&place.frame.row).filter(|_| place.holds(reference.first)) {
                return Ok(frame.clone());
            }
        }
        let (place, frame) = self.repository.frame_of(reference, None)?;
        let frame = Arc::new(frame);
        self.frames.insert(place.row, frame.clone());
        Ok(frame)
    }
}
