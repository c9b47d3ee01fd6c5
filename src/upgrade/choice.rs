//! The choice of an upgrade's pods: among the endpoints of one cluster, or among clusters of which
//! each is a pod. Either way the pod that is chosen first counts from then on.

use crate::balancer::{Balancer, ServiceState};
use crate::clock::Timestamp;
use crate::config::OnNoPods;
use crate::host::Host;
use crate::pod::PodAddress;
use crate::select::{Candidate, Ranking, rank};
use crate::table::{Event, Table};

/// Names at least this many pods, so that the log can tell the runner-up.
const FEWEST_RANKED: usize = 2;

/// The pods of an upgrade.
#[derive(Debug)]
pub(super) struct Choice {
    /// The service of the first.
    pub(super) service: usize,
    /// The usable ones, best first; empty where there is none.
    pub(super) ranked: Vec<Ranked>,
    /// How many of them may be tried.
    pub(super) named: usize,
    /// What Envoy is to be told; none leaves the choice to the fallback policy.
    pub(super) header: Option<String>,
    /// Whether there are pods that are only full.
    pub(super) some_are_full: bool,
}

/// A usable pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ranked {
    pub(super) pod: PodAddress,
    /// What the log calls it.
    pub(super) name: String,
    /// See [`Candidate::estimate`].
    pub(super) estimate: f64,
}

impl Choice {
    /// Chooses among the pods of the service at `index`.
    pub(super) fn of_endpoints<H: Host>(
        balancer: &Balancer<H>,
        index: usize,
        now: Timestamp,
    ) -> Option<Self> {
        let service = balancer.services.get(index)?;
        let Ranking {
            best,
            some_are_full,
        } = choose(balancer, service, now);
        let ranked: Vec<Ranked> = best
            .into_iter()
            .map(|Candidate { pod, estimate, .. }| Ranked {
                pod,
                name: pod.to_string(),
                estimate,
            })
            .collect();
        let named = ranked.len().min(balancer.attempts);
        // `override_host` sends the n-th attempt to the n-th of them.
        let addresses: Vec<&str> = ranked
            .iter()
            .take(named)
            .map(|ranked| ranked.name.as_str())
            .collect();
        Some(Self {
            service: index,
            header: (!addresses.is_empty()).then(|| addresses.join(",")),
            named,
            ranked,
            some_are_full,
        })
    }

    /// Chooses among the services, whose clusters have one pod each. Without a usable one, and
    /// without a fallback policy of Envoy's, any of them may be lucky.
    pub(super) fn of_clusters<H: Host>(balancer: &Balancer<H>, now: Timestamp) -> Option<Self> {
        let mut random = balancer.random();
        let mut some_are_full = false;
        let mut candidates: Vec<(Candidate, u32, usize)> = Vec::new();
        for (index, service) in balancer.services.iter().enumerate() {
            let table = service.store.read(&balancer.host);
            let outlook = service.outlook(&table, now);
            let ranking = rank(table.pods(), 1, &outlook, &mut random);
            some_are_full |= ranking.some_are_full;
            let best = ranking.best.into_iter();
            candidates.extend(best.map(|best| (best, random.u32(..), index)));
        }
        candidates.sort_unstable_by(|(one, lot, _), (other, other_lot, _)| {
            one.holds_back
                .cmp(&other.holds_back)
                .then(one.load.total_cmp(&other.load))
                .then(lot.cmp(other_lot))
        });
        let cluster = |index: usize| Some(balancer.services.get(index)?.config.cluster.clone());
        let ranked: Vec<Ranked> = candidates
            .iter()
            .take(FEWEST_RANKED)
            .filter_map(|&(candidate, _, index)| {
                Some(Ranked {
                    pod: PodAddress::ANY,
                    name: cluster(index)?,
                    estimate: candidate.estimate,
                })
            })
            .collect();
        let Some(&(_, _, service)) = candidates.first() else {
            let service = random.usize(..balancer.services.len().max(1));
            let lucky = balancer.on_no_pods == OnNoPods::Fallback;
            return Some(Self {
                service,
                ranked,
                named: 0,
                header: cluster(service).filter(|_| lucky),
                some_are_full,
            });
        };
        let chosen = Event::Chosen {
            pod: PodAddress::ANY,
        };
        let store = &balancer.services.get(service)?.store;
        store.record(&balancer.host, &[chosen]);
        Some(Self {
            service,
            named: 1,
            header: cluster(service),
            ranked,
            some_are_full,
        })
    }
}

fn choose<H: Host>(balancer: &Balancer<H>, service: &ServiceState, now: Timestamp) -> Ranking {
    let mut random = balancer.random();
    let places = balancer.attempts.max(FEWEST_RANKED);
    let mut rank = |table: &Table| {
        let outlook = service.outlook(table, now);
        rank(table.pods(), places, &outlook, &mut random)
    };
    let chosen = |ranking: &Ranking| {
        let best = ranking.best.first();
        best.map(|best| Event::Chosen { pod: best.pod })
    };
    let updated = service.store.update(&balancer.host, |table| {
        let ranking = rank(table);
        table.apply(chosen(&ranking).as_slice());
        ranking
    });
    updated.unwrap_or_else(|_| {
        let ranking = rank(&service.store.read(&balancer.host));
        service.store.defer(chosen(&ranking).as_slice());
        ranking
    })
}
