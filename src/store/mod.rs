//! Bytes by name: the one place where a repository touches the outside.
//!
//! A store holds immutable objects. An object is created whole or not at all, by whoever comes first, and is
//! never changed afterwards; so a name always means the same bytes until it is deleted, and no reader needs a
//! lock. Every store passes the same tests, `tests/it/store_contract.rs`.
//!
//! Stores know nothing of keys, formats or the log, and verify nothing: whoever reads recomputes hashes. They
//! do not retry what the user could decide about, and they never print.

mod bandwidth;
pub mod branch;
mod cloud;
mod counts;
mod error;
mod local;
mod memory;
mod name;
mod object;
mod options;
mod race;
mod s3;
mod simulated;
mod url;
mod versions;

use std::ops::{ControlFlow, Range};
use std::time::Duration;

use bytes::Bytes;

pub use counts::RequestCounts;
pub use error::{Cause, StoreError, Verb};
pub use local::LocalStore;
pub use memory::MemoryStore;
pub use name::{NAME_LEN_MAX, check_folder, check_name};
pub use object::ObjectStoreAdapter;
pub use options::{Lookup, Notice, StoreOptions, quiet};
pub use race::{advice, check_conditional_create};
pub use s3::KEYS as S3_OPTIONS;
pub use simulated::{Call, Damage, Fault, Outcome, Scope, SimulatedStore};
pub use url::{init, is_remote, local_folder, open};
pub use versions::{Version, VersionKind, Versions};

/// How a create that did not fail came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object was not there before and is now.
    New,
    /// An object stands under this name. It may even be our own, created by a request whose answer was lost:
    /// only comparing its bytes tells.
    AlreadyThere,
}

/// One object, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its whole name, folder included.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// When the store says it was created: milliseconds since the Unix epoch, by the store's clock.
    pub modified_ms: i64,
}

/// What a listing met that no store of ours can have made: it is left out, and nothing is done to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Foreign {
    /// How many such names.
    pub count: u64,
    /// The first few of them, unprintable bytes replaced.
    pub examples: Vec<String>,
}

impl Foreign {
    const EXAMPLES_MAX: usize = 8;

    fn note(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < Self::EXAMPLES_MAX {
            self.examples.push(name());
        }
    }
}

/// Bytes by name.
///
/// Names are folders and a last part joined by `/`, of the bytes `0-9 a-z . _ -` only (see [`check_name`]);
/// anything else is [`StoreError::BadName`]. A store is used from many threads at once, and by other processes
/// and machines at the same time.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Where this store is, for people: a path or a URL.
    fn location(&self) -> String;

    /// Creates `name` if nothing stands there.
    ///
    /// Atomic: of any number of racing creators exactly one is told [`Created::New`], and nobody ever reads
    /// half an object. Durable: once `New` has been returned, neither a crash nor a power cut undoes it.
    /// [`StoreError::Ambiguous`] means that it is unknown whether the object was created, or yet will be: the
    /// caller tries the same bytes again until some object stands there, and compares.
    fn create(&self, name: &str, bytes: Bytes) -> Result<Created, StoreError>;

    /// All bytes of `name`, or [`StoreError::Missing`].
    fn get(&self, name: &str) -> Result<Bytes, StoreError>;

    /// Exactly the bytes of `range`; one that does not lie within the object is [`StoreError::BadRange`],
    /// never a short answer. An empty range within the object is empty.
    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// The length of `name` in bytes, or [`StoreError::Missing`].
    fn size(&self, name: &str) -> Result<u64, StoreError>;

    /// Calls `each` for every object in the folder `prefix` and the folders below it, in byte order of whole
    /// names, starting behind the name `after` if one is given (it need not exist), until `each` breaks.
    ///
    /// `prefix` is a folder without a `/` at its end: `log` lists `log/1`, never `logs/1`. The empty prefix
    /// lists everything; a folder that is not there lists nothing. What was there before the call and is not
    /// deleted during it is listed; what comes or goes meanwhile may be or not. `each` may call the store.
    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        each: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<Foreign, StoreError>;

    /// Deletes `name`; what is not there is deleted already. A power cut may bring back what was deleted since
    /// the last [`Store::sync`].
    fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// Makes durable what any process has done so far and this one has seen: above all objects that `create`
    /// reported as [`Created::AlreadyThere`], or a listing showed, whose creator may have been cut off between
    /// making them visible and making them durable.
    fn sync(&self) -> Result<(), StoreError>;

    /// What this store has been asked for so far, since it was opened.
    fn requests(&self) -> RequestCounts;

    /// Whether a request is a journey to a server, so that fewer and larger ones are worth their while.
    fn is_remote(&self) -> bool {
        false
    }

    /// What the server says it is, if there is one and it says so.
    fn server(&self) -> Option<String> {
        None
    }

    /// What this store keeps of objects that were deleted or overwritten, if it is of a kind that may.
    fn versions(&self) -> Option<&dyn Versions> {
        None
    }

    /// Whether an object that was created here was given a version: then the bucket keeps some, whoever may ask for it.
    fn has_given_versions(&self) -> bool {
        false
    }

    /// For how long a request that fails in a way that may pass is tried again, at most.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// From now on this process alone writes here: a store that cannot create only what is absent looks first.
    /// Others ignore it.
    fn assume_single_writer(&self) {}
}

/// Collects a listing of `prefix`: for folders known to be small, and for tests.
pub fn list_all(store: &dyn Store, prefix: &str) -> Result<Vec<Listed>, StoreError> {
    let mut all = Vec::new();
    store.list(prefix, None, &mut |listed| {
        all.push(listed);
        ControlFlow::Continue(())
    })?;
    Ok(all)
}

/// Checks that `range` lies within an object of `size` bytes.
fn check_range(name: &str, range: &Range<u64>, size: u64) -> Result<(), StoreError> {
    if range.start > range.end || range.end > size {
        return Err(StoreError::BadRange { name: name.to_owned(), start: range.start, end: range.end, size });
    }
    Ok(())
}
