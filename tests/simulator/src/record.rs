//! What is measured while a scenario is played.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wsbalancer::clock::Timestamp;

use crate::pods::{Balance, PodId, Pods};
use crate::scenario::{BEGINNING, Scenario};

mod newcomer;
mod shares;
mod trace;

pub use newcomer::Bin;
use newcomer::Newcomer;
use shares::Seconds;
pub use shares::{LARGEST, Shares};
pub use trace::TRACE_STEP;
use trace::Trace;

/// Pods are even while the largest count is less than this part of the mean.
pub const EVEN: f64 = 1.05;

/// No pod lacks WebSockets while the smallest count is more than this part of the mean.
pub const FULL: f64 = 0.95;

/// Who has not been even for so long has not returned "for good".
const PROOF: Duration = Duration::from_secs(10);

/// What a scenario came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The largest count to the mean in the steady state: its average over time.
    pub imbalance: f64,
    /// … and its largest value.
    pub worst: f64,
    /// What pods got within the seconds of the steady state.
    pub shares: Shares,
    /// In the steady state, by how many WebSockets a pod that was chosen had more than the one
    /// that had the fewest in truth: how often by how many.
    pub excesses: Vec<u32>,
    /// From the beginning, and from each incident.
    pub returns: Vec<Return>,
    /// The largest count to the mean from the beginning on, a point for each [`TRACE_STEP`].
    pub trace: Vec<f64>,
    /// The part of the new WebSockets that a pod got that was added.
    pub newcomer: Vec<Bin>,
    /// Handshakes that no pod accepted.
    pub failures: u32,
    /// When gateways ended WebSockets to rebalance.
    pub rebalanced: Vec<Timestamp>,
    /// Handshakes of the steady state for which a gateway knew no pod.
    pub refused: u32,
    /// The largest count to the mean at each of [`Scenario::looks`].
    pub noted: Vec<f64>,
    /// How often pods were asked for their counts.
    pub polls: Polls,
}

/// How often a pod was asked for its count in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Polls {
    /// At most.
    pub peak: u32,
    /// At most, before its time.
    pub early_peak: u32,
    /// On average.
    pub average: f64,
}

impl Outcome {
    /// The largest excess.
    #[must_use]
    pub fn largest_excess(&self) -> usize {
        self.excesses.len().saturating_sub(1)
    }

    /// The part of the choices that had an excess of more than `allowed`.
    #[must_use]
    pub fn exceeding(&self, allowed: usize) -> f64 {
        let sum = |excesses: &[u32]| excesses.iter().copied().map(f64::from).sum::<f64>();
        let over = self.excesses.get(allowed + 1..).unwrap_or_default();
        sum(over) / sum(&self.excesses).max(1.0)
    }
}

/// How the pods became even again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Return {
    /// How long they took until they were [even](EVEN) and stayed so; none if they did not.
    pub took: Option<Duration>,
    /// How long they took until none [lacked](FULL) any and it stayed so; none if it did not.
    pub filled: Option<Duration>,
    /// The largest count to the mean meanwhile.
    pub peak: f64,
}

/// What is going on since something happened.
#[derive(Clone, Copy, Debug)]
struct Watch {
    since: Timestamp,
    uneven_until: Timestamp,
    lacking_until: Timestamp,
    peak: f64,
}

impl Watch {
    const fn new(since: Timestamp, balance: Balance) -> Self {
        Self {
            since,
            uneven_until: since,
            lacking_until: since,
            peak: balance.largest,
        }
    }

    /// It was like this until `now`.
    fn advance(&mut self, now: Timestamp, balance: Balance) {
        if balance.largest >= EVEN {
            self.uneven_until = now;
        }
        if balance.smallest <= FULL {
            self.lacking_until = now;
        }
        self.peak = self.peak.max(balance.largest);
    }

    fn finish(self, now: Timestamp) -> Return {
        let good_from = |last_bad: Timestamp| {
            let is_proven = now.since(last_bad) >= PROOF;
            is_proven.then(|| last_bad.since(self.since))
        };
        Return {
            took: good_from(self.uneven_until),
            filled: good_from(self.lacking_until),
            peak: self.peak,
        }
    }
}

