//! One HTTP request and its response: what the filter does when each of their heads comes, and
//! when all is over.
//!
//! It is pure but for the [`Request`] and the [`Shell`] that it is handed: a shell's own contexts
//! only pass on what happens, and apply the [`Flow`].

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use crate::balancer::Balancer;
use crate::clock::Timestamp;
use crate::host::{Head, HeaderMap, Request, Response};
use crate::metric::{LoadReport, LoadReportHeaders, ORCA_BINARY_HEADER, ORCA_HEADER};
use crate::pod::PodAddress;
use crate::poll::{self, SHORTEST_TICK};
use crate::service::Service;
use crate::session::{Role, Sessions, without_cookie};
use crate::shell::Shell;
use crate::status::{self, StatusRequest};
use crate::upgrade::{
    Choice, Ending, Explanation, Refusal, Upgrade, Upstream, asks_for_websocket, key, route_by,
};
use crate::warning::Mismatch;

/// `UpstreamConnectionFailure` among Envoy's response flags (the attribute `response.flags`, of which
/// Envoy's `stream_info.h` has the order).
const UPSTREAM_CONNECTION_FAILURE: u64 = 1 << 5;
/// `UpstreamOverflow`: a circuit breaker was full, of retries perhaps.
const OVERFLOW: u64 = 1 << 7;
/// `DownstreamConnectionTermination`: the client has disconnected.
const CLIENT_DISCONNECTED: u64 = 1 << 14;
/// `UpstreamRetryLimitExceeded`, which stands beside whatever was answered last.
const RETRIES_EXCEEDED: u64 = 1 << 15;
/// The pod did not answer: `UpstreamRequestTimeout`, `LocalReset`, `UpstreamRemoteReset`,
/// `UpstreamConnectionTermination`, `StreamIdleTimeout` and `UpstreamProtocolError`.
const NO_ANSWER: u64 = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 16 | 1 << 23;
/// Filter state in which the access log finds the pod that was chosen, and why it was. It tells other
/// filters of this kind in the chain that one has chosen; no client can set it.
const CHOICE: &str = "wsbalancer";
/// How much of a header is logged.
const LONGEST_LOGGED: usize = 200;
/// Response header that tells the client which pod was chosen …
const POD_HEADER: &str = "x-wsbalancer-pod";
/// … and why it was.
const REASON_HEADER: &str = "x-wsbalancer-reason";
const COOKIE: &str = "cookie";
const KEY: &str = "sec-websocket-key";
const ACCEPT: &str = "sec-websocket-accept";

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It goes on.
    Continue,
    /// It ends here, with this answer.
    Respond(Response),
}

/// One request and its response.
pub struct Exchange<S: Shell> {
    balancer: Rc<Balancer<S>>,
    context_id: u32,
    /// Present for an upgrade of one of our services, and for a request that opens a session.
    upgrade: Option<Upgrade<S>>,
    /// Whether the pod was given a `sec-websocket-key` that the client did not send.
    key_added: bool,
}

impl<S: Shell> Exchange<S> {
    /// The exchange of the context `context_id`.
    pub const fn new(balancer: Rc<Balancer<S>>, context_id: u32) -> Self {
        Self {
            balancer,
            context_id,
            upgrade: None,
            key_added: false,
        }
    }

    /// The request's head has come.
    pub fn on_request(&mut self, request: &impl Request) -> Flow {
        self.balancer.note_request();
        let fields = request.header_map(Head::Request);
        if let Some(response) = show_status(&self.balancer, &fields, request) {
            return Flow::Respond(response);
        }
        let balancer = &self.balancer;
        let sent = fields.first(&balancer.settings.override_header);
        let is_handshake = is_handshake(&fields);
        if sent.is_none() && !is_handshake && !balancer.has_sessions {
            return Flow::Continue;
        }
        let cluster = route_by::cluster_of(request);
        let service = route_by::service_of(balancer, &cluster, sent);
        let role = service.map_or(Role::Other, |service| role(service, is_handshake, &fields));
        let service = service.filter(|_| is_handshake || role == Role::Opens);
        let now = service.map(|_| {
            let now = balancer.shell.now();
            balancer.note_time(now);
            now
        });
        let asks = now.is_some_and(|now| sent.is_some() || balancer.looks_for_another(now));
        // Another filter of this kind, earlier in the chain, has removed what the client sent.
        let earlier = asks.then(|| request.attribute(&[CHOICE])).flatten();
        let is_earlier = |sent| {
            let choice = earlier.as_deref();
            choice.is_some_and(|choice| Explanation::is_of(choice, sent))
        };
        if sent.is_some_and(|sent| !is_earlier(sent)) {
            route_by::remove_override(balancer, &cluster, request);
        }
        let (Some(service), Some(now)) = (service, now) else {
            if is_handshake && !cluster.is_empty() {
                balancer.note_passed_by(&cluster);
            }
            return Flow::Continue;
        };
        if is_handshake && let Some(response) = check_origin(balancer, service, &fields) {
            return Flow::Respond(response);
        }
        if earlier.is_some() {
            balancer.note_another();
            let opened = || service.table().opened();
            service.lookout.second(&balancer.shell, now, opened);
            return Flow::Continue;
        }
        if role == Role::Carries {
            let upgrade = Upgrade::in_session(service, self.context_id, now);
            return self.follow(upgrade, &fields, request);
        }
        match route_by::choose(balancer, service, now) {
            Some(choice) => self.send_on(choice, role, &fields, request, now),
            None => Flow::Continue,
        }
    }

