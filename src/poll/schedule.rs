//! When which question is due, and whose it is to ask.

use std::time::Duration;

use super::burst;
use super::portion::{self, SHORTEST_TICK};
use crate::clock::{Timestamp, part};
use crate::config::ServiceConfig;
use crate::pod::{PodAddress, PodRecord, PollState};
use crate::service::Round;
use crate::table::Table;

/// Ticks within an interval: a question is late by at most a tenth of it.
const TICKS_PER_INTERVAL: u32 = 10;
/// Rarer ticks would make the first counts late after a start.
const LONGEST_TICK: Duration = Duration::from_millis(250);

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
    /// Since when it leaves that to others, as long as one of them does it; none where it does not.
    pub stepped_back_at: Option<Timestamp>,
    /// The round that it is in the middle of.
    pub round: Option<Round>,
    /// How many pods it may ask at once.
    pub most: usize,
}

impl Asker {
    /// Whether others have had the time to ask, if it leaves that to them: nobody knows since when a
    /// question is due that was never asked.
    fn may_step_in(&self, pace: Pace, now: Timestamp) -> bool {
        let since = self.stepped_back_at;
        since.is_none_or(|since| since.plus(pace.grace()) <= now)
    }

    /// The round, unless so much time has passed that others may have taken it over.
    fn round(&self, service: &ServiceConfig, now: Timestamp) -> Option<Round> {
        let grace = Pace::of_counts(service).grace();
        self.round
            .filter(|round| now.since(round.began_at()) < grace)
    }
}

/// What a worker has taken upon itself to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The questions, and the moments at which they count as asked.
    pub questions: Vec<(Question, Timestamp)>,
    /// The round, if it is not over …
    pub round: Option<Round>,
    /// … and how many pods are to be asked in it.
    pub left: usize,
}

impl Claim {
    /// These pods are asked in a round, which is over where nobody is left.
    fn of_round(pods: Vec<PodAddress>, round: Round, left: usize) -> Self {
        let mut claim = Self {
            round: (left > 0).then_some(round),
            left,
            ..Self::default()
        };
        claim.add(pods, round.began_at());
        claim
    }

    fn add(&mut self, pods: Vec<PodAddress>, at: Timestamp) {
        let questions = pods.into_iter().map(|pod| (Question::Count(pod), at));
        self.questions.extend(questions);
    }
}

/// Whether there is something for a worker to ask: its own due questions, or another worker's
/// overdue ones.
#[must_use]
pub fn is_due(table: &Table, service: &ServiceConfig, asker: Asker, now: Timestamp) -> bool {
    is_time(table, service, asker, now) || is_early(table, service, asker, now)
}

/// Whether the time of a question has come.
fn is_time(table: &Table, service: &ServiceConfig, asker: Asker, now: Timestamp) -> bool {
    let steps_back = asker.stepped_back_at.is_some();
    let is_other = ![0, asker.worker].contains(&table.poller()) || steps_back;
    let is_due = |state: &PollState, pace: Pace| {
        let overdue = if is_other {
            pace.grace()
        } else {
            Duration::ZERO
        };
        state.is_due(now, overdue, pace.patience()) && asker.may_step_in(pace, now)
    };
    // A pod that nobody has asked yet is the poller's, which may be about to ask it in a portion.
    let has_time = |pod: &&PodRecord| pod.poll().due_at().happened();
    let is_begun = is_other && table.pods().iter().any(|pod| has_time(&pod));
    Pace::of_discovery(service).is_some_and(|pace| is_due(&table.discovery(), pace))
        || table
            .pods()
            .iter()
            .filter(|pod| !is_begun || has_time(pod))
            .any(|pod| is_due(pod.poll(), Pace::of_counts(service)))
}

