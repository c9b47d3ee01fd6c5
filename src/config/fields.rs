//! The fields of the configuration as they are written, with the words that the JSON Schema has for
//! them.

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::Deserialize;

#[cfg(feature = "schema")]
use super::defaults;
use super::headers::HeaderFields;
use super::names::fields_of;
use super::numbers::{Aggression, Bounded, PerSecond, Percent, Shares, Whole};
use super::reader::{OrOff, Place};
use super::settings::{OnNoPods, RouteBy};
#[cfg(feature = "schema")]
use super::value_schemas::{NO_QUERY, needs_a_place, needs_services_or_status, text};
use super::values::{
    AllowedOrigin, Authority, ClusterName, CookieName, HeaderName, HostName, HttpPath, LogLevel,
    ParameterName, Span, SpanOrNever, parsed_option,
};
#[cfg(feature = "schema")]
use crate::clock::part;
use crate::metric::{NamedMetric, Pointer, Selector};
use crate::pod::PodAddress;

/// More entries than this in the override header help no retry policy.
pub(super) const MOST_ATTEMPTS: u32 = 16;

/// A number of a port has 16 bits, and several source addresses have as many each.
pub(super) const MOST_PORTS: u32 = 1_000_000;

/// Whoever wants more failures in a row wants `off`.
pub(super) const MOST_FAILURES: u32 = 1_000;

/// More openers or marks of sessions than this are a mistake …
pub(super) const MOST_LISTED: usize = 16;

/// … and so is a longer path.
pub(super) const LONGEST_PREFIX: usize = 256;

/// A place of options that a service can have for itself, beside those that are only there. They are
/// the same in both places: serde can't flatten and deny unknown fields at once.
macro_rules! with_service_options {
    (
        $(#[$attribute:meta])*
        pub(super) struct $name:ident { $($own:tt)* }
    ) => {
        #[derive(Deserialize)]
        #[cfg_attr(feature = "schema", derive(JsonSchema))]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        $(#[$attribute])*
        pub(super) struct $name {
            $($own)*
            /// How the pods are found: as the hosts of their cluster, which Envoy's admin interface
            /// lists.
            pub(super) discovery: Option<DiscoveryFields>,
            /// The path of the count on each pod.
            #[cfg_attr(feature = "schema", schemars(extend("default" = defaults::METRIC_PATH)))]
            pub(super) metric_path: Option<HttpPath>,
            /// The host that polls have: `name`, `name:port`, `ip:port` or `[ipv6]:port`. Without
            /// it, it is the pod's `ip:port`.
            pub(super) metric_host: Option<Authority>,
            /// Further headers of polls, by name; not those that the filter sets itself.
            pub(super) metric_headers: Option<HeaderFields>,
            /// Where the count is in the answer, if it is not the JSON object with
            /// `agentsConnections`; and where polls go.
            pub(super) metric: Option<MetricFields>,
            /// How long a count is trusted.
            #[serde(rename = "cacheTTL")]
            #[cfg_attr(feature = "schema", schemars(extend("default" = text(defaults::CACHE_TTL))))]
            pub(super) cache_ttl: Option<Span>,
            /// How often each pod is asked; by default a sixth of `cacheTTL`. It must be shorter
            /// than that.
            #[cfg_attr(
                feature = "schema",
                schemars(extend(
                    "default" = text(part(defaults::CACHE_TTL, defaults::REFRESHES_PER_TTL))
                ))
            )]
            pub(super) refresh_interval: Option<Span>,
            /// Within a burst, how soon after the last count pods may be asked for the next; 0 asks
            /// every `refreshInterval` only.
            #[cfg_attr(
                feature = "schema",
                schemars(extend("default" = text(defaults::BURST_INTERVAL)))
            )]
            pub(super) burst_interval: Option<SpanOrNever>,
            /// How long an answer may take; by default 2 s or the `refreshInterval`, whichever is
            /// shorter.
            #[cfg_attr(
                feature = "schema",
                schemars(extend("default" = text(defaults::METRIC_TIMEOUT_LIMIT)))
            )]
            pub(super) metric_timeout: Option<Span>,
            /// After how many failed polls in a row a pod is no longer usable.
            #[cfg_attr(
                feature = "schema",
                schemars(extend("default" = defaults::UNHEALTHY_THRESHOLD))
            )]
            pub(super) unhealthy_threshold: Option<Whole<1, { u32::MAX }>>,
            /// Whether the count is of connections; false takes every count as it is.
            #[cfg_attr(feature = "schema", schemars(extend("default" = true)))]
            pub(super) counts_connections: Option<bool>,
            /// Pods that fail handshakes while others do not are left out for a while; `off` leaves
            /// none out.
            #[cfg_attr(feature = "schema", schemars(extend("default" = {})))]
            pub(super) passive_health: Option<OrOff<PassiveHealthFields>>,
            /// Pods that have just come up get new WebSockets gradually.
            pub(super) slow_start: Option<SlowStartFields>,
            /// Old WebSockets are closed on pods that hold too many.
            pub(super) rebalance: Option<RebalanceFields>,
            /// Pages of which origins may open WebSockets: `https://app.example.com`, with a
            /// port, `https://*.example.com`, or `"null"`. Unless set, pages of all origins.
            #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
            pub(super) allowed_origins: Option<Vec<AllowedOrigin>>,
            /// Whether a handshake without the header origin gets 403. It needs `allowedOrigins`.
            #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
            pub(super) require_origin: Option<bool>,
            /// Sessions that begin with plain HTTP, as Socket.IO's and SignalR's.
            pub(super) sessions: Option<SessionsFields>,
        }
    };
}

