//! States of a balancer, as tests need them.

use serde_json::{Value, json};
use wsbalancer_client::{PodStatus, Status};

/// A pod as the filter tells it; its even share is 100.
pub(crate) fn pod_json(name: &str, count: u64, state: &str) -> Value {
    let reason = match state {
        "healthy" => "it gets new WebSockets",
        _ => "has its reasons",
    };
    let takes_part = ["healthy", "slowStart", "full"].contains(&state);
    #[expect(clippy::cast_precision_loss, reason = "these are small")]
    let load = takes_part.then(|| count as f64 / 100.0);
    json!({
        "agentsConnections": count, "podName": name, "podIP": "10.0.0.1", "nodeName": "node-3",
        "address": "10.0.0.1:8080", "state": state, "reason": reason, "estimate": count + 1,
        "ownConnections": 12, "inFlight": 0, "evenShare": 100.0, "weight": 1.0,
        "maxConnections": null, "priority": 0, "countAge": 1.25, "lastError": null,
        "slowStart": null, "opened": 1000, "closed": 988, "refused": 0, "pollsFailed": 0,
        "rebalanced": 0, "load": load,
    })
}

pub(crate) fn pod(name: &str, count: u64, state: &str) -> PodStatus {
    serde_json::from_value(pod_json(name, count, state)).expect("a pod")
}

/// A service as the filter tells it.
pub(crate) fn service_json(name: &str) -> Value {
    json!({
        "url": name, "connections": 1234, "estimate": 1240, "ownConnections": 400, "share": 0.33,
        "imbalance": 1.02, "evenShare": 100.0, "podsKnown": 8, "podsUsable": 7,
        "metricPath": "/metric", "refreshInterval": 5.0, "cacheTTL": 30.0,
        "poller": "3f09a1b2c4d5e6f7",
        "verdict": {"gravity": "warning", "text": "1 of 8 pods gets nothing new: it has its reasons"},
        "discovery": {"adminCluster": "envoy_admin", "age": 1.2, "lastError": null},
    })
}

/// The whole document with these services and these pods of the first of them.
pub(crate) fn document(services: &[Value], pods: &[Value]) -> Value {
    let mut pod_metrics = serde_json::Map::new();
    for (place, service) in services.iter().enumerate() {
        let name = service["url"].as_str().expect("a name");
        let pods = if place == 0 { pods } else { &[] };
        pod_metrics.insert(name.to_owned(), json!(pods));
    }
    json!({
        "timestamp": "2026-11-25T00:50:00Z", "services": services, "podMetrics": pod_metrics,
        "totalConnections": 1234, "agentsConnections": 1234,
    })
}

/// What [`document`] says.
pub(crate) fn status_of(services: &[Value], pods: &[Value]) -> Status {
    serde_json::from_value(document(services, pods)).expect("a status")
}

/// Services without pods.
pub(crate) fn status(names: &[&str]) -> Status {
    let services: Vec<Value> = names.iter().map(|name| service_json(name)).collect();
    status_of(&services, &[])
}

/// Pods in every state that needs explaining, and some that do not.
pub(crate) fn mixed_pods() -> Vec<Value> {
    let mut late = pod_json("chat-7d4", 80, "healthy");
    late["lastError"] = json!("status 503");
    let mut failing = pod_json("chat-x2z", 150, "unhealthy");
    failing["reason"] = json!("3 polls failed in a row");
    failing["lastError"] = json!("no answer within 2 s");
    let mut silent = pod_json("", 0, "unknown");
    silent["podName"] = Value::Null;
    silent["countAge"] = Value::Null;
    silent["reason"] = json!("has not told a count yet");
    silent["address"] = json!("10.0.0.9:8080");
    let mut full = pod_json("chat-9", 1000, "full");
    full["reason"] = json!("holds 1,000 of 1,000 WebSockets");
    full["maxConnections"] = json!(1000);
    full["weight"] = json!(2.5);
    full["evenShare"] = json!(250.0);
    let fine = pod_json("chat-10", 100, "healthy");
    vec![late, failing, silent, full, fine]
}
