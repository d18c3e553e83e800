//! What is told of a source while it is saved: to the observer at once, and in its snapshot afterwards.

use crate::format::description::Figures;
use crate::primitives::progress::{Observer, Severity};
use crate::source::{Problem, ProblemKind};

/// The first findings are kept for the snapshot.
const FINDINGS_MAX: usize = 100;

/// Counts and findings of one source.
pub(super) struct Tally<'a> {
    /// Who is told at once.
    pub observer: &'a dyn Observer,
    /// Counts.
    pub figures: Figures,
    /// The first findings, for the snapshot's description.
    pub findings: Vec<String>,
}

impl<'a> Tally<'a> {
    /// Of a source that was not begun.
    pub(super) fn new(observer: &'a dyn Observer) -> Self {
        Self { observer, figures: Figures::default(), findings: Vec::new() }
    }

    /// Counts and tells what is wrong with an entry.
    pub(super) fn problem(&mut self, problem: &Problem) {
        let severity = match problem.what {
            ProblemKind::Vanished => {
                self.figures.vanished += 1;
                Severity::Warning
            }
            ProblemKind::Unreadable | ProblemKind::Attribute => {
                self.figures.unreadable += 1;
                Severity::Error
            }
        };
        self.say(severity, problem.to_string());
    }

    /// Counts and tells each of them.
    pub(super) fn problems<'p>(&mut self, problems: impl IntoIterator<Item = &'p Problem>) {
        problems.into_iter().for_each(|problem| self.problem(problem));
    }

    /// Tells the observer, and keeps the first findings for the snapshot.
    pub(super) fn say(&mut self, severity: Severity, text: String) {
        self.observer.finding(severity, &text);
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(text);
        }
    }

    /// Counts a file of this size.
    pub(super) fn file(&mut self, size: u64) {
        self.figures.files += 1;
        self.figures.bytes = self.figures.bytes.saturating_add(size);
    }
}
