//! Sets what an entry is besides its bytes: owner, mode, attributes, times.
//!
//! The order is not free:
//!
//! 1. owner: changing it clears setuid, setgid and file capabilities;
//! 2. extended attributes: a file without write permission refuses `user.*` even to its owner, so they come
//!    before the mode; what a default access control list of the directory left behind is removed;
//! 3. mode: setuid and setgid only if the owner is the recorded one;
//! 4. access control lists: they change the mode's bits, which are checked afterwards;
//! 5. times, which all of the above may touch.
//!
//! What cannot be set is a [`Problem`]; the entry is there all the same.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use crate::format::tree::{FileTime, Metadata, Xattr};

use super::error::{Problem, ProblemKind};
use super::owner::Owners;
use super::path::RelativePath;

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const ACL: &[u8] = b"system.posix_acl_";
const CAPABILITY: &[u8] = b"security.capability";

/// The handle of an entry whose attributes are set.
#[derive(Clone, Copy)]
pub(super) enum Handle<'a> {
    /// A file or directory that is open.
    Open(BorrowedFd<'a>),
    /// Any entry, by an `O_PATH | O_NOFOLLOW` handle: devices and pipes must not be opened, links cannot be.
    Path(BorrowedFd<'a>),
    /// As `Path`, and where it stands: without `/proc` nothing else leads from such a handle to all attributes.
    Plain(BorrowedFd<'a>, &'a Path),
}

/// Whether `/proc` leads from a handle to what it is a handle of.
pub(super) fn proc_leads_to(fd: BorrowedFd<'_>) -> bool {
    let (by_proc, itself) = (rustix::fs::stat(Handle::proc_path(fd)), rustix::fs::fstat(fd));
    matches!((by_proc, itself), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}

impl<'a> Handle<'a> {
    /// The handle of an entry that is not open; `plain` says where it is if `/proc` does not.
    pub(super) fn unopened(fd: BorrowedFd<'a>, plain: Option<&'a Path>) -> Self {
        plain.map_or(Self::Path(fd), |path| Self::Plain(fd, path))
    }

    fn proc_path(fd: BorrowedFd<'_>) -> String {
        format!("/proc/self/fd/{}", fd.as_raw_fd())
    }

    fn stat(self) -> Result<Stat, Errno> {
        let (Self::Open(fd) | Self::Path(fd) | Self::Plain(fd, _)) = self;
        rustix::fs::fstat(fd)
    }

    /// Calls `with` for a path by which an entry that is not open can be reached; a link that stands there is followed
    /// or not as `with` does.
    fn by_path<T>(self, with: impl FnOnce(&Path, bool) -> Result<T, Errno>) -> Result<T, Errno> {
        match self {
            Self::Open(fd) | Self::Path(fd) => with(Path::new(&Self::proc_path(fd)), true),
            Self::Plain(fd, path) => {
                let (there, ours) = (rustix::fs::lstat(path)?, rustix::fs::fstat(fd)?);
                // Somebody put another entry there.
                if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino) {
                    return Err(Errno::STALE);
                }
                with(path, false)
            }
        }
    }

    fn chown(self, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        // All ones mean "leave it" to the kernel; as recorded ids they cannot be set.
        if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
            return Err(Errno::INVAL);
        }
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self {
            Self::Open(fd) => rustix::fs::fchown(fd, uid, gid),
            Self::Path(fd) | Self::Plain(fd, _) => rustix::fs::chownat(fd, "", uid, gid, AtFlags::EMPTY_PATH),
        }
    }

    pub(super) fn chmod(self, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd) => rustix::fs::fchmod(fd, mode),
            _ => self.by_path(|path, _| rustix::fs::chmod(path, mode)),
        }
    }

    fn set_xattr(self, xattr: &Xattr) -> Result<(), Errno> {
        let (name, value) = (xattr.name.as_slice(), xattr.value.as_slice());
        match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            _ => self.by_path(|path, follow| match follow {
                true => rustix::fs::setxattr(path, name, value, XattrFlags::empty()),
                false => rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()),
            }),
        }
    }

    fn has_xattr(self, xattr: &Xattr) -> bool {
        let mut value = vec![0; xattr.value.len() + 1];
        let len = match self {
            Self::Open(fd) => rustix::fs::fgetxattr(fd, xattr.name.as_slice(), &mut value[..]),
            _ => self.by_path(|path, follow| match follow {
                true => rustix::fs::getxattr(path, xattr.name.as_slice(), &mut value[..]),
                false => rustix::fs::lgetxattr(path, xattr.name.as_slice(), &mut value[..]),
            }),
        };
        len.is_ok_and(|len| value[..len] == xattr.value)
    }

    fn remove_xattr(self, name: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => rustix::fs::fremovexattr(fd, name),
            _ => self.by_path(|path, follow| match follow {
                true => rustix::fs::removexattr(path, name),
                false => rustix::fs::lremovexattr(path, name),
            }),
        }
    }

    fn list_xattrs(self) -> Result<Vec<u8>, Errno> {
        let list = |buffer: &mut [u8]| match self {
            Self::Open(fd) => rustix::fs::flistxattr(fd, buffer),
            _ => self.by_path(|path, follow| match follow {
                true => rustix::fs::listxattr(path, buffer),
                false => rustix::fs::llistxattr(path, buffer),
            }),
        };
        let mut small = [0; 512];
        match list(&mut small) {
            Ok(len) => Ok(small[..len].to_vec()),
            // The kernel's limit for a list of names.
            Err(Errno::RANGE) => {
                let mut large = vec![0; 64 * 1024];
                let len = list(&mut large)?;
                large.truncate(len);
                Ok(large)
            }
            Err(errno) => Err(errno),
        }
    }

    fn set_times(self, mtime: FileTime) -> Result<(), Errno> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: mtime.secs, tv_nsec: mtime.nanos.min(999_999_999).into() },
        };
        match self {
            Self::Open(fd) => rustix::fs::futimens(fd, &times),
            // Before Linux 5.8 the empty path is not known here.
            Self::Path(fd) | Self::Plain(fd, _) => match rustix::fs::utimensat(fd, "", &times, AtFlags::EMPTY_PATH) {
                Err(Errno::INVAL | Errno::NOENT) => self.by_path(|path, follow| {
                    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
                    rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags)
                }),
                answer => answer,
            },
        }
    }
}

