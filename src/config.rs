//! The plugin configuration, parsed into a [`Config`] that needs no further checks.
//!
//! Whatever is wrong with it ends as one [`ConfigError`] that names the field. The
//! defaults stand in this module and nowhere else.

mod document;
mod fields;
mod values;

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use log::LevelFilter;
use serde::Deserialize;
use serde_json::Value;

use self::fields::Fields;
use crate::pod::PodAddress;
use crate::report::Metric;
use crate::slow_start::SlowStart;
use crate::standing::Rules;

/// Path of the count on each pod.
pub const DEFAULT_METRIC_PATH: &str = "/metric";
/// How long a count is trusted.
pub const DEFAULT_CACHE_TTL: Duration = Duration::from_secs(30);
/// `refreshInterval` is `cacheTTL` divided by this: five polls may fail before a count is stale.
pub const REFRESHES_PER_TTL: u32 = 6;
/// `metricTimeout` is the refresh interval, but no longer than this.
pub const DEFAULT_METRIC_TIMEOUT_LIMIT: Duration = Duration::from_secs(2);
/// Polls failed in a row until a pod gets no new WebSockets.
pub const DEFAULT_UNHEALTHY_THRESHOLD: u32 = 3;
/// The header contract of the Gateway API's endpoint picker protocol.
pub const DEFAULT_OVERRIDE_HEADER: &str = "x-gateway-destination-endpoint";
/// How many pods the override header names.
pub const DEFAULT_ATTEMPTS: usize = 3;

/// Where the curve of a slow start begins, in percent: Envoy's default.
pub const DEFAULT_MIN_WEIGHT_PERCENT: f64 = 10.0;
/// Exponent of the curve of a slow start: Envoy's default, a straight line.
pub const DEFAULT_AGGRESSION: f64 = 1.0;
/// Above how many times the even share a pod is relieved.
pub const DEFAULT_THRESHOLD: f64 = 1.25;
/// How many WebSockets all gateways together close in a second to relieve pods.
pub const DEFAULT_MAX_PER_SECOND: f64 = 5.0;
/// How long a WebSocket is left alone.
pub const DEFAULT_MIN_AGE: Duration = Duration::from_secs(300);

/// A configuration without contradictions.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The services to balance; at least one unless the status is shown, no two with the same
    /// cluster.
    pub services: Vec<Service>,
    /// Header, in lower case, by which the clusters' `override_host` policy is told the pods.
    pub override_header: String,
    /// How many pods it names, best first; 1 to 16.
    pub attempts: usize,
    /// What a pod is to Envoy.
    pub route_by: RouteBy,
    /// What happens to an upgrade when no pod is usable.
    pub on_no_pods: OnNoPods,
    /// Path under which the filter shows what it knows; none shows nothing.
    pub status_path: Option<String>,
    /// The most verbose level that is logged; none leaves it to Envoy's own.
    pub log_level: Option<LevelFilter>,
    /// Whether responses tell clients which pod was chosen, and why.
    pub debug_headers: bool,
}

/// One Envoy cluster, its pods, and how their counts are collected.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Name of the Envoy cluster.
    pub cluster: String,
    /// Where its pods come from.
    pub pods: PodSource,
    /// Path of the count on each pod.
    pub metric_path: String,
    /// Where the count is in what is there.
    pub metric: Metric,
    /// A count older than this is not trusted.
    pub cache_ttl: Duration,
    /// How often each pod is asked; shorter than `cache_ttl`.
    pub refresh_interval: Duration,
    /// How long one answer may take; at most `refresh_interval`.
    pub metric_timeout: Duration,
    /// Polls failed in a row until the pod gets no new WebSockets; at least 1.
    pub unhealthy_threshold: u32,
    /// How pods are started that have just come up; none lets them have all at once.
    pub slow_start: Option<SlowStart>,
    /// How pods are relieved that hold too many; none leaves them alone.
    pub rebalance: Option<Rebalance>,
}

/// Which WebSockets may be closed to relieve pods, and how fast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rebalance {
    /// A pod is relieved that holds more than this many times its even share; greater than 1.
    pub threshold: f64,
    /// How many WebSockets all gateways together close in a second; greater than 0.
    pub max_per_second: f64,
    /// A WebSocket that is younger is left alone.
    pub min_age: Duration,
}

