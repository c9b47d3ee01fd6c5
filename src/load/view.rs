//! How records look at a moment: how many WebSockets each pod should hold by then.

use super::fleet::Fleet;
use crate::clock::Timestamp;
use crate::config::Rules;
use crate::num::approximate_signed;
use crate::pod::PodRecord;

/// A look at the records of a service's pods, at a moment and by the service's rules.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The moment.
    pub now: Timestamp,
    /// The rules.
    pub rules: Rules,
    /// See [`Fleet::ratio`].
    pub ratio: f64,
    /// See [`Fleet::connections_for_each_own`].
    pub connections_for_each_own: f64,
}

impl View {
    /// The view at `now`, by what is known of the fleet.
    #[must_use]
    pub fn new(rules: Rules, fleet: &Fleet, now: Timestamp) -> Self {
        Self {
            now,
            rules,
            ratio: fleet.ratio(),
            connections_for_each_own: fleet.connections_for_each_own(),
        }
    }

    /// See [`PodRecord::held_and_change`].
    fn held_and_change(&self, pod: &PodRecord) -> (f64, f64) {
        let (held, change) = pod.held_and_change(self.connections_for_each_own);
        (held, approximate_signed(change))
    }

    /// For how many changes each of this gateway's on the pod stands since its last count. All
    /// gateways have the same reports and do the same after them; a count that came with a handshake
    /// this one has alone, and soon has the next.
    fn ratio_since_count(&self, pod: &PodRecord) -> f64 {
        if pod.is_counted_by_handshake() {
            1.0
        } else {
            self.ratio
        }
    }

    /// WebSockets that the pod should hold by now: its last count, and what this gateway opened
    /// and closed on it since and has on its way to it. After a report that stands for the whole
    /// [fleet](super::fleet), after a handshake for itself. At least 0.
    ///
    /// While a poll was under way nobody knows whether the pod counted what happened meanwhile,
    /// unless this gateway's own books explain all of the count. What was opened is added on top of
    /// the report and what was closed is not subtracted, so that the estimate errs towards too many,
    /// by no more than happens during one poll.
    #[must_use]
    pub fn estimate(&self, pod: &PodRecord) -> f64 {
        let (held, change) = self.held_and_change(pod);
        (held + self.ratio_since_count(pod) * change).max(0.0)
    }

    /// The estimate that errs towards too few instead: what happened during the last poll was
    /// closed after the pod counted, and opened before.
    #[must_use]
    pub fn estimate_at_least(&self, pod: &PodRecord) -> f64 {
        let doubtful = f64::from(pod.doubtful_changes());
        (self.estimate(pod) - self.ratio * doubtful).max(0.0)
    }

    /// WebSockets that are on the pod by its last report, by what this gateway did since and has on
    /// its way, and at the rate at which others were lately seen to add to it; at least 0. Whether a
    /// pod is full goes by this: nobody is refused for what others may have done.
    #[must_use]
    pub fn occupancy(&self, pod: &PodRecord) -> f64 {
        let (held, change) = self.held_and_change(pod);
        let known = held + change;
        let elapsed = self.now.since(pod.last_counted_at());
        (known + pod.others_rate() * elapsed.as_secs_f64()).max(0.0)
    }

    /// The estimate with one more WebSocket of this gateway's, for each unit of weight: the pod
    /// that has least of it gets the next.
    #[must_use]
    pub fn load_with_one_more(&self, pod: &PodRecord) -> f64 {
        (self.estimate(pod) + self.ratio) / pod.weight()
    }

    /// The part of what it would be given that the pod gets; none where that is all of it.
    #[must_use]
    pub fn slow_start(&self, pod: &PodRecord) -> Option<f64> {
        let slow_start = self.rules.slow_start.as_ref()?;
        let started_at = pod.started_at();
        if !started_at.happened() {
            return None;
        }
        slow_start.factor(self.now.since(started_at))
    }
}
