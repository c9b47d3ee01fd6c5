//! One worker: what it does at each tick, and what becomes of the answers to its questions.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::balancer::Balancer;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::host::{Answer, CallToken};
use crate::poll::{self, Asker, Claim, PORTION, Polls};
use crate::rebalance;
use crate::service::Service;
use crate::sharing;
use crate::shell::Shell;
use crate::status;
use crate::table::{BEAT, Contended, Look, StateChange, Table};
use crate::warning::{Judge, Key, judge_gateway};

/// One worker.
pub struct Worker<S: Shell> {
    /// This worker, among those that share the tables; not zero.
    id: u64,
    balancer: Rc<Balancer<S>>,
    polls: Polls<S>,
    started_at: Timestamp,
    /// When it last looked whether the status has services to show.
    looked_at: Cell<Timestamp>,
    /// When it last did all that a tick does.
    ticked_at: Timestamp,
    /// How soon the next portion of polls is due; none where no round is under way.
    pause: Option<Duration>,
}

/// By then the filters that started with this one have entered their services.
const SETTLED: Duration = Duration::from_secs(5);

/// What a worker has taken upon itself to do for a service, and the table at that moment.
struct Duties {
    table: Table,
    /// Whether this is the worker that asks.
    is_poller: bool,
    claim: Claim,
    state_changes: Vec<StateChange>,
}

impl<S: Shell> Worker<S> {
    /// The worker that goes by `id`, a random number. `seed` should differ between workers.
    pub fn new(shell: S, config: Config, id: u64, seed: u64) -> Self {
        let (id, now) = (id.max(1), shell.now());
        let balancer = Balancer::new(shell, config, seed);
        for service in &balancer.services {
            // Before it does anything: it may end without a word.
            sharing::attend(service, id, now);
            sharing::consult(service, false, now);
        }
        Self {
            id,
            balancer: Rc::new(balancer),
            polls: Polls::default(),
            started_at: now,
            looked_at: Cell::default(),
            ticked_at: Timestamp::NEVER,
            pause: None,
        }
    }

    /// What the worker's requests need.
    #[must_use]
    pub const fn balancer(&self) -> &Rc<Balancer<S>> {
        &self.balancer
    }

    /// How often [`tick`](Self::tick) is to be called. While the pods of a round are being asked the
    /// worker has it called sooner.
    #[must_use]
    pub fn tick_period(&self) -> Duration {
        poll::tick_period(self.balancer.services.iter().map(|service| &service.config))
    }

    /// Does what is due. The contexts whose WebSockets are to be closed now, which are counted as
    /// closed already.
    pub fn tick(&mut self) -> Vec<u32> {
        let (balancer, now) = (Rc::clone(&self.balancer), self.balancer.shell.now());
        balancer.note_time(now);
        let period = self.tick_period();
        let hurried = balancer.calm_down(period);
        if hurried {
            self.pause = None;
        }
        let is_between = self.pause.is_some() && now.since(self.ticked_at) < period;
        let closed = if is_between && !hurried {
            self.go_on(now);
            Vec::new()
        } else {
            self.ticked_at = now;
            self.tend_all(now)
        };
        self.set_pause(now);
        closed
    }

    /// Does all that is due.
    fn tend_all(&mut self, now: Timestamp) -> Vec<u32> {
        let balancer = Rc::clone(&self.balancer);
        self.look_at_gateway(now);
        let has_requests = balancer.take_requests();
        let mut most = PORTION;
        for service in &balancer.services {
            sharing::consult(service, has_requests, now);
            self.look(service, has_requests, now);
            let asked = self.tend(service, now, most);
            most = most.saturating_sub(asked);
        }
        let mut closed = Vec::new();
        for service in &balancer.services {
            let left = rebalance::MOST_AT_ONCE.saturating_sub(closed.len());
            closed.extend(rebalance::close(service, now, left));
        }
        closed
    }

    /// Asks the next portion, and nothing else: a tick has just been.
    fn go_on(&mut self, now: Timestamp) {
        let balancer = Rc::clone(&self.balancer);
        let mut most = PORTION;
        for service in &balancer.services {
            if most == 0 || service.asking.left() == 0 {
                continue;
            }
            let asker = self.asker(service, most);
            let claimed = service.update(|table| {
                let previous = table.poller();
                let claim = claim(service, table, asker, now);
                (previous, claim, table.clone())
            });
            // Under contention the next portion tries again.
            if let Ok((previous, claim, table)) = claimed {
                self.note_role(service, &claim, previous);
                most = most.saturating_sub(claim.questions.len());
                self.ask(service, &table, claim);
            }
        }
    }

    /// Has the next tick come as soon as pods are to be asked that are left.
    fn set_pause(&mut self, now: Timestamp) {
        let (mut left, mut pause) = (0_usize, None);
        for service in &self.balancer.services {
            let asking = &service.asking;
            if asking.left() > 0 {
                left = left.saturating_add(asking.left());
                let elapsed = asking.round().map(|round| now.since(round.began_at()));
                let interval = service.config.rules.refresh_interval;
                let needed = poll::pause(left, interval, elapsed.unwrap_or_default());
                pause = Some(pause.map_or(needed, |pause: Duration| pause.min(needed)));
            }
        }
        if pause != self.pause {
            self.pause = pause;
            let period = pause.unwrap_or_else(|| self.tick_period());
            self.balancer.shell.set_tick_period(period);
        }
    }

