//! What forget, prune, repair and copy make of it: they say so or go on, and make nothing worse.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::harness::story::{everything, thorough};
use crate::harness::{Bench, difference, far_system, names, options, text};
use strongroom::format::description::RunDescription;
use strongroom::format::record::{Operation, Outcome, RunKind};
use strongroom::ops::backup::backup;
use strongroom::ops::copy::{CopyOptions, copy};
use strongroom::ops::prune::prune;
use strongroom::ops::repair::repair;
use strongroom::ops::verify::{VerifyDepth, verify};
use strongroom::primitives::progress::Silent;
use strongroom::repository::Repository;
use strongroom::repository::write::packer::PackerThreads;
use strongroom::repository::write::rewrite::Replaced;
use strongroom::store::{MemoryStore, SimulatedStore, Store};

use super::{HARMS, Harm, damage};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Forget,
    Prune,
    Repair,
    Copy,
}

const WORKS: [Work; 4] = [Work::Forget, Work::Prune, Work::Repair, Work::Copy];

/// Folders whose objects are damaged; the config stands for itself.
const KINDS: [&str; 7] = ["data", "meta", "index", "log", "checkpoint", "keys", "config"];

/// Three nights, the first forgotten; two segments; two checkpoints; two key slots.
struct Template {
    store: Arc<MemoryStore>,
    bench: Bench,
    root: tempfile::TempDir,
}

fn night(root: &Path, n: u64) {
    for i in 0..3 {
        fs::write(root.join(format!("partly{i}")), [text(i, 300_000), text(100 * n + i, 150_000)].concat()).unwrap();
    }
    fs::write(root.join(format!("of-night-{n}")), text(1000 + n, 200_000)).unwrap();
}

fn template() -> Template {
    let (store, root) = (Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap());
    let bench = Bench { system: far_system(1), ..Bench::on(store.clone()) };
    for n in 0..3 {
        night(root.path(), n);
        bench.backup(&[root.path()]);
        let repository = bench.open();
        if n > 0 {
            // Directories of the nights so far in a segment.
            let described = RunDescription::default();
            let threads = PackerThreads::default();
            let mut run = repository.begin_rewriting(RunKind::Prune, "keeper", &described, threads).unwrap();
            run.commit(true, &mut |_| Ok(Replaced::default())).unwrap();
            run.end(Outcome::Complete, &described).unwrap();
            repository.write_checkpoint().unwrap();
        }
    }
    let repository = bench.open();
    let oldest = repository.snapshots().unwrap()[0].id;
    repository.append(&mut |_| Ok(vec![Operation::Forget { snapshots: vec![oldest] }])).unwrap();
    let slot = names(&*store, "keys").remove(0);
    let bytes = store.get(&slot).unwrap();
    store.create(&format!("keys/{}", "ab".repeat(16)), bytes).unwrap();
    for (folder, least) in [("data", 3), ("meta", 3), ("index", 2), ("checkpoint", 2), ("keys", 2)] {
        assert!(names(&*store, folder).len() >= least, "{folder}: {:?}", names(&*store, folder));
    }
    Template { store, bench, root }
}

fn hurt(store: &SimulatedStore, harm: Harm, kind: &str) -> String {
    let mut all = names(store, kind);
    if kind == "config" {
        all = vec!["config".to_owned(), names(store, "log")[0].clone()];
    }
    let at = match kind {
        // What stands at the end of the log is told apart in `hostile.rs`.
        "log" => all.len() - 2,
        // What the newest snapshot needs.
        "meta" => all.len() - 1,
        _ => 0,
    };
    let (object, other) = (all[at].clone(), all[(at + 1) % all.len()].clone());
    damage(store, harm, &object, &other);
    object
}

/// What verification says is hurt: paths by snapshot.
fn hurt_paths(repository: &Arc<Repository>) -> (BTreeMap<String, BTreeSet<String>>, BTreeSet<String>) {
    let mut hurt: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let findings = verify(repository, VerifyDepth::ReadData, &Silent).unwrap().findings;
    for finding in &findings {
        for (id, paths, _) in &finding.affects {
            hurt.entry(id.to_string()).or_default().extend(paths.iter().cloned());
        }
    }
    (hurt, findings.into_iter().map(|f| f.object).collect())
}

fn work(work: Work, bench: &Bench, other: &Bench) -> Result<(), String> {
    let repository = bench.try_open().map_err(|e| e.to_string())?;
    match work {
        Work::Forget => {
            let all = repository.snapshots().map_err(|e| e.to_string())?;
            let forget = Operation::Forget { snapshots: vec![all[0].id] };
            repository.append(&mut |_| Ok(vec![forget.clone()])).map(drop).map_err(|e| e.to_string())
        }
        Work::Prune => {
            let report = prune(&repository, &everything(), &Silent).map_err(|e| e.to_string())?;
            // Half done is told.
            if report.has_problems() { Err(format!("{:?}", report.damaged)) } else { Ok(()) }
        }
        Work::Repair => {
            let report = repair(&repository, &thorough(), &Silent).map_err(|e| e.to_string())?;
            if report.damaged.is_empty() { Ok(()) } else { Err("with holes".to_owned()) }
        }
        Work::Copy => {
            let options = CopyOptions { dry_run: false, host: "keeper".to_owned(), command: "copy".to_owned() };
            let snapshots = repository.snapshots().map_err(|e| e.to_string())?;
            copy(&repository, &other.open(), &snapshots, &options, &Silent).map(drop).map_err(|e| e.to_string())
        }
    }
}

