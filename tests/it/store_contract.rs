//! What every store promises, tried on every store.
//!
//! `contract!` makes one module of tests per kind of store; a new kind is one more line at the end.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Barrier};

use bytes::Bytes;
use strongroom::store::{
    Created, LocalStore, MemoryStore, ObjectStoreAdapter, SimulatedStore, Store, StoreError, list_all,
};

/// A place that can be opened again and again, and holds the same objects each time.
struct Place {
    open: Box<dyn Fn() -> Arc<dyn Store>>,
    /// How often to race: a contended round takes SeaweedFS seconds.
    rounds: usize,
    _dir: Option<tempfile::TempDir>,
}

impl Place {
    fn open(&self) -> Arc<dyn Store> {
        (self.open)()
    }
}

fn memory() -> Place {
    let store = Arc::new(MemoryStore::new());
    Place { open: Box::new(move || store.clone()), rounds: 20, _dir: None }
}

fn simulated() -> Place {
    let store = Arc::new(MemoryStore::new());
    Place { open: Box::new(move || Arc::new(SimulatedStore::new(store.clone()))), rounds: 20, _dir: None }
}

fn adapter() -> Place {
    let inner = Arc::new(object_store::memory::InMemory::new());
    let open =
        move || Arc::new(ObjectStoreAdapter::new(inner.clone(), "in memory".into(), 4).unwrap()) as Arc<dyn Store>;
    Place { open: Box::new(open), rounds: 20, _dir: None }
}

fn s3_server() -> Place {
    let server = crate::s3::Server::with_pages(7);
    Place { open: Box::new(move || server.store(crate::s3::OWNER_KEY)), rounds: 20, _dir: None }
}

fn local() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    LocalStore::init(&path, 0).unwrap();
    Place { open: Box::new(move || Arc::new(LocalStore::open(&path, 0).unwrap())), rounds: 20, _dir: Some(dir) }
}

fn text(s: &str) -> Bytes {
    Bytes::copy_from_slice(s.as_bytes())
}

fn fill(store: &dyn Store, names: &[&str]) {
    for name in names {
        assert_eq!(store.create(name, text(name)).unwrap(), Created::New, "{name}");
    }
}

