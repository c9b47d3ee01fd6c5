//! What one worker does for the warnings of a service: it notes what it sees, and where it is the
//! one that polls, it judges.
//!
//! Where nothing is wrong, an upgrade costs a look at a cell of this worker's own, and no call.

use std::cell::Cell;

use crate::clock::Timestamp;
use crate::config::ServiceConfig;
use crate::host::SharedData;
use crate::pod::Usage;
use crate::table::{self, BEAT};
use crate::warning::{Changes, Findings, Judge, Key, Mismatch, Sighting};

/// A worker notes so many upgrades in a second, of those that went right and those that did not:
/// enough to see which are more.
const NOTES: u32 = 20;

/// One worker's part in the warnings of a service.
pub struct Lookout {
    key: Key,
    looked_at: Cell<Timestamp>,
    /// Whether an upgrade that goes right is news.
    is_in_question: Cell<bool>,
    /// Whether an upgrade that is retried is news.
    is_unretried: Cell<bool>,
    /// How many upgrades it may still note in this second.
    notes: Cell<u32>,
    seen_second_at: Cell<Timestamp>,
    usage: Cell<Option<Usage>>,
}

impl Lookout {
    /// That of a service.
    #[must_use]
    pub fn of(config: &ServiceConfig) -> Self {
        Self {
            key: Key::of(&table::key(config)),
            looked_at: Cell::default(),
            is_in_question: Cell::default(),
            is_unretried: Cell::default(),
            notes: Cell::new(NOTES),
            seen_second_at: Cell::default(),
            usage: Cell::default(),
        }
    }

    /// An upgrade went to the chosen pod.
    pub fn obeyed(&self, data: &impl SharedData) {
        if self.is_in_question.get() && self.may_note() {
            self.note(data, |findings| findings.steering.obeyed());
        }
    }

    /// An upgrade went elsewhere.
    pub fn disobeyed(&self, data: &impl SharedData, mismatch: impl FnOnce() -> Mismatch) {
        if self.may_note() {
            let mismatch = mismatch();
            self.note(data, |findings| {
                findings.steering.disobeyed(mismatch.clone());
            });
        }
    }

    /// A refused connection ended an upgrade, though other pods were named.
    pub fn unretried(&self, data: &impl SharedData, pod: &str) {
        if !self.is_unretried.get() {
            self.note(data, |findings| findings.unretried = Some(pod.to_owned()));
        }
    }

    /// Envoy has tried another pod.
    pub fn retried(&self, data: &impl SharedData) {
        if self.is_unretried.get() {
            self.note(data, |findings| findings.unretried = None);
        }
    }

    /// Another filter of this kind has chosen for an upgrade of the service, which has opened so many.
    pub fn second(&self, data: &impl SharedData, now: Timestamp, opened: impl FnOnce() -> u64) {
        let seen_at = self.seen_second_at.get();
        if seen_at.happened() && now.since(seen_at) < BEAT {
            return;
        }
        self.seen_second_at.set(now);
        let opened = opened();
        let at = now.as_nanos();
        self.note(data, |findings| {
            findings.second = Some(Sighting { at, opened });
        });
    }

    /// WebSockets go to this cluster, which is no service's.
    pub fn passed_by(&self, data: &impl SharedData, cluster: &str) {
        self.note(data, |findings| {
            findings.passed_by = Some(cluster.to_owned());
        });
    }

    /// Envoy has listed the cluster's hosts.
    pub fn used(&self, usage: Usage) {
        self.usage.set(Some(usage));
    }

    /// How far the cluster is from its limits, where this worker has seen a list.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.usage.get()
    }

    /// Looks what the workers have found, about once a second, and where there is a `judge` has it
    /// judge; what there is to log of that.
    pub fn look(
        &self,
        data: &impl SharedData,
        judge: Option<&Judge<'_>>,
        now: Timestamp,
    ) -> Changes {
        if now.since(self.looked_at.get()) < BEAT {
            return Changes::default();
        }
        self.looked_at.set(now);
        self.notes.set(NOTES);
        if let Some(judge) = judge {
            // Under contention the next second does it.
            let changes = self.note(data, |findings| judge.judge(findings));
            return changes.unwrap_or_default();
        }
        self.learn(&self.key.read(data));
        Changes::default()
    }

    fn may_note(&self) -> bool {
        let left = self.notes.get();
        self.notes.set(left.saturating_sub(1));
        left > 0
    }

    fn note<T>(
        &self,
        data: &impl SharedData,
        mut change: impl FnMut(&mut Findings) -> T,
    ) -> Option<T> {
        self.key.update(data, |findings| {
            let result = change(findings);
            self.learn(findings);
            result
        })
    }

    fn learn(&self, findings: &Findings) {
        self.is_in_question.set(findings.steering.is_in_question());
        self.is_unretried.set(findings.unretried.is_some());
    }
}
