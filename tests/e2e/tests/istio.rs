//! The manifests for Istio as they are shipped, applied to what Istio gives to its proxies, balance.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use wsbalancer_backend::{Fleet, FleetConfig, Pod};
use wsbalancer_e2e::ask::get_json;
use wsbalancer_e2e::doctor;
use wsbalancer_e2e::exporter::Exporter;
use wsbalancer_e2e::istio::{CLUSTER, Proxy, apply, documents};
use wsbalancer_e2e::mesh::{
    Inbound, Mesh, PODS, Shape, assert_spreads, opener_with_old_cookie, pods_for_sessions, seldom,
};
use wsbalancer_e2e::resources::{Kind, Resources, name_of};
use wsbalancer_e2e::sidecars::Sidecars;
use wsbalancer_e2e::{ROOT, addresses, markdown, preloaded};

fn for_gateway() -> Result<Vec<Value>> {
    documents("envoy/istio/gateway.yaml")
}

/// Those for an ingress gateway that loads the filter as an image.
fn for_gateway_with_image(file: &str) -> Result<Vec<Value>> {
    let mut manifests = for_gateway()?;
    manifests.retain(|manifest| manifest["metadata"]["name"] != "wsbalancer");
    manifests.extend(documents(file)?);
    Ok(manifests)
}

