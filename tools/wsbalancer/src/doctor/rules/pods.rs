//! Pods that get no new WebSockets, and why.

use super::balanced;
use crate::doctor::finding::Finding;
use crate::doctor::snapshot::Snapshot;

/// States in which something is wrong with a pod.
const WRONG: [&str; 6] = [
    "stale",
    "ejected",
    "unhealthy",
    "failing",
    "refusing",
    "unknown",
];

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    for service in balanced(envoy) {
        let statuses = envoy.hosts["cluster_statuses"].as_array();
        let mut statuses = statuses.into_iter().flatten();
        let status = statuses.find(|status| status["name"] == service.service.cluster.as_str());
        let hosts = status.map(|status| status["host_statuses"].as_array());
        if hosts.is_some_and(|hosts| hosts.is_none_or(Vec::is_empty)) {
            found.push(Finding::error(
                "pods",
                service.place(),
                "it has no hosts",
                "see where Envoy gets them: its endpoints, DNS, or the control plane",
            ));
        }
    }
    let pods = envoy.status["podMetrics"].as_object();
    for (cluster, pods) in pods.into_iter().flatten() {
        for pod in pods.as_array().into_iter().flatten() {
            let text = |field: &str| pod[field].as_str();
            let place = format!("cluster {cluster}, pod {}", text("address").unwrap_or("?"));
            let state = text("state").unwrap_or_default();
            if WRONG.contains(&state) {
                let reason = text("lastError").or(text("reason")).unwrap_or_default();
                found.push(Finding::warning(
                    "pods",
                    &place,
                    format!("it is {state}: {reason}"),
                    remedy(state),
                ));
            }
            if let Some(complaint) = text("complaint") {
                found.push(Finding::warning(
                    "pods",
                    &place,
                    format!("a field of its count can't be: {complaint}"),
                    "correct it; the count is used all the same",
                ));
            }
            if pod["implausible"] == true {
                found.push(Finding::warning(
                    "pods",
                    &place,
                    "its counts lack WebSockets that are open on it",
                    "correct the count; if it is not of connections, set countsConnections: false",
                ));
            }
        }
    }
    found
}

/// What to do about a pod in this state; the reasons of the others say it themselves.
fn remedy(state: &str) -> &'static str {
    match state {
        "ejected" => "see the cluster's health checks and outlier detection, or the control plane",
        "failing" => "see in the access log what it answers and how its WebSockets end; replace it",
        "refusing" => {
            "let it accept connections; with the next answer to a poll it is usable again"
        }
        _ => "see Troubleshooting in docs/operations.md for what the error means",
    }
}
