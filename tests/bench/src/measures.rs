//! What is measured of one proxy in one round.

use std::fs;
use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::Serialize;
use wsbalancer_client::Load;

use crate::proxies::Proxy;
use crate::relay;
use crate::report::Spread;

/// How much is done for one measurement.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// Turns of each proxy in a round.
    turns: u32,
    /// WebSockets that are opened in a turn, and for the memory.
    pub(crate) upgrades: u32,
    /// How long messages go to and fro.
    relay: Duration,
    /// How often Envoy is asked for all pods.
    pub(crate) refreshes: u32,
}

impl Effort {
    pub(crate) const FULL: Self = Self {
        turns: 4,
        upgrades: 500,
        relay: Duration::from_secs(2),
        refreshes: 200,
    };
    pub(crate) const QUICK: Self = Self {
        turns: 1,
        upgrades: 100,
        relay: Duration::from_millis(300),
        refreshes: 2,
    };
}

/// WebSockets opened a second, in all parts.
const RATE: NonZeroU32 = NonZeroU32::new(500).unwrap();
/// Turns before anything is measured: pools, caches and the code itself get warm.
const WARM_UP: u32 = 2;

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
    pub(crate) upgrades: Upgrades,
    /// Bytes by which the process's resident memory grows with a WebSocket.
    pub(crate) memory_per_websocket: f64,
}

/// What it takes to open WebSockets, and to close them.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Upgrades {
    /// Microseconds from the TCP connection to the answer to the upgrade.
    pub(crate) handshake_p50: f64,
    pub(crate) handshake_p90: f64,
    pub(crate) handshake_p99: f64,
    pub(crate) handshake_max: f64,
    /// Microseconds of the proxy's CPU time to open a WebSocket and to close it, with whatever
    /// else the process does meanwhile.
    pub(crate) cpu: f64,
}

impl Measures {
    /// Measures proxies that run beside each other, in the same order. In turns, which are short:
    /// the machine is then as fast for the one as for the others.
    pub(crate) async fn take(proxies: &[Proxy], effort: Effort) -> Result<Vec<Self>> {
        let mut turns = vec![Vec::new(); proxies.len()];
        for turn in 0..WARM_UP + effort.turns {
            for (proxy, turns) in proxies.iter().zip(&mut turns) {
                let upgrades = Upgrades::take(proxy, effort.upgrades).await?;
                if turn >= WARM_UP {
                    turns.push(upgrades);
                }
            }
        }
        let mut all = Vec::new();
        for (proxy, turns) in proxies.iter().zip(&turns) {
            all.push(Self {
                upgrades: Upgrades::median(turns),
                memory_per_websocket: memory(proxy, effort).await?,
                small_messages: relay::ping_pong(
                    proxy.address,
                    SMALL_CONNECTIONS,
                    SMALL,
                    effort.relay,
                )
                .await?,
                large_messages: relay::stream(
                    proxy.address,
                    LARGE_CONNECTIONS,
                    LARGE,
                    effort.relay,
                )
                .await?,
            });
        }
        Ok(all)
    }
}

impl Upgrades {
    /// Opens so many WebSockets, and closes them.
    pub(crate) async fn take(proxy: &Proxy, upgrades: u32) -> Result<Self> {
        let clock = CpuClock::of(proxy.pid)?;
        let started = clock.read()?;
        let report = open(proxy, upgrades).await?.close().await;
        let spent = clock.read()?.saturating_sub(started);
        let handshake = report.handshake.context("no handshake succeeded")?;
        Ok(Self {
            handshake_p50: micros(handshake.p50_micros),
            handshake_p90: micros(handshake.p90_micros),
            handshake_p99: micros(handshake.p99_micros),
            handshake_max: micros(handshake.max_micros),
            cpu: spent.as_secs_f64() * 1e6 / f64::from(upgrades),
        })
    }

    /// What it took in most turns.
    fn median(turns: &[Self]) -> Self {
        let of = |value: fn(&Self) -> f64| Spread::of(turns.iter().map(value).collect()).median;
        Self {
            handshake_p50: of(|turn| turn.handshake_p50),
            handshake_p90: of(|turn| turn.handshake_p90),
            handshake_p99: of(|turn| turn.handshake_p99),
            handshake_max: of(|turn| turn.handshake_max),
            cpu: of(|turn| turn.cpu),
        }
    }
}

/// Bytes by which a proxy grows with a WebSocket, with more of them open than it has had yet.
async fn memory(proxy: &Proxy, effort: Effort) -> Result<f64> {
    let held = open(proxy, effort.upgrades).await?;
    let before = resident(proxy.pid)?;
    let more = effort.upgrades * 2;
    let others = open(proxy, more).await?;
    let after = resident(proxy.pid)?;
    others.close().await;
    held.close().await;
    Ok((after - before) / f64::from(more))
}

/// Opens so many WebSockets.
async fn open(proxy: &Proxy, websockets: u32) -> Result<wsbalancer_client::Held> {
    let load = Load {
        connections: websockets,
        rate: Some(RATE),
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
fn micros(latency: u64) -> f64 {
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
