//! Whether every object that the folded state names is there, and what is there that it does not name.

use std::collections::{HashMap, HashSet};

use crate::cache::locations::PackRow;
use crate::format::names::{self, ObjectName};
use crate::format::state::{DirectoryHome, SegmentState};
use crate::primitives::ids::ObjectHash;
use crate::primitives::progress::{Observer, Unit};
use crate::repository::inventory::all_objects;
use crate::repository::{Repository, RepositoryError};
use crate::store::list_all;

use super::VerifyReport;

/// Places whose bytes cannot be had, and the finding that says why.
#[derive(Debug, Default)]
pub(crate) struct BadObject {
    /// Whole packs, by their row in the cache.
    pub packs: HashMap<PackRow, usize>,
    /// Single frames: row of the pack, number of the frame.
    pub frames: HashMap<(PackRow, u32), usize>,
    /// Packs about which there is a finding of any kind, by their row.
    pub touched: HashMap<PackRow, usize>,
    /// Segments that cannot be read.
    pub segments: Vec<ObjectHash>,
}

impl BadObject {
    /// The finding for a frame, if it is bad.
    pub(crate) fn finding(&self, pack: PackRow, frame: u32) -> Option<usize> {
        self.packs.get(&pack).or_else(|| self.frames.get(&(pack, frame))).copied()
    }
}

/// Compares a full listing with the state, and reads all directories that are not content.
pub(super) fn check(
    repository: &Repository,
    report: &mut VerifyReport,
    observer: &dyn Observer,
) -> Result<BadObject, RepositoryError> {
    observer.phase("listing", None, Unit::Items);
    let mut there = HashMap::new();
    for object in all_objects(&*repository.store)?.0 {
        observer.advance(1);
        there.insert(object.name, object.size);
    }
    let mut bad = BadObject::default();
    let (mut named, mut wrong) = (HashSet::new(), HashSet::new());
    let found = repository.lasting_differences(&there)?;
    let state = repository.state();
    for difference in found {
        let finding = report.find(difference.object.clone(), difference.what());
        if let Some(name) = difference.pack
            && let Some(place) = repository.cache().pack_by_name(&name)?
        {
            bad.packs.insert(place.row, finding);
            bad.touched.insert(place.row, finding);
        }
        bad.segments.extend(difference.segment);
        wrong.insert(difference.object);
    }
    for (name, pack) in state.packs.iter().filter(|(_, p)| p.live()) {
        report.objects += 1;
        named.insert(names::pack(pack.kind, pack.run, name));
    }
    for (name, segment) in state.segments.iter().filter(|(_, s)| s.live()) {
        let object = names::segment(segment.run, name);
        report.objects += 1;
        if !wrong.contains(&object) && !check_segment(repository, name, &object, report)? {
            bad.segments.push(*name);
        }
        named.insert(object);
    }
    check_keys(repository, &there, report)?;
    for name in there.keys() {
        match ObjectName::parse(name) {
            Some(ObjectName::Pack(..) | ObjectName::Segment(..)) if !named.contains(name) => report.unnamed += 1,
            Some(ObjectName::Checkpoint(_)) => check_checkpoint(repository, name, report)?,
            _ => {}
        }
    }
    Ok(bad)
}

/// Opens all parts of a segment; whether that can be done, or need not be done any more.
fn check_segment(
    repository: &Repository,
    name: &ObjectHash,
    object: &str,
    report: &mut VerifyReport,
) -> Result<bool, RepositoryError> {
    match repository.directories(&repository.state(), DirectoryHome::Segment(*name), true) {
        Ok(_) => Ok(true),
        Err(e) if e.is_damage() => {
            if !repository.refresh_by_name()?.segments.get(name).is_some_and(SegmentState::live) {
                return Ok(true);
            }
            report.find_error(&e);
            Ok(false)
        }
        Err(e) => {
            report.find(object, e.to_string());
            Ok(false)
        }
    }
}

fn check_keys(
    repository: &Repository,
    there: &HashMap<String, u64>,
    report: &mut VerifyReport,
) -> Result<(), RepositoryError> {
    for name in there.keys().filter(|n| matches!(ObjectName::parse(n), Some(ObjectName::Slot(_)))) {
        report.objects += 1;
        match repository.get(name) {
            Ok(bytes) => {
                if let Err(e) = crate::format::slot::Slot::decode(&bytes) {
                    report.find(name.clone(), e.to_string());
                }
            }
            Err(e) if is_unlisted(repository, name, &e)? => {}
            Err(e) => drop(report.find_error(&e)),
        }
    }
    Ok(())
}

/// Whether an object that was listed and is missing is not listed any more: somebody has deleted it meanwhile, as a prune
/// does with older checkpoints and `key remove` with a key slot.
fn is_unlisted(repository: &Repository, name: &str, error: &RepositoryError) -> Result<bool, RepositoryError> {
    let folder = name.split_once('/').map_or("", |(folder, _)| folder);
    Ok(error.is_missing() && !list_all(&*repository.store, folder)?.iter().any(|listed| listed.name == name))
}

fn check_checkpoint(repository: &Repository, name: &str, report: &mut VerifyReport) -> Result<(), RepositoryError> {
    report.objects += 1;
    let bytes = match repository.get(name) {
        Ok(bytes) => bytes,
        Err(e) if is_unlisted(repository, name, &e)? => return Ok(()),
        Err(e) if e.is_damage() => {
            report.find_error(&e);
            return Ok(());
        }
        Err(e) => return Err(e),
    };
    let secret = |e: &crate::format::envelope::Envelope| repository.keys.secret(e);
    match crate::format::checkpoint::decode(&bytes, &repository.config.owner, secret) {
        Ok(state) if names::checkpoint(state.number) == name => {}
        Ok(state) => drop(report.find(name, format!("it is the checkpoint of record {}", state.number))),
        Err(e) => drop(report.find(name, e.to_string())),
    }
    Ok(())
}
