//! Which pods get the next WebSocket: the usable ones with the smallest estimates, best first.
//! Pods of a later tier follow those of the tiers before it, whatever their estimates.
//!
//! Pure: the table, the time and the random source come in as arguments. One pass over the
//! pods, no sorting: with n pods and k places it costs n comparisons and about k ln n moves.

use fastrand::Rng;

use crate::clock::Timestamp;
use crate::pod::PodAddress;
use crate::table::{Pod, Standing, Trust};

/// A pod and the number of WebSockets it is thought to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The pod.
    pub pod: PodAddress,
    /// See [`Pod::estimate`].
    pub estimate: u64,
}

/// The `places` usable pods with the smallest estimates, smallest first, tier by tier. Ties are
/// broken at random, each order of the tied pods being as likely as any other.
#[must_use]
pub fn rank(
    pods: &[Pod],
    places: usize,
    trust: Trust,
    now: Timestamp,
    random: &mut Rng,
) -> Vec<Candidate> {
    // Lower is better: the tier, the estimate, the lot.
    let mut best: Vec<((u16, u64), u32, &Pod)> = Vec::with_capacity(places.saturating_add(1));
    for pod in pods {
        let merit = (pod.tier(), pod.estimate());
        let beaten = |&(worst, ..): &((u16, u64), u32, &Pod)| best.len() >= places && merit > worst;
        if best.last().is_some_and(beaten) || pod.standing(trust, now) != Standing::Usable {
            continue;
        }
        let key = (merit, random.u32(..));
        let place = best.partition_point(|&(merit, lot, _)| (merit, lot) < key);
        best.insert(place, (key.0, key.1, pod));
        best.truncate(places);
    }
    best.into_iter()
        .map(|((_, estimate), _, pod)| Candidate {
            pod: pod.address(),
            estimate,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fastrand::Rng;
    use proptest::prelude::*;

    use super::*;
    use crate::discovery::Listed;
    use crate::pod::tests::address;
    use crate::table::{Event, Table};

    const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);
    const TRUST: Trust = Trust {
        cache_ttl: Duration::from_secs(30),
        unhealthy_threshold: 3,
    };

    /// Pods 1, 2, 3 … that reported these counts just now; none: never answered.
    fn table(counts: &[Option<u64>]) -> Table {
        let pods: Vec<PodAddress> = (1..).map(address).take(counts.len()).collect();
        let mut table = Table::new(&pods);
        for (index, (&pod, count)) in pods.iter().zip(counts).enumerate() {
            if let &Some(count) = count {
                table.pods_mut()[index].ask(NOW, NOW);
                table.apply(&[Event::Answered {
                    pod,
                    asked_at: NOW,
                    outcome: Ok(count),
                }]);
            }
        }
        table
    }

    fn ranked(counts: &[Option<u64>], places: usize, seed: u64) -> Vec<Candidate> {
        let random = &mut Rng::with_seed(seed);
        rank(table(counts).pods(), places, TRUST, NOW, random)
    }

    fn pods(candidates: &[Candidate]) -> Vec<PodAddress> {
        candidates.iter().map(|candidate| candidate.pod).collect()
    }

    #[test]
    fn the_fewest_come_first() {
        let best = ranked(&[Some(5), Some(1), None, Some(3), Some(9)], 3, 0);
        assert_eq!(pods(&best), [address(2), address(4), address(1)]);
        assert_eq!(best[0].estimate, 1);
    }

    #[test]
    fn without_a_usable_pod_nobody_is_named() {
        assert_eq!(ranked(&[None, None], 3, 0), []);
        assert_eq!(ranked(&[], 3, 0), []);
    }

    #[test]
    fn a_later_tier_follows_whatever_its_estimates() {
        let mut table = table(&[Some(50), Some(0), Some(40)]);
        let tiers = [0, 2, 0];
        let listed: Vec<Listed> = (1..)
            .zip(tiers)
            .map(|(n, tier)| Listed {
                pod: address(n),
                exclusion: None,
                tier,
            })
            .collect();
        table.assign(&listed);
        let best = rank(table.pods(), 3, TRUST, NOW, &mut Rng::with_seed(0));
        assert_eq!(pods(&best), [address(3), address(1), address(2)]);
    }

    #[test]
    fn ties_are_broken_evenly() {
        let mut wins = [0_u32; 4];
        for seed in 0..4_000 {
            let best = ranked(&[Some(7); 4], 1, seed);
            let winner = (1..5).position(|n| best[0].pod == address(n)).unwrap();
            wins[winner] += 1;
        }
        for won in wins {
            // 1,000 expected; six standard deviations are 164.
            assert!((836..1_164).contains(&won), "{wins:?}");
        }
    }

    #[test]
    fn a_burst_between_two_polls_spreads_evenly() {
        let mut table = table(&[Some(0); 8]);
        let random = &mut Rng::with_seed(1);
        for _ in 0..2_000 {
            let best = rank(table.pods(), 1, TRUST, NOW, random);
            table.apply(&[Event::Chosen { pod: best[0].pod }]);
        }
        let estimates: Vec<u64> = table.pods().iter().map(Pod::estimate).collect();
        assert_eq!(estimates, [250; 8]);
    }

    proptest! {
        #[test]
        fn it_is_the_head_of_the_sorted_list(
            counts in prop::collection::vec(prop::option::of(0_u64..20), 0..60),
            places in 1_usize..6,
            seed in any::<u64>(),
        ) {
            let best = ranked(&counts, places, seed);
            let mut sorted: Vec<u64> = counts.iter().flatten().copied().collect();
            sorted.sort_unstable();
            sorted.truncate(places);
            prop_assert_eq!(best.iter().map(|c| c.estimate).collect::<Vec<_>>(), sorted);
            let mut distinct = pods(&best);
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), best.len());
        }
    }
}
