//! Questions over plain HTTP, each on a connection of its own: any of Envoy's workers may get it.

use http::{Request, Response};
use serde_json::Value;
use tokio::task::block_in_place;

use crate::PATIENCE;

/// Asks, with any method, and takes any status.
///
/// # Errors
/// When there is no answer.
pub fn ask(request: Request<()>) -> anyhow::Result<Response<String>> {
    let agent = ureq::Agent::config_builder()
        // A proxy in the environment has no part in this.
        .proxy(None)
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .build()
        .new_agent();
    block_in_place(|| {
        let (parts, mut body) = agent.run(request)?.into_parts();
        // The status of 1,000 pods is larger than what is read by default.
        let text = body.with_config().limit(u64::MAX).read_to_string()?;
        Ok(Response::from_parts(parts, text))
    })
}

/// The answer to a `GET`.
///
/// # Errors
/// When there is none with status 200.
pub fn get(url: &str) -> anyhow::Result<String> {
    let answer = ask(Request::get(url).body(())?)?;
    let (status, text) = (answer.status(), answer.into_body());
    anyhow::ensure!(status == 200, "{url}: {status}: {text}");
    Ok(text)
}

/// The answer to a `GET`, as JSON.
///
/// # Errors
/// When there is none with status 200, or it is no JSON.
pub fn get_json(url: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&get(url)?)?)
}
