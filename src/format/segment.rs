//! Segments: the directories of some packs in one object, in three parts that can be read apart.
//!
//! ```text
//! envelope | part 0: locations of blocks | part 1: meta directories | part 2: content directories
//! ```
//!
//! A restore reads part 0; whoever walks trees, part 1 too; only deduplication needs part 2, the largest.
//! Where the parts lie stands in the record that names the segment. The same three parts, in clear and one
//! after the other, travel inside a Publish record when they are small.
//! The byte layout is `docs/FORMAT.md`, section "Segment".

use crate::crypto::aead::TAG_LEN;
use crate::crypto::secret::Secret;
use crate::primitives::codec::{CodecError, Reader, Write};
use crate::primitives::ids::{ObjectHash, Reference, RunId};
use crate::primitives::padding::padme_len;

use super::directory::{PackDirectory, decode_spans, encode_spans};
use super::envelope::{ENVELOPE_LEN, Envelope, FormatError, Kind};
use super::names::PackKind;
use super::pack::DirectoryPlace;
use super::sealed::Sealing;

/// How many parts a segment has.
pub const PARTS: usize = 3;

/// What is known of one pack without its chunk ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackLocation {
    /// Name of the pack.
    pub name: ObjectHash,
    /// What it holds.
    pub kind: PackKind,
    /// The run it belongs to.
    pub run: RunId,
    /// Its length in bytes.
    pub len: u64,
    /// Where its directory is.
    pub place: DirectoryPlace,
    /// Sealed length and spans of each frame.
    pub frames: Vec<FrameLocation>,
}

/// A frame without its chunk ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameLocation {
    /// Length in the pack, in bytes.
    pub sealed_len: u32,
    /// What it was compressed against, if anything: whoever keeps the frame keeps this too.
    pub base: Option<Reference>,
    /// Spans of blocks it holds.
    pub spans: Vec<Reference>,
}

/// Everything a segment says of one pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackSummary {
    /// Name of the pack.
    pub name: ObjectHash,
    /// What it holds.
    pub kind: PackKind,
    /// The run it belongs to.
    pub run: RunId,
    /// Its length in bytes.
    pub len: u64,
    /// Where its directory is.
    pub place: DirectoryPlace,
    /// Its directory.
    pub directory: PackDirectory,
}

impl PackSummary {
    /// The part without chunk ids.
    pub fn location(&self) -> PackLocation {
        let frames = self.directory.frames.iter();
        PackLocation {
            name: self.name,
            kind: self.kind,
            run: self.run,
            len: self.len,
            place: self.place,
            frames: frames
                .map(|f| FrameLocation { sealed_len: f.sealed_len, base: f.base, spans: f.spans.clone() })
                .collect(),
        }
    }
}

/// The directories of one kind, by position of their pack in part 0.
pub type Directories = Vec<(u32, PackDirectory)>;

/// Encodes part 0.
pub fn encode_locations(packs: &[PackSummary]) -> Vec<u8> {
    let mut out = Vec::new();
    out.varint(packs.len() as u64);
    for pack in packs {
        out.raw(&pack.name.0);
        out.u8(pack.kind as u8);
        out.varint(pack.run.0);
        out.varint(pack.len);
        out.varint(pack.place.offset);
        out.varint(u64::from(pack.place.len));
        out.varint(pack.directory.frames.len() as u64);
        for frame in &pack.directory.frames {
            // Twice the length; one more if a base follows.
            out.varint(u64::from(frame.sealed_len) << 1 | u64::from(frame.base.is_some()));
            if let Some(base) = &frame.base {
                out.block_id(base.block);
                out.reference_into(base);
            }
            encode_spans(&frame.spans, &mut out);
        }
    }
    out
}

