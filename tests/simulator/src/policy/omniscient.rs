//! The fewest in truth: all gateways' WebSockets, all handshakes under way and all pods, the
//! moment they are there. What it needs to even out is what the arrivals need.

use fastrand::Rng;
use wsbalancer::clock::Timestamp;
use wsbalancer::table::Event;

use super::{Policy, Sight, fewest};
use crate::pods::PodId;

pub(super) struct Omniscient;

impl Policy for Omniscient {
    fn reset(&mut self, _pods: &[PodId], _now: Timestamp) {}

    fn choose(&mut self, sight: &Sight<'_>, random: &mut Rng) -> Vec<PodId> {
        let loads = sight.pods.up().map(|(pod, truth)| (pod, truth.load()));
        fewest(loads, random)
    }

    fn apply(&mut self, _event: &Event) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::{Balance, Pods};

    #[test]
    fn it_is_perfect() {
        let mut pods = Pods::new(7);
        let random = &mut Rng::with_seed(1);
        for _ in 0..7_000 {
            let sight = Sight {
                now: Timestamp::from_nanos(1),
                pods: &pods,
            };
            let best = Omniscient.choose(&sight, random)[0];
            assert_eq!(pods.excess(best), 0);
            pods.expect_one(best);
            pods.open_one(best);
        }
        assert_eq!(pods.balance(), Balance::PERFECT);
    }
}
