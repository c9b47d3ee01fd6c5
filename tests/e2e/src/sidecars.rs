//! The sidecars of pods: one Envoy that has the recorded inbound listener once for each pod, on an
//! address of its own. As any Envoy, it answers 400 to a `host` that HTTP does not allow.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wsbalancer_backend::Tls;
use wsbalancer_harness::{Envoy, own_address};

use crate::resources::{Kind, Resources, walk};
use crate::runnable::{Runnable, Running, replace_hosts};

/// Where the pod was, behind its sidecar.
const RECORDED_POD: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 18081);
const CLUSTER: &str = "inbound|8080||";

/// Sidecars of pods; gone when dropped.
pub struct Sidecars {
    running: Running,
    addresses: Vec<SocketAddr>,
}

impl Sidecars {
    /// Sidecars that take whoever comes, as with `PeerAuthentication` of mode `DISABLE`.
    ///
    /// # Errors
    /// When Envoy does not start.
    pub fn plain(pods: &[SocketAddr]) -> Result<Self> {
        Self::start(pods, None)
    }

    /// Sidecars that take only clients of the mesh. The listener's part for mTLS is the one of the
    /// sidecar that was recorded with interception.
    ///
    /// # Errors
    /// When Envoy does not start.
    pub fn strict(pods: &[SocketAddr], own: &Tls, authority: &str) -> Result<Self> {
        Self::start(pods, Some((own, authority)))
    }

    fn start(pods: &[SocketAddr], mtls: Option<(&Tls, &str)>) -> Result<Self> {
        let mut resources = Resources::recorded("istio-1.31/pod")?;
        let cluster = resources.get(Kind::Clusters, CLUSTER)?.clone();
        let mut listener = resources.all(Kind::Listeners).remove(0);
        if mtls.is_some() {
            demand_mtls(&mut listener)?;
        }
        let addresses: Vec<SocketAddr> = pods.iter().map(|_| own_address()).collect();
        let mut clusters = numbered(&cluster, pods.len());
        for (cluster, pod) in clusters.iter_mut().zip(pods) {
            replace_hosts(cluster, &BTreeMap::from([(RECORDED_POD, *pod)]));
        }
        resources.all(Kind::Clusters).extend(clusters);
        let mut listeners = numbered(&listener, addresses.len());
        for (i, (listener, address)) in listeners.iter_mut().zip(&addresses).enumerate() {
            listener["name"] = format!("pod {i}").into();
            listener["filter_chains"][0]["filter_chain_match"]["destination_port"] =
                address.port().into();
        }
        *resources.all(Kind::Listeners) = listeners;
        let mut runnable = Runnable::new(resources, "pod 0");
        for (i, address) in addresses.iter().enumerate() {
            runnable = runnable.bind(&format!("pod {i}"), *address);
        }
        if let Some((own, authority)) = mtls {
            runnable = runnable.identity(own, authority);
        }
        let running = runnable.start()?;
        Ok(Self { running, addresses })
    }

    /// Where they listen, in the order of their pods.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The Envoy that is all of them.
    #[must_use]
    pub fn envoy(&self) -> &Envoy {
        &self.running.envoy
    }
}

/// Has a listener take only TLS with a certificate of the mesh.
fn demand_mtls(listener: &mut Value) -> Result<()> {
    let mut recorded = Resources::recorded("istio-1.31/client-redirect.before")?;
    let inbound = recorded.get(Kind::Listeners, "virtualInbound")?.take();
    let mut chains = inbound["filter_chains"].as_array().into_iter().flatten();
    let tls = chains.find(|chain| chain.get("transport_socket").is_some());
    let chain = &mut listener["filter_chains"][0];
    chain["transport_socket"] = tls.context("a chain with TLS")?["transport_socket"].clone();
    chain["filter_chain_match"]["transport_protocol"] = "tls".into();
    let mut filters = inbound["listener_filters"].as_array().into_iter().flatten();
    let inspector = filters.find(|filter| filter["name"] == "envoy.filters.listener.tls_inspector");
    listener["listener_filters"] = json!([inspector.context("an inspector")?]);
    Ok(())
}

/// Copies of a resource, in which the cluster of the pod has a number.
fn numbered(resource: &Value, count: usize) -> Vec<Value> {
    let copy = |i| {
        let mut copy = resource.clone();
        walk(&mut copy, &mut |value| {
            if value == CLUSTER {
                *value = format!("{CLUSTER}{i}").into();
            }
        });
        copy
    };
    (0..count).map(copy).collect()
}
