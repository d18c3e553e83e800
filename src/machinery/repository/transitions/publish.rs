//! Publish: packs, their directories and snapshots become part of the repository.

use std::collections::BTreeMap;

use crate::formats::record::{InlineDirectories, PackEntry, SegmentEntry, SnapshotEntry};
use crate::formats::state::{DirectoryHome, PackState, SegmentState, SnapshotState};
use crate::words::ids::{ObjectHash, RunId, SnapshotId};

use super::VoidReason;
use super::draft::Draft;

/// Packs and directories that an operation brings.
pub(super) struct Arrival<'r> {
    pub run: RunId,
    pub packs: &'r [PackEntry],
    pub segments: &'r [SegmentEntry],
    pub inline: Option<&'r InlineDirectories>,
}

/// Directories of packs that an operation did not bring, and where they now are.
pub(super) type Homes = BTreeMap<ObjectHash, DirectoryHome>;

/// Publishes into the signer's own open run.
pub(super) fn publish(
    draft: &mut Draft<'_>,
    arrival: &Arrival<'_>,
    snapshots: &[SnapshotEntry],
) -> Result<(), VoidReason> {
    draft.own_open_run(arrival.run)?;
    // A second directory for a known pack is the owner's to give, by a Rewrite: first come.
    if let Some(pack) = arrive(draft, arrival)?.into_keys().next() {
        return Err(VoidReason::ForeignDirectory(pack));
    }
    // Parents are looked up before any of these is added: a snapshot is not the parent of its neighbour.
    snapshots.iter().flat_map(|s| &s.parents).try_for_each(|p| check_parent(draft, p))?;
    snapshots.iter().try_for_each(|s| add_snapshot(draft, arrival.run, s))
}

/// Adds packs and segments to a run, each pack with exactly one directory; returns directories for other packs.
pub(super) fn arrive(draft: &mut Draft<'_>, arrival: &Arrival<'_>) -> Result<Homes, VoidReason> {
    let mut homes = homes(draft.number, arrival)?;
    for segment in arrival.segments {
        add_segment(draft, arrival.run, segment)?;
    }
    for pack in arrival.packs {
        let home = homes.remove(&pack.name);
        add_pack(draft, arrival.run, pack, home)?;
    }
    Ok(homes)
}

fn homes(number: u64, arrival: &Arrival<'_>) -> Result<Homes, VoidReason> {
    let in_segments =
        arrival.segments.iter().flat_map(|s| s.packs.iter().map(|p| (*p, DirectoryHome::Segment(s.name))));
    let inline = arrival.inline.into_iter().flat_map(|i| &i.packs).map(|p| (*p, DirectoryHome::Record(number)));
    let mut homes = Homes::new();
    for (pack, home) in in_segments.chain(inline) {
        if homes.insert(pack, home).is_some() {
            return Err(VoidReason::TwoDirectories(pack));
        }
    }
    Ok(homes)
}

fn add_segment(draft: &mut Draft<'_>, run: RunId, segment: &SegmentEntry) -> Result<(), VoidReason> {
    let name = segment.name;
    if segment.run != run {
        return Err(VoidReason::SegmentOfAnotherRun { segment: name, run: segment.run });
    }
    if draft.segments.has(&name) {
        return Err(VoidReason::SegmentExists(name));
    }
    let (parts, packs, published) = (segment.parts, segment.packs.clone(), draft.number);
    draft.segments.put(name, SegmentState { run, parts, packs, published, condemned: None });
    Ok(())
}

fn add_pack(
    draft: &mut Draft<'_>,
    run: RunId,
    pack: &PackEntry,
    home: Option<DirectoryHome>,
) -> Result<(), VoidReason> {
    if pack.run != run {
        return Err(VoidReason::PackOfAnotherRun { pack: pack.name, run: pack.run });
    }
    // Condemned packs of an open run are still in the state, so this covers every name the run ever published.
    if draft.packs.has(&pack.name) {
        return Err(VoidReason::PackExists(pack.name));
    }
    let new = PackState {
        kind: pack.kind,
        run,
        len: pack.len,
        published: draft.number,
        home: home.ok_or(VoidReason::NoDirectory(pack.name))?,
        doom: None,
        condemned: None,
        lost: None,
        vouched: None,
    };
    draft.packs.put(pack.name, new);
    Ok(())
}

fn check_parent(draft: &Draft<'_>, parent: &SnapshotId) -> Result<(), VoidReason> {
    match draft.snapshots.get(parent) {
        None => Err(VoidReason::ParentNotLive(*parent)),
        Some(found) if found.holed => Err(VoidReason::ParentHoled(*parent)),
        Some(_) => Ok(()),
    }
}

fn check_tags(draft: &Draft<'_>, snapshot: &SnapshotEntry) -> Result<(), VoidReason> {
    let Some(certificate) = draft.certificate() else { return Ok(()) };
    if !certificate.hosts.contains(&snapshot.host) {
        return Err(VoidReason::ForeignHost(draft.writer));
    }
    if !certificate.sources.is_empty() && !certificate.sources.contains(&snapshot.source) {
        return Err(VoidReason::ForeignSource(draft.writer));
    }
    Ok(())
}

fn add_snapshot(draft: &mut Draft<'_>, run: RunId, snapshot: &SnapshotEntry) -> Result<(), VoidReason> {
    check_tags(draft, snapshot)?;
    if draft.snapshot_was_published(&snapshot.id) {
        return Err(VoidReason::SnapshotExists(snapshot.id));
    }
    let new = SnapshotState {
        run,
        published: draft.number,
        time_ms: snapshot.time_ms,
        root: snapshot.root,
        outcome: snapshot.outcome,
        host: snapshot.host,
        source: snapshot.source,
        description: snapshot.description.clone(),
        held: false,
        holed: false,
    };
    draft.snapshots.put(snapshot.id, new);
    Ok(())
}
