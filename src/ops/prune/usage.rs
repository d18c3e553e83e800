//! How much of each pack is needed, and which of several places of a chunk is the one that is kept.

use std::collections::{BTreeMap, HashMap};

use crate::cache::locations::{BlockPlace, FrameRow, PackPlace, PackRow};
use crate::format::directory::FrameDirectory;
use crate::format::names::PackKind;
use crate::format::record::{DeadChunks, DoomedPack};
use crate::format::state::{Doom, State};
use crate::log::{newest_doom, oldest_other_open_run};
use crate::primitives::ids::{BlockId, ObjectHash, RunId};
use crate::repository::{Repository, RepositoryError};

use super::plan::{PackUse, Standing};
use crate::ops::reachable::Marks;

/// What is known of a pack that is in the cache.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// Where it is.
    pub place: PackPlace,
    /// What may be done with it.
    pub standing: Standing,
    /// Of several places of a chunk the one of least rank is kept: the owner's own before others', the older before
    /// the younger.
    rank: (bool, u64, ObjectHash),
    /// With other runs open, only what was found dead before they began may go: their snapshots may need the rest.
    only: Option<Doom>,
}

impl Known {
    /// Whether the chunk stays although no live snapshot needs it.
    fn stays_anyway(&self, block: &BlockId, n: u32) -> bool {
        self.only.as_ref().is_some_and(|doom| !is_doomed(doom, block, n))
    }
}

fn is_doomed(doom: &Doom, block: &BlockId, n: u32) -> bool {
    let ranges = doom.dead.get(block);
    ranges.is_some_and(|r| r.iter().any(|(first, count, _)| (*first..first + count).contains(&n)))
}

/// All packs of the cache that the log knows, by their rows.
pub(super) struct Packs {
    by_row: HashMap<PackRow, Known>,
    rows: HashMap<ObjectHash, PackRow>,
}

impl Packs {
    /// Looks the live packs of the state up; `own` is the run that will rewrite, if it has begun.
    pub(super) fn find(repository: &Repository, state: &State, own: Option<RunId>) -> Result<Self, RepositoryError> {
        let mut packs = Self { by_row: HashMap::new(), rows: HashMap::new() };
        let oldest = oldest_other_open_run(state, own.unwrap_or(RunId(0)));
        let owner = state.owner.id();
        for (name, pack) in state.packs.iter().filter(|(_, p)| p.live()) {
            // One whose directory cannot be read is left alone; the reader has noted why.
            let Some(place) = repository.cache().pack_by_name(name)? else { continue };
            let run = state.runs.get(&pack.run);
            let of_open = Some(pack.run) != own && run.is_some_and(|r| r.over.is_none());
            let ripe = pack.doom.as_ref().filter(|doom| oldest.is_some_and(|open| newest_doom(doom) < open.0));
            let standing = match (of_open, oldest, ripe) {
                (true, ..) => Standing::OfOpenRun,
                (_, None, _) | (_, _, Some(_)) => Standing::Free,
                _ => Standing::Wait,
            };
            let by_owner = run.is_some_and(|r| r.writer == owner);
            let rank = (!by_owner, pack.published, *name);
            packs.rows.insert(*name, place.row);
            packs.by_row.insert(place.row, Known { place, standing, rank, only: ripe.cloned() });
        }
        Ok(packs)
    }

    /// A pack by its name.
    pub(super) fn get(&self, name: &ObjectHash) -> Option<&Known> {
        self.by_row.get(self.rows.get(name)?)
    }

    /// Whether `place` is where chunk `n` is kept, of all the places of its block.
    pub(super) fn is_kept(&self, places: &[BlockPlace], place: &BlockPlace, n: u32) -> bool {
        let rank = |p: &BlockPlace| self.by_row.get(&p.frame.pack).map(|k| &k.rank);
        let holding = places.iter().filter(|p| (p.span.first..p.span.end()).contains(&n));
        let best = holding.filter_map(|p| Some((rank(p)?, p.frame.row))).min();
        best.is_some_and(|(_, row)| row == place.frame.row)
    }

    /// Whether chunk `n` of a block of content is to be kept in this place.
    pub(super) fn keeps_chunk(&self, marks: &Marks, places: &[BlockPlace], place: &BlockPlace, n: u32) -> bool {
        let Some(known) = self.by_row.get(&place.frame.pack) else { return true };
        let block = &place.span.block;
        (marks.needs(block, n) || known.stays_anyway(block, n)) && self.is_kept(places, place, n)
    }

    /// Whether the node at position `at` of a frame is to be kept there.
    pub(super) fn keeps_node(
        &self,
        marks: &Marks,
        pack: PackRow,
        frame: FrameRow,
        directory: &FrameDirectory,
        at: usize,
    ) -> bool {
        let Some(known) = self.by_row.get(&pack) else { return true };
        let id = &directory.chunks[at].id;
        let anyway = || directory.places().nth(at).is_some_and(|(block, n)| known.stays_anyway(&block, n));
        marks.keeps_node(id, frame) || (!marks.needs_node(id) && anyway())
    }
}

/// How many chunks a frame has, and how many of them are kept.
#[derive(Debug, Clone, Copy, Default)]
struct FrameUse {
    chunks: u32,
    kept: u32,
}

