//! The even share: how many WebSockets each pod would hold if all were spread well.
//!
//! All connections are those that the pods are thought to hold, and those that rebalancing closed
//! and that are on their way back. They are filled in by weight, as water is into vessels: a pod
//! that reaches its limit takes no more, and the others share what is left. So a pod's share is
//! its weight times a level that is the same for all, or its limit where that is less.
//!
//! The pods that count are those that take new WebSockets, or would if they were not full. Of
//! these only the highest priority that is in use counts: pods of the others stand in, and what is
//! on them is not meant to stay.

use super::view::View;
use crate::num::approximate;
use crate::pod::{PodRecord, Priority};

/// How all connections would be spread evenly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvenShare {
    /// The priority that is in use; none where no pod takes part.
    priority: Option<Priority>,
    /// What a pod of weight 1 without a limit would hold; at least 0.
    level: f64,
    /// The largest estimate in proportion to its pod's share; none where nothing is open.
    imbalance: Option<f64>,
}

impl EvenShare {
    /// The even share of `pods`, while so many WebSockets of this gateway are `missing`: closed to
    /// rebalance, and not back yet.
    #[must_use]
    pub fn of(view: &View, pods: &[PodRecord], missing: u32) -> Self {
        let taking_part = || pods.iter().filter(|pod| view.state(pod).takes_part());
        let priority = taking_part().map(PodRecord::priority).min();
        let counted = || taking_part().filter(|pod| Some(pod.priority()) == priority);
        let held: f64 = counted().map(|pod| view.estimate(pod)).sum();
        let share = Self {
            priority,
            level: level(counted(), held + view.ratio * f64::from(missing)),
            imbalance: None,
        };
        let loads = counted().filter_map(|pod| share.load(view, pod));
        let imbalance = loads.reduce(f64::max);
        Self { imbalance, ..share }
    }

    /// The share of a pod.
    #[must_use]
    pub fn of_pod(&self, pod: &PodRecord) -> f64 {
        let limit = pod.limit().map_or(f64::MAX, approximate);
        (self.level * pod.weight()).min(limit)
    }

    /// Whether the pod has a part in the balance.
    #[must_use]
    pub fn counts(&self, view: &View, pod: &PodRecord) -> bool {
        Some(pod.priority()) == self.priority && view.state(pod).takes_part()
    }

    /// The estimate of a pod in proportion to its share; none where the pod has no part in the
    /// balance, and where its share is 0.
    #[must_use]
    pub fn load(&self, view: &View, pod: &PodRecord) -> Option<f64> {
        let share = self.of_pod(pod);
        (share > 0.0 && self.counts(view, pod)).then(|| view.estimate(pod) / share)
    }

    /// What a pod of weight 1 without a limit would hold.
    #[must_use]
    pub const fn level(&self) -> f64 {
        self.level
    }

    /// The largest estimate in proportion to its pod's share, 1 where all is even; none where
    /// nothing is open.
    #[must_use]
    pub const fn imbalance(&self) -> Option<f64> {
        self.imbalance
    }
}

