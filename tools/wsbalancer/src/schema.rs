//! The JSON Schema of the configuration, for editors: what each option is, and what it may be.
//!
//! It is made of the filter's own code, and says what can be said of one value alone. What contradicts
//! what, and what a text such as a host or the name of series may be, the filter itself knows:
//! `wsbalancer check` asks it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The schema, as it is published.
pub const SCHEMA: &str = include_str!("../../../envoy/schema/wsbalancer.schema.json");

/// The options that a configuration can have at its top.
#[must_use]
pub fn options() -> BTreeSet<String> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap_or_default();
    let options = schema["properties"].as_object().map(Map::keys);
    options.into_iter().flatten().cloned().collect()
}
