//! Pods whose `/metric` fails in every way there is: they get no WebSockets, and nothing else
//! comes of it.

use anyhow::{Context, Result, bail};
use http::{Request, StatusCode};
use serde_json::Value;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Error;
use wsbalancer_backend::{FleetConfig, MetricBehavior, Pod};
use wsbalancer_e2e::ask::ask;
use wsbalancer_e2e::{Stage, assert_all_well, brisk, every};

/// What a pod may answer at once instead of its count, and what the log calls it.
fn bad_answers() -> Vec<(MetricBehavior, &'static str)> {
    let body = |text: &str| MetricBehavior::Body(text.to_owned());
    vec![
        (
            MetricBehavior::Status(StatusCode::INTERNAL_SERVER_ERROR),
            "status 500",
        ),
        (body("<html>\0"), "the body is not a JSON object"),
        (body(""), "the body is not a JSON object"),
        (
            body(r#"{"agentsConnections": 1.5}"#),
            "agentsConnections is not",
        ),
        (
            body(r#"{"agentsConnections": 1e99}"#),
            "agentsConnections is not",
        ),
        (
            body(r#"{"agentsConnections": "42"}"#),
            "agentsConnections is not",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_a_count_is_left_out_until_it_tells_one() -> Result<()> {
    let sample = |sample| every(200)(brisk(sample));
    let stage = Stage::start(FleetConfig::local(3), sample).await?;
    stage.until_usable(3)?;
    let pod = stage.pods().first().context("a pod")?;
    for (answer, reason) in bad_answers() {
        leave_out_and_take_back(&stage, pod, answer.clone(), reason)
            .await
            .with_context(|| format!("{answer:?}"))?;
    }
    assert_no_trap(&stage.envoy.log());
    Ok(())
}

/// An interval is all the time that an answer has, and the next poll follows at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_hangs_is_left_out_until_it_answers() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(3), every(200)).await?;
    stage.until_usable(3)?;
    let pod = stage.pods().first().context("a pod")?;
    leave_out_and_take_back(&stage, pod, MetricBehavior::Hang, "status 504").await?;
    assert_no_trap(&stage.envoy.log());
    Ok(())
}

/// The body is valid JSON and holds the true count: its size alone is wrong. The interval leaves
/// Envoy time to receive it, and one failure is enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_with_a_huge_answer_is_left_out_until_it_is_brief() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(3), |sample| {
        every(2_000)(sample).option("unhealthyThreshold", 1)
    })
    .await?;
    stage.until_usable(3)?;
    let pod = stage.pods().first().context("a pod")?;
    let answer = MetricBehavior::Huge(10_000_000);
    leave_out_and_take_back(&stage, pod, answer, "the body is over 65536 bytes").await?;
    assert_no_trap(&stage.envoy.log());
    Ok(())
}

/// Has `pod` answer polls with `answer` for a while, and then with the truth.
async fn leave_out_and_take_back(
    stage: &Stage,
    pod: &Pod,
    answer: MetricBehavior,
    reason: &str,
) -> Result<()> {
    let usable = stage.pods().len();
    let log_before = stage.envoy.log().len();
    pod.answer_metric(answer);
    stage.until_usable(usable - 1)?;

    let opened = pod.opened();
    let held = stage.load(10, 0)?.open().await;
    assert_all_well(&held.report());
    assert_eq!(pod.opened(), opened, "it has the fewest, but no count");
    held.close().await;
    // Beyond cacheTTL, which is no other reason to tell.
    let polls = pod.polls();
    pod.until(|counters| counters.polls >= polls + 7).await?;

    pod.answer_metric(MetricBehavior::Truth);
    stage.until_usable(usable)?;
    let log = stage.envoy.log();
    let log = log.get(log_before..).context("a log only grows")?;
    for change in [
        &format!("failed: {reason}"),
        "failed: ",
        "is down: ",
        "answers polls again",
        "is up with",
    ] {
        let text = format!("pod {} {change}", pod.address());
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&text)).collect();
        assert_eq!(lines.len(), 1, "{text:?}: {lines:#?}");
    }

    stage.until_open(0)?;
    let held = stage.load(30, 0)?.open().await;
    assert_all_well(&held.report());
    assert!(pod.opened() > opened, "it takes its part again");
    held.close().await;
    stage.until_open(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_count_the_fallback_policy_chooses() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(3), every(200)).await?;
    stage.until_usable(3)?;
    silence(&stage)?;
    let held = stage.load(30, 0)?.open().await;
    assert_all_well(&held.report());
    stage.until_stat("upgrades_fallback", |fallbacks| fallbacks == 30)?;
    assert_eq!(stage.stat("upgrades_balanced")?, 0);

    restore(&stage)?;
    let more = stage.load(30, 0)?.open().await;
    assert_all_well(&more.report());
    assert_eq!(
        stage.counts(),
        [20, 20, 20],
        "what the fallback did is made good"
    );
    stage.until_stat("upgrades_balanced", |balanced| balanced == 30)?;
    assert_eq!(stage.stat("upgrades_fallback")?, 30);
    assert_no_trap(&stage.envoy.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_count_upgrades_can_be_rejected() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(3), |sample| {
        every(1_200)(sample)
            .option("metricTimeout", "200ms")
            .option("onNoPods", "reject")
    })
    .await?;
    stage.until_usable(3)?;
    silence(&stage)?;
    let refused = connect_async(format!("ws://{}/chat", stage.envoy.address())).await;
    let Err(Error::Http(answer)) = refused else {
        bail!("it should be refused: {refused:?}");
    };
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    // The next refresh, in whole seconds.
    assert_eq!(answer.headers()["retry-after"], "2");
    assert_eq!(stage.stat("upgrades_rejected")?, 1);
    let handshakes: u64 = stage
        .pods()
        .iter()
        .map(|pod| pod.counters().handshakes)
        .sum();
    assert_eq!(handshakes, 0);
    // It is no concern of requests that are no WebSockets.
    let plain = plain_status(&stage)?;
    assert_eq!(plain, StatusCode::OK);

    restore(&stage)?;
    let held = stage.load(30, 0)?.open().await;
    assert_all_well(&held.report());
    assert_eq!(stage.stat("upgrades_rejected")?, 1);
    assert_no_trap(&stage.envoy.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_come_from_the_metric_path() -> Result<()> {
    let mut fleet = FleetConfig::local(3);
    fleet.metric_path = "/internal/open%20sockets".to_owned();
    let elsewhere = Stage::start(fleet.clone(), every(200)).await?;
    elsewhere.until_stat("polls_failed", |failed| failed >= 3)?;
    assert_eq!(elsewhere.stat("pods_usable")?, 0);
    drop(elsewhere);

    let path = "/internal/open%20sockets?of=chat";
    let common = Stage::start(fleet.clone(), |sample| {
        every(200)(sample).option("metricPath", path)
    })
    .await?;
    common.until_usable(3)?;
    assert_eq!(common.stat("polls_failed")?, 0);
    drop(common);

    let own = Stage::start(fleet, |sample| {
        let mut sample = every(200)(sample).option("metricPath", "/nowhere");
        sample.plugin_configuration()["services"][0]["metricPath"] = Value::from(path);
        sample
    })
    .await?;
    own.until_usable(3)?;
    assert_eq!(own.stat("polls_failed")?, 0);
    Ok(())
}

/// No pod tells its count any more, and the filter knows.
fn silence(stage: &Stage) -> Result<()> {
    for pod in stage.pods() {
        pod.answer_metric(MetricBehavior::Status(StatusCode::INTERNAL_SERVER_ERROR));
    }
    stage.until_usable(0)
}

/// Every pod tells its count again, and the filter knows all of them.
fn restore(stage: &Stage) -> Result<()> {
    for pod in stage.pods() {
        pod.answer_metric(MetricBehavior::Truth);
    }
    stage.until_usable(stage.pods().len())
}

/// The status of a plain request.
fn plain_status(stage: &Stage) -> Result<StatusCode> {
    let url = format!("http://{}/", stage.envoy.address());
    Ok(ask(Request::get(url).body(())?)?.status())
}

fn assert_no_trap(log: &str) {
    for sign in ["Function: ", "unreachable", "panicked"] {
        assert!(!log.contains(sign), "{sign:?} in\n{log}");
    }
}
