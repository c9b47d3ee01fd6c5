//! Discovery of pods through Envoy's admin interface: which hosts a cluster has, and what Envoy
//! has against them, in its answer to `/clusters?format=json`.
//!
//! The format is `envoy.admin.v3.Clusters`
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/clusters.proto>). Of the many
//! fields of a host only those named here are kept while the rest is skipped, so that a thousand
//! hosts cost their addresses and little more. Other clusters, which Envoy lists too before 1.38, are
//! skipped as a whole.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::host::{Answer, CallToken, Calls, Get, NotSent, authority_of};
use crate::pod::{
    DiscoveryFailure, Exclusion, HOST_LIST_LIMIT, HostList, LONGEST_LISTENER, Member, PodAddress,
    Priority, Usage,
};
use crate::uri::is_unreserved;

/// Asks for the hosts of `cluster`. `admin_cluster` is one that reaches the admin interface.
///
/// # Errors
/// [`NotSent`] where Envoy does not take the call.
pub fn ask(
    calls: &impl Calls,
    cluster: &str,
    admin_cluster: &str,
    timeout: Duration,
) -> Result<CallToken, NotSent> {
    calls.get(&Get {
        cluster: admin_cluster,
        upstream: None,
        authority: authority_of(admin_cluster),
        path: &path(cluster),
        headers: &[("accept", "application/json")],
        timeout,
    })
}

/// Reads the admin interface's answer.
///
/// # Errors
/// No answer, any status but 200, a body over [`HOST_LIST_LIMIT`] bytes or of another format, and a
/// list without `cluster`. A cluster without hosts is no error.
pub fn read(cluster: &str, answer: Answer<'_>) -> Result<HostList, DiscoveryFailure> {
    let (status, body) = match answer {
        Answer::Nothing => return Err(DiscoveryFailure::NoAnswer),
        Answer::Response { status, body } => (status, body),
        Answer::Encoded { status, .. } => (status, [].as_slice()),
    };
    if status != 200 {
        return Err(DiscoveryFailure::Status(status));
    }
    if body.len() > HOST_LIST_LIMIT {
        return Err(DiscoveryFailure::TooLarge);
    }
    let found = hosts_in(body, cluster).map_err(|_| DiscoveryFailure::Malformed)?;
    let Listed { hosts, breakers } = found.ok_or(DiscoveryFailure::NotListed)?;
    let bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
    Ok(HostList {
        cost: COST_OF_BYTE.saturating_mul(bytes),
        usage: usage(&hosts, &breakers),
        ..list(&hosts)
    })
}

/// What a byte of the list costs Envoy's main thread: 0.22 s for 7.2 MB, seen with Envoy 1.37.
const COST_OF_BYTE: Duration = Duration::from_nanos(31);

fn list(hosts: &[HostStatus]) -> HostList {
    // Istio has one listener for all pods in ambient mode.
    let listeners = hosts.iter().filter_map(|host| host.address.listener());
    let listener = listeners.into_iter().next().unwrap_or_default();
    let mut members = Vec::new();
    let mut left_out = LeftOut::default();
    let mut known = BTreeSet::new();
    for host in hosts {
        let Some(pod) = host.address.pod(listener) else {
            left_out.add(&host.address);
            continue;
        };
        // Envoy's map of hosts has one entry for an address, too.
        if known.insert(pod) {
            members.push(Member {
                pod,
                exclusion: host.health_status.exclusion(),
                priority: Priority::new(host.priority, host.health_status.is_degraded()),
                weight: host.weight,
            });
        }
    }
    HostList {
        members,
        listener: listener.to_owned(),
        left_out: left_out.described(),
        ..HostList::default()
    }
}

