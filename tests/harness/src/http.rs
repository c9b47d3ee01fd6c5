//! Plain HTTP, for questions to whatever a test has started.

use std::time::Duration;

use anyhow::ensure;
use ureq::http::{Request, Response};
use ureq::{Agent, Body};

/// All that is asked answers from memory; only what hangs takes longer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Asks over HTTP. Questions to the same server share connections, unless each has an `Http` of its
/// own.
#[derive(Clone, Debug)]
pub struct Http(Agent);

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Http {
    /// Without a connection yet.
    #[must_use]
    pub fn new() -> Self {
        let agent = Agent::config_builder()
            // A proxy in the environment has no part in this.
            .proxy(None)
            .timeout_global(Some(TIMEOUT))
            // The body of an error says more than its number.
            .http_status_as_error(false)
            .build()
            .new_agent();
        Self(agent)
    }

    /// The answer to a request, with any status.
    ///
    /// # Errors
    /// When there is none.
    pub fn send(&self, request: Request<()>) -> anyhow::Result<Response<Vec<u8>>> {
        whole(self.0.run(request)?)
    }

    /// The body of the answer to a `GET`.
    ///
    /// # Errors
    /// When there is none with a status of 2xx.
    pub fn get(&self, url: &str) -> anyhow::Result<String> {
        self.get_with(url, &[])
    }

    /// The body of the answer to a `GET` with a query of these names and values.
    ///
    /// # Errors
    /// When there is none with a status of 2xx.
    pub fn get_with(&self, url: &str, query: &[(&str, &str)]) -> anyhow::Result<String> {
        let request = self.0.get(url).query_pairs(query.iter().copied());
        text(whole(request.call()?)?)
    }

    /// The body of the answer to a `POST` without one.
    ///
    /// # Errors
    /// When there is none with a status of 2xx.
    pub fn post(&self, url: &str) -> anyhow::Result<String> {
        text(whole(self.0.post(url).send_empty()?)?)
    }
}

/// The answer with all of its body: a configuration dump, or the status of 1,000 pods, is larger
/// than what is read by default.
fn whole(answer: Response<Body>) -> anyhow::Result<Response<Vec<u8>>> {
    let (parts, mut body) = answer.into_parts();
    let body = body.with_config().limit(u64::MAX).read_to_vec()?;
    Ok(Response::from_parts(parts, body))
}

fn text(answer: Response<Vec<u8>>) -> anyhow::Result<String> {
    let status = answer.status();
    let text = String::from_utf8(answer.into_body())?;
    ensure!(status.is_success(), "{status}: {}", text.trim_end());
    Ok(text)
}
