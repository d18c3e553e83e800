//! `pg_verifybackup` on what was unpacked: files and WAL against the manifest that the server wrote.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::databases::postgres::installed::{Major, places};
use crate::databases::tool::Tools;
use crate::source::command::StreamCommand;

use super::unpack::Unpacked;

/// The oldest version whose base backups have a manifest.
const OLDEST: &str = "13";

/// What `pg_verifybackup` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// No errors. Without `pg_waldump`, the WAL was not read.
    Sound {
        /// Whether the WAL was read, too.
        wal: bool,
    },
    /// What is wrong.
    Failed(String),
    /// It was not run, and why.
    NotRun(String),
}

/// How a base backup is verified.
#[derive(Debug)]
pub struct Verifier {
    /// The directory of the tools of the same major version; `None`: they are on the PATH, or there are none.
    pub bin: Option<PathBuf>,
    /// Whether there is one.
    is_found: bool,
    arguments: Vec<OsString>,
    why_not: Option<String>,
}

impl Verifier {
    /// Looks for the tools that fit what was unpacked into `data`.
    pub fn find(data: &Path, unpacked: &Unpacked, tools: &Tools) -> Self {
        let mut arguments: Vec<OsString> = Vec::new();
        if unpacked.is_moved {
            // It holds the new places, and not what the manifest says.
            arguments.extend(["--ignore", "tablespace_map"].map(OsString::from));
        }
        let mut verifier = Self { bin: None, is_found: false, arguments, why_not: None };
        let major = Major::of_text(&unpacked.version);
        let why = match major {
            None => Some(format!("PG_VERSION is {:?}, which is no version", unpacked.version)),
            Some(major) if Some(major) < Major::of_text(OLDEST) => {
                Some(format!("base backups of PostgreSQL {major} have no manifest"))
            }
            Some(major) => match tool(tools, major) {
                Some(bin) => {
                    (verifier.bin, verifier.is_found) = (bin, true);
                    None
                }
                None => Some(format!(
                    "no pg_verifybackup of PostgreSQL {major} was found: install the client tools of that version, or \
                     name their directory with --bin"
                )),
            },
        };
        verifier.why_not = why;
        if verifier.bin.as_ref().is_some_and(|bin| !bin.join("pg_waldump").exists()) {
            verifier.arguments.push("--no-parse-wal".into());
        }
        verifier.arguments.push(data.into());
        verifier
    }

    /// The command, for people.
    pub fn shown(&self) -> String {
        let program = self.program("pg_verifybackup");
        let words = [program].into_iter().chain(self.arguments.iter().map(|word| word.to_string_lossy().into_owned()));
        shown(words)
    }

    /// A tool of the same version, for people.
    fn program(&self, tool: &str) -> String {
        self.bin.as_ref().map_or_else(|| tool.to_owned(), |bin| bin.join(tool).display().to_string())
    }

    /// The command that starts a server with it, for people.
    pub fn start(&self, data: &Path) -> String {
        shown([self.program("pg_ctl"), "-D".to_owned(), data.display().to_string(), "start".to_owned()])
    }

    /// Runs it. It is ended as soon as `stop` says so.
    pub fn run(&self, unpacked: &Unpacked, tools: &Tools, stop: &dyn Fn() -> bool) -> Verified {
        if let Some(why) = &self.why_not {
            return Verified::NotRun(why.clone());
        }
        if !unpacked.has_manifest {
            return Verified::Failed("the backup holds no backup_manifest".to_owned());
        }
        let tools = Tools { bin: self.bin.clone(), ..tools.clone() };
        let command = tools.command("pg_verifybackup", "pg_verifybackup", self.arguments.clone());
        let mut running = match StreamCommand::spawn(&command, |_| {}) {
            Ok(running) => running,
            Err(e) => return Verified::NotRun(e.to_string()),
        };
        match read_to_end(&mut running, stop) {
            Ok(true) => {}
            Ok(false) => return Verified::NotRun("it was interrupted".to_owned()),
            Err(e) => return Verified::NotRun(format!("pg_verifybackup: its output cannot be read: {e}")),
        }
        let wal = !self.arguments.iter().any(|word| word == "--no-parse-wal");
        match running.finish() {
            Ok(_) => Verified::Sound { wal },
            Err(e) if e.stderr_tail().trim().is_empty() => Verified::Failed(e.to_string()),
            Err(e) => Verified::Failed(e.stderr_tail().trim().to_owned()),
        }
    }
}

/// The directory of `pg_verifybackup` of this very version: another one reads WAL of its own version only.
fn tool(tools: &Tools, major: Major) -> Option<Option<PathBuf>> {
    places(tools).into_iter().find(|bin| {
        let place = Tools { bin: bin.clone(), ..tools.clone() };
        let said = place.answer_text("pg_verifybackup", ["--version"], b"");
        said.is_ok_and(|said| Major::of_tool(&said) == Some(major))
    })
}

/// Reads the output of a command and lets it go. `false`: it was told to stop.
fn read_to_end(running: &mut StreamCommand, stop: &dyn Fn() -> bool) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    loop {
        if !running.wait_readable(stop)? {
            return Ok(false);
        }
        if running.read(&mut buffer)? == 0 {
            return Ok(true);
        }
    }
}

/// A line for a shell.
fn shown(words: impl IntoIterator<Item = String>) -> String {
    let quoted = |word: String| shlex::try_quote(&word).map_or_else(|_| word.clone(), |word| word.into_owned());
    words.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}
