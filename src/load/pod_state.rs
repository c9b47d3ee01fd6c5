//! Whether a pod gets new WebSockets.

use super::passive_health::Health;
use super::view::View;
use crate::num::approximate;
use crate::pod::{Exclusion, PodRecord};

/// Whether a pod gets new WebSockets, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodState {
    /// It has not answered a poll yet, and few have failed.
    Unknown,
    /// It gets new WebSockets.
    Usable,
    /// It did not accept a connection, and has not answered a poll since: it comes last.
    Refusing,
    /// It failed too many handshakes in a row, while others did not: it comes last of all.
    Failing,
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
            Self::Failing => 7,
            Self::Excluded(exclusion) => exclusion.code().saturating_add(Self::Failing.code()),
        }
    }

    /// Whether the pod takes part in the balance: its count is good, and it stays.
    #[must_use]
    pub const fn takes_part(self) -> bool {
        matches!(self, Self::Usable | Self::Full)
    }
}

/// Where a pod stands among those that may serve: better ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing is known to be wrong.
    Sound,
    /// A handshake passed it by, and nobody knows why yet.
    Doubted,
    /// See [`PodState::Refusing`].
    Refusing,
    /// See [`PodState::Failing`].
    Failing,
}

impl PodState {
    /// Where a pod in this state stands among those that may serve; none where it may not.
    #[must_use]
    pub fn standing(self, pod: &PodRecord, health: Health) -> Option<Standing> {
        match self {
            Self::Usable if pod.is_doubted() => Some(Standing::Doubted),
            Self::Usable => Some(Standing::Sound),
            Self::Failing if health == Health::Probing => Some(Standing::Sound),
            Self::Failing => Some(Standing::Failing),
            Self::Refusing => Some(Standing::Refusing),
            Self::Unknown
            | Self::Unhealthy
            | Self::Stale
            | Self::Draining
            | Self::Full
            | Self::Excluded(_) => None,
        }
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
        } else if pod.has_refused() {
            PodState::Refusing
        } else if matches!(self.health(pod), Health::Ejected | Health::Probing) {
            PodState::Failing
        } else {
            PodState::Usable
        }
    }

    /// Why the pod's count can't be trusted; none where it can.
    #[must_use]
    pub fn trouble(&self, pod: &PodRecord) -> Option<PodState> {
        let counted_at = pod.poll().succeeded_at();
        if pod.poll().failures_in_a_row() >= self.rules.unhealthy_threshold {
            Some(PodState::Unhealthy)
        } else if !counted_at.happened() {
            Some(PodState::Unknown)
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
                None if pod.is_doubted() => "a handshake passed it by; it comes last until it \
                     answers a poll"
                    .to_owned(),
                None if self.health(pod) == Health::Suspect => {
                    let failures = pod.accrual().failures();
                    format!("it failed {failures} handshakes in a row; others are preferred")
                }
                None => "it gets new WebSockets".to_owned(),
            },
            PodState::Refusing => {
                "it refused a connection; it comes last until it answers a poll".to_owned()
            }
            PodState::Failing => self.failing(pod),
            PodState::Unhealthy => {
                let failures = pod.poll().failures_in_a_row();
                let has_answered = pod.poll().succeeded_at().happened();
                let never = if has_answered {
                    ""
                } else {
                    ", and it has never answered"
                };
                format!("{failures} polls failed in a row{never}")
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

    fn failing(&self, pod: &PodRecord) -> String {
        let accrual = pod.accrual();
        let failures = accrual.failures();
        let left = accrual.ejected_until().since(self.now).as_secs_f64().ceil();
        let then = if left > 0.0 {
            format!("it is left out for {left:.0} s")
        } else {
            "single ones try it".to_owned()
        };
        format!("it failed {failures} handshakes in a row, and others did not; {then}")
    }
}
