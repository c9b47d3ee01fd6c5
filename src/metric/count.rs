//! From a number, as a pod writes it, to a count.
//!
//! JSON has one kind of number: `42`, `42.0` and `4.2e1` are the same. A gauge that was counted down
//! once too often is below zero: its pod has nothing open as far as it knows.

use serde_json::Value;

use crate::num::whole;

/// A count, and whether it was written below zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// The count; 0 for what is below.
    pub(super) value: u64,
    /// Whether it was below zero.
    pub(super) is_below_zero: bool,
}

impl Count {
    const BELOW_ZERO: Self = Self {
        value: 0,
        is_below_zero: true,
    };

    const fn of(value: u64) -> Self {
        Self {
            value,
            is_below_zero: false,
        }
    }

    /// The count that a number is; none where it has a fraction, is past 2^53 or is no number.
    pub(super) fn of_number(number: f64) -> Option<Self> {
        if number.is_finite() && number < 0.0 {
            return Some(Self::BELOW_ZERO);
        }
        whole(number).map(Self::of)
    }

    /// The count that a value is in JSON; none where it is none, or not a number.
    pub(super) fn of_json(value: &Value) -> Option<Self> {
        let exact = value.as_u64().map(Self::of);
        exact.or_else(|| Self::of_number(value.as_f64()?))
    }

    /// The count that a text of digits is: so protobuf's JSON writes integers of 64 bits.
    pub(super) fn of_digits(text: &str) -> Option<Self> {
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        // The parser would take a plus sign, too.
        let is_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
        let value: u64 = is_digits.then(|| digits.parse().ok()).flatten()?;
        Some(if is_negative && value > 0 {
            Self::BELOW_ZERO
        } else {
            Self::of(value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_one_kind_of_number() {
        let of = |json: &str| Count::of_json(&serde_json::from_str(json).unwrap());
        for (json, value) in [
            ("42", 42),
            ("42.0", 42),
            ("4.2e1", 42),
            ("420E-1", 42),
            ("-0", 0),
            ("-0.0", 0),
            ("0e5", 0),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(of(json), Some(Count::of(value)), "{json}");
        }
        for json in ["-1", "-2.0", "-0.5", "-1e300", "-9223372036854775808"] {
            assert_eq!(of(json), Some(Count::BELOW_ZERO), "{json}");
        }
        for json in [
            "1.5",
            "1e300",
            "18446744073709551616",
            "\"42\"",
            "null",
            "[1]",
            "true",
        ] {
            assert_eq!(of(json), None, "{json}");
        }
    }

    #[test]
    fn texts_of_digits_are_counts() {
        for (text, count) in [
            ("42", Some(Count::of(42))),
            ("18446744073709551615", Some(Count::of(u64::MAX))),
            ("-0", Some(Count::of(0))),
            ("-2", Some(Count::BELOW_ZERO)),
            ("", None),
            ("-", None),
            ("+1", None),
            ("1.0", None),
            (" 1", None),
            ("--1", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(Count::of_digits(text), count, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_no_count() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5] {
            assert_eq!(Count::of_number(number), None, "{number}");
        }
    }
}
