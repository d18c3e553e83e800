//! Showing what goes on: a bar on a terminal, plain lines elsewhere, problems always.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::primitives::progress::{Observer, Severity, Unit};

use super::json::FindingJson;
use super::text::{duration, escape, pluralize, shortened_to, size};
use crate::cli::args::GlobalArguments;
use crate::cli::env::Env;

/// Findings that are kept for JSON; more are counted.
const FINDINGS_MAX: usize = 1000;

/// How often what is being worked on is shown anew, and how often a plain line is printed.
const CURRENT_EVERY_MS: u64 = 100;
const LINE_EVERY_MS: u64 = 60_000;

/// Characters of what is being worked on that are shown.
const CURRENT_LEN_MAX: usize = 60;

/// An observer for a person or a log file. It is silent but for problems if asked to be.
pub struct Progress<'a> {
    env: &'a Env,
    /// Nothing but problems is printed.
    quiet: bool,
    bar: Option<ProgressBar>,
    phase: Mutex<Phase>,
    done: AtomicU64,
    next_ms: AtomicU64,
    started: Instant,
    findings: Mutex<Findings>,
}

#[derive(Default)]
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

impl<'a> Progress<'a> {
    /// An observer as the options ask for.
    pub fn new(arguments: &GlobalArguments, env: &'a Env) -> Self {
        let quiet = arguments.quiet || arguments.json;
        let show = env.errors_are_terminal && !quiet && !arguments.no_progress;
        let bar = show.then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()));
        if let Some(bar) = &bar {
            env.errors.show(bar);
        }
        Self {
            env,
            quiet,
            bar,
            phase: Mutex::default(),
            done: AtomicU64::new(0),
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
        std::mem::take(&mut *self.findings.lock().expect("nothing panics while it holds the lock"))
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
        let now = self.started.elapsed().as_millis() as u64;
        let next = self.next_ms.load(Ordering::Relaxed);
        now >= next && self.next_ms.compare_exchange(next, now + every_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn plain_line(&self) {
        let phase = self.phase.lock().expect("nothing panics while it holds the lock");
        let done = self.done.load(Ordering::Relaxed);
        let shown = |n| if phase.bytes { size(n) } else { pluralize(n, "thing", "things") };
        let of = phase.total.map(|t| format!(" of {}", shown(t))).unwrap_or_default();
        let after = duration(self.started.elapsed().as_millis() as u64);
        self.env.eprint_line(&format!("{}: {}{of} after {after}", escape(phase.name.as_bytes()), shown(done)));
    }
}

fn style(total: Option<u64>, unit: Unit) -> ProgressStyle {
    let template = match (total, unit) {
        (Some(_), Unit::Bytes) => {
            "{prefix} [{bar:24}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left  {wide_msg}"
        }
        (Some(_), Unit::Items) => "{prefix} [{bar:24}] {human_pos} of {human_len}, {per_sec}, {eta} left  {wide_msg}",
        (None, Unit::Bytes) => "{spinner} {prefix} {binary_bytes}, {binary_bytes_per_sec}, {elapsed}  {wide_msg}",
        (None, Unit::Items) => "{spinner} {prefix} {human_pos}, {per_sec}, {elapsed}  {wide_msg}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

impl Observer for Progress<'_> {
    fn phase(&self, name: &str, total: Option<u64>, unit: Unit) {
        self.done.store(0, Ordering::Relaxed);
        let bytes = unit == Unit::Bytes;
        *self.phase.lock().expect("nothing panics while it holds the lock") =
            Phase { name: name.to_owned(), bytes, total };
        self.next_ms.store(self.started.elapsed().as_millis() as u64 + LINE_EVERY_MS, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            self.next_ms.store(0, Ordering::Relaxed);
            bar.reset();
            bar.set_style(style(total, unit));
            bar.set_prefix(shortened_to(CURRENT_LEN_MAX, &escape(name.as_bytes())));
            bar.set_message("");
            match total {
                Some(total) => bar.set_length(total),
                None => bar.unset_length(),
            }
            bar.enable_steady_tick(Duration::from_millis(200));
        }
    }

    fn advance(&self, n: u64) {
        self.done.fetch_add(n, Ordering::Relaxed);
        match &self.bar {
            Some(bar) => bar.inc(n),
            None if !self.quiet && self.is_time(LINE_EVERY_MS) => self.plain_line(),
            None => {}
        }
    }

    fn grow(&self, n: u64) {
        let mut phase = self.phase.lock().expect("nothing panics while it holds the lock");
        phase.total = Some(phase.total.unwrap_or(0) + n);
        if let Some(bar) = &self.bar {
            if bar.length().is_none() {
                bar.set_style(style(phase.total, if phase.bytes { Unit::Bytes } else { Unit::Items }));
            }
            bar.set_length(phase.total.unwrap_or(0));
        }
    }

    fn wants_total(&self) -> bool {
        self.bar.is_some()
    }

    fn current(&self, what: &str) {
        let Some(bar) = &self.bar else { return };
        if self.is_time(CURRENT_EVERY_MS) {
            let shown = escape(what.as_bytes());
            let skip = shown.chars().count().saturating_sub(CURRENT_LEN_MAX);
            let cut: String = shown.chars().skip(skip).collect();
            bar.set_message(if skip > 0 { format!("...{cut}") } else { cut });
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
            let mut findings = self.findings.lock().expect("nothing panics while it holds the lock");
            match severity {
                Severity::Note => {}
                Severity::Warning => findings.warnings += 1,
                Severity::Error => findings.errors += 1,
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
