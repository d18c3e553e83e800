//! Claims about the target as a whole. Some need root, and say nothing without it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;
use tempfile::TempDir;

use crate::format::tree::{Content, Node, NodeKind, Owner, Xattr};
use crate::primitives::ids::{ChunkId, ContentId};

use super::*;

const NOBODY: u32 = 65534;
const TIME: FileTime = FileTime { secs: 1_234_567_890, nanos: 123_456_789 };

fn path(text: &str) -> RelativePath {
    RelativePath::parse(text.as_bytes()).unwrap()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn myself() -> Owner {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Owner { uid, gid, ..Owner::default() }
}

fn meta(mode: u32) -> Metadata {
    Metadata { mode, owner: myself(), mtime: TIME, ..Metadata::default() }
}

fn owned(mode: u32, uid: u32, gid: u32) -> Metadata {
    Metadata { owner: Owner { uid, gid, ..Owner::default() }, ..meta(mode) }
}

fn with_xattr(meta: Metadata, name: &str, value: &[u8]) -> Metadata {
    Metadata { xattrs: vec![Xattr { name: name.into(), value: value.into() }], ..meta }
}

fn node(kind: NodeKind) -> Node {
    Node { name: b"node".to_vec(), meta: meta(0o640), kind }
}

fn file_node(size: u64) -> FileNode {
    let content = Content::List(ChunkId([0; 16]));
    FileNode { size, content, content_id: ContentId([0; 16]), sparse: None, changed_while_read: false }
}

fn open_with(dir: &Path, change: impl FnOnce(&mut TargetOptions)) -> Target {
    let mut options = TargetOptions::default();
    change(&mut options);
    Target::open(dir, options).unwrap()
}

fn overwriting(dir: &Path, overwrite: Overwrite) -> Target {
    open_with(dir, |options| options.overwrite = overwrite)
}

fn fresh() -> (TempDir, Target) {
    let dir = tempfile::tempdir().unwrap();
    let target = open_with(dir.path(), |_| ());
    (dir, target)
}

#[track_caller]
fn write(target: &Target, name: &str, meta: &Metadata, bytes: &[u8]) -> Vec<Problem> {
    target.write_file(&path(name), meta, bytes.len() as u64, &[(0, bytes)]).unwrap()
}

#[track_caller]
fn no_problems(problems: Vec<Problem>) {
    assert!(problems.is_empty(), "{problems:?}");
}

#[track_caller]
fn made(answer: Made) -> Vec<Problem> {
    match answer {
        Made::Done(problems) => problems,
        other => panic!("{other:?}"),
    }
}

fn stat(path: impl AsRef<Path>) -> fs::Metadata {
    fs::symlink_metadata(path).unwrap()
}

fn mtime_of(path: impl AsRef<Path>) -> FileTime {
    let stat = stat(path);
    FileTime { secs: stat.mtime(), nanos: stat.mtime_nsec() as u32 }
}

fn mode_of(path: impl AsRef<Path>) -> u32 {
    stat(path).mode() & 0o7777
}

fn xattr(path: impl AsRef<Path>, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1000];
    let len = rustix::fs::lgetxattr(path.as_ref(), name, &mut value[..]).ok()?;
    value.truncate(len);
    Some(value)
}

/// Runs `what` as a user without any power, in a thread of its own: credentials belong to threads.
fn as_nobody<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let run = move || {
        rustix::thread::set_thread_groups(&[]).unwrap();
        rustix::thread::set_thread_gid(rustix::fs::Gid::from_raw(NOBODY)).unwrap();
        rustix::thread::set_thread_uid(rustix::fs::Uid::from_raw(NOBODY)).unwrap();
        what()
    };
    std::thread::spawn(run).join().unwrap()
}

/// A directory and in it `target`, which anybody may write to.
fn for_nobody() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let target = dir.path().join("target");
    fs::create_dir(&target).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o777)).unwrap();
    (dir, target)
}

/// user::rw-, user:4711:r--, group::r--, mask::r--, other::---: as the kernel keeps it, version 2.
fn acl() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 4, 4711), (4, 4, u32::MAX), (0x10, 4, u32::MAX), (0x20, 0, u32::MAX)];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

// --- opening -----------------------------------------------------------------------------------------------

#[test]
fn a_missing_target_is_made_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("a/b");
    open_with(&at, |_| ());
    assert_eq!(mode_of(&at), 0o700);
}

#[test]
fn a_target_that_is_not_empty_is_refused_in_words_that_name_the_option() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    open_with(dir.path(), |_| ());
    fs::write(dir.path().join("a"), "a").unwrap();
    let error = Target::open(dir.path(), TargetOptions::default()).unwrap_err();
    assert!(error.to_string().contains("--overwrite"), "{error}");
    for overwrite in [Overwrite::Never, Overwrite::IfChanged, Overwrite::Always] {
        overwriting(dir.path(), overwrite);
    }
}

#[test]
fn a_target_that_is_a_file_is_an_error_that_names_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Target::open(file.path(), TargetOptions::default()).unwrap_err();
    assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
}

// --- files -------------------------------------------------------------------------------------------------

