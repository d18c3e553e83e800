//! A tree that takes the place of another one, which is kept beside it.
//!
//! The new tree is restored beside the old one, under a name that says so. Then the two exchange their names in one step,
//! and the old one gets the name under which it is kept. Whenever the process or the machine dies, the place is the old
//! tree or the new one, whole.
//!
//! ```text
//! NAME                     the place
//! NAME.restoring-ID-INODE  a new tree that is being restored; INODE is the number of its own root
//! NAME.before-ID           the old tree, kept
//! ```
//!
//! After the exchange, and before its last name, the old tree is called `NAME.restoring-ID-INODE`, too. It is told from a
//! new one by the number of its root, which is then another one: it is never taken for a tree that may be written to.
//!
//! A file system that cannot exchange names takes two renames. Between them there is nothing at the place; whoever
//! uses this says so beforehand.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with, syncfs};
use rustix::io::Errno;

use crate::primitives::fsync::sync_folder;

use super::look::mount_points_in;

/// Why a directory cannot be exchanged, or was not.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// It has no name, or is a mount point.
    #[error("{} is the root of a file system: it cannot be exchanged", path.display())]
    Root {
        /// The directory.
        path: PathBuf,
    },
    /// Something is mounted below it.
    #[error("{} is mounted below {}: it would stay with the old directory", mount.display(), path.display())]
    MountedBelow {
        /// The directory.
        path: PathBuf,
        /// What is mounted.
        mount: PathBuf,
    },
    /// It is something else.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// What it is called.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ExchangeError + use<> {
    let path = path.to_owned();
    move |source| ExchangeError::File { action, path, source }
}

/// What an earlier exchange left beside the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leftover {
    /// An old tree that had not got its last name; it has it now.
    Kept(PathBuf),
    /// A new tree that was never put in its place.
    Staged(PathBuf),
}

/// A directory that is to give its place to a new one.
#[derive(Debug, Clone)]
pub struct Exchange {
    place: PathBuf,
    parent: PathBuf,
    name: OsString,
    is_there: bool,
}

