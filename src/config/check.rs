//! The check that makes a [`Config`] of the fields that are written, with the defaults of those
//! that are not.

use std::collections::BTreeSet;
use std::time::Duration;

use super::defaults;
use super::error::ConfigError;
use super::fields::{
    Fields, LONGEST_PREFIX, MOST_LISTED, MarkFields, MetricFields, OpenerFields,
    PassiveHealthFields, ServiceFields, SessionsFields, StatusFields,
};
use super::headers::PollHeaders;
use super::numbers::{Bounded, Whole};
use super::reader::OrOff;
use super::rules::{BurstPolls, PassiveHealth, Rebalance, Rules, SlowStart};
use super::service::{Discovery, MetricCluster, PodSource, ServiceConfig};
use super::settings::{Config, RouteBy, Settings, StatusConfig};
use super::values::{
    AllowedOrigin, Authority, ClusterName, CookieName, HeaderName, HostName, HttpPath, LogLevel,
    ParameterName, Span, SpanOrNever,
};
use crate::clock::part;
use crate::metric::{Metric, NamedMetric};
use crate::num::approximate;
use crate::origin::AllowedOrigins;
use crate::pod::PodAddress;
use crate::session::{Mark, Sessions};

/// Checks the fields.
///
/// # Errors
/// Where one can't be, or contradicts another.
pub(super) fn config(fields: &Fields) -> Result<Config, ConfigError> {
    let written = match &fields.services {
        None if fields.status.is_none() => {
            return Err(ConfigError::new(
                "services",
                "is missing; it is a list of objects with the names of clusters, such as \
                 [{\"cluster\": \"chat\"}]",
            ));
        }
        Some(services) if services.is_empty() => {
            return Err(ConfigError::new("services", "is empty: list at least one"));
        }
        services => services.as_deref().unwrap_or_default(),
    };
    let attempts = fields
        .attempts
        .map_or(defaults::ATTEMPTS, |Whole(attempts)| attempts);
    let mut clusters = BTreeSet::new();
    let mut services = Vec::new();
    for (index, own) in written.iter().enumerate() {
        let path = format!("services[{index}]");
        let ClusterName(cluster) = &own.cluster;
        if !clusters.insert(cluster) {
            return Err(ConfigError::new(
                format!("{path}.cluster"),
                format!("{cluster:?} has a service already"),
            ));
        }
        let service = Service {
            own,
            common: fields,
            services: written.len(),
            path,
        };
        services.push(service.check()?);
    }
    Ok(Config {
        services,
        settings: Settings {
            override_header: override_header(fields).to_owned(),
            attempts: usize::try_from(attempts).unwrap_or(1),
            route_by: fields.route_by.unwrap_or_default(),
            on_no_pods: fields.on_no_pods.unwrap_or_default(),
            status: status(fields.status.as_ref())?,
            local_ports: fields
                .local_ports
                .map_or(defaults::LOCAL_PORTS, |Whole(ports)| ports),
            debug_headers: fields.debug_headers.unwrap_or(false),
        },
        log_level: fields.log_level.map(|LogLevel(level)| level),
    })
}

fn override_header(fields: &Fields) -> &str {
    match &fields.override_header {
        Some(HeaderName(name)) => name,
        None => defaults::OVERRIDE_HEADER,
    }
}

/// A request's path is compared without its query.
fn status(fields: Option<&StatusFields>) -> Result<Option<StatusConfig>, ConfigError> {
    let Some(StatusFields {
        path: HttpPath(path),
        hosts,
    }) = fields
    else {
        return Ok(None);
    };
    if path.contains('?') {
        let reason = format!("{path:?} has a query: leave it out");
        return Err(ConfigError::new("status.path", reason));
    }
    let hosts = hosts.iter().flatten();
    Ok(Some(StatusConfig {
        path: path.clone(),
        hosts: hosts.map(|HostName(name)| name.clone()).collect(),
    }))
}

/// Where the count is: in answers to polls, in those to handshakes, and where polls go.
type Sources = (Metric, Option<NamedMetric>, Option<MetricCluster>);

/// The fields of one service, and those that hold where it has none of its own.
struct Service<'fields> {
    own: &'fields ServiceFields,
    common: &'fields Fields,
    /// How many there are.
    services: usize,
    /// Where the own ones stand.
    path: String,
}

