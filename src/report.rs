//! What a pod says of itself: how many WebSockets it has, and how many it should get.
//!
//! The bytes come from a pod and may be anything. Past this module they are a [`PodReport`], or a
//! [`PollFailure`] that says what is wrong with them.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

mod exposition;
mod pointer;

pub use exposition::{Selector, SelectorError};
pub use pointer::{Pointer, PointerError};

/// Longest body that is read, in bytes.
pub const METRIC_BODY_LIMIT: usize = 64 * 1024;

/// Where in a pod's answer the count is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Metric {
    /// In `agentsConnections`, among the other fields of a [`PodReport`].
    #[default]
    Report,
    /// At a place in a JSON document.
    Json(Pointer),
    /// In the series of a Prometheus exporter, added up.
    Prometheus(Selector),
}

/// A pod's answer; fields not named here are ignored.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodReport {
    /// WebSockets that are open on the pod.
    pub agents_connections: u64,
    /// How many WebSockets it should have for each one of a pod of weight 1.
    pub weight: Option<Weight>,
    /// At so many it gets no new ones.
    pub max_connections: Option<u64>,
    /// Whether it is about to leave, and gets no new ones.
    pub draining: Option<bool>,
    /// Name of the pod.
    pub pod_name: Option<String>,
    /// Address of the pod as it sees itself.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    /// Name of the node that the pod runs on.
    pub node_name: Option<String>,
}

/// A pod's part of the WebSockets: a finite number greater than 0.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Weight(f64);

impl Weight {
    /// The number itself.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Weight {
    type Error = &'static str;

    fn try_from(weight: f64) -> Result<Self, Self::Error> {
        if weight.is_normal() && weight > 0.0 {
            Ok(Self(weight))
        } else {
            Err("is not greater than 0")
        }
    }
}

impl PodReport {
    /// Reads the answer to a poll.
    ///
    /// # Errors
    /// Any status but 200, a body over [`METRIC_BODY_LIMIT`] bytes, and a body without a
    /// non-negative integer for a count where `metric` has it, or with a field that can't be.
    pub fn read(metric: &Metric, status: u16, body: &[u8]) -> Result<Self, PollFailure> {
        if status != 200 {
            return Err(PollFailure::Status(status));
        }
        if body.len() > METRIC_BODY_LIMIT {
            return Err(PollFailure::TooLarge);
        }
        match metric {
            Metric::Report => Self::from_object(body),
            Metric::Json(pointer) => {
                let document: Value =
                    serde_json::from_slice(body).map_err(|_| PollFailure::NotJson)?;
                let value = pointer.of(&document).ok_or(PollFailure::NothingThere)?;
                pointer::count(value).map(Self::of)
            }
            Metric::Prometheus(selector) => selector.sum(body).map(Self::of),
        }
    }

    fn from_object(body: &[u8]) -> Result<Self, PollFailure> {
        // Serde would take an array for a struct, field by field.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(PollFailure::NotAnObject);
        }
        let reader = &mut serde_json::Deserializer::from_slice(body);
        let report = serde_path_to_error::deserialize(&mut *reader).map_err(|error| {
            if !error.inner().is_data() {
                return PollFailure::NotAnObject;
            }
            match error.path().to_string().as_str() {
                "weight" => PollFailure::BadWeight,
                "maxConnections" => PollFailure::BadLimit,
                "draining" => PollFailure::BadDraining,
                "podName" | "podIP" | "nodeName" => PollFailure::BadName,
                _ => PollFailure::BadCount,
            }
        })?;
        reader.end().map_err(|_| PollFailure::NotAnObject)?;
        Ok(report)
    }

    /// A report of nothing but a count.
    #[must_use]
    pub fn of(count: u64) -> Self {
        Self {
            agents_connections: count,
            ..Self::default()
        }
    }

    /// The names the pod gave itself, for a log line; control characters are escaped.
    #[must_use]
    pub fn names(&self) -> String {
        [&self.pod_name, &self.pod_ip, &self.node_name]
            .into_iter()
            .flatten()
            .map(|name| name.chars().take(64).flat_map(char::escape_debug))
            .fold(String::new(), |mut names, name| {
                if !names.is_empty() {
                    names.push_str(", ");
                }
                names.extend(name);
                names
            })
    }
}

