//! What one worker does for the warnings of a service: it notes what it sees, and where it is the
//! one that polls, it judges.

use std::cell::Cell;

use crate::clock::Timestamp;
use crate::config::ServiceConfig;
use crate::host::SharedData;
use crate::table::{self, BEAT};
use crate::warning::{Judge, Key, Verdict};

/// One worker's part in the warnings of a service.
pub struct Lookout {
    key: Key,
    looked_at: Cell<Timestamp>,
}

impl Lookout {
    /// That of a service.
    #[must_use]
    pub fn of(config: &ServiceConfig) -> Self {
        Self {
            key: Key::of(&table::key(config)),
            looked_at: Cell::default(),
        }
    }

    /// Judges, about once a second; what there is to log of it.
    pub fn judge(&self, data: &impl SharedData, judge: &Judge<'_>, now: Timestamp) -> Verdict {
        if now.since(self.looked_at.get()) < BEAT {
            return Verdict::default();
        }
        self.looked_at.set(now);
        // Under contention the next second does it.
        let verdict = self.key.update(data, |findings| judge.judge(findings));
        verdict.unwrap_or_default()
    }
}
