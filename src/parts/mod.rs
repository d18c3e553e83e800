//! Layer 1: the parts a repository is built from. None of them knows what an object means.

pub mod children;
pub mod chunk;
pub mod compress;
pub mod crypto;
pub mod folder;
pub mod patterns;
pub mod store;
