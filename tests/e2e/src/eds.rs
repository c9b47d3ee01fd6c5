//! Endpoints of a cluster that Envoy takes from a file that can change (EDS by file).

use std::fs;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::block_in_place;
use wsbalancer_backend::{Fleet, FleetConfig};
use wsbalancer_harness::{Envoy, Sample};

use crate::{Stage, addresses};

/// The file, and the cluster that it feeds.
pub struct EdsFile {
    directory: TempDir,
    cluster: String,
}

/// One endpoint: an entry of `lb_endpoints`, and its priority.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// As Envoy's API has it, such as `{"endpoint": …, "health_status": "DRAINING"}`.
    pub fields: Value,
    /// 0 is the first to be used.
    pub priority: u32,
}

impl Endpoint {
    /// A healthy endpoint of the first priority.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let socket = json!({ "address": address.ip(), "port_value": address.port() });
        Self::of_address(&json!({ "socket_address": socket }))
    }

    /// An endpoint with any address of Envoy's API.
    #[must_use]
    pub fn of_address(address: &Value) -> Self {
        Self {
            fields: json!({ "endpoint": { "address": address } }),
            priority: 0,
        }
    }

    /// Sets what the discovery service says of its health, such as `DRAINING`.
    #[must_use]
    pub fn health(mut self, status: &str) -> Self {
        self.fields["health_status"] = status.into();
        self
    }

    /// Sets the port that Envoy's active health check asks.
    #[must_use]
    pub fn health_check_port(mut self, port: u16) -> Self {
        self.fields["endpoint"]["health_check_config"] = json!({ "port_value": port });
        self
    }

    /// Sets metadata of its own for a part of Envoy, such as `envoy.transport_socket_match`.
    #[must_use]
    pub fn metadata(mut self, part: &str, fields: &Value) -> Self {
        self.fields["metadata"]["filter_metadata"][part] = fields.clone();
        self
    }

    /// Sets how many WebSockets it should have for each one of an endpoint of weight 1.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.fields["load_balancing_weight"] = weight.into();
        self
    }

    /// Sets its priority.
    #[must_use]
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }
}

impl EdsFile {
    /// A file with these endpoints, and `sample` with its first cluster taking them.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn feed(sample: Sample, endpoints: &[Endpoint]) -> anyhow::Result<(Self, Sample)> {
        let mut sample = sample;
        let cluster = sample.cluster()["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let eds = Self {
            directory: TempDir::new()?,
            cluster,
        };
        eds.publish(endpoints)?;
        let directory = eds.directory.path();
        let fields = sample.cluster();
        fields["type"] = "EDS".into();
        fields["eds_cluster_config"] = json!({ "eds_config": {
            "resource_api_version": "V3",
            "path_config_source": {
                "path": directory.join(Self::NAME),
                "watched_directory": { "path": directory },
            },
        }});
        if let Some(fields) = fields.as_object_mut() {
            fields.remove("load_assignment");
        }
        // A name of its own is what an Envoy needs for any discovery service.
        let sample = sample.edit(|configuration| {
            if configuration["node"].is_null() {
                configuration["node"] = json!({ "id": "test", "cluster": "test" });
            }
        });
        Ok((eds, sample))
    }

    const NAME: &str = "endpoints.json";

    /// Replaces the endpoints, in one step: Envoy watches for moves.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn publish(&self, endpoints: &[Endpoint]) -> anyhow::Result<()> {
        let highest = endpoints.iter().map(|endpoint| endpoint.priority).max();
        let groups: Vec<Value> = (0..=highest.unwrap_or(0))
            .map(|priority| {
                let group = endpoints
                    .iter()
                    .filter(|endpoint| endpoint.priority == priority);
                let fields: Vec<&Value> = group.map(|endpoint| &endpoint.fields).collect();
                json!({ "priority": priority, "lb_endpoints": fields })
            })
            .collect();
        let assignment = json!({
            "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": self.cluster,
            "endpoints": groups,
        });
        let draft = self.directory.path().join("draft");
        fs::write(&draft, json!({ "resources": [assignment] }).to_string())?;
        fs::rename(draft, self.directory.path().join(Self::NAME))?;
        Ok(())
    }
}

/// Pods behind a cluster that takes its endpoints from a file, and the filter's log at debug.
///
/// # Errors
/// When pods or Envoy don't start.
pub async fn stage(
    fleet: FleetConfig,
    listed: impl FnOnce(&[SocketAddr]) -> Vec<Endpoint>,
    change: impl FnOnce(Sample) -> Sample,
) -> anyhow::Result<(Stage, EdsFile)> {
    let fleet = Fleet::start(fleet).await?;
    let listed = listed(&addresses(&fleet));
    let (eds, sample) = EdsFile::feed(change(Sample::standard()?), &listed)?;
    let options = Envoy::options().component_log_level("wasm:debug");
    let envoy = block_in_place(|| options.start(&sample))?;
    Ok((Stage { fleet, envoy }, eds))
}

/// Healthy endpoints of the first priority.
#[must_use]
pub fn endpoints(addresses: &[SocketAddr]) -> Vec<Endpoint> {
    addresses.iter().copied().map(Endpoint::new).collect()
}
