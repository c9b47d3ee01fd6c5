//! The JSON Schema of the configuration, for editors: what each option is, and what it may be.
//!
//! Names, descriptions, defaults and bounds are those of the fields. It says what can be said of one
//! value alone. What contradicts what, and what a text such as a host may be, only
//! [`Config::parse`](super::Config::parse) knows.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, transform_subschemas};
use serde_json::Value;

use super::fields::Fields;
use super::reader::{NO, YES};
use super::value_schemas::one_of;

/// The schema, in the draft that all editors know.
#[must_use]
pub fn schema() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        let transforms = &mut settings.transforms;
        transforms.insert(0, Box::new(take_texts));
        transforms.push(Box::new(RecursiveTransform(unwrap_description)));
    });
    let schema = settings.into_generator().into_root_schema_for::<Fields>();
    schema.to_value()
}

/// A number as templates put it, in quotes.
const NUMBER: &str = r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$";

/// Where a number or a truth may be, a text may be that says one: the reader takes both.
fn take_texts(schema: &mut Schema) {
    transform_subschemas(&mut take_texts, schema);
    let mut kinds = match schema.get("type") {
        Some(Value::Array(several)) => several.clone(),
        one => Vec::from_iter(one.cloned()),
    };
    let is = |wanted: &str| kinds.iter().any(|kind| kind == wanted);
    let pattern = if is("string") {
        return;
    } else if is("boolean") {
        one_of(&[YES, NO].concat())
    } else if is("integer") || is("number") {
        NUMBER.to_owned()
    } else {
        return;
    };
    kinds.push("string".into());
    schema.insert("type".to_owned(), kinds.into());
    schema.insert("pattern".to_owned(), pattern.into());
    // Rust's own names of numbers say nothing to an editor.
    schema.remove("format");
}

/// A description is one line, however the source breaks it.
fn unwrap_description(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
}
