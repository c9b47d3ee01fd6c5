//! The rules of a service: by which its pods are judged, started and rebalanced.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// By which rules pods are judged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// A count older than this is not trusted.
    pub cache_ttl: Duration,
    /// How often each pod is asked; shorter than `cache_ttl`.
    pub refresh_interval: Duration,
    /// Polls failed in a row until the pod gets no new WebSockets; at least 1.
    pub unhealthy_threshold: u32,
    /// Whether the counts are of connections, so that they can be judged by what this gateway opened.
    pub counts_connections: bool,
    /// When pods are left out that fail handshakes; none leaves none out.
    pub passive_health: Option<PassiveHealth>,
    /// Whether the counts have sessions that have no WebSocket yet.
    #[serde(default)]
    pub counts_sessions: bool,
    /// How pods are started that have just come up; none lets them have all at once.
    pub slow_start: Option<SlowStart>,
}

/// When pods are left out that fail handshakes while others do not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassiveHealth {
    /// Handshakes failed in a row until the pod is ejected, at least; at least 1.
    pub consecutive_failures: u16,
    /// For how long it is ejected the first time; twice as long each further time in a row.
    pub base_ejection_time: Duration,
    /// Of the pods at most this part is ejected at a time; 0 to 100.
    pub max_ejection_percent: f64,
}

/// How often the pods of a service may be asked for their counts before their time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurstPolls {
    /// From one time to the next, where no other gateway asks as often.
    pub interval: Duration,
    /// Polls in a second; greater than 0.
    pub per_second: f64,
    /// Bytes of their bodies in a second; greater than 0.
    pub bytes_per_second: f64,
}

/// How new pods are started.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlowStart {
    /// How long it takes.
    pub window: Duration,
    /// Exponent of the curve, as its reciprocal: 1 is a straight line, more is faster at first.
    /// Greater than 0.
    pub aggression: f64,
    /// Where the curve begins, 0 to 100.
    pub min_weight_percent: f64,
}

/// Which WebSockets may be closed on pods that hold too many, and how fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rebalance {
    /// A pod holds too many above this many times its even share; greater than 1.
    pub threshold: f64,
    /// How many WebSockets all gateways together close in a second; greater than 0.
    pub max_per_second: f64,
    /// A WebSocket that is younger is left alone.
    pub min_age: Duration,
}
