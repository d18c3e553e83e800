//! Several processes of one user on one machine: they share the cache and the state folder, and each of them has
//! folded the log up to another record. Here each handle on the repository is such a process.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Barrier};

use crate::harness::story::{everything, holds};
use crate::harness::{Bench, Meddler, difference, far_system, text};
use strongroom::format::record::Operation;
use strongroom::ops::backup::{BackupOptions, StreamSource, backup};
use strongroom::ops::cat::cat;
use strongroom::ops::copy::{CopyOptions, copy};
use strongroom::ops::list::list;
use strongroom::ops::prune::{PruneOptions, prune};
use strongroom::ops::verify::{VerifyDepth, verify};
use strongroom::primitives::progress::Silent;
use strongroom::repository::Repository;
use strongroom::store::{MemoryStore, Store};

/// Files of which half change from night to night.
fn night(root: &Path, n: u64) {
    for i in 0..4 {
        fs::write(root.join(format!("stays{i}")), text(i, 60_000)).unwrap();
        fs::write(root.join(format!("partly{i}")), [text(10 + i, 40_000), text(100 * n + i, 40_000)].concat()).unwrap();
    }
}

fn three_nights(root: &Path) -> (Arc<MemoryStore>, Bench) {
    let store = Arc::new(MemoryStore::new());
    let bench = Bench { system: far_system(1), ..Bench::on(store.clone()) };
    for n in 0..3 {
        night(root, n);
        bench.backup(&[root]);
    }
    (store, bench)
}

/// Three nights; the first two are forgotten, so that a prune has something to do.
fn nights(root: &Path) -> (Arc<MemoryStore>, Bench) {
    let (store, bench) = three_nights(root);
    let repository = bench.open();
    let all: Vec<_> = repository.snapshots().unwrap().iter().map(|s| s.id).collect();
    repository.append(&mut |_| Ok(vec![Operation::Forget { snapshots: all[..2].to_vec() }])).unwrap();
    repository.save_cache().unwrap();
    (store, bench)
}

/// A listing had folded the log and was slow before it brought the cache in step. Meanwhile another machine published a
/// snapshot, and a prune of this machine had planned with it. The listing took the rows of the new packs out of the
/// cache; the prune found no rows, took that for "nothing in it is needed", and deleted the packs.
#[test]
fn a_process_that_folded_less_makes_no_prune_delete_what_is_needed() {
    for step in (0..).step_by(4) {
        let root = tempfile::tempdir().unwrap();
        let (store, bench) = nights(root.path());
        let slow = bench.open();
        night(root.path(), 3);
        let other: Arc<dyn Store> = store.clone();
        Bench { system: far_system(2), ..Bench::beside(other.clone()) }.backup(&[root.path()]);
        let pruner = bench.open();
        let meddler = Meddler::at(step, || slow.look_again().unwrap());
        let options = everything();
        prune(&pruner, &options, &meddler).unwrap();
        holds(&other, root.path(), &format!("the slow process came at step {step}"));
        if !meddler.met() {
            break;
        }
    }
}

/// The same with a prune that is slow and a backup beside it, which the rows of the cache are true for first.
#[test]
fn a_backup_beside_a_prune_of_the_same_machine_keeps_what_it_refers_to() {
    for step in (0..).step_by(4) {
        let root = tempfile::tempdir().unwrap();
        let (store, bench) = nights(root.path());
        let pruner = bench.open();
        let meddler = Meddler::at(step, || {
            night(root.path(), 4);
            bench.backup(&[root.path()]);
        });
        let options = everything();
        prune(&pruner, &options, &meddler).unwrap();
        let store: Arc<dyn Store> = store;
        if !meddler.met() {
            break;
        }
        holds(&store, root.path(), &format!("the backup came at step {step}"));
        night(root.path(), 5);
        bench.backup(&[root.path()]);
        holds(&store, root.path(), &format!("the next night, step {step}"));
    }
}

/// Rows stand for one record of the log. A process that has folded less neither takes out nor brings in.
#[test]
fn the_cache_never_steps_back() {
    let root = tempfile::tempdir().unwrap();
    let (_, bench) = nights(root.path());
    let slow = bench.open();
    night(root.path(), 6);
    bench.backup(&[root.path()]);
    let ahead = bench.open();
    let known = ahead.cache().known_packs().unwrap();
    let position = ahead.cache().position().unwrap();
    assert_eq!(position, ahead.state().number);
    slow.look_again().unwrap();
    slow.save_cache().unwrap();
    assert_eq!(ahead.cache().known_packs().unwrap(), known);
    assert_eq!(ahead.cache().position().unwrap(), position);
    assert_eq!(ahead.cache().state().unwrap().map(|s| s.number), Some(position), "the folded state");
}

