//! Proxies beside each other, as ratios to Envoy without the filter.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use anyhow::Result;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::measures::{Effort, Measures};
use crate::proxies::{self, Kind};
use crate::report::{Expectation, Spread};

/// What was measured in one round.
type Round = BTreeMap<Kind, Measures>;

/// All rounds and what they amount to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Comparison {
    /// A line for each measure.
    lines: Vec<Line>,
    rounds: Vec<Round>,
    /// CPU time of an upgrade where the filter is watched, as a ratio to where it is not.
    watching: Spread,
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
        expected: Some(Expectation::AtLeast(0.99)),
    },
    Measure {
        name: "16-KiB messages over 4 WebSockets",
        unit: "1/s",
        of: |measures| measures.large_messages,
        expected: Some(Expectation::AtLeast(0.99)),
    },
    Measure {
        name: "handshake p50",
        unit: "µs",
        of: |measures| measures.upgrades.handshake_p50,
        expected: Some(Expectation::AtMost(1.10)),
    },
    Measure {
        name: "handshake p90",
        unit: "µs",
        of: |measures| measures.upgrades.handshake_p90,
        expected: Some(Expectation::AtMost(1.15)),
    },
    Measure {
        name: "handshake p99",
        unit: "µs",
        of: |measures| measures.upgrades.handshake_p99,
        expected: None,
    },
    Measure {
        name: "CPU time of an upgrade",
        unit: "µs",
        of: |measures| measures.upgrades.cpu,
        expected: Some(Expectation::AtMost(1.12)),
    },
    Measure {
        name: "memory of an open WebSocket",
        unit: "bytes",
        of: |measures| measures.memory_per_websocket,
        expected: Some(Expectation::AtMost(1.03)),
    },
];

impl Comparison {
    /// Measures all proxies that are installed, in so many rounds.
    pub(crate) async fn take(pods: &[SocketAddr], rounds: u32, effort: Effort) -> Result<Self> {
        let mut kinds = proxies::installed();
        let mut all = Vec::new();
        for number in 1..=rounds {
            eprintln!("round {number} of {rounds}: {} proxies", kinds.len());
            // Whoever comes first in one round comes last in the next.
            kinds.rotate_left(1);
            let started = tokio::task::block_in_place(|| {
                let started = kinds.iter().map(|kind| kind.start(pods));
                started.collect::<Result<Vec<_>>>()
            })?;
            let measures = Measures::take(&started, effort).await?;
            all.push(kinds.iter().copied().zip(measures).collect());
        }
        Ok(Self::of(all))
    }

    fn of(rounds: Vec<Round>) -> Self {
        let upgrade = |round: &Round, kind| round.get(&kind).map(|m| m.upgrades.cpu);
        let watching = rounds.iter().filter_map(|round| {
            Some(upgrade(round, Kind::Watched)? / upgrade(round, Kind::Filter)?)
        });
        let watching = Spread::of(watching.collect());
        let lines = MEASURES.iter().map(|measure| measure.line(&rounds));
        Self {
            lines: lines.collect(),
            rounds,
            watching,
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

impl fmt::Display for Comparison {
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
        write!(
            f,
            "Watched, an upgrade takes {} of the CPU time that it takes unwatched.",
            self.watching
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measures::Upgrades;

    fn measures(small_messages: f64) -> Measures {
        Measures {
            small_messages,
            large_messages: 1.0,
            upgrades: Upgrades {
                handshake_p50: 1.0,
                handshake_p90: 1.0,
                handshake_p99: 1.0,
                handshake_max: 1.0,
                cpu: 1.0,
            },
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
        let comparison = Comparison::of(rounds);
        let line = &comparison.lines[0];
        assert_eq!(
            line.ratios[&Kind::Filter].to_string(),
            "0.99 (0.99 to 0.99)"
        );
        assert!((line.envoy - 50.0).abs() < 1e-9);
        assert!(comparison.to_string().contains("at least 0.99: met"));
    }
}
