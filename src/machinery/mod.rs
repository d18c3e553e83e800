//! Layer 3: the machinery that operations are made of.
//!
//! It knows formats, parts and words; it knows nothing of operations, jobs and the command line.

pub mod target;
