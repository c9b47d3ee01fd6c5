//! All that was measured, and what a ratio over several rounds is.

use std::fmt;

use serde::Serialize;

use crate::cold::Cold;
use crate::comparison::Comparison;
use crate::crowd::Crowd;
use crate::discovery::Discovery;
use crate::status::Status;

/// What was measured.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) proxies: Option<Comparison>,
    pub(crate) cold: Option<Cold>,
    pub(crate) crowd: Option<Crowd>,
    pub(crate) discovery: Option<Discovery>,
    pub(crate) status: Option<Status>,
}

/// A median, and how far the values are apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    smallest: f64,
    pub(crate) median: f64,
    largest: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Expectation {
    AtLeast(f64),
    AtMost(f64),
}

impl Spread {
    /// Of no values, it is all NaN.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let half = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(at(half.wrapping_sub(1)), at(half))
        } else {
            at(half)
        };
        Self {
            smallest: at(0),
            median,
            largest: at(values.len().wrapping_sub(1)),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            smallest,
            median,
            largest,
        } = self;
        write!(f, "{median:.2} ({smallest:.2} to {largest:.2})")
    }
}

impl Expectation {
    /// What there is to say of a ratio.
    pub(crate) fn verdict(self, ratio: Spread) -> String {
        let (text, meets): (_, fn(f64, f64) -> bool) = match self {
            Self::AtLeast(limit) => (format!("at least {limit}"), |ratio, limit| ratio >= limit),
            Self::AtMost(limit) => (format!("at most {limit}"), |ratio, limit| ratio <= limit),
        };
        let (Self::AtLeast(limit) | Self::AtMost(limit)) = self;
        let met = [ratio.smallest, ratio.largest].map(|ratio| meets(ratio, limit));
        let verdict = match (meets(ratio.median, limit), met) {
            (true, [true, true]) => "met",
            (false, [false, false]) => "MISSED",
            (true, _) => "met, but not in all rounds",
            (false, _) => "MISSED, but not in all rounds",
        };
        format!("{text}: {verdict}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            proxies,
            cold,
            crowd,
            discovery,
            status,
        } = self;
        let parts = [
            proxies.as_ref().map(ToString::to_string),
            cold.as_ref().map(ToString::to_string),
            crowd.as_ref().map(ToString::to_string),
            discovery.as_ref().map(ToString::to_string),
            status.as_ref().map(ToString::to_string),
        ];
        let taken: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(&taken.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!(spread.to_string(), "2.00 (1.00 to 3.00)");
        assert_eq!(
            Spread::of(vec![4.0, 1.0, 2.0, 3.0]).to_string(),
            "2.50 (1.00 to 4.00)"
        );
        assert!(Spread::of(Vec::new()).median.is_nan());
    }

    #[test]
    fn a_verdict_says_when_rounds_differ() {
        let spread = |values: [f64; 3]| Spread::of(values.into());
        let verdict = |values| Expectation::AtMost(1.15).verdict(spread(values));
        assert_eq!(verdict([1.0, 1.1, 1.1]), "at most 1.15: met");
        assert_eq!(
            verdict([1.0, 1.1, 1.2]),
            "at most 1.15: met, but not in all rounds"
        );
        assert_eq!(verdict([1.2, 1.2, 1.3]), "at most 1.15: MISSED");
    }
}
