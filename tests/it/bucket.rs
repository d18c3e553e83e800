//! Whole operations on buckets: faults at every request, policies, restarts, races, and what it all costs in requests.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crate::harness::{Bench, Machine, PASSPHRASE, difference, far_system, small, text};
use crate::s3::{Condition, Fault, MACHINE_KEY, OWNER_KEY, Server};
use strongroom::format::record::Role;
use strongroom::ops::backup::BackupError;
use strongroom::ops::cat::cat;
use strongroom::ops::restore::RestoreError;
use strongroom::ops::verify::{VerifyDepth, verify};
use strongroom::primitives::error_chain::error_chain;
use strongroom::primitives::progress::Silent;
use strongroom::primitives::system::OsSystem;
use strongroom::repository::state_dir::machine_id;
use strongroom::repository::{RepositoryError, init};
use strongroom::store::{Store, StoreError, StoreOptions, check_conditional_create, list_all, open};

fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for n in 0..12 {
        let path = root.path().join(format!("{n}"));
        fs::write(&path, text(n, 200_000)).unwrap();
        let old = std::time::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        fs::File::open(&path).unwrap().set_times(fs::FileTimes::new().set_modified(old)).unwrap();
    }
    root
}

/// The machine on a store of its own: another key to the same bucket.
fn on(machine: Machine, store: Arc<dyn Store>) -> Machine {
    let Machine { file, bench } = machine;
    Machine { file, bench: Bench { store, ..bench } }
}

/// A store with these options, and where it says that the server keeps it waiting.
fn telling(options: StoreOptions) -> (Arc<dyn Store>, Receiver<String>) {
    let (told, tells) = std::sync::mpsc::channel();
    let notice = Arc::new(move |text: &str| drop(told.send(text.to_owned())));
    let store = open("s3://bucket/backups", &StoreOptions { notice, ..options }, 0);
    (store.expect("nothing is asked of the server yet"), tells)
}

fn restored(machine: &Machine, root: &Path) -> Result<(), RestoreError> {
    let repository = machine.try_open()?;
    let snapshot = repository.snapshots()?.pop().expect("there is a snapshot");
    let target = tempfile::tempdir().unwrap();
    let report = crate::harness::try_restore(&repository, &snapshot, target.path(), Some(root))?;
    if report.problems.is_empty() {
        assert_eq!(difference(root, target.path()), "");
    }
    Ok(())
}

/// The words of an error that a person could not use.
fn is_clear(text: &str) -> bool {
    !text.is_empty() && !text.contains("panicked")
}

const FAULTS: [(&str, Fault); 12] = [
    ("500 before", Fault::Status(500, "InternalError")),
    ("500 after the commit", Fault::StatusAfter(500, "InternalError")),
    ("503 SlowDown", Fault::Status(503, "SlowDown")),
    ("409", Fault::Status(409, "ConditionalRequestConflict")),
    ("drop before", Fault::DropBefore),
    ("drop after", Fault::DropAfter),
    ("cut body", Fault::Cut(10)),
    ("clock skew", Fault::Status(403, "RequestTimeTooSkewed")),
    ("wrong region", Fault::Elsewhere("eu-north-1")),
    ("403", Fault::Status(403, "AccessDenied")),
    ("expired token", Fault::Status(400, "ExpiredToken")),
    ("no such bucket", Fault::Status(404, "NoSuchBucket")),
];

