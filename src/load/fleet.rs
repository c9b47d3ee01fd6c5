//! How much of what happens is this gateway's: what a change of its own says about the pods, when
//! other gateways send them WebSockets too and tell nobody but the pods.
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
//! # The ratio is of now
//! A burst of this gateway's may be its own, or the fleet's. The pods know, so what counts is what
//! the last round of reports showed: `own` opens, and `others`, which is what the counts grew by
//! beyond them, and what others must have closed meanwhile. Of the fleet's opens each is this
//! gateway's with a probability that is the same for all of them. Before the round it was thought
//! to be 1 / (1 + m); a Beta distribution of that mean that is worth `PRIOR` own opens becomes
//! by the round one whose odds are
//!
//! > m' = (others + `PRIOR` × m) / (own + `PRIOR`),  ratio = 1 + m'
//!
//! Each round is the next one's prior, and none is worth more than `PRIOR`. So the ratio follows
//! within one round of some dozen opens whatever happens: a fleet that bursts together, a gateway
//! that bursts alone, one that wakes among others. And where little happens, it is the average of
//! many rounds: the ratio of a sidecar that opens two in a round, while others open a thousand.
//!
//! - Of the closes this gateway sees those of its own connections, and takes the others' to end as
//!   soon as its own. So in the steady state m is the ratio of the connections. What came and went
//!   within the round says nothing of connections that have lived longer.
//! - A gateway that opened `ALONE` WebSockets, while no count showed anything that it had not
//!   done itself, is alone: its ratio is 1, and its estimates are exact. With a true ratio of 2 that
//!   would be one chance in thousands. It ends with the first WebSocket of somebody else's.
//! - What happens while a report is on its way may be in it or not: growth that this gateway may
//!   have made itself is taken for its own.
//! - What others do while this gateway does nothing says nothing of what they will do when it does.
//!   Such a round makes m no larger than it was, or than a guess (`LARGEST_GUESS`); one in which
//!   nobody did anything makes it no larger than that.
//! - Too large a ratio makes the correction slower, never unstable. Too small a ratio overshoots,
//!   and up to half the true one the overshoot shrinks from report to report.
//!
//! # What it can't know
//! - The first opens of a burst come before any report of it. How soon there is one is the matter
//!   of [`poll::burst`](crate::poll), which asks where [`Fleet::uncertainty`] says that counts are
//!   needed.
//! - A count that is late shows neither the fleet's opens nor this gateway's. Growth that lacks most
//!   of what this gateway opened gives it away (`pod::interval`): such a count is passed over,
//!   and the ratio stays as it was.
//! - Nobody is refused for what the others may have done: whether a pod is full goes by what they
//!   were [seen](PodRecord::others_rate) to do.
//!
//! Reports that are of one moment serve best: when a gateway restarts, or load rises quickly,
//! reports of different ages would differ by what happened between them. [`poll`](crate::poll)
//! asks all pods of a service together: that is a round.

use std::time::Duration;

use zerocopy::native_endian::{F64, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::clock::Timestamp;
use crate::num::approximate;
use crate::pod::{Interval, Others, PodRecord};

/// What was known before a round counts for as much as so many own opens in it.
const PRIOR: f64 = 6.0;
/// So many others open for each own open at most, while they were not seen to do so. Where counts
/// are prompt it does not matter, for the first round of a burst tells. Where they are late, more
/// would keep a gateway that is alone from the emptiest pod, and less would send a fleet there
/// together.
const LARGEST_GUESS: f64 = 0.5;
/// So many others may come for each own open, though none was seen.
const SOMEBODY: f64 = 2.0;
/// After so many own opens, and nothing of others, a gateway is alone.
const ALONE: f64 = 8.0;
/// A gateway that holds fewer does not know its part of the connections yet.
const FEW: f64 = 8.0;
/// Less than this is nothing: counts are whole.
const NOTHING: f64 = 0.5;
/// No gateway is a smaller part of its fleet.
const MOST_OTHERS: f64 = 10_000.0;
/// In a round that took longer than this the beginning of a burst is lost.
const LONG_ROUND: Duration = Duration::from_secs(2);

/// What happened until a round of reports, on the pods that have answered.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Round {
    answers: U32,
    /// WebSockets that this gateway opened.
    opened: F64,
    /// WebSockets that others must have opened; less than none where more of theirs have ended.
    others: F64,
    /// WebSockets of others that should have ended.
    closed_by_others: F64,
    /// Changes, either way, that were not this gateway's.
    foreign: F64,
    connections: F64,
    own: F64,
    /// Seconds since the report before, of the pod for which they are the most.
    span: F64,
}

