//! Sealed blocks, gathered into one object.
//!
//! ```text
//! envelope | frame 0 | frame 1 | ... | directory, zero-padded and sealed | trailer, sealed (32 bytes)
//! ```
//!
//! A pack is written once and never changed. Its directory comes last, so that a pack can be filled while its
//! blocks are still being compressed. The padding is inside the sealed directory: from outside, neither the
//! border between frames nor the one between frames and directory can be seen. The name of a pack is the
//! BLAKE3 of its bytes.
//!
//! This module turns values into bytes and back. It neither reads nor writes the store; that is
//! `repository`. The byte layout is `docs/FORMAT.md`, section "Pack".

use crate::compression::{Codec, compress, decompress};
use crate::crypto::aead::{ObjectKey, TAG_LEN};
use crate::primitives::codec::{Reader, Write, len32};
use crate::primitives::ids::{ObjectHash, Reference};
use crate::primitives::padding::padme_len;

use super::directory::{ChunkEntry, FrameDirectory, PackDirectory};
use super::envelope::{ENVELOPE_LEN, Envelope, FormatError, Kind};
use super::names::PackKind;
use super::sealed::Sealing;

/// A pack is padded to at least this many bytes.
pub const PACK_LEN_MIN: usize = 64 << 10;
/// Length of the sealed trailer at the end of a pack.
pub const TRAILER_LEN: usize = 16 + TAG_LEN;

const PLACE_DIRECTORY: u64 = 1 << 63;
const PLACE_TRAILER: u64 = (1 << 63) + 1;

/// The object kind of a pack.
pub fn object_kind(kind: PackKind) -> Kind {
    match kind {
        PackKind::Data => Kind::DataPack,
        PackKind::Meta => Kind::MetaPack,
    }
}

/// Fills one pack.
pub struct PackWriter {
    key: ObjectKey,
    bytes: Vec<u8>,
    directory: PackDirectory,
    directory_len: usize,
}

/// A finished pack.
#[derive(Debug, Clone)]
pub struct Pack {
    /// Its name.
    pub name: ObjectHash,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Where its directory is.
    pub place: DirectoryPlace,
    /// Its directory.
    pub directory: PackDirectory,
}

/// Where in a pack its sealed directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryPlace {
    /// Offset in bytes.
    pub offset: u64,
    /// Sealed length in bytes.
    pub len: u32,
}

impl PackWriter {
    /// An empty pack.
    pub fn new(kind: PackKind, sealing: &Sealing, salt: [u8; 32]) -> Self {
        let (envelope, key) = sealing.envelope(object_kind(kind), salt);
        Self { key, bytes: envelope.encode().to_vec(), directory: PackDirectory::default(), directory_len: 8 }
    }

    /// Length if it were finished now, before padding.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.directory_len + TAG_LEN + TRAILER_LEN
    }

    /// Whether no frame is in it.
    pub fn is_empty(&self) -> bool {
        self.directory.frames.is_empty()
    }

    /// Seals a compressed frame into the pack.
    pub fn add(&mut self, frame: CompressedFrame) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(&frame.bytes);
        self.key.seal(self.directory.frames.len() as u64, &mut self.bytes, from);
        let sealed_len = len32(self.bytes.len() - from);
        let CompressedFrame { codec, spans, chunks, .. } = frame;
        self.directory_len += 8 + 20 * spans.len() + (ChunkEntry::ENCODED_LEN_MAX) * chunks.len();
        self.directory.frames.push(FrameDirectory { sealed_len, codec, base: None, spans, chunks });
    }

    /// Completes the pack.
    pub fn finish(mut self) -> Pack {
        let offset = self.bytes.len();
        self.directory.encode(&mut self.bytes);
        let least = self.bytes.len() + TAG_LEN + TRAILER_LEN;
        let total = padme_len(least.max(PACK_LEN_MIN));
        self.bytes.resize(total - TAG_LEN - TRAILER_LEN, 0);
        self.key.seal(PLACE_DIRECTORY, &mut self.bytes, offset);
        let len = len32(self.bytes.len() - offset);
        let trailer = self.bytes.len();
        self.bytes.u64(offset as u64);
        self.bytes.u32(len);
        self.bytes.len32(self.directory.frames.len());
        self.key.seal(PLACE_TRAILER, &mut self.bytes, trailer);
        let name = ObjectHash(*blake3::hash(&self.bytes).as_bytes());
        let place = DirectoryPlace { offset: offset as u64, len };
        Pack { name, bytes: self.bytes, place, directory: self.directory }
    }
}

