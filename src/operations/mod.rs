//! Layer 4: what a user asks for, as functions over a repository: (repository, options, observer) -> report.
//!
//! Nothing here prints, asks or exits; findings go to the observer, figures and outcomes into the report.

pub mod backup;
pub mod cat;
pub mod copy;
pub mod credentials;
pub mod diff;
pub mod find;
pub mod forget;
pub mod history;
pub mod keys;
pub mod list;
pub mod noncurrent;
pub mod prune;
mod rebuild;
pub mod repair;
pub mod restore;
pub mod stats;
pub mod verify;
