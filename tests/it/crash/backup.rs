//! A backup that dies at any of its calls to the store: what follows is as if it had been slower.
//!
//! A process that crashed is a store that answers nothing but errors, and a repository that was dropped. What it
//! had uploaded and noted is found again by the next run; what it had not is stored again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::harness::{Bench, difference, far_system, options, text};
use strongroom::format::record::Outcome;
use strongroom::ops::backup::backup;
use strongroom::ops::verify::{VerifyDepth, verify};
use strongroom::primitives::progress::{Recorder, Silent};
use strongroom::repository::{RepositoryError, init};
use strongroom::store::{Fault, MemoryStore, Scope, SimulatedStore, Store, Verb};

/// A source of some packs, and a store with one night of it; the next night is another.
struct Scene {
    source: tempfile::TempDir,
    store: Arc<MemoryStore>,
    bench: Bench,
}

fn scene() -> Scene {
    let source = tempfile::tempdir().unwrap();
    fs::create_dir_all(source.path().join("tree/below")).unwrap();
    for i in 0..4 {
        fs::write(source.path().join(format!("tree/below/old{i}")), text(i, 100_000)).unwrap();
    }
    let store = Arc::new(MemoryStore::new());
    let bench = Bench { system: far_system(1), ..Bench::on(store.clone()) };
    bench.backup(&[&source.path().join("tree")]);
    for i in 0..10 {
        fs::write(source.path().join(format!("tree/new{i}")), text(50 + i, 300_000)).unwrap();
    }
    fs::remove_file(source.path().join("tree/below/old1")).unwrap();
    Scene { source, store, bench }
}

impl Scene {
    fn root(&self) -> PathBuf {
        self.source.path().join("tree")
    }

    /// The same, on a store and with local folders of its own.
    fn fork(&self) -> (Arc<SimulatedStore>, Bench) {
        let store = Arc::new(SimulatedStore::new(Arc::new(self.store.fork())));
        let bench = Bench { system: far_system(2), ..Bench::beside(store.clone()) };
        crate::harness::copy_folder(self.bench.folder.path(), bench.folder.path());
        (store, bench)
    }
}

/// Bytes of packs that were sent, and of those that were sent though they were there.
fn sent(store: &SimulatedStore) -> u64 {
    let is_pack = |name: &str| name.starts_with("data/") || name.starts_with("meta/");
    store.calls().iter().filter(|c| c.verb == Verb::Create && is_pack(&c.name)).map(|c| c.size).sum()
}

/// Bytes of packs in the store.
fn stored(store: &dyn Store) -> u64 {
    let of = |folder| strongroom::store::list_all(store, folder).unwrap();
    of("data").iter().chain(&of("meta")).map(|o| o.size).sum()
}

/// After the crash: everything that is published is sound, the next backup succeeds, and all comes back.
fn survives(store: &SimulatedStore, bench: &Bench, root: &Path, label: &str) -> (usize, u64) {
    store.revive();
    let repository = bench.open();
    let findings = verify(&repository, VerifyDepth::Structure, &Silent).unwrap().findings;
    assert_eq!(findings, vec![], "{label}");
    let report = backup(&repository, options(&[root]), &Recorder::default()).unwrap_or_else(|e| panic!("{label}: {e}"));
    assert_eq!(report.outcome, Outcome::Complete, "{label}");
    let findings = verify(&repository, VerifyDepth::ReadData, &Silent).unwrap().findings;
    assert_eq!(findings, vec![], "{label}");
    let target = tempfile::tempdir().unwrap();
    let restored =
        crate::harness::try_restore(&repository, &bench.latest(&repository), target.path(), Some(root)).unwrap();
    assert_eq!(restored.problems, Vec::<String>::new(), "{label}");
    assert_eq!(difference(root, target.path()), "", "{label}");
    report.resumed
}

/// Mutating calls of a backup that nothing disturbs, and the bytes of its packs.
fn undisturbed(scene: &Scene) -> (u64, u64) {
    let (store, bench) = scene.fork();
    bench.backup(&[&scene.root()]);
    (store.calls().iter().filter(|c| c.verb.mutates()).count() as u64, sent(&store))
}

