//! The output of a command, backed up as a stream.
//!
//! A line for a shell runs in `bash -o pipefail`, so that a dump that fails in the middle of a pipe fails. Its output is
//! worth something only after `finish` has said that it ended well: an end of output alone says nothing. Whoever drops
//! it before ends it with everything it started: it is asked to stop, so that a dump client can let go of its locks,
//! and killed if it does not.
//!
//! What it writes to standard error is passed on line by line, and its end kept for the message if it fails.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::process_group::{self, Group};

/// Bytes of standard error that are kept.
pub const STDERR_TAIL_LEN: usize = 64 << 10;

/// A line of standard error that is longer is passed on in pieces of this length.
const STDERR_LINE_LEN_MAX: usize = 8 << 10;

/// How long the end of standard error is waited for once the command has ended. Something it left running in the
/// background may hold it open for ever (ssh does so with a shared connection).
const STDERR_WAIT: Duration = Duration::from_secs(5);

/// How often a reader that waits asks whether it should stop.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A line for bash.
    Shell(String),
    /// A program and its arguments, which no shell reads: names of databases belong here. There is at least one word.
    Words(Vec<OsString>),
}

/// A command whose output is to be backed up.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandSource {
    /// Name of the stream, for messages.
    pub name: String,
    /// What is run.
    pub program: Program,
    /// Variables it is given beside the environment of this process; the place for passwords.
    pub env: Vec<(OsString, OsString)>,
    /// Whether it inherits this process's own variables and credentials: those that begin with `STRONGROOM_` or `AWS_`.
    pub inherits_credentials: bool,
    /// The system user that runs it, if it is another one: this process must be root's.
    pub run_as: Option<String>,
    /// This very program, if it can start the command so that it ends with this process: see
    /// [`process_group::command`].
    pub launcher: Option<PathBuf>,
}

impl std::fmt::Debug for CommandSource {
    // Without the values, which may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let env: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("CommandSource")
            .field("name", &self.name)
            .field("program", &self.program)
            .field("env", &env)
            .finish()
    }
}

impl CommandSource {
    /// A command without variables of its own.
    pub fn new(name: impl Into<String>, command: impl Into<String>) -> Self {
        Self::of(name, Program::Shell(command.into()))
    }

    /// A program with its arguments, without variables of its own.
    pub fn of_words<W: Into<OsString>>(name: impl Into<String>, words: impl IntoIterator<Item = W>) -> Self {
        Self::of(name, Program::Words(words.into_iter().map(Into::into).collect()))
    }

    fn of(name: impl Into<String>, program: Program) -> Self {
        let (env, run_as, launcher) = (Vec::new(), None, None);
        Self { name: name.into(), program, env, inherits_credentials: true, run_as, launcher }
    }

    /// The process that is to be started, without its pipes: in a process group of its own once it is spawned by
    /// [`process_group::spawn`].
    pub fn to_process(&self) -> io::Result<Command> {
        self.process("bash")
    }

