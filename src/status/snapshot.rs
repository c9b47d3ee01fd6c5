//! Everything that is known at a moment, as it is shown. The fields that the Traefik plugin shows
//! have their names from there: `timestamp`, `services` with `url` and `connections`, `podMetrics`
//! with the pods' own fields, `totalConnections` and `agentsConnections`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::clock::Timestamp;
use crate::config::Service;
use crate::discovery::{Exclusion, ListingFailure};
use crate::errand::Errand;
use crate::fleet::approximate;
use crate::host::SharedData;
use crate::names::{self, Names};
use crate::registry;
use crate::standing::{Outlook, Standing};
use crate::table::{Pod, Table};

/// All services.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Snapshot {
    /// The date (RFC 3339).
    timestamp: String,
    pub(super) services: Vec<ServiceSnapshot>,
    /// The pods by their service.
    pub(super) pod_metrics: BTreeMap<String, Vec<PodSnapshot>>,
    total_connections: u64,
    agents_connections: u64,
}

/// One service. Spans are in seconds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceSnapshot {
    /// The cluster.
    pub(super) url: String,
    /// What the pods report, added up.
    pub(super) connections: u64,
    pub(super) estimate: u64,
    pub(super) own_connections: u64,
    /// This gateway's part of the fleet's new WebSockets.
    pub(super) share: f64,
    /// The largest load to the mean; none where nothing is open.
    pub(super) imbalance: Option<f64>,
    /// The mean.
    even_share: f64,
    pub(super) pods_known: usize,
    pub(super) pods_usable: usize,
    metric_path: String,
    refresh_interval: f64,
    #[serde(rename = "cacheTTL")]
    cache_ttl: f64,
    /// The worker that polls.
    poller: String,
    discovery: Option<DiscoverySnapshot>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DiscoverySnapshot {
    admin_cluster: String,
    /// How old the list is.
    age: Option<f64>,
    last_error: Option<String>,
}

/// One pod. Spans are in seconds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodSnapshot {
    pub(super) agents_connections: u64,
    #[serde(flatten)]
    pub(super) names: Names,
    pub(super) address: String,
    pub(super) state: State,
    reason: String,
    pub(super) estimate: u64,
    pub(super) own_connections: u32,
    in_flight: u32,
    pub(super) even_share: f64,
    pub(super) weight: f64,
    pub(super) max_connections: Option<u64>,
    priority: u16,
    pub(super) count_age: Option<f64>,
    last_error: Option<String>,
    slow_start: Option<f64>,
    pub(super) opened: u32,
    pub(super) closed: u32,
    pub(super) refused: u32,
    pub(super) polls_failed: u32,
    pub(super) rebalanced: u32,
}

/// A [`Standing`] as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum State {
    Healthy,
    SlowStart,
    Full,
    Draining,
    Stale,
    Ejected,
    Unhealthy,
    Refusing,
    Unknown,
}

impl State {
    pub(super) const ALL: [Self; 9] = [
        Self::Healthy,
        Self::SlowStart,
        Self::Full,
        Self::Draining,
        Self::Stale,
        Self::Ejected,
        Self::Unhealthy,
        Self::Refusing,
        Self::Unknown,
    ];

    fn of(outlook: &Outlook, pod: &Pod) -> Self {
        match outlook.standing(pod) {
            Standing::Usable if outlook.slow_start(pod).is_some() => Self::SlowStart,
            Standing::Usable => Self::Healthy,
            Standing::Full => Self::Full,
            Standing::Draining | Standing::Excluded(Exclusion::Draining | Exclusion::Leaving) => {
                Self::Draining
            }
            Standing::Stale => Self::Stale,
            Standing::Excluded(Exclusion::Ejected) => Self::Ejected,
            Standing::Unhealthy
            | Standing::Excluded(
                Exclusion::Unhealthy | Exclusion::TimedOut | Exclusion::FailedHealthCheck,
            ) => Self::Unhealthy,
            Standing::Refusing => Self::Refusing,
            Standing::Unknown => Self::Unknown,
        }
    }

    /// Whether the pod gets new WebSockets.
    pub(super) const fn is_usable(self) -> bool {
        matches!(self, Self::Healthy | Self::SlowStart)
    }

    /// As in the JSON.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::SlowStart => "slowStart",
            Self::Full => "full",
            Self::Draining => "draining",
            Self::Stale => "stale",
            Self::Ejected => "ejected",
            Self::Unhealthy => "unhealthy",
            Self::Refusing => "refusing",
            Self::Unknown => "unknown",
        }
    }
}