fn case(template: &Template, kind: &str, harm: Harm, what: Work, warm: bool) -> String {
    let label = format!("{harm:?} of one in {kind}, then {what:?}, {}", if warm { "warm" } else { "cold" });
    let store = Arc::new(SimulatedStore::new(Arc::new(template.store.fork())));
    let bench = Bench { system: far_system(2), ..Bench::beside(store.clone()) };
    if warm {
        crate::harness::copy_folder(template.bench.folder.path(), bench.folder.path());
    }
    let object = hurt(&store, harm, kind);
    let before: BTreeSet<String> = names(&*store, "").into_iter().collect();
    let other = Bench::new();
    // Another machine without a cache says what is hurt.
    let judge = Bench { system: far_system(3), ..Bench::beside(store.clone()) };
    let Ok(judged) = judge.try_open() else {
        // Whoever has a cache may get further; nobody may take anything away.
        let done = work(what, &bench, &other);
        assert!(warm || done.is_err(), "{label}: it went on");
        let after: BTreeSet<String> = names(&*store, "").into_iter().collect();
        assert!(before.is_subset(&after), "{label}: {:?} went", before.difference(&after));
        return format!("refused: {}", done.err().unwrap_or_default());
    };
    let (hurt_before, named) = hurt_paths(&judged);
    drop(judged);
    // A checkpoint or a slot that is gone is not missed as long as there is another.
    let unmissed = harm == Harm::Delete && ["checkpoint", "keys"].contains(&kind);
    assert!(named.contains(&object) || harm == Harm::Swap || unmissed, "{label}: {object} is not among {named:?}");
    let done = work(what, &bench, &other);
    judge.forget_local();
    let repository = judge.open();
    let (hurt_after, _) = hurt_paths(&repository);
    for (snapshot, paths) in &hurt_after {
        let known = hurt_before.get(snapshot).cloned().unwrap_or_default();
        assert!(paths.is_subset(&known), "{label}: {paths:?} were not all hurt before: {known:?}; {done:?}");
    }
    if what == Work::Copy {
        // What went over is whole.
        let to = other.open();
        assert_eq!(verify(&to, VerifyDepth::ReadData, &Silent).unwrap().findings, vec![], "{label}");
        let there = judge.open().state().snapshots.len();
        assert!(done.is_err() || to.state().snapshots.len() == there, "{label}");
    }
    if what == Work::Repair && done.is_ok() {
        assert_eq!(hurt_after, BTreeMap::new(), "{label}");
    }
    // After a repair the next backup counts on nothing that is damaged.
    drop(repository);
    let _ = work(Work::Repair, &judge, &other);
    match backup(&judge.open(), options(&[template.root.path()]), &Silent) {
        Ok(_) => {}
        // Nobody writes over the place of a record that others follow.
        Err(e) if *kind == *"log" && e.to_string().contains("contradicted") => return format!("refused: {e}"),
        Err(e) => panic!("{label}: {e}"),
    }
    let (repository, target) = (judge.open(), tempfile::tempdir().unwrap());
    judge.restore(&judge.latest(&repository), target.path(), Some(template.root.path()));
    assert_eq!(difference(template.root.path(), target.path()), "", "{label}");
    match done {
        Ok(()) => "went on".to_owned(),
        Err(e) => format!("said: {e}"),
    }
}

/// With and without a cache with `STRONGROOM_TEST_FULL` set, else with one in every other case.
fn all_cases(kinds: &[&str]) {
    let (template, full) = (template(), std::env::var_os("STRONGROOM_TEST_FULL").is_some());
    let mut number = 0;
    for kind in kinds {
        for harm in HARMS {
            for what in WORKS {
                number += 1;
                for warm in [false, true].into_iter().filter(|warm| full || *warm == ((number + number / 4) % 2 == 0)) {
                    let told = case(&template, kind, harm, what, warm);
                    println!("{kind} {harm:?} {what:?} warm={warm}: {told}");
                }
            }
        }
    }
}

#[test]
fn damaged_packs_make_nothing_worse() {
    all_cases(&KINDS[..2]);
}

#[test]
fn damaged_segments_and_checkpoints_make_nothing_worse() {
    all_cases(&[KINDS[2], KINDS[4]]);
}

#[test]
fn damaged_records_slots_and_configs_make_nothing_worse() {
    all_cases(&[KINDS[3], KINDS[5], KINDS[6]]);
}
