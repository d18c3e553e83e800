//! Directories of the target, opened beneath its root and nowhere else.
//!
//! Whatever stands in the target, and whoever changes it during the restore: no symbolic link is followed
//! and no path leaves the root. The kernel is asked to see to it (`openat2`); where it does not know how, each
//! name is opened by itself without following it. Everything else in `target` acts on one name within a
//! directory handle that comes from here.
//!
//! The handles used last are kept: a restore writes many files of one directory in a row. They are `O_PATH`
//! handles: good for making entries, not for reading.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::error::TargetError;
use super::path::{RelativePath, names, split};

/// Directory handles that are kept; some for each thread of a restore.
const KEPT_MAX: usize = 32;

// Without O_NOFOLLOW, so that a link as last name is `ELOOP` like any other and not `ENOTDIR`.
const FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// The root of a target and the handles below it that were used last.
#[derive(Debug)]
pub(super) struct Beneath {
    root: Arc<OwnedFd>,
    /// Joined path and handle, the one used last at the end.
    kept: Mutex<Vec<(Vec<u8>, Arc<OwnedFd>)>>,
    /// `openat2` is not to be had: walk.
    walk: AtomicBool,
}

/// One name within an opened directory.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    /// The directory.
    pub(super) dir: Arc<OwnedFd>,
    /// The name in it: one checked component.
    pub(super) name: &'a [u8],
    /// The whole path, for messages.
    pub(super) path: &'a RelativePath,
}

impl Beneath {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root: Arc::new(root), kept: Mutex::default(), walk: AtomicBool::new(false) }
    }

    /// From now on walks, as where `openat2` is missing.
    #[cfg(test)]
    pub(super) fn walk_only(&self) {
        self.walk.store(true, Ordering::Relaxed);
    }

    /// The handle of a directory.
    #[cfg(test)]
    pub(super) fn directory(&self, path: &RelativePath) -> Result<Arc<OwnedFd>, TargetError> {
        self.handle(path.as_bytes()).map_err(|errno| not_opened(path, errno))
    }

    /// The place of an entry: its directory's handle, and its name.
    pub(super) fn place<'a>(&self, path: &'a RelativePath) -> Result<Place<'a>, TargetError> {
        let (parent, name) = path
            .split()
            .ok_or_else(|| TargetError::WrongKind { path: path.clone(), kind: "the root of the target" })?;
        let dir = self.handle(parent).map_err(|errno| not_opened(&path.parent().unwrap_or_default(), errno))?;
        Ok(Place { dir, name, path })
    }

    /// Opens a directory for reading it and for setting its attributes.
    pub(super) fn open_readable(&self, path: &RelativePath) -> Result<OwnedFd, TargetError> {
        let (dir, name) = match path.split() {
            None => (self.root.clone(), &b"."[..]),
            Some(_) => self.place(path).map(|place| (place.dir, place.name))?,
        };
        open_one(dir.as_fd(), name, OFlags::RDONLY).map_err(|errno| not_opened(path, errno))
    }

    /// Forgets all handles: a directory was replaced or removed, and the names may mean others now.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Vec<u8>, Arc<OwnedFd>)>> {
        self.kept.lock()
    }

    fn kept(&self, joined: &[u8]) -> Option<Arc<OwnedFd>> {
        let mut kept = self.lock();
        let at = kept.iter().rposition(|(path, _)| path == joined)?;
        // Near the end is good enough: no need to move the handles of other threads each time.
        if at + KEPT_MAX / 2 < kept.len() {
            let entry = kept.remove(at);
            kept.push(entry);
            return kept.last().map(|(_, fd)| fd.clone());
        }
        Some(kept[at].1.clone())
    }

    fn handle(&self, joined: &[u8]) -> Result<Arc<OwnedFd>, Errno> {
        if joined.is_empty() {
            return Ok(self.root.clone());
        }
        if let Some(fd) = self.kept(joined) {
            return Ok(fd);
        }
        let parent = split(joined).and_then(|(parent, name)| Some((self.kept(parent)?, name)));
        let fd = match parent {
            Some((parent, name)) => open_one(parent.as_fd(), name, OFlags::PATH)?,
            None => self.resolve(joined)?,
        };
        let fd = Arc::new(fd);
        let mut kept = self.lock();
        if kept.len() == KEPT_MAX {
            kept.remove(0);
        }
        kept.push((joined.to_vec(), fd.clone()));
        Ok(fd)
    }

    fn resolve(&self, joined: &[u8]) -> Result<OwnedFd, Errno> {
        if !self.walk.load(Ordering::Relaxed) {
            match rustix::fs::openat2(&self.root, joined, FLAGS, Mode::empty(), RESOLVE) {
                // EPERM is what old seccomp filters say to calls they do not know.
                Err(Errno::NOSYS | Errno::PERM) => self.walk.store(true, Ordering::Relaxed),
                // Too long for one call, or the kernel is not sure: name by name it can be said.
                Err(Errno::NAMETOOLONG | Errno::AGAIN) => {}
                answer => return answer,
            }
        }
        let mut at: Option<OwnedFd> = None;
        for name in names(joined) {
            let dir = at.as_ref().map_or(self.root.as_fd(), |fd| fd.as_fd());
            at = Some(open_one(dir, name, OFlags::PATH)?);
        }
        at.ok_or(Errno::INVAL)
    }
}

