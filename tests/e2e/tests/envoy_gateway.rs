//! What Envoy Gateway makes of its policies balances: the filter stands in the chain switched off,
//! and is switched on by the route.

use anyhow::{Context, Result};
use serde_json::Value;
use wsbalancer_e2e::ask::{get, get_json};
use wsbalancer_e2e::doctor;
use wsbalancer_e2e::envoy_gateway::{LISTENER, keep_sessions, order_filters};
use wsbalancer_e2e::istio::documents;
use wsbalancer_e2e::mesh::{
    Inbound, Mesh, PODS, Shape, assert_spreads, opener_with_old_cookie, pods_for_sessions, seldom,
};
use wsbalancer_e2e::resources::{Kind, Resources};
use wsbalancer_e2e::{markdown, preloaded};

const SHAPE: Shape = Shape::ENVOY_GATEWAY;
const FILTER: &str = "envoy.filters.http.wasm//default/wsbalancer/wasm/0";

/// What was recorded, but with the filter's configuration as it is shipped.
fn recorded() -> Result<Resources> {
    let mut resources = SHAPE.before()?;
    let policies = documents("envoy/envoy-gateway/wsbalancer.yaml")?;
    let mut policies = policies.iter();
    let policy = policies.find(|policy| policy["kind"] == "EnvoyExtensionPolicy");
    let config = &policy.context("a policy")?["spec"]["wasm"][0]["config"];
    let listener = resources.get(Kind::Listeners, LISTENER)?;
    let manager = Resources::connection_managers(listener).next();
    let filter = &mut manager.context("a connection manager")?["http_filters"][0];
    assert_eq!(filter["name"], FILTER);
    assert_eq!(filter["disabled"], true);
    filter["typed_config"]["config"]["configuration"]["value"] = config.to_string().into();
    Ok(resources)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_its_route_switches_on_spreads_websockets() -> Result<()> {
    assert_spreads(SHAPE, recorded()?, Inbound::Nothing).await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_route_that_does_not_switch_it_on_the_filter_does_nothing() -> Result<()> {
    let mut resources = recorded()?;
    let routes = resources.get(Kind::Routes, LISTENER)?;
    let route = routes.pointer_mut("/virtual_hosts/0/routes/0");
    let fields = route.and_then(Value::as_object_mut).context("a route")?;
    let switch = fields.remove("typed_per_filter_config");
    assert!(switch.is_some_and(|switch| switch.get(FILTER).is_some()));
    let mesh = Mesh::start(SHAPE, resources, Inbound::Nothing, seldom).await?;
    mesh.stage.until_usable(PODS)?;
    let _held = mesh.open(20).await?;
    for upgrades in ["upgrades_balanced", "upgrades_fallback"] {
        assert_eq!(mesh.stage.stat(upgrades)?, 0, "{upgrades}");
    }
    Ok(())
}

/// What was recorded, with sessions as the shipped `HTTPRoute` has them.
fn with_sessions() -> Result<Resources> {
    let mut resources = recorded()?;
    let routes = documents("envoy/envoy-gateway/sessions.yaml")?;
    keep_sessions(routes.first().context("an HTTPRoute")?, &mut resources)?;
    Ok(resources)
}

/// Where an opener goes that has the cookie of a session on another pod.
struct Reached {
    pod: String,
    other: String,
    fewest: String,
    mismatched: u64,
}

async fn reached_with_old_cookie(resources: Resources) -> Result<Reached> {
    let options = markdown::snippet("In the filter's configuration, for Socket.IO")?;
    let options: Value = serde_saphyr::from_str(&options)?;
    let change = |runnable| seldom(runnable).option("sessions", options["sessions"].clone());
    let pods = pods_for_sessions();
    let mesh = Mesh::start_with(SHAPE, resources, Inbound::Nothing, pods, change).await?;
    let (pod, other) = opener_with_old_cookie(&mesh)?;
    let fewest = mesh.stage.pods().first().context("a pod")?.name();
    Ok(Reached {
        pod,
        other,
        fewest: fewest.to_owned(),
        mismatched: mesh.stage.stat("upgrades_mismatched")?,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_filter_order_has_the_cookie_read_behind_the_filter() -> Result<()> {
    let mut resources = with_sessions()?;
    let proxies = documents("envoy/envoy-gateway/envoyproxy.yaml")?;
    order_filters(proxies.first().context("an EnvoyProxy")?, &mut resources)?;
    let reached = reached_with_old_cookie(resources).await?;
    assert_eq!(reached.pod, reached.fewest);
    assert_eq!(reached.mismatched, 0);
    Ok(())
}

/// Why the documentation wants the `filterOrder`.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_filter_order_the_old_cookie_wins() -> Result<()> {
    let reached = reached_with_old_cookie(with_sessions()?).await?;
    assert_ne!(reached.fewest, reached.other);
    assert_eq!(reached.pod, reached.other);
    assert_eq!(reached.mismatched, 1);
    Ok(())
}

/// By the policy that is shipped for it, and with the `vm_id` that Envoy Gateway gives.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_is_on_a_listener_of_its_own() -> Result<()> {
    let mut resources = recorded()?;
    for policy in documents("envoy/envoy-gateway/status.yaml")? {
        let patches = policy["spec"]["jsonPatches"].as_array();
        for patch in patches.context("patches")? {
            assert_eq!(patch["operation"]["op"], "add");
            assert_eq!(patch["operation"]["path"], "");
            let listener = patch["operation"]["value"].clone();
            resources.all(Kind::Listeners).push(listener);
        }
    }
    let fleet = preloaded(PODS, &[30, 0]);
    let mesh = Mesh::start_with(SHAPE, resources, Inbound::Nothing, fleet, seldom).await?;
    let stage = &mesh.stage;
    stage.until_usable(PODS)?;
    let status = get_json(&(stage.status_url_on("wsbalancer_status")? + "?format=json"))?;
    let service = &status["services"][0];
    assert_eq!(service["url"], "httproute/default/chat/rule/0");
    assert_eq!(service["connections"], 60);
    assert_eq!(service["podsUsable"], 4);
    let public = format!("http://{}/balancer-metrics", stage.envoy.address());
    let answer: Value = serde_json::from_str(&get(&public)?)?;
    assert_eq!(answer["path"], "/balancer-metrics", "a pod has got it");
    // The recording is older than the policy that takes the override header from clients.
    doctor::until_found(&stage.envoy, &["header"])?;
    Ok(())
}
