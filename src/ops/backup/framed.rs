//! Sources in sources: with something that is done before and after, and as a line of a list.

use std::sync::Arc;

use crate::format::description::Figures;
use crate::primitives::progress::{Observer, Severity};
use crate::repository::Repository;

use super::BackupError;
use super::foreseen::ForeseenContent;
use super::report::SourceReport;
use super::snapshot_writer::{SnapshotWriter, Source};

/// What is done before and after a source.
pub trait Frame: Send {
    /// Is called before the source is saved. An error is why it is not saved at all.
    fn before(&mut self, observer: &dyn Observer) -> Result<(), String>;

    /// Is called in any case, also when `before` failed or the run was stopped: with what came of the source and its
    /// members, as far as they were reached, and what stopped it. What it answers is told as errors; what is saved stays
    /// saved, and its outcome is *warnings* at best.
    fn after(
        &mut self,
        observer: &dyn Observer,
        reports: &[SourceReport],
        stopped: Option<&BackupError>,
    ) -> Vec<String>;
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

    fn foresee(
        self: Box<Self>,
        repository: &Arc<Repository>,
        observer: &dyn Observer,
    ) -> Result<ForeseenContent, BackupError> {
        self.inner.foresee(repository, observer)
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
        let name = inner.name().to_owned();
        let observer = writer.observer();
        let stored = match frame.before(observer) {
            Ok(()) => inner.store(writer),
            Err(_) if observer.interrupted() => Err(BackupError::Interrupted),
            Err(error) => {
                observer.finding(Severity::Error, &format!("{name}: {error}"));
                writer.report(SourceReport::failed(name.clone(), Figures::default(), error));
                Ok(())
            }
        };
        for text in frame.after(observer, &writer.reports(), stored.as_ref().err()) {
            observer.finding(Severity::Error, &format!("{name}: {text}"));
            writer.warn_of(&text);
        }
        stored
    }

    fn foresee(
        self: Box<Self>,
        repository: &Arc<Repository>,
        observer: &dyn Observer,
    ) -> Result<ForeseenContent, BackupError> {
        self.inner.foresee(repository, observer)
    }
}
