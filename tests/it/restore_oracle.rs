//! Restores compared with what others say: `rsync` of random trees, and the content ids of files.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::harness::{Bench, difference, options, text};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use strongroom::destination::{Overwrite, RelativePath, TargetOptions};
use strongroom::format::description::{self, SnapshotDescription};
use strongroom::format::record::{Outcome, RunKind, SnapshotEntry};
use strongroom::format::tree::{FileNode, Node, NodeKind};
use strongroom::ops::backup::backup;
use strongroom::ops::cat::{CatError, cat};
use strongroom::ops::restore::{RestoreOptions, RestoreReport, restore};
use strongroom::primitives::progress::{Recorder, Silent};
use strongroom::primitives::system::random;
use strongroom::repository::Repository;
use strongroom::repository::snapshots::Snapshot;
use strongroom::repository::write::packer::PackerThreads;
use strongroom::repository::write::run::{Publication, run_description};
use strongroom::repository::write::trees::TreeBuilder;
use strongroom::store::{MemoryStore, SimulatedStore, Verb};

// --- content ids ---------------------------------------------------------------------------------------------------

/// Publishes a snapshot with these nodes at its root.
fn snapshot_of(repository: &Arc<Repository>, nodes: Vec<Node>) -> Snapshot {
    let begun = run_description("testhost", "test");
    let mut run = repository.begin_run(RunKind::Backup, "testhost", &begun, PackerThreads::default()).unwrap();
    let mut tree = TreeBuilder::default();
    nodes.into_iter().for_each(|node| tree.push(&mut run, node).unwrap());
    let root = tree.finish(&mut run).unwrap();
    run.flush().unwrap();
    let described = SnapshotDescription { host: "testhost".into(), source: "forged".into(), ..Default::default() };
    let (keys, id) = (repository.domain_keys(), run.snapshot_id());
    let description = description::seal(&described, &run.secret().sealing(), random(&*repository.system));
    let (host, source) = (keys.host("testhost"), keys.source("forged"));
    let (time_ms, outcome, parents) = (repository.system.now_ms(), Outcome::Complete, Vec::new());
    let entry = SnapshotEntry { id, time_ms, root, outcome, parents, host, source, description };
    run.publish(Publication { snapshots: vec![entry], end: Some((Outcome::Complete, &begun)) }).unwrap();
    repository.snapshots().unwrap().into_iter().find(|s| s.id == id).unwrap()
}

