//! The open WebSockets of one worker, for rebalancing: no other worker can close them.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::pod::PodAddress;

/// The open WebSockets of one worker by pod, where some may have to be closed.
#[derive(Default)]
pub struct HeldWebSockets(Cell<BTreeMap<PodAddress, ByAge>>);

/// Since when they are open, and their contexts: the oldest first.
type ByAge = BTreeSet<(Timestamp, u32)>;

impl HeldWebSockets {
    /// Notes the WebSocket of the context `context_id`, which has been open since `since`.
    pub fn insert(&self, pod: PodAddress, since: Timestamp, context_id: u32) {
        self.change(|held| held.entry(pod).or_default().insert((since, context_id)));
    }

    /// Forgets a WebSocket; whether it was still there.
    pub fn remove(&self, pod: PodAddress, since: Timestamp, context_id: u32) -> bool {
        self.change(|held| {
            let Some(websockets) = held.get_mut(&pod) else {
                return false;
            };
            let was_there = websockets.remove(&(since, context_id));
            if websockets.is_empty() {
                held.remove(&pod);
            }
            was_there
        })
    }

    /// The WebSockets on `pod` that were open by `until`, the oldest first, at most `most`: since
    /// when they are open, and their contexts.
    pub fn oldest(&self, pod: PodAddress, until: Timestamp, most: u32) -> Vec<(Timestamp, u32)> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        self.change(|held| {
            let websockets = held.get(&pod).into_iter().flatten();
            let old = websockets.take_while(|(since, _)| *since <= until);
            old.take(most).copied().collect()
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<PodAddress, ByAge>) -> T) -> T {
        let mut held = self.0.take();
        let result = change(&mut held);
        self.0.set(held);
        result
    }
}
