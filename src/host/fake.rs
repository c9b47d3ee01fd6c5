//! An Envoy for scenario tests: any number of workers hold clones of one [`FakeHost`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::{CallToken, Calls, MetricId, Metrics, NotSent, Outdated, SharedData, Version};

/// A call that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// What the answer comes with.
    pub token: CallToken,
    /// Where it went.
    pub cluster: String,
    /// What it asked for.
    pub path: String,
    /// The steering header and its value.
    pub steering: Option<(String, String)>,
    /// How long it may take.
    pub timeout: Duration,
}

/// Shared data, statistics and calls of one process.
#[derive(Clone, Default)]
pub(crate) struct FakeHost(Rc<State>);

#[derive(Default)]
struct State {
    values: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
    version: Cell<u32>,
    outdated: Cell<u32>,
    metric_names: RefCell<Vec<String>>,
    metrics: RefCell<BTreeMap<MetricId, u64>>,
    calls: RefCell<Vec<Call>>,
    tokens: Cell<u32>,
    unreachable: Cell<bool>,
}

impl FakeHost {
    /// The calls sent since this was last asked.
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        self.0.calls.take()
    }

    /// The value of the statistic `name`.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let names = self.0.metric_names.borrow();
        let index = names.iter().position(|known| known == name);
        let id = MetricId(u32::try_from(index.expect("the metric is defined")).unwrap());
        self.0.metrics.borrow().get(&id).copied().unwrap_or(0)
    }

    /// Lets the next `n` conditional writes fail, as if another worker were faster.
    pub(crate) fn outdate(&self, n: u32) {
        self.0.outdated.set(n);
    }

    /// Whether Envoy takes no calls from now on.
    pub(crate) fn set_unreachable(&self, unreachable: bool) {
        self.0.unreachable.set(unreachable);
    }

    fn define(&self, name: &str) -> MetricId {
        let mut names = self.0.metric_names.borrow_mut();
        let index = names.iter().position(|known| known == name);
        let index = index.unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        });
        MetricId(u32::try_from(index).unwrap())
    }
}

impl SharedData for FakeHost {
    fn read(&self, key: &str) -> Option<(Vec<u8>, Version)> {
        let values = self.0.values.borrow();
        let (value, version) = values.get(key)?;
        Some((value.clone(), Version(*version)))
    }

    fn write(&self, key: &str, value: &[u8], version: Option<Version>) -> Result<(), Outdated> {
        let mut values = self.0.values.borrow_mut();
        let current = values.get(key).map(|&(_, version)| Version(version));
        let left = self.0.outdated.get();
        if version.is_some() && left > 0 {
            self.0.outdated.set(left - 1);
            return Err(Outdated);
        }
        if version.is_some() && current.is_some() && version != current {
            return Err(Outdated);
        }
        self.0.version.set(self.0.version.get() + 1);
        values.insert(key.to_owned(), (value.to_vec(), self.0.version.get()));
        Ok(())
    }
}

impl Metrics for FakeHost {
    fn counter(&self, name: &str) -> MetricId {
        self.define(name)
    }

    fn gauge(&self, name: &str) -> MetricId {
        self.define(name)
    }

    fn add(&self, counter: MetricId, n: u32) {
        *self.0.metrics.borrow_mut().entry(counter).or_default() += u64::from(n);
    }

    fn set(&self, gauge: MetricId, value: u64) {
        self.0.metrics.borrow_mut().insert(gauge, value);
    }
}

impl Calls for FakeHost {
    fn call(
        &self,
        cluster: &str,
        path: &str,
        steering: Option<(&str, &str)>,
        timeout: Duration,
    ) -> Result<CallToken, NotSent> {
        if self.0.unreachable.get() {
            return Err(NotSent);
        }
        self.0.tokens.set(self.0.tokens.get() + 1);
        let token = CallToken(self.0.tokens.get());
        self.0.calls.borrow_mut().push(Call {
            token,
            cluster: cluster.to_owned(),
            path: path.to_owned(),
            steering: steering.map(|(header, pod)| (header.to_owned(), pod.to_owned())),
            timeout,
        });
        Ok(token)
    }
}
