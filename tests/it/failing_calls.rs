//! Every call to the store by every operation fails in every way: nothing panics, the error says why, the repository stays
//! valid, and the same operation succeeds once the store is back.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::harness::story::{everything, thorough};
use crate::harness::{Bench, far_system, options, text};
use strongroom::format::record::Operation;
use strongroom::ops::backup::{StreamSource, backup};
use strongroom::ops::cat::cat;
use strongroom::ops::prune::prune;
use strongroom::ops::repair::{RepairOptions, repair};
use strongroom::ops::verify::{VerifyDepth, verify};
use strongroom::primitives::progress::{Recorder, Silent};
use strongroom::primitives::system::OsSystem;
use strongroom::repository::{Repository, init};
use strongroom::store::{Fault, MemoryStore, Scope, SimulatedStore};

static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, SeqCst);
        before(info);
    }));
}

/// How the call with a number fails, and what becomes of those after it.
#[derive(Debug, Clone, Copy)]
enum SlotKind {
    /// Once.
    Once(Fault),
    /// From then on, for ever.
    ForEver(Fault),
}

const WAYS: [SlotKind; 6] = [
    SlotKind::Once(Fault::Before),
    SlotKind::Once(Fault::Half),
    SlotKind::Once(Fault::Denied),
    SlotKind::Once(Fault::Missing),
    SlotKind::ForEver(Fault::Full),
    SlotKind::ForEver(Fault::Before),
];

/// Every call with `STRONGROOM_TEST_FULL` set, else every third.
fn step() -> usize {
    if std::env::var_os("STRONGROOM_TEST_FULL").is_some() { 1 } else { 3 }
}

struct Scene {
    store: Arc<MemoryStore>,
    bench: Bench,
    root: tempfile::TempDir,
}

/// Nights of which the first are forgotten: there is something to restore, to prune and to verify.
fn scene() -> Scene {
    let (store, root) = (Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap());
    let bench = Bench { system: far_system(1), ..Bench::on(store.clone()) };
    for n in 0..3 {
        for i in 0..3 {
            let bytes = [text(i, 40_000), text(100 * n + i, 40_000)].concat();
            fs::write(root.path().join(format!("file{i}")), bytes).unwrap();
        }
        bench.backup(&[root.path()]);
    }
    let repository = bench.open();
    let ids: Vec<_> = repository.snapshots().unwrap().iter().map(|s| s.id).take(2).collect();
    repository.append(&mut |_| Ok(vec![Operation::Forget { snapshots: ids.clone() }])).unwrap();
    repository.save_cache().unwrap();
    Scene { store, bench, root }
}

/// An operation on the tree at the path.
type Act<'a> = dyn Fn(&Arc<Repository>, &Path) -> Result<(), String> + 'a;

/// An open repository, its store, what lies within, and the machine.
type Tried = (Arc<Repository>, Arc<SimulatedStore>, Arc<MemoryStore>, Bench);

/// Runs `act` with its `n`-th call failing, for each `n` until it needs fewer. `fresh` says whether it changes the
/// repository, so that each try begins with the scene anew.
fn at_every_call(fresh: bool, act: &Act) {
    let Scene { store, bench, root } = scene();
    let state = bench.places();
    for way in WAYS {
        let mut handle: Option<Tried> = None;
        for n in (1..).step_by(step()) {
            let (repository, simulated, fork, local) = match handle.take() {
                Some(kept) if !fresh => kept,
                _ => {
                    let fork = Arc::new(store.fork());
                    let simulated = Arc::new(SimulatedStore::new(fork.clone()));
                    let local = Bench { system: far_system(2), ..Bench::beside(simulated.clone()) };
                    crate::harness::copy_folder(&state.cache, &local.places().cache);
                    crate::harness::copy_folder(&state.state, &local.places().state);
                    let repository = local.open();
                    (repository, simulated, fork, local)
                }
            };
            match way {
                SlotKind::Once(fault) => simulated.fail(None, "", n, 1, fault),
                SlotKind::ForEver(fault) => simulated.crash_after(n, Scope::All, fault),
            }
            simulated.clear_calls();
            let done = act(&repository, root.path());
            let calls = simulated.calls().len() as u64;
            simulated.revive();
            simulated.release().unwrap();
            assert_eq!(PANICS.load(SeqCst), 0, "{way:?} at call {n}");
            if let Err(error) = &done {
                assert!(!error.is_empty() && !error.contains("panicked"), "{way:?} at call {n}: {error}");
            }
            if fresh {
                let newcomer = Bench { system: far_system(3), ..Bench::beside(fork.clone()) };
                let bare = newcomer.open();
                let found = verify(&bare, VerifyDepth::ReadData, &Silent).unwrap().findings;
                assert_eq!(found, vec![], "{way:?} at call {n}");
                assert_eq!(act(&bare, root.path()), Ok(()), "again after {way:?} at call {n}");
            }
            if calls < n {
                assert_eq!(done, Ok(()), "{way:?}: nothing failed");
                break;
            }
            handle = Some((repository, simulated, fork, local));
        }
    }
}

