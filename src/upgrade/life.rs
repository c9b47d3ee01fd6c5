//! The life of one upgrade: chosen, answered, ended.
//!
//! Each step records in the service's table what it means for the pods, exactly once, whatever way
//! the request takes.

use std::rc::Rc;

use super::choice::{Candidate, Choice};
use super::explanation::Explanation;
use crate::clock::Timestamp;
use crate::config::OnNoPods;
use crate::metric::LoadReport;
use crate::pod::{PROVEN, PodAddress};
use crate::service::Service;
use crate::shell::Shell;
use crate::table::Event;
use crate::warning::Server;

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

/// What is to come of an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// A WebSocket of its own.
    WebSocket,
    /// A session, which may get a WebSocket later; the request asks for none.
    Session,
    /// The WebSocket of a session that its pod has begun.
    InSession,
}

/// An upgrade that was sent on, or a request that opens a session.
pub struct Upgrade<S: Shell> {
    service: Rc<Service<S>>,
    /// The usable pods, best first; empty where the fallback policy chose.
    candidates: Vec<Candidate>,
    /// How many of them Envoy may try.
    named: usize,
    purpose: Purpose,
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

/// What Envoy knows of a request's way to its pod.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, as Envoy's response flags are"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    /// The pod that was tried last.
    pub pod: Option<PodAddress>,
    /// How many pods were tried.
    pub attempts: usize,
    /// Whether the last try found no connection either.
    pub connect_failed: bool,
    /// Whether a circuit breaker was full.
    pub is_overflow: bool,
    /// Whether the pod that was tried last answered with 5xx, or not at all.
    pub failed: bool,
    /// Whether the client, which stayed, got 5xx, whosever that is, or no answer.
    pub unserved: bool,
    /// What its answer says of the pod, where that is asked for.
    pub load_report: Option<LoadReport>,
}

/// What there is to ask about a request that has ended. Each question costs a call of the host.
pub trait Ending {
    /// Its way to its pod.
    fn upstream(&self) -> Upstream;

    /// Why it ended, in Envoy's words.
    fn details(&self) -> String;

    /// Whether its client disconnected.
    fn is_clients(&self) -> bool;

    /// The time.
    fn now(&self) -> Timestamp;
}

impl<S: Shell> Upgrade<S> {
    /// Begins the life of what was chosen at `now` for the context `context_id`.
    ///
    /// # Errors
    /// Where no pod is usable, and the client is to be told so.
    pub fn begin(
        choice: Choice<S>,
        on_no_pods: OnNoPods,
        context_id: u32,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let Choice {
            service,
            candidates,
            named,
            all_are_full,
        } = choice;
        let statistics = &service.statistics;
        // A fallback policy knows no limits: it would fill the pods up beyond them.
        let (counter, refusal) = match (candidates.is_empty(), all_are_full, on_no_pods) {
            (false, ..) => (statistics.upgrades_balanced, None),
            (true, true, _) => (statistics.upgrades_full, Some(Refusal::AllFull)),
            (true, false, OnNoPods::Reject) => {
                (statistics.upgrades_rejected, Some(Refusal::NoPods))
            }
            (true, false, OnNoPods::Fallback) => (statistics.upgrades_fallback, None),
        };
        if refusal.is_some() {
            service.count(counter);
        } else {
            service.count_later(counter);
        }
        match refusal {
            Some(refusal) => Err(refusal),
            None => Ok(Self {
                service,
                candidates,
                named,
                purpose: Purpose::WebSocket,
                context_id,
                since: now,
                state: State::OnItsWay,
            }),
        }
    }

    /// The same for a request that opens a session.
    #[must_use]
    pub fn for_session(self) -> Self {
        Self {
            purpose: Purpose::Session,
            ..self
        }
    }

