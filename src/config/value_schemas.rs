//! What the values of the configuration may be, in the words of JSON Schema.

use std::borrow::Cow;
use std::ops::Bound;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::defaults::SHORTEST_BURST_INTERVAL;
use super::headers::HeaderFields;
use super::numbers::{Bounded, Bounds, Whole};
use super::reader::{NO, OrOff};
use super::values::{
    AllowedOrigin, Authority, ClusterName, CookieName, HeaderName, HostName, HttpPath,
    LONGEST_NAME, LONGEST_SPAN, LogLevel, ParameterName, SHORTEST_SPAN, Span, SpanOrNever,
};
use crate::metric::{NamedMetric, Pointer, Selector};
use crate::pod::PodAddress;

/// A default, as one would write it.
pub(super) fn text(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}

/// Of a path that ends before its query.
pub(super) const NO_QUERY: &str = "^[^?]*$";

/// There is something to balance, or something to show.
pub(super) fn needs_services_or_status(schema: &mut Schema) {
    needs_any_of(schema, &["services", "status"]);
}

/// The count is in another form, or elsewhere.
pub(super) fn needs_a_place(schema: &mut Schema) {
    needs_any_of(schema, &["json", "prometheus", "orca", "cluster"]);
}

fn needs_any_of(schema: &mut Schema, fields: &[&str]) {
    let required = fields.iter().map(|field| json!({ "required": [field] }));
    schema.insert("anyOf".to_owned(), required.collect());
}

/// A pattern for these words in any case: JSON Schema has no other way to say so.
pub(super) fn one_of(words: &[&str]) -> String {
    let letter = |letter: char| format!("[{}{letter}]", letter.to_ascii_uppercase());
    let words = words.iter().map(|word| word.chars().map(letter).collect());
    format!("^({})$", words.collect::<Vec<String>>().join("|"))
}

/// What is written as a text: its name in the schema, what it is, and what may be in it.
macro_rules! texts {
    ($($kind:ty: $name:literal, $description:literal, $keyword:ident = $value:expr;)*) => {$(
        impl JsonSchema for $kind {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "description": $description,
                    "type": "string",
                    (stringify!($keyword)): $value,
                })
            }
        }
    )*};
}

/// A token of HTTP (RFC 9110, section 5.6.2), so often.
fn token(often: &str) -> String {
    format!("^[0-9A-Za-z!#$%&'*+.^_`|~-]{often}$")
}

texts! {
    AllowedOrigin: "origin", "An origin: https://app.example.com, https://*.example.com or \"null\".",
        minLength = 1;
    Authority: "host", "A host: name, name:port, ip:port or [ipv6]:port.", minLength = 1;
    ClusterName: "clusterName",
        "The name of an Envoy cluster; in quotes if it looks like a number, yes or no.", minLength = 1;
    CookieName: "cookieName", "The name of a cookie.",
        pattern = token(&format!("{{1,{LONGEST_NAME}}}"));
    HeaderName: "headerName", "The name of a header.", pattern = token("+");
    HostName: "hostName", "The name of a host, without a port.", minLength = 1;
    HttpPath: "path", "A path: it begins with a slash, and the rest is percent-encoded.",
        pattern = r#"^/[!"$-~]*$"#;
    NamedMetric: "namedMetric", "A named metric of a load report: named_metrics. and its name.",
        pattern = r"^named_metrics\.[!#-+\--9;<>-~]{1,128}$";
    ParameterName: "parameterName", "The name of a parameter in a query, as it stands in a URL.",
        pattern = format!(r#"^[!"$%'-<>@-~]{{1,{LONGEST_NAME}}}$"#);
    PodAddress: "podAddress", "The address of a pod: ip:port or [ipv6]:port.",
        pattern = r"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$";
    Pointer: "jsonPointer", "A JSON pointer (RFC 6901).", pattern = "^(/.*)?$";
    Selector: "series", "Series of a Prometheus exporter.", minLength = 1;
}

/// A number of seconds, or `1.5m`, or `1.5` alone in quotes.
fn span(shortest: Duration) -> Value {
    json!({
        "type": ["number", "string"],
        "minimum": shortest.as_secs_f64(),
        "maximum": LONGEST_SPAN.as_secs_f64(),
        "pattern": r"^[+]?([0-9]+[.]?[0-9]*|[.][0-9]+)(([eE][+-]?[0-9]+)?|ms|s|m|h)$",
    })
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description":
                "A duration from 10 ms to a year: 500ms, 30s, 1.5m, 2h, or a number of seconds.",
            "allOf": [span(SHORTEST_SPAN)],
        })
    }
}

impl JsonSchema for SpanOrNever {
    fn schema_name() -> Cow<'static, str> {
        "durationOrNever".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration from 50 ms to a year, or 0.",
            "anyOf": [{ "const": 0 }, span(SHORTEST_BURST_INTERVAL)],
        })
    }
}

impl<const LEAST: u32, const MOST: u32> JsonSchema for Whole<LEAST, MOST> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "whole".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": LEAST, "maximum": MOST })
    }
}

impl<B: Bounds> JsonSchema for Bounded<B> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "bounded".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": "number" });
        let (least, most) = B::RANGE;
        let bounds = [
            bound(least, "minimum", "exclusiveMinimum"),
            bound(most, "maximum", "exclusiveMaximum"),
        ];
        for (keyword, number) in bounds.into_iter().flatten() {
            schema.insert(keyword.to_owned(), number.into());
        }
        schema
    }
}

fn bound(
    bound: Bound<f64>,
    included: &'static str,
    excluded: &'static str,
) -> Option<(&'static str, f64)> {
    match bound {
        Bound::Included(number) => Some((included, number)),
        Bound::Excluded(number) => Some((excluded, number)),
        Bound::Unbounded => None,
    }
}

impl<T: JsonSchema> JsonSchema for OrOff<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}OrOff", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let on = generator.subschema_for::<T>();
        let off = json!({ "type": "string", "pattern": one_of(&NO) });
        json_schema!({ "anyOf": [{ "const": false }, off, on] })
    }
}

impl JsonSchema for LogLevel {
    fn schema_name() -> Cow<'static, str> {
        "logLevel".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        json_schema!({
            "description": "off, error, warn, info, debug or trace.",
            "anyOf": [
                { "enum": levels },
                { "const": false },
                { "type": "string", "pattern": one_of(&levels) },
            ],
        })
    }
}

impl JsonSchema for HeaderFields {
    fn schema_name() -> Cow<'static, str> {
        "metricHeaders".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Header fields by their names.",
            "type": "object",
            "propertyNames": { "pattern": token("+") },
            "additionalProperties": { "type": "string", "pattern": r"^([!-~]([\t -~]*[!-~])?)?$" },
        })
    }
}
