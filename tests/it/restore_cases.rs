//! Restores that were met in the field, by this program or by others: what comes back, what is deleted, and what is said.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use crate::program::{Mounted, Strongroom, noise, run, said};

fn inode(path: impl AsRef<Path>) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

fn names(path: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

// --- the root ------------------------------------------------------------------------------------------------------

/// restic#889: a system restored onto a bare disk let nobody but root in, because its `/` was as private as a target is
/// made.
#[test]
fn the_root_of_a_system_gets_its_mode_back() {
    let sr = Strongroom::init();
    // Nothing of `/` but itself.
    sr.expect(0, &["backup", "/", "--exclude", "/*"]);
    sr.expect(0, &["restore", "latest", "--target", "new"]);
    let (root, new) = (fs::metadata("/").unwrap(), fs::metadata(sr.at("new")).unwrap());
    assert_eq!(new.mode(), root.mode());
    assert_eq!((new.mtime(), new.mtime_nsec()), (root.mtime(), root.mtime_nsec()));
    if rustix::process::geteuid().is_root() {
        assert_eq!((new.uid(), new.gid()), (root.uid(), root.gid()));
    }
    // An empty file system that is there already becomes the root too.
    fs::create_dir(sr.at("mnt")).unwrap();
    fs::set_permissions(sr.at("mnt"), fs::Permissions::from_mode(0o700)).unwrap();
    sr.expect(0, &["restore", "latest", "--target", "mnt"]);
    assert_eq!(fs::metadata(sr.at("mnt")).unwrap().mode(), root.mode());
}

/// The same system backed up by its directories; and somebody's own directory that receives a few of them stays as it is.
#[test]
fn a_new_target_is_as_the_root_was_and_one_that_was_there_stays_as_it_is() {
    let sr = Strongroom::init();
    sr.write("d/a", "a");
    sr.write("d/b", "b");
    sr.expect(0, &["backup", "d"]);
    sr.expect(0, &["restore", "latest", "--target", "new"]);
    let root = fs::metadata("/").unwrap().mode();
    assert_eq!(fs::metadata(sr.at("new")).unwrap().mode(), root);
    for (target, from, include) in [("mine", "latest".to_owned(), None), ("part", sr.latest("d"), Some("/a"))] {
        fs::create_dir(sr.at(target)).unwrap();
        fs::set_permissions(sr.at(target), fs::Permissions::from_mode(0o1777)).unwrap();
        let mut args = vec!["restore", &from, "--target", target];
        args.extend(include.iter().flat_map(|i| ["--include", i]));
        sr.expect(0, &args);
        assert_eq!(fs::metadata(sr.at(target)).unwrap().mode() & 0o7777, 0o1777, "{target}");
    }
}

// --- what is asked for ---------------------------------------------------------------------------------------------

/// backrest#802, restic#374: a pattern that matched nothing restored nothing, and that was a success.
#[test]
fn a_pattern_that_matches_nothing_is_an_error_that_says_what_may_be_meant() {
    let sr = Strongroom::init();
    sr.write("d/x[1].txt", "1");
    sr.write("d/sub/conf", "2");
    sr.expect(0, &["backup", "d"]);
    let missed = |pattern: &str| sr.restore(1, "out", &["--include", pattern]);
    let text = missed("/srv");
    assert!(
        text.contains(
            "error: nothing matches --include /srv (patterns with a slash begin at what is restored; try '**/srv')"
        ),
        "{text}"
    );
    let text = missed("/x[1].txt");
    assert!(text.contains(r"try '/x\[1].txt'") && text.contains("hint: "), "{text}");
    let text = missed("nothing");
    assert!(text.contains("nothing matches --include nothing") && !text.contains("slash"), "{text}");
    let quiet = sr.restore(1, "out", &["--include", "/conf", "--include", "sub/*.x", "-q"]);
    assert!(quiet.contains("--include /conf") && quiet.contains("--include sub/*.x"), "{quiet}");
    sr.restore(1, "out", &["--include", "typo", "--dry-run"]);
    assert!(!sr.at("out").exists(), "nothing was begun");
    sr.restore(2, "out", &["--include", ""]);
    // The advice is right.
    sr.restore(0, "out", &["--include", r"/x\[1].txt", "--include", "**/conf"]);
    assert_eq!((sr.read("out/x[1].txt"), sr.read("out/sub/conf")), ("1".to_owned(), "2".to_owned()));
}

#[test]
fn of_several_patterns_what_matches_is_restored_and_the_rest_is_named() {
    let sr = Strongroom::init();
    sr.write("d/a.conf", "1");
    sr.write("d/b", "2");
    sr.write("d/#c", "3");
    sr.expect(0, &["backup", "d"]);
    // One entry may be matched by several.
    sr.restore(0, "one", &["--include", "*.conf", "--include", "/a*", "--include", "#c"]);
    assert_eq!(names(sr.at("one")), ["#c", "a.conf"]);
    let text = sr.restore(3, "two", &["--include", "/b", "--include", "/typo"]);
    assert!(text.contains("nothing matches --include /typo") && sr.at("two/b").exists(), "{text}");
    sr.write("list", "/b\n# a comment\n\n!/typo\n");
    sr.restore(0, "three", &["--include-file", "list"]);
    let text = sr.restore(0, "four", &["--exclude", "typo"]);
    assert!(text.contains("--exclude typo matched nothing"), "{text}");
}

/// A file whose name is no UTF-8 could only be streamed, without its metadata.
#[test]
fn a_single_entry_is_named_by_its_bytes() {
    let sr = Strongroom::init();
    let odd = [&b"\xff*[x] \\"[..], b"new\nline", b"[x]"];
    fs::create_dir(sr.at("d")).unwrap();
    for (i, name) in odd.iter().enumerate() {
        let at = sr.at("d").join(std::ffi::OsStr::from_bytes(name));
        fs::write(&at, [b'0' + i as u8]).unwrap();
        fs::set_permissions(&at, fs::Permissions::from_mode(0o604)).unwrap();
    }
    symlink("to", sr.at("d/x")).unwrap();
    sr.expect(0, &["backup", "d"]);
    for (i, name) in odd.iter().enumerate() {
        let name = std::ffi::OsStr::from_bytes(name);
        let mut part = std::ffi::OsString::from(sr.latest("d/"));
        part.push(name);
        let target = format!("out{i}");
        let output = sr.command(&["restore", "--target", &target]).arg(part).output().unwrap();
        said(0, &["restore"], &output);
        let at = sr.at(&target).join(name);
        assert_eq!(fs::read(&at).unwrap(), [b'0' + i as u8]);
        assert_eq!(fs::metadata(&at).unwrap().mode() & 0o7777, 0o604);
        assert_eq!(names(sr.at(&target)).len(), 1);
    }
}

#[test]
fn what_was_done_is_said_in_one_sentence() {
    let sr = Strongroom::init();
    sr.write("d/a", "abc");
    sr.expect(0, &["backup", "d"]);
    let (dry, wet) = (sr.restore(0, "out", &["-n"]), sr.restore(0, "out", &[]));
    let out = sr.at("out").display().to_string();
    assert!(dry.starts_with("would restore ") && dry.contains(&format!(" into {out}: 1 file, 3 B")), "{dry}");
    assert!(wet.starts_with("restored ") && wet.contains(&format!(" into {out}: 1 file, 3 B")), "{wet}");
    assert!(wet.trim_end().ends_with(" s") || wet.trim_end().ends_with("ms"), "{wet}");
}

#[test]
fn a_host_without_snapshots_is_named_with_those_that_have_some() {
    let sr = Strongroom::init();
    sr.write("d/a", "a");
    for host in ["web9", "vm"] {
        sr.expect(0, &["backup", "d", "--host", host, "--tag", "daily"]);
    }
    let none = |option: &str| sr.expect(1, &["restore", "latest", "--target", "out", option, "nobody"]);
    let text = none("--host");
    assert!(text.contains("error: no snapshot of host nobody; there are: vm, web9"), "{text}");
    assert!(none("--tag").contains("no snapshot of tag nobody; there are: daily"));
    assert!(none("--source").contains(&format!("no snapshot of source nobody; there are: {}", sr.at("d").display())));
    assert!(none("--path").contains(&format!("; there are: {}", sr.at("d").display())));
}

// --- further names -------------------------------------------------------------------------------------------------

/// burp#218: a name that could not be linked was missing. On another file system it is written, once.
#[test]
fn names_on_another_file_system_are_written_there() {
    let sr = Strongroom::init();
    for name in ["d/a/1", "d/b/2", "d/a/3", "d/b/4"] {
        match name {
            "d/a/1" => drop(sr.write(name, "content")),
            name => {
                fs::create_dir_all(sr.at(name).parent().unwrap()).unwrap();
                fs::hard_link(sr.at("d/a/1"), sr.at(name)).unwrap();
            }
        }
    }
    sr.expect(0, &["backup", "d"]);
    let _mounted = Mounted::new(sr.at("t/b"), "1m");
    sr.restore(0, "t", &["--overwrite", "if-changed"]);
    for name in ["t/a/1", "t/b/2", "t/a/3", "t/b/4"] {
        assert_eq!(sr.read(name), "content");
    }
    assert_eq!(inode(sr.at("t/a/1")), inode(sr.at("t/a/3")));
    assert_eq!(inode(sr.at("t/b/2")), inode(sr.at("t/b/4")));
    // Again: all is there.
    assert!(sr.restore(0, "t", &["--overwrite", "if-changed"]).contains("0 files, 0 B"));
}

/// The first name was in the way of a directory, and the others were lost with it; or an old file had that name and could
/// not be replaced, and the others became names of the old file.
#[test]
fn names_do_not_depend_on_the_first_of_them() {
    let sr = Strongroom::init();
    sr.write("d/1", "content");
    sr.write("d/big1", noise(9_000_000));
    for (one, other) in [("d/1", "d/2"), ("d/1", "d/3"), ("d/big1", "d/big2")] {
        fs::hard_link(sr.at(one), sr.at(other)).unwrap();
    }
    sr.expect(0, &["backup", "d"]);
    sr.write("t/1/full", "");
    sr.write("t/big1/full", "");
    let text = sr.restore(3, "t", &["--overwrite", "always"]);
    assert!(text.contains("a directory that is not empty is in the way of 1"), "{text}");
    assert_eq!((sr.read("t/2"), sr.read("t/3")), ("content".to_owned(), "content".to_owned()));
    assert_eq!(inode(sr.at("t/2")), inode(sr.at("t/3")));
    assert!(fs::read(sr.at("t/big2")).unwrap() == noise(9_000_000));
    let old = sr.write("u/1", "old");
    if run("chattr", &["+i", old.to_str().unwrap()]) {
        sr.restore(3, "u", &["--overwrite", "always"]);
        run("chattr", &["-i", old.to_str().unwrap()]);
        assert_eq!(
            (sr.read("u/1"), sr.read("u/2"), sr.read("u/3")),
            ("old".into(), "content".into(), "content".into())
        );
    }
}

/// borg#2379: links, pipes and devices with several names came back as several.
#[test]
fn what_is_no_file_keeps_its_further_names_too() {
    let sr = Strongroom::init();
    fs::create_dir(sr.at("d")).unwrap();
    symlink("x", sr.at("d/s1")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o640);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, sr.at("d/p1"), fifo, mode, 0).unwrap();
    let device = rustix::fs::FileType::CharacterDevice;
    let has_device =
        rustix::fs::mknodat(rustix::fs::CWD, sr.at("d/c1"), device, mode, rustix::fs::makedev(1, 3)).is_ok();
    let kinds: &[&str] = if has_device { &["s", "p", "c"] } else { &["s", "p"] };
    for kind in kinds {
        fs::hard_link(sr.at(&format!("d/{kind}1")), sr.at(&format!("d/{kind}2"))).unwrap();
    }
    sr.expect(0, &["backup", "d"]);
    let together = |target: &str| {
        for kind in kinds {
            assert_eq!(
                inode(sr.at(&format!("{target}/{kind}1"))),
                inode(sr.at(&format!("{target}/{kind}2"))),
                "{kind}"
            );
        }
    };
    sr.restore(0, "out", &[]);
    together("out");
    assert!(fs::symlink_metadata(sr.at("out/p2")).unwrap().file_type().is_fifo());
    // In place, where one name is gone or its own file.
    for (name, overwrite) in [("p1", "if-changed"), ("s2", "if-changed"), ("p2", "always"), ("s1", "always")] {
        fs::remove_file(sr.at("out").join(name)).unwrap();
        fs::write(sr.at("out").join(name), "other").unwrap();
        sr.restore(0, "out", &["--overwrite", overwrite]);
        together("out");
    }
}

