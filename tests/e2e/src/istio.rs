//! What istiod makes of the project's manifests: Envoy's resources with them applied.
//!
//! Written after Istio's description of its APIs
//! (<https://istio.io/latest/docs/reference/config/networking/envoy-filter/>), as far as the
//! manifests go, and compared with what Istio 1.31 did: `tests/istio_patching.rs`. What is not known
//! here (a match, an operation, a field) is refused.

mod destination_rule;
mod envoy_filter;
mod extension;
mod merge;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

pub use extension::{agent_answer_without_module, extension_name};

use crate::ROOT;
use crate::resources::Resources;

/// The pods' cluster.
pub const CLUSTER: &str = "outbound|8080||chat.default.svc.cluster.local";

/// What kind of Envoy it is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PatchContext {
    /// Every kind.
    Any,
    /// Of a gateway.
    Gateway,
    /// Of a workload, for the requests that it gets.
    SidecarInbound,
    /// Of a workload, for the requests that it sends.
    SidecarOutbound,
}

/// A proxy, as far as manifests choose among proxies.
#[derive(Clone, Copy, Debug)]
pub struct Proxy {
    context: PatchContext,
    namespace: &'static str,
    /// The label by which manifests find its workload.
    label: (&'static str, &'static str),
    /// The Gateway API's `Gateway` that it was made for.
    gateway: Option<&'static str>,
}

impl Proxy {
    /// Istio's ingress gateway.
    pub const INGRESS_GATEWAY: Self = Self {
        context: PatchContext::Gateway,
        namespace: "istio-system",
        label: ("istio", "ingressgateway"),
        gateway: None,
    };

    /// The gateway of a `Gateway` of the Gateway API.
    pub const GATEWAY_API: Self = Self {
        context: PatchContext::Gateway,
        namespace: "istio-ingress",
        label: ("gateway.networking.k8s.io/gateway-name", "chat-gateway"),
        gateway: Some("chat-gateway"),
    };

    /// The sidecar of a client.
    pub const CLIENT: Self = Self {
        context: PatchContext::SidecarOutbound,
        namespace: "default",
        label: ("app", "client"),
        gateway: None,
    };

    /// Whether a manifest is for this proxy, by its namespace and by what it selects.
    fn is_selected_by(&self, manifest: &Value) -> bool {
        const ROOT_NAMESPACE: &str = "istio-system";
        let namespace = &manifest["metadata"]["namespace"];
        if namespace != self.namespace && namespace != ROOT_NAMESPACE {
            return false;
        }
        let spec = &manifest["spec"];
        let labels = [
            &spec["workloadSelector"]["labels"],
            &spec["selector"]["matchLabels"],
        ];
        let (name, value) = self.label;
        let mut labels = labels.into_iter().filter_map(Value::as_object).flatten();
        let mut targets = spec["targetRefs"].as_array().into_iter().flatten();
        labels.all(|label| label == (&name.to_owned(), &Value::from(value)))
            && (spec["targetRefs"].is_null()
                || targets.any(|target| {
                    target["kind"] == "Gateway"
                        && namespace == self.namespace
                        && self
                            .gateway
                            .is_some_and(|gateway| target["name"] == gateway)
                }))
    }
}

/// The documents of a YAML file of the project, such as `envoy/istio/gateway.yaml`.
///
/// # Errors
/// When it can't be read.
pub fn documents(file: &str) -> Result<Vec<Value>> {
    read_documents(&Path::new(ROOT).join(file))
}

/// The documents of a YAML file.
///
/// # Errors
/// When it can't be read.
pub fn read_documents(file: &Path) -> Result<Vec<Value>> {
    fs::read_to_string(file)
        .map_err(anyhow::Error::from)
        .and_then(|yaml| Ok(serde_saphyr::from_multiple(&yaml)?))
        .with_context(|| format!("can't read {}", file.display()))
}

/// Applies manifests to what `proxy` would receive without them.
///
/// # Errors
/// When one is for another proxy, is not known here, or changes nothing.
pub fn apply(proxy: &Proxy, manifests: &[Value], resources: &mut Resources) -> Result<()> {
    // Those of the same priority in the order in which they were made.
    let mut manifests: Vec<&Value> = manifests.iter().collect();
    manifests.sort_by_key(|manifest| manifest["spec"]["priority"].as_i64().unwrap_or_default());
    // In the order in which Istio gets to them: patches come last.
    for place in 0..3 {
        for manifest in &manifests {
            let kind = manifest["kind"].as_str().context("no kind")?;
            let applied = match (place, kind) {
                (0, "DestinationRule") => destination_rule::apply(manifest, resources),
                (1, "WasmPlugin" | "TrafficExtension") => {
                    extension::apply(proxy, manifest, resources)
                }
                (2, "EnvoyFilter") => envoy_filter::apply(proxy, manifest, resources),
                (_, "DestinationRule" | "WasmPlugin" | "TrafficExtension" | "EnvoyFilter") => {
                    Ok(())
                }
                // For the pods, or for nobody's Envoy.
                (_, "AuthorizationPolicy" | "ConfigMap" | "Deployment" | "Service") => Ok(()),
                _ => bail!("{kind} is not known here"),
            };
            applied.with_context(|| format!("{kind} {}", manifest["metadata"]["name"]))?;
        }
    }
    Ok(())
}
