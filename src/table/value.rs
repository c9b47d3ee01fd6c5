//! The table itself.
//!
//! The table *is* its bytes. Shared data hands out a copy of the whole value and takes a whole
//! value back, so the records have a fixed layout that is read and changed in place: an upgrade
//! costs no decoding, however many pods there are. Applying an event is arithmetic that can't
//! fail; one of a pod that is not in the table changes nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use zerocopy::native_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::current::{Current, Look};
use super::event::{Effect, Event};
use super::handover::Part;
use super::ledger::{Holding, Ledger};
use super::progress::Progress;
use super::roster::Roster;
use super::traffic::{self, Totals, TrafficValue};
use crate::clock::Timestamp;
use crate::config::Rules;
use crate::load::fleet::Fleet;
use crate::load::{self, Loads, PodState, Ranking, View, passive_health};
use crate::metric::{LoadReport, PollFailure};
use crate::pod::{
    Answer, DiscoveryFailure, HostList, Judgment, ListenerName, Member, MembershipChange, Outcomes,
    PackedAddress, PodAddress, PodLine, PodRecord, PollState, Posting, Reported,
};

/// First bytes of every table; another number for another layout, because modules of two
/// versions can share a `vm_id` while one replaces the other.
pub const LAYOUT: u32 = 0x7773_6210;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    layout: U32,
    /// How often more than the [traffic](super::traffic) was changed; may wrap.
    revision: U32,
    /// How many of the records are of pods that are listed; those behind them are of pods that are
    /// away.
    present: U32,
    /// The worker that asks; zero while there is none.
    poller: U64,
    /// The question which pods there are; never asked where they are configured.
    discovery: PollState,
    /// When a pod first gave a count; [`Timestamp::NEVER`] before that.
    began_at: U64,
    /// This gateway's part of the fleet.
    fleet: Fleet,
    /// What all handshakes of this gateway came to, but for those that opened a WebSocket.
    outcomes: Outcomes,
    /// When a pod was asked whose count lacked what this gateway had opened before.
    late_at: U64,
    /// How far rebalancing has got.
    progress: Progress,
    /// What this gateway has on all pods together.
    totals: Totals,
    /// Which configuration is current.
    current: Current,
    /// The listener that internal pods are behind.
    listener: ListenerName,
}

/// A pod whose state has changed.
#[derive(Clone, Debug)]
pub struct StateChange {
    /// The pod.
    pub pod: PodAddress,
    /// Its state now …
    pub state: PodState,
    /// … and why, for people.
    pub reason: String,
    /// See [`View::estimate`].
    pub estimate: f64,
}

/// The pods of one service. Tables are equal whose bytes are.
#[derive(Clone, Debug)]
pub struct Table {
    /// A [`Header`] and then [`PodRecord`]s, nothing else: those of the service's pods, and behind
    /// them those of pods that are [away](super::roster).
    bytes: Vec<u8>,
    /// The [traffic](super::traffic) of these records as a shared value, but for its totals; empty
    /// where it would have to be made anew.
    traffic: Vec<u8>,
    /// The loads of the pods, as far as they are known.
    loads: RefCell<Loads>,
    /// What the worker did that has it, for its [ledger](super::Ledger).
    postings: Vec<(PodAddress, Posting)>,
    /// Whether the worker that has it changed more than the [traffic](super::traffic).
    is_changed: bool,
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Table {}

/// The table as a value.
impl Table {
    /// A table of pods that nobody has asked yet.
    #[must_use]
    pub fn new(pods: &[PodAddress]) -> Self {
        let header = Header {
            layout: U32::new(LAYOUT),
            ..Header::new_zeroed()
        };
        let records: Vec<PodRecord> = pods.iter().copied().map(PodRecord::new).collect();
        Self::of(&header, &records, &[])
    }

    /// The same, to be written in the place of what is no table.
    pub(super) fn replacing(pods: &[PodAddress]) -> Self {
        Self {
            is_changed: true,
            ..Self::new(pods)
        }
    }

    fn of(header: &Header, present: &[PodRecord], away: &[PodRecord]) -> Self {
        let header = Header {
            // A table of so many records fits into no memory.
            present: U32::new(u32::try_from(present.len()).unwrap_or(u32::MAX)),
            ..*header
        };
        let parts = [header.as_bytes(), present.as_bytes(), away.as_bytes()];
        Self {
            bytes: parts.concat(),
            traffic: Vec::new(),
            loads: RefCell::default(),
            postings: Vec::new(),
            is_changed: false,
        }
    }

    /// The table in a value of shared data; none where the value is of another layout.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let (header, records) = Header::ref_from_prefix(&bytes).ok()?;
        let records = <[PodRecord]>::ref_from_bytes(records).ok()?;
        let is_sound = header.layout.get() == LAYOUT && header.present() <= records.len();
        is_sound.then(|| Self {
            bytes,
            traffic: Vec::new(),
            loads: RefCell::default(),
            postings: Vec::new(),
            is_changed: false,
        })
    }

    /// The table as a value of shared data.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn header(&self) -> Option<&Header> {
        Header::ref_from_prefix(&self.bytes)
            .ok()
            .map(|(header, _)| header)
    }

    /// The header, and the pods, to be changed.
    fn parts_mut(&mut self) -> Option<(&mut Header, &mut [PodRecord])> {
        let (header, records) = self.all_mut()?;
        let pods = records.get_mut(..header.present())?;
        Some((header, pods))
    }

    /// The header, and the records of the pods and of those that are away, to be changed.
    fn all_mut(&mut self) -> Option<(&mut Header, &mut [PodRecord])> {
        self.note_change();
        parts_of(&mut self.bytes)
    }

    /// Notes that more than the traffic changes.
    fn note_change(&mut self) {
        self.is_changed = true;
        self.forget();
    }

    /// Forgets what is known of the records besides.
    fn forget(&mut self) {
        self.traffic.clear();
        self.loads.get_mut().clear();
    }

    /// The totals and the records, of which only the traffic may be changed.
    fn traffic_mut(&mut self) -> Option<(&mut Totals, &mut [PodRecord])> {
        self.forget();
        let (header, records) = parts_of(&mut self.bytes)?;
        Some((&mut header.totals, records))
    }

    /// The records of the pods, and of those that are away.
    fn records(&self) -> &[PodRecord] {
        Header::ref_from_prefix(&self.bytes)
            .ok()
            .and_then(|(_, records)| <[PodRecord]>::ref_from_bytes(records).ok())
            .unwrap_or_default()
    }
}

/// The header and the records in a table's bytes.
fn parts_of(bytes: &mut [u8]) -> Option<(&mut Header, &mut [PodRecord])> {
    let (header, records) = Header::mut_from_prefix(bytes).ok()?;
    Some((header, <[PodRecord]>::mut_from_bytes(records).ok()?))
}

/// The two values in which it is shared; see `table/traffic.rs`.
impl Table {
    /// How often more than the traffic was changed; may wrap.
    pub(super) fn revision(&self) -> u32 {
        self.header().map_or(0, |header| header.revision.get())
    }

    /// Whether more than the traffic was changed since it was read.
    pub(super) const fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// Notes that it is written as it is now, in another revision than before.
    pub(super) fn revise(&mut self) {
        if let Some((header, _)) = self.all_mut() {
            header.revision.set(header.revision.get().wrapping_add(1));
        }
        self.is_changed = false;
    }

    /// Of which revision the table is beside this traffic.
    pub(super) fn revision_beside(traffic: &[u8]) -> u32 {
        TrafficValue::read(traffic, LAYOUT).revision
    }

    /// Takes the traffic of a shared value.
    pub fn set_traffic(&mut self, bytes: Vec<u8>) {
        let value = TrafficValue::read(&bytes, LAYOUT);
        let loads = self.loads.get_mut();
        let Some((header, records)) = parts_of(&mut self.bytes) else {
            return;
        };
        header.totals = value.totals;
        let before = &self.traffic;
        let is_known = value.put_changes_into(records, before, |place| loads.forget(place)) || {
            loads.clear();
            value.put_into(records)
        };
        self.traffic = if is_known { bytes } else { Vec::new() };
    }

    /// The traffic as a shared value.
    #[must_use]
    pub fn traffic_bytes(&self) -> Vec<u8> {
        let (revision, totals) = (self.revision(), self.totals());
        if self.traffic.is_empty() {
            return traffic::to_bytes(LAYOUT, revision, totals, self.records());
        }
        let mut bytes = self.traffic.clone();
        traffic::set_totals(&mut bytes, LAYOUT, revision, totals);
        bytes
    }

    /// What the worker did that has the table, since it was last asked.
    pub(super) fn take_postings(&mut self) -> Vec<(PodAddress, Posting)> {
        std::mem::take(&mut self.postings)
    }

    fn totals(&self) -> Totals {
        self.header()
            .map(|header| header.totals)
            .unwrap_or_default()
    }
}

/// What is in it.
impl Table {
    /// The pods, in the order of the configuration or of Envoy's list.
    #[must_use]
    pub fn pods(&self) -> &[PodRecord] {
        let present = self.header().map_or(0, Header::present);
        self.records().get(..present).unwrap_or_default()
    }

    /// The record of the pod at `address`.
    #[must_use]
    pub fn pod(&self, address: PodAddress) -> Option<&PodRecord> {
        let address = PackedAddress::from(address);
        self.pods().iter().find(|pod| pod.is_at(address))
    }