// --- what is in the way --------------------------------------------------------------------------------------------

/// duplicacy#429: a directory where a file belongs was neither an extra nor replaced.
#[test]
fn a_directory_where_a_file_belongs_is_an_extra() {
    let sr = Strongroom::init();
    sr.write("d/x", "file");
    sr.write("d/y", "file");
    symlink("x", sr.at("d/l")).unwrap();
    sr.expect(0, &["backup", "d"]);
    for name in ["x", "y", "l"] {
        fs::remove_file(sr.at("d").join(name)).unwrap();
        sr.write(&format!("d/{name}/sub/deep"), "");
    }
    let kept = sr.restore(0, "d", &["--delete", "--yes", "--overwrite", "never"]);
    assert!(!kept.contains("extra") && sr.at("d/x/sub/deep").exists(), "{kept}");
    let said = sr.restore(1, "d", &["--delete"]);
    assert!(said.contains("  x\n") && said.contains("  l\n") && sr.at("d/x/sub/deep").exists(), "{said}");
    sr.restore(0, "d", &["--delete", "--yes", "--include", "/x"]);
    assert!(sr.read("d/x") == "file" && sr.at("d/y/sub/deep").exists());
    // What is left out of the restore is in one of them: it stays, and so does what is in the way.
    sr.restore(3, "d", &["--delete", "--yes", "--exclude", "deep"]);
    assert!(sr.at("d/y/sub/deep").exists());
    sr.restore(0, "d", &["--delete", "--yes", "--overwrite", "always"]);
    assert_eq!((sr.read("d/y"), names(sr.at("d"))), ("file".to_owned(), vec!["l".into(), "x".into(), "y".into()]));
}