    /// Looks whether this configuration of a service is the current one.
    fn look(&self, service: &Service<S>, has_requests: bool, now: Timestamp) {
        let look = |table: &Table| Look {
            fingerprint: service.fingerprint,
            now,
            has_requests,
            is_abandoned: poll::is_abandoned(table, &service.config, now),
        };
        let table = service.table();
        if table.current().after(&look(&table)).is_none() {
            return;
        }
        let becomes = service.update(|table| {
            let look = look(table);
            service.look(table, &look)
        });
        match becomes {
            Ok(true) => service.announcer.is_current(&service.config),
            // The next tick tries again.
            Err(Contended) if has_requests => self.balancer.note_request(),
            Ok(false) | Err(Contended) => {}
        }
    }

    /// What a tick does for one service, of which at most `most` pods are asked; how many were.
    fn tend(&mut self, service: &Rc<Service<S>>, now: Timestamp, most: usize) -> usize {
        service.flush();
        sharing::attend(service, self.id, now);
        let duties = self.take_duties(service, now, most);
        if duties.is_poller {
            service.names.write(&service.shell, &duties.table);
            service.announcer.state_changes(&duties.state_changes);
            let view = service.view(&duties.table, now);
            service
                .announcer
                .gauges(&service.shell, &duties.table, &view);
        }
        self.look_out(service, &duties, now);
        let asked = duties.claim.questions.len();
        self.ask(service, &duties.table, duties.claim);
        asked
    }

    /// Asks what was claimed in `table`.
    fn ask(&mut self, service: &Rc<Service<S>>, table: &Table, claim: Claim) {
        service.asking.set(claim.round, claim.left);
        for (question, asked_at) in claim.questions {
            self.polls.ask(service, table, question, asked_at);
        }
    }

    fn asker(&self, service: &Service<S>, most: usize) -> Asker {
        Asker {
            worker: self.id,
            stepped_back_at: service.reach.get().stepped_back_at(),
            round: service.asking.round(),
            most,
        }
    }

    /// Where this filter shows the status and has no services: warns if there are none to show.
    /// Others may still be starting at first.
    fn look_at_gateway(&self, now: Timestamp) {
        let balancer = &self.balancer;
        let is_beat = now.since(self.looked_at.get()) >= BEAT;
        let has_settled = now.since(self.started_at) >= SETTLED;
        let shows_others = balancer.settings.status.is_some() && balancer.services.is_empty();
        if !(shows_others && is_beat && has_settled) {
            return;
        }
        self.looked_at.set(now);
        let has_services = status::has_services(&balancer.shell);
        let changes = Key::of_gateway().update(&balancer.shell, |findings| {
            judge_gateway(findings, has_services)
        });
        changes.unwrap_or_default().log("status");
    }

    /// Learns of what workers have seen that is to be warned of, and if it is the poller, judges it.
    fn look_out(&self, service: &Service<S>, duties: &Duties, now: Timestamp) {
        let judge = Judge {
            service: &service.config,
            settings: &self.balancer.settings,
            table: &duties.table,
            usage: service.lookout.usage(),
            is_unused: &|| self.balancer.is_unused(),
            now,
        };
        let judge = duties.is_poller.then_some(&judge);
        let changes = service.lookout.look(&service.shell, judge, now);
        changes.log(&format!("cluster {}", service.config.cluster));
    }

    fn take_duties(&self, service: &Service<S>, now: Timestamp, most: usize) -> Duties {
        let table = service.table();
        let view = service.view(&table, now);
        let is_current = service.may_poll(&table);
        let is_poller = is_current && table.poller() == self.id;
        let none = |table, claim| Duties {
            table,
            is_poller,
            claim,
            state_changes: Vec::new(),
        };
        let asker = self.asker(service, most);
        let is_due = is_current
            && poll::is_due(&table, &service.config, asker, now)
            && sharing::is_still_current(service);
        let is_news = is_poller && table.has_state_changes(&view);
        let may_ask = is_due && most > 0;
        // What is due where this portion is full.
        let postponed = Claim {
            round: asker.round,
            left: if is_due { table.pods().len() } else { 0 },
            ..Claim::default()
        };
        if !(may_ask || is_news) {
            return none(table, postponed);
        }
        let duties = service.update(|table| {
            let previous = table.poller();
            let claim = if may_ask {
                claim(service, table, asker, now)
            } else {
                postponed.clone()
            };
            let is_poller = table.poller() == self.id;
            let view = service.view(table, now);
            let state_changes = if is_poller {
                table.take_state_changes(&view)
            } else {
                Vec::new()
            };
            let duties = Duties {
                table: table.clone(),
                is_poller,
                claim,
                state_changes,
            };
            (previous, duties)
        });
        // Under contention the next tick tries again.
        let Ok((previous, duties)) = duties else {
            let as_before = Claim {
                left: service.asking.left(),
                ..postponed
            };
            return none(table, as_before);
        };
        self.note_role(service, &duties.claim, previous);
        duties
    }

