//! Branches: histories that a bucket with versions still holds after two machines were both told that they had created
//! the same record.
//!
//! The records of the log form a chain: each names the hash of the one before. Where an object of the log has more than
//! one version, the chain may go on in more than one way. The owner chooses the branch that counts; its records are made
//! current, and what only other branches hold is copied into it, with the content it needs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::format::names::{self, ObjectName};
use crate::format::record::{self, SignedRecord};
use crate::primitives::error_chain::error_chain;
use crate::primitives::ids::{ObjectHash, SnapshotId};
use crate::primitives::progress::{Observer, Severity, Unit};
use crate::repository::snapshots::Snapshot;
use crate::repository::state_dir::Head;
use crate::repository::{LocalPlaces, Repository, RepositoryError};
use crate::store::branch::BranchStore;
use crate::store::{Created, StoreError, VersionKind};

use super::super::copy::{CopyOptions, copy_within};

/// A history that the bucket holds.
pub struct Branch {
    /// Its last record: what it is called.
    pub head: Head,
    /// When that was written, in milliseconds since the epoch by its writer's clock.
    pub time_ms: i64,
    /// Whether its records are the current ones.
    pub current: bool,
    /// The snapshots that it holds.
    pub snapshots: Vec<Snapshot>,
    /// The records from the first one on of which there are several.
    records: BTreeMap<u64, Bytes>,
}

/// All branches, and what could not be read.
#[derive(Default)]
pub struct Branches {
    /// The branches. Empty if no object of the log has more than one version.
    pub all: Vec<Branch>,
    /// Versions that are no records: name, version, and why.
    pub unreadable: Vec<String>,
}

/// What came of the choice of a branch.
#[derive(Debug, Default)]
pub struct Rescued {
    /// Snapshots of other branches, as they were called there and are called now.
    pub copied: Vec<(SnapshotId, SnapshotId)>,
    /// Snapshots that could not be copied, and why.
    pub failed: Vec<(SnapshotId, String)>,
}

impl Branches {
    /// Snapshots that the branch holds and no other does.
    pub fn own<'a>(&self, branch: &'a Branch) -> Vec<&'a Snapshot> {
        let others = self.all.iter().filter(|other| other.head != branch.head);
        let elsewhere: BTreeSet<SnapshotId> = others.flat_map(|other| other.snapshots.iter().map(|s| s.id)).collect();
        branch.snapshots.iter().filter(|s| !elsewhere.contains(&s.id)).collect()
    }

    /// The branch whose last record is this one.
    pub fn find(&self, head: &Head) -> Option<&Branch> {
        self.all.iter().find(|branch| branch.head == *head)
    }
}

/// A record of which there may be several with its number.
struct Link {
    number: u64,
    hash: ObjectHash,
    previous: ObjectHash,
    time_ms: i64,
    bytes: Bytes,
    current: bool,
}

/// Finds the branches. `scratch` is an empty folder in which caches of each can be kept meanwhile.
pub fn branches(
    repository: &Arc<Repository>,
    scratch: &Path,
    observer: &dyn Observer,
) -> Result<Branches, RepositoryError> {
    let mut found = Branches::default();
    let Some(first) = links(repository, &mut found.unreadable, observer)? else { return Ok(found) };
    let (first, links) = first;
    let root = match first {
        1 => record::hash(&repository.get(names::CONFIG)?),
        n => record::hash(&repository.get(&names::record(n - 1))?),
    };
    for path in paths(&links, root, first) {
        let last = &links[*path.last().expect("a path has a record")];
        let records: BTreeMap<u64, Bytes> =
            path.iter().map(|at| (links[*at].number, links[*at].bytes.clone())).collect();
        let branch = Branch {
            head: Head { number: last.number, hash: last.hash },
            time_ms: last.time_ms,
            current: path.iter().all(|at| links[*at].current),
            snapshots: Vec::new(),
            records,
        };
        let snapshots = view(repository, &branch, scratch)?.snapshots()?;
        found.all.push(Branch { snapshots, ..branch });
    }
    Ok(found)
}

/// All versions of all records from the first one on that has several. `None` if none has.
fn links(
    repository: &Repository,
    unreadable: &mut Vec<String>,
    observer: &dyn Observer,
) -> Result<Option<(u64, Vec<Link>)>, RepositoryError> {
    let Some(store) = repository.store.versions() else { return Ok(None) };
    if !store.keeps_versions()? {
        return Ok(None);
    }
    let mut versions = BTreeMap::<u64, Vec<_>>::new();
    store.list_versions(names::LOG, &mut |version| {
        if let (Some(ObjectName::Record(number)), VersionKind::Bytes) = (ObjectName::parse(&version.name), version.kind)
        {
            versions.entry(number).or_default().push(version);
        }
    })?;
    let Some(first) = versions.iter().find(|(_, all)| all.len() > 1).map(|(number, _)| *number) else {
        return Ok(None);
    };
    let from = versions.split_off(&first);
    observer.phase("reading versions of records", Some(from.len() as u64), Unit::Items);
    let mut links: Vec<Link> = Vec::new();
    for (number, versions) in from {
        for version in versions {
            if observer.interrupted() {
                return Err(RepositoryError::Interrupted);
            }
            let bytes = store.get_version(&version)?;
            let hash = record::hash(&bytes);
            if let Some(known) = links.iter_mut().find(|link| link.number == number && link.hash == hash) {
                known.current |= version.latest;
                continue;
            }
            match SignedRecord::decode(&bytes, |e| repository.keys.secret(e)) {
                Ok(signed) if signed.record.number == number => {
                    let (previous, time_ms) = (signed.record.previous, signed.record.time_ms);
                    links.push(Link { number, hash, previous, time_ms, bytes, current: version.latest });
                }
                Ok(_) => unreadable.push(format!("{} in version {}: it is another record", version.name, version.id)),
                Err(e) => unreadable.push(format!("{} in version {}: {e}", version.name, version.id)),
            }
        }
        observer.advance(1);
    }
    Ok(Some((first, links)))
}

