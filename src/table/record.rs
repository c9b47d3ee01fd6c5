//! A pod's record in the table, of a fixed layout.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use zerocopy::native_endian::{F64, U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Event;
use crate::clock::Timestamp;
use crate::discovery::{Exclusion, Listed};
use crate::errand::Errand;
use crate::fleet::Interval;
use crate::pod::PodAddress;
use crate::report::{PodReport, PollFailure, Weight};

/// What of a pod's report is kept in its record.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reported {
    /// See [`PodReport::agents_connections`].
    pub count: u64,
    /// See [`PodReport::weight`].
    pub weight: Option<Weight>,
    /// See [`PodReport::max_connections`].
    pub limit: Option<u64>,
    /// See [`PodReport::draining`].
    pub draining: Option<bool>,
}

impl From<&PodReport> for Reported {
    fn from(report: &PodReport) -> Self {
        Self {
            count: report.agents_connections,
            weight: report.weight,
            limit: report.max_connections,
            draining: report.draining,
        }
    }
}

/// A pod's record. All changes go through [`Table::apply`](super::Table::apply) and the poll's
/// methods.
///
/// Opens and closes are counted from the record's beginning, and their numbers at the last report
/// are kept: what happened since is the difference. The counters may wrap, the differences don't.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Pod {
    address: PackedAddress,
    /// The standing that was last told to the log.
    announced: u8,
    /// [`Exclusion::code`] of what Envoy holds against the pod; zero for nothing.
    exclusion: u8,
    /// See [`Listed::tier`].
    tier: U16,
    /// See [`Listed::weight`]; zero before the first list.
    listed_weight: U32,
    /// The question for the count.
    poll: Errand,
    /// What the pod last reported.
    count: U64,
    /// What the pod says its weight is; zero where it says nothing.
    own_weight: F64,
    /// At how many the pod is full; [`NO_LIMIT`] where it says nothing.
    limit: U64,
    /// [`Word`] of whether the pod drains.
    draining: u8,
    /// When the pod was last seen to refuse; [`Timestamp::NEVER`] once it answered a later poll.
    refused_at: U64,
    /// When the pod last came up; [`Timestamp::NEVER`] where it was up from the beginning.
    started_at: U64,
    /// Upgrades on their way. They are in no report: the pod does not count them yet.
    in_flight: U32,
    /// WebSockets opened through this Envoy.
    opened: U32,
    /// … when the last good poll was sent.
    opened_at_report: U32,
    /// … when the outstanding poll was sent.
    opened_when_asked: U32,
    /// WebSockets closed that were opened through this Envoy.
    closed: U32,
    /// … when the last good answer came.
    closed_at_report: U32,
    /// … when the outstanding poll was sent.
    closed_when_asked: U32,
    /// WebSockets opened, and on their way, while the last good poll was.
    doubtful_opens: U32,
    /// WebSockets closed while the last good poll was on its way.
    doubtful_closes: U32,
    /// WebSockets that were closed to relieve the pod.
    relieved: U32,
    /// Connections that the pod did not accept.
    refusals: U32,
    /// Polls that brought no count.
    polls_failed: U32,
}

/// No pod holds so many.
const NO_LIMIT: u64 = u64::MAX;

/// What a pod says of a question that it may leave open.
enum Word {}

impl Word {
    const NONE: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;

    const fn of(said: Option<bool>) -> u8 {
        match said {
            None => Self::NONE,
            Some(false) => Self::NO,
            Some(true) => Self::YES,
        }
    }
}

impl Pod {
    pub(super) fn new(address: PodAddress) -> Self {
        Self {
            address: PackedAddress::from(address),
            limit: U64::new(NO_LIMIT),
            ..Self::new_zeroed()
        }
    }

    /// The pod's address.
    #[must_use]
    pub fn address(&self) -> PodAddress {
        self.address.unpack()
    }

    pub(super) fn is_at(&self, address: PackedAddress) -> bool {
        self.address == address
    }

    /// What the pod last reported; 0 before the first report.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// What this gateway opened on the pod and has on its way to it, less what it closed, since
    /// the last report.
    #[must_use]
    pub fn change(&self) -> i64 {
        let opened = self.opened.get().wrapping_sub(self.opened_at_report.get());
        let closed = self.closed.get().wrapping_sub(self.closed_at_report.get());
        i64::from(self.in_flight.get())
            .saturating_add(i64::from(opened))
            .saturating_sub(i64::from(closed))
    }

