//! A `WasmPlugin` that is changed, or whose module can't be had, at an ingress gateway of Istio's.
//!
//! Envoy gets such a filter by itself (ECDS): a change starts new VMs, and those of the old
//! configuration stay for as long as WebSockets that began under it are open.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use wsbalancer_client::{Held, imbalance};
use wsbalancer_e2e::PATIENCE;
use wsbalancer_e2e::ask::{ask, get, get_json};
use wsbalancer_e2e::istio::{agent_answer_without_module, documents, extension_name};
use wsbalancer_e2e::mesh::{Inbound, Mesh, PODS, Shape};
use wsbalancer_e2e::modules;
use wsbalancer_e2e::resources::{self, Kind, Resources};
use wsbalancer_e2e::runnable::{ADMIN_CLUSTER, Runnable, set_option};

const INTERVAL: Duration = Duration::from_millis(200);

fn plugin() -> Result<Value> {
    let plugins = documents("envoy/istio/wasmplugin.yaml")?;
    plugins.into_iter().next().context("a WasmPlugin")
}

/// An ingress gateway with the filter by a `WasmPlugin`.
fn gateway(plugin: &Value) -> Result<Resources> {
    gateway_beside(plugin, Vec::new())
}

/// The same, and the status from an image.
fn gateway_with_status(plugin: &Value) -> Result<Resources> {
    gateway_beside(plugin, documents("envoy/istio/status-image.yaml")?)
}

fn gateway_beside(plugin: &Value, others: Vec<Value>) -> Result<Resources> {
    let mut manifests = documents("envoy/istio/gateway.yaml")?;
    manifests.retain(|manifest| manifest["metadata"]["name"] != "wsbalancer");
    manifests.push(plugin.clone());
    manifests.extend(others);
    Shape::GATEWAY.with(&manifests)
}

/// Counts are asked for every [`INTERVAL`], and trusted for so long that they never are too old.
fn often(runnable: Runnable) -> Runnable {
    let interval = format!("{}ms", INTERVAL.as_millis());
    runnable
        .option("cacheTTL", "60s")
        .option("refreshInterval", interval.clone())
        .option(
            "discovery",
            json!({ "adminCluster": ADMIN_CLUSTER, "interval": interval }),
        )
}

/// Has Envoy take the filter with another option.
fn change(mesh: &Mesh, option: &str, value: &str) -> Result<()> {
    let name = extension_name(&plugin()?)?;
    let kind = Kind::Extensions.field();
    let mut filter = mesh.files.resource(kind, &name)?;
    assert_eq!(set_option(&mut filter, option, &value.into()), 1);
    mesh.files.publish(kind, &filter)
}

/// Opens WebSockets until `count` configurations have become current after the first one.
fn until_current(mesh: &Mesh, count: usize, held: &mut Vec<Held>) -> Result<()> {
    block_in_place(|| {
        mesh.stage
            .envoy
            .wait_until("another configuration", PATIENCE, || {
                let opened = Handle::current().block_on(mesh.open(1)).ok()?;
                held.push(opened);
                let log = mesh.stage.envoy.log();
                (log.matches("this configuration is current now").count() == count).then_some(())
            })
    })
}

/// Each pod gets one poll an interval, whoever asks: counted are all requests that reach it, on
/// whatever path.
async fn assert_asked_once_an_interval(mesh: &Mesh) -> Result<()> {
    const TIMES: u64 = 10;
    let first = mesh.stage.pods().first().context("a pod")?;
    // From the moment of a poll on, and to that of another.
    let begin = first.polls() + 1;
    first.until(|counters| counters.polls >= begin).await?;
    let (start, before) = (Instant::now(), mesh.requests()?);
    first
        .until(|counters| counters.polls >= begin + TIMES)
        .await?;
    let (took, after) = (start.elapsed(), mesh.requests()?);
    // Two that asked would be through in half of the time. A slow machine only takes longer.
    let intervals = u32::try_from(TIMES)? - 2;
    assert!(took >= INTERVAL * intervals, "{took:?}");
    let asked: Vec<u64> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| after - before)
        .collect();
    let expected = TIMES - 2..=TIMES + 2;
    assert!(
        asked.iter().all(|asked| expected.contains(asked)),
        "{asked:?}"
    );
    Ok(())
}

