//! Telling people: what is told to whom, and how a ping is sent.
//!
//! All is told from the [`Status`](super::audit::Status) of sources, whoever found it out: the run that ended, `freshness`
//! or the keeper's upkeep. What was told is remembered, so that nobody is told the same twice, and everybody is told when
//! it is over.

mod decide;
mod metrics;
mod ping;
mod status_line;

pub use decide::{Memory, Occasion, Occasions, Telling, Told, decide};
pub use metrics::metrics;
pub use ping::ping;
pub use status_line::status_line;
