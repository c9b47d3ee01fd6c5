//! Everything that is known at a moment, as it is shown. The fields that the Traefik plugin shows
//! have their names from there: `timestamp`, `services` with `url` and `connections`, `podMetrics`
//! with the pods' own fields, `totalConnections` and `agentsConnections`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::registry::{self, Entry};
use crate::clock::Timestamp;
use crate::host::SharedData;
use crate::load::{EvenShare, PodState, View};
use crate::num::rounded;
use crate::pod::{DiscoveryFailure, Exclusion, PodRecord, PollState};
use crate::service::{Directory, PodNames, names_in};
use crate::table::Table;

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
    /// See [`EvenShare::imbalance`].
    pub(super) imbalance: Option<f64>,
    /// See [`EvenShare::level`].
    even_share: f64,
    pub(super) pods_known: usize,
    pub(super) pods_usable: usize,
    metric_path: String,
    refresh_interval: f64,
    #[serde(rename = "cacheTTL")]
    cache_ttl: f64,
    /// The worker that polls.
    poller: String,
    /// For how long no filter has told of the service; none while one does.
    pub(super) silent_for: Option<f64>,
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
    pub(super) names: PodNames,
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
    pub(super) failed: u32,
    pub(super) cut: u32,
    pub(super) polls_failed: u32,
    pub(super) rebalanced: u32,
    pub(super) implausible: bool,
}

/// A [`PodState`] as it is shown.
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
    Failing,
    Refusing,
    Unknown,
}

impl State {
    pub(super) const ALL: [Self; 10] = [
        Self::Healthy,
        Self::SlowStart,
        Self::Full,
        Self::Draining,
        Self::Stale,
        Self::Ejected,
        Self::Unhealthy,
        Self::Failing,
        Self::Refusing,
        Self::Unknown,
    ];

    fn of(view: &View, pod: &PodRecord) -> Self {
        match view.state(pod) {
            PodState::Usable if view.slow_start(pod).is_some() => Self::SlowStart,
            PodState::Usable => Self::Healthy,
            PodState::Full => Self::Full,
            PodState::Draining | PodState::Excluded(Exclusion::Draining | Exclusion::Leaving) => {
                Self::Draining
            }
            PodState::Stale => Self::Stale,
            PodState::Excluded(Exclusion::Ejected) => Self::Ejected,
            PodState::Unhealthy
            | PodState::Excluded(
                Exclusion::Unhealthy | Exclusion::TimedOut | Exclusion::FailedHealthCheck,
            ) => Self::Unhealthy,
            PodState::Failing => Self::Failing,
            PodState::Refusing => Self::Refusing,
            PodState::Unknown => Self::Unknown,
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
            Self::Failing => "failing",
            Self::Refusing => "refusing",
            Self::Unknown => "unknown",
        }
    }
}

