//! The one cursor that reads bytes from disk, and the writer that is its mirror.
//!
//! Integers are little-endian; a *varint* is LEB128, at most ten bytes, in its shortest form only (so that
//! equal values have equal bytes, and equal trees equal ids). Every length is checked against what is left
//! before anything is allocated. Nothing here panics on any input.

use super::ids::{BlockId, ChunkId, Reference, RunId};

/// A length within an object, or a number of things in it, as it is written.
///
/// # Panics
///
/// If it is 4 GiB or more, which no object is: rather no object than one with a wrong length.
pub fn len32(len: usize) -> u32 {
    u32::try_from(len).expect("objects are shorter than 4 GiB")
}

/// A block has at most so many chunks.
pub const BLOCK_CHUNKS_MAX: u32 = 1 << 20;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end before the value does.
    #[error("cut short at byte {at}")]
    Truncated {
        /// Offset where more was needed.
        at: usize,
    },
    /// Bytes are left over after the value.
    #[error("{left} bytes too many at byte {at}")]
    Trailing {
        /// Offset of the first byte too many.
        at: usize,
        /// How many.
        left: usize,
    },
    /// A field holds what it may not.
    #[error("invalid {what} at byte {at}")]
    Invalid {
        /// The field.
        what: &'static str,
        /// Offset just behind it.
        at: usize,
    },
}

/// Reads values off a byte slice, front to back.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Offset of the next byte.
    pub fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// An error that says `what` was wrong here.
    pub fn invalid(&self, what: &'static str) -> CodecError {
        CodecError::Invalid { what, at: self.at }
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], CodecError> {
        let end = self.at.checked_add(n).filter(|&e| e <= self.bytes.len());
        let end = end.ok_or(CodecError::Truncated { at: self.at })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        Ok(self.take(N)?.try_into().expect("take returns as many bytes as were asked for"))
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, CodecError> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self) -> Result<u16, CodecError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32, CodecError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64, CodecError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A varint in its shortest form.
    pub fn varint(&mut self) -> Result<u64, CodecError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(self.invalid("varint"));
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                let shortest = byte != 0 || shift == 0;
                return if shortest { Ok(value) } else { Err(self.invalid("varint")) };
            }
        }
        Err(self.invalid("varint"))
    }

    /// A varint that fits 32 bits.
    pub fn varint32(&mut self, what: &'static str) -> Result<u32, CodecError> {
        u32::try_from(self.varint()?).map_err(|_| self.invalid(what))
    }

    /// A zigzag varint.
    pub fn signed(&mut self) -> Result<i64, CodecError> {
        let v = self.varint()?;
        Ok((v >> 1) as i64 ^ -((v & 1) as i64))
    }

    /// A count of items of at least `item_len_min` bytes each: refused if that many cannot follow.
    pub fn count(&mut self, item_len_min: usize) -> Result<usize, CodecError> {
        let n = usize::try_from(self.varint()?).map_err(|_| self.invalid("count"))?;
        match n.checked_mul(item_len_min.max(1)) {
            Some(len) if len <= self.left() => Ok(n),
            _ => Err(self.invalid("count")),
        }
    }

    /// A varint length and as many bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let n = self.count(1)?;
        self.take(n)
    }

    /// A chunk id.
    pub fn chunk_id(&mut self) -> Result<ChunkId, CodecError> {
        Ok(ChunkId(self.array()?))
    }

    /// A block id: run and number, both varints.
    pub fn block_id(&mut self) -> Result<BlockId, CodecError> {
        Ok(BlockId { run: RunId(self.varint()?), number: self.varint32("block number")? })
    }

    /// First chunk and count of a reference into `block`; empty and overflowing ones are refused.
    pub fn reference_into(&mut self, block: BlockId) -> Result<Reference, CodecError> {
        let first = self.varint32("first chunk")?;
        let count = self.varint32("number of chunks")?;
        // A block has no more chunks than fit into a frame. Whoever reads a reference may reserve memory by it.
        if count == 0 || first.checked_add(count).is_none_or(|end| end > BLOCK_CHUNKS_MAX) {
            return Err(self.invalid("reference"));
        }
        Ok(Reference { block, first, count })
    }

    /// Ends the reading: an error if anything is left.
    pub fn end(self) -> Result<(), CodecError> {
        match self.left() {
            0 => Ok(()),
            left => Err(CodecError::Trailing { at: self.at, left }),
        }
    }

    /// Ends the reading of a padded value: an error if anything but zeros is left.
    pub fn end_padded(self) -> Result<(), CodecError> {
        match self.bytes[self.at..].iter().all(|&b| b == 0) {
            true => Ok(()),
            false => Err(self.invalid("padding")),
        }
    }
}

