//! Slow start: a pod that has just come up gets a part of what it would be given, and the part
//! grows to all of it within a window.
//!
//! The names and the formula are Envoy's
//! (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/slow_start>).
//! There the factor scales a weight in the rotation. Here the pod with the fewest WebSockets is
//! given all new ones, however small its weight, so the factor is how probable it is that a pod
//! whose turn it is gets its turn: its share of the new WebSockets rises along the curve.

use std::time::Duration;

use crate::config::SlowStart;

impl SlowStart {
    /// The part that a pod gets that came up `elapsed` ago, 0 to 1; none once it has started.
    #[must_use]
    pub fn factor(&self, elapsed: Duration) -> Option<f64> {
        if elapsed >= self.window {
            return None;
        }
        // Envoy's: in the first second nothing grows.
        let elapsed = elapsed.max(Duration::from_secs(1)).as_secs_f64();
        let time_factor = elapsed / self.window.as_secs_f64();
        let least = self.min_weight_percent / 100.0;
        let factor = time_factor.powf(1.0 / self.aggression).max(least);
        Some(factor.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_envoys() {
        let slow_start = |aggression, min_weight_percent| SlowStart {
            window: Duration::from_secs(100),
            aggression,
            min_weight_percent,
        };
        for (aggression, least, seconds, expect) in [
            (1.0, 10.0, 0, Some(0.10)),
            (1.0, 0.0, 0, Some(0.01)),
            (1.0, 10.0, 10, Some(0.10)),
            (1.0, 10.0, 50, Some(0.50)),
            (2.0, 10.0, 25, Some(0.50)),
            (0.5, 10.0, 50, Some(0.25)),
            (0.5, 100.0, 50, Some(1.0)),
            (1.0, 10.0, 99, Some(0.99)),
            (1.0, 10.0, 100, None),
        ] {
            let factor = slow_start(aggression, least).factor(Duration::from_secs(seconds));
            let near = match (factor, expect) {
                (Some(factor), Some(expect)) => (factor - expect).abs() < 1e-9,
                (factor, expect) => factor == expect,
            };
            assert!(
                near,
                "aggression {aggression} after {seconds} s: {factor:?}"
            );
        }
    }

    #[test]
    fn a_window_under_a_second_is_none() {
        let slow_start = SlowStart {
            window: Duration::from_millis(500),
            aggression: 1.0,
            min_weight_percent: 10.0,
        };
        assert_eq!(slow_start.factor(Duration::ZERO), Some(1.0));
    }
}
