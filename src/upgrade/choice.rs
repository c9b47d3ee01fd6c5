//! The choice of an upgrade's pods. The pod that is chosen first counts from then on.

use std::rc::Rc;

use crate::balancer::Balancer;
use crate::clock::Timestamp;
use crate::load::Ranked;
use crate::pod::PodAddress;
use crate::service::Service;
use crate::shell::Shell;
use crate::table::{Event, Table};

/// Ranks at least this many pods, so that the log can name the runner-up.
pub(super) const FEWEST_RANKED: usize = 2;

/// The pods of an upgrade.
pub struct Choice<S: Shell> {
    /// The service of the first.
    pub service: Rc<Service<S>>,
    /// The usable ones, best first; empty where there is none.
    pub candidates: Vec<Candidate>,
    /// How many of them may be tried.
    pub named: usize,
    /// Whether all pods that could serve are full.
    pub all_are_full: bool,
}

/// A usable pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The pod.
    pub pod: PodAddress,
    /// What Envoy and the log call it.
    pub name: String,
    /// See [`Ranked::estimate`].
    pub estimate: f64,
}

impl Candidate {
    /// One of the hosts of the service's cluster.
    fn of(ranked: &Ranked, table: &Table) -> Option<Self> {
        Some(Self {
            pod: ranked.pod,
            name: table.upstream(ranked.pod)?,
            estimate: ranked.estimate,
        })
    }
}

impl<S: Shell> Choice<S> {
    /// Chooses among the pods of `service`.
    pub(super) fn among_endpoints(
        balancer: &Balancer<S>,
        service: &Rc<Service<S>>,
        now: Timestamp,
    ) -> Self {
        let mut random = balancer.random();
        let attempts = balancer.settings.attempts;
        let places = attempts.max(FEWEST_RANKED);
        let (candidates, all_are_full) = service.choose(now, |table: &Table| {
            let view = service.view(table, now);
            let ranking = table.rank(places, &view, &mut random);
            let chosen = ranking.best.first().map(|best| best.pod);
            let best = ranking.best.iter();
            let candidates: Vec<Candidate> = best
                .filter_map(|ranked| Candidate::of(ranked, table))
                .collect();
            let all_are_full = ranking.some_are_full && !ranking.some_are_unknown;
            let choice = (candidates, all_are_full);
            (choice, chosen.map(|pod| Event::Chosen { pod }))
        });
        Self {
            service: Rc::clone(service),
            named: candidates.len().min(attempts),
            candidates,
            all_are_full,
        }
    }

    /// The names of the pods that may be tried, best first, as the override header has them; none
    /// where there is none.
    #[must_use]
    pub fn names(&self) -> Option<String> {
        let candidates = self.candidates.iter().take(self.named);
        let names: Vec<&str> = candidates.map(|pod| pod.name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(","))
    }
}
