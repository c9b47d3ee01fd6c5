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
    /// WebSockets that were closed, less those that came since, when one was last closed …
    missing: U32,
    /// … and how many this gateway had opened then.
    opened: U32,
}

impl Progress {
    /// WebSockets that were closed, less those that came since, where this gateway has opened
    /// `opened` by now; the counter may wrap.
    #[must_use]
    pub fn missing(&self, opened: u32) -> u32 {
        let came = opened.wrapping_sub(self.opened.get());
        self.missing.get().saturating_sub(came)
    }

    /// Whether one may be closed at `now`, the next `spacing` later, while less than
    /// `most_missing` are [missing](Self::missing); then it is noted.
    pub(super) fn close_one(
        &mut self,
        now: Timestamp,
        spacing: Duration,
        most_missing: f64,
        opened: u32,
    ) -> bool {
        let missing = self.missing(opened);
        if f64::from(missing) >= most_missing {
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
        self.missing.set(missing.saturating_add(1));
        self.opened.set(opened);
        true
    }
}
