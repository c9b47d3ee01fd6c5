//! Envoy's configuration: the project's sample, and changes to it.
//!
//! A [`Sample`] is read from the very file that the documentation shows, so every test of a
//! changed sample is a test of the sample. What its accessors name was there when it was read.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::workspace;

const FILTER: &str = "wsbalancer";

// The places in the configuration, as JSON pointers (RFC 6901), each from the one above it.
const ADMIN_ADDRESS: &str = "/admin/address/socket_address";
const CLUSTERS: &str = "/static_resources/clusters";
const FIRST_CLUSTER: &str = "/static_resources/clusters/0";
const FIRST_ENDPOINT: &str = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address";
const LISTENERS: &str = "/static_resources/listeners";
const FIRST_LISTENER: &str = "/static_resources/listeners/0";
const CONNECTION_MANAGER: &str = "/filter_chains/0/filters/0/typed_config";
const ROUTE: &str = "/route_config/virtual_hosts/0/routes/0/route";
const PLUGIN: &str = "/typed_config/config";
const ANY_CONFIGURATION: &str = "/typed_config/config/configuration";
const PLUGIN_CONFIGURATION: &str = "/typed_config/config/configuration/value";

/// The type of a plugin configuration that is JSON in a string, where a `Struct` is plain YAML.
const STRING_VALUE: &str = "type.googleapis.com/google.protobuf.StringValue";

/// A configuration of Envoy in the shape of the project's sample: the filter on a first listener with
/// one route to a first cluster, and perhaps others beside these. Changes chain.
#[derive(Clone, Debug)]
pub struct Sample {
    configuration: Value,
}

impl Sample {
    /// The project's sample, ready to run here: with the filter as `cargo xtask` builds it, and on
    /// free ports of 127.0.0.1.
    ///
    /// # Errors
    /// When the sample can't be read.
    pub fn standard() -> anyhow::Result<Self> {
        Ok(Self::load(workspace::sample())?.ready_to_run())
    }

    /// A sample from a YAML or JSON file, as it is.
    ///
    /// # Errors
    /// When the file can't be read, or is not in the shape of the project's sample.
    pub fn load(path: impl AsRef<Path>) -> anyhow::Result<Self> {
        let path = path.as_ref();
        fs::read_to_string(path)
            .map_err(anyhow::Error::from)
            .and_then(|text| Self::parse(&text))
            .with_context(|| format!("can't load the sample {}", path.display()))
    }

    /// A sample from YAML or JSON text, as it is.
    ///
    /// # Errors
    /// When it is not in the shape of the project's sample.
    pub fn parse(yaml: &str) -> anyhow::Result<Self> {
        let mut configuration: Value = serde_saphyr::from_str(yaml)?;
        for place in [ADMIN_ADDRESS, FIRST_CLUSTER, FIRST_LISTENER] {
            ensure!(
                configuration.pointer(place).is_some(),
                "there is no {place}"
            );
        }
        let manager = configuration
            .pointer_mut(FIRST_LISTENER)
            .and_then(|listener| listener.pointer_mut(CONNECTION_MANAGER))
            .context("the listener has no HTTP connection manager")?;
        ensure!(manager.pointer(ROUTE).is_some(), "there is no {ROUTE}");
        let plugin = filter_among(manager)
            .context("there is no filter `wsbalancer`")?
            .pointer_mut(PLUGIN_CONFIGURATION)
            .context("the filter has no configuration")?;
        // Whether it is a string shows only in Envoy's file; see `to_json`.
        if let Some(text) = plugin.as_str() {
            *plugin =
                serde_json::from_str(text).context("the filter's configuration is no JSON")?;
        }
        Ok(Self { configuration })
    }

    /// Any configuration of Envoy's that has an admin interface and a first listener with a name.
    /// What the accessors name beside that may not be there.
    #[must_use]
    pub fn of_any_shape(configuration: Value) -> Self {
        Self { configuration }
    }

    /// With the filter as `cargo xtask` builds it, and on free ports of 127.0.0.1.
    ///
    /// # Panics
    /// After [`without_filter`](Self::without_filter).
    #[must_use]
    pub fn ready_to_run(self) -> Self {
        self.wasm(workspace::filter()).on_free_ports()
    }

