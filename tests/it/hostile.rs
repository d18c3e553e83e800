//! A backup credential in an attacker's hands. Each attempt is refused, void or contained; the table in
//! `docs/THREATS.md` names the test of each.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use crate::harness::story::everything;
use crate::harness::{Bench, Machine, difference, names, text};
use bytes::Bytes;
use strongroom::crypto::keys::Epoch;
use strongroom::format::description::{self, SnapshotDescription};
use strongroom::format::directory::ChunkEntry;
use strongroom::format::envelope::{Envelope, FormatError, Kind, append_checksum};
use strongroom::format::names::PackKind;
use strongroom::format::pack::PackReader;
use strongroom::format::record::{
    InlineDirectories, Operation, Outcome, PackEntry, RECORD_VERSION, Record, Role, RunKind, SegmentEntry,
    SnapshotEntry,
};
use strongroom::format::segment::{PackSummary, encode_inline};
use strongroom::ops::credentials;
use strongroom::ops::forget::policy::{Keep, Policy};
use strongroom::ops::forget::{ForgetOptions, GroupBy, Which, forget};
use strongroom::ops::prune::prune;
use strongroom::ops::verify::{Part, VerifyDepth, remember, verify};
use strongroom::primitives::ids::{BlockId, ChunkId, KeyedTag, ObjectHash, OperationId, Reference, RunId, SnapshotId};
use strongroom::primitives::progress::Silent;
use strongroom::repository::snapshots::{SnapshotFilter, SnapshotName};
use strongroom::repository::write::packer::{NewFrame, Packer, PackerThreads};
use strongroom::repository::{Repository, RepositoryError};
use strongroom::store::Created;

struct Scene {
    bench: Bench,
    root: tempfile::TempDir,
    hostile: Machine,
    victim: Machine,
}

/// The owner and a victim have backed up a tree; the attacker's machine is called mallory.
fn scene() -> Scene {
    let (bench, root) = (Bench::new(), tempfile::tempdir().unwrap());
    for n in 0..10 {
        fs::write(root.path().join(format!("{n}")), text(n, 60_000)).unwrap();
    }
    let (hostile, victim) = (bench.machine(Role::Backup, "mallory"), bench.machine(Role::Backup, "victim"));
    bench.backup(&[root.path()]);
    victim.backup(&[root.path()]);
    Scene { bench, root, hostile, victim }
}

impl Scene {
    /// Everyone goes on: both back up, all of it comes back on a bare machine, and nothing is damaged.
    fn all_is_well(&self) {
        fs::write(self.root.path().join("new"), text(1000, 40_000)).unwrap();
        self.bench.backup(&[self.root.path()]);
        self.victim.backup(&[self.root.path()]);
        let bare = Bench::beside(self.bench.store.clone());
        let repository = bare.open();
        for snapshot in repository.snapshots().unwrap().iter().rev().take(2) {
            let target = tempfile::tempdir().unwrap();
            let report =
                crate::harness::try_restore(&repository, snapshot, target.path(), Some(self.root.path())).unwrap();
            assert_eq!(report.problems, Vec::<String>::new());
            assert_eq!(difference(self.root.path(), target.path()), "");
        }
    }
}

/// A record at the next number, signed by the attacker and not judged by anybody.
fn write_record(repository: &Repository, operations: Vec<Operation>, change: impl FnOnce(&mut Record)) -> u64 {
    let state = repository.refresh().unwrap();
    let mut record = Record {
        version: RECORD_VERSION,
        number: state.number + 1,
        previous: state.hash,
        previous_valid: state.valid,
        writer: repository.keys.id(),
        operation: OperationId(strongroom::primitives::system::random(&*repository.system)),
        time_ms: 0,
        operations,
    };
    change(&mut record);
    let sealing = repository.keys.log_sealing(Epoch(state.epoch)).unwrap();
    let salt = strongroom::primitives::system::random(&*repository.system);
    let bytes = record.encode(repository.keys.signer(), &sealing.sealing(), salt);
    write_bytes(repository, state.number + 1, bytes)
}

fn write_bytes(repository: &Repository, number: u64, bytes: Vec<u8>) -> u64 {
    let name = strongroom::format::names::record(number);
    assert_eq!(repository.store.create(&name, Bytes::from(bytes)).unwrap(), Created::New);
    number
}

