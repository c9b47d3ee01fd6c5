//! The status: what it shows is so, whichever worker is asked, and nobody else sees the question.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result};
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use wsbalancer_backend::{Fleet, FleetConfig, Pod, RequestSeen};
use wsbalancer_e2e::ask::{ask, get, get_json};
use wsbalancer_e2e::eds::{EdsFile, endpoints};
use wsbalancer_e2e::lds::LdsFile;
use wsbalancer_e2e::{PATIENCE, Stage, addresses, assert_all_well, every, load, preloaded, seldom};
use wsbalancer_harness::{Envoy, Sample, wait_until};

const WORKERS: u32 = 4;
const PATH: &str = "/balancer-metrics";

/// The listener of the status tells how many connections each worker got.
fn with_statistics(sample: Sample) -> Sample {
    sample.edit(|configuration| {
        configuration["static_resources"]["listeners"][1]["stat_prefix"] = "status".into();
    })
}

fn shown(stage: &Stage) -> Result<Value> {
    get_json(&(stage.status_url()? + "?format=json"))
}

fn exposed(stage: &Stage) -> Result<String> {
    get(&(stage.status_url()? + "?format=prometheus"))
}

/// Does something again and again until each worker has had a part in it.
fn until_all_workers_were_asked(stage: &Stage, mut ask: impl FnMut() -> Result<()>) -> Result<()> {
    let asked = |worker| {
        let name = format!("listener.status.worker_{worker}.downstream_cx_total");
        stage.envoy.counter(&name)
    };
    let before = (0..WORKERS).map(asked).collect::<Result<Vec<_>>>()?;
    block_in_place(|| {
        wait_until("all workers to be asked", PATIENCE, || {
            let all = ask().and_then(|()| {
                let now = (0..WORKERS).map(asked).collect::<Result<Vec<_>>>()?;
                Ok(now.iter().zip(&before).all(|(now, before)| now > before))
            });
            match all {
                Ok(false) => None,
                Ok(true) => Some(Ok(())),
                Err(error) => Some(Err(error)),
            }
        })
    })
    .flatten()
}

/// What the status must show of pods at a moment when nothing happens.
fn truth(pods: &[Pod]) -> BTreeMap<String, Value> {
    pods.iter()
        .map(|pod| {
            let fields = json!({
                "agentsConnections": pod.reported(),
                "podName": pod.name(),
                "podIP": pod.address().ip(),
                "nodeName": "node",
                "state": "healthy",
                "estimate": pod.reported(),
                "ownConnections": pod.open(),
                "inFlight": 0,
                "opened": pod.opened(),
                "closed": pod.opened() - pod.open(),
            });
            (pod.address().to_string(), fields)
        })
        .collect()
}

/// What it does show of them.
fn pods_of(status: &Value) -> BTreeMap<String, Value> {
    let pods = status["podMetrics"]["chat"]
        .as_array()
        .into_iter()
        .flatten();
    pods.map(|pod| {
        let address = pod["address"].as_str().unwrap_or_default().to_owned();
        let fields = [
            "agentsConnections",
            "podName",
            "podIP",
            "nodeName",
            "state",
            "estimate",
            "ownConnections",
            "inFlight",
            "opened",
            "closed",
        ];
        let fields = fields.map(|field| (field.to_owned(), pod[field].clone()));
        (address, Value::Object(fields.into_iter().collect()))
    })
    .collect()
}

/// Waits until the status shows what the pods have counted themselves, which is returned.
fn until_true(stage: &Stage, pods: &[Pod]) -> Result<Value> {
    let mut last = Value::Null;
    block_in_place(|| {
        wait_until("the status to be true", PATIENCE, || {
            last = shown(stage).ok()?;
            (pods_of(&last) == truth(pods)).then(|| last.clone())
        })
    })
    .with_context(|| format!("{last:#}\nis not\n{:#?}", truth(pods)))
}