/// What attributes are set, and how.
#[derive(Debug)]
pub(super) struct Attributes {
    pub(super) owners: Owners,
    pub(super) xattrs: bool,
    /// Whoever is not root cannot give files away: expected, and only counted.
    pub(super) root: bool,
    /// Entries whose owner was left as it is for that reason.
    pub(super) owners_skipped: AtomicU64,
}

/// What kind of entry it is, as far as its attributes depend on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    Symlink,
    Other,
}

/// One entry whose attributes are being set.
struct Setting<'a> {
    attributes: &'a Attributes,
    handle: Handle<'a>,
    kind: Kind,
    path: &'a RelativePath,
    problems: Vec<Problem>,
}

/// Whether owner and group are now those of the snapshot.
#[derive(Clone, Copy)]
struct Owned {
    user: bool,
    group: bool,
}

impl Attributes {
    /// Sets everything in `meta`; answers with what could not be set.
    pub(super) fn set(&self, handle: Handle<'_>, kind: Kind, path: &RelativePath, meta: &Metadata) -> Vec<Problem> {
        let mut setting = Setting { attributes: self, handle, kind, path, problems: Vec::new() };
        let owned = setting.owner(meta);
        setting.xattrs(meta, owned);
        if kind != Kind::Symlink {
            let mode = setting.mode(meta, owned);
            setting.acls(meta, mode);
        }
        setting.answer(handle.set_times(meta.mtime), ProblemKind::Times);
        setting.problems
    }
}

