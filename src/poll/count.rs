//! The question how many WebSockets a pod has.

use std::time::Duration;

use super::Pace;
use crate::balancer::{Balancer, ServiceState};
use crate::clock::{Timestamp, part};
use crate::host::{CallToken, Host, NotSent};
use crate::pod::PodAddress;
use crate::report::{PodReport, PollFailure};
use crate::table::{Event, Pod, Reported, Table};

pub(super) const fn pace(service: &ServiceState) -> Pace {
    Pace {
        interval: service.config.refresh_interval,
        timeout: service.config.metric_timeout,
    }
}

/// The first interval of a service is this part of the others: with its second count
/// [`fleet`](crate::fleet) knows what part of the traffic is this gateway's.
const FIRST_INTERVAL_PART: u32 = 8;

/// Takes the pods that are due. All pods of a service are due together, for only counts of the
/// same moment can be compared: a pod that is new joins the others.
pub(super) fn claim(table: &mut Table, service: &ServiceState, now: Timestamp) -> Vec<PodAddress> {
    let pace = pace(service);
    let pods = table.pods_mut();
    let together = pods
        .iter()
        .map(|pod| pod.poll().due_at())
        .filter(|&due_at| due_at > now)
        .min();
    let first = together.unwrap_or(now.plus(part(pace.interval, FIRST_INTERVAL_PART)));
    let mut asked = Vec::new();
    for pod in pods {
        if !pod
            .poll()
            .is_called_for(now, Duration::ZERO, pace.patience())
        {
            continue;
        }
        let due_at = pod.poll().due_at();
        let next = if due_at.happened() {
            pace.next(due_at, now)
        } else {
            first
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

/// A pod before its answer was taken, and what it was thought to hold.
struct Before {
    pod: Pod,
    estimate: f64,
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
            .map(Reported::from)
            .map_err(|&failure| failure),
    };
    let before = service.store.update(&balancer.host, |table| {
        let before = before(table, service, pod, asked_at);
        let comes_up = report.is_ok() && comes_up(table, service, pod, asked_at);
        table.apply(&[event]);
        if let Some(pod) = table.pod_mut(pod).filter(|_| comes_up) {
            pod.start(asked_at);
        }
        before
    });
    let Ok(before) = before else {
        service.store.defer(&[event]);
        return;
    };
    let last_failure = before.as_ref().and_then(|before| before.pod.last_failure());
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
                "cluster {cluster}: pod {pod} ({}) reports {} WebSockets, {:.0} were expected",
                report.names(),
                report.agents_connections,
                before.estimate
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

/// The pod as it is; none where nobody waits for its answer.
fn before(
    table: &Table,
    service: &ServiceState,
    pod: PodAddress,
    asked_at: Timestamp,
) -> Option<Before> {
    let pod = table.pod(pod).filter(|pod| pod.poll().awaits(asked_at))?;
    Some(Before {
        pod: *pod,
        estimate: service.outlook(table, asked_at).estimate(pod),
    })
}

/// Whether a good answer brings the pod up. Those that are up when the service begins have been
/// there before, and are not new.
fn comes_up(table: &Table, service: &ServiceState, pod: PodAddress, asked_at: Timestamp) -> bool {
    let began_at = table.began_at();
    let has_begun =
        began_at.happened() && asked_at.since(began_at) > service.config.refresh_interval;
    let outlook = service.outlook(table, asked_at);
    let is_down = |pod| outlook.trouble(pod).is_some();
    has_begun && table.pod(pod).is_some_and(is_down)
}
