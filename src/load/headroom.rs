//! Whether the end of a WebSocket may wait in its worker: nobody is to be refused for want of a place
//! that is free, and only does not show yet.

use super::view::View;
use crate::num::approximate;
use crate::pod::PodRecord;

/// So many ends wait in a worker for each pod, at most.
const MOST_WAITING: u32 = 32;

impl View {
    /// How many more WebSockets the pod takes, as whether it is full is seen; none where it has no
    /// limit.
    #[must_use]
    pub fn room(&self, pod: &PodRecord) -> Option<f64> {
        let limit = approximate(pod.limit()?);
        Some((limit - self.occupancy(pod)).max(0.0))
    }
}

/// Whether one more end may wait beside those that are `waiting` for its pod, which has `room`, none
/// where it has no limit. All `workers` may hold back as many, and others fill the pod meanwhile by no
/// more than that before this worker looks again: each choice is a look.
#[must_use]
pub fn end_may_wait(waiting: u32, room: Option<f64>, workers: u32) -> bool {
    let held_back = f64::from(MOST_WAITING) * f64::from(workers.max(1));
    waiting < MOST_WAITING && room.is_none_or(|room| room > 2.0 * held_back)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_wait_where_no_place_could_be_missed() {
        for (waiting, room, workers, may_wait) in [
            (0, None, 16, true),
            (31, None, 16, true),
            (32, None, 16, false),
            (0, Some(1_024.0), 16, false),
            (0, Some(1_025.0), 16, true),
            (0, Some(65.0), 1, true),
            (0, Some(64.0), 0, false),
            (0, Some(0.0), 1, false),
        ] {
            let case = format!("{waiting} {room:?} {workers}");
            assert_eq!(end_may_wait(waiting, room, workers), may_wait, "{case}");
        }
    }
}
