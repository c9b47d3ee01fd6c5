//! Whether the alerts and the dashboard find the series that they are about.

use super::balanced;
use crate::doctor::finding::Finding;
use crate::doctor::snapshot::Snapshot;

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    if balanced(envoy).is_empty() {
        return found;
    }
    let mut warn = |what, remedy| found.push(Finding::warning("alerts", "Envoy", what, remedy));
    let chains = envoy.chains();
    let mut configs = chains
        .iter()
        .flat_map(|chain| &chain.filters)
        .filter_map(|filter| filter.config.as_ref());
    if !configs.any(|config| config.settings.status.is_some()) {
        warn(
            "no filter shows a status: alerts and dashboard go by its series",
            "add a status on a listener of its own, which only operators reach",
        );
    }
    let is_kept = |series: &String| series.lines().any(|line| line.starts_with("wsbalancer_"));
    if envoy.series.as_ref().is_some_and(|series| !is_kept(series)) {
        warn(
            "none of the filter's statistics are kept: counters in the status stay at 0",
            "let the stats_matcher keep what begins with wasmcustom",
        );
    }
    found
}
