//! The forms in which a pod tells its count, and the paths where it does.
//!
//! Every form tells the same moment of the same pod. Beside the JSON of the metric path there are
//! the two that services export anyway, each at a fixed path: the text that Prometheus scrapes,
//! and a document in which the count stands somewhere below.

use std::fmt;

use axum::http::HeaderValue;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde::Serialize;
use serde_json::json;

use crate::config::FleetConfig;
use crate::metric::Identity;

/// A value of a label with all that the text format escapes, and with what ends a label for a
/// reader that does not know of escapes.
const AWKWARD_ROOM: &str = "a \"b\\c\", {d}\ne=1";

/// How the count is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The JSON object of the metric path.
    Metric,
    /// The text format of Prometheus, version 0.0.4.
    Exposition,
    /// A JSON document with the count below `/server/sockets`.
    Stats,
}

/// What is true of a pod at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Truth<'pod> {
    /// The count that the pod tells.
    pub(crate) reported: u64,
    /// WebSockets accepted since the start.
    pub(crate) opened: u64,
    /// Seconds that WebSockets were open, of those that have ended.
    pub(crate) lifetimes: Histogram,
    pub(crate) identity: &'pod Identity,
    pub(crate) weight: Option<f64>,
    pub(crate) max_connections: Option<u64>,
    pub(crate) draining: Option<bool>,
}

/// The body of the metric path.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metric<'pod> {
    agents_connections: u64,
    #[serde(flatten)]
    identity: &'pod Identity,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_connections: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    draining: Option<bool>,
}

impl Form {
    /// The form that a path is for, where the count in JSON is at `metric_path`.
    pub(crate) fn at(path: &str, metric_path: &str) -> Option<Self> {
        // The path that was asked for comes first: it may be one of the others.
        match path {
            _ if path == metric_path => Some(Self::Metric),
            FleetConfig::EXPOSITION_PATH => Some(Self::Exposition),
            FleetConfig::STATS_PATH => Some(Self::Stats),
            _ => None,
        }
    }

    pub(crate) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Metric | Self::Stats => "application/json",
            Self::Exposition => prometheus_text::CONTENT_TYPE,
        })
    }

    /// The truth as the body of an answer.
    ///
    /// # Errors
    ///
    /// Fails where the form has no way to write it, which nothing in a pod calls for.
    pub(crate) fn write(self, truth: &Truth<'_>) -> anyhow::Result<String> {
        Ok(match self {
            Self::Metric => serde_json::to_string(&Metric {
                agents_connections: truth.reported,
                identity: truth.identity,
                weight: truth.weight,
                max_connections: truth.max_connections,
                draining: truth.draining,
            })?,
            Self::Exposition => exposition(truth)?,
            Self::Stats => stats(truth).to_string(),
        })
    }
}

fn stats(truth: &Truth<'_>) -> serde_json::Value {
    let count = truth.reported;
    json!({
        "name": truth.identity.pod_name,
        "server": {
            // Two names of the same count that a JSON pointer (RFC 6901) has to escape.
            "sockets": { "open": count, "closing": 0, "a/b": count, "m~n": count },
            "workers": [{ "sockets": 0 }, { "sockets": count }],
            "lastError": null,
        },
    })
}

fn exposition(truth: &Truth<'_>) -> Result<String, fmt::Error> {
    // Made anew for each scrape: what is registered is the truth of one moment.
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Connections {
        reported: truth.reported,
        opened: truth.opened,
    }));
    registry.register(
        "websocket_lifetime_seconds",
        "How long WebSockets were open",
        truth.lifetimes.clone(),
    );
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

/// The counts as metrics; the library's own families would come in an order of chance.
#[derive(Debug)]
struct Connections {
    reported: u64,
    opened: u64,
}

