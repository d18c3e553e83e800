//! Time and randomness, as parameters: so that every test can choose them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the time and random bytes come from.
pub trait System: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
    /// Fills `out` with bytes fit for keys.
    fn fill_random(&self, out: &mut [u8]);
}

/// `N` random bytes.
pub fn random<const N: usize>(system: &dyn System) -> [u8; N] {
    let mut out = [0; N];
    system.fill_random(&mut out);
    out
}

/// The system's clock and generator.
#[derive(Debug, Default, Clone, Copy)]
pub struct OsSystem;

impl System for OsSystem {
    fn now_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }

    fn fill_random(&self, out: &mut [u8]) {
        // Every key of the repository hangs on these bytes: without them nothing may go on.
        getrandom::fill(out).expect("the system's random generator answers");
    }
}

/// A world that always says the same: for tests and golden fixtures only. Its bytes are no secret.
#[derive(Debug)]
pub struct Scripted {
    now_ms: AtomicU64,
    counter: AtomicU64,
    seed: u64,
}

impl Scripted {
    /// A world that starts at `now_ms` and draws its bytes from `seed`.
    pub fn new(now_ms: i64, seed: u64) -> Self {
        Self { now_ms: AtomicU64::new(now_ms as u64), counter: AtomicU64::new(0), seed }
    }

    /// Moves the clock forward (or back, if `ms` is negative).
    pub fn advance_ms(&self, ms: i64) {
        self.now_ms.fetch_add(ms as u64, Ordering::Relaxed);
    }
}

impl System for Scripted {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed) as i64
    }

    fn fill_random(&self, out: &mut [u8]) {
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        let mut hasher = blake3::Hasher::new_derive_key("strongroom scripted world, tests only");
        hasher.update(&self.seed.to_le_bytes()).update(&n.to_le_bytes());
        hasher.finalize_xof().fill(out);
    }
}
