//! The envelope: the 128 bytes with which every object begins.
//!
//! It says what the object is, in clear, and carries the object's own random salt, so that no two objects
//! ever share a key. Its last 32 bytes commit to that key: a wrong key is told from damage before anything
//! is opened. The layout is `docs/FORMAT.md`, section "Envelope".

use crate::crypto::aead::{Forged, ObjectKey};
use crate::crypto::keys::{Domain, Epoch};
use crate::crypto::secret::Secret;
use crate::crypto::sign::BadSignature;
use crate::primitives::codec::{CodecError, Reader, Write};

/// Length of an envelope in bytes.
pub const ENVELOPE_LEN: usize = 128;
/// The format version that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u16 = 1;

const MAGIC: &[u8; 8] = b"strongrm";
const HEADER_LEN: usize = 96;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Who the repository is.
    Config,
    /// A way to the master key.
    Slot,
    /// Blocks of file and stream content.
    DataPack,
    /// Blocks of tree and list nodes.
    MetaPack,
    /// Directories of packs.
    Segment,
    /// A step of the log.
    Record,
    /// The folded state after a record.
    Checkpoint,
    /// The descriptive part of a run or snapshot, inside a record.
    Description,
    /// Keys of an epoch for one credential, inside a record.
    EpochKeys,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Kind; 9] = [
        Kind::Config,
        Kind::Slot,
        Kind::DataPack,
        Kind::MetaPack,
        Kind::Segment,
        Kind::Record,
        Kind::Checkpoint,
        Kind::Description,
        Kind::EpochKeys,
    ];

    /// The number that stands for the kind.
    pub fn number(self) -> u8 {
        self as u8 + 1
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Config => "config",
            Kind::Slot => "key slot",
            Kind::DataPack => "data pack",
            Kind::MetaPack => "meta pack",
            Kind::Segment => "segment",
            Kind::Record => "record",
            Kind::Checkpoint => "checkpoint",
            Kind::Description => "description",
            Kind::EpochKeys => "set of epoch keys",
        })
    }
}

/// How an object is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// Signed or hashed, not encrypted.
    Clear,
    /// AES-256-GCM under a key from a shared secret.
    Shared,
    /// AES-256-GCM under a key from an HPKE export (X25519, HKDF-SHA256, PSK).
    Sealed,
}

/// Why an object's bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes do not begin as any object does.
    #[error("not a strongroom object")]
    NotOurs,
    /// Written by a newer program.
    #[error("format version {version} is newer than this program knows ({FORMAT_VERSION})")]
    Newer {
        /// The version found.
        version: u16,
    },
    /// An object of another kind stands here.
    #[error("a {found} stands where a {expected} belongs")]
    WrongKind {
        /// What belongs here.
        expected: Kind,
        /// What was found.
        found: Kind,
    },
    /// A suite or kind number without meaning in this version.
    #[error("unknown {what} {number}")]
    Unknown {
        /// Which field.
        what: &'static str,
        /// Its value.
        number: u64,
    },
    /// The bytes are not those that were written.
    #[error("its bytes do not match its checksum")]
    Checksum,
    /// Sealed with another key.
    #[error("it is sealed with another key")]
    WrongKey,
    /// Sealed to the owner and to those who may read.
    #[error("this credential may add to the repository and not read what is in it")]
    MayNotRead,
    /// Sealed with keys of an epoch that this credential was not given.
    #[error("it is sealed with the keys of epoch {epoch}, which this credential does not hold")]
    NoEpochKeys {
        /// The epoch.
        epoch: u32,
    },
    /// A record sealed with the keys of another epoch than the one it falls into.
    #[error("it is sealed in epoch {found} and stands in epoch {current}")]
    WrongEpoch {
        /// The epoch of its envelope.
        found: u32,
        /// The epoch of the log at this place.
        current: u32,
    },
    /// The key is right and the sealed bytes are not.
    #[error("authentication failed")]
    Forged,
    /// The signature is not its writer's.
    #[error("its signature does not match")]
    Signature,
    /// The bytes inside have no meaning.
    #[error("its content is malformed: {0}")]
    Malformed(String),
}

impl From<CodecError> for FormatError {
    fn from(e: CodecError) -> Self {
        Self::Malformed(e.to_string())
    }
}
impl From<minicbor::decode::Error> for FormatError {
    fn from(e: minicbor::decode::Error) -> Self {
        Self::Malformed(e.to_string())
    }
}
impl From<Forged> for FormatError {
    fn from(_: Forged) -> Self {
        Self::Forged
    }
}
impl From<BadSignature> for FormatError {
    fn from(_: BadSignature) -> Self {
        Self::Signature
    }
}

/// The first 128 bytes of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What the object is.
    pub kind: Kind,
    /// How it is protected.
    pub suite: Suite,
    /// Whose chunk-id, chunker and index keys.
    pub domain: Domain,
    /// Which generation of log and pack keys.
    pub epoch: Epoch,
    /// Random, of this object alone.
    pub salt: [u8; 32],
    /// HPKE encapsulation; zeros unless the suite is [`Suite::Sealed`].
    pub encapsulation: [u8; 32],
    /// Commits to the object's key; zeros if the suite is [`Suite::Clear`].
    pub commitment: [u8; 32],
}

impl Envelope {
    /// An envelope in clear, with nothing but its salt.
    pub fn clear(kind: Kind, salt: [u8; 32]) -> Self {
        let (domain, epoch) = (Domain::default(), Epoch::default());
        Self { kind, suite: Suite::Clear, domain, epoch, salt, encapsulation: [0; 32], commitment: [0; 32] }
    }

