//! Records: the steps of the repository's history.
//!
//! A record names the BLAKE3 of the record before it and what its writer held of that one (valid or void),
//! and is signed and sealed. What a record *does* is decided by `log`, the
//! same for everyone. The byte layout is `docs/FORMAT.md`, section "Record".

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::crypto::secret::Secret;
use crate::crypto::sign::{BadSignature, SIGNATURE_LEN, Signer, Verifier};
use crate::primitives::codec::{Reader, Write};
use crate::primitives::ids::{BlockId, ChunkId, CredentialId, KeyedTag, ObjectHash, OperationId, RunId, SnapshotId};

use super::envelope::{FormatError, Kind, append_checksum, check_checksum};
use super::names::PackKind;
use super::sealed::{Sealing, open_value, seal_value};

/// A record is padded to at least this many bytes, its checksum not counted.
pub const RECORD_LEN_MIN: usize = 512;
/// The version of records that this program writes, and the newest that it reads.
pub const RECORD_VERSION: u32 = 1;

const CONTEXT: &str = "strongroom 2026-11 signature of a record";

/// One step of the history.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Record {
    /// Version of the rules by which it is judged.
    #[n(0)]
    pub version: u32,
    /// Its number.
    #[n(1)]
    pub number: u64,
    /// `State::hash` before it: BLAKE3 of the bytes of the record before it if that was valid, of the config's for
    /// record 1; after a void record, chained so that it still covers all of the history.
    #[n(2)]
    pub previous: ObjectHash,
    /// Whether the writer holds the record before it to be valid.
    #[n(3)]
    pub previous_valid: bool,
    /// Who signs.
    #[n(4)]
    pub writer: CredentialId,
    /// Random; a repeated one is void.
    #[n(5)]
    pub operation: OperationId,
    /// The writer's clock, in milliseconds since the epoch. Told, never used to decide.
    #[n(6)]
    pub time_ms: i64,
    /// What is done, all or nothing, in order.
    #[n(7)]
    pub operations: Vec<Operation>,
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum RunKind {
    /// Adds snapshots.
    #[n(0)]
    Backup,
    /// Rewrites packs.
    #[n(1)]
    Prune,
    /// Heals.
    #[n(2)]
    Repair,
    /// Brings snapshots from another repository.
    #[n(3)]
    Copy,
}

/// How a run or a snapshot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Outcome {
    /// All of it.
    #[n(0)]
    Complete,
    /// Something vanished or changed meanwhile; counts for retention.
    #[n(1)]
    Warnings,
    /// Something could not be read, or a source failed.
    #[n(2)]
    Partial,
    /// Nothing came of it.
    #[n(3)]
    Failed,
    /// Found dead, and ended by a later run of the same machine.
    #[n(4)]
    Crashed,
}

/// A pack, as a record names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PackEntry {
    /// Its name.
    #[n(0)]
    pub name: ObjectHash,
    /// What it holds.
    #[n(1)]
    pub kind: PackKind,
    /// Its length in bytes.
    #[n(2)]
    pub len: u64,
    /// The run whose folder it lies in.
    #[n(3)]
    pub run: RunId,
}

/// A segment, as a record names it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SegmentEntry {
    /// Its name.
    #[n(0)]
    pub name: ObjectHash,
    /// The run whose folder it lies in.
    #[n(1)]
    pub run: RunId,
    /// Sealed lengths of its three parts.
    #[n(2)]
    pub parts: [u64; 3],
    /// The packs whose directories it holds.
    #[n(3)]
    pub packs: Vec<ObjectHash>,
}

/// Directories of packs, inside the record.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct InlineDirectories {
    /// The packs.
    #[n(0)]
    pub packs: Vec<ObjectHash>,
    /// As `format::segment::encode_inline` makes them.
    #[n(1)]
    pub bytes: ByteVec,
}

/// A snapshot, as a record publishes it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotEntry {
    /// Its id.
    #[n(0)]
    pub id: SnapshotId,
    /// The time it stands for, in milliseconds since the epoch.
    #[n(1)]
    pub time_ms: i64,
    /// Root of its tree.
    #[n(2)]
    pub root: ChunkId,
    /// How complete it is.
    #[n(3)]
    pub outcome: Outcome,
    /// Snapshots whose content it reuses unread.
    #[n(4)]
    pub parents: Vec<SnapshotId>,
    /// Keyed tag of the host.
    #[n(5)]
    pub host: KeyedTag,
    /// Keyed tag of the source.
    #[n(6)]
    pub source: KeyedTag,
    /// The sealed description.
    #[n(7)]
    pub description: ByteVec,
}

