//! The state of the balancer, as its filter tells it: what is known of every service and pod.
//!
//! The names of pods, and whatever else pods have told, stand here as they came. They may hold
//! anything, and whoever shows them has to see to that.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::{Request, Uri, header};
use http_body_util::Empty;
use serde::Deserialize;

use crate::fetch::{Fetcher, Limits};

/// 1,000 pods take about one; a document longer than this is no state of a balancer.
const LONGEST_STATUS_BYTES: usize = 32 * 1024 * 1024;

/// All that the filter tells.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// When it was told, in UTC (RFC 3339).
    pub timestamp: String,
    /// What the gateway is called, where somebody has named it.
    pub gateway: Option<String>,
    /// What is wrong with the gateway as a whole.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// The services, in the order of the configuration.
    pub services: Vec<ServiceStatus>,
    /// The pods of each service, by [`ServiceStatus::url`].
    pub pod_metrics: BTreeMap<String, Vec<PodStatus>>,
    /// The sum of all pods' counts.
    pub total_connections: u64,
    /// The same, under the name that a pod gives its count.
    pub agents_connections: u64,
}

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Verdict {
    /// How bad it is.
    pub gravity: Gravity,
    /// One sentence without a full stop.
    pub text: String,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gravity {
    /// Nothing is to be done.
    Ok,
    /// Somebody should look at it.
    Warning,
    /// Clients feel it, or soon will.
    Critical,
}

/// Something that is wrong with a service or with the gateway, and not with one pod.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Warning {
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to add to the configuration.
    pub advice: Option<String>,
}

/// What the filter tells of one service.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Name of the Envoy cluster.
    pub url: String,
    /// How it is, in a sentence.
    pub verdict: Option<Verdict>,
    /// What is wrong with it as a whole.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// Its statistics by their names; empty where the filter tells none.
    #[serde(default)]
    pub statistics: BTreeMap<String, u64>,
    /// The sum of the pods' own counts.
    pub connections: u64,
    /// WebSockets that the filter takes the pods to have now.
    pub estimate: f64,
    /// WebSockets that are open through this gateway.
    pub own_connections: u64,
    /// This gateway's part of the new WebSockets, from 0 to 1.
    pub share: f64,
    /// The largest to the mean, for each unit of weight; absent where nothing is open.
    pub imbalance: Option<f64>,
    /// WebSockets that a pod of weight 1 would have if all had their share.
    pub even_share: f64,
    /// Pods of the service.
    pub pods_known: u64,
    /// Pods that get new WebSockets.
    pub pods_usable: u64,
    /// Path of the count on each pod.
    pub metric_path: String,
    /// Seconds from one poll of a pod to the next.
    pub refresh_interval: f64,
    /// Seconds for which a count is trusted.
    #[serde(rename = "cacheTTL")]
    pub cache_ttl: f64,
    /// Which of the workers polls; empty before the first poll.
    pub poller: String,
    /// How the pods are found; absent where the configuration lists them.
    pub discovery: Option<DiscoveryStatus>,
}

/// What the filter tells of a discovery.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiscoveryStatus {
    /// The cluster of the admin interface that is asked.
    pub admin_cluster: String,
    /// Seconds since the last list of pods; absent before the first.
    pub age: Option<f64>,
    /// Why the last list was none.
    pub last_error: Option<String>,
}

/// What the filter tells of one pod.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// The count that the pod told last; 0 if it never told one.
    pub agents_connections: u64,
    /// What the pod calls itself.
    pub pod_name: Option<String>,
    /// The address that the pod tells.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    /// Name of the node that the pod tells.
    pub node_name: Option<String>,
    /// Where it is reached, `ip:port`.
    pub address: String,
    /// Whether it gets new WebSockets, and if not, what keeps it from that.
    pub state: PodState,
    /// The state in more words.
    pub reason: String,
    /// WebSockets that the filter takes it to have now.
    pub estimate: f64,
    /// WebSockets on it that are open through this gateway.
    pub own_connections: u64,
    /// Handshakes on their way to it.
    pub in_flight: u64,
    /// WebSockets that it would have if all had their share.
    pub even_share: f64,
    /// The estimate in proportion to the even share; absent where it takes no part in the balance.
    pub load: Option<f64>,
    /// How much it takes, compared to a pod of weight 1.
    pub weight: f64,
    /// The most WebSockets that it takes.
    pub max_connections: Option<u64>,
    /// Its priority in Envoy; 0 comes first.
    pub priority: u64,
    /// Seconds since it told its count; absent if it never did.
    pub count_age: Option<f64>,
    /// Why the last poll brought no count.
    pub last_error: Option<String>,
    /// What is wrong with its last answer though it had a count.
    pub complaint: Option<String>,
    /// Which part of its share it gets while it starts slowly, from 0 to 1.
    pub slow_start: Option<f64>,
    /// WebSockets that this gateway opened on it.
    pub opened: u64,
    /// How many of them have ended.
    pub closed: u64,
    /// Handshakes that it refused.
    pub refused: u64,
    /// Polls that brought no count.
    pub polls_failed: u64,
    /// WebSockets that were ended to be opened elsewhere.
    pub rebalanced: u64,
}

/// Whether a pod gets new WebSockets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PodState {
    /// It gets its share.
    Healthy,
    /// It gets fewer than its share, and more from moment to moment.
    SlowStart,
    /// It has the most that it takes.
    Full,
    /// It, or Envoy, says that it is to get none.
    Draining,
    /// Its last count is too old.
    Stale,
    /// Envoy's outlier detection has put it aside.
    Ejected,
    /// Too many polls failed, or Envoy's health checks.
    Unhealthy,
    /// It failed too many handshakes, while others did not.
    Failing,
    /// It refused a connection.
    Refusing,
    /// It has not told a count yet.
    Unknown,
    /// A state that this client does not know.
    #[serde(untagged)]
    Other(String),
}

