//! The context of one request.

use std::rc::Rc;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::abi;
use super::envoy::Envoy;
use crate::balancer::Balancer;
use crate::config::RouteBy;
use crate::handshake;
use crate::pod::PodAddress;
use crate::status;
use crate::upgrade::{Decision, Explanation, Journey, Upgrade, Witness};

/// `UpstreamConnectionFailure` among Envoy's response flags (the attribute `response.flags`).
const UPSTREAM_CONNECTION_FAILURE: u64 = 0x20;

pub(super) struct Stream {
    context_id: u32,
    balancer: Option<Rc<Balancer<Envoy>>>,
    /// Present for an upgrade of one of our services.
    upgrade: Option<Upgrade>,
    /// Whether the pod was given a `sec-websocket-key` that the client did not send.
    key_added: bool,
}

impl Stream {
    pub(super) const fn new(context_id: u32, balancer: Option<Rc<Balancer<Envoy>>>) -> Self {
        Self {
            context_id,
            balancer,
            upgrade: None,
            key_added: false,
        }
    }

    /// Answers a request for the status; whether it was one.
    fn show_status(&self, balancer: &Balancer<Envoy>) -> bool {
        // Most filters show none, and ask for nothing then.
        if balancer.status_path.is_none() {
            return false;
        }
        let header = |name| self.get_http_request_header_bytes(name).unwrap_or_default();
        let path = header(":path");
        let Some(query) = status::query(balancer, &path) else {
            return false;
        };
        let request = status::Request {
            method: &header(":method"),
            query,
            accept: &header("accept"),
        };
        let response = status::respond(&balancer.host, &request, abi::now(), abi::date());
        self.send_http_response(response.status, response.headers, Some(&response.body));
        true
    }

    /// Removes the override header, and tells what it was where that matters still.
    fn take_override(&self, balancer: &Balancer<Envoy>) -> Option<Vec<u8>> {
        let header = &balancer.override_header;
        let sent = match balancer.route_by {
            RouteBy::Endpoint => None,
            RouteBy::Cluster => self.get_http_request_header_bytes(header),
        };
        self.set_http_request_header(header, None);
        if sent.is_some() {
            // Envoy has looked for the route already, and may have found the cluster in it.
            clear_route_cache();
        }
        sent
    }

    fn asks_for_websocket(&self) -> bool {
        let header = |name| self.get_http_request_header_bytes(name);
        header("upgrade").is_some_and(|upgrade| {
            handshake::names(&upgrade, b"websocket")
                && header("connection")
                    .is_some_and(|connection| handshake::asks_for_websocket(&upgrade, &connection))
        })
    }

    /// An HTTP/1.1 pod refuses a handshake without a key, and HTTP/2 clients send none.
    fn complete_handshake(&mut self, balancer: &Balancer<Envoy>) {
        // Whether there is a key is cheaper to ask than the version of HTTP.
        if self.get_http_request_header_bytes(KEY).is_some() {
            return;
        }
        let version = property(&["request", "protocol"]).unwrap_or_default();
        if version.starts_with(b"HTTP/1") {
            return;
        }
        let key = handshake::key(&mut balancer.random());
        self.set_http_request_header(KEY, Some(&key));
        self.key_added = true;
    }
}

