//! Asking in portions.
//!
//! To send one call takes an Envoy some 40 µs. A thousand at once, and their answers, held up
//! everything else on their thread for a tenth of a second. So no more than a [portion](PORTION) leave
//! together, and the next some milliseconds later: with a thousand pods, that holds it up for 2 ms.
//!
//! Still only counts of one moment can be compared. All of a round are asked within a tenth of the
//! interval where the machine keeps up, and bear the moment at which the round began; what this gateway had opened by then, and
//! what was on its way, is noted when each pod is asked.

use std::cell::Cell;
use std::time::Duration;

use crate::clock::{Timestamp, part};
use crate::pod::{PodAddress, PodRecord};
use crate::table::Table;

/// The host's timer counts milliseconds.
pub const SHORTEST_TICK: Duration = Duration::from_millis(1);

/// How many a worker asks at once.
pub const PORTION: usize = 20;
/// How long it waits before the next portion, if there is time.
const PAUSE: Duration = Duration::from_millis(5);
/// All of a round are asked within this part of the interval: half of what they may take, because
/// ticks come late.
const PART_OF_INTERVAL: u32 = 20;

/// How long a worker waits that has so many pods left to ask, of rounds that are asked every
/// `interval` and of which the first began `elapsed` ago.
#[must_use]
pub fn pause(left: usize, interval: Duration, elapsed: Duration) -> Duration {
    let portions = u32::try_from(left.div_ceil(PORTION)).unwrap_or(u32::MAX);
    let time_left = part(interval, PART_OF_INTERVAL).saturating_sub(elapsed);
    part(time_left, portions).clamp(SHORTEST_TICK, PAUSE)
}

/// Asks, in a round that began at `began_at`, at most `most` of the pods for which `next` says when
/// they are to be asked again; those, and how many are left.
pub(super) fn ask(
    table: &mut Table,
    began_at: Timestamp,
    most: usize,
    next: impl Fn(&PodRecord) -> Option<Timestamp>,
) -> (Vec<PodAddress>, usize) {
    let wanted = Cell::new(0_usize);
    let asked = table.ask(began_at, |pod| {
        let next = next(pod)?;
        wanted.set(wanted.get().saturating_add(1));
        (wanted.get() <= most).then_some(next)
    });
    let left = wanted.get().saturating_sub(asked.len());
    (asked, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    #[test]
    fn a_round_is_asked_within_a_tenth_of_the_interval() {
        for (pods, millis) in [(21, 10_000), (300, 1_000), (1_000, 1_500), (1_000, 5_000)] {
            let interval = Duration::from_millis(millis);
            let (mut elapsed, mut left) = (Duration::ZERO, pods - PORTION);
            while left > 0 {
                elapsed += pause(left, interval, elapsed);
                left = left.saturating_sub(PORTION);
            }
            assert!(elapsed <= interval / 10, "{pods} {elapsed:?} {interval:?}");
        }
    }

    #[test]
    fn who_is_late_waits_no_longer_than_it_must() {
        assert_eq!(pause(980, INTERVAL, Duration::ZERO), PAUSE);
        assert_eq!(
            pause(980, INTERVAL, Duration::from_millis(152)),
            PAUSE * 2 / 5
        );
        assert_eq!(pause(980, INTERVAL, INTERVAL), SHORTEST_TICK);
    }
}
