//! How a pod answers its polls: with the truth, or in one of the ways in which a pod fails.

use std::str::FromStr;
use std::time::Duration;
use std::{convert::Infallible, future, iter};

use anyhow::{Context, bail};
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};

use crate::form::{Form, Truth};
use crate::status;

/// What a pod answers to polls, in whatever form they ask for the count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MetricBehavior {
    /// The reported count, at once.
    #[default]
    Truth,
    /// This status and an empty body; 200 or more.
    Status(#[serde(with = "status")] StatusCode),
    /// Nothing, ever: the request stays open until the client gives up.
    Hang,
    /// The count that is true once this time has passed.
    Delay(#[serde(with = "humantime_serde")] Duration),
    /// Status 200 and this text for a body.
    Body(String),
    /// The truth, then spaces until the body has this many bytes.
    ///
    /// It is sent as it is made, without a `content-length`. All of it together is valid in its
    /// form: who refuses it, does so for its size alone.
    Huge(usize),
}

/// Who a pod says it is, in the fields of its `/metric`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Name of the pod.
    pub pod_name: String,
    /// IP address of the pod.
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    /// Name of the node it runs on.
    pub node_name: String,
}

impl MetricBehavior {
    /// Answers one poll; `truth` is asked at the moment that the answer is made.
    pub(crate) async fn answer<'pod>(
        self,
        form: Form,
        truth: impl FnOnce() -> Truth<'pod>,
    ) -> Response {
        let written = || form.write(&truth());
        match self {
            Self::Truth => respond(form, written()),
            Self::Status(status) => status.into_response(),
            Self::Hang => future::pending().await,
            Self::Delay(delay) => {
                tokio::time::sleep(delay).await;
                respond(form, written())
            }
            Self::Body(body) => respond(form, Ok(body)),
            Self::Huge(size) => respond(form, written().map(|start| padded(start.into(), size))),
        }
    }
}

fn respond(form: Form, body: anyhow::Result<impl Into<Body>>) -> Response {
    match body {
        Ok(body) => ([(header::CONTENT_TYPE, form.content_type())], body.into()).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// A body of `size` bytes that is never in memory as a whole.
fn padded(start: Bytes, size: usize) -> Body {
    const CHUNK: usize = 64 * 1024;
    let spaces = Bytes::from(vec![b' '; CHUNK]);
    let padding = size.saturating_sub(start.len());
    let chunks = (0..padding)
        .step_by(CHUNK)
        .map(move |sent| spaces.slice(..CHUNK.min(padding - sent)));
    Body::from_stream(stream::iter(
        iter::once(start).chain(chunks).map(Ok::<_, Infallible>),
    ))
}

impl FromStr for MetricBehavior {
    type Err = anyhow::Error;

    /// Reads `truth`, `hang`, `status:CODE`, `delay:TIME`, `body:TEXT` or `huge:BYTES`.
    fn from_str(text: &str) -> anyhow::Result<Self> {
        Ok(match text.split_once(':') {
            None if text == "truth" => Self::Truth,
            None if text == "hang" => Self::Hang,
            Some(("status", code)) => Self::Status(status::parse(code)?),
            Some(("delay", time)) => Self::Delay(
                humantime::parse_duration(time)
                    .with_context(|| format!("{time:?} is not a time: write it as 2s or 150ms"))?,
            ),
            Some(("body", body)) => Self::Body(body.to_owned()),
            Some(("huge", size)) => Self::Huge(
                size.parse()
                    .with_context(|| format!("{size:?} is not a number of bytes"))?,
            ),
            _ => bail!(
                "{text:?} is no way to answer: write truth, hang, status:CODE, delay:TIME, \
                 body:TEXT or huge:BYTES"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_same_behaviour_from_a_command_line_and_from_json() {
        for (argument, json) in [
            ("truth", r#""truth""#),
            ("hang", r#""hang""#),
            ("status:503", r#"{"status":503}"#),
            ("delay:2s", r#"{"delay":"2s"}"#),
            ("body:{\"a:b\"", r#"{"body":"{\"a:b\""}"#),
            ("huge:10000000", r#"{"huge":10000000}"#),
        ] {
            let behavior: MetricBehavior = argument.parse().unwrap();
            assert_eq!(serde_json::to_string(&behavior).unwrap(), json);
            assert_eq!(
                serde_json::from_str::<MetricBehavior>(json).unwrap(),
                behavior
            );
        }
    }

    #[test]
    fn refuses_what_no_pod_can_answer() {
        for argument in [
            "",
            "lie",
            "status",
            "status:101",
            "status:x",
            "delay:2",
            "huge:-1",
        ] {
            assert!(argument.parse::<MetricBehavior>().is_err(), "{argument}");
        }
        let informational = serde_json::from_str::<MetricBehavior>(r#"{"status":101}"#);
        assert!(
            informational
                .unwrap_err()
                .to_string()
                .contains("200 to 999")
        );
    }
}