impl ChunkEntry {
    /// Bytes that a chunk takes in a directory, at the most.
    pub const ENCODED_LEN_MAX: usize = 16 + 4;
}

/// The chunks of a frame, compressed and not yet sealed.
#[derive(Debug, Clone)]
pub struct CompressedFrame {
    /// Spans of blocks, in the order of the chunks.
    pub spans: Vec<Reference>,
    /// The chunks.
    pub chunks: Vec<ChunkEntry>,
    /// How the bytes are compressed.
    pub codec: Codec,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl CompressedFrame {
    /// Compresses the plaintext of a frame; `level` 0 stores it.
    pub fn new(spans: Vec<Reference>, chunks: Vec<ChunkEntry>, plaintext: &[u8], level: i32) -> Self {
        let mut bytes = Vec::new();
        let codec = match level {
            0 => {
                bytes.extend_from_slice(plaintext);
                Codec::Stored
            }
            _ => compress(plaintext, level, &mut bytes),
        };
        Self { spans, chunks, codec, bytes }
    }
}

/// Opens the frames of one pack.
pub struct PackReader {
    key: ObjectKey,
}

impl PackReader {
    /// Given the envelope's bytes and the secret that belongs to it.
    pub fn new(
        kind: PackKind,
        envelope: &[u8],
        secret: impl FnOnce(&Envelope) -> Result<crate::crypto::secret::Secret, FormatError>,
    ) -> Result<Self, FormatError> {
        let envelope = Envelope::expect(envelope, object_kind(kind))?;
        Ok(Self { key: envelope.key(&secret(&envelope)?)? })
    }

    /// Opens the trailer: where the directory is, in a pack of `pack_len` bytes.
    pub fn trailer(&self, sealed: &[u8], pack_len: u64) -> Result<DirectoryPlace, FormatError> {
        let mut text = sealed.to_vec();
        self.key.open(PLACE_TRAILER, &mut text)?;
        let mut r = Reader::new(&text);
        let place = DirectoryPlace { offset: r.u64()?, len: r.u32()? };
        let _frames = r.u32()?;
        r.end()?;
        let end = place.offset.checked_add(u64::from(place.len) + TRAILER_LEN as u64);
        if place.offset < ENVELOPE_LEN as u64 || end != Some(pack_len) {
            return Err(FormatError::Malformed("the trailer points outside the pack".to_owned()));
        }
        Ok(place)
    }

    /// Opens the directory.
    pub fn directory(&self, sealed: &[u8], place: DirectoryPlace) -> Result<PackDirectory, FormatError> {
        let mut text = sealed.to_vec();
        self.key.open(PLACE_DIRECTORY, &mut text)?;
        let mut r = Reader::new(&text);
        let directory = PackDirectory::decode(&mut r)?;
        r.end_padded()?;
        let frames: u64 = directory.frames.iter().map(|f| u64::from(f.sealed_len)).sum();
        if frames + ENVELOPE_LEN as u64 != place.offset {
            return Err(FormatError::Malformed("the frames do not fill the pack".to_owned()));
        }
        Ok(directory)
    }

    /// Opens frame number `index`: its bytes as they were compressed.
    pub fn compressed(&self, index: u32, sealed: Vec<u8>) -> Result<Vec<u8>, FormatError> {
        let mut text = sealed;
        self.key.open(u64::from(index), &mut text)?;
        Ok(text)
    }