impl Setting<'_> {
    fn problem(&mut self, kind: ProblemKind, source: Option<Errno>) {
        self.problems.push(Problem { path: self.path.clone(), kind, source: source.map(Into::into) });
    }

    fn answer(&mut self, answer: Result<(), Errno>, kind: ProblemKind) {
        if let Err(errno) = answer {
            self.problem(kind, Some(errno));
        }
    }

    fn owner(&mut self, meta: &Metadata) -> Owned {
        let (handle, attributes) = (self.handle, self.attributes);
        let wanted = attributes.owners.resolve(&meta.owner);
        if let Some((uid, gid)) = wanted {
            match handle.chown(Some(uid), Some(gid)) {
                Ok(()) => return Owned { user: true, group: true },
                Err(Errno::PERM) if !attributes.root => {
                    attributes.owners_skipped.fetch_add(1, Ordering::Relaxed);
                    // A group of one's own can be given. That it is not one is as expected as the rest.
                    handle.chown(None, Some(gid)).ok();
                }
                Err(errno) => self.problem(ProblemKind::Owner { uid, gid }, Some(errno)),
            }
        }
        let (uid, gid) = wanted.unwrap_or((meta.owner.uid, meta.owner.gid));
        match handle.stat() {
            Ok(stat) => Owned { user: stat.st_uid == uid, group: stat.st_gid == gid },
            Err(_) => Owned { user: false, group: false },
        }
    }

    fn xattrs(&mut self, meta: &Metadata, owned: Owned) {
        if !self.attributes.xattrs {
            return;
        }
        // A symbolic link can have neither attributes of users nor an access control list.
        if self.kind != Kind::Symlink {
            self.remove_unrecorded(meta);
        }
        for xattr in meta.xattrs.iter().filter(|xattr| !xattr.name.starts_with(ACL)) {
            // Like setuid: powers meant for a program of one owner are not given to another's.
            if xattr.name == CAPABILITY && !(owned.user && owned.group) {
                self.problem(ProblemKind::CapabilityLeftOut, None);
                continue;
            }
            match self.handle.set_xattr(xattr) {
                // A label that the system gives to all files of its kind, and only root may set.
                Err(_) if self.handle.has_xattr(xattr) => {}
                answer => self.answer(answer, ProblemKind::Xattr(xattr.name.clone())),
            }
        }
    }

    /// Removes what is there but not recorded: an access control list that a new file inherits, attributes
    /// of a directory that was there before.
    fn remove_unrecorded(&mut self, meta: &Metadata) {
        let names = match self.handle.list_xattrs() {
            Ok(names) => names,
            Err(Errno::NOTSUP) => return,
            Err(errno) => return self.problem(ProblemKind::ExtraXattr(Vec::new()), Some(errno)),
        };
        for name in names.split(|&c| c == 0).filter(|name| name.starts_with(b"user.") || name.starts_with(ACL)) {
            if !meta.xattrs.iter().any(|xattr| xattr.name == name) {
                let answer = self.handle.remove_xattr(name);
                self.answer(answer, ProblemKind::ExtraXattr(name.to_vec()));
            }
        }
    }

    /// Sets the mode and answers with what was meant to be set.
    fn mode(&mut self, meta: &Metadata, owned: Owned) -> u32 {
        let recorded = meta.mode & 0o7777;
        let allowed = match self.kind {
            _ if owned.user && owned.group => SETUID | SETGID,
            // On a directory setgid gives no power, only its group to new entries.
            Kind::Directory if owned.group => SETGID,
            _ => 0,
        };
        let mode = recorded & !((SETUID | SETGID) & !allowed);
        if mode != recorded {
            self.problem(ProblemKind::SetIdLeftOut(recorded), None);
        }
        let answer = self.handle.chmod(mode);
        self.answer(answer, ProblemKind::Mode(mode));
        mode
    }

    fn acls(&mut self, meta: &Metadata, mode: u32) {
        let mut any = false;
        for xattr in meta.xattrs.iter().filter(|xattr| self.attributes.xattrs && xattr.name.starts_with(ACL)) {
            any = true;
            let answer = self.handle.set_xattr(xattr);
            self.answer(answer, ProblemKind::Xattr(xattr.name.clone()));
        }
        let found = || self.handle.stat().map_or(mode, |stat| stat.st_mode & 0o7777);
        if !any || found() == mode || self.handle.chmod(mode).is_ok() && found() == mode {
            return;
        }
        let found = found();
        self.problem(ProblemKind::ModeAfterAcl { expected: mode, found }, None);
    }
}