/// Whether counts are to be asked for before their time. Whoever sees it asks, and is no poller for
/// that: the poller may be one that no request comes to.
fn is_early(table: &Table, service: &ServiceConfig, asker: Asker, now: Timestamp) -> bool {
    let has_begun = matches!(asker.round(service, now), Some(Round::Early(_)));
    asker.stepped_back_at.is_none() && (has_begun || is_early_due(table, service, now))
}

/// Whether pods are to be asked before their time: within a burst, or because a handshake has found
/// no connection or has passed them by.
#[must_use]
pub fn is_early_due(table: &Table, service: &ServiceConfig, now: Timestamp) -> bool {
    table.pods().iter().any(|pod| is_in_question(pod, now)) || burst::is_due(table, service, now)
}

/// Asks all pods that are to be asked before their time.
pub fn claim_early(table: &mut Table, service: &ServiceConfig, now: Timestamp) -> Vec<PodAddress> {
    let claim = claim_early_of(table, service, None, usize::MAX, now);
    let asked = claim.questions.into_iter();
    asked
        .filter_map(|(question, _)| match question {
            Question::Count(pod) => Some(pod),
            Question::Hosts => None,
        })
        .collect()
}

/// Asks at most `most` of them, in a round that began at `began_at` if one has.
fn claim_early_of(
    table: &mut Table,
    service: &ServiceConfig,
    began_at: Option<Timestamp>,
    most: usize,
    now: Timestamp,
) -> Claim {
    let began_at = began_at.or_else(|| burst::is_due(table, service, now).then_some(now));
    let mut claim = began_at
        .map(|began_at| {
            let (pods, left) = burst::claim(table, began_at, most);
            Claim::of_round(pods, Round::Early(began_at), left)
        })
        .unwrap_or_default();
    let mut most = most.saturating_sub(claim.questions.len()).min(MOST_DOUBTED);
    let alone = table.ask_alone(now, |pod| {
        let is_asked = most > 0 && is_in_question(pod, now);
        most = most.saturating_sub(usize::from(is_asked));
        is_asked
    });
    claim.add(alone, now);
    claim
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

/// Takes for a worker what is due, as far as it may ask at once, and sets when it is due again.
pub fn claim(table: &mut Table, service: &ServiceConfig, asker: Asker, now: Timestamp) -> Claim {
    let round = asker.round(service, now);
    if is_time(table, service, asker, now) {
        table.appoint(asker.worker);
        let asks_for_hosts = claim_hosts(table, service, now);
        let began_at = match round {
            Some(Round::Due(began_at)) => began_at,
            Some(Round::Early(_)) | None => now,
        };
        let pace = Pace::of_counts(service);
        let (pods, left) = claim_counts(table, pace, asker, began_at, now);
        let mut claim = Claim::of_round(pods, Round::Due(began_at), left);
        if asks_for_hosts {
            claim.questions.insert(0, (Question::Hosts, now));
        }
        claim
    } else if asker.stepped_back_at.is_some() {
        Claim::default()
    } else {
        let began_at = match round {
            Some(Round::Early(began_at)) => Some(began_at),
            Some(Round::Due(_)) | None => None,
        };
        claim_early_of(table, service, began_at, asker.most, now)
    }
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
/// pod that is new joins the others. So all of a round are asked as of the moment at which it began.
fn claim_counts(
    table: &mut Table,
    pace: Pace,
    asker: Asker,
    began_at: Timestamp,
    now: Timestamp,
) -> (Vec<PodAddress>, usize) {
    // It may be here for the hosts.
    if !asker.may_step_in(pace, now) {
        return (Vec::new(), 0);
    }
    let together = table
        .pods()
        .iter()
        .map(|pod| pod.poll().due_at())
        .filter(|&due_at| due_at > began_at)
        .min();
    let first = together.unwrap_or(began_at.plus(first_interval(pace.interval)));
    portion::ask(table, began_at, asker.most, |pod| {
        let state = pod.poll();
        let next = if state.due_at().happened() {
            pace.next(state.due_at(), began_at)
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
