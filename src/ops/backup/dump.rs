//! A dump: a stream that a command writes, and what is known of it.

use crate::format::description::StreamDescription;
use crate::format::record::Outcome;
use crate::primitives::component::component;
use crate::primitives::progress::Severity;
use crate::source::command::CommandSource;

/// A stream that a command writes, and what is to be known of it.
///
/// A dump that fails may be tried again: [`Dump::begin`] starts anew.
pub trait Dump: Send {
    /// Name of the file that it is saved as: a component of a path.
    fn file(&self) -> &str;

    /// The database or other part of its source that it is, as the server calls it; `None` if it is all of the source.
    fn member(&self) -> Option<&str> {
        None
    }

    /// Gets ready, and says what to run. An error is why it cannot be run.
    fn begin(&mut self) -> Result<CommandSource, String>;

    /// What the command wrote, piece by piece, in order.
    fn saw(&mut self, _bytes: &[u8]) {}

    /// The command ended well: what is to be kept with the stream. An error is why the stream is worth nothing. May take
    /// long: `stop` says when it is to give up.
    fn finish(&mut self, stop: &dyn Fn() -> bool) -> Result<Dumped, String>;

    /// It failed: whether that is because what it was to save is not there any more, and so no failure; in words.
    fn gone(&mut self) -> Option<String> {
        None
    }
}

/// What is known of a stream that was written.
#[derive(Debug, Clone, Default)]
pub struct Dumped {
    /// What is said of it; its members are filled in.
    pub described: Option<StreamDescription>,
    /// What is to be noticed: a warning makes the outcome *warnings*, an error *partial*.
    pub findings: Vec<(Severity, String)>,
}

/// The path of a member of a source.
pub(super) fn path_of(source: &str, member: Option<&str>) -> String {
    match member {
        Some(member) => format!("{source}/{}", component(member)),
        None => source.to_owned(),
    }
}

/// The output of a command, of which nothing more is known.
pub(super) struct CommandDump {
    /// The command; its name is that of the file.
    pub command: CommandSource,
    /// What is said of it.
    pub described: Option<StreamDescription>,
}

impl Dump for CommandDump {
    fn file(&self) -> &str {
        &self.command.name
    }

    fn begin(&mut self) -> Result<CommandSource, String> {
        Ok(self.command.clone())
    }

    fn finish(&mut self, _stop: &dyn Fn() -> bool) -> Result<Dumped, String> {
        Ok(Dumped { described: self.described.clone(), findings: Vec::new() })
    }
}

/// How findings change an outcome.
pub(super) fn worst_of(findings: &[(Severity, String)]) -> Outcome {
    let outcome = |severity: &Severity| match severity {
        Severity::Note => Outcome::Complete,
        Severity::Warning => Outcome::Warnings,
        Severity::Error => Outcome::Partial,
    };
    findings.iter().map(|(severity, _)| outcome(severity)).max().unwrap_or(Outcome::Complete)
}
