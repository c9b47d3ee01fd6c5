//! What a pod is to the filter: its address, and what its `/metric` says.
//!
//! Past this module an address is a [`PodAddress`] and a count is a [`PodReport`];
//! no other module looks at the text of either.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;

/// Longest `/metric` body that is read, in bytes.
pub const METRIC_BODY_LIMIT: usize = 64 * 1024;

/// The `ip:port` under which Envoy knows a pod.
///
/// Its text form is the one Envoy prints and compares: `10.0.0.1:8080`, `[fd00::1]:8080`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct PodAddress(SocketAddr);

/// Why a text is not a pod's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError(String);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not the address of a pod: write ip:port or [ipv6]:port",
            self.0
        )
    }
}

impl std::error::Error for AddressError {}

impl PodAddress {
    /// Stands for whichever host a cluster has, where the cluster is the pod; written `*`.
    pub const ANY: Self = Self(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0));

    /// The socket address itself.
    #[must_use]
    pub const fn socket(self) -> SocketAddr {
        self.0
    }

    /// An address that a table keeps: it was checked before it got there.
    pub(crate) const fn from_record(address: SocketAddr) -> Self {
        Self(address)
    }

    /// The address in a property or header that Envoy wrote; none where it is not one.
    #[must_use]
    pub fn from_bytes(text: &[u8]) -> Option<Self> {
        std::str::from_utf8(text).ok()?.parse().ok()
    }
}

impl TryFrom<SocketAddr> for PodAddress {
    type Error = AddressError;

    /// # Errors
    /// Where no pod can be reached: port 0, the unspecified address, a multicast group, an
    /// address with a scope that only one host understands.
    fn try_from(address: SocketAddr) -> Result<Self, AddressError> {
        let ip = address.ip();
        let scoped = matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0);
        if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() || scoped {
            return Err(AddressError(address.to_string()));
        }
        Ok(Self(address))
    }
}

impl FromStr for PodAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let address: SocketAddr = text.parse().map_err(|_| AddressError(text.to_owned()))?;
        Self::try_from(address)
    }
}

impl TryFrom<String> for PodAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl fmt::Display for PodAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ANY {
            return f.write_str("*");
        }
        self.0.fmt(f)
    }
}

/// A pod's answer to `GET /metric`; fields not named here are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodReport {
    /// WebSockets that are open on the pod.
    pub agents_connections: u64,
    /// Name of the pod.
    pub pod_name: Option<String>,
    /// Address of the pod as it sees itself.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    /// Name of the node that the pod runs on.
    pub node_name: Option<String>,
}

impl PodReport {
    /// Reads the answer to a poll.
    ///
    /// # Errors
    /// Any status but 200, a body over [`METRIC_BODY_LIMIT`] bytes, and a body that is not a
    /// JSON object with a non-negative integer `agentsConnections`.
    pub fn read(status: u16, body: &[u8]) -> Result<Self, PollFailure> {
        if status != 200 {
            return Err(PollFailure::Status(status));
        }
        if body.len() > METRIC_BODY_LIMIT {
            return Err(PollFailure::TooLarge);
        }
        // Serde would take an array for a struct, field by field.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(PollFailure::NotAnObject);
        }
        serde_json::from_slice(body).map_err(|error| {
            if error.is_data() {
                PollFailure::BadField
            } else {
                PollFailure::NotAnObject
            }
        })
    }

    /// The names the pod gave itself, for a log line; control characters are escaped.
    #[must_use]
    pub fn names(&self) -> String {
        [&self.pod_name, &self.pod_ip, &self.node_name]
            .into_iter()
            .flatten()
            .map(|name| name.chars().take(64).flat_map(char::escape_debug))
            .fold(String::new(), |mut names, name| {
                if !names.is_empty() {
                    names.push_str(", ");
                }
                names.extend(name);
                names
            })
    }
}

/// Why a poll brought no count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollFailure {
    /// Envoy would not send the request: it has no such cluster, or the cluster has no hosts.
    NotSent,
    /// The connection failed, or no answer came in time.
    NoAnswer,
    /// An HTTP status other than 200. Where no connection could be made, Envoy answers 503
    /// itself; where the answer took too long, 504.
    Status(u16),
    /// A body over [`METRIC_BODY_LIMIT`].
    TooLarge,
    /// A body that is not a JSON object.
    NotAnObject,
    /// `agentsConnections` is missing or no non-negative integer, or a name is no string.
    BadField,
}

