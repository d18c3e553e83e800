//! Reading objects, frames and nodes back.

pub mod frame;
pub mod object;
