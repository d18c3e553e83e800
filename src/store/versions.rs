//! Versions: what a bucket may keep of objects that were deleted or overwritten.

use bytes::Bytes;

use super::StoreError;

/// What a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionKind {
    /// Bytes that stand, or stood, under the name.
    Bytes,
    /// The mark of a deletion: while it is the latest, the object is missing.
    DeleteMarker,
}

/// One version of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The object's whole name, folder included.
    pub name: String,
    /// What the store calls this version.
    pub id: String,
    /// Its length in bytes; 0 for a marker.
    pub size: u64,
    /// What it is.
    pub kind: VersionKind,
    /// Whether it is what the name means now.
    pub latest: bool,
}

/// The versions that a store keeps.
pub trait Versions: Send + Sync {
    /// Whether it keeps versions, or has kept some.
    fn keeps_versions(&self) -> Result<bool, StoreError>;

    /// Calls `each` for all versions of all objects in the folder `prefix` and below it that have a name of ours, in no
    /// order. The empty prefix lists everything.
    fn list_versions(&self, prefix: &str, each: &mut dyn FnMut(Version)) -> Result<(), StoreError>;

    /// The bytes of one version.
    fn get_version(&self, version: &Version) -> Result<Bytes, StoreError>;

    /// Removes one version for good; one that is not there is removed already. Removing the latest, if that is the mark
    /// of a deletion, brings back the object.
    fn remove_version(&self, version: &Version) -> Result<(), StoreError>;
}