async fn assert_all_live(held: &mut [Held]) {
    for held in held {
        let count = u64::try_from(held.len()).expect("few");
        assert_eq!(held.exchange(1).await.verified, count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_metric_path_is_the_only_one_that_is_asked() -> Result<()> {
    let wrong = |runnable| often(runnable).option("metricPath", "/wrong");
    let resources = gateway(&plugin()?)?;
    let mesh = Mesh::start(Shape::GATEWAY, resources, Inbound::Nothing, wrong).await?;
    let stage = &mesh.stage;
    stage.until_stat("polls_failed", |failed| failed >= 12)?;
    assert_eq!(stage.stat("pods_usable")?, 0);
    // They keep the old configuration alive.
    let mut held = vec![mesh.open(20).await?];

    change(&mesh, "metricPath", "/metric")?;
    until_current(&mesh, 1, &mut held)?;
    stage.until_usable(PODS)?;
    let failed = stage.stat("polls_failed")?;
    assert_asked_once_an_interval(&mesh).await?;
    assert_eq!(stage.stat("polls_failed")?, failed);

    let fallbacks = stage.stat("upgrades_fallback")?;
    let balanced = stage.stat("upgrades_balanced")?;
    held.push(mesh.open(20).await?);
    stage.until_stat("upgrades_balanced", |now| now == balanced + 20)?;
    assert_eq!(stage.stat("upgrades_fallback")?, fallbacks);
    assert_all_live(&mut held).await;
    Ok(())
}

/// Envoy takes the first VMs again for what it has seen before, and does not configure them anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_taken_back_is_followed() -> Result<()> {
    let resources = gateway(&plugin()?)?;
    let right = |runnable| often(runnable).option("metricPath", "/metric");
    let mesh = Mesh::start(Shape::GATEWAY, resources, Inbound::Nothing, right).await?;
    let stage = &mesh.stage;
    stage.until_usable(PODS)?;
    let mut held = vec![mesh.open(20).await?];

    change(&mesh, "metricPath", "/wrong")?;
    until_current(&mesh, 1, &mut held)?;
    held.push(mesh.open(20).await?);
    stage.until_usable(0)?;

    change(&mesh, "metricPath", "/metric")?;
    until_current(&mesh, 2, &mut held)?;
    stage.until_usable(PODS)?;
    assert_asked_once_an_interval(&mesh).await?;
    assert_all_live(&mut held).await;
    Ok(())
}

/// Has Envoy take the filter from another module, with another option.
fn change_module(mesh: &Mesh, module: &Path, host: &str) -> Result<()> {
    let name = extension_name(&plugin()?)?;
    let kind = Kind::Extensions.field();
    let mut filter = mesh.files.resource(kind, &name)?;
    assert_eq!(set_option(&mut filter, "metricHost", &host.into()), 1);
    resources::walk(&mut filter, &mut |value| {
        if let Some(local) = value.get_mut("local") {
            local["filename"] = module.to_string_lossy().into();
        }
    });
    mesh.files.publish(kind, &filter)
}

/// A draining VM that crashes takes its own WebSockets with it, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_trap_in_a_draining_vm_changes_nothing_for_the_current_one() -> Result<()> {
    let faulty = modules::that_traps_at_the_end()?;
    let named = |runnable: Runnable| often(runnable).option("metricHost", "first");
    let resources = gateway(&plugin()?)?;
    let mesh = Mesh::start(Shape::GATEWAY, resources, Inbound::Nothing, named).await?;
    let stage = &mesh.stage;
    stage.until_usable(PODS)?;
    let mut held = Vec::new();
    change_module(&mesh, faulty.path(), "faulty")?;
    until_current(&mesh, 1, &mut held)?;
    let doomed = mesh.open(20).await?;
    change_module(&mesh, &modules::sound(), "sound")?;
    until_current(&mesh, 2, &mut held)?;
    let mut sound = vec![mesh.open(20).await?];

    drop(doomed);
    stage
        .envoy
        .wait_for_log("proxy_on_delete failed", PATIENCE)?;
    assert_asked_once_an_interval(&mesh).await?;
    stage.until_usable(PODS)?;
    sound.push(mesh.open(20).await?);
    assert_all_live(&mut sound).await;
    let log = stage.envoy.log();
    let taken_over = log.matches("this configuration is current now").count();
    assert_eq!(taken_over, 2, "nothing has taken over from it");
    Ok(())
}

/// Neither can read the other's tables.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_of_another_version_takes_over_with_all_that_is_known() -> Result<()> {
    let other = modules::of_another_version()?;
    let named = |runnable: Runnable| often(runnable).option("metricHost", "first");
    let resources = gateway(&plugin()?)?;
    let mesh = Mesh::start(Shape::GATEWAY, resources, Inbound::Nothing, named).await?;
    let stage = &mesh.stage;
    stage.until_usable(PODS)?;
    let mut held = vec![mesh.open(40).await?];

    // A version tells what it knows about once a second.
    assert_asked_once_an_interval(&mesh).await?;
    change_module(&mesh, other.path(), "other")?;
    until_current(&mesh, 1, &mut held)?;
    stage.until_usable(PODS)?;
    assert_asked_once_an_interval(&mesh).await?;
    held.push(mesh.open(40).await?);
    assert_eq!(
        stage.stat("upgrades_fallback")?,
        0,
        "each had a count to go by"
    );
    let counts = stage.counts();
    // Each hears within two seconds what the other opens.
    assert!(imbalance(&counts) <= 1.05, "{counts:?}");
    assert_all_live(&mut held).await;
    Ok(())
}

