//! Large files that are replaced: what stands there already is taken from there, and nothing is believed of it.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;
use strongroom::destination::{Overwrite, TargetOptions};
use strongroom::ops::restore::{RestoreError, RestoreOptions, RestoreReport, restore};
use strongroom::primitives::progress::Observer;

use crate::harness::Bench;
use crate::program::{Strongroom, noise, run};

const LEN: usize = 9_000_000;

fn sparse_blocks(path: impl AsRef<Path>) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

/// A saved file at `d/big`.
fn saved() -> (Strongroom, Vec<u8>) {
    let (sr, bytes) = (Strongroom::init(), noise(LEN));
    sr.write("d/big", &bytes);
    sr.expect(0, &["backup", "d"]);
    (sr, bytes)
}

/// Restores `d` over itself; answers with the bytes that were taken from what stood there.
#[track_caller]
fn over(sr: &Strongroom, more: &[&str]) -> u64 {
    let said = sr.restore(0, "d", &[&["--overwrite", "always", "--json"], more].concat());
    let line = said.lines().find(|line| line.contains(r#""type":"restore""#)).unwrap_or_else(|| panic!("{said}"));
    serde_json::from_str::<Value>(line).unwrap()["reused"].as_u64().unwrap()
}

#[test]
fn of_a_large_file_only_the_parts_that_differ_are_read_from_the_repository() {
    let (sr, bytes) = saved();
    File::options().write(true).open(sr.at("d/big")).unwrap().write_all_at(b"changed", 6_000_000).unwrap();
    fs::hard_link(sr.at("d/big"), sr.at("other-name")).unwrap();
    let text = sr.restore(0, "d", &["--overwrite", "if-changed"]);
    assert!(text.contains("1 file, 8.58 MiB; ") && text.contains(" taken from the files that were replaced"), "{text}");
    assert!(fs::read(sr.at("d/big")).unwrap() == bytes);
    // The file is a new one, whatever names the old one has.
    assert_eq!(fs::read(sr.at("other-name")).unwrap()[6_000_000..][..7], *b"changed");
    assert_eq!(fs::metadata(sr.at("d/big")).unwrap().nlink(), 1);
    File::options().write(true).open(sr.at("d/big")).unwrap().write_all_at(b"changed", 6_000_000).unwrap();
    let reused = over(&sr, &[]);
    assert!((LEN as u64 / 2..LEN as u64).contains(&reused), "{reused}");
    assert!(fs::read(sr.at("d/big")).unwrap() == bytes);
    // All of it stands there; with the option that makes holes, too.
    assert_eq!((over(&sr, &[]), over(&sr, &["--sparse"])), (LEN as u64, LEN as u64));
    assert!(fs::read(sr.at("d/big")).unwrap() == bytes);
}

#[test]
fn a_file_that_has_become_shorter_or_longer_gets_its_bytes_and_its_length_back() {
    let (sr, bytes) = saved();
    for len in [1, LEN / 2, LEN - 1, LEN * 2] {
        File::options().write(true).open(sr.at("d/big")).unwrap().set_len(len as u64).unwrap();
        let reused = over(&sr, &[]);
        assert!(fs::read(sr.at("d/big")).unwrap() == bytes, "{len}");
        assert_eq!(reused == LEN as u64, len >= LEN, "{len}: {reused}");
        assert_eq!(reused > 0, len >= LEN / 2, "{len}: {reused}");
    }
    // At other places than they belong they are of no use.
    sr.write("d/big", [&[7][..], &bytes].concat());
    assert_eq!(over(&sr, &[]), 0);
    assert!(fs::read(sr.at("d/big")).unwrap() == bytes);
}

#[test]
fn holes_come_back_where_they_were_whatever_stands_there() {
    let sr = Strongroom::init();
    fs::create_dir(sr.at("d")).unwrap();
    let file = File::create(sr.at("d/big")).unwrap();
    let parts = [(4_000_000u64, noise(3_000_000)), (20_000_000, noise(6_000_000))];
    parts.iter().for_each(|(at, part)| file.write_all_at(part, *at).unwrap());
    file.set_len(30_000_000).unwrap();
    let (as_it_was, on_disk) = (fs::read(sr.at("d/big")).unwrap(), sparse_blocks(sr.at("d/big")));
    sr.expect(0, &["backup", "d"]);
    // Holes are of whole blocks.
    assert!((9_000_000..9_020_000).contains(&over(&sr, &[])));
    // Bytes in the holes, and behind the end, which must not stay.
    let filled = noise(31_000_000);
    sr.write("d/big", &filled);
    File::options().write(true).open(sr.at("d/big")).unwrap().write_all_at(&parts[1].1, parts[1].0).unwrap();
    // Of the second part at least what shares no frame with the first.
    assert!((1..=6_020_000).contains(&over(&sr, &[])));
    assert!(fs::read(sr.at("d/big")).unwrap() == as_it_was);
    assert!(sparse_blocks(sr.at("d/big")) <= on_disk, "{on_disk}");
}

/// A link would lead to bytes of somebody else's; a pipe would wait for a writer for ever.
#[test]
fn only_a_regular_file_is_read_and_no_link_followed() {
    let (sr, bytes) = saved();
    fs::rename(sr.at("d/big"), sr.at("elsewhere")).unwrap();
    symlink(sr.at("elsewhere"), sr.at("d/big")).unwrap();
    assert_eq!(over(&sr, &[]), 0);
    assert!(fs::symlink_metadata(sr.at("d/big")).unwrap().is_file() && fs::read(sr.at("d/big")).unwrap() == bytes);
    fs::remove_file(sr.at("d/big")).unwrap();
    assert!(run("mkfifo", &[sr.at("d/big").to_str().unwrap()]));
    assert_eq!(over(&sr, &[]), 0);
    assert!(fs::symlink_metadata(sr.at("d/big")).unwrap().is_file() && fs::read(sr.at("d/big")).unwrap() == bytes);
    fs::remove_file(sr.at("d/big")).unwrap();
    fs::create_dir(sr.at("d/big")).unwrap();
    assert_eq!(over(&sr, &[]), 0);
    assert!(fs::read(sr.at("d/big")).unwrap() == bytes);
}

#[test]
fn names_of_one_file_are_names_of_one_file_again() {
    let sr = Strongroom::init();
    let bytes = noise(LEN);
    sr.write("d/big", &bytes);
    fs::hard_link(sr.at("d/big"), sr.at("d/name")).unwrap();
    sr.expect(0, &["backup", "d"]);
    File::options().write(true).open(sr.at("d/big")).unwrap().write_all_at(b"x", 1_000_000).unwrap();
    assert!(over(&sr, &[]) > 0);
    let (one, other) = (fs::metadata(sr.at("d/big")).unwrap(), fs::metadata(sr.at("d/name")).unwrap());
    assert_eq!((one.ino(), one.nlink()), (other.ino(), 2));
    assert!(fs::read(sr.at("d/name")).unwrap() == bytes);
}

/// A repository of which a part is lost gives back what still stands where it was.
#[test]
fn what_stands_there_is_not_missed_in_a_damaged_pack() {
    let (sr, bytes) = saved();
    let packs = walkdir::WalkDir::new(sr.at("repo/data")).into_iter().map(Result::unwrap);
    let pack = packs.filter(|e| e.file_type().is_file()).max_by_key(|e| e.metadata().unwrap().len()).unwrap();
    File::options().write(true).open(pack.path()).unwrap().write_all_at(&[7; 4096], 5_000_000).unwrap();
    sr.restore(3, "new", &[]);
    assert_eq!(over(&sr, &[]), LEN as u64);
    assert!(fs::read(sr.at("d/big")).unwrap() == bytes);
}

/// Acts at one step of a restore, and can stop it there.
struct At<'a> {
    steps: AtomicUsize,
    step: usize,
    act: Mutex<Box<dyn FnMut() -> bool + Send + 'a>>,
    stopped: AtomicBool,
}

impl Observer for At<'_> {
    fn advance(&self, _: u64) {
        if self.steps.fetch_add(1, Ordering::SeqCst) == self.step {
            let stops = (self.act.lock().unwrap())();
            self.stopped.store(stops, Ordering::SeqCst);
        }
    }

    fn interrupted(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

/// Restores over the file; `act` is called after some pieces.
fn restore_over(bench: &Bench, target: &Path, act: impl FnMut() -> bool + Send) -> Result<RestoreReport, RestoreError> {
    let repository = bench.open();
    let options = RestoreOptions {
        target: target.to_owned(),
        target_options: TargetOptions { overwrite: Overwrite::Always, ..TargetOptions::default() },
        subtree: Some(target.to_str().unwrap().as_bytes()[1..].to_vec()),
        ..RestoreOptions::default()
    };
    let at =
        At { steps: AtomicUsize::new(0), step: 3, act: Mutex::new(Box::new(act)), stopped: AtomicBool::new(false) };
    let report = restore(&repository, &bench.latest(&repository), options, &at);
    assert!(at.steps.load(Ordering::SeqCst) > 3, "there is such a step");
    report
}

/// Bytes are compared as they are copied: there is no moment between the two.
#[test]
fn a_file_that_is_written_to_while_it_is_read_leaves_no_wrong_byte_in_the_new_one() {
    let (bench, folder) = (Bench::new(), tempfile::tempdir().unwrap());
    let (big, bytes) = (folder.path().join("big"), noise(LEN));
    fs::write(&big, &bytes).unwrap();
    bench.backup(&[folder.path()]);
    let old = File::options().write(true).open(&big).unwrap();
    let report = restore_over(&bench, folder.path(), || {
        old.write_all_at(&vec![0; LEN], 0).unwrap();
        false
    });
    let report = report.unwrap();
    assert_eq!((report.problems, report.files), (Vec::new(), 1));
    // All that was read before it was written to; perhaps that was all.
    assert!((1..=LEN as u64).contains(&report.reused), "{}", report.reused);
    assert!(fs::read(&big).unwrap() == bytes);
    // One that is cut short meanwhile.
    let old = File::options().write(true).open(&big).unwrap();
    let report = restore_over(&bench, folder.path(), || {
        old.set_len(100).unwrap();
        false
    });
    assert_eq!(report.unwrap().problems, Vec::<String>::new());
    assert!(fs::read(&big).unwrap() == bytes);
}

/// The old file is there, whole, until the new one is.
#[test]
fn a_restore_that_is_interrupted_leaves_the_old_file_or_the_new_one() {
    let (bench, folder) = (Bench::new(), tempfile::tempdir().unwrap());
    let big = folder.path().join("big");
    fs::write(&big, noise(LEN)).unwrap();
    bench.backup(&[folder.path()]);
    let mut old = noise(LEN);
    old[5_000_000] ^= 1;
    fs::write(&big, &old).unwrap();
    let report = restore_over(&bench, folder.path(), || {
        assert!(fs::read(&big).unwrap() == old);
        true
    });
    assert!(matches!(report, Err(RestoreError::Interrupted)), "{report:?}");
    // What was on its way when it was interrupted may have been the rest of the file.
    let found = fs::read(&big).unwrap();
    assert!(found == old || found == noise(LEN), "it is neither the old file nor the new one");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// A file system in a file, whose files can share blocks; gone when it is dropped. None if this kernel has no XFS.
struct Xfs {
    folder: tempfile::TempDir,
}

impl Xfs {
    fn new() -> Option<Self> {
        let this = Self { folder: tempfile::tempdir().unwrap() };
        let image = this.folder.path().join("image");
        File::create(&image).unwrap().set_len(512 << 20).unwrap();
        fs::create_dir(this.at()).unwrap();
        let image = image.to_str().unwrap();
        assert!(run("mkfs.xfs", &["-q", "-m", "reflink=1", image]), "this test needs xfsprogs: bash .ci/prepare");
        let is_mounted = run("mount", &["-o", "loop", image, this.at().to_str().unwrap()]);
        let is_known = fs::read_to_string("/proc/filesystems").unwrap().contains("\txfs\n");
        assert!(is_mounted || !is_known, "this test mounts a file system: run it as root");
        is_mounted.then_some(this)
    }

    fn at(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.at()).unwrap();
        found.f_bfree * found.f_frsize
    }
}

impl Drop for Xfs {
    fn drop(&mut self) {
        run("umount", &[self.at().to_str().unwrap()]);
    }
}

/// Where files can share blocks, what is equal is not written again.
#[test]
fn a_file_system_that_can_shares_the_blocks_that_are_equal() {
    let Some(xfs) = Xfs::new() else {
        eprintln!("not tested: this kernel has no XFS");
        return;
    };
    let (bench, folder) = (Bench::new(), xfs.at().join("d"));
    fs::create_dir(&folder).unwrap();
    let (big, bytes) = (folder.join("big"), noise(LEN));
    fs::write(&big, &bytes).unwrap();
    bench.backup(&[&folder]);
    for len in [LEN, LEN / 2, LEN + 100_000] {
        let file = File::options().write(true).open(&big).unwrap();
        file.write_all_at(&noise(50_000), 3_000_000).unwrap();
        file.set_len(len as u64).unwrap();
        // The old blocks stay in use.
        let other = xfs.at().join(format!("other-{len}"));
        fs::hard_link(&big, &other).unwrap();
        let old = fs::read(&big).unwrap();
        rustix::fs::sync();
        let before = xfs.free();
        let report = restore_over(&bench, &folder, || false).unwrap();
        rustix::fs::sync();
        let taken = before.saturating_sub(xfs.free());
        assert_eq!(report.problems, Vec::<String>::new());
        assert!(fs::read(&big).unwrap() == bytes && fs::read(&other).unwrap() == old, "{len}");
        let missing = LEN.saturating_sub(len) as u64;
        assert!(report.reused + missing + 5_000_000 > LEN as u64, "{len}: {}", report.reused);
        assert!(taken < missing + 6_000_000, "{len}: {taken}");
    }
}
