//! Pods whose handshakes fail though their polls are well, and clients that only make it look so.

use std::num::NonZeroU32;

use anyhow::{Context, Result};
use http::StatusCode;
use serde_json::{Value, json};
use wsbalancer_backend::{FleetConfig, HandshakeBehavior, Pod};
use wsbalancer_client::{Held, Load};
use wsbalancer_e2e::ask::get_json;
use wsbalancer_e2e::doctor;
use wsbalancer_e2e::{Stage, assert_all_well, brisk, every, preloaded};
use wsbalancer_harness::Sample;

/// Handshakes one after the other, `rate` a second or as fast as they are answered, each of which the
/// pods answer as `path` says.
fn in_turn(stage: &Stage, count: u32, rate: u32, path: &str) -> Result<Load> {
    let target = format!("ws://{}{path}", stage.envoy.address()).parse();
    Ok(Load {
        connections: count,
        rate: NonZeroU32::new(rate),
        max_pending: 1,
        messages: 0,
        ..Load::new(target.context("the URL")?)
    })
}

/// What the filter tells of the pods.
fn told(stage: &Stage) -> Result<Vec<Value>> {
    let status = get_json(&(stage.status_url()? + "?format=json"))?;
    Ok(status["podMetrics"]["chat"]
        .as_array()
        .context("pods")?
        .clone())
}

fn failures(held: &Held) -> u64 {
    let connections = held.report().connections;
    connections.requested - connections.opened
}

fn assert_nobody_was_down(stage: &Stage) -> Result<()> {
    for pod in told(stage)? {
        assert_eq!(pod["state"], "healthy", "{pod}");
        assert_eq!(pod["refused"], 0, "{pod}");
    }
    let log = stage.envoy.log();
    assert!(!log.contains(" is down: "), "{log}");
    Ok(())
}

fn with_ejections_of(time: &'static str) -> impl FnOnce(Sample) -> Sample {
    move |sample| every(500)(sample).option("passiveHealth", json!({ "baseEjectionTime": time }))
}

/// What a route has that retries on whatever a pod answers.
fn retrying_on_answers(sample: Sample) -> Sample {
    let mut sample = every(10_000)(sample);
    let policy = &mut sample.route()["retry_policy"];
    policy["retry_on"] = "connect-failure,refused-stream,gateway-error,reset".into();
    policy["per_try_timeout"] = "0.1s".into();
    sample
}

/// Before its next polls every pod has been passed by several times.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_pods_fail_makes_none_of_them_refusing() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(3), retrying_on_answers).await?;
    stage.until_usable(3)?;
    let mut good = Vec::new();
    for path in ["/handshake/status:503", "/handshake/hang"] {
        for _ in 0..10 {
            let bad = in_turn(&stage, 2, 0, path)?.open().await;
            assert_eq!(failures(&bad), 2);
            good.push(in_turn(&stage, 10, 0, "/chat")?.open().await);
        }
    }
    for held in &good {
        assert_all_well(&held.report());
    }
    assert!(stage.stat("upgrades_retried")? >= 40);
    assert_eq!(stage.stat("upgrades_fallback")?, 0);
    assert_nobody_was_down(&stage)
}

/// Where no pod accepts connections, none is left out for that: the first that does gets them again.
#[tokio::test(flavor = "multi_thread")]
async fn pods_that_refuse_all_are_tried_all_the_same() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(2), |sample| {
        every(10_000)(sample).option("onNoPods", "reject")
    })
    .await?;
    stage.until_usable(2)?;
    for pod in stage.pods() {
        pod.refuse().await;
    }
    let failed = in_turn(&stage, 5, 0, "/chat")?.open().await;
    assert_eq!(failures(&failed), 5);
    for pod in stage.pods() {
        pod.accept().await?;
    }
    let held = in_turn(&stage, 10, 0, "/chat")?.open().await;
    assert_all_well(&held.report());
    assert_eq!(stage.stat("upgrades_rejected")?, 0);
    // Their polls are not due for long.
    stage.until_usable(2)?;
    Ok(())
}

