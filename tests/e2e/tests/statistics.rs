//! Under which names Envoy's own statistics are seen, behind each control plane, and that the status has
//! the same values under the same names everywhere.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use wsbalancer_backend::FleetConfig;
use wsbalancer_e2e::ask::{get, get_json};
use wsbalancer_e2e::doctor;
use wsbalancer_e2e::istio::documents;
use wsbalancer_e2e::mesh::{Inbound, Mesh, PODS, Shape, seldom};
use wsbalancer_e2e::{PATIENCE, ROOT, Stage, assert_all_well};
use wsbalancer_harness::wait_until;

/// The documentation has these names, as far as it gives examples.
fn assert_documented(series: &[String]) -> Result<()> {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/operations.md"))?;
    let mut balanced = series
        .iter()
        .filter(|name| name.contains("upgrades_balanced"));
    let name = balanced.next().context("a counter of upgrades")?;
    assert!(page.contains(&format!(" | `{name}` |")), "{name}");
    Ok(())
}

/// The names of the filter's statistics and their labels, of which there is one for each end here.
fn series(stage: &Stage) -> Result<Vec<String>> {
    const SOME: [&str; 3] = ["_pods_usable{", "_polls_ok{", "_upgrades_balanced{"];
    let text = block_in_place(|| stage.envoy.admin_get("/stats/prometheus?filter=wsbalancer"))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let some = lines.filter(|line| SOME.iter().any(|end| line.contains(end)));
    let names = some.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort();
    assert_documented(&names)?;
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

/// Without it the service is a part of the name.
#[tokio::test(flavor = "multi_thread")]
async fn plain_envoy_without_tags_has_the_service_in_the_name() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(1), |sample| {
        wsbalancer_e2e::seldom(sample).edit(|configuration| {
            let fields = configuration.as_object_mut();
            let tags = fields.and_then(|fields| fields.remove("stats_config"));
            assert!(tags.is_some(), "the sample has tags");
        })
    })
    .await?;
    stage.until_usable(1)?;
    assert_eq!(
        series(&stage)?,
        [
            "wsbalancer_chat_pods_usable{}",
            "wsbalancer_chat_polls_ok{}",
            "wsbalancer_chat_upgrades_balanced{}",
        ]
    );
    Ok(())
}

fn service(stage: &Stage) -> Result<Value> {
    let status = get_json(&(stage.status_url()? + "?format=json"))?;
    Ok(status["services"][0].clone())
}

/// In JSON and in Prometheus' format, whichever worker is asked.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_has_envoys_counters() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(2), wsbalancer_e2e::seldom).await?;
    stage.until_usable(2)?;
    let held = stage.load(30, 0)?.open().await;
    assert_all_well(&held.report());
    stage.until_stat("upgrades_balanced", |count| count == 30)?;
    let shown = service(&stage)?["statistics"].clone();
    let shown = shown.as_object().context("statistics")?;
    assert_eq!(shown["upgrades_balanced"], 30);
    assert_eq!(shown["polls_ok"], 2);
    for (name, value) in shown {
        assert_eq!(*value, stage.stat(name)?, "{name}");
    }
    let series = get(&(stage.status_url()? + "?format=prometheus"))?;
    let balanced = "wsbalancer_upgrades_total{service=\"chat\",result=\"balanced\"} 30";
    assert!(series.lines().any(|line| line == balanced), "{series}");
    Ok(())
}

/// All else is there, for it does not come from Envoy.
#[tokio::test(flavor = "multi_thread")]
async fn where_envoy_keeps_no_counters_the_status_has_none() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(1), |sample| {
        wsbalancer_e2e::seldom(sample).edit(|configuration| {
            configuration["stats_config"]["stats_matcher"] =
                json!({ "exclusion_list": { "patterns": [{ "prefix": "wasmcustom" }] } });
        })
    })
    .await?;
    let usable = || (service(&stage).ok()?["podsUsable"] == 1).then_some(());
    block_in_place(|| wait_until("a usable pod", PATIENCE, usable))?;
    let held = stage.load(5, 0)?.open().await;
    assert_all_well(&held.report());
    // What is open, and how often, is told with each worker's next tick.
    let open = || {
        service(&stage)
            .ok()
            .filter(|service| service["ownConnections"] == 5)
    };
    let shown = block_in_place(|| wait_until("five WebSockets", PATIENCE, open))?;
    assert_eq!(shown["statistics"]["upgrades_balanced"], 0);
    let found = doctor::until_found(&stage.envoy, &["alerts"])?;
    assert!(found[0].what.contains("statistics are kept"), "{found:#?}");
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
