//! What stands twice in the tree for the chart and for Kustomize is the same in both places: Helm reads
//! only what is in the chart's folder, and Kustomize only what is in the base's.
//!
//! `WSBALANCER_WRITE_SAMPLES=1 cargo test -p wsbalancer-cli --test deploy` writes it anew.

mod files;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use wsbalancer::config;
use wsbalancer_cli::render::{Short, Target, render};

use crate::files::{ROOT, assert_is};

const CHART: &str = "deploy/helm/wsbalancer";

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn parsed(file: &str) -> Value {
    serde_saphyr::from_str(&read(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn the_chart_has_the_alerts_and_the_dashboard() {
    for name in ["alerts.yaml", "dashboard.json"] {
        let wanted = read(&format!("envoy/prometheus/{name}"));
        assert_is(&format!("{CHART}/files/{name}"), &wanted);
    }
}

/// Why the short file has no place for a field; none where it has, whatever is wrong with the value.
fn refusal(field: &str) -> Option<String> {
    let error = Short::parse(&format!("{field}: null\n")).err()?.to_string();
    let reasons = ["is no option", "is not for this file"];
    let has_no_place = reasons.iter().any(|reason| error.contains(reason));
    has_no_place.then_some(error)
}

/// The options of the filter are taken over, and the rest of the schema is the chart's own.
#[test]
fn the_charts_schema_has_the_options_of_the_short_file() {
    let filter = config::schema();
    let file = format!("{CHART}/values.schema.json");
    let mut chart: Value = serde_json::from_str(&read(&file)).unwrap();
    chart["definitions"] = filter["definitions"].clone();
    let config = &mut chart["properties"]["config"]["properties"];
    let own = config.as_object_mut().unwrap();
    for (name, option) in filter["properties"].as_object().unwrap() {
        // These the short file has under the same name, or has no place for.
        if ["pods", "services"].contains(&name.as_str()) {
            continue;
        }
        match refusal(name) {
            None => own.insert(name.clone(), option.clone()),
            Some(_) => own.remove(name),
        };
    }
    for name in own.keys() {
        assert_eq!(refusal(name), None);
    }
    assert!(own.len() > 25, "{}", own.len());
    assert_is(&file, &format!("{chart:#}\n"));
}

#[test]
fn the_bases_are_made_of_their_short_files() {
    for (folder, target) in [
        ("istio", Target::Istio),
        ("envoy-gateway", Target::EnvoyGateway),
        ("envoy", Target::Kubernetes),
    ] {
        let folder = format!("deploy/kustomize/{folder}");
        let short = Short::parse(&read(&format!("{folder}/service.yaml"))).unwrap();
        let rendered = render(&short, target).unwrap();
        assert_eq!(rendered.remarks, [""; 0], "{folder}");
        // Not all of what is rendered is in a base, and nothing else is.
        let mut compared = 0;
        for entry in Path::new(ROOT).join(&folder).read_dir().unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if ["kustomization.yaml", "service.yaml"].contains(&name.as_str()) {
                continue;
            }
            let file = rendered.files.iter().find(|file| file.name == name);
            let file = file.unwrap_or_else(|| panic!("{folder}/{name} is not rendered"));
            assert_is(&format!("{folder}/{name}"), &file.text);
            compared += 1;
        }
        assert!(compared >= 2, "{folder}");
    }
}

#[test]
fn the_chart_is_of_this_version() {
    let chart = parsed(&format!("{CHART}/Chart.yaml"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    let values = parsed(&format!("{CHART}/values.yaml"));
    let manifests = read("envoy/kubernetes/envoy.yaml");
    let image = values["envoy"]["image"].as_str().unwrap();
    assert!(manifests.contains(&format!("image: {image}\n")), "{image}");
    // What has no default says so by its absence.
    assert_eq!(values["config"], json!({}));
    assert_eq!(values["target"], Value::Null);
}