/// The status goes on without the filter, whose VMs end with its last WebSocket, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_gone_is_shown_as_silent() -> Result<()> {
    let plugin = plugin()?;
    let resources = gateway_with_status(&plugin)?;
    let mesh = Mesh::start(Shape::GATEWAY, resources, Inbound::Nothing, often).await?;
    mesh.stage.until_usable(PODS)?;
    let status = mesh.stage.status_url_on("wsbalancer_status")?;
    let silent = |service: &Value| service["silentFor"].is_number();
    let usable = "wsbalancer_pod_usable{";
    let healthy = |exposition: &str| {
        let mut series = exposition.lines().filter(|line| line.starts_with(usable));
        series.any(|line| line.ends_with(" 1"))
    };
    let shown = || {
        Ok::<_, anyhow::Error>(get_json(&format!("{status}?format=json"))?["services"][0].take())
    };
    assert!(!silent(&shown()?));
    assert!(healthy(&get(&format!("{status}?format=prometheus"))?));

    // As if its image could not be had any more.
    let gone = agent_answer_without_module(&plugin)?;
    mesh.files.publish(Kind::Extensions.field(), &gone)?;
    block_in_place(|| {
        let is_silent = || shown().ok().filter(silent);
        mesh.stage.envoy.wait_until("silence", PATIENCE, is_silent)
    })?;
    assert_eq!(shown()?["podsUsable"], 0);
    assert!(!healthy(&get(&format!("{status}?format=prometheus"))?));
    Ok(())
}