/// Jobs for several databases and a tree began in the same second, as `cron` starts them, beside listings and a prune. Some
/// were refused ("run 7 is another process's"), and some listings called the repository rolled back.
#[test]
fn jobs_that_begin_at_once_all_end_well() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let bench = Bench::on(store.clone());
    let root = tempfile::tempdir().unwrap();
    night(root.path(), 1);
    const JOBS: usize = 6;
    const ROUNDS: u64 = 4;
    let barrier = Barrier::new(JOBS);
    std::thread::scope(|scope| {
        for job in 0..JOBS {
            let (bench, barrier, root) = (&bench, &barrier, root.path());
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    barrier.wait();
                    match job {
                        0..3 => drop(bench.backup_stream(&format!("dump{job}"), text(round + job as u64, 90_000))),
                        3 => drop(bench.backup(&[root])),
                        4 => {
                            let repository: Arc<Repository> = bench.open();
                            prune(&repository, &PruneOptions::default(), &Silent).expect("the prune ends well");
                        }
                        _ => {
                            for _ in 0..5 {
                                assert!(bench.open().snapshots().unwrap().len() <= JOBS * ROUNDS as usize);
                            }
                        }
                    }
                }
            });
        }
    });
    let repository = bench.open();
    assert_eq!(repository.snapshots().unwrap().len(), 4 * ROUNDS as usize);
    assert_eq!(repository.state().open_runs().count(), 0);
    assert_eq!(verify(&repository, VerifyDepth::ReadData, &Silent).unwrap().findings, vec![]);
}

/// The head file was left empty by a power cut: every command of the machine ended with an error, a restore too.
#[test]
fn a_head_that_cannot_be_read_is_said_and_stops_no_restore() {
    let root = tempfile::tempdir().unwrap();
    let (_, bench) = nights(root.path());
    let id = bench.open().config.id.to_string();
    fs::write(bench.places().state.join(id).join("head"), "").unwrap();
    let repository = bench.open();
    let said = repository.take_damage();
    assert!(said.iter().any(|e| e.to_string().contains("head")), "{said:?}");
    let target = tempfile::tempdir().unwrap();
    bench.restore(&bench.latest(&repository), target.path(), Some(root.path()));
    assert_eq!(difference(root.path(), target.path()), "");
    assert!(bench.open().take_damage().is_empty(), "it was written anew");
}

/// Names, link targets and attributes of what was backed up are in the cache: root's, in a folder that all may read.
#[test]
fn cache_and_state_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let (_, bench) = nights(root.path());
    let cache = bench.places().cache.join(bench.open().config.id.to_string());
    // As an older version left it.
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o755)).unwrap();
    let repository = bench.open();
    for folder in [cache, bench.places().state.join(repository.config.id.to_string())] {
        for path in fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).chain([folder.clone()]) {
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
        }
    }
}

/// A crowd's prune said once in some thousand times that a snapshot "cannot be read to its end": another machine had forgotten
/// it, and its prune had taken what it needed, after this one had folded the log. That is no damage, for nobody.
#[test]
fn what_was_forgotten_meanwhile_is_not_called_damage() {
    type Act = dyn Fn(&Arc<Repository>, &Meddler) -> usize;
    let verified = |depth: fn() -> VerifyDepth| {
        move |r: &Arc<Repository>, m: &Meddler| verify(r, depth(), m).unwrap().findings.len()
    };
    let acts: [&Act; 4] = [
        &verified(|| VerifyDepth::Structure),
        &verified(|| VerifyDepth::ReadData),
        &|r, m| {
            let options = everything();
            prune(r, &options, m).unwrap().damaged.len()
        },
        &|r, m| {
            let to = Bench::new();
            let options = CopyOptions { dry_run: false, host: "keeper".to_owned(), command: "copy".to_owned() };
            copy(r, &to.open(), &r.snapshots().unwrap(), &options, m).unwrap().problems as usize
        },
    ];
    // At every step with `STRONGROOM_TEST_FULL` set.
    let every = if std::env::var_os("STRONGROOM_TEST_FULL").is_some() { 1 } else { 11 };
    for (number, act) in acts.into_iter().enumerate() {
        for step in (number..).step_by(every) {
            let root = tempfile::tempdir().unwrap();
            let (store, bench) = three_nights(root.path());
            let elsewhere: Arc<dyn Store> = store.clone();
            // A machine that has read nothing yet.
            let machine = Bench { system: far_system(2), ..Bench::beside(elsewhere.clone()) };
            let slow = machine.open();
            let meddler = Meddler::at(step, || forget_and_prune(&bench));
            assert_eq!(act(&slow, &meddler), 0, "operation {number}, at step {step}");
            if !meddler.met() {
                break;
            }
            holds(&elsewhere, root.path(), &format!("operation {number}, at step {step}"));
        }
    }
}

