//! A pod as tests and the control endpoint handle it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::door::Door;
use crate::handshake::HandshakeBehavior;
use crate::load_report::LoadReport;
use crate::metric::MetricBehavior;
use crate::service::{HeaderLists, PodService, Switches};
use crate::tally::Counters;

/// How long anybody waits for what must happen to a pod.
const PATIENCE: Duration = Duration::from_secs(120);

/// A handle to one pod; clones are handles to the same pod.
///
/// The pod itself ends with its [`Fleet`](crate::Fleet).
#[derive(Clone, Debug)]
pub struct Pod {
    index: usize,
    service: Arc<PodService>,
    door: Arc<Door>,
}

/// All that the control endpoint tells about a pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodState {
    /// Its place in the fleet, from 0.
    pub index: usize,
    /// Its name.
    pub pod_name: String,
    /// Where it is reached.
    pub address: SocketAddr,
    /// The count that it tells: `open` and `preload`.
    pub reported: u64,
    /// What it has counted.
    #[serde(flatten)]
    pub counters: Counters,
    /// Whether it refuses connections.
    pub refusing: bool,
    /// How it answers.
    #[serde(flatten)]
    pub switches: Switches,
    /// The headers of the last WebSocket handshake, whatever was answered.
    pub last_handshake: Option<HeaderLists>,
}

/// Changes to a pod; what is absent stays as it is.
///
/// Of what a pod may leave unsaid, `null` unsets what was set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct PodChange {
    /// Refuse connections, or accept them again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refuse: Option<bool>,
    /// What it answers to polls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<MetricBehavior>,
    /// What it does with WebSocket handshakes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake: Option<HandshakeBehavior>,
    /// Reported on top of the WebSockets that are open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preload: Option<u64>,
    /// The weight that it tells.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub weight: Option<Option<f64>>,
    /// The most WebSockets that it says it takes.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<Option<u64>>,
    /// Whether it says that it wants no new WebSockets.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub draining: Option<Option<bool>>,
    /// In which form it tells its count with each 101.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub load_report: Option<Option<LoadReport>>,
    /// End all WebSockets that are open now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drop: bool,
}

