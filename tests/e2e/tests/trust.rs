//! What a client can't do: choose a pod, or end the VM.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::block_in_place;
use wsbalancer_backend::{
    Fleet, FleetConfig, HandshakeBehavior, HeaderLists, MetricBehavior, Pod, RequestSeen,
};
use wsbalancer_e2e::ask::get_json;
use wsbalancer_e2e::{PATIENCE, Stage, addresses, assert_all_well, every, preloaded};
use wsbalancer_harness::{Envoy, Sample};

const OVERRIDE_HEADER: &str = "x-gateway-destination-endpoint";

/// The filter never chooses the first of four pods with these: it is the client's choice.
const FIRST_IS_FULL: [u64; 4] = [1_000_000, 0, 0, 0];

/// The sample without the listener's own removal of the override header: the filter is on its own.
fn unguarded(sample: Sample) -> Sample {
    every(200)(sample).with_header_of_clients()
}

/// The ways in which a client may name `pod`, or nothing that makes sense: header lines.
fn forgeries(pod: SocketAddr) -> Vec<Vec<u8>> {
    let line = |name: &str, value: &[u8]| [name.as_bytes(), b": ", value, b"\r\n"].concat();
    let pod = pod.to_string();
    let pod = pod.as_bytes();
    let once = line(OVERRIDE_HEADER, pod);
    let mixed_case = line("X-Gateway-Destination-ENDPOINT", pod);
    vec![
        once.clone(),
        [once.clone(), once.clone()].concat(),
        [line(OVERRIDE_HEADER, b"garbage"), once.clone()].concat(),
        [once, mixed_case.clone()].concat(),
        mixed_case,
        line(OVERRIDE_HEADER, &[pod, b",", pod].concat()),
        line(OVERRIDE_HEADER, b"garbage"),
        line(OVERRIDE_HEADER, b""),
        line(OVERRIDE_HEADER, b"\xff\xfe"),
        line(OVERRIDE_HEADER, &[pod, b",\xff\xfe"].concat()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_goes_where_the_filter_wants_whatever_the_client_says() -> Result<()> {
    let stage = Stage::start(preloaded(4, &FIRST_IS_FULL), unguarded).await?;
    stage.until_usable(4)?;
    let (full, others) = stage.pods().split_first().context("pods")?;
    let mut allowed: Vec<String> = others.iter().map(|pod| pod.address().to_string()).collect();
    allowed.sort();
    let mut live = Vec::new();
    for forgery in forgeries(full.address()) {
        let (socket, head) = send(stage.envoy.address(), &upgrade(&forgery)).await?;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        live.push(socket);
        for seen in others.iter().filter_map(Pod::last_handshake) {
            let [value] = override_values(&seen) else {
                panic!("one value of the filter's: {seen:?}");
            };
            let mut named: Vec<&str> = value.split(',').collect();
            named.sort_unstable();
            assert_eq!(named, allowed, "{}", forgery.escape_ascii());
        }
    }
    assert_eq!(full.counters().handshakes, 0);
    let live_now = u64::try_from(live.len())?;
    stage.until_stat("upgrades_balanced", |balanced| balanced == live_now)?;
    assert_eq!(stage.stat("upgrades_fallback")?, 0);
    assert_no_trap(&stage.envoy.log());
    Ok(())
}

/// Without a choice of its own the filter has no value to replace the client's with.
#[tokio::test(flavor = "multi_thread")]
async fn the_fallback_policy_does_not_see_what_the_client_says() -> Result<()> {
    let mut fleet = FleetConfig::local(4);
    for pod in &mut fleet.pods {
        pod.switches.metric = MetricBehavior::Status(StatusCode::NOT_FOUND);
    }
    let stage = Stage::start(fleet, unguarded).await?;
    stage.until_stat("polls_failed", |failed| failed >= 4)?;
    let (named, others) = stage.pods().split_first().context("pods")?;
    let mut live = Vec::new();
    for forgery in forgeries(named.address()).into_iter().cycle().take(60) {
        let (socket, head) = send(stage.envoy.address(), &upgrade(&forgery)).await?;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        live.push(socket);
    }
    stage.until_stat("upgrades_fallback", |fallbacks| fallbacks == 60)?;
    for pod in stage.pods() {
        let seen = pod.last_handshake().context("each has its part of 60")?;
        assert_eq!(override_values(&seen), [""; 0], "{seen:?}");
    }
    assert!(others.iter().all(|pod| pod.open() > 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_loses_the_header() -> Result<()> {
    let stage = Stage::start(preloaded(4, &FIRST_IS_FULL), unguarded).await?;
    stage.until_usable(4)?;
    let (full, others) = stage.pods().split_first().context("pods")?;
    let mut reached: Vec<String> = Vec::new();
    // Some are as if for an upgrade, but are none.
    for half in ["", "upgrade: websocket\r\n"] {
        for forgery in forgeries(full.address()).into_iter().cycle().take(60) {
            let seen = ask(stage.envoy.address(), &[half.as_bytes(), &forgery].concat()).await?;
            assert_eq!(override_values(&seen.headers), [""; 0], "{seen:?}");
            reached.push(seen.pod_name);
        }
    }
    for pod in others {
        assert!(reached.iter().any(|name| name == pod.name()), "{reached:?}");
    }
    assert_no_trap(&stage.envoy.log());
    Ok(())
}

/// As behind an endpoint picker, whose clusters are no service's.
#[tokio::test(flavor = "multi_thread")]
async fn on_routes_to_other_clusters_the_header_is_anothers() -> Result<()> {
    let stage = Stage::start(preloaded(4, &FIRST_IS_FULL), |sample| {
        let mut sample = unguarded(sample);
        let virtual_host = &mut sample.connection_manager()["route_config"]["virtual_hosts"][0];
        let mut picked = virtual_host["routes"][0].clone();
        picked["match"] = json!({ "prefix": "/plain" });
        picked["route"]["cluster"] = "picked".into();
        let routes = virtual_host["routes"].as_array_mut().expect("routes");
        routes.insert(0, picked);
        let mut cluster = sample.cluster().clone();
        cluster["name"] = "picked".into();
        sample.edit(|configuration| {
            let clusters = configuration["static_resources"]["clusters"].as_array_mut();
            clusters.expect("clusters").push(cluster);
        })
    })
    .await?;
    stage.until_usable(4)?;
    let named = &stage.pods()[0];
    let header = format!("{OVERRIDE_HEADER}: {}\r\n", named.address());
    for _ in 0..10 {
        let seen = ask(stage.envoy.address(), header.as_bytes()).await?;
        assert_eq!(seen.pod_name, named.name());
        assert_eq!(
            override_values(&seen.headers),
            [named.address().to_string()]
        );
    }
    // A handshake, too.
    let request = String::from_utf8(upgrade(header.as_bytes()))?;
    let request = request.replace("GET /chat ", "GET /plain ");
    let (_socket, head) = send(stage.envoy.address(), request.as_bytes()).await?;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(named.open(), 1);
    assert_eq!(stage.stat("upgrades_balanced")?, 0);
    Ok(())
}

/// Envoy takes its own headers only from whom it knows to be within, and by itself it knows nobody.
#[tokio::test(flavor = "multi_thread")]
async fn no_client_has_envoy_retry_until_pods_look_as_if_they_refused() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(3), unguarded).await?;
    stage.until_usable(3)?;
    for pod in stage.pods() {
        pod.answer_handshake(HandshakeBehavior::Status(StatusCode::NOT_FOUND));
    }
    let lines =
        b"x-forwarded-for: 10.0.0.1\r\nx-envoy-internal: true\r\nx-envoy-max-retries: 3\r\n\
        x-envoy-retry-on: retriable-status-codes,retriable-4xx,gateway-error\r\n\
        x-envoy-retriable-status-codes: 404\r\nx-envoy-upstream-rq-per-try-timeout-ms: 1\r\n";
    for _ in 0..10 {
        let (_, head) = send(stage.envoy.address(), &upgrade(lines)).await?;
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    }
    stage.until_stat("upgrades_balanced", |balanced| balanced == 10)?;
    assert_eq!(stage.stat("upgrades_retried")?, 0);
    let refused = get_json(&(stage.status_url()? + "?format=json"))?;
    for pod in refused["podMetrics"]["chat"].as_array().context("pods")? {
        assert_eq!(pod["refused"], 0, "{pod}");
    }
    Ok(())
}

/// Of several headers a getter for one would show the first.
#[tokio::test(flavor = "multi_thread")]
async fn several_origins_and_bytes_that_are_none_are_refused() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(2), |sample| {
        unguarded(sample).option("allowedOrigins", json!(["https://app.example", "null"]))
    })
    .await?;
    stage.until_usable(2)?;
    let refused: [&[u8]; 6] = [
        b"origin: https://app.example\r\norigin: https://evil.example\r\n",
        b"origin: https://app.example\r\nOrigin: https://app.example\r\n",
        b"origin: https://app.example, https://app.example\r\n",
        b"origin: null\r\norigin: null\r\n",
        b"origin: \r\n",
        b"origin: \xff\xfe\r\n",
    ];
    for lines in refused {
        let (mut stream, head) = send(stage.envoy.address(), &upgrade(lines)).await?;
        let lines = lines.escape_ascii();
        assert!(head.starts_with("HTTP/1.1 403 "), "{lines}: {head}");
        let mut body = String::new();
        stream.read_line(&mut body).await?;
        assert_eq!(body, "pages of this origin may not open a WebSocket here\n");
    }
    assert_eq!(stage.stat("upgrades_forbidden")?, 6);
    for lines in [b"origin: https://App.example:443\r\n".as_slice(), b""] {
        let (_, head) = send(stage.envoy.address(), &upgrade(lines)).await?;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }
    assert_no_trap(&stage.envoy.log());
    Ok(())
}

/// The other tests here show something: with neither the filter nor the listener's own removal of the
/// header, clients choose.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_filter_the_client_chooses() -> Result<()> {
    let fleet = Fleet::start(FleetConfig::local(4)).await?;
    let sample = Sample::standard()?
        .without_filter()
        .pods(&addresses(&fleet));
    let envoy = block_in_place(|| Envoy::start(&sample))?;
    let pod = fleet.pods().last().context("a pod")?;
    let forgery = format!("{OVERRIDE_HEADER}: {}\r\n", pod.address());
    let mut live = Vec::new();
    for _ in 0..20 {
        live.push(send(envoy.address(), &upgrade(forgery.as_bytes())).await?);
        let seen = ask(envoy.address(), forgery.as_bytes()).await?;
        assert_eq!(seen.pod_name, pod.name());
    }
    assert_eq!(pod.open(), 20);
    Ok(())
}

/// As where the filter's image can't be had, or after a crash with `FAIL_OPEN`.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_filter_the_listener_keeps_the_client_from_choosing() -> Result<()> {
    let fleet = Fleet::start(FleetConfig::local(4)).await?;
    let sample = Sample::standard()?
        .without_filter_alone()
        .pods(&addresses(&fleet));
    let envoy = block_in_place(|| Envoy::start(&sample))?;
    let (named, others) = fleet.pods().split_first().context("pods")?;
    let mut live = Vec::new();
    for forgery in forgeries(named.address()).into_iter().cycle().take(60) {
        live.push(send(envoy.address(), &upgrade(&forgery)).await?);
        let seen = ask(envoy.address(), &forgery).await?;
        assert_eq!(override_values(&seen.headers), [""; 0], "{seen:?}");
    }
    assert!(others.iter().all(|pod| pod.open() > 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bytes_end_the_vm() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(3), unguarded).await?;
    stage.until_usable(3)?;
    // On both workers.
    let mut live = stage.load(40, 0)?.open().await;
    assert_all_well(&live.report());
    for request in hostile_requests() {
        // Each on both workers, as good as certainly.
        for _ in 0..8 {
            // Envoy may refuse it, the pod may, or it may be taken; it is answered anyway.
            let (_, head) = send(stage.envoy.address(), &request).await?;
            ensure!(
                head.starts_with("HTTP/1.1 "),
                "{}: {head}",
                request.escape_ascii()
            );
        }
    }
    let messages = live.exchange(2).await;
    assert_eq!((messages.verified, messages.failed), (80, 0));
    assert_eq!(live.len(), 40);
    let more = stage.load(40, 0)?.open().await;
    assert_all_well(&more.report());
    assert_no_trap(&stage.envoy.log());
    // Whether it still polls.
    let polls = stage.stat("polls_ok")?;
    stage.until_stat("polls_ok", |now| now > polls + 3)?;
    Ok(())
}

/// Requests with bytes that are no UTF-8, wherever the filter might look.
fn hostile_requests() -> Vec<Vec<u8>> {
    let with = |path: &[u8], headers: &[u8]| {
        [
            b"GET ",
            path,
            b" HTTP/1.1\r\nhost: chat\r\nsec-websocket-version: 13\r\n",
            headers,
            b"\r\n",
        ]
        .concat()
    };
    let upgrade = b"upgrade: websocket\r\nconnection: upgrade\r\n";
    let key = b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let after_upgrade = |headers: &[u8]| with(b"/", &[upgrade, headers].concat());
    vec![
        with(b"/", b"upgrade: \xff\xfe\r\nconnection: upgrade\r\n"),
        with(
            b"/",
            b"upgrade: websocket, \xff\xfe\r\nconnection: upgrade\r\n",
        ),
        with(b"/", b"upgrade: websocket\r\nconnection: \xff\xfe\r\n"),
        with(
            b"/",
            b"upgrade: websocket\r\nconnection: upgrade, \xff\xfe\r\n",
        ),
        with(b"/", b"x-\x7f: \xff\xfe\r\n"),
        with(b"/\xff\xfe", &[&upgrade[..], key].concat()),
        with(b"/?\xff=\xfe", &[&upgrade[..], key].concat()),
        after_upgrade(b"sec-websocket-key: \xff\xfe\r\n"),
        after_upgrade(&[&key[..], b"cookie: \xff\xfe=\xfe\r\n"].concat()),
        after_upgrade(&[&key[..], b"sec-websocket-protocol: \xff\xfe\r\n"].concat()),
        after_upgrade(&[&key[..], b"x-forwarded-for: \xff\xfe\r\n"].concat()),
        after_upgrade(&[&key[..], b"user-agent: \xf0\x28\x8c\x28\r\n"].concat()),
        after_upgrade(&[&key[..], b"origin: ", &[0xff; 8_000], b"\r\n"].concat()),
    ]
}

/// A handshake with these header lines.
fn upgrade(lines: &[u8]) -> Vec<u8> {
    [
        b"GET /chat HTTP/1.1\r\nhost: chat\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
          sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        lines,
        b"\r\n",
    ]
    .concat()
}

/// Sends a request and reads the answer's head.
async fn send(address: SocketAddr, request: &[u8]) -> Result<(BufReader<TcpStream>, String)> {
    let exchange = async {
        let mut stream = BufReader::new(TcpStream::connect(address).await?);
        stream.write_all(request).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && stream.read_until(b'\n', &mut head).await? > 0 {}
        Ok((stream, String::from_utf8_lossy(&head).into_owned()))
    };
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .with_context(|| format!("no answer to {}", request.escape_ascii()))?
}

/// What a pod sees of a plain request with these header lines.
async fn ask(address: SocketAddr, lines: &[u8]) -> Result<RequestSeen> {
    let request = [
        b"GET /plain HTTP/1.1\r\nhost: chat\r\n",
        lines,
        b"connection: close\r\n\r\n",
    ]
    .concat();
    let (mut stream, head) = send(address, &request).await?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut body = Vec::new();
    stream.read_to_end(&mut body).await?;
    serde_json::from_slice(&body).with_context(|| format!("{}", body.escape_ascii()))
}

fn override_values(headers: &HeaderLists) -> &[String] {
    headers.get(OVERRIDE_HEADER).map_or(&[], Vec::as_slice)
}

fn assert_no_trap(log: &str) {
    for sign in ["Function: ", "unreachable", "panicked"] {
        assert!(!log.contains(sign), "{sign:?} in\n{log}");
    }
}
