//! Where in a pod's answer the count is.

use serde_json::value::RawValue;

use super::count::Count;
use super::failure::{DOCUMENT_LIMIT, PollFailure, REPORT_LIMIT};
use super::pointer::{self, Pointer};
use super::report::PodReport;
use super::series::{Found, Selector};

/// Where in a pod's answer the count is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Metric {
    /// In `agentsConnections`, among the other fields of a [`PodReport`].
    #[default]
    Report,
    /// At a place in a JSON document.
    Json {
        /// The place.
        at: Pointer,
        /// The count where nothing is there; none where that is a failure.
        absent: Option<u64>,
    },
    /// In the series of a Prometheus exporter, added up.
    Prometheus {
        /// The series.
        series: Selector,
        /// The count where there are none, and none were described; none where that is a failure.
        absent: Option<u64>,
    },
}

impl Metric {
    /// What the header field `accept` says of the answer that is wanted (RFC 9110, section
    /// 12.5.1). Anything is taken before nothing: many servers have one form only.
    #[must_use]
    pub const fn accept(&self) -> &'static str {
        match self {
            Self::Report | Self::Json { .. } => "application/json, */*;q=0.1",
            // Not OpenMetrics, in which names differ: some exporters have it whatever its weight.
            Self::Prometheus { .. } => "text/plain;version=0.0.4, text/plain;q=0.9, */*;q=0.1",
        }
    }

    /// The longest body that is read, in bytes.
    #[must_use]
    pub const fn body_limit(&self) -> usize {
        match self {
            Self::Report => REPORT_LIMIT,
            Self::Json { .. } | Self::Prometheus { .. } => DOCUMENT_LIMIT,
        }
    }

    /// Reads the answer to a poll.
    ///
    /// # Errors
    /// Any status but 200, a body over [`body_limit`](Self::body_limit) bytes, and a body without a
    /// whole number where the count should be.
    pub fn read(&self, status: u16, body: &[u8]) -> Result<PodReport, PollFailure> {
        if status != 200 {
            return Err(PollFailure::Status(status));
        }
        let is_too_large = body.len() > self.body_limit();
        match self {
            Self::Report if is_too_large => Err(PollFailure::TooLarge),
            Self::Json { .. } | Self::Prometheus { .. } if is_too_large => {
                Err(PollFailure::TooLong)
            }
            Self::Report => PodReport::from_object(body),
            Self::Json { at, absent } => read_json(at, *absent, body),
            Self::Prometheus { series, absent } => Ok(match series.sum(body)? {
                Found::Sum(count) => PodReport::counting(count),
                Found::Described => PodReport::of(0),
                Found::Nothing => PodReport::of(absent.ok_or(PollFailure::NothingThere)?),
            }),
        }
    }
}

