//! What the filter costs: the same Envoy with the filter and without it, and HAProxy and nginx
//! beside them, before the same pods, in one run.
//!
//! Machines that others use as well drift by more than the filter costs. So the proxies take turns,
//! round after round, and what counts is the ratio of two proxies within a round.

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
use clap::Parser;
use wsbalancer_backend::{Ready, raise_descriptor_limit};
use wsbalancer_harness::Child;

use crate::crowd::Crowd;
use crate::discovery::Discovery;
use crate::measures::{Effort, Measures};
use crate::proxies::Kind;
use crate::report::{Report, Round};
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
    /// Measure only what it costs where the pods are a thousand.
    #[arg(long)]
    crowd: bool,
    /// The project's tool, which runs the pods.
    #[arg(long, hide = true)]
    tool: PathBuf,
    /// Where the numbers are written.
    #[arg(long, default_value = "target/bench.json")]
    output: PathBuf,
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
    let crowd = Crowd::take(&arguments.tool, arguments.rounds, of_crowd).await?;
    if arguments.crowd {
        println!("{crowd}");
        return Ok(());
    }
    let (_process, pods) = start_pods(&arguments.tool, PODS)?;
    let kinds = proxies::installed();
    let mut rounds = Vec::new();
    for number in 1..=arguments.rounds {
        let mut round = Round::default();
        // Whoever comes first in one round comes last in the next.
        let shift = usize::try_from(number)? % kinds.len();
        for kind in kinds.iter().cycle().skip(shift).take(kinds.len()) {
            eprintln!("round {number} of {}: {}", arguments.rounds, kind.name());
            let measures = measure(*kind, &pods, effort)
                .await
                .with_context(|| format!("{} could not be measured", kind.name()))?;
            round.insert(*kind, measures);
        }
        rounds.push(round);
    }
    let discovery = tokio::task::block_in_place(|| Discovery::take(effort.refreshes))?;
    let status = tokio::task::block_in_place(|| Status::take(effort.refreshes))?;
    let report = Report::new(rounds, discovery, status, crowd);
    println!("{report}\n");
    fs::write(&arguments.output, serde_json::to_string_pretty(&report)?)
        .with_context(|| format!("can't write {}", arguments.output.display()))?;
    println!("All numbers are in {}.", arguments.output.display());
    Ok(())
}

async fn measure(kind: Kind, pods: &[SocketAddr], effort: Effort) -> Result<Measures> {
    let proxy = tokio::task::block_in_place(|| kind.start(pods))?;
    Measures::take(&proxy, effort).await
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