#[test]
fn a_file_gets_its_bytes_mode_and_time_to_the_nanosecond() {
    let (dir, target) = fresh();
    no_problems(write(&target, "a", &meta(0o4751), b"bytes"));
    let at = dir.path().join("a");
    assert_eq!(fs::read(&at).unwrap(), b"bytes");
    assert_eq!((mode_of(&at), mtime_of(&at)), (0o4751, TIME));
    let early = FileTime { secs: -5, nanos: 999_999_999 };
    no_problems(write(&target, "b", &Metadata { mtime: early, ..meta(0o400) }, b""));
    assert_eq!(mtime_of(dir.path().join("b")), early);
}

#[test]
fn names_that_are_not_text_are_restored() {
    let (dir, target) = fresh();
    let name = b"\xff\xfe\n";
    target.make_directory(&RelativePath::parse(name).unwrap()).unwrap();
    let inner = RelativePath::root().child(name).unwrap().child(b"\x80").unwrap();
    target.write_file(&inner, &meta(0o600), 1, &[(0, b"x")]).unwrap();
    assert_eq!(fs::read(dir.path().join(OsStr::from_bytes(b"\xff\xfe\n/\x80"))).unwrap(), b"x");
}

#[test]
fn an_open_file_is_private_and_may_be_filled_from_many_threads_in_any_order() {
    let (dir, target) = fresh();
    let at = dir.path().join("a");
    let size = 64 * 1000;
    let file = target.create_file(&path("a"), size).unwrap();
    assert_eq!(mode_of(&at), 0o600);
    std::thread::scope(|scope| {
        for i in (0..64u64).rev() {
            let file = &file;
            scope.spawn(move || file.write_at(i * 1000, &[i as u8; 1000]).unwrap());
        }
    });
    no_problems(file.finish(&meta(0o644), size).unwrap());
    let bytes = fs::read(&at).unwrap();
    assert!(bytes.chunks(1000).enumerate().all(|(i, piece)| piece.iter().all(|&b| b == i as u8)));
    assert_eq!((bytes.len() as u64, mode_of(&at), mtime_of(&at)), (size, 0o644, TIME));
}

#[test]
fn a_file_that_is_not_held_open_is_filled_and_finished_by_its_token() {
    for overwrite in [Overwrite::Refuse, Overwrite::Never, Overwrite::Always] {
        let dir = tempfile::tempdir().unwrap();
        let target = overwriting(dir.path(), overwrite);
        target.make_directory(&path("d")).unwrap();
        let at = path("d/a");
        let token = target.create_file(&at, 6).unwrap().token().unwrap();
        target.write_at(&at, &token, 3, b"def").unwrap();
        target.write_at(&at, &token, 0, b"abc").unwrap();
        no_problems(target.finish_file(&at, &token, &meta(0o444), 6).unwrap());
        assert_eq!(fs::read(dir.path().join("d/a")).unwrap(), b"abcdef");
        assert_eq!(fs::read_dir(dir.path().join("d")).unwrap().count(), 1);
    }
}

/// Somebody who may write in the target puts another file, or a link to one outside, in the place of one that
/// is being restored.
#[test]
fn a_file_that_was_swapped_meanwhile_is_not_written() {
    let (dir, target) = fresh();
    let outside = tempfile::NamedTempFile::new_in(dir.path().parent().unwrap()).unwrap();
    fs::write(outside.path(), "outside").unwrap();
    let at = dir.path().join("a");
    let token = target.create_file(&path("a"), 3).unwrap().token().unwrap();
    let swap_in: [fn(&Path, &Path); 4] = [
        |outside, at| fs::hard_link(outside, at).unwrap(),
        |outside, at| symlink(outside, at).unwrap(),
        |_, at| fs::create_dir(at).unwrap(),
        |_, at| rustix::fs::mknodat(rustix::fs::CWD, at, FileType::Fifo, Mode::RWXU, 0).unwrap(),
    ];
    for swap in swap_in {
        fs::remove_file(&at).or_else(|_| fs::remove_dir(&at)).unwrap();
        swap(outside.path(), &at);
        let answer = target.write_at(&path("a"), &token, 0, b"evil");
        assert!(matches!(answer, Err(TargetError::Replaced { .. })), "{answer:?}");
        assert_eq!(fs::read(outside.path()).unwrap(), b"outside");
    }
}

#[test]
fn a_directory_swapped_for_a_symlink_during_the_restore_leads_nowhere() {
    let (dir, target) = fresh();
    let outside = tempfile::tempdir().unwrap();
    let before = mode_of(outside.path());
    target.make_directory(&path("d")).unwrap();
    write(&target, "d/a", &meta(0o600), b"a");
    let token = target.create_file(&path("d/b"), 3).unwrap().token().unwrap();
    fs::rename(dir.path().join("d"), dir.path().join("moved")).unwrap();
    symlink(outside.path(), dir.path().join("d")).unwrap();
    // The handle that is kept still means the real directory; a new one is refused.
    write(&target, "d/c", &meta(0o600), b"c");
    assert!(dir.path().join("moved/c").exists());
    target.shared.beneath.forget();
    let refused = |answer| matches!(answer, Err(TargetError::SymlinkInPath { .. }));
    assert!(refused(target.write_file(&path("d/e"), &meta(0o600), 1, &[(0, b"e")]).map(drop)));
    assert!(refused(target.write_at(&path("d/b"), &token, 0, b"b")));
    assert!(refused(target.finish_directory(&path("d"), &meta(0o777)).map(drop)));
    assert!(refused(target.make_directory(&path("d/sub")).map(drop)));
    assert!(refused(target.make_other(&path("d/p"), &node(NodeKind::Fifo)).map(drop)));
    assert!(refused(target.hard_link(&path("d/l"), &path("moved/a")).map(drop)));
    assert!(refused(target.remove_extra(&path("d/a")).map(drop)));
    assert!(refused(target.list(&path("d")).map(drop)));
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(mode_of(outside.path()), before);
}