fn read_json(at: &Pointer, absent: Option<u64>, body: &[u8]) -> Result<PodReport, PollFailure> {
    let document: &RawValue = serde_json::from_slice(body).map_err(|_| PollFailure::NotJson)?;
    match at.find(document).filter(|value| value.get() != "null") {
        None => absent.map(PodReport::of).ok_or(PollFailure::NothingThere),
        Some(value) => {
            let count: Option<Count> = pointer::count(value);
            count.map(PodReport::counting).ok_or(PollFailure::NotACount)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Complaint, Weight};

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
        use PollFailure::{BadCount, NotAnObject, Status, TooLarge};
        let large = vec![b' '; REPORT_LIMIT + 1];
        let deep = "[".repeat(50_000);
        let deep_field = format!(r#"{{"agentsConnections": 1, "x": {deep}"#);
        let cases: [(u16, &[u8], PollFailure); 18] = [
            (500, br#"{"agentsConnections": 1}"#, Status(500)),
            (204, b"", Status(204)),
            (8, br#"{"agentsConnections": 1}"#, Status(8)),
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
            (200, br#"{"agentsConnections": null}"#, BadCount),
            (200, br#"{"agentsConnections": 1e99}"#, BadCount),
            (200, br#"{"agentsConnections": 1e999}"#, BadCount),
            (200, br#"{"agentsConnections": 1.5}"#, BadCount),
            (200, br#"{"agentsConnections": "42"}"#, BadCount),
        ];
        for (status, body, failure) in cases {
            let shown = String::from_utf8_lossy(body);
            assert_eq!(read(status, body), Err(failure), "{shown:.60}");
        }
    }

    #[test]
    fn json_has_one_kind_of_number_in_every_form() {
        let json = Metric::Json {
            at: "/n".parse().unwrap(),
            absent: None,
        };
        for (number, count) in [
            ("42", 42),
            ("42.0", 42),
            ("4.2e1", 42),
            ("-0", 0),
            ("-2", 0),
            ("-0.5", 0),
        ] {
            let report = format!(r#"{{"agentsConnections": {number}, "maxConnections": 5000.0}}"#);
            let report = read(200, report.as_bytes()).unwrap();
            assert_eq!((report.connections, report.limit), (count, Some(5000)));
            let document = format!(r#"{{"n": {number}}}"#);
            let of_document = json.read(200, document.as_bytes()).unwrap();
            assert_eq!(of_document.connections, count, "{number}");
            assert_eq!(of_document.complaints, report.complaints, "{number}");
            let is_below_zero = ["-2", "-0.5"].contains(&number);
            let complaints = is_below_zero.then_some(Complaint::BelowZero);
            assert_eq!(report.complaints, complaints.as_slice(), "{number}");
        }
        let text = json.read(200, br#"{"n": "42"}"#);
        assert_eq!(text, Ok(PodReport::of(42)), "as protobuf writes 64 bits");
    }

    #[test]
    fn what_is_not_needed_never_costs_a_pod() {
        use Complaint::{Draining, Limit, NodeName, PodIp, PodName, Weight};
        let deep = "[".repeat(1_000) + &"]".repeat(1_000);
        for (field, complaint) in [
            (r#""podName": 7"#, PodName),
            (r#""podName": "\ud800""#, PodName),
            (r#""podIP": ["10.0.0.1"]"#, PodIp),
            (r#""nodeName": {}"#, NodeName),
            (r#""weight": 0"#, Weight),
            (r#""weight": -1.5"#, Weight),
            (r#""weight": 1e-310"#, Weight),
            (r#""weight": 1e999"#, Weight),
            (r#""weight": "2""#, Weight),
            (r#""maxConnections": -1"#, Limit),
            (r#""maxConnections": 1.5"#, Limit),
            (r#""maxConnections": "5000""#, Limit),
            (r#""draining": "yes""#, Draining),
            (r#""draining": 1"#, Draining),
            (&*format!(r#""draining": {deep}"#), Draining),
        ] {
            let body = format!(r#"{{"agentsConnections": 3, {field}}}"#);
            let expected = PodReport {
                complaints: vec![complaint],
                ..PodReport::of(3)
            };
            assert_eq!(read(200, body.as_bytes()), Ok(expected), "{field:.60}");
        }
        let all = read(
            200,
            br#"{"weight": [], "agentsConnections": -1, "podName": 5, "podName": 6, "draining": null}"#,
        )
        .unwrap();
        assert_eq!(
            all.complaint().unwrap(),
            "its count is below zero, which counts as 0; weight is not within 0.01 to 100 and \
             is ignored; podName is not a string and is ignored"
        );
        assert_eq!(PodReport::of(1).complaint(), None);
    }

    #[test]
    fn the_count_can_be_anywhere_in_a_document() {
        let metric = Metric::Json {
            at: "/server/sockets/0/open".parse().unwrap(),
            absent: None,
        };
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
                r#"{"server": {"sockets": [{"open": null}]}}"#,
                PollFailure::NothingThere,
            ),
            (
                r#"{"server": {"sockets": [{"open": 7.5}]}}"#,
                PollFailure::NotACount,
            ),
        ] {
            let read = metric.read(200, body.as_bytes());
            assert_eq!(read, Err(failure), "{body}");
        }
    }

    #[test]
    fn what_is_absent_counts_as_configured() {
        let json = Metric::Json {
            at: "/open".parse().unwrap(),
            absent: Some(0),
        };
        for (body, report) in [
            ("{}", Ok(PodReport::of(0))),
            (r#"{"open": null}"#, Ok(PodReport::of(0))),
            (r#"{"open": 3}"#, Ok(PodReport::of(3))),
            (r#"{"open": true}"#, Err(PollFailure::NotACount)),
            ("", Err(PollFailure::NotJson)),
        ] {
            assert_eq!(json.read(200, body.as_bytes()), report, "{body}");
        }
        assert_eq!(json.read(404, b"{}"), Err(PollFailure::Status(404)));
        let series = |absent| Metric::Prometheus {
            series: r#"a{b="c"}"#.parse().unwrap(),
            absent,
        };
        let nothing = Err(PollFailure::NothingThere);
        for (body, with_option, without) in [
            ("", Ok(PodReport::of(0)), nothing.clone()),
            ("other 1", Ok(PodReport::of(0)), nothing.clone()),
            ("a{b=\"d\"} 1", Ok(PodReport::of(0)), nothing),
            ("# TYPE a gauge", Ok(PodReport::of(0)), Ok(PodReport::of(0))),
            (
                "<html>",
                Err(PollFailure::NotAnExposition),
                Err(PollFailure::NotAnExposition),
            ),
        ] {
            let body = body.as_bytes();
            assert_eq!(series(Some(0)).read(200, body), with_option);
            assert_eq!(series(None).read(200, body), without);
        }
    }

    #[test]
    fn long_texts_are_read_up_to_their_limit() {
        let prometheus = Metric::Prometheus {
            series: "a".parse().unwrap(),
            absent: None,
        };
        let mut text = "# HELP b Others.\n".to_owned();
        while text.len() < DOCUMENT_LIMIT - 200 {
            text += "b{path=\"/a/long/path/as/there/are/many\",method=\"GET\"} 1.5\n";
        }
        text += "a 42\n";
        text += &"#".repeat(DOCUMENT_LIMIT - text.len());
        let json = Metric::Json {
            at: "/open".parse().unwrap(),
            absent: None,
        };
        let mut document = "{\"connections\": [0".to_owned();
        while document.len() < DOCUMENT_LIMIT - 200 {
            document += r#", {"id": 7, "path": "/a/long/path/as/there/are/many", "since": 1.5}"#;
        }
        document += "], \"open\": 42}";
        document += &" ".repeat(DOCUMENT_LIMIT - document.len());
        for (metric, mut body) in [(prometheus, text), (json, document)] {
            assert_eq!(metric.body_limit(), body.len());
            assert_eq!(metric.read(200, body.as_bytes()), Ok(PodReport::of(42)));
            body.push(' ');
            let too_long = metric.read(200, body.as_bytes());
            assert_eq!(too_long, Err(PollFailure::TooLong));
        }
    }

    #[test]
    fn each_form_is_asked_for_and_anything_is_taken() {
        let json = Metric::Json {
            at: "".parse().unwrap(),
            absent: None,
        };
        let prometheus = Metric::Prometheus {
            series: "a".parse().unwrap(),
            absent: None,
        };
        for (metric, first) in [
            (Metric::Report, "application/json,"),
            (json, "application/json,"),
            (prometheus, "text/plain;version=0.0.4,"),
        ] {
            let accept = metric.accept();
            assert!(accept.starts_with(first), "{accept}");
            assert!(accept.ends_with(" */*;q=0.1"), "{accept}");
        }
    }
}
