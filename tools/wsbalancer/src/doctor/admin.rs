//! Asks an Envoy's admin interface, by GET alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use http::Uri;
use serde_json::Value;
use ureq::Agent;

use super::snapshot::Snapshot;

/// How long an answer may take: the dump of a large mesh is tens of megabytes.
const PATIENCE: Duration = Duration::from_secs(30);

/// More than this is no dump.
const LARGEST: u64 = 512 << 20;

/// Reads all that the rules look at from the admin interface at `ip:port`, `name:port` or a URL.
///
/// # Errors
/// When nobody answers there, or it is no Envoy.
pub fn read(address: &str) -> Result<Snapshot> {
    let admin = Admin::new(address)?;
    let server = admin.json("/server_info")?;
    let dump = admin.json("/config_dump?include_eds")?;
    let statistics = admin.text("/stats?filter=wasmcustom|overflow")?;
    let listeners = admin.json("/listeners?format=json")?;
    let mut envoy = Snapshot {
        version: server["version"].as_str().and_then(version),
        hosts: admin.json("/clusters?format=json")?,
        statistics: counts(&statistics),
        series: admin.text("/stats/prometheus?filter=wasmcustom").ok(),
        ..Snapshot::of_dump(&dump)
    };
    envoy.status = admin.status(&envoy, &listeners).unwrap_or_default();
    Ok(envoy)
}

/// The version in Envoy's words: commit, version, and how it was built.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('/').nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Counters and gauges; histograms are no numbers.
fn counts(text: &str) -> BTreeMap<String, u64> {
    let lines = text.lines().filter_map(|line| line.rsplit_once(": "));
    let counts = lines.filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)));
    counts.collect()
}

struct Admin {
    agent: Agent,
    /// Scheme, host and port.
    root: String,
}

impl Admin {
    fn new(address: &str) -> Result<Self> {
        let root = if address.contains("://") {
            address.trim_end_matches('/').to_owned()
        } else {
            format!("http://{address}")
        };
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .build();
        let uri: Uri = root
            .parse()
            .with_context(|| format!("{address} is no address"))?;
        anyhow::ensure!(uri.host().is_some(), "{address} has no host");
        Ok(Self {
            agent: config.into(),
            root,
        })
    }

    fn text(&self, path: &str) -> Result<String> {
        self.get(&format!("{}{path}", self.root))
    }

    fn json(&self, path: &str) -> Result<Value> {
        let text = self.text(path)?;
        let json = serde_json::from_str(&text);
        json.with_context(|| format!("{}{path} is no JSON", self.root))
    }

    fn get(&self, url: &str) -> Result<String> {
        let answer = self.agent.get(url).call();
        let mut answer = answer.with_context(|| format!("{url} can't be read"))?;
        let body = answer.body_mut().with_config().limit(LARGEST);
        body.read_to_string()
            .with_context(|| format!("{url} can't be read"))
    }

    /// The filter's status, on the host of the admin interface. It need not be reachable from here.
    fn status(&self, envoy: &Snapshot, listeners: &Value) -> Option<Value> {
        let (listener, path) = envoy.chains().into_iter().find_map(|chain| {
            let mut configs = chain
                .filters
                .iter()
                .filter_map(|filter| filter.config.as_ref());
            let status = configs.find_map(|config| config.settings.status.clone())?;
            Some((chain.listener.to_owned(), status.path))
        })?;
        let statuses = listeners["listener_statuses"].as_array()?;
        let status = statuses.iter().find(|status| status["name"] == *listener)?;
        let socket = &status["local_address"]["socket_address"];
        let port = u16::try_from(socket["port_value"].as_u64()?).ok()?;
        let ip: IpAddr = socket["address"].as_str()?.parse().ok()?;
        // The status is shown under addresses and localhost alone.
        let uri: Uri = self.root.parse().ok()?;
        let host = uri.host()?.trim_matches(['[', ']']);
        let of_admin: IpAddr = match host {
            "localhost" => Ipv4Addr::LOCALHOST.into(),
            host => host.parse().ok()?,
        };
        let ip = if ip.is_unspecified() { of_admin } else { ip };
        let address = SocketAddr::new(ip, port);
        let text = self
            .get(&format!("http://{address}{path}?format=json"))
            .ok()?;
        serde_json::from_str(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_counts_are_read_as_envoy_writes_them() {
        let text = "33b0d9ebd3b6b8a5c0f0c3e5a5f4fd0a54c2e4e3/1.40.0/Clean/RELEASE/BoringSSL";
        assert_eq!(version(text), Some((1, 40)));
        assert_eq!(version("?"), None);
        let text = "cluster.outbound|80||a.b;.upstream_cx_overflow: 3\nh: P0(1,1)\n";
        let counts = counts(text);
        assert_eq!(counts["cluster.outbound|80||a.b;.upstream_cx_overflow"], 3);
        assert_eq!(counts.len(), 1);
    }
}