impl Snapshot {
    /// What is known at `now`.
    pub(super) fn take(shared: &impl SharedData, now: Timestamp, date: SystemTime) -> Self {
        let mut services = Vec::new();
        let mut pod_metrics = BTreeMap::new();
        for (entry, table) in registry::services(shared, now) {
            let view = table.view(&entry.rules, now);
            let share = EvenShare::of(&view, table.pods(), table.missing());
            let names = names_in(shared, &entry.table_key);
            let mut pods: Vec<PodSnapshot> = table
                .pods()
                .iter()
                .map(|pod| PodSnapshot::of(&view, &share, pod, &names))
                .collect();
            let silent_for = entry.silent_for(&table, now);
            if silent_for.is_some() {
                pods.iter_mut().for_each(PodSnapshot::silence);
            }
            let service = ServiceSnapshot::of(&entry, &table, &view, &share, &pods);
            services.push(match silent_for {
                Some(silent_for) => service.silenced(silent_for),
                None => service,
            });
            pod_metrics.insert(entry.cluster, pods);
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

impl ServiceSnapshot {
    fn of(
        entry: &Entry,
        table: &Table,
        view: &View,
        share: &EvenShare,
        pods: &[PodSnapshot],
    ) -> Self {
        let sum = |of: fn(&PodSnapshot) -> u64| pods.iter().map(of).fold(0, u64::saturating_add);
        let poller = table.poller();
        let discovery = entry.discovery.as_ref().map(|discovery| {
            let state = table.discovery();
            let failure = DiscoveryFailure::from_code(state.failure());
            DiscoverySnapshot {
                admin_cluster: discovery.admin_cluster.clone(),
                age: age(view, &state),
                last_error: failure.map(|failure| failure.to_string()),
            }
        });
        Self {
            url: entry.cluster.clone(),
            connections: sum(|pod| pod.agents_connections),
            estimate: sum(|pod| pod.estimate),
            own_connections: sum(|pod| pod.own_connections.into()),
            share: 1.0 / view.ratio,
            imbalance: share.imbalance(),
            even_share: share.level(),
            pods_known: pods.len(),
            pods_usable: pods.iter().filter(|pod| pod.state.is_usable()).count(),
            metric_path: entry.metric_path.clone(),
            refresh_interval: entry.rules.refresh_interval.as_secs_f64(),
            cache_ttl: entry.rules.cache_ttl.as_secs_f64(),
            poller: if poller == 0 {
                String::new()
            } else {
                format!("{poller:016x}")
            },
            silent_for: None,
            discovery,
        }
    }

    /// Of a service that no filter tells of nothing is known but what was.
    fn silenced(self, silent_for: Duration) -> Self {
        Self {
            imbalance: None,
            silent_for: Some(silent_for.as_secs_f64()),
            ..self
        }
    }
}

impl PodSnapshot {
    fn of(view: &View, share: &EvenShare, pod: &PodRecord, names: &Directory) -> Self {
        let address = pod.address().to_string();
        Self {
            agents_connections: pod.connections(),
            names: with_complaint(names.get(&address).cloned().unwrap_or_default(), pod),
            address,
            state: State::of(view, pod),
            reason: view.reason(pod),
            estimate: rounded(view.estimate(pod)),
            own_connections: pod.own_connections(),
            in_flight: pod.in_flight(),
            even_share: share.of_pod(pod),
            weight: pod.weight(),
            max_connections: pod.limit(),
            priority: pod.priority().level(),
            count_age: age(view, pod.poll()),
            last_error: pod.last_failure().map(|failure| failure.to_string()),
            slow_start: view.slow_start(pod),
            opened: pod.opened(),
            closed: pod.closed(),
            refused: pod.refusals(),
            failed: pod.failed(),
            cut: pod.cut(),
            polls_failed: pod.polls_failed(),
            rebalanced: pod.rebalanced(),
            implausible: pod.is_implausible(),
        }
    }

    /// See [`ServiceSnapshot::silenced`].
    fn silence(&mut self) {
        self.state = State::Stale;
        "no filter tells of its service any more".clone_into(&mut self.reason);
        self.slow_start = None;
    }
}

/// The names, with what is wrong with the pod's last answer to a handshake beside what is wrong with
/// its last answer to a poll.
fn with_complaint(names: PodNames, pod: &PodRecord) -> PodNames {
    let of_load_report = pod.load_report_complaint().map(|told| told.to_string());
    let complaints: Vec<String> = names.complaint.into_iter().chain(of_load_report).collect();
    PodNames {
        complaint: (!complaints.is_empty()).then(|| complaints.join("; ")),
        ..names
    }
}

/// How long ago the last good answer was asked for; none where there was none.
fn age(view: &View, state: &PollState) -> Option<f64> {
    let succeeded_at = state.succeeded_at();
    let age: Duration = view.now.since(succeeded_at);
    succeeded_at.happened().then_some(age.as_secs_f64())
}
