//! Sessions that begin with plain HTTP: every request of one reaches the same pod, and the pods are
//! even all the same.

use anyhow::{Context, Result};
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, Method, Request};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use wsbalancer_client::imbalance;
use wsbalancer_e2e::ask::ask;
use wsbalancer_e2e::doctor;
use wsbalancer_e2e::envoy_gateway::{keep_sessions, order_filters};
use wsbalancer_e2e::istio::documents;
use wsbalancer_e2e::mesh::{PODS, Shape};
use wsbalancer_e2e::python::{Framework, SessionClients, SessionPods};
use wsbalancer_e2e::runnable::ADMIN_CLUSTER;
use wsbalancer_e2e::{PATIENCE, ROOT, markdown};
use wsbalancer_harness::{Envoy, Sample, wait_until};

const KEEPER: &str = "envoy.filters.http.stateful_session";
/// As the pods are at the start: half of them have connections of others.
const SKEW: [u64; 8] = [20, 0, 20, 0, 20, 0, 20, 0];
/// So many come for each pod.
const CLIENTS: u64 = 25;

/// The project's sample for Socket.IO.
fn sample() -> Result<Sample> {
    let file = format!("{ROOT}/envoy/socketio.yaml");
    Ok(Sample::load(file)?.ready_to_run())
}

/// The same, with what the documentation has for another framework.
fn sample_for(title: &str) -> Result<Sample> {
    let options: Value = serde_saphyr::from_str(&markdown::snippet(title)?)?;
    let mut sample = sample()?;
    sample.plugin_configuration()["services"][0]["sessions"] = options["sessions"].clone();
    keeper(&mut sample)["typed_config"]["session_state"]["typed_config"]["cookie"]["path"] =
        "/".into();
    Ok(sample)
}

fn keeper(sample: &mut Sample) -> &mut Value {
    let filters = sample.connection_manager()["http_filters"].as_array_mut();
    let mut filters = filters.into_iter().flatten();
    let keeper = filters.find(|filter| filter["name"] == KEEPER);
    keeper.expect("the sample should keep sessions")
}

/// An Envoy before these pods that knows them all.
fn start(sample: Sample, pods: &SessionPods) -> Result<Envoy> {
    let sample = sample.pods(pods.addresses());
    let envoy = block_in_place(|| Envoy::start(&sample))?;
    until_usable(&envoy, pods)?;
    Ok(envoy)
}

fn until_usable(envoy: &Envoy, pods: &SessionPods) -> Result<()> {
    let count = u64::try_from(pods.addresses().len())?;
    block_in_place(|| {
        envoy.wait_for_filter_stat("pods_usable", |usable| usable == count, PATIENCE)
    })?;
    Ok(())
}

fn stat(envoy: &Envoy, name: &str) -> Result<u64> {
    block_in_place(|| envoy.filter_stat(name))
}

/// Clients open sessions, and lose them once: none fails, no pod sees another's, and the pods hold
/// the same in the end.
fn assert_sessions(
    envoy: &Envoy,
    pods: &SessionPods,
    framework: Framework,
    websocket_only: bool,
) -> Result<()> {
    let host = envoy.address().ip().to_string();
    assert_sessions_at(&host, envoy, pods, framework, websocket_only)
}

