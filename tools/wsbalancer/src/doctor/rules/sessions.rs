//! Whether what keeps sessions on their pods stands behind the filter.

use serde_json::Value;

use super::balanced;
use crate::doctor::finding::Finding;
use crate::doctor::snapshot::Snapshot;

const KEEPER: &str =
    "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession";

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    for balanced in balanced(envoy) {
        let sessions = balanced.service.sessions.as_ref();
        let Some(cookie) = sessions.and_then(|sessions| sessions.kept_by.as_deref()) else {
            continue;
        };
        let filters = balanced.manager["http_filters"].as_array();
        let filters = filters.map(Vec::as_slice).unwrap_or_default();
        let keeps = |filter: &Value| {
            let by_itself = &filter["config_discovery"]["type_urls"][0];
            filter["typed_config"]["@type"] == KEEPER || *by_itself == KEEPER
        };
        let last = filters.iter().rposition(keeps);
        let own = filters.iter().position(|filter| envoy.is_filter(filter));
        match (own, last) {
            (_, None) => found.push(Finding::error(
                "sessions",
                balanced.place(),
                format!("nothing in the chain keeps sessions by the cookie {cookie}"),
                "add Envoy's filter stateful_session, or leave keptBy out if sessions are kept in \
                 another way",
            )),
            (Some(own), Some(last)) if last < own => found.push(Finding::error(
                "sessions",
                balanced.place(),
                "the filter stateful_session stands before this one: clients that come back go to \
                 the pod of their last session",
                "put it behind this one; in Envoy Gateway with filterOrder of the EnvoyProxy",
            )),
            _ => {}
        }
    }
    found
}
