//! The numbers of all rounds, as ratios to Envoy without the filter.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::crowd::Crowd;
use crate::discovery::Discovery;
use crate::measures::Measures;
use crate::proxies::Kind;
use crate::status::Status;

/// What was measured in one round.
pub(crate) type Round = BTreeMap<Kind, Measures>;

/// All rounds and what they amount to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// A line for each measure.
    lines: Vec<Line>,
    rounds: Vec<Round>,
    /// CPU time of an upgrade where the filter is watched, as a ratio to where it is not.
    watching: Spread,
    discovery: Discovery,
    status: Status,
    crowd: Crowd,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    measure: &'static str,
    unit: &'static str,
    /// The median of Envoy without the filter.
    envoy: f64,
    /// What the others have, as ratios to that of the same round.
    ratios: BTreeMap<Kind, Spread>,
    /// What the filter's ratio is expected to be.
    expected: Option<Expectation>,
}

/// A median, and how far the values are apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    smallest: f64,
    pub(crate) median: f64,
    largest: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Expectation {
    AtLeast(f64),
    AtMost(f64),
}

struct Measure {
    name: &'static str,
    unit: &'static str,
    of: fn(&Measures) -> f64,
    expected: Option<Expectation>,
}

const MEASURES: [Measure; 7] = [
    Measure {
        name: "128-byte messages over 50 WebSockets",
        unit: "1/s",
        of: |measures| measures.small_messages,
        expected: Some(Expectation::AtLeast(0.98)),
    },
    Measure {
        name: "16-KiB messages over 4 WebSockets",
        unit: "1/s",
        of: |measures| measures.large_messages,
        expected: Some(Expectation::AtLeast(0.98)),
    },
    Measure {
        name: "handshake p50",
        unit: "µs",
        of: |measures| measures.handshake_p50,
        expected: None,
    },
    Measure {
        name: "handshake p90",
        unit: "µs",
        of: |measures| measures.handshake_p90,
        expected: None,
    },
    Measure {
        name: "handshake p99",
        unit: "µs",
        of: |measures| measures.handshake_p99,
        expected: None,
    },
    Measure {
        name: "CPU time of an upgrade",
        unit: "µs",
        of: |measures| measures.cpu_per_upgrade,
        expected: Some(Expectation::AtMost(1.15)),
    },
    Measure {
        name: "memory of an open WebSocket",
        unit: "bytes",
        of: |measures| measures.memory_per_websocket,
        expected: None,
    },
];

impl Report {
    pub(crate) fn new(
        rounds: Vec<Round>,
        discovery: Discovery,
        status: Status,
        crowd: Crowd,
    ) -> Self {
        let upgrade = |round: &Round, kind| round.get(&kind).map(|m| m.cpu_per_upgrade);
        let watching = rounds.iter().filter_map(|round| {
            Some(upgrade(round, Kind::Watched)? / upgrade(round, Kind::Filter)?)
        });
        let watching = Spread::of(watching.collect());
        let lines = MEASURES.iter().map(|measure| measure.line(&rounds));
        Self {
            lines: lines.collect(),
            rounds,
            watching,
            discovery,
            status,
            crowd,
        }
    }
}

impl Measure {
    fn line(&self, rounds: &[Round]) -> Line {
        let value = |round: &Round, kind| round.get(&kind).map(self.of);
        let kinds = rounds.iter().flat_map(BTreeMap::keys).copied();
        let mut ratios: BTreeMap<Kind, Vec<f64>> = kinds
            .filter(|kind| *kind != Kind::Envoy)
            .map(|kind| (kind, Vec::new()))
            .collect();
        let mut envoy = Vec::new();
        for round in rounds {
            let Some(base) = value(round, Kind::Envoy) else {
                continue;
            };
            envoy.push(base);
            for (kind, ratios) in &mut ratios {
                ratios.extend(value(round, *kind).map(|value| value / base));
            }
        }
        Line {
            measure: self.name,
            unit: self.unit,
            envoy: Spread::of(envoy).median,
            ratios: ratios
                .into_iter()
                .map(|(kind, ratios)| (kind, Spread::of(ratios)))
                .collect(),
            expected: self.expected,
        }
    }
}

impl Spread {
    /// Of no values, it is all NaN.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let half = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(at(half.wrapping_sub(1)), at(half))
        } else {
            at(half)
        };
        Self {
            smallest: at(0),
            median,
            largest: at(values.len().wrapping_sub(1)),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            smallest,
            median,
            largest,
        } = self;
        write!(f, "{median:.2} ({smallest:.2} to {largest:.2})")
    }
}

