//! What it costs where the pods are a thousand: the same Envoy with the filter and without it, in
//! turns.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use serde_json::Value;
use wsbalancer_harness::{Envoy, Sample};

use crate::measures::Upgrades;
use crate::proxies::{Kind, Proxy, start_envoy};
use crate::report::{Expectation, Spread};
use crate::{PATIENCE, start_pods};

const PODS: u32 = 1_000;
/// Workers, as that is where a thousand pods matter: they share one table.
const WORKERS: u32 = 2;

/// How much is done for one measurement.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// WebSockets that are opened.
    upgrades: u32,
    /// Rounds of polls for which the threads are watched.
    polls: u64,
}

impl Effort {
    pub(crate) const FULL: Self = Self {
        upgrades: 5_000,
        polls: 4,
    };
    pub(crate) const QUICK: Self = Self {
        upgrades: 500,
        polls: 1,
    };
}

struct Measure {
    name: &'static str,
    of: fn(&Upgrades) -> f64,
    expected: Option<Expectation>,
}

const MEASURES: [Measure; 5] = [
    Measure {
        name: "handshake p50",
        of: |upgrades| upgrades.handshake_p50,
        expected: None,
    },
    Measure {
        name: "handshake p90",
        of: |upgrades| upgrades.handshake_p90,
        expected: Some(Expectation::AtMost(1.3)),
    },
    Measure {
        name: "handshake p99",
        of: |upgrades| upgrades.handshake_p99,
        expected: None,
    },
    Measure {
        name: "handshake maximum",
        of: |upgrades| upgrades.handshake_max,
        expected: None,
    },
    Measure {
        name: "CPU time of an upgrade",
        of: |upgrades| upgrades.cpu,
        expected: Some(Expectation::AtMost(1.25)),
    },
];

/// The numbers of all rounds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Crowd {
    rounds: Vec<Round>,
    /// Microseconds for which the polls held up a worker of an Envoy that did nothing else: of the
    /// turns of its event loop the longest.
    longest_turn: f64,
}

#[derive(Serialize)]
struct Round {
    envoy: Upgrades,
    filter: Upgrades,
}

impl Crowd {
    /// Measures over so many rounds.
    pub(crate) async fn take(program: &PathBuf, rounds: u32, effort: Effort) -> Result<Self> {
        let (_process, pods) = start_pods(program, PODS)?;
        let mut all = Vec::new();
        for number in 1..=rounds {
            eprintln!("round {number} of {rounds}: 1,000 pods");
            // Whoever comes first in one round comes last in the next.
            let mut kinds = [Kind::Envoy, Kind::Filter];
            let is_odd = !number.is_multiple_of(2);
            if is_odd {
                kinds.reverse();
            }
            let first = measure(kinds[0], &pods, effort).await?;
            let second = measure(kinds[1], &pods, effort).await?;
            let (envoy, filter) = if is_odd {
                (second, first)
            } else {
                (first, second)
            };
            all.push(Round { envoy, filter });
        }
        Ok(Self {
            rounds: all,
            longest_turn: tokio::task::block_in_place(|| longest_turn(&pods, effort.polls))?,
        })
    }
}

fn start(kind: Kind, pods: &[SocketAddr]) -> Result<Proxy> {
    let sample = Sample::standard()?.pods(pods);
    match kind {
        Kind::Envoy => start_envoy(&sample.without_filter(), WORKERS, 0),
        _ => start_envoy(&sample, WORKERS, pods.len()),
    }
}

async fn measure(kind: Kind, pods: &[SocketAddr], effort: Effort) -> Result<Upgrades> {
    let proxy = tokio::task::block_in_place(|| start(kind, pods))
        .with_context(|| format!("{} could not be started", kind.name()))?;
    // As many as will be: the kernel holds up whoever makes it grow a table of descriptors.
    Upgrades::take(&proxy, effort.upgrades).await?;
    Upgrades::take(&proxy, effort.upgrades).await
}

/// How long polls hold up a worker at most, by Envoy's own measurement. The main thread serves no
/// WebSockets, and has the statistics to write meanwhile.
fn longest_turn(pods: &[SocketAddr], rounds: u64) -> Result<f64> {
    let sample = Sample::standard()?.pods(pods).edit(|configuration| {
        configuration["enable_dispatcher_stats"] = true.into();
        configuration["stats_flush_interval"] = "1s".into();
    });
    let envoy = Envoy::options()
        .concurrency(WORKERS)
        .log_level("error")
        .start(&sample)?;
    let polls = |rounds: u64| {
        let goal = rounds * u64::from(PODS);
        envoy.wait_for_filter_stat("polls_ok", |polls| polls >= goal, PATIENCE)
    };
    // Until then connections are made, and V8 compiles.
    let warm = polls(3)? / u64::from(PODS);
    let mut longest = 0.0_f64;
    for round in 1..=rounds {
        polls(warm + round)?;
        // Those since Envoy last wrote its statistics, and all those before.
        longest = longest.max(longest_lately(&envoy)?);
    }
    Ok(longest)
}

fn longest_lately(envoy: &Envoy) -> Result<f64> {
    let stats = envoy.admin_get("/stats?format=json&filter=loop_duration_us")?;
    let stats: Value = serde_json::from_str(&stats)?;
    let threads = stats["stats"]
        .as_array()
        .and_then(|stats| {
            let mut stats = stats.iter();
            stats.find_map(|stat| stat["histograms"]["computed_quantiles"].as_array())
        })
        .context("Envoy does not tell how long its event loops take")?;
    let is_worker = |thread: &&Value| {
        let name = thread["name"].as_str();
        name.is_some_and(|name| name.contains(".worker_"))
    };
    let longest = threads.iter().filter(is_worker).filter_map(|thread| {
        let all = thread["values"].as_array()?.last()?;
        all["interval"].as_f64()
    });
    Ok(longest.fold(0.0, f64::max))
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header([
            "1,000 pods, 500 upgrades a second",
            Kind::Envoy.name(),
            Kind::Filter.name(),
            "ratio",
            "expected",
        ]);
        for Measure { name, of, expected } in &MEASURES {
            let median = |side: fn(&Round) -> &Upgrades| {
                Spread::of(self.rounds.iter().map(|round| of(side(round))).collect()).median
            };
            let ratios = self.rounds.iter();
            let ratio = Spread::of(
                ratios
                    .map(|round| of(&round.filter) / of(&round.envoy))
                    .collect(),
            );
            let expected = expected.map(|expected| expected.verdict(ratio));
            table.add_row([
                (*name).to_owned(),
                format!("{:.0} µs", median(|round| &round.envoy)),
                format!("{:.0} µs", median(|round| &round.filter)),
                ratio.to_string(),
                expected.unwrap_or_default(),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(f, "{table}")?;
        write!(
            f,
            "Polls of 1,000 pods hold up a worker for {:.1} ms at most.",
            self.longest_turn / 1e3
        )
    }
}
