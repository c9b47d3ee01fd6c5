//! What the log and the statistics say of the pods' standing, each change once.

use crate::balancer::{Balancer, ServiceState};
use crate::clock::Timestamp;
use crate::host::Host;
use crate::table::{Pod, Standing, Table};

/// A pod whose standing has changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pod: Pod,
    standing: Standing,
}

/// Whether there is a change that the log was not told.
pub(super) fn is_untold(table: &Table, service: &ServiceState, now: Timestamp) -> bool {
    table.pods().iter().any(|pod| {
        let mut told = *pod;
        told.announce(pod.standing(service.trust(), now))
    })
}

/// The changes that the log was not told; afterwards it has.
pub(super) fn announce(table: &mut Table, service: &ServiceState, now: Timestamp) -> Vec<Change> {
    let mut changes = Vec::new();
    for pod in table.pods_mut() {
        let standing = pod.standing(service.trust(), now);
        if pod.announce(standing) {
            changes.push(Change {
                pod: *pod,
                standing,
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
                "cluster {cluster}: pod {pod} is up with {} WebSockets",
                self.pod.estimate()
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
    let usable = pods
        .iter()
        .filter(|pod| pod.standing(service.trust(), now) == Standing::Usable);
    let host = &balancer.host;
    host.set(service.metrics.pods_usable, usable.count() as u64);
    host.set(service.metrics.pods_known, pods.len() as u64);
}
