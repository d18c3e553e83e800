//! Prune on whole repositories: what nobody needs goes, what somebody needs stays, whoever else is at work.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::harness::story::{comes_back, everything, forget, keep_newest, pruned, sound};
use crate::harness::{Bench, Machine, Meddler, difference, options, text};
use bytes::Bytes;
use strongroom::format::description::RunDescription;
use strongroom::format::record::{Outcome, Role, RunKind};
use strongroom::format::state::DirectoryHome;
use strongroom::ops::backup::{BackupOptions, backup};
use strongroom::ops::prune::plan::MaxUnused;
use strongroom::ops::prune::{PruneOptions, prune};
use strongroom::primitives::ids::SnapshotId;
use strongroom::primitives::progress::Silent;
use strongroom::repository::write::packer::PackerThreads;
use strongroom::repository::{Repository, RepositoryError};
use strongroom::store::{Fault, MemoryStore, SimulatedStore, Store, Verb, list_all};

fn bytes_of(store: &dyn Store) -> u64 {
    ["data", "meta", "index"].iter().flat_map(|f| list_all(store, f).unwrap()).map(|o| o.size).sum()
}

/// A folder that changes from night to night: some of it stays, some goes, some files change in part.
fn night(root: &Path, n: u64) {
    fs::create_dir_all(root.join("below")).unwrap();
    for i in 0..6 {
        let mut content = text(100 + i, 150_000);
        content.extend(text(1000 * n + i, 50_000));
        fs::write(root.join(format!("below/partly{i}")), content).unwrap();
    }
    for i in 0..4 {
        fs::write(root.join(format!("new{i}")), text(2000 * n + i, 100_000)).unwrap();
        let _ = fs::remove_file(root.join(format!("of-night-{}-{i}", n.wrapping_sub(1))));
        fs::write(root.join(format!("of-night-{n}-{i}")), text(3000 * n + i, 60_000)).unwrap();
    }
}

/// DSS-3: no night depends on an earlier one.
#[test]
fn what_nobody_needs_goes_and_what_somebody_needs_comes_back() {
    let (bench, root) = (Bench::new(), tempfile::tempdir().unwrap());
    for n in 0..5 {
        night(root.path(), n);
        bench.backup(&[root.path()]);
    }
    let repository = bench.open();
    assert_eq!(pruned(&repository).plan.unused_before, 0, "everything is needed");
    sound(&repository);
    keep_newest(&repository);
    let before = bytes_of(&*bench.store);
    let report = pruned(&repository);
    assert!(report.condemned > 0 && report.swept.objects >= report.condemned, "{report:?}");
    assert!(!report.has_problems());
    assert_eq!(report.plan.unused_after, 0);
    assert_eq!(list_all(&*bench.store, "index").unwrap().len(), repository.state().segments.len(), "one, written once");
    sound(&repository);
    comes_back(&bench, &repository, root.path());
    // About as small as a repository that never held anything else.
    let fresh = Bench::new();
    fresh.backup(&[root.path()]);
    let (after, alone) = (bytes_of(&*bench.store), bytes_of(&*fresh.store));
    assert!(after < before / 2 && after < alone + alone / 10, "{before} became {after}; alone it is {alone}");
    // A second one has nothing to do, and adds nothing to the log.
    let number = repository.state().number;
    let again = pruned(&repository);
    assert_eq!((again.condemned, again.swept.objects, repository.state().number), (0, 0, number));
    // Whoever comes with nothing but the passphrase starts at the checkpoint and finds all.
    bench.forget_local();
    let newcomer = bench.open();
    assert_eq!(newcomer.state().number, number);
    comes_back(&bench, &newcomer, root.path());
    sound(&newcomer);
    // And the next night is a night like any other.
    night(root.path(), 9);
    assert_eq!(bench.backup(&[root.path()]).outcome, Outcome::Complete);
    comes_back(&bench, &bench.open(), root.path());
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let (bench, root) = (Bench::new(), tempfile::tempdir().unwrap());
    for n in 0..3 {
        night(root.path(), n);
        bench.backup(&[root.path()]);
    }
    let repository = bench.open();
    keep_newest(&repository);
    let all = || list_all(&*bench.store, "").unwrap();
    let (before, number) = (all(), repository.state().number);
    let dry = prune(&repository, &PruneOptions { dry_run: true, ..everything() }, &Silent).unwrap();
    assert_eq!((all(), repository.state().number), (before, number));
    let done = pruned(&repository);
    assert_eq!(dry.plan, done.plan);
    assert!(dry.after.1 > done.after.1 * 9 / 10 && dry.after.1 < done.after.1 * 11 / 10, "{dry:?} {done:?}");
}

