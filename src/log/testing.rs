//! A small repository for tests: an owner, two backup credentials and a reader, and a log without cryptography.

use minicbor::bytes::ByteVec;

use crate::crypto::sign::Verifier;
use crate::format::names::PackKind;
use crate::format::record::{
    Certificate, DeadChunks, DoomedPack, InlineDirectories, Operation, Outcome, PackEntry, RECORD_VERSION, Record,
    Role, RunKind, SegmentEntry, SnapshotEntry,
};
use crate::format::state::State;
use crate::primitives::ids::{BlockId, ChunkId, KeyedTag, ObjectHash, OperationId, RunId, SnapshotId};

use super::{LogEntry, Signed, Verdict, VoidReason, judge, step};

pub(super) const OWNER: Verifier = Verifier([1; 32]);
/// May speak for host 1 and any source.
pub(super) const ALICE: Verifier = Verifier([2; 32]);
/// May speak for host 2 and source 2.
pub(super) const BOB: Verifier = Verifier([3; 32]);
/// May read.
pub(super) const RITA: Verifier = Verifier([4; 32]);

/// A record signed by whom it says, unless told otherwise.
pub(super) struct Plain(pub Record, pub bool);

impl Signed for Plain {
    fn record(&self) -> &Record {
        &self.0
    }
    fn signed_by(&self, verifier: &Verifier) -> bool {
        self.1 && verifier.id() == self.0.writer
    }
}

pub(super) fn tag(n: u8) -> KeyedTag {
    KeyedTag([n; 16])
}

pub(super) fn name(n: u64) -> ObjectHash {
    let mut out = [0xaa; 32];
    out[..8].copy_from_slice(&n.to_be_bytes());
    ObjectHash(out)
}

pub(super) fn snap(n: u64) -> SnapshotId {
    let mut out = [0xbb; 16];
    out[..8].copy_from_slice(&n.to_be_bytes());
    SnapshotId(out)
}

pub(super) fn text() -> ByteVec {
    ByteVec::from(vec![7])
}

pub(super) fn note() -> Operation {
    Operation::Note { description: text() }
}

pub(super) fn begin(kind: RunKind, host: u8) -> Operation {
    Operation::Begin { kind, host: tag(host), description: text() }
}

pub(super) fn end(run: u64) -> Operation {
    Operation::End { run: RunId(run), outcome: Outcome::Complete, description: text() }
}

pub(super) fn close(run: u64) -> Operation {
    Operation::Close { run: RunId(run) }
}

pub(super) fn pack(run: u64, n: u64) -> PackEntry {
    PackEntry { name: name(n), kind: PackKind::Data, len: 1 << 20, run: RunId(run) }
}

pub(super) fn segment(run: u64, n: u64, packs: &[u64]) -> SegmentEntry {
    let packs = packs.iter().map(|p| name(*p)).collect();
    SegmentEntry { name: name(n), run: RunId(run), parts: [1, 2, 3], packs }
}

pub(super) fn inline(packs: &[u64]) -> Option<InlineDirectories> {
    let packs: Vec<_> = packs.iter().map(|p| name(*p)).collect();
    (!packs.is_empty()).then(|| InlineDirectories { packs, bytes: text() })
}

pub(super) fn snapshot(n: u64, parents: &[u64], host: u8, source: u8) -> SnapshotEntry {
    SnapshotEntry {
        id: snap(n),
        time_ms: 5,
        root: ChunkId([n as u8; 16]),
        outcome: Outcome::Complete,
        parents: parents.iter().map(|p| snap(*p)).collect(),
        host: tag(host),
        source: tag(source),
        description: text(),
    }
}

/// Publishes packs with inline directories, and snapshots.
pub(super) fn publish(run: u64, packs: &[u64], snapshots: Vec<SnapshotEntry>) -> Operation {
    let entries = packs.iter().map(|p| pack(run, *p)).collect();
    Operation::Publish { run: RunId(run), packs: entries, segments: vec![], inline: inline(packs), snapshots }
}

/// Publishes packs with their directories in one segment.
pub(super) fn publish_segment(run: u64, packs: &[u64], in_segment: u64) -> Operation {
    let entries = packs.iter().map(|p| pack(run, *p)).collect();
    let segments = vec![segment(run, in_segment, packs)];
    Operation::Publish { run: RunId(run), packs: entries, segments, inline: None, snapshots: vec![] }
}

pub(super) fn doom_ranges(pack: u64, ranges: &[(u32, u32)]) -> Operation {
    let block = BlockId { run: RunId(1), number: 0 };
    let dead = if ranges.is_empty() { vec![] } else { vec![DeadChunks { block, ranges: ranges.to_vec() }] };
    Operation::Doom { packs: vec![DoomedPack { pack: name(pack), dead }] }
}

/// Condemns packs and segments, and brings new packs with inline directories.
pub(super) fn rewrite(run: u64, new: &[u64], packs: &[u64], segments: &[u64]) -> Operation {
    Operation::Rewrite {
        run: RunId(run),
        packs: new.iter().map(|p| pack(run, *p)).collect(),
        segments: vec![],
        inline: inline(new),
        condemned_packs: packs.iter().map(|p| name(*p)).collect(),
        condemned_segments: segments.iter().map(|s| name(*s)).collect(),
    }
}

