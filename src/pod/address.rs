//! What a pod is to the filter: its address. Past this module no other looks at the text of one.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// Under what Envoy knows a pod: its `ip:port`; the same behind a listener inside Envoy, as Istio
/// has it in ambient mode; or, where each pod has a cluster of its own, that cluster.
///
/// It is shown as `10.0.0.1:8080` or `[fd00::1]:8080`, and a cluster as `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodAddress(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Endpoint(SocketAddr),
    /// The endpoint's id behind the service's internal listener.
    Internal(SocketAddr),
    /// Whichever host the service's cluster has.
    Cluster,
}

/// What the text of an address inside Envoy begins with.
const INTERNAL: &str = "envoy://";

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
    /// The one pod of a service whose cluster is the pod.
    pub const CLUSTER: Self = Self(Kind::Cluster);

    /// The pod at `address` behind an internal listener.
    ///
    /// # Errors
    /// Where no pod can be reached at `address`.
    pub fn behind_listener(address: SocketAddr) -> Result<Self, AddressError> {
        Self::try_from(address).map(Self::inside)
    }

    /// The same address behind an internal listener.
    pub(super) const fn inside(self) -> Self {
        match self.0 {
            Kind::Endpoint(address) | Kind::Internal(address) => Self(Kind::Internal(address)),
            Kind::Cluster => self,
        }
    }

    /// The socket address; none where the cluster is the pod.
    #[must_use]
    pub const fn socket(self) -> Option<SocketAddr> {
        match self.0 {
            Kind::Endpoint(address) | Kind::Internal(address) => Some(address),
            Kind::Cluster => None,
        }
    }

    /// The same pod on another port; the same address where the cluster is the pod.
    #[must_use]
    pub const fn on_port(self, port: u16) -> Self {
        match self.0 {
            Kind::Endpoint(mut address) => {
                address.set_port(port);
                Self(Kind::Endpoint(address))
            }
            Kind::Internal(mut address) => {
                address.set_port(port);
                Self(Kind::Internal(address))
            }
            Kind::Cluster => self,
        }
    }

    /// Whether it is behind an internal listener.
    #[must_use]
    pub const fn is_internal(self) -> bool {
        matches!(self.0, Kind::Internal(_))
    }

    /// An endpoint that a table keeps: it was checked before it got there.
    pub(super) const fn from_record(address: SocketAddr) -> Self {
        Self(Kind::Endpoint(address))
    }

    /// What Envoy calls the pod, where internal ones are behind `listener`: what it prints as a
    /// host's address and compares with the override header. None where the cluster is the pod.
    #[must_use]
    pub fn upstream(self, listener: &str) -> Option<String> {
        Some(match self.0 {
            Kind::Endpoint(address) => text(address),
            Kind::Internal(address) => [INTERNAL, listener, "/", &text(address)].concat(),
            Kind::Cluster => return None,
        })
    }

    /// The address in an attribute that Envoy wrote; none where it is not one.
    #[must_use]
    pub fn from_bytes(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        match text.strip_prefix(INTERNAL) {
            Some(internal) => {
                let (_listener, endpoint) = internal.split_once('/')?;
                endpoint.parse().ok().map(Self::inside)
            }
            None => text.parse().ok(),
        }
    }
}

/// The text of an address, as the standard library writes it. Each choice has several, and its
/// formatting would take longer than all else in it.
fn text(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else {
        return address.to_string();
    };
    let mut text = String::with_capacity("255.255.255.255:65535".len());
    let mut digits = itoa::Buffer::new();
    for (octet, before) in address.ip().octets().into_iter().zip(["", ".", ".", "."]) {
        text.push_str(before);
        text.push_str(digits.format(octet));
    }
    text.push(':');
    text.push_str(digits.format(address.port()));
    text
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
        Ok(Self(Kind::Endpoint(address)))
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
        match self.0 {
            Kind::Endpoint(address) | Kind::Internal(address) => address.fmt(f),
            Kind::Cluster => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_text_of_an_address_is_the_standard_librarys(address: SocketAddr) {
            prop_assert_eq!(text(address), address.to_string());
        }
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
    fn addresses_behind_a_listener_keep_the_form_that_envoy_prints() {
        let text = "envoy://connect_originate/10.0.0.1:8080";
        let pod = PodAddress::from_bytes(text.as_bytes()).unwrap();
        assert_eq!(pod.upstream("connect_originate").as_deref(), Some(text));
        assert_eq!(pod.to_string(), "10.0.0.1:8080");
        assert_ne!(pod, "10.0.0.1:8080".parse().unwrap());
        let other_port = "envoy://connect_originate/10.0.0.1:9601";
        let upstream = pod.on_port(9601).upstream("connect_originate");
        assert_eq!(upstream.as_deref(), Some(other_port));
        assert_eq!(PodAddress::CLUSTER.on_port(9601), PodAddress::CLUSTER);
        for text in [
            "envoy://",
            "envoy://a",
            "envoy://a/b",
            "envoy:///10.0.0.1:0",
        ] {
            assert_eq!(PodAddress::from_bytes(text.as_bytes()), None, "{text}");
        }
    }
}
