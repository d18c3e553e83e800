//! The whole against a model: a map from paths to bytes.
//!
//! Random sequences of changes and backups, of a tree and of a stream. Whatever came before, each snapshot that is
//! restored holds what the model held when it was made. A sequence that fails is cut down before it is shown.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Bench, far_system, files, text};
use strongroom::ops::cat::cat;
use strongroom::ops::verify::{VerifyDepth, verify};
use strongroom::primitives::ids::SnapshotId;
use strongroom::primitives::progress::Silent;
use strongroom::primitives::system::{Scripted, System, random};

/// One step of a sequence. Paths and snapshots are named by numbers, so that a cut sequence still means something.
#[derive(Debug, Clone, Copy)]
enum Step {
    Write(u8, u64, u32),
    Append(u8, u64, u32),
    Truncate(u8, u32),
    Delete(u8),
    Rename(u8, u8),
    /// The same bytes again under a new inode.
    Rewrite(u8),
    Backup,
    Stream(u64, u32),
    Restore(u8),
    ForgetLocal,
}

fn steps(seed: u64, count: usize) -> Vec<Step> {
    let system = Scripted::new(0, seed);
    let draw = || u64::from_le_bytes(random(&system as &dyn System));
    let len = |n: u64| match n % 8 {
        0 => 0,
        1..5 => (n >> 8) % 5_000,
        5..7 => (n >> 8) % 100_000,
        _ => (n >> 8) % 700_000,
    } as u32;
    (0..count)
        .map(|_| {
            let (kind, a, b, c) = (draw() % 20, draw() as u8, draw(), draw());
            match kind {
                0..6 => Step::Write(a, b, len(c)),
                6..8 => Step::Append(a, b, len(c) / 4),
                8 => Step::Truncate(a, len(c)),
                9 => Step::Delete(a),
                10 => Step::Rename(a, b as u8),
                11 => Step::Rewrite(a),
                12..16 => Step::Backup,
                16 => Step::Stream(b % 3, len(c)),
                17..19 => Step::Restore(a),
                _ => Step::ForgetLocal,
            }
        })
        .collect()
}

/// Twelve paths, of files and folders that get in each other's way.
fn path(n: u8) -> PathBuf {
    let all = ["a", "b", "c/a", "c/b", "c/d/a", "c/d/b", "e", "f/g/h/i", "f/g/j", "f/k", "sp ace", "\u{e9}\n"];
    PathBuf::from(all[usize::from(n) % all.len()])
}

enum Made {
    Tree(BTreeMap<PathBuf, Vec<u8>>),
    Stream(Vec<u8>),
}

