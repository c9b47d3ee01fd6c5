//! Everything that is known at a moment, as it is shown. The fields that the Traefik plugin shows
//! have their names from there: `timestamp`, `services` with `url` and `connections`, `podMetrics`
//! with the pods' own fields, `totalConnections` and `agentsConnections`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::registry::{self, Entry};
use super::state::State;
use super::verdict::{Case, Gravity, PodCase, Verdict};
use crate::clock::Timestamp;
use crate::host::{SharedData, Statistics};
use crate::load::{EvenShare, View};
use crate::num::rounded;
use crate::pod::{DiscoveryFailure, PodRecord, PollState};
use crate::service::{Directory, PodNames, ServiceCounts, ServiceStatistics, names_in};
use crate::table::{Roll, Table, lease, roll_key};
use crate::warning::{self, Warning};

/// All services.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Snapshot {
    /// The date (RFC 3339).
    timestamp: String,
    /// What the gateway is called; none where nobody has named it.
    gateway: Option<String>,
    pub(super) services: Vec<ServiceSnapshot>,
    /// The pods by their service.
    pub(super) pod_metrics: BTreeMap<String, Vec<PodSnapshot>>,
    total_connections: u64,
    agents_connections: u64,
    /// What holds for the whole gateway.
    pub(super) warnings: Vec<Warning>,
}

/// One service. Spans are in seconds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceSnapshot {
    /// The cluster.
    pub(super) url: String,
    verdict: Verdict,
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
    /// Workers of Envoy's that share the pods and have given a sign of life lately.
    pub(super) workers: usize,
    pub(super) discovery: Option<DiscoverySnapshot>,
    pub(super) statistics: ServiceCounts,
    pub(super) warnings: Vec<Warning>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DiscoverySnapshot {
    admin_cluster: String,
    /// How old the list is.
    pub(super) age: Option<f64>,
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
    /// The estimate in proportion to the even share; none where the pod takes no part in the
    /// balance, and where nothing is open.
    load: Option<f64>,
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

impl Snapshot {
    /// What is known at `now` in this gateway.
    pub(super) fn take(
        host: &(impl SharedData + Statistics),
        gateway: Option<String>,
        now: Timestamp,
        date: SystemTime,
    ) -> Self {
        let mut services = Vec::new();
        let mut pod_metrics = BTreeMap::new();
        for (entry, table) in registry::services(host, now) {
            let view = table.view(&entry.rules, now);
            let share = EvenShare::of(&view, table.pods(), table.missing());
            let names = names_in(host, &entry.table_key);
            let mut pods: Vec<PodSnapshot> = table
                .pods()
                .iter()
                .map(|pod| PodSnapshot::of(&view, &share, pod, &names))
                .collect();
            let silent_for = entry.silent_for(&table, now);
            if silent_for.is_some() {
                pods.iter_mut().for_each(PodSnapshot::silence);
            }
            let silent_for = silent_for.map(|span| span.as_secs_f64());
            let warnings = warning::Key::of(&entry.table_key).read(host).warnings;
            let service = ServiceSnapshot {
                workers: workers(host, &entry, now),
                statistics: ServiceStatistics::define(host, &entry.cluster).counts(host),
                ..ServiceSnapshot::of(&entry, &table, &view, &share, &pods, silent_for, warnings)
            };
            services.push(service);
            pod_metrics.insert(entry.cluster, pods);
        }
        let total = services.iter().map(|service| service.connections);
        let total = total.fold(0, u64::saturating_add);
        Self {
            timestamp: humantime::format_rfc3339_seconds(date).to_string(),
            gateway,
            services,
            pod_metrics,
            total_connections: total,
            agents_connections: total,
            warnings: warning::Key::of_gateway().read(host).warnings,
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
        silent_for: Option<f64>,
        warnings: Vec<Warning>,
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
            verdict: verdict(pods, discovery.as_ref(), silent_for, &warnings),
            connections: sum(|pod| pod.agents_connections),
            estimate: sum(|pod| pod.estimate),
            own_connections: sum(|pod| pod.own_connections.into()),
            share: 1.0 / view.ratio,
            // Of a service that no filter tells of nothing is known but what was.
            imbalance: share.imbalance().filter(|_| silent_for.is_none()),
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
            silent_for,
            workers: 0,
            discovery,
            statistics: ServiceCounts::default(),
            warnings,
        }
    }
}

/// The verdict on what is shown of a service.
fn verdict(
    pods: &[PodSnapshot],
    discovery: Option<&DiscoverySnapshot>,
    silent_for: Option<f64>,
    warnings: &[Warning],
) -> Verdict {
    Verdict::of(&Case {
        silent_for,
        awaits_list: discovery.is_some_and(|discovery| discovery.age.is_none()),
        discovery_error: discovery.and_then(|discovery| discovery.last_error.as_deref()),
        warnings: warnings.iter().map(grave).collect(),
        pods: pods.iter().map(PodSnapshot::case).collect(),
    })
}

/// How bad it is, and what it says.
fn grave(warning: &Warning) -> (Gravity, &str) {
    let gravity = if warning.kind.is_outage() {
        Gravity::Critical
    } else {
        Gravity::Warning
    };
    (gravity, &warning.message)
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
            load: share.load(view, pod),
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

    /// What the verdict has to know of it.
    fn case(&self) -> PodCase<'_> {
        PodCase {
            name: self.names.pod_name.as_deref(),
            address: &self.address,
            state: self.state,
            reason: &self.reason,
            last_error: self.last_error.as_deref(),
            even_share: self.even_share,
            load: self.load,
            implausible: self.implausible,
            complaint: self.names.complaint.as_deref(),
        }
    }

    /// Of a service that no filter tells of nothing is known but what was.
    fn silence(&mut self) {
        self.state = State::Stale;
        "no filter tells of its service any more".clone_into(&mut self.reason);
        self.slow_start = None;
        self.load = None;
    }
}

/// How many workers share the pods of a service, by their signs of life.
fn workers(shared: &impl SharedData, entry: &Entry, now: Timestamp) -> usize {
    let roll = shared.read(&roll_key(&entry.table_key));
    let roll = roll.map(|(bytes, _)| Roll::from_bytes(&bytes));
    let lease = lease(entry.rules.refresh_interval);
    roll.map_or(0, |roll| roll.present(now, lease))
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
