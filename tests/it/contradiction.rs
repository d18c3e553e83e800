//! A log that was cut, exchanged or forked: what can be read is read, nothing is deleted on its word, and the owner
//! settles it.

use std::fs;
use std::sync::Arc;

use crate::harness::{Bench, Machine, text};
use bytes::Bytes;
use strongroom::format::names;
use strongroom::format::record::{Operation, Role};
use strongroom::ops::forget::{ForgetOptions, Which, forget};
use strongroom::ops::prune::{PruneOptions, prune};
use strongroom::ops::verify::{VerifyDepth, verify, verify_keyless};
use strongroom::primitives::ids::RunId;
use strongroom::primitives::progress::Silent;
use strongroom::repository::doubt::{Doubt, Gap, GapCause};
use strongroom::repository::state_dir::Head;
use strongroom::repository::{Repository, RepositoryError};
use strongroom::store::{MemoryStore, Store, list_all};

fn tree(seed: u64) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), text(seed, 30_000)).unwrap();
    root
}

/// A repository with a machine of a backup credential.
fn scene() -> (Bench, Machine) {
    let bench = Bench::new();
    let machine = bench.machine(Role::Backup, "web");
    (bench, machine)
}

fn backup(bench: &Bench, seed: u64) {
    bench.backup(&[tree(seed).path()]);
}

/// The owner on a machine that knows nothing.
fn bare(bench: &Bench) -> (Bench, Arc<Repository>) {
    let bare = Bench::beside(bench.store.clone());
    let repository = bare.open();
    (bare, repository)
}

fn last(bench: &Bench) -> u64 {
    list_all(&*bench.store, names::LOG).unwrap().len() as u64
}

fn replace(bench: &Bench, number: u64, bytes: Bytes) {
    bench.store.delete(&names::record(number)).unwrap();
    bench.store.create(&names::record(number), bytes).unwrap();
}

/// Prune and forget refuse, and every object stays.
fn deletes_nothing(repository: &Arc<Repository>) {
    let before = list_all(&*repository.store, "").unwrap();
    let refused = |e: &RepositoryError| assert!(matches!(e, RepositoryError::Contradicted { .. }), "{e}");
    refused(&prune(repository, &PruneOptions::default(), &Silent).unwrap_err());
    let all = ForgetOptions {
        filter: Default::default(),
        group_by: vec![],
        which: Which::All,
        zone: jiff::tz::TimeZone::UTC,
        member_only: false,
        dry_run: false,
    };
    let error = forget(repository, &all, &mut |_| true).unwrap_err();
    assert!(error.to_string().contains("contradicted"), "{error}");
    let ids = repository.state().snapshots.keys().copied().collect::<Vec<_>>();
    if !ids.is_empty() {
        refused(&repository.append(&mut |_| Ok(vec![Operation::Forget { snapshots: ids.clone() }])).unwrap_err());
    }
    assert_eq!(list_all(&*repository.store, "").unwrap(), before);
    let found = verify(repository, VerifyDepth::Structure, &Silent).unwrap().findings;
    assert!(!found.is_empty());
}

fn settled(repository: &Arc<Repository>) {
    assert!(repository.settle(false).unwrap().is_some());
    assert_eq!(repository.doubts(), []);
    repository.check_undoubted().unwrap();
    assert_eq!(repository.settle(false).unwrap(), None);
    prune(repository, &PruneOptions::default(), &Silent).unwrap();
    let found = verify(repository, VerifyDepth::ReadData, &Silent).unwrap().findings;
    assert_eq!(found, []);
}

/// Whoever may write to the store, without any key, copies an older record over a newer one: all that machines with
/// backup credentials wrote since is void. A bare owner must not take their packs for leftovers.
#[test]
fn an_older_record_in_a_newer_one_s_place_deletes_nothing() {
    let (bench, machine) = scene();
    backup(&bench, 1);
    let at = last(&bench) + 1;
    machine.backup(&[tree(2).path()]);
    machine.backup(&[tree(3).path()]);
    let old = bench.store.get(&names::record(2)).unwrap();
    let kept = bench.store.get(&names::record(at)).unwrap();
    replace(&bench, at, old);

    let (owner, repository) = bare(&bench);
    assert_eq!(repository.state().snapshots.len(), 1);
    assert!(
        matches!(repository.doubts()[0], Doubt::Record { number, .. } if number == at),
        "{:?}",
        repository.doubts()
    );
    deletes_nothing(&repository);
    // The copy is brought back: nothing was lost, and nothing has to be settled.
    replace(&bench, at, kept);
    let (_folder1, whole) = bare(&bench);
    assert_eq!((whole.doubts(), whole.state().snapshots.len()), (vec![], 3));
    prune(&whole, &PruneOptions::default(), &Silent).unwrap();
    drop(owner);
}

