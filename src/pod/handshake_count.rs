//! The count that a pod told with its last answer to a handshake, after its last report.
//!
//! It comes with no question of the filter's, so it is of the moment at which the answer arrives: what
//! this gateway knew to be open by then is in it, as far as the pod's answers came one after the
//! other. Of what is on its way to the pod it may have some or all, the WebSocket that the answer opens
//! first of all: some pods count it by then, and others do not. Between these two the estimate stays as
//! near as it can to what it was. So a gateway that is alone goes by its own books, and where others
//! were there it can't be wrong by more than what is on its way.
//!
//! It says nothing of the fleet: what others did is learnt from reports, which are of one moment for
//! all pods. Nor does it say whether the pod is well.

use zerocopy::native_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::clock::Timestamp;

/// A count, and what this gateway had done on the pod by then, in counters that may wrap.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Count {
    pub(super) connections: U64,
    pub(super) opened: U32,
    pub(super) sessions: U32,
    pub(super) closed: U32,
    /// Opens that the count has already, for all that they were not known then.
    pub(super) counted_early: U32,
}

/// The count of the last handshake since the last report, if there was one.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct HandshakeCount {
    /// When it came; [`Timestamp::NEVER`] where there was none.
    at: U64,
    count: Count,
}

impl HandshakeCount {
    pub(super) fn new(count: Count, at: Timestamp) -> Self {
        Self {
            at: at.into(),
            count,
        }
    }

    /// When it came, and what it is; none where there was none.
    pub(super) fn get(&self) -> Option<(Timestamp, &Count)> {
        let at = Timestamp::from(self.at);
        at.happened().then_some((at, &self.count))
    }

    /// A report has come since.
    pub(super) fn clear(&mut self) {
        *self = Self::new_zeroed();
    }
}

/// How many of the `in_flight` WebSockets on their way to a pod a count has, where without any of them
/// the pod should have `expected`: as many as it takes to be as near to that as can be.
pub(super) fn counted_early(counted: u64, expected: u64, in_flight: u32) -> u32 {
    let beyond = counted.saturating_sub(expected);
    u32::try_from(beyond).unwrap_or(u32::MAX).min(in_flight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_explains_what_it_can() {
        for (counted, expected, in_flight, early) in [
            (100, 100, 1, 0),
            (101, 100, 1, 1),
            (101, 100, 3, 1),
            (150, 100, 3, 3),
            (90, 100, 3, 0),
            (u64::MAX, 0, 3, 3),
            (0, u64::MAX, 3, 0),
        ] {
            assert_eq!(counted_early(counted, expected, in_flight), early);
        }
    }
}
