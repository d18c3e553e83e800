//! Backing up a stream: standard input, or what a command writes. The exit status of the command decides.

use std::collections::VecDeque;
use std::io::{self, Read};

use crate::format::description::SnapshotDescription;
use crate::format::record::Outcome;
use crate::format::tree::{FileNode, FileTime, Metadata, Node, NodeKind, Owner};
use crate::primitives::error_chain::error_chain;
use crate::primitives::progress::{Observer, Severity, Unit};
use crate::source::trailer::TAIL_LEN;
use crate::source::{StreamCommand, cut_short, sniff};

use super::ancestors::AncestorSource;
use super::tree::TreeBackup;
use super::{BackupError, CounterSnapshot, SourceReport, Stored, StreamSource, Work};
use crate::repository::write::trees::build;

/// What came of reading a stream to its end.
struct StreamResult {
    /// The first bytes, for recognising what it is.
    start: Vec<u8>,
    /// The last bytes.
    end: VecDeque<u8>,
    /// Last words of the command, or why it failed.
    said: Result<String, (String, String)>,
}

/// Told what describes the process group of a command.
type Note<'a> = &'a (dyn Fn(&str) + Sync);

/// Backs up one stream as a snapshot with one file.
pub(super) fn backup_stream(work: &mut Work, stream: StreamSource) -> Result<SourceReport, BackupError> {
    let (options, observer) = (work.options, work.observer);
    let repository = work.run.repository().clone();
    let started_ms = repository.system.now_ms();
    let name = stream.name().to_owned();
    let source = if options.paths.is_empty() && work.reports.is_empty() && work.left == 0 {
        options.source.clone().unwrap_or_else(|| name.clone())
    } else {
        name.clone()
    };
    observer.phase(&format!("backing up {name}"), None, Unit::Bytes);
    let counted = CounterSnapshot::of(work.run);
    let mut backup = TreeBackup::new(work.run, observer, None);
    let folder = backup.run().folder();
    // Nothing but the end of a command that outlives a killed process depends on it.
    let note = |child: &str| drop(folder.as_ref().map(|folder| folder.keep_child(child)));
    let read = backup.store_stream(|cutter, emit| drain(stream, (observer, &note), cutter, emit))?;
    drop(folder);
    let (content, content_id, len) = backup.take_content()?;
    let (mut figures, mut findings) = (backup.figures, std::mem::take(&mut backup.findings));
    (figures.files, figures.files_read, figures.bytes, figures.bytes_read) = (1, 1, len, len);
    drop(backup);
    let failure = match &read {
        Err(e) => Some((format!("{name}: cannot read the stream: {e}"), String::new())),
        Ok(StreamResult { said: Err((what, tail)), .. }) => Some((what.clone(), tail.clone())),
        Ok(_) if len == 0 && !options.allow_empty && !observer.interrupted() => {
            let what = "the stream is empty, so it was not saved; --allow-empty saves it nevertheless";
            Some((format!("{name}: {what}"), String::new()))
        }
        Ok(_) => None,
    };
    if let Some((error, tail)) = failure {
        observer.finding(Severity::Error, &error);
        counted.add_to(work.run, &mut figures);
        let error = if tail.is_empty() { error } else { format!("{error}\n{tail}") };
        let (snapshot, outcome) = (None, Outcome::Failed);
        return Ok(SourceReport {
            source,
            snapshot,
            outcome,
            figures,
            error: Some(error),
            rules_unmatched: vec![],
            rules: vec![],
        });
    }
    let mut outcome = Outcome::Complete;
    if let Ok(StreamResult { start, mut end, said }) = read {
        if let Some(program) = cut_short(&start, end.make_contiguous()) {
            let text =
                format!("{name} is not complete: it lacks the last line of a {program} dump; it is saved as partial");
            observer.finding(Severity::Error, &text);
            findings.push(text);
            outcome = Outcome::Partial;
        }
        if let Some(found) = sniff(&start) {
            let text =
                format!("{name} arrives compressed ({}), so nights will not deduplicate: {}", found.what, found.advice);
            observer.finding(Severity::Warning, &text);
            findings.push(text);
        }
        findings.extend(said.ok().filter(|s| !s.is_empty()));
    }
    let mtime = FileTime { secs: started_ms.div_euclid(1000), nanos: (started_ms.rem_euclid(1000) * 1_000_000) as u32 };
    let owner =
        Owner { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw(), ..Owner::default() };
    let meta = Metadata { mode: 0o600, owner, mtime, ..Metadata::default() };
    let file = FileNode { size: len, content, content_id, sparse: None, changed_while_read: false };
    let node = Node { name: name.as_bytes().to_vec(), meta, kind: NodeKind::File(file) };
    let root = build(work.run, vec![node])?;
    counted.add_to(work.run, &mut figures);
    figures.duration_ms = (repository.system.now_ms() - started_ms).max(0) as u64;
    let paths = vec![name.as_bytes().to_vec().into()];
    let described = SnapshotDescription { source: source.clone(), paths, figures, findings, ..work.described() };
    let stored = Stored { described, root, outcome, parents: Vec::new(), started_ms };
    let (id, cost) = work.publish_soon(stored)?;
    figures.bytes_stored = cost.unwrap_or(figures.bytes_stored);
    Ok(SourceReport {
        source,
        snapshot: Some(id),
        outcome,
        figures,
        error: None,
        rules_unmatched: vec![],
        rules: vec![],
    })
}

