//! Sources in sources: with something that is done before and after, and as a line of a list.

use crate::format::description::Figures;
use crate::primitives::progress::Severity;

use super::BackupError;
use super::snapshot_writer::{SnapshotWriter, Source, SourceReport};

/// What is done before and after a source.
pub trait Frame {
    /// Is called before the source is saved. An error is why it is not saved at all.
    fn before(&mut self) -> Result<(), String>;

    /// Is called in any case, also when `before` failed or the run was stopped: with what came of the source and its
    /// members, as far as they were reached. What it answers is told as a warning.
    fn after(&mut self, reports: &[SourceReport]) -> Vec<String>;
}

/// A source within a frame.
pub fn framed_source(inner: Box<dyn Source>, frame: Box<dyn Frame>) -> Box<dyn Source> {
    Box::new(Framed { inner, frame })
}

/// A source that is a line of the list of a job. Its name is `JOB/LINE`; it needs no right but the job's.
pub fn line_source(inner: Box<dyn Source>, job: String, line: String) -> Box<dyn Source> {
    Box::new(Line { inner, job, line })
}

struct Line {
    inner: Box<dyn Source>,
    job: String,
    line: String,
}

impl Source for Line {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn identity(&self) -> &str {
        &self.job
    }

    fn store(self: Box<Self>, writer: &mut SnapshotWriter<'_>) -> Result<(), BackupError> {
        let before = writer.line.replace((self.job, self.line));
        let stored = self.inner.store(writer);
        writer.line = before;
        stored
    }
}

struct Framed {
    inner: Box<dyn Source>,
    frame: Box<dyn Frame>,
}

impl Source for Framed {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn identity(&self) -> &str {
        self.inner.identity()
    }

    fn store(self: Box<Self>, writer: &mut SnapshotWriter<'_>) -> Result<(), BackupError> {
        let Self { inner, mut frame } = *self;
        let (name, first) = (inner.name().to_owned(), writer.reports().len());
        let stored = match frame.before() {
            Ok(()) => inner.store(writer),
            Err(error) => {
                writer.observer().finding(Severity::Error, &format!("{name}: {error}"));
                writer.report(SourceReport::failed(name.clone(), Figures::default(), error));
                Ok(())
            }
        };
        for text in frame.after(&writer.reports()[first..]) {
            writer.observer().finding(Severity::Warning, &format!("{name}: {text}"));
            writer.warn_of(first, &text);
        }
        stored
    }
}
