//! What the log and the statistics say of the pods' standing, each change once.

use crate::balancer::{Balancer, ServiceState};
use crate::clock::Timestamp;
use crate::host::Host;
use crate::standing::Standing;
use crate::table::{Pod, Table};

/// A pod whose standing has changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pod: Pod,
    standing: Standing,
    estimate: f64,
}

/// Whether there is a change that the log was not told.
pub(super) fn is_untold(table: &Table, service: &ServiceState, now: Timestamp) -> bool {
    let outlook = service.outlook(table, now);
    table.pods().iter().any(|pod| {
        let mut told = *pod;
        told.announce(outlook.standing(pod).code())
    })
}

/// The changes that the log was not told; afterwards it has.
pub(super) fn announce(table: &mut Table, service: &ServiceState, now: Timestamp) -> Vec<Change> {
    let outlook = service.outlook(table, now);
    let mut changes = Vec::new();
    for pod in table.pods_mut() {
        let standing = outlook.standing(pod);
        if pod.announce(standing.code()) {
            changes.push(Change {
                pod: *pod,
                standing,
                estimate: outlook.estimate(pod),
            });
        }
    }
    changes
}

impl Change {
    pub(super) fn tell(&self, cluster: &str) {
        let pod = self.pod.address();
        match self.standing {
            Standing::Usable => log::info!(
                "cluster {cluster}: pod {pod} is up with {:.0} WebSockets",
                self.estimate
            ),
            Standing::Unknown => {
                log::info!("cluster {cluster}: pod {pod} has yet to answer its first poll");
            }
            Standing::Refusing => log::warn!(
                "cluster {cluster}: pod {pod} is down: it refused a connection; \
                 it is left out until it answers a poll"
            ),
            Standing::Unhealthy => log::warn!(
                "cluster {cluster}: pod {pod} is down: {} polls failed in a row",
                self.pod.poll().failures_in_a_row()
            ),
            Standing::Stale => log::warn!(
                "cluster {cluster}: pod {pod} is down: its last count is older than cacheTTL"
            ),
            Standing::Draining => log::info!(
                "cluster {cluster}: pod {pod} drains, with {:.0} WebSockets",
                self.estimate
            ),
            Standing::Full => log::warn!(
                "cluster {cluster}: pod {pod} is full with {:.0} WebSockets",
                self.estimate
            ),
            Standing::Excluded(exclusion) => {
                log::warn!("cluster {cluster}: pod {pod} is down: {exclusion}");
            }
        }
    }
}

/// Sets the gauges.
pub(super) fn show<H: Host>(
    balancer: &Balancer<H>,
    service: &ServiceState,
    table: &Table,
    now: Timestamp,
) {
    let pods = table.pods();
    let outlook = service.outlook(table, now);
    let usable = pods
        .iter()
        .filter(|pod| outlook.standing(pod) == Standing::Usable);
    let host = &balancer.host;
    host.set(service.metrics.pods_usable, usable.count() as u64);
    host.set(service.metrics.pods_known, pods.len() as u64);
}
