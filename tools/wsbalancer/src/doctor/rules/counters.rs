//! What has already happened, since Envoy started.

use super::balanced;
use crate::doctor::finding::Finding;
use crate::doctor::snapshot::Snapshot;

/// Statistics of the filter, with what they say and what to do.
const OF_FILTER: [(&str, &str, &str); 6] = [
    (
        "upgrades_mismatched",
        "handshakes went to other pods than the chosen ones",
        "let override_host read the overrideHeader; let endpoints be hosts of the cluster",
    ),
    (
        "upgrades_fallback",
        "handshakes were left to the fallback_policy, because no pod was usable",
        "see the states of the pods in the status",
    ),
    (
        "upgrades_rejected",
        "handshakes got 503, because no pod was usable",
        "see the states of the pods in the status",
    ),
    (
        "upgrades_full",
        "handshakes got 503, because all pods were full",
        "raise their maxConnections, or add pods",
    ),
    (
        "upgrades_forbidden",
        "handshakes got 403 because of their origin",
        "the log names the origins: add those of your own pages to allowedOrigins",
    ),
    (
        "workers_lost",
        "workers gave no sign of life: the filter has crashed in them, or was held up",
        "see Envoy's log of its component wasm; failure_policy: FAIL_RELOAD starts it anew",
    ),
];

/// Statistics of the cluster.
const OF_CLUSTER: [&str; 3] = [
    "upstream_cx_overflow",
    "upstream_rq_pending_overflow",
    "upstream_rq_retry_overflow",
];

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    for service in balanced(envoy) {
        let cluster = &service.service.cluster;
        let count = |name: &String| envoy.statistics.get(name).copied().filter(|n| *n > 0);
        for (name, what, remedy) in OF_FILTER {
            if let Some(count) = count(&format!("wasmcustom.wsbalancer.{cluster}.{name}")) {
                let what = format!("{count} {what}");
                found.push(Finding::warning("counters", service.place(), what, remedy));
            }
        }
        for name in OF_CLUSTER {
            // Istio ends the variable part with a semicolon.
            let names = ["", ";"].map(|end| format!("cluster.{cluster}{end}.{name}"));
            if let Some(count) = names.iter().find_map(count) {
                found.push(Finding::warning(
                    "counters",
                    service.place(),
                    format!("a circuit breaker refused {count} times ({name})"),
                    "raise the cluster's circuit_breakers",
                ));
            }
        }
    }
    found
}
