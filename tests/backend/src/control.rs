//! The control endpoint: the methods of [`Pod`](crate::Pod) over HTTP.
//!
//! A change is read as a whole before anything is changed: what is refused with 400 has had no
//! effect. Every answer is JSON, errors included.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use crate::config::Target;
use crate::pod::{Pod, PodChange, PodState};

/// `GET /pods`, `GET /pods/{target}` and `POST /pods/{target}`; a target is a number or `all`.
pub(crate) fn router(pods: Vec<Pod>) -> Router {
    Router::new()
        .route("/pods", get(show_all))
        .route("/pods/{target}", get(show).post(change))
        .fallback(refuse_path)
        .method_not_allowed_fallback(refuse_method)
        .with_state(Pods(pods.into()))
}

#[derive(Clone)]
struct Pods(Arc<[Pod]>);

/// One pod is told as an object, all of them as an array.
#[derive(Serialize)]
#[serde(untagged)]
enum Told {
    One(Box<PodState>),
    All(Vec<PodState>),
}

/// Why a request was not done.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    error: String,
}

#[derive(Serialize)]
struct RefusalBody {
    error: String,
}

impl Pods {
    /// The pods that the last segment of a path names, and how to tell them.
    fn find(&self, target: &str) -> Result<(&[Pod], Target), Refusal> {
        let unknown = |error: anyhow::Error| Refusal {
            status: StatusCode::NOT_FOUND,
            error: format!("{error:#}"),
        };
        let target: Target = target.parse().map_err(unknown)?;
        let places = target.places(self.0.len()).map_err(unknown)?;
        Ok((&self.0[places], target))
    }
}

async fn show_all(State(pods): State<Pods>) -> Json<Told> {
    tell(&pods.0, Target::All)
}

async fn show(State(pods): State<Pods>, Path(target): Path<String>) -> Result<Json<Told>, Refusal> {
    let (pods, target) = pods.find(&target)?;
    Ok(tell(pods, target))
}

async fn change(
    State(pods): State<Pods>,
    Path(target): Path<String>,
    // Not `Json`: any content type will do, so that `curl -d` is all it takes.
    body: Bytes,
) -> Result<Json<Told>, Refusal> {
    let (pods, target) = pods.find(&target)?;
    let change: PodChange = serde_json::from_slice(&body).map_err(|error| Refusal {
        status: StatusCode::BAD_REQUEST,
        error: format!("not a change of a pod: {error}"),
    })?;
    for pod in pods {
        pod.apply(change.clone()).await.map_err(|error| Refusal {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            error: format!("pod {} can't accept connections: {error}", pod.index()),
        })?;
    }
    Ok(tell(pods, target))
}

async fn refuse_path(uri: Uri) -> Refusal {
    Refusal {
        status: StatusCode::NOT_FOUND,
        error: format!(
            "{} is not here: ask for /pods, /pods/0 or /pods/all",
            uri.path()
        ),
    }
}

async fn refuse_method(method: Method) -> Refusal {
    Refusal {
        status: StatusCode::METHOD_NOT_ALLOWED,
        error: format!("{method} does nothing here: GET tells, POST to a pod changes it"),
    }
}

fn tell(pods: &[Pod], target: Target) -> Json<Told> {
    Json(match (pods, target) {
        ([pod], Target::Pod(_)) => Told::One(Box::new(pod.state())),
        _ => Told::All(pods.iter().map(Pod::state).collect()),
    })
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(RefusalBody { error: self.error })).into_response()
    }
}
