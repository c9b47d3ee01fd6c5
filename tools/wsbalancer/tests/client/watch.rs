//! `watch` as users run it: the state of a balancer, printed once.

use std::net::SocketAddr;
use std::process::Output;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use crate::servers::{Deserted, serve_http, start_refusing};
use crate::tool;

async fn run(arguments: &[&str]) -> Output {
    let output = tool("watch", arguments).output().await;
    output.expect("the program runs")
}

/// A name that would clear the terminal, and end its own line.
const HOSTILE: &str = "evil\u{1b}[2J\r\n";

fn state() -> Value {
    let pod = |name: &str, count: u64, state: &str, reason: &str| {
        json!({
            "agentsConnections": count, "podName": name, "podIP": null, "nodeName": null,
            "address": format!("10.0.0.{count}:8080"), "state": state, "reason": reason,
            "estimate": count, "ownConnections": 0, "inFlight": 0, "evenShare": 15.0,
            "weight": 1.0, "maxConnections": null, "priority": 0, "countAge": 1.0,
            "lastError": null, "slowStart": null, "opened": 0, "closed": 0, "refused": 0,
            "pollsFailed": 0, "rebalanced": 0,
        })
    };
    json!({
        "timestamp": "2026-11-25T00:50:00Z",
        "services": [{
            "url": "chat", "verdict": {"gravity": "warning", "text": "Uneven: 2 pods"},
            "connections": 30, "estimate": 30, "ownConnections": 0, "share": 0.5,
            "imbalance": 1.333_333, "evenShare": 15.0, "podsKnown": 2, "podsUsable": 1,
            "metricPath": "/metric", "refreshInterval": 5.0, "cacheTTL": 30.0, "poller": "",
            "discovery": null,
        }],
        "podMetrics": {"chat": [
            pod("agents-10", 20, "healthy", "it gets new WebSockets"),
            pod(&format!("agents-9{HOSTILE}"), 10, "draining", "says so itself"),
        ]},
        "totalConnections": 30, "agentsConnections": 30,
    })
}

/// A filter that answers with the page unless it is asked for JSON.
async fn start_filter() -> SocketAddr {
    async fn answer(headers: HeaderMap) -> Response {
        match headers.get(header::ACCEPT) {
            Some(accept) if accept == "application/json" => axum::Json(state()).into_response(),
            _ => "<!doctype html>".into_response(),
        }
    }
    serve_http(Router::new().route("/balancer-metrics", get(answer))).await
}

#[tokio::test]
async fn once_prints_a_plain_frame() {
    let filter = start_filter().await;
    let url = format!("http://{filter}/balancer-metrics");
    let output = run(&[&url, "--once"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    let [
        title,
        verdict,
        figures,
        usable,
        header,
        first,
        remark,
        second,
    ] = lines[..]
    else {
        panic!("{text}")
    };
    assert_eq!(title, "chat   2026-11-25T00:50:00Z");
    assert_eq!(verdict, "Warning: Uneven: 2 pods");
    let expected = "30 connections   even share 15   imbalance 1.333   gateway share 50 %";
    assert_eq!(figures, expected);
    assert_eq!(usable, "1 of 2 pods usable");
    assert!(header.starts_with("Pod "), "{header}");
    assert!(header.ends_with("State ▲"), "{header}");
    assert!(first.starts_with("agents-9evil�[2J�� "), "{first}");
    assert!(first.ends_with("draining"), "{first}");
    assert!(remark.ends_with("says so itself"), "{remark}");
    assert!(second.starts_with("agents-10 "), "{second}");
    assert!(second.ends_with("healthy"), "{second}");
    assert!(
        lines.iter().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    assert!(
        !text.replace('\n', "").contains(char::is_control),
        "no escape sequences: {text:?}"
    );
}

#[tokio::test]
async fn once_fails_where_there_is_no_state() {
    let nobody = Deserted::reserve();
    let absent = start_refusing(StatusCode::SERVICE_UNAVAILABLE, "").await;
    let other = start_refusing(StatusCode::OK, "[]").await;
    for (address, reason) in [
        (nobody.address, "Connection refused"),
        (absent, "503 Service Unavailable at /status"),
        (other, "no state of a balancer at /status: invalid"),
    ] {
        let url = format!("http://{address}/status");
        let output = run(&[&url, "--once"]).await;
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let remarks = String::from_utf8(output.stderr).expect("text");
        assert!(
            remarks.contains(&url) && remarks.contains(reason),
            "{remarks}"
        );
    }
}

#[tokio::test]
async fn the_live_view_needs_a_terminal() {
    let output = run(&["http://127.0.0.1:1/"]).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let remarks = String::from_utf8(output.stderr).expect("text");
    assert!(remarks.contains("use --once"), "{remarks}");
}

#[tokio::test]
async fn bad_usage_is_an_exit_code_of_2() {
    for arguments in [
        &[][..],
        &["ws://127.0.0.1/"],
        &["http://127.0.0.1/", "--interval", "0s"],
    ] {
        let output = run(arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty());
    }
}
