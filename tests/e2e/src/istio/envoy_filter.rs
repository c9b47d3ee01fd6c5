//! What an `EnvoyFilter` does: its patches, applied where they match.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::merge::{merge, merge_filter};
use super::{PatchContext, Proxy};
use crate::resources::{CONNECTION_MANAGER, Kind, Resources, name_of};

pub(super) fn apply(proxy: &Proxy, manifest: &Value, resources: &mut Resources) -> Result<()> {
    ensure!(proxy.is_selected_by(manifest), "it is for another proxy");
    let patches: Vec<ConfigPatch> =
        serde_json::from_value(manifest["spec"]["configPatches"].clone())?;
    for (i, patch) in patches.iter().enumerate() {
        let changed = patch
            .apply(proxy.context, resources)
            .with_context(|| format!("configPatches[{i}]"))?;
        ensure!(changed > 0, "configPatches[{i}] matches nothing");
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConfigPatch {
    apply_to: ApplyTo,
    r#match: Match,
    patch: Patch,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ApplyTo {
    Listener,
    NetworkFilter,
    HttpFilter,
    VirtualHost,
    HttpRoute,
    Cluster,
    ExtensionConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Match {
    context: PatchContext,
    #[serde(default)]
    listener: ListenerMatch,
    #[serde(default)]
    route_configuration: RouteConfigurationMatch,
    cluster: Option<ClusterMatch>,
}

/// What is not said matches everything, here and below.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListenerMatch {
    name: Option<String>,
    port_number: Option<u32>,
    #[serde(default)]
    filter_chain: FilterChainMatch,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterChainMatch {
    filter: Option<NetworkFilterMatch>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NetworkFilterMatch {
    name: String,
    sub_filter: Option<HttpFilterMatch>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpFilterMatch {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteConfigurationMatch {
    name: Option<String>,
    #[serde(default)]
    vhost: VirtualHostMatch,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VirtualHostMatch {
    name: Option<String>,
    /// One of its domains.
    domain_name: Option<String>,
    #[serde(default)]
    route: RouteMatch,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteMatch {
    name: Option<String>,
    action: Option<RouteAction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum RouteAction {
    /// To a cluster: neither a redirect nor an answer of Envoy's own.
    Route,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClusterMatch {
    name: Option<String>,
    service: Option<String>,
    port_number: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    operation: Operation,
    value: Value,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Operation {
    Add,
    InsertFirst,
    InsertBefore,
    Merge,
}

impl ConfigPatch {
    /// How many places it changed.
    fn apply(&self, context: PatchContext, resources: &mut Resources) -> Result<usize> {
        let wanted = self.r#match.context;
        if wanted != context && wanted != PatchContext::Any {
            return Ok(0);
        }
        match (&self.apply_to, &self.patch.operation) {
            (ApplyTo::Listener, Operation::Add) => {
                let kind = "type.googleapis.com/envoy.config.listener.v3.Listener";
                self.add(resources.all(Kind::Listeners), kind);
                Ok(1)
            }
            (ApplyTo::ExtensionConfig, Operation::Add) => {
                let kind = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
                self.add(resources.all(Kind::Extensions), kind);
                Ok(1)
            }
            (ApplyTo::Listener, Operation::Merge) => {
                Ok(self.change_listeners(resources, |listener| {
                    merge(listener, &self.patch.value);
                    1
                }))
            }
            (ApplyTo::NetworkFilter, Operation::Merge) => self.merge_network_filters(resources),
            (ApplyTo::HttpFilter, Operation::InsertFirst | Operation::InsertBefore) => {
                self.insert_http_filter(resources)
            }
            (ApplyTo::VirtualHost | ApplyTo::HttpRoute, Operation::Merge) => {
                Ok(self.merge_virtual_hosts(resources))
            }
            (ApplyTo::Cluster, Operation::Merge) => self.merge_clusters(resources),
            (apply_to, operation) => bail!("{operation:?} of {apply_to:?} is not known here"),
        }
    }

    /// Adds the patch as a resource, whose type goes without saying in a patch.
    fn add(&self, resources: &mut Vec<Value>, kind: &str) {
        let mut resource = self.patch.value.clone();
        resource["@type"] = kind.into();
        resources.push(resource);
    }

    /// Changes the listeners that match; how many places `change` says it changed.
    fn change_listeners(
        &self,
        resources: &mut Resources,
        mut change: impl FnMut(&mut Value) -> usize,
    ) -> usize {
        let ListenerMatch {
            name, port_number, ..
        } = &self.r#match.listener;
        let listeners = resources.all(Kind::Listeners).iter_mut();
        listeners
            .filter(|listener| {
                let port = &listener["address"]["socket_address"]["port_value"];
                // Those inside Envoy have none, and Istio patches them with the others.
                is_or_any(&listener["name"], name.as_deref())
                    && port_number.is_none_or(|number| *port == number)
            })
            .map(&mut change)
            .sum()
    }

    fn network_filter(&self) -> Result<&NetworkFilterMatch> {
        let filter = self.r#match.listener.filter_chain.filter.as_ref();
        let filter = filter.context("no filterChain.filter")?;
        ensure!(
            filter.name == CONNECTION_MANAGER,
            "{} is not known here",
            filter.name
        );
        Ok(filter)
    }

    fn merge_network_filters(&self, resources: &mut Resources) -> Result<usize> {
        self.network_filter()?;
        let mut patch = self.patch.value.clone();
        let config = patch["typed_config"].take();
        ensure!(
            patch.as_object().is_some_and(|fields| fields.len() <= 2),
            "only its typed_config is known here"
        );
        Ok(self.change_listeners(resources, |listener| {
            let mut merged = 0;
            for manager in Resources::connection_managers(listener) {
                let mut filter = serde_json::json!({ "typed_config": manager.take() });
                merge_filter(&mut filter, &serde_json::json!({ "typed_config": config }));
                *manager = filter["typed_config"].take();
                merged += 1;
            }
            merged
        }))
    }

    fn insert_http_filter(&self, resources: &mut Resources) -> Result<usize> {
        let before = self.network_filter()?.sub_filter.as_ref();
        Ok(self.change_listeners(resources, |listener| {
            let mut inserted = 0;
            for manager in Resources::connection_managers(listener) {
                let filters = manager["http_filters"].as_array_mut();
                inserted += filters.map_or(0, |filters| self.insert(filters, before));
            }
            inserted
        }))
    }

    /// How many filters it inserted.
    fn insert(&self, filters: &mut Vec<Value>, before: Option<&HttpFilterMatch>) -> usize {
        let place = filters
            .iter()
            .position(|other| before.is_none_or(|before| other["name"] == *before.name));
        let place = match self.patch.operation {
            Operation::InsertFirst => place.map(|_| 0),
            _ => place,
        };
        if let Some(place) = place {
            filters.insert(place, self.patch.value.clone());
        }
        usize::from(place.is_some())
    }

    /// Route configurations come by themselves (RDS), or stand in their listener.
    fn merge_virtual_hosts(&self, resources: &mut Resources) -> usize {
        let mut merged = 0;
        for routes in resources.all(Kind::Routes) {
            merged += self.merge_route_configuration(routes);
        }
        for listener in resources.all(Kind::Listeners) {
            for manager in Resources::connection_managers(listener) {
                let routes = manager.get_mut("route_config");
                merged += routes.map_or(0, |routes| self.merge_route_configuration(routes));
            }
        }
        merged
    }

    fn merge_route_configuration(&self, routes: &mut Value) -> usize {
        let RouteConfigurationMatch { name, vhost } = &self.r#match.route_configuration;
        if !is_or_any(&routes["name"], name.as_deref()) {
            return 0;
        }
        let mut merged = 0;
        for host in elements(routes, "virtual_hosts").filter(|host| vhost.is(host)) {
            if matches!(self.apply_to, ApplyTo::VirtualHost) {
                merge(host, &self.patch.value);
                merged += 1;
                continue;
            }
            for route in elements(host, "routes").filter(|route| vhost.route.is(route)) {
                merge(route, &self.patch.value);
                merged += 1;
            }
        }
        merged
    }

    fn merge_clusters(&self, resources: &mut Resources) -> Result<usize> {
        let matched = self.r#match.cluster.as_ref().context("no cluster")?;
        let clusters = resources.all(Kind::Clusters).iter_mut();
        Ok(clusters
            .filter(|cluster| matched.is(name_of(cluster)))
            .map(|cluster| merge(cluster, &self.patch.value))
            .count())
    }
}

impl VirtualHostMatch {
    fn is(&self, host: &Value) -> bool {
        let domains = host["domains"].as_array();
        is_or_any(&host["name"], self.name.as_deref())
            && self.domain_name.as_deref().is_none_or(|domain| {
                domains.is_some_and(|domains| domains.iter().any(|other| other == domain))
            })
    }
}

impl RouteMatch {
    fn is(&self, route: &Value) -> bool {
        is_or_any(&route["name"], self.name.as_deref())
            && match self.action {
                None => true,
                Some(RouteAction::Route) => route["route"].is_object(),
            }
    }
}

impl ClusterMatch {
    fn is(&self, name: &str) -> bool {
        // direction|port|subset|host
        let mut parts = name.split('|').skip(1);
        let port = parts.next().and_then(|port| port.parse::<u32>().ok());
        let host = parts.nth(1);
        self.name.as_deref().is_none_or(|wanted| wanted == name)
            && self.port_number.is_none_or(|wanted| port == Some(wanted))
            && (self.service.as_deref()).is_none_or(|wanted| host == Some(wanted))
    }
}

fn is_or_any(value: &Value, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| value == wanted)
}

fn elements<'a>(value: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    let list = value.get_mut(list).and_then(Value::as_array_mut);
    list.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::istio::CLUSTER;

    fn envoy_filter(apply_to: &str, matched: &Value, patch: &Value) -> Value {
        json!({
            "metadata": { "namespace": "istio-system" },
            "spec": { "configPatches": [{ "applyTo": apply_to, "match": matched, "patch": patch }] },
        })
    }

    fn cluster_filter(context: &str, port: u32, patch: &Value) -> Value {
        let matched = json!({
            "context": context,
            "cluster": { "service": "chat.default.svc.cluster.local", "portNumber": port },
        });
        envoy_filter("CLUSTER", &matched, patch)
    }

    fn patched(envoy_filter: &Value) -> Result<Resources> {
        let mut resources = Resources::recorded("istio-1.31/gateway.before")?;
        apply(&Proxy::INGRESS_GATEWAY, envoy_filter, &mut resources)?;
        Ok(resources)
    }

    #[test]
    fn a_filter_is_inserted_right_before_the_one_that_matches() -> Result<()> {
        let matched = json!({ "context": "GATEWAY", "listener": { "portNumber": 8080,
            "filterChain": { "filter": { "name": CONNECTION_MANAGER,
                "subFilter": { "name": "envoy.filters.http.cors" } } } } });
        let patch = json!({ "operation": "INSERT_BEFORE", "value": { "name": "new" } });
        let mut resources = patched(&envoy_filter("HTTP_FILTER", &matched, &patch))?;
        let listener = resources.get(Kind::Listeners, "0.0.0.0_8080")?;
        let manager = Resources::connection_managers(listener).next();
        let filters = manager.context("a manager")?["http_filters"].clone();
        let names: Vec<&str> = filters
            .as_array()
            .into_iter()
            .flatten()
            .map(name_of)
            .collect();
        assert_eq!(
            names[1..4],
            ["envoy.filters.http.fault", "new", "envoy.filters.http.cors"]
        );
        Ok(())
    }

    #[test]
    fn a_connection_manager_is_merged_and_a_listener_added() -> Result<()> {
        let matched = json!({ "context": "GATEWAY",
            "listener": { "filterChain": { "filter": { "name": CONNECTION_MANAGER } } } });
        let patch = json!({ "operation": "MERGE", "value": { "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "server_name": "another" } } });
        let mut resources = patched(&envoy_filter("NETWORK_FILTER", &matched, &patch))?;
        let listener = resources.get(Kind::Listeners, "0.0.0.0_8080")?;
        let manager = Resources::connection_managers(listener).next();
        let manager = manager.context("a manager")?;
        assert_eq!(manager["server_name"], "another");
        assert_eq!(manager["stream_idle_timeout"], "0s");

        let patch = json!({ "operation": "ADD", "value": { "name": "another" } });
        let matched = json!({ "context": "GATEWAY" });
        let mut resources = patched(&envoy_filter("LISTENER", &matched, &patch))?;
        assert_eq!(resources.all(Kind::Listeners).len(), 2);
        resources.get(Kind::Listeners, "another")?;
        Ok(())
    }

    #[test]
    fn a_redirect_is_no_route_to_a_cluster() -> Result<()> {
        let redirect = json!({ "match": { "prefix": "/old" }, "redirect": {} });
        let mut resources = Resources::recorded("istio-1.31/gateway.before")?;
        let host = &mut resources.get(Kind::Routes, "http.8080")?["virtual_hosts"][0];
        let routes = host["routes"].as_array_mut().context("routes")?;
        routes.push(redirect.clone());
        let matched = json!({ "context": "GATEWAY", "routeConfiguration": { "vhost": {
            "domainName": "chat.example.com", "route": { "action": "ROUTE" } } } });
        let patch = json!({ "operation": "MERGE", "value": { "route": { "timeout": "30s" } } });
        let filter = envoy_filter("HTTP_ROUTE", &matched, &patch);
        apply(&Proxy::INGRESS_GATEWAY, &filter, &mut resources)?;
        let routes = &resources.get(Kind::Routes, "http.8080")?["virtual_hosts"][0]["routes"];
        assert_eq!(routes[0]["route"]["timeout"], "30s");
        assert_eq!(routes[1], redirect);
        Ok(())
    }

    #[test]
    fn a_filter_for_another_proxy_is_refused() -> Result<()> {
        let mut filter = cluster_filter(
            "GATEWAY",
            8080,
            &json!({ "operation": "MERGE", "value": {} }),
        );
        let mut resources = Resources::recorded("istio-1.31/gateway.before")?;
        let is_for = |filter: &Value, proxy: &Proxy| proxy.is_selected_by(filter);
        apply(&Proxy::INGRESS_GATEWAY, &filter, &mut resources)?;
        assert!(is_for(&filter, &Proxy::CLIENT), "of the root namespace");
        filter["spec"]["workloadSelector"] = json!({ "labels": { "istio": "ingressgateway" } });
        assert!(is_for(&filter, &Proxy::INGRESS_GATEWAY));
        assert!(!is_for(&filter, &Proxy::CLIENT));
        filter["spec"]["workloadSelector"].take();
        filter["spec"]["targetRefs"] = json!([{ "kind": "Gateway", "name": "chat-gateway" }]);
        filter["metadata"]["namespace"] = "istio-ingress".into();
        assert!(is_for(&filter, &Proxy::GATEWAY_API));
        assert!(!is_for(&filter, &Proxy::INGRESS_GATEWAY));
        let error = apply(&Proxy::INGRESS_GATEWAY, &filter, &mut resources).unwrap_err();
        assert_eq!(error.to_string(), "it is for another proxy");
        Ok(())
    }

    #[test]
    fn what_matches_nothing_or_is_not_known_is_an_error() {
        let patch = json!({ "operation": "MERGE", "value": {} });
        let merges = |value| envoy_filter("CLUSTER", &value, &patch);
        for (filter, told) in [
            (
                cluster_filter("SIDECAR_OUTBOUND", 8080, &patch),
                "matches nothing",
            ),
            (cluster_filter("GATEWAY", 80, &patch), "matches nothing"),
            (
                cluster_filter("GATEWAY", 8080, &json!({ "operation": "REMOVE" })),
                "REMOVE",
            ),
            (
                cluster_filter("GATEWAY", 8080, &json!({ "operation": "ADD", "value": {} })),
                "Add of Cluster",
            ),
            (
                merges(json!({ "context": "GATEWAY", "proxy": {} })),
                "proxy",
            ),
            (
                merges(json!({ "context": "GATEWAY", "cluster": { "name": CLUSTER, "port": 1 } })),
                "port",
            ),
        ] {
            let error = format!("{:#}", patched(&filter).unwrap_err());
            assert!(error.contains(told), "{error}");
        }
    }
}
