//! What unit tests share: fakes of what a shell brings, and pods that report.
//!
//! Other packages' tests have them with the feature `testing`.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::unwrap_used,
    reason = "a test that asks for what can't be is to fail"
)]

mod host;
mod request;

use std::cell::Cell;
use std::time::Duration;

pub use self::host::{Call, FakeHost};
pub use self::request::FakeRequest;
use crate::balancer::Balancer;
use crate::clock::Timestamp;
use crate::config::{Config, PassiveHealth, Rules};
use crate::load::PodState;
use crate::pod::{PodAddress, Reported};
use crate::service::Service;
use crate::table::{Event, Table};
use crate::upgrade::{Ending, Upstream};

/// When most tests take place.
pub const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);

/// The defaults.
pub const RULES: Rules = Rules {
    cache_ttl: Duration::from_secs(30),
    refresh_interval: Duration::from_secs(5),
    unhealthy_threshold: 3,
    counts_connections: true,
    passive_health: Some(PassiveHealth {
        consecutive_failures: 5,
        base_ejection_time: Duration::from_secs(10),
        max_ejection_percent: 50.0,
    }),
    counts_sessions: false,
    slow_start: None,
};

/// A request that has ended.
pub struct Ended {
    /// Which way it went.
    pub upstream: Upstream,
    /// Whether its client ended it.
    pub is_clients: bool,
    /// When it ended.
    pub at: Timestamp,
    /// How often anything was asked about it.
    pub questions: Cell<u32>,
}

impl Ended {
    /// One that ended at this moment, which was not its client's doing.
    #[must_use]
    pub fn at(at: Timestamp) -> Self {
        Self {
            upstream: Upstream::default(),
            is_clients: false,
            at,
            questions: Cell::new(0),
        }
    }

    /// One that went this way.
    #[must_use]
    pub fn by(self, upstream: Upstream) -> Self {
        Self { upstream, ..self }
    }

    fn note_question(&self) {
        self.questions.set(self.questions.get() + 1);
    }
}

impl Ending for Ended {
    fn upstream(&self) -> Upstream {
        self.note_question();
        self.upstream
    }

    fn details(&self) -> String {
        self.note_question();
        "via_upstream".to_owned()
    }

    fn is_clients(&self) -> bool {
        self.note_question();
        self.is_clients
    }

    fn now(&self) -> Timestamp {
        self.note_question();
        self.at
    }
}

/// The n-th pod.
pub fn address(n: u8) -> PodAddress {
    format!("10.0.0.{n}:8080").parse().unwrap()
}

/// The pod `pod` is asked at `at`, and says this.
pub fn report(table: &mut Table, pod: PodAddress, at: Timestamp, reported: Reported) {
    table.ask(at, |record| (record.address() == pod).then_some(at));
    let answer = Event::Answered {
        pod,
        asked_at: at,
        outcome: Ok(reported),
    };
    table.apply(&RULES, &[answer]);
}

/// The services of a configuration, whose pods report these counts at [`NOW`], service by service.
pub fn balancer(json: &str, counts: &[&[u64]]) -> Balancer<FakeHost> {
    let config = Config::parse(json.as_bytes()).unwrap();
    let balancer = Balancer::new(FakeHost::at(NOW), config, 1);
    for (service, counts) in balancer.services.iter().zip(counts) {
        let reports: Vec<Reported> = counts.iter().copied().map(Reported::of).collect();
        report_all(service, NOW, &reports);
    }
    balancer
}

/// All pods of a service are asked at `at`, and report this.
pub fn report_all(service: &Service<FakeHost>, at: Timestamp, reports: &[Reported]) {
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
pub fn estimates(service: &Service<FakeHost>) -> Vec<f64> {
    let table = service.table();
    let view = service.view(&table, NOW);
    table.pods().iter().map(|pod| view.estimate(pod)).collect()
}

/// The states of a service's pods at [`NOW`].
pub fn states(service: &Service<FakeHost>) -> Vec<PodState> {
    let table = service.table();
    let view = service.view(&table, NOW);
    table.pods().iter().map(|pod| view.state(pod)).collect()
}

/// Another worker of the same process, with the same configuration.
pub fn worker_of(balancer: &Balancer<FakeHost>, json: &str) -> Balancer<FakeHost> {
    let config = Config::parse(json.as_bytes()).unwrap();
    Balancer::new(balancer.shell.clone(), config, 2)
}