/// Reads the stream to its end, handing on what is cut; then asks how the command ended.
fn drain(
    stream: StreamSource,
    (observer, note): (&dyn Observer, Note<'_>),
    cutter: &super::content::Cutter,
    emit: &mut dyn FnMut(super::content::Group) -> bool,
) -> io::Result<StreamResult> {
    let (mut start, mut end) = (Vec::new(), VecDeque::new());
    let mut stopped = false;
    let mut cut = |read_some: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>| {
        let mut read = |buffer: &mut [u8]| loop {
            match read_some(buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(n) => {
                    let want = sniff_len().saturating_sub(start.len()).min(n);
                    start.extend_from_slice(&buffer[..want]);
                    keep_last(&mut end, &buffer[..n]);
                    observer.advance(n as u64);
                    return Ok(n);
                }
                Err(e) => return Err(e),
            }
        };
        let mut emit = |group| {
            let more = emit(group);
            stopped |= !more;
            more
        };
        cutter.cut_stream(&mut read, &mut emit)
    };
    match stream {
        StreamSource::Reader { mut reader, .. } => {
            cut(&mut |buffer| reader.read(buffer))?;
            Ok(StreamResult { start, end, said: Ok(String::new()) })
        }
        StreamSource::Command(source) => {
            let (lines, said) = crossbeam_channel::unbounded();
            let spawned = StreamCommand::spawn(&source, move |line| drop(lines.send(line.to_owned())));
            let mut command = match spawned {
                Ok(command) => command,
                Err(e) => return Ok(StreamResult { start, end, said: Err((error_chain(&e), String::new())) }),
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
            cut(&mut |buffer| match command.wait_readable(&interrupted)? {
                true => command.read(buffer),
                false => Ok(0),
            })?;
            if stopped || interrupted() {
                // Nobody wants the rest; dropping the command ends it.
                return Ok(StreamResult { start, end, said: Ok(String::new()) });
            }
            let ended = command.finish();
            pass_on();
            let said = match ended {
                Ok(outcome) => Ok(last_words(outcome.stderr_tail.trim()).to_owned()),
                Err(e) => {
                    let tail = String::from_utf8_lossy(e.stderr_tail().as_ref()).trim().to_owned();
                    Err((error_chain(&e), tail))
                }
            };
            Ok(StreamResult { start, end, said })
        }
    }
}

/// Bytes that are kept of what a command said that ended well: `pg_dump -v` says 64 KiB each night.
const SAID_LEN_MAX: usize = 2 << 10;

/// The last lines of what a command said.
fn last_words(said: &str) -> &str {
    let Some(at) = said.len().checked_sub(SAID_LEN_MAX).filter(|at| *at > 0) else { return said };
    let at = (at..said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(said.len());
    said[at..].split_once('\n').map_or(&said[at..], |(_, rest)| rest)
}

/// Keeps the last [`TAIL_LEN`] bytes.
fn keep_last(end: &mut VecDeque<u8>, read: &[u8]) {
    end.extend(&read[read.len().saturating_sub(TAIL_LEN)..]);
    end.drain(..end.len().saturating_sub(TAIL_LEN));
}

fn sniff_len() -> usize {
    crate::source::sniff::SNIFF_LEN
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