/// Each fault at each request of a backup: it succeeds or says why, and the next one finds all in order.
#[test]
fn every_fault_at_every_request_of_a_backup_is_survived_or_said() {
    let (server, root) = (Server::start(), tree());
    let bench = Bench::on(server.store(OWNER_KEY));
    let (db, drill) = (bench.machine(Role::Backup, "db"), bench.machine(Role::Read, "drill"));
    db.backup(&[root.path()]);
    let (mut survived, mut said) = (0, 0);
    for (label, fault) in FAULTS {
        // As many requests as an undisturbed backup asks, found by running until the fault is not met.
        for n in 0.. {
            fs::write(root.path().join("new"), text(n * 1000 + label.len() as u64, 100_000)).unwrap();
            let hit = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let (seen, what) = (hit.clone(), fault.clone());
            server.set_fault(move |_, number| {
                let meets = number as u64 == n;
                seen.fetch_or(meets, std::sync::atomic::Ordering::Relaxed);
                meets.then(|| what.clone())
            });
            let done = db.try_backup(&[root.path()]);
            server.clear_fault();
            match done {
                Ok(report) => {
                    survived += 1;
                    assert_eq!(report.sources.len(), 1, "{label} at {n}");
                }
                Err(e) => {
                    said += 1;
                    let text = error_chain(&e);
                    assert!(is_clear(&text), "{label} at {n}: {text}");
                    db.backup(&[root.path()]);
                }
            }
            if !hit.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(n > 4, "a backup asks more than {n} requests");
                break;
            }
        }
        restored(&drill, root.path()).unwrap();
    }
    let repository = bench.open();
    assert_eq!(verify(&repository, VerifyDepth::ReadData, &Silent).unwrap().findings, vec![]);
    assert_eq!(repository.state().void.len(), 0);
    assert_eq!(repository.state().open_runs().count(), 0, "each failed run was ended by the next");
    assert!(survived > 50 && said > 20, "{survived} survived, {said} said");
}

#[test]
fn every_fault_at_every_request_of_a_restore_is_survived_or_said() {
    let (server, root) = (Server::start(), tree());
    let bench = Bench::on(server.store(OWNER_KEY));
    bench.backup(&[root.path()]);
    let drill = bench.machine(Role::Read, "drill");
    for (label, fault) in FAULTS {
        for n in 0.. {
            // Bare each time.
            let drill = Machine { file: drill.file.clone(), bench: Bench::beside(bench.store.clone()) };
            let hit = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let (seen, what) = (hit.clone(), fault.clone());
            server.set_fault(move |_, number| {
                let meets = number as u64 == n;
                seen.fetch_or(meets, std::sync::atomic::Ordering::Relaxed);
                meets.then(|| what.clone())
            });
            let done = restored(&drill, root.path());
            server.clear_fault();
            if let Err(e) = done {
                assert!(is_clear(&error_chain(&e)), "{label} at {n}: {e}");
                restored(&drill, root.path()).unwrap();
            }
            if !hit.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(n > 3, "a restore asks more than {n} requests");
                break;
            }
        }
    }
}

#[test]
fn an_unchanged_night_costs_at_most_eight_requests() {
    let (server, root) = (Server::start(), tree());
    let bench = Bench { system: far_system(1), ..Bench::on(server.store(OWNER_KEY)) };
    let db = bench.machine(Role::Backup, "db");
    db.backup(&[root.path()]);
    server.take_log();
    db.backup(&[root.path()]);
    let asked = server.take_log();
    assert!(asked.len() <= 8, "{asked:#?}");
    assert_eq!(asked.iter().filter(|a| a.method == "PUT").count(), 2, "{asked:#?}");
    // The owner reads its key slot beside that.
    bench.backup(&[root.path()]);
    server.take_log();
    bench.backup(&[root.path()]);
    let asked = server.take_log();
    assert!(asked.len() <= 8, "{asked:#?}");
    // One more for each record that others wrote.
    db.backup(&[root.path()]);
    server.take_log();
    bench.backup(&[root.path()]);
    let asked = server.take_log();
    assert!(asked.len() <= 8 + 2, "{asked:#?}");
}

