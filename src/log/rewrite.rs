//! Doom and Rewrite: how dead chunks go, in two steps.
//!
//! A Doom says what is dead; from then on backups do not count on it. A Rewrite condemns a pack once every run
//! that was open at that time is over. Nothing here is needed for safety, which is that a record holds at its
//! own number; it is what keeps prune from starving backups (DESIGN.md, section 6, rule 5).

use std::collections::{BTreeMap, BTreeSet};

use crate::format::record::{DoomedPack, RunKind};
use crate::format::state::{DirectoryHome, Doom, PackState};
use crate::primitives::ids::{ObjectHash, RunId};

use super::VoidReason;
use super::publish::{Arrival, Homes, arrive};
use super::staged::Staged;

/// Dead chunks of a block: first, count, and the record that found them.
type Dated = Vec<(u32, u32, u64)>;

/// Records what was found dead in packs, in place of what was said of them before.
pub(super) fn doom(staged: &mut Staged<'_>, packs: &[DoomedPack]) -> Result<(), VoidReason> {
    staged.owner_only("doom packs")?;
    let (number, mut seen) = (staged.number, BTreeSet::new());
    for doomed in packs {
        if !seen.insert(doomed.pack) {
            return Err(VoidReason::PackTwice(doomed.pack));
        }
        let pack = staged.uncondemned_pack(&doomed.pack)?;
        let new = succeed(pack.doom.take(), doomed, number)?;
        pack.doom = Some(new);
    }
    Ok(())
}

/// The Doom that follows `older`: what both name keeps its older number.
fn succeed(older: Option<Doom>, doomed: &DoomedPack, number: u64) -> Result<Doom, VoidReason> {
    let pack = doomed.pack;
    let mut dead = BTreeMap::new();
    for chunks in &doomed.dead {
        let block = chunks.block;
        check_ranges(&chunks.ranges).ok_or(VoidReason::BadRanges { pack, block })?;
        let before = older.as_ref().and_then(|d| d.dead.get(&block)).map_or(&[][..], Vec::as_slice);
        if dead.insert(block, date(&chunks.ranges, before, number)).is_some() {
            return Err(VoidReason::BlockTwice { pack, block });
        }
    }
    // A pack that is to be rewritten for another reason does not wait anew for every Doom that repeats it.
    let repeated = older.filter(|d| d.dead.is_empty() && dead.is_empty());
    Ok(Doom { number: repeated.map_or(number, |d| d.number), dead })
}

/// At least one range, none empty, ascending, without overlap or overflow.
fn check_ranges(ranges: &[(u32, u32)]) -> Option<()> {
    let mut end = 0;
    for &(first, count) in ranges {
        if first < end || count == 0 {
            return None;
        }
        end = first.checked_add(count)?;
    }
    (!ranges.is_empty()).then_some(())
}

/// Gives each chunk of `ranges` its number in `older`, or `number`. Both ascend; neighbours of one number merge.
fn date(ranges: &[(u32, u32)], older: &[(u32, u32, u64)], number: u64) -> Dated {
    let mut out = Dated::new();
    for &(first, count) in ranges {
        let (mut at, end) = (first, first + count);
        let from = older.partition_point(|o| o.0 + o.1 <= first);
        for &(old_first, old_count, old_number) in older[from..].iter().take_while(|o| o.0 < end) {
            push(&mut out, at, old_first.max(at), number);
            at = old_first.max(at);
            let old_end = (old_first + old_count).min(end);
            push(&mut out, at, old_end, old_number);
            at = old_end;
        }
        push(&mut out, at, end, number);
    }
    out
}

fn push(out: &mut Dated, first: u32, end: u32, number: u64) {
    if first == end {
        return;
    }
    match out.last_mut() {
        Some(last) if last.0 + last.1 == first && last.2 == number => last.1 += end - first,
        _ => out.push((first, end - first, number)),
    }
}

