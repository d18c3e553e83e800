//! What every other layer builds on.
//!
//! Identifiers, the byte cursor, sizes of padded objects, clock and randomness, and the observer through which long work
//! reports its progress. This layer knows nothing of stores, keys or formats.

#![warn(clippy::cast_possible_truncation)]

pub mod codec;
pub mod component;
pub mod error_chain;
pub mod flag;
pub mod fsync;
pub mod ids;
pub mod padding;
pub mod progress;
pub mod system;
pub mod text;
