//! Time limits that end WebSockets, or cut their handshakes short.

use serde_json::Value;

use super::balanced;
use crate::doctor::finding::Finding;
use crate::doctor::snapshot::{Snapshot, seconds};

/// Envoy's default of `stream_idle_timeout`, in seconds.
const IDLE: f64 = 300.0;

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    for service in balanced(envoy) {
        let manager = service.manager;
        for route in service.routes(envoy) {
            let place = format!("{}, route of {}", service.place(), route.host);
            let of_route = seconds(&route.action["idle_timeout"]);
            let idle = of_route.or(seconds(&manager["stream_idle_timeout"]));
            let idle = idle.unwrap_or(IDLE);
            if idle > 0.0 {
                found.push(Finding::warning(
                    "timeouts",
                    &place,
                    format!("a WebSocket that is silent for {idle} s is ended"),
                    "set the route's idle_timeout to 0s, or have clients or pods send pings",
                ));
            }
            if route.action["timeout"] == Value::Null {
                found.push(Finding::warning(
                    "timeouts",
                    &place,
                    "a handshake with all its retries has to end within Envoy's default of 15 s",
                    "set the route's timeout, such as 30s; it does not cut open WebSockets",
                ));
            }
            let of_route = &route.action["max_stream_duration"]["max_stream_duration"];
            let of_manager = &manager["common_http_protocol_options"]["max_stream_duration"];
            let longest = seconds(of_route).or(seconds(of_manager));
            if let Some(longest) = longest.filter(|longest| *longest > 0.0) {
                found.push(Finding::error(
                    "timeouts",
                    &place,
                    format!("every WebSocket is ended {longest} s after it was opened"),
                    "remove max_stream_duration",
                ));
            }
        }
    }
    found
}
