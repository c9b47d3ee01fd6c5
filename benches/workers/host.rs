//! An Envoy of many threads: what they share, as its Wasm host has it, and pods that count.
//!
//! Shared data are as in proxy-wasm-cpp-host's `shared_data.cc`: one mutex, whole values copied out
//! and in, compare-and-swap by version.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use wsbalancer::clock::Timestamp;
use wsbalancer::config::ServiceConfig;
use wsbalancer::discovery;
use wsbalancer::host::{
    Answer, CallToken, Calls, Clock, Get, Hosts, NotSent, Outdated, SharedData, StatisticId,
    Statistics, Timer, Version,
};
use wsbalancer::pod::{DiscoveryFailure, HostList};
use wsbalancer::shell::Shell;
use wsbalancer::table::Store;

/// What all threads share.
pub(crate) struct Process {
    start: Instant,
    values: Mutex<HashMap<String, (Vec<u8>, u32)>>,
    last_version: AtomicU32,
    statistics: Mutex<Vec<(String, u64)>>,
    pods: Vec<Pod>,
    places: HashMap<String, usize>,
}

/// A pod, and what this process truly did to it.
#[derive(Default)]
pub(crate) struct Pod {
    pub(crate) address: String,
    pub(crate) opened: AtomicU32,
    pub(crate) closed: AtomicU32,
}

impl Process {
    /// One before so many pods.
    pub(crate) fn new(pods: u32) -> Self {
        let address = |n| SocketAddr::new(Ipv4Addr::from_bits(0x0a00_0001 + n).into(), 8080);
        let addresses: Vec<String> = (0..pods).map(|n| address(n).to_string()).collect();
        let places = addresses.iter().cloned().zip(0..).collect();
        let pod = |address| Pod {
            address,
            ..Pod::default()
        };
        Self {
            start: Instant::now(),
            values: Mutex::default(),
            last_version: AtomicU32::new(0),
            statistics: Mutex::default(),
            pods: addresses.into_iter().map(pod).collect(),
            places,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        // Zero stands for a moment that has never been.
        Timestamp::from_nanos(1).plus(self.start.elapsed())
    }

    /// The pods, in the order of the configuration.
    pub(crate) fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// The pod that Envoy knows under this address.
    pub(crate) fn pod(&self, address: &str) -> Option<&Pod> {
        self.pods.get(*self.places.get(address)?)
    }

    /// The value of the statistic whose name ends so.
    pub(crate) fn statistic(&self, name: &str) -> u64 {
        let statistics = lock(&self.statistics);
        let mut named = statistics.iter().filter(|(full, _)| full.ends_with(name));
        named.next().map_or(0, |&(_, value)| value)
    }
}

/// A thread that fails ends the run by itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One worker's shell: the process, and what is the worker's own.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) process: Arc<Process>,
    own: Rc<Own>,
}

#[derive(Default)]
struct Own {
    tokens: Cell<u32>,
    /// Calls that have not been answered.
    calls: RefCell<Vec<(CallToken, String)>>,
    tick_period: Cell<Option<Duration>>,
    writes: Cell<Writes>,
}

/// Writes of one worker that were compare-and-swap.
#[derive(Clone, Copy, Default)]
pub(crate) struct Writes {
    pub(crate) tried: u64,
    pub(crate) accepted: u64,
}

impl Host {
    pub(crate) fn of(process: &Arc<Process>) -> Self {
        Self {
            process: Arc::clone(process),
            own: Rc::default(),
        }
    }

    /// The calls since this was last asked: the token, and the pod that was asked.
    pub(crate) fn take_calls(&self) -> Vec<(CallToken, String)> {
        self.own.calls.take()
    }

    /// The tick period, if one was set since this was last asked.
    pub(crate) fn take_tick_period(&self) -> Option<Duration> {
        self.own.tick_period.take()
    }

    pub(crate) fn writes(&self) -> Writes {
        self.own.writes.get()
    }
}

impl Clock for Host {
    fn now(&self) -> Timestamp {
        self.process.now()
    }

