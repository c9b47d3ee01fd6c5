//! A pod's record in the table, of a fixed layout.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use zerocopy::native_endian::{F64, U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::accrual::{Accrual, Outcomes};
use super::address::PodAddress;
use super::handshake_count::{Count, HandshakeCount, counted_early};
use super::interval::{Interval, Judgment, Others};
use super::membership::{Exclusion, Member, Priority};
use super::poll_state::PollState;
use super::traffic::{Posting, Traffic, left, since};
use crate::clock::Timestamp;
use crate::metric::{Complaint, PodReport, PollFailure, Weight};
use crate::num::approximate;

/// What of a pod's report is kept in its record.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reported {
    /// See [`PodReport::connections`].
    pub connections: u64,
    /// See [`PodReport::weight`].
    pub weight: Option<Weight>,
    /// See [`PodReport::limit`].
    pub limit: Option<u64>,
    /// See [`PodReport::draining`].
    pub draining: Option<bool>,
    /// Bytes of the answer's body.
    pub body_size: u32,
}

impl Reported {
    /// A report of nothing but a count.
    #[must_use]
    pub fn of(connections: u64) -> Self {
        Self {
            connections,
            ..Self::default()
        }
    }
}

impl From<&PodReport> for Reported {
    fn from(report: &PodReport) -> Self {
        Self {
            connections: report.connections,
            weight: report.weight,
            limit: report.limit,
            draining: report.draining,
            body_size: 0,
        }
    }
}

/// What an answer with a count came to, where there was a count before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Answer {
    /// This happened meanwhile.
    After(Interval),
    /// The count is not believed, for this reason: that before it stays.
    Doubted(Judgment),
}

/// A pod's record. Only the table changes it.
///
/// Of the counters of its [`Traffic`] the numbers at the last report are kept: what happened since is
/// the difference.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PodRecord {
    address: PackedAddress,
    /// Code of the state that was last logged.
    announced: u8,
    /// [`Exclusion::code`] of what Envoy has against the pod; zero for nothing.
    exclusion: u8,
    /// See [`Member::priority`].
    priority: U16,
    /// See [`Member::weight`]; zero before the first list.
    endpoint_weight: U32,
    /// The question for the count.
    poll: PollState,
    /// The last count that was believed.
    connections: U64,
    /// When it was asked for; [`Timestamp::NEVER`] before the first.
    counted_at: U64,
    /// What the pod says its weight is; zero where it says nothing.
    own_weight: F64,
    /// At how many the pod is full; [`NO_LIMIT`] where it says nothing.
    limit: U64,
    /// Whether the pod drains: [`UNSAID`], [`NO`] or [`YES`].
    draining: u8,
    /// When the pod was last seen to refuse; [`Timestamp::NEVER`] once it answered a later poll.
    refused_at: U64,
    /// When a handshake last passed the pod by; [`Timestamp::NEVER`] once a later poll has ended.
    doubted_at: U64,
    /// When the pod was last asked.
    last_asked_at: U64,
    /// When the pod last came up; [`Timestamp::NEVER`] where it was up from the beginning.
    started_at: U64,
    /// What this gateway does on it.
    traffic: Traffic,
    /// WebSockets opened when the last good poll was sent.
    opened_at_report: U32,
    /// … when the outstanding poll was sent.
    opened_when_asked: U32,
    /// Sessions that had begun when the last good poll was sent.
    sessions_at_report: U32,
    /// … when the outstanding poll was sent.
    sessions_when_asked: U32,
    /// WebSockets closed when the last good answer came.
    closed_at_report: U32,
    /// … when the outstanding poll was sent.
    closed_when_asked: U32,
    /// WebSockets opened, and on their way, while the last good poll was.
    doubtful_opens: U32,
    /// WebSockets closed while the last good poll was on its way.
    doubtful_closes: U32,
    /// Opens that the last count has already, for all that it was asked for before.
    counted_early: U32,
    /// WebSockets that rebalancing closed on the pod.
    rebalanced: U32,
    /// Connections that the pod did not accept.
    refusals: U32,
    /// Polls that brought no count.
    polls_failed: U32,
    /// Whether the last report came of another question than is asked now: 1 or 0.
    reported_otherwise: u8,
    /// WebSockets that others opened on the pod, less those of theirs that ended: a sum that fades
    /// within [`LATELY`].
    others: F64,
    /// When the pod was asked: [`AT_ITS_TIME`], [`EARLY`] or [`ALONE`].
    asked_how: u8,
    /// Whether the last count was a leap, and not believed: 1 or 0.
    has_leapt: u8,
    /// Counts in a row that were not believed, of those that were asked for at their time.
    doubted: u8,
    /// Whether others changed the last count by much: 1 or 0.
    is_unsteady: u8,
    /// Whether the counts are of something else than connections: 1 or 0.
    counts_otherwise: u8,
    /// Counts in a row, asked for at their time, that lacked WebSockets which must be there.
    lacking: u8,
    /// WebSockets opened until each of the last [`LASTING`] questions that were asked at their
    /// time, the last first.
    opened_until: [U32; LASTING],
    /// Bytes of the last body that had a count.
    body_size: U32,
    /// Handshakes that the pod failed.
    failed: U32,
    /// WebSockets that the pod ended at once.
    cut: U32,
    /// Its failures in a row.
    accrual: Accrual,
    /// Since when no list has the pod; [`Timestamp::NEVER`] where one does.
    away_since: U64,
    /// Whether it was away since its last count: 1 or 0.
    was_away: u8,
    /// What it told with a handshake since its last report.
    handshake_count: HandshakeCount,
    /// [`Complaint::load_report_code`] of what was wrong with its last load report; zero for nothing.
    load_report_complaint: u8,
    /// The complaints of its load reports that there ever were: a bit for each code.
    load_report_complaints: u8,
}

