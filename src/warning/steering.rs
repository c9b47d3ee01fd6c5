//! Whether upgrades go to the pods that were chosen for them, and why they might not.
//!
//! A mismatch is an upgrade that another pod served than the one chosen, though nothing was retried.
//! Where Envoy obeys there are none, but for a moment: a pod that has left Envoy's list is still
//! chosen until the next list comes. So the choice of a listed pod is held against Envoy only once a
//! list that was asked for later still has the pod.
//!
//! Where Envoy does not obey, some upgrades go to the chosen pod by chance: one of two, with two
//! pods. So a mismatch counts twice what an upgrade counts that went right: five in a row are
//! enough, and so are some more among others. The warning is over when twenty in a row went right.

use serde::{Deserialize, Serialize};

use super::advice;
use super::kind::{Kind, Warning};
use crate::clock::Timestamp;
use crate::config::{PodSource, RouteBy, ServiceConfig, Settings};
use crate::pod::{PodAddress, PodRecord};
use crate::table::Table;

/// What a mismatch counts; an upgrade that went right takes away one.
const WEIGHT: u32 = 2;
/// From here on it is said: five mismatches.
const ENOUGH: u32 = 10;
/// It is never more than this, so that it can be over.
const MOST: u32 = 20;
/// So many mismatches may wait for the next list; others are left out.
const MOST_OPEN: usize = 16;

/// Who served an upgrade instead of the chosen pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Server {
    /// A pod that the header named, but not first.
    Named,
    /// A pod of the service that the header did not name.
    Pod,
    /// A host that is none of the service's pods, or that Envoy does not tell.
    Stranger,
}

/// An upgrade that another pod served than the one chosen, though nothing was retried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    /// The chosen pod.
    pub chosen: String,
    /// The host that served, as Envoy has it; empty where it does not tell.
    pub served: String,
    /// Who that is.
    pub server: Server,
    /// The route's cluster by the time of the answer.
    pub cluster: String,
    /// When, in nanoseconds.
    pub at: u64,
}

/// How steering goes: what the workers have seen of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Steering {
    /// What speaks against it, 0 to [`MOST`].
    score: u32,
    /// Whether it was enough.
    is_proven: bool,
    /// Mismatches of which a list has yet to say whether the chosen pod was there.
    open: Vec<Mismatch>,
    /// The last one that counts.
    last: Option<Mismatch>,
}

impl Steering {
    /// Whether an upgrade that went right would change anything.
    #[must_use]
    pub const fn is_in_question(&self) -> bool {
        self.score > 0 || !self.open.is_empty()
    }

    /// An upgrade went to the chosen pod.
    pub fn obeyed(&mut self) {
        self.score = self.score.saturating_sub(1);
        if self.score == 0 {
            let open = std::mem::take(&mut self.open);
            *self = Self {
                open,
                ..Self::default()
            };
        }
    }

    /// An upgrade went elsewhere. Whether it counts is settled later.
    pub fn disobeyed(&mut self, mismatch: Mismatch) {
        if self.open.len() < MOST_OPEN {
            self.open.push(mismatch);
        }
    }

    /// Counts the mismatches of which it is known that the chosen pod was there; those of pods that
    /// were gone count nothing.
    pub(super) fn settle(&mut self, table: &Table, pods: &PodSource) {
        let is_ripe = |mismatch: &Mismatch| match pods {
            PodSource::Discovery(_) => table.discovery().succeeded_at().as_nanos() > mismatch.at,
            PodSource::Endpoints(_) | PodSource::Cluster => true,
        };
        let (ripe, open) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(is_ripe);
        self.open = open;
        let ripe: Vec<Mismatch> = ripe;
        for mismatch in ripe {
            if matches!(pods, PodSource::Cluster) || record(table, &mismatch.chosen).is_some() {
                self.score = self.score.saturating_add(WEIGHT).min(MOST);
                self.last = Some(mismatch);
            }
        }
        self.is_proven |= self.score >= ENOUGH;
    }

