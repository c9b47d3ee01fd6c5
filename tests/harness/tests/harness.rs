//! The harness against a real Envoy, without the filter.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use http::Request;
use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;
use serde_json::json;
use wsbalancer_harness::{Envoy, Http, Sample, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// A pod that answers every request with its own address.
fn start_pod() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            thread::spawn(move || answer(&mut connection, &address.to_string()));
        }
    });
    address
}

fn answer(connection: &mut TcpStream, body: &str) -> std::io::Result<()> {
    let mut request = BufReader::new(connection.try_clone()?).lines();
    while request
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    write!(
        connection,
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// An address where connections are refused, for as long as the stream is held: it is bound, so
/// nobody else gets it, but by a socket that does not listen.
fn dead_pod() -> (TcpStream, SocketAddr) {
    // The client's end of a connection is such a socket.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let address = client.local_addr().unwrap();
    (client, address)
}

fn sample(pods: &[SocketAddr]) -> Sample {
    Sample::standard().unwrap().without_filter().pods(pods)
}

/// The pod that answers a request whose header names `pods`.
fn pod_for(envoy: &Envoy, pods: &str) -> SocketAddr {
    let request = Request::get(format!("http://{}/", envoy.address()))
        .header("x-gateway-destination-endpoint", pods)
        .body(())
        .unwrap();
    let answer = Http::new().send(request).unwrap().into_body();
    String::from_utf8(answer).unwrap().parse().unwrap()
}

#[test]
fn the_header_names_the_pod() {
    let pods = [start_pod(), start_pod(), start_pod()];
    let envoy = Envoy::start(&sample(&pods)).unwrap();
    for pod in pods.iter().rev().chain(&pods) {
        assert_eq!(pod_for(&envoy, &pod.to_string()), *pod);
    }
    let total = envoy.wait_for_stat("cluster.chat.upstream_rq_completed", |v| v == 6, LIMIT);
    assert_eq!(total.unwrap(), 6);
    assert_eq!(envoy.counter("cluster.chat.no_such_counter").unwrap(), 0);
    assert_eq!(envoy.filter_stat("upgrades_balanced").unwrap(), 0);
}

#[test]
fn the_next_pod_in_the_header_stands_in_for_a_dead_one() {
    let (_held, dead) = dead_pod();
    let (_also_held, also_dead) = dead_pod();
    let (last, other) = (start_pod(), start_pod());
    let envoy = Envoy::start(&sample(&[dead, also_dead, last, other])).unwrap();
    assert_eq!(pod_for(&envoy, &format!("{dead},{also_dead},{last}")), last);
    assert_eq!(envoy.counter("cluster.chat.upstream_rq_retry").unwrap(), 2);
}

#[test]
fn options_reach_envoy() {
    let envoy = Envoy::options()
        .concurrency(3)
        .component_log_level("main:debug")
        .start(&sample(&[start_pod()]))
        .unwrap();
    assert_eq!(envoy.counter("server.concurrency").unwrap(), 3);
    let line = envoy.wait_for_log("[debug][main]", LIMIT).unwrap();
    assert!(!line.contains('\n'));
    assert!(envoy.log().contains(&line));
}

#[test]
fn a_failed_wait_says_what_was_last_seen() {
    let envoy = Envoy::start(&sample(&[start_pod()])).unwrap();
    let waited = envoy.wait_for_stat("server.live", |live| live == 7, Duration::ZERO);
    let message = format!("{:#}", waited.unwrap_err());
    assert!(message.contains("server.live was last 1"), "{message}");
    assert!(message.contains("starting main dispatch loop"), "{message}");
}

#[test]
fn the_admin_interface_answers() {
    let envoy = Envoy::start(&sample(&[start_pod()])).unwrap();
    assert_eq!(envoy.listener("none of that name"), None);
    assert!(envoy.admin_get("/ready").unwrap().contains("LIVE"));
    envoy.admin_post("/healthcheck/fail").unwrap();
    let draining = format!("{:#}", envoy.admin_get("/ready").unwrap_err());
    assert!(
        draining.contains("503") && draining.contains("DRAINING"),
        "{draining}"
    );
}

#[test]
fn an_unusable_sample_shows_the_log() {
    let unusable = sample(&[start_pod()]).edit(|configuration| {
        configuration["static_resources"]["clusters"][0]["conect_timeout"] = json!("1s");
    });
    let error = Envoy::start(&unusable).unwrap_err().to_string();
    assert!(error.contains("Envoy ended"), "{error}");
    assert!(error.contains("conect_timeout"), "{error}");
    let log = Envoy::validate(&unusable).unwrap_err();
    assert!(log.contains("conect_timeout"), "{log}");
}

#[test]
fn the_sample_is_valid() {
    assert_eq!(
        Envoy::validate(&Sample::standard().unwrap().without_filter()),
        Ok(())
    );
}

#[test]
fn waiting_ends_with_envoy() {
    let envoy = Envoy::start(&sample(&[start_pod()])).unwrap();
    kill(pid(&envoy), Signal::SIGKILL).unwrap();
    let error = envoy
        .wait_for_log("never logged", Duration::MAX)
        .unwrap_err();
    assert!(error.to_string().contains("Envoy ended"), "{error}");
}

#[test]
fn nothing_is_left_after_the_drop() {
    let envoy = Envoy::start(&sample(&[start_pod()])).unwrap();
    let pid = pid(&envoy);
    assert!(kill(pid, None).is_ok());
    drop(envoy);
    // A process that ended but was not reaped would still be there.
    assert_eq!(kill(pid, None), Err(nix::errno::Errno::ESRCH));
}

#[test]
fn envoy_outlives_the_thread_that_started_it() {
    let pod = start_pod();
    let envoy = thread::spawn(move || Envoy::start(&sample(&[pod])).unwrap())
        .join()
        .unwrap();
    assert_eq!(pod_for(&envoy, &pod.to_string()), pod);
}

/// This test runs itself as a second program, which starts an Envoy and dies.
#[test]
fn envoy_dies_with_a_killed_program() {
    const ROLE: &str = "WSBALANCER_HARNESS_TO_BE_KILLED";
    if env::var_os(ROLE).is_some() {
        let envoy = Envoy::start(&sample(&[start_pod()])).unwrap();
        println!("\nadmin={}", envoy.admin());
        raise(Signal::SIGKILL).unwrap();
    }
    // What is killed can't remove its files.
    let files = tempfile::tempdir().unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "envoy_dies_with_a_killed_program", "--nocapture"])
        .env(ROLE, "yes")
        .env("TMPDIR", files.path())
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let admin: SocketAddr = output
        .lines()
        .find_map(|line| line.strip_prefix("admin="))
        .expect(&output)
        .parse()
        .unwrap();
    wait_until("the refusal of connections", LIMIT, || {
        TcpStream::connect(admin).is_err().then_some(())
    })
    .unwrap();
}

fn pid(envoy: &Envoy) -> Pid {
    Pid::from_raw(envoy.pid().cast_signed())
}
