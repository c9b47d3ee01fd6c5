//! Whether the cluster and the route follow what the filter chooses.

use serde_json::Value;

use super::{Balanced, balanced};
use crate::doctor::finding::Finding;
use crate::doctor::snapshot::Snapshot;

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    for service in balanced(envoy)
        .into_iter()
        .filter(Balanced::is_steered_by_host)
    {
        let place = service.place();
        let Some(cluster) = envoy.cluster(&service.service.cluster) else {
            found.push(Finding::error(
                "steering",
                place,
                "the filter has a service for it, but there is no such cluster",
                "correct the name in the filter's services, or see why Envoy refused the cluster",
            ));
            continue;
        };
        if service.routes(envoy).is_empty() {
            found.push(Finding::error(
                "steering",
                &place,
                format!("no route of listener {} names it", service.listener),
                "the filter goes by the name of the route's cluster: let both be the same",
            ));
        }
        let header = &service.settings.override_header;
        let read = headers(cluster);
        if read.is_empty() {
            found.push(Finding::error(
                "steering",
                &place,
                "it does not follow the filter: it has no override_host policy",
                "set the cluster's load_balancing_policy to override_host",
            ));
        } else if !read.iter().any(|known| known.eq_ignore_ascii_case(header)) {
            found.push(Finding::error(
                "steering",
                &place,
                format!(
                    "its override_host policy reads {}, the filter writes {header}",
                    read.join(", ")
                ),
                "let override_host_sources and overrideHeader name the same header",
            ));
        }
    }
    found
}

/// The headers that the policy of a cluster reads.
fn headers(cluster: &Value) -> Vec<&str> {
    let policies = cluster["load_balancing_policy"]["policies"].as_array();
    let policies = policies.into_iter().flatten();
    let typed = policies.map(|policy| &policy["typed_extension_config"]["typed_config"]);
    let sources = typed.filter_map(|typed| typed["override_host_sources"].as_array());
    let headers = sources.flatten().map(|source| source["header"].as_str());
    headers.flatten().collect()
}
