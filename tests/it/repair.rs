//! Repair: damage of every kind, mended as far as the rest of the repository can tell what was there.

use std::fs;
use std::sync::Arc;

use crate::harness::story::{comes_back, pruned, thorough};
use crate::harness::{Bench, difference, names, text};
use strongroom::format::record::Role;
use strongroom::ops::repair::found::{heal_whole, lost_and_there, take_in};
use strongroom::ops::repair::{RepairOptions, RepairReport, repair};
use strongroom::ops::verify::{Finding, VerifyDepth, verify};
use strongroom::primitives::progress::Silent;
use strongroom::repository::{Repository, RepositoryError};
use strongroom::store::{Damage, MemoryStore, SimulatedStore, Store};

fn repaired(repository: &Arc<Repository>) -> RepairReport {
    repair(repository, &thorough(), &Silent).unwrap()
}

fn findings(repository: &Arc<Repository>) -> Vec<Finding> {
    verify(repository, VerifyDepth::ReadData, &Silent).unwrap().findings
}

struct Scene {
    store: Arc<SimulatedStore>,
    bench: Bench,
    root: tempfile::TempDir,
}

/// Files enough for several packs of content; `files` of them.
fn scene(files: u64) -> Scene {
    let store = Arc::new(SimulatedStore::new(Arc::new(MemoryStore::new())));
    let (bench, root) = (Bench::on(store.clone()), tempfile::tempdir().unwrap());
    for i in 0..files {
        fs::write(root.path().join(format!("file{i:02}")), text(i, 200_000)).unwrap();
    }
    bench.backup(&[root.path()]);
    Scene { store, bench, root }
}

#[test]
fn a_sound_repository_needs_no_repair_and_gets_no_record() {
    let Scene { bench, .. } = scene(3);
    let repository = bench.open();
    let number = repository.state().number;
    let report = repaired(&repository);
    assert_eq!((report.findings, report.lost, repository.state().number), (vec![], vec![], number));
}

#[test]
fn only_the_owner_repairs() {
    let Scene { bench, .. } = scene(1);
    let machine = bench.machine(Role::Backup, "db");
    let error = repair(&machine.open(), &thorough(), &Silent).unwrap_err();
    assert!(matches!(error, RepositoryError::OwnerOnly { .. }), "{error}");
}

#[test]
fn segments_are_written_anew_from_the_packs() {
    for damage in [Damage::Delete, Damage::Truncate(100), Damage::FlipBit(5000)] {
        // So many that their directories do not fit into the record.
        let Scene { store, bench, root } = scene(80);
        let segments = names(&*store, "index");
        assert!(!segments.is_empty());
        segments.iter().for_each(|name| store.damage(name, damage).unwrap());
        bench.forget_local();
        let repository = bench.open();
        assert!(!findings(&repository).is_empty());
        let report = repaired(&repository);
        assert!(
            report.directories > 0 && report.lost.is_empty() && report.damaged.is_empty(),
            "{damage:?}: {report:?}"
        );
        bench.forget_local();
        let repository = bench.open();
        assert_eq!(findings(&repository), vec![], "{damage:?}");
        comes_back(&bench, &repository, root.path());
    }
}

#[test]
fn what_can_be_read_of_a_damaged_pack_is_saved_and_the_rest_leaves_holes() {
    let Scene { store, bench, root } = scene(20);
    let packs = names(&*store, "data");
    assert!(packs.len() >= 2, "{packs:?}");
    store.damage(&packs[0], Damage::FlipBit(8 * 5000)).unwrap();
    let repository = bench.open();
    let hurt: Vec<String> =
        findings(&repository).iter().flat_map(|f| f.affects.iter().flat_map(|h| h.1.clone())).collect();
    assert!(!hurt.is_empty() && hurt.len() < 6, "{hurt:?}");
    let report = repaired(&repository);
    assert!(report.saved > 0 && report.lost.len() == 1 && report.damaged.len() == 1, "{report:?}");
    // The rest comes back, and the next backup makes the files whole that were hurt.
    let after: Vec<String> =
        findings(&repository).iter().flat_map(|f| f.affects.iter().flat_map(|h| h.1.clone())).collect();
    assert_eq!(after, hurt);
    // Another one finds nothing that it could fill in, and says nothing.
    let number = repository.state().number;
    assert_eq!(repaired(&repository).damaged.len(), 1);
    assert_eq!(repository.state().number, number);
    let snapshot = bench.latest(&repository).id;
    bench.backup(&[root.path()]);
    let repository = bench.open();
    comes_back(&bench, &repository, root.path());
    // What it stored again fills the holes of the old one.
    let report = repaired(&repository);
    assert!(report.filled > 0 && report.healed == [snapshot] && report.damaged.is_empty(), "{report:?}");
    assert_eq!(findings(&repository), vec![]);
    let old = repository.snapshots().unwrap().into_iter().find(|s| s.id == snapshot).unwrap();
    let target = tempfile::tempdir().unwrap();
    bench.restore(&old, target.path(), Some(root.path()));
    assert_eq!(difference(root.path(), target.path()), "");
    // And what is left of the lost pack goes.
    pruned(&repository);
    assert_eq!(repository.state().packs.values().filter(|p| p.lost.is_some()).count(), 0);
    assert_eq!(findings(&repository), vec![]);
}