/// A change of the configuration, whose VMs end with their last WebSocket, is told from a crash: without
/// a word a worker may stay away for two minutes here, before it is taken for lost.
#[tokio::test(flavor = "multi_thread")]
async fn workers_of_a_configuration_that_has_ended_are_not_lost() -> Result<()> {
    let plugin = plugin()?;
    let resources = gateway_with_status(&plugin)?;
    let slowly = |runnable: Runnable| {
        let runnable = often(runnable).option("cacheTTL", "120s");
        runnable.option("refreshInterval", "60s")
    };
    let mesh = Mesh::start(Shape::GATEWAY, resources, Inbound::Nothing, slowly).await?;
    mesh.stage.until_usable(PODS)?;
    let status = mesh.stage.status_url_on("wsbalancer_status")? + "?format=json";
    let until_workers = |count: RangeInclusive<u64>| {
        let mut last = Value::Null;
        let shown = || {
            last = get_json(&status).ok()?.pointer("/services/0")?.clone();
            let is_so = last["workers"]
                .as_u64()
                .is_some_and(|workers| count.contains(&workers));
            is_so.then(|| last.take())
        };
        let what = format!("{count:?} workers");
        let found = block_in_place(|| mesh.stage.envoy.wait_until(&what, PATIENCE, shown));
        found.with_context(|| format!("there were {}", last["workers"]))
    };
    // Two, and the main thread.
    until_workers(3..=3)?;
    let mut held = vec![mesh.open(4).await?];
    change(&mesh, "cacheTTL", "90s")?;
    until_current(&mesh, 1, &mut held)?;
    // Those of the old configuration that have WebSockets; the main thread has none.
    until_workers(4..=5)?;
    drop(held);
    let service = until_workers(3..=3)?;
    assert_eq!(service["statistics"]["workers_lost"], 0);
    Ok(())
}

/// The status of an answer to a `GET`, and the pod that gave it.
fn asked(mesh: &Mesh, head: Option<&str>) -> Result<(StatusCode, Value)> {
    let mut request = http::Request::get(format!("http://{}/", mesh.stage.envoy.address()))
        .header("host", "chat.example.com");
    if let Some(pod) = head {
        request = request.header("x-gateway-destination-endpoint", pod);
    }
    let answer = ask(request.body(())?)?;
    let body = serde_json::from_str(answer.body()).unwrap_or_default();
    Ok((answer.status(), body))
}

/// Istio's agent then answers in the filter's place, and is imitated here. As shipped, all goes on as
/// without the filter, and no client chooses its pod.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_down_takes_nothing_from_anybody() -> Result<()> {
    let plugin = plugin()?;
    let mut resources = gateway(&plugin)?;
    let name = extension_name(&plugin)?;
    *resources.get(Kind::Extensions, &name)? = agent_answer_without_module(&plugin)?;
    let mesh = Mesh::start(Shape::GATEWAY, resources, Inbound::Nothing, |runnable| {
        runnable
    })
    .await?;
    let pod = mesh.stage.pods().first().context("a pod")?;
    let address = pod.address().to_string();
    let mut names = Vec::new();
    for _ in 0..40 {
        let (status, body) = asked(&mesh, Some(&address))?;
        assert_eq!(status, StatusCode::OK);
        names.push(body["podName"].clone());
    }
    assert!(names.iter().any(|name| name != pod.name()), "{names:?}");
    let _held = mesh.open(40).await?;
    Ok(())
}

/// Why the sample has another strategy.
#[tokio::test(flavor = "multi_thread")]
async fn with_fail_reload_a_registry_that_is_down_costs_every_host_all_of_its_requests()
-> Result<()> {
    let mut plugin = plugin()?;
    plugin["spec"]["failStrategy"] = "FAIL_RELOAD".into();
    let mut resources = gateway(&plugin)?;
    let name = extension_name(&plugin)?;
    *resources.get(Kind::Extensions, &name)? = agent_answer_without_module(&plugin)?;
    let mesh = Mesh::start(Shape::GATEWAY, resources, Inbound::Nothing, |runnable| {
        runnable
    })
    .await?;
    assert_eq!(asked(&mesh, None)?.0, StatusCode::FORBIDDEN);
    Ok(())
}
