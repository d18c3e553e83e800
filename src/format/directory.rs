//! Directories: which chunks of which blocks a frame holds, in what order and how long.
//!
//! A frame is what is compressed and sealed as one: a block as it was written or, after a prune, the
//! surviving chunks of several blocks. Its directory stands at the end of its pack and again in a segment.

use crate::compression::Codec;
use crate::primitives::codec::{BLOCK_CHUNKS_MAX, CodecError, Reader, Write};
use crate::primitives::ids::{BlockId, ChunkId, Reference};

/// Chunks in one frame at the most: bounds what a hostile directory can make a reader allocate.
pub const FRAME_CHUNKS_MAX: usize = BLOCK_CHUNKS_MAX as usize;
/// Length of a frame, decompressed, in bytes at the most.
pub const FRAME_LEN_MAX: u32 = 64 << 20;

/// A chunk within a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Its id.
    pub id: ChunkId,
    /// Its length in bytes.
    pub len: u32,
}

/// The directory of one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameDirectory {
    /// Length of the sealed frame in the pack, in bytes.
    pub sealed_len: u32,
    /// How it is compressed.
    pub codec: Codec,
    /// What it was compressed against, if anything: its bytes are the zstd prefix.
    pub base: Option<Reference>,
    /// Spans of blocks, in the order of the chunks.
    pub spans: Vec<Reference>,
    /// The chunks, one after the other.
    pub chunks: Vec<ChunkEntry>,
}

impl FrameDirectory {
    /// Length of the frame when it is decompressed.
    pub fn raw_len(&self) -> u64 {
        self.chunks.iter().map(|c| u64::from(c.len)).sum()
    }

    /// Index within `chunks` of chunk `number` of `block`, if the frame holds it.
    pub fn position(&self, block: BlockId, number: u32) -> Option<usize> {
        let mut before = 0;
        for span in &self.spans {
            if span.block == block && (span.first..span.end()).contains(&number) {
                return Some(before + (number - span.first) as usize);
            }
            before += span.count as usize;
        }
        None
    }

    /// The chunks of a reference, if the frame holds them in a row.
    pub fn entries(&self, reference: &Reference) -> Option<&[ChunkEntry]> {
        let at = self.position(reference.block, reference.first)?;
        self.chunks.get(at..at.checked_add(reference.count as usize)?)
    }

    /// Block and number of each chunk, in order.
    pub fn places(&self) -> impl Iterator<Item = (BlockId, u32)> + '_ {
        self.spans.iter().flat_map(|s| (s.first..s.end()).map(move |n| (s.block, n)))
    }

    /// Appends the directory.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.varint(u64::from(self.sealed_len));
        let codec = match self.codec {
            Codec::Stored => 0,
            Codec::Zstd => 1,
        };
        out.u8(codec | if self.base.is_some() { 0x80 } else { 0 });
        if let Some(base) = &self.base {
            out.block_id(base.block);
            out.reference_into(base);
        }
        encode_spans(&self.spans, out);
        self.chunks.iter().for_each(|c| out.varint(u64::from(c.len)));
        self.chunks.iter().for_each(|c| out.raw(&c.id.0));
    }

    /// Reads a directory.
    pub fn decode(r: &mut Reader) -> Result<Self, CodecError> {
        let sealed_len = r.varint32("length of a frame")?;
        let flags = r.u8()?;
        let codec = match flags & 0x7f {
            0 => Codec::Stored,
            1 => Codec::Zstd,
            _ => return Err(r.invalid("codec")),
        };
        let base = match flags & 0x80 {
            0 => None,
            _ => {
                let block = r.block_id()?;
                Some(r.reference_into(block)?)
            }
        };
        let (spans, chunks_count) = decode_spans(r)?;
        if chunks_count.saturating_mul(1 + ChunkId::LEN) > r.left() {
            return Err(r.invalid("number of chunks"));
        }
        let mut lens = Vec::with_capacity(chunks_count);
        for _ in 0..chunks_count {
            lens.push(r.varint32("length of a chunk")?);
        }
        if lens.iter().map(|&l| u64::from(l)).sum::<u64>() > u64::from(FRAME_LEN_MAX) {
            return Err(r.invalid("length of a frame"));
        }
        let mut chunks = Vec::with_capacity(chunks_count);
        for len in lens {
            chunks.push(ChunkEntry { id: r.chunk_id()?, len });
        }
        Ok(Self { sealed_len, codec, base, spans, chunks })
    }
}

