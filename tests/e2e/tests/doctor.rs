//! `wsbalancer doctor` on real Envoys that have the mistakes of the documentation's troubleshooting page.
//! Those that show while WebSockets come and go are found where they are made: in `warnings` and others.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use wsbalancer_backend::{Fleet, FleetConfig, MetricBehavior};
use wsbalancer_e2e::doctor::findings;
use wsbalancer_e2e::{PATIENCE, addresses, every};
use wsbalancer_harness::{Envoy, Sample, wait_until};

const HEADER: &str = "x-gateway-destination-endpoint";

/// A gateway: its name, what changes its listener and its cluster, and the rules that find that.
type Case = (&'static str, fn(&mut Gateway), &'static [&'static str]);

/// A listener of the sample with a cluster of its own.
struct Gateway {
    listener: Value,
    cluster: Value,
}

impl Gateway {
    /// As the sample has it, under another name.
    fn new(sample: &Sample, name: &str) -> Self {
        let mut sample = sample.clone();
        sample.route()["cluster"] = name.into();
        sample.plugin_configuration()["services"] = json!([{ "cluster": name }]);
        sample.cluster()["name"] = name.into();
        sample.cluster()["load_assignment"]["cluster_name"] = name.into();
        let manager = sample.connection_manager();
        manager["route_config"]["virtual_hosts"][0]["name"] = name.into();
        sample.listener()["name"] = name.into();
        Self {
            listener: sample.listener().clone(),
            cluster: sample.cluster().clone(),
        }
    }

    fn manager(&mut self) -> &mut Value {
        &mut self.listener["filter_chains"][0]["filters"][0]["typed_config"]
    }

    fn host(&mut self) -> &mut Value {
        &mut self.manager()["route_config"]["virtual_hosts"][0]
    }

    fn route(&mut self) -> &mut Value {
        &mut self.host()["routes"][0]["route"]
    }

    fn plugin(&mut self) -> &mut Value {
        &mut self.manager()["http_filters"][0]["typed_config"]["config"]
    }

    fn options(&mut self) -> &mut Value {
        &mut self.plugin()["configuration"]["value"]
    }
}

fn remove(place: &mut Value, field: &str) {
    let fields = place.as_object_mut().expect("fields");
    assert!(fields.remove(field).is_some(), "no {field}");
}

/// The mistakes that a configuration can have.
const CASES: [Case; 23] = [
    ("sound", |_| (), &[]),
    (
        "silence",
        |it| {
            remove(it.route(), "idle_timeout");
            remove(it.manager(), "stream_idle_timeout");
        },
        &["timeouts"],
    ),
    ("brief", |it| remove(it.route(), "timeout"), &["timeouts"]),
    (
        "hourly",
        |it| it.route()["max_stream_duration"] = json!({ "max_stream_duration": "3600s" }),
        &["timeouts"],
    ),
    (
        "breakers",
        |it| remove(&mut it.cluster, "circuit_breakers"),
        &["circuit-breakers"],
    ),
    (
        "no-policy",
        |it| remove(&mut it.cluster, "load_balancing_policy"),
        &["steering"],
    ),
    (
        "other-header",
        |it| it.options()["overrideHeader"] = "x-pods".into(),
        // The listener removes the usual one.
        &["header", "steering"],
    ),
    (
        "removed-header",
        |it| it.host()["request_headers_to_remove"] = json!([HEADER]),
        &["steering"],
    ),
    (
        "no-cluster",
        |it| it.options()["services"][0]["cluster"] = "no-cluster-at-all".into(),
        // Its pods can't be listed either.
        &["discovery", "steering"],
    ),
    (
        "other-cluster",
        |it| it.route()["cluster"] = "sound".into(),
        &["steering"],
    ),
    (
        "own-cluster",
        |it| {
            it.options()["routeBy"] = "cluster".into();
            remove(it.options(), "discovery");
        },
        &["steering"],
    ),
    (
        "no-upgrades",
        |it| remove(it.manager(), "upgrade_configs"),
        &["upgrades"],
    ),
    (
        "no-retries",
        |it| remove(it.route(), "retry_policy"),
        &["retries"],
    ),
    (
        "other-retries",
        |it| it.route()["retry_policy"]["retry_on"] = "retriable-4xx".into(),
        &["retries"],
    ),
    (
        "header-kept",
        |it| remove(it.manager(), "early_header_mutation_extensions"),
        &["header"],
    ),
    (
        "two-filters",
        |it| {
            let filters = it.manager()["http_filters"].as_array_mut();
            let filters = filters.expect("HTTP filters");
            let mut second = filters[0].clone();
            second["name"] = "second".into();
            filters.insert(1, second);
        },
        &["chain"],
    ),
    (
        "public-status",
        |it| it.options()["status"] = json!({ "path": "/balancer-metrics" }),
        &["chain"],
    ),
    (
        "no-admin",
        |it| it.options()["discovery"]["adminCluster"] = "nobody".into(),
        &["discovery"],
    ),
    (
        "no-hosts",
        |it| it.cluster["load_assignment"]["endpoints"] = json!([]),
        &["pods"],
    ),
    (
        "ejects",
        |it| it.cluster["outlier_detection"] = json!({ "consecutive_gateway_failure": 5 }),
        &["zones"],
    ),
    (
        "stays-crashed",
        |it| remove(it.plugin(), "failure_policy"),
        &["vm"],
    ),
    (
        "other-vm",
        |it| it.plugin()["vm_config"]["vm_id"] = "other-vm".into(),
        &["vm"],
    ),
    (
        "sessions",
        |it| {
            it.options()["sessions"] = json!({
                "openedBy": [{ "pathPrefix": "/socket.io/" }],
                "carriedBy": [{ "query": "sid" }],
                "keptBy": { "cookie": "wsbalancer-pod" },
            });
        },
        &["sessions"],
    ),
];

/// What pods answer to polls, and a part of what is found.
fn answers() -> Vec<(MetricBehavior, &'static str)> {
    let status = |code| MetricBehavior::Status(StatusCode::from_u16(code).expect("a status"));
    let body = |text: &str| MetricBehavior::Body(text.to_owned());
    vec![
        (status(301), "unhealthy: status 301 (a redirect"),
        (
            status(400),
            "unhealthy: status 400 (does the pod expect another host",
        ),
        (
            status(401),
            "unhealthy: status 401 (the pod wants credentials",
        ),
        (status(403), "unhealthy: status 403 (the pod forbids it"),
        (status(404), "unhealthy: status 404 (is metricPath right?)"),
        (
            status(406),
            "unhealthy: status 406 (the pod has no such form",
        ),
        (MetricBehavior::Hang, "unhealthy: status 504 (Envoy's own"),
        (body("[]"), "unhealthy: the body is not a JSON object"),
        (
            body(r#"{"agentsConnections": "many"}"#),
            "unhealthy: agentsConnections is not",
        ),
        (
            body(r#"{"agentsConnections": 1, "weight": -1}"#),
            "a field of its count can't be: weight",
        ),
    ]
}

/// One Envoy has all of them, each on a listener and a cluster of its own; and one more has pods each of
/// which is wrong in another way.
#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_is_found_where_it_is_and_nothing_where_none_is() -> Result<()> {
    let sound = Fleet::start(FleetConfig::local(2)).await?;
    let answers = answers();
    // The last one refuses connections.
    let mut wrong = FleetConfig::local(answers.len() + 1);
    for (pod, (answer, _)) in wrong.pods.iter_mut().zip(&answers) {
        pod.switches.metric = answer.clone();
    }
    wrong.pods[answers.len()].refusing = true;
    let wrong = Fleet::start(wrong).await?;
    let refusing = addresses(&wrong)[answers.len()];

    let sample = every(500)(Sample::standard()?);
    let of_sound = sample.clone().pods(&addresses(&sound));
    let mut gateways: Vec<Gateway> = CASES
        .iter()
        .map(|(name, change, _)| {
            let mut gateway = Gateway::new(&of_sound, name);
            change(&mut gateway);
            gateway
        })
        .collect();
    gateways.push(Gateway::new(&sample.pods(&addresses(&wrong)), "wrong-pods"));
    let sample = Sample::standard()?.edit(|configuration| {
        let lists = &mut configuration["static_resources"];
        for gateway in gateways {
            for (list, one) in [("listeners", gateway.listener), ("clusters", gateway.cluster)] {
                lists[list].as_array_mut().expect("a list").push(one);
            }
        }
        // What Envoy Gateway has for all of its Envoys.
        configuration["overload_manager"]["resource_monitors"] = json!([{
            "name": "envoy.resource_monitors.global_downstream_max_connections",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                "max_active_downstream_connections": 50_000,
            },
        }]);
    });
    let sample = sample.pods(&addresses(&sound));
    let envoy = block_in_place(|| Envoy::start(&sample))?;

    let expect: BTreeSet<(String, &str)> = CASES
        .iter()
        .flat_map(|(name, _, rules)| rules.iter().map(|rule| ((*name).to_owned(), *rule)))
        .chain([
            ("wrong-pods".to_owned(), "pods"),
            ("Envoy".to_owned(), "circuit-breakers"),
        ])
        .collect();
    let mut last = None;
    let found = block_in_place(|| {
        wait_until("exactly these findings", PATIENCE, || {
            let found = findings(&envoy).ok()?;
            let places = found
                .iter()
                .map(|one| (place(&one.place), one.rule))
                .collect();
            let is_it = expect == places;
            last = Some((found.clone(), places));
            // A pod that nobody has asked yet is unknown.
            let is_known = !found.iter().any(|one| one.what.contains("it is unknown"));
            (is_it && is_known).then_some(found)
        })
    })
    .with_context(|| {
        let (found, places) = last.unwrap_or_default();
        let (missing, more) = (expect.difference(&places), places.difference(&expect));
        let (missing, more): (Vec<_>, Vec<_>) = (missing.collect(), more.collect());
        format!("missing: {missing:#?}\nmore: {more:#?}\nof {found:#?}")
    })?;

    let of_pods: Vec<String> = found.iter().map(ToString::to_string).collect();
    let is_told = |address: &str, what: &str| {
        let of_pod = format!("pod {address}: ");
        let mut told = of_pods.iter().filter(|one| one.contains(&of_pod));
        told.any(|one| one.contains(what))
    };
    for (pod, (_, what)) in wrong.pods().iter().zip(&answers) {
        assert!(
            is_told(&pod.address().to_string(), what),
            "{what}: {of_pods:#?}"
        );
    }
    let cannot = "status 503 (Envoy's own where it could not connect)";
    assert!(is_told(&refusing.to_string(), cannot), "{of_pods:#?}");
    Ok(())
}

/// The gateway of a finding's place.
fn place(place: &str) -> String {
    let name = ["cluster ", "listener ", "vm_id "]
        .into_iter()
        .find_map(|kind| place.strip_prefix(kind));
    let name = name.unwrap_or(place).trim_matches('"');
    let name = name.split(',').next().unwrap_or_default();
    name.strip_suffix("-at-all").unwrap_or(name).to_owned()
}
