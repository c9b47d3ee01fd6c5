//! A service of four pods in two zones behind a proxy that was recorded, with manifests of the
//! project applied.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use http::header::{COOKIE, HOST, SET_COOKIE};
use http::{HeaderValue, Request};
use rcgen::SanType;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use wsbalancer_backend::{Fleet, FleetConfig, RequestSeen, raise_descriptor_limit};
use wsbalancer_client::{Held, Load};

use crate::ask::ask;
use crate::authority::Authority;
use crate::istio::{self, CLUSTER, Proxy};
use crate::resources::{Kind, Resources, name_of, recording};
use crate::runnable::{ADMIN_CLUSTER, Runnable, Running};
use crate::sidecars::Sidecars;
use crate::xds::XdsFiles;
use crate::{PATIENCE, Stage, addresses, assert_all_well, preloaded};

/// How many pods were recorded.
pub const PODS: usize = 4;

/// A proxy that was recorded.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    recording: &'static str,
    proxy: Proxy,
    /// The listener that clients come to.
    entrance: &'static str,
    /// The `host` of clients' requests.
    host: &'static str,
    /// The pods' cluster.
    cluster: &'static str,
}

impl Shape {
    /// Istio's ingress gateway.
    pub const GATEWAY: Self = Self {
        recording: "istio-1.31/gateway.before",
        proxy: Proxy::INGRESS_GATEWAY,
        entrance: "0.0.0.0_8080",
        host: "chat.example.com",
        cluster: CLUSTER,
    };
    /// The same, with automatic mTLS.
    pub const MTLS: Self = Self {
        recording: "istio-1.31/mtls.after",
        ..Self::GATEWAY
    };
    /// The same, with pods in ambient mode.
    pub const AMBIENT: Self = Self {
        recording: "istio-1.31/ambient.after",
        ..Self::GATEWAY
    };
    /// The same, with a Service that has `trafficDistribution`, and a plain `DestinationRule`.
    pub const TRAFFIC_DISTRIBUTION: Self = Self {
        recording: "istio-1.31/traffic-distribution.before",
        ..Self::GATEWAY
    };
    /// The same, with an `outlierDetection` of its user's; our filters are in it.
    pub const OUTLIER_DETECTION: Self = Self {
        recording: "istio-1.31/zones-with-outlier-detection",
        ..Self::GATEWAY
    };
    /// The gateway of a `Gateway` of the Gateway API.
    pub const GATEWAY_API: Self = Self {
        recording: "istio-1.31/gateway-api.before",
        proxy: Proxy::GATEWAY_API,
        entrance: "0.0.0.0_80",
        ..Self::GATEWAY
    };
    /// A client's sidecar, without interception.
    pub const CLIENT: Self = Self {
        recording: "istio-1.31/client.before",
        proxy: Proxy::CLIENT,
        entrance: "127.0.2.1_8080",
        host: "chat:8080",
        cluster: CLUSTER,
    };
    /// The same, with interception.
    pub const CLIENT_REDIRECT: Self = Self {
        recording: "istio-1.31/client-redirect.before",
        entrance: "0.0.0.0_8080",
        ..Self::CLIENT
    };
    /// The same, with a headless Service.
    pub const CLIENT_HEADLESS: Self = Self {
        recording: "istio-1.31/headless-client.before",
        ..Self::CLIENT
    };

    /// Envoy Gateway's proxy; our policies are in it.
    pub const ENVOY_GATEWAY: Self = Self {
        recording: "envoy-gateway-1.9/gateway",
        entrance: "default/eg/http",
        cluster: "httproute/default/chat/rule/0",
        ..Self::GATEWAY
    };

    /// What the proxy received before this project's manifests.
    ///
    /// # Errors
    /// When the recording can't be read.
    pub fn before(self) -> Result<Resources> {
        let mut resources = Resources::recorded(self.recording)?;
        if let Some((_, "after")) = self.recording.rsplit_once('.') {
            let mut gateway = Resources::recorded(Self::GATEWAY.recording)?;
            take_patches_out(&mut resources, &mut gateway)?;
        }
        Ok(resources)
    }

