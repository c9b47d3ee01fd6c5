//! Whether Envoy lets WebSockets through at all.

use serde_json::Value;

use super::balanced;
use crate::doctor::finding::Finding;
use crate::doctor::snapshot::Snapshot;

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    for service in balanced(envoy) {
        let routes = service.routes(envoy);
        let mut actions = routes.iter().map(|route| route.action);
        if !allows(service.manager) && !actions.any(allows) {
            found.push(Finding::error(
                "upgrades",
                format!("listener {}", service.listener),
                "WebSockets get 403: it allows no upgrade to websocket",
                "add upgrade_configs: [{ upgrade_type: websocket }] to the connection manager",
            ));
        }
    }
    found
}

fn allows(place: &Value) -> bool {
    let upgrades = place["upgrade_configs"].as_array();
    let mut upgrades = upgrades.into_iter().flatten();
    upgrades.any(|upgrade| {
        let kind = upgrade["upgrade_type"].as_str().unwrap_or_default();
        kind.eq_ignore_ascii_case("websocket") && upgrade["enabled"] != false
    })
}
