//! What the project delivers for Prometheus works in a real one, before a real Envoy, as it comes up by
//! itself, behind Istio and behind Envoy Gateway: every series is there, every panel has something to
//! show, all that alerts are about is there, and alerts fire and end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use wsbalancer_backend::{FleetConfig, MetricBehavior, Pod};
use wsbalancer_client::{Held, Load};
use wsbalancer_e2e::istio::{CLUSTER, documents};
use wsbalancer_e2e::markdown;
use wsbalancer_e2e::mesh::{Inbound, Mesh, PODS, Shape};
use wsbalancer_e2e::prometheus::{Prometheus, configuration, delivered, folder, hasty_alerts};
use wsbalancer_e2e::resources::{Kind, Resources};
use wsbalancer_e2e::runnable::{ADMIN_CLUSTER, Runnable};
use wsbalancer_e2e::{PATIENCE, Stage, assert_all_well, every};
use wsbalancer_harness::{Sample, own_address, wait_until};

const SERVICE: &str = "service";
const POD: &str = "service, pod";
/// That of the kinds that hold for the whole gateway has no `service`.
const WARNING: &str = "wsbalancer_warning";

/// Every series of the status but [`WARNING`], and its labels.
const SERIES: [(&str, &str); 37] = [
    ("wsbalancer_capacity", SERVICE),
    ("wsbalancer_capacity_used", SERVICE),
    ("wsbalancer_connections", SERVICE),
    ("wsbalancer_discovery_age_seconds", SERVICE),
    ("wsbalancer_estimate", SERVICE),
    ("wsbalancer_imbalance", SERVICE),
    ("wsbalancer_own_connections", SERVICE),
    ("wsbalancer_share", SERVICE),
    ("wsbalancer_silent_seconds", SERVICE),
    ("wsbalancer_upgrades_failed_total", SERVICE),
    ("wsbalancer_upgrades_mismatched_total", SERVICE),
    ("wsbalancer_upgrades_retried_total", SERVICE),
    ("wsbalancer_websockets_cut_total", SERVICE),
    ("wsbalancer_websockets_rebalanced_total", SERVICE),
    ("wsbalancer_workers", SERVICE),
    ("wsbalancer_workers_lost_total", SERVICE),
    ("wsbalancer_discovery_requests_total", "result, service"),
    ("wsbalancer_polls_total", "result, service"),
    ("wsbalancer_upgrades_total", "result, service"),
    ("wsbalancer_pods", "service, state"),
    ("wsbalancer_pod_closed_total", POD),
    ("wsbalancer_pod_connections", POD),
    ("wsbalancer_pod_count_age_seconds", POD),
    ("wsbalancer_pod_cut_total", POD),
    ("wsbalancer_pod_estimate", POD),
    ("wsbalancer_pod_even_share", POD),
    ("wsbalancer_pod_failed_total", POD),
    ("wsbalancer_pod_implausible", POD),
    ("wsbalancer_pod_max_connections", POD),
    ("wsbalancer_pod_opened_total", POD),
    ("wsbalancer_pod_own_connections", POD),
    ("wsbalancer_pod_polls_failed_total", POD),
    ("wsbalancer_pod_rebalanced_total", POD),
    ("wsbalancer_pod_refused_total", POD),
    ("wsbalancer_pod_usable", POD),
    ("wsbalancer_pod_weight", POD),
    (
        "wsbalancer_pod_info",
        "node, pod, pod_ip, pod_name, service, state",
    ),
];

#[test]
fn promtool_approves_of_the_files() {
    for arguments in [
        ["check", "config", "prometheus.yaml"],
        ["check", "rules", "alerts.yaml"],
        ["test", "rules", "alerts_test.yaml"],
    ] {
        let promtool = Command::new("promtool")
            .args(arguments)
            .current_dir(folder())
            .output()
            .expect("promtool should be there: `cargo xtask setup` installs it");
        let output = String::from_utf8_lossy(&promtool.stdout).into_owned()
            + &String::from_utf8_lossy(&promtool.stderr);
        assert!(promtool.status.success(), "{arguments:?}: {output}");
    }
}

/// One host for both of the addresses that are scraped, as a gateway has.
fn on_one_host(sample: Sample) -> Sample {
    let host = own_address().ip();
    every(500)(sample).edit(|configuration| {
        configuration["static_resources"]["listeners"][1]["address"]["socket_address"]["address"] =
            host.to_string().into();
    })
}

/// Who configures an Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    Istio,
    EnvoyGateway,
}