/// Decodes part 0.
pub fn decode_locations(bytes: &[u8]) -> Result<Vec<PackLocation>, CodecError> {
    let mut r = Reader::new(bytes);
    let n = r.count(ObjectHash::LEN + 6)?;
    let mut packs = Vec::with_capacity(n);
    for _ in 0..n {
        let name = ObjectHash(r.array()?);
        let kind = match r.u8()? {
            0 => PackKind::Data,
            1 => PackKind::Meta,
            _ => return Err(r.invalid("kind of pack")),
        };
        let (run, len) = (RunId(r.varint()?), r.varint()?);
        let place = DirectoryPlace { offset: r.varint()?, len: r.varint32("length of a directory")? };
        let frames_count = r.count(2)?;
        let mut frames = Vec::with_capacity(frames_count);
        let mut end = ENVELOPE_LEN as u64;
        for _ in 0..frames_count {
            let flagged = r.varint()?;
            let sealed_len = u32::try_from(flagged >> 1).map_err(|_| r.invalid("length of a frame"))?;
            let base = match flagged & 1 {
                0 => None,
                _ => {
                    let block = r.block_id()?;
                    Some(r.reference_into(block)?)
                }
            };
            end += u64::from(sealed_len);
            frames.push(FrameLocation { sealed_len, base, spans: decode_spans(&mut r)?.0 });
        }
        if end != place.offset || place.offset + u64::from(place.len) > len {
            return Err(r.invalid("location of frames"));
        }
        packs.push(PackLocation { name, kind, run, len, place, frames });
    }
    r.end()?;
    Ok(packs)
}

/// Encodes the directories of packs of `kind`.
pub fn encode_directories(packs: &[PackSummary], kind: PackKind) -> Vec<u8> {
    let mut out = Vec::new();
    let of_kind = || packs.iter().enumerate().filter(|(_, p)| p.kind == kind);
    out.varint(of_kind().count() as u64);
    for (i, pack) in of_kind() {
        out.varint(i as u64);
        pack.directory.encode(&mut out);
    }
    out
}

/// Decodes what [`encode_directories`] wrote.
pub fn decode_directories(bytes: &[u8]) -> Result<Directories, CodecError> {
    let mut r = Reader::new(bytes);
    let n = r.count(2)?;
    let mut all = Vec::with_capacity(n);
    for _ in 0..n {
        all.push((r.varint32("position of a pack")?, PackDirectory::decode(&mut r)?));
    }
    r.end()?;
    Ok(all)
}

/// The three parts, one after the other, as they travel inside a record.
pub fn encode_inline(packs: &[PackSummary]) -> Vec<u8> {
    let mut out = Vec::new();
    out.bytes(&encode_locations(packs));
    out.bytes(&encode_directories(packs, PackKind::Meta));
    out.bytes(&encode_directories(packs, PackKind::Data));
    out
}

/// What one segment, or the inline part of a record, says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SegmentContent {
    /// Part 0.
    pub locations: Vec<PackLocation>,
    /// Part 1.
    pub meta: Directories,
    /// Part 2, if it was read.
    pub content: Option<Directories>,
}

impl SegmentContent {
    /// Decodes what [`encode_inline`] wrote.
    pub fn decode_inline(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut r = Reader::new(bytes);
        let locations = decode_locations(r.bytes()?)?;
        let meta = decode_directories(r.bytes()?)?;
        let content = Some(decode_directories(r.bytes()?)?);
        r.end()?;
        Self { locations, meta, content }.checked()
    }

    /// Puts parts together and checks that they agree.
    pub fn checked(self) -> Result<Self, CodecError> {
        let bad = CodecError::Invalid { what: "directory without its pack", at: 0 };
        let agrees = |kind: PackKind, (i, d): &(u32, PackDirectory)| {
            self.locations.get(*i as usize).is_some_and(|p| {
                p.kind == kind
                    && p.frames.len() == d.frames.len()
                    && p.frames
                        .iter()
                        .zip(&d.frames)
                        .all(|(a, b)| a.sealed_len == b.sealed_len && a.base == b.base && a.spans == b.spans)
            })
        };
        let fine = self.meta.iter().all(|d| agrees(PackKind::Meta, d))
            && self.content.iter().flatten().all(|d| agrees(PackKind::Data, d));
        if fine { Ok(self) } else { Err(bad) }
    }
}

/// A finished segment.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Its name.
    pub name: ObjectHash,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Sealed lengths of its parts.
    pub parts: [u64; PARTS],
}

