//! What one worker has on the pods, by its own books.

use std::collections::BTreeMap;

use crate::pod::{PodAddress, Posting};

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
    pub fn post(&mut self, pod: PodAddress, posting: &Posting) {
        let holding = self.0.entry(pod).or_default();
        holding.post(posting);
        if *holding == Holding::default() {
            self.0.remove(&pod);
        }
    }
}

impl Holding {
    fn post(&mut self, posting: &Posting) {
        let sum = |before: u32, more, fewer| before.saturating_add(more).saturating_sub(fewer);
        self.in_flight = sum(self.in_flight, posting.sent, posting.arrived);
        self.open = sum(self.open, posting.opened, posting.closed);
    }
}
