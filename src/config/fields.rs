//! The fields of the configuration as they are written, and the check that makes a [`Config`] of
//! them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use super::values::{HeaderName, HttpPath, LogLevel, Span, parsed};
use super::{
    Config, ConfigError, DEFAULT_AGGRESSION, DEFAULT_ATTEMPTS, DEFAULT_CACHE_TTL,
    DEFAULT_MAX_PER_SECOND, DEFAULT_METRIC_PATH, DEFAULT_METRIC_TIMEOUT_LIMIT, DEFAULT_MIN_AGE,
    DEFAULT_MIN_WEIGHT_PERCENT, DEFAULT_OVERRIDE_HEADER, DEFAULT_THRESHOLD,
    DEFAULT_UNHEALTHY_THRESHOLD, Discovery, OnNoPods, PodSource, REFRESHES_PER_TTL, Rebalance,
    RouteBy, Service,
};
use crate::clock::part;
use crate::pod::PodAddress;
use crate::report::{Metric, Pointer, Selector};
use crate::slow_start::SlowStart;

/// More entries than this in the override header help no retry policy.
const MOST_ATTEMPTS: usize = 16;
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Fields {
    services: Option<Vec<ServiceFields>>,
    override_header: Option<HeaderName>,
    attempts: Option<usize>,
    route_by: Option<RouteBy>,
    on_no_pods: Option<OnNoPods>,
    status: Option<StatusFields>,
    log_level: Option<LogLevel>,
    debug_headers: Option<bool>,
    discovery: Option<DiscoveryFields>,
    // The metric fields, for every service that does not set its own. They stand here and in
    // `ServiceFields` because serde can't flatten and deny unknown fields at once.
    metric_path: Option<HttpPath>,
    metric: Option<MetricFields>,
    #[serde(rename = "cacheTTL")]
    cache_ttl: Option<Span>,
    refresh_interval: Option<Span>,
    metric_timeout: Option<Span>,
    unhealthy_threshold: Option<u32>,
    slow_start: Option<SlowStartFields>,
    rebalance: Option<RebalanceFields>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServiceFields {
    cluster: String,
    endpoints: Option<Vec<PodAddress>>,
    discovery: Option<DiscoveryFields>,
    metric_path: Option<HttpPath>,
    metric: Option<MetricFields>,
    #[serde(rename = "cacheTTL")]
    cache_ttl: Option<Span>,
    refresh_interval: Option<Span>,
    metric_timeout: Option<Span>,
    unhealthy_threshold: Option<u32>,
    slow_start: Option<SlowStartFields>,
    rebalance: Option<RebalanceFields>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DiscoveryFields {
    admin_cluster: String,
    interval: Option<Span>,
}

/// Where the count is, in one of the forms that services export.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
enum MetricFields {
    Json(#[serde(deserialize_with = "parsed")] Pointer),
    Prometheus(#[serde(deserialize_with = "parsed")] Selector),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SlowStartFields {
    window: Span,
    aggression: Option<f64>,
    min_weight_percent: Option<f64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RebalanceFields {
    threshold: Option<f64>,
    max_per_second: Option<f64>,
    min_age: Option<Span>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StatusFields {
    path: HttpPath,
}

impl Fields {
    pub(super) fn check(self) -> Result<Config, ConfigError> {
        let written = match &self.services {
            None if self.status.is_none() => {
                return Err(ConfigError::new("services", "is missing"));
            }
            Some(services) if services.is_empty() => {
                return Err(ConfigError::new("services", "is empty"));
            }
            services => services.as_deref().unwrap_or_default(),
        };
        let attempts = self.attempts.unwrap_or(DEFAULT_ATTEMPTS);
        if !(1..=MOST_ATTEMPTS).contains(&attempts) {
            return Err(ConfigError::new(
                "attempts",
                format!("{attempts} is not within 1 to {MOST_ATTEMPTS}"),
            ));
        }
        let mut clusters = BTreeSet::new();
        let mut services = Vec::new();
        for (index, service) in written.iter().enumerate() {
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
            status_path: status_path(self.status)?,
            log_level: self.log_level.map(|LogLevel(level)| level),
            debug_headers: self.debug_headers.unwrap_or(false),
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
        let metric = self.metric.clone().or_else(|| common.metric.clone());
        Ok(Service {
            cluster: self.cluster.clone(),
            pods: self.pods(path, common, refresh_interval)?,
            metric_path: metric_path
                .map_or(DEFAULT_METRIC_PATH, |HttpPath(path)| path)
                .to_owned(),
            metric: metric.map_or(Metric::Report, Metric::from),
            cache_ttl,
            refresh_interval,
            metric_timeout,
            unhealthy_threshold,
            slow_start: self.slow_start(path, common)?,
            rebalance: self.rebalance(path, common)?,
        })
    }

    fn slow_start(&self, path: &str, common: &Fields) -> Result<Option<SlowStart>, ConfigError> {
        let (place, fields) = match (self.slow_start, common.slow_start) {
            (Some(own), _) => (format!("{path}.slowStart"), own),
            (None, Some(common)) => ("slowStart".to_owned(), common),
            (None, None) => return Ok(None),
        };
        let SlowStartFields {
            window: Span(window),
            aggression,
            min_weight_percent,
        } = fields;
        let aggression = aggression.unwrap_or(DEFAULT_AGGRESSION);
        if aggression <= 0.0 {
            return Err(ConfigError::new(
                format!("{place}.aggression"),
                format!("{aggression} is not greater than 0"),
            ));
        }
        let min_weight_percent = min_weight_percent.unwrap_or(DEFAULT_MIN_WEIGHT_PERCENT);
        if !(0.0..=100.0).contains(&min_weight_percent) {
            return Err(ConfigError::new(
                format!("{place}.minWeightPercent"),
                format!("{min_weight_percent} is not within 0 to 100"),
            ));
        }
        Ok(Some(SlowStart {
            window,
            aggression,
            min_weight_percent,
        }))
    }

    fn rebalance(&self, path: &str, common: &Fields) -> Result<Option<Rebalance>, ConfigError> {
        let (place, fields) = match (self.rebalance, common.rebalance) {
            (Some(own), _) => (format!("{path}.rebalance"), own),
            (None, Some(common)) => ("rebalance".to_owned(), common),
            (None, None) => return Ok(None),
        };
        if common.route_by == Some(RouteBy::Cluster) {
            return Err(ConfigError::new(
                place,
                "with routeBy cluster, each service is one pod, which has all of its share",
            ));
        }
        let threshold = fields.threshold.unwrap_or(DEFAULT_THRESHOLD);
        if threshold <= 1.0 {
            return Err(ConfigError::new(
                format!("{place}.threshold"),
                format!("{threshold} is not greater than 1, the even share"),
            ));
        }
        let max_per_second = fields.max_per_second.unwrap_or(DEFAULT_MAX_PER_SECOND);
        if max_per_second <= 0.0 {
            return Err(ConfigError::new(
                format!("{place}.maxPerSecond"),
                format!("{max_per_second} is not greater than 0"),
            ));
        }
        Ok(Some(Rebalance {
            threshold,
            max_per_second,
            min_age: fields.min_age.map_or(DEFAULT_MIN_AGE, |Span(age)| age),
        }))
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

/// A request's path is compared without its query.
fn status_path(fields: Option<StatusFields>) -> Result<Option<String>, ConfigError> {
    let Some(StatusFields {
        path: HttpPath(path),
    }) = fields
    else {
        return Ok(None);
    };
    if path.contains('?') {
        let reason = format!("{path:?} has a query");
        return Err(ConfigError::new("status.path", reason));
    }
    Ok(Some(path))
}

impl From<MetricFields> for Metric {
    fn from(fields: MetricFields) -> Self {
        match fields {
            MetricFields::Json(pointer) => Self::Json(pointer),
            MetricFields::Prometheus(selector) => Self::Prometheus(selector),
        }
    }
}
