//! Each way in which a pod answers its polls.

use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use serde_json::json;
use wsbalancer_backend::{Fleet, FleetConfig, MetricBehavior};

use crate::support::{open, poll, request, start};

#[tokio::test]
async fn tells_the_truth_and_the_preload_on_top() {
    let mut config = FleetConfig::local(1);
    config.pods[0].name = "echo-7".to_owned();
    config.pods[0].node = "worker-1".to_owned();
    let fleet = Fleet::start(config).await.unwrap();
    let pod = &fleet.pods()[0];
    let _socket = open(pod).await;
    pod.preload(500);
    let answer = poll(pod).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json(),
        json!({
            "agentsConnections": 501,
            "podName": "echo-7",
            "podIP": "127.0.0.1",
            "nodeName": "worker-1",
        })
    );
    assert_eq!((pod.open(), pod.reported(), pod.polls()), (1, 501, 1));
}

#[tokio::test]
async fn answers_with_the_status_it_is_told() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    pod.answer_metric(MetricBehavior::Status(StatusCode::BAD_GATEWAY));
    assert_eq!(poll(pod).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(pod.polls(), 1);
}

#[tokio::test]
async fn answers_with_the_body_it_is_told() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    let body = r#"{"agentsConnections": "many"#;
    pod.answer_metric(MetricBehavior::Body(body.to_owned()));
    let answer = poll(pod).await;
    assert_eq!(
        (answer.status, &answer.body[..]),
        (StatusCode::OK, body.as_bytes())
    );
}

#[tokio::test]
async fn pads_the_truth_to_the_size_it_is_told() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    pod.preload(7);
    pod.answer_metric(MetricBehavior::Huge(10_000_000));
    let answer = poll(pod).await;
    assert_eq!(answer.body.len(), 10_000_000);
    assert_eq!(answer.json()["agentsConnections"], 7);
}

#[tokio::test]
async fn is_as_late_as_it_is_told() {
    const DELAY: Duration = Duration::from_millis(50);
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    pod.answer_metric(MetricBehavior::Delay(DELAY));
    let asked = Instant::now();
    let answer = poll(pod).await;
    assert!(asked.elapsed() >= DELAY);
    assert_eq!(answer.json()["agentsConnections"], 0);
}

#[tokio::test]
async fn hangs_until_the_client_gives_up() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    pod.answer_metric(MetricBehavior::Hang);
    let mut hanging = Box::pin(poll(pod));
    tokio::select! {
        _ = pod.until(|counters| counters.polls == 1) => {}
        answer = hanging.as_mut() => panic!("{answer:?}"),
    }
    pod.answer_metric(MetricBehavior::Truth);
    assert_eq!(poll(pod).await.status, StatusCode::OK);
    assert!(futures_util::poll!(hanging.as_mut()).is_pending());
}

#[tokio::test]
async fn counts_only_gets_of_the_path_it_is_told() {
    let mut config = FleetConfig::local(1);
    config.metric_path = "/stats/agents".to_owned();
    let fleet = Fleet::start(config).await.unwrap();
    let pod = &fleet.pods()[0];
    let url = format!("http://{}/stats/agents", pod.address());
    let polled = request(Method::GET, format!("{url}?since=1"), "").await;
    assert_eq!(polled.json()["agentsConnections"], 0);
    let posted = request(Method::POST, url, "").await;
    assert_eq!(posted.json()["method"], "POST");
    let elsewhere = poll(pod).await;
    assert_eq!(elsewhere.json()["path"], "/metric");
    assert_eq!(pod.polls(), 1);
}
