//! A client of a database that is fed: by a dump of a snapshot, or by statements.
//!
//! The client must never take half a dump for a whole one. The end of its standard input is shown to it only after the
//! last byte was read and checked; if reading fails, or this program is asked to stop, it is killed with all that it
//! started before its input is closed. Its exit status decides.

use std::io::{self, Read, Write};
use std::process::Stdio;

use crate::ops::cat::{CatError, cat};
use crate::primitives::error_chain::error_chain;
use crate::primitives::progress::{Observer, Unit};
use crate::process_group::{self, while_watched};
use crate::repository::Repository;
use crate::repository::snapshots::Snapshot;
use crate::source::command::CommandSource;

use super::options::Failure;

/// Bytes that are gathered before they are written into the pipe.
const PIPE_LEN: usize = 128 << 10;
/// Bytes of what a client says that are kept.
const SAID_LEN_MAX: usize = 4 << 10;
/// Bytes that a client may answer.
const ANSWER_LEN_MAX: usize = 256 << 20;

/// How feeding ended before its end.
#[derive(Debug)]
pub(super) enum Feed {
    /// The client takes no more.
    Left,
    /// What it is fed with is not to be had, or is wrong.
    Failed(String),
}

/// Writes the input of a client.
pub(super) type Feeder<'a> = &'a mut dyn FnMut(&mut dyn Write) -> Result<(), Feed>;

/// How much of its input a client has to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// All of it.
    All,
    /// What it likes.
    Enough,
}

/// Runs a client and feeds it; returns what it answered.
pub(super) fn run(
    command: &CommandSource,
    reads: Reads,
    observer: &dyn Observer,
    feed: Feeder<'_>,
) -> Result<Vec<u8>, Failure> {
    let tool = &command.name;
    let fail = |what: String| Failure::Because(format!("{tool}: {what}"));
    let mut process = command.to_process().map_err(|e| fail(e.to_string()))?;
    process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = process_group::spawn(&mut process).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => fail("it is not installed, or not where --bin or PATH says".to_owned()),
        _ => fail(format!("cannot be started: {e}")),
    })?;
    let child = group.child();
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut input = io::BufWriter::with_capacity(PIPE_LEN, stdin.expect("it was asked for as a pipe"));
    let (fed, answer, said) = std::thread::scope(|scope| {
        let answer = scope.spawn(move || read_all(stdout, ANSWER_LEN_MAX));
        let said = scope.spawn(move || read_last(stderr));
        let fed = while_watched(&group, &|| observer.interrupted(), || {
            feed(&mut input)?;
            input.flush().map_err(|e| match e.kind() {
                io::ErrorKind::BrokenPipe => Feed::Left,
                _ => Feed::Failed(format!("cannot write to it: {e}")),
            })
        });
        if matches!(fed, Err(Feed::Failed(_))) || observer.interrupted() {
            // Before its input is closed.
            group.kill();
        }
        // What was gathered and not written, because the client takes no more, is let go.
        drop(input.into_parts());
        while_watched(&group, &|| observer.interrupted(), || {
            (fed, answer.join().unwrap_or_default(), said.join().unwrap_or_default())
        })
    });
    let status = group.wait().map_err(|e| fail(e.to_string()))?;
    if observer.interrupted() {
        return Err(Failure::Interrupted);
    }
    match fed {
        Err(Feed::Failed(what)) => Err(Failure::Because(what)),
        _ if !status.success() => Err(fail(if without_statement(&said).is_empty() {
            format!("it failed: {status}")
        } else {
            without_statement(&said).to_owned()
        })),
        Err(Feed::Left) if reads == Reads::All => Err(fail("it ended before it had read all of the dump".to_owned())),
        _ => match answer.len() > ANSWER_LEN_MAX {
            true => Err(fail("its answer is too long".to_owned())),
            false => Ok(answer),
        },
    }
}

/// What a client answers that is given this text.
pub(super) fn ask(command: &CommandSource, text: &str, observer: &dyn Observer) -> Result<String, Failure> {
    let answer =
        run(command, Reads::Enough, observer, &mut |input| input.write_all(text.as_bytes()).map_err(|_| Feed::Left))?;
    let text = String::from_utf8(answer);
    text.map_err(|_| Failure::Because(format!("{}: it answered with text that is not UTF-8", command.name)))
}

/// A dump of a snapshot: its one file.
#[derive(Clone, Copy)]
pub(super) struct Stream<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// The snapshot.
    pub snapshot: &'a Snapshot,
}