/// The same, of clients that know the gateway as `host`.
fn assert_sessions_at(
    host: &str,
    envoy: &Envoy,
    pods: &SessionPods,
    framework: Framework,
    websocket_only: bool,
) -> Result<()> {
    let gateway = format!("{host}:{}", envoy.address().port());
    let count = CLIENTS * u64::try_from(pods.addresses().len())?;
    let clients = block_in_place(|| {
        SessionClients::open(framework, websocket_only, gateway, count.try_into()?, 1)
    })?;
    assert_eq!(clients.failed, Vec::<Value>::new());
    assert_eq!(clients.open, count);
    assert_eq!(pods.stats("refused")?.iter().sum::<u64>(), 0);
    let open = block_in_place(|| {
        wait_until("the sessions that were lost have ended", PATIENCE, || {
            let open = pods.stats("websockets").ok()?;
            (open.iter().sum::<u64>() == count).then_some(open)
        })
    })?;
    let held: Vec<u64> = open
        .iter()
        .zip(SKEW)
        .map(|(open, skew)| open + skew)
        .collect();
    assert!(imbalance(&held) <= 1.05, "{held:?}");
    let sessions = 2 * count;
    let carried = if websocket_only { 0 } else { sessions };
    for (name, expect) in [
        ("upgrades_balanced", sessions),
        ("upgrades_in_session", carried),
    ] {
        // A worker tells of them with its next tick.
        block_in_place(|| envoy.wait_for_filter_stat(name, |value| value == expect, PATIENCE))?;
    }
    assert_eq!(stat(envoy, "upgrades_mismatched")?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_clients_of_socket_io_stay_on_their_pods_and_even_them_out() -> Result<()> {
    let pods = SessionPods::start(Framework::SocketIo, true, &SKEW)?;
    let envoy = start(sample()?, &pods)?;
    assert_sessions(&envoy, &pods, Framework::SocketIo, false)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_socket_io_with_websockets_alone() -> Result<()> {
    let pods = SessionPods::start(Framework::SocketIo, true, &SKEW)?;
    let envoy = start(sample()?, &pods)?;
    doctor::until_found(&envoy, &[])?;
    assert_sessions(&envoy, &pods, Framework::SocketIo, true)
}

/// The pods count WebSockets, and no sessions that have none.
#[tokio::test(flavor = "multi_thread")]
async fn negotiated_connections_as_signalr_has_them() -> Result<()> {
    let pods = SessionPods::start(Framework::SignalR, false, &SKEW)?;
    let envoy = start(
        sample_for("In the filter's configuration, for SignalR")?,
        &pods,
    )?;
    assert_sessions(&envoy, &pods, Framework::SignalR, false)
}

/// What control planes make of the manifests: Istio with the filter from a file, and Envoy Gateway.
#[tokio::test(flavor = "multi_thread")]
async fn the_default_clients_of_socket_io_through_istio_and_envoy_gateway() -> Result<()> {
    let options = markdown::snippet("In the filter's configuration, for Socket.IO")?;
    let options: Value = serde_saphyr::from_str(&options)?;
    let mut of_istio = documents("envoy/istio/sessions.yaml")?;
    of_istio.extend(documents("envoy/istio/gateway.yaml")?);
    let mut of_envoy_gateway = Shape::ENVOY_GATEWAY.before()?;
    for route in documents("envoy/envoy-gateway/sessions.yaml")? {
        keep_sessions(&route, &mut of_envoy_gateway)?;
    }
    for proxy in documents("envoy/envoy-gateway/envoyproxy.yaml")? {
        order_filters(&proxy, &mut of_envoy_gateway)?;
    }
    for (shape, resources) in [
        (Shape::GATEWAY, Shape::GATEWAY.with(&of_istio)?),
        (Shape::ENVOY_GATEWAY, of_envoy_gateway),
    ] {
        let pods = SessionPods::start(Framework::SocketIo, true, &SKEW[..PODS])?;
        let runnable = shape.before_pods(resources, pods.addresses())?;
        let discovery = json!({ "adminCluster": ADMIN_CLUSTER, "interval": "100ms" });
        let runnable = runnable
            .option("discovery", discovery)
            .option("sessions", options["sessions"].clone());
        let running = block_in_place(|| runnable.start())?;
        let envoy = &running.envoy;
        until_usable(envoy, &pods)?;
        assert_sessions_at(shape.host(), envoy, &pods, Framework::SocketIo, false)?;
    }
    Ok(())
}

/// Without the filter that keeps sessions, which is what this is about.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_keeps_a_session_without_the_cookie() -> Result<()> {
    let pods = SessionPods::start(Framework::SignalR, false, &SKEW)?;
    let mut sample = sample_for("In the filter's configuration, for SignalR")?;
    let filters = sample.connection_manager()["http_filters"].as_array_mut();
    let filters = filters.context("HTTP filters")?;
    filters.retain(|filter| filter["name"] != KEEPER);
    let envoy = start(sample, &pods)?;
    let gateway = envoy.address();
    let clients =
        block_in_place(|| SessionClients::open(Framework::SignalR, false, gateway, 20, 0))?;
    assert!(clients.failed.len() > 5, "{:?}", clients.failed);
    Ok(())
}

/// A request through Envoy: its status, where it went, and the headers of the response.
fn send(envoy: &Envoy, method: Method, path: &str, headers: &[(&str, &str)]) -> Result<Sent> {
    let url = format!("http://{}{path}", envoy.address());
    let request = Request::builder().method(method).uri(url);
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    });
    let answer = ask(request.body(())?)?;
    let headers = answer.headers().clone();
    let pod = headers.get("x-served").context("a pod")?;
    Ok(Sent {
        pod: pod.to_str()?.to_owned(),
        headers,
    })
}

