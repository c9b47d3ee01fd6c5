//! Counts from the load reports that pods add to their answers to handshakes.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use wsbalancer_backend::{FleetConfig, LoadReport, Pod};
use wsbalancer_e2e::ask::get_json;
use wsbalancer_e2e::{PATIENCE, Stage, assert_all_well, seldom};
use wsbalancer_harness::Sample;

/// A filter that takes counts from load reports, and polls nobody before the time.
fn told(sample: Sample) -> Sample {
    seldom(sample)
        .option("burstInterval", "0s")
        .option("metric", json!({ "orca": "named_metrics.websockets" }))
}

/// Three pods that tell their counts in this form, or do not.
fn fleet(report: Option<&LoadReport>) -> FleetConfig {
    let mut fleet = FleetConfig::local(3);
    for pod in &mut fleet.pods {
        pod.switches.load_report = report.cloned();
    }
    fleet
}

/// Others have opened a hundred on the first pod since it was polled. The filter learns it from the
/// first handshake there, and in no other way: nobody is polled meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn each_form_tells_what_others_have_opened_since_the_last_poll() -> Result<()> {
    use LoadReport::{Bin, Grpc, Json, Text};
    for report in [Some(Text), Some(Json), Some(Bin), Some(Grpc), None] {
        let stage = Stage::start(fleet(report.as_ref()), told).await?;
        stage.until_usable(3)?;
        let polls: u64 = stage.pods().iter().map(Pod::polls).sum();
        stage.pods()[0].preload(100);
        // So slowly that hardly two are on their way at once.
        let held = stage.load(150, 150)?.open().await;
        assert_all_well(&held.report());
        let opened: Vec<u64> = stage.pods().iter().map(Pod::open).collect();
        let most = opened.iter().copied().max().context("a pod")?;
        if report.is_some() {
            assert!(opened[0] <= 5 && most <= 77, "{report:?}: {opened:?}");
        } else {
            assert_eq!(opened, [50, 50, 50]);
        }
        let now: u64 = stage.pods().iter().map(Pod::polls).sum();
        assert_eq!(now, polls, "nobody was polled");
        stage.until_stat("upgrades_balanced", |balanced| balanced == 150)?;
    }
    Ok(())
}

/// What the status says of the first pod, once its complaint begins so.
fn until_complaint(stage: &Stage, start: &str) -> Result<Value> {
    let url = format!("{}?format=json", stage.status_url()?);
    block_in_place(|| {
        stage.envoy.wait_until("the complaint", PATIENCE, || {
            let status = get_json(&url).ok()?;
            let pod = status["podMetrics"]["chat"].get(0)?.clone();
            let complaint = pod["complaint"].as_str().unwrap_or_default();
            (complaint.starts_with(start) && complaint.is_empty() == start.is_empty())
                .then_some(pod)
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_of_a_load_report_is_a_complaint_and_costs_no_handshake() -> Result<()> {
    let mut fleet = fleet(None);
    fleet.pods.truncate(1);
    let stage = Stage::start(fleet, told).await?;
    stage.until_usable(1)?;
    let pod = &stage.pods()[0];
    let header = |text: &str| Some(LoadReport::Header(text.to_owned()));
    for (report, complaint) in [
        (None, "its 101 lacks the header endpoint-load-metrics"),
        (
            header("BIN !"),
            "endpoint-load-metrics of its 101 is no load report",
        ),
        (
            header("TEXT named_metrics.other=1"),
            "endpoint-load-metrics of its 101 lacks the metric",
        ),
        (
            header("TEXT named_metrics.websockets=1.5"),
            "the metric that metric.orca names is not a non-negative integer",
        ),
        (Some(LoadReport::Text), ""),
        (None, "its 101 lacks the header endpoint-load-metrics"),
    ] {
        pod.report_load(report);
        let held = stage.load(2, 0)?.open().await;
        assert_all_well(&held.report());
        let told = until_complaint(&stage, complaint)?;
        assert_eq!(told["estimate"], 2, "{complaint}");
        held.close().await;
        stage.until_open(0)?;
        if !complaint.is_empty() {
            let line = format!(
                "the answer of pod {} has a mistake: {complaint}",
                pod.address()
            );
            let log = stage.envoy.log();
            assert_eq!(log.matches(&line).count(), 1, "{line}");
        }
    }
    assert_eq!(stage.stat("polls_failed")?, 0);
    Ok(())
}