    fn process(&self, shell: &str) -> io::Result<Command> {
        let words: Vec<OsString> = match &self.program {
            Program::Shell(line) => [shell, "-o", "pipefail", "-c", line].map(OsString::from).to_vec(),
            Program::Words(words) => words.clone(),
        };
        let mut all = match &self.run_as {
            Some(user) => as_user(user)?,
            None => Vec::new(),
        };
        all.extend(words);
        let mut words = all.into_iter();
        let first = words.next().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program is named"))?;
        let mut command = process_group::command(self.launcher.as_deref(), &first);
        command.args(words);
        if !self.inherits_credentials {
            for name in std::env::vars_os().map(|(name, _)| name).filter(|name| is_own(name)) {
                command.env_remove(name);
            }
        }
        if let Some(user) = self.run_as.as_deref().and_then(account) {
            command.env("HOME", &user.dir).env("USER", &user.name).env("LOGNAME", &user.name).current_dir("/");
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }
}

/// How variables begin that are this program's own or hold keys of its store.
const OWN_PREFIXES: [&[u8]; 2] = [b"STRONGROOM_", b"AWS_"];

/// Whether a variable is this program's own, or holds keys of its store.
pub fn is_own(name: &OsStr) -> bool {
    OWN_PREFIXES.iter().any(|own| name.as_encoded_bytes().starts_with(own))
}

fn account(name: &str) -> Option<nix::unistd::User> {
    nix::unistd::User::from_name(name).ok().flatten()
}

/// The words in front of a program that have it run as another user: with that user's groups, and ended with its parent.
fn as_user(name: &str) -> io::Result<Vec<OsString>> {
    let Some(user) = account(name) else {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no user {name}")));
    };
    if user.uid == nix::unistd::geteuid() {
        return Ok(Vec::new());
    }
    if !nix::unistd::geteuid().is_root() {
        let text = format!("only root can run commands as user {name}");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    let words = ["setpriv", "--reuid", &user.uid.to_string(), "--regid", &user.gid.to_string()].map(OsString::from);
    // The system forgets the death signal of a process that becomes another user's.
    Ok(words.into_iter().chain(["--init-groups", "--pdeathsig", "TERM", "--"].map(OsString::from)).collect())
}

/// Why the output of a command is worth nothing.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no bash to run it.
    #[error("cannot run the command of {name}: bash is not installed")]
    NoShell {
        /// Name of the stream.
        name: String,
    },
    /// It could not be started.
    #[error("cannot start the command of {name}")]
    Start {
        /// Name of the stream.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// How it ended cannot be learned.
    #[error("cannot learn how the command of {name} ended")]
    Wait {
        /// Name of the stream.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// It, or a stage of its pipe, ended with another status than 0.
    #[error("the command of {name} failed with status {status}{}", signal_text(*status))]
    Status {
        /// Name of the stream.
        name: String,
        /// Its status; above 128, a stage was ended by signal `status - 128`.
        status: i32,
        /// The end of what it wrote to standard error.
        stderr_tail: String,
    },
    /// It was ended by a signal.
    #[error("the command of {name} was ended by signal {signal}")]
    Signal {
        /// Name of the stream.
        name: String,
        /// The signal's number.
        signal: i32,
        /// The end of what it wrote to standard error.
        stderr_tail: String,
    },
    /// `finish` was called while there was output left.
    #[error("the output of the command of {name} was not read to its end")]
    NotReadToEnd {
        /// Name of the stream.
        name: String,
    },
}

impl CommandError {
    /// The end of what the command wrote to standard error; empty if it never ran.
    pub fn stderr_tail(&self) -> &str {
        match self {
            Self::Status { stderr_tail, .. } | Self::Signal { stderr_tail, .. } => stderr_tail,
            _ => "",
        }
    }
}

/// How a command ended that ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutcome {
    /// The end of what it wrote to standard error.
    pub stderr_tail: String,
}

/// A command that runs; reading from it reads its output.
#[derive(Debug)]
pub struct StreamCommand {
    name: String,
    child: Group,
    stdout: Option<ChildStdout>,
    stderr_tail: Arc<Mutex<VecDeque<u8>>>,
    stderr_ended: mpsc::Receiver<()>,
    at_end: bool,
}

impl StreamCommand {
    /// Starts a command. `on_line` is called on a thread of its own for each line of standard error.
    pub fn spawn(source: &CommandSource, on_line: impl FnMut(&str) + Send + 'static) -> Result<Self, CommandError> {
        Self::spawn_with("bash", source, on_line)
    }

    fn spawn_with(
        shell: &str,
        source: &CommandSource,
        on_line: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self, CommandError> {
        let name = source.name.clone();
        let mut command = match source.process(shell) {
            Ok(command) => command,
            Err(source) => return Err(CommandError::Start { name, source }),
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let is_shell = matches!(source.program, Program::Shell(_)) && source.run_as.is_none();
        let mut child = match process_group::spawn(&mut command) {
            Ok(child) => child,
            Err(error) if is_shell && error.kind() == io::ErrorKind::NotFound => {
                return Err(CommandError::NoShell { name });
            }
            Err(source) => return Err(CommandError::Start { name, source }),
        };
        let stdout = child.child().stdout.take();
        let stderr = child.child().stderr.take().expect("it was asked for as a pipe");
        let stderr_tail = Arc::new(Mutex::new(VecDeque::new()));
        let (ended, stderr_ended) = mpsc::channel();
        let running = Self { name, child, stdout, stderr_tail: Arc::clone(&stderr_tail), stderr_ended, at_end: false };
        let drain = move || {
            drain(stderr, &stderr_tail, on_line);
            // Nobody listens any more if the command was dropped.
            let _ = ended.send(());
        };
        match std::thread::Builder::new().name("stderr".to_owned()).spawn(drain) {
            Ok(_) => Ok(running),
            Err(error) => Err(CommandError::Start { name: running.name.clone(), source: error }),
        }
    }

    /// Describes its process group for whoever may have to end it later.
    pub fn record(&mut self) -> Option<String> {
        process_group::record(self.child.child().id())
    }

    /// Waits until reading would not wait: output or its end is there. Returns false as soon as `stop` does.
    pub fn wait_readable(&self, stop: &dyn Fn() -> bool) -> io::Result<bool> {
        match &self.stdout {
            Some(stdout) => wait_readable(stdout, stop),
            None => Ok(true),
        }
    }

    /// Waits for the end of a command whose output has been read to its end, and says how it was.
    pub fn finish(mut self) -> Result<CommandOutcome, CommandError> {
        if !self.at_end && !matches!(self.read(&mut [0]), Ok(0)) {
            // Dropping it ends it.
            return Err(CommandError::NotReadToEnd { name: self.name.clone() });
        }
        drop(self.stdout.take());
        let status = match self.child.wait() {
            Ok(status) => status,
            Err(source) => return Err(CommandError::Wait { name: self.name.clone(), source }),
        };
        // A time-out here only means that the tail may lack its end.
        let _ = self.stderr_ended.recv_timeout(STDERR_WAIT);
        self.judge(status)
    }

    fn judge(&self, status: ExitStatus) -> Result<CommandOutcome, CommandError> {
        let (name, stderr_tail) = (self.name.clone(), self.tail());
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(CommandOutcome { stderr_tail }),
            (Some(status), _) => Err(CommandError::Status { name, status, stderr_tail }),
            (None, signal) => Err(CommandError::Signal { name, signal: signal.unwrap_or_default(), stderr_tail }),
        }
    }

    fn tail(&self) -> String {
        let mut tail = self.stderr_tail.lock();
        String::from_utf8_lossy(tail.make_contiguous()).into_owned()
    }
}

impl Read for StreamCommand {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(stdout) = &mut self.stdout else { return Ok(0) };
        let n = stdout.read(buffer)?;
        self.at_end |= n == 0 && !buffer.is_empty();
        Ok(n)
    }
}

impl Drop for StreamCommand {
    fn drop(&mut self) {
        // Its output stays open until it has ended: it learns that it is to stop by the signal, and by nothing else.
        self.child.stop();
    }
}

/// Waits until reading `file` would not wait. Returns false as soon as `stop` does, which is asked several times a
/// second.
pub fn wait_readable(file: impl AsFd, stop: &dyn Fn() -> bool) -> io::Result<bool> {
    loop {
        if stop() {
            return Ok(false);
        }
        let mut readable = [PollFd::new(&file, PollFlags::IN)];
        match poll(&mut readable, Some(&LOOK_EVERY)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(e) => return Err(e.into()),
        }
    }
}

/// Reads standard error to its end, line by line.
fn drain(stderr: ChildStderr, tail: &Mutex<VecDeque<u8>>, mut on_line: impl FnMut(&str)) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut stderr).take(STDERR_LINE_LEN_MAX as u64).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
        keep_tail(&mut tail.lock(), &line);
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        on_line(&String::from_utf8_lossy(text.strip_suffix(b"\r").unwrap_or(text)));
    }
}

