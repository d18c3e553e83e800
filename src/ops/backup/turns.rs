//! Whose turn it is: so many dumps are made at a time, and whoever stands first in the configuration goes first.

use std::collections::BTreeSet;

use parking_lot::{Condvar, Mutex};

/// Where something stands: the number of its source, and its number in that.
pub(super) type Place = (usize, usize);

/// So many at a time.
pub(super) struct Turns {
    count: usize,
    queue: Mutex<Queue>,
    changed: Condvar,
}

struct Queue {
    free: usize,
    waiting: BTreeSet<Place>,
}

/// Somebody's turn. It ends when this is dropped.
pub(super) struct Turn<'t>(&'t Turns);

impl Turns {
    /// `count` at a time; at least one.
    pub(super) fn new(count: usize) -> Self {
        let count = count.max(1);
        let queue = Mutex::new(Queue { free: count, waiting: BTreeSet::new() });
        Self { count, queue, changed: Condvar::new() }
    }

    /// How many at a time.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Waits for a turn. No two wait at the same place. `None` as soon as it is not wanted any more: whoever changes that
    /// calls [`Turns::wake`].
    pub(super) fn take(&self, place: Place, is_wanted: &dyn Fn() -> bool) -> Option<Turn<'_>> {
        let mut queue = self.queue.lock();
        queue.waiting.insert(place);
        let is_taken = loop {
            if !is_wanted() {
                break false;
            }
            if queue.free > 0 && queue.waiting.first() == Some(&place) {
                queue.free -= 1;
                break true;
            }
            self.changed.wait(&mut queue);
        };
        queue.waiting.remove(&place);
        drop(queue);
        // Another one is the first now.
        self.changed.notify_all();
        is_taken.then(|| Turn(self))
    }

    /// Has those who wait look whether they still want a turn.
    pub(super) fn wake(&self) {
        // Not between the look and the wait of one of them.
        drop(self.queue.lock());
        self.changed.notify_all();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.queue.lock().free += 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    #[test]
    fn so_many_have_a_turn_at_a_time_and_all_have_one() {
        let turns = Turns::new(3);
        let (now, most, all) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for n in 0..50 {
                let (turns, now, most, all) = (&turns, &now, &most, &all);
                scope.spawn(move || {
                    let _turn = turns.take((n, 0), &|| true).unwrap();
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                    all.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        assert!(most.into_inner() <= 3);
        assert_eq!(all.into_inner(), 50);
    }

    #[test]
    fn who_stands_first_goes_first_however_late_it_comes() {
        let turns = Turns::new(1);
        let order = Mutex::new(Vec::new());
        let waiting = |n: usize| {
            while turns.queue.lock().waiting.len() < n {
                std::thread::yield_now();
            }
        };
        std::thread::scope(|scope| {
            let turn = turns.take((0, 0), &|| true);
            for (n, place) in [(3, 0), (2, 1), (2, 0), (1, 7)].into_iter().enumerate() {
                let (turns, order) = (&turns, &order);
                scope.spawn(move || {
                    let _turn = turns.take(place, &|| true).unwrap();
                    order.lock().push(place);
                });
                waiting(n + 1);
            }
            drop(turn);
        });
        assert_eq!(order.into_inner(), [(1, 7), (2, 0), (2, 1), (3, 0)]);
    }

    #[test]
    fn who_does_not_want_a_turn_any_more_waits_no_longer() {
        let turns = Turns::new(0);
        let wanted = AtomicBool::new(true);
        std::thread::scope(|scope| {
            let turn = turns.take((0, 0), &|| true);
            let waits = scope.spawn(|| turns.take((1, 0), &|| wanted.load(Ordering::SeqCst)).is_none());
            wanted.store(false, Ordering::SeqCst);
            turns.wake();
            assert!(waits.join().unwrap());
            drop(turn);
        });
        assert!(turns.take((2, 0), &|| true).is_some());
    }
}
