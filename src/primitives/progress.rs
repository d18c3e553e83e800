//! How long work tells of itself: a trait that operations call and the CLI implements.
//!
//! The library never prints. Operations hand figures and findings to an [`Observer`] as they go; what is
//! returned in the end is the report. All methods may be called from several threads at once.

use std::path::PathBuf;

/// What kind of finding a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Something was left out or looks wrong; the work goes on and the exit code says so.
    Warning,
    /// A thing could not be done.
    Error,
}

/// Receives progress and findings.
pub trait Observer: Send + Sync {
    /// A phase begins; `total` in `unit`s if it is known.
    fn phase(&self, _name: &str, _total: Option<u64>, _unit: Unit) {}
    /// `n` more units of the current phase are done.
    fn advance(&self, _n: u64) {}
    /// The total of the current phase grew by `n`.
    fn grow(&self, _n: u64) {}
    /// Whether somebody looks at how much is left, so that finding out the total is worth its while.
    fn wants_total(&self) -> bool {
        false
    }
    /// What is being worked on now, for a status line.
    fn current(&self, _what: &str) {}
    /// One more file is done: what became of it, where it is, and its length in bytes. The path is asked for only if it
    /// is shown.
    fn file(&self, _change: Change, _path: &dyn Fn() -> PathBuf, _len: u64) {}
    /// A finding about one thing, in one line of text.
    fn finding(&self, _severity: Severity, _text: &str) {}
    /// Whether the user asked to stop. Long loops ask now and then.
    fn interrupted(&self) -> bool {
        false
    }
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The last backup did not have it.
    New,
    /// It differs from what the last backup had.
    Modified,
    /// It was read without being compared.
    Read,
    /// The last backup had it so, and it was not read.
    Unchanged,
    /// It was restored.
    Restored,
}

impl Change {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Modified => "modified",
            Self::Read => "read",
            Self::Unchanged => "unchanged",
            Self::Restored => "restored",
        }
    }
}

/// What a phase counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things: files, objects, records.
    Items,
}

/// Observes nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {}

/// Keeps every finding: for tests and for callers that print later.
#[derive(Debug, Default)]
pub struct Recorder {
    findings: parking_lot::Mutex<Vec<(Severity, String)>>,
}

impl Recorder {
    /// All findings so far, in the order they came.
    pub fn findings(&self) -> Vec<(Severity, String)> {
        self.findings.lock().clone()
    }
}

impl Observer for Recorder {
    fn finding(&self, severity: Severity, text: &str) {
        self.findings.lock().push((severity, text.to_owned()));
    }
}
