//! Whether counts are needed before their time.
//!
//! A count is worth most within a burst, when others may have done much since the last one. The pods
//! are asked again where that could
//!
//! - move a pod against the others, by more than a WebSocket and more than a hundredth of the mean:
//!   where this gateway's changes are uneven, so are those that the others may have made;
//! - add a twentieth to all connections: somebody who goes by another rule need not be even;
//! - fill a pod that has room by all that was seen.
//!
//! How much others may have done says [`Fleet::uncertainty`](crate::load::fleet::Fleet). A gateway
//! that is known to be alone and steady ones have no reason to ask.
//!
//! The [bounds](BurstPolls) hold for these polls only. They leave the time of the next poll as it is.

use std::time::Duration;

use super::portion;
use crate::clock::Timestamp;
use crate::config::{BurstPolls, ServiceConfig};
use crate::load::View;
use crate::num::{approximate, approximate_signed};
use crate::pod::{PodAddress, PodRecord};
use crate::service::Service;
use crate::shell::Shell;
use crate::table::Table;

/// A gateway may ask so often, however many gateways there are.
const LONGEST_GAP: Duration = Duration::from_secs(2);
/// After fewer own opens a report could not tell who else is there.
const ENOUGH_OPENS: u32 = 12;
/// How far a pod may be moved against the others, in parts of the mean connections.
const TOLERANCE: f64 = 0.01;
/// What may be added to all connections, in parts of them.
const GROWTH: f64 = 0.05;

/// How often a worker that sends upgrades looks whether counts are needed before their time.
pub const EARLY_LOOK: Duration = Duration::from_millis(20);

/// After an upgrade at `now`: whether its worker is to ask at once. It looks once in [`EARLY_LOOK`],
/// so that a look is no part of what an upgrade costs.
pub fn look_early<S: Shell>(service: &Service<S>, now: Timestamp) -> bool {
    let looked_at = service.looked_at.get();
    if service.config.burst_polls.is_none() || now.since(looked_at) < EARLY_LOOK {
        return false;
    }
    service.looked_at.set(now);
    let table = service.table();
    service.is_current(&table) && is_due(&table, &service.config, now)
}

/// Whether the pods of a service are to be asked before their time.
#[must_use]
pub(super) fn is_due(table: &Table, service: &ServiceConfig, now: Timestamp) -> bool {
    let Some(bounds) = &service.burst_polls else {
        return false;
    };
    let pods = table.pods();
    if !opened_enough(pods) || is_late(table, service, now) {
        return false;
    }
    let asked = pods.iter().map(|pod| pod.poll().last_asked_at()).max();
    let Some(asked_at) = asked.filter(|asked_at| asked_at.happened()) else {
        return false;
    };
    asked_at.plus(gap(table, bounds)) <= now
        && matters(pods, &table.view(&service.rules, now), table.uncertainty())
}

/// Asks the pods, at most `most`, where they are to be asked before their time: those that answered
/// the last time, and were not asked since the round began at `began_at`. Those, and how many are
/// left.
pub(super) fn claim(
    table: &mut Table,
    began_at: Timestamp,
    most: usize,
) -> (Vec<PodAddress>, usize) {
    portion::ask(table, began_at, most, |pod| {
        let poll = pod.poll();
        let is_good = poll.succeeded_at().happened() && poll.failure() == 0;
        let is_left = !poll.is_under_way() && poll.last_asked_at() < began_at;
        (is_good && is_left).then_some(poll.due_at())
    })
}

fn opened_enough(pods: &[PodRecord]) -> bool {
    let opened = pods.iter().map(PodRecord::begun_since_report);
    opened.fold(0, u32::saturating_add) >= ENOUGH_OPENS
}

/// Whether counts have been seen to be late, so that they could not say anything.
fn is_late(table: &Table, service: &ServiceConfig, now: Timestamp) -> bool {
    let late_at = table.late_at();
    late_at.happened() && now.since(late_at) < service.rules.refresh_interval
}

/// How long to wait from one time to the next.
fn gap(table: &Table, bounds: &BurstPolls) -> Duration {
    let of_fleet = bounds.interval.as_secs_f64() * table.companions();
    let of_fleet = of_fleet.min(LONGEST_GAP.max(bounds.interval).as_secs_f64());
    let pods = table.pods();
    let polls = approximate(u64::try_from(pods.len()).unwrap_or(u64::MAX));
    let bytes: f64 = pods.iter().map(|pod| f64::from(pod.body_size())).sum();
    let gap = of_fleet
        .max(polls / bounds.per_second)
        .max(bytes / bounds.bytes_per_second);
    Duration::try_from_secs_f64(gap).unwrap_or(Duration::MAX)
}

