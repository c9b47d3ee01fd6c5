//! A count among the series of a Prometheus exporter: the text exposition format
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>), and as much of a selector as
//! it takes to name the series.
//!
//! It is read as Prometheus' own parser reads it: a backslash that escapes nothing is one, and names
//! may be quoted, within the braces, to have any characters. Lines are looked at one by one. Those of
//! other names are passed over unread, so that a format's later additions do not matter, and so are
//! the exemplars that may follow a value in `OpenMetrics`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::count::Count;
use super::failure::PollFailure;

/// Which series count: `name{label="value", other!="value"}`, or with names in quotes
/// `{"name", "label"="value"}`.
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
        Self::parse(Text(text.trim())).ok_or_else(|| SelectorError(text.to_owned()))
    }
}

/// What came of looking for series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Some match: their sum.
    Sum(Count),
    /// None has the name, but the exporter describes it: nothing was counted yet.
    Described,
    /// None matches.
    Nothing,
}

impl Selector {
    fn parse(mut rest: Text<'_>) -> Option<Self> {
        let mut name = rest.name().map(str::to_owned);
        let mut matchers = Vec::new();
        let has_braces = rest.skip('{');
        while has_braces && !rest.skip('}') {
            let (label, is_quoted) = rest.label(Escapes::Strict)?;
            let equal = !rest.skip('!');
            if rest.skip('=') {
                matchers.push(Matcher {
                    label: label.into_owned(),
                    value: rest.quoted(Escapes::Strict)?.into_owned(),
                    equal,
                });
            } else if is_quoted && equal && name.is_none() {
                name = Some(label.into_owned());
            } else {
                return None;
            }
            rest.skip(',');
        }
        let name = name.filter(|name| !name.is_empty())?;
        rest.0.is_empty().then_some(Self { name, matchers })
    }

    /// The sum of the series that match, each of which counts as 0 where it is below.
    ///
    /// # Errors
    /// Where one of the name can't be read, the sum is no integer, or the body is something else.
    pub(super) fn sum(&self, body: &[u8]) -> Result<Found, PollFailure> {
        let mut sum: Option<f64> = None;
        let mut is_below_zero = false;
        let (mut is_described, mut has_name) = (false, false);
        let mut first_line = None;
        for line in body.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
            if let Some(comment) = line.strip_prefix(b"#") {
                is_described = is_described || self.is_described_by(comment);
                continue;
            }
            if line.is_empty() {
                continue;
            }
            first_line.get_or_insert(line);
            if !self.may_be_of(line) {
                continue;
            }
            let Some(series) = Series::parse(line) else {
                return Err(PollFailure::NotAnExposition);
            };
            if series.name != self.name {
                continue;
            }
            has_name = true;
            if self.matchers.iter().all(|matcher| matcher.accepts(&series)) {
                let is_below = series.value.is_finite() && series.value < 0.0;
                is_below_zero = is_below_zero || is_below;
                let value = if is_below { 0.0 } else { series.value };
                sum = Some(sum.unwrap_or(0.0) + value);
            }
        }
        if let Some(sum) = sum {
            let sum = Count::of_number(sum).ok_or(PollFailure::NotACount)?;
            return Ok(Found::Sum(Count {
                is_below_zero,
                ..sum
            }));
        }
        if is_described && !has_name {
            return Ok(Found::Described);
        }
        // A page or a document of another kind has no count, whatever is missing from it.
        if first_line.is_some_and(|line| Series::parse(line).is_none()) {
            return Err(PollFailure::NotAnExposition);
        }
        Ok(Found::Nothing)
    }

    /// Whether a line may be a series of this name: it begins with it, or with a brace.
    fn may_be_of(&self, line: &[u8]) -> bool {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || [b'_', b':'].contains(byte);
        match line.strip_prefix(self.name.as_bytes()) {
            Some(rest) => !rest.first().is_some_and(is_part),
            // With its name in quotes.
            None => line.starts_with(b"{"),
        }
    }

    /// Whether a comment, without its `#`, is the `HELP` or `TYPE` of this name.
    fn is_described_by(&self, comment: &[u8]) -> bool {
        let comment = comment.trim_ascii_start();
        let word = comment
            .strip_prefix(b"HELP")
            .or_else(|| comment.strip_prefix(b"TYPE"));
        let Some(name) = word.filter(|rest| rest.first().is_some_and(u8::is_ascii_whitespace))
        else {
            return false;
        };
        let end = name.len().min(LONGEST_DESCRIBED);
        let name = name.get(..end).unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        let mut name = Text(name.trim_start());
        let Some((family, _)) = name.label(Escapes::Lenient) else {
            return false;
        };
        let suffix = self.name.strip_prefix(&*family);
        suffix.is_some_and(|suffix| FAMILY_SUFFIXES.contains(&suffix))
    }
}

