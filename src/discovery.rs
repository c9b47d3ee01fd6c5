//! Which pods a cluster has, and what Envoy holds against them: the answer of its admin interface
//! to `/clusters?format=json`, read into [`Listed`] pods.
//!
//! The format is `envoy.admin.v3.Clusters`
//! (<https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/clusters.proto>). Of the many
//! fields of a host only those named here are kept while the rest is skipped, so that a thousand
//! hosts cost their addresses and little more.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use crate::pod::PodAddress;

/// Longest list that is read, in bytes. Envoy writes about 1,100 bytes for a host, so this is
/// enough for some 15,000.
pub const LISTING_LIMIT: usize = 16 * 1024 * 1024;

/// A host of the cluster that the override header can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its address.
    pub pod: PodAddress,
    /// Why it gets no new WebSockets; none where Envoy holds nothing against it.
    pub exclusion: Option<Exclusion>,
    /// Pods of a tier are for when there are none in the tiers before it. It is twice the
    /// endpoint's priority, and one more where the host is degraded.
    pub tier: u16,
    /// How many WebSockets it should have for each one of an endpoint of weight 1.
    pub weight: u32,
}

/// What Envoy can hold against a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// The endpoint discovery service calls it unhealthy.
    Unhealthy,
    /// The endpoint discovery service calls it draining.
    Draining,
    /// The endpoint discovery service says that its health check timed out.
    TimedOut,
    /// It failed Envoy's active health check, or has not passed it yet.
    FailedHealthCheck,
    /// Outlier detection has ejected it.
    Ejected,
    /// Discovery has removed it, and Envoy keeps it while its health check passes.
    Leaving,
}

impl Exclusion {
    const ALL: [Self; 6] = [
        Self::Unhealthy,
        Self::Draining,
        Self::TimedOut,
        Self::FailedHealthCheck,
        Self::Ejected,
        Self::Leaving,
    ];

    /// A number for the shared table; zero is left for "nothing".
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Unhealthy => 1,
            Self::Draining => 2,
            Self::TimedOut => 3,
            Self::FailedHealthCheck => 4,
            Self::Ejected => 5,
            Self::Leaving => 6,
        }
    }

    /// What has this [`code`](Self::code); none for zero.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.code() == code)
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unhealthy => "its endpoint is unhealthy",
            Self::Draining => "its endpoint is draining",
            Self::TimedOut => "its endpoint timed out",
            Self::FailedHealthCheck => "it fails Envoy's active health check",
            Self::Ejected => "Envoy's outlier detection has ejected it",
            Self::Leaving => "its endpoint was removed",
        })
    }
}

/// The hosts of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Those that the override header can name, each once, in Envoy's order.
    pub pods: Vec<Listed>,
    /// The others: how many, and which is the first.
    pub left_out: Option<LeftOut>,
}

/// Hosts that no header can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    count: usize,
    first: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, first } = self;
        write!(
            f,
            "{count} of its hosts can't be chosen, because they have no ip:port: {first}"
        )?;
        if *count > 1 {
            f.write_str(", …")?;
        }
        Ok(())
    }
}

/// Why there is no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListingFailure {
    /// Envoy would not send the request: it has no such cluster.
    NotSent,
    /// The connection failed, or no answer came in time.
    NoAnswer,
    /// An HTTP status other than 200; 503 and 504 also where the admin interface is out of reach.
    Status(u16),
    /// A list over [`LISTING_LIMIT`].
    TooLarge,
    /// Something other than `envoy.admin.v3.Clusters`.
    Malformed,
    /// A list without the service's cluster.
    NotListed,
}

impl ListingFailure {
    /// A number for the shared table. HTTP statuses stand for themselves, zero is left for "none".
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::NotSent => 1,
            Self::NoAnswer => 2,
            Self::TooLarge => 3,
            Self::Malformed => 4,
            Self::NotListed => 5,
            Self::Status(status) => status,
        }
    }

    /// The failure behind a [`code`](Self::code); none for zero.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            0 => return None,
            1 => Self::NotSent,
            2 => Self::NoAnswer,
            3 => Self::TooLarge,
            4 => Self::Malformed,
            5 => Self::NotListed,
            status => Self::Status(status),
        })
    }
}