/// What is known of the fleet; part of a service's table.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Fleet {
    /// When the round was asked that is being answered, or was answered last.
    asked_at: U64,
    /// What its answers say until all are in; nothing then.
    round: Round,
    /// The last round that is over.
    last: Round,
    /// Opens of others for each own open, by the rounds that are over.
    others: F64,
    /// Own opens that rounds have shown since one showed anything of others.
    undisturbed: F64,
}

/// Connections of others for each own; less for a gateway that has few.
fn share(connections: f64, own: f64) -> f64 {
    ((connections - own) / (own + FEW)).max(0.0)
}

impl Round {
    fn add(&mut self, interval: &Interval, foreign: f64, closed_by_others: f64) {
        let add = |sum: &mut F64, value: f64| sum.set(sum.get() + value);
        self.answers.set(self.answers.get().saturating_add(1));
        add(&mut self.opened, interval.opened.into());
        add(&mut self.others, foreign + closed_by_others);
        add(&mut self.closed_by_others, closed_by_others);
        add(&mut self.foreign, foreign.abs());
        add(&mut self.connections, approximate(interval.after));
        add(&mut self.own, interval.own.into());
        let span = self.span.get().max(interval.span.as_secs_f64());
        self.span.set(span);
    }

    fn is_empty(&self) -> bool {
        self.answers.get() == 0
    }

    /// Whether nothing was seen but what this gateway did.
    fn is_undisturbed(&self) -> bool {
        self.foreign.get() < NOTHING
    }

    fn share(&self) -> f64 {
        share(self.connections.get(), self.own.get())
    }

    /// Opens of others for each own open, by this round and by what was known before.
    fn others_after(&self, before: f64) -> f64 {
        (self.others.get().max(0.0) + PRIOR * before) / (self.opened.get() + PRIOR)
    }
}

impl Fleet {
    /// Takes in what happened on one of `pods` pods until it was asked at `asked_at`.
    pub fn observe(&mut self, interval: &Interval, asked_at: Timestamp, pods: usize) {
        if Timestamp::from(self.asked_at) != asked_at {
            self.end_round();
            self.asked_at = asked_at.into();
        }
        let foreign = interval.foreign_growth();
        let closed_by_others = if foreign == 0.0 && self.is_alone() {
            0.0
        } else {
            f64::from(interval.closed_of_before()) * self.last.share()
        };
        self.round.add(interval, foreign, closed_by_others);
        if usize::try_from(self.round.answers.get()).is_ok_and(|answers| answers >= pods) {
            self.end_round();
        }
    }

    fn end_round(&mut self) {
        let round = self.round;
        if round.is_empty() {
            return;
        }
        self.learn(&round);
        let undisturbed = if round.is_undisturbed() {
            self.undisturbed.get() + round.opened.get()
        } else {
            0.0
        };
        self.undisturbed.set(undisturbed);
        self.last = round;
        self.round = Round::new_zeroed();
    }

    fn learn(&mut self, round: &Round) {
        let guess = round.share().min(LARGEST_GUESS);
        let before = self.others.get();
        let (opened, others) = (round.opened.get(), round.others.get());
        if opened == 0.0 && others == 0.0 {
            self.others.set(before.min(guess));
            return;
        }
        let most = if opened > 0.0 { round.share() } else { before };
        let after = round.others_after(before);
        self.others
            .set(after.min(most.clamp(LARGEST_GUESS, MOST_OTHERS)));
    }

    fn is_alone(&self) -> bool {
        self.undisturbed.get() >= ALONE && self.round.is_undisturbed()
    }

    /// Opens of others for each open of this gateway; at least 0.
    fn others(&self) -> f64 {
        if self.is_alone() {
            return 0.0;
        }
        self.round.others_after(self.others.get()).min(MOST_OTHERS)
    }

