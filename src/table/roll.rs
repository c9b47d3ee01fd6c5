//! Which workers share a table, and when each last gave a sign of life.
//!
//! A VM that traps ends without a word: what it had open or on its way is counted in the table, and
//! nobody would ever take it out again. So each worker keeps a [ledger](super::Ledger) of its own
//! and signs the roll about once a second. One that has not signed for its [lease](lease) is struck
//! off, and then all others count anew: each adds what is in its ledger, once, with its next change.
//! What nobody has added when all on the roll have done so is lost, and leaves the counts.
//!
//! One whose end is in order has nothing by then, and signs off: nobody takes it for lost.
//!
//! Envoy tries each configuration on a VM that it throws away, without a word and before the first tick.
//! That one signs like all others, and but once: who has never signed again is struck off, and is not
//! lost.
//!
//! A worker that was only held up takes part later, with the first change that it makes, and what it
//! has is back. So nothing is written for this when a WebSocket opens or ends.
//!
//! Pure: the bytes of a shared value of its own, beside the table, so that a sign of life copies
//! a few bytes a worker.

use std::time::Duration;

use zerocopy::native_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::clock::Timestamp;

/// How often a worker signs.
pub const BEAT: Duration = Duration::from_secs(1);
/// The shortest lease.
const SHORTEST_LEASE: Duration = Duration::from_secs(10);
/// So many are on a roll at most. Those above it are never taken for lost.
const MOST: usize = 1_024;

/// How long a worker may give no sign of life where pods are asked every `interval`.
#[must_use]
pub fn lease(interval: Duration) -> Duration {
    interval.saturating_mul(2).max(SHORTEST_LEASE)
}

/// Under what name the roll of a table is shared, whose own name is `table_key`.
#[must_use]
pub fn roll_key(table_key: &str) -> String {
    format!("{table_key}/roll")
}

/// The workers that share a table.
#[derive(Clone, Debug, Default)]
pub struct Roll(Vec<Entry>);

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Entry {
    worker: U64,
    /// When it last signed.
    signed_at: U64,
    /// The number of the last recount that it took part in.
    recount: U32,
    /// How often it has signed.
    signatures: U32,
}

/// Who was struck off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StruckOff {
    /// How many.
    pub workers: usize,
    /// How many of them had more than begun.
    pub lost: usize,
}

impl StruckOff {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            workers: self.workers.saturating_add(other.workers),
            lost: self.lost.saturating_add(other.lost),
        }
    }
}

impl Entry {
    fn is_present(&self, now: Timestamp, lease: Duration) -> bool {
        now.since(self.signed_at.into()) <= lease
    }

    /// Whether it has more than begun.
    const fn has_ticked(&self) -> bool {
        self.signatures.get() > 1
    }
}

impl Roll {
    /// The roll in a shared value; empty where the value is none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let entries = <[Entry]>::ref_from_bytes(bytes).unwrap_or_default();
        Self(entries.to_vec())
    }

    /// The roll as a shared value.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Signs for `worker`, which last took part in the recount of this number.
    pub fn sign(&mut self, worker: u64, now: Timestamp, recount: u32) {
        let entry = Entry {
            worker: worker.into(),
            signed_at: now.into(),
            recount: recount.into(),
            signatures: 1.into(),
        };
        let mut known = self.0.iter_mut();
        if let Some(known) = known.find(|known| known.worker == entry.worker) {
            let signatures = known.signatures.get().saturating_add(1).into();
            *known = Entry {
                signatures,
                ..entry
            };
        } else if self.0.len() < MOST {
            self.0.push(entry);
        }
    }

    /// How many have more than begun, and signed within `lease`.
    #[must_use]
    pub fn present(&self, now: Timestamp, lease: Duration) -> usize {
        self.0
            .iter()
            .filter(|entry| entry.has_ticked() && entry.is_present(now, lease))
            .count()
    }

    /// Strikes off those who have not signed within `lease`.
    pub fn strike_off(&mut self, now: Timestamp, lease: Duration) -> StruckOff {
        let is_absent = |entry: &&Entry| !entry.is_present(now, lease);
        let absent = self.0.iter().filter(is_absent);
        let struck_off = StruckOff {
            workers: absent.clone().count(),
            lost: absent.filter(|entry| entry.has_ticked()).count(),
        };
        self.0.retain(|entry| entry.is_present(now, lease));
        struck_off
    }

    /// Takes `worker` off, whose end is in order; whether it was on it.
    pub fn sign_off(&mut self, worker: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|entry| entry.worker.get() != worker);
        self.0.len() < before
    }

    /// How many are on it.
    #[must_use]
    pub fn workers(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Whether all have taken part in the recount of this number.
    #[must_use]
    pub fn is_complete(&self, recount: u32) -> bool {
        self.0.iter().all(|entry| entry.recount.get() == recount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::NOW;

    const LEASE: Duration = Duration::from_secs(10);

    #[test]
    fn who_does_not_sign_is_struck_off_after_its_lease() {
        let mut roll = Roll::default();
        for worker in [1, 2, 2, 3] {
            roll.sign(worker, NOW, 0);
        }
        assert_eq!(roll.present(NOW, LEASE), 1, "others have but begun");
        let later = NOW.plus(LEASE);
        roll.sign(1, later, 0);
        assert_eq!(roll.strike_off(later, LEASE), StruckOff::default());
        let mut roll = Roll::from_bytes(roll.as_bytes());
        assert_eq!(roll.present(later, LEASE), 2);
        let after = later.plus(Duration::from_nanos(1));
        assert_eq!(roll.present(after, LEASE), 1);
        let struck_off = roll.strike_off(after, LEASE);
        assert_eq!((struck_off.workers, struck_off.lost), (2, 1));
        assert_eq!(roll.strike_off(after, LEASE).workers, 0, "once");
    }

    #[test]
    fn a_recount_is_complete_when_all_have_signed_for_it() {
        let mut roll = Roll::default();
        roll.sign(1, NOW, 0);
        roll.sign(2, NOW, 0);
        assert!(!roll.is_complete(1));
        roll.sign(1, NOW, 1);
        assert!(!roll.is_complete(1));
        roll.sign(2, NOW, 1);
        assert!(roll.is_complete(1));
    }

    #[test]
    fn a_roll_is_bounded_and_bytes_that_are_none_are_an_empty_one() {
        let mut roll = Roll::default();
        for worker in 0..5_000 {
            roll.sign(worker, NOW, 0);
        }
        let struck_off = roll.strike_off(NOW.plus(LEASE * 2), LEASE);
        assert_eq!(struck_off.workers, MOST);
        assert!(Roll::from_bytes(b"garbage").is_complete(7));
    }

    #[test]
    fn long_intervals_have_long_leases() {
        assert_eq!(lease(Duration::from_secs(2)), Duration::from_secs(10));
        assert_eq!(lease(Duration::from_secs(30)), Duration::from_secs(60));
        assert_eq!(lease(Duration::MAX), Duration::MAX);
    }
}
