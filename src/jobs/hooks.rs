//! Hooks: commands that a configuration has run before and after something is saved.
//!
//! A hook runs in `bash -o pipefail`, without input, in a process group of its own. What it prints is passed on line by
//! line. Its exit status decides, and its end is the end of the shell alone: a service that it started, and that still
//! has its output open, is neither waited for nor ended. A hook whose time is over is ended with all that it started.

use std::collections::VecDeque;
use std::io::{self, PipeReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use crate::format::record::Outcome;
use crate::ops::backup::SourceReport;
use crate::primitives::progress::{Observer, Severity, Unit};
use crate::process_group;
use crate::source::command::CommandSource;

/// Lines of output that are kept for the message if a hook fails.
const TAIL_LINES: usize = 20;
/// A line that is longer is passed on in pieces of this length.
const LINE_LEN_MAX: usize = 8 << 10;
/// Bytes of output that are read once the hook has ended: what it left running may write for ever.
const REST_LEN_MAX: usize = 1 << 20;
/// How often the end of a hook that prints nothing is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Before anything is read.
    Before,
    /// After success.
    After,
    /// After anything else.
    OnFailure,
    /// At the very end, whatever happened.
    Always,
    /// Before a directory is restored in place: it stops what uses the directory.
    Stop,
    /// After that: it starts again what was stopped.
    Start,
    /// After a load, whatever came of it.
    AfterLoad,
}

impl Moment {
    /// The key of the configuration.
    pub fn key(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
            Self::OnFailure => "on_failure",
            Self::Always => "always",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::AfterLoad => "after_load",
        }
    }

    /// Whether it is owed from the moment before its thing begins.
    pub fn is_owed(self) -> bool {
        matches!(self, Self::Always | Self::Start)
    }
}

/// What a hook's command is run with: all that another process needs to run it, too.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surroundings {
    /// The system user that runs it, if it is another one.
    pub run_as: Option<String>,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
    /// The directory that it runs in; if it is gone, `/`.
    pub cwd: Option<PathBuf>,
    /// Its variables. The values may be secret.
    pub env: Vec<(String, String)>,
}

impl std::fmt::Debug for Surroundings {
    // Without the values of the variables.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("Surroundings").field("run_as", &self.run_as).field("env", &names).finish_non_exhaustive()
    }
}

/// How what is between the hooks ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// All is saved.
    Complete,
    /// All is saved, and something is to be noticed.
    Warnings,
    /// Some of it is not saved.
    Partial,
    /// None of it is saved.
    Failed,
    /// It was stopped by a signal, or its process was killed.
    Interrupted,
}

impl How {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Warnings => "warnings",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<Outcome> for How {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Complete => Self::Complete,
            Outcome::Warnings => Self::Warnings,
            Outcome::Partial => Self::Partial,
            Outcome::Failed => Self::Failed,
            Outcome::Crashed => Self::Interrupted,
        }
    }
}

/// What hooks are told that run at the end.
#[derive(Debug, Clone)]
pub struct Ending {
    /// How it ended.
    pub how: How,
    /// Why it is not complete: one line.
    pub error: String,
    /// Bytes of content.
    pub bytes: u64,
    /// Bytes added to the repository.
    pub bytes_stored: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Ids of the snapshots.
    pub snapshots: Vec<String>,
}

impl Ending {
    /// Without anything that was saved.
    pub fn without_data(how: How, error: &str) -> Self {
        let error = error.lines().next().unwrap_or_default().to_owned();
        Self { how, error, bytes: 0, bytes_stored: 0, duration_ms: 0, snapshots: Vec::new() }
    }

    /// Of a process that is gone.
    pub fn unknown() -> Self {
        Self::without_data(How::Interrupted, "the process that ran it was killed, or the machine stopped")
    }

    /// With what these sources saved; and why they did not come to their end, if they did not.
    pub fn of(reports: &[SourceReport], stopped: Option<(How, String)>) -> Self {
        let failed = reports.iter().filter(|report| report.outcome == Outcome::Failed).count();
        let worst = match reports.iter().map(|report| report.outcome).max() {
            Some(Outcome::Failed) if failed < reports.len() => How::Partial,
            Some(outcome) => outcome.into(),
            None => How::Complete,
        };
        let said = reports.iter().filter(|report| report.outcome != Outcome::Complete).find_map(|r| r.error.clone());
        let (how, error) = stopped.unwrap_or_else(|| (worst, said.unwrap_or_default()));
        Self {
            bytes: reports.iter().map(|report| report.figures.bytes).sum(),
            bytes_stored: reports.iter().map(|report| report.figures.bytes_stored).sum(),
            snapshots: reports.iter().filter_map(|report| Some(report.snapshot?.to_string())).collect(),
            ..Self::without_data(how, &error)
        }
    }

