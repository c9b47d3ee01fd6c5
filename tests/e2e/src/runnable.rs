//! Recorded resources as an Envoy that runs here. This is all that is replaced:
//!
//! | recorded | here |
//! |---|---|
//! | addresses of pods | where the test's pods listen |
//! | addresses of listeners | free ports of 127.0.0.1 |
//! | a listener that the kernel's redirection leads to | is bound, like the others |
//! | what comes from a control plane: endpoints, routes, filters, certificates | files |
//! | the module's file, or where it is fetched | the module as `cargo xtask` builds it |
//! | ambient's tunnel to the node of a pod | a connection to the pod |
//! | the cluster of a control plane | none |
//!
//! Around it is what the recordings don't hold of a bootstrap: the node's name, an admin interface,
//! and the cluster `prometheus_stats` that leads there.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use wsbalancer_backend::Tls;
use wsbalancer_harness::{Envoy, Options, Sample};

use crate::ROOT;
use crate::resources::{Kind, Resources, name_of, walk};
use crate::xds::XdsFiles;

/// Name of the cluster that leads to the admin interface, in Istio and in Envoy Gateway.
pub const ADMIN_CLUSTER: &str = "prometheus_stats";

/// Resources on their way to an Envoy.
pub struct Runnable {
    resources: Resources,
    /// The listener that clients come to.
    entrance: String,
    /// Listeners that are bound to an address that is known before.
    bound: BTreeMap<String, SocketAddr>,
    secrets: Vec<Value>,
    statistics: Value,
}

/// An Envoy with recorded resources, and the files from which it takes them.
pub struct Running {
    /// The Envoy.
    pub envoy: Envoy,
    /// The files, under the names of the resources.
    pub files: XdsFiles,
}

impl Runnable {
    /// Resources with the listener that clients come to.
    #[must_use]
    pub fn new(resources: Resources, entrance: &str) -> Self {
        Self {
            resources,
            entrance: entrance.to_owned(),
            bound: BTreeMap::new(),
            secrets: Vec::new(),
            statistics: Value::Null,
        }
    }

    /// Puts `pods` in the places of the recorded ones of `cluster`, in the order of their addresses.
    ///
    /// # Errors
    /// When the recording has another number of pods.
    pub fn pods(mut self, cluster: &str, pods: &[SocketAddr]) -> Result<Self> {
        let mut recorded = Vec::new();
        walk(
            self.resources.get(Kind::Endpoints, cluster)?,
            &mut |value| {
                recorded.extend(host(value));
            },
        );
        recorded.sort_unstable();
        recorded.dedup();
        ensure!(recorded.len() == pods.len(), "recorded: {recorded:?}");
        let places: BTreeMap<SocketAddr, SocketAddr> =
            recorded.into_iter().zip(pods.iter().copied()).collect();
        for kind in [Kind::Clusters, Kind::Endpoints] {
            for resource in self.resources.all(kind) {
                replace_hosts(resource, &places);
            }
        }
        Ok(self)
    }

    /// Has a listener listen there.
    #[must_use]
    pub fn bind(mut self, listener: &str, address: SocketAddr) -> Self {
        self.bound.insert(listener.to_owned(), address);
        self
    }

    /// The proxy's certificate with its key, and whom it trusts: Istio's `default` and `ROOTCA`.
    #[must_use]
    pub fn identity(mut self, own: &Tls, authority: &str) -> Self {
        let kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
        self.secrets = vec![
            json!({
                "@type": kind,
                "name": "default",
                "tls_certificate": {
                    "certificate_chain": { "inline_string": own.certificates },
                    "private_key": { "inline_string": own.key },
                },
            }),
            json!({
                "@type": kind,
                "name": "ROOTCA",
                "validation_context": { "trusted_ca": { "inline_string": authority } },
            }),
        ];
        self
    }

    /// The bootstrap's `stats_config`.
    #[must_use]
    pub fn statistics(mut self, config: Value) -> Self {
        self.statistics = config;
        self
    }