    /// Takes the filter from a file, on all listeners.
    #[must_use]
    pub fn wasm(mut self, path: impl AsRef<Path>) -> Self {
        let code = json!({ "local": { "filename": path.as_ref() } });
        for listener in self.listeners() {
            let filter = listener
                .pointer_mut(CONNECTION_MANAGER)
                .and_then(filter_among);
            if let Some(filter) = filter {
                place(filter, PLUGIN)["vm_config"]["code"] = code.clone();
            }
        }
        self
    }

    /// Puts each listener on a port of 127.0.0.1 that the system chooses, and has every start put
    /// the admin interface on an address of its own.
    #[must_use]
    pub fn on_free_ports(mut self) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        for listener in self.listeners() {
            listener["address"] = socket_address(free);
        }
        self.admin(free)
    }

    /// Puts the admin interface on an address, where clusters that reach it find it, too.
    pub(crate) fn admin(mut self, address: SocketAddr) -> Self {
        let before = place(&mut self.configuration, "/admin/address").clone();
        let now = socket_address(address);
        let clusters = place(&mut self.configuration, CLUSTERS).as_array_mut();
        for cluster in clusters.into_iter().flatten() {
            let endpoint = cluster.pointer_mut(FIRST_ENDPOINT);
            if let Some(endpoint) = endpoint.filter(|endpoint| **endpoint == before) {
                *endpoint = now.clone();
            }
        }
        self.configuration["admin"]["address"] = now;
        self
    }

    /// Whether the admin interface has no address before the start.
    pub(crate) fn admin_is_free(&self) -> bool {
        let address = self.configuration.pointer(ADMIN_ADDRESS);
        address.is_some_and(|address| address["port_value"] == 0)
    }

    /// Has the cluster consist of these pods.
    #[must_use]
    pub fn pods(mut self, pods: &[SocketAddr]) -> Self {
        self.cluster()["load_assignment"]["endpoints"] = endpoints(pods);
        self
    }

    /// Has the filter know these pods from its configuration, and not by discovery.
    ///
    /// # Panics
    /// After [`without_filter`](Self::without_filter).
    #[must_use]
    pub fn without_discovery(mut self, pods: &[SocketAddr]) -> Self {
        let plugin = self.plugin_configuration();
        if let Some(fields) = plugin.as_object_mut() {
            fields.remove("discovery");
        }
        plugin["services"][0]["endpoints"] = json!(pods);
        self
    }

    /// Sets one field of the filter's configuration, such as `cacheTTL`.
    ///
    /// # Panics
    /// After [`without_filter`](Self::without_filter).
    #[must_use]
    pub fn option(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.plugin_configuration()[field] = value.into();
        self
    }

    /// Has the first listener leave the override header of clients to what comes after it.
    ///
    /// # Panics
    /// When an edit removed the connection manager.
    #[must_use]
    pub fn with_header_of_clients(mut self) -> Self {
        if let Some(manager) = self.connection_manager().as_object_mut() {
            manager.remove("early_header_mutation_extensions");
        }
        self
    }

    /// Removes the filter, which leaves every choice to the client's header and to the cluster. Of
    /// the listeners only the first stays: others show what the filter knows.
    #[must_use]
    pub fn without_filter(self) -> Self {
        let mut without = self.with_header_of_clients().without_filter_alone();
        if let Some(listeners) = place(&mut without.configuration, LISTENERS).as_array_mut() {
            listeners.truncate(1);
        }
        without
    }

    /// As [`without_filter`](Self::without_filter), with all else as it is.
    #[must_use]
    pub fn without_filter_alone(mut self) -> Self {
        // What there is to say of statistics is of the filter's.
        if let Some(fields) = self.configuration.as_object_mut() {
            fields.remove("stats_config");
        }
        if let Some(filters) = self.connection_manager()["http_filters"].as_array_mut() {
            filters.retain(|filter| filter["name"] != FILTER);
        }
        self
    }

    /// Changes anything.
    #[must_use]
    pub fn edit(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.configuration);
        self
    }

    /// The filter's configuration: `services`, `cacheTTL` …
    ///
    /// # Panics
    /// After [`without_filter`](Self::without_filter).
    pub fn plugin_configuration(&mut self) -> &mut Value {
        place(self.filter(), PLUGIN_CONFIGURATION)
    }

    /// The first cluster, `chat`.
    ///
    /// # Panics
    /// When an edit removed it.
    pub fn cluster(&mut self) -> &mut Value {
        place(&mut self.configuration, FIRST_CLUSTER)
    }

    /// The first listener, the one for the WebSockets.
    ///
    /// # Panics
    /// When an edit removed it.
    pub fn listener(&mut self) -> &mut Value {
        place(&mut self.configuration, FIRST_LISTENER)
    }

    /// The listener's HTTP connection manager.
    ///
    /// # Panics
    /// When an edit removed it.
    pub fn connection_manager(&mut self) -> &mut Value {
        place(self.listener(), CONNECTION_MANAGER)
    }

    /// The action of the first route: `cluster`, `timeout`, `retry_policy`.
    ///
    /// # Panics
    /// When an edit removed it.
    pub fn route(&mut self) -> &mut Value {
        place(self.connection_manager(), ROUTE)
    }

    /// The configuration as JSON, which Envoy reads as well as YAML.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut configuration = self.configuration.clone();
        let plugin = configuration
            .pointer_mut(FIRST_LISTENER)
            .and_then(|listener| listener.pointer_mut(CONNECTION_MANAGER))
            .and_then(filter_among)
            .and_then(|filter| filter.pointer_mut(ANY_CONFIGURATION));
        if let Some(plugin) = plugin
            && plugin["@type"] == STRING_VALUE
            && !plugin["value"].is_string()
        {
            plugin["value"] = plugin["value"].to_string().into();
        }
        configuration.to_string()
    }

    /// Name of the first listener.
    pub(crate) fn listener_name(&self) -> Option<&str> {
        self.configuration.pointer(FIRST_LISTENER)?["name"].as_str()
    }

    /// Without what an Envoy refuses that has no `tcp_keepalive` of listeners.
    pub(crate) fn without_listener_keepalive(mut self) -> Self {
        // Where listeners come from elsewhere, there are none here.
        let listeners = self.configuration.pointer_mut(LISTENERS);
        let listeners = listeners
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten();
        for fields in listeners.filter_map(Value::as_object_mut) {
            fields.remove("tcp_keepalive");
        }
        self
    }

    fn listeners(&mut self) -> impl Iterator<Item = &mut Value> {
        let listeners = place(&mut self.configuration, LISTENERS).as_array_mut();
        listeners.into_iter().flatten()
    }

    fn filter(&mut self) -> &mut Value {
        filter_among(self.connection_manager()).expect("the sample should have its filter")
    }
}