/// Reads a field that is there: `null` says something else than no field.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl Pod {
    pub(crate) fn new(index: usize, service: PodService, door: Door) -> Self {
        Self {
            index,
            service: Arc::new(service),
            door: Arc::new(door),
        }
    }

    /// Its place in the fleet, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its name, as `/metric` tells it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.service.identity.pod_name
    }

    /// Where it is reached; the same for its whole life, also while it refuses connections.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// WebSockets that are open now.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.counters().open
    }

    /// WebSockets accepted since the start.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.counters().opened
    }

    /// When WebSockets were accepted, in order; of more than a million, the latest.
    ///
    /// An opening is there once it is counted: wait with [`Pod::until`] for `opened`.
    #[must_use]
    pub fn openings(&self) -> Vec<Instant> {
        self.service.tally.openings()
    }

    /// `GET`s on a path of the count since the start, whatever was answered.
    #[must_use]
    pub fn polls(&self) -> u64 {
        self.counters().polls
    }

    /// The count that it tells: its open WebSockets and the preload.
    #[must_use]
    pub fn reported(&self) -> u64 {
        self.service.reported()
    }

    /// All that it has counted up to now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.service.tally.counters()
    }

    /// The counters as they change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Counters> {
        self.service.tally.watch()
    }

    /// Waits until `condition` holds, and returns the counters for which it did.
    ///
    /// Between two looks the counters may change more than once: wait for `opened >= 3` rather
    /// than for `open == 3` where WebSockets come and go.
    ///
    /// # Errors
    ///
    /// With the counters as they are then, where that takes over two minutes.
    pub async fn until(&self, condition: impl FnMut(&Counters) -> bool) -> io::Result<Counters> {
        let mut counters = self.watch();
        match timeout(PATIENCE, counters.wait_for(condition)).await {
            Ok(Ok(found)) => Ok(*found),
            // It fails only where the pod is gone, and the pod is `self`.
            Ok(Err(_)) => Ok(self.counters()),
            Err(_) => {
                let now = self.counters();
                let error = format!("waited {PATIENCE:?} in vain at {now:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, error))
            }
        }
    }

    /// The headers of the last WebSocket handshake, whatever was answered.
    #[must_use]
    pub fn last_handshake(&self) -> Option<HeaderLists> {
        self.service.last_handshake.borrow().clone()
    }

    /// Refuses connections from now on: a client gets `ECONNREFUSED`.
    ///
    /// Connections that are kept alive take no further request. WebSockets stay.
    pub async fn refuse(&self) {
        self.door.close().await;
    }

    /// Accepts connections again, on the same address.
    ///
    /// # Errors
    ///
    /// Fails where somebody else listens on the address by now.
    pub async fn accept(&self) -> io::Result<()> {
        self.door.open(self.service.router()).await
    }

    /// Answers polls like this from now on; those that hang or wait already stay as they are.
    pub fn answer_metric(&self, behavior: MetricBehavior) {
        self.service
            .switches
            .send_modify(|switches| switches.metric = behavior);
    }

    /// Answers handshakes like this from now on; those that hang already stay as they are.
    pub fn answer_handshake(&self, behavior: HandshakeBehavior) {
        self.service
            .switches
            .send_modify(|switches| switches.handshake = behavior);
    }

    /// Reports `count` on top of the WebSockets that are open.
    pub fn preload(&self, count: u64) {
        self.service
            .switches
            .send_modify(|switches| switches.preload = count);
    }

    /// Tells this weight from now on, or none.
    pub fn set_weight(&self, weight: Option<f64>) {
        self.service
            .switches
            .send_modify(|switches| switches.weight = weight);
    }

    /// Says from now on that it takes no more WebSockets than this, or says nothing about it.
    ///
    /// It takes more all the same: a test sees what reaches it.
    pub fn limit(&self, most: Option<u64>) {
        self.service
            .switches
            .send_modify(|switches| switches.max_connections = most);
    }

    /// Says from now on whether it wants no new WebSockets, or says nothing about it.
    ///
    /// It takes them all the same: a test sees what reaches it.
    pub fn drain(&self, draining: Option<bool>) {
        self.service
            .switches
            .send_modify(|switches| switches.draining = draining);
    }

    /// Tells its count with each 101 in this form from now on, or does not.
    pub fn report_load(&self, report: Option<LoadReport>) {
        self.service
            .switches
            .send_modify(|switches| switches.load_report = report);
    }

    /// Ends all WebSockets that are open now, and returns once they are.
    ///
    /// No close frame is sent: the sockets are just closed, as the kernel does it for a process
    /// that was killed.
    pub async fn drop_connections(&self) {
        self.service.tally.drop_all().await;
    }

    /// Makes several changes; all have taken effect once this returns.
    ///
    /// Whatever makes the pod go away goes first and whatever brings it back last: no client
    /// meets half of the changes.
    ///
    /// # Errors
    ///
    /// Fails where the pod should accept connections again and cannot; see [`Pod::accept`].
    pub async fn apply(&self, change: PodChange) -> io::Result<()> {
        if change.refuse == Some(true) {
            self.refuse().await;
        }
        self.service.switches.send_modify(|switches| {
            if let Some(metric) = change.metric {
                switches.metric = metric;
            }
            if let Some(handshake) = change.handshake {
                switches.handshake = handshake;
            }
            if let Some(preload) = change.preload {
                switches.preload = preload;
            }
            if let Some(weight) = change.weight {
                switches.weight = weight;
            }
            if let Some(most) = change.max_connections {
                switches.max_connections = most;
            }
            if let Some(draining) = change.draining {
                switches.draining = draining;
            }
            if let Some(report) = change.load_report {
                switches.load_report = report;
            }
        });
        if change.drop {
            self.drop_connections().await;
        }
        if change.refuse == Some(false) {
            self.accept().await?;
        }
        Ok(())
    }

    /// All that there is to tell about the pod.
    #[must_use]
    pub fn state(&self) -> PodState {
        PodState {
            index: self.index,
            pod_name: self.name().to_owned(),
            address: self.address(),
            reported: self.reported(),
            counters: self.counters(),
            refusing: !self.door.is_open(),
            switches: self.service.switches.borrow().clone(),
            last_handshake: self.last_handshake(),
        }
    }
}
