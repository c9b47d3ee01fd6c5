//! The question which pods there are, where Envoy is to tell.

use std::time::Duration;

use super::Pace;
use crate::balancer::{Balancer, ServiceState};
use crate::clock::Timestamp;
use crate::discovery::{self, Listing, ListingFailure};
use crate::host::{CallToken, Host, NotSent};
use crate::table::Table;

/// How soon Envoy is asked again while it has not told any pods yet: at its start it may not know
/// the cluster.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);

/// None where the configuration lists the pods.
pub(super) fn pace(service: &ServiceState) -> Option<Pace> {
    let interval = service.config.discovery()?.interval;
    Some(Pace {
        interval,
        timeout: service.config.metric_timeout.min(interval),
    })
}

/// Whether the question is due; then it is taken.
pub(super) fn claim(table: &mut Table, service: &ServiceState, now: Timestamp) -> bool {
    let (Some(pace), Some(listing)) = (pace(service), table.listing_mut()) else {
        return false;
    };
    if !listing.is_called_for(now, Duration::ZERO, pace.patience()) {
        return false;
    }
    let next = if listing.succeeded_at().happened() {
        pace.next(listing.due_at(), now)
    } else {
        now.plus(pace.interval.min(FIRST_INTERVAL))
    };
    listing.ask(now, next);
    true
}

pub(super) fn ask<H: Host>(
    balancer: &Balancer<H>,
    service: &ServiceState,
) -> Result<CallToken, NotSent> {
    let discovery = service.config.discovery().ok_or(NotSent)?;
    balancer.host.call(
        &discovery.admin_cluster,
        &discovery::path(&service.config.cluster),
        None,
        service.config.metric_timeout.min(discovery.interval),
    )
}

/// Makes the listed pods the table's, or leaves them alone where there is no list. The log is told
/// what has changed.
pub(super) fn settle<H: Host>(
    balancer: &Balancer<H>,
    service: &ServiceState,
    asked_at: Timestamp,
    listing: Result<Listing, ListingFailure>,
) {
    let failure = listing.as_ref().err().map(|failure| failure.code());
    let settled = service.store.update(&balancer.host, |table| {
        let errand = table
            .listing_mut()
            .filter(|errand| errand.awaits(asked_at))?;
        let last_failure = errand.failure();
        errand.settle(asked_at, failure);
        let turnover = listing
            .as_ref()
            .ok()
            .map(|listing| table.assign(&listing.pods));
        Some((last_failure, turnover))
    });
    // A list that comes late, or under contention, is dropped: the next is as good.
    let Ok(Some((last_failure, turnover))) = settled else {
        return;
    };
    let (host, metrics) = (&balancer.host, &service.metrics);
    let cluster = &service.config.cluster;
    match (listing, turnover) {
        (Err(failure), _) => {
            host.add(metrics.discovery_failed, 1);
            if last_failure != failure.code() {
                log::warn!(
                    "cluster {cluster}: its pods can't be found, the last known stay: {failure}"
                );
            }
        }
        (Ok(listing), turnover) => {
            host.add(metrics.discovery_ok, 1);
            if last_failure != 0 {
                log::info!("cluster {cluster}: its pods can be found again");
            }
            if let Some(turnover) =
                turnover.filter(|turnover| turnover.new > 0 || turnover.gone > 0)
            {
                log::info!(
                    "cluster {cluster}: has {} pods, {} of them new; {} are gone",
                    listing.pods.len(),
                    turnover.new,
                    turnover.gone
                );
            }
        }
    }
}
