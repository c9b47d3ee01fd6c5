//! What happened on one pod between two of its reports, and whether the later one can be believed.
//!
//! A balancer that goes by what pods say must stay sane when they are wrong. A count is judged by
//! what this gateway did itself and by what others usually do:
//!
//! - It is *late* where it lacks most of what this gateway opened before it was asked for: it is of
//!   an earlier moment. As long as that is so, the estimate goes on from the count before.
//! - It is the *same* where it has not changed, though this gateway opened some. Then most likely
//!   nobody has counted since, and the estimate goes on as well.
//! - It is a *leap* where one pod gains more than all pods of the service held: nobody opens so many
//!   in an interval. One that comes again is true.
//!
//! A count that shrinks is neither: pods restart, and clients leave.

use std::time::Duration;

use crate::num::{approximate, rounded_down};

/// What happened on one pod between two of its reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The count at its start.
    pub before: u64,
    /// The count at its end.
    pub after: u64,
    /// WebSockets that this gateway opened.
    pub opened: u32,
    /// WebSockets of this gateway that ended.
    pub closed: u32,
    /// WebSockets that this gateway opened or was about to open while one of the reports was on
    /// its way: nobody knows whether it counts them.
    pub doubtful_opens: u32,
    /// WebSockets of this gateway that ended while one of the reports was on its way.
    pub doubtful_closes: u32,
    /// WebSockets of this gateway that are open at its end.
    pub own: u32,
    /// From the one question to the other.
    pub span: Duration,
}

/// What others do, as far as the reports of all pods have told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Others {
    /// By how many WebSockets they change a pod's count from one report to the next, either way.
    pub usual_change: f64,
    /// How many WebSockets they close on a pod in a second.
    pub closed_per_second: f64,
    /// How many connections all pods hold together; theirs and this gateway's.
    pub connections: f64,
}

/// What to think of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgment {
    /// It may well be.
    Sound,
    /// It is of an earlier moment.
    Late,
    /// It is the one before, though this gateway opened some, and others may have closed as many.
    Same,
    /// Nobody opens so many.
    Leap,
}

/// In a pod's count so many WebSockets more or less say nothing.
const FEW: f64 = 4.0;
/// … and so many times what others usually change.
const NOISE: f64 = 3.0;
/// A pod may gain so many at once, however few there are.
const LEAP: f64 = 5_000.0;
/// A count that others changed by more than so many …
const MANY: f64 = 10.0;
/// … and by more than this part of it is not steady.
const LARGE_PART: f64 = 0.25;

impl Others {
    /// Whether a count grows by more than anybody opens.
    pub(crate) fn makes_leap(&self, before: u64, after: u64) -> bool {
        approximate(after) - approximate(before) > self.connections + LEAP
    }
}

impl Interval {
    /// By how much the count grew that this gateway can't have done; less than 0 where it shrank.
    #[must_use]
    pub fn foreign_growth(&self) -> f64 {
        let own = self.own_growth();
        let doubtful = f64::from(self.doubtful_opens) + f64::from(self.doubtful_closes);
        let foreign = self.growth() - own;
        foreign - foreign.clamp(-doubtful, doubtful)
    }

    /// WebSockets of this gateway that were open at its start and have ended, at most: of those that
    /// came and went meanwhile the others have none at its start.
    pub(crate) fn closed_of_before(&self) -> u32 {
        let before = self.own.saturating_add(self.closed);
        self.closed.min(before.saturating_sub(self.opened))
    }

    fn own_growth(&self) -> f64 {
        f64::from(self.opened) - f64::from(self.closed)
    }

    fn growth(&self) -> f64 {
        approximate(self.after) - approximate(self.before)
    }

    /// By how much the count is above what this gateway did before it was asked for, where nobody
    /// else was there: so many of the doubtful changes it shows the other way, and this gateway's
    /// own books say what is on the pod. None where somebody was there.
    pub(crate) fn beyond_own_changes(&self) -> Option<u32> {
        let beyond = self.growth() - self.own_growth();
        (self.foreign_growth() == 0.0).then(|| rounded_down(beyond))
    }

    /// What to think of the count at the end.
    pub(crate) fn judge(&self, others: &Others) -> Judgment {
        if others.makes_leap(self.before, self.after) {
            Judgment::Leap
        } else if self.is_same() && others.usual_change < 1.0 || self.is_late(others) {
            Judgment::Late
        } else if self.is_same() {
            Judgment::Same
        } else {
            Judgment::Sound
        }
    }

    /// Whether it did not change, though this gateway did more than a few things.
    fn is_same(&self) -> bool {
        let grown = self.certainly_opened() - f64::from(self.closed);
        self.after == self.before && grown >= FEW
    }

