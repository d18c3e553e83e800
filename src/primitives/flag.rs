//! A flag for threads of a scope.

use std::sync::atomic::{AtomicBool, Ordering};

/// Raises a flag however its scope is left, by a panic too: a scope of threads waits for those that look at the flag.
#[derive(Debug)]
pub struct RaiseOnDrop<'a>(pub &'a AtomicBool);

impl Drop for RaiseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
