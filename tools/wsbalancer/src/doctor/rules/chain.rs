//! Where the filter stands.

use crate::doctor::finding::Finding;
use crate::doctor::snapshot::Snapshot;

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let chains = envoy.chains();
    if chains.is_empty() {
        return vec![Finding::error(
            "chain",
            "Envoy",
            "no listener has the filter",
            "see Envoy's log for what it refused, and that of the control plane",
        )];
    }
    let mut found = Vec::new();
    for chain in &chains {
        let place = format!("listener {}", chain.listener);
        let configs = chain.filters.iter().map(|filter| filter.config.as_ref());
        if configs.clone().any(|config| config.is_none()) {
            found.push(Finding::error(
                "chain",
                &place,
                "the filter refuses its configuration",
                "see `configuration refused` in Envoy's log, or ask `wsbalancer check`",
            ));
        }
        let balancing = configs.clone().flatten();
        let balancing = balancing
            .filter(|config| !config.services.is_empty())
            .count();
        if balancing > 1 {
            found.push(Finding::error(
                "chain",
                &place,
                format!("{balancing} filters of this kind: only the first one chooses"),
                "remove all but one; one can have several services",
            ));
        }
        let shows = configs
            .flatten()
            .any(|config| config.settings.status.is_some());
        if shows && balancing > 0 {
            found.push(Finding::warning(
                "chain",
                &place,
                "whoever opens WebSockets can see the status, with names and addresses of pods",
                "give the status a listener of its own, which only operators reach",
            ));
        }
    }
    found
}
