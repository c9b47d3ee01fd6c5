//! The imitation of Istio makes of a manifest what Istio made of it, and Envoy refuses what it
//! refused.
//!
//! What Istio made is beside the repository, where the project keeps what it recorded. The copies in
//! `tests/e2e/recordings` are without it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use wsbalancer_e2e::ROOT;
use wsbalancer_e2e::istio::{self, Proxy, read_documents};
use wsbalancer_e2e::mesh::Shape;
use wsbalancer_e2e::resources::{Resources, recording, walk};
use wsbalancer_harness::Envoy;

/// All that was recorded; none where it is not beside the repository.
///
/// Says so past the capture of the tests' output: nobody should believe that it was checked.
fn recordings(check: &str) -> Result<Option<PathBuf>> {
    let folder = Path::new(ROOT).join("../shared/control-planes");
    if folder.is_dir() {
        return Ok(Some(folder));
    }
    writeln!(
        io::stderr(),
        "LEFT OUT  {check}: there is no ../shared/control-planes beside the repository"
    )?;
    Ok(None)
}

/// A recording before, manifests, and what Istio made of them.
struct Case {
    shape: Shape,
    proxy: Proxy,
    manifests: &'static [&'static str],
    after: &'static str,
}

const GATEWAY: Proxy = Proxy::INGRESS_GATEWAY;

#[rustfmt::skip]
const CASES: [Case; 11] = [
    Case { shape: Shape::GATEWAY, proxy: GATEWAY, manifests: &["destination-rule", "gateway.filters"], after: "gateway.after" },
    Case { shape: Shape::GATEWAY, proxy: GATEWAY, manifests: &["wasmplugin"], after: "gateway.wasmplugin" },
    Case { shape: Shape::GATEWAY, proxy: GATEWAY, manifests: &["trafficextension"], after: "gateway.trafficextension" },
    Case { shape: Shape::GATEWAY, proxy: GATEWAY, manifests: &["destination-rule-outlier", "gateway.filters"], after: "zones-with-outlier-detection" },
    Case { shape: Shape::GATEWAY, proxy: GATEWAY, manifests: &["gateway.filters"], after: "headless-gateway.after" },
    Case { shape: Shape::GATEWAY_API, proxy: Proxy::GATEWAY_API, manifests: &["gateway-api.filters"], after: "gateway-api.after" },
    Case { shape: Shape::CLIENT, proxy: Proxy::CLIENT, manifests: &["sidecar.filters"], after: "client.after" },
    Case { shape: Shape::CLIENT_REDIRECT, proxy: Proxy::CLIENT, manifests: &["sidecar.filters"], after: "client-redirect.after" },
    Case { shape: Shape::MTLS, proxy: GATEWAY, manifests: &["gateway.filters"], after: "mtls.after" },
    Case { shape: Shape::AMBIENT, proxy: GATEWAY, manifests: &["gateway.filters"], after: "ambient.after" },
    Case { shape: Shape::TRAFFIC_DISTRIBUTION, proxy: GATEWAY, manifests: &["destination-rule", "gateway.filters"], after: "traffic-distribution.after" },
];

/// Compared as JSON. The order of resources of a kind has no meaning: the recordings have them
/// sorted by name, and so are they here. Under what version Istio configured a module depends on
/// the time.
fn normalised(resources: Resources) -> Value {
    let mut value = resources.sorted();
    walk(&mut value, &mut |value| {
        if let Some(version) = value.get_mut("ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION") {
            version.take();
        }
    });
    value
}

/// Where two values differ, as JSON pointers.
fn differences(place: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let missing = other.keys().filter(|key| !one.contains_key(*key));
            for key in one.keys().chain(missing) {
                let value = |fields: &serde_json::Map<_, _>| fields.get(key).cloned();
                let (one, other) = (value(one), value(other));
                let place = format!("{place}/{key}");
                differences(
                    &place,
                    &one.unwrap_or_default(),
                    &other.unwrap_or_default(),
                    found,
                );
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (i, (one, other)) in one.iter().zip(other).enumerate() {
                differences(&format!("{place}/{i}"), one, other, found);
            }
        }
        (one, other) if one != other => found.push(format!("{place}: {one} is not {other}")),
        _ => {}
    }
}