/// Where a service's pods come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PodSource {
    /// The configuration lists them: at least one, all different.
    Endpoints(Vec<PodAddress>),
    /// Envoy's admin interface lists the cluster's hosts.
    Discovery(Discovery),
    /// The cluster is one pod, whatever its host is.
    Cluster,
}

/// How Envoy is asked for the hosts of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Discovery {
    /// Name of an Envoy cluster that reaches Envoy's own admin interface.
    pub admin_cluster: String,
    /// How often it is asked.
    pub interval: Duration,
}

impl Service {
    /// By which rules the pods are judged.
    #[must_use]
    pub const fn rules(&self) -> Rules {
        Rules {
            cache_ttl: self.cache_ttl,
            unhealthy_threshold: self.unhealthy_threshold,
            slow_start: self.slow_start,
        }
    }

    /// The pods that are known from the configuration; none where Envoy lists them.
    #[must_use]
    pub fn endpoints(&self) -> &[PodAddress] {
        match &self.pods {
            PodSource::Endpoints(endpoints) => endpoints,
            PodSource::Discovery(_) => &[],
            PodSource::Cluster => &[PodAddress::ANY],
        }
    }

    /// How the pods are found, where the configuration does not list them.
    #[must_use]
    pub const fn discovery(&self) -> Option<&Discovery> {
        match &self.pods {
            PodSource::Endpoints(_) | PodSource::Cluster => None,
            PodSource::Discovery(discovery) => Some(discovery),
        }
    }

    /// A number that differs between services that collect different counts.
    ///
    /// Filters with the same number share their counts; a changed configuration starts anew.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let Self {
            cluster,
            pods,
            metric_path,
            metric,
            cache_ttl,
            refresh_interval,
            metric_timeout,
            unhealthy_threshold,
            // What is done with the counts makes them no others.
            slow_start: _,
            rebalance: _,
        } = self;
        let source = (cluster, pods, metric_path, metric);
        let times = (cache_ttl, refresh_interval, metric_timeout);
        // Its keys are fixed: the number is the same in every worker.
        let mut hasher = DefaultHasher::new();
        (source, times, unhealthy_threshold).hash(&mut hasher);
        hasher.finish()
    }
}

/// What a pod is to Envoy, and how Envoy is told which one an upgrade is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteBy {
    /// A host of the service's cluster: the override header names hosts, and the cluster's
    /// `override_host` policy obeys.
    #[default]
    Endpoint,
    /// A cluster of its own: the override header names the cluster, and the route's
    /// `cluster_header` obeys.
    Cluster,
}

/// What to do with an upgrade when no pod is usable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnNoPods {
    /// Leave the choice to the cluster's fallback policy.
    #[default]
    Fallback,
    /// Answer 503 with `retry-after`.
    Reject,
}

/// Which field of the configuration is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    field: String,
    reason: String,
}