/// How far the cluster is from the limits of requests without a priority of their own.
fn usage(hosts: &[HostStatus], breakers: &CircuitBreakers) -> Usage {
    let stats = hosts.iter().map(|host| host.stats);
    let mut usage = stats.fold(Usage::default(), |sum, of| Usage {
        connections: sum.connections.saturating_add(of.connections),
        requests: sum.requests.saturating_add(of.requests),
        ..sum
    });
    // Those behind a listener inside Envoy take no ports.
    let pods = hosts.iter().filter(|host| host.address.socket.is_some());
    let busiest = pods.max_by_key(|host| host.stats.connections);
    usage.busiest = busiest.and_then(|host| Some((host.address.pod("")?, host.stats.connections)));
    let mut thresholds = breakers.thresholds.iter();
    if let Some(limits) = thresholds.find(|limits| limits.priority == RoutingPriority::Default) {
        usage.max_connections = limits.max_connections;
        usage.max_requests = limits.max_requests;
    }
    usage
}

/// Hosts that no header can name.
#[derive(Default)]
struct LeftOut {
    count: u32,
    first: String,
}

impl LeftOut {
    fn add(&mut self, address: &Address) {
        if self.count == 0 {
            self.first = address.to_string();
        }
        self.count = self.count.saturating_add(1);
    }

    fn described(&self) -> Option<String> {
        let Self { count, first } = self;
        let more = if *count > 1 { ", …" } else { "" };
        (*count > 0).then(|| {
            format!(
                "{count} of its hosts can't be chosen, because they have no ip:port: {first}{more}"
            )
        })
    }
}

/// The path that asks the admin interface for the hosts of `cluster` and of no other.
fn path(cluster: &str) -> String {
    let mut path = String::from("/clusters?format=json&filter=%5E");
    for byte in cluster.bytes() {
        // Names have pipes and dots in them, which mean something in a regular expression, and
        // may have bytes that mean something in a query.
        if byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii() {
            push_encoded(&mut path, byte);
        } else {
            path.push_str("%5C");
            push_encoded(&mut path, byte);
        }
    }
    path.push_str("%24");
    path
}

/// Percent-encodes what is not unreserved (RFC 3986, section 2.3).
fn push_encoded(text: &mut String, byte: u8) {
    if is_unreserved(byte) {
        text.push(char::from(byte));
    } else {
        // A string takes whatever is written to it.
        let _written = write!(text, "%{byte:02X}");
    }
}

/// The hosts of the cluster of this name in the whole answer; none where it is not listed.
fn hosts_in(body: &[u8], cluster: &str) -> serde_json::Result<Option<Listed>> {
    let mut answer = serde_json::Deserializer::from_slice(body);
    let hosts = Level::<Clusters>::of(cluster).deserialize(&mut answer)?;
    answer.end()?;
    Ok(hosts)
}

/// A level of the answer on the way to the hosts of one cluster.
struct Level<'a, L> {
    cluster: &'a str,
    level: PhantomData<L>,
}

/// `envoy.admin.v3.Clusters`.
enum Clusters {}
/// Its `cluster_statuses`.
enum Statuses {}
/// One of them, an `envoy.admin.v3.ClusterStatus`.
enum Status {}

