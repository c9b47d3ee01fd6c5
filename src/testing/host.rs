//! An Envoy for scenario tests: any number of workers hold clones of one [`FakeHost`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::clock::Timestamp;
use crate::config::ServiceConfig;
use crate::discovery;
use crate::host::{
    Answer, CallToken, Calls, Clock, Get, Hosts, NotSent, Outdated, SharedData, StatisticId,
    Statistics, Timer, Version,
};
use crate::pod::{DiscoveryFailure, HostList};
use crate::shell::Shell;
use crate::table::{LAYOUT, Store};

/// A call that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What the answer comes with.
    pub token: CallToken,
    /// Where it went.
    pub cluster: String,
    /// What it asked for.
    pub path: String,
    /// Which of its hosts it is for.
    pub upstream: Option<String>,
    /// The `host` that it names.
    pub authority: String,
    /// Its other header fields.
    pub headers: Vec<(String, String)>,
    /// How long it may take.
    pub timeout: Duration,
}

/// Clock, shared data, statistics and calls of one process.
#[derive(Clone, Default)]
pub struct FakeHost {
    state: Rc<State>,
    /// Of which version of the module the values are; zero for the usual one.
    version: u64,
}

#[derive(Default)]
struct State {
    now: Cell<Timestamp>,
    meanwhile: Cell<Option<Box<dyn FnOnce()>>>,
    values: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
    version: Cell<u32>,
    outdated: Cell<u32>,
    /// How many conditional writes succeed before any fails.
    in_time: Cell<u32>,
    reads: RefCell<BTreeMap<String, usize>>,
    statistic_names: RefCell<Vec<String>>,
    statistics: RefCell<BTreeMap<StatisticId, u64>>,
    calls: RefCell<Vec<Call>>,
    tokens: Cell<u32>,
    unreachable: Cell<bool>,
    tick_period: Cell<Duration>,
}

impl FakeHost {
    /// One whose clock shows `now`.
    pub fn at(now: Timestamp) -> Self {
        let host = Self::default();
        host.set_now(now);
        host
    }

    /// The same process for another version of the module, which has tables of its own.
    #[must_use]
    pub fn of_version(&self, version: u64) -> Self {
        Self {
            state: Rc::clone(&self.state),
            version,
        }
    }

    fn key(&self, key: &str) -> String {
        let own = format!("wsbalancer/{LAYOUT:x}/");
        let others = format!("wsbalancer/{:x}/", u64::from(LAYOUT) + self.version);
        key.replace(&own, &others)
    }

    /// Sets the clock.
    pub fn set_now(&self, now: Timestamp) {
        self.state.now.set(now);
    }

    /// What happens between the next read of a value and its conditional write.
    pub fn meanwhile(&self, happens: impl FnOnce() + 'static) {
        self.state.meanwhile.set(Some(Box::new(happens)));
    }

    /// The calls sent since this was last asked.
    pub fn take_calls(&self) -> Vec<Call> {
        self.state.calls.take()
    }

    /// The value of the statistic `name`.
    pub fn statistic(&self, name: &str) -> u64 {
        let names = self.state.statistic_names.borrow();
        let index = names.iter().position(|known| known == name);
        let id = StatisticId(u32::try_from(index.expect("the statistic is defined")).unwrap());
        self.value(id)
    }

    /// Lets the next `n` conditional writes fail, as if another worker were faster.
    pub fn outdate(&self, n: u32) {
        self.state.outdated.set(n);
    }

    /// Lets `first` conditional writes through, and then the next `n` fail.
    pub fn outdate_after(&self, first: u32, n: u32) {
        self.state.in_time.set(first);
        self.outdate(n);
    }

    /// How often the value of `key` was read.
    pub fn reads(&self, key: &str) -> usize {
        let reads = self.state.reads.borrow();
        reads.get(&self.key(key)).copied().unwrap_or(0)
    }

    /// The tick period that was set last; zero where none was.
    pub fn tick_period(&self) -> Duration {
        self.state.tick_period.get()
    }

    /// Whether Envoy takes no calls from now on.
    pub fn set_unreachable(&self, unreachable: bool) {
        self.state.unreachable.set(unreachable);
    }

    fn define(&self, name: &str) -> StatisticId {
        let mut names = self.state.statistic_names.borrow_mut();
        let index = names.iter().position(|known| known == name);
        let index = index.unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        });
        StatisticId(u32::try_from(index).unwrap())
    }
}

impl Timer for FakeHost {
    fn set_tick_period(&self, period: Duration) {
        self.state.tick_period.set(period);
    }
}

impl SharedData for FakeHost {
    fn read(&self, key: &str) -> Option<(Vec<u8>, Version)> {
        let key = self.key(key);
        let mut reads = self.state.reads.borrow_mut();
        *reads.entry(key.clone()).or_default() += 1;
        let values = self.state.values.borrow();
        let (value, version) = values.get(&key)?;
        Some((value.clone(), Version(*version)))
    }

    fn write(&self, key: &str, value: &[u8], version: Option<Version>) -> Result<(), Outdated> {
        if let Some(happens) = self.state.meanwhile.take() {
            happens();
        }
        let key = &self.key(key);
        let mut values = self.state.values.borrow_mut();
        let current = values.get(key).map(|&(_, version)| Version(version));
        let in_time = self.state.in_time.get();
        if version.is_some() && in_time > 0 {
            self.state.in_time.set(in_time - 1);
        } else if version.is_some() && self.state.outdated.get() > 0 {
            let left = self.state.outdated.get();
            self.state.outdated.set(left - 1);
            return Err(Outdated);
        }
        if version.is_some() && current.is_some() && version != current {
            return Err(Outdated);
        }
        self.state.version.set(self.state.version.get() + 1);
        values.insert(key.to_owned(), (value.to_vec(), self.state.version.get()));
        Ok(())
    }
}

impl Statistics for FakeHost {
    fn counter(&self, name: &str) -> StatisticId {
        self.define(name)
    }

    fn gauge(&self, name: &str) -> StatisticId {
        self.define(name)
    }

    fn add(&self, counter: StatisticId, n: u32) {
        *self
            .state
            .statistics
            .borrow_mut()
            .entry(counter)
            .or_default() += u64::from(n);
    }

    fn set(&self, gauge: StatisticId, value: u64) {
        self.state.statistics.borrow_mut().insert(gauge, value);
    }

    fn value(&self, statistic: StatisticId) -> u64 {
        let statistics = self.state.statistics.borrow();
        statistics.get(&statistic).copied().unwrap_or(0)
    }
}

impl Calls for FakeHost {
    fn get(&self, call: &Get<'_>) -> Result<CallToken, NotSent> {
        if self.state.unreachable.get() {
            return Err(NotSent);
        }
        self.state.tokens.set(self.state.tokens.get() + 1);
        let token = CallToken(self.state.tokens.get());
        self.state.calls.borrow_mut().push(Call {
            token,
            cluster: call.cluster.to_owned(),
            upstream: call.upstream.map(str::to_owned),
            authority: call.authority.to_owned(),
            headers: call
                .headers
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            path: call.path.to_owned(),
            timeout: call.timeout,
        });
        Ok(token)
    }
}

impl Clock for FakeHost {
    fn now(&self) -> Timestamp {
        self.state.now.get()
    }

    fn date(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }
}

impl Hosts for FakeHost {
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

impl Shell for FakeHost {
    type Table = Store<Self>;

    fn open_table(&self, service: &ServiceConfig) -> Store<Self> {
        Store::open(self.clone(), service)
    }
}
