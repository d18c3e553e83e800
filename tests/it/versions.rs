//! Buckets that keep versions: what deleted objects still cost, removing them for good, and bringing back what somebody
//! deleted that is needed.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::harness::story::{comes_back as restores, everything, sound, thorough};
use crate::harness::{Bench, difference, text};
use crate::s3::weed::{self, Weed};
use bytes::Bytes;
use strongroom::format::names;
use strongroom::format::record::Operation;
use strongroom::format::slot::SlotKind;
use strongroom::ops::copy::CopyOptions;
use strongroom::ops::keys;
use strongroom::ops::prune::{PruneOptions, PruneReport, prune};
use strongroom::ops::repair::branches::{branches, make_current, rescue};
use strongroom::ops::repair::{RepairOptions, RepairReport, repair};
use strongroom::primitives::error_chain::error_chain;
use strongroom::primitives::progress::Silent;
use strongroom::repository::{LocalPlaces, Repository, RepositoryError};
use strongroom::store::{MemoryStore, Store, Version, VersionKind, list_all};
use zeroize::Zeroizing;

fn pruned(repository: &Arc<Repository>, remove_noncurrent: bool, dry_run: bool) -> PruneReport {
    let options = PruneOptions { remove_noncurrent, dry_run, ..everything() };
    prune(repository, &options, &Silent).unwrap()
}

fn try_repair(repository: &Arc<Repository>, ignore_versions: bool) -> Result<RepairReport, RepositoryError> {
    let options = RepairOptions { read_data: false, ignore_versions, ..thorough() };
    repair(repository, &options, &Silent)
}

fn repaired(repository: &Arc<Repository>) -> Vec<String> {
    try_repair(repository, false).unwrap().brought_back
}

fn comes_back(bench: &Bench, root: &Path) {
    restores(bench, &bench.open(), root);
}

/// All versions below a folder.
fn versions(store: &dyn Store, folder: &str) -> Vec<Version> {
    let mut all = Vec::new();
    store.versions().unwrap().list_versions(folder, &mut |version| all.push(version)).unwrap();
    all
}

fn noncurrent(store: &dyn Store, folder: &str) -> usize {
    versions(store, folder).iter().filter(|v| v.kind == VersionKind::Bytes && !v.latest).count()
}

/// Two nights that share a part, of which the first is forgotten.
fn two_nights(bench: &Bench, root: &Path) -> Arc<Repository> {
    fs::write(root.join("stays"), text(1, 300_000)).unwrap();
    fs::write(root.join("goes"), text(2, 300_000)).unwrap();
    bench.backup(&[root]);
    fs::write(root.join("goes"), text(3, 300_000)).unwrap();
    bench.backup(&[root]);
    let repository = bench.open();
    let first = repository.snapshots().unwrap().remove(0).id;
    repository.append(&mut |_| Ok(vec![Operation::Forget { snapshots: vec![first] }])).unwrap();
    repository
}

/// CC-4: deleted objects of such a bucket are paid for until their versions go.
#[test]
fn what_a_bucket_keeps_of_deleted_objects_is_told_and_goes_if_that_is_asked_for() {
    let (server, root) = (Weed::start(), tempfile::tempdir().unwrap());
    server.keep_versions();
    let bench = Bench::on(server.store("nights", weed::OWNER_KEY));
    let store = bench.store.clone();
    let repository = two_nights(&bench, root.path());

    let first = pruned(&repository, false, false);
    let kept = first.noncurrent.clone().expect("the bucket keeps versions");
    assert!(first.swept.objects > 0 && kept.objects >= first.swept.objects, "{first:?}");
    assert!(kept.versions >= kept.objects && kept.bytes >= first.swept.bytes && kept.removed == 0);
    assert!(!first.has_problems());
    assert!(noncurrent(&*store, "data") > 0);

    let dry = pruned(&repository, true, true).noncurrent.unwrap();
    assert_eq!((dry.objects, dry.removed), (kept.objects, 0), "a dry run removes nothing");
    let removed = pruned(&repository, true, false).noncurrent.unwrap();
    assert_eq!((removed.objects, removed.removed, removed.refused), (kept.objects, kept.objects, vec![]));
    assert_eq!(pruned(&repository, false, false).noncurrent.unwrap().objects, 0);
    for folder in ["data", "meta", "index"] {
        let all = versions(&*store, folder);
        assert!(all.iter().all(|v| v.latest && v.kind == VersionKind::Bytes), "no marker is left either: {all:?}");
        assert_eq!(all.len(), list_all(&*store, folder).unwrap().len());
    }
    sound(&repository);
    comes_back(&bench, root.path());
}

