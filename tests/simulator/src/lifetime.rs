//! How long WebSockets live.

use std::time::Duration;

use fastrand::Rng;

/// How lifetimes are spread around their mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Exponential: how long one has lived says nothing of how long it will.
    Exponential,
    /// Pareto with exponent 1.5: most end soon, a few stay almost for ever, and the variance is
    /// infinite.
    HeavyTailed,
}

impl Spread {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Exponential, Self::HeavyTailed];
}

/// The lifetimes of a scenario's WebSockets.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// How they are spread.
    pub spread: Spread,
    /// Their mean.
    pub mean: Duration,
}

impl Lifetime {
    /// That of a new WebSocket.
    pub fn draw(self, random: &mut Rng) -> Duration {
        self.seconds(|| self.exceeded(1.0 - random.f64()))
    }

    /// What is left of it for one that is open at some moment of the steady state. Long ones are
    /// more often found open than short ones, so that this is not a lifetime again, unless that
    /// has no memory.
    pub fn draw_rest(self, random: &mut Rng) -> Duration {
        self.seconds(|| self.rest_exceeded(1.0 - random.f64()))
    }

    fn seconds(self, parts_of_mean: impl FnOnce() -> f64) -> Duration {
        let seconds = self.mean.as_secs_f64() * parts_of_mean();
        // The tail reaches further than there is time.
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// The lifetime that is exceeded with `probability` (greater than 0), in parts of the mean.
    fn exceeded(self, probability: f64) -> f64 {
        match self.spread {
            Spread::Exponential => -probability.ln(),
            // The mean is three times the shortest.
            Spread::HeavyTailed => probability.powf(-2.0 / 3.0) / 3.0,
        }
    }

    /// The rest that is exceeded with `probability` (greater than 0), in parts of the mean: the
    /// integral of the probabilities of lifetimes beyond it.
    fn rest_exceeded(self, probability: f64) -> f64 {
        match self.spread {
            Spread::Exponential => -probability.ln(),
            // Up to the shortest lifetime all are alive, and the integral is a straight line.
            Spread::HeavyTailed if probability > 2.0 / 3.0 => 1.0 - probability,
            Spread::HeavyTailed => (2.0 / 3.0 / probability).powi(2) / 3.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEAN: Duration = Duration::from_secs(30);

    fn lifetime(spread: Spread) -> Lifetime {
        Lifetime { spread, mean: MEAN }
    }

    /// Over evenly spread probabilities, so that the heavy tail does not depend on luck.
    #[test]
    fn the_mean_is_the_mean() {
        const PARTS: u32 = 1_000_000;
        for spread in Spread::ALL {
            let sum: f64 = (0..PARTS)
                .map(|part| (f64::from(part) + 0.5) / f64::from(PARTS))
                .map(|probability| lifetime(spread).exceeded(probability))
                .sum();
            let mean = sum / f64::from(PARTS);
            assert!((mean - 1.0).abs() < 0.01, "{spread:?}: {mean}");
        }
    }

    #[test]
    fn those_that_are_drawn_have_the_mean() {
        let random = &mut Rng::with_seed(7);
        for (spread, tolerance) in [(Spread::Exponential, 0.01), (Spread::HeavyTailed, 0.1)] {
            let sum: f64 = (0..200_000)
                .map(|_| lifetime(spread).draw(random).as_secs_f64())
                .sum();
            let mean = sum / 200_000.0 / MEAN.as_secs_f64();
            assert!((mean - 1.0).abs() < tolerance, "{spread:?}: {mean}");
        }
    }

    /// In the steady state as many end in a moment as come: a share of 1 / mean.
    #[test]
    fn rests_end_as_fast_as_new_ones_come() {
        let random = &mut Rng::with_seed(8);
        for spread in Spread::ALL {
            let soon = (0..200_000)
                .filter(|_| lifetime(spread).draw_rest(random) < MEAN / 10)
                .count();
            let expect = match spread {
                Spread::Exponential => 1.0 - (-0.1_f64).exp(),
                Spread::HeavyTailed => 0.1,
            };
            let share = f64::from(u32::try_from(soon).unwrap()) / 200_000.0;
            assert!((share - expect).abs() < 0.005, "{spread:?}: {share}");
        }
    }

    /// What was open at first and what came since are together as many as at first.
    #[test]
    fn rests_and_new_ones_keep_the_number() {
        let random = &mut Rng::with_seed(9);
        let elapsed = MEAN * 2;
        for spread in Spread::ALL {
            let old = (0..100_000)
                .filter(|_| lifetime(spread).draw_rest(random) > elapsed)
                .count();
            // As many come within two means as two times there were, at evenly spread moments.
            let new = (0..200_000)
                .filter(|_| {
                    let age = elapsed.mul_f64(random.f64());
                    lifetime(spread).draw(random) > age
                })
                .count();
            let open = f64::from(u32::try_from(old + new).unwrap()) / 100_000.0;
            assert!((open - 1.0).abs() < 0.01, "{spread:?}: {open}");
        }
    }

    #[test]
    fn the_end_of_the_tail_is_no_overflow() {
        let heavy = lifetime(Spread::HeavyTailed);
        let longest = heavy.seconds(|| heavy.rest_exceeded(f64::EPSILON / 2.0));
        assert!(longest > Duration::from_secs(1_000_000_000));
        let beyond = heavy.seconds(|| heavy.rest_exceeded(f64::MIN_POSITIVE));
        assert_eq!(beyond, Duration::MAX);
    }
}
