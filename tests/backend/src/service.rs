//! What a pod does with the requests that reach it: one owner of its switches and its memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::form::{Form, Truth};
use crate::handshake::{HandshakeBehavior, is_handshake};
use crate::host;
use crate::load_report::LoadReport;
use crate::metric::{Identity, MetricBehavior};
use crate::tally::Tally;

/// Headers by their names in lower case, each with its values in the order they came.
///
/// Bytes that are not UTF-8 are replaced by U+FFFD.
pub type HeaderLists = BTreeMap<String, Vec<String>>;

/// What a pod answers to a request that is neither a WebSocket nor a poll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestSeen {
    /// Name of the pod that the request has reached.
    pub pod_name: String,
    /// The request's method.
    pub method: String,
    /// The request's path with its query.
    pub path: String,
    /// The request's headers.
    pub headers: HeaderLists,
}

/// How a pod answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Switches {
    /// What it answers to polls.
    pub metric: MetricBehavior,
    /// What it does with WebSocket handshakes.
    pub handshake: HandshakeBehavior,
    /// Reported on top of the WebSockets that are open.
    pub preload: u64,
    /// The weight that it tells, if it tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// The most WebSockets that it says it takes, if it says so. It takes more all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u64>,
    /// Whether it says that it wants no new WebSockets, if it says anything about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<bool>,
    /// In which form it tells its count with each 101, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_report: Option<LoadReport>,
}

/// The part of a pod that requests see.
#[derive(Debug)]
pub(crate) struct PodService {
    pub(crate) identity: Identity,
    pub(crate) tally: Arc<Tally>,
    pub(crate) switches: watch::Sender<Switches>,
    pub(crate) last_handshake: watch::Sender<Option<HeaderLists>>,
    metric_path: String,
}

impl PodService {
    /// A pod's service, for as long as `end` is not reached.
    pub(crate) fn new(
        identity: Identity,
        metric_path: String,
        switches: Switches,
        end: CancellationToken,
    ) -> Self {
        Self {
            identity,
            tally: Arc::new(Tally::new(end)),
            switches: watch::Sender::new(switches),
            last_handshake: watch::Sender::new(None),
            metric_path,
        }
    }

    /// The count that the pod tells: its open WebSockets and the preload.
    pub(crate) fn reported(&self) -> u64 {
        self.truth().reported
    }

    /// All requests to this pod, whatever their method and path.
    pub(crate) fn router(self: &Arc<Self>) -> Router {
        let service = Arc::clone(self);
        Router::new().fallback(async move |request| service.answer(request).await)
    }

    async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        if !host::is_sound(&parts) {
            return StatusCode::BAD_REQUEST.into_response();
        }
        if is_handshake(&parts) {
            return self.answer_handshake(parts).await;
        }
        // A body that nobody reads would cost the client its connection.
        body.into_data_stream().for_each(async |_| {}).await;
        if parts.method == Method::GET
            && let Some(form) = Form::at(parts.uri.path(), &self.metric_path)
        {
            return self.answer_poll(form).await;
        }
        Json(self.describe(&parts)).into_response()
    }

    async fn answer_handshake(&self, request: Parts) -> Response {
        // Remembered before it is counted: whoever has waited for the count finds the headers.
        self.last_handshake
            .send_replace(Some(list_headers(&request.headers)));
        self.tally.count_handshake();
        let asked_for = HandshakeBehavior::asked_for(&request);
        let behavior = asked_for.unwrap_or(self.switches.borrow().handshake);
        let mut response = behavior.answer(request, || self.tally.open()).await;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let report = self.switches.borrow().load_report.clone();
            // The new WebSocket is among those that it has.
            let header = report.and_then(|report| report.header(self.reported()));
            response.headers_mut().extend(header);
        }
        response
    }

    async fn answer_poll(&self, form: Form) -> Response {
        self.tally.count_poll();
        let behavior = self.switches.borrow().metric.clone();
        behavior.answer(form, || self.truth()).await
    }

    fn truth(&self) -> Truth<'_> {
        let switches = self.switches.borrow();
        let counters = self.tally.counters();
        Truth {
            reported: counters.open.saturating_add(switches.preload),
            opened: counters.opened,
            lifetimes: self.tally.lifetimes(),
            identity: &self.identity,
            weight: switches.weight,
            max_connections: switches.max_connections,
            draining: switches.draining,
        }
    }

    fn describe(&self, request: &Parts) -> RequestSeen {
        RequestSeen {
            pod_name: self.identity.pod_name.clone(),
            method: request.method.to_string(),
            path: request
                .uri
                .path_and_query()
                .map_or_else(String::new, ToString::to_string),
            headers: list_headers(&request.headers),
        }
    }
}

fn list_headers(headers: &HeaderMap) -> HeaderLists {
    let mut lists = HeaderLists::new();
    for (name, value) in headers {
        lists
            .entry(name.to_string())
            .or_default()
            .push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    lists
}
