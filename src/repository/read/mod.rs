//! Reading objects, frames and nodes back.

pub mod file;
pub mod frame;
pub mod locate;
pub mod object;
