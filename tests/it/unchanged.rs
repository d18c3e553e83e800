//! What the next night reads: nothing that is as it was, and everything that may not be.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::harness::{Bench, far_system, options, text};
use strongroom::format::description::Figures;
use strongroom::format::record::{Outcome, Role};
use strongroom::ops::backup::{BackupOptions, Compare, backup};
use strongroom::primitives::progress::Silent;
use strongroom::primitives::system::Scripted;

fn night(bench: &Bench, paths: &[&Path], change: impl FnOnce(&mut BackupOptions)) -> Figures {
    let mut options = options(paths);
    change(&mut options);
    backup(&bench.open(), options, &Silent).unwrap().sources[0].figures
}

fn far() -> Bench {
    Bench { system: far_system(3), ..Bench::new() }
}

fn tree() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("d");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(root.join("a"), text(1, 300_000)).unwrap();
    fs::write(root.join("sub/b"), text(2, 200_000)).unwrap();
    (dir, root)
}

/// A single file, such as an image, was read in full each night (restic#513).
#[test]
fn a_single_file_that_is_unchanged_is_not_read() {
    let (bench, (_dir, root)) = (far(), tree());
    let image = root.join("a");
    assert_eq!(night(&bench, &[&image], |_| ()).bytes_read, 300_000);
    let second = night(&bench, &[&image], |_| ());
    assert_eq!((second.bytes_read, second.files, second.bytes_new), (0, 1, 0));
    let dry = night(&bench, &[&image], |o| o.dry_run = true);
    assert_eq!((dry.bytes, dry.bytes_read), (300_000, 0));
    fs::write(&image, text(3, 300_000)).unwrap();
    assert_eq!(night(&bench, &[&image], |_| ()).bytes_read, 300_000);
    // Files and directories together.
    for (n, read) in [(0, 500_000), (1, 0)] {
        let other = root.join("sub");
        assert_eq!(night(&bench, &[&image, &other], |_| ()).bytes_read, read, "night {n}");
    }
}

/// A time of modification in the future had a file read each night (navidrome#499, pgbackrest#1401).
#[test]
fn a_time_in_the_future_is_one_like_others() {
    let (bench, (_dir, root)) =
        (Bench { system: Arc::new(strongroom::primitives::system::OsSystem), ..Bench::new() }, tree());
    let future = SystemTime::now() + Duration::from_secs(1 << 29);
    fs::File::options().write(true).open(root.join("a")).unwrap().set_modified(future).unwrap();
    // The clock of the second night is what tells: times of change cannot be set.
    let bench = Bench { system: far_system(5), ..bench };
    night(&bench, &[&root], |_| ());
    assert_eq!(night(&bench, &[&root], |_| ()).bytes_read, 0);
}

/// Within two seconds of its change a file may change again without its time showing it, where a file system counts whole
/// seconds (borg#3536). The clock was asked when a file was stored: long ones before it made it look old enough.
#[test]
fn a_file_that_was_changed_just_before_it_was_read_is_read_again() {
    let (_dir, root) = tree();
    let changed = fs::metadata(root.join("a")).unwrap();
    let changed_ms = changed.ctime() * 1000 + changed.ctime_nsec() / 1_000_000;
    for (since_ms, again) in [(1900, true), (500, true), (-1500, true), (4000, false), (-60_000, false)] {
        let bench = Bench { system: Arc::new(Scripted::new(changed_ms + since_ms, 7)), ..Bench::new() };
        night(&bench, &[&root.join("a")], |_| ());
        let read = night(&bench, &[&root.join("a")], |_| ()).bytes_read;
        assert_eq!(read > 0, again, "{since_ms} ms after the change");
    }
}

/// New names, as `cp -al` and nodetool make them, and file systems that give inode numbers anew, made everything look
/// changed (restic#2495, borg#5770).
#[test]
fn times_of_change_and_inode_numbers_can_be_ignored() {
    let (bench, (_dir, root)) = (far(), tree());
    night(&bench, &[&root], |_| ());
    fs::hard_link(root.join("a"), root.join("c")).unwrap();
    fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o604)).unwrap();
    let lax = Compare { ctime: false, inode: true };
    let report = night(&bench, &[&root], |o| o.compare = lax);
    assert_eq!((report.files, report.bytes_read), (3, 300_000), "only the new name is read");
    let (repository, target) = (bench.open(), tempfile::tempdir().unwrap());
    bench.restore(&bench.latest(&repository), target.path(), Some(&root));
    let restored = |name: &str| fs::metadata(target.path().join(name)).unwrap();
    assert_eq!(restored("a").mode() & 0o777, 0o604, "attributes are always read");
    assert_eq!(restored("a").ino(), restored("c").ino());
    assert_eq!(night(&bench, &[&root], |_| ()).bytes_read, 0, "and remembered");

    let times = fs::metadata(root.join("sub/b")).unwrap().modified().unwrap();
    fs::copy(root.join("sub/b"), root.join("sub/new")).unwrap();
    fs::rename(root.join("sub/new"), root.join("sub/b")).unwrap();
    fs::File::options().write(true).open(root.join("sub/b")).unwrap().set_modified(times).unwrap();
    assert_eq!(
        night(&bench, &[&root], |o| {
            o.dry_run = true;
            o.compare = lax
        })
        .bytes_read,
        200_000
    );
    let neither = Compare { ctime: false, inode: false };
    assert_eq!(night(&bench, &[&root], |o| o.compare = neither).bytes_read, 0);
}

