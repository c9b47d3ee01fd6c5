//! The host traits, on the functions of a real Envoy.

use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::types::MetricType;

use crate::host::{CallToken, Calls, MetricId, Metrics, NotSent, Outdated, SharedData, Version};

/// The Envoy that runs this VM.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envoy;

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

impl Metrics for Envoy {
    fn counter(&self, name: &str) -> MetricId {
        define(MetricType::Counter, name)
    }

    fn gauge(&self, name: &str) -> MetricId {
        define(MetricType::Gauge, name)
    }

    fn add(&self, MetricId(id): MetricId, n: u32) {
        // It fails only for a metric that was not defined.
        let _known = hostcalls::increment_metric(id, i64::from(n));
    }

    fn set(&self, MetricId(id): MetricId, value: u64) {
        let _known = hostcalls::record_metric(id, value);
    }
}

fn define(kind: MetricType, name: &str) -> MetricId {
    // No metric has the number that stands in for one the host would not define.
    MetricId(hostcalls::define_metric(kind, name).unwrap_or(u32::MAX))
}

impl Calls for Envoy {
    fn call(
        &self,
        cluster: &str,
        path: &str,
        steering: Option<(&str, &str)>,
        timeout: Duration,
    ) -> Result<CallToken, NotSent> {
        let mut headers = vec![
            (":method", "GET"),
            (":path", path),
            (":authority", cluster),
            ("accept", "application/json"),
            (
                "user-agent",
                concat!("wsbalancer/", env!("CARGO_PKG_VERSION")),
            ),
        ];
        headers.extend(steering);
        hostcalls::dispatch_http_call(cluster, headers, None, Vec::new(), timeout)
            .map(CallToken)
            .map_err(|_| NotSent)
    }
}