fn begin(repository: &Repository, host: &str) -> Operation {
    let secret = repository.run_secret().unwrap();
    let described = SnapshotDescription::default();
    let description = description::seal(&described, &secret.sealing(), [9; 32]);
    Operation::Begin { kind: RunKind::Backup, host: repository.domain_keys().host(host), description }
}

fn own_run(repository: &Arc<Repository>) -> RunId {
    RunId(repository.append(&mut |_| Ok(vec![begin(repository, "mallory")])).unwrap())
}

/// A pack of the run with whatever directory the attacker likes.
fn pack(repository: &Arc<Repository>, run: RunId, kind: PackKind, span: Reference, ids: &[ChunkId]) -> PackSummary {
    let folder = tempfile::tempdir().unwrap();
    let local = strongroom::repository::state_dir::LocalState::open(folder.path(), repository.config.id).unwrap();
    let folder = Arc::new(local.begin_run(run).unwrap());
    let secret = repository.run_secret().unwrap();
    let mut packer = Packer::start(repository, run, secret, folder, PackerThreads { compress: 1, upload: 1 });
    let chunks = ids.iter().map(|id| ChunkEntry { id: *id, len: 1000 }).collect();
    let plaintext = vec![b'!'; 1000 * ids.len()];
    packer.add(kind, NewFrame::Plain { spans: vec![span], chunks, plaintext, level: 3 }).unwrap();
    packer.finish().unwrap().remove(0)
}

fn publish(run: RunId, pack: &PackSummary, snapshots: Vec<SnapshotEntry>) -> Operation {
    let entry = PackEntry { name: pack.name, kind: pack.kind, len: pack.len, run };
    let bytes = encode_inline(std::slice::from_ref(pack)).into();
    let inline = Some(InlineDirectories { packs: vec![pack.name], bytes });
    Operation::Publish { run, packs: vec![entry], segments: vec![], inline, snapshots }
}

/// Ids of all chunks and nodes that the owner has stored.
fn known_ids(scene: &Scene, kind: PackKind) -> Vec<ChunkId> {
    let repository = scene.bench.open();
    repository.sync_content(true).unwrap();
    let mut ids = BTreeSet::new();
    for (name, _) in repository.state().packs.iter().filter(|(_, p)| p.kind == kind) {
        let row = repository.cache().pack_by_name(name).unwrap().unwrap().row;
        for frame in repository.cache().frames(row).unwrap() {
            let directory = repository.cache().frame_directory(frame.row).unwrap().unwrap();
            ids.extend(directory.chunks.iter().map(|c| c.id));
        }
    }
    ids.into_iter().collect()
}

fn expect_void(scene: &Scene, number: u64) {
    let state = scene.bench.open().state();
    assert!(state.void.contains(&number), "record {number} counts");
}

/// MYDB-2: everything is sealed for the owner.
#[test]
fn it_decrypts_no_pack_and_no_description_with_any_key_it_holds() {
    let scene = scene();
    let repository = scene.hostile.open();
    let file = &scene.hostile.file;
    let keys = &file.domain_keys;
    let mut secrets = vec![&file.signing, &file.sealing, &keys.chunk_id, &keys.chunker, &keys.tag];
    secrets.extend(file.epochs.iter().flat_map(|(_, k)| [&k.log, &k.psk]));
    assert!(file.epochs.iter().all(|(_, k)| k.open.is_none()));
    for (kind, folder) in [(PackKind::Data, "data"), (PackKind::Meta, "meta")] {
        for name in names(&*scene.bench.store, folder) {
            let bytes = scene.bench.store.get(&name).unwrap();
            let open = |secret| PackReader::new(kind, &bytes, |e: &Envelope| secret_for(&repository, secret, e)).err();
            assert_eq!(open(None), Some(FormatError::MayNotRead), "{name}");
            for secret in &secrets {
                assert_eq!(open(Some(secret)), Some(FormatError::WrongKey), "{name}");
            }
        }
    }
    assert!(matches!(repository.snapshots(), Err(RepositoryError::MayNotRead { .. })));
}

fn secret_for(
    repository: &Repository,
    secret: Option<&strongroom::crypto::secret::Secret>,
    envelope: &Envelope,
) -> Result<strongroom::crypto::secret::Secret, FormatError> {
    secret.cloned().map_or_else(|| repository.keys.secret(envelope), Ok)
}