#[test]
fn what_somebody_deleted_that_is_needed_stays_and_is_brought_back() {
    let (server, root) = (Weed::start(), tempfile::tempdir().unwrap());
    server.keep_versions();
    let bench = Bench::on(server.store("nights", weed::OWNER_KEY));
    let repository = two_nights(&bench, root.path());
    pruned(&repository, true, false);
    let all = |folder| list_all(&*bench.store, folder).unwrap();
    let victims: Vec<String> = ["data", "index"].iter().flat_map(|f| all(f)).map(|o| o.name).collect();
    assert!(victims.len() >= 2);
    for name in &victims {
        bench.store.delete(name).unwrap();
    }
    let report = pruned(&repository, true, false);
    let kept = report.noncurrent.as_ref().unwrap();
    assert_eq!(kept.needed, victims, "named, and not removed for good");
    assert!(report.has_problems());
    bench.forget_local();
    let repository = bench.open();
    let mut back = repaired(&repository);
    back.sort();
    assert_eq!(back, victims);
    sound(&repository);
    comes_back(&bench, root.path());
    assert!(repository.state().snapshots.values().all(|s| !s.damaged));
}

#[test]
fn a_removed_key_slot_does_not_live_on_as_a_version() {
    let server = Weed::start();
    server.keep_versions();
    let bench = Bench::on(server.store("keys", weed::OWNER_KEY));
    let repository = bench.open();
    let id = keys::add(&repository, SlotKind::Passphrase, b"a passphrase that leaked").unwrap();
    let removed = keys::remove(&repository, &id).unwrap();
    assert_eq!((removed.id.as_str(), removed.kept), (id.as_str(), None));
    assert!(versions(&*bench.store, names::KEYS).iter().all(|v| !v.name.contains(&id)));
    assert_eq!(keys::list(&repository).unwrap().len(), 1);
    // One that an earlier removal left behind is told, and can be removed still.
    let id = keys::add(&repository, SlotKind::Passphrase, b"another that leaked").unwrap();
    bench.store.delete(&format!("{}/{id}", names::KEYS)).unwrap();
    assert_eq!(pruned(&repository, true, false).noncurrent.unwrap().slots, 1);
    assert_eq!(keys::remove(&repository, &id[..10]).unwrap().id, id);
    assert_eq!(pruned(&repository, false, false).noncurrent.unwrap().slots, 0);
}

/// Whoever may delete cuts the end off the log; a machine that has seen nothing of it cannot know. The versions do.
#[test]
fn a_log_that_was_cut_stops_the_removal_of_versions() {
    let (server, root) = (Weed::start(), tempfile::tempdir().unwrap());
    server.keep_versions();
    let bench = Bench::on(server.store("nights", weed::OWNER_KEY));
    drop(two_nights(&bench, root.path()));
    let last = list_all(&*bench.store, names::LOG).unwrap().pop().unwrap().name;
    bench.store.delete(&last).unwrap();
    bench.forget_local();
    let options = PruneOptions { remove_noncurrent: true, ..PruneOptions::default() };
    let refused = |repository: &Arc<Repository>| {
        let before = versions(&*bench.store, "").len();
        let error = prune(repository, &options, &Silent).unwrap_err();
        let told = error.to_string();
        match &error {
            RepositoryError::History { .. } => assert!(told.contains(&last), "{told}"),
            // Once the number was taken again, there are two records of it.
            RepositoryError::Contradicted { .. } => assert!(told.contains("repair --from-versions"), "{told}"),
            _ => panic!("{told}"),
        }
        let dropped = before.saturating_sub(versions(&*bench.store, "").len());
        assert_eq!(dropped, 0, "no version is gone");
    };
    refused(&bench.open());
    // Also once the number was taken again.
    bench.backup(&[root.path()]);
    refused(&bench.open());
}

