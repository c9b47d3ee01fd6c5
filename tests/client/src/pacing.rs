//! When each connection is due.
//!
//! The moments are fixed by the start and the rate alone: an opener that was held up for a
//! while finds the next connections overdue and catches up, so the mean rate holds.

use std::num::NonZeroU32;
use std::time::Duration;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// How long after the start the connection number `index`, counted from 0, is due.
///
/// `rate` is in connections per second; without one all are due at once.
pub(crate) fn due(index: u32, rate: Option<NonZeroU32>) -> Duration {
    rate.map_or(Duration::ZERO, |rate| {
        // At most 2^32 seconds in nanoseconds: below 2^62.
        Duration::from_nanos(u64::from(index) * NANOS_PER_SECOND / u64::from(rate.get()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_evenly_spaced_without_drift() {
        let rate = NonZeroU32::new(3);
        assert_eq!(due(0, rate), Duration::ZERO);
        assert_eq!(due(1, rate), Duration::from_nanos(333_333_333));
        // A third of a second is no whole number of nanoseconds, yet the error never adds up.
        assert_eq!(due(3, rate), Duration::from_secs(1));
        assert_eq!(due(3_000_000, rate), Duration::from_secs(1_000_000));
    }

    #[test]
    fn the_slowest_rate_reaches_the_last_connection() {
        assert_eq!(
            due(u32::MAX, NonZeroU32::new(1)),
            Duration::from_secs(u64::from(u32::MAX))
        );
    }

    #[test]
    fn without_a_rate_all_are_due_at_once() {
        assert_eq!(due(u32::MAX, None), Duration::ZERO);
    }
}