/// Keeps the measures.
#[derive(Debug)]
pub(crate) struct Record {
    steady_from: Timestamp,
    looked_at: Timestamp,
    /// As it is since then.
    balance: Balance,
    /// The imbalance times the seconds that it was so, in the steady state.
    area: f64,
    worst: f64,
    seconds: Seconds,
    excesses: Vec<u32>,
    watch: Watch,
    returns: Vec<Return>,
    trace: Trace,
    newcomer: Newcomer,
    failures: u32,
    rebalanced: Vec<Timestamp>,
    refused: u32,
    noted: Vec<f64>,
    asked: Asked,
    asked_early: Asked,
}

/// Polls by second and pod.
type Asked = BTreeMap<(u64, PodId), u32>;

impl Record {
    pub(crate) fn new(scenario: &Scenario, pods: &Pods) -> Self {
        let balance = pods.balance();
        Self {
            steady_from: Scenario::at(scenario.warm_up),
            looked_at: BEGINNING,
            balance,
            area: 0.0,
            worst: 1.0,
            seconds: Seconds::default(),
            excesses: Vec::new(),
            watch: Watch::new(BEGINNING, balance),
            returns: Vec::new(),
            trace: Trace::default(),
            newcomer: Newcomer::default(),
            failures: 0,
            rebalanced: Vec::new(),
            refused: 0,
            noted: Vec::new(),
            asked: Asked::new(),
            asked_early: Asked::new(),
        }
    }

    /// Sees the pods as they are from `now` on.
    pub(crate) fn look(&mut self, now: Timestamp, pods: &Pods) {
        self.advance(now);
        self.balance = pods.balance();
    }

    /// Something happens: how the pods return from it is measured apart from what was before.
    pub(crate) fn mark(&mut self, now: Timestamp) {
        self.advance(now);
        self.returns.push(self.watch.finish(now));
        self.watch = Watch::new(now, self.balance);
    }

    /// A pod is chosen that has so many more than the one that has the fewest.
    pub(crate) fn choose(&mut self, now: Timestamp, excess: u32) {
        if now < self.steady_from {
            return;
        }
        let excess = usize::try_from(excess).unwrap_or(usize::MAX);
        if self.excesses.len() <= excess {
            self.excesses.resize(excess + 1, 0);
        }
        self.excesses[excess] += 1;
    }

    /// A pod accepts a WebSocket.
    pub(crate) fn open(&mut self, now: Timestamp, pod: PodId, pods: &Pods) {
        if now >= self.steady_from {
            self.seconds.open(now, pod, pods.up().count());
        }
    }

    /// A gateway knows no pod for a handshake.
    pub(crate) fn refuse(&mut self, now: Timestamp) {
        self.refused += u32::from(now >= self.steady_from);
    }

    /// How even the pods are is noted.
    pub(crate) fn note(&mut self) {
        self.noted.push(self.balance.largest);
    }

    /// A pod is asked for its count, perhaps before its time.
    pub(crate) fn ask(&mut self, now: Timestamp, pod: PodId, is_early: bool) {
        let second = now.since(BEGINNING).as_secs();
        *self.asked.entry((second, pod)).or_default() += 1;
        if is_early {
            *self.asked_early.entry((second, pod)).or_default() += 1;
        }
    }

    /// A gateway ends a WebSocket to rebalance.
    pub(crate) fn rebalance(&mut self, now: Timestamp) {
        self.rebalanced.push(now);
    }

    /// A handshake fails.
    pub(crate) const fn fail(&mut self) {
        self.failures += 1;
    }

    pub(crate) const fn newcomer(&mut self) -> &mut Newcomer {
        &mut self.newcomer
    }

    pub(crate) fn finish(mut self, now: Timestamp) -> Outcome {
        self.advance(now);
        self.returns.push(self.watch.finish(now));
        let steady = now.since(self.steady_from).as_secs_f64();
        let polls = self.polls(now);
        Outcome {
            imbalance: self.area / steady,
            worst: self.worst,
            shares: self.seconds.finish(),
            excesses: self.excesses,
            returns: self.returns,
            trace: self.trace.points,
            newcomer: self.newcomer.finish(),
            failures: self.failures,
            rebalanced: self.rebalanced,
            refused: self.refused,
            noted: self.noted,
            polls,
        }
    }