/// Why a poll brought no count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollFailure {
    /// Envoy would not send the request: it has no such cluster, or the cluster has no hosts.
    NotSent,
    /// The connection failed, or no answer came in time.
    NoAnswer,
    /// A body over [`METRIC_BODY_LIMIT`].
    TooLarge,
    /// A body that is not a JSON object.
    NotAnObject,
    /// `agentsConnections` is missing or no non-negative integer.
    BadCount,
    /// `weight` is no number greater than 0.
    BadWeight,
    /// `maxConnections` is no non-negative integer.
    BadLimit,
    /// `draining` is neither true nor false.
    BadDraining,
    /// A name is no string.
    BadName,
    /// A body that is not JSON.
    NotJson,
    /// Nothing is where the configuration has the count.
    NothingThere,
    /// What is there is no non-negative integer.
    NotACount,
    /// A body that is not in Prometheus' text format.
    NotAnExposition,
    /// An HTTP status other than 200. Where no connection could be made, Envoy answers 503
    /// itself; where the answer took too long, 504.
    Status(u16),
}

impl PollFailure {
    /// Those that are no status, in the order of their numbers from 1.
    const KINDS: [Self; 13] = [
        Self::NotSent,
        Self::NoAnswer,
        Self::TooLarge,
        Self::NotAnObject,
        Self::BadCount,
        Self::BadWeight,
        Self::BadLimit,
        Self::BadDraining,
        Self::BadName,
        Self::NotJson,
        Self::NothingThere,
        Self::NotACount,
        Self::NotAnExposition,
    ];

    /// A number for the shared table. HTTP statuses stand for themselves, zero is left for "none".
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Status(status) => status,
            kind => (1..)
                .zip(Self::KINDS)
                .find(|&(_, known)| known == kind)
                .map_or(0, |(code, _)| code),
        }
    }

    /// The failure behind a [`code`](Self::code); none for zero.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        let index = usize::from(code.checked_sub(1)?);
        let kind = Self::KINDS.get(index).copied();
        Some(kind.unwrap_or(Self::Status(code)))
    }
}

