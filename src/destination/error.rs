//! Why something could not be restored, and what was restored but not quite as recorded.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::path::{RelativePath, write_name};

/// Why a target, or one entry of it, could not be written.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The target directory cannot be made, opened or read.
    #[error("cannot use target {}", path.display())]
    Open {
        /// The target directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The target holds something and nothing was said about overwriting.
    #[error("target {} is not empty: say what to do with it by --overwrite never, if-changed or always", path.display())]
    NotEmpty {
        /// The target directory.
        path: PathBuf,
    },
    /// The map of owners names a user or group that the system does not know.
    #[error("the owner map names {kind} `{name}`, which this system does not know")]
    UnknownOwner {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The system refused a call.
    #[error("cannot {action} {path}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: RelativePath,
        /// The cause.
        source: io::Error,
    },
    /// Something that may not be replaced has the name.
    #[error("{found} is in the way of {path}")]
    InTheWay {
        /// The entry that was to be made.
        path: RelativePath,
        /// What is there.
        found: &'static str,
    },
    /// A directory on the way is a symbolic link; none is followed.
    #[error("a symbolic link stands in the path {path}")]
    SymlinkInPath {
        /// The directory that was to be opened.
        path: RelativePath,
    },
    /// An entry is no longer the one that was made: somebody else writes in the target.
    #[error("{path} was replaced by somebody else while it was restored")]
    Replaced {
        /// The entry.
        path: RelativePath,
    },
    /// A directory to be removed has another file system mounted in it.
    #[error("{path} is on another file system and is left alone")]
    OtherFileSystem {
        /// The directory.
        path: RelativePath,
    },
    /// Only a directory can stand at the root, or be given to the methods for directories.
    #[error("{path} cannot be made this way: it is {kind}")]
    WrongKind {
        /// The entry.
        path: RelativePath,
        /// What it is.
        kind: &'static str,
    },
}

impl TargetError {
    /// Whether there is no room left: whatever comes next fails in the same way.
    pub fn is_out_of_space(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// Makes an error of a system call out of its cause.
    pub(super) fn io<E: Into<io::Error>>(action: &'static str, path: &RelativePath) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { action, path: path.clone(), source: source.into() }
    }
}

/// An entry was restored, but one of its attributes was not set.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {kind}")]
pub struct Problem {
    /// The entry.
    pub path: RelativePath,
    /// Which attribute.
    pub kind: ProblemKind,
    /// The cause, if it is an answer of the system.
    pub source: Option<io::Error>,
}

/// Which attribute could not be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProblemKind {
    /// Owner and group.
    Owner {
        /// The user id that was to own it.
        uid: u32,
        /// The group id.
        gid: u32,
    },
    /// The permission bits.
    Mode(u32),
    /// Setuid or setgid were left out, because the owner is not the recorded one.
    SetIdLeftOut(u32),
    /// The permission bits are not as recorded after the access control list was set.
    ModeAfterAcl {
        /// The recorded bits.
        expected: u32,
        /// The bits there are.
        found: u32,
    },
    /// An extended attribute.
    Xattr(Vec<u8>),
    /// File capabilities were left out, because the owner is not the recorded one.
    CapabilityLeftOut,
    /// Extended attributes that are there but not recorded cannot be read or removed.
    ExtraXattr(Vec<u8>),
    /// The time of last modification.
    Times,
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner { uid, gid } => write!(f, "cannot set owner {uid}:{gid}"),
            Self::Mode(mode) => write!(f, "cannot set mode {mode:04o}"),
            Self::SetIdLeftOut(mode) => write!(f, "setuid and setgid of mode {mode:04o} left out: the owner differs"),
            Self::ModeAfterAcl { expected, found } => write!(f, "mode is {found:04o}, recorded was {expected:04o}"),
            Self::Xattr(name) => {
                f.write_str("cannot set attribute ")?;
                write_name(f, name)
            }
            Self::CapabilityLeftOut => f.write_str("file capabilities left out: the owner differs"),
            Self::ExtraXattr(name) => {
                f.write_str("cannot remove attribute ")?;
                write_name(f, name)
            }
            Self::Times => f.write_str("cannot set time of modification"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_used_up_quota_are_told_from_other_failures() {
        let of = |errno: rustix::io::Errno| TargetError::io("write", &RelativePath::root())(errno).is_out_of_space();
        assert!(of(rustix::io::Errno::NOSPC) && of(rustix::io::Errno::DQUOT));
        assert!(!of(rustix::io::Errno::ACCESS));
    }
}
