//! How a gateway chooses: the filter, what else there is, and what would be best.
//!
//! A policy is told what happens in the filter's own words, and what it makes of that is its own
//! matter.

use std::time::Duration;

use fastrand::Rng;
use wsbalancer::clock::Timestamp;
use wsbalancer::config::{Rebalance, SlowStart};
use wsbalancer::table::{Event, Ledger};

use crate::pods::{PodId, Pods};

mod filter;
mod last_report;
mod omniscient;
mod own_counts;
mod round_robin;

use filter::Filter;
use last_report::LastReport;
use omniscient::Omniscient;
use own_counts::{LeastOwn, PowerOfTwo};
use round_robin::RoundRobin;

/// How many pods a handshake may try.
pub const ATTEMPTS: usize = 3;

/// One gateway's.
pub trait Policy {
    /// These are the pods from `now` on.
    fn reset(&mut self, pods: &[PodId], now: Timestamp);

    /// Chooses the pods that a handshake tries, best first; none where it knows of no usable one.
    fn choose(&mut self, sight: &Sight<'_>, random: &mut Rng) -> Vec<PodId>;

    /// Takes in what happened. That a handshake is on its way to the first of the pods that were
    /// chosen is such an event too.
    fn apply(&mut self, event: &Event);

    /// The pod is asked for its count.
    fn ask(&mut self, _pod: PodId, _now: Timestamp) {}

    /// Whether it needs counts before their time.
    fn wants_counts(&self, _now: Timestamp) -> bool {
        false
    }

    /// The pods that it asks for their counts before their time.
    fn ask_early(&mut self, _now: Timestamp) -> Vec<PodId> {
        Vec::new()
    }

    /// The WebSocket that goes by `id` is open.
    fn open(&mut self, pod: PodId, _id: u32, now: Timestamp) {
        self.apply(&Event::Opened {
            pod: pod.address(),
            at: now,
        });
    }

    /// The WebSocket that goes by `id` has ended.
    fn close(&mut self, pod: PodId, _id: u32) {
        self.apply(&Event::Closed { pod: pod.address() });
    }

    /// One of its workers is lost: the others count anew what they have.
    fn begin_recount(&mut self, _ledgers: &[Ledger]) {}

    /// All have counted.
    fn end_recount(&mut self, _now: Timestamp) {}

    /// The WebSockets that it ends now, so that their clients come back to other pods.
    fn rebalance(&mut self, _now: Timestamp) -> Vec<u32> {
        Vec::new()
    }
}

/// What there is to see when a handshake comes.
pub struct Sight<'a> {
    /// The time.
    pub now: Timestamp,
    /// The pods as they are: nothing that a real gateway can know.
    pub pods: &'a Pods,
}

/// How a gateway is set up.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How often it asks for the counts.
    pub interval: Duration,
    /// Whether it asks before their time too.
    pub asks_early: bool,
    /// How it starts new pods.
    pub slow_start: Option<SlowStart>,
    /// Which WebSockets it ends on pods that hold too many.
    pub rebalance: Option<Rebalance>,
}

/// The policies that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One after the other.
    RoundRobin,
    /// The fewest of the gateway's own WebSockets, as `HAProxy` and nginx do.
    LeastOwn,
    /// The better of two random pods by the gateway's own WebSockets: Envoy's `LEAST_REQUEST`.
    PowerOfTwo,
    /// The fewest in the last report, as the Traefik plugin does.
    LastReport,
    /// The filter.
    Filter,
    /// The fewest in truth, at this very moment.
    Omniscient,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RoundRobin,
        Self::LeastOwn,
        Self::PowerOfTwo,
        Self::LastReport,
        Self::Filter,
        Self::Omniscient,
    ];

    /// What the filter is compared with.
    pub const BASELINES: [Self; 4] = [
        Self::RoundRobin,
        Self::LeastOwn,
        Self::PowerOfTwo,
        Self::LastReport,
    ];

    /// Its place in [`ALL`](Self::ALL).
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round robin",
            Self::LeastOwn => "least by own count",
            Self::PowerOfTwo => "power of two choices",
            Self::LastReport => "last count",
            Self::Filter => "wsbalancer",
            Self::Omniscient => "omniscient",
        }
    }

    /// One for a gateway that has just started.
    #[must_use]
    pub fn create(self, settings: Settings) -> Box<dyn Policy> {
        match self {
            Self::RoundRobin => Box::new(RoundRobin::default()),
            Self::LeastOwn => Box::new(LeastOwn::default()),
            Self::PowerOfTwo => Box::new(PowerOfTwo::default()),
            Self::LastReport => Box::new(LastReport::default()),
            Self::Filter => Box::new(Filter::new(settings)),
            Self::Omniscient => Box::new(Omniscient),
        }
    }
}

/// The pods with the fewest, as many as a handshake may try; ties are broken at random.
fn fewest(counts: impl Iterator<Item = (PodId, u32)>, random: &mut Rng) -> Vec<PodId> {
    let mut best: Vec<(u32, u32, PodId)> = Vec::with_capacity(ATTEMPTS + 1);
    for (pod, count) in counts {
        let entry = (count, random.u32(..), pod);
        let place = best.partition_point(|other| *other < entry);
        if place < ATTEMPTS {
            best.insert(place, entry);
            best.truncate(ATTEMPTS);
        }
    }
    best.into_iter().map(|(_, _, pod)| pod).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_at_its_place() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), index);
        }
    }

    #[test]
    fn the_fewest_come_first_and_ties_at_random() {
        let random = &mut Rng::with_seed(1);
        let counts = [3, 1, 2, 1, 9].map(Some);
        let pods = || (0..).map(PodId).zip(counts.into_iter().flatten());
        let mut firsts = [0; 5];
        for _ in 0..1_000 {
            let best = fewest(pods(), random);
            assert_eq!(best.len(), ATTEMPTS);
            assert_eq!(best[2], PodId(2));
            firsts[best[0].index()] += 1;
        }
        assert_eq!(firsts[1] + firsts[3], 1_000);
        assert!((400..600).contains(&firsts[1]), "{firsts:?}");
    }
}
