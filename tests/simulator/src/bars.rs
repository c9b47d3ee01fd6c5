//! What the filter must reach.

use std::fmt;
use std::time::Duration;

use wsbalancer::clock::Timestamp;
use wsbalancer::config::{Rebalance, SlowStart};

use crate::bursts::Played;
use crate::load_reports::Compared;
use crate::policy::Kind;
use crate::record::{Bin, EVEN, LARGEST, Outcome, Shares};
use crate::scenario::{Scenario, Start};
use crate::trials::{Situation, Tried};

/// The largest count to the mean in the steady state, averaged over time.
pub const IMBALANCE: f64 = 1.02;

/// By how much the filter may be later than the best of the others: a second. A gateway does not
/// learn sooner that another is gone, and chance alone moves a return by some tenths.
pub const LATENESS: Duration = Duration::from_secs(1);

/// By how many WebSockets a pod that a single gateway chooses may exceed the emptiest.
pub const EXCESS: usize = 1;

/// How far a pod's share in its slow start may be from the curve, in standard deviations …
const DEVIATIONS: f64 = 5.0;
/// … and besides, for a pod that has just come up may not be the emptiest any more.
const SLACK: f64 = 0.005;

/// Whether a bar is reached.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What must be.
    pub bar: String,
    /// In how many cases it was tried.
    pub cases: usize,
    /// What is nearest to the bar, or farthest beyond it.
    pub extreme: String,
    /// The cases that miss it.
    pub missed: Vec<String>,
}

impl Verdict {
    /// Whether it is reached in all cases.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.cases > 0 && self.missed.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            bar,
            cases,
            extreme,
            missed,
        } = self;
        if self.is_met() {
            return write!(f, "met     {bar}: {extreme} ({cases} cases)");
        }
        write!(f, "MISSED  {bar}: {extreme} ({} of {cases})", missed.len())?;
        for case in missed {
            write!(f, "\n        {case}")?;
        }
        Ok(())
    }
}

/// The filter's outcomes with their names.
fn cases<'a>(
    tried: impl IntoIterator<Item = &'a Tried>,
) -> impl Iterator<Item = (String, &'a Outcome)> {
    tried.into_iter().flat_map(|tried| {
        let scenarios = tried.trial.scenarios.iter();
        let named = scenarios.map(move |scenario| name(tried, scenario));
        named.zip(tried.of(Kind::Filter))
    })
}

fn name(tried: &Tried, scenario: &Scenario) -> String {
    let situation = match tried.trial.situation {
        Situation::Steady => String::new(),
        situation => format!("{situation}, "),
    };
    format!(
        "{situation}{}, {}, {}",
        tried.trial.fleet, scenario.lifetime.spread, scenario.shares
    )
}

/// In the steady state the pods are even.
#[must_use]
pub fn imbalance(tried: &[Tried]) -> Verdict {
    let values = cases(tried).map(|(name, outcome)| (name, Some(outcome.imbalance)));
    at_most(
        format!("steady state, largest to mean at most {IMBALANCE}"),
        values,
        IMBALANCE,
        3,
    )
}

/// In the steady state no pod gets much more than others within a second.
#[must_use]
pub fn share(tried: &[Tried]) -> Verdict {
    let tried = tried.iter().filter(|tried| !is_up_to_chance(tried));
    let values = cases(tried).map(|(name, outcome)| (name, outcome.shares.largest));
    at_most(
        format!("of a second's new WebSockets no pod gets over {LARGEST} even shares"),
        values,
        LARGEST,
        2,
    )
}

/// The largest count to the mean over time, on average over several outcomes.
pub(crate) fn mean_imbalance(outcomes: &[Outcome]) -> f64 {
    let sum: f64 = outcomes.iter().map(|outcome| outcome.imbalance).sum();
    sum / f64::from(u32::try_from(outcomes.len()).unwrap_or(u32::MAX))
}