/// The newest number that counts against condemning a doomed pack.
pub fn newest_doom(doom: &Doom) -> u64 {
    doom.dead.values().flatten().map(|d| d.2).max().unwrap_or(doom.number)
}

/// Whether a Rewrite may condemn the pack while `oldest` is the oldest other open run.
pub(super) fn check_condemnable(
    name: &ObjectHash,
    pack: &PackState,
    oldest: Option<RunId>,
    other_and_open: impl FnOnce(RunId) -> bool,
) -> Result<(), VoidReason> {
    let name = *name;
    if pack.condemned.is_some() {
        return Err(VoidReason::PackNotLive(name));
    }
    if other_and_open(pack.run) {
        return Err(VoidReason::PackOfOpenRun { pack: name, run: pack.run });
    }
    let doomed = newest_doom(pack.doom.as_ref().ok_or(VoidReason::NotDoomed(name))?);
    match oldest {
        Some(open) if doomed >= open.0 => Err(VoidReason::DoomedTooLate { pack: name, doomed, open }),
        _ => Ok(()),
    }
}

/// Brings new packs, and condemns what they replace.
pub(super) fn rewrite(
    staged: &mut Staged<'_>,
    arrival: &Arrival<'_>,
    packs: &[ObjectHash],
    segments: &[ObjectHash],
) -> Result<(), VoidReason> {
    staged.owner_only("rewrite packs")?;
    let run = staged.own_open_run(arrival.run)?;
    if !matches!(run.kind, RunKind::Prune | RunKind::Repair) {
        return Err(VoidReason::RunCannotRewrite(arrival.run));
    }
    // First what goes, so that nothing that comes with this operation can be condemned by it.
    condemn_packs(staged, arrival.run, packs)?;
    condemn_segments(staged, segments)?;
    let homes = arrive(staged, arrival)?;
    move_directories(staged, homes)?;
    segments.iter().try_for_each(|segment| check_directories(staged, *segment))
}

fn condemn_packs(staged: &mut Staged<'_>, run: RunId, packs: &[ObjectHash]) -> Result<(), VoidReason> {
    let (number, oldest) = (staged.number, staged.oldest_other_open_run(run));
    for name in packs {
        let pack = staged.packs.get(name).ok_or(VoidReason::PackNotLive(*name))?;
        check_condemnable(name, pack, oldest, |of| of != run && staged.open_run(of).is_ok())?;
        staged.uncondemned_pack(name)?.condemned = Some(number);
    }
    Ok(())
}

fn condemn_segments(staged: &mut Staged<'_>, segments: &[ObjectHash]) -> Result<(), VoidReason> {
    let number = staged.number;
    for name in segments {
        let live = staged.segments.edit(name).filter(|s| s.live());
        live.ok_or(VoidReason::SegmentNotLive(*name))?.condemned = Some(number);
    }
    Ok(())
}

/// Lost packs keep a directory too: it says which blocks are missing.
fn move_directories(staged: &mut Staged<'_>, homes: Homes) -> Result<(), VoidReason> {
    for (name, home) in homes {
        let pack = staged.packs.edit(&name).filter(|p| p.condemned.is_none());
        pack.ok_or(VoidReason::ForeignDirectory(name))?.home = home;
    }
    Ok(())
}