#[test]
fn the_owner_settles_an_exchanged_record_and_revoking_its_witness_does_too() {
    let (bench, machine) = scene();
    backup(&bench, 1);
    let at = last(&bench) + 1;
    machine.backup(&[tree(2).path()]);
    replace(&bench, at, bench.store.get(&names::record(1)).unwrap());
    let (owner, repository) = bare(&bench);
    let store: Arc<dyn Store> = Arc::new(copied(&bench));
    settled(&repository);
    assert_eq!(owner.open().state().snapshots.len(), 1);
    // Backups go on for everyone whose history it is.
    owner.backup(&[tree(4).path()]);

    let other = Bench::beside(store);
    let repository = other.open();
    assert_eq!(repository.doubts().len(), 2, "{:?}", repository.doubts());
    strongroom::ops::credentials::revoke(&repository, repository.state().credentials.keys().next().copied().unwrap())
        .unwrap();
    // The word of the one who was revoked is gone; that of the copied record, which the owner signed, is not.
    assert_eq!(repository.doubts().len(), 1, "{:?}", repository.doubts());
}

fn copied(bench: &Bench) -> MemoryStore {
    let copy = MemoryStore::new();
    for object in list_all(&*bench.store, "").unwrap() {
        copy.create(&object.name, bench.store.get(&object.name).unwrap()).unwrap();
    }
    copy
}

/// Yesterday's log beside today's packs: a copy that broke off, a folder that was put back.
#[test]
fn a_log_that_was_cut_at_its_end_is_told_by_the_packs_of_later_runs() {
    let (bench, machine) = scene();
    backup(&bench, 1);
    let end = last(&bench);
    backup(&bench, 2);
    machine.backup(&[tree(3).path()]);
    let run = end + 1;
    for number in end + 1..=last(&bench) {
        bench.store.delete(&names::record(number)).unwrap();
    }
    let keyless = verify_keyless(&*bench.store, &Silent).unwrap().findings;
    assert!(keyless.iter().any(|f| f.object == names::record(end + 1)), "{keyless:?}");

    let (owner, repository) = bare(&bench);
    let doubts = repository.doubts();
    assert!(
        matches!(&doubts[..], [Doubt::Beyond { end: e, run: RunId(r), .. }] if *e == end && *r == run),
        "{doubts:?}"
    );
    deletes_nothing(&repository);
    // Backups go on. They hide what they were told by, so they say it in the log.
    for seed in 4..8 {
        owner.backup(&[tree(seed).path()]);
    }
    assert!(last(&bench) > run + 4);
    let (_folder2, other) = bare(&bench);
    assert!(matches!(other.doubts()[0], Doubt::Witness { .. }), "{:?}", other.doubts());
    deletes_nothing(&other);
    settled(&other);
}

#[test]
fn a_checkpoint_that_the_log_does_not_reach_is_no_beginning() {
    let bench = Bench::new();
    backup(&bench, 1);
    let end = last(&bench);
    backup(&bench, 2);
    bench.open().write_checkpoint().unwrap();
    let cut = |number: u64| bench.store.delete(&names::record(number)).unwrap();
    (end + 1..=last(&bench)).rev().for_each(cut);
    for folder in [names::DATA, names::META, names::INDEX] {
        for object in list_all(&*bench.store, folder).unwrap() {
            if object.name.contains(&format!("{:020}", end + 1)) {
                bench.store.delete(&object.name).unwrap();
            }
        }
    }
    let (owner, repository) = bare(&bench);
    assert_eq!(repository.state().snapshots.len(), 1);
    assert!(matches!(repository.doubts()[0], Doubt::Beyond { .. }), "{:?}", repository.doubts());
    deletes_nothing(&repository);
    settled(&repository);
    drop(owner);
    let (_folder3, again) = bare(&bench);
    assert_eq!((again.doubts(), again.state().snapshots.len()), (vec![], 1));
}