impl PollFailure {
    /// A number for the shared table. HTTP statuses stand for themselves, zero is left for "none".
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::NotSent => 1,
            Self::NoAnswer => 2,
            Self::TooLarge => 3,
            Self::NotAnObject => 4,
            Self::BadField => 5,
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
            4 => Self::NotAnObject,
            5 => Self::BadField,
            status => Self::Status(status),
        })
    }
}

impl fmt::Display for PollFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent => f.write_str("Envoy could not send it: is the cluster there?"),
            Self::NoAnswer => f.write_str("no answer"),
            Self::Status(503) => f.write_str("status 503 (Envoy's own where it could not connect)"),
            Self::Status(504) => {
                f.write_str("status 504 (Envoy's own where no answer came in time)")
            }
            Self::Status(status) => write!(f, "status {status}"),
            Self::TooLarge => write!(f, "the body is over {METRIC_BODY_LIMIT} bytes"),
            Self::NotAnObject => f.write_str("the body is not a JSON object"),
            Self::BadField => f.write_str(
                "agentsConnections is not a non-negative integer, or a name is not a string",
            ),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The n-th pod of the tests.
    pub(crate) fn address(n: u8) -> PodAddress {
        PodAddress(SocketAddr::from(([10, 0, 0, n], 8080)))
    }

    #[test]
    fn addresses_keep_the_form_that_envoy_prints() {
        for text in ["10.0.0.1:8080", "[fd00::1]:80", "127.0.0.1:65535"] {
            assert_eq!(text.parse::<PodAddress>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "10.0.0.1",
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "10.0.0:80",
            "chat:80",
            "fd00::1:80",
            "0.0.0.0:80",
            "[ff02::1]:80",
            "[fe80::1%2]:80",
            " 10.0.0.1:80",
        ] {
            let error = text.parse::<PodAddress>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        assert_eq!(PodAddress::from_bytes(b"\xff\xfe"), None);
    }

    #[test]
    fn a_report_needs_a_count_and_takes_anything_else() {
        let report = PodReport::read(
            200,
            br#"{"agentsConnections": 42, "podName": "chat-0", "podIP": null, "load": [1]}"#,
        )
        .unwrap();
        assert_eq!(report.agents_connections, 42);
        assert_eq!(report.names(), "chat-0");
    }

    #[test]
    fn whatever_is_not_a_count_is_a_failed_poll() {
        use PollFailure::{BadField, NotAnObject, Status, TooLarge};
        let large = vec![b' '; METRIC_BODY_LIMIT + 1];
        let deep = "[".repeat(50_000);
        let cases: [(u16, &[u8], PollFailure); 15] = [
            (500, br#"{"agentsConnections": 1}"#, Status(500)),
            (204, b"", Status(204)),
            (200, b"", NotAnObject),
            (200, b"<html>", NotAnObject),
            (200, b"\xff\xfe", NotAnObject),
            (200, deep.as_bytes(), NotAnObject),
            (200, &large, TooLarge),
            (200, b"[42]", NotAnObject),
            (200, b"42", NotAnObject),
            (200, b"{}", BadField),
            (200, br#"{"agentsConnections": -1}"#, BadField),
            (200, br#"{"agentsConnections": 1e99}"#, BadField),
            (200, br#"{"agentsConnections": 1.5}"#, BadField),
            (200, br#"{"agentsConnections": "42"}"#, BadField),
            (200, br#"{"agentsConnections": 1, "podName": 7}"#, BadField),
        ];
        for (status, body, failure) in cases {
            assert_eq!(PodReport::read(status, body), Err(failure));
            assert_eq!(PollFailure::from_code(failure.code()), Some(failure));
        }
    }

    #[test]
    fn names_from_a_pod_cannot_forge_a_log_line() {
        let report = PodReport {
            agents_connections: 0,
            pod_name: Some("a\nb".to_owned()),
            pod_ip: None,
            node_name: Some("n".repeat(1000)),
        };
        assert_eq!(report.names(), format!("a\\nb, {}", "n".repeat(64)));
    }
}