#[tokio::test(flavor = "multi_thread")]
async fn all_workers_show_what_the_pods_count() -> Result<()> {
    let options = Envoy::options().concurrency(WORKERS);
    let change = |sample| with_statistics(every(500)(sample));
    let stage = Stage::start_with(options, preloaded(4, &[30, 0]), change).await?;
    stage.until_usable(4)?;
    let pods = stage.pods();

    let load = stage.load(600, 300)?;
    let opening = tokio::spawn(async move { load.open().await });
    let mut last = 0;
    while !opening.is_finished() {
        let status = shown(&stage)?;
        let pods_now: u64 = stage.counts().iter().sum();
        let total = status["totalConnections"].as_u64().context("a total")?;
        assert!(
            (last..=pods_now).contains(&total),
            "{last} {total} {pods_now}"
        );
        last = total;
        let of_pods = pods_of(&status);
        let of_pods = of_pods
            .values()
            .map(|pod| pod["agentsConnections"].as_u64());
        assert_eq!(of_pods.sum::<Option<u64>>(), Some(total), "{status:#}");
    }
    let mut held = opening.await?;
    assert_all_well(&held.report());
    until_true(&stage, pods)?;

    held.close_some(250).await;
    stage.until_open(350)?;
    let status = until_true(&stage, pods)?;
    assert_eq!(status["totalConnections"], 410);
    assert_eq!(status["agentsConnections"], 410);
    let service = &status["services"][0];
    assert_eq!(service["url"], "chat");
    assert_eq!(service["connections"], 410);
    assert_eq!(service["ownConnections"], 350);
    assert_eq!(service["evenShare"], 102.5);
    let largest = stage.counts().into_iter().max().map(u32::try_from);
    let imbalance = f64::from(largest.context("a pod")??) / 102.5;
    let shown_imbalance = service["imbalance"].as_f64().context("a number")?;
    assert!((shown_imbalance - imbalance).abs() < 1e-9, "{service}");

    until_all_workers_were_asked(&stage, || {
        let status = shown(&stage)?;
        assert_eq!(pods_of(&status), truth(pods), "{status:#}");
        Ok(())
    })
}

