//! strongroom: content-addressed, deduplicating, encrypted backups.
//!
//! The modules, lowest first; each knows only those above it in this list:
//!
//! * [`primitives`]: identifiers, the codec, time and randomness, progress
//! * [`crypto`], [`chunking`], [`compression`], [`store`], [`parallel`], [`patterns`], [`process_group`]: each of them on its own
//! * [`mod@format`]: the bytes of every object
//! * [`mod@log`]: what a record of the commit log does, as a pure state machine; [`cache`]: the local SQLite index
//! * [`repository`]: an open repository; [`source`]: what is backed up; [`destination`]: where a restore writes
//! * [`ops`]: one module an operation
//! * [`jobs`]: the configuration file, and when a job is due
//! * [`cli`]: the program

pub mod cache;
pub mod chunking;
pub mod cli;
pub mod compression;
pub mod crypto;
pub mod databases;
pub mod destination;
pub mod format;
pub mod jobs;
pub mod log;
pub mod ops;
pub mod parallel;
pub mod patterns;
pub mod primitives;
pub mod process_group;
pub mod repository;
pub mod source;
pub mod store;
