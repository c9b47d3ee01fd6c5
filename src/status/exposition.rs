//! The status in Prometheus' text format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! All that alerts and dashboard need is here, the statistics of Envoy's included: under what names
//! those come out is up to whoever configures Envoy, and here they are the same everywhere. The series
//! of the pods are here alone, because Envoy keeps a statistic until it ends: pods that have gone would
//! stay for ever, and every deploy would add some. Here a pod's series end with the pod.

use std::fmt::{Display, Write};

use super::snapshot::{PodSnapshot, ServiceSnapshot, Snapshot};
use super::state::State;
use crate::num::approximate as float;
use crate::service::ServiceCounts;
use crate::warning::{self, Warning};

/// Series of one name, one for each of what `T` is.
struct Family<T: ?Sized> {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    /// None where there is no series.
    value: fn(&T) -> Option<f64>,
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

const fn gauge<T: ?Sized>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<f64>,
) -> Family<T> {
    Family {
        name,
        kind: Kind::Gauge,
        help,
        value,
    }
}

const fn counter<T: ?Sized>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<f64>,
) -> Family<T> {
    Family {
        name,
        kind: Kind::Counter,
        help,
        value,
    }
}

const OF_SERVICES: [Family<ServiceSnapshot>; 14] = [
    gauge(
        "wsbalancer_connections",
        "WebSockets that the pods report.",
        |service| Some(float(service.connections)),
    ),
    gauge(
        "wsbalancer_estimate",
        "WebSockets that the pods should hold by now.",
        |service| Some(float(service.estimate)),
    ),
    gauge(
        "wsbalancer_own_connections",
        "WebSockets that are open through this gateway.",
        |service| Some(float(service.own_connections)),
    ),
    gauge(
        "wsbalancer_share",
        "Part of the fleet's new WebSockets that is this gateway's.",
        |service| Some(service.share),
    ),
    gauge(
        "wsbalancer_silent_seconds",
        "For how long no filter has told of the service; 0 while one does.",
        |service| Some(service.silent_for.unwrap_or(0.0)),
    ),
    gauge(
        "wsbalancer_imbalance",
        "Largest estimate of a pod to its even share; 1 where nothing is open.",
        |service| Some(service.imbalance.unwrap_or(1.0)),
    ),
    gauge(
        "wsbalancer_discovery_age_seconds",
        "Age of the last list of pods.",
        |service| service.discovery.as_ref()?.age,
    ),
    gauge(
        "wsbalancer_workers",
        "Workers of this gateway that have given a sign of life.",
        |service| Some(float(service.workers as u64)),
    ),
    counter(
        "wsbalancer_workers_lost_total",
        "Workers of this gateway that gave no sign of life for long.",
        |service| Some(float(service.statistics.workers_lost)),
    ),
    counter(
        "wsbalancer_upgrades_failed_total",
        "Handshakes sent on that ended with 5xx or without an answer.",
        |service| Some(float(service.statistics.upgrades_failed)),
    ),
    counter(
        "wsbalancer_upgrades_retried_total",
        "Handshakes that needed more than one attempt.",
        |service| Some(float(service.statistics.upgrades_retried)),
    ),
    counter(
        "wsbalancer_upgrades_mismatched_total",
        "Handshakes that another pod served than the chosen one, without a retry.",
        |service| Some(float(service.statistics.upgrades_mismatched)),
    ),
    counter(
        "wsbalancer_websockets_cut_total",
        "WebSockets that ended within a second, and not by their clients.",
        |service| Some(float(service.statistics.websockets_cut)),
    ),
    counter(
        "wsbalancer_websockets_rebalanced_total",
        "WebSockets that rebalancing closed.",
        |service| Some(float(service.statistics.websockets_rebalanced)),
    ),
];

/// Reads one counter.
type Counter = fn(&ServiceCounts) -> u64;

