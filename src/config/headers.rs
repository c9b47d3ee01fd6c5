//! Header fields that polls have beside those that the filter sets itself.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

use super::error::ConfigError;
use super::values::is_header_name;

/// Header fields of polls, by their names in lower case. Their values are shown nowhere.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct PollHeaders(Vec<(String, String)>);

impl PollHeaders {
    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// The names; of the values only that they are there.
impl fmt::Debug for PollHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redacted = self.0.iter().map(|(name, _)| (name, "…"));
        f.debug_map().entries(redacted).finish()
    }
}

/// The same as written. It is checked where its place is known, so that no error quotes a value.
pub(super) struct HeaderFields(Map<String, Value>);

impl<'de> Deserialize<'de> for HeaderFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(de::Error::custom("has to be an object of names and values")),
        }
    }
}

/// What the filter sets, or HTTP itself needs, and what sets it.
const TAKEN: [(&str, &str); 11] = [
    ("accept", "the filter asks for the form that metric says"),
    ("accept-encoding", "the filter asks for identity"),
    ("user-agent", "the filter names itself"),
    ("host", "set metricHost"),
    ("connection", "it is Envoy's"),
    ("content-length", "a poll has no body"),
    ("expect", "a poll has no body"),
    ("te", "it is Envoy's"),
    ("trailer", "a poll has no body"),
    ("transfer-encoding", "a poll has no body"),
    ("upgrade", "a poll is no WebSocket"),
];

impl HeaderFields {
    /// Checks the fields that stand at `place`, where `override_header` steers polls.
    ///
    /// # Errors
    /// The path of a field whose name or value can't be, or that is set already.
    pub(super) fn check(
        &self,
        place: &str,
        override_header: &str,
    ) -> Result<PollHeaders, ConfigError> {
        let mut checked: Vec<(String, String)> = Vec::new();
        for (written, value) in &self.0 {
            let error = |reason: &str| ConfigError::new(format!("{place}.{written}"), reason);
            if written.starts_with(':') {
                let reason = "is set by the filter: there are metricPath and metricHost";
                return Err(error(reason));
            }
            let name = written.to_ascii_lowercase();
            if !is_header_name(&name) {
                return Err(error("is not the name of a header"));
            }
            if let Some((_, reason)) = TAKEN.iter().find(|(taken, _)| *taken == name) {
                return Err(error(&format!("can't be set: {reason}")));
            }
            if name == override_header {
                return Err(error("can't be set: it is the overrideHeader"));
            }
            if checked.iter().any(|(known, _)| *known == name) {
                return Err(error("is there twice"));
            }
            let value = value.as_str().ok_or_else(|| error("is not a text"))?;
            if !is_value(value) {
                return Err(error(
                    "has a character that can't be in a header: write visible ASCII, and spaces \
                     within",
                ));
            }
            checked.push((name, value.to_owned()));
        }
        Ok(PollHeaders(checked))
    }
}

/// Whether a text is the value of a header field (RFC 9110, section 5.5).
fn is_value(text: &str) -> bool {
    let is_sound = |byte: u8| byte.is_ascii_graphic() || [b' ', b'\t'].contains(&byte);
    text.bytes().all(is_sound) && text.trim_ascii().len() == text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(fields: Value) -> Result<PollHeaders, String> {
        let fields: HeaderFields = serde_json::from_value(fields).map_err(|e| e.to_string())?;
        let checked = fields.check("metricHeaders", "x-pod");
        checked.map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_in_lower_case_and_values_are_shown_nowhere() {
        let headers =
            check(json!({ "X-Forwarded-Proto": "https", "x-key": "s3cr3t \t\"x\"" })).unwrap();
        let fields: Vec<_> = headers.iter().collect();
        let expected = [("x-forwarded-proto", "https"), ("x-key", "s3cr3t \t\"x\"")];
        assert_eq!(fields.len(), 2);
        assert!(expected.iter().all(|field| fields.contains(field)));
        let shown = format!("{headers:?} {headers:#?}");
        assert!(
            shown.contains("x-key") && !shown.contains("s3cr3t"),
            "{shown}"
        );
        assert_eq!(check(json!({})), Ok(PollHeaders::default()));
        assert!(check(json!({ "x-empty": "" })).is_ok());
    }

    #[test]
    fn what_can_not_be_a_header_is_refused_without_its_value() {
        for (name, value, reason) in [
            (":authority", json!("s3cr3t"), "is set by the filter"),
            (":path", json!("s3cr3t"), "is set by the filter"),
            ("Accept", json!("s3cr3t"), "can't be set: the filter asks"),
            (
                "accept-encoding",
                json!("s3cr3t"),
                "can't be set: the filter",
            ),
            ("Host", json!("s3cr3t"), "can't be set: set metricHost"),
            ("user-agent", json!("s3cr3t"), "can't be set"),
            ("transfer-encoding", json!("s3cr3t"), "can't be set"),
            ("X-Pod", json!("s3cr3t"), "can't be set: it is the override"),
            ("x y", json!("s3cr3t"), "is not the name of a header"),
            ("", json!("s3cr3t"), "is not the name of a header"),
            ("x-ö", json!("s3cr3t"), "is not the name of a header"),
            ("x-a", json!("s3cr3t\r\nx-b: c"), "has a character"),
            ("x-a", json!("s3cr3t\0"), "has a character"),
            ("x-a", json!(" s3cr3t"), "has a character"),
            ("x-a", json!("s3cr3t\u{7f}"), "has a character"),
            ("x-a", json!("s3cr3t é"), "has a character"),
            ("x-a", json!(["s3cr3t"]), "is not a text"),
            ("x-a", json!(5), "is not a text"),
        ] {
            let error = check(json!({ name: value })).unwrap_err();
            let start = format!("metricHeaders.{name}: {reason}");
            assert!(error.starts_with(&start), "{error}\n{start}");
            assert!(!error.contains("s3cr3t"), "{error}");
        }
        let twice = check(json!({ "x-a": "1", "X-A": "2" })).unwrap_err();
        assert!(twice.ends_with(": is there twice"), "{twice}");
        for other in [json!("s3cr3t"), json!(["s3cr3t"]), json!(5)] {
            let error = check(other).unwrap_err();
            assert_eq!(error, "has to be an object of names and values");
        }
    }
}
