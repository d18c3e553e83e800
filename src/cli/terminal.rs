//! Progress and findings on the terminal: a bar where there is one, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::words::observer::{Observer, Severity, Unit};

use super::format::printable;

/// Shows how long work goes; remembers whether the user asked to stop.
#[derive(Debug)]
pub struct Terminal {
    quiet: bool,
    bar: bool,
    current: Mutex<Option<ProgressBar>>,
    interrupted: Arc<AtomicBool>,
}

impl Terminal {
    /// `quiet` shows problems only; `bar` allows a progress bar if standard error is a terminal.
    pub fn new(quiet: bool, bar: bool) -> Self {
        let interrupted = Arc::new(AtomicBool::new(false));
        // Not SIGHUP: `nohup` sets it to be ignored, and catching it would undo that.
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // The second signal ends the program at once; the first is noticed by whoever works.
            let armed = signal_hook::flag::register_conditional_shutdown(signal, 130, interrupted.clone());
            let noticed = signal_hook::flag::register(signal, interrupted.clone());
            if armed.is_err() || noticed.is_err() {
                eprintln!("warning: signal {signal} cannot be caught; stopping will be abrupt");
            }
        }
        let bar = bar && !quiet && std::io::stderr().is_terminal();
        Self { quiet, bar, current: Mutex::default(), interrupted }
    }

    /// Prints a line about what was done, unless it should be quiet.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.above(|| {
                // What was done is done, whether anybody listens or not.
                let _ = writeln!(std::io::stdout(), "{text}");
            });
        }
    }

    /// Prints a warning.
    pub fn warn(&self, text: &str) {
        self.above(|| eprintln!("warning: {text}"));
    }

    /// Ends the progress bar.
    pub fn finish(&self) {
        if let Some(bar) = self.current.lock().expect("nothing panics while it holds the lock").take() {
            bar.finish_and_clear();
        }
    }

    fn above(&self, print: impl FnOnce()) {
        match &*self.current.lock().expect("nothing panics while it holds the lock") {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

impl Observer for Terminal {
    fn phase(&self, name: &str, total: Option<u64>, unit: Unit) {
        self.finish();
        if !self.bar {
            return;
        }
        let (done, whole, rate) = match unit {
            Unit::Bytes => ("{binary_bytes}", "{binary_total_bytes}", "{binary_bytes_per_sec}"),
            Unit::Items => ("{human_pos}", "{human_len}", "{per_sec}"),
        };
        let template = match total {
            Some(_) => format!("{{msg}} {{wide_bar}} {done} of {whole}, {rate}, {{eta}} left"),
            None => format!("{{spinner}} {{msg}} {done}, {rate}, {{elapsed}}"),
        };
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr()).with_style(style);
        bar.set_message(name.to_owned());
        *self.current.lock().expect("nothing panics while it holds the lock") = Some(bar);
    }

    fn advance(&self, n: u64) {
        if self.bar
            && let Some(bar) = &*self.current.lock().expect("nothing panics while it holds the lock")
        {
            bar.inc(n);
        }
    }

    fn finding(&self, severity: Severity, text: &str) {
        let text = printable(text.as_bytes());
        match severity {
            Severity::Note if self.quiet => {}
            Severity::Note => self.above(|| eprintln!("{text}")),
            Severity::Warning => self.above(|| eprintln!("warning: {text}")),
            Severity::Error => self.above(|| eprintln!("error: {text}")),
        }
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}
