//! One golden fixture per kind of object: bytes that every later version of this program must understand.
//!
//! Each is decoded and compared with the values it was made of, and encoded again to the same bytes. Fixtures are
//! added, never changed: `STRONGROOM_FIXTURES=add cargo test --test it golden::` writes those that are not there.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use crate::harness::{Bench, far_system, names, options, text};
use bytes::Bytes;
use strongroom::crypto::keys::{Domain, DomainKeys, Epoch, EpochKeys};
use strongroom::crypto::password::COST_MIN;
use strongroom::crypto::secret::Secret;
use strongroom::crypto::sign::{Signer, Verifier};
use strongroom::format::checkpoint;
use strongroom::format::config::{Config, Parameters};
use strongroom::format::credential::CredentialFile;
use strongroom::format::description::{
    self, DataDirectory, Figures, LeftOut, RunDescription, SetDescription, SnapshotDescription, SourceOutcome,
};
use strongroom::format::directory::ChunkEntry;
use strongroom::format::envelope::{ENVELOPE_LEN, FormatError, Kind};
use strongroom::format::epoch_keys;
use strongroom::format::list::{ListChild, ListNode};
use strongroom::format::names::PackKind;
use strongroom::format::pack::{CompressedFrame, Pack, PackReader, PackWriter, TRAILER_LEN};
use strongroom::format::record::Role;
use strongroom::format::record::*;
use strongroom::format::sealed::Sealing;
use strongroom::format::segment::{self, PackSummary, SegmentContent};
use strongroom::format::slot::{self, Slot, SlotKind};
use strongroom::format::state::State;
use strongroom::format::tree::*;
use strongroom::ops::backup::backup;
use strongroom::ops::cat::cat;
use strongroom::ops::verify::{VerifyDepth, verify, verify_keyless};
use strongroom::primitives::ids::*;
use strongroom::primitives::progress::{Recorder, Silent};
use strongroom::repository::RepositoryError;
use strongroom::store::{MemoryStore, SimulatedStore, Store};

/// The stored bytes of a kind; `made` becomes them if there are none and that was asked for.
fn fixture(name: &str, made: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("{name}.bin"));
    if !made.is_empty() && std::env::var("STRONGROOM_FIXTURES").is_ok_and(|v| v == "add") && !path.exists() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create_new(&path).unwrap().write_all(made).unwrap();
    }
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// As [`fixture`], and `made` must be the same.
fn golden(name: &str, made: &[u8]) -> Vec<u8> {
    let stored = fixture(name, made);
    assert!(stored == made, "{name} is encoded otherwise than it was: old repositories could not be read");
    stored
}

fn secret() -> Secret {
    Secret::new([1; 32])
}

fn owner() -> Signer {
    Signer::new(&Secret::new([2; 32]))
}

fn sealing(secret: &Secret, encapsulation: Option<[u8; 32]>) -> Sealing<'_> {
    Sealing { secret, encapsulation, domain: Domain(0), epoch: Epoch(0) }
}

fn span(run: u64, number: u32, first: u32, count: u32) -> Reference {
    Reference { block: BlockId { run: RunId(run), number }, first, count }
}

#[test]
fn config() {
    let config = Config {
        id: RepositoryId([3; 16]),
        created_ms: 1_790_000_000_123,
        owner: owner().public(),
        public: Verifier([4; 32]),
        parameters: Parameters::default(),
        single_writer: None,
        chunker: None,
    };
    // The parameters may change for new repositories, and the old one's must still be read: they are spelled out.
    let stored = fixture("config", &config.encode(&owner(), [5; 32]));
    let read = Config::decode(&stored).unwrap();
    assert_eq!(
        (read.id, read.created_ms, read.owner, read.public),
        (config.id, config.created_ms, config.owner, config.public)
    );
    assert_eq!(read.encode(&owner(), [5; 32]), stored);
}

