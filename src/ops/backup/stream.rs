//! Backing up a stream: standard input, or what a command writes. The exit status of the command decides.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::format::description::{Figures, SnapshotDescription, StreamDescription};
use crate::format::record::Outcome;
use crate::format::tree::{FileNode, FileTime, Metadata, Node, NodeKind, Owner};
use crate::primitives::error_chain::error_chain;
use crate::primitives::progress::{Observer, Severity};
use crate::primitives::system::System;
use crate::repository::Repository;
use crate::repository::write::trees::build;
use crate::source::command::CommandSource;
use crate::source::sniff::SNIFF_LEN;
use crate::source::trailer::TAIL_LEN;
use crate::source::{StreamCommand, cut_short, sniff};

use super::BackupError;
use super::content::{ContentWriter, StoredContent};
use super::cut::{Cutter, Group};
use super::dump::{CommandDump, Dump, Dumped, Origin, path_of, worst_of};
use super::foreseen::{ForeseenContent, ForeseenStream};
use super::limits::Limits;
use super::report::SourceReport;
use super::snapshot_writer::{SnapshotWriter, Source};
use super::tally::Tally;
use super::together::Stored;

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

/// How a stream is saved.
#[derive(Debug, Clone, Default)]
pub struct StreamOptions {
    /// A stream of no bytes is saved; else it fails.
    pub allow_empty: bool,
    /// The last line of a whole stream: one that ends otherwise is saved as partial.
    pub trailer: Option<String>,
    /// The least length of a whole stream in bytes: a shorter one fails.
    pub min_len: Option<u64>,
    /// What it must keep to.
    pub limits: Limits,
}

/// A stream as a source.
pub(super) struct Streamed {
    /// What the source is called.
    pub name: String,
    /// Where its bytes come from.
    pub stream: StreamSource,
    /// How it is saved.
    pub options: StreamOptions,
    /// What is said of it.
    pub described: Option<StreamDescription>,
}

/// Where the bytes of a stream come from.
pub(super) enum Input {
    /// A reader, and the name of the file.
    Reader(String, Box<dyn Read + Send>),
    /// A command.
    Dump(Box<dyn Dump>),
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

/// A stream that was read, and is worth to be kept.
struct Kept {
    result: StreamResult,
    content: StoredContent,
    dumped: Dumped,
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
    fn store(self: Box<Self>, writer: &mut SnapshotWriter<'_>) -> Result<(), BackupError> {
        let Self { name, stream, options, described } = *self;
        let input = match stream {
            StreamSource::Reader { name, reader } => Input::Reader(name, reader),
            StreamSource::Command(command) => Input::Dump(Box::new(CommandDump { command, described })),
        };
        store_stream(writer, &name, input, &options, &Mutex::default()).map(drop)
    }