#[test]
fn what_lies_behind_a_missing_record_is_not_written_over() {
    let (bench, machine) = scene();
    backup(&bench, 1);
    let at = last(&bench) + 1;
    machine.backup(&[tree(2).path()]);
    backup(&bench, 3);
    let kept = bench.store.get(&names::record(at)).unwrap();
    bench.store.delete(&names::record(at)).unwrap();

    let (owner, repository) = bare(&bench);
    let missing = GapCause::Missing { next: at + 1, genuine: true };
    assert_eq!(repository.doubts(), [Doubt::Gap(Gap { number: at, cause: missing })]);
    assert_eq!(repository.state().snapshots.len(), 1);
    deletes_nothing(&repository);
    let error = owner.try_backup(&[tree(4).path()], &Silent).unwrap_err();
    assert!(error.to_string().contains(&names::record(at)), "{error}");
    assert!(bench.store.size(&names::record(at)).is_err());

    bench.store.create(&names::record(at), kept).unwrap();
    assert_eq!(bare(&bench).1.state().snapshots.len(), 3);
    bench.store.delete(&names::record(at)).unwrap();
    settled(&repository);
    assert_eq!(repository.state().snapshots.len(), 1);
    owner.backup(&[tree(5).path()]);
    assert_eq!(bare(&bench).1.state().snapshots.len(), 2);
}

/// Anyone who may create objects can put one far ahead; it stops nobody.
#[test]
fn an_object_far_ahead_in_the_log_stops_nobody() {
    let (bench, machine) = scene();
    backup(&bench, 1);
    let far = last(&bench) + 5;
    for (number, bytes) in [(far, &b""[..]), (far + 1, b"anything"), (99_999_999, b"else")] {
        bench.store.create(&names::record(number), Bytes::from_static(bytes)).unwrap();
    }
    let (owner, repository) = bare(&bench);
    let junk = GapCause::Missing { next: far, genuine: false };
    assert_eq!(repository.doubts(), [Doubt::Gap(Gap { number: far - 4, cause: junk })]);
    deletes_nothing(&repository);
    owner.backup(&[tree(2).path()]);
    machine.backup(&[tree(3).path()]);
    let keyless = verify_keyless(&*bench.store, &Silent).unwrap().findings;
    assert!(keyless.len() < 12, "{}", keyless.len());

    let repository = owner.open();
    settled(&repository);
    // The log goes on through what was settled.
    for seed in 4..8 {
        owner.backup(&[tree(seed).path()]);
        machine.backup(&[tree(seed + 10).path()]);
    }
    let (_folder4, again) = bare(&bench);
    assert!(again.state().number > far + 1 && again.state().void.contains(&far), "{:?}", again.state().void);
    assert_eq!((again.doubts(), again.state().snapshots.len()), (vec![], 11));
}

/// Two machines were told that they had created the same record, and the owner went on behind the one that is gone.
#[test]
fn before_a_fork_everything_can_be_restored_and_the_owner_settles_it_for_everyone() {
    let (bench, machine) = scene();
    backup(&bench, 1);
    let at = last(&bench) + 1;
    let others: Arc<dyn Store> = Arc::new(copied(&bench));
    machine.backup(&[tree(2).path()]);
    backup(&bench, 3);
    // The other branch: another record at the same number.
    let branch = Bench::beside(others);
    backup(&branch, 4);
    replace(&bench, at, branch.store.get(&names::record(at)).unwrap());

    let (owner, repository) = bare(&bench);
    let number = match &repository.doubts()[0] {
        Doubt::Gap(Gap { number, cause: GapCause::Fork(_) }) => *number,
        other => panic!("{other}"),
    };
    assert!(number > at);
    assert_eq!(repository.snapshots().unwrap().len(), 1);
    let target = tempfile::tempdir().unwrap();
    let restored = owner.restore(&owner.latest(&repository), target.path(), None);
    assert_eq!(restored.problems, Vec::<String>::new());
    deletes_nothing(&repository);
    owner.try_backup(&[tree(5).path()], &Silent).unwrap_err();
    // The machine that saw the other branch knows nothing of it yet: its own last record is there.
    assert_eq!(bench.open().snapshots().unwrap().len(), 3);

    settled(&repository);
    owner.backup(&[tree(6).path()]);
    let (_folder5, again) = bare(&bench);
    assert_eq!(again.doubts(), []);
    // What the owner settled counts for them too.
    let known = bench.open();
    assert_eq!(known.state().hash, again.state().hash);
    bench.backup(&[tree(7).path()]);
    assert_eq!(bare(&bench).1.state().snapshots.len(), 3);
    assert_eq!(bench.open().snapshots().unwrap().len(), 3);
}