/// What is overwritten and then deleted is not guessed at; and nothing is declared lost while versions are in doubt.
#[test]
fn nothing_is_lost_for_ever_while_the_bucket_may_still_have_it() {
    let (server, root) = (Weed::start(), tempfile::tempdir().unwrap());
    server.keep_versions();
    let bench = Bench::on(server.store("nights", weed::OWNER_KEY));
    drop(two_nights(&bench, root.path()));
    let pack = list_all(&*bench.store, "data").unwrap().remove(0).name;
    bench.store.delete(&pack).unwrap();
    bench.store.create(&pack, Bytes::from_static(b"garbage")).unwrap();
    bench.store.delete(&pack).unwrap();
    let repository = bench.open();
    let error = try_repair(&repository, false).unwrap_err();
    assert!(matches!(&error, RepositoryError::NotAllowed { what } if what.contains(&pack)), "{error}");
    assert!(repository.state().packs.values().all(|p| p.lost.is_none()));

    let server = crate::s3::Server::start();
    let bench = Bench::on(server.store(crate::s3::MACHINE_KEY));
    let repository = two_nights(&bench, root.path());
    let pack = list_all(&*bench.store, "data").unwrap().remove(0).name;
    bench.store.delete(&pack).unwrap();
    server.set_policy(|asked| !asked.query.contains("version"));
    let error = try_repair(&repository, false).unwrap_err();
    assert!(matches!(&error, RepositoryError::NotAllowed { what } if what.contains("GetBucketVersioning")), "{error}");
    assert!(repository.state().packs.values().all(|p| p.lost.is_none()));
    assert_eq!(try_repair(&repository, true).unwrap().lost.len(), 1);
}

#[test]
fn a_bucket_without_versions_and_a_server_that_knows_none_have_nothing_to_tell() {
    let (server, root) = (Weed::start(), tempfile::tempdir().unwrap());
    let bench = Bench::on(server.store("plain", weed::OWNER_KEY));
    let repository = two_nights(&bench, root.path());
    let report = pruned(&repository, true, false);
    assert_eq!((report.noncurrent, report.noncurrent_unknown), (None, None));
    // Its answer is 501.
    let simple = crate::s3::Server::start();
    let bench = Bench::on(simple.store(crate::s3::OWNER_KEY));
    let repository = two_nights(&bench, tempfile::tempdir().unwrap().path());
    let report = pruned(&repository, true, false);
    assert_eq!((report.noncurrent, report.noncurrent_unknown), (None, None));
}

#[test]
fn credentials_that_may_not_ask_for_versions_prune_and_say_what_they_lack() {
    let (server, root) = (crate::s3::Server::start(), tempfile::tempdir().unwrap());
    let bench = Bench::on(server.store(crate::s3::MACHINE_KEY));
    let repository = two_nights(&bench, root.path());
    server.set_policy(|asked| !asked.query.contains("version"));
    let report = pruned(&repository, false, false);
    assert!(report.swept.objects > 0 && !report.has_problems());
    let why = report.noncurrent_unknown.unwrap();
    assert!(why.contains("s3:GetBucketVersioning"), "{why}");
    // Whoever asked for their removal is not told that all went well.
    let options = PruneOptions { remove_noncurrent: true, ..PruneOptions::default() };
    let error = prune(&repository, &options, &Silent).unwrap_err();
    assert!(matches!(error, RepositoryError::Store(_)) && error_chain(&error).contains("s3:GetBucketVersioning"));
    assert!(bench.store.requests().delete > 0);
}

/// Puts every object of `from` into a bucket with versions; what stands there with other bytes becomes an older version.
fn put_over(from: &dyn Store, bucket: &dyn Store) {
    for listed in list_all(from, "").unwrap() {
        let bytes = from.get(&listed.name).unwrap();
        match bucket.get(&listed.name) {
            Ok(there) if there == bytes => continue,
            Ok(_) => bucket.delete(&listed.name).unwrap(),
            Err(e) => assert!(e.is_missing()),
        }
        bucket.create(&listed.name, bytes).unwrap();
    }
}