impl<'a, L> Level<'a, L> {
    const fn of(cluster: &'a str) -> Self {
        let level = PhantomData;
        Self { cluster, level }
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_, Clusters> {
    type Value = Option<Listed>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Level<'_, Clusters> {
    type Value = Option<Listed>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("clusters")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        // Envoy leaves empty lists out.
        let mut hosts = None;
        while let Some(field) = fields.next_key::<Cow<'de, str>>()? {
            if field == "cluster_statuses" {
                hosts = fields.next_value_seed(Level::<Statuses>::of(self.cluster))?;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(hosts)
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_, Statuses> {
    type Value = Option<Listed>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Level<'_, Statuses> {
    type Value = Option<Listed>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of clusters")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut statuses: A) -> Result<Self::Value, A::Error> {
        let mut hosts = None;
        while let Some(found) = statuses.next_element_seed(Level::<Status>::of(self.cluster))? {
            hosts = hosts.or(found);
        }
        Ok(hosts)
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_, Status> {
    type Value = Option<Listed>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Level<'_, Status> {
    type Value = Option<Listed>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a cluster")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let (mut is_it, mut listed) = (None, Listed::default());
        while let Some(field) = fields.next_key::<Cow<'de, str>>()? {
            match &*field {
                "name" => is_it = Some(fields.next_value::<Cow<'de, str>>()? == self.cluster),
                // Envoy writes the name first.
                "host_statuses" if is_it != Some(false) => listed.hosts = fields.next_value()?,
                "circuit_breakers" if is_it != Some(false) => {
                    listed.breakers = fields.next_value()?;
                }
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok((is_it == Some(true)).then_some(listed))
    }
}

/// What the answer has of one cluster. Envoy leaves empty lists out.
#[derive(Default)]
struct Listed {
    hosts: Vec<HostStatus>,
    breakers: CircuitBreakers,
}

/// A cluster's `envoy.config.cluster.v3.CircuitBreakers`.
#[derive(Default, Deserialize)]
struct CircuitBreakers {
    #[serde(default)]
    thresholds: Vec<Thresholds>,
}

/// What may be open at once, of requests of one priority.
#[derive(Deserialize)]
struct Thresholds {
    #[serde(default)]
    priority: RoutingPriority,
    max_connections: Option<u64>,
    max_requests: Option<u64>,
}

/// `envoy.config.core.v3.RoutingPriority`; the default is left out.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum RoutingPriority {
    #[default]
    Default,
    #[serde(other)]
    Other,
}

/// What of a host's statistics counts against limits.
#[derive(Clone, Copy, Default)]
struct Stats {
    connections: u64,
    requests: u64,
}

/// One statistic, an `envoy.admin.v3.SimpleMetric`. Zeros are left out, and numbers of 64 bits are
/// strings.
#[derive(Deserialize)]
struct Stat<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    value: Cow<'a, str>,
}

impl<'de> Deserialize<'de> for Stats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Stats;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of statistics")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Stats, A::Error> {
                let mut stats = Stats::default();
                while let Some(stat) = list.next_element::<Stat<'_>>()? {
                    let value = || stat.value.parse().unwrap_or(0);
                    match &*stat.name {
                        "cx_active" => stats.connections = value(),
                        "rq_active" => stats.requests = value(),
                        _ => {}
                    }
                }
                Ok(stats)
            }
        }

        deserializer.deserialize_seq(Each)
    }
}

#[derive(Deserialize)]
struct HostStatus {
    address: Address,
    #[serde(default)]
    stats: Stats,
    #[serde(default)]
    health_status: HealthStatus,
    #[serde(default)]
    priority: u16,
    /// The endpoint's `load_balancing_weight`, 1 where it has none.
    #[serde(default = "one")]
    weight: u32,
}

const fn one() -> u32 {
    1
}

/// `envoy.config.core.v3.Address`: one of its fields is there.
#[derive(Deserialize)]
struct Address {
    #[serde(rename = "socket_address")]
    socket: Option<IpAndPort>,
    pipe: Option<Pipe>,
    #[serde(rename = "envoy_internal_address")]
    internal: Option<Internal>,
}

#[derive(Deserialize)]
struct IpAndPort {
    address: String,
    #[serde(default)]
    port_value: u16,
}

#[derive(Deserialize)]
struct Pipe {
    path: String,
}

/// Behind a listener of Envoy's own.
#[derive(Deserialize)]
struct Internal {
    #[serde(default)]
    server_listener_name: String,
    #[serde(default)]
    endpoint_id: String,
}

impl Internal {
    fn address(&self) -> Option<SocketAddr> {
        self.endpoint_id.parse().ok()
    }
}

impl Address {
    /// The pod; none where it has no `ip:port`, or is behind another listener than `listener`.
    fn pod(&self, listener: &str) -> Option<PodAddress> {
        if let Some(internal) = &self.internal {
            let is_known = internal.server_listener_name == listener;
            return PodAddress::behind_listener(internal.address().filter(|_| is_known)?).ok();
        }
        let socket = self.socket.as_ref()?;
        let ip: IpAddr = socket.address.parse().ok()?;
        SocketAddr::new(ip, socket.port_value).try_into().ok()
    }