fn keep_tail(tail: &mut VecDeque<u8>, line: &[u8]) {
    tail.extend(line);
    let excess = tail.len().saturating_sub(STDERR_TAIL_LEN);
    tail.drain(..excess);
}

fn signal_text(status: i32) -> String {
    if status > 128 { format!(" (ended by signal {})", status - 128) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn run(command: &str) -> (Vec<u8>, Result<CommandOutcome, CommandError>) {
        let mut running = StreamCommand::spawn(&CommandSource::new("db", command), |_| {}).unwrap();
        let mut output = Vec::new();
        running.read_to_end(&mut output).unwrap();
        (output, running.finish())
    }

    #[test]
    fn output_comes_whole_and_errors_come_by_line() {
        let (lines, seen) = mpsc::channel();
        let source = CommandSource {
            env: vec![("WORD".into(), "secret".into())],
            ..CommandSource::new("db", "seq 100000; echo one >&2; printf 'two %s' \"$WORD\" >&2; cat")
        };
        assert!(!format!("{source:?}").contains("secret"));
        let mut running = StreamCommand::spawn(&source, move |line| lines.send(line.to_owned()).unwrap()).unwrap();
        let mut output = String::new();
        running.read_to_string(&mut output).unwrap();
        assert_eq!(output.lines().count(), 100_000);
        assert_eq!(running.finish().unwrap().stderr_tail, "one\ntwo secret");
        assert_eq!(seen.iter().collect::<Vec<_>>(), ["one", "two secret"]);
    }

    #[test]
    fn a_status_a_signal_and_a_failing_stage_are_failures() {
        let (output, end) = run("echo half; echo broken >&2; exit 3");
        assert_eq!(output, b"half\n");
        let error = end.unwrap_err();
        assert!(matches!(error, CommandError::Status { status: 3, .. }));
        assert_eq!(
            (error.stderr_tail(), error.to_string().as_str()),
            ("broken\n", "the command of db failed with status 3")
        );
        assert!(matches!(run("kill -9 $$").1, Err(CommandError::Signal { signal: 9, .. })));
        assert!(matches!(run("false | cat").1, Err(CommandError::Status { status: 1, .. })));
        let killed = run("{ kill -9 $BASHPID; } | cat").1.unwrap_err();
        assert!(killed.to_string().ends_with("status 137 (ended by signal 9)"), "{killed}");
        assert!(matches!(run("no-such-command-here").1, Err(CommandError::Status { status: 127, .. })));
        assert!(matches!(run("if then").1, Err(CommandError::Status { .. })));
    }

    #[test]
    fn a_missing_shell_is_named() {
        let spawned = StreamCommand::spawn_with("no-such-bash", &CommandSource::new("db", "true"), |_| {});
        assert_eq!(spawned.unwrap_err().to_string(), "cannot run the command of db: bash is not installed");
    }

    #[test]
    fn output_that_was_not_read_is_no_success() {
        let mut running = StreamCommand::spawn(&CommandSource::new("db", "echo whole"), |_| {}).unwrap();
        running.read_exact(&mut [0; 3]).unwrap();
        assert!(matches!(running.finish(), Err(CommandError::NotReadToEnd { .. })));
        let empty = StreamCommand::spawn(&CommandSource::new("db", "true"), |_| {}).unwrap();
        assert!(empty.finish().is_ok(), "no output at all is read to its end");
    }

    #[test]
    fn only_the_end_of_a_flood_of_errors_is_kept() {
        let (_, end) = run("yes 0123456789 | head -c 1000000 >&2; echo; echo last >&2");
        let tail = end.unwrap().stderr_tail;
        assert_eq!(tail.len(), STDERR_TAIL_LEN);
        assert!(tail.ends_with("last\n"));
    }

    #[test]
    fn dropping_it_ends_every_process_it_started() {
        let command = "sleep 1000 | sleep 1000 & echo $! $BASHPID; wait";
        let mut running = StreamCommand::spawn(&CommandSource::new("db", command), |_| {}).unwrap();
        let mut output = vec![0; 64];
        let n = running.read(&mut output).unwrap();
        let pids: Vec<String> = String::from_utf8_lossy(&output[..n]).split_whitespace().map(str::to_owned).collect();
        assert_eq!(pids.len(), 2);
        drop(running);
        for pid in pids {
            assert!(is_ended(&pid), "{pid} still runs");
        }
    }

    /// Gone, or dead and not yet waited for by whoever inherited it.
    fn is_ended(pid: &str) -> bool {
        for _ in 0..1_000_000 {
            match std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")) {
                Ok(stat) if !stat.contains(") Z") && !stat.contains(") X") => std::thread::yield_now(),
                _ => return true,
            }
        }
        false
    }
}
