//! A count among the series of a Prometheus exporter: the text exposition format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>), and as much of a selector as
//! it takes to name the series.
//!
//! Lines that are comments, or series of other names, are passed over unread, so that a format's
//! later additions do not matter. The exemplars that may follow a value in `OpenMetrics` are
//! passed over as well.

use std::fmt;
use std::str::FromStr;

use super::failure::PollFailure;
use crate::num::whole;

/// Which series count: `name{label="value", other!="value"}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    name: String,
    matchers: Vec<Matcher>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Matcher {
    label: String,
    value: String,
    /// Whether the label is to have the value, or not to have it.
    equal: bool,
}

/// Why a text is not a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectorError(String);

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} does not name series: write name{{label=\"value\"}}, with = and != only",
            self.0
        )
    }
}

impl std::error::Error for SelectorError {}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let error = || SelectorError(text.to_owned());
        let mut rest = Text(text.trim());
        let name = rest.name().ok_or_else(error)?.to_owned();
        let mut matchers = Vec::new();
        if rest.skip('{') {
            while !rest.skip('}') {
                let label = rest.name().ok_or_else(error)?.to_owned();
                let equal = !rest.skip('!');
                let value = rest.skip('=').then(|| rest.quoted()).flatten();
                matchers.push(Matcher {
                    label,
                    value: value.ok_or_else(error)?,
                    equal,
                });
                rest.skip(',');
            }
        }
        if rest.0.is_empty() {
            Ok(Self { name, matchers })
        } else {
            Err(error())
        }
    }
}

impl Selector {
    /// The sum of the series that match.
    ///
    /// # Errors
    /// Where none matches, one can't be read, or the sum is no non-negative integer.
    pub(super) fn sum(&self, body: &[u8]) -> Result<u64, PollFailure> {
        let text = std::str::from_utf8(body).map_err(|_| PollFailure::NotAnExposition)?;
        let mut sum = None;
        for line in text.lines().map(str::trim) {
            let mut rest = Text(line);
            if rest.name() != Some(&self.name) {
                continue;
            }
            let value = self
                .value(rest)
                .map_err(|Malformed| PollFailure::NotAnExposition)?;
            if let Some(value) = value {
                sum = Some(sum.unwrap_or(0.0) + value);
            }
        }
        let sum = sum.ok_or(PollFailure::NothingThere)?;
        whole(sum).ok_or(PollFailure::NotACount)
    }

    /// The value of the series of which `rest` is what follows the name; none where its labels do
    /// not match.
    fn value(&self, mut rest: Text<'_>) -> Result<Option<f64>, Malformed> {
        let mut labels = Vec::new();
        if rest.skip('{') {
            while !rest.skip('}') {
                let label = rest.name().ok_or(Malformed)?;
                if !rest.skip('=') {
                    return Err(Malformed);
                }
                labels.push((label, rest.quoted().ok_or(Malformed)?));
                rest.skip(',');
            }
        }
        let value = rest.0.split_ascii_whitespace().next().ok_or(Malformed)?;
        let value = value.parse().map_err(|_| Malformed)?;
        let matches = self.matchers.iter().all(|matcher| matcher.accepts(&labels));
        Ok(matches.then_some(value))
    }
}

impl Matcher {
    fn accepts(&self, labels: &[(&str, String)]) -> bool {
        let value = labels.iter().find(|(label, _)| *label == self.label);
        // A label that is not there is an empty one, as in Prometheus.
        let value = value.map_or("", |(_, value)| value);
        (value == self.value) == self.equal
    }
}

/// A line that is no series.
struct Malformed;

/// What is left to read; white space between the parts does not matter.
#[derive(Clone, Copy)]
struct Text<'text>(&'text str);

