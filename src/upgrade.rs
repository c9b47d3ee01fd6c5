//! The life of one WebSocket upgrade: chosen, answered, ended.
//!
//! An [`Upgrade`] is what a request's context keeps. Each step records in the service's table
//! what it means for the pods, exactly once, whatever way the request takes.

use std::time::Duration;

use crate::balancer::{Balancer, ServiceState};
use crate::clock::Timestamp;
use crate::config::{OnNoPods, RouteBy};
use crate::host::Host;
use crate::pod::PodAddress;
use crate::table::Event;

mod choice;

use choice::{Choice, Ranked};

/// What becomes of an upgrade request.
#[derive(Debug)]
pub enum Decision {
    /// Send it on, to whom the header's value names if there is one.
    Proceed {
        /// The override header's value: pods, best first, or a cluster. None leaves the choice to
        /// the fallback policy.
        header: Option<String>,
        /// What to tell about the rest of its life.
        upgrade: Upgrade,
    },
    /// Answer 503.
    Reject {
        /// Why.
        refusal: Refusal,
        /// When trying again makes sense, in whole seconds.
        retry_after: u64,
    },
}

/// Why an upgrade is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No pod is usable, and the configuration has it refused then.
    NoPods,
    /// Every pod that would be usable is full.
    AllFull,
}

impl Refusal {
    /// What the client is told, as the body of the response.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::NoPods => "no pod is ready for a WebSocket\n",
            Self::AllFull => "every pod is full\n",
        }
    }
}

/// An upgrade that was sent on.
#[derive(Debug)]
pub struct Upgrade {
    service: usize,
    /// The usable pods, best first; empty where the fallback policy chose.
    ranked: Vec<Ranked>,
    /// How many of them Envoy may try.
    named: usize,
    /// The context that keeps this.
    context_id: u32,
    since: Timestamp,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    OnItsWay,
    Open {
        /// The pod, where Envoy tells.
        pod: Option<PodAddress>,
        since: Timestamp,
    },
    Ended,
}

/// What Envoy says of the way a request took to its pod.
#[derive(Clone, Copy, Debug, Default)]
pub struct Journey {
    /// The pod that was tried last.
    pub served: Option<PodAddress>,
    /// How many pods were tried.
    pub attempts: usize,
    /// Whether the last try found no connection either.
    pub connect_failed: bool,
}

/// What Envoy can tell of a request that has ended. It is asked only for what is needed.
pub trait Witness {
    /// The way that the request took.
    fn journey(&self) -> Journey;

    /// Why it ended, in Envoy's words: the attribute `response.code_details`.
    fn ending(&self) -> String;
}

/// Why an upgrade is where it is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The pod that was chosen; `fallback` where that was left to the fallback policy.
    pub pod: String,
    /// Why.
    pub reason: String,
}

impl Journey {
    /// The same in terms of the table: where a cluster is a pod, any of its hosts is.
    fn by(self, route_by: RouteBy) -> Self {
        let served = match route_by {
            RouteBy::Endpoint => self.served,
            RouteBy::Cluster => self.served.map(|_| PodAddress::ANY),
        };
        Self { served, ..self }
    }
}

impl Upgrade {
    /// Chooses the pods of a new upgrade to the service at `index`, for the context `context_id`.
    pub fn to_endpoint<H: Host>(
        balancer: &Balancer<H>,
        index: usize,
        context_id: u32,
        now: Timestamp,
    ) -> Option<Decision> {
        let choice = Choice::of_endpoints(balancer, index, now)?;
        Self::decide(balancer, choice, context_id, now)
    }

    /// Chooses the cluster of a new upgrade, where each is a pod.
    pub fn to_cluster<H: Host>(
        balancer: &Balancer<H>,
        context_id: u32,
        now: Timestamp,
    ) -> Option<Decision> {
        let choice = Choice::of_clusters(balancer, now)?;
        Self::decide(balancer, choice, context_id, now)
    }