/// Counters of one name, of which each thing counts in one: their sum is that of all things.
struct Results {
    name: &'static str,
    help: &'static str,
    /// The label `result`, and the counter.
    of: &'static [(&'static str, Counter)],
}

const RESULTS: [Results; 3] = [
    Results {
        name: "wsbalancer_upgrades_total",
        help: "Handshakes, by what became of them at the filter.",
        of: &[
            ("balanced", |counts| counts.upgrades_balanced),
            ("fallback", |counts| counts.upgrades_fallback),
            ("rejected", |counts| counts.upgrades_rejected),
            ("full", |counts| counts.upgrades_full),
            ("forbidden", |counts| counts.upgrades_forbidden),
            ("in_session", |counts| counts.upgrades_in_session),
        ],
    },
    Results {
        name: "wsbalancer_polls_total",
        help: "Polls of pods, by what they brought.",
        of: &[
            ("ok", |counts| counts.polls_ok),
            ("failed", |counts| counts.polls_failed),
            ("ignored", |counts| counts.polls_ignored),
        ],
    },
    Results {
        name: "wsbalancer_discovery_requests_total",
        help: "Questions to Envoy for the list of pods, by what they brought.",
        of: &[
            ("ok", |counts| counts.discovery_ok),
            ("failed", |counts| counts.discovery_failed),
        ],
    },
];

/// Series of a service that come of its pods: none where there are none.
const OF_ALL_PODS: [Family<[PodSnapshot]>; 2] = [
    gauge(
        "wsbalancer_capacity",
        "WebSockets that the usable and the full pods may hold by their limits.",
        |pods| sum(pods, |pod| pod.max_connections),
    ),
    gauge(
        "wsbalancer_capacity_used",
        "WebSockets that those pods should hold by now.",
        |pods| sum(pods, |pod| pod.max_connections.and(Some(pod.estimate))),
    ),
];

/// The sum over the pods that could take a WebSocket but for their limits; none where one has no limit.
fn sum(pods: &[PodSnapshot], of: fn(&PodSnapshot) -> Option<u64>) -> Option<f64> {
    let serving = |pod: &&PodSnapshot| pod.state.is_usable() || pod.state == State::Full;
    let mut values = pods.iter().filter(serving).map(of).peekable();
    values.peek()?;
    let sum = values.try_fold(0_u64, |sum, value| Some(sum.saturating_add(value?)));
    sum.map(float)
}

const OF_PODS: [Family<PodSnapshot>; 16] = [
    gauge(
        "wsbalancer_pod_connections",
        "WebSockets that the pod reports.",
        |pod| pod.count_age.map(|_| float(pod.agents_connections)),
    ),
    gauge(
        "wsbalancer_pod_estimate",
        "WebSockets that the pod should hold by now.",
        |pod| Some(float(pod.estimate)),
    ),
    gauge(
        "wsbalancer_pod_own_connections",
        "WebSockets on the pod that are open through this gateway.",
        |pod| Some(pod.own_connections.into()),
    ),
    gauge(
        "wsbalancer_pod_even_share",
        "WebSockets that the pod would hold if all were spread evenly.",
        |pod| Some(pod.even_share),
    ),
    gauge("wsbalancer_pod_weight", "Weight of the pod.", |pod| {
        Some(pod.weight)
    }),
    gauge(
        "wsbalancer_pod_max_connections",
        "WebSockets at which the pod is full.",
        |pod| pod.max_connections.map(float),
    ),
    gauge(
        "wsbalancer_pod_usable",
        "Whether the pod gets new WebSockets.",
        |pod| Some(f64::from(u8::from(pod.state.is_usable()))),
    ),
    gauge(
        "wsbalancer_pod_implausible",
        "Whether the pod's counts lack WebSockets that are open on it.",
        |pod| Some(f64::from(u8::from(pod.implausible))),
    ),
    gauge(
        "wsbalancer_pod_count_age_seconds",
        "Age of the pod's last count.",
        |pod| pod.count_age,
    ),
    counter(
        "wsbalancer_pod_opened_total",
        "WebSockets opened on the pod through this gateway.",
        |pod| Some(pod.opened.into()),
    ),
    counter(
        "wsbalancer_pod_closed_total",
        "WebSockets of this gateway that have ended on the pod.",
        |pod| Some(pod.closed.into()),
    ),
    counter(
        "wsbalancer_pod_refused_total",
        "Connections that the pod did not accept.",
        |pod| Some(pod.refused.into()),
    ),
    counter(
        "wsbalancer_pod_failed_total",
        "Handshakes that the pod failed.",
        |pod| Some(pod.failed.into()),
    ),
    counter(
        "wsbalancer_pod_cut_total",
        "WebSockets on the pod that ended within a second, and not by their clients.",
        |pod| Some(pod.cut.into()),
    ),
    counter(
        "wsbalancer_pod_polls_failed_total",
        "Polls that brought no count.",
        |pod| Some(pod.polls_failed.into()),
    ),
    counter(
        "wsbalancer_pod_rebalanced_total",
        "WebSockets that rebalancing closed on the pod.",
        |pod| Some(pod.rebalanced.into()),
    ),
];