#[test]
fn credential() {
    let made = credential_file();
    let text = golden("credential", made.encode().as_bytes());
    let read = CredentialFile::decode(std::str::from_utf8(&text).unwrap()).unwrap();
    assert_eq!(
        (read.id(), read.role, read.domain, read.repository),
        (made.id(), Role::Read, Domain(0), made.repository)
    );
    assert_eq!(
        (read.name.as_str(), read.hosts, read.sources),
        ("drill", vec!["db1".to_owned()], vec!["/srv".to_owned()])
    );
    assert_eq!(read.epochs.len(), 2);
    let newer = String::from_utf8(text).unwrap().replacen("credential 1:", "credential 2:", 1);
    assert_eq!(CredentialFile::decode(&newer).err(), Some(FormatError::Newer { version: 2 }));
}

fn credential_file() -> CredentialFile {
    let keys = |n| (Epoch(n), EpochKeys::derive(&secret(), Epoch(n)));
    CredentialFile {
        repository: RepositoryId([3; 16]),
        owner: owner().public(),
        role: Role::Read,
        signing: Secret::new([11; 32]),
        sealing: Secret::new([12; 32]),
        domain: Domain(0),
        domain_keys: DomainKeys::derive(&secret(), Domain(0)),
        epochs: vec![keys(0), keys(1)],
        name: "drill".to_owned(),
        hosts: vec!["db1".to_owned()],
        sources: vec!["/srv".to_owned()],
        location: "s3://bucket/backups".to_owned(),
    }
}

#[test]
fn epoch_keys() {
    let (secret, keys) = (secret(), EpochKeys::derive(&secret(), Epoch(1)));
    let made = epoch_keys::seal(&keys, true, &sealing(&secret, Some([13; 32])), [14; 32]);
    let bytes = golden("epoch-keys", &made);
    let read = epoch_keys::open(&bytes, |e| {
        assert_eq!((e.kind, e.encapsulation), (Kind::EpochKeys, [13; 32]));
        Ok(secret.clone())
    });
    let read = read.unwrap();
    assert_eq!((read.public, read.log.expose()), (keys.public, keys.log.expose()));
}

#[test]
fn slot() {
    let made = slot::seal(SlotKind::Passphrase, COST_MIN, [6; 32], b"golden passphrase", &secret()).unwrap();
    let read = Slot::decode(&golden("slot", &made)).unwrap();
    assert_eq!((read.way, read.cost), (SlotKind::Passphrase, COST_MIN));
    assert_eq!(read.open(b"golden passphrase").unwrap().expose(), secret().expose());
}

fn chunk(n: u8, len: u32) -> ChunkEntry {
    ChunkEntry { id: ChunkId([n; 16]), len }
}

/// Stored frames only: what zstd makes of bytes is its own affair, and may change with its version.
fn pack(kind: PackKind) -> (Pack, [Vec<u8>; 2]) {
    let secret = secret();
    let mut writer = PackWriter::new(kind, &sealing(&secret, Some([7; 32])), [8 + kind as u8; 32]);
    let plain = [text(1, 3000), text(2, 500)];
    writer.add(CompressedFrame::new(vec![span(3, 0, 0, 2)], vec![chunk(1, 1000), chunk(2, 2000)], &plain[0], 0));
    let remnants = vec![span(1, 7, 5, 1), span(2, 9, 0, 1)];
    writer.add(CompressedFrame::new(remnants, vec![chunk(3, 200), chunk(4, 300)], &plain[1], 0));
    (writer.finish(), plain)
}

fn check_pack(name: &str, kind: PackKind) {
    let (made, plain) = pack(kind);
    let bytes = golden(name, &made.bytes);
    let reader = PackReader::new(kind, &bytes, |_| Ok(secret())).unwrap();
    let place = reader.trailer(&bytes[bytes.len() - TRAILER_LEN..], bytes.len() as u64).unwrap();
    assert_eq!(place, made.place);
    let directory = reader.directory(&bytes[place.offset as usize..][..place.len as usize], place).unwrap();
    assert_eq!(directory, made.directory);
    let mut at = ENVELOPE_LEN;
    for (i, (frame, plain)) in directory.frames.iter().zip(plain).enumerate() {
        let sealed = bytes[at..at + frame.sealed_len as usize].to_vec();
        assert_eq!(reader.frame(i as u32, sealed, frame, b""), Ok(plain));
        at += frame.sealed_len as usize;
    }
}