/// DH-5: with the least policy of `docs/GUIDE.md` a machine backs up in full, and can do nothing else.
#[test]
fn a_machine_whose_key_may_only_put_get_and_list_backs_up_and_another_restores() {
    let (server, root) = (Server::start(), tree());
    let bench = Bench::on(server.store(OWNER_KEY));
    let (db, drill) = (bench.machine(Role::Backup, "db"), bench.machine(Role::Read, "drill"));
    server.set_policy(crate::s3::backup_policy);
    let db = on(db, server.store(MACHINE_KEY));
    server.take_log();
    db.backup(&[root.path()]);
    // Nothing that it needs was refused: only the probes of the first contact, which it may not delete.
    let refused: Vec<_> = server.take_log().into_iter().filter(|a| a.status == 403).collect();
    assert!(
        refused.iter().all(|a| a.method != "PUT" && (a.key.contains("/probe/") || a.query == "delete")),
        "{refused:#?}"
    );
    fs::write(root.path().join("new"), text(900, 50_000)).unwrap();
    db.backup(&[root.path()]);

    let denied = |e: StoreError| matches!(e, StoreError::Denied { .. });
    let store = server.store(MACHINE_KEY);
    for folder in ["data", "meta", "log", "keys"] {
        for object in list_all(&*server.store(OWNER_KEY), folder).unwrap() {
            assert!(denied(store.delete(&object.name).unwrap_err()), "{}", object.name);
        }
    }
    for name in ["config", "keys/00000000000000000000000000000000", "checkpoint/00000000000000000001"] {
        assert!(denied(server.store(MACHINE_KEY).create(name, bytes::Bytes::from_static(b"x")).unwrap_err()), "{name}");
    }
    server.set_policy(crate::s3::read_policy);
    restored(&on(drill, server.store(MACHINE_KEY)), root.path()).unwrap();
}

/// A key in an attacker's hands that leaves the condition out would overwrite; the policy refuses it.
#[test]
fn an_unconditional_put_is_refused_by_the_policy_and_changes_nothing() {
    let (server, root) = (Server::start(), tree());
    let bench = Bench::on(server.store(OWNER_KEY));
    bench.backup(&[root.path()]);
    server.set_policy(crate::s3::backup_policy);
    let mut options = server.options(MACHINE_KEY);
    options.pairs.insert("conditional".to_owned(), "false".to_owned());
    let store = strongroom::store::open("s3://bucket/backups", &options, 0).unwrap();
    let error = store.create("log/00000000000000000099", bytes::Bytes::from_static(b"x")).unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    assert_eq!(verify(&bench.open(), VerifyDepth::ReadData, &Silent).unwrap().findings, vec![]);
}

#[test]
fn a_server_that_stops_in_the_middle_and_comes_back_costs_a_pause() {
    let (mut server, root) = (Server::start(), tree());
    for n in 100..130 {
        fs::write(root.path().join(format!("{n}")), text(n, 300_000)).unwrap();
    }
    let (store, waits) = telling(server.options(OWNER_KEY));
    let bench = Bench::on(store);
    let (met, meets) = std::sync::mpsc::channel();
    let mut met = Some(met);
    server.set_fault(move |asked, _| {
        // The first pack stops the server.
        if asked.method == "PUT"
            && asked.key.contains("/data/")
            && let Some(met) = met.take()
        {
            met.send(()).unwrap();
        }
        None
    });
    std::thread::scope(|scope| {
        let backup = scope.spawn(|| bench.backup(&[root.path()]));
        meets.recv().unwrap();
        server.stop();
        waits.recv().unwrap();
        server.restart();
        assert_eq!(backup.join().unwrap().sources.len(), 1);
    });
    let drill = bench.machine(Role::Read, "drill");
    restored(&drill, root.path()).unwrap();
    assert_eq!(verify(&bench.open(), VerifyDepth::ReadData, &Silent).unwrap().findings, vec![]);
}