impl fmt::Display for ListingFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent => f.write_str("Envoy could not ask: is there such an adminCluster?"),
            Self::NoAnswer => f.write_str("no answer"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::TooLarge => write!(f, "the list is over {LISTING_LIMIT} bytes"),
            Self::Malformed => f.write_str("the answer is not that of /clusters?format=json"),
            Self::NotListed => f.write_str("Envoy has no such cluster"),
        }
    }
}

/// The path that asks the admin interface for the hosts of `cluster` and of no other.
#[must_use]
pub fn path(cluster: &str) -> String {
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
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        text.push(char::from(byte));
    } else {
        // A string takes whatever is written to it.
        let _written = write!(text, "%{byte:02X}");
    }
}

impl Listing {
    /// Reads the admin interface's answer.
    ///
    /// # Errors
    /// Any status but 200, a body over [`LISTING_LIMIT`] bytes or of another format, and a list
    /// without `cluster`. A cluster without hosts is none.
    pub fn read(cluster: &str, status: u16, body: &[u8]) -> Result<Self, ListingFailure> {
        if status != 200 {
            return Err(ListingFailure::Status(status));
        }
        if body.len() > LISTING_LIMIT {
            return Err(ListingFailure::TooLarge);
        }
        let answer: Clusters =
            serde_json::from_slice(body).map_err(|_| ListingFailure::Malformed)?;
        answer
            .cluster_statuses
            .into_iter()
            .find(|status| status.name == cluster)
            .map(|status| Self::of(&status.host_statuses))
            .ok_or(ListingFailure::NotListed)
    }

    fn of(hosts: &[HostStatus]) -> Self {
        let mut listing = Self::default();
        let mut known = BTreeSet::new();
        for host in hosts {
            let Some(pod) = host.address.pod() else {
                let left_out = listing.left_out.get_or_insert_with(|| LeftOut {
                    count: 0,
                    first: host.address.to_string(),
                });
                left_out.count = left_out.count.saturating_add(1);
                continue;
            };
            // Envoy's map of hosts has one entry for an address, too.
            if known.insert(pod) {
                listing.pods.push(Listed {
                    pod,
                    exclusion: host.health_status.exclusion(),
                    tier: host.tier(),
                    weight: host.weight,
                });
            }
        }
        listing
    }
}

#[derive(Deserialize)]
struct Clusters {
    // Envoy leaves empty lists out.
    #[serde(default)]
    cluster_statuses: Vec<ClusterStatus>,
}

#[derive(Deserialize)]
struct ClusterStatus {
    name: String,
    #[serde(default)]
    host_statuses: Vec<HostStatus>,
}

