//! Under which names Prometheus sees the filter's statistics, behind each control plane.

use anyhow::Result;
use tokio::task::block_in_place;
use wsbalancer_backend::FleetConfig;
use wsbalancer_e2e::Stage;
use wsbalancer_e2e::istio::documents;
use wsbalancer_e2e::mesh::{Inbound, Mesh, PODS, Shape, seldom};

/// The names of the filter's statistics and their labels, of which there is one for each end here.
fn series(stage: &Stage) -> Result<Vec<String>> {
    const SOME: [&str; 3] = ["_pods_usable{", "_polls_ok{", "_upgrades_balanced{"];
    let text = block_in_place(|| stage.envoy.admin_get("/stats/prometheus?filter=wsbalancer"))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let some = lines.filter(|line| SOME.iter().any(|end| line.contains(end)));
    let names = some.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

async fn behind(shape: Shape, manifests: &[&str]) -> Result<Vec<String>> {
    let mut documents_of_all = Vec::new();
    for file in manifests {
        documents_of_all.extend(documents(file)?);
    }
    let resources = shape.with(&documents_of_all)?;
    let mesh = Mesh::start(shape, resources, Inbound::Nothing, seldom).await?;
    mesh.stage.until_usable(PODS)?;
    series(&mesh.stage)
}

/// The sample has a regular expression that makes a label of the service.
#[tokio::test(flavor = "multi_thread")]
async fn plain_envoy_has_the_service_as_a_label() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(1), wsbalancer_e2e::seldom).await?;
    stage.until_usable(1)?;
    assert_eq!(
        series(&stage)?,
        [
            "wsbalancer_pods_usable{service=\"chat\"}",
            "wsbalancer_polls_ok{service=\"chat\"}",
            "wsbalancer_upgrades_balanced{service=\"chat\"}",
        ]
    );
    Ok(())
}

/// With the bootstrap of Istio's agent, whose list of statistics to keep has `wasm`.
#[tokio::test(flavor = "multi_thread")]
async fn istio_has_the_service_in_the_name() -> Result<()> {
    assert_eq!(
        behind(Shape::GATEWAY, &["envoy/istio/gateway.yaml"]).await?,
        [
            "wsbalancer_outbound_8080__chat_default_svc_cluster_local_pods_usable{}",
            "wsbalancer_outbound_8080__chat_default_svc_cluster_local_polls_ok{}",
            "wsbalancer_outbound_8080__chat_default_svc_cluster_local_upgrades_balanced{}",
        ]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_gateway_has_the_service_in_the_name() -> Result<()> {
    assert_eq!(
        behind(Shape::ENVOY_GATEWAY, &[]).await?,
        [
            "wsbalancer_httproute_default_chat_rule_0_pods_usable{}",
            "wsbalancer_httproute_default_chat_rule_0_polls_ok{}",
            "wsbalancer_httproute_default_chat_rule_0_upgrades_balanced{}",
        ]
    );
    Ok(())
}
