//! No key meets two messages under one nonce, and nothing that is sealed can stand in another's place.
//!
//! The key of an object comes from a secret and the object's own salt; within the object every sealed piece has a
//! place of its own. So it is enough that no two objects, descriptions inside records among them, share a salt.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use crate::harness::{Bench, far_system, small, text};
use strongroom::crypto::keys::Epoch;
use strongroom::format::config::Profile;
use strongroom::format::description::{self, RunDescription, SnapshotDescription};
use strongroom::format::envelope::{ENVELOPE_LEN, Envelope, FormatError, Kind};
use strongroom::format::names::{ObjectName, PackKind};
use strongroom::format::pack::{PackReader, TRAILER_LEN};
use strongroom::format::record::{Operation, SignedRecord};
use strongroom::format::segment::{PARTS, open_part};
use strongroom::ops::verify::{VerifyDepth, verify};
use strongroom::primitives::progress::Silent;
use strongroom::repository::{Repository, init};
use strongroom::store::{MemoryStore, SimulatedStore, Store, list_all};

/// A repository with two nights, a stream, many packs and a segment.
fn repository(store: Arc<dyn Store>) -> Bench {
    let mut parameters = small();
    parameters.fine = Profile { min: 1 << 10, avg: 2 << 10, max: 8 << 10 };
    init(&*store, crate::harness::PASSPHRASE, parameters, None, &*far_system(1)).unwrap();
    let bench = Bench { system: far_system(2), ..Bench::beside(store) };
    let root = bench.folder.path().join("tree");
    fs::create_dir(&root).unwrap();
    for i in 0..20 {
        fs::write(root.join(format!("file{i}")), text(i, 300_000)).unwrap();
    }
    bench.backup(&[&root]);
    fs::write(root.join("new"), text(99, 500_000)).unwrap();
    bench.backup(&[&root]);
    bench.backup_stream("dump", text(100, 300_000));
    let repository = bench.open();
    assert_eq!(verify(&repository, VerifyDepth::ReadData, &Silent).unwrap().findings, vec![]);
    bench
}

fn descriptions(operation: &Operation) -> Vec<&[u8]> {
    match operation {
        Operation::Begin { description, .. } | Operation::End { description, .. } => vec![description],
        Operation::Publish { snapshots, .. } => snapshots.iter().map(|s| &s.description[..]).collect(),
        _ => vec![],
    }
}

fn records(repository: &Repository) -> Vec<SignedRecord> {
    let names = crate::harness::names(&*repository.store, "log");
    let open = |name: &String| {
        SignedRecord::decode(&repository.store.get(name).unwrap(), |e| repository.keys.secret(e)).unwrap()
    };
    names.iter().map(open).collect()
}

#[test]
fn no_two_objects_share_a_salt() {
    let bench = repository(Arc::new(MemoryStore::new()));
    let repository = bench.open();
    let mut seen: HashMap<[u8; 32], String> = HashMap::new();
    let mut commitments: HashMap<[u8; 32], String> = HashMap::new();
    let mut add = |bytes: &[u8], name: String| {
        let envelope = Envelope::decode(bytes).unwrap();
        assert_ne!(envelope.salt, [0; 32], "{name} has no salt");
        if let Some(other) = seen.insert(envelope.salt, name.clone()) {
            panic!("{name} and {other} have one salt");
        }
        if envelope.kind != Kind::Config
            && let Some(other) = commitments.insert(envelope.commitment, name.clone())
        {
            panic!("{name} and {other} have one key");
        }
    };
    let objects = list_all(&*bench.store, "").unwrap();
    assert!(objects.len() > 15);
    for object in &objects {
        add(&bench.store.get(&object.name).unwrap(), object.name.clone());
    }
    let mut embedded = 0;
    for record in records(&repository) {
        for operation in &record.record.operations {
            for (i, bytes) in descriptions(operation).into_iter().enumerate() {
                add(bytes, format!("description {i} in record {}", record.record.number));
                embedded += 1;
            }
        }
    }
    assert_eq!(embedded, 9, "three runs: begin, end and a snapshot each");
}

#[test]
fn one_encapsulation_serves_one_run_only() {
    let bench = repository(Arc::new(MemoryStore::new()));
    let mut of: HashMap<[u8; 32], u64> = HashMap::new();
    for folder in ["data", "meta"] {
        for name in crate::harness::names(&*bench.store, folder) {
            let Some(ObjectName::Pack(_, run, _)) = ObjectName::parse(&name) else { panic!("{name}") };
            let envelope = Envelope::decode(&bench.store.get(&name).unwrap()).unwrap();
            assert_eq!(*of.entry(envelope.encapsulation).or_insert(run.0), run.0, "{name}");
        }
    }
    assert_eq!(of.len(), 3, "three runs");
}

