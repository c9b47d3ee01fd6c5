//! What istiod makes of an `EnvoyFilter`: Envoy's configuration with the patches applied.
//!
//! After Istio's description of the API
//! (<https://istio.io/latest/docs/reference/config/networking/envoy-filter/>), as far as the
//! project's manifests go: a match, a patch or an operation that is not known here is refused.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::ROOT;

const CLUSTER: &str = "outbound|8080||chat.default.svc.cluster.local";

/// What kind of Envoy it is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PatchContext {
    /// Of an ingress gateway.
    Gateway,
    /// Of a workload, for the requests that it sends.
    SidecarOutbound,
}

/// The documents of a YAML file of the project, such as `envoy/istio/gateway.yaml`.
///
/// # Errors
/// When it can't be read.
pub fn documents(file: &str) -> Result<Vec<Value>> {
    let path = Path::new(ROOT).join(file);
    fs::read_to_string(&path)
        .map_err(anyhow::Error::from)
        .and_then(|yaml| Ok(serde_saphyr::from_multiple(&yaml)?))
        .with_context(|| format!("can't read {}", path.display()))
}

/// The configuration of such an Envoy before any patch.
///
/// # Errors
/// When it is no YAML.
pub fn bootstrap(context: PatchContext) -> Result<Value> {
    let gateway = include_str!("istio/bootstrap.yaml");
    let yaml = match context {
        PatchContext::Gateway => gateway.to_owned(),
        // A sidecar's routes go by the port and the name of the service.
        PatchContext::SidecarOutbound => gateway
            .replace("name: http.8080", "name: \"8080\"")
            .replace("chat.example.com:80", "chat.default.svc.cluster.local:8080"),
    };
    Ok(serde_saphyr::from_str(&yaml)?)
}

/// Has Envoy keep the statistics that a Deployment's `proxyStatsMatcher` names.
///
/// # Errors
/// When the Deployment has no such annotation.
pub fn let_statistics_through(bootstrap: &mut Value, deployment: &Value) -> Result<()> {
    let annotation = deployment
        .pointer("/spec/template/metadata/annotations/proxy.istio.io~1config")
        .and_then(Value::as_str)
        .context("no annotation proxy.istio.io/config")?;
    let config: Value = serde_saphyr::from_str(annotation)?;
    let prefixes = config
        .pointer("/proxyStatsMatcher/inclusionPrefixes")
        .and_then(Value::as_array)
        .context("no inclusionPrefixes")?;
    array(
        bootstrap,
        "/stats_config/stats_matcher/inclusion_list/patterns",
    )?
    .extend(prefixes.iter().map(|prefix| json!({ "prefix": prefix })));
    Ok(())
}

/// The `EnvoyFilter`'s patches, applied to the configuration of an Envoy that it selects.
///
/// # Errors
/// When a patch is of a kind that is not known here, or changes nothing.
pub fn apply(context: PatchContext, envoy_filter: &Value, bootstrap: &mut Value) -> Result<()> {
    let name = &envoy_filter["metadata"]["name"];
    let patches: Vec<ConfigPatch> =
        serde_json::from_value(envoy_filter["spec"]["configPatches"].clone())
            .with_context(|| format!("{name}"))?;
    for (i, patch) in patches.iter().enumerate() {
        let changed = patch
            .apply(context, bootstrap)
            .with_context(|| format!("{name}: configPatches[{i}]"))?;
        ensure!(changed > 0, "{name}: configPatches[{i}] matches nothing");
    }
    Ok(())
}

