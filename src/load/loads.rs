//! What is known of the pods' loads already: of a thousand pods few change from one choice to the
//! next.

use super::pod_state::Standing;
use super::view::View;
use crate::clock::Timestamp;
use crate::config::Rules;
use crate::pod::{PodRecord, Priority};

/// The loads of a table's pods, as far as they are known.
///
/// They follow from the records, from the rules and from what is known of the fleet, whatever the
/// time is: whoever changes a record has its load forgotten.
#[derive(Clone, Debug, Default)]
pub struct Loads {
    /// By which view they are: its rules, its ratio, and its connections for each own.
    by: Option<(Rules, f64, f64)>,
    known: Vec<Known>,
}

/// What decides for most pods when their turn is. It is kept together, as the records are far apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// See [`View::load_with_one_more`]; not a number where it is not known.
    pub(super) connections: f64,
    pub(super) priority: Priority,
    /// Whether the pod has failed handshakes: then there is more to it.
    pub(super) has_failed: bool,
    /// Until when the pod is usable and there is nothing more to it, if nothing happens;
    /// [`Timestamp::NEVER`] where there is.
    sound_until: Timestamp,
}

impl Known {
    const NOTHING: Self = Self {
        connections: f64::NAN,
        priority: Priority::HIGHEST,
        has_failed: false,
        sound_until: Timestamp::NEVER,
    };

    /// What is known of `pod`, whose place this is.
    pub(super) fn of(&mut self, pod: &PodRecord, view: &View) -> Self {
        if self.connections.is_nan() {
            *self = Self {
                connections: view.load_with_one_more(pod),
                priority: pod.priority(),
                has_failed: pod.accrual().failures() > 0,
                sound_until: view.sound_until(pod),
            };
        }
        *self
    }

    /// Whether the pod is usable at `now`, and nothing but its connections says when its turn is.
    pub(super) fn is_sound(&self, now: Timestamp) -> bool {
        now <= self.sound_until
    }
}

impl View {
    /// See [`Known::sound_until`].
    fn sound_until(&self, pod: &PodRecord) -> Timestamp {
        let is_sound = pod.accrual().failures() == 0
            && pod.limit().is_none()
            && self.slow_start(pod).is_none()
            && self.state(pod).standing(pod, self.health(pod)) == Some(Standing::Sound);
        if is_sound {
            pod.poll().succeeded_at().plus(self.rules.cache_ttl)
        } else {
            Timestamp::NEVER
        }
    }
}

impl Loads {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.known.clear();
    }

    /// Forgets that of the pod at `place`.
    pub fn forget(&mut self, place: usize) {
        if let Some(known) = self.known.get_mut(place) {
            *known = Known::NOTHING;
        }
    }

    /// The places of so many pods, by this view.
    pub(super) fn places(&mut self, view: &View, pods: usize) -> &mut [Known] {
        let by = Some((view.rules, view.ratio, view.connections_for_each_own));
        if self.by != by || self.known.len() != pods {
            self.by = by;
            self.known.clear();
            self.known.resize(pods, Known::NOTHING);
        }
        &mut self.known
    }
}
