//! Forget, prune, repair and copy that die at any of their calls to the store, and a backup beside them.
//!
//! For n = 1, 2, ...: crash at the n-th call that changes something; what is there is sound; the same again succeeds;
//! all comes back. Until a run is not disturbed any more.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::harness::story::{everything, thorough};
use crate::harness::{Bench, difference, far_system, names, options, text};
use strongroom::format::record::Operation;
use strongroom::ops::backup::backup;
use strongroom::ops::copy::{CopyOptions, copy};
use strongroom::ops::prune::prune;
use strongroom::ops::repair::repair;
use strongroom::ops::verify::{VerifyDepth, verify};
use strongroom::primitives::progress::Silent;
use strongroom::repository::Repository;
use strongroom::store::{Damage, Fault, MemoryStore, Scope, SimulatedStore};

const ALL: [Fault; 3] = [Fault::Before, Fault::After, Fault::Half];

type Outcome = Result<(), String>;

fn pruned(repository: &Arc<Repository>) -> Outcome {
    prune(repository, &everything(), &Silent).map(drop).map_err(|e| e.to_string())
}

fn repaired(repository: &Arc<Repository>) -> Outcome {
    repair(repository, &thorough(), &Silent).map(drop).map_err(|e| e.to_string())
}

fn forget_oldest(repository: &Arc<Repository>) -> Outcome {
    let mut all = repository.snapshots().map_err(|e| e.to_string())?;
    all.pop();
    let ids: Vec<_> = all.iter().map(|s| s.id).collect();
    let forgotten = repository.append(&mut |state| {
        let left = ids.iter().filter(|id| state.snapshots.contains_key(id)).copied().collect();
        Ok(vec![Operation::Forget { snapshots: left }])
    });
    forgotten.map(drop).map_err(|e| e.to_string())
}

fn night(root: &Path, n: u64) {
    for i in 0..4 {
        fs::write(root.join(format!("partly{i}")), [text(i, 120_000), text(100 * n + i, 60_000)].concat()).unwrap();
    }
    fs::write(root.join(format!("of-night-{n}")), text(1000 + n, 100_000)).unwrap();
}

/// Three nights.
struct Scene {
    store: Arc<MemoryStore>,
    bench: Bench,
    root: tempfile::TempDir,
}

fn scene() -> Scene {
    let (store, root) = (Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap());
    let bench = Bench { system: far_system(1), ..Bench::on(store.clone()) };
    for n in 0..3 {
        night(root.path(), n);
        bench.backup(&[root.path()]);
    }
    Scene { store, bench, root }
}

impl Scene {
    fn fork(&self) -> (Arc<SimulatedStore>, Bench) {
        let store = Arc::new(SimulatedStore::new(Arc::new(self.store.fork())));
        let bench = Bench { system: far_system(2), ..Bench::beside(store.clone()) };
        crate::harness::copy_folder(self.bench.folder.path(), bench.folder.path());
        (store, bench)
    }
}

fn sound(repository: &Arc<Repository>, depth: VerifyDepth, label: &str) {
    assert_eq!(verify(repository, depth, &Silent).unwrap().findings, vec![], "{label}");
}

fn comes_back(bench: &Bench, root: &Path, label: &str) {
    let (repository, target) = (bench.open(), tempfile::tempdir().unwrap());
    bench.restore(&bench.latest(&repository), target.path(), Some(root));
    assert_eq!(difference(root, target.path()), "", "{label}");
}

/// Runs `work` with a crash at every call, or at every other one unless `STRONGROOM_TEST_FULL` is set; `before` makes the
/// scene ready without one.
fn at_every_call(
    what: &str,
    before: &dyn Fn(&Arc<SimulatedStore>, &Bench),
    work: &dyn Fn(&Bench) -> Outcome,
    whole: bool,
    faults: &[Fault],
) {
    let scene = scene();
    for &fault in faults {
        let step = if std::env::var_os("STRONGROOM_TEST_FULL").is_some() { 1 } else { 2 };
        let mut n = 0;
        loop {
            n += step;
            let label = format!("{what}, crash at call {n}, {fault:?}");
            let (store, bench) = scene.fork();
            before(&store, &bench);
            store.crash_after(n, Scope::Mutating, fault);
            let died = work(&bench);
            let crashed = store.has_crashed();
            store.revive();
            if whole {
                sound(&bench.open(), VerifyDepth::Structure, &label);
            }
            work(&bench).unwrap_or_else(|e| panic!("{label}, again: {e}"));
            sound(&bench.open(), VerifyDepth::ReadData, &label);
            comes_back(&bench, scene.root.path(), &label);
            // A backup goes on as ever, and a prune leaves nothing of it behind.
            backup(&bench.open(), options(&[scene.root.path()]), &Silent).unwrap_or_else(|e| panic!("{label}: {e}"));
            pruned(&bench.open()).unwrap_or_else(|e| panic!("{label}: {e}"));
            let repository = bench.open();
            sound(&repository, VerifyDepth::ReadData, &label);
            assert_eq!(repository.state().open_runs().count(), 0, "{label}: runs left open");
            let state = repository.state();
            assert!(state.packs.values().all(|p| p.live()), "{label}: condemned packs that nobody deleted");
            let stored = names(&*store, "data").len() + names(&*store, "meta").len();
            assert_eq!(stored, state.packs.len(), "{label}: orphans");
            if !crashed {
                assert_eq!(died, Ok(()), "{label}");
                break;
            }
        }
        println!("{what}, {fault:?}: {} calls", n - 1);
        assert!(n > 1, "{what}: there was no call to crash at");
    }
}

