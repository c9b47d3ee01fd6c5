//! Which pods get the next WebSocket: the usable ones with the smallest load, best first. Pods of
//! a lower priority follow those of a higher one, whatever they hold.
//!
//! Pods in doubt follow those of which nothing is known to be wrong, then those that refuse, and at last
//! those that are ejected: no such pod makes a set of pods empty. One that has failed a
//! [handshake](super::passive_health) lets others go first but for a part of the time.
//!
//! A load is the estimate for each unit of the pod's weight, with the next WebSocket in it, as
//! weighted least connections has it: with nothing open, the pod of the largest weight comes
//! first. A pod in its [slow start](super::slow_start) lets others go first as often as its factor
//! says.
//!
//! Pure: the records, the view and the random source come in as arguments. One pass over the
//! pods, no sorting: with n pods and k places it costs n comparisons and about k ln n moves.

use std::cmp::Ordering;

use fastrand::Rng;

use super::loads::{Known, Loads};
use super::passive_health::{CHANCE, Health};
use super::pod_state::{PodState, Standing};
use super::view::View;
use crate::pod::{PodAddress, PodRecord, Priority};

/// What decides between pods, one after the other: the least comes first.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    standing: Standing,
    priority: Priority,
    /// Whether the pod lets others go first: in its slow start, or after a failed handshake.
    holds_back: bool,
    /// See [`View::load_with_one_more`].
    connections: f64,
    /// Random: each order of pods that are alike is as likely as any other.
    tie_breaker: u32,
}

impl Load {
    /// The least that the load of a pod in this health can be, of which this is known. One that is to
    /// be tried is so by the next, whatever it holds.
    const fn at_least(known: Known, health: Health) -> Self {
        let connections = match health {
            Health::Probing => 0.0,
            Health::Good | Health::Suspect | Health::Ejected => known.connections,
        };
        Self {
            standing: Standing::Sound,
            priority: known.priority,
            holds_back: false,
            connections,
            tie_breaker: 0,
        }
    }

    /// The load of a pod of which nothing else decides.
    fn of_sound(known: Known, random: &mut Rng) -> Self {
        Self {
            tie_breaker: random.u32(..),
            ..Self::at_least(known, Health::Good)
        }
    }

    /// Whether a pod comes after this one by what is known of it, whatever else there is.
    fn beats(&self, known: &Known) -> bool {
        known.connections > self.connections
            && known.priority >= self.priority
            && !known.has_failed
            && self.standing == Standing::Sound
            && !self.holds_back
    }

    /// The load itself, with what is random in it.
    fn drawn(
        self,
        view: &View,
        (pod, standing): (&PodRecord, Standing),
        health: Health,
        random: &mut Rng,
    ) -> Self {
        let slow_start = view.slow_start(pod);
        let is_slow = slow_start.is_some_and(|factor| random.f64() >= factor);
        let mut is_picked = || random.f64() < CHANCE;
        let (standing, holds_back) = match health {
            Health::Suspect => {
                let may_try = view.has_room_to_fail(pod) && is_picked();
                (standing, is_slow || !may_try)
            }
            Health::Probing if is_picked() => (standing, false),
            Health::Probing => (Standing::Failing, false),
            Health::Good | Health::Ejected => (standing, is_slow),
        };
        Self {
            standing,
            holds_back,
            tie_breaker: random.u32(..),
            ..self
        }
    }
}

impl Ord for Load {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.standing, self.priority, self.holds_back)
            .cmp(&(other.standing, other.priority, other.holds_back))
            .then(self.connections.total_cmp(&other.connections))
            .then(self.tie_breaker.cmp(&other.tie_breaker))
    }
}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Load {}

/// A pod that may serve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// The pod.
    pub pod: PodAddress,
    /// See [`View::estimate`].
    pub estimate: f64,
    /// By what it was ranked.
    pub load: Load,
}

