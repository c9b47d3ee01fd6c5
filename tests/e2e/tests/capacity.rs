//! Pods that differ: in what they can hold, and in whether they stay.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::task::block_in_place;
use wsbalancer_backend::{FleetConfig, MetricBehavior, Pod};
use wsbalancer_client::imbalance;
use wsbalancer_e2e::eds::{self, Endpoint};
use wsbalancer_e2e::{PATIENCE, Stage, assert_all_well, every, modules, preloaded, seldom};
use wsbalancer_harness::Envoy;

/// Three pods with what the first, the second and the third say.
fn three<T: Copy>(set: fn(&mut FleetConfig, usize, T), values: [T; 3]) -> FleetConfig {
    let mut fleet = FleetConfig::local(3);
    for (index, value) in values.into_iter().enumerate() {
        set(&mut fleet, index, value);
    }
    fleet
}

fn weighing(weights: [f64; 3]) -> FleetConfig {
    let set = |fleet: &mut FleetConfig, index: usize, weight| {
        fleet.pods[index].switches.weight = Some(weight);
    };
    three(set, weights)
}

fn limited(limits: [u64; 3]) -> FleetConfig {
    let set = |fleet: &mut FleetConfig, index: usize, limit| {
        fleet.pods[index].switches.max_connections = Some(limit);
    };
    three(set, limits)
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_are_as_the_weights_that_the_pods_say() -> Result<()> {
    let stage = Stage::start(weighing([1.0, 2.0, 4.0]), seldom).await?;
    stage.until_usable(3)?;
    let held = stage.load(700, 0)?.open().await;
    assert_all_well(&held.report());
    assert_eq!(stage.counts(), [100, 200, 400]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_are_as_the_weights_of_the_endpoints() -> Result<()> {
    let listed = |pods: &[SocketAddr]| {
        let weighted = pods.iter().zip([1, 2, 4]);
        weighted
            .map(|(pod, weight)| Endpoint::new(*pod).weight(weight))
            .collect()
    };
    // The second has a word of its own.
    let mut fleet = FleetConfig::local(3);
    fleet.pods[1].switches.weight = Some(5.0);
    let (stage, _eds) = eds::stage(fleet, listed, seldom).await?;
    stage.until_usable(3)?;
    let held = stage.load(1_000, 0)?.open().await;
    assert_all_well(&held.report());
    assert_eq!(stage.counts(), [100, 500, 400]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn full_pods_get_nothing_and_when_all_are_full_clients_are_told() -> Result<()> {
    let stage = Stage::start(limited([10, 20, 30]), seldom).await?;
    stage.until_usable(3)?;
    let mut held = stage.load(60, 0)?.open().await;
    assert_all_well(&held.report());
    assert_eq!(stage.counts(), [10, 20, 30]);

    let refused = stage.load(5, 0)?.open().await.report();
    assert_eq!(refused.connections.failed, 5);
    assert_eq!(stage.stat("upgrades_full")?, 5);
    assert_eq!(stage.stat("upgrades_fallback")?, 0);
    let answer = handshake(&stage)?;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: "), "{answer}");
    assert!(answer.ends_with("every pod is full\n"), "{answer}");
    stage.until_usable(0)?;

    assert_eq!(held.close_some(3).await, 3);
    stage.until_open(57)?;
    let more = stage.load(3, 0)?.open().await;
    assert_all_well(&more.report());
    assert_eq!(stage.counts(), [10, 20, 30]);
    Ok(())
}

/// A VM that traps tells nobody what becomes of its WebSockets.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_had_whose_vm_traps_fills_no_pod() -> Result<()> {
    let faulty = modules::that_traps_at_the_end()?;
    let options = Envoy::options().concurrency(1);
    let stage = Stage::start_with(options, limited([10, 20, 30]), |sample| {
        every(500)(sample).wasm(faulty.path())
    })
    .await?;
    stage.until_usable(3)?;
    let held = stage.load(60, 0)?.open().await;
    assert_all_well(&held.report());
    // What has been open for so long must be in a pod's count.
    let first = stage.pods().first().context("a pod")?;
    let asked = first.polls() + 5;
    first.until(|counters| counters.polls >= asked).await?;
    stage.until_usable(0)?;

    drop(held);
    let trap = |stage: &Stage| stage.envoy.wait_for_log("proxy_on_delete failed", PATIENCE);
    block_in_place(|| trap(&stage))?;
    for pod in stage.pods() {
        pod.until(|counters| counters.open == 0).await?;
    }
    stage.until_usable(3)?;
    let again = stage.load(60, 0)?.open().await;
    assert_all_well(&again.report());
    assert_eq!(stage.counts(), [10, 20, 30]);
    let log = stage.envoy.log();
    assert!(log.contains("no sign of life from workers"), "{log}");
    assert_eq!(stage.stat("workers_lost")?, 1);
    Ok(())
}

/// The answer to a handshake that is not carried out, as it comes over the wire.
fn handshake(stage: &Stage) -> Result<String> {
    use std::io::{Read, Write};

    block_in_place(|| {
        let mut stream = std::net::TcpStream::connect(stage.envoy.address())?;
        stream.write_all(
            b"GET /chat HTTP/1.1\r\nhost: chat\r\nconnection: upgrade, close\r\n\
              upgrade: websocket\r\nsec-websocket-version: 13\r\n\
              sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )?;
        let mut answer = Vec::new();
        // The body is the end of it.
        while !answer.ends_with(b"full\n") {
            let mut part = [0; 1024];
            let size = stream.read(&mut part)?;
            anyhow::ensure!(size > 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&part[..size]);
        }
        Ok(String::from_utf8(answer)?)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_begins_to_drain_gets_nothing_new_within_an_interval() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(3), every(200)).await?;
    stage.until_usable(3)?;
    let load = stage.load(1_200, 200)?;
    let opening = tokio::spawn(async move { load.open().await });
    let (draining, rest) = stage.pods().split_first().context("pods")?;
    draining.until(|counters| counters.opened >= 100).await?;
    draining.drain(Some(true));
    // The poll under way may have left before; with the answer to the next the filter knows.
    let known = draining.polls() + 2;
    draining.until(|counters| counters.polls >= known).await?;
    stage.until_usable(2)?;
    let before = draining.opened();
    let held = opening.await?;
    assert_all_well(&held.report());
    assert_eq!(draining.opened(), before);
    let counts: Vec<u64> = rest.iter().map(Pod::open).collect();
    assert!(imbalance(&counts) <= 1.05, "{counts:?}");
    let drains = format!("pod {} drains", draining.address());
    block_in_place(|| stage.envoy.wait_for_log(&drains, PATIENCE))?;

    draining.drain(None);
    stage.until_usable(3)?;
    let more = stage.load(20, 0)?.open().await;
    assert_all_well(&more.report());
    assert_eq!(draining.opened(), before + 20, "it has the fewest");
    Ok(())
}

/// A pod that says of itself that it does not drain is believed, whatever Envoy's endpoint says.
#[tokio::test(flavor = "multi_thread")]
async fn the_pods_own_word_on_draining_wins() -> Result<()> {
    let listed = |pods: &[SocketAddr]| {
        let draining = pods.iter().map(|pod| Endpoint::new(*pod));
        draining.map(|pod| pod.health("DRAINING")).collect()
    };
    let mut fleet = FleetConfig::local(2);
    fleet.pods[1].switches.draining = Some(false);
    let (stage, _eds) = eds::stage(fleet, listed, seldom).await?;
    stage.until_usable(1)?;
    let held = stage.load(10, 0)?.open().await;
    assert_all_well(&held.report());
    assert_eq!(stage.counts(), [0, 10]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pod_can_not_mean_costs_it_nothing() -> Result<()> {
    let stage = Stage::start(preloaded(2, &[5, 0]), every(200)).await?;
    stage.until_usable(2)?;
    let pod = &stage.pods()[1];
    for (field, told) in [
        (json!({ "weight": 0 }), "weight is not within 0.01 to 100"),
        (
            json!({ "maxConnections": -1 }),
            "maxConnections is not a non-negative integer",
        ),
        (
            json!({ "draining": "soon" }),
            "draining is neither true nor false",
        ),
    ] {
        let mut body = field;
        body["agentsConnections"] = 0.into();
        pod.answer_metric(MetricBehavior::Body(body.to_string()));
        let line = format!(
            "the answer of pod {} has a mistake: {told} and is ignored",
            pod.address()
        );
        block_in_place(|| stage.envoy.wait_for_log(&line, PATIENCE))?;
    }
    assert_eq!(stage.stat("polls_failed")?, 0);
    assert_eq!(stage.stat("pods_usable")?, 2);
    let held = stage.load(5, 0)?.open().await;
    assert_all_well(&held.report());
    assert_eq!(pod.open(), 5, "it has the fewest");
    Ok(())
}
