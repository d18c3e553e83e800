//! Copies, comparisons and searches over whole repositories, and verification in parts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::harness::{Bench, PASSPHRASE, difference, options, text};
use strongroom::format::record::{Operation, Role};
use strongroom::ops::backup::backup;
use strongroom::ops::copy::{CopyOptions, CopyReport, copy};
use strongroom::ops::diff::{Change, diff};
use strongroom::ops::find::{FindOptions, Pattern, find};
use strongroom::ops::verify::{Part, VerifyDepth, coverage, remember, verify};
use strongroom::primitives::progress::Silent;
use strongroom::primitives::system::OsSystem;
use strongroom::repository::snapshots::Snapshot;
use strongroom::repository::{Repository, init_like};
use strongroom::store::MemoryStore;

fn how() -> CopyOptions {
    CopyOptions { dry_run: false, host: "keeper".to_owned(), command: "copy".to_owned() }
}

fn copied(from: &Arc<Repository>, to: &Arc<Repository>) -> CopyReport {
    copy(from, to, &from.snapshots().unwrap(), &how(), &Silent).unwrap()
}

fn night(root: &Path, n: u64) {
    fs::create_dir_all(root.join("below")).unwrap();
    for i in 0..4 {
        fs::write(root.join(format!("below/stays{i}")), text(i, 150_000)).unwrap();
    }
    fs::write(root.join("changes"), [text(90, 100_000), text(n, 20_000)].concat()).unwrap();
    let hole = fs::File::create(root.join("holes")).unwrap();
    hole.set_len(1 << 20).unwrap();
    std::os::unix::fs::symlink("changes", root.join(format!("link{n}"))).unwrap();
}

/// A repository with three nights.
fn nights() -> (Bench, tempfile::TempDir) {
    let (bench, root) = (Bench::new(), tempfile::tempdir().unwrap());
    for n in 0..3 {
        night(root.path(), n);
        bench.backup(&[root.path()]);
    }
    (bench, root)
}

fn restored(bench: &Bench, snapshot: &Snapshot, root: &Path) -> tempfile::TempDir {
    let target = tempfile::tempdir().unwrap();
    bench.restore(snapshot, target.path(), Some(root));
    target
}

/// CC-21: a second site.
#[test]
fn a_copy_has_the_same_snapshots_and_a_second_one_copies_nothing() {
    let (bench, root) = nights();
    let (other, from) = (Bench::new(), bench.open());
    let to = other.open();
    let dry = copy(&from, &to, &from.snapshots().unwrap(), &CopyOptions { dry_run: true, ..how() }, &Silent).unwrap();
    assert_eq!((dry.copied.len(), to.state().snapshots.len()), (3, 0));
    let report = copied(&from, &to);
    assert_eq!((report.copied.len(), report.there), (3, 0));
    assert_eq!(verify(&to, VerifyDepth::ReadData, &Silent).unwrap().findings, vec![]);
    for (a, b) in from.snapshots().unwrap().iter().zip(to.snapshots().unwrap()) {
        assert_eq!((a.state.time_ms, &a.described.tags), (b.state.time_ms, &b.described.tags));
        assert_eq!(b.described.origin.as_ref().unwrap().snapshot, a.id);
        let (one, two) = (restored(&bench, a, root.path()), restored(&other, &b, root.path()));
        assert_eq!(difference(one.path(), two.path()), "");
    }
    let again = copied(&from, &to);
    assert_eq!((again.copied.len(), again.there, again.figures.bytes_read), (0, 3, 0));
    // Only what is new goes over; and nothing goes back.
    night_over(&bench, &root);
    let from = bench.open();
    let next = copied(&from, &to);
    assert_eq!((next.copied.len(), next.there), (1, 3));
    assert!(next.figures.bytes_new < 100_000, "{:?}", next.figures);
    assert_eq!(copied(&to, &from).copied, vec![]);
}

fn night_over(bench: &Bench, root: &tempfile::TempDir) {
    fs::write(root.path().join("one-more"), text(777, 40_000)).unwrap();
    bench.backup(&[root.path()]);
}

#[test]
fn a_repository_with_the_same_parameters_finds_what_was_copied_there() {
    let (bench, root) = nights();
    let from = bench.open();
    let new_bytes = |like: bool| {
        let store = Arc::new(MemoryStore::new());
        let other = match like {
            true => {
                init_like(&*store, PASSPHRASE, &from, None, &OsSystem).unwrap();
                Bench::beside(store)
            }
            false => Bench::on(store),
        };
        let to = other.open();
        copied(&from, &to);
        drop(to);
        // Also a machine's file carries the key by which content is cut.
        let machine = other.machine(Role::Read, "drill");
        let (theirs, own) = (&machine.file.domain_keys.chunker, other.open());
        assert_eq!(theirs.expose(), own.keys.domain_keys.chunker.expose());
        backup(&other.open(), options(&[root.path()]), &Silent).unwrap().sources[0].figures.bytes_new
    };
    let (alike, apart) = (new_bytes(true), new_bytes(false));
    assert!(alike < 60_000 && apart > 500_000, "{alike} bytes were new, and {apart} without its parameters");
}

