//! The life of one WebSocket upgrade: chosen, answered, ended.
//!
//! An [`Upgrade`] is what a request's context keeps. Each step records in the service's table
//! what it means for the pods, exactly once, whatever way the request takes.

use std::time::Duration;

use crate::balancer::{Balancer, ServiceState};
use crate::clock::Timestamp;
use crate::config::OnNoPods;
use crate::host::Host;
use crate::pod::PodAddress;
use crate::select::{Candidate, rank};
use crate::table::{Event, Table};

/// Names at least this many pods, so that the log can tell the runner-up.
const FEWEST_RANKED: usize = 2;

/// What becomes of an upgrade request.
#[derive(Debug)]
pub enum Decision {
    /// Send it on, to the pods in the header's value if there is one.
    Proceed {
        /// The override header's value; none leaves the choice to the fallback policy.
        pods: Option<String>,
        /// What to tell about the rest of its life.
        upgrade: Upgrade,
    },
    /// Answer 503.
    Reject {
        /// When trying again makes sense, in whole seconds.
        retry_after: u64,
    },
}

/// An upgrade that was sent on.
#[derive(Debug)]
pub struct Upgrade {
    service: usize,
    /// The pods in the header, best first; empty where the fallback policy chose.
    ranked: Vec<Candidate>,
    /// How many of them the header names.
    named: usize,
    since: Timestamp,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    OnItsWay,
    Open(Option<PodAddress>),
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

impl Upgrade {
    /// Chooses the pods of a new upgrade to the service at `index`.
    pub fn decide<H: Host>(
        balancer: &Balancer<H>,
        index: usize,
        now: Timestamp,
    ) -> Option<Decision> {
        let service = balancer.services.get(index)?;
        let ranked = choose(balancer, service, now);
        let metrics = &service.metrics;
        let metric = match (ranked.is_empty(), balancer.on_no_pods) {
            (false, _) => metrics.upgrades_balanced,
            (true, OnNoPods::Fallback) => metrics.upgrades_fallback,
            (true, OnNoPods::Reject) => metrics.upgrades_rejected,
        };
        balancer.host.add(metric, 1);
        if ranked.is_empty() && balancer.on_no_pods == OnNoPods::Reject {
            return Some(Decision::Reject {
                retry_after: whole_seconds(service.config.refresh_interval),
            });
        }
        let named = ranked.len().min(balancer.attempts);
        Some(Decision::Proceed {
            pods: (!ranked.is_empty()).then(|| header_value(&ranked, named)),
            upgrade: Self {
                service: index,
                ranked,
                named,
                since: now,
                state: State::OnItsWay,
            },
        })
    }

    /// The pod that is to serve, if every pod accepts connections.
    #[must_use]
    pub fn chosen(&self) -> Option<PodAddress> {
        self.ranked.first().map(|candidate| candidate.pod)
    }

    /// The pod accepted the upgrade (status 101).
    pub fn open<H: Host>(&mut self, balancer: &Balancer<H>, journey: Journey, now: Timestamp) {
        let Some(service) = self.step(balancer, State::Open(journey.served)) else {
            return;
        };
        let mut events = self.arrive(balancer, service, journey, now);
        events.extend(journey.served.map(|pod| Event::Opened { pod }));
        service.store.record(&balancer.host, &events);
        if log::log_enabled!(log::Level::Debug) {
            self.tell_opened(service, journey);
        }
    }

    /// The request has ended, opened or not.
    pub fn end<H: Host>(
        &mut self,
        balancer: &Balancer<H>,
        journey: impl FnOnce() -> Journey,
        now: Timestamp,
    ) {
        let state = self.state;
        let Some(service) = self.step(balancer, State::Ended) else {
            return;
        };
        let cluster = &service.config.cluster;
        match state {
            State::OnItsWay => {
                let journey = journey();
                let events = self.arrive(balancer, service, journey, now);
                service.store.record(&balancer.host, &events);
            }
            State::Open(Some(pod)) => {
                let events = [Event::Closed { pod }];
                service.store.record(&balancer.host, &events);
                log::debug!(
                    "cluster {cluster}: closed a WebSocket on {pod} after {:.3} s",
                    now.since(self.since).as_secs_f64()
                );
            }
            State::Open(None) | State::Ended => {}
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
        events.extend(refused.map(|candidate| Event::Refused {
            pod: candidate.pod,
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
        let place = |pod| {
            self.ranked
                .iter()
                .position(|candidate| candidate.pod == pod)
        };
        match journey.served.and_then(place) {
            Some(place) if !journey.connect_failed => failed.min(place),
            _ => failed,
        }
    }

    fn tell_opened(&self, service: &ServiceState, journey: Journey) {
        let cluster = &service.config.cluster;
        let Some(pod) = journey.served else {
            log::debug!("cluster {cluster}: opened a WebSocket on an unknown pod");
            return;
        };
        let mut ranked = self.ranked.iter();
        match (ranked.next(), ranked.next()) {
            (Some(best), Some(next)) => log::debug!(
                "cluster {cluster}: opened a WebSocket on {pod}; chosen {} (estimate {}), \
                 runner-up {} (estimate {})",
                best.pod,
                best.estimate,
                next.pod,
                next.estimate
            ),
            (Some(best), None) => log::debug!(
                "cluster {cluster}: opened a WebSocket on {pod}; chosen {} (estimate {}), \
                 the only usable pod",
                best.pod,
                best.estimate
            ),
            (None, _) => log::debug!(
                "cluster {cluster}: opened a WebSocket on {pod}, the fallback policy's choice"
            ),
        }
    }
}

fn choose<H: Host>(
    balancer: &Balancer<H>,
    service: &ServiceState,
    now: Timestamp,
) -> Vec<Candidate> {
    let mut random = balancer.random();
    let places = balancer.attempts.max(FEWEST_RANKED);
    let mut rank = |table: &Table| rank(table.pods(), places, service.trust(), now, &mut random);
    let chosen = |ranked: &[Candidate]| ranked.first().map(|best| Event::Chosen { pod: best.pod });
    let updated = service.store.update(&balancer.host, |table| {
        let ranked = rank(table);
        table.apply(chosen(&ranked).as_slice());
        ranked
    });
    updated.unwrap_or_else(|_| {
        let ranked = rank(&service.store.read(&balancer.host));
        service.store.defer(chosen(&ranked).as_slice());
        ranked
    })
}

/// The pods as `override_host` takes them: the n-th attempt goes to the n-th.
fn header_value(ranked: &[Candidate], named: usize) -> String {
    let mut value = String::new();
    for candidate in ranked.iter().take(named) {
        if !value.is_empty() {
            value.push(',');
        }
        value.push_str(&candidate.pod.to_string());
    }
    value
}

/// Rounded up: `retry-after` knows no fractions (RFC 9110, section 10.2.3).
fn whole_seconds(span: Duration) -> u64 {
    span.as_secs()
        .saturating_add(u64::from(span.subsec_nanos() > 0))
}
