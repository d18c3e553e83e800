//! Deduplication: is this chunk stored already, and where.
//!
//! A chunk is looked for where it is expected (after the last match), then among the chunks of this run, then
//! in the cache. What is found is believed only after its whole id was compared, its pack was found live, and
//! the chunk was not doomed. Every block that was hit is remembered: before a snapshot is published, all of
//! them are looked up again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::format::directory::FrameDirectory;
use crate::format::record::Operation;
use crate::format::state::{PackState, State};
use crate::primitives::ids::{BlockId, ChunkId, ObjectHash, Reference, RunId};

use super::Repository;
use super::error::{RepositoryError, Result};
use crate::cache::chunk_ids::ChunkFinder;
use crate::cache::locations::{FramePlace, PackRow};

/// Packs that one record vouches for.
const VOUCHED_PER_RECORD: usize = 16_384;

/// Finds chunks for one run.
pub struct ChunkIndex {
    run: RunId,
    finder: ChunkFinder,
    /// Chunks of this run: number of the block, number of the chunk.
    own: HashMap<ChunkId, (u32, u32)>,
    packs: HashMap<PackRow, Option<ObjectHash>>,
    state: Arc<State>,
    found: Found,
}

/// What the content of one snapshot has in common with what others stored: until the snapshot is published, all of that
/// must stay.
///
/// Contents that are stored at the same time have one each, which takes its place in the run with
/// [`Run::exchange_found`](super::write::run::Run::exchange_found): what the snapshot of one is published with does not
/// count for another.
#[derive(Default)]
pub struct Found {
    expected: Option<Expected>,
    hits: Hits,
    /// Tree nodes.
    pub(super) nodes: HashSet<ChunkId>,
}

impl Found {
    /// Adds what another content found.
    pub fn add(&mut self, other: Self) {
        for (block, ranges) in other.hits.0 {
            self.hits.0.entry(block).or_default().extend(ranges);
        }
        self.nodes.extend(other.nodes);
    }

    /// Ranges of chunks.
    pub(super) fn hits(&self) -> &Hits {
        &self.hits
    }
}

struct Expected {
    directory: Arc<FrameDirectory>,
    places: Vec<(BlockId, u32)>,
    pack: ObjectHash,
    next: usize,
}

/// Ranges of chunks of blocks of others that this run refers to.
#[derive(Debug, Default)]
pub struct Hits(HashMap<BlockId, Vec<(u32, u32)>>);

impl Hits {
    /// Adds chunks `first..end` of `block`.
    pub fn add(&mut self, block: BlockId, first: u32, end: u32) {
        let ranges = self.0.entry(block).or_default();
        match ranges.last_mut() {
            Some(last) if last.0 <= first && first <= last.1 => last.1 = last.1.max(end),
            _ => ranges.push((first, end)),
        }
    }

    /// The ranges as references.
    pub fn references(&self) -> impl Iterator<Item = Reference> + '_ {
        self.0.iter().flat_map(|(block, ranges)| {
            ranges.iter().map(|(first, end)| Reference { block: *block, first: *first, count: end - first })
        })
    }
}

impl ChunkIndex {
    /// An index over what is published now.
    pub fn new(repository: &Repository, run: RunId) -> Result<Self> {
        Ok(Self {
            run,
            finder: ChunkFinder::new(&repository.cache)?,
            own: HashMap::new(),
            packs: HashMap::new(),
            state: repository.state(),
            found: Found::default(),
        })
    }

    /// Where the chunk is, if it is stored already.
    pub fn find(&mut self, repository: &Repository, id: &ChunkId) -> Result<Option<(BlockId, u32)>> {
        if let Some(found) = self.find_expected(id) {
            return Ok(Some(found));
        }
        if let Some((number, place)) = self.own.get(id) {
            return Ok(Some((BlockId { run: self.run, number: *number }, *place)));
        }
        self.find_cached(repository, id)
    }

    fn find_expected(&mut self, id: &ChunkId) -> Option<(BlockId, u32)> {
        let expected = self.found.expected.as_mut()?;
        if expected.directory.chunks.get(expected.next)?.id != *id {
            return None;
        }
        let (block, place) = expected.places[expected.next];
        if is_dead(&self.state, &expected.pack, block, place) {
            return None;
        }
        expected.next += 1;
        self.found.hits.add(block, place, place + 1);
        Some((block, place))
    }

    fn find_cached(&mut self, repository: &Repository, id: &ChunkId) -> Result<Option<(BlockId, u32)>> {
        if self.finder.is_empty() {
            return Ok(None);
        }
        let Self { finder, packs, state, run, .. } = self;
        // A row may be older than a prune: then another one leads to where the chunk is.
        let found = finder.find(&repository.cache, id, &mut |block, place| -> Result<_> {
            for candidate in repository.cache.block(block)? {
                if !(candidate.span.first..candidate.span.end()).contains(&place) {
                    continue;
                }
                let Some(pack) = usable(packs, state, *run, repository, candidate.frame)? else { continue };
                let Some(directory) = repository.cache.frame_directory(candidate.frame.row)? else { continue };
                let Some(at) = directory.position(block, place) else { continue };
                if directory.chunks[at].id == *id && !is_dead(state, &pack, block, place) {
                    return Ok(Some((block, place, pack, directory, at)));
                }
            }
            Ok(None)
        })?;
        let Some((block, place, pack, directory, at)) = found else { return Ok(None) };
        self.found.hits.add(block, place, place + 1);
        let places = directory.places().collect();
        self.found.expected = Some(Expected { directory: Arc::new(directory), places, pack, next: at + 1 });
        Ok(Some((block, place)))
    }

