//! strongroom: content-addressed, deduplicating, encrypted backups.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod formats;
pub mod machinery;
pub mod words;