/// A machine that may add snapshots published one whose `passwd` has the content id of the known file and references to
/// another. Every chunk of it is sound, and nobody compared the whole.
#[test]
fn references_that_lead_to_another_content_are_found_out() {
    let (bench, root, target) = (Bench::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // One of a single frame, one of many.
    for (seed, name, len) in
        [(1, "small", 3000), (2, "other-small", 3000), (3, "long", 900_000), (4, "other-long", 900_000)]
    {
        fs::write(root.path().join(name), text(seed, len)).unwrap();
    }
    bench.backup(&[root.path()]);
    let repository = bench.open();
    let whole = bench.latest(&repository);
    let node = |name: &str| {
        let path = root.path().join(name);
        repository.find_path(&whole.state.root, path.as_os_str().as_bytes()).unwrap().unwrap()
    };
    let swapped = |name: &str, other: &str| match (node(name).kind, node(other).kind) {
        (NodeKind::File(file), NodeKind::File(other)) => {
            let kind = NodeKind::File(FileNode { content: other.content, size: other.size, ..file });
            Node { kind, ..node(name) }
        }
        _ => unreachable!("both are files"),
    };
    let nodes = vec![swapped("long", "other-long"), node("other-small"), swapped("small", "other-small")];
    let snapshot = snapshot_of(&repository, nodes);
    let report = crate::harness::try_restore(&repository, &snapshot, target.path(), None).unwrap();
    assert_eq!((report.files, report.problems_count), (1, 2), "{:?}", report.problems);
    for name in ["long: ", "small: "] {
        assert!(
            report.problems.iter().any(|p| p.starts_with(name) && p.contains("content id")),
            "{:?}",
            report.problems
        );
    }
    let left: Vec<_> = fs::read_dir(target.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["other-small"]);
    for name in ["long", "small"] {
        let answer = cat(&repository, &snapshot, name.as_bytes(), &mut Vec::new(), &Silent);
        assert!(matches!(&answer, Err(CatError::WrongContent { path, .. }) if path == name), "{answer:?}");
    }
    assert!(cat(&repository, &snapshot, b"other-small", &mut Vec::new(), &Silent).is_ok());
}

// --- one file of many ----------------------------------------------------------------------------------------------

/// restic#1520: to bring back one file, everything beside it was walked through.
#[test]
fn one_file_costs_its_depth_and_not_what_lies_beside_it() {
    let store = Arc::new(SimulatedStore::new(Arc::new(MemoryStore::new())));
    let (bench, root) = (Bench::on(store.clone()), tempfile::tempdir().unwrap());
    for d in 0..150 {
        let directory = root.path().join(format!("a/{d}"));
        fs::create_dir_all(&directory).unwrap();
        (0..60).for_each(|f| fs::write(directory.join(format!("{f}")), format!("{d}-{f}")).unwrap());
    }
    fs::write(root.path().join("a/wanted"), "wanted").unwrap();
    bench.backup(&[root.path()]);
    let reads = |change: &dyn Fn(&mut RestoreOptions)| {
        // Nothing is in memory.
        let (repository, target) = (bench.open(), tempfile::tempdir().unwrap());
        let snapshot = bench.latest(&repository);
        let subtree = Some(root.path().as_os_str().as_bytes().to_vec());
        let mut options = RestoreOptions { target: target.path().to_owned(), subtree, ..Default::default() };
        change(&mut options);
        store.clear_calls();
        restore(&repository, &snapshot, options, &Recorder::default()).unwrap();
        let read = store.calls().iter().filter(|call| call.verb == Verb::GetRange).count();
        (read, crate::harness::files(target.path()).len())
    };
    let (all, files) = reads(&|_| ());
    assert_eq!(files, 150 * 60 + 1);
    let (matched, files) = reads(&|o| o.include = vec!["/a/wanted".into()]);
    assert_eq!(files, 1);
    let (named, files) = reads(&|o| o.only = vec![b"a/wanted".to_vec()]);
    assert_eq!(files, 1);
    let (glob, files) = reads(&|o| o.include = vec!["/a/149/5?".into(), "/a/7/3".into()]);
    assert_eq!(files, 11);
    assert!(matched.max(named).max(glob) * 3 < all, "{matched} {named} {glob} {all}");
}

// --- rsync ---------------------------------------------------------------------------------------------------------

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = self.0 ^ (self.0 >> 29);
        (mixed >> 20) as usize % n
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    fn name(&mut self) -> Vec<u8> {
        const PIECES: [&[u8]; 18] = [
            b"a",
            b"b",
            b"c",
            b"x.tmp",
            b"\xff",
            b"\n",
            b" ",
            b"*",
            b"[",
            b"\\",
            b"#",
            b"!",
            b"-",
            b"\xc3\xa4",
            b"?",
            b"{",
            b"\t",
            b"~",
        ];
        let mut name = Vec::new();
        for _ in 0..=self.below(3) {
            name.extend_from_slice(self.of::<&[u8]>(&PIECES));
        }
        name
    }

    fn path(&mut self, directory: &Path) -> PathBuf {
        directory.join(OsStr::from_bytes(&self.name()))
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = match self.below(8) {
            0 => 0,
            1..=4 => self.below(3000),
            5 | 6 => self.below(40_000),
            _ => self.below(400_000),
        };
        text(self.below(1 << 30) as u64, len)
    }
}

/// Everything below `root`, in order, links not followed: directories before what they hold.
fn entries(root: &Path) -> Vec<PathBuf> {
    let found = walkdir::WalkDir::new(root).sort_by_file_name();
    found.into_iter().map(|entry| entry.unwrap().into_path()).collect()
}

