//! The shell's traits, on the functions of a real Envoy.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;

use super::abi;
use crate::clock::Timestamp;
use crate::config::ServiceConfig;
use crate::discovery;
use crate::host::{
    Answer, CallToken, Calls, Clock, Get, Hosts, NotSent, Outdated, SharedData, StatisticId,
    Statistics, Timer, Version,
};
use crate::pod::{DiscoveryFailure, HostList};
use crate::shell::Shell;
use crate::table::Store;

/// The Envoy that runs this VM.
#[derive(Clone)]
pub(super) struct Envoy {
    /// By which header calls are sent to one host of a cluster.
    override_header: Rc<str>,
    /// The statistics that were defined. Envoy keeps whatever is defined as long as the VM lives, also
    /// what has been before.
    defined: Rc<Cell<BTreeMap<String, StatisticId>>>,
}

impl Envoy {
    pub(super) fn new(override_header: &str) -> Self {
        Self {
            override_header: Rc::from(override_header),
            defined: Rc::default(),
        }
    }

    fn define(&self, kind: MetricType, name: &str) -> StatisticId {
        let mut defined = self.defined.take();
        let id = defined.get(name).copied().unwrap_or_else(|| {
            // No statistic has the number that stands in for one the host would not define.
            let id = StatisticId(hostcalls::define_metric(kind, name).unwrap_or(u32::MAX));
            defined.insert(name.to_owned(), id);
            id
        });
        self.defined.set(defined);
        id
    }
}

impl Shell for Envoy {
    type Table = Store<Self>;

    fn open_table(&self, service: &ServiceConfig) -> Store<Self> {
        Store::open(self.clone(), service)
    }
}

impl Clock for Envoy {
    fn now(&self) -> Timestamp {
        abi::now()
    }

    fn date(&self) -> SystemTime {
        abi::date()
    }
}

impl Timer for Envoy {
    fn set_tick_period(&self, period: Duration) {
        abi::set_tick_period(period);
    }
}

impl SharedData for Envoy {
    fn read(&self, key: &str) -> Option<(Vec<u8>, Version)> {
        match hostcalls::get_shared_data(key) {
            Ok((Some(value), Some(version))) => Some((value, Version(version))),
            _ => None,
        }
    }

    fn write(&self, key: &str, value: &[u8], version: Option<Version>) -> Result<(), Outdated> {
        let version = version.map(|Version(version)| version);
        hostcalls::set_shared_data(key, Some(value), version).map_err(|_| Outdated)
    }
}

impl Statistics for Envoy {
    fn counter(&self, name: &str) -> StatisticId {
        self.define(MetricType::Counter, name)
    }

    fn gauge(&self, name: &str) -> StatisticId {
        self.define(MetricType::Gauge, name)
    }

    fn add(&self, StatisticId(id): StatisticId, n: u32) {
        // It fails only for a statistic that was not defined.
        let _known = hostcalls::increment_metric(id, i64::from(n));
    }

    fn set(&self, StatisticId(id): StatisticId, value: u64) {
        let _known = hostcalls::record_metric(id, value);
    }

    fn value(&self, StatisticId(id): StatisticId) -> u64 {
        hostcalls::get_metric(id).unwrap_or(0)
    }
}

impl Calls for Envoy {
    fn get(&self, call: &Get<'_>) -> Result<CallToken, NotSent> {
        let mut headers = vec![
            (":method", "GET"),
            (":path", call.path),
            (":authority", call.authority),
            (
                "user-agent",
                concat!("wsbalancer/", env!("CARGO_PKG_VERSION")),
            ),
        ];
        headers.extend_from_slice(call.headers);
        // The cluster's `override_host` policy obeys.
        let upstream = call.upstream;
        headers.extend(upstream.map(|upstream| (&*self.override_header, upstream)));
        hostcalls::dispatch_http_call(call.cluster, headers, None, Vec::new(), call.timeout)
            .map(CallToken)
            .map_err(|_| NotSent)
    }
}

impl Hosts for Envoy {
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
