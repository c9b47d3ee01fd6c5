//! When which question is due, and whose it is to ask.

use std::time::Duration;

use super::burst;
use crate::clock::{Timestamp, part};
use crate::config::ServiceConfig;
use crate::pod::{PodAddress, PodRecord, PollState};
use crate::table::Table;

/// Ticks within an interval: a question is late by at most a tenth of it.
const TICKS_PER_INTERVAL: u32 = 10;
/// Rarer ticks would make the first counts late after a start.
const LONGEST_TICK: Duration = Duration::from_millis(250);
/// The host's timer counts milliseconds.
pub const SHORTEST_TICK: Duration = Duration::from_millis(1);

/// The first interval of a service is this part of the others: with its second count a gateway
/// knows what part of the fleet's traffic is its own.
const FIRST_INTERVAL_PART: u32 = 8;

/// A pod that is in doubt, or refuses, is asked again no sooner than this …
const BETWEEN_DOUBTS: Duration = Duration::from_millis(250);
/// … and of all such pods no more than so many at once.
const MOST_DOUBTED: usize = 20;

/// How soon Envoy is asked again while it has not listed any pods yet: at its start it may not
/// know the cluster.
const FIRST_DISCOVERY_INTERVAL: Duration = Duration::from_secs(1);

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// How many WebSockets a pod has.
    Count(PodAddress),
    /// Which pods there are.
    Hosts,
}

/// How often a worker with these services is to look at what is due.
pub fn tick_period<'a>(services: impl Iterator<Item = &'a ServiceConfig>) -> Duration {
    services
        .flat_map(|service| {
            let discovery = service.discovery().map(|discovery| discovery.interval);
            [service.rules.refresh_interval]
                .into_iter()
                .chain(discovery)
        })
        .map(|interval| part(interval, TICKS_PER_INTERVAL))
        .fold(LONGEST_TICK, Duration::min)
        .max(SHORTEST_TICK)
}

/// How long after its first count a pod is asked for the second, where the others are an
/// `interval` apart.
#[must_use]
pub fn first_interval(interval: Duration) -> Duration {
    part(interval, FIRST_INTERVAL_PART)
}

/// A worker that may poll.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The worker.
    pub worker: u64,
    /// Whether it leaves that to others as long as one of them does it.
    pub steps_back: bool,
}

/// Whether there is something for a worker to ask: its own due questions, or another worker's
/// overdue ones.
#[must_use]
pub fn is_due(table: &Table, service: &ServiceConfig, asker: Asker, now: Timestamp) -> bool {
    is_time(table, service, asker, now) || is_early(table, service, asker, now)
}

/// Whether the time of a question has come.
fn is_time(table: &Table, service: &ServiceConfig, asker: Asker, now: Timestamp) -> bool {
    let is_other = ![0, asker.worker].contains(&table.poller()) || asker.steps_back;
    let is_due = |state: &PollState, pace: Pace| {
        let overdue = if is_other {
            pace.grace()
        } else {
            Duration::ZERO
        };
        state.is_due(now, overdue, pace.patience())
    };
    Pace::of_discovery(service).is_some_and(|pace| is_due(&table.discovery(), pace))
        || table
            .pods()
            .iter()
            .any(|pod| is_due(pod.poll(), Pace::of_counts(service)))
}

/// Whether counts are to be asked for before their time. Whoever sees it asks, and is no poller for
/// that: the poller may be one that no request comes to.
fn is_early(table: &Table, service: &ServiceConfig, asker: Asker, now: Timestamp) -> bool {
    !asker.steps_back && is_early_due(table, service, now)
}

/// Whether pods are to be asked before their time: within a burst, or because a handshake has found
/// no connection or has passed them by.
#[must_use]
pub fn is_early_due(table: &Table, service: &ServiceConfig, now: Timestamp) -> bool {
    table.pods().iter().any(|pod| is_in_question(pod, now)) || burst::is_due(table, service, now)
}

/// Asks the pods that are to be asked before their time.
pub fn claim_early(table: &mut Table, service: &ServiceConfig, now: Timestamp) -> Vec<PodAddress> {
    let mut asked = burst::claim(table, service, now);
    let mut left = MOST_DOUBTED;
    asked.extend(table.ask_alone(now, |pod| {
        let is_asked = left > 0 && is_in_question(pod, now);
        left = left.saturating_sub(usize::from(is_asked));
        is_asked
    }));
    asked
}

