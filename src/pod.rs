//! What a pod is to the filter: its address. Past this module no other looks at the text of one.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;

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
}
