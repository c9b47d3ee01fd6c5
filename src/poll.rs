//! Who asks, when, and what an answer does: the pods are asked for their counts, and Envoy, where
//! the configuration does not list them, for the pods.
//!
//! The table says when each question is due. One worker asks, the table's *poller*; it claims
//! what is due by compare-and-swap before it asks, so everything is asked once per interval by
//! the whole process. The others watch: when a question is overdue by half an interval, its poller
//! is dead or stalled, and the worker that notices takes the role over.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::balancer::{Balancer, ServiceState};
use crate::clock::{Timestamp, part};
use crate::discovery::{LISTING_LIMIT, Listing, ListingFailure};
use crate::errand::Errand;
use crate::host::{CallToken, Host};
use crate::names::Heard;
use crate::pod::PodAddress;
use crate::report::{METRIC_BODY_LIMIT, PodReport, PollFailure};
use crate::table::Table;

mod count;
mod listing;
mod standing;

/// Ticks within an interval: a question is late by at most a tenth of it.
const TICKS_PER_INTERVAL: u32 = 10;
/// Rarer ticks would make the first counts late after a start.
const LONGEST_TICK: Duration = Duration::from_millis(250);
/// The host's timer counts milliseconds.
const SHORTEST_TICK: Duration = Duration::from_millis(1);

/// An answer, as the host delivers it.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// The call failed: no status, no headers.
    Nothing,
    /// A response; of a body over the [limit](Poller::body_limit), at least one byte more than
    /// the limit.
    Response {
        /// HTTP status.
        status: u16,
        /// The body.
        body: &'a [u8],
    },
}

/// One worker's part in asking.
#[derive(Debug)]
pub struct Poller {
    /// This worker, among those that share the tables; not zero.
    worker: u64,
    pending: BTreeMap<CallToken, Question>,
    /// What was last told of hosts that can't be chosen, by service.
    left_out: BTreeMap<usize, String>,
    /// What the pods are called.
    heard: Heard,
}

/// A question that was sent.
#[derive(Clone, Copy, Debug)]
struct Question {
    service: usize,
    asked_at: Timestamp,
    subject: Subject,
}

#[derive(Clone, Copy, Debug)]
enum Subject {
    /// How many WebSockets a pod has.
    Count(PodAddress),
    /// Which pods there are.
    Pods,
}

impl Poller {
    /// The poller of the worker that goes by `worker`, a random number.
    #[must_use]
    pub fn new(worker: u64) -> Self {
        Self {
            worker: worker.max(1),
            pending: BTreeMap::new(),
            left_out: BTreeMap::new(),
            heard: Heard::default(),
        }
    }

    /// How often [`tick`](Self::tick) is to be called.
    #[must_use]
    pub fn period<H>(balancer: &Balancer<H>) -> Duration {
        balancer
            .services
            .iter()
            .flat_map(|service| {
                let discovery = service.config.discovery();
                [service.config.refresh_interval]
                    .into_iter()
                    .chain(discovery.map(|discovery| discovery.interval))
            })
            .map(|interval| part(interval, TICKS_PER_INTERVAL))
            .fold(LONGEST_TICK, Duration::min)
            .max(SHORTEST_TICK)
    }

    /// Asks what is due, if that is this worker's to do, and tells what has changed.
    pub fn tick<H: Host>(&mut self, balancer: &Balancer<H>, now: Timestamp) {
        for (index, service) in balancer.services.iter().enumerate() {
            service.store.flush(&balancer.host);
            let table = service.store.read(&balancer.host);
            let ours = table.poller() == self.worker;
            if ours {
                self.heard.write(balancer, index, &table);
            }
            let work = self.is_called_for(&table, service, now)
                || ours && standing::is_untold(&table, service, now);
            if work {
                self.work(balancer, index, service, now);
            } else if ours {
                standing::show(balancer, service, &table, now);
            }
        }
    }

