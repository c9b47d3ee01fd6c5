//! The fewest of the gateway's own WebSockets: of all pods, or of two that are drawn.

use fastrand::Rng;
use wsbalancer::clock::Timestamp;
use wsbalancer::table::Event;

use super::{ATTEMPTS, Policy, Sight, fewest};
use crate::pods::PodId;

/// What a gateway opened and closed itself.
#[derive(Default)]
struct OwnCounts {
    pods: Vec<PodId>,
    /// By number of the pod: handshakes and WebSockets.
    counts: Vec<u32>,
}

impl OwnCounts {
    fn reset(&mut self, pods: &[PodId]) {
        self.pods = pods.to_vec();
    }

    fn apply(&mut self, event: &Event) {
        let (pod, is_more) = match *event {
            Event::Chosen { pod } | Event::Opened { pod, .. } => (pod, true),
            Event::Settled { pod } | Event::Closed { pod } => (pod, false),
            _ => return,
        };
        let index = PodId::from_address(pod).index();
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        let count = &mut self.counts[index];
        *count = if is_more {
            *count + 1
        } else {
            count.saturating_sub(1)
        };
    }

    fn of(&self, pod: PodId) -> u32 {
        self.counts.get(pod.index()).copied().unwrap_or(0)
    }
}

/// The fewest of all pods.
#[derive(Default)]
pub(super) struct LeastOwn(OwnCounts);

impl Policy for LeastOwn {
    fn reset(&mut self, pods: &[PodId], _now: Timestamp) {
        self.0.reset(pods);
    }

    fn choose(&mut self, _sight: &Sight<'_>, random: &mut Rng) -> Vec<PodId> {
        let counts = self.0.pods.iter().map(|&pod| (pod, self.0.of(pod)));
        fewest(counts, random)
    }

    fn apply(&mut self, event: &Event) {
        self.0.apply(event);
    }
}

/// The better of two pods, which may be the same one.
#[derive(Default)]
pub(super) struct PowerOfTwo(OwnCounts);

impl Policy for PowerOfTwo {
    fn reset(&mut self, pods: &[PodId], _now: Timestamp) {
        self.0.reset(pods);
    }

    fn choose(&mut self, _sight: &Sight<'_>, random: &mut Rng) -> Vec<PodId> {
        let pods = &self.0.pods;
        let mut draw = || pods[random.usize(..pods.len())];
        let mut better = || {
            let (one, other) = (draw(), draw());
            if self.0.of(other) < self.0.of(one) {
                other
            } else {
                one
            }
        };
        if pods.is_empty() {
            return Vec::new();
        }
        (0..ATTEMPTS).map(|_| better()).collect()
    }

    fn apply(&mut self, event: &Event) {
        self.0.apply(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::Pods;

    fn chosen(policy: &mut dyn Policy, random: &mut Rng) -> PodId {
        let pods = Pods::new(2);
        let sight = Sight {
            now: Timestamp::from_nanos(1),
            pods: &pods,
        };
        policy.choose(&sight, random)[0]
    }

    #[test]
    fn handshakes_and_websockets_count_until_they_end() {
        let random = &mut Rng::with_seed(1);
        let mut least = LeastOwn::default();
        least.reset(&[PodId(0), PodId(1)], Timestamp::NEVER);
        let pod = PodId(0).address();
        least.apply(&Event::Chosen { pod });
        assert_eq!(chosen(&mut least, random), PodId(1));
        least.apply(&Event::Settled { pod });
        let at = Timestamp::from_nanos(1);
        least.apply(&Event::Opened { pod, at });
        assert_eq!(chosen(&mut least, random), PodId(1));
        least.apply(&Event::Closed { pod });
        let on_first = (0..1_000).filter(|_| chosen(&mut least, random) == PodId(0));
        assert!((400..600).contains(&on_first.count()), "nothing is left");
    }

    #[test]
    fn of_two_that_are_drawn_the_fuller_one_is_taken_only_if_drawn_twice() {
        let random = &mut Rng::with_seed(1);
        let mut policy = PowerOfTwo::default();
        policy.reset(&[PodId(0), PodId(1)], Timestamp::NEVER);
        let pod = PodId(0).address();
        let at = Timestamp::from_nanos(1);
        policy.apply(&Event::Opened { pod, at });
        let on_first = (0..4_000).filter(|_| chosen(&mut policy, random) == PodId(0));
        assert!((850..1_150).contains(&on_first.count()), "a quarter");
    }
}
