//! The JSON Schema of the configuration, for editors: what each option is, and what it may be.
//!
//! Names, descriptions, defaults and bounds are those of the fields. It says what can be said of one
//! value alone. What contradicts what, and what a text such as a host may be, only
//! [`Config::parse`](super::Config::parse) knows.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, transform_subschemas};
use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::value_schemas::one_of;

/// The schema, in the draft that all editors know.
#[must_use]
pub fn schema() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        let transforms = &mut settings.transforms;
        transforms.insert(0, Box::new(take_texts));
        transforms.push(Box::new(RecursiveTransform(unwrap_description)));
    });
    let mut schema = settings.into_generator().into_root_schema_for::<Fields>();
    if let Some(Value::Object(definitions)) = schema.get_mut("definitions") {
        definitions.insert(NUMBER.to_owned(), number_in_text());
        definitions.insert(TRUTH.to_owned(), truth_in_text());
    }
    schema.to_value()
}

const NUMBER: &str = "numberInText";
const TRUTH: &str = "truthInText";

fn number_in_text() -> Value {
    json!({
        "description": "A number in quotes, as templates put it.",
        "type": "string",
        "pattern": r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$",
    })
}

fn truth_in_text() -> Value {
    let words = ["true", "yes", "on", "y", "false", "no", "off", "n"];
    json!({
        "description": "true, yes, on, false, no or off in quotes.",
        "type": "string",
        "pattern": one_of(&words),
    })
}

/// Where a number or a truth may be, a text may be that says one: the reader takes both.
fn take_texts(schema: &mut Schema) {
    // Those within first: what is put in is not looked at again.
    transform_subschemas(&mut take_texts, schema);
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    let is = |wanted: &str| match object.get("type") {
        Some(Value::String(one)) => one == wanted,
        Some(Value::Array(several)) => several.iter().any(|one| one == wanted),
        _ => false,
    };
    let in_text = if is("string") {
        return;
    } else if is("boolean") {
        TRUTH
    } else if is("integer") || is("number") {
        NUMBER
    } else {
        return;
    };
    // Rust's own names of numbers say nothing to an editor.
    object.remove("format");
    let of_number = ["type", "minimum", "maximum", "exclusiveMinimum"];
    let plain = of_number.iter().filter_map(|key| object.remove_entry(*key));
    let plain: Map<String, Value> = plain.collect();
    let in_text = json!({ "$ref": format!("#/definitions/{in_text}") });
    object.insert("anyOf".to_owned(), json!([plain, in_text]));
}

/// A description is one line, however the source breaks it.
fn unwrap_description(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
}
