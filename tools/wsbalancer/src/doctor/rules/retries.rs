//! Whether a pod that is gone costs its clients their handshakes.

use serde_json::Value;

use super::{Balanced, balanced};
use crate::doctor::finding::Finding;
use crate::doctor::snapshot::Snapshot;

/// Conditions that cover a refused connection.
const REFUSED: [&str; 4] = ["connect-failure", "5xx", "gateway-error", "reset"];

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    for service in balanced(envoy)
        .into_iter()
        .filter(Balanced::is_steered_by_host)
    {
        for route in service.routes(envoy) {
            let place = format!("{}, route of {}", service.place(), route.host);
            let policies = [
                &route.action["retry_policy"],
                &route.places[1]["retry_policy"],
            ];
            let policy = policies.into_iter().find(|policy| !policy.is_null());
            let Some(policy) = policy.filter(|policy| policy["num_retries"] != 0) else {
                found.push(Finding::warning(
                    "retries",
                    place,
                    "a handshake fails when its pod refuses the connection: nobody retries",
                    "set a retry_policy: retry_on connect-failure,refused-stream, num_retries 2",
                ));
                continue;
            };
            if !covers(policy) {
                found.push(Finding::warning(
                    "retries",
                    place,
                    "its retry_policy has no connect-failure: a refused connection is not retried",
                    "add connect-failure and refused-stream to retry_on",
                ));
            }
        }
    }
    found
}

fn covers(policy: &Value) -> bool {
    let conditions = policy["retry_on"].as_str().unwrap_or_default();
    let mut conditions = conditions.split(',').map(str::trim);
    conditions.any(|condition| REFUSED.contains(&condition))
}
