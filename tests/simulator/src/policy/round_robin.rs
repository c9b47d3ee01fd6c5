//! One pod after the other.

use fastrand::Rng;
use wsbalancer::clock::Timestamp;
use wsbalancer::table::Event;

use super::{ATTEMPTS, Policy, Sight};
use crate::pods::PodId;

#[derive(Default)]
pub(super) struct RoundRobin {
    pods: Vec<PodId>,
    /// Whose turn it is; none before the first, which is drawn, as Envoy does.
    next: Option<usize>,
}

impl Policy for RoundRobin {
    fn reset(&mut self, pods: &[PodId], _now: Timestamp) {
        self.pods = pods.to_vec();
    }

    fn choose(&mut self, _sight: &Sight<'_>, random: &mut Rng) -> Vec<PodId> {
        let next = self
            .next
            .unwrap_or_else(|| random.usize(..self.pods.len().max(1)));
        self.next = Some((next + 1) % self.pods.len().max(1));
        let from_next = self.pods.iter().copied().cycle().skip(next);
        from_next.take(ATTEMPTS.min(self.pods.len())).collect()
    }

    fn apply(&mut self, _event: &Event) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::Pods;

    #[test]
    fn everyone_has_a_turn() {
        let pods = Pods::new(4);
        let sight = Sight {
            now: Timestamp::from_nanos(1),
            pods: &pods,
        };
        let random = &mut Rng::with_seed(1);
        let mut policy = RoundRobin::default();
        policy.reset(&[0, 1, 2, 3].map(PodId), Timestamp::NEVER);
        let mut chosen: Vec<Vec<PodId>> = Vec::new();
        for _ in 0..4 {
            chosen.push(policy.choose(&sight, random));
        }
        for (pods, next) in chosen.iter().zip(&chosen[1..]) {
            assert_eq!(pods[1], next[0], "who is next is tried next");
        }
        let mut firsts: Vec<PodId> = chosen.iter().map(|pods| pods[0]).collect();
        firsts.sort_unstable();
        assert_eq!(firsts, [0, 1, 2, 3].map(PodId));
    }
}