    /// Completes the envelope with the commitment to the key that `secret` makes for it.
    pub fn commit(mut self, secret: &Secret) -> (Self, ObjectKey) {
        let key = ObjectKey::derive(secret, &self.header(), self.kind.number());
        self.commitment = *key.commitment();
        (self, key)
    }

    /// The object's key, if `secret` is the right one.
    pub fn key(&self, secret: &Secret) -> Result<ObjectKey, FormatError> {
        let key = ObjectKey::derive(secret, &self.header(), self.kind.number());
        // Both sides are public: the one stands in the object, the other tells nothing of the key.
        if *key.commitment() == self.commitment { Ok(key) } else { Err(FormatError::WrongKey) }
    }

    fn header(&self) -> [u8; HEADER_LEN] {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.raw(MAGIC);
        out.u16(FORMAT_VERSION);
        out.u8(self.kind.number());
        out.u8(self.suite as u8);
        out.u32(self.domain.0);
        out.u32(self.epoch.0);
        out.raw(&[0; 12]);
        out.raw(&self.salt);
        out.raw(&self.encapsulation);
        out.try_into().expect("the fields add up to the header's length")
    }

    /// The envelope's bytes.
    pub fn encode(&self) -> [u8; ENVELOPE_LEN] {
        let mut out = [0; ENVELOPE_LEN];
        out[..HEADER_LEN].copy_from_slice(&self.header());
        out[HEADER_LEN..].copy_from_slice(&self.commitment);
        out
    }

    /// Reads the envelope at the start of `object`.
    pub fn decode(object: &[u8]) -> Result<Self, FormatError> {
        let mut r = Reader::new(object);
        if r.array::<8>().map_err(|_| FormatError::NotOurs)? != *MAGIC {
            return Err(FormatError::NotOurs);
        }
        match r.u16()? {
            FORMAT_VERSION => {}
            version if version > FORMAT_VERSION => return Err(FormatError::Newer { version }),
            version => return Err(FormatError::Unknown { what: "format version", number: version.into() }),
        }
        let number = r.u8()?;
        let kind = Kind::ALL.into_iter().find(|k| k.number() == number);
        let kind = kind.ok_or(FormatError::Unknown { what: "kind of object", number: number.into() })?;
        let suite = match r.u8()? {
            0 => Suite::Clear,
            1 => Suite::Shared,
            2 => Suite::Sealed,
            n => return Err(FormatError::Unknown { what: "suite", number: n.into() }),
        };
        let (domain, epoch) = (Domain(r.u32()?), Epoch(r.u32()?));
        if r.array::<12>()? != [0; 12] {
            return Err(FormatError::Malformed("reserved bytes of the envelope are in use".to_owned()));
        }
        let (salt, encapsulation, commitment) = (r.array()?, r.array()?, r.array()?);
        Ok(Self { kind, suite, domain, epoch, salt, encapsulation, commitment })
    }

    /// Reads the envelope and checks that it is of this kind.
    pub fn expect(object: &[u8], kind: Kind) -> Result<Self, FormatError> {
        let envelope = Self::decode(object)?;
        match envelope.kind == kind {
            true => Ok(envelope),
            false => Err(FormatError::WrongKind { expected: kind, found: envelope.kind }),
        }
    }
}

/// Appends the BLAKE3 of all bytes so far: how every object ends that is not named by its hash.
pub fn append_checksum(object: &mut Vec<u8>) {
    let hash = blake3::hash(object);
    object.extend_from_slice(hash.as_bytes());
}

/// Checks the last 32 bytes and returns what precedes them.
pub fn check_checksum(object: &[u8]) -> Result<&[u8], FormatError> {
    let at = object.len().checked_sub(32).ok_or(FormatError::Checksum)?;
    let (body, hash) = object.split_at(at);
    if blake3::hash(body).as_bytes() == hash { Ok(body) } else { Err(FormatError::Checksum) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(kind: Kind) -> Envelope {
        Envelope {
            suite: Suite::Sealed,
            domain: Domain(3),
            epoch: Epoch(4),
            encapsulation: [2; 32],
            ..Envelope::clear(kind, [1; 32])
        }
    }

    #[test]
    fn every_kind_comes_back() {
        for kind in Kind::ALL {
            let (e, _) = envelope(kind).commit(&Secret::new([9; 32]));
            assert_eq!(Envelope::expect(&e.encode(), kind), Ok(e));
        }
    }

    #[test]
    fn an_unknown_version_kind_or_suite_is_refused() {
        let bytes = envelope(Kind::Record).encode();
        let with = |at: usize, value: u8| {
            let mut b = bytes;
            b[at] = value;
            Envelope::decode(&b)
        };
        assert_eq!(with(8, 2), Err(FormatError::Newer { version: 2 }));
        assert!(matches!(with(10, 99), Err(FormatError::Unknown { what: "kind of object", .. })));
        assert!(matches!(with(11, 9), Err(FormatError::Unknown { what: "suite", .. })));
        assert_eq!(with(0, b'S'), Err(FormatError::NotOurs));
        assert!(with(20, 1).is_err());
        assert_eq!(Envelope::decode(&bytes[..5]), Err(FormatError::NotOurs));
        assert!(Envelope::decode(&bytes[..100]).is_err());
    }

    #[test]
    fn another_kind_is_named() {
        let error = Envelope::expect(&envelope(Kind::Segment).encode(), Kind::Record).unwrap_err();
        assert_eq!(error.to_string(), "a segment stands where a record belongs");
    }

    #[test]
    fn a_wrong_key_is_told_from_damage() {
        let (e, _) = envelope(Kind::Record).commit(&Secret::new([9; 32]));
        assert!(e.key(&Secret::new([9; 32])).is_ok());
        assert_eq!(e.key(&Secret::new([8; 32])).err(), Some(FormatError::WrongKey));
    }
}