    /// The warning, where there is one.
    pub(super) fn warning(
        &self,
        table: &Table,
        service: &ServiceConfig,
        settings: &Settings,
    ) -> Option<Warning> {
        let last = self.last.as_ref().filter(|_| self.is_proven)?;
        let (header, cluster) = (&settings.override_header, &service.cluster);
        let (cause, advice) = match settings.route_by {
            RouteBy::Cluster => (
                format!(
                    "the route has a cluster of its own, {:?}, and does not take it from the header \
                     {header}",
                    printable(&last.cluster)
                ),
                Some(advice::cluster_header(header)),
            ),
            RouteBy::Endpoint if last.cluster != *cluster => (
                format!(
                    "after this filter the route was changed, and leads to the cluster {:?}",
                    printable(&last.cluster)
                ),
                Some(advice::service(&last.cluster)),
            ),
            RouteBy::Endpoint => likely(last, table, service, header),
        };
        Some(Warning {
            kind: Kind::Steering,
            message: format!("WebSockets go to other pods than the chosen ones: {cause}"),
            advice,
        })
    }

    /// The warning where WebSockets go to `passed_by`, which is no service's, and none has come for
    /// a service.
    pub(super) fn passed_by(passed_by: &str, settings: &Settings) -> Warning {
        let name = printable(passed_by);
        let header = &settings.override_header;
        let (cause, advice) = match settings.route_by {
            RouteBy::Endpoint => (
                format!("they go to the cluster {name:?}, which is no service's"),
                advice::service(passed_by),
            ),
            RouteBy::Cluster => (
                format!(
                    "their route has a cluster of its own, {name:?}, and does not take it from the \
                     header {header}"
                ),
                advice::cluster_header(header),
            ),
        };
        Warning {
            kind: Kind::Steering,
            message: format!("no WebSocket has come for this service, but others have: {cause}"),
            advice: Some(advice),
        }
    }
}

/// The likely cause where the pods are hosts of the cluster. By the time of the answer no filter can
/// see any more what became of the request's header.
fn likely(
    last: &Mismatch,
    table: &Table,
    service: &ServiceConfig,
    header: &str,
) -> (String, Option<String>) {
    let cluster = &service.cluster;
    let is_listed_by_hand = matches!(service.pods, PodSource::Endpoints(_));
    let has_opened = record(table, &last.chosen).is_some_and(|pod| pod.opened() > 0);
    let served = printable(&last.served);
    let sessions = service.sessions.as_ref();
    let kept_by = sessions.and_then(|sessions| sessions.kept_by.as_deref());
    match (last.server, kept_by) {
        (Server::Stranger, _) if is_listed_by_hand && !last.served.is_empty() => (
            format!(
                "{served}, which served, is a host of the cluster {cluster}, but none of the endpoints"
            ),
            Some(advice::discovery()),
        ),
        (Server::Stranger, _) => (
            format!(
                "the host that served, {served:?}, is none of the cluster {cluster}: a second \
                 balancer in the chain sends them there"
            ),
            None,
        ),
        (Server::Named, _) if is_listed_by_hand && !has_opened => (
            format!(
                "{}, one of the endpoints, is likely no host of the cluster {cluster}",
                printable(&last.chosen)
            ),
            Some(advice::discovery()),
        ),
        (Server::Named | Server::Pod, Some(cookie)) => (
            format!(
                "the stateful_session filter stands before this one and has read the cookie {cookie} by \
                 the time it is taken away, or the cluster {cluster} has no override_host policy that \
                 reads the header {header}"
            ),
            Some(advice::SESSION_ORDER.to_owned()),
        ),
        (Server::Named | Server::Pod, None) => (
            format!(
                "the cluster {cluster} has no override_host policy that reads the header {header}, or \
                 something behind this filter changes that header or takes it away \
                 (request_headers_to_remove, a second balancer), or chooses the host itself \
                 (stateful_session)"
            ),
            Some(advice::override_host(header)),
        ),
    }
}

fn record<'a>(table: &'a Table, pod: &str) -> Option<&'a PodRecord> {
    let address: PodAddress = PodAddress::from_bytes(pod.as_bytes())?;
    table.pod(address)
}

/// Names come from the configuration of others: without control characters, and not too long.
fn printable(name: &str) -> String {
    const LONGEST: usize = 100;
    name.chars()
        .filter(|c| !c.is_control())
        .take(LONGEST)
        .collect()
}

impl Mismatch {
    /// When it was.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        Timestamp::from_nanos(self.at)
    }
}
