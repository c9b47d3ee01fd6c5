//! What Istio does on its own to the choice of pods: failover between zones, and outlier detection.

use std::collections::BTreeSet;

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
        let name = &service.service.cluster;
        let Some(cluster) = envoy.cluster(name) else {
            continue;
        };
        if cluster["outlier_detection"]
            .as_object()
            .is_some_and(|fields| !fields.is_empty())
        {
            found.push(Finding::warning(
                "zones",
                service.place(),
                "outlier detection counts WebSockets that clients ended as failures of the pod, \
                 and ejects healthy pods",
                "remove it; the filter leaves out pods that fail",
            ));
        }
        // In an Envoy's own configuration priorities are what somebody wants.
        let is_istios = name.starts_with("outbound|");
        if is_istios && priorities(envoy, cluster).len() > 1 {
            found.push(Finding::warning(
                "zones",
                service.place(),
                "Istio has added a failover between zones: pods of other zones get nothing while \
                 those of this one are well",
                "set localityLbSetting: { enabled: false } in the DestinationRule",
            ));
        }
    }
    found
}

/// The priorities of a cluster's pods.
fn priorities(envoy: &Snapshot, cluster: &Value) -> BTreeSet<u64> {
    let of_eds = &cluster["eds_cluster_config"]["service_name"];
    let name = if of_eds.is_null() {
        &cluster["name"]
    } else {
        of_eds
    };
    let assignments = envoy
        .endpoints
        .iter()
        .filter(|one| one["cluster_name"] == *name);
    let assignments = assignments.chain(cluster.get("load_assignment"));
    let groups = assignments.filter_map(|assignment| assignment["endpoints"].as_array());
    let groups = groups
        .flatten()
        .filter(|group| group["lb_endpoints"] != Value::Null);
    groups
        .map(|group| group["priority"].as_u64().unwrap_or(0))
        .collect()
}