/// Dead chunks of one block.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DeadChunks {
    /// The block.
    #[n(0)]
    pub block: BlockId,
    /// First chunk and count of each range, ascending.
    #[n(1)]
    pub ranges: Vec<(u32, u32)>,
}

/// A pack found to hold dead chunks.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DoomedPack {
    /// The pack.
    #[n(0)]
    pub pack: ObjectHash,
    /// What is dead in it; empty if it is to be rewritten for another reason.
    #[n(1)]
    pub dead: Vec<DeadChunks>,
}

/// What a credential may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// Everything.
    #[n(0)]
    Owner,
    /// Add and deduplicate.
    #[n(1)]
    Backup,
    /// Open and sign nothing.
    #[n(2)]
    Read,
}

/// What the owner says of a credential.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Certificate {
    /// What it may do.
    #[n(0)]
    pub role: Role,
    /// Checks what it signs.
    #[n(1)]
    pub verifier: Verifier,
    /// Keys for it are sealed to this X25519 key.
    #[n(2)]
    pub sealing: Verifier,
    /// Keyed tags of the hosts it may speak for.
    #[n(3)]
    pub hosts: Vec<KeyedTag>,
    /// Keyed tags of the sources it may speak for; empty: any.
    #[n(4)]
    pub sources: Vec<KeyedTag>,
    /// Sealed description: its name.
    #[n(5)]
    pub description: ByteVec,
}

/// What a record does.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Operation {
    /// Begins the run whose id is this record's number.
    #[n(0)]
    Begin {
        /// What it is for.
        #[n(0)]
        kind: RunKind,
        /// Keyed tag of the host.
        #[n(1)]
        host: KeyedTag,
        /// The sealed description.
        #[n(2)]
        description: ByteVec,
    },
    /// Ends the signer's own run.
    #[n(1)]
    End {
        /// The run.
        #[n(0)]
        run: RunId,
        /// How it ended.
        #[n(1)]
        outcome: Outcome,
        /// The sealed description.
        #[n(2)]
        description: ByteVec,
    },
    /// Makes packs, their directories and snapshots part of the repository.
    #[n(2)]
    Publish {
        /// The signer's open run.
        #[n(0)]
        run: RunId,
        /// New packs.
        #[n(1)]
        packs: Vec<PackEntry>,
        /// Segments with their directories.
        #[n(2)]
        segments: Vec<SegmentEntry>,
        /// Directories of those that are in no segment.
        #[n(3)]
        inline: Option<InlineDirectories>,
        /// New snapshots.
        #[n(4)]
        snapshots: Vec<SnapshotEntry>,
    },
    /// Closes a run that fell silent.
    #[n(3)]
    Close {
        /// The run.
        #[n(0)]
        run: RunId,
    },
    /// Removes snapshots.
    #[n(4)]
    Forget {
        /// The snapshots.
        #[n(0)]
        snapshots: Vec<SnapshotId>,
    },
    /// Protects snapshots from Forget.
    #[n(5)]
    Hold {
        /// The snapshots.
        #[n(0)]
        snapshots: Vec<SnapshotId>,
    },
    /// Takes a Hold back.
    #[n(6)]
    Unhold {
        /// The snapshots.
        #[n(0)]
        snapshots: Vec<SnapshotId>,
    },
    /// Says which chunks of which packs no live snapshot needs.
    #[n(7)]
    Doom {
        /// The packs.
        #[n(0)]
        packs: Vec<DoomedPack>,
    },
    /// Replaces packs: from here on the condemned ones may be deleted.
    #[n(8)]
    Rewrite {
        /// The signer's open run.
        #[n(0)]
        run: RunId,
        /// New packs.
        #[n(1)]
        packs: Vec<PackEntry>,
        /// New segments.
        #[n(2)]
        segments: Vec<SegmentEntry>,
        /// Directories in this record.
        #[n(3)]
        inline: Option<InlineDirectories>,
        /// Packs that may be deleted.
        #[n(4)]
        condemned_packs: Vec<ObjectHash>,
        /// Segments that may be deleted.
        #[n(5)]
        condemned_segments: Vec<ObjectHash>,
    },
    /// Declares packs lost. Deletes nothing.
    #[n(9)]
    Lost {
        /// The packs.
        #[n(0)]
        packs: Vec<ObjectHash>,
        /// The snapshots that this leaves damaged.
        #[n(1)]
        damaged: Vec<SnapshotId>,
    },
    /// Vouches for packs that were opened and whose ids were recomputed.
    #[n(10)]
    Vouch {
        /// The packs.
        #[n(0)]
        packs: Vec<ObjectHash>,
    },
    /// Says that names were deleted.
    #[n(11)]
    Swept {
        /// Condemned packs that are gone.
        #[n(0)]
        packs: Vec<ObjectHash>,
        /// Condemned segments that are gone.
        #[n(1)]
        segments: Vec<ObjectHash>,
        /// Objects of runs that are over which nothing had published: run and name.
        #[n(2)]
        orphans: Vec<(RunId, ObjectHash)>,
    },
    /// Admits a credential.
    #[n(12)]
    Credential {
        /// What the owner says of it.
        #[n(0)]
        certificate: Certificate,
    },
    /// Ends a credential and begins an epoch.
    #[n(13)]
    Revoke {
        /// The credential.
        #[n(0)]
        credential: CredentialId,
        /// The epoch that begins.
        #[n(1)]
        epoch: u32,
        /// The new epoch's public key.
        #[n(2)]
        public: Verifier,
        /// The new epoch's keys, sealed to each credential that remains.
        #[n(3)]
        sealed: Vec<(CredentialId, ByteVec)>,
    },
    /// Makes damaged snapshots whole again, after a Rewrite brought their blocks back.
    #[n(14)]
    Healed {
        /// The snapshots.
        #[n(0)]
        snapshots: Vec<SnapshotId>,
    },
    /// A sealed text.
    #[n(15)]
    Note {
        /// The sealed description.
        #[n(0)]
        description: ByteVec,
    },
    /// Says that the store has objects of runs that the log does not reach: records are missing at its end.
    #[n(16)]
    Beyond {
        /// The run of such an object, which is later than this record.
        #[n(0)]
        run: RunId,
    },
    /// The owner has looked at what contradicts the history: it counts as it was folded up to this record.
    #[n(17)]
    Settle {
        /// Objects at later numbers of the log, which are void: number and hash of the bytes.
        #[n(0)]
        strays: Vec<(u64, ObjectHash)>,
        /// Objects of runs, and checkpoints, up to this number say nothing any more about the end of the log.
        #[n(1)]
        run: RunId,
    },
    /// Takes lost packs in again that were found and read whole, their ids recomputed.
    #[n(18)]
    Found {
        /// The packs.
        #[n(0)]
        packs: Vec<ObjectHash>,
    },
}

