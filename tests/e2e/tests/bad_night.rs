//! A bad night: mistakes of every kind at once, each around a service of its own, before one Envoy. Whoever
//! looks is told the same sentence and the same lines in the log, in the JSON and on the page; and is
//! woken by an alert on its series.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use wsbalancer_backend::{FleetConfig, MetricBehavior};
use wsbalancer_client::{Held, Load};
use wsbalancer_e2e::ask::{get, get_json};
use wsbalancer_e2e::browser::Browser;
use wsbalancer_e2e::prometheus::{Prometheus, configuration, hasty_alerts};
use wsbalancer_e2e::{
    PATIENCE, Stage, assert_all_well, every, load, preloaded, with_second_filter,
};
use wsbalancer_harness::{Envoy, Sample, own_address, wait_until};

/// A mistake around a service.
struct Mistake {
    /// The service, and the cluster, and the path that leads there.
    service: &'static str,
    /// The warning.
    kind: &'static str,
    /// What its sentence names.
    cause: &'static str,
    /// How many pods there are, the first with the fewest WebSockets.
    pods: usize,
    /// WebSockets that show it.
    websockets: u32,
}

const fn mistake(
    service: &'static str,
    kind: &'static str,
    cause: &'static str,
    pods: usize,
    websockets: u32,
) -> Mistake {
    Mistake {
        service,
        kind,
        cause,
        pods,
        websockets,
    }
}

const UNSTEERED: &str = "unsteered";
const ELSEWHERE: &str = "elsewhere";
const STRANGE: &str = "strange";
const UNRETRIED: &str = "unretried";
const NARROW: &str = "narrow";
const SHORT: &str = "short";
const DEAF: &str = "deaf";
const DOUBLE: &str = "double";

const MISTAKES: [Mistake; 8] = [
    mistake(UNSTEERED, "steering", "has no override_host policy", 3, 20),
    mistake(
        ELSEWHERE,
        "steering",
        ", one of the endpoints, is likely no host of the cluster elsewhere",
        2,
        10,
    ),
    mistake(
        STRANGE,
        "steering",
        ", which served, is a host of the cluster strange, but none of the endpoints",
        2,
        10,
    ),
    mistake(UNRETRIED, "retryPolicy", "has no retry_policy", 2, 1),
    mistake(
        NARROW,
        "circuitBreakers",
        "of the 20 of the cluster's circuit breaker max_requests",
        1,
        17,
    ),
    mistake(SHORT, "ports", "this machine has 30 local ports", 1, 26),
    mistake(DEAF, "noAnswer", "its only pod has never answered", 1, 0),
    mistake(DOUBLE, "twoFilters", "two filters of this kind", 1, 3),
];

const LONELY: &str = "lonely";
const NOBODY: &str = "no filter that has some shares its vm_id";
const GATEWAY: &str = "gateway-1";

/// The places of a mistake's pods among all.
fn places(service: &str) -> std::ops::Range<usize> {
    let before = MISTAKES.iter().take_while(|other| other.service != service);
    let start = before.map(|mistake| mistake.pods).sum();
    let mistake = MISTAKES.iter().find(|mistake| mistake.service == service);
    start..start + mistake.map_or(0, |mistake| mistake.pods)
}

/// All pods, of which the one that is to be silent is.
fn fleet() -> FleetConfig {
    let counts = MISTAKES.iter().flat_map(|mistake| 0..mistake.pods);
    let counts: Vec<u64> = counts.map(|place| 100 * place as u64).collect();
    let mut fleet = preloaded(counts.len(), &counts);
    for pod in &mut fleet.pods[places(DEAF)] {
        pod.switches.metric = MetricBehavior::Status(http::StatusCode::NOT_FOUND);
    }
    fleet
}