/// What load reports may cost where they are of no use, in parts of the mean.
const COST_OF_LOAD_REPORTS: f64 = 0.001;

/// Pods that tell their count with each handshake are at least as even as others.
#[must_use]
pub fn load_reports(compared: &[Compared]) -> Verdict {
    let values = compared.iter().map(|compared| {
        let [with, without] =
            [&compared.load_reports, &compared.polls].map(|of| mean_imbalance(of));
        (compared.situation.to_string(), Some(with - without))
    });
    at_most(
        format!("with load reports at most {COST_OF_LOAD_REPORTS} less even than without"),
        values,
        COST_OF_LOAD_REPORTS,
        4,
    )
}

/// … and where chance alone gives a pod so many, that is no more frequent than with the omniscient
/// policy, give or take three standard deviations.
#[must_use]
pub fn share_beside_chance(tried: &[Tried]) -> Verdict {
    let tried = || tried.iter().filter(|tried| is_up_to_chance(tried));
    let sum = |kind, measure: fn(&Shares) -> u32| {
        let outcomes = tried().flat_map(|tried| tried.of(kind));
        outcomes
            .map(|outcome| measure(&outcome.shares))
            .sum::<u32>()
    };
    let often = |kind| sum(kind, |shares| shares.too_large);
    let (filter, chance) = (often(Kind::Filter), often(Kind::Omniscient));
    let deviation = f64::from(filter + chance).sqrt();
    let is_met = f64::from(filter) <= f64::from(chance) + 3.0 * deviation;
    let looks = sum(Kind::Filter, |shares| shares.looks);
    let extreme = format!("{filter} times and omniscient {chance} times of {looks}");
    Verdict {
        bar: "with 20 as the even share no more often than by chance".to_owned(),
        cases: cases(tried()).count(),
        missed: (!is_met).then(|| extreme.clone()).into_iter().collect(),
        extreme,
    }
}

/// Whether chance alone gives a pod twice its even share within a second, now and then. What pods
/// get with the omniscient policy is what has ended on them, a Poisson number: twice a mean of 20
/// are four and a half standard deviations, and there are hundreds of thousands of looks.
fn is_up_to_chance(tried: &Tried) -> bool {
    let mut scenarios = tried.trial.scenarios.iter();
    scenarios.any(|scenario| scenario.even_share() < 25.0)
}

/// A single gateway chooses a pod that has no more than any other.
#[must_use]
pub fn exact(tried: &[Tried], start: Start) -> Verdict {
    let values = cases(tried).map(|(name, outcome)| {
        let excess = u32::try_from(outcome.largest_excess()).map_or(f64::INFINITY, f64::from);
        (name, Some(excess))
    });
    let allowed = u32::try_from(EXCESS).map_or(0.0, f64::from);
    at_most(
        format!("a single gateway, {start}: chosen pod at most {EXCESS} over the emptiest"),
        values,
        allowed,
        0,
    )
}

/// At the end of a burst the pods are as even as they can be, as far as the case demands.
#[must_use]
pub fn bursts(played: &[Played], counts_are_prompt: bool) -> Verdict {
    let cases = played
        .iter()
        .filter(|played| played.case.counts_are_prompt == counts_are_prompt);
    let values = cases.map(|played| {
        let beside = |outcome: &Outcome| outcome.noted.first().copied();
        let best = beside(&played.omniscient).unwrap_or(f64::NAN);
        let value = beside(&played.filter).map(|filter| filter / best / played.case.bar);
        (played.case.name.clone(), value)
    });
    let counts = if counts_are_prompt { "prompt" } else { "late" };
    at_most(
        format!("at the end of a burst, with {counts} counts, as even as its bar says"),
        values,
        1.0,
        3,
    )
}

/// Where pods have limits, nobody is refused within a burst: there is room.
#[must_use]
pub fn refused(played: &[Played]) -> Verdict {
    let limited = played
        .iter()
        .filter(|played| played.case.scenario.limit_of_all.is_some());
    let values =
        limited.map(|played| (played.case.name.clone(), Some(played.filter.refused.into())));
    at_most("… and nobody is refused".to_owned(), values, 0.0, 0)
}

