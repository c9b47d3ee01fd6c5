//! Which pods hold too many, and how many of them are this gateway's to close.

use crate::config::Rebalance;
use crate::load::{EvenShare, Health, PodState, View};
use crate::num::rounded_down;
use crate::pod::{Exclusion, PodAddress, PodRecord};
use crate::table::Table;

/// A pod that holds too many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overload {
    /// The pod.
    pub pod: PodAddress,
    /// How many WebSockets this gateway should close there.
    pub excess: u32,
    /// How many the pod holds …
    pub estimate: f64,
    /// … and how many it should.
    pub even_share: f64,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The pods, the one that holds most for its share first.
    pub overloads: Vec<Overload>,
    /// This gateway's part of all connections, 0 to 1.
    pub part: f64,
}

/// Which pods hold too many; none where all is well, or where it is better to wait.
#[must_use]
pub fn plan(table: &Table, view: &View, rebalance: &Rebalance) -> Plan {
    if !table.pods().iter().all(|pod| is_calm(view, pod)) {
        return Plan::default();
    }
    let share = EvenShare::of(view, table.pods(), table.missing());
    let pods = || table.pods().iter().filter(|pod| share.counts(view, pod));
    let held: f64 = pods().map(|pod| view.estimate(pod)).sum();
    let own: f64 = pods().map(|pod| f64::from(pod.own_connections())).sum();
    let room: f64 = pods()
        .map(|pod| (share.of_pod(pod) - view.estimate(pod)).max(0.0))
        .sum();
    let excess =
        |pod: &PodRecord| view.estimate_at_least(pod) - rebalance.threshold * share.of_pod(pod);
    let too_many: f64 = pods().map(|pod| excess(pod).max(0.0)).sum();
    // What does not fit elsewhere would come back to where it was.
    let fitting = (room / too_many.max(1.0)).min(1.0);
    let mut overloads: Vec<Overload> = pods()
        .filter_map(|pod| {
            let estimate = view.estimate(pod);
            let part = f64::from(pod.own_connections()) / estimate.max(1.0);
            let excess = excess(pod) * fitting * part.min(1.0);
            (excess >= 1.0).then(|| Overload {
                pod: pod.address(),
                excess: rounded_down(excess),
                estimate,
                even_share: share.of_pod(pod),
            })
        })
        .collect();
    overloads.sort_by(|one, other| {
        let load = |overload: &Overload| overload.estimate / overload.even_share;
        load(other).total_cmp(&load(one))
    });
    Plan {
        overloads,
        part: (own / held.max(own).max(1.0)).min(1.0),
    }
}

/// Whether nothing about the pod speaks against closing WebSockets now. A pod that leaves, or that
/// has reached its limit, is no reason to wait.
fn is_calm(view: &View, pod: &PodRecord) -> bool {
    let leaves = matches!(
        view.state(pod),
        PodState::Draining | PodState::Excluded(Exclusion::Draining | Exclusion::Leaving)
    );
    let is_sound = pod.poll().failures_in_a_row() == 0
        && view.trouble(pod).is_none()
        && pod.last_failure().is_none()
        && !(pod.has_refused() || pod.is_doubted())
        && view.health(pod) == Health::Good
        && pod.exclusion().is_none()
        // What agrees with nobody's doing says nothing of where there is room.
        && !pod.is_unsteady()
        && !pod.is_implausible();
    leaves || is_sound && view.slow_start(pod).is_none()
}