    fn polls(&self, now: Timestamp) -> Polls {
        let pods: BTreeSet<PodId> = self.asked.keys().map(|(_, pod)| *pod).collect();
        let pods = u32::try_from(pods.len()).map_or(f64::INFINITY, f64::from);
        let all: u32 = self.asked.values().sum();
        Polls {
            peak: peak(&self.asked),
            early_peak: peak(&self.asked_early),
            average: f64::from(all) / pods.max(1.0) / now.since(BEGINNING).as_secs_f64(),
        }
    }

    /// Accounts for the balance as it was until `now`.
    fn advance(&mut self, now: Timestamp) {
        let imbalance = self.balance.largest;
        self.watch.advance(now, self.balance);
        if now > self.steady_from {
            let since = self.looked_at.max(self.steady_from);
            self.area += imbalance * now.since(since).as_secs_f64();
            self.worst = self.worst.max(imbalance);
        }
        let since = self.looked_at.since(BEGINNING);
        self.trace.advance(since, now.since(BEGINNING), imbalance);
        self.looked_at = now;
    }
}

fn peak(asked: &Asked) -> u32 {
    asked.values().copied().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::{self, Size};

    fn at(seconds: u64) -> Timestamp {
        Scenario::at(Duration::from_secs(seconds))
    }

    /// Two pods with these counts.
    fn pods(counts: [u32; 2]) -> Pods {
        let mut pods = Pods::new(2);
        for (pod, count) in (0..).map(PodId).zip(counts) {
            for _ in 0..count {
                pods.open_one(pod);
            }
        }
        pods
    }

    fn record() -> Record {
        let mut scenario = trials::steady(Size::Quick, 1)[0].scenarios[0].clone();
        scenario.warm_up = Duration::from_secs(10);
        Record::new(&scenario, &pods([50, 50]))
    }

    #[test]
    fn the_average_is_over_the_time_of_the_steady_state() {
        let mut record = record();
        record.look(at(5), &pods([100, 0]));
        record.look(at(11), &pods([50, 50]));
        record.look(at(15), &pods([60, 40]));
        let outcome = record.finish(at(20));
        // 2.0 for 1 s, 1.0 for 4 s, 1.2 for 5 s.
        assert!((outcome.imbalance - 1.2).abs() < 1e-9);
        assert!((outcome.worst - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_return_is_for_good() {
        let mut record = record();
        record.mark(at(10));
        record.look(at(11), &pods([60, 40]));
        record.look(at(13), &pods([50, 50]));
        record.look(at(17), &pods([60, 40]));
        record.look(at(18), &pods([52, 48]));
        let outcome = record.finish(at(40));
        let [first, second] = outcome.returns[..] else {
            panic!("{:?}", outcome.returns);
        };
        let expect = Return {
            took: Some(Duration::ZERO),
            filled: Some(Duration::ZERO),
            peak: 1.0,
        };
        assert_eq!(first, expect);
        assert_eq!(second.took, Some(Duration::from_secs(8)));
        assert_eq!(second.filled, Some(Duration::from_secs(8)));
        assert!((second.peak - 1.2).abs() < 1e-9);
    }

    #[test]
    fn who_is_uneven_at_the_end_has_not_returned() {
        let mut record = record();
        record.look(at(29), &pods([60, 40]));
        record.look(at(30), &pods([50, 50]));
        assert_eq!(record.finish(at(35)).returns[0].took, None);
    }

    #[test]
    fn excesses_are_counted_in_the_steady_state() {
        let mut record = record();
        record.choose(at(5), 9);
        for excess in [0, 0, 1, 3] {
            record.choose(at(15), excess);
        }
        let outcome = record.finish(at(20));
        assert_eq!(outcome.largest_excess(), 3);
        assert!((outcome.exceeding(1) - 0.25).abs() < 1e-9);
        assert!(outcome.exceeding(3).abs() < 1e-9);
    }
}
