//! Backups that were met in the field, by this program or by others: what is saved, what is read again, what is said.

mod program;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use program::{Mounted, Strongroom, noise, run};

fn saved(sr: &Strongroom, path: &str) -> String {
    sr.expect(0, &["cat", &sr.latest(path)])
}

/// A mounted child that is named is saved, also if the walk of its parent stays on one file system (restic#5281).
#[test]
fn a_named_path_that_no_other_walk_comes_to_is_saved() {
    let sr = Strongroom::init();
    sr.write("srv/a", "a");
    let Some(_mounted) = Mounted::new(sr.at("srv/data"), "2m") else { return };
    sr.write("srv/data/rows", "rows");
    let text = sr.expect(0, &["backup", "-x", "srv", "srv/data"]);
    assert!(!text.contains("is saved with"), "{text}");
    assert_eq!(saved(&sr, "srv/data/rows"), "rows");
    assert_eq!(saved(&sr, "srv/a"), "a");
    // Without -x the walk of the parent comes there.
    let text = sr.expect(0, &["backup", "srv", "srv/data"]);
    assert!(text.contains("srv/data is saved with "), "{text}");
    // What a pattern or a tag leaves out is wanted nevertheless if it is named.
    sr.write("d/cache/keep/x", "x");
    sr.write("d/cache/y", "y");
    sr.write("d/tagged/.nobackup", "");
    sr.write("d/tagged/z/w", "w");
    sr.write("d/log.log", "l");
    let named = ["d", "d/cache/keep", "d/tagged/z", "d/log.log"];
    sr.expect(
        0,
        &[&["backup", "--exclude", "cache", "--exclude", "*.log", "--exclude-if-present", ".nobackup"], &named[..]]
            .concat(),
    );
    assert_eq!(
        (saved(&sr, "d/cache/keep/x"), saved(&sr, "d/tagged/z/w"), saved(&sr, "d/log.log")),
        ("x".into(), "w".into(), "l".into())
    );
    let listed = sr.expect(0, &["ls", &sr.latest("d")]);
    assert!(!listed.contains("cache/y"), "{listed}");
    // Behind a link lies another place.
    sr.write("other/z", "z");
    symlink(sr.at("other"), sr.at("d/link")).unwrap();
    sr.expect(0, &["backup", "d", "d/link/z"]);
    assert_eq!(saved(&sr, "other/z"), "z");
}

/// The repository inside its source stored itself each night (plakar PR 559, rbme#3).
#[test]
fn the_repository_cache_and_state_are_left_out_of_their_own_backup() {
    let sr = Strongroom::init();
    sr.write("docs/d", noise(300_000));
    let here = sr.at(".");
    let here = here.to_str().unwrap();
    let text = sr.expect(0, &["backup", here]);
    for what in ["it is the repository", "it is the cache", "it is the state folder"] {
        assert!(text.contains(what), "{text}");
    }
    let listed = sr.expect(0, &["ls", "latest"]);
    assert!(
        listed.contains("docs/d") && !listed.contains("repo/config") && !listed.contains("cache.sqlite"),
        "{listed}"
    );
    // And none of it is an extra.
    let target = sr.at(".");
    let part = format!("latest:{}", sr.folder.path().display());
    sr.write("docs/extra", "e");
    sr.expect(0, &["restore", &part, "--target", target.to_str().unwrap(), "--delete", "--yes"]);
    assert!(!sr.at("docs/extra").exists() && sr.at("repo/config").exists());
}

/// `/proc` and documents in some mounts say that they are empty and are not (mirage#83).
#[test]
fn what_says_that_it_is_empty_is_read_to_its_end() {
    let sr = Strongroom::init();
    sr.expect(0, &["backup", "/proc/version"]);
    assert_eq!(sr.expect(0, &["cat", "latest:/proc/version"]), fs::read_to_string("/proc/version").unwrap());
    sr.write("d/empty", "");
    sr.expect(0, &["backup", "d"]);
    assert_eq!(saved(&sr, "d/empty"), "");
}

/// One of several paths is missing: the others were not saved either (vykar#104, restic#3369).
#[test]
fn a_path_that_is_missing_does_not_stop_the_others() {
    let sr = Strongroom::init();
    sr.write("a/x", "x");
    let text = sr.expect(3, &["backup", "a", "gone"]);
    assert!(text.contains("/gone: "), "{text}");
    assert_eq!(saved(&sr, "a/x"), "x");
    let text = sr.expect(1, &["backup", "gone", "gone too"]);
    assert!(text.contains("cannot read "), "{text}");
    sr.expect(0, &["backup", "-n", "a", "gone"]);
}

/// A source that is empty tonight and was not yesterday is perhaps not mounted (duplicati#100).
#[test]
fn a_source_that_lost_all_its_files_is_a_warning() {
    let sr = Strongroom::init();
    sr.write("d/x", "x");
    sr.expect(0, &["backup", "d"]);
    fs::remove_file(sr.at("d/x")).unwrap();
    let text = sr.expect(3, &["backup", "d"]);
    assert!(text.contains("holds no files, and had 1 in snapshot "), "{text}");
    sr.expect(0, &["backup", "d"]);
    fs::create_dir(sr.at("new")).unwrap();
    sr.expect(0, &["backup", "new"]);
}

/// A device, pipe or link that was named is saved without content: that was a note, which -q hides.
#[test]
fn a_named_path_without_content_is_a_warning() {
    let sr = Strongroom::init();
    assert!(run("mkfifo", &[sr.at("p").to_str().unwrap()]));
    let text = sr.expect(0, &["backup", "-q", "p"]);
    assert!(text.contains("is a pipe") && text.contains("--from-command"), "{text}");
    symlink("nowhere", sr.at("l")).unwrap();
    let text = sr.expect(0, &["backup", "-q", "l"]);
    assert!(text.contains("is a symbolic link"), "{text}");
}

/// `a/../b` behind a link is another place than it looks like (restic#549).
#[test]
fn two_dots_behind_a_link_lead_where_the_system_goes() {
    let sr = Strongroom::init();
    sr.write("x/b/right", "right");
    sr.write("b/wrong", "wrong");
    fs::create_dir_all(sr.at("x/y")).unwrap();
    symlink("x/y", sr.at("a")).unwrap();
    sr.expect(0, &["backup", "a/../b"]);
    assert_eq!(saved(&sr, "x/b/right"), "right");
}

/// Five names of one file were read five times; the sum of three sparse files of 7 EiB was not the sum (burp#262).
#[test]
fn names_of_one_file_are_read_once_and_sums_do_not_wrap() {
    let sr = Strongroom::init();
    sr.write("d/a", noise(6_000_000));
    for n in 0..4 {
        fs::create_dir_all(sr.at(&format!("d/{n}"))).unwrap();
        fs::hard_link(sr.at("d/a"), sr.at(&format!("d/{n}/name"))).unwrap();
    }
    let text = sr.expect(0, &["backup", "d"]);
    assert!(text.contains("5.72 MiB read"), "{text}");
    sr.restore(0, "out", &[]);
    let inode = |path: &str| fs::metadata(sr.at(path)).unwrap().ino();
    assert_eq!(inode("out/a"), inode("out/3/name"));
    for n in 0..3 {
        let file = fs::File::create(sr.at(&format!("s{n}"))).unwrap();
        if file.set_len(7 << 60).is_err() {
            // Not on every file system.
            return;
        }
    }
    sr.expect(0, &["backup", "s0", "s1", "s2"]);
}
