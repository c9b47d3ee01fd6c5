//! `load` as users run it: exit codes, the document, the table, signals.

use std::process::Output;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use wsbalancer_client::Report;

use crate::pod::Pod;
use crate::servers::{Conduct, Deserted, Server, wait_for};
use crate::tool;

fn program(arguments: &[&str]) -> Command {
    tool("load", arguments)
}

async fn run(arguments: &[&str]) -> Output {
    program(arguments).output().await.expect("the program runs")
}

fn send(signal: Signal, child: &Child) {
    let id = child.id().expect("the program is running");
    let id = Pid::from_raw(i32::try_from(id).expect("a process id"));
    kill(id, signal).expect("the program takes signals");
}

/// A pod with what the server holds on top of `before`.
async fn pod_of(server: &Server, name: &str, before: usize) -> Pod {
    let open = server.open.clone();
    Pod::start(name, move || before + *open.borrow()).await
}

#[tokio::test]
async fn the_document_has_all_fields_and_is_alone_on_stdout() {
    let server = Server::start(Conduct::Echo).await;
    let busy = pod_of(&server, "agents-0", 2).await;
    let idle = Pod::start("agents-1", || 4).await;
    let pods = format!("{},{}", busy.address, idle.address);
    let arguments = [
        &server.url(),
        "-n",
        "10",
        "--rate",
        "0",
        "--pods",
        &pods,
        "--json",
    ];
    let output = run(&arguments).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    let handshake = document["handshake"]
        .as_object()
        .expect("handshakes succeeded");
    let handshake: Vec<&str> = handshake.keys().map(String::as_str).collect();
    assert_eq!(
        handshake,
        [
            "maxMicros",
            "meanMicros",
            "p50Micros",
            "p90Micros",
            "p99Micros"
        ]
    );
    assert!(document["durationSeconds"].is_f64());
    let mut rest = document.as_object().expect("an object").clone();
    rest.retain(|field, _| field != "handshake" && field != "durationSeconds");
    let expected = json!({
        "url": server.url(),
        "connections": {"requested": 10, "opened": 10, "failed": 0, "closedEarly": 0},
        "messages": {"sent": 10, "verified": 10, "failed": 0},
        "pods": [
            {"address": busy.address.to_string(), "podName": "agents-0", "before": 2, "after": 12,
             "new": 10},
            {"address": idle.address.to_string(), "podName": "agents-1", "before": 4, "after": 4,
             "new": 0},
        ],
        "imbalance": 1.5,
        "failures": [],
    });
    assert_eq!(Value::Object(rest), expected);
    assert_eq!(server.closings(10).await, [1000; 10]);
}

