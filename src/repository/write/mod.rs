//! Writing: runs, packs and trees.

pub mod packer;
pub mod rewrite;
pub mod run;
pub mod trees;
