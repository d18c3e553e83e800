//! Bytes of a large file that stand already where they belong, in the file that it replaces.
//!
//! What stands there is read and its chunk ids are computed, as they are of what comes from the repository: what is
//! written is what was hashed. Only then a frame need not be fetched, decrypted and decompressed. This module neither
//! fetches nor writes; that is `fetch`.

use std::ops::Range;

use crate::crypto::keys::DomainKeys;
use crate::destination::Existing;
use crate::format::directory::ChunkEntry;

/// Files from this length on are compared with what stands there (docs/PERFORMANCE.md, "Replacing large files").
pub(super) const REUSE_LEN_MIN: u64 = 8 << 20;
/// Bytes that are read at once: after a chunk that differs, the rest of its piece is of no use.
const READ_LEN: usize = 64 << 10;

/// The bytes of these chunks, if all of them stand in the existing file; `ranges` says where they belong.
pub(super) fn read_existing(
    existing: &Existing,
    keys: &DomainKeys,
    chunks: &[ChunkEntry],
    ranges: &[(u64, Range<usize>)],
) -> Option<Vec<u8>> {
    let len = ranges.last().map_or(0, |(_, part)| part.end);
    let mut bytes = vec![0; len];
    let (mut read, mut at) = (0, 0);
    for chunk in chunks {
        let end = at + chunk.len as usize;
        if end > read {
            let until = end.max(read + READ_LEN).min(len);
            fill(existing, ranges, read..until, &mut bytes)?;
            read = until;
        }
        if keys.chunk(bytes.get(at..end)?) != chunk.id {
            return None;
        }
        at = end;
    }
    (at == len).then_some(bytes)
}

/// Reads this part of the stored bytes.
fn fill(existing: &Existing, ranges: &[(u64, Range<usize>)], wanted: Range<usize>, bytes: &mut [u8]) -> Option<()> {
    for (offset, part) in ranges {
        let (from, to) = (part.start.max(wanted.start), part.end.min(wanted.end));
        if from < to && !existing.fill(offset + (from - part.start) as u64, &mut bytes[from..to]) {
            return None;
        }
    }
    Some(())
}
