//! Backing up a stream: standard input, or what a command writes. The exit status of the command decides.

use std::collections::VecDeque;
use std::io::{self, Read};

use crate::format::description::{Figures, SnapshotDescription};
use crate::format::record::Outcome;
use crate::format::tree::{FileNode, FileTime, Metadata, Node, NodeKind, Owner};
use crate::primitives::error_chain::error_chain;
use crate::primitives::progress::{Observer, Severity, Unit};
use crate::repository::write::trees::build;
use crate::source::command::CommandSource;
use crate::source::sniff::SNIFF_LEN;
use crate::source::trailer::TAIL_LEN;
use crate::source::{StreamCommand, cut_short, sniff};

use super::BackupError;
use super::content::{ContentWriter, StoredContent};
use super::cut::{Cutter, Group};
use super::snapshot_writer::{CounterSnapshot, SnapshotWriter, Source, SourceReport, Stored};
use super::tally::Tally;

/// A stream to back up as a file.
pub enum StreamSource {
    /// Bytes from a reader, such as standard input.
    Reader {
        /// Name of the file.
        name: String,
        /// The bytes.
        reader: Box<dyn Read + Send>,
    },
    /// The standard output of a command, whose exit status decides.
    Command(CommandSource),
}

impl StreamSource {
    /// Name of the file, and of the source.
    pub fn name(&self) -> &str {
        match self {
            Self::Reader { name, .. } => name,
            Self::Command(command) => &command.name,
        }
    }
}

/// A stream as a source.
pub(super) struct Streamed {
    /// What the source is called.
    pub name: String,
    /// Where its bytes come from.
    pub stream: StreamSource,
}

/// What came of reading a stream to its end.
struct StreamResult {
    /// The first bytes, for recognising what it is.
    start: Vec<u8>,
    /// The last bytes.
    end: VecDeque<u8>,
    /// Last words of the command, or why it failed.
    said: Result<String, Failure>,
}

/// Why a stream is not saved.
struct Failure {
    /// What is wrong.
    what: String,
    /// The last lines of what the command said.
    tail: String,
}

/// Told what describes the process group of a command.
type Note<'a> = &'a (dyn Fn(&str) + Sync);

impl Source for Streamed {
    fn name(&self) -> &str {
        &self.name
    }

    /// Saves the stream as a snapshot with one file.
    fn store(self: Box<Self>, writer: &mut SnapshotWriter<'_>) -> Result<SourceReport, BackupError> {
        let Self { name: source, stream } = *self;
        let (options, observer) = (writer.options, writer.observer);
        let repository = writer.run.repository().clone();
        let started_ms = repository.system.now_ms();
        let name = stream.name().to_owned();
        observer.phase(&format!("backing up {name}"), None, Unit::Bytes);
        let counted = CounterSnapshot::of(writer.run);
        let (read, content) = read(writer, stream)?;
        let len = content.len;
        let mut figures = Figures { files: 1, files_read: 1, bytes: len, bytes_read: len, ..Figures::default() };
        let read = match read {
            Err(e) => Err(Failure::new(format!("{name}: cannot read the stream: {e}"))),
            Ok(StreamResult { said: Err(failure), .. }) => Err(failure),
            Ok(_) if len == 0 && !options.allow_empty && !observer.interrupted() => {
                let what = "the stream is empty, so it was not saved; --allow-empty saves it nevertheless";
                Err(Failure::new(format!("{name}: {what}")))
            }
            Ok(read) => Ok(read),
        };
        let read = match read {
            Ok(read) => read,
            Err(failure) => {
                observer.finding(Severity::Error, &failure.what);
                counted.add_to(writer.run, &mut figures);
                return Ok(SourceReport::failed(source, figures, failure.in_full()));
            }
        };
        let mut tally = Tally::new(observer);
        let outcome = recognize(&name, read, &mut tally);
        let root = build(writer.run, vec![file_node(&name, content, started_ms)])?;
        counted.add_to(writer.run, &mut figures);
        figures.duration_ms = (repository.system.now_ms() - started_ms).max(0) as u64;
        let paths = vec![name.as_bytes().to_vec().into()];
        let (source_name, findings) = (source.clone(), tally.findings);
        let described = SnapshotDescription { source: source_name, paths, figures, findings, ..writer.described() };
        let stored = Stored { described, root, outcome, parents: Vec::new(), started_ms };
        let (id, cost) = writer.publish_soon(stored)?;
        figures.bytes_stored = cost.unwrap_or(figures.bytes_stored);
        Ok(SourceReport { snapshot: Some(id), ..SourceReport::new(source, outcome, figures) })
    }
}