/// A WebSocket that was there when the pod was asked so many times ago is in any count.
const LASTING: usize = 3;
/// After so many counts that were not believed the next one is: it may be that this gateway errs.
const MOST_DOUBTED: u8 = 12;
/// After so many counts that lack WebSockets the pod's counts are not believed.
const MOST_LACKING: u8 = 3;
/// A count that lacks fewer than this many …
const FEW_LACKING: f64 = 10.0;
/// … or this part is not told from one that is late.
const SMALL_PART: f64 = 0.1;

/// What others did so long ago counts for a third of what they do now.
const LATELY: Duration = Duration::from_secs(2);

/// No pod holds so many.
const NO_LIMIT: u64 = u64::MAX;

/// The pod was asked when its time had come, …
const AT_ITS_TIME: u8 = 0;
/// … before that, with the others, …
const EARLY: u8 = 1;
/// … or before that and without them.
const ALONE: u8 = 2;

/// The pod does not say …
const UNSAID: u8 = 0;
/// … or says no …
const NO: u8 = 1;
/// … or yes.
const YES: u8 = 2;

impl PodRecord {
    /// The record of a pod that nobody has asked yet.
    #[must_use]
    pub fn new(address: PodAddress) -> Self {
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

    /// The pod's address, as it stands here.
    #[must_use]
    pub const fn packed_address(&self) -> PackedAddress {
        self.address
    }

    /// Whether it is the record of the pod at `address`.
    #[must_use]
    pub fn is_at(&self, address: PackedAddress) -> bool {
        self.address == address
    }

    /// The last count that was believed; 0 before the first.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.get()
    }

    /// When it was asked for; [`Timestamp::NEVER`] before the first.
    #[must_use]
    pub fn counted_at(&self) -> Timestamp {
        self.counted_at.into()
    }

    /// What the pod held then, and what this gateway opened on it and has on its way to it, sessions
    /// among it, less what it closed, since.
    ///
    /// It held its count, but at least what this gateway had long had open on it. Where its counts are
    /// [not believed](Self::is_implausible), at least as much as this gateway had there, `fleet` times:
    /// the connections of the fleet for each of this gateway's.
    #[must_use]
    pub fn held_and_change(&self, fleet: f64) -> (f64, i64) {
        let count = self.last_count();
        (self.held_at(&count, fleet), self.change_since(&count))
    }

    fn held_at(&self, count: &Count, fleet: f64) -> f64 {
        let Count {
            connections,
            opened,
            closed,
            ..
        } = *count;
        let least = if self.counts_otherwise != 0 {
            0.0
        } else if self.is_implausible() {
            fleet * f64::from(self.traffic.open_of(opened, closed))
        } else {
            self.lasting(opened, closed).into()
        };
        least.max(approximate(connections.get()))
    }

    /// The last count, of a report or of a handshake since.
    fn last_count(&self) -> Count {
        let told = self.handshake_count.get();
        told.map_or_else(|| self.reported_count(), |(_, count)| *count)
    }