/// No pack that stays has its directory in the condemned `segment`.
fn check_directories(staged: &Staged<'_>, segment: ObjectHash) -> Result<(), VoidReason> {
    let packs = staged.segments.get(&segment).map_or(&[][..], |s| s.packs.as_slice());
    let stays = |p: &PackState| p.condemned.is_none() && p.home == DirectoryHome::Segment(segment);
    match packs.iter().find(|name| staged.packs.get(name).is_some_and(stays)) {
        Some(pack) => Err(VoidReason::DirectoryLost { pack: *pack, segment }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::{BTreeMap, DirectoryHome, Doom, DoomedPack, RunId, RunKind, VoidReason, date};
    use crate::format::record::{DeadChunks, Operation, SegmentEntry};
    use crate::log::{condemnable, condemnable_packs, oldest_other_open_run};
    use crate::primitives::ids::BlockId;

    fn doom_of(scene: &Scene, pack: u64) -> &Doom {
        scene.state.packs[&name(pack)].doom.as_ref().unwrap()
    }

    /// Packs 1 to 3 of a run that is over: 1 and 2 in segment 9, 3 in the record.
    fn scene() -> Scene {
        let mut scene = Scene::new();
        let run = scene.ok(ALICE, vec![begin(RunKind::Backup, 1)]);
        scene.ok(ALICE, vec![publish_segment(run, &[1, 2], 9), publish(run, &[3], vec![]), end(run)]);
        scene
    }

    fn prune(scene: &mut Scene) -> u64 {
        scene.ok(OWNER, vec![begin(RunKind::Prune, 1)])
    }

    #[test]
    fn dead_chunks_named_again_keep_their_older_number() {
        type Case<'a> = (&'a [(u32, u32)], &'a [(u32, u32)], &'a [(u32, u32, u64)]);
        let cases: [Case; 8] = [
            (&[(0, 4)], &[(0, 4)], &[(0, 4, 1)]),
            (&[(2, 2)], &[(0, 8)], &[(0, 2, 2), (2, 2, 1), (4, 4, 2)]),
            (&[(0, 8)], &[(2, 2)], &[(2, 2, 1)]),
            (&[(0, 2), (6, 2)], &[(1, 6)], &[(1, 1, 1), (2, 4, 2), (6, 1, 1)]),
            (&[(0, 2)], &[(2, 2)], &[(2, 2, 2)]),
            (&[(0, 2), (2, 2)], &[(0, 4)], &[(0, 4, 1)]),
            (&[(5, 1)], &[(0, 1), (9, 1)], &[(0, 1, 2), (9, 1, 2)]),
            (&[(u32::MAX - 1, 1)], &[(0, u32::MAX)], &[(0, u32::MAX - 1, 2), (u32::MAX - 1, 1, 1)]),
        ];
        for (before, now, expected) in cases {
            assert_eq!(date(now, &date(before, &[], 1), 2), expected, "{before:?} then {now:?}");
        }
    }

    #[test]
    fn a_new_doom_replaces_the_earlier_one_of_its_pack() {
        let mut scene = scene();
        let first = scene.ok(OWNER, vec![doom_ranges(1, &[(0, 2)]), doom_ranges(2, &[(0, 1)])]);
        let second = scene.ok(OWNER, vec![doom_ranges(1, &[(1, 3)])]);
        let block = BlockId { run: RunId(1), number: 0 };
        assert_eq!(doom_of(&scene, 1).dead[&block], [(1, 1, first), (2, 2, second)]);
        assert_eq!((doom_of(&scene, 1).number, doom_of(&scene, 2).number), (second, first));
        let third = scene.ok(OWNER, vec![doom_ranges(1, &[])]);
        assert_eq!(doom_of(&scene, 1), &Doom { number: third, dead: BTreeMap::new() });
        scene.ok(OWNER, vec![doom_ranges(1, &[])]);
        assert_eq!(doom_of(&scene, 1).number, third);
    }

    #[test]
    fn ranges_of_dead_chunks_ascend_without_overlap_or_overflow() {
        let (pack, block) = (name(1), BlockId { run: RunId(1), number: 0 });
        let bad: [&[(u32, u32)]; 5] =
            [&[(1, 0)], &[(0, 2), (1, 2)], &[(4, 1), (0, 1)], &[(u32::MAX, 1)], &[(0, 1), (1, u32::MAX)]];
        for ranges in bad {
            scene().void(OWNER, vec![doom_ranges(1, ranges)], VoidReason::BadRanges { pack, block });
        }
        scene().ok(OWNER, vec![doom_ranges(1, &[(0, 1), (1, 1), (u32::MAX - 1, 1)])]);
        let with = |dead| Operation::Doom { packs: vec![DoomedPack { pack, dead }] };
        let none = DeadChunks { block, ranges: vec![] };
        scene().void(OWNER, vec![with(vec![none])], VoidReason::BadRanges { pack, block });
        let one = DeadChunks { block, ranges: vec![(0, 1)] };
        scene().void(OWNER, vec![with(vec![one.clone(), one])], VoidReason::BlockTwice { pack, block });
    }

    #[test]
    fn the_owner_dooms_live_packs_each_once() {
        let mut scene = scene();
        let refused = VoidReason::NotAllowed { writer: ALICE.id(), what: "doom packs" };
        scene.void(ALICE, vec![doom_ranges(1, &[])], refused);
        scene.void(OWNER, vec![doom_ranges(77, &[])], VoidReason::PackNotLive(name(77)));
        let twice = Operation::Doom { packs: vec![DoomedPack { pack: name(1), dead: vec![] }; 2] };
        scene.void(OWNER, vec![twice], VoidReason::PackTwice(name(1)));
        scene.ok(OWNER, vec![lost(&[1], &[])]);
        // What is lost can be doomed too: else it would never go.
        scene.ok(OWNER, vec![doom_ranges(1, &[])]);
    }

    #[test]
    fn a_doomed_pack_is_condemned_for_ever_at_once_if_no_other_run_is_open() {
        let mut scene = scene();
        let run = prune(&mut scene);
        assert!(!condemnable(&scene.state, RunId(run), &name(3)));
        let number = scene.ok(OWNER, vec![doom_ranges(3, &[(0, 1)]), rewrite(run, &[30], &[3], &[])]);
        assert_eq!(scene.state.packs[&name(3)].condemned, Some(number));
        assert!(scene.state.packs[&name(30)].live());
        for operation in [doom_ranges(3, &[]), rewrite(run, &[], &[3], &[]), lost(&[3], &[])] {
            scene.void(OWNER, vec![operation], VoidReason::PackNotLive(name(3)));
        }
    }

    #[test]
    fn only_an_owner_s_prune_or_repair_rewrites() {
        let mut scene = scene();
        let backup = scene.ok(OWNER, vec![begin(RunKind::Backup, 1)]);
        let others = scene.ok(ALICE, vec![begin(RunKind::Backup, 1)]);
        let refused = VoidReason::NotAllowed { writer: ALICE.id(), what: "rewrite packs" };
        scene.void(ALICE, vec![rewrite(others, &[30], &[], &[])], refused);
        scene.void(OWNER, vec![rewrite(others, &[30], &[], &[])], VoidReason::RunOfAnother(RunId(others)));
        scene.void(OWNER, vec![rewrite(backup, &[30], &[], &[])], VoidReason::RunCannotRewrite(RunId(backup)));
        scene.void(OWNER, vec![rewrite(99, &[30], &[], &[])], VoidReason::RunNotOpen(RunId(99)));
        for kind in [RunKind::Prune, RunKind::Repair] {
            let run = scene.ok(OWNER, vec![begin(kind, 1)]);
            scene.ok(OWNER, vec![rewrite(run, &[run + 100], &[], &[])]);
        }
    }

    #[test]
    fn what_is_not_doomed_or_not_live_is_not_condemned() {
        let mut scene = scene();
        let run = prune(&mut scene);
        scene.void(OWNER, vec![rewrite(run, &[], &[3], &[])], VoidReason::NotDoomed(name(3)));
        scene.void(OWNER, vec![rewrite(run, &[], &[77], &[])], VoidReason::PackNotLive(name(77)));
        scene.void(OWNER, vec![rewrite(run, &[30], &[30], &[])], VoidReason::PackNotLive(name(30)));
        scene.ok(OWNER, vec![doom_ranges(3, &[])]);
        scene.void(OWNER, vec![rewrite(run, &[], &[3, 3], &[])], VoidReason::PackNotLive(name(3)));
        scene.ok(OWNER, vec![lost(&[3], &[]), rewrite(run, &[], &[3], &[])]);
        scene.void(OWNER, vec![rewrite(run, &[], &[3], &[])], VoidReason::PackNotLive(name(3)));
        scene.void(OWNER, vec![doom_ranges(3, &[])], VoidReason::PackNotLive(name(3)));
    }

    /// A backup that is under way may count on what was found dead after it began.
    #[test]
    fn a_pack_is_condemned_only_if_it_was_doomed_before_the_oldest_other_open_run() {
        let mut scene = scene();
        scene.ok(OWNER, vec![doom_ranges(1, &[(0, 1)])]);
        let backup = scene.ok(BOB, vec![begin(RunKind::Backup, 2)]);
        let late = scene.ok(OWNER, vec![doom_ranges(2, &[(0, 1)]), doom_ranges(3, &[])]);
        let run = prune(&mut scene);
        assert_eq!(oldest_other_open_run(&scene.state, RunId(run)), Some(RunId(backup)));
        assert_eq!(condemnable_packs(&scene.state, RunId(run)).collect::<Vec<_>>(), [name(1)]);
        for pack in [2, 3] {
            let reason = VoidReason::DoomedTooLate { pack: name(pack), doomed: late, open: RunId(backup) };
            scene.void(OWNER, vec![rewrite(run, &[], &[pack], &[])], reason);
        }
        // Doomed again with nothing new, pack 1 does not wait anew.
        scene.ok(OWNER, vec![doom_ranges(1, &[(0, 1)])]);
        scene.ok(OWNER, vec![rewrite(run, &[], &[1], &[])]);
        scene.ok(BOB, vec![end(backup)]);
        assert!(condemnable(&scene.state, RunId(run), &name(2)));
        scene.ok(OWNER, vec![rewrite(run, &[], &[2, 3], &[])]);
    }

    #[test]
    fn the_newest_dead_chunk_of_a_pack_decides() {
        let mut scene = scene();
        scene.ok(OWNER, vec![doom_ranges(1, &[(0, 1)])]);
        let backup = scene.ok(BOB, vec![begin(RunKind::Backup, 2)]);
        let late = scene.ok(OWNER, vec![doom_ranges(1, &[(0, 2)])]);
        let run = prune(&mut scene);
        let reason = VoidReason::DoomedTooLate { pack: name(1), doomed: late, open: RunId(backup) };
        scene.void(OWNER, vec![rewrite(run, &[], &[1], &[])], reason);
    }

    #[test]
    fn a_run_ended_or_begun_in_the_same_record_counts_as_it_then_is() {
        let mut scene = scene();
        let prune = prune(&mut scene);
        let repair = scene.ok(OWNER, vec![begin(RunKind::Repair, 1)]);
        scene.ok(OWNER, vec![doom_ranges(1, &[]), close(repair), rewrite(prune, &[], &[1], &[])]);
        let next = scene.state.number + 1;
        let begun = vec![begin(RunKind::Backup, 1), doom_ranges(2, &[]), rewrite(prune, &[], &[2], &[])];
        let reason = VoidReason::DoomedTooLate { pack: name(2), doomed: next, open: RunId(next) };
        scene.void(OWNER, begun, reason);
    }

    #[test]
    fn packs_of_other_open_runs_are_left_alone_and_of_the_own_run_not() {
        let mut scene = scene();
        let backup = scene.ok(BOB, vec![begin(RunKind::Backup, 2)]);
        scene.ok(BOB, vec![publish(backup, &[40], vec![])]);
        let run = prune(&mut scene);
        scene.ok(OWNER, vec![doom_ranges(40, &[])]);
        let reason = VoidReason::PackOfOpenRun { pack: name(40), run: RunId(backup) };
        scene.void(OWNER, vec![rewrite(run, &[], &[40], &[])], reason);
        scene.ok(OWNER, vec![close(backup), publish(run, &[50], vec![]), doom_ranges(50, &[])]);
        scene.ok(OWNER, vec![rewrite(run, &[], &[40, 50], &[])]);
    }

    fn with_segments(mut operation: Operation, new: Vec<SegmentEntry>) -> Operation {
        if let Operation::Rewrite { segments, .. } = &mut operation {
            *segments = new;
        }
        operation
    }

    #[test]
    fn a_pack_that_stays_keeps_its_directory() {
        let mut scene = scene();
        let run = prune(&mut scene);
        scene.ok(OWNER, vec![doom_ranges(1, &[])]);
        let alone = VoidReason::DirectoryLost { pack: name(2), segment: name(9) };
        scene.void(OWNER, vec![rewrite(run, &[], &[1], &[9])], alone);
        let moved = with_segments(rewrite(run, &[], &[1], &[9]), vec![segment(run, 90, &[2, 3])]);
        let number = scene.ok(OWNER, vec![moved]);
        assert_eq!(scene.state.segments[&name(9)].condemned, Some(number));
        for pack in [2, 3] {
            assert_eq!(scene.state.packs[&name(pack)].home, DirectoryHome::Segment(name(90)));
        }
        for bad in [9, 77] {
            scene.void(OWNER, vec![rewrite(run, &[], &[], &[bad])], VoidReason::SegmentNotLive(name(bad)));
        }
        let own = with_segments(rewrite(run, &[], &[], &[91]), vec![segment(run, 91, &[])]);
        scene.void(OWNER, vec![own], VoidReason::SegmentNotLive(name(91)));
    }

    #[test]
    fn a_lost_pack_that_stays_keeps_its_directory_too() {
        let mut scene = scene();
        let run = prune(&mut scene);
        scene.ok(OWNER, vec![lost(&[2], &[]), doom_ranges(1, &[])]);
        let alone = VoidReason::DirectoryLost { pack: name(2), segment: name(9) };
        scene.void(OWNER, vec![rewrite(run, &[], &[1], &[9])], alone);
        let moved = with_segments(rewrite(run, &[], &[1], &[9]), vec![segment(run, 90, &[2])]);
        scene.ok(OWNER, vec![moved]);
    }

    #[test]
    fn a_rewrite_takes_over_directories_of_packs_that_stay_only() {
        let mut scene = scene();
        let run = prune(&mut scene);
        scene.ok(OWNER, vec![doom_ranges(1, &[])]);
        let condemned = with_segments(rewrite(run, &[], &[1], &[]), vec![segment(run, 90, &[1])]);
        scene.void(OWNER, vec![condemned], VoidReason::ForeignDirectory(name(1)));
        let unknown = with_segments(rewrite(run, &[], &[], &[]), vec![segment(run, 90, &[77])]);
        scene.void(OWNER, vec![unknown], VoidReason::ForeignDirectory(name(77)));
        let twice = with_segments(rewrite(run, &[30], &[], &[]), vec![segment(run, 90, &[30])]);
        scene.void(OWNER, vec![twice], VoidReason::TwoDirectories(name(30)));
        let foreign = with_segments(rewrite(run, &[], &[], &[]), vec![segment(2, 90, &[])]);
        let reason = VoidReason::SegmentOfAnotherRun { segment: name(90), run: RunId(2) };
        scene.void(OWNER, vec![foreign], reason);
    }

    #[test]
    fn new_packs_of_a_rewrite_obey_the_rules_of_publish() {
        let mut scene = scene();
        let run = prune(&mut scene);
        scene.void(OWNER, vec![rewrite(run, &[3], &[], &[])], VoidReason::PackExists(name(3)));
        let mut bare = rewrite(run, &[30], &[], &[]);
        if let Operation::Rewrite { inline, .. } = &mut bare {
            *inline = None;
        }
        scene.void(OWNER, vec![bare], VoidReason::NoDirectory(name(30)));
    }
}
