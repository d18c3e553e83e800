//! Showing what goes on: a line on a terminal, plain lines or JSON elsewhere, problems always.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;

use crate::primitives::progress::{Change, Observer, Severity, Unit};

use super::json::{FindingJson, PathJson, is_zero};
use super::status::Status;
use super::text::{duration, escape, pluralize, size};
use crate::cli::args::GlobalArguments;
use crate::cli::env::Env;

/// Findings that are kept for JSON; more are counted.
const FINDINGS_MAX: usize = 1000;

/// How often the current file is shown anew, how often an event is printed, and how often a plain line.
const CURRENT_EVERY_MS: u64 = 100;
const EVENT_EVERY_MS: u64 = 1_000;
const LINE_EVERY_MS: u64 = 60_000;

/// Columns of a terminal that does not say how many it has.
const WIDTH_UNKNOWN: usize = 80;

/// An observer for a person, a log file or a program. It is silent but for problems if asked to be.
pub struct Progress<'a> {
    env: &'a Env,
    /// Nothing but problems is printed.
    quiet: bool,
    json: bool,
    verbose: u8,
    /// Progress is printed as JSON.
    events: bool,
    bar: Option<ProgressBar>,
    shared: Arc<Shared>,
    next_ms: AtomicU64,
    started: Instant,
    findings: Mutex<Findings>,
}

/// What the line on the terminal shows beside the position.
#[derive(Default)]
struct Shared {
    phase: Mutex<Phase>,
    done: AtomicU64,
    files: AtomicU64,
    errors: AtomicU64,
    current: Mutex<String>,
}

#[derive(Default, Clone)]
struct Phase {
    name: String,
    bytes: bool,
    total: Option<u64>,
}

/// What was found so far.
#[derive(Debug, Default)]
pub struct Findings {
    /// The first ones.
    pub first: Vec<FindingJson>,
    /// Warnings, also those that were not kept.
    pub warnings: u64,
    /// Errors, also those that were not kept.
    pub errors: u64,
}

/// `type: "progress"`: how far a command is, with `--json --progress`.
#[derive(Debug, Serialize)]
pub struct ProgressJson {
    /// `progress`.
    pub r#type: &'static str,
    /// What is done now.
    pub phase: String,
    /// `bytes` or `items`.
    pub unit: &'static str,
    /// How much is done.
    pub done: u64,
    /// How much there is, as far as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Files that are done.
    #[serde(skip_serializing_if = "is_zero")]
    pub files: u64,
    /// Errors so far.
    #[serde(skip_serializing_if = "is_zero")]
    pub errors: u64,
    /// The current file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub current: String,
    /// Time since the command began.
    pub elapsed_ms: u64,
}

