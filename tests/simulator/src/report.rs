//! The tables that are printed.

use std::fmt;
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use wsbalancer::config::SlowStart;

use crate::bars;
use crate::bursts::Played;
use crate::lifetime::Spread;
use crate::load_reports::{self, Compared};
use crate::policy::Kind;
use crate::record::{Outcome, Return};
use crate::scenario::{BEGINNING, Incident, Scenario, Shares, Start};
use crate::trials::{FOREIGN, Fleet, REBALANCE, Situation, Tried};

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exponential => "exponential lifetimes",
            Self::HeavyTailed => "heavy-tailed lifetimes",
        })
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "equal parts",
            Self::Rising => "parts of 1:2:3…",
            Self::First(_) => "some idle",
            Self::Only(_) => "one gateway",
        })
    }
}

impl fmt::Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            gateways,
            pods,
            interval,
        } = self;
        write!(f, "{gateways} x {pods}, {interval} s")
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Even => f.write_str("all even"),
            Self::Skewed => f.write_str("all on half of the pods"),
            Self::Foreign(count) => write!(f, "{count} foreign on half of the pods"),
            Self::ForeignBeside(count) => write!(f, "{count} foreign beside the gateways' own"),
            Self::ButOne => f.write_str("all but on one pod"),
            Self::ForeignButOne(count) => write!(f, "{count} foreign on all pods but one"),
        }
    }
}

impl fmt::Display for Situation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steady => f.write_str("steady"),
            Self::Start(start) => start.fmt(f),
            Self::Incident(incident) => incident.fmt(f),
        }
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add => f.write_str("a pod is added"),
            Self::Lose => f.write_str("a pod is lost"),
            Self::Restart => f.write_str("a gateway restarts"),
            Self::LoseWorker { gateway, worker } => {
                write!(f, "gateway {gateway} loses its worker {worker}")
            }
            Self::Storm => f.write_str("half of the pods drop all their connections"),
            Self::Foreign(count) => {
                write!(f, "half of the pods get {count} that no gateway opened")
            }
            Self::ForeignOnOne(count) => write!(f, "one pod gets {count} that no gateway opened"),
            Self::Switch => f.write_str("all clients switch to the last gateway"),
            Self::Outage(_) => f.write_str("all end and come back"),
            Self::Burst(burst) => write!(f, "{} clients come", burst.clients),
        }
    }
}

/// The steady state: one row a fleet, the largest of its variants.
#[must_use]
pub fn steady(tried: &[Tried]) -> String {
    let names = Kind::ALL.map(Kind::name);
    let more = ["worst moment", "largest share", "… of omniscient"];
    let mut table = table(&["gateways x pods, reports"], names.into_iter().chain(more));
    for tried in tried {
        let largest = |kind, measure: fn(&Outcome) -> Option<f64>| {
            let values = tried.of(kind).filter_map(measure);
            values.max_by(f64::total_cmp)
        };
        let imbalance: fn(&Outcome) -> Option<f64> = |outcome| Some(outcome.imbalance);
        let imbalances = Kind::ALL.map(|kind| number(largest(kind, imbalance), 3));
        let share: fn(&Outcome) -> Option<f64> = |outcome| outcome.shares.largest;
        let worst = largest(Kind::Filter, |outcome| Some(outcome.worst));
        let more = [
            number(worst, 3),
            number(largest(Kind::Filter, share), 2),
            number(largest(Kind::Omniscient, share), 2),
        ];
        let fleet = tried.trial.fleet.to_string();
        table.add_row([fleet].into_iter().chain(imbalances).chain(more));
    }
    format!(
        "Steady state: largest count to mean, averaged over time; of the variants (lifetimes \
         exponential and heavy-tailed, gateways' parts equal and 1:2:3…) the largest.\n{table}"
    )
}

/// How long until the pods are even again: one row a situation and fleet, the longest of its
/// variants.
#[must_use]
pub fn returns(tried: &[Tried]) -> String {
    let took = times(tried, &Kind::ALL, |back| back.took);
    let kinds = [Kind::LeastOwn, Kind::Filter, Kind::Omniscient];
    let filled = times(tried, &kinds, |back| back.filled);
    format!(
        "Seconds until the largest count is under 1.05 of the mean for good; of the variants the \
         longest. Omniscient is the floor: as fast as the arrivals allow.\n{took}\n\n\
         Seconds until the smallest count is over 0.95 of the mean for good.\n{filled}"
    )
}