    fn foresee(
        self: Box<Self>,
        _repository: &Arc<Repository>,
        _observer: &dyn Observer,
    ) -> Result<ForeseenContent, BackupError> {
        let file = self.stream.name().to_owned();
        Ok(ForeseenContent::Streams(vec![ForeseenStream { file, member: None, refused: None }]))
    }
}

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Saved {
    /// It was saved, or failed: a report says so.
    Reported,
    /// What it was to be of is not there any more.
    Gone,
}

/// Saves a stream as a snapshot with one file, and reports what came of it. `members` are all those of its source, as far as it
/// is known.
pub(super) fn store_stream(
    writer: &mut SnapshotWriter<'_>,
    source: &str,
    mut input: Input,
    options: &StreamOptions,
    members: &Mutex<Vec<String>>,
) -> Result<Saved, BackupError> {
    let (observer, repository) = (writer.observer, writer.repository().clone());
    let started_ms = repository.system.now_ms();
    let (name, member) = input.names();
    let path = path_of(source, member.as_deref());
    let _shown = writer.together().show_stream(if member.is_some() { &path } else { &name });
    writer.part.begin();
    let (done, gone) = with_retries(writer, &name, &mut input, options)?;
    if let Some(text) = gone {
        observer.finding(Severity::Note, &format!("{path}: {text}"));
        return Ok(Saved::Gone);
    }
    let report = |outcome, figures| SourceReport {
        member: member.clone(),
        ..SourceReport::new(source.to_owned(), outcome, figures)
    };
    let Kept { result, content, dumped } = match done {
        Ok(kept) => kept,
        Err(failure) => {
            observer.finding(Severity::Error, &failure.what);
            let mut figures = Figures { duration_ms: since(&*repository.system, started_ms), ..Figures::default() };
            writer.part.add_to(&mut figures);
            writer.report(SourceReport { error: Some(failure.in_full()), ..report(Outcome::Failed, figures) });
            return Ok(Saved::Reported);
        }
    };
    let len = content.len;
    let mut figures = Figures { files: 1, files_read: 1, bytes: len, bytes_read: len, ..Figures::default() };
    let mut tally = Tally::new(observer);
    let recognized = recognize(&name, result, options, &mut tally);
    let (outcome, why) = judge(recognized, &options.limits, (&path, len), dumped.findings, &mut tally);
    let root = build(&mut writer.part.lock(), vec![file_node(&name, content, started_ms)])?;
    writer.part.add_to(&mut figures);
    figures.duration_ms = since(&*repository.system, started_ms);
    let stream = dumped.described.map(|stream| StreamDescription { members: members.lock().clone(), ..stream });
    let described = SnapshotDescription {
        source: source.to_owned(),
        paths: vec![name.as_bytes().to_vec().into()],
        figures,
        findings: tally.findings,
        stream,
        ..writer.described()
    };
    let stored = Stored { described, root, outcome, parents: Vec::new(), started_ms };
    writer.publish_soon(stored, SourceReport { error: why, ..report(outcome, figures) })?;
    Ok(Saved::Reported)
}

/// Reads a stream to its end, as often as may be until it is worth to be kept; says whether what it was to be of is gone.
fn with_retries(
    writer: &mut SnapshotWriter<'_>,
    name: &str,
    input: &mut Input,
    options: &StreamOptions,
) -> Result<(Result<Kept, Failure>, Option<String>), BackupError> {
    let mut done = once(writer, name, input, options)?;
    for left in (0..=options.limits.retries).rev() {
        let Err(failure) = &done else { break };
        let gone = input.gone();
        if gone.is_some() || left == 0 {
            return Ok((done, gone));
        }
        let text = format!("{}; it is tried again ({} more after that)", failure.what, left - 1);
        writer.observer.finding(Severity::Warning, &text);
        done = once(writer, name, input, options)?;
    }
    Ok((done, None))
}

fn since(system: &dyn System, started_ms: i64) -> u64 {
    (system.now_ms() - started_ms).max(0) as u64
}

/// How complete a stream is, by what was recognized in it, its length and what its dump found; and why it is not complete.
fn judge(
    recognized: Outcome,
    limits: &Limits,
    (path, len): (&str, u64),
    found: Vec<(Severity, String)>,
    tally: &mut Tally<'_>,
) -> (Outcome, Option<String>) {
    let incomplete = tally.findings.first().filter(|_| recognized != Outcome::Complete).cloned();
    let (length, unusual) = limits.judge(path, len);
    let outcome = recognized.max(worst_of(&found)).max(length);
    unusual.iter().for_each(|text| tally.say(Severity::Warning, text.clone()));
    let mut why = incomplete.or(unusual);
    for (severity, text) in found {
        let text = format!("{path}: {text}");
        if severity != Severity::Note {
            why.get_or_insert_with(|| text.clone());
        }
        tally.say(severity, text);
    }
    (outcome, why)
}

/// Reads a stream to its end; says why it is not worth to be kept, if it is not.
fn once(
    writer: &mut SnapshotWriter<'_>,
    name: &str,
    input: &mut Input,
    options: &StreamOptions,
) -> Result<Result<Kept, Failure>, BackupError> {
    let alarm = writer.alarm;
    let over = || alarm.is_over().then(|| Failure::new(timed_out(name, options.limits.timeout)));
    alarm.set(options.limits.timeout);
    let done = attempt(writer, name, input, options);
    let over = over();
    alarm.set(None);
    match (done, over) {
        (Err(BackupError::Interrupted), Some(failure)) => {
            // What was stored of it is nobody's.
            Ok(Err(failure))
        }
        (Ok(Err(_)), Some(failure)) => Ok(Err(failure)),
        (done, _) => done,
    }
}

/// What is said of a source whose time is over.
pub(super) fn timed_out(name: &str, timeout: Option<Duration>) -> String {
    format!("{name} took longer than its timeout of {} s, and was ended", timeout.unwrap_or_default().as_secs_f64())
}

fn attempt(
    writer: &mut SnapshotWriter<'_>,
    name: &str,
    input: &mut Input,
    options: &StreamOptions,
) -> Result<Result<Kept, Failure>, BackupError> {
    let observer = writer.observer;
    let origin = match input {
        Input::Reader(..) => None,
        Input::Dump(dump) => match dump.open(&|| observer.interrupted()) {
            Ok(origin) => Some(origin),
            Err(_) if observer.interrupted() => return Err(BackupError::Interrupted),
            Err(why) => return Ok(Err(Failure::new(format!("{name}: {why}")))),
        },
    };
    let (read, content) = read(writer, input, origin)?;
    let fail = |what: String| Ok(Err(Failure::new(format!("{name}: {what}"))));
    let result = match read {
        Err(e) => return fail(format!("cannot read the stream: {e}")),
        Ok(StreamResult { said: Err(failure), .. }) => return Ok(Err(failure)),
        Ok(result) => result,
    };
    if content.len == 0 && !options.allow_empty && !writer.common().allow_empty && !observer.interrupted() {
        return fail("the stream is empty, so it was not saved; --allow-empty saves it nevertheless".to_owned());
    }
    if let Some(least) = options.min_len.filter(|least| content.len < *least) {
        return fail(format!("the stream has {} bytes, less than min_size = {least}", content.len));
    }
    let dumped = match input {
        Input::Reader(..) => Dumped::default(),
        Input::Dump(dump) => match dump.finish(&|| observer.interrupted()) {
            Ok(dumped) => dumped,
            Err(why) => return fail(why),
        },
    };
    if observer.interrupted() {
        return Err(BackupError::Interrupted);
    }
    Ok(Ok(Kept { result, content, dumped }))
}

impl Input {
    /// Name of the file, and the member that it is.
    fn names(&self) -> (String, Option<String>) {
        match self {
            Self::Reader(name, _) => (name.clone(), None),
            Self::Dump(dump) => (dump.file().to_owned(), dump.member().map(str::to_owned)),
        }
    }

