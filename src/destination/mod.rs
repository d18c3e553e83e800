//! Where a restore goes: a directory, written through directory handles.
//!
//! Nothing outside of the target's root is ever touched, whatever a snapshot says, whatever stands in the
//! target, and whatever somebody changes in it meanwhile: names are checked when a [`RelativePath`] is
//! built, directories are opened beneath the root without following symbolic links, and every entry is
//! made, replaced or removed by its one name in such a directory. Entries are private (0600, 0700) until they
//! get their attributes, when their bytes are complete; directories get theirs after all their children.
//!
//! All methods may be called from several threads. What is restored, in which order and from where is decided
//! by the caller: a directory is made before what is in it, and its attributes are set last.

mod attributes;
mod beneath;
mod entries;
mod error;
mod exchange;
mod extras;
mod file;
mod lock;
mod look;
mod owner;
mod path;
mod reuse;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::format::tree::{FileNode, FileTime, Metadata};

use attributes::Attributes;
use beneath::{Beneath, Place, kind_at, open_root, stat_at};
use owner::Owners;

pub use entries::{DirectoryMade, Made};
pub use error::{Problem, ProblemKind, TargetError};
pub use exchange::{Exchange, ExchangeError, Leftover, sync_tree};
pub use file::{FileToken, TargetFile};
pub use lock::DirectoryLocks;
pub use look::{Found, Room, room_above};
pub use owner::{BadOwnerMap, OwnerMap, Ownership};
pub use path::RelativePath;
pub use reuse::Existing;

/// What is done with entries that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// The target must be empty.
    #[default]
    Refuse,
    /// They are kept, whatever they are: also what another mode's restore left half done when it crashed.
    Never,
    /// They are replaced unless kind, size and time of modification are as recorded. The time is set last,
    /// so this is how a restore that crashed is resumed.
    IfChanged,
    /// They are replaced.
    Always,
}

/// How a target is written.
#[derive(Debug, Clone)]
pub struct TargetOptions {
    /// How owners are chosen.
    pub ownership: Ownership,
    /// Which owners become others.
    pub owner_map: OwnerMap,
    /// What is done with entries that are there already.
    pub overwrite: Overwrite,
    /// Whether extended attributes and access control lists are set.
    pub xattrs: bool,
    /// Whether long runs of zeros become holes.
    pub sparse: bool,
}

impl Default for TargetOptions {
    fn default() -> Self {
        Self {
            ownership: Ownership::default(),
            owner_map: OwnerMap::default(),
            overwrite: Overwrite::default(),
            xattrs: true,
            sparse: false,
        }
    }
}

/// What to do about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilePlan {
    /// Its bytes are to be written.
    Write,
    /// What is there stays.
    Keep,
}

/// A directory that a restore writes to.
#[derive(Debug, Clone)]
pub struct Target {
    shared: Arc<Shared>,
}

/// What a target and its open files have in common.
#[derive(Debug)]
struct Shared {
    beneath: Beneath,
    attributes: Attributes,
    overwrite: Overwrite,
    sparse: bool,
    /// Where the root is, if `/proc` does not lead from handles to what they are handles of.
    plain: Option<PathBuf>,
    /// The root was made by us.
    made: bool,
    temporaries: AtomicU64,
}

/// Made by `mkfs`, in the root of a new file system: no reason to call a target not empty, nor to remove it.
const LOST_AND_FOUND: &[u8] = b"lost+found";

impl Target {
    /// Opens a directory as target; it and the directories above it are made if they are missing. With
    /// `Overwrite::Refuse` it must be empty. A target that is made here has mode 0700 until
    /// [`Target::finish_directory`] gives its root another.
    pub fn open(path: &Path, options: TargetOptions) -> Result<Self, TargetError> {
        let failed = |source: std::io::Error| TargetError::Open { path: path.to_owned(), source };
        let owners = Owners::new(options.ownership, &options.owner_map)?;
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let made = match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(error)),
            answer => answer.is_ok(),
        };
        let root = open_root(path).map_err(|errno| failed(errno.into()))?;
        let plain = match attributes::proc_leads_to(root.as_fd()) {
            true => None,
            false => Some(std::path::absolute(path).map_err(failed)?),
        };
        let beneath = Beneath::new(root);
        if options.overwrite == Overwrite::Refuse {
            let found =
                entries_of(&beneath.open_readable(&RelativePath::root())?).map_err(|errno| failed(errno.into()))?;
            if found.iter().any(|(name, kind)| name != LOST_AND_FOUND || *kind != FileType::Directory) {
                return Err(TargetError::NotEmpty { path: path.to_owned() });
            }
        }
        let root = rustix::process::geteuid().is_root();
        let attributes = Attributes { owners, xattrs: options.xattrs, root, owners_skipped: AtomicU64::new(0) };
        let (overwrite, sparse) = (options.overwrite, options.sparse);
        let shared = Shared { beneath, attributes, overwrite, sparse, plain, made, temporaries: AtomicU64::new(0) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whether a file is to be written, or what has its name is kept. That something is in the way shows only
    /// when the file is made.
    pub fn plan_file(&self, path: &RelativePath, meta: &Metadata, file: &FileNode) -> Result<FilePlan, TargetError> {
        if matches!(self.shared.overwrite, Overwrite::Refuse | Overwrite::Always) {
            return Ok(FilePlan::Write);
        }
        let place = self.shared.beneath.place(path)?;
        let there = place.stat()?;
        let keep = there.is_some_and(|stat| {
            self.shared.overwrite == Overwrite::Never
                || FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                    && u64::try_from(stat.st_size) == Ok(file.size)
                    && mtime(&stat) == meta.mtime
        });
        Ok(if keep { FilePlan::Keep } else { FilePlan::Write })
    }

    /// Whether the root was made when the target was opened.
    pub fn is_new(&self) -> bool {
        self.shared.made
    }

    /// Entries whose owner was left as it is, because only root can give files away.
    pub fn owners_skipped(&self) -> u64 {
        self.shared.attributes.owners_skipped.load(Ordering::Relaxed)
    }

    /// Waits until everything that was written is on the disk.
    pub fn sync(&self) -> Result<(), TargetError> {
        let root = RelativePath::root();
        let fd = self.shared.beneath.open_readable(&root)?;
        rustix::fs::syncfs(fd).map_err(TargetError::io("sync", &root))
    }
}