impl ConfigError {
    fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Parses the plugin configuration: JSON, or an encoded `google.protobuf.Struct`.
    ///
    /// # Errors
    /// On unknown fields, wrong types, empty lists, spans of zero, contradictions between fields,
    /// duplicates, and addresses, paths and header names that can't be.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        Self::check(Self::document(bytes)?)
    }

    /// The plugin configuration as JSON, whatever is in it.
    ///
    /// # Errors
    /// Where it is neither JSON nor an encoded `google.protobuf.Struct`.
    pub fn document(bytes: &[u8]) -> Result<Value, ConfigError> {
        if bytes.trim_ascii().is_empty() {
            return Err(ConfigError::new("services", "is missing"));
        }
        document::read(bytes).map_err(|error| ConfigError::new("configuration", error.to_string()))
    }

    /// Checks a [`document`](Self::document).
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn check(document: Value) -> Result<Self, ConfigError> {
        let fields: Fields = serde_path_to_error::deserialize(document).map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." { "configuration" } else { &path };
            ConfigError::new(field, error.inner().to_string())
        })?;
        fields.check()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn parse(json: &str) -> Result<Config, String> {
        Config::parse(json.as_bytes()).map_err(|error| error.to_string())
    }

    fn with(fields: &str) -> Result<Config, String> {
        parse(&format!(
            r#"{{"services": [{{"cluster": "chat", "endpoints": ["10.0.0.1:80"]}}], {fields}}}"#
        ))
    }

    #[test]
    fn defaults() {
        let config = parse(
            r#"{"services": [{"cluster": "chat", "endpoints": ["10.0.0.1:80", "[::1]:80"]}]}"#,
        )
        .unwrap();
        assert_eq!(
            config,
            Config {
                services: vec![Service {
                    cluster: "chat".to_owned(),
                    pods: PodSource::Endpoints(vec![
                        "10.0.0.1:80".parse().unwrap(),
                        "[::1]:80".parse().unwrap(),
                    ]),
                    metric_path: "/metric".to_owned(),
                    metric: Metric::Report,
                    cache_ttl: Duration::from_secs(30),
                    refresh_interval: Duration::from_secs(5),
                    metric_timeout: Duration::from_secs(2),
                    unhealthy_threshold: 3,
                    slow_start: None,
                    rebalance: None,
                }],
                override_header: "x-gateway-destination-endpoint".to_owned(),
                attempts: 3,
                route_by: RouteBy::Endpoint,
                on_no_pods: OnNoPods::Fallback,
                status_path: None,
                log_level: None,
                debug_headers: false,
            }
        );
    }

    #[test]
    fn derived_defaults_follow_the_cache_ttl() {
        let service = with(r#""cacheTTL": "3s""#).unwrap().services.remove(0);
        assert_eq!(service.refresh_interval, Duration::from_millis(500));
        assert_eq!(service.metric_timeout, Duration::from_millis(500));
    }

    #[test]
    fn a_service_overrules_the_common_fields() {
        let config = parse(
            r#"{"metricPath": "/a", "cacheTTL": "1m", "refreshInterval": "2s", "metricTimeout": 1,
                "unhealthyThreshold": 5, "overrideHeader": "X-Pod", "attempts": 1, "onNoPods": "reject",
                "services": [
                  {"cluster": "a", "endpoints": ["10.0.0.1:80"]},
                  {"cluster": "b", "endpoints": ["10.0.0.1:80"], "metricPath": "/b", "cacheTTL": "10s",
                   "refreshInterval": "1.5s", "metricTimeout": "500ms", "unhealthyThreshold": 1}]}"#,
        )
        .unwrap();
        let [a, b] = config.services.as_slice() else {
            panic!("two services");
        };
        assert_eq!(
            (a.metric_path.as_str(), b.metric_path.as_str()),
            ("/a", "/b")
        );
        assert_eq!(
            (a.cache_ttl, b.cache_ttl),
            (Duration::from_secs(60), Duration::from_secs(10))
        );
        assert_eq!(b.refresh_interval, Duration::from_millis(1500));
        assert_eq!(b.metric_timeout, Duration::from_millis(500));
        assert_eq!((a.unhealthy_threshold, b.unhealthy_threshold), (5, 1));
        assert_eq!(config.override_header, "x-pod");
        assert_eq!((config.attempts, config.on_no_pods), (1, OnNoPods::Reject));
    }

    #[test]
    fn a_filter_may_only_show_the_status() {
        let config = parse(r#"{"status": {"path": "/status"}}"#).unwrap();
        assert_eq!(config.services, []);
        assert_eq!(config.status_path.as_deref(), Some("/status"));
    }

    #[test]
    fn durations() {
        for (text, expect) in [
            (r#""30s""#, Duration::from_secs(30)),
            (r#""500ms""#, Duration::from_millis(500)),
            (r#""1m""#, Duration::from_secs(60)),
            (r#""2h""#, Duration::from_secs(7200)),
            ("45", Duration::from_secs(45)),
            ("2.5", Duration::from_millis(2500)),
        ] {
            let config = with(&format!(r#""cacheTTL": {text}"#)).unwrap();
            assert_eq!(config.services[0].cache_ttl, expect, "{text}");
        }
    }

    #[test]
    fn every_error_names_its_field() {
        for (json, error) in [
            ("", "services: is missing"),
            ("{}", "services: is missing"),
            ("[", "configuration: "),
            (r#"{"services": []}"#, "services: is empty"),
            (r#"{"services": 5}"#, "services: invalid type: integer `5`"),
            (
                r#"{"services": [{"cluster": "a"}]}"#,
                "services[0].endpoints: is missing, and so is discovery, which would find them",
            ),
            (
                r#"{"services": [{"cluster": "a", "endpoints": []}]}"#,
                "services[0].endpoints: is empty: leave it out to have discovery find the pods",
            ),
            (
                r#"{"services": [{"cluster": "", "endpoints": ["1.1.1.1:1"]}]}"#,
                "services[0].cluster: is empty",
            ),
            (
                r#"{"services": [{"cluster": "a", "endpoints": ["1.1.1.1:1", "chat:80"]}]}"#,
                r#"services[0].endpoints[1]: "chat:80" is not the address of a pod"#,
            ),
            (
                r#"{"services": [{"cluster": "a", "endpoints": ["1.1.1.1:1", "1.1.1.1:1"]}]}"#,
                "services[0].endpoints[1]: 1.1.1.1:1 is listed twice",
            ),
            (
                r#"{"services": [{"cluster": "a", "endpoints": ["1.1.1.1:1"]}, {"cluster": "a", "endpoints": ["1.1.1.1:1"]}]}"#,
                r#"services[1].cluster: "a" has a service already"#,
            ),
            (
                r#"{"services": [{"cluster": "a", "endpoints": ["1.1.1.1:1"], "metricPth": "/"}]}"#,
                "services[0].metricPth: unknown field `metricPth`",
            ),
        ] {
            let message = parse(json).unwrap_err();
            assert!(
                message.starts_with(error),
                "{json}\n gave {message}\n not  {error}"
            );
        }
    }

    fn assert_refused(cases: &[(&str, &str)]) {
        for (fields, error) in cases {
            let message = with(fields).unwrap_err();
            assert!(
                message.starts_with(error),
                "{fields}\n gave {message}\n not  {error}"
            );
        }
    }

    #[test]
    fn what_can_not_be_done_with_counts() {
        assert_refused(&[
            (
                r#""metric": {"json": "stats"}"#,
                "metric.json: \"stats\" is not a JSON pointer",
            ),
            (
                r#""metric": {"prometheus": "up{a=~\"b\"}"}"#,
                "metric.prometheus: \"up{a=~\\\"b\\\"}\" does not name series",
            ),
            (r#""metric": {"xml": "/"}"#, "metric: unknown variant `xml`"),
            (r#""slowStart": {}"#, "slowStart: missing field `window`"),
            (
                r#""slowStart": {"window": 0}"#,
                "slowStart.window: 0 s is not between",
            ),
            (
                r#""slowStart": {"window": 1, "aggression": 0}"#,
                "slowStart.aggression: 0 is not greater than 0",
            ),
            (
                r#""slowStart": {"window": 1, "minWeightPercent": 101}"#,
                "slowStart.minWeightPercent: 101 is not within 0 to 100",
            ),
            (
                r#""rebalance": {"threshold": 1}"#,
                "rebalance.threshold: 1 is not greater than 1, the even share",
            ),
            (
                r#""rebalance": {"maxPerSecond": 0}"#,
                "rebalance.maxPerSecond: 0 is not greater than 0",
            ),
            (
                r#""rebalance": {"minAge": "-1s"}"#,
                "rebalance.minAge: -1 s is not between",
            ),
            (
                r#""status": {"path": "metrics"}"#,
                "status.path: \"metrics\" is not a path",
            ),
            (
                r#""status": {"path": "/metrics?all"}"#,
                "status.path: \"/metrics?all\" has a query",
            ),
            (
                r#""logLevel": "loud""#,
                "logLevel: \"loud\" is not off, error, warn, info, debug or trace",
            ),
            (
                r#""debugHeaders": "yes""#,
                "debugHeaders: invalid type: string",
            ),
        ]);
    }

    #[test]
    fn every_common_field_is_checked() {
        assert_refused(&[
            (r#""cachettl": 5"#, "cachettl: unknown field"),
            (r#""cacheTTL": 0"#, "cacheTTL: 0 s is not between"),
            (r#""cacheTTL": -5"#, "cacheTTL: -5 s is not between"),
            (r#""cacheTTL": "0s""#, "cacheTTL: 0 s is not between"),
            (r#""cacheTTL": 1e99"#, "cacheTTL: 1"),
            (
                r#""cacheTTL": "5 parsecs""#,
                r#"cacheTTL: invalid value: string "5 parsecs", expected a duration"#,
            ),
            (r#""cacheTTL": "NaNs""#, "cacheTTL: invalid value"),
            (
                r#""cacheTTL": true"#,
                "cacheTTL: invalid type: boolean `true`, expected a duration",
            ),
            (
                r#""refreshInterval": "30s""#,
                "services[0].refreshInterval: 30s is not shorter than the cacheTTL",
            ),
            (
                r#""refreshInterval": "1s", "metricTimeout": "2s""#,
                "services[0].metricTimeout: 2s is longer than",
            ),
            (
                r#""unhealthyThreshold": 0"#,
                "services[0].unhealthyThreshold: is zero",
            ),
            (r#""attempts": 0"#, "attempts: 0 is not within 1 to 16"),
            (r#""attempts": 17"#, "attempts: 17 is not within 1 to 16"),
            (
                r#""attempts": 1.5"#,
                "attempts: invalid type: floating point `1.5`",
            ),
            (
                r#""metricPath": "metric""#,
                "metricPath: \"metric\" is not a path",
            ),
            (
                r#""metricPath": "/a b""#,
                "metricPath: \"/a b\" is not a path",
            ),
            (
                r#""overrideHeader": "x pod""#,
                "overrideHeader: \"x pod\" is not the name of a header",
            ),
            (
                r#""overrideHeader": "Upgrade""#,
                "overrideHeader: \"upgrade\" is needed by HTTP itself",
            ),
            (
                r#""onNoPods": "panic""#,
                "onNoPods: unknown variant `panic`, expected `fallback` or `reject`",
            ),
        ]);
    }

    fn discovery(json: &str) -> Result<Discovery, String> {
        let service = parse(json)?.services.remove(0);
        Ok(service.discovery().unwrap().clone())
    }

    #[test]
    fn services_without_endpoints_are_discovered() {
        let common = r#""discovery": {"adminCluster": "admin"}, "refreshInterval": "3s""#;
        let expected = |admin: &str, seconds| {
            Ok(Discovery {
                admin_cluster: admin.to_owned(),
                interval: Duration::from_secs(seconds),
            })
        };
        let of = |service: &str| {
            discovery(&format!(
                r#"{{"services": [{{"cluster": "a"{service}}}], {common}}}"#
            ))
        };
        assert_eq!(of(""), expected("admin", 3));
        assert_eq!(
            of(r#", "discovery": {"adminCluster": "own", "interval": 60}"#),
            expected("own", 60)
        );
        let config = with(common).unwrap();
        assert_eq!(config.services[0].discovery(), None, "its endpoints hold");
        assert_eq!(config.services[0].endpoints().len(), 1);
    }

    #[test]
    fn with_clusters_for_pods_there_is_nothing_to_find() {
        let of = |service: &str, more: &str| {
            parse(&format!(
                r#"{{"routeBy": "cluster", "services": [{{"cluster": "a"{service}}}]{more}}}"#
            ))
        };
        let config = of("", "").unwrap();
        assert_eq!(config.route_by, RouteBy::Cluster);
        assert_eq!(config.services[0].endpoints(), [PodAddress::ANY]);
        let error = of("", r#", "rebalance": {}"#).unwrap_err();
        assert!(
            error.starts_with("rebalance: with routeBy cluster"),
            "{error}"
        );
        for (service, more, place) in [
            (
                r#", "endpoints": ["1.1.1.1:1"]"#,
                "",
                "services[0].endpoints",
            ),
            ("", r#", "discovery": {"adminCluster": "a"}"#, "discovery"),
        ] {
            assert_eq!(
                of(service, more).unwrap_err(),
                format!("{place}: with routeBy cluster, each cluster is one pod")
            );
        }
    }

    #[test]
    fn discovery_that_can_not_be() {
        let own = |fields: &str| {
            let services = format!(r#"{{"services": [{{"cluster": "a", {fields}}}]}}"#);
            parse(&services).unwrap_err()
        };
        assert_eq!(
            own(r#""endpoints": ["1.1.1.1:1"], "discovery": {"adminCluster": "admin"}"#),
            "services[0].discovery: contradicts endpoints: remove one of them"
        );
        assert_eq!(
            own(r#""discovery": {"adminCluster": ""}"#),
            "services[0].discovery.adminCluster: is empty"
        );
        assert_eq!(
            own(r#""discovery": {"adminCluster": "a", "interval": 0}"#),
            "services[0].discovery.interval: 0 s is not between 10ms and a year"
        );
        assert!(
            own(r#""discovery": {"cluster": "a"}"#)
                .starts_with("services[0].discovery.cluster: unknown field")
        );
    }

    #[test]
    fn pods_that_start_slowly_and_pods_that_are_relieved() {
        let config = with(r#""slowStart": {"window": "30s"}, "rebalance": {}"#).unwrap();
        assert_eq!(
            config.services[0].slow_start,
            Some(SlowStart {
                window: Duration::from_secs(30),
                aggression: 1.0,
                min_weight_percent: 10.0,
            })
        );
        assert_eq!(
            config.services[0].rebalance,
            Some(Rebalance {
                threshold: 1.25,
                max_per_second: 5.0,
                min_age: Duration::from_secs(300),
            })
        );
        let of_service = parse(
            r#"{"rebalance": {}, "services": [{"cluster": "a", "endpoints": ["1.1.1.1:1"],
                "rebalance": {"threshold": 2, "maxPerSecond": 0.5, "minAge": "1m"}}]}"#,
        )
        .unwrap();
        assert_eq!(
            of_service.services[0].rebalance,
            Some(Rebalance {
                threshold: 2.0,
                max_per_second: 0.5,
                min_age: Duration::from_secs(60),
            })
        );
    }

    #[test]
    fn counts_in_other_forms() {
        let metric = |json| with(json).unwrap().services[0].metric.clone();
        assert_eq!(
            metric(r#""metric": {"json": "/stats/open"}"#),
            Metric::Json("/stats/open".parse().unwrap())
        );
        let selector = r#"websocket_connections{state="open"}"#;
        assert_eq!(
            metric(&format!(r#""metric": {{"prometheus": {selector:?}}}"#)),
            Metric::Prometheus(selector.parse().unwrap())
        );
    }

    #[test]
    fn the_fingerprint_tells_what_is_collected_apart() {
        let one = with(r#""attempts": 1"#).unwrap();
        let two = with(r#""attempts": 2"#).unwrap();
        let fingerprint = |config: Config| config.services[0].fingerprint();
        let one = fingerprint(one);
        assert_eq!(one, fingerprint(two));
        for same in [r#""slowStart": {"window": 9}"#, r#""rebalance": {}"#] {
            assert_eq!(one, fingerprint(with(same).unwrap()), "{same}");
        }
        for other in [
            r#""metricPath": "/count""#,
            r#""metric": {"json": "/count"}"#,
            r#""refreshInterval": 1"#,
        ] {
            assert_ne!(one, fingerprint(with(other).unwrap()), "{other}");
        }
    }

    const README: &str = include_str!("../README.md");

    /// The rows of the option table but the first, `services`: name, default, whether it can
    /// stand in a service.
    fn documented_options() -> Vec<(&'static str, &'static str, bool)> {
        let cell = |text: &'static str| text.trim().trim_matches('`');
        README
            .lines()
            .skip_while(|line| !line.starts_with("| `services` |"))
            .skip(1)
            .map_while(|line| line.strip_prefix('|'))
            .map(|row| {
                let cells: Vec<_> = row.split('|').take(3).map(cell).collect();
                (cells[0], cells[1], cells[2] == "yes")
            })
            .collect()
    }

    #[test]
    fn the_documented_defaults_are_the_defaults() {
        let options = documented_options();
        let names: BTreeSet<_> = options.iter().map(|(name, ..)| *name).collect();
        // The message of the error lists every field there is.
        let error = with(r#""unknown": 0"#).unwrap_err();
        let (_, expected) = error.split_once("expected one of ").unwrap();
        let fields: BTreeSet<_> = expected.split(", ").map(|f| f.trim_matches('`')).collect();
        assert_eq!(&names | &BTreeSet::from(["services"]), fields);

        let defaults =
            parse(r#"{"services": [{"cluster": "chat", "endpoints": ["10.0.0.1:80"]}]}"#);
        for (name, default, in_service) in options {
            let field = format!(r#""{name}": {default}"#);
            assert_eq!(with(&field), defaults, "{field}");
            let service = parse(&format!(
                r#"{{"services": [{{"cluster": "chat", "endpoints": ["10.0.0.1:80"], {field}}}]}}"#
            ));
            if in_service {
                assert_eq!(service, defaults, "{field} in a service");
            } else {
                let refusal = format!("services[0].{name}: unknown field");
                assert!(service.unwrap_err().starts_with(&refusal), "{field}");
            }
        }
    }
}