#[test]
fn chunks_that_are_stored_twice_leave_no_holes_at_all() {
    let store = Arc::new(SimulatedStore::new(Arc::new(MemoryStore::new())));
    let (bench, root) = (Bench::on(store.clone()), tempfile::tempdir().unwrap());
    for i in 0..8 {
        fs::write(root.path().join(format!("file{i:02}")), text(i, 200_000)).unwrap();
    }
    // Nobody has vouched for what this machine stores: the next one stores the same again.
    bench.machine(Role::Backup, "twin").backup(&[root.path()]);
    let own = names(&*store, "data").into_iter().next().unwrap();
    bench.backup(&[root.path()]);
    store.damage(&own, Damage::Delete).unwrap();
    let repository = bench.open();
    let report = repaired(&repository);
    assert!(report.filled > 0 && report.lost.len() == 1 && report.damaged.is_empty(), "{report:?}");
    assert_eq!(findings(&repository), vec![]);
    for snapshot in repository.snapshots().unwrap() {
        let target = tempfile::tempdir().unwrap();
        bench.restore(&snapshot, target.path(), Some(root.path()));
        assert_eq!(difference(root.path(), target.path()), "");
    }
}

#[test]
fn what_is_given_up_leaves_a_snapshot_without_it() {
    let Scene { store, bench, root } = scene(20);
    let packs = names(&*store, "data");
    store.damage(&packs[1], Damage::Delete).unwrap();
    let repository = bench.open();
    let old = bench.latest(&repository).id;
    let report = repair(&repository, &RepairOptions { drop_lost: true, ..thorough() }, &Silent).unwrap();
    assert_eq!(report.dropped.len(), 1, "{report:?}");
    assert_eq!(report.dropped[0].old, old);
    assert_eq!(report.damaged, vec![]);
    let lost = report.dropped[0].lost.len();
    assert!(lost > 0 && lost < 20, "{report:?}");
    assert_eq!(findings(&repository), vec![]);
    let left = bench.latest(&repository);
    assert_eq!(left.id, report.dropped[0].new);
    let target = tempfile::tempdir().unwrap();
    bench.restore(&left, target.path(), Some(root.path()));
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 20 - lost);
    pruned(&repository);
    assert_eq!(findings(&repository), vec![]);
}

#[test]
fn lost_trees_leave_holes_until_they_are_backed_up_again() {
    let Scene { store, bench, root } = scene(3);
    for name in names(&*store, "meta") {
        store.damage(&name, Damage::Delete).unwrap();
    }
    let repository = bench.open();
    let report = repaired(&repository);
    assert_eq!((report.damaged.len(), report.lost.len()), (1, 1), "{report:?}");
    let old = bench.latest(&repository).id;
    // A prune goes on, and keeps what it cannot know to be needed no more than it must.
    bench.backup(&[root.path()]);
    let repository = bench.open();
    comes_back(&bench, &repository, root.path());
    let report = repaired(&repository);
    assert_eq!(report.healed, [old], "{report:?}");
    assert_eq!(findings(&repository), vec![]);
}

#[test]
fn a_dry_run_names_the_damage_and_does_nothing() {
    let Scene { store, bench, .. } = scene(4);
    store.damage(&names(&*store, "data")[0], Damage::Delete).unwrap();
    let repository = bench.open();
    let number = repository.state().number;
    let report = repair(&repository, &RepairOptions { dry_run: true, ..thorough() }, &Silent).unwrap();
    assert!(!report.findings.is_empty() && report.lost.is_empty());
    assert_eq!(repository.state().number, number);
}

