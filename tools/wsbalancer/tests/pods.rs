//! `pods` as users run it: its one line of output, its environment, its end.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio_tungstenite::client_async;
use wsbalancer_backend::Ready;

struct Program {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
    ready: Ready,
}

async fn run(arguments: &[&str]) -> Program {
    let mut process = Command::new(env!("CARGO_BIN_EXE_wsbalancer"))
        .arg("pods")
        .args(arguments)
        .envs([
            ("POD_NAME", "echo-7"),
            ("POD_IP", "10.0.0.7"),
            ("NODE_NAME", "worker-1"),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
    let line = output.next_line().await.unwrap().expect("a line on stdout");
    Program {
        process,
        output,
        ready: serde_json::from_str(&line).unwrap(),
    }
}

async fn tell(address: impl std::fmt::Display, path: &str) -> Value {
    let url = format!("http://{address}{path}");
    let body = tokio::task::spawn_blocking(move || ureq::get(url).call()?.into_body().read_json());
    body.await.unwrap().unwrap()
}

async fn assert_ends_cleanly(mut program: Program, signal: Signal) {
    let id = i32::try_from(program.process.id().unwrap()).unwrap();
    kill(Pid::from_raw(id), signal).unwrap();
    let status = program.process.wait().await.unwrap();
    assert!(status.success(), "{signal}: {status}");
    let mut rest = String::new();
    let mut output = program.output.into_inner();
    output.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "", "stdout has one line and no more");
}

#[tokio::test]
async fn is_ready_when_it_says_so_and_ends_on_sigterm_with_websockets_open() {
    let arguments = [
        "--pods",
        "3",
        "--control",
        "127.0.0.1:0",
        "--refuse",
        "1",
        "--preload",
        "2=9",
    ];
    let program = run(&arguments).await;
    let [first, refusing, preloaded] = program.ready.pods[..] else {
        panic!()
    };
    assert_eq!(tell(first, "/metric").await["podName"], "pod-0");
    assert_eq!(tell(preloaded, "/metric").await["agentsConnections"], 9);
    assert!(TcpStream::connect(refusing).await.is_err());
    let control = program.ready.control.unwrap();
    assert_eq!(tell(control, "/pods/1").await["refusing"], true);

    let stream = TcpStream::connect(first).await.unwrap();
    let (_socket, _) = client_async(format!("ws://{first}/"), stream)
        .await
        .unwrap();
    assert_ends_cleanly(program, Signal::SIGTERM).await;
}

#[tokio::test]
async fn a_single_pod_is_named_by_its_environment_and_ends_on_sigint() {
    let program = run(&[]).await;
    assert_eq!(program.ready.control, None);
    let told = tell(program.ready.pods[0], "/metric").await;
    assert_eq!(told["podName"], "echo-7");
    assert_eq!(told["podIP"], "10.0.0.7");
    assert_eq!(told["nodeName"], "worker-1");
    assert_ends_cleanly(program, Signal::SIGINT).await;
}