#[test]
fn a_server_that_lets_everybody_win_is_refused_by_name_and_serves_a_single_writer() {
    let (server, root) = (Server::start(), tree());
    *server.bucket.server.lock().unwrap() = "Garage";
    for condition in [Condition::Ignored, Condition::Racy] {
        *server.bucket.condition.lock().unwrap() = condition;
        let error = check_conditional_create(&*server.store(OWNER_KEY), [7; 16]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("Garage") && text.contains("--single-writer"), "{text}");
    }
    *server.bucket.condition.lock().unwrap() = Condition::Ignored;
    // Such servers may know no ranges either.
    server.bucket.ranges.store(false, std::sync::atomic::Ordering::Relaxed);
    let store = server.store(OWNER_KEY);
    let folder = tempfile::tempdir().unwrap();
    let machine = machine_id(&folder.path().join("state"), &OsSystem).unwrap();
    init(&*store, PASSPHRASE, small(), Some(machine), &OsSystem).unwrap();
    let bench = Bench { folder, ..Bench::beside(store) };
    bench.backup(&[root.path()]);
    bench.backup(&[root.path()]);
    // Another machine may restore and not write, and no other credential may either.
    let other = Bench::beside(server.store(OWNER_KEY));
    let target = tempfile::tempdir().unwrap();
    other.restore(&other.latest(&other.open()), target.path(), Some(root.path()));
    assert_eq!(difference(root.path(), target.path()), "");
    let error = other.try_backup(&[root.path()], &Silent).unwrap_err();
    assert!(matches!(error, BackupError::Repository(RepositoryError::NotAllowed { .. })), "{error}");
    // Nor may two processes of this machine at once.
    let (one, two) = (bench.open(), bench.open());
    let note = || vec![strongroom::format::record::Operation::Note { description: vec![].into() }];
    one.append(&mut |_| Ok(note())).unwrap();
    assert!(matches!(two.append(&mut |_| Ok(note())), Err(RepositoryError::NotAllowed { .. })));
    drop(one);
    two.append(&mut |_| Ok(note())).unwrap();
}

#[test]
fn a_repository_on_a_server_that_changed_for_a_worse_one_is_not_written_to() {
    let (server, root) = (Server::start(), tree());
    let bench = Bench::on(server.store(OWNER_KEY));
    bench.backup(&[root.path()]);
    *server.bucket.condition.lock().unwrap() = Condition::Ignored;
    // This machine knows the server; a new one tries it first.
    let other = Bench::beside(server.store(OWNER_KEY));
    let error = other.try_backup(&[root.path()], &Silent).unwrap_err();
    assert!(error_chain(&error).contains("only if it is absent"), "{error}");
}

fn publish_at_once(bench: &Bench, machines: Vec<Machine>, nights: u64) {
    let count = machines.len() as u64;
    std::thread::scope(|scope| {
        for (n, machine) in machines.iter().enumerate() {
            scope.spawn(move || {
                for night in 0..nights {
                    let root = tempfile::tempdir().unwrap();
                    fs::write(root.path().join("same"), text(1, 100_000)).unwrap();
                    fs::write(root.path().join("own"), text(1000 * n as u64 + night + 2, 50_000)).unwrap();
                    machine.backup(&[root.path()]);
                }
            });
        }
    });
    let repository = bench.open();
    assert_eq!(repository.state().snapshots.len() as u64, count * nights);
    assert_eq!((repository.state().void.len(), repository.state().open_runs().count()), (0, 0));
    assert_eq!(verify(&repository, VerifyDepth::ReadData, &Silent).unwrap().findings, vec![]);
}

#[test]
fn eight_machines_publish_at_once_into_one_log() {
    let server = Server::start();
    let bench = Bench::on(server.store(OWNER_KEY));
    let machines = (0..8).map(|n| on(bench.machine(Role::Backup, &format!("m{n}")), server.store(MACHINE_KEY)));
    publish_at_once(&bench, machines.collect(), 3);
}