    /// Opens frame number `index` and decompresses it; `prefix` is its base's bytes.
    pub fn frame(
        &self,
        index: u32,
        sealed: Vec<u8>,
        directory: &FrameDirectory,
        prefix: &[u8],
    ) -> Result<Vec<u8>, FormatError> {
        Self::plaintext(self.compressed(index, sealed)?, directory, prefix)
    }

    /// Decompresses a frame that was opened.
    pub fn plaintext(text: Vec<u8>, directory: &FrameDirectory, prefix: &[u8]) -> Result<Vec<u8>, FormatError> {
        let too_long = |_| FormatError::Malformed("a frame is longer than memory".to_owned());
        let raw_len = usize::try_from(directory.raw_len()).map_err(too_long)?;
        if directory.codec == Codec::Stored && text.len() == raw_len {
            return Ok(text);
        }
        decompress(&text, directory.codec, raw_len, prefix).map_err(|e| FormatError::Malformed(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::directory::tests::span;
    use super::*;
    use crate::crypto::keys::{Domain, Epoch};
    use crate::crypto::secret::Secret;
    use crate::primitives::ids::ChunkId;

    fn pack() -> (Pack, Secret) {
        let secret = Secret::new([3; 32]);
        let sealing = Sealing { secret: &secret, encapsulation: Some([1; 32]), domain: Domain(0), epoch: Epoch(0) };
        let mut writer = PackWriter::new(PackKind::Data, &sealing, [2; 32]);
        for number in 0..3u8 {
            let text = vec![number; 5000];
            let chunk = ChunkEntry { id: ChunkId([number; 16]), len: 5000 };
            writer.add(CompressedFrame::new(vec![span(1, number.into(), 0, 1)], vec![chunk], &text, 3));
        }
        (writer.finish(), secret)
    }

    fn read(bytes: &[u8], secret: &Secret) -> Result<Vec<Vec<u8>>, FormatError> {
        let reader = PackReader::new(PackKind::Data, bytes, |_| Ok(secret.clone()))?;
        let place = reader.trailer(&bytes[bytes.len() - TRAILER_LEN..], bytes.len() as u64)?;
        let at = usize::try_from(place.offset).unwrap();
        let directory = reader.directory(&bytes[at..at + place.len as usize], place)?;
        let mut offset = ENVELOPE_LEN;
        let mut frames = vec![];
        for (i, f) in directory.frames.iter().enumerate() {
            let end = offset + f.sealed_len as usize;
            frames.push(reader.frame(len32(i), bytes[offset..end].to_vec(), f, b"")?);
            offset = end;
        }
        Ok(frames)
    }

    #[test]
    fn a_pack_comes_back_and_has_a_padded_length() {
        let (pack, secret) = pack();
        assert_eq!(pack.bytes.len(), PACK_LEN_MIN);
        let frames = read(&pack.bytes, &secret).unwrap();
        assert_eq!(frames, [vec![0; 5000], vec![1; 5000], vec![2; 5000]]);
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_an_error() {
        let (pack, secret) = pack();
        let len = pack.bytes.len();
        for at in (0..300).chain((300..len).step_by(997)).chain(len - 40..len) {
            let mut damaged = pack.bytes.clone();
            damaged[at] ^= 1;
            assert!(read(&damaged, &secret).is_err(), "byte {at}");
        }
        for cut in [len - 1, len - TRAILER_LEN, ENVELOPE_LEN + TRAILER_LEN] {
            assert!(read(&pack.bytes[..cut], &secret).is_err());
        }
    }

    #[test]
    fn frames_that_change_places_are_an_error() {
        let (pack, secret) = pack();
        let reader = PackReader::new(PackKind::Data, &pack.bytes, |_| Ok(secret.clone())).unwrap();
        let f = &pack.directory.frames;
        let first = pack.bytes[ENVELOPE_LEN..ENVELOPE_LEN + f[0].sealed_len as usize].to_vec();
        assert_eq!(reader.frame(1, first.clone(), &f[0], b"").err(), Some(FormatError::Forged));
        assert!(reader.frame(0, first, &f[0], b"").is_ok());
    }
}