fn times(tried: &[Tried], kinds: &[Kind], measure: fn(&Return) -> Option<Duration>) -> Table {
    let names = kinds.iter().map(|kind| kind.name());
    let mut table = table(&["what happens", "gateways x pods, reports"], names);
    for tried in tried {
        let longest = |&kind: &Kind| {
            let mut times = tried.of(kind).map(|outcome| {
                let last = outcome.returns.last();
                last.and_then(measure)
            });
            let longest = times.try_fold(Duration::ZERO, |longest, took| Some(longest.max(took?)));
            longest.map_or("never".to_owned(), |took| {
                format!("{:.1}", took.as_secs_f64())
            })
        };
        let trial = &tried.trial;
        let names = [trial.situation.to_string(), trial.fleet.to_string()];
        table.add_row(names.into_iter().chain(kinds.iter().map(longest)));
    }
    table
}

/// A single gateway: how far its choices are from the emptiest pod, with messages that take no
/// time and with those that take some.
#[must_use]
pub fn alone(at_once: &[Tried], with_hops: &[Tried]) -> String {
    let columns = [
        "largest excess",
        "choices over 1",
        "… with 1 to 2 ms",
        "choices over 1",
        "largest to mean",
        "… of omniscient",
    ];
    let mut table = table(&["at first", "gateways x pods, reports"], columns);
    for (at_once, with_hops) in at_once.iter().zip(with_hops) {
        let largest = |tried: &Tried| {
            let excesses = tried.of(Kind::Filter).map(Outcome::largest_excess);
            excesses.max().unwrap_or(0).to_string()
        };
        let exceeding = |tried: &Tried| {
            let parts = tried.of(Kind::Filter);
            let parts = parts.map(|outcome| outcome.exceeding(bars::EXCESS));
            format!("{:.2} %", parts.fold(0.0, f64::max) * 100.0)
        };
        let imbalance = |kind| {
            let values = at_once.of(kind).map(|outcome| outcome.imbalance);
            number(values.max_by(f64::total_cmp), 4)
        };
        table.add_row([
            at_once.trial.situation.to_string(),
            at_once.trial.fleet.to_string(),
            largest(at_once),
            exceeding(at_once),
            largest(with_hops),
            exceeding(with_hops),
            imbalance(Kind::Filter),
            imbalance(Kind::Omniscient),
        ]);
    }
    format!(
        "A single gateway: by how many WebSockets the chosen pod exceeds the emptiest in truth, \
         from the first one on. Foreign: {FOREIGN} on each pod of one half that no gateway opened \
         and that never end.\n{table}"
    )
}

/// Bursts: one row each.
#[must_use]
pub fn bursts(played: &[Played]) -> String {
    let columns = [
        "at its end",
        "1 s later",
        "an interval later",
        "refused",
        "polls of a pod, at most",
        "… early",
        "on average",
    ];
    let mut table = table(&["gateways: burst"], columns);
    for played in played {
        let Played {
            case,
            filter,
            omniscient,
        } = played;
        let noted = (0..3).map(|place| {
            let of = |outcome: &Outcome| number(outcome.noted.get(place).copied(), 3);
            format!("{} ({})", of(filter), of(omniscient))
        });
        let more = [
            filter.refused.to_string(),
            format!("{} /s", filter.polls.peak),
            format!("{} /s", filter.polls.early_peak),
            format!("{:.2} /s", filter.polls.average),
        ];
        table.add_row([case.name.clone()].into_iter().chain(noted).chain(more));
    }
    format!("Bursts: largest count to mean, in brackets that of the omniscient.\n{table}")
}

