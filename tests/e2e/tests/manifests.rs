//! The manifests are what Kubernetes and Istio take, as far as their schemas can be had here, and
//! what stands in them of the filter's is what the filter takes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kcr_extensions_istio_io::v1alpha1::wasmplugins::WasmPlugin;
use kcr_keda_sh::v1alpha1::scaledobjects::ScaledObject;
use kcr_monitoring_coreos_com::v1::podmonitors::PodMonitor;
use kcr_monitoring_coreos_com::v1::prometheusrules::PrometheusRule;
use kcr_networking_istio_io::v1::destinationrules::DestinationRule;
use kcr_networking_istio_io::v1alpha3::envoyfilters::EnvoyFilter;
use kcr_security_istio_io::v1::authorizationpolicies::AuthorizationPolicy;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wsbalancer_cli::render::{File, Short, Target, render};
use wsbalancer_e2e::ask::{get, get_json};
use wsbalancer_e2e::istio::documents;
use wsbalancer_e2e::{ROOT, Stage, assert_all_well, every, preloaded};
use wsbalancer_harness::{Envoy, Sample};

/// For `kubectl apply`.
const MANIFESTS: [&str; 19] = [
    "envoy/autoscaling/hpa.yaml",
    "envoy/autoscaling/keda.yaml",
    "envoy/istio/gateway.yaml",
    "envoy/istio/gateway-api.yaml",
    "envoy/istio/podmonitor.yaml",
    "envoy/istio/sessions.yaml",
    "envoy/istio/sidecar.yaml",
    "envoy/istio/status.yaml",
    "envoy/istio/status-image.yaml",
    "envoy/istio/wasmplugin.yaml",
    "envoy/istio/trafficextension.yaml",
    "envoy/kubernetes/chat.yaml",
    "envoy/kubernetes/envoy.yaml",
    "envoy/kubernetes/podmonitor.yaml",
    "envoy/envoy-gateway/envoyproxy.yaml",
    "envoy/envoy-gateway/podmonitor.yaml",
    "envoy/envoy-gateway/sessions.yaml",
    "envoy/envoy-gateway/status.yaml",
    "envoy/envoy-gateway/wsbalancer.yaml",
];

/// For `kubectl patch` of a Deployment.
const PATCHES: [&str; 2] = [
    "envoy/istio/gateway-patch.yaml",
    "envoy/istio/sidecar-patch.yaml",
];

/// For Envoy itself.
const CONFIGURATIONS: [&str; 3] = ["envoy/envoy.yaml", "envoy/dns.yaml", "envoy/socketio.yaml"];

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

/// The manifest that a file's last comment holds, after `# ---`.
fn commented(file: &str) -> Result<Value> {
    let text = fs::read_to_string(Path::new(ROOT).join(file))?;
    let (_, comment) = text.split_once("\n# ---\n").context("no such comment")?;
    let lines: Vec<&str> = comment
        .lines()
        .map(|line| line.strip_prefix("# ").context("the comment ends early"))
        .collect::<Result<_>>()?;
    Ok(serde_saphyr::from_str(&lines.join("\n"))?)
}

/// Compares a manifest with its schema, where there is one.
pub(crate) fn check_manifest(manifest: &Value) -> Result<()> {
    let text = |field| manifest[field].as_str().unwrap_or_default();
    match (text("apiVersion"), text("kind")) {
        ("apps/v1", "Deployment") => check::<Deployment>(manifest),
        ("autoscaling/v2", "HorizontalPodAutoscaler") => check::<HorizontalPodAutoscaler>(manifest),
        ("keda.sh/v1alpha1", "ScaledObject") => check::<ScaledObject>(manifest),
        ("v1", "Service") => check::<Service>(manifest),
        ("v1", "ConfigMap") => check::<ConfigMap>(manifest),
        ("networking.k8s.io/v1", "NetworkPolicy") => check::<NetworkPolicy>(manifest),
        ("monitoring.coreos.com/v1", "PodMonitor") => check::<PodMonitor>(manifest),
        ("monitoring.coreos.com/v1", "PrometheusRule") => check::<PrometheusRule>(manifest),
        ("networking.istio.io/v1alpha3", "EnvoyFilter") => check::<EnvoyFilter>(manifest),
        ("networking.istio.io/v1", "DestinationRule") => check::<DestinationRule>(manifest),
        ("security.istio.io/v1", "AuthorizationPolicy") => check::<AuthorizationPolicy>(manifest),
        ("extensions.istio.io/v1alpha1", "WasmPlugin") => check::<WasmPlugin>(manifest),
        ("extensions.istio.io/v1alpha1", "TrafficExtension") => {
            check::<WasmPlugin>(&as_wasm_plugin(manifest)?)
        }
        // No package registry has the schemas of Envoy Gateway, nor the part of the Gateway API's that
        // is experimental.
        ("gateway.envoyproxy.io/v1alpha1", _) | ("gateway.networking.k8s.io/v1", "HTTPRoute") => {
            Ok(())
        }
        (version, kind) => bail!("what is {version} {kind}?"),
    }
}