    /// Opens and closes of which nobody knows whether the last report counts them: it was on its
    /// way when they happened.
    #[must_use]
    pub fn doubtful_changes(&self) -> u32 {
        let opens = self.doubtful_opens.get();
        opens.saturating_add(self.doubtful_closes.get())
    }

    /// WebSockets on the pod that are open through this Envoy.
    #[must_use]
    pub fn own(&self) -> u32 {
        self.opened.get().wrapping_sub(self.closed.get())
    }

    /// Upgrades on their way to the pod.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// WebSockets opened through this Envoy since it knows the pod.
    #[must_use]
    pub fn opened(&self) -> u32 {
        self.opened.get()
    }

    /// Those of them that have ended.
    #[must_use]
    pub fn closed(&self) -> u32 {
        self.closed.get()
    }

    /// WebSockets that were closed to relieve the pod.
    #[must_use]
    pub fn relieved(&self) -> u32 {
        self.relieved.get()
    }

    /// Connections that the pod did not accept.
    #[must_use]
    pub fn refusals(&self) -> u32 {
        self.refusals.get()
    }

    /// Polls that brought no count.
    #[must_use]
    pub fn polls_failed(&self) -> u32 {
        self.polls_failed.get()
    }

    /// How many WebSockets the pod should have for each one of a pod of weight 1: by its own
    /// word, else by Envoy's. Greater than 0.
    #[must_use]
    pub fn weight(&self) -> f64 {
        let own = self.own_weight.get();
        if own > 0.0 {
            own
        } else {
            f64::from(self.listed_weight.get().max(1))
        }
    }

