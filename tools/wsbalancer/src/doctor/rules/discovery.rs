//! Whether the filter can learn which pods there are.

use wsbalancer::config::PodSource;

use super::balanced;
use crate::doctor::finding::Finding;
use crate::doctor::snapshot::Snapshot;

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    for service in balanced(envoy) {
        if let PodSource::Discovery(discovery) = &service.service.pods
            && envoy.cluster(&discovery.admin_cluster).is_none()
        {
            found.push(Finding::error(
                "discovery",
                service.place(),
                format!(
                    "its pods can't be found: there is no cluster {}, the adminCluster",
                    discovery.admin_cluster
                ),
                "add a cluster that leads to the admin interface, or correct the name",
            ));
        }
    }
    let services = envoy.status["services"].as_array().into_iter().flatten();
    let failing = services.filter_map(|service| {
        let error = service["discovery"]["lastError"].as_str()?;
        Some((service["url"].as_str()?, error))
    });
    found.extend(failing.map(|(name, error)| {
        Finding::error(
            "discovery",
            format!("cluster {name}"),
            format!("the list of its pods can't be read: {error}"),
            "check that the adminCluster reaches the admin interface",
        )
    }));
    found
}
