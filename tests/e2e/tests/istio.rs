//! The manifests for Istio, applied to an Envoy shaped as Istio makes it, balance over mTLS.

use anyhow::{Context, Result};
use rcgen::SanType;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use wsbalancer_backend::{Fleet, FleetConfig};
use wsbalancer_e2e::ask::get_json;
use wsbalancer_e2e::authority::Authority;
use wsbalancer_e2e::eds::{EdsFile, Endpoint};
use wsbalancer_e2e::istio::{self, PatchContext};
use wsbalancer_e2e::{
    Stage, addresses, assert_all_well, assert_skewed_pods_even_out, every, preloaded,
};
use wsbalancer_harness::{Envoy, Sample};

/// Pods in a mesh, and an Envoy of the mesh before them.
struct Mesh {
    stage: Stage,
    _eds: EdsFile,
}

impl Mesh {
    /// The pods take only clients with a certificate of the mesh.
    async fn start(
        mut fleet: FleetConfig,
        mut bootstrap: Value,
        change: impl FnOnce(Sample) -> Sample,
    ) -> Result<Self> {
        let authority = Authority::new()?;
        let identity = |account: &str| {
            let name = format!("spiffe://cluster.local/ns/{account}");
            authority.vouch(SanType::URI(name.try_into()?))
        };
        for pod in &mut fleet.pods {
            let mut tls = identity("default/sa/chat")?;
            tls.client_authorities = Some(authority.pem());
            pod.tls = Some(tls);
        }
        let own = identity("istio-system/sa/istio-ingressgateway")?;
        let tls = istio::cluster(&mut bootstrap)?
            .pointer_mut(
                "/transport_socket_matches/0/transport_socket/typed_config/common_tls_context",
            )
            .context("the cluster's mTLS")?;
        tls["tls_certificates"] = json!([{
            "certificate_chain": { "inline_string": own.certificates },
            "private_key": { "inline_string": own.key },
        }]);
        tls["validation_context"]["trusted_ca"] = json!({ "inline_string": authority.pem() });

        let fleet = Fleet::start(fleet).await?;
        let endpoints: Vec<Endpoint> = addresses(&fleet)
            .into_iter()
            .map(|address| {
                let mode = json!({ "tlsMode": "istio" });
                Endpoint::new(address).metadata("envoy.transport_socket_match", &mode)
            })
            .collect();
        let sample = Sample::parse(&bootstrap.to_string())?.ready_to_run();
        let (eds, sample) = EdsFile::feed(change(sample), &endpoints)?;
        let envoy = block_in_place(|| Envoy::start(&sample))?;
        let stage = Stage { fleet, envoy };
        Ok(Self { stage, _eds: eds })
    }
}

/// Such an Envoy's configuration with a manifest's `EnvoyFilter`s applied.
fn patched(context: PatchContext, manifest: &str, deployment: &str) -> Result<Value> {
    let mut bootstrap = istio::bootstrap(context)?;
    for document in istio::documents(manifest)? {
        if document["kind"] == "EnvoyFilter" {
            istio::apply(context, &document, &mut bootstrap)?;
        }
    }
    let deployment = istio::documents(deployment)?;
    istio::let_statistics_through(&mut bootstrap, deployment.first().context("a patch")?)?;
    Ok(bootstrap)
}

fn gateway() -> Result<Value> {
    patched(
        PatchContext::Gateway,
        "envoy/istio/gateway.yaml",
        "envoy/istio/gateway-patch.yaml",
    )
}

fn sidecar() -> Result<Value> {
    patched(
        PatchContext::SidecarOutbound,
        "envoy/istio/sidecar.yaml",
        "envoy/istio/sidecar-patch.yaml",
    )
}

async fn skewed_pods_even_out(bootstrap: Value) -> Result<()> {
    let Mesh { stage, _eds } =
        Mesh::start(preloaded(8, &[500, 0]), bootstrap, |sample| sample).await?;
    assert_skewed_pods_even_out(&stage).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_behind_an_ingress_gateway_even_out() -> Result<()> {
    skewed_pods_even_out(gateway()?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_behind_a_sidecar_even_out() -> Result<()> {
    skewed_pods_even_out(sidecar()?).await
}

/// On a listener of its own the gateway shows what the filter on another knows.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_an_ingress_gateway_is_true() -> Result<()> {
    let mut bootstrap = gateway()?;
    for document in istio::documents("envoy/istio/status.yaml")? {
        istio::apply(PatchContext::Gateway, &document, &mut bootstrap)?;
    }
    let Mesh { stage, _eds } =
        Mesh::start(preloaded(4, &[30, 0]), bootstrap, every(60_000)).await?;
    stage.until_usable(4)?;
    let status = get_json(&(stage.status_url_on("wsbalancer_status")? + "?format=json"))?;
    let service = &status["services"][0];
    assert_eq!(
        service["url"],
        "outbound|8080||chat.default.svc.cluster.local"
    );
    assert_eq!(service["connections"], 60);
    assert_eq!(service["podsUsable"], 4);
    Ok(())
}

/// Istio's retries never go where an attempt has been.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_the_mesh_that_dies_costs_no_client_anything() -> Result<()> {
    // No poll finds out before the handshakes do.
    let Mesh { stage, _eds } =
        Mesh::start(preloaded(4, &[0, 100]), gateway()?, every(60_000)).await?;
    stage.until_usable(4)?;
    let dying = stage.pods().first().context("a pod")?;
    dying.refuse().await;
    let held = stage.load(60, 0)?.open().await;
    assert_all_well(&held.report());
    assert_eq!(stage.counts(), [0, 100, 60, 100]);
    assert!(stage.stat("upgrades_retried")? > 0);
    assert_eq!(stage.stat("upgrades_fallback")?, 0);
    Ok(())
}

/// As a `WasmPlugin` or a `TrafficExtension` the filter does as it does in an `EnvoyFilter`.
#[tokio::test(flavor = "multi_thread")]
async fn the_other_two_ways_to_load_the_filter_balance() -> Result<()> {
    for file in ["wasmplugin", "trafficextension"] {
        let mut bootstrap = istio::bootstrap(PatchContext::Gateway)?;
        for document in istio::documents("envoy/istio/gateway.yaml")? {
            if document["metadata"]["name"] == "wsbalancer-upstream" {
                istio::apply(PatchContext::Gateway, &document, &mut bootstrap)?;
            }
        }
        let deployment = istio::documents("envoy/istio/gateway-patch.yaml")?;
        istio::let_statistics_through(&mut bootstrap, deployment.first().context("a patch")?)?;
        for document in istio::documents(&format!("envoy/istio/{file}.yaml"))? {
            istio::apply_extension(&document, &mut bootstrap)?;
        }
        let Mesh { stage, _eds } =
            Mesh::start(preloaded(4, &[30, 0]), bootstrap, every(60_000)).await?;
        stage.until_usable(4)?;
        let held = stage.load(100, 0)?.open().await;
        assert_all_well(&held.report());
        assert_eq!(stage.counts(), [40; 4], "{file}");
    }
    Ok(())
}
