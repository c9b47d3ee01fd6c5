//! Whether Envoy lets WebSockets through at all.

use serde_json::Value;

use super::balanced;
use crate::doctor::finding::Finding;
use crate::doctor::snapshot::Snapshot;

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let services = balanced(envoy).into_iter();
    let closed = services.filter(|service| {
        let routes = service.routes(envoy);
        let mut actions = routes.iter().map(|route| route.action);
        !allows(service.manager) && !actions.any(allows)
    });
    closed
        .map(|service| {
            Finding::error(
                "upgrades",
                format!("listener {}", service.listener),
                "WebSockets get 403: it allows no upgrade to websocket",
                "add upgrade_configs: [{ upgrade_type: websocket }] to the connection manager",
            )
        })
        .collect()
}

fn allows(place: &Value) -> bool {
    let upgrades = place["upgrade_configs"].as_array();
    let mut upgrades = upgrades.into_iter().flatten();
    upgrades.any(|upgrade| {
        let kind = upgrade["upgrade_type"].as_str().unwrap_or_default();
        kind.eq_ignore_ascii_case("websocket") && upgrade["enabled"] != false
    })
}
