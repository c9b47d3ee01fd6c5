//! Each mistake around the filter is made, and the filter says so by itself: in its log, in the JSON
//! and as a series. What helps is taken from its own advice. That page and alerts say the same is seen
//! in [`bad_night`](super::bad_night).

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use wsbalancer_backend::{FleetConfig, MetricBehavior};
use wsbalancer_client::Held;
use wsbalancer_e2e::ask::{get, get_json};
use wsbalancer_e2e::doctor;
use wsbalancer_e2e::{PATIENCE, Stage, assert_all_well, every, preloaded};
use wsbalancer_harness::{Envoy, Sample, wait_until};

const HEADER: &str = "x-gateway-destination-endpoint";

/// Where the status of an Envoy is.
fn status_url(envoy: &Envoy) -> Result<String> {
    let address = envoy.listener("status").context("a listener")?;
    Ok(format!("http://{address}/balancer-metrics"))
}

/// The warnings of the service, or, where `service` is none, of the gateway.
fn warnings(envoy: &Envoy, service: Option<usize>) -> Result<Vec<Value>> {
    let status = get_json(&(status_url(envoy)? + "?format=json"))?;
    let place = match service {
        Some(index) => &status["services"][index],
        None => &status,
    };
    let warnings = place["warnings"].as_array().context("a list")?;
    Ok(warnings.clone())
}

/// The series of the kinds that are in force.
fn series(envoy: &Envoy) -> Result<Vec<String>> {
    let text = get(&(status_url(envoy)? + "?format=prometheus"))?;
    let lines = text.lines();
    let in_force =
        lines.filter_map(|line| line.strip_prefix("wsbalancer_warning")?.strip_suffix(" 1"));
    Ok(in_force.map(str::to_owned).collect())
}

/// Waits for the service's warning of this kind, with `cause` in its sentence, in JSON, series and
/// log; its advice.
fn until_warned(envoy: &Envoy, kind: &str, cause: &str) -> Result<Value> {
    let is_it = |warning: &&Value| warning["kind"] == kind;
    let warning = block_in_place(|| {
        wait_until(&format!("the warning {kind}: {cause}"), PATIENCE, || {
            warnings(envoy, Some(0)).ok()?.iter().find(is_it).cloned()
        })
    })
    .with_context(|| envoy.log())?;
    let message = warning["message"].as_str().context("a sentence")?;
    assert!(message.contains(cause), "{message}");
    let labels = format!("{{service=\"chat\",kind=\"{kind}\"}}");
    assert_eq!(series(envoy)?, [labels]);
    let begins = format!("cluster chat: {}", &message[..message.len().min(20)]);
    block_in_place(|| envoy.wait_for_log(&begins, PATIENCE))?;
    let log = envoy.log();
    let told = log
        .lines()
        .filter(|line| line.contains(&format!("(warning {kind})")));
    let told: Vec<&str> = told.collect();
    assert_eq!(told.len(), 1, "once: {told:?}");
    assert!(told[0].contains("[warning]"), "{told:?}");
    if let Some(advice) = warning["advice"].as_str() {
        assert!(log.contains(advice), "no {advice} in\n{log}");
    }
    let found = doctor::findings(envoy)?;
    let is_it = |one: &doctor::Finding| one.rule == "warnings" && one.what.contains(cause);
    assert!(found.iter().any(is_it), "{found:#?}");
    Ok(warning["advice"].clone())
}

/// Waits until no warning is in force, and the log says that this one is over.
fn until_over(envoy: &Envoy, kind: &str) -> Result<()> {
    let line = format!("cluster chat: the warning {kind} is over");
    block_in_place(|| envoy.wait_for_log(&line, PATIENCE))?;
    assert_eq!(warnings(envoy, Some(0))?, Vec::<Value>::new());
    assert_eq!(series(envoy)?, Vec::<String>::new());
    Ok(())
}

/// The fields that an advice has.
fn lines(advice: &Value) -> Result<Value> {
    let text = advice.as_str().context("an advice")?;
    assert!(text.starts_with("# In "), "{text}");
    Ok(serde_saphyr::from_str(text)?)
}

