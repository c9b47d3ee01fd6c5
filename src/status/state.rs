//! The states of pods as they are shown.

use serde::Serialize;

use crate::load::{PodState, View};
use crate::pod::{Exclusion, PodRecord};

/// A [`PodState`] as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum State {
    Healthy,
    SlowStart,
    Full,
    Draining,
    Stale,
    Ejected,
    Unhealthy,
    Failing,
    Refusing,
    Unknown,
}

impl State {
    pub(super) const ALL: [Self; 10] = [
        Self::Healthy,
        Self::SlowStart,
        Self::Full,
        Self::Draining,
        Self::Stale,
        Self::Ejected,
        Self::Unhealthy,
        Self::Failing,
        Self::Refusing,
        Self::Unknown,
    ];

    /// The state of a pod at the moment of the view.
    pub(super) fn of(view: &View, pod: &PodRecord) -> Self {
        match view.state(pod) {
            PodState::Usable if view.slow_start(pod).is_some() => Self::SlowStart,
            PodState::Usable => Self::Healthy,
            PodState::Full => Self::Full,
            PodState::Draining | PodState::Excluded(Exclusion::Draining | Exclusion::Leaving) => {
                Self::Draining
            }
            PodState::Stale => Self::Stale,
            PodState::Excluded(Exclusion::Ejected) => Self::Ejected,
            PodState::Unhealthy
            | PodState::Excluded(
                Exclusion::Unhealthy | Exclusion::TimedOut | Exclusion::FailedHealthCheck,
            ) => Self::Unhealthy,
            PodState::Failing => Self::Failing,
            PodState::Refusing => Self::Refusing,
            PodState::Unknown => Self::Unknown,
        }
    }

    /// Whether the pod gets new WebSockets.
    pub(super) const fn is_usable(self) -> bool {
        matches!(self, Self::Healthy | Self::SlowStart)
    }

    /// As in the JSON.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::SlowStart => "slowStart",
            Self::Full => "full",
            Self::Draining => "draining",
            Self::Stale => "stale",
            Self::Ejected => "ejected",
            Self::Unhealthy => "unhealthy",
            Self::Failing => "failing",
            Self::Refusing => "refusing",
            Self::Unknown => "unknown",
        }
    }
}
