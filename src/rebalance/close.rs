//! Closing what the plan allows, at the allowed pace.

use std::time::Duration;

use super::plan::{Overload, plan};
use crate::clock::Timestamp;
use crate::config::Rebalance;
use crate::load::View;
use crate::service::{HeldWebSockets, Service};
use crate::shell::Shell;
use crate::table::Table;

/// For so long at the full rate WebSockets may be closed that do not come back.
const PATIENCE: Duration = Duration::from_secs(10);

/// Envoy ends the streams one within the other: some thousands at once would exhaust the stack, and
/// take the VM down with all its WebSockets.
pub const MOST_AT_ONCE: usize = 50;

/// A WebSocket of this worker that is to be closed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Closing {
    /// Its pod.
    pub overload: Overload,
    /// Since when it is open.
    pub since: Timestamp,
    /// Its context.
    pub context_id: u32,
}

/// The contexts whose WebSockets this worker is to close now, at most `most`. They are counted as
/// closed already.
pub fn close<S: Shell>(service: &Service<S>, now: Timestamp, most: usize) -> Vec<u32> {
    let Some(rebalance) = &service.config.rebalance else {
        return Vec::new();
    };
    let table = service.table();
    let plan = plan(&table, &service.view(&table, now), rebalance);
    if plan.overloads.is_empty() {
        return Vec::new();
    }
    let closing = service.update(|table| {
        let view = service.view(table, now);
        claim(table, &view, rebalance, &service.held, most)
    });
    let closing = closing.unwrap_or_default();
    for closing in &closing {
        forget(service, closing, now);
    }
    closing.iter().map(|closing| closing.context_id).collect()
}

/// Takes what may be closed now of the WebSockets that this worker has, at most `most`, and counts
/// them as closed.
pub fn claim(
    table: &mut Table,
    view: &View,
    rebalance: &Rebalance,
    held: &HeldWebSockets,
    most: usize,
) -> Vec<Closing> {
    if !table.is_settled(view.now, view.rules.refresh_interval) {
        return Vec::new();
    }
    let plan = plan(table, view, rebalance);
    let rate = rebalance.max_per_second * plan.part;
    let Ok(spacing) = Duration::try_from_secs_f64(1.0 / rate) else {
        return Vec::new();
    };
    let most_missing = (rate * PATIENCE.as_secs_f64()).max(1.0);
    let Some(until) = view.now.minus(rebalance.min_age) else {
        return Vec::new();
    };
    let mut claimed = Vec::new();
    for overload in plan.overloads {
        for (since, context_id) in held.oldest(overload.pod, until, overload.excess) {
            let is_enough = claimed.len() >= most;
            if is_enough || !table.close_to_rebalance(overload.pod, view.now, spacing, most_missing)
            {
                return claimed;
            }
            claimed.push(Closing {
                overload,
                since,
                context_id,
            });
        }
    }
    claimed
}

