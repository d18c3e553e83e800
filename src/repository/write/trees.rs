//! Building and reading trees and content lists: directories and long files, cut by content into nodes.
//!
//! Where a node ends is decided by what stands there (a keyed hash of an entry's name, of an extent, of a
//! child's id), so that a change in one place leaves the other nodes as they were.

use std::ops::ControlFlow;

use crate::format::envelope::FormatError;
use crate::format::list::{ListChild, ListNode};
use crate::format::tree::{Content, Node, NodeKind, TreeChild, TreeNode};
use crate::primitives::ids::{ChunkId, Extent};

use super::run::Run;
use crate::repository::Repository;
use crate::repository::error::{RepositoryError, Result};

/// A file with more extents than this gets a list of its own.
const INLINE_EXTENTS_MAX: usize = 24;

/// How many items a node holds: at least, on average (a power of two), at the most.
struct NodeSizes {
    min: usize,
    avg: u32,
    max: usize,
}

const LEAF: NodeSizes = NodeSizes { min: 64, avg: 256, max: 2048 };
const INNER: NodeSizes = NodeSizes { min: 32, avg: 128, max: 1024 };
const EXTENTS: NodeSizes = NodeSizes { min: 64, avg: 256, max: 2048 };

impl NodeSizes {
    fn ends(&self, items: usize, hash: u64) -> bool {
        items >= self.max || (items >= self.min && hash & u64::from(self.avg - 1) == 0)
    }
}

fn hash_of(run: &Run, parts: &[&[u8]]) -> u64 {
    u64::from_le_bytes(run.repository().keys.domain_keys.chunker.keyed_hash::<8>(parts))
}

fn id_hash(id: &ChunkId) -> u64 {
    u64::from_le_bytes(id.0[8..].try_into().expect("an id has sixteen bytes"))
}

/// Stores a directory.
#[derive(Debug, Default)]
pub struct TreeBuilder {
    leaf: Vec<Node>,
    children: Vec<TreeChild>,
}

impl TreeBuilder {
    /// Adds the next entry; entries come ascending by name.
    pub fn push(&mut self, run: &mut Run, node: Node) -> Result<()> {
        let hash = hash_of(run, &[b"name", &node.name]);
        self.leaf.push(node);
        if LEAF.ends(self.leaf.len(), hash) {
            self.close_leaf(run)?;
        }
        Ok(())
    }

    fn close_leaf(&mut self, run: &mut Run) -> Result<()> {
        let nodes = std::mem::take(&mut self.leaf);
        let (entries, first_name) = (nodes.len() as u64, nodes[0].name.clone());
        let id = run.node(&TreeNode::Leaf(nodes).encode())?;
        self.children.push(TreeChild { id, first_name, entries });
        Ok(())
    }

    /// Stores what is left and returns the root.
    pub fn finish(mut self, run: &mut Run) -> Result<ChunkId> {
        if self.children.is_empty() {
            return run.node(&TreeNode::Leaf(self.leaf).encode());
        }
        if !self.leaf.is_empty() {
            self.close_leaf(run)?;
        }
        let mut children = self.children;
        let mut level = 1;
        while children.len() > 1 {
            let mut above = Vec::new();
            let mut node = Vec::new();
            let count = children.len();
            for (i, child) in children.into_iter().enumerate() {
                let hash = id_hash(&child.id);
                node.push(child);
                if i + 1 == count || INNER.ends(node.len(), hash) {
                    above.push(tree_parent(run, level, std::mem::take(&mut node))?);
                }
            }
            children = above;
            level += 1;
        }
        Ok(children[0].id)
    }
}

fn tree_parent(run: &mut Run, level: u8, children: Vec<TreeChild>) -> Result<TreeChild> {
    let entries = children.iter().map(|c| c.entries).sum();
    let first_name = children[0].first_name.clone();
    let id = run.node(&TreeNode::Inner { level, children }.encode())?;
    Ok(TreeChild { id, first_name, entries })
}

/// Gathers the extents of one file.
#[derive(Debug, Default)]
pub struct ListBuilder {
    extents: Vec<Extent>,
    children: Vec<ListChild>,
}