#[test]
fn the_manifests_are_as_their_schemas_want_them() -> Result<()> {
    for file in MANIFESTS {
        for manifest in documents(file)? {
            check_manifest(&manifest).with_context(|| format!("{file}: {}", manifest["kind"]))?;
        }
    }
    for file in PATCHES {
        for manifest in documents(file)? {
            check::<Deployment>(&manifest).with_context(|| file.to_owned())?;
        }
    }
    Ok(())
}

/// Short files that use what the samples don't: TLS, origins, sessions, other names and times.
const SHORT_FILES: [&str; 3] = [
    "
name: agents
host: agents.example.org
services: [\"https://agents.chat.svc.cluster.local:8443\"]
tlsVerify: false
dialTimeout: 250ms
readTimeout: 5
cacheTTL: 45
metricPath: /count
balancerMetricPath: /balance
allowedOrigins: [\"https://*.example.org\"]
debugHeaders: true
",
    "
services: [\"https://agents.chat:8443\"]
writeTimeout: 1500ms
slowStart: { window: 10s }
rebalance: { threshold: 1.5 }
sessions: { openedBy: [{ pathPrefix: /io/ }], carriedBy: [{ query: sid }], keptBy: { cookie: pod } }
",
    // As the Traefik plugin has it in a Middleware.
    "
apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata: { name: agents }
spec:
  plugin:
    traefikwsbalancer:
      metricPath: /metric
      balancerMetricPath: /balance
      services: [\"http://agents.chat.svc.cluster.local:80\"]
      cacheTTL: 30
      enableIPScanning: true
",
];

fn rendered(short: &str, target: Target) -> Result<Vec<File>> {
    Ok(render(&Short::parse(short)?, target)?.files)
}

#[test]
fn what_is_rendered_is_as_the_schemas_want_it() -> Result<()> {
    for short in SHORT_FILES {
        for target in [Target::Istio, Target::EnvoyGateway, Target::Kubernetes] {
            for file in rendered(short, target)? {
                let manifests: Vec<Value> = serde_saphyr::from_multiple(&file.text)?;
                for manifest in manifests {
                    let checked = match file.name {
                        "envoy.yaml" => Ok(()),
                        name if name.ends_with("-patch.yaml") => check::<Deployment>(&manifest),
                        _ => check_manifest(&manifest),
                    };
                    checked.with_context(|| format!("{}: {}", file.name, manifest["kind"]))?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_rendered_for_envoy_is_taken_by_it() -> Result<()> {
    let module = Path::new(ROOT).join("target/wsbalancer.wasm");
    let module = module.to_str().context("a path")?;
    let pods = "pods: [\"https://10.0.0.1:8443\", \"https://[fd00::1]:8443\"]\n";
    let of_pods = SHORT_FILES[1].replace("services: [\"https://agents.chat:8443\"]\n", pods);
    for (short, target) in [
        (SHORT_FILES[0], Target::Kubernetes),
        (SHORT_FILES[1], Target::Compose),
        (SHORT_FILES[2], Target::Envoy),
        (of_pods.as_str(), Target::Envoy),
    ] {
        let files = rendered(short, target)?;
        let envoy = files.iter().find(|file| file.name == "envoy.yaml");
        let text = &envoy.context("a configuration of Envoy")?.text;
        assert!(text.contains("/etc/envoy/wsbalancer.wasm"));
        let text = text.replace("/etc/envoy/wsbalancer.wasm", module);
        assert_eq!(Envoy::validate_yaml(&text), Ok(()), "{target:?}: {short}");
    }
    Ok(())
}

#[test]
fn what_stands_in_comments_and_in_texts_is_as_its_schema_wants_it() -> Result<()> {
    for file in ["envoy/istio/gateway.yaml", "envoy/istio/gateway-api.yaml"] {
        check_manifest(&commented(file)?).with_context(|| file.to_owned())?;
    }
    let overlay = documents("envoy/istio/gateway-api.yaml")?
        .iter()
        .find_map(|manifest| Some(manifest["data"]["deployment"].as_str()?.to_owned()))
        .context("no overlay of a Deployment")?;
    let overlay: Value = serde_saphyr::from_str(&overlay)?;
    check::<Deployment>(&overlay)?;

    // It is what `kubectl patch` does to the classic gateway.
    assert_eq!(vec![overlay], documents("envoy/istio/gateway-patch.yaml")?);
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

/// It holds for the whole mesh, so whoever applies two of the files must not get another one.
#[test]
fn there_is_one_destination_rule() -> Result<()> {
    let mut rules = Vec::new();
    for file in ["gateway", "gateway-api", "sidecar"] {
        let documents = documents(&format!("envoy/istio/{file}.yaml"))?;
        let rule = documents.into_iter();
        rules.extend(rule.filter(|document| document["kind"] == "DestinationRule"));
    }
    assert_eq!(rules.len(), 3);
    rules.dedup();
    assert_eq!(rules.len(), 1);
    Ok(())
}

/// Values for a Helm chart that others have; `tests/autoscaling.rs` reads them.
const VALUES: [&str; 1] = ["envoy/autoscaling/prometheus-adapter.yaml"];

/// Every manifest is tested, and no other.
#[test]
fn no_manifest_is_forgotten() -> Result<()> {
    for folder in ["autoscaling", "istio", "envoy-gateway", "kubernetes"] {
        for entry in Path::new(ROOT).join("envoy").join(folder).read_dir()? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let file = format!("envoy/{folder}/{name}");
            let mut known = MANIFESTS.iter().chain(&PATCHES).chain(&VALUES);
            assert!(known.any(|known| *known == file), "{file}");
        }
    }
    Ok(())
}

/// Every object within these values, and within their objects.
fn objects<'a>(values: impl IntoIterator<Item = &'a Value>) -> Vec<&'a Value> {
    let mut found = Vec::new();
    let mut left: Vec<&Value> = values.into_iter().collect();
    while let Some(value) = left.pop() {
        match value {
            Value::Array(items) => left.extend(items),
            Value::Object(fields) => {
                found.push(value);
                left.extend(fields.values());
            }
            _ => {}
        }
    }
    found
}

/// The header that says where a request goes is taken away from clients before anything reads it.
#[test]
fn every_sample_removes_the_override_header_of_clients() -> Result<()> {
    let mut samples = 0;
    for file in MANIFESTS.into_iter().chain(CONFIGURATIONS) {
        let documents = documents(file)?;
        let objects = objects(&documents);
        let texts = |pointer: &str| -> BTreeSet<&str> {
            let values = objects.iter().filter_map(|object| object.pointer(pointer));
            values.filter_map(Value::as_str).collect()
        };
        let mut read = texts("/override_host_sources/0/header");
        read.extend(texts("/endpointOverride/extractFrom/0/header"));
        let mut removed =
            texts("/early_header_mutation_extensions/0/typed_config/mutations/0/remove");
        removed.extend(texts("/headers/earlyRequestHeaders/remove/0"));
        assert_eq!(read, removed, "{file}");
        samples += read.len();
    }
    assert_eq!(samples, 7);
    Ok(())
}

/// The configurations of the filter in a file.
fn configurations(file: &str) -> Result<Vec<Value>> {
    Ok(configurations_in(&documents(file)?))
}

fn configurations_in(documents: &[Value]) -> Vec<Value> {
    let candidates = objects(documents).into_iter().filter_map(|object| {
        let plugin = ["pluginConfig", "config"].map(|field| &object[field]);
        let of_envoy = &object["configuration"]["value"];
        let mut all = plugin.into_iter().chain([of_envoy]);
        all.find(|plugin| !plugin["services"].is_null() || !plugin["status"].is_null())
    });
    candidates.cloned().collect()
}

/// What shows the names and addresses of pods has a listener of its own, which only the Envoy's own
/// machine can reach.
#[test]
fn the_status_is_never_where_clients_come_in() -> Result<()> {
    let mut shown = 0;
    for file in MANIFESTS.into_iter().chain(CONFIGURATIONS) {
        for configuration in configurations(file)? {
            let fields = configuration.as_object().context("no object")?;
            let has_status = fields.contains_key("status");
            assert_eq!(fields.contains_key("services"), !has_status, "{file}");
            shown += usize::from(has_status);
        }
        for listener in objects(&documents(file)?) {
            let address = &listener["address"]["socket_address"];
            // In a container everything comes from elsewhere.
            if address["port_value"] == 9902 && file != "envoy/dns.yaml" {
                assert_eq!(address["address"], "127.0.0.1", "{file}");
            }
        }
    }
    assert_eq!(shown, 6);
    Ok(())
}

#[test]
fn every_configuration_of_the_filter_is_accepted() -> Result<()> {
    for file in MANIFESTS {
        for configuration in configurations(file)? {
            let mut sample = Sample::standard()?;
            *sample.plugin_configuration() = configuration;
            assert_eq!(Envoy::validate(&sample), Ok(()), "{file}");
        }
    }
    Ok(())
}

/// In a comment, since nobody else knows your pages.
#[test]
fn every_sample_can_check_the_origin() -> Result<()> {
    let mut checked = 0;
    for file in MANIFESTS.into_iter().chain(CONFIGURATIONS) {
        let text = fs::read_to_string(Path::new(ROOT).join(file))?;
        let with_it = text.replace("# allowedOrigins: ", "allowedOrigins: ");
        let documents: Vec<Value> = serde_saphyr::from_multiple(&with_it)?;
        for configuration in configurations_in(&documents) {
            if configuration["services"].is_null() {
                continue;
            }
            let origins = &configuration["allowedOrigins"];
            assert_eq!(origins[1], "https://*.example.com", "{file}");
            let mut sample = Sample::standard()?;
            *sample.plugin_configuration() = configuration;
            assert_eq!(Envoy::validate(&sample), Ok(()), "{file}");
            checked += 1;
        }
    }
    assert_eq!(checked, 9);
    Ok(())
}

/// A tag can name another image tomorrow.
#[test]
fn images_of_the_module_are_named_by_their_digests() -> Result<()> {
    let mut images = BTreeSet::new();
    for file in MANIFESTS {
        for object in objects(&documents(file)?) {
            for url in [&object["url"], &object["uri"]].map(Value::as_str) {
                images.extend(url.map(|url| url.trim_start_matches("oci://").to_owned()));
            }
        }
    }
    let image = format!("registry.example.com/wsbalancer@sha256:{}", "0".repeat(64));
    assert_eq!(images, BTreeSet::from([image]));
    Ok(())
}

/// What the policies have of the filter's and of the cluster's, under the names that Envoy Gateway
/// gives to clusters and filters; and the listener that a policy adds shows what the filter knows.
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
    let status = documents("envoy/envoy-gateway/status.yaml")?;
    let added = &status.first().context("a policy")?["spec"]["jsonPatches"][0]["operation"];
    ensure!(added["op"] == "add" && added["path"] == "");
    let cluster = "httproute/default/chat/rule/0";
    let stage = Stage::start(preloaded(4, &[30, 0]), |mut sample| {
        sample.cluster()["name"] = cluster.into();
        sample.route()["cluster"] = cluster.into();
        sample.route()["retry_policy"]["num_retries"] = traffic["retry"]["numRetries"].clone();
        let policy = &mut sample.cluster()["load_balancing_policy"]["policies"][0];
        policy["typed_extension_config"]["typed_config"]["override_host_sources"] =
            traffic["loadBalancer"]["endpointOverride"]["extractFrom"].clone();
        *sample.plugin_configuration() = config.clone();
        let filter = &mut sample.connection_manager()["http_filters"][0];
        filter["typed_config"]["config"]["vm_config"]["vm_id"] =
            "/default/wsbalancer/wasm/0".into();
        let sample = every(60_000)(sample).edit(|configuration| {
            let resources = &mut configuration["static_resources"];
            let clusters = resources["clusters"].as_array_mut();
            for cluster in clusters.into_iter().flatten() {
                if cluster["name"] == "envoy_admin" {
                    cluster["name"] = "prometheus_stats".into();
                }
            }
            if let Some(listeners) = resources["listeners"].as_array_mut() {
                // The sample's own status is of another `vm_id`.
                listeners.truncate(1);
                listeners.push(added["value"].clone());
            }
        });
        sample.ready_to_run()
    })
    .await?;
    stage.until_usable(4)?;
    let held = stage.load(100, 0)?.open().await;
    assert_all_well(&held.report());
    assert_eq!(stage.counts(), [40; 4]);

    let status = get_json(&(stage.status_url_on("wsbalancer_status")? + "?format=json"))?;
    assert_eq!(status["services"][0]["url"], cluster);
    assert_eq!(status["services"][0]["podsUsable"], 4);
    // Where clients come in, a pod answers.
    let public = get(&format!(
        "http://{}/balancer-metrics?format=json",
        stage.envoy.address()
    ))?;
    assert!(!public.contains("podMetrics"), "{public}");
    Ok(())
}