/// Programs that read the Traefik plugin's JSON find their fields, and what reads ours does, too.
#[tokio::test(flavor = "multi_thread")]
async fn the_json_has_its_fields() -> Result<()> {
    let stage = Stage::start(preloaded(1, &[7]), seldom).await?;
    stage.until_usable(1)?;
    let status = shown(&stage)?;
    let keys = |value: &Value| -> Vec<String> {
        let fields = value.as_object().into_iter().flatten();
        let mut keys: Vec<String> = fields.map(|(key, _)| key.clone()).collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(
        keys(&status),
        [
            "agentsConnections",
            "gateway",
            "podMetrics",
            "services",
            "timestamp",
            "totalConnections",
            "warnings"
        ]
    );
    assert_eq!(
        keys(&status["services"][0]),
        [
            "cacheTTL",
            "connections",
            "discovery",
            "estimate",
            "evenShare",
            "imbalance",
            "metricPath",
            "ownConnections",
            "podsKnown",
            "podsUsable",
            "poller",
            "refreshInterval",
            "share",
            "silentFor",
            "statistics",
            "url",
            "verdict",
            "warnings",
            "workers"
        ]
    );
    assert_eq!(
        keys(&status["services"][0]["discovery"]),
        ["adminCluster", "age", "lastError"]
    );
    assert_eq!(
        keys(&status["podMetrics"]["chat"][0]),
        [
            "address",
            "agentsConnections",
            "closed",
            "complaint",
            "countAge",
            "cut",
            "estimate",
            "evenShare",
            "failed",
            "implausible",
            "inFlight",
            "lastError",
            "load",
            "maxConnections",
            "nodeName",
            "opened",
            "ownConnections",
            "podIP",
            "podName",
            "pollsFailed",
            "priority",
            "reason",
            "rebalanced",
            "refused",
            "slowStart",
            "state",
            "weight"
        ]
    );
    Ok(())
}

/// The status on the listener of the WebSockets, beside pods that answer everything.
async fn open_stage(change: impl FnOnce(Sample) -> Sample) -> Result<Stage> {
    let stage = Stage::start(FleetConfig::local(2), |sample| seldom(change(sample))).await?;
    stage.until_usable(2)?;
    Ok(stage)
}

fn ask_at(address: SocketAddr, method: &str, path: &str, accept: &str) -> Result<Response<String>> {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"))
        .header("accept", accept);
    ask(request.body(())?)
}

/// All that comes over a connection on which only this is asked.
fn raw(address: SocketAddr, method: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{method} {PATH} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_question_for_the_status_reaches_a_pod() -> Result<()> {
    let stage = open_stage(|sample| sample.option("status", json!({ "path": PATH }))).await?;
    let address = stage.envoy.address();
    let requests = || block_in_place(|| stage.envoy.counter("cluster.chat.upstream_rq_total"));
    let before = (
        requests()?,
        stage.pods()[0].polls(),
        stage.pods()[1].polls(),
    );

    for (query, accept, kind) in [
        ("", "text/html,*/*;q=0.8", "text/html; charset=utf-8"),
        ("", "application/json", "application/json"),
        ("?format=json", "*/*", "application/json"),
        (
            "?format=prometheus",
            "*/*",
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        (
            "",
            "application/openmetrics-text;version=1.0.0,*/*;q=0.1",
            "text/plain; version=0.0.4; charset=utf-8",
        ),
    ] {
        let answer = ask_at(address, "GET", &format!("{PATH}{query}"), accept)?;
        assert_eq!(answer.status(), 200, "{query} {accept}");
        assert_eq!(answer.headers()["content-type"], kind, "{query} {accept}");
        assert_eq!(answer.headers()["cache-control"], "no-store");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = ask_at(address, method, PATH, "*/*")?;
        assert_eq!(answer.status(), 405, "{method}");
        assert_eq!(answer.headers()["allow"], "GET, HEAD", "{method}");
    }
    let answer = ask_at(address, "GET", &format!("{PATH}?format=xml"), "*/*")?;
    assert_eq!(answer.status(), 400);

    let with_body = block_in_place(|| raw(address, "GET"))?;
    let (head, body) = with_body.split_once("\r\n\r\n").context("a whole head")?;
    assert!(body.contains("<!doctype html>"), "{body}");
    let without = block_in_place(|| raw(address, "HEAD"))?;
    let (same_head, nothing) = without.split_once("\r\n\r\n").context("a whole head")?;
    assert_eq!(nothing, "");
    let undated = |head: &str| -> Vec<String> {
        let lines = head.lines().filter(|line| !line.starts_with("date:"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(undated(same_head), undated(head));

    let after = (
        requests()?,
        stage.pods()[0].polls(),
        stage.pods()[1].polls(),
    );
    assert_eq!(after, before);
    // All others go where they went before.
    for path in [
        "/balancer-metrics/",
        "/balancer-metricsx",
        "/?/balancer-metrics",
    ] {
        let answer = ask_at(address, "GET", path, "*/*")?;
        let seen: RequestSeen = serde_json::from_str(answer.body())?;
        assert_eq!(seen.path, path);
    }
    Ok(())
}

/// A page whose own name leads to the gateway's address.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_not_shown_under_a_name_that_is_not_listed() -> Result<()> {
    let stage = open_stage(|mut sample| {
        sample.plugin_configuration()["status"] =
            json!({ "path": PATH, "hosts": ["gateway.internal"] });
        sample
    })
    .await?;
    for (host, status) in [
        ("localhost:9902", 200),
        ("gateway.internal:9902", 200),
        ("Gateway.Internal", 200),
        ("evil.example:9902", 421),
        ("gateway.internal.evil.example", 421),
    ] {
        let request = Request::get(format!(
            "http://{}{PATH}?format=json",
            stage.envoy.address()
        ));
        let answer = ask(request.header("host", host).body(())?)?;
        assert_eq!(answer.status(), status, "{host}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_status_is_configured_there_is_none() -> Result<()> {
    let stage = open_stage(|sample| sample).await?;
    for method in ["GET", "POST"] {
        let path = format!("{PATH}?format=json");
        let answer = ask_at(stage.envoy.address(), method, &path, "*/*")?;
        let seen: RequestSeen = serde_json::from_str(answer.body())?;
        assert_eq!((seen.method.as_str(), seen.path), (method, path));
    }
    // Nor is there anything else on the listener that is for the status.
    let listener = stage.envoy.listener("status").context("a listener")?;
    assert_eq!(ask_at(listener, "GET", "/", "*/*")?.status(), 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_has_gone_is_not_shown_until_it_is_back() -> Result<()> {
    let fleet = Fleet::start(preloaded(3, &[5, 6, 7])).await?;
    let listed = endpoints(&addresses(&fleet));
    let sample = with_statistics(every(200)(Sample::standard()?));
    let (eds, sample) = EdsFile::feed(sample, &listed)?;
    let options = Envoy::options().concurrency(WORKERS);
    let envoy = block_in_place(|| options.start(&sample))?;
    let stage = Stage { fleet, envoy };
    stage.until_usable(3)?;
    let held = stage.load(30, 0)?.open().await;
    assert_all_well(&held.report());
    until_true(&stage, stage.pods())?;
    let (kept, gone) = stage.pods().split_at(2);
    let gone = gone[0].address().to_string();
    assert!(exposed(&stage)?.contains(&gone));

    eds.publish(&listed[..2])?;
    stage.until_usable(2)?;
    until_all_workers_were_asked(&stage, || {
        let text = exposed(&stage)?;
        assert!(!text.contains(&gone), "{text}");
        let status = get(&(stage.status_url()? + "?format=json"))?;
        assert!(!status.contains(&gone), "{status}");
        Ok(())
    })?;
    let status = until_true(&stage, kept)?;
    assert_eq!(status["services"][0]["podsKnown"], 2);

    // What was opened on it goes on.
    eds.publish(&listed)?;
    stage.until_usable(3)?;
    let status = block_in_place(|| {
        wait_until("three pods", PATIENCE, || {
            let status = shown(&stage).ok()?;
            (pods_of(&status).len() == 3).then_some(status)
        })
    })?;
    let returned = &pods_of(&status)[&gone];
    assert_eq!(returned["agentsConnections"], stage.pods()[2].reported());
    let open = stage.pods()[2].counters().open;
    assert!(open > 0);
    assert_eq!(returned["ownConnections"], open);
    Ok(())
}

/// The new configuration has counts of its own, and no pods but its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_configuration_is_what_is_shown() -> Result<()> {
    let mut fleet = FleetConfig::local(4);
    fleet.metric_path = "/count".to_owned();
    let fleet = Fleet::start(fleet).await?;
    let pods = addresses(&fleet);
    let sample = every(200)(Sample::standard()?.pods(&pods).without_discovery(&pods));
    let sample = sample.option("metricPath", "/count");
    let (lds, bootstrap) = LdsFile::feed(&sample)?;
    let envoy = block_in_place(|| Envoy::start(&bootstrap))?;
    let stage = Stage { fleet, envoy };
    let websockets = stage.envoy.listener("websockets").context("a listener")?;
    stage.until_usable(4)?;
    let old = load(websockets, 40, 0)?.open().await;
    assert_all_well(&old.report());
    let status = until_true(&stage, stage.pods())?;
    assert_eq!(status["services"][0]["refreshInterval"], 0.2);

    let (kept, dropped) = stage.pods().split_at(2);
    let open = |pods: &[Pod]| pods.iter().map(Pod::open).sum::<u64>();
    let (on_kept, on_dropped) = (open(kept), open(dropped));
    let kept_addresses: Vec<SocketAddr> = kept.iter().map(Pod::address).collect();
    let changed = sample.without_discovery(&kept_addresses);
    lds.publish(&every(300)(changed))?;
    let status = block_in_place(|| {
        wait_until("the new configuration", PATIENCE, || {
            let status = shown(&stage).ok()?;
            let is_new = status["services"][0]["refreshInterval"] == 0.3;
            let shown = pods_of(&status);
            let is_shown = |pod: &Pod| {
                let shown = shown.get(&pod.address().to_string());
                shown.is_some_and(|shown| shown["agentsConnections"] == pod.reported())
            };
            (is_new && kept.iter().all(is_shown)).then_some(status)
        })
    })?;
    assert_eq!(status["services"].as_array().map(Vec::len), Some(1));
    assert_eq!(status["totalConnections"], on_kept);
    assert_eq!(pods_of(&status).len(), 2);

    let new = load(websockets, 20, 0)?.open().await;
    assert_all_well(&new.report());
    assert_eq!((open(kept), open(dropped)), (on_kept + 20, on_dropped));
    block_in_place(|| {
        wait_until("the new WebSockets", PATIENCE, || {
            let status = shown(&stage).ok()?;
            let service = &status["services"][0];
            let numbers = (&service["connections"], &service["ownConnections"]);
            (numbers == (&json!(on_kept + 20), &json!(on_kept + 20))).then_some(())
        })
    })
}