#[derive(Deserialize)]
struct HostStatus {
    address: Address,
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

impl HostStatus {
    fn tier(&self) -> u16 {
        let degraded = self.health_status.is_degraded();
        self.priority
            .saturating_mul(2)
            .saturating_add(u16::from(degraded))
    }
}

/// `envoy.config.core.v3.Address`: one of its fields is there.
#[derive(Deserialize)]
struct Address {
    socket_address: Option<IpAndPort>,
    pipe: Option<Pipe>,
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

impl Address {
    fn pod(&self) -> Option<PodAddress> {
        let socket = self.socket_address.as_ref()?;
        let ip: IpAddr = socket.address.parse().ok()?;
        SocketAddr::new(ip, socket.port_value).try_into().ok()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.socket_address, &self.pipe) {
            (Some(socket), _) => {
                let address = socket.address.escape_debug();
                write!(f, "{address}:{}", socket.port_value)
            }
            (None, Some(pipe)) => write!(f, "the pipe {}", pipe.path.escape_debug()),
            (None, None) => f.write_str("an address inside Envoy"),
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
    use crate::pod::tests::address;

    fn read(hosts: &Value) -> Result<Listing, ListingFailure> {
        let answer = json!({ "cluster_statuses": [
            { "name": "other", "host_statuses": [host("10.9.9.9")] },
            { "name": "chat", "added_via_api": true, "host_statuses": hosts },
        ]});
        Listing::read("chat", 200, answer.to_string().as_bytes())
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

    fn listed(health: Value, priority: u32) -> Listed {
        let mut host = host("10.0.0.1");
        host["health_status"] = health;
        host["priority"] = priority.into();
        read(&json!([host])).unwrap().pods[0]
    }

    #[test]
    fn the_hosts_of_the_cluster_and_of_no_other() {
        let listing = read(&json!([
            host("10.0.0.1"),
            host("10.0.0.2"),
            host("10.0.0.1")
        ]))
        .unwrap();
        let pods: Vec<PodAddress> = listing.pods.iter().map(|listed| listed.pod).collect();
        assert_eq!(pods, [address(1), address(2)]);
        assert_eq!(listing.left_out, None);
    }

    #[test]
    fn whatever_envoy_holds_against_a_host() {
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
    fn exclusions_keep_their_codes() {
        for exclusion in Exclusion::ALL {
            assert_eq!(Exclusion::from_code(exclusion.code()), Some(exclusion));
        }
        assert_eq!(Exclusion::from_code(0), None);
    }

    #[test]
    fn tiers_are_priorities_and_the_degraded_come_last_in_theirs() {
        let healthy = json!({ "eds_health_status": "HEALTHY" });
        let degraded = json!({ "failed_active_degraded_check": true });
        let tiers = [
            listed(healthy.clone(), 0),
            listed(degraded, 0),
            listed(healthy, 1),
        ];
        assert_eq!(tiers.map(|listed| listed.tier), [0, 1, 2]);
    }

    #[test]
    fn weights_are_the_endpoints() {
        let mut heavy = host("10.0.0.2");
        heavy["weight"] = 7.into();
        let mut without = host("10.0.0.3");
        without["weight"].take();
        without.as_object_mut().unwrap().remove("weight");
        let listing = read(&json!([host("10.0.0.1"), heavy, without])).unwrap();
        let weights: Vec<u32> = listing.pods.iter().map(|listed| listed.weight).collect();
        assert_eq!(weights, [1, 7, 1]);
    }

    #[test]
    fn hosts_without_an_ip_and_a_port_are_left_out_with_a_word() {
        let pipe = json!({ "address": { "pipe": { "path": "/run/pod.sock" } } });
        let inside = json!({ "address": { "envoy_internal_address": { "endpoint_id": "x" } } });
        let scoped = host("fe80::1%eth0");
        let listing = read(&json!([pipe, host("fd00::1"), inside, scoped])).unwrap();
        assert_eq!(listing.pods.len(), 1);
        assert_eq!(listing.pods[0].pod.to_string(), "[fd00::1]:8080");
        assert_eq!(
            listing.left_out.unwrap().to_string(),
            "3 of its hosts can't be chosen, because they have no ip:port: the pipe /run/pod.sock, …"
        );
    }

    #[test]
    fn what_is_no_list() {
        let read = |body: &str| Listing::read("chat", 200, body.as_bytes());
        for malformed in [
            "",
            "chat::10.0.0.1:8080::cx_active::1",
            "[1]",
            r#"{"cluster_statuses": [{"name": "chat", "host_statuses": [{}]}]}"#,
            r#"{"cluster_statuses": [{"name": "chat", "host_statuses": "#,
        ] {
            assert_eq!(
                read(malformed),
                Err(ListingFailure::Malformed),
                "{malformed}"
            );
        }
        assert_eq!(read("{}"), Err(ListingFailure::NotListed));
        assert_eq!(
            Listing::read("chat", 403, b"{}"),
            Err(ListingFailure::Status(403))
        );
        let huge = vec![b' '; LISTING_LIMIT + 1];
        assert_eq!(
            Listing::read("chat", 200, &huge),
            Err(ListingFailure::TooLarge)
        );
    }

    #[test]
    fn a_cluster_without_hosts_is_a_list() {
        let empty = br#"{"cluster_statuses": [{"name": "chat"}]}"#;
        assert_eq!(Listing::read("chat", 200, empty), Ok(Listing::default()));
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
            let _either = Listing::read("chat", 200, &body);
        }
    }
}
