//! The main job, to watch: skewed pods, an Envoy with the filter before them, and 2,000 new
//! WebSockets that make them even.

use std::net::SocketAddr;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use wsbalancer_harness::{Child, Envoy, Sample};
use xshell::{Shell, cmd};

use crate::interrupt::Interrupt;
use crate::{envoy, wasm};

const PODS: usize = 8;
/// So many of the pods have WebSockets before Envoy starts …
const BUSY_PODS: usize = 4;
/// … each this many.
const HEAD_START: u32 = 250;
const THROUGH_ENVOY: u32 = 2_000;
const RATE: u32 = 500;
const MAX_IMBALANCE: &str = "1.02";

const TOOL: &str = "target/debug/wsbalancer";

/// How long Envoy may take to know all pods.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the demo; with `keep`, until Ctrl-C.
pub(crate) fn run(shell: &Shell, keep: bool) -> Result<()> {
    wasm::build(shell)?;
    envoy::provide(shell)?;
    cmd!(shell, "cargo build --quiet --package wsbalancer-cli").run()?;
    let interrupt = Interrupt::on_signals()?;
    let balanced = show(&interrupt, keep);
    ensure!(keep || !interrupt.came(), "interrupted");
    ensure!(
        balanced?.success() || interrupt.came(),
        "the pods did not end within 2% of even, or a WebSocket failed"
    );
    Ok(())
}

fn show(interrupt: &Interrupt, keep: bool) -> Result<ExitStatus> {
    println!("\n1. {PODS} pods start.");
    let (_fleet, pods) = start_pods()?;

    println!(
        "2. {} WebSockets are opened straight onto {BUSY_PODS} of them, as if another gateway had.",
        HEAD_START * u32::try_from(BUSY_PODS)?
    );
    let mut others = Vec::new();
    for pod in pods.iter().take(BUSY_PODS) {
        interrupt.check()?;
        others.push(hold_websockets(*pod)?);
    }

    println!("3. Envoy starts with the filter, and asks every pod for its count.");
    let envoy = Envoy::start(&Sample::standard()?.pods(&pods))?;
    let all = u64::try_from(PODS)?;
    envoy.wait_for_filter_stat("pods_usable", |usable| usable == all, PATIENCE)?;

    println!("4. {THROUGH_ENVOY} WebSockets are opened through Envoy, {RATE} a second.\n");
    if keep {
        println!("   WebSockets  ws://{}/", envoy.address());
        println!("   admin       http://{}/", envoy.admin());
        println!("   pods        {}\n", list(&pods));
        println!("   Ctrl-C ends all.\n");
    }
    let mut client = Command::new(TOOL);
    client
        .arg("load")
        .arg(format!("ws://{}/", envoy.address()))
        .args(["--connections", &THROUGH_ENVOY.to_string()])
        .args(["--rate", &RATE.to_string()])
        .args(["--pods", &list(&pods)])
        .args(["--max-imbalance", MAX_IMBALANCE])
        .args(keep.then_some("--keep"));
    interrupt.run(client)
}

/// The process of the pods, and where they listen.
fn start_pods() -> Result<(Child, Vec<SocketAddr>)> {
    let mut tool = Command::new(TOOL);
    tool.args(["pods", "--pods", &PODS.to_string()]);
    let (child, ready) = start_until_ready(tool)?;
    let pods = serde_json::from_value(ready["pods"].clone());
    Ok((child, pods.context("the pods do not tell their addresses")?))
}

/// Keeps [`HEAD_START`] WebSockets open on `pod`.
fn hold_websockets(pod: SocketAddr) -> Result<Child> {
    let mut client = Command::new(TOOL);
    client
        .arg("load")
        .arg(format!("ws://{pod}/"))
        .args(["--connections", &HEAD_START.to_string()])
        .args(["--rate", "0", "--json", "--keep"]);
    let (child, report) = start_until_ready(client)?;
    if report["connections"]["opened"] != HEAD_START {
        bail!("not all WebSockets onto {pod} were opened: {report}");
    }
    Ok(child)
}

/// Starts a program that prints a line of JSON once it is ready, which is returned.
fn start_until_ready(mut command: Command) -> Result<(Child, Value)> {
    command.stderr(Stdio::null());
    let (child, line) = Child::start_until_line(command)?;
    Ok((child, serde_json::from_str(&line)?))
}

fn list(pods: &[SocketAddr]) -> String {
    let pods: Vec<String> = pods.iter().map(SocketAddr::to_string).collect();
    pods.join(",")
}