    fn decide<H: Host>(
        balancer: &Balancer<H>,
        choice: Choice,
        context_id: u32,
        now: Timestamp,
    ) -> Option<Decision> {
        let Choice {
            service,
            ranked,
            named,
            header,
            some_are_full,
        } = choice;
        let state = balancer.services.get(service)?;
        let metrics = &state.metrics;
        // A fallback policy knows no limits: it would fill the pods up beyond them.
        let (metric, refusal) = match (ranked.is_empty(), some_are_full, balancer.on_no_pods) {
            (false, ..) => (metrics.upgrades_balanced, None),
            (true, true, _) => (metrics.upgrades_full, Some(Refusal::AllFull)),
            (true, false, OnNoPods::Reject) => (metrics.upgrades_rejected, Some(Refusal::NoPods)),
            (true, false, OnNoPods::Fallback) => (metrics.upgrades_fallback, None),
        };
        balancer.host.add(metric, 1);
        if let Some(refusal) = refusal {
            return Some(Decision::Reject {
                refusal,
                retry_after: whole_seconds(state.config.refresh_interval),
            });
        }
        Some(Decision::Proceed {
            header,
            upgrade: Self {
                service,
                ranked,
                named,
                context_id,
                since: now,
                state: State::OnItsWay,
            },
        })
    }

    /// The pod that is to serve, if every pod accepts connections.
    #[must_use]
    pub fn chosen(&self) -> Option<PodAddress> {
        self.ranked.first().map(|ranked| ranked.pod)
    }

    /// What was chosen, and why.
    #[must_use]
    pub fn explain(&self) -> Explanation {
        let mut ranked = self.ranked.iter();
        let (pod, reason) = match (ranked.next(), ranked.next()) {
            (Some(best), Some(next)) => (
                best.name.clone(),
                format!(
                    "estimate {:.0}, runner-up {} with {:.0}",
                    best.estimate, next.name, next.estimate
                ),
            ),
            (Some(best), None) => (
                best.name.clone(),
                format!("estimate {:.0}, the only usable pod", best.estimate),
            ),
            (None, _) => ("fallback".to_owned(), "no pod is usable".to_owned()),
        };
        Explanation { pod, reason }
    }

    /// The pod accepted the upgrade (status 101).
    pub fn open<H: Host>(&mut self, balancer: &Balancer<H>, journey: Journey, now: Timestamp) {
        let journey = journey.by(balancer.route_by);
        let pod = journey.served;
        let Some(service) = self.step(balancer, State::Open { pod, since: now }) else {
            return;
        };
        let mut events = self.arrive(balancer, service, journey, now);
        events.extend(journey.served.map(|pod| Event::Opened { pod }));
        if journey.attempts <= 1 && self.chosen().is_some() && journey.served != self.chosen() {
            balancer.host.add(service.metrics.upgrades_mismatched, 1);
        }
        service.store.record(&balancer.host, &events);
        if let (Some(pod), Some(_)) = (pod, service.config.rebalance) {
            balancer
                .held
                .insert(self.service, pod, now, self.context_id);
        }
        if log::log_enabled!(log::Level::Debug) {
            self.tell_opened(service, journey);
        }
    }

    /// The request has ended, opened or not.
    pub fn end<H: Host>(&mut self, balancer: &Balancer<H>, witness: &impl Witness, now: Timestamp) {
        let state = self.state;
        let Some(service) = self.step(balancer, State::Ended) else {
            return;
        };
        let cluster = &service.config.cluster;
        match state {
            State::OnItsWay => {
                let journey = witness.journey().by(balancer.route_by);
                let events = self.arrive(balancer, service, journey, now);
                service.store.record(&balancer.host, &events);
                if log::log_enabled!(log::Level::Debug) {
                    let Explanation { pod, reason } = self.explain();
                    log::debug!(
                        "cluster {cluster}: opened no WebSocket on {pod} ({reason}), \
                         {} attempts: {}",
                        journey.attempts,
                        printable(&witness.ending())
                    );
                }
            }
            State::Open {
                pod: Some(pod),
                since,
            } => {
                let was_held = balancer
                    .held
                    .remove(self.service, pod, since, self.context_id);
                // One that was closed to relieve its pod was counted then.
                if was_held || service.config.rebalance.is_none() {
                    service
                        .store
                        .record(&balancer.host, &[Event::Closed { pod }]);
                }
                if log::log_enabled!(log::Level::Debug) {
                    log::debug!(
                        "cluster {cluster}: closed a WebSocket on {pod} after {:.3} s: {}",
                        now.since(self.since).as_secs_f64(),
                        printable(&witness.ending())
                    );
                }
            }
            State::Open { pod: None, .. } | State::Ended => {}
        }
    }

