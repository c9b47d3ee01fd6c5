//! Limits on connections: circuit breakers, which count a WebSocket as a connection and as a request
//! for as long as it is open, and the overload manager's.

use serde_json::Value;

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

/// What Envoy Gateway lets in.
const LET_IN: u64 = 50_000;

/// The overload manager's limit on connections of clients.
const DOWNSTREAM: &str = "max_active_downstream_connections";

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    let monitors = envoy.bootstrap["overload_manager"]["resource_monitors"].as_array();
    for monitor in monitors.into_iter().flatten() {
        let limit = number(&monitor["typed_config"][DOWNSTREAM]);
        if let Some(limit) = limit.filter(|limit| *limit <= LET_IN) {
            found.push(Finding::warning(
                "circuit-breakers",
                "Envoy",
                format!("{DOWNSTREAM} is {limit}: no more clients can connect"),
                "raise it in the bootstrap's overload_manager, if there is memory for more",
            ));
        }
    }
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

/// Of 64 bits, which protobuf's JSON writes as a text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
