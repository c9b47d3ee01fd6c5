//! The control endpoint: what it tells, what it changes, what it refuses.

use axum::http::{Method, StatusCode};
use futures_util::StreamExt;
use serde_json::{Value, json};
use wsbalancer_backend::{Fleet, MetricBehavior, PodState};

use crate::support::{Answer, open, poll, request, start};

async fn ask(fleet: &Fleet, method: Method, path: &str, body: impl ToString) -> Answer {
    let control = fleet.ready().control.expect("a control endpoint");
    request(method, format!("http://{control}{path}"), body.to_string()).await
}

async fn change(fleet: &Fleet, path: &str, change: Value) -> Answer {
    ask(fleet, Method::POST, path, change).await
}

#[tokio::test]
async fn tells_all_about_a_pod() {
    let fleet = start(2).await;
    let pod = &fleet.pods()[1];
    let _socket = open(pod).await;
    pod.preload(10);
    poll(pod).await;

    let told = ask(&fleet, Method::GET, "/pods/1", "").await.json();
    let expected = json!({
        "index": 1,
        "podName": "pod-1",
        "address": pod.address(),
        "open": 1,
        "opened": 1,
        "peak": 1,
        "handshakes": 1,
        "polls": 1,
        "preload": 10,
        "reported": 11,
        "refusing": false,
        "metric": "truth",
        "handshake": "accept",
        "lastHandshake": pod.last_handshake(),
    });
    assert_eq!(told, expected);
    assert_eq!(told["lastHandshake"]["upgrade"], json!(["websocket"]));

    let all = ask(&fleet, Method::GET, "/pods", "").await;
    let all: Vec<PodState> = serde_json::from_slice(&all.body).unwrap();
    assert_eq!(all, [fleet.pods()[0].state(), pod.state()]);
}

#[tokio::test]
async fn changes_all_of_a_pod_at_once_and_answers_with_the_new_state() {
    let fleet = start(2).await;
    let [pod, other] = fleet.pods() else { panic!() };
    let mut socket = open(pod).await;
    let asked = json!({
        "refuse": true,
        "metric": {"delay": "2s"},
        "handshake": {"status": 503},
        "preload": 500,
        "drop": true,
    });
    let state = change(&fleet, "/pods/0", asked).await.json();
    assert_eq!(state["refusing"], true);
    assert_eq!(state["metric"], json!({"delay": "2s"}));
    assert_eq!(state["handshake"], json!({"status": 503}));
    assert_eq!(
        (&state["open"], &state["reported"]),
        (&json!(0), &json!(500))
    );
    let end = socket.next().await;
    assert!(matches!(end, Some(Err(_))), "{end:?}");
    assert!(!other.state().refusing);

    // The endpoint works while pods refuse, and leaves alone what is not named.
    let state = change(&fleet, "/pods/0", json!({"refuse": false}))
        .await
        .json();
    assert_eq!(
        (&state["refusing"], &state["preload"]),
        (&json!(false), &json!(500))
    );
    open(other).await;
}

#[tokio::test]
async fn sets_and_unsets_what_a_pod_says_beside_its_count() {
    let fleet = start(1).await;
    let set = json!({"weight": 2.5, "maxConnections": 100, "draining": true});
    let state = change(&fleet, "/pods/0", set.clone()).await.json();
    for field in ["weight", "maxConnections", "draining"] {
        assert_eq!(state[field], set[field]);
    }
    // What is null is unset, what is absent stays.
    let unset = json!({"weight": null, "draining": null});
    let state = change(&fleet, "/pods/0", unset).await.json();
    assert_eq!(state.get("weight"), None);
    assert_eq!(state["maxConnections"], 100);
    let metric = poll(&fleet.pods()[0]).await.json();
    assert_eq!(metric["maxConnections"], 100);
    assert_eq!(metric.get("draining"), None);
}

#[tokio::test]
async fn changes_all_pods() {
    let fleet = start(3).await;
    let states = change(&fleet, "/pods/all", json!({"metric": "hang"})).await;
    assert_eq!(states.json().as_array().unwrap().len(), 3);
    for pod in fleet.pods() {
        assert_eq!(pod.state().switches.metric, MetricBehavior::Hang);
    }
}

#[tokio::test]
async fn refuses_what_it_does_not_understand_and_changes_nothing() {
    let fleet = start(1).await;
    let before = fleet.pods()[0].state();
    for (body, word) in [
        (
            r#"{"preload": 5, "refused": true}"#,
            "unknown field `refused`",
        ),
        (
            r#"{"preload": 5, "metric": "lie"}"#,
            "unknown variant `lie`",
        ),
        (r#"{"preload": 5, "metric": {"status": 42}}"#, "200 to 999"),
        (
            r#"{"preload": 5, "metric": {"delay": "2"}}"#,
            "expected a duration",
        ),
        (r#"{"preload": -5}"#, "invalid value"),
        (r#"{"preload": 5, "weight": "2"}"#, "invalid type"),
        (
            r#"{"preload": 5, "max_connections": 100}"#,
            "unknown field `max_connections`",
        ),
        (r#"{"preload": 5"#, "EOF"),
        ("", "EOF"),
    ] {
        let answer = ask(&fleet, Method::POST, "/pods/0", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(word), "{body}: {error}");
    }
    assert_eq!(fleet.pods()[0].state(), before);
}

#[tokio::test]
async fn says_what_is_not_there() {
    let fleet = start(2).await;
    for (method, path, status, word) in [
        (
            Method::GET,
            "/pods/2",
            StatusCode::NOT_FOUND,
            "there is no pod 2",
        ),
        (
            Method::POST,
            "/pods/two",
            StatusCode::NOT_FOUND,
            "\"two\" is not a pod",
        ),
        (Method::GET, "/", StatusCode::NOT_FOUND, "ask for /pods"),
        (
            Method::DELETE,
            "/pods/0",
            StatusCode::METHOD_NOT_ALLOWED,
            "DELETE",
        ),
        (
            Method::POST,
            "/pods",
            StatusCode::METHOD_NOT_ALLOWED,
            "POST to a pod",
        ),
    ] {
        let answer = ask(&fleet, method, path, "{}").await;
        assert_eq!(answer.status, status, "{path}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(word), "{path}: {error}");
    }
}