    /// Moves on to `next`; none where the upgrade has ended already.
    fn step<'a, H>(&mut self, balancer: &'a Balancer<H>, next: State) -> Option<&'a ServiceState> {
        if self.state == State::Ended {
            return None;
        }
        self.state = next;
        balancer.services.get(self.service)
    }

    /// The upgrade is on its way no more: what the journey tells of the pods.
    fn arrive<H: Host>(
        &self,
        balancer: &Balancer<H>,
        service: &ServiceState,
        journey: Journey,
        now: Timestamp,
    ) -> Vec<Event> {
        let mut events: Vec<Event> = self
            .chosen()
            .map(|pod| Event::Settled { pod })
            .into_iter()
            .collect();
        if journey.attempts > 1 {
            balancer.host.add(service.metrics.upgrades_retried, 1);
        }
        let refused = self
            .ranked
            .iter()
            .take(self.named)
            .take(self.refusals(journey));
        events.extend(refused.map(|ranked| Event::Refused {
            pod: ranked.pod,
            at: now,
        }));
        events
    }

    /// How many of the named pods refused: those that were tried before the one that served.
    fn refusals(&self, journey: Journey) -> usize {
        let failed = if journey.connect_failed {
            journey.attempts
        } else {
            journey.attempts.saturating_sub(1)
        };
        let place = |pod| self.ranked.iter().position(|ranked| ranked.pod == pod);
        match journey.served.and_then(place) {
            Some(place) if !journey.connect_failed => failed.min(place),
            _ => failed,
        }
    }

    fn tell_opened(&self, service: &ServiceState, journey: Journey) {
        let cluster = &service.config.cluster;
        let Explanation { pod, reason } = self.explain();
        let served = journey
            .served
            .map_or_else(|| "an unknown pod".to_owned(), |pod| pod.to_string());
        log::debug!(
            "cluster {cluster}: opened a WebSocket on {served}; chosen {pod} ({reason}), \
             {} attempts",
            journey.attempts
        );
    }
}

/// For a log line: control characters are escaped.
fn printable(text: &str) -> String {
    text.chars().flat_map(char::escape_debug).collect()
}