/// `type: "file"`: what became of a file, with `--json --verbose`.
#[derive(Debug, Serialize)]
pub struct FileJson {
    /// `file`.
    pub r#type: &'static str,
    /// `new`, `modified`, `read` (not compared), `unchanged` or `restored`.
    pub change: &'static str,
    /// Where it is: absolute, or below the target of a restore.
    #[serde(flatten)]
    pub path: PathJson,
    /// Its length in bytes.
    pub size: u64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl Shared {
    fn status(&self) -> Status {
        let Phase { name, bytes, total } = locked(&self.phase).clone();
        Status {
            phase: name,
            bytes,
            done: self.done.load(Ordering::Relaxed),
            total,
            files: self.files.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            current: locked(&self.current).clone(),
            ..Status::default()
        }
    }
}

impl<'a> Progress<'a> {
    /// An observer as the options ask for.
    pub fn new(arguments: &GlobalArguments, env: &'a Env) -> Self {
        let quiet = arguments.quiet || arguments.json;
        let show = env.errors_are_terminal && !quiet && !arguments.no_progress;
        let shared = Arc::new(Shared::default());
        let bar = show.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(style(&shared, env.errors_width));
            bar
        });
        if let Some(bar) = &bar {
            env.errors.show(bar);
        }
        Self {
            env,
            quiet,
            json: arguments.json,
            verbose: if arguments.quiet { 0 } else { arguments.verbose },
            events: arguments.json && arguments.progress,
            bar,
            shared,
            next_ms: AtomicU64::new(LINE_EVERY_MS),
            started: Instant::now(),
            findings: Mutex::default(),
        }
    }

    /// Takes the bar away and hands out what was found.
    pub fn finish(&self) -> Findings {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            self.env.errors.hide();
        }
        std::mem::take(&mut *locked(&self.findings))
    }

    /// Prints a line beside the bar.
    pub fn line(&self, text: &str) {
        self.env.eprint_line(text);
    }

    /// Calls `ask` while no bar is in the way.
    pub fn suspended<T>(&self, ask: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => {
                // A bar that gives way twice waits for itself.
                self.env.errors.hide();
                let answer = bar.suspend(ask);
                self.env.errors.show(bar);
                answer
            }
            None => ask(),
        }
    }

    /// Whether it is time, at most once in `every_ms`.
    fn is_time(&self, every_ms: u64) -> bool {
        let now = self.elapsed_ms();
        let next = self.next_ms.load(Ordering::Relaxed);
        now >= next && self.next_ms.compare_exchange(next, now + every_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn plain_line(&self) {
        let Status { phase, bytes, done, total, .. } = self.shared.status();
        let shown = |n| if bytes { size(n) } else { pluralize(n, "item", "items") };
        let of = total.map(|t| format!(" of {}", shown(t))).unwrap_or_default();
        let after = duration(self.elapsed_ms());
        self.env.eprint_line(&format!("{phase}: {}{of} after {after}", shown(done)));
    }

    /// Prints an event. Who listens may have gone: the command itself will find out.
    fn event(&self) {
        let Status { phase, bytes, done, total, files, errors, current, .. } = self.shared.status();
        let unit = if bytes { "bytes" } else { "items" };
        let elapsed_ms = self.elapsed_ms();
        self.env.print_now(&ProgressJson {
            r#type: "progress",
            phase,
            unit,
            done,
            total,
            files,
            errors,
            current,
            elapsed_ms,
        });
    }

    /// Tells that something went on, where it is told from time to time.
    fn tick(&self) {
        if self.events {
            if self.is_time(EVENT_EVERY_MS) {
                self.event();
            }
        } else if self.bar.is_none() && !self.quiet && self.is_time(LINE_EVERY_MS) {
            self.plain_line();
        }
    }

    /// Lists a file with what became of it.
    fn list(&self, change: Change, path: &Path, len: u64) {
        let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
        if self.json {
            let path = PathJson::new(bytes);
            return self.env.print_now(&FileJson { r#type: "file", change: change.word(), path, size: len });
        }
        let line = format!("{:<9}  {}, {}", change.word(), escape(bytes), size(len));
        self.env.print_line_now(&line);
    }
}

/// The line is made anew each time it is drawn: the terminal may have changed its width.
fn style(shared: &Arc<Shared>, width: fn() -> Option<usize>) -> ProgressStyle {
    let shared = shared.clone();
    let style = ProgressStyle::with_template("{spinner} {status}").unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("status", move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let status =
            Status { per_sec: state.per_sec(), elapsed: state.elapsed(), left: state.eta(), ..shared.status() };
        // The spinner and a blank stand before it, and the last column stays free.
        let width = width().unwrap_or(WIDTH_UNKNOWN).saturating_sub(3);
        let _ = out.write_str(&status.line(width));
    })
}

impl Observer for Progress<'_> {
    fn phase(&self, name: &str, total: Option<u64>, unit: Unit) {
        self.shared.done.store(0, Ordering::Relaxed);
        self.shared.files.store(0, Ordering::Relaxed);
        locked(&self.shared.current).clear();
        let bytes = unit == Unit::Bytes;
        *locked(&self.shared.phase) = Phase { name: escape(name.as_bytes()), bytes, total };
        self.next_ms.store(self.elapsed_ms() + LINE_EVERY_MS, Ordering::Relaxed);
        if self.events {
            self.next_ms.store(self.elapsed_ms() + EVENT_EVERY_MS, Ordering::Relaxed);
            self.event();
        }
        if let Some(bar) = &self.bar {
            self.next_ms.store(0, Ordering::Relaxed);
            bar.reset();
            match total {
                Some(total) => bar.set_length(total),
                None => bar.unset_length(),
            }
            bar.enable_steady_tick(Duration::from_millis(200));
        }
    }

    fn advance(&self, n: u64) {
        self.shared.done.fetch_add(n, Ordering::Relaxed);
        match &self.bar {
            Some(bar) => bar.inc(n),
            None => self.tick(),
        }
    }

    fn grow(&self, n: u64) {
        let total = {
            let mut phase = locked(&self.shared.phase);
            let total = phase.total.unwrap_or(0) + n;
            phase.total = Some(total);
            total
        };
        // The bar asks for the phase when it is drawn.
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
    }

    fn wants_total(&self) -> bool {
        self.bar.is_some() || self.events
    }

    fn current(&self, what: &str) {
        *locked(&self.shared.current) = escape(what.as_bytes());
    }

    fn file(&self, change: Change, path: &dyn Fn() -> PathBuf, len: u64) {
        self.shared.files.fetch_add(1, Ordering::Relaxed);
        let lists = self.verbose > u8::from(change == Change::Unchanged);
        if lists {
            self.list(change, &path(), len);
        }
        let shows = match self.bar.is_some() {
            true => self.is_time(CURRENT_EVERY_MS),
            false => self.events,
        };
        if shows && change != Change::Unchanged {
            self.current(&path().to_string_lossy());
        }
    }

    fn finding(&self, severity: Severity, text: &str) {
        let word = match severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let text = escape(text.as_bytes());
        {
            let mut findings = locked(&self.findings);
            match severity {
                Severity::Note => {}
                Severity::Warning => findings.warnings += 1,
                Severity::Error => {
                    findings.errors += 1;
                    self.shared.errors.fetch_add(1, Ordering::Relaxed);
                }
            }
            if findings.first.len() < FINDINGS_MAX {
                findings.first.push(FindingJson { severity: word, text: text.clone() });
            }
        }
        if severity > Severity::Note || !self.quiet {
            self.line(&format!("{word}: {text}"));
        }
    }

    fn interrupted(&self) -> bool {
        self.env.signals.interrupted()
    }
}