    /// What it receives with manifests.
    ///
    /// # Errors
    /// When one of them does not go with it.
    pub fn with(self, manifests: &[Value]) -> Result<Resources> {
        let mut resources = self.before()?;
        istio::apply(&self.proxy, manifests, &mut resources)?;
        Ok(resources)
    }

    /// Resources of this shape, on their way to an Envoy. Istio's agent says which statistics it has.
    ///
    /// # Errors
    /// When the recording of what the agent says can't be read.
    pub fn runnable(self, resources: Resources) -> Result<Runnable> {
        if !self.recording.starts_with("istio") {
            return Ok(Runnable::new(resources, self.entrance));
        }
        let file = recording("istio-1.31/agent.stats_config");
        let statistics = serde_json::from_str(&std::fs::read_to_string(file)?)?;
        Ok(Runnable::new(resources, self.entrance).statistics(statistics))
    }

    /// The same, with pods of the caller's in the places of the recorded ones.
    ///
    /// # Errors
    /// As [`runnable`](Self::runnable), or when their number is another one.
    pub fn before_pods(self, resources: Resources, pods: &[SocketAddr]) -> Result<Runnable> {
        self.runnable(resources)?.pods(self.cluster, pods)
    }

    /// The `host` of clients' requests.
    #[must_use]
    pub fn host(self) -> &'static str {
        self.host
    }
}

/// Ingress gateways were not recorded in all modes before the patches: takes the patches out.
/// `gateway` is the one that was.
fn take_patches_out(resources: &mut Resources, gateway: &mut Resources) -> Result<()> {
    resources
        .all(Kind::Routes)
        .clone_from(gateway.all(Kind::Routes));
    let cluster = resources.get(Kind::Clusters, CLUSTER)?.as_object_mut();
    let policy = cluster.and_then(|fields| fields.remove("load_balancing_policy"));
    ensure!(policy.is_some(), "there are no patches in it");
    for listener in resources.all(Kind::Listeners) {
        for manager in Resources::connection_managers(listener) {
            let filters = manager["http_filters"].as_array_mut().context("filters")?;
            filters.retain(|filter| name_of(filter) != "wsbalancer");
        }
    }
    Ok(())
}

/// What stands before the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// Nothing.
    Nothing,
    /// Sidecars that take whoever comes.
    Sidecars,
    /// Sidecars that take only clients of the mesh, over mTLS.
    StrictSidecars,
}

/// What came of a request.
#[derive(Debug)]
pub struct Answered {
    /// The request as the pod has seen it.
    pub seen: RequestSeen,
    /// The cookie that came with the answer: its name and value.
    pub cookie: Option<String>,
}

/// The pods with their sidecars, and the proxy.
pub struct Mesh {
    /// The pods and the proxy.
    pub stage: Stage,
    /// The pods' sidecars.
    pub sidecars: Option<Sidecars>,
    /// What the proxy takes from files.
    pub files: XdsFiles,
    shape: Shape,
}

