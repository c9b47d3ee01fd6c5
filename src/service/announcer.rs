//! What log and statistics say of a service's pods, each change once.

use std::cell::Cell;

use super::name_cache::NameCache;
use super::statistics::ServiceStatistics;
use crate::config::ServiceConfig;
use crate::host::Statistics;
use crate::load::{PodState, View};
use crate::pod::{Judgment, MembershipChange, PodAddress};
use crate::table::{Effect, StateChange, Table};

/// One service's voice in a worker.
pub struct Announcer {
    cluster: String,
    statistics: ServiceStatistics,
    /// What was last logged of hosts that can't be chosen.
    left_out: Cell<Option<String>>,
}

impl Announcer {
    /// That of the service of `cluster`.
    #[must_use]
    pub fn of(cluster: &str, statistics: ServiceStatistics) -> Self {
        Self {
            cluster: cluster.to_owned(),
            statistics,
            left_out: Cell::default(),
        }
    }

    /// Logs what is wrong with a count.
    fn doubts(
        &self,
        pod: PodAddress,
        connections: u64,
        doubted: Option<Judgment>,
        implausible: Option<bool>,
    ) {
        let cluster = &self.cluster;
        match doubted {
            Some(Judgment::Leap) => log::warn!(
                "cluster {cluster}: pod {pod} reports {connections} WebSockets, more than can have \
                 come since its last count; it is believed if it says so again"
            ),
            Some(Judgment::Late) => log::debug!(
                "cluster {cluster}: pod {pod} reports {connections} WebSockets, a count of before \
                 the last ones were opened on it; it is passed over"
            ),
            Some(Judgment::Same | Judgment::Sound) | None => {}
        }
        match implausible {
            Some(true) => log::warn!(
                "cluster {cluster}: the counts of pod {pod} lack WebSockets that are open on it; \
                 they are not believed (where they are not of connections: countsConnections: false)"
            ),
            Some(false) => {
                log::info!("cluster {cluster}: the counts of pod {pod} are plausible again");
            }
            None => {}
        }
    }

    /// Counts what came of answers, and logs what is news in it.
    pub fn effects(&self, shell: &impl Statistics, names: &NameCache, effects: &[Effect]) {
        let (cluster, statistics) = (&self.cluster, &self.statistics);
        for effect in effects {
            match effect {
                Effect::Counted {
                    pod,
                    connections,
                    expected,
                    recovered,
                    doubted,
                    implausible,
                } => {
                    shell.add(statistics.polls_ok, 1);
                    if *recovered {
                        log::info!("cluster {cluster}: pod {pod} answers polls again");
                    }
                    self.doubts(*pod, *connections, *doubted, *implausible);
                    if log::log_enabled!(log::Level::Debug) {
                        log::debug!(
                            "cluster {cluster}: pod {pod} ({}) reports {connections} WebSockets, \
                             {expected:.0} were expected",
                            names.printable(*pod),
                        );
                    }
                }
                Effect::PollFailed {
                    pod,
                    failure,
                    is_news,
                } => {
                    shell.add(statistics.polls_failed, 1);
                    if *is_news {
                        log::warn!("cluster {cluster}: the poll of pod {pod} failed: {failure}");
                    }
                }
                Effect::Complained { pod, complaint } => {
                    self.complaint(*pod, &complaint.to_string());
                }
                Effect::PollIgnored => shell.add(statistics.polls_ignored, 1),
                Effect::Listed { change, recovered } => {
                    shell.add(statistics.discovery_ok, 1);
                    if *recovered {
                        log::info!("cluster {cluster}: its pods can be found again");
                    }
                    self.membership(*change);
                }
                Effect::DiscoveryFailed { failure, is_news } => {
                    shell.add(statistics.discovery_failed, 1);
                    if *is_news {
                        log::warn!(
                            "cluster {cluster}: its pods can't be found, the last known stay: \
                             {failure}"
                        );
                    }
                }
            }
        }
    }

    fn membership(&self, change: MembershipChange) {
        let MembershipChange {
            pods,
            added,
            removed,
        } = change;
        if added > 0 || removed > 0 {
            log::info!(
                "cluster {}: has {pods} pods, {added} of them new; {removed} are gone",
                self.cluster
            );
        }
    }

    /// Logs which hosts can't be chosen, if they are others than the last time.
    pub fn left_out(&self, left_out: Option<&str>) {
        let before = self.left_out.take();
        if let Some(left_out) = left_out.filter(|_| before.as_deref() != left_out) {
            log::warn!("cluster {}: {left_out}", self.cluster);
        }
        self.left_out.set(left_out.map(str::to_owned));
    }

    /// Logs what is wrong with a pod's answer though it has a count.
    pub fn complaint(&self, pod: PodAddress, complaint: &str) {
        let cluster = &self.cluster;
        log::warn!("cluster {cluster}: the answer of pod {pod} has a mistake: {complaint}");
    }

    /// Logs that a configuration is the current one, after another.
    pub fn is_current(&self, config: &ServiceConfig) {
        let ServiceConfig {
            metric_path, rules, ..
        } = config;
        log::info!(
            "cluster {}: this configuration is current now: its pods are asked for {metric_path} \
             every {:?}",
            self.cluster,
            rules.refresh_interval
        );
    }

    /// Counts and logs workers that have given no sign of life for long.
    pub fn lost_workers(&self, shell: &impl Statistics, workers: usize) {
        let lost = u32::try_from(workers).unwrap_or(u32::MAX);
        shell.add(self.statistics.workers_lost, lost);
        log::warn!(
            "cluster {}: no sign of life from workers that shared its pods, {workers} in number: \
             what they had open is counted no more",
            self.cluster
        );
    }

    /// Logs that a worker which was taken for lost has given a sign of life.
    pub fn returned_worker(&self) {
        log::info!(
            "cluster {}: a worker has come back that gave no sign of life: what it has open is \
             counted again",
            self.cluster
        );
    }

    /// Logs changes of state.
    pub fn state_changes(&self, changes: &[StateChange]) {
        for change in changes {
            self.state_change(change);
        }
    }

    fn state_change(&self, change: &StateChange) {
        let cluster = &self.cluster;
        let StateChange {
            pod,
            state,
            reason,
            estimate,
        } = change;
        match state {
            PodState::Usable => {
                log::info!("cluster {cluster}: pod {pod} is up with {estimate:.0} WebSockets");
            }
            PodState::Unknown => log::info!("cluster {cluster}: pod {pod} is new: {reason}"),
            PodState::Draining => {
                log::info!("cluster {cluster}: pod {pod} drains, with {estimate:.0} WebSockets");
            }
            PodState::Full => log::warn!("cluster {cluster}: pod {pod} is full: {reason}"),
            PodState::Refusing
            | PodState::Failing
            | PodState::Unhealthy
            | PodState::Stale
            | PodState::Excluded(_) => {
                log::warn!("cluster {cluster}: pod {pod} is down: {reason}");
            }
        }
    }

    /// Sets the gauges.
    pub fn gauges(&self, shell: &impl Statistics, table: &Table, view: &View) {
        let pods = table.pods();
        let usable = pods
            .iter()
            .filter(|pod| view.state(pod) == PodState::Usable);
        shell.set(self.statistics.pods_usable, usable.count() as u64);
        shell.set(self.statistics.pods_known, pods.len() as u64);
    }
}