    /// Sets a field in the configuration of every filter that has services.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn option(mut self, field: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let mut changed = 0;
        for kind in [Kind::Listeners, Kind::Extensions] {
            for resource in self.resources.all(kind) {
                changed += set_option(resource, field, &value);
            }
        }
        assert!(changed > 0, "no filter has services");
        self
    }

    /// The resource of this name, as it is now.
    ///
    /// # Errors
    /// When there is none.
    pub fn resource(&mut self, kind: Kind, name: &str) -> Result<&mut Value> {
        self.resources.get(kind, name)
    }

    /// Starts Envoy, the filter's log at debug.
    ///
    /// # Errors
    /// When a control plane's part is missing, or Envoy does not start.
    pub fn start(self) -> Result<Running> {
        self.start_with(&Envoy::options())
    }

    /// As [`start`](Self::start), with Envoy options of the caller's.
    ///
    /// # Errors
    /// When a control plane's part is missing, or Envoy does not start.
    pub fn start_with(self, options: &Options) -> Result<Running> {
        let (sample, files) = self.bootstrap()?;
        let options = options.clone().component_log_level("wasm:debug");
        let envoy = options.start(&sample)?;
        Ok(Running { envoy, files })
    }

    /// The bootstrap, and the files that it names.
    ///
    /// # Errors
    /// When a control plane's part is missing.
    pub fn bootstrap(mut self) -> Result<(Sample, XdsFiles)> {
        self.remove_control_plane();
        self.replace_tunnel();
        self.replace_module();
        self.open_listeners()?;
        let files = self.replace_sources()?;
        let listeners = self.take_static(Kind::Listeners);
        let mut clusters = self.take_static(Kind::Clusters);
        let free = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 0 } });
        clusters.push(json!({
            "name": ADMIN_CLUSTER,
            "type": "STATIC",
            "connect_timeout": "0.250s",
            "load_assignment": {
                "cluster_name": ADMIN_CLUSTER,
                "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": free } }] }],
            },
        }));
        let mut bootstrap = json!({
            "node": { "id": "test", "cluster": "test" },
            "admin": { "address": free },
            "static_resources": { "clusters": clusters, "listeners": listeners },
            "bootstrap_extensions": [{
                "name": "envoy.bootstrap.internal_listener",
                "typed_config": { "@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener" },
            }],
        });
        if !self.statistics.is_null() {
            bootstrap["stats_config"] = self.statistics;
        }
        Ok((Sample::of_any_shape(bootstrap), files))
    }

    /// Resources as they stand in a bootstrap, where their type goes without saying.
    fn take_static(&mut self, kind: Kind) -> Vec<Value> {
        let mut resources = std::mem::take(self.resources.all(kind));
        for fields in resources.iter_mut().filter_map(Value::as_object_mut) {
            fields.remove("@type");
        }
        resources
    }

    fn remove_control_plane(&mut self) {
        // Envoy Gateway's, from which it serves modules.
        let clusters = self.resources.all(Kind::Clusters);
        clusters.retain(|cluster| cluster["name"] != "wasm_cluster");
    }

    /// Ambient's tunnel ends at the node of a pod. Here a connection takes the same way inside Envoy,
    /// and then goes to the address that it would ask the tunnel for.
    fn replace_tunnel(&mut self) {
        const TUNNEL: &str = "connect_originate";
        if let Ok(listener) = self.resources.get(Kind::Listeners, TUNNEL) {
            walk(listener, &mut |value| {
                if let Some(fields) = value.as_object_mut() {
                    fields.remove("tunneling_config");
                }
            });
        }
        let cluster = self.resources.get(Kind::Clusters, TUNNEL).ok();
        if let Some(fields) = cluster.and_then(Value::as_object_mut) {
            fields.remove("transport_socket");
            fields.remove("typed_extension_protocol_options");
            if let Some(policy) = fields.get_mut("original_dst_lb_config") {
                policy["upstream_port_override"] = Value::Null;
            }
        }
    }

    fn replace_module(&mut self) {
        self.resources.walk(&mut |value| {
            if let Some(machine) = value.get_mut("vm_config") {
                let file = format!("{ROOT}/target/wsbalancer.wasm");
                machine["code"] = json!({ "local": { "filename": file } });
            }
        });
    }

    /// The entrance is the first, as [`Envoy::address`] has it.
    fn open_listeners(&mut self) -> Result<()> {
        let (entrance, bound) = (self.entrance.as_str(), &self.bound);
        let listeners = self.resources.all(Kind::Listeners);
        // What a redirected connection passes before it is handed to the listener of its service.
        listeners.retain(|listener| {
            let unbound = listener["bind_to_port"] == false;
            let name = name_of(listener);
            name == entrance || !(unbound || name.starts_with("virtual"))
        });
        listeners.sort_by_key(|listener| name_of(listener) != entrance);
        let first = listeners.first().map(name_of);
        ensure!(first == Some(entrance), "no listener {entrance}");
        for listener in listeners {
            let free = SocketAddr::from(([127, 0, 0, 1], 0));
            let address = *bound.get(name_of(listener)).unwrap_or(&free);
            let fields = listener.as_object_mut().context("a listener")?;
            if let Some(place) = fields.get_mut("address") {
                *place = json!({ "socket_address": { "address": address.ip(), "port_value": address.port() } });
            }
            fields.remove("bind_to_port");
        }
        Ok(())
    }

    fn replace_sources(&mut self) -> Result<XdsFiles> {
        let mut files = XdsFiles::default();
        for kind in [Kind::Endpoints, Kind::Routes, Kind::Extensions] {
            for resource in self.resources.all(kind) {
                files.add(kind.field(), resource)?;
            }
        }
        for secret in &self.secrets {
            files.add(SECRETS, secret)?;
        }
        let mut missing = None;
        self.resources.walk(&mut |value| {
            for (place, what, name) in places_of_sources(value) {
                match (files.source(what, &name), value.pointer_mut(place)) {
                    (Some(file), Some(source)) => *source = file,
                    _ => missing = Some(format!("{what} {name}")),
                }
            }
        });
        match missing {
            None => Ok(files),
            Some(what) => bail!("nobody gives {what}"),
        }
    }
}