#[test]
fn a_comparison_tells_what_came_went_and_changed() {
    let (bench, root) = (Bench::new(), tempfile::tempdir().unwrap());
    night(root.path(), 0);
    fs::create_dir(root.path().join("goes")).unwrap();
    fs::write(root.path().join("goes/with-it"), b"x").unwrap();
    fs::write(root.path().join("becomes-a-folder"), b"file").unwrap();
    bench.backup(&[root.path()]);
    fs::remove_dir_all(root.path().join("goes")).unwrap();
    fs::remove_file(root.path().join("becomes-a-folder")).unwrap();
    fs::create_dir(root.path().join("becomes-a-folder")).unwrap();
    fs::write(root.path().join("becomes-a-folder/new"), b"12345").unwrap();
    fs::write(root.path().join("changes"), b"other").unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(root.path().join("below/stays1"), fs::Permissions::from_mode(0o600)).unwrap();
    bench.backup(&[root.path()]);
    let repository = bench.open();
    let roots: Vec<_> = repository.snapshots().unwrap().iter().map(|s| s.state.root).collect();
    let prefix = root.path().to_str().unwrap();
    let mut found = BTreeMap::new();
    let totals = diff(&repository, &roots[0], &roots[1], b"", &mut |path, change, _, _| {
        let path = String::from_utf8_lossy(path).strip_prefix(prefix).map(str::to_owned);
        if let Some(path) = path.filter(|p| !p.is_empty()) {
            found.insert(path, change);
        }
        Ok(())
    })
    .unwrap();
    let expected = [
        ("/becomes-a-folder", Change::Kind),
        ("/becomes-a-folder/new", Change::Added),
        ("/below/stays1", Change::Metadata),
        ("/changes", Change::Content),
        ("/goes", Change::Removed),
        ("/goes/with-it", Change::Removed),
    ];
    assert_eq!(found, expected.map(|(p, c)| (p.to_owned(), c)).into());
    assert_eq!((totals.added, totals.added_bytes, totals.removed, totals.removed_bytes), (1, 5, 2, 1));
    let same = diff(&repository, &roots[0], &roots[0], b"", &mut |_, _, _, _| panic!("nothing differs")).unwrap();
    assert_eq!(same, Default::default());
}

#[test]
fn a_search_goes_over_all_snapshots() {
    let (bench, root) = nights();
    let repository = bench.open();
    let search = |text: &str| {
        let glob = globset::GlobBuilder::new(text).literal_separator(true).build().unwrap().compile_matcher();
        let patterns = vec![Pattern { glob, whole_path: text.contains('/') }];
        let options = FindOptions { patterns, newer_than: None, older_than: None };
        let mut found = Vec::new();
        let snapshots = repository.snapshots().unwrap();
        find(&repository, &snapshots, &options, &Silent, &mut |snapshot, path, _| {
            found.push((snapshot.id, path.to_vec()));
            Ok(())
        })
        .unwrap();
        found.len()
    };
    assert_eq!(search("link*"), 1 + 2 + 3);
    assert_eq!(search("link0"), 3);
    assert_eq!(search(&format!("{}/below/stays?", root.path().display())), 12);
    assert_eq!(search("/**/stays1"), 3);
    assert_eq!(search("no-such-name"), 0);
}

#[test]
fn verifications_in_parts_come_to_cover_everything() {
    let (bench, _root) = nights();
    let repository = bench.open();
    let all = coverage(&repository).unwrap();
    assert!(all.packs >= 4 && all.never == all.packs && all.oldest_ms.is_none(), "{all:?}");
    let mut rounds = 0;
    while coverage(&repository).unwrap().never > 0 {
        let report = verify(&repository, VerifyDepth::ReadPart(Part::Share(0.2), None), &Silent).unwrap();
        assert_eq!(report.findings, vec![]);
        assert!((report.sound.len() as u64) < report.packs, "all at once");
        assert!(remember(&repository, &report).unwrap());
        rounds += 1;
        assert!(rounds < 20, "it reads the same again and again");
    }
    let covered = coverage(&repository).unwrap();
    assert!(covered.oldest_ms.is_some() && rounds > 1, "{covered:?}");
    // A pack that came later was not read yet.
    bench.backup_stream("dump", text(5, 300_000));
    repository.refresh().unwrap();
    assert!(coverage(&repository).unwrap().never > 0);
    // Whoever may not sign verifies, and leaves no word of it.
    let reader = bench.machine(Role::Read, "drill").open();
    let report = verify(&reader, VerifyDepth::ReadData, &Silent).unwrap();
    assert!(!report.sound.is_empty() && !remember(&reader, &report).unwrap());
    // No time: nothing is read, and that is no damage.
    let none = verify(&repository, VerifyDepth::ReadPart(Part::All, Some(0)), &Silent).unwrap();
    assert_eq!((none.sound.len(), none.findings.len()), (0, 0));
    repository.append(&mut |_| Ok(vec![Operation::Vouch { packs: vec![] }])).unwrap();
}

/// Each level of directories took a frame of the stack; a tree of some thousand levels ended the program.
#[test]
fn a_tree_that_is_deeper_than_a_stack_is_copied() {
    const LEVELS: usize = 1900;
    let (bench, other, root) = (Bench::new(), Bench::new(), tempfile::tempdir().unwrap());
    let deep = root.path().join(vec!["d"; LEVELS].join("/"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("f"), "at the bottom").unwrap();
    bench.backup(&[root.path()]);
    let (from, to) = (bench.open(), other.open());
    // As little as a thread may have.
    let copying = std::thread::Builder::new().stack_size(256 << 10).spawn({
        let (from, to) = (from.clone(), to.clone());
        move || copied(&from, &to).copied.len()
    });
    assert_eq!(copying.unwrap().join().unwrap(), 1);
    let found = to.find_path(&to.snapshots().unwrap()[0].state.root, deep.join("f").to_str().unwrap().as_bytes());
    assert!(found.unwrap().is_some());
}
