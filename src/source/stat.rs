//! What the system says of a file, without its content and attributes.
//!
//! One `statx` per entry, relative to an open directory and never through a symbolic link, so that an entry
//! swapped for a link is seen as the link it is. Times keep their nanoseconds.
//!
//! Extended attributes and the names of owners cost more calls; they are `metadata`'s.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp};

use crate::format::tree::FileTime;

/// What kind of thing an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FileKind {
    /// A regular file.
    #[default]
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A socket.
    Socket,
}

/// An entry's stat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stat {
    /// Kind of entry.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky (07777).
    pub mode: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Logical length in bytes.
    pub size: u64,
    /// Blocks of 512 bytes that are allocated.
    pub blocks: u64,
    /// Time of last modification of the content.
    pub mtime: FileTime,
    /// Time of last change of content or metadata.
    pub ctime: FileTime,
    /// Device the entry is on.
    pub device: u64,
    /// Inode number on that device.
    pub inode: u64,
    /// Names the inode has.
    pub nlink: u64,
    /// Major number, of a device only.
    pub rdev_major: u32,
    /// Minor number, of a device only.
    pub rdev_minor: u32,
}

impl Stat {
    /// Whether fewer bytes are allocated than the length says: the only files worth asking for holes.
    pub fn may_have_holes(&self) -> bool {
        self.kind == FileKind::File && self.blocks.saturating_mul(512) < self.size
    }
}

/// Reads the stat of `name` in the directory `dir`, not following a symbolic link.
pub fn stat_at<P: rustix::path::Arg>(dir: impl AsFd, name: P) -> std::io::Result<Stat> {
    // Without NO_AUTOMOUNT, looking at an automount point would mount it.
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    Ok(from_statx(&rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS)?))
}

/// Reads the stat of what `fd` is open on.
pub fn stat_fd(fd: impl AsFd) -> std::io::Result<Stat> {
    Ok(from_statx(&rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?))
}

fn from_statx(s: &Statx) -> Stat {
    Stat {
        kind: kind_of(u32::from(s.stx_mode)),
        mode: u32::from(s.stx_mode) & 0o7777,
        uid: s.stx_uid,
        gid: s.stx_gid,
        size: s.stx_size,
        blocks: s.stx_blocks,
        mtime: time_of(s.stx_mtime),
        ctime: time_of(s.stx_ctime),
        device: rustix::fs::makedev(s.stx_dev_major, s.stx_dev_minor),
        inode: s.stx_ino,
        nlink: u64::from(s.stx_nlink),
        rdev_major: s.stx_rdev_major,
        rdev_minor: s.stx_rdev_minor,
    }
}

fn kind_of(mode: u32) -> FileKind {
    match FileType::from_raw_mode(mode) {
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::Fifo => FileKind::Fifo,
        FileType::CharacterDevice => FileKind::CharDevice,
        FileType::BlockDevice => FileKind::BlockDevice,
        FileType::Socket => FileKind::Socket,
        _ => FileKind::File,
    }
}

fn time_of(t: StatxTimestamp) -> FileTime {
    FileTime { secs: t.tv_sec, nanos: t.tv_nsec }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Timespec, Timestamps};
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn every_kind_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), b"12345").unwrap();
        std::fs::create_dir(at("dir")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
        rustix::fs::mkfifoat(CWD, at("fifo"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let kind = |name: &str| stat_at(CWD, at(name)).unwrap().kind;
        assert_eq!(kind("file"), FileKind::File);
        assert_eq!(kind("dir"), FileKind::Directory);
        assert_eq!(kind("link"), FileKind::Symlink);
        assert_eq!(kind("fifo"), FileKind::Fifo);
        assert_eq!(kind("socket"), FileKind::Socket);
        let null = stat_at(CWD, "/dev/null").unwrap();
        assert_eq!((null.kind, null.rdev_major, null.rdev_minor), (FileKind::CharDevice, 1, 3));
    }

    #[test]
    fn size_mode_links_and_nanoseconds_before_the_epoch_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
        std::fs::write(&path, b"12345").unwrap();
        std::fs::hard_link(&path, dir.path().join("other")).unwrap();
        rustix::fs::chmodat(CWD, &path, rustix::fs::Mode::from_raw_mode(0o4751), AtFlags::empty()).unwrap();
        let time = Timespec { tv_sec: -7, tv_nsec: 123_456_789 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
        let stat = stat_at(CWD, &path).unwrap();
        assert_eq!((stat.size, stat.mode, stat.nlink), (5, 0o4751, 2));
        assert_eq!(stat.mtime, FileTime { secs: -7, nanos: 123_456_789 });
        assert_eq!(stat_fd(std::fs::File::open(&path).unwrap()).unwrap(), stat);
    }

    #[test]
    fn a_file_with_fewer_blocks_than_bytes_may_have_holes() {
        let dir = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(dir.path().join("a")).unwrap();
        file.set_len(1 << 20).unwrap();
        assert!(stat_fd(&file).unwrap().may_have_holes());
        assert!(!stat_at(CWD, dir.path()).unwrap().may_have_holes());
    }
}
