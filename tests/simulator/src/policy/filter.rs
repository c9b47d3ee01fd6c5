//! The filter: its table, its events, its ranking.

use std::collections::BTreeMap;
use std::slice;

use fastrand::Rng;
use wsbalancer::clock::Timestamp;
use wsbalancer::config::{Config, Rules, ServiceConfig};
use wsbalancer::load::rank;
use wsbalancer::pod::Member;
use wsbalancer::poll;
use wsbalancer::rebalance;
use wsbalancer::service::HeldWebSockets;
use wsbalancer::table::{Event, Ledger, Table};

use super::{ATTEMPTS, Policy, Settings, Sight};
use crate::pods::PodId;

/// The default of `cacheTTL`, in report intervals.
const INTERVALS_OF_TRUST: u32 = 6;

pub(super) struct Filter {
    table: Table,
    service: ServiceConfig,
    held: HeldWebSockets,
    /// Since when the WebSockets are open.
    since: BTreeMap<u32, Timestamp>,
}

impl Filter {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            table: Table::new(&[]),
            service: service(&settings),
            held: HeldWebSockets::default(),
            since: BTreeMap::new(),
        }
    }
}

/// The configuration that says no more than the settings.
fn service(settings: &Settings) -> ServiceConfig {
    let json = br#"{"services": [{"cluster": "pods", "endpoints": ["10.0.0.0:8080"]}]}"#;
    let config = Config::parse(json).expect("it is what the filter takes");
    let mut services = config.services.into_iter();
    let service = services.next().expect("there is one");
    let burst_polls = service.burst_polls.filter(|_| settings.asks_early);
    ServiceConfig {
        rules: Rules {
            cache_ttl: settings.interval * INTERVALS_OF_TRUST,
            refresh_interval: settings.interval,
            slow_start: settings.slow_start,
            ..service.rules
        },
        burst_polls,
        rebalance: settings.rebalance,
        ..service
    }
}

impl Policy for Filter {
    fn reset(&mut self, pods: &[PodId], now: Timestamp) {
        let members: Vec<Member> = pods.iter().map(|pod| Member::new(pod.address())).collect();
        self.table.reset(&members, &self.service.rules, now);
    }

    fn choose(&mut self, sight: &Sight<'_>, random: &mut Rng) -> Vec<PodId> {
        let view = self.table.view(&self.service.rules, sight.now);
        let ranking = rank(self.table.pods(), ATTEMPTS, &view, random);
        let best = ranking.best.into_iter();
        best.map(|best| PodId::from_address(best.pod)).collect()
    }

    fn apply(&mut self, event: &Event) {
        self.table
            .apply(&self.service.rules, slice::from_ref(event));
    }

    fn ask(&mut self, pod: PodId, now: Timestamp) {
        let next = now.plus(self.service.rules.refresh_interval);
        let pod = pod.address();
        self.table
            .ask(now, |record| (record.address() == pod).then_some(next));
    }

    fn wants_counts(&self, now: Timestamp) -> bool {
        poll::is_early_due(&self.table, &self.service, now)
    }

    fn ask_early(&mut self, now: Timestamp) -> Vec<PodId> {
        let asked = poll::claim_early(&mut self.table, &self.service, now);
        asked.into_iter().map(PodId::from_address).collect()
    }

    fn open(&mut self, pod: PodId, id: u32, now: Timestamp) {
        let pod = pod.address();
        self.apply(&Event::Opened { pod, at: now });
        if self.service.rebalance.is_some() {
            self.held.insert(pod, now, id);
            self.since.insert(id, now);
        }
    }

    fn close(&mut self, pod: PodId, id: u32) {
        let pod = pod.address();
        let since = self.since.remove(&id);
        let was_held = since.is_some_and(|since| self.held.remove(pod, since, id));
        // What rebalancing ends was counted then.
        if was_held || self.service.rebalance.is_none() {
            self.apply(&Event::Closed { pod });
        }
    }

    fn begin_recount(&mut self, ledgers: &[Ledger]) {
        let last = self.table.recount();
        // Nobody was struck off who is there, so there is no need to look again.
        self.table.begin_recount(Timestamp::NEVER);
        for ledger in ledgers {
            self.table.take_part(ledger, last);
        }
    }

    fn end_recount(&mut self, now: Timestamp) {
        self.table.end_recount(self.table.recount(), now);
    }

    fn rebalance(&mut self, now: Timestamp) -> Vec<u32> {
        let Some(rebalance) = &self.service.rebalance else {
            return Vec::new();
        };
        let view = self.table.view(&self.service.rules, now);
        let closing = rebalance::claim(
            &mut self.table,
            &view,
            rebalance,
            &self.held,
            rebalance::MOST_AT_ONCE,
        );
        for closing in &closing {
            let pod = closing.overload.pod;
            self.held.remove(pod, closing.since, closing.context_id);
        }
        closing.iter().map(|closing| closing.context_id).collect()
    }
}