#[test]
fn how_much_may_stay_unused_decides_what_is_rewritten() {
    let (bench, root) = (Bench::new(), tempfile::tempdir().unwrap());
    for n in 0..4 {
        night(root.path(), n);
        bench.backup(&[root.path()]);
    }
    let repository = bench.open();
    keep_newest(&repository);
    let with = |max_unused| prune(&repository, &PruneOptions { max_unused, ..everything() }, &Silent).unwrap();
    let first = with(MaxUnused::Unlimited);
    assert_eq!((first.plan.rewritten.packs, first.bytes_read), (0, 0));
    let second = with(MaxUnused::Part(0.2));
    assert!(second.plan.rewritten.packs > 0 && second.plan.unused_after < second.after.1 / 5, "{:?}", second.plan);
    let third = with(MaxUnused::Bytes(0));
    assert_eq!(third.plan.unused_after, 0);
    sound(&repository);
    comes_back(&bench, &repository, root.path());
}

/// The story of duplicacy #335, and of others: a backup ends well, having found its chunks in the store, and a prune
/// beside it has deleted them. Here the dead chunks are doomed and stay until every run that was open is over, so the backup
/// never notices. (More such stories are in `stories.rs`.)
#[test]
fn a_prune_beside_a_backup_takes_nothing_from_it_and_costs_it_nothing() {
    let (bench, root) = (Bench::new(), tempfile::tempdir().unwrap());
    night(root.path(), 1);
    bench.backup(&[root.path()]);
    let keeper = Bench::beside(bench.store.clone());
    // The same content again, under other names: nothing is reused unread, everything is found by its ids.
    let other = tempfile::tempdir().unwrap();
    night(other.path(), 1);
    let reports = Mutex::new(Vec::new());
    let meddler = Meddler::new(|| {
        let repository = keeper.open();
        keep_newest(&repository);
        let all: Vec<SnapshotId> = repository.state().snapshots.keys().copied().collect();
        forget(&repository, &all);
        reports.lock().unwrap().push(pruned(&repository));
    });
    let report = backup(&bench.open(), options(&[other.path()]), &meddler).unwrap();
    assert!(meddler.met());
    assert_eq!(report.outcome, Outcome::Complete);
    let during = reports.lock().unwrap().pop().unwrap();
    assert!(during.plan.waiting.packs > 0 && during.condemned == 0, "{during:?}");
    assert!(report.sources[0].figures.bytes_new < 20_000, "{:?}", report.sources[0].figures);
    let repository = keeper.open();
    sound(&repository);
    comes_back(&bench, &repository, other.path());
    // Now that it is over, what it did not take goes.
    forget(&repository, &[]);
    let after = pruned(&repository);
    assert_eq!(after.plan.waiting.packs, 0);
    sound(&repository);
    comes_back(&bench, &repository, other.path());
}

/// The parent's files are reused unread; if the parent is forgotten meanwhile everything is read after all.
#[test]
fn a_parent_that_is_forgotten_and_pruned_under_a_backup_costs_time_and_nothing_else() {
    let (bench, root) = (Bench::new(), tempfile::tempdir().unwrap());
    night(root.path(), 1);
    bench.backup(&[root.path()]);
    let keeper = Bench::beside(bench.store.clone());
    fs::write(root.path().join("one-more"), text(77, 50_000)).unwrap();
    let meddler = Meddler::new(|| {
        let repository = keeper.open();
        let all: Vec<SnapshotId> = repository.state().snapshots.keys().copied().collect();
        forget(&repository, &all);
        pruned(&repository);
    });
    let report = backup(&bench.open(), options(&[root.path()]), &meddler).unwrap();
    assert!(meddler.met());
    assert_eq!(report.outcome, Outcome::Complete);
    let repository = keeper.open();
    pruned(&repository);
    sound(&repository);
    comes_back(&bench, &repository, root.path());
}

