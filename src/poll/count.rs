//! The question how many WebSockets a pod has.

use super::Pace;
use crate::balancer::{Balancer, ServiceState};
use crate::clock::{Timestamp, part};
use crate::host::{CallToken, Host, NotSent};
use crate::pod::{PodAddress, PodReport, PollFailure};
use crate::table::{Event, Table};

pub(super) const fn pace(service: &ServiceState) -> Pace {
    Pace {
        interval: service.config.refresh_interval,
        timeout: service.config.metric_timeout,
    }
}

/// Takes the pods that are due. The first time their next times are set such that the pods come to
/// be spread over the interval, so that many pods are no burst.
pub(super) fn claim(table: &mut Table, service: &ServiceState, now: Timestamp) -> Vec<PodAddress> {
    let pace = pace(service);
    let pods = table.pods_mut();
    let share = part(pace.interval, u32::try_from(pods.len()).unwrap_or(u32::MAX));
    let mut asked = Vec::new();
    for (pod, place) in pods.iter_mut().zip(1_u32..) {
        if !pod
            .poll()
            .is_called_for(now, std::time::Duration::ZERO, pace.patience())
        {
            continue;
        }
        let due_at = pod.poll().due_at();
        let next = if due_at.happened() {
            pace.next(due_at, now)
        } else {
            now.plus(share.saturating_mul(place))
        };
        pod.ask(now, next);
        asked.push(pod.address());
    }
    asked
}

pub(super) fn ask<H: Host>(
    balancer: &Balancer<H>,
    service: &ServiceState,
    pod: PodAddress,
) -> Result<CallToken, NotSent> {
    let config = &service.config;
    let name = pod.to_string();
    let steering = (pod != PodAddress::ANY).then_some((&*balancer.override_header, &*name));
    balancer.host.call(
        &config.cluster,
        &config.metric_path,
        steering,
        config.metric_timeout,
    )
}

/// Records how a poll ended, and tells the log if that is different from the poll before.
pub(super) fn settle<H: Host>(
    balancer: &Balancer<H>,
    service: &ServiceState,
    pod: PodAddress,
    asked_at: Timestamp,
    report: Result<PodReport, PollFailure>,
) {
    let event = Event::Answered {
        pod,
        asked_at,
        outcome: report
            .as_ref()
            .map(|report| report.agents_connections)
            .map_err(|&failure| failure),
    };
    let before = service.store.update(&balancer.host, |table| {
        let before = table
            .pod(pod)
            .filter(|pod| pod.poll().awaits(asked_at))
            .copied();
        table.apply(&[event]);
        before
    });
    let Ok(before) = before else {
        service.store.defer(&[event]);
        return;
    };
    let last_failure = before.and_then(|pod| pod.last_failure());
    let host = &balancer.host;
    let metrics = &service.metrics;
    let cluster = &service.config.cluster;
    match (before, report) {
        (None, _) => host.add(metrics.polls_ignored, 1),
        (Some(before), Ok(report)) => {
            host.add(metrics.polls_ok, 1);
            if last_failure.is_some() {
                log::info!("cluster {cluster}: pod {pod} answers polls again");
            }
            log::debug!(
                "cluster {cluster}: pod {pod} ({}) reports {} WebSockets, {} were expected",
                report.names(),
                report.agents_connections,
                before.estimate()
            );
        }
        (Some(_), Err(failure)) => {
            host.add(metrics.polls_failed, 1);
            if last_failure != Some(failure) {
                log::warn!("cluster {cluster}: the poll of pod {pod} failed: {failure}");
            }
        }
    }
}
