//! The count in the load report that a pod adds to its answer to a handshake, as Envoy and gRPC read
//! it (Open Request Cost Aggregation, `xds.data.orca.v3.OrcaLoadReport`).
//!
//! The field [`HEADER`] says its form first: `TEXT named_metrics.open=42`, `JSON {"named_metrics":
//! {"open": 42}}`, or `BIN` and the report itself in base64. Without a form it is as Envoy first had
//! it, which is `TEXT`; and [`BINARY_HEADER`] has `BIN` alone, as gRPC writes it. Whatever else a
//! report has is passed over: only the one named metric is looked for.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use prost::Message;
use serde_json::Value;

use super::complaint::Complaint;
use super::count::Count;

/// The header field of a load report.
pub const HEADER: &str = "endpoint-load-metrics";
/// … and of one that is binary, by its older name.
pub const BINARY_HEADER: &str = "endpoint-load-metrics-bin";

/// A longer header field is not read: Envoy takes 60 KiB of headers in all.
const LONGEST: usize = 16 * 1024;
/// What the names of an application's own metrics begin with.
const PREFIX: &str = "named_metrics.";
/// A longer name is a mistake.
const LONGEST_NAME: usize = 128;

/// The metric of a load report that is the count: one of the application's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedMetric {
    /// Without the prefix.
    name: String,
}

/// Why a text names no metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedMetricError(String);

impl fmt::Display for NamedMetricError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a named metric: write {PREFIX} and its name in the load report",
            self.0
        )
    }
}

impl std::error::Error for NamedMetricError {}

impl FromStr for NamedMetric {
    type Err = NamedMetricError;

    fn from_str(text: &str) -> Result<Self, NamedMetricError> {
        let is_sound = |name: &&str| {
            let is_part = |byte: u8| byte.is_ascii_graphic() && !b",:=\"".contains(&byte);
            !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(is_part)
        };
        let name = text.strip_prefix(PREFIX).filter(is_sound);
        let name = name.ok_or_else(|| NamedMetricError(text.to_owned()))?;
        Ok(Self {
            name: name.to_owned(),
        })
    }
}

/// The header fields of an answer that may have a load report.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadReportHeaders<'a> {
    /// [`HEADER`].
    pub plain: Option<&'a [u8]>,
    /// [`BINARY_HEADER`], which comes before the other.
    pub binary: Option<&'a [u8]>,
}

/// What a load report says of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// WebSockets that are open on the pod, perhaps with the one that it accepts by this answer; none
    /// where it does not say.
    pub connections: Option<u64>,
    /// What is wrong with the report, or that there is none.
    pub complaint: Option<Complaint>,
}

impl NamedMetric {
    /// Reads the load report of an answer.
    #[must_use]
    pub fn read(&self, headers: LoadReportHeaders<'_>) -> LoadReport {
        match self.find(headers) {
            Ok(count) => LoadReport {
                connections: Some(count.value),
                complaint: count.is_below_zero.then_some(Complaint::BelowZero),
            },
            Err(complaint) => LoadReport {
                connections: None,
                complaint: Some(complaint),
            },
        }
    }

    fn find(&self, headers: LoadReportHeaders<'_>) -> Result<Count, Complaint> {
        let header = headers.binary.or(headers.plain);
        let header = header.ok_or(Complaint::NoLoadReport)?;
        if header.len() > LONGEST {
            return Err(Complaint::LoadReportForm);
        }
        let name = self.name.as_str();
        let value = if headers.binary.is_some() {
            in_binary(name, header)
        } else if let Some(report) = header.strip_prefix(b"BIN ") {
            in_binary(name, report)
        } else if let Some(report) = header.strip_prefix(b"JSON ") {
            in_json(name, report)
        } else {
            in_text(name, header.strip_prefix(b"TEXT ").unwrap_or(header))
        };
        let value = value.ok_or(Complaint::LoadReportForm)?;
        let value = value.ok_or(Complaint::NoNamedMetric)?;
        Count::of_number(value).ok_or(Complaint::NamedMetricCount)
    }
}

/// A metric in a report that can be read; none where it has none of this name. The outer is none where
/// the report can't be read.
type Found = Option<Option<f64>>;

/// Names and values with `=` or, as Envoy had it at first, `:` between them, and commas between the
/// pairs. A name that comes twice is a mistake.
fn in_text(name: &str, report: &[u8]) -> Found {
    let report = str::from_utf8(report).ok()?;
    let mut found = None;
    for pair in report.split(',').map(str::trim) {
        if pair.is_empty() {
            continue;
        }
        let (key, value) = pair.split_once(['=', ':'])?;
        let (key, value) = (key.trim(), value.trim());
        let value: f64 = value.parse().ok()?;
        // Of a form that is none of these, too.
        if key.contains(char::is_whitespace) {
            return None;
        }
        if key.strip_prefix(PREFIX) == Some(name) && found.replace(value).is_some() {
            return None;
        }
    }
    Some(found)
}