/// A snapshot that is published between the marking and the record that condemns.
#[test]
fn what_a_new_snapshot_needs_is_marked_before_anything_is_condemned() {
    let (bench, root) = (Bench::new(), tempfile::tempdir().unwrap());
    for n in 0..3 {
        night(root.path(), n);
        bench.backup(&[root.path()]);
    }
    let keeper = Bench::beside(bench.store.clone());
    let repository = keeper.open();
    // Everything but the first night goes; the newcomer brings it back while the prune is at work.
    let first = repository.snapshots().unwrap()[0].id;
    forget(&repository, &[first]);
    let old = tempfile::tempdir().unwrap();
    night(old.path(), 0);
    let meddler = Meddler::new(|| {
        backup(&bench.open(), options(&[old.path()]), &Silent).unwrap();
    });
    prune(&repository, &everything(), &meddler).unwrap();
    assert!(meddler.met());
    sound(&repository);
    comes_back(&bench, &repository, old.path());
    pruned(&repository);
    sound(&repository);
    comes_back(&bench, &repository, old.path());
}

#[test]
fn a_restore_that_a_prune_overtakes_goes_on_with_the_new_packs() {
    let (bench, root) = (Bench::new(), tempfile::tempdir().unwrap());
    for n in 0..4 {
        night(root.path(), n);
        bench.backup(&[root.path()]);
    }
    let (keeper, reader) = (Bench::beside(bench.store.clone()), bench.open());
    let snapshot = bench.latest(&reader);
    let repository = keeper.open();
    keep_newest(&repository);
    let meddler = Meddler::new(|| {
        assert!(pruned(&repository).swept.objects > 0);
    });
    let target = tempfile::tempdir().unwrap();
    let report =
        crate::harness::try_restore_watched(&reader, &snapshot, target.path(), Some(root.path()), &meddler).unwrap();
    assert!(meddler.met());
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(difference(root.path(), target.path()), "");
}

/// The story of rustic, as its maker tells it in its changelog: packs with duplicate blobs were repacked in a way that
/// lost both copies. Here two machines store the same, a prune looks at both, and one place of each is kept.
#[test]
fn of_several_places_of_the_same_one_is_kept() {
    let (bench, root) = (Bench::new(), tempfile::tempdir().unwrap());
    night(root.path(), 1);
    let (one, two) = (bench.machine(Role::Backup, "one"), bench.machine(Role::Backup, "two"));
    let on = |m: &Machine| {
        let options = BackupOptions { host: m.file.hosts[0].clone(), ..options(&[root.path()]) };
        backup(&m.open(), options, &Silent).unwrap()
    };
    on(&one);
    // Nobody has vouched for the other's packs: everything is stored again.
    assert!(on(&two).sources[0].figures.bytes_new > 500_000);
    let repository = bench.open();
    let lenient = PruneOptions { max_unused: MaxUnused::Part(0.1), ..everything() };
    assert!(prune(&repository, &lenient, &Silent).unwrap().vouched > 0);
    assert!(pruned(&repository).condemned > 0);
    sound(&repository);
    for host in ["one", "two"] {
        let snapshot = repository.snapshots().unwrap().into_iter().find(|s| s.described.host == host).unwrap();
        let target = tempfile::tempdir().unwrap();
        bench.restore(&snapshot, target.path(), Some(root.path()));
        assert_eq!(difference(root.path(), target.path()), "");
    }
}

#[test]
fn orphans_and_remains_of_races_are_swept_and_what_is_open_is_not() {
    let (bench, root) = (Bench::new(), tempfile::tempdir().unwrap());
    night(root.path(), 1);
    bench.backup(&[root.path()]);
    let repository = bench.open();
    let orphan = |run: u64| format!("data/{run:020}/{}", "ab".repeat(32));
    let over = repository.state().runs.keys().next().unwrap().0;
    let open = repository
        .begin_run(RunKind::Backup, "other", &RunDescription::default(), PackerThreads::default())
        .unwrap()
        .id();
    bench.store.create(&orphan(over), Bytes::from_static(b"left by a run that is over")).unwrap();
    bench.store.create(&orphan(open.0), Bytes::from_static(b"of a run that is open")).unwrap();
    let report = pruned(&repository);
    assert_eq!(report.swept.objects, 1, "{report:?}");
    let there = |run: u64| bench.store.size(&orphan(run)).is_ok();
    assert_eq!((there(over), there(open.0)), (false, true));
    // Nothing comes of a run that is yet to come: records are missing.
    bench.store.create(&orphan(open.0 + 1000), Bytes::from_static(b"of a run that is yet to come")).unwrap();
    let refused = prune(&repository, &everything(), &Silent).unwrap_err();
    assert!(matches!(refused, RepositoryError::Contradicted { .. }), "{refused}");
    assert!(refused.to_string().contains(&orphan(open.0 + 1000)), "{refused}");
    assert!(there(open.0 + 1000));
}

