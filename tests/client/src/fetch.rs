//! `GET` over plain HTTP: a whole answer within a time and a size, or in words why there is none.

use std::time::Duration;

use http::uri::PathAndQuery;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

/// What limits an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long it may take, from the first packet of the connection to its last byte.
    pub(crate) time: Duration,
    /// How many bytes it may have.
    pub(crate) size: usize,
}

/// A client to ask many servers with.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher(Client<HttpConnector, Empty<&'static [u8]>>);

impl Fetcher {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        // Servers are asked once in a while: a connection kept from the last time may be dead.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Self(client)
    }

    /// The body of an answer with status 200.
    pub(crate) async fn get(
        &self,
        request: Request<Empty<&'static [u8]>>,
        limits: Limits,
    ) -> Result<Vec<u8>, String> {
        timeout(limits.time, self.get_whole(request, limits.size))
            .await
            .unwrap_or_else(|_| {
                Err(format!(
                    "no answer within {}",
                    humantime::format_duration(limits.time)
                ))
            })
    }

    async fn get_whole(
        &self,
        request: Request<Empty<&'static [u8]>>,
        size: usize,
    ) -> Result<Vec<u8>, String> {
        let path = request.uri().path_and_query().cloned();
        let answer = self.0.request(request).await;
        let answer = answer.map_err(|error| innermost(&error))?;
        if answer.status() != StatusCode::OK {
            let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
            return Err(format!("{} at {path}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), size).collect().await;
        let body = body.map_err(|error| innermost(&*error))?;
        Ok(body.to_bytes().into())
    }
}

/// What the outer errors are about: "client error (Connect)" helps nobody.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