impl ListBuilder {
    /// Adds the next chunk, joining it to the extent before it if it follows on.
    pub fn push(&mut self, run: &mut Run, next: Extent) -> Result<()> {
        if let Some(last) = self.extents.last_mut()
            && last.reference.block == next.reference.block
            && last.reference.end() == next.reference.first
        {
            last.reference.count += next.reference.count;
            last.len += next.len;
            return Ok(());
        }
        // The last extent will not grow any more: now it can be seen whether a node ends behind it.
        if let Some(last) = self.extents.last() {
            let r = last.reference;
            let (run_bytes, number) = (r.block.run.0.to_le_bytes(), r.block.number.to_le_bytes());
            let hash = hash_of(run, &[b"extent", &run_bytes, &number, &r.first.to_le_bytes(), &r.count.to_le_bytes()]);
            if EXTENTS.ends(self.extents.len(), hash) {
                self.close_leaf(run)?;
            }
        }
        self.extents.push(next);
        Ok(())
    }

    fn close_leaf(&mut self, run: &mut Run) -> Result<()> {
        let leaf = ListNode::Leaf(std::mem::take(&mut self.extents));
        let len = leaf.len().expect("the file's bytes were counted as they came");
        let id = run.node(&leaf.encode())?;
        self.children.push(ListChild { id, len });
        Ok(())
    }

    /// What points to the content; the builder is empty again.
    pub fn take(&mut self, run: &mut Run) -> Result<Content> {
        if self.children.is_empty() && self.extents.len() <= INLINE_EXTENTS_MAX {
            return Ok(Content::Inline(std::mem::take(&mut self.extents)));
        }
        if !self.extents.is_empty() {
            self.close_leaf(run)?;
        }
        let mut children = std::mem::take(&mut self.children);
        let mut level = 1;
        while children.len() > 1 {
            let mut above = Vec::new();
            for node in cut_children(&children) {
                let len = node.iter().map(|c| c.len).sum();
                let id = run.node(&ListNode::Inner { level, children: node.to_vec() }.encode())?;
                above.push(ListChild { id, len });
            }
            children = above;
            level += 1;
        }
        Ok(Content::List(children[0].id))
    }
}

fn cut_children(children: &[ListChild]) -> Vec<&[ListChild]> {
    let mut nodes = Vec::new();
    let mut start = 0;
    for (i, child) in children.iter().enumerate() {
        if i + 1 == children.len() || INNER.ends(i + 1 - start, id_hash(&child.id)) {
            nodes.push(&children[start..=i]);
            start = i + 1;
        }
    }
    nodes
}

fn malformed(id: &ChunkId) -> impl FnOnce(crate::primitives::codec::CodecError) -> RepositoryError + '_ {
    move |e| RepositoryError::object(format!("node {id}"))(FormatError::from(e))
}

/// A node that is sound and stands where it cannot.
fn misplaced(id: &ChunkId) -> RepositoryError {
    let what = "it stands where its level or its names do not fit".to_owned();
    RepositoryError::object(format!("node {id}"))(FormatError::Malformed(what))
}

impl Repository {
    /// Reads one tree node.
    pub fn tree_node(&self, id: &ChunkId) -> Result<TreeNode> {
        TreeNode::decode(&self.node(id)?).map_err(malformed(id))
    }

    /// Reads one list node.
    pub fn list_node(&self, id: &ChunkId) -> Result<ListNode> {
        ListNode::decode(&self.node(id)?).map_err(malformed(id))
    }

    /// Calls `each` for every entry of the directory `root`, in order of names.
    ///
    /// A node that cannot be read does not stand before those behind it: all that can be read comes, and then the error.
    pub fn for_each_entry(&self, root: &ChunkId, each: &mut dyn FnMut(Node) -> Result<()>) -> Result<()> {
        let mut stack = vec![(*root, u8::MAX)];
        let mut damage = None;
        // Whoever writes a node chooses what it names: one child a thousand times, on level above level. In a directory
        // names ascend, and levels fall.
        let mut last: Option<Vec<u8>> = None;
        while let Some((id, below)) = stack.pop() {
            let node = self.tree_node(&id).and_then(|node| {
                let level = if let TreeNode::Inner { level, .. } = &node { *level } else { 0 };
                let follows = |first: &[u8]| last.as_deref().is_none_or(|last| last < first);
                let ordered = match &node {
                    TreeNode::Leaf(nodes) => nodes.first().is_none_or(|n| follows(&n.name)),
                    TreeNode::Inner { children, .. } => children.first().is_none_or(|c| follows(&c.first_name)),
                };
                if level < below && ordered { Ok((node, level)) } else { Err(misplaced(&id)) }
            });
            match node {
                Ok((TreeNode::Leaf(nodes), _)) => {
                    last = nodes.last().map(|n| n.name.clone()).or(last);
                    nodes.into_iter().try_for_each(&mut *each)?;
                }
                Ok((TreeNode::Inner { children, .. }, level)) => {
                    stack.extend(children.iter().rev().map(|c| (c.id, level)));
                }
                Err(e) if e.is_damage() => damage = damage.or(Some(e)),
                Err(e) => return Err(e),
            }
        }
        damage.map_or(Ok(()), Err)
    }

