//! The folded state: what the repository is after record n.
//!
//! Plain values. Which record changes them how is `log`; how they are kept in
//! the store is `format::checkpoint`. There are no rows of blocks here: blocks are found through the packs'
//! directories, and this names where those are.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::crypto::sign::Verifier;
use crate::primitives::ids::{BlockId, ChunkId, CredentialId, KeyedTag, ObjectHash, OperationId, RunId, SnapshotId};

use super::names::PackKind;
use super::record::{Certificate, Outcome, RunKind};

/// A credential, and whether it still is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct CredentialState {
    /// What the owner said of it.
    #[n(0)]
    pub certificate: Certificate,
    /// Number of the record that revoked it.
    #[n(1)]
    pub revoked: Option<u64>,
}

/// How a run came to be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Over {
    /// Number of the record that ended or closed it.
    #[n(0)]
    pub number: u64,
    /// How it ended; `None` if it was closed.
    #[n(1)]
    pub outcome: Option<Outcome>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct RunState {
    /// Whose it is.
    #[n(0)]
    pub writer: CredentialId,
    /// What it is for.
    #[n(1)]
    pub kind: RunKind,
    /// Keyed tag of its host.
    #[n(2)]
    pub host: KeyedTag,
    /// Its writer's clock at Begin.
    #[n(3)]
    pub began_ms: i64,
    /// `None` while it is open.
    #[n(4)]
    pub over: Option<Over>,
}

/// An epoch that revoking a credential began.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct EpochState {
    /// Number of the record that began it.
    #[n(0)]
    pub began: u64,
    /// Its public key.
    #[n(1)]
    pub public: Verifier,
    /// Its keys, sealed to each credential that remained.
    #[n(2)]
    pub sealed: Vec<(CredentialId, ByteVec)>,
}

/// Where the directory of a pack is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum DirectoryHome {
    /// Inside the record of this number.
    #[n(0)]
    Record(#[n(0)] u64),
    /// In this segment.
    #[n(1)]
    Segment(#[n(0)] ObjectHash),
}

/// Dead chunks and the number of the record that found each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Doom {
    /// Number of the Doom record that last named the pack; the older one if neither found anything dead.
    #[n(0)]
    pub number: u64,
    /// By block: first chunk, count, and the record that found them dead.
    #[n(1)]
    pub dead: BTreeMap<BlockId, Vec<(u32, u32, u64)>>,
}

/// A pack.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct PackState {
    /// What it holds.
    #[n(0)]
    pub kind: PackKind,
    /// The run whose folder it lies in.
    #[n(1)]
    pub run: RunId,
    /// Its length in bytes.
    #[n(2)]
    pub len: u64,
    /// Number of the record that published it.
    #[n(3)]
    pub published: u64,
    /// Where its directory is.
    #[n(4)]
    pub home: DirectoryHome,
    /// What was found dead in it.
    #[n(5)]
    pub doom: Option<Doom>,
    /// Number of the record that condemned it.
    #[n(6)]
    pub condemned: Option<u64>,
    /// Number of the record that declared it lost.
    #[n(7)]
    pub lost: Option<u64>,
    /// Number of the newest record in which an owner vouched for it: everything in it was read then.
    #[n(8)]
    pub vouched: Option<u64>,
}

impl PackState {
    /// Whether its blocks can be counted on.
    pub fn live(&self) -> bool {
        self.condemned.is_none() && self.lost.is_none()
    }
}

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct SegmentState {
    /// The run whose folder it lies in.
    #[n(0)]
    pub run: RunId,
    /// Sealed lengths of its parts.
    #[n(1)]
    pub parts: [u64; 3],
    /// The packs whose directories it holds.
    #[n(2)]
    pub packs: Vec<ObjectHash>,
    /// Number of the record that published it.
    #[n(3)]
    pub published: u64,
    /// Number of the record that condemned it.
    #[n(4)]
    pub condemned: Option<u64>,
}

impl SegmentState {
    /// Whether the directories in it can be counted on.
    pub fn live(&self) -> bool {
        self.condemned.is_none()
    }
}

