//! What verify, restore and backup make of it: it is found and named, and nothing is taken for empty.
//!
//! Each case damages one object of a repository with two snapshots, once for a machine that has its cache and
//! once for one that has nothing. Then everything is verified, both snapshots are restored, and a third backup
//! is made and restored. A file that comes back has its bytes; one that does not was reported.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use crate::harness::{Bench, PASSPHRASE, copy_folder, far_system, files, names, options, small, text, try_restore};
use bytes::Bytes;
use strongroom::crypto::password::COST_MIN;
use strongroom::format::checkpoint;
use strongroom::format::config::Profile;
use strongroom::format::names::{checkpoint as checkpoint_name, slot as slot_name};
use strongroom::format::slot::{self, Slot, SlotKind};
use strongroom::ops::backup::backup;
use strongroom::ops::verify::{Finding, VerifyDepth, verify, verify_keyless};
use strongroom::primitives::progress::{Recorder, Silent};
use strongroom::repository::snapshots::Snapshot;
use strongroom::repository::{Repository, init};
use strongroom::store::{Damage, MemoryStore, SimulatedStore, Store};

use super::{HARMS, Harm, damage};

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A repository with two snapshots, as all cases begin.
struct Template {
    bench: Bench,
    store: Arc<MemoryStore>,
    source: tempfile::TempDir,
    /// What the snapshots hold, oldest first.
    nights: [Files; 2],
}

/// Makes it; each case forks it.
fn template() -> Template {
    let store = Arc::new(MemoryStore::new());
    let mut parameters = small();
    // So many chunks that the directories do not fit into a record.
    parameters.fine = Profile { min: 1 << 10, avg: 2 << 10, max: 8 << 10 };
    init(&*store, PASSPHRASE, parameters, None, &*far_system(1)).unwrap();
    let bench = Bench { system: far_system(2), ..Bench::beside(store.clone()) };
    let source = tempfile::tempdir().unwrap();
    let root = source.path().join("tree");
    let nights = [1, 2].map(|night| {
        for i in 0..24 {
            let folder = root.join(format!("folder{}", i % 5));
            fs::create_dir_all(&folder).unwrap();
            if night == 1 || i % 6 != 0 {
                fs::write(folder.join(format!("file{i}")), text(100 * night + i, 300_000)).unwrap();
            }
        }
        bench.backup(&[&root]);
        files(&root)
    });
    let repository = bench.open();
    for _ in 0..2 {
        // Two checkpoints: of the state with one snapshot more each.
        let state = repository.state();
        let bytes = checkpoint::encode(
            &state,
            repository.keys.signer(),
            &repository.keys.log_sealing(strongroom::crypto::keys::Epoch(0)).unwrap().sealing(),
            [state.number as u8; 32],
        );
        store.create(&checkpoint_name(state.number), Bytes::from(bytes)).unwrap();
        bench.backup_stream("note", text(7000 + state.number, 2000));
        repository.refresh().unwrap();
    }
    repository.save_cache().unwrap();
    drop(repository);
    assert!(names(&*store, "data").len() >= 4 && names(&*store, "meta").len() >= 2, "{:?}", names(&*store, ""));
    assert!(names(&*store, "index").len() >= 2, "{:?}", names(&*store, ""));
    Template { bench, store, source, nights }
}

/// One machine looking at one damaged store.
struct Case<'a> {
    template: &'a Template,
    /// Its own copy of the source, so that cases can change it.
    root: PathBuf,
    bench: Bench,
    store: Arc<SimulatedStore>,
    label: String,
}

impl<'a> Case<'a> {
    fn new(template: &'a Template, warm: bool, label: String) -> Self {
        let store = Arc::new(SimulatedStore::new(Arc::new(template.store.fork())));
        let bench = Bench { system: far_system(3), ..Bench::beside(store.clone()) };
        if warm {
            copy_folder(template.bench.folder.path(), bench.folder.path());
        }
        Self { template, root: template.source.path().join("tree"), bench, store, label }
    }

    /// What keyless verification finds.
    fn keyless(&self) -> Vec<Finding> {
        verify_keyless(self.store.inner().as_ref(), &Silent).unwrap_or_else(|e| panic!("{}: {e}", self.label)).findings
    }

    fn verify(&self, repository: &Arc<Repository>, depth: VerifyDepth) -> Vec<Finding> {
        verify(repository, depth, &Silent).unwrap_or_else(|e| panic!("{}: {e}", self.label)).findings
    }

    /// Restores the snapshot: every file is there with its bytes, or is not there and there are problems.
    /// Returns the problems, and the files that are not there.
    fn restore(
        &self,
        repository: &Arc<Repository>,
        snapshot: &Snapshot,
        expected: &Files,
    ) -> (Vec<String>, Vec<PathBuf>) {
        let target = tempfile::tempdir().unwrap();
        let problems = match try_restore(repository, snapshot, target.path(), Some(&self.root)) {
            Ok(report) => report.problems,
            Err(e) => vec![e.to_string()],
        };
        let found = files(target.path());
        for (path, bytes) in &found {
            assert!(
                expected.get(path) == Some(bytes),
                "{}: {} came back wrong; {problems:?}",
                self.label,
                path.display()
            );
        }
        let absent: Vec<PathBuf> = expected.keys().filter(|p| !found.contains_key(*p)).cloned().collect();
        assert!(absent.is_empty() || !problems.is_empty(), "{}: {absent:?} left out in silence", self.label);
        (problems, absent)
    }

