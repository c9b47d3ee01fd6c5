//! What an Envoy says of itself, in the shape in which rules look at it.

use std::collections::BTreeMap;

use serde_json::Value;
use wsbalancer::config::Config;

/// Name of the network filter that speaks HTTP.
const CONNECTION_MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// An Envoy at a moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Major and minor version; none where it is not known.
    pub version: Option<(u32, u32)>,
    /// The configuration that it was started with.
    pub bootstrap: Value,
    /// Its clusters.
    pub clusters: Vec<Value>,
    /// Endpoints that clusters got by EDS.
    pub endpoints: Vec<Value>,
    /// Its listeners.
    pub listeners: Vec<Value>,
    /// Its route configurations, but for those that stand in listeners.
    pub routes: Vec<Value>,
    /// Filters that came by themselves (ECDS).
    pub extensions: Vec<Value>,
    /// What it has refused: name and reason.
    pub refused: Vec<(String, String)>,
    /// The hosts of its clusters, as `/clusters?format=json` has them; null where that is not known.
    pub hosts: Value,
    /// Its counters and gauges.
    pub statistics: BTreeMap<String, u64>,
    /// The filter's statistics in Prometheus' format; none where that is not known.
    pub series: Option<String>,
    /// The filter's status as JSON; null where it can't be had.
    pub status: Value,
}

/// A chain of HTTP filters with the filter in it.
pub struct Chain<'envoy> {
    /// The listener's name.
    pub listener: &'envoy str,
    /// The address that it listens on.
    pub address: Option<&'envoy str>,
    /// The HTTP connection manager.
    pub manager: &'envoy Value,
    /// The filters of this kind in it, in their order.
    pub filters: Vec<Filter<'envoy>>,
}

/// The filter in a chain.
pub struct Filter<'envoy> {
    /// Its plugin: name, VM, failure policy.
    pub plugin: &'envoy Value,
    /// What it is configured to; none where it refuses that.
    pub config: Option<Config>,
}

/// A route of a connection manager.
pub struct Route<'envoy> {
    /// The virtual host's name.
    pub host: &'envoy str,
    /// What it stands in, from the inside: the route, the virtual host, the route configuration.
    pub places: [&'envoy Value; 3],
    /// The route's action.
    pub action: &'envoy Value,
}

impl Snapshot {
    /// What a `/config_dump?include_eds` says.
    #[must_use]
    pub fn of_dump(dump: &Value) -> Self {
        let mut envoy = Self::default();
        for part in dump["configs"].as_array().into_iter().flatten() {
            let all = |lists: &[&str], path: &[&str]| -> Vec<Value> {
                let lists = lists.iter().filter_map(|list| part[*list].as_array());
                let found = lists.flatten().filter_map(|entry| {
                    let value = path.iter().try_fold(entry, |value, name| value.get(name));
                    value.cloned()
                });
                found.collect()
            };
            match part["@type"]
                .as_str()
                .and_then(|kind| kind.rsplit('.').next())
            {
                Some("BootstrapConfigDump") => envoy.bootstrap = part["bootstrap"].clone(),
                Some("ClustersConfigDump") => {
                    let lists = ["static_clusters", "dynamic_active_clusters"];
                    envoy.clusters = all(&lists, &["cluster"]);
                }
                Some("EndpointsConfigDump") => {
                    let lists = ["static_endpoint_configs", "dynamic_endpoint_configs"];
                    envoy.endpoints = all(&lists, &["endpoint_config"]);
                }
                Some("ListenersConfigDump") => {
                    envoy.listeners = all(&["static_listeners"], &["listener"]);
                    let dynamic = all(&["dynamic_listeners"], &["active_state", "listener"]);
                    envoy.listeners.extend(dynamic);
                }
                Some("RoutesConfigDump") => {
                    let lists = ["static_route_configs", "dynamic_route_configs"];
                    envoy.routes = all(&lists, &["route_config"]);
                }
                Some("EcdsConfigDump") => {
                    envoy.extensions = all(&["ecds_filters"], &["ecds_filter"]);
                }
                _ => {}
            }
            envoy.refused.extend(refused(part));
        }
        envoy
    }

    /// What a control plane gave to an Envoy: lists of its resources by their kind.
    #[must_use]
    pub fn of_resources(resources: &Value) -> Self {
        let list = |kind: &str| resources[kind].as_array().cloned().unwrap_or_default();
        Self {
            clusters: list("clusters"),
            endpoints: list("endpoints"),
            listeners: list("listeners"),
            routes: list("routes"),
            extensions: list("extensions"),
            ..Self::default()
        }
    }

