//! The load report that a pod adds to its answer to a handshake: its count, in one of the forms that
//! Envoy reads (Open Request Cost Aggregation).

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::bail;
use axum::http::{HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The name of the count among the named metrics of the report.
const METRIC: &str = "websockets";
/// The header field of a report …
const HEADER: HeaderName = HeaderName::from_static("endpoint-load-metrics");
/// … and of one as gRPC sends it.
const GRPC_HEADER: HeaderName = HeaderName::from_static("endpoint-load-metrics-bin");

/// In which form a pod tells its count with its answers to handshakes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LoadReport {
    /// `TEXT` and pairs of names and values.
    Text,
    /// `JSON` and an object.
    Json,
    /// `BIN` and the message in base64.
    Bin,
    /// The message in base64, without padding, in a header of its own.
    Grpc,
    /// This text in the place of a report.
    Header(String),
}

/// `xds.data.orca.v3.OrcaLoadReport`, as far as a pod fills it.
#[derive(Message)]
struct OrcaLoadReport {
    #[prost(double, tag = "1")]
    cpu_utilization: f64,
    #[prost(btree_map = "string, double", tag = "8")]
    named_metrics: BTreeMap<String, f64>,
}

impl LoadReport {
    /// The header field with this count; none where a text can't be in one.
    pub(crate) fn header(&self, count: u64) -> Option<(HeaderName, HeaderValue)> {
        let value = match self {
            Self::Text => format!("TEXT cpu_utilization=0.5, named_metrics.{METRIC}={count}"),
            Self::Json => {
                let report = json!({ "cpu_utilization": 0.5, "named_metrics": { METRIC: count } });
                format!("JSON {report}")
            }
            Self::Bin => format!("BIN {}", STANDARD.encode(message(count))),
            Self::Grpc => STANDARD_NO_PAD.encode(message(count)),
            Self::Header(text) => text.clone(),
        };
        let name = match self {
            Self::Grpc => GRPC_HEADER,
            Self::Text | Self::Json | Self::Bin | Self::Header(_) => HEADER,
        };
        Some((name, HeaderValue::from_str(&value).ok()?))
    }
}

#[expect(clippy::cast_precision_loss, reason = "no pod has 2^53 WebSockets")]
fn message(count: u64) -> Vec<u8> {
    let report = OrcaLoadReport {
        cpu_utilization: 0.5,
        named_metrics: [(METRIC.to_owned(), count as f64)].into(),
    };
    report.encode_to_vec()
}

impl FromStr for LoadReport {
    type Err = anyhow::Error;

    /// Reads `text`, `json`, `bin`, `grpc` or `header:TEXT`.
    fn from_str(text: &str) -> anyhow::Result<Self> {
        Ok(match text.split_once(':') {
            None if text == "text" => Self::Text,
            None if text == "json" => Self::Json,
            None if text == "bin" => Self::Bin,
            None if text == "grpc" => Self::Grpc,
            Some(("header", text)) => Self::Header(text.to_owned()),
            _ => bail!("{text:?} is no load report: write text, json, bin, grpc or header:TEXT"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_as_envoy_has_it() {
        for (form, header, value) in [
            (
                "text",
                HEADER,
                "TEXT cpu_utilization=0.5, named_metrics.websockets=42",
            ),
            (
                "json",
                HEADER,
                r#"JSON {"cpu_utilization":0.5,"named_metrics":{"websockets":42}}"#,
            ),
            (
                "bin",
                HEADER,
                "BIN CQAAAAAAAOA/QhUKCndlYnNvY2tldHMRAAAAAAAARUA=",
            ),
            (
                "grpc",
                GRPC_HEADER,
                "CQAAAAAAAOA/QhUKCndlYnNvY2tldHMRAAAAAAAARUA",
            ),
            ("header:a b", HEADER, "a b"),
        ] {
            let report: LoadReport = form.parse().unwrap();
            let expected = (header, HeaderValue::from_static(value));
            assert_eq!(report.header(42), Some(expected), "{form}");
        }
        assert!("yaml".parse::<LoadReport>().is_err());
    }
}
