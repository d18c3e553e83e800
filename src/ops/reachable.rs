//! Marking: what live snapshots need. A bitmap of chunks per block and a set of nodes, never counts of references.

use std::collections::{HashMap, HashSet};

use crate::cache::locations::{FrameRow, MetaPlace, PackRow};
use crate::format::list::ListNode;
use crate::format::state::SnapshotState;
use crate::format::tree::{Content, NodeKind, TreeNode};
use crate::primitives::ids::{BlockId, ChunkId, Reference, SnapshotId};
use crate::primitives::progress::{Observer, Unit};
use crate::repository::{Repository, RepositoryError};

/// Which chunks of a block are needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChunkSet(Vec<u64>);

impl ChunkSet {
    /// Adds chunks `first..end`.
    pub fn add(&mut self, first: u32, end: u32) {
        let words = end.div_ceil(64) as usize;
        if self.0.len() < words {
            self.0.reserve_exact(words - self.0.len());
            self.0.resize(words, 0);
        }
        let (from, to) = (first as usize / 64, words);
        for (i, word) in self.0[from..to].iter_mut().enumerate() {
            let base = ((from + i) * 64) as u32;
            let low = first.saturating_sub(base).min(64);
            let high = (end - base).min(64);
            *word |= ones(high) & !ones(low);
        }
    }

    /// Whether chunk `n` is in it.
    pub fn has(&self, n: u32) -> bool {
        self.0.get(n as usize / 64).is_some_and(|word| word >> (n % 64) & 1 == 1)
    }

    /// How many of `first..end` are in it.
    pub fn count(&self, first: u32, end: u32) -> u32 {
        let mut count = 0;
        for (i, word) in self.0.iter().enumerate().skip(first as usize / 64) {
            let base = (i * 64) as u32;
            if base >= end {
                break;
            }
            let mask = ones((end - base).min(64)) & !ones(first.saturating_sub(base).min(64));
            count += (word & mask).count_ones();
        }
        count
    }
}

fn ones(n: u32) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
}

/// What was found to be needed.
#[derive(Debug, Default)]
pub struct Marks {
    /// Snapshots that were gone through.
    pub snapshots: HashSet<SnapshotId>,
    /// Nodes, and the row of the frame that each was read from: its id was recomputed there.
    nodes: HashMap<ChunkId, FrameRow>,
    blocks: HashMap<BlockId, ChunkSet>,
    /// What could not be read, of snapshots that are known to have holes.
    pub holes: u64,
    /// Rows of packs that this credential may deduplicate against, and of others.
    usable: HashMap<PackRow, bool>,
    /// Frames of nodes that were opened.
    pub opened: HashSet<FrameRow>,
}

impl Marks {
    /// Marks what the live snapshots need that were not gone through yet.
    ///
    /// A node that cannot be read is an error, unless the snapshot is known to have holes: what is below it would be taken
    /// for dead.
    pub fn mark(&mut self, repository: &Repository, observer: &dyn Observer) -> Result<(), RepositoryError> {
        self.mark_whole(repository, observer)?;
        self.mark_those(repository, true, observer)
    }

    /// As [`Marks::mark`], but without snapshots that are known to have holes.
    pub fn mark_whole(&mut self, repository: &Repository, observer: &dyn Observer) -> Result<(), RepositoryError> {
        self.mark_those(repository, false, observer)
    }

    /// Marks what live snapshots need as far as their trees can be read: for repair, which deletes nothing.
    pub fn mark_despite_holes(
        &mut self,
        repository: &Repository,
        observer: &dyn Observer,
    ) -> Result<(), RepositoryError> {
        let state = repository.state();
        observer.phase("marking", Some(state.snapshots.len() as u64), Unit::Items);
        for (id, snapshot) in &state.snapshots {
            self.tree(repository, &snapshot.root, true, observer)?;
            self.snapshots.insert(*id);
            observer.advance(1);
        }
        Ok(())
    }

    fn mark_those(
        &mut self,
        repository: &Repository,
        damaged: bool,
        observer: &dyn Observer,
    ) -> Result<(), RepositoryError> {
        let state = repository.state();
        let is_new = |(id, s): &(&SnapshotId, &SnapshotState)| s.damaged == damaged && !self.snapshots.contains(*id);
        let new: Vec<_> = state.snapshots.iter().filter(is_new).collect();
        if !new.is_empty() {
            observer.phase("marking", Some(new.len() as u64), Unit::Items);
        }
        for (id, snapshot) in new {
            let marked = self.tree(repository, &snapshot.root, snapshot.damaged, observer);
            match marked.map_err(|e| repository.within(id, e)) {
                Ok(()) => drop(self.snapshots.insert(*id)),
                // What was marked of it stays until the next prune.
                Err(RepositoryError::Forgotten { .. }) => {}
                Err(e) if e.is_damage() => {
                    return Err(RepositoryError::Snapshot { snapshot: *id, source: Box::new(e) });
                }
                Err(e) => return Err(e),
            }
            observer.advance(1);
        }
        for (_, base) in repository.cache().based_frames()? {
            self.add(&base);
        }
        Ok(())
    }