fn filter_among(connection_manager: &mut Value) -> Option<&mut Value> {
    connection_manager["http_filters"]
        .as_array_mut()?
        .iter_mut()
        .find(|filter| filter["name"] == FILTER)
}

fn endpoints(addresses: &[SocketAddr]) -> Value {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| json!({ "endpoint": { "address": socket_address(*address) } }))
        .collect();
    json!([{ "lb_endpoints": endpoints }])
}

fn place<'a>(value: &'a mut Value, pointer: &str) -> &'a mut Value {
    value
        .pointer_mut(pointer)
        .unwrap_or_else(|| panic!("an edit removed {pointer} from the sample"))
}

fn socket_address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip(), "port_value": address.port() } })
}

#[cfg(test)]
mod tests {
    use wsbalancer::config::Config;

    use super::*;

    fn pods() -> [SocketAddr; 2] {
        [
            SocketAddr::from(([127, 0, 0, 1], 4711)),
            "[::1]:4712".parse().unwrap(),
        ]
    }

    #[test]
    fn pods_are_set_in_the_cluster_and_without_discovery_in_the_filter() {
        let sample = Sample::standard().unwrap().pods(&pods());
        let mut sample = sample.without_discovery(&pods());
        assert_eq!(
            sample.cluster()["load_assignment"]["endpoints"],
            json!([{ "lb_endpoints": [
                { "endpoint": { "address": { "socket_address":
                    { "address": "127.0.0.1", "port_value": 4711 } } } },
                { "endpoint": { "address": { "socket_address":
                    { "address": "::1", "port_value": 4712 } } } },
            ]}])
        );
        assert_eq!(
            sample.plugin_configuration()["services"],
            json!([{ "cluster": "chat", "endpoints": ["127.0.0.1:4711", "[::1]:4712"] }])
        );
        assert_eq!(sample.plugin_configuration()["discovery"], Value::Null);
    }

