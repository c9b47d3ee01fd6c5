//! Questions over plain HTTP, each on a connection of its own: any of Envoy's workers may get it.

use anyhow::Context;
use http::{Request, Response};
use serde_json::Value;
use tokio::task::block_in_place;
use wsbalancer_harness::Http;

/// Asks, with any method, and takes any status.
///
/// # Errors
/// When there is no answer, or it is no text.
pub fn ask(request: Request<()>) -> anyhow::Result<Response<String>> {
    let answer = block_in_place(|| Http::new().send(request))?;
    let (parts, body) = answer.into_parts();
    Ok(Response::from_parts(parts, String::from_utf8(body)?))
}

/// The answer to a `GET`.
///
/// # Errors
/// When there is none with a status of 2xx.
pub fn get(url: &str) -> anyhow::Result<String> {
    block_in_place(|| Http::new().get(url)).with_context(|| url.to_owned())
}

/// The answer to a `GET`, as JSON.
///
/// # Errors
/// When there is none with a status of 2xx, or it is no JSON.
pub fn get_json(url: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&get(url)?)?)
}