/// Rounded up: `retry-after` knows no fractions (RFC 9110, section 10.2.3).
fn whole_seconds(span: Duration) -> u64 {
    span.as_secs()
        .saturating_add(u64::from(span.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::host::fake::FakeHost;
    use crate::pod::tests::address;
    use crate::standing::Standing;
    use crate::table::Reported;

    const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);

    /// A balancer over three pods with these counts.
    fn balancer(counts: [u64; 3], on_no_pods: &str) -> Balancer<FakeHost> {
        let json = format!(
            r#"{{"onNoPods": "{on_no_pods}", "services": [{{"cluster": "chat",
               "endpoints": ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]}}]}}"#
        );
        let config = Config::parse(json.as_bytes()).unwrap();
        let balancer = Balancer::new(FakeHost::default(), config, 1);
        let store = &balancer.services[0].store;
        let reported = store.update(&balancer.host, |table| {
            for (n, count) in (1..).zip(counts) {
                table.pods_mut()[usize::from(n) - 1].ask(NOW, NOW);
                table.apply(&[Event::Answered {
                    pod: address(n),
                    asked_at: NOW,
                    outcome: Ok(Reported {
                        count,
                        ..Reported::default()
                    }),
                }]);
            }
        });
        reported.unwrap();
        balancer
    }

    fn proceed(balancer: &Balancer<FakeHost>) -> (Option<String>, Upgrade) {
        match Upgrade::to_endpoint(balancer, 0, 1, NOW) {
            Some(Decision::Proceed { header, upgrade }) => (header, upgrade),
            other => panic!("{other:?}"),
        }
    }

    fn estimates(balancer: &Balancer<FakeHost>) -> [f64; 3] {
        let service = &balancer.services[0];
        let table = service.store.read(&balancer.host);
        let outlook = service.outlook(&table, NOW);
        [1, 2, 3].map(|n| outlook.estimate(table.pod(address(n)).unwrap()))
    }

    fn standings(balancer: &Balancer<FakeHost>) -> [Standing; 3] {
        let service = &balancer.services[0];
        let table = service.store.read(&balancer.host);
        let outlook = service.outlook(&table, NOW);
        [1, 2, 3].map(|n| outlook.standing(table.pod(address(n)).unwrap()))
    }

    fn served(n: u8, attempts: usize) -> Journey {
        Journey {
            served: Some(address(n)),
            attempts,
            connect_failed: false,
        }
    }

    impl Witness for Journey {
        fn journey(&self) -> Journey {
            *self
        }

        fn ending(&self) -> String {
            "via_upstream".to_owned()
        }
    }

    fn metric(balancer: &Balancer<FakeHost>, name: &str) -> u64 {
        balancer.host.metric(&format!("wsbalancer.chat.{name}"))
    }

    #[test]
    fn the_header_names_the_pods_best_first() {
        let balancer = balancer([5, 1, 3], "fallback");
        let (pods, _) = proceed(&balancer);
        assert_eq!(pods.unwrap(), "10.0.0.2:8080,10.0.0.3:8080,10.0.0.1:8080");
        assert_eq!(metric(&balancer, "upgrades_balanced"), 1);
    }

    #[test]
    fn the_choice_is_explained() {
        let balancer = balancer([5, 1, 3], "fallback");
        let (_, upgrade) = proceed(&balancer);
        assert_eq!(
            upgrade.explain(),
            Explanation {
                pod: "10.0.0.2:8080".to_owned(),
                reason: "estimate 1, runner-up 10.0.0.3:8080 with 3".to_owned(),
            }
        );
        let late = NOW.plus(Duration::from_secs(31));
        let decision = Upgrade::to_endpoint(&balancer, 0, 1, late);
        let Some(Decision::Proceed { upgrade, .. }) = decision else {
            panic!("{decision:?}");
        };
        assert_eq!(upgrade.explain().pod, "fallback");
    }

    #[test]
    fn a_websocket_is_counted_from_the_choice_to_its_end() {
        let balancer = balancer([5, 1, 3], "fallback");
        let (_, mut upgrade) = proceed(&balancer);
        assert_eq!(estimates(&balancer), [5.0, 2.0, 3.0]);
        upgrade.open(&balancer, served(2, 1), NOW);
        assert_eq!(estimates(&balancer), [5.0, 2.0, 3.0]);
        upgrade.end(&balancer, &Journey::default(), NOW);
        upgrade.end(&balancer, &Journey::default(), NOW);
        assert_eq!(estimates(&balancer), [5.0, 1.0, 3.0], "once");
    }

    #[test]
    fn an_upgrade_that_the_pod_declines_leaves_no_trace() {
        let balancer = balancer([5, 1, 3], "fallback");
        let (_, mut upgrade) = proceed(&balancer);
        upgrade.end(&balancer, &served(2, 1), NOW);
        assert_eq!(estimates(&balancer), [5.0, 1.0, 3.0]);
        assert_eq!(standings(&balancer), [Standing::Usable; 3]);
    }

    #[test]
    fn the_count_follows_a_retry_and_the_refusing_pod_is_left_out() {
        let balancer = balancer([5, 1, 3], "fallback");
        let (_, mut upgrade) = proceed(&balancer);
        upgrade.open(&balancer, served(3, 2), NOW);
        assert_eq!(estimates(&balancer), [5.0, 1.0, 4.0]);
        assert_eq!(
            standings(&balancer),
            [Standing::Usable, Standing::Refusing, Standing::Usable]
        );
        assert_eq!(metric(&balancer, "upgrades_retried"), 1);
        let (pods, _) = proceed(&balancer);
        assert_eq!(pods.unwrap(), "10.0.0.3:8080,10.0.0.1:8080");
    }

    #[test]
    fn when_nobody_accepts_all_that_were_tried_are_left_out() {
        let balancer = balancer([5, 1, 3], "fallback");
        let (_, mut upgrade) = proceed(&balancer);
        let journey = Journey {
            served: Some(address(3)),
            attempts: 2,
            connect_failed: true,
        };
        upgrade.end(&balancer, &journey, NOW);
        assert_eq!(
            standings(&balancer),
            [Standing::Usable, Standing::Refusing, Standing::Refusing]
        );
        assert_eq!(estimates(&balancer), [5.0, 1.0, 3.0]);
    }

    /// Envoy skips a host that is not in the cluster, and that is no refusal.
    #[test]
    fn a_pod_that_envoy_skipped_did_not_refuse() {
        let balancer = balancer([5, 1, 3], "fallback");
        let (_, mut upgrade) = proceed(&balancer);
        upgrade.open(&balancer, served(3, 1), NOW);
        assert_eq!(standings(&balancer), [Standing::Usable; 3]);
        assert_eq!(estimates(&balancer), [5.0, 1.0, 4.0]);
        assert_eq!(metric(&balancer, "upgrades_mismatched"), 1);
    }

    #[test]
    fn without_a_usable_pod_the_fallback_chooses_and_its_choice_counts() {
        let balancer = balancer([5, 1, 3], "fallback");
        let late = NOW.plus(Duration::from_secs(31));
        let Some(Decision::Proceed {
            header,
            mut upgrade,
        }) = Upgrade::to_endpoint(&balancer, 0, 1, late)
        else {
            panic!("it proceeds");
        };
        assert_eq!(header, None);
        assert_eq!(metric(&balancer, "upgrades_fallback"), 1);
        upgrade.open(&balancer, served(1, 1), late);
        assert_eq!(estimates(&balancer), [6.0, 1.0, 3.0]);
    }

    #[test]
    fn without_a_usable_pod_reject_says_when_to_try_again() {
        let balancer = balancer([5, 1, 3], "reject");
        let late = NOW.plus(Duration::from_secs(31));
        let decision = Upgrade::to_endpoint(&balancer, 0, 1, late);
        assert!(matches!(
            decision,
            Some(Decision::Reject {
                refusal: Refusal::NoPods,
                retry_after: 5
            })
        ));
        assert_eq!(metric(&balancer, "upgrades_rejected"), 1);
    }

    fn limit(balancer: &Balancer<FakeHost>, limits: [Option<u64>; 3]) {
        let later = NOW.plus(Duration::from_millis(1));
        let reported = balancer.services[0].store.update(&balancer.host, |table| {
            for (n, limit) in (1..).zip(limits) {
                table.pods_mut()[usize::from(n) - 1].ask(later, later);
                table.apply(&[Event::Answered {
                    pod: address(n),
                    asked_at: later,
                    outcome: Ok(Reported {
                        count: 5,
                        limit,
                        ..Reported::default()
                    }),
                }]);
            }
        });
        reported.unwrap();
    }

    #[test]
    fn when_every_pod_is_full_no_fallback_fills_them_further() {
        let balancer = balancer([5, 5, 5], "fallback");
        limit(&balancer, [Some(6), Some(5), Some(2)]);
        let (pods, _upgrade) = proceed(&balancer);
        assert_eq!(pods.unwrap(), "10.0.0.1:8080", "the others can't be tried");
        let decision = Upgrade::to_endpoint(&balancer, 0, 1, NOW);
        let Some(Decision::Reject { refusal, .. }) = decision else {
            panic!("{decision:?}");
        };
        assert_eq!(refusal, Refusal::AllFull);
        assert_eq!(metric(&balancer, "upgrades_full"), 1);
        assert_eq!(metric(&balancer, "upgrades_fallback"), 0);
        limit(&balancer, [Some(7), None, None]);
        proceed(&balancer);
    }

    /// Three clusters of one pod each, with these counts.
    fn clusters(counts: [u64; 3], on_no_pods: &str) -> Balancer<FakeHost> {
        let json = format!(
            r#"{{"onNoPods": "{on_no_pods}", "routeBy": "cluster",
                "services": [{{"cluster": "a"}}, {{"cluster": "b"}}, {{"cluster": "c"}}]}}"#
        );
        let config = Config::parse(json.as_bytes()).unwrap();
        let balancer = Balancer::new(FakeHost::default(), config, 1);
        for (service, count) in balancer.services.iter().zip(counts) {
            let reported = service.store.update(&balancer.host, |table| {
                table.pods_mut()[0].ask(NOW, NOW);
                table.apply(&[Event::Answered {
                    pod: PodAddress::ANY,
                    asked_at: NOW,
                    outcome: Ok(Reported {
                        count,
                        ..Reported::default()
                    }),
                }]);
            });
            reported.unwrap();
        }
        balancer
    }

    fn cluster_estimates(balancer: &Balancer<FakeHost>) -> Vec<f64> {
        let estimate = |service: &ServiceState| {
            let table = service.store.read(&balancer.host);
            service.outlook(&table, NOW).estimate(&table.pods()[0])
        };
        balancer.services.iter().map(estimate).collect()
    }

    #[test]
    fn the_header_names_the_cluster_with_the_fewest() {
        let balancer = clusters([5, 1, 3], "fallback");
        let Some(Decision::Proceed {
            header,
            mut upgrade,
        }) = Upgrade::to_cluster(&balancer, 1, NOW)
        else {
            panic!("it proceeds");
        };
        assert_eq!(header.as_deref(), Some("b"));
        assert_eq!(balancer.host.metric("wsbalancer.b.upgrades_balanced"), 1);
        assert_eq!(cluster_estimates(&balancer), [5.0, 2.0, 3.0]);
        upgrade.open(&balancer, served(7, 1), NOW);
        assert_eq!(cluster_estimates(&balancer), [5.0, 2.0, 3.0]);
        upgrade.end(&balancer, &Journey::default(), NOW);
        assert_eq!(cluster_estimates(&balancer), [5.0, 1.0, 3.0]);
    }

    #[test]
    fn a_cluster_that_refuses_is_left_out() {
        let balancer = clusters([5, 1, 3], "fallback");
        let Some(Decision::Proceed { mut upgrade, .. }) = Upgrade::to_cluster(&balancer, 1, NOW)
        else {
            panic!("it proceeds");
        };
        let journey = Journey {
            connect_failed: true,
            ..served(7, 2)
        };
        upgrade.end(&balancer, &journey, NOW);
        let next = Upgrade::to_cluster(&balancer, 1, NOW);
        assert!(
            matches!(&next, Some(Decision::Proceed { header: Some(cluster), .. }) if cluster == "c"),
            "{next:?}"
        );
    }

    #[test]
    fn without_a_usable_cluster_any_may_be_lucky_or_none() {
        let late = NOW.plus(Duration::from_secs(31));
        let any = clusters([5, 1, 3], "fallback");
        let decision = Upgrade::to_cluster(&any, 1, late);
        assert!(
            matches!(
                &decision,
                Some(Decision::Proceed {
                    header: Some(_),
                    ..
                })
            ),
            "{decision:?}"
        );
        let none = clusters([5, 1, 3], "reject");
        let decision = Upgrade::to_cluster(&none, 1, late);
        assert!(matches!(decision, Some(Decision::Reject { .. })));
    }

    #[test]
    fn under_contention_the_choice_is_made_and_counted_later() {
        let balancer = balancer([5, 1, 3], "fallback");
        balancer.host.outdate(u32::MAX);
        let (pods, _) = proceed(&balancer);
        assert!(pods.unwrap().starts_with("10.0.0.2:8080,"));
        balancer.host.outdate(0);
        balancer.services[0].store.flush(&balancer.host);
        assert_eq!(estimates(&balancer), [5.0, 2.0, 3.0]);
    }
}