#[test]
fn data_pack() {
    check_pack("data-pack", PackKind::Data);
}

#[test]
fn meta_pack() {
    check_pack("meta-pack", PackKind::Meta);
}

fn summaries() -> Vec<PackSummary> {
    let of = |kind| {
        let (pack, _) = pack(kind);
        let Pack { name, bytes, place, directory } = pack;
        PackSummary { name, kind, run: RunId(3), len: bytes.len() as u64, place, directory }
    };
    vec![of(PackKind::Data), of(PackKind::Meta)]
}

#[test]
fn segment() {
    let secret = secret();
    let made = segment::seal(&summaries(), &sealing(&secret, None), [10; 32]);
    let content = segment::open(&golden("segment", &made.bytes), &secret, &made.parts).unwrap();
    let inline = SegmentContent::decode_inline(&golden("inline", &segment::encode_inline(&summaries()))).unwrap();
    assert_eq!(content, inline);
    assert_eq!(content.locations, summaries().iter().map(PackSummary::location).collect::<Vec<_>>());
    assert_eq!(content.content, Some(vec![(0, summaries()[0].directory.clone())]));
    assert_eq!(content.meta, vec![(1, summaries()[1].directory.clone())]);
}

fn every_operation() -> Vec<Operation> {
    let (hash, run, snap) = (ObjectHash([1; 32]), RunId(5), SnapshotId([3; 16]));
    let (tag, writer, bytes) = (KeyedTag([2; 16]), CredentialId([4; 16]), vec![1u8, 2, 3]);
    let snapshots = vec![snap];
    let packs = vec![PackEntry { name: hash, kind: PackKind::Meta, len: 1 << 25, run }];
    let segments = vec![SegmentEntry { name: hash, run, parts: [1, 2, 3], packs: vec![hash] }];
    let inline = Some(InlineDirectories { packs: vec![hash], bytes: bytes.clone().into() });
    let entry = SnapshotEntry {
        id: snap,
        time_ms: -5,
        root: ChunkId([6; 16]),
        outcome: Outcome::Warnings,
        parents: vec![snap],
        host: tag,
        source: tag,
        description: bytes.clone().into(),
    };
    let certificate = Certificate {
        role: Role::Backup,
        verifier: Verifier([7; 32]),
        sealing: Verifier([8; 32]),
        hosts: vec![tag],
        sources: vec![],
        description: bytes.clone().into(),
    };
    let dead = vec![DeadChunks { block: BlockId { run, number: 9 }, ranges: vec![(1, 2), (9, 1)] }];
    vec![
        Operation::Begin { kind: RunKind::Backup, host: tag, description: bytes.clone().into() },
        Operation::End { run, outcome: Outcome::Partial, description: bytes.clone().into() },
        Operation::Publish {
            run,
            packs: packs.clone(),
            segments: segments.clone(),
            inline: inline.clone(),
            snapshots: vec![entry],
        },
        Operation::Close { run },
        Operation::Forget { snapshots: snapshots.clone() },
        Operation::Hold { snapshots: snapshots.clone() },
        Operation::Unhold { snapshots: snapshots.clone() },
        Operation::Doom { packs: vec![DoomedPack { pack: hash, dead }] },
        Operation::Rewrite {
            run,
            packs,
            segments,
            inline,
            condemned_packs: vec![hash],
            condemned_segments: vec![hash],
        },
        Operation::Lost { packs: vec![hash], damaged: snapshots.clone() },
        Operation::Vouch { packs: vec![hash] },
        Operation::Swept { packs: vec![hash], segments: vec![hash], orphans: vec![(run, hash)] },
        Operation::Credential { certificate },
        Operation::Revoke {
            credential: writer,
            epoch: 1,
            public: Verifier([9; 32]),
            sealed: vec![(writer, bytes.clone().into())],
        },
        Operation::Healed { snapshots },
        Operation::Note { description: bytes.into() },
        Operation::Beyond { run },
        Operation::Settle { strays: vec![(77, hash)], run },
        Operation::Found { packs: vec![hash] },
    ]
}

