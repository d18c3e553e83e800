//! What the command line finds around it: variables, terminal, clock, names of machine and user.
//!
//! Everything that would differ between two machines, or between a person and a test, comes from here.
//! Nothing else in the command line asks the process or the system.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use clap::builder::styling::{AnsiColor, Style};
use indicatif::ProgressBar;
use jiff::tz::TimeZone;
use parking_lot::{Mutex, MutexGuard};
use zeroize::Zeroizing;

use crate::primitives::system::{OsSystem, System};
use crate::source::command::{is_own, wait_readable};

use super::signals::Signals;

/// Bytes of standard output that are gathered before they are written.
const OUT_LEN: usize = 128 << 10;

/// Asks a person for something that is not shown while it is typed.
pub type AskSecret = Box<dyn Fn(&str) -> io::Result<Zeroizing<String>> + Send + Sync>;

/// Standard error, with the progress bar that stands there.
pub struct Console {
    out: Mutex<Box<dyn Write + Send>>,
    bar: Mutex<Option<ProgressBar>>,
}

impl Console {
    /// A console without a bar.
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out: Mutex::new(out), bar: Mutex::default() }
    }

    /// From now on this bar gives way to lines.
    pub fn show(&self, bar: &ProgressBar) {
        *self.bar.lock() = Some(bar.clone());
    }

    /// There is no bar any more, or it is out of the way.
    pub fn hide(&self) {
        *self.bar.lock() = None;
    }

    /// Writes a line above the bar. That nobody can read it is no reason to stop.
    pub fn line(&self, line: &str) {
        self.above(|| {
            let mut out = self.out.lock();
            let _ = writeln!(out, "{line}");
        });
    }

    /// Calls `write` while the bar is out of the way.
    fn above(&self, write: impl FnOnce()) {
        let bar = self.bar.lock().clone();
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

/// The world around one command.
pub struct Env {
    /// Environment variables.
    pub variables: BTreeMap<OsString, OsString>,
    /// The working directory.
    pub cwd: PathBuf,
    /// The user's home, if there is one.
    pub home: Option<PathBuf>,
    /// The machine's name.
    pub host: String,
    /// The user's name.
    pub user: String,
    /// Local time.
    pub zone: TimeZone,
    /// What is set as the zone and is none; then UTC stands for it.
    pub unknown_zone: Option<String>,
    /// Time and randomness of repositories.
    pub system: Arc<dyn System>,
    /// Standard input; taken by the command that reads it.
    pub input: Mutex<Option<Box<dyn Read + Send>>>,
    /// Standard output.
    pub output: Mutex<Box<dyn Write + Send>>,
    /// Standard error.
    pub errors: Arc<Console>,
    /// Whether standard input is a terminal.
    pub input_is_terminal: bool,
    /// Whether standard output is a terminal.
    pub output_is_terminal: bool,
    /// Whether standard error is a terminal.
    pub errors_are_terminal: bool,
    /// Columns of the terminal that standard output is, now.
    pub output_width: fn() -> Option<usize>,
    /// Columns of the terminal that standard error is, now.
    pub errors_width: fn() -> Option<usize>,
    /// How a passphrase is asked for; `None` if there is nobody.
    pub ask_secret: Option<AskSecret>,
    /// Whether, and how, the user asked to stop.
    pub signals: Signals,
    /// Variables of the configuration's `env_file`, which count where the process has none of the name.
    pub of_file: OnceLock<BTreeMap<OsString, OsString>>,
    /// The machine's name in snapshots, where the command line gives one for jobs.
    pub named_host: OnceLock<String>,
    /// The configuration's `log_file`.
    pub log: OnceLock<Mutex<File>>,
}

impl std::fmt::Debug for Env {
    /// Without the variables: a passphrase may be among them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env").field("cwd", &self.cwd).field("host", &self.host).finish_non_exhaustive()
    }
}