impl Service<'_> {
    fn check(&self) -> Result<ServiceConfig, ConfigError> {
        let (own, common) = (self.own, self.common);
        let metric_path = own.metric_path.as_ref().or(common.metric_path.as_ref());
        let metric_path = metric_path.map_or(defaults::METRIC_PATH, |HttpPath(path)| path);
        let metric_host = own.metric_host.as_ref().or(common.metric_host.as_ref());
        let (metric, orca, metric_cluster) = self.metric()?;
        let sessions = self.sessions()?;
        let rules = self.rules(sessions.as_ref())?;
        Ok(ServiceConfig {
            cluster: own.cluster.0.clone(),
            pods: self.pods(rules.refresh_interval)?,
            metric_path: metric_path.to_owned(),
            metric_host: metric_host.map(|Authority(host)| host.clone()),
            metric_headers: self.metric_headers()?,
            metric,
            orca,
            metric_cluster,
            metric_timeout: self.metric_timeout(rules.refresh_interval)?,
            rules,
            burst_polls: self.burst_polls()?,
            rebalance: self.rebalance()?,
            origins: self.origins()?,
            sessions,
        })
    }

    fn metric_headers(&self) -> Result<PollHeaders, ConfigError> {
        let (own, common) = (&self.own.metric_headers, &self.common.metric_headers);
        match self.placed("metricHeaders", own.as_ref(), common.as_ref()) {
            Some((place, fields)) => fields.check(&place, override_header(self.common)),
            None => Ok(PollHeaders::default()),
        }
    }

    fn metric(&self) -> Result<Sources, ConfigError> {
        let (own, common) = (&self.own.metric, &self.common.metric);
        let Some((place, fields)) = self.placed("metric", own.as_ref(), common.as_ref()) else {
            return Ok((Metric::Report, None, None));
        };
        let error = |field: &str, reason: &str| {
            let dot = if field.is_empty() { "" } else { "." };
            ConfigError::new(format!("{place}{dot}{field}"), reason)
        };
        let absent = fields.absent;
        let metric = match (fields.json.clone(), fields.prometheus.clone()) {
            (Some(_), Some(_)) => return Err(error("", "has json and prometheus: write one")),
            (Some(at), None) => Metric::Json { at, absent },
            (None, Some(series)) => Metric::Prometheus { series, absent },
            (None, None) if absent.is_some() => {
                return Err(error("absent", "is for json and prometheus only"));
            }
            (None, None) => Metric::Report,
        };
        let cluster = self.metric_cluster(fields, error)?;
        let orca = fields.orca.clone();
        if metric == Metric::Report && orca.is_none() && cluster.is_none() {
            return Err(error(
                "",
                "is empty: write json, prometheus, orca or cluster",
            ));
        }
        Ok((metric, orca, cluster))
    }

    fn metric_cluster(
        &self,
        fields: &MetricFields,
        error: impl Fn(&str, &str) -> ConfigError,
    ) -> Result<Option<MetricCluster>, ConfigError> {
        let port = fields.port.and_then(|Whole(port)| u16::try_from(port).ok());
        let Some(ClusterName(name)) = fields.cluster.clone() else {
            return match port {
                Some(_) => Err(error(
                    "port",
                    "a port alone can't be steered: name the cluster that has the same pods on it",
                )),
                None => Ok(None),
            };
        };
        if self.common.route_by == Some(RouteBy::Cluster) {
            if port.is_some() {
                let reason = "with routeBy cluster, polls go to whichever host that cluster has";
                return Err(error("port", reason));
            }
            if self.own.metric.is_none() {
                let reason = "with routeBy cluster, each service needs one of its own";
                return Err(error("cluster", reason));
            }
        }
        Ok(Some(MetricCluster { name, port }))
    }

    fn rules(&self, sessions: Option<&Sessions>) -> Result<Rules, ConfigError> {
        let (own, common) = (self.own, self.common);
        let cache_ttl = span(own.cache_ttl, common.cache_ttl).unwrap_or(defaults::CACHE_TTL);
        let refresh_interval = span(own.refresh_interval, common.refresh_interval)
            .unwrap_or(part(cache_ttl, defaults::REFRESHES_PER_TTL));
        if refresh_interval >= cache_ttl {
            let place = self.written(own.refresh_interval.is_some(), "refreshInterval");
            let reason = format!(
                "{refresh_interval:?} is not shorter than the cacheTTL, which is {cache_ttl:?} in {}",
                self.path
            );
            return Err(ConfigError::new(place, reason));
        }
        let unhealthy_threshold = own.unhealthy_threshold.or(common.unhealthy_threshold);
        let unhealthy_threshold =
            unhealthy_threshold.map_or(defaults::UNHEALTHY_THRESHOLD, |Whole(polls)| polls);
        Ok(Rules {
            cache_ttl,
            refresh_interval,
            unhealthy_threshold,
            counts_connections: own
                .counts_connections
                .or(common.counts_connections)
                .unwrap_or(true),
            passive_health: self.passive_health(),
            counts_sessions: sessions.is_some_and(|sessions| sessions.are_counted),
            slow_start: self.slow_start(),
        })
    }

    /// On unless it is switched off.
    fn passive_health(&self) -> Option<PassiveHealth> {
        let written = self.own.passive_health.or(self.common.passive_health);
        let fields = match written {
            None => PassiveHealthFields::default(),
            Some(OrOff::On(fields)) => fields,
            Some(OrOff::Off) => return None,
        };
        let failures = fields.consecutive_failures;
        Some(PassiveHealth {
            consecutive_failures: failures
                .and_then(|Whole(failures)| u16::try_from(failures).ok())
                .unwrap_or(defaults::CONSECUTIVE_FAILURES),
            base_ejection_time: span(fields.base_ejection_time, None)
                .unwrap_or(defaults::BASE_EJECTION_TIME),
            max_ejection_percent: bounded(
                fields.max_ejection_percent,
                defaults::MAX_EJECTION_PERCENT,
            ),
        })
    }

    /// All services share what is spent on bursts.
    fn burst_polls(&self) -> Result<Option<BurstPolls>, ConfigError> {
        let written = self.own.burst_interval.or(self.common.burst_interval);
        let default = SpanOrNever(Some(defaults::BURST_INTERVAL));
        let SpanOrNever(Some(interval)) = written.unwrap_or(default) else {
            return Ok(None);
        };
        if interval < defaults::SHORTEST_BURST_INTERVAL {
            let shortest = defaults::SHORTEST_BURST_INTERVAL;
            let reason = format!("{interval:?} is neither 0 nor at least {shortest:?}");
            return Err(self.error("burstInterval", reason));
        }
        let services = approximate(u64::try_from(self.services).unwrap_or(u64::MAX));
        Ok(Some(BurstPolls {
            interval,
            per_second: defaults::BURST_POLLS_PER_SECOND / services,
            bytes_per_second: defaults::BURST_BYTES_PER_SECOND / services,
        }))
    }

    fn metric_timeout(&self, refresh_interval: Duration) -> Result<Duration, ConfigError> {
        let timeout = span(self.own.metric_timeout, self.common.metric_timeout)
            .unwrap_or(refresh_interval.min(defaults::METRIC_TIMEOUT_LIMIT));
        if timeout > refresh_interval {
            let place = self.written(self.own.metric_timeout.is_some(), "metricTimeout");
            let reason = format!(
                "{timeout:?} is longer than the refreshInterval, which is {refresh_interval:?} in {}",
                self.path
            );
            return Err(ConfigError::new(place, reason));
        }
        Ok(timeout)
    }

    fn slow_start(&self) -> Option<SlowStart> {
        let (own, common) = (&self.own.slow_start, &self.common.slow_start);
        let fields = own.as_ref().or(common.as_ref())?;
        let aggression = bounded(fields.aggression, defaults::AGGRESSION);
        let min_weight_percent = bounded(fields.min_weight_percent, defaults::MIN_WEIGHT_PERCENT);
        let Span(window) = fields.window;
        Some(SlowStart {
            window,
            aggression,
            min_weight_percent,
        })
    }

    fn rebalance(&self) -> Result<Option<Rebalance>, ConfigError> {
        let (own, common) = (&self.own.rebalance, &self.common.rebalance);
        let Some((place, fields)) = self.placed("rebalance", own.as_ref(), common.as_ref()) else {
            return Ok(None);
        };
        if self.common.route_by == Some(RouteBy::Cluster) {
            return Err(ConfigError::new(
                place,
                "with routeBy cluster, each service is one pod, which has all of its share",
            ));
        }
        Ok(Some(Rebalance {
            threshold: bounded(fields.threshold, defaults::THRESHOLD),
            max_per_second: bounded(fields.max_per_second, defaults::MAX_PER_SECOND),
            min_age: span(fields.min_age, None).unwrap_or(defaults::MIN_AGE),
        }))
    }

    /// Among clusters the choice is made after the look at the origin, so that one rule holds for
    /// all of them.
    fn origins(&self) -> Result<Option<AllowedOrigins>, ConfigError> {
        let (own, common) = (self.own, self.common);
        if common.route_by == Some(RouteBy::Cluster) {
            let own = [
                (own.allowed_origins.is_some(), "allowedOrigins"),
                (own.require_origin.is_some(), "requireOrigin"),
            ];
            if let Some((_, field)) = own.into_iter().find(|(is_there, _)| *is_there) {
                let reason = "with routeBy cluster, it stands beside services, for all of them";
                return Err(self.error(field, reason));
            }
        }
        let is_required = own.require_origin.or(common.require_origin);
        let is_required = is_required.unwrap_or(false);
        let (own, common) = (&own.allowed_origins, &common.allowed_origins);
        let listed = self.placed("allowedOrigins", own.as_ref(), common.as_ref());
        match listed {
            None if is_required => {
                let place = self.written(self.own.require_origin.is_some(), "requireOrigin");
                let reason = "is of no use without allowedOrigins: any origin would do";
                Err(ConfigError::new(place, reason))
            }
            None => Ok(None),
            Some((place, listed)) if listed.is_empty() => Err(ConfigError::new(
                place,
                "is empty: leave it out to let pages of all origins in",
            )),
            Some((_, listed)) => Ok(Some(AllowedOrigins {
                patterns: listed
                    .iter()
                    .map(|AllowedOrigin(pattern)| pattern.clone())
                    .collect(),
                is_required,
            })),
        }
    }

    fn sessions(&self) -> Result<Option<Sessions>, ConfigError> {
        let (own, common) = (&self.own.sessions, &self.common.sessions);
        let Some((place, fields)) = self.placed("sessions", own.as_ref(), common.as_ref()) else {
            return Ok(None);
        };
        if self.common.route_by == Some(RouteBy::Cluster) {
            let reason = "with routeBy cluster, nothing keeps a session on its cluster";
            return Err(ConfigError::new(place, reason));
        }
        let SessionsFields {
            opened_by,
            carried_by,
            kept_by,
            counted,
        } = fields;
        let openers = listed(&format!("{place}.openedBy"), opened_by, path_prefix)?;
        let marks = listed(&format!("{place}.carriedBy"), carried_by, mark)?;
        let kept_by = kept_by.as_ref().map(|keeper| {
            let CookieName(name) = &keeper.cookie;
            name.clone()
        });
        Ok(Some(Sessions {
            opened_by: openers,
            carried_by: marks,
            kept_by,
            are_counted: counted.unwrap_or(true),
        }))
    }

    fn pods(&self, refresh_interval: Duration) -> Result<PodSource, ConfigError> {
        if self.common.route_by == Some(RouteBy::Cluster) {
            return self.cluster();
        }
        match &self.own.endpoints {
            Some(endpoints) => self.endpoints(endpoints),
            None => self.discovery(refresh_interval),
        }
    }

    /// Where the cluster is the pod, there is nothing to say of pods.
    fn cluster(&self) -> Result<PodSource, ConfigError> {
        let superfluous = [
            (self.own.endpoints.is_some(), self.place("endpoints")),
            (self.own.discovery.is_some(), self.place("discovery")),
            (self.common.discovery.is_some(), "discovery".to_owned()),
        ];
        match superfluous.into_iter().find(|(is_there, _)| *is_there) {
            Some((_, place)) => Err(ConfigError::new(
                place,
                "with routeBy cluster, each cluster is one pod",
            )),
            None => Ok(PodSource::Cluster),
        }
    }

    fn endpoints(&self, endpoints: &[PodAddress]) -> Result<PodSource, ConfigError> {
        if self.own.discovery.is_some() {
            return Err(self.error("discovery", "contradicts endpoints: remove one of them"));
        }
        if endpoints.is_empty() {
            return Err(self.error(
                "endpoints",
                "is empty: leave it out to have discovery find the pods",
            ));
        }
        let mut known = BTreeSet::new();
        for (index, endpoint) in endpoints.iter().enumerate() {
            if !known.insert(endpoint) {
                let reason = format!("{endpoint} is listed twice");
                return Err(self.error(&format!("endpoints[{index}]"), reason));
            }
        }
        Ok(PodSource::Endpoints(endpoints.to_vec()))
    }

    fn discovery(&self, refresh_interval: Duration) -> Result<PodSource, ConfigError> {
        let (own, common) = (&self.own.discovery, &self.common.discovery);
        let Some((_, fields)) = self.placed("discovery", own.as_ref(), common.as_ref()) else {
            return Err(self.error(
                "endpoints",
                "is missing, and so is discovery, which would find them",
            ));
        };
        Ok(PodSource::Discovery(Discovery {
            admin_cluster: fields.admin_cluster.0.clone(),
            interval: span(fields.interval, None).unwrap_or(refresh_interval),
        }))
    }

    /// The own value of a field, or the common one, and where it stands.
    fn placed<'a, T>(
        &self,
        field: &str,
        own: Option<&'a T>,
        common: Option<&'a T>,
    ) -> Option<(String, &'a T)> {
        let own = own.map(|own| (self.place(field), own));
        own.or_else(|| common.map(|common| (field.to_owned(), common)))
    }

    /// Where a field stands that is written: in the service, or beside the services.
    fn written(&self, in_service: bool, field: &str) -> String {
        if in_service {
            self.place(field)
        } else {
            field.to_owned()
        }
    }

    fn place(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }

    fn error(&self, field: &str, reason: impl Into<String>) -> ConfigError {
        ConfigError::new(self.place(field), reason)
    }
}

