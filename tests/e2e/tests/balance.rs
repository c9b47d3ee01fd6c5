//! New WebSockets go to the pods with the fewest, and the counts stay true.

use anyhow::{Context, Result};
use tokio::task::block_in_place;
use wsbalancer_backend::{FleetConfig, Pod};
use wsbalancer_client::imbalance;
use wsbalancer_e2e::{
    PATIENCE, Stage, assert_all_well, assert_skewed_pods_even_out, brisk, every, preloaded, seldom,
};
use wsbalancer_harness::{Sample, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn empty_pods_fill_evenly() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(8), |sample| sample).await?;
    stage.until_usable(8)?;
    let held = stage.load(2_000, 500)?.open().await;
    assert_all_well(&held.report());
    let counts = stage.counts();
    assert!(imbalance(&counts) <= 1.01, "{counts:?}");
    stage.until_stat("upgrades_balanced", |balanced| balanced == 2_000)?;
    assert_eq!(stage.stat("upgrades_fallback")?, 0);
    Ok(())
}

async fn skewed_pods_even_out(cache_ttl: &str) -> Result<()> {
    let fleet = preloaded(8, &[500, 0]);
    let option = |sample: Sample| sample.option("cacheTTL", cache_ttl);
    let stage = Stage::start(fleet, option).await?;
    assert_skewed_pods_even_out(&stage).await
}

#[tokio::test(flavor = "multi_thread")]
async fn skewed_pods_even_out_on_counts_of_five_seconds() -> Result<()> {
    skewed_pods_even_out("30s").await
}

#[tokio::test(flavor = "multi_thread")]
async fn skewed_pods_even_out_on_fresh_counts() -> Result<()> {
    skewed_pods_even_out("1s").await
}

/// Each poll's debug line tells what the filter expected a pod to hold. Once all is quiet,
/// that must be what the pod reports: an upgrade that was forgotten on its way would show.
#[tokio::test(flavor = "multi_thread")]
async fn the_estimates_come_back_to_the_truth() -> Result<()> {
    let sample = |sample| every(200)(brisk(sample));
    let stage = Stage::start(FleetConfig::local(8), sample).await?;
    stage.until_usable(8)?;
    let mut random = fastrand::Rng::with_seed(11);
    let mut held = Vec::new();
    let mut open = 0;
    for _ in 0..10 {
        let mut some = stage.load(500, 0)?.open().await;
        assert_all_well(&some.report());
        open += some.len();
        open -= some.close_some(random.usize(0..=500)).await;
        held.push(some);
        if random.bool() {
            let closed = held.swap_remove(random.usize(0..held.len()));
            open -= closed.len();
            closed.close().await;
        }
    }
    stage.until_open(u64::try_from(open)?)?;
    stage.until_stat("upgrades_balanced", |balanced| balanced == 5_000)?;

    for pod in stage.pods() {
        let quiet = pod.polls() + 3;
        pod.until(|counters| counters.polls >= quiet).await?;
        let count = pod.open();
        let truth = format!("reports {count} WebSockets, {count} were expected");
        let what = format!("{} to be as expected", pod.address());
        let line = block_in_place(|| wait_until(&what, PATIENCE, || last_report(&stage, pod)))?;
        assert!(line.contains(&truth), "{line}\nnot: {truth}");
    }
    Ok(())
}

fn last_report(stage: &Stage, pod: &Pod) -> Option<String> {
    let pod = format!("pod {} (", pod.address());
    let log = stage.envoy.log();
    let mut lines = log.lines().rev();
    lines.find(|line| line.contains(&pod)).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_websockets_make_room() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(4), seldom).await?;
    stage.until_usable(4)?;
    let held = stage.load(400, 0)?.open().await;
    assert_eq!(stage.counts(), [100; 4]);
    let first = stage.pods().first().context("a pod")?;
    first.drop_connections().await;
    held.shrunk_to(300).await;
    let more = stage.load(100, 0)?.open().await;
    assert_all_well(&more.report());
    assert_eq!(stage.counts(), [100; 4]);
    Ok(())
}