/// CC-4: a bad upload takes the place of no good one.
#[test]
fn it_overwrites_nothing() {
    let scene = scene();
    let repository = scene.hostile.open();
    for folder in ["data", "meta", "log", "keys"] {
        for name in names(&*scene.bench.store, folder) {
            let before = scene.bench.store.get(&name).unwrap();
            assert_eq!(repository.store.create(&name, Bytes::from_static(b"x")).unwrap(), Created::AlreadyThere);
            assert_eq!(scene.bench.store.get(&name).unwrap(), before);
        }
    }
    scene.all_is_well();
}

#[test]
fn garbage_in_the_log_is_void_and_everyone_goes_on() {
    let scene = scene();
    let repository = scene.hostile.open();
    let next = || repository.refresh().unwrap().number + 1;
    let old = scene.bench.store.get(&names(&*scene.bench.store, "log")[2]).unwrap();
    let mut sound_garbage = vec![7; 400];
    append_checksum(&mut sound_garbage);
    let mut unknown_epoch = old.to_vec();
    unknown_epoch.truncate(old.len() - 32);
    unknown_epoch[16] ^= 77;
    append_checksum(&mut unknown_epoch);
    let slot = scene.bench.store.get(&names(&*scene.bench.store, "keys")[0]).unwrap();
    for bytes in [old.to_vec(), sound_garbage, unknown_epoch, slot.to_vec()] {
        let number = write_bytes(&repository, next(), bytes);
        expect_void(&scene, number);
    }
    scene.all_is_well();
    assert_eq!(scene.bench.open().state().void.len(), 4);
}

/// Such bytes stop every writer, for they could be a record that rotted; the owner's word lets everyone go on.
#[test]
fn garbage_that_looks_like_damage_stops_every_writer_until_the_owner_overrules_it() {
    let scene = scene();
    let repository = scene.hostile.open();
    let old = scene.bench.store.get(&names(&*scene.bench.store, "log")[2]).unwrap();
    let mut newer = old[..old.len() - 32].to_vec();
    newer[8..10].copy_from_slice(&9u16.to_le_bytes());
    append_checksum(&mut newer);
    for garbage in [b"no checksum at all".to_vec(), vec![], old[..100].to_vec(), newer] {
        let number = write_bytes(&repository, scene.bench.open().state().number + 1, garbage);
        let name = strongroom::format::names::record(number);
        let refused = |e: RepositoryError| assert!(e.to_string().contains(&name), "{e}");
        match (scene.bench.try_open(), scene.victim.try_open()) {
            // Whoever lacks a newer program is told so.
            (Err(owner), Err(victim)) => [owner, victim].into_iter().for_each(refused),
            (Ok(owner), Ok(victim)) => {
                let note = || Operation::Note { description: vec![].into() };
                for reader in [owner, victim] {
                    assert!(!reader.state().snapshots.is_empty());
                    assert!(reader.doubts()[0].to_string().contains(&name), "{:?}", reader.doubts());
                    refused(reader.append(&mut |_| Ok(vec![note()])).unwrap_err());
                }
            }
            other => panic!("they do not agree: {other:?}"),
        }
        // Others may not say so; nor may anyone while the log is sound.
        let owner = open_for_repair(&scene.bench);
        assert_eq!(owner.overrule_garbage().unwrap(), Some(number));
        assert_eq!(owner.overrule_garbage().unwrap(), None);
        expect_void(&scene, number);
        assert!(matches!(repository.overrule_garbage(), Err(RepositoryError::OwnerOnly { .. })));
        repository.refresh().unwrap();
    }
    scene.all_is_well();
    let replayed = verify(&Bench::beside(scene.bench.store.clone()).open(), VerifyDepth::ReadData, &Silent).unwrap();
    assert_eq!((replayed.findings, replayed.void.len()), (vec![], 4));
}

fn open_for_repair(bench: &Bench) -> Arc<Repository> {
    let passphrase = zeroize::Zeroizing::new(crate::harness::PASSPHRASE.to_vec());
    Repository::open_for_repair(bench.store.clone(), &passphrase, &bench.places(), bench.system.clone()).unwrap()
}

