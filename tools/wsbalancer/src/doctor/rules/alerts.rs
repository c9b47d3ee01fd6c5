//! Whether the alerts and the dashboard find the statistics that they are about.

use super::balanced;
use crate::doctor::finding::Finding;
use crate::doctor::snapshot::Snapshot;

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let Some(series) = envoy
        .series
        .as_ref()
        .filter(|_| !balanced(envoy).is_empty())
    else {
        return Vec::new();
    };
    let mut own = series
        .lines()
        .filter(|line| line.starts_with("wsbalancer_"));
    let (what, remedy) = match own.clone().next() {
        None => (
            "none of the filter's statistics are kept: alerts on them never fire",
            "in Istio, add wasmcustom to the inclusionPrefixes of proxyStatsMatcher",
        ),
        Some(_) if !own.any(|line| line.contains("service=\"")) => (
            "the filter's statistics have no label service: alerts and dashboard go by it",
            "set stats_tags as in envoy/envoy.yaml; where a control plane writes the bootstrap, go \
             by the series of the status",
        ),
        Some(_) => return Vec::new(),
    };
    vec![Finding::warning("alerts", "Envoy", what, remedy)]
}