    fn tree(
        &mut self,
        repository: &Repository,
        root: &ChunkId,
        damaged: bool,
        observer: &dyn Observer,
    ) -> Result<(), RepositoryError> {
        let mut stack = vec![*root];
        while let Some(id) = stack.pop() {
            if observer.interrupted() {
                return Err(RepositoryError::Interrupted);
            }
            let Some(bytes) = self.read(repository, &id, damaged)? else { continue };
            let node = TreeNode::decode(&bytes).map_err(|e| RepositoryError::object(format!("node {id}"))(e.into()))?;
            match node {
                TreeNode::Inner { children, .. } => stack.extend(children.iter().rev().map(|c| c.id)),
                TreeNode::Leaf(nodes) => {
                    for node in nodes {
                        match node.kind {
                            NodeKind::Directory(id) => stack.push(id),
                            NodeKind::File(file) => self.content(repository, &file.content, damaged)?,
                            _ => {}
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn content(&mut self, repository: &Repository, content: &Content, damaged: bool) -> Result<(), RepositoryError> {
        let root = match content {
            Content::Inline(extents) => {
                extents.iter().for_each(|e| self.add(&e.reference));
                return Ok(());
            }
            Content::List(root) => root,
        };
        let mut stack = vec![*root];
        while let Some(id) = stack.pop() {
            let Some(bytes) = self.read(repository, &id, damaged)? else { continue };
            let node = ListNode::decode(&bytes).map_err(|e| RepositoryError::object(format!("node {id}"))(e.into()))?;
            match node {
                ListNode::Leaf(extents) => extents.iter().for_each(|e| self.add(&e.reference)),
                ListNode::Inner { children, .. } => stack.extend(children.iter().map(|c| c.id)),
            }
        }
        Ok(())
    }

    /// Reads a node that was not met before; `None` if it was, or if it is one of the holes.
    fn read(
        &mut self,
        repository: &Repository,
        id: &ChunkId,
        damaged: bool,
    ) -> Result<Option<bytes::Bytes>, RepositoryError> {
        if self.nodes.contains_key(id) {
            return Ok(None);
        }
        match repository.where_it_is_now(|| self.read_as_known(repository, id)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if damaged && e.is_damage() => {
                self.holes += 1;
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Reads a node at the places that are known now.
    fn read_as_known(&mut self, repository: &Repository, id: &ChunkId) -> Result<bytes::Bytes, RepositoryError> {
        let state = repository.state();
        // One that others may refer to comes first: it is the one that is kept.
        let mut usable = |place: &MetaPlace| -> bool {
            *self.usable.entry(place.frame.pack).or_insert_with(|| {
                let pack = repository.cache().pack(place.frame.pack).ok().flatten();
                pack.is_some_and(|p| repository.may_deduplicate(&state, &p.name))
            })
        };
        let rank = |place: &MetaPlace| (!usable(place), place.frame.row);
        let read = |place: &MetaPlace| repository.node_at(place).map(|bytes| Some((place.frame.row, bytes)));
        let (row, bytes) = repository.at_each_location_of_node(id, rank, read)?;
        self.nodes.insert(*id, row);
        self.opened.insert(row);
        Ok(bytes)
    }

    fn add(&mut self, reference: &Reference) {
        self.blocks.entry(reference.block).or_default().add(reference.first, reference.end());
    }

    /// The chunks of a block that are needed.
    pub fn block(&self, block: &BlockId) -> Option<&ChunkSet> {
        self.blocks.get(block)
    }

    /// Whether chunk `n` of the block is needed.
    pub fn needs(&self, block: &BlockId, n: u32) -> bool {
        self.blocks.get(block).is_some_and(|set| set.has(n))
    }

    /// Whether the node is needed, and kept in the frame of this row.
    pub fn keeps_node(&self, id: &ChunkId, frame: FrameRow) -> bool {
        self.nodes.get(id) == Some(&frame)
    }

    /// Whether the node is needed.
    pub fn needs_node(&self, id: &ChunkId) -> bool {
        self.nodes.contains_key(id)
    }

    /// How many chunks and nodes are needed.
    pub fn counts(&self) -> (u64, u64) {
        let chunks = self.blocks.values().map(|s| u64::from(s.count(0, u32::MAX))).sum();
        (chunks, self.nodes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_chunks_is_what_was_added() {
        for spans in
            [&[(0, 1)][..], &[(0, 64)], &[(63, 65)], &[(5, 130), (128, 129)], &[(64, 64)], &[(1, 2), (300, 401)]]
        {
            let mut set = ChunkSet::default();
            let mut expected = vec![false; 512];
            for (first, end) in spans {
                set.add(*first, *end);
                expected[*first as usize..*end as usize].fill(true);
            }
            for (n, there) in expected.iter().enumerate() {
                assert_eq!(set.has(n as u32), *there, "{spans:?} {n}");
            }
            for (from, to) in [(0, 512), (0, u32::MAX), (3, 64), (64, 65), (65, 129), (100, 100), (128, 301)] {
                let counted = expected[from as usize..(to as usize).min(512)].iter().filter(|e| **e).count() as u32;
                assert_eq!(set.count(from, to), counted, "{spans:?} {from}..{to}");
            }
        }
    }
}