#[test]
fn record() {
    let secret = secret();
    let record = Record {
        version: RECORD_VERSION,
        number: 7,
        previous: ObjectHash([11; 32]),
        previous_valid: true,
        writer: owner().public().id(),
        operation: OperationId([12; 16]),
        time_ms: 1_790_000_000_456,
        operations: every_operation(),
    };
    let stored = golden("record", &record.encode(&owner(), &sealing(&secret, None), [13; 32]));
    let signed = SignedRecord::decode(&stored, |_| Ok(secret.clone())).unwrap();
    assert_eq!(signed.record, record);
    signed.verify(&owner().public()).unwrap();
    let newer = Record { version: RECORD_VERSION + 1, ..record };
    let newer = newer.encode(&owner(), &sealing(&secret, None), [13; 32]);
    let refused = SignedRecord::decode(&newer, |_| Ok(secret.clone()));
    assert!(matches!(refused, Err(FormatError::Newer { version: 2 })), "{refused:?}");
}

/// Decoded only: it is compressed, and zstd's bytes may change with its version.
#[test]
fn checkpoint() {
    let secret = secret();
    let mut state = State::new(owner().public(), ObjectHash([14; 32]));
    (state.number, state.epoch) = (9, 2);
    state.void.insert(4);
    state.forgotten.insert(SnapshotId([15; 16]));
    let made = checkpoint::encode(&state, &owner(), &sealing(&secret, None), [16; 32]);
    let read = checkpoint::decode(&fixture("checkpoint", &made), &owner().public(), |_| Ok(secret.clone()));
    assert_eq!(read, Ok(state));
}

#[test]
fn description() {
    let secret = secret();
    let sealing = sealing(&secret, Some([17; 32]));
    let figures = Figures { files: 1, bytes: 1 << 40, changed: 3, ..Figures::default() };
    let owner = Owner { uid: 0, gid: 0, user: b"root".to_vec(), group: b"root".to_vec() };
    let xattrs = vec![Xattr { name: b"user.note".to_vec(), value: b"kept\0".to_vec() }];
    let mtime = FileTime { secs: -7, nanos: 999_999_999 };
    let root = Metadata { mode: 0o1755, owner, mtime, xattrs, link: None };
    assert_eq!(Metadata::decode(&root.encode()), Ok(root.clone()));
    let snapshot = SnapshotDescription {
        host: "db1".into(),
        user: "postgres".into(),
        source: "dump".into(),
        paths: vec![b"/srv/\xff".to_vec().into()],
        tags: vec!["nightly".into()],
        label: Some("before the upgrade".into()),
        excludes: vec!["*.tmp".into()],
        program: "strongroom 0.1.0".into(),
        figures,
        findings: vec!["one".into()],
        origin: None,
        left_out: Some(LeftOut {
            patterns: vec!["*.tmp".into()],
            caches: true,
            if_present: vec![".nobackup".into()],
            larger_than: Some(1 << 33),
            one_file_system: true,
        }),
        root: Some(root.encode().into()),
        set: None,
        stream: None,
        data_directories: None,
    };
    let run = RunDescription { host: "db1".into(), command: "backup".into(), figures, ..RunDescription::default() };
    let one = golden("snapshot-description", &description::seal(&snapshot, &sealing, [18; 32]));
    assert_eq!(description::open(&one, |_| Ok(secret.clone())), Ok(snapshot.clone()));
    let dss =
        DataDirectory { path: b"/data/dss".to_vec().into(), product: "Dataiku DSS".into(), version: "13.4.0".into() };
    let known = SnapshotDescription { data_directories: Some(vec![dss]), ..snapshot };
    let of_dss = golden("snapshot-description-of-dss", &description::seal(&known, &sealing, [20; 32]));
    assert_eq!(description::open(&of_dss, |_| Ok(secret.clone())), Ok(known));
    let set = SetDescription {
        id: SetId([21; 16]),
        sources: vec!["web/site".into(), "web/dump".into()],
        job: Some("web".into()),
        job_type: Some("Daily".into()),
        notes: None,
        records: None,
        alone: None,
    };
    let (outcome, snapshot) = (Outcome::Warnings, Some(SnapshotId([22; 16])));
    let error = Some("1 changed while read".into());
    let site = SourceOutcome { path: "web/site".into(), outcome, snapshot, error, bytes: 5, bytes_stored: 3 };
    let of_job = RunDescription { set: Some(set), sources: Some(vec![site]), ..run.clone() };
    let job = golden("run-description-of-job", &description::seal(&of_job, &sealing, [21; 32]));
    assert_eq!(description::open(&job, |_| Ok(secret.clone())), Ok(of_job));
    let other = golden("run-description", &description::seal(&run, &sealing, [19; 32]));
    assert_eq!(description::open(&other, |_| Ok(secret.clone())), Ok(run));
}