    /// Begins the life of an upgrade that carries a session: whoever keeps that chooses the pod, and
    /// the filter learns which one from the answer.
    pub fn in_session(service: &Rc<Service<S>>, context_id: u32, now: Timestamp) -> Self {
        service.count_later(service.statistics.upgrades_in_session);
        Self {
            service: Rc::clone(service),
            candidates: Vec::new(),
            named: 0,
            purpose: Purpose::InSession,
            context_id,
            since: now,
            state: State::OnItsWay,
        }
    }

    /// Its service.
    #[must_use]
    pub const fn service(&self) -> &Rc<Service<S>> {
        &self.service
    }

    /// The pod that is to serve, if every pod accepts connections.
    #[must_use]
    pub fn chosen(&self) -> Option<PodAddress> {
        self.candidates.first().map(|candidate| candidate.pod)
    }

    /// Whether an upgrade that is being answered went to the chosen pod; none where that says nothing
    /// of Envoy: nothing was chosen, or another pod was tried after it.
    #[must_use]
    pub fn is_obeyed(&self, upstream: Upstream) -> Option<bool> {
        let chosen = self.chosen()?;
        let is_evidence = self.state == State::OnItsWay && upstream.attempts <= 1;
        is_evidence.then(|| upstream.pod == Some(chosen))
    }

    /// Who served instead of the chosen pod.
    #[must_use]
    pub fn server(&self, upstream: Upstream) -> Server {
        let Some(pod) = upstream.pod else {
            return Server::Stranger;
        };
        if self.named().any(|candidate| candidate.pod == pod) {
            Server::Named
        } else if self.service.table().pod(pod).is_some() {
            Server::Pod
        } else {
            Server::Stranger
        }
    }

    /// The pod whose refusal ended the upgrade, where Envoy tried no other though some were named,
    /// and was not kept from it.
    #[must_use]
    pub fn lacked_retry(&self, upstream: Upstream) -> Option<&str> {
        let lacked = self.state == State::OnItsWay
            && upstream.connect_failed
            && !upstream.is_overflow
            && upstream.attempts == 1
            && self.named > 1;
        let chosen = self.candidates.first().filter(|_| lacked)?;
        Some(&chosen.name)
    }

    /// What was chosen, and why.
    #[must_use]
    pub fn explain(&self) -> Explanation {
        match self.purpose {
            Purpose::InSession => Explanation::of_session(),
            Purpose::WebSocket | Purpose::Session => Explanation::of(&self.candidates),
        }
    }

    /// The pod accepted the upgrade (status 101). Whether pods are to be asked at once.
    pub fn open(&mut self, upstream: Upstream, now: Timestamp) -> bool {
        if self.state != State::OnItsWay {
            return false;
        }
        let pod = upstream.pod;
        self.count_mismatch(upstream);
        self.state = State::Open { pod, since: now };
        if let (Some(pod), Some(report)) = (pod, upstream.load_report) {
            // Before this WebSocket is known to be open.
            let at = now;
            self.service
                .record(&[Event::LoadReported { pod, at, report }]);
        }
        let mut events = self.arrive(upstream, now);
        events.extend(pod.map(|pod| match self.purpose {
            Purpose::InSession => Event::OpenedInSession { pod },
            Purpose::WebSocket | Purpose::Session => Event::Opened { pod, at: now },
        }));
        let service = &self.service;
        if upstream.attempts <= 1 && pod == self.chosen() {
            // As an open one it counts as much as on its way: nobody has to know at once.
            service.defer(&events);
        } else {
            service.record(&events);
        }
        if let (Some(pod), Some(_)) = (pod, service.config.rebalance) {
            service.held.insert(pod, now, self.context_id);
        }
        if log::log_enabled!(log::Level::Debug) {
            self.log_opened(upstream);
        }
        raise_doubts(&events)
    }

    /// The pod has taken the request that opens a session (status 2xx), and keeps the session.
    /// Whether pods are to be asked at once.
    pub fn begin_session(&mut self, upstream: Upstream, now: Timestamp) -> bool {
        if self.state != State::OnItsWay {
            return false;
        }
        self.count_mismatch(upstream);
        self.state = State::Ended;
        let mut events = self.arrive(upstream, now);
        let begun = upstream.pod.map(|pod| Event::SessionBegun { pod });
        events.extend(begun);
        self.service.record(&events);
        raise_doubts(&events)
    }

