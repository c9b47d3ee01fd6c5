//! Whether what carries a session reaches the pod that has it.

use super::balanced;
use crate::doctor::finding::Finding;
use crate::doctor::snapshot::Snapshot;

/// The type of the filter that keeps sessions on their pods.
const STATEFUL: &str =
    "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession";

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    for service in balanced(envoy) {
        let Some(sessions) = &service.service.sessions else {
            continue;
        };
        // Without `keptBy` something else keeps them, which need not be seen here.
        if sessions.kept_by.is_none() {
            continue;
        }
        let filters = service.manager["http_filters"].as_array();
        let filters = filters.into_iter().flatten();
        let mut behind = filters.skip_while(|filter| !envoy.is_ours(filter)).skip(1);
        if !behind.any(|filter| filter["typed_config"]["@type"] == STATEFUL) {
            found.push(Finding::error(
                "sessions",
                service.place(),
                "its sessions leave their pods: no stateful session filter is behind this one",
                "add envoy.filters.http.stateful_session between wsbalancer and the router",
            ));
        }
    }
    found
}
