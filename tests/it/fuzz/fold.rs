//! A log that anybody may have written, folded into a cache: a backup credential signs a record whose operations are those
//! of another, changed as the input says, and objects that the log names are changed. A bare machine lists, looks up and
//! verifies: it may refuse, and never ends.

use std::sync::{Arc, OnceLock};

use strongroom::crypto::keys::Epoch;
use strongroom::format::config::Parameters;
use strongroom::format::credential::CredentialFile;
use strongroom::format::names;
use strongroom::format::record::{Operation, RECORD_VERSION, Record, Role, SignedRecord};
use strongroom::ops::backup::{BackupOptions, backup};
use strongroom::ops::credentials::{self, NewCredential};
use strongroom::ops::verify::{VerifyDepth, verify};
use strongroom::primitives::ids::OperationId;
use strongroom::primitives::progress::Silent;
use strongroom::primitives::system::{Scripted, random};
use strongroom::repository::{LocalPlaces, Repository, init};
use strongroom::source::ExcludeOptions;
use strongroom::store::{MemoryStore, Store, list_all};

struct Scene {
    store: MemoryStore,
    hostile: Arc<Repository>,
    reader: CredentialFile,
    /// What each record of the log says.
    said: Vec<Vec<Operation>>,
    _folder: tempfile::TempDir,
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let places = |name: &str| LocalPlaces {
        cache: folder.path().join(name).join("cache"),
        state: folder.path().join(name).join("state"),
    };
    let system = Arc::new(Scripted::new(4_000_000_000_000, 1));
    let store = Arc::new(MemoryStore::new());
    init(&*store, b"x", Parameters::default(), None, &*system).unwrap();
    let passphrase = zeroize::Zeroizing::new(b"x".to_vec());
    let owner = Repository::open(store.clone(), &passphrase, &places("owner"), system.clone()).unwrap();
    let machine = |role, name: &str| {
        let new = NewCredential {
            role,
            name: name.to_owned(),
            hosts: vec![name.to_owned()],
            sources: Vec::new(),
            location: "memory".to_owned(),
        };
        let file = credentials::prepare(&owner, new).unwrap();
        credentials::admit(&owner, &file).unwrap();
        CredentialFile::decode(&file.encode()).unwrap()
    };
    let (mallory, reader) = (machine(Role::Backup, "mallory"), machine(Role::Read, "reader"));
    let hostile = Repository::open_as(store.clone(), &mallory, &places("mallory"), system).unwrap();
    let tree = folder.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    for night in 0..2 {
        std::fs::write(tree.join(format!("{night}")), vec![night; 50_000]).unwrap();
        for (repository, host) in [(&owner, "owner"), (&hostile, "mallory")] {
            let options = BackupOptions {
                paths: vec![tree.clone()],
                streams: Vec::new(),
                source: None,
                host: host.to_owned(),
                user: String::new(),
                tags: Vec::new(),
                job: None,
                label: None,
                time_ms: None,
                exclude: ExcludeOptions::default(),
                dry_run: false,
                read_all: false,
                compare: Default::default(),
                allow_empty: false,
                compression: Default::default(),
                command: String::new(),
                follower: None,
            };
            backup(repository, options, &Silent).unwrap();
        }
    }
    hostile.refresh().unwrap();
    let said = (1..=hostile.state().number)
        .filter_map(|n| SignedRecord::decode(&store.get(&names::record(n)).ok()?, |e| hostile.keys.secret(e)).ok())
        .map(|signed| signed.record.operations)
        .collect();
    Scene { store: store.fork(), hostile, reader, said, _folder: folder }
}

/// Changes bytes as pairs of the input say: where, and to what.
fn change(bytes: &mut Vec<u8>, input: &mut impl Iterator<Item = u8>, edits: usize) {
    for _ in 0..edits {
        let (Some(high), Some(low), Some(what)) = (input.next(), input.next(), input.next()) else { return };
        if bytes.is_empty() {
            return;
        }
        let at = (usize::from(high) << 8 | usize::from(low)) % bytes.len();
        match what & 3 {
            0 => bytes[at] = what,
            1 => bytes[at] = 0xff,
            2 => drop(bytes.remove(at)),
            _ => bytes.insert(at, what),
        }
    }
}

/// Panics if it is not so.
pub(super) fn check(data: &[u8]) {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    let scene = SCENE.get_or_init(scene);
    let (store, mut input) = (Arc::new(scene.store.fork()), data.iter().copied());
    let state = scene.hostile.state();
    let which = usize::from(input.next().unwrap_or(0)) % scene.said.len();
    let edits = usize::from(input.next().unwrap_or(0) % 8);
    let mut encoded = minicbor::to_vec(&scene.said[which]).unwrap();
    change(&mut encoded, &mut input, edits);
    if let Ok(operations) = minicbor::decode::<Vec<Operation>>(&encoded) {
        let record = Record {
            version: RECORD_VERSION,
            number: state.number + 1,
            previous: state.hash,
            previous_valid: state.valid,
            writer: scene.hostile.keys.id(),
            operation: OperationId(random(&*scene.hostile.system)),
            time_ms: 0,
            operations,
        };
        let sealing = scene.hostile.keys.log_sealing(Epoch(state.epoch)).unwrap();
        let salt = random(&*scene.hostile.system);
        let bytes = record.encode(scene.hostile.keys.signer(), &sealing.sealing(), salt);
        store.create(&names::record(record.number), bytes.into()).unwrap();
    }
    // Some object is not what it was.
    if input.next().is_some_and(|what| what % 2 == 0) {
        let all = list_all(&*store, "").unwrap();
        let name = &all[usize::from(input.next().unwrap_or(0)) % all.len()].name;
        let mut bytes = store.get(name).unwrap().to_vec();
        change(&mut bytes, &mut input, 2);
        store.delete(name).unwrap();
        store.create(name, bytes.into()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let places = LocalPlaces { cache: folder.path().join("cache"), state: folder.path().join("state") };
    let system = Arc::new(Scripted::new(4_000_000_000_000, 2));
    let Ok(bare) = Repository::open_as(store, &scene.reader, &places, system) else { return };
    let _ = bare.snapshots();
    let _ = bare.sync_content(true);
    let _ = verify(&bare, VerifyDepth::Structure, &Silent);
}
