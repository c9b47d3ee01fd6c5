//! Which warnings are in force.

use std::time::Duration;

use super::findings::{Findings, Sighting};
use super::kind::{Kind, Warning};
use super::steering::Steering;
use super::{advice, capacity};
use crate::clock::Timestamp;
use crate::config::{ServiceConfig, Settings};
use crate::metric::PollFailure;
use crate::pod::{PodRecord, Usage};
use crate::table::Table;

/// Two filters are one again after so long, …
const UNSEEN: Duration = Duration::from_secs(10);
/// … and so many WebSockets, without another sighting.
const UNSEEN_OPENS: u64 = 20;

/// What there is to judge by, of one service.
#[derive(Clone, Copy)]
pub struct Judge<'a> {
    /// Its configuration.
    pub service: &'a ServiceConfig,
    /// What holds for all services.
    pub settings: &'a Settings,
    /// Its pods.
    pub table: &'a Table,
    /// How far the cluster is from its limits; none where this worker has seen no list.
    pub usage: Option<Usage>,
    /// Whether no service of the filter has opened a WebSocket yet. Asked only where it matters.
    pub is_unused: &'a dyn Fn() -> bool,
    /// The moment.
    pub now: Timestamp,
}

/// What a judgment has changed, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What has begun.
    pub begun: Vec<Warning>,
    /// What is over.
    pub over: Vec<Warning>,
}

impl Changes {
    /// Those that come of it that these `warnings` are now in force.
    fn enforce(findings: &mut Findings, warnings: Vec<Warning>) -> Self {
        let before = std::mem::replace(&mut findings.warnings, warnings);
        let lacks = |warnings: &[Warning], one: &Warning| {
            !warnings.iter().any(|known| known.kind == one.kind)
        };
        let now = &findings.warnings;
        let begun = now.iter().filter(|one| lacks(&before, one));
        let over = before.iter().filter(|one| lacks(now, one));
        Self {
            begun: begun.cloned().collect(),
            over: over.cloned().collect(),
        }
    }

    /// Logs them, each line behind whose warnings they are.
    pub fn log(&self, whose: &str) {
        for Warning {
            kind,
            message,
            advice,
        } in &self.begun
        {
            let advice = advice.as_ref().map(|lines| format!("; to add:\n{lines}"));
            let (kind, advice) = (kind.name(), advice.unwrap_or_default());
            log::warn!("{whose}: {message} (warning {kind}){advice}");
        }
        for Warning { kind, .. } in &self.over {
            log::info!("{whose}: the warning {} is over", kind.name());
        }
    }
}

/// Writes the warnings of the whole gateway that are in force into `findings`. The filter shows the
/// status and has no services; there may be services of other filters that it sees.
pub fn judge_gateway(findings: &mut Findings, has_services: bool) -> Changes {
    let unshared = (!has_services).then(|| Warning {
        kind: Kind::VmId,
        message: "the status sees no services: no filter that has some shares its vm_id, or none \
            was started"
            .to_owned(),
        advice: Some(advice::VM_ID.to_owned()),
    });
    Changes::enforce(findings, unshared.into_iter().collect())
}

impl Judge<'_> {
    /// Writes the warnings that are in force into `findings`.
    pub fn judge(&self, findings: &mut Findings) -> Changes {
        findings.steering.settle(self.table, &self.service.pods);
        findings.second = findings.second.and_then(|second| self.seen_lately(second));
        let warnings = [
            self.no_answer(),
            self.steering(findings),
            findings.second.map(|_| two_filters()),
            findings.unretried.as_deref().map(|pod| self.unretried(pod)),
            self.circuit_breakers(findings),
            self.ports(findings),
        ];
        Changes::enforce(findings, warnings.into_iter().flatten().collect())
    }

    /// No pod has ever answered.
    fn no_answer(&self) -> Option<Warning> {
        let pods = self.table.pods();
        let threshold = self.service.rules.unhealthy_threshold;
        let never = |pod: &PodRecord| {
            let poll = pod.poll();
            !poll.succeeded_at().happened() && poll.failures_in_a_row() >= threshold
        };
        let first = pods.first().filter(|_| pods.iter().all(never))?;
        let failure = first.last_failure().unwrap_or(PollFailure::NoAnswer);
        let subject = match pods.len() {
            1 => "its only pod has never answered a poll".to_owned(),
            pods => format!("none of its {pods} pods has ever answered a poll"),
        };
        Some(Warning {
            kind: Kind::NoAnswer,
            message: format!("{subject}; the last error: {failure}"),
            advice: advice::poll(failure),
        })
    }

    fn steering(&self, findings: &Findings) -> Option<Warning> {
        let passed_by = findings.passed_by.as_deref();
        let passed_by = passed_by.filter(|_| (self.is_unused)());
        passed_by.map_or_else(
            || {
                findings
                    .steering
                    .warning(self.table, self.service, self.settings)
            },
            |cluster| Some(Steering::passed_by(cluster, self.settings)),
        )
    }

    /// The sighting, unless much has happened since and it was not repeated.
    fn seen_lately(&self, sighting: Sighting) -> Option<Sighting> {
        let opened = self.table.opened();
        let span = self.now.since(Timestamp::from_nanos(sighting.at));
        let is_past = span >= UNSEEN && opened >= sighting.opened.saturating_add(UNSEEN_OPENS);
        // Pods that leave take their counts with them.
        let opened = sighting.opened.min(opened);
        (!is_past).then_some(Sighting { opened, ..sighting })
    }

    fn unretried(&self, pod: &str) -> Warning {
        Warning {
            kind: Kind::RetryPolicy,
            message: format!(
                "{pod} refused a connection, and its client got 503 at the first attempt though there \
                 were other pods: the route has no retry_policy with connect-failure"
            ),
            advice: Some(advice::retry_policy(self.settings.attempts)),
        }
    }

    fn circuit_breakers(&self, findings: &Findings) -> Option<Warning> {
        let before = in_force(findings, Kind::CircuitBreakers);
        match self.usage {
            Some(usage) => capacity::circuit_breakers(&usage, before.is_some()),
            // Whoever polled before has seen a list.
            None => before.cloned(),
        }
    }

    /// By Envoy's own count where there is one: over HTTP/2 many WebSockets share a connection.
    fn ports(&self, findings: &Findings) -> Option<Warning> {
        let before = in_force(findings, Kind::Ports);
        let busiest = match (self.usage, self.service.discovery()) {
            (Some(usage), _) => usage.busiest?,
            (None, Some(_)) => return before.cloned(),
            (None, None) => {
                let pods = self.table.pods().iter();
                let busiest = pods.max_by_key(|pod| pod.own_connections())?;
                (busiest.address(), busiest.own_connections().into())
            }
        };
        let (pod, used) = busiest;
        capacity::ports(pod, used, self.settings.local_ports, before.is_some())
    }
}

fn two_filters() -> Warning {
    Warning {
        kind: Kind::TwoFilters,
        message:
            "two filters of this kind are in one chain, and the second finds that the first has \
            chosen: remove one of them"
                .to_owned(),
        advice: None,
    }
}

fn in_force(findings: &Findings, kind: Kind) -> Option<&Warning> {
    findings.warnings.iter().find(|known| known.kind == kind)
}
