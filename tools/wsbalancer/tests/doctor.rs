//! `wsbalancer doctor`: what each rule finds, on the sound sample and on what real control planes made.

mod files;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use wsbalancer_cli::doctor::{Finding, Snapshot, examine};

use crate::files::ROOT;

/// The sample, as Envoy would dump it.
fn sample() -> Value {
    sample_of("envoy.yaml")
}

fn sample_of(file: &str) -> Value {
    let text = fs::read_to_string(format!("{ROOT}/envoy/{file}")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

fn snapshot(bootstrap: &Value) -> Snapshot {
    let listed = |list: &str, name: &str| -> Vec<Value> {
        let all = bootstrap["static_resources"][list].as_array().unwrap();
        all.iter().map(|one| json!({ name: one })).collect()
    };
    Snapshot::of_dump(&json!({ "configs": [
        { "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": bootstrap },
        {
            "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
            "static_clusters": listed("clusters", "cluster"),
        },
        {
            "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
            "static_listeners": listed("listeners", "listener"),
        },
    ]}))
}

fn rules(findings: &[Finding]) -> BTreeSet<&'static str> {
    findings.iter().map(|finding| finding.rule).collect()
}

const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
const ROUTE: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes/0/route";
const HOST: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0";
const CLUSTER: &str = "/static_resources/clusters/0";

#[test]
fn the_sound_sample_is_sound() {
    assert_eq!(examine(&snapshot(&sample())), []);
}

/// Each mistake is found by its rule, and by no other.
#[test]
fn each_mistake_is_found() {
    let filter = format!("{MANAGER}/http_filters/0/typed_config/config");
    let value = format!("{filter}/configuration/value");
    let source = format!(
        "{CLUSTER}/load_balancing_policy/policies/0/typed_extension_config/typed_config/override_host_sources"
    );
    let limits = format!("{CLUSTER}/circuit_breakers/thresholds/0");
    let mistakes: [(&str, &str, Value, &str); 21] = [
        (ROUTE, "idle_timeout", json!("60s"), "timeouts"),
        (ROUTE, "timeout", Value::Null, "timeouts"),
        (
            ROUTE,
            "max_stream_duration",
            json!({ "max_stream_duration": "3600s" }),
            "timeouts",
        ),
        (CLUSTER, "circuit_breakers", Value::Null, "circuit-breakers"),
        (&limits, "max_requests", json!(1024), "circuit-breakers"),
        (&limits, "max_retries", json!(3), "circuit-breakers"),
        (CLUSTER, "load_balancing_policy", Value::Null, "steering"),
        (&source, "0", json!({ "header": "x-other" }), "steering"),
        (
            &value,
            "services",
            json!([{ "cluster": "chats" }]),
            "steering",
        ),
        (
            HOST,
            "request_headers_to_remove",
            json!(["X-Gateway-Destination-Endpoint"]),
            "steering",
        ),
        (&value, "routeBy", json!("cluster"), "steering"),
        (
            "",
            "overload_manager",
            json!({ "resource_monitors": [{
                "typed_config": { "max_active_downstream_connections": "50000" },
            }] }),
            "circuit-breakers",
        ),
        (
            &value,
            "sessions",
            json!({
                "openedBy": [{ "pathPrefix": "/socket.io/" }],
                "carriedBy": [{ "query": "sid" }],
                "keptBy": { "cookie": "pod" },
            }),
            "sessions",
        ),
        (MANAGER, "upgrade_configs", Value::Null, "upgrades"),
        (ROUTE, "retry_policy", Value::Null, "retries"),
        (
            ROUTE,
            "retry_policy",
            json!({ "retry_on": "retriable-4xx" }),
            "retries",
        ),
        (
            MANAGER,
            "early_header_mutation_extensions",
            Value::Null,
            "header",
        ),
        (
            &value,
            "discovery",
            json!({ "adminCluster": "nobody" }),
            "discovery",
        ),
        (&filter, "failure_policy", Value::Null, "vm"),
        (&value, "attempts", json!("many"), "chain"),
        (
            CLUSTER,
            "outlier_detection",
            json!({ "consecutive_gateway_failure": 5 }),
            "zones",
        ),
    ];
    for (place, field, value, rule) in mistakes {
        let mut wrong = sample();
        let place = wrong.pointer_mut(place).unwrap();
        match field.parse::<usize>() {
            Ok(index) => place[index] = value.clone(),
            Err(_) => place[field] = value.clone(),
        }
        if field == "routeBy" {
            // What does not go with it is a mistake of its own.
            place.as_object_mut().unwrap().remove("discovery");
        }
        let findings = examine(&snapshot(&wrong));
        assert_eq!(
            rules(&findings),
            BTreeSet::from([rule]),
            "{field}: {value}: {findings:#?}"
        );
    }
}

#[test]
fn two_filters_and_a_public_status_are_found() {
    let mut wrong = sample();
    let filters = wrong
        .pointer_mut(&format!("{MANAGER}/http_filters"))
        .unwrap();
    let filters = filters.as_array_mut().unwrap();
    filters.insert(0, filters[0].clone());
    assert_eq!(
        rules(&examine(&snapshot(&wrong))),
        BTreeSet::from(["chain"])
    );

    let mut wrong = sample();
    let place = format!("{MANAGER}/http_filters/0/typed_config/config/configuration/value");
    wrong.pointer_mut(&place).unwrap()["status"] = json!({ "path": "/status" });
    assert_eq!(
        rules(&examine(&snapshot(&wrong))),
        BTreeSet::from(["chain"])
    );
}

#[test]
fn what_keeps_sessions_stands_behind_the_filter() {
    type Change = fn(&mut Vec<Value>);
    let sound = sample_of("socketio.yaml");
    assert_eq!(examine(&snapshot(&sound)), []);
    let changed = |change: Change| {
        let mut wrong = sound.clone();
        let filters = wrong.pointer_mut(&format!("{MANAGER}/http_filters"));
        change(filters.unwrap().as_array_mut().unwrap());
        examine(&snapshot(&wrong))
    };
    let mistakes: [(Change, &str); 2] = [
        (|filters| filters.swap(0, 1), "stands before this one"),
        (
            |filters| drop(filters.remove(1)),
            "nothing in the chain keeps sessions by the cookie wsbalancer-pod",
        ),
    ];
    for (change, told) in mistakes {
        let findings = changed(change);
        assert_eq!(rules(&findings), BTreeSet::from(["sessions"]));
        assert!(findings[0].what.contains(told), "{findings:#?}");
    }
}

#[test]
fn what_has_happened_is_found() {
    let mut envoy = snapshot(&sample());
    let statistics = [
        "wasmcustom.wsbalancer.chat.upgrades_mismatched",
        "cluster.chat.upstream_cx_overflow",
    ];
    envoy.statistics = statistics.map(|name| (name.to_owned(), 2)).into();
    let findings = examine(&envoy);
    assert_eq!(findings.len(), 2, "{findings:#?}");
    assert_eq!(rules(&findings), BTreeSet::from(["counters"]));
    assert!(findings.iter().all(|finding| finding.what.contains('2')));
}

#[test]
fn the_status_says_which_pods_are_wrong() {
    let mut envoy = snapshot(&sample());
    envoy.status = json!({
        "services": [{ "url": "chat", "discovery": { "lastError": "status 503" } }],
        "podMetrics": { "chat": [
            { "address": "10.0.0.1:80", "state": "healthy", "complaint": null, "implausible": false },
            { "address": "10.0.0.2:80", "state": "unhealthy", "lastError": "status 404" },
            { "address": "10.0.0.3:80", "state": "healthy", "complaint": "weight: -1" },
            { "address": "10.0.0.4:80", "state": "healthy", "implausible": true },
        ]},
    });
    let findings = examine(&envoy);
    assert_eq!(findings.len(), 4, "{findings:#?}");
    let text: String = findings.iter().map(ToString::to_string).collect();
    for part in [
        "status 503",
        "10.0.0.2:80: it is unhealthy: status 404",
        "weight: -1",
        "10.0.0.4",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn alerts_that_can_not_match_are_found() {
    for (series, found) in [
        ("wsbalancer_polls_ok{service=\"chat\"} 5\n", false),
        ("wsbalancer_chat_polls_ok{} 5\n", false),
        ("", true),
    ] {
        let mut envoy = snapshot(&sample());
        envoy.series = Some(series.to_owned());
        let findings = examine(&envoy);
        assert_eq!(rules(&findings).contains("alerts"), found, "{series}");
        assert_eq!(findings.len(), usize::from(found));
    }
    let mut wrong = sample();
    let listeners = wrong["static_resources"]["listeners"].as_array_mut();
    listeners.unwrap().truncate(1);
    let findings = examine(&snapshot(&wrong));
    assert_eq!(rules(&findings), BTreeSet::from(["alerts"]));
}

#[test]
fn what_the_filter_warns_of_is_found() {
    let mut envoy = snapshot(&sample());
    let warning =
        |kind: &str, advice: Value| json!({ "kind": kind, "message": kind, "advice": advice });
    envoy.status = json!({
        "warnings": [warning("vmId", json!("vm_id: wsbalancer"))],
        "services": [{ "url": "chat", "warnings": [
            warning("ports", json!("# In the cluster:\na: 1\n")),
            warning("twoFilters", Value::Null),
        ]}],
    });
    let findings = examine(&envoy);
    let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "error: cluster chat: ports [warnings]\n  # In the cluster:\n  a: 1",
            "warning: Envoy: vmId [warnings]\n  vm_id: wsbalancer",
            "warning: cluster chat: twoFilters [warnings]\n  see the warning twoFilters in operations.md",
        ]
    );
}

#[test]
fn an_old_envoy_with_many_clusters_is_found() {
    let mut envoy = snapshot(&sample());
    let more = (0..100).map(|number| json!({ "name": format!("c{number}") }));
    envoy.clusters.extend(more);
    for (version, found) in [((1, 37), 1), ((1, 38), 0)] {
        envoy.version = Some(version);
        assert_eq!(examine(&envoy).len(), found, "{version:?}");
    }
}

#[test]
fn what_envoy_has_refused_is_found() {
    let mut envoy = snapshot(&sample());
    envoy.refused = Snapshot::of_dump(&json!({ "configs": [{
        "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
        "dynamic_listeners": [{ "name": "web", "error_state": { "details": "no such filter" } }],
    }]}))
    .refused;
    let findings = examine(&envoy);
    assert_eq!(rules(&findings), BTreeSet::from(["refused"]));
    assert!(findings[0].what.contains("no such filter"));
}

fn recorded(name: &str) -> Snapshot {
    let text = fs::read_to_string(format!("{ROOT}/tests/e2e/recordings/{name}.json")).unwrap();
    Snapshot::of_resources(&serde_json::from_str(&text).unwrap())
}

/// The recordings are older than the removal of the override header, than the status, and than
/// `adminCluster`'s place in the bootstrap.
#[test]
fn what_real_control_planes_made_is_examined() {
    for name in [
        "istio-1.31/mtls.after",
        "istio-1.31/ambient.after",
        "envoy-gateway-1.9/gateway",
    ] {
        let findings = examine(&recorded(name));
        let found = rules(&findings);
        let known = BTreeSet::from(["alerts", "discovery", "header"]);
        assert!(!found.contains("chain"), "{name}: {findings:#?}");
        assert!(found.is_subset(&known), "{name}: {findings:#?}");
    }
}

/// The filter of one recording before the cluster and the endpoints of another.
#[test]
fn istios_failover_between_zones_is_found() {
    let mut envoy = recorded("istio-1.31/mtls.after");
    let zones = recorded("istio-1.31/zones-with-outlier-detection");
    envoy.endpoints = zones.endpoints;
    let findings = examine(&envoy);
    assert!(
        findings
            .iter()
            .any(|one| one.what.contains("failover between zones")),
        "{findings:#?}"
    );
}

#[test]
fn an_envoy_without_the_filter_and_nobody_at_all() {
    assert_eq!(
        rules(&examine(&recorded("istio-1.31/gateway.before"))),
        BTreeSet::from(["chain"])
    );
    let tool = Command::new(env!("CARGO_BIN_EXE_wsbalancer"))
        .args(["doctor", "127.0.0.1:1"])
        .output()
        .unwrap();
    assert_eq!(tool.status.code(), Some(2));
    assert!(tool.stdout.is_empty());
}