/// Early polls of a pod in a second, in a fleet of one …
const EARLY_POLLS: u32 = 4;
/// … and of each gateway beside: a first one at once, and one that tells who else is there.
const FIRST_EARLY_POLLS: u32 = 2;

/// A pod is not asked before its time more often than it may be.
#[must_use]
pub fn early_polls(played: &[Played]) -> Verdict {
    let values = played.iter().map(|played| {
        let gateways = u32::from(played.case.scenario.gateways);
        let most = if played.case.counts_are_prompt {
            EARLY_POLLS.max(FIRST_EARLY_POLLS * gateways)
        } else {
            // They do not tell how many gateways there are.
            EARLY_POLLS * gateways
        };
        let peak = f64::from(played.filter.polls.early_peak);
        (played.case.name.clone(), Some(peak / f64::from(most)))
    });
    at_most(
        "… and pods are not asked too often".to_owned(),
        values,
        1.0,
        2,
    )
}

fn at_most(
    bar: String,
    values: impl Iterator<Item = (String, Option<f64>)>,
    limit: f64,
    digits: usize,
) -> Verdict {
    let mut cases = 0;
    let mut largest = f64::NEG_INFINITY;
    let mut missed = Vec::new();
    for (name, value) in values.filter_map(|(name, value)| Some((name, value?))) {
        cases += 1;
        largest = largest.max(value);
        if value > limit {
            missed.push(format!("{name}: {value:.digits$}"));
        }
    }
    Verdict {
        bar,
        cases,
        extreme: format!("largest {largest:.digits$}"),
        missed,
    }
}

/// After an incident the pods are even again as soon as with the best of the others. How a fleet
/// begins is no incident: whoever opened all there is knows more than any report can say.
#[must_use]
pub fn returns(tried: &[Tried]) -> Verdict {
    let mut cases = 0;
    let mut latest = f64::NEG_INFINITY;
    let mut missed = Vec::new();
    let incidents = tried
        .iter()
        .filter(|tried| matches!(tried.trial.situation, Situation::Incident(_)));
    for tried in incidents {
        for (index, scenario) in tried.trial.scenarios.iter().enumerate() {
            let took = |kind| tried.of(kind).nth(index).and_then(took);
            let best = Kind::BASELINES.into_iter().filter_map(took).min();
            let filter = took(Kind::Filter);
            cases += 1;
            let is_met = match (filter, best) {
                (Some(filter), Some(best)) => {
                    latest = latest.max(filter.as_secs_f64() - best.as_secs_f64());
                    filter <= best + LATENESS
                }
                (None, Some(_)) => {
                    latest = f64::INFINITY;
                    false
                }
                (Some(_), None) => true,
                // Then it must be that chance does not let them be even for long.
                (None, None) => false,
            };
            if !is_met {
                let name = name(tried, scenario);
                missed.push(format!(
                    "{name}: {}, the best of the others {}",
                    seconds(filter),
                    seconds(best)
                ));
            }
        }
    }
    Verdict {
        bar: format!(
            "after an incident under {EVEN} at most {} s after the best of the others",
            LATENESS.as_secs()
        ),
        cases,
        extreme: format!("latest {latest:+.1} s"),
        missed,
    }
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or("never".to_owned(), |time| {
        format!("{:.1} s", time.as_secs_f64())
    })
}

/// How long the pods took to become even after what happened last.
#[must_use]
pub fn took(outcome: &Outcome) -> Option<Duration> {
    outcome.returns.last().and_then(|last| last.took)
}

/// A step of a slow start beside the curve.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The choices.
    pub bin: Bin,
    /// The pod's part of them.
    pub share: f64,
    /// What the curve says.
    pub curve: f64,
    /// How far both may be apart.
    pub tolerance: f64,
}