/// Load reports with handshakes: one row a situation, the mean and the longest of its variants.
#[must_use]
pub fn load_reports(compared: &[Compared]) -> String {
    let columns = [
        "polls alone",
        "with load reports",
        "omniscient",
        "seconds to 1.05",
        "… with load reports",
        "… of omniscient",
    ];
    let mut table = table(&["what happens"], columns);
    for compared in compared {
        let outcomes = [
            &compared.polls,
            &compared.load_reports,
            &compared.omniscient,
        ];
        let means = outcomes.map(|outcomes| number(Some(bars::mean_imbalance(outcomes)), 4));
        let longest = outcomes.map(|outcomes| {
            let took: Option<Vec<Duration>> = outcomes.iter().map(bars::took).collect();
            let longest = took.and_then(|took| took.into_iter().max());
            longest.map_or("never".to_owned(), |took| {
                format!("{:.1}", took.as_secs_f64())
            })
        });
        let name = compared.situation.to_string();
        table.add_row([name].into_iter().chain(means).chain(longest));
    }
    format!(
        "Pods that tell their count with each 101, {}: largest count to mean, averaged over time \
         and over the variants, and how long until it is under 1.05 of the mean for good, at \
         most.\n{table}",
        load_reports::FLEET
    )
}

/// Rebalancing: one row a fleet.
#[must_use]
pub fn rebalancing(outcomes: &[(Scenario, Outcome)]) -> String {
    let columns = [
        "closed",
        "at least",
        "seconds",
        "in a second",
        "largest to mean at the end",
    ];
    let names = ["gateways", "parts", "half full at", "clients return after"];
    let mut table = table(&names, columns);
    for (scenario, outcome) in outcomes {
        let last = outcome.rebalanced.last();
        let took = last.map(|last| last.since(BEGINNING).as_secs_f64());
        table.add_row([
            scenario.gateways.to_string(),
            scenario.shares.to_string(),
            scenario
                .limit
                .map_or("–".to_owned(), |limit| limit.to_string()),
            format!("{} s", scenario.return_delay.as_secs_f64()),
            outcome.rebalanced.len().to_string(),
            number(Some(bars::needed(scenario, &REBALANCE)), 0),
            number(took, 1),
            number(Some(bars::busiest_second(outcome)), 0),
            number(outcome.trace.last().copied(), 3),
        ]);
    }
    format!(
        "Rebalancing 2,000 WebSockets that are all on half of eight pods, threshold {}, {} a \
         second: how many the gateways close together, how many must be closed, until when, and \
         how many in the busiest second.\n{table}",
        REBALANCE.threshold, REBALANCE.max_per_second
    )
}

/// Lost workers: one row with recounts, and one without.
#[must_use]
pub fn lost_workers([with, without]: &[Outcome; 2]) -> String {
    let columns = ["largest to mean", "at the end", "refused"];
    let mut table = table(&["what lost workers had"], columns);
    for (name, outcome) in [("is taken out", with), ("stays counted", without)] {
        let largest = outcome.noted.iter().copied().max_by(f64::total_cmp);
        table.add_row([
            name.to_owned(),
            number(largest, 3),
            number(outcome.noted.last().copied(), 3),
            outcome.refused.to_string(),
        ]);
    }
    format!(
        "Three gateways of four workers, of which one is lost every minute, {} in all: 24,000 \
         WebSockets on eight pods of which each is full at 4,000. Largest of what is so 15 s after \
         a loss, and handshakes for which no pod seems to have room.\n{table}",
        with.noted.len()
    )
}

/// A slow start: one row a step.
#[must_use]
pub fn slow_start(outcome: &Outcome, slow_start: &SlowStart) -> String {
    let columns = ["new WebSockets", "its share", "curve", "may differ by"];
    let mut table = table(&["seconds after it is known"], columns);
    for step in bars::steps(outcome, slow_start) {
        table.add_row([
            format!(
                "{} to {}",
                step.bin.since.as_secs(),
                step.bin.until.as_secs()
            ),
            step.bin.choices.to_string(),
            format!("{:.3}", step.share),
            format!("{:.3}", step.curve),
            format!("{:.3}", step.tolerance),
        ]);
    }
    format!(
        "Slow start of an added pod, window {} s, aggression {}: its share of the new WebSockets, \
         counted at each gateway from when that knows the pod.\n{table}",
        slow_start.window.as_secs(),
        slow_start.aggression
    )
}

fn table<'a>(names: &[&'a str], columns: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(names.iter().copied().chain(columns));
    for column in table.column_iter_mut().skip(names.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
}