    /// Sends an upgrade, or the opener of a session, to the pods that were chosen, or answers that
    /// there are none.
    fn send_on(
        &mut self,
        choice: Choice<S>,
        role: Role,
        fields: &HeaderMap,
        request: &impl Request,
        now: Timestamp,
    ) -> Flow {
        let balancer = &self.balancer;
        let header = route_by::header_value(balancer, &choice);
        let retry_after = choice.service.config.rules.refresh_interval;
        let on_no_pods = balancer.settings.on_no_pods;
        let upgrade = match Upgrade::begin(choice, on_no_pods, self.context_id, now) {
            Ok(upgrade) => upgrade,
            Err(refusal) => return Flow::Respond(refuse(refusal, retry_after)),
        };
        if let Some(header) = header {
            route_by::steer(balancer, &header, request);
        }
        if poll::look_early(upgrade.service(), now) {
            balancer.hurry(SHORTEST_TICK);
        }
        if let Some(sessions) = &upgrade.service().config.sessions {
            leave_session(sessions, fields, request);
        }
        let upgrade = if role == Role::Opens {
            upgrade.for_session()
        } else {
            upgrade
        };
        self.follow(upgrade, fields, request)
    }

    /// Keeps the upgrade to its end, and tells whoever comes after this filter of it.
    fn follow(&mut self, upgrade: Upgrade<S>, fields: &HeaderMap, request: &impl Request) -> Flow {
        let balancer = &self.balancer;
        if !upgrade.opens_session() {
            self.key_added = complete_handshake(balancer, fields, request);
        }
        request.set_filter_state(CHOICE, upgrade.explain().as_str());
        self.upgrade = Some(upgrade);
        Flow::Continue
    }

    /// The response's head has come.
    pub fn on_response(&mut self, request: &impl Request) {
        let Some(upgrade) = &mut self.upgrade else {
            return;
        };
        let status = request.header(Head::Response, ":status");
        let status = status.as_deref().unwrap_or_default();
        let raises_doubts = if status == b"101" {
            let service = upgrade.service();
            let upstream = Upstream {
                load_report: load_report(service, request),
                ..upstream(service, upgrade.chosen(), status, request)
            };
            look_at_steering(&self.balancer, upgrade, upstream, request);
            // The time is not worth a call of its own.
            let raises_doubts = upgrade.open(upstream, self.balancer.lately());
            if self.key_added {
                // It answers a key that the client did not send.
                request.set_header(Head::Response, ACCEPT, None);
            }
            raises_doubts
        } else if upgrade.opens_session() && is_success(status) {
            let upstream = upstream(upgrade.service(), upgrade.chosen(), status, request);
            look_at_steering(&self.balancer, upgrade, upstream, request);
            upgrade.begin_session(upstream, self.balancer.shell.now())
        } else {
            let upstream = upstream(upgrade.service(), None, status, request);
            let now = self.balancer.shell.now();
            if let Some(pod) = upgrade.lacked_retry(upstream) {
                let service = upgrade.service();
                service.lookout.unretried(&service.shell, pod);
            }
            upgrade.decline(upstream, || details(request), now)
        };
        if raises_doubts {
            self.balancer.hurry(SHORTEST_TICK);
        }
        if self.balancer.settings.debug_headers {
            let explanation = upgrade.explain();
            request.set_header(Head::Response, POD_HEADER, Some(explanation.pod()));
            request.set_header(Head::Response, REASON_HEADER, Some(explanation.reason()));
        }
    }

    /// All is over: the request has been answered, or given up, or its WebSocket has ended.
    pub fn on_end(&mut self, request: &impl Request) {
        let Some(upgrade) = &mut self.upgrade else {
            return;
        };
        let ending = Ended {
            balancer: &self.balancer,
            service: Rc::clone(upgrade.service()),
            request,
        };
        if upgrade.end(&ending, self.balancer.lately()) {
            self.balancer.hurry(SHORTEST_TICK);
        }
    }
}

/// Notes whether what was accepted, an upgrade or the opener of a session, went to the chosen pod.
/// What there is to ask costs calls of the host, and is asked only where it did not.
fn look_at_steering<S: Shell>(
    balancer: &Balancer<S>,
    upgrade: &Upgrade<S>,
    upstream: Upstream,
    request: &impl Request,
) {
    let (lookout, shell) = (&upgrade.service().lookout, &balancer.shell);
    if upstream.attempts > 1 {
        lookout.retried(shell);
    }
    match upgrade.is_obeyed(upstream) {
        None => {}
        Some(true) => lookout.obeyed(shell),
        Some(false) => {
            let mismatch = || mismatch(balancer, upgrade, upstream, request);
            lookout.disobeyed(shell, mismatch);
        }
    }
}

fn mismatch<S: Shell>(
    balancer: &Balancer<S>,
    upgrade: &Upgrade<S>,
    upstream: Upstream,
    request: &impl Request,
) -> Mismatch {
    let text =
        |bytes: Option<Vec<u8>>| String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
    Mismatch {
        chosen: upgrade
            .chosen()
            .map(|pod| pod.to_string())
            .unwrap_or_default(),
        served: text(request.attribute(&["upstream", "address"])),
        server: upgrade.server(upstream),
        cluster: String::from_utf8_lossy(&route_by::cluster_of(request)).into_owned(),
        at: balancer.shell.now().as_nanos(),
    }
}

/// A request that has ended.
struct Ended<'a, S: Shell, R> {
    balancer: &'a Balancer<S>,
    service: Rc<Service<S>>,
    request: &'a R,
}

impl<S: Shell, R: Request> Ending for Ended<'_, S, R> {
    fn upstream(&self) -> Upstream {
        upstream(&self.service, None, b"", self.request)
    }

    fn details(&self) -> String {
        details(self.request)
    }

    fn is_clients(&self) -> bool {
        flags(self.request) & CLIENT_DISCONNECTED != 0
    }

    fn now(&self) -> Timestamp {
        let now = self.balancer.shell.now();
        self.balancer.note_time(now);
        now
    }
}

/// The answer to a request for the status; none for other requests.
fn show_status<S: Shell>(
    balancer: &Balancer<S>,
    fields: &HeaderMap,
    request: &impl Request,
) -> Option<Response> {
    let status = balancer.settings.status.as_ref()?;
    let field = |name| fields.first(name).unwrap_or_default();
    let asked = StatusRequest {
        query: status::query(&status.path, field(":path"))?,
        authority: field(":authority"),
        method: field(":method"),
        accept: field("accept"),
        node: &request
            .attribute(&["xds", "node", "id"])
            .unwrap_or_default(),
    };
    let shell = &balancer.shell;
    let hosts = &status.hosts;
    Some(status::respond(
        shell,
        &asked,
        hosts,
        shell.now(),
        shell.date(),
    ))
}

