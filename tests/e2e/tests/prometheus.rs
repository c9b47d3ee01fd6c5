//! What the project delivers for Prometheus works in a real one, before a real Envoy: every series
//! is there, every panel has something to show, and alerts fire and end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use http::StatusCode;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use wsbalancer_backend::{FleetConfig, MetricBehavior, Pod};
use wsbalancer_client::Held;
use wsbalancer_e2e::prometheus::{Prometheus, configuration, folder};
use wsbalancer_e2e::{PATIENCE, Stage, assert_all_well, every, preloaded};
use wsbalancer_harness::{Sample, own_address, wait_until};

const SERVICE: &str = "service";
const POD: &str = "service, pod";

/// Every series that there is, and its labels.
const SERIES: [(&str, &str); 42] = [
    // From the filter's status.
    ("wsbalancer_connections", SERVICE),
    ("wsbalancer_estimate", SERVICE),
    ("wsbalancer_imbalance", SERVICE),
    ("wsbalancer_own_connections", SERVICE),
    ("wsbalancer_pods", "service, state"),
    ("wsbalancer_share", SERVICE),
    ("wsbalancer_silent_seconds", SERVICE),
    ("wsbalancer_pod_closed_total", POD),
    ("wsbalancer_pod_connections", POD),
    ("wsbalancer_pod_count_age_seconds", POD),
    ("wsbalancer_pod_cut_total", POD),
    ("wsbalancer_pod_estimate", POD),
    ("wsbalancer_pod_even_share", POD),
    (
        "wsbalancer_pod_info",
        "node, pod, pod_ip, pod_name, service, state",
    ),
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
    // From Envoy's statistics.
    ("wsbalancer_discovery_failed", SERVICE),
    ("wsbalancer_discovery_ok", SERVICE),
    ("wsbalancer_pods_known", SERVICE),
    ("wsbalancer_pods_usable", SERVICE),
    ("wsbalancer_polls_failed", SERVICE),
    ("wsbalancer_polls_ignored", SERVICE),
    ("wsbalancer_polls_ok", SERVICE),
    ("wsbalancer_upgrades_balanced", SERVICE),
    ("wsbalancer_upgrades_failed", SERVICE),
    ("wsbalancer_upgrades_fallback", SERVICE),
    ("wsbalancer_upgrades_forbidden", SERVICE),
    ("wsbalancer_upgrades_full", SERVICE),
    ("wsbalancer_upgrades_in_session", SERVICE),
    ("wsbalancer_upgrades_mismatched", SERVICE),
    ("wsbalancer_upgrades_rejected", SERVICE),
    ("wsbalancer_upgrades_retried", SERVICE),
    ("wsbalancer_websockets_cut", SERVICE),
    ("wsbalancer_websockets_rebalanced", SERVICE),
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

/// Pods and an Envoy, and a Prometheus that scrapes it.
async fn scraped(fleet: FleetConfig, alerts: &str) -> Result<(Stage, Prometheus)> {
    let pods = fleet.pods.len();
    let stage = Stage::start(fleet, on_one_host).await?;
    stage.until_usable(pods)?;
    let prometheus = Prometheus::start(&configuration(&stage)?, alerts)?;
    Ok((stage, prometheus))
}

/// The project's file of this name.
fn delivered(name: &str) -> Result<String> {
    let path = folder().join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_series_are_there_and_every_panel_shows_something() -> Result<()> {
    let mut fleet = preloaded(4, &[30, 0]);
    fleet.pods[0].switches.max_connections = Some(1_000);
    let (stage, prometheus) = scraped(fleet, &delivered("alerts.yaml")?).await?;
    let held = stage.load(600, 200)?.open().await;
    assert_all_well(&held.report());
    until_true(&prometheus, stage.pods())?;
    // Of both jobs, as many samples as a rate takes.
    until_some(&prometheus, "count(sum_over_time(up[1m]) >= 5) == 2")?;

    let instance = stage.envoy.admin().ip().to_string();
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    for series in prometheus.series(r#"{__name__=~"wsbalancer_.+"}"#)? {
        let series: BTreeMap<String, String> = serde_json::from_value(series)?;
        assert_eq!(series["service"], "chat", "{series:?}");
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
    assert_eq!(found, BTreeMap::from(expected));

    let dashboard: Value = serde_json::from_str(&delivered("dashboard.json")?)?;
    let mut queries = Vec::new();
    collect_queries(&dashboard["panels"], &mut queries);
    assert!(queries.len() > 20, "{queries:#?}");
    for query in queries {
        // All that the variables of the dashboard can be, and four scrapes.
        let query = query
            .replace("$service", ".+")
            .replace("$instance", ".+")
            .replace("$__rate_interval", "2s");
        assert!(!query.contains('$'), "an unknown variable: {query}");
        for series in until_some(&prometheus, &query)? {
            assert_ne!(series["value"][1], "NaN", "{query}: {series}");
        }
    }
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

/// The alerts, with minutes shrunk to seconds.
fn hasty_alerts() -> Result<String> {
    let alerts = delivered("alerts.yaml")?;
    let hasty = alerts.lines().map(|line| {
        let (indent, text) = line.split_at(line.len() - line.trim_start().len());
        if text.starts_with("for: ") {
            format!("{indent}for: 1s")
        } else {
            line.replace("[5m]", "[3s]").replace("[2m]", "[3s]")
        }
    });
    Ok(hasty.collect::<Vec<_>>().join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_fire_while_something_is_wrong_and_no_longer() -> Result<()> {
    let (stage, prometheus) = scraped(FleetConfig::local(2), &hasty_alerts()?).await?;
    // Some WebSockets all the while, for the alerts are about a part of them.
    let mut held = Vec::new();
    until_firing(&stage, &prometheus, &mut held, &[])?;

    for pod in stage.pods() {
        pod.answer_metric(MetricBehavior::Status(StatusCode::INTERNAL_SERVER_ERROR));
    }
    let wrong = ["WsbalancerNoUsablePods", "WsbalancerFallbackInUse"];
    until_firing(&stage, &prometheus, &mut held, &wrong)?;

    for pod in stage.pods() {
        pod.answer_metric(MetricBehavior::Truth);
    }
    until_firing(&stage, &prometheus, &mut held, &[])?;
    Ok(())
}

/// Opens WebSockets until all these alerts are firing; where there is none, until nothing is.
fn until_firing(
    stage: &Stage,
    prometheus: &Prometheus,
    held: &mut Vec<Held>,
    alerts: &[&str],
) -> Result<()> {
    let mut firing = Vec::new();
    block_in_place(|| {
        wait_until("alerts", PATIENCE, || {
            let load = stage.load(1, 0).ok()?;
            held.push(Handle::current().block_on(load.open()));
            firing = prometheus.firing().ok()?;
            let all = alerts.iter().all(|alert| {
                let is_it = |labels: &&Value| labels["alertname"] == *alert;
                firing
                    .iter()
                    .find(is_it)
                    .is_some_and(|labels| labels["service"] == "chat")
            });
            (all && firing.is_empty() == alerts.is_empty()).then_some(())
        })
    })
    .with_context(|| format!("expected {alerts:?}, firing are {firing:#?}"))
}