#[test]
fn holes_are_kept_if_asked_for() {
    let (dir, _) = fresh();
    let mut bytes = vec![0u8; 4 << 20];
    bytes[1 << 20] = 1;
    for (name, sparse) in [("sparse", true), ("full", false)] {
        let target = open_with(&dir.path().join(name), |options| options.sparse = sparse);
        no_problems(write(&target, "a", &meta(0o600), &bytes));
        let stat = stat(dir.path().join(name).join("a"));
        assert_eq!((stat.len(), stat.blocks() * 512 < 100_000), (4 << 20, sparse));
        assert!(fs::read(dir.path().join(name).join("a")).unwrap() == bytes);
    }
    // Holes of the snapshot itself are places that are never written.
    let target = open_with(&dir.path().join("holes"), |_| ());
    target.write_file(&path("a"), &meta(0o600), 1 << 40, &[(1 << 30, b"data")]).unwrap();
    let stat = stat(dir.path().join("holes/a"));
    assert!(stat.len() == 1 << 40 && stat.blocks() * 512 < 100_000);
}

#[test]
fn a_file_that_cannot_be_completed_is_removed() {
    let (dir, target) = fresh();
    let answer = target.write_file(&path("a"), &meta(0o600), 1 << 62, &[]);
    assert!(matches!(answer, Err(TargetError::Io { .. })), "{answer:?}");
    let file = target.create_file(&path("b"), 3).unwrap();
    file.discard().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

// --- owners and powers -------------------------------------------------------------------------------------

#[test]
fn owners_go_by_name_number_and_map() {
    if !is_root() {
        return;
    }
    let daemon = owner::OwnerMap::give_all_to("daemon").map(|map| Owners::new(Ownership::ByName, &map).unwrap());
    let daemon = daemon.unwrap().resolve(&Owner::default()).unwrap().0;
    let recorded = Owner { uid: 4711, gid: 4712, user: b"daemon".to_vec(), group: b"nobody here".to_vec() };
    let meta = Metadata { owner: recorded, ..meta(0o6755) };
    let mut map = OwnerMap::default();
    map.add("user:daemon=17").unwrap();
    map.add("group:4712=18").unwrap();
    let empty = OwnerMap::default();
    let cases = [
        (Ownership::ByName, &empty, (daemon, 4712), 0o6755),
        (Ownership::ByNumber, &empty, (4711, 4712), 0o6755),
        (Ownership::ByName, &map, (17, 18), 0o6755),
        (Ownership::ByNumber, &map, (17, 18), 0o6755),
        // A setuid program of another must not become one of root.
        (Ownership::None, &empty, (0, rustix::process::getegid().as_raw()), 0o755),
    ];
    for (ownership, map, ids, mode) in cases {
        let dir = tempfile::tempdir().unwrap();
        let target = open_with(dir.path(), |options| {
            options.ownership = ownership;
            options.owner_map = map.clone();
        });
        let problems = write(&target, "a", &meta, b"a");
        assert_eq!(problems.is_empty(), mode == 0o6755, "{problems:?}");
        let stat = stat(dir.path().join("a"));
        assert_eq!(((stat.uid(), stat.gid()), stat.mode() & 0o7777), (ids, mode), "{ownership:?}");
    }
}

#[test]
fn without_root_owners_are_counted_and_setuid_is_left_out() {
    if !is_root() {
        return;
    }
    let (_dir, at) = for_nobody();
    let inside = at.clone();
    let (problems, skipped) = as_nobody(move || {
        let target = open_with(&inside, |_| ());
        let mut problems = write(&target, "theirs", &owned(0o4755, 0, 0), b"a");
        problems.extend(write(&target, "plain", &owned(0o644, 4711, NOBODY), b"a"));
        problems.extend(write(&target, "mine", &owned(0o4755, NOBODY, NOBODY), b"a"));
        (problems, target.owners_skipped())
    });
    assert_eq!(skipped, 2);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].kind, ProblemKind::SetIdLeftOut(0o4755));
    assert_eq!(problems[0].to_string(), "theirs: setuid and setgid of mode 4755 left out: the owner differs");
    assert_eq!((mode_of(at.join("theirs")), stat(at.join("theirs")).uid()), (0o755, NOBODY));
    assert_eq!(mode_of(at.join("mine")), 0o4755);
}

#[test]
fn ids_that_cannot_be_set_are_problems_and_no_panic() {
    let (dir, target) = fresh();
    let problems = write(&target, "a", &owned(0o4755, u32::MAX, u32::MAX), b"a");
    let kinds: Vec<_> = problems.iter().map(|problem| problem.kind.clone()).collect();
    let owner = ProblemKind::Owner { uid: u32::MAX, gid: u32::MAX };
    assert_eq!(kinds, [owner, ProblemKind::SetIdLeftOut(0o4755)]);
    assert_eq!(mode_of(dir.path().join("a")), 0o755);
}