/// DH-6: the server says no in many ways; each is a sentence with what to do.
#[test]
fn what_the_server_refuses_is_said_with_what_to_do() {
    let server = Server::start();
    let store = server.store(OWNER_KEY);
    for (fault, words) in [
        (Fault::Status(403, "RequestTimeTooSkewed"), "clock"),
        (Fault::Status(400, "ExpiredToken"), "expired"),
        (Fault::Status(403, "InvalidAccessKeyId"), "access key"),
        (Fault::Status(403, "SignatureDoesNotMatch"), "secret key"),
        (Fault::Status(404, "NoSuchBucket"), "no such bucket"),
        (Fault::Status(403, "AccessDenied"), "s3:GetObject"),
        (Fault::Elsewhere("eu-north-1"), "eu-north-1"),
    ] {
        let label = format!("{fault:?}");
        server.set_fault(move |_, _| Some(fault.clone()));
        let text = error_chain(&store.get("config").unwrap_err());
        assert!(text.contains(words), "{label}: {text}");
    }
    server.clear_fault();
    server.put("backups/data/1/x", b"cold", Some("GLACIER"));
    let text = error_chain(&store.get("data/1/x").unwrap_err());
    assert!(text.contains("archive class"), "{text}");
}

/// MYDB-2, MYDB-17: policies of buckets demand encryption by the server; a cold class is for content alone.
#[test]
fn class_and_encryption_are_sent_with_what_they_are_for() {
    let kms = [("sse", "aws:kms"), ("sse-kms-key", "arn:aws:kms:eu:1:key/7")];
    for (pairs, expected) in [(&[("sse", "AES256")][..], "AES256"), (&kms, "aws:kms arn:aws:kms:eu:1:key/7")] {
        let (server, root) = (Server::start(), tree());
        let mut options = server.options(OWNER_KEY);
        for (key, value) in [&[("storage-class", "STANDARD_IA"), ("checksum", "sha256")], pairs].concat() {
            options.pairs.insert(key.to_owned(), value.to_owned());
        }
        let bench = Bench::on(strongroom::store::open("s3://bucket/backups", &options, 0).unwrap());
        bench.backup(&[root.path()]);
        for object in list_all(&*bench.store, "").unwrap() {
            let (class, encryption) = server.headers(&format!("backups/{}", object.name));
            let cold = object.name.starts_with("data/");
            assert_eq!(class.as_deref(), cold.then_some("STANDARD_IA"), "{}", object.name);
            assert_eq!(encryption.as_deref(), Some(expected), "{}", object.name);
        }
    }
}

/// Keys beside ours that no listing can show make no difference.
#[test]
fn foreign_keys_in_the_bucket_do_no_harm() {
    let (server, root) = (Server::start(), tree());
    let bench = Bench::on(server.store(OWNER_KEY));
    server.put("backups/a//b", b"foreign", None);
    server.put("backups/Foreign Name", b"foreign", None);
    bench.backup(&[root.path()]);
    assert_eq!(verify(&bench.open(), VerifyDepth::ReadData, &Silent).unwrap().findings, vec![]);
}

/// The daily listing of much goes on where it was broken off.
#[test]
fn a_listing_that_fails_between_two_pages_is_taken_up_again() {
    let server = Server::with_pages(2);
    let bench = Bench::on(server.store(OWNER_KEY));
    for n in 0..4 {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a"), text(n, 1_500_000)).unwrap();
        bench.backup(&[root.path()]);
    }
    let (root, other) = (tree(), Bench::beside(server.store(OWNER_KEY)));
    let failed = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = failed.clone();
    server.set_fault(move |asked, _| {
        // The first page but one of the packs' listing fails, in a way that nobody tries again by itself.
        let page = asked.query.contains("continuation-token") && asked.query.contains("data");
        let fails = page && count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        fails.then_some(Fault::Status(400, "Odd"))
    });
    let report = other.backup(&[root.path()]);
    assert_eq!(report.damage, Vec::<String>::new());
    assert!(failed.load(std::sync::atomic::Ordering::Relaxed) > 0);
}