#[test]
fn tree_node() {
    let extent = |number, len| Extent { reference: span(9, number, 3, 4), len };
    let file = |content, sparse| {
        NodeKind::File(FileNode {
            size: (1 << 40) + 100,
            content,
            content_id: ContentId([20; 16]),
            sparse,
            changed_while_read: true,
        })
    };
    let owner = Owner { uid: 1000, gid: 100, user: b"me".to_vec(), group: b"us".to_vec() };
    let xattrs = vec![Xattr { name: b"user.note".to_vec(), value: b"kept\0".to_vec() }];
    let plain = Metadata { mode: 0o4755, mtime: FileTime { secs: -7, nanos: 999_999_999 }, ..Metadata::default() };
    let linked = Metadata { owner, xattrs, link: Some(HardLink { device: 5, inode: 6 }), ..plain.clone() };
    let kinds = [
        file(Content::Inline(vec![extent(1, 100), extent(0, 1 << 40)]), None),
        file(Content::List(ChunkId([21; 16])), Some(vec![DataRun { hole: 4096, data: 5 }])),
        NodeKind::Directory(ChunkId([22; 16])),
        NodeKind::Symlink(b"../else".to_vec()),
        NodeKind::Fifo,
        NodeKind::CharDevice(1, 3),
        NodeKind::BlockDevice(8, 1),
        NodeKind::Socket,
    ];
    let node = |(i, kind): (usize, NodeKind)| Node {
        name: vec![b'a' + i as u8, 0xff],
        meta: if i % 2 == 0 { plain.clone() } else { linked.clone() },
        kind,
    };
    let leaf = TreeNode::Leaf(kinds.into_iter().enumerate().map(node).collect());
    assert_eq!(TreeNode::decode(&golden("tree-leaf", &leaf.encode())), Ok(leaf));
    let child = |n: u8| TreeChild { id: ChunkId([n; 16]), first_name: vec![n], entries: 300 };
    let inner = TreeNode::Inner { level: 2, children: vec![child(1), child(2)] };
    assert_eq!(TreeNode::decode(&golden("tree-inner", &inner.encode())), Ok(inner));
}

#[test]
fn list_node() {
    let extents = [(5, 9000), (2, 100), (5, 1 << 40)];
    let leaf = ListNode::Leaf(extents.map(|(n, len)| Extent { reference: span(9, n, 7, 3), len }).to_vec());
    assert_eq!(ListNode::decode(&golden("list-leaf", &leaf.encode())), Ok(leaf));
    let child = ListChild { id: ChunkId([23; 16]), len: 1 << 33 };
    let inner = ListNode::Inner { level: 1, children: vec![child, child] };
    assert_eq!(ListNode::decode(&golden("list-inner", &inner.encode())), Ok(inner));
}