impl fmt::Display for PollFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSent => "Envoy could not send it: is the cluster there?",
            Self::NoAnswer => "no answer",
            Self::Status(503) => "status 503 (Envoy's own where it could not connect)",
            Self::Status(504) => "status 504 (Envoy's own where no answer came in time)",
            Self::Status(status) => return write!(f, "status {status}"),
            Self::TooLarge => return write!(f, "the body is over {METRIC_BODY_LIMIT} bytes"),
            Self::NotAnObject => "the body is not a JSON object",
            Self::BadCount => "agentsConnections is not a non-negative integer",
            Self::BadWeight => "weight is not a number greater than 0",
            Self::BadLimit => "maxConnections is not a non-negative integer",
            Self::BadDraining => "draining is neither true nor false",
            Self::BadName => "podName, podIP or nodeName is not a string",
            Self::NotJson => "the body is not JSON",
            Self::NothingThere => "nothing is where the metric of the configuration points to",
            Self::NotACount => {
                "what the metric of the configuration points to is not a non-negative integer"
            }
            Self::NotAnExposition => "the body is not in Prometheus' text format",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &[u8]) -> Result<PodReport, PollFailure> {
        PodReport::read(&Metric::Report, status, body)
    }

    #[test]
    fn a_report_needs_a_count_and_takes_anything_else() {
        let report = read(
            200,
            br#"{"agentsConnections": 42, "podName": "chat-0", "podIP": null, "load": [1]}"#,
        )
        .unwrap();
        assert_eq!(report.agents_connections, 42);
        assert_eq!(report.names(), "chat-0");
        assert_eq!(report.weight, None);
    }

    #[test]
    fn a_report_may_say_how_much_the_pod_can_take() {
        let report = read(
            200,
            br#"{"agentsConnections": 1, "weight": 2, "maxConnections": 10, "draining": true}"#,
        )
        .unwrap();
        assert_eq!(report.weight.map(Weight::get), Some(2.0));
        assert_eq!(report.max_connections, Some(10));
        assert_eq!(report.draining, Some(true));
        let report = read(
            200,
            br#"{"agentsConnections": 1, "weight": null, "maxConnections": null}"#,
        );
        assert_eq!(report, Ok(PodReport::of(1)));
    }

    #[test]
    fn whatever_is_not_a_count_is_a_failed_poll() {
        use PollFailure::{
            BadCount, BadDraining, BadLimit, BadName, BadWeight, NotAnObject, Status, TooLarge,
        };
        let large = vec![b' '; METRIC_BODY_LIMIT + 1];
        let deep = "[".repeat(50_000);
        let deep_field = format!(r#"{{"agentsConnections": 1, "x": {deep}"#);
        let cases: [(u16, &[u8], PollFailure); 25] = [
            (500, br#"{"agentsConnections": 1}"#, Status(500)),
            (204, b"", Status(204)),
            (200, b"", NotAnObject),
            (200, b"<html>", NotAnObject),
            (200, b"\xff\xfe", NotAnObject),
            (200, deep.as_bytes(), NotAnObject),
            (200, deep_field.as_bytes(), NotAnObject),
            (200, &large, TooLarge),
            (200, b"[42]", NotAnObject),
            (200, b"42", NotAnObject),
            (200, br#"{"agentsConnections": 1} {}"#, NotAnObject),
            (200, b"{}", BadCount),
            (200, br#"{"agentsConnections": -1}"#, BadCount),
            (200, br#"{"agentsConnections": 1e99}"#, BadCount),
            (200, br#"{"agentsConnections": 1.5}"#, BadCount),
            (200, br#"{"agentsConnections": "42"}"#, BadCount),
            (200, br#"{"agentsConnections": 1, "podName": 7}"#, BadName),
            (200, br#"{"agentsConnections": 1, "weight": 0}"#, BadWeight),
            (
                200,
                br#"{"agentsConnections": 1, "weight": -1.5}"#,
                BadWeight,
            ),
            (
                200,
                br#"{"agentsConnections": 1, "weight": 1e-310}"#,
                BadWeight,
            ),
            (
                200,
                br#"{"agentsConnections": 1, "weight": "2"}"#,
                BadWeight,
            ),
            (
                200,
                br#"{"agentsConnections": 1, "maxConnections": -1}"#,
                BadLimit,
            ),
            (
                200,
                br#"{"agentsConnections": 1, "maxConnections": 1.5}"#,
                BadLimit,
            ),
            (
                200,
                br#"{"agentsConnections": 1, "draining": "yes"}"#,
                BadDraining,
            ),
            (
                200,
                br#"{"agentsConnections": 1, "draining": 1}"#,
                BadDraining,
            ),
        ];
        for (status, body, failure) in cases {
            let shown = String::from_utf8_lossy(body);
            assert_eq!(read(status, body), Err(failure), "{shown:.60}");
        }
    }

    #[test]
    fn failures_keep_their_codes() {
        let statuses = [204, 404, 503].map(PollFailure::Status);
        for failure in PollFailure::KINDS.into_iter().chain(statuses) {
            assert_eq!(PollFailure::from_code(failure.code()), Some(failure));
        }
        assert_eq!(PollFailure::from_code(0), None);
    }

    #[test]
    fn the_count_can_be_anywhere_in_a_document() {
        let metric = Metric::Json("/server/sockets/0/open".parse().unwrap());
        let body = br#"{"server": {"sockets": [{"open": 7}]}, "weight": 0}"#;
        assert_eq!(PodReport::read(&metric, 200, body), Ok(PodReport::of(7)));
        for (body, failure) in [
            ("{", PollFailure::NotJson),
            (
                r#"{"server": {"sockets": [{"open": 7}]}} {}"#,
                PollFailure::NotJson,
            ),
            ("{}", PollFailure::NothingThere),
            (
                r#"{"server": {"sockets": [{"open": -7}]}}"#,
                PollFailure::NotACount,
            ),
        ] {
            let read = PodReport::read(&metric, 200, body.as_bytes());
            assert_eq!(read, Err(failure), "{body}");
        }
    }

    #[test]
    fn names_from_a_pod_cannot_forge_a_log_line() {
        let report = PodReport {
            pod_name: Some("a\nb".to_owned()),
            node_name: Some("n".repeat(1000)),
            ..PodReport::default()
        };
        assert_eq!(report.names(), format!("a\\nb, {}", "n".repeat(64)));
    }
}
