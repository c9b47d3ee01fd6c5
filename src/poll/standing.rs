//! What the log and the statistics say of the pods' standing, each change once.

use crate::balancer::{Balancer, ServiceState};
use crate::clock::Timestamp;
use crate::host::Host;
use crate::pod::PodAddress;
use crate::standing::Standing;
use crate::table::Table;

/// A pod whose standing has changed.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pod: PodAddress,
    standing: Standing,
    estimate: f64,
    reason: String,
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
                pod: pod.address(),
                standing,
                estimate: outlook.estimate(pod),
                reason: outlook.reason(pod),
            });
        }
    }
    changes
}

impl Change {
    pub(super) fn tell(&self, cluster: &str) {
        let Self {
            pod,
            standing,
            estimate,
            reason,
        } = self;
        match standing {
            Standing::Usable => {
                log::info!("cluster {cluster}: pod {pod} is up with {estimate:.0} WebSockets");
            }
            Standing::Unknown => log::info!("cluster {cluster}: pod {pod} is new: {reason}"),
            Standing::Draining => {
                log::info!("cluster {cluster}: pod {pod} drains, with {estimate:.0} WebSockets");
            }
            Standing::Full => log::warn!("cluster {cluster}: pod {pod} is full: {reason}"),
            Standing::Refusing | Standing::Unhealthy | Standing::Stale | Standing::Excluded(_) => {
                log::warn!("cluster {cluster}: pod {pod} is down: {reason}");
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