impl Record {
    /// Signs, seals and encodes the record.
    pub fn encode(&self, signer: &Signer, sealing: &Sealing, salt: [u8; 32]) -> Vec<u8> {
        let body = minicbor::to_vec(self).expect("writing to memory does not fail");
        let signature = signer.sign(CONTEXT, &body);
        let mut content = Vec::with_capacity(body.len() + SIGNATURE_LEN);
        content.raw(&body);
        content.raw(&signature);
        let mut out = seal_value(Kind::Record, sealing, salt, &content, RECORD_LEN_MIN);
        append_checksum(&mut out);
        out
    }
}

/// A record as it was read; its signature is checked once its writer's key is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRecord {
    /// What it says.
    pub record: Record,
    /// BLAKE3 of its bytes in the store.
    pub hash: ObjectHash,
    body: Vec<u8>,
    signature: [u8; SIGNATURE_LEN],
}

impl SignedRecord {
    /// Opens a record, given the log key for its envelope.
    pub fn decode(
        bytes: &[u8],
        secret: impl FnOnce(&super::envelope::Envelope) -> Result<Secret, FormatError>,
    ) -> Result<Self, FormatError> {
        let content = check_checksum(bytes)?;
        let content = open_value(Kind::Record, content, secret)?;
        let mut r = Reader::new(&content);
        let len = content.len().checked_sub(SIGNATURE_LEN).ok_or(FormatError::Signature)?;
        let body = r.take(len)?.to_vec();
        let signature = r.array()?;
        let mut head = minicbor::Decoder::new(&body);
        head.array()?;
        let version = head.u32()?;
        if version > RECORD_VERSION {
            return Err(FormatError::Newer { version: u16::try_from(version).unwrap_or(u16::MAX) });
        }
        let record: Record = minicbor::decode(&body)?;
        Ok(Self { record, hash: hash(bytes), body, signature })
    }

    /// Checks that `verifier` signed it.
    pub fn verify(&self, verifier: &Verifier) -> Result<(), BadSignature> {
        verifier.verify(CONTEXT, &self.body, &self.signature)
    }
}

