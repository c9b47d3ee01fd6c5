//! The fields of the configuration as they are written.

use serde::Deserialize;

use super::headers::HeaderFields;
use super::settings::{OnNoPods, RouteBy};
use super::values::{
    AllowedOrigin, Authority, HeaderName, HostName, HttpPath, LogLevel, Span, SpanOrNever,
    parsed_option,
};
use crate::metric::{Pointer, Selector};
use crate::pod::PodAddress;

/// All of them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Fields {
    pub(super) services: Option<Vec<ServiceFields>>,
    pub(super) override_header: Option<HeaderName>,
    pub(super) attempts: Option<usize>,
    pub(super) route_by: Option<RouteBy>,
    pub(super) on_no_pods: Option<OnNoPods>,
    pub(super) status: Option<StatusFields>,
    pub(super) log_level: Option<LogLevel>,
    pub(super) debug_headers: Option<bool>,
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
    pub(super) unhealthy_threshold: Option<u32>,
    pub(super) counts_connections: Option<bool>,
    pub(super) slow_start: Option<SlowStartFields>,
    pub(super) rebalance: Option<RebalanceFields>,
    pub(super) allowed_origins: Option<Vec<AllowedOrigin>>,
    pub(super) require_origin: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ServiceFields {
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
    pub(super) unhealthy_threshold: Option<u32>,
    pub(super) counts_connections: Option<bool>,
    pub(super) slow_start: Option<SlowStartFields>,
    pub(super) rebalance: Option<RebalanceFields>,
    pub(super) allowed_origins: Option<Vec<AllowedOrigin>>,
    pub(super) require_origin: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DiscoveryFields {
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
    pub(super) cluster: Option<String>,
    pub(super) port: Option<u16>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SlowStartFields {
    pub(super) window: Span,
    pub(super) aggression: Option<f64>,
    pub(super) min_weight_percent: Option<f64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RebalanceFields {
    pub(super) threshold: Option<f64>,
    pub(super) max_per_second: Option<f64>,
    pub(super) min_age: Option<Span>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StatusFields {
    pub(super) path: HttpPath,
    pub(super) hosts: Option<Vec<HostName>>,
}
