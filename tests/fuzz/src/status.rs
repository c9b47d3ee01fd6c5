//! What the filter shows of itself: to whoever asks however, of pods that say of themselves what
//! they like.

use std::time::SystemTime;

use wsbalancer::config::Config;
use wsbalancer::host::{Answer, Response};
use wsbalancer::status::{self, StatusRequest};
use wsbalancer::testing::{FakeHost, NOW};
use wsbalancer::worker::Worker;

/// The first four lines are of the request, the rest is what the pod answers. All forms of the answer
/// are what they say that they are.
pub(crate) fn run(data: &[u8]) {
    let mut lines = data.splitn(5, |&byte| byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let [authority, method, query, accept, body] = [(); 5].map(|()| line());
    let host = polled(body);
    let asked = StatusRequest {
        authority,
        method,
        query,
        accept,
        node: b"",
    };
    let response = respond(&host, &asked);
    assert!([200, 400, 405, 421].contains(&response.status));

    let json = respond(&host, &get(b"format=json"));
    let json: Result<serde_json::Value, _> = serde_json::from_slice(&json.body);
    assert!(json.is_ok(), "{json:?}");
    let series = String::from_utf8(respond(&host, &get(b"format=prometheus")).body);
    for line in series.expect("it is text").lines() {
        let value = line.rsplit(' ').next().unwrap_or_default();
        assert!(
            line.starts_with("# ") || value.parse::<f64>().is_ok(),
            "{line}"
        );
    }
}

fn get(query: &[u8]) -> StatusRequest<'_> {
    StatusRequest {
        authority: b"localhost",
        method: b"GET",
        query,
        accept: b"",
        node: b"",
    }
}

fn respond(host: &FakeHost, request: &StatusRequest<'_>) -> Response {
    status::respond(host, request, &[], NOW, SystemTime::UNIX_EPOCH)
}

/// A process whose one pod has answered this.
fn polled(body: &[u8]) -> FakeHost {
    let host = FakeHost::at(NOW);
    let json = br#"{"services": [{"cluster": "chat", "endpoints": ["10.0.0.1:8080"]}]}"#;
    let config = Config::parse(json).expect("it is one");
    let mut worker = Worker::new(host.clone(), config, 1, 1);
    worker.tick();
    for call in host.take_calls() {
        worker.answer(call.token, Answer::Response { status: 200, body });
    }
    worker.tick();
    host
}