fn for_client() -> Result<Vec<Value>> {
    documents("envoy/istio/sidecar.yaml")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_gateway_spreads_websockets_over_both_zones() -> Result<()> {
    assert_spreads(
        Shape::GATEWAY,
        Shape::GATEWAY.with(&for_gateway()?)?,
        Inbound::Sidecars,
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_gateway_spreads_websockets_over_mutual_tls() -> Result<()> {
    assert_spreads(
        Shape::MTLS,
        Shape::MTLS.with(&for_gateway()?)?,
        Inbound::StrictSidecars,
    )
    .await
}

/// The filter comes by itself then, first in the chain and without a `vm_id`.
#[tokio::test(flavor = "multi_thread")]
async fn a_wasm_plugin_spreads_websockets() -> Result<()> {
    let manifests = for_gateway_with_image("envoy/istio/wasmplugin.yaml")?;
    assert_spreads(
        Shape::GATEWAY,
        Shape::GATEWAY.with(&manifests)?,
        Inbound::Nothing,
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_traffic_extension_spreads_websockets() -> Result<()> {
    let manifests = for_gateway_with_image("envoy/istio/trafficextension.yaml")?;
    assert_spreads(
        Shape::GATEWAY,
        Shape::GATEWAY.with(&manifests)?,
        Inbound::Nothing,
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_of_gateway_api_spreads_websockets() -> Result<()> {
    let manifests = documents("envoy/istio/gateway-api.yaml")?;
    assert_spreads(
        Shape::GATEWAY_API,
        Shape::GATEWAY_API.with(&manifests)?,
        Inbound::Sidecars,
    )
    .await
}

/// As it is for the Service that is shipped: for a headless one Envoy would not take the filter's
/// patches.
#[tokio::test(flavor = "multi_thread")]
async fn a_clients_sidecar_spreads_websockets() -> Result<()> {
    let objects = documents("envoy/kubernetes/chat.yaml")?;
    let mut objects = objects.iter().filter(|object| object["kind"] == "Service");
    let service = objects.find(|service| service["metadata"]["name"] == "chat");
    assert_ne!(service.context("the Service")?["spec"]["clusterIP"], "None");
    assert_spreads(
        Shape::CLIENT,
        Shape::CLIENT.with(&for_client()?)?,
        Inbound::Nothing,
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_sidecar_with_interception_spreads_websockets() -> Result<()> {
    assert_spreads(
        Shape::CLIENT_REDIRECT,
        Shape::CLIENT_REDIRECT.with(&for_client()?)?,
        Inbound::Nothing,
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_traffic_distribution_is_spread_over_both_zones() -> Result<()> {
    let shape = Shape::TRAFFIC_DISTRIBUTION;
    assert_spreads(shape, shape.with(&for_gateway()?)?, Inbound::Nothing).await
}

/// A Service with another port, for the counts. Istio makes of it what it makes of the first.
#[tokio::test(flavor = "multi_thread")]
async fn counts_come_from_another_port_of_the_service() -> Result<()> {
    const COUNTS: [u64; PODS] = [0, 30, 60, 90];
    let at = |pod: usize, port: u16| format!("127.0.1.{}:{port}", pod + 1).parse();
    let mut exporters: Vec<Exporter> = Vec::new();
    for (pod, count) in COUNTS.into_iter().enumerate() {
        let port = exporters.first().map_or(0, |first| first.address().port());
        let answer = move |_: &str| ("200 OK".to_owned(), format!("open {count}\n"));
        exporters.push(Exporter::start(at(pod, port)?, answer).await?);
    }
    let port = exporters[0].address().port();
    let mut fleet = FleetConfig::local(PODS);
    for (pod, config) in fleet.pods.iter_mut().enumerate() {
        config.listen = at(pod, 0)?;
    }

    let mut resources = Shape::GATEWAY.before()?;
    for kind in [Kind::Clusters, Kind::Endpoints] {
        let first = resources.get(kind, CLUSTER)?.to_string();
        let other = first
            .replace("outbound|8080|", "outbound|9601|")
            .replace("\"port_value\":8080", &format!("\"port_value\":{port}"));
        resources.all(kind).push(serde_json::from_str(&other)?);
    }
    let mut manifests = for_gateway()?;
    let title = "As a further EnvoyFilter in Istio, where the counts are on port 9601";
    manifests.push(serde_saphyr::from_str(&markdown::snippet(title)?)?);
    apply(&Proxy::INGRESS_GATEWAY, &manifests, &mut resources)?;
    let title = "In the filter's configuration in Istio, where the counts are on port 9601";
    let filter: Value = serde_saphyr::from_str(&markdown::snippet(title)?)?;
    let mut metric = filter["metric"].clone();
    metric["port"] = port.into();
    metric["prometheus"] = "open".into();

    let change = |runnable| seldom(runnable).option("metric", metric);
    let mesh = Mesh::start_with(Shape::GATEWAY, resources, Inbound::Nothing, fleet, change).await?;
    mesh.stage.until_usable(PODS)?;
    let _held = mesh.open(180).await?;
    let opened: Vec<u64> = mesh.stage.pods().iter().map(Pod::open).collect();
    assert_eq!(opened, [90, 60, 30, 0]);
    assert!(mesh.stage.pods().iter().all(|pod| pod.polls() == 0));
    Ok(())
}

/// What a user's own outlier detection does, and what the tests above would see if the manifests had
/// one: Istio prefers the own zone then, and Envoy takes the ends of WebSockets for failures.
#[tokio::test(flavor = "multi_thread")]
async fn outlier_detection_keeps_to_one_zone_and_ejects_pods_whose_clients_left() -> Result<()> {
    let shape = Shape::OUTLIER_DETECTION;
    let mesh = Mesh::start(shape, shape.before()?, Inbound::Nothing, seldom).await?;
    mesh.stage.until_usable(PODS)?;
    let held = mesh.open(400).await?;
    assert_eq!(mesh.stage.counts(), [200, 200, 0, 0]);
    held.close().await;
    mesh.until_idle()?;
    let ejected = |host: &Value| host["health_status"]["failed_outlier_check"] == true;
    assert!(mesh.hosts()?.iter().any(ejected));
    Ok(())
}

/// The chain of a gateway with the cookie's filter: the names from the first of ours on.
fn chain(resources: &mut Resources, listener: &str) -> Result<Vec<String>> {
    let listener = resources.get(Kind::Listeners, listener)?;
    let manager = Resources::connection_managers(listener).next();
    let filters = manager.context("a manager")?["http_filters"].as_array();
    let names = filters.into_iter().flatten().map(name_of);
    let ours = names.skip_while(|name| !name.contains("wsbalancer"));
    Ok(ours.map(str::to_owned).collect())
}

/// However the filter is loaded, and whichever manifest was applied first.
#[test]
fn the_cookies_filter_stands_between_wsbalancer_and_the_router() -> Result<()> {
    let sessions = documents("envoy/istio/sessions.yaml")?;
    let with = |file: &str| for_gateway_with_image(&format!("envoy/istio/{file}.yaml"));
    for manifests in [
        for_gateway()?,
        with("wasmplugin")?,
        with("trafficextension")?,
    ] {
        for applied in [
            [manifests.clone(), sessions.clone()].concat(),
            [sessions.clone(), manifests].concat(),
        ] {
            let chain = chain(&mut Shape::GATEWAY.with(&applied)?, "0.0.0.0_8080")?;
            let [first, .., cookies, router] = &chain[..] else {
                panic!("{chain:?}");
            };
            assert_ne!(first, cookies);
            assert_eq!(cookies, "wsbalancer-sessions");
            assert_eq!(router, "envoy.filters.http.router");
        }
    }
    Ok(())
}

/// Manifests of the ingress gateway for the Gateway API's, as a comment in them says.
fn for_gateway_api(file: &str) -> Result<Vec<Value>> {
    let text = fs::read_to_string(Path::new(ROOT).join(file))?;
    let selector = "  workloadSelector:\n    labels: { istio: ingressgateway }\n";
    let text = text
        .replace(selector, "")
        .replace("# targetRefs: ", "targetRefs: ");
    let mut manifests: Vec<Value> = serde_saphyr::from_multiple(&text)?;
    for manifest in &mut manifests {
        manifest["metadata"]["namespace"] = "istio-ingress".into();
    }
    Ok(manifests)
}

/// With the options that the documentation has for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_carries_a_session_follows_its_cookie_and_what_opens_one_does_not() -> Result<()> {
    let options = markdown::snippet("In the filter's configuration, for Socket.IO")?;
    let options: Value = serde_saphyr::from_str(&options)?;
    let mut of_gateway = for_gateway_with_image("envoy/istio/wasmplugin.yaml")?;
    of_gateway.extend(documents("envoy/istio/sessions.yaml")?);
    let mut of_gateway_api = documents("envoy/istio/gateway-api.yaml")?;
    of_gateway_api.extend(for_gateway_api("envoy/istio/sessions.yaml")?);
    for (shape, manifests) in [
        (Shape::AMBIENT, of_gateway),
        (Shape::GATEWAY_API, of_gateway_api),
    ] {
        let resources = shape.with(&manifests)?;
        let change = |runnable| seldom(runnable).option("sessions", options["sessions"].clone());
        let pods = pods_for_sessions();
        let mesh = Mesh::start_with(shape, resources, Inbound::Nothing, pods, change).await?;
        let (reached, other) = opener_with_old_cookie(&mesh)?;
        assert_eq!(
            reached,
            mesh.stage.pods()[0].name(),
            "not {other}: {shape:?}"
        );
    }
    Ok(())
}

/// What every other test here relies on: the sidecars of the pods judge the `host` of a request.
#[tokio::test(flavor = "multi_thread")]
async fn the_sidecar_of_a_pod_refuses_a_host_that_http_does_not_allow() -> Result<()> {
    let fleet = Fleet::start(FleetConfig::local(1)).await?;
    let sidecars = block_in_place(|| Sidecars::plain(&addresses(&fleet)))?;
    let [sidecar] = sidecars.addresses() else {
        panic!("one pod");
    };
    for (host, status) in [
        ("outbound|8080||chat.default.svc.cluster.local", "400"),
        ("10.0.0.1:8080", "200"),
    ] {
        let answer = get(*sidecar, "/metric", &format!("host: {host}\r\n"))?;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{host}: {answer}");
    }
    Ok(())
}

/// The answer to a `GET` with these lines of a head, from its first line on.
fn get(address: SocketAddr, path: &str, head: &str) -> Result<String> {
    let mut server = TcpStream::connect(address)?;
    write!(
        server,
        "GET {path} HTTP/1.1\r\n{head}connection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    server.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Istio's retries never go where an attempt has been.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_the_mesh_that_dies_costs_no_client_anything() -> Result<()> {
    let shape = Shape::GATEWAY;
    let resources = shape.with(&for_gateway()?)?;
    let fleet = preloaded(PODS, &[0, 100]);
    let mesh = Mesh::start_with(shape, resources, Inbound::Nothing, fleet, seldom).await?;
    let stage = &mesh.stage;
    stage.until_usable(PODS)?;
    // No poll finds out before the handshakes do.
    stage.pods().first().context("a pod")?.refuse().await;
    let _held = mesh.open(60).await?;
    assert_eq!(stage.counts(), [0, 100, 60, 100]);
    assert!(stage.stat("upgrades_retried")? > 0);
    assert_eq!(stage.stat("upgrades_fallback")?, 0);
    Ok(())
}

/// On a listener of its own the gateway shows what the filter on another knows, and where clients
/// come in nothing: a question for it is a request like any other.
async fn assert_shows_status(manifests: &[Value]) -> Result<()> {
    let shape = Shape::GATEWAY;
    let resources = shape.with(manifests)?;
    let fleet = preloaded(PODS, &[30, 0]);
    let mesh = Mesh::start_with(shape, resources, Inbound::Nothing, fleet, seldom).await?;
    let stage = &mesh.stage;
    stage.until_usable(PODS)?;
    let status = get_json(&(stage.status_url_on("wsbalancer_status")? + "?format=json"))?;
    let service = &status["services"][0];
    assert_eq!(service["url"], CLUSTER);
    assert_eq!(service["connections"], 60);
    assert_eq!(service["podsUsable"], 4);
    assert_eq!(service["silentFor"], Value::Null);
    for path in ["/balancer-metrics", "/balancer-metrics?format=json"] {
        assert_eq!(mesh.ask(path, &[])?.seen.path, path);
    }
    doctor::until_found(&stage.envoy, &[])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_an_ingress_gateway_is_on_a_listener_of_its_own() -> Result<()> {
    let mut manifests = for_gateway()?;
    manifests.extend(documents("envoy/istio/status.yaml")?);
    assert_shows_status(&manifests).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_wasm_plugin_is_on_a_listener_of_its_own() -> Result<()> {
    let mut manifests = for_gateway_with_image("envoy/istio/wasmplugin.yaml")?;
    manifests.extend(documents("envoy/istio/status-image.yaml")?);
    assert_shows_status(&manifests).await
}

/// Takes the filter out of every chain, as if it had never been loaded.
fn without_filter(resources: &mut Resources) {
    for listener in resources.all(Kind::Listeners) {
        for manager in Resources::connection_managers(listener) {
            let is_other = |filter: &Value| !name_of(filter).contains("wsbalancer");
            if let Some(filters) = manager["http_filters"].as_array_mut() {
                filters.retain(is_other);
            }
        }
    }
}

/// Each listener takes the override header from a client, whether the filter is there or not.
#[tokio::test(flavor = "multi_thread")]
async fn no_client_chooses_its_pod_even_without_the_filter() -> Result<()> {
    for (shape, manifests) in [
        (Shape::GATEWAY, for_gateway()?),
        (
            Shape::GATEWAY_API,
            documents("envoy/istio/gateway-api.yaml")?,
        ),
        (Shape::CLIENT, for_client()?),
    ] {
        let mut resources = shape.with(&manifests)?;
        without_filter(&mut resources);
        let mesh = Mesh::start(shape, resources, Inbound::Nothing, |runnable| runnable).await?;
        let pod = mesh.stage.pods().first().context("a pod")?;
        let address = pod.address().to_string();
        let header = ("x-gateway-destination-endpoint", address.as_str());
        let mut names = Vec::new();
        for _ in 0..40 {
            let seen = mesh.ask("/", &[header])?.seen;
            assert!(!seen.headers.contains_key("x-gateway-destination-endpoint"));
            names.push(seen.pod_name);
        }
        assert!(
            names.iter().any(|name| name != pod.name()),
            "{shape:?}: {names:?}"
        );
    }
    Ok(())
}

/// Which of several hosts gives its name to a virtual host, and with which port, is Istio's affair.
#[test]
fn a_virtual_host_is_found_whatever_istio_calls_it() -> Result<()> {
    let mut resources = Shape::GATEWAY.before()?;
    let host = &mut resources.get(Kind::Routes, "http.8080")?["virtual_hosts"][0];
    host["name"] = "another.example.com:443".into();
    host["domains"] = json!(["another.example.com", "chat.example.com"]);
    let manifests = for_gateway()?;
    apply(&Proxy::INGRESS_GATEWAY, &manifests, &mut resources)?;
    let host = &resources.get(Kind::Routes, "http.8080")?["virtual_hosts"][0];
    assert_eq!(host["routes"][0]["route"]["timeout"], "30s");
    Ok(())
}
