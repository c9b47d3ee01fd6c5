//! The fields of the configuration as they are written.

use serde::Deserialize;

use super::headers::HeaderFields;
use super::names::fields_of;
use super::numbers::{Aggression, Bounded, PerSecond, Percent, Shares, Whole};
use super::reader::{OrOff, Place};
use super::settings::{OnNoPods, RouteBy};
use super::values::{
    AllowedOrigin, Authority, CookieName, HeaderName, HostName, HttpPath, LogLevel, ParameterName,
    Span, SpanOrNever, cluster_name, cluster_name_option, parsed_option,
};
use crate::metric::{NamedMetric, Pointer, Selector};
use crate::pod::PodAddress;

/// More entries than this in the override header help no retry policy.
pub(super) const MOST_ATTEMPTS: u32 = 16;

/// A number of a port has 16 bits, and several source addresses have as many each.
pub(super) const MOST_PORTS: u32 = 1_000_000;

/// Whoever wants more failures in a row wants `off`.
pub(super) const MOST_FAILURES: u32 = 1_000;

/// All of them.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Fields {
    pub(super) services: Option<Vec<ServiceFields>>,
    pub(super) override_header: Option<HeaderName>,
    pub(super) attempts: Option<Whole<1, MOST_ATTEMPTS>>,
    pub(super) route_by: Option<RouteBy>,
    pub(super) on_no_pods: Option<OnNoPods>,
    pub(super) status: Option<StatusFields>,
    pub(super) log_level: Option<LogLevel>,
    pub(super) debug_headers: Option<bool>,
    pub(super) local_ports: Option<Whole<1, MOST_PORTS>>,
    pub(super) discovery: Option<DiscoveryFields>,
    // The metric fields, for every service that does not set its own. They stand here and in
    // `ServiceFields` because serde can't flatten and deny unknown fields at once.
    pub(super) metric_path: Option<HttpPath>,
    pub(super) metric_host: Option<Authority>,
    pub(super) metric_headers: Option<HeaderFields>,
    pub(super) metric: Option<MetricFields>,
    #[serde(rename = "cacheTTL")]
    pub(super) cache_ttl: Option<Span>,
    pub(super) refresh_interval: Option<Span>,
    pub(super) burst_interval: Option<SpanOrNever>,
    pub(super) metric_timeout: Option<Span>,
    pub(super) unhealthy_threshold: Option<Whole<1, { u32::MAX }>>,
    pub(super) counts_connections: Option<bool>,
    pub(super) passive_health: Option<OrOff<PassiveHealthFields>>,
    pub(super) slow_start: Option<SlowStartFields>,
    pub(super) rebalance: Option<RebalanceFields>,
    pub(super) allowed_origins: Option<Vec<AllowedOrigin>>,
    pub(super) require_origin: Option<bool>,
    pub(super) sessions: Option<SessionsFields>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ServiceFields {
    #[serde(deserialize_with = "cluster_name")]
    pub(super) cluster: String,
    pub(super) endpoints: Option<Vec<PodAddress>>,
    pub(super) discovery: Option<DiscoveryFields>,
    pub(super) metric_path: Option<HttpPath>,
    pub(super) metric_host: Option<Authority>,
    pub(super) metric_headers: Option<HeaderFields>,
    pub(super) metric: Option<MetricFields>,
    #[serde(rename = "cacheTTL")]
    pub(super) cache_ttl: Option<Span>,
    pub(super) refresh_interval: Option<Span>,
    pub(super) burst_interval: Option<SpanOrNever>,
    pub(super) metric_timeout: Option<Span>,
    pub(super) unhealthy_threshold: Option<Whole<1, { u32::MAX }>>,
    pub(super) counts_connections: Option<bool>,
    pub(super) passive_health: Option<OrOff<PassiveHealthFields>>,
    pub(super) slow_start: Option<SlowStartFields>,
    pub(super) rebalance: Option<RebalanceFields>,
    pub(super) allowed_origins: Option<Vec<AllowedOrigin>>,
    pub(super) require_origin: Option<bool>,
    pub(super) sessions: Option<SessionsFields>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DiscoveryFields {
    #[serde(deserialize_with = "cluster_name")]
    pub(super) admin_cluster: String,
    pub(super) interval: Option<Span>,
}

/// Where the count is: in one of the forms that services export, and perhaps on another port.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MetricFields {
    #[serde(default, deserialize_with = "parsed_option")]
    pub(super) json: Option<Pointer>,
    #[serde(default, deserialize_with = "parsed_option")]
    pub(super) prometheus: Option<Selector>,
    pub(super) absent: Option<u64>,
    #[serde(default, deserialize_with = "parsed_option")]
    pub(super) orca: Option<NamedMetric>,
    #[serde(default, deserialize_with = "cluster_name_option")]
    pub(super) cluster: Option<String>,
    pub(super) port: Option<u16>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PassiveHealthFields {
    pub(super) consecutive_failures: Option<Whole<1, MOST_FAILURES>>,
    pub(super) base_ejection_time: Option<Span>,
    pub(super) max_ejection_percent: Option<Bounded<Percent>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SlowStartFields {
    pub(super) window: Span,
    pub(super) aggression: Option<Bounded<Aggression>>,
    pub(super) min_weight_percent: Option<Bounded<Percent>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RebalanceFields {
    pub(super) threshold: Option<Bounded<Shares>>,
    pub(super) max_per_second: Option<Bounded<PerSecond>>,
    pub(super) min_age: Option<Span>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SessionsFields {
    pub(super) opened_by: Vec<OpenerFields>,
    pub(super) carried_by: Vec<MarkFields>,
    pub(super) kept_by: Option<KeeperFields>,
    pub(super) counted: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OpenerFields {
    pub(super) path_prefix: HttpPath,
}

/// One of several.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MarkFields {
    pub(super) query: Option<ParameterName>,
    pub(super) cookie: Option<CookieName>,
    pub(super) header: Option<HeaderName>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KeeperFields {
    pub(super) cookie: CookieName,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StatusFields {
    pub(super) path: HttpPath,
    pub(super) hosts: Option<Vec<HostName>>,
}

/// Where options stand, the outer places first.
pub(super) fn places() -> [Place; 12] {
    let place = |at, fields| Place { at, fields };
    [
        place("beside services", fields_of::<Fields>()),
        place("in a service", fields_of::<ServiceFields>()),
        place("in discovery", fields_of::<DiscoveryFields>()),
        place("in metric", fields_of::<MetricFields>()),
        place("in passiveHealth", fields_of::<PassiveHealthFields>()),
        place("in slowStart", fields_of::<SlowStartFields>()),
        place("in rebalance", fields_of::<RebalanceFields>()),
        place("in sessions", fields_of::<SessionsFields>()),
        place("in openedBy", fields_of::<OpenerFields>()),
        place("in carriedBy", fields_of::<MarkFields>()),
        place("in keptBy", fields_of::<KeeperFields>()),
        place("in status", fields_of::<StatusFields>()),
    ]
}