impl Exchange {
    /// Looks whether what stands at `place` can be exchanged. A symbolic link stands for the directory that it leads to.
    pub fn prepare(place: &Path) -> Result<Self, ExchangeError> {
        let there = match place.canonicalize() {
            Ok(real) => Some(real),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(failed("look at", place)(e)),
        };
        let is_there = there.is_some();
        let place = there.unwrap_or_else(|| place.to_owned());
        if is_there && !place.is_dir() || !is_there && place.is_symlink() {
            return Err(ExchangeError::NotADirectory { path: place });
        }
        let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
            return Err(ExchangeError::Root { path: place });
        };
        let mut mounts = mount_points_in(&place);
        if mounts.contains(&place) {
            return Err(ExchangeError::Root { path: place });
        }
        if let Some(mount) = mounts.pop() {
            return Err(ExchangeError::MountedBelow { path: place, mount });
        }
        Ok(Self { parent: parent.to_owned(), name: name.to_owned(), is_there, place })
    }

    /// The directory itself.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Whether there is one now.
    pub fn is_there(&self) -> bool {
        self.is_there
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.name.clone();
        name.push(ending);
        self.parent.join(name)
    }

    /// The name under which the old tree will be kept.
    pub fn kept(&self, id: &str) -> PathBuf {
        let first = self.beside(&format!(".before-{id}"));
        let more = (2..).map(|n| self.beside(&format!(".before-{id}-{n}")));
        let mut names = std::iter::once(first).chain(more);
        names.find(|path| path.symlink_metadata().is_err()).expect("there are more numbers than entries")
    }

    /// Entries beside the place that are called as new trees are: path, id of the snapshot, whether it is a new tree.
    fn staged_all(&self) -> Result<Vec<(PathBuf, String, bool)>, ExchangeError> {
        let entries = match fs::read_dir(&self.parent) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed("read", &self.parent))?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed("read", &self.parent))?;
            let Some((id, inode)) = self.parse(&entry.file_name()) else { continue };
            let found = entry.metadata().map_err(failed("look at", &entry.path()))?;
            all.extend(found.is_dir().then(|| (entry.path(), id, found.ino() == inode)));
        }
        all.sort();
        Ok(all)
    }

    fn parse(&self, name: &OsStr) -> Option<(String, u64)> {
        let rest = name.as_bytes().strip_prefix(self.name.as_bytes())?.strip_prefix(b".restoring-")?;
        let (id, inode) = std::str::from_utf8(rest).ok()?.rsplit_once('-')?;
        Some((id.to_owned(), u64::from_str_radix(inode, 16).ok()?))
    }

    /// Ends exchanges that were interrupted, and names what restores left that were. Those of `id` go on.
    pub fn settle(&self, id: &str) -> Result<Vec<Leftover>, ExchangeError> {
        let mut found = Vec::new();
        for (path, of, is_new) in self.staged_all()? {
            if !is_new {
                let kept = self.kept(&of);
                fs::rename(&path, &kept).map_err(failed("rename", &path))?;
                found.push(Leftover::Kept(kept));
            } else if of != id {
                found.push(Leftover::Staged(path));
            }
        }
        Ok(found)
    }

    /// A new tree of the snapshot `id` that an interrupted restore left.
    pub fn staged(&self, id: &str) -> Result<Option<PathBuf>, ExchangeError> {
        Ok(self.staged_all()?.into_iter().find(|(_, of, is_new)| of == id && *is_new).map(|(path, ..)| path))
    }

    /// Where the new tree is to be restored: what an interrupted restore left, or a new directory.
    pub fn stage(&self, id: &str) -> Result<PathBuf, ExchangeError> {
        if let Some(path) = self.staged(id)? {
            return Ok(path);
        }
        fs::create_dir_all(&self.parent).map_err(failed("create", &self.parent))?;
        let nameless = self.beside(&format!(".strongroom-{}", std::process::id()));
        // Of a process that had our number and was killed; it is removed only if it is empty.
        let _ = fs::remove_dir(&nameless);
        let made = DirBuilder::new().mode(0o700).create(&nameless);
        made.map_err(failed("create", &nameless))?;
        let inode = fs::metadata(&nameless).map_err(failed("look at", &nameless))?.ino();
        let staged = self.beside(&format!(".restoring-{id}-{inode:x}"));
        fs::rename(&nameless, &staged).map_err(failed("rename", &nameless))?;
        Ok(staged)
    }

    /// Whether the file system can exchange two names in one step.
    pub fn is_in_one_step(&self) -> Result<bool, ExchangeError> {
        let folder = tempfile::Builder::new().prefix(".strongroom-").tempdir_in(&self.parent);
        let folder = folder.map_err(failed("write into", &self.parent))?;
        let (one, other) = (folder.path().join("a"), folder.path().join("b"));
        for path in [&one, &other] {
            fs::create_dir(path).map_err(failed("create", path))?;
        }
        match renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(true),
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::PERM) => Ok(false),
            Err(errno) => Err(failed("exchange names in", &self.parent)(errno.into())),
        }
    }

    /// Puts the new tree in its place, in one step; what was there is then called `kept`. All is on the disk before and
    /// after.
    pub fn put(&self, staged: &Path, kept: &Path) -> Result<(), ExchangeError> {
        sync_tree(staged)?;
        if !self.is_there {
            self.rename(staged, &self.place)?;
            return self.sync();
        }
        let exchanged = renameat_with(CWD, staged, CWD, &self.place, RenameFlags::EXCHANGE);
        exchanged.map_err(|errno| failed("exchange", &self.place)(errno.into()))?;
        self.sync()?;
        self.rename(staged, kept)?;
        self.sync()
    }

    /// As [`Exchange::put`], by two renames: for a moment, there is nothing at the place.
    pub fn put_in_two_steps(&self, staged: &Path, kept: &Path) -> Result<(), ExchangeError> {
        sync_tree(staged)?;
        if self.is_there {
            self.rename(&self.place, kept)?;
        }
        if let Err(e) = self.rename(staged, &self.place) {
            if self.is_there {
                self.rename(kept, &self.place)?;
            }
            return Err(e);
        }
        self.sync()
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), ExchangeError> {
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // The name was free a moment ago; a directory that is not empty is not replaced in any case.
            Err(Errno::INVAL | Errno::NOSYS) => fs::rename(from, to).map_err(failed("rename", from)),
            answer => answer.map_err(|errno| failed("rename", from)(errno.into())),
        }
    }

    fn sync(&self) -> Result<(), ExchangeError> {
        let synced = File::open(&self.parent).and_then(sync_folder);
        synced.map_err(failed("sync", &self.parent))
    }
}

