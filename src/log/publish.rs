//! Publish: packs, their directories and snapshots become part of the repository.

use std::collections::BTreeMap;

use crate::format::record::{InlineDirectories, PackEntry, SegmentEntry, SnapshotEntry};
use crate::format::state::{DirectoryHome, PackState, SegmentState, SnapshotState};
use crate::primitives::ids::{ObjectHash, RunId, SnapshotId};

use super::VoidReason;
use super::staged::Staged;

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
    staged: &mut Staged<'_>,
    arrival: &Arrival<'_>,
    snapshots: &[SnapshotEntry],
) -> Result<(), VoidReason> {
    staged.own_open_run(arrival.run)?;
    // A second directory for a known pack is the owner's to give, by a Rewrite: first come.
    if let Some(pack) = arrive(staged, arrival)?.into_keys().next() {
        return Err(VoidReason::ForeignDirectory(pack));
    }
    // Parents are looked up before any of these is added: a snapshot is not the parent of its neighbour.
    snapshots.iter().flat_map(|s| &s.parents).try_for_each(|p| check_parent(staged, p))?;
    snapshots.iter().try_for_each(|s| add_snapshot(staged, arrival.run, s))
}

/// Adds packs and segments to a run, each pack with exactly one directory; returns directories for other packs.
pub(super) fn arrive(staged: &mut Staged<'_>, arrival: &Arrival<'_>) -> Result<Homes, VoidReason> {
    let mut homes = homes(staged.number, arrival)?;
    for segment in arrival.segments {
        add_segment(staged, arrival.run, segment)?;
    }
    for pack in arrival.packs {
        let home = homes.remove(&pack.name);
        add_pack(staged, arrival.run, pack, home)?;
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

/// No pack, and no part of a segment, is longer: one PUT takes 5 GiB. Sums of such lengths do not overflow.
const OBJECT_LEN_MAX: u64 = 1 << 40;

fn add_segment(staged: &mut Staged<'_>, run: RunId, segment: &SegmentEntry) -> Result<(), VoidReason> {
    let name = segment.name;
    if segment.run != run {
        return Err(VoidReason::SegmentOfAnotherRun { segment: name, run: segment.run });
    }
    if staged.segments.has(&name) {
        return Err(VoidReason::SegmentExists(name));
    }
    if segment.parts.iter().any(|len| *len > OBJECT_LEN_MAX) {
        return Err(VoidReason::AbsurdLength(name));
    }
    let (parts, packs, published) = (segment.parts, segment.packs.clone(), staged.number);
    staged.segments.put(name, SegmentState { run, parts, packs, published, condemned: None });
    Ok(())
}

fn add_pack(
    staged: &mut Staged<'_>,
    run: RunId,
    pack: &PackEntry,
    home: Option<DirectoryHome>,
) -> Result<(), VoidReason> {
    if pack.run != run {
        return Err(VoidReason::PackOfAnotherRun { pack: pack.name, run: pack.run });
    }
    // Condemned packs of an open run are still in the state, so this covers every name the run ever published.
    if staged.packs.has(&pack.name) {
        return Err(VoidReason::PackExists(pack.name));
    }
    if pack.len > OBJECT_LEN_MAX {
        return Err(VoidReason::AbsurdLength(pack.name));
    }
    let new = PackState {
        kind: pack.kind,
        run,
        len: pack.len,
        published: staged.number,
        home: home.ok_or(VoidReason::NoDirectory(pack.name))?,
        doom: None,
        condemned: None,
        lost: None,
        vouched: None,
    };
    staged.packs.put(pack.name, new);
    Ok(())
}

fn check_parent(staged: &Staged<'_>, parent: &SnapshotId) -> Result<(), VoidReason> {
    match staged.snapshots.get(parent) {
        None => Err(VoidReason::ParentNotLive(*parent)),
        Some(found) if found.damaged => Err(VoidReason::ParentHoled(*parent)),
        Some(_) => Ok(()),
    }
}

fn check_tags(staged: &Staged<'_>, snapshot: &SnapshotEntry) -> Result<(), VoidReason> {
    let Some(certificate) = staged.certificate() else { return Ok(()) };
    if !certificate.hosts.contains(&snapshot.host) {
        return Err(VoidReason::ForeignHost(staged.writer));
    }
    if !certificate.sources.is_empty() && !certificate.sources.contains(&snapshot.source) {
        return Err(VoidReason::ForeignSource(staged.writer));
    }
    Ok(())
}

fn add_snapshot(staged: &mut Staged<'_>, run: RunId, snapshot: &SnapshotEntry) -> Result<(), VoidReason> {
    check_tags(staged, snapshot)?;
    if staged.snapshot_was_published(&snapshot.id) {
        return Err(VoidReason::SnapshotExists(snapshot.id));
    }
    let new = SnapshotState {
        run,
        published: staged.number,
        time_ms: snapshot.time_ms,
        root: snapshot.root,
        outcome: snapshot.outcome,
        host: snapshot.host,
        source: snapshot.source,
        description: snapshot.description.clone(),
        held: false,
        damaged: false,
    };
    staged.snapshots.put(snapshot.id, new);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::{DirectoryHome, RunId, SegmentEntry, VoidReason};
    use crate::crypto::sign::Verifier;
    use crate::format::record::{Operation, RunKind};

    fn scene() -> (Scene, u64) {
        let mut scene = Scene::new();
        let run = scene.ok(ALICE, vec![begin(RunKind::Backup, 1)]);
        (scene, run)
    }

    fn bring(run: u64, packs: &[(u64, u64)], segments: Vec<SegmentEntry>, in_record: &[u64]) -> Operation {
        let packs = packs.iter().map(|(run, n)| pack(*run, *n)).collect();
        Operation::Publish { run: RunId(run), packs, segments, inline: inline(in_record), snapshots: vec![] }
    }

    #[test]
    fn a_pack_is_published_with_the_home_of_its_directory() {
        let (mut scene, run) = scene();
        let number = scene.ok(ALICE, vec![bring(run, &[(run, 1), (run, 2)], vec![segment(run, 9, &[2])], &[1])]);
        let packs = &scene.state.packs;
        assert_eq!(packs[&name(1)].home, DirectoryHome::Record(number));
        assert_eq!(packs[&name(2)].home, DirectoryHome::Segment(name(9)));
        assert!(packs.values().all(|p| p.live() && p.run == RunId(run) && p.published == number));
        assert_eq!(scene.state.segments[&name(9)].packs, [name(2)]);
    }

    #[test]
    fn every_new_pack_has_exactly_one_directory_and_no_other_pack_gets_one() {
        let (mut scene, run) = scene();
        scene.ok(ALICE, vec![publish(run, &[1], vec![])]);
        let segments = |packs: &[&[u64]]| -> Vec<_> {
            packs.iter().enumerate().map(|(i, p)| segment(run, 100 + i as u64, p)).collect()
        };
        let new = [(run, 2)];
        for (operation, reason) in [
            (bring(run, &new, vec![], &[]), VoidReason::NoDirectory(name(2))),
            (bring(run, &new, segments(&[&[2]]), &[2]), VoidReason::TwoDirectories(name(2))),
            (bring(run, &new, segments(&[&[2], &[2]]), &[]), VoidReason::TwoDirectories(name(2))),
            (bring(run, &new, segments(&[&[2, 2]]), &[]), VoidReason::TwoDirectories(name(2))),
            (bring(run, &new, vec![], &[2, 2]), VoidReason::TwoDirectories(name(2))),
            (bring(run, &new, segments(&[&[1, 2]]), &[]), VoidReason::ForeignDirectory(name(1))),
            (bring(run, &new, vec![], &[2, 3]), VoidReason::ForeignDirectory(name(3))),
        ] {
            scene.void(ALICE, vec![operation], reason);
        }
    }

    #[test]
    fn packs_and_segments_lie_in_the_folder_of_the_run_and_are_new() {
        let (mut scene, run) = scene();
        let other = scene.ok(BOB, vec![begin(RunKind::Backup, 2)]);
        scene.ok(ALICE, vec![publish_segment(run, &[1], 9)]);
        let (pack, segment_name) = (name(2), name(8));
        for (operation, reason) in [
            (bring(run, &[(other, 2)], vec![], &[2]), VoidReason::PackOfAnotherRun { pack, run: RunId(other) }),
            (bring(run, &[(run, 1)], vec![], &[1]), VoidReason::PackExists(name(1))),
            (bring(run, &[(run, 2), (run, 2)], vec![], &[2]), VoidReason::PackExists(name(2))),
            (bring(run, &[], vec![segment(run, 9, &[])], &[]), VoidReason::SegmentExists(name(9))),
            (
                bring(run, &[], vec![segment(other, 8, &[])], &[]),
                VoidReason::SegmentOfAnotherRun { segment: segment_name, run: RunId(other) },
            ),
        ] {
            scene.void(ALICE, vec![operation], reason);
        }
        scene.void(BOB, vec![bring(other, &[(other, 1)], vec![], &[1])], VoidReason::PackExists(name(1)));
    }

    #[test]
    fn only_the_writer_of_a_run_publishes_in_it() {
        let (mut scene, run) = scene();
        for writer in [BOB, OWNER] {
            scene.void(writer, vec![publish(run, &[1], vec![])], VoidReason::RunOfAnother(RunId(run)));
        }
        scene.void(ALICE, vec![publish(99, &[1], vec![])], VoidReason::RunNotOpen(RunId(99)));
    }

    #[test]
    fn a_credential_publishes_for_the_hosts_and_sources_of_its_certificate() {
        let (alice, bob) = (ALICE.id(), BOB.id());
        let cases: [(Verifier, u8, u8, Option<VoidReason>); 7] = [
            (ALICE, 1, 1, None),
            (ALICE, 1, 200, None),
            (ALICE, 2, 1, Some(VoidReason::ForeignHost(alice))),
            (BOB, 2, 2, None),
            (BOB, 2, 1, Some(VoidReason::ForeignSource(bob))),
            (BOB, 1, 2, Some(VoidReason::ForeignHost(bob))),
            (OWNER, 55, 66, None),
        ];
        for (writer, host, source, refused) in cases {
            let mut scene = Scene::new();
            let run = scene.ok(writer, vec![begin(RunKind::Backup, if writer == BOB { 2 } else { 1 })]);
            let operations = vec![publish(run, &[], vec![snapshot(1, &[], host, source)])];
            match refused {
                Some(reason) => scene.void(writer, operations, reason),
                None => drop(scene.ok(writer, operations)),
            }
        }
    }

    #[test]
    fn parents_are_live_and_whole() {
        let (mut scene, run) = scene();
        scene.ok(ALICE, vec![publish(run, &[], [1, 2, 3].map(|n| snapshot(n, &[], 1, 1)).to_vec())]);
        scene.ok(OWNER, vec![Operation::Forget { snapshots: snaps(&[1]) }, lost(&[], &[2])]);
        let child = |parents: &[u64]| vec![publish(run, &[], vec![snapshot(9, parents, 1, 1)])];
        scene.void(ALICE, child(&[3, 1]), VoidReason::ParentNotLive(snap(1)));
        scene.void(ALICE, child(&[2]), VoidReason::ParentHoled(snap(2)));
        scene.void(ALICE, child(&[77]), VoidReason::ParentNotLive(snap(77)));
        scene.void(ALICE, child(&[9]), VoidReason::ParentNotLive(snap(9)));
        let neighbours = vec![snapshot(8, &[], 1, 1), snapshot(9, &[8], 1, 1)];
        scene.void(ALICE, vec![publish(run, &[], neighbours)], VoidReason::ParentNotLive(snap(8)));
        scene.ok(ALICE, child(&[3]));
    }

    /// A file cache has read under snapshot 1. It is forgotten and its content deleted. If a hostile machine
    /// could publish the id anew, the cache would take it for a live parent and reuse what is gone.
    #[test]
    fn a_snapshot_id_never_comes_back() {
        let (mut scene, run) = scene();
        let one = |n| publish(run, &[], vec![snapshot(n, &[], 1, 1)]);
        scene.ok(ALICE, vec![one(1), one(2)]);
        scene.void(ALICE, vec![one(2)], VoidReason::SnapshotExists(snap(2)));
        scene.void(ALICE, vec![one(3), one(3)], VoidReason::SnapshotExists(snap(3)));
        scene.ok(OWNER, vec![Operation::Forget { snapshots: snaps(&[1]) }]);
        let other = scene.ok(BOB, vec![begin(RunKind::Backup, 2)]);
        let stolen = publish(other, &[], vec![snapshot(1, &[], 2, 2)]);
        scene.void(BOB, vec![stolen], VoidReason::SnapshotExists(snap(1)));
    }
}
