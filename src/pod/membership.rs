//! Which pods a service has, and what Envoy says of each: what discovery finds, in whatever form
//! Envoy tells it.

use std::fmt;
use std::time::Duration;

use super::address::PodAddress;

/// Longest list that is read, in bytes. Envoy writes about 1,100 bytes for a host, so this is
/// enough for some 15,000.
pub const HOST_LIST_LIMIT: usize = 16 * 1024 * 1024;

/// Longest name of an internal listener, in bytes: a table keeps it.
pub const LONGEST_LISTENER: usize = 63;

/// A pod that belongs to a service, as Envoy sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its address.
    pub pod: PodAddress,
    /// Why it gets no new WebSockets; none where Envoy has nothing against it.
    pub exclusion: Option<Exclusion>,
    /// Pods of a priority are for when there are none in those before it.
    pub priority: Priority,
    /// How many WebSockets it should have for each one of an endpoint of weight 1.
    pub weight: u32,
}

impl Member {
    /// A pod that Envoy says nothing special of.
    #[must_use]
    pub const fn new(pod: PodAddress) -> Self {
        Self {
            pod,
            exclusion: None,
            priority: Priority::HIGHEST,
            weight: 1,
        }
    }
}

/// An endpoint's priority, the highest first. Within one level degraded hosts come after the
/// others
/// (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/degraded>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u16);

impl Priority {
    /// The first to be used.
    pub const HIGHEST: Self = Self(0);

    /// The priority of a host on Envoy's `level`, 0 being the highest.
    #[must_use]
    pub fn new(level: u16, is_degraded: bool) -> Self {
        let first = level.saturating_mul(2);
        Self(first.saturating_add(u16::from(is_degraded)))
    }

    /// Envoy's level.
    #[must_use]
    pub const fn level(self) -> u16 {
        self.0 / 2
    }

    /// As a number for the shared table.
    pub(super) const fn code(self) -> u16 {
        self.0
    }

    pub(super) const fn from_code(code: u16) -> Self {
        Self(code)
    }
}

/// How far a cluster is from its limits, by Envoy's own counts: all that its hosts serve, not only
/// WebSockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Connections that are open to its hosts …
    pub connections: u64,
    /// … and how many there may be; none where Envoy does not tell.
    pub max_connections: Option<u64>,
    /// Requests that its hosts are answering, WebSockets among them …
    pub requests: u64,
    /// … and how many there may be; none where Envoy does not tell.
    pub max_requests: Option<u64>,
    /// The pod with the most connections, and how many these are.
    pub busiest: Option<(PodAddress, u64)>,
}

/// The hosts of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostList {
    /// Those that can be chosen, each once, in Envoy's order.
    pub members: Vec<Member>,
    /// The listener inside Envoy that internal ones are behind; empty where there are none.
    pub listener: String,
    /// What there is to say of those that can't be; none where there are none.
    pub left_out: Option<String>,
    /// How far the cluster is from its limits.
    pub usage: Usage,
    /// Time that it took Envoy's main thread to write the list, about.
    pub cost: Duration,
}

/// How many pods a new list brought and took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembershipChange {
    /// Pods of the list.
    pub pods: usize,
    /// Those that the service did not have before.
    pub added: usize,
    /// Pods that it has no more.
    pub removed: usize,
}

/// What Envoy can have against a host.
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

/// Why discovery brought no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscoveryFailure {
    /// Envoy would not send the request: it has no such cluster.
    NotSent,
    /// The connection failed, or no answer came in time.
    NoAnswer,
    /// An HTTP status other than 200; 503 and 504 also where the admin interface is out of reach.
    Status(u16),
    /// A list over [`HOST_LIST_LIMIT`].
    TooLarge,
    /// Something other than `envoy.admin.v3.Clusters`.
    Malformed,
    /// A list without the service's cluster.
    NotListed,
}

impl DiscoveryFailure {
    /// Statuses have numbers from here on: an answer may have the status 001.
    const STATUSES: u16 = 1_000;

    /// A number for the shared table. Zero is left for "none".
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::NotSent => 1,
            Self::NoAnswer => 2,
            Self::TooLarge => 3,
            Self::Malformed => 4,
            Self::NotListed => 5,
            Self::Status(status) => Self::STATUSES.saturating_add(status),
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
            code => Self::Status(code.saturating_sub(Self::STATUSES)),
        })
    }
}

impl fmt::Display for DiscoveryFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent => f.write_str("Envoy could not ask: is there such an adminCluster?"),
            Self::NoAnswer => f.write_str("no answer"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::TooLarge => write!(f, "the list is over {HOST_LIST_LIMIT} bytes"),
            Self::Malformed => f.write_str("the answer is not that of /clusters?format=json"),
            Self::NotListed => f.write_str("Envoy has no such cluster"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_in_order_and_keep_their_codes() {
        let priorities = [(0, false), (0, true), (1, false), (u16::MAX, true)]
            .map(|(level, is_degraded)| Priority::new(level, is_degraded));
        assert!(priorities.is_sorted());
        for priority in priorities {
            assert_eq!(Priority::from_code(priority.code()), priority);
        }
        assert_eq!(priorities.map(Priority::level), [0, 0, 1, u16::MAX / 2]);
    }

    #[test]
    fn failures_keep_their_codes() {
        let statuses = [0, 1, 5, 404, 999].map(DiscoveryFailure::Status);
        let others = [
            DiscoveryFailure::NotSent,
            DiscoveryFailure::NoAnswer,
            DiscoveryFailure::TooLarge,
            DiscoveryFailure::Malformed,
            DiscoveryFailure::NotListed,
        ];
        for failure in statuses.into_iter().chain(others) {
            assert_eq!(DiscoveryFailure::from_code(failure.code()), Some(failure));
        }
        assert_eq!(DiscoveryFailure::from_code(0), None);
    }

    #[test]
    fn exclusions_keep_their_codes() {
        for exclusion in Exclusion::ALL {
            assert_eq!(Exclusion::from_code(exclusion.code()), Some(exclusion));
        }
        assert_eq!(Exclusion::from_code(0), None);
    }
}
