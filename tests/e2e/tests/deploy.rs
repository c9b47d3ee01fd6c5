//! The chart makes of its values what `wsbalancer render` makes of the same short file, and so do the
//! bases of Kustomize. Helm itself and Kustomize itself render them; no cluster takes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use wsbalancer_cli::check::check;
use wsbalancer_cli::render::{Rendered, Short, Target, render};
use wsbalancer_e2e::ROOT;
use wsbalancer_e2e::deploy::{CHART, Made, helm, kustomize};
use wsbalancer_e2e::istio::documents;

use crate::manifests::check_manifest;

/// As the samples have it.
const IMAGE: &str = "registry.example.com/wsbalancer@sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// What the samples are for.
const SAMPLE: &str =
    "services: ['http://chat.default.svc.cluster.local:8080']\nhost: chat.example.com";

/// Short files for one service.
const SERVICES: [&str; 4] = [
    SAMPLE,
    "services: [http://chat]",
    "
name: agents
host: ws.example.org
services: [https://chat.agents:8443]
tlsVerify: false
dialTimeout: 500ms
readTimeout: 2m
writeTimeout: 1.5
balancerMetricPath: /balance
metricPath: /stats
metric: { json: /sockets/open }
cacheTTL: 45
refreshInterval: 2.5
allowedOrigins: ['https://*.example.org']
requireOrigin: true
rebalance: { threshold: 1.5, maxPerSecond: 1000 }
passiveHealth: false
slowStart: { window: 1m, aggression: 0.5 }
localPorts: 1000000
onNoPods: reject
",
    "
services: [http://chat]
sessions: { openedBy: [{ pathPrefix: /socket.io/ }], carriedBy: [{ query: sid }], keptBy: { cookie: pod } }
",
];

/// Objects by their kinds and names.
type Objects = BTreeMap<String, Value>;

/// Without labels, which are Helm's, and the namespace of the release.
fn objects(documents: impl IntoIterator<Item = Value>) -> Objects {
    let documents = documents.into_iter().filter(|document| !document.is_null());
    let object = |mut object: Value| {
        let metadata = object["metadata"].as_object_mut().expect("metadata");
        metadata.remove("labels");
        if metadata
            .get("namespace")
            .is_some_and(|name| name == "default")
        {
            metadata.remove("namespace");
        }
        (
            format!("{} {}", object["kind"], object["metadata"]["name"]),
            object,
        )
    };
    documents.map(object).collect()
}

fn parsed(text: &str) -> Result<Objects> {
    Ok(objects(serde_saphyr::from_multiple::<Value>(text)?))
}

/// Where two values are not the same.
fn differences(path: &str, one: &Value, other: &Value) -> Vec<String> {
    match (one, other) {
        (Value::Object(fields), Value::Object(others)) => {
            let names = fields.keys().chain(others.keys());
            let names: BTreeSet<&String> = names.collect();
            let below =
                |name: &String| differences(&format!("{path}/{name}"), &one[name], &other[name]);
            names.into_iter().flat_map(below).collect()
        }
        (Value::Array(items), Value::Array(others)) if items.len() == others.len() => {
            let items = items.iter().zip(others).enumerate();
            items
                .flat_map(|(index, (one, other))| {
                    differences(&format!("{path}/{index}"), one, other)
                })
                .collect()
        }
        _ if one == other => Vec::new(),
        _ => vec![format!("{path}: {one} is not {other}")],
    }
}

fn assert_same(made: &Objects, expected: &Objects, of: &str) {
    let names = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(made), names(expected), "{of}");
    for (name, object) in made {
        let differences = differences(name, object, &expected[name]);
        assert!(differences.is_empty(), "{of}: {}", differences.join("\n"));
    }
}

fn values(target: &str, short: &str, module: Value) -> Result<Value> {
    let config: Value = serde_saphyr::from_str(short)?;
    let mut values = json!({ "target": target, "config": config });
    values["module"] = module;
    Ok(values)
}

fn set(values: &Value, pointer: &str, value: Value) -> Value {
    let mut values = values.clone();
    let mut place = &mut values;
    for step in pointer.split('.') {
        place = &mut place[step];
    }
    *place = value;
    values
}

/// Manifests with so many configurations of the filter, against which schemas and filter have nothing
/// to say.
fn flawless(text: &str, configurations: usize) -> Result<Objects> {
    for document in serde_saphyr::from_multiple::<Value>(text)? {
        check_manifest(&document).with_context(|| document.to_string())?;
    }
    let checked = check(text).map_err(|error| anyhow!("{error:?}"))?;
    assert_eq!(checked.refused, []);
    assert_eq!(checked.accepted, configurations, "{text}");
    parsed(text)
}

/// What Helm makes, if its linter has nothing to say against it either.
fn sound(made: &Made, configurations: usize) -> Result<Objects> {
    ensure!(made.error.is_empty(), "{}", made.error);
    ensure!(made.lint.is_empty(), "{:?}", made.lint);
    ensure!(!made.notes().is_empty(), "no notes");
    flawless(&made.manifests(), configurations)
}

fn rendered(short: &str, target: Target) -> Result<Rendered> {
    Ok(render(&Short::parse(short)?, target)?)
}

/// The objects of some of the files.
fn files(rendered: &Rendered, names: &[&str]) -> Result<Objects> {
    let files = rendered.files.iter();
    let files = files.filter(|file| names.contains(&file.name));
    let text: Vec<&str> = files.map(|file| file.text.as_str()).collect();
    assert_eq!(text.len(), names.len(), "{names:?}");
    parsed(&text.join("\n---\n"))
}

fn samples(names: &[&str]) -> Result<Objects> {
    let documents: Result<Vec<_>> = names.iter().map(|name| documents(name)).collect();
    Ok(objects(documents?.concat()))
}

/// The ways to load the filter, and which files of `wsbalancer render` they are.
#[test]
fn the_chart_makes_of_istio_what_render_makes() -> Result<()> {
    let mut all = Vec::new();
    let mut expected = Vec::new();
    for short in SERVICES {
        let rendered = rendered(short, Target::Istio)?;
        let sessions: &[&str] = if short.contains("sessions: ") {
            &["sessions.yaml"]
        } else {
            &[]
        };
        for extension in ["wasmplugin.yaml", "trafficextension.yaml"] {
            let mut values = values("istio", short, json!({ "image": IMAGE }))?;
            if extension.starts_with("traffic") {
                values["istio"] = json!({ "extension": "TrafficExtension" });
            }
            all.push(values);
            let names = ["gateway.yaml", extension, "status-image.yaml"];
            let mut from_image = files(&rendered, &[names.as_slice(), sessions].concat())?;
            from_image.remove("\"EnvoyFilter\" \"wsbalancer\"");
            expected.push(from_image);
        }
        all.push(values(
            "istio",
            short,
            json!({ "configMap": "wsbalancer" }),
        )?);
        let names = ["gateway.yaml", "status.yaml"];
        expected.push(files(&rendered, &[names.as_slice(), sessions].concat())?);
    }
    for ((made, expected), values) in helm(&all)?.iter().zip(&expected).zip(&all) {
        assert_same(&sound(made, 2)?, expected, &values.to_string());
    }
    // Labels take the place of the usual ones, and are not added to them.
    let labels = json!({ "app": "gateway" });
    let labelled = set(&all[0], "istio", json!({ "selector": labels }));
    let labelled = sound(&helm(&[labelled])?[0], 2)?;
    for (name, selector) in [
        (
            "\"WasmPlugin\" \"wsbalancer\"",
            "/spec/selector/matchLabels",
        ),
        (
            "\"EnvoyFilter\" \"wsbalancer-upstream\"",
            "/spec/workloadSelector/labels",
        ),
    ] {
        assert_eq!(labelled[name].pointer(selector), Some(&labels), "{name}");
    }
    Ok(())
}

#[test]
fn the_chart_serves_a_gateway_of_the_gateway_api() -> Result<()> {
    let from_file = values("istio", SAMPLE, json!({ "configMap": "wsbalancer" }))?;
    let gateway = json!({ "namespace": "istio-ingress", "gateway": "chat-gateway" });
    let from_file = set(&from_file, "istio", gateway);
    let from_file = set(&from_file, "status", json!({ "enabled": false }));
    let from_image = set(&from_file, "module", json!({ "image": IMAGE }));
    let made = helm(&[from_file, from_image])?;
    let expected = samples(&["envoy/istio/gateway-api.yaml"])?;
    let from_file = sound(&made[0], 1)?;
    // A text with YAML in it.
    let name = "\"ConfigMap\" \"chat-gateway\"";
    let read = |objects: &Objects| -> Result<Value> {
        let text = objects[name]["data"]["deployment"].as_str();
        Ok(serde_saphyr::from_str(text.context("no overlay")?)?)
    };
    assert_eq!(read(&from_file)?, read(&expected)?);
    let without = |mut objects: Objects| {
        objects.remove(name);
        objects
    };
    assert_same(&without(from_file), &without(expected), "Gateway API");

    let from_image = sound(&made[1], 1)?;
    let targets = json!([{
        "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "chat-gateway",
    }]);
    for name in [
        "\"WasmPlugin\" \"wsbalancer\"",
        "\"EnvoyFilter\" \"wsbalancer-upstream\"",
    ] {
        let spec = &from_image[name]["spec"];
        assert_eq!(spec["targetRefs"], targets, "{name}");
        assert_eq!(spec["selector"], Value::Null, "{name}");
        assert_eq!(spec["workloadSelector"], Value::Null, "{name}");
    }
    Ok(())
}

#[test]
fn the_chart_makes_of_envoy_gateway_what_render_makes() -> Result<()> {
    let mut all = Vec::new();
    let mut expected = Vec::new();
    for short in SERVICES {
        all.push(values("envoyGateway", short, json!({ "image": IMAGE }))?);
        let rendered = rendered(short, Target::EnvoyGateway)?;
        expected.push(files(&rendered, &["wsbalancer.yaml", "envoyproxy.yaml"])?);
    }
    let made = helm(&all)?;
    for ((made, expected), values) in made.iter().zip(&expected).zip(&all) {
        assert_same(&sound(made, 1)?, expected, &values.to_string());
    }
    let with_status = set(
        &all[0],
        "envoyGateway",
        json!({ "statusConfigMap": "wsbalancer" }),
    );
    let with_status = sound(&helm(&[with_status])?[0], 2)?;
    let folder = "envoy/envoy-gateway";
    let expected = ["wsbalancer.yaml", "envoyproxy.yaml", "status.yaml"]
        .map(|file| format!("{folder}/{file}"));
    let expected = samples(&expected.each_ref().map(String::as_str))?;
    assert_same(&with_status, &expected, "with a status");
    Ok(())
}

/// The Envoy's configuration that a `ConfigMap` has.
fn configuration(objects: &mut Objects, name: &str) -> Result<Value> {
    let map = objects.remove(&format!("\"ConfigMap\" \"{name}\""));
    let map = map.context("no ConfigMap")?;
    let text = map["data"]["envoy.yaml"]
        .as_str()
        .context("no envoy.yaml")?;
    Ok(serde_saphyr::from_str(text)?)
}

/// What the chart does otherwise than the manifest for one Envoy: it has labels of its own, starts the
/// Envoys anew when their configuration changes, and mounts two of `ConfigMap` at one place.
fn as_the_manifest(mut objects: Objects) -> Objects {
    let labels = json!({ "app": "envoy" });
    let deployment = objects
        .get_mut("\"Deployment\" \"envoy\"")
        .expect("a Deployment");
    let spec = &mut deployment["spec"];
    let of_chart = spec["selector"]["matchLabels"].take();
    assert_eq!(of_chart["app.kubernetes.io/instance"], "wsbalancer");
    spec["selector"]["matchLabels"] = labels.clone();
    let metadata = &mut spec["template"]["metadata"];
    assert_eq!(metadata["labels"], of_chart);
    assert!(metadata["annotations"]["checksum/envoy"].is_string());
    *metadata = json!({ "labels": labels });
    let pod = &mut spec["template"]["spec"];
    let volume = json!({ "name": "envoy", "projected": { "sources": [
        { "configMap": { "name": "envoy-envoy" } }, { "configMap": { "name": "wsbalancer" } },
    ] } });
    assert_eq!(pod["volumes"], json!([volume]));
    pod["volumes"] = json!([{ "name": "wsbalancer", "configMap": { "name": "wsbalancer" } }]);
    pod["containers"][0]["volumeMounts"][0]["name"] = "wsbalancer".into();
    let service = objects.get_mut("\"Service\" \"envoy\"").expect("a Service");
    assert_eq!(service["spec"]["selector"], of_chart);
    service["spec"]["selector"] = labels;
    objects
}

#[test]
fn the_chart_makes_the_envoy_that_render_makes() -> Result<()> {
    let pods = [
        "pods: ['10.0.0.1:80', '[fd00::1]:81']\nname: chat",
        "pods: [https://10.0.0.1:443]",
    ];
    let shorts: Vec<&str> = SERVICES.into_iter().chain(pods).collect();
    let mut all = Vec::new();
    for short in &shorts {
        let mut values = values("envoy", short, json!({ "configMap": "wsbalancer" }))?;
        values["fullnameOverride"] = "envoy".into();
        all.push(values);
    }
    for (made, short) in helm(&all)?.iter().zip(&shorts) {
        let mut made = sound(made, 2)?;
        let rendered = rendered(short, Target::Kubernetes)?;
        let [envoy, _] = &rendered.files[..] else {
            panic!("{} files", rendered.files.len());
        };
        let expected: Value = serde_saphyr::from_str(&envoy.text)?;
        let differences = differences("", &configuration(&mut made, "envoy-envoy")?, &expected);
        assert!(
            differences.is_empty(),
            "{short}: {}",
            differences.join("\n")
        );
        let expected = files(&rendered, &["deployment.yaml"])?;
        assert_same(&as_the_manifest(made), &expected, short);
    }
    // From an image, which a volume has.
    let from_image = set(&all[0], "module", json!({ "image": IMAGE }));
    let mut made = sound(&helm(&[from_image])?[0], 2)?;
    let text = configuration(&mut made, "envoy-envoy")?.to_string();
    assert_eq!(text.matches("\"/etc/wsbalancer/plugin.wasm\"").count(), 2);
    let pod = &made["\"Deployment\" \"envoy\""]["spec"]["template"]["spec"];
    let image =
        json!({ "name": "module", "image": { "reference": IMAGE, "pullPolicy": "IfNotPresent" } });
    assert_eq!(pod["volumes"][1], image);
    assert_eq!(
        pod["containers"][0]["volumeMounts"][1]["mountPath"],
        "/etc/wsbalancer"
    );
    Ok(())
}

#[test]
fn the_chart_has_the_monitors_the_alerts_and_the_dashboard() -> Result<()> {
    let monitoring = |values: Value| {
        let values = set(
            &values,
            "podMonitor",
            json!({ "enabled": true, "labels": { "release": "prom" } }),
        );
        let alerts = json!({ "enabled": true, "documentation": "https://git.example.org/main/" });
        set(
            &set(&values, "alerts", alerts),
            "dashboard",
            json!({ "enabled": true }),
        )
    };
    let image = json!({ "image": IMAGE });
    let all = [
        values("istio", SAMPLE, image.clone())?,
        set(
            &values("envoyGateway", SAMPLE, image)?,
            "envoyGateway",
            json!({ "statusConfigMap": "wsbalancer" }),
        ),
        values("envoy", SAMPLE, json!({ "configMap": "wsbalancer" }))?,
    ];
    let folders = ["istio", "envoy-gateway", "kubernetes"];
    let all = all.map(monitoring);
    let rules: Value = {
        let text = fs::read_to_string(Path::new(ROOT).join("envoy/prometheus/alerts.yaml"))?;
        let published = text.replace(
            "https://example.com/wsbalancer",
            "https://git.example.org/main",
        );
        serde_saphyr::from_str(&published)?
    };
    let dashboard = fs::read_to_string(Path::new(ROOT).join("envoy/prometheus/dashboard.json"))?;
    let dashboard: Value = serde_json::from_str(&dashboard)?;
    for (made, folder) in helm(&all)?.iter().zip(folders) {
        let text = made.manifests();
        let mut objects = sound(made, 2)?;
        // The status is where Prometheus can reach it.
        let status = "address: 0.0.0.0, port_value: 9902";
        assert!(text.contains(status), "{folder}");
        for document in serde_saphyr::from_multiple::<Value>(&text)? {
            let labels = &document["metadata"]["labels"];
            match document["kind"].as_str() {
                Some("PodMonitor") => assert_eq!(labels["release"], "prom"),
                Some("PrometheusRule") => assert_eq!(document["spec"], rules),
                Some("ConfigMap") if labels["grafana_dashboard"] == "1" => {
                    let json = document["data"]["wsbalancer.json"]
                        .as_str()
                        .context("no dashboard")?;
                    assert_eq!(serde_json::from_str::<Value>(json)?, dashboard);
                }
                _ => {}
            }
        }
        assert!(objects.contains_key("\"PrometheusRule\" \"wsbalancer\""));
        assert!(objects.contains_key("\"ConfigMap\" \"wsbalancer-dashboard\""));
        objects.retain(|name, _| name.contains("PodMonitor") || name.contains("NetworkPolicy"));
        let mut expected = samples(&[&format!("envoy/{folder}/podmonitor.yaml")])?;
        if folder == "kubernetes" {
            let labels = json!({
                "app.kubernetes.io/name": "wsbalancer", "app.kubernetes.io/instance": "wsbalancer",
            });
            for object in expected.values_mut() {
                for selector in ["selector", "podSelector"] {
                    if let Some(selector) = object["spec"].get_mut(selector) {
                        selector["matchLabels"] = labels.clone();
                    }
                }
            }
        }
        assert_same(&objects, &expected, folder);
    }
    // The alerts know the gateways by a name.
    let renamed = set(&all[0], "fullnameOverride", "other".into());
    let renamed = sound(&helm(&[renamed])?[0], 2)?;
    let monitor = &renamed["\"PodMonitor\" \"other\""]["spec"]["podMetricsEndpoints"][0];
    let relabelings = monitor["relabelings"]
        .as_array()
        .context("no relabelings")?;
    let job = json!({ "targetLabel": "job", "replacement": "wsbalancer" });
    assert!(relabelings.contains(&job), "{relabelings:?}");
    Ok(())
}

#[test]
fn the_chart_says_what_is_to_be_done_and_seen_first() -> Result<()> {
    let made = helm(&[
        values("istio", SAMPLE, json!({ "image": IMAGE }))?,
        values("envoyGateway", SAMPLE, json!({ "image": IMAGE }))?,
        values("envoy", SAMPLE, json!({ "configMap": "wsbalancer" }))?,
    ])?;
    let [istio, envoy_gateway, envoy] = [0, 1, 2].map(|index: usize| made[index].notes());
    for (notes, admin) in [(istio, 15000), (envoy_gateway, 19000), (envoy, 9901)] {
        assert!(
            notes.contains(&format!("wsbalancer doctor 127.0.0.1:{admin}")),
            "{notes}"
        );
    }
    let (_, patch) = istio.split_once("--patch '\n").context("no patch")?;
    let (patch, _) = patch.split_once("'\n").context("no end")?;
    let patch: Value = serde_saphyr::from_str(patch)?;
    assert_eq!(vec![patch], documents("envoy/istio/gateway-patch.yaml")?);
    assert!(
        istio.contains("-n istio-system deployment/istio-ingressgateway 9902"),
        "{istio}"
    );
    assert!(envoy_gateway.contains("\"kind\": \"EnvoyProxy\", \"name\": \"wsbalancer\""));
    assert!(
        !envoy_gateway.contains("9902"),
        "there is no status: {envoy_gateway}"
    );
    assert!(
        envoy.contains("ConfigMap wsbalancer in the namespace default"),
        "{envoy}"
    );
    Ok(())
}

/// What is wrong in which values, and what Helm says of it.
const WRONG: &str = r#"
istio | target | "nginx" | at '/target': value must be one of 'istio', 'envoyGateway', 'envoy'
istio | config | {} | at '/config': missing property 'services'
istio | config.services | ["http://a", "http://b"] | at '/config/services': maxItems: got 2, want 1
istio | config.services | ["http://10.0.0.1:80"] | at '/config/services/0': 'http://10.0.0.1:80' does not match
istio | config.metricPaht | "/" | at '/config': additional properties 'metricPaht' not allowed
istio | config.attempts | 3 | at '/config': additional properties 'attempts' not allowed
istio | config.cacheTTL | "soon" | at '/config/cacheTTL': 'soon' does not match pattern
istio | config.dialTimeout | "1 s" | at '/config/dialTimeout': '1 s' does not match pattern
istio | config.rebalance | { "threshold": 0.5 } | at '/config/rebalance/threshold': exclusiveMinimum: got 0.5, want 1
istio | config.slowStart | { "windows": 1 } | at '/config/slowStart': additional properties 'windows' not allowed
istio | module | {} | at '/module': minProperties: got 0, want 1
istio | module.configMap | "a" | at '/module': maxProperties: got 2, want 1
istio | istio | { "failStrategy": "open" } | at '/istio/failStrategy': value must be one of
istio | podMonitor | { "enabled": "yes" } | at '/podMonitor/enabled': got string, want boolean
istio | podMonitors | {} | at '': additional properties 'podMonitors' not allowed
plane | module | { "configMap": "a" } | at '/module': missing property 'image'
plane | podMonitor | { "enabled": true } | in Envoy Gateway there is no status without envoyGateway.statusConfigMap
envoy | config | { "name": "chat" } | at '/config': missing property 'pods'
envoy | config.services | ["http://a", "https://b"] | config.services: has some on TLS and some not
envoy | envoy | { "replicas": 1.5 } | at '/envoy/replicas': got number, want integer
"#;

#[test]
fn the_chart_refuses_wrong_values_and_says_which() -> Result<()> {
    let image = json!({ "image": IMAGE });
    let right = BTreeMap::from([
        ("istio", values("istio", SAMPLE, image.clone())?),
        ("plane", values("envoyGateway", SAMPLE, image)?),
        (
            "envoy",
            values("envoy", SAMPLE, json!({ "configMap": "a" }))?,
        ),
    ]);
    let cases: Vec<&str> = WRONG.trim().lines().collect();
    let mut wrong = Vec::new();
    for case in &cases {
        let [of, path, value, _] = case.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("{case}");
        };
        wrong.push(set(&right[of], path, serde_json::from_str(value)?));
    }
    // Nothing is deployed by accident.
    wrong.push(json!({}));
    let said = helm(&wrong)?;
    let of_nothing = "nothing | at '': missing property 'target'";
    for (made, case) in said.iter().zip(cases.into_iter().chain([of_nothing])) {
        let (_, expected) = case.rsplit_once(" | ").context("no answer")?;
        assert!(made.error.contains(expected), "{case}: {}", made.error);
    }
    Ok(())
}

