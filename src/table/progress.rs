//! How far rebalancing has got: when the next WebSocket may be closed, and how many are not back.

use std::time::Duration;

use zerocopy::native_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::clock::Timestamp;

/// A worker's timer may come by this late. Closes that were due longer ago are not caught up.
const LATENESS: Duration = Duration::from_millis(500);

/// How far rebalancing has got; part of a service's table.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Progress {
    /// When the next WebSocket may be closed.
    due_at: U64,
    /// WebSockets that were closed, less those that came since.
    missing: U32,
}

impl Progress {
    /// Notes that a WebSocket has come.
    pub(super) fn return_one(&mut self) {
        self.missing.set(self.missing.get().saturating_sub(1));
    }

    /// WebSockets that were closed, less those that came since.
    #[must_use]
    pub fn missing(&self) -> u32 {
        self.missing.get()
    }

    /// Whether one may be closed at `now`, the next `spacing` later, while less than
    /// `most_missing` are missing; then it is noted.
    pub(super) fn close_one(
        &mut self,
        now: Timestamp,
        spacing: Duration,
        most_missing: f64,
    ) -> bool {
        if f64::from(self.missing.get()) >= most_missing {
            return false;
        }
        let due_at = Timestamp::from(self.due_at);
        if due_at > now {
            return false;
        }
        // After a pause it begins anew.
        let start = if now.since(due_at) > LATENESS {
            now
        } else {
            due_at
        };
        self.due_at = start.plus(spacing).into();
        self.missing.set(self.missing.get().saturating_add(1));
        true
    }
}
