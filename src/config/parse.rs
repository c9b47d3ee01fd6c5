//! From the bytes of the plugin configuration to a [`Config`].

use super::check;
use super::document;
use super::error::ConfigError;
use super::fields::{self, Fields};
use super::reader;
use super::settings::Config;

impl Config {
    /// Parses the plugin configuration: JSON, or an encoded `google.protobuf.Struct`.
    ///
    /// # Errors
    /// On unknown fields, wrong types, empty lists, spans of zero, contradictions between fields,
    /// duplicates, and addresses, paths and header names that can't be.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.trim_ascii().is_empty() {
            return check::config(&Fields::default());
        }
        let document = document::read(bytes).map_err(|error| {
            ConfigError::here(format!(
                "is not JSON ({error}): YAML goes into a google.protobuf.Struct, JSON also into a \
                 StringValue"
            ))
        })?;
        let written: Fields = reader::read(&document, &fields::places())?;
        check::config(&written)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::{
        BurstPolls, Discovery, MetricCluster, OnNoPods, PassiveHealth, PodSource, PollHeaders,
        Rebalance, RouteBy, Rules, ServiceConfig, Settings, SlowStart, StatusConfig,
    };
    use crate::metric::Metric;
    use crate::pod::PodAddress;
    use crate::session::{Mark, Sessions};

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
                services: vec![ServiceConfig {
                    cluster: "chat".to_owned(),
                    pods: PodSource::Endpoints(vec![
                        "10.0.0.1:80".parse().unwrap(),
                        "[::1]:80".parse().unwrap(),
                    ]),
                    metric_path: "/metric".to_owned(),
                    metric_host: None,
                    metric_headers: PollHeaders::default(),
                    metric: Metric::Report,
                    orca: None,
                    metric_cluster: None,
                    metric_timeout: Duration::from_secs(2),
                    rules: Rules {
                        cache_ttl: Duration::from_secs(30),
                        refresh_interval: Duration::from_secs(5),
                        unhealthy_threshold: 3,
                        counts_connections: true,
                        passive_health: Some(PassiveHealth {
                            consecutive_failures: 5,
                            base_ejection_time: Duration::from_secs(10),
                            max_ejection_percent: 50.0,
                        }),
                        counts_sessions: false,
                        slow_start: None,
                    },
                    burst_polls: Some(BurstPolls {
                        interval: Duration::from_millis(250),
                        per_second: 200.0,
                        bytes_per_second: 2e6,
                    }),
                    rebalance: None,
                    origins: None,
                    sessions: None,
                }],
                settings: Settings {
                    override_header: "x-gateway-destination-endpoint".to_owned(),
                    attempts: 3,
                    route_by: RouteBy::Endpoint,
                    on_no_pods: OnNoPods::Fallback,
                    status: None,
                    local_ports: 28_232,
                    debug_headers: false,
                },
                log_level: None,
            }
        );
    }

    #[test]
    fn derived_defaults_follow_the_cache_ttl() {
        let service = with(r#""cacheTTL": "3s""#).unwrap().services.remove(0);
        assert_eq!(service.rules.refresh_interval, Duration::from_millis(500));
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
            (a.rules.cache_ttl, b.rules.cache_ttl),
            (Duration::from_secs(60), Duration::from_secs(10))
        );
        assert_eq!(b.rules.refresh_interval, Duration::from_millis(1500));
        assert_eq!(b.metric_timeout, Duration::from_millis(500));
        assert_eq!(
            (a.rules.unhealthy_threshold, b.rules.unhealthy_threshold),
            (5, 1)
        );
        assert_eq!(config.settings.override_header, "x-pod");
        assert_eq!(
            (config.settings.attempts, config.settings.on_no_pods),
            (1, OnNoPods::Reject)
        );
    }

    #[test]
    fn a_filter_may_only_show_the_status() {
        let config = parse(r#"{"status": {"path": "/status"}}"#).unwrap();
        assert_eq!(config.services, []);
        let shown = |hosts: &[&str]| {
            Some(StatusConfig {
                path: "/status".to_owned(),
                hosts: hosts.iter().copied().map(str::to_owned).collect(),
            })
        };
        assert_eq!(config.settings.status, shown(&[]));
        let named = r#"{"status": {"path": "/status", "hosts": ["Status.example.com"]}}"#;
        let named = parse(named).unwrap().settings.status;
        assert_eq!(named, shown(&["status.example.com"]));
        let error = parse(r#"{"status": {"path": "/", "hosts": ["a:1"]}}"#).unwrap_err();
        assert_eq!(
            error,
            "status.hosts[0]: \"a:1\" is not the name of a host: leave out the port"
        );
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
            assert_eq!(config.services[0].rules.cache_ttl, expect, "{text}");
        }
    }

    #[test]
    fn every_error_names_its_field() {
        for (json, error) in [
            ("", "services: is missing; it is a list of objects"),
            ("{}", "services: is missing; it is a list of objects"),
            (
                "[",
                "configuration: is not JSON (EOF while parsing a list at line 1 column 1): YAML",
            ),
            (
                "[5]",
                "configuration: a list is not an object with services, overrideHeader,",
            ),
            (
                r#"{"services": []}"#,
                "services: is empty: list at least one",
            ),
            (
                r#"{"services": 5}"#,
                "services: 5 is not a list: put it in [ ]",
            ),
            (
                r#"{"services": ["chat"]}"#,
                "services[0]: \"chat\" is not an object with cluster, endpoints,",
            ),
            (
                r#"{"services": [{}]}"#,
                "services[0].cluster: is missing; it is the name of an Envoy cluster",
            ),
            (
                r#"{"services": [{"cluster": true}]}"#,
                "services[0].cluster: true is not the name of an Envoy cluster: put it in quotes if it looks",
            ),
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
                "services[0].cluster: \"\" is not the name of an Envoy cluster",
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
                "services[0].metricPth: is not an option: did you mean metricPath?",
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
            (
                r#""metric": {"xml": "/"}"#,
                "metric.xml: is not an option: there are json, prometheus, absent, orca, cluster and port",
            ),
            (r#""metric": "json""#, "metric: "),
            (
                r#""metric": {"json": 5}"#,
                "metric.json: 5 is not a JSON pointer, such as \"/stats/open\"",
            ),
            (
                r#""metric": {}"#,
                "metric: is empty: write json, prometheus, orca or cluster",
            ),
            (
                r#""metric": {"orca": "cpu_utilization"}"#,
                "metric.orca: \"cpu_utilization\" is not a named metric: write named_metrics. and",
            ),
            (
                r#""metric": {"orca": "named_metrics.a", "absent": 0}"#,
                "metric.absent: is for json and prometheus only",
            ),
            (
                r#""metric": {"json": "/a", "prometheus": "a"}"#,
                "metric: has json and prometheus: write one",
            ),
            (
                r#""metric": {"cluster": "a", "absent": 0}"#,
                "metric.absent: is for json and prometheus only",
            ),
            (
                r#""metric": {"json": "/a", "absent": -1}"#,
                "metric.absent: -1 is not a whole number from 0",
            ),
            (
                r#""metric": {"json": "/a", "port": 9601}"#,
                "metric.port: a port alone can't be steered: name the cluster that has the same",
            ),
            (
                r#""metric": {"cluster": "a", "port": 0}"#,
                "metric.port: 0 is not a whole number from 1 to 65535",
            ),
            (
                r#""metric": {"cluster": "a", "port": 65536}"#,
                "metric.port: 65536 is not a whole number from 1 to 65535",
            ),
            (
                r#""metric": {"cluster": ""}"#,
                "metric.cluster: \"\" is not the name of an Envoy cluster",
            ),
            (
                r#""metricHeaders": {"accept": "*/*"}"#,
                "metricHeaders.accept: can't be set",
            ),
            (
                r#""metricHeaders": "secret""#,
                "metricHeaders: has to be an object of names and values",
            ),
            (
                r#""overrideHeader": "X-Pod", "metricHeaders": {"x-pod": "secret"}"#,
                "metricHeaders.x-pod: can't be set: it is the overrideHeader",
            ),
            (
                r#""slowStart": {}"#,
                "slowStart.window: is missing; it is a duration from 10 ms to a year",
            ),
            (
                r#""slowStart": {"window": 0}"#,
                "slowStart.window: 0 s is not between",
            ),
            (
                r#""slowStart": {"window": 1, "aggression": 0}"#,
                "slowStart.aggression: 0 is not a number greater than 0",
            ),
            (
                r#""slowStart": {"window": 1, "minWeightPercent": 101}"#,
                "slowStart.minWeightPercent: 101 is not a number of percent from 0 to 100",
            ),
            (
                r#""rebalance": {"threshold": 1}"#,
                "rebalance.threshold: 1 is not a number greater than 1, the even share",
            ),
            (
                r#""rebalance": {"maxPerSecond": 0}"#,
                "rebalance.maxPerSecond: 0 is not a number of WebSockets a second, greater than 0",
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
                r#""logLevel": true"#,
                "logLevel: true is not off, error, warn, info, debug or trace",
            ),
            (
                r#""debugHeaders": "maybe""#,
                "debugHeaders: \"maybe\" is not true or false",
            ),
        ]);
    }

    #[test]
    fn every_common_field_is_checked() {
        assert_refused(&[
            (
                r#""cachettl": 5"#,
                "cachettl: is not an option: did you mean cacheTTL?",
            ),
            (r#""cacheTTL": 0"#, "cacheTTL: 0 s is not between"),
            (r#""cacheTTL": -5"#, "cacheTTL: -5 s is not between"),
            (r#""cacheTTL": "0s""#, "cacheTTL: 0 s is not between"),
            (r#""cacheTTL": 1e99"#, "cacheTTL: 1e+99 s is not between"),
            (
                r#""cacheTTL": "5 parsecs""#,
                r#"cacheTTL: "5 parsecs" is not a duration from 10 ms to a year: write 500ms, 30s"#,
            ),
            (
                r#""cacheTTL": "NaNs""#,
                "cacheTTL: \"NaNs\" is not a duration",
            ),
            (r#""cacheTTL": true"#, "cacheTTL: true is not a duration"),
            (
                r#""refreshInterval": "30s""#,
                "refreshInterval: 30s is not shorter than the cacheTTL, which is 30s in services[0]",
            ),
            (
                r#""refreshInterval": "1s", "metricTimeout": "2s""#,
                "metricTimeout: 2s is longer than the refreshInterval, which is 1s in services[0]",
            ),
            (
                r#""unhealthyThreshold": 0"#,
                "unhealthyThreshold: 0 is not a whole number from 1 to 4294967295",
            ),
            (
                r#""attempts": 0"#,
                "attempts: 0 is not a whole number from 1 to 16",
            ),
            (
                r#""attempts": 17"#,
                "attempts: 17 is not a whole number from 1 to 16",
            ),
            (
                r#""attempts": 1.5"#,
                "attempts: 1.5 is not a whole number from 1 to 16",
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
                r#""metricHost": "outbound|8080||chat""#,
                "metricHost: \"outbound|8080||chat\" is not a host: write name, name:port,",
            ),
            (
                r#""metricHost": "a:b""#,
                "metricHost: \"a:b\" is not a host",
            ),
            (
                r#""metricHost": "[::1""#,
                "metricHost: \"[::1\" is not a host",
            ),
            (
                r#""metricHost": ":80""#,
                "metricHost: \":80\" is not a host",
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
                "onNoPods: \"panic\" is not one of fallback and reject",
            ),
            (
                r#""onNoPods": "Fallback""#,
                "onNoPods: \"Fallback\" is not one of fallback and reject: did you mean fallback?",
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
        assert_eq!(config.settings.route_by, RouteBy::Cluster);
        assert_eq!(config.services[0].endpoints(), [PodAddress::CLUSTER]);
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
            "services[0].discovery.adminCluster: \"\" is not the name of an Envoy cluster"
        );
        assert_eq!(
            own(r#""discovery": {"adminCluster": "a", "interval": 0}"#),
            "services[0].discovery.interval: 0 s is not between 10 ms and a year"
        );
        assert!(
            own(r#""discovery": {"cluster": "a"}"#)
                .starts_with("services[0].discovery.cluster: is not an option here: ")
        );
    }

    #[test]
    fn pods_that_start_slowly_and_pods_that_hold_too_many() {
        let config = with(r#""slowStart": {"window": "30s"}, "rebalance": {}"#).unwrap();
        assert_eq!(
            config.services[0].rules.slow_start,
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
    fn passive_health_is_on_unless_it_is_off() {
        let health = |json: &str| with(json).map(|config| config.services[0].rules.passive_health);
        let defaults = health(r#""attempts": 3"#).unwrap();
        assert!(defaults.is_some());
        for json in ["{}", "null"] {
            let json = format!(r#""passiveHealth": {json}"#);
            assert_eq!(health(&json).unwrap(), defaults, "{json}");
        }
        // In YAML without quotes `off` is `false`.
        for off in ["false", r#""off""#, r#""Off""#] {
            let json = format!(r#""passiveHealth": {off}"#);
            assert_eq!(health(&json).unwrap(), None, "{json}");
        }
        let json = r#""passiveHealth": {"consecutiveFailures": 3, "baseEjectionTime": "1m",
            "maxEjectionPercent": 10}"#;
        let written = PassiveHealth {
            consecutive_failures: 3,
            base_ejection_time: Duration::from_secs(60),
            max_ejection_percent: 10.0,
        };
        assert_eq!(health(json).unwrap(), Some(written));
        let services = parse(
            r#"{"passiveHealth": "off", "services": [
                {"cluster": "a", "endpoints": ["1.1.1.1:1"]},
                {"cluster": "b", "endpoints": ["1.1.1.1:1"], "passiveHealth": {}}]}"#,
        );
        let services = services.unwrap().services;
        let health = |n: usize| services[n].rules.passive_health;
        assert_eq!((health(0), health(1)), (None, defaults));
        for (value, reason) in [
            (
                "true",
                "true is not an object with consecutiveFailures, baseEjectionTime and \
                 maxEjectionPercent",
            ),
            (
                r#"{"base": 1}"#,
                "base: is not an option: there are consecutiveFailures, baseEjectionTime and \
                 maxEjectionPercent",
            ),
        ] {
            let error = with(&format!(r#""passiveHealth": {value}"#)).unwrap_err();
            assert!(error.ends_with(reason), "{error}");
        }
    }

    #[test]
    fn each_service_has_its_origins() {
        let services = r#""services": [
            {"cluster": "a", "endpoints": ["1.1.1.1:1"]},
            {"cluster": "b", "endpoints": ["1.1.1.1:1"], "requireOrigin": true,
             "allowedOrigins": ["https://*.b.example", "null"]}]"#;
        let config = parse(&format!(
            r#"{{"allowedOrigins": ["https://a.example"], {services}}}"#
        ));
        let origins = config.unwrap().services.into_iter().map(|service| {
            let origins = service.origins.unwrap();
            (origins.patterns.len(), origins.is_required)
        });
        assert_eq!(origins.collect::<Vec<_>>(), [(1, false), (2, true)]);
        let without = parse(&format!("{{{services}}}")).unwrap();
        assert_eq!(without.services[0].origins, None);
    }

    #[test]
    fn origins_that_can_not_be() {
        for (fields, error) in [
            (r#""allowedOrigins": []"#, "allowedOrigins: is empty"),
            (
                r#""allowedOrigins": ["https://a.example/"]"#,
                "allowedOrigins[0]: \"https://a.example/\" is not an origin",
            ),
            (
                r#""allowedOrigins": [null]"#,
                "allowedOrigins[0]: null is not an origin: write \"https://app.example.com\",",
            ),
            (
                r#""requireOrigin": true"#,
                "requireOrigin: is of no use without allowedOrigins",
            ),
        ] {
            let refusal = with(fields).unwrap_err();
            assert!(refusal.starts_with(error), "{refusal}");
        }
        let of_a_pod = r#"{"routeBy": "cluster",
            "services": [{"cluster": "a", "allowedOrigins": ["https://a.example"]}]}"#;
        assert_eq!(
            parse(of_a_pod).unwrap_err(),
            "services[0].allowedOrigins: with routeBy cluster, it stands beside services, for all \
             of them"
        );
    }

    #[test]
    fn each_service_has_its_sessions() {
        let config = parse(
            r#"{"sessions": {"openedBy": [{"pathPrefix": "/socket.io/"}], "carriedBy": [{"query": "sid"}]},
                "services": [
                    {"cluster": "a", "endpoints": ["1.1.1.1:1"]},
                    {"cluster": "b", "endpoints": ["1.1.1.1:1"], "sessions": {
                        "openedBy": [{"pathPrefix": "/hub"}, {"pathPrefix": "/news/"}],
                        "carriedBy": [{"query": "id"}, {"cookie": "SID"}, {"header": "X-Session"}],
                        "keptBy": {"cookie": "pod"}, "counted": false}}]}"#,
        );
        let [a, b] = &config.unwrap().services[..] else {
            panic!("two services");
        };
        let expect = Sessions {
            opened_by: vec!["/socket.io/".to_owned()],
            carried_by: vec![Mark::Query("sid".to_owned())],
            kept_by: None,
            are_counted: true,
        };
        assert_eq!(a.sessions.as_ref(), Some(&expect));
        assert!(a.rules.counts_sessions);
        let expect = Sessions {
            opened_by: vec!["/hub".to_owned(), "/news/".to_owned()],
            carried_by: vec![
                Mark::Query("id".to_owned()),
                Mark::Cookie("SID".to_owned()),
                Mark::Header("x-session".to_owned()),
            ],
            kept_by: Some("pod".to_owned()),
            are_counted: false,
        };
        assert_eq!(b.sessions.as_ref(), Some(&expect));
        assert!(!b.rules.counts_sessions);
    }

    #[test]
    fn sessions_that_can_not_be() {
        let opened_by = r#""openedBy": [{"pathPrefix": "/socket.io/"}]"#;
        let long = "a".repeat(256);
        let many = [r#"{"query": "a"}"#; 17].join(",");
        for (fields, error) in [
            (
                opened_by.to_owned(),
                "sessions.carriedBy: is missing; it is a list: put it in [ ]",
            ),
            (
                r#""openedBy": [], "carriedBy": [{"query": "a"}]"#.to_owned(),
                "sessions.openedBy: is empty: list at least one",
            ),
            (
                format!(r#"{opened_by}, "carriedBy": [{many}]"#),
                "sessions.carriedBy: has 17 entries: at most 16 are allowed",
            ),
            (
                r#""openedBy": [{"pathPrefix": "/a?b"}], "carriedBy": [{"query": "a"}]"#.to_owned(),
                "sessions.openedBy[0]: \"/a?b\" has a query: a path ends before it",
            ),
            (
                format!(
                    r#""openedBy": [{{"pathPrefix": "/{long}"}}], "carriedBy": [{{"query": "a"}}]"#
                ),
                "sessions.openedBy[0]: is longer than 256 characters",
            ),
            (
                format!(r#"{opened_by}, "carriedBy": [{{"query": "a", "cookie": "b"}}]"#),
                "sessions.carriedBy[0]: has to have one of query, cookie and header",
            ),
            (
                format!(r#"{opened_by}, "carriedBy": [{{"query": "a"}}, {{}}]"#),
                "sessions.carriedBy[1]: has to have one of query, cookie and header",
            ),
            (
                format!(r#"{opened_by}, "carriedBy": [{{"quary": "a"}}]"#),
                "sessions.carriedBy[0].quary: is not an option: did you mean query?",
            ),
            (
                format!(r#"{opened_by}, "carriedBy": [{{"query": "{long}"}}]"#),
                "sessions.carriedBy[0].query: \"aaa",
            ),
        ] {
            let refusal = with(&format!(r#""sessions": {{{fields}}}"#)).unwrap_err();
            assert!(refusal.starts_with(error), "{refusal}");
        }
        let of_a_pod = r#"{"routeBy": "cluster", "services": [{"cluster": "a", "sessions": {
            "openedBy": [{"pathPrefix": "/"}], "carriedBy": [{"query": "a"}]}}]}"#;
        assert_eq!(
            parse(of_a_pod).unwrap_err(),
            "services[0].sessions: with routeBy cluster, nothing keeps a session on its cluster"
        );
    }

    #[test]
    fn polls_may_name_another_host() {
        for host in [
            "chat",
            "chat.example.com:8080",
            "10.0.0.1:80",
            "[fd00::1]:80",
            "[::1]",
        ] {
            let config = with(&format!(r#""metricHost": "{host}""#)).unwrap();
            assert_eq!(config.services[0].metric_host.as_deref(), Some(host));
        }
    }

    #[test]
    fn counts_in_other_forms() {
        let metric = |json| with(json).unwrap().services[0].metric.clone();
        assert_eq!(
            metric(r#""metric": {"json": "/stats/open"}"#),
            Metric::Json {
                at: "/stats/open".parse().unwrap(),
                absent: None,
            }
        );
        let selector = r#"websocket_connections{state="open"}"#;
        assert_eq!(
            metric(&format!(
                r#""metric": {{"prometheus": {selector:?}, "absent": 0}}"#
            )),
            Metric::Prometheus {
                series: selector.parse().unwrap(),
                absent: Some(0),
            }
        );
    }

    #[test]
    fn counts_of_another_port_come_through_another_cluster() {
        let config = with(r#""metric": {"cluster": "chat-metrics", "port": 9601}"#).unwrap();
        let service = &config.services[0];
        assert_eq!(service.metric, Metric::Report);
        assert_eq!(
            service.metric_cluster,
            Some(MetricCluster {
                name: "chat-metrics".to_owned(),
                port: Some(9601),
            })
        );
        let by_cluster = |service: &str, common: &str| {
            parse(&format!(
                r#"{{"routeBy": "cluster", "services": [{{"cluster": "a"{service}}}]{common}}}"#
            ))
        };
        assert!(by_cluster(r#", "metric": {"cluster": "b"}"#, "").is_ok());
        for (service, common, error) in [
            (
                r#", "metric": {"cluster": "b", "port": 1}"#,
                "",
                "services[0].metric.port: with routeBy cluster",
            ),
            (
                "",
                r#", "metric": {"cluster": "b"}"#,
                "metric.cluster: with routeBy cluster, each service needs one of its own",
            ),
        ] {
            let refusal = by_cluster(service, common).unwrap_err();
            assert!(refusal.starts_with(error), "{refusal}");
        }
    }

    #[test]
    fn polls_may_have_headers_that_no_configuration_shows() {
        let config = parse(
            r#"{"metricHeaders": {"x-common": "s3cr3t"}, "services": [
                {"cluster": "a", "endpoints": ["10.0.0.1:80"]},
                {"cluster": "b", "endpoints": ["10.0.0.1:80"],
                 "metricHeaders": {"X-Forwarded-Proto": "s3cr3t"}}]}"#,
        )
        .unwrap();
        let headers = |service: usize| config.services[service].metric_headers.iter().next();
        assert_eq!(headers(0), Some(("x-common", "s3cr3t")));
        assert_eq!(headers(1), Some(("x-forwarded-proto", "s3cr3t")));
        let shown = format!("{config:?} {} {}", config.services[0], config.services[1]);
        assert!(!shown.contains("s3cr3t"), "{shown}");
        let refused = parse(
            r#"{"services": [{"cluster": "a", "endpoints": ["10.0.0.1:80"],
                "metricHeaders": {"x-a": "s3cr3t\n"}}]}"#,
        )
        .unwrap_err();
        assert!(
            refused.starts_with("services[0].metricHeaders.x-a: has a character"),
            "{refused}"
        );
    }

    #[test]
    fn the_fingerprint_tells_what_is_collected_apart() {
        let one = with(r#""attempts": 1"#).unwrap();
        let two = with(r#""attempts": 2"#).unwrap();
        let fingerprint = |config: Config| config.services[0].fingerprint();
        let one = fingerprint(one);
        assert_eq!(one, fingerprint(two));
        for same in [
            r#""slowStart": {"window": 9}"#,
            r#""rebalance": {}"#,
            r#""allowedOrigins": ["null"]"#,
            r#""sessions": {"openedBy": [{"pathPrefix": "/"}], "carriedBy": [{"query": "a"}]}"#,
        ] {
            assert_eq!(one, fingerprint(with(same).unwrap()), "{same}");
        }
        for other in [
            r#""metricPath": "/count""#,
            r#""metricHost": "chat""#,
            r#""metric": {"json": "/count"}"#,
            r#""metric": {"json": "/count", "absent": 0}"#,
            r#""metric": {"cluster": "metrics"}"#,
            r#""metric": {"cluster": "metrics", "port": 9601}"#,
            r#""metricHeaders": {"x-a": "b"}"#,
            r#""metricHeaders": {"x-a": "c"}"#,
            r#""refreshInterval": 1"#,
            r#""burstInterval": 1"#,
        ] {
            assert_ne!(one, fingerprint(with(other).unwrap()), "{other}");
        }
    }

    const OPTIONS: &str = include_str!("../../docs/configuration.md");

    /// The rows of the option table but the first, `services`: name, default, whether it can
    /// stand in a service.
    fn documented_options() -> Vec<(&'static str, &'static str, bool)> {
        let cell = |text: &'static str| text.trim().trim_matches('`');
        OPTIONS
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
        let error = parse("[]").unwrap_err();
        let fields = fields_in(&error).unwrap().into_iter().collect();
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
                let refusal =
                    format!("services[0].{name}: is not an option here: it stands beside services");
                assert_eq!(service.unwrap_err(), refusal, "{field}");
            }
        }
    }

    /// The fields that an error lists of an object.
    fn fields_in(error: &str) -> Option<Vec<&str>> {
        let (_, listed) = error.split_once(" is not an object with ")?;
        Some(
            listed
                .split(", ")
                .flat_map(|names| names.split(" and "))
                .collect(),
        )
    }

    /// The smallest configuration with `value` at a path such as `services[0].rebalance.threshold`.
    fn with_at(path: &str, value: Value) -> Value {
        let mut document = json!({ "services": [{ "cluster": "chat" }] });
        // A service has one or the other.
        if !path.starts_with("services[0].discovery") {
            document["services"][0]["endpoints"] = json!(["10.0.0.1:80"]);
        }
        let mut place = &mut document;
        for step in path.split('.') {
            let (name, is_list) = match step.strip_suffix("[0]") {
                Some(name) => (name, true),
                None => (step, false),
            };
            place = &mut place[name];
            // What must be there beside it.
            if place.is_null() {
                *place = match name {
                    "discovery" => json!({ "adminCluster": "admin" }),
                    "slowStart" => json!({ "window": 1 }),
                    "status" => json!({ "path": "/status" }),
                    "sessions" => json!({
                        "openedBy": [{ "pathPrefix": "/socket.io/" }],
                        "carriedBy": [{ "query": "sid" }],
                    }),
                    _ if is_list => json!([null]),
                    _ => Value::Null,
                };
            }
            if is_list {
                place = &mut place[0];
            }
        }
        *place = value;
        document
    }

    fn error_at(path: &str, value: Value) -> Option<String> {
        parse(&with_at(path, value).to_string()).err()
    }

    /// The paths of all options there are, those of a service and of other objects included: what
    /// the documentation lists, and what errors list below that.
    fn every_option() -> Vec<String> {
        let top = documented_options().into_iter().map(|(name, ..)| name);
        let mut left: Vec<String> = top.chain(["services"]).map(str::to_owned).collect();
        let mut all = Vec::new();
        while let Some(path) = left.pop() {
            let error = error_at(&path, json!(5)).unwrap_or_default();
            let fields = fields_in(&error).unwrap_or_default().into_iter();
            left.extend(fields.map(|field| format!("{path}.{field}")));
            if error.contains(" is not a list") {
                left.push(format!("{path}[0]"));
            }
            all.push(path);
        }
        assert!(all.len() > 55, "{all:?}");
        all
    }

    /// A value of the right kind that can't be; none where there is none.
    fn out_of_range(option: &str) -> Option<Value> {
        Some(match option {
            "services" | "allowedOrigins" | "endpoints" | "openedBy" | "carriedBy" => json!([]),
            "pathPrefix" => json!("socket.io/"),
            "query" => json!("sid="),
            "cookie" => json!("a b"),
            "header" => json!("connection"),
            "endpoints[0]" => json!("10.0.0.1:65536"),
            "allowedOrigins[0]" => json!("https://app.example.com/"),
            "hosts[0]" => json!("status:80"),
            "attempts" => json!(17),
            "localPorts" => json!(0),
            "unhealthyThreshold" => json!(4_294_967_296_u64),
            "threshold" => json!(1),
            "minWeightPercent" | "maxEjectionPercent" => json!(100.5),
            "consecutiveFailures" | "aggression" | "maxPerSecond" | "window" | "interval" => {
                json!(0)
            }
            "baseEjectionTime" | "minAge" | "cacheTTL" | "refreshInterval" | "burstInterval"
            | "metricTimeout" => {
                json!("9000h")
            }
            "cluster" | "adminCluster" => json!(""),
            "metricPath" | "path" => json!("metric"),
            "metricHost" => json!("chat:65536"),
            "overrideHeader" => json!("host"),
            "routeBy" | "onNoPods" | "logLevel" => json!("other"),
            "json" | "orca" => json!("open"),
            "prometheus" => json!("open{"),
            "absent" => json!(-1),
            "port" => json!(65_536),
            // Truths, and what is not one value.
            "requireOrigin" | "debugHeaders" | "countsConnections" | "hosts" | "services[0]"
            | "sessions" | "openedBy[0]" | "carriedBy[0]" | "keptBy" | "counted" | "discovery"
            | "passiveHealth" | "slowStart" | "rebalance" | "status" | "metric"
            | "metricHeaders" => {
                return None;
            }
            _ => panic!("which value can {option} not have?"),
        })
    }

    /// What Rust and serde call things.
    const FOREIGN: &[&str] = &[
        "Deserialize",
        "Option",
        "String",
        "Vec",
        "bool",
        "boolean",
        "bytes",
        "char",
        "element",
        "enum",
        "expected",
        "f32",
        "f64",
        "field",
        "fields",
        "float",
        "floating",
        "i16",
        "i32",
        "i64",
        "i8",
        "int",
        "integer",
        "invalid",
        "key",
        "map",
        "newtype",
        "sequence",
        "seq",
        "str",
        "string",
        "struct",
        "tuple",
        "type",
        "u16",
        "u32",
        "u64",
        "u8",
        "unit",
        "usize",
        "variant",
        "variants",
        "Fields",
    ];

    fn shown(value: &Value) -> String {
        match value {
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
            number_or_text => number_or_text.to_string(),
        }
    }

    fn assert_speaks_of(path: &str, error: &str) {
        let rest = error.strip_prefix(path).unwrap_or_default();
        let is_there = rest.starts_with([':', '.', '[']);
        assert!(is_there, "{error:?} does not begin with {path}");
        let mut words = error.split(|c: char| !c.is_alphanumeric());
        let foreign = words.find(|word| FOREIGN.contains(word) || word.ends_with("Fields"));
        assert_eq!(foreign, None, "{error}");
    }

    #[test]
    fn every_option_says_what_it_may_be() {
        let values = [
            json!(true),
            json!(5),
            json!(-1),
            json!(1.5),
            json!(1e99),
            json!(""),
            json!("maybe?"),
            json!([]),
            json!([null]),
            json!([[]]),
            json!([{}]),
            json!({}),
            json!({ "x": 1 }),
        ];
        for path in every_option() {
            let mut refused = 0;
            for value in &values {
                if let Some(error) = error_at(&path, value.clone()) {
                    assert_speaks_of(&path, &error);
                    if error.starts_with(&format!("{path}: ")) && error.contains(" is not ") {
                        assert!(
                            error.contains(&shown(value)),
                            "{error} does not show {value}"
                        );
                    }
                    refused += 1;
                }
            }
            assert!(refused >= 5, "{path}");

            let option = path.rsplit('.').next().unwrap();
            if let Some(value) = out_of_range(option) {
                let seconds = value == json!("9000h");
                let shown = if seconds {
                    "32400000 s".to_owned()
                } else {
                    shown(&value)
                };
                let error = error_at(&path, value).unwrap_or_else(|| panic!("{path}: {shown}"));
                assert_speaks_of(&path, &error);
                assert!(
                    error.contains(&shown) || error.contains(" is empty"),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn every_option_is_found_by_a_name_that_is_like_it() {
        for path in every_option() {
            let (before, name) = match path.rsplit_once('.') {
                Some((before, name)) => (format!("{before}."), name),
                None => (String::new(), path.as_str()),
            };
            if name.ends_with("[0]") {
                continue;
            }
            let snake = name.replace(|c: char| c.is_ascii_uppercase(), "_");
            let snake = (snake != name).then(|| name.to_ascii_lowercase());
            let mut letters: Vec<char> = name.chars().collect();
            letters.swap(1, 2);
            let swapped = letters.into_iter().collect();
            for written in [format!("{name}x"), swapped].into_iter().chain(snake) {
                if written == name {
                    continue;
                }
                let path = format!("{before}{written}");
                let error = error_at(&path, json!(1)).unwrap();
                let expect = format!("{path}: is not an option: did you mean {name}?");
                assert_eq!(error, expect);
            }
        }
    }

    #[test]
    fn an_option_in_the_wrong_place_is_told_the_right_one() {
        for (path, place) in [
            ("services[0].logLevel", "beside services"),
            ("rebalance.cacheTTL", "beside services"),
            ("endpoints", "in a service"),
            ("adminCluster", "in discovery"),
            ("services[0].window", "in slowStart"),
            ("rebalance.aggression", "in slowStart"),
            ("threshold", "in rebalance"),
            ("hosts", "in status"),
        ] {
            let expect = format!("{path}: is not an option here: it stands {place}");
            assert_eq!(error_at(path, json!(1)), Some(expect));
        }
    }

    #[test]
    fn the_documented_errors_are_the_errors() {
        let lines = OPTIONS.lines();
        let documented = lines.filter_map(|line| line.strip_prefix("configuration refused: "));
        let errors = [
            error_at("rebalance.threshold", json!("0.5")).unwrap(),
            error_at("services[0].refreshIntervall", json!("5s")).unwrap(),
        ];
        assert_eq!(documented.collect::<Vec<_>>(), errors);
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_fraction() {
        let absent =
            |count: &str| with(&format!(r#""metric": {{"json": "/a", "absent": {count}}}"#));
        for same in ["2.0", "2e0", "\"2.0\""] {
            assert_eq!(absent(same), absent("2"), "{same}");
        }
        assert!(absent("2.5").is_err());
    }

    #[test]
    fn numbers_and_truths_may_be_texts() {
        let same = [
            ("attempts", json!(2), vec!["2", "2.0", "+2", "2e0"]),
            ("unhealthyThreshold", json!(10), vec!["10", "1e1"]),
            ("services[0].unhealthyThreshold", json!(1), vec!["1"]),
            ("rebalance.threshold", json!(1.25), vec!["1.25", "125e-2"]),
            ("rebalance.threshold", json!(2), vec!["2", "2.", "2.0"]),
            (
                "rebalance.maxPerSecond",
                json!(0.5),
                vec!["0.5", ".5", "5e-1", "5E-1"],
            ),
            ("rebalance.minAge", json!(2.5), vec!["2.5", "2.5s", "25e-1"]),
            ("slowStart.aggression", json!(1.0), vec!["1.0", "1"]),
            (
                "slowStart.minWeightPercent",
                json!(0),
                vec!["0", "0.0", "-0.0"],
            ),
            (
                "services[0].slowStart.window",
                json!(90),
                vec!["90", "1.5m", "9e1"],
            ),
            ("discovery.interval", json!(1.5), vec!["1.5"]),
            ("cacheTTL", json!(60), vec!["60", "1m", "6e1", "60.0"]),
            (
                "debugHeaders",
                json!(true),
                vec!["true", "True", "TRUE", "yes", "on"],
            ),
            (
                "debugHeaders",
                json!(false),
                vec!["false", "no", "off", "FALSE"],
            ),
            ("logLevel", json!(false), vec!["off", "Off"]),
        ];
        for (path, value, texts) in same {
            let config = parse(&with_at(path, value).to_string()).unwrap();
            for text in texts {
                let written = with_at(path, json!(text)).to_string();
                assert_eq!(parse(&written).as_ref(), Ok(&config), "{path}: {text:?}");
            }
        }
        let off = with(r#""logLevel": false"#).unwrap().log_level;
        assert_eq!(off, Some(log::LevelFilter::Off));
    }

    #[test]
    fn texts_that_are_no_numbers_are_none() {
        for text in [
            "", " ", "1 ", "inf", "-inf", "nan", "1e999", "1_0", "0x2", "1,5", "2%",
        ] {
            for path in ["rebalance.threshold", "attempts", "cacheTTL"] {
                let error = error_at(path, json!(text)).expect(text);
                let expect = format!("{path}: {text:?} is not a ");
                assert!(error.starts_with(&expect), "{error}");
            }
        }
    }
}
