//! The tool's arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Checks configurations of wsbalancer, the WebSocket connection balancer for Envoy and Istio.
#[derive(Parser)]
#[command(name = "wsbalancer", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Check(CheckArguments),
    /// Print the completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the man page.
    Man,
}

/// Check configurations of the filter, as the filter does, without Envoy.
///
/// A file may be the configuration itself, or have it anywhere in it: an Envoy configuration, Istio's
/// WasmPlugin, TrafficExtension or EnvoyFilter, Envoy Gateway's EnvoyExtensionPolicy, or a ConfigMap
/// with an Envoy configuration in it; YAML, also of several documents, or JSON.
///
/// Exit code: 0 if all of them are right, 1 if the filter refuses one, 2 if a file can't be read or
/// has none.
#[derive(Args)]
pub(crate) struct CheckArguments {
    /// The files; - is the standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// How to say what is wrong.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// For whom the output is.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines for people: file, line, and what the filter says.
    Text,
    /// JSON for programs.
    Json,
}
