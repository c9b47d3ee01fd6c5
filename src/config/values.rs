//! The values of the configuration: texts and numbers that mean something.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use log::LevelFilter;
use serde::{Deserialize, Deserializer, de};

use super::document::number;
use super::reader::number_in;
use crate::metric::{NamedMetric, Pointer, Selector};
use crate::num::{approximate, approximate_signed};
use crate::origin::{NoOrigin, OriginPattern};
use crate::pod::PodAddress;
use crate::uri::{is_host_name, split_authority};

/// The timer has a resolution of milliseconds; asking pods faster than this is a mistake.
pub(super) const SHORTEST_SPAN: Duration = Duration::from_millis(10);
/// A year: keeps every sum of spans far from overflow.
pub(super) const LONGEST_SPAN: Duration = Duration::from_secs(366 * 24 * 3600);

/// `30s`, `500ms`, `1m`, `1h`, or a number of seconds.
#[derive(Clone, Copy)]
pub(super) struct Span(pub(super) Duration);

impl Span {
    fn from_seconds<E: de::Error>(seconds: f64) -> Result<Self, E> {
        Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|span| (SHORTEST_SPAN..=LONGEST_SPAN).contains(span))
            .map(Self)
            .ok_or_else(|| {
                let seconds = number(seconds).map_or_else(String::new, |number| number.to_string());
                E::custom(format_args!("{seconds} s is not between 10 ms and a year"))
            })
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Seconds(seconds) = Seconds::deserialize(deserializer)?;
        Self::from_seconds(seconds)
    }
}

/// A duration, or none where it is zero.
#[derive(Clone, Copy)]
pub(super) struct SpanOrNever(pub(super) Option<Duration>);

impl<'de> Deserialize<'de> for SpanOrNever {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Seconds(seconds) = Seconds::deserialize(deserializer)?;
        if seconds == 0.0 {
            return Ok(Self(None));
        }
        Span::from_seconds(seconds).map(|Span(span)| Self(Some(span)))
    }
}

/// A duration as it is written, in seconds.
struct Seconds(f64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a duration from 10 ms to a year: write 500ms, 30s, 1.5m, 2h or a number of \
                     seconds",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Seconds, E> {
                seconds_in(text)
                    .map(Seconds)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Seconds, E> {
                Ok(Seconds(seconds))
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Seconds, E> {
                Ok(Seconds(approximate(seconds)))
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Seconds, E> {
                Ok(Seconds(approximate_signed(seconds)))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// The seconds in a text such as `1.5m`, or `1.5` alone; none where it is no number.
fn seconds_in(text: &str) -> Option<f64> {
    if let Some(seconds) = number_in(text) {
        return Some(seconds);
    }
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Some(number_in(number)? * seconds)
}

/// The name of an Envoy cluster, which is not empty.
#[derive(Clone)]
pub(super) struct ClusterName(pub(super) String);

impl TryFrom<String> for ClusterName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if name.is_empty() {
            return Err(format!("{name:?} is not the name of an Envoy cluster"));
        }
        Ok(Self(name))
    }
}

/// An absolute path, as it goes on a request line (RFC 9112, section 3.2.1).
pub(super) struct HttpPath(pub(super) String);

impl TryFrom<String> for HttpPath {
    type Error = String;

    fn try_from(path: String) -> Result<Self, String> {
        let sound =
            path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        if sound {
            Ok(Self(path))
        } else {
            Err(format!(
                "{path:?} is not a path: begin with a slash, percent-encode the rest"
            ))
        }
    }
}

/// A host, with or without a port, as the `host` of a request (RFC 9110, section 7.2).
pub(super) struct Authority(pub(super) String);

impl TryFrom<String> for Authority {
    type Error = String;

    fn try_from(authority: String) -> Result<Self, String> {
        if split_authority(&authority).is_some() {
            Ok(Self(authority))
        } else {
            Err(format!(
                "{authority:?} is not a host: write name, name:port, ip:port or [ipv6]:port"
            ))
        }
    }
}

/// The name of a host, without a port, in lower case.
pub(super) struct HostName(pub(super) String);

impl TryFrom<String> for HostName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if is_host_name(&name) {
            Ok(Self(name.to_ascii_lowercase()))
        } else {
            Err(format!(
                "{name:?} is not the name of a host: leave out the port"
            ))
        }
    }
}

/// An origin, or many.
#[derive(Clone)]
pub(super) struct AllowedOrigin(pub(super) OriginPattern);

impl TryFrom<String> for AllowedOrigin {
    type Error = NoOrigin;

    fn try_from(text: String) -> Result<Self, NoOrigin> {
        text.parse().map(Self)
    }
}