/// Whether it matters what others may have done: `uncertainty` for each change of this gateway's.
fn matters(pods: &[PodRecord], view: &View, uncertainty: f64) -> bool {
    let taking_part = || pods.iter().filter(|pod| view.state(pod).takes_part());
    let change = |pod: &PodRecord| approximate_signed(pod.change());
    let (mut count, mut weights, mut changes, mut connections) = (0.0, 0.0, 0.0, 0.0);
    for pod in taking_part() {
        count += 1.0;
        weights += pod.weight();
        changes += change(pod);
        connections += approximate(pod.connections()) + change(pod);
    }
    if uncertainty * changes.abs() > (GROWTH * connections).max(count) {
        return true;
    }
    let level = changes / weights;
    let tolerance = (TOLERANCE * connections / count).max(1.0);
    taking_part().any(|pod| {
        let uneven = (change(pod) - level * pod.weight()).abs();
        uncertainty * uneven > tolerance || may_be_full(pod, view)
    })
}

/// Whether a pod has room by what was seen, and none by what others may have done.
fn may_be_full(pod: &PodRecord, view: &View) -> bool {
    pod.limit().is_some_and(|limit| {
        let limit = approximate(limit);
        view.occupancy(pod) < limit && view.estimate(pod) >= limit
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::pod::Reported;
    use crate::table::Event;
    use crate::testing::{NOW, address, report};

    fn service(options: &str) -> ServiceConfig {
        let json = format!(
            r#"{{"services": [{{"cluster": "chat", "endpoints": ["10.0.0.1:8080"]{options}}}]}}"#
        );
        let mut services = Config::parse(json.as_bytes()).unwrap().services;
        services.remove(0)
    }

    /// Some time after [`NOW`].
    fn after(millis: u64) -> Timestamp {
        NOW.plus(Duration::from_millis(millis))
    }

    struct Pods {
        service: ServiceConfig,
        table: Table,
    }

    impl Pods {
        /// Pods 1, 2, 3 … that report this at [`NOW`].
        fn reporting(reports: &[Reported]) -> Self {
            let pods: Vec<PodAddress> = (1..).map(address).take(reports.len()).collect();
            let mut table = Table::new(&pods);
            for (&pod, &reported) in pods.iter().zip(reports) {
                report(&mut table, pod, NOW, reported);
            }
            Self {
                service: service(""),
                table,
            }
        }

        fn holding(counts: &[u64]) -> Self {
            let reports: Vec<Reported> = counts.iter().copied().map(Reported::of).collect();
            Self::reporting(&reports)
        }

        fn open(&mut self, n: u8, count: u32) {
            for _ in 0..count {
                let pod = address(n);
                self.table
                    .apply(&self.service.rules, &[Event::Opened { pod, at: NOW }]);
            }
        }

        fn claim(&mut self, now: Timestamp) -> Vec<PodAddress> {
            if is_due(&self.table, &self.service, now) {
                claim(&mut self.table, now, usize::MAX).0
            } else {
                Vec::new()
            }
        }

        fn is_due(&self, millis: u64) -> bool {
            is_due(&self.table, &self.service, after(millis))
        }

        /// All pods that are asked early report what they have.
        fn poll(&mut self, millis: u64, counts: &[u64]) -> usize {
            let now = after(millis);
            let asked = self.claim(now);
            for (n, &count) in (1..).zip(counts) {
                let answer = Event::Answered {
                    pod: address(n),
                    asked_at: now,
                    outcome: Ok(Reported::of(count)),
                };
                self.table.apply(&self.service.rules, &[answer]);
            }
            asked.len()
        }
    }

    #[test]
    fn a_burst_beside_connections_of_others_needs_counts() {
        let mut pods = Pods::holding(&[200, 0, 0, 0]);
        pods.open(2, 11);
        assert!(!pods.is_due(1_000), "too few to tell anything");
        pods.open(3, 1);
        assert!(!pods.is_due(249), "they have just been asked");
        assert!(pods.is_due(250));
        assert_eq!(pods.poll(250, &[200, 11, 1, 0]), 4);
        assert!(!pods.is_due(5_000), "nothing has happened since");
    }

    #[test]
    fn who_opened_all_there_is_needs_none() {
        let mut pods = Pods::holding(&[0, 0]);
        pods.open(1, 100);
        assert!(!pods.is_due(5_000));
    }

    #[test]
    fn the_time_of_the_next_poll_stays() {
        let mut pods = Pods::holding(&[200, 0, 0, 0]);
        let due_at = |pods: &Pods| pods.table.pods()[0].poll().due_at();
        let before = due_at(&pods);
        pods.open(2, 12);
        assert_eq!(pods.poll(300, &[200, 12, 0, 0]), 4);
        assert_eq!(due_at(&pods), before);
    }

    #[test]
    fn an_even_change_of_many_needs_none() {
        let mut pods = Pods::holding(&[1_000; 4]);
        for n in 1..=4 {
            pods.open(n, 10);
        }
        assert!(!pods.is_due(5_000));
        pods.open(1, 20);
        assert!(pods.is_due(5_000), "it is uneven");
    }

    #[test]
    fn a_change_of_all_by_a_twentieth_needs_counts_even_where_it_is_even() {
        let mut pods = Pods::holding(&[400; 4]);
        for n in 1..=4 {
            pods.open(n, 10);
        }
        assert!(!pods.is_due(5_000));
        for n in 1..=4 {
            pods.open(n, 4);
        }
        assert!(pods.is_due(5_000));
    }

    #[test]
    fn who_is_alone_and_busy_needs_none() {
        let mut pods = Pods::holding(&[2_000; 4]);
        for n in 1..=4 {
            pods.open(n, 500);
        }
        assert_eq!(pods.poll(1_000, &[2_500; 4]), 4);
        for n in 1..=4 {
            pods.open(n, 500);
        }
        assert!(!pods.is_due(5_000), "nobody else was there in 2,000 opens");
    }

    #[test]
    fn what_others_may_have_filled_is_asked() {
        let limited = Reported {
            limit: Some(1_020),
            ..Reported::of(1_000)
        };
        let mut pods = Pods::reporting(&[limited, Reported::of(3_000)]);
        // Others open twice as many.
        for (n, count) in [(1, 20), (2, 20)] {
            pods.open(n, count);
        }
        let rules = pods.service.rules;
        let limited = Reported {
            limit: Some(1_120),
            ..Reported::of(1_060)
        };
        for (n, reported) in [(1, limited), (2, Reported::of(3_060))] {
            report(&mut pods.table, address(n), after(1), reported);
        }
        assert!(pods.table.view(&rules, NOW).ratio > 1.5);
        pods.open(1, 8);
        pods.open(2, 8);
        assert!(!pods.is_due(800));
        pods.open(1, 20);
        pods.open(2, 20);
        assert!(pods.is_due(800));
    }

    #[test]
    fn it_can_be_turned_off() {
        let mut pods = Pods::holding(&[200, 0, 0, 0]);
        pods.open(2, 50);
        assert!(pods.is_due(1_000));
        pods.service = service(r#", "burstInterval": 0"#);
        assert!(!pods.is_due(1_000));
    }

    #[test]
    fn many_pods_and_large_bodies_are_asked_less_often() {
        let mut counts = vec![0; 100];
        counts[0] = 2_000;
        let mut pods = Pods::holding(&counts);
        pods.open(2, 50);
        assert!(!pods.is_due(499));
        assert!(pods.is_due(500), "100 polls, 200 a second");
        let large = Reported {
            body_size: 1_000_000,
            ..Reported::of(20)
        };
        let mut pods = Pods::reporting(&[large; 3]);
        pods.open(2, 50);
        assert!(!pods.is_due(1_499));
        assert!(pods.is_due(1_500), "3 MB, 2 MB a second");
    }

    #[test]
    fn who_has_companions_asks_less_often() {
        let mut pods = Pods::holding(&[200, 0, 0, 0]);
        pods.open(2, 20);
        assert_eq!(pods.poll(300, &[200, 80, 0, 0]), 4);
        pods.open(3, 20);
        // Three others: four gateways ask.
        assert!(!pods.is_due(1_200));
        assert!(pods.is_due(1_300));
    }

    #[test]
    fn a_pod_that_does_not_answer_is_left_alone() {
        let mut pods = Pods::holding(&[200, 0, 0, 0]);
        pods.open(2, 20);
        let now = after(300);
        assert_eq!(pods.claim(now).len(), 4);
        let failed = Event::Answered {
            pod: address(1),
            asked_at: now,
            outcome: Err(crate::metric::PollFailure::NoAnswer),
        };
        pods.table.apply(&pods.service.rules, &[failed]);
        let later = after(600);
        assert_eq!(
            pods.claim(later).len(),
            0,
            "one failed, three are under way"
        );
    }

    #[test]
    fn late_counts_change_nothing_and_are_not_asked_for_again() {
        let mut pods = Pods::holding(&[200, 0, 0, 0]);
        pods.open(2, 20);
        assert_eq!(pods.poll(300, &[200, 0, 0, 0]), 4);
        let pod = pods.table.pod(address(2)).unwrap();
        assert_eq!((pod.connections(), pod.change()), (0, 20));
        pods.open(2, 20);
        assert!(!pods.is_due(5_299));
        assert!(pods.is_due(5_300));
    }
}
