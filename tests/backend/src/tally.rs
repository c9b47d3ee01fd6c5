//! What a pod counts, and the open WebSockets behind the count.
//!
//! `open` is the number of living [`OpenWebSocket`] guards: it rises and falls with them and
//! in no other way, so it is true however a WebSocket ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use prometheus_client::metrics::histogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// So many openings are remembered, the latest: no test opens more, and a pod that runs for
/// months stays small.
const OPENINGS: usize = 1 << 20;

/// Seconds by which the lifetimes of WebSockets are told apart.
const LIFETIMES: [f64; 6] = [0.1, 1.0, 10.0, 60.0, 600.0, 3600.0];

/// What a pod has counted up to one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// WebSockets that are open now.
    pub open: u64,
    /// WebSockets accepted since the start.
    pub opened: u64,
    /// The most WebSockets that were ever open at once.
    pub peak: u64,
    /// WebSocket handshakes received since the start, whatever was answered.
    pub handshakes: u64,
    /// `GET`s on a path of the count since the start, whatever was answered.
    pub polls: u64,
}

/// A pod's counters, for many tasks to change and many to watch.
#[derive(Debug)]
pub(crate) struct Tally {
    counters: watch::Sender<Counters>,
    openings: watch::Sender<VecDeque<Instant>>,
    lifetimes: Histogram,
    round: watch::Sender<Round>,
    end: CancellationToken,
}

/// The WebSockets opened since the last time that all were dropped.
#[derive(Debug)]
struct Round {
    ending: CancellationToken,
    members: TaskTracker,
}

/// One WebSocket that counts as open for as long as this lives.
#[derive(Debug)]
pub(crate) struct OpenWebSocket {
    tally: Arc<Tally>,
    opened: Instant,
    ending: CancellationToken,
    // Fields go after `drop` has run: a round without members has been counted down.
    _membership: TaskTrackerToken,
}

impl Round {
    fn new(end: &CancellationToken) -> Self {
        Self {
            ending: end.child_token(),
            members: TaskTracker::new(),
        }
    }
}

impl Tally {
    /// Nothing counted yet; `end` ends every WebSocket.
    pub(crate) fn new(end: CancellationToken) -> Self {
        Self {
            counters: watch::Sender::default(),
            openings: watch::Sender::default(),
            lifetimes: Histogram::new(LIFETIMES),
            round: watch::Sender::new(Round::new(&end)),
            end,
        }
    }

    /// The counters as they are now.
    pub(crate) fn counters(&self) -> Counters {
        *self.counters.borrow()
    }

    /// The counters as they change.
    pub(crate) fn watch(&self) -> watch::Receiver<Counters> {
        self.counters.subscribe()
    }

    /// When WebSockets were accepted, in order.
    pub(crate) fn openings(&self) -> Vec<Instant> {
        let mut openings: Vec<_> = self.openings.borrow().iter().copied().collect();
        // Two tasks may have looked at the clock in one order and written in the other.
        openings.sort_unstable();
        openings
    }

    /// Seconds that WebSockets were open; it goes on observing.
    pub(crate) fn lifetimes(&self) -> Histogram {
        self.lifetimes.clone()
    }

    /// Counts a handshake that has come in.
    pub(crate) fn count_handshake(&self) {
        self.counters
            .send_modify(|counters| counters.handshakes += 1);
    }

    /// Counts a poll that has come in.
    pub(crate) fn count_poll(&self) {
        self.counters.send_modify(|counters| counters.polls += 1);
    }

    /// Counts a WebSocket as open until the guard is dropped.
    pub(crate) fn open(self: &Arc<Self>) -> OpenWebSocket {
        // First the round and the opening, then the count: whoever sees the count can also end
        // the WebSocket, and finds when it was opened.
        let (ending, membership) = {
            let round = self.round.borrow();
            (round.ending.clone(), round.members.token())
        };
        let opened = Instant::now();
        self.openings.send_modify(|openings| {
            if openings.len() == OPENINGS {
                openings.pop_front();
            }
            openings.push_back(opened);
        });
        self.counters.send_modify(|counters| {
            counters.open += 1;
            counters.opened += 1;
            counters.peak = counters.peak.max(counters.open);
        });
        OpenWebSocket {
            tally: Arc::clone(self),
            opened,
            ending,
            _membership: membership,
        }
    }

    /// Ends every WebSocket that is open at the call, and returns once they are counted down.
    pub(crate) async fn drop_all(&self) {
        let Round { ending, members } = self.round.send_replace(Round::new(&self.end));
        ending.cancel();
        members.close();
        members.wait().await;
    }
}

impl OpenWebSocket {
    /// Returns when the WebSocket is to end without a goodbye.
    pub(crate) async fn dropped(&self) {
        self.ending.cancelled().await;
    }
}

impl Drop for OpenWebSocket {
    fn drop(&mut self) {
        let lifetime = self.opened.elapsed().as_secs_f64();
        self.tally.lifetimes.observe(lifetime);
        self.tally
            .counters
            .send_modify(|counters| counters.open -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_is_the_number_of_living_guards_and_the_rest_only_rises() {
        let tally = Arc::new(Tally::new(CancellationToken::new()));
        let first = tally.open();
        let second = tally.open();
        drop(first);
        let third = tally.open();
        drop((second, third));
        assert_eq!(
            tally.counters(),
            Counters {
                open: 0,
                opened: 3,
                peak: 2,
                handshakes: 0,
                polls: 0
            }
        );
    }

    #[test]
    fn openings_are_remembered_in_order_and_only_the_latest() {
        let tally = Arc::new(Tally::new(CancellationToken::new()));
        for _ in 0..OPENINGS {
            drop(tally.open());
        }
        let before = tally.openings();
        drop(tally.open());
        let after = tally.openings();
        assert_eq!((before.len(), after.len()), (OPENINGS, OPENINGS));
        assert_eq!(before[1..], after[..OPENINGS - 1]);
        assert!(after.is_sorted());
    }

    #[tokio::test]
    async fn dropping_all_waits_for_the_old_and_leaves_the_new_alone() {
        let tally = Arc::new(Tally::new(CancellationToken::new()));
        let old = tally.open();
        let mut dropping = std::pin::pin!(tally.drop_all());
        // The first poll starts a new round and then has to wait for the old guard.
        assert!(futures_util::poll!(dropping.as_mut()).is_pending());
        let new = tally.open();
        old.dropped().await;
        drop(old);
        dropping.await;
        assert_eq!(tally.counters().open, 1);
        assert!(!new.ending.is_cancelled());
    }
}