/// The usable pods that were found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking {
    /// The best of them, best first.
    pub best: Vec<Ranked>,
    /// Whether there are pods that would be usable if they were not full.
    pub some_are_full: bool,
    /// Whether there are pods that are not usable because too little is known of them.
    pub some_are_unknown: bool,
}

/// The `places` best pods.
#[must_use]
pub fn rank(pods: &[PodRecord], places: usize, view: &View, random: &mut Rng) -> Ranking {
    rank_by(&mut Loads::default(), pods, places, view, random)
}

/// The same, with `loads` of these pods that may be known.
pub fn rank_by(
    loads: &mut Loads,
    pods: &[PodRecord],
    places: usize,
    view: &View,
    random: &mut Rng,
) -> Ranking {
    let (mut some_are_full, mut some_are_unknown) = (false, false);
    let mut best: Vec<(Load, &PodRecord)> = Vec::with_capacity(places.saturating_add(1));
    // The last of the best, once all places are taken.
    let mut worst: Option<Load> = None;
    for (pod, place) in pods.iter().zip(loads.places(view, pods.len())) {
        // Most pods are out by their connections alone, and of most these are known.
        let is_out = |known: &Known| worst.as_ref().is_some_and(|worst| worst.beats(known));
        if is_out(place) {
            continue;
        }
        let known = place.of(pod, view);
        if is_out(&known) {
            continue;
        }
        let load = if known.is_sound(view.now) {
            Load::of_sound(known, random)
        } else {
            let health = view.health(pod);
            let at_least = Load::at_least(known, health);
            if worst.is_some_and(|worst| at_least > worst) {
                continue;
            }
            let state = view.state(pod);
            match state {
                PodState::Usable | PodState::Refusing | PodState::Failing => {}
                PodState::Full => {
                    some_are_full = true;
                    continue;
                }
                PodState::Unknown | PodState::Stale | PodState::Unhealthy => {
                    some_are_unknown = true;
                    continue;
                }
                PodState::Draining | PodState::Excluded(_) => continue,
            }
            let Some(standing) = state.standing(pod, health) else {
                continue;
            };
            at_least.drawn(view, (pod, standing), health, random)
        };
        if worst.is_some_and(|worst| load >= worst) {
            continue;
        }
        let place = best.partition_point(|(other, _)| *other < load);
        best.insert(place, (load, pod));
        best.truncate(places);
        worst = best.get(places.saturating_sub(1)).map(|(load, _)| *load);
    }
    let ranked = |(load, pod): (Load, &PodRecord)| Ranked {
        pod: pod.address(),
        estimate: view.estimate(pod),
        load,
    };
    Ranking {
        best: best.into_iter().map(ranked).collect(),
        some_are_full,
        some_are_unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fastrand::Rng;
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Rules, SlowStart};
    use crate::metric::Weight;
    use crate::num::approximate;
    use crate::pod::{Member, Reported};
    use crate::table::{Event, Table};
    use crate::testing::address;
    use crate::testing::{NOW, RULES, report};

    /// Pods 1, 2, 3 … that reported this just now; none: never answered.
    fn reported(reports: &[Option<Reported>]) -> Table {
        let pods: Vec<PodAddress> = (1..).map(address).take(reports.len()).collect();
        let mut table = Table::new(&pods);
        for (&pod, reported) in pods.iter().zip(reports) {
            if let &Some(reported) = reported {
                report(&mut table, pod, NOW, reported);
            }
        }
        table
    }

    fn table(counts: &[Option<u64>]) -> Table {
        let reports: Vec<_> = counts.iter().map(|count| count.map(Reported::of)).collect();
        reported(&reports)
    }

    fn rank_with(table: &Table, rules: Rules, places: usize, random: &mut Rng) -> Ranking {
        rank(table.pods(), places, &table.view(&rules, NOW), random)
    }

    fn best_of(table: &Table, places: usize, seed: u64) -> Vec<Ranked> {
        rank_with(table, RULES, places, &mut Rng::with_seed(seed)).best
    }

    fn ranked(counts: &[Option<u64>], places: usize, seed: u64) -> Vec<Ranked> {
        best_of(&table(counts), places, seed)
    }

    /// WebSockets for the pods of `table`, one after the other; how many each holds afterwards.
    fn filled(table: &mut Table, websockets: u32) -> Vec<f64> {
        let random = &mut Rng::with_seed(1);
        for _ in 0..websockets {
            let best = rank_with(table, RULES, 1, random).best;
            table.apply(&RULES, &[Event::Chosen { pod: best[0].pod }]);
        }
        let view = table.view(&RULES, NOW);
        table.pods().iter().map(|pod| view.estimate(pod)).collect()
    }

    fn pods(best: &[Ranked]) -> Vec<PodAddress> {
        best.iter().map(|ranked| ranked.pod).collect()
    }

    #[test]
    fn the_fewest_come_first() {
        let best = ranked(&[Some(5), Some(1), None, Some(3), Some(9)], 3, 0);
        assert_eq!(pods(&best), [address(2), address(4), address(1)]);
        assert_eq!(best[0].estimate, 1.0);
    }

    #[test]
    fn without_a_usable_pod_nobody_is_named() {
        assert_eq!(ranked(&[None, None], 3, 0), []);
        assert_eq!(ranked(&[], 3, 0), []);
    }

    #[test]
    fn a_lower_priority_follows_whatever_its_estimates() {
        let mut table = table(&[Some(50), Some(0), Some(40)]);
        let levels = [0, 1, 0];
        let members: Vec<Member> = (1..)
            .zip(levels)
            .map(|(n, level)| Member {
                priority: Priority::new(level, false),
                ..Member::new(address(n))
            })
            .collect();
        table.reset(&members, &RULES, NOW);
        let best = best_of(&table, 3, 0);
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
        assert_eq!(filled(&mut table(&[Some(0); 8]), 2_000), [250.0; 8]);
    }

    fn weighing(weight: f64) -> Reported {
        Reported {
            weight: Weight::try_from(weight).ok(),
            ..Reported::default()
        }
    }

    #[test]
    fn websockets_are_as_the_weights() {
        let mut weighted = reported(&[1.0, 2.0, 4.0].map(|weight| Some(weighing(weight))));
        assert_eq!(
            pods(&best_of(&weighted, 1, 0)),
            [address(3)],
            "with none open"
        );
        assert_eq!(filled(&mut weighted, 700), [100.0, 200.0, 400.0]);
        let mut fractions = reported(&[0.25, 0.75].map(|weight| Some(weighing(weight))));
        assert_eq!(filled(&mut fractions, 1_000), [250.0, 750.0]);
    }

    fn limited(count: u64, limit: u64) -> Reported {
        Reported {
            limit: Some(limit),
            ..Reported::of(count)
        }
    }

    #[test]
    fn a_full_pod_gets_nothing() {
        let mut table = reported(&[Some(limited(5, 10)), Some(Reported::of(50))]);
        assert_eq!(filled(&mut table, 20), [10.0, 65.0]);
        let ranking = rank_with(&table, RULES, 2, &mut Rng::with_seed(0));
        assert_eq!(pods(&ranking.best), [address(2)]);
        assert!(ranking.some_are_full && !ranking.some_are_unknown);
        let all_full = reported(&[Some(limited(10, 10)), Some(limited(7, 0))]);
        let ranking = rank_with(&all_full, RULES, 2, &mut Rng::with_seed(0));
        assert_eq!((ranking.best, ranking.some_are_full), (vec![], true));
        assert!(!ranking.some_are_unknown);
        let one_is_unknown = reported(&[Some(limited(10, 10)), None]);
        let ranking = rank_with(&one_is_unknown, RULES, 2, &mut Rng::with_seed(0));
        assert!(ranking.some_are_full && ranking.some_are_unknown);
        let unknown = reported(&[None, None]);
        let ranking = rank_with(&unknown, RULES, 2, &mut Rng::with_seed(0));
        assert_eq!((ranking.best, ranking.some_are_full), (vec![], false));
    }

    const SLOW: Rules = Rules {
        slow_start: Some(SlowStart {
            window: Duration::from_secs(100),
            aggression: 1.0,
            min_weight_percent: 10.0,
        }),
        ..RULES
    };

    /// How often the first of three pods, empty and started `seconds` ago, is the best.
    fn share_of_new_pod(seconds: u64, others_too: bool) -> f64 {
        let table = table(&[Some(0), Some(50), Some(50)]);
        let now = NOW.plus(Duration::from_secs(seconds));
        let mut pods = table.pods().to_vec();
        for pod in pods.iter_mut().take(if others_too { 3 } else { 1 }) {
            pod.start(NOW);
        }
        let rules = Rules {
            cache_ttl: Duration::from_secs(1_000),
            ..SLOW
        };
        let view = table.view(&rules, now);
        let random = &mut Rng::with_seed(3);
        let won = (0..10_000).filter(|_| {
            let best = rank(&pods, 2, &view, random).best;
            assert_eq!(best.len(), 2, "who lets others go first is not left out");
            best[0].pod == address(1)
        });
        f64::from(u32::try_from(won.count()).unwrap()) / 10_000.0
    }

    #[test]
    fn a_pod_in_its_slow_start_gets_its_part() {
        for (seconds, expect) in [(0, 0.1), (5, 0.1), (50, 0.5), (90, 0.9)] {
            let share = share_of_new_pod(seconds, false);
            // Five standard deviations.
            assert!((share - expect).abs() < 0.025, "{seconds} s: {share}");
        }
        assert_eq!(share_of_new_pod(100, false), 1.0);
    }

    /// If the first holds back, it still comes first where the others do so too.
    #[test]
    fn where_all_start_the_fewest_still_come_first() {
        let share = share_of_new_pod(50, true);
        let expect = 0.5 + 0.5_f64.powi(3);
        assert!((share - expect).abs() < 0.025, "{share}");
    }

    proptest! {
        /// As many gateways as the ratio says, with the same reports: together they fill the pods
        /// as water does, each its part.
        #[test]
        fn gateways_that_are_alike_divide_the_labour(
            counts in prop::collection::vec(0_u64..500, 1..8),
            gateways in 1_u32..6,
            opens in 0_u32..200,
        ) {
            let counts: Vec<Option<u64>> = counts.into_iter().map(Some).collect();
            let mut totals: Vec<f64> = counts.iter().flatten().copied().map(approximate).collect();
            let before = totals.clone();
            for gateway in 0..gateways {
                let mut table = table(&counts);
                let random = &mut Rng::with_seed(gateway.into());
                for _ in 0..opens {
                    let view = View { ratio: gateways.into(), ..table.view(&RULES, NOW) };
                    let pod = rank(table.pods(), 1, &view, random).best[0].pod;
                    table.apply(&RULES, &[Event::Chosen { pod }]);
                }
                for (total, pod) in totals.iter_mut().zip(table.pods()) {
                    *total += f64::from(pod.in_flight());
                }
            }
            let level = totals.iter().copied().fold(f64::INFINITY, f64::min);
            for (total, before) in totals.iter().zip(before) {
                let is_filled = *total > before;
                // Each may be one ahead.
                prop_assert!(!is_filled || *total <= level + 2.0 * f64::from(gateways), "{:?}", totals);
            }
        }

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
            let sorted: Vec<f64> = sorted.into_iter().map(approximate).collect();
            prop_assert_eq!(best.iter().map(|c| c.estimate).collect::<Vec<_>>(), sorted);
            let mut distinct = pods(&best);
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), best.len());
        }
    }
}