    fn reported_count(&self) -> Count {
        Count {
            connections: self.connections,
            opened: self.opened_at_report,
            sessions: self.sessions_at_report,
            closed: self.closed_at_report,
            counted_early: self.counted_early,
        }
    }

    /// Whether the last count came with a handshake.
    #[must_use]
    pub fn is_counted_by_handshake(&self) -> bool {
        self.handshake_count.get().is_some()
    }

    /// When the last count was asked for, or came with a handshake; [`Timestamp::NEVER`] before the
    /// first.
    #[must_use]
    pub fn last_counted_at(&self) -> Timestamp {
        let told = self.handshake_count.get();
        told.map_or(self.counted_at(), |(at, _)| at)
    }

    /// Whether the last count has connections that this gateway can't have opened.
    #[must_use]
    pub fn has_foreign(&self) -> bool {
        let own = self
            .traffic
            .open_of(self.opened_at_report, self.closed_at_report);
        let own = own
            .saturating_add(self.counted_early.get())
            .saturating_add(self.doubtful_at_report());
        self.connections() > own.into()
    }

    /// Whether several counts in a row lacked WebSockets that must have been in them.
    #[must_use]
    pub const fn is_implausible(&self) -> bool {
        self.lacking >= MOST_LACKING
    }

    /// Whether others changed the last count by as much as nobody does who goes by counts.
    #[must_use]
    pub const fn is_unsteady(&self) -> bool {
        self.is_unsteady != 0
    }

    /// What this gateway opened on the pod and has on its way to it, sessions among it, less what it
    /// closed, since the last report.
    #[must_use]
    pub fn change(&self) -> i64 {
        self.change_since(&self.reported_count())
    }

    fn change_since(&self, count: &Count) -> i64 {
        let begun = since(self.traffic.opened, count.opened);
        let begun = begun.wrapping_add(since(self.traffic.sessions, count.sessions));
        i64::from(self.traffic.in_flight())
            .saturating_add(i64::from(begun))
            .saturating_sub(i64::from(since(self.traffic.closed, count.closed)))
            .saturating_sub(i64::from(count.counted_early.get()))
    }

    /// WebSockets, and sessions that have none yet, that this gateway opened on the pod since the
    /// last report.
    #[must_use]
    pub fn begun_since_report(&self) -> u32 {
        let opened = since(self.traffic.opened, self.opened_at_report);
        opened.wrapping_add(since(self.traffic.sessions, self.sessions_at_report))
    }

    /// Opens and closes of which nobody knows whether the last count has them: it was on its way when
    /// they happened. None where that came with a handshake.
    #[must_use]
    pub fn doubtful_changes(&self) -> u32 {
        match self.handshake_count.get() {
            Some(_) => 0,
            None => self.doubtful_at_report(),
        }
    }

    fn doubtful_at_report(&self) -> u32 {
        let opens = self.doubtful_opens.get();
        opens.saturating_add(self.doubtful_closes.get())
    }

    /// Bytes of the last body that had a count.
    #[must_use]
    pub fn body_size(&self) -> u32 {
        self.body_size.get()
    }

    /// WebSockets that others were lately seen to add to the pod in a second; at least 0.
    #[must_use]
    pub fn others_rate(&self) -> f64 {
        (self.others.get() / LATELY.as_secs_f64()).max(0.0)
    }

    /// WebSockets on the pod that are open through this Envoy.
    #[must_use]
    pub fn own_connections(&self) -> u32 {
        self.traffic.open()
    }

