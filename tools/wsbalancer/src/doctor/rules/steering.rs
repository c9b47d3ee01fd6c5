//! Whether the cluster and the route follow what the filter chooses.

use serde_json::Value;

use super::{Balanced, balanced};
use crate::doctor::finding::Finding;
use crate::doctor::snapshot::Snapshot;

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    for service in balanced(envoy) {
        let place = service.place();
        if !service.is_steered_by_host() {
            found.extend(by_cluster(&service, envoy));
            continue;
        }
        let Some(cluster) = envoy.cluster(&service.service.cluster) else {
            found.push(Finding::error(
                "steering",
                place,
                "the filter has a service for it, but there is no such cluster",
                "correct the name in the filter's services, or see why Envoy refused the cluster",
            ));
            continue;
        };
        let routes = service.routes(envoy);
        if routes.is_empty() {
            found.push(Finding::error(
                "steering",
                &place,
                format!("no route of listener {} names it", service.listener),
                "the filter goes by the name of the route's cluster: let both be the same",
            ));
        }
        let header = &service.settings.override_header;
        for route in routes.iter().filter(|route| route.removes(header)) {
            found.push(Finding::error(
                "steering",
                format!("{place}, route of {}", route.host),
                format!("it takes {header} away, with what the filter has chosen"),
                "remove it from request_headers_to_remove",
            ));
        }
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

/// Where each pod is a cluster, a route takes the cluster's name from the header.
fn by_cluster(service: &Balanced<'_>, envoy: &Snapshot) -> Option<Finding> {
    let header = service.settings.override_header.as_str();
    let routes = envoy.routes(service.manager);
    let mut named = routes
        .iter()
        .filter_map(|route| route.action["cluster_header"].as_str());
    (!named.any(|named| named.eq_ignore_ascii_case(header))).then(|| {
        Finding::error(
            "steering",
            service.place(),
            format!(
                "no route of listener {} has the cluster_header {header}",
                service.listener
            ),
            "set cluster_header in the route, in the place of its cluster",
        )
    })
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