/// Whether only a poll can say if the pod is there.
fn is_in_question(pod: &PodRecord, now: Timestamp) -> bool {
    pod.is_to_be_asked(now, BETWEEN_DOUBTS)
}

/// Whether nobody has polled for two intervals what is to be polled.
#[must_use]
pub fn is_abandoned(table: &Table, service: &ServiceConfig, now: Timestamp) -> bool {
    let counts = table.pods().iter().map(PodRecord::poll).copied();
    let counts = counts.map(|state| (state, Some(Pace::of_counts(service))));
    let hosts = [(table.discovery(), Pace::of_discovery(service))];
    let asked = counts
        .chain(hosts)
        .filter_map(|(state, pace)| Some((state.due_at(), pace?)))
        .filter(|(due_at, _)| due_at.happened());
    let mut overdue =
        asked.map(|(due_at, pace)| due_at.plus(pace.interval.saturating_mul(2)) <= now);
    let first = overdue.next();
    first.is_some_and(|first| first && overdue.all(|overdue| overdue))
}

/// Takes for a worker what is due, and sets when it is due again.
pub fn claim(
    table: &mut Table,
    service: &ServiceConfig,
    asker: Asker,
    now: Timestamp,
) -> Vec<Question> {
    let (hosts, counts) = if is_time(table, service, asker, now) {
        table.appoint(asker.worker);
        let hosts = claim_hosts(table, service, now).then_some(Question::Hosts);
        (hosts, claim_counts(table, Pace::of_counts(service), now))
    } else if asker.steps_back {
        (None, Vec::new())
    } else {
        (None, claim_early(table, service, now))
    };
    let counts = counts.into_iter().map(Question::Count);
    hosts.into_iter().chain(counts).collect()
}

fn claim_hosts(table: &mut Table, service: &ServiceConfig, now: Timestamp) -> bool {
    let Some(pace) = Pace::of_discovery(service) else {
        return false;
    };
    let state = table.discovery();
    if !state.is_due(now, Duration::ZERO, pace.patience()) {
        return false;
    }
    let next = if state.succeeded_at().happened() {
        pace.next(state.due_at(), now)
    } else {
        now.plus(pace.interval.min(FIRST_DISCOVERY_INTERVAL))
    };
    table.discover(now, next);
    true
}

/// All pods of a service are due together, for only counts of the same moment can be compared: a
/// pod that is new joins the others.
fn claim_counts(table: &mut Table, pace: Pace, now: Timestamp) -> Vec<PodAddress> {
    let together = table
        .pods()
        .iter()
        .map(|pod| pod.poll().due_at())
        .filter(|&due_at| due_at > now)
        .min();
    let first = together.unwrap_or(now.plus(first_interval(pace.interval)));
    table.ask(now, |pod| {
        let state = pod.poll();
        let next = if state.due_at().happened() {
            pace.next(state.due_at(), now)
        } else {
            first
        };
        state
            .is_due(now, Duration::ZERO, pace.patience())
            .then_some(next)
    })
}

/// How often a question is asked, and how long its answer may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// How long the answer may take.
    pub(super) timeout: Duration,
}

impl Pace {
    /// That of the question for counts.
    pub(super) const fn of_counts(service: &ServiceConfig) -> Self {
        Self {
            interval: service.rules.refresh_interval,
            timeout: service.metric_timeout,
        }
    }

    /// That of the question for pods; none where the configuration lists them.
    pub(super) fn of_discovery(service: &ServiceConfig) -> Option<Self> {
        let interval = service.discovery()?.interval;
        Some(Self {
            interval,
            timeout: service.metric_timeout.min(interval),
        })
    }

    /// How long a question of another worker's may be overdue.
    fn grace(self) -> Duration {
        part(self.interval, 2)
    }

    /// How long an answer is waited for. A question that ends in a timeout ends about when the
    /// next is due; were it asked again first, that failure would be none. With the grace, a
    /// poller that died just after it asked is replaced before two intervals have passed.
    fn patience(self) -> Duration {
        self.timeout.saturating_add(part(self.interval, 4))
    }

    /// When a question that was due at `due_at` and is asked `now` is due again: an interval later,
    /// and after a gap without catching up.
    fn next(self, due_at: Timestamp, now: Timestamp) -> Timestamp {
        let next = due_at.plus(self.interval);
        if next > now {
            next
        } else {
            now.plus(self.interval)
        }
    }
}