    fn count_mismatch(&self, upstream: Upstream) {
        if self.is_obeyed(upstream) == Some(false) {
            self.service
                .count(self.service.statistics.upgrades_mismatched);
        }
    }

    /// Whether it is to open a session, and no WebSocket yet.
    #[must_use]
    pub const fn opens_session(&self) -> bool {
        matches!(self.purpose, Purpose::Session)
    }

    /// The pod's answer, or Envoy's own, is another than 101: no WebSocket comes of it, however long
    /// the client stays. Envoy keeps a stream open whose answer has an `upgrade` header, as a 426
    /// should. `details` is why, in Envoy's words. Whether pods are to be asked at once.
    pub fn decline(
        &mut self,
        upstream: Upstream,
        details: impl FnOnce() -> String,
        now: Timestamp,
    ) -> bool {
        let is_over = self.state == State::OnItsWay;
        if is_over {
            self.state = State::Ended;
        }
        is_over && self.give_up(upstream, details, now)
    }

    /// The request has ended, opened or not, and not before `lately`. Whether pods are to be asked at
    /// once.
    pub fn end(&mut self, ending: &impl Ending, lately: Timestamp) -> bool {
        let state = std::mem::replace(&mut self.state, State::Ended);
        let (service, cluster) = (&self.service, &self.service.config.cluster);
        match state {
            State::OnItsWay => {
                return self.give_up(ending.upstream(), || ending.details(), ending.now());
            }
            State::Open {
                pod: Some(pod),
                since,
            } => {
                let was_held = service.held.remove(pod, since, self.context_id);
                // One that was closed to rebalance was counted then.
                if was_held || service.config.rebalance.is_none() {
                    let end = self.closed(pod, since, ending, lately);
                    service.take_end(&end, lately);
                }
                if log::log_enabled!(log::Level::Debug) {
                    log::debug!(
                        "cluster {cluster}: closed a WebSocket on {pod} after {:.3} s: {}",
                        ending.now().since(self.since).as_secs_f64(),
                        printable(&ending.details())
                    );
                }
            }
            State::Open { pod: None, .. } | State::Ended => {}
        }
        false
    }

    /// The end of a WebSocket that was open on `pod` since `opened_at`. Whose doing it was is asked
    /// only where it came so soon that it may be the pod's fault.
    fn closed(
        &self,
        pod: PodAddress,
        opened_at: Timestamp,
        ending: &impl Ending,
        lately: Timestamp,
    ) -> Event {
        let service = &self.service;
        let closed = Event::Closed { pod };
        let is_evidence =
            service.config.rules.passive_health.is_some() && self.purpose != Purpose::InSession;
        if !is_evidence || lately.since(opened_at) >= PROVEN {
            return closed;
        }
        let at = ending.now();
        if at.since(opened_at) >= PROVEN || ending.is_clients() {
            return closed;
        }
        service.count(service.statistics.websockets_cut);
        Event::Cut {
            pod,
            began_at: self.since,
            opened_at,
            at,
        }
    }

    /// Neither a WebSocket nor a session has come of it. Whether pods are to be asked at once.
    fn give_up(
        &self,
        upstream: Upstream,
        details: impl FnOnce() -> String,
        now: Timestamp,
    ) -> bool {
        let service = &self.service;
        let events = self.arrive(upstream, now);
        service.record(&events);
        if upstream.unserved {
            service.count(service.statistics.upgrades_failed);
        }
        if log::log_enabled!(log::Level::Debug) {
            let what = if self.opens_session() {
                "session"
            } else {
                "WebSocket"
            };
            log::debug!(
                "cluster {}: opened no {what} on {}, {} attempts: {}",
                service.config.cluster,
                self.explain(),
                upstream.attempts,
                printable(&details())
            );
        }
        raise_doubts(&events)
    }

