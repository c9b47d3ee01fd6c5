//! Pods in ambient mode, which a gateway of Istio's knows as places inside its own Envoy.

use anyhow::{Context, Result};
use serde_json::Value;
use wsbalancer_e2e::addresses;
use wsbalancer_e2e::ask::get_json;
use wsbalancer_e2e::istio::{CLUSTER, documents};
use wsbalancer_e2e::mesh::{Inbound, Mesh, PODS, Shape, assert_spreads, seldom};

const SHAPE: Shape = Shape::AMBIENT;

#[tokio::test(flavor = "multi_thread")]
async fn pods_in_ambient_mode_get_their_part() -> Result<()> {
    let manifests = documents("envoy/istio/gateway.yaml")?;
    assert_spreads(SHAPE, SHAPE.with(&manifests)?, Inbound::Nothing).await
}

/// People know such a pod by its address.
#[tokio::test(flavor = "multi_thread")]
async fn pods_in_ambient_mode_are_shown_by_their_addresses() -> Result<()> {
    let mut manifests = documents("envoy/istio/gateway.yaml")?;
    manifests.extend(documents("envoy/istio/status.yaml")?);
    let mesh = Mesh::start(SHAPE, SHAPE.with(&manifests)?, Inbound::Nothing, seldom).await?;
    mesh.stage.until_usable(PODS)?;
    for host in mesh.hosts()? {
        let inside = &host["address"]["envoy_internal_address"];
        assert_eq!(inside["server_listener_name"], "connect_originate");
    }
    let status = get_json(&(mesh.stage.status_url_on("wsbalancer_status")? + "?format=json"))?;
    let pods = status["podMetrics"][CLUSTER].as_array().context("pods")?;
    let address = |pod: &Value| pod["address"].as_str().map(str::to_owned);
    let mut shown: Vec<String> = pods.iter().filter_map(address).collect();
    let listening = addresses(&mesh.stage.fleet);
    let mut expected: Vec<String> = listening.iter().map(ToString::to_string).collect();
    shown.sort();
    expected.sort();
    assert_eq!(shown, expected);
    Ok(())
}
