//! How much of the fleet's traffic is this gateway's: what a change of its own says about the
//! pods, when other gateways send them WebSockets too and tell nobody but the pods.
//!
//! # The rule
//! Between two reports a gateway knows its own opens and closes at once, and nothing of the
//! others'. All gateways hold the same reports and choose by the same rule, so that they do the
//! same at the same time: what one gateway sends to a pod, the others send there as well. A
//! gateway that makes one of `ratio` opens of the fleet therefore takes each of its own changes
//! for `ratio` changes:
//!
//! > estimate = reported + `ratio` × (opened − closed since the report, by this gateway)
//!
//! and sends the next WebSocket to the smallest estimate. This is a division of labour. Of a pod
//! that is `d` below the others each gateway fills up `d / ratio`, and the shares add up to `d`:
//! together they fill to the level of the others as water does, which is where Dahlin's
//! interpretation of old load information ends up too ("Interpreting stale load information",
//! 2000), without a number of gateways, a rate of arrivals or a random choice in it. And what a
//! gateway closes on a pod it opens there again, whatever the others do. With the last report
//! alone (ratio 0) all rush to the same pod (Mitzenmacher, "How useful is old information?",
//! 2000); with their own changes unscaled (ratio 1) they correct each deviation once per gateway.
//!
//! # The ratio
//! The opens of the fleet can't be seen, but they can be reckoned: what the reports grew by, and
//! what was closed meanwhile. Of the closes this gateway sees those of its own connections, and
//! takes the others' to end as soon as its own:
//!
//! > ratio = (growth of the reports + own closes × all connections / own connections) / own opens
//!
//! - Steady state: no growth, as many closes as opens; the ratio is that of the connections, the
//!   fleet's to the gateway's. Each gateway's part is its share, and the parts add up to one,
//!   however uneven the shares.
//! - A gateway that has just started has hardly any connections, and the ratio of connections
//!   would be absurd. But it sees growth: with few closes the ratio is that of the opens.
//! - A single gateway sees the reports grow by what it opened less what it closed, and by nothing
//!   else. So it knows that it is alone, and that connections of which it knows nothing do not end:
//!   its ratio is 1, and its estimates are exact. What happens while a report is on its way may be
//!   in it or not: growth that the gateway may have made itself is taken for its own.
//!   A single WebSocket of somebody else's is enough to end that.
//! - Too large a ratio makes the correction slower, never unstable. Too small a ratio overshoots,
//!   and up to half the true one the overshoot shrinks from report to report.
//!
//! The sums fade over [`WINDOW`] intervals. They are compared as sums, so that the ratio is right
//! from the first interval on. A pod counts from one good report to its next, so that pods that
//! come and go are neither growth nor loss.
//!
//! Reports that are of one moment serve best: when a gateway restarts, or load rises quickly,
//! reports of different ages would differ by what happened between them. [`poll`](crate::poll)
//! asks all pods of a service together.

use zerocopy::native_endian::F64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::num::approximate;
use crate::pod::Interval;

/// Over how many intervals what was observed fades.
pub const WINDOW: u32 = 16;
/// A gateway is alone while others have done less than this, faded, to what the pods hold: not a
/// single WebSocket of late.
const ALONE: f64 = 0.5;

/// What the count grew by.
fn growth(interval: &Interval) -> f64 {
    approximate(interval.after) - approximate(interval.before)
}

/// What this gateway did to it.
fn own_growth(interval: &Interval) -> f64 {
    f64::from(interval.opened) - f64::from(interval.closed)
}

/// What of the growth this gateway can't have done.
fn foreign_growth(interval: &Interval) -> f64 {
    let doubtful = f64::from(interval.doubtful_opens) + f64::from(interval.doubtful_closes);
    let foreign = growth(interval) - own_growth(interval);
    foreign - foreign.clamp(-doubtful, doubtful)
}

/// Fading sums over the intervals of all pods of a service.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Fleet {
    opened: F64,
    closed: F64,
    growth: F64,
    /// What of the growth, or of the shrinking, others must have done.
    foreign: F64,
    connections: F64,
    own: F64,
}

impl Fleet {
    /// Takes in what happened on one of `pods` pods.
    pub fn observe(&mut self, interval: &Interval, pods: usize) {
        let (opened, closed) = (f64::from(interval.opened), f64::from(interval.closed));
        let connections = f64::midpoint(approximate(interval.before), approximate(interval.after));
        let own_before = f64::from(interval.own) - opened + closed;
        let reports = approximate(pods as u64) * f64::from(WINDOW);
        let fading = 1.0 - 1.0 / reports.max(1.0);
        let add = |sum: &mut F64, value: f64| sum.set(sum.get() * fading + value);
        add(&mut self.opened, opened);
        add(&mut self.closed, closed);
        let foreign = foreign_growth(interval);
        // Where this gateway may have done all of it, it has.
        let growth = if foreign == 0.0 {
            own_growth(interval)
        } else {
            growth(interval)
        };
        add(&mut self.growth, growth);
        add(&mut self.foreign, foreign.abs());
        add(&mut self.connections, connections);
        add(
            &mut self.own,
            f64::midpoint(own_before.max(0.0), interval.own.into()),
        );
    }