    /// Upgrades on their way to the pod.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.traffic.in_flight()
    }

    /// WebSockets opened through this Envoy since it knows the pod.
    #[must_use]
    pub fn opened(&self) -> u32 {
        self.traffic.opened.get()
    }

    /// Those of them that have ended.
    #[must_use]
    pub fn closed(&self) -> u32 {
        self.traffic.closed.get()
    }

    /// WebSockets that rebalancing closed on the pod.
    #[must_use]
    pub fn rebalanced(&self) -> u32 {
        self.rebalanced.get()
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
            f64::from(self.endpoint_weight.get().max(1))
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
            YES => Some(true),
            NO => Some(false),
            _ => None,
        }
    }

    /// What Envoy has against the pod. That it drains does not count where the pod says that it
    /// does not.
    #[must_use]
    pub fn exclusion(&self) -> Option<Exclusion> {
        let exclusion = Exclusion::from_code(self.exclusion)?;
        let overruled = exclusion == Exclusion::Draining && self.draining() == Some(false);
        (!overruled).then_some(exclusion)
    }

    /// What Envoy says of the pod.
    #[must_use]
    pub fn member(&self) -> Member {
        Member {
            pod: self.address(),
            exclusion: Exclusion::from_code(self.exclusion),
            priority: self.priority(),
            weight: self.endpoint_weight.get(),
        }
    }

    /// What the pod last said of itself.
    #[must_use]
    pub fn reported(&self) -> Reported {
        Reported {
            connections: self.connections(),
            weight: Weight::try_from(self.own_weight.get()).ok(),
            limit: self.limit(),
            draining: self.draining(),
            body_size: self.body_size(),
        }
    }

    /// WebSockets that workers of this version have opened, and how many of them have ended; both
    /// may wrap.
    #[must_use]
    pub fn opened_and_closed_here(&self) -> (u32, u32) {
        self.traffic.opened_and_closed_here()
    }

    /// Whether the pod did not accept a connection, and has not answered a poll since.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        self.refused_at.get() != Timestamp::NEVER.as_nanos()
    }

    /// Whether a handshake passed the pod by, and no poll has told since whether it is there.
    #[must_use]
    pub fn is_doubted(&self) -> bool {
        Timestamp::from(self.doubted_at).happened()
    }

    /// Whether the pod refused a connection or was passed by, and was not asked since; nor within the
    /// last `pause`.
    #[must_use]
    pub fn is_to_be_asked(&self, now: Timestamp, pause: Duration) -> bool {
        let asked_at = Timestamp::from(self.last_asked_at);
        let noticed_at = Timestamp::from(self.refused_at).max(self.doubted_at.into());
        noticed_at > asked_at && !self.poll.is_under_way() && now.since(asked_at) >= pause
    }

    /// Whether it was last asked without the other pods: its answer is not of their moment.
    #[must_use]
    pub const fn was_asked_alone(&self) -> bool {
        self.asked_how == ALONE
    }

    /// Handshakes that the pod failed: with a status of 5xx, without an answer, or so that Envoy
    /// went on to another.
    #[must_use]
    pub fn failed(&self) -> u32 {
        self.failed.get()
    }

    /// WebSockets that ended within [`PROVEN`](super::PROVEN), not by their clients' disconnecting.
    #[must_use]
    pub fn cut(&self) -> u32 {
        self.cut.get()
    }

    /// What its handshakes came to.
    pub(crate) fn outcomes(&self) -> Outcomes {
        let good = self.traffic.opened.get().wrapping_sub(self.cut.get());
        Outcomes::new(good, self.failed.get().wrapping_add(self.cut.get()))
    }

    /// Its failures in a row.
    #[must_use]
    pub const fn accrual(&self) -> &Accrual {
        &self.accrual
    }

    /// Its failures in a row, to note what others' come to or what follows.
    pub(crate) const fn accrual_mut(&mut self) -> &mut Accrual {
        &mut self.accrual
    }

    /// When the pod last came up; [`Timestamp::NEVER`] where it was up from the beginning.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.started_at.into()
    }

    /// Why the last poll failed; none where it brought a count, or where none has ended.
    #[must_use]
    pub fn last_failure(&self) -> Option<PollFailure> {
        PollFailure::from_code(self.poll.failure())
    }

    /// The question for the count.
    #[must_use]
    pub const fn poll(&self) -> &PollState {
        &self.poll
    }

    /// See [`Member::priority`].
    #[must_use]
    pub fn priority(&self) -> Priority {
        Priority::from_code(self.priority.get())
    }

    /// Notes that the pod is asked at `now`, and when it will be again.
    pub(crate) fn ask(&mut self, now: Timestamp, next: Timestamp) {
        self.asked_how = if next == self.poll.due_at() {
            EARLY
        } else {
            AT_ITS_TIME
        };
        self.poll.ask(now, next);
        self.last_asked_at = now.into();
        self.opened_when_asked = self.traffic.opened;
        self.closed_when_asked = self.traffic.closed;
        self.sessions_when_asked = self.traffic.sessions;
    }

    /// Notes that the pod is asked at `now` without the others, and when it is due as before.
    pub(crate) fn ask_alone(&mut self, now: Timestamp) {
        self.ask(now, self.poll.due_at());
        self.asked_how = ALONE;
    }

    /// The pod is to be asked again, as if it had not been.
    pub(crate) fn ask_again(&mut self) {
        self.poll.renew();
    }

    /// The pod is polled in another way from now on.
    pub(crate) fn renew_poll(&mut self) {
        self.poll.renew();
        self.reported_otherwise = 1;
    }

    /// Notes that the pod has come up at `now`.
    pub(crate) fn start(&mut self, now: Timestamp) {
        self.started_at = now.into();
    }

    /// Whether the pod is not on the last list of pods.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.away_since().happened()
    }

    /// Since when it is not; [`Timestamp::NEVER`] where it is.
    #[must_use]
    pub fn away_since(&self) -> Timestamp {
        self.away_since.into()
    }

    /// Whether the pod was away since its last count: then it was not asked, and may be well.
    #[must_use]
    pub const fn was_away(&self) -> bool {
        self.was_away != 0
    }

    /// The pod is not on the list of `now`, nor perhaps on those before.
    pub(crate) fn leave(&mut self, now: Timestamp) {
        if !self.is_away() {
            self.away_since = now.into();
        }
    }

    /// The pod is on the list.
    pub(crate) fn come_back(&mut self) {
        if self.is_away() {
            self.away_since = Timestamp::NEVER.into();
            self.was_away = 1;
        }
    }

    /// Code of the state that was last logged.
    #[must_use]
    pub const fn announced(&self) -> u8 {
        self.announced
    }

    /// Notes that the state with this code is logged.
    pub(crate) const fn announce(&mut self, state: u8) {
        self.announced = state;
    }

    /// What this gateway does on the pod.
    #[must_use]
    pub const fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// What this gateway does on the pod, to be changed.
    pub(crate) const fn traffic_mut(&mut self) -> &mut Traffic {
        &mut self.traffic
    }

    /// Whether a WebSocket that is opened on the pod is evidence, and to be noted.
    pub(crate) fn awaits_proof(&self) -> bool {
        self.accrual.failures() > 0
    }

    /// So many WebSockets are opened on the pod by `at`.
    pub(crate) fn note_opened(&mut self, at: Timestamp, websockets: u32) {
        let before = self.traffic.opened.get();
        self.accrual.open(at, before, websockets);
    }

    /// What a WebSocket that carries a session posts, as it opens in the place of the session's
    /// opener.
    ///
    /// Where the pod's counts have sessions, nothing has begun: the opener is in the last count or
    /// waits for the next, whichever gateway it came through. Where they have WebSockets alone, it is
    /// one more; the openers from before the last count are over, and the oldest of the others is now.
    pub(crate) fn posting_in_session(&self, counts_sessions: bool) -> Posting {
        let continues = counts_sessions || self.traffic.sessions != self.sessions_at_report;
        Posting {
            continued: continues.into(),
            ..Posting::OPENED
        }
    }

    /// Whether the opener in whose place one opens had begun when the poll that is under way was
    /// sent: then that [changes](Self::continue_asked), too.
    pub(crate) fn continues_asked(&self, counts_sessions: bool) -> bool {
        let begun = self.sessions_at_report;
        !counts_sessions && self.traffic.sessions != begun && self.sessions_when_asked != begun
    }

    /// The opener that had begun by then has its WebSocket.
    pub(crate) fn continue_asked(&mut self) {
        uncount_one(&mut self.sessions_when_asked);
    }

    /// Rebalancing closes a WebSocket on the pod.
    pub(crate) fn rebalance(&mut self) {
        count_one(&mut self.rebalanced);
    }

    /// The pod did not accept a connection.
    pub(crate) fn refuse(&mut self, at: Timestamp) {
        self.refused_at = at.into();
        count_one(&mut self.refusals);
    }

    /// A handshake passed the pod by.
    pub(crate) fn doubt(&mut self, at: Timestamp) {
        self.doubted_at = at.into();
    }

    /// The pod failed a handshake.
    pub(crate) fn fail(&mut self) {
        count_one(&mut self.failed);
    }

    /// A WebSocket that was opened at `opened_at` has ended at once.
    pub(crate) fn cut_off(&mut self, opened_at: Timestamp) {
        count_one(&mut self.cut);
        self.accrual.cut(opened_at);
    }

    /// Takes the answer to the poll that was sent at `asked_at`, if it is waited for. Where there
    /// was a report before, what happened since.
    pub(crate) fn answer(
        &mut self,
        asked_at: Timestamp,
        outcome: Result<Reported, PollFailure>,
        others: Option<&Others>,
        counts_sessions: bool,
    ) -> Option<Answer> {
        if !self.poll.awaits(asked_at) {
            return None;
        }
        // What was counted in another way can't be compared.
        let counted_before = self.counted_at().happened() && self.reported_otherwise == 0;
        let reported = match outcome {
            Ok(reported) => reported,
            Err(failure) => {
                self.fail_poll(asked_at, failure);
                return None;
            }
        };
        self.poll.settle(asked_at, None);
        self.was_away = 0;
        self.take_words(asked_at, &reported);
        self.counts_otherwise = u8::from(others.is_none());
        self.compare_with_lasting(reported.connections);
        let sessions_until_asked = if counts_sessions {
            since(self.sessions_when_asked, self.sessions_at_report)
        } else {
            0
        };
        let opened =
            since(self.opened_when_asked, self.opened_at_report).wrapping_add(sessions_until_asked);
        // Some of them are in the count before.
        let known_before = self.counted_early.get().min(opened);
        let still_early = self.counted_early.get().saturating_sub(known_before);
        // The upgrade of an opener may be in the count before its answer is here; and nobody tells of
        // the end of a session that has no WebSocket.
        let waiting = left(self.traffic.sessions, self.sessions_at_report);
        let (begun_meanwhile, without_websocket) = if counts_sessions {
            (
                since(self.traffic.sessions, self.sessions_when_asked),
                waiting,
            )
        } else {
            (waiting, 0)
        };
        let doubtful_opens = since(self.traffic.opened, self.opened_when_asked)
            .wrapping_add(begun_meanwhile)
            .saturating_add(self.traffic.in_flight())
            .saturating_sub(still_early);
        let doubtful_closes = since(self.traffic.closed, self.closed_when_asked);
        let doubtful_before = self.doubtful_opens.get().saturating_add(without_websocket);
        let interval = Interval {
            before: self.connections.get(),
            after: reported.connections,
            opened: opened.saturating_sub(known_before),
            closed: since(self.traffic.closed, self.closed_at_report),
            doubtful_opens: doubtful_before.saturating_add(doubtful_opens),
            doubtful_closes: self.doubtful_closes.get().saturating_add(doubtful_closes),
            own: self.own_connections(),
            span: asked_at.since(self.counted_at()),
        };
        let others = others.filter(|_| counted_before);
        let judgment = others.map_or(Judgment::Sound, |others| interval.judge(others));
        let is_second_leap = self.has_leapt != 0;
        self.has_leapt = u8::from(judgment == Judgment::Leap);
        let is_believed = match judgment {
            Judgment::Sound => true,
            Judgment::Late | Judgment::Same => false,
            Judgment::Leap => is_second_leap,
        };
        if !is_believed && self.doubted < MOST_DOUBTED {
            self.doubted = self
                .doubted
                .saturating_add(u8::from(self.asked_how == AT_ITS_TIME));
            return Some(Answer::Doubted(judgment));
        }
        self.doubted = 0;
        if counted_before {
            self.note_others(&interval);
        }
        let settled = others.and_then(|_| interval.beyond_own_changes());
        // What is settled is doubtful no more.
        let still_doubtful = |doubtful| settled.map_or(doubtful, |_| 0);
        self.doubtful_opens.set(still_doubtful(doubtful_opens));
        self.doubtful_closes.set(still_doubtful(doubtful_closes));
        let beyond = settled.unwrap_or(0);
        let counted_early = beyond.min(doubtful_opens);
        let closed_late = beyond.saturating_sub(counted_early).min(doubtful_closes);
        self.counted_early
            .set(still_early.saturating_add(counted_early));
        self.connections.set(reported.connections);
        self.handshake_count.clear();
        self.counted_at = asked_at.into();
        self.reported_otherwise = 0;
        self.opened_at_report = self.opened_when_asked;
        // An opener whose upgrade is in the count already waits for that upgrade's answer.
        let over = if counts_sessions {
            0
        } else {
            left(self.sessions_when_asked, self.sessions_at_report)
        };
        let still_waiting = counted_early.saturating_sub(doubtful_opens.saturating_sub(over));
        let ended = self.sessions_when_asked.get().wrapping_sub(still_waiting);
        self.sessions_at_report.set(ended);
        self.closed_at_report
            .set(self.traffic.closed.get().wrapping_sub(closed_late));
        counted_before.then_some(Answer::After(interval))
    }

    /// Takes the count that came with the answer to a handshake at `at`, before that WebSocket is
    /// known to be open.
    ///
    /// It is passed over before the first report and while reports are not believed, where it would be
    /// a leap, and where it is the last one again: then nobody may have counted since.
    pub(crate) fn hear(
        &mut self,
        connections: u64,
        at: Timestamp,
        others: Option<&Others>,
        counts_sessions: bool,
    ) {
        let is_known = self.counted_at().happened() && self.reported_otherwise == 0;
        if !is_known || self.is_implausible() || self.doubted > 0 {
            return;
        }
        let last = self.last_count();
        if connections == last.connections.get() {
            return;
        }
        let counted_early = match others {
            Some(others) if others.makes_leap(last.connections.get(), connections) => return,
            Some(_) => self.counted_early(connections, &last, counts_sessions),
            None => 0,
        };
        let count = Count {
            connections: U64::new(connections),
            opened: self.traffic.opened,
            // Those without a WebSocket are in no other count, and go on beside it.
            sessions: if counts_sessions {
                self.traffic.sessions
            } else {
                last.sessions
            },
            closed: self.traffic.closed,
            counted_early: U32::new(counted_early),
        };
        self.handshake_count = HandshakeCount::new(count, at);
    }

    /// How many of the WebSockets on their way to the pod a count of now has, after `last`.
    fn counted_early(&self, connections: u64, last: &Count, counts_sessions: bool) -> u32 {
        let mut begun = since(self.traffic.opened, last.opened);
        if counts_sessions {
            begun = begun.wrapping_add(since(self.traffic.sessions, last.sessions));
        }
        let expected = last.connections.get().saturating_add(begun.into());
        let expected = expected
            .saturating_sub(since(self.traffic.closed, last.closed).into())
            .saturating_sub(last.counted_early.get().into());
        // The handshake may have gone on from another pod, or carry a session that was not counted.
        let in_flight = self.traffic.in_flight().max(u32::from(!counts_sessions));
        counted_early(connections, expected, in_flight)
    }

    /// Notes what is wrong with the load report of an answer to a handshake, if anything is. Whether
    /// that was never so before.
    pub(crate) fn complain_of_load_report(&mut self, complaint: Option<Complaint>) -> bool {
        self.load_report_complaint = complaint.map_or(0, Complaint::load_report_code);
        let Some(bit) = 1_u8.checked_shl(self.load_report_complaint.into()) else {
            return false;
        };
        let is_new = complaint.is_some() && self.load_report_complaints & bit == 0;
        self.load_report_complaints |= bit;
        is_new
    }

    /// What is wrong with the last load report; none where nothing is, or where there was none to come.
    #[must_use]
    pub fn load_report_complaint(&self) -> Option<Complaint> {
        Complaint::of_load_report(self.load_report_complaint)
    }

    /// A poll has brought no count. One that was passed by before is taken to refuse.
    fn fail_poll(&mut self, asked_at: Timestamp, failure: PollFailure) {
        count_one(&mut self.polls_failed);
        if self.asked_how == AT_ITS_TIME {
            self.poll.settle(asked_at, Some(failure.code()));
        } else {
            self.poll.settle_early(failure.code());
        }
        if self.is_doubted() && asked_at >= self.doubted_at.into() {
            self.refuse(self.doubted_at.into());
            self.doubted_at = Timestamp::NEVER.into();
        }
    }

    /// Notes whether a count that was asked for at its time lacks WebSockets that must be in it.
    fn compare_with_lasting(&mut self, count: u64) {
        if self.asked_how != AT_ITS_TIME {
            return;
        }
        let lasting = f64::from(self.lasting(self.traffic.opened, self.traffic.closed));
        let tolerated = FEW_LACKING.max(SMALL_PART * lasting);
        let lacks = self.counts_otherwise == 0 && approximate(count) + tolerated < lasting;
        self.lacking = if lacks {
            self.lacking.saturating_add(1)
        } else {
            0
        };
        self.opened_until.rotate_right(1);
        if let Some(last) = self.opened_until.first_mut() {
            *last = self.opened_when_asked;
        }
    }

    /// WebSockets of this gateway that have been open since the first of the last [`LASTING`]
    /// questions, of so many that were opened and closed.
    fn lasting(&self, opened: U32, closed: U32) -> u32 {
        let first = self.opened_until.last().copied().unwrap_or(opened);
        self.traffic
            .open_of(opened, closed)
            .saturating_sub(since(opened, first))
    }

    /// Notes what others did.
    fn note_others(&mut self, interval: &Interval) {
        self.is_unsteady = u8::from(!interval.is_steady());
        let spans = interval.span.as_secs_f64() / LATELY.as_secs_f64();
        let faded = self.others.get() * (-spans).exp();
        // As if it had come evenly.
        let part = -(-spans).exp_m1() / spans.max(f64::EPSILON);
        self.others.set(faded + interval.foreign_growth() * part);
    }

    /// Takes what the pod says beside its count when it was asked at `asked_at`.
    fn take_words(&mut self, asked_at: Timestamp, reported: &Reported) {
        self.body_size.set(reported.body_size);
        self.own_weight
            .set(reported.weight.map_or(0.0, Weight::get));
        self.limit.set(reported.limit.unwrap_or(NO_LIMIT));
        self.draining = match reported.draining {
            None => UNSAID,
            Some(false) => NO,
            Some(true) => YES,
        };
        if asked_at >= self.refused_at.into() {
            self.refused_at = Timestamp::NEVER.into();
        }
        if asked_at >= self.doubted_at.into() {
            self.doubted_at = Timestamp::NEVER.into();
        }
    }

    /// What Envoy says of the pod now.
    pub(crate) fn set_member(&mut self, member: &Member) {
        self.exclusion = member.exclusion.map_or(0, Exclusion::code);
        self.priority.set(member.priority.code());
        self.endpoint_weight.set(member.weight);
    }
}

