//! Many clients within seconds, beside WebSockets that somebody opened who is not a gateway.

use anyhow::{Context, Result};
use wsbalancer_backend::FleetConfig;
use wsbalancer_e2e::{Stage, assert_all_well, every, load};
use wsbalancer_harness::Sample;

const PODS: u64 = 4;

/// What happens before the clients come, and how many come.
struct Burst {
    /// WebSockets of this gateway that came and went.
    own: u32,
    /// WebSockets that were opened on the first pod, not through the gateway …
    foreign: u32,
    /// … and how often that pod was asked since.
    polls: u64,
    /// WebSockets through the gateway.
    new: u32,
    /// … in a second.
    rate: u32,
}

/// What is usual.
const BURST: Burst = Burst {
    own: 0,
    foreign: 200,
    polls: 2,
    new: 600,
    rate: 400,
};

/// After the burst no pod has over 5 % of the mean more than it must.
async fn stays_even(burst: Burst, options: impl FnOnce(Sample) -> Sample) -> Result<()> {
    let stage = Stage::start(FleetConfig::local(4), options).await?;
    stage.until_usable(4)?;
    if burst.own > 0 {
        stage.load(burst.own, 0)?.open().await.close().await;
        stage.until_open(0)?;
    }
    let first = stage.pods().first().context("a pod")?;
    let foreign = load(first.address(), burst.foreign, 0)?.open().await;
    assert_all_well(&foreign.report());
    let asked = first.polls() + burst.polls;
    first.until(|counters| counters.polls >= asked).await?;

    let held = stage.load(burst.new, burst.rate)?.open().await;
    assert_all_well(&held.report());
    let counts = stage.counts();
    let (foreign, new) = (u64::from(burst.foreign), u64::from(burst.new));
    let mean = (foreign + new) / PODS;
    let fullest = counts.iter().max().context("a pod")?;
    // Where the first pod is past the mean, it gets next to nothing.
    let most = (mean + mean / 20).max(foreign + new / 100);
    assert!(*fullest <= most, "{counts:?}: {fullest} of {mean}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_foreign_websockets_a_burst_is_even() -> Result<()> {
    stays_even(BURST, |sample| sample).await
}

#[tokio::test(flavor = "multi_thread")]
async fn own_websockets_that_came_and_went_do_not_mislead_a_burst() -> Result<()> {
    let burst = Burst { own: 400, ..BURST };
    stays_even(burst, |sample| sample).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_later_a_burst_is_even_too() -> Result<()> {
    let burst = Burst {
        own: 400,
        polls: 12,
        ..BURST
    };
    stays_even(burst, |sample| sample).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_full_of_foreign_ones_gets_next_to_nothing_of_a_burst() -> Result<()> {
    let burst = Burst {
        foreign: 2_000,
        new: 2_000,
        ..BURST
    };
    stays_even(burst, |sample| sample).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_counts_each_second_a_burst_is_even() -> Result<()> {
    let burst = Burst { polls: 8, ..BURST };
    stays_even(burst, every(1_000)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_burst_is_even() -> Result<()> {
    let burst = Burst {
        new: 3_000,
        rate: 300,
        ..BURST
    };
    stays_even(burst, |sample| sample).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_on_empty_pods_is_even() -> Result<()> {
    let burst = Burst {
        foreign: 0,
        ..BURST
    };
    stays_even(burst, |sample| sample).await
}
