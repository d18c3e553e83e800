//! Prune, repair and forget on stores and machines that misbehave: full, read-only, listing late, with wrong clocks,
//! suspended in the middle.

use std::fs;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::harness::story::{comes_back, everything, keep_newest, sound as all_sound};
use crate::harness::{Bench, Meddler, far_system, names, options, text};
use bytes::Bytes;
use strongroom::format::description::RunDescription;
use strongroom::format::record::{Operation, RunKind};
use strongroom::ops::backup::{BackupError, backup};
use strongroom::ops::prune::plan::MaxUnused;
use strongroom::ops::prune::{PruneOptions, PruneReport, prune};
use strongroom::ops::repair::{RepairOptions, repair};
use strongroom::ops::verify::{VerifyDepth, verify};
use strongroom::primitives::progress::{Observer, Silent};
use strongroom::primitives::system::Scripted;
use strongroom::repository::write::packer::PackerThreads;
use strongroom::repository::{Repository, RepositoryError};
use strongroom::store::{
    Created, Fault, Foreign, Listed, MemoryStore, RequestCounts, SimulatedStore, Store, StoreError, Verb,
};

fn pruned(repository: &Arc<Repository>) -> Result<PruneReport, RepositoryError> {
    prune(repository, &everything(), &Silent)
}

fn night(root: &Path, n: u64) {
    for i in 0..4 {
        fs::write(root.join(format!("partly{i}")), [text(i, 100_000), text(100 * n + i, 50_000)].concat()).unwrap();
    }
}

fn nights(bench: &Bench) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for n in 0..3 {
        night(root.path(), n);
        bench.backup(&[root.path()]);
    }
    root
}

fn sound(bench: &Bench, root: &Path) {
    let repository = bench.open();
    all_sound(&repository);
    comes_back(bench, &repository, root);
}

#[test]
fn a_store_that_is_full_or_read_only_fails_by_name_and_stays_as_it_is() {
    for (fault, folder) in [(Fault::Full, "data/"), (Fault::Full, "log/"), (Fault::Denied, "log/")] {
        let store = Arc::new(SimulatedStore::new(Arc::new(MemoryStore::new())));
        let bench = Bench::on(store.clone());
        let root = nights(&bench);
        keep_newest(&bench.open());
        store.fail(Some(Verb::Create), folder, 1, u64::MAX, fault);
        let error = pruned(&bench.open()).unwrap_err().to_string();
        assert!(error.contains(folder), "{fault:?} {folder}: {error}");
        store.revive();
        sound(&bench, root.path());
        let report = pruned(&bench.open()).unwrap();
        assert!(report.swept.objects > 0 && !report.has_problems());
        sound(&bench, root.path());
        let packs = names(&*store, "data").len() + names(&*store, "meta").len();
        assert_eq!(packs, bench.open().state().packs.len(), "nothing is left over");
    }
}

/// A store whose listings leave out what came lately, as some do: an object that can be read is not listed yet.
#[derive(Debug)]
struct ListsLate {
    inner: MemoryStore,
    /// How many of the newest objects are not listed.
    late: Mutex<usize>,
    order: Mutex<Vec<String>>,
}

impl Store for ListsLate {
    fn location(&self) -> String {
        "a store that lists late".to_owned()
    }
    fn create(&self, name: &str, bytes: Bytes) -> Result<Created, StoreError> {
        let created = self.inner.create(name, bytes)?;
        if created == Created::New {
            self.order.lock().unwrap().push(name.to_owned());
        }
        Ok(created)
    }
    fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        self.inner.get(name)
    }
    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(name, range)
    }
    fn size(&self, name: &str) -> Result<u64, StoreError> {
        self.inner.size(name)
    }
    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        each: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<Foreign, StoreError> {
        let hidden: Vec<String> = {
            let (order, late) = (self.order.lock().unwrap(), *self.late.lock().unwrap());
            order.iter().rev().take(late).cloned().collect()
        };
        self.inner.list(prefix, after, &mut |listed| match hidden.contains(&listed.name) {
            true => ControlFlow::Continue(()),
            false => each(listed),
        })
    }
    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner.delete(name)
    }
    fn sync(&self) -> Result<(), StoreError> {
        self.inner.sync()
    }
    fn requests(&self) -> RequestCounts {
        self.inner.requests()
    }
}