#[test]
fn a_head_that_is_expected_must_lie_on_the_way() {
    let (bench, machine) = scene();
    backup(&bench, 1);
    let head = |repository: &Repository| Head { number: repository.state().number, hash: repository.state().hash };
    let early = head(&bench.open());
    // A void record behind it.
    bench.store.create(&names::record(early.number + 1), bench.store.get("config").unwrap()).unwrap();
    let void = head(&bench.open());
    machine.backup(&[tree(2).path()]);
    let (_folder6, repository) = bare(&bench);
    for expected in [early, void, head(&repository)] {
        repository.expect_head(expected).unwrap();
        assert_eq!(expected.to_string().parse(), Ok(expected));
        let mut wrong = expected;
        wrong.hash.0[3] ^= 1;
        assert!(matches!(repository.expect_head(wrong), Err(RepositoryError::History { .. })), "{expected}");
    }
    let later = Head { number: repository.state().number + 1, ..early };
    assert!(repository.expect_head(later).unwrap_err().to_string().contains("is expected"));
    for bad in ["", "7", "7:", "x:00", "7:00"] {
        assert!(bad.parse::<Head>().is_err(), "{bad}");
    }
}

/// The owner gives up records that machines have seen. They follow, though the record that says so has a lower number than
/// those; but they do not follow a log that was rolled back to that record later.
#[test]
fn a_machine_follows_a_settlement_that_it_has_not_seen_and_no_other() {
    let (bench, machine) = scene();
    backup(&bench, 1);
    let end = last(&bench);
    machine.backup(&[tree(2).path()]);
    machine.backup(&[tree(3).path()]);
    bench.open();
    (end + 1..=last(&bench)).for_each(|number| bench.store.delete(&names::record(number)).unwrap());
    let refused = |e: RepositoryError| assert!(matches!(e, RepositoryError::History { .. }), "{e}");
    refused(bench.try_open().unwrap_err());
    refused(machine.try_open().unwrap_err());

    let passphrase = zeroize::Zeroizing::new(crate::harness::PASSPHRASE.to_vec());
    let repository =
        Repository::open_forgetting(bench.store.clone(), &passphrase, &bench.places(), bench.system.clone()).unwrap();
    let settled = repository.settle(true).unwrap().unwrap();
    assert_eq!(settled, end + 1);
    assert_eq!(machine.open().state().snapshots.len(), 1);
    let rolled_back = copied(&bench);
    machine.backup(&[tree(4).path()]);
    backup(&bench, 5);
    // An old copy, whose last word is that settlement.
    let rolled_back: Arc<dyn Store> = Arc::new(rolled_back);
    refused(bench.try_open_on(rolled_back.clone()).unwrap_err());
    bench.forget_cache();
    refused(bench.try_open_on(rolled_back).unwrap_err());
    assert_eq!(bench.open().state().snapshots.len(), 3);
}

/// What is given up is given up only if the repository opens then.
#[test]
fn what_a_machine_has_seen_is_not_forgotten_in_vain() {
    let bench = Bench::new();
    backup(&bench, 1);
    let records: Vec<Bytes> =
        (1..=last(&bench)).map(|number| bench.store.get(&names::record(number)).unwrap()).collect();
    (1..=last(&bench)).for_each(|number| bench.store.delete(&names::record(number)).unwrap());
    let passphrase = zeroize::Zeroizing::new(crate::harness::PASSPHRASE.to_vec());
    let opened = Repository::open_forgetting(bench.store.clone(), &passphrase, &bench.places(), bench.system.clone());
    assert!(matches!(opened, Err(RepositoryError::History { .. })));
    // It still knows that more than the first record was there.
    bench.store.create(&names::record(1), records[0].clone()).unwrap();
    assert!(matches!(bench.try_open(), Err(RepositoryError::History { .. })));
}

/// An object far ahead does not hide that the last record was exchanged.
#[test]
fn the_last_record_is_compared_although_something_stands_far_ahead() {
    let bench = Bench::new();
    backup(&bench, 1);
    bench.open().save_cache().unwrap();
    let end = last(&bench);
    bench.store.create(&names::record(end + 50), Bytes::from_static(b"x")).unwrap();
    replace(&bench, end, bench.store.get(&names::record(1)).unwrap());
    assert!(matches!(bench.try_open(), Err(RepositoryError::History { .. })));
}
