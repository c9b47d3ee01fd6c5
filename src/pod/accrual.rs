//! What a pod's handshakes say of it: how many have failed in a row, and what others did meanwhile.
//! It is part of the pod's record, so it has a fixed layout.
//!
//! What it means is [`passive_health`](crate::load)'s matter: here is what is kept. A handshake has
//! succeeded once its WebSocket has lived for [`PROVEN`]. Nobody tells when that is so, thus it is
//! counted how many were opened until some moments.

use std::time::Duration;

use zerocopy::native_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::clock::Timestamp;

/// A WebSocket that has lived for so long shows that its pod serves.
pub const PROVEN: Duration = Duration::from_secs(1);

/// What became of handshakes. The counters may wrap, their differences don't.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct Outcomes {
    /// WebSockets that were opened, as far as they are counted here, less those that a pod ended at
    /// once.
    good: U32,
    /// Handshakes that a pod failed, and WebSockets that it ended at once.
    bad: U32,
}

impl Outcomes {
    /// So many of both.
    pub(crate) fn new(good: u32, bad: u32) -> Self {
        Self {
            good: U32::new(good),
            bad: U32::new(bad),
        }
    }

    /// With so many WebSockets that were opened.
    pub(crate) fn with_opened(self, websockets: u32) -> Self {
        Self::new(self.good.get().wrapping_add(websockets), self.bad.get())
    }

    /// Notes that a pod failed a handshake.
    pub(crate) fn fail(&mut self) {
        self.bad.set(self.bad.get().wrapping_add(1));
    }

    /// Notes that a pod ended a WebSocket at once: it was good until then.
    pub(crate) fn cut(&mut self) {
        self.good.set(self.good.get().wrapping_sub(1));
        self.fail();
    }

    /// Without those that are `part` of them.
    pub(crate) fn without(self, part: Self) -> Self {
        Self::new(
            self.good.get().wrapping_sub(part.good.get()),
            self.bad.get().wrapping_sub(part.bad.get()),
        )
    }
}

/// What others' handshakes came to while a pod's own failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meanwhile {
    /// WebSockets that were opened on them, and not ended at once.
    pub good: u32,
    /// Handshakes that they failed, and WebSockets that they ended at once.
    pub bad: u32,
}

/// A pod's failures in a row.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Accrual {
    /// The failures that count; zero where the pod last succeeded.
    failures: U16,
    /// How often the pod was ejected since it last succeeded.
    ejections: u8,
    /// Whether one of them was a WebSocket that was ended at once: 1 or 0.
    has_cuts: u8,
    /// When the first failure was noticed.
    since: U64,
    /// When a WebSocket was first ended at once, since the last row.
    first_cut_at: U64,
    /// Until when the pod is left out; [`Timestamp::NEVER`] where it is not ejected.
    ejected_until: U64,
    /// WebSockets that had been opened on the pod when the row began.
    opened_before: U32,
    /// Of those that were opened since, how many were ended at once.
    cut: U32,
    /// When it was last noted how many had been opened …
    marked_at: U64,
    /// … how many those were …
    opened_at_mark: U32,
    /// … and how many at the mark before, at least [`PROVEN`] earlier.
    opened_at_earlier_mark: U32,
    /// What others' handshakes had come to when the row began …
    others_before: Outcomes,
    /// … and how many of them were good at the last failure that counts.
    others_good: U32,
}

impl Accrual {
    /// Failures in a row that count; 0 where the pod last succeeded.
    #[must_use]
    pub fn failures(&self) -> u16 {
        self.failures.get()
    }

    /// How often the pod was ejected since it last succeeded.
    #[must_use]
    pub const fn ejections(&self) -> u8 {
        self.ejections
    }

    /// Whether one of them was a WebSocket that was ended at once, so that to open one proves nothing.
    #[must_use]
    pub const fn has_cuts(&self) -> bool {
        self.has_cuts != 0
    }

    /// Until when the pod is left out; [`Timestamp::NEVER`] where it is not ejected.
    #[must_use]
    pub fn ejected_until(&self) -> Timestamp {
        self.ejected_until.into()
    }