impl Failure {
    fn new(what: String) -> Self {
        Self { what, tail: String::new() }
    }

    /// With what the command said.
    fn in_full(self) -> String {
        if self.tail.is_empty() { self.what } else { format!("{}\n{}", self.what, self.tail) }
    }
}

/// Reads the stream to its end and stores what it brings.
fn read(
    writer: &mut SnapshotWriter<'_>,
    stream: StreamSource,
) -> Result<(io::Result<StreamResult>, StoredContent), BackupError> {
    let (run, observer) = (&mut *writer.run, writer.observer);
    let mut content = ContentWriter::new(run.repository(), Cutter::new(run.repository()));
    let folder = run.folder();
    // Nothing but the end of a command that outlives a killed process depends on it.
    let note = |child: &str| drop(folder.as_ref().map(|folder| folder.keep_child(child)));
    let read = content.store(run, observer, |cutter, emit| drain(stream, (observer, &note), cutter, emit))?;
    Ok((read, content.take(run)?))
}

/// Says what is to be noticed of a stream that ended well: whether it lacks its end, whether it arrives compressed, and
/// the last words of its command.
fn recognize(name: &str, read: StreamResult, tally: &mut Tally<'_>) -> Outcome {
    let StreamResult { start, mut end, said } = read;
    let mut outcome = Outcome::Complete;
    if let Some(program) = cut_short(&start, end.make_contiguous()) {
        let text =
            format!("{name} is not complete: it lacks the last line of a {program} dump; it is saved as partial");
        tally.say(Severity::Error, text);
        outcome = Outcome::Partial;
    }
    if let Some(found) = sniff(&start) {
        let text =
            format!("{name} arrives compressed ({}), so nights will not deduplicate: {}", found.what, found.advice);
        tally.say(Severity::Warning, text);
    }
    tally.findings.extend(said.ok().filter(|s| !s.is_empty()));
    outcome
}

/// The file that a stream is saved as.
fn file_node(name: &str, stored: StoredContent, started_ms: i64) -> Node {
    let mtime = FileTime { secs: started_ms.div_euclid(1000), nanos: (started_ms.rem_euclid(1000) * 1_000_000) as u32 };
    let owner =
        Owner { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw(), ..Owner::default() };
    let meta = Metadata { mode: 0o600, owner, mtime, ..Metadata::default() };
    let StoredContent { content, id: content_id, len: size } = stored;
    let file = FileNode { size, content, content_id, sparse: None, changed_while_read: false };
    Node { name: name.as_bytes().to_vec(), meta, kind: NodeKind::File(file) }
}

/// Both ends of a stream, kept while it is read.
#[derive(Default)]
struct Ends {
    start: Vec<u8>,
    end: VecDeque<u8>,
}

impl Ends {
    fn add(&mut self, read: &[u8]) {
        let want = SNIFF_LEN.saturating_sub(self.start.len()).min(read.len());
        self.start.extend_from_slice(&read[..want]);
        self.end.extend(&read[read.len().saturating_sub(TAIL_LEN)..]);
        self.end.drain(..self.end.len().saturating_sub(TAIL_LEN));
    }

