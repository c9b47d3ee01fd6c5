//! A service: one Envoy cluster, its pods, and how their counts are collected.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::headers::PollHeaders;
use super::rules::{BurstPolls, Rebalance, Rules};
use crate::metric::{Metric, NamedMetric};
use crate::origin::AllowedOrigins;
use crate::pod::PodAddress;
use crate::session::Sessions;

/// One Envoy cluster, its pods, and how their counts are collected.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceConfig {
    /// Name of the Envoy cluster.
    pub cluster: String,
    /// Where its pods come from.
    pub pods: PodSource,
    /// Path of the count on each pod.
    pub metric_path: String,
    /// The `host` that polls name; none for the pod's own `ip:port`.
    pub metric_host: Option<String>,
    /// Header fields of polls beside the filter's own.
    pub metric_headers: PollHeaders,
    /// Where the count is in what is there.
    pub metric: Metric,
    /// Where the count is in the pods' answers to handshakes; none where it is not taken from these.
    pub orca: Option<NamedMetric>,
    /// Through which cluster the pods are polled; none for their own.
    pub metric_cluster: Option<MetricCluster>,
    /// How long one answer may take; at most the refresh interval.
    pub metric_timeout: Duration,
    /// By which rules the pods are judged.
    pub rules: Rules,
    /// How often the pods are asked within a burst; none asks them at their time only.
    pub burst_polls: Option<BurstPolls>,
    /// Which WebSockets are closed on pods that hold too many; none leaves them alone.
    pub rebalance: Option<Rebalance>,
    /// Which pages may open WebSockets; none lets all of them.
    pub origins: Option<AllowedOrigins>,
    /// Which requests open a session, and which carry one; none where all begins with a WebSocket.
    pub sessions: Option<Sessions>,
}

/// Another cluster through which pods are polled: its hosts are the same pods.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MetricCluster {
    /// Its name.
    pub name: String,
    /// The port that its hosts have; none for the same as the pods have.
    pub port: Option<u16>,
}

/// Where a service's pods come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PodSource {
    /// The configuration lists them: at least one, all different.
    Endpoints(Vec<PodAddress>),
    /// Envoy's admin interface lists the cluster's hosts.
    Discovery(Discovery),
    /// The cluster is one pod, whatever its host is.
    Cluster,
}

/// How Envoy is asked for the hosts of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Discovery {
    /// Name of an Envoy cluster that reaches Envoy's own admin interface.
    pub admin_cluster: String,
    /// How often it is asked.
    pub interval: Duration,
}

impl ServiceConfig {
    /// The pods that are known from the configuration; none where Envoy lists them.
    #[must_use]
    pub fn endpoints(&self) -> &[PodAddress] {
        match &self.pods {
            PodSource::Endpoints(endpoints) => endpoints,
            PodSource::Discovery(_) => &[],
            PodSource::Cluster => &[PodAddress::CLUSTER],
        }
    }

    /// The pods that the configuration knows; none where Envoy lists them.
    #[must_use]
    pub fn listed_pods(&self) -> Option<&[PodAddress]> {
        self.discovery().is_none().then(|| self.endpoints())
    }

    /// How the pods are found, where the configuration does not list them.
    #[must_use]
    pub const fn discovery(&self) -> Option<&Discovery> {
        match &self.pods {
            PodSource::Endpoints(_) | PodSource::Cluster => None,
            PodSource::Discovery(discovery) => Some(discovery),
        }
    }

    /// A number that differs between configurations of a service that ask for its pods and their
    /// counts in different ways. Not zero.
    ///
    /// Filters with the same number are the same to each other: any of them may ask.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let Self {
            cluster,
            pods,
            metric_path,
            metric_host,
            metric_headers,
            metric,
            orca: _,
            metric_cluster,
            metric_timeout,
            rules:
                Rules {
                    cache_ttl,
                    refresh_interval,
                    unhealthy_threshold,
                    // What is done with the counts makes them no others.
                    counts_connections: _,
                    passive_health: _,
                    counts_sessions: _,
                    slow_start: _,
                },
            burst_polls,
            rebalance: _,
            origins: _,
            sessions: _,
        } = self;
        let source = (cluster, pods, metric_path, metric_host, metric);
        let polls = (metric_headers, metric_cluster);
        let burst_interval = burst_polls.map(|polls| polls.interval);
        let times = (cache_ttl, refresh_interval, metric_timeout, burst_interval);
        // Its keys are fixed: the number is the same in every worker.
        let mut hasher = DefaultHasher::new();
        (source, polls, times, unhealthy_threshold).hash(&mut hasher);
        hasher.finish().max(1)
    }
}

/// For the log.
impl fmt::Display for ServiceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster {}: ", self.cluster)?;
        match &self.pods {
            PodSource::Endpoints(endpoints) => write!(f, "{} pods", endpoints.len()),
            PodSource::Discovery(discovery) => {
                write!(f, "the pods that {} lists", discovery.admin_cluster)
            }
            PodSource::Cluster => f.write_str("a pod"),
        }?;
        let interval = self.rules.refresh_interval;
        write!(f, ", asked for {} every {interval:?}", self.metric_path)
    }
}