/// Writes all of it.
pub(super) fn write(snapshot: &Snapshot) -> String {
    let mut text = Exposition::default();
    for Family {
        name,
        kind,
        help,
        value,
    } in OF_SERVICES
    {
        text.head(name, kind, help);
        for service in &snapshot.services {
            text.series(name, &[("service", &service.url)], value(service));
        }
    }
    for Results { name, help, of } in RESULTS {
        text.head(name, Kind::Counter, help);
        for service in &snapshot.services {
            for (result, count) in of {
                let labels = [("service", service.url.as_str()), ("result", result)];
                text.series(name, &labels, Some(float(count(&service.statistics))));
            }
        }
    }
    for Family {
        name,
        kind,
        help,
        value,
    } in OF_ALL_PODS
    {
        text.head(name, kind, help);
        for (service, pods) in &snapshot.pod_metrics {
            text.series(name, &[("service", service)], value(pods));
        }
    }
    text.head("wsbalancer_pods", Kind::Gauge, "Pods by state.");
    for (service, pods) in &snapshot.pod_metrics {
        for state in State::ALL {
            let count = pods.iter().filter(|pod| pod.state == state).count();
            let labels = [("service", service.as_str()), ("state", state.name())];
            text.series("wsbalancer_pods", &labels, Some(float(count as u64)));
        }
    }
    let name = "wsbalancer_warning";
    text.head(name, Kind::Gauge, "Whether the warning is in force.");
    for service in &snapshot.services {
        for kind in warning::Kind::OF_SERVICES {
            let labels = [("service", service.url.as_str()), ("kind", kind.name())];
            text.series(name, &labels, Some(is_among(&service.warnings, kind)));
        }
    }
    for kind in warning::Kind::OF_GATEWAY {
        let is_in_force = is_among(&snapshot.warnings, kind);
        text.series(name, &[("kind", kind.name())], Some(is_in_force));
    }
    for Family {
        name,
        kind,
        help,
        value,
    } in OF_PODS
    {
        text.head(name, kind, help);
        for (service, pod) in snapshot.pods() {
            let labels = [("service", service), ("pod", &pod.address)];
            text.series(name, &labels, value(pod));
        }
    }
    let name = "wsbalancer_pod_info";
    text.head(
        name,
        Kind::Gauge,
        "What the pod calls itself, and its state.",
    );
    for (service, pod) in snapshot.pods() {
        let label = |name: &Option<String>| name.clone().unwrap_or_default();
        let labels = [
            ("service", service),
            ("pod", &pod.address),
            ("pod_name", &label(&pod.names.pod_name)),
            ("pod_ip", &label(&pod.names.pod_ip)),
            ("node", &label(&pod.names.node_name)),
            ("state", pod.state.name()),
        ];
        text.series(name, &labels, Some(1.0));
    }
    text.0
}

