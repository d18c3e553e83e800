//! Being asked to stop: Ctrl-C, SIGTERM, SIGHUP.
//!
//! The first signal asks: operations look at [`Signals::interrupted`] now and then, finish what must not be left
//! half done, and return. A second one ends the program at once, and so does the first while a question is open; the
//! commands that the program has started are killed before. Signals that come together count as one: `timeout` sends
//! its own to the process and to its group.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals as Incoming;

use crate::process_group;

use super::exit::Exit;

/// Signals that follow the first within this time are the same request.
const SAME_REQUEST: Duration = Duration::from_millis(250);

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
        let heeded = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|s| ignored & (1 << (s - 1)) == 0);
        let mut incoming = Incoming::new(heeded)?;
        let signals = self.clone();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut first = None;
            for _ in incoming.forever() {
                if signals.ends_now(&mut first, Instant::now()) {
                    // A client that reads from us must not take the end of its input for the end of the file.
                    process_group::kill_all();
                    signal_hook::low_level::exit(Exit::Interrupted.code().into());
                }
            }
        })?;
        Ok(())
    }

    /// Takes note of a signal that came at `now`; true if the program is to end at once. `first` is when the first one
    /// came that only asked.
    fn ends_now(&self, first: &mut Option<Instant>, now: Instant) -> bool {
        if self.at_once.load(Ordering::Relaxed) && first.is_none_or(|first| now - first > SAME_REQUEST) {
            return true;
        }
        first.get_or_insert(now);
        self.interrupted.store(true, Ordering::Relaxed);
        self.at_once.store(true, Ordering::Relaxed);
        false
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

    /// powerwall-dashboard#838 and others: `timeout` signals the process and its group, within microseconds.
    #[test]
    fn signals_that_come_together_are_one_request() {
        let (signals, start, mut first) = (Signals::default(), Instant::now(), None);
        assert!(!signals.ends_now(&mut first, start));
        assert!(!signals.ends_now(&mut first, start + Duration::from_millis(1)));
        assert!(signals.interrupted());
        assert!(signals.ends_now(&mut first, start + SAME_REQUEST * 2));
        let asking = Signals::default();
        let _open = asking.while_asking();
        assert!(asking.ends_now(&mut None, start), "the first signal while a question is open");
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
