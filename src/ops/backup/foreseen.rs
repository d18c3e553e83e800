//! What would be saved of a source: as values.

use super::report::SourceReport;

/// What would be saved of a source.
#[derive(Debug, Clone)]
pub struct Foreseen {
    /// Its name.
    pub source: String,
    /// What it consists of.
    pub content: ForeseenContent,
}

/// What a source consists of.
#[derive(Debug, Clone)]
pub enum ForeseenContent {
    /// Paths, with the figures of what would be read.
    Paths(Box<SourceReport>),
    /// Streams.
    Streams(Vec<ForeseenStream>),
    /// Nothing would be saved of it, for this reason.
    Failure(String),
}

/// A stream that would be saved.
#[derive(Debug, Clone)]
pub struct ForeseenStream {
    /// Name of the file.
    pub file: String,
    /// The database or other part of its source that it is.
    pub member: Option<String>,
    /// Why it would fail, as far as that is known.
    pub refused: Option<String>,
}

impl Foreseen {
    /// How many parts of it would be saved, and how many would fail.
    pub fn counts(&self) -> (usize, usize) {
        match &self.content {
            ForeseenContent::Paths(_) => (1, 0),
            ForeseenContent::Streams(streams) => {
                let refused = streams.iter().filter(|stream| stream.refused.is_some()).count();
                (streams.len() - refused, refused)
            }
            ForeseenContent::Failure(_) => (0, 1),
        }
    }
}
