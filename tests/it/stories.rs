//! Losses that other tools' makers have published, each played here. The first sentences of each test's comment tell what
//! they published; the rest tells what happens here.
//!
//! What they have in common is two pieces of work side by side, so each is played with the one at every step of the other.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::harness::story::{everything, forget, holds, pruned, thorough};
use crate::harness::{Bench, Meddler, copy_folder, difference, far_system, names, options, text};
use strongroom::format::record::{Operation, Role};
use strongroom::ops::backup::{BackupError, backup};
use strongroom::ops::prune::{PruneReport, prune};
use strongroom::ops::repair::repair;
use strongroom::ops::verify::{VerifyDepth, verify};
use strongroom::primitives::ids::SnapshotId;
use strongroom::primitives::progress::{Observer, Silent};
use strongroom::repository::{Repository, RepositoryError};
use strongroom::store::{Fault, MemoryStore, Scope, SimulatedStore, Store};

fn try_prune(repository: &Arc<Repository>, observer: &dyn Observer) -> Result<PruneReport, RepositoryError> {
    prune(repository, &everything(), observer)
}

fn all_snapshots(repository: &Repository) -> Vec<SnapshotId> {
    repository.refresh().unwrap();
    repository.snapshots().unwrap().iter().map(|s| s.id).collect()
}

/// A folder of which a third changes from night to night.
fn night(root: &Path, n: u64) {
    for i in 0..3 {
        fs::write(root.join(format!("stays{i}")), text(i, 120_000)).unwrap();
        fs::write(root.join(format!("partly{i}")), [text(10 + i, 80_000), text(100 * n + i, 60_000)].concat()).unwrap();
    }
    fs::write(root.join("new"), text(1000 + n, 90_000)).unwrap();
}

/// Nights that were backed up, to be played from again and again.
struct Scene {
    store: Arc<MemoryStore>,
    bench: Bench,
    root: tempfile::TempDir,
}

fn scene(nights: u64) -> Scene {
    let (store, root) = (Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap());
    let bench = Bench { system: far_system(1), ..Bench::on(store.clone()) };
    for n in 0..nights {
        night(root.path(), n);
        bench.backup(&[root.path()]);
    }
    Scene { store, bench, root }
}

impl Scene {
    /// The same again, with the machine that backed up and what it remembers.
    fn fork(&self) -> (Arc<dyn Store>, Bench) {
        let store: Arc<dyn Store> = Arc::new(self.store.fork());
        let bench = Bench { system: far_system(2), ..Bench::beside(store.clone()) };
        copy_folder(self.bench.folder.path(), bench.folder.path());
        (store, bench)
    }
}

/// Runs `scene` with the meddling at each step, until it has no such step.
fn at_every_step(mut scene: impl FnMut(usize) -> bool) {
    let steps = (0..).take_while(|step| scene(*step)).count();
    assert!(steps >= 4, "only {steps} steps were met");
}

/// Proxmox PSA-2025-00019-1: garbage collection lists the snapshots whose chunks it will mark; before it comes to a group, a
/// new snapshot is made there from the one before, and that one is pruned; it marks neither, and deletes what both had.
///
/// Here what is marked is checked against the log when packs are condemned: the new snapshot is in it.
#[test]
fn a_snapshot_made_from_one_that_goes_while_a_prune_marks() {
    let scene = scene(3);
    at_every_step(|step| {
        let (store, bench) = scene.fork();
        let keeper = Bench::beside(store.clone());
        let repository = keeper.open();
        let old = all_snapshots(&repository);
        forget(&repository, &old[..1]);
        let meddler = Meddler::at(step, || {
            // Nothing has changed: everything in the new one is the old one's.
            bench.backup(&[scene.root.path()]);
            forget(&bench.open(), &old[1..]);
        });
        try_prune(&repository, &meddler).unwrap();
        let met = meddler.met();
        if met {
            holds(&store, scene.root.path(), &format!("step {step}"));
            pruned(&keeper.open());
            holds(&store, scene.root.path(), &format!("step {step}, and another prune"));
        }
        met
    });
}