    fn fleet(&self) -> Fleet {
        self.header()
            .map_or_else(Fleet::new_zeroed, |header| header.fleet)
    }

    /// See [`Fleet::uncertainty`].
    #[must_use]
    pub fn uncertainty(&self) -> f64 {
        self.fleet().uncertainty(self.pods())
    }

    /// See [`Fleet::companions`].
    #[must_use]
    pub fn companions(&self) -> f64 {
        self.fleet().companions()
    }

    /// When a pod was last asked whose count lacked what this gateway had opened before.
    #[must_use]
    pub fn late_at(&self) -> Timestamp {
        self.header()
            .map_or(Timestamp::NEVER, |header| header.late_at.into())
    }

    /// The pods as they look at `now`, by these rules.
    #[must_use]
    pub fn view(&self, rules: &Rules, now: Timestamp) -> View {
        View::new(*rules, &self.fleet(), now)
    }

    /// The `places` best pods for the next WebSocket.
    pub fn rank(&self, places: usize, view: &View, random: &mut Rng) -> Ranking {
        match self.loads.try_borrow_mut() {
            Ok(mut loads) => load::rank_by(&mut loads, self.pods(), places, view, random),
            Err(_) => load::rank(self.pods(), places, view, random),
        }
    }

    /// The worker that asks; zero while there is none.
    #[must_use]
    pub fn poller(&self) -> u64 {
        self.header().map_or(0, |header| header.poller.get())
    }

    /// The question which pods there are.
    #[must_use]
    pub fn discovery(&self) -> PollState {
        self.header()
            .map_or_else(PollState::new_zeroed, |header| header.discovery)
    }

    /// What Envoy calls a pod; none where the cluster is the pod.
    #[must_use]
    pub fn upstream(&self, pod: PodAddress) -> Option<String> {
        pod.upstream(self.listener())
    }

    /// The listener that internal pods are behind; empty where there are none.
    fn listener(&self) -> &str {
        self.header().map_or("", |header| header.listener.as_str())
    }

    /// Which configuration is current.
    #[must_use]
    pub fn current(&self) -> Current {
        self.header()
            .map_or_else(Current::new_zeroed, |header| header.current)
    }

    /// WebSockets opened on the pods through this gateway.
    #[must_use]
    pub fn opened(&self) -> u64 {
        let opened = self.pods().iter().map(|pod| u64::from(pod.opened()));
        opened.fold(0, u64::saturating_add)
    }

    /// See [`Progress::missing`].
    #[must_use]
    pub fn missing(&self) -> u32 {
        self.header().map_or(0, |header| {
            header.progress.missing(header.totals.opened.get())
        })
    }

    /// Whether a pod's state has changed, and nobody has logged that yet.
    #[must_use]
    pub fn has_state_changes(&self, view: &View) -> bool {
        let is_new = |pod: &PodRecord| pod.announced() != view.state(pod).code();
        self.pods().iter().any(is_new)
    }
}

/// Events.
impl Table {
    /// Takes in what happened; what the answers among it turned out to mean.
    pub fn apply(&mut self, rules: &Rules, events: &[Event]) -> Vec<Effect> {
        let mut effects = Vec::new();
        for event in events {
            match event {
                Event::Chosen { .. }
                | Event::Settled { .. }
                | Event::Opened { .. }
                | Event::SessionBegun { .. }
                | Event::Closed { .. } => {
                    if let Some((pod, posting, at)) = event.posting() {
                        self.post(pod, posting, at);
                    }
                }
                Event::OpenedInSession { pod } => self.open_in_session(rules, *pod),
                Event::Cut {
                    pod,
                    began_at,
                    opened_at,
                    at,
                } => self.cut(rules, *pod, [*began_at, *opened_at, *at]),
                Event::PassedBy { pod, began_at, at } => {
                    self.change(*pod, |pod| pod.doubt(*at));
                    self.fail(rules, *pod, *began_at, *at);
                }
                Event::Failed { pod, began_at, at } => self.fail(rules, *pod, *began_at, *at),
                Event::Refused { pod, at } => self.change(*pod, |pod| pod.refuse(*at)),
                Event::LoadReported { pod, at, report } => {
                    effects.extend(self.hear(rules, *pod, *at, *report));
                }
                Event::Answered {
                    pod,
                    asked_at,
                    outcome,
                } => effects.push(self.answer(rules, *pod, *asked_at, *outcome)),
                Event::Unreached { pod, asked_at } => self.pass_on(*pod, *asked_at),
                Event::Listed { asked_at, outcome } => {
                    effects.extend(self.list(rules, *asked_at, outcome));
                }
            }
        }
        effects
    }

    /// Enters what a worker did on a pod, also on one which is away: what is open on it lives on. What
    /// was opened was so by `at`; [`Timestamp::NEVER`] where that is noted. How many of the WebSockets that ended had been opened on its record.
    pub fn post(&mut self, pod: PodAddress, posting: Posting, at: Timestamp) -> u32 {
        self.postings.push((pod, posting));
        let Some((header, records)) = parts_of(&mut self.bytes) else {
            return 0;
        };
        let address = PackedAddress::from(pod);
        let mut numbered = records.iter_mut().enumerate();
        let Some((place, pod)) = numbered.find(|(_, pod)| pod.is_at(address)) else {
            return 0;
        };
        if posting.opened > 0 {
            let opened = header.totals.opened.get().wrapping_add(posting.opened);
            header.totals.opened.set(opened);
            if at.happened() && pod.awaits_proof() {
                pod.note_opened(at, posting.opened);
                self.is_changed = true;
            }
        }
        let closed = pod.traffic_mut().post(&posting);
        traffic::set_entry(&mut self.traffic, place, pod);
        self.loads.get_mut().forget(place);
        closed
    }

    fn open_in_session(&mut self, rules: &Rules, pod: PodAddress) {
        let address = PackedAddress::from(pod);
        let record = self.records().iter().find(|pod| pod.is_at(address));
        let Some(record) = record else {
            return;
        };
        let posting = record.posting_in_session(rules.counts_sessions);
        if record.continues_asked(rules.counts_sessions) {
            self.change(pod, PodRecord::continue_asked);
        }
        // It says nothing of the pod's health: its client has chosen the pod.
        self.post(pod, posting, Timestamp::NEVER);
    }

    /// Changes a pod's record, also that of one which is away.
    fn change(&mut self, pod: PodAddress, change: impl FnOnce(&mut PodRecord)) {
        let Some((_, records)) = self.all_mut() else {
            return;
        };
        let address = PackedAddress::from(pod);
        if let Some(pod) = records.iter_mut().find(|pod| pod.is_at(address)) {
            change(pod);
        }
    }

    /// A pod has failed the handshake that was sent on at `began_at`.
    fn fail(&mut self, rules: &Rules, pod: PodAddress, began_at: Timestamp, at: Timestamp) {
        let view = self.view(rules, at);
        let Some((header, pods)) = self.parts_mut() else {
            return;
        };
        let address = PackedAddress::from(pod);
        if let Some(place) = pods.iter().position(|pod| pod.is_at(address)) {
            header.outcomes.fail();
            if let Some(pod) = pods.get_mut(place) {
                pod.fail();
            }
            accrue(pods, place, &view, header.outcomes(), began_at);
        }
    }

    /// A pod has ended a WebSocket at once: when its handshake was sent on, when it was opened, and
    /// when it ended.
    fn cut(&mut self, rules: &Rules, pod: PodAddress, [began_at, opened_at, at]: [Timestamp; 3]) {
        let is_known = self.post(pod, Posting::CLOSED, at) > 0;
        let view = self.view(rules, at);
        let Some((header, pods)) = self.parts_mut().filter(|_| is_known) else {
            return;
        };
        let address = PackedAddress::from(pod);
        let mut numbered = pods.iter_mut().enumerate();
        // Nothing is to be said against one that is away.
        let Some((place, pod)) = numbered.find(|(_, pod)| pod.is_at(address)) else {
            return;
        };
        pod.cut_off(opened_at);
        header.outcomes.cut();
        if pod.accrual_mut().repeats_cut(began_at, at) {
            accrue(pods, place, &view, header.outcomes(), began_at);
            if let Some(pod) = pods.get_mut(place) {
                pod.accrual_mut().note_cut();
            }
        }
    }