#[test]
fn without_root_a_read_only_file_gets_its_attributes_and_a_read_only_directory_its_children() {
    if !is_root() {
        return;
    }
    let (_dir, at) = for_nobody();
    let inside = at.clone();
    as_nobody(move || {
        let meta = |mode| with_xattr(owned(mode, NOBODY, NOBODY), "user.a", b"value");
        let target = open_with(&inside, |_| ());
        target.make_directory(&path("d")).unwrap();
        no_problems(write(&target, "d/a", &meta(0o444), b"a"));
        no_problems(target.finish_directory(&path("d"), &meta(0o555)).unwrap());
        // And once more into what is there now.
        let target = overwriting(&inside, Overwrite::Always);
        assert_eq!(target.make_directory(&path("d")).unwrap(), DirectoryMade::Existed);
        no_problems(write(&target, "d/a", &meta(0o400), b"b"));
        no_problems(target.finish_directory(&path("d"), &meta(0o555)).unwrap());
    });
    assert_eq!((mode_of(at.join("d")), mode_of(at.join("d/a"))), (0o555, 0o400));
    assert_eq!(xattr(at.join("d"), "user.a").unwrap(), b"value");
}

// --- extended attributes -----------------------------------------------------------------------------------

#[test]
fn attributes_and_access_control_lists_are_set_on_files_and_directories() {
    let (dir, target) = fresh();
    let meta = Metadata {
        xattrs: vec![
            Xattr { name: b"system.posix_acl_access".to_vec(), value: acl() },
            Xattr { name: b"user.\xffname".to_vec(), value: vec![0, 255] },
        ],
        ..meta(0o640)
    };
    no_problems(write(&target, "a", &meta, b"a"));
    target.make_directory(&path("d")).unwrap();
    let mut directory = meta.clone();
    directory.xattrs.insert(1, Xattr { name: b"system.posix_acl_default".to_vec(), value: acl() });
    no_problems(target.finish_directory(&path("d"), &directory).unwrap());
    for name in ["a", "d"] {
        let at = dir.path().join(name);
        assert_eq!(xattr(&at, "system.posix_acl_access"), Some(acl()));
        let mut value = [0; 10];
        assert_eq!(rustix::fs::lgetxattr(&at, &b"user.\xffname"[..], &mut value[..]), Ok(2));
        assert_eq!((mode_of(&at), mtime_of(&at)), (0o640, TIME));
    }
    assert_eq!(xattr(dir.path().join("d"), "system.posix_acl_default"), Some(acl()));
}

#[test]
fn the_recorded_mode_wins_over_an_access_control_list_that_says_otherwise() {
    let (dir, target) = fresh();
    no_problems(write(&target, "a", &with_xattr(meta(0o660), "system.posix_acl_access", &acl()), b"a"));
    assert_eq!(mode_of(dir.path().join("a")), 0o660);
}

#[test]
fn what_a_directory_hands_down_or_had_before_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let default = |at: &Path| {
        rustix::fs::setxattr(at, "system.posix_acl_default", &acl(), XattrFlags::empty()).unwrap();
    };
    default(dir.path());
    let target = open_with(dir.path(), |_| ());
    no_problems(write(&target, "a", &meta(0o664), b"a"));
    target.make_directory(&path("d")).unwrap();
    rustix::fs::setxattr(dir.path().join("d"), "user.old", b"x", XattrFlags::empty()).unwrap();
    no_problems(target.finish_directory(&path("d"), &meta(0o775)).unwrap());
    assert_eq!(xattr(dir.path().join("a"), "system.posix_acl_access"), None);
    assert_eq!(mode_of(dir.path().join("a")), 0o664);
    for name in ["system.posix_acl_default", "system.posix_acl_access", "user.old"] {
        assert_eq!(xattr(dir.path().join("d"), name), None, "{name}");
    }
}

#[test]
fn an_attribute_that_cannot_be_set_is_a_problem_and_the_file_is_there() {
    let (dir, target) = fresh();
    let problems = write(&target, "a", &with_xattr(meta(0o600), "nonsense.a", b""), b"a");
    assert_eq!(problems[0].kind, ProblemKind::Xattr(b"nonsense.a".to_vec()));
    assert_eq!(problems[0].to_string(), "a: cannot set attribute nonsense.a");
    assert!(problems[0].source.is_some());
    let problems = write(&target, "b", &with_xattr(meta(0o600), "user.a\0b", b""), b"a");
    assert_eq!(problems.len(), 1);
    assert_eq!(fs::read(dir.path().join("b")).unwrap(), b"a");
    let target = open_with(&dir.path().join("without"), |options| options.xattrs = false);
    no_problems(write(&target, "a", &with_xattr(meta(0o600), "user.a", b""), b"a"));
    assert_eq!(xattr(dir.path().join("without/a"), "user.a"), None);
}

