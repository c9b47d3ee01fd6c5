//! How a patch is merged into a resource.

use serde_json::{Map, Value};

/// As protobuf merges messages: fields into fields, lists one after the other, all else replaced;
/// an `Any`, whose bytes it does not look into, is replaced as a whole.
pub(super) fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) if !patch.contains_key("@type") => {
            fields(into, patch);
        }
        (Value::Array(into), Value::Array(patch)) => into.extend_from_slice(patch),
        (into, patch) => *into = patch.clone(),
    }
}

/// As [`merge`], but the `typed_config` of a filter is looked into.
pub(super) fn merge_filter(into: &mut Value, patch: &Value) {
    let (Some(into), Some(patch)) = (into.as_object_mut(), patch.as_object()) else {
        return;
    };
    for (field, value) in patch {
        match (into.get_mut(field), value) {
            (Some(Value::Object(own)), Value::Object(patch))
                if field == "typed_config" && own.get("@type") == patch.get("@type") =>
            {
                fields(own, patch);
            }
            _ => merge_field(into, field, value),
        }
    }
}

fn fields(into: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (field, value) in patch {
        merge_field(into, field, value);
    }
}

fn merge_field(into: &mut Map<String, Value>, field: &str, value: &Value) {
    match into.get_mut(field) {
        Some(existing) => merge(existing, value),
        None => {
            into.insert(field.to_owned(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_appended_and_single_fields_replaced() {
        let mut value = json!({ "a": 1, "b": { "c": [1], "d": 2 } });
        merge(&mut value, &json!({ "a": 3, "b": { "c": [4] }, "e": 5 }));
        let merged = json!({ "a": 3, "b": { "c": [1, 4], "d": 2 }, "e": 5 });
        assert_eq!(value, merged);
    }

    #[test]
    fn an_any_is_replaced_as_a_whole_except_for_that_of_a_filter() {
        let old = json!({ "typed_config": { "@type": "a", "old": 1 } });
        let patch = json!({ "typed_config": { "@type": "a", "new": 2 } });
        let mut value = old.clone();
        merge(&mut value, &patch);
        assert_eq!(value, patch);
        let mut filter = old;
        merge_filter(&mut filter, &patch);
        let both = json!({ "typed_config": { "@type": "a", "old": 1, "new": 2 } });
        assert_eq!(filter, both);
    }
}