/// The HTTP filter that istiod makes of a `WasmPlugin` or of a `TrafficExtension` with `wasm`,
/// last before the router. The module is Envoy's to find.
///
/// # Errors
/// When it is neither.
pub fn apply_extension(extension: &Value, bootstrap: &mut Value) -> Result<()> {
    let wasm = match extension["kind"].as_str() {
        Some("WasmPlugin") => &extension["spec"],
        Some("TrafficExtension") => &extension["spec"]["wasm"],
        _ => bail!("neither WasmPlugin nor TrafficExtension"),
    };
    let filter = json!({
        "name": extension["metadata"]["name"],
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": extension["metadata"]["name"],
                "failure_policy": wasm["failStrategy"],
                "vm_config": { "runtime": "envoy.wasm.runtime.v8" },
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": wasm["pluginConfig"].to_string(),
                },
            },
        },
    });
    let router = HttpFilterMatch {
        name: "envoy.filters.http.router".to_owned(),
    };
    let mut inserted = 0;
    for manager in connection_managers(bootstrap, None)? {
        inserted += insert_before(array(manager, "/http_filters")?, &router, &filter);
    }
    ensure!(inserted > 0, "there is no router");
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
    HttpFilter,
    HttpRoute,
    Cluster,
    Listener,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Match {
    context: PatchContext,
    listener: Option<ListenerMatch>,
    route_configuration: Option<RouteConfigurationMatch>,
    cluster: Option<ClusterMatch>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListenerMatch {
    port_number: Option<u32>,
    filter_chain: FilterChainMatch,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterChainMatch {
    filter: NetworkFilterMatch,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NetworkFilterMatch {
    name: String,
    sub_filter: HttpFilterMatch,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpFilterMatch {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteConfigurationMatch {
    vhost: VirtualHostMatch,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VirtualHostMatch {
    name: String,
    route: RouteMatch,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteMatch {
    action: RouteAction,
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
    service: String,
    port_number: u32,
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
    InsertBefore,
    Merge,
}

impl ConfigPatch {
    /// How many places it changed.
    fn apply(&self, context: PatchContext, bootstrap: &mut Value) -> Result<usize> {
        if self.r#match.context != context {
            return Ok(0);
        }
        match (&self.apply_to, &self.patch.operation) {
            (ApplyTo::HttpFilter, Operation::InsertBefore) => {
                let listener = self.r#match.listener.as_ref().context("no listener")?;
                self.insert_filter(listener, bootstrap)
            }
            (ApplyTo::HttpRoute, Operation::Merge) => {
                let routes = self.r#match.route_configuration.as_ref();
                self.merge_routes(&routes.context("no routeConfiguration")?.vhost, bootstrap)
            }
            (ApplyTo::Cluster, Operation::Merge) => {
                let cluster = self.r#match.cluster.as_ref().context("no cluster")?;
                self.merge_clusters(cluster, bootstrap)
            }
            (ApplyTo::Listener, Operation::Add) => {
                array(bootstrap, LISTENERS)?.push(self.patch.value.clone());
                Ok(1)
            }
            (apply_to, operation) => bail!("{operation:?} of {apply_to:?} is not known here"),
        }
    }

    fn insert_filter(&self, listener: &ListenerMatch, bootstrap: &mut Value) -> Result<usize> {
        let NetworkFilterMatch { name, sub_filter } = &listener.filter_chain.filter;
        ensure!(name == CONNECTION_MANAGER, "{name} has no HTTP filters");
        let mut inserted = 0;
        for manager in connection_managers(bootstrap, listener.port_number)? {
            let filters = array(manager, "/http_filters")?;
            inserted += insert_before(filters, sub_filter, &self.patch.value);
        }
        Ok(inserted)
    }

    fn merge_routes(&self, vhost: &VirtualHostMatch, bootstrap: &mut Value) -> Result<usize> {
        let VirtualHostMatch { name, route } = vhost;
        let RouteAction::Route = route.action;
        let mut merged = 0;
        for manager in connection_managers(bootstrap, None)? {
            let hosts = array(manager, "/route_config/virtual_hosts")?;
            for host in hosts.iter_mut().filter(|host| host["name"] == **name) {
                let routes = array(host, "/routes")?.iter_mut();
                for route in routes.filter(|route| route["route"].is_object()) {
                    merge(route, &self.patch.value);
                    merged += 1;
                }
            }
        }
        Ok(merged)
    }

    fn merge_clusters(&self, matched: &ClusterMatch, bootstrap: &mut Value) -> Result<usize> {
        let mut merged = 0;
        for cluster in array(bootstrap, "/static_resources/clusters")? {
            let name = cluster["name"].as_str().unwrap_or_default();
            // direction|port|subset|host
            let mut parts = name.split('|').skip(1);
            let port = parts.next().and_then(|port| port.parse().ok());
            if port == Some(matched.port_number) && parts.nth(1) == Some(&matched.service) {
                merge(cluster, &self.patch.value);
                merged += 1;
            }
        }
        Ok(merged)
    }
}

const LISTENERS: &str = "/static_resources/listeners";
const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// The HTTP connection managers of the listeners on `port`, or of all.
fn connection_managers(bootstrap: &mut Value, port: Option<u32>) -> Result<Vec<&mut Value>> {
    let mut managers = Vec::new();
    for listener in array(bootstrap, LISTENERS)? {
        let own = &listener["address"]["socket_address"]["port_value"];
        if port.is_some_and(|port| *own != port) {
            continue;
        }
        for chain in array(listener, "/filter_chains")? {
            let filters = array(chain, "/filters")?.iter_mut();
            let ours = filters.filter(|filter| filter["name"] == CONNECTION_MANAGER);
            managers.extend(ours.map(|filter| &mut filter["typed_config"]));
        }
    }
    Ok(managers)
}

/// Inserts `filter` before the first that matches, if there is one; returns how many it inserted.
fn insert_before(filters: &mut Vec<Value>, before: &HttpFilterMatch, filter: &Value) -> usize {
    let place = filters
        .iter()
        .position(|other| other["name"] == *before.name);
    if let Some(place) = place {
        filters.insert(place, filter.clone());
    }
    usize::from(place.is_some())
}

/// As protobuf merges messages: fields into fields, lists one after the other, all else replaced;
/// an `Any`, whose bytes it does not look into, is replaced as a whole.
fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) if !patch.contains_key("@type") => {
            for (field, value) in patch {
                merge_field(into, field, value);
            }
        }
        (Value::Array(into), Value::Array(patch)) => into.extend_from_slice(patch),
        (into, patch) => *into = patch.clone(),
    }
}

fn merge_field(into: &mut Map<String, Value>, field: &str, value: &Value) {
    match into.get_mut(field) {
        Some(existing) => merge(existing, value),
        None => {
            into.insert(field.to_owned(), value.clone());
        }
    }
}

fn array<'a>(value: &'a mut Value, pointer: &str) -> Result<&'a mut Vec<Value>> {
    value
        .pointer_mut(pointer)
        .and_then(Value::as_array_mut)
        .with_context(|| format!("there is no list {pointer}"))
}

/// The cluster of the pods, in a configuration of [`bootstrap`]'s.
///
/// # Errors
/// When it is not there.
pub fn cluster(bootstrap: &mut Value) -> Result<&mut Value> {
    array(bootstrap, "/static_resources/clusters")?
        .iter_mut()
        .find(|cluster| cluster["name"] == CLUSTER)
        .context("the cluster is missing")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envoy_filter(apply_to: &str, matched: &Value, patch: &Value) -> Value {
        json!({
            "metadata": { "name": "test" },
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

    fn patched(envoy_filter: &Value) -> Result<Value> {
        let mut bootstrap = bootstrap(PatchContext::Gateway)?;
        apply(PatchContext::Gateway, envoy_filter, &mut bootstrap)?;
        Ok(bootstrap)
    }

    #[test]
    fn a_filter_is_inserted_right_before_the_one_that_matches() -> Result<()> {
        let matched = json!({ "context": "GATEWAY", "listener": { "portNumber": 8080,
            "filterChain": { "filter": { "name": CONNECTION_MANAGER,
                "subFilter": { "name": "envoy.filters.http.cors" } } } } });
        let patch = json!({ "operation": "INSERT_BEFORE", "value": { "name": "new" } });
        let mut bootstrap = patched(&envoy_filter("HTTP_FILTER", &matched, &patch))?;
        let managers = connection_managers(&mut bootstrap, None)?;
        let names: Vec<&Value> = managers[0]["http_filters"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|filter| &filter["name"])
            .collect();
        assert_eq!(
            names[1..4],
            ["envoy.filters.http.fault", "new", "envoy.filters.http.cors"]
        );
        Ok(())
    }

    #[test]
    fn lists_are_appended_and_single_fields_replaced() -> Result<()> {
        let patch = json!({ "operation": "MERGE", "value": {
            "connect_timeout": "1s",
            "circuit_breakers": { "thresholds": [{ "max_connections": 7 }] },
        }});
        let mut bootstrap = patched(&cluster_filter("GATEWAY", 8080, &patch))?;
        let cluster = cluster(&mut bootstrap)?;
        assert_eq!(cluster["connect_timeout"], "1s");
        assert_eq!(cluster["lb_policy"], "LEAST_REQUEST");
        let thresholds = &cluster["circuit_breakers"]["thresholds"];
        assert_eq!(thresholds[0]["max_retries"], 4_294_967_295_u32);
        assert_eq!(thresholds[1], json!({ "max_connections": 7 }));
        Ok(())
    }

    #[test]
    fn a_redirect_is_no_route_to_a_cluster() -> Result<()> {
        let redirect = json!({ "match": { "prefix": "/old" }, "redirect": {} });
        let mut bootstrap = bootstrap(PatchContext::Gateway)?;
        let routes = "/route_config/virtual_hosts/0/routes";
        for manager in connection_managers(&mut bootstrap, None)? {
            array(manager, routes)?.push(redirect.clone());
        }
        let matched = json!({ "context": "GATEWAY", "routeConfiguration": { "vhost": {
            "name": "chat.example.com:80", "route": { "action": "ROUTE" } } } });
        let patch = json!({ "operation": "MERGE", "value": { "route": { "timeout": "30s" } } });
        let filter = envoy_filter("HTTP_ROUTE", &matched, &patch);
        apply(PatchContext::Gateway, &filter, &mut bootstrap)?;
        for manager in connection_managers(&mut bootstrap, None)? {
            let routes = array(manager, routes)?;
            assert_eq!(routes[0]["route"]["timeout"], "30s");
            assert_eq!(routes[1], redirect);
        }
        Ok(())
    }

    #[test]
    fn an_any_is_replaced_as_a_whole() {
        let mut value = json!({ "typed_config": { "@type": "a", "old": 1 } });
        merge(
            &mut value,
            &json!({ "typed_config": { "@type": "a", "new": 2 } }),
        );
        assert_eq!(value, json!({ "typed_config": { "@type": "a", "new": 2 } }));
    }

    #[test]
    fn what_matches_nothing_or_is_not_known_is_an_error() {
        let patch = json!({ "operation": "MERGE", "value": {} });
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
                envoy_filter("LISTENER", &json!({ "context": "GATEWAY" }), &patch),
                "Merge of Listener",
            ),
            (
                envoy_filter(
                    "CLUSTER",
                    &json!({ "context": "GATEWAY", "proxy": {} }),
                    &patch,
                ),
                "proxy",
            ),
        ] {
            let error = format!("{:#}", patched(&filter).unwrap_err());
            assert!(error.contains(told), "{error}");
        }
    }
}
