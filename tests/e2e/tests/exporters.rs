//! Counts from what services export already, without an endpoint of their own for the filter.

use anyhow::Result;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use wsbalancer_e2e::{PATIENCE, Stage, assert_all_well, preloaded, seldom};
use wsbalancer_harness::Sample;

/// A filter that finds the count by `metric` at `path`.
fn exported(path: &'static str, metric: Value) -> impl FnOnce(Sample) -> Sample {
    move |sample| {
        seldom(sample)
            .option("metricPath", path)
            .option("metric", metric)
    }
}

async fn assert_balanced(path: &'static str, metric: Value) -> Result<()> {
    let stage = Stage::start(preloaded(3, &[40, 0, 25]), exported(path, metric)).await?;
    stage.until_usable(3)?;
    let held = stage.load(85, 0)?.open().await;
    assert_all_well(&held.report());
    assert_eq!(stage.counts(), [50, 50, 50]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_series_of_a_prometheus_exporter() -> Result<()> {
    let metric = json!({ "prometheus": "websocket_connections{state=\"open\"}" });
    assert_balanced("/metrics", metric).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_in_a_json_document() -> Result<()> {
    assert_balanced("/stats", json!({ "json": "/server/sockets/a~1b" })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_fails_the_poll() -> Result<()> {
    for (path, metric, told) in [
        (
            "/metrics",
            json!({ "prometheus": "websocket_connections{state=\"lost\"}" }),
            "nothing is where the metric of the configuration points to",
        ),
        (
            "/stats",
            json!({ "json": "/server/sockets" }),
            "what the metric of the configuration points to is not a non-negative integer",
        ),
        (
            "/metrics",
            json!({ "json": "/server" }),
            "the body is not JSON",
        ),
    ] {
        let stage = Stage::start(preloaded(1, &[1]), exported(path, metric)).await?;
        let line = format!(
            "the poll of pod {} failed: {told}",
            stage.pods()[0].address()
        );
        block_in_place(|| stage.envoy.wait_for_log(&line, PATIENCE))?;
    }
    Ok(())
}