    /// The listener that it is behind, if pods are named by it.
    fn listener(&self) -> Option<&str> {
        let internal = self.internal.as_ref()?;
        let name = internal.server_listener_name.as_str();
        // The override header is a list, and the listener's name ends at a slash.
        let is_sound = name.len() <= LONGEST_LISTENER
            && name
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b",/".contains(&b));
        (is_sound && internal.address().is_some()).then_some(name)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.socket, &self.pipe, &self.internal) {
            (Some(socket), ..) => {
                let address = socket.address.escape_debug();
                write!(f, "{address}:{}", socket.port_value)
            }
            (None, Some(pipe), _) => write!(f, "the pipe {}", pipe.path.escape_debug()),
            (None, None, Some(internal)) => {
                let listener = internal.server_listener_name.escape_debug();
                write!(
                    f,
                    "envoy://{listener}/{}",
                    internal.endpoint_id.escape_debug()
                )
            }
            (None, None, None) => f.write_str("an address of another kind"),
        }
    }
}

/// `envoy.admin.v3.HostHealthStatus`; flags that are off are left out.
#[derive(Default, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    clippy::struct_field_names,
    reason = "it is Envoy's structure"
)]
struct HealthStatus {
    eds_health_status: EdsHealth,
    failed_active_health_check: bool,
    failed_outlier_check: bool,
    failed_active_degraded_check: bool,
    pending_dynamic_removal: bool,
    pending_active_hc: bool,
    excluded_via_immediate_hc_fail: bool,
    active_hc_timeout: bool,
}

/// `envoy.config.core.v3.HealthStatus`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum EdsHealth {
    Unhealthy,
    Draining,
    Timeout,
    Degraded,
    #[default]
    #[serde(other)]
    Other,
}

impl HealthStatus {
    fn exclusion(&self) -> Option<Exclusion> {
        match self.eds_health_status {
            EdsHealth::Unhealthy => return Some(Exclusion::Unhealthy),
            EdsHealth::Draining => return Some(Exclusion::Draining),
            EdsHealth::Timeout => return Some(Exclusion::TimedOut),
            EdsHealth::Degraded | EdsHealth::Other => {}
        }
        let checks = [
            self.failed_active_health_check,
            self.pending_active_hc,
            self.excluded_via_immediate_hc_fail,
            self.active_hc_timeout,
        ];
        if checks.contains(&true) {
            Some(Exclusion::FailedHealthCheck)
        } else if self.failed_outlier_check {
            Some(Exclusion::Ejected)
        } else {
            self.pending_dynamic_removal.then_some(Exclusion::Leaving)
        }
    }