/// Adds the lines of an advice to a place of the configuration.
fn add(place: &mut Value, lines: &Value) {
    for (name, value) in lines.as_object().into_iter().flatten() {
        place[name] = value.clone();
    }
}

/// Three pods before an Envoy that looks at them every 200 ms.
async fn stage(change: impl FnOnce(Sample) -> Sample) -> Result<Stage> {
    let sample = |sample| change(every(200)(sample));
    let stage = Stage::start(preloaded(3, &[0, 100, 200]), sample).await?;
    stage.until_usable(3)?;
    Ok(stage)
}

/// So many WebSockets that the least of them is noted.
async fn open(stage: &Stage, count: u32) -> Result<Held> {
    let held = stage.load(count, 20)?.open().await;
    assert_all_well(&held.report());
    Ok(held)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_envoy_warns_of_nothing() -> Result<()> {
    let stage = stage(|sample| sample).await?;
    let held = open(&stage, 60).await?;
    doctor::until_found(&stage.envoy, &[])?;
    drop(held);
    // One pod is gone, and its handshakes go on to the next.
    stage.pods()[0].refuse().await;
    let _held = open(&stage, 20).await?;
    block_in_place(|| stage.envoy.wait_for_log(" is down: ", PATIENCE))?;
    assert_eq!(warnings(&stage.envoy, Some(0))?, Vec::<Value>::new());
    assert_eq!(warnings(&stage.envoy, None)?, Vec::<Value>::new());
    assert_eq!(series(&stage.envoy)?, Vec::<String>::new());
    assert!(!stage.envoy.log().contains("(warning "));
    let text = get(&(stage.status_url()? + "?format=prometheus"))?;
    for kind in [
        "noAnswer",
        "steering",
        "twoFilters",
        "retryPolicy",
        "circuitBreakers",
        "ports",
    ] {
        let zero = format!("wsbalancer_warning{{service=\"chat\",kind=\"{kind}\"}} 0");
        assert!(text.contains(&zero), "no {zero} in\n{text}");
    }
    assert!(
        text.contains("wsbalancer_warning{kind=\"vmId\"} 0"),
        "{text}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_the_policy() -> Result<()> {
    let round_robin = |mut sample: Sample| {
        let cluster = sample.cluster().as_object_mut().expect("a cluster");
        cluster.remove("load_balancing_policy");
        sample
    };
    let stage = stage(round_robin).await?;
    let _held = open(&stage, 20).await?;
    let cause = "the cluster chat has no override_host policy that reads the header";
    let advice = until_warned(&stage.envoy, "steering", cause)?;

    // Its own lines are enough.
    let policy = lines(&advice)?;
    let stage = self::stage(|sample| {
        let mut sample = round_robin(sample);
        add(sample.cluster(), &policy);
        sample
    })
    .await?;
    let _held = open(&stage, 20).await?;
    assert_eq!(stage.stat("upgrades_mismatched")?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_reads_another_header() -> Result<()> {
    let stage = stage(|sample| sample.option("overrideHeader", "x-pods")).await?;
    let _held = open(&stage, 20).await?;
    let cause = "no override_host policy that reads the header x-pods";
    let advice = until_warned(&stage.envoy, "steering", cause)?;
    assert!(
        advice
            .as_str()
            .is_some_and(|lines| lines.contains("header: x-pods"))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_takes_the_header_away() -> Result<()> {
    let stage = stage(|mut sample| {
        let host = &mut sample.connection_manager()["route_config"]["virtual_hosts"][0];
        host["request_headers_to_remove"] = json!([HEADER]);
        sample
    })
    .await?;
    let _held = open(&stage, 20).await?;
    until_warned(&stage.envoy, "steering", HEADER_TAKEN)?;
    Ok(())
}

/// What the sentence names where the cluster does not get the filter's header.
const HEADER_TAKEN: &str = "(request_headers_to_remove, a second balancer)";

/// A filter that writes the header of every request, behind the first one.
fn writes_header(value: &str) -> Value {
    json!({
        "name": "second_balancer",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
            "mutations": { "request_mutations": [{ "append": {
                "header": { "key": HEADER, "value": value },
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            } }] },
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_balancer_in_the_chain() -> Result<()> {
    let stage = stage(|mut sample| {
        let last = &sample.cluster()["load_assignment"]["endpoints"][0]["lb_endpoints"][2];
        let address = &last["endpoint"]["address"]["socket_address"];
        let port = &address["port_value"];
        let value = format!("127.0.0.1:{port}");
        let filters = &mut sample.connection_manager()["http_filters"];
        let filters = filters.as_array_mut().expect("HTTP filters");
        filters.insert(1, writes_header(&value));
        sample
    })
    .await?;
    let _held = open(&stage, 20).await?;
    until_warned(&stage.envoy, "steering", HEADER_TAKEN)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_another_cluster_than_the_routes() -> Result<()> {
    let stage = stage(|mut sample| {
        sample.route()["cluster"] = "chat-v2".into();
        sample.edit(|configuration| {
            let clusters = configuration["static_resources"]["clusters"].as_array_mut();
            let clusters = clusters.expect("clusters");
            let mut other = clusters[0].clone();
            other["name"] = "chat-v2".into();
            other["load_assignment"]["cluster_name"] = "chat-v2".into();
            clusters.push(other);
        })
    })
    .await?;
    let _held = open(&stage, 20).await?;
    let cause = "they go to the cluster \"chat-v2\", which is no service's";
    let advice = until_warned(&stage.envoy, "steering", cause)?;
    assert_eq!(
        lines(&advice)?["services"],
        json!([{ "cluster": "chat-v2" }])
    );
    Ok(())
}

/// The sample with a second route that has a mistake; the first one is for those with the header
/// `x-sound`.
fn with_sound_route(mut sample: Sample, mistake: impl FnOnce(&mut Value)) -> Sample {
    let host = &mut sample.connection_manager()["route_config"]["virtual_hosts"][0];
    let routes = host["routes"].as_array_mut().expect("routes");
    let mut broken = routes[0].clone();
    mistake(&mut broken);
    routes[0]["match"]["headers"] = json!([{ "name": "x-sound", "present_match": true }]);
    routes.push(broken);
    sample
}

/// So many WebSockets on the route without the mistake.
async fn on_sound_route(stage: &Stage, count: u32) -> Result<Held> {
    let mut load = stage.load(count, 20)?;
    load.headers.push(("x-sound".parse()?, "yes".parse()?));
    let held = load.open().await;
    assert_all_well(&held.report());
    Ok(held)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_that_is_corrected() -> Result<()> {
    let stage = stage(|sample| {
        with_sound_route(sample, |broken| {
            broken["request_headers_to_remove"] = json!([HEADER]);
        })
    })
    .await?;
    let _held = open(&stage, 20).await?;
    until_warned(&stage.envoy, "steering", HEADER_TAKEN)?;
    let _sound = on_sound_route(&stage, 60).await?;
    until_over(&stage.envoy, "steering")
}

#[tokio::test(flavor = "multi_thread")]
async fn among_clusters_a_route_with_a_cluster_of_its_own() -> Result<()> {
    let stage = Stage::start(preloaded(2, &[0, 100]), |sample| {
        let mut sample = every(200)(sample.option("routeBy", "cluster"));
        let plugin = sample.plugin_configuration();
        plugin.as_object_mut().expect("options").remove("discovery");
        sample
    })
    .await?;
    stage.until_usable(1)?;
    let _held = open(&stage, 20).await?;
    let cause = "their route has a cluster of its own, \"chat\"";
    let advice = until_warned(&stage.envoy, "steering", cause)?;
    assert_eq!(lines(&advice)?, json!({ "cluster_header": HEADER }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_never_answer() -> Result<()> {
    let mut fleet = FleetConfig::local(2);
    for pod in &mut fleet.pods {
        pod.switches.metric = MetricBehavior::Status(http::StatusCode::NOT_FOUND);
    }
    let stage = Stage::start(fleet, every(100)).await?;
    let cause = "none of its 2 pods has ever answered a poll; the last error: status 404 (is \
        metricPath right?)";
    let advice = until_warned(&stage.envoy, "noAnswer", cause)?;
    assert!(lines(&advice)?["metricPath"].is_string());
    let status = get_json(&(stage.status_url()? + "?format=json"))?;
    for pod in status["podMetrics"]["chat"].as_array().context("pods")? {
        assert_eq!(pod["state"], "unhealthy", "{pod}");
        let reason = pod["reason"].as_str().context("a reason")?;
        assert!(reason.contains("it has never answered"), "{reason}");
    }
    stage.pods()[1].answer_metric(MetricBehavior::Truth);
    until_over(&stage.envoy, "noAnswer")
}

/// What the first filter would write can be sent by anybody.
#[tokio::test(flavor = "multi_thread")]
async fn no_client_makes_one_filter_two() -> Result<()> {
    let stage = stage(Sample::with_header_of_clients).await?;
    let mut load = stage.load(20, 20)?;
    for name in [HEADER, "wsbalancer_header", "wasm.wsbalancer_header"] {
        load.headers.push((name.parse()?, HEADER.parse()?));
    }
    let held = load.open().await;
    assert_all_well(&held.report());
    // Whatever was noted has been judged by then.
    let polls = stage.stat("polls_ok")?;
    stage.until_stat("polls_ok", |now| now > polls + 60)?;
    assert_eq!(warnings(&stage.envoy, Some(0))?, Vec::<Value>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_without_retries() -> Result<()> {
    let mut policy = Value::Null;
    // So seldom that a refusal is not forestalled by a failed poll.
    let sample = |sample| {
        let mut sample = with_sound_route(wsbalancer_e2e::seldom(sample), |broken| {
            let route = broken["route"].as_object_mut().expect("a route");
            route.remove("retry_policy");
        });
        policy = sample.route()["retry_policy"].clone();
        sample
    };
    // Whoever has learned of it has to see the retry as well.
    let options = Envoy::options().concurrency(1);
    let stage = Stage::start_with(options, preloaded(3, &[0, 100, 200]), sample).await?;
    stage.until_usable(3)?;
    stage.pods()[0].refuse().await;
    let report = stage.load(1, 0)?.open().await.report();
    assert_eq!(report.connections.opened, 0);
    let cause = "the route has no retry_policy with connect-failure";
    let advice = until_warned(&stage.envoy, "retryPolicy", cause)?;
    // Where the route has it, a handshake goes on to the next pod.
    assert_eq!(lines(&advice)?["retry_policy"], policy);
    stage.pods()[1].refuse().await;
    let held = on_sound_route(&stage, 1).await?;
    assert_eq!(stage.stat("upgrades_retried")?, 1);
    until_over(&stage.envoy, "retryPolicy")?;
    drop(held);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn circuit_breakers_near_their_limits() -> Result<()> {
    let stage = stage(|mut sample| {
        let limits = &mut sample.cluster()["circuit_breakers"]["thresholds"][0];
        limits["max_requests"] = 50.into();
        sample
    })
    .await?;
    let held = open(&stage, 42).await?;
    let cause = "of the 50 of the cluster's circuit breaker max_requests are used";
    let advice = until_warned(&stage.envoy, "circuitBreakers", cause)?;
    let limits = &lines(&advice)?["circuit_breakers"]["thresholds"][0];
    assert_eq!(limits["max_requests"], 100_000);
    drop(held);
    until_over(&stage.envoy, "circuitBreakers")
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_that_are_nearly_used_up() -> Result<()> {
    let stage = stage(|sample| sample.option("localPorts", 30)).await?;
    let held = open(&stage, 26).await?;
    let pod = stage.pods()[0].address();
    let cause = format!("connections to {pod} are open, and this machine has 30 local ports");
    let advice = until_warned(&stage.envoy, "ports", &cause)?;
    assert!(lines(&advice)?["upstream_bind_config"].is_object());
    drop(held);
    until_over(&stage.envoy, "ports")
}
