//! The plugin configuration, parsed into a [`Config`] that needs no further checks.
//!
//! Whatever is wrong with it ends as one [`ConfigError`] that names the field. The
//! defaults stand in this module and nowhere else.

mod document;

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use crate::clock::part;
use crate::pod::PodAddress;

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

/// More entries than this in the override header help no retry policy.
const MOST_ATTEMPTS: usize = 16;
/// The timer has a resolution of milliseconds; asking pods faster than this is a mistake.
const SHORTEST_SPAN: Duration = Duration::from_millis(10);
/// A year: keeps every sum of spans far from overflow.
const LONGEST_SPAN: Duration = Duration::from_secs(366 * 24 * 3600);

/// A configuration without contradictions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The services to balance; at least one, no two with the same cluster.
    pub services: Vec<Service>,
    /// Header, in lower case, by which the clusters' `override_host` policy is told the pods.
    pub override_header: String,
    /// How many pods it names, best first; 1 to 16.
    pub attempts: usize,
    /// What a pod is to Envoy.
    pub route_by: RouteBy,
    /// What happens to an upgrade when no pod is usable.
    pub on_no_pods: OnNoPods,
}

/// One Envoy cluster, its pods, and how their counts are collected.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// Name of the Envoy cluster.
    pub cluster: String,
    /// Where its pods come from.
    pub pods: PodSource,
    /// Path of the count on each pod.
    pub metric_path: String,
    /// A count older than this is not trusted.
    pub cache_ttl: Duration,
    /// How often each pod is asked; shorter than `cache_ttl`.
    pub refresh_interval: Duration,
    /// How long one answer may take; at most `refresh_interval`.
    pub metric_timeout: Duration,
    /// Polls failed in a row until the pod gets no new WebSockets; at least 1.
    pub unhealthy_threshold: u32,
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
        // Its keys are fixed: the number is the same in every worker.
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
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
        if bytes.trim_ascii().is_empty() {
            return Err(ConfigError::new("services", "is missing"));
        }
        let document = document::read(bytes)
            .map_err(|error| ConfigError::new("configuration", error.to_string()))?;
        let fields: Fields = serde_path_to_error::deserialize(document).map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." { "configuration" } else { &path };
            ConfigError::new(field, error.inner().to_string())
        })?;
        fields.check()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Fields {
    services: Vec<ServiceFields>,
    override_header: Option<HeaderName>,
    attempts: Option<usize>,
    route_by: Option<RouteBy>,
    on_no_pods: Option<OnNoPods>,
    discovery: Option<DiscoveryFields>,
    // The metric fields, for every service that does not set its own. They stand here and in
    // `ServiceFields` because serde can't flatten and deny unknown fields at once.
    metric_path: Option<MetricPath>,
    #[serde(rename = "cacheTTL")]
    cache_ttl: Option<Span>,
    refresh_interval: Option<Span>,
    metric_timeout: Option<Span>,
    unhealthy_threshold: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServiceFields {
    cluster: String,
    endpoints: Option<Vec<PodAddress>>,
    discovery: Option<DiscoveryFields>,
    metric_path: Option<MetricPath>,
    #[serde(rename = "cacheTTL")]
    cache_ttl: Option<Span>,
    refresh_interval: Option<Span>,
    metric_timeout: Option<Span>,
    unhealthy_threshold: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DiscoveryFields {
    admin_cluster: String,
    interval: Option<Span>,
}

impl Fields {
    fn check(self) -> Result<Config, ConfigError> {
        if self.services.is_empty() {
            return Err(ConfigError::new("services", "is empty"));
        }
        let attempts = self.attempts.unwrap_or(DEFAULT_ATTEMPTS);
        if !(1..=MOST_ATTEMPTS).contains(&attempts) {
            return Err(ConfigError::new(
                "attempts",
                format!("{attempts} is not within 1 to {MOST_ATTEMPTS}"),
            ));
        }
        let mut clusters = BTreeSet::new();
        let mut services = Vec::new();
        for (index, service) in self.services.iter().enumerate() {
            let path = format!("services[{index}]");
            if !clusters.insert(&service.cluster) {
                return Err(ConfigError::new(
                    format!("{path}.cluster"),
                    format!("{:?} has a service already", service.cluster),
                ));
            }
            services.push(service.check(&path, &self)?);
        }
        Ok(Config {
            services,
            override_header: self.override_header.map_or_else(
                || DEFAULT_OVERRIDE_HEADER.to_owned(),
                |HeaderName(name)| name,
            ),
            attempts,
            route_by: self.route_by.unwrap_or_default(),
            on_no_pods: self.on_no_pods.unwrap_or_default(),
        })
    }
}

impl ServiceFields {
    fn check(&self, path: &str, common: &Fields) -> Result<Service, ConfigError> {
        let error =
            |field: &str, reason: String| Err(ConfigError::new(format!("{path}.{field}"), reason));
        if self.cluster.is_empty() {
            return error("cluster", "is empty".to_owned());
        }
        let span = |own: Option<Span>, common: Option<Span>| own.or(common).map(|Span(span)| span);
        let cache_ttl = span(self.cache_ttl, common.cache_ttl).unwrap_or(DEFAULT_CACHE_TTL);
        let refresh_interval = span(self.refresh_interval, common.refresh_interval)
            .unwrap_or(part(cache_ttl, REFRESHES_PER_TTL));
        if refresh_interval >= cache_ttl {
            return error(
                "refreshInterval",
                format!("{refresh_interval:?} is not shorter than the cacheTTL of {cache_ttl:?}"),
            );
        }
        let metric_timeout = span(self.metric_timeout, common.metric_timeout)
            .unwrap_or(refresh_interval.min(DEFAULT_METRIC_TIMEOUT_LIMIT));
        if metric_timeout > refresh_interval {
            return error(
                "metricTimeout",
                format!(
                    "{metric_timeout:?} is longer than the refreshInterval of {refresh_interval:?}"
                ),
            );
        }
        let unhealthy_threshold = self
            .unhealthy_threshold
            .or(common.unhealthy_threshold)
            .unwrap_or(DEFAULT_UNHEALTHY_THRESHOLD);
        if unhealthy_threshold == 0 {
            return error("unhealthyThreshold", "is zero".to_owned());
        }
        let metric_path = self.metric_path.as_ref().or(common.metric_path.as_ref());
        Ok(Service {
            cluster: self.cluster.clone(),
            pods: self.pods(path, common, refresh_interval)?,
            metric_path: metric_path
                .map_or(DEFAULT_METRIC_PATH, |MetricPath(path)| path)
                .to_owned(),
            cache_ttl,
            refresh_interval,
            metric_timeout,
            unhealthy_threshold,
        })
    }

    fn pods(
        &self,
        path: &str,
        common: &Fields,
        refresh_interval: Duration,
    ) -> Result<PodSource, ConfigError> {
        let error = |place: String, reason: &str| Err(ConfigError::new(place, reason));
        if common.route_by == Some(RouteBy::Cluster) {
            let superfluous = [
                (self.endpoints.is_some(), format!("{path}.endpoints")),
                (self.discovery.is_some(), format!("{path}.discovery")),
                (common.discovery.is_some(), "discovery".to_owned()),
            ];
            return match superfluous.into_iter().find(|(is_there, _)| *is_there) {
                Some((_, place)) => error(place, "with routeBy cluster, each cluster is one pod"),
                None => Ok(PodSource::Cluster),
            };
        }
        let Some(endpoints) = &self.endpoints else {
            let (place, discovery) = match (&self.discovery, &common.discovery) {
                (Some(own), _) => (format!("{path}.discovery"), own),
                (None, Some(common)) => ("discovery".to_owned(), common),
                (None, None) => {
                    return error(
                        format!("{path}.endpoints"),
                        "is missing, and so is discovery, which would find them",
                    );
                }
            };
            if discovery.admin_cluster.is_empty() {
                return error(format!("{place}.adminCluster"), "is empty");
            }
            return Ok(PodSource::Discovery(Discovery {
                admin_cluster: discovery.admin_cluster.clone(),
                interval: discovery
                    .interval
                    .map_or(refresh_interval, |Span(interval)| interval),
            }));
        };
        if self.discovery.is_some() {
            return error(
                format!("{path}.discovery"),
                "contradicts endpoints: remove one of them",
            );
        }
        if endpoints.is_empty() {
            return error(
                format!("{path}.endpoints"),
                "is empty: leave it out to have discovery find the pods",
            );
        }
        let mut known = BTreeSet::new();
        for (index, endpoint) in endpoints.iter().enumerate() {
            if !known.insert(endpoint) {
                return error(
                    format!("{path}.endpoints[{index}]"),
                    &format!("{endpoint} is listed twice"),
                );
            }
        }
        Ok(PodSource::Endpoints(endpoints.clone()))
    }
}

/// `30s`, `500ms`, `1m`, `1h`, or a number of seconds.
#[derive(Clone, Copy)]
struct Span(Duration);

impl Span {
    fn from_seconds<E: de::Error>(seconds: f64) -> Result<Self, E> {
        Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|span| (SHORTEST_SPAN..=LONGEST_SPAN).contains(span))
            .map(Self)
            .ok_or_else(|| {
                E::custom(format_args!(
                    "{seconds} s is not between {SHORTEST_SPAN:?} and a year"
                ))
            })
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"30s\", \"500ms\", \"1m\" or a number of seconds")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                let seconds = seconds_in(text)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))?;
                Span::from_seconds(seconds)
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Span, E> {
                Span::from_seconds(seconds)
            }

            #[expect(
                clippy::cast_precision_loss,
                reason = "past a year it is refused anyway"
            )]
            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Span, E> {
                Span::from_seconds(seconds as f64)
            }

            #[expect(
                clippy::cast_precision_loss,
                reason = "a negative number is refused anyway"
            )]
            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Span, E> {
                Span::from_seconds(seconds as f64)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// The seconds in a text such as `1.5m`; none where it is no number with a unit.
fn seconds_in(text: &str) -> Option<f64> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * seconds)
}

