//! Many machines on one store, answers that say nothing, and a store that goes back in time.

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};

use crate::harness::{Bench, far_system, text};
use strongroom::ops::cat::cat;
use strongroom::ops::verify::{VerifyDepth, verify};
use strongroom::primitives::progress::{Recorder, Silent};
use strongroom::repository::RepositoryError;
use strongroom::store::{Fault, MemoryStore, SimulatedStore, Store, Verb};

const MACHINES: u64 = 8;
const NIGHTS: u64 = 2;

fn content(machine: u64, night: u64) -> Vec<u8> {
    // Half of it is the same on all machines.
    [text(1, 100_000), text(1000 * machine + night + 2, 100_000)].concat()
}

fn expect_streams(bench: &Bench, count: usize) {
    let repository = bench.open();
    let snapshots = repository.snapshots().unwrap();
    assert_eq!(snapshots.len(), count);
    let mut ids = BTreeSet::new();
    for snapshot in &snapshots {
        let (machine, night) = snapshot.described.source.split_once('-').unwrap();
        let mut out = Vec::new();
        cat(&repository, snapshot, snapshot.described.source.as_bytes(), &mut out, &Silent).unwrap();
        assert!(out == content(machine.parse().unwrap(), night.parse().unwrap()), "{}", snapshot.described.source);
        ids.insert(snapshot.described.source.clone());
    }
    assert_eq!(ids.len(), count, "one was published twice and another not at all");
    assert_eq!(repository.state().open_runs().count(), 0);
    assert_eq!(repository.state().void.len(), 0, "void records");
    assert_eq!(verify(&repository, VerifyDepth::ReadData, &Silent).unwrap().findings, vec![]);
}

#[test]
fn eight_machines_that_append_at_once_each_publish_once() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let newcomer = Bench::on(store.clone());
    let barrier = Barrier::new(MACHINES as usize);
    std::thread::scope(|scope| {
        for machine in 0..MACHINES {
            let (store, barrier) = (store.clone(), &barrier);
            scope.spawn(move || {
                let bench = Bench { system: far_system(machine), ..Bench::beside(store) };
                barrier.wait();
                for night in 0..NIGHTS {
                    bench.backup_stream(&format!("{machine}-{night}"), content(machine, night));
                }
            });
        }
    });
    expect_streams(&newcomer, (MACHINES * NIGHTS) as usize);
}

#[test]
fn an_answer_that_says_nothing_publishes_exactly_once() {
    for fault in [Fault::Half, Fault::Lost] {
        // Begin, and Publish with End.
        for occurrence in [1, 2] {
            for times in [1, 2] {
                let store = Arc::new(SimulatedStore::new(Arc::new(MemoryStore::new())));
                let bench = Bench { system: far_system(occurrence), ..Bench::on(store.clone()) };
                store.fail(Some(Verb::Create), "log/", occurrence, times, fault);
                bench.backup_stream("1-1", content(1, 1));
                assert_eq!(bench.open().state().number, 2, "{fault:?} at {occurrence}, {times} times");
                expect_streams(&bench, 1);
            }
        }
    }
}

/// The request was given up, another machine took the number, and then the request arrived: it must find the
/// number taken, and whoever had sent it must have gone on to the next.
#[test]
fn a_create_that_arrives_late_finds_its_number_taken() {
    let store = Arc::new(SimulatedStore::new(Arc::new(MemoryStore::new())));
    let (one, other) = (Bench::on(store.clone()), Bench::beside(store.clone()));
    store.fail(Some(Verb::Create), "log/", 1, 1, Fault::Late);
    one.backup_stream("1-1", content(1, 1));
    other.backup_stream("2-1", content(2, 1));
    store.release().unwrap();
    other.backup_stream("2-2", content(2, 2));
    expect_streams(&one, 3);
}

fn is_history(error: &RepositoryError) -> bool {
    matches!(error, RepositoryError::History { .. })
}

#[test]
fn a_store_that_was_rolled_back_is_refused() {
    let store = Arc::new(MemoryStore::new());
    let bench = Bench::on(store.clone());
    bench.backup_stream("1-1", content(1, 1));
    let before: Arc<dyn Store> = Arc::new(store.fork());
    bench.backup_stream("1-2", content(1, 2));
    let error = bench.try_open_on(before.clone()).map(drop).unwrap_err();
    assert!(is_history(&error), "{error}");
    // Without its cache too: what was seen is kept elsewhere.
    std::fs::remove_dir_all(bench.places().cache).unwrap();
    let error = bench.try_open_on(before.clone()).map(drop).unwrap_err();
    assert!(is_history(&error) && error.to_string().contains("4"), "{error}");
    // The store that was not is as good as ever.
    expect_streams(&bench, 2);
}

#[test]
fn a_store_that_went_another_way_is_refused() {
    let store = Arc::new(MemoryStore::new());
    let bench = Bench::on(store.clone());
    bench.backup_stream("1-1", content(1, 1));
    let other: Arc<dyn Store> = Arc::new(store.fork());
    bench.backup_stream("1-2", content(1, 2));
    // Somebody else goes on with the fork, as far as we did, and further.
    let stranger = Bench { system: far_system(9), ..Bench::beside(other.clone()) };
    for night in 3..5 {
        stranger.backup_stream(&format!("2-{night}"), content(2, night));
        for warm in [true, false] {
            if !warm {
                let _ = std::fs::remove_dir_all(bench.places().cache);
            }
            let error = bench.try_open_on(other.clone()).map(drop).unwrap_err();
            assert!(is_history(&error), "night {night}, warm {warm}: {error}");
            bench.open().save_cache().unwrap();
        }
    }
}

#[test]
fn a_handle_that_was_open_while_the_store_was_rolled_back_refuses_to_go_on() {
    let store = Arc::new(MemoryStore::new());
    let simulated = Arc::new(SimulatedStore::new(store.clone()));
    let bench = Bench::on(simulated.clone());
    bench.backup_stream("1-1", content(1, 1));
    bench.backup_stream("1-2", content(1, 2));
    let repository = bench.open();
    for name in crate::harness::names(&*store, "log").into_iter().skip(2) {
        store.delete(&name).unwrap();
    }
    let error = repository.refresh().map(drop).unwrap_err();
    assert!(is_history(&error), "{error}");
    let done = strongroom::ops::backup::backup(
        &repository,
        crate::harness::options(&[bench.folder.path()]),
        &Recorder::default(),
    );
    assert!(done.is_err(), "it went on after a record that is gone");
}
