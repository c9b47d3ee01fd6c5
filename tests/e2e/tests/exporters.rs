//! Counts from what services export already, without an endpoint of their own for the filter.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use wsbalancer_backend::{FleetConfig, MetricBehavior, Pod};
use wsbalancer_e2e::ask::get_json;
use wsbalancer_e2e::exporter::Exporter;
use wsbalancer_e2e::program::PodProgram;
use wsbalancer_e2e::prometheus::Prometheus;
use wsbalancer_e2e::{PATIENCE, Stage, assert_all_well, every, load, markdown, preloaded, seldom};
use wsbalancer_harness::{Envoy, Sample, wait_until};

/// A filter that finds the count by `metric` at `path`.
fn exported(path: &'static str, metric: Value) -> impl FnOnce(Sample) -> Sample {
    move |sample| {
        seldom(sample)
            .option("metricPath", path)
            .option("metric", metric)
    }
}

async fn assert_balanced(path: &'static str, metric: Value) -> Result<()> {
    let stage = Stage::start(preloaded(3, &[40, 0, 25]), exported(path, metric)).await?;
    stage.until_usable(3)?;
    let held = stage.load(85, 0)?.open().await;
    assert_all_well(&held.report());
    assert_eq!(stage.counts(), [50, 50, 50]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_series_of_a_prometheus_exporter() -> Result<()> {
    let metric = json!({ "prometheus": "websocket_connections{state=\"open\"}" });
    assert_balanced("/metrics", metric).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_in_a_json_document() -> Result<()> {
    assert_balanced("/stats", json!({ "json": "/server/sockets/a~1b" })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_fails_the_poll() -> Result<()> {
    for (path, metric, told) in [
        (
            "/metrics",
            json!({ "prometheus": "websocket_connections{state=\"lost\"}" }),
            "nothing is where the metric of the configuration points to",
        ),
        (
            "/stats",
            json!({ "json": "/server/sockets" }),
            "what the metric of the configuration points to is not a non-negative integer",
        ),
        (
            "/metrics",
            json!({ "json": "/server" }),
            "the body is not JSON",
        ),
        (
            "/stats",
            json!({ "prometheus": "server", "absent": 0 }),
            "the body is not in Prometheus' text format",
        ),
    ] {
        let stage = Stage::start(preloaded(1, &[1]), exported(path, metric)).await?;
        let line = format!(
            "the poll of pod {} failed: {told}",
            stage.pods()[0].address()
        );
        block_in_place(|| stage.envoy.wait_for_log(&line, PATIENCE))?;
    }
    Ok(())
}

/// An exporter of whose metric there is no series yet: its pod gets its first WebSocket.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_a_sample_gets_its_first_websocket() -> Result<()> {
    let series = "websocket_connections{state=\"open\"}";
    for (path, metric, body) in [
        (
            "/metrics",
            json!({ "prometheus": series }),
            "# HELP websocket_connections WebSockets by their state\n\
             # TYPE websocket_connections gauge\n",
        ),
        ("/metrics", json!({ "prometheus": series, "absent": 0 }), ""),
        (
            "/metrics",
            json!({ "prometheus": series, "absent": 0 }),
            "up 1\n",
        ),
        (
            "/stats",
            json!({ "json": "/server/sockets", "absent": 0 }),
            "{\"server\": {}}",
        ),
    ] {
        let mut fleet = FleetConfig::local(1);
        fleet.pods[0].switches.metric = MetricBehavior::Body(body.to_owned());
        let stage = Stage::start(fleet, exported(path, metric)).await?;
        stage.until_usable(1)?;
        let held = stage.load(1, 0)?.open().await;
        assert_all_well(&held.report());
        stage
            .until_stat("upgrades_balanced", |balanced| balanced == 1)
            .with_context(|| format!("{body:?}"))?;
    }
    Ok(())
}

/// As large as those of services with many routes and clients.
fn large_exposition(size: usize) -> String {
    const OTHER: &str = "requests_total{route=\"/rooms/{room}\",path=\"C:\\temp\"} 1.5\n";
    let others = OTHER.repeat(size / OTHER.len() / 2);
    format!(
        "# TYPE requests_total counter\n{others}websocket_connections{{state=\"open\"}} 42.0\n{others}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn large_exporters_are_read_and_larger_ones_are_refused() -> Result<()> {
    let metric = json!({ "prometheus": "websocket_connections" });
    let stage = Stage::start(FleetConfig::local(1), |sample| {
        every(1_000)(sample)
            .option("metricPath", "/metrics")
            .option("metric", metric)
    })
    .await?;
    let pod = &stage.pods()[0];
    for size in [600_000, 2_000_000, 4_000_000] {
        pod.answer_metric(MetricBehavior::Status(http::StatusCode::IM_A_TEAPOT));
        until_pod(&stage.envoy, |pod| !pod["lastError"].is_null())?;
        pod.answer_metric(MetricBehavior::Body(large_exposition(size)));
        let told = until_pod(&stage.envoy, |pod| pod["lastError"].is_null())?;
        assert_eq!(told["agentsConnections"], 42, "{size}");
    }
    pod.answer_metric(MetricBehavior::Body(large_exposition(4_300_000)));
    let line = "failed: the body is over 4194304 bytes";
    block_in_place(|| stage.envoy.wait_for_log(line, PATIENCE))?;
    Ok(())
}

/// Before the filter has a choice: the runtime key that the documentation names is Envoy's limit.
#[tokio::test(flavor = "multi_thread")]
async fn envoy_keeps_no_more_of_an_answer_than_its_runtime_allows() -> Result<()> {
    let mut fleet = FleetConfig::local(1);
    fleet.pods[0].switches.metric = MetricBehavior::Body(large_exposition(600_000));
    let metric = json!({ "prometheus": "websocket_connections" });
    let stage = Stage::start(fleet, |sample| {
        let sample = every(1_000)(sample).option("metricPath", "/metrics");
        sample.option("metric", metric).edit(|configuration| {
            configuration["layered_runtime"] = json!({ "layers": [{ "name": "limit",
                "static_layer": { "http.async_response_buffer_limit": 500_000 } }] });
        })
    })
    .await?;
    let pod = &stage.pods()[0];
    let line = format!("the poll of pod {} failed: ", pod.address());
    block_in_place(|| stage.envoy.wait_for_log(&line, PATIENCE))?;
    assert_eq!(stage.stat("pods_usable")?, 0);
    pod.answer_metric(MetricBehavior::Body(large_exposition(400_000)));
    stage.until_usable(1)
}

/// What the status says of the first pod, once `condition` holds.
fn until_pod(envoy: &Envoy, condition: impl Fn(&Value) -> bool) -> Result<Value> {
    let address = envoy.listener("status").context("the status")?;
    let url = format!("http://{address}/balancer-metrics?format=json");
    block_in_place(|| {
        envoy.wait_until("the status of the pod", PATIENCE, || {
            let status = get_json(&url).ok()?;
            let pod = status["podMetrics"]["chat"].get(0)?.clone();
            condition(&pod).then_some(pod)
        })
    })
}

const FREE: &str = "127.0.0.1:0";

/// An Envoy that polls `exporter`, about five times a second.
fn polling(exporter: &Exporter, change: impl FnOnce(Sample) -> Sample) -> Result<Envoy> {
    let sample = every(200)(Sample::standard()?.pods(&[exporter.address()]));
    block_in_place(|| Envoy::start(&change(sample)))
}

fn has_field(head: &str, name: &str, value: impl Fn(&str) -> bool) -> bool {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.any(|(field, text)| field == name && value(text))
}

/// With backslashes that escape something and such that do not, and what else the format allows.
const AWKWARD: &str = r#"# TYPE open gauge
# a comment
open{path="C:\temp",state="a"} 1
open{path="C:\\temp",state="b"} 2
open{path="\d+\"x\"\\",state="c"} 4.0
open{path="line\nfeed",state="d",} 8e0
open{ path = "{a}, b=\"c\"" , state = "e" } 1.6e+1

open{path="",state="f"}	32
open{state="é"} +64
opened 128
open_ 256
"#;

#[tokio::test(flavor = "multi_thread")]
async fn awkward_series_are_read_as_prometheus_reads_them() -> Result<()> {
    let answer = |_: &str| ("200 OK".to_owned(), AWKWARD.to_owned());
    let exporter = Exporter::start(FREE.parse()?, answer).await?;
    let configuration = format!(
        "scrape_configs: [{{ job_name: pod, scrape_interval: 500ms, scrape_timeout: 500ms, \
         static_configs: [{{ targets: [\"{}\"] }}] }}]",
        exporter.address()
    );
    let prometheus = Prometheus::start(&configuration, "groups: []")?;
    for (selector, sum) in [
        ("open", 127),
        (r#"open{path="C:\\temp"}"#, 3),
        (r#"open{path="\\d+\"x\"\\"}"#, 4),
        (r#"open{path="line\nfeed"}"#, 8),
        (r#"open{path="{a}, b=\"c\""}"#, 16),
        (r#"open{path=""}"#, 96),
        (r#"open{path!="",state!="a"}"#, 30),
        (r#"open{state="é"}"#, 64),
    ] {
        let told = block_in_place(|| {
            wait_until("Prometheus' scrape", PATIENCE, || {
                let series = prometheus.query(&format!("sum({selector})")).ok()?;
                Some(series.first()?["value"][1].clone())
            })
        })?;
        assert_eq!(told, sum.to_string(), "{selector}");
        let metric = json!({ "prometheus": selector });
        let envoy = polling(&exporter, |sample| sample.option("metric", metric))?;
        let pod = until_pod(&envoy, |pod| pod["state"] != "unknown")?;
        assert_eq!(pod["agentsConnections"], sum, "{selector}: {pod}");
    }
    Ok(())
}

/// Spring's Actuator has one form at each path and answers 406 to those who want another; that of
/// `MicroProfile` has both at the same.
#[tokio::test(flavor = "multi_thread")]
async fn servers_that_look_at_accept_answer_in_the_wanted_form() -> Result<()> {
    let exporter = Exporter::start(FREE.parse()?, |head| {
        let wants = |form: &str| has_field(head, "accept", |accept| accept.starts_with(form));
        if wants("text/plain") {
            (
                "200 OK".to_owned(),
                "# TYPE open gauge\nopen 42\n".to_owned(),
            )
        } else if wants("application/json") {
            ("200 OK".to_owned(), r#"{"open": 7.0}"#.to_owned())
        } else {
            ("406 Not Acceptable".to_owned(), String::new())
        }
    })
    .await?;
    for (metric, count) in [
        (json!({ "prometheus": "open" }), 42),
        (json!({ "json": "/open" }), 7),
    ] {
        let envoy = polling(&exporter, |sample| sample.option("metric", metric))?;
        until_pod(&envoy, |pod| pod["agentsConnections"] == count)?;
    }
    let polls = exporter.heads();
    let identity = |coding: &str| coding == "identity";
    assert!(polls.len() >= 2);
    for head in polls {
        assert!(has_field(&head, "accept-encoding", identity), "{head}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_name_the_coding_the_status_and_what_to_set() -> Result<()> {
    for (start, told) in [
        (
            "200 OK\r\ncontent-encoding: gzip\r\n",
            "the body is coded in gzip, though polls ask for identity",
        ),
        (
            "008 X",
            "status 502 (Envoy's own where the answer was no HTTP)",
        ),
        (
            "301 Moved Permanently\r\nlocation: https://chat/metric\r\n",
            "status 301 (a redirect: set metricPath to where it leads, or in metricHeaders the",
        ),
        (
            "401 Unauthorized\r\nwww-authenticate: Bearer\r\n",
            "status 401 (the pod wants credentials: let Envoy's credential_injector add them",
        ),
        (
            "406 Not Acceptable",
            "status 406 (the pod has no such form: set metric",
        ),
        (
            "421 Misdirected Request",
            "status 421 (does the pod expect another host? set metricHost)",
        ),
    ] {
        let exporter = Exporter::start(FREE.parse()?, move |_| {
            (start.to_owned(), r#"{"agentsConnections": 1}"#.to_owned())
        })
        .await?;
        let envoy = polling(&exporter, |sample| sample)?;
        let line = format!("the poll of pod {} failed: {told}", exporter.address());
        block_in_place(|| envoy.wait_for_log(&line, PATIENCE))?;
    }
    Ok(())
}

/// A gauge that was counted down too often, and a field that is of no use to anybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_beside_the_count_is_told_once_and_costs_no_pod() -> Result<()> {
    let mut fleet = FleetConfig::local(2);
    let body = r#"{"agentsConnections": -2, "podName": 5, "maxConnections": -1, "weight": 0}"#;
    for pod in &mut fleet.pods {
        pod.switches.metric = MetricBehavior::Body(body.to_owned());
    }
    let stage = Stage::start(fleet, every(200)).await?;
    stage.until_usable(2)?;
    for pod in stage.pods() {
        let polls = pod.polls();
        pod.until(|counters| counters.polls >= polls + 5).await?;
    }
    let told = until_pod(&stage.envoy, |pod| !pod["complaint"].is_null())?;
    assert_eq!(told["agentsConnections"], 0);
    assert_eq!(told["maxConnections"], Value::Null);
    let complaint = "its count is below zero, which counts as 0; weight is not within 0.01 to 100 \
                     and is ignored; maxConnections is not a non-negative integer and is ignored; \
                     podName is not a string and is ignored";
    assert_eq!(told["complaint"], complaint);
    assert_eq!(stage.stat("polls_failed")?, 0);
    let log = stage.envoy.log();
    for pod in stage.pods() {
        let text = format!("pod {} has a mistake: {complaint}", pod.address());
        assert_eq!(log.matches(&text).count(), 1, "{log}");
    }
    stage.pods()[0].answer_metric(MetricBehavior::Truth);
    until_pod(&stage.envoy, |pod| pod["complaint"].is_null())?;
    Ok(())
}

/// As web servers have it that know of their proxy's TLS by this header only.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_redirects_without_a_header_gets_it() -> Result<()> {
    let exporter = Exporter::start(FREE.parse()?, |head| {
        if has_field(head, "x-forwarded-proto", |scheme| scheme == "https") {
            (
                "200 OK".to_owned(),
                r#"{"agentsConnections": 3}"#.to_owned(),
            )
        } else {
            let redirect = "301 Moved Permanently\r\nlocation: https://chat/\r\n";
            (redirect.to_owned(), String::new())
        }
    })
    .await?;
    let snippet = "metricHeaders: { x-forwarded-proto: https }";
    assert!(
        markdown::blocks("yaml")?
            .iter()
            .any(|block| block.trim() == snippet)
    );
    let headers = json!({ "x-forwarded-proto": "https", "x-hint": "s3cr3t" });
    let envoy = polling(&exporter, |sample| sample.option("metricHeaders", headers))?;
    let pod = until_pod(&envoy, |pod| pod["agentsConnections"] == 3)?;
    assert!(!pod.to_string().contains("s3cr3t"));
    let shown = envoy.log();
    assert!(!shown.contains("s3cr3t"), "{shown}");
    Ok(())
}

/// With a cluster for polls: a copy of the cluster `chat` with other hosts, and more.
fn with_polls(sample: Sample, hosts: &[SocketAddr], more: &Value) -> Sample {
    sample.edit(|configuration| {
        let clusters = &mut configuration["static_resources"]["clusters"];
        let mut copy = clusters[0].clone();
        let endpoint = |host: &SocketAddr| {
            json!({ "endpoint": { "address": { "socket_address": {
                "address": host.ip(), "port_value": host.port() } } } })
        };
        let endpoints: Vec<Value> = hosts.iter().map(endpoint).collect();
        copy["name"] = "chat-polls".into();
        copy["load_assignment"] = json!({
            "cluster_name": "chat-polls", "endpoints": [{ "lb_endpoints": endpoints }] });
        for (field, value) in more.as_object().into_iter().flatten() {
            copy[field] = value.clone();
        }
        if let Some(clusters) = clusters.as_array_mut() {
            clusters.push(copy);
        }
    })
}

fn counting(count: u64) -> impl Fn(&str) -> (String, String) + Clone {
    move |_| {
        let body = format!("{{\"agentsConnections\": {count}}}");
        ("200 OK".to_owned(), body)
    }
}

fn documented(title: &str) -> Result<Value> {
    Ok(serde_saphyr::from_str(&markdown::snippet(title)?)?)
}

/// Two pods at 127.0.0.1 and 127.0.0.2, and their counts on one other port of both.
#[tokio::test(flavor = "multi_thread")]
async fn counts_come_from_another_port_through_another_cluster() -> Result<()> {
    let first = Exporter::start(FREE.parse()?, counting(40)).await?;
    let port = first.address().port();
    let second = Exporter::start(SocketAddr::from(([127, 0, 0, 2], port)), counting(0)).await?;
    let mut fleet = FleetConfig::local(2);
    fleet.pods[1].listen = SocketAddr::from(([127, 0, 0, 2], 0));
    let filter = documented("As the configuration of a filter whose counts are on port 9601")?;
    let mut metric = filter["metric"].clone();
    assert_eq!(metric["port"], 9601);
    metric["port"] = port.into();
    let policy = documented("In the cluster chat-polls, for its hosts alone")?;
    let stage = Stage::start(fleet, |sample| {
        let hosts = [first.address(), second.address()];
        with_polls(seldom(sample).option("metric", metric), &hosts, &policy)
    })
    .await?;
    stage.until_usable(2)?;
    let held = stage.load(60, 0)?.open().await;
    assert_all_well(&held.report());
    let opened: Vec<u64> = stage.pods().iter().map(Pod::open).collect();
    assert_eq!(opened, [10, 50], "by the counts of the other port");
    for (exporter, ip) in [(&first, "127.0.0.1"), (&second, "127.0.0.2")] {
        let heads = exporter.heads();
        assert!(!heads.is_empty());
        let own = format!("{ip}:{port}");
        let is_own = |head: &String| has_field(head, "host", |host| host == own);
        assert!(heads.iter().all(is_own), "{heads:?}");
    }
    assert!(stage.pods().iter().all(|pod| pod.polls() == 0));
    Ok(())
}

/// With the documented policy a poll fails where its pod is missing in the cluster for polls.
#[tokio::test(flavor = "multi_thread")]
async fn a_poll_never_brings_the_count_of_another_pod() -> Result<()> {
    let exporter = Exporter::start(FREE.parse()?, counting(40)).await?;
    let port = exporter.address().port();
    let mut fleet = FleetConfig::local(2);
    fleet.pods[1].listen = SocketAddr::from(([127, 0, 0, 2], 0));
    let policy = documented("In the cluster chat-polls, for its hosts alone")?;
    let metric = json!({ "cluster": "chat-polls", "port": port });
    let stage = Stage::start(fleet, |sample| {
        let sample = every(200)(sample).option("metric", metric);
        with_polls(sample, &[exporter.address()], &policy)
    })
    .await?;
    stage.until_usable(1)?;
    let line = format!(
        "the poll of pod {} failed: Envoy could not send it",
        stage.pods()[1].address()
    );
    block_in_place(|| stage.envoy.wait_for_log(&line, PATIENCE))?;
    let own = exporter.address().to_string();
    let heads = exporter.heads();
    assert!(
        heads
            .iter()
            .all(|head| has_field(head, "host", |host| host == own))
    );
    Ok(())
}

/// The documented snippets: polls have the token, clients' requests have not, and no dump shows it.
#[tokio::test(flavor = "multi_thread")]
async fn polls_get_a_token_that_no_client_and_no_dump_sees() -> Result<()> {
    const TOKEN: &str = "bearer token";
    let exporter = Exporter::start(FREE.parse()?, |head| {
        if has_field(head, "authorization", |token| token == TOKEN) {
            counting(5)(head)
        } else {
            ("401 Unauthorized".to_owned(), String::new())
        }
    })
    .await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("poll-token.yaml");
    std::fs::write(&file, markdown::snippet("As the file poll-token.yaml")?)?;
    let cluster = documented("In the cluster chat-polls, a copy of the cluster chat")?;
    let cluster: Value = serde_json::from_str(
        &cluster
            .to_string()
            .replace("/etc/envoy/poll-token.yaml", &file.to_string_lossy()),
    )?;
    let filter = documented("As the configuration of a filter whose polls need a token")?;
    let mut metric = filter["metric"].clone();
    metric["port"] = exporter.address().port().into();
    let stage = Stage::start(FleetConfig::local(1), |sample| {
        let sample = every(200)(sample).option("metric", metric);
        with_polls(sample, &[exporter.address()], &cluster)
            // Without it, Envoy takes no secrets from anywhere else.
            .edit(|configuration| {
                configuration["node"] = json!({ "id": "gateway-0", "cluster": "gateway" });
            })
    })
    .await?;
    stage.until_usable(1)?;
    until_pod(&stage.envoy, |pod| pod["agentsConnections"] == 5)?;
    let held = stage.load(1, 0)?.open().await;
    assert_all_well(&held.report());
    let handshake = stage.pods()[0].last_handshake().context("a handshake")?;
    assert!(
        !format!("{handshake:?}")
            .to_lowercase()
            .contains("authorization")
    );
    let dump = block_in_place(|| stage.envoy.admin_get("/config_dump?include_eds"))?;
    assert!(dump.contains("poll-token") && !dump.contains("Bearer TOKEN"));
    Ok(())
}

/// An Envoy before these pods, that polls them once, at `path`.
fn before(pods: &[SocketAddr], path: &'static str, metric: Value) -> Result<Envoy> {
    let sample = exported(path, metric)(Sample::standard()?.pods(pods));
    let envoy = block_in_place(|| Envoy::start(&sample))?;
    let count = u64::try_from(pods.len())?;
    let all = |usable| usable == count;
    block_in_place(|| envoy.wait_for_filter_stat("pods_usable", all, PATIENCE))?;
    Ok(envoy)
}

/// Opens 24 WebSockets on three pods, of which the first has 12 already that no gateway has opened:
/// all end with 12, by the text that each tells at `path`.
async fn assert_even(
    pods: [SocketAddr; 3],
    path: &'static str,
    metric: Value,
    text: &str,
) -> Result<()> {
    let earlier = load(pods[0], 12, 0)?.open().await;
    assert_all_well(&earlier.report());
    let envoy = before(&pods, path, metric)?;
    let held = load(envoy.address(), 24, 0)?.open().await;
    assert_all_well(&held.report());
    for pod in pods {
        let told = wsbalancer_e2e::ask::get(&format!("http://{pod}{path}"))?;
        assert!(told.contains(text), "{pod}: {told}");
    }
    Ok(())
}

/// A web server and an exporter as services have them, which take the `host` of polls as it is.
#[tokio::test(flavor = "multi_thread")]
async fn pods_on_uvicorn_with_the_exporter_of_prometheus_client() -> Result<()> {
    let pods = [
        PodProgram::on_uvicorn()?,
        PodProgram::on_uvicorn()?,
        PodProgram::on_uvicorn()?,
    ];
    let metric = json!({ "prometheus": "websocket_connections{state=\"open\"}" });
    let text = "websocket_connections{state=\"open\"} 12.0";
    assert_even(
        pods.each_ref().map(PodProgram::address),
        "/metrics",
        metric,
        text,
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_on_net_http_with_the_exporter_of_client_golang() -> Result<()> {
    let pods = [
        PodProgram::in_go()?,
        PodProgram::in_go()?,
        PodProgram::in_go()?,
    ];
    // Of a vector without a series this exporter writes neither HELP nor TYPE.
    let series = "websocket_connections{state=\"open\"}";
    let metric = json!({ "prometheus": series, "absent": 0 });
    let text = "websocket_connections{state=\"open\"} 12";
    assert_even(
        pods.each_ref().map(PodProgram::address),
        "/metrics",
        metric,
        text,
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_on_tomcat_with_a_servlet() -> Result<()> {
    let pods = [
        PodProgram::on_tomcat()?,
        PodProgram::on_tomcat()?,
        PodProgram::on_tomcat()?,
    ];
    let metric = json!({ "json": "/websockets/open" });
    let text = "{\"websockets\": {\"open\": 12}}";
    assert_even(
        pods.each_ref().map(PodProgram::address),
        "/stats",
        metric,
        text,
    )
    .await
}

/// Go's counts a WebSocket before it answers its handshake, Tomcat's afterwards. With both the filter
/// learns of what others opened since its last poll.
#[tokio::test(flavor = "multi_thread")]
async fn pods_on_net_http_and_tomcat_tell_their_counts_with_their_handshakes() -> Result<()> {
    for (start, path, metric) in [
        (
            PodProgram::in_go as fn() -> Result<PodProgram>,
            "/metrics",
            json!({
                "prometheus": "websocket_connections", "absent": 0,
                "orca": "named_metrics.websockets",
            }),
        ),
        (
            PodProgram::on_tomcat,
            "/stats",
            json!({ "json": "/websockets/open", "orca": "named_metrics.websockets" }),
        ),
    ] {
        let pods = [start()?, start()?];
        let addresses = pods.each_ref().map(PodProgram::address);
        let envoy = before(&addresses, path, metric)?;
        let others = load(addresses[0], 60, 0)?.open().await;
        assert_all_well(&others.report());
        // So slowly that hardly two are on their way at once.
        let held = load(envoy.address(), 50, 100)?.open().await;
        assert_all_well(&held.report());
        let status = get_json(&format!(
            "http://{}/balancer-metrics?format=json",
            envoy.listener("status").context("the status")?
        ))?;
        let first = &status["podMetrics"]["chat"][0];
        assert_eq!(first["complaint"], Value::Null);
        let opened = first["opened"].as_u64().context("a number")?;
        assert!((1..=5).contains(&opened), "{path}: {opened}");
    }
    Ok(())
}