    /// Restores both nights; each file that does not come back is named by the findings of `verify`.
    fn restore_all(&self, repository: &Arc<Repository>, findings: &[Finding]) -> usize {
        let snapshots: Vec<Snapshot> =
            repository.snapshots().unwrap().into_iter().filter(|s| s.described.source != "note").collect();
        assert_eq!(snapshots.len(), 2, "{}: snapshots are gone", self.label);
        let mut lost = 0;
        for (snapshot, expected) in snapshots.iter().zip(&self.template.nights) {
            let (problems, absent) = self.restore(repository, snapshot, expected);
            lost += absent.len();
            let affects: Vec<_> =
                findings.iter().flat_map(|f| &f.affects).filter(|(id, ..)| *id == snapshot.id).collect();
            let count: u64 = affects.iter().map(|(_, _, n)| n).sum();
            assert_eq!(absent.is_empty(), affects.is_empty(), "{}: {absent:?} {problems:?} {findings:?}", self.label);
            for path in &absent {
                let full = self.root.join(path).to_string_lossy().into_owned();
                let named = affects.iter().flat_map(|(_, paths, _)| paths).any(|p| full.starts_with(&**p) || p == "/");
                assert!(named || count > 10, "{}: {full} is hurt and not named: {affects:?}", self.label);
            }
        }
        lost
    }

    /// Backs the source up with one file more. It fails clearly and names `object`, or what it read is there
    /// whole, and what it did not read comes back or is reported.
    fn backup(&self, repository: &Arc<Repository>, object: &str) {
        let fresh = self.bench.folder.path().join("fresh");
        fs::create_dir(&fresh).unwrap();
        fs::write(fresh.join("new"), text(9999, 90_000)).unwrap();
        match backup(repository, options(&[&self.root, &fresh]), &Recorder::default()) {
            Err(e) => assert!(is_named(&e.to_string(), object), "{}: {e}", self.label),
            Ok(report) => {
                let id = report.sources[0].snapshot.unwrap();
                let snapshot = repository.snapshots().unwrap().into_iter().find(|s| s.id == id).unwrap();
                self.restore(repository, &snapshot, &self.template.nights[1]);
                let target = tempfile::tempdir().unwrap();
                let done = try_restore(repository, &snapshot, target.path(), Some(&fresh)).unwrap();
                assert_eq!(done.problems, Vec::<String>::new(), "{}", self.label);
                assert!(files(target.path()) == files(&fresh), "{}: what was just read is not there", self.label);
            }
        }
    }
}

/// Whether the text names the object: by its name, or the number that is its name.
fn is_named(text: &str, object: &str) -> bool {
    let last = object.rsplit('/').next().unwrap().trim_start_matches('0');
    text.contains(object) || text.contains(last)
}

fn found(findings: &[Finding], object: &str) -> bool {
    findings.iter().any(|f| is_named(&f.object, object) || is_named(&f.what, object))
}

/// Objects that are damaged and that the repository opens without: packs and segments.
fn objects_of(folder: &str) {
    let template = template();
    let objects = names(&*template.store, folder);
    // Of the first night, or one of each.
    let (object, other) = (&objects[0], &objects[1]);
    for harm in HARMS {
        for warm in [false, true] {
            let case =
                Case::new(&template, warm, format!("{harm:?} of {object}, {}", if warm { "warm" } else { "cold" }));
            damage(&case.store, harm, object, other);
            assert!(found(&case.keyless(), object) || harm == Harm::Delete, "{}", case.label);
            let repository = case.bench.open();
            let structure = case.verify(&repository, VerifyDepth::Structure);
            let data = case.verify(&repository, VerifyDepth::ReadData);
            let quiet = folder == "data" && matches!(harm, Harm::Flip | Harm::Swap);
            assert!(quiet || found(&structure, object), "{}: structure: {structure:?}", case.label);
            assert!(found(&data, object), "{}: read-data: {data:?}", case.label);
            let lost = case.restore_all(&repository, &data);
            assert!(lost > 0 || folder == "index", "{}: nothing was lost", case.label);
            case.backup(&repository, object);
        }
    }
}

#[test]
fn a_damaged_data_pack_is_found_and_what_it_hurts_is_named() {
    objects_of("data");
}

#[test]
fn a_damaged_meta_pack_is_found_and_what_it_hurts_is_named() {
    objects_of("meta");
}

#[test]
fn a_damaged_segment_is_found_and_what_it_hurts_is_named() {
    objects_of("index");
}

