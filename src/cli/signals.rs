//! Being asked to stop: Ctrl-C, SIGTERM, SIGHUP.
//!
//! The first signal asks: operations look at [`Signals::interrupted`] now and then, finish what must not be left
//! half done, and return. A second one ends the program at once, and so does the first while a question is open.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::exit::Exit;

/// Whether the user asked to stop. Clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    interrupted: Arc<AtomicBool>,
    /// The next signal ends the program.
    at_once: Arc<AtomicBool>,
    of_process: bool,
}

impl Signals {
    /// Those that this process is sent. The default ones are sent none, but by [`Signals::interrupt`].
    pub fn of_process() -> Self {
        Self { of_process: true, ..Self::default() }
    }

    /// Listens from now on; before, a signal ends the program.
    ///
    /// A signal that was ignored when the program was started stays ignored: `nohup`, and background jobs of some
    /// shells, rely on it.
    pub fn listen(&self) -> io::Result<()> {
        if !self.of_process {
            return Ok(());
        }
        let ignored = ignored_by(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
        for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|s| ignored & (1 << (s - 1)) == 0) {
            // In this order: the first signal finds the flag down, and raises it.
            flag::register_conditional_shutdown(signal, Exit::Interrupted.code().into(), self.at_once.clone())?;
            flag::register(signal, self.at_once.clone())?;
            flag::register(signal, self.interrupted.clone())?;
        }
        Ok(())
    }

    /// Whether a signal has come.
    pub fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Does what a signal does: for tests.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }

    /// Lets the first signal end the program at once until the answer is dropped: who waits for a person cannot
    /// look at flags.
    pub fn while_asking(&self) -> Asking<'_> {
        self.at_once.store(true, Ordering::Relaxed);
        Asking { signals: self }
    }
}

/// A question is open.
#[derive(Debug)]
pub struct Asking<'a> {
    signals: &'a Signals,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.signals.at_once.store(self.signals.interrupted(), Ordering::Relaxed);
    }
}

/// The set of ignored signals in the text of `/proc/self/status`; none if it cannot be read.
fn ignored_by(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_known_from_proc() {
        let ignored = ignored_by("Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n");
        assert_eq!(ignored & (1 << (SIGHUP - 1)), 1);
        assert_eq!(ignored & (1 << (SIGINT - 1)), 0);
        assert_eq!(ignored_by(""), 0);
    }

    #[test]
    fn an_open_question_arms_the_first_signal_and_its_end_disarms_it() {
        let signals = Signals::default();
        drop(signals.while_asking());
        assert!(!signals.at_once.load(Ordering::Relaxed));
        signals.interrupt();
        drop(signals.while_asking());
        assert!(signals.at_once.load(Ordering::Relaxed));
    }
}
