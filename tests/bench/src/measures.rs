//! What is measured of one proxy in one round.

use std::fs;
use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::Serialize;
use wsbalancer_client::{Handshake, Load};

use crate::proxies::Proxy;
use crate::relay;

/// How much is done for one measurement.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// WebSockets that are opened for the handshakes, the CPU time and the memory.
    upgrades: u32,
    /// How long messages go to and fro.
    relay: Duration,
    /// How often Envoy is asked for all pods.
    pub(crate) refreshes: u32,
}

impl Effort {
    pub(crate) const FULL: Self = Self {
        upgrades: 2_000,
        relay: Duration::from_secs(3),
        refreshes: 200,
    };
    pub(crate) const QUICK: Self = Self {
        upgrades: 200,
        relay: Duration::from_millis(300),
        refreshes: 2,
    };
}

/// WebSockets opened a second.
const RATE: NonZeroU32 = NonZeroU32::new(400).unwrap();
/// Opened and closed before anything is measured: pools, caches and the code itself get warm.
const WARM_UP: u32 = 200;

const SMALL: usize = 128;
const SMALL_CONNECTIONS: u32 = 50;
const LARGE: usize = 16 * 1024;
const LARGE_CONNECTIONS: u32 = 4;

/// The numbers of one proxy in one round.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Measures {
    /// 128-byte messages there and back over 50 WebSockets, a second.
    pub(crate) small_messages: f64,
    /// 16-KiB messages there and back over 4 WebSockets, a second.
    pub(crate) large_messages: f64,
    /// Microseconds from the TCP connection to the answer to the upgrade.
    pub(crate) handshake_p50: f64,
    pub(crate) handshake_p90: f64,
    pub(crate) handshake_p99: f64,
    /// Microseconds of the proxy's CPU time to open a WebSocket and to close it, with whatever
    /// else the process does meanwhile.
    pub(crate) cpu_per_upgrade: f64,
    /// Bytes by which the process's resident memory grows with a WebSocket.
    pub(crate) memory_per_websocket: f64,
}

impl Measures {
    pub(crate) async fn take(proxy: &Proxy, effort: Effort) -> Result<Self> {
        open(proxy, WARM_UP, RATE).await?.close().await;
        let clock = CpuClock::of(proxy.pid)?;
        let before = resident(proxy.pid)?;
        let started = clock.read()?;
        let held = open(proxy, effort.upgrades, RATE).await?;
        let after = resident(proxy.pid)?;
        let report = held.close().await;
        let spent = clock.read()?.saturating_sub(started);
        let handshake = report.handshake.context("no handshake succeeded")?;
        let upgrades = f64::from(effort.upgrades);
        let Handshake {
            p50_micros,
            p90_micros,
            p99_micros,
            ..
        } = handshake;
        Ok(Self {
            handshake_p50: micros(p50_micros),
            handshake_p90: micros(p90_micros),
            handshake_p99: micros(p99_micros),
            cpu_per_upgrade: spent.as_secs_f64() * 1e6 / upgrades,
            memory_per_websocket: (after - before) / upgrades,
            small_messages: relay::ping_pong(proxy.address, SMALL_CONNECTIONS, SMALL, effort.relay)
                .await?,
            large_messages: relay::stream(proxy.address, LARGE_CONNECTIONS, LARGE, effort.relay)
                .await?,
        })
    }
}

/// Opens so many WebSockets, so many of them a second.
pub(crate) async fn open(
    proxy: &Proxy,
    websockets: u32,
    rate: NonZeroU32,
) -> Result<wsbalancer_client::Held> {
    let load = Load {
        connections: websockets,
        rate: Some(rate),
        messages: 0,
        ..Load::new(format!("ws://{}/bench", proxy.address).parse()?)
    };
    let held = load.open().await;
    let failures = held.report().failures;
    ensure!(failures.is_empty(), "{failures:?}");
    Ok(held)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a latency is far below 2^52 microseconds"
)]
pub(crate) fn micros(latency: u64) -> f64 {
    latency as f64
}

/// The time that all threads of a process have spent on CPUs (`clock_getcpuclockid(3)`).
pub(crate) struct CpuClock(ClockId);

impl CpuClock {
    pub(crate) fn of(pid: i32) -> Result<Self> {
        Ok(Self(clock_getcpuclockid(Pid::from_raw(pid))?))
    }

    pub(crate) fn read(&self) -> Result<Duration> {
        Ok(clock_gettime(self.0)?.into())
    }
}

/// The resident memory of a process, in bytes (`proc_pid_status(5)`).
pub(crate) fn resident(pid: i32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"))
        .context("the process has memory")?;
    Ok(kib.trim().parse::<f64>()? * 1024.0)
}
