//! Machines with credentials of their own: what each can do, and what ends when it is revoked.

use std::fs;

use crate::harness::{Bench, Machine, difference, text};
use strongroom::crypto::keys::Epoch;
use strongroom::format::record::{Operation, Role};
use strongroom::format::slot::SlotKind;
use strongroom::ops::backup::BackupError;
use strongroom::ops::verify::{VerifyDepth, verify};
use strongroom::ops::{credentials, keys};
use strongroom::primitives::progress::Silent;
use strongroom::repository::keyring::Keyring;
use strongroom::repository::{Repository, RepositoryError};
use strongroom::store::list_all;
use zeroize::Zeroizing;

fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for n in 0..10 {
        let path = root.path().join(format!("{n}"));
        fs::write(&path, text(n, 60_000)).unwrap();
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
        fs::File::open(&path).unwrap().set_times(fs::FileTimes::new().set_modified(old)).unwrap();
    }
    root
}

/// Restores the newest snapshot with the machine's credential and compares.
fn restores(machine: &Machine, root: &tempfile::TempDir) {
    let (repository, target) = (machine.open(), tempfile::tempdir().unwrap());
    let snapshot = repository.snapshots().unwrap().pop().unwrap();
    let report = crate::harness::try_restore(&repository, &snapshot, target.path(), Some(root.path())).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(difference(root.path(), target.path()), "");
}

#[test]
fn a_backup_credential_runs_backup_in_full_and_a_read_credential_restores_it_elsewhere() {
    let (bench, root) = (Bench { system: crate::harness::far_system(3), ..Bench::new() }, tree());
    let (db, drill) = (bench.machine(Role::Backup, "db"), bench.machine(Role::Read, "drill"));
    let first = db.backup(&[root.path()]);
    assert_eq!(first.sources[0].figures.files_read, 10);
    let second = db.backup(&[root.path()]);
    assert_eq!((second.sources[0].figures.files_read, second.sources[0].figures.bytes_stored), (0, 0));
    // Without its cache it reads, and finds its own packs again.
    let again = Machine { bench: Bench::beside(bench.store.clone()), ..db };
    let third = again.backup(&[root.path()]);
    assert_eq!((third.sources[0].figures.files_read, third.sources[0].figures.bytes_new), (10, 0));
    restores(&drill, &root);
    assert_eq!(verify(&drill.open(), VerifyDepth::ReadData, &Silent).unwrap().findings, vec![]);
    assert_eq!(verify(&bench.open(), VerifyDepth::ReadData, &Silent).unwrap().findings, vec![]);
}

#[test]
fn a_machine_deduplicates_against_its_own_and_the_owner_s_packs_and_against_others_only_once_vouched_for() {
    let (bench, root) = (Bench::new(), tree());
    let (one, other) = (bench.machine(Role::Backup, "one"), bench.machine(Role::Backup, "other"));
    one.backup(&[root.path()]);
    assert!(other.backup(&[root.path()]).sources[0].figures.bytes_new >= 600_000);
    let owner = bench.open();
    let packs = owner.state().packs.keys().copied().collect::<Vec<_>>();
    owner.append(&mut |_| Ok(vec![Operation::Vouch { packs: packs.clone() }])).unwrap();
    let third = bench.machine(Role::Backup, "third");
    assert_eq!(third.backup(&[root.path()]).sources[0].figures.bytes_new, 0);
}

fn may_not(error: &RepositoryError) -> bool {
    matches!(
        error,
        RepositoryError::NotAllowed { .. } | RepositoryError::OwnerOnly { .. } | RepositoryError::MayNotRead { .. }
    )
}

#[test]
fn what_a_role_may_not_do_is_refused_in_words_before_anything_is_done() {
    let (bench, root) = (Bench::new(), tree());
    let (db, drill) = (bench.machine(Role::Backup, "db"), bench.machine(Role::Read, "drill"));
    db.backup(&[root.path()]);
    let objects = list_all(&*bench.store, "").unwrap().len();
    let (backup, read) = (db.open(), drill.open());
    assert!(may_not(&backup.snapshots().unwrap_err()));
    assert!(may_not(&credentials::revoke(&backup, read.keys.id()).unwrap_err()));
    assert!(may_not(&keys::add(&backup, SlotKind::Passphrase, b"x").unwrap_err()));
    assert!(matches!(drill.try_backup(&[root.path()]), Err(BackupError::Repository(e)) if may_not(&e)));
    let foreign =
        Machine { file: strongroom::format::credential::CredentialFile { name: "web".into(), ..db.file }, ..db };
    assert!(matches!(foreign.try_backup(&[root.path()]), Err(BackupError::Repository(e)) if may_not(&e)));
    assert_eq!(list_all(&*bench.store, "").unwrap().len(), objects);
}