/// The hash by which the next record names these bytes.
pub fn hash(bytes: &[u8]) -> ObjectHash {
    ObjectHash(*blake3::hash(bytes).as_bytes())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::crypto::keys::{Domain, Epoch};

    pub(crate) fn every_operation() -> Vec<Operation> {
        let (hash, run, block) = (ObjectHash([1; 32]), RunId(5), BlockId { run: RunId(4), number: 9 });
        let (tag, snap, bytes) = (KeyedTag([2; 16]), SnapshotId([3; 16]), ByteVec::from(vec![1, 2, 3]));
        let pack = PackEntry { name: hash, kind: PackKind::Data, len: 1 << 25, run };
        let segment = SegmentEntry { name: hash, run, parts: [1, 2, 3], packs: vec![hash] };
        let inline = Some(InlineDirectories { packs: vec![hash], bytes: bytes.clone() });
        let snapshot = SnapshotEntry {
            id: snap,
            time_ms: -5,
            root: ChunkId([6; 16]),
            outcome: Outcome::Warnings,
            parents: vec![snap],
            host: tag,
            source: tag,
            description: bytes.clone(),
        };
        let certificate = Certificate {
            role: Role::Backup,
            verifier: Verifier([7; 32]),
            sealing: Verifier([8; 32]),
            hosts: vec![tag],
            sources: vec![],
            description: bytes.clone(),
        };
        let dead = vec![DeadChunks { block, ranges: vec![(1, 2), (9, 1)] }];
        vec![
            Operation::Begin { kind: RunKind::Backup, host: tag, description: bytes.clone() },
            Operation::End { run, outcome: Outcome::Partial, description: bytes.clone() },
            Operation::Publish {
                run,
                packs: vec![pack],
                segments: vec![segment.clone()],
                inline: inline.clone(),
                snapshots: vec![snapshot],
            },
            Operation::Close { run },
            Operation::Forget { snapshots: vec![snap] },
            Operation::Hold { snapshots: vec![snap] },
            Operation::Unhold { snapshots: vec![snap] },
            Operation::Doom { packs: vec![DoomedPack { pack: hash, dead }] },
            Operation::Rewrite {
                run,
                packs: vec![pack],
                segments: vec![segment],
                inline,
                condemned_packs: vec![hash],
                condemned_segments: vec![hash],
            },
            Operation::Lost { packs: vec![hash], damaged: vec![snap] },
            Operation::Vouch { packs: vec![hash] },
            Operation::Swept { packs: vec![hash], segments: vec![], orphans: vec![(run, hash)] },
            Operation::Credential { certificate },
            Operation::Revoke {
                credential: CredentialId([9; 16]),
                epoch: 1,
                public: Verifier([7; 32]),
                sealed: vec![(CredentialId([9; 16]), bytes.clone())],
            },
            Operation::Healed { snapshots: vec![snap] },
            Operation::Note { description: bytes },
            Operation::Beyond { run: RunId(99) },
            Operation::Settle { strays: vec![(77, hash)], run: RunId(99) },
            Operation::Found { packs: vec![hash] },
        ]
    }

    fn record() -> Record {
        Record {
            version: RECORD_VERSION,
            number: 12,
            previous: ObjectHash([4; 32]),
            previous_valid: true,
            writer: CredentialId([5; 16]),
            operation: OperationId([6; 16]),
            time_ms: 1_800_000_000_000,
            operations: every_operation(),
        }
    }

    #[test]
    fn every_operation_comes_back_signed() {
        let (secret, signer) = (Secret::new([1; 32]), Signer::new(&Secret::new([2; 32])));
        let sealing = Sealing { secret: &secret, encapsulation: None, domain: Domain(0), epoch: Epoch(0) };
        let bytes = record().encode(&signer, &sealing, [3; 32]);
        let read = SignedRecord::decode(&bytes, |_| Ok(secret.clone())).unwrap();
        assert_eq!(read.record, record());
        assert_eq!(read.verify(&signer.public()), Ok(()));
        assert!(read.verify(&Signer::new(&Secret::new([9; 32])).public()).is_err());
        for at in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(SignedRecord::decode(&damaged, |_| Ok(secret.clone())).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_newer_record_is_refused_as_newer() {
        let (secret, signer) = (Secret::new([1; 32]), Signer::new(&Secret::new([2; 32])));
        let sealing = Sealing { secret: &secret, encapsulation: None, domain: Domain(0), epoch: Epoch(0) };
        let newer = Record { version: 2, ..record() };
        let bytes = newer.encode(&signer, &sealing, [3; 32]);
        let error = SignedRecord::decode(&bytes, |_| Ok(secret.clone())).unwrap_err();
        assert_eq!(error, FormatError::Newer { version: 2 });
    }
}