impl Collector for Connections {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut by_state = encoder.encode_descriptor(
            "websocket_connections",
            "WebSockets by their state",
            None,
            MetricType::Gauge,
        )?;
        for (state, count) in [("open", self.reported), ("closing", 0)] {
            let labels = [("state", state)];
            ConstGauge::new(count).encode(by_state.encode_family(&labels)?)?;
        }
        let mut by_room = encoder.encode_descriptor(
            "websocket_room_connections",
            "WebSockets by their room; a \\ in the help is escaped too",
            None,
            MetricType::Gauge,
        )?;
        for (room, count) in [("lobby", 0), (AWKWARD_ROOM, self.reported)] {
            let labels = [("room", room), ("kind", "chat")];
            ConstGauge::new(count).encode(by_room.encode_family(&labels)?)?;
        }
        let opened = encoder.encode_descriptor(
            "websocket_opened",
            "WebSockets accepted since the start",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(self.opened).encode(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(form: Form, change: impl FnOnce(&mut Truth<'_>)) -> String {
        let identity = Identity {
            pod_name: "pod-0".to_owned(),
            pod_ip: "10.0.0.1".to_owned(),
            node_name: "node".to_owned(),
        };
        let mut truth = Truth {
            reported: 42,
            opened: 50,
            lifetimes: Histogram::new([1.0, 60.0]),
            identity: &identity,
            weight: None,
            max_connections: None,
            draining: None,
        };
        change(&mut truth);
        form.write(&truth).unwrap()
    }

    #[test]
    fn the_metric_has_only_what_is_set() {
        assert_eq!(
            write(Form::Metric, |_| ()),
            r#"{"agentsConnections":42,"podName":"pod-0","podIP":"10.0.0.1","nodeName":"node"}"#
        );
        let all = write(Form::Metric, |truth| {
            truth.weight = Some(0.5);
            truth.max_connections = Some(100);
            truth.draining = Some(false);
        });
        let told = r#""nodeName":"node","weight":0.5,"maxConnections":100,"draining":false}"#;
        assert!(all.ends_with(told), "{all}");
    }

    #[test]
    fn the_exposition_is_what_a_prometheus_exporter_writes() {
        let text = write(Form::Exposition, |truth| {
            truth.lifetimes.observe(0.5);
            truth.lifetimes.observe(90.25);
        });
        let expected = r#"# HELP websocket_lifetime_seconds How long WebSockets were open.
# TYPE websocket_lifetime_seconds histogram
websocket_lifetime_seconds_bucket{le="1"} 1
websocket_lifetime_seconds_bucket{le="60"} 1
websocket_lifetime_seconds_bucket{le="+Inf"} 2
websocket_lifetime_seconds_sum 90.75
websocket_lifetime_seconds_count 2
# HELP websocket_connections WebSockets by their state
# TYPE websocket_connections gauge
websocket_connections{state="open"} 42
websocket_connections{state="closing"} 0
# HELP websocket_room_connections WebSockets by their room; a \\ in the help is escaped too
# TYPE websocket_room_connections gauge
websocket_room_connections{room="lobby",kind="chat"} 0
websocket_room_connections{room="a \"b\\c\", {d}\ne=1",kind="chat"} 42
# HELP websocket_opened_total WebSockets accepted since the start
# TYPE websocket_opened_total counter
websocket_opened_total 50
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn the_stats_have_the_count_where_pointers_lead() {
        let stats: serde_json::Value = serde_json::from_str(&write(Form::Stats, |_| ())).unwrap();
        for pointer in [
            "/server/sockets/open",
            "/server/sockets/a~1b",
            "/server/sockets/m~0n",
            "/server/workers/1/sockets",
        ] {
            assert_eq!(stats.pointer(pointer), Some(&json!(42)), "{pointer}");
        }
        assert_eq!(stats.pointer("/server/lastError"), Some(&json!(null)));
    }

    #[test]
    fn the_metric_path_may_be_that_of_another_form() {
        assert_eq!(Form::at("/metrics", "/metric"), Some(Form::Exposition));
        assert_eq!(Form::at("/metrics", "/metrics"), Some(Form::Metric));
        assert_eq!(Form::at("/stats", "/metrics"), Some(Form::Stats));
        assert_eq!(Form::at("/statistics", "/metric"), None);
    }
}