fn forget<S: Shell>(service: &Service<S>, closing: &Closing, now: Timestamp) {
    let Closing {
        overload,
        since,
        context_id,
    } = *closing;
    service.held.remove(overload.pod, since, context_id);
    service.count(service.statistics.websockets_rebalanced);
    log::info!(
        "cluster {}: closes a WebSocket of {:.0} s on pod {}, which holds {:.0} where {:.0} are \
         even",
        service.config.cluster,
        now.since(since).as_secs_f64(),
        overload.pod,
        overload.estimate,
        overload.even_share
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::metric::PollFailure;
    use crate::pod::{PodAddress, PodRecord, Reported};
    use crate::rebalance::plan::Plan;
    use crate::service::Service;
    use crate::table::Event;
    use crate::testing::FakeHost;
    use crate::testing::address;

    const START: Timestamp = Timestamp::from_nanos(1_000_000_000_000);
    const TICK: Duration = Duration::from_millis(250);

    /// Eight pods of which the first four hold 500 WebSockets of this gateway, and one worker.
    struct Scene {
        service: Service<FakeHost>,
        now: Timestamp,
        contexts: u32,
        /// What the pods hold.
        truth: [u64; 8],
        closed: Vec<(Duration, usize)>,
    }

    impl Scene {
        fn new(rebalance: &str) -> Self {
            let endpoints: Vec<String> = (1..=8).map(|n| format!("{:?}", name(n))).collect();
            let json = format!(
                r#"{{"services": [{{"cluster": "chat", "endpoints": [{}]}}], "cacheTTL": "1h",
                    "rebalance": {rebalance}}}"#,
                endpoints.join(",")
            );
            let mut config = Config::parse(json.as_bytes()).unwrap();
            let service = Service::open(FakeHost::default(), config.services.remove(0));
            let mut scene = Self {
                service,
                now: START,
                contexts: 0,
                truth: [0; 8],
                closed: Vec::new(),
            };
            scene.report(|_| Reported::default());
            for pod in 0..4 {
                for _ in 0..500 {
                    scene.open(pod);
                }
            }
            scene.report(|_| Reported::default());
            scene
        }

        fn record(&self, pod: usize, event: fn(PodAddress) -> Event) {
            self.service.record(&[event(address_of(pod))]);
        }

        fn open(&mut self, pod: usize) {
            self.contexts += 1;
            self.truth[pod] += 1;
            self.record(pod, |pod| Event::Opened { pod, at: START });
            let held = &self.service.held;
            held.insert(address_of(pod), self.now, self.contexts);
        }

        /// Every pod says the truth, and what else it is to say.
        fn report(&self, says: impl Fn(usize) -> Reported) {
            self.ask();
            self.answer(self.now, |pod| Reported {
                connections: self.truth[pod],
                ..says(pod)
            });
        }

        /// Asks all pods now.
        fn ask(&self) {
            let asked = self
                .service
                .update(|table| table.ask(self.now, |_| Some(self.now)));
            assert_eq!(asked.unwrap().len(), 8);
        }

        /// All pods answer what they were asked at `asked_at`.
        fn answer(&self, asked_at: Timestamp, says: impl Fn(usize) -> Reported) {
            let answers: Vec<Event> = (0..8)
                .map(|pod| Event::Answered {
                    pod: address_of(pod),
                    asked_at,
                    outcome: Ok(says(pod)),
                })
                .collect();
            self.service.record(&answers);
        }

        /// A tick of the worker; how many it closes. Every client comes back, if `they_return`, to
        /// the pod with the fewest.
        fn tick(&mut self, they_return: bool) -> usize {
            self.now = self.now.plus(TICK);
            let before: u64 = self.truth.iter().sum();
            let closed = close(&self.service, self.now, MOST_AT_ONCE).len();
            let table = self.service.table();
            for (truth, pod) in self.truth.iter_mut().zip(table.pods()) {
                *truth = pod.own_connections().into();
            }
            let after: u64 = self.truth.iter().sum();
            assert_eq!(before - after, closed as u64, "it is counted at once");
            if closed > 0 {
                self.closed.push((self.now.since(START), closed));
            }
            for _ in 0..closed * usize::from(they_return) {
                let fewest = (0..8).min_by_key(|pod| self.truth[*pod]).unwrap();
                self.open(fewest);
            }
            closed
        }

        /// Ticks until nothing has been closed for a minute.
        fn settle(&mut self, they_return: bool) {
            let mut quiet = 0;
            while quiet < 240 {
                quiet = if self.tick(they_return) == 0 {
                    quiet + 1
                } else {
                    0
                };
                assert!(self.closed.len() < 10_000, "it stops by itself");
            }
        }

        fn closed(&self) -> usize {
            self.closed.iter().map(|(_, closed)| closed).sum()
        }

        /// How many are to be closed.
        fn excess(&self) -> u32 {
            self.plan().overloads.iter().map(|pod| pod.excess).sum()
        }

        /// What the overload of the pods is taken for.
        fn plan(&self) -> Plan {
            let table = self.service.table();
            let rebalance = self.service.config.rebalance.unwrap();
            plan(&table, &self.service.view(&table, self.now), &rebalance)
        }
    }

    fn name(n: u8) -> String {
        address(n).to_string()
    }

    /// The address of a scene's pod.
    fn address_of(pod: usize) -> PodAddress {
        address(u8::try_from(pod).unwrap() + 1)
    }

    const AT_ONCE: &str = r#"{"threshold": 1.1, "maxPerSecond": 5, "minAge": "10ms"}"#;

    #[test]
    fn pods_lose_as_many_as_needed_and_no_faster_than_allowed() {
        let mut scene = Scene::new(AT_ONCE);
        scene.settle(true);
        // From 500 to 275, which is 1.1 times the even share of 250.
        assert_eq!(scene.closed(), 4 * 225);
        assert_eq!(scene.truth.iter().max(), Some(&275));
        let mut sum = 0;
        for (time, closed) in &scene.closed {
            sum += closed;
            let most = 1.0 + 5.0 * time.as_secs_f64();
            assert!(f64::from(u32::try_from(sum).unwrap()) <= most, "{time:?}");
        }
        let (end, _) = scene.closed.last().unwrap();
        assert!(end.as_secs() <= 181, "and as fast: {end:?}");
        let counter = "wsbalancer.chat.websockets_rebalanced";
        assert_eq!(scene.service.shell.statistic(counter), 900);
    }

    #[test]
    fn clients_that_do_not_return_stop_it() {
        let mut scene = Scene::new(AT_ONCE);
        scene.settle(false);
        assert_eq!(scene.closed(), 50, "ten seconds' worth");
        scene.open(7);
        scene.open(7);
        scene.settle(false);
        assert_eq!(scene.closed(), 52);
    }

    #[test]
    fn the_young_are_left_alone() {
        let mut scene = Scene::new(r#"{"threshold": 1.1, "minAge": "1m"}"#);
        for _ in 0..239 {
            assert_eq!(scene.tick(true), 0);
        }
        assert_eq!(scene.tick(true), 1);
        scene.settle(true);
        assert_eq!(scene.closed(), 900, "those that came back are not needed");
    }

    #[test]
    fn no_option_closes_more_at_once_than_the_stack_bears() {
        let mut scene = Scene::new(r#"{"threshold": 1.1, "maxPerSecond": 1e6, "minAge": "10ms"}"#);
        assert_eq!(scene.tick(true), 1, "it begins slowly");
        assert_eq!(scene.tick(true), MOST_AT_ONCE);
        scene.settle(true);
        assert_eq!(scene.closed(), 900);
    }

    /// Worker processes of one pod that answer in turn, each with what it has itself.
    #[test]
    fn counts_that_jump_close_nothing() {
        let mut scene = Scene::new(AT_ONCE);
        assert_eq!(scene.tick(true), 1);
        scene.truth[7] = 400;
        scene.report(|_| Reported::default());
        assert_eq!(scene.plan(), Plan::default());
        scene.report(|_| Reported::default());
        assert_ne!(scene.plan(), Plan::default(), "it was so again");
    }

    #[test]
    fn the_oldest_go_first() {
        let mut scene = Scene::new(AT_ONCE);
        scene.now = scene.now.plus(Duration::from_secs(1));
        assert_eq!(close(&scene.service, scene.now, MOST_AT_ONCE), [1]);
    }

    #[test]
    fn nothing_is_closed_while_a_pod_is_in_trouble() {
        let mut scene = Scene::new(AT_ONCE);
        assert_eq!(scene.plan().overloads.len(), 4);
        let answers = |outcome| {
            let (service, now) = (&scene.service, scene.now);
            let is_last = |record: &PodRecord| record.address() == address(8);
            let asked = service.update(|table| table.ask(now, |pod| is_last(pod).then_some(now)));
            assert_eq!(asked.unwrap(), [address(8)]);
            service.record(&[Event::Answered {
                pod: address(8),
                asked_at: now,
                outcome,
            }]);
        };
        answers(Err(PollFailure::NoAnswer));
        assert_eq!(scene.plan(), Plan::default());
        answers(Ok(Reported::default()));
        assert_eq!(scene.plan().overloads.len(), 4);
        scene.record(7, |pod| Event::Refused { pod, at: START });
        assert_eq!(scene.plan(), Plan::default());
        scene.now = scene.now.plus(Duration::from_secs(7_200));
        scene.report(|_| Reported::default());
        assert_eq!(scene.plan().overloads.len(), 4);
        scene.now = scene.now.plus(Duration::from_secs(7_200));
        assert_eq!(scene.plan(), Plan::default(), "the counts are stale");
    }

    #[test]
    fn pods_that_leave_or_are_full_are_no_place_to_go() {
        let scene = Scene::new(AT_ONCE);
        // Of 2,000 on the seven that stay 285 are even.
        scene.report(|pod| Reported {
            draining: (pod == 7).then_some(true),
            ..Reported::default()
        });
        let excess = scene.plan().overloads.first().map(|pod| pod.excess);
        assert_eq!(excess, Some(185));
        let limit_of_others = |limit| {
            scene.report(|pod| Reported {
                limit: (pod >= 4).then_some(limit),
                ..Reported::default()
            });
        };
        // What the others can't hold is the share of the first four: 399 each, and 438.9 may stay.
        limit_of_others(101);
        assert_eq!(scene.excess(), 4 * 61);
        // 490 each, and 539 may stay.
        limit_of_others(10);
        assert_eq!(scene.plan().overloads, []);
        scene.report(|pod| Reported {
            limit: (pod >= 4).then_some(0),
            ..Reported::default()
        });
        assert_eq!(scene.plan().overloads, []);
    }

    /// The pods count, WebSockets are closed, and only then the counts arrive.
    #[test]
    fn what_a_late_count_still_has_is_not_closed_again() {
        let mut scene = Scene::new(AT_ONCE);
        for pod in 0..4 {
            for _ in 0..215 {
                scene.truth[pod] -= 1;
                scene.record(pod, |pod| Event::Closed { pod });
                scene.open(pod + 4);
            }
        }
        scene.report(|_| Reported::default());
        // Of the 285 on a pod 275 may stay.
        assert_eq!(scene.excess(), 4 * 10);
        let (counted, asked_at) = (scene.truth, scene.now);
        scene.ask();
        while scene.closed() < 20 {
            scene.tick(true);
        }
        scene.answer(asked_at, |pod| Reported {
            connections: counted[pod],
            ..Reported::default()
        });
        assert!((1..=20).contains(&scene.excess()), "{}", scene.excess());
    }

    /// Half of what the pods hold was opened by others.
    #[test]
    fn each_gateway_does_its_part() {
        let mut scene = Scene::new(AT_ONCE);
        for count in &mut scene.truth[..4] {
            *count *= 2;
        }
        scene.report(|_| Reported::default());
        scene.report(|_| Reported::default());
        let plan = scene.plan();
        assert_eq!(plan.part, 0.5);
        // Of the 1,000 on a pod 550 may stay.
        assert_eq!(plan.overloads[0].excess, 225);
    }
}
