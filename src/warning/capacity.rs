//! What Envoy has little of left: its circuit breakers, and local ports.

use super::advice;
use super::kind::{Kind, Warning};
use crate::pod::{PodAddress, Usage};

/// It is said when so much is used, in percent …
const NEAR: u64 = 80;
/// … and over when no more than this is, so that it does not come and go.
const FAR: u64 = 70;

/// Whether `used` of `most` is so much that it is to be said; it has been said where `was_near`.
fn is_near(used: u64, most: u64, was_near: bool) -> bool {
    let percent = if was_near { FAR } else { NEAR };
    u128::from(used).saturating_mul(100) >= u128::from(most).saturating_mul(percent.into())
        && used > 0
}

/// The circuit breakers of a cluster.
pub(super) fn circuit_breakers(usage: &Usage, was_near: bool) -> Option<Warning> {
    let limits = [
        (usage.connections, usage.max_connections, "max_connections"),
        (usage.requests, usage.max_requests, "max_requests"),
    ];
    let near = limits.into_iter().find_map(|(used, most, name)| {
        let most = most?;
        is_near(used, most, was_near).then_some((used, most, name))
    });
    let (used, most, name) = near?;
    Some(Warning {
        kind: Kind::CircuitBreakers,
        message: format!(
            "{used} of the {most} of the cluster's circuit breaker {name} are used: beyond it new \
             WebSockets wait until they end with 504, or get 503"
        ),
        advice: Some(advice::CIRCUIT_BREAKERS.to_owned()),
    })
}

/// The local ports for connections to one pod.
pub(super) fn ports(pod: PodAddress, used: u64, ports: u32, was_near: bool) -> Option<Warning> {
    is_near(used, ports.into(), was_near).then(|| Warning {
        kind: Kind::Ports,
        message: format!(
            "{used} connections to {pod} are open, and this machine has {ports} local ports for one \
             address and port: when they are used up, new WebSockets there get 503 (connection \
             failure)"
        ),
        advice: Some(advice::SOURCE_ADDRESSES.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::address;

    fn usage(connections: u64, requests: u64) -> Usage {
        Usage {
            connections,
            requests,
            max_connections: Some(1_024),
            max_requests: Some(2_000),
            busiest: None,
        }
    }

    #[test]
    fn circuit_breakers_are_near_at_80_percent_and_not_below_70() {
        for (connections, requests, was_near, named) in [
            (0, 0, false, None),
            (819, 819, false, None),
            (
                820,
                820,
                false,
                Some("820 of the 1024 of the cluster's circuit breaker max_connections"),
            ),
            (
                100,
                1_600,
                false,
                Some("1600 of the 2000 of the cluster's circuit breaker max_requests"),
            ),
            (717, 0, true, Some("717 of the 1024")),
            (716, 0, true, None),
        ] {
            let warning = circuit_breakers(&usage(connections, requests), was_near);
            let message = warning.map(|warning| warning.message);
            assert_eq!(
                message.is_some(),
                named.is_some(),
                "{connections} {requests}"
            );
            let begins = |message: String| message.starts_with(named.unwrap_or_default());
            assert!(message.is_none_or(begins), "{connections} {requests}");
        }
        let unlimited = Usage {
            max_connections: None,
            max_requests: None,
            ..usage(u64::MAX, u64::MAX)
        };
        assert_eq!(circuit_breakers(&unlimited, false), None);
    }

    #[test]
    fn ports_are_near_at_80_percent_of_those_for_one_pod() {
        let near = |used| ports(address(1), used, 28_232, false);
        assert_eq!(near(22_585), None);
        let message = near(22_586).unwrap().message;
        assert!(
            message.starts_with(
                "22586 connections to 10.0.0.1:8080 are open, and this machine has 28232"
            ),
            "{message}"
        );
    }
}