#[test]
fn two_frames_of_a_pack_that_change_places_are_an_error() {
    let bench = repository(Arc::new(MemoryStore::new()));
    let repository = bench.open();
    for (folder, kind) in [("data", PackKind::Data), ("meta", PackKind::Meta)] {
        for name in crate::harness::names(&*bench.store, folder) {
            let bytes = bench.store.get(&name).unwrap();
            let reader = PackReader::new(kind, &bytes, |e| repository.keys.secret(e)).unwrap();
            let place = reader.trailer(&bytes[bytes.len() - TRAILER_LEN..], bytes.len() as u64).unwrap();
            let sealed = &bytes[place.offset as usize..][..place.len as usize];
            let directory = reader.directory(sealed, place).unwrap();
            let mut at = ENVELOPE_LEN;
            let mut frames = Vec::new();
            for frame in &directory.frames {
                frames.push((&bytes[at..at + frame.sealed_len as usize], frame));
                at += frame.sealed_len as usize;
            }
            for (i, (sealed, _)) in frames.iter().enumerate() {
                for (j, (_, frame)) in frames.iter().enumerate() {
                    let opened = reader.frame(j as u32, sealed.to_vec(), frame, b"");
                    assert_eq!(opened.is_ok(), i == j, "frame {i} at place {j} of {name}");
                }
                // Nor can a frame be a directory or a trailer, or they be frames.
                assert_eq!(reader.directory(sealed, place).err(), Some(FormatError::Forged));
                assert_eq!(reader.trailer(sealed, bytes.len() as u64).err(), Some(FormatError::Forged));
            }
            let as_frame = reader.frame(0, sealed.to_vec(), &directory.frames[0], b"");
            assert_eq!(as_frame.err(), Some(FormatError::Forged));
        }
    }
}

#[test]
fn parts_of_a_segment_that_change_places_are_an_error() {
    let bench = repository(Arc::new(MemoryStore::new()));
    let repository = bench.open();
    let state = repository.state();
    assert!(!state.segments.is_empty(), "no segment was made");
    let key = &repository.keys.epoch_keys(Epoch(state.epoch)).unwrap().index(repository.keys.domain);
    for (name, segment) in &state.segments {
        let bytes = bench.store.get(&strongroom::format::names::segment(segment.run, name)).unwrap();
        let mut at = ENVELOPE_LEN;
        for (i, len) in segment.parts.iter().enumerate() {
            let part = &bytes[at..at + *len as usize];
            for j in 0..PARTS {
                assert_eq!(open_part(&bytes, key, j, part).is_ok(), i == j, "part {i} as part {j}");
            }
            at += *len as usize;
        }
    }
}

#[test]
fn descriptions_of_two_records_are_no_use_in_each_others_place_for_another_kind() {
    let bench = repository(Arc::new(MemoryStore::new()));
    let repository = bench.open();
    let all = records(&repository);
    let (Operation::Begin { description: begin, .. }, Operation::Publish { snapshots, .. }) =
        (&all[0].record.operations[0], &all[1].record.operations[0])
    else {
        panic!("a backup begins with Begin and Publish")
    };
    let secret = |e: &Envelope| repository.keys.secret(e);
    assert!(description::open::<RunDescription>(begin, secret).is_ok());
    assert!(description::open::<SnapshotDescription>(begin, secret).is_err(), "a run's as a snapshot's");
    assert!(description::open::<SnapshotDescription>(&snapshots[0].description, secret).is_ok());
    // Sealed bytes under another's envelope.
    let mixed = [&begin[..ENVELOPE_LEN], &snapshots[0].description[ENVELOPE_LEN..]].concat();
    assert_eq!(description::open::<SnapshotDescription>(&mixed, secret), Err(FormatError::Forged));
}

#[test]
fn objects_of_different_kinds_that_change_places_are_found() {
    let template = Arc::new(MemoryStore::new());
    drop(repository(template.clone()));
    let first = |folder: &str| match folder {
        "config" => folder.to_owned(),
        _ => crate::harness::names(&*template, folder)[0].clone(),
    };
    let folders = ["config", "keys", "log", "data", "meta", "index"];
    for (i, one) in folders.iter().enumerate() {
        for other in &folders[i + 1..] {
            let (one, other) = (first(one), first(other));
            let store = Arc::new(SimulatedStore::new(Arc::new(template.fork())));
            store.swap(&one, &other).unwrap();
            match Bench::beside(store.clone()).try_open() {
                Err(e) => {
                    let text = e.to_string();
                    assert!(text.contains(&one) || text.contains(&other), "{one} and {other}: {text}");
                }
                Ok(repository) => {
                    let findings = verify(&repository, VerifyDepth::ReadData, &Silent).unwrap().findings;
                    for name in [&one, &other] {
                        assert!(findings.iter().any(|f| f.object == *name), "{one} and {other}: {findings:?}");
                    }
                }
            }
        }
    }
}