/// What a machine has seen to be a record is no garbage, whatever becomes of its bytes.
#[test]
fn a_record_that_rotted_is_not_overruled_by_a_machine_that_saw_it_or_when_others_follow() {
    let scene = scene();
    scene.bench.open();
    let log = names(&*scene.bench.store, "log");
    for (at, place) in [(log.len() - 1, "last"), (log.len() - 3, "in the middle")] {
        let bytes = scene.bench.store.get(&log[at]).unwrap();
        let mut rotten = bytes.to_vec();
        rotten[200] ^= 1;
        scene.bench.store.delete(&log[at]).unwrap();
        scene.bench.store.create(&log[at], rotten.into()).unwrap();
        let bench = if place == "last" { &scene.bench } else { &Bench::beside(scene.bench.store.clone()) };
        match bench.try_open() {
            Err(e) => assert!(place == "last" && e.to_string().contains(&log[at]), "{place}: {e}"),
            Ok(repository) => assert!(repository.check_undoubted().is_err(), "{place}"),
        }
        let passphrase = zeroize::Zeroizing::new(crate::harness::PASSPHRASE.to_vec());
        let owner =
            Repository::open_for_repair(bench.store.clone(), &passphrase, &bench.places(), bench.system.clone());
        assert!(owner.and_then(|o| o.overrule_garbage()).is_err(), "{place}");
        scene.bench.store.delete(&log[at]).unwrap();
        scene.bench.store.create(&log[at], bytes).unwrap();
    }
    scene.all_is_well();
}

#[test]
fn what_it_signs_for_others_is_void() {
    let scene = scene();
    let repository = scene.hostile.open();
    expect_void(&scene, write_record(&repository, vec![begin(&repository, "victim")], |_| {}));
    let run = own_run(&repository);
    let victim = repository.domain_keys().host("victim");
    let snapshot = |host: KeyedTag| SnapshotEntry {
        id: SnapshotId([5; 16]),
        time_ms: 0,
        root: ChunkId([6; 16]),
        outcome: Outcome::Complete,
        parents: vec![],
        host,
        source: repository.domain_keys().source("/"),
        description: vec![].into(),
    };
    let publish = |host| Operation::Publish {
        run,
        packs: vec![],
        segments: vec![],
        inline: None,
        snapshots: vec![snapshot(host)],
    };
    expect_void(&scene, write_record(&repository, vec![publish(victim)], |_| {}));
    // With the victim's or the owner's name under it, the signature is wrong.
    let owner = scene.bench.open().keys.id();
    for writer in [scene.victim.file.id(), owner] {
        expect_void(&scene, write_record(&repository, vec![begin(&repository, "victim")], |r| r.writer = writer));
    }
    scene.all_is_well();
}

#[test]
fn what_only_the_owner_may_do_is_void_for_it() {
    let scene = scene();
    let repository = scene.hostile.open();
    let state = repository.state();
    let snapshots: Vec<SnapshotId> = state.snapshots.keys().copied().collect();
    let packs: Vec<_> = state.packs.keys().copied().collect();
    let run = *state.runs.keys().next().unwrap();
    let own = own_run(&repository);
    let certificate = state.credentials[&scene.victim.file.id()].certificate.clone();
    let attempts = vec![
        Operation::Forget { snapshots: snapshots.clone() },
        Operation::Hold { snapshots: snapshots.clone() },
        Operation::Lost { packs: packs.clone(), damaged: snapshots },
        Operation::Vouch { packs: packs.clone() },
        Operation::Close { run: own },
        Operation::Doom { packs: vec![] },
        Operation::Swept { packs: packs.clone(), segments: vec![], orphans: vec![] },
        Operation::Rewrite {
            run: own,
            packs: vec![],
            segments: vec![],
            inline: None,
            condemned_packs: packs,
            condemned_segments: vec![],
        },
        Operation::Credential { certificate },
        Operation::Revoke {
            credential: scene.victim.file.id(),
            epoch: 1,
            public: repository.config.public,
            sealed: vec![(repository.keys.id(), vec![].into())],
        },
        Operation::End { run, outcome: Outcome::Complete, description: vec![].into() },
        Operation::Begin {
            kind: RunKind::Prune,
            host: repository.domain_keys().host("mallory"),
            description: vec![].into(),
        },
    ];
    for attempt in attempts {
        expect_void(&scene, write_record(&repository, vec![attempt], |_| {}));
    }
    scene.all_is_well();
}

