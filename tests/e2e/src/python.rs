//! Pods in Python: a real web server with a real exporter.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::task::block_in_place;
use wsbalancer_harness::Child;

use crate::ROOT;
use crate::ask::get_json;
use crate::program::PodProgram;

impl PodProgram {
    /// Starts one on uvicorn, with the number of its WebSockets in the series
    /// `websocket_connections{state="open"}` at `/metrics`.
    ///
    /// # Errors
    /// When there is no Python, or what `cargo xtask test` gets for it is missing.
    pub fn on_uvicorn() -> anyhow::Result<Self> {
        Self::start(script("chat.py", &[])?)
    }
}

/// Runs a script of `tests/e2e/pods` until it prints a line.
fn run(script: &str, arguments: &[String]) -> anyhow::Result<(Child, String)> {
    let command = self::script(script, arguments)?;
    block_in_place(|| Child::start_until_line(command))
}

/// How a script of `tests/e2e/pods` is run.
fn script(name: &str, arguments: &[String]) -> anyhow::Result<Command> {
    let root = Path::new(ROOT).canonicalize()?;
    let mut command = Command::new("python3");
    command
        .arg(root.join("tests/e2e/pods").join(name))
        .args(arguments)
        .env("PYTHONPATH", root.join("target/pods"));
    Ok(command)
}

/// Whose sessions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framework {
    /// Socket.IO's, of its own library for Python.
    SocketIo,
    /// As `SignalR` has them: negotiated, and then a WebSocket that names them.
    SignalR,
}

impl Framework {
    fn name(self) -> String {
        match self {
            Self::SocketIo => "socketio",
            Self::SignalR => "signalr",
        }
        .to_owned()
    }
}

/// Pods on uvicorn with sessions; gone when dropped.
#[derive(Debug)]
pub struct SessionPods {
    addresses: Vec<SocketAddr>,
    _process: Child,
}

impl SessionPods {
    /// Starts one for each of `preload`, with so many connections of others in its count. That has
    /// sessions, or WebSockets alone.
    ///
    /// # Errors
    /// When there is no Python, or what `cargo xtask test` gets for it is missing.
    pub fn start(
        framework: Framework,
        counts_sessions: bool,
        preload: &[u64],
    ) -> anyhow::Result<Self> {
        let counted = if counts_sessions {
            "sessions"
        } else {
            "websockets"
        };
        let mut arguments = vec![framework.name(), counted.to_owned()];
        arguments.extend(preload.iter().map(u64::to_string));
        let (process, line) = run("sessions.py", &arguments)?;
        let ports = line.split_whitespace().map(str::parse);
        let ports: Vec<u16> = ports.collect::<Result<_, _>>().context("the ports")?;
        ensure!(ports.len() == preload.len(), "{line}");
        let addresses = ports
            .into_iter()
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        Ok(Self {
            addresses: addresses.collect(),
            _process: process,
        })
    }

    /// Where they listen.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// A field of what each says of itself: `agentsConnections`, `sessions`, `websockets` or
    /// `refused`.
    ///
    /// # Errors
    /// When one does not answer.
    pub fn stats(&self, field: &str) -> anyhow::Result<Vec<u64>> {
        let stat = |address| {
            let stats = get_json(&format!("http://{address}/stats"))?;
            stats[field].as_u64().with_context(|| field.to_owned())
        };
        self.addresses.iter().map(stat).collect()
    }
}

/// Clients with open sessions; gone when dropped.
#[derive(Debug)]
pub struct SessionClients {
    /// How many have one open.
    pub open: u64,
    /// What went wrong for the others.
    pub failed: Vec<Value>,
    _process: Child,
}

impl SessionClients {
    /// Has `clients` open a session through `gateway`, a port of this machine under any name, with the transports that they have by
    /// default or with a WebSocket alone, lose it so many times and open the next.
    ///
    /// # Errors
    /// When there is no Python, or what `cargo xtask test` gets for it is missing.
    pub fn open(
        framework: Framework,
        websocket_only: bool,
        gateway: impl Display,
        clients: u32,
        reconnects: u32,
    ) -> anyhow::Result<Self> {
        let transport = if websocket_only {
            "websocket"
        } else {
            "default"
        };
        let arguments = [
            framework.name(),
            transport.to_owned(),
            format!("http://{gateway}"),
            clients.to_string(),
            reconnects.to_string(),
        ];
        let (process, line) = run("session_clients.py", &arguments)?;
        let result: Value = serde_json::from_str(&line).context("the clients print JSON")?;
        Ok(Self {
            open: result["open"].as_u64().context("how many are open")?,
            failed: result["failed"].as_array().cloned().unwrap_or_default(),
            _process: process,
        })
    }
}
