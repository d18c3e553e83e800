//! Which directories are still to be scanned, in the order a depth-first walk comes to them.
//!
//! Jobs stand in one list. When a job is done its children take its place, so the list stays in the order of the
//! walk however the threads interleave, and those who look ahead always work on what is needed next. Taking the
//! first job passes over jobs in work, of which there are no more than threads; everything else is O(1).
//!
//! Not thread-safe by itself; `walk` holds it behind a lock.

/// Jobs `J` and their results `R`.
pub(super) struct ScanQueue<J, R> {
    slots: Vec<Slot<J, R>>,
    free: Vec<usize>,
}

struct Slot<J, R> {
    before: usize,
    after: usize,
    state: State<J, R>,
}

enum State<J, R> {
    Empty,
    Waiting(J),
    InWork,
    Done(R, Vec<usize>),
}

/// What stands at a place of the agenda.
pub(super) enum Claim<J, R> {
    /// Nobody had begun; the job is the caller's now.
    Job(J),
    /// Somebody is at it.
    InWork,
    /// The result, and the places of the children in order. The place itself is free again.
    Done(R, Vec<usize>),
}

/// The slot that closes the list to a ring.
const RING: usize = 0;

impl<J, R> ScanQueue<J, R> {
    /// An agenda with one job, and that job's place.
    pub(super) fn new(job: J) -> (Self, usize) {
        let ring = Slot { before: RING, after: RING, state: State::Empty };
        let mut queue = Self { slots: vec![ring], free: Vec::new() };
        let root = queue.insert_after(RING, job);
        (queue, root)
    }

    /// The first job that nobody has begun; it is the caller's now.
    pub(super) fn take_first(&mut self) -> Option<(usize, J)> {
        let mut at = self.slots[RING].after;
        while at != RING {
            if let State::Waiting(_) = self.slots[at].state {
                let State::Waiting(job) = std::mem::replace(&mut self.slots[at].state, State::InWork) else {
                    unreachable!("it was waiting a line above")
                };
                return Some((at, job));
            }
            at = self.slots[at].after;
        }
        None
    }

    /// What stands at `place`.
    pub(super) fn claim(&mut self, place: usize) -> Claim<J, R> {
        match std::mem::replace(&mut self.slots[place].state, State::InWork) {
            State::Waiting(job) => Claim::Job(job),
            State::InWork => Claim::InWork,
            State::Done(result, children) => {
                self.slots[place].state = State::Empty;
                self.free.push(place);
                Claim::Done(result, children)
            }
            State::Empty => unreachable!("a place is given away once"),
        }
    }

    /// Ends the work at `place`; `children` are to be done in its stead.
    pub(super) fn finish(&mut self, place: usize, result: R, children: impl Iterator<Item = J>) {
        let mut last = place;
        let mut places = Vec::with_capacity(children.size_hint().0);
        for child in children {
            last = self.insert_after(last, child);
            places.push(last);
        }
        self.unlink(place);
        self.slots[place].state = State::Done(result, places);
    }

    fn insert_after(&mut self, before: usize, job: J) -> usize {
        let after = self.slots[before].after;
        let slot = Slot { before, after, state: State::Waiting(job) };
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.slots[before].after = place;
        self.slots[after].before = place;
        place
    }

    fn unlink(&mut self, place: usize) {
        let (before, after) = (self.slots[place].before, self.slots[place].after);
        self.slots[before].after = after;
        self.slots[after].before = before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_take_their_parents_place_whoever_finishes_first() {
        let (mut queue, root) = ScanQueue::<&str, ()>::new("root");
        assert!(matches!(queue.claim(root), Claim::Job("root")));
        queue.finish(root, (), ["a", "b", "c"].into_iter());
        let Claim::Done((), places) = queue.claim(root) else { panic!("root is done") };
        let (a, _) = queue.take_first().unwrap();
        let (b, _) = queue.take_first().unwrap();
        assert_eq!([a, b], places[..2]);
        queue.finish(b, (), ["b/x", "b/y"].into_iter());
        queue.finish(a, (), ["a/x"].into_iter());
        let order: Vec<_> = std::iter::from_fn(|| queue.take_first().map(|(_, job)| job)).collect();
        assert_eq!(order, ["a/x", "b/x", "b/y", "c"]);
    }

    #[test]
    fn places_are_used_again() {
        let (mut queue, mut place) = ScanQueue::<u32, ()>::new(0);
        for i in 1..1000 {
            assert!(matches!(queue.claim(place), Claim::Job(_)));
            assert!(matches!(queue.claim(place), Claim::InWork));
            queue.finish(place, (), std::iter::once(i));
            let Claim::Done((), children) = queue.claim(place) else { panic!("it is done") };
            place = children[0];
        }
        assert!(queue.slots.len() <= 4);
    }
}
