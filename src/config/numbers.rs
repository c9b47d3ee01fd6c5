//! The numbers of the configuration: what each may be, in words and in fact.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Bound::{self, Excluded, Included, Unbounded};
use std::ops::RangeBounds;

use serde::{Deserialize, Deserializer, de};

use crate::num::{approximate, approximate_signed, whole};

/// A whole number within bounds.
#[derive(Clone, Copy)]
pub(super) struct Whole<const LEAST: u32, const MOST: u32>(pub(super) u32);

impl<'de, const LEAST: u32, const MOST: u32> Deserialize<'de> for Whole<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = format!("a whole number from {LEAST} to {MOST}");
        let number = number(deserializer, &expected, |number| {
            whole(number).filter(|whole| (LEAST.into()..=MOST.into()).contains(whole))
        });
        Ok(Self(u32::try_from(number?).unwrap_or(MOST)))
    }
}

/// A number with bounds and a unit.
#[derive(Clone, Copy)]
pub(super) struct Bounded<B> {
    number: f64,
    bounds: PhantomData<B>,
}

impl<B> Bounded<B> {
    pub(super) fn get(self) -> f64 {
        self.number
    }
}

/// What a number may be.
pub(super) trait Bounds {
    /// In words, for errors.
    const EXPECTED: &'static str;

    /// In fact.
    const RANGE: (Bound<f64>, Bound<f64>);
}

impl<'de, B: Bounds> Deserialize<'de> for Bounded<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let within = |number: f64| B::RANGE.contains(&number).then_some(number);
        let number = number(deserializer, B::EXPECTED, within)?;
        Ok(Self {
            number,
            bounds: PhantomData,
        })
    }
}

/// How many times its even share.
#[derive(Clone, Copy)]
pub(super) struct Shares;

impl Bounds for Shares {
    const EXPECTED: &'static str = "a number greater than 1, the even share";
    const RANGE: (Bound<f64>, Bound<f64>) = (Excluded(1.0), Unbounded);
}

/// WebSockets in a second.
#[derive(Clone, Copy)]
pub(super) struct PerSecond;

impl Bounds for PerSecond {
    const EXPECTED: &'static str = "a number of WebSockets a second, greater than 0";
    const RANGE: (Bound<f64>, Bound<f64>) = (Excluded(0.0), Unbounded);
}

/// An exponent, as its reciprocal.
#[derive(Clone, Copy)]
pub(super) struct Aggression;

impl Bounds for Aggression {
    const EXPECTED: &'static str = "a number greater than 0; 1 is a straight line";
    const RANGE: (Bound<f64>, Bound<f64>) = (Excluded(0.0), Unbounded);
}

/// Percent.
#[derive(Clone, Copy)]
pub(super) struct Percent;

impl Bounds for Percent {
    const EXPECTED: &'static str = "a number of percent from 0 to 100, without the sign";
    const RANGE: (Bound<f64>, Bound<f64>) = (Included(0.0), Included(100.0));
}

/// A number for which `accepted` has a value; in words, it is `expected`.
fn number<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &str,
    accepted: impl FnOnce(f64) -> Option<T>,
) -> Result<T, D::Error> {
    struct Visitor<'a, F> {
        expected: &'a str,
        accepted: F,
    }

    impl<T, F: FnOnce(f64) -> Option<T>> de::Visitor<'_> for Visitor<'_, F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.expected)
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
            let Self { expected, accepted } = self;
            let found = de::Unexpected::Float(number);
            accepted(number).ok_or_else(|| E::invalid_value(found, &expected))
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
            let Self { expected, accepted } = self;
            let found = de::Unexpected::Unsigned(number);
            accepted(approximate(number)).ok_or_else(|| E::invalid_value(found, &expected))
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
            let Self { expected, accepted } = self;
            let found = de::Unexpected::Signed(number);
            accepted(approximate_signed(number)).ok_or_else(|| E::invalid_value(found, &expected))
        }
    }

    deserializer.deserialize_f64(Visitor { expected, accepted })
}
