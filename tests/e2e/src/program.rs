//! A pod that is a program of its own, on other people's servers.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::Context;
use tokio::task::block_in_place;
use wsbalancer_harness::Child;

/// A pod that echoes WebSockets at `/chat`, on a free port of 127.0.0.1; gone when dropped.
#[derive(Debug)]
pub struct PodProgram {
    address: SocketAddr,
    _process: Child,
}

impl PodProgram {
    /// Starts `command`, which prints its port.
    pub(crate) fn start(command: Command) -> anyhow::Result<Self> {
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
