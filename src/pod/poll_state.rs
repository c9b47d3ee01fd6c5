//! A question that is asked again and again: when it is due, whether its answer may still come,
//! and how it went. It is part of records in shared data, so it has a fixed layout.
//!
//! An answer is known by the moment at which its question was asked. Nobody waits for the answer
//! to an earlier question, or for a second one to the same question.

use std::time::Duration;

use zerocopy::native_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::clock::Timestamp;

/// How far asking one such question has got.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PollState {
    /// When it was asked; [`Timestamp::NEVER`] once the answer is in.
    asked_at: U64,
    /// When it is to be asked next.
    due_at: U64,
    /// When the question was asked whose answer was good; [`Timestamp::NEVER`] before the first.
    succeeded_at: U64,
    /// Why the last answer was bad, as a number; zero where it was good.
    failure: U16,
    failures_in_a_row: U32,
}

impl PollState {
    /// When it is to be asked next; [`Timestamp::NEVER`] where it has not been asked yet.
    #[must_use]
    pub fn due_at(&self) -> Timestamp {
        self.due_at.into()
    }

    /// When the question was asked that brought the last good answer.
    #[must_use]
    pub fn succeeded_at(&self) -> Timestamp {
        self.succeeded_at.into()
    }

    /// Whether an answer may come.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        Timestamp::from(self.asked_at).happened()
    }

    /// When the question was asked that is under way, or else the last whose answer was good.
    #[must_use]
    pub fn last_asked_at(&self) -> Timestamp {
        self.succeeded_at().max(self.asked_at.into())
    }

    /// The code of why the last answer was bad; zero where it was good, or where there is none.
    #[must_use]
    pub fn failure(&self) -> u16 {
        self.failure.get()
    }

    /// Bad answers since the last good one.
    #[must_use]
    pub fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row.get()
    }

    /// Whether it is to be asked at `now`. It is due at its time, but not while an answer may come
    /// to a question that was asked less than `patience` ago; and it has been due for `overdue`.
    #[must_use]
    pub fn is_due(&self, now: Timestamp, overdue: Duration, patience: Duration) -> bool {
        let asked_at = Timestamp::from(self.asked_at);
        let given_up_at = if asked_at.happened() {
            asked_at.plus(patience)
        } else {
            Timestamp::NEVER
        };
        self.due_at().max(given_up_at).plus(overdue) <= now
    }

    /// Notes that it is asked at `now`, and when it will be again.
    pub fn ask(&mut self, now: Timestamp, next: Timestamp) {
        self.asked_at = now.into();
        self.due_at = next.into();
    }

    /// Whether an answer to the question asked at `asked_at` is still waited for.
    #[must_use]
    pub fn awaits(&self, asked_at: Timestamp) -> bool {
        asked_at.happened() && self.asked_at.get() == asked_at.as_nanos()
    }

    /// It is to be asked at `due_at` at the soonest.
    pub fn postpone(&mut self, due_at: Timestamp) {
        self.due_at = self.due_at().max(due_at).into();
    }

    /// It is due, as if it had never been asked: nothing is waited for, and nothing has failed. When
    /// the last good answer came is still known.
    pub fn renew(&mut self) {
        *self = Self {
            succeeded_at: self.succeeded_at,
            ..Self::new_zeroed()
        };
    }

    /// The answer to a question that was asked before its time is in, and bad: that does not count
    /// among the failures in a row, for it could as well have been asked later.
    pub fn settle_early(&mut self, failure: u16) {
        self.asked_at = Timestamp::NEVER.into();
        self.failure.set(failure);
    }

    /// The answer to the question asked at `asked_at` is in: good, or bad for the reason that
    /// `failure` stands for.
    pub fn settle(&mut self, asked_at: Timestamp, failure: Option<u16>) {
        self.asked_at = Timestamp::NEVER.into();
        self.failure.set(failure.unwrap_or(0));
        if failure.is_some() {
            let failures = self.failures_in_a_row.get().saturating_add(1);
            self.failures_in_a_row.set(failures);
        } else {
            self.failures_in_a_row.set(0);
            self.succeeded_at = asked_at.into();
        }
    }
}