/// Whoever looks for an example finds sound ones.
#[test]
fn the_chart_takes_the_values_that_it_brings() -> Result<()> {
    let mut all = Vec::new();
    for entry in Path::new(ROOT).join(CHART).join("ci").read_dir()? {
        let text = fs::read_to_string(entry?.path())?;
        all.push(serde_saphyr::from_str::<Value>(&text)?);
    }
    assert_eq!(all.len(), 3);
    for (made, values) in helm(&all)?.iter().zip(&all) {
        let configurations = if values["target"] == "envoyGateway" {
            1
        } else {
            2
        };
        sound(made, configurations)?;
    }
    Ok(())
}

fn built(folder: &Path, configurations: usize) -> Result<Objects> {
    flawless(&kustomize(folder)?, configurations)
}

#[test]
fn kustomize_makes_of_the_bases_what_render_makes() -> Result<()> {
    let folder = Path::new(ROOT).join("deploy/kustomize");
    let short = |base: &str| fs::read_to_string(folder.join(base).join("service.yaml"));

    let istio = rendered(&short("istio")?, Target::Istio)?;
    let mut expected = files(
        &istio,
        &["gateway.yaml", "wasmplugin.yaml", "status-image.yaml"],
    )?;
    expected.remove("\"EnvoyFilter\" \"wsbalancer\"");
    assert_same(&built(&folder.join("istio"), 2)?, &expected, "istio");

    let plane = rendered(&short("envoy-gateway")?, Target::EnvoyGateway)?;
    let expected = files(&plane, &["wsbalancer.yaml", "envoyproxy.yaml"])?;
    assert_same(
        &built(&folder.join("envoy-gateway"), 1)?,
        &expected,
        "envoy-gateway",
    );

    let envoy = rendered(&short("envoy")?, Target::Kubernetes)?;
    let mut made = built(&folder.join("envoy"), 2)?;
    // Its name ends with a hash of what is in it, and the Deployment follows.
    let name = made
        .keys()
        .find_map(|name| name.strip_prefix("\"ConfigMap\" "));
    let name = name.context("no ConfigMap")?.trim_matches('"').to_owned();
    let expected: Value = serde_saphyr::from_str(&envoy.files[0].text)?;
    assert_eq!(configuration(&mut made, &name)?, expected);
    let mut expected = files(&envoy, &["deployment.yaml"])?;
    let deployment = expected
        .get_mut("\"Deployment\" \"envoy\"")
        .context("no Deployment")?;
    deployment["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] = name.into();
    assert_same(&made, &expected, "envoy");
    Ok(())
}

#[test]
fn the_overlays_change_what_they_say() -> Result<()> {
    let folder = Path::new(ROOT).join("deploy/kustomize");
    let made = built(&folder.join("example/istio"), 2)?;
    let plugin = &made["\"WasmPlugin\" \"wsbalancer\""]["spec"];
    let url = plugin["url"].as_str().context("no url")?;
    assert!(url.contains("@sha256:1111"), "{url}");
    assert_eq!(plugin["pluginConfig"]["cacheTTL"], "15s");
    let status = &made["\"EnvoyFilter\" \"wsbalancer-status\""]["spec"];
    let code = &status["configPatches"][0]["patch"]["value"]["typed_config"]["config"]["vm_config"]
        ["code"];
    assert_eq!(code["remote"]["http_uri"]["uri"], url);
    for name in ["wsbalancer-status", "wsbalancer-upstream"] {
        let spec = &made[&format!("\"EnvoyFilter\" \"{name}\"")]["spec"];
        assert_eq!(
            spec["workloadSelector"]["labels"],
            json!({ "istio": "websockets" })
        );
    }

    // The module is the user's, beside the overlay.
    let copy = tempfile::tempdir()?;
    for (from, to) in [("envoy", "envoy"), ("example/envoy", "example/envoy")] {
        fs::create_dir_all(copy.path().join(to))?;
        for entry in folder.join(from).read_dir()? {
            let entry = entry?;
            fs::copy(entry.path(), copy.path().join(to).join(entry.file_name()))?;
        }
    }
    let overlay = copy.path().join("example/envoy");
    fs::write(overlay.join("wsbalancer.wasm"), b"\0asm\xff")?;
    let made = built(&overlay, 2)?;
    let map = made.values().find(|object| object["kind"] == "ConfigMap");
    let map = map.context("no ConfigMap")?;
    assert_eq!(map["binaryData"]["wsbalancer.wasm"], "AGFzbf8=");
    let deployment = &made["\"Deployment\" \"envoy\""];
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(deployment["metadata"]["namespace"], "gateways");
    let volume = &deployment["spec"]["template"]["spec"]["volumes"][0];
    assert_eq!(volume["configMap"]["name"], map["metadata"]["name"]);
    Ok(())
}
