//! What a bucket's server answers, and what is made of it: wrong bytes, refusals in its own words, archives, silence.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::harness::story::everything;
use crate::harness::{Bench, Machine, difference, text};
use crate::s3::{Fault, OWNER_KEY, Server};
use bytes::Bytes;
use strongroom::format::names;
use strongroom::format::record::{Operation, Role};
use strongroom::ops::prune::{PruneOptions, prune};
use strongroom::ops::verify::{VerifyDepth, verify};
use strongroom::primitives::error_chain::error_chain;
use strongroom::primitives::progress::Silent;
use strongroom::primitives::system::{Scripted, System};
use strongroom::repository::RepositoryError;
use strongroom::store::{Store, StoreError, list_all, open};

fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for n in 0..12 {
        fs::create_dir_all(root.path().join(format!("d{}", n % 3))).unwrap();
        fs::write(root.path().join(format!("d{}/{n}", n % 3)), text(n, 200_000)).unwrap();
    }
    root
}

/// A store of the server with these options.
fn store_with(server: &Server, pairs: &[(&str, &str)]) -> (Arc<dyn Store>, Arc<Mutex<Vec<String>>>) {
    let mut options = server.options(OWNER_KEY);
    options.pairs.extend(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let told = Arc::new(Mutex::new(Vec::new()));
    let kept = told.clone();
    options.notice = Arc::new(move |text: &str| kept.lock().unwrap().push(text.to_owned()));
    (open("s3://bucket/backups", &options, 0).unwrap(), told)
}

/// One wrong bit in one answer, as a proxy or a bad memory makes it (restic#5467): a restore brought back none of seven
/// files, and `verify` called sound objects damaged.
#[test]
fn one_wrong_byte_in_one_answer_is_read_again() {
    let (server, root) = (Server::start(), tree());
    let bench = Bench::on(server.store(OWNER_KEY));
    bench.backup(&[root.path()]);
    let (mut hit, mut unsteady) = (0, 0);
    for at in [0, 40, 1_000_000] {
        for n in 0.. {
            let bare = Bench::beside(bench.store.clone());
            let met = Arc::new(AtomicUsize::new(0));
            let (count, seen) = (met.clone(), Arc::new(AtomicUsize::new(0)));
            server.set_fault(move |asked, _| {
                // Objects only: an answer to a listing has no bytes of ours.
                let is_object = asked.method == "GET" && !asked.key.is_empty();
                let meets = is_object && seen.fetch_add(1, Ordering::Relaxed) == n;
                count.fetch_add(usize::from(meets), Ordering::Relaxed);
                meets.then_some(Fault::Flip(at))
            });
            let repository = bare.open();
            let snapshot = repository.snapshots().unwrap().pop().unwrap();
            let target = tempfile::tempdir().unwrap();
            let report = crate::harness::try_restore(&repository, &snapshot, target.path(), Some(root.path())).unwrap();
            let verified = verify(&repository, VerifyDepth::ReadData, &Silent).unwrap();
            server.clear_fault();
            assert_eq!(report.problems, Vec::<String>::new(), "byte {at} of answer {n}");
            assert_eq!(verified.findings, vec![], "byte {at} of answer {n}");
            assert_eq!(difference(root.path(), target.path()), "");
            let damage = repository.take_damage();
            unsteady += damage.iter().filter(|e| matches!(e, RepositoryError::Unsteady { .. })).count();
            if met.load(Ordering::Relaxed) == 0 {
                break;
            }
            hit += 1;
        }
    }
    assert!(hit > 20 && unsteady > 5, "{hit} answers were changed, {unsteady} told");
}

/// MYDB-17: packs in an archive class (restic#2382): each run named one, and none of what was not in it came back.
#[test]
fn what_is_in_an_archive_is_listed_whole_and_the_rest_comes_back() {
    let (server, root) = (Server::start(), tree());
    let bench = Bench::on(server.store(OWNER_KEY));
    bench.backup(&[root.path()]);
    let cold: BTreeSet<String> = list_all(&*bench.store, "data").unwrap().into_iter().map(|o| o.name).collect();
    server.set_class("backups/data/", "GLACIER");
    fs::create_dir(root.path().join("new")).unwrap();
    for n in 20..24 {
        fs::write(root.path().join(format!("new/{n}")), text(n, 150_000)).unwrap();
    }
    bench.backup(&[root.path()]);

    let beside = Bench::beside(bench.store.clone());
    let bare = beside.open();
    let snapshot = bare.snapshots().unwrap().pop().unwrap();
    let target = tempfile::tempdir().unwrap();
    let report = crate::harness::try_restore(&bare, &snapshot, target.path(), Some(root.path())).unwrap();
    assert_eq!(report.archived, cold);
    assert_eq!((report.files, report.problems.len()), (4, 12), "{:?}", report.problems);
    assert_eq!(difference(&root.path().join("new"), &target.path().join("new")), "");

    let verified = verify(&bare, VerifyDepth::ReadData, &Silent).unwrap();
    assert_eq!(verified.findings, vec![], "an archive is no damage");
    assert_eq!(verified.archived.iter().cloned().collect::<BTreeSet<_>>(), cold);
    let names =
        |name: &strongroom::primitives::ids::ObjectHash| cold.iter().any(|object| object.contains(&name.to_string()));
    assert!(!verified.sound.iter().any(names), "nobody vouches for what was not read");
}

/// A server that says no in so many words (kopia#5329, restic#3265, versitygw#1776): its words were dropped, the PUT was sent
/// eight times, and it was "unknown" whether the object was created.
#[test]
fn a_refusal_is_final_and_told_in_the_server_s_words() {
    let server = Server::start();
    let (store, _) = store_with(&server, &[]);
    let cases: &[(u16, &str, &str, &str)] = &[
        (403, "AccessDenied", "not authorized to perform kms:GenerateDataKey", "kms:GenerateDataKey"),
        (
            403,
            "AccessDenied",
            "explicit deny in a bucket policy",
            "explicit deny in a bucket policy; the credentials need s3:PutObject",
        ),
        (403, "AccessDenied", "Cannot upload files, storage cap exceeded", "the store is full"),
        (
            400,
            "InvalidRequest",
            "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters",
            "checksum=sha256",
        ),
        (400, "InvalidStorageClass", "no such class", "storage-class"),
        (413, "EntityTooLarge", "too large", "takes no object as large"),
        (400, "InvalidArgument", "Unsupported header 'If-None-Match'", "use another server"),
        (400, "Odd", "something else", "status 400, Odd: something else"),
        (501, "NotImplemented", "A header you provided", "does not know how to do this"),
        (507, "XMinioStorageFull", "full", "the store is full"),
        (507, "", "", "the store is full"),
    ];
    for &(status, code, message, words) in cases {
        server.set_fault(move |_, _| Some(Fault::Says(status, code, message)));
        let error = store.create("data/1/x", Bytes::from_static(b"x")).unwrap_err();
        server.clear_fault();
        let text = error_chain(&error);
        assert!(!matches!(error, StoreError::Ambiguous { .. }), "{code}: {text}");
        assert!(text.contains(words), "{code}: {text}");
    }
    // What is sent once is not sent again.
    server.take_log();
    server.set_fault(|_, _| Some(Fault::Says(400, "InvalidRequest", "no")));
    store.create("data/1/x", Bytes::from_static(b"x")).unwrap_err();
    server.clear_fault();
    assert_eq!(server.take_log().len(), 1);
    // Without s3:ListBucket what is missing looks forbidden.
    server.set_fault(|_, _| Some(Fault::Says(403, "AccessDenied", "Access Denied")));
    let text = error_chain(&store.get("config").unwrap_err());
    server.clear_fault();
    assert!(
        text.contains("s3:GetObject") && text.contains("s3:ListBucket") && !text.contains("Access Denied"),
        "{text}"
    );
}

/// Some of what looks final is not: a body that was cut or changed on its way.
#[test]
fn what_may_pass_is_sent_again() {
    let server = Server::start();
    let (store, _) = store_with(&server, &[]);
    for (n, code) in ["RequestTimeout", "IncompleteBody", "BadDigest"].into_iter().enumerate() {
        let met = AtomicUsize::new(0);
        server.set_fault(move |_, _| (met.fetch_add(1, Ordering::Relaxed) < 2).then_some(Fault::Status(400, code)));
        store.create(&format!("data/1/{n}"), Bytes::from_static(b"x")).unwrap();
        server.clear_fault();
    }
}

/// A server that does not answer was silence for three minutes (restic#2355), and each of eight tries had its own.
#[test]
fn a_server_that_fails_is_asked_for_the_time_that_was_given_and_the_user_is_told() {
    let server = Server::start();
    let (store, told) = store_with(&server, &[("retry-timeout", "5")]);
    store.create("data/1/x", Bytes::from_static(b"x")).unwrap();
    server.set_fault(|_, _| Some(Fault::Status(502, "")));
    let text = error_chain(&store.get("data/1/x").unwrap_err());
    assert!(text.contains("status 502") && text.contains("tried again for "), "{text}");
    assert_eq!(text.matches("status 502").count(), 1, "each cause once: {text}");
    let notices = told.lock().unwrap().clone();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].contains("does not answer as it should") && notices[0].contains("for up to "), "{notices:?}");
    // The time is over for all: what follows is tried once.
    server.take_log();
    store.get("data/1/x").unwrap_err();
    assert_eq!(server.take_log().len(), 1);
    server.clear_fault();
    store.get("data/1/x").unwrap();
    assert_eq!(told.lock().unwrap().last().unwrap(), "the store answers again");
}

