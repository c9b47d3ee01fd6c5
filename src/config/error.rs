//! What is wrong with a configuration, in the words of who writes it.

use std::fmt::{self, Display};

use serde::de::{self, Expected, Unexpected};

use super::document::number;

/// More of a text than this is not repeated in an error.
const LONGEST_QUOTE: usize = 80;

/// Which field of the configuration is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    field: String,
    reason: String,
}

impl ConfigError {
    pub(super) fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
        }
    }

    /// The path of the field, such as `services[0].cluster`; empty where the whole is wrong.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong with it, in words that follow its path.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What is there can't be.
    pub(super) fn unlike(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::here(format!("{} is not {expected}", Found(found)))
    }

    /// Nothing is there.
    pub(super) fn missing(expected: &dyn Expected) -> Self {
        Self::here(format!("is missing; it is {expected}"))
    }

    /// The place is not known yet.
    pub(super) fn here(reason: impl Into<String>) -> Self {
        Self::new("", reason)
    }

    /// With a hint after the reason.
    pub(super) fn hint(self, hint: &str) -> Self {
        Self::new(self.field, format!("{}: {hint}", self.reason))
    }

    /// The place is within this field.
    pub(super) fn within(self, name: &str) -> Self {
        let dot = match self.field.as_bytes().first() {
            None | Some(b'[') => "",
            Some(_) => ".",
        };
        Self::new(format!("{name}{dot}{}", self.field), self.reason)
    }

    /// The place is within this entry of a list.
    pub(super) fn at(self, index: usize) -> Self {
        self.within(&format!("[{index}]"))
    }
}

impl Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = match self.field.as_str() {
            "" => "configuration",
            field => field,
        };
        write!(f, "{field}: {}", self.reason)
    }
}

impl std::error::Error for ConfigError {}

/// So that what serde finds is said in these words, too.
impl de::Error for ConfigError {
    fn custom<T: Display>(reason: T) -> Self {
        Self::here(reason.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::unlike(found, expected)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::unlike(found, expected)
    }
}

/// What is there, as it is written.
struct Found<'value>(Unexpected<'value>);

impl Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unexpected::Bool(truth) => truth.fmt(f),
            Unexpected::Unsigned(number) => number.fmt(f),
            Unexpected::Signed(number) => number.fmt(f),
            // Unlike a double's own text, this has an exponent where it would be long otherwise.
            Unexpected::Float(double) => match number(double) {
                Some(number) => number.fmt(f),
                None => double.fmt(f),
            },
            Unexpected::Str(text) => match text.char_indices().nth(LONGEST_QUOTE) {
                None => fmt::Debug::fmt(text, f),
                Some((end, _)) => write!(f, "{:?}…", text.get(..end).unwrap_or_default()),
            },
            Unexpected::Unit | Unexpected::Option => f.write_str("null"),
            Unexpected::Seq => f.write_str("a list"),
            _ => f.write_str("an object"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_put_together_from_within() {
        let error = ConfigError::here("is wrong");
        assert_eq!(error.to_string(), "configuration: is wrong");
        let error = error.within("threshold").within("rebalance").at(0);
        assert_eq!(
            error.within("services").to_string(),
            "services[0].rebalance.threshold: is wrong"
        );
        let error = ConfigError::here("is wrong").at(1).at(0).within("a");
        assert_eq!(error.to_string(), "a[0][1]: is wrong");
    }

    #[test]
    fn what_is_there_is_shown_as_it_is_written() {
        let long = "é".repeat(81);
        let cut = format!("\"{}\"…", "é".repeat(80));
        for (found, expect) in [
            (Unexpected::Bool(true), "true"),
            (Unexpected::Unsigned(7), "7"),
            (Unexpected::Signed(-7), "-7"),
            (Unexpected::Float(1.5), "1.5"),
            (Unexpected::Float(1e99), "1e+99"),
            (Unexpected::Str("a\"b\n"), r#""a\"b\n""#),
            (Unexpected::Str(&long), cut.as_str()),
            (Unexpected::Unit, "null"),
            (Unexpected::Seq, "a list"),
            (Unexpected::Map, "an object"),
        ] {
            assert_eq!(Found(found).to_string(), expect);
        }
    }
}
