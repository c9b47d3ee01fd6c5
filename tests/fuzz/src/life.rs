//! The life of a process: its workers' ticks, what pods and Envoy answer, upgrades from their choice
//! to their end, contention, other configurations, and time that passes.

use std::rc::Rc;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use wsbalancer::clock::Timestamp;
use wsbalancer::config::Config;
use wsbalancer::exchange::{Exchange, Flow};
use wsbalancer::host::{Answer, Head};
use wsbalancer::testing::{Call, FakeHost, FakeRequest, NOW, address};
use wsbalancer::worker::Worker;

/// Configurations of the same service.
const CONFIGURATIONS: [&str; 5] = [
    r#"{"services": [{"cluster": "chat",
        "endpoints": ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]}]}"#,
    r#"{"services": [{"cluster": "chat"}], "slowStart": {"window": "10s"},
        "discovery": {"adminCluster": "admin", "interval": "1s"}}"#,
    r#"{"services": [{"cluster": "chat", "endpoints": ["10.0.0.1:8080", "10.0.0.2:8080"]}],
        "metric": {"orca": "named_metrics.open"},
        "rebalance": {"threshold": 1.1, "maxPerSecond": 100, "minAge": "1s"}, "attempts": 2}"#,
    r#"{"services": [{"cluster": "chat", "metric": {"prometheus": "open"}}], "cacheTTL": "2s",
        "rebalance": {"threshold": 1.1, "maxPerSecond": 100, "minAge": "1s"},
        "discovery": {"adminCluster": "admin", "interval": "1s"}, "onNoPods": "reject"}"#,
    r#"{"services": [{"cluster": "chat", "endpoints": ["10.0.0.1:8080"]}], "burstInterval": "0s",
        "countsConnections": false, "debugHeaders": true}"#,
];
const PODS: u8 = 5;
const MOST_WORKERS: usize = 4;
const MOST_STEPS: usize = 500;

#[derive(Arbitrary, Debug)]
struct Life {
    configuration: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Wait {
        millis: u16,
    },
    Tick {
        worker: u8,
    },
    /// A call is answered: with this count, or these pods.
    Answer {
        call: u8,
        count: u32,
    },
    /// … with anything.
    AnswerWith {
        call: u8,
        status: u16,
        body: Vec<u8>,
    },
    /// … with nothing.
    Fail {
        call: u8,
    },
    Upgrade {
        worker: u8,
    },
    /// A pod opens one of the upgrades that are on their way, after so many attempts.
    Open {
        upgrade: u8,
        pod: u8,
        attempts: u8,
    },
    /// It answers something else.
    Decline {
        upgrade: u8,
        status: u16,
        flags: u8,
    },
    End {
        upgrade: u8,
    },
    /// Other workers are faster so often.
    Contend {
        times: u8,
    },
    /// Envoy takes calls, or none.
    Reach {
        reachable: bool,
    },
    /// A worker of another configuration begins.
    Configure {
        configuration: u8,
    },
}

/// Nothing is counted below zero, and when all has ended nothing is on its way or open any more.
pub(crate) fn run(data: &[u8]) {
    let Ok(life) = Life::arbitrary(&mut Unstructured::new(data)) else {
        return;
    };
    let mut process = Process::new(life.configuration);
    for step in life.steps.iter().take(MOST_STEPS) {
        process.take(step);
        process.check();
    }
    process.finish();
}

struct Upgrading {
    worker: usize,
    context_id: u32,
    exchange: Exchange<FakeHost>,
    request: FakeRequest,
    is_answered: bool,
}

struct Process {
    host: FakeHost,
    workers: Vec<Worker<FakeHost>>,
    now: Timestamp,
    /// Calls without an answer, and who sent them.
    calls: Vec<(usize, Call)>,
    upgrades: Vec<Upgrading>,
    /// How many upgrades there ever were.
    begun: u32,
}

impl Process {
    fn new(configuration: u8) -> Self {
        let mut process = Self {
            host: FakeHost::at(NOW),
            workers: Vec::new(),
            now: NOW,
            calls: Vec::new(),
            upgrades: Vec::new(),
            begun: 0,
        };
        process.configure(configuration);
        process
    }