/// borg2 #9748: a compaction that is cut off between deleting objects and writing the index leaves an index that claims
/// what is gone; the next backup counts on it, uploads nothing, and says that all is well.
///
/// Here nothing is deleted before the log says that it is condemned, and every machine's cache follows the log: one that
/// last looked before the prune, and has never looked since, stores again what it finds gone.
#[test]
fn a_prune_that_is_cut_off_and_a_machine_that_remembers_what_is_gone() {
    let scene = scene(2);
    let mut n = 0;
    loop {
        n += 1;
        let (store, bench) = scene.fork();
        let dying = Arc::new(SimulatedStore::new(store.clone()));
        let keeper = Bench::beside(dying.clone());
        let repository = keeper.open();
        forget(&repository, &all_snapshots(&repository));
        dying.crash_after(n, Scope::Mutating, Fault::Before);
        let _ = try_prune(&repository, &Silent);
        // The same content that went, by the machine whose cache has all of it.
        bench.backup(&[scene.root.path()]);
        holds(&store, scene.root.path(), &format!("cut off at call {n}"));
        if !dying.has_crashed() {
            break;
        }
        dying.revive();
        pruned(&keeper.open());
        holds(&store, scene.root.path(), &format!("cut off at call {n}, and pruned again"));
    }
    assert!(n > 5, "a prune changes the store more than {n} times");
}

/// kopia #5371: indexes are compacted in steps; one that a summary of a range had overtaken was left out of the next
/// summary, and what only it named was lost.
///
/// Here a checkpoint is the state after a numbered record, made by the fold that everybody does: whoever starts from it
/// knows what whoever reads every record knows, at whatever moment prunes gather directories and write checkpoints.
#[test]
fn summaries_leave_nothing_out() {
    let (bench, root) = (Bench::new(), tempfile::tempdir().unwrap());
    let keeper = Bench::beside(bench.store.clone());
    let mut checkpoints = 0;
    for n in 0..24 {
        night(root.path(), n);
        bench.backup(&[root.path()]);
        if n % 5 == 3 {
            let repository = keeper.open();
            let mut all = all_snapshots(&repository);
            all.truncate(all.len() - 3);
            forget(&repository, &all);
            checkpoints += usize::from(pruned(&repository).checkpoint.is_some());
        }
        // From the newest checkpoint, and from the first record on.
        let newcomer = Bench::beside(bench.store.clone()).open();
        let bare: Arc<dyn Store> = Arc::new(MemoryStore::new());
        for name in names(&*bench.store, "").iter().filter(|name| !name.starts_with("checkpoint/")) {
            bare.create(name, bench.store.get(name).unwrap()).unwrap();
        }
        let reader = Bench::beside(bare.clone()).open();
        assert_eq!(*newcomer.state(), *reader.state(), "night {n}");
        if n % 6 == 5 {
            holds(&bench.store, root.path(), &format!("night {n}"));
            holds(&bare, root.path(), &format!("night {n}, without checkpoints"));
        }
    }
    assert!(checkpoints >= 3);
}

/// Told of more than one tool: a compaction begins just before another client commits, does not know the packs that this
/// client has sent, and deletes them as nobody's.
///
/// Here packs lie in the folder of their run, and while that run is open nobody sweeps them, known or not.
#[test]
fn a_prune_at_every_step_of_a_backup() {
    let scene = scene(2);
    night(scene.root.path(), 7);
    at_every_step(|step| {
        let (store, bench) = scene.fork();
        let keeper = Bench::beside(store.clone());
        let meddler = Meddler::at(step, || {
            let repository = keeper.open();
            let all = all_snapshots(&repository);
            forget(&repository, &all[..all.len() - 1]);
            pruned(&repository);
        });
        backup(&bench.open(), options(&[scene.root.path()]), &meddler).unwrap();
        let met = meddler.met();
        if met {
            holds(&store, scene.root.path(), &format!("step {step}"));
        }
        met
    });
}

