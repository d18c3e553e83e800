//! Cutting content into chunks and computing their ids: the part of a backup that runs beside the rest.

use std::io;

use crate::chunking::Chunker;
use crate::compression::looks_compressible;
use crate::crypto::keys::DomainKeys;
use crate::primitives::ids::ChunkId;
use crate::repository::Repository;
use crate::repository::write::run::ChunkClass;

/// Content up to this length is one chunk: cutting it would cost more in ids than it could ever save.
const WHOLE_LEN_MAX: usize = 16 << 10;
/// Where the sample is taken by which the lane is chosen: behind the headers, which compress even where the
/// rest does not.
const SAMPLE_OFFSET: usize = 4 << 10;
const SAMPLE_LEN: usize = 16 << 10;
/// Bytes that a stream is read by, and about as many are handed on at once.
const GROUP_LEN: usize = 4 << 20;

/// One chunk of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Its id.
    pub id: ChunkId,
    /// Its length in bytes.
    pub len: u32,
}

/// Consecutive chunks and their bytes.
#[derive(Debug)]
pub struct Group {
    /// Which blocks they go to.
    pub class: ChunkClass,
    /// The chunks.
    pub pieces: Vec<Piece>,
    /// Their bytes.
    pub bytes: Vec<u8>,
}

/// Cuts and names chunks for one repository.
#[derive(Debug, Clone)]
pub struct Cutter {
    fine: Chunker,
    coarse: Chunker,
    keys: DomainKeys,
}

impl Cutter {
    /// With the repository's keys and sizes.
    pub fn new(repository: &Repository) -> Self {
        let (table, sizes) = (repository.gear_table(), repository.config.parameters);
        Self {
            fine: Chunker::new(table.clone(), sizes.fine.into()),
            coarse: Chunker::new(table, sizes.coarse.into()),
            keys: repository.domain_keys().clone(),
        }
    }

    /// Which blocks content that begins like this goes to.
    fn class(start: &[u8]) -> ChunkClass {
        let Some(sample) = start.get(SAMPLE_OFFSET..).filter(|s| s.len() > SAMPLE_LEN / 2) else {
            return ChunkClass::Fine;
        };
        match looks_compressible(&sample[..sample.len().min(SAMPLE_LEN)]) {
            true => ChunkClass::Fine,
            false => ChunkClass::Coarse,
        }
    }

    fn chunker(&self, class: ChunkClass) -> &Chunker {
        match class {
            ChunkClass::Fine => &self.fine,
            ChunkClass::Coarse => &self.coarse,
        }
    }

    fn piece(&self, bytes: &[u8]) -> Piece {
        Piece { id: self.keys.chunk(bytes), len: bytes.len() as u32 }
    }

    /// Cuts content that is all here.
    pub fn cut_whole(&self, bytes: &[u8], pieces: &mut Vec<Piece>) -> ChunkClass {
        let class = Self::class(bytes);
        if bytes.len() <= WHOLE_LEN_MAX {
            if !bytes.is_empty() {
                pieces.push(self.piece(bytes));
            }
            return class;
        }
        let chunker = self.chunker(class);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(chunker.cut(rest));
            pieces.push(self.piece(chunk));
            rest = after;
        }
        class
    }

    /// Cuts content as it is read, and hands it to `emit` in groups; cut exactly as [`Cutter::cut_whole`] would.
    ///
    /// `read` fills what it is given as far as it can; 0 is the end. Stops early when `emit` returns false.
    pub fn cut_stream(
        &self,
        read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
        emit: &mut dyn FnMut(Group) -> bool,
    ) -> io::Result<()> {
        let largest = self.coarse.sizes().max.max(self.fine.sizes().max) as usize;
        let mut buffer: Vec<u8> = Vec::new();
        let mut class = None;
        loop {
            let have = buffer.len();
            let want = largest + GROUP_LEN;
            buffer.resize(want.max(have), 0);
            let mut filled = have;
            let mut ended = false;
            while filled < buffer.len() && !ended {
                let n = read(&mut buffer[filled..])?;
                filled += n;
                ended = n == 0;
            }
            buffer.truncate(filled);
            let mut pieces = Vec::new();
            if class.is_none() && ended {
                let class = self.cut_whole(&buffer, &mut pieces);
                emit(Group { class, pieces, bytes: buffer });
                return Ok(());
            }
            let class = *class.get_or_insert_with(|| Self::class(&buffer));
            let chunker = self.chunker(class);
            let mut at = 0;
            // Short of the end a chunk is cut only if the largest one would fit.
            while at < buffer.len() && (ended || buffer.len() - at >= chunker.sizes().max as usize) {
                let end = at + chunker.cut(&buffer[at..]);
                pieces.push(self.piece(&buffer[at..end]));
                at = end;
            }
            let rest = buffer.split_off(at);
            if !emit(Group { class, pieces, bytes: buffer }) || ended {
                return Ok(());
            }
            buffer = rest;
        }
    }
}
