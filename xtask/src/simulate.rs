//! What many gateways make of the same pods: runs the simulator.

use anyhow::Result;
use xshell::{Shell, cmd};

/// Runs the simulator, which takes `arguments`.
pub(crate) fn run(shell: &Shell, arguments: &[String]) -> Result<()> {
    let simulator = cmd!(
        shell,
        "cargo run --quiet --release --package wsbalancer-simulator --"
    );
    Ok(simulator.args(arguments).run()?)
}
