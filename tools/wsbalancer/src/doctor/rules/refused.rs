//! Resources that Envoy did not take from its control plane.

use crate::doctor::finding::Finding;
use crate::doctor::snapshot::Snapshot;

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let refused = envoy.refused.iter();
    refused
        .map(|(name, reason)| {
            Finding::error(
                "refused",
                name,
                format!("Envoy has refused it: {reason}"),
                "correct what the control plane was given; until then the old one holds, or none",
            )
        })
        .collect()
}