/// The answer to a handshake of an origin that may open no WebSocket; none where it may.
fn check_origin<S: Shell>(
    balancer: &Balancer<S>,
    service: &Service<S>,
    fields: &HeaderMap,
) -> Option<Response> {
    let origins = service.config.origins.as_ref()?;
    // One of several may be whatever the page likes.
    let all: Vec<&[u8]> = fields.all("origin").collect();
    let sent = (!all.is_empty()).then(|| all.join(b",".as_slice()));
    let refusal = origins.check(sent.as_deref()).err()?;
    service.count(service.statistics.upgrades_forbidden);
    let cluster = &service.config.cluster;
    let sent = sent.unwrap_or_default();
    let sent = sent.get(..LONGEST_LOGGED).unwrap_or(&sent).escape_ascii();
    log::debug!("cluster {cluster}: refused a WebSocket of the origin \"{sent}\"");
    if let Some(left_out) = service.forbidden_line.take(balancer.shell.now()) {
        log::warn!(
            "cluster {cluster}: refused a WebSocket of the origin \"{sent}\", and {left_out} others \
             since the last such line"
        );
    }
    Some(Response {
        status: 403,
        headers: Vec::new(),
        body: refusal.message().as_bytes().to_vec(),
    })
}

/// What a request is to the sessions of its service.
fn role<S: Shell>(service: &Service<S>, is_handshake: bool, fields: &HeaderMap) -> Role {
    let sessions = service.config.sessions.as_ref();
    sessions.map_or(Role::Other, |sessions| {
        sessions.role(is_handshake, |name| fields.first(name))
    })
}

/// Takes the cookie of the client's last session away, by which Envoy would send the request to the
/// pod of that one.
fn leave_session(sessions: &Sessions, fields: &HeaderMap, request: &impl Request) {
    let Some(name) = &sessions.kept_by else {
        return;
    };
    let cookies = fields.first(COOKIE).unwrap_or_default();
    match without_cookie(cookies, name) {
        None => {}
        Some(left) if left.is_empty() => request.set_header(Head::Request, COOKIE, None),
        Some(left) => request.set_header_bytes(Head::Request, COOKIE, &left),
    }
}

/// Whether a status is 2xx (RFC 9110, section 15).
fn is_success(status: &[u8]) -> bool {
    matches!(status, [b'2', _, _])
}

fn is_handshake(fields: &HeaderMap) -> bool {
    let field = |name| fields.first(name).unwrap_or_default();
    asks_for_websocket(field("upgrade"), field("connection"))
}

/// An HTTP/1.1 pod refuses a handshake without a key, and HTTP/2 clients send none. Whether one
/// was added.
fn complete_handshake<S: Shell>(
    balancer: &Balancer<S>,
    fields: &HeaderMap,
    request: &impl Request,
) -> bool {
    if fields.first(KEY).is_some() {
        return false;
    }
    let version = request.attribute(&["request", "protocol"]);
    if version.unwrap_or_default().starts_with(b"HTTP/1") {
        return false;
    }
    let key = key(&mut balancer.random());
    request.set_header(Head::Request, KEY, Some(&key));
    true
}

fn refuse(refusal: Refusal, retry_after: Duration) -> Response {
    let retry_after = Cow::Owned(whole_seconds(retry_after).to_string());
    Response {
        status: 503,
        headers: vec![("retry-after", retry_after)],
        body: refusal.message().as_bytes().to_vec(),
    }
}

/// Rounded up: `retry-after` knows no fractions (RFC 9110, section 10.2.3).
fn whole_seconds(span: Duration) -> u64 {
    span.as_secs()
        .saturating_add(u64::from(span.subsec_nanos() > 0))
}

/// What Envoy knows of the way so far. Where the pod that was `chosen` serves, it was the first
/// that was tried, and nothing else needs to be asked. `status` is what was answered; empty before
/// that.
fn upstream<S: Shell>(
    service: &Service<S>,
    chosen: Option<PodAddress>,
    status: &[u8],
    request: &impl Request,
) -> Upstream {
    if !route_by::went_by_choice(service, request) {
        // What became of it says nothing of the pod.
        return Upstream::default();
    }
    let address = request.attribute(&["upstream", "address"]);
    let pod = address.and_then(|address| route_by::pod_at(service, &address));
    if pod.is_some() && pod == chosen {
        return Upstream {
            pod,
            attempts: 1,
            ..Upstream::default()
        };
    }
    let attempts = number(request, &["upstream", "request_attempt_count"]).unwrap_or(0);
    let flags = flags(request);
    let connect_failed = flags & UPSTREAM_CONNECTION_FAILURE != 0;
    // With any other flag, an answer of 5xx is Envoy's own.
    let is_error = status.starts_with(b"5") && flags & !RETRIES_EXCEEDED == 0;
    let has_left = flags & CLIENT_DISCONNECTED != 0;
    let no_answer = flags & NO_ANSWER != 0;
    Upstream {
        pod,
        attempts: usize::try_from(attempts).unwrap_or(usize::MAX),
        connect_failed,
        is_overflow: flags & OVERFLOW != 0,
        failed: !has_left && !connect_failed && (is_error || no_answer),
        unserved: !has_left && (status.starts_with(b"5") || connect_failed || no_answer),
        load_report: None,
    }
}

/// What the answer to a handshake says of its pod; none where that is not asked for.
fn load_report<S: Shell>(service: &Service<S>, request: &impl Request) -> Option<LoadReport> {
    let metric = service.config.orca.as_ref()?;
    let header = |name| request.header(Head::Response, name);
    let binary = header(ORCA_BINARY_HEADER);
    let plain = match binary {
        Some(_) => None,
        None => header(ORCA_HEADER),
    };
    Some(metric.read(LoadReportHeaders {
        plain: plain.as_deref(),
        binary: binary.as_deref(),
    }))
}