/// Servers without DeleteObjects (Google's, localbucket): a prune waited for three minutes and deleted nothing, ever.
#[test]
fn a_server_that_can_only_delete_one_object_is_pruned() {
    let (server, root) = (Server::start(), tree());
    server.set_fault(|asked, _| (asked.method == "POST").then_some(Fault::Status(501, "NotImplemented")));
    let bench = Bench::on(server.store(OWNER_KEY));
    bench.backup(&[root.path()]);
    for n in 0..12 {
        fs::remove_file(root.path().join(format!("d{}/{n}", n % 3))).unwrap();
        fs::write(root.path().join(format!("d0/again{n}")), text(n + 100, 100_000)).unwrap();
    }
    bench.backup(&[root.path()]);
    let before = list_all(&*bench.store, "data").unwrap().len();
    let repository = bench.open();
    let first = repository.snapshots().unwrap().remove(0).id;
    repository.append(&mut |_| Ok(vec![Operation::Forget { snapshots: vec![first] }])).unwrap();
    let options = PruneOptions { grace_ms: 0, ..everything() };
    prune(&repository, &options, &Silent).unwrap();
    assert!(list_all(&*bench.store, "data").unwrap().len() < before);
    assert!(server.take_log().iter().all(|asked| asked.method != "POST"));
}

