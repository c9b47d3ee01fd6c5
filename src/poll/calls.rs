//! The questions that a worker has sent, and what their answers do.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::schedule::{Pace, Question};
use crate::clock::Timestamp;
use crate::host::{Answer, CallToken, Get, NotSent, authority_of};
use crate::metric::{BODY_LIMIT, PollFailure};
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
    /// Asks a question that was claimed at `asked_at` in `table`.
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
                Question::Count(_) => BODY_LIMIT,
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
    let (upstream, own) = (table.upstream(pod), pod.to_string());
    // As Kubernetes' probes have it. What a cluster is called says nothing to a pod.
    let authority = match (&config.metric_host, pod.socket()) {
        (Some(host), _) => host,
        (None, Some(_)) => own.as_str(),
        (None, None) => authority_of(&config.cluster),
    };
    service.shell.get(&Get {
        cluster: &config.cluster,
        upstream: upstream.as_deref(),
        authority,
        path: &config.metric_path,
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
    };
    if pod.is_internal() && is_unreached(service, asked_at, report.as_ref().err()) {
        service.record(&[Event::Unreached { pod, asked_at }]);
        return;
    }
    if let Ok(report) = &report {
        service.names.learn(pod, report);
    }
    service.record(&[Event::Answered {
        pod,
        asked_at,
        outcome: report
            .as_ref()
            .map(|report| Reported {
                body_size: u32::try_from(body_size).unwrap_or(u32::MAX),
                ..Reported::from(report)
            })
            .map_err(|&failure| failure),
    }]);
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
    }
    service.record(&[Event::Listed { asked_at, outcome }]);
}