impl Status {
    /// The pods of a service.
    #[must_use]
    pub fn pods(&self, service: &ServiceStatus) -> &[PodStatus] {
        self.pod_metrics
            .get(&service.url)
            .map_or(&[], Vec::as_slice)
    }
}

impl FromStr for Status {
    type Err = serde_json::Error;

    /// Reads the JSON document.
    fn from_str(document: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(document)
    }
}

impl PodState {
    /// Its name in the JSON document.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Healthy => "healthy",
            Self::SlowStart => "slowStart",
            Self::Full => "full",
            Self::Draining => "draining",
            Self::Stale => "stale",
            Self::Ejected => "ejected",
            Self::Unhealthy => "unhealthy",
            Self::Failing => "failing",
            Self::Refusing => "refusing",
            Self::Unknown => "unknown",
            Self::Other(name) => name,
        }
    }
}

/// Where the filter tells its state: an `http://` URL with a host and without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusUrl(Uri);

impl StatusUrl {
    /// Asks for the state once.
    ///
    /// # Errors
    ///
    /// Fails, with the reason in words, where no such document comes within `limit`.
    pub async fn fetch(&self, limit: Duration) -> Result<Status, String> {
        let request = Request::get(self.0.clone())
            .header(header::ACCEPT, "application/json")
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let limits = Limits {
            time: limit,
            size: LONGEST_STATUS_BYTES,
        };
        let document = Fetcher::new().get(request, limits).await?;
        serde_json::from_slice(&document)
            .map_err(|error| format!("no state of a balancer at {}: {error}", self.0.path()))
    }
}

impl FromStr for StatusUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let uri = Uri::from_str(url).map_err(|error| error.to_string())?;
        if uri.scheme_str() != Some("http") {
            return Err("the URL must begin with http://".to_owned());
        }
        match uri.authority() {
            Some(authority) if authority.as_str().contains('@') => {
                Err("the status asks for no credentials".to_owned())
            }
            Some(authority) if !authority.host().is_empty() => Ok(Self(uri)),
            _ => Err("the URL names no host".to_owned()),
        }
    }
}

impl fmt::Display for StatusUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = r#"{
        "agentsConnections": 42, "podName": null, "podIP": "10.0.0.1", "nodeName": null,
        "address": "10.0.0.1:8080", "state": "slowStart", "reason": "started 3 s ago",
        "estimate": 44, "ownConnections": 12, "inFlight": 0, "evenShare": 154.25, "weight": 1.0,
        "maxConnections": null, "priority": 0, "countAge": 1.25, "lastError": null,
        "slowStart": 0.1, "opened": 1000, "closed": 988, "refused": 0, "pollsFailed": 0,
        "rebalanced": 0, "addedLater": true
    }"#;
    const SERVICE: &str = r#"{
        "url": "chat", "connections": 42, "estimate": 44, "ownConnections": 12, "share": 0.33,
        "imbalance": null, "evenShare": 154.25, "podsKnown": 1, "podsUsable": 1,
        "metricPath": "/metric", "refreshInterval": 5.0, "cacheTTL": 30, "poller": "3f09",
        "discovery": {"adminCluster": "envoy_admin", "age": null, "lastError": "status 503"}
    }"#;

    fn read(pod: &str) -> Result<Status, serde_json::Error> {
        let document = format!(
            r#"{{"timestamp": "2026-11-25T00:50:00Z", "services": [{SERVICE}],
                "podMetrics": {{"chat": [{pod}]}}, "totalConnections": 42,
                "agentsConnections": 42}}"#
        );
        document.parse()
    }

    #[test]
    fn the_document_is_read_and_what_is_new_in_it_ignored() {
        let status = read(POD).expect("a status");
        let [service] = status.services.as_slice() else {
            panic!("{status:?}")
        };
        let [pod] = status.pods(service) else {
            panic!("{status:?}")
        };
        assert_eq!((service.imbalance, service.cache_ttl), (None, 30.0));
        assert_eq!((&pod.state, pod.estimate), (&PodState::SlowStart, 44.0));
        assert_eq!(
            (&pod.pod_name, pod.pod_ip.as_deref()),
            (&None, Some("10.0.0.1"))
        );
    }

    #[test]
    fn every_state_has_its_name_and_new_ones_are_told() {
        for name in [
            "healthy",
            "slowStart",
            "full",
            "draining",
            "stale",
            "ejected",
            "unhealthy",
            "failing",
            "refusing",
            "unknown",
            "resting",
        ] {
            let status =
                read(&POD.replace("\"slowStart\", \"reason", &format!("\"{name}\", \"reason")));
            let status = status.expect(name);
            let state = &status.pod_metrics["chat"][0].state;
            assert_eq!(state.name(), name);
            assert_eq!(matches!(state, PodState::Other(_)), name == "resting");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = read(&POD.replace("\"weight\"", "\"mass\"")).expect_err("no weight");
        assert!(
            error.to_string().contains("missing field `weight`"),
            "{error}"
        );
    }

    #[test]
    fn a_url_is_plain_http() {
        for (url, word) in [
            ("https://127.0.0.1/status", "begin with http://"),
            ("127.0.0.1:9902", "begin with http://"),
            ("http://user:secret@127.0.0.1/", "no credentials"),
            ("http://:80/", "names no host"),
            ("http://", "empty"),
        ] {
            let error = url.parse::<StatusUrl>().expect_err(url);
            assert!(error.contains(word), "{url}: {error}");
        }
        let url = "http://[::1]:9902/balancer-metrics";
        assert_eq!(url.parse::<StatusUrl>().expect(url).to_string(), url);
    }
}