/// A snapshot that has not been forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct SnapshotState {
    /// The run that published it.
    #[n(0)]
    pub run: RunId,
    /// Number of the record that published it.
    #[n(1)]
    pub published: u64,
    /// The time it stands for.
    #[n(2)]
    pub time_ms: i64,
    /// Root of its tree.
    #[n(3)]
    pub root: ChunkId,
    /// How complete it is.
    #[n(4)]
    pub outcome: Outcome,
    /// Keyed tag of the host.
    #[n(5)]
    pub host: KeyedTag,
    /// Keyed tag of the source.
    #[n(6)]
    pub source: KeyedTag,
    /// The sealed description.
    #[n(7)]
    pub description: ByteVec,
    /// Whether Forget is refused.
    #[n(8)]
    pub held: bool,
    /// Whether a Lost left holes in it.
    #[n(9)]
    pub damaged: bool,
}

/// What the owner last said of what contradicts the history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Settlement {
    /// Number of the record; 0 if there was none.
    #[n(0)]
    pub number: u64,
    /// Objects of runs, and checkpoints, up to this number say nothing about the end of the log.
    #[n(1)]
    pub run: RunId,
    /// Objects of the log that are void whatever they say: number and hash of the bytes.
    #[n(2)]
    pub strays: BTreeMap<u64, ObjectHash>,
}

/// What the repository is after record `number`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct State {
    /// Number of the last record folded; 0 for none.
    #[n(0)]
    pub number: u64,
    /// What the next record must name as `previous`: after a valid record the hash of its bytes, after a void
    /// one a hash of this value before it and of its bytes; the hash of the config's bytes if there is none.
    #[n(1)]
    pub hash: ObjectHash,
    /// Whether it was valid.
    #[n(2)]
    pub valid: bool,
    /// The owner's verifying key, from the config.
    #[n(3)]
    pub owner: Verifier,
    /// The current epoch.
    #[n(4)]
    pub epoch: u32,
    /// Credentials other than the owner, revoked ones too.
    #[n(5)]
    pub credentials: BTreeMap<CredentialId, CredentialState>,
    /// All runs there ever were.
    #[n(6)]
    pub runs: BTreeMap<RunId, RunState>,
    /// Packs that were published and not swept.
    #[n(7)]
    pub packs: BTreeMap<ObjectHash, PackState>,
    /// Segments that were published and not swept.
    #[n(8)]
    pub segments: BTreeMap<ObjectHash, SegmentState>,
    /// Snapshots that were published and not forgotten.
    #[n(9)]
    pub snapshots: BTreeMap<SnapshotId, SnapshotState>,
    /// Operation ids seen.
    #[n(10)]
    pub operations: BTreeSet<OperationId>,
    /// Numbers of void records.
    #[n(11)]
    pub void: BTreeSet<u64>,
    /// Ids of snapshots that were forgotten. None may come back: a file cache may still name one as a parent.
    #[n(12)]
    pub forgotten: BTreeSet<SnapshotId>,
    /// Epochs that Revoke began.
    #[n(13)]
    pub epochs: BTreeMap<u32, EpochState>,
    /// Numbers of records that contradict the history, and who signed them: void ones that were signed for another
    /// history or another number, and ones that say Beyond. Settle clears it.
    #[n(14)]
    pub contradicted: BTreeMap<u64, CredentialId>,
    /// What the owner last said of such contradictions.
    #[n(15)]
    pub settled: Settlement,
}

impl State {
    /// The state before any record, of the repository with this config.
    pub fn new(owner: Verifier, config_hash: ObjectHash) -> Self {
        Self {
            number: 0,
            hash: config_hash,
            valid: true,
            owner,
            epoch: 0,
            credentials: BTreeMap::new(),
            runs: BTreeMap::new(),
            packs: BTreeMap::new(),
            segments: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            operations: BTreeSet::new(),
            void: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            epochs: BTreeMap::new(),
            contradicted: BTreeMap::new(),
            settled: Settlement::default(),
        }
    }

    /// Credentials that may sign or read now, the owner's left out.
    pub fn live_credentials(&self) -> impl Iterator<Item = (CredentialId, &CredentialState)> {
        self.credentials.iter().filter(|(_, c)| c.revoked.is_none()).map(|(id, c)| (*id, c))
    }

    /// Runs that have not ended and were not closed.
    pub fn open_runs(&self) -> impl Iterator<Item = (RunId, &RunState)> {
        self.runs.iter().filter(|(_, r)| r.over.is_none()).map(|(id, r)| (*id, r))
    }
}