/// On systems with labels each file has `security.selinux`, mostly the right one; that a user cannot set it
/// again made one problem of every file.
#[test]
fn an_attribute_that_cannot_be_set_but_is_as_recorded_is_no_problem() {
    if !is_root() {
        return;
    }
    let (_dir, at) = for_nobody();
    fs::write(at.join("a"), "a").unwrap();
    std::os::unix::fs::chown(at.join("a"), Some(NOBODY), Some(NOBODY)).unwrap();
    rustix::fs::setxattr(at.join("a"), "security.test", b"label", XattrFlags::empty()).unwrap();
    as_nobody(move || {
        let target = overwriting(&at, Overwrite::IfChanged);
        let labelled = |label| with_xattr(owned(0o600, NOBODY, NOBODY), "security.test", label);
        no_problems(target.refresh_file(&path("a"), &labelled(b"label")).unwrap());
        assert_eq!(target.refresh_file(&path("a"), &labelled(b"lab")).unwrap().len(), 1);
        assert_eq!(target.refresh_file(&path("a"), &labelled(b"labels")).unwrap().len(), 1);
    });
}

#[test]
fn file_capabilities_survive_the_change_of_owner() {
    if !is_root() {
        return;
    }
    let (dir, target) = fresh();
    // Version 2, effective, cap_net_raw permitted.
    let mut capability = vec![1, 0, 0, 2, 0, 0x20, 0, 0];
    capability.resize(20, 0);
    let meta = with_xattr(owned(0o755, 4711, 4712), "security.capability", &capability);
    no_problems(write(&target, "a", &meta, b"a"));
    assert_eq!(xattr(dir.path().join("a"), "security.capability"), Some(capability.clone()));
    let target = open_with(&dir.path().join("none"), |options| options.ownership = Ownership::None);
    let problems = write(&target, "a", &meta, b"a");
    assert_eq!(problems[0].kind, ProblemKind::CapabilityLeftOut);
    assert_eq!(xattr(dir.path().join("none/a"), "security.capability"), None);
}

// --- links, pipes, devices ---------------------------------------------------------------------------------

#[test]
fn symbolic_links_get_owner_time_and_attributes_themselves() {
    let (dir, target) = fresh();
    fs::write(dir.path().join("there"), "x").unwrap();
    let before = (mode_of(dir.path().join("there")), mtime_of(dir.path().join("there")));
    let mut link = node(NodeKind::Symlink(b"there".to_vec()));
    if is_root() {
        link.meta = with_xattr(owned(0o777, 4711, 4712), "trusted.a", b"of the link");
    }
    no_problems(made(target.make_other(&path("l"), &link).unwrap()));
    let at = dir.path().join("l");
    assert_eq!(fs::read_link(&at).unwrap(), Path::new("there"));
    assert_eq!(mtime_of(&at), TIME);
    assert_eq!(stat(&at).uid(), link.meta.owner.uid);
    assert_eq!((mode_of(dir.path().join("there")), mtime_of(dir.path().join("there"))), before);
    if is_root() {
        assert_eq!(xattr(&at, "trusted.a").unwrap(), b"of the link");
        assert_eq!(xattr(dir.path().join("there"), "trusted.a"), None);
    }
    // A link may point anywhere, it is only never followed.
    no_problems(made(target.make_other(&path("out"), &node(NodeKind::Symlink(b"../../\xff".to_vec()))).unwrap()));
    let answer = target.write_file(&path("out/a"), &meta(0o600), 0, &[]);
    assert!(matches!(answer, Err(TargetError::SymlinkInPath { .. })), "{answer:?}");
}

#[test]
fn pipes_and_devices_are_made_and_sockets_skipped() {
    let (dir, target) = fresh();
    no_problems(made(target.make_other(&path("p"), &node(NodeKind::Fifo)).unwrap()));
    let at = dir.path().join("p");
    assert!(stat(&at).file_type().is_fifo());
    assert_eq!((mode_of(&at), mtime_of(&at)), (0o640, TIME));
    assert!(matches!(target.make_other(&path("s"), &node(NodeKind::Socket)), Ok(Made::Skipped)));
    let directory = node(NodeKind::Directory(ChunkId([0; 16])));
    assert!(matches!(target.make_other(&path("x"), &directory), Err(TargetError::WrongKind { .. })));
    if !is_root() {
        return;
    }
    no_problems(made(target.make_other(&path("c"), &node(NodeKind::CharDevice(1, 3))).unwrap()));
    no_problems(made(target.make_other(&path("b"), &node(NodeKind::BlockDevice(259, 300))).unwrap()));
    let (c, b) = (stat(dir.path().join("c")), stat(dir.path().join("b")));
    assert!(c.file_type().is_char_device() && c.rdev() == rustix::fs::makedev(1, 3));
    assert!(b.file_type().is_block_device() && b.rdev() == rustix::fs::makedev(259, 300));
    assert_eq!(mode_of(dir.path().join("b")), 0o640);
    let (_dir, at) = for_nobody();
    as_nobody(move || {
        let target = open_with(&at, |_| ());
        let error = target.make_other(&path("c"), &node(NodeKind::CharDevice(1, 3))).unwrap_err();
        assert_eq!(error.to_string(), "cannot make c");
        no_problems(made(target.make_other(&path("p"), &node(NodeKind::Fifo)).unwrap()));
    });
}