/// All mistakes at once.
fn with_mistakes(sample: Sample) -> Sample {
    let mut sample = with_second_filter(every(200)(sample.option("localPorts", 30)));
    let hosts = sample.cluster()["load_assignment"]["endpoints"][0]["lb_endpoints"].clone();
    let hosts = hosts.as_array().expect("hosts").clone();
    let address = |host: &Value| {
        let address = &host["endpoint"]["address"]["socket_address"];
        let (ip, port) = (address["address"].as_str(), &address["port_value"]);
        format!("{}:{port}", ip.expect("an address"))
    };
    let sound = sample.cluster().clone();
    let mut clusters = Vec::new();
    let mut services = Vec::new();
    let mut routes = Vec::new();
    for Mistake { service, .. } in &MISTAKES {
        let mut hosts = hosts[places(service)].to_vec();
        let mut cluster = sound.clone();
        let mut route =
            sample.connection_manager()["route_config"]["virtual_hosts"][0]["routes"][0].clone();
        let mut options = json!({ "cluster": service });
        let mut has_second = false;
        match *service {
            UNSTEERED => drop(
                cluster
                    .as_object_mut()
                    .map(|c| c.remove("load_balancing_policy")),
            ),
            ELSEWHERE => {
                options["endpoints"] = hosts.iter().map(address).collect();
                // The one that is chosen. Who is asked in its place has as many WebSockets, once.
                hosts.remove(0);
                options["cacheTTL"] = "10m".into();
            }
            STRANGE => {
                options["endpoints"] = json!([address(&hosts[0])]);
                hosts.remove(0);
            }
            UNRETRIED => {
                drop(
                    route["route"]
                        .as_object_mut()
                        .map(|r| r.remove("retry_policy")),
                );
                // So seldom that a refusal is not forestalled by a failed poll.
                options["cacheTTL"] = "10m".into();
                options["discovery"] =
                    json!({ "adminCluster": "envoy_admin", "interval": "100ms" });
            }
            NARROW => cluster["circuit_breakers"]["thresholds"][0]["max_requests"] = 20.into(),
            DOUBLE => has_second = true,
            _ => {}
        }
        cluster["name"] = (*service).into();
        cluster["load_assignment"] = json!({
            "cluster_name": service, "endpoints": [{ "lb_endpoints": hosts }],
        });
        route["match"] = json!({ "prefix": format!("/{service}") });
        route["route"]["cluster"] = (*service).into();
        let mut sound = route.clone();
        sound["typed_per_filter_config"] = json!({ "second": {
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true,
        } });
        if has_second {
            // Before it, a route without the second filter.
            sound["match"] = json!({ "prefix": format!("/{service}/sound") });
            routes.extend([sound, route]);
        } else {
            routes.push(sound);
        }
        clusters.push(cluster);
        services.push(options);
    }
    let filters = sample.connection_manager()["http_filters"].as_array_mut();
    for filter in filters.expect("filters").iter_mut().take(2) {
        filter["typed_config"]["config"]["configuration"]["value"]["services"] =
            services.clone().into();
    }
    sample.connection_manager()["route_config"]["virtual_hosts"][0]["routes"] = routes.into();
    sample.edit(|configuration| {
        configuration["node"] = json!({ "id": GATEWAY, "cluster": "edge" });
        let resources = &mut configuration["static_resources"];
        let others = resources["clusters"].as_array_mut().expect("clusters");
        others.splice(..1, clusters);
        // A status that shares its vm_id with nobody.
        let listeners = resources["listeners"].as_array_mut().expect("listeners");
        let mut lonely = listeners[1].clone();
        lonely["name"] = LONELY.into();
        // To Prometheus it is another gateway.
        lonely["address"]["socket_address"]["address"] = own_address().ip().to_string().into();
        let manager = &mut lonely["filter_chains"][0]["filters"][0]["typed_config"];
        manager["http_filters"][0]["typed_config"]["config"]["vm_config"]["vm_id"] = LONELY.into();
        listeners.push(lonely);
    })
}

/// So many WebSockets to a path.
async fn open(stage: &Stage, path: &str, count: u32) -> Result<Held> {
    let target = format!("ws://{}/{path}", stage.envoy.address()).parse()?;
    // A worker notes at most 20 a second.
    let load = Load {
        target,
        ..load(stage.envoy.address(), count, 20)?
    };
    let held = load.open().await;
    // The pod refuses, and nobody goes on to the next.
    if path != UNRETRIED {
        assert_all_well(&held.report());
    }
    Ok(held)
}

/// Waits for a warning in the JSON of this status; of a service, or of the whole gateway.
fn until_warned(envoy: &Envoy, listener: &str, service: Option<&str>, kind: &str) -> Result<Value> {
    let url = url(envoy, listener)? + "?format=json";
    let find = || -> Option<Value> {
        let status = get_json(&url).ok()?;
        let place = match service {
            Some(name) => {
                let services = status["services"].as_array()?;
                services.iter().find(|service| service["url"] == name)?
            }
            None => &status,
        };
        let warnings = place["warnings"].as_array()?;
        let all = warnings.iter().map(|warning| &warning["kind"]);
        assert!(
            all.clone().all(|other| other == kind),
            "{service:?}: {warnings:?}"
        );
        warnings.first().cloned()
    };
    let what = format!("the warning {kind} of {service:?}");
    block_in_place(|| wait_until(&what, PATIENCE, find)).with_context(|| envoy.log())
}

fn url(envoy: &Envoy, listener: &str) -> Result<String> {
    let address = envoy.listener(listener).context("a listener")?;
    Ok(format!("http://{address}/balancer-metrics"))
}

