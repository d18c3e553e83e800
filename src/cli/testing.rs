//! Surroundings for tests: nothing of the process, and what is printed can be looked at.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use jiff::tz::TimeZone;
use parking_lot::Mutex;

use crate::primitives::system::OsSystem;

use super::env::{Console, Env};
use super::signals::Signals;

/// What was written.
#[derive(Clone, Default)]
pub(super) struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    /// Takes what was written so far.
    pub(super) fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock());
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Surroundings with nothing in them.
pub(super) fn env() -> Env {
    recorded().0
}

/// Surroundings, what they print, and what they complain about.
pub(super) fn recorded() -> (Env, Written, Written) {
    let (out, errors) = (Written::default(), Written::default());
    let env = Env {
        variables: BTreeMap::new(),
        cwd: "/".into(),
        home: None,
        host: "testhost".to_owned(),
        user: "tester".to_owned(),
        unknown_zone: None,
        zone: TimeZone::UTC,
        system: Arc::new(OsSystem),
        input: Mutex::new(None),
        output: Mutex::new(Box::new(out.clone())),
        errors: Arc::new(Console::new(Box::new(errors.clone()))),
        input_is_terminal: false,
        output_is_terminal: false,
        errors_are_terminal: false,
        output_width: || None,
        errors_width: || None,
        ask_secret: None,
        signals: Signals::default(),
        of_file: Default::default(),
        named_host: Default::default(),
        log: Default::default(),
    };
    (env, out, errors)
}