/// Sums up what is needed of each pack. Also says how many chunks that are needed have no place at all.
pub(super) fn usage(
    repository: &Repository,
    state: &State,
    packs: &Packs,
    marks: &Marks,
) -> Result<(Vec<PackUse>, u64), RepositoryError> {
    let mut frames: HashMap<FrameRow, FrameUse> = HashMap::new();
    let mut covered = 0u64;
    repository.cache().each_block::<RepositoryError>(|block, places| {
        let set = marks.block(&block);
        let apart = places.windows(2).all(|w| w[0].span.end() <= w[1].span.first);
        for place in places {
            let (first, end) = (place.span.first, place.span.end());
            let known = packs.by_row.get(&place.frame.pack);
            let simple = apart && known.is_none_or(|k| k.only.is_none());
            let needed = set.map_or(0, |s| s.count(first, end));
            let kept = match simple {
                true => needed,
                false => (first..end).filter(|n| packs.keeps_chunk(marks, places, place, *n)).count() as u32,
            };
            covered += match apart {
                true => u64::from(needed),
                false => {
                    let own = |n: &u32| set.is_some_and(|s| s.has(*n)) && packs.is_kept(places, place, *n);
                    (first..end).filter(own).count() as u64
                }
            };
            let frame = frames.entry(place.frame.row).or_default();
            frame.chunks += end - first;
            frame.kept += kept;
        }
        Ok(())
    })?;
    repository.cache().each_meta_frame::<RepositoryError>(|pack, frame, directory| {
        let all = 0..directory.chunks.len();
        let kept = all.filter(|at| packs.keeps_node(marks, pack, frame, directory, *at)).count() as u32;
        frames.insert(frame, FrameUse { chunks: directory.chunks.len() as u32, kept });
        Ok(())
    })?;
    let missing = marks.counts().0.saturating_sub(covered) + marks.holes;
    let mut uses = Vec::with_capacity(packs.by_row.len());
    for known in packs.by_row.values() {
        let place = &known.place;
        let (mut frames_len, mut needed_len) = (0, 0);
        for frame in repository.cache().frames(place.row)? {
            let used = frames.get(&frame.row).copied().unwrap_or_default();
            frames_len += u64::from(frame.len);
            // A chunk that is needed counts for at least a byte.
            let part = u64::from(frame.len) * u64::from(used.kept) / u64::from(used.chunks.max(1));
            needed_len += part.max(u64::from(used.kept > 0));
        }
        let published = state.packs.get(&place.name).map_or(0, |p| p.published);
        uses.push(PackUse {
            name: place.name,
            kind: place.kind,
            len: place.len,
            frames_len,
            needed_len,
            published,
            standing: known.standing,
            lost: false,
        });
    }
    uses.extend(lost(state, missing > 0));
    uses.sort_by_key(|u| (u.published, u.name));
    Ok((uses, missing))
}

/// Lost packs: as long as anything is missing they stay in the log, so that `repair` knows what was in them.
fn lost(state: &State, missing: bool) -> Vec<PackUse> {
    let oldest = oldest_other_open_run(state, RunId(0));
    let ripe = |doom: Option<&Doom>| oldest.is_none_or(|open| doom.is_some_and(|d| newest_doom(d) < open.0));
    let lost = state.packs.iter().filter(|(_, p)| p.lost.is_some() && p.condemned.is_none());
    lost.filter(|_| !missing)
        .map(|(name, pack)| PackUse {
            name: *name,
            kind: pack.kind,
            len: pack.len,
            frames_len: pack.len,
            needed_len: 0,
            published: pack.published,
            standing: if ripe(pack.doom.as_ref()) { Standing::Free } else { Standing::Wait },
            lost: true,
        })
        .collect()
}

/// The chunks of a pack that no live snapshot needs. A lost pack has none that anyone could refer to.
pub(super) fn dead(
    repository: &Repository,
    packs: &Packs,
    marks: &Marks,
    name: &ObjectHash,
) -> Result<DoomedPack, RepositoryError> {
    let mut dead: BTreeMap<BlockId, Vec<(u32, u32)>> = BTreeMap::new();
    if let Some(known) = packs.get(name) {
        let mut add = |block: BlockId, n: u32| {
            let ranges = dead.entry(block).or_default();
            match ranges.last_mut() {
                Some((first, count)) if *first + *count == n => *count += 1,
                _ => ranges.push((n, 1)),
            }
        };
        match known.place.kind {
            PackKind::Data => {
                for place in repository.cache().pack_spans(known.place.row)? {
                    let block = place.span.block;
                    (place.span.first..place.span.end())
                        .filter(|n| !marks.needs(&block, *n))
                        .for_each(|n| add(block, n));
                }
            }
            PackKind::Meta => {
                for frame in repository.cache().frames(known.place.row)? {
                    let Some(directory) = repository.cache().frame_directory(frame.row)? else { continue };
                    let nodes = directory.places().zip(&directory.chunks);
                    nodes.filter(|(_, c)| !marks.needs_node(&c.id)).for_each(|((block, n), _)| add(block, n));
                }
            }
        }
    }
    // Spans of one block may lie in several frames, in any order.
    let dead = dead.into_iter().map(|(block, ranges)| DeadChunks { block, ranges: merged(ranges) }).collect();
    Ok(DoomedPack { pack: *name, dead })
}

fn merged(mut ranges: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    ranges.sort_unstable();
    let mut out: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
    for (first, count) in ranges {
        match out.last_mut() {
            Some((from, len)) if *from + *len >= first => *len = (*len).max(first + count - *from),
            _ => out.push((first, count)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_merged_whatever_their_order() {
        assert_eq!(merged(vec![(5, 2), (0, 3), (3, 2), (9, 1), (5, 1)]), [(0, 7), (9, 1)]);
        assert_eq!(merged(vec![]), []);
    }
}