/// Seals a segment over `packs` with the index key.
pub fn seal(packs: &[PackSummary], sealing: &Sealing, salt: [u8; 32]) -> Segment {
    let (envelope, key) = sealing.envelope(Kind::Segment, salt);
    let mut bytes = envelope.encode().to_vec();
    let texts =
        [encode_locations(packs), encode_directories(packs, PackKind::Meta), encode_directories(packs, PackKind::Data)];
    let mut parts = [0; PARTS];
    for (i, text) in texts.iter().enumerate() {
        let from = bytes.len();
        // Each part's own length first, so that it can be padded.
        bytes.len32(text.len());
        bytes.raw(text);
        let padded = padme_len(bytes.len() - from + TAG_LEN) - TAG_LEN;
        bytes.resize(from + padded, 0);
        key.seal(i as u64, &mut bytes, from);
        parts[i] = (bytes.len() - from) as u64;
    }
    Segment { name: ObjectHash(*blake3::hash(&bytes).as_bytes()), bytes, parts }
}

/// Opens part number `part`, given the segment's envelope and the part's sealed bytes.
pub fn open_part(envelope: &[u8], index_key: &Secret, part: usize, sealed: &[u8]) -> Result<Vec<u8>, FormatError> {
    let key = Envelope::expect(envelope, Kind::Segment)?.key(index_key)?;
    let mut text = sealed.to_vec();
    key.open(part as u64, &mut text)?;
    let mut r = Reader::new(&text);
    let len = r.u32()? as usize;
    let content = r.take(len)?.to_vec();
    r.end_padded()?;
    Ok(content)
}

/// Opens the parts of a whole segment whose sealed lengths are `parts`.
pub fn open(bytes: &[u8], index_key: &Secret, parts: &[u64; PARTS]) -> Result<SegmentContent, FormatError> {
    let malformed = || FormatError::Malformed("the parts do not fill the segment".to_owned());
    let mut at = ENVELOPE_LEN;
    let mut texts = Vec::with_capacity(PARTS);
    for (i, &len) in parts.iter().enumerate() {
        let end = usize::try_from(len).ok().and_then(|l| at.checked_add(l)).ok_or_else(malformed)?;
        let sealed = bytes.get(at..end).ok_or_else(malformed)?;
        texts.push(open_part(bytes, index_key, i, sealed)?);
        at = end;
    }
    if at != bytes.len() {
        return Err(malformed());
    }
    let content = SegmentContent {
        locations: decode_locations(&texts[0])?,
        meta: decode_directories(&texts[1])?,
        content: Some(decode_directories(&texts[2])?),
    };
    Ok(content.checked()?)
}

#[cfg(test)]
mod tests {
    use super::super::directory::tests::sample;
    use super::*;
    use crate::crypto::keys::{Domain, Epoch};

    fn summaries() -> Vec<PackSummary> {
        let place = DirectoryPlace { offset: 128 + 700, len: 300 };
        let data = PackSummary {
            name: ObjectHash([1; 32]),
            kind: PackKind::Data,
            run: RunId(3),
            len: 2000,
            place,
            directory: sample(),
        };
        let meta = PackSummary { name: ObjectHash([2; 32]), kind: PackKind::Meta, ..data.clone() };
        vec![data, meta]
    }

    #[test]
    fn inline_directories_come_back() {
        let content = SegmentContent::decode_inline(&encode_inline(&summaries())).unwrap();
        assert_eq!(content.locations, summaries().iter().map(PackSummary::location).collect::<Vec<_>>());
        assert_eq!(content.meta, [(1, sample())]);
        assert_eq!(content.content, Some(vec![(0, sample())]));
    }

    #[test]
    fn parts_can_be_read_apart_and_not_exchanged() {
        let secret = Secret::new([1; 32]);
        let sealing = Sealing { secret: &secret, encapsulation: None, domain: Domain(0), epoch: Epoch(0) };
        let segment = seal(&summaries(), &sealing, [5; 32]);
        let whole = open(&segment.bytes, &secret, &segment.parts).unwrap();
        assert_eq!(whole.locations.len(), 2);
        let part0 = &segment.bytes[128..128 + usize::try_from(segment.parts[0]).unwrap()];
        assert!(open_part(&segment.bytes, &secret, 0, part0).is_ok());
        assert_eq!(open_part(&segment.bytes, &secret, 1, part0), Err(FormatError::Forged));
        assert!(open(&segment.bytes, &secret, &[0, 0, 0]).is_err());
        assert!(open(&segment.bytes[..400], &secret, &segment.parts).is_err());
        assert_eq!(open(&segment.bytes, &Secret::new([2; 32]), &segment.parts), Err(FormatError::WrongKey));
    }
}