#[tokio::test]
async fn the_table_shows_the_pods() {
    let server = Server::start(Conduct::Echo).await;
    let busy = pod_of(&server, "agents-0", 0).await;
    let idle = Pod::start("agents-1", || 1234).await;
    let pods = format!("{},{}", busy.address, idle.address);
    let output = run(&[&server.url(), "-n", "10", "--pods", &pods]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let cells = |pod| {
        let row = text
            .lines()
            .find(|line| line.contains(pod))
            .expect("a row for each pod");
        let cells = row.split(['│', ' ']).filter(|cell| !cell.is_empty());
        cells.take(6).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        cells("agents-0"),
        ["agents-0", "0", "10", "+10", "0.8", "%"]
    );
    assert_eq!(cells("agents-1")[..4], ["agents-1", "1,234", "1,234", "+0"]);
    assert!(
        text.contains("10 opened, 0 failed, 0 closed early"),
        "{text}"
    );
    assert!(
        !text.contains('\u{1b}'),
        "no escape sequences where there is no terminal: {text}"
    );
    assert!(
        output.stderr.is_empty(),
        "{:?}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn too_uneven_pods_are_a_failure() {
    let server = Server::start(Conduct::Echo).await;
    let busy = pod_of(&server, "agents-0", 0).await;
    let idle = Pod::start("agents-1", || 0).await;
    // All on one of two pods: the largest is twice the mean.
    for (most, code) in [("1.99", 1), ("2", 0)] {
        wait_for(&server.open, |&open| open == 0).await;
        let (busy, idle) = (busy.address.to_string(), idle.address.to_string());
        let pods = ["--pods", &busy, "--pods", &idle, "--max-imbalance", most];
        let output = run(&[&[server.url().as_str(), "-n", "3"], &pods[..]].concat()).await;
        assert_eq!(output.status.code(), Some(code), "{most}: {output:?}");
    }
}

#[tokio::test]
async fn failures_are_an_exit_code_of_1() {
    let garbling = Server::start(Conduct::Garble).await;
    let output = run(&[&garbling.url(), "-n", "3"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        text.contains("3 × message: the echo differs from what was sent"),
        "{text}"
    );

    let nobody = Deserted::reserve();
    let output = run(&[&format!("ws://{}/", nobody.address), "-n", "3"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("3 × connect: Connection refused"), "{text}");
}

#[tokio::test]
async fn a_pod_that_does_not_answer_is_a_failure() {
    let server = Server::start(Conduct::Echo).await;
    let pod = pod_of(&server, "agents-0", 0).await;
    let deserted = Deserted::reserve();
    let absent = deserted.address;
    let pods = format!("{},{absent}", pod.address);
    let output = run(&[&server.url(), "-n", "2", "--pods", &pods, "--json"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Report = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(
        (report.pods[0].after, report.pods[1].after),
        (Some(2), None)
    );
    assert_eq!(report.imbalance, None);
    let [failure] = report.failures.as_slice() else {
        panic!("{report:?}")
    };
    assert!(
        failure
            .reason
            .starts_with(&format!("pod {absent}: Connection refused")),
        "{failure:?}"
    );
    assert_eq!(failure.count, 2, "before and after");

    let path = [
        "--pods",
        &pod.address.to_string(),
        "--metric-path",
        "/elsewhere",
    ];
    let output = run(&[&[server.url().as_str(), "-n", "2"], &path[..]].concat()).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("404 Not Found at /elsewhere"), "{text}");
}

#[tokio::test]
async fn bad_usage_is_an_exit_code_of_2() {
    for arguments in [
        &["http://localhost/"][..],
        &["ws://localhost/", "--hold", "long"],
        &[],
    ] {
        let output = run(arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test]
async fn keep_reports_first_and_closes_at_the_signal() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = Server::start(Conduct::Echo).await;
        let mut child = program(&[&server.url(), "-n", "8", "--keep", "--json"])
            .spawn()
            .expect("the program runs");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let document = lines.next_line().await.expect("text").expect("a report");
        let report: Report = serde_json::from_str(&document).expect("a report");
        assert_eq!(report.connections.opened, 8);
        assert_eq!(*server.open.borrow(), 8, "all are held after the report");

        send(signal, &child);
        let status = child.wait().await.expect("the program ends");
        assert_eq!(status.code(), Some(0), "{signal}");
        assert_eq!(server.closings(8).await, [1000; 8]);
        assert_eq!(
            lines.next_line().await.expect("text"),
            None,
            "one report is enough"
        );
    }
}

#[tokio::test]
async fn keep_tells_of_connections_that_closed_early() {
    let server = Server::start(Conduct::Echo).await;
    let mut child = program(&[&server.url(), "-n", "3", "--keep", "--json"])
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    lines.next_line().await.expect("text").expect("a report");
    server.shutdown.cancel();
    // The server ends a connection only after the client has answered its Close frame.
    wait_for(&server.open, |&open| open == 0).await;
    send(Signal::SIGTERM, &child);
    let output = child.wait_with_output().await.expect("the program ends");
    assert_eq!(output.status.code(), Some(1));
    let remarks = String::from_utf8(output.stderr).expect("text");
    assert!(remarks.contains("3 connections closed early"), "{remarks}");
}

/// A server, its pod, and a program that holds four connections to it.
async fn hold_four() -> (Server, Pod, Child) {
    let server = Server::start(Conduct::Echo).await;
    let pod = pod_of(&server, "agents-0", 0).await;
    let address = pod.address.to_string();
    let url = server.url();
    let arguments = ["-n", "4", "--hold", "1h", "--json", "--pods", &address];
    let child = program(&[&[&*url], &arguments[..]].concat())
        .spawn()
        .expect("the program runs");
    // The second time is after all have been opened.
    wait_for(&pod.asked, |&asked| asked == 2).await;
    (server, pod, child)
}

#[tokio::test]
async fn a_signal_while_holding_closes_and_reports() {
    let (server, _pod, child) = hold_four().await;
    send(Signal::SIGINT, &child);
    let output = child.wait_with_output().await.expect("the program ends");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Report = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(
        (report.connections.opened, report.pods[0].after),
        (4, Some(4))
    );
    assert_eq!(server.closings(4).await, [1000; 4]);
}

#[tokio::test]
async fn holding_ends_once_nothing_is_held() {
    let (server, _pod, child) = hold_four().await;
    server.shutdown.cancel();
    let output = child.wait_with_output().await.expect("the program ends");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Report = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report.connections.closed_early, 4);
}

#[tokio::test]
async fn a_signal_while_opening_closes_and_reports() {
    let server = Server::start(Conduct::Echo).await;
    // At this rate the last connection is a day away.
    let child = program(&[&server.url(), "-n", "86400", "--rate", "1", "--json"])
        .spawn()
        .expect("the program runs");
    wait_for(&server.open, |&open| open > 0).await;
    send(Signal::SIGTERM, &child);
    let output = child.wait_with_output().await.expect("the program ends");
    assert_eq!(
        output.status.code(),
        Some(1),
        "not all were opened: {output:?}"
    );
    let report: Report = serde_json::from_slice(&output.stdout).expect("a report");
    let [failure] = report.failures.as_slice() else {
        panic!("{report:?}")
    };
    assert_eq!(failure.reason, "interrupted before it was opened");
    assert_eq!(failure.count, 86400 - report.connections.opened);
    let opened = usize::try_from(report.connections.opened).expect("a few");
    assert_eq!(server.closings(opened).await, vec![1000; opened]);
}
