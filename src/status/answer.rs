//! Which answer a request for the status gets.

use std::net::Ipv4Addr;
use std::time::SystemTime;

use super::response::{status, text};
use super::snapshot::Snapshot;
use super::{exposition, page};
use crate::clock::Timestamp;
use crate::host::{Response, SharedData, Statistics};
use crate::uri::{Host, split_authority};

/// A request for the status.
#[derive(Clone, Copy, Debug)]
pub struct StatusRequest<'head> {
    /// The host that it names, with or without a port; empty where there is none.
    pub authority: &'head [u8],
    /// The method.
    pub method: &'head [u8],
    /// What stands behind the path's question mark; empty where there is none.
    pub query: &'head [u8],
    /// The header `accept`; empty where there is none.
    pub accept: &'head [u8],
    /// The id by which Envoy goes (`node.id` in its bootstrap); empty where it has none.
    pub node: &'head [u8],
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
    fn of(request: &StatusRequest<'_>) -> Option<Self> {
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

/// What stands behind the path's question mark, where the request is for the status at
/// `status_path`; none for other requests.
#[must_use]
pub fn query<'head>(status_path: &str, path: &'head [u8]) -> Option<&'head [u8]> {
    let mut parts = path.splitn(2, |&byte| byte == b'?');
    (parts.next()? == status_path.as_bytes()).then(|| parts.next().unwrap_or_default())
}

/// Whether the status may be shown under this host: an address, `localhost`, or one of `hosts`, which
/// are in lower case.
///
/// A page from anywhere can have its own name lead to an address of the operator's network and then read
/// what is there (DNS rebinding). It is its own name that the browser sends then.
fn is_known(authority: &[u8], hosts: &[String]) -> bool {
    let authority = std::str::from_utf8(authority).unwrap_or_default();
    match split_authority(authority) {
        Some((Host::V6(_), _)) => true,
        Some((Host::Name(name), _)) => {
            name.parse::<Ipv4Addr>().is_ok()
                || name.eq_ignore_ascii_case("localhost")
                || hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
        }
        None => false,
    }
}

/// What the gateway is called: the id of its Envoy. In the ids that Istio gives, `TYPE~IP~ID~DOMAIN`, it is
/// the pod with its namespace.
fn gateway(node: &[u8]) -> Option<String> {
    let node = String::from_utf8_lossy(node);
    let name = node.split('~').nth(2).unwrap_or(&node);
    (!name.is_empty()).then(|| name.to_owned())
}