fn names(store: &dyn Store, prefix: &str, after: Option<&str>) -> Vec<String> {
    let mut names = Vec::new();
    let foreign = store
        .list(prefix, after, &mut |listed| {
            assert_eq!(listed.size, store.size(&listed.name).unwrap());
            names.push(listed.name);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(foreign.count, 0);
    names
}

fn is_missing<T: std::fmt::Debug>(answer: Result<T, StoreError>, name: &str) {
    match answer.unwrap_err() {
        StoreError::Missing { name: named } => assert_eq!(named, name),
        other => panic!("{other:?}"),
    }
}

fn creates_once_and_never_overwrites(place: &Place) {
    let store = place.open();
    assert_eq!(store.create("data/r/a", text("first")).unwrap(), Created::New);
    for other in ["first", "second", ""] {
        assert_eq!(store.create("data/r/a", text(other)).unwrap(), Created::AlreadyThere);
        assert_eq!(store.get("data/r/a").unwrap(), "first");
    }
}

fn one_of_sixteen_racing_creators_wins(place: &Place) {
    let store = place.open();
    for round in 0..place.rounds {
        let name = format!("log/{round:020}");
        let barrier = Barrier::new(16);
        let answers: Vec<Created> = std::thread::scope(|scope| {
            let race = |me: usize| {
                let (store, name, barrier) = (&store, &name, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let created = store.create(name, text(&format!("bytes of {me:02}"))).unwrap();
                    let stands = store.get(name).unwrap();
                    assert_eq!(stands.len(), 11, "whoever is answered sees a whole object");
                    assert!(created == Created::AlreadyThere || stands == format!("bytes of {me:02}"));
                    created
                })
            };
            let threads: Vec<_> = (0..16).map(race).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(answers.iter().filter(|a| **a == Created::New).count(), 1);
    }
}

fn what_is_missing_is_missing_and_never_empty(place: &Place) {
    let store = place.open();
    fill(&*store, &["data/r/a"]);
    for name in ["config", "data", "data/r", "data/r/b", "data/x/a", "data/r/a/b"] {
        is_missing(store.get(name), name);
        is_missing(store.get_range(name, 0..1), name);
        is_missing(store.get_range(name, 0..0), name);
        is_missing(store.size(name), name);
    }
}

fn ranges_are_exact_or_an_error(place: &Place) {
    let store = place.open();
    store.create("a", text("0123456789")).unwrap();
    store.create("empty", Bytes::new()).unwrap();
    for (range, expected) in [(2..5, "234"), (0..10, "0123456789"), (9..10, "9"), (0..0, ""), (10..10, "")] {
        assert_eq!(store.get_range("a", range).unwrap(), expected);
    }
    #[expect(clippy::reversed_empty_ranges, reason = "they are refused")]
    for range in [0..11, 9..11, 10..11, 11..12, 11..11, 5..4, 0..u64::MAX, u64::MAX - 1..u64::MAX] {
        let error = store.get_range("a", range.clone()).unwrap_err();
        assert!(matches!(error, StoreError::BadRange { size: 10, .. }), "{range:?}: {error:?}");
    }
    assert_eq!((store.get("empty").unwrap(), store.size("empty").unwrap()), (Bytes::new(), 0));
    assert_eq!(store.get_range("empty", 0..0).unwrap(), "");
    assert!(store.get_range("empty", 0..1).is_err());
}

/// `.` and `-` sort before `/`, and digits after it: an order by folders is not the order of names.
fn listings_are_in_byte_order(place: &Place) {
    let store = place.open();
    let sorted = ["a", "b-c", "b.c", "b/c", "b/c.d/e", "b/c0/e", "b0", "b_", "z/y/x"];
    let mut shuffled = sorted;
    shuffled.reverse();
    shuffled.swap(1, 5);
    fill(&*store, &shuffled);
    assert_eq!(names(&*store, "", None), sorted);
    for (i, after) in sorted.iter().enumerate() {
        assert_eq!(names(&*store, "", Some(after)), sorted[i + 1..], "after {after}");
    }
}

fn after_need_not_exist_and_may_lie_anywhere(place: &Place) {
    let store = place.open();
    fill(&*store, &["a/1", "a/3", "a/5/x", "b/1"]);
    for (after, expected) in [
        ("a/2", &["a/3", "a/5/x"][..]),
        ("a/5", &["a/5/x"]),
        ("a/5/x", &[]),
        ("a", &["a/1", "a/3", "a/5/x"]),
        ("0", &["a/1", "a/3", "a/5/x"]),
        ("a-", &["a/1", "a/3", "a/5/x"]),
        ("a0", &[]),
        ("b", &[]),
    ] {
        assert_eq!(names(&*store, "a", Some(after)), expected, "after {after}");
    }
}

fn a_prefix_is_a_folder(place: &Place) {
    let store = place.open();
    fill(&*store, &["a/1", "a/b/2", "ab/3", "a.b/4", "a0"]);
    assert_eq!(names(&*store, "a", None), ["a/1", "a/b/2"]);
    assert_eq!(names(&*store, "a/b", None), ["a/b/2"]);
    assert_eq!(names(&*store, "", None).len(), 5);
    for nothing in ["a/b/c", "missing", "a0", "a/1"] {
        assert_eq!(names(&*store, nothing, None), [""; 0], "{nothing}");
    }
}

fn a_listing_can_be_broken_off(place: &Place) {
    let store = place.open();
    fill(&*store, &["a/1", "a/2", "b/3"]);
    let mut seen = 0;
    store
        .list("", None, &mut |_| {
            seen += 1;
            if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!(seen, 2);
}

fn what_is_listed_may_be_deleted_at_once(place: &Place) {
    let store = place.open();
    fill(&*store, &["a/b/1", "a/b/2", "a/c/3", "d"]);
    store
        .list("", None, &mut |listed| {
            store.delete(&listed.name).unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(list_all(&*store, "").unwrap(), []);
}

fn deleting_is_idempotent_and_frees_the_name(place: &Place) {
    let store = place.open();
    fill(&*store, &["data/r/a", "data/r/b"]);
    for _ in 0..2 {
        store.delete("data/r/a").unwrap();
        is_missing(store.get("data/r/a"), "data/r/a");
    }
    store.delete("nothing/there").unwrap();
    store.delete("data").unwrap();
    assert_eq!(names(&*store, "", None), ["data/r/b"]);
    assert_eq!(store.create("data/r/a", text("again")).unwrap(), Created::New);
}

fn names_that_nothing_can_have_are_refused(place: &Place) {
    let store = place.open();
    for bad in ["", "/", "a/", "/a", "a//b", "..", "a/../b", "./a", "A", "a b", "a#1", "ä", "a\n"] {
        let refused =
            |answer: Result<(), StoreError>| assert!(matches!(answer, Err(StoreError::BadName { .. })), "{bad:?}");
        refused(store.create(bad, Bytes::new()).map(drop));
        refused(store.get(bad).map(drop));
        refused(store.get_range(bad, 0..1).map(drop));
        refused(store.size(bad).map(drop));
        refused(store.delete(bad));
        if !bad.is_empty() {
            refused(store.list(bad, None, &mut |_| ControlFlow::Continue(())).map(drop));
        }
    }
}

fn another_opening_sees_everything(place: &Place) {
    let (one, other) = (place.open(), place.open());
    fill(&*one, &["config", "data/r/a"]);
    one.sync().unwrap();
    assert_eq!(other.create("config", text("mine")).unwrap(), Created::AlreadyThere);
    other.sync().unwrap();
    drop(one);
    for store in [other, place.open()] {
        assert_eq!(names(&*store, "", None), ["config", "data/r/a"]);
        assert_eq!(store.get("config").unwrap(), "config");
    }
}

fn forty_mebibytes_come_back(place: &Place) {
    let store = place.open();
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"forty");
    let mut bytes = vec![0; 40 << 20];
    hasher.finalize_xof().fill(&mut bytes);
    let bytes = Bytes::from(bytes);
    store.create("data/r/big", bytes.clone()).unwrap();
    assert_eq!(store.size("data/r/big").unwrap(), 40 << 20);
    assert!(store.get("data/r/big").unwrap() == bytes);
    let middle = (20 << 20) - 7..(21 << 20) + 5;
    assert!(store.get_range("data/r/big", middle.start as u64..middle.end as u64).unwrap() == bytes.slice(middle));
}

fn thousands_of_names_are_listed_once_each(place: &Place) {
    let store = place.open();
    let expected: BTreeSet<String> = (0..3000).map(|i| format!("index/{:x}/{i:x}", i % 7)).collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, expected) = (&store, &expected);
            scope.spawn(move || {
                for name in expected.iter().skip(thread).step_by(4) {
                    assert_eq!(store.create(name, text("x")).unwrap(), Created::New);
                }
            });
        }
    });
    let listed = names(&*store, "index", None);
    assert!(listed.iter().eq(&expected), "every name once, in order");
    assert_eq!(names(&*store, "index", Some(&listed[1999])), listed[2000..]);
}

fn requests_are_counted(place: &Place) {
    let store = place.open();
    let before = store.requests();
    store.create("a", text("12345")).unwrap();
    store.get("a").unwrap();
    store.get_range("a", 1..3).unwrap();
    store.size("a").unwrap();
    store.delete("a").unwrap();
    store.sync().unwrap();
    let now = store.requests();
    assert_eq!((now.create - before.create, now.get - before.get, now.get_range - before.get_range), (1, 1, 1));
    assert_eq!((now.size - before.size, now.delete - before.delete, now.sync - before.sync), (1, 1, 1));
    assert_eq!((now.bytes_up - before.bytes_up, now.bytes_down - before.bytes_down), (5, 7));
}

macro_rules! contract {
    ($($place:ident),+: $tests:tt) => { $(contract!(@one $place $tests);)+ contract!(@every $tests); };
    (@every [$($test:ident),+ $(,)?]) => { const EVERY: &[(&str, fn(&Place))] = &[$((stringify!($test), $test)),+]; };
    (@one $place:ident [$($test:ident),+ $(,)?]) => {
        mod $place {
            $(#[test]
            fn $test() {
                super::$test(&super::$place());
            })+
        }
    };
}

contract!(memory, simulated, adapter, local, s3_server: [
    creates_once_and_never_overwrites,
    one_of_sixteen_racing_creators_wins,
    what_is_missing_is_missing_and_never_empty,
    ranges_are_exact_or_an_error,
    listings_are_in_byte_order,
    after_need_not_exist_and_may_lie_anywhere,
    a_prefix_is_a_folder,
    a_listing_can_be_broken_off,
    what_is_listed_may_be_deleted_at_once,
    deleting_is_idempotent_and_frees_the_name,
    names_that_nothing_can_have_are_refused,
    another_opening_sees_everything,
    forty_mebibytes_come_back,
    thousands_of_names_are_listed_once_each,
    requests_are_counted,
]);

/// What SeaweedFS does otherwise: it lists in the order of a tree of directories, so that `a.b` comes behind `a/b`,
/// and what lies below a name is not behind it. No object of a repository is called so.
const NOT_ON_SEAWEEDFS: [&str; 3] =
    ["listings_are_in_byte_order", "after_need_not_exist_and_may_lie_anywhere", "a_prefix_is_a_folder"];

/// CC-3: all else on one real server, each in a folder of the bucket.
#[test]
fn seaweedfs_keeps_the_contract() {
    let server = Arc::new(crate::s3::weed::Weed::start());
    for (name, test) in EVERY.iter().filter(|(name, _)| !NOT_ON_SEAWEEDFS.contains(name)) {
        println!("{name}");
        let (server, prefix) = (server.clone(), name.replace('_', "-"));
        let open = move || server.store(&prefix, crate::s3::weed::OWNER_KEY);
        test(&Place { open: Box::new(open), rounds: 2, _dir: None });
    }
}