    /// The upgrade is on its way no more: what its way tells of the pods. Of those that were tried
    /// before the last Envoy does not tell why they were left.
    fn arrive(&self, upstream: Upstream, now: Timestamp) -> Vec<Event> {
        let settled = self.chosen().map(|pod| Event::Settled { pod });
        if upstream.attempts > 1 {
            let service = &self.service;
            service.count(service.statistics.upgrades_retried);
        }
        let began_at = self.since;
        let left = self.named().take(self.left(upstream));
        let left = left.map(|candidate| Event::PassedBy {
            pod: candidate.pod,
            began_at,
            at: now,
        });
        let last = upstream.pod.or_else(|| {
            let place = upstream.attempts.checked_sub(1)?;
            self.named().nth(place).map(|candidate| candidate.pod)
        });
        let refused = last.filter(|_| upstream.connect_failed);
        let refused = refused.map(|pod| Event::Refused { pod, at: now });
        // What carries a session goes to the pod that its client names: it says nothing of the pod.
        let is_evidence = upstream.failed && self.purpose != Purpose::InSession;
        let failed = upstream.pod.filter(|_| is_evidence);
        let failed = failed.map(|pod| Event::Failed {
            pod,
            began_at,
            at: now,
        });
        let events = settled.into_iter().chain(left);
        events.chain(refused).chain(failed).collect()
    }

    /// The pods that Envoy may try, in this order.
    fn named(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().take(self.named)
    }

    /// How many of them were tried before the last.
    fn left(&self, upstream: Upstream) -> usize {
        let left = upstream.attempts.saturating_sub(1);
        let mut candidates = self.candidates.iter();
        let place = candidates.position(|candidate| Some(candidate.pod) == upstream.pod);
        place.map_or(left, |place| left.min(place))
    }

    fn log_opened(&self, upstream: Upstream) {
        let served = upstream
            .pod
            .map_or_else(|| "an unknown pod".to_owned(), |pod| pod.to_string());
        log::debug!(
            "cluster {}: opened a WebSocket on {served}; chosen {}, {} attempts",
            self.service.config.cluster,
            self.explain(),
            upstream.attempts
        );
    }
}

/// Whether events tell of pods of which only a poll can say whether they are there.
fn raise_doubts(events: &[Event]) -> bool {
    let is_doubt = |event: &Event| matches!(event, Event::PassedBy { .. } | Event::Refused { .. });
    events.iter().any(is_doubt)
}

