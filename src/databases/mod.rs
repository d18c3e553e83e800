//! Layer 8: databases as sources, and the way back into them.
//!
//! Everything is done by the databases' own tools: names of databases reach them as arguments, secrets by files and the
//! environment, and the exit status decides. Nothing here prints.

pub mod load;
pub mod mysql;
pub mod postgres;
pub mod scratch;
pub mod sqlite;
pub mod tool;