    fn answer(
        &mut self,
        rules: &Rules,
        address: PodAddress,
        asked_at: Timestamp,
        outcome: Result<Reported, PollFailure>,
    ) -> Effect {
        let view = self.view(rules, asked_at);
        let Some((header, pods)) = self.parts_mut() else {
            return Effect::PollIgnored;
        };
        let count = pods.len();
        let packed = PackedAddress::from(address);
        let Some(pod) = pods
            .iter_mut()
            .find(|pod| pod.is_at(packed) && pod.poll().awaits(asked_at))
        else {
            return Effect::PollIgnored;
        };
        let (last_failure, expected) = (pod.last_failure(), view.estimate(pod));
        let comes_up = outcome.is_ok() && header.comes_up(&view, pod);
        let returns = outcome.is_ok() && (pod.has_refused() || view.trouble(pod).is_some());
        if returns {
            // What it did before says nothing of it now.
            pod.accrual_mut().clear();
        } else {
            pod.accrual_mut().settle(asked_at);
        }
        let others = header.fleet.others_lately();
        let others = rules.counts_connections.then_some(&others);
        let was_implausible = pod.is_implausible();
        let mut doubted = None;
        match pod.answer(asked_at, outcome, others, rules.counts_sessions) {
            // What is wrong about itself says nothing of others.
            Some(Answer::After(_)) if pod.is_implausible() => {}
            // Of one moment are only those that were asked together.
            Some(Answer::After(_)) if pod.was_asked_alone() => {}
            Some(Answer::After(interval)) => header.fleet.observe(&interval, asked_at, count),
            Some(Answer::Doubted(judgment)) => doubted = Some(judgment),
            None => {}
        }
        if doubted == Some(Judgment::Late) {
            header.late_at = asked_at.into();
        }
        if comes_up {
            pod.start(asked_at);
        }
        let is_implausible = pod.is_implausible();
        match outcome {
            Ok(reported) => {
                header.begin(asked_at);
                Effect::Counted {
                    pod: address,
                    connections: reported.connections,
                    expected,
                    recovered: last_failure.is_some(),
                    doubted,
                    implausible: (is_implausible != was_implausible).then_some(is_implausible),
                }
            }
            Err(failure) => Effect::PollFailed {
                pod: address,
                failure,
                is_news: last_failure != Some(failure),
            },
        }
    }

    /// A pod has told its count with its answer to a handshake, or should have.
    fn hear(
        &mut self,
        rules: &Rules,
        address: PodAddress,
        at: Timestamp,
        report: LoadReport,
    ) -> Option<Effect> {
        let (header, pods) = self.parts_mut()?;
        let others = header.fleet.others_lately();
        let others = rules.counts_connections.then_some(&others);
        let packed = PackedAddress::from(address);
        let pod = pods.iter_mut().find(|pod| pod.is_at(packed))?;
        if let Some(connections) = report.connections {
            pod.hear(connections, at, others, rules.counts_sessions);
        }
        let is_news = pod.complain_of_load_report(report.complaint);
        let complaint = report.complaint.filter(|_| is_news)?;
        Some(Effect::Complained {
            pod: address,
            complaint,
        })
    }

    /// The pod is asked at once by another worker.
    fn pass_on(&mut self, pod: PodAddress, asked_at: Timestamp) {
        let Some((header, pods)) = self.parts_mut() else {
            return;
        };
        let address = PackedAddress::from(pod);
        let mut pods = pods.iter_mut();
        let asked = pods.find(|pod| pod.is_at(address) && pod.poll().awaits(asked_at));
        if let Some(pod) = asked {
            pod.ask_again();
            header.poller.set(0);
        }
    }

    /// Makes the listed pods the table's, or leaves them alone where there is no list. Nothing
    /// comes of a list that nobody waits for: the next one is as good.
    fn list(
        &mut self,
        rules: &Rules,
        asked_at: Timestamp,
        outcome: &Result<HostList, DiscoveryFailure>,
    ) -> Option<Effect> {
        let (header, _) = self.parts_mut()?;
        if !header.discovery.awaits(asked_at) {
            return None;
        }
        let last_failure = header.discovery.failure();
        let failure = outcome.as_ref().err().map(|failure| failure.code());
        let interval = header.discovery.due_at().since(asked_at);
        header.discovery.settle(asked_at, failure);
        let pause = match outcome {
            Ok(list) => list.cost.saturating_mul(PAUSE_FOR_COST),
            Err(_) => back_off(interval, header.discovery.failures_in_a_row()),
        };
        header.discovery.postpone(asked_at.plus(pause));
        Some(match outcome {
            Ok(list) => {
                header.listener = ListenerName::new(&list.listener);
                Effect::Listed {
                    change: self.reset(&list.members, rules, asked_at),
                    recovered: last_failure != 0,
                }
            }
            Err(failure) => Effect::DiscoveryFailed {
                failure: *failure,
                is_news: last_failure != failure.code(),
            },
        })
    }

    /// Makes these pods the table's, as of `now`: those it had keep their records, others are
    /// remembered for a while and then forgotten.
    pub fn reset(&mut self, members: &[Member], rules: &Rules, now: Timestamp) -> MembershipChange {
        let Roster {
            present,
            away,
            change,
        } = Roster::after(self.records(), members, rules, now);
        if let Some(header) = self.header() {
            self.bytes = Self::of(header, &present, &away).bytes;
            self.note_change();
        }
        change
    }
}

/// Takes a failed handshake into account, which began at `began_at`, of the pod at `place`: it may be
/// the one for which the pod is ejected. All handshakes have come to `outcomes`.
fn accrue(
    pods: &mut [PodRecord],
    place: usize,
    view: &View,
    outcomes: Outcomes,
    began_at: Timestamp,
) {
    let Some(health) = &view.rules.passive_health else {
        return;
    };
    let (mut serving, mut ejected) = (0_u32, 0_u32);
    for pod in &*pods {
        match view.state(pod) {
            PodState::Failing => ejected = ejected.saturating_add(1),
            PodState::Usable | PodState::Full => serving = serving.saturating_add(1),
            _ => {}
        }
    }
    let has_room = passive_health::may_eject_one_more(serving, ejected, health);
    let Some(pod) = pods.get_mut(place) else {
        return;
    };
    let others = outcomes.without(pod.outcomes());
    let (opened, at) = (pod.opened(), view.now);
    let accrual = pod.accrual_mut();
    let was_ejected = accrual.ejected_until().happened();
    let counts = accrual.fail(began_at, at, opened, others);
    if counts
        && (has_room || was_ejected)
        && accrual.failures() >= health.consecutive_failures
        && accrual.alive(opened) == 0
        && passive_health::is_no_coincidence(accrual.failures(), accrual.meanwhile(others))
    {
        let time = passive_health::ejection_time(health, accrual.ejections());
        accrual.eject(at.plus(time));
    }
}

/// Between two looks at the hosts so many times what a look costs: a hundredth of a core.
const PAUSE_FOR_COST: u32 = 100;
/// Envoy is asked for the hosts at least so often, however often that fails.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(32);

/// Twice as long after each failure.
fn back_off(interval: Duration, failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
    interval.saturating_mul(factor).min(LONGEST_BACK_OFF)
}

impl Header {
    /// What all handshakes of this gateway came to.
    fn outcomes(&self) -> Outcomes {
        self.outcomes.with_opened(self.totals.opened.get())
    }

    fn present(&self) -> usize {
        usize::try_from(self.present.get()).unwrap_or(usize::MAX)
    }

    /// Whether a good answer brings the pod up. Those that are up when the service begins have
    /// been there before, and are not new; nor is one that was only not asked, for it was away.
    fn comes_up(&self, view: &View, pod: &PodRecord) -> bool {
        let began_at = Timestamp::from(self.began_at);
        let has_begun =
            began_at.happened() && view.now.since(began_at) > view.rules.refresh_interval;
        let is_down = |trouble| trouble != PodState::Stale || !pod.was_away();
        has_begun && view.trouble(pod).is_some_and(is_down)
    }

    /// Notes that a pod has given a count.
    fn begin(&mut self, asked_at: Timestamp) {
        if self.began_at.get() == Timestamp::NEVER.as_nanos() {
            self.began_at = asked_at.into();
        }
    }
}

/// Claims.
impl Table {
    /// Looks which configuration is current; whether that is another one now. Then any of its workers
    /// may become the poller, the pods are asked at once, and none of them is new. `endpoints` are
    /// the pods that the configuration lists, if it does; `rules` are its rules.
    pub fn look(&mut self, look: &Look, rules: &Rules, endpoints: Option<&[PodAddress]>) -> bool {
        let Some((header, pods)) = self.all_mut() else {
            return false;
        };
        let Some(current) = header.current.after(look) else {
            return false;
        };
        let is_another = current.fingerprint() != header.current.fingerprint();
        header.current = current;
        if !is_another {
            return false;
        }
        header.poller.set(0);
        header.discovery = PollState::new_zeroed();
        header.began_at = Timestamp::NEVER.into();
        for pod in pods {
            pod.renew_poll();
        }
        if let Some(endpoints) = endpoints {
            let members: Vec<Member> = endpoints.iter().copied().map(Member::new).collect();
            self.reset(&members, rules, look.now);
        }
        true
    }

    /// Makes `worker` the one that asks.
    pub fn appoint(&mut self, worker: u64) {
        if let Some((header, _)) = self.parts_mut() {
            header.poller.set(worker);
        }
    }

    /// Asks, at `now`, the pods for which `next` says when they are to be asked again.
    pub fn ask(
        &mut self,
        now: Timestamp,
        next: impl Fn(&PodRecord) -> Option<Timestamp>,
    ) -> Vec<PodAddress> {
        let mut asked = Vec::new();
        let pods = self.parts_mut().map(|(_, pods)| pods).unwrap_or_default();
        for pod in pods {
            if let Some(next) = next(pod) {
                pod.ask(now, next);
                asked.push(pod.address());
            }
        }
        asked
    }

    /// Asks, at `now`, those pods of which `is_due` says so, before their time and without the others.
    pub fn ask_alone(
        &mut self,
        now: Timestamp,
        mut is_due: impl FnMut(&PodRecord) -> bool,
    ) -> Vec<PodAddress> {
        let mut asked = Vec::new();
        let pods = self.parts_mut().map(|(_, pods)| pods).unwrap_or_default();
        for pod in pods {
            if is_due(pod) {
                pod.ask_alone(now);
                asked.push(pod.address());
            }
        }
        asked
    }

