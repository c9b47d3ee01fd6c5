//! What is going to happen, in the order of time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use wsbalancer::clock::Timestamp;

/// Things that happen at some time. Those of the same moment happen in the order in which they
/// were put in, so that a simulation is the same every time.
#[derive(Debug)]
pub struct Queue<T> {
    entries: BinaryHeap<Entry<T>>,
    turns: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Timestamp,
    turn: u64,
    what: T,
}

impl<T> Entry<T> {
    /// The heap's greatest comes first.
    fn order(&self) -> (Reverse<Timestamp>, Reverse<u64>) {
        (Reverse(self.at), Reverse(self.turn))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl<T> Queue<T> {
    /// A queue of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: BinaryHeap::new(),
            turns: 0,
        }
    }

    /// Has `what` happen at `at`.
    pub fn push(&mut self, at: Timestamp, what: T) {
        let turn = self.turns;
        self.turns += 1;
        self.entries.push(Entry { at, turn, what });
    }

    /// What happens next, and when; none where nothing does.
    pub fn pop(&mut self) -> Option<(Timestamp, T)> {
        self.entries.pop().map(|entry| (entry.at, entry.what))
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_ties_in_their_order() {
        let mut queue = Queue::new();
        for (nanos, what) in [(30, 'd'), (10, 'a'), (20, 'b'), (20, 'c'), (30, 'e')] {
            queue.push(Timestamp::from_nanos(nanos), what);
        }
        let mut popped = Vec::new();
        while let Some((at, what)) = queue.pop() {
            popped.push((at.as_nanos(), what));
        }
        let expect = [(10, 'a'), (20, 'b'), (20, 'c'), (30, 'd'), (30, 'e')];
        assert_eq!(popped, expect);
    }

    #[test]
    fn what_is_put_in_later_may_happen_earlier() {
        let mut queue = Queue::new();
        queue.push(Timestamp::from_nanos(20), "later");
        queue.push(Timestamp::from_nanos(10), "earlier");
        assert_eq!(queue.pop().unwrap().1, "earlier");
        queue.push(Timestamp::from_nanos(15), "between");
        assert_eq!(queue.pop().unwrap().1, "between");
        assert_eq!(queue.pop().unwrap().1, "later");
        assert!(queue.pop().is_none());
    }
}