    /// WebSockets that this gateway opened and that the count before can't have had.
    fn certainly_opened(&self) -> f64 {
        self.opened.saturating_sub(self.doubtful_opens).into()
    }

    fn is_late(&self, others: &Others) -> bool {
        let others_closed = others.closed_per_second * self.span.as_secs_f64();
        let came = self.growth() + f64::from(self.closed) + others_closed;
        let opened = self.certainly_opened();
        let noise = FEW + NOISE * others.usual_change;
        opened >= 2.0 * noise && came > -noise && came < opened / 2.0
    }

    /// Whether others changed the count by little, as far as it is known.
    pub(crate) fn is_steady(&self) -> bool {
        let part = LARGE_PART * approximate(self.after.max(self.before));
        self.foreign_growth().abs() <= part.max(MANY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Interval = Interval {
        before: 100,
        after: 100,
        opened: 0,
        closed: 0,
        doubtful_opens: 0,
        doubtful_closes: 0,
        own: 50,
        span: Duration::from_secs(5),
    };

    const NOBODY: Others = Others {
        usual_change: 0.0,
        closed_per_second: 0.0,
        connections: 400.0,
    };

    fn judge(after: u64, opened: u32, closed: u32, others: Others) -> Judgment {
        let interval = Interval {
            after,
            opened,
            closed,
            ..QUIET
        };
        interval.judge(&others)
    }

    #[test]
    fn a_count_without_what_was_opened_is_late() {
        assert_eq!(judge(100, 20, 0, NOBODY), Judgment::Late);
        assert_eq!(judge(109, 20, 0, NOBODY), Judgment::Late);
        assert_eq!(judge(110, 20, 0, NOBODY), Judgment::Sound);
        assert_eq!(judge(120, 20, 0, NOBODY), Judgment::Sound);
        assert_eq!(
            judge(100, 4, 0, NOBODY),
            Judgment::Late,
            "nobody else is there"
        );
        assert_eq!(judge(101, 7, 0, NOBODY), Judgment::Sound, "too few to tell");
        assert_eq!(judge(100, 3, 0, NOBODY), Judgment::Sound, "too few to tell");
        assert_eq!(
            judge(100, 20, 20, NOBODY),
            Judgment::Sound,
            "as many closed"
        );
    }

    /// It had them before, while they were on their way.
    #[test]
    fn what_the_count_before_may_have_had_makes_none_late() {
        for doubtful_opens in [17, 20, 100] {
            let interval = Interval {
                opened: 20,
                doubtful_opens,
                ..QUIET
            };
            assert_eq!(interval.judge(&NOBODY), Judgment::Sound, "{doubtful_opens}");
        }
    }

    #[test]
    fn what_others_close_makes_no_count_late() {
        let busy = Others {
            usual_change: 5.0,
            closed_per_second: 4.0,
            ..NOBODY
        };
        assert_eq!(judge(101, 20, 0, busy), Judgment::Sound);
        assert_eq!(judge(101, 60, 0, busy), Judgment::Late);
        // All of it ended at once.
        assert_eq!(judge(0, 60, 0, busy), Judgment::Sound);
    }

    #[test]
    fn no_more_can_have_ended_of_what_was_there_than_was_there() {
        for (own, opened, closed, expect) in [
            (50, 0, 10, 10),
            (50, 10, 10, 10),
            (5, 40, 40, 5),
            (0, 40, 40, 0),
            // Some were opened on their way to the count.
            (3, 40, 30, 0),
        ] {
            let interval = Interval {
                opened,
                closed,
                own,
                ..QUIET
            };
            assert_eq!(interval.closed_of_before(), expect, "{interval:?}");
        }
    }

    #[test]
    fn a_pod_does_not_gain_more_than_all_had() {
        assert_eq!(judge(5_500, 0, 0, NOBODY), Judgment::Sound);
        assert_eq!(judge(5_501, 0, 0, NOBODY), Judgment::Leap);
        assert_eq!(judge(u64::MAX, 0, 0, NOBODY), Judgment::Leap);
        let many = Others {
            connections: 1e6,
            ..NOBODY
        };
        assert_eq!(judge(1_000_000, 0, 0, many), Judgment::Sound);
    }

    #[test]
    fn a_count_that_others_change_much_is_not_steady() {
        for (before, after, expect) in [
            (10, 20, true),
            (10, 30, false),
            (1_000, 1_200, true),
            (1_000, 1_400, false),
            (1_400, 1_000, false),
        ] {
            let interval = Interval {
                before,
                after,
                ..QUIET
            };
            assert_eq!(interval.is_steady(), expect, "{before} {after}");
        }
    }
}