/// The level at which `pods` hold `all` connections. Where they can't, all are at their limits,
/// and the level is the lowest at which they are.
fn level<'a>(pods: impl Iterator<Item = &'a PodRecord>, all: f64) -> f64 {
    let mut weights = 0.0;
    // The level at which a pod is full, and its weight.
    let mut limited: Vec<(f64, f64)> = Vec::new();
    for pod in pods {
        weights += pod.weight();
        if let Some(limit) = pod.limit() {
            limited.push((approximate(limit) / pod.weight(), pod.weight()));
        }
    }
    limited.sort_unstable_by(|(one, _), (other, _)| one.total_cmp(other));
    let mut left = all;
    let mut highest = 0.0;
    for (full_at, weight) in limited {
        if full_at * weights >= left {
            break;
        }
        left -= full_at * weight;
        weights -= weight;
        highest = full_at;
    }
    // What is left of the weights may be no more than what rounding left of them.
    let level = left.max(0.0) / weights;
    if level.is_finite() { level } else { highest }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use zerocopy::FromZeros;

    use super::*;
    use crate::load::fleet::Fleet;
    use crate::metric::Weight;
    use crate::pod::{Member, Reported};
    use crate::testing::address;
    use crate::testing::{NOW, RULES};

    fn view() -> View {
        View::new(RULES, &Fleet::new_zeroed(), NOW)
    }

    /// Pods that reported this.
    fn pods(reports: &[Reported]) -> Vec<PodRecord> {
        let record = |(n, report): (u8, &Reported)| {
            let mut record = PodRecord::new(address(n));
            record.set_member(&Member::new(address(n)));
            record.ask(NOW, NOW);
            record.answer(NOW, Ok(*report), None, false);
            record
        };
        (1..).zip(reports).map(record).collect()
    }

    fn holding(connections: u64, weight: f64, limit: Option<u64>) -> Reported {
        Reported {
            connections,
            weight: Weight::try_from(weight).ok(),
            limit,
            ..Reported::default()
        }
    }

    fn shares(reports: &[Reported], missing: u32) -> (Vec<f64>, Option<f64>) {
        let pods = pods(reports);
        let share = EvenShare::of(&view(), &pods, missing);
        let shares = pods.iter().map(|pod| share.of_pod(pod)).collect();
        (shares, share.imbalance())
    }

    #[test]
    fn without_limits_it_goes_by_weight() {
        let reports = [
            holding(60, 1.0, None),
            holding(0, 2.0, None),
            holding(0, 3.0, None),
        ];
        assert_eq!(shares(&reports, 0), (vec![10.0, 20.0, 30.0], Some(6.0)));
        assert_eq!(shares(&reports, 60).0, [20.0, 40.0, 60.0]);
    }

    #[test]
    fn what_a_pod_can_not_hold_the_others_share() {
        let reports = [
            holding(10, 1.0, Some(10)),
            holding(55, 1.0, None),
            holding(55, 1.0, Some(1_000)),
        ];
        assert_eq!(shares(&reports, 0), (vec![10.0, 55.0, 55.0], Some(1.0)));
    }

    #[test]
    fn where_all_are_full_each_has_its_limit() {
        let reports = [holding(10, 1.0, Some(5)), holding(10, 2.0, Some(20))];
        assert_eq!(shares(&reports, 0), (vec![5.0, 15.0], Some(2.0)));
        let reports = [holding(10, 1.0, Some(5)), holding(30, 2.0, Some(20))];
        assert_eq!(shares(&reports, 0), (vec![5.0, 20.0], Some(2.0)));
        assert_eq!(shares(&[holding(3, 1.0, Some(0))], 0), (vec![0.0], None));
        assert_eq!(shares(&[], 0), (vec![], None));
    }

    #[test]
    fn pods_that_take_no_part_do_not_count() {
        let mut pods = pods(&[holding(30, 1.0, None); 3]);
        let [first, stand_in, gone] = pods.as_mut_slice() else {
            unreachable!("there are three");
        };
        first.set_member(&Member::new(address(1)));
        stand_in.set_member(&Member {
            priority: Priority::new(1, false),
            ..Member::new(address(2))
        });
        gone.refuse(NOW.plus(Duration::from_secs(1)));
        let share = EvenShare::of(&view(), &pods, 0);
        assert_eq!(share.level(), 30.0);
        let counted: Vec<bool> = pods.iter().map(|pod| share.counts(&view(), pod)).collect();
        assert_eq!(counted, [true, false, false]);
    }

    proptest! {
        #[test]
        fn shares_add_up_to_all_or_to_all_that_fits(
            reports in prop::collection::vec(
                (0_u64..1_000, 1_u32..20, prop::option::of(0_u64..1_000)), 1..30),
            missing in 0_u32..100,
        ) {
            let reports: Vec<Reported> = reports
                .into_iter()
                .map(|(connections, weight, limit)| {
                    holding(connections, f64::from(weight) / 4.0, limit)
                })
                .collect();
            let (shares, _) = shares(&reports, missing);
            let all: f64 = reports.iter().map(|r| approximate(r.connections)).sum();
            let all = all + f64::from(missing);
            let fits: f64 = reports.iter().map(|r| r.limit.map_or(f64::MAX, approximate)).sum();
            let sum: f64 = shares.iter().sum();
            prop_assert!((sum - all.min(fits)).abs() < 1e-6 * all.max(1.0), "{} {} {}", sum, all, fits);
        }
    }
}
