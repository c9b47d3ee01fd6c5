//! What the filter warns of by itself, from what it has seen.

use serde_json::Value;

use crate::doctor::finding::{Finding, Severity};
use crate::doctor::snapshot::Snapshot;

/// Kinds with which a service is critical on the page.
const GRAVE: [&str; 3] = ["noAnswer", "circuitBreakers", "ports"];

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let mut found = of(&envoy.status, "Envoy");
    for service in envoy.status["services"].as_array().into_iter().flatten() {
        let name = service["url"].as_str().unwrap_or_default();
        found.extend(of(service, &format!("cluster {name}")));
    }
    found
}

/// The warnings of a service, or those at the top of the status.
fn of(told: &Value, place: &str) -> Vec<Finding> {
    let warnings = told["warnings"].as_array().into_iter().flatten();
    let found = warnings.filter_map(|warning| {
        let message = warning["message"].as_str()?;
        let kind = warning["kind"].as_str()?;
        let remedy = warning["advice"].as_str().map(indented);
        let remedy = remedy.unwrap_or_else(|| format!("see the warning {kind} in operations.md"));
        let finding = Finding::warning("warnings", place, message, remedy);
        Some(Finding {
            severity: if GRAVE.contains(&kind) {
                Severity::Error
            } else {
                Severity::Warning
            },
            ..finding
        })
    });
    found.collect()
}

/// Lines to add, as far in as the first.
fn indented(advice: &str) -> String {
    advice.trim_end().replace('\n', "\n  ")
}