/// An Envoy before pods.
enum Gateway {
    Plain(Box<Stage>),
    Mesh(Box<Mesh>),
}

impl Gateway {
    /// One with its status on a listener of its own, as the project's manifests make it.
    async fn start(form: Form, fleet: FleetConfig) -> Result<Self> {
        let pods = fleet.pods.len();
        let gateway = match form {
            Form::Plain => Self::Plain(Box::new(Stage::start(fleet, on_one_host).await?)),
            Form::Istio => {
                let mut manifests = documents("envoy/istio/gateway.yaml")?;
                manifests.extend(documents("envoy/istio/status.yaml")?);
                let resources = Shape::GATEWAY.with(&manifests)?;
                Self::mesh(Shape::GATEWAY, resources, fleet).await?
            }
            Form::EnvoyGateway => {
                let mut resources = Shape::ENVOY_GATEWAY.before()?;
                let patch = documents("envoy/envoy-gateway/status.yaml")?;
                let patch = patch.first().context("a patch")?;
                let listener = &patch["spec"]["jsonPatches"][0]["operation"]["value"];
                resources.all(Kind::Listeners).push(listener.clone());
                Self::mesh(Shape::ENVOY_GATEWAY, resources, fleet).await?
            }
        };
        gateway.stage().until_usable(pods)?;
        Ok(gateway)
    }

    async fn mesh(shape: Shape, resources: Resources, fleet: FleetConfig) -> Result<Self> {
        let often = |runnable: Runnable| {
            let discovery = json!({ "adminCluster": ADMIN_CLUSTER, "interval": "500ms" });
            let runnable = runnable.option("cacheTTL", "2s");
            let runnable = runnable.option("refreshInterval", "500ms");
            runnable.option("discovery", discovery)
        };
        let mesh = Mesh::start_with(shape, resources, Inbound::Nothing, fleet, often).await?;
        Ok(Self::Mesh(Box::new(mesh)))
    }

    fn stage(&self) -> &Stage {
        match self {
            Self::Plain(stage) => stage,
            Self::Mesh(mesh) => &mesh.stage,
        }
    }

    fn load(&self, connections: u32) -> Result<Load> {
        match self {
            Self::Plain(stage) => stage.load(connections, 0),
            Self::Mesh(mesh) => mesh.load(connections),
        }
    }

    /// A Prometheus that scrapes it.
    fn scraped(&self, alerts: &str) -> Result<Prometheus> {
        Prometheus::start(&configuration(self.stage(), &[self.status()])?, alerts)
    }

    /// The listener of its status.
    const fn status(&self) -> &'static str {
        match self {
            Self::Plain(_) => "status",
            Self::Mesh(_) => "wsbalancer_status",
        }
    }
}

impl Form {
    /// The name of the service that it has, which is that of the cluster.
    const fn service(self) -> &'static str {
        match self {
            Self::Plain => "chat",
            Self::Istio => CLUSTER,
            Self::EnvoyGateway => "httproute/default/chat/rule/0",
        }
    }

    /// Whether it can have nothing to show in a panel: what is in the query is a statistic of Envoy's
    /// that it does not keep.
    fn lacks(self, query: &str) -> bool {
        match self {
            Self::Plain => false,
            // Of clusters it keeps none unless it is told to.
            Self::Istio => query.contains("envoy_cluster_"),
            // Its filters fail open.
            Self::EnvoyGateway => query.contains("_vm_reload_"),
        }
    }
}

