//! The questions that a worker has sent, and what their answers do.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use super::schedule::{Pace, Question};
use crate::clock::Timestamp;
use crate::host::{Answer, CallToken, Get, NotSent, authority_of};
use crate::metric::{PodReport, PollFailure};
use crate::pod::{DiscoveryFailure, HOST_LIST_LIMIT, PodAddress, Reported};
use crate::service::{Reach, Service};
use crate::shell::Shell;
use crate::table::{Event, Table};

/// One worker's questions that are under way.
pub struct Polls<S: Shell> {
    under_way: BTreeMap<CallToken, Call<S>>,
}

/// A question that was sent.
struct Call<S: Shell> {
    service: Rc<Service<S>>,
    question: Question,
    asked_at: Timestamp,
}

impl<S: Shell> Default for Polls<S> {
    fn default() -> Self {
        Self {
            under_way: BTreeMap::new(),
        }
    }
}

impl<S: Shell> Polls<S> {
    /// Asks a question that was claimed in `table`, and counts as asked at `asked_at`.
    pub fn ask(
        &mut self,
        service: &Rc<Service<S>>,
        table: &Table,
        question: Question,
        asked_at: Timestamp,
    ) {
        let sent = match question {
            Question::Count(pod) => ask_for_count(service, table, pod),
            Question::Hosts => ask_for_hosts(service),
        };
        match (sent, question) {
            (Ok(token), _) => {
                let call = Call {
                    service: Rc::clone(service),
                    question,
                    asked_at,
                };
                if matches!(question, Question::Count(_)) {
                    service.asking.begin_poll();
                }
                self.under_way.insert(token, call);
            }
            (Err(NotSent), Question::Count(pod)) => service.record(&[Event::Answered {
                pod,
                asked_at,
                outcome: Err(PollFailure::NotSent),
            }]),
            (Err(NotSent), Question::Hosts) => service.record(&[Event::Listed {
                asked_at,
                outcome: Err(DiscoveryFailure::NotSent),
            }]),
        }
    }

    /// The longest body, in bytes, that an answer that came with `token` may have.
    #[must_use]
    pub fn body_limit(&self, token: CallToken) -> usize {
        self.under_way
            .get(&token)
            .map_or(0, |call| match call.question {
                Question::Count(_) => call.service.config.metric.body_limit(),
                Question::Hosts => HOST_LIST_LIMIT,
            })
    }

    /// Takes the answer that came with `token`; the service that may have other pods now. An answer
    /// that nobody waits for is ignored.
    pub fn answer(&mut self, token: CallToken, answer: Answer<'_>) -> Option<Rc<Service<S>>> {
        let Call {
            service,
            question,
            asked_at,
        } = self.under_way.remove(&token)?;
        match question {
            Question::Count(pod) => {
                service.asking.end_poll();
                take_count(&service, pod, asked_at, answer);
                None
            }
            Question::Hosts => {
                take_hosts(&service, asked_at, answer);
                Some(service)
            }
        }
    }
}

fn ask_for_count<S: Shell>(
    service: &Service<S>,
    table: &Table,
    pod: PodAddress,
) -> Result<CallToken, NotSent> {
    let config = &service.config;
    let elsewhere = config.metric_cluster.as_ref();
    let cluster = elsewhere.map_or(&config.cluster, |elsewhere| &elsewhere.name);
    let port = elsewhere.and_then(|elsewhere| elsewhere.port);
    let asked = port.map_or(pod, |port| pod.on_port(port));
    let (upstream, own) = (table.upstream(asked), asked.to_string());
    // As Kubernetes' probes have it. What a cluster is called says nothing to a pod.
    let authority = match (&config.metric_host, asked.socket()) {
        (Some(host), _) => host,
        (None, Some(_)) => own.as_str(),
        (None, None) => authority_of(cluster),
    };
    let mut headers = vec![
        ("accept", config.metric.accept()),
        ("accept-encoding", "identity"),
    ];
    headers.extend(config.metric_headers.iter());
    service.shell.get(&Get {
        cluster,
        upstream: upstream.as_deref(),
        authority,
        path: &config.metric_path,
        headers: &headers,
        timeout: Pace::of_counts(config).timeout,
    })
}

