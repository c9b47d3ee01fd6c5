//! How many lines one worker may log, so that a bad day does not fill a disk.
//!
//! Lines of `info` and above tell of changes, of which a healthy day has a handful. The lines of
//! `debug` tell of every WebSocket and every poll: whoever switches them on wants them, but not
//! for ever.

use std::cell::Cell;
use std::time::Duration;

use log::Level;

use crate::clock::Timestamp;

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is written, after so many that were not.
    Write {
        /// Lines of the same kind that were left out since the last that was written.
        left_out: u64,
    },
    /// It is left out.
    LeaveOut,
}

/// Both budgets of a worker.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    changes: Bucket,
    details: Bucket,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

impl Budget {
    /// Full budgets.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            changes: Bucket::new(200, 10),
            details: Bucket::new(20_000, 200),
        }
    }

    /// What becomes of a line of `level` at `now`. Errors are always written.
    pub fn spend(&mut self, level: Level, now: Timestamp) -> Verdict {
        match level {
            Level::Error => Verdict::Write { left_out: 0 },
            Level::Warn | Level::Info => self.changes.spend(now),
            Level::Debug | Level::Trace => self.details.spend(now),
        }
    }
}

/// A line that any client can cause, as often as it likes: it is written rarely, so that it leaves the
/// budget to the others.
#[derive(Debug, Default)]
pub struct RareLine {
    written_at: Cell<Timestamp>,
    left_out: Cell<u64>,
}

/// The shortest time between two such lines.
const RARE: Duration = Duration::from_secs(60);

impl RareLine {
    /// Whether the line is to be written at `now`: then, how many like it were not since the last.
    #[must_use]
    pub fn take(&self, now: Timestamp) -> Option<u64> {
        let written_at = self.written_at.get();
        if written_at.happened() && now.since(written_at) < RARE {
            self.left_out.set(self.left_out.get().saturating_add(1));
            return None;
        }
        self.written_at.set(now);
        Some(self.left_out.take())
    }
}

/// A token bucket.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    most: u64,
    per_second: u64,
    lines: u64,
    filled_at: Timestamp,
    left_out: u64,
}

impl Bucket {
    const fn new(most: u64, per_second: u64) -> Self {
        Self {
            most,
            per_second,
            lines: most,
            filled_at: Timestamp::NEVER,
            left_out: 0,
        }
    }

    fn spend(&mut self, now: Timestamp) -> Verdict {
        let millis = u64::try_from(now.since(self.filled_at).as_millis()).unwrap_or(u64::MAX);
        let earned = millis.saturating_mul(self.per_second) / 1_000;
        if earned > 0 {
            self.lines = self.lines.saturating_add(earned).min(self.most);
            self.filled_at = now;
        }
        let Some(lines) = self.lines.checked_sub(1) else {
            self.left_out = self.left_out.saturating_add(1);
            return Verdict::LeaveOut;
        };
        self.lines = lines;
        Verdict::Write {
            left_out: std::mem::take(&mut self.left_out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_nanos(1_000_000_000);

    #[test]
    fn a_storm_of_lines_is_cut_short_and_counted() {
        let mut budget = Budget::new();
        let written = (0..1_000)
            .filter(|_| budget.spend(Level::Warn, START) != Verdict::LeaveOut)
            .count();
        assert_eq!(written, 200);
        let later = START.plus(Duration::from_millis(100));
        let verdict = budget.spend(Level::Info, later);
        assert_eq!(verdict, Verdict::Write { left_out: 800 });
        assert_eq!(budget.spend(Level::Info, later), Verdict::LeaveOut);
    }

    #[test]
    fn details_do_not_cost_changes_and_errors_cost_nothing() {
        let mut budget = Budget::new();
        while budget.spend(Level::Debug, START) != Verdict::LeaveOut {}
        while budget.spend(Level::Warn, START) != Verdict::LeaveOut {}
        let error = budget.spend(Level::Error, START);
        assert_eq!(error, Verdict::Write { left_out: 0 });
    }

    #[test]
    fn what_clients_cause_is_written_once_a_minute() {
        let line = RareLine::default();
        assert_eq!(line.take(START), Some(0));
        for _ in 0..1_000 {
            assert_eq!(line.take(START.plus(Duration::from_secs(59))), None);
        }
        assert_eq!(line.take(START.plus(Duration::from_secs(60))), Some(1_000));
    }

    #[test]
    fn slow_lines_are_all_written() {
        let mut budget = Budget::new();
        let mut now = START;
        for _ in 0..10_000 {
            now = now.plus(Duration::from_millis(101));
            assert_eq!(
                budget.spend(Level::Info, now),
                Verdict::Write { left_out: 0 }
            );
        }
    }
}
