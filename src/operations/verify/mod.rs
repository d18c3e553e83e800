//! Verify: whether everything would come back.
//!
//! * keyless: every object's bytes against its name or checksum, without any key
//! * structure: the whole log replayed, every snapshot's tree walked, every block located
//! * read-data: all that, and every pack opened and every id recomputed
//!
//! Each finding names the object and the snapshots and files that it hurts.

use crate::machinery::repository::RepositoryError;
use crate::parts::store::Store;
use crate::words::ids::SnapshotId;
use crate::words::observer::Observer;

/// How deep to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyDepth {
    /// Log, trees, locations, and that every object is there with its length.
    Structure,
    /// Everything is read, opened and recomputed.
    ReadData,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The object, or what was looked for.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// Snapshots it hurts, each with the first few paths and how many there are.
    pub hurts: Vec<(SnapshotId, Vec<String>, u64)>,
}

/// What came of a verification.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// Records replayed.
    pub records: u64,
    /// Void records: number and why.
    pub void: Vec<(u64, String)>,
    /// Snapshots walked.
    pub snapshots: u64,
    /// Files found in them, equal ones counted once.
    pub files: u64,
    /// Objects looked at.
    pub objects: u64,
    /// Bytes read from the store.
    pub bytes_read: u64,
    /// Objects that nothing names: of runs that are open, or to be swept by the next prune.
    pub unnamed: u64,
    /// What is wrong. Empty: everything would come back, as far as was looked.
    pub findings: Vec<Finding>,
}

/// Verifies the repository.
pub fn verify(
    _repository: &std::sync::Arc<crate::machinery::repository::Repository>,
    _depth: VerifyDepth,
    _observer: &dyn Observer,
) -> Result<VerifyReport, RepositoryError> {
    todo!()
}

/// Checks every object's bytes against its name or checksum; needs no key.
pub fn verify_keyless(_store: &dyn Store, _observer: &dyn Observer) -> Result<VerifyReport, RepositoryError> {
    todo!()
}
