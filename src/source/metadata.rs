//! What is stored of an entry beside its name and content: mode, owner, time, attributes, hard links.
//!
//! All attributes that the caller may read are taken: `user.*`, `security.*` (SELinux, capabilities),
//! `system.posix_acl_*`, and as root `trusted.*`. One that cannot be read is a problem of its entry; the rest
//! is kept. A file system without attributes has none.
//!
//! Names of owners are looked up once per number: the system's answer may come over the network.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::unistd::{Gid, Group, Uid, User};
use parking_lot::RwLock;
use rustix::buffer::spare_capacity;
use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;

use crate::format::tree::{HardLink, Metadata, Owner, Xattr};

use super::directory::Directory;
use super::problem::Problem;
use super::stat::{FileKind, Stat};

/// The most that Linux returns for one value (XATTR_SIZE_MAX) or one list of names (XATTR_LIST_MAX).
const XATTR_LEN_MAX: usize = 65536;

/// Reads the metadata of `name` in `dir`; `.` is the directory itself. `stat` is what was read of it before.
pub fn read_metadata(dir: &Directory, name: &[u8], stat: &Stat, names: &OwnerNames) -> (Metadata, Vec<Problem>) {
    let (xattrs, problems) = read_xattrs(dir, name);
    let link = (stat.kind != FileKind::Directory && stat.nlink > 1)
        .then_some(HardLink { device: stat.device, inode: stat.inode });
    (Metadata { mode: stat.mode, owner: names.owner(stat.uid, stat.gid), mtime: stat.mtime, xattrs, link }, problems)
}

/// Where the symbolic link `name` in `dir` points.
pub fn read_link(dir: &Directory, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes())
}

fn read_xattrs(dir: &Directory, name: &[u8]) -> (Vec<Xattr>, Vec<Problem>) {
    let path = xattr_path(dir, name);
    let (mut xattrs, mut problems) = (Vec::new(), Vec::new());
    let list = match list_xattrs(&path) {
        Ok(list) => list,
        // The entry itself has gone: whoever reads its content or link finds that out and says so.
        Err(Errno::NOENT) => return (xattrs, problems),
        Err(error) => {
            let at = shown_path(dir, name);
            return (xattrs, vec![Problem::attribute(&at, b"list", &error.into())]);
        }
    };
    for attribute in list.split(|&c| c == 0).filter(|a| !a.is_empty()) {
        let mut value = Vec::with_capacity(XATTR_LEN_MAX);
        match rustix::fs::lgetxattr(&path, attribute, spare_capacity(&mut value)) {
            Ok(_) => xattrs.push(Xattr { name: attribute.to_vec(), value: value.as_slice().to_vec() }),
            // Removed since the list was read.
            Err(Errno::NODATA) => {}
            Err(error) => problems.push(Problem::attribute(&shown_path(dir, name), attribute, &error.into())),
        }
    }
    xattrs.sort_unstable();
    xattrs.dedup_by(|a, b| a.name == b.name);
    (xattrs, problems)
}

/// The names, each ended by NUL. Nearly every file has none, which one call without a buffer tells.
fn list_xattrs(path: &Path) -> Result<Vec<u8>, Errno> {
    match rustix::fs::llistxattr_query(path) {
        Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Vec::new()),
        Ok(_) => {
            let mut list = Vec::with_capacity(XATTR_LEN_MAX);
            rustix::fs::llistxattr(path, spare_capacity(&mut list))?;
            Ok(list)
        }
        Err(error) => Err(error),
    }
}

/// A path for calls that know no directory handles.
///
/// Through `/proc/self/fd` the entry is found in the very directory that is open, whatever became of the path to
/// it, and however long that is; opening the entry instead would cost two more calls and fail for links, devices
/// and unreadable files. Without `/proc` the plain path must do.
fn xattr_path(dir: &Directory, name: &[u8]) -> PathBuf {
    static HAS_PROC: OnceLock<bool> = OnceLock::new();
    if *HAS_PROC.get_or_init(|| Path::new("/proc/self/fd").is_dir()) {
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()));
        path.push(OsStr::from_bytes(name));
        path
    } else {
        shown_path(dir, name)
    }
}

fn shown_path(dir: &Directory, name: &[u8]) -> PathBuf {
    if name == b"." { dir.path().to_owned() } else { dir.path().join(OsStr::from_bytes(name)) }
}

/// Names of users and groups by number, each asked for once.
#[derive(Debug)]
pub struct OwnerNames {
    numeric: bool,
    users: RwLock<HashMap<u32, Vec<u8>>>,
    groups: RwLock<HashMap<u32, Vec<u8>>>,
}

impl OwnerNames {
    /// Names as the system knows them.
    pub fn from_system() -> Self {
        Self { numeric: false, users: RwLock::default(), groups: RwLock::default() }
    }

    /// Numbers alone: every name stays empty.
    pub fn numeric() -> Self {
        Self { numeric: true, ..Self::from_system() }
    }

    /// The owner with these numbers.
    pub fn owner(&self, uid: u32, gid: u32) -> Owner {
        if self.numeric {
            return Owner { uid, gid, ..Owner::default() };
        }
        let user = cached(&self.users, uid, |id| Some(User::from_uid(Uid::from_raw(id)).ok()??.name));
        let group = cached(&self.groups, gid, |id| Some(Group::from_gid(Gid::from_raw(id)).ok()??.name));
        Owner { uid, gid, user, group }
    }
}