fn remove(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

fn set_mtime(random: &mut Random, path: &Path) {
    let time =
        Timespec { tv_sec: random.below(2_000_000_000) as i64 - 10_000, tv_nsec: random.below(1_000_000_000) as _ };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Changes what an entry is besides its bytes.
fn adorn(random: &mut Random, path: &Path) {
    let found = fs::symlink_metadata(path).unwrap();
    let kind = found.file_type();
    if rustix::process::geteuid().is_root() && random.chance(3) {
        let (uid, gid) = (Uid::from_raw(random.below(3) as u32 * 1000), Gid::from_raw(random.below(3) as u32 * 100));
        rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    if !kind.is_symlink() && random.chance(2) {
        let special = if random.chance(4) { (random.below(8) << 9) as u32 } else { 0 };
        let mode = 0o400 | random.below(0o1000) as u32 | special | if kind.is_dir() { 0o700 } else { 0 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    if (kind.is_file() || kind.is_dir()) && random.chance(4) {
        let name = format!("user.{}", random.below(3));
        let value = vec![b'v'; random.below(200)];
        // Not every file system has them.
        let _ = rustix::fs::lsetxattr(path, &name, &value, XattrFlags::empty());
    }
    if (kind.is_file() || kind.is_dir()) && random.chance(6) {
        let _ = rustix::fs::lremovexattr(path, format!("user.{}", random.below(3)));
    }
    if random.chance(2) {
        set_mtime(random, path);
    }
}

/// Makes one entry of any kind at a name that is free.
fn make(random: &mut Random, root: &Path, path: &Path) {
    if fs::symlink_metadata(path).is_ok() {
        return;
    }
    match random.below(12) {
        0..=4 => fs::write(path, random.bytes()).unwrap(),
        5 => {
            let file = fs::File::create(path).unwrap();
            for _ in 0..random.below(3) {
                file.write_all_at(&random.bytes(), random.below(4 << 20) as u64).unwrap();
            }
            file.set_len(file.metadata().unwrap().len() + random.below(1 << 20) as u64).unwrap();
        }
        6 => symlink(OsStr::from_bytes(&random.name()), path).unwrap(),
        7 => rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap(),
        8 | 9 => {
            let all: Vec<_> =
                entries(root).into_iter().filter(|p| !fs::symlink_metadata(p).unwrap().is_dir()).collect();
            if all.is_empty() {
                return fs::write(path, "").unwrap();
            }
            rustix::fs::linkat(CWD, random.of(&all), CWD, path, AtFlags::empty()).unwrap();
        }
        _ => {
            fs::create_dir(path).unwrap();
            for _ in 0..random.below(5) {
                let inner = random.path(path);
                make(random, root, &inner);
            }
        }
    }
    adorn(random, path);
}

fn tree(random: &mut Random, root: &Path) {
    fs::create_dir_all(root).unwrap();
    for _ in 0..random.below(60) {
        let directories: Vec<_> =
            entries(root).into_iter().filter(|p| fs::symlink_metadata(p).unwrap().is_dir()).collect();
        let path = {
            let at = random.of(&directories).clone();
            random.path(&at)
        };
        make(random, root, &path);
    }
    // Making entries changed their directories.
    entries(root).iter().rev().for_each(|path| {
        if random.chance(3) {
            set_mtime(random, path)
        }
    });
}

/// What people and programs do to a tree; whatever changes bytes changes a time with them.
fn edit(random: &mut Random, root: &Path) {
    for _ in 0..random.below(20) {
        let all = entries(root);
        let path = random.of(&all).clone();
        let found = fs::symlink_metadata(&path).unwrap();
        match random.below(7) {
            _ if path == root => {
                let new = random.path(root);
                make(random, root, &new);
            }
            0 => remove(&path),
            1 => {
                // Something else of the same name.
                remove(&path);
                make(random, root, &path);
            }
            2 if found.is_file() => {
                fs::write(&path, random.bytes()).unwrap();
                set_mtime(random, &path);
            }
            3 => adorn(random, &path),
            4 if !found.is_dir() => {
                // A name of its own, with the same bytes.
                let copy = root.join(".copy");
                let copied = std::process::Command::new("cp").args(["-a"]).arg(&path).arg(&copy).status().unwrap();
                assert!(copied.success());
                fs::rename(&copy, &path).unwrap();
            }
            5 => {
                let to = random.path(path.parent().unwrap());
                if fs::symlink_metadata(&to).is_err() {
                    fs::rename(&path, &to).unwrap();
                }
            }
            _ => {
                let new = random.path(path.parent().unwrap());
                make(random, root, &new);
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

struct Round<'a> {
    repository: &'a Arc<Repository>,
    snapshot: Snapshot,
    source: PathBuf,
}

impl Round<'_> {
    fn restore(&self, target: &Path, overwrite: Overwrite, delete: bool) -> RestoreReport {
        let mut agree = |_: &[RelativePath]| true;
        let options = RestoreOptions {
            target: target.to_owned(),
            target_options: TargetOptions { overwrite, ..TargetOptions::default() },
            subtree: Some(self.source.as_os_str().as_bytes().to_vec()),
            delete: if delete { Some(&mut agree) } else { None },
            ..RestoreOptions::default()
        };
        restore(self.repository, &self.snapshot, options, &Silent).unwrap()
    }
}

/// What a name stands for, to see that it still does.
fn identity(path: &Path) -> (u64, u64, i64, i64, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.ino(), found.len(), found.mtime(), found.mtime_nsec(), found.mode())
}

/// One tree backed up and brought back in all ways. Answers with the number of its entries.
fn round(bench: &Bench, repository: &Arc<Repository>, seed: u64) -> usize {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    tree(&mut random, &at("source"));
    let rules = random.chance(3);
    let mut how = options(&[&at("source")]);
    how.exclude.patterns = if rules { vec!["*.tmp".into(), "/a".into(), "!/b*".into()] } else { vec![] };
    let report = backup(repository, how, &Silent).unwrap();
    assert_eq!(report.outcome, Outcome::Complete, "seed {seed}");
    let snapshot = bench.latest(repository);
    let work = Round { repository, snapshot, source: at("source") };
    // Into a new place.
    let report = work.restore(&at("new"), Overwrite::Refuse, false);
    assert_eq!(report.problems, Vec::<String>::new(), "seed {seed}");
    if !rules {
        assert_eq!(difference(&at("source"), &at("new")), "", "seed {seed}: new");
        copy(&at("source"), &at("copied"));
        assert_eq!(difference(&at("copied"), &at("new")), "", "seed {seed}: cp -a");
        remove(&at("copied"));
    }
    // Over the source itself nothing changes, whatever the backup left out.
    copy(&at("source"), &at("before"));
    for overwrite in [Overwrite::IfChanged, Overwrite::Always] {
        let report = work.restore(&at("source"), overwrite, true);
        assert_eq!((report.problems, report.deleted), (vec![], 0), "seed {seed}: {overwrite:?}");
        // Names that were left out are no further names of what was written anew.
        let seen = difference(&at("before"), &at("source"));
        assert!(
            rules && overwrite == Overwrite::Always || seen.is_empty(),
            "seed {seed}: in place, {overwrite:?}: {seen}"
        );
    }
    // Over what others made of it.
    for overwrite in [Overwrite::IfChanged, Overwrite::Always] {
        let edited = at(&format!("edited-{overwrite:?}"));
        copy(&at("new"), &edited);
        edit(&mut random, &edited);
        let report = work.restore(&edited, overwrite, true);
        // What the backup left out may lie in a directory that is in the way of a file.
        let in_the_way = |p: &String| rules && p.contains("a directory that is not empty is in the way");
        assert!(report.problems.iter().all(in_the_way), "seed {seed}: {overwrite:?}: {:?}", report.problems);
        let seen = difference(&at("new"), &edited);
        assert!(rules || seen.is_empty(), "seed {seed}: edited, {overwrite:?}: {seen}");
    }
    // What is there stays what it is, and what is missing comes.
    let kept = at("kept");
    copy(&at("new"), &kept);
    edit(&mut random, &kept);
    let there: Vec<_> = entries(&kept).into_iter().filter(|p| !fs::symlink_metadata(p).unwrap().is_dir()).collect();
    let before: Vec<_> = there.iter().map(|p| identity(p)).collect();
    work.restore(&kept, Overwrite::Never, false);
    assert_eq!(there.iter().map(|p| identity(p)).collect::<Vec<_>>(), before, "seed {seed}: never");
    let count = entries(&at("new")).len();
    for path in entries(&at("new")) {
        let (then, now) = (fs::symlink_metadata(&path).unwrap(), kept.join(path.strip_prefix(at("new")).unwrap()));
        // Below a name that stayed something else there is nothing.
        if then.is_file() && !there.contains(&now) && now.parent().unwrap().symlink_metadata().is_ok_and(|m| m.is_dir())
        {
            let stayed = now.symlink_metadata().is_ok_and(|m| m.is_dir());
            assert!(stayed || fs::read(&path).unwrap() == fs::read(&now).unwrap(), "seed {seed}: {}", now.display());
        }
    }
    count
}

/// Random trees and what people do to them, restored in all ways and compared with rsync. More rounds, or another seed to
/// begin with: `STRONGROOM_ORACLE_ROUNDS`, `STRONGROOM_ORACLE_SEED`.
#[test]
fn random_trees_come_back_as_rsync_would_have_them() {
    let number = |name: &str, otherwise| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(otherwise);
    let (rounds, first) = (number("STRONGROOM_ORACLE_ROUNDS", 60), number("STRONGROOM_ORACLE_SEED", 1));
    let mut count = 0;
    let all: Vec<u64> = (first..first + rounds).collect();
    // Nothing grows for ever.
    for seeds in all.chunks(50) {
        let bench = Bench::new();
        let repository = bench.open();
        count += seeds.iter().map(|seed| round(&bench, &repository, *seed)).sum::<usize>();
    }
    println!("{rounds} rounds, {count} entries");
}
