//! One module for each command: options in, one operation, words or JSON out.

pub mod backup;
pub mod branches;
pub mod cat;
pub mod copy;
pub mod credential;
pub mod diff;
pub mod find;
pub mod forget;
pub mod init;
pub mod key;
pub mod log;
pub mod ls;
pub mod manual;
pub mod prune;
pub mod repair;
pub mod restore;
pub mod snapshots;
pub mod stats;
pub mod unlock;
pub mod verify;