impl Stream<'_> {
    /// The path of its file.
    fn path(&self) -> Vec<u8> {
        let name = self.snapshot.described.paths.first().map(|path| path.to_vec()).unwrap_or_default();
        [b"/", &name[..]].concat()
    }

    /// Writes it to `out`, each chunk checked before it is written and the whole at the end. An error of `out` with
    /// words of its own is passed on.
    pub(super) fn write_to(&self, out: &mut dyn Write, observer: &dyn Observer) -> Result<(), Feed> {
        observer.phase("loading", Some(self.snapshot.described.figures.bytes), Unit::Bytes);
        match cat(self.repository, self.snapshot, &self.path(), out, observer) {
            Ok(_) => Ok(()),
            Err(CatError::Write(e)) if e.kind() == io::ErrorKind::BrokenPipe => Err(Feed::Left),
            Err(CatError::Write(e)) => Err(Feed::Failed(e.to_string())),
            Err(e) => Err(Feed::Failed(error_chain(&e))),
        }
    }
}

fn read_all(from: Option<impl Read>, len_max: usize) -> Vec<u8> {
    let mut all = Vec::new();
    if let Some(mut from) = from {
        // What was read before an error is all that there is.
        let _ = from.by_ref().take(len_max as u64 + 1).read_to_end(&mut all);
        let _ = io::copy(&mut from, &mut io::sink());
    }
    all
}

/// What stands around a statement that a client of MariaDB repeats before it says what is wrong.
const REPEATED: &str = "--------------\n";

/// The last words of a client without the statement that failed: rows of a table, or the hash of a password.
fn without_statement(said: &str) -> &str {
    said.rsplit_once(REPEATED).map_or(said, |(_, behind)| behind).trim()
}

/// The last words, as text.
fn read_last(from: Option<impl Read>) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    if let Some(mut from) = from {
        while let Ok(n) = from.read(&mut buffer)
            && n > 0
        {
            kept.extend_from_slice(&buffer[..n]);
            kept.drain(..kept.len().saturating_sub(SAID_LEN_MAX));
        }
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::progress::Silent;

    fn fed(line: &str, reads: Reads, feed: Feeder<'_>) -> Result<Vec<u8>, Failure> {
        run(&CommandSource::new("client", line), reads, &Silent, feed)
    }

    #[test]
    fn the_status_of_a_client_decides() {
        let mut short = |out: &mut dyn Write| out.write_all(b"select 1").map_err(|_| Feed::Left);
        assert_eq!(fed("cat", Reads::All, &mut short).unwrap(), b"select 1");
        let Err(Failure::Because(text)) = fed("cat >/dev/null; echo no >&2; exit 3", Reads::All, &mut short) else {
            panic!("it failed");
        };
        assert_eq!(text, "client: no");
        let mut long = |out: &mut dyn Write| out.write_all(&[0; 3_000_000]).map_err(|_| Feed::Left);
        assert!(fed("head -c 1", Reads::All, &mut long).is_err());
        assert!(fed("head -c 1", Reads::Enough, &mut long).is_ok());
    }

    /// Errors showed the hashes of passwords, and rows: clients of MariaDB repeat the statement that fails.
    #[test]
    fn a_statement_that_failed_is_not_repeated() {
        let line = "cat >/dev/null; printf '%s\\n' -------------- \"CREATE USER a AS 0x2441\" -------------- '' \
                    'ERROR 1064 (42000) at line 4: wrong' >&2; exit 1";
        let Err(Failure::Because(text)) = fed(line, Reads::Enough, &mut |_| Ok(())) else { panic!("it failed") };
        assert_eq!(text, "client: ERROR 1064 (42000) at line 4: wrong");
        // Of a long one, only the end is there.
        assert_eq!(without_statement("'x')\n--------------\n\nERROR 1: no"), "ERROR 1: no");
        assert_eq!(without_statement("psql: no"), "psql: no");
    }

    /// A client that commits at the end of its input would make half a dump a database.
    #[test]
    fn a_client_never_sees_a_clean_end_of_a_broken_dump() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let done = folder.path().join("done");
        let mut broken = |out: &mut dyn Write| {
            out.write_all(b"half").map_err(|_| Feed::Left)?;
            Err(Feed::Failed("broken".to_owned()))
        };
        let line = format!("cat >/dev/null; touch '{}'", done.display());
        assert!(matches!(fed(&line, Reads::All, &mut broken), Err(Failure::Because(text)) if text == "broken"));
        assert!(!done.exists());
    }
}