    /// At how many the pod is full; none where it says nothing.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        let limit = self.limit.get();
        (limit != NO_LIMIT).then_some(limit)
    }

    /// Whether the pod drains, by its own word.
    #[must_use]
    pub const fn draining(&self) -> Option<bool> {
        match self.draining {
            Word::YES => Some(true),
            Word::NO => Some(false),
            _ => None,
        }
    }

    /// What Envoy holds against the pod. That it drains does not count where the pod says that it
    /// does not.
    #[must_use]
    pub fn exclusion(&self) -> Option<Exclusion> {
        let exclusion = Exclusion::from_code(self.exclusion)?;
        let overruled = exclusion == Exclusion::Draining && self.draining() == Some(false);
        (!overruled).then_some(exclusion)
    }

    /// Whether the pod did not accept a connection, and has not answered a poll since.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        self.refused_at.get() != Timestamp::NEVER.as_nanos()
    }

    /// When the pod last came up; [`Timestamp::NEVER`] where it was up from the beginning.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        Timestamp::from_nanos(self.started_at.get())
    }

    /// Why the last poll failed; none where it brought a count, or where none has ended.
    #[must_use]
    pub fn last_failure(&self) -> Option<PollFailure> {
        PollFailure::from_code(self.poll.failure())
    }

    /// The question for the count.
    #[must_use]
    pub const fn poll(&self) -> &Errand {
        &self.poll
    }

    /// See [`Listed::tier`].
    #[must_use]
    pub fn tier(&self) -> u16 {
        self.tier.get()
    }

    /// Notes that the pod is asked at `now`, and when it will be again.
    pub fn ask(&mut self, now: Timestamp, next: Timestamp) {
        self.poll.ask(now, next);
        self.opened_when_asked = self.opened;
        self.closed_when_asked = self.closed;
    }

    /// Notes that the pod has come up at `now`.
    pub fn start(&mut self, now: Timestamp) {
        self.started_at.set(now.as_nanos());
    }

    /// Whether a standing of this [code](crate::standing::Standing::code) has not been told yet;
    /// afterwards it has.
    pub fn announce(&mut self, standing: u8) -> bool {
        let changed = self.announced != standing;
        self.announced = standing;
        changed
    }

    pub(super) fn apply(&mut self, event: &Event) {
        match *event {
            Event::Chosen { .. } => self.in_flight.set(self.in_flight.get().saturating_add(1)),
            Event::Settled { .. } => self.in_flight.set(self.in_flight.get().saturating_sub(1)),
            Event::Opened { .. } => count_one(&mut self.opened),
            // One that was opened on a record that was forgotten is not this record's.
            Event::Closed { .. } | Event::Relieved { .. } if self.own() == 0 => {}
            Event::Closed { .. } => count_one(&mut self.closed),
            Event::Relieved { .. } => {
                count_one(&mut self.closed);
                count_one(&mut self.relieved);
            }
            Event::Refused { at, .. } => {
                self.refused_at.set(at.as_nanos());
                count_one(&mut self.refusals);
            }
            Event::Answered { .. } => {}
        }
    }

    /// Takes the answer to the poll that was sent at `asked_at`, if it is waited for. Where there
    /// was a report before, what happened since.
    pub(super) fn answer(
        &mut self,
        asked_at: Timestamp,
        outcome: Result<Reported, PollFailure>,
    ) -> Option<Interval> {
        if !self.poll.awaits(asked_at) {
            return None;
        }
        let counted_before = self.poll.succeeded_at().happened();
        self.poll
            .settle(asked_at, outcome.err().map(PollFailure::code));
        let Ok(reported) = outcome else {
            count_one(&mut self.polls_failed);
            return None;
        };
        let since = |now: U32, then: U32| now.get().wrapping_sub(then.get());
        let doubtful_opens =
            since(self.opened, self.opened_when_asked).saturating_add(self.in_flight.get());
        let doubtful_closes = since(self.closed, self.closed_when_asked);
        let interval = Interval {
            before: self.count.get(),
            after: reported.count,
            opened: since(self.opened_when_asked, self.opened_at_report),
            closed: since(self.closed, self.closed_at_report),
            doubtful_opens: self.doubtful_opens.get().saturating_add(doubtful_opens),
            doubtful_closes: self.doubtful_closes.get().saturating_add(doubtful_closes),
            own: self.own(),
        };
        self.doubtful_opens.set(doubtful_opens);
        self.doubtful_closes.set(doubtful_closes);
        self.count.set(reported.count);
        self.opened_at_report = self.opened_when_asked;
        self.closed_at_report = self.closed;
        self.own_weight
            .set(reported.weight.map_or(0.0, Weight::get));
        self.limit.set(reported.limit.unwrap_or(NO_LIMIT));
        self.draining = Word::of(reported.draining);
        if asked_at.as_nanos() >= self.refused_at.get() {
            self.refused_at.set(Timestamp::NEVER.as_nanos());
        }
        counted_before.then_some(interval)
    }

    /// What Envoy says of the pod now.
    pub(super) fn heed(&mut self, listed: &Listed) {
        self.exclusion = listed.exclusion.map_or(0, Exclusion::code);
        self.tier.set(listed.tier);
        self.listed_weight.set(listed.weight);
    }
}

/// Counters wrap, as the differences of them that are taken expect.
fn count_one(counter: &mut U32) {
    counter.set(counter.get().wrapping_add(1));
}

/// An address in a record. IPv4 is mapped into IPv6 (RFC 4291, section 2.5.5.2), and `is_v4`
/// tells it from an address that was written in the mapped form.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub(super) struct PackedAddress {
    ip: [u8; 16],
    port: U16,
    is_v4: u8,
}

impl From<PodAddress> for PackedAddress {
    fn from(address: PodAddress) -> Self {
        let socket = address.socket();
        let (ip, is_v4) = match socket.ip() {
            IpAddr::V4(ip) => (ip.to_ipv6_mapped(), 1),
            IpAddr::V6(ip) => (ip, 0),
        };
        Self {
            ip: ip.octets(),
            port: U16::new(socket.port()),
            is_v4,
        }
    }
}

impl PackedAddress {
    fn unpack(self) -> PodAddress {
        let ip = Ipv6Addr::from(self.ip);
        let ip = match ip.to_ipv4_mapped() {
            Some(v4) if self.is_v4 == 1 => IpAddr::V4(v4),
            _ => IpAddr::V6(ip),
        };
        PodAddress::from_record(SocketAddr::new(ip, self.port.get()))
    }
}
