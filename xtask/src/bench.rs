//! What the filter costs: builds what the benchmark measures, and runs it.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::{envoy, wasm};

/// The tool, which runs the pods.
const TOOL: &str = "target/release/wsbalancer";

/// Runs the micro-benchmark and then the comparison, which takes `arguments`.
pub(crate) fn run(shell: &Shell, arguments: &[String]) -> Result<()> {
    wasm::build(shell)?;
    envoy::provide(shell)?;
    cmd!(shell, "cargo bench --package wsbalancer --features testing").run()?;
    cmd!(
        shell,
        "cargo build --quiet --release --package wsbalancer-cli --package wsbalancer-bench"
    )
    .run()?;
    let bench = cmd!(shell, "target/release/wsbalancer-bench --tool {TOOL}");
    Ok(bench.args(arguments).run()?)
}