    /// After a failure: whether what it is of is not there any more.
    fn gone(&mut self) -> Option<String> {
        match self {
            Self::Reader(..) => None,
            Self::Dump(dump) => dump.gone(),
        }
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
    input: &mut Input,
    origin: Option<Origin>,
) -> Result<(io::Result<StreamResult>, StoredContent), BackupError> {
    let (part, observer, repository) = (&writer.part, writer.observer, writer.repository());
    let mut content = ContentWriter::new(repository, Cutter::new(repository));
    let folder = part.lock().folder();
    // Nothing but the end of a command that outlives a killed process depends on it.
    let note = |child: &str| drop(folder.as_ref().map(|folder| folder.keep_child(child)));
    let drain =
        |cutter: &Cutter, emit: &mut dyn FnMut(Group) -> bool| drain(input, origin, (observer, &note), cutter, emit);
    let read = content.store(part, observer, drain)?;
    Ok((read, content.take(&mut part.lock())?))
}

/// Says what is to be noticed of a stream that ended well: whether it lacks its end, whether it arrives compressed, and
/// the last words of its command.
fn recognize(name: &str, read: StreamResult, options: &StreamOptions, tally: &mut Tally<'_>) -> Outcome {
    let StreamResult { start, mut end, said } = read;
    let mut outcome = Outcome::Complete;
    if let Some(program) = cut_short(&start, end.make_contiguous()) {
        let text =
            format!("{name} is not complete: it lacks the last line of a {program} dump; it is saved as partial");
        tally.say(Severity::Error, text);
        outcome = Outcome::Partial;
    }
    if let Some(trailer) = options.trailer.as_ref().filter(|trailer| !ends_with_line(end.make_contiguous(), trailer)) {
        tally.say(
            Severity::Error,
            format!("{name} is not complete: its last line is not {trailer:?}; it is saved as partial"),
        );
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

/// Whether the last line that is not blank is this one.
fn ends_with_line(end: &[u8], line: &str) -> bool {
    end.trim_ascii_end().rsplit(|b| *b == b'\n').next() == Some(line.trim_end().as_bytes())
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
    input: &mut Input,
    origin: Option<Origin>,
    (observer, note): (&dyn Observer, Note<'_>),
    cutter: &Cutter,
    emit: &mut dyn FnMut(Group) -> bool,
) -> io::Result<StreamResult> {
    let mut ends = Ends::default();
    // Whether all that came was taken.
    let mut cut = |read_some: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>, saw: &mut dyn FnMut(&[u8])| {
        let mut read = |buffer: &mut [u8]| loop {
            match read_some(buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(n) => {
                    ends.add(&buffer[..n]);
                    saw(&buffer[..n]);
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
    let said = match (input, origin) {
        (Input::Reader(_, reader), _) => {
            cut(&mut |buffer| reader.read(buffer), &mut |_| {})?;
            Ok(String::new())
        }
        (Input::Dump(dump), Some(Origin::Reader(mut reader))) => {
            cut(&mut |buffer| reader.read(buffer), &mut |bytes| dump.saw(bytes))?;
            Ok(String::new())
        }
        (Input::Dump(dump), Some(Origin::Command(source))) => {
            let mut cut =
                |read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>| cut(read, &mut |bytes| dump.saw(bytes));
            drain_command(&source, observer, note, &mut cut)?
        }
        (Input::Dump(_), None) => Err(Failure::new("no command was named".to_owned())),
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