impl Mesh {
    /// Starts sound pods, what stands before them, and the proxy with what `change` makes of it.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(
        shape: Shape,
        resources: Resources,
        inbound: Inbound,
        change: impl FnOnce(Runnable) -> Runnable,
    ) -> Result<Self> {
        let fleet = FleetConfig::local(PODS);
        Self::start_with(shape, resources, inbound, fleet, change).await
    }

    /// As [`start`](Self::start), with pods of the caller's.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start_with(
        shape: Shape,
        mut resources: Resources,
        inbound: Inbound,
        fleet: FleetConfig,
        change: impl FnOnce(Runnable) -> Runnable,
    ) -> Result<Self> {
        raise_descriptor_limit()?;
        let fleet = Fleet::start(fleet).await?;
        let authority = Authority::new()?;
        let identity = |account: &str| {
            let name = format!("spiffe://cluster.local/ns/{account}");
            authority.vouch(SanType::URI(name.try_into()?))
        };
        let (pods, of_chat) = (addresses(&fleet), identity("default/sa/chat")?);
        let sidecars = block_in_place(|| match inbound {
            Inbound::Nothing => Ok(None),
            Inbound::Sidecars => Sidecars::plain(&pods).map(Some),
            Inbound::StrictSidecars => {
                Sidecars::strict(&pods, &of_chat, &authority.pem()).map(Some)
            }
        })?;
        if inbound == Inbound::StrictSidecars {
            say_that_pods_have_sidecars(&mut resources)?;
        }
        let pods = sidecars.as_ref().map_or(&*pods, Sidecars::addresses);
        let own = identity("istio-system/sa/istio-ingressgateway")?;
        let runnable = shape
            .before_pods(resources, pods)?
            .identity(&own, &authority.pem());
        let Running { envoy, files } = block_in_place(|| change(runnable).start())?;
        Ok(Self {
            stage: Stage { fleet, envoy },
            sidecars,
            files,
            shape,
        })
    }

    /// A `GET` through the proxy, with these headers.
    ///
    /// # Errors
    /// When no pod answers it.
    pub fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answered> {
        let url = format!("http://{}{path}", self.stage.envoy.address());
        let request = Request::get(url).header(HOST, self.shape.host);
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        let answer = ask(request.body(())?)?;
        let cookie = answer.headers().get(SET_COOKIE);
        let cookie = cookie.and_then(|set| set.to_str().ok()?.split(';').next());
        Ok(Answered {
            cookie: cookie.map(str::to_owned),
            seen: serde_json::from_str(answer.body()).with_context(|| answer.body().clone())?,
        })
    }

    /// So many WebSockets through the proxy.
    ///
    /// # Errors
    /// Never, for the address that it listens on.
    pub fn load(&self, connections: u32) -> Result<Load> {
        let mut load = self.stage.load(connections, 0)?;
        load.headers
            .push((HOST, HeaderValue::from_static(self.shape.host)));
        Ok(load)
    }

    /// What the proxy itself says of the pods, in an order that stays: entries of `host_statuses` in
    /// `/clusters`.
    ///
    /// # Errors
    /// When it does not tell.
    pub fn hosts(&self) -> Result<Vec<Value>> {
        let envoy = &self.stage.envoy;
        let text = block_in_place(|| envoy.admin_get("/clusters?format=json"))?;
        let clusters: Value = serde_json::from_str(&text)?;
        let mut clusters = clusters["cluster_statuses"]
            .as_array()
            .into_iter()
            .flatten();
        let pods = clusters.find(|cluster| name_of(cluster) == self.shape.cluster);
        let hosts = pods.context("the pods' cluster")?["host_statuses"].clone();
        Ok(serde_json::from_value(hosts)?)
    }

    /// How many requests the proxy has sent to each pod, in the order of [`hosts`](Self::hosts):
    /// polls, WebSockets and all others.
    ///
    /// # Errors
    /// When it does not tell.
    pub fn requests(&self) -> Result<Vec<u64>> {
        let hosts = self.hosts()?;
        Ok(hosts
            .iter()
            .map(|host| statistic(host, "rq_total"))
            .collect())
    }

    /// Waits until nothing is open through the proxy.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn until_idle(&self) -> Result<()> {
        self.stage.until_open(0)?;
        let envoy = &self.stage.envoy;
        block_in_place(|| {
            envoy.wait_until("the end of all requests", PATIENCE, || {
                let hosts = self.hosts().ok()?;
                let active = |host| statistic(host, "rq_active");
                hosts.iter().all(|host| active(host) == 0).then_some(())
            })
        })
    }

    /// Opens so many WebSockets through the proxy.
    ///
    /// # Errors
    /// Never, for the address that it listens on.
    ///
    /// # Panics
    /// When a client sees a failure.
    pub async fn open(&self, connections: u32) -> Result<Held> {
        let held = self.load(connections)?.open().await;
        assert_all_well(&held.report());
        Ok(held)
    }
}

/// A statistic of one of [`Mesh::hosts`]; Envoy leaves out what is 0.
fn statistic(host: &Value, name: &str) -> u64 {
    let mut all = host["stats"].as_array().into_iter().flatten();
    let value = all.find(|statistic| statistic["name"] == name);
    let value = value.and_then(|statistic| statistic["value"].as_str()?.parse().ok());
    value.unwrap_or(0)
}

