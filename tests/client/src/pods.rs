//! The pods and the counts they serve: `GET /metric`, asked directly and not through the
//! gateway.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use futures_util::future::join_all;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Uri};
use http_body_util::Empty;
use serde::Deserialize;
use tokio::net::lookup_host;

use crate::fetch::{Fetcher, Limits};

/// Where pods serve their count unless told otherwise.
pub const DEFAULT_METRIC_PATH: &str = "/metric";

/// An answer longer than this is no count.
const LONGEST_ANSWER_BYTES: usize = 64 * 1024;

/// The pods to ask.
#[derive(Clone, Debug)]
pub struct Pods {
    /// Where each pod listens.
    pub addresses: Vec<PodAddress>,
    /// Path of the count on each of them.
    pub metric_path: PathAndQuery,
    /// How long one answer may take.
    pub timeout: Duration,
}

impl Pods {
    /// The same pods with addresses in place of names. A name that has several, such as that of a
    /// headless service, stands for as many pods; one that can't be resolved stays.
    pub async fn resolved(mut self) -> Self {
        let mut resolved = Vec::new();
        for address in self.addresses {
            match address.resolve().await {
                Ok(addresses) => resolved.extend(addresses),
                // Whoever asks it will tell.
                Err(_) => resolved.push(address),
            }
        }
        self.addresses = resolved;
        self
    }

    /// Asks all pods at once for the WebSockets they have open.
    ///
    /// The answers come in the order of the addresses.
    pub async fn count(&self) -> Vec<PodCount> {
        let fetcher = Fetcher::new();
        join_all(
            self.addresses
                .iter()
                .map(|address| self.ask(&fetcher, address)),
        )
        .await
    }

    async fn ask(&self, fetcher: &Fetcher, address: &PodAddress) -> PodCount {
        PodCount {
            address: address.clone(),
            answer: self.count_of(fetcher, address).await,
        }
    }

    async fn count_of(&self, fetcher: &Fetcher, address: &PodAddress) -> Result<Metric, String> {
        let path = &self.metric_path;
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(address.0.clone())
            .path_and_query(path.clone())
            .build()
            .map_err(|error| error.to_string())?;
        let request = Request::get(uri)
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let limits = Limits {
            time: self.timeout,
            size: LONGEST_ANSWER_BYTES,
        };
        let answer = fetcher.get(request, limits).await?;
        serde_json::from_slice(&answer).map_err(|error| format!("no count at {path}: {error}"))
    }
}

/// What one pod told.
#[derive(Clone, Debug)]
pub struct PodCount {
    /// The pod that was asked.
    pub address: PodAddress,
    /// Its count, or in words why there is none.
    pub answer: Result<Metric, String>,
}

impl PodCount {
    pub(crate) fn connections(&self) -> Option<u64> {
        self.answer
            .as_ref()
            .ok()
            .map(|metric| metric.agents_connections)
    }

    pub(crate) fn pod_name(&self) -> Option<&str> {
        self.answer
            .as_ref()
            .ok()
            .and_then(|metric| metric.pod_name.as_deref())
    }
}

/// The part of a pod's answer that matters here; other fields are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metric {
    /// WebSockets open on the pod.
    pub agents_connections: u64,
    /// What the pod calls itself.
    #[serde(default)]
    pub pod_name: Option<String>,
}

/// `host:port` of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodAddress(Authority);

impl FromStr for PodAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let authority = Authority::from_str(text).map_err(|error| error.to_string())?;
        if authority.host().is_empty() || authority.port_u16().is_none() || text.contains('@') {
            return Err("a pod's address is host:port".to_owned());
        }
        Ok(Self(authority))
    }
}

impl PodAddress {
    async fn resolve(&self) -> io::Result<Vec<Self>> {
        let mut addresses: Vec<SocketAddr> = lookup_host(self.0.as_str()).await?.collect();
        // A pod with an address of each kind is one pod.
        if addresses.iter().any(SocketAddr::is_ipv4) {
            addresses.retain(SocketAddr::is_ipv4);
        }
        addresses.sort_unstable();
        addresses.dedup();
        let parsed = addresses.iter().map(|address| address.to_string().parse());
        parsed.collect::<Result<_, _>>().map_err(io::Error::other)
    }
}

impl fmt::Display for PodAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_become_addresses_and_what_has_none_stays() {
        let pods = Pods {
            addresses: ["localhost:80", "[::1]:81", "nowhere.invalid:82"]
                .map(|text| text.parse().expect(text))
                .into(),
            metric_path: PathAndQuery::from_static("/metric"),
            timeout: Duration::from_secs(1),
        };
        let resolved = pods.resolved().await.addresses;
        let texts: Vec<String> = resolved.iter().map(PodAddress::to_string).collect();
        assert_eq!(texts, ["127.0.0.1:80", "[::1]:81", "nowhere.invalid:82"]);
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for text in ["10.0.0.1:8080", "[::1]:80", "pod-0.agents:9000"] {
            let address: PodAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "",
            "10.0.0.1",
            ":8080",
            "http://10.0.0.1:80",
            "10.0.0.1:99999",
            "a@b:80",
        ] {
            assert!(text.parse::<PodAddress>().is_err(), "{text}");
        }
    }
}