#[test]
fn grace_keeps_what_was_condemned_until_it_is_over() {
    let (bench, root) = (Bench::new(), tempfile::tempdir().unwrap());
    for n in 0..2 {
        night(root.path(), n);
        bench.backup(&[root.path()]);
    }
    let repository = bench.open();
    keep_newest(&repository);
    let patient = PruneOptions { grace_ms: 3_600_000, ..everything() };
    let report = prune(&repository, &patient, &Silent).unwrap();
    assert!(report.condemned > 0 && report.swept.objects == 0 && report.swept.waiting > 0, "{report:?}");
    let again = prune(&repository, &patient, &Silent).unwrap();
    assert_eq!((again.swept.objects, again.swept.waiting), (0, report.swept.waiting));
    assert_eq!(pruned(&repository).swept.objects, report.swept.waiting);
    sound(&repository);
}

#[test]
fn only_the_owner_prunes() {
    let bench = Bench::new();
    for role in [Role::Backup, Role::Read] {
        let machine = bench.machine(role, "db");
        let error = prune(&machine.open(), &everything(), &Silent).unwrap_err();
        assert!(matches!(error, RepositoryError::OwnerOnly { .. }), "{error}");
    }
}

#[test]
fn directories_inside_records_are_gathered_and_segments_that_nobody_needs_go() {
    let (bench, root) = (Bench::new(), tempfile::tempdir().unwrap());
    for n in 0..20 {
        fs::write(root.path().join("a"), text(n, 30_000)).unwrap();
        bench.backup(&[root.path()]);
    }
    let repository = bench.open();
    let inline = |r: &Repository| {
        let state = r.state();
        state.packs.values().filter(|p| p.condemned.is_none() && matches!(p.home, DirectoryHome::Record(_))).count()
    };
    assert!(inline(&repository) >= 20);
    pruned(&repository);
    assert!(inline(&repository) <= 2, "only those of what the prune itself made");
    let segments = repository.state().segments.len();
    keep_newest(&repository);
    pruned(&repository);
    assert!(repository.state().segments.len() <= segments);
    sound(&repository);
    bench.forget_local();
    comes_back(&bench, &bench.open(), root.path());
}

/// A missing index must not count as an empty one: what cannot be read stops the prune, and deletes nothing.
#[test]
fn a_prune_that_cannot_read_a_tree_deletes_nothing() {
    let (bench, root) = (Bench::new(), tempfile::tempdir().unwrap());
    for n in 0..2 {
        night(root.path(), n);
        bench.backup(&[root.path()]);
    }
    let repository = bench.open();
    keep_newest(&repository);
    // From here on directories are in a segment.
    pruned(&repository);
    for n in 2..4 {
        night(root.path(), n);
        bench.backup(&[root.path()]);
    }
    keep_newest(&repository);
    assert!(!repository.state().segments.is_empty());
    drop(repository);
    for folder in ["meta", "index"] {
        let store = Arc::new(SimulatedStore::new(Arc::new(copy_of(&*bench.store))));
        for object in list_all(&*store, folder).unwrap() {
            store.delete(&object.name).unwrap();
        }
        let before = list_all(&*store, "").unwrap().len();
        let other = Bench::beside(store.clone());
        let repository = other.open();
        let error = prune(&repository, &everything(), &Silent).unwrap_err();
        assert!(error.is_damage(), "{error}");
        assert_eq!(list_all(&*store, "").unwrap().len(), before);
    }
}

fn copy_of(store: &dyn Store) -> MemoryStore {
    let copy = MemoryStore::new();
    for object in list_all(store, "").unwrap() {
        copy.create(&object.name, store.get(&object.name).unwrap()).unwrap();
    }
    copy
}

/// CC-4: a store that refuses to delete, as one with retention does: what may go is named, and the exit says so.
#[test]
fn what_the_store_will_not_delete_is_named_and_goes_with_a_later_prune() {
    let store = Arc::new(SimulatedStore::new(Arc::new(MemoryStore::new())));
    let (bench, root) = (Bench::on(store.clone()), tempfile::tempdir().unwrap());
    for n in 0..2 {
        night(root.path(), n);
        bench.backup(&[root.path()]);
    }
    let repository = bench.open();
    keep_newest(&repository);
    store.fail(Some(Verb::Delete), "data/", 1, u64::MAX, Fault::Denied);
    let report = pruned(&repository);
    assert!(report.has_problems() && !report.swept.refused.is_empty());
    sound(&repository);
    store.revive();
    let again = pruned(&repository);
    assert!(!again.has_problems() && again.swept.objects >= report.swept.refused.len() as u64);
    sound(&repository);
}
