//! Pods that refuse connections, die and come back: no client notices.

use anyhow::{Context, Result};
use wsbalancer_backend::{FleetConfig, Pod};
use wsbalancer_client::imbalance;
use wsbalancer_e2e::{Stage, assert_all_well, every, preloaded};

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_come_up_fill_up() -> Result<()> {
    let mut fleet = preloaded(8, &[500, 0]);
    for pod in fleet.pods.iter_mut().skip(1).step_by(2) {
        pod.refusing = true;
    }
    // Until they are found, everything goes to the full ones: 50 ms are ten WebSockets.
    let stage = Stage::start(fleet, every(50)).await?;
    stage.until_usable(4)?;
    let load = stage.load(2_000, 200)?;
    let opening = tokio::spawn(async move { load.open().await });
    stage.until_stat("upgrades_balanced", |upgrades| upgrades > 0)?;
    for pod in stage.pods().iter().skip(1).step_by(2) {
        pod.accept().await?;
    }
    let held = opening.await?;
    assert_all_well(&held.report());
    let counts = stage.counts();
    assert!(imbalance(&counts) <= 1.02, "{counts:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dying_pod_costs_no_client_anything_and_returns() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(8), |sample| {
        let mut sample = every(500)(sample);
        // One that the pod has taken when it dies finds its connection closed.
        sample.route()["retry_policy"]["retry_on"] = "connect-failure,refused-stream,reset".into();
        sample
    })
    .await?;
    stage.until_usable(8)?;
    let load = stage.load(2_000, 500)?;
    let opening = tokio::spawn(async move { load.open().await });
    let (dying, rest) = stage.pods().split_first().context("pods")?;
    dying.until(|counters| counters.opened >= 100).await?;
    dying.refuse().await;
    let held = opening.await?;
    assert_all_well(&held.report());
    let counts: Vec<u64> = rest.iter().map(Pod::open).collect();
    assert!(imbalance(&counts) <= 1.02, "{counts:?}");
    stage.until_usable(7)?;
    assert!(stage.stat("upgrades_retried")? > 0);
    assert_eq!(stage.stat("upgrades_fallback")?, 0);

    let before = dying.open();
    dying.accept().await?;
    stage.until_usable(8)?;
    let more = stage.load(100, 500)?.open().await;
    assert_all_well(&more.report());
    assert_eq!(dying.open(), before + 100, "it has the fewest");
    Ok(())
}

/// The first choice, the second and the third refuse: the fallback policy is left, and every
/// pod that refused is left out from then on.
#[tokio::test(flavor = "multi_thread")]
async fn pods_that_refused_are_left_out_until_they_answer_a_poll() -> Result<()> {
    // A long interval: no poll finds out before the upgrade does.
    let stage = Stage::start(preloaded(4, &[0, 1, 1_000, 1_000]), every(10_000)).await?;
    stage.until_usable(4)?;
    for pod in stage.pods().iter().take(2) {
        pod.refuse().await;
    }
    let first = stage.load(1, 0)?.open().await;
    assert_all_well(&first.report());
    assert_eq!(stage.stat("upgrades_retried")?, 1);
    stage.until_usable(2)?;
    let more = stage.load(50, 0)?.open().await;
    assert_all_well(&more.report());
    assert_eq!(
        stage.stat("upgrades_retried")?,
        1,
        "nobody tries them again"
    );
    Ok(())
}
