//! The filter: its table, its events, its ranking.

use std::time::Duration;

use fastrand::Rng;
use wsbalancer::clock::Timestamp;
use wsbalancer::discovery::Listed;
use wsbalancer::select::rank;
use wsbalancer::standing::Rules;
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
}

impl Filter {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            table: Table::new(&[]),
            rules: Rules {
                cache_ttl: settings.interval * INTERVALS_OF_TRUST,
                unhealthy_threshold: UNHEALTHY_THRESHOLD,
                slow_start: settings.slow_start,
            },
            interval: settings.interval,
        }
    }

    /// Whether a good answer brings a pod up, as the filter's poll decides it: those that were
    /// there when the gateway started are not new.
    fn comes_up(&self, event: &Event) -> Option<(PodId, Timestamp)> {
        let Event::Answered {
            pod,
            asked_at,
            outcome: Ok(_),
        } = *event
        else {
            return None;
        };
        let began_at = self.table.began_at();
        let has_begun = began_at.happened() && asked_at.since(began_at) > self.interval;
        let outlook = self.table.outlook(self.rules, asked_at);
        let record = self.table.pod(pod)?;
        (has_begun && outlook.trouble(record).is_some())
            .then(|| (PodId::from_address(pod), asked_at))
    }
}

impl Policy for Filter {
    fn assign(&mut self, pods: &[PodId]) {
        let listed: Vec<Listed> = pods
            .iter()
            .map(|pod| Listed {
                pod: pod.address(),
                exclusion: None,
                tier: 0,
                weight: 1,
            })
            .collect();
        self.table.assign(&listed);
    }

    fn choose(&mut self, sight: &Sight<'_>, random: &mut Rng) -> Vec<PodId> {
        let outlook = self.table.outlook(self.rules, sight.now);
        let ranking = rank(self.table.pods(), ATTEMPTS, &outlook, random);
        let best = ranking.best.into_iter();
        best.map(|best| PodId::from_address(best.pod)).collect()
    }

    fn apply(&mut self, event: &Event) {
        let comes_up = self.comes_up(event);
        self.table.apply(&[*event]);
        if let Some((pod, at)) = comes_up
            && let Some(pod) = self.table.pod_mut(pod.address())
        {
            pod.start(at);
        }
    }

    fn ask(&mut self, pod: PodId, now: Timestamp) {
        if let Some(pod) = self.table.pod_mut(pod.address()) {
            pod.ask(now, now.plus(self.interval));
        }
    }
}