/// A header's name (RFC 9110, section 5.6.2), in lower case as Envoy keeps it.
pub(super) struct HeaderName(pub(super) String);

impl TryFrom<String> for HeaderName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let name = name.to_ascii_lowercase();
        if !is_header_name(&name) {
            return Err(format!("{name:?} is not the name of a header"));
        }
        // The filter removes this header from every request.
        if NEEDED_HEADERS.contains(&name.as_str()) || name.starts_with("sec-websocket-") {
            return Err(format!("{name:?} is needed by HTTP itself: take another"));
        }
        Ok(Self(name))
    }
}

/// A cookie's name (RFC 6265, section 4.1.1).
pub(super) struct CookieName(pub(super) String);

impl TryFrom<String> for CookieName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if is_header_name(&name) && name.len() <= LONGEST_NAME {
            Ok(Self(name))
        } else {
            Err(format!("{name:?} is not the name of a cookie"))
        }
    }
}

/// The name of a parameter in a query, as it stands in a URL.
pub(super) struct ParameterName(pub(super) String);

impl TryFrom<String> for ParameterName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let is_one = |byte: u8| byte.is_ascii_graphic() && !b"#&=?".contains(&byte);
        if !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(is_one) {
            Ok(Self(name))
        } else {
            Err(format!(
                "{name:?} is not the name of a parameter, as it stands in a URL"
            ))
        }
    }
}

/// Longer names of cookies and parameters are a mistake.
pub(super) const LONGEST_NAME: usize = 128;

/// Whether a text is a token, as the names of headers and cookies are (RFC 9110, section 5.6.2).
pub(super) fn is_header_name(text: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(token)
}

const NEEDED_HEADERS: [&str; 6] = [
    "connection",
    "content-length",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// `off`, `error`, `warn`, `info`, `debug` or `trace`.
#[derive(Clone, Copy)]
pub(super) struct LogLevel(pub(super) LevelFilter);

/// What is `off` without quotes, YAML takes for `false`.
impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = LogLevel;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("off, error, warn, info, debug or trace")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<LogLevel, E> {
                let level = name.parse().map(LogLevel);
                level.map_err(|_| E::invalid_value(de::Unexpected::Str(name), &self))
            }

            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<LogLevel, E> {
                if truth {
                    return Err(E::invalid_type(de::Unexpected::Bool(truth), &self));
                }
                Ok(LogLevel(LevelFilter::Off))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// What is written as a text, and in words what it may be.
macro_rules! texts {
    ($($kind:ident: $expected:literal;)*) => {$(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text(deserializer, $expected)
            }
        }
    )*};
}

texts! {
    ClusterName: "the name of an Envoy cluster: put it in quotes if it looks like a number, yes or no";
    HttpPath: "a path: begin with a slash, percent-encode the rest";
    Authority: "a host: write name, name:port, ip:port or [ipv6]:port";
    HostName: "the name of a host: leave out the port";
    AllowedOrigin: "an origin: write \"https://app.example.com\", \"https://*.example.com\" or \"null\", in quotes";
    HeaderName: "the name of a header";
    CookieName: "the name of a cookie";
    ParameterName: "the name of a parameter in the query";
    PodAddress: "the address of a pod: write \"ip:port\" or \"[ipv6]:port\", in quotes";
}

/// A text with a meaning; in words, it is `expected`.
fn text<'de, D, T>(deserializer: D, expected: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<String, Error: fmt::Display>,
{
    struct Visitor(&'static str);

    impl de::Visitor<'_> for Visitor {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
    }

    let text = deserializer.deserialize_str(Visitor(expected))?;
    T::try_from(text).map_err(de::Error::custom)
}

/// What a text says, for types that parse themselves; none for null.
pub(super) fn parsed_option<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display> + Form,
{
    struct Parsed<T>(T);

    impl<'de, T: FromStr<Err: fmt::Display> + Form> Deserialize<'de> for Parsed<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text: String = text(deserializer, T::EXPECTED)?;
            text.parse().map(Self).map_err(de::Error::custom)
        }
    }

    let parsed = Option::<Parsed<T>>::deserialize(deserializer)?;
    Ok(parsed.map(|Parsed(parsed)| parsed))
}

/// What a text that parses itself may be, in words.
pub(super) trait Form {
    /// The words.
    const EXPECTED: &'static str;
}

impl Form for Pointer {
    const EXPECTED: &'static str = "a JSON pointer, such as \"/stats/open\"";
}

impl Form for NamedMetric {
    const EXPECTED: &'static str =
        "a named metric of a load report, such as \"named_metrics.websockets\"";
}

impl Form for Selector {
    const EXPECTED: &'static str =
        "the name of series, such as 'websocket_connections{state=\"open\"}'";
}
