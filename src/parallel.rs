//! Work on several threads: loops over items, and tasks whose results are taken in the order of their start.
//!
//! The threads are rayon's. Each operation has a pool of its own: its work waits for disks and servers, and would hold
//! up whoever else computes in the global pool.

use crossbeam_channel::{Receiver, bounded};
use rayon::iter::{IntoParallelIterator, ParallelBridge, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// How many threads compute at once: one a core.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, |n| n.get())
}

fn pool(threads: usize) -> ThreadPool {
    // Without a handler, a task that panics would end the process.
    let pool = ThreadPoolBuilder::new().num_threads(threads.max(1)).panic_handler(|_| {}).build();
    pool.expect("the system starts threads")
}

/// Calls `work` for every item on `threads` threads. Items are taken in their order.
pub fn for_each<T: Send>(threads: usize, items: impl Iterator<Item = T> + Send, work: impl Fn(T) + Sync + Send) {
    pool(threads).install(|| items.par_bridge().for_each(work));
}

/// What `work` makes of every item on `threads` threads, in the order of the items.
pub fn map<T: Send, R: Send>(threads: usize, items: Vec<T>, work: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    pool(threads).install(|| items.into_par_iter().map(work).collect())
}

/// As [`map`], of items that are made as they are needed and taken in their order; the results come in any order.
pub fn map_each<T: Send, R: Send>(
    threads: usize,
    items: impl Iterator<Item = T> + Send,
    work: impl Fn(T) -> R + Sync + Send,
) -> Vec<R> {
    pool(threads).install(|| items.par_bridge().map(work).collect())
}

/// Threads that carry out tasks in the order in which these were started.
#[derive(Debug)]
pub struct Workers {
    pool: ThreadPool,
}

impl Workers {
    /// So many threads.
    pub fn new(threads: usize) -> Self {
        Self { pool: pool(threads) }
    }

    /// Starts a task. It is carried out even if nobody waits for its result.
    pub fn start<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Task<T> {
        let (reply, result) = bounded(1);
        self.pool.spawn(move || {
            // Whoever started it may have given up meanwhile.
            let _ = reply.send(work());
        });
        Task(result)
    }
}

/// The result of a task, when it is there.
#[derive(Debug)]
pub struct Task<T>(Receiver<T>);

/// A task panicked; what it said is on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panicked;

impl<T> Task<T> {
    /// Waits until the task is done.
    pub fn wait(self) -> Result<T, Panicked> {
        self.0.recv().map_err(|_| Panicked)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn results_come_in_the_order_of_their_items() {
        assert_eq!(map(4, (0..1000).collect(), |n: u32| n * 2), (0..1000).map(|n| n * 2).collect::<Vec<_>>());
        let workers = Workers::new(3);
        let tasks: Vec<Task<usize>> = (0..100).map(|n| workers.start(move || n)).collect();
        let results: Vec<usize> = tasks.into_iter().map(|t| t.wait().unwrap()).collect();
        assert_eq!(results, (0..100).collect::<Vec<_>>());
        let mut results = map_each(3, 0..100, |n| n);
        results.sort_unstable();
        assert_eq!(results, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn every_item_is_worked_on_once_by_several_threads() {
        let sum = AtomicUsize::new(0);
        for_each(4, 1..=100, |n| {
            sum.fetch_add(n, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 5050);
        // Two that wait for each other are on two threads.
        let (a, b) = (bounded(0), bounded(0));
        for_each(2, [true, false].into_iter(), |first| match first {
            true => {
                a.0.send(()).unwrap();
                b.1.recv().unwrap();
            }
            false => {
                a.1.recv().unwrap();
                b.0.send(()).unwrap();
            }
        });
    }

    #[test]
    fn a_task_that_panics_tells_who_waits_and_the_others_go_on() {
        let workers = Workers::new(1);
        let (bad, good) = (workers.start(|| panic!("a test panics on purpose")), workers.start(|| 7));
        assert_eq!(bad.wait(), Err::<(), _>(Panicked));
        assert_eq!(good.wait(), Ok(7));
    }
}