    /// Whether this worker has something to ask: its own due questions, or another worker's
    /// overdue ones.
    fn is_called_for(&self, table: &Table, service: &ServiceState, now: Timestamp) -> bool {
        let is_other = ![0, self.worker].contains(&table.poller());
        let is_ours = |errand: &Errand, pace: Pace| {
            let overdue = if is_other {
                pace.grace()
            } else {
                Duration::ZERO
            };
            errand.is_called_for(now, overdue, pace.patience())
        };
        listing::pace(service).is_some_and(|pace| is_ours(&table.listing(), pace))
            || table
                .pods()
                .iter()
                .any(|pod| is_ours(pod.poll(), count::pace(service)))
    }

    fn work<H: Host>(
        &mut self,
        balancer: &Balancer<H>,
        index: usize,
        service: &ServiceState,
        now: Timestamp,
    ) {
        let claimed = service.store.update(&balancer.host, |table| {
            let previous = table.poller();
            let subjects = if self.is_called_for(table, service, now) {
                table.appoint(self.worker);
                claim(table, service, now)
            } else {
                Vec::new()
            };
            let changes = standing::announce(table, service, now);
            (previous, subjects, changes, table.clone())
        });
        // Under contention the next tick tries again.
        let Ok((previous, subjects, changes, table)) = claimed else {
            return;
        };
        let cluster = &service.config.cluster;
        if !subjects.is_empty() && previous != self.worker {
            log::debug!(
                "cluster {cluster}: worker {:x} polls the pods, after worker {previous:x}",
                self.worker
            );
        }
        for change in changes {
            change.tell(cluster);
        }
        standing::show(balancer, service, &table, now);
        for subject in subjects {
            let question = Question {
                service: index,
                asked_at: now,
                subject,
            };
            self.ask(balancer, service, question);
        }
    }

    fn ask<H: Host>(&mut self, balancer: &Balancer<H>, service: &ServiceState, question: Question) {
        let sent = match question.subject {
            Subject::Count(pod) => count::ask(balancer, service, pod),
            Subject::Pods => listing::ask(balancer, service),
        };
        if let Ok(token) = sent {
            self.pending.insert(token, question);
            return;
        }
        match question.subject {
            Subject::Count(pod) => {
                let failure = Err(PollFailure::NotSent);
                count::settle(balancer, service, pod, question.asked_at, failure);
            }
            Subject::Pods => {
                let failure = Err(ListingFailure::NotSent);
                listing::settle(balancer, service, question.asked_at, failure);
            }
        }
    }

    /// The longest body, in bytes, that an answer that came with `token` may have.
    #[must_use]
    pub fn body_limit(&self, token: CallToken) -> usize {
        let question = self.pending.get(&token);
        question.map_or(0, |question| match question.subject {
            Subject::Count(_) => METRIC_BODY_LIMIT,
            Subject::Pods => LISTING_LIMIT,
        })
    }

    /// Takes the answer that came with `token`. One that nobody waits for is ignored.
    pub fn answer<H: Host>(
        &mut self,
        balancer: &Balancer<H>,
        token: CallToken,
        answer: Answer<'_>,
        now: Timestamp,
    ) {
        let Some(question) = self.pending.remove(&token) else {
            return;
        };
        let Some(service) = balancer.services.get(question.service) else {
            return;
        };
        match question.subject {
            Subject::Count(pod) => {
                let report = match answer {
                    Answer::Nothing => Err(PollFailure::NoAnswer),
                    Answer::Response { status, body } => {
                        PodReport::read(&service.config.metric, status, body)
                    }
                };
                if let Ok(report) = &report {
                    self.heard.hear(question.service, pod, report);
                }
                count::settle(balancer, service, pod, question.asked_at, report);
            }
            Subject::Pods => {
                let cluster = &service.config.cluster;
                let listing = match answer {
                    Answer::Nothing => Err(ListingFailure::NoAnswer),
                    Answer::Response { status, body } => Listing::read(cluster, status, body),
                };
                if let Ok(listing) = &listing {
                    self.tell_left_out(question.service, cluster, listing);
                }
                listing::settle(balancer, service, question.asked_at, listing);
                // New pods are asked at once.
                self.work(balancer, question.service, service, now);
            }
        }
    }