    /// Asks, at `now`, which pods there are, and again at `next`.
    pub fn discover(&mut self, now: Timestamp, next: Timestamp) {
        if let Some((header, _)) = self.parts_mut() {
            header.discovery.ask(now, next);
        }
    }

    /// The pods whose states have changed, to be logged by the caller and by nobody else.
    pub fn take_state_changes(&mut self, view: &View) -> Vec<StateChange> {
        let mut changes = Vec::new();
        let pods = self.parts_mut().map(|(_, pods)| pods).unwrap_or_default();
        for pod in pods {
            let state = view.state(pod);
            if pod.announced() != state.code() {
                pod.announce(state.code());
                changes.push(StateChange {
                    pod: pod.address(),
                    state,
                    reason: view.reason(pod),
                    estimate: view.estimate(pod),
                });
            }
        }
        changes
    }

    /// Whether a WebSocket on `pod` may be closed at `now` to rebalance; then it counts as closed.
    /// The next may be `spacing` later, and none while `most_missing` have not come back.
    pub fn close_to_rebalance(
        &mut self,
        pod: PodAddress,
        now: Timestamp,
        spacing: Duration,
        most_missing: f64,
    ) -> bool {
        let may_close = self.parts_mut().is_some_and(|(header, _)| {
            let opened = header.totals.opened.get();
            let progress = &mut header.progress;
            progress.close_one(now, spacing, most_missing, opened)
        });
        if may_close && self.post(pod, Posting::CLOSED, now) > 0 {
            self.change(pod, PodRecord::rebalance);
        }
        may_close
    }
}

/// Other versions; see [`Handover`](super::Handover).
impl Table {
    /// What this version tells others.
    #[must_use]
    pub fn part(&self) -> Part {
        Part {
            listener: self.listener().to_owned(),
            pods: self.pods().iter().map(PodLine::of).collect(),
        }
    }

    /// Takes note of what other versions have open.
    pub fn count_elsewhere(&mut self, open: &BTreeMap<PodAddress, u32>) {
        let Some((totals, pods)) = self.traffic_mut() else {
            return;
        };
        for pod in pods {
            let open = open.get(&pod.address()).copied().unwrap_or_default();
            let more = pod.traffic_mut().count_elsewhere(open);
            // What pods have opened, and how it went, is compared with all that was opened.
            totals.opened.set(totals.opened.get().wrapping_add(more));
        }
    }

    /// Takes the pods of the current version.
    pub fn take_pods(&mut self, rules: &Rules, part: &Part, now: Timestamp) {
        let members: Vec<Member> = part.pods.iter().map(PodLine::member).collect();
        let known = self.pods().iter().map(PodRecord::member);
        if !known.eq(members.iter().copied()) {
            self.reset(&members, rules, now);
        }
        if let Some((header, _)) = self.parts_mut() {
            header.listener = ListenerName::new(&part.listener);
        }
    }

    /// Takes the counts of the current version, where they are later.
    pub fn take_counts(&mut self, rules: &Rules, part: &Part) {
        for line in &part.pods {
            self.take_line(rules, line);
        }
    }

    fn take_line(&mut self, rules: &Rules, line: &PodLine) {
        let (pod, counted_at) = (line.address.unpack(), Timestamp::from(line.counted_at));
        let is_later = |pod: &PodRecord| counted_at > pod.counted_at();
        if !self.pod(pod).is_some_and(is_later) {
            return;
        }
        self.change(pod, |pod| {
            pod.ask(counted_at, counted_at.plus(rules.refresh_interval));
        });
        // The current version has told of it.
        let _effect = self.answer(rules, pod, counted_at, Ok(line.reported()));
    }
}

/// Recounts; see [`Roll`](super::Roll).
impl Table {
    /// The number of the last recount; 0 before the first.
    #[must_use]
    pub fn recount(&self) -> u32 {
        self.totals().recount.get()
    }

    /// Whether one is under way.
    #[must_use]
    pub fn is_recounting(&self) -> bool {
        self.totals().is_recounting != 0
    }

    /// Whether a worker that was taken for lost has come back, and nobody has taken note of it.
    #[must_use]
    pub fn has_returned(&self) -> bool {
        self.totals().has_returned != 0
    }

    /// Whether what this gateway has is known: no worker has been lost or come back within
    /// `interval` of `now`.
    #[must_use]
    pub fn is_settled(&self, now: Timestamp, interval: Duration) -> bool {
        let corrected_at = Timestamp::from(self.totals().recounted_at);
        let is_old = !corrected_at.happened() || now.since(corrected_at) > interval;
        is_old && !self.is_recounting() && !self.has_returned()
    }

    /// Whether it is time for another one.
    #[must_use]
    pub fn recount_is_due(&self, now: Timestamp) -> bool {
        let again_at = Timestamp::from(self.totals().recount_again_at);
        again_at.happened() && again_at <= now
    }

    /// Has all workers count anew what they have, and again at `again_at`, if that is ever.
    pub fn begin_recount(&mut self, again_at: Timestamp) {
        let Some((totals, pods)) = self.traffic_mut() else {
            return;
        };
        totals.recount.set(totals.recount.get().wrapping_add(1));
        totals.is_recounting = 1;
        totals.recount_again_at = again_at.into();
        for pod in pods {
            pod.traffic_mut().begin_recount();
        }
    }

    /// A worker counts what it has by its books, which last took part in the recount number
    /// `last`. Once for each recount.
    pub fn take_part(&mut self, ledger: &Ledger, last: u32) {
        let Some((totals, pods)) = self.traffic_mut() else {
            return;
        };
        let is_recounting = totals.is_recounting != 0;
        for pod in pods {
            let Holding { open, in_flight } = ledger.holding(pod.address());
            pod.traffic_mut()
                .add_holding(open, in_flight, is_recounting);
        }
        let missed_one = totals.recount.get().wrapping_sub(last) > 1;
        if missed_one || !is_recounting {
            totals.has_returned = 1;
        }
    }

    /// Ends the recount of this number, if it is still the last: what was not counted is lost.
    pub fn end_recount(&mut self, number: u32, now: Timestamp) {
        let Some((totals, pods)) = self.traffic_mut() else {
            return;
        };
        if totals.recount.get() != number || totals.is_recounting == 0 {
            return;
        }
        totals.is_recounting = 0;
        for pod in pods {
            if pod.traffic_mut().end_recount() {
                totals.recounted_at = now.into();
            }
        }
    }

    /// Takes note that a worker has come back. It may end before it gives a sign of life, so all
    /// count anew at `again_at`.
    pub fn settle_returned(&mut self, now: Timestamp, again_at: Timestamp) {
        if let Some((totals, _)) = self.traffic_mut() {
            totals.has_returned = 0;
            totals.recounted_at = now.into();
            totals.recount_again_at = again_at.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use proptest::prelude::*;

    use super::*;
    use crate::metric::{Complaint, Weight};
    use crate::num::approximate;
    use crate::pod::Exclusion;
    use crate::testing::address;
    use crate::testing::{NOW, RULES, report};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::NEVER.plus(Duration::from_secs(seconds))
    }

    /// A table of one pod, its rules, and shorthands for what happens to it.
    struct One(Table, Rules);

    impl One {
        const POD: u8 = 1;

        fn new() -> Self {
            Self(Table::new(&[address(Self::POD)]), RULES)
        }

        fn pod(&self) -> &PodRecord {
            self.0.pod(address(Self::POD)).unwrap()
        }

        fn ask(&mut self, now: Timestamp) {
            self.0.ask(now, |_| Some(now.plus(Duration::from_secs(5))));
        }

        fn answer(&mut self, asked_at: Timestamp, outcome: Result<u64, PollFailure>) {
            let answer = Event::Answered {
                pod: address(Self::POD),
                asked_at,
                outcome: outcome.map(Reported::of),
            };
            self.0.apply(&self.1, &[answer]);
        }

        fn poll(&mut self, now: Timestamp, outcome: Result<u64, PollFailure>) {
            self.ask(now);
            self.answer(now, outcome);
        }

        /// The answer to a handshake has this count.
        fn hear(&mut self, connections: u64) -> Vec<Effect> {
            self.take(LoadReport {
                connections: Some(connections),
                complaint: None,
            })
        }

        fn take(&mut self, report: LoadReport) -> Vec<Effect> {
            let (pod, at) = (address(Self::POD), NOW);
            self.0
                .apply(&self.1, &[Event::LoadReported { pod, at, report }])
        }

        /// An upgrade, whose answer has this count.
        fn open_with(&mut self, connections: u64) {
            self.happen(CHOSEN);
            self.hear(connections);
            self.happen(SETTLED);
            self.happen(OPENED);
        }

        fn happen(&mut self, event: fn(PodAddress) -> Event) {
            self.0.apply(&self.1, &[event(address(Self::POD))]);
        }

        fn view(&self, now: Timestamp) -> View {
            self.0.view(&self.1, now)
        }

        fn state(&self, now: Timestamp) -> PodState {
            self.view(now).state(self.pod())
        }

        /// With a single gateway: exact.
        fn estimate(&self) -> f64 {
            self.as_the_only_gateway().estimate(self.pod())
        }

        fn estimate_at_least(&self) -> f64 {
            self.as_the_only_gateway().estimate_at_least(self.pod())
        }

        fn as_the_only_gateway(&self) -> View {
            View {
                ratio: 1.0,
                ..self.view(at(1))
            }
        }

        fn report(&mut self, now: Timestamp, reported: Reported) {
            report(&mut self.0, address(Self::POD), now, reported);
        }
    }

    const CHOSEN: fn(PodAddress) -> Event = |pod| Event::Chosen { pod };
    const SETTLED: fn(PodAddress) -> Event = |pod| Event::Settled { pod };
    const OPENED: fn(PodAddress) -> Event = |pod| Event::Opened { pod, at: NOW };
    const CLOSED: fn(PodAddress) -> Event = |pod| Event::Closed { pod };

    #[test]
    fn records_keep_their_address_through_bytes() {
        let pods: Vec<PodAddress> = ["10.0.0.1:80", "[fd00::1]:80", "[::ffff:10.0.0.1]:80"]
            .map(|text| text.parse().unwrap())
            .into();
        let table = Table::from_bytes(Table::new(&pods).as_bytes().to_vec()).unwrap();
        let kept: Vec<PodAddress> = table.pods().iter().map(PodRecord::address).collect();
        assert_eq!(kept, pods);
    }

    #[test]
    fn values_of_another_layout_are_no_tables() {
        let bytes = Table::new(&[address(1)]).as_bytes().to_vec();
        assert!(Table::from_bytes(bytes[1..].to_vec()).is_none());
        assert!(Table::from_bytes(bytes[..bytes.len() - 1].to_vec()).is_none());
        assert!(Table::from_bytes(Vec::new()).is_none());
        let mut other = bytes;
        other[0] ^= 1;
        assert!(Table::from_bytes(other).is_none());
    }

    #[test]
    fn the_estimate_follows_an_upgrade_to_its_end() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        one.happen(CHOSEN);
        assert_eq!(one.estimate(), 11.0);
        one.happen(SETTLED);
        one.happen(OPENED);
        assert_eq!(one.estimate(), 11.0);
        one.poll(at(6), Ok(11));
        assert_eq!(one.estimate(), 11.0, "the report has it now");
        one.happen(CLOSED);
        assert_eq!(one.estimate(), 10.0);
        one.poll(at(11), Ok(10));
        assert_eq!(one.estimate(), 10.0);
        assert_eq!(one.pod().own_connections(), 0);
    }

