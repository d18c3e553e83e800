//! Noncurrent versions: what a bucket with versions keeps of objects that were deleted, and still costs.
//!
//! Only what the log has given up for good is ever removed: packs and segments that nothing can publish any more,
//! superseded checkpoints, remains of probes. What stands below a current object stays, for nobody who abides by the rules
//! overwrites one; so does what somebody deleted that the repository needs: [`bring_back`] makes it current again.

use std::collections::HashMap;

use crate::format::names::{self, ObjectName};
use crate::format::state::State;
use crate::log::orphaned;
use crate::parallel;
use crate::primitives::error_chain::error_chain;
use crate::primitives::progress::{Observer, Unit};
use crate::repository::{Repository, RepositoryError};
use crate::store::{StoreError, Version, VersionKind, Versions};

/// Requests at once.
const REMOVALS_AT_ONCE: usize = 8;

/// What a bucket with versions keeps of what is deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Noncurrent {
    /// Deleted objects that nothing needs.
    pub objects: u64,
    /// Their versions, deletion markers left out.
    pub versions: u64,
    /// The bytes of those versions.
    pub bytes: u64,
    /// Whether they were to be removed.
    pub asked: bool,
    /// Objects that were removed for good, with all their versions.
    pub removed: u64,
    /// Removed key slots that live on.
    pub slots: u64,
    /// Objects that are needed and that somebody deleted.
    pub needed: Vec<String>,
    /// Objects below which other versions lie: somebody overwrote them.
    pub overwritten: u64,
    /// Versions that the store would not remove: object and why.
    pub refused: Vec<(String, String)>,
}

/// What the store keeps, or `None` if it keeps no versions. With `remove`, what nothing needs goes for good.
pub fn noncurrent(
    repository: &Repository,
    remove: bool,
    observer: &dyn Observer,
) -> Result<Option<Noncurrent>, RepositoryError> {
    let Some(store) = repository.store.versions() else { return Ok(None) };
    if !store.keeps_versions()? {
        return Ok(None);
    }
    let names = by_name(store, "")?;
    // Asked after the listing: what is given up stays given up.
    let state = repository.refresh()?;
    if let Some(name) = names.iter().find(|(name, all)| was_cut(&state, name, all)).map(|(name, _)| name) {
        let what = format!(
            "{name} was deleted, and the bucket still has what stood there: the log was cut, and no version of anything is \
             removed; bring the record back by the means of the store"
        );
        return Err(RepositoryError::History { what });
    }
    let newest = names.iter().filter(|(_, all)| stands(all)).filter_map(|(name, _)| checkpoint(name)).max();
    let mut report = Noncurrent { asked: remove, ..Noncurrent::default() };
    let mut going = Vec::new();
    for (name, versions) in names {
        if stands(&versions) {
            report.overwritten += u64::from(versions.iter().any(|v| v.kind == VersionKind::Bytes && !v.latest));
        } else if given_up(&state, &name, newest) {
            report.objects += 1;
            let bytes = versions.iter().filter(|v| v.kind == VersionKind::Bytes);
            report.versions += bytes.clone().count() as u64;
            report.bytes += bytes.map(|v| v.size).sum::<u64>();
            going.push((name, versions));
        } else if needed(&state, &name) && versions.iter().any(|v| v.kind == VersionKind::Bytes) {
            report.needed.push(name);
        } else if let Some(ObjectName::Slot(_)) = ObjectName::parse(&name) {
            report.slots += 1;
        }
    }
    report.needed.sort_unstable();
    if remove {
        remove_all(store, going, &mut report, observer);
        if observer.interrupted() {
            return Err(RepositoryError::Interrupted);
        }
    }
    Ok(Some(report))
}

/// What was made current again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BroughtBack {
    /// The objects' names.
    pub names: Vec<String>,
    /// Objects that the bucket has and that could not be made current: name and why.
    pub refused: Vec<(String, String)>,
}

/// Makes packs and segments current again that are needed and that somebody deleted. With `dry_run` only says which.
pub fn bring_back(repository: &Repository, dry_run: bool) -> Result<BroughtBack, RepositoryError> {
    let mut back = BroughtBack::default();
    let Some(store) = repository.store.versions() else { return Ok(back) };
    if !store.keeps_versions()? {
        return Ok(back);
    }
    let names = by_name(store, "")?;
    let state = repository.refresh()?;
    for (name, versions) in names.into_iter().filter(|(name, all)| !stands(all) && needed(&state, name)) {
        match versions.iter().filter(|v| v.kind == VersionKind::Bytes).count() {
            0 => continue,
            1 => {}
            // Which of them is the right one only its reader can tell.
            n => {
                back.refused.push((name, format!("it was overwritten before it was deleted: there are {n} versions")));
                continue;
            }
        }
        let mut markers = versions.iter().filter(|v| v.kind == VersionKind::DeleteMarker && !dry_run);
        match markers.try_for_each(|marker| store.remove_version(marker)) {
            Ok(()) => back.names.push(name),
            Err(e) => back.refused.push((name, error_chain(&e))),
        }
    }
    back.names.sort_unstable();
    if !back.names.is_empty() && !dry_run {
        repository.look_again()?;
    }
    Ok(back)
}

