//! strongroom: content-addressed, deduplicating, encrypted backups.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cli;
pub mod formats;
pub mod machinery;
pub mod operations;
pub mod parts;
pub mod words;