    /// Remembers a chunk that this run stores.
    pub fn claim(&mut self, id: ChunkId, number: u32, place: u32) {
        self.own.insert(id, (number, place));
        self.found.expected = None;
    }

    /// Chunks of this run are in the cache now: they need not be held in memory.
    pub fn release(&mut self, repository: &Repository, ids: impl Iterator<Item = ChunkId>) -> Result<()> {
        for id in ids {
            self.own.remove(&id);
        }
        self.finder = ChunkFinder::new(&repository.cache)?;
        self.state = repository.state();
        self.packs.clear();
        Ok(())
    }

    /// Forgets what was hit: it is published, or gone.
    pub fn forget_hits(&mut self, repository: &Repository) {
        self.found = Found::default();
        self.packs.clear();
        self.state = repository.state();
    }

    /// What was found so far.
    pub(super) fn found(&mut self) -> &mut Found {
        &mut self.found
    }
}

/// The pack's name, if this writer may deduplicate against it: live, and its own, the owner's or vouched for.
fn usable(
    packs: &mut HashMap<PackRow, Option<ObjectHash>>,
    state: &State,
    run: RunId,
    repository: &Repository,
    frame: FramePlace,
) -> Result<Option<ObjectHash>> {
    if let Some(known) = packs.get(&frame.pack) {
        return Ok(*known);
    }
    let place = repository.cache.pack(frame.pack)?;
    let usable = place.filter(|p| p.run == run || repository.may_deduplicate(state, &p.name)).map(|p| p.name);
    packs.insert(frame.pack, usable);
    Ok(usable)
}

/// Whether a Doom says that nothing needs this chunk of the pack.
pub(super) fn is_dead(state: &State, pack: &ObjectHash, block: BlockId, place: u32) -> bool {
    let doom = state.packs.get(pack).and_then(|p| p.doom.as_ref());
    let ranges = doom.and_then(|d| d.dead.get(&block));
    ranges.is_some_and(|r| r.iter().any(|(first, count, _)| (*first..first + count).contains(&place)))
}

impl Repository {
    /// Whether this credential may deduplicate against the pack: it is live, and its own, an owner's, or one
    /// that an owner has opened and vouched for.
    pub fn may_deduplicate(&self, state: &State, pack: &ObjectHash) -> bool {
        if self.is_suspect(pack) {
            return false;
        }
        let Some(pack) = state.packs.get(pack) else { return false };
        let writer = state.runs.get(&pack.run).map(|r| r.writer);
        pack.live() && (pack.vouched.is_some() || writer == Some(self.keys.id()) || writer == Some(state.owner.id()))
    }

    /// Whether the pack is of the owner's own making.
    pub fn is_owners(&self, state: &State, pack: &PackState) -> bool {
        state.runs.get(&pack.run).is_some_and(|run| run.writer == state.owner.id())
    }

    /// Says, as the owner, that packs were opened just now and all their ids recomputed. Returns for how many other
    /// machines may count on them that could not before.
    pub fn vouch(&self, sound: &[ObjectHash]) -> Result<u64> {
        let mut count = 0;
        for part in sound.chunks(VOUCHED_PER_RECORD) {
            let mut news = 0;
            self.append(&mut |state| {
                let live = |name: &&ObjectHash| state.packs.get(*name).is_some_and(|p| p.live());
                let packs: Vec<ObjectHash> = part.iter().filter(live).copied().collect();
                let is_news = |p: &&PackState| p.vouched.is_none() && !self.is_owners(state, p);
                news = packs.iter().filter_map(|name| state.packs.get(name)).filter(is_news).count() as u64;
                Ok(vec![Operation::Vouch { packs }])
            })?;
            count += news;
        }
        Ok(count)
    }

    /// Checks that every chunk of `references` has a live location. `Conflict` names the first that has none.
    pub fn check_covered(&self, references: impl Iterator<Item = Reference>) -> Result<()> {
        for reference in references {
            let mut next = reference.first;
            for place in self.cache.block(reference.block)? {
                if place.span.first <= next {
                    next = next.max(place.span.end());
                }
            }
            if next < reference.end() {
                let what = format!("block {} was removed by another machine meanwhile", reference.block);
                return Err(RepositoryError::Conflict { what });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_in_sequence_become_one_range() {
        let block = BlockId { run: RunId(1), number: 2 };
        let mut hits = Hits::default();
        (3..9).for_each(|n| hits.add(block, n, n + 1));
        hits.add(block, 20, 21);
        let mut all: Vec<_> = hits.references().map(|r| (r.first, r.count)).collect();
        all.sort_unstable();
        assert_eq!(all, [(3, 6), (20, 1)]);
    }

    /// Streams that are published together are checked together.
    #[test]
    fn what_several_contents_found_is_put_together() {
        let (one, two) = (BlockId { run: RunId(1), number: 1 }, BlockId { run: RunId(1), number: 2 });
        let found = |block: BlockId, first: u32, node: u8| {
            let mut found = Found::default();
            found.hits.add(block, first, first + 1);
            found.nodes.insert(ChunkId([node; 16]));
            found
        };
        let mut all = found(one, 5, 1);
        all.add(found(one, 0, 2));
        all.add(found(two, 9, 2));
        let mut hits: Vec<_> = all.hits().references().map(|r| (r.block.number, r.first, r.count)).collect();
        hits.sort_unstable();
        assert_eq!(hits, [(1, 0, 1), (1, 5, 1), (2, 9, 1)]);
        assert_eq!(all.nodes.len(), 2);
    }
}
