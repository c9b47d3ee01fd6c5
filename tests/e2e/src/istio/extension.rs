//! What a `WasmPlugin`, or a `TrafficExtension` with `wasm`, becomes: a filter that Envoy gets by
//! itself (ECDS), before all others.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{PatchContext, Proxy};
use crate::resources::{Kind, Resources};

/// How Istio 1.31 says under what version a module was configured; the value is another each time.
pub(super) const VERSION: &str = "ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION";

const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";
const RESOURCE: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

/// What is read of a module's part in a manifest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Module {
    url: String,
    plugin_name: Option<String>,
    fail_strategy: String,
    #[serde(default)]
    plugin_config: BTreeMap<String, Value>,
}

/// The name that Istio gives to the filter of such a manifest.
///
/// # Errors
/// When it is neither a `WasmPlugin` nor a `TrafficExtension`.
pub fn extension_name(manifest: &Value) -> Result<String> {
    let prefix = "extensions.istio.io/trafficextension/";
    Ok(format!("{prefix}{}", plugin_name(manifest)?))
}

fn plugin_name(manifest: &Value) -> Result<String> {
    let metadata = |field| {
        let text = manifest["metadata"][field].as_str();
        text.with_context(|| format!("no {field}"))
    };
    let translated = match manifest["kind"].as_str() {
        Some("WasmPlugin") => "~istio-translated-wasmplugin",
        Some("TrafficExtension") => "",
        _ => bail!("neither WasmPlugin nor TrafficExtension"),
    };
    Ok(format!(
        "{}.{}{translated}",
        metadata("namespace")?,
        metadata("name")?
    ))
}

fn module(manifest: &Value) -> Result<Module> {
    let spec = &manifest["spec"];
    let wasm = spec.get("wasm").unwrap_or(spec);
    for field in ["phase", "priority"] {
        // They say where the filter stands among others.
        let placed = [spec, wasm].iter().any(|part| part.get(field).is_some());
        ensure!(!placed, "{field} is not known here");
    }
    Ok(serde_json::from_value(wasm.clone())?)
}

pub(super) fn apply(proxy: &Proxy, manifest: &Value, resources: &mut Resources) -> Result<()> {
    ensure!(proxy.is_selected_by(manifest), "it is for another proxy");
    ensure!(proxy.context == PatchContext::Gateway, "of gateways only");
    let name = extension_name(manifest)?;
    let module = module(manifest)?;
    let file = module.url.strip_prefix("file://");
    let mut extension = json!({
        "@type": RESOURCE,
        "name": name,
        "typed_config": {
            "@type": WASM,
            "config": {
                "name": plugin_name(manifest)?,
                "failure_policy": module.fail_strategy,
                "vm_config": {
                    "runtime": "envoy.wasm.runtime.v8",
                    // Istio's agent puts there what it fetches.
                    "code": { "local": { "filename": file.unwrap_or("/var/lib/istio/data/module.wasm") } },
                    "environment_variables": { "key_values": { VERSION: "" } },
                },
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": serde_json::to_string(&module.plugin_config)?,
                },
            },
        },
    });
    if let Some(name) = module.plugin_name {
        extension["typed_config"]["config"]["root_id"] = name.into();
    }
    resources.all(Kind::Extensions).push(extension);
    let filter = json!({
        "name": name,
        "config_discovery": {
            "config_source": {
                "ads": {},
                "initial_fetch_timeout": "0s",
                "resource_api_version": "V3",
            },
            "type_urls": [WASM, RBAC],
        },
    });
    let mut chains = 0;
    for listener in resources.all(Kind::Listeners) {
        for manager in Resources::connection_managers(listener) {
            let filters = manager["http_filters"].as_array_mut();
            filters.context("no filters")?.insert(0, filter.clone());
            chains += 1;
        }
    }
    ensure!(chains > 0, "there is nothing that speaks HTTP");
    Ok(())
}

/// What Istio's agent hands to Envoy in place of the filter while it can't get the module: with
/// `FAIL_OPEN` one that lets everything through, else one that refuses everything.
///
/// The agent is not here. Version 1.29 was seen to refuse with `FAIL_RELOAD`.
///
/// # Errors
/// When it is neither a `WasmPlugin` nor a `TrafficExtension`.
pub fn agent_answer_without_module(manifest: &Value) -> Result<Value> {
    let rules = match module(manifest)?.fail_strategy.as_str() {
        "FAIL_OPEN" => json!({}),
        // Nothing is allowed.
        _ => json!({ "rules": {} }),
    };
    let mut filter = rules;
    filter["@type"] = RBAC.into();
    Ok(json!({ "@type": RESOURCE, "name": extension_name(manifest)?, "typed_config": filter }))
}