with_service_options! {
    /// The configuration of wsbalancer, the WebSocket connection balancer for Envoy and Istio.
    #[derive(Default)]
    #[cfg_attr(
        feature = "schema",
        schemars(rename = "wsbalancer", transform = needs_services_or_status)
    )]
    pub(super) struct Fields {
        /// The clusters to balance.
        #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
        pub(super) services: Option<Vec<ServiceFields>>,
        /// The header in the cluster's `override_host_sources`.
        #[cfg_attr(feature = "schema", schemars(extend("default" = defaults::OVERRIDE_HEADER)))]
        pub(super) override_header: Option<HeaderName>,
        /// How many pods the header names; one more than the route's `num_retries`.
        #[cfg_attr(feature = "schema", schemars(extend("default" = defaults::ATTEMPTS)))]
        pub(super) attempts: Option<Whole<1, MOST_ATTEMPTS>>,
        /// What a pod is: `endpoint`, a host of its service's cluster; `cluster`, a cluster of its own.
        #[cfg_attr(feature = "schema", schemars(extend("default" = RouteBy::default())))]
        pub(super) route_by: Option<RouteBy>,
        /// When no pod is usable: `fallback` leaves the choice to the `fallback_policy`, `reject` answers
        /// 503.
        #[cfg_attr(feature = "schema", schemars(extend("default" = OnNoPods::default())))]
        pub(super) on_no_pods: Option<OnNoPods>,
        /// Where the filter shows its state. It must not be reachable from outside.
        pub(super) status: Option<StatusFields>,
        /// The most verbose level that is logged, of those that Envoy's own level lets through.
        pub(super) log_level: Option<LogLevel>,
        /// Whether responses say which pod was chosen and why.
        #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
        pub(super) debug_headers: Option<bool>,
        /// How many local ports this machine has for connections to one address and port of a pod.
        #[cfg_attr(feature = "schema", schemars(extend("default" = defaults::LOCAL_PORTS)))]
        pub(super) local_ports: Option<Whole<1, MOST_PORTS>>,
    }
}

with_service_options! {
    /// One cluster and its pods. An option here overrides the same one beside services.
    #[cfg_attr(feature = "schema", schemars(rename = "service"))]
    pub(super) struct ServiceFields {
        /// The name of an Envoy cluster.
        pub(super) cluster: ClusterName,
        /// The pods: `ip:port` or `[ipv6]:port`, in quotes, not names. Without it discovery finds them.
        #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
        pub(super) endpoints: Option<Vec<PodAddress>>,
    }
}

/// How the pods are found.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(rename = "discovery"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DiscoveryFields {
    /// The cluster of Envoy's admin interface.
    pub(super) admin_cluster: ClusterName,
    /// How often it is asked; by default every `refreshInterval`.
    pub(super) interval: Option<Span>,
}

/// Where the count is: in one of the forms that services export, and perhaps on another port.
#[derive(Clone, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(JsonSchema),
    schemars(rename = "metric", transform = needs_a_place)
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MetricFields {
    /// A JSON pointer to the count, such as `/stats/open`.
    #[serde(default, deserialize_with = "parsed_option")]
    pub(super) json: Option<Pointer>,
    /// The series of a Prometheus exporter whose sum is the count, such as
    /// `websocket_connections{state="open"}`.
    #[serde(default, deserialize_with = "parsed_option")]
    pub(super) prometheus: Option<Selector>,
    /// The count where there is nothing at that place.
    pub(super) absent: Option<u64>,
    /// The named metric that is the count in the load reports of pods' answers to handshakes, such
    /// as `named_metrics.websockets`.
    #[serde(default, deserialize_with = "parsed_option")]
    pub(super) orca: Option<NamedMetric>,
    /// The cluster that polls go to, if not that of the WebSockets.
    pub(super) cluster: Option<ClusterName>,
    /// The port of the counts in that cluster.
    pub(super) port: Option<Whole<1, { u16::MAX as u32 }>>,
}

