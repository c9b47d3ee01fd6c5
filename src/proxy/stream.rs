//! The context of one request.
//!
//! The request is over when its context goes, whatever way it ended: the host's `proxy_on_delete` drops
//! it, and still answers questions about the request. So nothing that is counted can stay for ever, and
//! `proxy_on_log` and `proxy_on_done` need not be called.

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::envoy::Envoy;
use super::request::CurrentRequest;
use crate::exchange::{Exchange, Flow};

pub(super) struct Stream {
    /// None where there is no configuration.
    exchange: Option<Exchange<Envoy>>,
}

impl Stream {
    pub(super) const fn new(exchange: Option<Exchange<Envoy>>) -> Self {
        Self { exchange }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        let Some(exchange) = &mut self.exchange else {
            return Action::Continue;
        };
        match exchange.on_request(&CurrentRequest) {
            Flow::Continue => Action::Continue,
            Flow::Respond(response) => {
                let headers = response.headers.iter();
                let headers = headers.map(|(name, value)| (*name, &**value)).collect();
                self.send_http_response(response.status, headers, Some(&response.body));
                Action::Pause
            }
        }
    }

    fn on_http_response_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        if let Some(exchange) = &mut self.exchange {
            exchange.on_response(&CurrentRequest);
        }
        Action::Continue
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.on_end(&CurrentRequest);
        }
    }
}