    fn is_degraded(&self) -> bool {
        self.failed_active_degraded_check || self.eds_health_status == EdsHealth::Degraded
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::address;

    fn answered(status: u16, body: &[u8]) -> Result<HostList, DiscoveryFailure> {
        super::read("chat", Answer::Response { status, body })
    }

    fn read(hosts: &Value) -> Result<HostList, DiscoveryFailure> {
        let answer = json!({ "cluster_statuses": [
            { "name": "other", "host_statuses": [host("10.9.9.9")] },
            { "name": "chat", "added_via_api": true, "host_statuses": hosts },
        ]});
        answered(200, answer.to_string().as_bytes())
    }

    /// A host as Envoy 1.40 lists it.
    fn host(ip: &str) -> Value {
        json!({
            "address": { "socket_address": { "address": ip, "port_value": 8080 } },
            "stats": [{ "name": "cx_total" }, { "type": "GAUGE", "name": "rq_active", "value": "7" }],
            "health_status": { "eds_health_status": "HEALTHY" },
            "weight": 1,
            "hostname": "chat",
            "locality": { "region": "eu" },
        })
    }

    fn listed(health: Value, priority: u32) -> Member {
        let mut host = host("10.0.0.1");
        host["health_status"] = health;
        host["priority"] = priority.into();
        read(&json!([host])).unwrap().members[0]
    }

    #[test]
    fn the_hosts_of_the_cluster_and_of_no_other() {
        let hosts = read(&json!([
            host("10.0.0.1"),
            host("10.0.0.2"),
            host("10.0.0.1")
        ]))
        .unwrap();
        let pods: Vec<PodAddress> = hosts.members.iter().map(|member| member.pod).collect();
        assert_eq!(pods, [address(1), address(2)]);
        assert_eq!(hosts.left_out, None);
    }

    /// What is in them is not even looked at.
    #[test]
    fn the_hosts_of_other_clusters_are_skipped() {
        let hosts = json!([host("10.0.0.1")]);
        let strange = json!([{ "address": 7 }]);
        for (before, after) in [(&strange, &strange), (&hosts, &strange), (&strange, &hosts)] {
            // In Envoy's order: the name comes first.
            let answer = format!(
                r#"{{"cluster_statuses": [
                    {{"name": "chat-canary", "host_statuses": {before}}},
                    {{"name": "chat", "added_via_api": true, "host_statuses": {hosts}}},
                    {{"name": "other", "host_statuses": {after}}}], "more": 1}}"#
            );
            let read = answered(200, answer.as_bytes()).unwrap();
            assert_eq!(read.members.len(), 1);
        }
        let nameless = br#"{"cluster_statuses": [{}, {"host_statuses": []}]}"#;
        assert_eq!(answered(200, nameless), Err(DiscoveryFailure::NotListed));
        // Where the name comes last, as no Envoy writes it.
        let last = br#"{"cluster_statuses": [{"host_statuses": [], "name": "chat"}]}"#;
        assert_eq!(answered(200, last).unwrap().members, []);
        let twice = br#"{"cluster_statuses": [{"name": "chat"}]} {}"#;
        assert_eq!(answered(200, twice), Err(DiscoveryFailure::Malformed));
    }

    #[test]
    fn whatever_envoy_has_against_a_host() {
        let cases = [
            (json!({ "eds_health_status": "HEALTHY" }), None),
            (json!({ "eds_health_status": "UNKNOWN" }), None),
            (json!({ "eds_health_status": "DEGRADED" }), None),
            (json!({}), None),
            (
                json!({ "eds_health_status": "UNHEALTHY" }),
                Some(Exclusion::Unhealthy),
            ),
            (
                json!({ "eds_health_status": "DRAINING", "failed_outlier_check": true }),
                Some(Exclusion::Draining),
            ),
            (
                json!({ "eds_health_status": "TIMEOUT" }),
                Some(Exclusion::TimedOut),
            ),
            (
                json!({ "failed_active_health_check": true }),
                Some(Exclusion::FailedHealthCheck),
            ),
            (
                json!({ "pending_active_hc": true }),
                Some(Exclusion::FailedHealthCheck),
            ),
            (
                json!({ "eds_health_status": "HEALTHY", "failed_outlier_check": true }),
                Some(Exclusion::Ejected),
            ),
            (
                json!({ "pending_dynamic_removal": true }),
                Some(Exclusion::Leaving),
            ),
        ];
        for (health, exclusion) in cases {
            assert_eq!(listed(health.clone(), 0).exclusion, exclusion, "{health}");
        }
    }

    #[test]
    fn the_degraded_come_last_in_their_priority() {
        let healthy = json!({ "eds_health_status": "HEALTHY" });
        let degraded = json!({ "failed_active_degraded_check": true });
        let priorities = [
            listed(healthy.clone(), 0),
            listed(degraded, 0),
            listed(healthy, 1),
        ];
        let expected = [(0, false), (0, true), (1, false)];
        assert_eq!(
            priorities.map(|member| member.priority),
            expected.map(|(level, is_degraded)| Priority::new(level, is_degraded))
        );
    }

    #[test]
    fn weights_are_the_endpoints() {
        let mut heavy = host("10.0.0.2");
        heavy["weight"] = 7.into();
        let mut without = host("10.0.0.3");
        without["weight"].take();
        without.as_object_mut().unwrap().remove("weight");
        let hosts = read(&json!([host("10.0.0.1"), heavy, without])).unwrap();
        let weights: Vec<u32> = hosts.members.iter().map(|member| member.weight).collect();
        assert_eq!(weights, [1, 7, 1]);
    }

    #[test]
    fn hosts_without_an_ip_and_a_port_are_left_out_with_a_word() {
        let pipe = json!({ "address": { "pipe": { "path": "/run/pod.sock" } } });
        let inside = json!({ "address": { "envoy_internal_address": { "endpoint_id": "x" } } });
        let scoped = host("fe80::1%eth0");
        let hosts = read(&json!([pipe, host("fd00::1"), inside, scoped])).unwrap();
        assert_eq!(hosts.members.len(), 1);
        assert_eq!(hosts.members[0].pod.to_string(), "[fd00::1]:8080");
        assert_eq!(
            hosts.left_out.unwrap(),
            "3 of its hosts can't be chosen, because they have no ip:port: the pipe /run/pod.sock, …"
        );
    }

    fn internal(listener: &str, endpoint: &str) -> Value {
        json!({ "address": { "envoy_internal_address":
            { "server_listener_name": listener, "endpoint_id": endpoint } } })
    }

    /// As Istio lists pods in ambient mode, beside one that is not.
    #[test]
    fn pods_behind_a_listener_inside_envoy_are_pods() {
        let list = read(&json!([
            host("10.0.0.1"),
            internal("connect_originate", "10.0.0.2:8080"),
            internal("connect_originate", "[fd00::1]:8080"),
            internal("another", "10.0.0.3:8080"),
            internal("connect_originate", "chat"),
        ]))
        .unwrap();
        let upstream = |member: &Member| member.pod.upstream(&list.listener).unwrap();
        let upstreams: Vec<String> = list.members.iter().map(upstream).collect();
        assert_eq!(
            upstreams,
            [
                "10.0.0.1:8080",
                "envoy://connect_originate/10.0.0.2:8080",
                "envoy://connect_originate/[fd00::1]:8080",
            ]
        );
        let left_out = list.left_out.unwrap();
        assert!(
            left_out.ends_with(": envoy://another/10.0.0.3:8080, …"),
            "{left_out}"
        );
    }

    #[test]
    fn a_listener_that_no_header_can_name_is_none() {
        for listener in ["a,b", "a/b", "a b", &"a".repeat(LONGEST_LISTENER + 1)] {
            let list = read(&json!([internal(listener, "10.0.0.2:8080")])).unwrap();
            assert_eq!(list.members, [], "{listener}");
        }
    }

    #[test]
    fn what_is_no_list() {
        let read = |body: &str| answered(200, body.as_bytes());
        for malformed in [
            "",
            "chat::10.0.0.1:8080::cx_active::1",
            "[1]",
            r#"{"cluster_statuses": [{"name": "chat", "host_statuses": [{}]}]}"#,
            r#"{"cluster_statuses": [{"name": "chat", "host_statuses": "#,
        ] {
            assert_eq!(
                read(malformed),
                Err(DiscoveryFailure::Malformed),
                "{malformed}"
            );
        }
        assert_eq!(read("{}"), Err(DiscoveryFailure::NotListed));
        assert_eq!(answered(403, b"{}"), Err(DiscoveryFailure::Status(403)));
        let huge = vec![b' '; HOST_LIST_LIMIT + 1];
        assert_eq!(answered(200, &huge), Err(DiscoveryFailure::TooLarge));
    }

    #[test]
    fn a_cluster_without_hosts_is_a_list() {
        let empty = br#"{"cluster_statuses": [{"name": "chat"}]}"#;
        assert_eq!(answered(200, empty).unwrap().members, []);
    }

    #[test]
    fn the_path_names_the_cluster_literally() {
        assert_eq!(path("chat"), "/clusters?format=json&filter=%5Echat%24");
        assert_eq!(
            path("outbound|8080||chat.svc"),
            "/clusters?format=json&filter=%5Eoutbound%5C%7C8080%5C%7C%5C%7Cchat%5C.svc%24"
        );
        assert_eq!(
            path("é&"),
            "/clusters?format=json&filter=%5E%C3%A9%5C%26%24"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _either = answered(200, &body);
        }
    }
}