impl<'text> Text<'text> {
    /// A metric's or a label's name.
    fn name(&mut self) -> Option<&'text str> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let end = self.0.find(|c| !is_part(c)).unwrap_or(self.0.len());
        let (name, rest) = self.0.split_at_checked(end)?;
        let sound = name.starts_with(|c: char| !c.is_ascii_digit());
        sound.then(|| {
            self.0 = rest.trim_start();
            name
        })
    }

    /// Whether `wanted` comes next; then it is passed.
    fn skip(&mut self, wanted: char) -> bool {
        let rest = self.0.strip_prefix(wanted);
        if let Some(rest) = rest {
            self.0 = rest.trim_start();
        }
        rest.is_some()
    }

    /// A label's value, in which a backslash escapes itself, quotes and, as `\n`, a line feed.
    fn quoted(&mut self) -> Option<String> {
        let text = self.0.strip_prefix('"')?;
        let mut value = String::new();
        let mut chars = text.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => value.push(match chars.next()? {
                    'n' => '\n',
                    escaped @ ('\\' | '"') => escaped,
                    _ => return None,
                }),
                other => value.push(other),
            }
        }
        self.0 = chars.as_str().trim_start();
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXPORTER: &str = r#"
# HELP websocket_connections Open connections, by "state".
# TYPE websocket_connections gauge
websocket_connections{state="open",listener="a"} 12
websocket_connections{state="open",listener="b \"c\" \\ \n",} 30 1395066363000
websocket_connections{state="closing"} 4
  websocket_connections_total 5e3
process_start_time_seconds 1.7e+09
websocket_clients 7 # {trace_id="x"} 0.67
up NaN
lag{quantile="0.99"} +Inf
broken{ 7
half 0.5
other_ends{x="y"
"#;

    fn sum(selector: &str) -> Result<u64, PollFailure> {
        let selector: Selector = selector.parse().expect("a selector");
        selector.sum(EXPORTER.as_bytes())
    }

    #[test]
    fn matching_series_are_added_up() {
        for (selector, expect) in [
            (r#"websocket_connections{state="open"}"#, 42),
            (
                r#" websocket_connections { state = "open" , listener != "a" } "#,
                30,
            ),
            (r#"websocket_connections{listener="b \"c\" \\ \n"}"#, 30),
            (r#"websocket_connections{listener=""}"#, 4),
            (r#"websocket_connections{absent!="x"}"#, 46),
            ("websocket_connections", 46),
            ("websocket_connections{}", 46),
            ("websocket_connections_total", 5_000),
            ("websocket_clients", 7),
        ] {
            assert_eq!(sum(selector), Ok(expect), "{selector}");
        }
    }

    #[test]
    fn what_brings_no_count() {
        for (selector, failure) in [
            ("absent", PollFailure::NothingThere),
            (
                r#"websocket_connections{state="lost"}"#,
                PollFailure::NothingThere,
            ),
            ("up", PollFailure::NotACount),
            ("lag", PollFailure::NotACount),
            ("half", PollFailure::NotACount),
            ("broken", PollFailure::NotAnExposition),
            ("other_ends", PollFailure::NotAnExposition),
        ] {
            assert_eq!(sum(selector), Err(failure), "{selector}");
        }
        let selector: Selector = "a".parse().unwrap();
        for (body, failure) in [
            ("", PollFailure::NothingThere),
            ("{\"json\": 1}", PollFailure::NothingThere),
            ("a", PollFailure::NotAnExposition),
            ("a b", PollFailure::NotAnExposition),
            ("a -3", PollFailure::NotACount),
            ("a 1e300", PollFailure::NotACount),
        ] {
            assert_eq!(selector.sum(body.as_bytes()), Err(failure), "{body}");
        }
        assert_eq!(selector.sum(b"a \xff"), Err(PollFailure::NotAnExposition));
    }

    #[test]
    fn what_is_no_selector() {
        for text in [
            "",
            "{state=\"open\"}",
            "1st",
            "name{",
            "name{state}",
            "name{state=open}",
            "name{state=~\"o.*\"}",
            "name{state=\"open\"} 5",
            "name{state=\"\\x\"}",
            "rate(name[5m])",
        ] {
            let error = text.parse::<Selector>().expect_err(text).to_string();
            assert!(error.contains("does not name series"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let selector: Selector = r#"a{b="c"}"#.parse().unwrap();
            let _either = selector.sum(&body);
        }

        #[test]
        fn no_text_is_too_much(text in r#"[a{}="\\!,~ é]{0,20}"#) {
            if let Ok(selector) = text.parse::<Selector>() {
                let _either = selector.sum(text.as_bytes());
            }
        }
    }
}
