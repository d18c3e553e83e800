//! Layer 3: the machines that operations are built from.

pub mod repository;
pub mod source;
pub mod target;
