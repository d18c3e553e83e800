//! The table by which a node names each block it needs once.
//!
//! References within tree and list nodes give the block as an index into this table. Blocks stand in the
//! order in which they are first named; run and number are written as differences to the row before.

use std::collections::HashMap;

use crate::primitives::codec::{CodecError, Reader, Write, len32};
use crate::primitives::ids::{BlockId, Extent, RunId};

/// Gathers the blocks of one node.
#[derive(Debug, Default)]
pub struct BlocksTable {
    blocks: Vec<BlockId>,
    index: HashMap<BlockId, u32>,
}

impl BlocksTable {
    /// Adds a block unless it is there.
    pub fn add(&mut self, block: BlockId) {
        if !self.index.contains_key(&block) {
            self.index.insert(block, len32(self.blocks.len()));
            self.blocks.push(block);
        }
    }

    /// The blocks in order.
    pub fn into_blocks(self) -> Vec<BlockId> {
        self.blocks
    }

    /// Appends the table.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.varint(self.blocks.len() as u64);
        let (mut run, mut number) = (0u64, 0u32);
        for block in &self.blocks {
            out.signed(block.run.0.wrapping_sub(run) as i64);
            out.signed(i64::from(block.number) - i64::from(number));
            (run, number) = (block.run.0, block.number);
        }
    }

    /// Appends a counted list of extents into blocks of this table.
    pub fn encode_extents(&self, extents: &[Extent], out: &mut Vec<u8>) {
        out.varint(extents.len() as u64);
        for extent in extents {
            out.varint(u64::from(self.index[&extent.reference.block]));
            out.reference_into(&extent.reference);
            out.varint(extent.len);
        }
    }
}

/// The table as read.
#[derive(Debug)]
pub struct BlocksTableReader {
    blocks: Vec<BlockId>,
}

impl BlocksTableReader {
    /// Reads what [`BlocksTable::encode`] wrote.
    pub fn decode(r: &mut Reader) -> Result<Self, CodecError> {
        let n = r.count(2)?;
        let mut blocks = Vec::with_capacity(n);
        let (mut run, mut number) = (0u64, 0i64);
        for _ in 0..n {
            run = run.wrapping_add(r.signed()? as u64);
            number = number.wrapping_add(r.signed()?);
            let number = u32::try_from(number).map_err(|_| r.invalid("block number"))?;
            blocks.push(BlockId { run: RunId(run), number });
        }
        Ok(Self { blocks })
    }

    /// Reads what [`BlocksTable::encode_extents`] wrote.
    pub fn decode_extents(&self, r: &mut Reader) -> Result<Vec<Extent>, CodecError> {
        let n = r.count(4)?;
        let mut extents = Vec::with_capacity(n);
        for _ in 0..n {
            let index = usize::try_from(r.varint()?).ok();
            let block = index.and_then(|i| self.blocks.get(i)).ok_or_else(|| r.invalid("block"))?;
            let reference = r.reference_into(*block)?;
            extents.push(Extent { reference, len: r.varint()? });
        }
        Ok(extents)
    }
}
