//! The stage of the end-to-end tests: pods, and an Envoy that runs the built filter before them.
//!
//! The tests load the module as Envoy does, and link the filter only as a part of the tool, which says
//! what a chart or a base has to be, and examines running Envoys.

pub mod ask;
pub mod authority;
pub mod browser;
pub mod compiled;
pub mod deploy;
pub mod doctor;
pub mod eds;
pub mod envoy_gateway;
pub mod exporter;
pub mod istio;
pub mod lds;
pub mod markdown;
pub mod mesh;
pub mod modules;
pub mod program;
pub mod prometheus;
pub mod python;
pub mod resources;
pub mod runnable;
pub mod sidecars;
pub mod xds;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use wsbalancer_backend::{Fleet, FleetConfig, Pod, raise_descriptor_limit};
use wsbalancer_client::{Load, Report, imbalance};
use wsbalancer_harness::{Envoy, Options, Sample, wait_until};

/// The root of the workspace.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// How long a test waits for what must happen. It is no bound on speed: a machine under load
/// may take its time, and a test that waits in vain has failed anyway.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Pods and an Envoy before them; gone when dropped.
pub struct Stage {
    /// The pods.
    pub fleet: Fleet,
    /// The Envoy.
    pub envoy: Envoy,
}

impl Stage {
    /// Starts `fleet` and an Envoy with the sample that `change` returns, two workers and the
    /// filter's log at debug.
    ///
    /// # Errors
    /// When pods or Envoy don't start.
    pub async fn start(
        fleet: FleetConfig,
        change: impl FnOnce(Sample) -> Sample,
    ) -> anyhow::Result<Self> {
        Self::start_with(Envoy::options(), fleet, change).await
    }

    /// As [`start`](Self::start), with Envoy options of the caller's.
    ///
    /// # Errors
    /// When pods or Envoy don't start.
    pub async fn start_with(
        options: Options,
        fleet: FleetConfig,
        change: impl FnOnce(Sample) -> Sample,
    ) -> anyhow::Result<Self> {
        raise_descriptor_limit()?;
        let fleet = Fleet::start(fleet).await?;
        let sample = change(Sample::standard()?.pods(&addresses(&fleet)));
        let options = options.component_log_level("wasm:debug");
        let envoy = block_in_place(|| options.start(&sample))?;
        Ok(Self { fleet, envoy })
    }

    /// The pods.
    #[must_use]
    pub fn pods(&self) -> &[Pod] {
        self.fleet.pods()
    }

    /// What the pods report.
    #[must_use]
    pub fn counts(&self) -> Vec<u64> {
        self.pods().iter().map(Pod::reported).collect()
    }

    /// Waits until the filter has exactly `count` pods that get new WebSockets.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn until_usable(&self, count: usize) -> anyhow::Result<()> {
        let count = u64::try_from(count)?;
        self.until_stat("pods_usable", |usable| usable == count)
    }

    /// Waits until the filter's statistic `name` fulfils `condition`.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn until_stat(&self, name: &str, condition: impl Fn(u64) -> bool) -> anyhow::Result<()> {
        block_in_place(|| self.envoy.wait_for_filter_stat(name, condition, PATIENCE))
            .map(|_value| ())
    }

    /// The filter's statistic `name`.
    ///
    /// # Errors
    /// When Envoy does not tell.
    pub fn stat(&self, name: &str) -> anyhow::Result<u64> {
        block_in_place(|| self.envoy.filter_stat(name))
    }

    /// Where the filter shows what it knows.
    ///
    /// # Errors
    /// When Envoy does not listen there.
    pub fn status_url(&self) -> anyhow::Result<String> {
        self.status_url_on("status")
    }

    /// Where the status is on the listener of this name.
    ///
    /// # Errors
    /// When Envoy has no such listener.
    pub fn status_url_on(&self, listener: &str) -> anyhow::Result<String> {
        let address = self.envoy.listener(listener);
        let address = address.with_context(|| format!("Envoy has no listener {listener}"))?;
        Ok(format!("http://{address}/balancer-metrics"))
    }

    /// `connections` WebSockets through Envoy, `rate` a second.
    ///
    /// # Errors
    /// Never, for the addresses that Envoy listens on.
    pub fn load(&self, connections: u32, rate: u32) -> anyhow::Result<Load> {
        load(self.envoy.address(), connections, rate)
    }

    /// Waits until the pods hold `open` WebSockets together.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn until_open(&self, open: u64) -> anyhow::Result<()> {
        let what = format!("{open} open WebSockets");
        block_in_place(|| {
            wait_until(&what, PATIENCE, || {
                let sum: u64 = self.pods().iter().map(Pod::open).sum();
                (sum == open).then_some(())
            })
        })
    }
}