/// Each entry of a list that has to have some, and not too many: a request is compared with all.
fn listed<F, T>(
    place: &str,
    entries: &[F],
    check: impl Fn(&F) -> Result<T, String>,
) -> Result<Vec<T>, ConfigError> {
    if entries.is_empty() {
        return Err(ConfigError::new(place, "is empty: list at least one"));
    }
    if entries.len() > MOST_LISTED {
        let reason = format!(
            "has {} entries: at most {MOST_LISTED} are allowed",
            entries.len()
        );
        return Err(ConfigError::new(place, reason));
    }
    let entries = entries.iter().enumerate();
    let checked = entries.map(|(index, entry)| {
        check(entry).map_err(|reason| ConfigError::new(format!("{place}[{index}]"), reason))
    });
    checked.collect()
}

fn path_prefix(fields: &OpenerFields) -> Result<String, String> {
    let HttpPath(prefix) = &fields.path_prefix;
    if prefix.contains('?') {
        return Err(format!("{prefix:?} has a query: a path ends before it"));
    }
    if prefix.len() > LONGEST_PREFIX {
        return Err(format!("is longer than {LONGEST_PREFIX} characters"));
    }
    Ok(prefix.clone())
}

fn mark(fields: &MarkFields) -> Result<Mark, String> {
    match (&fields.query, &fields.cookie, &fields.header) {
        (Some(ParameterName(name)), None, None) => Ok(Mark::Query(name.clone())),
        (None, Some(CookieName(name)), None) => Ok(Mark::Cookie(name.clone())),
        (None, None, Some(HeaderName(name))) => Ok(Mark::Header(name.clone())),
        _ => Err("has to have one of query, cookie and header".to_owned()),
    }
}

fn span(own: Option<Span>, common: Option<Span>) -> Option<Duration> {
    own.or(common).map(|Span(span)| span)
}

fn bounded<B>(written: Option<Bounded<B>>, default: f64) -> f64 {
    written.map_or(default, Bounded::get)
}
