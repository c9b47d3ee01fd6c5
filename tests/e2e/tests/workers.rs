//! Sixteen workers before the same pods: each has a part of what opens and ends, and none may keep it
//! to itself where that matters.

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::task::block_in_place;
use wsbalancer_backend::FleetConfig;
use wsbalancer_client::imbalance;
use wsbalancer_e2e::ask::get_json;
use wsbalancer_e2e::{PATIENCE, Stage, assert_all_well, seldom};
use wsbalancer_harness::{Envoy, wait_until};

const WORKERS: u32 = 16;

/// Pods that are hardly ever asked: what is known of them is what the workers tell each other.
async fn start(fleet: FleetConfig) -> Result<Stage> {
    let count = fleet.pods.len();
    let options = Envoy::options().concurrency(WORKERS);
    let stage = Stage::start_with(options, fleet, seldom).await?;
    stage.until_usable(count)?;
    Ok(stage)
}

/// What the gateway has on its pods, as the status shows it: open, and on its way.
fn held(stage: &Stage) -> Result<(u64, u64)> {
    let status = block_in_place(|| get_json(&(stage.status_url()? + "?format=json")))?;
    let pods = status["podMetrics"].as_object().context("podMetrics")?;
    let pods = pods.values().filter_map(Value::as_array).flatten();
    let number = |pod: &Value, name| pod[name].as_u64().unwrap_or(u64::MAX);
    Ok(pods.fold((0, 0), |(open, on_its_way), pod| {
        let open = number(pod, "ownConnections").saturating_add(open);
        (open, number(pod, "inFlight").saturating_add(on_its_way))
    }))
}

/// Waits until all workers together have so many open, and none on its way.
fn until_held(stage: &Stage, open: u64) -> Result<()> {
    let what = format!("{open} WebSockets to be counted");
    block_in_place(|| {
        wait_until(&what, PATIENCE, || {
            (held(stage).ok()? == (open, 0)).then_some(())
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_ends_is_counted_to_the_last() -> Result<()> {
    let stage = start(FleetConfig::local(8)).await?;
    let all = stage.load(4_000, 1_000)?.open().await;
    assert_all_well(&all.report());
    let counts = stage.counts();
    assert!(imbalance(&counts) <= 1.01, "{counts:?}");
    until_held(&stage, 4_000)?;

    drop(all);
    stage.until_open(0)?;
    until_held(&stage, 0)?;
    let again = stage.load(800, 0)?.open().await;
    assert_all_well(&again.report());
    assert_eq!(stage.counts(), [100; 8]);
    assert_eq!(stage.stat("upgrades_mismatched")?, 0);
    Ok(())
}

/// Any worker may get the next one, and it was another that had the one that has ended.
#[tokio::test(flavor = "multi_thread")]
async fn near_a_limit_nobody_is_refused_for_an_end_that_waits() -> Result<()> {
    let mut fleet = FleetConfig::local(4);
    for pod in &mut fleet.pods {
        pod.switches.max_connections = Some(20);
    }
    let stage = start(fleet).await?;
    let mut held = vec![stage.load(80, 0)?.open().await];
    for _ in 0..10 {
        let oldest = held.first_mut().context("WebSockets")?;
        assert_eq!(oldest.close_some(8).await, 8);
        stage.until_open(72)?;
        let more = stage.load(8, 0)?.open().await;
        assert_all_well(&more.report());
        assert_eq!(stage.counts(), [20; 4]);
        held.push(more);
    }
    assert_eq!(stage.stat("upgrades_full")?, 0);
    Ok(())
}
