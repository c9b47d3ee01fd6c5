//! What the filter shows of itself, at a path of its own: a page for people, JSON for programs,
//! and Prometheus' text format. All of it comes from shared data, so that any worker can answer,
//! and nothing is asked of any pod.

use std::time::SystemTime;

use crate::balancer::Balancer;
use crate::clock::Timestamp;
use crate::host::SharedData;

mod exposition;
mod page;
mod snapshot;

use snapshot::Snapshot;

/// A request for the status.
#[derive(Clone, Copy, Debug)]
pub struct Request<'head> {
    /// The method.
    pub method: &'head [u8],
    /// What stands behind the path's question mark; empty where there is none.
    pub query: &'head [u8],
    /// The header `accept`; empty where there is none.
    pub accept: &'head [u8],
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u32,
    /// Header fields.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The body. For a HEAD request Envoy leaves it out.
    pub body: Vec<u8>,
}

/// In what form it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Prometheus,
    Page,
}

impl Format {
    /// The form that the query names, or else the one that the client accepts; none for a name
    /// that is none.
    fn of(request: &Request<'_>) -> Option<Self> {
        let mut parameters = request.query.split(|&byte| byte == b'&');
        let named = parameters.find_map(|parameter| parameter.strip_prefix(b"format="));
        match named {
            Some(b"json") => Some(Self::Json),
            Some(b"prometheus") => Some(Self::Prometheus),
            Some(b"html") => Some(Self::Page),
            Some(_) => None,
            None if contains(request.accept, b"application/json") => Some(Self::Json),
            None if contains(request.accept, b"openmetrics-text") => Some(Self::Prometheus),
            None => Some(Self::Page),
        }
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len())
        .any(|part| part.eq_ignore_ascii_case(word))
}

/// What stands behind the path's question mark, where the request is for the status; none for
/// other requests.
#[must_use]
pub fn query<'head, H>(balancer: &Balancer<H>, path: &'head [u8]) -> Option<&'head [u8]> {
    let status_path = balancer.status_path.as_ref()?;
    let mut parts = path.splitn(2, |&byte| byte == b'?');
    (parts.next()? == status_path.as_bytes()).then(|| parts.next().unwrap_or_default())
}

/// Answers a request for the status. Of the clocks `now` is the one that counts, and `date` the one
/// on the wall.
pub fn respond(
    host: &impl SharedData,
    request: &Request<'_>,
    now: Timestamp,
    date: SystemTime,
) -> Response {
    if ![b"GET".as_slice(), b"HEAD"].contains(&request.method) {
        return Response {
            headers: vec![("allow", "GET, HEAD")],
            ..text(405, "only GET and HEAD\n")
        };
    }
    let snapshot = || Snapshot::take(host, now, date);
    let (content_type, body) = match Format::of(request) {
        None => return text(400, "format is json, prometheus or html\n"),
        Some(Format::Page) => return page::response(),
        Some(Format::Json) => ("application/json", snapshot().to_json()),
        Some(Format::Prometheus) => (
            "text/plain; version=0.0.4; charset=utf-8",
            exposition::write(&snapshot()).into_bytes(),
        ),
    };
    Response {
        status: 200,
        headers: [("content-type", content_type)]
            .into_iter()
            .chain(NEVER_KEPT)
            .collect(),
        body,
    }
}

/// It is true for the moment only, and what it is depends on `accept`.
const NEVER_KEPT: [(&str, &str); 3] = [
    ("cache-control", "no-store"),
    ("vary", "accept"),
    ("x-content-type-options", "nosniff"),
];

