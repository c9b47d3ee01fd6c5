//! The loads of pods that are known already: of a thousand pods few change from one choice to the
//! next.

use super::view::View;
use crate::pod::PodRecord;

/// The [loads](View::load_with_one_more) of a table's pods, as far as they are known.
///
/// They follow from the records and from what is known of the fleet, whatever the time is: whoever
/// changes a record has its load forgotten.
#[derive(Clone, Debug, Default)]
pub struct Loads {
    /// By which view they are: its ratio, and its connections for each own.
    by: (f64, f64),
    /// Not a number where it is not known.
    values: Vec<f64>,
}

impl Loads {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.values.clear();
    }

    /// Forgets that of the pod at `place`.
    pub fn forget(&mut self, place: usize) {
        if let Some(value) = self.values.get_mut(place) {
            *value = f64::NAN;
        }
    }

    /// The places of so many pods, by this view.
    pub(super) fn places(&mut self, view: &View, pods: usize) -> &mut [f64] {
        let by = (view.ratio, view.connections_for_each_own);
        if self.by != by || self.values.len() != pods {
            self.by = by;
            self.values.clear();
            self.values.resize(pods, f64::NAN);
        }
        &mut self.values
    }
}

/// The load of `pod`, which has this place.
pub(super) fn look_up(place: &mut f64, view: &View, pod: &PodRecord) -> f64 {
    if place.is_nan() {
        *place = view.load_with_one_more(pod);
    }
    *place
}