    /// Opens of the fleet for each open of this gateway; at least 1, and 1 before anything was seen.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        1.0 + self.others()
    }

    /// What others may open for each open of this gateway, as far as the reports have told: at
    /// least [`ratio`](Self::ratio) − 1. Where some of the connections of `pods` are not this
    /// gateway's it is never 0, for whoever opened them may come again at any time.
    #[must_use]
    pub fn uncertainty(&self, pods: &[PodRecord]) -> f64 {
        if !pods.iter().any(PodRecord::has_foreign) {
            return self.others();
        }
        let unseen = PRIOR * SOMEBODY / (self.last.opened.get() + PRIOR);
        self.others().max(unseen)
    }

    /// Connections of the fleet for each of this gateway's, in the last round; at least 1.
    #[must_use]
    pub fn connections_for_each_own(&self) -> f64 {
        let last = &self.last;
        if last.own.get() < FEW {
            return 1.0;
        }
        (last.connections.get() / last.own.get()).clamp(1.0, MOST_OTHERS)
    }

    /// How many gateways do what this one does, as far as the last round has told; at least 1.
    #[must_use]
    pub fn companions(&self) -> f64 {
        let last = &self.last;
        if last.span.get() <= LONG_ROUND.as_secs_f64() {
            return 1.0 + last.others.get().max(0.0) / (last.opened.get() + 1.0);
        }
        if last.own.get() - last.opened.get() < FEW {
            return 1.0;
        }
        self.connections_for_each_own()
    }

    /// What others do, by the last round.
    pub(crate) fn others_lately(&self) -> Others {
        let last = &self.last;
        let answers = f64::from(last.answers.get().max(1));
        let span = last.span.get().max(f64::EPSILON);
        Others {
            usual_change: last.foreign.get() / answers,
            closed_per_second: last.closed_by_others.get() / answers / span,
            connections: last.connections.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pod::Reported;
    use crate::table::Table;
    use crate::testing::{NOW, address, report};

    const SECOND: Duration = Duration::from_secs(1);

    const QUIET: Interval = Interval {
        before: 1_000,
        after: 1_000,
        opened: 0,
        closed: 0,
        doubtful_opens: 0,
        doubtful_closes: 0,
        own: 0,
        span: SECOND,
    };

    /// Rounds of one pod.
    fn after(rounds: &[Interval]) -> Fleet {
        let mut fleet = Fleet::new_zeroed();
        for (round, interval) in (1..).zip(rounds) {
            let asked_at = Timestamp::NEVER.plus(SECOND * round);
            fleet.observe(interval, asked_at, 1);
        }
        fleet
    }

    fn ratio(rounds: &[Interval]) -> f64 {
        after(rounds).ratio()
    }

    /// This gateway opens so many, and others so many.
    fn opening(own: u32, others: u64) -> Interval {
        Interval {
            after: QUIET.before + u64::from(own) + others,
            opened: own,
            own: 100,
            ..QUIET
        }
    }

    #[test]
    fn before_anything_happened_a_gateway_is_alone() {
        assert_eq!(ratio(&[]), 1.0);
        assert_eq!(ratio(&[QUIET; 5]), 1.0);
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
            assert_eq!(ratio(&[interval]), 1.0, "{interval:?}");
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
            assert_eq!(ratio(&[growing(after_all)]), 1.0, "{after_all}");
        }
        assert!(ratio(&[growing(1_116)]) > 1.0, "somebody else was there");
    }

    /// Twelve own opens and nothing of the others, who were busy before.
    #[test]
    fn others_that_are_quiet_are_so_within_one_round() {
        assert!(ratio(&[opening(100, 900)]) > 9.0);
        assert_eq!(ratio(&[opening(100, 900), opening(12, 0)]), 1.0);
    }

    #[test]
    fn a_fleet_that_bursts_together_is_known_within_one_round() {
        let alone = [opening(12, 0); 9];
        assert_eq!(ratio(&alone), 1.0);
        let ratio = ratio(&[&alone[..], &[opening(100, 900)]].concat());
        assert!((ratio - 10.0).abs() < 0.6, "{ratio}");
    }

    /// It is idle while the others open a thousand, and then opens more than they do.
    #[test]
    fn a_gateway_that_wakes_does_not_take_the_past_for_the_present() {
        let idle = [opening(0, 1_000); 9];
        assert_eq!(ratio(&idle), 1.0 + LARGEST_GUESS);
        let ratio = ratio(&[&idle[..], &[opening(100, 40)]].concat());
        assert!((ratio - 1.45).abs() < 0.1, "{ratio}");
    }

    /// A sidecar opens one or two in a round, or none.
    #[test]
    fn where_little_happens_many_rounds_count() {
        let rounds: Vec<Interval> = [0, 2, 1, 3, 0, 4, 2, 1, 3, 4]
            .map(|own| opening(own, 1_000))
            .repeat(9);
        let rounds: Vec<Interval> = rounds
            .into_iter()
            .map(|round| Interval {
                before: 6_000,
                after: round.after + 5_000,
                own: 4,
                ..round
            })
            .collect();
        let ratio = ratio(&rounds);
        assert!((200.0..600.0).contains(&ratio), "{ratio}");
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
            Interval {
                before: 1_002,
                ..steady(0)
            },
        ];
        let ratio = ratio(&up_and_down.repeat(20));
        // 900 of others for each 108.
        assert!((ratio - 1.0 - 900.0 / 108.0).abs() < 0.2, "{ratio}");
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
        assert_eq!(ratio(&[alone; 30]), 1.0);
        let not_alone = Interval {
            after: 5_012,
            ..alone
        };
        assert!(ratio(&[not_alone; 30]) > 4.0);
        assert!(ratio(&[not_alone, alone]) < 2.0);
    }

    /// Clients that connect and are lost again, beside connections that stay.
    #[test]
    fn what_comes_and_goes_within_a_round_does_not_end_what_others_have() {
        let begun = Interval {
            after: 1_006,
            opened: 6,
            own: 6,
            ..QUIET
        };
        let lost_again = Interval {
            before: 1_006,
            after: 1_012,
            opened: 60,
            closed: 54,
            own: 12,
            ..QUIET
        };
        let ratio = ratio(&[begun, lost_again]);
        assert!(ratio < 10.0, "{ratio}");
    }

    #[test]
    fn whoever_opened_connections_may_come_again() {
        let mut foreign = Table::new(&[address(1)]);
        report(&mut foreign, address(1), NOW, Reported::of(1));
        let alone = after(&[opening(12, 0)]);
        assert_eq!(alone.uncertainty(&[]), 0.0);
        let uncertainty = alone.uncertainty(foreign.pods());
        assert!(uncertainty > 0.0 && uncertainty < 1.0, "{uncertainty}");
        let busy = after(&[opening(2_000, 0)]);
        assert!(busy.uncertainty(foreign.pods()) < 0.01);
        let fleet = after(&[opening(100, 900)]);
        assert!(fleet.uncertainty(&[]) >= fleet.ratio() - 1.0);
    }

    #[test]
    fn companions_are_those_of_the_burst() {
        assert_eq!(after(&[]).companions(), 1.0);
        assert_eq!(after(&[opening(99, 900)]).companions(), 10.0);
        // What happened before it began hides who takes part.
        let long = |interval: Interval| Interval {
            span: 5 * SECOND,
            ..interval
        };
        assert_eq!(after(&[long(opening(99, 900))]).companions(), 1.0);
        let one_of_many = Interval {
            before: 9_900,
            after: 10_000,
            own: 100,
            ..long(opening(0, 0))
        };
        assert_eq!(after(&[one_of_many]).companions(), 100.0);
    }

    proptest! {
        /// What one round says can be put right by the next, whatever it was.
        #[test]
        fn others_that_are_quiet_leave_it_exact(
            rounds in prop::collection::vec((0_u32..1_000, 0_u64..10_000), 0..30),
        ) {
            let mut rounds: Vec<Interval> =
                rounds.into_iter().map(|(own, others)| opening(own, others)).collect();
            rounds.push(opening(8, 0));
            prop_assert_eq!(ratio(&rounds), 1.0);
        }

        #[test]
        fn no_counts_make_it_anything_but_a_number_of_at_least_one(
            intervals in prop::collection::vec(
                (any::<u64>(), any::<u64>(), any::<[u32; 5]>(), any::<u16>(), 0_u8..3), 0..50),
            pods in any::<usize>(),
        ) {
            let mut fleet = Fleet::new_zeroed();
            for (before, after, numbers, span, round) in intervals {
                let [opened, closed, doubtful_opens, doubtful_closes, own] = numbers;
                let interval = Interval {
                    before, after, opened, closed, doubtful_opens, doubtful_closes, own,
                    span: Duration::from_millis(span.into()),
                };
                let asked_at = Timestamp::NEVER.plus(SECOND * round.into());
                fleet.observe(&interval, asked_at, pods);
                prop_assert!(fleet.ratio() >= 1.0 && fleet.ratio().is_finite());
                prop_assert!(fleet.uncertainty(&[]) >= 0.0 && fleet.uncertainty(&[]).is_finite());
                prop_assert!(fleet.companions() >= 1.0);
            }
        }
    }
}