/// Asserts that the log has it once, with the lines to add, and that its series is 1. Figures in the
/// sentence go on, so it is known by its cause.
fn assert_told(
    envoy: &Envoy,
    listener: &str,
    whose: &str,
    cause: &str,
    warning: &Value,
) -> Result<()> {
    let message = warning["message"].as_str().context("a sentence")?;
    assert!(message.contains(cause), "{message}");
    let kind = warning["kind"].as_str().context("a kind")?;
    let marks = [format!("{whose}: "), format!("(warning {kind})")];
    block_in_place(|| {
        wait_until(&format!("{marks:?} in the log"), PATIENCE, || {
            let log = envoy.log();
            let mut lines = log.lines();
            lines
                .any(|line| marks.iter().all(|mark| line.contains(mark)))
                .then_some(())
        })
    })?;
    let log = envoy.log();
    let told = log.lines();
    let told: Vec<&str> = told
        .filter(|line| marks.iter().all(|mark| line.contains(mark)))
        .collect();
    assert_eq!(told.len(), 1, "once: {told:?}");
    assert!(told[0].contains("[warning]"), "{told:?}");
    assert!(told[0].contains(cause), "{told:?}");
    if let Some(advice) = warning["advice"].as_str() {
        let line = format!("{}\n{advice}", told[0]);
        assert!(
            told[0].ends_with("; to add:") && log.contains(&line),
            "{log}"
        );
    }
    let service = whose.strip_prefix("cluster ");
    let service = service.map_or(String::new(), |name| format!("service=\"{name}\","));
    let series = format!("wsbalancer_warning{{{service}kind=\"{kind}\"}} 1\n");
    let exposition = get(&(url(envoy, listener)? + "?format=prometheus"))?;
    assert!(exposition.contains(&series), "no {series} in\n{exposition}");
    Ok(())
}

/// Waits until the page has the sentence and the lines to add, before anything of the pods.
async fn until_shown(browser: &Browser, cause: &str, advice: &Value) -> Result<()> {
    let texts = "[...document.querySelectorAll('#verdict, #warnings')]
        .map((node) => node.textContent).join()";
    for text in [cause, advice.as_str().unwrap_or_default()] {
        let is_there = format!("{texts}.includes({})", json!(text));
        browser.until(&is_there).await?;
    }
    Ok(())
}

/// Waits until an alert of this warning fires.
fn until_fired(prometheus: &Prometheus, service: Option<&str>, kind: &str) -> Result<()> {
    let alert = match kind {
        "noAnswer" | "circuitBreakers" | "ports" => "WsbalancerOutageNear",
        _ => "WsbalancerWarning",
    };
    let is_it = |labels: &Value| {
        labels["alertname"] == alert
            && labels["kind"] == kind
            && labels.get("service").and_then(Value::as_str) == service
    };
    let what = format!("{alert} of {service:?}, {kind}");
    block_in_place(|| {
        wait_until(&what, PATIENCE, || {
            prometheus.firing().ok()?.iter().any(is_it).then_some(())
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_told_in_log_json_series_page_and_alert() -> Result<()> {
    let stage = Stage::start(fleet(), with_mistakes).await?;
    let envoy = &stage.envoy;
    // All but the silent one, and the one that serves and is no pod of the service.
    stage.until_usable(stage.pods().len() - 2)?;
    let prometheus = configuration(&stage, &["status", LONELY])?;
    let prometheus = Prometheus::start(&prometheus, &hasty_alerts()?)?;
    stage.pods()[places(UNRETRIED).start].refuse().await;
    let mut held = Vec::new();
    for Mistake {
        service,
        websockets,
        ..
    } in &MISTAKES
    {
        held.push(open(&stage, service, *websockets).await?);
    }

    let mut advice = Vec::new();
    for Mistake {
        service,
        kind,
        cause,
        ..
    } in &MISTAKES
    {
        let warning = until_warned(envoy, "status", Some(service), kind)?;
        let whose = format!("cluster {service}");
        assert_told(envoy, "status", &whose, cause, &warning)?;
        advice.push(warning["advice"].clone());
    }
    let lonely = until_warned(envoy, LONELY, None, "vmId")?;
    assert_told(envoy, LONELY, "status", NOBODY, &lonely)?;

    let browser = Browser::start().await?;
    browser.open(&url(envoy, "status")?).await?;
    browser
        .until("document.documentElement.dataset.updates")
        .await?;
    for (mistake, advice) in MISTAKES.iter().zip(&advice) {
        let button = format!("nav button[value={}]", mistake.service);
        browser.click(&button).await?;
        until_shown(&browser, mistake.cause, advice).await?;
    }
    let gateway = "document.querySelector('#gateway').textContent";
    assert_eq!(
        browser.evaluate(gateway).await?,
        format!("gateway {GATEWAY}")
    );
    browser.open(&url(envoy, LONELY)?).await?;
    until_shown(&browser, NOBODY, &lonely["advice"]).await?;
    assert_eq!(browser.complaints().await?, Vec::<String>::new());
    browser.close().await?;

    for Mistake { service, kind, .. } in &MISTAKES {
        until_fired(&prometheus, Some(service), kind)?;
    }
    until_fired(&prometheus, None, "vmId")?;

    // The second filter is gone: once that has been seen for long enough, it is over.
    held.push(open(&stage, "double/sound", 20).await?);
    let over = "cluster double: the warning twoFilters is over";
    block_in_place(|| envoy.wait_for_log(over, PATIENCE))?;
    Ok(())
}
