//! The statistics of a service, as Envoy shows them: `wasmcustom.wsbalancer.CLUSTER.NAME`.
//!
//! Counters add up over all workers. The gauges are facts about the shared table; only the
//! worker that polls sets them, so that workers do not overwrite one another.

use crate::host::{MetricId, Metrics};

/// What a service's statistics begin with, before the cluster's name.
pub const PREFIX: &str = "wsbalancer";

/// The statistics of one service.
#[derive(Clone, Copy, Debug)]
pub struct ServiceMetrics {
    /// Upgrades that were sent to a pod of the filter's choice.
    pub upgrades_balanced: MetricId,
    /// Upgrades that were left to the cluster's fallback policy.
    pub upgrades_fallback: MetricId,
    /// Upgrades that were answered with 503.
    pub upgrades_rejected: MetricId,
    /// Upgrades that were answered with 503 because every pod is full.
    pub upgrades_full: MetricId,
    /// Upgrades that needed more than one pod.
    pub upgrades_retried: MetricId,
    /// Upgrades that were served by another pod than the one chosen, without a retry.
    pub upgrades_mismatched: MetricId,
    /// WebSockets that were closed to relieve their pods.
    pub websockets_rebalanced: MetricId,
    /// Polls that brought a count.
    pub polls_ok: MetricId,
    /// Polls that brought none.
    pub polls_failed: MetricId,
    /// Answers that came too late to count.
    pub polls_ignored: MetricId,
    /// Lists of the cluster's hosts that Envoy gave.
    pub discovery_ok: MetricId,
    /// Times that it gave none.
    pub discovery_failed: MetricId,
    /// Pods that the service has.
    pub pods_known: MetricId,
    /// Pods that get new WebSockets.
    pub pods_usable: MetricId,
}

impl ServiceMetrics {
    /// Defines the statistics of the service of `cluster`.
    pub fn define(host: &impl Metrics, cluster: &str) -> Self {
        let counter = |name| host.counter(&format!("{PREFIX}.{cluster}.{name}"));
        let gauge = |name| host.gauge(&format!("{PREFIX}.{cluster}.{name}"));
        Self {
            upgrades_balanced: counter("upgrades_balanced"),
            upgrades_fallback: counter("upgrades_fallback"),
            upgrades_rejected: counter("upgrades_rejected"),
            upgrades_full: counter("upgrades_full"),
            upgrades_retried: counter("upgrades_retried"),
            upgrades_mismatched: counter("upgrades_mismatched"),
            websockets_rebalanced: counter("websockets_rebalanced"),
            polls_ok: counter("polls_ok"),
            polls_failed: counter("polls_failed"),
            polls_ignored: counter("polls_ignored"),
            discovery_ok: counter("discovery_ok"),
            discovery_failed: counter("discovery_failed"),
            pods_known: gauge("pods_known"),
            pods_usable: gauge("pods_usable"),
        }
    }
}