/// CC-3: a server with a certificate of its own is trusted if that is named as `ca`, and refused in words otherwise. It
/// needs no region, and no scheme stands for TLS where the server is another machine.
#[test]
fn a_certificate_that_only_its_server_signed_is_trusted_if_it_is_named() {
    use crate::s3::weed::{OWNER_KEY, Weed};
    let server = Weed::start_with_certificate();
    let (port, certificate) = server.tls();
    let store = |ca: Option<&std::path::Path>| {
        let mut options = server.options(OWNER_KEY);
        let ca = ca.map(|file| ("ca".to_owned(), file.display().to_string()));
        let fixed = [("endpoint", format!("https://127.0.0.1:{port}")), ("retry-timeout", "1".to_owned())];
        options.pairs.extend(fixed.map(|(key, value)| (key.to_owned(), value)).into_iter().chain(ca));
        strongroom::store::open("s3://bucket/tls", &options, 0).unwrap()
    };
    let trusted = store(Some(&certificate));
    trusted.create("data/1/x", bytes::Bytes::from_static(b"x")).unwrap();
    assert_eq!(&trusted.get("data/1/x").unwrap()[..], b"x");
    let text = error_chain(&store(None).get("data/1/x").unwrap_err());
    assert!(text.to_lowercase().contains("certificate"), "{text}");
}

/// The real server: a key that may put, get and list; a backup and a read credential; the server stopped meanwhile.
#[test]
fn seaweedfs_holds_nights_of_machines_that_may_only_add() {
    use crate::s3::weed::{MACHINE_KEY, OWNER_KEY, Weed};
    let (mut server, root) = (Weed::start(), tree());
    let store = server.store("backups", OWNER_KEY);
    check_conditional_create(&*store, [3; 16]).unwrap();
    let bench = Bench::on(store);
    let (db, drill) = (bench.machine(Role::Backup, "db"), bench.machine(Role::Read, "drill"));
    let drill = on(drill, server.store("backups", MACHINE_KEY));
    let (slow, waits) = telling(StoreOptions {
        upload_rate: Some(64 << 20),
        download_rate: Some(64 << 20),
        ..server.options(MACHINE_KEY)
    });
    let db = on(db, slow);
    db.backup(&[root.path()]);
    restored(&drill, root.path()).unwrap();
    let log = list_all(&*bench.store, "log").unwrap();
    let error = server.store("backups", MACHINE_KEY).delete(&log[0].name).unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");

    fs::write(root.path().join("new"), text(77, 3_000_000)).unwrap();
    server.stop();
    std::thread::scope(|scope| {
        let backup = scope.spawn(|| db.backup(&[root.path()]));
        waits.recv().unwrap();
        server.start_again();
        assert_eq!(backup.join().unwrap().sources.len(), 1);
    });
    restored(&drill, root.path()).unwrap();
    let mut out = Vec::new();
    let repository = drill.open();
    let snapshot = repository.snapshots().unwrap().pop().unwrap();
    let path = root.path().join("new");
    cat(&repository, &snapshot, path.as_os_str().as_encoded_bytes(), &mut out, &Silent).unwrap();
    assert!(out == text(77, 3_000_000));
    // Several at once into one log; each contended number takes this server seconds.
    let machines =
        (0..3).map(|n| on(bench.machine(Role::Backup, &format!("m{n}")), server.store("backups", MACHINE_KEY)));
    let machines: Vec<Machine> = machines.collect();
    std::thread::scope(|scope| {
        machines.iter().for_each(|machine| drop(scope.spawn(|| machine.backup(&[root.path()]))));
    });
    assert_eq!((bench.open().state().snapshots.len(), bench.open().state().void.len()), (5, 0));
    assert_eq!(verify(&bench.open(), VerifyDepth::ReadData, &Silent).unwrap().findings, vec![]);
}
