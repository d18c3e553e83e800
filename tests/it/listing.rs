//! Once a day a backup compares the store's listing with the log: a lying index must not make lying backups.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::harness::{Bench, difference, far_system, names, options, text};
use strongroom::ops::backup::{BackupError, BackupOptions, StreamSource, backup};
use strongroom::primitives::progress::{Observer, Silent};
use strongroom::primitives::system::Scripted;
use strongroom::source::CommandSource;

const DAY_MS: i64 = 24 * 3600 * 1000;

fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for n in 0..20 {
        fs::write(root.path().join(format!("{n}")), text(n, 100_000)).unwrap();
    }
    root
}

#[test]
fn a_lost_pack_is_noticed_the_next_day_and_the_next_snapshot_is_whole() {
    let (root, now) = (tree(), 4_000_000_000_000);
    let bench = Bench { system: far_system(1), ..Bench::new() };
    assert_eq!(bench.backup(&[root.path()]).damage, Vec::<String>::new());
    let lost = names(&*bench.store, "data").remove(0);
    bench.store.delete(&lost).unwrap();

    // The same day nobody looks, and what is unchanged is reused.
    assert_eq!(bench.backup(&[root.path()]).damage, Vec::<String>::new());

    let bench = Bench { system: Arc::new(Scripted::new(now + DAY_MS, 2)), ..bench };
    let report = bench.backup(&[root.path()]);
    assert_eq!(report.damage, [format!("{lost}: it is missing")]);
    assert_eq!(report.sources[0].figures.files_read, 20, "nothing may be reused unread");
    let (repository, target) = (bench.open(), tempfile::tempdir().unwrap());
    bench.restore(&bench.latest(&repository), target.path(), Some(root.path()));
    assert_eq!(difference(root.path(), target.path()), "");

    // It is said each time until it is repaired.
    assert_eq!(bench.backup(&[root.path()]).damage.len(), 1);
}

#[test]
fn a_pack_of_another_length_is_noticed_by_a_machine_that_never_looked() {
    let root = tree();
    let bench = Bench::new();
    bench.backup(&[root.path()]);
    let cut = names(&*bench.store, "meta").remove(0);
    let bytes = bench.store.get(&cut).unwrap();
    bench.store.delete(&cut).unwrap();
    bench.store.create(&cut, bytes.slice(..100)).unwrap();
    let other = Bench::beside(bench.store.clone());
    let report = other.backup(&[root.path()]);
    assert_eq!(report.damage, [format!("{cut}: it has 100 bytes instead of {}", bytes.len())]);
    let target = tempfile::tempdir().unwrap();
    other.restore(&other.latest(&other.open()), target.path(), Some(root.path()));
    assert_eq!(difference(root.path(), target.path()), "");
}

/// Interrupts as soon as a stream is begun.
#[derive(Default)]
struct Impatient(AtomicBool);

impl Observer for Impatient {
    fn phase(&self, _: &str, _: Option<u64>, _: strongroom::primitives::progress::Unit) {
        self.0.store(true, Ordering::Relaxed);
    }
    fn interrupted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn a_command_that_writes_nothing_can_be_interrupted_and_publishes_nothing() {
    let bench = Bench::new();
    let repository = bench.open();
    let streams = vec![StreamSource::Command(CommandSource::new("silent", "exec sleep 1000"))];
    let error = backup(&repository, BackupOptions { streams, ..options(&[]) }, &Impatient::default()).unwrap_err();
    assert!(matches!(error, BackupError::Interrupted), "{error}");
    assert_eq!((repository.state().snapshots.len(), repository.state().open_runs().count()), (0, 0));
}

/// Wants to know how much there is.
#[derive(Default)]
struct Counting {
    total: AtomicU64,
    done: AtomicU64,
}

impl Observer for Counting {
    fn wants_total(&self) -> bool {
        true
    }
    fn grow(&self, n: u64) {
        self.total.fetch_add(n, Ordering::Relaxed);
    }
    fn advance(&self, n: u64) {
        self.done.fetch_add(n, Ordering::Relaxed);
    }
}

#[test]
fn progress_comes_to_the_total_whether_files_are_read_or_not() {
    let root = tree();
    fs::write(root.path().join("long"), text(99, 6 << 20)).unwrap();
    let bench = Bench { system: far_system(1), ..Bench::new() };
    let repository = bench.open();
    for _ in 0..2 {
        let counting = Counting::default();
        backup(&repository, options(&[root.path()]), &counting).unwrap();
        assert_eq!(counting.done.into_inner(), 20 * 100_000 + (6 << 20));
        assert!(counting.total.into_inner() <= 20 * 100_000 + (6 << 20), "no file is counted twice");
    }
    backup(&repository, options(&[root.path()]), &Silent).unwrap();
}
