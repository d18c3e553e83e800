//! Layer 2: every object of a repository as bytes and as values.
//!
//! Pure: nothing here reads or writes a store. One file per kind, described to the byte in the section of
//! `docs/FORMAT.md` of the same name.

pub mod blocks_table;
pub mod tree;
