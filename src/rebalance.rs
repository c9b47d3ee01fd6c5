//! Relief for pods that hold too many: old WebSockets are closed there, so that their clients come
//! back and are sent to the pods with the fewest. Off unless configured.
//!
//! # What keeps it from doing harm
//! - **Only what is needed.** A pod is relieved down to `threshold` times its even share of what
//!   all hold, which is above the share itself, and never by more than the pods below their share
//!   have room for. Where a report may or may not count what happened while it was on its way,
//!   the pod is taken to hold the fewer: the next report tells.
//! - **Only this gateway's part.** Of what a pod has too many each gateway closes the part that it
//!   opened. Of the closes that are allowed in a second it takes its part of all connections.
//!   Nobody opened a connection of another, so the parts of the fleet add up to no more than one,
//!   and no gateway needs to know of the others.
//! - **Only while they come back.** Closed WebSockets count as there until as many new ones have
//!   come. While too many are missing, no more are closed: clients that don't reconnect lose
//!   nothing beyond those.
//! - **Only in fair weather.** While a pod fails, or has just come up, or a count is old, nothing
//!   is closed.
//!
//! [`plan`] decides, over the table alone. The first worker whose timer comes by takes what is
//! allowed by then, from its own WebSockets, for no other worker can close them.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zerocopy::native_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::balancer::{Balancer, ServiceState};
use crate::clock::Timestamp;
use crate::config::Rebalance;
use crate::discovery::Exclusion;
use crate::fleet::approximate;
use crate::host::Host;
use crate::pod::PodAddress;
use crate::standing::{Outlook, Standing};
use crate::table::{Event, Pod, Table};

/// For so long at the full rate WebSockets may be closed that do not come back.
const PATIENCE: Duration = Duration::from_secs(10);
/// A worker's timer may come by this late. Closes that were due longer ago are not caught up.
const LATENESS: Duration = Duration::from_millis(500);

/// How far closing has got: part of a service's table.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Progress {
    /// When the next WebSocket may be closed.
    due_at: U64,
    /// WebSockets that were closed, less those that came since.
    missing: U32,
}

impl Progress {
    /// Notes that a WebSocket has come.
    pub fn return_one(&mut self) {
        self.missing.set(self.missing.get().saturating_sub(1));
    }

    /// WebSockets that were closed, less those that came since.
    #[must_use]
    pub fn missing(&self) -> u32 {
        self.missing.get()
    }

    /// Whether one may be closed at `now`, the next `spacing` later; then it is noted.
    fn close_one(&mut self, now: Timestamp, spacing: Duration, most_missing: f64) -> bool {
        if f64::from(self.missing.get()) >= most_missing {
            return false;
        }
        let due_at = Timestamp::from_nanos(self.due_at.get());
        if due_at > now {
            return false;
        }
        // After a pause it begins anew.
        let start = if now.since(due_at) > LATENESS {
            now
        } else {
            due_at
        };
        self.due_at.set(start.plus(spacing).as_nanos());
        self.missing.set(self.missing.get().saturating_add(1));
        true
    }
}

/// A pod that is to be relieved.
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