/// Envoy's response flags.
fn flags(request: &impl Request) -> u64 {
    number(request, &["response", "flags"]).unwrap_or(0)
}

/// Why a request ended, in Envoy's words.
fn details(request: &impl Request) -> String {
    let details = request.attribute(&["response", "code_details"]);
    String::from_utf8_lossy(&details.unwrap_or_default()).into_owned()
}

/// Numbers come as eight bytes, the lowest first.
fn number(request: &impl Request, path: &[&str]) -> Option<u64> {
    Some(u64::from_le_bytes(
        request.attribute(path)?.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::PodState;
    use crate::metric::Complaint;
    use crate::pod::{PodRecord, Reported};
    use crate::table;
    use crate::testing::{self, NOW};
    use crate::testing::{FakeHost, FakeRequest};
    use crate::warning::Key;

    const OVERRIDE: &str = "x-gateway-destination-endpoint";

    /// Two pods, the second of which has fewer, and more options.
    fn exchange(options: &str) -> Exchange<FakeHost> {
        let json = format!(
            r#"{{{options} "services": [{{"cluster": "chat",
               "endpoints": ["10.0.0.1:8080", "10.0.0.2:8080"]}}]}}"#
        );
        let balancer = testing::balancer(&json, &[&[5, 1]]);
        Exchange::new(Rc::new(balancer), 1)
    }

    fn estimates(exchange: &Exchange<FakeHost>) -> Vec<f64> {
        testing::estimates(&exchange.balancer.services[0])
    }

    /// A handshake on a route to `cluster`.
    fn handshake(cluster: &str) -> FakeRequest {
        let request = FakeRequest::with(&[
            (":method", b"GET"),
            (":path", b"/chat"),
            ("upgrade", b"websocket"),
            ("connection", b"keep-alive, Upgrade"),
            ("sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        ]);
        request.put_attribute("xds.cluster_name", cluster.as_bytes());
        request
    }

    fn respond(exchange: &mut Exchange<FakeHost>, request: &FakeRequest, status: &[u8], pod: &str) {
        request.put(Head::Response, ":status", status);
        request.put_attribute("upstream.address", pod.as_bytes());
        exchange.on_response(request);
    }

    #[test]
    fn a_handshake_is_sent_to_the_pods_with_the_fewest_and_counted_to_its_end() {
        let mut exchange = exchange("");
        let request = handshake("chat");
        assert_eq!(exchange.on_request(&request), Flow::Continue);
        let pods = request.text(Head::Request, OVERRIDE);
        assert_eq!(pods.as_deref(), Some("10.0.0.2:8080,10.0.0.1:8080"));
        let choice = request.filter_state(CHOICE);
        assert_eq!(
            choice.as_deref(),
            Some("10.0.0.2:8080 (estimate 1, runner-up 10.0.0.1:8080 with 5)")
        );
        assert_eq!(estimates(&exchange), [5.0, 2.0]);
        respond(&mut exchange, &request, b"101", "10.0.0.2:8080");
        assert_eq!(estimates(&exchange), [5.0, 2.0]);
        exchange.on_end(&request);
        assert_eq!(estimates(&exchange), [5.0, 1.0]);
    }

    #[test]
    fn what_is_no_handshake_of_a_service_is_left_alone() {
        let no_upgrade = handshake("chat");
        no_upgrade.set_header(Head::Request, "upgrade", None);
        let other_upgrade = handshake("chat");
        other_upgrade.put(Head::Request, "upgrade", b"h2c");
        let not_this_connection = handshake("chat");
        not_this_connection.put(Head::Request, "connection", b"\xff\xfe");
        for (request, is_removed) in [
            (no_upgrade, true),
            (other_upgrade, true),
            (not_this_connection, true),
            (handshake(""), true),
            (handshake("mail"), false),
        ] {
            let mut exchange = exchange("");
            request.put(Head::Request, OVERRIDE, b"10.0.0.1:8080");
            assert_eq!(exchange.on_request(&request), Flow::Continue);
            assert_eq!(request.text(Head::Request, OVERRIDE).is_none(), is_removed);
            respond(&mut exchange, &request, b"101", "10.0.0.2:8080");
            exchange.on_end(&request);
            assert_eq!(estimates(&exchange), [5.0, 1.0]);
            assert_eq!(request.filter_state(CHOICE), None);
        }
    }

    /// An endpoint picker's, for instance, whose clusters are its own.
    #[test]
    fn the_override_header_on_routes_to_other_clusters_is_anothers() {
        for (cluster, kept) in [("picked", true), ("chat", false), ("", false)] {
            for is_handshake in [true, false] {
                let mut exchange = exchange(r#""onNoPods": "reject", "cacheTTL": "1s","#);
                // No pod is usable: the filter has nothing to put in the place of the client's.
                let late = NOW.plus(Duration::from_secs(2));
                exchange.balancer.shell.set_now(late);
                let request = handshake(cluster);
                request.put(Head::Request, OVERRIDE, b"10.9.9.9:8080");
                if !is_handshake {
                    request.set_header(Head::Request, "upgrade", None);
                }
                exchange.on_request(&request);
                let value = request.text(Head::Request, OVERRIDE);
                assert_eq!(value.is_some(), kept, "{cluster:?} {is_handshake}");
            }
        }
    }

    #[test]
    fn filters_with_other_headers_leave_each_others_alone() {
        let mut exchange = exchange(r#""overrideHeader": "x-pod","#);
        let request = handshake("chat");
        request.put(Head::Request, OVERRIDE, b"10.9.9.9:8080");
        request.put(Head::Request, "x-pod", b"10.9.9.9:8080");
        exchange.on_request(&request);
        let value = |name| request.text(Head::Request, name).unwrap();
        assert_eq!(value("x-pod"), "10.0.0.2:8080,10.0.0.1:8080");
        assert_eq!(value(OVERRIDE), "10.9.9.9:8080");
    }

    /// They share the table, as filters of the same `vm_id` do.
    #[test]
    fn two_filters_in_one_chain_count_a_websocket_once() {
        for (own, written) in [
            (OVERRIDE, Some("10.0.0.2:8080,10.0.0.1:8080")),
            // What the first did not write is the client's.
            ("x-pod", None),
        ] {
            let mut first = exchange("");
            let json = format!(
                r#"{{"overrideHeader": "{own}", "services": [{{"cluster": "chat",
                   "endpoints": ["10.0.0.1:8080", "10.0.0.2:8080"]}}]}}"#
            );
            let balancer = Rc::new(testing::worker_of(&first.balancer, &json));
            let mut second = Exchange::new(Rc::clone(&balancer), 2);
            let request = handshake("chat");
            request.put(Head::Request, own, b"10.9.9.9:8080");
            assert_eq!(first.on_request(&request), Flow::Continue);
            assert_eq!(second.on_request(&request), Flow::Continue);
            assert_eq!(request.text(Head::Request, own).as_deref(), written);
            assert_eq!(estimates(&first), [5.0, 2.0]);
            respond(&mut second, &request, b"101", "10.0.0.2:8080");
            respond(&mut first, &request, b"101", "10.0.0.2:8080");
            assert_eq!(estimates(&first), [5.0, 2.0]);
            let table = first.balancer.services[0].table();
            assert_eq!(table.pods()[1].opened(), 1);
            second.on_end(&request);
            first.on_end(&request);
            assert_eq!(estimates(&first), [5.0, 1.0]);
            let counter = "wsbalancer.chat.upgrades_balanced";
            assert_eq!(first.balancer.shell.statistic(counter), 1);
            let service = &balancer.services[0];
            let findings = Key::of(&table::key(&service.config)).read(&balancer.shell);
            assert!(findings.second.is_some());
        }
    }

    const SESSIONS: &str = r#""sessions": {"openedBy": [{"pathPrefix": "/socket.io/"}],
        "carriedBy": [{"query": "sid"}], "keptBy": {"cookie": "pod"}},"#;

    /// A plain request on a route to the service.
    fn plain(path: &str) -> FakeRequest {
        let request = FakeRequest::with(&[(":method", b"GET"), (":path", path.as_bytes())]);
        request.put_attribute("xds.cluster_name", b"chat");
        request
    }

    #[test]
    fn what_opens_a_session_is_sent_as_a_websocket_is_and_counts_until_its_upgrade_does() {
        let mut opener = exchange(SESSIONS);
        let balancer = Rc::clone(&opener.balancer);
        let request = plain("/socket.io/?EIO=4&transport=polling");
        request.put(Head::Request, "cookie", b"a=b; pod=1");
        assert_eq!(opener.on_request(&request), Flow::Continue);
        let pods = request.text(Head::Request, OVERRIDE);
        assert_eq!(pods.as_deref(), Some("10.0.0.2:8080,10.0.0.1:8080"));
        assert_eq!(
            request.text(Head::Request, "cookie").as_deref(),
            Some("a=b")
        );
        assert_eq!(request.text(Head::Request, KEY), None);
        assert_eq!(estimates(&opener), [5.0, 2.0]);
        respond(&mut opener, &request, b"200", "10.0.0.2:8080");
        opener.on_end(&request);
        assert_eq!(estimates(&opener), [5.0, 2.0]);

        let mut poll = Exchange::new(Rc::clone(&balancer), 2);
        let request = plain("/socket.io/?EIO=4&transport=polling&sid=x");
        request.put(Head::Request, "cookie", b"pod=1");
        request.put(Head::Request, OVERRIDE, b"10.0.0.1:8080");
        assert_eq!(poll.on_request(&request), Flow::Continue);
        assert_eq!(request.text(Head::Request, OVERRIDE), None);
        assert_eq!(
            request.text(Head::Request, "cookie").as_deref(),
            Some("pod=1")
        );
        respond(&mut poll, &request, b"200", "10.0.0.2:8080");
        assert_eq!(estimates(&opener), [5.0, 2.0]);

        let mut upgrade = Exchange::new(Rc::clone(&balancer), 3);
        let request = handshake("chat");
        request.put(
            Head::Request,
            ":path",
            b"/socket.io/?transport=websocket&sid=x",
        );
        request.put(Head::Request, "cookie", b"pod=1");
        request.put(Head::Request, OVERRIDE, b"10.0.0.1:8080");
        assert_eq!(upgrade.on_request(&request), Flow::Continue);
        assert_eq!(request.text(Head::Request, OVERRIDE), None);
        assert_eq!(
            request.text(Head::Request, "cookie").as_deref(),
            Some("pod=1")
        );
        assert_eq!(
            request.filter_state(CHOICE).as_deref(),
            Some("session (the request carries a session)")
        );
        respond(&mut upgrade, &request, b"101", "10.0.0.2:8080");
        assert_eq!(estimates(&opener), [5.0, 2.0]);
        let table = balancer.services[0].table();
        assert_eq!(table.pods()[1].own_connections(), 1);
        upgrade.on_end(&request);
        assert_eq!(estimates(&opener), [5.0, 1.0]);
        let statistic = |name: &str| balancer.shell.statistic(&format!("wsbalancer.chat.{name}"));
        assert_eq!(statistic("upgrades_balanced"), 1);
        assert_eq!(statistic("upgrades_in_session"), 1);
        assert_eq!(statistic("upgrades_mismatched"), 0);
    }

    /// As where the cookie of the last session has been read before it is taken away.
    #[test]
    fn an_opener_on_another_pod_than_the_chosen_one_is_a_mismatch() {
        let mut opener = exchange(SESSIONS);
        let request = plain("/socket.io/");
        opener.on_request(&request);
        respond(&mut opener, &request, b"200", "10.0.0.1:8080");
        opener.on_end(&request);
        let shell = &opener.balancer.shell;
        assert_eq!(shell.statistic("wsbalancer.chat.upgrades_mismatched"), 1);
    }

    #[test]
    fn a_second_response_counts_nothing() {
        let mut exchange = exchange("");
        let request = handshake("chat");
        exchange.on_request(&request);
        for status in [b"101".as_slice(), b"101", b"503"] {
            respond(&mut exchange, &request, status, "10.0.0.2:8080");
            assert_eq!(estimates(&exchange), [5.0, 2.0]);
        }
        exchange.on_end(&request);
        assert_eq!(estimates(&exchange), [5.0, 1.0]);
    }

    #[test]
    fn an_opener_that_opens_nothing_counts_no_longer() {
        for status in [Some(b"400".as_slice()), Some(b"503"), Some(b"2000"), None] {
            let mut exchange = exchange(SESSIONS);
            let request = plain("/socket.io/");
            exchange.on_request(&request);
            assert_eq!(estimates(&exchange), [5.0, 2.0]);
            if let Some(status) = status {
                respond(&mut exchange, &request, status, "10.0.0.2:8080");
                assert_eq!(estimates(&exchange), [5.0, 1.0]);
            }
            exchange.on_end(&request);
            assert_eq!(estimates(&exchange), [5.0, 1.0]);
        }
    }

    #[test]
    fn an_opener_counts_on_the_pod_that_took_it() {
        let mut exchange = exchange(SESSIONS);
        let request = plain("/socket.io/");
        exchange.on_request(&request);
        request.put_attribute("upstream.request_attempt_count", &2_u64.to_le_bytes());
        respond(&mut exchange, &request, b"200", "10.0.0.1:8080");
        assert_eq!(estimates(&exchange), [6.0, 1.0]);
        let table = exchange.balancer.services[0].table();
        let doubted: Vec<bool> = table.pods().iter().map(PodRecord::is_doubted).collect();
        assert_eq!(doubted, [false, true]);
    }

    #[test]
    fn where_no_pod_is_usable_openers_are_refused_as_websockets_are() {
        let mut exchange = exchange(&format!(r#""onNoPods": "reject", {SESSIONS}"#));
        exchange
            .balancer
            .shell
            .set_now(NOW.plus(Duration::from_secs(31)));
        let flow = exchange.on_request(&plain("/socket.io/"));
        assert!(matches!(flow, Flow::Respond(Response { status: 503, .. })));
        let carries = plain("/socket.io/?sid=x");
        assert_eq!(exchange.on_request(&carries), Flow::Continue);
    }

    /// A handshake of its own is no part of the client's last session.
    #[test]
    fn a_websocket_without_a_session_loses_the_cookie_and_one_with_it_keeps_its_key() {
        let mut single = exchange(SESSIONS);
        let request = handshake("chat");
        request.put(Head::Request, "cookie", b"pod=1");
        single.on_request(&request);
        assert_eq!(request.text(Head::Request, "cookie"), None);
        assert!(request.text(Head::Request, OVERRIDE).is_some());

        let mut carries = exchange(SESSIONS);
        let request = handshake("chat");
        request.put(Head::Request, ":path", b"/socket.io/?sid=x");
        request.set_header(Head::Request, KEY, None);
        request.put_attribute("request.protocol", b"HTTP/2");
        carries.on_request(&request);
        assert!(request.text(Head::Request, KEY).is_some());
    }

    #[test]
    fn the_origin_is_checked_of_handshakes_that_carry_a_session_and_of_no_plain_request() {
        let options = format!(
            r#""allowedOrigins": ["https://chat.example"], "requireOrigin": true, {SESSIONS}"#
        );
        let request = handshake("chat");
        request.put(Head::Request, ":path", b"/socket.io/?sid=x");
        let flow = exchange(&options).on_request(&request);
        assert!(matches!(flow, Flow::Respond(Response { status: 403, .. })));
        let flow = exchange(&options).on_request(&plain("/socket.io/"));
        assert_eq!(flow, Flow::Continue);
    }

    #[test]
    fn two_filters_in_one_chain_count_a_session_once() {
        let mut first = exchange(SESSIONS);
        let mut second = Exchange::new(Rc::clone(&first.balancer), 2);
        let request = plain("/socket.io/");
        first.on_request(&request);
        second.on_request(&request);
        assert_eq!(estimates(&first), [5.0, 2.0]);
        respond(&mut second, &request, b"200", "10.0.0.2:8080");
        respond(&mut first, &request, b"200", "10.0.0.2:8080");
        assert_eq!(estimates(&first), [5.0, 2.0]);
        let (mut first, mut second) = (
            Exchange::new(Rc::clone(&first.balancer), 3),
            Exchange::new(Rc::clone(&first.balancer), 4),
        );
        let request = handshake("chat");
        request.put(Head::Request, ":path", b"/socket.io/?sid=x");
        for exchange in [&mut first, &mut second] {
            exchange.on_request(&request);
        }
        for exchange in [&mut second, &mut first] {
            respond(exchange, &request, b"101", "10.0.0.2:8080");
        }
        let table = first.balancer.services[0].table();
        assert_eq!(table.pods()[1].opened(), 1);
        assert_eq!(estimates(&first), [5.0, 2.0]);
    }

    /// A route of its own to a cluster, which a client names in the header.
    #[test]
    fn among_clusters_an_upgrade_that_went_elsewhere_is_not_counted() {
        let json = r#"{"routeBy": "cluster", "services": [{"cluster": "a"}, {"cluster": "b"}]}"#;
        for (status, flags) in [(b"101".as_slice(), 0_u64), (b"503", 0x20)] {
            let balancer = Rc::new(testing::balancer(json, &[&[5], &[1]]));
            let mut exchange = Exchange::new(Rc::clone(&balancer), 1);
            let request = handshake("all-pods");
            request.put(Head::Request, OVERRIDE, b"all-pods");
            exchange.on_request(&request);
            assert_eq!(request.text(Head::Request, OVERRIDE).as_deref(), Some("b"));
            request.put_attribute("upstream.request_attempt_count", &1_u64.to_le_bytes());
            request.put_attribute("response.flags", &flags.to_le_bytes());
            respond(&mut exchange, &request, status, "10.0.0.7:8080");
            let b = &balancer.services[1];
            assert_eq!(testing::estimates(b), [1.0]);
            assert_eq!(b.table().pods()[0].opened(), 0);
            assert_eq!(testing::states(b), [PodState::Usable]);
            exchange.on_end(&request);
            assert_eq!(testing::estimates(b), [1.0]);
        }
    }

    /// Envoy keeps such a stream open until the client goes: a 426 should name the protocol.
    #[test]
    fn an_answer_that_keeps_the_upgrade_header_settles_the_handshake() {
        let mut exchange = exchange("");
        let request = handshake("chat");
        exchange.on_request(&request);
        assert_eq!(estimates(&exchange), [5.0, 2.0]);
        request.put(Head::Response, "upgrade", b"websocket");
        respond(&mut exchange, &request, b"426", "10.0.0.2:8080");
        assert_eq!(estimates(&exchange), [5.0, 1.0]);
        exchange.on_end(&request);
        assert_eq!(estimates(&exchange), [5.0, 1.0]);
    }

    #[test]
    fn a_handshake_of_another_origin_is_refused_and_counted() {
        const OPTIONS: &str = r#""allowedOrigins": ["https://chat.example"],"#;
        const REQUIRED: &str =
            r#""allowedOrigins": ["https://chat.example"], "requireOrigin": true,"#;
        for (options, origin, body) in [
            (OPTIONS, Some("https://chat.example"), None),
            (OPTIONS, None, None),
            ("", Some("https://evil.example"), None),
            (
                OPTIONS,
                Some("https://evil.example"),
                Some("pages of this origin may not open a WebSocket here\n"),
            ),
            (
                OPTIONS,
                Some("https://chat.example,https://chat.example"),
                Some("pages of this origin may not open a WebSocket here\n"),
            ),
            (
                REQUIRED,
                None,
                Some("a WebSocket needs the header origin here\n"),
            ),
        ] {
            let mut exchange = exchange(options);
            let request = handshake("chat");
            if let Some(origin) = origin {
                request.put(Head::Request, "origin", origin.as_bytes());
            }
            let expected = body.map_or(Flow::Continue, |body| {
                Flow::Respond(Response {
                    status: 403,
                    headers: Vec::new(),
                    body: body.as_bytes().to_vec(),
                })
            });
            assert_eq!(exchange.on_request(&request), expected, "{origin:?}");
            let forbidden = exchange
                .balancer
                .shell
                .statistic("wsbalancer.chat.upgrades_forbidden");
            assert_eq!(forbidden, u64::from(body.is_some()), "{origin:?}");
            let chosen = estimates(&exchange)[1];
            assert_eq!(chosen, if body.is_some() { 1.0 } else { 2.0 });
        }
    }

    #[test]
    fn the_origin_of_what_is_no_websocket_is_nobodys_business() {
        let mut exchange = exchange(r#""allowedOrigins": ["https://chat.example"],"#);
        for request in [handshake("mail"), FakeRequest::default()] {
            request.put(Head::Request, "origin", b"https://evil.example");
            assert_eq!(exchange.on_request(&request), Flow::Continue);
        }
    }

    #[test]
    fn only_101_opens_a_websocket() {
        for status in [b"200".as_slice(), b"503", b"1011", b"\xff"] {
            let mut exchange = exchange("");
            let request = handshake("chat");
            exchange.on_request(&request);
            respond(&mut exchange, &request, status, "10.0.0.2:8080");
            exchange.on_end(&request);
            let table = exchange.balancer.services[0].table();
            assert_eq!(table.pods()[1].opened(), 0, "{status:?}");
            assert_eq!(estimates(&exchange), [5.0, 1.0], "{status:?}");
        }
    }

    /// With the metric that is the count, and without: then nobody looks at it.
    #[test]
    fn the_answer_to_a_handshake_may_have_the_count_of_its_pod() {
        const ORCA: &str = r#""metric": {"orca": "named_metrics.open"},"#;
        const REPORT: &str = "TEXT named_metrics.open=40";
        for (options, header, value, estimate, complaint) in [
            (ORCA, ORCA_HEADER, REPORT, 40.0, None),
            // `open` is 40.
            (
                ORCA,
                ORCA_BINARY_HEADER,
                "Qg8KBG9wZW4RAAAAAAAAREA",
                40.0,
                None,
            ),
            (ORCA, "x-other", REPORT, 2.0, Some(Complaint::NoLoadReport)),
            (
                ORCA,
                ORCA_HEADER,
                "open=40;",
                2.0,
                Some(Complaint::LoadReportForm),
            ),
            ("", ORCA_HEADER, REPORT, 2.0, None),
        ] {
            let balancer = exchange(options).balancer;
            // It has a request, and so is the current configuration, by which the pods are asked.
            let request = handshake("chat");
            let mut first = Exchange::new(Rc::clone(&balancer), 1);
            first.on_request(&request);
            respond(&mut first, &request, b"403", "10.0.0.2:8080");
            let counts = [5, 1].map(Reported::of);
            testing::report_all(&balancer.services[0], NOW, &counts);

            let mut exchange = Exchange::new(balancer, 2);
            let request = handshake("chat");
            exchange.on_request(&request);
            request.put(Head::Response, header, value.as_bytes());
            respond(&mut exchange, &request, b"101", "10.0.0.2:8080");
            assert_eq!(estimates(&exchange), [5.0, estimate], "{options} {value}");
            let table = exchange.balancer.services[0].table();
            let told = table.pods()[1].load_report_complaint();
            assert_eq!(told, complaint, "{options} {value}");
            exchange.on_end(&request);
            assert_eq!(estimates(&exchange), [5.0, estimate - 1.0]);
        }
    }

    /// Envoy writes numbers as eight bytes, the lowest first.
    #[test]
    fn what_envoy_says_of_the_way_tells_who_refused() {
        let number = |number: u64| number.to_le_bytes();
        let cases = [
            // Another flag than that of a failed connection.
            (2, 0x40, [PodState::Usable; 2]),
            // Nobody took it; of the first it is not told why.
            (2, 0x20, [PodState::Refusing, PodState::Usable]),
        ];
        for (attempts, flags, states) in cases {
            let mut exchange = exchange("");
            let request = handshake("chat");
            exchange.on_request(&request);
            request.put_attribute("upstream.address", b"10.0.0.1:8080");
            request.put_attribute("upstream.request_attempt_count", &number(attempts));
            request.put_attribute("response.flags", &number(flags));
            exchange.on_end(&request);
            let service = &exchange.balancer.services[0];
            assert_eq!(testing::states(service), states);
            assert!(service.table().pods()[1].is_doubted());
        }
        let service = &exchange("").balancer.services[0];
        let nothing = upstream(service, None, b"", &handshake("chat"));
        assert_eq!(nothing, Upstream::default());
    }

    /// Only what the pod itself did is its failure; to the client everything that the client did not do
    /// itself is one.
    #[test]
    fn what_a_pod_fails_is_told_from_what_envoy_and_the_client_do() {
        for (status, flags, is_pods, is_unserved) in [
            ("500", 0, true, true),
            ("503", 0, true, true),
            ("503", 0x8000, true, true),
            ("504", 0x4, true, true),
            ("503", 0x40, true, true),
            ("", 0x10, true, true),
            // No connection, no host, a circuit breaker, a client that left, a fault of Envoy's.
            ("503", 0x20, false, true),
            ("503", 0x2, false, true),
            ("503", 0x80, false, true),
            ("", 0x4000, false, false),
            ("", 0x4040, false, false),
            ("503", 0x400, false, true),
            // A client's mistake, and no WebSocket.
            ("404", 0, false, false),
            ("426", 0, false, false),
            ("200", 0, false, false),
        ] {
            let exchange = exchange("");
            let request = handshake("chat");
            request.put_attribute("upstream.address", b"10.0.0.1:8080");
            request.put_attribute("upstream.request_attempt_count", &1_u64.to_le_bytes());
            request.put_attribute("response.flags", &u64::to_le_bytes(flags));
            let service = &exchange.balancer.services[0];
            let upstream = upstream(service, None, status.as_bytes(), &request);
            let told = (upstream.failed, upstream.unserved);
            assert_eq!(told, (is_pods, is_unserved), "{status} {flags:#x}");
        }
    }

    #[test]
    fn an_http_2_handshake_gets_a_key_and_its_answer_loses_the_accept() {
        for (protocol, is_given) in [("HTTP/2", true), ("HTTP/3", true), ("HTTP/1.1", false)] {
            let mut exchange = exchange("");
            let request = handshake("chat");
            request.set_header(Head::Request, KEY, None);
            request.put_attribute("request.protocol", protocol.as_bytes());
            exchange.on_request(&request);
            assert_eq!(request.text(Head::Request, KEY).is_some(), is_given);
            request.put(Head::Response, ACCEPT, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            respond(&mut exchange, &request, b"101", "10.0.0.2:8080");
            assert_eq!(request.text(Head::Response, ACCEPT).is_none(), is_given);
        }
    }

    #[test]
    fn a_key_that_the_client_sent_stays() {
        let mut exchange = exchange("");
        let request = handshake("chat");
        request.put_attribute("request.protocol", b"HTTP/2");
        exchange.on_request(&request);
        let key = request.text(Head::Request, KEY);
        assert_eq!(key.as_deref(), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    }

    #[test]
    fn without_a_usable_pod_the_client_is_told_when_to_try_again() {
        let mut exchange = exchange(r#""onNoPods": "reject","#);
        let late = NOW.plus(Duration::from_secs(31));
        exchange.balancer.shell.set_now(late);
        let request = handshake("chat");
        let Flow::Respond(response) = exchange.on_request(&request) else {
            panic!("it is refused");
        };
        assert_eq!(response.status, 503);
        assert_eq!(response.headers, [("retry-after", "5".into())]);
        assert_eq!(response.body, b"no pod is ready for a WebSocket\n");
        assert_eq!(request.text(Head::Request, OVERRIDE), None);
        exchange.on_end(&request);
        assert_eq!(whole_seconds(Duration::from_millis(1_001)), 2);
    }

    #[test]
    fn responses_say_why_if_they_are_to() {
        for (options, says) in [(r#""debugHeaders": true,"#, true), ("", false)] {
            let mut exchange = exchange(options);
            let request = handshake("chat");
            exchange.on_request(&request);
            respond(&mut exchange, &request, b"403", "10.0.0.2:8080");
            let pod = request.text(Head::Response, POD_HEADER);
            assert_eq!(pod.as_deref(), says.then_some("10.0.0.2:8080"));
            let reason = request.text(Head::Response, REASON_HEADER);
            assert_eq!(reason.is_some(), says);
        }
    }

    #[test]
    fn the_status_is_answered_at_its_path_and_nowhere_else() {
        for (path, is_shown) in [
            ("/status", true),
            ("/status?format=json", true),
            ("/", false),
        ] {
            let mut exchange = exchange(r#""status": {"path": "/status"},"#);
            let request = FakeRequest::with(&[
                (":method", b"GET"),
                (":path", path.as_bytes()),
                (":authority", b"status.example"),
            ]);
            let flow = exchange.on_request(&request);
            assert_eq!(flow != Flow::Continue, is_shown, "{path}");
            if let Flow::Respond(response) = flow {
                assert_eq!(response.status, 421, "it has not this name");
            }
        }
        let silent = exchange("").on_request(&FakeRequest::with(&[(":path", b"/status")]));
        assert_eq!(silent, Flow::Continue);
    }
}