/// Which failures count, and what they lead to.
#[derive(Clone, Copy, Default, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(JsonSchema),
    schemars(rename = "passiveHealth")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PassiveHealthFields {
    /// How many handshakes in a row have to fail.
    #[cfg_attr(
        feature = "schema",
        schemars(extend("default" = defaults::CONSECUTIVE_FAILURES))
    )]
    pub(super) consecutive_failures: Option<Whole<1, MOST_FAILURES>>,
    /// For how long a pod is left out the first time.
    #[cfg_attr(feature = "schema", schemars(extend("default" = text(defaults::BASE_EJECTION_TIME))))]
    pub(super) base_ejection_time: Option<Span>,
    /// How many of the pods may be left out at a time, in percent.
    #[cfg_attr(
        feature = "schema",
        schemars(extend("default" = defaults::MAX_EJECTION_PERCENT))
    )]
    pub(super) max_ejection_percent: Option<Bounded<Percent>>,
}

/// How gradually.
#[derive(Clone, Copy, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(rename = "slowStart"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SlowStartFields {
    /// For how long.
    pub(super) window: Span,
    /// The form of the curve; 1 is a straight line.
    #[cfg_attr(feature = "schema", schemars(extend("default" = defaults::AGGRESSION)))]
    pub(super) aggression: Option<Bounded<Aggression>>,
    /// Where the curve begins, in percent.
    #[cfg_attr(feature = "schema", schemars(extend("default" = defaults::MIN_WEIGHT_PERCENT)))]
    pub(super) min_weight_percent: Option<Bounded<Percent>>,
}

/// Which WebSockets are closed, and how many.
#[derive(Clone, Copy, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(rename = "rebalance"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RebalanceFields {
    /// Above how many times its even share a pod holds too many.
    #[cfg_attr(feature = "schema", schemars(extend("default" = defaults::THRESHOLD)))]
    pub(super) threshold: Option<Bounded<Shares>>,
    /// How many WebSockets all gateways together close in a second.
    #[cfg_attr(feature = "schema", schemars(extend("default" = defaults::MAX_PER_SECOND)))]
    pub(super) max_per_second: Option<Bounded<PerSecond>>,
    /// How old a WebSocket has to be.
    #[cfg_attr(feature = "schema", schemars(extend("default" = text(defaults::MIN_AGE))))]
    pub(super) min_age: Option<Span>,
}

/// What makes a session, and what keeps it.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(rename = "sessions"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SessionsFields {
    /// What opens one.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = MOST_LISTED)))]
    pub(super) opened_by: Vec<OpenerFields>,
    /// By what a request belongs to one.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = MOST_LISTED)))]
    pub(super) carried_by: Vec<MarkFields>,
    /// What keeps it on its pod.
    pub(super) kept_by: Option<KeeperFields>,
    /// Whether a session counts as a WebSocket from its opener on.
    #[cfg_attr(feature = "schema", schemars(extend("default" = true)))]
    pub(super) counted: Option<bool>,
}

/// A request.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(rename = "openedBy"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OpenerFields {
    /// How its path begins.
    #[cfg_attr(
        feature = "schema",
        schemars(extend("pattern" = NO_QUERY, "maxLength" = LONGEST_PREFIX))
    )]
    pub(super) path_prefix: HttpPath,
}

/// One of the three.
#[derive(Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(JsonSchema),
    schemars(rename = "carriedBy", extend("minProperties" = 1))
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MarkFields {
    /// A parameter of the query.
    pub(super) query: Option<ParameterName>,
    /// A cookie.
    pub(super) cookie: Option<CookieName>,
    /// A header.
    pub(super) header: Option<HeaderName>,
}

/// The pod of a session.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(rename = "keptBy"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KeeperFields {
    /// The cookie of Envoy's stateful session filter.
    pub(super) cookie: CookieName,
}

/// Where the state is shown.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema), schemars(rename = "status"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StatusFields {
    /// The path, without a query.
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = NO_QUERY)))]
    pub(super) path: HttpPath,
    /// Names under which it is shown, beside IP addresses and localhost.
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
