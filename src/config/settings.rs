//! A whole configuration, and what in it holds for all services.

use log::LevelFilter;
use serde::Deserialize;

use super::service::ServiceConfig;

/// A configuration without contradictions.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The services to balance; at least one unless the status is shown, no two with the same
    /// cluster.
    pub services: Vec<ServiceConfig>,
    /// What holds for all of them.
    pub settings: Settings,
    /// The most verbose level that is logged; none leaves it to Envoy's own.
    pub log_level: Option<LevelFilter>,
}

/// What holds for all services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Header, in lower case, by which Envoy is told the pods.
    pub override_header: String,
    /// How many pods it names, best first; 1 to 16.
    pub attempts: usize,
    /// What a pod is to Envoy.
    pub route_by: RouteBy,
    /// What happens to an upgrade when no pod is usable.
    pub on_no_pods: OnNoPods,
    /// Where the filter shows what it knows; none shows nothing.
    pub status: Option<StatusConfig>,
    /// How many local ports there are for connections to one address and port; at least 1.
    pub local_ports: u32,
    /// Whether responses tell clients which pod was chosen, and why.
    pub debug_headers: bool,
}

/// Where the filter shows what it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusConfig {
    /// The path, without a query.
    pub path: String,
    /// Names, in lower case, under which it is shown beside `localhost` and addresses.
    pub hosts: Vec<String>,
}

/// What a pod is to Envoy, and how Envoy is told which one an upgrade is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema, serde::Serialize),
    schemars(rename = "routeBy")
)]
#[serde(rename_all = "camelCase")]
pub enum RouteBy {
    /// A host of the service's cluster: the override header names hosts, and the cluster's
    /// `override_host` policy obeys.
    #[default]
    Endpoint,
    /// A cluster of its own: the override header names the cluster, and the route's
    /// `cluster_header` obeys.
    Cluster,
}

/// What to do with an upgrade when no pod is usable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema, serde::Serialize),
    schemars(rename = "onNoPods")
)]
#[serde(rename_all = "camelCase")]
pub enum OnNoPods {
    /// Leave the choice to the cluster's fallback policy.
    #[default]
    Fallback,
    /// Answer 503 with `retry-after`.
    Reject,
}
