//! The place of a count in a JSON document: a JSON pointer (RFC 6901).

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::count::Count;

/// A JSON pointer: empty for the whole document, or steps that begin with a slash each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pointer(String);

/// Why a text is not a JSON pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointerError(String);

impl fmt::Display for PointerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not a JSON pointer: write a slash before each step, ~1 for a slash in one, \
             and ~0 for a tilde",
            self.0
        )
    }
}

impl std::error::Error for PointerError {}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        let rooted = text.is_empty() || text.starts_with('/');
        // A tilde is followed by 0 or 1 (RFC 6901, section 3).
        let mut after_tildes = text.split('~').skip(1);
        if rooted && after_tildes.all(|rest| rest.starts_with(['0', '1'])) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PointerError(text.to_owned()))
        }
    }
}

impl Pointer {
    /// What is there in a document.
    #[must_use]
    pub fn of<'document>(&self, document: &'document Value) -> Option<&'document Value> {
        document.pointer(&self.0)
    }
}

/// The count that a value is: a whole number, or a text of its digits.
pub(super) fn count(value: &Value) -> Option<Count> {
    match value {
        Value::String(text) => Count::of_digits(text),
        value => Count::of_json(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        let document = json!({
            "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5,
            "k\"l": 6, " ": 7, "m~n": 8,
        });
        let at = |pointer: &str| {
            pointer
                .parse::<Pointer>()
                .unwrap()
                .of(&document)
                .cloned()
                .unwrap()
        };
        assert_eq!(at(""), document);
        for (pointer, value) in [
            ("/foo/0", json!("bar")),
            ("/", json!(0)),
            ("/a~1b", json!(1)),
            ("/c%d", json!(2)),
            ("/ ", json!(7)),
            ("/m~0n", json!(8)),
        ] {
            assert_eq!(at(pointer), value, "{pointer}");
        }
    }

    #[test]
    fn what_is_no_pointer() {
        for text in ["stats", "a/b", "/a~", "/a~2b", "#/a"] {
            let error = text.parse::<Pointer>().unwrap_err().to_string();
            assert!(error.contains("is not a JSON pointer"), "{error}");
        }
    }

    #[test]
    fn numbers_and_texts_of_digits_are_counts() {
        for (value, expect) in [
            (json!(7), Some(7)),
            (json!(7.0), Some(7)),
            (json!("7"), Some(7)),
            (json!(u64::MAX.to_string()), Some(u64::MAX)),
            (json!(-1), Some(0)),
            (json!("-1"), Some(0)),
            (json!(1.5), None),
            (json!(1e300), None),
            (json!("7.0"), None),
            (json!("seven"), None),
            (json!(true), None),
            (json!([7]), None),
        ] {
            let count = count(&value).map(|count| count.value);
            assert_eq!(count, expect, "{value}");
        }
    }
}