/// Opens the directory `name` within `dir`; a symbolic link is `ELOOP`.
pub(super) fn open_one(dir: BorrowedFd<'_>, name: &[u8], how: OFlags) -> Result<OwnedFd, Errno> {
    let flags = how | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOTDIR if kind_at(dir, name) == Ok(Some(FileType::Symlink)) => Errno::LOOP,
        errno => errno,
    })
}

/// Opens the directory `name` within `dir` for reading unless something is mounted there, be it the same
/// file system again: that is `EXDEV`.
pub(super) fn open_unmounted(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat2(dir, name, flags, Mode::empty(), RESOLVE | ResolveFlags::NO_XDEV) {
        Err(Errno::NOSYS | Errno::PERM) => {
            let fd = open_one(dir, name, OFlags::RDONLY)?;
            let (there, here) = (rustix::fs::fstat(&fd)?, rustix::fs::fstat(dir)?);
            if there.st_dev == here.st_dev { Ok(fd) } else { Err(Errno::XDEV) }
        }
        answer => answer,
    }
}

/// What kind of thing `name` is; `None` if there is nothing.
pub(super) fn kind_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Option<FileType>, Errno> {
    Ok(stat_at(dir, name)?.map(|stat| FileType::from_raw_mode(stat.st_mode)))
}

/// What `name` is, a symbolic link not followed; `None` if there is nothing.
pub(super) fn stat_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Opens the root of a target. It is the user's word, so links in it are followed.
pub(super) fn open_root(path: &std::path::Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn not_opened(path: &RelativePath, errno: Errno) -> TargetError {
    match errno {
        Errno::LOOP | Errno::XDEV => TargetError::SymlinkInPath { path: path.clone() },
        errno => TargetError::io("open directory", path)(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn both_ways() -> Vec<(tempfile::TempDir, Beneath)> {
        let new = |walk: bool| {
            let dir = tempfile::tempdir().unwrap();
            let beneath = Beneath::new(open_root(dir.path()).unwrap());
            if walk {
                beneath.walk_only();
            }
            (dir, beneath)
        };
        vec![new(false), new(true)]
    }

    fn inode(fd: &OwnedFd) -> u64 {
        rustix::fs::fstat(fd).unwrap().st_ino
    }

    #[test]
    fn a_symlink_in_the_path_is_refused_and_not_followed() {
        for (dir, beneath) in both_ways() {
            std::fs::create_dir_all(dir.path().join("real/sub")).unwrap();
            symlink("real", dir.path().join("inside")).unwrap();
            symlink("/etc", dir.path().join("outside")).unwrap();
            for path in ["inside", "inside/sub", "outside", "outside/ssl"] {
                let path = RelativePath::parse(path.as_bytes()).unwrap();
                let answer = beneath.directory(&path);
                assert!(matches!(answer, Err(TargetError::SymlinkInPath { .. })), "{path}: {answer:?}");
                let answer = beneath.open_readable(&path);
                assert!(matches!(answer, Err(TargetError::SymlinkInPath { .. })), "{path}: {answer:?}");
            }
        }
    }

    #[test]
    fn a_path_longer_than_one_call_takes_is_walked() {
        for (dir, beneath) in both_ways() {
            let mut path = RelativePath::root();
            for _ in 0..30 {
                let parent = beneath.directory(&path).unwrap();
                path.push(&[b'x'; 200]).unwrap();
                rustix::fs::mkdirat(&parent, path.name().unwrap(), Mode::RWXU).unwrap();
            }
            beneath.forget();
            assert!(path.as_bytes().len() > 4096);
            beneath.directory(&path).unwrap();
            drop(dir);
        }
    }

    #[test]
    fn handles_used_last_are_kept_and_the_others_opened_again() {
        for (dir, beneath) in both_ways() {
            let paths: Vec<_> =
                (0..100).map(|i| RelativePath::parse(format!("d{i}/sub").as_bytes()).unwrap()).collect();
            let make = |path: &RelativePath| std::fs::create_dir_all(dir.path().join(path.to_string())).unwrap();
            paths.iter().for_each(make);
            let first: Vec<_> = paths.iter().map(|path| inode(&beneath.directory(path).unwrap())).collect();
            let second: Vec<_> = paths.iter().map(|path| inode(&beneath.directory(path).unwrap())).collect();
            assert_eq!(first, second);
            assert_eq!(beneath.lock().len(), KEPT_MAX);
        }
    }

    #[test]
    fn a_missing_directory_is_an_error_that_names_it() {
        for (_dir, beneath) in both_ways() {
            let path = RelativePath::parse(b"a/b").unwrap();
            let answer = beneath.place(&path).unwrap_err();
            assert_eq!(answer.to_string(), "cannot open directory a");
        }
    }
}
