//! The options of the Traefik plugin that are Envoy's here: each has the effect that its users
//! know, and none of them ends a WebSocket that is merely idle.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result};
use futures_util::SinkExt;
use rcgen::SanType;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use wsbalancer_backend::{FleetConfig, HandshakeBehavior, Pod};
use wsbalancer_e2e::authority::Authority;
use wsbalancer_e2e::{PATIENCE, Stage, assert_all_well, every, preloaded, seldom};
use wsbalancer_harness::Sample;

/// Two pods on TLS, for the second of which the wrong authority vouches.
async fn tls_stage(
    validation: impl FnOnce(&Authority) -> Value,
    change: impl FnOnce(Sample) -> Sample,
) -> Result<Stage> {
    let (right, wrong) = (Authority::new()?, Authority::new()?);
    let mut fleet = FleetConfig::local(2);
    let name = SanType::DnsName("chat".try_into()?);
    fleet.pods[0].tls = Some(right.vouch(name.clone())?);
    fleet.pods[1].tls = Some(wrong.vouch(name)?);
    let validation = validation(&right);
    Stage::start(fleet, |mut sample| {
        sample.cluster()["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": validation,
            },
        });
        change(sample)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_verify_on_refuses_a_pod_with_a_wrong_certificate() -> Result<()> {
    let validation = |right: &Authority| {
        json!({ "validation_context": {
            "trusted_ca": { "inline_string": right.pem() },
            "match_typed_subject_alt_names": [{ "san_type": "DNS", "matcher": { "exact": "chat" } }],
        }})
    };
    let stage = tls_stage(validation, every(200)).await?;
    stage.until_usable(1)?;
    stage.until_stat("polls_failed", |failed| failed >= 2)?;
    let held = stage.load(20, 0)?.open().await;
    assert_all_well(&held.report());
    assert_eq!(stage.counts(), [20, 0]);
    assert_eq!(stage.pods()[1].polls(), 0, "its polls are refused, too");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_verify_off_takes_any_certificate() -> Result<()> {
    let stage = tls_stage(|_| json!({}), seldom).await?;
    stage.until_usable(2)?;
    let held = stage.load(20, 0)?.open().await;
    assert_all_well(&held.report());
    assert_eq!(stage.counts(), [10, 10]);
    Ok(())
}

/// Takes the place of a pod that refuses, and never answers whoever connects: the kernel completes
/// one connection ahead of the listener, and drops all others without a word.
async fn black_hole(address: SocketAddr) -> Result<(TcpListener, TcpStream)> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(0)?;
    let waiting = TcpStream::connect(address).await?;
    Ok((listener, waiting))
}

/// The pod with the fewest WebSockets falls silent between two polls.
#[tokio::test(flavor = "multi_thread")]
async fn dial_timeout_passes_on_to_the_next_pod() -> Result<()> {
    let stage = Stage::start(preloaded(2, &[0, 10]), |mut sample| {
        sample.cluster()["connect_timeout"] = "0.5s".into();
        every(10_000)(sample)
    })
    .await?;
    stage.until_usable(2)?;
    let silent = &stage.pods()[0];
    silent.refuse().await;
    let _hole = black_hole(silent.address()).await?;
    let held = stage.load(1, 0)?.open().await;
    let report = held.report();
    assert_all_well(&report);
    assert_eq!(stage.counts(), [0, 11]);
    assert_eq!(stage.stat("upgrades_retried")?, 1);
    let handshake = report.handshake.context("a handshake")?;
    assert!(handshake.p50_micros >= 500_000, "{handshake:?}");
    Ok(())
}

/// The pod with the fewest WebSockets takes the connection, and says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn read_timeout_passes_on_to_the_next_pod_and_cuts_no_websocket() -> Result<()> {
    let stage = Stage::start(preloaded(2, &[0, 10]), |mut sample| {
        let retry = &mut sample.route()["retry_policy"];
        retry["retry_on"] = "connect-failure,refused-stream,gateway-error".into();
        retry["per_try_timeout"] = "0.5s".into();
        every(100)(sample)
    })
    .await?;
    stage.until_usable(2)?;
    let hanging = &stage.pods()[0];
    hanging.answer_handshake(HandshakeBehavior::Hang);
    let mut held = stage.load(1, 0)?.open().await;
    let report = held.report();
    assert_all_well(&report);
    assert_eq!(stage.counts(), [0, 11]);
    let handshake = report.handshake.context("a handshake")?;
    assert!(handshake.p50_micros >= 500_000, "{handshake:?}");

    idle_for_polls(hanging, 20).await?;
    let messages = held.exchange(1).await;
    assert_eq!((messages.verified, held.len()), (1, 1));
    Ok(())
}

/// Waits without a message while a pod is polled so many times.
async fn idle_for_polls(pod: &Pod, polls: u64) -> Result<()> {
    let enough = pod.polls() + polls;
    pod.until(|counters| counters.polls >= enough).await?;
    Ok(())
}

/// `TCP_USER_TIMEOUT` of clients and pods, as the sample has it.
fn with_write_timeout(mut sample: Sample) -> Sample {
    let option = json!([{ "level": 6, "name": 18, "int_value": 500 }]);
    sample.listener()["socket_options"] = option.clone();
    sample.cluster()["upstream_bind_config"] = json!({ "socket_options": option });
    every(100)(sample)
}

/// A client that sends and never reads: what its pod sends back finds no room in the end.
#[tokio::test(flavor = "multi_thread")]
async fn write_timeout_ends_the_websocket_of_a_peer_that_stops_reading() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(1), with_write_timeout).await?;
    stage.until_usable(1)?;
    let mut idle = stage.load(1, 0)?.open().await;
    let (mut deaf, _) = connect_async(format!("ws://{}/chat", stage.envoy.address())).await?;
    let start = Instant::now();
    let message = Message::binary(vec![0; 64 << 10]);
    let shouting = async { while deaf.send(message.clone()).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, shouting)
        .await
        .context("nobody ended the WebSocket of a client that does not read")?;
    assert!(start.elapsed().as_millis() >= 500, "{:?}", start.elapsed());
    stage.until_open(1)?;
    let messages = idle.exchange(1).await;
    assert_eq!(messages.verified, 1, "the idle one lives on");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_websocket_lives_on_unless_an_idle_timeout_is_wanted() -> Result<()> {
    // Every timeout but the one for idleness, all of them short.
    let short = |mut sample: Sample| {
        sample.cluster()["connect_timeout"] = "0.3s".into();
        sample.route()["timeout"] = "0.3s".into();
        sample.route()["retry_policy"]["per_try_timeout"] = "0.3s".into();
        with_write_timeout(sample).option("metricTimeout", "50ms")
    };
    let stage = Stage::start(FleetConfig::local(1), short).await?;
    stage.until_usable(1)?;
    let mut held = stage.load(5, 0)?.open().await;
    idle_for_polls(&stage.pods()[0], 20).await?;
    assert_eq!(held.exchange(1).await.verified, 5);

    let wanted = |mut sample: Sample| {
        sample.route()["idle_timeout"] = "0.5s".into();
        every(100)(sample)
    };
    let stage = Stage::start(FleetConfig::local(1), wanted).await?;
    stage.until_usable(1)?;
    let held = stage.load(5, 0)?.open().await;
    assert_eq!(held.len(), 5);
    held.shrunk_to(0).await;
    stage.until_open(0)
}
