//! Trees and streams go in and come back bit for bit.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use crate::harness::{Bench, difference};
use strongroom::format::record::Outcome;
use strongroom::format::tree::{Content, NodeKind};
use strongroom::ops::cat::cat;
use strongroom::ops::list::find;
use strongroom::ops::verify::{VerifyDepth, verify, verify_keyless};
use strongroom::primitives::progress::Silent;
use strongroom::primitives::system::{Scripted, System};
use strongroom::repository::read::file::FileReader;

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    Scripted::new(0, seed).fill_random(&mut out);
    out
}

fn set_old(path: &Path) {
    // Older than two seconds, so that the file cache trusts it.
    let times = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_600_000_000, 7));
    fs::File::open(path).unwrap().set_times(times).unwrap();
}

/// A tree holding every kind of entry.
fn every_kind(root: &Path) {
    fs::create_dir_all(root.join("a/deep/er")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("a/small.txt"), "hello\n").unwrap();
    fs::write(root.join("a/nothing"), "").unwrap();
    fs::write(root.join("a/deep/noise"), noise(1, 6 << 20)).unwrap();
    fs::write(root.join("a/deep/er/text"), "some words and more of them\n".repeat(100_000)).unwrap();
    for i in 0..400 {
        fs::write(root.join(format!("a/deep/er/file{i}")), format!("file number {i}\n").repeat(i)).unwrap();
    }
    let odd = std::ffi::OsStr::new("sp ace\n\u{fc}");
    fs::write(root.join(odd), "odd").unwrap();
    fs::write(root.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"not\xffutf8")), "bytes")
        .unwrap();
    fs::hard_link(root.join("a/small.txt"), root.join("hard")).unwrap();
    symlink("../nowhere/../a", root.join("a/link")).unwrap();
    let mut sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.write_all(b"head").unwrap();
    sparse.seek(SeekFrom::Start(3 << 20)).unwrap();
    sparse.write_all(b"middle").unwrap();
    sparse.set_len(10 << 20).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    fs::set_permissions(root.join("a/nothing"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o1750)).unwrap();
    rustix::fs::lsetxattr(root.join("a/small.txt"), "user.note", b"kept\0bytes", rustix::fs::XattrFlags::empty())
        .unwrap();
    if rustix::process::getuid().is_root() {
        std::os::unix::fs::lchown(root.join("a/deep"), Some(1234), Some(4321)).unwrap();
        let device = rustix::fs::makedev(1, 3);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, root.join("null"), rustix::fs::FileType::CharacterDevice, mode, device)
            .unwrap();
    }
    set_old(&root.join("a/deep/noise"));
}

/// DSS-1: modes, owners, times, attributes, links, holes and odd names.
#[test]
fn a_tree_with_every_kind_of_entry_comes_back_identical() {
    let source = tempfile::tempdir().unwrap();
    let root = source.path().join("tree");
    every_kind(&root);
    let bench = Bench::new();
    let report = bench.backup(&[&root]);
    assert_eq!(report.outcome, Outcome::Complete, "{:?}", report.sources);
    bench.forget_local();
    let repository = bench.open();
    let snapshot = bench.latest(&repository);
    let target = tempfile::tempdir().unwrap();
    let restored = bench.restore(&snapshot, target.path(), Some(&root));
    assert_eq!(restored.problems, Vec::<String>::new());
    assert_eq!(difference(&root, target.path()), "");
    let sparse = fs::metadata(target.path().join("sparse")).unwrap();
    assert!(sparse.blocks() * 512 < 1 << 20, "holes stay holes: {} blocks", sparse.blocks());
    for depth in [VerifyDepth::Structure, VerifyDepth::ReadData] {
        let report = verify(&repository, depth, &Silent).unwrap();
        assert_eq!(report.findings, vec![], "{depth:?}");
    }
    assert_eq!(verify_keyless(&*bench.store, &Silent).unwrap().findings, vec![]);
}

#[test]
fn an_unchanged_second_run_reads_nothing_and_adds_two_records() {
    let source = tempfile::tempdir().unwrap();
    let root = source.path().join("tree");
    every_kind(&root);
    let bench = Bench { system: std::sync::Arc::new(Scripted::new(4_000_000_000_000, 5)), ..Bench::new() };
    bench.backup(&[&root]);
    let (objects, records) = counts(&bench);
    let report = bench.backup(&[&root]);
    let figures = report.sources[0].figures;
    assert_eq!((figures.files_read, figures.bytes_read, figures.bytes_new), (0, 0, 0));
    let after = counts(&bench);
    assert_eq!(after.1 - records, 2);
    assert_eq!(after.0 - objects, 2, "and no other object");
}

fn counts(bench: &Bench) -> (usize, usize) {
    let all = strongroom::store::list_all(&*bench.store, "").unwrap();
    (all.len(), all.iter().filter(|o| o.name.starts_with("log/")).count())
}