/// A rescue shell or a chroot often has no /proc, by which the attributes of links, pipes and devices are reached:
/// every link was a problem, and pipes kept mode 0600.
#[test]
fn without_proc_attributes_are_set_by_path() {
    let dir = tempfile::tempdir().unwrap();
    let open = |overwrite| {
        let mut target = overwriting(dir.path(), overwrite);
        Arc::get_mut(&mut target.shared).unwrap().plain = Some(dir.path().to_owned());
        target
    };
    let target = open(Overwrite::Always);
    target.make_directory(&path("d")).unwrap();
    for name in ["d/p", "p"] {
        no_problems(made(target.make_other(&path(name), &node(NodeKind::Fifo)).unwrap()));
        // Over what is there, under a temporary name first.
        no_problems(made(target.make_other(&path(name), &node(NodeKind::Fifo)).unwrap()));
        let at = dir.path().join(name);
        assert_eq!((mode_of(&at), mtime_of(&at)), (0o640, TIME));
    }
    no_problems(made(target.make_other(&path("d/l"), &node(NodeKind::Symlink(b"p".to_vec()))).unwrap()));
    assert_eq!(mtime_of(dir.path().join("d/l")), TIME);
    write(&target, "d/a", &meta(0o600), b"abc");
    let target = open(Overwrite::IfChanged);
    no_problems(target.refresh_file(&path("d/a"), &with_xattr(meta(0o4), "user.a", b"x")).unwrap());
    assert_eq!((mode_of(dir.path().join("d/a")), xattr(dir.path().join("d/a"), "user.a").unwrap()), (4, b"x".to_vec()));
}

#[test]
fn hard_links_are_names_of_one_file() {
    let (dir, target) = fresh();
    write(&target, "a", &meta(0o600), b"a");
    target.make_directory(&path("d")).unwrap();
    no_problems(made(target.hard_link(&path("d/b"), &path("a")).unwrap()));
    assert_eq!(stat(dir.path().join("a")).ino(), stat(dir.path().join("d/b")).ino());
    assert_eq!(mtime_of(dir.path().join("a")), TIME);
    // Again into what is there: the same names stay, another file's is replaced.
    fs::write(dir.path().join("other"), "other").unwrap();
    let target = overwriting(dir.path(), Overwrite::Always);
    assert!(matches!(target.hard_link(&path("d/b"), &path("a")), Ok(Made::Kept)));
    made(target.hard_link(&path("other"), &path("a")).unwrap());
    assert_eq!(stat(dir.path().join("a")).nlink(), 3);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    let target = overwriting(dir.path(), Overwrite::Never);
    fs::write(dir.path().join("third"), "third").unwrap();
    assert!(matches!(target.hard_link(&path("third"), &path("a")), Ok(Made::Kept)));
    assert_eq!(fs::read(dir.path().join("third")).unwrap(), b"third");
}

/// A file was replaced through one of its names, and the bytes behind the other, outside of the target, changed.
#[test]
fn replacing_a_file_leaves_its_other_names_alone() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::NamedTempFile::new_in(dir.path().parent().unwrap()).unwrap();
    fs::write(outside.path(), "outside").unwrap();
    fs::hard_link(outside.path(), dir.path().join("a")).unwrap();
    let before = mode_of(outside.path());
    let target = overwriting(dir.path(), Overwrite::Always);
    no_problems(write(&target, "a", &meta(0o666), b"new"));
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"new");
    assert_eq!((fs::read(outside.path()).unwrap(), mode_of(outside.path())), (b"outside".to_vec(), before));
}

// --- overwriting -------------------------------------------------------------------------------------------

fn plan(target: &Target, name: &str, size: u64) -> FilePlan {
    target.plan_file(&path(name), &meta(0o600), &file_node(size)).unwrap()
}

#[test]
fn plans_follow_the_mode_of_overwriting() {
    let dir = tempfile::tempdir().unwrap();
    let first = open_with(dir.path(), |_| ());
    write(&first, "same", &meta(0o600), b"abc");
    write(&first, "later", &Metadata { mtime: FileTime { nanos: 1, ..TIME }, ..meta(0o600) }, b"abc");
    first.make_directory(&path("directory")).unwrap();
    symlink("same", dir.path().join("link")).unwrap();
    let names = ["same", "later", "directory", "link", "missing"];
    let plans = |overwrite| names.map(|name| plan(&overwriting(dir.path(), overwrite), name, 3) == FilePlan::Keep);
    assert_eq!(plans(Overwrite::Never), [true, true, true, true, false]);
    assert_eq!(plans(Overwrite::IfChanged), [true, false, false, false, false]);
    assert_eq!(plans(Overwrite::Always), [false; 5]);
    assert_eq!(plan(&overwriting(dir.path(), Overwrite::IfChanged), "same", 4), FilePlan::Write);
}

