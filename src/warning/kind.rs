//! What a warning is.

use serde::{Deserialize, Serialize};

/// What there is to warn of. The order is that in which warnings are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// No pod has ever answered a poll.
    NoAnswer,
    /// WebSockets go elsewhere than to the chosen pods.
    Steering,
    /// Two filters of this kind are in one chain.
    TwoFilters,
    /// A refused connection ended a handshake, though there were other pods.
    RetryPolicy,
    /// A circuit breaker of the cluster is near its limit.
    CircuitBreakers,
    /// The local ports for connections to a pod are nearly used up.
    Ports,
    /// The status sees no services.
    VmId,
}

impl Kind {
    /// Those that hold for a service.
    pub const OF_SERVICES: [Self; 6] = [
        Self::NoAnswer,
        Self::Steering,
        Self::TwoFilters,
        Self::RetryPolicy,
        Self::CircuitBreakers,
        Self::Ports,
    ];
    /// Those that hold for the whole gateway.
    pub const OF_GATEWAY: [Self; 1] = [Self::VmId];

    /// Whether it means an outage that is there or near. Those have the alert `WsbalancerOutageNear`.
    #[must_use]
    pub const fn is_outage(self) -> bool {
        matches!(self, Self::NoAnswer | Self::CircuitBreakers | Self::Ports)
    }

    /// As in the JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "noAnswer",
            Self::Steering => "steering",
            Self::TwoFilters => "twoFilters",
            Self::RetryPolicy => "retryPolicy",
            Self::CircuitBreakers => "circuitBreakers",
            Self::Ports => "ports",
            Self::VmId => "vmId",
        }
    }
}

/// A warning that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What it is of.
    pub kind: Kind,
    /// What is seen, and the likely cause: one sentence.
    pub message: String,
    /// The lines to add, as YAML; none where no lines help.
    pub advice: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_written_by_its_name_everywhere() {
        for kind in Kind::OF_SERVICES.into_iter().chain(Kind::OF_GATEWAY) {
            let written = serde_json::to_value(kind).unwrap();
            assert_eq!(written, kind.name());
        }
        assert!(Kind::OF_SERVICES.is_sorted());
    }
}
