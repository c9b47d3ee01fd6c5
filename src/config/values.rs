//! The values of the configuration: texts and numbers that mean something.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use log::LevelFilter;
use serde::{Deserialize, Deserializer, de};

use crate::origin::{NoOrigin, OriginPattern};
use crate::uri::{is_host_name, split_authority};

/// The timer has a resolution of milliseconds; asking pods faster than this is a mistake.
const SHORTEST_SPAN: Duration = Duration::from_millis(10);
/// A year: keeps every sum of spans far from overflow.
const LONGEST_SPAN: Duration = Duration::from_secs(366 * 24 * 3600);

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
                E::custom(format_args!(
                    "{seconds} s is not between {SHORTEST_SPAN:?} and a year"
                ))
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
                f.write_str("a duration such as \"30s\", \"500ms\", \"1m\" or a number of seconds")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Seconds, E> {
                seconds_in(text)
                    .map(Seconds)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Seconds, E> {
                Ok(Seconds(seconds))
            }

            #[expect(
                clippy::cast_precision_loss,
                reason = "past a year it is refused anyway"
            )]
            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Seconds, E> {
                Ok(Seconds(seconds as f64))
            }

            #[expect(
                clippy::cast_precision_loss,
                reason = "a negative number is refused anyway"
            )]
            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Seconds, E> {
                Ok(Seconds(seconds as f64))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// The seconds in a text such as `1.5m`; none where it is no number with a unit.
fn seconds_in(text: &str) -> Option<f64> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * seconds)
}

/// An absolute path, as it goes on a request line (RFC 9112, section 3.2.1).
#[derive(Deserialize)]
#[serde(try_from = "String")]
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
#[derive(Deserialize)]
#[serde(try_from = "String")]
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
#[derive(Deserialize)]
#[serde(try_from = "String")]
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
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct AllowedOrigin(pub(super) OriginPattern);

impl TryFrom<String> for AllowedOrigin {
    type Error = NoOrigin;

    fn try_from(text: String) -> Result<Self, NoOrigin> {
        text.parse().map(Self)
    }
}

/// A header's name (RFC 9110, section 5.6.2), in lower case as Envoy keeps it.
#[derive(Deserialize)]
#[serde(try_from = "String")]
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

/// Whether a text is a token, as a header's name is (RFC 9110, section 5.6.2).
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
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct LogLevel(pub(super) LevelFilter);

impl TryFrom<String> for LogLevel {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let level = name.parse().map(Self);
        level.map_err(|_| format!("{name:?} is not off, error, warn, info, debug or trace"))
    }
}

/// What a text says, for types that parse themselves; none for null.
pub(super) fn parsed_option<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    let parsed = text.map(|text| text.parse().map_err(de::Error::custom));
    parsed.transpose()
}