/// The object's bytes as a newer program would have written them, as far as anybody can see without its key.
fn newer(bytes: &Bytes, has_checksum: bool) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[8..10].copy_from_slice(&2u16.to_le_bytes());
    if has_checksum {
        let at = bytes.len() - 32;
        let hash = *blake3::hash(&bytes[..at]).as_bytes();
        bytes[at..].copy_from_slice(&hash);
    }
    bytes.into()
}

#[test]
fn an_unknown_version_of_any_kind_is_refused_by_name() {
    let template = Arc::new(MemoryStore::new());
    let bench = Bench { system: far_system(1), ..Bench::on(template.clone()) };
    bench.backup_stream("dump", text(1, 200_000));
    let state = bench.open().state();
    let repository = bench.open();
    let bytes = checkpoint::encode(
        &state,
        repository.keys.signer(),
        &repository.keys.log_sealing(Epoch(0)).unwrap().sealing(),
        [1; 32],
    );
    template.create(&strongroom::format::names::checkpoint(state.number), Bytes::from(bytes)).unwrap();
    for folder in ["config", "keys", "log", "data", "meta", "checkpoint"] {
        let store = Arc::new(SimulatedStore::new(Arc::new(template.fork())));
        let name = if folder == "config" { "config".to_owned() } else { names(&*store, folder)[0].clone() };
        if folder == "log" {
            // Newcomers begin above it otherwise.
            store.delete(&names(&*store, "checkpoint")[0]).unwrap();
        }
        let bytes = newer(&store.get(&name).unwrap(), !["data", "meta"].contains(&folder));
        store.overwrite(&name, bytes).unwrap();
        let bench = Bench::beside(store.clone());
        let text = match bench.try_open() {
            Err(e) => {
                assert!(matches!(e, RepositoryError::Newer { .. }), "{name}: {e:?}");
                e.to_string()
            }
            Ok(repository) => {
                let report = verify(&repository, VerifyDepth::ReadData, &Silent);
                let found = report.map_or_else(|e| e.to_string(), |r| format!("{:?}", r.findings));
                if folder != "checkpoint" {
                    let snapshot = bench.latest(&repository);
                    let mut out = Vec::new();
                    let error = cat(&repository, &snapshot, b"dump", &mut out, &Silent).unwrap_err();
                    assert!(error.to_string().contains(&name), "{name}: {error}");
                }
                let fresh = bench.folder.path().join("fresh");
                fs::create_dir(&fresh).unwrap();
                // Nobody who backs up needs to read a pack.
                backup(&repository, options(&[&fresh]), &Recorder::default()).unwrap();
                found
            }
        };
        assert!(text.contains(&name) && text.contains("newer"), "{name}: {text}");
        let keyless = verify_keyless(&*store, &Silent).unwrap().findings;
        assert!(keyless.iter().any(|f| f.object == name), "{name}: {keyless:?}");
    }
}

#[test]
fn an_unknown_version_of_every_kind_is_told_from_damage() {
    for (kind, name) in [
        (Kind::Config, "config"),
        (Kind::Slot, "slot"),
        (Kind::DataPack, "data-pack"),
        (Kind::MetaPack, "meta-pack"),
        (Kind::Segment, "segment"),
        (Kind::Record, "record"),
        (Kind::Checkpoint, "checkpoint"),
        (Kind::Description, "run-description"),
    ] {
        let bytes = newer(&Bytes::from(fixture(name, b"")), false);
        let read = strongroom::format::envelope::Envelope::expect(&bytes, kind);
        assert_eq!(read, Err(FormatError::Newer { version: 2 }), "{kind}");
    }
}