    /// What others' handshakes came to since the row began, of which they have come to `others`
    /// until now.
    pub(crate) fn meanwhile(&self, others: Outcomes) -> Meanwhile {
        let since = others.without(self.others_before);
        Meanwhile {
            good: grown(since.good.get()),
            bad: grown(since.bad.get()),
        }
    }

    /// How many of the WebSockets that were opened in this row were not ended at once, of `opened`
    /// on the pod until now.
    pub(crate) fn alive(&self, opened: u32) -> u32 {
        grown(opened.wrapping_sub(self.opened_before.get())).saturating_sub(self.cut.get())
    }

    /// Whether one that was opened in this row has lived for [`PROVEN`] at `now`.
    pub(crate) fn is_disproved(&self, now: Timestamp) -> bool {
        let marked_at = Timestamp::from(self.marked_at);
        let proven = if now.since(marked_at) >= PROVEN {
            self.opened_at_mark
        } else {
            self.opened_at_earlier_mark
        };
        self.failures() > 0 && self.alive(proven.get()) > 0
    }

    /// Forgets the row if a success [disproves](Self::is_disproved) it.
    pub(crate) fn settle(&mut self, now: Timestamp) {
        if self.is_disproved(now) {
            self.clear();
        }
    }

    /// Forgets the row.
    pub(crate) fn clear(&mut self) {
        *self = Self::new_zeroed();
    }

    /// So many WebSockets are opened by `at` on the pod, where `opened` were opened before.
    pub(crate) fn open(&mut self, at: Timestamp, opened: u32, websockets: u32) {
        if self.failures() == 0 {
            return;
        }
        if at < self.since.into() {
            // They are heard of only now, and no part of the row: nor is it that they are ended.
            let before = self.opened_before.get().wrapping_add(websockets);
            self.opened_before.set(before);
            return;
        }
        self.settle(at);
        if at.since(self.marked_at.into()) >= PROVEN {
            self.opened_at_earlier_mark = self.opened_at_mark;
        } else if self.alive(self.opened_at_mark.get()) > 0 {
            // A mark that moved with each of many would prove none of them.
            return;
        }
        self.opened_at_mark.set(opened.wrapping_add(websockets));
        self.marked_at = at.into();
    }

    /// A WebSocket that was opened at `opened_at` was ended at once.
    pub(crate) fn cut(&mut self, opened_at: Timestamp) {
        if self.failures() > 0 && opened_at >= self.since.into() {
            self.cut.set(self.cut.get().saturating_add(1));
        }
    }

    /// Whether a WebSocket that was ended at once at `at`, and whose handshake was sent on at `began_at`,
    /// is more than one of many that end together: it came after another such end.
    pub(crate) fn repeats_cut(&mut self, began_at: Timestamp, at: Timestamp) -> bool {
        let first_cut_at = Timestamp::from(self.first_cut_at);
        if !first_cut_at.happened() {
            self.first_cut_at = at.into();
        }
        first_cut_at.happened() && began_at >= first_cut_at
    }

    /// A handshake has failed at `at` that was sent at `began_at`, when `opened` WebSockets had been
    /// opened on the pod, and others' handshakes had come to `others`. Whether it counts.
    ///
    /// The first begins a row. Later ones count if they were sent after that, so that it was left to
    /// chance that they came here; and if others have succeeded since the last one, so that a moment
    /// in which everything fails counts once.
    pub(crate) fn fail(
        &mut self,
        began_at: Timestamp,
        at: Timestamp,
        opened: u32,
        others: Outcomes,
    ) -> bool {
        self.settle(at);
        if self.failures() == 0 {
            *self = Self {
                failures: U16::new(1),
                since: at.into(),
                opened_before: U32::new(opened),
                marked_at: at.into(),
                opened_at_mark: U32::new(opened),
                opened_at_earlier_mark: U32::new(opened),
                others_before: others,
                others_good: others.good,
                first_cut_at: self.first_cut_at,
                ..Self::new_zeroed()
            };
            return true;
        }
        let earliest = self.ejected_until().max(self.since.into());
        let succeeded = grown(others.good.get().wrapping_sub(self.others_good.get()));
        let counts = began_at >= earliest && succeeded > 0;
        if counts {
            self.failures.set(self.failures.get().saturating_add(1));
            self.others_good = others.good;
        }
        counts
    }

