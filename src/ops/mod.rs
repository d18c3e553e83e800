//! Layer 7: what a user asks for, as functions over a repository: (repository, options, observer) -> report.
//!
//! Nothing here prints, asks or exits; findings go to the observer, figures and outcomes into the report.

pub mod backup;
pub mod cat;
pub mod copy;
pub mod credentials;
pub mod diff;
pub mod find;
pub mod forget;
pub mod keys;
pub mod list;
pub mod log;
pub mod prune;
mod reachable;
pub mod repair;
pub mod restore;
mod rewrite_tree;
pub mod runs;
pub mod stats;
pub mod verify;
pub mod versions;