/// The same from the other side: a whole backup at every step of a prune.
#[test]
fn a_backup_at_every_step_of_a_prune() {
    let scene = scene(3);
    night(scene.root.path(), 7);
    at_every_step(|step| {
        let (store, bench) = scene.fork();
        let keeper = Bench::beside(store.clone());
        let repository = keeper.open();
        let all = all_snapshots(&repository);
        forget(&repository, &all[..2]);
        let meddler = Meddler::at(step, || drop(bench.backup(&[scene.root.path()])));
        try_prune(&repository, &meddler).unwrap();
        let met = meddler.met();
        if met {
            holds(&store, scene.root.path(), &format!("step {step}"));
        }
        met
    });
}

/// restic #2715: a machine sleeps in the middle of a backup; its lock grows stale and is removed; a prune takes what the
/// sleeper had sent; it wakes, goes on, and publishes a snapshot of what is gone.
///
/// Here what a sleeper has sent stays until its run is closed by a record, and a closed run publishes nothing: the sleeper
/// is told so, whenever it was that it slept.
#[test]
fn a_sleeper_whose_run_is_closed_at_every_step() {
    let scene = scene(1);
    night(scene.root.path(), 7);
    let mut refused = 0;
    at_every_step(|step| {
        let (store, bench) = scene.fork();
        let keeper = Bench::beside(store.clone());
        let meddler = Meddler::at(step, || {
            let repository = keeper.open();
            let open: Vec<_> = repository.state().open_runs().map(|(run, _)| run).collect();
            for run in open {
                repository.append(&mut |_| Ok(vec![Operation::Close { run }])).unwrap();
            }
            pruned(&repository);
        });
        let slept = backup(&bench.open(), options(&[scene.root.path()]), &meddler);
        match slept {
            Ok(_) => {}
            Err(BackupError::Repository(RepositoryError::Conflict { .. })) => refused += 1,
            Err(e) => panic!("step {step}: {e}"),
        }
        let met = meddler.met();
        if met {
            bench.backup(&[scene.root.path()]);
            holds(&store, scene.root.path(), &format!("step {step}"));
        }
        met
    });
    assert!(refused > 0);
}

/// What the model of the log found in an earlier version of this program: a repair looked which snapshots need what is
/// lost; before it had said so, a prune condemned the other copy, counting on the one that nobody yet knew to be lost; and
/// a snapshot was left that nothing said had holes.
///
/// Here the list is made for the very state that the record follows on.
#[test]
fn a_prune_at_every_step_of_a_repair() {
    let scene = scene(3);
    // Another machine has stored the same content: what is lost can be filled in.
    scene.bench.machine(Role::Backup, "twin").backup(&[scene.root.path()]);
    let mut damaged = 0;
    at_every_step(|step| {
        let (store, bench) = scene.fork();
        let repository = bench.open();
        let all = all_snapshots(&repository);
        forget(&repository, &all[..1]);
        let lost = names(&*store, "data").into_iter().next().unwrap();
        store.delete(&lost).unwrap();
        let keeper = Bench::beside(store.clone());
        // Filling in has a step for each chunk: not every one of them.
        let meddler = Meddler::at(step * 29, || drop(try_prune(&keeper.open(), &Silent)));
        repair(&repository, &thorough(), &meddler).unwrap();
        let bare = Bench::beside(store.clone());
        let newcomer = bare.open();
        let found = verify(&newcomer, VerifyDepth::ReadData, &Silent).unwrap().findings;
        for (id, ..) in found.iter().flat_map(|finding| &finding.affects) {
            assert!(newcomer.state().snapshots[id].damaged, "step {step}: nothing says that {id} has holes: {found:?}");
            damaged += 1;
        }
        bench.backup(&[scene.root.path()]);
        let newest = bench.open().snapshots().unwrap().pop().unwrap();
        let target = tempfile::tempdir().unwrap();
        bench.restore(&newest, target.path(), Some(scene.root.path()));
        assert_eq!(difference(scene.root.path(), target.path()), "", "step {step}");
        meddler.met()
    });
    assert!(damaged > 0, "something was lost for good");
}