/// Only the newest snapshot stays.
fn forget_and_prune(bench: &Bench) {
    let repository = bench.open();
    let all: Vec<_> = repository.snapshots().unwrap().iter().map(|s| s.id).collect();
    repository.append(&mut |_| Ok(vec![Operation::Forget { snapshots: all[..2].to_vec() }])).unwrap();
    let options = everything();
    prune(&repository, &options, &Silent).unwrap();
}

/// Whoever reads a snapshot that is forgotten meanwhile is told so, and not that a pack is missing.
#[test]
fn a_snapshot_that_is_forgotten_while_it_is_read_is_named() {
    let root = tempfile::tempdir().unwrap();
    let (store, bench) = three_nights(root.path());
    let machine = Bench { system: far_system(2), ..Bench::beside(store) };
    let slow = machine.open();
    let oldest = slow.snapshots().unwrap().remove(0);
    forget_and_prune(&bench);
    let forgotten = format!("snapshot {} was forgotten while it was read", oldest.id.short());
    let path = root.path().join("partly0");
    let path = path.to_str().unwrap().as_bytes();
    assert_eq!(list(&slow, &oldest, b"/", true, &mut |_, _| Ok(())).unwrap_err().to_string(), forgotten);
    assert_eq!(cat(&slow, &oldest, path, &mut Vec::new(), &Silent).unwrap_err().to_string(), forgotten);
    let target = tempfile::tempdir().unwrap();
    match crate::harness::try_restore(&slow, &oldest, target.path(), None) {
        Ok(report) => assert!(report.problems.contains(&forgotten), "{:?}", report.problems),
        Err(e) => assert_eq!(e.to_string(), forgotten),
    }
}

/// A prune marked the trees of a snapshot while another machine's prune moved them: "cannot be read to its end". Here two
/// streams of one run share packs, and one of them is forgotten, so that the other's are moved.
#[test]
fn what_another_prune_moves_meanwhile_is_found_where_it_is_now() {
    let everything = everything();
    let (mut met, mut case) = (0, 0);
    loop {
        // Either may be marked first.
        let (step, goes) = (case / 2, ["one", "two"][case % 2]);
        case += 1;
        let store = Arc::new(MemoryStore::new());
        let bench = Bench { system: far_system(1), ..Bench::on(store.clone()) };
        let stream = |name: &str, seed| StreamSource::Reader {
            name: name.to_owned(),
            reader: Box::new(std::io::Cursor::new(text(seed, 200_000))),
        };
        let options =
            BackupOptions { streams: vec![stream("one", 1), stream("two", 2)], ..crate::harness::options(&[]) };
        backup(&bench.open(), options, &Silent).unwrap();
        let elsewhere: Arc<dyn Store> = store.clone();
        let machine = Bench { system: far_system(2), ..Bench::beside(elsewhere.clone()) };
        let slow = machine.open();
        let meddler = Meddler::at(step, || {
            let repository = bench.open();
            let all = repository.snapshots().unwrap();
            let one = all.iter().find(|s| s.described.source == goes).expect("both streams are snapshots").id;
            repository.append(&mut |_| Ok(vec![Operation::Forget { snapshots: vec![one] }])).unwrap();
            assert!(prune(&repository, &everything, &Silent).unwrap().condemned > 0);
        });
        assert_eq!(
            prune(&slow, &everything, &meddler).unwrap().damaged,
            Vec::<String>::new(),
            "step {step}, without {goes}"
        );
        if !meddler.met() {
            break;
        }
        met += 1;
        let bare = Bench::beside(elsewhere);
        let repository = bare.open();
        assert_eq!(
            verify(&repository, VerifyDepth::ReadData, &Silent).unwrap().findings,
            vec![],
            "step {step}, without {goes}"
        );
        let mut read = Vec::new();
        let (stays, seed) = [("two", 2), ("one", 1)][(case - 1) % 2];
        cat(&repository, &bare.latest(&repository), stays.as_bytes(), &mut read, &Silent).unwrap();
        assert!(read == text(seed, 200_000), "step {step}, without {goes}");
    }
    assert!(met > 1);
}