/// A server that let everybody win once its bucket kept versions (Ceph 20.2): three machines were told that they had created
/// record 14, and nobody read the versions below it. All branches are listed with what each holds; the owner chooses, and
/// what only the others hold is copied.
#[test]
fn the_owner_chooses_among_the_branches_of_a_history_and_loses_no_snapshot() {
    let server = Weed::start();
    server.keep_versions();
    let root = |n: u64| {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("same"), text(1, 200_000)).unwrap();
        fs::write(root.path().join("own"), text(100 + n, 200_000)).unwrap();
        root
    };
    let roots: Vec<_> = (0..4).map(root).collect();
    let common = Arc::new(MemoryStore::new());
    Bench::on(common.clone()).backup(&[roots[0].path()]);
    let branch = |backups: &[usize]| {
        let store: Arc<dyn Store> = Arc::new(common.fork());
        backups.iter().for_each(|n| drop(Bench::beside(store.clone()).backup(&[roots[*n].path()])));
        store
    };
    // The longer one was there first: behind the other's last record some of its records still stand.
    let (long, short) = (branch(&[1, 2]), branch(&[3]));
    for (chosen, other) in [(0, 1), (1, 0)] {
        let bucket = server.store(&format!("branches{chosen}"), weed::OWNER_KEY);
        put_over(&*long, &*bucket);
        put_over(&*short, &*bucket);
        if chosen == 1 {
            // A choice that was cut off between the deletion of a record and its return.
            bucket.delete(&names::record(3)).unwrap();
        }
        let (bench, scratch) = (Bench::beside(bucket.clone()), tempfile::tempdir().unwrap());
        let passphrase = Zeroizing::new(crate::harness::PASSPHRASE.to_vec());
        let open = |places: &LocalPlaces| {
            Repository::open_for_repair(bucket.clone(), &passphrase, places, bench.system.clone()).unwrap()
        };
        let repository = open(&bench.places());
        let found = branches(&repository, scratch.path(), &Silent).unwrap();
        let own: Vec<usize> = found.all.iter().map(|b| found.own(b).len()).collect();
        assert_eq!((own.iter().copied().min(), own.iter().copied().max(), own.len()), (Some(1), Some(2), 2));
        assert_eq!(found.unreadable, Vec::<String>::new());
        // Neither is the history that stands: the short one was put over the long one's beginning.
        let by_len = |n: usize| found.all.iter().find(|b| found.own(b).len() == n).unwrap();
        let (branch, own) = [(by_len(2), 2), (by_len(1), 1)][chosen];
        assert_eq!((by_len(2).current, by_len(1).current), (false, chosen == 0));
        make_current(&repository, branch, &Silent).unwrap();
        drop(repository);
        let repository =
            Repository::open_forgetting(bucket.clone(), &passphrase, &bench.places(), bench.system.clone()).unwrap();
        repository.settle(true).unwrap();
        let options = CopyOptions { dry_run: false, host: "keeper".to_owned(), command: "repair".to_owned() };
        let rescued = rescue(&repository, &found, branch, scratch.path(), &options, &Silent).unwrap();
        assert_eq!((rescued.copied.len(), rescued.failed), (3 - own, vec![]), "branch {chosen} instead of {other}");
        let again = rescue(&repository, &found, branch, scratch.path(), &options, &Silent).unwrap();
        assert_eq!((again.copied, again.failed), (vec![], vec![]), "what was copied is not copied again");

        let machine = Bench::beside(bucket.clone());
        let bare = machine.open();
        assert_eq!(bare.snapshots().unwrap().len(), 4);
        sound(&bare);
        let report = pruned(&bare, false, false);
        assert_eq!((report.missing, report.damaged), (0, vec![]));
        let machine = Bench::beside(bucket.clone());
        let bare = machine.open();
        sound(&bare);
        for root in &roots {
            let path = root.path().to_str().unwrap();
            let snapshots = bare.snapshots().unwrap();
            let snapshot = snapshots.iter().find(|s| s.described.source == path).expect("each root has a snapshot");
            let target = tempfile::tempdir().unwrap();
            assert_eq!(
                crate::harness::try_restore(&bare, snapshot, target.path(), Some(root.path())).unwrap().problems,
                Vec::<String>::new()
            );
            assert_eq!(difference(root.path(), target.path()), "");
        }
    }
}