/// DSS-3: each night is stored as what is new in it, and restored as a whole.
#[test]
fn a_changed_file_is_stored_and_the_rest_is_reused() {
    let source = tempfile::tempdir().unwrap();
    let root = source.path().join("tree");
    every_kind(&root);
    let bench = Bench { system: std::sync::Arc::new(Scripted::new(4_000_000_000_000, 5)), ..Bench::new() };
    bench.backup(&[&root]);
    fs::write(root.join("a/small.txt"), "changed\n").unwrap();
    fs::remove_file(root.join("a/deep/er/file7")).unwrap();
    let report = bench.backup(&[&root]);
    assert_eq!(report.sources[0].figures.files_read, 2, "both names of the changed file");
    assert!(report.sources[0].figures.bytes_new < 100_000);
    let repository = bench.open();
    let target = tempfile::tempdir().unwrap();
    let snapshot = bench.latest(&repository);
    bench.restore(&snapshot, target.path(), Some(&root));
    assert_eq!(difference(&root, target.path()), "");
}

#[test]
fn streams_come_back_and_nights_share_their_chunks() {
    let night1: Vec<u8> =
        (0..200_000u32).flat_map(|i| format!("row {i} {}\n", i.wrapping_mul(2_654_435_761)).into_bytes()).collect();
    let mut night2 = night1.clone();
    night2.splice(1_000_000..1_000_000, *b"one row more\n");
    let bench = Bench::new();
    let first = bench.backup_stream("dump.sql", night1.clone());
    let second = bench.backup_stream("dump.sql", night2.clone());
    assert!(second.sources[0].figures.bytes_new * 20 < first.sources[0].figures.bytes_new);
    let repository = bench.open();
    let snapshots = repository.snapshots().unwrap();
    for (snapshot, expected) in snapshots.iter().zip([night1, night2]) {
        let mut out = Vec::new();
        cat(&repository, snapshot, b"dump.sql", &mut out, &Silent).unwrap();
        assert!(out == expected, "the dump differs");
    }
}

#[test]
fn an_empty_directory_and_an_empty_stream_are_not_nothing() {
    let source = tempfile::tempdir().unwrap();
    let bench = Bench::new();
    assert_eq!(bench.backup(&[source.path()]).outcome, Outcome::Complete);
    assert_eq!(bench.backup_stream("nothing", vec![]).sources[0].figures.bytes, 0);
    let repository = bench.open();
    let mut out = Vec::new();
    assert_eq!(cat(&repository, &bench.latest(&repository), b"nothing", &mut out, &Silent).unwrap(), 0);
}

#[test]
fn a_long_directory_is_cut_into_nodes_and_comes_back() {
    let source = tempfile::tempdir().unwrap();
    let root = source.path().join("many");
    fs::create_dir(&root).unwrap();
    for i in 0..6000 {
        fs::write(root.join(format!("{i:05}")), i.to_string()).unwrap();
    }
    let bench = Bench::new();
    bench.backup(&[&root]);
    let repository = bench.open();
    let target = tempfile::tempdir().unwrap();
    bench.restore(&bench.latest(&repository), target.path(), Some(&root));
    assert_eq!(difference(&root, target.path()), "");
}

#[test]
fn any_part_of_a_file_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    every_kind(dir.path());
    // Far more extents than a node of its own holds.
    let mut long = Vec::new();
    (0..300u64).for_each(|n| long.extend([noise(n % 7, 9_000), noise(1_000 + n, 11_000)].concat()));
    fs::write(dir.path().join("long"), &long).unwrap();
    let bench = Bench::new();
    bench.backup(&[dir.path()]);
    let repository = bench.open();
    let snapshot = bench.latest(&repository);
    let mut reader = FileReader::new(&repository);
    let mut lists = 0;
    for name in ["a/small.txt", "a/nothing", "a/deep/noise", "a/deep/er/text", "sparse", "long"] {
        let path = dir.path().join(name);
        let content = fs::read(&path).unwrap();
        let node = find(&repository, &snapshot, path.to_str().unwrap().as_bytes()).unwrap().unwrap();
        let NodeKind::File(file) = node.kind else { panic!("{name} is a file") };
        lists += usize::from(matches!(file.content, Content::List(_)));
        let len = content.len() as u64;
        let random = noise(len, 16 * 60);
        let drawn = random.chunks(16).map(|b| {
            let number = |at: usize| u64::from_le_bytes(b[at..at + 8].try_into().unwrap());
            (number(0) % (len + 10), number(8) % 300_000)
        });
        for (offset, want) in drawn.chain([(0, len + 5), (len, 10), (len + 7, 1), (0, 0), (u64::MAX, 3)]) {
            let mut buffer = vec![0xaa; want as usize];
            let n = reader.read_at(&file, offset, &mut buffer).unwrap();
            let from = usize::try_from(offset.min(len)).unwrap();
            let to = content.len().min(from.saturating_add(want as usize));
            assert!(buffer[..n] == content[from..to], "{name}: {want} bytes at {offset}");
            assert!(buffer[n..].iter().all(|b| *b == 0xaa), "{name}: more than it has was written at {offset}");
        }
    }
    assert!(lists > 0, "no file has a list");
}
