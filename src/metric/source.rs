//! Where in a pod's answer the count is.

use serde_json::Value;

use super::failure::{BODY_LIMIT, PollFailure};
use super::pointer::{self, Pointer};
use super::report::PodReport;
use super::series::Selector;

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

impl Metric {
    /// Reads the answer to a poll.
    ///
    /// # Errors
    /// Any status but 200, a body over [`BODY_LIMIT`] bytes, and a body without a non-negative
    /// integer where the count should be, or with a field that can't be.
    pub fn read(&self, status: u16, body: &[u8]) -> Result<PodReport, PollFailure> {
        if status != 200 {
            return Err(PollFailure::Status(status));
        }
        if body.len() > BODY_LIMIT {
            return Err(PollFailure::TooLarge);
        }
        match self {
            Self::Report => PodReport::from_object(body),
            Self::Json(pointer) => {
                let document: Value =
                    serde_json::from_slice(body).map_err(|_| PollFailure::NotJson)?;
                let value = pointer.of(&document).ok_or(PollFailure::NothingThere)?;
                pointer::count(value).map(PodReport::of)
            }
            Self::Prometheus(selector) => selector.sum(body).map(PodReport::of),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Weight;

    fn read(status: u16, body: &[u8]) -> Result<PodReport, PollFailure> {
        Metric::Report.read(status, body)
    }

    #[test]
    fn a_report_needs_a_count_and_takes_anything_else() {
        let report = read(
            200,
            br#"{"agentsConnections": 42, "podName": "chat-0", "podIP": null, "load": [1]}"#,
        )
        .unwrap();
        assert_eq!(report.connections, 42);
        assert_eq!(report.pod_name.as_deref(), Some("chat-0"));
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
        assert_eq!(report.limit, Some(10));
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
        let large = vec![b' '; BODY_LIMIT + 1];
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
    fn the_count_can_be_anywhere_in_a_document() {
        let metric = Metric::Json("/server/sockets/0/open".parse().unwrap());
        let body = br#"{"server": {"sockets": [{"open": 7}]}, "weight": 0}"#;
        assert_eq!(metric.read(200, body), Ok(PodReport::of(7)));
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
            let read = metric.read(200, body.as_bytes());
            assert_eq!(read, Err(failure), "{body}");
        }
    }
}
