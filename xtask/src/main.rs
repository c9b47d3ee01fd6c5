//! The project's commands: `cargo xtask --help` lists them.
//!
//! Every command runs at the root of the workspace, wherever it was called: the other modules name
//! files relative to it.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use oci_spec::distribution::Reference;
use xshell::Shell;

mod archive;
mod bench;
mod checks;
mod compose;
mod demo;
mod docker;
mod envoy;
mod image;
mod interrupt;
mod picture;
mod pip;
mod probe;
mod release;
mod setup;
mod simulate;
mod steps;
mod toolchain;
mod versions;
mod wasm;
mod wheels;

/// Builds, tries and tests wsbalancer.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install the system's packages that the tests need, on Debian.
    Setup,
    /// Build the filter into target/wsbalancer.wasm.
    Build,
    /// Get Envoy into target/envoy/envoy, unless `ENVOY_BIN` names one.
    Envoy,
    /// Watch skewed pods even out behind a real Envoy.
    Demo {
        /// Leave everything running until Ctrl-C.
        #[arg(long)]
        keep: bool,
    },
    /// Measure what the filter costs, beside HAProxy and nginx.
    Bench {
        /// What the benchmark itself takes: `--rounds N`, `--quick`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Simulate many gateways before the same pods, beside other policies.
    Simulate {
        /// What the simulator itself takes: `--quick`, `--check`, `--plot FILE`, `--seed N`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build the filter into an image for Istio and Envoy Gateway, and say how it is pushed.
    Image {
        /// Name of the image, with the registry that it is for.
        #[arg(default_value = concat!("wsbalancer:", env!("CARGO_PKG_VERSION")))]
        name: Reference,
        /// Folder for it, relative to the workspace's: an OCI image layout that is there already is
        /// replaced.
        #[arg(default_value = image::FOLDER)]
        folder: PathBuf,
    },
    /// Make all that a release carries, in target/release-files.
    Release {
        /// Make it also of changes that are in no commit.
        #[arg(long)]
        allow_dirty: bool,
        /// Make it once more in a copy of the sources in another folder, and fail if one byte differs.
        #[arg(long, conflicts_with = "allow_dirty")]
        verify: bool,
    },
    /// Try docker-compose.yml on the machine's Docker Engine, with images built from the sources.
    Docker {
        /// Make the images of what this machine builds, as the test command does.
        #[arg(long)]
        prebuilt: bool,
    },
    /// Take the pictures of the status page in docs/.
    Picture,
    /// Run every check and test, or with a filter only the end-to-end tests that match it.
    Test {
        /// Part of the names of end-to-end tests.
        filter: Option<String>,
    },
    /// Run the core of the end-to-end tests on several versions of Envoy.
    Versions {
        /// Only these, such as 1.37.0; without any, all that are known.
        versions: Vec<String>,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // The process's own folder, for `Shell::change_dir` would move only the shell's commands.
    env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .context("the workspace has moved since xtask was compiled")?;
    let shell = Shell::new()?;
    match arguments.command {
        Command::Setup => setup::run(&shell),
        Command::Build => wasm::build(&shell),
        Command::Envoy => envoy::provide(&shell),
        Command::Demo { keep } => demo::run(&shell, keep),
        Command::Bench { arguments } => bench::run(&shell, &arguments),
        Command::Simulate { arguments } => simulate::run(&shell, &arguments),
        Command::Image { name, folder } => image::build(&shell, &name, &folder),
        Command::Release {
            allow_dirty,
            verify,
        } => release::make(&shell, allow_dirty, verify),
        Command::Docker { prebuilt } => checks::run_docker(&shell, prebuilt),
        Command::Picture => picture::take(&shell),
        Command::Versions { versions } => versions::run(&shell, &versions),
        Command::Test { filter: None } => checks::run(&shell),
        Command::Test {
            filter: Some(filter),
        } => checks::run_end_to_end(&shell, &filter),
    }
}