    /// The cluster of this name.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&Value> {
        let mut clusters = self.clusters.iter();
        clusters.find(|cluster| cluster["name"] == name)
    }

    /// The chains that have the filter.
    #[must_use]
    pub fn chains(&self) -> Vec<Chain<'_>> {
        let mut chains = Vec::new();
        for listener in &self.listeners {
            for manager in managers(listener) {
                let filters = manager["http_filters"].as_array().into_iter().flatten();
                let filters: Vec<Filter<'_>> =
                    filters.filter_map(|filter| self.filter(filter)).collect();
                if !filters.is_empty() {
                    chains.push(Chain {
                        listener: listener["name"].as_str().unwrap_or_default(),
                        address: listener["address"]["socket_address"]["address"].as_str(),
                        manager,
                        filters,
                    });
                }
            }
        }
        chains
    }

    /// Whether the filter is in a chain's place.
    #[must_use]
    pub fn is_filter(&self, place: &Value) -> bool {
        self.filter(place).is_some()
    }

    /// What is in a chain's place, if it is the filter.
    fn filter<'envoy>(&'envoy self, place: &'envoy Value) -> Option<Filter<'envoy>> {
        let written = if place.get("config_discovery").is_some() {
            let mut extensions = self.extensions.iter();
            extensions.find(|extension| extension["name"] == place["name"])?
        } else {
            place
        };
        let typed = &written["typed_config"];
        let plugin = [&typed["config"], &typed["value"]["config"]]
            .into_iter()
            .find(|plugin| plugin.get("vm_config").is_some())?;
        let configuration = match &plugin["configuration"]["value"] {
            Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
            value => value.clone(),
        };
        let has = |name: &str| configuration.get(name).is_some();
        let is_ours = has("services") || has("status") || plugin.to_string().contains("wsbalancer");
        is_ours.then(|| Filter {
            plugin,
            config: Config::parse(configuration.to_string().as_bytes()).ok(),
        })
    }

    /// The routes of a connection manager.
    #[must_use]
    pub fn routes<'envoy>(&'envoy self, manager: &'envoy Value) -> Vec<Route<'envoy>> {
        let inline = manager.get("route_config");
        let name = &manager["rds"]["route_config_name"];
        let by_name = self.routes.iter().find(|routes| routes["name"] == *name);
        let Some(configuration) = inline.or(by_name.filter(|_| name.is_string())) else {
            return Vec::new();
        };
        let hosts = configuration["virtual_hosts"].as_array();
        let hosts = hosts.into_iter().flatten();
        hosts
            .flat_map(|virtual_host| {
                let routes = virtual_host["routes"].as_array().into_iter().flatten();
                routes.map(move |route| Route {
                    host: virtual_host["name"].as_str().unwrap_or_default(),
                    places: [route, virtual_host, configuration],
                    action: &route["route"],
                })
            })
            .collect()
    }
}

impl Route<'_> {
    /// Whether it leads to this cluster.
    #[must_use]
    pub fn leads_to(&self, cluster: &str) -> bool {
        let weighted = self.action["weighted_clusters"]["clusters"].as_array();
        let mut weighted = weighted.into_iter().flatten();
        self.action["cluster"] == cluster || weighted.any(|one| one["name"] == cluster)
    }

    /// Whether it takes this header away from what it sends on.
    #[must_use]
    pub fn removes(&self, header: &str) -> bool {
        let lists = self.places.iter();
        let lists = lists.filter_map(|place| place["request_headers_to_remove"].as_array());
        let mut removed = lists.flatten().filter_map(Value::as_str);
        removed.any(|removed| removed.eq_ignore_ascii_case(header))
    }
}

/// Resources that Envoy did not take, where its dump has them.
fn refused(part: &Value) -> Vec<(String, String)> {
    let lists = part.as_object().into_iter().flatten();
    let entries = lists.filter_map(|(_, list)| list.as_array()).flatten();
    let refused = entries.filter_map(|entry| {
        let reason = entry["error_state"]["details"].as_str()?;
        let failed = &entry["error_state"]["failed_configuration"]["name"];
        let name = entry["name"].as_str().or(failed.as_str());
        Some((name.unwrap_or("a resource").to_owned(), reason.to_owned()))
    });
    refused.collect()
}

fn managers(listener: &Value) -> impl Iterator<Item = &Value> {
    let chains = listener["filter_chains"].as_array().into_iter().flatten();
    let chains = chains.chain(listener.get("default_filter_chain"));
    let filters = chains.filter_map(|chain| chain["filters"].as_array());
    let typed = filters.flatten().map(|filter| &filter["typed_config"]);
    typed.filter(|typed| typed["@type"] == CONNECTION_MANAGER)
}

/// The seconds of one of Envoy's durations; none where there is none.
#[must_use]
pub(super) fn seconds(value: &Value) -> Option<f64> {
    value.as_str()?.strip_suffix('s')?.parse().ok()
}