/// What must hold wherever the pods come from: 2,000 WebSockets make up for the skew of eight
/// pods, of which four began with 500.
///
/// # Errors
/// When the pods don't become usable, or Envoy does not tell.
///
/// # Panics
/// When a client sees a failure, or a pod ends with over 1 % more than its share.
pub async fn assert_skewed_pods_even_out(stage: &Stage) -> anyhow::Result<()> {
    stage.until_usable(8)?;
    let held = stage.load(2_000, 500)?.open().await;
    assert_all_well(&held.report());
    let counts = stage.counts();
    assert!(imbalance(&counts) <= 1.01, "{counts:?}");
    stage.until_stat("upgrades_balanced", |balanced| balanced == 2_000)?;
    Ok(())
}

/// `connections` WebSockets to `address`, `rate` a second.
///
/// # Errors
/// Never, for addresses of this machine.
pub fn load(address: SocketAddr, connections: u32, rate: u32) -> anyhow::Result<Load> {
    let target = format!("ws://{address}/chat").parse().context("the URL")?;
    Ok(Load {
        connections,
        rate: NonZeroU32::new(rate),
        ..Load::new(target)
    })
}

/// Where the pods of `fleet` listen.
#[must_use]
pub fn addresses(fleet: &Fleet) -> Vec<SocketAddr> {
    fleet.pods().iter().map(Pod::address).collect()
}

/// A fleet of `count` pods that report `preload` connections in turn, repeated.
#[must_use]
pub fn preloaded(count: usize, preload: &[u64]) -> FleetConfig {
    let mut fleet = FleetConfig::local(count);
    for (pod, &preload) in fleet.pods.iter_mut().zip(preload.iter().cycle()) {
        pod.switches.preload = preload;
    }
    fleet
}

/// The plugin options of a filter that looks every `millis`.
///
/// A count is trusted for six intervals, as by default.
pub fn every(millis: u32) -> impl FnOnce(Sample) -> Sample {
    move |sample| sample.option("cacheTTL", Value::from(format!("{}ms", millis * 6)))
}

/// The plugin options of a filter that finds pods at once, asks each for its count, and then not
/// again for long.
///
/// What happens while a poll is under way makes an estimate err by as much. Without polls
/// WebSockets spread exactly.
#[must_use]
pub fn seldom(sample: Sample) -> Sample {
    let discovery = json!({ "adminCluster": "envoy_admin", "interval": "100ms" });
    every(600_000)(sample).option("discovery", discovery)
}

/// The sample with a second filter of this kind behind the first.
///
/// # Panics
/// Where it has no filters.
#[must_use]
pub fn with_second_filter(mut sample: Sample) -> Sample {
    let filters = sample.connection_manager()["http_filters"].as_array_mut();
    let filters = filters.expect("HTTP filters");
    let mut second = filters[0].clone();
    second["name"] = "second".into();
    filters.insert(1, second);
    sample
}

/// The sample with TCP connections that end when their WebSockets are closed.
///
/// By default Envoy leaves a client a second to end the connection, and ours waits for Envoy to.
#[must_use]
pub fn brisk(mut sample: Sample) -> Sample {
    sample.connection_manager()["delayed_close_timeout"] = "0.02s".into();
    sample
}

/// Asserts that nothing went wrong for any client.
///
/// # Panics
/// If it did.
pub fn assert_all_well(report: &Report) {
    assert_eq!(report.failures, [], "{:?}", report.connections);
    assert_eq!(report.connections.opened, report.connections.requested);
}
