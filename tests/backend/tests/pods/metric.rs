//! Each way in which a pod answers its polls.

use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use serde_json::json;
use wsbalancer_backend::{Fleet, FleetConfig, MetricBehavior, Pod};

use crate::support::{Answer, open, poll, request, start};

async fn get(pod: &Pod, path: &str) -> Answer {
    let url = format!("http://{}{path}", pod.address());
    request(Method::GET, url, "").await
}

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
async fn tells_what_it_is_told_to_until_that_is_unset() {
    let mut config = FleetConfig::local(1);
    config.pods[0].switches.weight = Some(0.5);
    let fleet = Fleet::start(config).await.unwrap();
    let pod = &fleet.pods()[0];
    let told = async || {
        let answer = poll(pod).await.json();
        ["weight", "maxConnections", "draining"].map(|field| answer.get(field).cloned())
    };
    assert_eq!(told().await, [Some(json!(0.5)), None, None]);
    pod.set_weight(Some(2.5));
    pod.limit(Some(100));
    pod.drain(Some(true));
    let all = [json!(2.5), json!(100), json!(true)].map(Some);
    assert_eq!(told().await, all);
    // It says so, and takes WebSockets like any other.
    let _socket = open(pod).await;
    pod.set_weight(None);
    pod.limit(None);
    pod.drain(Some(false));
    assert_eq!(told().await, [None, None, Some(json!(false))]);
    pod.drain(None);
    assert_eq!(told().await, [None, None, None]);
}

#[tokio::test]
async fn tells_the_same_count_as_services_export_it() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    drop(open(pod).await);
    pod.until(|counters| counters.opened == 1 && counters.open == 0)
        .await
        .unwrap();
    let _socket = open(pod).await;
    pod.preload(500);

    let exposition = get(pod, FleetConfig::EXPOSITION_PATH).await;
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(exposition.content_type(), content_type);
    let text = String::from_utf8(exposition.body.to_vec()).unwrap();
    for line in [
        r#"websocket_connections{state="open"} 501"#,
        r#"websocket_connections{state="closing"} 0"#,
        "websocket_opened_total 2",
        r#"websocket_lifetime_seconds_bucket{le="+Inf"} 1"#,
        "websocket_lifetime_seconds_count 1",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} in {text}");
    }

    let stats = get(pod, FleetConfig::STATS_PATH).await;
    assert_eq!(stats.content_type(), "application/json");
    let sockets = &stats.json()["server"]["sockets"];
    assert_eq!(
        (&sockets["open"], &sockets["a/b"]),
        (&json!(501), &json!(501))
    );
    assert_eq!(pod.polls(), 2);
}

#[tokio::test]
async fn fails_alike_in_every_form() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    for path in [FleetConfig::EXPOSITION_PATH, FleetConfig::STATS_PATH] {
        pod.answer_metric(MetricBehavior::Status(StatusCode::BAD_GATEWAY));
        assert_eq!(get(pod, path).await.status, StatusCode::BAD_GATEWAY);
        pod.answer_metric(MetricBehavior::Body("websocket_connections".to_owned()));
        assert_eq!(get(pod, path).await.body, "websocket_connections");
        pod.answer_metric(MetricBehavior::Huge(100_000));
        let huge = get(pod, path).await.body;
        assert_eq!(huge.len(), 100_000);
        pod.answer_metric(MetricBehavior::Truth);
        let truth = get(pod, path).await.body;
        assert_eq!(huge.trim_ascii_end(), truth.trim_ascii_end());
    }
    assert_eq!(pod.polls(), 8);
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
        asked = pod.until(|counters| counters.polls == 1) => { asked.unwrap(); }
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
