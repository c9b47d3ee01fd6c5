//! The choice of an upgrade's pods: among the endpoints of one cluster, or among clusters of which
//! each is a pod. Either way the pod that is chosen first counts from then on.

use crate::balancer::{Balancer, ServiceState};
use crate::clock::Timestamp;
use crate::config::OnNoPods;
use crate::host::Host;
use crate::pod::PodAddress;
use crate::select::{Candidate, rank};
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
}

/// A usable pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ranked {
    pub(super) pod: PodAddress,
    /// What the log calls it.
    pub(super) name: String,
    /// See [`Candidate::estimate`].
    pub(super) estimate: u64,
}

impl Choice {
    /// Chooses among the pods of the service at `index`.
    pub(super) fn of_endpoints<H: Host>(
        balancer: &Balancer<H>,
        index: usize,
        now: Timestamp,
    ) -> Option<Self> {
        let service = balancer.services.get(index)?;
        let candidates = choose(balancer, service, now);
        let ranked: Vec<Ranked> = candidates
            .into_iter()
            .map(|Candidate { pod, estimate }| Ranked {
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
        })
    }

    /// Chooses among the services, whose clusters have one pod each. Without a usable one, and
    /// without a fallback policy of Envoy's, any of them may be lucky.
    pub(super) fn of_clusters<H: Host>(balancer: &Balancer<H>, now: Timestamp) -> Option<Self> {
        let mut random = balancer.random();
        let mut candidates: Vec<(u64, u32, usize)> = Vec::new();
        for (index, service) in balancer.services.iter().enumerate() {
            let table = service.store.read(&balancer.host);
            let best = rank(table.pods(), 1, service.trust(), now, &mut random);
            let best = best.first();
            candidates.extend(best.map(|best| (best.estimate, random.u32(..), index)));
        }
        candidates.sort_unstable();
        let cluster = |index: usize| Some(balancer.services.get(index)?.config.cluster.clone());
        let ranked: Vec<Ranked> = candidates
            .iter()
            .take(FEWEST_RANKED)
            .filter_map(|&(estimate, _, index)| {
                Some(Ranked {
                    pod: PodAddress::ANY,
                    name: cluster(index)?,
                    estimate,
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
        })
    }
}

fn choose<H: Host>(
    balancer: &Balancer<H>,
    service: &ServiceState,
    now: Timestamp,
) -> Vec<Candidate> {
    let mut random = balancer.random();
    let places = balancer.attempts.max(FEWEST_RANKED);
    let mut rank = |table: &Table| rank(table.pods(), places, service.trust(), now, &mut random);
    let chosen = |ranked: &[Candidate]| ranked.first().map(|best| Event::Chosen { pod: best.pod });
    let updated = service.store.update(&balancer.host, |table| {
        let ranked = rank(table);
        table.apply(chosen(&ranked).as_slice());
        ranked
    });
    updated.unwrap_or_else(|_| {
        let ranked = rank(&service.store.read(&balancer.host));
        service.store.defer(chosen(&ranked).as_slice());
        ranked
    })
}
