//! Doom and Rewrite: how dead chunks go, in two steps.
//!
//! A Doom says what is dead; from then on backups do not count on it. A Rewrite condemns a pack once every run
//! that was open at that time is over. Nothing here is needed for safety, which is that a record holds at its
//! own number; it is what keeps prune from starving backups (DESIGN.md, section 6, rule 5).

use std::collections::{BTreeMap, BTreeSet};

use crate::formats::record::{DoomedPack, RunKind};
use crate::formats::state::{DirectoryHome, Doom, PackState};
use crate::words::ids::{ObjectHash, RunId};

use super::VoidReason;
use super::draft::Draft;
use super::publish::{Arrival, Homes, arrive};

/// Dead chunks of a block: first, count, and the record that found them.
type Dated = Vec<(u32, u32, u64)>;

/// Records what was found dead in packs, in place of what was said of them before.
pub(super) fn doom(draft: &mut Draft<'_>, packs: &[DoomedPack]) -> Result<(), VoidReason> {
    draft.owner_only("doom packs")?;
    let (number, mut seen) = (draft.number, BTreeSet::new());
    for doomed in packs {
        if !seen.insert(doomed.pack) {
            return Err(VoidReason::PackTwice(doomed.pack));
        }
        let pack = draft.live_pack(&doomed.pack)?;
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
fn newest(doom: &Doom) -> u64 {
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
    if !pack.live() {
        return Err(VoidReason::PackNotLive(name));
    }
    if other_and_open(pack.run) {
        return Err(VoidReason::PackOfOpenRun { pack: name, run: pack.run });
    }
    let doomed = newest(pack.doom.as_ref().ok_or(VoidReason::NotDoomed(name))?);
    match oldest {
        Some(open) if doomed >= open.0 => Err(VoidReason::DoomedTooLate { pack: name, doomed, open }),
        _ => Ok(()),
    }
}

/// Brings new packs, and condemns what they replace.
pub(super) fn rewrite(
    draft: &mut Draft<'_>,
    arrival: &Arrival<'_>,
    packs: &[ObjectHash],
    segments: &[ObjectHash],
) -> Result<(), VoidReason> {
    draft.owner_only("rewrite packs")?;
    let run = draft.own_open_run(arrival.run)?;
    if !matches!(run.kind, RunKind::Prune | RunKind::Repair) {
        return Err(VoidReason::RunCannotRewrite(arrival.run));
    }
    // First what goes, so that nothing that comes with this operation can be condemned by it.
    condemn_packs(draft, arrival.run, packs)?;
    condemn_segments(draft, segments)?;
    let homes = arrive(draft, arrival)?;
    move_directories(draft, homes)?;
    segments.iter().try_for_each(|segment| check_directories(draft, *segment))
}

fn condemn_packs(draft: &mut Draft<'_>, run: RunId, packs: &[ObjectHash]) -> Result<(), VoidReason> {
    let (number, oldest) = (draft.number, draft.oldest_other_open_run(run));
    for name in packs {
        let pack = draft.packs.get(name).ok_or(VoidReason::PackNotLive(*name))?;
        check_condemnable(name, pack, oldest, |of| of != run && draft.open_run(of).is_ok())?;
        draft.live_pack(name)?.condemned = Some(number);
    }
    Ok(())
}

fn condemn_segments(draft: &mut Draft<'_>, segments: &[ObjectHash]) -> Result<(), VoidReason> {
    let number = draft.number;
    for name in segments {
        let live = draft.segments.edit(name).filter(|s| s.condemned.is_none());
        live.ok_or(VoidReason::SegmentNotLive(*name))?.condemned = Some(number);
    }
    Ok(())
}

/// Lost packs keep a directory too: it says which blocks are missing.
fn move_directories(draft: &mut Draft<'_>, homes: Homes) -> Result<(), VoidReason> {
    for (name, home) in homes {
        let pack = draft.packs.edit(&name).filter(|p| p.condemned.is_none());
        pack.ok_or(VoidReason::ForeignDirectory(name))?.home = home;
    }
    Ok(())
}

/// No pack that stays has its directory in the condemned `segment`.
fn check_directories(draft: &Draft<'_>, segment: ObjectHash) -> Result<(), VoidReason> {
    let packs = draft.segments.get(&segment).map_or(&[][..], |s| s.packs.as_slice());
    let stays = |p: &PackState| p.condemned.is_none() && p.home == DirectoryHome::Segment(segment);
    match packs.iter().find(|name| draft.packs.get(name).is_some_and(stays)) {
        Some(pack) => Err(VoidReason::DirectoryLost { pack: *pack, segment }),
        None => Ok(()),
    }
}