struct Model {
    bench: Bench,
    source: tempfile::TempDir,
    files: BTreeMap<PathBuf, Vec<u8>>,
    made: Vec<(SnapshotId, Made)>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let source = tempfile::tempdir().unwrap();
        fs::create_dir(source.path().join("tree")).unwrap();
        let bench = Bench { system: far_system(seed), ..Bench::new() };
        Self { bench, source, files: BTreeMap::new(), made: Vec::new() }
    }

    fn root(&self) -> PathBuf {
        self.source.path().join("tree")
    }

    fn write(&mut self, path: &Path, bytes: Vec<u8>) {
        let real = self.root().join(path);
        fs::create_dir_all(real.parent().unwrap()).unwrap();
        fs::write(&real, &bytes).unwrap();
        self.files.insert(path.to_owned(), bytes);
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Write(n, seed, len) => self.write(&path(n), text(seed, len as usize)),
            Step::Append(n, seed, len) => {
                let mut bytes = self.files.get(&path(n)).cloned().unwrap_or_default();
                bytes.extend(text(seed, len as usize));
                self.write(&path(n), bytes);
            }
            Step::Truncate(n, len) => {
                if let Some(mut bytes) = self.files.get(&path(n)).cloned() {
                    bytes.truncate(len as usize);
                    self.write(&path(n), bytes);
                }
            }
            Step::Delete(n) => {
                if self.files.remove(&path(n)).is_some() {
                    fs::remove_file(self.root().join(path(n))).unwrap();
                }
            }
            Step::Rename(from, to) => {
                if let Some(bytes) = self.files.remove(&path(from)) {
                    let to = path(to);
                    fs::create_dir_all(self.root().join(&to).parent().unwrap()).unwrap();
                    fs::rename(self.root().join(path(from)), self.root().join(&to)).unwrap();
                    self.files.insert(to, bytes);
                }
            }
            Step::Rewrite(n) => {
                if let Some(bytes) = self.files.get(&path(n)).cloned() {
                    fs::remove_file(self.root().join(path(n))).unwrap();
                    self.write(&path(n), bytes);
                }
            }
            Step::Backup => {
                let report = self.bench.backup(&[&self.root()]);
                let id = report.sources[0].snapshot.ok_or("no snapshot")?;
                self.made.push((id, Made::Tree(self.files.clone())));
            }
            Step::Stream(seed, len) => {
                let bytes = text(seed, len as usize);
                let report = self.bench.backup_stream("dump", bytes.clone());
                let id = report.sources[0].snapshot.ok_or("no snapshot")?;
                self.made.push((id, Made::Stream(bytes)));
            }
            Step::Restore(n) if !self.made.is_empty() => self.restore(usize::from(n) % self.made.len())?,
            Step::Restore(_) => {}
            Step::ForgetLocal => self.bench.forget_local(),
        }
        Ok(())
    }

    fn restore(&self, n: usize) -> Result<(), String> {
        let (id, made) = &self.made[n];
        let repository = self.bench.open();
        let snapshots = repository.snapshots().map_err(|e| e.to_string())?;
        let snapshot = snapshots.iter().find(|s| s.id == *id).ok_or(format!("snapshot {n} is gone"))?;
        match made {
            Made::Stream(bytes) => {
                let mut out = Vec::new();
                cat(&repository, snapshot, b"dump", &mut out, &Silent).map_err(|e| e.to_string())?;
                if out == *bytes { Ok(()) } else { Err(format!("stream {n} differs")) }
            }
            Made::Tree(expected) => {
                let target = tempfile::tempdir().unwrap();
                let report = self.bench.restore(snapshot, target.path(), Some(&self.root()));
                let found = files(target.path());
                let differs = |p: &&PathBuf| found.get(*p) != expected.get(*p);
                match found.keys().chain(expected.keys()).find(differs) {
                    Some(path) => Err(format!("{} of snapshot {n} differs: {:?}", path.display(), report.problems)),
                    None if report.problems.is_empty() => Ok(()),
                    None => Err(format!("snapshot {n}: {:?}", report.problems)),
                }
            }
        }
    }

    fn finish(&self) -> Result<(), String> {
        for n in 0..self.made.len() {
            self.restore(n)?;
        }
        let findings = verify(&self.bench.open(), VerifyDepth::ReadData, &Silent).map_err(|e| e.to_string())?.findings;
        if findings.is_empty() { Ok(()) } else { Err(format!("{findings:?}")) }
    }
}

fn run(seed: u64, steps: &[Step]) -> Result<(), String> {
    let attempt = || {
        let mut model = Model::new(seed);
        steps.iter().try_for_each(|step| model.step(*step))?;
        model.finish()
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt)).unwrap_or_else(|_| Err("it panicked".to_owned()))
}

/// Leaves steps out as long as what is left still fails.
fn shrink(seed: u64, mut steps: Vec<Step>, mut why: String) -> (Vec<Step>, String) {
    let mut size = steps.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < steps.len() {
            let shorter = [&steps[..at], &steps[(at + size).min(steps.len())..]].concat();
            match run(seed, &shorter) {
                Err(e) => (steps, why) = (shorter, e),
                Ok(()) => at += size,
            }
        }
        size /= 2;
    }
    (steps, why)
}

fn holds(seed: u64) {
    let steps = steps(seed, 40);
    if let Err(why) = run(seed, &steps) {
        let (steps, why) = shrink(seed, steps, why);
        panic!("seed {seed}: {why}, after {steps:#?}");
    }
}

#[test]
fn every_snapshot_holds_what_the_model_held_1() {
    (1..3).for_each(holds);
}

#[test]
fn every_snapshot_holds_what_the_model_held_2() {
    (3..5).for_each(holds);
}