    /// The last failure was a WebSocket that was ended at once.
    pub(crate) const fn note_cut(&mut self) {
        self.has_cuts = 1;
    }

    /// The pod is left out until then.
    pub(crate) fn eject(&mut self, until: Timestamp) {
        self.ejections = self.ejections.saturating_add(1);
        self.ejected_until = until.into();
    }
}

/// By how much a counter has grown; none where it has shrunk.
const fn grown(difference: u32) -> u32 {
    if difference > u32::MAX / 2 {
        0
    } else {
        difference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::NEVER.plus(Duration::from_millis(millis))
    }

    /// Others that succeed all the time, and the failure at `millis` of a handshake that was sent
    /// `took` earlier.
    fn fail(accrual: &mut Accrual, millis: u64, took: u64) -> bool {
        let good = u32::try_from(millis).unwrap();
        accrual.fail(at(millis - took), at(millis), 0, Outcomes::new(good, 0))
    }

    #[test]
    fn failures_count_that_were_sent_after_the_first() {
        let mut accrual = Accrual::new_zeroed();
        assert!(fail(&mut accrual, 1_000, 10));
        for millis in 1_001..1_050 {
            assert!(!fail(&mut accrual, millis, 100), "it was under way by then");
        }
        assert!(fail(&mut accrual, 1_100, 10));
        assert_eq!(accrual.failures(), 2);
    }

    #[test]
    fn a_moment_in_which_everything_fails_counts_once() {
        let mut accrual = Accrual::new_zeroed();
        for millis in 1_000..1_100 {
            accrual.fail(at(millis), at(millis), 0, Outcomes::new(7, 0));
        }
        assert_eq!(accrual.failures(), 1);
        assert!(accrual.fail(at(2_000), at(2_000), 0, Outcomes::new(8, 3)));
        let meanwhile = accrual.meanwhile(Outcomes::new(9, 5));
        assert_eq!(meanwhile, Meanwhile { good: 2, bad: 5 });
    }

    #[test]
    fn many_websockets_that_end_together_are_no_row() {
        let mut accrual = Accrual::new_zeroed();
        for millis in 1_000..1_100 {
            assert!(!accrual.repeats_cut(at(900), at(millis)));
        }
        assert!(accrual.repeats_cut(at(1_050), at(1_200)));
    }

    #[test]
    fn a_websocket_that_lives_ends_the_row() {
        let mut accrual = Accrual::new_zeroed();
        fail(&mut accrual, 1_000, 1);
        accrual.open(at(1_500), 0, 1);
        assert_eq!(accrual.alive(1), 1);
        assert!(!accrual.is_disproved(at(2_499)));
        assert!(accrual.is_disproved(at(2_500)));
        accrual.settle(at(2_500));
        assert_eq!(accrual.failures(), 0);
    }

    /// Nor is it said to be ended, where it was.
    #[test]
    fn a_websocket_from_before_the_row_that_is_heard_of_later_proves_nothing() {
        let mut accrual = Accrual::new_zeroed();
        fail(&mut accrual, 1_000, 1);
        accrual.open(at(999), 0, 1);
        accrual.cut(at(999));
        assert!(!accrual.is_disproved(at(9_000)));
        accrual.open(at(1_500), 1, 1);
        assert!(accrual.is_disproved(at(2_500)));
    }

    #[test]
    fn of_many_that_come_and_are_cut_none_proves_anything() {
        let mut accrual = Accrual::new_zeroed();
        fail(&mut accrual, 1_000, 1);
        let mut opened = 0;
        for millis in (1_010..9_000).step_by(20) {
            accrual.open(at(millis), opened, 1);
            opened += 1;
            assert!(!accrual.is_disproved(at(millis + 9)), "{millis}");
            accrual.cut(at(millis));
        }
        assert_eq!(accrual.alive(opened), 0);
    }

    #[test]
    fn one_that_lives_among_many_that_come_is_seen() {
        let mut accrual = Accrual::new_zeroed();
        fail(&mut accrual, 1_000, 1);
        for (opened, millis) in (0..).zip((1_100..2_100).step_by(100)) {
            accrual.open(at(millis), opened, 1);
        }
        assert!(accrual.is_disproved(at(2_100)));
    }
}
