//! What the filter costs: the same Envoy with the filter and without it, and HAProxy and nginx
//! beside them, before the same pods, in one run.
//!
//! Machines that others use as well drift by more than the filter costs. So the proxies take turns,
//! round after round, and what counts is the ratio of two proxies within a round.

mod cold;
mod comparison;
mod crowd;
mod discovery;
mod measures;
mod proxies;
mod relay;
mod report;
mod status;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use wsbalancer_backend::{Ready, raise_descriptor_limit};
use wsbalancer_harness::Child;

use crate::cold::Cold;
use crate::comparison::Comparison;
use crate::crowd::Crowd;
use crate::discovery::Discovery;
use crate::measures::Effort;
use crate::report::Report;
use crate::status::Status;

/// Compare what proxies cost that balance WebSockets.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench")]
struct Arguments {
    /// How often each proxy has its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure for a moment only, to see that everything works.
    #[arg(long)]
    quick: bool,
    /// Measure only this; may be given several times.
    #[arg(long)]
    only: Vec<Part>,
    /// The project's tool, which runs the pods.
    #[arg(long, hide = true)]
    tool: PathBuf,
    /// Where the numbers are written.
    #[arg(long, default_value = "target/bench.json")]
    output: PathBuf,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// WebSockets through each proxy.
    Proxies,
    /// The first handshakes after a start.
    Cold,
    /// WebSockets where the pods are a thousand.
    Crowd,
    /// What it costs to learn of many pods.
    Discovery,
    /// What it costs to show many pods.
    Status,
}

/// Pods behind every proxy.
const PODS: u32 = 8;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    raise_descriptor_limit()?;
    let (effort, of_crowd) = if arguments.quick {
        (Effort::QUICK, crowd::Effort::QUICK)
    } else {
        (Effort::FULL, crowd::Effort::FULL)
    };
    let is_wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let rounds = arguments.rounds;
    let mut report = Report::default();
    {
        let (_process, pods) = start_pods(&arguments.tool, PODS)?;
        if is_wanted(Part::Proxies) {
            report.proxies = Some(Comparison::take(&pods, rounds, effort).await?);
        }
        if is_wanted(Part::Cold) {
            report.cold = Some(Cold::take(&pods, rounds, effort).await?);
        }
    }
    if is_wanted(Part::Crowd) {
        report.crowd = Some(Crowd::take(&arguments.tool, rounds, of_crowd).await?);
    }
    if is_wanted(Part::Discovery) {
        let discovery = tokio::task::block_in_place(|| Discovery::take(effort.refreshes))?;
        report.discovery = Some(discovery);
    }
    if is_wanted(Part::Status) {
        let status = tokio::task::block_in_place(|| Status::take(effort.refreshes))?;
        report.status = Some(status);
    }
    println!("{report}\n");
    fs::write(&arguments.output, serde_json::to_string_pretty(&report)?)
        .with_context(|| format!("can't write {}", arguments.output.display()))?;
    println!("All numbers are in {}.", arguments.output.display());
    Ok(())
}

/// The pods run in a process of their own, so that their work is not that of the load's.
fn start_pods(tool: &PathBuf, number: u32) -> Result<(Child, Vec<SocketAddr>)> {
    let mut command = Command::new(tool);
    command.args(["pods", "--pods", &number.to_string()]);
    command.stderr(Stdio::null());
    let (child, line) = Child::start_until_line(command)?;
    let ready: Ready = serde_json::from_str(&line).context("the pods do not get ready")?;
    Ok((child, ready.pods))
}

/// How long a proxy may take to start.
const PATIENCE: Duration = Duration::from_secs(30);
