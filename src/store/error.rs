//! What can go wrong with bytes by name.

use std::fmt;

/// What a store was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Make a place fit to hold objects.
    Init,
    /// Open a place that holds objects.
    Open,
    /// Create an object if it is not there.
    Create,
    /// Read an object.
    Get,
    /// Read a part of an object.
    GetRange,
    /// Ask for the length of an object.
    Size,
    /// List a folder.
    List,
    /// Delete an object.
    Delete,
    /// Make everything durable.
    Sync,
}

impl Verb {
    /// Whether it may change what is stored.
    pub fn mutates(self) -> bool {
        matches!(self, Self::Create | Self::Delete | Self::Init)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Init => "initialize",
            Self::Open => "open",
            Self::Create => "create",
            Self::Get => "read",
            Self::GetRange => "read a part of",
            Self::Size => "get the size of",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Sync => "sync",
        })
    }
}

/// The cause of an error, as some library gave it.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a store could not do what it was asked. `name` is an object, or the store's location where the verb is
/// about the whole of it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No object stands under this name.
    #[error("{name} is missing")]
    Missing {
        /// The object.
        name: String,
    },
    /// There is no store at this place at all; which is not the same as an empty one.
    #[error("there is no repository at {location}")]
    NoStore {
        /// The path or URL.
        location: String,
    },
    /// The range does not lie within the object.
    #[error("bytes {start}..{end} do not lie within {name}, which has {size}")]
    BadRange {
        /// The object.
        name: String,
        /// First byte asked for.
        start: u64,
        /// One behind the last byte asked for.
        end: u64,
        /// How many bytes the object has.
        size: u64,
    },
    /// The caller used a name that no object can have.
    #[error("{name:?} is not a name for an object")]
    BadName {
        /// The name.
        name: String,
    },
    /// The store refuses this to these credentials, or to this user.
    #[error("cannot {verb} {name}: permission denied")]
    Denied {
        /// What was to be done.
        verb: Verb,
        /// To what.
        name: String,
        /// What the store said.
        source: Cause,
    },
    /// The store can be read and not written.
    #[error("cannot {verb} {name}: the store is read-only")]
    ReadOnly {
        /// What was to be done.
        verb: Verb,
        /// To what.
        name: String,
        /// What the store said.
        source: Cause,
    },
    /// The object is in a class from which it must be brought back before it can be read.
    #[error("cannot read {name}: it is in an archive class: restore it there first, then try again")]
    Archived {
        /// The object.
        name: String,
    },
    /// No space, inodes or quota are left.
    #[error("cannot {verb} {name}: the store is full")]
    Full {
        /// What was to be done.
        verb: Verb,
        /// To what.
        name: String,
        /// What the store said.
        source: Cause,
    },
    /// It is unknown whether the object was created, or yet will be.
    #[error("it is unknown whether {name} was created")]
    Ambiguous {
        /// The object.
        name: String,
        /// What the store said.
        source: Cause,
    },
    /// Creating only what is absent is not atomic here, so two machines could overwrite each other.
    #[error(
        "{location} cannot hold a repository: it cannot create a file only if it is absent; use a file system that can rename without replacing, or hard link, such as ext4, XFS, Btrfs, ZFS or NFS"
    )]
    NotAtomic {
        /// The path or URL.
        location: String,
        /// What was tried last, and how it went.
        source: Cause,
    },
    /// A server lets several machines create the same object, so that they would overwrite each other.
    #[error(
        "{location} cannot hold a repository that several machines write to: {server} does not create an object only if it is absent ({found}); {advice}, or `init --single-writer` if one machine alone will ever write"
    )]
    NotConditional {
        /// The URL.
        location: String,
        /// What the server says it is.
        server: String,
        /// What came of the race.
        found: String,
        /// What to do.
        advice: &'static str,
    },
    /// This build knows no such kind of store.
    #[error("{scheme}: is not supported; use a local path, s3://, gs:// or az://")]
    Unsupported {
        /// What stands before the colon.
        scheme: String,
    },
    /// The location or what was said with it makes no sense, or does not lead there.
    #[error("{location} cannot be used: {why}")]
    Unusable {
        /// The location.
        location: String,
        /// Why, and what to do.
        why: String,
    },
    /// The store said why in a way that is known.
    #[error("cannot {verb} {name}: {why}")]
    Explained {
        /// What was to be done.
        verb: Verb,
        /// To what.
        name: String,
        /// What it means, and what to do.
        why: String,
    },
    /// Anything else.
    #[error("cannot {verb} {name}")]
    Other {
        /// What was to be done.
        verb: Verb,
        /// To what.
        name: String,
        /// What the store said.
        source: Cause,
    },
}

impl StoreError {
    /// Whether it says that no object stands under the name asked for.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }

    /// An error of the kind that `source` stands for.
    pub(super) fn from_io(verb: Verb, name: &str, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        let (name, kind) = (name.to_owned(), source.kind());
        let source = Box::new(source);
        match kind {
            Kind::NotFound if !matches!(verb, Verb::Create) => Self::Missing { name },
            Kind::PermissionDenied => Self::Denied { verb, name, source },
            Kind::ReadOnlyFilesystem => Self::ReadOnly { verb, name, source },
            Kind::StorageFull | Kind::QuotaExceeded => Self::Full { verb, name, source },
            _ => Self::Other { verb, name, source },
        }
    }

    /// An error of no special kind.
    pub(super) fn other(verb: Verb, name: &str, source: impl Into<Cause>) -> Self {
        Self::Other { verb, name: name.to_owned(), source: source.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_become_the_variants_that_callers_act_on() {
        let of = |kind| StoreError::from_io(Verb::Create, "data/r/x", std::io::Error::from(kind));
        use std::io::ErrorKind as Kind;
        assert!(matches!(of(Kind::StorageFull), StoreError::Full { .. }));
        assert!(matches!(of(Kind::QuotaExceeded), StoreError::Full { .. }));
        assert!(matches!(of(Kind::ReadOnlyFilesystem), StoreError::ReadOnly { .. }));
        assert!(matches!(of(Kind::PermissionDenied), StoreError::Denied { .. }));
        assert!(matches!(of(Kind::NotFound), StoreError::Other { .. }), "nothing is missing that was to be created");
        let denied = of(Kind::PermissionDenied);
        assert_eq!(denied.to_string(), "cannot create data/r/x: permission denied");
        assert!(std::error::Error::source(&denied).is_some());
    }

    #[test]
    fn the_error_numbers_of_a_full_store_and_quota_are_known() {
        for errno in [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT] {
            assert!(matches!(StoreError::from_io(Verb::Create, "x", errno.into()), StoreError::Full { .. }));
        }
    }
}