    /// As variables of a hook.
    fn variables(&self) -> [(&'static str, String); 6] {
        [
            ("STRONGROOM_OUTCOME", self.how.word().to_owned()),
            ("STRONGROOM_ERROR", self.error.replace('\0', "")),
            ("STRONGROOM_BYTES", self.bytes.to_string()),
            ("STRONGROOM_BYTES_STORED", self.bytes_stored.to_string()),
            ("STRONGROOM_DURATION_S", (self.duration_ms / 1000).to_string()),
            ("STRONGROOM_SNAPSHOTS", self.snapshots.join(" ")),
        ]
    }
}

/// Why a hook is no success.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It could not be run.
    #[error("cannot run hook `{}` of {what}", moment.key())]
    Start {
        /// Which hook.
        moment: Moment,
        /// Of which job or source.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended with another status than 0.
    #[error("hook `{}` of {what} failed with {}{}", moment.key(), status_text(*status), last_line(tail))]
    Status {
        /// Which hook.
        moment: Moment,
        /// Of which job or source.
        what: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it printed.
        tail: Vec<String>,
    },
    /// Its time was over.
    #[error("hook `{}` of {what} took longer than its hook_timeout of {} s, and was ended{}", moment.key(), timeout.as_secs_f64(), last_line(tail))]
    TimedOut {
        /// Which hook.
        moment: Moment,
        /// Of which job or source.
        what: String,
        /// How long it was allowed to take.
        timeout: Duration,
        /// The last lines that it printed.
        tail: Vec<String>,
    },
    /// The user asked to stop.
    #[error("hook `{}` of {what} was ended: interrupted", moment.key())]
    Interrupted {
        /// Which hook.
        moment: Moment,
        /// Of which job or source.
        what: String,
    },
}

fn status_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("status {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    }
}

fn last_line(tail: &[String]) -> String {
    tail.iter().rfind(|line| !line.trim().is_empty()).map(|line| format!(": {}", line.trim())).unwrap_or_default()
}

/// A hook, ready to be run.
#[derive(Debug)]
pub struct Hook<'a> {
    /// When it runs.
    pub moment: Moment,
    /// Which job or source it belongs to, in words.
    pub what: &'a str,
    /// The command.
    pub line: &'a str,
    /// What it is run with.
    pub surroundings: &'a Surroundings,
    /// What came of the thing, once it ended.
    pub ending: Option<&'a Ending>,
    /// This very program, if the hook is to end with it: see [`process_group::command`].
    pub launcher: Option<PathBuf>,
}