fn ask_for_hosts<S: Shell>(service: &Service<S>) -> Result<CallToken, NotSent> {
    let config = &service.config;
    let discovery = config.discovery().ok_or(NotSent)?;
    let timeout = Pace::of_discovery(config).ok_or(NotSent)?.timeout;
    service
        .shell
        .ask_for_hosts(&config.cluster, &discovery.admin_cluster, timeout)
}

fn take_count<S: Shell>(
    service: &Service<S>,
    pod: PodAddress,
    asked_at: Timestamp,
    answer: Answer<'_>,
) {
    let (report, body_size) = match answer {
        Answer::Nothing => (Err(PollFailure::NoAnswer), 0),
        Answer::Response { status, body } => (service.config.metric.read(status, body), body.len()),
        Answer::Encoded {
            status: 200,
            coding,
        } => (Err(PollFailure::Coded(coding)), 0),
        Answer::Encoded { status, .. } => (Err(PollFailure::Status(status)), 0),
    };
    let report = report.and_then(|report| of_pod(service, pod, report));
    if pod.is_internal() && is_unreached(service, asked_at, report.as_ref().err()) {
        service.record(&[Event::Unreached { pod, asked_at }]);
        return;
    }
    if let Ok(report) = &report {
        if let Some(complaint) = service.names.new_complaint(&service.shell, pod, report) {
            service.announcer.complaint(pod, &complaint);
        }
        service.names.learn(pod, report);
    }
    service.record_answer(Event::Answered {
        pod,
        asked_at,
        outcome: report
            .as_ref()
            .map(|report| Reported {
                body_size: u32::try_from(body_size).unwrap_or(u32::MAX),
                ..Reported::from(report)
            })
            .map_err(|&failure| failure),
    });
}

/// The report, unless another pod made it: where Envoy has no such host any more, a fallback policy
/// sends the poll to any other.
fn of_pod<S: Shell>(
    service: &Service<S>,
    pod: PodAddress,
    report: PodReport,
) -> Result<PodReport, PollFailure> {
    let Some(own) = pod.socket().map(|socket| socket.ip()) else {
        return Ok(report);
    };
    let says: Option<IpAddr> = report.pod_ip.as_deref().and_then(|ip| ip.parse().ok());
    let is_anothers = says.is_some_and(|says| {
        says != own && {
            let table = service.table();
            let mut others = table.pods().iter().filter_map(|pod| pod.address().socket());
            others.any(|other| other.ip() == says)
        }
    });
    if is_anothers {
        return Err(PollFailure::AnotherPod);
    }
    Ok(report)
}

/// Whether the poll of a pod behind an internal listener failed because of where it was sent from.
fn is_unreached<S: Shell>(
    service: &Service<S>,
    asked_at: Timestamp,
    failure: Option<&PollFailure>,
) -> bool {
    let reach = service.reach.get();
    match failure {
        None => service.reach.set(Reach::Reaches),
        Some(PollFailure::Status(503)) if reach.excuses(asked_at) => {
            service.reach.set(Reach::Fails(asked_at));
            return true;
        }
        Some(_) => {}
    }
    false
}

