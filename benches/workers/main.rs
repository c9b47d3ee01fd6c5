//! Many workers on one table: the crate's own code, on threads, with shared data as Envoy has it.
//!
//! Each run opens WebSockets at an even rate and then ends 50,000 within two seconds. It fails where
//! anything is lost or counted twice; where the table is not exact one second after the last end;
//! and where anything takes longer than a second to get into the table, or to be done at all: then
//! something would pile up for as long as the load lasts.

mod host;
mod load;
mod worker;

use std::env;
use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use wsbalancer::clock::Timestamp;
use wsbalancer::config::Config;
use wsbalancer::pod::PodRecord;
use wsbalancer::table::{SharedTable, Store, Table};

use crate::host::{Host, Process, Writes, sum};
use crate::load::{Load, STORM};
use crate::worker::{Run, Seen};

const CLUSTER: &str = "chat";
/// Upgrades a second, of all workers together.
const RATE: u32 = 5_000;
/// How long they come: one in six ends soon, and 50,000 wait for the storm.
const OPENING: Duration = Duration::from_secs(12);
/// Where this runs as a test only.
const MOMENT: Duration = Duration::from_secs(1);
const WORKERS: [u32; 2] = [16, 64];
const PODS: [u32; 2] = [8, 1_000];
/// How long anything may take to be in the table.
const BOUND: Duration = Duration::from_secs(1);
/// Between two looks at what is not yet in the table.
const SAMPLING: Duration = Duration::from_millis(20);
/// How long the workers may need to know the pods, or to be done.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    // As criterion: `cargo test` runs benchmarks for a moment, and without this.
    let is_benchmark = env::args().any(|argument| argument == "--bench");
    let opening = if is_benchmark { OPENING } else { MOMENT };
    println!(
        "{RATE} upgrades a second for {} s, of which one in six ends after a second and all others within {} s.",
        opening.as_secs(),
        STORM.as_secs()
    );
    let mut failures = 0;
    for pods in PODS {
        for workers in WORKERS {
            let load = Load {
                workers,
                rate: RATE,
                opening,
            };
            let result = measure(pods, load);
            println!("{workers} workers, {pods} pods: {result}");
            let complaints = result.complaints();
            for complaint in &complaints {
                println!("  FAILED: {complaint}");
            }
            failures += complaints.len();
        }
    }
    assert_eq!(failures, 0, "see above");
}

/// What a run came to.
struct Outcome {
    websockets: u64,
    waits: Waits,
    writes: Writes,
    backlog: Backlog,
    behind: Duration,
    cpu: Duration,
    /// Upgrades that were given no pod.
    left_alone: u32,
    /// Upgrades that the statistics have.
    counted: u64,
    /// Pods of which the table does not have what truly happened, a second after the last end.
    wrong: Vec<String>,
}

/// How long one call of the filter took.
struct Waits {
    median: Duration,
    p99: Duration,
    longest: Duration,
}

/// What had happened and was not yet in the table.
#[derive(Default)]
struct Backlog {
    /// Opens and closes, of all workers.
    largest: u64,
    /// How long the oldest of them had waited at least: up to [`SAMPLING`] less than it had.
    oldest: Duration,
}

fn measure(pods: u32, load: Load) -> Outcome {
    let process = Arc::new(Process::new(pods));
    let run = Arc::new(Run {
        process: Arc::clone(&process),
        load,
        begins_at: OnceLock::new(),
        is_over: AtomicBool::new(false),
    });
    let (done, all_done) = mpsc::channel();
    let threads: Vec<_> = (0..load.workers)
        .map(|number| {
            let (run, done) = (Arc::clone(&run), done.clone());
            thread::spawn(move || worker::run(&run, number, &done))
        })
        .collect();
    drop(done);
    let mut observer = Observer::of(&process);
    observer.wait_until(|process| process.statistic("pods_usable") == u64::from(pods));
    let cpu = cpu_time();
    // Not before every worker has seen it.
    let begins_at = process.now().plus(Duration::from_secs(1));
    run.begins_at.get_or_init(|| begins_at);
    observer.watch(&all_done, load.workers, load.length() + PATIENCE);
    let ended = process.now();
    observer.wait_until(|process| process.now().since(ended) >= BOUND);
    let (wrong, cpu) = (observer.wrong(), cpu_time().saturating_sub(cpu));
    run.is_over.store(true, SeqCst);
    let seen: Vec<Seen> = threads
        .into_iter()
        .map(|thread| thread.join().expect("a worker ends well"))
        .collect();
    Outcome {
        websockets: sum(&process, |pod| &pod.opened),
        writes: Writes {
            tried: seen.iter().map(|seen| seen.writes.tried).sum(),
            accepted: seen.iter().map(|seen| seen.writes.accepted).sum(),
        },
        behind: seen
            .iter()
            .map(|seen| seen.behind)
            .max()
            .unwrap_or_default(),
        left_alone: seen.iter().map(|seen| seen.left_alone).sum(),
        waits: Waits::of(seen.into_iter().flat_map(|seen| seen.waits).collect()),
        counted: process.statistic("upgrades_balanced"),
        backlog: observer.backlog,
        cpu,
        wrong,
    }
}

/// Compares what truly happened with the table, as another worker sees it.
struct Observer {
    process: Arc<Process>,
    store: Store<Host>,
    /// What had happened when, of what is not in the table yet: opens and closes.
    happened: Vec<(Timestamp, [u64; 2])>,
    backlog: Backlog,
}

