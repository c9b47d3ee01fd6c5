//! Who asks the pods for their counts, when, and what an answer does.
//!
//! Each pod's record says when it is due. One worker asks, the table's *poller*; it claims the
//! due pods by compare-and-swap before it asks them, so every pod is asked once per interval
//! by the whole process. The others watch: when a pod is overdue by half an interval, its poller
//! is dead or stalled, and the worker that notices takes the role over. After the first time
//! the pods are spread over the interval, so that many pods are no burst.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::balancer::{Balancer, ServiceState};
use crate::clock::{Timestamp, part};
use crate::config::Service;
use crate::host::{CallToken, Host};
use crate::pod::{PodAddress, PodReport, PollFailure};
use crate::table::{Event, Pod, Standing, Table};

/// Ticks within a refresh interval: a poll is late by at most a tenth of it.
const TICKS_PER_INTERVAL: u32 = 10;
/// Rarer ticks would make the first counts late after a start.
const LONGEST_TICK: Duration = Duration::from_millis(250);
/// The host's timer counts milliseconds.
const SHORTEST_TICK: Duration = Duration::from_millis(1);

/// An answer to a poll, as the host delivers it.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// The call failed: no status, no headers.
    Nothing,
    /// A response; of a body over the limit, at least one byte more than the limit.
    Response {
        /// HTTP status.
        status: u16,
        /// The body.
        body: &'a [u8],
    },
}

/// One worker's part in polling.
#[derive(Debug)]
pub struct Poller {
    /// This worker, among those that share the tables; not zero.
    worker: u64,
    pending: BTreeMap<CallToken, Poll>,
}

#[derive(Clone, Copy, Debug)]
struct Poll {
    service: usize,
    pod: PodAddress,
    asked_at: Timestamp,
}

/// A pod whose standing has changed.
#[derive(Clone, Copy, Debug)]
struct Change {
    pod: Pod,
    standing: Standing,
}

impl Poller {
    /// The poller of the worker that goes by `worker`, a random number.
    #[must_use]
    pub fn new(worker: u64) -> Self {
        Self {
            worker: worker.max(1),
            pending: BTreeMap::new(),
        }
    }

    /// How often [`tick`](Self::tick) is to be called.
    #[must_use]
    pub fn period<H>(balancer: &Balancer<H>) -> Duration {
        balancer
            .services
            .iter()
            .map(|service| part(service.config.refresh_interval, TICKS_PER_INTERVAL))
            .fold(LONGEST_TICK, Duration::min)
            .max(SHORTEST_TICK)
    }

    /// Asks the pods that are due, if that is this worker's to do, and tells what has changed.
    pub fn tick<H: Host>(&mut self, balancer: &Balancer<H>, now: Timestamp) {
        for (index, service) in balancer.services.iter().enumerate() {
            service.store.flush(&balancer.host);
            let table = service.store.read(&balancer.host);
            let ours = table.poller() == self.worker;
            let work = self.is_called_for(&table, service, now)
                || ours && table.pods().iter().any(|pod| untold(pod, service, now));
            if work {
                self.work(balancer, index, service, now);
            } else if ours {
                show(balancer, service, &table, now);
            }
        }
    }

    /// Whether this worker has pods to ask: its own due ones, or another worker's overdue ones.
    fn is_called_for(&self, table: &Table, service: &ServiceState, now: Timestamp) -> bool {
        let patience = match table.poller() {
            0 => Duration::ZERO,
            poller if poller == self.worker => Duration::ZERO,
            _ => part(service.config.refresh_interval, 2),
        };
        table
            .pods()
            .iter()
            .any(|pod| pod.due_at().plus(patience) <= now && !is_pending(pod, service, now))
    }

    fn work<H: Host>(
        &mut self,
        balancer: &Balancer<H>,
        index: usize,
        service: &ServiceState,
        now: Timestamp,
    ) {
        let claimed = service.store.update(&balancer.host, |table| {
            let role = (table.poller() != self.worker).then_some(table.poller());
            let asked = if self.is_called_for(table, service, now) {
                table.appoint(self.worker);
                claim(table, service, now)
            } else {
                Vec::new()
            };
            (role, asked, announce(table, service, now), table.clone())
        });
        // Under contention the next tick tries again.
        let Ok((role, asked, changes, table)) = claimed else {
            return;
        };
        let cluster = &service.config.cluster;
        if let (Some(previous), false) = (role, asked.is_empty()) {
            log::debug!(
                "cluster {cluster}: worker {:x} polls the pods, after worker {previous:x}",
                self.worker
            );
        }
        for change in changes {
            change.tell(cluster);
        }
        show(balancer, service, &table, now);
        for pod in asked {
            self.ask(
                balancer,
                service,
                Poll {
                    service: index,
                    pod,
                    asked_at: now,
                },
            );
        }
    }

