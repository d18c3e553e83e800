//! Identifiers: one distinct type per kind of thing, so that none can stand in another's place.
//!
//! Fixed-length ids print as lower-case hex and travel in CBOR as byte strings. A [`RunId`] is the number
//! of the record that began the run; a [`BlockId`] is a run and a counter within it.

use std::fmt;
use std::str::FromStr;

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};

/// A text that is not the hex form of the id it was given for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {what}: expected {digits} hex digits")]
pub struct IdParseError {
    what: &'static str,
    digits: usize,
}

/// Appends `bytes` to `f` as lower-case hex.
pub fn write_hex(f: &mut dyn fmt::Write, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

/// Decodes lower- or upper-case hex; `None` for an odd length or a digit that is none.
pub fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| (c as char).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(2) {
        return None;
    }
    bytes.chunks_exact(2).map(|p| Some(digit(p[0])? << 4 | digit(p[1])?)).collect()
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:expr, $what:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The first eight hex digits: enough for a person to tell two apart.
            pub fn short(&self) -> String {
                self.to_string()[..8].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = IdParseError;
            fn from_str(s: &str) -> Result<Self, IdParseError> {
                parse_hex(s)
                    .and_then(|v| v.try_into().ok())
                    .map(Self)
                    .ok_or(IdParseError { what: $what, digits: 2 * $len })
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                let at = d.position();
                d.bytes()?
                    .try_into()
                    .map(Self)
                    .map_err(|_| DecodeError::message(concat!("length of ", $what)).at(at))
            }
        }
    };
}

byte_id!(
    /// Names a repository, whatever the URL it is reached by.
    RepositoryId, 16, "a repository id"
);
byte_id!(
    /// Keyed BLAKE3 of a chunk's plaintext, cut to 16 bytes (docs/THREATS.md argues the length).
    ChunkId, 16, "a chunk id"
);
byte_id!(
    /// Keyed BLAKE3 of the chunk ids of a file, in order: equal contents have equal content ids.
    ContentId, 16, "a content id"
);
byte_id!(
    /// BLAKE3 of an object's bytes: the name of a pack or a segment.
    ObjectHash, 32, "an object hash"
);
byte_id!(
    /// Names a snapshot; random.
    SnapshotId, 16, "a snapshot id"
);
byte_id!(
    /// Names the snapshots that one run saved; random.
    SetId, 16, "a set id"
);
byte_id!(
    /// Names a credential: the first 16 bytes of the BLAKE3 of its verifying key.
    CredentialId, 16, "a credential id"
);
byte_id!(
    /// Names a machine to a repository that only one may write to; random.
    MachineId, 16, "a machine id"
);
byte_id!(
    /// Random id of one attempt to append a record; a repeated one is void.
    OperationId, 16, "an operation id"
);
byte_id!(
    /// Keyed BLAKE3 of a host or source name: lets the log speak of them without naming them.
    KeyedTag, 16, "a keyed tag"
);

/// Number of the record that began the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct RunId(#[n(0)] pub u64);

impl fmt::Display for RunId {
    /// Twenty digits, as in object names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}", self.0)
    }
}

/// A block: the run that wrote it and its number within that run. Survives prune.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
pub struct BlockId {
    /// The run that wrote the block first.
    #[n(0)]
    pub run: RunId,
    /// Its number within the run, from 0.
    #[n(1)]
    pub number: u32,
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run.0, self.number)
    }
}

/// Consecutive chunks of one block: how content is pointed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
pub struct Reference {
    /// The block.
    #[n(0)]
    pub block: BlockId,
    /// Number of the first chunk within the block.
    #[n(1)]
    pub first: u32,
    /// How many chunks.
    #[n(2)]
    pub count: u32,
}

impl Reference {
    /// One past the last chunk.
    pub fn end(&self) -> u32 {
        self.first + self.count
    }
}

/// A reference together with the bytes it stands for, so that offsets are known without any directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    /// The chunks.
    pub reference: Reference,
    /// Sum of their lengths in bytes.
    pub len: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        let id = ChunkId(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.short().len(), 8);
    }

    #[test]
    fn a_text_of_the_wrong_length_is_no_id() {
        assert!("00".parse::<ChunkId>().is_err());
        assert!("zz".repeat(16).parse::<ChunkId>().is_err());
        assert_eq!(parse_hex("abc"), None);
    }
}
