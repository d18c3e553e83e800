//! What is in the target before it is changed: entries, file systems, room.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::error::TargetError;
use super::path::RelativePath;
use super::{LOST_AND_FOUND, Target, entries_of, temporary_prefix};

/// An entry of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// It is a directory.
    pub is_directory: bool,
    /// It is a regular file.
    pub is_file: bool,
    /// Its length in bytes.
    pub len: u64,
    /// The file system it is on.
    pub device: u64,
    /// Bytes of the disk that removing it makes free: none if it has other names.
    pub frees: u64,
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that may still be written.
    pub bytes: u64,
    /// Entries that may still be made; `None` if that is not limited.
    pub entries: Option<u64>,
}

impl Room {
    /// Whether so many bytes and entries fit.
    pub fn holds(&self, bytes: u64, entries: u64) -> bool {
        bytes <= self.bytes && self.entries.is_none_or(|free| entries <= free)
    }
}

impl Target {
    /// What stands at `path`, a symbolic link not followed.
    pub fn look(&self, path: &RelativePath) -> Result<Option<Found>, TargetError> {
        let stat = if path.is_root() {
            let fd = self.shared.beneath.open_readable(path)?;
            Some(rustix::fs::fstat(&fd).map_err(TargetError::io("look at", path))?)
        } else {
            self.shared.beneath.place(path)?.stat()?
        };
        Ok(stat.map(|stat| {
            let kind = FileType::from_raw_mode(stat.st_mode);
            let is_alone = kind == FileType::Directory || stat.st_nlink == 1;
            Found {
                is_directory: kind == FileType::Directory,
                is_file: kind == FileType::RegularFile,
                len: u64::try_from(stat.st_size).unwrap_or_default(),
                device: stat.st_dev,
                frees: if is_alone { u64::try_from(stat.st_blocks).unwrap_or_default() * 512 } else { 0 },
            }
        }))
    }

    /// Names in a directory and whether each is a directory, in order. Files that are being restored are not among
    /// them, nor the `lost+found` of the root.
    pub fn list(&self, path: &RelativePath) -> Result<Vec<(Vec<u8>, bool)>, TargetError> {
        let dir = self.shared.beneath.open_readable(path)?;
        let found = entries_of(&dir).map_err(TargetError::io("read directory", path))?;
        let ours = temporary_prefix();
        let is_of_target = |(name, kind): &(Vec<u8>, FileType)| {
            let lost_and_found = path.is_root() && name == LOST_AND_FOUND && *kind == FileType::Directory;
            !name.starts_with(ours.as_bytes()) && !lost_and_found
        };
        let found = found.into_iter().filter(is_of_target);
        let mut names: Vec<_> = found.map(|(name, kind)| (name, kind == FileType::Directory)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The room on the file system of a directory of the target.
    pub fn room(&self, path: &RelativePath) -> Result<Room, TargetError> {
        let fd = self.shared.beneath.open_readable(path)?;
        room_of(fd.as_fd(), self.shared.attributes.root).map_err(TargetError::io("learn the free space of", path))
    }

    /// Whether other file systems are mounted below the root, as far as the system tells.
    pub fn has_mounts_below(&self, path: &Path) -> bool {
        let Ok(path) = path.canonicalize() else { return false };
        mount_points_in(&path).iter().any(|point| *point != path)
    }
}

/// Mount points at and below a path without symbolic links, as far as the system tells.
pub(super) fn mount_points_in(path: &Path) -> Vec<PathBuf> {
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.split(|c| *c == b'\n').filter_map(|line| line.split(|c| *c == b' ').nth(4)).map(unescaped);
    points.filter(|point| point.starts_with(path)).collect()
}

/// The room for a directory that is not there yet: that of the nearest one above it.
pub fn room_above(path: &Path) -> Option<Room> {
    let there = path.ancestors().find_map(|at| std::fs::File::open(at).ok())?;
    room_of(there.as_fd(), rustix::process::geteuid().is_root()).ok()
}

fn room_of(fd: std::os::fd::BorrowedFd<'_>, root: bool) -> Result<Room, Errno> {
    let found = rustix::fs::fstatvfs(fd)?;
    let blocks = if root { found.f_bfree } else { found.f_bavail };
    let entries = if root { found.f_ffree } else { found.f_favail };
    // File systems that make room for entries as they go say that they have none at all.
    let entries = (found.f_files > 0).then_some(entries);
    Ok(Room { bytes: blocks.saturating_mul(found.f_frsize), entries })
}

/// A path of `mountinfo`, in which blanks and backslashes are written as octal digits.
fn unescaped(text: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let (mut out, mut rest) = (Vec::new(), text);
    while let [first, after @ ..] = rest {
        let digits = after.get(..3).and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|d| u8::from_str_radix(d, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    std::ffi::OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_is_written_with_octal_digits() {
        assert_eq!(unescaped(br"/mnt/a\040b\134c"), Path::new(r"/mnt/a b\c"));
        assert_eq!(unescaped(br"/x\"), Path::new(r"/x\"));
    }

    #[test]
    fn the_room_of_a_directory_that_is_not_there_is_that_above() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::open(dir.path(), Default::default()).unwrap();
        let (there, above) =
            (target.room(&RelativePath::root()).unwrap(), room_above(&dir.path().join("a/b")).unwrap());
        assert!(there.bytes > 0 && above.bytes > 0);
        assert_eq!(there.entries.is_some(), above.entries.is_some());
    }
}