    /// Opens of the fleet for each open of this gateway; at least 1, and 1 before anything was
    /// observed.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        let (opened, closed) = (self.opened.get(), self.closed.get());
        let (own, connections) = (self.own.get(), self.connections.get());
        let is_alone = self.foreign.get() < ALONE;
        let all_closed = if is_alone || own <= 0.0 {
            closed
        } else {
            closed * connections / own
        };
        // One more on either side: nothing is divided by zero, and a gateway that has opened
        // next to nothing does not take that for the share it will have.
        let ratio = (self.growth.get() + all_closed + 1.0) / (opened + 1.0);
        // No number is smaller than 1 either.
        ratio.max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::FromZeros;

    use super::*;

    fn after(intervals: &[Interval]) -> f64 {
        let mut fleet = Fleet::new_zeroed();
        for interval in intervals {
            fleet.observe(interval, 1);
        }
        fleet.ratio()
    }

    const QUIET: Interval = Interval {
        before: 1_000,
        after: 1_000,
        opened: 0,
        closed: 0,
        doubtful_opens: 0,
        doubtful_closes: 0,
        own: 0,
    };

    #[test]
    fn before_anything_happened_a_gateway_is_alone() {
        assert_eq!(after(&[]), 1.0);
        assert_eq!(after(&[QUIET; 5]), 1.0);
    }

    #[test]
    fn a_single_gateway_explains_all_growth() {
        for (after_all, opened, closed) in [(1_070, 100, 30), (930, 30, 100), (1_000, 70, 70)] {
            let interval = Interval {
                after: after_all,
                opened,
                closed,
                own: u32::try_from(after_all).unwrap(),
                ..QUIET
            };
            let ratio = after(&[interval; 20]);
            assert!((ratio - 1.0).abs() < 1e-9, "{ratio} {interval:?}");
        }
    }

    #[test]
    fn what_a_report_may_have_counted_already_is_nobody_elses() {
        let growing = |after_all| Interval {
            after: after_all,
            opened: 100,
            closed: 30,
            doubtful_opens: 40,
            doubtful_closes: 5,
            own: 1_070,
            ..QUIET
        };
        for after_all in [1_025, 1_070, 1_115] {
            let ratio = after(&[growing(after_all)]);
            assert!((ratio - 1.0).abs() < 0.01, "{ratio} {after_all}");
        }
        assert!(after(&[growing(1_116)]) > 1.4, "somebody else was there");
    }

    /// Among connections that were there before any gateway.
    #[test]
    fn a_gateway_that_has_just_started_goes_by_growth() {
        let alone = Interval {
            after: 1_100,
            opened: 100,
            own: 100,
            ..QUIET
        };
        assert_eq!(after(&[alone]), 1.0);
        let one_of_four = Interval {
            after: 1_400,
            ..alone
        };
        assert!((after(&[one_of_four]) - 4.0).abs() < 0.05);
    }

    #[test]
    fn in_the_steady_state_it_is_the_ratio_of_the_connections() {
        let steady = |growth: u64| Interval {
            after: 1_000 + growth,
            opened: 50,
            closed: 50,
            own: 100,
            ..QUIET
        };
        let up_and_down = [
            steady(2),
            steady(0),
            Interval {
                before: 1_002,
                ..steady(0)
            },
        ];
        let ratio = after(&up_and_down.repeat(20));
        assert!((ratio - 10.0).abs() < 0.1, "{ratio}");
    }

    /// Of the connections that it did not open none ends.
    #[test]
    fn a_single_gateway_knows_that_it_is_alone() {
        let alone = Interval {
            before: 5_000,
            after: 5_010,
            opened: 60,
            closed: 50,
            own: 1_000,
            ..QUIET
        };
        let ratio = after(&[alone; 30]);
        assert!((ratio - 1.0).abs() < 1e-9, "{ratio}");
        let not_alone = Interval {
            after: 5_012,
            ..alone
        };
        assert!(after(&[not_alone; 30]) > 4.0);
    }

    #[test]
    fn what_is_long_past_is_forgotten() {
        let steady = |own, growth: u64| Interval {
            after: 1_000 + growth,
            opened: 50,
            closed: 50,
            own,
            ..QUIET
        };
        let mut intervals = [steady(100, 1); 200];
        for later in &mut intervals[100..] {
            *later = steady(500, 1);
        }
        let ratio = after(&intervals);
        assert!((ratio - 2.0).abs() < 0.1, "{ratio}");
    }

    proptest! {
        #[test]
        fn no_counts_make_it_anything_but_a_number_of_at_least_one(
            intervals in prop::collection::vec(
                (any::<u64>(), any::<u64>(), any::<[u32; 5]>()), 0..50),
            pods in any::<usize>(),
        ) {
            let mut fleet = Fleet::new_zeroed();
            for (before, after, numbers) in intervals {
                let [opened, closed, doubtful_opens, doubtful_closes, own] = numbers;
                let interval = Interval {
                    before, after, opened, closed, doubtful_opens, doubtful_closes, own,
                };
                fleet.observe(&interval, pods);
                prop_assert!(fleet.ratio() >= 1.0 && fleet.ratio().is_finite());
            }
        }
    }
}
