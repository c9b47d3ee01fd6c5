//! The filter: its table, its events, its ranking.

use std::collections::BTreeMap;
use std::slice;
use std::time::Duration;

use fastrand::Rng;
use wsbalancer::clock::Timestamp;
use wsbalancer::config::{Rebalance, Rules};
use wsbalancer::load::rank;
use wsbalancer::pod::Member;
use wsbalancer::rebalance;
use wsbalancer::service::HeldWebSockets;
use wsbalancer::table::{Event, Table};

use super::{ATTEMPTS, Policy, Settings, Sight};
use crate::pods::PodId;

/// The default of `cacheTTL`, in report intervals.
const INTERVALS_OF_TRUST: u32 = 6;
/// The default of `unhealthyThreshold`.
const UNHEALTHY_THRESHOLD: u32 = 3;

pub(super) struct Filter {
    table: Table,
    rules: Rules,
    interval: Duration,
    rebalance: Option<Rebalance>,
    held: HeldWebSockets,
    /// Since when the WebSockets are open.
    since: BTreeMap<u32, Timestamp>,
}

impl Filter {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            table: Table::new(&[]),
            rules: Rules {
                cache_ttl: settings.interval * INTERVALS_OF_TRUST,
                refresh_interval: settings.interval,
                unhealthy_threshold: UNHEALTHY_THRESHOLD,
                slow_start: settings.slow_start,
            },
            interval: settings.interval,
            rebalance: settings.rebalance,
            held: HeldWebSockets::default(),
            since: BTreeMap::new(),
        }
    }
}

impl Policy for Filter {
    fn reset(&mut self, pods: &[PodId]) {
        let members: Vec<Member> = pods.iter().map(|pod| Member::new(pod.address())).collect();
        self.table.reset(&members);
    }

    fn choose(&mut self, sight: &Sight<'_>, random: &mut Rng) -> Vec<PodId> {
        let view = self.table.view(&self.rules, sight.now);
        let ranking = rank(self.table.pods(), ATTEMPTS, &view, random);
        let best = ranking.best.into_iter();
        best.map(|best| PodId::from_address(best.pod)).collect()
    }

    fn apply(&mut self, event: &Event) {
        self.table.apply(&self.rules, slice::from_ref(event));
    }

    fn ask(&mut self, pod: PodId, now: Timestamp) {
        let next = now.plus(self.interval);
        let pod = pod.address();
        self.table
            .ask(now, |record| (record.address() == pod).then_some(next));
    }

    fn open(&mut self, pod: PodId, id: u32, now: Timestamp) {
        let pod = pod.address();
        self.apply(&Event::Opened { pod });
        if self.rebalance.is_some() {
            self.held.insert(pod, now, id);
            self.since.insert(id, now);
        }
    }

    fn close(&mut self, pod: PodId, id: u32) {
        let pod = pod.address();
        let since = self.since.remove(&id);
        let was_held = since.is_some_and(|since| self.held.remove(pod, since, id));
        // What rebalancing ends was counted then.
        if was_held || self.rebalance.is_none() {
            self.apply(&Event::Closed { pod });
        }
    }

    fn rebalance(&mut self, now: Timestamp) -> Vec<u32> {
        let Some(rebalance) = &self.rebalance else {
            return Vec::new();
        };
        let view = self.table.view(&self.rules, now);
        let closing = rebalance::claim(&mut self.table, &view, rebalance, &self.held);
        for closing in &closing {
            let pod = closing.overload.pod;
            self.held.remove(pod, closing.since, closing.context_id);
        }
        closing.iter().map(|closing| closing.context_id).collect()
    }
}
