//! A dump: a stream that a command writes or that is read otherwise, and what is known of it.

use std::io::Read;

use crate::format::description::StreamDescription;
use crate::format::record::Outcome;
use crate::primitives::component::component;
use crate::primitives::progress::Severity;
use crate::source::command::CommandSource;

/// A stream that a command writes, and what is to be known of it.
///
/// A dump that fails may be tried again: [`Dump::open`] starts anew. What no command writes implements [`Dump::open`],
/// all others [`Dump::begin`].
pub trait Dump: Send {
    /// Name of the file that it is saved as: a component of a path.
    fn file(&self) -> &str;

    /// The database or other part of its source that it is, as the server calls it; `None` if it is all of the source.
    fn member(&self) -> Option<&str> {
        None
    }

    /// Why it is known that it will fail, if it is.
    fn refused(&self) -> Option<&str> {
        None
    }

    /// Gets ready, and says what to run. An error is why it cannot be run.
    fn begin(&mut self) -> Result<CommandSource, String> {
        Err("it is not written by a command".to_owned())
    }

    /// Gets ready, and says where the bytes come from: by default, from the command of [`Dump::begin`]. May take long:
    /// `stop` says when it is to give up.
    fn open(&mut self, _stop: &dyn Fn() -> bool) -> Result<Origin, String> {
        self.begin().map(Origin::Command)
    }

    /// What was read, piece by piece, in order.
    fn saw(&mut self, _bytes: &[u8]) {}

    /// All was read, and the command ended well: what is to be kept with the stream. An error is why the stream is worth nothing. May take
    /// long: `stop` says when it is to give up.
    fn finish(&mut self, stop: &dyn Fn() -> bool) -> Result<Dumped, String>;

    /// It failed: whether that is because what it was to save is not there any more, and so no failure; in words.
    fn gone(&mut self) -> Option<String> {
        None
    }
}

/// Where the bytes of a dump come from.
pub enum Origin {
    /// The output of a command, whose exit status decides.
    Command(CommandSource),
    /// A reader, such as an open file. An error of it is a failure of the dump.
    Reader(Box<dyn Read + Send>),
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