impl Hook<'_> {
    /// Runs it to its end. A signal ends `before` and `stop`, and no other. `started` is told what describes its process group.
    pub fn run(&self, observer: &dyn Observer, started: &mut dyn FnMut(&str)) -> Result<(), HookError> {
        observer.phase(&format!("hook `{}` of {}", self.moment.key(), self.what), None, Unit::Items);
        let (moment, what) = (self.moment, self.what.to_owned());
        let timeout = Duration::from_millis(self.surroundings.timeout_ms);
        let mut output = Output::default();
        let ended = self.attempt(timeout, observer, started, &mut output);
        let tail = output.tail.into();
        match ended {
            Err(source) => Err(HookError::Start { moment, what, source }),
            Ok(Ended::Itself(status)) if status.success() => Ok(()),
            Ok(Ended::Itself(status)) => Err(HookError::Status { moment, what, status, tail }),
            Ok(Ended::Late) => Err(HookError::TimedOut { moment, what, timeout, tail }),
            Ok(Ended::Stopped) => Err(HookError::Interrupted { moment, what }),
        }
    }

    /// Whether it could be started at all: whether its user can run it.
    pub fn check(&self) -> Result<(), HookError> {
        let source = |source| HookError::Start { moment: self.moment, what: self.what.to_owned(), source };
        self.command().to_process().map(drop).map_err(source)
    }

    fn command(&self) -> CommandSource {
        let env = &self.surroundings.env;
        let own = [("STRONGROOM_HOOK", self.moment.key().to_owned())];
        let ending = self.ending.map(Ending::variables);
        let more = own.into_iter().chain(ending.into_iter().flatten()).map(|(name, value)| (name.into(), value.into()));
        CommandSource {
            env: env.iter().map(|(name, value)| (name.into(), value.into())).chain(more).collect(),
            inherits_credentials: false,
            run_as: self.surroundings.run_as.clone(),
            launcher: self.launcher.clone(),
            ..CommandSource::new(self.what, self.line)
        }
    }

    fn attempt(
        &self,
        timeout: Duration,
        observer: &dyn Observer,
        started: &mut dyn FnMut(&str),
        output: &mut Output,
    ) -> io::Result<Ended> {
        let mut command = self.command().to_process()?;
        if let Some(cwd) = self.surroundings.cwd.as_ref().filter(|_| self.surroundings.run_as.is_none()) {
            command.current_dir(if cwd.is_dir() { cwd.clone() } else { PathBuf::from("/") });
        }
        let (reader, writer) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let mut group = process_group::spawn(&mut command)?;
        // It has copies of the pipe's end.
        drop(command);
        if let Some(record) = process_group::record(group.child().id()) {
            started(&record);
        }
        output.reader = Some(reader);
        let deadline = Instant::now().checked_add(timeout);
        let tell = |line: &str| {
            let text = format!("hook `{}` of {}: {line}", self.moment.key(), self.what);
            observer.finding(Severity::Note, &text);
        };
        let ended = loop {
            output.read_some(LOOK_EVERY, &tell)?;
            if let Some(status) = group.try_wait()? {
                break Ended::Itself(status);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break Ended::Late;
            }
            if matches!(self.moment, Moment::Before | Moment::Stop) && observer.interrupted() {
                break Ended::Stopped;
            }
        };
        group.stop();
        output.read_rest(&tell)?;
        Ok(ended)
    }
}

/// How a hook ended.
enum Ended {
    Itself(ExitStatus),
    Late,
    Stopped,
}

/// What a hook prints.
#[derive(Default)]
struct Output {
    reader: Option<PipeReader>,
    line: Vec<u8>,
    tail: VecDeque<String>,
}

impl Output {
    /// Reads what is there, and waits a little if there is nothing; how much it was.
    fn read_some(&mut self, wait: Duration, tell: &dyn Fn(&str)) -> io::Result<usize> {
        let Some(reader) = &mut self.reader else {
            std::thread::sleep(wait);
            return Ok(0);
        };
        let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        match poll(&mut [PollFd::new(&*reader, PollFlags::IN)], Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(0),
            Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
        let mut bytes = [0; LINE_LEN_MAX];
        let n = match reader.read(&mut bytes) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(0),
            n => n?,
        };
        if n == 0 {
            self.reader = None;
        }
        for byte in &bytes[..n] {
            if *byte == b'\n' || self.line.len() >= LINE_LEN_MAX {
                self.end_line(tell);
            }
            if *byte != b'\n' {
                self.line.push(*byte);
            }
        }
        Ok(n)
    }

    /// Reads what is there now, without waiting.
    fn read_rest(&mut self, tell: &dyn Fn(&str)) -> io::Result<()> {
        let mut read = 0;
        while self.reader.is_some() && read < REST_LEN_MAX {
            match self.read_some(Duration::ZERO, tell)? {
                0 => break,
                n => read += n,
            }
        }
        self.reader = None;
        if !self.line.is_empty() {
            self.end_line(tell);
        }
        Ok(())
    }