    const BEGUN: fn(PodAddress) -> Event = |pod| Event::SessionBegun { pod };
    const IN_SESSION: fn(PodAddress) -> Event = |pod| Event::OpenedInSession { pod };

    const WITH_SESSIONS: Rules = Rules {
        counts_sessions: true,
        ..RULES
    };

    /// A pod whose counts have sessions that have no WebSocket yet.
    fn of_sessions() -> One {
        One(One::new().0, WITH_SESSIONS)
    }

    #[test]
    fn a_session_counts_once_from_its_opener_to_its_end() {
        for mut one in [One::new(), of_sessions()] {
            one.poll(at(1), Ok(10));
            one.happen(CHOSEN);
            assert_eq!(one.estimate(), 11.0);
            one.happen(SETTLED);
            one.happen(BEGUN);
            assert_eq!(one.estimate(), 11.0);
            one.happen(IN_SESSION);
            assert_eq!(one.estimate(), 11.0);
            assert_eq!(one.pod().own_connections(), 1);
            one.poll(at(6), Ok(11));
            assert_eq!(one.estimate(), 11.0);
            one.happen(CLOSED);
            assert_eq!(one.estimate(), 10.0);
        }
    }

    /// The pod is asked before the opener is answered, or after it, or when its WebSocket is open.
    #[test]
    fn a_count_ends_the_openers_that_came_before_it() {
        for counts_sessions in [false, true] {
            let held = |sessions: u64, websockets: u64| {
                10 + if counts_sessions {
                    sessions
                } else {
                    websockets
                }
            };
            let mut one = if counts_sessions {
                of_sessions()
            } else {
                One::new()
            };
            one.poll(at(1), Ok(held(0, 0)));
            one.happen(BEGUN);
            one.happen(BEGUN);
            one.ask(at(6));
            one.happen(BEGUN);
            one.answer(at(6), Ok(held(2, 0)));
            assert_eq!(
                one.estimate(),
                approximate(held(2, 0) + 1),
                "one came later"
            );
            // The first two get theirs, and then the third.
            for opened in 1..=3 {
                one.happen(IN_SESSION);
                let waiting = 1_u64.saturating_sub(opened);
                let expect = held(2 + 1, opened + waiting);
                assert_eq!(one.estimate(), approximate(expect), "{opened}");
            }
            one.poll(at(11), Ok(held(3, 3)));
            assert_eq!(one.estimate(), approximate(held(3, 3)));
            assert_eq!(one.pod().own_connections(), 3);
        }
    }

    #[test]
    fn a_session_that_gets_no_websocket_ends_with_the_next_count() {
        for mut one in [One::new(), of_sessions()] {
            one.poll(at(1), Ok(10));
            for _ in 0..5 {
                one.happen(BEGUN);
            }
            assert_eq!(one.estimate(), 15.0);
            one.poll(at(6), Ok(10));
            assert_eq!(one.estimate(), 10.0);
            one.poll(at(11), Ok(10));
            assert_eq!(one.estimate(), 10.0);
            assert!(!one.pod().is_implausible());
        }
    }