/// Ceph keeps racers apart until versions are switched on, which its guide advises; from then on three machines were told
/// that they had created one record, nights were lost, and in the end the repository opened for nobody.
#[test]
fn a_server_that_begins_to_keep_versions_is_raced_with_again() {
    let (server, root) = (Server::start(), tree());
    let day =
        |n: u64| -> Arc<dyn System> { Arc::new(Scripted::new(4_000_000_000_000 + n as i64 * 86_400_000, 100 + n)) };
    let bench = Bench { system: day(0), ..Bench::on(server.store(OWNER_KEY)) };
    bench.backup(&[root.path()]);
    server.bucket.versions.store(true, Ordering::Relaxed);
    *server.bucket.condition.lock().unwrap() = crate::s3::Condition::Ignored;
    let later = Bench { system: day(1), ..bench };
    let error = later.try_backup(&[root.path()], &Silent).unwrap_err();
    assert!(error_chain(&error).contains("does not create an object only if it is absent"), "{error}");
    assert_eq!(later.open().state().snapshots.len(), 1);
    // A week later it is tried again also where nothing seems to have changed.
    server.bucket.versions.store(false, Ordering::Relaxed);
    *server.bucket.condition.lock().unwrap() = crate::s3::Condition::Atomic;
    later.backup(&[root.path()]);
    *server.bucket.condition.lock().unwrap() = crate::s3::Condition::Ignored;
    Bench { system: day(3), ..later }.backup(&[root.path()]);
}

/// What was published on a bucket with versions is read back: another's record may stand there.
#[test]
fn a_record_that_another_machine_overwrote_is_published_again() {
    let (server, root) = (Server::start(), tree());
    server.bucket.versions.store(true, Ordering::Relaxed);
    let bench = Bench::on(server.store(OWNER_KEY));
    let (one, two) = (bench.machine(Role::Backup, "one"), bench.machine(Role::Backup, "two"));
    one.backup(&[root.path()]);
    let number = bench.open().state().number + 1;
    // The other machine's night, as it is on a server that lets it win.
    let elsewhere = Server::start();
    elsewhere.copy_from(&server);
    let Machine { file, bench: of_two } = two;
    let two = Machine { file, bench: Bench { store: elsewhere.store(OWNER_KEY), ..of_two } };
    fs::write(root.path().join("of two"), text(70, 50_000)).unwrap();
    two.backup(&[root.path()]);
    let record = format!("backups/{}", names::record(number));
    let (bucket, other) = (server.bucket.clone(), elsewhere.bucket.clone());
    server.set_fault(move |asked, _| {
        if asked.method == "GET" && asked.key == record {
            Server::take_over(&bucket, &other, &record);
        }
        None
    });
    let report = one.backup(&[root.path()]);
    server.clear_fault();
    let state = bench.open().state();
    assert!(state.snapshots.contains_key(&report.sources[0].snapshot.unwrap()), "its night is in the log");
    assert_eq!(state.void.len(), 0);
}