#[test]
fn ids_that_it_claims_for_garbage_serve_nobody() {
    let scene = scene();
    let repository = scene.hostile.open();
    for kind in [PackKind::Data, PackKind::Meta] {
        let ids = known_ids(&scene, kind);
        assert!(!ids.is_empty());
        let run = own_run(&repository);
        let span = Reference { block: BlockId { run, number: 0 }, first: 0, count: ids.len() as u32 };
        let pack = pack(&repository, run, kind, span, &ids);
        repository.append(&mut |_| Ok(vec![publish(run, &pack, vec![])])).unwrap();
    }
    // A machine without a cache, which meets the garbage first or last, and one that stores the same for the first time.
    let newcomer = scene.bench.machine(Role::Backup, "newcomer");
    newcomer.backup(&[scene.root.path()]);
    scene.all_is_well();
    // Who looks at the bytes finds them out, and names them.
    let findings = verify(&scene.bench.open(), VerifyDepth::ReadData, &Silent).unwrap().findings;
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings.iter().all(|f| f.affects.is_empty()), "{findings:?}");
}

/// The pack itself is sound; only the record's directory gives its chunk another id. Whoever vouched for it would lead every
/// machine that deduplicates to the wrong bytes.
#[test]
fn a_sound_pack_with_a_lying_directory_is_not_vouched_for_however_it_is_read() {
    let scene = scene();
    let repository = scene.hostile.open();
    let run = own_run(&repository);
    let span = Reference { block: BlockId { run, number: 0 }, first: 0, count: 1 };
    let honest = repository.domain_keys().chunk(&[b'!'; 1000]);
    let mut lie = pack(&repository, run, PackKind::Data, span, &[honest]);
    lie.directory.frames[0].chunks[0].id = known_ids(&scene, PackKind::Data)[0];
    repository.append(&mut |_| Ok(vec![publish(run, &lie, vec![])])).unwrap();
    for depth in [VerifyDepth::ReadPart(Part::All, None), VerifyDepth::ReadData] {
        scene.bench.forget_local();
        let owner = scene.bench.open();
        let report = verify(&owner, depth, &Silent).unwrap();
        assert_eq!(report.findings.len(), 1, "{depth:?}: {:?}", report.findings);
        assert!(remember(&owner, &report).unwrap());
        assert_eq!(owner.state().packs[&lie.name].vouched, None, "{depth:?}");
    }
    scene.all_is_well();
}

#[test]
fn places_that_it_claims_for_blocks_of_others_lead_nobody_astray() {
    let scene = scene();
    let repository = scene.hostile.open();
    let others: Vec<RunId> = repository.state().runs.keys().copied().collect();
    for victim in others {
        for (kind, number) in [(PackKind::Data, 0), (PackKind::Data, 1), (PackKind::Meta, 1)] {
            let ids: Vec<ChunkId> = known_ids(&scene, kind).into_iter().take(3).collect();
            let run = own_run(&repository);
            let span = Reference { block: BlockId { run: victim, number }, first: 0, count: 3 };
            let pack = pack(&repository, run, kind, span, &ids);
            repository.append(&mut |_| Ok(vec![publish(run, &pack, vec![])])).unwrap();
        }
    }
    scene.all_is_well();
}

#[test]
fn what_it_signs_after_its_revocation_is_void() {
    let scene = scene();
    let repository = scene.hostile.open();
    let run = own_run(&repository);
    // It saw the number before the one of its revocation, and writes behind that with the keys it has.
    let report = credentials::revoke(&scene.bench.open(), scene.hostile.file.id()).unwrap();
    assert_eq!(report.closed, [run]);
    let state = scene.bench.open().state();
    let record = Record {
        version: RECORD_VERSION,
        number: state.number + 1,
        previous: state.hash,
        previous_valid: state.valid,
        writer: repository.keys.id(),
        operation: OperationId([1; 16]),
        time_ms: 0,
        operations: vec![begin(&repository, "mallory")],
    };
    let sealing = repository.keys.log_sealing(Epoch(0)).unwrap();
    let bytes = record.encode(repository.keys.signer(), &sealing.sealing(), [4; 32]);
    let number = write_bytes(&repository, state.number + 1, bytes);
    expect_void(&scene, number);
    scene.all_is_well();
    // What came after it cannot read: the records of the new epoch are sealed with keys that it lacks.
    let last = names(&*scene.bench.store, "log").pop().unwrap();
    let envelope = Envelope::expect(&scene.bench.store.get(&last).unwrap(), Kind::Record).unwrap();
    assert_eq!(repository.keys.secret(&envelope).err(), Some(FormatError::NoEpochKeys { epoch: 1 }));
}