#[test]
fn after_a_revocation_the_others_go_on_with_keys_that_the_revoked_one_lacks() {
    let (bench, root) = (Bench::new(), tree());
    let [gone, stays] = ["gone", "stays"].map(|name| bench.machine(Role::Backup, name));
    let drill = bench.machine(Role::Read, "drill");
    gone.backup(&[root.path()]);
    stays.backup(&[root.path()]);
    drill.open();
    let begun = gone.open();
    let report = credentials::revoke(&bench.open(), gone.file.id()).unwrap();
    assert_eq!((report.epoch, report.remaining), (1, 2));
    // Twice, so that keys of an epoch are found by those of the one before.
    let second = bench.machine(Role::Backup, "second");
    credentials::revoke(&bench.open(), second.file.id()).unwrap();
    fs::write(root.path().join("new"), text(77, 50_000)).unwrap();
    stays.backup(&[root.path()]);
    restores(&drill, &root);
    // Also where nothing is cached.
    restores(&Machine { bench: Bench::beside(bench.store.clone()), ..drill }, &root);
    Machine { bench: Bench::beside(bench.store.clone()), ..stays }.backup(&[root.path()]);
    bench.backup(&[root.path()]);
    assert_eq!(verify(&bench.open(), VerifyDepth::ReadData, &Silent).unwrap().findings, vec![]);

    // Ids and sizes of new content are sealed in the new epoch too: the directories of packs were not.
    let of = |machine: &Machine, epoch| Keyring::of_file(&machine.file).index_sealing(Epoch(epoch)).is_ok();
    assert!(of(&gone, 0) && !of(&gone, 1) && !of(&gone, 2));
    assert!(bench.open().keys.index_sealing(Epoch(2)).is_ok());

    let revoked = |e: &RepositoryError| matches!(e, RepositoryError::Revoked { .. });
    assert!(revoked(&gone.try_open().unwrap_err()));
    assert!(revoked(&Machine { bench: Bench::beside(bench.store.clone()), ..gone }.try_open().unwrap_err()));
    // One that was open all the while neither reads on nor writes.
    assert!(revoked(&begun.refresh().unwrap_err()));
    // A credential made now works in the epoch that is.
    bench.machine(Role::Backup, "new").backup(&[root.path()]);
}

#[test]
fn a_credential_of_another_repository_or_of_another_owner_opens_nothing() {
    let (bench, other) = (Bench::new(), Bench::new());
    let db = bench.machine(Role::Backup, "db");
    let elsewhere = Machine { bench: Bench::beside(other.store.clone()), file: db.file.clone() };
    assert!(matches!(elsewhere.try_open(), Err(RepositoryError::OtherRepository { .. })));
    let mut file = db.file.clone();
    file.owner = other.open().config.owner;
    assert!(matches!(Machine { file, ..db }.try_open(), Err(RepositoryError::History { .. })));
    // Made and never admitted.
    let new = credentials::NewCredential {
        role: Role::Read,
        name: "x".into(),
        hosts: vec![],
        sources: vec![],
        location: String::new(),
    };
    let file = credentials::prepare(&bench.open(), new).unwrap();
    let stranger = Machine { file, bench: Bench::beside(bench.store.clone()) };
    assert!(matches!(stranger.try_open(), Err(RepositoryError::UnknownCredential(_))));
}

fn opens(bench: &Bench, secret: &[u8]) -> Result<(), RepositoryError> {
    let bench = Bench::beside(bench.store.clone());
    let secret = Zeroizing::new(secret.to_vec());
    Repository::open(bench.store.clone(), &secret, &bench.places(), bench.system.clone()).map(drop)
}

#[test]
fn key_slots_come_and_go_and_the_last_one_stays() {
    let bench = Bench::new();
    let owner = bench.open();
    let (words_id, words) = keys::add_words(&owner).unwrap();
    opens(&bench, words.to_uppercase().replace(' ', "  ").as_bytes()).unwrap();
    keys::add(&owner, SlotKind::KeyFile, b"bytes of a key file").unwrap();
    opens(&bench, b"bytes of a key file").unwrap();
    let (_, old) = keys::change(&owner, b"another passphrase").unwrap();
    opens(&bench, b"another passphrase").unwrap();
    assert!(matches!(opens(&bench, crate::harness::PASSPHRASE), Err(RepositoryError::WrongPassphrase { slots: 3 })));
    assert!(keys::list(&owner).unwrap().iter().all(|s| s.id != old.id));
    keys::remove(&owner, &words_id).unwrap();
    assert!(opens(&bench, words.as_bytes()).is_err());
    let left: Vec<String> = keys::list(&owner).unwrap().into_iter().map(|s| s.id).collect();
    keys::remove(&owner, &left[0]).unwrap();
    assert!(may_not(&keys::remove(&owner, &left[1]).unwrap_err()));
    assert!(may_not(&keys::remove(&owner, "").unwrap_err()));
}

/// Two credentials on one machine share its state folder; each finds its own interrupted runs.
#[test]
fn a_run_that_another_credential_of_this_machine_left_is_left_to_it() {
    let (bench, root) = (Bench::new(), tree());
    let db = bench.machine(Role::Backup, "db");
    let db = Machine { bench: Bench { system: bench.system.clone(), store: bench.store.clone(), ..db.bench }, ..db };
    let owner_here = Repository::open(
        bench.store.clone(),
        &Zeroizing::new(crate::harness::PASSPHRASE.to_vec()),
        &db.bench.places(),
        bench.system.clone(),
    )
    .unwrap();
    let (described, threads) = (Default::default(), Default::default());
    let run = owner_here.begin_run(strongroom::format::record::RunKind::Backup, "h", &described, threads).unwrap();
    drop(run);
    db.backup(&[root.path()]);
    assert_eq!(db.open().state().open_runs().count(), 1, "the owner's");
    assert_eq!(owner_here.resume_runs(&Silent).unwrap(), (0, 0));
    assert_eq!(owner_here.refresh().unwrap().open_runs().count(), 0);
}