fn text(status: u32, text: &str) -> Response {
    Response {
        status,
        headers: vec![("content-type", "text/plain; charset=utf-8")],
        body: text.as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::Config;
    use crate::host::fake::FakeHost;
    use crate::names::Heard;
    use crate::pod::tests::address;
    use crate::registry;
    use crate::report::{PodReport, PollFailure};
    use crate::table::{Event, Reported};

    const NOW: Timestamp = Timestamp::from_nanos(60_000_000_000);

    /// Three pods, asked a second ago: with 30, with 10, and one that does not answer.
    fn balancer() -> Balancer<FakeHost> {
        let document = json!({
            "services": [{ "cluster": "chat",
                "endpoints": ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"] }],
            "status": { "path": "/balancer-metrics" },
        });
        let host = FakeHost::default();
        registry::register(&host, &document);
        let balancer = Balancer::new(host, Config::check(document).unwrap(), 1);
        let asked_at = NOW.minus(Duration::from_secs(1)).unwrap();
        let outcomes = [
            Ok(Reported {
                count: 30,
                limit: Some(30),
                ..Reported::default()
            }),
            Ok(Reported {
                count: 10,
                ..Reported::default()
            }),
            Err(PollFailure::Status(500)),
        ];
        let store = &balancer.services[0].store;
        let answered = store.update(&balancer.host, |table| {
            for (index, outcome) in outcomes.into_iter().enumerate() {
                let pod = address(u8::try_from(index).unwrap() + 1);
                table.pods_mut()[index].ask(asked_at, NOW);
                table.apply(&[Event::Answered {
                    pod,
                    asked_at,
                    outcome,
                }]);
            }
            table.apply(&[Event::Opened { pod: address(2) }]);
            table.clone()
        });
        let mut heard = Heard::default();
        let hostile = PodReport {
            pod_name: Some("<script>\"\\\n".to_owned()),
            ..PodReport::default()
        };
        heard.hear(0, address(2), &hostile);
        heard.write(&balancer, 0, &answered.unwrap());
        balancer
    }

    const GET: Request<'static> = Request {
        method: b"GET",
        query: b"",
        accept: b"",
    };

    fn ask(request: Request<'_>) -> Response {
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        respond(&balancer().host, &request, NOW, date)
    }

    fn content_type(request: Request<'_>) -> &'static str {
        ask(request).headers[0].1
    }

    fn json() -> Value {
        let response = ask(Request {
            query: b"format=json",
            ..GET
        });
        serde_json::from_slice(&response.body).unwrap()
    }

    #[test]
    fn only_the_path_itself_is_the_status() {
        let balancer = balancer();
        let query = |path: &'static str| query(&balancer, path.as_bytes());
        assert_eq!(query("/balancer-metrics"), Some(b"".as_slice()));
        assert_eq!(query("/balancer-metrics?a=b?c"), Some(b"a=b?c".as_slice()));
        for other in [
            "",
            "/",
            "/balancer-metrics/",
            "/balancer-metricsx",
            "/x?/balancer-metrics",
        ] {
            assert_eq!(query(other), None, "{other}");
        }
        let mut silent = self::balancer();
        silent.status_path = None;
        assert_eq!(super::query(&silent, b"/balancer-metrics"), None);
    }

    #[test]
    fn each_client_gets_its_form() {
        let html = "text/html; charset=utf-8";
        let prometheus = "text/plain; version=0.0.4; charset=utf-8";
        for (query, accept, expect) in [
            ("", "", html),
            ("", "text/html,application/xhtml+xml,*/*;q=0.8", html),
            ("", "Application/JSON", "application/json"),
            ("format=json", "text/html", "application/json"),
            ("a=b&format=json", "", "application/json"),
            ("format=html", "application/json", html),
            ("format=prometheus", "", prometheus),
            (
                "",
                "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
                prometheus,
            ),
        ] {
            let request = Request {
                query: query.as_bytes(),
                accept: accept.as_bytes(),
                ..GET
            };
            assert_eq!(content_type(request), expect, "{query} {accept}");
        }
        let status = |request| ask(request).status;
        assert_eq!(
            status(Request {
                query: b"format=xml",
                ..GET
            }),
            400
        );
        assert_eq!(
            status(Request {
                method: b"HEAD",
                ..GET
            }),
            200
        );
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "get", ""] {
            let response = ask(Request {
                method: method.as_bytes(),
                ..GET
            });
            assert_eq!(response.status, 405, "{method}");
            assert_eq!(response.headers, [("allow", "GET, HEAD")]);
        }
    }

    #[test]
    fn the_json_has_the_fields_of_the_traefik_plugin() {
        let json = json();
        assert_eq!(json["timestamp"], "2027-01-15T08:00:00Z");
        assert_eq!(json["totalConnections"], 40);
        assert_eq!(json["agentsConnections"], 40);
        let service = &json["services"][0];
        assert_eq!(
            (&service["url"], &service["connections"]),
            (&json!("chat"), &json!(40))
        );
        let pod = &json["podMetrics"]["chat"][1];
        assert_eq!(pod["agentsConnections"], 10);
        assert_eq!(pod["podName"], "<script>\"\\\n");
        assert_eq!(pod["podIP"], Value::Null);
    }

    #[test]
    fn the_json_tells_what_else_is_known() {
        let json = json();
        let service = &json["services"][0];
        // 30 and 10 are 20 on the average; the third does not take part.
        assert_eq!(service["imbalance"], 1.5);
        assert_eq!(service["evenShare"], 20.0);
        assert_eq!(
            (&service["podsKnown"], &service["podsUsable"]),
            (&json!(3), &json!(1))
        );
        let pods = json["podMetrics"]["chat"].as_array().unwrap();
        let states: Vec<&Value> = pods.iter().map(|pod| &pod["state"]).collect();
        assert_eq!(states, ["full", "healthy", "unknown"]);
        assert_eq!(pods[0]["maxConnections"], 30);
        assert_eq!(pods[0]["reason"], "it holds all of the 30 that it can");
        assert_eq!(
            (&pods[1]["estimate"], &pods[1]["ownConnections"]),
            (&json!(11), &json!(1))
        );
        assert_eq!(pods[1]["countAge"], 1.0);
        assert_eq!(pods[2]["countAge"], Value::Null);
        assert_eq!(pods[2]["lastError"], "status 500");
        assert_eq!(pods[2]["pollsFailed"], 1);
    }

    #[test]
    fn prometheus_gets_series_with_labels() {
        let response = ask(Request {
            query: b"format=prometheus",
            ..GET
        });
        let text = String::from_utf8(response.body).unwrap();
        for line in [
            "wsbalancer_connections{service=\"chat\"} 40",
            "wsbalancer_imbalance{service=\"chat\"} 1.5",
            "wsbalancer_pods{service=\"chat\",state=\"full\"} 1",
            "wsbalancer_pods{service=\"chat\",state=\"ejected\"} 0",
            "wsbalancer_pod_connections{service=\"chat\",pod=\"10.0.0.1:8080\"} 30",
            "wsbalancer_pod_max_connections{service=\"chat\",pod=\"10.0.0.1:8080\"} 30",
            "wsbalancer_pod_usable{service=\"chat\",pod=\"10.0.0.1:8080\"} 0",
            "wsbalancer_pod_opened_total{service=\"chat\",pod=\"10.0.0.2:8080\"} 1",
            "wsbalancer_pod_polls_failed_total{service=\"chat\",pod=\"10.0.0.3:8080\"} 1",
            "wsbalancer_pod_info{service=\"chat\",pod=\"10.0.0.2:8080\",\
             pod_name=\"<script>\\\"\\\\\\n\",pod_ip=\"\",node=\"\",state=\"healthy\"} 1",
            "# TYPE wsbalancer_pod_opened_total counter",
        ] {
            assert!(
                text.lines().any(|written| written == line),
                "no {line} in\n{text}"
            );
        }
        let unknown = "wsbalancer_pod_connections{service=\"chat\",pod=\"10.0.0.3:8080\"}";
        assert!(!text.contains(unknown), "it never gave a count");
        assert!(!text.contains("wsbalancer_pod_max_connections{service=\"chat\",pod=\"10.0.0.2"));
    }

    /// The policy lets the page's own style and script run, and nothing else.
    #[test]
    fn the_page_is_whole_and_has_nothing_inline() {
        let response = ask(GET);
        let page = String::from_utf8(response.body).unwrap();
        let count = |part| page.matches(part).count();
        assert_eq!((count("<style>"), count("<script>")), (1, 1));
        assert_eq!((count("<!-- style -->"), count("<!-- script -->")), (0, 0));
        let markup = page.split("<script>").next().unwrap();
        let markup = markup.split("<style>").next().unwrap().to_owned()
            + markup.split("</style>").nth(1).unwrap();
        for inline in [
            " style=",
            " onclick=",
            " onload=",
            "javascript:",
            "http:",
            "https:",
        ] {
            assert!(!markup.contains(inline), "{inline}");
        }
        let policy = response
            .headers
            .iter()
            .find(|(name, _)| *name == "content-security-policy");
        assert!(policy.is_some_and(|(_, policy)| policy.starts_with("default-src 'none';")));
    }
}