    /// The entry called `name` in the directory `root`.
    pub fn find_entry(&self, root: &ChunkId, name: &[u8]) -> Result<Option<Node>> {
        let mut id = *root;
        loop {
            match self.tree_node(&id)? {
                TreeNode::Leaf(nodes) => return Ok(nodes.into_iter().find(|n| n.name == name)),
                TreeNode::Inner { children, .. } => {
                    let at = children.partition_point(|c| c.first_name.as_slice() <= name);
                    match at.checked_sub(1) {
                        Some(at) => id = children[at].id,
                        None => return Ok(None),
                    }
                }
            }
        }
    }

    /// The entry at `path` below the directory `root`; components are separated by `/`. `None` for the root itself
    /// never comes: an empty path is the caller's to handle.
    pub fn find_path(&self, root: &ChunkId, path: &[u8]) -> Result<Option<Node>> {
        let mut at = *root;
        let mut found = None;
        for name in path.split(|c| *c == b'/').filter(|n| !n.is_empty()) {
            if let Some(Node { kind, .. }) = &found {
                match kind {
                    NodeKind::Directory(id) => at = *id,
                    _ => return Ok(None),
                }
            }
            found = match self.find_entry(&at, name)? {
                Some(node) => Some(node),
                None => return Ok(None),
            };
        }
        Ok(found)
    }

    /// Calls `each` for every extent of a content, in order.
    pub fn for_each_extent(&self, content: &Content, each: &mut dyn FnMut(Extent) -> Result<()>) -> Result<()> {
        let root = match content {
            Content::Inline(extents) => return extents.iter().copied().try_for_each(each),
            Content::List(root) => root,
        };
        let mut stack = vec![(*root, u8::MAX)];
        while let Some((id, below)) = stack.pop() {
            let node = self.list_node(&id)?;
            let level = if let ListNode::Inner { level, .. } = &node { *level } else { 0 };
            if level >= below {
                return Err(misplaced(&id));
            }
            match node {
                ListNode::Leaf(extents) => extents.into_iter().try_for_each(&mut *each)?,
                ListNode::Inner { children, .. } => stack.extend(children.iter().rev().map(|c| (c.id, level))),
            }
        }
        Ok(())
    }

    /// Calls `each` with the extents of a content that hold its stored bytes from `from` on, each with the offset that it
    /// begins at, until it breaks. What lies before is not read.
    pub fn for_each_extent_from(
        &self,
        content: &Content,
        from: u64,
        each: &mut dyn FnMut(u64, Extent) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut leaf = |mut at: u64, extents: &[Extent]| -> Result<ControlFlow<()>> {
            for extent in extents {
                let start = at;
                at = at.saturating_add(extent.len);
                if at > from && each(start, *extent)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        let root = match content {
            Content::Inline(extents) => return leaf(0, extents).map(drop),
            Content::List(root) => root,
        };
        // The length that the node above gives: if it is not so, what follows is at another offset.
        let mut stack: Vec<(ChunkId, u8, u64, Option<u64>)> = vec![(*root, u8::MAX, 0, None)];
        while let Some((id, below, start, len)) = stack.pop() {
            let node = self.list_node(&id)?;
            let (level, sum) = match &node {
                ListNode::Leaf(extents) => (0, extents.iter().map(|e| e.len).fold(0, u64::saturating_add)),
                ListNode::Inner { level, children } => {
                    (*level, children.iter().map(|c| c.len).fold(0, u64::saturating_add))
                }
            };
            if level >= below || len.is_some_and(|len| len != sum) {
                return Err(misplaced(&id));
            }
            match node {
                ListNode::Leaf(extents) => {
                    if leaf(start, &extents)?.is_break() {
                        return Ok(());
                    }
                }
                ListNode::Inner { children, .. } => {
                    let mut at = start;
                    let mut needed = Vec::new();
                    for child in children {
                        let begins = at;
                        at = at.saturating_add(child.len);
                        if at > from {
                            needed.push((child.id, level, begins, Some(child.len)));
                        }
                    }
                    stack.extend(needed.into_iter().rev());
                }
            }
        }
        Ok(())
    }
}
/// Stores a directory; the nodes are sorted.
pub fn build(run: &mut Run, nodes: Vec<Node>) -> Result<ChunkId, RepositoryError> {
    let mut builder = TreeBuilder::default();
    for node in nodes {
        builder.push(run, node)?;
    }
    builder.finish(run)
}