#[test]
fn a_log_that_it_fills_slows_the_others_and_stops_nobody() {
    let scene = scene();
    let repository = scene.hostile.open();
    for _ in 0..300 {
        repository.append(&mut |_| Ok(vec![Operation::Note { description: vec![1; 100].into() }])).unwrap();
    }
    scene.all_is_well();
    credentials::revoke(&scene.bench.open(), scene.hostile.file.id()).unwrap();
    assert!(repository.append(&mut |_| Ok(vec![Operation::Note { description: vec![].into() }])).is_err());
    scene.all_is_well();
}

#[test]
fn packs_that_it_never_wrote_or_that_are_garbage_hurt_only_its_own_snapshots() {
    let scene = scene();
    let repository = scene.hostile.open();
    let run = own_run(&repository);
    let span = Reference { block: BlockId { run, number: 0 }, first: 0, count: 1 };
    let mut pack = pack(&repository, run, PackKind::Data, span, &[ChunkId([3; 16])]);
    pack.name.0[0] ^= 1;
    pack.len = 1 << 40;
    repository.append(&mut |_| Ok(vec![publish(run, &pack, vec![])])).unwrap();
    // The next listing tells the owner, and nobody relies on it.
    let newcomer = scene.bench.machine(Role::Backup, "newcomer");
    let report = newcomer.backup(&[scene.root.path()]);
    assert_eq!(report.damage.len(), 1);
    scene.all_is_well();
}

/// A record's directories are bytes that its writer chose. A backup credential put entries for the owner's packs into
/// the directories of its own record; a machine whose cache had not met those packs yet learned from it that they hold
/// nothing, left their content out of what it restored, and its prune deleted them.
#[test]
fn directories_that_it_writes_for_packs_of_others_count_for_nobody() {
    let scene = scene();
    let repository = scene.hostile.open();
    let run = own_run(&repository);
    let own = pack(&repository, run, PackKind::Data, span(run), &[repository.domain_keys().chunk(&[b'!'; 1000])]);
    let mut summaries = vec![own.clone()];
    for (name, known) in &repository.state().packs {
        // What an honest directory says of the pack, but for what it holds.
        let mut lying = own.clone();
        (lying.name, lying.kind, lying.run, lying.len) = (*name, known.kind, known.run, known.len);
        lying.directory.frames.iter_mut().flat_map(|f| f.spans.iter_mut()).for_each(|s| s.block.run = known.run);
        summaries.insert(0, lying);
    }
    let entry = PackEntry { name: own.name, kind: own.kind, len: own.len, run };
    // Eight records, so that one of them comes before the honest one in whatever order they are read.
    for _ in 0..8 {
        let inline = InlineDirectories { packs: vec![], bytes: encode_inline(&summaries).into() };
        let operation =
            Operation::Publish { run, packs: vec![], segments: vec![], inline: Some(inline), snapshots: vec![] };
        write_record(&repository, vec![operation], |_| {});
    }
    let inline = InlineDirectories { packs: vec![own.name], bytes: encode_inline(&summaries).into() };
    let operation =
        Operation::Publish { run, packs: vec![entry], segments: vec![], inline: Some(inline), snapshots: vec![] };
    write_record(&repository, vec![operation], |_| {});
    for _ in 0..4 {
        let bare = Bench::beside(scene.bench.store.clone());
        let repository = bare.open();
        let report = prune(&repository, &everything(), &Silent).unwrap();
        assert!(!report.has_problems(), "{report:?}");
        assert_eq!(verify(&repository, VerifyDepth::ReadData, &Silent).unwrap().findings, vec![]);
        scene.all_is_well();
    }
}

fn span(run: RunId) -> Reference {
    Reference { block: BlockId { run, number: 0 }, first: 0, count: 1 }
}

/// A snapshot entry with honest tags and a description of the attacker's choice.
fn snapshot_that_says(repository: &Repository, described: &SnapshotDescription, root: ChunkId) -> SnapshotEntry {
    let keys = repository.domain_keys();
    SnapshotEntry {
        id: SnapshotId(strongroom::primitives::system::random(&*repository.system)),
        time_ms: repository.system.now_ms(),
        root,
        outcome: Outcome::Complete,
        parents: vec![],
        host: keys.host("mallory"),
        source: keys.source("mallory's"),
        description: description::seal(described, &repository.run_secret().unwrap().sealing(), [7; 32]),
    }
}