#[test]
fn an_existing_file_is_whole_until_the_new_one_is() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "old").unwrap();
    let target = overwriting(dir.path(), Overwrite::IfChanged);
    let file = target.create_file(&path("a"), 3).unwrap();
    file.write_at(0, b"new").unwrap();
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"old");
    assert_eq!(target.list(&RelativePath::root()).unwrap(), [(b"a".to_vec(), false)]);
    no_problems(file.finish(&meta(0o600), 3).unwrap());
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"new");
    target.create_file(&path("a"), 3).unwrap().discard().unwrap();
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"new");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn never_leaves_even_what_came_meanwhile_and_shows_no_half_file() {
    let dir = tempfile::tempdir().unwrap();
    let target = overwriting(dir.path(), Overwrite::Never);
    let file = target.create_file(&path("a"), 3).unwrap();
    assert!(!dir.path().join("a").exists());
    fs::write(dir.path().join("a"), "theirs").unwrap();
    assert!(matches!(file.finish(&meta(0o600), 3), Err(TargetError::InTheWay { .. })));
    file.discard().unwrap();
    assert!(matches!(target.create_file(&path("a"), 3), Err(TargetError::InTheWay { .. })));
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"theirs");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert!(matches!(target.make_other(&path("a"), &node(NodeKind::Fifo)), Ok(Made::Kept)));
}

#[test]
fn what_comes_into_an_empty_target_meanwhile_is_in_the_way() {
    let (dir, target) = fresh();
    symlink("/etc/passwd", dir.path().join("a")).unwrap();
    let error = target.create_file(&path("a"), 3).unwrap_err();
    assert_eq!(error.to_string(), "a symbolic link is in the way of a");
    assert!(matches!(target.make_directory(&path("a")), Err(TargetError::InTheWay { .. })));
}

#[test]
fn a_symlink_in_the_place_of_a_directory_is_replaced_or_in_the_way_and_what_it_names_untouched() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "outside").unwrap();
    let before = mode_of(outside.path());
    for overwrite in [Overwrite::Never, Overwrite::IfChanged, Overwrite::Always] {
        let dir = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("d")).unwrap();
        let target = overwriting(dir.path(), overwrite);
        let answer = target.make_directory(&path("d"));
        if overwrite == Overwrite::Never {
            assert!(matches!(answer, Err(TargetError::InTheWay { .. })), "{answer:?}");
            assert!(target.create_file(&path("d/file"), 3).is_err());
        } else {
            assert_eq!(answer.unwrap(), DirectoryMade::New);
            write(&target, "d/file", &meta(0o600), b"inside");
            no_problems(target.finish_directory(&path("d"), &meta(0o711)).unwrap());
            assert_eq!(mode_of(dir.path().join("d")), 0o711);
        }
        assert_eq!(fs::read(outside.path().join("file")).unwrap(), b"outside");
        assert_eq!(mode_of(outside.path()), before);
    }
}

#[test]
fn kinds_replace_each_other_but_a_full_directory_stays() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "old").unwrap();
    fs::create_dir_all(dir.path().join("full/sub")).unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    symlink("/etc/passwd", dir.path().join("link")).unwrap();
    let target = overwriting(dir.path(), Overwrite::Always);
    assert_eq!(target.make_directory(&path("file")).unwrap(), DirectoryMade::New);
    no_problems(write(&target, "empty", &meta(0o600), b"now a file"));
    no_problems(write(&target, "link", &meta(0o600), b"now a file"));
    no_problems(made(target.make_other(&path("link"), &node(NodeKind::Symlink(b"x".to_vec()))).unwrap()));
    assert_eq!(fs::read_link(dir.path().join("link")).unwrap(), Path::new("x"));
    let error = target.create_file(&path("full"), 1).unwrap_err();
    assert_eq!(error.to_string(), "a directory that is not empty is in the way of full");
    assert_eq!(target.remove_extra(&path("full")).unwrap(), 2);
    no_problems(write(&target, "full", &meta(0o600), b"now a file"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
}

#[test]
fn if_changed_keeps_links_pipes_and_devices_that_are_as_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let link = |to: &str| node(NodeKind::Symlink(to.into()));
    made(open_with(dir.path(), |_| ()).make_other(&path("l"), &link("a")).unwrap());
    let target = overwriting(dir.path(), Overwrite::IfChanged);
    assert!(matches!(target.make_other(&path("l"), &link("a")), Ok(Made::Refreshed(_))));
    made(target.make_other(&path("l"), &link("b")).unwrap());
    assert_eq!(fs::read_link(dir.path().join("l")).unwrap(), Path::new("b"));
    made(target.make_other(&path("l"), &node(NodeKind::Fifo)).unwrap());
    assert!(matches!(target.make_other(&path("l"), &node(NodeKind::Fifo)), Ok(Made::Refreshed(_))));
    // As it is but for its mode.
    fs::set_permissions(dir.path().join("l"), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(target.make_other(&path("l"), &node(NodeKind::Fifo)), Ok(Made::Refreshed(_))));
    assert_eq!(mode_of(dir.path().join("l")), 0o640);
}

#[test]
fn a_kept_file_can_be_given_its_attributes() {
    let dir = tempfile::tempdir().unwrap();
    write(&open_with(dir.path(), |_| ()), "a", &meta(0o600), b"abc");
    symlink("a", dir.path().join("l")).unwrap();
    let target = overwriting(dir.path(), Overwrite::IfChanged);
    no_problems(target.refresh_file(&path("a"), &with_xattr(meta(0o000), "user.a", b"x")).unwrap());
    assert_eq!((mode_of(dir.path().join("a")), mtime_of(dir.path().join("a"))), (0, TIME));
    assert_eq!(xattr(dir.path().join("a"), "user.a").unwrap(), b"x");
    assert!(matches!(target.refresh_file(&path("l"), &meta(0o777)), Err(TargetError::WrongKind { .. })));
}