impl Observer {
    fn of(process: &Arc<Process>) -> Self {
        let json = format!(
            r#"{{"services": [{{"cluster": "{CLUSTER}", "endpoints": ["10.0.0.1:8080"]}}]}}"#
        );
        let config = Config::parse(json.as_bytes()).expect("it is what the filter takes");
        let service = config.services.into_iter().next().expect("there is one");
        // The first worker makes the table of its own pods.
        let mut patience = Patience::new();
        let host = Host::of(process);
        while wsbalancer::host::SharedData::read(&host, &wsbalancer::table::key(&service)).is_none()
        {
            patience.pause();
        }
        Self {
            process: Arc::clone(process),
            store: Store::open(host, &service),
            happened: Vec::new(),
            backlog: Backlog::default(),
        }
    }

    /// Looks until the condition holds.
    fn wait_until(&mut self, condition: impl Fn(&Process) -> bool) {
        let mut patience = Patience::new();
        while !condition(&self.process) {
            patience.pause();
            self.look();
        }
    }

    /// Looks until all workers are done.
    fn watch(&mut self, done: &mpsc::Receiver<()>, workers: u32, patience: Duration) {
        let started = Instant::now();
        let mut left = workers;
        while left > 0 {
            match done.recv_timeout(SAMPLING) {
                Ok(()) => left -= 1,
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => panic!("a worker has failed"),
            }
            assert!(started.elapsed() < patience, "the workers are never done");
        }
    }

    fn look(&mut self) {
        let process = &self.process;
        let truth = [
            sum(process, |pod| &pod.opened),
            sum(process, |pod| &pod.closed),
        ];
        let now = process.now();
        self.happened.push((now, truth));
        let table = self.store.read();
        let counted = [PodRecord::opened, PodRecord::closed].map(|count| total(&table, count));
        let waiting = truth[0].saturating_sub(counted[0]) + truth[1].saturating_sub(counted[1]);
        self.backlog.largest = self.backlog.largest.max(waiting);
        // Whatever had happened by then is in the table.
        let is_in = |truth: &[u64; 2]| truth[0] <= counted[0] && truth[1] <= counted[1];
        let old = self.happened.iter().take_while(|(_, truth)| is_in(truth));
        let old = old.count();
        self.happened.drain(..old);
        if let Some((since, _)) = self.happened.first() {
            self.backlog.oldest = self.backlog.oldest.max(now.since(*since));
        }
    }

    /// The pods of which the table does not have what truly happened.
    fn wrong(&self) -> Vec<String> {
        let table = self.store.read();
        let pods = self.process.pods().iter().zip(table.pods());
        let of_pod = |(pod, record): (&host::Pod, &PodRecord)| {
            let truth = [&pod.opened, &pod.closed].map(|count| count.load(SeqCst));
            let truth = (truth[0], truth[1], truth[0] - truth[1], 0);
            let counted = (
                record.opened(),
                record.closed(),
                record.own_connections(),
                record.in_flight(),
            );
            (truth != counted).then(|| format!("{}: {counted:?}, not {truth:?}", pod.address))
        };
        pods.filter_map(of_pod).collect()
    }
}

fn total(table: &Table, count: impl Fn(&PodRecord) -> u32) -> u64 {
    table.pods().iter().map(|pod| u64::from(count(pod))).sum()
}

/// Waits, but not for ever.
struct Patience(Instant);

impl Patience {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn pause(&mut self) {
        assert!(self.0.elapsed() < PATIENCE, "it takes too long");
        thread::park_timeout(SAMPLING);
    }
}

impl Waits {
    fn of(mut waits: Vec<Duration>) -> Self {
        waits.sort();
        let at = |percent: usize| {
            waits.get((waits.len() * percent / 100).min(waits.len().saturating_sub(1)))
        };
        let at = |percent| at(percent).copied().unwrap_or_default();
        Self {
            median: at(50),
            p99: at(99),
            longest: at(100),
        }
    }
}

impl Outcome {
    /// What must not be.
    fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if let Some(first) = self.wrong.first() {
            complaints.push(format!(
                "{} pods are counted wrong a second after the last end \
                 (opened, closed, open, on their way): {first}",
                self.wrong.len()
            ));
        }
        if self.counted != self.websockets || self.left_alone > 0 {
            complaints.push(format!(
                "{} upgrades in the statistics for {} WebSockets, {} left alone",
                self.counted, self.websockets, self.left_alone
            ));
        }
        if self.backlog.oldest > BOUND {
            let oldest = self.backlog.oldest;
            complaints.push(format!("something was not in the table after {oldest:?}"));
        }
        if self.behind > BOUND {
            complaints.push(format!("a worker was {:?} behind", self.behind));
        }
        complaints
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writes, waits, .. } = self;
        let websockets = approximate(self.websockets.max(1));
        let changes = approximate(writes.accepted);
        write!(
            f,
            "{:.2} tries for each change, {:.2} changes and {:.1} µs of CPU time for each WebSocket; \
             a call waits {:.1?}, p99 {:.1?}, at most {:.1?}; \
             at most {} opens and closes wait, less than {:.0?}; \
             at most {:.0?} behind",
            approximate(writes.tried) / changes.max(1.0),
            changes / websockets,
            self.cpu.as_secs_f64() * 1e6 / websockets,
            waits.median,
            waits.p99,
            waits.longest,
            self.backlog.largest,
            self.backlog.oldest + SAMPLING,
            self.behind,
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn approximate(count: u64) -> f64 {
    count as f64
}

/// CPU time of this process (`proc_pid_stat(5)`).
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux has it");
    // The name comes in brackets, and may have blanks.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    // A hundredth of a second each, as `USER_HZ` is everywhere.
    Duration::from_millis(ticks * 10)
}
