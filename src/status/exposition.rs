//! The status in Prometheus' text format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! The series of the pods are here and not among Envoy's statistics, because Envoy keeps a
//! statistic until it ends: pods that have gone would stay for ever, and every deploy would add
//! some. Here a pod's series end with the pod.

use std::fmt::{Display, Write};

use super::snapshot::{PodSnapshot, ServiceSnapshot, Snapshot};
use super::state::State;
use crate::num::approximate as float;

/// Series of one name, one for each of what `T` is.
struct Family<T> {
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

const fn gauge<T>(
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

const fn counter<T>(
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

const OF_SERVICES: [Family<ServiceSnapshot>; 6] = [
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
];

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
    text.head("wsbalancer_pods", Kind::Gauge, "Pods by state.");
    for (service, pods) in &snapshot.pod_metrics {
        for state in State::ALL {
            let count = pods.iter().filter(|pod| pod.state == state).count();
            let labels = [("service", service.as_str()), ("state", state.name())];
            text.series("wsbalancer_pods", &labels, Some(float(count as u64)));
        }
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