    /// Tells of hosts that can't be chosen, if they are others than the last time.
    fn tell_left_out(&mut self, service: usize, cluster: &str, listing: &Listing) {
        let Some(left_out) = &listing.left_out else {
            self.left_out.remove(&service);
            return;
        };
        let left_out = left_out.to_string();
        if self.left_out.get(&service) != Some(&left_out) {
            log::warn!("cluster {cluster}: {left_out}");
            self.left_out.insert(service, left_out);
        }
    }
}

/// How often a question is asked, and how long its answer may take.
#[derive(Clone, Copy, Debug)]
struct Pace {
    interval: Duration,
    timeout: Duration,
}

impl Pace {
    /// How long a question of another worker's may be overdue.
    fn grace(self) -> Duration {
        part(self.interval, 2)
    }

    /// How long an answer is waited for. A question that ends in a timeout ends about when the
    /// next is due; were it asked again first, that failure would be none. With the grace, a
    /// poller that died just after it asked is replaced before two intervals have passed.
    fn patience(self) -> Duration {
        self.timeout.saturating_add(part(self.interval, 4))
    }

    /// When a question that was due at `due_at` and is asked `now` is due again: an interval later,
    /// and after a gap without catching up.
    fn next(self, due_at: Timestamp, now: Timestamp) -> Timestamp {
        let next = due_at.plus(self.interval);
        if next > now {
            next
        } else {
            now.plus(self.interval)
        }
    }
}