/// Which pods this gateway should relieve; none where all is well, or where it is better to wait.
#[must_use]
pub fn plan(table: &Table, outlook: &Outlook, rebalance: &Rebalance) -> Plan {
    if !table.pods().iter().all(|pod| is_calm(outlook, pod)) {
        return Plan::default();
    }
    let taking_part = || {
        let pods = table.pods().iter();
        pods.filter(|pod| outlook.standing(pod).takes_part())
    };
    // Later tiers only stand in: what is on them is not meant to stay.
    let Some(tier) = taking_part().map(Pod::tier).min() else {
        return Plan::default();
    };
    let pods: Vec<&Pod> = taking_part().filter(|pod| pod.tier() == tier).collect();
    let held: f64 = pods.iter().map(|pod| outlook.estimate(pod)).sum();
    let own: f64 = pods.iter().map(|pod| f64::from(pod.own())).sum();
    let weights: f64 = pods.iter().map(|pod| pod.weight()).sum();
    let all = held + outlook.ratio * f64::from(table.progress().missing());
    let even_share = |pod: &Pod| all * pod.weight() / weights;
    let room: f64 = pods
        .iter()
        .map(|pod| {
            let limit = pod.limit().map_or(f64::MAX, approximate);
            (even_share(pod).min(limit) - outlook.estimate(pod)).max(0.0)
        })
        .sum();
    let excess = |pod: &Pod| outlook.estimate_at_least(pod) - rebalance.threshold * even_share(pod);
    let too_many: f64 = pods.iter().map(|pod| excess(pod).max(0.0)).sum();
    // What does not fit elsewhere would come back to where it was.
    let fitting = (room / too_many.max(1.0)).min(1.0);
    let mut overloads: Vec<Overload> = pods
        .iter()
        .filter_map(|pod| {
            let estimate = outlook.estimate(pod);
            let part = f64::from(pod.own()) / estimate.max(1.0);
            let excess = excess(pod) * fitting * part.min(1.0);
            (excess >= 1.0).then(|| Overload {
                pod: pod.address(),
                excess: rounded_down(excess),
                estimate,
                even_share: even_share(pod),
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
fn is_calm(outlook: &Outlook, pod: &Pod) -> bool {
    let leaves = matches!(
        outlook.standing(pod),
        Standing::Draining | Standing::Excluded(Exclusion::Draining | Exclusion::Leaving)
    );
    let is_sound = pod.poll().failures_in_a_row() == 0
        && outlook.trouble(pod).is_none()
        && pod.exclusion().is_none();
    leaves || is_sound && outlook.slow_start(pod).is_none()
}

fn rounded_down(excess: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounding down is what is wanted, and the cast saturates"
    )]
    let whole = excess.floor() as u32;
    whole
}

/// The open WebSockets of one worker, by service and pod.
#[derive(Default)]
pub struct Held(Cell<BTreeMap<(usize, PodAddress), ByAge>>);

/// Since when they are open, and their contexts: the oldest first.
type ByAge = BTreeSet<(Timestamp, u32)>;

impl Held {
    /// Notes the WebSocket of the context `context_id`, which has been open since `since`.
    pub fn insert(&self, service: usize, pod: PodAddress, since: Timestamp, context_id: u32) {
        let mut held = self.0.take();
        held.entry((service, pod))
            .or_default()
            .insert((since, context_id));
        self.0.set(held);
    }

    /// Forgets a WebSocket; whether it was still there.
    pub fn remove(
        &self,
        service: usize,
        pod: PodAddress,
        since: Timestamp,
        context_id: u32,
    ) -> bool {
        let mut held = self.0.take();
        let mut was_there = false;
        if let Some(websockets) = held.get_mut(&(service, pod)) {
            was_there = websockets.remove(&(since, context_id));
            if websockets.is_empty() {
                held.remove(&(service, pod));
            }
        }
        self.0.set(held);
        was_there
    }

    /// The WebSockets on `pod` that were open by `until`, the oldest first, at most `most`.
    fn oldest(
        &self,
        service: usize,
        pod: PodAddress,
        until: Timestamp,
        most: u32,
    ) -> Vec<(Timestamp, u32)> {
        let held = self.0.take();
        let oldest = held
            .get(&(service, pod))
            .map_or_else(Vec::new, |websockets| {
                let old = websockets.iter().take_while(|(since, _)| *since <= until);
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                old.take(most).copied().collect()
            });
        self.0.set(held);
        oldest
    }
}

/// A WebSocket of this worker that is closed to relieve its pod.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Closing {
    overload: Overload,
    since: Timestamp,
    context_id: u32,
}

/// The contexts whose WebSockets this worker is to close now. They are counted as closed already.
pub fn relieve<H: Host>(balancer: &Balancer<H>, now: Timestamp) -> Vec<u32> {
    let mut contexts = Vec::new();
    for (index, service) in balancer.services.iter().enumerate() {
        let Some(rebalance) = &service.config.rebalance else {
            continue;
        };
        let table = service.store.read(&balancer.host);
        let is_over = |table: &Table| {
            let plan = plan(table, &service.outlook(table, now), rebalance);
            !plan.overloads.is_empty()
        };
        if !is_over(&table) {
            continue;
        }
        let closing = service.store.update(&balancer.host, |table| {
            take(balancer, index, service, table, rebalance, now)
        });
        for closing in closing.unwrap_or_default() {
            let Closing {
                overload,
                since,
                context_id,
            } = closing;
            balancer.held.remove(index, overload.pod, since, context_id);
            balancer.host.add(service.metrics.websockets_rebalanced, 1);
            log::info!(
                "cluster {}: closes a WebSocket of {:.0} s on pod {}, which holds {:.0} where \
                 {:.0} are even",
                service.config.cluster,
                now.since(since).as_secs_f64(),
                overload.pod,
                overload.estimate,
                overload.even_share
            );
            contexts.push(context_id);
        }
    }
    contexts
}

/// Takes what may be closed at `now` of what this worker has.
fn take<H>(
    balancer: &Balancer<H>,
    index: usize,
    service: &ServiceState,
    table: &mut Table,
    rebalance: &Rebalance,
    now: Timestamp,
) -> Vec<Closing> {
    let plan = plan(table, &service.outlook(table, now), rebalance);
    let rate = rebalance.max_per_second * plan.part;
    let Ok(spacing) = Duration::try_from_secs_f64(1.0 / rate) else {
        return Vec::new();
    };
    let most_missing = (rate * PATIENCE.as_secs_f64()).max(1.0);
    let Some(until) = now.minus(rebalance.min_age) else {
        return Vec::new();
    };
    let mut closing = Vec::new();
    for overload in plan.overloads {
        let old = balancer
            .held
            .oldest(index, overload.pod, until, overload.excess);
        for (since, context_id) in old {
            let may_close = table
                .progress_mut()
                .is_some_and(|progress| progress.close_one(now, spacing, most_missing));
            if !may_close {
                return closing;
            }
            table.apply(&[Event::Relieved { pod: overload.pod }]);
            closing.push(Closing {
                overload,
                since,
                context_id,
            });
        }
    }
    closing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::host::fake::FakeHost;
    use crate::pod::tests::address;
    use crate::report::PollFailure;
    use crate::table::Reported;

    const START: Timestamp = Timestamp::from_nanos(1_000_000_000_000);
    const TICK: Duration = Duration::from_millis(250);

    /// Eight pods of which the first four hold 500 WebSockets of this gateway, and one worker.
    struct Scene {
        balancer: Balancer<FakeHost>,
        now: Timestamp,
        contexts: u32,
        /// What the pods hold.
        truth: [u64; 8],
        closed: Vec<(Duration, usize)>,
    }

    impl Scene {
        fn new(rebalance: &str) -> Self {
            let endpoints: Vec<String> = (1..=8).map(|n| format!("{:?}", name(n))).collect();
            let json = format!(
                r#"{{"services": [{{"cluster": "chat", "endpoints": [{}]}}], "cacheTTL": "1h",
                    "rebalance": {rebalance}}}"#,
                endpoints.join(",")
            );
            let config = Config::parse(json.as_bytes()).unwrap();
            let mut scene = Self {
                balancer: Balancer::new(FakeHost::default(), config, 1),
                now: START,
                contexts: 0,
                truth: [0; 8],
                closed: Vec::new(),
            };
            scene.report(|_| Reported::default());
            for pod in 0..4 {
                for _ in 0..500 {
                    scene.open(pod);
                }
            }
            scene.report(|_| Reported::default());
            scene
        }

        fn service(&self) -> &ServiceState {
            &self.balancer.services[0]
        }

        fn record(&self, pod: usize, event: fn(PodAddress) -> Event) {
            self.service()
                .store
                .record(&self.balancer.host, &[event(address_of(pod))]);
        }

        fn open(&mut self, pod: usize) {
            self.contexts += 1;
            self.truth[pod] += 1;
            self.record(pod, |pod| Event::Opened { pod });
            self.balancer
                .held
                .insert(0, address_of(pod), self.now, self.contexts);
        }

        /// Every pod says the truth, and what else it is to say.
        fn report(&self, says: impl Fn(usize) -> Reported) {
            self.ask();
            self.answer(self.now, |pod| Reported {
                count: self.truth[pod],
                ..says(pod)
            });
        }

        /// Asks all pods now.
        fn ask(&self) {
            let updated = self.service().store.update(&self.balancer.host, |table| {
                for pod in table.pods_mut() {
                    pod.ask(self.now, self.now);
                }
            });
            updated.unwrap();
        }

        /// All pods answer what they were asked at `asked_at`.
        fn answer(&self, asked_at: Timestamp, says: impl Fn(usize) -> Reported) {
            let answers: Vec<Event> = (0..8)
                .map(|pod| Event::Answered {
                    pod: address_of(pod),
                    asked_at,
                    outcome: Ok(says(pod)),
                })
                .collect();
            self.service().store.record(&self.balancer.host, &answers);
        }

        /// A tick of the worker; how many it closes. Every client comes back, if `they_return`, to
        /// the pod with the fewest.
        fn tick(&mut self, they_return: bool) -> usize {
            self.now = self.now.plus(TICK);
            let before: u64 = self.truth.iter().sum();
            let closed = relieve(&self.balancer, self.now).len();
            let table = self.service().store.read(&self.balancer.host);
            for (truth, pod) in self.truth.iter_mut().zip(table.pods()) {
                *truth = pod.own().into();
            }
            let after: u64 = self.truth.iter().sum();
            assert_eq!(before - after, closed as u64, "it is counted at once");
            if closed > 0 {
                self.closed.push((self.now.since(START), closed));
            }
            for _ in 0..closed * usize::from(they_return) {
                let fewest = (0..8).min_by_key(|pod| self.truth[*pod]).unwrap();
                self.open(fewest);
            }
            closed
        }

        /// Ticks until nothing has been closed for a minute.
        fn settle(&mut self, they_return: bool) {
            let mut quiet = 0;
            while quiet < 240 {
                quiet = if self.tick(they_return) == 0 {
                    quiet + 1
                } else {
                    0
                };
                assert!(self.closed.len() < 10_000, "it stops by itself");
            }
        }

        fn closed(&self) -> usize {
            self.closed.iter().map(|(_, closed)| closed).sum()
        }

        /// How many are to be closed.
        fn excess(&self) -> u32 {
            self.plan().overloads.iter().map(|pod| pod.excess).sum()
        }

        /// What the overload of the pods is taken for.
        fn plan(&self) -> Plan {
            let table = self.service().store.read(&self.balancer.host);
            let rebalance = self.service().config.rebalance.unwrap();
            plan(
                &table,
                &self.service().outlook(&table, self.now),
                &rebalance,
            )
        }
    }

    fn name(n: u8) -> String {
        address(n).to_string()
    }

    /// The address of a scene's pod.
    fn address_of(pod: usize) -> PodAddress {
        address(u8::try_from(pod).unwrap() + 1)
    }

    const AT_ONCE: &str = r#"{"threshold": 1.1, "maxPerSecond": 5, "minAge": "10ms"}"#;

    #[test]
    fn pods_are_relieved_as_far_as_needed_and_no_faster_than_allowed() {
        let mut scene = Scene::new(AT_ONCE);
        scene.settle(true);
        // From 500 to 275, which is 1.1 times the even share of 250.
        assert_eq!(scene.closed(), 4 * 225);
        assert_eq!(scene.truth.iter().max(), Some(&275));
        let mut sum = 0;
        for (time, closed) in &scene.closed {
            sum += closed;
            let most = 1.0 + 5.0 * time.as_secs_f64();
            assert!(f64::from(u32::try_from(sum).unwrap()) <= most, "{time:?}");
        }
        let (end, _) = scene.closed.last().unwrap();
        assert!(end.as_secs() <= 181, "and as fast: {end:?}");
        let metric = "wsbalancer.chat.websockets_rebalanced";
        assert_eq!(scene.balancer.host.metric(metric), 900);
    }

    #[test]
    fn clients_that_do_not_return_stop_it() {
        let mut scene = Scene::new(AT_ONCE);
        scene.settle(false);
        assert_eq!(scene.closed(), 50, "ten seconds' worth");
        scene.open(7);
        scene.open(7);
        scene.settle(false);
        assert_eq!(scene.closed(), 52);
    }

    #[test]
    fn the_young_are_left_alone() {
        let mut scene = Scene::new(r#"{"threshold": 1.1, "minAge": "1m"}"#);
        for _ in 0..239 {
            assert_eq!(scene.tick(true), 0);
        }
        assert_eq!(scene.tick(true), 1);
        scene.settle(true);
        assert_eq!(scene.closed(), 900, "those that came back are not needed");
    }

    #[test]
    fn the_oldest_go_first() {
        let mut scene = Scene::new(AT_ONCE);
        scene.now = scene.now.plus(Duration::from_secs(1));
        assert_eq!(relieve(&scene.balancer, scene.now), [1]);
    }

    #[test]
    fn nothing_is_closed_while_a_pod_is_in_trouble() {
        let mut scene = Scene::new(AT_ONCE);
        assert_eq!(scene.plan().overloads.len(), 4);
        let store = &scene.service().store;
        let fails = |failure| {
            let updated = store.update(&scene.balancer.host, |table| {
                table.pods_mut()[7].ask(scene.now, scene.now);
                table.apply(&[Event::Answered {
                    pod: address(8),
                    asked_at: scene.now,
                    outcome: failure,
                }]);
            });
            updated.unwrap();
        };
        fails(Err(PollFailure::NoAnswer));
        assert_eq!(scene.plan(), Plan::default());
        fails(Ok(Reported::default()));
        assert_eq!(scene.plan().overloads.len(), 4);
        scene.record(7, |pod| Event::Refused { pod, at: START });
        assert_eq!(scene.plan(), Plan::default());
        scene.now = scene.now.plus(Duration::from_secs(7_200));
        scene.report(|_| Reported::default());
        assert_eq!(scene.plan().overloads.len(), 4);
        scene.now = scene.now.plus(Duration::from_secs(7_200));
        assert_eq!(scene.plan(), Plan::default(), "the counts are stale");
    }

    #[test]
    fn pods_that_leave_or_are_full_are_no_place_to_go() {
        let scene = Scene::new(AT_ONCE);
        // Of 2,000 on the seven that stay 285 are even.
        scene.report(|pod| Reported {
            draining: (pod == 7).then_some(true),
            ..Reported::default()
        });
        let excess = scene.plan().overloads.first().map(|pod| pod.excess);
        assert_eq!(excess, Some(185));
        scene.report(|pod| Reported {
            limit: (pod >= 4).then_some(10),
            ..Reported::default()
        });
        assert_eq!(scene.excess(), 40, "only ten fit onto each of the others");
        scene.report(|pod| Reported {
            limit: (pod >= 4).then_some(0),
            ..Reported::default()
        });
        assert_eq!(scene.plan().overloads, []);
    }

    /// The pods count, WebSockets are closed, and only then the counts arrive.
    #[test]
    fn what_a_late_count_still_has_is_not_closed_again() {
        let mut scene = Scene::new(AT_ONCE);
        for pod in 0..4 {
            for _ in 0..215 {
                scene.truth[pod] -= 1;
                scene.record(pod, |pod| Event::Closed { pod });
                scene.open(pod + 4);
            }
        }
        scene.report(|_| Reported::default());
        // Of the 285 on a pod 275 may stay.
        assert_eq!(scene.excess(), 4 * 10);
        let (counted, asked_at) = (scene.truth, scene.now);
        scene.ask();
        while scene.closed() < 20 {
            scene.tick(true);
        }
        scene.answer(asked_at, |pod| Reported {
            count: counted[pod],
            ..Reported::default()
        });
        assert!((1..=20).contains(&scene.excess()), "{}", scene.excess());
    }

    /// Half of what the pods hold was opened by others.
    #[test]
    fn each_gateway_does_its_part() {
        let mut scene = Scene::new(AT_ONCE);
        for count in &mut scene.truth[..4] {
            *count *= 2;
        }
        scene.report(|_| Reported::default());
        let plan = scene.plan();
        assert_eq!(plan.part, 0.5);
        // Of the 1,000 on a pod 550 may stay.
        assert_eq!(plan.overloads[0].excess, 225);
    }
}
