//! Prints what many gateways make of the same pods, and draws it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use wsbalancer_simulator::bars::{self, Verdict};
use wsbalancer_simulator::bursts;
use wsbalancer_simulator::load_reports;
use wsbalancer_simulator::policy::Kind;
use wsbalancer_simulator::scenario::Start;
use wsbalancer_simulator::simulation::play;
use wsbalancer_simulator::trials::{self, FOREIGN, Size};
use wsbalancer_simulator::{plot, report};

/// Simulate many gateways before the same pods, with the filter and with other policies.
#[derive(Parser)]
#[command(bin_name = "cargo xtask simulate")]
struct Arguments {
    /// Simulate less, in under a minute.
    #[arg(long)]
    quick: bool,
    /// Fail where a bar is missed.
    #[arg(long)]
    check: bool,
    /// Draw how the pods even out into this file, an SVG, in place of the tables.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "check"])]
    plot: Option<PathBuf>,
    /// What chance is made of.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(file) = arguments.plot {
        plot::draw(&file, arguments.seed)?;
        println!("{} is written.", file.display());
        return Ok(ExitCode::SUCCESS);
    }
    let size = if arguments.quick {
        Size::Quick
    } else {
        Size::Standard
    };
    let verdicts = tabulate(size, arguments.seed);
    for verdict in &verdicts {
        println!("{verdict}");
    }
    let all_met = verdicts.iter().all(Verdict::is_met);
    Ok(if arguments.check && !all_met {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Prints the tables, each as soon as it is there.
fn tabulate(size: Size, seed: u64) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let steady = trials::run(trials::steady(size, seed));
    println!("{}\n", report::steady(&steady));
    verdicts.extend([
        bars::imbalance(&steady),
        bars::share(&steady),
        bars::share_beside_chance(&steady),
    ]);

    let disturbed = trials::run(trials::disturbed(size, seed));
    println!("{}\n", report::returns(&disturbed));
    verdicts.push(bars::returns(&disturbed));

    let starts = [
        Start::Even,
        Start::Foreign(FOREIGN),
        Start::ForeignBeside(FOREIGN),
    ];
    let (mut at_once, mut with_hops) = (Vec::new(), Vec::new());
    for start in starts {
        let exact = trials::run(trials::alone(start, Duration::ZERO, seed));
        verdicts.push(bars::exact(&exact, start));
        at_once.extend(exact);
        with_hops.extend(trials::run(trials::alone(start, trials::HOP, seed)));
    }
    println!("{}\n", report::alone(&at_once, &with_hops));

    let bursts = bursts::run(bursts::all(seed));
    println!("{}\n", report::bursts(&bursts));
    verdicts.extend([
        bars::bursts(&bursts, true),
        bars::bursts(&bursts, false),
        bars::refused(&bursts),
        bars::early_polls(&bursts),
    ]);

    let rebalancing = trials::play_rebalancing(seed);
    println!("{}\n", report::rebalancing(&rebalancing));
    verdicts.extend([
        bars::closes(&rebalancing, &trials::REBALANCE, true),
        bars::closes(&rebalancing, &trials::REBALANCE, false),
        bars::stops(&rebalancing),
        bars::pace(&rebalancing, &trials::REBALANCE),
        bars::rebalanced(&rebalancing, &trials::REBALANCE),
    ]);

    let compared = load_reports::run(seed);
    println!("{}\n", report::load_reports(&compared));
    verdicts.push(bars::load_reports(&compared));

    let losing_workers = trials::play_losing_workers(seed);
    println!("{}\n", report::lost_workers(&losing_workers));
    let [with_recounts, _] = &losing_workers;
    verdicts.extend([
        bars::lost_workers(with_recounts),
        bars::refused_after_losses(with_recounts),
    ]);

    for curve in trials::CURVES {
        let outcome = play(&trials::slow_start(curve, seed), Kind::Filter);
        println!("{}\n", report::slow_start(&outcome, &curve));
        verdicts.push(bars::slow_start(&outcome, &curve));
    }
    verdicts
}
