//! What a pod's record means at a moment: how many WebSockets the pod should hold by then, and
//! whether it gets new ones.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::discovery::Exclusion;
use crate::fleet::approximate;
use crate::slow_start::SlowStart;
use crate::table::Pod;

/// By which rules pods are judged.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// A count older than this is stale.
    pub cache_ttl: Duration,
    /// Polls failed in a row that make a pod unhealthy.
    pub unhealthy_threshold: u32,
    /// How a pod is started that has just come up; none lets it have all at once.
    pub slow_start: Option<SlowStart>,
}

/// Whether a pod gets new WebSockets, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It never answered a poll.
    Unknown,
    /// It gets new WebSockets.
    Usable,
    /// It did not accept a connection, and has not answered a poll since.
    Refusing,
    /// Too many polls failed in a row.
    Unhealthy,
    /// Its last count is too old.
    Stale,
    /// It says that it is about to leave.
    Draining,
    /// It holds as many as it says it can.
    Full,
    /// Envoy holds that it should get nothing new.
    Excluded(Exclusion),
}

impl Standing {
    /// A number for the shared table.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Usable => 1,
            Self::Refusing => 2,
            Self::Unhealthy => 3,
            Self::Stale => 4,
            Self::Draining => 5,
            Self::Full => 6,
            Self::Excluded(exclusion) => exclusion.code().saturating_add(Self::Full.code()),
        }
    }

    /// Whether the pod takes part in the balance: its count is good, and it stays.
    #[must_use]
    pub const fn takes_part(self) -> bool {
        matches!(self, Self::Usable | Self::Full)
    }
}

/// The eyes with which a table's pods are seen at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Outlook {
    /// The moment.
    pub now: Timestamp,
    /// The rules.
    pub rules: Rules,
    /// See [`Fleet::ratio`](crate::fleet::Fleet::ratio).
    pub ratio: f64,
}

impl Outlook {
    /// WebSockets that the pod should hold by now: its last count, and what this gateway opened
    /// and closed on it since and has on its way to it, for the whole [fleet](crate::fleet). At
    /// least 0.
    ///
    /// While a poll was under way nobody knows whether the pod counted what happened meanwhile.
    /// What was opened is added on top of the report and what was closed is not subtracted, so
    /// that the estimate errs towards too many, by no more than happens during one poll.
    #[must_use]
    pub fn estimate(&self, pod: &Pod) -> f64 {
        let change = approximate_signed(pod.change());
        (approximate(pod.count()) + self.ratio * change).max(0.0)
    }

    /// The estimate that errs towards too few instead: what happened during the last poll was
    /// closed after the pod counted, and opened before.
    #[must_use]
    pub fn estimate_at_least(&self, pod: &Pod) -> f64 {
        let doubtful = f64::from(pod.doubtful_changes());
        (self.estimate(pod) - self.ratio * doubtful).max(0.0)
    }

    /// The estimate with one more WebSocket of this gateway's, for each unit of weight: the pod
    /// that has least of it gets the next.
    #[must_use]
    pub fn load_with_one_more(&self, pod: &Pod) -> f64 {
        (self.estimate(pod) + self.ratio) / pod.weight()
    }

    /// Whether the pod gets new WebSockets.
    #[must_use]
    pub fn standing(&self, pod: &Pod) -> Standing {
        if let Some(exclusion) = pod.exclusion() {
            return Standing::Excluded(exclusion);
        }
        if let Some(trouble) = self.trouble(pod) {
            return trouble;
        }
        let is_full = |limit| self.estimate(pod) >= approximate(limit);
        if pod.draining() == Some(true) {
            Standing::Draining
        } else if pod.limit().is_some_and(is_full) {
            Standing::Full
        } else {
            Standing::Usable
        }
    }

    /// Why the pod's count can't be trusted; none where it can.
    #[must_use]
    pub fn trouble(&self, pod: &Pod) -> Option<Standing> {
        let counted_at = pod.poll().succeeded_at();
        if pod.has_refused() {
            Some(Standing::Refusing)
        } else if !counted_at.happened() {
            Some(Standing::Unknown)
        } else if pod.poll().failures_in_a_row() >= self.rules.unhealthy_threshold {
            Some(Standing::Unhealthy)
        } else if self.now.since(counted_at) > self.rules.cache_ttl {
            Some(Standing::Stale)
        } else {
            None
        }
    }

    /// Why the pod's standing is what it is, for people.
    #[must_use]
    pub fn reason(&self, pod: &Pod) -> String {
        match self.standing(pod) {
            Standing::Unknown => "it has yet to answer its first poll".to_owned(),
            Standing::Usable => match self.slow_start(pod) {
                Some(factor) => format!(
                    "it has just come up, and gets {:.0} % of what it would be given",
                    factor * 100.0
                ),
                None => "it gets new WebSockets".to_owned(),
            },
            Standing::Refusing => {
                "it refused a connection; it is left out until it answers a poll".to_owned()
            }
            Standing::Unhealthy => {
                let failures = pod.poll().failures_in_a_row();
                format!("{failures} polls failed in a row")
            }
            Standing::Stale => "its last count is older than cacheTTL".to_owned(),
            Standing::Draining => "it says that it drains".to_owned(),
            Standing::Full => match pod.limit() {
                Some(limit) => format!("it holds all of the {limit} that it can"),
                None => "it holds all that it can".to_owned(),
            },
            Standing::Excluded(exclusion) => exclusion.to_string(),
        }
    }

    /// The part of what it would be given that the pod gets; none where that is all of it.
    #[must_use]
    pub fn slow_start(&self, pod: &Pod) -> Option<f64> {
        let slow_start = self.rules.slow_start.as_ref()?;
        let started_at = pod.started_at();
        if !started_at.happened() {
            return None;
        }
        slow_start.factor(self.now.since(started_at))
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nobody counts the difference beyond 2^53 connections"
)]
const fn approximate_signed(change: i64) -> f64 {
    change as f64
}