/// For a log line: control characters are escaped.
fn printable(text: &str) -> String {
    text.chars().flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::balancer::Balancer;
    use crate::load::PodState;
    use crate::pod::{PodRecord, Reported};
    use crate::testing::FakeHost;
    use crate::testing::address;
    use crate::testing::{self, NOW, RULES, report_all};

    /// Three pods with these counts.
    fn balancer(counts: [u64; 3], on_no_pods: &str) -> Balancer<FakeHost> {
        let json = format!(
            r#"{{"onNoPods": "{on_no_pods}", "services": [{{"cluster": "chat",
               "endpoints": ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]}}]}}"#
        );
        testing::balancer(&json, &[&counts])
    }

    /// The names of the pods that may be tried, and the upgrade or why there is none.
    fn begin(
        balancer: &Balancer<FakeHost>,
        now: Timestamp,
    ) -> (Option<String>, Result<Upgrade<FakeHost>, Refusal>) {
        let choice = Choice::among_endpoints(balancer, &balancer.services[0], now);
        let on_no_pods = balancer.settings.on_no_pods;
        (choice.names(), Upgrade::begin(choice, on_no_pods, 1, now))
    }

    fn proceed(balancer: &Balancer<FakeHost>) -> (Option<String>, Upgrade<FakeHost>) {
        let (names, upgrade) = begin(balancer, NOW);
        (names, upgrade.ok().unwrap())
    }

    fn refusal(balancer: &Balancer<FakeHost>, now: Timestamp) -> Refusal {
        begin(balancer, now).1.err().unwrap()
    }

    fn estimates(balancer: &Balancer<FakeHost>) -> Vec<f64> {
        testing::estimates(&balancer.services[0])
    }

    fn states(balancer: &Balancer<FakeHost>) -> Vec<PodState> {
        testing::states(&balancer.services[0])
    }

    fn doubted(balancer: &Balancer<FakeHost>) -> Vec<bool> {
        let table = balancer.services[0].table();
        table.pods().iter().map(PodRecord::is_doubted).collect()
    }

    fn served(n: u8, attempts: usize) -> Upstream {
        Upstream {
            pod: Some(address(n)),
            attempts,
            ..Upstream::default()
        }
    }

    fn end(upgrade: &mut Upgrade<FakeHost>, upstream: Upstream) {
        upgrade.end(&testing::Ended::at(NOW).by(upstream), NOW);
    }

    fn statistic(balancer: &Balancer<FakeHost>, name: &str) -> u64 {
        balancer.services[0].flush();
        let name = format!("wsbalancer.chat.{name}");
        balancer.shell.statistic(&name)
    }

    #[test]
    fn the_header_names_the_pods_best_first() {
        let balancer = balancer([5, 1, 3], "fallback");
        let (pods, _) = proceed(&balancer);
        assert_eq!(pods.unwrap().split(',').count(), 3, "there is nobody else");
        assert_eq!(statistic(&balancer, "upgrades_balanced"), 1);
    }

    #[test]
    fn the_choice_is_explained() {
        let balancer = balancer([5, 1, 3], "fallback");
        let (_, upgrade) = proceed(&balancer);
        let explanation = upgrade.explain();
        let (pod, reason) = (
            "10.0.0.2:8080",
            "estimate 1, runner-up 10.0.0.3:8080 with 3",
        );
        assert_eq!((explanation.pod(), explanation.reason()), (pod, reason));
        assert_eq!(explanation.as_str(), format!("{pod} ({reason})"));
        let late = NOW.plus(Duration::from_secs(31));
        let (_, upgrade) = begin(&balancer, late);
        assert_eq!(upgrade.ok().unwrap().explain().pod(), "fallback");
    }

    #[test]
    fn a_websocket_is_counted_from_the_choice_to_its_end() {
        let balancer = balancer([5, 1, 3], "fallback");
        let (_, mut upgrade) = proceed(&balancer);
        assert_eq!(estimates(&balancer), [5.0, 2.0, 3.0]);
        upgrade.open(served(2, 1), NOW);
        assert_eq!(estimates(&balancer), [5.0, 2.0, 3.0]);
        end(&mut upgrade, Upstream::default());
        end(&mut upgrade, Upstream::default());
        assert_eq!(estimates(&balancer), [5.0, 1.0, 3.0], "once");
    }

    #[test]
    fn an_upgrade_that_the_pod_declines_leaves_no_trace() {
        let balancer = balancer([5, 1, 3], "fallback");
        let (_, mut upgrade) = proceed(&balancer);
        end(&mut upgrade, served(2, 1));
        assert_eq!(estimates(&balancer), [5.0, 1.0, 3.0]);
        assert_eq!(states(&balancer), [PodState::Usable; 3]);
    }

    #[test]
    fn an_answer_that_opens_nothing_settles_the_upgrade_before_it_ends() {
        let balancer = balancer([5, 1, 3], "fallback");
        let (_, mut upgrade) = proceed(&balancer);
        assert_eq!(estimates(&balancer), [5.0, 2.0, 3.0]);
        upgrade.decline(served(3, 2), String::new, NOW);
        assert_eq!(estimates(&balancer), [5.0, 1.0, 3.0]);
        assert_eq!(doubted(&balancer), [false, true, false]);
        end(&mut upgrade, served(3, 2));
        assert_eq!(estimates(&balancer), [5.0, 1.0, 3.0]);
        assert_eq!(statistic(&balancer, "upgrades_retried"), 1, "once");
    }

    #[test]
    fn the_count_follows_a_retry_and_the_pod_that_was_left_comes_last() {
        let balancer = balancer([5, 1, 3], "fallback");
        let (_, mut upgrade) = proceed(&balancer);
        assert!(upgrade.open(served(3, 2), NOW), "it is asked at once");
        assert_eq!(estimates(&balancer), [5.0, 1.0, 4.0]);
        assert_eq!(states(&balancer), [PodState::Usable; 3], "nobody knows why");
        assert_eq!(doubted(&balancer), [false, true, false]);
        assert_eq!(statistic(&balancer, "upgrades_retried"), 1);
        let (pods, _) = proceed(&balancer);
        assert_eq!(pods.unwrap(), "10.0.0.3:8080,10.0.0.1:8080,10.0.0.2:8080");
    }

    #[test]
    fn when_nobody_accepts_only_the_last_is_known_to_refuse_and_all_are_tried_again() {
        let balancer = balancer([5, 1, 3], "fallback");
        let (_, mut upgrade) = proceed(&balancer);
        let upstream = Upstream {
            pod: Some(address(3)),
            attempts: 2,
            connect_failed: true,
            unserved: true,
            ..Upstream::default()
        };
        end(&mut upgrade, upstream);
        assert_eq!(
            states(&balancer),
            [PodState::Usable, PodState::Usable, PodState::Refusing]
        );
        assert_eq!(doubted(&balancer), [false, true, false]);
        assert_eq!(statistic(&balancer, "upgrades_failed"), 1);
        assert_eq!(estimates(&balancer), [5.0, 1.0, 3.0]);
        for n in 1..=3 {
            let at = NOW;
            balancer.services[0].record(&[Event::Refused {
                pod: address(n),
                at,
            }]);
        }
        let (pods, _) = proceed(&balancer);
        assert_eq!(pods.unwrap().split(',').count(), 3, "there is nobody else");
    }

    /// What a pod answered, and how its WebSocket ended, is counted for it.
    #[test]
    fn failed_handshakes_and_websockets_that_end_at_once_are_the_pods() {
        let balancer = balancer([5, 1, 3], "fallback");
        let (_, mut upgrade) = proceed(&balancer);
        let failed = Upstream {
            failed: true,
            unserved: true,
            ..served(2, 1)
        };
        assert!(!upgrade.decline(failed, String::new, NOW));
        let after = |millis| NOW.plus(Duration::from_millis(millis));
        // How long it lived, and whether the client left.
        for (millis, is_clients, is_cut) in [(10, false, 1), (10, true, 0), (1_000, false, 0)] {
            let before = statistic(&balancer, "websockets_cut");
            let (_, mut upgrade) = proceed(&balancer);
            upgrade.open(served(3, 1), NOW);
            let ended = testing::Ended {
                is_clients,
                ..testing::Ended::at(after(millis))
            };
            upgrade.end(&ended, NOW);
            assert_eq!(statistic(&balancer, "websockets_cut") - before, is_cut);
        }
        let table = balancer.services[0].table();
        let told: Vec<_> = table
            .pods()
            .iter()
            .map(|pod| (pod.failed(), pod.cut()))
            .collect();
        assert_eq!(told, [(0, 0), (1, 0), (0, 1)]);
        assert_eq!(table.pods()[2].own_connections(), 0);
        assert_eq!(statistic(&balancer, "upgrades_failed"), 1);
    }

    /// Of one that lived for long nothing is asked, for that would cost each of them a call.
    #[test]
    fn the_end_of_a_websocket_that_lived_costs_no_question() {
        let balancer = balancer([5, 1, 3], "fallback");
        let (_, mut upgrade) = proceed(&balancer);
        upgrade.open(served(2, 1), NOW);
        let ended = testing::Ended::at(NOW.plus(Duration::from_secs(2)));
        upgrade.end(&ended, NOW.plus(Duration::from_secs(1)));
        assert_eq!(ended.questions.get(), 0);
    }

    /// Envoy skips a host that is not in the cluster, and that is no refusal.
    #[test]
    fn a_pod_that_envoy_skipped_did_not_refuse() {
        let balancer = balancer([5, 1, 3], "fallback");
        let (_, mut upgrade) = proceed(&balancer);
        upgrade.open(served(3, 1), NOW);
        assert_eq!(states(&balancer), [PodState::Usable; 3]);
        assert_eq!(estimates(&balancer), [5.0, 1.0, 4.0]);
        assert_eq!(statistic(&balancer, "upgrades_mismatched"), 1);
    }

    #[test]
    fn without_a_usable_pod_the_fallback_chooses_and_its_choice_counts() {
        let balancer = balancer([5, 1, 3], "fallback");
        let late = NOW.plus(Duration::from_secs(31));
        let (names, upgrade) = begin(&balancer, late);
        assert_eq!(names, None);
        assert_eq!(statistic(&balancer, "upgrades_fallback"), 1);
        upgrade.ok().unwrap().open(served(1, 1), late);
        assert_eq!(estimates(&balancer), [6.0, 1.0, 3.0]);
    }

    #[test]
    fn without_a_usable_pod_it_may_be_refused() {
        let balancer = balancer([5, 1, 3], "reject");
        let late = NOW.plus(Duration::from_secs(31));
        assert_eq!(refusal(&balancer, late), Refusal::NoPods);
        assert_eq!(statistic(&balancer, "upgrades_rejected"), 1);
    }

    fn limit(balancer: &Balancer<FakeHost>, limits: [Option<u64>; 3]) {
        let later = NOW.plus(Duration::from_millis(1));
        let reports = limits.map(|limit| Reported {
            limit,
            ..Reported::of(5)
        });
        report_all(&balancer.services[0], later, &reports);
    }

    #[test]
    fn when_every_pod_is_full_no_fallback_fills_them_further() {
        let balancer = balancer([5, 5, 5], "fallback");
        limit(&balancer, [Some(6), Some(5), Some(2)]);
        let (pods, _upgrade) = proceed(&balancer);
        assert_eq!(pods.unwrap(), "10.0.0.1:8080", "the others can't be tried");
        assert_eq!(refusal(&balancer, NOW), Refusal::AllFull);
        assert_eq!(statistic(&balancer, "upgrades_full"), 1);
        assert_eq!(statistic(&balancer, "upgrades_fallback"), 0);
        limit(&balancer, [Some(7), None, None]);
        proceed(&balancer);
    }

    /// One is full, and of the others nothing is known any more.
    #[test]
    fn where_only_the_known_pods_are_full_the_configuration_decides() {
        let balancer = balancer([5, 5, 5], "fallback");
        limit(&balancer, [Some(5), None, None]);
        let service = &balancer.services[0];
        let late = NOW.plus(RULES.cache_ttl);
        let full = Reported {
            limit: Some(5),
            ..Reported::of(5)
        };
        service
            .update(|table| testing::report(table, address(1), late, full))
            .unwrap();
        let (names, upgrade) = begin(&balancer, late.plus(Duration::from_secs(1)));
        assert!(upgrade.is_ok());
        assert_eq!(names, None, "the fallback policy chooses");
        assert_eq!(statistic(&balancer, "upgrades_fallback"), 1);
    }

    #[test]
    fn under_contention_the_choice_is_made_and_counted_later() {
        let balancer = balancer([5, 1, 3], "fallback");
        balancer.shell.outdate(u32::MAX);
        let (pods, _) = proceed(&balancer);
        assert!(pods.unwrap().starts_with("10.0.0.2:8080,"));
        balancer.shell.outdate(0);
        balancer.services[0].flush();
        assert_eq!(estimates(&balancer), [5.0, 2.0, 3.0]);
    }
}
