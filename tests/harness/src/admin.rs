//! Envoy's admin interface, asked anew for every answer.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use serde::Deserialize;

use crate::http::Http;

/// One Envoy's admin interface.
#[derive(Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    http: Http,
}

impl Admin {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            http: Http::new(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<String> {
        self.http
            .get(&self.url(path))
            .with_context(|| format!("GET {path} of the admin interface failed"))
    }

    pub(crate) fn post(&self, path: &str) -> anyhow::Result<String> {
        self.http
            .post(&self.url(path))
            .with_context(|| format!("POST {path} of the admin interface failed"))
    }

    /// Whether Envoy takes connections on all of its listeners.
    pub(crate) fn is_ready(&self) -> bool {
        // LIVE says that the configuration is complete; the workers start a moment later.
        let live = self.get("/ready").is_ok_and(|state| state.contains("LIVE"));
        live && self
            .stat("listener_manager.workers_started")
            .is_ok_and(|started| started == 1)
    }

    /// The listeners' names and the addresses they got.
    pub(crate) fn listeners(&self) -> anyhow::Result<BTreeMap<String, SocketAddr>> {
        let text = self.get("/listeners?format=json")?;
        let listeners: Listeners =
            serde_json::from_str(&text).context("can't read Envoy's list of listeners")?;
        Ok(listeners
            .listener_statuses
            .into_iter()
            .filter_map(|listener| {
                // Listeners on Unix domain sockets have no port.
                let SocketAddress {
                    address,
                    port_value,
                } = listener.local_address.socket_address?;
                Some((listener.name, SocketAddr::new(address, port_value)))
            })
            .collect())
    }

    /// The value of one counter or gauge; 0 if there is none of that name.
    pub(crate) fn stat(&self, name: &str) -> anyhow::Result<u64> {
        self.sum_of_stats(&format!(r"^\Q{name}\E$"))
    }

    /// The sum of all counters and gauges whose names match a regular expression of RE2.
    pub(crate) fn sum_of_stats(&self, regex: &str) -> anyhow::Result<u64> {
        let query = [("format", "json"), ("filter", regex)];
        let text = self
            .http
            .get_with(&self.url("/stats"), &query)
            .with_context(|| format!("the admin interface has no statistics for {regex}"))?;
        let stats: Stats = serde_json::from_str(&text).context("can't read Envoy's statistics")?;
        // Histograms and text readouts have no number as their value.
        Ok(stats
            .stats
            .iter()
            .filter_map(|stat| stat.value.as_u64())
            .sum())
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

#[derive(Deserialize)]
struct Listeners {
    // Left out when there are none.
    #[serde(default)]
    listener_statuses: Vec<Listener>,
}

#[derive(Deserialize)]
struct Listener {
    name: String,
    local_address: Address,
}

#[derive(Deserialize)]
struct Address {
    socket_address: Option<SocketAddress>,
}

#[derive(Deserialize)]
struct SocketAddress {
    address: IpAddr,
    port_value: u16,
}

#[derive(Deserialize)]
struct Stats {
    stats: Vec<Stat>,
}

#[derive(Deserialize)]
struct Stat {
    #[serde(default)]
    value: serde_json::Value,
}
