//! How many requests a store was asked, and how many bytes went each way.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Verb;

/// What a store has been asked for so far. Requests that failed count as well; bytes only if they moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// Objects created, or tried.
    pub create: u64,
    /// Whole objects read.
    pub get: u64,
    /// Ranges read.
    pub get_range: u64,
    /// Sizes asked for, including those that a store asks for by itself.
    pub size: u64,
    /// Listings; where a store answers in pages, the pages.
    pub list: u64,
    /// Objects deleted, or tried.
    pub delete: u64,
    /// Times that durability was asked for.
    pub sync: u64,
    /// Bytes sent to the store.
    pub bytes_up: u64,
    /// Bytes received from the store, without listings.
    pub bytes_down: u64,
}

impl RequestCounts {
    /// What came since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            create: self.create - earlier.create,
            get: self.get - earlier.get,
            get_range: self.get_range - earlier.get_range,
            size: self.size - earlier.size,
            list: self.list - earlier.list,
            delete: self.delete - earlier.delete,
            sync: self.sync - earlier.sync,
            bytes_up: self.bytes_up - earlier.bytes_up,
            bytes_down: self.bytes_down - earlier.bytes_down,
        }
    }

    /// All that a server would count as requests.
    pub fn total(&self) -> u64 {
        self.create + self.get + self.get_range + self.size + self.list + self.delete
    }
}

/// The live counters behind [`RequestCounts`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    create: AtomicU64,
    get: AtomicU64,
    get_range: AtomicU64,
    size: AtomicU64,
    list: AtomicU64,
    delete: AtomicU64,
    sync: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
}

impl Counters {
    /// Counts one request.
    pub(super) fn count(&self, verb: Verb) {
        let counter = match verb {
            Verb::Create => &self.create,
            Verb::Get => &self.get,
            Verb::GetRange => &self.get_range,
            Verb::Size => &self.size,
            Verb::List => &self.list,
            Verb::Delete => &self.delete,
            Verb::Sync => &self.sync,
            Verb::Init | Verb::Open => return,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Counts bytes sent.
    pub(super) fn up(&self, n: usize) {
        self.bytes_up.fetch_add(n as u64, Relaxed);
    }

    /// Counts bytes received.
    pub(super) fn down(&self, n: usize) {
        self.bytes_down.fetch_add(n as u64, Relaxed);
    }

    /// The figures of this moment.
    pub(super) fn figures(&self) -> RequestCounts {
        RequestCounts {
            create: self.create.load(Relaxed),
            get: self.get.load(Relaxed),
            get_range: self.get_range.load(Relaxed),
            size: self.size.load(Relaxed),
            list: self.list.load(Relaxed),
            delete: self.delete.load(Relaxed),
            sync: self.sync.load(Relaxed),
            bytes_up: self.bytes_up.load(Relaxed),
            bytes_down: self.bytes_down.load(Relaxed),
        }
    }
}