/// Answers a request for the status, which is shown under the names `hosts` too. Of the clocks `now` is the one that counts, and `date` the one
/// on the wall.
pub fn respond(
    host: &(impl SharedData + Statistics),
    request: &StatusRequest<'_>,
    hosts: &[String],
    now: Timestamp,
    date: SystemTime,
) -> Response {
    if !is_known(request.authority, hosts) {
        const UNKNOWN: &str = "the status is not shown under this name: ask by an IP address, or list \
            the name in the option status.hosts\n";
        return text(421, &[], UNKNOWN);
    }
    if ![b"GET".as_slice(), b"HEAD"].contains(&request.method) {
        return text(405, &[("allow", "GET, HEAD")], "only GET and HEAD\n");
    }
    let snapshot = || Snapshot::take(host, gateway(request.node), now, date);
    match Format::of(request) {
        None => text(400, &[], "format is json, prometheus or html\n"),
        Some(Format::Page) => page::response(),
        Some(Format::Json) => status(
            &[("content-type", "application/json")],
            snapshot().to_json(),
        ),
        Some(Format::Prometheus) => status(
            &[("content-type", "text/plain; version=0.0.4; charset=utf-8")],
            exposition::write(&snapshot()).into_bytes(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::Config;
    use crate::metric::{PodReport, PollFailure};
    use crate::pod::Reported;
    use crate::service::Service;
    use crate::sharing;
    use crate::status::register;
    use crate::table::Event;
    use crate::testing::FakeHost;
    use crate::testing::address;

    const NOW: Timestamp = Timestamp::from_nanos(60_000_000_000);
    const PATH: &str = "/balancer-metrics";

    /// Three pods, asked a second ago: with 30, with 10, and one that does not answer.
    fn host() -> FakeHost {
        let document = json!({
            "services": [{ "cluster": "chat",
                "endpoints": ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"] }],
        });
        let mut config = Config::parse(document.to_string().as_bytes()).unwrap();
        let host = FakeHost::default();
        register(&host, &config, NOW);
        let service = Service::open(host.clone(), config.services.remove(0));
        let asked_at = NOW.minus(Duration::from_secs(1)).unwrap();
        let asked = service.update(|table| table.ask(asked_at, |_| Some(NOW)));
        let outcomes = [
            Ok(Reported {
                limit: Some(30),
                ..Reported::of(30)
            }),
            Ok(Reported::of(10)),
            Err(PollFailure::Status(500)),
        ];
        let answers = asked.unwrap().into_iter().zip(outcomes);
        let answers: Vec<Event> = answers
            .map(|(pod, outcome)| Event::Answered {
                pod,
                asked_at,
                outcome,
            })
            .collect();
        service.record(&answers);
        service.record(&[Event::Opened {
            pod: address(2),
            at: NOW,
        }]);
        let statistics = &service.statistics;
        for (counter, n) in [
            (statistics.upgrades_balanced, 41),
            (statistics.upgrades_in_session, 7),
            (statistics.upgrades_failed, 3),
            (statistics.discovery_failed, 2),
            (statistics.workers_lost, 1),
        ] {
            host.add(counter, n);
        }
        for worker in [1, 2, 1, 2, 3] {
            sharing::attend(&service, worker, NOW);
            service.attendance.signed_at.set(Timestamp::NEVER);
        }
        let hostile = PodReport {
            pod_name: Some("<script>\"\\\n".to_owned()),
            ..PodReport::default()
        };
        service.names.learn(address(2), &hostile);
        service.names.write(&host, &service.table());
        host
    }

    const GET: StatusRequest<'static> = StatusRequest {
        authority: b"10.0.0.9:9902",
        method: b"GET",
        query: b"",
        accept: b"",
        node: b"",
    };

    fn ask(request: StatusRequest<'_>) -> Response {
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let hosts = ["status.example".to_owned()];
        respond(&host(), &request, &hosts, NOW, date)
    }

    fn content_type(request: StatusRequest<'_>) -> String {
        ask(request).headers[0].1.clone().into_owned()
    }

    fn json() -> Value {
        let response = ask(StatusRequest {
            query: b"format=json",
            ..GET
        });
        serde_json::from_slice(&response.body).unwrap()
    }

    #[test]
    fn only_the_path_itself_is_the_status() {
        let query = |path: &'static str| query(PATH, path.as_bytes());
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
            let request = StatusRequest {
                query: query.as_bytes(),
                accept: accept.as_bytes(),
                ..GET
            };
            assert_eq!(content_type(request), expect, "{query} {accept}");
        }
        let status = |request| ask(request).status;
        assert_eq!(
            status(StatusRequest {
                query: b"format=xml",
                ..GET
            }),
            400
        );
        assert_eq!(
            status(StatusRequest {
                method: b"HEAD",
                ..GET
            }),
            200
        );
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "get", ""] {
            let response = ask(StatusRequest {
                method: method.as_bytes(),
                ..GET
            });
            assert_eq!(response.status, 405, "{method}");
            assert_eq!(response.headers[0], ("allow", "GET, HEAD".into()));
        }
    }

    #[test]
    fn a_name_that_is_not_listed_is_not_answered() {
        for (authority, status) in [
            ("10.0.0.9", 200),
            ("10.0.0.9:9902", 200),
            ("[::1]:9902", 200),
            ("localhost", 200),
            ("LocalHost:9902", 200),
            ("status.example:80", 200),
            ("Status.Example", 200),
            ("evil.example:9902", 421),
            ("localhost.evil.example", 421),
            ("x.status.example", 421),
            ("10.0.0.9.evil.example", 421),
            ("status.example@evil.example", 421),
            ("", 421),
        ] {
            let request = StatusRequest {
                authority: authority.as_bytes(),
                ..GET
            };
            assert_eq!(ask(request).status, status, "{authority}");
        }
        let bytes = StatusRequest {
            authority: b"\xff\xfe",
            ..GET
        };
        assert_eq!(ask(bytes).status, 421);
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
        // Of 30 and 11, which has just been opened, 20.5 are even; the third does not take part.
        assert_eq!(service["evenShare"], 20.5);
        assert_eq!(service["imbalance"], 30.0 / 20.5);
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
    fn the_json_has_the_statistics_and_who_tells_of_the_service() {
        let json = json();
        let service = &json["services"][0];
        assert_eq!(service["workers"], 2);
        let statistics = &service["statistics"];
        for (name, value) in [
            ("upgrades_balanced", 41),
            ("upgrades_fallback", 0),
            ("upgrades_in_session", 7),
            ("polls_ok", 2),
            ("polls_failed", 1),
            ("discovery_failed", 2),
            ("workers_lost", 1),
        ] {
            assert_eq!(statistics[name], value, "{name}");
        }
    }

    #[test]
    fn the_json_says_how_it_is_and_whose() {
        let json = json();
        let verdict = &json["services"][0]["verdict"];
        assert_eq!(verdict["gravity"], "critical");
        let text = "2 of 3 pods get nothing new: 1 never answered, 1 full";
        assert_eq!(verdict["text"], text);
        let loads = json["podMetrics"]["chat"].as_array().unwrap().iter();
        let loads: Vec<&Value> = loads.map(|pod| &pod["load"]).collect();
        assert_eq!(
            loads,
            [&json!(30.0 / 20.5), &json!(11.0 / 20.5), &Value::Null]
        );
        assert_eq!(json["gateway"], Value::Null);
        for (node, name) in [
            ("gateway-1", "gateway-1"),
            (
                "router~10.0.0.9~gateway-1.istio~istio.svc.cluster.local",
                "gateway-1.istio",
            ),
        ] {
            let response = ask(StatusRequest {
                query: b"format=json",
                node: node.as_bytes(),
                ..GET
            });
            let json: Value = serde_json::from_slice(&response.body).unwrap();
            assert_eq!(json["gateway"], name);
        }
    }

    #[test]
    fn prometheus_gets_series_with_labels() {
        let response = ask(StatusRequest {
            query: b"format=prometheus",
            ..GET
        });
        let text = String::from_utf8(response.body).unwrap();
        for line in [
            "wsbalancer_connections{service=\"chat\"} 40",
            &format!("wsbalancer_imbalance{{service=\"chat\"}} {}", 30.0 / 20.5),
            "wsbalancer_workers{service=\"chat\"} 2",
            "wsbalancer_workers_lost_total{service=\"chat\"} 1",
            "wsbalancer_upgrades_total{service=\"chat\",result=\"balanced\"} 41",
            "wsbalancer_upgrades_total{service=\"chat\",result=\"in_session\"} 7",
            "wsbalancer_upgrades_total{service=\"chat\",result=\"full\"} 0",
            "wsbalancer_upgrades_failed_total{service=\"chat\"} 3",
            "wsbalancer_polls_total{service=\"chat\",result=\"ok\"} 2",
            "wsbalancer_discovery_requests_total{service=\"chat\",result=\"failed\"} 2",
            "# TYPE wsbalancer_upgrades_total counter",
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
        let capacity = "wsbalancer_capacity{";
        assert!(!text.contains(capacity), "a healthy pod has no limit");
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
