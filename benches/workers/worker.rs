//! One worker's thread: it opens and closes its part of the WebSockets when it is time to, ticks,
//! and answers its own polls.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use wsbalancer::clock::Timestamp;
use wsbalancer::config::Config;
use wsbalancer::exchange::Exchange;
use wsbalancer::host::{Answer, Head};
use wsbalancer::testing::FakeRequest;
use wsbalancer::worker::Worker;

use crate::CLUSTER;
use crate::host::{Host, Process, Writes, add_one};
use crate::load::{Load, Step};

/// What the threads of a run have in common.
pub(crate) struct Run {
    pub(crate) process: Arc<Process>,
    pub(crate) load: Load,
    /// When the load begins, once the pods are known.
    pub(crate) begins_at: OnceLock<Timestamp>,
    /// Whether all is over.
    pub(crate) is_over: AtomicBool,
}

/// What one worker saw.
#[derive(Default)]
pub(crate) struct Seen {
    /// How long Envoy waited for the filter, each time that something began, opened or ended.
    pub(crate) waits: Vec<Duration>,
    /// How much later than it should the worker did anything.
    pub(crate) behind: Duration,
    /// Upgrades that were given no pod.
    pub(crate) left_alone: u32,
    pub(crate) writes: Writes,
}

/// Envoy's flag `DownstreamConnectionTermination`: the client has disconnected.
const CLIENT_DISCONNECTED: u64 = 1 << 14;

/// Runs the worker of this number until all is over. Says when its part of the load is done.
pub(crate) fn run(run: &Run, number: u32, done: &mpsc::Sender<()>) -> Seen {
    let host = Host::of(&run.process);
    let names = run.process.pods().iter().map(|pod| &pod.address);
    let json = serde_json::json!({
        "services": [{ "cluster": CLUSTER, "endpoints": names.collect::<Vec<_>>() }],
    });
    let config = Config::parse(json.to_string().as_bytes()).expect("it is what the filter takes");
    let id = u64::from(number) + 1;
    let worker = Worker::new(host.clone(), config, id, id);
    let period = worker.tick_period();
    // Envoy's workers start one after the other.
    let first = run.load.offset(number, period);
    let mut thread = Thread {
        next_tick: host.process.now().plus(first),
        period,
        host,
        worker,
        exchanges: Vec::new(),
        seen: Seen::default(),
    };
    let begins_at = loop {
        thread.attend();
        if let Some(at) = run.begins_at.get() {
            break *at;
        }
        thread.pause(None);
    };
    let before = thread.host.writes();
    let mut agenda: BinaryHeap<_> = run.load.begins(number, begins_at).map(Reverse).collect();
    while let Some(&Reverse((at, step))) = agenda.peek() {
        thread.attend();
        if thread.host.process.now() < at {
            thread.pause(Some(at));
            continue;
        }
        agenda.pop();
        let next = thread.take(step).then(|| {
            let now = thread.host.process.now();
            run.load.after(step, number, begins_at, now)
        });
        agenda.extend(next.flatten().map(Reverse));
        let late = thread.host.process.now().since(at);
        thread.seen.behind = thread.seen.behind.max(late);
    }
    // Whoever waits for it may have given up.
    let _told = done.send(());
    while !run.is_over.load(SeqCst) {
        thread.attend();
        thread.pause(None);
    }
    let Writes { tried, accepted } = thread.host.writes();
    thread.seen.writes = Writes {
        tried: tried - before.tried,
        accepted: accepted - before.accepted,
    };
    thread.seen
}

struct Thread {
    host: Host,
    worker: Worker<Host>,
    next_tick: Timestamp,
    period: Duration,
    exchanges: Vec<Option<(Exchange<Host>, FakeRequest, String)>>,
    seen: Seen,
}

impl Thread {
    /// What a worker does beside its WebSockets: the answers that are there, and its tick.
    fn attend(&mut self) {
        for (token, pod) in self.host.take_calls() {
            let report = self
                .host
                .process
                .pod(&pod)
                .expect("it is asked by its name");
            let report = report.report();
            let body = report.as_bytes();
            self.worker
                .answer(token, Answer::Response { status: 200, body });
        }
        let now = self.host.process.now();
        if now >= self.next_tick {
            let closed = self.worker.tick();
            assert!(closed.is_empty(), "nothing is rebalanced");
            self.next_tick = now.plus(self.period);
        }
        if let Some(period) = self.host.take_tick_period() {
            self.period = period;
            self.next_tick = now.plus(period);
        }
    }

    /// Waits for the next tick, or for what is due before.
    fn pause(&self, until: Option<Timestamp>) {
        let until = until.map_or(self.next_tick, |until| until.min(self.next_tick));
        thread::park_timeout(until.since(self.host.process.now()));
    }

    /// Takes a step; whether another is to follow.
    fn take(&mut self, step: Step) -> bool {
        match step {
            Step::Begin { upgrade } => self.begin(upgrade),
            Step::Open { upgrade } => {
                self.open(upgrade);
                true
            }
            Step::Close { upgrade } => {
                self.close(upgrade);
                false
            }
        }
    }

    fn begin(&mut self, upgrade: usize) -> bool {
        let request = FakeRequest::with(&[
            (":method", b"GET"),
            (":path", b"/chat"),
            ("upgrade", b"websocket"),
            ("connection", b"Upgrade"),
            ("sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        ]);
        request.put_attribute("xds.cluster_name", CLUSTER.as_bytes());
        let context = u32::try_from(upgrade).expect("they are not so many");
        let balancer = self.worker.balancer();
        let mut exchange = Exchange::new(Rc::clone(balancer), context);
        let started = Instant::now();
        let _flow = exchange.on_request(&request);
        self.seen.waits.push(started.elapsed());
        let named = request.text(Head::Request, &balancer.settings.override_header);
        let first = named.as_deref().and_then(|named| named.split(',').next());
        let chosen = first.map(str::to_owned);
        if chosen.is_none() {
            self.seen.left_alone += 1;
        }
        if self.exchanges.len() <= upgrade {
            self.exchanges.resize_with(upgrade + 1, || None);
        }
        self.exchanges[upgrade] = chosen.map(|pod| (exchange, request, pod));
        self.exchanges[upgrade].is_some()
    }

    fn open(&mut self, upgrade: usize) {
        let (exchange, request, pod) = self.exchanges[upgrade].as_mut().expect("it has begun");
        // The pod knows before Envoy does.
        let at = self.host.process.pod(pod).expect("it was chosen");
        add_one(&at.opened);
        request.put(Head::Response, ":status", b"101");
        request.put_attribute("upstream.address", pod.as_bytes());
        request.put_attribute("upstream.request_attempt_count", &1_u64.to_le_bytes());
        let started = Instant::now();
        exchange.on_response(request);
        self.seen.waits.push(started.elapsed());
    }

    fn close(&mut self, upgrade: usize) {
        let (mut exchange, request, pod) = self.exchanges[upgrade].take().expect("it is open");
        let at = self.host.process.pod(&pod).expect("it was chosen");
        add_one(&at.closed);
        request.put_attribute("response.flags", &CLIENT_DISCONNECTED.to_le_bytes());
        let started = Instant::now();
        exchange.on_end(&request);
        drop(exchange);
        self.seen.waits.push(started.elapsed());
    }
}