#[test]
fn a_store_that_lists_late_costs_nothing_but_a_later_sweep() {
    let inner = MemoryStore::new();
    let store = Arc::new(ListsLate { inner, late: Mutex::new(0), order: Mutex::default() });
    let bench = Bench::on(store.clone());
    let root = nights(&bench);
    for late in [1, 3, 8] {
        *store.late.lock().unwrap() = late;
        night(root.path(), 10 + late as u64);
        // The machine has seen records that the listing leaves out, and meets others at their numbers.
        bench.backup(&[root.path()]);
        let keeper = Bench::beside(store.clone());
        let repository = bench.open();
        keep_newest(&repository);
        pruned(&repository).unwrap();
        let finding = verify(&repository, VerifyDepth::ReadData, &Silent).unwrap().findings;
        assert_eq!(finding, vec![], "{late} late");
        let (host, command) = ("keeper".to_owned(), "repair".to_owned());
        let how =
            RepairOptions { read_data: true, drop_lost: false, ignore_versions: false, dry_run: false, host, command };
        let report = repair(&repository, &how, &Silent).unwrap();
        assert!(report.lost.is_empty() && report.findings.is_empty(), "{report:?}");
        // A machine that has seen nothing may see a little less for a while, and goes on from what is there.
        let number = repository.state().number;
        let hold = Operation::Hold { snapshots: vec![] };
        let appended = keeper.open().append(&mut |_| Ok(vec![hold.clone()])).unwrap();
        assert_eq!(appended, number + 1, "{late} late");
    }
    *store.late.lock().unwrap() = 0;
    pruned(&bench.open()).unwrap();
    sound(&bench, root.path());
    let packs = names(&*store, "data").len() + names(&*store, "meta").len();
    assert_eq!(packs, bench.open().state().packs.len(), "nothing is left over");
}

#[test]
fn clocks_that_are_hours_wrong_close_nothing_and_delete_nothing_early() {
    let store = Arc::new(MemoryStore::new());
    drop(Bench { system: far_system(1), ..Bench::on(store.clone()) });
    let beside =
        |ms: i64, seed: u64| Bench { system: Arc::new(Scripted::new(ms, seed)), ..Bench::beside(store.clone()) };
    let now = 1_790_000_000_000;
    let bench = beside(now, 5);
    let root = nights(&bench);
    keep_newest(&bench.open());
    let open = bench.open().begin_run(RunKind::Backup, "x", &RunDescription::default(), PackerThreads::default());
    let open = open.unwrap();
    // Thirty days ahead, thirty behind.
    for (i, wrong) in [30i64, -30].into_iter().enumerate() {
        let other = beside(now + wrong * 86_400_000, 70 + i as u64);
        let report = pruned(&other.open()).unwrap();
        assert_eq!(report.closed, vec![], "{wrong} days");
        assert!(report.plan.waiting.packs > 0, "{report:?}");
        sound(&other, root.path());
    }
    assert!(bench.open().state().open_runs().any(|(id, _)| id == open.id()));
}

/// A laptop that was closed in the middle of a backup: its run is closed and what it had sent is swept. What it publishes
/// then is refused, and the next backup is whole.
#[test]
fn a_machine_that_sleeps_until_its_run_is_closed_is_refused_and_backs_up_again() {
    let bench = Bench::new();
    let root = nights(&bench);
    night(root.path(), 50);
    let keeper = Bench::beside(bench.store.clone());
    let meddle = || {
        let repository = keeper.open();
        let open: Vec<_> = repository.state().open_runs().map(|(id, _)| id).collect();
        assert_eq!(open.len(), 1);
        repository.append(&mut |_| Ok(vec![Operation::Close { run: open[0] }])).unwrap();
        pruned(&repository).unwrap();
    };
    let meddler = Meddler::new(meddle);
    let slept = backup(&bench.open(), options(&[root.path()]), &meddler);
    assert!(meddler.met());
    assert!(matches!(slept, Err(BackupError::Repository(RepositoryError::Conflict { .. }))), "{slept:?}");
    bench.backup(&[root.path()]);
    sound(&bench, root.path());
    pruned(&keeper.open()).unwrap();
    sound(&bench, root.path());
}

/// The same for a prune: its run is closed while it is at work, and what it had written is swept.
#[test]
fn a_prune_whose_run_is_closed_changes_nothing_more() {
    let bench = Bench::new();
    let root = nights(&bench);
    let keeper = Bench::beside(bench.store.clone());
    keep_newest(&bench.open());
    let meddle = || {
        let repository = keeper.open();
        let open: Vec<_> = repository.state().open_runs().map(|(id, _)| id).collect();
        for run in open {
            repository.append(&mut |_| Ok(vec![Operation::Close { run }])).unwrap();
        }
        pruned(&repository).unwrap();
    };
    // At the first bytes that are rewritten: the phases before count items.
    struct InRewriting<'a>(Meddler<'a>, AtomicBool);
    impl Observer for InRewriting<'_> {
        fn phase(&self, name: &str, _: Option<u64>, _: strongroom::primitives::progress::Unit) {
            self.1.store(name == "rewriting", Ordering::SeqCst);
        }
        fn advance(&self, n: u64) {
            if self.1.load(Ordering::SeqCst) {
                self.0.advance(n);
            }
        }
    }
    let inner = Meddler::new(meddle);
    let observer = InRewriting(inner, AtomicBool::new(false));
    let (host, command) = ("sleeper".to_owned(), "prune".to_owned());
    let how = PruneOptions { max_unused: MaxUnused::Bytes(0), host, command, ..PruneOptions::default() };
    let slept = prune(&bench.open(), &how, &observer);
    assert!(observer.0.met());
    assert!(slept.is_err(), "{slept:?}");
    sound(&bench, root.path());
    pruned(&bench.open()).unwrap();
    sound(&bench, root.path());
}