    fn configure(&mut self, configuration: u8) {
        if self.workers.len() >= MOST_WORKERS {
            return;
        }
        let json = CONFIGURATIONS[usize::from(configuration) % CONFIGURATIONS.len()];
        let config = Config::parse(json.as_bytes()).expect("it is one");
        let id = self.workers.len() as u64 + 1;
        self.workers
            .push(Worker::new(self.host.clone(), config, id, id));
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Wait { millis } => {
                self.now = self.now.plus(Duration::from_millis(millis.into()));
                self.host.set_now(self.now);
            }
            Step::Tick { worker } => self.tick(usize::from(worker) % self.workers.len()),
            Step::Answer { call, count } => {
                if let Some((worker, call)) = take(&mut self.calls, call) {
                    let body = match call.cluster.as_str() {
                        "admin" => list(count),
                        _ if call
                            .headers
                            .iter()
                            .any(|(_, value)| value.contains("text/plain")) =>
                        {
                            format!("open {count}\n")
                        }
                        _ => format!(r#"{{"agentsConnections": {count}}}"#),
                    };
                    self.answer(worker, &call, 200, body.as_bytes());
                }
            }
            Step::AnswerWith {
                call,
                status,
                ref body,
            } => {
                if let Some((worker, call)) = take(&mut self.calls, call) {
                    self.answer(worker, &call, status, body);
                }
            }
            Step::Fail { call } => {
                if let Some((worker, call)) = take(&mut self.calls, call) {
                    self.workers[worker].answer(call.token, Answer::Nothing);
                    self.take_calls(worker);
                }
            }
            Step::Upgrade { worker } => self.upgrade(usize::from(worker) % self.workers.len()),
            Step::Open {
                upgrade,
                pod,
                attempts,
            } => {
                if let Some(upgrade) = unanswered(&mut self.upgrades, upgrade) {
                    let pod = address(pod % PODS + 1).to_string();
                    let report = format!("TEXT named_metrics.open={attempts}");
                    let name = "endpoint-load-metrics";
                    upgrade.request.put(Head::Response, name, report.as_bytes());
                    let attempts = u64::from(attempts).to_le_bytes();
                    upgrade
                        .request
                        .put_attribute("upstream.address", pod.as_bytes());
                    let name = "upstream.request_attempt_count";
                    upgrade.request.put_attribute(name, &attempts);
                    upgrade.request.put(Head::Response, ":status", b"101");
                    upgrade.exchange.on_response(&upgrade.request);
                }
            }
            Step::Decline {
                upgrade,
                status,
                flags,
            } => {
                if let Some(upgrade) = unanswered(&mut self.upgrades, upgrade) {
                    let flags = u64::from(flags).to_le_bytes();
                    upgrade.request.put_attribute("response.flags", &flags);
                    let status = status.to_string();
                    upgrade
                        .request
                        .put(Head::Response, ":status", status.as_bytes());
                    upgrade.exchange.on_response(&upgrade.request);
                }
            }
            Step::End { upgrade } => {
                if let Some(mut ended) = take(&mut self.upgrades, upgrade) {
                    ended.exchange.on_end(&ended.request);
                }
            }
            Step::Contend { times } => self.host.outdate(times.into()),
            Step::Reach { reachable } => self.host.set_unreachable(!reachable),
            Step::Configure { configuration } => self.configure(configuration),
        }
    }

    fn tick(&mut self, worker: usize) {
        let closed = self.workers[worker].tick();
        self.take_calls(worker);
        // Envoy ends them.
        for context_id in closed {
            let is_it =
                |upgrade: &Upgrading| (upgrade.worker, upgrade.context_id) == (worker, context_id);
            let index = self.upgrades.iter().position(is_it);
            let mut ended = self.upgrades.swap_remove(index.expect("it is open"));
            ended.exchange.on_end(&ended.request);
        }
    }

    fn answer(&mut self, worker: usize, call: &Call, status: u16, body: &[u8]) {
        self.workers[worker].answer(call.token, Answer::Response { status, body });
        self.take_calls(worker);
    }

    fn take_calls(&mut self, worker: usize) {
        let calls = self.host.take_calls().into_iter();
        self.calls.extend(calls.map(|call| (worker, call)));
    }

    fn upgrade(&mut self, worker: usize) {
        let request = FakeRequest::with(&[
            (":authority", b"chat.example"),
            (":path", b"/"),
            ("upgrade", b"websocket"),
            ("connection", b"Upgrade"),
        ]);
        request.put_attribute("xds.cluster_name", b"chat");
        self.begun += 1;
        let balancer = Rc::clone(self.workers[worker].balancer());
        let mut exchange = Exchange::new(balancer, self.begun);
        if exchange.on_request(&request) == Flow::Continue {
            self.upgrades.push(Upgrading {
                worker,
                context_id: self.begun,
                exchange,
                request,
                is_answered: false,
            });
        } else {
            exchange.on_end(&request);
        }
    }

    fn check(&self) {
        for worker in &self.workers {
            for service in &worker.balancer().services {
                let table = service.table();
                let view = service.view(&table, self.now);
                let mut own = 0;
                for pod in table.pods() {
                    own += u64::from(pod.own_connections()) + u64::from(pod.in_flight());
                    let estimate = view.estimate(pod);
                    assert!(estimate >= 0.0 && estimate.is_finite(), "{estimate}");
                }
                assert!(own <= u64::from(self.begun) * 2, "{own} of {}", self.begun);
            }
        }
    }

    /// All upgrades end, and the workers tell what they still have to.
    fn finish(mut self) {
        self.host.outdate(0);
        for mut upgrade in std::mem::take(&mut self.upgrades) {
            upgrade.exchange.on_end(&upgrade.request);
        }
        for worker in 0..self.workers.len() {
            self.tick(worker);
        }
        for worker in &self.workers {
            for service in &worker.balancer().services {
                for pod in service.table().pods() {
                    assert_eq!((pod.in_flight(), pod.own_connections()), (0, 0));
                }
            }
        }
    }
}

fn list(pods: u32) -> String {
    let hosts = (1..=PODS).filter(|n| pods >> n & 1 == 1).map(|n| {
        format!(
            r#"{{"address": {{"socket_address": {{"address": "10.0.0.{n}", "port_value": 8080}}}}}}"#
        )
    });
    let hosts = hosts.collect::<Vec<_>>().join(",");
    format!(r#"{{"cluster_statuses": [{{"name": "chat", "host_statuses": [{hosts}]}}]}}"#)
}

fn take<T>(all: &mut Vec<T>, which: u8) -> Option<T> {
    let index = usize::from(which).checked_rem(all.len())?;
    Some(all.swap_remove(index))
}

/// One of the upgrades, which is answered now: each is so once.
fn unanswered(all: &mut [Upgrading], which: u8) -> Option<&mut Upgrading> {
    let index = usize::from(which).checked_rem(all.len())?;
    let upgrade = all.get_mut(index).filter(|upgrade| !upgrade.is_answered)?;
    upgrade.is_answered = true;
    Some(upgrade)
}
