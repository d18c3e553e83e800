//! What the program prints: text, JSON, progress.

pub mod json;
pub mod progress;
pub mod status;
pub mod text;