fn cached(table: &RwLock<HashMap<u32, Vec<u8>>>, id: u32, look_up: impl Fn(u32) -> Option<String>) -> Vec<u8> {
    if let Some(name) = table.read().get(&id) {
        return name.clone();
    }
    let name = look_up(id).unwrap_or_default().into_bytes();
    table.write().insert(id, name.clone());
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{XattrFlags, lsetxattr};

    fn metadata(dir: &Path, name: &[u8]) -> Metadata {
        let dir = Directory::open(dir).unwrap();
        let stat = dir.stat(name).unwrap();
        let (meta, problems) = read_metadata(&dir, name, &stat, &OwnerNames::from_system());
        assert_eq!(problems, vec![]);
        meta
    }

    #[test]
    fn attributes_and_acls_come_sorted_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let name = b"\xffname";
        let path = dir.path().join(OsStr::from_bytes(name));
        std::fs::write(&path, b"").unwrap();
        // Version 2, then tag, permissions and id of each entry: the bytes that setfacl writes for u:12:rw.
        let acl: Vec<u8> = [
            &2u32.to_le_bytes()[..],
            &[1, 0, 6, 0, 255, 255, 255, 255],
            &[2, 0, 6, 0, 12, 0, 0, 0],
            &[4, 0, 4, 0, 255, 255, 255, 255],
            &[16, 0, 6, 0, 255, 255, 255, 255],
            &[32, 0, 4, 0, 255, 255, 255, 255],
        ]
        .concat();
        lsetxattr(&path, "user.zebra", b"", XattrFlags::empty()).unwrap();
        lsetxattr(&path, "user.ant", &[0, 255], XattrFlags::empty()).unwrap();
        lsetxattr(&path, "system.posix_acl_access", &acl, XattrFlags::empty()).unwrap();
        let expected = [
            (&b"system.posix_acl_access"[..], &acl[..]),
            (&b"user.ant"[..], &[0, 255][..]),
            (&b"user.zebra"[..], &b""[..]),
        ];
        let found = metadata(dir.path(), name).xattrs;
        let found: Vec<_> = found.iter().map(|x| (&x.name[..], &x.value[..])).collect();
        assert_eq!(found.into_iter().filter(|x| !x.0.starts_with(b"security.")).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_directory_tells_its_own_attributes() {
        let dir = tempfile::tempdir().unwrap();
        lsetxattr(dir.path(), "user.own", b"1", XattrFlags::empty()).unwrap();
        let meta = metadata(dir.path(), b".");
        assert!(meta.xattrs.contains(&Xattr { name: b"user.own".to_vec(), value: b"1".to_vec() }));
        assert_eq!(meta.link, None, "a directory's many links are no hard links");
    }

    #[test]
    fn a_link_is_read_and_its_target_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("target"), b"").unwrap();
        lsetxattr(dir.path().join("target"), "user.a", b"1", XattrFlags::empty()).unwrap();
        std::os::unix::fs::symlink(OsStr::from_bytes(b"tar\xffget"), dir.path().join("odd")).unwrap();
        std::os::unix::fs::symlink("target", dir.path().join("link")).unwrap();
        assert!(metadata(dir.path(), b"link").xattrs.iter().all(|x| x.name != b"user.a"));
        assert_eq!(read_link(&Directory::open(dir.path()).unwrap(), b"odd").unwrap(), b"tar\xffget");
    }

    #[test]
    fn two_names_of_one_file_share_their_link() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), b"").unwrap();
        assert_eq!(metadata(dir.path(), b"a").link, None);
        std::fs::hard_link(dir.path().join("a"), dir.path().join("b")).unwrap();
        let link = metadata(dir.path(), b"a").link;
        assert!(link.is_some());
        assert_eq!(metadata(dir.path(), b"b").link, link);
    }

    #[test]
    fn a_file_system_without_attributes_has_none() {
        assert_eq!(metadata(Path::new("/proc/self/"), b"status").xattrs, vec![]);
    }

    /// Root reads everything, so the thread gives its privileges up first.
    #[test]
    fn an_attribute_that_may_not_be_read_is_a_problem_and_the_rest_is_kept() {
        use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, b"").unwrap();
        lsetxattr(&path, "user.a", b"1", XattrFlags::empty()).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
        let read = || {
            let mut sets = capabilities(None).unwrap();
            sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
            set_capabilities(None, sets).unwrap();
            let dir = Directory::open(dir.path()).unwrap();
            read_metadata(&dir, b"a", &dir.stat(b"a").unwrap(), &OwnerNames::numeric())
        };
        let (meta, problems) = std::thread::scope(|scope| scope.spawn(read).join().unwrap());
        assert!(meta.xattrs.iter().all(|x| x.name != b"user.a"));
        assert_eq!(problems.len(), 1);
        assert_eq!(
            problems[0].to_string(),
            format!("{}: extended attribute user.a: permission denied", path.display())
        );
    }

    #[test]
    fn owners_have_names_where_the_system_knows_them() {
        let names = OwnerNames::from_system();
        assert_eq!(names.owner(0, 0).user, b"root");
        assert_eq!(names.owner(0, 0), names.owner(0, 0));
        assert_eq!(names.owner(3_999_999_999, 3_999_999_999).user, b"");
        assert_eq!(OwnerNames::numeric().owner(0, 0), Owner::default());
    }
}
