//! Time as the filter knows it: readings of the host's monotonic clock.
//!
//! All workers of an Envoy process read the same clock, so a timestamp that one
//! worker writes into shared data means the same to every other. The wall clock
//! is never asked: it jumps.

use std::time::Duration;

use zerocopy::native_endian::U64;

/// A reading of the monotonic clock, in nanoseconds since an arbitrary start.
///
/// Zero stands for "never"; the host's clock counts from its boot and is past it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment that has never been.
    pub const NEVER: Self = Self(0);

    /// A reading of `nanos` nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whether this is a real reading.
    #[must_use]
    pub const fn happened(self) -> bool {
        self.0 != 0
    }

    /// The moment `span` later; the end of time where that overflows.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    /// The moment `span` earlier; none where that is before the clock's start.
    #[must_use]
    pub fn minus(self, span: Duration) -> Option<Self> {
        self.0.checked_sub(nanos(span)).map(Self)
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// As it is kept in a table.
impl From<Timestamp> for U64 {
    fn from(at: Timestamp) -> Self {
        Self::new(at.0)
    }
}

impl From<U64> for Timestamp {
    fn from(nanos: U64) -> Self {
        Self(nanos.get())
    }
}

/// The n-th part of `span`; nothing where `n` is zero.
#[must_use]
pub fn part(span: Duration, n: u32) -> Duration {
    span.checked_div(n).unwrap_or_default()
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let end = Timestamp::from_nanos(u64::MAX);
        assert_eq!(end.plus(Duration::MAX), end);
        assert_eq!(Timestamp::NEVER.since(end), Duration::ZERO);
        assert_eq!(Timestamp::NEVER.minus(Duration::from_nanos(1)), None);
        assert_eq!(
            end.minus(Duration::from_nanos(u64::MAX)),
            Some(Timestamp::NEVER)
        );
        assert_eq!(
            Timestamp::from_nanos(5).plus(Duration::from_nanos(7)),
            Timestamp::from_nanos(12)
        );
    }
}
