//! The place of a count in a JSON document: a JSON pointer (RFC 6901).

use std::fmt;
use std::str::FromStr;

use serde::Deserializer as _;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

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
    /// What is there in a document; none where nothing is. Of all else it is only known that it is
    /// JSON, so it costs no memory, and nobody minds a number there that is past all bounds.
    pub(super) fn find<'document>(
        &self,
        document: &'document RawValue,
    ) -> Option<&'document RawValue> {
        let mut steps = self.0.split('/').skip(1);
        steps.try_fold(document, |value, step| {
            let step = step.replace("~1", "/").replace("~0", "~");
            let mut reader = serde_json::Deserializer::from_str(value.get());
            reader.deserialize_any(Step(&step)).ok().flatten()
        })
    }
}

/// Into the field of this name, or into the element with this number: of two fields of a name, the
/// last.
struct Step<'step>(&'step str);

impl<'document> Visitor<'document> for Step<'_> {
    type Value = Option<&'document RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<M: MapAccess<'document>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            let value: &RawValue = map.next_value()?;
            if name == self.0 {
                found = Some(value);
            }
        }
        Ok(found)
    }

    fn visit_seq<S: SeqAccess<'document>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
        // Without a zero before it (RFC 6901, section 4); the parser would take a plus sign, too.
        let is_number = self.0 == "0" || self.0.starts_with(|c: char| matches!(c, '1'..='9'));
        let wanted: Option<usize> = self.0.parse().ok().filter(|_| is_number);
        let (mut found, mut place) = (None, 0_usize);
        while let Some(value) = seq.next_element::<&RawValue>()? {
            if wanted == Some(place) {
                found = Some(value);
            }
            place = place.saturating_add(1);
        }
        Ok(found)
    }
}

/// The count that a value is: a whole number, or a text of its digits.
pub(super) fn count(value: &RawValue) -> Option<Count> {
    /// No count is written with more bytes.
    const LONGEST: usize = 400;
    let text = Some(value.get()).filter(|text| text.len() <= LONGEST)?;
    match serde_json::from_str(text).ok()? {
        Value::String(text) => Count::of_digits(&text),
        value => Count::of_json(&value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn find<'document>(document: &'document str, pointer: &str) -> Option<&'document str> {
        let pointer: Pointer = pointer.parse().unwrap();
        Some(pointer.find(raw(document))?.get())
    }

    #[test]
    fn the_examples_of_the_rfc() {
        let document = r#"{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4,
            "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8}"#;
        for (pointer, value) in [
            ("", document),
            ("/foo", r#"["bar", "baz"]"#),
            ("/foo/0", "\"bar\""),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
        ] {
            assert_eq!(find(document, pointer), Some(value), "{pointer}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_found_and_all_else_does_not_matter() {
        let deep = "[".repeat(50_000) + &"]".repeat(50_000);
        let document = format!(
            r#"{{"a": 1e999, "b": "\ud800", "a": [0, [{deep}, 7.5], {{"c": 1, "c": 2}}]}}"#
        );
        for (pointer, value) in [
            ("/a/1/1", Some("7.5")),
            ("/a/2/c", Some("2")),
            ("/a/0", Some("0")),
            ("/a/00", None),
            ("/a/+1", None),
            ("/a/-", None),
            ("/a/3", None),
            ("/a/99999999999999999999", None),
            ("/a/0/x", None),
            ("/b/0", None),
            ("/d", None),
            ("/a/2/c/d/e", None),
        ] {
            assert_eq!(find(&document, pointer), value, "{pointer}");
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
            ("7", Some(7)),
            ("7.0", Some(7)),
            ("\"7\"", Some(7)),
            ("\"18446744073709551615\"", Some(u64::MAX)),
            ("-1", Some(0)),
            ("\"-1\"", Some(0)),
            ("1.5", None),
            ("1e300", None),
            ("1e999", None),
            ("\"7.0\"", None),
            ("\"seven\"", None),
            ("\"\\ud800\"", None),
            ("true", None),
            ("[7]", None),
        ] {
            let count = count(raw(value)).map(|count| count.value);
            assert_eq!(count, expect, "{value}");
        }
        let long = "0".repeat(1_000);
        assert_eq!(count(raw(&format!("\"{long}\""))), None);
        assert_eq!(
            count(raw(&format!("7.{}", long.split_at(300).0))).map(|count| count.value),
            Some(7)
        );
    }
}