/// The steps of a slow start.
#[must_use]
pub fn steps(outcome: &Outcome, slow_start: &SlowStart) -> Vec<Step> {
    let within = outcome.newcomer.iter();
    let within = within.filter(|bin| bin.until <= slow_start.window);
    let step = |bin: &Bin| {
        let curve = curve(bin, slow_start);
        let choices = f64::from(bin.choices);
        Step {
            bin: *bin,
            share: f64::from(bin.chosen) / choices,
            curve,
            tolerance: DEVIATIONS * (curve * (1.0 - curve) / choices).sqrt() + SLACK,
        }
    };
    within.map(step).collect()
}

/// The mean of the curve over a step.
fn curve(bin: &Bin, slow_start: &SlowStart) -> f64 {
    const POINTS: u32 = 100;
    let length = bin.until.saturating_sub(bin.since);
    let sum: f64 = (0..POINTS)
        .map(|point| bin.since + length * point / POINTS)
        .map(|elapsed| slow_start.factor(elapsed).unwrap_or(1.0))
        .sum();
    sum / f64::from(POINTS)
}

/// In its slow start a pod's share of the new WebSockets follows the curve.
#[must_use]
pub fn slow_start(outcome: &Outcome, slow_start: &SlowStart) -> Verdict {
    let steps = steps(outcome, slow_start);
    let mut farthest = 0.0_f64;
    let mut missed = Vec::new();
    for step in &steps {
        let distance = (step.share - step.curve).abs();
        farthest = farthest.max(distance);
        // What no choice was made in is no number.
        if distance.is_nan() || distance > step.tolerance {
            missed.push(format!("from {:?}: {:.3}", step.bin.since, step.share));
        }
    }
    Verdict {
        bar: format!(
            "slow start, aggression {}: the share follows the curve",
            slow_start.aggression
        ),
        cases: steps.len(),
        extreme: format!("farthest {farthest:.3}"),
        missed,
    }
}

/// Clients that are away for no longer than this are soon seen elsewhere.
const PROMPT: Duration = Duration::from_secs(2);

/// How many rebalancing may end for each that it must, where clients stay away for longer: nobody
/// knows how many have come back to another gateway before the next reports.
const SPARE: f64 = 1.15;

/// The fullest pod to the mean once what a lost worker had has been taken out of the counts.
const IMBALANCE_AFTER_LOSS: f64 = 1.02;

/// After workers are lost, one after the other, pods are as even as before.
#[must_use]
pub fn lost_workers(outcome: &Outcome) -> Verdict {
    let losses = outcome.noted.iter().enumerate();
    let values = losses.map(|(loss, largest)| (format!("loss {}", loss + 1), Some(*largest)));
    let bar = format!(
        "workers are lost, largest to mean at most {IMBALANCE_AFTER_LOSS} after each lease"
    );
    at_most(bar, values, IMBALANCE_AFTER_LOSS, 3)
}

/// … and pods do not look full that are not.
#[must_use]
pub fn refused_after_losses(outcome: &Outcome) -> Verdict {
    let refused = f64::from(outcome.refused);
    let values = [("all losses".to_owned(), Some(refused))].into_iter();
    at_most("… and nobody is refused".to_owned(), values, 0.0, 0)
}

/// Rebalancing ends as many WebSockets as it must, and no more.
#[must_use]
pub fn closes(outcomes: &[(Scenario, Outcome)], rebalance: &Rebalance, prompt: bool) -> Verdict {
    let cases = outcomes
        .iter()
        .filter(|(scenario, _)| (scenario.return_delay <= PROMPT) == prompt);
    let values = cases.map(|(scenario, outcome)| {
        let needed = needed(scenario, rebalance);
        let closed = u32::try_from(outcome.rebalanced.len()).map_or(f64::INFINITY, f64::from);
        (fleet(scenario), Some(closed / needed))
    });
    if prompt {
        let bar = "rebalancing ends at most as many as it must".to_owned();
        at_most(bar, values, 1.0, 3)
    } else {
        let bar = format!("… and at most {SPARE} times those where clients stay away long");
        at_most(bar, values, SPARE, 3)
    }
}