/// Filter state in which the access log finds the pod that was chosen …
const CHOSEN_POD: &str = "wsbalancer_pod";
/// … and why it was.
const REASON: &str = "wsbalancer_reason";
/// Response header that tells the client which pod was chosen …
const POD_HEADER: &str = "x-wsbalancer-pod";
/// … and why it was.
const REASON_HEADER: &str = "x-wsbalancer-reason";
const KEY: &str = "sec-websocket-key";
const ACCEPT: &str = "sec-websocket-accept";

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        let Some(balancer) = self.balancer.clone() else {
            return Action::Continue;
        };
        if self.show_status(&balancer) {
            return Action::Pause;
        }
        // Before anything else: no client chooses a pod.
        let sent = self.take_override(&balancer);
        if !self.asks_for_websocket() {
            return Action::Continue;
        }
        let cluster = property(&["xds", "cluster_name"]).unwrap_or_default();
        let decision = match balancer.route_by {
            RouteBy::Endpoint => balancer.service_of(&cluster).and_then(|(index, _)| {
                Upgrade::to_endpoint(&balancer, index, self.context_id, abi::now())
            }),
            RouteBy::Cluster if is_from_header(&cluster, sent.as_deref()) => {
                Upgrade::to_cluster(&balancer, self.context_id, abi::now())
            }
            RouteBy::Cluster => None,
        };
        match decision {
            Some(Decision::Proceed { header, upgrade }) => {
                if let Some(header) = header {
                    self.set_http_request_header(&balancer.override_header, Some(&header));
                    if balancer.route_by == RouteBy::Cluster {
                        clear_route_cache();
                    }
                }
                self.complete_handshake(&balancer);
                let Explanation { pod, reason } = upgrade.explain();
                abi::set_filter_state(CHOSEN_POD, &pod);
                abi::set_filter_state(REASON, &reason);
                self.upgrade = Some(upgrade);
                Action::Continue
            }
            Some(Decision::Reject {
                refusal,
                retry_after,
            }) => {
                self.send_http_response(
                    503,
                    vec![("retry-after", &retry_after.to_string())],
                    Some(refusal.message().as_bytes()),
                );
                Action::Pause
            }
            None => Action::Continue,
        }
    }

    fn on_http_response_headers(&mut self, _num_headers: usize, _end_of_stream: bool) -> Action {
        let (Some(balancer), Some(upgrade)) = (self.balancer.clone(), &mut self.upgrade) else {
            return Action::Continue;
        };
        let explanation = balancer.debug_headers.then(|| upgrade.explain());
        let status = hostcalls::get_map_value_bytes(
            proxy_wasm::types::MapType::HttpResponseHeaders,
            ":status",
        );
        if matches!(status, Ok(Some(status)) if status == b"101") {
            upgrade.open(&balancer, journey(upgrade.chosen()), abi::now());
            if self.key_added {
                // It answers a key that the client did not send.
                self.set_http_response_header(ACCEPT, None);
            }
        }
        if let Some(Explanation { pod, reason }) = explanation {
            self.set_http_response_header(POD_HEADER, Some(&pod));
            self.set_http_response_header(REASON_HEADER, Some(&reason));
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        if let (Some(balancer), Some(upgrade)) = (&self.balancer, &mut self.upgrade) {
            upgrade.end(balancer, &Attributes, abi::now());
        }
    }
}

/// What Envoy's attributes say of the request at hand.
struct Attributes;

impl Witness for Attributes {
    fn journey(&self) -> Journey {
        journey(None)
    }

    fn ending(&self) -> String {
        let details = property(&["response", "code_details"]).unwrap_or_default();
        String::from_utf8_lossy(&details).into_owned()
    }
}

/// What Envoy knows of the way so far. Where the pod that was `chosen` serves, it was the first
/// that was tried, and nothing else needs to be asked.
fn journey(chosen: Option<PodAddress>) -> Journey {
    let served =
        property(&["upstream", "address"]).and_then(|address| PodAddress::from_bytes(&address));
    if served.is_some() && served == chosen {
        return Journey {
            served,
            attempts: 1,
            connect_failed: false,
        };
    }
    let attempts = number(&["upstream", "request_attempt_count"]).unwrap_or(0);
    let flags = number(&["response", "flags"]).unwrap_or(0);
    Journey {
        served,
        attempts: usize::try_from(attempts).unwrap_or(usize::MAX),
        connect_failed: flags & UPSTREAM_CONNECTION_FAILURE != 0,
    }
}

/// Whether the route takes its cluster from the override header: then it has none yet, or the one
/// that the client sent.
fn is_from_header(cluster: &[u8], sent: Option<&[u8]>) -> bool {
    let first = sent.and_then(|sent| sent.split(|byte| *byte == b',').next());
    cluster.is_empty() || first.is_some_and(|first| first.trim_ascii() == cluster)
}

/// Has Envoy look for the route anew: since 1.33 it does not by itself when headers change.
fn clear_route_cache() {
    let _cleared = hostcalls::call_foreign_function("clear_route_cache", None);
}

fn property(path: &[&str]) -> Option<Vec<u8>> {
    hostcalls::get_property(path.to_vec()).ok()?
}

/// Numbers come as eight bytes, the lowest first.
fn number(path: &[&str]) -> Option<u64> {
    Some(u64::from_le_bytes(property(path)?.try_into().ok()?))
}