#[test]
fn damaged_checkpoints_are_replaced() {
    let Scene { store, bench, .. } = scene(4);
    let repository = bench.open();
    repository.write_checkpoint().unwrap();
    let name = names(&*store, "checkpoint").remove(0);
    store.damage(&name, Damage::FlipBit(300)).unwrap();
    assert_eq!(findings(&repository).len(), 1);
    let report = repaired(&repository);
    assert!(report.checkpoint.is_some());
    assert_eq!(findings(&repository), vec![]);
    bench.forget_local();
    assert_eq!(findings(&bench.open()), vec![]);
}

/// A folder of several nodes, one of which cannot be read: what is behind it is restored, verified, and kept.
#[test]
fn what_lies_behind_an_unreadable_part_of_a_folder_comes_back() {
    const FILES: usize = 3000;
    let store = Arc::new(SimulatedStore::new(Arc::new(MemoryStore::new())));
    let (bench, root) = (Bench::on(store.clone()), tempfile::tempdir().unwrap());
    for i in 0..FILES {
        fs::write(root.path().join(format!("file{i:04}")), format!("content {i}")).unwrap();
    }
    bench.backup(&[root.path()]);
    let meta = names(&*store, "meta").remove(0);
    let len = store.inner().size(&meta).unwrap();
    // In the first frames: leaves come before what leads to them.
    store.damage(&meta, Damage::FlipBit(len)).unwrap();
    let repository = bench.open();
    let target = tempfile::tempdir().unwrap();
    let report =
        crate::harness::try_restore(&repository, &bench.latest(&repository), target.path(), Some(root.path())).unwrap();
    let restored = fs::read_dir(target.path()).unwrap().count();
    assert!(!report.problems.is_empty() && restored < FILES, "{restored}: {report:?}");
    assert!(target.path().join(format!("file{:04}", FILES - 1)).exists(), "{restored}: {report:?}");
    let report = repair(&repository, &RepairOptions { drop_lost: true, ..thorough() }, &Silent).unwrap();
    assert_eq!(report.dropped.len(), 1, "{report:?}");
    assert_eq!(findings(&repository), vec![]);
    let target = tempfile::tempdir().unwrap();
    bench.restore(&bench.latest(&repository), target.path(), Some(root.path()));
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), restored);
}

/// A disk that was mounted late: the pack was declared lost, and is there again as it was.
#[test]
fn a_lost_pack_that_is_there_again_is_taken_in() {
    for by_verify in [false, true] {
        let Scene { store, bench, root } = scene(20);
        let pack = names(&*store, "data")[0].clone();
        let kept = store.get(&pack).unwrap();
        store.damage(&pack, Damage::Delete).unwrap();
        let repository = bench.open();
        let report = repaired(&repository);
        assert_eq!((report.lost.len(), report.damaged.len()), (1, 1), "{report:?}");
        // Not what is there again with other bytes.
        let mut rotten = kept.to_vec();
        rotten[4000] ^= 1;
        store.inner().create(&pack, rotten.into()).unwrap();
        let report = repaired(&repository);
        assert_eq!((report.found.len(), report.damaged.len()), (0, 1), "{report:?}");

        store.inner().delete(&pack).unwrap();
        store.inner().create(&pack, kept).unwrap();
        if by_verify {
            let there = lost_and_there(&repository, &Silent).unwrap();
            assert_eq!(take_in(&repository, &there).unwrap().len(), 1);
            let (seen, found) = (repository.state(), findings(&repository));
            assert_eq!(heal_whole(&repository, &seen, &found).unwrap().len(), 1);
        } else {
            let report = repaired(&repository);
            assert_eq!((report.found.len(), report.healed.len(), report.damaged.len()), (1, 1, 0), "{report:?}");
        }
        let whole = |repository: &Arc<Repository>| {
            assert_eq!(findings(repository), vec![]);
            comes_back(&bench, repository, root.path());
            assert!(repository.state().snapshots.values().all(|s| !s.damaged));
            pruned(repository);
            comes_back(&bench, repository, root.path());
        };
        whole(&repository);
        drop(repository);
        bench.forget_local();
        whole(&bench.open());
    }
}
