//! What can go wrong with a repository.

use std::path::PathBuf;

use crate::cache::CacheError;
use crate::format::envelope::FormatError;
use crate::primitives::ids::{CredentialId, RepositoryId, SnapshotId};
use crate::store::StoreError;

use super::doubt::{Doubt, in_words};

/// Why the repository could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The store could not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is a store and no repository in it.
    #[error("there is no repository at {location}")]
    NoRepository {
        /// The path or URL.
        location: String,
    },
    /// A repository is to be made where other files are.
    #[error("{location} is not empty: it holds {}", .examples.join(", "))]
    NotEmpty {
        /// The path.
        location: String,
        /// Some of what is there.
        examples: Vec<String>,
    },
    /// Another tool's repository is there.
    #[error("{location} is not a strongroom repository: it looks like one of {tool}")]
    OtherTool {
        /// The path.
        location: String,
        /// The tool.
        tool: &'static str,
    },
    /// A repository is there already.
    #[error("there is a repository at {location} already")]
    AlreadyInitialized {
        /// The path or URL.
        location: String,
    },
    /// No slot opens with this passphrase.
    #[error("wrong passphrase: it opens none of the {slots} key slots")]
    WrongPassphrase {
        /// How many slots were tried.
        slots: usize,
    },
    /// An object is not what it should be.
    #[error("{name} is damaged: {cause}")]
    Damaged {
        /// The object.
        name: String,
        /// What is wrong with it.
        cause: FormatError,
    },
    /// An object was damaged or missing when it was read first, and sound when it was read again.
    #[error(
        "{name} was damaged or missing when it was read first and sound when it was read again: check the memory of this machine, and what lies between it and the store"
    )]
    Unsteady {
        /// The object.
        name: String,
    },
    /// An object was written by a newer program.
    #[error("{name} cannot be read: {cause}")]
    Newer {
        /// The object.
        name: String,
        /// Which version it is.
        cause: FormatError,
    },
    /// What a snapshot needs cannot be told.
    #[error("snapshot {} cannot be read to its end", .snapshot.short())]
    Snapshot {
        /// The snapshot.
        snapshot: SnapshotId,
        /// What was met.
        source: Box<RepositoryError>,
    },
    /// Somebody forgot the snapshot while it was read, and a prune took what it needed.
    #[error("snapshot {} was forgotten while it was read", .snapshot.short())]
    Forgotten {
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// The snapshot has no such entry.
    #[error("snapshot {} has no {path}", .snapshot.short())]
    NoSuchPath {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The path, absolute and printable.
        path: String,
    },
    /// An object that must be there is not.
    #[error("{name} is missing")]
    Missing {
        /// The object, or what was looked for.
        name: String,
    },
    /// The log's history is not what this machine has seen before, or what its records say of each other.
    #[error("the log of this repository is not trustworthy: {what}")]
    History {
        /// What does not fit.
        what: String,
    },
    /// The owner's record says that this history is another one.
    #[error("the log of this repository is not trustworthy: {what}")]
    Fork {
        /// What does not fit.
        what: String,
    },
    /// What stands in the store contradicts the history: nothing is forgotten or deleted.
    #[error("the history of this repository is contradicted, and nothing was deleted or forgotten: {}", in_words(.doubts))]
    Contradicted {
        /// By what.
        doubts: Vec<Doubt>,
    },
    /// This credential may not do that.
    #[error("{name} cannot be read: {cause}")]
    MayNotRead {
        /// The object.
        name: String,
        /// Why.
        cause: FormatError,
    },
    /// Only the owner may do that, who has the passphrase.
    #[error("only the owner may {action}: use the passphrase")]
    OwnerOnly {
        /// What, as a verb and its object.
        action: &'static str,
    },
    /// Not this, or not with this credential.
    #[error("{what}")]
    NotAllowed {
        /// What, and what to do instead.
        what: String,
    },
    /// The owner has revoked this credential.
    #[error("credential {} was revoked by record {record}: ask the repository's owner for a new one", .credential.short())]
    Revoked {
        /// The credential.
        credential: CredentialId,
        /// Number of the record.
        record: u64,
    },
    /// The credential is not one that the log admits.
    #[error("credential {} is not known to this repository: its owner has not admitted it", .0.short())]
    UnknownCredential(CredentialId),
    /// What others wrote meanwhile makes this operation impossible.
    #[error("conflict: {what}")]
    Conflict {
        /// Why.
        what: String,
    },
    /// The local cache could not be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The local state folder could not be used.
    #[error("the local state in {path} cannot be used")]
    Local {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The local state belongs to another repository, or is no state at all.
    #[error("the local state in {path} is damaged")]
    LocalDamaged {
        /// The file.
        path: PathBuf,
    },
    /// The repository at this place is not the one that was there before.
    #[error("expected repository {expected} and found {found}")]
    OtherRepository {
        /// The id expected.
        expected: RepositoryId,
        /// The id found.
        found: RepositoryId,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A part of the program that others wait for is gone.
    #[error("a worker stopped: {0}")]
    Worker(String),
}

/// What most functions here return.
pub type Result<T, E = RepositoryError> = std::result::Result<T, E>;

impl RepositoryError {
    /// Wraps what is wrong with the object `name`.
    pub fn object(name: impl Into<String>) -> impl FnOnce(FormatError) -> Self {
        move |cause| match cause {
            FormatError::Newer { .. } => Self::Newer { name: name.into(), cause },
            FormatError::MayNotRead | FormatError::NoEpochKeys { .. } => Self::MayNotRead { name: name.into(), cause },
            _ => Self::Damaged { name: name.into(), cause },
        }
    }

    /// Wraps an error of the local state folder.
    pub fn local(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Local { path: path.into(), source }
    }

    /// Whether it says that an object is damaged or missing, so that other objects may still be fine.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Snapshot { .. }
                | Self::Damaged { .. }
                | Self::Missing { .. }
                | Self::Store(StoreError::Missing { .. } | StoreError::BadRange { .. })
        )
    }

    /// The object that must be brought back from an archive before it can be read, if that is it.
    pub fn archived(&self) -> Option<&str> {
        match self {
            Self::Store(StoreError::Archived { name }) => Some(name),
            _ => None,
        }
    }

    /// Whether the history forks here.
    pub fn is_fork(&self) -> bool {
        matches!(self, Self::Fork { .. })
    }

    /// Whether something is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Store(StoreError::Missing { .. }))
    }
}