/// Takes what is due, and sets when it is due again.
fn claim(table: &mut Table, service: &ServiceState, now: Timestamp) -> Vec<Subject> {
    let pods = listing::claim(table, service, now).then_some(Subject::Pods);
    let counts = count::claim(table, service, now);
    pods.into_iter()
        .chain(counts.into_iter().map(Subject::Count))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::host::fake::{Call, FakeHost};
    use crate::pod::tests::address;
    use crate::standing::Standing;

    /// Some workers of one process, with their clock.
    struct Process {
        host: FakeHost,
        workers: Vec<(Poller, Balancer<FakeHost>)>,
        now: Timestamp,
        /// Whether every call is answered at once.
        pods_answer: bool,
    }

    impl Process {
        /// Three pods, asked every 5 s.
        fn new(workers: u64) -> Self {
            Self::of(
                workers,
                r#"{"services": [{"cluster": "chat",
                    "endpoints": ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]}]}"#,
            )
        }

        /// The pods that Envoy lists, of which it is asked every 2 s; no answers by themselves.
        fn discovering(workers: u64) -> Self {
            let json = r#"{"services": [{"cluster": "chat"}],
                "discovery": {"adminCluster": "admin", "interval": "2s"}}"#;
            Self {
                pods_answer: false,
                ..Self::of(workers, json)
            }
        }

        fn of(workers: u64, json: &str) -> Self {
            let host = FakeHost::default();
            let config = Config::parse(json.as_bytes()).unwrap();
            let worker = |n| {
                let balancer = Balancer::new(host.clone(), config.clone(), n);
                (Poller::new(n), balancer)
            };
            Self {
                workers: (1..=workers).map(worker).collect(),
                host,
                now: Timestamp::from_nanos(1_000_000_000),
                pods_answer: true,
            }
        }

        fn advance(&mut self, millis: u64) {
            self.now = self.now.plus(Duration::from_millis(millis));
        }

        /// One worker's tick; the calls it sent.
        fn tick(&mut self, worker: usize) -> Vec<Call> {
            let (poller, balancer) = &mut self.workers[worker];
            poller.tick(balancer, self.now);
            let calls = self.host.take_calls();
            if self.pods_answer {
                for call in &calls {
                    self.answer(worker, call, 200, &count(0));
                }
            }
            calls
        }

        /// Three pods that do not answer by themselves.
        fn silent(workers: u64) -> Self {
            Self {
                pods_answer: false,
                ..Self::new(workers)
            }
        }

        fn answer(&mut self, worker: usize, call: &Call, status: u16, body: &str) {
            let (poller, balancer) = &mut self.workers[worker];
            let body = body.as_bytes();
            let answer = Answer::Response { status, body };
            poller.answer(balancer, call.token, answer, self.now);
        }

        fn standing(&self, n: u8) -> Standing {
            let service = &self.workers[0].1.services[0];
            let table = service.store.read(&self.host);
            let outlook = service.outlook(&table, self.now);
            outlook.standing(table.pod(address(n)).unwrap())
        }
    }

    fn steered_to(call: &Call) -> &str {
        call.steering.as_ref().map_or("", |(_, pod)| pod)
    }

    fn count(n: u64) -> String {
        format!(r#"{{"agentsConnections": {n}}}"#)
    }

    #[test]
    fn the_first_tick_asks_every_pod_through_its_own_cluster() {
        let mut process = Process::new(1);
        let calls = process.tick(0);
        let steered: Vec<&str> = calls.iter().map(steered_to).collect();
        assert_eq!(steered, ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]);
        for call in &calls {
            assert_eq!(
                (call.cluster.as_str(), call.path.as_str()),
                ("chat", "/metric")
            );
            let (header, _) = call.steering.as_ref().unwrap();
            assert_eq!(header, "x-gateway-destination-endpoint");
            assert_eq!(call.timeout, Duration::from_secs(2));
        }
        assert_eq!(process.tick(0), [], "nothing is due");
    }

    #[test]
    fn every_pod_is_asked_once_per_interval_by_all_workers_together() {
        let mut process = Process::new(4);
        let mut asked = 0;
        process.tick(0);
        process.advance(5_000);
        for worker in 0..4 {
            asked += process.tick(worker).len();
        }
        assert_eq!(asked, 3);
        for _ in 0..20 * 10 {
            process.advance(500);
            for worker in 0..4 {
                asked += process.tick(worker).len();
            }
        }
        assert_eq!(asked, 3 * 21);
    }

    #[test]
    fn pods_are_asked_together_and_a_second_time_soon() {
        let mut process = Process::new(1);
        let mut times = Vec::new();
        let start = process.now;
        for _ in 0..45 {
            let asked = process.tick(0).len();
            if asked > 0 {
                times.push((process.now.since(start).as_millis(), asked));
            }
            process.advance(250);
        }
        assert_eq!(times, [(0, 3), (750, 3), (5_750, 3), (10_750, 3)]);
    }

    #[test]
    fn a_new_pod_joins_the_others() {
        let mut process = Process::discovering(1);
        let polls = process.discover(200, &list(&[1, 2]));
        for poll in &polls {
            process.answer(0, poll, 200, &count(0));
        }
        process.advance(625);
        assert_eq!(process.tick(0).len(), 2);
        process.advance(1_375);
        let polls = process.discover(200, &list(&[1, 2, 3]));
        assert_eq!(polls.len(), 1, "it is asked at once");
        process.advance(3_625);
        let calls = process.tick(0);
        let polls = calls.iter().filter(|call| call.cluster == "chat");
        assert_eq!(polls.count(), 3);
    }

    #[test]
    fn a_stalled_poller_is_replaced_after_half_an_interval() {
        let mut process = Process::new(2);
        process.tick(0);
        process.advance(625);
        assert_eq!(process.tick(0).len(), 3);
        // They are due at 5.625 s, and overdue by half an interval at 8.125 s.
        process.advance(7_499);
        assert_eq!(process.tick(1), []);
        process.advance(1);
        assert_eq!(process.tick(1).len(), 3);
        assert_eq!(process.tick(0), [], "the role has moved");
    }

    #[test]
    fn a_gap_is_not_caught_up() {
        let mut process = Process::new(1);
        process.tick(0);
        process.advance(60_000);
        assert_eq!(process.tick(0).len(), 3);
        process.advance(4_999);
        assert_eq!(process.tick(0), []);
        process.advance(1);
        assert_eq!(process.tick(0).len(), 3);
    }

    #[test]
    fn answers_make_pods_usable_and_are_counted() {
        let mut process = Process::silent(1);
        let calls = process.tick(0);
        process.answer(0, &calls[0], 200, &count(7));
        process.answer(0, &calls[1], 500, "");
        process.answer(0, &calls[0], 200, &count(9));
        assert_eq!(process.standing(1), Standing::Usable);
        assert_eq!(process.standing(2), Standing::Unknown);
        process.advance(500);
        process.tick(0);
        let metric = |name: &str| process.host.metric(&format!("wsbalancer.chat.{name}"));
        assert_eq!((metric("polls_ok"), metric("polls_failed")), (1, 1));
        assert_eq!((metric("pods_usable"), metric("pods_known")), (1, 3));
    }

    #[test]
    fn an_answer_that_a_later_poll_overtook_is_ignored() {
        let mut process = Process::silent(2);
        let old = process.tick(0);
        process.advance(60_000);
        let new = process.tick(1);
        process.answer(1, &new[0], 200, &count(7));
        process.answer(0, &old[0], 200, &count(99));
        let table = process.workers[0].1.services[0].store.read(&process.host);
        assert_eq!(table.pod(address(1)).unwrap().count(), 7);
        assert_eq!(process.host.metric("wsbalancer.chat.polls_ignored"), 1);
    }

    #[test]
    fn a_call_that_envoy_does_not_take_is_a_failed_poll() {
        let mut process = Process::new(1);
        process.host.set_unreachable(true);
        for _ in 0..3 {
            process.tick(0);
            process.advance(5_000);
        }
        assert_eq!(process.host.metric("wsbalancer.chat.polls_failed"), 9);
    }

    #[test]
    fn a_claim_that_lost_the_race_asks_nobody_until_the_next_tick() {
        let mut process = Process::new(1);
        process.host.outdate(u32::MAX);
        assert_eq!(process.tick(0), []);
        process.host.outdate(0);
        assert_eq!(process.tick(0).len(), 3);
    }

    /// By default an answer may take as long as a short interval.
    #[test]
    fn a_pod_is_not_asked_again_while_its_answer_may_still_come() {
        let mut process = Process::silent(1);
        let first = process.tick(0);
        process.advance(3_249);
        assert_eq!(process.tick(0), []);
        process.answer(0, &first[0], 504, "");
        assert_eq!(process.tick(0).len(), 1, "the one whose poll has ended");
        process.advance(1);
        assert_eq!(process.tick(0).len(), 2, "the others are given up");
        assert_eq!(process.host.metric("wsbalancer.chat.polls_failed"), 1);
    }

    fn list(pods: &[u8]) -> String {
        let hosts: Vec<String> = pods
            .iter()
            .map(|n| {
                format!(
                    r#"{{"address": {{"socket_address": {{"address": "10.0.0.{n}",
                        "port_value": 8080}}}}}}"#
                )
            })
            .collect();
        let hosts = hosts.join(",");
        format!(r#"{{"cluster_statuses": [{{"name": "chat", "host_statuses": [{hosts}]}}]}}"#)
    }

    impl Process {
        fn metric(&self, name: &str) -> u64 {
            self.host.metric(&format!("wsbalancer.chat.{name}"))
        }

        /// The tick in which Envoy is asked for the pods, and its answer; the calls that follow.
        fn discover(&mut self, status: u16, body: &str) -> Vec<Call> {
            let calls = self.tick(0);
            let asked = calls.iter().find(|call| call.cluster == "admin").unwrap();
            self.answer(0, asked, status, body);
            self.host.take_calls()
        }
    }

    #[test]
    fn envoy_is_asked_for_the_pods_and_they_are_asked_at_once() {
        let mut process = Process::discovering(1);
        let calls = process.tick(0);
        assert_eq!(calls.len(), 1);
        assert_eq!(
            (calls[0].cluster.as_str(), calls[0].path.as_str()),
            ("admin", "/clusters?format=json&filter=%5Echat%24")
        );
        assert_eq!(calls[0].steering, None);
        process.answer(0, &calls[0], 200, &list(&[1, 2]));
        let polls = process.host.take_calls();
        let steered: Vec<&str> = polls.iter().map(steered_to).collect();
        assert_eq!(steered, ["10.0.0.1:8080", "10.0.0.2:8080"]);
        process.answer(0, &polls[0], 200, &count(7));
        assert_eq!(process.standing(1), Standing::Usable);
        assert_eq!(
            (process.metric("discovery_ok"), process.metric("pods_known")),
            (1, 2)
        );
    }

    #[test]
    fn pods_come_and_go_with_the_list() {
        let mut process = Process::discovering(1);
        for poll in process.discover(200, &list(&[1, 2])) {
            process.answer(0, &poll, 200, &count(0));
        }
        process.advance(2_000);
        let polls = process.discover(200, &list(&[2, 3]));
        let steered: Vec<&str> = polls.iter().map(steered_to).collect();
        assert_eq!(steered, ["10.0.0.3:8080"], "the other is not due");
        assert_eq!(process.standing(2), Standing::Usable);
        assert_eq!(process.standing(3), Standing::Unknown);
        assert_eq!(
            (process.metric("pods_known"), process.metric("pods_usable")),
            (2, 1)
        );
    }

    #[test]
    fn pods_that_come_up_later_start_slowly() {
        let json = r#"{"services": [{"cluster": "chat"}], "slowStart": {"window": "30s"},
            "discovery": {"adminCluster": "admin", "interval": "2s"}}"#;
        let mut process = Process {
            pods_answer: false,
            ..Process::of(1, json)
        };
        let slow = |process: &Process, n| {
            let service = &process.workers[0].1.services[0];
            let table = service.store.read(&process.host);
            let outlook = service.outlook(&table, process.now);
            outlook.slow_start(table.pod(address(n)).unwrap())
        };
        for poll in process.discover(200, &list(&[1, 2])) {
            process.answer(0, &poll, 200, &count(0));
        }
        assert_eq!(slow(&process, 1), None, "it was there before the filter");
        for (seconds, status) in [(6, 500), (5, 500), (5, 500), (5, 200)] {
            process.advance(seconds * 1_000);
            for call in process.tick(0) {
                match steered_to(&call) {
                    "" => process.answer(0, &call, 200, &list(&[1, 2, 3])),
                    "10.0.0.2:8080" => process.answer(0, &call, status, &count(0)),
                    _ => process.answer(0, &call, 200, &count(0)),
                }
            }
            // Those of the pod that is new.
            for call in process.host.take_calls() {
                process.answer(0, &call, 200, &count(0));
            }
        }
        assert_eq!(slow(&process, 1), None);
        assert_eq!(slow(&process, 2), Some(0.1), "it came back just now");
        assert_eq!(slow(&process, 3), Some(0.5), "it is new since 15 s");
    }

    #[test]
    fn the_last_list_stays_while_there_is_none() {
        let mut process = Process::discovering(1);
        for poll in process.discover(200, &list(&[1])) {
            process.answer(0, &poll, 200, &count(0));
        }
        for (status, body) in [(503, ""), (200, "nonsense"), (200, "{}")] {
            process.advance(2_000);
            process.discover(status, body);
            assert_eq!(process.standing(1), Standing::Usable, "{status} {body}");
        }
        assert_eq!(process.metric("discovery_failed"), 3);
        process.advance(2_000);
        process.discover(200, &list(&[]));
        assert_eq!(process.metric("pods_known"), 0, "an empty list is one");
    }

    #[test]
    fn a_late_list_changes_nothing() {
        let mut process = Process::discovering(2);
        let old = process.tick(0);
        process.advance(60_000);
        let new = process.tick(1);
        process.answer(1, &new[0], 200, &list(&[1, 2]));
        process.answer(0, &old[0], 200, &list(&[3]));
        assert_eq!(process.standing(1), Standing::Unknown);
        assert_eq!(process.metric("discovery_ok"), 1);
    }

    #[test]
    fn until_there_is_a_list_it_is_asked_for_every_second() {
        let mut process = Process::discovering(1);
        process.host.set_unreachable(true);
        for _ in 0..5 {
            process.tick(0);
            process.advance(1_000);
        }
        assert_eq!(process.metric("discovery_failed"), 5);
    }

    #[test]
    fn another_worker_asks_for_the_pods_when_the_poller_stalls() {
        let mut process = Process::discovering(2);
        process.discover(200, &list(&[]));
        // After the first time it is due in a second, and overdue by half an interval in two.
        process.advance(1_999);
        assert_eq!(process.tick(1), []);
        process.advance(1);
        assert_eq!(process.tick(1).len(), 1);
    }
}
