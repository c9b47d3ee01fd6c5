//! Circuit breakers, which count a WebSocket as a connection and as a request for as long as it is
//! open.

use super::balanced;
use crate::doctor::finding::Finding;
use crate::doctor::snapshot::Snapshot;

/// Each with Envoy's default.
const LIMITS: [(&str, u64); 4] = [
    ("max_connections", 1024),
    ("max_pending_requests", 1024),
    ("max_requests", 1024),
    ("max_retries", 3),
];

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    for service in balanced(envoy) {
        let Some(cluster) = envoy.cluster(&service.service.cluster) else {
            continue;
        };
        let thresholds = cluster["circuit_breakers"]["thresholds"].as_array();
        let mut thresholds = thresholds.into_iter().flatten();
        let threshold = thresholds.find(|one| {
            one.get("priority")
                .is_none_or(|priority| priority == "DEFAULT")
        });
        for (name, default) in LIMITS {
            let limit = threshold.and_then(|threshold| threshold[name].as_u64());
            let limit = limit.unwrap_or(default);
            if limit <= default {
                let what = match name {
                    "max_retries" => "retries at a time, too few while a busy pod is dying",
                    _ => "WebSockets, and polls need a free place, too",
                };
                found.push(Finding::warning(
                    "circuit-breakers",
                    service.place(),
                    format!("{name} is {limit}: there can be no more {what}"),
                    "raise it in the cluster's circuit_breakers, such as to 100000",
                ));
            }
        }
    }
    found
}
