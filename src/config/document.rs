//! The bytes of the plugin configuration, as JSON.
//!
//! Istio, Envoy Gateway and a `StringValue` hand over JSON text. Of a `Struct` in its YAML, Envoy
//! 1.40 hands over the protobuf encoding, in which every number is a double. Only what YAML writes as
//! a whole number below 2^53 is a number there, also as `0x10` and `017`; what has a fraction or an
//! exponent is a text. `true`, `yes`, `on`, `y` and their opposites are truths unless in quotes.

use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Value as ProtoValue};
use serde_json::{Map, Number, Value};

use crate::num::LARGEST_WHOLE;

/// Reads either form.
///
/// # Errors
/// The JSON's, where the bytes are neither.
pub(super) fn read(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    // JSON first: it can't be mistaken for an encoded `Struct`, whose third byte is the tag of a
    // map's key, a line feed, and its fourth that key's length.
    serde_json::from_slice(bytes).or_else(|error| match Struct::decode(bytes) {
        Ok(fields) if fields.encoded_len() == bytes.len() => Ok(object(fields)),
        _ => Err(error),
    })
}

fn object(fields: Struct) -> Value {
    let entries = fields.fields.into_iter();
    Value::Object(
        entries
            .map(|(name, field)| (name, value(field)))
            .collect::<Map<_, _>>(),
    )
}

fn value(field: ProtoValue) -> Value {
    match field.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(truth)) => Value::Bool(truth),
        Some(Kind::NumberValue(double)) => number(double).map_or(Value::Null, Value::Number),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(value).collect(),
        Some(Kind::StructValue(fields)) => object(fields),
    }
}

/// A whole number, where the double is one, so that it can count; none for what is no number.
pub(super) fn number(double: f64) -> Option<Number> {
    if double.fract() == 0.0 && double.abs() < LARGEST_WHOLE {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is whole and small enough"
        )]
        return Some(Number::from(double as i64));
    }
    Number::from_f64(double)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(json: &Value) -> ProtoValue {
        let kind = match json {
            Value::Null => Kind::NullValue(0),
            Value::Bool(truth) => Kind::BoolValue(*truth),
            Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
            Value::String(text) => Kind::StringValue(text.clone()),
            Value::Array(items) => Kind::ListValue(prost_types::ListValue {
                values: items.iter().map(encode).collect(),
            }),
            Value::Object(fields) => Kind::StructValue(encode_object(fields)),
        };
        ProtoValue { kind: Some(kind) }
    }

    fn encode_object(fields: &Map<String, Value>) -> Struct {
        Struct {
            fields: fields
                .iter()
                .map(|(name, field)| (name.clone(), encode(field)))
                .collect(),
        }
    }

    #[test]
    fn a_struct_and_its_json_are_the_same() {
        let json = serde_json::json!({
            "services": [{"cluster": "chat", "endpoints": ["10.0.0.1:80"], "cacheTTL": 2.5}],
            "attempts": 3, "negative": -7, "huge": 1e99, "none": null, "yes": true,
        });
        let encoded = encode_object(json.as_object().unwrap()).encode_to_vec();
        assert_eq!(read(&encoded).unwrap(), json);
        assert_eq!(read(json.to_string().as_bytes()).unwrap(), json);
    }

    /// A map's first entry of 123 bytes looks like white space and an opening brace.
    #[test]
    fn a_struct_that_begins_like_json() {
        let json = serde_json::json!({ "a": "x".repeat(116) });
        let encoded = encode_object(json.as_object().unwrap()).encode_to_vec();
        assert!(encoded.starts_with(b"\n{"));
        assert_eq!(read(&encoded).unwrap(), json);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _either = read(&bytes);
        }
    }
}