impl Env {
    /// Those of this process.
    pub fn of_process() -> io::Result<Self> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        // A file of its own: the library's handle looks for line ends, which costs `cat` its speed.
        let out = File::from(stdout.as_fd().try_clone_to_owned()?);
        let signals = Signals::of_process();
        let input = Input { file: File::from(stdin.as_fd().try_clone_to_owned()?), signals: signals.clone() };
        let account = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
        let variables: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        let home = variables.get(OsStr::new("HOME")).filter(|h| !h.is_empty()).map(PathBuf::from);
        let user = account.as_ref().map_or_else(|| nix::unistd::geteuid().to_string(), |a| a.name.clone());
        Ok(Self {
            cwd: std::env::current_dir()?,
            home: home.or(account.map(|a| a.dir)),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            user,
            unknown_zone: unknown_zone(&variables),
            zone: TimeZone::system(),
            system: Arc::new(OsSystem),
            input_is_terminal: stdin.is_terminal(),
            output_is_terminal: stdout.is_terminal(),
            errors_are_terminal: stderr.is_terminal(),
            output_width: || width_of(io::stdout()),
            errors_width: || width_of(io::stderr()),
            input: Mutex::new(Some(Box::new(input))),
            output: Mutex::new(Box::new(BufWriter::with_capacity(OUT_LEN, out))),
            errors: Arc::new(Console::new(Box::new(stderr))),
            ask_secret: File::open("/dev/tty").is_ok().then(|| Box::new(ask_on_terminal) as AskSecret),
            signals,
            variables,
            of_file: OnceLock::new(),
            named_host: OnceLock::new(),
            log: OnceLock::new(),
        })
    }

    /// A variable that is set and not empty.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        let own = self.variables.get(OsStr::new(name)).or_else(|| self.of_file.get()?.get(OsStr::new(name)));
        own.map(OsString::as_os_str).filter(|v| !v.is_empty())
    }

    /// The first of these variables that the process itself has, not empty, with its name.
    pub fn first_own_variable(&self, names: &[&'static str]) -> Option<(&'static str, &OsStr)> {
        let own = |name: &'static str| {
            let value = self.variables.get(OsStr::new(name)).filter(|value| !value.is_empty())?;
            Some((name, value.as_os_str()))
        };
        names.iter().find_map(|name| own(name))
    }

    /// The variables of the configuration's file of variables that the process does not have: commands are given these,
    /// but for this program's own and the keys of the store.
    pub fn file_variables(&self) -> Vec<(OsString, OsString)> {
        let all = self.of_file.get().into_iter().flatten();
        let passed = all.filter(|(name, _)| !self.variables.contains_key(*name) && !is_own(name));
        passed.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Writes a line to the log file of the configuration, with the time and its zone.
    pub fn log_line(&self, line: &str) {
        let Some(log) = self.log.get() else { return };
        let now = jiff::Timestamp::from_millisecond(self.system.now_ms()).map(|now| now.to_zoned(self.zone.clone()));
        let now = now.map(|now| now.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()).unwrap_or_default();
        let text: String = line.lines().map(|line| format!("{now} {line}\n")).collect();
        // That it cannot be written is no reason to stop.
        let _ = log.lock().write_all(text.as_bytes());
    }

    /// The first of these variables that is set and not empty, with its name.
    pub fn first_variable(&self, names: &[&'static str]) -> Option<(&'static str, &OsStr)> {
        names.iter().find_map(|name| Some((*name, self.variable(name)?)))
    }

    /// A folder of the XDG base directories: the variable if it holds an absolute path, else below home.
    pub fn xdg(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let named = self.variable(variable).map(PathBuf::from).filter(|p| p.is_absolute());
        named.or_else(|| Some(self.home.as_ref()?.join(below_home)))
    }

    /// Standard output, for one writer at a time.
    pub fn out(&self) -> MutexGuard<'_, Box<dyn Write + Send>> {
        self.output.lock()
    }

    /// Writes a line to standard output at once, above the bar. That nobody can read it is found by the command itself.
    pub fn print_line_now(&self, line: &str) {
        self.errors.above(|| {
            let mut out = self.out();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        });
    }

    /// Writes an object to standard output at once, as one line.
    pub fn print_now(&self, object: &impl serde::Serialize) {
        if let Ok(line) = serde_json::to_string(object) {
            self.print_line_now(&line);
        }
    }

    /// Writes a line to standard error. That nobody can read it is no reason to stop.
    pub fn eprint_line(&self, line: &str) {
        self.log_line(line);
        if self.errors_are_terminal && self.wants_colour() {
            self.errors.line(&coloured(line));
        } else {
            self.errors.line(line);
        }
    }

    /// Whether a terminal may be sent colours: not with `NO_COLOR` (no-color.org) or on one that has none.
    pub fn wants_colour(&self) -> bool {
        let refused = self.variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        !refused && self.variable("TERM").is_none_or(|term| term != "dumb")
    }

    /// Asks a question to which only `y` or `yes` agrees; nobody to ask is no.
    pub fn confirm(&self, question: &str) -> bool {
        if !self.input_is_terminal {
            return false;
        }
        self.eprint_line(question);
        let _asking = self.signals.while_asking();
        let mut input = self.input.lock();
        let answer = input.as_mut().and_then(|input| read_line(input).ok()).unwrap_or_default();
        matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
    }
}

/// Columns of a terminal; `None` if it is none, or does not say.
fn width_of(file: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(file).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// The word that a line begins with, in the colour of its severity.
fn coloured(line: &str) -> String {
    const SEVERITIES: [(&str, AnsiColor); 4] = [
        ("error", AnsiColor::Red),
        ("warning", AnsiColor::Yellow),
        ("note", AnsiColor::Cyan),
        ("hint", AnsiColor::Cyan),
    ];
    let found = SEVERITIES.iter().find_map(|(word, colour)| {
        let rest = line.strip_prefix(word)?.strip_prefix(':')?;
        let style = Style::new().bold().fg_color(Some((*colour).into()));
        Some(format!("{style}{word}:{style:#}{rest}"))
    });
    found.unwrap_or_else(|| line.to_owned())
}

/// The value of `TZ` if it names no zone of this system.
fn unknown_zone(variables: &BTreeMap<OsString, OsString>) -> Option<String> {
    let set = variables.get(OsStr::new("TZ")).filter(|value| !value.is_empty())?;
    TimeZone::try_system().is_err().then(|| set.to_string_lossy().into_owned())
}

/// Standard input. Waiting for somebody who writes nothing ends with a signal.
struct Input {
    file: File,
    signals: Signals,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match wait_readable(&self.file, &|| self.signals.interrupted())? {
            true => self.file.read(buffer),
            false => Err(io::Error::other("interrupted")),
        }
    }
}

/// Reads up to the end of a line, byte by byte: what follows belongs to others.
fn read_line(input: &mut dyn Read) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < 1024 && input.read(&mut byte)? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn ask_on_terminal(question: &str) -> io::Result<Zeroizing<String>> {
    rpassword::prompt_password(question).map(Zeroizing::new)
}
