//! One cluster a pod: the filter chooses among clusters, and the route takes its choice from the
//! header. Routes and configuration are those of the documentation.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use http::Request;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use wsbalancer_backend::{FleetConfig, Pod, RequestSeen};
use wsbalancer_e2e::ask::{ask, get_json};
use wsbalancer_e2e::{
    Stage, addresses, assert_all_well, assert_skewed_pods_even_out, every, markdown, preloaded,
};
use wsbalancer_harness::{Envoy, Sample};

const HEADER: &str = "x-pod-cluster";

/// The YAML block of the documentation that begins with the comment `# {title}:`.
fn snippet(title: &str) -> Result<Value> {
    Ok(serde_saphyr::from_str(&markdown::snippet(title)?)?)
}

fn name(index: usize) -> String {
    format!("pod-{}", index + 1)
}

/// A cluster that balances by itself, as far as a cluster of one host does.
fn cluster(name: &str, pods: &[SocketAddr]) -> Value {
    let hosts: Vec<Value> = pods
        .iter()
        .map(|pod| {
            json!({ "endpoint": { "address": { "socket_address": {
            "address": pod.ip(), "port_value": pod.port() } } } })
        })
        .collect();
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": hosts }] },
    })
}

fn one_cluster_a_pod(sample: Sample, pods: &[SocketAddr]) -> Result<Sample> {
    let mut plugin = snippet("As the filter's configuration")?;
    plugin["services"] = (0..pods.len())
        .map(|index| json!({ "cluster": name(index) }))
        .collect();
    let routes = snippet("As the routes")?;
    let mut sample = sample;
    *sample.plugin_configuration() = plugin;
    sample.connection_manager()["route_config"]["virtual_hosts"][0]["routes"] = routes;
    Ok(sample.edit(|configuration| {
        let mut clusters: Vec<Value> = pods
            .iter()
            .enumerate()
            .map(|(index, pod)| cluster(&name(index), &[*pod]))
            .collect();
        clusters.push(cluster("all-pods", pods));
        configuration["static_resources"]["clusters"] = clusters.into();
    }))
}

async fn stage(fleet: FleetConfig, change: impl FnOnce(Sample) -> Sample) -> Result<Stage> {
    let usable = fleet.pods.len();
    let fleet = wsbalancer_backend::Fleet::start(fleet).await?;
    let sample = one_cluster_a_pod(Sample::standard()?, &addresses(&fleet))?;
    let envoy = block_in_place(|| Envoy::options().start(&change(sample)))?;
    let stage = Stage { fleet, envoy };
    stage.until_usable(usable)?;
    Ok(stage)
}

#[tokio::test(flavor = "multi_thread")]
async fn skewed_pods_even_out() -> Result<()> {
    let stage = stage(preloaded(8, &[500, 0]), |sample| sample).await?;
    assert_skewed_pods_even_out(&stage).await
}

/// The handshake that finds out fails; no other one does.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_pod_costs_one_handshake_and_is_left_out_until_it_returns() -> Result<()> {
    let stage = stage(preloaded(3, &[0, 10, 10]), every(200)).await?;
    let dead = &stage.pods()[0];
    dead.refuse().await;
    let first = stage.load(1, 0)?.open().await.report();
    assert!(first.connections.failed <= 1, "{first:?}");
    stage.until_usable(2)?;
    let held = stage.load(20, 0)?.open().await;
    assert_all_well(&held.report());
    assert_eq!(dead.open(), 0);

    dead.accept().await?;
    stage.until_usable(3)?;
    let before = stage.counts();
    let more = stage.load(5, 0)?.open().await;
    assert_all_well(&more.report());
    assert_eq!(dead.open(), 5, "it has the fewest of {before:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_chooses_no_cluster() -> Result<()> {
    let stage = stage(preloaded(3, &[0, 100, 100]), |sample| sample).await?;
    let mut load = stage.load(10, 0)?;
    load.headers = ["pod-2", "all-pods", "nonsense"]
        .iter()
        .map(|value| Ok((HEADER.parse()?, value.parse()?)))
        .collect::<Result<_>>()?;
    let held = load.open().await;
    assert_all_well(&held.report());
    assert_eq!(stage.counts(), [10, 100, 100]);

    let seen = stage.pods()[0].last_handshake().context("a handshake")?;
    assert_eq!(seen[HEADER], ["pod-1"]);
    Ok(())
}

/// The client names the very cluster that the route has: nothing tells it from a route by header before
/// the answer.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_route_of_its_own_a_named_cluster_makes_no_phantoms() -> Result<()> {
    let stage = stage(preloaded(3, &[100, 100, 0]), |mut sample| {
        let virtual_host = &mut sample.connection_manager()["route_config"]["virtual_hosts"][0];
        let mut fixed = virtual_host["routes"][0].clone();
        fixed["match"]["prefix"] = "/chat".into();
        fixed["route"] = json!({ "cluster": "all-pods", "timeout": "30s", "idle_timeout": "0s" });
        let routes = virtual_host["routes"].as_array_mut().expect("routes");
        routes.insert(0, fixed);
        sample
    })
    .await?;
    let mut load = stage.load(30, 0)?;
    load.headers = vec![(HEADER.parse()?, "all-pods".parse()?)];
    let held = load.open().await;
    assert_all_well(&held.report());
    let status = get_json(&(stage.status_url()? + "?format=json"))?;
    for service in status["services"].as_array().context("services")? {
        assert_eq!(service["ownConnections"], 0, "{service}");
    }
    for pod in status["podMetrics"].as_object().context("pods")?.values() {
        assert_eq!(pod[0]["inFlight"], 0, "{pod}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_requests_take_their_own_route() -> Result<()> {
    let stage = stage(FleetConfig::local(2), |sample| sample).await?;
    let url = format!("http://{}/index.html", stage.envoy.address());
    let request = Request::get(url).header(HEADER, "pod-2").body(())?;
    let seen: RequestSeen = serde_json::from_str(ask(request)?.body())?;
    assert!(!seen.headers.contains_key(HEADER), "{seen:?}");
    assert_eq!(stage.pods().iter().map(Pod::opened).sum::<u64>(), 0);
    Ok(())
}
