//! Envoy's admin interface: plain HTTP, asked anew for every answer.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;

/// The admin interface answers from memory; only an Envoy that hangs takes longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// One Envoy's admin interface.
#[derive(Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    agent: ureq::Agent,
}

impl Admin {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let agent = ureq::Agent::config_builder()
            // A proxy in the environment is none of Envoy's business.
            .proxy(None)
            .timeout_global(Some(ANSWER_TIMEOUT))
            // The body of an error says more than its number.
            .http_status_as_error(false)
            .build()
            .new_agent();
        Self { address, agent }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<String> {
        answer(self.agent.get(self.url(path)).call())
            .with_context(|| format!("GET {path} of the admin interface failed"))
    }

    pub(crate) fn post(&self, path: &str) -> anyhow::Result<String> {
        answer(self.agent.post(self.url(path)).send_empty())
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
        let request = self
            .agent
            .get(self.url("/stats"))
            .query("format", "json")
            .query("filter", regex);
        let text = answer(request.call())
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

fn answer(
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> anyhow::Result<String> {
    let response = response?;
    let status = response.status();
    let text = response
        .into_body()
        .into_with_config()
        // A configuration dump or all statistics can be larger than the default of 10 MB.
        .limit(u64::MAX)
        .read_to_string()?;
    ensure!(status.is_success(), "{status}: {}", text.trim_end());
    Ok(text)
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
