//! The project's commands: `cargo xtask --help` lists them.

use anyhow::Result;
use clap::{Parser, Subcommand};
use xshell::Shell;

mod checks;
mod envoy;
mod wasm;

/// Builds, tries and tests wsbalancer.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the filter into target/wsbalancer.wasm.
    Build,
    /// Get Envoy into target/envoy/envoy, unless `ENVOY_BIN` names one.
    Envoy,
    /// Run every check and test; with a name, only the end-to-end tests that have it in theirs.
    Test {
        /// Part of the names of end-to-end tests.
        name: Option<String>,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let shell = Shell::new()?;
    shell.change_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    match arguments.command {
        Command::Build => wasm::build(&shell),
        Command::Envoy => envoy::provide(&shell),
        Command::Test { name: None } => checks::run(&shell),
        Command::Test { name: Some(name) } => checks::run_end_to_end(&shell, &name),
    }
}