/// Appends a counted list of spans.
pub fn encode_spans(spans: &[Reference], out: &mut Vec<u8>) {
    out.varint(spans.len() as u64);
    for span in spans {
        out.block_id(span.block);
        out.reference_into(span);
    }
}

/// Reads what [`encode_spans`] wrote, and how many chunks the spans have together.
pub fn decode_spans(r: &mut Reader) -> Result<(Vec<Reference>, usize), CodecError> {
    let n = r.count(4)?;
    let mut spans = Vec::with_capacity(n);
    let mut chunks = 0usize;
    for _ in 0..n {
        let block = r.block_id()?;
        let span = r.reference_into(block)?;
        chunks = chunks.saturating_add(span.count as usize);
        spans.push(span);
    }
    if chunks > FRAME_CHUNKS_MAX {
        return Err(r.invalid("number of chunks"));
    }
    Ok((spans, chunks))
}

/// The directories of all frames of a pack, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PackDirectory {
    /// One per frame.
    pub frames: Vec<FrameDirectory>,
}

impl PackDirectory {
    /// Appends the directory.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.varint(self.frames.len() as u64);
        self.frames.iter().for_each(|f| f.encode(out));
    }

    /// Reads a directory; what follows it is left to the caller.
    pub fn decode(r: &mut Reader) -> Result<Self, CodecError> {
        let n = r.count(4)?;
        let frames = (0..n).map(|_| FrameDirectory::decode(r)).collect::<Result<_, _>>()?;
        Ok(Self { frames })
    }

    /// How many chunks the pack holds.
    pub fn chunks(&self) -> usize {
        self.frames.iter().map(|f| f.chunks.len()).sum()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::primitives::ids::RunId;

    pub(crate) fn span(run: u64, number: u32, first: u32, count: u32) -> Reference {
        Reference { block: BlockId { run: RunId(run), number }, first, count }
    }

    pub(crate) fn sample() -> PackDirectory {
        let chunk = |n: u8| ChunkEntry { id: ChunkId([n; 16]), len: 100 + u32::from(n) };
        let whole = FrameDirectory {
            sealed_len: 400,
            codec: Codec::Zstd,
            base: None,
            spans: vec![span(3, 0, 0, 3)],
            chunks: vec![chunk(1), chunk(2), chunk(3)],
        };
        let remnants = FrameDirectory {
            sealed_len: 300,
            codec: Codec::Stored,
            base: Some(span(1, 2, 3, 4)),
            spans: vec![span(1, 7, 5, 1), span(2, 7, 0, 1)],
            chunks: vec![chunk(4), chunk(5)],
        };
        PackDirectory { frames: vec![whole, remnants] }
    }

    #[test]
    fn a_directory_comes_back() {
        let mut out = vec![];
        sample().encode(&mut out);
        let mut r = Reader::new(&out);
        assert_eq!(PackDirectory::decode(&mut r), Ok(sample()));
        assert!(r.end().is_ok());
        for n in 0..out.len() {
            assert!(PackDirectory::decode(&mut Reader::new(&out[..n])).is_err());
        }
    }

    #[test]
    fn chunks_are_found_by_block_and_number_across_holes() {
        let frame = &sample().frames[1];
        let block = |run| BlockId { run: RunId(run), number: 7 };
        assert_eq!(frame.position(block(1), 5), Some(0));
        assert_eq!(frame.position(block(2), 0), Some(1));
        assert_eq!(frame.position(block(1), 4), None);
        assert_eq!(frame.places().collect::<Vec<_>>(), [(block(1), 5), (block(2), 0)]);
    }
}