/// The chains of records that begin behind `root`, each as far as it goes.
fn paths(links: &[Link], root: ObjectHash, first: u64) -> Vec<Vec<usize>> {
    let mut after: HashMap<(u64, ObjectHash), Vec<usize>> = HashMap::new();
    for (at, link) in links.iter().enumerate() {
        after.entry((link.number, link.previous)).or_default().push(at);
    }
    let mut whole = Vec::new();
    let mut stack: Vec<Vec<usize>> = after.get(&(first, root)).into_iter().flatten().map(|at| vec![*at]).collect();
    while let Some(path) = stack.pop() {
        let last = &links[*path.last().expect("a path has a record")];
        match after.get(&(last.number + 1, last.hash)) {
            Some(next) => stack.extend(next.iter().map(|at| [&path[..], &[*at]].concat())),
            None => whole.push(path),
        }
    }
    whole.sort_by_key(|path| path.last().map(|at| (links[*at].number, links[*at].hash)));
    whole
}

/// The repository as it is by this branch.
fn view(repository: &Arc<Repository>, branch: &Branch, scratch: &Path) -> Result<Arc<Repository>, RepositoryError> {
    let first = branch.records.keys().next().copied().unwrap_or(0);
    let replaced = branch.records.iter().map(|(number, bytes)| (names::record(*number), bytes.clone())).collect();
    let hides = move |name: &str| match ObjectName::parse(name) {
        Some(ObjectName::Record(number) | ObjectName::Checkpoint(number)) => number >= first,
        _ => false,
    };
    let store = Arc::new(BranchStore::new(repository.store.clone(), replaced, hides));
    let folder = scratch.join(branch.head.to_string().replace(':', "-"));
    let places = LocalPlaces { cache: folder.join("cache"), state: folder.join("state") };
    repository.view(store, &places)
}

/// Makes the records of a branch the current ones. The repository must be opened anew afterwards.
///
/// What was current before stays in the bucket as a version. Cut off in the middle, it can be done again.
pub fn make_current(repository: &Repository, branch: &Branch, observer: &dyn Observer) -> Result<(), RepositoryError> {
    observer.phase("making records current", Some(branch.records.len() as u64), Unit::Items);
    for (number, bytes) in &branch.records {
        let name = names::record(*number);
        match repository.store.get(&name) {
            Ok(now) if now == *bytes => {}
            Ok(_) => {
                repository.store.delete(&name)?;
                put_back(repository, &name, bytes)?;
            }
            Err(e) if e.is_missing() => put_back(repository, &name, bytes)?,
            Err(e) => return Err(e.into()),
        }
        observer.advance(1);
    }
    Ok(repository.store.sync()?)
}

fn put_back(repository: &Repository, name: &str, bytes: &Bytes) -> Result<(), RepositoryError> {
    let created = repository.store.create(name, bytes.clone());
    let ours = matches!(created, Ok(Created::New | Created::AlreadyThere) | Err(StoreError::Ambiguous { .. }));
    if !ours {
        created?;
    }
    if repository.store.get(name)? != *bytes {
        let what = format!("{name} was written by another machine meanwhile: stop all machines, then do it again");
        return Err(RepositoryError::NotAllowed { what });
    }
    Ok(())
}

/// Copies what only other branches hold into the repository, whose history is the chosen branch now.
pub fn rescue(
    repository: &Arc<Repository>,
    branches: &Branches,
    chosen: &Branch,
    scratch: &Path,
    options: &CopyOptions,
    observer: &dyn Observer,
) -> Result<Rescued, RepositoryError> {
    let mut rescued = Rescued::default();
    // What the chosen history has forgotten is not to come back.
    let state = repository.refresh()?;
    let mut known: BTreeSet<SnapshotId> = state.snapshots.keys().chain(&state.forgotten).copied().collect();
    known.extend(chosen.snapshots.iter().map(|s| s.id));
    for branch in branches.all.iter().filter(|branch| branch.head != chosen.head) {
        let from = view(repository, branch, scratch)?;
        for snapshot in branch.snapshots.iter().filter(|s| s.doubt.is_none()) {
            if !known.insert(snapshot.id) {
                continue;
            }
            match copy_within(&from, repository, std::slice::from_ref(snapshot), options, observer) {
                Ok(report) => {
                    rescued.copied.extend(report.copied.iter().filter_map(|(old, new)| Some((*old, (*new)?))));
                }
                Err(e) if e.is_damage() => {
                    let why = error_chain(&e);
                    observer
                        .finding(Severity::Error, &format!("snapshot {} was not copied: {why}", snapshot.id.short()));
                    rescued.failed.push((snapshot.id, why));
                }
                Err(e) => return Err(e),
            }
        }
    }
    Ok(rescued)
}