/// Pods with a sidecar have a label in the mesh, by which a proxy chooses mTLS. Those that were
/// recorded with mTLS had none.
fn say_that_pods_have_sidecars(resources: &mut Resources) -> Result<()> {
    let zones = resources.get(Kind::Endpoints, CLUSTER)?["endpoints"].as_array_mut();
    for zone in zones.into_iter().flatten() {
        for endpoint in zone["lb_endpoints"].as_array_mut().into_iter().flatten() {
            endpoint["metadata"]["filter_metadata"]["envoy.transport_socket_match"] =
                json!({ "tlsMode": "istio" });
        }
    }
    Ok(())
}

/// Has the filter find pods at once, ask each for its count, and then not again for long: without
/// polls WebSockets spread exactly.
#[must_use]
pub fn seldom(runnable: Runnable) -> Runnable {
    let discovery = json!({ "adminCluster": ADMIN_CLUSTER, "interval": "100ms" });
    runnable
        .option("cacheTTL", "3600s")
        .option("discovery", discovery)
}

/// What must hold for every shape: 400 WebSockets go to the four pods 100 each; when they are closed,
/// in good order, no pod is lost, and the next 400 go where the first went.
///
/// # Errors
/// When something does not start, or Envoy does not tell.
///
/// # Panics
/// When it is not so.
pub async fn assert_spreads(shape: Shape, resources: Resources, inbound: Inbound) -> Result<()> {
    let mesh = Mesh::start(shape, resources, inbound, seldom).await?;
    mesh.stage.until_usable(PODS)?;
    let held = mesh.open(400).await?;
    assert_eq!(mesh.stage.counts(), [100; PODS]);
    held.close().await;
    mesh.until_idle()?;
    for host in mesh.hosts()? {
        let health = &host["health_status"];
        assert_eq!(health["failed_outlier_check"], Value::Null, "{host}");
    }
    let _held = mesh.open(400).await?;
    assert_eq!(mesh.stage.counts(), [100; PODS]);
    assert_eq!(mesh.stage.stat("pods_usable")?, 4);
    // Workers tell it with a tick.
    mesh.stage
        .until_stat("upgrades_balanced", |balanced| balanced == 800)
}

/// The pods for [`opener_with_old_cookie`]: the first has the fewest for long.
#[must_use]
pub fn pods_for_sessions() -> FleetConfig {
    preloaded(PODS, &[0, 50, 50, 50])
}

/// What carries a session goes where its cookie says, whatever the client says besides. Then an opener
/// comes with the cookie of a session on another pod, as from a client that was there before: the
/// names of the pod that it reaches, and of that other one.
///
/// Sessions are those of Socket.IO.
///
/// # Errors
/// When no pod answers.
///
/// # Panics
/// When something that carries a session goes elsewhere.
pub fn opener_with_old_cookie(mesh: &Mesh) -> Result<(String, String)> {
    const OPENER: &str = "/socket.io/?EIO=4&transport=polling";
    const CARRIER: &str = "/socket.io/?EIO=4&transport=polling&sid=a";
    mesh.stage.until_usable(PODS)?;
    let opened = mesh.ask(OPENER, &[])?;
    let own = opened.cookie.context("an opener gets a cookie")?;
    let header = ("x-gateway-destination-endpoint", "127.0.0.1:1");
    for _ in 0..6 {
        let carried = mesh.ask(CARRIER, &[(COOKIE.as_str(), &own), header])?;
        assert_eq!(carried.seen.pod_name, opened.seen.pod_name);
        assert_eq!(carried.cookie, None);
    }
    let mut elsewhere = None;
    for _ in 0..20 {
        let left = mesh.ask(CARRIER, &[])?;
        if left.seen.pod_name != opened.seen.pod_name {
            elsewhere = left.cookie.map(|cookie| (left.seen.pod_name, cookie));
        }
    }
    let (other, cookie) = elsewhere.context("the fallback policy takes turns")?;
    let carried = mesh.ask(CARRIER, &[(COOKIE.as_str(), &cookie)])?;
    assert_eq!(carried.seen.pod_name, other);
    let cookies = format!("a=b; {cookie}; c=d");
    let opened = mesh.ask(OPENER, &[(COOKIE.as_str(), &cookies)])?;
    Ok((opened.seen.pod_name, other))
}