/// What [`Reader`] reads, written.
pub trait Write {
    /// Appends raw bytes.
    fn raw(&mut self, bytes: &[u8]);

    /// Appends one byte.
    fn u8(&mut self, v: u8) {
        self.raw(&[v]);
    }
    /// Appends two bytes, little-endian.
    fn u16(&mut self, v: u16) {
        self.raw(&v.to_le_bytes());
    }
    /// Appends four bytes, little-endian.
    fn u32(&mut self, v: u32) {
        self.raw(&v.to_le_bytes());
    }
    /// Appends a length or a number of things in four bytes; objects are shorter than 4 GiB.
    fn len32(&mut self, len: usize) {
        self.u32(len32(len));
    }
    /// Appends eight bytes, little-endian.
    fn u64(&mut self, v: u64) {
        self.raw(&v.to_le_bytes());
    }
    /// Appends a varint in its shortest form.
    fn varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.u8((v & 0x7f) as u8 | 0x80);
            v >>= 7;
        }
        self.u8((v & 0x7f) as u8);
    }
    /// Appends a zigzag varint.
    fn signed(&mut self, v: i64) {
        self.varint(((v << 1) ^ (v >> 63)) as u64);
    }
    /// Appends a varint length and the bytes.
    fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }
    /// Appends run and number.
    fn block_id(&mut self, id: BlockId) {
        self.varint(id.run.0);
        self.varint(u64::from(id.number));
    }
    /// Appends first chunk and count.
    fn reference_into(&mut self, r: &Reference) {
        self.varint(u64::from(r.first));
        self.varint(u64::from(r.count));
    }
}

impl Write for Vec<u8> {
    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for v in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut b = Vec::new();
            Write::varint(&mut b, v);
            b.signed(v as i64);
            let mut r = Reader::new(&b);
            assert_eq!(r.varint(), Ok(v));
            assert_eq!(r.signed(), Ok(v as i64));
            assert_eq!(r.end(), Ok(()));
        }
    }

    #[test]
    fn a_varint_longer_than_needed_or_too_large_is_refused() {
        assert!(Reader::new(&[0x80, 0x00]).varint().is_err());
        assert!(Reader::new(&[0xff; 10]).varint().is_err());
        assert!(Reader::new(&[0xff; 11]).varint().is_err());
        assert_eq!(Reader::new(&[0x80]).varint(), Err(CodecError::Truncated { at: 1 }));
    }

    #[test]
    fn a_count_larger_than_the_rest_is_refused_before_it_is_allocated() {
        assert!(Reader::new(&[0x7f, 0, 0]).count(1).is_err());
        assert!(Reader::new(&[2, 0, 0]).count(2).is_err());
        assert_eq!(Reader::new(&[2, 0, 0]).count(1), Ok(2));
    }

    #[test]
    fn what_is_left_over_is_an_error_unless_it_is_padding() {
        assert!(Reader::new(&[1]).end().is_err());
        assert!(Reader::new(&[1]).end_padded().is_err());
        assert!(Reader::new(&[0, 0]).end_padded().is_ok());
    }
}