/// No name is longer, in bytes; a help text may be.
const LONGEST_DESCRIBED: usize = 1024;

/// What the name of a series may have after that of its family: nothing, or what `OpenMetrics` and
/// Micrometer add to say what it counts.
const FAMILY_SUFFIXES: [&str; 5] = ["", "_total", "_count", "_gcount", "_active_count"];

/// A line of the text.
struct Series<'line> {
    name: Cow<'line, str>,
    labels: Vec<(Cow<'line, str>, Cow<'line, str>)>,
    value: f64,
}

impl<'line> Series<'line> {
    /// None where the line is no series.
    fn parse(line: &'line [u8]) -> Option<Self> {
        let mut rest = Text(std::str::from_utf8(line).ok()?);
        let mut name = rest.name().map(Cow::Borrowed);
        let mut labels = Vec::new();
        let has_braces = rest.skip('{');
        while has_braces && !rest.skip('}') {
            let (label, is_quoted) = rest.label(Escapes::Lenient)?;
            if rest.skip('=') {
                labels.push((label, rest.quoted(Escapes::Lenient)?));
            } else if is_quoted && name.is_none() {
                name = Some(label);
            } else {
                return None;
            }
            rest.skip(',');
        }
        let value = rest.0.split_ascii_whitespace().next()?;
        Some(Self {
            name: name?,
            labels,
            value: value.parse().ok()?,
        })
    }
}

impl Matcher {
    fn accepts(&self, series: &Series<'_>) -> bool {
        let mut labels = series.labels.iter();
        let value = labels.find(|(label, _)| *label == self.label);
        // A label that is not there is an empty one, as in Prometheus.
        let value = value.map_or("", |(_, value)| &**value);
        (value == self.value) == self.equal
    }
}