#[test]
fn a_forget_that_dies_has_forgotten_or_not() {
    at_every_call(
        "forget",
        &|_, _| {},
        &|bench| forget_oldest(&bench.try_open().map_err(|e| e.to_string())?),
        true,
        &ALL,
    );
}

#[test]
fn a_prune_that_dies_loses_nothing_and_the_next_one_ends_it() {
    let before = |_: &Arc<SimulatedStore>, bench: &Bench| forget_oldest(&bench.open()).unwrap();
    at_every_call("prune", &before, &|bench| pruned(&bench.try_open().map_err(|e| e.to_string())?), true, &ALL);
}

#[test]
fn a_prune_after_a_backup_that_died_sweeps_what_it_left() {
    let before = |store: &Arc<SimulatedStore>, bench: &Bench| {
        let other = tempfile::tempdir().unwrap();
        night(other.path(), 50);
        store.crash_after(2, Scope::Mutating, Fault::After);
        bench.try_backup(&[other.path()], &Silent).unwrap_err();
        store.revive();
    };
    at_every_call(
        "prune after a crash",
        &before,
        &|bench| pruned(&bench.try_open().map_err(|e| e.to_string())?),
        true,
        &[Fault::Half],
    );
}

#[test]
fn a_repair_that_dies_is_ended_by_the_next_one() {
    let damage = |store: &Arc<SimulatedStore>, _: &Bench| {
        let segments = names(&**store, "index");
        segments.iter().for_each(|s| store.damage(s, Damage::Delete).unwrap());
        let checkpoints = names(&**store, "checkpoint");
        checkpoints.iter().for_each(|c| store.damage(c, Damage::FlipBit(500)).unwrap());
    };
    let ready = |store: &Arc<SimulatedStore>, bench: &Bench| {
        // Directories in a segment, and a checkpoint.
        forget_oldest(&bench.open()).unwrap();
        let other = tempfile::tempdir().unwrap();
        for i in 0..60 {
            fs::write(other.path().join(format!("many{i}")), text(9000 + i, 100_000)).unwrap();
        }
        bench.backup(&[other.path()]);
        pruned(&bench.open()).unwrap();
        assert!(!names(&**store, "index").is_empty() && !names(&**store, "checkpoint").is_empty());
        damage(store, bench);
        let newest = bench.latest(&bench.open()).id;
        let repository = bench.open();
        repository.append(&mut |_| Ok(vec![Operation::Forget { snapshots: vec![newest] }])).unwrap();
    };
    at_every_call(
        "repair",
        &ready,
        &|bench| repaired(&bench.try_open().map_err(|e| e.to_string())?),
        false,
        &[Fault::Half],
    );
}

#[test]
fn a_copy_that_dies_is_ended_by_the_next_one() {
    let from = scene();
    let source = from.bench.open();
    let work = |bench: &Bench| -> Outcome {
        let to = bench.try_open().map_err(|e| e.to_string())?;
        let snapshots = source.snapshots().map_err(|e| e.to_string())?;
        let options = CopyOptions { dry_run: false, host: "keeper".to_owned(), command: "copy".to_owned() };
        copy(&source, &to, &snapshots, &options, &Silent).map_err(|e| e.to_string())?;
        assert_eq!(to.snapshots().unwrap().iter().filter(|s| s.described.origin.is_some()).count(), 3);
        Ok(())
    };
    let root = from.root.path().to_owned();
    let empty = Arc::new(MemoryStore::new());
    drop(Bench { system: far_system(1), ..Bench::on(empty.clone()) });
    for fault in [Fault::Before, Fault::After, Fault::Half] {
        let mut n = 0;
        loop {
            n += 1;
            let label = format!("copy, crash at call {n}, {fault:?}");
            let store = Arc::new(SimulatedStore::new(Arc::new(empty.fork())));
            let bench = Bench { system: far_system(2), ..Bench::beside(store.clone()) };
            store.crash_after(n, Scope::Mutating, fault);
            let died = work(&bench);
            let crashed = store.has_crashed();
            store.revive();
            sound(&bench.open(), VerifyDepth::Structure, &label);
            work(&bench).unwrap_or_else(|e| panic!("{label}, again: {e}"));
            sound(&bench.open(), VerifyDepth::ReadData, &label);
            let (repository, target) = (bench.open(), tempfile::tempdir().unwrap());
            bench.restore(&bench.latest(&repository), target.path(), Some(&root));
            assert_eq!(difference(&root, target.path()), "", "{label}");
            if !crashed {
                assert_eq!(died, Ok(()), "{label}");
                break;
            }
        }
        println!("copy, {fault:?}: {} calls", n - 1);
    }
}
