//! Layer 0: the words every other layer speaks.
//!
//! Identifiers, the byte cursor, sizes of padded objects, and the observer through which long work tells
//! how it goes. This layer knows nothing of files, stores, keys or formats.

pub mod causes;
pub mod codec;
pub mod ids;
pub mod observer;
pub mod padding;
pub mod text;
pub mod world;