/// restic#4757: an immutable file cannot be replaced; what was to replace it stayed beside it, 9 MiB, and was in the next
/// backup.
#[test]
fn a_file_that_cannot_be_replaced_leaves_nothing_beside_it() {
    let sr = Strongroom::init();
    sr.write("d/big", noise(9_000_000));
    sr.write("d/small", "1");
    sr.expect(0, &["backup", "d"]);
    let paths = ["d/big", "d/small"].map(|p| sr.write(p, "v2"));
    if !paths.iter().all(|p| run("chattr", &["+i", p.to_str().unwrap()])) {
        return;
    }
    let said = sr.restore(3, "d", &["--overwrite", "always"]);
    for path in &paths {
        run("chattr", &["-i", path.to_str().unwrap()]);
    }
    assert_eq!(names(sr.at("d")), ["big", "small"]);
    assert!(said.contains("big") && said.contains("0 files, 0 B"), "{said}");
}

// --- extras --------------------------------------------------------------------------------------------------------

/// DSS-7: a backup left out logs, caches and what is long; the restore in place took them for extras and deleted them.
#[test]
fn what_the_backup_left_out_is_no_extra() {
    let sr = Strongroom::init();
    for path in [
        "d/a",
        "d/x.log",
        "d/!x/keep.log",
        "d/#y",
        "d/sub/x.log",
        "d/tmp/t",
        "d/c/CACHEDIR.TAG",
        "d/c/cached",
        "d/n/.nobackup",
        "d/n/data",
        "d/abs/x",
    ] {
        sr.write(path, path);
    }
    sr.write("d/c/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
    sr.write("d/long", noise(5000));
    sr.write("patterns", "/tmp/*\n");
    let absolute = format!("{}/abs", sr.at("d").display());
    let rules = [
        "--exclude",
        "*.log",
        "--exclude",
        "#y",
        "--exclude",
        &absolute,
        "--exclude-file",
        "patterns",
        "--exclude-caches",
        "--exclude-if-present",
        ".nobackup",
        "--exclude-larger-than",
        "4K",
    ];
    sr.expect(0, &[&["backup", "d"][..], &rules].concat());
    fs::remove_file(sr.at("patterns")).unwrap();
    for path in ["d/extra", "d/sub/extra", "d/more/extra", "d/more/x.log", "d/all/of/it", "d/newer-long"] {
        sr.write(path, path);
    }
    sr.write("d/newer-long", noise(5000));
    let dry = sr.restore(0, "d", &["--delete", "--dry-run"]);
    assert!(dry.contains("more/extra would be deleted") && !dry.contains("cached"), "{dry}");
    sr.restore(0, "d", &["--delete", "--yes"]);
    for path in [
        "d/a",
        "d/x.log",
        "d/!x/keep.log",
        "d/#y",
        "d/sub/x.log",
        "d/tmp/t",
        "d/c/cached",
        "d/n/data",
        "d/long",
        "d/abs/x",
        "d/more/x.log",
        "d/newer-long",
    ] {
        assert!(sr.at(path).exists(), "{path}");
    }
    for path in ["d/extra", "d/sub/extra", "d/more/extra", "d/all"] {
        assert!(!sr.at(path).exists(), "{path}");
    }
}

/// `backup -x` leaves out what is mounted below; the restore in place emptied the mounted file system.
#[test]
fn other_file_systems_that_the_backup_left_out_are_left_alone() {
    let sr = Strongroom::init();
    sr.write("d/a", "a");
    fs::create_dir_all(sr.at("d/sub")).unwrap();
    let _mounted = Mounted::new(sr.at("d/sub/mnt"), "1m");
    sr.write("d/sub/mnt/deep/theirs", "x");
    sr.expect(0, &["backup", "-x", "d"]);
    sr.write("d/sub/extra", "x");
    sr.restore(0, "d", &["--delete", "--yes"]);
    assert!(sr.at("d/sub/mnt/deep/theirs").exists() && !sr.at("d/sub/extra").exists());
    // Only the part that holds it, and the very place.
    for part in ["d/sub", "d/sub/mnt"] {
        sr.expect(0, &["restore", &sr.latest(part), "--target", part, "--delete", "--yes"]);
        assert!(sr.at("d/sub/mnt/deep/theirs").exists(), "{part}");
    }
    // Mounted in a directory that came later: what is beside it goes.
    let _other = Mounted::new(sr.at("d/new/mnt"), "1m");
    sr.write("d/new/mnt/theirs", "x");
    sr.write("d/new/extra", "x");
    sr.restore(0, "d", &["--delete", "--yes"]);
    assert!(sr.at("d/new/mnt/theirs").exists() && !sr.at("d/new/extra").exists());
}

// --- room ----------------------------------------------------------------------------------------------------------

/// CC-10: a disk that was too small was found out after hours, when it was full.
#[test]
fn a_target_without_room_is_refused_before_anything_is_written() {
    let sr = Strongroom::init();
    sr.write("d/a", noise(3_000_000));
    sr.write("d/b", noise(3_000_001));
    fs::hard_link(sr.at("d/a"), sr.at("d/c")).unwrap();
    let sparse = fs::File::create(sr.at("d/sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    sr.expect(0, &["backup", "d"]);
    let _mounted = Mounted::new(sr.at("m"), "5m");
    let text = sr.restore(1, "m/t", &[]);
    let at = sr.at("m/t").display().to_string();
    assert!(text.contains(&format!("not enough space in {at}: 5.72 MiB are to be written")), "{text}");
    assert!(text.contains("--no-space-check"), "{text}");
    assert!(!sr.at("m/t").exists(), "no empty directory is left");
    let dry = sr.restore(0, "m/t", &["-n"]);
    assert!(dry.contains("not enough space"), "{dry}");
    let text = sr.restore(1, "m/t", &["--no-space-check"]);
    assert!(text.contains("there is no space left"), "{text}");
    fs::remove_dir_all(sr.at("m/t")).unwrap();
    // A part that fits; and one file.
    sr.restore(0, "m/t", &["--exclude", "/b"]);
    let one = sr.expect(1, &["restore", &sr.latest("d/b"), "--target", "m/one"]);
    assert!(one.contains(&format!("not enough space in {}: ", sr.at("m/one").display())), "{one}");
    assert!(names(sr.at("m/one")).is_empty());
}

/// Only what would be written counts: what is kept does not, what is replaced makes room, and so do extras.
#[test]
fn room_is_counted_by_what_would_be_written() {
    let sr = Strongroom::init();
    sr.write("d/a", noise(3_000_000));
    sr.write("d/sub/b", noise(1_500_000));
    sr.expect(0, &["backup", "d"]);
    let _mounted = Mounted::new(sr.at("m"), "6m");
    sr.restore(0, "m/t", &[]);
    sr.restore(0, "m/t", &["--overwrite", "if-changed"]);
    fs::remove_file(sr.at("m/t/sub/b")).unwrap();
    sr.write("m/t/extra/x", noise(2_400_000));
    let text = sr.restore(1, "m/t", &["--overwrite", "if-changed"]);
    assert!(text.contains("1.43 MiB are to be written"), "{text}");
    sr.restore(0, "m/t", &["--delete", "--yes"]);
    assert_eq!(fs::metadata(sr.at("m/t/sub/b")).unwrap().len(), 1_500_000);
    // Each file system by itself.
    let _other = Mounted::new(sr.at("n/sub"), "1m");
    let text = sr.restore(1, "n", &["--overwrite", "if-changed"]);
    assert!(text.contains(&format!("not enough space in {}", sr.at("n/sub").display())), "{text}");
    assert_eq!(names(sr.at("n")), ["sub"]);
}
