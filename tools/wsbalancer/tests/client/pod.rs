//! A pod that tells a count.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::sync::watch;

use crate::servers::serve_http;

/// The server of one pod's count.
pub(crate) struct Pod {
    pub(crate) address: SocketAddr,
    /// How often the pod was asked.
    pub(crate) asked: watch::Sender<usize>,
}

impl Pod {
    /// Starts a pod `name` that tells `count()` at `/metric`.
    pub(crate) async fn start(
        name: &str,
        count: impl Fn() -> usize + Send + Sync + 'static,
    ) -> Self {
        let asked = watch::Sender::new(0);
        let (name, count, times) = (name.to_owned(), Arc::new(count), asked.clone());
        let metric = move || {
            let (name, count, times) = (name.clone(), Arc::clone(&count), times.clone());
            async move {
                let body = serde_json::json!({
                    "agentsConnections": count(), "podName": name, "podIP": "127.0.0.1",
                });
                times.send_modify(|times| *times += 1);
                axum::Json(body)
            }
        };
        let address = serve_http(Router::new().route("/metric", get(metric))).await;
        Self { address, asked }
    }
}
