//! A value over time, as averages of equal pieces of time.

use std::time::Duration;

/// The length of a piece.
pub const TRACE_STEP: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) points: Vec<f64>,
    /// The value times the seconds that it was so, in the piece that has not ended.
    area: f64,
}

impl Trace {
    /// From `since` to `until` after the beginning it was `value`. There are no gaps between calls.
    pub(super) fn advance(&mut self, since: Duration, until: Duration, value: f64) {
        let mut since = since;
        while let Some(end) = self.end_of_piece().filter(|&end| end <= until) {
            self.area += value * end.saturating_sub(since).as_secs_f64();
            self.points.push(self.area / TRACE_STEP.as_secs_f64());
            self.area = 0.0;
            since = end;
        }
        self.area += value * until.saturating_sub(since).as_secs_f64();
    }

    fn end_of_piece(&self) -> Option<Duration> {
        let pieces = u32::try_from(self.points.len() + 1).ok()?;
        TRACE_STEP.checked_mul(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_the_average_of_its_piece() {
        let mut trace = Trace::default();
        let mut from = Duration::ZERO;
        for (until, value) in [(500, 1.0), (2_500, 2.0), (2_750, 4.0), (3_000, 0.0)] {
            let until = Duration::from_millis(until);
            trace.advance(from, until, value);
            from = until;
        }
        assert_eq!(trace.points, [1.5, 2.0, 2.0]);
    }
}