/// The report as protobuf writes it in JSON, by either name of its field.
fn in_json(name: &str, report: &[u8]) -> Found {
    let report: Value = serde_json::from_slice(report).ok()?;
    let report = report.as_object()?;
    let metrics = report.get("named_metrics");
    let metrics = metrics.or_else(|| report.get("namedMetrics"));
    match metrics.and_then(|metrics| metrics.get(name)) {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) => text.parse().ok().map(Some),
        Some(value) => value.as_f64().map(Some),
    }
}

/// The report as protobuf writes it, in base64.
fn in_binary(name: &str, report: &[u8]) -> Found {
    let report = decode(report)?;
    let report = OrcaLoadReport::decode(report.as_slice()).ok()?;
    Some(report.named_metrics.get(name).copied())
}

/// What matters here of `xds.data.orca.v3.OrcaLoadReport`.
#[derive(Message)]
struct OrcaLoadReport {
    #[prost(btree_map = "string, double", tag = "8")]
    named_metrics: BTreeMap<String, f64>,
}

/// The bytes of base64 (RFC 4648, section 4), with padding or without.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let padded = text.strip_suffix(b"=").unwrap_or(text);
    let padded = padded.strip_suffix(b"=").unwrap_or(padded);
    let mut bytes = Vec::with_capacity(padded.len());
    for group in padded.chunks(4) {
        let mut bits = 0_u32;
        for &digit in group {
            bits = bits << 6 | u32::from(sextet(digit)?);
        }
        match *group {
            [_, _, _, _] => bytes.extend(bits.to_be_bytes().get(1..)?),
            [_, _, _] => bytes.extend((bits << 6).to_be_bytes().get(1..3)?),
            [_, _] => bytes.extend((bits << 12).to_be_bytes().get(1..2)?),
            _ => return None,
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

fn sextet(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit.wrapping_sub(b'A'),
        b'a'..=b'z' => digit.wrapping_sub(b'a').wrapping_add(26),
        b'0'..=b'9' => digit.wrapping_sub(b'0').wrapping_add(52),
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn metric(name: &str) -> NamedMetric {
        format!("{PREFIX}{name}").parse().unwrap()
    }

    fn read(name: &str, header: &str) -> LoadReport {
        let plain = Some(header.as_bytes());
        metric(name).read(LoadReportHeaders {
            plain,
            binary: None,
        })
    }

    fn of(connections: u64) -> LoadReport {
        LoadReport {
            connections: Some(connections),
            complaint: None,
        }
    }

    fn wrong(complaint: Complaint) -> LoadReport {
        LoadReport {
            connections: None,
            complaint: Some(complaint),
        }
    }

    /// As a server of grpc-go sends it: `cpu_utilization` 0.5, `rps_fractional` 100, `eps` 2 and the
    /// named metric `rif` 4.
    const OF_GRPC: &str = "CQAAAAAAAOA/MQAAAAAAAFlAOQAAAAAAAABAQg4KA3JpZhEAAAAAAAAQQA";

    #[test]
    fn each_form_has_the_count() {
        for header in [
            "TEXT named_metrics.rif=4",
            "TEXT cpu_utilization=0.5, named_metrics.rif=4.0,eps=2",
            "TEXT cpu_utilization:0.5,named_metrics.rif:4",
            "cpu_utilization:0.5,named_metrics.rif:4e0",
            r#"JSON {"cpu_utilization": 0.5, "named_metrics": {"rif": 4, "other": 1.5}}"#,
            r#"JSON {"namedMetrics": {"rif": 4.0}, "unknown": [1]}"#,
            r#"JSON {"named_metrics": {"rif": "4"}}"#,
            &format!("BIN {OF_GRPC}"),
            &format!("BIN {OF_GRPC}=="),
        ] {
            assert_eq!(read("rif", header), of(4), "{header}");
            let other = read("rif2", header);
            assert_eq!(other, wrong(Complaint::NoNamedMetric), "{header}");
        }
        let binary = Some(OF_GRPC.as_bytes());
        let plain = Some(&b"TEXT named_metrics.rif=5"[..]);
        let both = LoadReportHeaders { plain, binary };
        assert_eq!(metric("rif").read(both), of(4), "as Envoy prefers it");
    }

    #[test]
    fn what_is_no_report_is_a_complaint() {
        let none = metric("rif").read(LoadReportHeaders::default());
        assert_eq!(none, wrong(Complaint::NoLoadReport));
        let long = format!("TEXT named_metrics.rif=4,{}", " ".repeat(LONGEST));
        for header in [
            "TEXT named_metrics.rif",
            "TEXT named_metrics.rif=",
            "TEXT named_metrics.rif=many",
            "TEXT named_metrics.rif=4,named_metrics.rif=4",
            "TEXT named_metrics.rif=4,eps=fast",
            "YAML rif: 4",
            "JSON 4",
            "JSON {",
            "JSON [4]",
            r#"JSON {"named_metrics": {"rif": [4]}}"#,
            r#"JSON {"named_metrics": {"rif": 4}} x"#,
            "BIN",
            "BIN =",
            "BIN CQ",
            "BIN CQAAAAAAAOA/MQ*",
            "BIN CQAAAAAAAOA",
            "BIN Qg4KA3JpZhEAAAAAAAAQ",
            // A group, a field of no kind, a length beyond the end, and a number without an end.
            "BIN Cw==",
            "BIN Dw==",
            "BIN Qv//////////AQ==",
            "BIN ////////////////",
            &long,
        ] {
            let expected = wrong(Complaint::LoadReportForm);
            assert_eq!(read("rif", header), expected, "{header:.60}");
        }
        let not_utf8 = LoadReportHeaders {
            plain: Some(b"\xff\xfe"),
            binary: None,
        };
        let expected = wrong(Complaint::LoadReportForm);
        assert_eq!(metric("rif").read(not_utf8), expected);
    }

    #[test]
    fn what_is_no_count_is_a_complaint() {
        for value in ["1.5", "nan", "inf", "1e300"] {
            let report = read("rif", &format!("TEXT named_metrics.rif={value}"));
            assert_eq!(report, wrong(Complaint::NamedMetricCount), "{value}");
        }
        let below = LoadReport {
            complaint: Some(Complaint::BelowZero),
            ..of(0)
        };
        assert_eq!(read("rif", "TEXT named_metrics.rif=-2"), below);
    }

    #[test]
    fn only_the_applications_own_metrics_are_counts() {
        for text in [
            "",
            "rif",
            "cpu_utilization",
            "named_metrics.",
            "named_metrics.a b",
            "named_metrics.a=b",
            "named_metrics.a,b",
            &format!("named_metrics.{}", "a".repeat(129)),
        ] {
            let error = text.parse::<NamedMetric>().unwrap_err().to_string();
            assert!(error.contains("is not a named metric"), "{error}");
        }
        assert_eq!(read("a.b/c-d", "TEXT named_metrics.a.b/c-d=7"), of(7));
    }

    /// A report of these metrics, as protobuf writes it.
    fn written(metrics: &[(String, f64)]) -> Vec<u8> {
        let mut report = vec![1 << 3 | 1];
        report.extend(0.5_f64.to_le_bytes());
        for (name, value) in metrics {
            let length = u8::try_from(name.len()).unwrap();
            let mut entry = vec![1 << 3 | 2, length];
            entry.extend(name.as_bytes());
            entry.push(2 << 3 | 1);
            entry.extend(value.to_le_bytes());
            report.extend([8 << 3 | 2, u8::try_from(entry.len()).unwrap()]);
            report.extend(entry);
        }
        report
    }

    fn encode(bytes: &[u8]) -> String {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for group in bytes.chunks(3) {
            let mut bits = 0_usize;
            for place in 0..3 {
                bits = bits << 8 | usize::from(group.get(place).copied().unwrap_or(0));
            }
            for place in 0..=group.len() {
                text.push(char::from(DIGITS[bits >> (18 - 6 * place) & 63]));
            }
        }
        text
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            count in 0_u32..1_000_000,
            others in prop::collection::vec(("[a-z]{1,9}", any::<f64>()), 0..9),
        ) {
            let mut metrics = others;
            metrics.retain(|(name, _)| name != "open");
            metrics.push(("open".to_owned(), count.into()));
            let header = format!("BIN {}", encode(&written(&metrics)));
            prop_assert_eq!(read("open", &header), of(count.into()));
        }

        /// Whatever bytes come.
        #[test]
        fn nothing_that_comes_ends_it(
            form in prop::sample::select(vec!["", "TEXT ", "JSON ", "BIN "]),
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let encoded = encode(&bytes);
            for report in [&bytes[..], encoded.as_bytes()] {
                let header = [form.as_bytes(), report].concat();
                let _report = metric("open").read(LoadReportHeaders {
                    plain: Some(&header),
                    binary: Some(report).filter(|_| form.is_empty()),
                });
            }
        }
    }
}