/// Ids of key slots that were removed and that the bucket still has.
pub fn removed_slots(repository: &Repository) -> Result<Vec<String>, RepositoryError> {
    let Some(store) = repository.store.versions() else { return Ok(Vec::new()) };
    if !store.keeps_versions()? {
        return Ok(Vec::new());
    }
    let gone = by_name(store, names::KEYS)?.into_iter().filter(|(_, versions)| !stands(versions));
    Ok(gone.filter_map(|(name, _)| name.rsplit('/').next().map(str::to_owned)).collect())
}

/// Removes for good what the store keeps of one object that was deleted just now, if it keeps anything.
pub fn remove_versions(repository: &Repository, folder: &str, name: &str) -> Result<(), StoreError> {
    let Some(store) = repository.store.versions() else { return Ok(()) };
    if !store.keeps_versions()? {
        return Ok(());
    }
    // Not even the mark of its deletion: then it is not known what there is.
    let unknown = || StoreError::Missing { name: format!("the mark of the deletion of {name}") };
    let mut versions = by_name(store, folder)?.remove(name).ok_or_else(unknown)?;
    markers_last(&mut versions);
    versions.iter().try_for_each(|version| store.remove_version(version))
}

fn by_name(store: &dyn Versions, prefix: &str) -> Result<HashMap<String, Vec<Version>>, StoreError> {
    let mut names: HashMap<String, Vec<Version>> = HashMap::new();
    store.list_versions(prefix, &mut |version| names.entry(version.name.clone()).or_default().push(version))?;
    Ok(names)
}

/// Whether the object is there.
fn stands(versions: &[Version]) -> bool {
    versions.iter().any(|v| v.latest && v.kind == VersionKind::Bytes)
}

fn checkpoint(name: &str) -> Option<u64> {
    match ObjectName::parse(name) {
        Some(ObjectName::Checkpoint(number)) => Some(number),
        _ => None,
    }
}

/// Whether nothing can need a deleted object any more. `newest` is the newest checkpoint that is there.
fn given_up(state: &State, name: &str, newest: Option<u64>) -> bool {
    match ObjectName::parse(name) {
        Some(ObjectName::Pack(_, run, hash) | ObjectName::Segment(run, hash)) => orphaned(state, run, &hash),
        Some(ObjectName::Checkpoint(number)) => newest.is_some_and(|newest| number < newest),
        None => name.starts_with("probe/"),
        _ => false,
    }
}

/// Whether somebody deleted this record: one behind the end of the log, or one in whose place another was written then.
fn was_cut(state: &State, name: &str, versions: &[Version]) -> bool {
    let Some(ObjectName::Record(number)) = ObjectName::parse(name) else { return false };
    let has = |kind| versions.iter().any(|v| v.kind == kind && !v.latest);
    // What the owner has settled may have been put back by `repair`.
    let settled = number <= state.settled.number;
    let taken_again = !settled && stands(versions) && has(VersionKind::Bytes) && has(VersionKind::DeleteMarker);
    let behind = !stands(versions) && has(VersionKind::Bytes) && number > state.number;
    taken_again || behind
}

/// Whether the state relies on an object.
fn needed(state: &State, name: &str) -> bool {
    match ObjectName::parse(name) {
        Some(ObjectName::Pack(_, run, hash)) => state.packs.get(&hash).is_some_and(|p| p.run == run && p.live()),
        Some(ObjectName::Segment(run, hash)) => {
            state.segments.get(&hash).is_some_and(|s| s.run == run && s.condemned.is_none())
        }
        Some(ObjectName::Record(number)) => number <= state.number,
        Some(ObjectName::Config) => true,
        _ => false,
    }
}

/// Whoever removes a marker first brings back what it hides.
fn markers_last(versions: &mut [Version]) {
    versions.sort_by_key(|v| v.kind == VersionKind::DeleteMarker);
}

/// Removes all versions of some objects, and their markers only behind everything that these hide.
fn remove_all(
    store: &dyn Versions,
    going: Vec<(String, Vec<Version>)>,
    report: &mut Noncurrent,
    observer: &dyn Observer,
) {
    observer.phase("removing versions", Some(going.len() as u64), Unit::Items);
    let one = |(name, mut versions): (String, Vec<Version>)| {
        if observer.interrupted() {
            return None;
        }
        markers_last(&mut versions);
        let removed = versions.iter().try_for_each(|version| store.remove_version(version));
        observer.advance(1);
        Some((name, removed))
    };
    for (name, removed) in parallel::map(REMOVALS_AT_ONCE, going, one).into_iter().flatten() {
        match removed {
            Ok(()) => report.removed += 1,
            Err(e) => report.refused.push((name, error_chain(&e))),
        }
    }
}