#[test]
fn a_damaged_record_is_never_skipped() {
    let template = template();
    let records = names(&*template.store, "log");
    // A bare machine cannot know that the last one was there; every other is held by the next.
    let last = records.len() - 1;
    for (harm, at, warm) in
        HARMS.into_iter().flat_map(|h| [(h, 0, false), (h, 2, false), (h, 2, true), (h, last, true)])
    {
        let object = &records[at];
        let case = Case::new(&template, warm, format!("{harm:?} of {object}, {}", if warm { "warm" } else { "cold" }));
        // Newcomers start at a checkpoint; without one the whole log is read.
        for name in names(&**case.store.inner(), "checkpoint") {
            case.store.damage(&name, Damage::Delete).unwrap();
        }
        damage(&case.store, harm, object, &records[if at == 1 { 3 } else { 1 }]);
        if at != last || harm != Harm::Delete {
            assert!(found(&case.keyless(), object) || harm == Harm::Swap, "{}", case.label);
        }
        match case.bench.try_open() {
            Err(e) => assert!(is_named(&e.to_string(), object) || harm == Harm::Swap, "{}: {e}", case.label),
            Ok(repository) => {
                if !warm {
                    // What lies before it can be read; nothing is deleted on the word of half a history.
                    let refused = repository.check_undoubted().expect_err(&case.label);
                    assert!(is_named(&refused.to_string(), object) || harm == Harm::Swap, "{}: {refused}", case.label);
                }
                for depth in [VerifyDepth::Structure, VerifyDepth::ReadData] {
                    let findings = case.verify(&repository, depth);
                    assert!(
                        found(&findings, object) || harm == Harm::Swap && !findings.is_empty(),
                        "{}: {findings:?}",
                        case.label
                    );
                }
                // What was folded before stays good.
                for (snapshot, expected) in repository.snapshots().unwrap().iter().zip(&template.nights) {
                    let (problems, _) = case.restore(&repository, snapshot, expected);
                    assert_eq!(problems, Vec::<String>::new(), "{}", case.label);
                }
                case.backup(&repository, object);
            }
        }
    }
}

#[test]
fn a_damaged_checkpoint_is_found_and_the_log_serves_instead() {
    let template = template();
    let checkpoints = names(&*template.store, "checkpoint");
    let (object, other) = (&checkpoints[1], &checkpoints[0]);
    for harm in HARMS {
        for warm in [false, true] {
            let case =
                Case::new(&template, warm, format!("{harm:?} of {object}, {}", if warm { "warm" } else { "cold" }));
            damage(&case.store, harm, object, other);
            let keyless = case.keyless();
            assert!(found(&keyless, object) || matches!(harm, Harm::Delete | Harm::Swap), "{}", case.label);
            let repository = case.bench.open();
            let findings = case.verify(&repository, VerifyDepth::Structure);
            // One that is gone is no loss, and nothing says that it was there.
            assert!(found(&findings, object) != (harm == Harm::Delete), "{}: {findings:?}", case.label);
            assert_eq!(case.restore_all(&repository, &findings), 0, "{}", case.label);
            case.backup(&repository, object);
        }
    }
}

#[test]
fn a_damaged_config_opens_nothing_and_is_named() {
    let template = template();
    let stranger = MemoryStore::new();
    init(&stranger, b"another passphrase", small(), None, &*far_system(8)).unwrap();
    for harm in HARMS {
        for warm in [false, true] {
            let case = Case::new(&template, warm, format!("{harm:?} of the config"));
            match harm {
                Harm::Swap => case.store.overwrite("config", stranger.get("config").unwrap()).unwrap(),
                _ => damage(&case.store, harm, "config", ""),
            }
            assert!(found(&case.keyless(), "config") || harm == Harm::Swap, "{}", case.label);
            let error = case.bench.try_open().map(drop).expect_err(&case.label).to_string();
            assert!(error.contains("config"), "{}: {error}", case.label);
            let again = init(&**case.store.inner(), PASSPHRASE, small(), None, &*far_system(9));
            assert!(again.is_err(), "{}: a second repository was made over the first", case.label);
        }
    }
}

#[test]
fn a_damaged_key_slot_is_named_and_never_a_reason_to_begin_anew() {
    let template = template();
    let slots = names(&*template.store, "keys");
    let object = &slots[0];
    for harm in HARMS {
        let case = Case::new(&template, false, format!("{harm:?} of {object}"));
        if harm == Harm::Swap {
            // Slots are ways to one key, whatever they are called: nothing depends on which is where.
            let bytes = template.store.get(object).unwrap();
            let master = Slot::decode(&bytes).unwrap().open(PASSPHRASE).unwrap();
            let second = slot::seal(SlotKind::Passphrase, COST_MIN, [5; 32], b"a second one", &master).unwrap();
            let name = slot_name(&[5; 16]);
            case.store.create(&name, Bytes::from(second)).unwrap();
            case.store.swap(object, &name).unwrap();
            assert_eq!(case.keyless(), vec![]);
            assert_eq!(case.verify(&case.bench.open(), VerifyDepth::Structure), vec![]);
            continue;
        }
        damage(&case.store, harm, object, "");
        assert!(!case.keyless().is_empty(), "{}", case.label);
        let error = case.bench.try_open().map(drop).expect_err(&case.label).to_string();
        assert!(error.contains("keys/"), "{}: {error}", case.label);
    }
}