    /// Logs that this worker asks, where another did before.
    fn note_role(&self, service: &Service<S>, claim: &Claim, previous: u64) {
        if !claim.questions.is_empty() && previous != self.id {
            log::debug!(
                "cluster {}: worker {:x} polls the pods, after worker {previous:x}",
                service.config.cluster,
                self.id
            );
        }
    }

    /// Its end, in order: all that it had has ended.
    pub fn end(&self) {
        for service in &self.balancer.services {
            sharing::sign_off(service, self.id);
        }
    }

    /// See [`Polls::body_limit`].
    #[must_use]
    pub fn body_limit(&self, token: CallToken) -> usize {
        self.polls.body_limit(token)
    }

    /// Takes the answer that came with `token`. Pods that it brings are asked at once.
    pub fn answer(&mut self, token: CallToken, answer: Answer<'_>) {
        if let Some(service) = self.polls.answer(token, answer) {
            let now = self.balancer.shell.now();
            self.tend(&service, now, PORTION);
            self.set_pause(now);
        }
    }
}

/// Takes questions, where this configuration is the one that polls.
fn claim<S: Shell>(service: &Service<S>, table: &mut Table, asker: Asker, now: Timestamp) -> Claim {
    if service.may_poll(table) {
        poll::claim(table, &service.config, asker, now)
    } else {
        Claim::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::load::PodState;
    use crate::num::approximate;
    use crate::table::Event;
    use crate::testing::{Call, FakeHost, NOW, address};
    use crate::upgrade::route_by;

    /// Some workers of one process, with their clock.
    struct Process {
        host: FakeHost,
        workers: Vec<Worker<FakeHost>>,
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
            host.set_now(NOW);
            let worker = |n| Worker::new(host.clone(), config.clone(), n, n);
            Self {
                workers: (1..=workers).map(worker).collect(),
                host,
                now: NOW,
                pods_answer: true,
            }
        }

        fn advance(&mut self, millis: u64) {
            self.now = self.now.plus(Duration::from_millis(millis));
            self.host.set_now(self.now);
        }

        /// One worker's tick; the calls it sent.
        fn tick(&mut self, worker: usize) -> Vec<Call> {
            let to_close = self.workers[worker].tick();
            assert!(to_close.is_empty(), "nothing is rebalanced");
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
            let body = body.as_bytes();
            let answer = Answer::Response { status, body };
            self.workers[worker].answer(call.token, answer);
        }

        fn service(&self) -> &Service<FakeHost> {
            &self.workers[0].balancer.services[0]
        }

        fn state(&self, n: u8) -> PodState {
            let table = self.service().table();
            let view = self.service().view(&table, self.now);
            view.state(table.pod(address(n)).unwrap())
        }
    }

    /// The pod that was asked; empty where the question was for the pods.
    fn steered_to(call: &Call) -> &str {
        call.upstream.as_deref().unwrap_or_default()
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
            assert_eq!(
                call.authority,
                steered_to(call),
                "as Kubernetes' probes have it"
            );
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

    /// On the one pod that has none of anybody else's.
    fn burst(process: &Process) {
        let pod = address(1);
        for _ in 0..20 {
            process.service().record(&[Event::Opened { pod, at: NOW }]);
        }
    }

    #[test]
    fn within_a_burst_whoever_sees_it_asks_early() {
        let mut process = Process::silent(2);
        let calls = process.tick(0);
        for (call, held) in calls.iter().zip([0, 200, 200]) {
            process.answer(0, call, 200, &count(held));
        }
        process.advance(300);
        assert_eq!(process.tick(1), [], "nothing has happened");
        burst(&process);
        let now = process.now;
        let service = |worker: usize| Rc::clone(&process.workers[worker].balancer.services[0]);
        let [first, second] = [service(0), service(1)];
        // As a choice does before.
        second.table();
        assert!(poll::look_early(&second, now));
        assert!(!poll::look_early(&second, now), "it has just looked");
        assert_eq!(process.tick(1).len(), 3);
        first.table();
        assert!(!poll::look_early(&first, now), "they are being asked");
        assert_eq!(process.tick(0), []);
        process.advance(325);
        assert_eq!(process.tick(1), [], "no pod is asked twice at once");
    }

    /// So many pods.
    const MANY: u8 = 90;

    impl Process {
        fn of_many(workers: u64) -> Self {
            let endpoints: Vec<String> = (1..=MANY).map(|n| format!("{:?}", name(n))).collect();
            let endpoints = endpoints.join(",");
            Self::of(
                workers,
                &format!(r#"{{"services": [{{"cluster": "chat", "endpoints": [{endpoints}]}}]}}"#),
            )
        }

        /// Ticks as often as the worker has it; when how many pods were asked, until nobody is left.
        fn round(&mut self, worker: usize) -> Vec<(Duration, Vec<Call>)> {
            let (start, mut portions) = (self.now, Vec::new());
            loop {
                let calls = self.tick(worker);
                let period = self.host.tick_period();
                if calls.is_empty() {
                    return portions;
                }
                portions.push((self.now.since(start), calls));
                if period == self.workers[worker].tick_period() {
                    return portions;
                }
                self.advance(u64::try_from(period.as_millis()).unwrap());
            }
        }
    }

    fn name(n: u8) -> String {
        address(n).to_string()
    }

    fn sizes(portions: &[(Duration, Vec<Call>)]) -> Vec<(u128, usize)> {
        let portions = portions.iter();
        portions
            .map(|(elapsed, calls)| (elapsed.as_millis(), calls.len()))
            .collect()
    }

    #[test]
    fn many_pods_are_asked_in_portions_and_each_once() {
        let mut process = Process::of_many(2);
        for pause in [625, 5_000, 5_000] {
            let portions = process.round(0);
            assert_eq!(
                sizes(&portions),
                [(0, 20), (5, 20), (10, 20), (15, 20), (20, 10)]
            );
            let calls = portions.iter().flat_map(|(_, calls)| calls);
            let mut asked: Vec<&str> = calls.map(steered_to).collect();
            asked.sort_unstable();
            asked.dedup();
            assert_eq!(asked.len(), usize::from(MANY));
            assert_eq!(process.tick(0), [], "all were asked");
            assert_eq!(process.tick(1), [], "and nobody else asks");
            process.advance(pause - 20);
        }
    }

    /// Where a pod's counts are of one round they are compared; two rounds would each be of a part of
    /// the pods.
    #[test]
    fn the_portions_of_a_round_are_of_one_moment() {
        let mut process = Process::of_many(1);
        process.pods_answer = false;
        // Others open twice as many as this gateway, and only on the last pods.
        for (round, pause) in (0..3).zip([605, 4_980, 0]) {
            let began_at = process.now;
            for (_, calls) in process.round(0) {
                for call in calls {
                    let is_last = u64::from(steered_to(&call) == name(MANY));
                    process.answer(0, &call, 200, &count(60 * round * is_last));
                }
            }
            process.tick(0);
            let table = process.service().table();
            let pods = table.pods();
            assert!(pods.iter().all(|pod| pod.counted_at() == began_at));
            for _ in 0..20 {
                let pod = address(MANY);
                process.service().record(&[Event::Opened { pod, at: NOW }]);
            }
            process.advance(pause);
        }
        let table = process.service().table();
        let view = process.service().view(&table, process.now);
        assert!((2.0..3.0).contains(&view.ratio), "{}", view.ratio);
    }

    /// What is opened on a pod before its portion is asked is in its count.
    #[test]
    fn what_happens_before_a_pods_portion_is_known_to_it() {
        let mut process = Process::of_many(1);
        process.pods_answer = false;
        process.tick(0);
        let pod = address(MANY);
        process.service().record(&[Event::Opened { pod, at: NOW }]);
        process.advance(5);
        for (_, calls) in process.round(0) {
            for call in calls {
                process.answer(0, &call, 200, &count(1));
            }
        }
        process.tick(0);
        let table = process.service().table();
        let estimate = process.service().view(&table, process.now);
        assert_eq!(estimate.estimate(table.pod(pod).unwrap()), 1.0);
    }

    #[test]
    fn answers_of_many_pods_go_into_the_table_together() {
        let mut process = Process::of_many(2);
        process.pods_answer = false;
        let counted = |process: &Process| {
            let service = &process.workers[1].balancer.services[0];
            let table = service.table();
            let counted = table
                .pods()
                .iter()
                .filter(|pod| pod.counted_at().happened());
            counted.count()
        };
        let calls = process.tick(0);
        let polls_ok = |process: &Process| process.host.statistic("wsbalancer.chat.polls_ok");
        for (answered, call) in (1..).zip(&calls) {
            process.answer(0, call, 200, &count(1));
            // An eighth of those that are to come, asked or not.
            let expect = match answered {
                0..10 => 0,
                10..19 => 10,
                _ => 19,
            };
            assert_eq!(counted(&process), expect);
            assert_eq!(
                polls_ok(&process),
                expect as u64,
                "what comes of it comes with it"
            );
        }
        process.advance(5);
        process.tick(0);
        assert_eq!(counted(&process), 20, "the next portion takes them along");
        assert_eq!(polls_ok(&process), 20);
    }

    #[test]
    fn a_burst_asks_many_pods_in_portions_to_the_end() {
        let mut process = Process::of_many(1);
        process.pods_answer = false;
        let held = |call: &Call| count(if steered_to(call) == name(1) { 0 } else { 200 });
        for (_, calls) in process.round(0) {
            for call in calls {
                process.answer(0, &call, 200, &held(&call));
            }
        }
        process.advance(500);
        burst(&process);
        // The first count says that nothing is needed any more; still it is a round of all.
        let began_at = process.now;
        let mut asked = Vec::new();
        for (_, calls) in process.round(0) {
            for call in calls {
                process.answer(0, &call, 200, &held(&call));
                asked.push(steered_to(&call).to_owned());
            }
        }
        process.tick(0);
        asked.sort_unstable();
        asked.dedup();
        assert_eq!(asked.len(), usize::from(MANY));
        let table = process.service().table();
        let of_burst = |pod: &&crate::pod::PodRecord| pod.poll().succeeded_at() == began_at;
        assert_eq!(table.pods().iter().filter(of_burst).count(), asked.len());
        process.advance(105);
        assert_eq!(process.round(0).len(), 5, "the time of the next poll stays");
    }

    #[test]
    fn who_watches_leaves_pods_to_the_poller_that_it_is_about_to_ask() {
        let mut process = Process::discovering(2);
        let pods: Vec<u8> = (1..=MANY).collect();
        let first = process.discover(200, &list(&pods));
        assert_eq!(first.len(), 20);
        assert_eq!(process.tick(1), []);
        let mut asked = first.len();
        while process.host.tick_period() != process.workers[0].tick_period() {
            process.advance(5);
            asked += process.tick(0).len();
            assert_eq!(process.tick(1), []);
        }
        assert_eq!(asked, pods.len());
    }

    #[test]
    fn a_poller_that_is_lost_within_a_round_is_replaced() {
        let mut process = Process::of_many(2);
        process.round(0);
        process.advance(605);
        assert_eq!(process.tick(0).len(), 20);
        process.advance(2_499);
        assert_eq!(process.tick(1), []);
        process.advance(1);
        let others: usize = sizes(&process.round(1))
            .iter()
            .map(|(_, asked)| asked)
            .sum();
        assert_eq!(others, 70);
    }

    /// Each portion is one of the worker's, whatever services it is for.
    #[test]
    fn many_services_are_asked_in_portions_too() {
        let services: Vec<String> = (1..=9)
            .map(|service| {
                let endpoints: Vec<String> = (0..10)
                    .map(|pod| format!("{:?}", name(10 * service + pod)))
                    .collect();
                let endpoints = endpoints.join(",");
                format!(r#"{{"cluster": "chat-{service}", "endpoints": [{endpoints}]}}"#)
            })
            .collect();
        let json = format!(r#"{{"services": [{}]}}"#, services.join(","));
        let mut process = Process::of(1, &json);
        let portions = process.round(0);
        let asked = sizes(&portions);
        assert_eq!(asked.iter().map(|(_, asked)| asked).sum::<usize>(), 90);
        assert!(
            asked.iter().all(|&(at, asked)| asked <= 20 && at <= 250),
            "{asked:?}"
        );
    }

    #[test]
    fn a_tick_that_hurried_is_followed_by_calm_ones() {
        let mut process = Process::new(1);
        let balancer = Rc::clone(&process.workers[0].balancer);
        balancer.hurry(poll::SHORTEST_TICK);
        assert_eq!(process.host.tick_period(), poll::SHORTEST_TICK);
        process.tick(0);
        assert_eq!(process.host.tick_period(), process.workers[0].tick_period());
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
        assert_eq!(process.state(1), PodState::Usable);
        assert_eq!(process.state(2), PodState::Unknown);
        process.advance(500);
        process.tick(0);
        let statistic = |name: &str| process.host.statistic(&format!("wsbalancer.chat.{name}"));
        assert_eq!((statistic("polls_ok"), statistic("polls_failed")), (1, 1));
        assert_eq!((statistic("pods_usable"), statistic("pods_known")), (1, 3));
    }

    #[test]
    fn an_answer_that_a_later_poll_overtook_is_ignored() {
        let mut process = Process::silent(2);
        let old = process.tick(0);
        process.advance(60_000);
        let new = process.tick(1);
        process.answer(1, &new[0], 200, &count(7));
        process.answer(0, &old[0], 200, &count(99));
        let table = process.service().table();
        assert_eq!(table.pod(address(1)).unwrap().connections(), 7);
        assert_eq!(process.host.statistic("wsbalancer.chat.polls_ignored"), 1);
    }

    #[test]
    fn a_call_that_envoy_does_not_take_is_a_failed_poll() {
        let mut process = Process::new(1);
        process.host.set_unreachable(true);
        for _ in 0..3 {
            process.tick(0);
            process.advance(5_000);
        }
        assert_eq!(process.host.statistic("wsbalancer.chat.polls_failed"), 9);
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
        assert_eq!(process.host.statistic("wsbalancer.chat.polls_failed"), 1);
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
        fn statistic(&self, name: &str) -> u64 {
            self.host.statistic(&format!("wsbalancer.chat.{name}"))
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
        assert_eq!(calls[0].upstream, None, "any host will do");
        process.answer(0, &calls[0], 200, &list(&[1, 2]));
        let polls = process.host.take_calls();
        let steered: Vec<&str> = polls.iter().map(steered_to).collect();
        assert_eq!(steered, ["10.0.0.1:8080", "10.0.0.2:8080"]);
        process.answer(0, &polls[0], 200, &count(7));
        assert_eq!(process.state(1), PodState::Usable);
        assert_eq!(
            (
                process.statistic("discovery_ok"),
                process.statistic("pods_known")
            ),
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
        assert_eq!(process.state(2), PodState::Usable);
        assert_eq!(process.state(3), PodState::Unknown);
        assert_eq!(
            (
                process.statistic("pods_known"),
                process.statistic("pods_usable")
            ),
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
            let table = process.service().table();
            let view = process.service().view(&table, process.now);
            view.slow_start(table.pod(address(n)).unwrap())
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

    /// A name server that tells some of the pods at a time. What is open on the others lives on.
    struct Rotation {
        process: Process,
        random: fastrand::Rng,
        /// How many WebSockets each pod has, by its number.
        open: BTreeMap<u8, u64>,
    }

    impl Rotation {
        const PODS: u8 = 25;
        const TOLD: usize = 10;

        fn new(window: &str) -> Self {
            let json = format!(
                r#"{{"services": [{{"cluster": "chat"}}], "slowStart": {{"window": "{window}"}},
                    "discovery": {{"adminCluster": "admin", "interval": "1s"}}}}"#
            );
            Self {
                process: Process {
                    pods_answer: false,
                    ..Process::of(1, &json)
                },
                random: fastrand::Rng::with_seed(7),
                open: (1..=Self::PODS).map(|pod| (pod, 0)).collect(),
            }
        }

        fn count_of(&self, pod: u8) -> u64 {
            self.open[&pod]
        }

        fn imbalance(&self) -> f64 {
            let fullest = self.open.values().copied().max().unwrap();
            let mean = approximate(self.open.values().sum()) / f64::from(Self::PODS);
            approximate(fullest) / mean
        }

        /// All questions are answered, and those that come of the answers.
        fn tick(&mut self) {
            let mut calls = self.process.tick(0);
            while let Some(call) = calls.pop() {
                let mut told: Vec<u8> = (1..=Self::PODS).collect();
                self.random.shuffle(&mut told);
                told.truncate(Self::TOLD);
                let body = match steered_to(&call) {
                    "" => list(&told),
                    pod => count(self.count_of(number_of(pod))),
                };
                self.process.answer(0, &call, 200, &body);
                calls.extend(self.process.host.take_calls());
            }
        }

        fn open_one(&mut self) {
            let balancer = Rc::clone(&self.process.workers[0].balancer);
            let service = &balancer.services[0];
            let choice = route_by::choose(&balancer, service, self.process.now).unwrap();
            let pod = choice.candidates[0].pod;
            service.record(&[Event::Settled { pod }, Event::Opened { pod, at: NOW }]);
            *self.open.get_mut(&number_of(&pod.to_string())).unwrap() += 1;
        }

        fn close_one(&mut self) {
            let number = self.random.u8(1..=Self::PODS);
            let open = self.open.get_mut(&number).unwrap();
            if *open > 0 {
                *open -= 1;
                let pod = address(number);
                self.process.service().record(&[Event::Closed { pod }]);
            }
        }
    }

    /// That of a pod's address.
    fn number_of(pod: &str) -> u8 {
        (1..=u8::MAX)
            .find(|n| pod == address(*n).to_string())
            .unwrap()
    }

    #[test]
    fn pods_that_are_away_for_a_moment_keep_their_counts() {
        for (window, opened_per_tick) in [("10s", 1), ("10s", 4), ("60s", 4)] {
            let mut rotation = Rotation::new(window);
            for _ in 0..600 {
                rotation.tick();
                for _ in 0..opened_per_tick {
                    rotation.open_one();
                }
                rotation.process.advance(100);
            }
            let imbalance = rotation.imbalance();
            assert!(
                imbalance <= 1.05,
                "{window}, {opened_per_tick}: {imbalance}"
            );
            assert_eq!(rotation.process.statistic("pods_known"), 10);
        }
    }

    /// While they are away, too.
    #[test]
    fn what_ends_on_pods_that_are_away_is_counted() {
        let mut rotation = Rotation::new("10s");
        for _ in 0..300 {
            rotation.tick();
            for _ in 0..4 {
                rotation.open_one();
            }
            rotation.close_one();
            rotation.process.advance(100);
        }
        let table = rotation.process.service().table();
        for pod in table.pods() {
            let open = rotation.count_of(number_of(&pod.address().to_string()));
            assert_eq!(u64::from(pod.own_connections()), open);
        }
    }

    #[test]
    fn the_last_list_stays_while_there_is_none() {
        let mut process = Process::discovering(1);
        for poll in process.discover(200, &list(&[1])) {
            process.answer(0, &poll, 200, &count(0));
        }
        // After each failure Envoy is left alone for twice as long.
        for (pause, status, body) in [
            (2_000, 503, ""),
            (2_000, 200, "nonsense"),
            (4_000, 200, "{}"),
        ] {
            process.advance(pause);
            process.discover(status, body);
            assert_eq!(process.state(1), PodState::Usable, "{status} {body}");
        }
        assert_eq!(process.statistic("discovery_failed"), 3);
        process.advance(8_000);
        process.discover(200, &list(&[]));
        assert_eq!(process.statistic("pods_known"), 0, "an empty list is one");
    }

    #[test]
    fn a_late_list_changes_nothing() {
        let mut process = Process::discovering(2);
        let old = process.tick(0);
        process.advance(60_000);
        let new = process.tick(1);
        process.answer(1, &new[0], 200, &list(&[1, 2]));
        process.answer(0, &old[0], 200, &list(&[3]));
        assert_eq!(process.state(1), PodState::Unknown);
        assert_eq!(process.statistic("discovery_ok"), 1);
    }

    /// The seconds in which Envoy is asked for the pods, of the first so many.
    fn asked_for_pods(process: &mut Process, seconds: u64, answer: (u16, &str)) -> Vec<u64> {
        let mut asked = Vec::new();
        for second in 0..seconds {
            for call in process.tick(0) {
                if call.cluster == "admin" {
                    asked.push(second);
                    process.answer(0, &call, answer.0, answer.1);
                }
            }
            process.host.take_calls();
            process.advance(1_000);
        }
        asked
    }

    #[test]
    fn until_there_is_a_list_it_is_asked_for_soon_and_then_less_often() {
        let mut process = Process::discovering(1);
        let asked = asked_for_pods(&mut process, 120, (503, ""));
        assert_eq!(asked, [0, 1, 3, 7, 15, 31, 63, 95]);
        let good = asked_for_pods(&mut process, 20, (200, &list(&[1])));
        assert_eq!(good, [7, 8, 10, 12, 14, 16, 18], "and afterwards as before");
    }

    /// A hundredth of what a core can do.
    #[test]
    fn a_list_that_costs_much_is_asked_for_less_often() {
        let mut process = Process::discovering(1);
        // 1 MB costs some 31 ms.
        let large = format!("{}{}", list(&[1]), " ".repeat(1_000_000));
        let asked = asked_for_pods(&mut process, 10, (200, &large));
        assert_eq!(asked, [0, 4, 8]);
    }

    #[test]
    fn polls_name_another_host_if_they_are_to() {
        let json = r#"{"services": [{"cluster": "chat", "endpoints": ["10.0.0.1:8080"]}],
            "metricHost": "chat.example.com"}"#;
        assert_eq!(
            Process::of(1, json).tick(0)[0].authority,
            "chat.example.com"
        );
    }

    /// Istio's names are none that a server takes.
    #[test]
    fn where_the_cluster_is_the_pod_polls_name_what_can_be_a_host() {
        for (cluster, authority) in [("pod-1", "pod-1"), ("outbound|80||chat", "localhost")] {
            let json =
                format!(r#"{{"routeBy": "cluster", "services": [{{"cluster": "{cluster}"}}]}}"#);
            let calls = Process::of(1, &json).tick(0);
            assert_eq!(
                (&*calls[0].authority, &calls[0].upstream),
                (authority, &None)
            );
        }
    }

    #[test]
    fn pods_inside_envoy_are_polled_by_the_name_that_envoy_gives_them() {
        let mut process = Process::discovering(1);
        let ambient = r#"{"cluster_statuses": [{"name": "chat", "host_statuses": [{"address":
            {"envoy_internal_address": {"server_listener_name": "connect_originate",
            "endpoint_id": "10.0.0.1:8080"}}}]}]}"#;
        let polls = process.discover(200, ambient);
        assert_eq!(
            steered_to(&polls[0]),
            "envoy://connect_originate/10.0.0.1:8080"
        );
        assert_eq!(polls[0].authority, "10.0.0.1:8080");
    }

    /// Envoy's main thread can't reach them: a worker has to.
    #[test]
    fn who_can_not_reach_pods_inside_envoy_leaves_them_to_others() {
        // On a host that has just started, and on one that has been up for an hour.
        for uptime in [0, 3_600_000] {
            let mut process = Process::discovering(3);
            process.advance(uptime);
            leaves_pods_inside_envoy_to_others(process);
        }
    }

    fn leaves_pods_inside_envoy_to_others(mut process: Process) {
        let hosts: Vec<String> = (1..=2)
            .map(|n| {
                format!(
                    r#"{{"address": {{"envoy_internal_address": {{"server_listener_name":
                        "connect_originate", "endpoint_id": "10.0.0.{n}:8080"}}}}}}"#
                )
            })
            .collect();
        let hosts = hosts.join(",");
        let ambient =
            format!(r#"{{"cluster_statuses": [{{"name": "chat", "host_statuses": [{hosts}]}}]}}"#);
        for poll in process.discover(200, &ambient) {
            process.answer(0, &poll, 503, "");
        }
        assert_eq!(
            process.statistic("polls_failed"),
            0,
            "that says nothing of them"
        );
        assert!(process.tick(0).is_empty());
        let polls = process.tick(1);
        assert_eq!(polls.len(), 2, "the next worker tries at once");
        for poll in &polls {
            process.answer(1, poll, 200, &count(0));
        }
        // From now on a failure is one, and the first worker polls only where nobody else does.
        process.advance(2_000);
        let is_poll = |call: &&Call| call.cluster == "chat";
        let polls = process.tick(1);
        for poll in polls.iter().filter(is_poll) {
            process.answer(1, poll, 503, "");
        }
        assert_eq!(process.statistic("polls_failed"), 2);
        process.advance(6_000);
        assert!(process.tick(0).iter().any(|call| call.cluster == "chat"));
    }

    /// Three pods, with another path.
    fn at_path(path: &str) -> String {
        format!(
            r#"{{"services": [{{"cluster": "chat", "metricPath": "{path}",
                "endpoints": ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]}}]}}"#
        )
    }

    impl Process {
        /// Adds a worker of another configuration.
        fn configure(&mut self, json: &str) -> usize {
            let config = Config::parse(json.as_bytes()).unwrap();
            let id = self.workers.len() as u64 + 1;
            let worker = Worker::new(self.host.clone(), config, id, id);
            self.workers.push(worker);
            self.workers.len() - 1
        }

        /// All workers tick four times a second, and some have requests; how often each path was
        /// asked for.
        fn go_on(&mut self, seconds: u64, with_requests: &[usize]) -> BTreeMap<String, usize> {
            let mut asked = BTreeMap::new();
            for _ in 0..4 * seconds {
                self.advance(250);
                for &worker in with_requests {
                    self.workers[worker].balancer.note_request();
                }
                for worker in 0..self.workers.len() {
                    for call in self.tick(worker) {
                        *asked.entry(call.path).or_default() += 1;
                    }
                }
            }
            asked
        }
    }

    fn asked(path: &str, times: usize) -> BTreeMap<String, usize> {
        BTreeMap::from([(path.to_owned(), times)])
    }

    #[test]
    fn of_two_configurations_only_the_current_one_asks() {
        let mut process = Process::of(1, &at_path("/old"));
        process.tick(0);
        let corrected = process.configure(&at_path("/new"));
        process.go_on(5, &[0]);
        assert_eq!(process.go_on(20, &[0]), asked("/old", 3 * 4));
        process.go_on(5, &[corrected]);
        assert_eq!(process.go_on(20, &[corrected]), asked("/new", 3 * 4));
        // The change is taken back: the first worker is still there, and not configured again.
        process.go_on(15, &[0]);
        assert_eq!(process.go_on(20, &[0]), asked("/old", 3 * 4));
    }

    /// Already its first request gets none but its pods.
    #[test]
    fn a_new_configurations_first_request_is_its_own() {
        let mut process = Process::new(1);
        process.tick(0);
        let json = r#"{"services": [{"cluster": "chat", "endpoints": ["10.0.0.3:8080"]}]}"#;
        let new = process.configure(json);
        let balancer = Rc::clone(&process.workers[new].balancer);
        let choice = route_by::choose(&balancer, &balancer.services[0], process.now).unwrap();
        assert_eq!(choice.names().as_deref(), Some("10.0.0.3:8080"));
        let calls = process.tick(new);
        assert_eq!(calls.len(), 1, "it polls");
        assert_eq!(process.tick(0), [], "and nobody else");
    }

    #[test]
    fn a_correction_has_its_effect_at_once() {
        let mut process = Process::silent(1);
        for _ in 0..3 {
            for call in process.tick(0) {
                process.answer(0, &call, 404, "");
            }
            process.advance(5_000);
        }
        assert_eq!(process.state(1), PodState::Unhealthy);
        process.pods_answer = true;
        let corrected = process.configure(&at_path("/right"));
        process.go_on(1, &[corrected]);
        assert_eq!(process.state(1), PodState::Usable);
        let table = process.service().table();
        let view = process.service().view(&table, process.now);
        let started = view.slow_start(table.pod(address(1)).unwrap());
        assert_eq!(started, None, "none of them is new");
    }

    #[test]
    fn what_the_old_configurations_websockets_do_arrives() {
        let mut process = Process::of(1, &at_path("/old"));
        process.tick(0);
        let pod = address(1);
        let opened = [(); 3].map(|()| Event::Opened { pod, at: NOW });
        process.service().record(&opened);
        let corrected = process.configure(&at_path("/new"));
        process.go_on(1, &[corrected]);
        let own = |process: &Process| {
            let table = process.workers[corrected].balancer.services[0].table();
            table.pod(pod).unwrap().own_connections()
        };
        assert_eq!(own(&process), 3);
        process.service().record(&[Event::Closed { pod }]);
        assert_eq!(own(&process), 2);
    }

    /// From the start, while it has never listed any, too.
    #[test]
    fn an_admin_interface_that_fails_is_asked_less_and_less_often() {
        let too_much = " ".repeat(crate::pod::HOST_LIST_LIMIT + 1);
        for (status, body) in [(500, ""), (200, "nonsense"), (200, &*too_much)] {
            let mut process = Process::discovering(2);
            let begun = process.now;
            let mut asked = Vec::new();
            for _ in 0..1_300 {
                for worker in 0..2 {
                    for call in process.tick(worker) {
                        asked.push(process.now.since(begun).as_secs());
                        process.answer(worker, &call, status, body);
                    }
                }
                process.advance(100);
            }
            assert_eq!(asked, [0, 1, 3, 7, 15, 31, 63, 95, 127], "{status}");
        }
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
