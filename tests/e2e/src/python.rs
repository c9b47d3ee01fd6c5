//! Pods in Python: a real web server with a real exporter.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use tokio::task::block_in_place;
use wsbalancer_harness::Child;

use crate::ROOT;

/// A pod on uvicorn that echoes WebSockets, with their number in the series
/// `websocket_connections{state="open"}` at `/metrics`; gone when dropped.
#[derive(Debug)]
pub struct PythonPod {
    address: SocketAddr,
    _process: Child,
}

impl PythonPod {
    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is no Python, or what `cargo xtask test` gets for it is missing.
    pub fn start() -> anyhow::Result<Self> {
        let root = Path::new(ROOT).canonicalize()?;
        let mut command = Command::new("python3");
        command
            .arg(root.join("tests/e2e/pods/chat.py"))
            .env("PYTHONPATH", root.join("target/pods"));
        let (process, line) = block_in_place(|| Child::start_until_line(command))?;
        let port: u16 = line.trim().parse().context("the pod prints its port")?;
        Ok(Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            _process: process,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
