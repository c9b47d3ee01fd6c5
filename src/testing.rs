//! What unit tests share: fakes of what a shell brings, and pods that report.

mod host;
mod request;

use std::time::Duration;

pub(crate) use self::host::{Call, FakeHost};
pub(crate) use self::request::FakeRequest;
use crate::balancer::Balancer;
use crate::clock::Timestamp;
use crate::config::{Config, Rules};
use crate::load::PodState;
use crate::pod::{PodAddress, Reported};
use crate::service::Service;
use crate::table::{Event, Table};

/// When most tests take place.
pub(crate) const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);

/// The defaults.
pub(crate) const RULES: Rules = Rules {
    cache_ttl: Duration::from_secs(30),
    refresh_interval: Duration::from_secs(5),
    unhealthy_threshold: 3,
    counts_connections: true,
    counts_sessions: false,
    slow_start: None,
};

/// The n-th pod.
pub(crate) fn address(n: u8) -> PodAddress {
    format!("10.0.0.{n}:8080").parse().unwrap()
}

/// The pod `pod` is asked at `at`, and says this.
pub(crate) fn report(table: &mut Table, pod: PodAddress, at: Timestamp, reported: Reported) {
    table.ask(at, |record| (record.address() == pod).then_some(at));
    let answer = Event::Answered {
        pod,
        asked_at: at,
        outcome: Ok(reported),
    };
    table.apply(&RULES, &[answer]);
}

/// The services of a configuration, whose pods report these counts at [`NOW`], service by service.
pub(crate) fn balancer(json: &str, counts: &[&[u64]]) -> Balancer<FakeHost> {
    let config = Config::parse(json.as_bytes()).unwrap();
    let balancer = Balancer::new(FakeHost::at(NOW), config, 1);
    for (service, counts) in balancer.services.iter().zip(counts) {
        let reports: Vec<Reported> = counts.iter().copied().map(Reported::of).collect();
        report_all(service, NOW, &reports);
    }
    balancer
}

/// All pods of a service are asked at `at`, and report this.
pub(crate) fn report_all(service: &Service<FakeHost>, at: Timestamp, reports: &[Reported]) {
    let pods = service.update(|table| table.ask(at, |_| Some(at))).unwrap();
    let answers: Vec<Event> = pods
        .into_iter()
        .zip(reports)
        .map(|(pod, reported)| Event::Answered {
            pod,
            asked_at: at,
            outcome: Ok(*reported),
        })
        .collect();
    service.record(&answers);
}

/// What the pods of a service should hold at [`NOW`].
pub(crate) fn estimates(service: &Service<FakeHost>) -> Vec<f64> {
    let table = service.table();
    let view = service.view(&table, NOW);
    table.pods().iter().map(|pod| view.estimate(pod)).collect()
}

/// The states of a service's pods at [`NOW`].
pub(crate) fn states(service: &Service<FakeHost>) -> Vec<PodState> {
    let table = service.table();
    let view = service.view(&table, NOW);
    table.pods().iter().map(|pod| view.state(pod)).collect()
}

/// Another worker of the same process, with the same configuration.
pub(crate) fn worker_of(balancer: &Balancer<FakeHost>, json: &str) -> Balancer<FakeHost> {
    let config = Config::parse(json.as_bytes()).unwrap();
    Balancer::new(balancer.shell.clone(), config, 2)
}
