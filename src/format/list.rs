//! Content lists: the references that make a long file or stream, cut by content into nodes.
//!
//! A leaf node holds extents; an inner node the ids of its children and how many bytes each stands for, so
//! that an offset is found without reading the rest. Like tree nodes they are chunks of `meta` blocks,
//! pointed to by id: a long file that changed little shares most of its nodes with the night before.
//! The byte layout is `docs/FORMAT.md`, section "List node".

use crate::primitives::codec::{CodecError, Reader, Write};
use crate::primitives::ids::{BlockId, ChunkId, Extent};

use super::blocks_table::{BlocksTable, BlocksTableReader};

/// Levels of inner nodes above the leaves at the most.
pub const LIST_LEVEL_MAX: u8 = 16;

/// A child of an inner node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListChild {
    /// The child's id.
    pub id: ChunkId,
    /// Bytes of content below it.
    pub len: u64,
}

/// A node of a content list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListNode {
    /// Extents in order.
    Leaf(Vec<Extent>),
    /// Children in order, and their level: 1 above leaves.
    Inner {
        /// Height above the leaves.
        level: u8,
        /// At least one child.
        children: Vec<ListChild>,
    },
}

/// Marks a list node's first byte, so that no list node is also a tree node.
const LIST_MARK: u8 = 0x80;

impl ListNode {
    /// The node's bytes: equal nodes have equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        match self {
            Self::Leaf(extents) => {
                out.u8(LIST_MARK);
                let mut table = BlocksTable::default();
                extents.iter().for_each(|e| table.add(e.reference.block));
                table.encode(&mut out);
                table.encode_extents(extents, &mut out);
            }
            Self::Inner { level, children } => {
                out.u8(LIST_MARK | level);
                out.varint(children.len() as u64);
                for child in children {
                    out.raw(&child.id.0);
                    out.varint(child.len);
                }
            }
        }
        out
    }

    /// Reads a node.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut r = Reader::new(bytes);
        let mark = r.u8()?;
        if mark & LIST_MARK == 0 || mark & !LIST_MARK > LIST_LEVEL_MAX {
            return Err(r.invalid("mark of a list node"));
        }
        let node = match mark & !LIST_MARK {
            0 => {
                let table = BlocksTableReader::decode(&mut r)?;
                Self::Leaf(table.decode_extents(&mut r)?)
            }
            level => {
                let n = r.count(ChunkId::LEN + 1)?;
                let mut children = Vec::with_capacity(n);
                for _ in 0..n {
                    children.push(ListChild { id: r.chunk_id()?, len: r.varint()? });
                }
                if children.is_empty() {
                    return Err(r.invalid("inner node without children"));
                }
                Self::Inner { level, children }
            }
        };
        r.end()?;
        Ok(node)
    }

    /// Bytes of content the node stands for; `None` if they overflow.
    pub fn len(&self) -> Option<u64> {
        let lens: Box<dyn Iterator<Item = u64>> = match self {
            Self::Leaf(extents) => Box::new(extents.iter().map(|e| e.len)),
            Self::Inner { children, .. } => Box::new(children.iter().map(|c| c.len)),
        };
        { lens }.try_fold(0u64, |sum, len| sum.checked_add(len))
    }

    /// Whether the node stands for no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The blocks that the node's references name, each once.
    pub fn blocks(&self) -> Vec<BlockId> {
        match self {
            Self::Inner { .. } => Vec::new(),
            Self::Leaf(extents) => {
                let mut table = BlocksTable::default();
                extents.iter().for_each(|e| table.add(e.reference.block));
                table.into_blocks()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::ids::{Reference, RunId};

    #[test]
    fn nodes_come_back_and_no_cut_panics() {
        let extent = |number, first, len| Extent {
            reference: Reference { block: BlockId { run: RunId(9), number }, first, count: 3 },
            len,
        };
        let leaf = ListNode::Leaf(vec![extent(5, 0, 9000), extent(2, 7, 100), extent(5, 9, 1 << 40)]);
        let child = ListChild { id: ChunkId([3; 16]), len: 1 << 33 };
        let inner = ListNode::Inner { level: 3, children: vec![child, child] };
        assert_eq!(leaf.blocks().len(), 2);
        assert_eq!(inner.len(), Some(1 << 34));
        for node in [leaf, inner] {
            let bytes = node.encode();
            assert_eq!(ListNode::decode(&bytes), Ok(node));
            for n in 0..bytes.len() {
                assert!(ListNode::decode(&bytes[..n]).is_err());
            }
            assert!(super::super::tree::TreeNode::decode(&bytes).is_err());
        }
    }
}