/// It has the fewest, answers like this, and its `/metric` is fine.
async fn fails(behavior: HandshakeBehavior) -> Result<()> {
    let stage = Stage::start(preloaded(3, &[0, 1_000, 1_000]), |sample| {
        let mut sample = with_ejections_of("1s")(sample);
        sample.route()["timeout"] = "0.2s".into();
        sample
    })
    .await?;
    stage.until_usable(3)?;
    let failing = stage.pods().first().context("a pod")?;
    failing.answer_handshake(behavior);
    let held = in_turn(&stage, 200, 0, "/chat")?.open().await;
    let tried = failing.counters().handshakes;
    // More than one may have been opened before the first had ended.
    assert!((5..=25).contains(&tried), "{tried} of 200");
    let others: u64 = stage.pods().iter().skip(1).map(Pod::opened).sum();
    assert_eq!(others + tried, 200);
    stage.until_usable(2)?;
    let pod = told(&stage)?.swap_remove(0);
    assert_eq!(pod["state"], "failing", "{pod}");
    assert_eq!(pod["failed"].as_u64(), Some(failures(&held)), "{pod}");
    assert_eq!(pod["cut"].as_u64(), Some(failing.opened()), "{pod}");
    let reason = " handshakes in a row, and others did not; ";
    let log = stage.envoy.log();
    assert!(
        log.contains(&format!("{} is down: it failed", failing.address())),
        "{log}"
    );
    assert!(log.contains(reason), "{log}");
    let found = doctor::until_found(&stage.envoy, &["pods"])?;
    assert!(found[0].what.starts_with("it is failing: "), "{found:#?}");

    // It is tried by single ones, and the first that is well brings it back.
    failing.answer_handshake(HandshakeBehavior::Accept);
    let mut kept = Vec::new();
    let opened = failing.opened();
    while failing.opened() == opened {
        kept.push(in_turn(&stage, 1, 0, "/chat")?.open().await);
    }
    stage.until_usable(3)?;
    let opened = failing.opened();
    let more = in_turn(&stage, 20, 0, "/chat")?.open().await;
    assert_all_well(&more.report());
    assert_eq!(failing.opened(), opened + 20, "it has the fewest");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_answers_500_is_left_out_and_comes_back() -> Result<()> {
    fails(HandshakeBehavior::Status(StatusCode::INTERNAL_SERVER_ERROR)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_answers_nothing_is_left_out_and_comes_back() -> Result<()> {
    fails(HandshakeBehavior::Hang).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_ends_every_websocket_at_once_is_left_out_and_comes_back() -> Result<()> {
    fails("end:10ms".parse()?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_pod_that_did_not_answer_five_wait_at_most() -> Result<()> {
    let stage = Stage::start(preloaded(3, &[0, 1_000, 1_000]), |sample| {
        let mut sample = every(500)(sample);
        sample.route()["timeout"] = "3s".into();
        sample
    })
    .await?;
    stage.until_usable(3)?;
    let failing = stage.pods().first().context("a pod")?;
    failing.answer_handshake(HandshakeBehavior::Hang);
    let first = in_turn(&stage, 1, 0, "/chat")?.open().await;
    assert_eq!(failures(&first), 1);
    let load = stage.load(300, 0)?;
    let held = load.open().await;
    // As many as wait at a time, for those that come when the first have been given up are others.
    assert!(failures(&held) <= 10, "{}", failures(&held));
    assert_eq!(failing.counters().handshakes, 1 + failures(&held));
    Ok(())
}

/// Beside others that are well, and alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_the_same_bad_thing_ejects_nobody() -> Result<()> {
    let stage = Stage::start(preloaded(3, &[0, 100, 100]), with_ejections_of("60s")).await?;
    stage.until_usable(3)?;
    for path in ["/handshake/status:500", "/handshake/status:404"] {
        for others in [0, 200] {
            let bad = in_turn(&stage, 100, 0, path)?;
            let good = in_turn(&stage, others, 0, "/chat")?;
            let (bad, good) = tokio::join!(bad.open(), good.open());
            assert_eq!(failures(&bad), 100);
            assert_all_well(&good.report());
        }
    }
    assert_eq!(stage.stat("upgrades_failed")?, 200, "a 404 is the client's");
    assert_nobody_was_down(&stage)
}

/// A WebSocket that both sides close in good order ends as one that the pod ends: the pod closes the
/// connection first.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_opens_and_closes_in_a_loop_ejects_nobody() -> Result<()> {
    let stage = Stage::start(preloaded(3, &[0, 100, 100]), |sample| {
        brisk(with_ejections_of("60s")(sample))
    })
    .await?;
    stage.until_usable(3)?;
    for others in [0, 1] {
        let mut kept = Vec::new();
        for _ in 0..60 {
            let held = in_turn(&stage, 1, 0, "/chat")?.open().await;
            assert_all_well(&held.report());
            held.close().await;
            kept.push(in_turn(&stage, others, 0, "/chat")?.open().await);
        }
    }
    assert_nobody_was_down(&stage)
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_it_leaves_none_out() -> Result<()> {
    let stage = Stage::start(preloaded(3, &[0, 1_000, 1_000]), |sample| {
        // As YAML has it without quotes.
        every(500)(sample).option("passiveHealth", false)
    })
    .await?;
    stage.until_usable(3)?;
    let failing = stage.pods().first().context("a pod")?;
    failing.answer_handshake(HandshakeBehavior::Status(StatusCode::INTERNAL_SERVER_ERROR));
    let held = in_turn(&stage, 50, 0, "/chat")?.open().await;
    assert_eq!(failures(&held), 50);
    assert_nobody_was_down(&stage)
}
