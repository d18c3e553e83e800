//! Layer 9: jobs, as a configuration file describes them.
//!
//! Nothing here prints: what is wrong in a file is told with its place, by [`config::ConfigError`].

pub mod audit;
pub mod config;
pub mod debt;
pub mod frame;
pub mod hooks;
pub mod journal;
pub mod list;
pub mod notify;
pub mod owed;
pub mod schedule;
pub mod service;
pub mod starter;
