//! The tool's arguments.

#![expect(clippy::doc_markdown, reason = "the texts are for a terminal")]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::load::LoadArguments;
use crate::pods::PodsArguments;
use crate::watch::WatchArguments;

/// The tool of wsbalancer, the WebSocket connection balancer for Envoy and Istio.
#[derive(Parser)]
#[command(name = "wsbalancer", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Check(CheckArguments),
    Render(RenderArguments),
    Doctor(DoctorArguments),
    Watch(WatchArguments),
    Load(Box<LoadArguments>),
    Pods(Box<PodsArguments>),
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

/// Make what a gateway needs of one short file.
///
/// The file says where the pods are, in the terms of the Traefik plugin; a file of the plugin itself is
/// understood as it is, as Traefik's dynamic configuration or as a Middleware of Kubernetes (YAML). All
/// options of the filter may stand in it, too.
///
/// Without --output the most important file is printed, and the others are named.
///
/// Exit code: 0 if all went well, 2 if not.
#[derive(Args)]
pub(crate) struct RenderArguments {
    /// The short file; - is the standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// What the gateway is.
    #[arg(long = "for", value_enum, value_name = "GATEWAY")]
    pub(crate) target: For,
    /// Write all files into this folder, over those that are there.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) output: Option<PathBuf>,
}

/// What the gateway is.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum For {
    /// An Envoy with a configuration of its own.
    Envoy,
    /// Istio: its ingress gateway, one of the Gateway API, or the sidecars of clients.
    Istio,
    /// Envoy Gateway.
    EnvoyGateway,
    /// An Envoy with a configuration of its own, in Kubernetes.
    Kubernetes,
    /// The same with docker-compose.
    Compose,
}

/// Say what will hurt in a running Envoy.
///
/// Reads the admin interface and, where it can be reached, the filter's status: timeouts and circuit
/// breakers that cut WebSockets, a choice without effect, missing retries, pods that get nothing. It
/// changes nothing.
///
/// Exit code: 0 if nothing was found, 1 if something was, 2 if Envoy can't be asked.
#[derive(Args)]
pub(crate) struct DoctorArguments {
    /// The address of Envoy's admin interface, such as 127.0.0.1:9901.
    #[arg(value_name = "ADMIN-ADDRESS")]
    pub(crate) address: String,
    /// How to say what was found.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// For whom the output is.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people.
    Text,
    /// JSON for programs.
    Json,
}