fn take_hosts<S: Shell>(service: &Service<S>, asked_at: Timestamp, answer: Answer<'_>) {
    let outcome = service.shell.read_hosts(&service.config.cluster, answer);
    if let Ok(hosts) = &outcome {
        service.announcer.left_out(hosts.left_out.as_deref());
        service.lookout.used(hosts.usage);
    }
    service.record(&[Event::Listed { asked_at, outcome }]);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Config;
    use crate::metric::Coding;
    use crate::testing::{Call as SentCall, FakeHost, NOW, address};

    /// A worker that asks the pods 1 and 2 of a service with these options.
    struct Scene {
        host: FakeHost,
        service: Rc<Service<FakeHost>>,
        polls: Polls<FakeHost>,
        asked_at: Timestamp,
    }

    impl Scene {
        fn with(options: Value) -> Self {
            Self::on(&FakeHost::at(NOW), options)
        }

        fn on(host: &FakeHost, mut options: Value) -> Self {
            options["services"] = json!([{ "cluster": "chat",
                "endpoints": ["10.0.0.1:8080", "10.0.0.2:8080"] }]);
            let config = Config::parse(options.to_string().as_bytes());
            let service = config.unwrap().services.remove(0);
            Self {
                service: Rc::new(Service::open(host.clone(), service)),
                host: host.clone(),
                polls: Polls::default(),
                asked_at: NOW,
            }
        }

        /// Asks both pods, a second after the last time.
        fn ask(&mut self) -> Vec<SentCall> {
            let now = self.asked_at.plus(std::time::Duration::from_secs(1));
            self.asked_at = now;
            let pods = self.service.update(|table| table.ask(now, |_| Some(now)));
            for pod in pods.unwrap() {
                let question = Question::Count(pod);
                let table = self.service.table();
                self.polls.ask(&self.service, &table, question, now);
            }
            self.host.take_calls()
        }

        /// Asks both, and has the first one answer so.
        fn answer(&mut self, answer: Answer<'_>) {
            let calls = self.ask();
            self.polls.answer(calls[0].token, answer);
        }

        fn body(&mut self, body: &str) {
            let body = body.as_bytes();
            self.answer(Answer::Response { status: 200, body });
        }

        fn failure(&self) -> Option<PollFailure> {
            self.service.table().pod(address(1)).unwrap().last_failure()
        }

        fn complaint(&self) -> Option<String> {
            let table = self.service.table();
            self.service.names.write(&self.host, &table);
            let key = crate::table::key(&self.service.config);
            let names = crate::service::names_in(&self.host, &key);
            names.get("10.0.0.1:8080")?.complaint.clone()
        }
    }

    fn value_of<'a>(call: &'a SentCall, name: &str) -> Option<&'a str> {
        let mut fields = call.headers.iter().filter(|(known, _)| known == name);
        let value = fields.next().map(|(_, value)| value.as_str());
        assert_eq!(fields.next(), None, "{name} once");
        value
    }

    #[test]
    fn polls_say_which_form_they_want_and_that_it_is_not_to_be_coded() {
        for (options, accept) in [
            (json!({}), "application/json, */*;q=0.1"),
            (
                json!({ "metric": { "json": "/open" } }),
                "application/json, */*;q=0.1",
            ),
            (
                json!({ "metric": { "prometheus": "open" } }),
                "text/plain;version=0.0.4, text/plain;q=0.9, */*;q=0.1",
            ),
        ] {
            let mut scene = Scene::with(options);
            for call in scene.ask() {
                assert_eq!(value_of(&call, "accept"), Some(accept));
                assert_eq!(value_of(&call, "accept-encoding"), Some("identity"));
            }
        }
    }

    #[test]
    fn polls_have_the_headers_that_are_configured() {
        let mut scene = Scene::with(json!({ "metricHeaders": { "X-Forwarded-Proto": "https" } }));
        for call in scene.ask() {
            assert_eq!(value_of(&call, "x-forwarded-proto"), Some("https"));
            assert_eq!(call.headers.len(), 3);
        }
    }

    #[test]
    fn polls_go_to_the_port_of_the_cluster_for_them() {
        let asked = |options| {
            let calls = Scene::with(options).ask();
            let call = calls[1].clone();
            (call.cluster, call.upstream.unwrap(), call.authority)
        };
        let expected = |cluster: &str, upstream: &str, authority: &str| {
            let [cluster, upstream, authority] = [cluster, upstream, authority].map(str::to_owned);
            (cluster, upstream, authority)
        };
        assert_eq!(
            asked(json!({ "metric": { "cluster": "outbound|9601||chat", "port": 9601 } })),
            expected("outbound|9601||chat", "10.0.0.2:9601", "10.0.0.2:9601")
        );
        assert_eq!(
            asked(json!({ "metric": { "cluster": "polls" }, "metricHost": "chat" })),
            expected("polls", "10.0.0.2:8080", "chat")
        );
    }

    #[test]
    fn where_the_cluster_is_the_pod_polls_go_to_that_for_them() {
        let json = br#"{"routeBy": "cluster",
            "services": [{"cluster": "pod-1", "metric": {"cluster": "pod-1-polls"}}]}"#;
        let config = Config::parse(json).unwrap().services.remove(0);
        let host = FakeHost::at(NOW);
        let service = Rc::new(Service::open(host.clone(), config));
        let question = Question::Count(PodAddress::CLUSTER);
        Polls::default().ask(&service, &service.table(), question, NOW);
        let call = host.take_calls().remove(0);
        assert_eq!(
            (&*call.cluster, call.upstream, &*call.authority),
            ("pod-1-polls", None, "pod-1-polls")
        );
    }

    #[test]
    fn the_count_of_another_port_is_the_pods() {
        let mut scene = Scene::with(json!({ "metric": { "cluster": "polls", "port": 9601 } }));
        scene.body(r#"{"agentsConnections": 7}"#);
        let table = scene.service.table();
        assert_eq!(table.pod(address(1)).unwrap().connections(), 7);
    }

    #[test]
    fn each_form_has_its_limit() {
        let limit = |options| {
            let mut scene = Scene::with(options);
            let call = scene.ask().remove(0);
            scene.polls.body_limit(call.token)
        };
        assert_eq!(limit(json!({})), 64 << 10);
        assert_eq!(limit(json!({ "metric": { "json": "/a" } })), 4 << 20);
        assert_eq!(limit(json!({ "metric": { "prometheus": "a" } })), 4 << 20);
    }

    #[test]
    fn a_coded_body_fails_by_its_coding() {
        let mut scene = Scene::with(json!({}));
        let encoded = |status| Answer::Encoded {
            status,
            coding: Coding::Gzip,
        };
        scene.answer(encoded(200));
        assert_eq!(scene.failure(), Some(PollFailure::Coded(Coding::Gzip)));
        let told = scene.failure().unwrap().to_string();
        assert!(told.contains("gzip"), "{told}");
        scene.answer(encoded(404));
        assert_eq!(scene.failure(), Some(PollFailure::Status(404)));
    }

    /// Envoy has no host for the first pod any more, and its fallback policy picks the second.
    #[test]
    fn an_answer_of_another_pod_is_not_the_pods_count() {
        let mut scene = Scene::with(json!({}));
        scene.body(r#"{"agentsConnections": 7, "podIP": "10.0.0.2"}"#);
        assert_eq!(scene.failure(), Some(PollFailure::AnotherPod));
        for own in ["10.0.0.1", "192.168.0.1", "chat-0"] {
            scene.body(&format!(r#"{{"agentsConnections": 7, "podIP": "{own}"}}"#));
            assert_eq!(scene.failure(), None, "{own}");
        }
    }

    #[test]
    fn complaints_are_shown_while_they_last_and_new_ones_are_told_once() {
        let mut scene = Scene::with(json!({}));
        let below = r#"{"agentsConnections": -2}"#;
        let complains = |scene: &Scene, body: &str| {
            let report = scene.service.config.metric.read(200, body.as_bytes());
            let names = &scene.service.names;
            names.new_complaint(&scene.host, address(1), &report.unwrap())
        };
        scene.body(below);
        assert_eq!(scene.failure(), None);
        let told = "its count is below zero, which counts as 0";
        assert_eq!(scene.complaint().as_deref(), Some(told));
        assert_eq!(complains(&scene, below), None, "it was told");
        // Also where the count goes up and down.
        scene.body(r#"{"agentsConnections": 2}"#);
        assert_eq!(scene.complaint(), None);
        assert_eq!(complains(&scene, below), None);
        let other = r#"{"agentsConnections": 2, "podName": 5}"#;
        let told = complains(&scene, other);
        assert_eq!(
            told.as_deref(),
            Some("podName is not a string and is ignored")
        );

        // Nor by the worker that polls next.
        scene.body(below);
        assert!(scene.complaint().is_some());
        let other_worker = Scene::on(&scene.host, json!({}));
        assert_eq!(complains(&other_worker, below), None);
    }
}