    /// The pod counts its WebSocket before this gateway has heard of it: nobody else was there.
    #[test]
    fn the_upgrade_of_an_opener_may_be_in_a_count_before_its_answer() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        one.happen(BEGUN);
        one.happen(BEGUN);
        one.poll(at(6), Ok(12));
        assert_eq!(one.estimate(), 12.0);
        assert_eq!(one.view(at(6)).ratio, 1.0);
        one.happen(IN_SESSION);
        one.happen(IN_SESSION);
        assert_eq!(one.estimate(), 12.0);
        one.poll(at(11), Ok(12));
        assert_eq!(one.estimate(), 12.0);
        assert_eq!(one.view(at(11)).ratio, 1.0);
    }

    /// Its opener went through another gateway, or through this one before it was started anew.
    #[test]
    fn a_websocket_of_a_session_that_another_gateway_began() {
        for (mut one, expect) in [(One::new(), 11.0), (of_sessions(), 10.0)] {
            one.poll(at(1), Ok(10));
            one.happen(IN_SESSION);
            assert_eq!(one.estimate(), expect);
            one.happen(CLOSED);
            assert_eq!(one.estimate(), expect - 1.0);
        }
    }

    #[test]
    fn upgrades_on_their_way_are_in_no_report() {
        let mut one = One::new();
        one.happen(CHOSEN);
        one.poll(at(1), Ok(10));
        assert_eq!(one.estimate(), 11.0);
        one.happen(SETTLED);
        assert_eq!(one.estimate(), 10.0, "the pod declined it");
    }

    /// Whether the count has it, this gateway's own books say.
    #[test]
    fn alone_the_estimate_is_exact_while_polls_are_under_way() {
        for counted in 9..=12 {
            let mut one = One::new();
            one.poll(at(1), Ok(10));
            one.ask(at(6));
            one.happen(OPENED);
            one.happen(OPENED);
            one.happen(CLOSED);
            one.answer(at(6), Ok(counted));
            assert_eq!(one.estimate(), 11.0, "{counted}");
            assert_eq!(one.estimate_at_least(), 11.0, "{counted}");
            one.poll(at(11), Ok(11));
            assert_eq!(one.estimate(), 11.0, "{counted}");
        }
    }

    #[test]
    fn handshakes_under_way_may_be_in_a_count_already() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        for _ in 0..3 {
            one.happen(CHOSEN);
        }
        one.poll(at(6), Ok(12));
        assert_eq!(one.estimate(), 13.0, "two of the three");
        for _ in 0..3 {
            one.happen(SETTLED);
            one.happen(OPENED);
        }
        assert_eq!(one.estimate(), 13.0);
        one.poll(at(11), Ok(13));
        assert_eq!(one.estimate(), 13.0);
        one.happen(CLOSED);
        assert_eq!(one.estimate(), 12.0);
    }

    #[test]
    fn among_others_what_happens_during_a_poll_errs_towards_too_many() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        one.ask(at(6));
        one.happen(OPENED);
        one.happen(OPENED);
        one.happen(CLOSED);
        one.answer(at(6), Ok(21));
        assert_eq!(one.estimate(), 23.0);
        assert_eq!(one.estimate_at_least(), 20.0);
        one.poll(at(11), Ok(21));
        assert_eq!(one.estimate(), 21.0, "the next report puts it right");
        assert_eq!(one.estimate_at_least(), 21.0);
    }

    #[test]
    fn a_handshakes_count_may_have_its_websocket_or_not() {
        for (told, estimate) in [
            // Nobody else was there: with it, and without.
            (11, 11.0),
            (10, 11.0),
            // Others opened some: it is taken to be among them.
            (31, 31.0),
            // Others closed some: it is taken not to be in it.
            (5, 6.0),
        ] {
            let mut one = One::new();
            one.poll(at(1), Ok(10));
            one.open_with(told);
            assert_eq!(one.estimate(), estimate, "{told}");
            assert_eq!(one.pod().in_flight(), 0);
            one.happen(CLOSED);
            assert_eq!(one.estimate(), estimate - 1.0, "{told}");
            one.poll(at(6), Ok(20));
            assert_eq!(one.estimate(), 20.0, "a report comes after it");
        }
    }

    #[test]
    fn a_handshake_that_came_from_another_pod_is_in_no_count_for_certain_either() {
        for told in [10, 11] {
            let mut one = One::new();
            one.poll(at(1), Ok(10));
            one.hear(told);
            one.happen(OPENED);
            assert_eq!(one.estimate(), 11.0, "{told}");
        }
    }

    /// What the others did is in the count.
    #[test]
    fn after_a_handshakes_count_each_change_stands_for_itself() {
        let of_ten = |one: &One| {
            let view = View {
                ratio: 10.0,
                ..one.view(at(1))
            };
            view.estimate(one.pod())
        };
        let mut one = One::new();
        one.poll(at(1), Ok(100));
        one.happen(CHOSEN);
        assert_eq!(of_ten(&one), 110.0);
        one.hear(107);
        one.happen(SETTLED);
        one.happen(OPENED);
        assert_eq!(of_ten(&one), 107.0);
        one.happen(CHOSEN);
        assert_eq!(of_ten(&one), 108.0);
        one.happen(CLOSED);
        assert_eq!(of_ten(&one), 107.0);
    }

    #[test]
    fn handshakes_counts_that_can_not_be_are_passed_over() {
        let mut one = One::new();
        one.open_with(7);
        assert_eq!(one.estimate(), 1.0, "before the first report");
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        one.open_with(1_000_000);
        assert_eq!(one.estimate(), 11.0, "a leap");
        for _ in 0..20 {
            one.open_with(10);
        }
        assert_eq!(one.estimate(), 31.0, "nobody has counted since");
        one.poll(at(6), Ok(10));
        one.open_with(12);
        assert_eq!(one.estimate(), 32.0, "the pod counts late");
        let mut of_cpu = One::new();
        of_cpu.1.counts_connections = false;
        of_cpu.poll(at(1), Ok(10));
        of_cpu.hear(1_000_000);
        assert_eq!(of_cpu.estimate(), 1_000_000.0, "anything may be");
    }

    #[test]
    fn with_sessions_a_handshakes_count_counts_each_once() {
        const BEGUN: fn(PodAddress) -> Event = |pod| Event::SessionBegun { pod };
        const IN_SESSION: fn(PodAddress) -> Event = |pod| Event::OpenedInSession { pod };
        for (counts_sessions, told) in [(true, 31), (false, 31), (false, 30)] {
            let mut one = One::new();
            one.1.counts_sessions = counts_sessions;
            one.poll(at(1), Ok(10));
            for _ in 0..2 {
                one.happen(CHOSEN);
                one.happen(SETTLED);
                one.happen(BEGUN);
            }
            assert_eq!(one.estimate(), 12.0);
            // The first has its WebSocket, beside 20 of others; the other has none.
            one.hear(if counts_sessions { told + 1 } else { told });
            one.happen(IN_SESSION);
            let error = one.estimate() - 32.0;
            assert!(
                (-1.0..=0.0).contains(&error),
                "{counts_sessions} {told}: {error}"
            );
            one.happen(IN_SESSION);
            assert_eq!(one.estimate() - 32.0, error, "its opener was one already");
        }
    }

    #[test]
    fn each_mistake_of_a_load_report_is_told_once() {
        let wrong = |complaint| LoadReport {
            connections: None,
            complaint: Some(complaint),
        };
        let told = |complaint| Effect::Complained {
            pod: address(One::POD),
            complaint,
        };
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        for complaint in [Complaint::NoLoadReport, Complaint::LoadReportForm] {
            assert_eq!(one.take(wrong(complaint)), [told(complaint)]);
            assert_eq!(one.take(wrong(complaint)), []);
            assert_eq!(one.pod().load_report_complaint(), Some(complaint));
        }
        assert_eq!(one.hear(11), []);
        assert_eq!(one.pod().load_report_complaint(), None);
        assert_eq!(one.take(wrong(Complaint::NoLoadReport)), []);
        assert_eq!(one.estimate(), 10.0 + 1.0 - 1.0);
    }

    #[test]
    fn late_and_repeated_answers_change_nothing() {
        let mut one = One::new();
        one.ask(at(1));
        one.ask(at(6));
        one.answer(at(1), Ok(99));
        assert_eq!(one.state(at(6)), PodState::Unknown);
        one.answer(at(6), Ok(7));
        one.answer(at(6), Ok(99));
        one.answer(at(6), Err(PollFailure::NoAnswer));
        one.answer(Timestamp::NEVER, Ok(99));
        assert_eq!(one.estimate(), 7.0);
        assert_eq!(one.pod().last_failure(), None);
    }

    #[test]
    fn a_failed_poll_leaves_the_last_count_until_it_is_stale() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        one.poll(at(6), Err(PollFailure::Status(500)));
        assert_eq!(one.estimate(), 10.0);
        assert_eq!(one.pod().last_failure(), Some(PollFailure::Status(500)));
        assert_eq!(one.state(at(31)), PodState::Usable);
        assert_eq!(one.state(at(32)), PodState::Stale);
    }

    #[test]
    fn the_threshold_makes_unhealthy_and_one_good_answer_mends_it() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        for second in 2..=3 {
            one.poll(at(second), Err(PollFailure::NoAnswer));
            assert_eq!(one.state(at(second)), PodState::Usable);
        }
        one.poll(at(4), Err(PollFailure::NoAnswer));
        assert_eq!(one.state(at(4)), PodState::Unhealthy);
        one.poll(at(5), Ok(0));
        assert_eq!(one.state(at(5)), PodState::Usable);
    }

    #[test]
    fn a_pod_that_refused_returns_with_an_answer_to_a_later_poll() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        one.ask(at(6));
        one.happen(|pod| Event::Refused { pod, at: at(7) });
        assert_eq!(one.state(at(7)), PodState::Refusing);
        one.answer(at(6), Ok(10));
        assert_eq!(one.state(at(7)), PodState::Refusing, "it was asked before");
        one.poll(at(11), Ok(0));
        assert_eq!(one.state(at(11)), PodState::Usable);
    }

    #[test]
    fn a_state_is_announced_once() {
        let mut one = One::new();
        let announced = |one: &mut One, now| {
            let view = one.view(now);
            let has_changes = one.0.has_state_changes(&view);
            let changes = one.0.take_state_changes(&view);
            assert_eq!(has_changes, !changes.is_empty());
            changes
                .iter()
                .map(|change| change.state)
                .collect::<Vec<_>>()
        };
        assert_eq!(announced(&mut one, at(1)), [], "a new pod is unknown");
        one.poll(at(1), Ok(10));
        assert_eq!(announced(&mut one, at(1)), [PodState::Usable]);
        assert_eq!(announced(&mut one, at(1)), []);
        assert_eq!(announced(&mut one, at(60)), [PodState::Stale]);
    }

    fn listed(n: u8) -> Member {
        Member::new(address(n))
    }

    #[test]
    fn a_new_list_keeps_the_counts_of_the_pods_that_stay() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        let change = one.0.reset(&[listed(2), listed(1)], &RULES, at(1));
        assert_eq!(
            change,
            MembershipChange {
                pods: 2,
                added: 1,
                removed: 0
            }
        );
        assert_eq!(one.estimate(), 10.0);
        assert_eq!(
            one.view(at(1)).state(one.0.pod(address(2)).unwrap()),
            PodState::Unknown
        );
        let change = one.0.reset(&[listed(2)], &RULES, at(1));
        assert_eq!(
            change,
            MembershipChange {
                pods: 1,
                added: 0,
                removed: 1
            }
        );
    }

    #[test]
    fn a_pod_that_is_away_keeps_its_counts() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        one.happen(CHOSEN);
        one.happen(OPENED);
        one.0.reset(&[], &RULES, at(2));
        assert_eq!(
            (one.0.pods().len(), one.0.pod(address(1)).is_some()),
            (0, false)
        );
        one.happen(SETTLED);
        one.happen(OPENED);
        one.happen(CLOSED);
        let mut one = One(Table::from_bytes(one.0.as_bytes().to_vec()).unwrap(), RULES);
        one.0.reset(&[listed(1)], &RULES, at(3));
        assert_eq!((one.estimate(), one.pod().own_connections()), (11.0, 1));
        assert_eq!(one.state(at(3)), PodState::Usable);
    }

    /// Only a list brings it back.
    #[test]
    fn a_pod_that_is_away_is_not_there_for_anything_else() {
        let mut one = One::new();
        one.ask(at(1));
        one.0.reset(&[listed(2)], &RULES, at(2));
        let answer = Event::Answered {
            pod: address(1),
            asked_at: at(1),
            outcome: Ok(Reported::of(10)),
        };
        assert_eq!(one.0.apply(&RULES, &[answer]), [Effect::PollIgnored]);
        assert_eq!(one.0.ask(at(3), |_| Some(at(8))), [address(2)]);
        let view = one.view(at(3));
        one.report(at(3), Reported::of(1));
        assert_eq!(one.0.take_state_changes(&view).len(), 0);
    }

    #[test]
    fn a_pod_that_was_away_is_not_new() {
        // Away for so long that its count is stale, or for too long.
        for (seconds, expect) in [(1, false), (45, false), (60, false), (61, true)] {
            let mut one = One::new();
            one.poll(at(1), Ok(10));
            one.poll(at(10), Ok(10));
            one.0.reset(&[], &RULES, at(11));
            let now = at(11 + seconds);
            one.0.reset(&[listed(1)], &RULES, now);
            let is_stale = [PodState::Stale, PodState::Unknown].contains(&one.state(now));
            assert_eq!(is_stale, seconds > 30, "{seconds}");
            one.poll(now, Ok(10));
            assert_eq!(one.pod().started_at().happened(), expect, "{seconds}");
        }
    }

    #[test]
    fn a_pod_that_was_down_before_it_was_away_is_new() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        for second in 6..9 {
            one.poll(at(second), Err(PollFailure::NoAnswer));
        }
        one.0.reset(&[], &RULES, at(9));
        one.0.reset(&[listed(1)], &RULES, at(50));
        one.poll(at(50), Ok(10));
        assert_eq!(one.pod().started_at(), at(50));
        // It is away no more: a count that is stale now is news.
        one.poll(at(100), Ok(10));
        assert_eq!(one.pod().started_at(), at(100));
    }

    #[test]
    fn what_envoy_has_against_a_pod_counts_while_it_does() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        let exclusion = Exclusion::Ejected;
        let ejected = Member {
            exclusion: Some(exclusion),
            ..listed(1)
        };
        one.0.reset(&[ejected], &RULES, at(1));
        assert_eq!(one.state(at(1)), PodState::Excluded(exclusion));
        one.0.reset(&[listed(1)], &RULES, at(1));
        assert_eq!(one.state(at(1)), PodState::Usable);
    }

    #[test]
    fn the_pods_own_word_wins() {
        let mut one = One::new();
        let draining = Member {
            exclusion: Some(Exclusion::Draining),
            weight: 7,
            ..listed(1)
        };
        one.0.reset(&[draining], &RULES, at(1));
        one.report(at(1), Reported::of(10));
        assert_eq!(one.state(at(1)), PodState::Excluded(Exclusion::Draining));
        assert_eq!(one.pod().weight(), 7.0);
        let says = Reported {
            weight: Weight::try_from(0.5).ok(),
            draining: Some(false),
            ..Reported::of(10)
        };
        one.report(at(2), says);
        assert_eq!(one.state(at(2)), PodState::Usable);
        assert_eq!(one.pod().weight(), 0.5);
        let drains = Reported {
            draining: Some(true),
            ..Reported::of(10)
        };
        one.report(at(3), drains);
        one.0.reset(&[listed(1)], &RULES, at(1));
        assert_eq!(one.state(at(3)), PodState::Draining);
        one.report(at(4), Reported::of(10));
        assert_eq!(
            one.state(at(4)),
            PodState::Usable,
            "it says nothing any more"
        );
    }

    #[test]
    fn a_pod_is_full_by_the_estimate() {
        let mut one = One::new();
        let limit = Some(12);
        one.report(
            at(1),
            Reported {
                limit,
                ..Reported::of(10)
            },
        );
        one.happen(CHOSEN);
        assert_eq!(one.state(at(1)), PodState::Usable);
        one.happen(CHOSEN);
        assert_eq!(one.state(at(1)), PodState::Full);
        one.happen(SETTLED);
        assert_eq!(one.state(at(1)), PodState::Usable);
        let none = Some(0);
        one.report(
            at(2),
            Reported {
                limit: none,
                ..Reported::of(0)
            },
        );
        assert_eq!(one.state(at(2)), PodState::Full, "it takes none at all");
    }

    /// A count of before the opens that it should have.
    #[test]
    fn a_late_count_is_passed_over() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        for second in 1..5 {
            for _ in 0..20 {
                one.happen(OPENED);
            }
            one.poll(at(5 * second), Ok(10));
            assert_eq!(one.0.late_at(), at(5 * second));
            assert_eq!(one.pod().connections(), 10);
        }
        assert_eq!(one.estimate(), 90.0);
        one.poll(at(26), Ok(90));
        assert_eq!((one.pod().connections(), one.pod().change()), (90, 0));
    }

    /// It may be this gateway that errs.
    #[test]
    fn no_count_is_doubted_for_ever() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        for _ in 0..20 {
            one.happen(OPENED);
        }
        for round in 1..=12 {
            one.poll(at(5 * round), Ok(10));
            assert_eq!(one.pod().change(), 20);
        }
        one.poll(at(100), Ok(10));
        assert_eq!(one.pod().change(), 0);
    }

    #[test]
    fn a_leap_is_believed_the_second_time() {
        for wrong in [1_000_000, 1 << 53, u64::MAX] {
            let mut one = One::new();
            one.poll(at(1), Ok(10));
            one.poll(at(6), Ok(wrong));
            assert_eq!(one.estimate(), 10.0);
            one.poll(at(11), Ok(12));
            assert_eq!(one.estimate(), 12.0);
            one.poll(at(16), Ok(wrong));
            one.poll(at(21), Ok(wrong));
            assert_eq!(one.estimate(), approximate(wrong));
        }
    }

    /// It opens too few in an interval for a count to be late.
    fn stuck(rules: &Rules, count: impl Fn(u64) -> u64) -> (One, Vec<Option<bool>>) {
        let mut one = One::new();
        one.poll(at(1), Ok(0));
        let mut changes = Vec::new();
        for round in 1..=20 {
            for _ in 0..6 {
                one.happen(OPENED);
            }
            one.ask(at(5 * round));
            let answer = Event::Answered {
                pod: address(One::POD),
                asked_at: at(5 * round),
                outcome: Ok(Reported::of(count(round))),
            };
            for effect in one.0.apply(rules, &[answer]) {
                if let Effect::Counted { implausible, .. } = effect {
                    changes.push(implausible);
                }
            }
        }
        (one, changes)
    }

    #[test]
    fn a_pod_holds_at_least_what_has_long_been_open_on_it() {
        let (one, changes) = stuck(&RULES, |_| 0);
        assert!(one.pod().is_implausible());
        assert_eq!(one.estimate(), 120.0, "all that this gateway has there");
        let news: Vec<bool> = changes.into_iter().flatten().collect();
        assert_eq!(news, [true], "it is told once");
        let (one, changes) = stuck(&RULES, |round| if round < 19 { 0 } else { 6 * round });
        assert!(!one.pod().is_implausible());
        assert_eq!(one.estimate(), 120.0);
        assert_eq!(changes.into_iter().flatten().last(), Some(false));
    }

    #[test]
    fn a_count_that_lags_by_less_than_three_polls_is_plausible() {
        let (one, changes) = stuck(&RULES, |round| 6 * round.saturating_sub(2));
        assert!(!one.pod().is_implausible());
        assert!(changes.iter().all(Option::is_none));
    }

    #[test]
    fn counts_of_something_else_are_taken_as_they_are() {
        let rules = Rules {
            counts_connections: false,
            ..RULES
        };
        let (one, _) = stuck(&rules, |round| round % 2);
        assert!(!one.pod().is_implausible());
        assert_eq!(one.estimate(), 0.0);
    }

    #[test]
    fn what_others_may_have_done_makes_no_pod_full() {
        let limited = |count| Reported {
            limit: Some(100),
            ..Reported::of(count)
        };
        let mut one = One::new();
        one.report(at(1), limited(10));
        for _ in 0..10 {
            one.happen(OPENED);
        }
        one.report(at(2), limited(80));
        for _ in 0..6 {
            one.happen(CHOSEN);
        }
        let view = one.view(at(2));
        assert!(view.estimate(one.pod()) > 100.0);
        assert_eq!(view.occupancy(one.pod()), 86.0);
        assert_eq!(one.state(at(2)), PodState::Usable);
        // They added 60 in a second.
        assert_eq!(one.state(at(3)), PodState::Full);
    }

    /// Another gateway does three times as much.
    #[test]
    fn own_changes_stand_for_those_of_the_fleet() {
        let mut one = One::new();
        one.poll(at(1), Ok(1_000));
        for second in 1..50 {
            for _ in 0..25 {
                one.happen(OPENED);
            }
            one.poll(at(5 * second), Ok(1_000 + 100 * second));
        }
        one.happen(OPENED);
        let view = one.view(at(250));
        let ahead = view.estimate(one.pod()) - 5_900.0;
        assert!((ahead - 4.0).abs() < 0.05, "{ahead}");
        assert!((view.ratio - ahead).abs() < 1e-6);
    }

    #[test]
    fn what_ends_without_having_begun_is_no_change() {
        let mut one = One::new();
        one.poll(at(1), Ok(10));
        one.happen(CLOSED);
        assert_eq!((one.estimate(), one.pod().own_connections()), (10.0, 0));
        one.happen(OPENED);
        one.happen(CLOSED);
        one.happen(CLOSED);
        assert_eq!((one.pod().opened(), one.pod().closed()), (1, 1));
    }

    #[test]
    fn a_table_survives_a_list_through_bytes() {
        let mut table = Table::new(&[]);
        table.appoint(7);
        table.discover(at(1), at(6));
        table.reset(&[listed(1), listed(2)], &RULES, at(1));
        let table = Table::from_bytes(table.as_bytes().to_vec()).unwrap();
        assert_eq!((table.pods().len(), table.poller()), (2, 7));
        assert!(table.discovery().awaits(at(1)));
    }

    proptest! {
        /// Two workers change the traffic in turn, and now and then the records: what each has kept
        /// of it is no other than what somebody finds who reads all anew.
        #[test]
        fn what_is_kept_is_what_would_be_made_anew(
            steps in prop::collection::vec((any::<bool>(), 1_u8..12, 0_u8..6), 1..60),
        ) {
            let pods: Vec<PodAddress> = (1..10).map(address).collect();
            let mut workers = [Table::new(&pods), Table::new(&pods)];
            let mut shared = workers[0].traffic_bytes();
            // Counts become too old meanwhile.
            for (second, (is_second, pod, what)) in (2..).zip(steps) {
                let worker = &mut workers[usize::from(is_second)];
                worker.set_traffic(shared);
                let pod = address(pod);
                match what {
                    0 => worker.apply(&RULES, &[Event::Settled { pod }]),
                    1 => worker.apply(&RULES, &[Event::Opened { pod, at: NOW }]),
                    2 => worker.apply(&RULES, &[Event::Closed { pod }]),
                    4 => {
                        // Another order, and fewer or more of them.
                        let members = [pod, address(2), address(1)].map(Member::new);
                        worker.reset(&members[..=usize::from(is_second)], &RULES, at(second));
                        Vec::new()
                    }
                    3 => {
                        report(worker, pod, at(second), Reported::of(3));
                        Vec::new()
                    }
                    _ => worker.apply(&RULES, &[Event::Chosen { pod }]),
                };
                shared = worker.traffic_bytes();
                let mut anew = Table::from_bytes(worker.as_bytes().to_vec()).unwrap();
                prop_assert_eq!(&anew.traffic_bytes(), &shared);
                anew.set_traffic(shared.clone());
                prop_assert_eq!(&anew, &*worker);
                let view = worker.view(&RULES, at(second));
                let mut random = Rng::with_seed(1);
                let ranking = load::rank(anew.pods(), 3, &view, &mut random.clone());
                prop_assert_eq!(worker.rank(3, &view, &mut random), ranking);
                if worker.is_changed() {
                    worker.revise();
                    shared = worker.traffic_bytes();
                    // The other one reads the records anew.
                    workers[usize::from(!is_second)] = Table::from_bytes(
                        workers[usize::from(is_second)].as_bytes().to_vec(),
                    ).unwrap();
                }
            }
        }

        /// Whatever happens in whatever order: nothing overflows, pods don't mix, and after a
        /// quiet poll the estimate is the pod's own count plus the upgrades on their way.
        #[test]
        fn counts_come_back_to_the_truth(
            steps in prop::collection::vec((0_u8..8, 1_u8..4, any::<u64>()), 0..200),
            truth in any::<u64>(),
            counts_sessions in any::<bool>(),
        ) {
            let rules = Rules { counts_connections: false, counts_sessions, ..RULES };
            let mut table = Table::new(&[address(1), address(2), address(3)]);
            let mut on_their_way = [0_u64; 4];
            let mut now = at(1);
            for (kind, n, number) in steps {
                let pod = address(n);
                let waiting = &mut on_their_way[usize::from(n)];
                now = now.plus(Duration::from_millis(1));
                let event = match kind {
                    0 => { *waiting += 1; Event::Chosen { pod } }
                    1 => { *waiting = waiting.saturating_sub(1); Event::Settled { pod } }
                    2 => Event::Opened { pod, at: now },
                    3 => Event::Closed { pod },
                    4 => Event::Refused { pod, at: now },
                    5 => Event::SessionBegun { pod },
                    6 => Event::OpenedInSession { pod },
                    _ => {
                        table.ask(now, |record| (record.address() == pod).then_some(now));
                        Event::Answered { pod, asked_at: now, outcome: Ok(Reported::of(number)) }
                    }
                };
                table.apply(&rules, &[event]);
            }
            for n in 1..4 {
                let pod = address(n);
                table.ask(now, |record| (record.address() == pod).then_some(now));
                let outcome = Ok(Reported::of(truth));
                table.apply(&rules, &[Event::Answered { pod, asked_at: now, outcome }]);
                let view = View { ratio: 1.0, ..table.view(&RULES, now) };
                let on_their_way = on_their_way[usize::from(n)];
                let expect = approximate(truth) + approximate(on_their_way);
                prop_assert_eq!(view.estimate(table.pod(pod).unwrap()), expect);
            }
        }

        /// Of a pod that nobody else uses, with some of its sessions on their way to a WebSocket at
        /// any time: it is never off, whatever it counts.
        #[test]
        fn sessions_are_counted_once_whenever_the_pod_is_asked(
            steps in prop::collection::vec(0_u8..6, 0..200),
            counts_sessions in any::<bool>(),
        ) {
            let mut one = if counts_sessions { of_sessions() } else { One::new() };
            one.poll(at(1), Ok(0));
            // Sessions without a WebSocket, those of them that no count has ended, and WebSockets.
            let (mut waiting, mut counted, mut open) = (0_u64, 0_u64, 0_u64);
            for (second, kind) in (2..).zip(steps) {
                match kind {
                    0 | 1 => { waiting += 1; counted += 1; one.happen(BEGUN); }
                    2 | 3 if waiting > 0 => {
                        waiting -= 1;
                        counted = counted.saturating_sub(1);
                        open += 1;
                        one.happen(IN_SESSION);
                    }
                    4 if open > 0 => { open -= 1; one.happen(CLOSED); }
                    5 => {
                        one.poll(at(second), Ok(if counts_sessions { waiting + open } else { open }));
                        counted = 0;
                    }
                    _ => {}
                }
                let expect = open + if counts_sessions { waiting } else { counted };
                prop_assert_eq!(one.estimate(), approximate(expect));
            }
        }

        /// Whether a pod counts a WebSocket before it answers its handshake or after: a gateway that is
        /// alone is exact.
        #[test]
        fn alone_it_is_exact_with_handshakes_counts(
            counts_early: bool,
            steps in prop::collection::vec((0_u8..4, any::<bool>()), 0..200),
        ) {
            let mut one = One::new();
            one.poll(at(1), Ok(3));
            let mut truth = 3_u64;
            for (second, (kind, tells)) in (2..).zip(steps) {
                match kind {
                    0 if truth > 3 => { truth -= 1; one.happen(CLOSED); }
                    1 => one.poll(at(second), Ok(truth)),
                    _ => {
                        one.happen(CHOSEN);
                        if tells {
                            one.hear(truth + u64::from(counts_early));
                        }
                        one.happen(SETTLED);
                        one.happen(OPENED);
                        truth += 1;
                    }
                }
                prop_assert_eq!(one.estimate(), approximate(truth));
            }
        }

        /// Whatever one count says, or where it is missing: no other pod's estimate moves, and the
        /// pod's own by no more than what all pods hold and 5,000.
        #[test]
        fn one_wrong_count_moves_nothing_by_more_than_it_must(
            held in prop::array::uniform3(0_u32..200),
            wrong in prop::option::of(any::<u64>()),
        ) {
            let pods = [address(1), address(2), address(3)];
            let mut table = Table::new(&pods);
            let poll = |table: &mut Table, second| for (&pod, &held) in pods.iter().zip(&held) {
                report(table, pod, at(second), Reported::of(held.into()));
            };
            for (&pod, &held) in pods.iter().zip(&held) {
                let opened = Event::Opened { pod, at: at(1) };
                table.apply(&RULES, &vec![opened; usize::try_from(held).unwrap()]);
            }
            poll(&mut table, 2);
            poll(&mut table, 7);
            table.ask(at(12), |record| (record.address() == pods[0]).then_some(at(17)));
            let outcome = wrong.map(Reported::of).ok_or(PollFailure::NoAnswer);
            table.apply(&RULES, &[Event::Answered { pod: pods[0], asked_at: at(12), outcome }]);

            let view = table.view(&RULES, at(12));
            let estimate = |pod| view.estimate(table.pod(pod).unwrap());
            for (&pod, &held) in pods.iter().zip(&held).skip(1) {
                prop_assert_eq!(estimate(pod), f64::from(held));
            }
            let all: u32 = held.iter().sum();
            prop_assert!(estimate(pods[0]) <= f64::from(held[0] + all) + 5_000.0);
            if wrong.is_none() {
                prop_assert_eq!(estimate(pods[0]), f64::from(held[0]));
            }
        }

        /// Of a pod that nobody else uses: whatever one count says, the next puts it right.
        #[test]
        fn one_wrong_count_is_put_right_by_the_next(
            steps in prop::collection::vec((0_u8..8, any::<bool>()), 0..200),
            wrong in (any::<u64>(), 0_usize..200),
        ) {
            let mut one = One::new();
            one.poll(at(1), Ok(0));
            let mut truth = 0_u64;
            let (wrong, at_step) = wrong;
            for (second, (step, (kind, poll))) in (2..).zip(steps.into_iter().enumerate()) {
                if kind == 0 && truth > 0 {
                    truth -= 1;
                    one.happen(CLOSED);
                } else {
                    truth += 1;
                    one.happen(OPENED);
                }
                if step == at_step {
                    one.poll(at(second), Ok(wrong));
                } else if poll {
                    one.poll(at(second), Ok(truth));
                    prop_assert_eq!(one.estimate(), approximate(truth));
                }
            }
            one.poll(at(1_000), Ok(truth));
            prop_assert_eq!(one.estimate(), approximate(truth));
        }
    }
}
