//! A pod that has just come up gets its share of the new WebSockets along the curve.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use wsbalancer_backend::Pod;
use wsbalancer_client::imbalance;
use wsbalancer_e2e::eds::{self, endpoints};
use wsbalancer_e2e::{addresses, assert_all_well, every, preloaded};

const WINDOW: Duration = Duration::from_secs(10);
const RATE: u32 = 200;

/// The mean of max(10 %, time / window) over a part of the window.
fn curve(from: f64, to: f64) -> f64 {
    const STEPS: u32 = 1_000;
    let factors = (0..STEPS).map(|step| {
        let time = from + (to - from) * (f64::from(step) + 0.5) / f64::from(STEPS);
        (time / WINDOW.as_secs_f64()).max(0.1)
    });
    factors.sum::<f64>() / f64::from(STEPS)
}

/// How many WebSockets `pod` opened in a span after `start`.
fn opened(pod: &Pod, start: Instant, from: f64, to: f64) -> f64 {
    let times = pod.openings();
    let within = times.iter().filter(|time| {
        let time = time.saturating_duration_since(start).as_secs_f64();
        time >= from && time < to
    });
    f64::from(u32::try_from(within.count()).unwrap_or(u32::MAX))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pod_starts_slowly_and_all_ends_even() -> Result<()> {
    // Far more than the new pod can catch up with inside its window.
    let fleet = preloaded(5, &[1_000, 1_000, 1_000, 1_000, 0]);
    let old = |pods: &[_]| endpoints(&pods[..4]);
    let (stage, eds) = eds::stage(fleet, old, |sample| {
        every(200)(sample).option("slowStart", json!({ "window": "10s" }))
    })
    .await?;
    stage.until_usable(4)?;
    // The service has been up for longer than an interval: what comes now is new.
    let polls = stage.pods()[0].polls() + 3;
    stage.pods()[0].until(|pod| pod.polls >= polls).await?;
    let load = stage.load(13 * RATE, RATE)?;
    let opening = tokio::spawn(async move { load.open().await });
    stage.until_stat("upgrades_balanced", |upgrades| upgrades > 50)?;

    eds.publish(&endpoints(&addresses(&stage.fleet)))?;
    let new = stage.pods().last().context("a pod")?;
    new.until(|pod| pod.polls >= 1).await?;
    let start = Instant::now();
    stage.until_usable(5)?;
    let held = opening.await?;
    assert_all_well(&held.report());

    for (from, to) in [(0.0, 2.5), (2.5, 5.0), (5.0, 7.5), (7.5, 10.0)] {
        let all: f64 = stage
            .pods()
            .iter()
            .map(|pod| opened(pod, start, from, to))
            .sum();
        let share = opened(new, start, from, to) / all;
        let expected = curve(from, to);
        // Five standard deviations, and what the poll took before the filter had its answer.
        let deviation = (expected * (1.0 - expected) / all).sqrt();
        let tolerance = 5.0 * deviation + 0.02;
        assert!(
            (share - expected).abs() < tolerance,
            "from {from} to {to} s: {share:.3} of {all}, and the curve has {expected:.3}"
        );
        println!("{from} to {to} s: {share:.3} of {all}, and the curve has {expected:.3}");
    }
    let counts = stage.counts();
    assert!(imbalance(&counts) <= 1.02, "{counts:?}");
    Ok(())
}
