//! The filter's VMs: what happens if one crashes, and who shares what.

use std::collections::BTreeSet;

use crate::doctor::finding::Finding;
use crate::doctor::snapshot::Snapshot;

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut balancing = BTreeSet::new();
    let mut showing = BTreeSet::new();
    for chain in envoy.chains() {
        for filter in &chain.filters {
            let policy = filter.plugin["failure_policy"].as_str();
            let is_open = filter.plugin["fail_open"] == true;
            let stays = matches!(policy, None | Some("UNSPECIFIED" | "FAIL_CLOSED"));
            if stays && !is_open {
                found.push(Finding::warning(
                    "vm",
                    format!("listener {}", chain.listener),
                    "should the filter crash, every request gets 503 until Envoy is restarted",
                    "set failure_policy: FAIL_RELOAD",
                ));
            }
            let id = filter.plugin["vm_config"]["vm_id"].as_str();
            let id = id.unwrap_or_default();
            let Some(config) = &filter.config else {
                continue;
            };
            if !config.services.is_empty() {
                balancing.insert(id);
            }
            if config.settings.status.is_some() {
                showing.insert(id);
            }
        }
    }
    if !showing.is_empty() {
        found.extend(balancing.difference(&showing).map(|id| {
            Finding::warning(
                "vm",
                format!("vm_id {id:?}"),
                "no status shows its services",
                "give the filter of the status the same vm_id",
            )
        }));
    }
    found
}