    fn ask<H: Host>(&mut self, balancer: &Balancer<H>, service: &ServiceState, poll: Poll) {
        let config = &service.config;
        let token = balancer.host.call(
            &config.cluster,
            &config.metric_path,
            (&balancer.override_header, &poll.pod.to_string()),
            config.metric_timeout,
        );
        match token {
            Ok(token) => {
                self.pending.insert(token, poll);
            }
            Err(_) => settle(balancer, service, poll, Err(PollFailure::NotSent)),
        }
    }

    /// Takes the answer that came with `token`. One that nobody waits for is ignored.
    pub fn answer<H: Host>(
        &mut self,
        balancer: &Balancer<H>,
        token: CallToken,
        answer: Answer<'_>,
    ) {
        let Some(poll) = self.pending.remove(&token) else {
            return;
        };
        let Some(service) = balancer.services.get(poll.service) else {
            return;
        };
        let report = match answer {
            Answer::Nothing => Err(PollFailure::NoAnswer),
            Answer::Response { status, body } => PodReport::read(status, body),
        };
        settle(balancer, service, poll, report);
    }
}

/// Whether an answer may still come. A poll that ends in a timeout ends about when the next is
/// due; were the pod asked again first, that failure would be none. After half an interval more
/// the worker that asked is given up, as it is for pods that are overdue.
fn is_pending(pod: &Pod, service: &ServiceState, now: Timestamp) -> bool {
    let Service {
        metric_timeout,
        refresh_interval,
        ..
    } = service.config;
    pod.is_pending(
        now,
        metric_timeout.saturating_add(part(refresh_interval, 2)),
    )
}

/// Takes the due pods and sets their next time: an interval later, but the first time such that
/// the pods come to be spread over the interval, and after a gap without catching up.
fn claim(table: &mut Table, service: &ServiceState, now: Timestamp) -> Vec<PodAddress> {
    let interval = service.config.refresh_interval;
    let pods = table.pods_mut();
    let share = part(interval, u32::try_from(pods.len()).unwrap_or(u32::MAX));
    let mut asked = Vec::new();
    for (pod, place) in pods.iter_mut().zip(1_u32..) {
        let due_at = pod.due_at();
        if due_at > now || is_pending(pod, service, now) {
            continue;
        }
        let next = if due_at.happened() {
            due_at.plus(interval)
        } else {
            now.plus(share.saturating_mul(place))
        };
        pod.ask(now, if next > now { next } else { now.plus(interval) });
        asked.push(pod.address());
    }
    asked
}

fn untold(pod: &Pod, service: &ServiceState, now: Timestamp) -> bool {
    let mut told = *pod;
    told.announce(pod.standing(service.trust(), now))
}

fn announce(table: &mut Table, service: &ServiceState, now: Timestamp) -> Vec<Change> {
    let mut changes = Vec::new();
    for pod in table.pods_mut() {
        let standing = pod.standing(service.trust(), now);
        if pod.announce(standing) {
            changes.push(Change {
                pod: *pod,
                standing,
            });
        }
    }
    changes
}

impl Change {
    fn tell(&self, cluster: &str) {
        let pod = self.pod.address();
        match self.standing {
            Standing::Usable => log::info!(
                "cluster {cluster}: pod {pod} is up with {} WebSockets",
                self.pod.estimate()
            ),
            Standing::Unknown => log::warn!("cluster {cluster}: pod {pod} is not known any more"),
            Standing::Refusing => log::warn!(
                "cluster {cluster}: pod {pod} is down: it refused a connection; \
                 it is left out until it answers a poll"
            ),
            Standing::Unhealthy => log::warn!(
                "cluster {cluster}: pod {pod} is down: {} polls failed in a row",
                self.pod.failures_in_a_row()
            ),
            Standing::Stale => log::warn!(
                "cluster {cluster}: pod {pod} is down: its last count is older than cacheTTL"
            ),
        }
    }
}