    fn result(self, said: Result<String, Failure>) -> StreamResult {
        StreamResult { start: self.start, end: self.end, said }
    }
}

/// Reads the stream to its end, handing on what is cut; then asks how the command ended.
fn drain(
    stream: StreamSource,
    (observer, note): (&dyn Observer, Note<'_>),
    cutter: &Cutter,
    emit: &mut dyn FnMut(Group) -> bool,
) -> io::Result<StreamResult> {
    let mut ends = Ends::default();
    // Whether all that came was taken.
    let mut cut = |read_some: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>| {
        let mut read = |buffer: &mut [u8]| loop {
            match read_some(buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(n) => {
                    ends.add(&buffer[..n]);
                    observer.advance(n as u64);
                    return Ok(n);
                }
                Err(e) => return Err(e),
            }
        };
        let mut all = true;
        cutter.cut_stream(&mut read, &mut |group| {
            let more = emit(group);
            all &= more;
            more
        })?;
        io::Result::Ok(all)
    };
    let said = match stream {
        StreamSource::Reader { mut reader, .. } => {
            cut(&mut |buffer| reader.read(buffer))?;
            Ok(String::new())
        }
        StreamSource::Command(source) => drain_command(&source, observer, note, &mut cut)?,
    };
    Ok(ends.result(said))
}

/// Reads what is read by the function that it is given, to its end; whether all of it was wanted.
type Cut<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<bool>;

/// Runs a command and has its output cut; answers with its last words, or why it failed.
fn drain_command(
    source: &CommandSource,
    observer: &dyn Observer,
    note: Note<'_>,
    cut: Cut<'_>,
) -> io::Result<Result<String, Failure>> {
    let (lines, said) = crossbeam_channel::unbounded();
    let mut command = match StreamCommand::spawn(source, move |line| drop(lines.send(line.to_owned()))) {
        Ok(command) => command,
        Err(e) => return Ok(Err(Failure::new(error_chain(&e)))),
    };
    if let Some(child) = command.record() {
        note(&child);
    }
    let pass_on = || {
        for line in said.try_iter() {
            observer.finding(Severity::Note, &format!("{}: {line}", source.name));
        }
    };
    // While it runs: a warning is of use before the dump ends, hours later.
    let interrupted = || {
        pass_on();
        observer.interrupted()
    };
    let all = cut(&mut |buffer| match command.wait_readable(&interrupted)? {
        true => command.read(buffer),
        false => Ok(0),
    })?;
    if !all || interrupted() {
        // Nobody wants the rest; dropping the command ends it.
        return Ok(Ok(String::new()));
    }
    let ended = command.finish();
    pass_on();
    Ok(match ended {
        Ok(outcome) => Ok(last_words(outcome.stderr_tail.trim()).to_owned()),
        Err(e) => {
            let tail = String::from_utf8_lossy(e.stderr_tail().as_ref()).trim().to_owned();
            Err(Failure { what: error_chain(&e), tail })
        }
    })
}

/// Bytes that are kept of what a command said that ended well: `pg_dump -v` says 64 KiB each night.
const SAID_LEN_MAX: usize = 2 << 10;

/// The last lines of what a command said.
fn last_words(said: &str) -> &str {
    let Some(at) = said.len().checked_sub(SAID_LEN_MAX).filter(|at| *at > 0) else { return said };
    let at = (at..said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(said.len());
    said[at..].split_once('\n').map_or(&said[at..], |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_success_the_last_lines_are_kept() {
        assert_eq!(last_words("a\nb"), "a\nb");
        let long = "\u{fc} line\n".repeat(1000);
        let kept = last_words(long.trim());
        assert!(kept.len() <= SAID_LEN_MAX && kept.starts_with("\u{fc} line\n") && kept.ends_with("line"));
        assert_eq!(last_words(&"x".repeat(5000)).len(), SAID_LEN_MAX);
    }
}
