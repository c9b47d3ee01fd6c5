//! What a request costs in calls between Envoy and the VM, counted in Envoy's own trace log. Each is
//! worth some microseconds, which is more than what the filter does between them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::block_in_place;
use wsbalancer_backend::{Fleet, FleetConfig};
use wsbalancer_e2e::{PATIENCE, addresses, ask, load, seldom};
use wsbalancer_harness::{Envoy, Sample, wait_until};

/// A WebSocket from its handshake to its end, once it has lived for a second.
const OF_A_WEBSOCKET: usize = 18;
/// Of one that ends sooner it is asked whose doing that was …
const PROVEN: Duration = Duration::from_secs(1);
/// … by a clock that may be late by this.
const LONGEST_TICK: Duration = Duration::from_millis(250);
/// A request that is none of the filter's.
const OF_A_PLAIN_REQUEST: usize = 8;

/// An Envoy with one worker, which logs each call.
async fn start() -> Result<(Fleet, Envoy)> {
    let fleet = Fleet::start(FleetConfig::local(2)).await?;
    // Of what it would log itself nothing is written by default, either.
    let sample = seldom(Sample::standard()?.pods(&addresses(&fleet))).option("logLevel", "warn");
    let options = Envoy::options()
        .concurrency(1)
        .component_log_level("wasm:trace");
    let envoy = block_in_place(|| options.start(&sample))?;
    block_in_place(|| envoy.wait_for_filter_stat("pods_usable", |usable| usable == 2, PATIENCE))?;
    Ok((fleet, envoy))
}

/// The calls for the last request whose context has gone: its context's callbacks, and what is called
/// between each and its return.
fn crossings(log: &str) -> Result<Vec<String>> {
    // Such as `[DATE][THREAD][trace][wasm] [FILE:LINE] [host->vm] proxy_on_delete(3)`.
    let lines = log.lines().filter_map(|line| {
        let thread = line.split(['[', ']']).nth(3)?;
        let from = line.find("[host").or_else(|| line.find("[vm"))?;
        Some((thread, line.get(from..)?))
    });
    let lines: Vec<(&str, &str)> = lines.collect();
    let is_end = |line: &&(&str, &str)| line.1.starts_with("[host->vm] proxy_on_delete(");
    let end = lines.iter().rfind(is_end);
    let (thread, end) = end.context("no request has ended")?;
    let context = end.split(['(', ')']).nth(1).context("it has no context")?;
    let (first, alone) = (format!("({context},"), format!("({context})"));
    let (mut calls, mut callback) = (Vec::new(), None);
    for (_, line) in lines.iter().filter(|(of, _)| of == thread) {
        let name = line.strip_prefix("[host->vm] ").and_then(|call| {
            let is_its = call.contains(&first) || call.contains(&alone);
            let (name, _) = call.split_once('(')?;
            (is_its && name != "proxy_on_memory_allocate").then_some(name)
        });
        callback = callback.or(name);
        if callback.is_some() && line.contains("->") {
            calls.push((*line).to_owned());
        }
        let returns = |name: &str| line.starts_with(&format!("[host<-vm] {name} return"));
        callback = callback.filter(|name| !returns(name));
    }
    Ok(calls)
}

/// What was counted, for who has added one.
fn list(calls: &[String]) -> String {
    format!("{} calls:\n{}", calls.len(), calls.join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_costs_few_crossings() -> Result<()> {
    let (_fleet, envoy) = start().await?;
    // The first also looks for another filter in the chain.
    drop(load(envoy.address(), 1, 0)?.open().await);
    let held = load(envoy.address(), 1, 0)?.open().await;
    let opened = Instant::now();
    block_in_place(|| {
        wait_until("a WebSocket that has lived", PATIENCE, || {
            (opened.elapsed() > PROVEN + LONGEST_TICK).then_some(())
        })
    })?;
    let gone = envoy.log().matches("[host->vm] proxy_on_delete(").count();
    drop(held);
    block_in_place(|| {
        envoy.wait_until("the end of the WebSocket", PATIENCE, || {
            (envoy.log().matches("[host<-vm] proxy_on_delete").count() > gone).then_some(())
        })
    })?;
    let calls = crossings(&envoy.log())?;
    assert!(calls.len() <= OF_A_WEBSOCKET, "{}", list(&calls));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_costs_few_crossings() -> Result<()> {
    let (_fleet, envoy) = start().await?;
    ask::get(&format!("http://{}/", envoy.address()))?;
    block_in_place(|| {
        envoy.wait_until("the end of the request", PATIENCE, || {
            envoy
                .log()
                .contains("[host<-vm] proxy_on_delete")
                .then_some(())
        })
    })?;
    let calls = crossings(&envoy.log())?;
    assert!(calls.len() <= OF_A_PLAIN_REQUEST, "{}", list(&calls));
    Ok(())
}