#[test]
fn a_crash_at_any_mutating_call_costs_no_more_than_what_was_on_its_way() {
    let scene = scene();
    let (count, whole) = undisturbed(&scene);
    assert!(count >= 5, "{count} calls: too few packs");
    let mut found_again = 0;
    for fault in [Fault::Before, Fault::After, Fault::Half] {
        // One more than there are: no crash at all.
        for n in 1..=count + 1 {
            let label = format!("crash at call {n} of {count}, {fault:?}");
            let (store, bench) = scene.fork();
            store.crash_after(n, Scope::Mutating, fault);
            let died = bench.try_backup(&[&scene.root()], &Recorder::default());
            assert_eq!(store.has_crashed(), n <= count, "{label}");
            // The last record may have been written before the crash was noticed, or by a retry.
            assert!(died.is_err() || n >= count, "{label}");
            let sent_before = sent(&store);
            let (packs, bytes) = survives(&store, &bench, &scene.root(), &label);
            found_again += packs;
            // Also a run whose Begin was written and whose answer was lost is known by its folder.
            assert_eq!(bench.open().state().open_runs().count(), 0, "{label}: runs left open");
            // Found again and sent again are together what one run sends, but for one more border between packs.
            let again = sent(&store) - sent_before;
            assert!(again + bytes <= whole + (256 << 10), "{label}: {bytes} found, {again} sent again, of {whole}");
        }
        println!("backup, {fault:?}: {count} calls");
    }
    assert!(found_again > 0, "no crash left packs to find");
}

#[test]
fn finished_packs_of_a_crash_before_publishing_are_not_sent_again() {
    let scene = scene();
    let (count, _) = undisturbed(&scene);
    let (store, bench) = scene.fork();
    // The last call publishes.
    store.crash_after(count, Scope::Mutating, Fault::Before);
    let packs_before = stored(&**store.inner());
    bench.try_backup(&[&scene.root()], &Recorder::default()).map(drop).unwrap_err();
    let first = sent(&store);
    assert!(first > 1 << 20);
    let (packs, bytes) = survives(&store, &bench, &scene.root(), "publish");
    assert!(packs >= 2, "{packs} packs found again");
    assert_eq!(bytes, stored(&**store.inner()).min(packs_before + first) - packs_before, "all of them were found");
    assert_eq!(sent(&store) - first, stored(&**store.inner()) - packs_before - first, "nothing was sent twice");
    assert!(sent(&store) - first <= 64 << 10, "{} bytes sent again of {first}", sent(&store) - first);
}

#[test]
fn a_machine_that_lost_its_local_folders_in_the_crash_backs_up_again() {
    let scene = scene();
    let (count, _) = undisturbed(&scene);
    for n in [2, count / 2, count] {
        let label = format!("everything lost at call {n}");
        let (store, bench) = scene.fork();
        store.crash_after(n, Scope::Mutating, Fault::After);
        let _ = bench.try_backup(&[&scene.root()], &Recorder::default());
        bench.forget_local();
        store.revive();
        let report = bench.backup(&[&scene.root()]);
        assert_eq!(report.outcome, Outcome::Complete, "{label}");
        let repository = bench.open();
        assert_eq!(verify(&repository, VerifyDepth::ReadData, &Silent).unwrap().findings, vec![], "{label}");
        let target = tempfile::tempdir().unwrap();
        bench.restore(&bench.latest(&repository), target.path(), Some(&scene.root()));
        assert_eq!(difference(&scene.root(), target.path()), "", "{label}");
    }
}

/// An `init` died between its key slot and its config. The next one, with the same passphrase, made a repository
/// that did not open: the slot of the first opened too, and its key was not the one that signed the config.
#[test]
fn an_init_that_dies_anywhere_can_be_made_again() {
    for n in 1..=2 {
        for fault in [Fault::Before, Fault::After, Fault::Half] {
            let store = Arc::new(SimulatedStore::new(Arc::new(MemoryStore::new())));
            store.crash_after(n, Scope::Mutating, fault);
            init(&*store, crate::harness::PASSPHRASE, crate::harness::small(), None, &*far_system(n)).unwrap_err();
            store.revive();
            for seed in 10..14 {
                // Either there is one already, or this makes it; slots come in any order.
                match init(&*store, crate::harness::PASSPHRASE, crate::harness::small(), None, &*far_system(seed)) {
                    Ok(_) | Err(RepositoryError::AlreadyInitialized { .. }) => {}
                    Err(e) => panic!("{fault:?} at call {n}: {e}"),
                }
            }
            Bench::beside(store).open();
        }
    }
}

#[test]
fn a_store_that_fails_once_and_goes_on_is_as_a_crash() {
    let scene = scene();
    for prefix in ["data/", "meta/", "log/"] {
        for fault in [Fault::Before, Fault::After, Fault::Half, Fault::Lost, Fault::Denied, Fault::Full] {
            let label = format!("{fault:?} at {prefix}");
            let (store, bench) = scene.fork();
            let occurrence = if prefix == "log/" { 2 } else { 1 };
            store.fail(Some(Verb::Create), prefix, occurrence, 1, fault);
            let done = bench.try_backup(&[&scene.root()], &Recorder::default());
            let ambiguous = matches!(fault, Fault::Half | Fault::Lost);
            assert_eq!(done.is_ok(), ambiguous, "{label}: an ambiguous answer is tried again, others are errors");
            survives(&store, &bench, &scene.root(), &label);
        }
    }
}
