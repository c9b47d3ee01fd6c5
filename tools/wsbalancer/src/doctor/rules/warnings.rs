//! What the filter warns of by itself, from what it has seen.

use serde::Deserialize;
use serde_json::Value;
use wsbalancer::warning::Kind;

use crate::doctor::finding::{Finding, Severity};
use crate::doctor::snapshot::Snapshot;

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
        // A filter of a later version may have kinds that are not known here.
        let is_outage = Kind::deserialize(&warning["kind"]).is_ok_and(Kind::is_outage);
        let remedy = warning["advice"].as_str().map(indented);
        let remedy = remedy.unwrap_or_else(|| format!("see the warning {kind} in operations.md"));
        let finding = Finding::warning("warnings", place, message, remedy);
        Some(Finding {
            severity: if is_outage {
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
