//! Whether a pod gets new WebSockets.

use super::view::View;
use crate::num::approximate;
use crate::pod::{Exclusion, PodRecord};

/// Whether a pod gets new WebSockets, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodState {
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
    /// Envoy has something against it.
    Excluded(Exclusion),
}

impl PodState {
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

impl View {
    /// Whether the pod gets new WebSockets.
    #[must_use]
    pub fn state(&self, pod: &PodRecord) -> PodState {
        if let Some(exclusion) = pod.exclusion() {
            return PodState::Excluded(exclusion);
        }
        if let Some(trouble) = self.trouble(pod) {
            return trouble;
        }
        let is_full = |limit| self.occupancy(pod) >= approximate(limit);
        if pod.draining() == Some(true) {
            PodState::Draining
        } else if pod.limit().is_some_and(is_full) {
            PodState::Full
        } else {
            PodState::Usable
        }
    }

    /// Why the pod's count can't be trusted; none where it can.
    #[must_use]
    pub fn trouble(&self, pod: &PodRecord) -> Option<PodState> {
        let counted_at = pod.poll().succeeded_at();
        if pod.has_refused() {
            Some(PodState::Refusing)
        } else if !counted_at.happened() {
            Some(PodState::Unknown)
        } else if pod.poll().failures_in_a_row() >= self.rules.unhealthy_threshold {
            Some(PodState::Unhealthy)
        } else if self.now.since(counted_at) > self.rules.cache_ttl {
            Some(PodState::Stale)
        } else {
            None
        }
    }

    /// Why the pod is in its state, for people.
    #[must_use]
    pub fn reason(&self, pod: &PodRecord) -> String {
        match self.state(pod) {
            PodState::Unknown => "it has yet to answer its first poll".to_owned(),
            PodState::Usable => match self.slow_start(pod) {
                Some(factor) => format!(
                    "it has just come up, and gets {:.0} % of what it would be given",
                    factor * 100.0
                ),
                None if pod.is_implausible() => "it gets new WebSockets, by what this gateway has \
                     open on it: its counts lack some of that"
                    .to_owned(),
                None => "it gets new WebSockets".to_owned(),
            },
            PodState::Refusing => {
                "it refused a connection; it is left out until it answers a poll".to_owned()
            }
            PodState::Unhealthy => {
                let failures = pod.poll().failures_in_a_row();
                format!("{failures} polls failed in a row")
            }
            PodState::Stale => "its last count is older than cacheTTL".to_owned(),
            PodState::Draining => "it says that it drains".to_owned(),
            PodState::Full => match pod.limit() {
                Some(limit) => format!("it holds all of the {limit} that it can"),
                None => "it holds all that it can".to_owned(),
            },
            PodState::Excluded(exclusion) => exclusion.to_string(),
        }
    }
}