/// DSS-6: with a name of its own a source may be mounted elsewhere each night; everything was read again (restic#2246).
#[test]
fn a_source_with_a_name_may_lie_elsewhere_each_night() {
    let (bench, (dir, root)) = (far(), tree());
    let named = |o: &mut BackupOptions| o.source = Some("vol".to_owned());
    night(&bench, &[&root], named);
    let tuesday = dir.path().join("tuesday");
    fs::rename(&root, &tuesday).unwrap();
    let moved = night(&bench, &[&tuesday], named);
    assert_eq!((moved.bytes_read, moved.files), (0, 2));
    let image = tuesday.join("a");
    night(&bench, &[&image], |o| o.source = Some("image".to_owned()));
    fs::rename(&image, tuesday.join("z")).unwrap();
    fs::rename(tuesday.join("z"), dir.path().join("a")).unwrap();
    // The name of the file is a part of it.
    let elsewhere = dir.path().join("a");
    assert_eq!(night(&bench, &[&elsewhere], |o| o.source = Some("image".to_owned())).files, 1);
}

/// With a name of its own a source's roots are counted: when one is left out, none is taken for another, even if files are
/// compared by length and time of modification alone.
#[test]
fn a_root_that_is_left_out_gives_its_number_to_no_other() {
    let (bench, dir) = (far(), tempfile::tempdir().unwrap());
    let roots = ["1", "2"].map(|name| dir.path().join(name));
    for root in &roots {
        fs::create_dir(root).unwrap();
        fs::write(root.join("same"), root.to_str().unwrap()).unwrap();
        let file = fs::File::options().write(true).open(root.join("same")).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000)).unwrap();
    }
    let lax = |o: &mut BackupOptions| {
        o.source = Some("s".to_owned());
        o.compare = Compare { ctime: false, inode: false };
    };
    night(&bench, &[&roots[0], &roots[1]], lax);
    assert_eq!(night(&bench, &[&roots[0], &roots[1]], lax).files_read, 0);
    night(&bench, &[&roots[1]], lax);
    let (repository, target) = (bench.open(), tempfile::tempdir().unwrap());
    bench.restore(&bench.latest(&repository), target.path(), Some(&roots[1]));
    assert_eq!(fs::read_to_string(target.path().join("same")).unwrap(), roots[1].to_str().unwrap());
}

/// Five names of one file of 100 MiB were read five times.
#[test]
fn names_of_one_file_are_read_once() {
    let (bench, (_dir, root)) = (far(), tree());
    fs::write(root.join("long"), text(9, 6_000_000)).unwrap();
    for n in 0..4 {
        fs::hard_link(root.join("long"), root.join(format!("sub/{n}"))).unwrap();
    }
    let first = night(&bench, &[&root], |_| ());
    assert_eq!((first.files, first.bytes, first.bytes_read), (7, 30_500_000, 6_500_000));
    let repository = bench.open();
    let target = tempfile::tempdir().unwrap();
    bench.restore(&bench.latest(&repository), target.path(), Some(&root));
    assert_eq!(crate::harness::difference(&root, target.path()), "");
    assert_eq!(night(&bench, &[&root], |_| ()).bytes_read, 0);
}

/// Snapshots of a subvolume have a new device number each night, and so has everything after a boot: all directories with
/// hard links looked changed, and were stored again (restic#3041).
#[test]
fn device_numbers_make_no_difference() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mounted = |at: &Path| {
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "none"]).arg(at).status().is_ok_and(|s| s.success())
    };
    let unmount = |at: &Path| drop(std::process::Command::new("umount").arg(at).status());
    let bench = far();
    let mut roots = Vec::new();
    for at in [one.path(), other.path()] {
        if !mounted(at) {
            return;
        }
        // The same inode numbers in the same order on each.
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for n in 0..20 {
            fs::write(at.join(format!("{n:02}")), text(n, 100)).unwrap();
            fs::File::options().write(true).open(at.join(format!("{n:02}"))).unwrap().set_modified(time).unwrap();
            fs::hard_link(at.join(format!("{n:02}")), at.join(format!("{n:02} again"))).unwrap();
        }
        fs::File::open(at).unwrap().set_modified(time).unwrap();
        let named = |o: &mut BackupOptions| o.source = Some("vol".to_owned());
        night(&bench, &[at], named);
        let repository = bench.open();
        let snapshot = bench.latest(&repository);
        let node = repository.find_path(&snapshot.state.root, &at.as_os_str().as_encoded_bytes()[1..]).unwrap();
        let Some(strongroom::format::tree::Node { kind: strongroom::format::tree::NodeKind::Directory(id), .. }) = node
        else {
            panic!("{node:?}")
        };
        roots.push(id);
        unmount(at);
    }
    assert_eq!(roots[0], roots[1]);
}

/// A machine that may only add is warned too; that it cannot read what snapshots say stopped its backup.
#[test]
fn a_machine_that_may_only_add_learns_that_all_its_files_are_gone() {
    let (_dir, root) = tree();
    let machine = far().machine(Role::Backup, "db");
    machine.backup(&[&root]);
    for gone in ["a", "sub/b"] {
        fs::remove_file(root.join(gone)).unwrap();
    }
    let report = machine.backup(&[&root]);
    assert_eq!(report.outcome, Outcome::Warnings);
    assert_eq!(machine.backup(&[&root]).outcome, Outcome::Complete);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(machine.backup(&[empty.path()]).outcome, Outcome::Complete);
}
