//! Each source of a run, written down in the journal as soon as it is done: a run that is killed tells what it has.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::cli::output::json::outcome;
use crate::cli::redact::mask;
use crate::jobs::journal::{Event, Journal};
use crate::ops::backup::{Follower, SourceReport};
use crate::primitives::system::System;

/// Writes what becomes of the sources of a run into the journal.
pub(in crate::cli) struct JournalFollower {
    journal: Journal,
    run: String,
    system: Arc<dyn System>,
    /// Why the journal could not be written: nothing more is written then, and the backup goes on.
    failed: Mutex<Option<io::Error>>,
}

impl JournalFollower {
    pub(in crate::cli) fn new(journal: Journal, run: String, system: Arc<dyn System>) -> Self {
        Self { journal, run, system, failed: Mutex::new(None) }
    }

    /// Whether all of it could be written down.
    pub(in crate::cli) fn result(&self) -> io::Result<()> {
        self.failed.lock().take().map_or(Ok(()), Err)
    }

    fn append(&self, event: &Event) {
        let mut failed = self.failed.lock();
        if failed.is_none() {
            *failed = self.journal.append(event).err();
        }
    }
}

impl Follower for JournalFollower {
    fn begins(&self, sources: &[String]) {
        self.append(&Event::Sources { run: self.run.clone(), sources: sources.to_vec() });
    }

    fn saved(&self, report: &SourceReport) {
        self.append(&Event::Source {
            run: self.run.clone(),
            source: report.path(),
            outcome: outcome(report.outcome).to_owned(),
            snapshot: report.snapshot.map(|id| id.to_string()),
            error: report.error.as_deref().map(mask),
            bytes: report.figures.bytes,
            bytes_stored: report.figures.bytes_stored,
            time_ms: Some(self.system.now_ms()),
        });
    }

    fn ended(&self, source: &str) {
        self.append(&Event::SourceEnded { run: self.run.clone(), source: source.to_owned() });
    }
}