    fn end_line(&mut self, tell: &dyn Fn(&str)) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(&line)).into_owned();
        tell(&text);
        self.tail.push_back(text);
        if self.tail.len() > TAIL_LINES {
            self.tail.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[derive(Default)]
    struct Said(Mutex<Vec<String>>, bool);

    impl Observer for Said {
        fn finding(&self, _: Severity, text: &str) {
            self.0.lock().push(text.to_owned());
        }
        fn interrupted(&self) -> bool {
            self.1
        }
    }

    fn surroundings(timeout_ms: u64) -> Surroundings {
        let env = vec![("WORD".to_owned(), "secret".to_owned())];
        Surroundings { run_as: None, timeout_ms, cwd: Some("/".into()), env }
    }

    fn run(moment: Moment, line: &str, timeout_ms: u64, said: &Said) -> Result<(), String> {
        let surroundings = surroundings(timeout_ms);
        let ending = Ending::without_data(How::Partial, "first\nsecond");
        let ending = Some(&ending).filter(|_| moment != Moment::Before);
        let hook = Hook { moment, what: "job a", line, surroundings: &surroundings, ending, launcher: None };
        hook.run(said, &mut |_| {}).map_err(|e| e.to_string())
    }

    #[test]
    fn a_hook_has_its_variables_and_its_output_is_passed_on() {
        let said = Said::default();
        let line = "echo $WORD $STRONGROOM_HOOK >&2; printf '%s|%s\\r\\n' $STRONGROOM_OUTCOME $STRONGROOM_ERROR; printf x; cat";
        run(Moment::Always, line, 60_000, &said).unwrap();
        let of = "hook `always` of job a: ";
        let expected = ["secret always", "partial|first", "x"].map(|line| format!("{of}{line}"));
        assert_eq!(*said.0.lock(), expected);
        assert!(!format!("{:?}", surroundings(1)).contains("secret"));
    }

    #[test]
    fn a_status_a_signal_and_a_failing_stage_are_failures() {
        let said = Said::default();
        let failed = |line| run(Moment::Before, line, 60_000, &said).unwrap_err();
        assert_eq!(failed("echo no way; echo; exit 3"), "hook `before` of job a failed with status 3: no way");
        assert_eq!(failed("kill -9 $$"), "hook `before` of job a failed with signal 9");
        assert_eq!(failed("false | true"), "hook `before` of job a failed with status 1");
        assert!(said.0.lock().iter().any(|line| line.ends_with("no way")));
    }

    /// `dss start` leaves a service running that has the hook's output open: it is not waited for, and not ended.
    #[test]
    fn what_a_hook_leaves_running_is_neither_waited_for_nor_ended() {
        let said = Said::default();
        run(Moment::Always, "sleep 1000 & echo $!", 60_000, &said).unwrap();
        let pid = said.0.lock()[0].rsplit(' ').next().unwrap().to_owned();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // Its name is still the shell's if it has not become `sleep` yet; it lives under either.
        let state = stat.rsplit_once(") ").unwrap().1.chars().next();
        assert!(!matches!(state, Some('Z' | 'X')), "{stat}");
        std::process::Command::new("kill").arg(&pid).status().unwrap();
    }

    #[test]
    fn a_hook_whose_time_is_over_is_ended_with_all_that_it_started() {
        let said = Said::default();
        let text = run(Moment::Always, "sleep 1000 & echo $!; wait", 1, &said).unwrap_err();
        assert!(text.starts_with("hook `always` of job a took longer than its hook_timeout of 0.001 s"), "{text}");
        for line in said.0.lock().iter() {
            let pid = line.rsplit(' ').next().unwrap();
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            assert!(!stat.contains("(sleep) S"), "{stat}");
        }
    }

    #[test]
    fn a_signal_ends_before_and_no_other() {
        let said = Said(Mutex::default(), true);
        let text = run(Moment::Before, "sleep 1000", 60_000, &said).unwrap_err();
        assert_eq!(text, "hook `before` of job a was ended: interrupted");
        run(Moment::OnFailure, "true", 60_000, &said).unwrap();
        run(Moment::Always, "true", 60_000, &said).unwrap();
    }

    #[test]
    fn one_source_of_several_that_failed_is_partial() {
        let report = |outcome| SourceReport::new("s".to_owned(), outcome, Default::default());
        let how = |outcomes: &[Outcome]| Ending::of(&outcomes.iter().map(|o| report(*o)).collect::<Vec<_>>(), None).how;
        assert_eq!(how(&[Outcome::Failed, Outcome::Complete]), How::Partial);
        assert_eq!(how(&[Outcome::Failed]), How::Failed);
        assert_eq!(how(&[Outcome::Warnings, Outcome::Complete]), How::Warnings);
        assert_eq!(how(&[]), How::Complete);
        let stopped = Ending::of(&[report(Outcome::Complete)], Some((How::Interrupted, "a\nb".to_owned())));
        assert_eq!((stopped.how, stopped.error.as_str()), (How::Interrupted, "a"));
    }
}