/// The tags of a record are checked, and the description was believed: seven snapshots that called themselves the
/// victim's filled all places of `--keep-last 7`, and `latest` of the victim was the attacker's.
#[test]
fn descriptions_that_name_another_host_or_source_are_not_believed() {
    let scene = scene();
    let repository = scene.hostile.open();
    let (run, root) = (own_run(&repository), repository.state().snapshots.values().next().unwrap().root);
    let honest = scene.bench.open().snapshots().unwrap().pop().unwrap().described;
    for n in 0..7 {
        let source = if n % 2 == 0 { honest.source.clone() } else { "mallory's".to_owned() };
        let described = SnapshotDescription { host: "victim".to_owned(), source, ..honest.clone() };
        let snapshots = vec![snapshot_that_says(&repository, &described, root)];
        let operation = Operation::Publish { run, packs: vec![], segments: vec![], inline: None, snapshots };
        write_record(&repository, vec![operation], |_| {});
    }
    let owner = scene.bench.open();
    let all = owner.snapshots().unwrap();
    assert_eq!(all.iter().filter(|s| s.doubt.is_some()).count(), 7);
    assert!(all.iter().filter(|s| s.doubt.is_some()).all(|s| s.described.host == "?" && s.described.source == "?"));
    let filter = SnapshotFilter { hosts: vec!["victim".to_owned()], ..SnapshotFilter::default() };
    let latest = owner.choose(&SnapshotName::Latest(0), &filter).unwrap();
    assert!(latest.doubt.is_none() && latest.described.host == "victim");
    let options = ForgetOptions {
        filter: SnapshotFilter::default(),
        group_by: vec![GroupBy::Host],
        which: Which::Policy(Policy::Keep(vec![Keep::Last(7)])),
        zone: jiff::tz::TimeZone::UTC,
        member_only: false,
        dry_run: false,
    };
    let report = forget(&owner, &options, &mut |_| true).unwrap();
    assert_eq!((report.counts().1, report.doubted.len()), (0, 7));
    // By their ids they can be forgotten.
    let which = Which::Named(report.doubted.clone());
    assert_eq!(forget(&owner, &ForgetOptions { which, ..options }, &mut |_| true).unwrap().counts(), (0, 7));
    scene.all_is_well();
}

/// One description that nobody can open stopped `snapshots`, `restore` and `forget` of everything, also by id.
#[test]
fn a_description_that_nobody_can_open_stops_nothing() {
    let scene = scene();
    let repository = scene.hostile.open();
    let (run, root) = (own_run(&repository), repository.state().snapshots.values().next().unwrap().root);
    let mut snapshot = snapshot_that_says(&repository, &SnapshotDescription::default(), root);
    snapshot.description = vec![7; 300].into();
    let id = snapshot.id;
    let operation =
        Operation::Publish { run, packs: vec![], segments: vec![], inline: None, snapshots: vec![snapshot] };
    write_record(&repository, vec![operation], |_| {});
    let owner = scene.bench.open();
    let all = owner.snapshots().unwrap();
    assert!(all.iter().any(|s| s.id == id && s.doubt.is_some()) && all.len() == 3, "{all:?}");
    scene.all_is_well();
}

/// Lengths of a segment's parts are what its record says. One that wraps around made every client end in a panic.
#[test]
fn absurd_lengths_are_void() {
    let scene = scene();
    let repository = scene.hostile.open();
    let run = own_run(&repository);
    let name = ObjectHash([5; 32]);
    for parts in [[u64::MAX - 127, 0, 0], [0, u64::MAX, 0], [u64::MAX / 2, u64::MAX / 2, u64::MAX / 2], [0, 0, 1 << 60]]
    {
        let entry = PackEntry { name, kind: PackKind::Data, len: 1, run };
        let segments = vec![SegmentEntry { name, run, parts, packs: vec![name] }];
        let operation = Operation::Publish { run, packs: vec![entry], segments, inline: None, snapshots: vec![] };
        let number = write_record(&repository, vec![operation], |_| {});
        expect_void(&scene, number);
    }
    let entry = PackEntry { name, kind: PackKind::Data, len: u64::MAX, run };
    let inline = Some(InlineDirectories { packs: vec![name], bytes: vec![].into() });
    let operation = Operation::Publish { run, packs: vec![entry], segments: vec![], inline, snapshots: vec![] };
    let number = write_record(&repository, vec![operation], |_| {});
    expect_void(&scene, number);
    scene.all_is_well();
}