fn show<H: Host>(balancer: &Balancer<H>, service: &ServiceState, table: &Table, now: Timestamp) {
    let pods = table.pods();
    let usable = pods
        .iter()
        .filter(|pod| pod.standing(service.trust(), now) == Standing::Usable);
    let host = &balancer.host;
    host.set(service.metrics.pods_usable, usable.count() as u64);
    host.set(service.metrics.pods_known, pods.len() as u64);
}

/// Records how a poll ended, and tells the log if that is different from the poll before.
fn settle<H: Host>(
    balancer: &Balancer<H>,
    service: &ServiceState,
    poll: Poll,
    report: Result<PodReport, PollFailure>,
) {
    let Poll { pod, asked_at, .. } = poll;
    let event = Event::Answered {
        pod,
        asked_at,
        outcome: report
            .as_ref()
            .map(|report| report.agents_connections)
            .map_err(|&failure| failure),
    };
    let before = service.store.update(&balancer.host, |table| {
        let before = table.pod(pod).filter(|pod| pod.awaits(asked_at)).copied();
        table.apply(&[event]);
        before
    });
    let Ok(before) = before else {
        service.store.defer(&[event]);
        return;
    };
    let last_failure = before.and_then(|pod| pod.last_failure());
    let host = &balancer.host;
    let metrics = &service.metrics;
    let cluster = &service.config.cluster;
    match (before, report) {
        (None, _) => host.add(metrics.polls_ignored, 1),
        (Some(before), Ok(report)) => {
            host.add(metrics.polls_ok, 1);
            if last_failure.is_some() {
                log::info!("cluster {cluster}: pod {pod} answers polls again");
            }
            log::debug!(
                "cluster {cluster}: pod {pod} ({}) reports {} WebSockets, {} were expected",
                report.names(),
                report.agents_connections,
                before.estimate()
            );
        }
        (Some(_), Err(failure)) => {
            host.add(metrics.polls_failed, 1);
            if last_failure != Some(failure) {
                log::warn!("cluster {cluster}: the poll of pod {pod} failed: {failure}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::host::fake::{Call, FakeHost};
    use crate::pod::tests::address;

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
            let host = FakeHost::default();
            let config = Config::parse(
                br#"{"services": [{"cluster": "chat",
                     "endpoints": ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]}]}"#,
            )
            .unwrap();
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
            poller.answer(balancer, call.token, Answer::Response { status, body });
        }

        fn standing(&self, n: u8) -> Standing {
            let service = &self.workers[0].1.services[0];
            let table = service.store.read(&self.host);
            table
                .pod(address(n))
                .unwrap()
                .standing(service.trust(), self.now)
        }
    }

    fn count(n: u64) -> String {
        format!(r#"{{"agentsConnections": {n}}}"#)
    }

    #[test]
    fn the_first_tick_asks_every_pod_through_its_own_cluster() {
        let mut process = Process::new(1);
        let calls = process.tick(0);
        let steered: Vec<&str> = calls.iter().map(|call| call.steering.1.as_str()).collect();
        assert_eq!(steered, ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]);
        for call in &calls {
            assert_eq!(
                (call.cluster.as_str(), call.path.as_str()),
                ("chat", "/metric")
            );
            assert_eq!(call.steering.0, "x-gateway-destination-endpoint");
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
    fn pods_come_to_be_spread_over_the_interval() {
        let mut process = Process::new(1);
        process.tick(0);
        process.advance(2_000);
        let sizes: Vec<usize> = (0..3)
            .map(|_| {
                let asked = process.tick(0).len();
                process.advance(1_700);
                asked
            })
            .collect();
        assert_eq!(sizes, [1, 1, 1]);
    }

    #[test]
    fn a_stalled_poller_is_replaced_after_half_an_interval() {
        let mut process = Process::new(2);
        process.tick(0);
        process.advance(5_000);
        process.tick(0);
        // The first pod is due at 6.667 s, and overdue by half an interval at 9.167 s.
        process.advance(4_166);
        assert_eq!(process.tick(1), []);
        process.advance(1);
        assert_eq!(process.tick(1).len(), 2, "all that are due by now");
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
        assert_eq!(table.pod(address(1)).unwrap().estimate(), 7);
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
        process.advance(4_499);
        assert_eq!(process.tick(0), []);
        process.answer(0, &first[0], 504, "");
        assert_eq!(process.tick(0).len(), 1, "the one whose poll has ended");
        process.advance(1);
        assert_eq!(process.tick(0).len(), 1, "the second is given up");
        assert_eq!(process.host.metric("wsbalancer.chat.polls_failed"), 1);
    }
}