/// Counters wrap, as the differences of them that are taken expect.
fn count_one(counter: &mut U32) {
    counter.set(counter.get().wrapping_add(1));
}

fn uncount_one(counter: &mut U32) {
    counter.set(counter.get().wrapping_sub(1));
}

/// An address in a record. IPv4 is mapped into IPv6 (RFC 4291, section 2.5.5.2).
#[derive(Clone, Copy, Debug, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PackedAddress {
    ip: [u8; 16],
    port: U16,
    /// [`CLUSTER`], or [`V6`] or [`V4`], with [`INTERNAL`] added behind an internal listener.
    kind: u8,
}

/// As numbers: to compare bytes is a call in Wasm, and whoever looks for a pod compares many.
impl PartialEq for PackedAddress {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let ip = |address: &Self| u128::from_ne_bytes(address.ip);
        ip(self) == ip(other) && self.port.get() == other.port.get() && self.kind == other.kind
    }
}

/// An IPv6 address, which may be one that was written in the mapped form.
const V6: u8 = 0;
/// An IPv4 address in the mapped form.
const V4: u8 = 1;
/// No address: [`PodAddress::CLUSTER`].
const CLUSTER: u8 = 2;
/// Set where the address is behind an internal listener.
const INTERNAL: u8 = 4;

impl From<PodAddress> for PackedAddress {
    fn from(address: PodAddress) -> Self {
        let Some(socket) = address.socket() else {
            return Self {
                kind: CLUSTER,
                ..Self::new_zeroed()
            };
        };
        let (ip, version) = match socket.ip() {
            IpAddr::V4(ip) => (ip.to_ipv6_mapped(), V4),
            IpAddr::V6(ip) => (ip, V6),
        };
        let internal = if address.is_internal() { INTERNAL } else { 0 };
        Self {
            ip: ip.octets(),
            port: U16::new(socket.port()),
            kind: version | internal,
        }
    }
}

impl PackedAddress {
    pub(crate) fn unpack(self) -> PodAddress {
        if self.kind == CLUSTER {
            return PodAddress::CLUSTER;
        }
        let ip = Ipv6Addr::from(self.ip);
        let ip = match ip.to_ipv4_mapped() {
            Some(v4) if self.kind & V4 != 0 => IpAddr::V4(v4),
            _ => IpAddr::V6(ip),
        };
        let address = PodAddress::from_record(SocketAddr::new(ip, self.port.get()));
        if self.kind & INTERNAL == 0 {
            address
        } else {
            address.inside()
        }
    }
}
