//! Backups that were met in the field, by this program or by others: what is saved, what is read again, what is said.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;

use crate::harness::files;
use crate::program::{Mounted, Strongroom, noise, run};

fn saved(sr: &Strongroom, path: &str) -> String {
    sr.expect(0, &["cat", &sr.latest(path)])
}

/// A mounted child that is named is saved, also if the walk of its parent stays on one file system (restic#5281).
#[test]
fn a_named_path_that_no_other_walk_comes_to_is_saved() {
    let sr = Strongroom::init();
    sr.write("srv/a", "a");
    let _mounted = Mounted::new(sr.at("srv/data"), "2m");
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

/// What one command found damaged, the next deduplicated against: its snapshot said that it was complete, and restored
/// nothing.
#[test]
fn what_was_found_damaged_is_stored_again_by_the_next_backup() {
    let sr = Strongroom::init();
    sr.write("d/a", noise(3_000_000));
    sr.expect(0, &["backup", "d"]);
    for pack in files(&sr.at("repo/data")).into_keys().map(|name| sr.at("repo/data").join(name)) {
        let pack = &pack;
        let mut bytes = fs::read(pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let mode = fs::metadata(pack).unwrap().permissions();
        fs::remove_file(pack).unwrap();
        fs::write(pack, bytes).unwrap();
        fs::set_permissions(pack, mode).unwrap();
    }
    // Any command that meets it will do.
    let text = sr.restore(3, "hurt", &[]);
    assert!(text.contains("is damaged"), "{text}");
    let text = sr.expect(0, &["backup", "d"]);
    assert!(text.contains("stores again what it needs"), "{text}");
    sr.restore(0, "out", &[]);
    assert_eq!(fs::read(sr.at("out/a")).unwrap(), fs::read(sr.at("d/a")).unwrap());
}

/// Each stream of a run had packs and a record of its own: 14 unchanged dumps took 1.7 MiB a night.
#[test]
fn small_streams_of_a_run_share_packs() {
    let sr = Strongroom::init();
    let dumps: Vec<String> = (0..14).map(|n| format!("db{n}.sql=seq {n} 5000")).collect();
    let mut arguments = vec!["backup"];
    dumps.iter().for_each(|dump| arguments.extend(["--from-command", dump]));
    sr.expect(0, &arguments);
    let size = |sr: &Strongroom| -> usize { files(&sr.at("repo")).into_values().map(|bytes| bytes.len()).sum() };
    let before = size(&sr);
    sr.expect(0, &arguments);
    let all = size(&sr) - before;
    let before = size(&sr);
    sr.expect(0, &["backup", "--from-command", "db0.sql=seq 0 5000"]);
    let one = size(&sr) - before;
    assert!(all <= 2 * one, "14 cost {all} bytes, one costs {one}");
    let listed = sr.expect(0, &["snapshots"]);
    assert_eq!(listed.matches("db13.sql").count(), 2, "{listed}");
    assert_eq!(sr.expect(0, &["cat", "latest:db13.sql", "--source", "db13.sql"]).lines().count(), 4988);
    // One that fails takes nothing from the others.
    let text = sr.expect(3, &["backup", "--from-command", "ok=echo 1", "--from-command", "bad=false"]);
    assert!(text.contains("bad"), "{text}");
    assert_eq!(sr.expect(0, &["cat", "latest:ok", "--source", "ok"]), "1\n");
}

/// A check by root left a record that only root could read, and the owner's nightly job failed from then on (restic#5731);
/// in a repository of a group each member locked the others out (borg#4082).
#[test]
fn what_others_write_into_a_repository_stays_its_owner_s() {
    const NOBODY: u32 = 65534;
    let sr = Strongroom::init();
    if fs::metadata(sr.at("repo")).unwrap().uid() != 0 {
        // Only root can be two users.
        return;
    }
    fs::set_permissions(sr.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(sr.at("theirs")).unwrap();
    std::os::unix::fs::chown(sr.at("theirs"), Some(NOBODY), Some(NOBODY)).unwrap();
    sr.write("d/a", "a");
    fs::copy(env!("CARGO_BIN_EXE_strongroom"), sr.at("program")).unwrap();
    let theirs = sr.at("theirs/repo");
    let run = |nobody: bool, args: &[&str]| {
        let mut command = sr.command(args);
        if nobody {
            // The program may lie where they cannot come to.
            let known: Vec<_> = command.get_envs().filter_map(|(k, v)| Some((k.to_owned(), v?.to_owned()))).collect();
            command = std::process::Command::new(sr.at("program"));
            command.args(args).env_clear().envs(known).current_dir(sr.folder.path()).stdin(std::process::Stdio::null());
            command.env("HOME", sr.at("theirs")).uid(NOBODY).gid(NOBODY);
        }
        command.env("STRONGROOM_REPO", &theirs);
        crate::program::said(0, args, &command.output().unwrap());
    };
    run(true, &["init"]);
    run(true, &["backup", "d"]);
    run(false, &["verify", "--read-data"]);
    run(false, &["backup", "d"]);
    run(true, &["backup", "d"]);
    // A folder of a group.
    let group = |at: &std::path::Path| fs::set_permissions(at, fs::Permissions::from_mode(0o2770)).unwrap();
    group(&sr.at("repo"));
    sr.expect(0, &["backup", "d"]);
    let log = fs::read_dir(sr.at("repo/log")).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    assert_eq!(fs::metadata(log).unwrap().mode() & 0o777, 0o660);
}

/// Who is killed ends none of its commands: a dump lived on and held its locks for days (immich#30824). One that is the
/// command itself is told by the system; what a shell started is ended by the next run.
#[test]
fn no_command_outlives_a_killed_program_for_long() {
    let sr = Strongroom::init();
    let pipe = sr.at("told");
    assert!(run("mkfifo", &[pipe.to_str().unwrap()]));
    let is_there = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    };
    // What the command does once its number is told; a shell's own child is there before that.
    for (told, ended_at_once) in
        [("echo $$ > PIPE; exec sleep 1000", true), ("sleep 1000 & echo $! > PIPE; wait", false)]
    {
        let told = told.replace("PIPE", pipe.to_str().unwrap());
        // More than a pipe holds: when all of it is written, the program has begun to read, and has written the command down.
        let stream = format!("a=head -c 300000 /dev/zero; {told}");
        let mut child = sr.command(&["backup", "-q", "--from-command", &stream]).spawn().unwrap();
        let pid = fs::read_to_string(&pipe).unwrap().trim().to_owned();
        child.kill().unwrap();
        child.wait().unwrap();
        let text = sr.expect(0, &["backup", "--from-command", "b=echo b"]);
        assert!(ended_at_once || text.contains("was still running, and was ended"), "{text}");
        assert!(!is_there(&pid), "{told}");
    }
}

/// All files of one directory were read before the first was stored, and held in memory: no more than the pipeline takes
/// are handed to it.
#[test]
fn a_directory_with_more_files_than_are_read_at_once_is_saved() {
    let sr = Strongroom::init();
    for n in 0..8000 {
        sr.write(&format!("d/{n}"), n.to_string());
    }
    let text = sr.expect(0, &["backup", "d"]);
    assert!(text.contains("8,000 read"), "{text}");
    assert_eq!(saved(&sr, "d/7999"), "7999");
}
