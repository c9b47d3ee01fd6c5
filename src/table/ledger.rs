//! What one worker has on the pods, by its own books.

use std::collections::BTreeMap;

use crate::pod::PodAddress;

/// What one worker has on the pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger(BTreeMap<PodAddress, Holding>);

/// What one worker has on one pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// WebSockets that are open.
    pub open: u32,
    /// Upgrades on their way.
    pub in_flight: u32,
}

/// What a worker does to what it has on a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posting {
    /// An upgrade is on its way …
    Sent,
    /// … or is so no more.
    Arrived,
    /// A WebSocket is open …
    Opened,
    /// … or has ended.
    Closed,
}

impl Ledger {
    /// What the worker has on `pod`.
    #[must_use]
    pub fn holding(&self, pod: PodAddress) -> Holding {
        self.0.get(&pod).copied().unwrap_or_default()
    }

    /// Whether the worker has nothing anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Enters what was done.
    pub fn post(&mut self, pod: PodAddress, posting: Posting) {
        let holding = self.0.entry(pod).or_default();
        holding.post(posting);
        if *holding == Holding::default() {
            self.0.remove(&pod);
        }
    }
}

impl Holding {
    fn post(&mut self, posting: Posting) {
        match posting {
            Posting::Sent => self.in_flight = self.in_flight.saturating_add(1),
            Posting::Arrived => self.in_flight = self.in_flight.saturating_sub(1),
            Posting::Opened => self.open = self.open.saturating_add(1),
            Posting::Closed => self.open = self.open.saturating_sub(1),
        }
    }
}
