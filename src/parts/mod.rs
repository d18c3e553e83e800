//! Layer 1: parts that know the words and nothing above them.

pub mod store;