pub(super) fn swept(packs: &[u64], segments: &[u64], orphans: &[(u64, u64)]) -> Operation {
    Operation::Swept {
        packs: packs.iter().map(|p| name(*p)).collect(),
        segments: segments.iter().map(|s| name(*s)).collect(),
        orphans: orphans.iter().map(|(run, n)| (RunId(*run), name(*n))).collect(),
    }
}

pub(super) fn lost(packs: &[u64], damaged: &[u64]) -> Operation {
    Operation::Lost {
        packs: packs.iter().map(|p| name(*p)).collect(),
        damaged: damaged.iter().map(|s| snap(*s)).collect(),
    }
}

pub(super) fn snaps(ids: &[u64]) -> Vec<SnapshotId> {
    ids.iter().map(|s| snap(*s)).collect()
}

pub(super) fn certificate(role: Role, verifier: Verifier, hosts: &[u8], sources: &[u8]) -> Certificate {
    let tags = |of: &[u8]| of.iter().map(|t| tag(*t)).collect();
    Certificate { role, verifier, sealing: verifier, hosts: tags(hosts), sources: tags(sources), description: text() }
}

pub(super) fn admit(certificate: Certificate) -> Operation {
    Operation::Credential { certificate }
}

/// With keys for the others of the scene.
pub(super) fn revoke(verifier: Verifier, epoch: u32) -> Operation {
    let others: Vec<Verifier> = [ALICE, BOB, RITA].into_iter().filter(|v| *v != verifier).collect();
    revoke_sealing(verifier, epoch, &others)
}

pub(super) fn revoke_sealing(verifier: Verifier, epoch: u32, to: &[Verifier]) -> Operation {
    let sealed = to.iter().map(|v| (v.id(), text())).collect();
    Operation::Revoke { credential: verifier.id(), epoch, public: Verifier([9; 32]), sealed }
}

/// The state, and how it came to be.
#[derive(Clone)]
pub(super) struct Scene {
    pub state: State,
}

impl Scene {
    /// After record 1, which admits the credentials.
    pub(super) fn new() -> Self {
        let mut scene = Self { state: State::new(OWNER, ObjectHash([0; 32])) };
        let all = vec![
            admit(certificate(Role::Backup, ALICE, &[1], &[])),
            admit(certificate(Role::Backup, BOB, &[2], &[2])),
            admit(certificate(Role::Read, RITA, &[], &[])),
        ];
        scene.ok(OWNER, all);
        scene
    }

    /// The record that would come next.
    pub(super) fn record(&self, writer: Verifier, operations: Vec<Operation>) -> Record {
        let number = self.state.number + 1;
        Record {
            version: RECORD_VERSION,
            number,
            previous: self.state.hash,
            previous_valid: self.state.valid,
            writer: writer.id(),
            operation: OperationId(u128::from(number).to_be_bytes()),
            time_ms: 1_000,
            operations,
        }
    }

    /// Folds the record, and checks what holds of every verdict.
    pub(super) fn fold(&mut self, record: Record) -> Verdict {
        let before = self.state.clone();
        let number = before.number + 1;
        let (judged, hash) = (judge(&before, &record), name(number + (1 << 32)));
        let plain = Plain(record, true);
        let entry = LogEntry { number, hash, content: Ok(&plain) };
        let verdict = step(&mut self.state, &entry).expect("the record is void or valid");
        assert_eq!(
            judged,
            match &verdict {
                Verdict::Valid => Ok(()),
                Verdict::Void(reason) => Err(reason.clone()),
            }
        );
        if !verdict.is_valid() {
            assert_nothing_done(&before, &self.state);
        }
        verdict
    }

    /// Appends a record that must be valid; returns its number.
    #[track_caller]
    pub(super) fn ok(&mut self, writer: Verifier, operations: Vec<Operation>) -> u64 {
        let verdict = self.fold(self.record(writer, operations));
        assert_eq!(verdict, Verdict::Valid);
        self.state.number
    }

    /// Appends a record that must be void for this reason.
    #[track_caller]
    pub(super) fn void(&mut self, writer: Verifier, operations: Vec<Operation>, reason: VoidReason) {
        let verdict = self.fold(self.record(writer, operations));
        assert_eq!(verdict, Verdict::Void(reason));
    }
}

/// A void record changed nothing but number, hash, verdict, the list of void records and perhaps that of contradictions.
#[track_caller]
pub(super) fn assert_nothing_done(before: &State, after: &State) {
    let mut expected = before.clone();
    expected.number += 1;
    expected.valid = false;
    expected.void.insert(expected.number);
    expected.hash = after.hash;
    if let Some(writer) = after.contradicted.get(&expected.number) {
        expected.contradicted.insert(expected.number, *writer);
    }
    assert_eq!(&expected, after);
    assert_ne!(before.hash, after.hash);
}