fn text_of<T>(done: Result<T, impl std::error::Error>) -> Result<(), String> {
    done.map(drop).map_err(|e| e.to_string())
}

#[test]
fn a_backup_of_a_tree() {
    count_panics();
    at_every_call(true, &|repository, root| {
        let kept = fs::read(root.join("file0")).unwrap();
        fs::write(root.join("new"), text(7, 300_000)).unwrap();
        let done = backup(repository, options(&[root]), &Recorder::default());
        fs::write(root.join("file0"), kept).unwrap();
        text_of(done)
    });
}

#[test]
fn a_backup_of_a_stream() {
    count_panics();
    at_every_call(true, &|repository, _| {
        let reader = Box::new(std::io::Cursor::new(text(8, 300_000)));
        let streams = vec![StreamSource::Reader { name: "dump".to_owned(), reader }];
        text_of(backup(repository, crate::harness::BackupOptions { streams, ..options(&[]) }, &Recorder::default()))
    });
}

#[test]
fn a_prune() {
    count_panics();
    at_every_call(true, &|repository, _| text_of(prune(repository, &everything(), &Silent)));
}

#[test]
fn a_repair() {
    count_panics();
    at_every_call(true, &|repository, _| {
        let options = RepairOptions { ignore_versions: true, ..thorough() };
        text_of(repair(repository, &options, &Silent))
    });
}

#[test]
fn a_forget() {
    count_panics();
    at_every_call(true, &|repository, _| {
        text_of(repository.append(&mut |state| {
            let snapshots: Vec<_> =
                state.snapshots.keys().copied().take(1).filter(|_| state.snapshots.len() > 1).collect();
            Ok(if snapshots.is_empty() { vec![] } else { vec![Operation::Forget { snapshots }] })
        }))
    });
}

#[test]
fn reading() {
    count_panics();
    at_every_call(false, &|repository, _| text_of(verify(repository, VerifyDepth::ReadData, &Silent)));
    at_every_call(false, &|repository, _| text_of(repository.refresh().and_then(|_| repository.snapshots())));
    at_every_call(false, &|repository, root| {
        let snapshot = repository.snapshots().map_err(|e| e.to_string())?.pop().ok_or("no snapshot")?;
        let target = tempfile::tempdir().unwrap();
        let report =
            crate::harness::try_restore(repository, &snapshot, target.path(), Some(root)).map_err(|e| e.to_string())?;
        if !report.problems.is_empty() {
            return Err(report.problems.join("; "));
        }
        assert_eq!(crate::harness::difference(root, target.path()), "");
        Ok(())
    });
    at_every_call(false, &|repository, root| {
        let snapshot = repository.snapshots().map_err(|e| e.to_string())?.pop().ok_or("no snapshot")?;
        let (mut out, path) = (Vec::new(), root.join("file0"));
        text_of(cat(repository, &snapshot, path.to_str().unwrap().as_bytes(), &mut out, &Silent))?;
        assert!(out == fs::read(&path).unwrap());
        Ok(())
    });
}

#[test]
fn an_init() {
    count_panics();
    for way in WAYS {
        for n in 1.. {
            let simulated = SimulatedStore::new(Arc::new(MemoryStore::new()));
            match way {
                SlotKind::Once(fault) => simulated.fail(None, "", n, 1, fault),
                SlotKind::ForEver(fault) => simulated.crash_after(n, Scope::All, fault),
            }
            let done = text_of(
                init(&simulated, crate::harness::PASSPHRASE, crate::harness::small(), None, &OsSystem).map(drop),
            );
            assert_eq!(PANICS.load(SeqCst), 0, "{way:?} at call {n}");
            if (simulated.calls().len() as u64) < n {
                assert_eq!(done, Ok(()), "{way:?}: nothing failed");
                break;
            }
        }
    }
}
