//! A session beside a dump, which sees the database as the dump does.
//!
//! It exports its snapshot, pg_dump takes it over, and in the end the session counts in the same snapshot, whatever was
//! written in between. The session is a psql that is kept open; it ends when this process does, because its input ends.

use std::io::{Read, Write};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use crate::format::description::TableCount;
use crate::process_group::{self, Group};
use crate::source::command::wait_readable;

use super::plain::TableName;
use super::server::{Server, psql_tools, psql_words};
use super::tables::{Counting, TEXT_SETTINGS, count_of, count_script, lock_script};

/// How long it may take until the snapshot is there.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long psql may take to end once its input has.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Bytes of what psql says that are kept for an error.
const SAID_LEN_MAX: u64 = 4 << 10;

/// What counts behind the last line of an answer.
const END: &str = "\"end\"";

/// From this version on, a transaction may have a time limit of its own.
const LIMITS_TRANSACTIONS: u32 = 170_000;

/// A session whose snapshot others may take over.
pub(super) struct Session {
    group: Group,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    stderr: Option<ChildStderr>,
    /// What was read and not used yet.
    read: Vec<u8>,
    snapshot: String,
}

impl Session {
    /// Opens a session, and locks the tables to be counted as a dump does.
    pub(super) fn open(
        server: &Server,
        database: &str,
        lock_wait: Duration,
        only: Option<&[TableName]>,
    ) -> Result<Self, String> {
        let command = psql_tools(&server.tools).command("psql", "psql", psql_words(&server.connection, Some(database)));
        let fail = |e: std::io::Error| format!("psql: cannot be started: {e}");
        let mut process = command.to_process().map_err(fail)?;
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = process_group::spawn(&mut process).map_err(fail)?;
        let child = group.child();
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("it was asked for as a pipe");
        let stderr = child.stderr.take();
        let mut session = Self { group, stdin, stdout, stderr, read: Vec::new(), snapshot: String::new() };
        let limit = match server.facts.number >= LIMITS_TRANSACTIONS {
            true => "set transaction_timeout = 0; ",
            false => "",
        };
        session.say(&format!(
            "set client_min_messages = error; set statement_timeout = 0; set idle_in_transaction_session_timeout = 0; \
             {limit}set row_security = off; set lock_timeout = {};\n{TEXT_SETTINGS}\
             begin transaction isolation level repeatable read read only;\n\
             select pg_catalog.to_json(pg_catalog.pg_export_snapshot());\n",
            lock_wait.as_millis()
        ))?;
        let until = Instant::now() + READY_WITHIN;
        let snapshot = session.line(&|| Instant::now() >= until)?;
        session.snapshot = serde_json::from_str(&snapshot).map_err(|e| format!("psql: no snapshot: {e}"))?;
        // Not waited for: it asks for the same locks as the dump that begins now, and was first.
        session.say(&lock_script(only))?;
        Ok(session)
    }

    /// What the snapshot is called.
    pub(super) fn snapshot(&self) -> &str {
        &self.snapshot
    }

    /// Counts the rows of the tables, and ends the session.
    pub(super) fn count(
        mut self,
        counting: Counting,
        only: Option<&[TableName]>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<TableCount>, String> {
        self.say(&format!("{}select '{END}';\ncommit;\n", count_script(counting, only)))?;
        let mut counts = Vec::new();
        loop {
            let line = self.line(stop)?;
            if line == END {
                return Ok(counts);
            }
            counts.push(count_of(&line)?);
        }
    }

    fn say(&mut self, script: &str) -> Result<(), String> {
        let stdin = self.stdin.as_mut().expect("it is open until the session is dropped");
        match stdin.write_all(script.as_bytes()).and_then(|()| stdin.flush()) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.last_words()),
        }
    }

    /// The next line of its answers.
    fn line(&mut self, stop: &dyn Fn() -> bool) -> Result<String, String> {
        loop {
            if let Some(end) = self.read.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let line = String::from_utf8(line).map_err(|_| "psql: it answered with text that is not UTF-8")?;
                return Ok(line.trim_end_matches('\n').to_owned());
            }
            let fail = |e: std::io::Error| format!("psql: its answer cannot be read: {e}");
            if !wait_readable(&self.stdout, stop).map_err(fail)? {
                return Err("psql: it was stopped, or did not answer in time".to_owned());
            }
            let mut buffer = [0; 4096];
            match self.stdout.read(&mut buffer).map_err(fail)? {
                0 => return Err(self.last_words()),
                n => self.read.extend_from_slice(&buffer[..n]),
            }
        }
    }

    /// Why it ended.
    fn last_words(&mut self) -> String {
        self.end();
        let mut said = Vec::new();
        if let Some(stderr) = self.stderr.take() {
            // What was read before an error is all that there is.
            let _ = stderr.take(SAID_LEN_MAX).read_to_end(&mut said);
        }
        let said = String::from_utf8_lossy(&said);
        let said = said.trim();
        if said.is_empty() { "psql: it ended without a word".to_owned() } else { said.to_owned() }
    }

    /// Lets psql end by itself, so that the server sees no broken connection; else it is killed.
    fn end(&mut self) {
        drop(self.stdin.take());
        let until = Instant::now() + END_WITHIN;
        while matches!(self.group.try_wait(), Ok(None)) {
            if Instant::now() >= until {
                self.group.stop();
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.stdin.is_some() {
            self.end();
        }
    }
}