    #[test]
    fn the_filter_finds_the_admin_interface() {
        let address = SocketAddr::from(([127, 1, 2, 3], 4));
        let free = Sample::standard().unwrap();
        assert!(free.admin_is_free());
        let mut sample = free.admin(address);
        assert!(!sample.admin_is_free());
        let name = sample.plugin_configuration()["discovery"]["adminCluster"].clone();
        let clusters = place(&mut sample.configuration, CLUSTERS).as_array();
        let cluster = clusters.and_then(|all| all.iter().find(|cluster| cluster["name"] == name));
        let reached = cluster.and_then(|cluster| cluster.pointer(FIRST_ENDPOINT));
        assert_eq!(reached, Some(&socket_address(address)));
        assert_eq!(
            sample.configuration["admin"]["address"],
            socket_address(address)
        );
    }

    #[test]
    fn pods_can_be_set_without_the_filter() {
        let mut sample = Sample::standard().unwrap().without_filter().pods(&pods());
        let endpoints = &sample.cluster()["load_assignment"]["endpoints"][0]["lb_endpoints"];
        assert_eq!(endpoints.as_array().unwrap().len(), 2);
        assert!(!sample.to_json().contains("wasm"));
    }

    #[test]
    fn options_replace_and_add_fields() {
        let mut sample = Sample::standard()
            .unwrap()
            .option("cacheTTL", "1s")
            .option("attempts", 2)
            .option("attempts", 1);
        assert_eq!(sample.plugin_configuration()["cacheTTL"], "1s");
        assert_eq!(sample.plugin_configuration()["attempts"], 1);
    }

    #[test]
    fn a_file_of_another_shape_is_refused() {
        let error = Sample::parse("admin: {}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no /admin/address/socket_address"
        );
    }

    #[test]
    fn both_forms_of_the_configuration_are_written_as_they_were_read() {
        for (kind, quoted) in [(STRING_VALUE, true), ("google.protobuf.Struct", false)] {
            let sample = Sample::standard().unwrap().edit(|configuration| {
                let listener = place(configuration, FIRST_LISTENER);
                let filter = filter_among(place(listener, CONNECTION_MANAGER)).unwrap();
                place(filter, ANY_CONFIGURATION)["@type"] = kind.into();
            });
            let written: Value = serde_json::from_str(&sample.to_json()).unwrap();
            let value = written
                .pointer(&format!(
                    "{FIRST_LISTENER}{CONNECTION_MANAGER}/http_filters/0{PLUGIN_CONFIGURATION}"
                ))
                .unwrap();
            assert_eq!(value.is_string(), quoted, "{kind}: {value}");
            let mut read_again = Sample::parse(&sample.to_json()).unwrap();
            assert_eq!(
                read_again.plugin_configuration()["services"][0]["cluster"],
                "chat"
            );
        }
    }

    #[test]
    fn the_filter_accepts_the_sample_and_its_attempts_fit_the_retries() {
        let mut sample = Sample::load(workspace::sample()).unwrap();
        let configuration = sample.plugin_configuration().to_string();
        let config = Config::parse(configuration.as_bytes()).unwrap();
        // The first attempt is no retry.
        assert_eq!(
            sample.route()["retry_policy"]["num_retries"],
            config.settings.attempts - 1
        );
        assert_eq!(sample.cluster()["name"], config.services[0].cluster);
    }
}