/// Waits until the file system of a directory has everything on its disk.
pub fn sync_tree(path: &Path) -> Result<(), ExchangeError> {
    let opened = File::open(path).map_err(failed("open", path))?;
    syncfs(opened).map_err(|errno| failed("sync", path)(errno.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(path: &Path, word: &str) {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("word"), word).unwrap();
    }

    fn word(path: &Path) -> String {
        fs::read_to_string(path.join("word")).unwrap()
    }

    #[test]
    fn the_new_tree_takes_the_place_and_the_old_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("d");
        tree(&place, "old");
        std::os::unix::fs::symlink("d", folder.path().join("link")).unwrap();
        for (n, kept) in [(1, "d.before-3fa9"), (2, "d.before-3fa9-2")] {
            let exchange = Exchange::prepare(&folder.path().join("link")).unwrap();
            assert!(exchange.place().ends_with("d") && exchange.is_there());
            let staged = exchange.stage("3fa9").unwrap();
            tree(&staged, &format!("new {n}"));
            assert_eq!(exchange.staged("3fa9").unwrap(), Some(staged.clone()));
            let to = exchange.kept("3fa9");
            assert_eq!(to.file_name().unwrap(), kept);
            match exchange.is_in_one_step().unwrap() && n == 1 {
                true => exchange.put(&staged, &to).unwrap(),
                false => exchange.put_in_two_steps(&staged, &to).unwrap(),
            }
            assert_eq!(word(&place), format!("new {n}"));
            assert_eq!(exchange.settle("x").unwrap(), []);
        }
        assert_eq!(word(&folder.path().join("d.before-3fa9")), "old");
        assert_eq!(word(&folder.path().join("d.before-3fa9-2")), "new 1");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4, "nothing else is left");
    }

    #[test]
    fn where_nothing_is_the_new_tree_just_gets_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let exchange = Exchange::prepare(&folder.path().join("a/d")).unwrap();
        let staged = exchange.stage("3fa9").unwrap();
        tree(&staged, "new");
        exchange.put(&staged, &exchange.kept("3fa9")).unwrap();
        assert_eq!(word(exchange.place()), "new");
        assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 1);
    }

    /// Killed between the exchange and the last rename: the old tree still has the name of a new one. Written to, or
    /// deleted as a leftover, it would be lost.
    #[test]
    fn an_old_tree_without_its_last_name_is_not_taken_for_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("d");
        tree(&place, "old");
        let exchange = Exchange::prepare(&place).unwrap();
        let staged = exchange.stage("3fa9").unwrap();
        tree(&staged, "new");
        renameat_with(CWD, &staged, CWD, &place, RenameFlags::EXCHANGE).unwrap();
        assert_eq!(exchange.staged("3fa9").unwrap(), None);
        assert_eq!(exchange.settle("3fa9").unwrap(), [Leftover::Kept(folder.path().join("d.before-3fa9"))]);
        assert_eq!((word(&place), word(&folder.path().join("d.before-3fa9"))), ("new".to_owned(), "old".to_owned()));
        // One of another snapshot that was never put in its place is named.
        let other = exchange.stage("77aa").unwrap();
        assert_eq!(exchange.settle("3fa9").unwrap(), [Leftover::Staged(other)]);
    }

    #[test]
    fn what_cannot_be_exchanged_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        fs::write(&file, "").unwrap();
        assert!(matches!(Exchange::prepare(&file), Err(ExchangeError::NotADirectory { .. })));
        assert!(matches!(Exchange::prepare(Path::new("/")), Err(ExchangeError::Root { .. })));
        assert!(matches!(Exchange::prepare(Path::new("/proc")), Err(ExchangeError::Root { .. })));
    }
}