impl Shared {
    /// Makes an entry with `make`: under its own name if that is free and `whole` does not ask otherwise,
    /// else, if it may be replaced, under a temporary one to be renamed. Answers with the number of the
    /// temporary name.
    fn make_entry<T>(
        &self,
        place: &Place<'_>,
        whole: bool,
        action: &'static str,
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    ) -> Result<(T, Option<u64>), TargetError> {
        let failed = |errno| TargetError::io(action, place.path)(errno);
        if !whole {
            match make(place.dir.as_fd(), place.name) {
                Ok(made) => return Ok((made, None)),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        self.make_way(place)?;
        loop {
            let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
            match make(place.dir.as_fd(), temporary_name(number).as_bytes()) {
                Ok(made) => return Ok((made, Some(number))),
                // Left behind by a process that had our number.
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
    }

    /// Sees that `place` can be renamed onto.
    fn make_way(&self, place: &Place<'_>) -> Result<(), TargetError> {
        let Some(found) = place.kind()? else { return Ok(()) };
        let in_the_way = |found| TargetError::InTheWay { path: place.path.clone(), found };
        if matches!(self.overwrite, Overwrite::Refuse | Overwrite::Never) {
            return Err(in_the_way(name_of(found)));
        }
        if found == FileType::Directory {
            // An empty one is nobody's loss; all that is in another is removed only by `remove_extra`.
            match rustix::fs::unlinkat(&place.dir, place.name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => return Err(in_the_way("a directory that is not empty")),
                answer => answer.map_err(TargetError::io("replace", place.path))?,
            }
            self.beneath.forget();
        }
        Ok(())
    }

    /// Where an entry of that name is, if it is needed to reach it.
    fn plain_path(&self, place: &Place<'_>, name: &[u8]) -> Option<PathBuf> {
        let mut path = self.plain.clone()?;
        if let Some((parent, _)) = place.path.split() {
            path.push(OsStr::from_bytes(parent));
        }
        path.push(OsStr::from_bytes(name));
        Some(path)
    }

    /// The name an entry has until it is finished.
    fn name_on_disk<'a>(&self, name: &'a [u8], temporary: Option<u64>) -> Cow<'a, [u8]> {
        match temporary {
            None => Cow::Borrowed(name),
            Some(number) => Cow::Owned(temporary_name(number).into_bytes()),
        }
    }
}

impl Place<'_> {
    fn stat(&self) -> Result<Option<Stat>, TargetError> {
        stat_at(self.dir.as_fd(), self.name).map_err(TargetError::io("look at", self.path))
    }

    fn kind(&self) -> Result<Option<FileType>, TargetError> {
        kind_at(self.dir.as_fd(), self.name).map_err(TargetError::io("look at", self.path))
    }

    /// An `O_PATH` handle of the entry itself, even of a symbolic link.
    fn open_entry(&self) -> Result<OwnedFd, TargetError> {
        open_entry(self.dir.as_fd(), self.name).map_err(TargetError::io("open", self.path))
    }
}

fn open_entry(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn temporary_prefix() -> String {
    format!(".strongroom-{:x}-", std::process::id())
}

fn temporary_name(number: u64) -> String {
    format!("{}{number:x}", temporary_prefix())
}

/// Names and kinds of what is in an opened directory; `.` and `..` left out.
fn entries_of(dir: &OwnedFd) -> Result<Vec<(Vec<u8>, FileType)>, Errno> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems do not say it here.
            FileType::Unknown => kind_at(dir.as_fd(), name)?.unwrap_or(FileType::Unknown),
            kind => kind,
        };
        entries.push((name.to_vec(), kind));
    }
    Ok(entries)
}

#[allow(
    clippy::unnecessary_cast,
    clippy::cast_possible_truncation,
    reason = "the fields' types differ between architectures"
)]
fn mtime(stat: &Stat) -> FileTime {
    FileTime { secs: stat.st_mtime as i64, nanos: stat.st_mtime_nsec as u32 }
}

fn name_of(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something",
    }
}
