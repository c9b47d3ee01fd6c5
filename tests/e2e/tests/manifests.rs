//! The manifests are what Kubernetes and Istio take, as far as their schemas can be had here, and
//! what stands in them of the filter's is what the filter takes.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kcr_extensions_istio_io::v1alpha1::wasmplugins::WasmPlugin;
use kcr_networking_istio_io::v1::destinationrules::DestinationRule;
use kcr_networking_istio_io::v1alpha3::envoyfilters::EnvoyFilter;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wsbalancer_e2e::istio::documents;
use wsbalancer_e2e::{ROOT, Stage, assert_all_well, every, preloaded};

const MANIFESTS: [&str; 8] = [
    "envoy/istio/gateway.yaml",
    "envoy/istio/sidecar.yaml",
    "envoy/istio/status.yaml",
    "envoy/istio/wasmplugin.yaml",
    "envoy/istio/trafficextension.yaml",
    "envoy/kubernetes/chat.yaml",
    "envoy/kubernetes/envoy.yaml",
    "envoy/envoy-gateway/wsbalancer.yaml",
];

/// Reads the manifest as its type, and refuses what the type has no field for. Of which type it
/// says it is, the caller knows.
fn check<T: DeserializeOwned>(manifest: &Value) -> Result<()> {
    let mut fields = manifest.as_object().context("no object")?.clone();
    fields.retain(|field, _value| field != "apiVersion" && field != "kind");
    let mut unknown = Vec::new();
    let _manifest: T = serde_ignored::deserialize(Value::Object(fields), |path| {
        unknown.push(path.to_string());
    })?;
    ensure!(unknown.is_empty(), "no such fields: {unknown:?}");
    Ok(())
}

/// A `TrafficExtension` as the `WasmPlugin` that it would be: the new API has the old one's fields,
/// those of the module a level deeper.
fn as_wasm_plugin(extension: &Value) -> Result<Value> {
    let mut plugin = extension.clone();
    let spec = plugin["spec"].as_object_mut().context("no spec")?;
    let wasm = spec.remove("wasm").context("no wasm")?;
    spec.extend(wasm.as_object().context("wasm")?.clone());
    Ok(plugin)
}

#[test]
fn the_manifests_are_as_their_schemas_want_them() -> Result<()> {
    for file in MANIFESTS {
        for manifest in documents(file)? {
            let text = |field| manifest[field].as_str().unwrap_or_default();
            let (version, kind) = (text("apiVersion"), text("kind"));
            let checked = match (version, kind) {
                ("apps/v1", "Deployment") => check::<Deployment>(&manifest),
                ("v1", "Service") => check::<Service>(&manifest),
                ("networking.istio.io/v1alpha3", "EnvoyFilter") => check::<EnvoyFilter>(&manifest),
                ("networking.istio.io/v1", "DestinationRule") => {
                    check::<DestinationRule>(&manifest)
                }
                ("extensions.istio.io/v1alpha1", "WasmPlugin") => check::<WasmPlugin>(&manifest),
                ("extensions.istio.io/v1alpha1", "TrafficExtension") => {
                    check::<WasmPlugin>(&as_wasm_plugin(&manifest)?)
                }
                // No package registry has the schemas of Envoy Gateway.
                ("gateway.envoyproxy.io/v1alpha1", _) => Ok(()),
                _ => bail!("{file}: what is {version} {kind}?"),
            };
            checked.with_context(|| format!("{file}: {kind}"))?;
        }
    }
    for patch in ["gateway-patch", "sidecar-patch"] {
        for manifest in documents(&format!("envoy/istio/{patch}.yaml"))? {
            check::<Deployment>(&manifest).with_context(|| patch.to_owned())?;
        }
    }
    Ok(())
}

#[test]
fn a_field_that_no_schema_has_is_found() {
    let manifest = json!({
        "metadata": { "name": "a" },
        "spec": { "replica": 1, "selector": {}, "template": {} },
    });
    let error = check::<Deployment>(&manifest).unwrap_err();
    assert!(error.to_string().contains("replica"), "{error}");
}

/// Every manifest is tested, and no other.
#[test]
fn no_manifest_is_forgotten() -> Result<()> {
    for folder in ["istio", "envoy-gateway", "kubernetes"] {
        for entry in Path::new(ROOT).join("envoy").join(folder).read_dir()? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let file = format!("envoy/{folder}/{name}");
            let known = MANIFESTS.contains(&file.as_str()) || name.ends_with("-patch.yaml");
            assert!(known, "{file}");
        }
    }
    Ok(())
}

/// What the policies have of the filter's and of the cluster's, under the names that Envoy Gateway
/// gives to clusters.
#[tokio::test(flavor = "multi_thread")]
async fn the_policies_for_envoy_gateway_balance() -> Result<()> {
    let policies = documents("envoy/envoy-gateway/wsbalancer.yaml")?;
    let of_kind = |kind: &str| {
        let mut policies = policies.iter();
        let policy = policies.find(|policy| policy["kind"] == kind);
        policy.map(|policy| &policy["spec"]).context("no policy")
    };
    let config = &of_kind("EnvoyExtensionPolicy")?["wasm"][0]["config"];
    let traffic = of_kind("BackendTrafficPolicy")?;
    let stage = Stage::start(preloaded(4, &[30, 0]), |mut sample| {
        let cluster = "httproute/default/chat/rule/0";
        sample.cluster()["name"] = cluster.into();
        sample.route()["cluster"] = cluster.into();
        sample.route()["retry_policy"]["num_retries"] = traffic["retry"]["numRetries"].clone();
        let policy = &mut sample.cluster()["load_balancing_policy"]["policies"][0];
        policy["typed_extension_config"]["typed_config"]["override_host_sources"] =
            traffic["loadBalancer"]["endpointOverride"]["extractFrom"].clone();
        *sample.plugin_configuration() = config.clone();
        every(60_000)(sample).edit(|configuration| {
            let clusters = configuration["static_resources"]["clusters"].as_array_mut();
            for cluster in clusters.into_iter().flatten() {
                if cluster["name"] == "envoy_admin" {
                    cluster["name"] = "prometheus_stats".into();
                }
            }
        })
    })
    .await?;
    stage.until_usable(4)?;
    let held = stage.load(100, 0)?.open().await;
    assert_all_well(&held.report());
    assert_eq!(stage.counts(), [40; 4]);
    Ok(())
}