    fn date(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

impl Timer for Host {
    fn set_tick_period(&self, period: Duration) {
        self.own.tick_period.set(Some(period));
    }
}

impl SharedData for Host {
    fn read(&self, key: &str) -> Option<(Vec<u8>, Version)> {
        let values = lock(&self.process.values);
        let (value, version) = values.get(key)?;
        Some((value.clone(), Version(*version)))
    }

    fn write(&self, key: &str, value: &[u8], version: Option<Version>) -> Result<(), Outdated> {
        let mut values = lock(&self.process.values);
        let current = values.get(key).map(|&(_, version)| Version(version));
        let is_outdated = version.is_some() && current.is_some() && version != current;
        if version.is_some() {
            let Writes { tried, accepted } = self.own.writes.get();
            self.own.writes.set(Writes {
                tried: tried + 1,
                accepted: accepted + u64::from(!is_outdated),
            });
        }
        if is_outdated {
            return Err(Outdated);
        }
        let next = self.process.last_version.fetch_add(1, SeqCst) + 1;
        if let Some((kept, version)) = values.get_mut(key) {
            kept.clear();
            kept.extend_from_slice(value);
            *version = next;
        } else {
            values.insert(key.to_owned(), (value.to_vec(), next));
        }
        Ok(())
    }
}

impl Host {
    fn define(&self, name: &str) -> StatisticId {
        let mut statistics = lock(&self.process.statistics);
        let known = statistics.iter().position(|(known, _)| known == name);
        let place = known.unwrap_or_else(|| {
            statistics.push((name.to_owned(), 0));
            statistics.len() - 1
        });
        StatisticId(u32::try_from(place).expect("they are few"))
    }

    fn change(&self, id: StatisticId, change: impl FnOnce(u64) -> u64) {
        let place = usize::try_from(id.0).expect("it was a place");
        let mut statistics = lock(&self.process.statistics);
        let (_, value) = &mut statistics[place];
        *value = change(*value);
    }
}

impl Statistics for Host {
    fn value(&self, _statistic: StatisticId) -> u64 {
        // Nobody asks for the status.
        0
    }

    fn counter(&self, name: &str) -> StatisticId {
        self.define(name)
    }

    fn gauge(&self, name: &str) -> StatisticId {
        self.define(name)
    }

    fn add(&self, counter: StatisticId, n: u32) {
        self.change(counter, |value| value + u64::from(n));
    }

    fn set(&self, gauge: StatisticId, value: u64) {
        self.change(gauge, |_| value);
    }
}

impl Calls for Host {
    fn get(&self, call: &Get<'_>) -> Result<CallToken, NotSent> {
        let token = CallToken(self.own.tokens.get() + 1);
        self.own.tokens.set(token.0);
        let pod = call.upstream.unwrap_or_default().to_owned();
        self.own.calls.borrow_mut().push((token, pod));
        Ok(token)
    }
}

impl Hosts for Host {
    fn ask_for_hosts(
        &self,
        cluster: &str,
        admin_cluster: &str,
        timeout: Duration,
    ) -> Result<CallToken, NotSent> {
        discovery::ask(self, cluster, admin_cluster, timeout)
    }

    fn read_hosts(&self, cluster: &str, answer: Answer<'_>) -> Result<HostList, DiscoveryFailure> {
        discovery::read(cluster, answer)
    }
}

impl Shell for Host {
    type Table = Store<Self>;

    fn open_table(&self, service: &ServiceConfig) -> Store<Self> {
        Store::open(self.clone(), service)
    }
}

impl Pod {
    /// What it answers when it is asked for its count.
    pub(crate) fn report(&self) -> String {
        // An end that is seen may be of one that is not seen to have begun.
        let closed = self.closed.load(SeqCst);
        let open = self.opened.load(SeqCst).saturating_sub(closed);
        format!(r#"{{"agentsConnections": {open}}}"#)
    }
}

/// Adds one, for all to see.
pub(crate) fn add_one(count: &AtomicU32) {
    count.fetch_add(1, SeqCst);
}

/// The sum of what pods have, of what `count` is.
pub(crate) fn sum(process: &Process, count: impl Fn(&Pod) -> &AtomicU32) -> u64 {
    let pods = process.pods().iter();
    pods.map(|pod| u64::from(count(pod).load(SeqCst))).sum()
}
