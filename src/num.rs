//! Between counts and the numbers that decisions calculate with: the filter's only casts.

/// From here on a double does not know its neighbours: 2^53.
pub const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

/// A count as a number to calculate with: exact up to 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "nobody counts the difference beyond 2^53 connections"
)]
#[must_use]
pub const fn approximate(count: u64) -> f64 {
    count as f64
}

/// A difference of counts as a number to calculate with: exact up to 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "nobody counts the difference beyond 2^53 connections"
)]
#[must_use]
pub const fn approximate_signed(change: i64) -> f64 {
    change as f64
}

/// The nearest count; 0 for what is negative or no number.
#[must_use]
pub fn rounded(number: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates"
    )]
    let count = number.round() as u64;
    count
}

/// The largest count that is not above `number`; 0 for what is negative or no number.
#[must_use]
pub fn rounded_down(number: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounding down is what is wanted, and the cast saturates"
    )]
    let count = number.floor() as u32;
    count
}

/// The count that `number` is; none where it is negative, has a fraction or is past 2^53.
#[must_use]
pub fn whole(number: f64) -> Option<u64> {
    let is_whole = number.fract() == 0.0 && (0.0..=LARGEST_WHOLE).contains(&number);
    is_whole.then(|| rounded(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_saturate() {
        assert_eq!((rounded(2.5), rounded(-1.0), rounded(f64::NAN)), (3, 0, 0));
        assert_eq!(rounded(f64::INFINITY), u64::MAX);
        assert_eq!((rounded_down(2.9), rounded_down(-0.1)), (2, 0));
        assert_eq!(rounded_down(1e300), u32::MAX);
    }

    #[test]
    fn only_whole_numbers_are_counts() {
        assert_eq!(whole(7.0), Some(7));
        assert_eq!(whole(LARGEST_WHOLE), Some(1 << 53));
        for no_count in [-1.0, 0.5, 1e300, f64::NAN, f64::INFINITY] {
            assert_eq!(whole(no_count), None, "{no_count}");
        }
    }
}
