//! What a restore would do, for whoever asks a person or stops a service before it begins.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::destination::{Overwrite, RelativePath, Room, Target, room_above};
use crate::primitives::progress::{Observer, Unit};
use crate::repository::Repository;
use crate::repository::snapshots::Snapshot;

use super::filter::{Filter, below};
use super::survey::survey;
use super::{RestoreError, RestoreOptions, RestoreReport, Work, extras, root_of};

/// What a restore would do.
#[derive(Debug, Clone, Default)]
pub struct Foreseen {
    /// What it would restore; `deleted` counts the extras.
    pub report: RestoreReport,
    /// What is in the target and not in the snapshot, and would be deleted.
    pub extras: Vec<RelativePath>,
    /// What it needs, by file system.
    pub needs: Vec<Needed>,
}

/// What a restore needs of one file system.
#[derive(Debug, Clone)]
pub struct Needed {
    /// The file system.
    pub device: u64,
    /// A directory on it.
    pub at: PathBuf,
    /// Bytes to be written, less what becomes free.
    pub bytes: u64,
    /// Entries to be made.
    pub entries: u64,
    /// What there is.
    pub room: Room,
}

impl Needed {
    pub(super) fn no_room(&self) -> Option<RestoreError> {
        let needed = (self.bytes, self.entries);
        let lacks = !self.room.holds(needed.0, needed.1);
        lacks.then(|| RestoreError::NoRoom { target: self.at.clone(), needed, room: self.room })
    }
}

impl Foreseen {
    /// The first file system that has too little room.
    pub fn no_room(&self) -> Option<RestoreError> {
        self.needs.iter().find_map(Needed::no_room)
    }
}

/// The first file system that has too little room for all of these restores, one after the other.
pub fn no_room_for_all(all: &[Foreseen]) -> Option<RestoreError> {
    let mut by_device: BTreeMap<u64, Needed> = BTreeMap::new();
    for need in all.iter().flat_map(|foreseen| &foreseen.needs) {
        let sum = by_device.entry(need.device).or_insert_with(|| Needed { bytes: 0, entries: 0, ..need.clone() });
        sum.bytes = sum.bytes.saturating_add(need.bytes);
        sum.entries = sum.entries.saturating_add(need.entries);
    }
    by_device.values().find_map(Needed::no_room)
}

/// Looks at what a restore would do. Nothing is changed, nor made. Extras are looked for if `options` has them deleted.
pub fn foresee(
    repository: &Arc<Repository>,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    observer: &dyn Observer,
) -> Result<Foreseen, RestoreError> {
    let (root, _) = root_of(repository, snapshot, options.subtree.as_deref())?;
    let filter = Filter::new(&options.include, &options.only, &[&options.exclude[..], &options.own].concat())?;
    let work = Work { repository, snapshot, root, filter: &filter, observer };
    work.unmatched()?;
    work.foresee(options)
}

impl Work<'_> {
    pub(super) fn foresee(&self, options: &RestoreOptions) -> Result<Foreseen, RestoreError> {
        self.observer.phase("looking", None, Unit::Items);
        let overwrite = options.target_options.overwrite;
        // A target that is not there has no extras, and is not made now.
        let target = match options.target.is_dir() {
            true if overwrite == Overwrite::Refuse => None,
            true => Some(Target::open(&options.target, options.target_options.clone())?),
            false => None,
        };
        let there = target.as_ref().map(|target| (target, overwrite));
        let found = survey(self.repository, &self.root, self.filter, there, self.observer)?;
        let (mut report, mut extras, mut freed) = (found.report, Vec::new(), HashMap::new());
        if let Some(target) = target.as_ref().filter(|_| options.delete.is_some()) {
            extras = self.extras(options, target, overwrite)?;
            report.deleted = extras.len() as u64;
            freed = extras::freed(target, &extras);
        }
        let mut needs = Vec::new();
        for (device, need) in found.needs {
            let at = below(&options.target, &need.at);
            let room = match &target {
                Some(target) => target.room(&need.at).ok(),
                None => room_above(&at),
            };
            let Some(room) = room else { continue };
            let bytes = need.bytes.saturating_sub(freed.get(&device).copied().unwrap_or(0));
            let device = if target.is_some() { device } else { device_above(&at) };
            needs.push(Needed { device, at, bytes, entries: need.entries, room });
        }
        Ok(Foreseen { report, extras, needs })
    }
}

/// The file system of the nearest directory that is there.
fn device_above(path: &Path) -> u64 {
    path.ancestors().find_map(|at| std::fs::metadata(at).ok()).map_or(0, |found| found.dev())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two restores that each fit, and do not fit together.
    #[test]
    fn restores_onto_one_file_system_need_room_together() {
        let need = |device, bytes| Needed {
            device,
            at: PathBuf::from("/d"),
            bytes,
            entries: 1,
            room: Room { bytes: 100, entries: None },
        };
        let of = |needs: Vec<Needed>| Foreseen { needs, ..Foreseen::default() };
        assert!(no_room_for_all(&[of(vec![need(1, 60), need(2, 60)])]).is_none());
        let both = [of(vec![need(1, 60)]), of(vec![need(1, 41)])];
        assert!(both.iter().all(|one| one.no_room().is_none()));
        assert!(matches!(no_room_for_all(&both), Some(RestoreError::NoRoom { needed: (101, 2), .. })));
    }
}
