//! How far one worker has got with asking the pods of a service.

use std::cell::Cell;

use crate::clock::Timestamp;

/// While more answers than this times those that wait are to come, they wait.
const PARTS: usize = 8;

/// A round that is not over: some of its pods are still to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// Of pods whose time has come. It began at this moment.
    Due(Timestamp),
    /// Of pods before their time. It began at this moment.
    Early(Timestamp),
}

impl Round {
    /// The moment at which it began; all its counts bear it.
    #[must_use]
    pub const fn began_at(self) -> Timestamp {
        match self {
            Self::Due(at) | Self::Early(at) => at,
        }
    }
}

/// How far one worker has got with asking the pods of a service.
///
/// While many answers are to come, those that are there wait in the worker and go into the table
/// together: it is copied out and in for each change, however small. Of n pods it takes some
/// 8 × ln(n) changes at most; of nine or fewer, each answer goes in at once.
#[derive(Debug, Default)]
pub struct Asking {
    round: Cell<Option<Round>>,
    left: Cell<usize>,
    under_way: Cell<usize>,
    waiting: Cell<usize>,
}

impl Asking {
    /// The round that this worker is in the middle of, if it has begun one.
    pub const fn round(&self) -> Option<Round> {
        self.round.get()
    }

    /// How many pods it is still to ask; 0 where no round is under way.
    pub const fn left(&self) -> usize {
        self.left.get()
    }

    /// Notes how far the round has got.
    pub fn set(&self, round: Option<Round>, left: usize) {
        self.round.set(round);
        self.left.set(left);
    }

    /// Notes that a pod was asked.
    pub fn begin_poll(&self) {
        self.under_way.set(self.under_way.get().saturating_add(1));
    }

    /// Notes that a poll has ended.
    pub fn end_poll(&self) {
        self.under_way.set(self.under_way.get().saturating_sub(1));
    }

    /// Whether an answer that has just come is to wait for others.
    pub(super) fn waits(&self) -> bool {
        let waiting = self.waiting.get().saturating_add(1);
        self.waiting.set(waiting);
        let to_come = self.left.get().saturating_add(self.under_way.get());
        waiting.saturating_mul(PARTS) < to_come
    }

    /// Notes that those which waited are in the table.
    pub(super) fn take_in(&self) {
        self.waiting.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The changes of the table that so many answers take, which come after all were asked.
    fn changes(pods: usize) -> usize {
        let asking = Asking::default();
        for _ in 0..pods {
            asking.begin_poll();
        }
        let goes_in = |_: &usize| {
            asking.end_poll();
            let goes_in = !asking.waits();
            if goes_in {
                asking.take_in();
            }
            goes_in
        };
        (0..pods).filter(goes_in).count()
    }

    #[test]
    fn answers_of_many_pods_go_in_together() {
        for (pods, expect) in [(1, 1), (9, 9), (10, 9), (100, 26), (1_000, 45)] {
            assert_eq!(changes(pods), expect, "{pods}");
        }
    }

    #[test]
    fn those_that_are_not_asked_yet_are_to_come_too() {
        let asking = Asking::default();
        asking.set(Some(Round::Due(Timestamp::from_nanos(1))), 100);
        assert!(asking.waits());
        asking.set(None, 0);
        assert!(!asking.waits());
    }
}