/// 1 where a warning of this kind is in force, else 0.
fn is_among(warnings: &[Warning], kind: warning::Kind) -> f64 {
    f64::from(u8::from(warnings.iter().any(|known| known.kind == kind)))
}

impl Snapshot {
    /// The pods of all services, each with its service.
    fn pods(&self) -> impl Iterator<Item = (&str, &PodSnapshot)> {
        self.pod_metrics
            .iter()
            .flat_map(|(service, pods)| pods.iter().map(|pod| (service.as_str(), pod)))
    }
}

/// A text that takes whatever is written to it.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn series(&mut self, name: &str, labels: &[(&str, &str)], value: Option<f64>) {
        let Some(value) = value else {
            return;
        };
        self.0.push_str(name);
        let mut opening = '{';
        for (label, value) in labels {
            self.write(format_args!("{opening}{label}=\""));
            self.escape(value);
            self.0.push('"');
            opening = ',';
        }
        self.write(format_args!("}} {value}\n"));
    }

    fn escape(&mut self, value: &str) {
        for c in value.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
    }

    fn write(&mut self, text: impl Display) {
        let _written = write!(self.0, "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::pod::Reported;
    use crate::service::Service;
    use crate::status::register;
    use crate::testing::{FakeHost, NOW, report_all};

    /// What is written of pods that report this.
    fn written(reports: &[Reported]) -> String {
        let endpoints: Vec<String> = (1..=reports.len())
            .map(|n| format!("10.0.0.{n}:8080"))
            .collect();
        let document =
            serde_json::json!({ "services": [{ "cluster": "chat", "endpoints": endpoints }] });
        let mut config = Config::parse(document.to_string().as_bytes()).unwrap();
        let host = FakeHost::at(NOW);
        register(&host, &config, NOW);
        let service = Service::open(host.clone(), config.services.remove(0));
        report_all(&service, NOW, reports);
        write(&Snapshot::take(
            &host,
            None,
            NOW,
            std::time::SystemTime::UNIX_EPOCH,
        ))
    }

    fn value(text: &str, series: &str) -> Option<f64> {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    #[test]
    fn the_capacity_is_that_of_pods_that_serve_and_there_is_none_where_one_has_no_limit() {
        let of = |connections, limit| Reported {
            limit,
            ..Reported::of(connections)
        };
        let draining = Reported {
            draining: Some(true),
            ..of(40, Some(70))
        };
        let text = written(&[of(10, Some(30)), of(50, Some(50)), draining]);
        let chat = |name| value(&text, &format!("{name}{{service=\"chat\"}}"));
        assert_eq!(chat("wsbalancer_capacity"), Some(80.0));
        assert_eq!(chat("wsbalancer_capacity_used"), Some(60.0));
        for unlimited in [&[of(10, Some(30)), of(50, None)][..], &[draining]] {
            let text = written(unlimited);
            assert!(!text.contains("wsbalancer_capacity{"), "{text}");
            assert!(!text.contains("wsbalancer_capacity_used{"), "{text}");
        }
    }

    #[test]
    fn every_statistic_is_a_series() {
        let text = written(&[Reported::of(1)]);
        let counts = serde_json::to_value(ServiceCounts::default()).unwrap();
        for name in counts.as_object().unwrap().keys() {
            let (what, result) = name.split_once('_').unwrap();
            let what = what.replace("discovery", "discovery_requests");
            let one = format!("wsbalancer_{name}_total{{service=\"chat\"}}");
            let of = format!("wsbalancer_{what}_total{{service=\"chat\",result=\"{result}\"}}");
            let found = [one, of].map(|series| value(&text, &series));
            assert_eq!(found.iter().flatten().count(), 1, "{name} in\n{text}");
        }
    }
}
