//! What the filter costs: gets what the benchmark compares, and runs it.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::{debian, envoy, wasm};

const BACKEND: &str = "target/release/wsbalancer-backend";

/// What the filter is compared with.
const PEERS: [&str; 2] = ["haproxy", "nginx"];

/// Runs the micro-benchmark and then the comparison, which takes `arguments`.
pub(crate) fn run(shell: &Shell, arguments: &[String]) -> Result<()> {
    wasm::build(shell)?;
    envoy::provide(shell)?;
    for peer in PEERS {
        // The benchmark does without those that are not there, and says so.
        if let Err(error) = debian::provide(shell, peer, peer) {
            println!("{error:#}");
        }
    }
    cmd!(shell, "cargo bench --package wsbalancer").run()?;
    cmd!(
        shell,
        "cargo build --quiet --release --package wsbalancer-backend --package wsbalancer-bench"
    )
    .run()?;
    let bench = cmd!(shell, "target/release/wsbalancer-bench --backend {BACKEND}");
    Ok(bench.args(arguments).run()?)
}
