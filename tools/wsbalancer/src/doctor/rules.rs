//! The rules: each finds one kind of mistake.

mod alerts;
mod chain;
mod circuit_breakers;
mod counters;
mod discovery;
mod header;
mod pods;
mod refused;
mod retries;
mod sessions;
mod steering;
mod timeouts;
mod upgrades;
mod version;
mod vm;
mod warnings;
mod zones;

use serde_json::Value;
use wsbalancer::config::{RouteBy, ServiceConfig, Settings};

use super::finding::Finding;
use super::snapshot::{Route, Snapshot};

/// Looks for one kind of mistake.
pub(super) type Rule = fn(&Snapshot) -> Vec<Finding>;

/// All of them.
pub(super) const ALL: [Rule; 17] = [
    alerts::look,
    chain::look,
    circuit_breakers::look,
    counters::look,
    discovery::look,
    header::look,
    pods::look,
    refused::look,
    retries::look,
    sessions::look,
    steering::look,
    timeouts::look,
    upgrades::look,
    version::look,
    vm::look,
    warnings::look,
    zones::look,
];

/// A service, where it is balanced.
struct Balanced<'envoy> {
    /// The listener's name.
    listener: &'envoy str,
    /// The HTTP connection manager.
    manager: &'envoy Value,
    service: ServiceConfig,
    settings: Settings,
}

impl Balanced<'_> {
    /// What it is called in a finding.
    fn place(&self) -> String {
        format!("cluster {}", self.service.cluster)
    }

    /// Whether its pods are hosts of its cluster.
    fn is_steered_by_host(&self) -> bool {
        self.settings.route_by == RouteBy::Endpoint
    }
}

impl<'envoy> Balanced<'envoy> {
    /// The routes that lead to it.
    fn routes(&self, envoy: &'envoy Snapshot) -> Vec<Route<'envoy>> {
        let routes = envoy.routes(self.manager).into_iter();
        routes
            .filter(|route| route.leads_to(&self.service.cluster))
            .collect()
    }
}

/// The services of all filters.
fn balanced(envoy: &Snapshot) -> Vec<Balanced<'_>> {
    let mut found = Vec::new();
    for chain in envoy.chains() {
        for config in chain
            .filters
            .iter()
            .filter_map(|filter| filter.config.as_ref())
        {
            found.extend(config.services.iter().map(|service| Balanced {
                listener: chain.listener,
                manager: chain.manager,
                service: service.clone(),
                settings: config.settings.clone(),
            }));
        }
    }
    found
}