struct Sent {
    pod: String,
    headers: HeaderMap,
}

impl Sent {
    /// The cookie of the pod that served; none where the client has it already.
    fn cookie(&self) -> Option<String> {
        let set = self.headers.get(SET_COOKIE)?.to_str().ok()?;
        Some(set.split(';').next()?.to_owned())
    }
}

/// With the pod that served in each response.
fn showing_pods(mut sample: Sample) -> Sample {
    sample.connection_manager()["route_config"]["response_headers_to_add"] = json!([{
        "header": { "key": "x-served", "value": "%UPSTREAM_REMOTE_ADDRESS%" },
    }]);
    sample
}

/// What Envoy does with the two filters, in the order of the sample and in the other.
#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_leads_what_carries_a_session_and_not_what_opens_one() -> Result<()> {
    const OPENER: &str = "/hub/negotiate";
    const CARRIER: &str = "/hub?id=a";
    // The first has the fewest for long.
    let pods = SessionPods::start(Framework::SignalR, false, &[0, 50, 50])?;
    let [best, other, _] = pods.addresses() else {
        unreachable!("there are three pods");
    };
    let (best, other) = (best.to_string(), other.to_string());
    let sample = sample_for("In the filter's configuration, for SignalR")?;
    let mut sample = showing_pods(sample.with_header_of_clients());
    let envoy = start(sample.clone(), &pods)?;

    let opened = send(&envoy, Method::POST, OPENER, &[])?;
    assert_eq!(opened.pod, best);
    let own = opened.cookie().context("the opener gets a cookie")?;
    // What the client says in the override header counts for nothing in either.
    let header = ("x-gateway-destination-endpoint", other.as_str());
    for _ in 0..6 {
        let carried = send(&envoy, Method::GET, CARRIER, &[("cookie", &own), header])?;
        assert_eq!(carried.pod, best);
        assert_eq!(carried.cookie(), None);
    }
    // The cookie of a session on another pod, as a client has it that was there before.
    let mut elsewhere = None;
    for _ in 0..20 {
        let left = send(&envoy, Method::GET, CARRIER, &[])?;
        if left.pod == other {
            elsewhere = left.cookie();
        }
    }
    let elsewhere = elsewhere.context("the fallback policy takes turns")?;
    let carried = send(&envoy, Method::GET, CARRIER, &[("cookie", &elsewhere)])?;
    assert_eq!(carried.pod, other);
    let cookies = format!("a=b; {elsewhere}; c=d");
    let opened = send(
        &envoy,
        Method::POST,
        OPENER,
        &[(COOKIE.as_str(), &cookies), header],
    )?;
    assert_eq!(opened.pod, best);
    assert_eq!(opened.cookie().as_deref(), Some(own.as_str()));
    drop(envoy);

    // The other way round the cookie has been read before it is taken away.
    let filters = sample.connection_manager()["http_filters"].as_array_mut();
    filters.context("HTTP filters")?.swap(0, 1);
    let envoy = start(sample, &pods)?;
    let opened = send(&envoy, Method::POST, OPENER, &[(COOKIE.as_str(), &cookies)])?;
    assert_eq!(opened.pod, other);
    Ok(())
}

/// No address in a cookie makes Envoy connect to what is no host of the cluster.
#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_that_names_no_pod_leads_to_one_of_the_pods() -> Result<()> {
    let pods = SessionPods::start(Framework::SignalR, false, &[0, 50])?;
    let sample = showing_pods(sample_for("In the filter's configuration, for SignalR")?);
    let envoy = start(sample, &pods)?;
    // "127.0.0.1:1", as Envoy writes it, and what is not of that form.
    for cookie in ["MTI3LjAuMC4xOjE=", "CgsxMjcuMC4wLjE6MQ==", "x", "\"\""] {
        let cookie = format!("wsbalancer-pod={cookie}");
        let carried = send(&envoy, Method::GET, "/hub?id=a", &[("cookie", &cookie)])?;
        let known = pods.addresses().iter().map(ToString::to_string);
        assert!(known.into_iter().any(|pod| pod == carried.pod), "{cookie}");
    }
    Ok(())
}