/// Pods of which each has a limit; the first reports more than the others.
fn limited() -> FleetConfig {
    let mut fleet = wsbalancer_e2e::preloaded(PODS, &[30, 0]);
    for pod in &mut fleet.pods {
        pod.switches.max_connections = Some(1_000);
    }
    fleet
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_there_of_a_plain_envoy() -> Result<()> {
    assert_all_is_there(Form::Plain).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_there_of_an_ingress_gateway_of_istio() -> Result<()> {
    assert_all_is_there(Form::Istio).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_there_of_an_envoy_of_envoy_gateway() -> Result<()> {
    assert_all_is_there(Form::EnvoyGateway).await
}

async fn assert_all_is_there(form: Form) -> Result<()> {
    let gateway = Gateway::start(form, limited()).await?;
    let prometheus = gateway.scraped(&delivered("alerts.yaml")?)?;
    let opened = gateway.load(400)?.open().await;
    assert_all_well(&opened.report());
    let mut held = vec![opened];
    until_true(&prometheus, gateway.stage().pods())?;
    // Of both jobs, as many samples as a rate takes.
    until_some(&prometheus, "count(sum_over_time(up[1m]) >= 5) == 2")?;

    let status = gateway.stage().envoy.listener(gateway.status());
    let instance = status.context("a status")?.ip().to_string();
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    for series in prometheus.series(r#"{__name__=~"wsbalancer_.+",job="wsbalancer"}"#)? {
        let series: BTreeMap<String, String> = serde_json::from_value(series)?;
        let of_gateway = series["__name__"] == WARNING && series["kind"] == "vmId";
        let service = (!of_gateway).then(|| form.service());
        let told = series.get("service").map(String::as_str);
        assert_eq!(told, service, "{series:?}");
        assert_eq!(series["instance"], instance, "{series:?}");
        let labels = series.keys().map(String::as_str);
        let labels = labels.filter(|label| !["__name__", "instance", "job"].contains(label));
        let labels: Vec<&str> = labels.collect();
        found
            .entry(series["__name__"].clone())
            .or_default()
            .insert(sorted(&labels.join(", ")));
    }
    let expected = SERIES.map(|(name, labels)| (name.to_owned(), [sorted(labels)].into()));
    let mut expected = BTreeMap::from(expected);
    let warnings: BTreeSet<String> = ["kind", "kind, service"].map(sorted).into();
    expected.insert(WARNING.to_owned(), warnings);
    assert_eq!(found, expected);

    for selector in selectors_of_alerts()? {
        until_some(&prometheus, &selector)?;
    }
    let dashboard: Value = serde_json::from_str(&delivered("dashboard.json")?)?;
    let mut queries = Vec::new();
    collect_queries(&dashboard["panels"], &mut queries);
    assert!(queries.len() > 20, "{queries:#?}");
    let annotations = dashboard["annotations"]["list"].as_array();
    let annotations = annotations.into_iter().flatten();
    for query in annotations.filter_map(|annotation| annotation["expr"].as_str()) {
        // Whether there is anything is up to what happens.
        prometheus.query(&ready(query)?)?;
    }
    let shown = |query: &&String| !form.lacks(query);
    for query in queries.iter().filter(shown) {
        until_shown(&gateway, &prometheus, &mut held, &ready(query)?)?;
    }
    Ok(())
}

/// Waits until a panel has numbers to show. What is about new WebSockets has some while there are any.
fn until_shown(
    gateway: &Gateway,
    prometheus: &Prometheus,
    held: &mut Vec<Held>,
    query: &str,
) -> Result<()> {
    let is_number = |series: &Value| series["value"][1] != "NaN";
    let what = format!("numbers to show: {query}");
    let shown = || match prometheus.query(query) {
        Err(error) => Some(Err(error)),
        Ok(data) if !data.is_empty() && data.iter().all(is_number) => Some(Ok(())),
        Ok(_) => {
            let load = gateway.load(1).ok()?;
            held.push(Handle::current().block_on(load.open()));
            None
        }
    };
    block_in_place(|| wait_until(&what, PATIENCE, shown)).flatten()
}

/// A query of the dashboard with all that its variables can be, and four scrapes.
fn ready(query: &str) -> Result<String> {
    let query = query
        .replace("$service", ".+")
        .replace("$instance", ".+")
        .replace("$__rate_interval", "2s");
    ensure!(!query.contains('$'), "an unknown variable: {query}");
    Ok(query)
}

/// The rules of alerts.yaml.
fn rules() -> Result<Vec<Value>> {
    let files = documents("envoy/prometheus/alerts.yaml")?;
    let groups = files.iter().filter_map(|file| file["groups"].as_array());
    let rules = groups
        .flatten()
        .filter_map(|group| group["rules"].as_array());
    Ok(rules.flatten().cloned().collect())
}

/// All series that alerts are about, as far as they are there while all is well: without the states
/// that pods are in then.
fn selectors_of_alerts() -> Result<BTreeSet<String>> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut selectors = BTreeSet::new();
    for rule in rules()? {
        let mut rest = rule["expr"].as_str().context("an expression")?;
        while let Some(start) = rest.find("wsbalancer_") {
            // Names of recorded series have something before it.
            let start = rest[..start].rfind(|c| !is_name(c)).map_or(0, |at| at + 1);
            rest = &rest[start..];
            let name = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
            rest = &rest[name.len()..];
            let matchers = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let matchers = matchers.map_or("", |(matchers, _)| matchers);
            selectors.insert(match matchers {
                "" => name.to_owned(),
                state if state.starts_with("state=") => format!("{name}{{state!=\"\"}}"),
                matchers => format!("{name}{{{matchers}}}"),
            });
        }
    }
    ensure!(selectors.len() > 15, "{selectors:?}");
    Ok(selectors)
}

/// Tests of alerts are of series as they are: with such labels, and no others.
#[test]
fn alerts_are_tested_on_series_that_there_are() -> Result<()> {
    let files = documents("envoy/prometheus/alerts_test.yaml")?;
    let tests = files.iter().filter_map(|file| file["tests"].as_array());
    let inputs = tests
        .flatten()
        .filter_map(|test| test["input_series"].as_array());
    let mut tested = 0;
    for input in inputs.flatten() {
        let series = input["series"].as_str().context("a series")?;
        let (name, labels) = series.split_once('{').context("labels")?;
        let labels = labels.trim_end_matches('}').split("\",");
        let labels: BTreeMap<&str, &str> = labels
            .filter_map(|label| label.trim_end_matches('"').split_once("=\""))
            .collect();
        let mut known = match SERIES.iter().find(|(known, _)| *known == name) {
            Some((_, known)) => known.split(", ").collect(),
            None if name == "up" => Vec::new(),
            None => {
                assert_eq!(name, WARNING, "{series}");
                let of_service = labels["kind"] != "vmId";
                assert_eq!(labels.contains_key(SERVICE), of_service, "{series}");
                vec!["kind", SERVICE]
            }
        };
        known.extend(["instance", "job"]);
        assert!(labels.keys().all(|label| known.contains(label)), "{series}");
        tested += 1;
    }
    ensure!(tested > 100, "{tested}");
    Ok(())
}

/// The line of sed at the top of the alerts has every `runbook_url` lead into the documentation, wherever
/// that is published.
#[test]
fn one_line_sets_the_url_of_the_documentation() -> Result<()> {
    const PUBLISHED: &str = "https://git.example.org/our/wsbalancer/blob/main";
    let alerts = delivered("alerts.yaml")?;
    let mut lines = alerts
        .lines()
        .map(|line| line.trim_start_matches(['#', ' ']));
    let line = lines
        .find(|line| line.starts_with("sed "))
        .context("a line")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("alerts.yaml");
    fs::write(&file, &alerts)?;
    let shell = Command::new("sh")
        .args(["-c", line])
        .current_dir(folder.path())
        .output()?;
    assert!(shell.status.success(), "{line}: {shell:?}");
    let published = fs::read_to_string(file)?;
    assert_eq!(published.matches(PLACEHOLDER).count(), 0);
    let page = "/docs/runbooks.md#wsbalancer";
    assert_eq!(
        published.matches(&format!("{PUBLISHED}{page}")).count(),
        alerts.matches(&format!("{PLACEHOLDER}{page}")).count()
    );
    // Nowhere else is it said how.
    for page in markdown::pages()? {
        assert!(!page.text.contains(PLACEHOLDER), "{}", page.file.display());
    }
    Ok(())
}

/// Where the documentation is before anybody has said where.
const PLACEHOLDER: &str = "https://example.com/wsbalancer";

/// The heading that an alert's `runbook_url` leads to is there.
#[test]
fn every_alert_has_its_runbook() -> Result<()> {
    let pages = markdown::pages()?;
    let runbooks = pages.iter().find(|page| page.file.ends_with("runbooks.md"));
    let anchors = runbooks.context("docs/runbooks.md")?.anchors();
    let mut alerts = BTreeSet::new();
    for rule in rules()? {
        let Some(alert) = rule["alert"].as_str() else {
            continue;
        };
        let anchor = alert.to_lowercase();
        let url = format!("{PLACEHOLDER}/docs/runbooks.md#{anchor}");
        assert_eq!(rule["annotations"]["runbook_url"], url, "{alert}");
        assert!(anchors.contains(&anchor), "no runbook for {alert}");
        alerts.insert(anchor);
    }
    let others = anchors
        .iter()
        .filter(|anchor| anchor.starts_with("wsbalancer") && !alerts.contains(*anchor));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&String>::new());
    Ok(())
}

/// Waits until a query has something to show, which is returned.
fn until_some(prometheus: &Prometheus, query: &str) -> Result<Vec<Value>> {
    block_in_place(|| {
        wait_until(
            &format!("something to show: {query}"),
            PATIENCE,
            || match prometheus.query(query) {
                Ok(data) => (!data.is_empty()).then_some(Ok(data)),
                Err(error) => Some(Err(error)),
            },
        )
    })
    .flatten()
}

fn sorted(labels: &str) -> String {
    let labels: BTreeSet<&str> = labels.split(", ").collect();
    labels.into_iter().collect::<Vec<_>>().join(", ")
}

fn collect_queries(panels: &Value, queries: &mut Vec<String>) {
    for panel in panels.as_array().into_iter().flatten() {
        let targets = panel["targets"].as_array().into_iter().flatten();
        queries.extend(targets.filter_map(|target| Some(target["expr"].as_str()?.to_owned())));
        collect_queries(&panel["panels"], queries);
    }
}

/// Waits until Prometheus has for each pod what that has counted itself.
fn until_true(prometheus: &Prometheus, pods: &[Pod]) -> Result<()> {
    let by_pod = |query: &str| -> Result<BTreeMap<String, String>> {
        let series = prometheus.query(query)?;
        let pair = |series: &Value| {
            let pod = series["metric"]["pod"].as_str()?.to_owned();
            Some((pod, series["value"][1].as_str()?.to_owned()))
        };
        series
            .iter()
            .map(pair)
            .collect::<Option<_>>()
            .context("a pod and its value")
    };
    let truth = |count: fn(&Pod) -> u64| -> BTreeMap<String, String> {
        let pods = pods.iter();
        pods.map(|pod| (pod.address().to_string(), count(pod).to_string()))
            .collect()
    };
    for (query, count) in [
        (
            "wsbalancer_pod_connections",
            Pod::reported as fn(&Pod) -> u64,
        ),
        ("wsbalancer_pod_own_connections", Pod::open),
        ("wsbalancer_pod_opened_total", Pod::opened),
    ] {
        let truth = truth(count);
        block_in_place(|| {
            wait_until(&format!("{query} to be {truth:?}"), PATIENCE, || {
                (by_pod(query).ok()? == truth).then_some(())
            })
        })?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_fire_while_something_is_wrong_and_no_longer() -> Result<()> {
    assert_alerts_fire(Form::Plain).await
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_fire_behind_istio() -> Result<()> {
    assert_alerts_fire(Form::Istio).await
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_fire_behind_envoy_gateway() -> Result<()> {
    assert_alerts_fire(Form::EnvoyGateway).await
}

/// Also those of counters, which have other names among Envoy's statistics in each form.
async fn assert_alerts_fire(form: Form) -> Result<()> {
    let gateway = Gateway::start(form, FleetConfig::local(PODS)).await?;
    let prometheus = gateway.scraped(&hasty_alerts()?)?;
    // Some WebSockets all the while, for the alerts are about a part of them.
    let mut held = Vec::new();
    let service = form.service();
    until_firing(&gateway, &prometheus, &mut held, (service, &[]))?;

    let pods = gateway.stage().pods();
    for pod in pods {
        pod.answer_metric(MetricBehavior::Status(StatusCode::INTERNAL_SERVER_ERROR));
    }
    let wrong = [
        "WsbalancerNoUsablePods",
        "WsbalancerPollsFailing",
        "WsbalancerFallbackInUse",
    ];
    until_firing(&gateway, &prometheus, &mut held, (service, &wrong))?;

    for pod in pods {
        pod.answer_metric(MetricBehavior::Truth);
    }
    until_firing(&gateway, &prometheus, &mut held, (service, &[]))?;
    Ok(())
}

/// Opens WebSockets until all these alerts of a service are firing; where there is none, until nothing
/// is.
fn until_firing(
    gateway: &Gateway,
    prometheus: &Prometheus,
    held: &mut Vec<Held>,
    (service, alerts): (&str, &[&str]),
) -> Result<()> {
    let mut firing = Vec::new();
    block_in_place(|| {
        wait_until("alerts", PATIENCE, || {
            let load = gateway.load(1).ok()?;
            held.push(Handle::current().block_on(load.open()));
            firing = prometheus.firing().ok()?;
            let all = alerts.iter().all(|alert| {
                let is_it = |labels: &&Value| labels["alertname"] == *alert;
                firing
                    .iter()
                    .find(is_it)
                    .is_some_and(|labels| labels["service"] == service)
            });
            (all && firing.is_empty() == alerts.is_empty()).then_some(())
        })
    })
    .with_context(|| format!("expected {alerts:?}, firing are {firing:#?}"))
}