impl Expectation {
    /// What there is to say of a ratio.
    pub(crate) fn verdict(self, ratio: Spread) -> String {
        let (text, meets): (_, fn(f64, f64) -> bool) = match self {
            Self::AtLeast(limit) => (format!("at least {limit}"), |ratio, limit| ratio >= limit),
            Self::AtMost(limit) => (format!("at most {limit}"), |ratio, limit| ratio <= limit),
        };
        let (Self::AtLeast(limit) | Self::AtMost(limit)) = self;
        let met = [ratio.smallest, ratio.largest].map(|ratio| meets(ratio, limit));
        let verdict = match (meets(ratio.median, limit), met) {
            (true, [true, true]) => "met",
            (false, [false, false]) => "MISSED",
            (true, _) => "met, but not in all rounds",
            (false, _) => "MISSED, but not in all rounds",
        };
        format!("{text}: {verdict}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<Kind> = self
            .lines
            .first()
            .map(|line| line.ratios.keys().copied().collect())
            .unwrap_or_default();
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let names = kinds.iter().map(|kind| kind.name().to_owned());
        table.set_header(
            ["", Kind::Envoy.name()]
                .map(str::to_owned)
                .into_iter()
                .chain(names)
                .chain(["expected of the filter".to_owned()]),
        );
        for line in &self.lines {
            let ratios = kinds.iter().map(|kind| line.ratios[kind].to_string());
            let expected = line.expected.zip(line.ratios.get(&Kind::Filter));
            let expected = expected.map(|(expected, ratio)| expected.verdict(*ratio));
            table.add_row(
                [
                    line.measure.to_owned(),
                    format!("{:.0} {}", line.envoy, line.unit),
                ]
                .into_iter()
                .chain(ratios)
                .chain([expected.unwrap_or_default()]),
            );
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(f, "{table}")?;
        writeln!(
            f,
            "Medians of {} rounds; ratios to Envoy without the filter in the same round, \
             in brackets the smallest and the largest.",
            self.rounds.len()
        )?;
        writeln!(
            f,
            "Watched, an upgrade takes {} of the CPU time that it takes unwatched.",
            self.watching
        )?;
        writeln!(f, "{}", self.discovery)?;
        writeln!(f, "{}", self.status)?;
        self.crowd.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!(spread.to_string(), "2.00 (1.00 to 3.00)");
        assert_eq!(
            Spread::of(vec![4.0, 1.0, 2.0, 3.0]).to_string(),
            "2.50 (1.00 to 4.00)"
        );
        assert!(Spread::of(Vec::new()).median.is_nan());
    }

    fn measures(small_messages: f64) -> Measures {
        Measures {
            small_messages,
            large_messages: 1.0,
            handshake_p50: 1.0,
            handshake_p90: 1.0,
            handshake_p99: 1.0,
            cpu_per_upgrade: 1.0,
            memory_per_websocket: 1.0,
        }
    }

    /// A machine that is slow in one round is slow for both.
    #[test]
    fn ratios_are_those_of_a_round() {
        let round = |envoy, filter| {
            Round::from([
                (Kind::Envoy, measures(envoy)),
                (Kind::Filter, measures(filter)),
            ])
        };
        let rounds = vec![round(100.0, 99.0), round(10.0, 9.9), round(50.0, 49.5)];
        let report = Report::new(
            rounds,
            Discovery::default(),
            Status::default(),
            Crowd::default(),
        );
        let line = &report.lines[0];
        assert_eq!(
            line.ratios[&Kind::Filter].to_string(),
            "0.99 (0.99 to 0.99)"
        );
        assert!((line.envoy - 50.0).abs() < 1e-9);
        assert!(report.to_string().contains("at least 0.98: met"));
    }

    #[test]
    fn a_verdict_says_when_rounds_differ() {
        let spread = |values: [f64; 3]| Spread::of(values.into());
        let verdict = |values| Expectation::AtMost(1.15).verdict(spread(values));
        assert_eq!(verdict([1.0, 1.1, 1.1]), "at most 1.15: met");
        assert_eq!(
            verdict([1.0, 1.1, 1.2]),
            "at most 1.15: met, but not in all rounds"
        );
        assert_eq!(verdict([1.2, 1.2, 1.3]), "at most 1.15: MISSED");
    }
}