// --- directories -------------------------------------------------------------------------------------------

#[test]
fn directories_are_private_until_finished_and_the_root_is_one() {
    let (dir, target) = fresh();
    assert_eq!(target.make_directory(&RelativePath::root()).unwrap(), DirectoryMade::Existed);
    assert_eq!(target.make_directory(&path("d")).unwrap(), DirectoryMade::New);
    assert_eq!(mode_of(dir.path().join("d")), 0o700);
    assert_eq!(target.make_directory(&path("d")).unwrap(), DirectoryMade::Existed);
    write(&target, "d/a", &meta(0o600), b"a");
    no_problems(target.finish_directory(&path("d"), &meta(0o3755)).unwrap());
    assert_eq!((mode_of(dir.path().join("d")), mtime_of(dir.path().join("d"))), (0o3755, TIME));
    no_problems(target.finish_directory(&RelativePath::root(), &meta(0o750)).unwrap());
    assert_eq!((mode_of(dir.path()), mtime_of(dir.path())), (0o750, TIME));
    assert!(matches!(target.create_file(&RelativePath::root(), 0), Err(TargetError::WrongKind { .. })));
    target.sync().unwrap();
}

// --- extras ------------------------------------------------------------------------------------------------

#[test]
fn what_is_in_a_directory_is_listed_in_order() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("d/z")).unwrap();
    for name in ["d/b", "d/a", "d/kept"] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    let target = overwriting(dir.path(), Overwrite::Always);
    let names = |at: &RelativePath| -> Vec<(String, bool)> {
        let listed = target.list(at).unwrap().into_iter();
        listed.map(|(name, directory)| (String::from_utf8(name).unwrap(), directory)).collect()
    };
    let expected = [("a", false), ("b", false), ("kept", false), ("z", true)].map(|(n, d)| (n.to_owned(), d));
    assert_eq!(names(&path("d")), expected);
    assert_eq!(names(&RelativePath::root()), [("d".to_owned(), true)]);
}

/// A file of several pieces that could not get its name stayed behind under a temporary one, and was in the next backup.
#[test]
fn a_file_that_cannot_be_finished_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "old").unwrap();
    let target = overwriting(dir.path(), Overwrite::Always);
    let file = target.create_file(&path("a"), 3).unwrap();
    let token = file.token().unwrap();
    file.write_at(0, b"new").unwrap();
    drop(file);
    fs::remove_file(dir.path().join("a")).unwrap();
    fs::create_dir_all(dir.path().join("a/full")).unwrap();
    assert!(target.finish_file(&path("a"), &token, &meta(0o600), 3).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn removing_goes_into_directories_but_never_through_links() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("sub")).unwrap();
    fs::write(outside.path().join("sub/file"), "x").unwrap();
    fs::create_dir_all(dir.path().join("extra/sub/sub")).unwrap();
    for name in ["extra/link", "extra/sub/link", "extra/sub/sub/link", "link"] {
        symlink(outside.path(), dir.path().join(name)).unwrap();
    }
    fs::write(dir.path().join("extra/sub/file"), "x").unwrap();
    fs::create_dir(dir.path().join("stays")).unwrap();
    let target = overwriting(dir.path(), Overwrite::Always);
    assert_eq!(target.remove_extra(&path("extra")).unwrap(), 7);
    assert_eq!(target.remove_extra(&path("link")).unwrap(), 1);
    assert_eq!(target.remove_extra(&path("link")).unwrap(), 0);
    assert!(target.remove_extra(&RelativePath::root()).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert!(outside.path().join("sub/file").exists());
}

#[test]
fn a_very_deep_directory_is_removed_with_few_open_handles() {
    let dir = tempfile::tempdir().unwrap();
    let target = overwriting(dir.path(), Overwrite::Always);
    let mut deep = RelativePath::root();
    for _ in 0..1500 {
        deep.push(b"deeper").unwrap();
        target.make_directory(&deep).unwrap();
    }
    assert_eq!(target.remove_extra(&path("deeper")).unwrap(), 1500);
    assert_eq!(target.make_directory(&path("deeper")).unwrap(), DirectoryMade::New);
    write(&target, "deeper/a", &meta(0o600), b"a");
}

// --- many threads ------------------------------------------------------------------------------------------

#[test]
fn many_threads_restore_into_many_directories_at_once() {
    for walk in [false, true] {
        let (dir, target) = fresh();
        if walk {
            target.shared.beneath.walk_only();
        }
        for d in 0..50 {
            target.make_directory(&path(&format!("d{d}"))).unwrap();
        }
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let target = &target;
                scope.spawn(move || {
                    for i in 0..200 {
                        no_problems(write(target, &format!("d{}/{thread}-{i}", i % 50), &meta(0o644), b"x"));
                    }
                });
            }
        });
        let count = |d| fs::read_dir(dir.path().join(format!("d{d}"))).unwrap().count();
        assert_eq!((0..50).map(count).sum::<usize>(), 1600);
    }
}