/// What becomes of a backslash that escapes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escapes {
    /// It is one, as an exporter may write it.
    Lenient,
    /// It is a mistake, as in a query.
    Strict,
}

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

    /// A label's name, and whether it is in quotes.
    fn label(&mut self, escapes: Escapes) -> Option<(Cow<'text, str>, bool)> {
        let quoted = self.quoted(escapes).map(|name| (name, true));
        quoted.or_else(|| Some((Cow::Borrowed(self.name()?), false)))
    }

    /// A text in quotes, in which a backslash escapes itself, quotes and, as `\n`, a line feed.
    fn quoted(&mut self, escapes: Escapes) -> Option<Cow<'text, str>> {
        let text = self.0.strip_prefix('"')?;
        let end = text.find(['"', '\\'])?;
        // Most have nothing escaped.
        if let Some(rest) = text.get(end..)?.strip_prefix('"') {
            self.0 = rest.trim_start();
            return text.get(..end).map(Cow::Borrowed);
        }
        let mut value = String::new();
        let mut chars = text.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => match chars.next()? {
                    'n' => value.push('\n'),
                    plain @ ('\\' | '"') => value.push(plain),
                    other if escapes == Escapes::Lenient => value.extend(['\\', other]),
                    _ => return None,
                },
                other => value.push(other),
            }
        }
        self.0 = chars.as_str().trim_start();
        Some(Cow::Owned(value))
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

    fn sum_in(body: &[u8], selector: &str) -> Result<Found, PollFailure> {
        let selector: Selector = selector.parse().expect("a selector");
        selector.sum(body)
    }

    fn sum(selector: &str) -> Result<Found, PollFailure> {
        sum_in(EXPORTER.as_bytes(), selector)
    }

    const fn counted(value: u64) -> Found {
        Found::Sum(Count {
            value,
            is_below_zero: false,
        })
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
            (r#"{"websocket_connections", "state"="open"}"#, 42),
            ("websocket_connections_total", 5_000),
            ("websocket_clients", 7),
        ] {
            assert_eq!(sum(selector), Ok(counted(expect)), "{selector}");
        }
    }

    #[test]
    fn what_brings_no_count() {
        for (selector, failure) in [
            ("up", PollFailure::NotACount),
            ("lag", PollFailure::NotACount),
            ("half", PollFailure::NotACount),
            ("broken", PollFailure::NotAnExposition),
            ("other_ends", PollFailure::NotAnExposition),
        ] {
            assert_eq!(sum(selector), Err(failure), "{selector}");
        }
        for (body, failure) in [
            ("{\"json\": 1}", PollFailure::NotAnExposition),
            ("\n<!DOCTYPE html>\nb 1", PollFailure::NotAnExposition),
            ("a", PollFailure::NotAnExposition),
            ("a b", PollFailure::NotAnExposition),
            ("a 1e300", PollFailure::NotACount),
            ("a -Inf", PollFailure::NotACount),
            ("a +Inf\na -Inf", PollFailure::NotACount),
        ] {
            assert_eq!(sum_in(body.as_bytes(), "a"), Err(failure), "{body}");
        }
        let not_utf8 = sum_in(b"a{b=\"\xff\"} 1", "a");
        assert_eq!(not_utf8, Err(PollFailure::NotAnExposition));
        assert_eq!(sum_in(b"b{c=\"\xff\"} 1\na 2", "a"), Ok(counted(2)));
    }

    #[test]
    fn a_metric_without_a_sample_was_described_or_is_not_there() {
        for (body, found) in [
            (
                "# HELP a Open WebSockets.\n# TYPE a gauge\n",
                Found::Described,
            ),
            ("# HELP a \\xff\nb 1", Found::Described),
            ("# TYPE \"a\" gauge\r\n", Found::Described),
            ("", Found::Nothing),
            ("b 1", Found::Nothing),
            ("# a is what is missing", Found::Nothing),
            ("# TYPE", Found::Nothing),
            ("# TYPEa a", Found::Nothing),
            ("# HELP ab Others.\n# TYPE ab gauge\nab 1", Found::Nothing),
            ("# EOF", Found::Nothing),
        ] {
            assert_eq!(sum_in(body.as_bytes(), "a"), Ok(found), "{body}");
        }
        // Of a family, as OpenMetrics and Micrometer name it.
        let family = b"# TYPE a counter\n# EOF\n";
        assert_eq!(sum_in(family, "a_total"), Ok(Found::Described));
        assert_eq!(sum_in(family, "a_active_count"), Ok(Found::Described));
        assert_eq!(sum_in(family, "a_other"), Ok(Found::Nothing));
        // Another label may be a mistake of the configuration's, which is no reason to count 0.
        let lost = sum(r#"websocket_connections{state="lost"}"#);
        assert_eq!(lost, Ok(Found::Nothing));
        assert_eq!(sum("absent"), Ok(Found::Nothing));
    }

    #[test]
    fn a_series_below_zero_counts_as_zero_and_hides_no_other() {
        let below = |value| {
            Ok(Found::Sum(Count {
                value,
                is_below_zero: true,
            }))
        };
        for (body, found) in [
            ("a -2", below(0)),
            ("a{b=\"x\"} -2\na{b=\"y\"} 5", below(5)),
            ("a{b=\"x\"} 5\na{b=\"y\"} -1.5", below(5)),
            ("a -0\na 3", Ok(counted(3))),
            ("b -2\na 3", Ok(counted(3))),
        ] {
            assert_eq!(sum_in(body.as_bytes(), "a"), found, "{body}");
        }
    }

    /// As `textparse` of Prometheus 3 reads them.
    #[test]
    fn backslashes_and_quoted_names_are_read_as_prometheus_reads_them() {
        let text = r#"
a{path="C:\temp",state="open"} 1
a{path="C:\\temp"} 2
a{path="\d+\"\\"} 4
{"my.metric","http.status"="101",state="öffen"} 8
{state="open","my.metric"} 16
{"another \"metric\"\x"} 32
"#;
        for (selector, expect) in [
            ("a", 7),
            (r#"a{path="C:\\temp"}"#, 3),
            (r#"a{path="\\d+\"\\"}"#, 4),
            (r#"{"my.metric"}"#, 24),
            (r#"{"my.metric", "http.status"="101"}"#, 8),
            (r#"{"my.metric", state!="öffen"}"#, 16),
            (r#"{"another \"metric\"\\x"}"#, 32),
        ] {
            let sum = sum_in(text.trim_start().as_bytes(), selector);
            assert_eq!(sum, Ok(counted(expect)), "{selector}");
        }
        // What ends nowhere is no text in quotes.
        for line in [r#"a{b="\"} 1"#, r#"a{"b"} 1"#, r"a{b} 1", r#"{"a" 1"#] {
            let sum = sum_in(line.as_bytes(), "a");
            assert_eq!(sum, Err(PollFailure::NotAnExposition), "{line}");
        }
    }

    /// What Node's prom-client 15.1.3 wrote for a gauge before it was set, and afterwards.
    #[test]
    fn the_text_of_prom_client() {
        let before = r"# HELP websocket_connections Open WebSockets\nby their state
# TYPE websocket_connections gauge

# HELP websocket_opened_total Opened
# TYPE websocket_opened_total counter
websocket_opened_total 0
";
        let open = r#"websocket_connections{state="open"}"#;
        assert_eq!(sum_in(before.as_bytes(), open), Ok(Found::Described));
        let after = r#"# HELP websocket_connections Open WebSockets\nby their state
# TYPE websocket_connections gauge
websocket_connections{state="open",path="C:\\chat \"a\""} 42
websocket_connections{state="closing",path="/"} -2

# HELP websocket_opened_total Opened
# TYPE websocket_opened_total counter
websocket_opened_total 50
"#;
        assert_eq!(sum_in(after.as_bytes(), open), Ok(counted(42)));
        let path = r#"websocket_connections{path="C:\\chat \"a\""}"#;
        assert_eq!(sum_in(after.as_bytes(), path), Ok(counted(42)));
    }

    /// As Spring Boot's Actuator has it of Micrometer: before its version 1.13 with a comma after the
    /// last label and an empty help, and from there on without. Put together from published answers.
    #[test]
    fn the_text_of_micrometer() {
        let old = r#"# HELP tomcat_connections_current_connections  
# TYPE tomcat_connections_current_connections gauge
tomcat_connections_current_connections{name="http-nio-8080",} 3.0
# HELP jvm_memory_max_bytes The maximum amount of memory in bytes that can be used for memory management
# TYPE jvm_memory_max_bytes gauge
jvm_memory_max_bytes{area="heap",id="G1 Survivor Space",} -1.0
jvm_memory_max_bytes{area="heap",id="G1 Old Gen",} 9.52107008E8
# HELP users_welcome_seconds  
# TYPE users_welcome_seconds summary
users_welcome_seconds_active_count{method="GET",uri="/welcome",} 12.0
users_welcome_seconds_duration_sum{method="GET",uri="/welcome",} 0.5
"#;
        for (selector, expect) in [
            ("tomcat_connections_current_connections", 3),
            (r#"users_welcome_seconds_active_count{uri="/welcome"}"#, 12),
        ] {
            assert_eq!(sum_in(old.as_bytes(), selector), Ok(counted(expect)));
        }
        let new = r#"# HELP jvm_threads_states_threads The current number of threads
# TYPE jvm_threads_states_threads gauge
jvm_threads_states_threads{state="runnable"} 8.0
jvm_threads_states_threads{state="timed-waiting"} 2.0
# HELP process_cpu_time_ns_total The "cpu time" used by the Java Virtual Machine process
# TYPE process_cpu_time_ns_total counter
process_cpu_time_ns_total 4.934422E9
"#;
        let sum = sum_in(
            new.as_bytes(),
            r#"jvm_threads_states_threads{state!="new"}"#,
        );
        assert_eq!(sum, Ok(counted(10)));
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
            "{}",
            "{\"\"}",
            "{\"a\", \"b\"}",
            "a{\"b\"}",
            "{\"a\"!}",
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
        fn no_text_is_too_much(text in r#"[a{}="\\!,~# é]{0,20}"#) {
            if let Ok(selector) = text.parse::<Selector>() {
                let _either = selector.sum(text.as_bytes());
            }
        }
    }
}
