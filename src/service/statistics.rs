//! The statistics of a service, as Envoy shows them: `wasmcustom.wsbalancer.CLUSTER.NAME`.
//!
//! Counters add up over all workers. The gauges are facts about the shared table; only the
//! worker that polls sets them, so that workers do not overwrite one another.

use serde::Serialize;

use crate::host::{StatisticId, Statistics};

/// What a service's statistics begin with, before the cluster's name.
pub const PREFIX: &str = "wsbalancer";

/// The statistics of one service.
#[derive(Clone, Copy, Debug)]
pub struct ServiceStatistics {
    /// Upgrades that were sent to a pod of the filter's choice.
    pub upgrades_balanced: StatisticId,
    /// Upgrades that were left to the cluster's fallback policy.
    pub upgrades_fallback: StatisticId,
    /// Upgrades that were answered with 503.
    pub upgrades_rejected: StatisticId,
    /// Upgrades that were answered with 503 because every pod is full.
    pub upgrades_full: StatisticId,
    /// Upgrades that were answered with 403 for the origin of their page.
    pub upgrades_forbidden: StatisticId,
    /// Upgrades that ended with 5xx or without an answer, and not by their clients' disconnecting.
    pub upgrades_failed: StatisticId,
    /// Upgrades that carry a session, which were left to whoever keeps it.
    pub upgrades_in_session: StatisticId,
    /// Upgrades that needed more than one pod.
    pub upgrades_retried: StatisticId,
    /// Upgrades that were served by another pod than the one chosen, without a retry.
    pub upgrades_mismatched: StatisticId,
    /// WebSockets that ended within a second, and not by their clients' disconnecting.
    pub websockets_cut: StatisticId,
    /// WebSockets that rebalancing closed.
    pub websockets_rebalanced: StatisticId,
    /// Polls that brought a count.
    pub polls_ok: StatisticId,
    /// Polls that brought none.
    pub polls_failed: StatisticId,
    /// Answers that came too late to count.
    pub polls_ignored: StatisticId,
    /// Lists of the cluster's hosts that Envoy gave.
    pub discovery_ok: StatisticId,
    /// Times that it gave none.
    pub discovery_failed: StatisticId,
    /// Workers that gave no sign of life for long.
    pub workers_lost: StatisticId,
    /// Pods that the service has.
    pub pods_known: StatisticId,
    /// Pods that get new WebSockets.
    pub pods_usable: StatisticId,
}

impl ServiceStatistics {
    /// Defines the statistics of the service of `cluster`.
    pub fn define(host: &impl Statistics, cluster: &str) -> Self {
        let counter = |name| host.counter(&format!("{PREFIX}.{cluster}.{name}"));
        let gauge = |name| host.gauge(&format!("{PREFIX}.{cluster}.{name}"));
        Self {
            upgrades_balanced: counter("upgrades_balanced"),
            upgrades_fallback: counter("upgrades_fallback"),
            upgrades_rejected: counter("upgrades_rejected"),
            upgrades_full: counter("upgrades_full"),
            upgrades_forbidden: counter("upgrades_forbidden"),
            upgrades_failed: counter("upgrades_failed"),
            upgrades_in_session: counter("upgrades_in_session"),
            upgrades_retried: counter("upgrades_retried"),
            upgrades_mismatched: counter("upgrades_mismatched"),
            websockets_cut: counter("websockets_cut"),
            websockets_rebalanced: counter("websockets_rebalanced"),
            polls_ok: counter("polls_ok"),
            polls_failed: counter("polls_failed"),
            polls_ignored: counter("polls_ignored"),
            discovery_ok: counter("discovery_ok"),
            discovery_failed: counter("discovery_failed"),
            workers_lost: counter("workers_lost"),
            pods_known: gauge("pods_known"),
            pods_usable: gauge("pods_usable"),
        }
    }

    /// What the counters have come to, in all workers since the proxy started.
    pub fn counts(&self, host: &impl Statistics) -> ServiceCounts {
        ServiceCounts {
            upgrades_balanced: host.value(self.upgrades_balanced),
            upgrades_fallback: host.value(self.upgrades_fallback),
            upgrades_rejected: host.value(self.upgrades_rejected),
            upgrades_full: host.value(self.upgrades_full),
            upgrades_forbidden: host.value(self.upgrades_forbidden),
            upgrades_failed: host.value(self.upgrades_failed),
            upgrades_in_session: host.value(self.upgrades_in_session),
            upgrades_retried: host.value(self.upgrades_retried),
            upgrades_mismatched: host.value(self.upgrades_mismatched),
            websockets_cut: host.value(self.websockets_cut),
            websockets_rebalanced: host.value(self.websockets_rebalanced),
            polls_ok: host.value(self.polls_ok),
            polls_failed: host.value(self.polls_failed),
            polls_ignored: host.value(self.polls_ignored),
            discovery_ok: host.value(self.discovery_ok),
            discovery_failed: host.value(self.discovery_failed),
            workers_lost: host.value(self.workers_lost),
        }
    }
}

/// What the counters of a service have come to; see [`ServiceStatistics`] for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "they are those of the statistics")]
pub struct ServiceCounts {
    pub upgrades_balanced: u64,
    pub upgrades_fallback: u64,
    pub upgrades_rejected: u64,
    pub upgrades_full: u64,
    pub upgrades_forbidden: u64,
    pub upgrades_failed: u64,
    pub upgrades_in_session: u64,
    pub upgrades_retried: u64,
    pub upgrades_mismatched: u64,
    pub websockets_cut: u64,
    pub websockets_rebalanced: u64,
    pub polls_ok: u64,
    pub polls_failed: u64,
    pub polls_ignored: u64,
    pub discovery_ok: u64,
    pub discovery_failed: u64,
    pub workers_lost: u64,
}
