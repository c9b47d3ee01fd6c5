//! What the filter costs: gets what the benchmark compares, and runs it.

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::{envoy, wasm};

const BACKEND: &str = "target/release/wsbalancer-backend";

/// Debian's packages, and the programs in them, that the filter is compared with.
const PEERS: [&str; 2] = ["haproxy", "nginx"];

/// Runs the micro-benchmark and then the comparison, which takes `arguments`.
pub(crate) fn run(shell: &Shell, arguments: &[String]) -> Result<()> {
    wasm::build(shell)?;
    envoy::provide(shell)?;
    install_peers(shell);
    cmd!(shell, "cargo bench --package wsbalancer").run()?;
    cmd!(
        shell,
        "cargo build --quiet --release --package wsbalancer-backend --package wsbalancer-bench"
    )
    .run()?;
    let bench = cmd!(shell, "target/release/wsbalancer-bench --backend {BACKEND}");
    Ok(bench.args(arguments).run()?)
}

/// The benchmark does without those that can't be installed, and says so.
fn install_peers(shell: &Shell) {
    for peer in PEERS {
        let is_there = cmd!(shell, "{peer} -v")
            .quiet()
            .ignore_stdout()
            .ignore_stderr();
        if is_there.run().is_ok() {
            continue;
        }
        println!("{peer} is missing: installing Debian's package");
        let installed = cmd!(
            shell,
            "apt-get install --yes --no-install-recommends {peer}"
        )
        .env("DEBIAN_FRONTEND", "noninteractive")
        .quiet()
        .ignore_stdout()
        .run()
        .context("it could not be installed");
        if let Err(error) = installed {
            println!("{peer} is LEFT OUT: {error:#}");
        }
    }
}
