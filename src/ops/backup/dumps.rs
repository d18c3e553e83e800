//! Sources that are dumps of something: one stream, or one for each database of a server.

use std::io::Read;

use crate::format::description::{Figures, StreamDescription};
use crate::format::record::Outcome;
use crate::primitives::component::component;
use crate::primitives::progress::{Observer, Severity};
use crate::source::command::CommandSource;

use super::BackupError;
use super::snapshot_writer::{SnapshotWriter, Source, SourceReport};
use super::stream::{Input, Saved, StreamOptions, store_stream};

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

    /// Gets ready, and says what to run. An error is why it cannot be run.
    fn begin(&mut self) -> Result<CommandSource, String> {
        Err("it is not written by a command".to_owned())
    }

    /// Gets ready, and says where the bytes come from: by default, from the command of [`Dump::begin`]. May take long: `stop`
    /// says when it is to give up.
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

/// Lists the dumps of a source when its turn has come. An error is why nothing can be saved of it.
pub type ListDumps = Box<dyn FnOnce(&dyn Observer) -> Result<Vec<Box<dyn Dump>>, String>>;

/// A source that consists of dumps. They are listed when its turn comes; one that fails stops no other.
pub fn dumps_source(name: String, options: StreamOptions, list: ListDumps) -> Box<dyn Source> {
    Box::new(Dumps { name, options, list })
}

struct Dumps {
    name: String,
    options: StreamOptions,
    list: ListDumps,
}

impl Source for Dumps {
    fn name(&self) -> &str {
        &self.name
    }

    fn store(self: Box<Self>, writer: &mut SnapshotWriter<'_>) -> Result<(), BackupError> {
        let Self { name, options, list } = *self;
        let observer = writer.observer();
        let failed = |writer: &mut SnapshotWriter<'_>, error: String| {
            observer.finding(Severity::Error, &format!("{name}: {error}"));
            writer.report(SourceReport::failed(name.clone(), Figures::default(), error));
        };
        let dumps = match list(observer) {
            Ok(dumps) => dumps,
            Err(error) => {
                failed(writer, error);
                return Ok(());
            }
        };
        if dumps.is_empty() {
            failed(writer, "there is nothing to save".to_owned());
            return Ok(());
        }
        let mut members: Vec<String> = dumps.iter().filter_map(|dump| dump.member().map(str::to_owned)).collect();
        let (mut left, reported) = (dumps.len(), writer.reports().len());
        for dump in dumps {
            let member = dump.member().map(str::to_owned);
            left -= 1;
            if store_stream(writer, &name, Input::Dump(dump), &options, &members)? == Saved::Gone {
                members.retain(|known| Some(known) != member.as_ref());
                member.into_iter().for_each(|member| writer.lacks(&name, &member));
                if left == 0 && writer.reports().len() == reported {
                    failed(writer, "there is nothing left to save".to_owned());
                }
            }
        }
        Ok(())
    }
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