/// Rebalancing comes to an end: in the last minute nothing is ended.
#[must_use]
pub fn stops(outcomes: &[(Scenario, Outcome)]) -> Verdict {
    const QUIET: Duration = Duration::from_secs(60);
    let values = outcomes.iter().map(|(scenario, outcome)| {
        let ended = outcome.rebalanced.iter();
        let late = ended
            .filter(|at| scenario.end().since(**at) < QUIET)
            .count();
        let late = u32::try_from(late).map_or(f64::INFINITY, f64::from);
        (fleet(scenario), Some(late))
    });
    at_most("… and none when it is done".to_owned(), values, 0.0, 0)
}

/// How many have to move where half of the pods hold all.
pub(crate) fn needed(scenario: &Scenario, rebalance: &Rebalance) -> f64 {
    // Each of the full ones keeps the threshold's part of its even share.
    let kept = rebalance.threshold * level(scenario) * f64::from(scenario.pods) / 2.0;
    f64::from(scenario.population()) - kept
}

/// The even share of a pod without a limit.
fn level(scenario: &Scenario) -> f64 {
    let population = f64::from(scenario.population());
    let half = f64::from(scenario.pods) / 2.0;
    let even = population / (2.0 * half);
    let limit = scenario.limit.map_or(even, f64::from).min(even);
    population / half - limit
}

/// In no second, give or take a tick, it ends more than it may.
#[must_use]
pub fn pace(outcomes: &[(Scenario, Outcome)], rebalance: &Rebalance) -> Verdict {
    let values = outcomes.iter().map(|(scenario, outcome)| {
        let most = busiest_second(outcome);
        // Each gateway may begin with one.
        let allowed = rebalance.max_per_second + f64::from(scenario.gateways);
        (fleet(scenario), Some(most / allowed))
    });
    let bar = format!("… at most {} a second", rebalance.max_per_second);
    at_most(bar, values, 1.0, 3)
}

/// How many all gateways end within a second, at most.
pub(crate) fn busiest_second(outcome: &Outcome) -> f64 {
    most_within(&outcome.rebalanced, Duration::from_secs(1))
}

/// The most moments within a span.
fn most_within(moments: &[Timestamp], span: Duration) -> f64 {
    let within = moments.iter().enumerate().map(|(index, &first)| {
        let later = moments[index..].iter();
        later.take_while(|later| later.since(first) < span).count()
    });
    within
        .max()
        .and_then(|most| u32::try_from(most).ok())
        .map_or(0.0, f64::from)
}

/// At the end no pod holds more than it may keep, but for what changed since the last reports, and
/// for less than one WebSocket of each gateway: none ends a part of one.
#[must_use]
pub fn rebalanced(outcomes: &[(Scenario, Outcome)], rebalance: &Rebalance) -> Verdict {
    let values = outcomes.iter().map(|(scenario, outcome)| {
        let mean = f64::from(scenario.population()) / f64::from(scenario.pods);
        let last = outcome.trace.last();
        let parts = f64::from(scenario.gateways) / level(scenario);
        let last = last.map(|last| last * mean / level(scenario) - parts);
        (fleet(scenario), last)
    });
    let limit = rebalance.threshold + 0.02;
    at_most(
        format!("… and leaves the largest at most {limit} of its share, and one a gateway"),
        values,
        limit,
        3,
    )
}

fn fleet(scenario: &Scenario) -> String {
    let limit = scenario.limit.map_or_else(String::new, |limit| {
        format!(", half of the pods are full at {limit}")
    });
    format!(
        "{} gateways, {}, clients return after {} s{limit}",
        scenario.gateways,
        scenario.shares,
        scenario.return_delay.as_secs_f64()
    )
}
