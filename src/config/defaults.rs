//! What holds where the configuration says nothing: the defaults stand here and nowhere else.

use std::time::Duration;

/// Path of the count on each pod.
pub(super) const METRIC_PATH: &str = "/metric";
/// How long a count is trusted.
pub(super) const CACHE_TTL: Duration = Duration::from_secs(30);
/// `refreshInterval` is `cacheTTL` divided by this: five polls may fail before a count is stale.
pub(super) const REFRESHES_PER_TTL: u32 = 6;
/// How soon counts are asked for again within a burst.
pub(super) const BURST_INTERVAL: Duration = Duration::from_millis(250);
/// A shorter `burstInterval` would ask before the answers are in.
pub(super) const SHORTEST_BURST_INTERVAL: Duration = Duration::from_millis(50);
/// Polls of bursts in a second, of all services together.
pub(super) const BURST_POLLS_PER_SECOND: f64 = 200.0;
/// Bytes of their bodies in a second.
pub(super) const BURST_BYTES_PER_SECOND: f64 = 2e6;
/// `metricTimeout` is the refresh interval, but no longer than this.
pub(super) const METRIC_TIMEOUT_LIMIT: Duration = Duration::from_secs(2);
/// Polls failed in a row until a pod gets no new WebSockets.
pub(super) const UNHEALTHY_THRESHOLD: u32 = 3;
/// Handshakes failed in a row until a pod is ejected: Envoy's default, and linkerd's is 7.
pub(super) const CONSECUTIVE_FAILURES: u16 = 5;
/// For how long a pod is ejected the first time; Envoy's default is 30 s.
pub(super) const BASE_EJECTION_TIME: Duration = Duration::from_secs(10);
/// Of the pods at most so many are ejected at a time, in percent; Envoy's default is 10.
pub(super) const MAX_EJECTION_PERCENT: f64 = 50.0;
/// The header contract of the Gateway API's endpoint picker protocol.
pub(super) const OVERRIDE_HEADER: &str = "x-gateway-destination-endpoint";
/// How many pods the override header names.
pub(super) const ATTEMPTS: u32 = 3;
/// Linux' own range, `net.ipv4.ip_local_port_range`: 32768 to 60999.
pub(super) const LOCAL_PORTS: u32 = 28_232;
/// Where the curve of a slow start begins, in percent: Envoy's default.
pub(super) const MIN_WEIGHT_PERCENT: f64 = 10.0;
/// Exponent of the curve of a slow start: Envoy's default, a straight line.
pub(super) const AGGRESSION: f64 = 1.0;
/// Above how many times its even share a pod holds too many.
pub(super) const THRESHOLD: f64 = 1.25;
/// How many WebSockets all gateways together close in a second to rebalance.
pub(super) const MAX_PER_SECOND: f64 = 5.0;
/// A WebSocket that is younger is not closed to rebalance.
pub(super) const MIN_AGE: Duration = Duration::from_secs(300);