impl Snapshot {
    /// What is known at `now`.
    pub(super) fn take(host: &impl SharedData, now: Timestamp, date: SystemTime) -> Self {
        let mut services = Vec::new();
        let mut pod_metrics = BTreeMap::new();
        for (service, store, table) in registry::services(host, now) {
            let outlook = table.outlook(service.rules(), now);
            let balance = Balance::of(&outlook, table.pods());
            let names = names::read(host, &store);
            let pods: Vec<PodSnapshot> = table
                .pods()
                .iter()
                .map(|pod| PodSnapshot::of(&outlook, &balance, pod, &names))
                .collect();
            services.push(ServiceSnapshot::of(
                &service, &table, &outlook, &balance, &pods,
            ));
            pod_metrics.insert(service.cluster, pods);
        }
        let total = services.iter().map(|service| service.connections);
        let total = total.fold(0, u64::saturating_add);
        Self {
            timestamp: humantime::format_rfc3339_seconds(date).to_string(),
            services,
            pod_metrics,
            total_connections: total,
            agents_connections: total,
        }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        // There is nothing in it that JSON has no form for.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What the pods that take part hold for each unit of weight.
struct Balance {
    mean: f64,
    largest: f64,
}

impl Balance {
    fn of(outlook: &Outlook, pods: &[Pod]) -> Self {
        let taking_part = || {
            let pods = pods.iter();
            pods.filter(|pod| outlook.standing(pod).takes_part())
        };
        // Later tiers only stand in.
        let tier = taking_part().map(Pod::tier).min();
        let pods = || taking_part().filter(|pod| Some(pod.tier()) == tier);
        let count = |pod: &Pod| approximate(pod.count());
        let weights: f64 = pods().map(Pod::weight).sum();
        let held: f64 = pods().map(count).sum();
        Self {
            mean: if weights > 0.0 { held / weights } else { 0.0 },
            largest: pods()
                .map(|pod| count(pod) / pod.weight())
                .fold(0.0, f64::max),
        }
    }

    fn imbalance(&self) -> Option<f64> {
        (self.mean > 0.0).then_some(self.largest / self.mean)
    }
}

impl ServiceSnapshot {
    fn of(
        config: &Service,
        table: &Table,
        outlook: &Outlook,
        balance: &Balance,
        pods: &[PodSnapshot],
    ) -> Self {
        let sum = |of: fn(&PodSnapshot) -> u64| pods.iter().map(of).fold(0, u64::saturating_add);
        let poller = table.poller();
        let discovery = config.discovery().map(|discovery| {
            let listing = table.listing();
            let failure = ListingFailure::from_code(listing.failure());
            DiscoverySnapshot {
                admin_cluster: discovery.admin_cluster.clone(),
                age: age(outlook, &listing),
                last_error: failure.map(|failure| failure.to_string()),
            }
        });
        Self {
            url: config.cluster.clone(),
            connections: sum(|pod| pod.agents_connections),
            estimate: sum(|pod| pod.estimate),
            own_connections: sum(|pod| pod.own_connections.into()),
            share: 1.0 / outlook.ratio,
            imbalance: balance.imbalance(),
            even_share: balance.mean,
            pods_known: pods.len(),
            pods_usable: pods.iter().filter(|pod| pod.state.is_usable()).count(),
            metric_path: config.metric_path.clone(),
            refresh_interval: config.refresh_interval.as_secs_f64(),
            cache_ttl: config.cache_ttl.as_secs_f64(),
            poller: if poller == 0 {
                String::new()
            } else {
                format!("{poller:016x}")
            },
            discovery,
        }
    }
}

impl PodSnapshot {
    fn of(outlook: &Outlook, balance: &Balance, pod: &Pod, names: &names::Directory) -> Self {
        let address = pod.address().to_string();
        Self {
            agents_connections: pod.count(),
            names: names.get(&address).cloned().unwrap_or_default(),
            address,
            state: State::of(outlook, pod),
            reason: outlook.reason(pod),
            estimate: rounded(outlook.estimate(pod)),
            own_connections: pod.own(),
            in_flight: pod.in_flight(),
            even_share: balance.mean * pod.weight(),
            weight: pod.weight(),
            max_connections: pod.limit(),
            // Of the two tiers of a priority the second is for its degraded hosts.
            priority: pod.tier() / 2,
            count_age: age(outlook, pod.poll()),
            last_error: pod.last_failure().map(|failure| failure.to_string()),
            slow_start: outlook.slow_start(pod),
            opened: pod.opened(),
            closed: pod.closed(),
            refused: pod.refusals(),
            polls_failed: pod.polls_failed(),
            rebalanced: pod.relieved(),
        }
    }
}

/// How long ago the last good answer was asked for; none where there was none.
fn age(outlook: &Outlook, errand: &Errand) -> Option<f64> {
    let succeeded_at = errand.succeeded_at();
    let age: Duration = outlook.now.since(succeeded_at);
    succeeded_at.happened().then_some(age.as_secs_f64())
}

fn rounded(estimate: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is not negative, and the cast saturates"
    )]
    let rounded = estimate.round() as u64;
    rounded
}
