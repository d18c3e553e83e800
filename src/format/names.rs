//! Names of objects in the store, and what a name says.

use crate::primitives::ids::{ObjectHash, RunId, parse_hex};

/// Name of the one config object.
pub const CONFIG: &str = "config";
/// Folder of key slots.
pub const KEYS: &str = "keys";
/// Folder of content packs.
pub const DATA: &str = "data";
/// Folder of packs of trees and lists.
pub const META: &str = "meta";
/// Folder of segments.
pub const INDEX: &str = "index";
/// Folder of records.
pub const LOG: &str = "log";
/// Folder of checkpoints.
pub const CHECKPOINT: &str = "checkpoint";

/// What a pack holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum PackKind {
    /// Content of files and streams.
    #[n(0)]
    Data,
    /// Tree and list nodes.
    #[n(1)]
    Meta,
}

impl PackKind {
    /// The folder such packs lie in.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Data => DATA,
            Self::Meta => META,
        }
    }
}

/// Name of a pack.
pub fn pack(kind: PackKind, run: RunId, name: &ObjectHash) -> String {
    format!("{}/{run}/{name}", kind.folder())
}

/// Name of a segment.
pub fn segment(run: RunId, name: &ObjectHash) -> String {
    format!("{INDEX}/{run}/{name}")
}

/// Name of a record.
pub fn record(number: u64) -> String {
    format!("{LOG}/{number:020}")
}

/// Name of a checkpoint.
pub fn checkpoint(number: u64) -> String {
    format!("{CHECKPOINT}/{number:020}")
}

/// Name of a key slot.
pub fn slot(id: &[u8; 16]) -> String {
    format!("{KEYS}/{}", crate::primitives::ids::CredentialId(*id))
}

/// A name, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectName {
    /// `config`
    Config,
    /// `keys/...`
    Slot([u8; 16]),
    /// `data/...` or `meta/...`
    Pack(PackKind, RunId, ObjectHash),
    /// `index/...`
    Segment(RunId, ObjectHash),
    /// `log/...`
    Record(u64),
    /// `checkpoint/...`
    Checkpoint(u64),
}

impl ObjectName {
    /// Understands a name; `None` if no object of ours is called so.
    pub fn parse(name: &str) -> Option<Self> {
        if name == CONFIG {
            return Some(Self::Config);
        }
        let (folder, rest) = name.split_once('/')?;
        match folder {
            KEYS => Some(Self::Slot(parse_hex(rest)?.try_into().ok()?)).filter(|_| rest.len() == 32),
            LOG => Some(Self::Record(number(rest)?)),
            CHECKPOINT => Some(Self::Checkpoint(number(rest)?)),
            DATA | META | INDEX => {
                let (run, hash) = rest.split_once('/')?;
                let (run, hash) = (RunId(number(run)?), hash.parse().ok()?);
                Some(match folder {
                    DATA => Self::Pack(PackKind::Data, run, hash),
                    META => Self::Pack(PackKind::Meta, run, hash),
                    _ => Self::Segment(run, hash),
                })
            }
            _ => None,
        }
    }
}

fn number(text: &str) -> Option<u64> {
    if text.len() == 20 && text.bytes().all(|c| c.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood_as_they_are_made() {
        let (run, hash) = (RunId(7), ObjectHash([0xab; 32]));
        let all = [
            (CONFIG.to_owned(), ObjectName::Config),
            (slot(&[1; 16]), ObjectName::Slot([1; 16])),
            (pack(PackKind::Data, run, &hash), ObjectName::Pack(PackKind::Data, run, hash)),
            (pack(PackKind::Meta, run, &hash), ObjectName::Pack(PackKind::Meta, run, hash)),
            (segment(run, &hash), ObjectName::Segment(run, hash)),
            (record(12), ObjectName::Record(12)),
            (checkpoint(12), ObjectName::Checkpoint(12)),
        ];
        for (name, object) in all {
            assert_eq!(ObjectName::parse(&name), Some(object), "{name}");
        }
        for other in ["", "config2", "log/1", "log/0000000000000000000x", "data/1/2", "keys/00", "else/1"] {
            assert_eq!(ObjectName::parse(other), None, "{other}");
        }
    }
}