const SECRETS: &str = "secrets";

/// Where in this very value something comes from a control plane, what it is, and its name.
fn places_of_sources(value: &Value) -> Vec<(&'static str, &'static str, String)> {
    let field = |field: &str| value.get(field).and_then(Value::as_str);
    let places = [
        (
            "/eds_config",
            Kind::Endpoints.field(),
            field("service_name"),
        ),
        (
            "/config_discovery/config_source",
            Kind::Extensions.field(),
            field("name"),
        ),
        ("/sds_config", SECRETS, field("name")),
        (
            "/config_source",
            Kind::Routes.field(),
            field("route_config_name"),
        ),
    ];
    let named = places
        .into_iter()
        .filter(|(place, _, _)| value.pointer(place).is_some());
    named
        .filter_map(|(place, what, name)| Some((place, what, name?.to_owned())))
        .collect()
}

/// The address that this very value is: one in a network, one inside Envoy, or the text of one.
fn host(value: &Value) -> Option<SocketAddr> {
    if let Some(text) = value.as_str() {
        return text.parse().ok();
    }
    let ip = value.get("address")?.as_str()?.parse().ok()?;
    let port = value.get("port_value")?.as_u64()?.try_into().ok()?;
    Some(SocketAddr::new(ip, port))
}

/// Puts other addresses in the places of these.
pub(crate) fn replace_hosts(value: &mut Value, places: &BTreeMap<SocketAddr, SocketAddr>) {
    walk(value, &mut |value| {
        if let Some(now) = host(value).and_then(|host| places.get(&host)) {
            *value = if value.is_string() {
                now.to_string().into()
            } else {
                json!({ "address": now.ip(), "port_value": now.port() })
            };
        }
    });
}

/// Sets a field in the plugin configurations inside of `value` that have services; how many.
pub fn set_option(value: &mut Value, field: &str, option: &Value) -> usize {
    let mut changed = 0;
    walk(value, &mut |value| {
        let is_plugin = value.get("vm_config").is_some();
        let place = value.pointer_mut("/configuration/value");
        let Some(place) = place.filter(|_| is_plugin) else {
            return;
        };
        let text = place.as_str().map(serde_json::from_str::<Value>);
        let quoted = text.is_some();
        let mut plugin = match text {
            Some(parsed) => parsed.unwrap_or_default(),
            None => place.clone(),
        };
        if plugin.get("services").is_none() {
            return;
        }
        plugin[field] = option.clone();
        *place = if quoted {
            plugin.to_string().into()
        } else {
            plugin
        };
        changed += 1;
    });
    changed
}