/// An absolute path, as it goes on a request line (RFC 9112, section 3.2.1).
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct MetricPath(String);

impl TryFrom<String> for MetricPath {
    type Error = String;

    fn try_from(path: String) -> Result<Self, String> {
        let sound =
            path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        if sound {
            Ok(Self(path))
        } else {
            Err(format!(
                "{path:?} is not a path: begin with a slash, percent-encode the rest"
            ))
        }
    }
}

/// A header's name (RFC 9110, section 5.6.2), in lower case as Envoy keeps it.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct HeaderName(String);

impl TryFrom<String> for HeaderName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let name = name.to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(token) {
            return Err(format!("{name:?} is not the name of a header"));
        }
        // The filter removes this header from every request.
        if NEEDED_HEADERS.contains(&name.as_str()) || name.starts_with("sec-websocket-") {
            return Err(format!("{name:?} is needed by HTTP itself: take another"));
        }
        Ok(Self(name))
    }
}

const NEEDED_HEADERS: [&str; 6] = [
    "connection",
    "content-length",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
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
                    cache_ttl: Duration::from_secs(30),
                    refresh_interval: Duration::from_secs(5),
                    metric_timeout: Duration::from_secs(2),
                    unhealthy_threshold: 3,
                }],
                override_header: "x-gateway-destination-endpoint".to_owned(),
                attempts: 3,
                route_by: RouteBy::Endpoint,
                on_no_pods: OnNoPods::Fallback,
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
            ("{}", "configuration: missing field `services`"),
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

    #[test]
    fn every_common_field_is_checked() {
        for (fields, error) in [
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
        ] {
            let message = with(fields).unwrap_err();
            assert!(
                message.starts_with(error),
                "{fields}\n gave {message}\n not  {error}"
            );
        }
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
    fn the_fingerprint_tells_what_is_collected_apart() {
        let one = with(r#""attempts": 1"#).unwrap();
        let two = with(r#""attempts": 2"#).unwrap();
        let other_path = with(r#""metricPath": "/count""#).unwrap();
        assert_eq!(one.services[0].fingerprint(), two.services[0].fingerprint());
        assert_ne!(
            one.services[0].fingerprint(),
            other_path.services[0].fingerprint()
        );
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
