//! Layer 4: every object of a repository as bytes and as values.
//!
//! Pure: nothing here reads or writes a store. One file per kind, described to the byte in the section of
//! `docs/FORMAT.md` of the same name.

#![warn(clippy::cast_possible_truncation)]

pub mod blocks_table;
pub mod checkpoint;
pub mod config;
pub mod credential;
pub mod description;
pub mod directory;
pub mod envelope;
pub mod epoch_keys;
pub mod list;
pub mod names;
pub mod pack;
pub mod record;
pub mod sealed;
pub mod segment;
pub mod slot;
pub mod state;
pub mod tree;