#[test]
fn the_imitation_makes_of_manifests_what_istio_made_of_them() -> Result<()> {
    let Some(folder) = recordings("comparison with what Istio made of the manifests")? else {
        return Ok(());
    };
    let folder = folder.join("istio-1.31");
    for case in CASES {
        let mut manifests = Vec::new();
        for file in case.manifests {
            manifests.extend(read_documents(&folder.join(format!("in/{file}.yaml")))?);
        }
        let mut patched = case.shape.before()?;
        istio::apply(&case.proxy, &manifests, &mut patched)
            .with_context(|| case.after.to_owned())?;
        let after = Resources::read(&folder.join(format!("out/{}.json", case.after)))?;
        let mut found = Vec::new();
        differences("", &normalised(patched), &normalised(after), &mut found);
        assert!(found.is_empty(), "{}: {found:#?}", case.after);
    }
    Ok(())
}

#[test]
fn the_copies_in_the_repository_are_what_was_recorded() -> Result<()> {
    let Some(folder) = recordings("comparison of the copies with what was recorded")? else {
        return Ok(());
    };
    let mut compared = 0;
    for (copies, originals) in [
        ("istio-1.31", "istio-1.31/out"),
        ("envoy-gateway-1.9", "envoy-gateway-1.9/out"),
    ] {
        for entry in recording(copies).with_extension("").read_dir()? {
            let copy = entry?.path();
            let name = copy.file_name().context("a name")?;
            let candidates = [folder.join(originals), folder.join(copies)];
            let original = candidates.iter().map(|folder| folder.join(name));
            let original = original.into_iter().find(|file| file.is_file());
            let original = original.with_context(|| format!("{} is none", copy.display()))?;
            assert_eq!(fs::read(&copy)?, fs::read(original)?, "{}", copy.display());
            compared += 1;
        }
    }
    assert!(compared > 0, "there are no copies");
    Ok(())
}

/// What Envoy says of resources that it must not take.
fn refusal(shape: Shape, resources: Resources) -> Result<String> {
    let (sample, _files) = shape.runnable(resources)?.bootstrap()?;
    let log = Envoy::validate(&sample).expect_err("Envoy took it");
    Ok(log)
}

const TRAFFIC_DISTRIBUTION: &str = "load_balancing_policy cannot be combined with partial fields \
     (zone_aware_lb_config, locality_weighted_lb_config, consistent_hashing_lb_config)";
const HEADLESS: &str = "cluster provided LB not specified but cluster \
     'outbound|8080||chat.default.svc.cluster.local' provided one";

/// Why the manifests come with a `DestinationRule`, and why the Service is not headless.
#[test]
fn what_envoy_refused_it_refuses() -> Result<()> {
    for (shape, file, sentence) in [
        (
            Shape::TRAFFIC_DISTRIBUTION,
            "envoy/istio/gateway.yaml",
            TRAFFIC_DISTRIBUTION,
        ),
        (Shape::CLIENT_HEADLESS, "envoy/istio/sidecar.yaml", HEADLESS),
    ] {
        let mut filters = istio::documents(file)?;
        filters.retain(|manifest| manifest["kind"] == "EnvoyFilter");
        let log = refusal(shape, shape.with(&filters)?)?;
        assert!(log.contains(sentence), "{shape:?}: {log}");
        // What it was before the patches Envoy takes.
        let (sample, _files) = shape.runnable(shape.before()?)?.bootstrap()?;
        assert_eq!(Envoy::validate(&sample), Ok(()), "{shape:?}");
    }
    Ok(())
}

/// What makes the comparison worth something.
#[test]
fn a_difference_is_found() -> Result<()> {
    let [one, other] = [Shape::GATEWAY, Shape::TRAFFIC_DISTRIBUTION].map(Shape::before);
    let mut found = Vec::new();
    differences("", &normalised(one?), &normalised(other?), &mut found);
    assert_eq!(
        found,
        [
            "/clusters/1/common_lb_config/locality_weighted_lb_config: null is not {}",
            "/endpoints/1/endpoints/1/priority: null is not 1",
        ]
    );
    Ok(())
}
