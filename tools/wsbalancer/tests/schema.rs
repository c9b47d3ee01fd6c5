//! The published schema and the filter say the same: which options there are and where, what each
//! may be, and what it is by default. It is made of the filter's code, but for the patterns of texts.

mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use wsbalancer::config::{self, Config};
use wsbalancer_cli::place;
use wsbalancer_cli::schema::SCHEMA;

use crate::files::{ROOT, assert_is, documentation, samples, yaml_blocks};

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

fn validator() -> Validator {
    jsonschema::draft7::new(&schema()).unwrap()
}

/// What the filter says.
fn refusal(configuration: &Value) -> Option<String> {
    let bytes = configuration.to_string();
    let refused = Config::parse(bytes.as_bytes()).err();
    refused.map(|error| error.to_string())
}

/// Places of options: a configuration with an object there, and the pointer to it.
fn places() -> BTreeMap<&'static str, (Value, &'static str)> {
    let with = |name: &str, value: Value| {
        let mut configuration =
            json!({ "services": [{ "cluster": "chat" }], "discovery": { "adminCluster": "a" } });
        configuration[name] = value;
        configuration
    };
    let sessions = json!({
        "openedBy": [{ "pathPrefix": "/" }],
        "carriedBy": [{ "query": "sid" }],
        "keptBy": { "cookie": "pod" },
    });
    BTreeMap::from([
        ("", (with("attempts", json!(3)), "")),
        ("service", (with("attempts", json!(3)), "/services/0")),
        ("discovery", (with("attempts", json!(3)), "/discovery")),
        (
            "metric",
            (with("metric", json!({ "cluster": "b" })), "/metric"),
        ),
        (
            "passiveHealth",
            (with("passiveHealth", json!({})), "/passiveHealth"),
        ),
        (
            "slowStart",
            (with("slowStart", json!({ "window": 1 })), "/slowStart"),
        ),
        ("rebalance", (with("rebalance", json!({})), "/rebalance")),
        (
            "sessions",
            (with("sessions", sessions.clone()), "/sessions"),
        ),
        (
            "openedBy",
            (with("sessions", sessions.clone()), "/sessions/openedBy/0"),
        ),
        (
            "carriedBy",
            (with("sessions", sessions.clone()), "/sessions/carriedBy/0"),
        ),
        ("keptBy", (with("sessions", sessions), "/sessions/keptBy")),
        (
            "status",
            (with("status", json!({ "path": "/" })), "/status"),
        ),
    ])
}

/// The options that the schema has at a pointer into a configuration, each with what it says of it.
fn described<'a>(schema: &'a Value, pointer: &str) -> &'a Map<String, Value> {
    let mut place = schema;
    for step in pointer.split('/').skip(1) {
        place = if step == "0" {
            &place["items"]
        } else {
            &options_of(schema, place).unwrap()[step]
        };
    }
    options_of(schema, place).unwrap()
}

/// The options of a place: its own, or those of what it refers to, or of one of the kinds of which it
/// may be.
fn options_of<'a>(schema: &'a Value, place: &'a Value) -> Option<&'a Map<String, Value>> {
    if let Some(reference) = place["$ref"].as_str() {
        return options_of(schema, schema.pointer(reference.strip_prefix('#')?)?);
    }
    let kinds = || {
        ["anyOf", "allOf"]
            .iter()
            .filter_map(|key| place[key].as_array())
    };
    let of_kinds = || kinds().flatten().find_map(|kind| options_of(schema, kind));
    place["properties"].as_object().or_else(of_kinds)
}

/// `WSBALANCER_WRITE_SAMPLES=1 cargo test -p wsbalancer-cli --test schema` writes it.
#[test]
fn it_is_what_the_code_says() {
    let wanted = format!("{:#}\n", config::schema());
    assert_is("envoy/schema/wsbalancer.schema.json", &wanted);
}

#[test]
fn it_has_the_filters_options_and_no_others() {
    let schema = schema();
    for (name, (configuration, pointer)) in places() {
        assert_eq!(refusal(&configuration), None, "{name}");
        let mut wrong = configuration;
        wrong.pointer_mut(pointer).unwrap()["zzzzzzzzzz"] = Value::Null;
        let said = refusal(&wrong).unwrap();
        let (_, listed) = said
            .split_once(" is not an option: there are ")
            .unwrap_or_else(|| panic!("{name}: {said}"));
        let of_filter: BTreeSet<&str> = listed.split(", ").flat_map(|s| s.split(" and ")).collect();
        let described = described(&schema, pointer);
        let of_schema: BTreeSet<&str> = described.keys().map(String::as_str).collect();
        assert_eq!(of_schema, of_filter, "{name}");
        for (option, described) in described {
            assert!(!described["description"].is_null(), "{name}.{option}");
        }
        assert!(!validator().is_valid(&wrong), "{name} takes any option");
    }
}

#[test]
fn its_defaults_are_the_filters() {
    let schema = schema();
    let parsed = |configuration: &Value| Config::parse(configuration.to_string().as_bytes());
    let mut seen = BTreeSet::new();
    for (name, (configuration, pointer)) in places() {
        for (option, described) in described(&schema, pointer) {
            let Some(default) = described.get("default") else {
                continue;
            };
            let mut written = configuration.clone();
            written.pointer_mut(pointer).unwrap()[option] = default.clone();
            let mut unwritten = configuration.clone();
            let place = unwritten.pointer_mut(pointer).unwrap();
            place.as_object_mut().unwrap().remove(option);
            assert_eq!(
                parsed(&written),
                parsed(&unwritten),
                "{name}.{option}: {default}"
            );
            seen.insert(option);
        }
    }
    assert_eq!(seen.len(), 24, "{seen:?}");
}

/// In the documentation's table: the option, its default, and whether it can be in a service.
#[test]
fn it_is_what_the_documentation_lists() {
    let schema = schema();
    let configuration = fs::read_to_string(format!("{ROOT}/docs/configuration.md")).unwrap();
    let rows = configuration
        .lines()
        .skip_while(|line| !line.starts_with("| Option | Default |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let top = described(&schema, "");
    let service = described(&schema, "/services/0");
    let mut listed = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.split(" | ").collect();
        let name = cells[0].trim_matches(['|', ' ', '`']);
        let default = cells[1].trim_matches('`');
        listed.insert(name.to_owned());
        let option = &top[name];
        let default: Option<Value> = serde_json::from_str(default).ok();
        // Where nothing holds unless it is written, the schema says nothing either.
        let default = default.filter(|default| !default.is_null() && *default != json!({}));
        let described = option
            .get("default")
            .filter(|default| **default != json!({}));
        assert_eq!(described, default.as_ref(), "{name}");
        assert_eq!(service.contains_key(name), cells[2] == "yes", "{name}");
    }
    assert_eq!(listed, top.keys().cloned().collect());
}

/// A configuration in which an option can have any value without contradicting another one.
fn around(place: &str, option: &str) -> Value {
    let (mut configuration, pointer) = places()[place].clone();
    if place == "service" {
        configuration["services"][0] = json!({ "cluster": "chat" });
    }
    let year = 31_622_400;
    match option {
        "refreshInterval" => configuration["cacheTTL"] = year.into(),
        "metricTimeout" => {
            configuration["cacheTTL"] = year.into();
            configuration["refreshInterval"] = (year - 1).into();
        }
        "requireOrigin" => configuration["allowedOrigins"] = json!(["https://a"]),
        "absent" => configuration["metric"]["json"] = "/a".into(),
        "query" | "cookie" | "header" if place == "carriedBy" => {
            *configuration.pointer_mut(pointer).unwrap() = json!({});
        }
        _ => {}
    }
    configuration
}

/// What the schema can't know of a value: what other values make of it.
fn is_beyond(place: &str, option: &str, value: &Value) -> bool {
    let of_others = match option {
        // The longest span: it is not shorter than the longest other.
        "refreshInterval" | "metricTimeout" => value.as_f64() == Some(31_622_400.0),
        // No place to ask, no mark, no services at all.
        "cluster" => place == "metric" && value.is_null(),
        "query" | "cookie" | "header" => place == "carriedBy" && value.is_null(),
        // Something has to find the pods.
        "discovery" => value.is_null(),
        "services" => true,
        _ => false,
    };
    // Texts with a meaning, and numbers in texts, are the filter's to read.
    of_others || value.is_string()
}

/// What the filter and the schema say of a value, where that is not the same.
fn difference(validator: &Validator, place: &str, option: &str, value: &Value) -> Option<String> {
    let mut configuration = around(place, option);
    let pointer = places()[place].1;
    configuration.pointer_mut(pointer).unwrap()[option] = value.clone();
    let refusal = refusal(&configuration);
    let is_valid = validator.is_valid(&configuration);
    let is_told = is_valid == refusal.is_none() || (is_valid && is_beyond(place, option, value));
    (!is_told).then(|| {
        format!("{place}.{option}: {value}: the filter says {refusal:?}, the schema {is_valid}")
    })
}

fn of_every_kind() -> Vec<Value> {
    let mut values = vec![
        Value::Null,
        json!(true),
        json!(false),
        json!([]),
        json!({}),
        json!([null]),
        json!([5]),
        json!([[]]),
        json!({ "a": 5 }),
        json!([{}]),
    ];
    let numbers = [
        -1e9,
        -1.0,
        -0.5,
        0.0,
        0.005,
        0.01,
        0.049,
        0.05,
        0.5,
        1.0,
        1.5,
        2.0,
        16.0,
        17.0,
        99.5,
        100.0,
        100.5,
        1000.0,
        1001.0,
        65535.0,
        65536.0,
        31_622_400.0,
        31_622_401.0,
        4_294_967_295.0,
        4_294_967_296.0,
        1e12,
    ];
    values.extend(numbers.map(Value::from));
    values.extend([0, 1, 2, 16, 17, 31_622_400].map(Value::from));
    let texts = [
        "",
        "x",
        "5",
        "1.5",
        "-1",
        "30s",
        "5m ",
        "1e1",
        "yes",
        "Off",
        "oFF",
        "true",
        "nope",
        "/",
        "/a b",
        "/a?b",
        "a:80",
        "10.0.0.1:80",
        "[::1]:80",
        "https://a",
        "null",
        "debug",
        "DEBUG",
        "fallback",
        "reject",
        "endpoint",
        "host",
        "ö",
        "a=b",
    ];
    values.extend(texts.map(Value::from));
    values
}

#[test]
fn it_takes_what_the_filter_takes_and_refuses_what_it_refuses() {
    let (schema, validator) = (schema(), validator());
    let mut differences = Vec::new();
    for (place, (_, pointer)) in places() {
        for option in described(&schema, pointer).keys() {
            for value in of_every_kind() {
                differences.extend(difference(&validator, place, option, &value));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Texts that can't be what is wanted are refused here, too, though they are texts.
#[test]
fn it_refuses_texts_that_are_none_of_the_kind() {
    let validator = validator();
    for (place, option, texts) in [
        ("", "cacheTTL", ["", "x", "5 s", "1e1s"].as_slice()),
        ("", "burstInterval", &["never", "-"]),
        ("", "attempts", &["many", "", "3s"]),
        ("rebalance", "threshold", &["much", "1,25"]),
        ("", "debugHeaders", &["maybe", "", "1"]),
        ("", "passiveHealth", &["on", "none"]),
        ("", "metricPath", &["metric", "/a b", "/#"]),
        ("", "logLevel", &["loud", "on"]),
        ("", "routeBy", &["host", "Endpoint"]),
        ("", "onNoPods", &["Reject", ""]),
        ("", "overrideHeader", &["", "a b", "ö"]),
        ("service", "endpoints", &["10.0.0.1:80"]),
        ("discovery", "adminCluster", &[""]),
        ("metric", "json", &["a"]),
        ("status", "path", &["status", "/a?b"]),
        ("keptBy", "cookie", &["", "a b"]),
        ("carriedBy", "query", &["", "a=b"]),
    ] {
        for text in texts {
            let mut configuration = around(place, option);
            let pointer = places()[place].1;
            configuration.pointer_mut(pointer).unwrap()[option] = (*text).into();
            assert!(
                refusal(&configuration).is_some(),
                "{place}.{option}: {text:?}"
            );
            assert!(
                !validator.is_valid(&configuration),
                "{place}.{option}: {text:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_draws_the_lines_of_numbers_where_the_filter_does(
        number in prop_oneof![-10.0..200.0, Just(0.0), (0_u32..2000).prop_map(f64::from)],
    ) {
        let (schema, validator) = (schema(), validator());
        for (place, (_, pointer)) in places() {
            for option in described(&schema, pointer).keys() {
                let difference = difference(&validator, place, option, &Value::from(number));
                prop_assert_eq!(difference, None);
            }
        }
    }
}

#[test]
fn every_sample_is_valid() {
    let validator = validator();
    let mut valid = 0;
    for file in samples() {
        let text = fs::read_to_string(&file).unwrap();
        for place in place::find(&text).unwrap().found {
            let configuration = place.configuration.to_json().unwrap();
            let errors: Vec<String> = validator
                .iter_errors(&configuration)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert_eq!(errors, [""; 0], "{}", file.display());
            valid += 1;
        }
    }
    assert_eq!(valid, 15);
}

/// Snippets without services are a part of a configuration.
#[test]
fn every_snippet_of_the_documentation_is_valid() {
    let validator = validator();
    let mut valid = 0;
    for (page, text) in documentation() {
        for block in yaml_blocks(&text) {
            for place in place::find(&block).unwrap().found {
                let mut configuration = place.configuration.to_json().unwrap();
                let fields = configuration.as_object_mut().unwrap();
                if !fields.contains_key("services") && !fields.contains_key("status") {
                    fields.insert("services".to_owned(), json!([{ "cluster": "chat" }]));
                }
                if fields.get("routeBy").is_none() && !fields.contains_key("status") {
                    fields
                        .entry("discovery")
                        .or_insert(json!({ "adminCluster": "a" }));
                }
                assert_eq!(refusal(&configuration), None, "{page}: {block}");
                let error = validator.validate(&configuration).err();
                assert!(error.is_none(), "{page}: {block}: {error:?}");
                valid += 1;
            }
        }
    }
    assert!(valid >= 10, "{valid}");
}

/// Editors are told of the schema where a file's first line can name it.
#[test]
fn the_samples_that_name_a_schema_are_valid_by_it() {
    let folder = format!("{ROOT}/envoy/schema");
    let read = |name: &str| -> Value {
        let text = fs::read_to_string(format!("{folder}/{name}")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let mut embedded = read("embedded.schema.json");
    // As a part of the same file: no address is asked for the other one.
    let mut own = schema();
    for (name, definition) in own["definitions"].as_object_mut().unwrap().clone() {
        embedded["definitions"][name] = definition;
    }
    embedded["definitions"]["wsbalancer"] = own;
    let embedded = embedded
        .to_string()
        .replace("\"wsbalancer.schema.json\"", "\"#/definitions/wsbalancer\"");
    let validator = jsonschema::draft7::new(&serde_json::from_str(&embedded).unwrap()).unwrap();

    let mut named = 0;
    for file in samples() {
        let text = fs::read_to_string(&file).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.split_once("$schema=")?.1.into());
        let Some(schema) = line else {
            continue;
        };
        let place = file.with_file_name(schema).canonicalize().unwrap();
        assert!(
            place.ends_with("envoy/schema/embedded.schema.json"),
            "{}",
            file.display()
        );
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        for document in documents {
            assert!(validator.is_valid(&document), "{}", file.display());
        }
        let wrong = text.replacen("  services:", "  servicess:", 1);
        assert_ne!(wrong, text);
        let documents: Vec<Value> = serde_saphyr::from_multiple(&wrong).unwrap();
        let refused = documents
            .iter()
            .any(|document| !validator.is_valid(document));
        assert!(
            refused,
            "{}: nobody looks at the configuration",
            file.display()
        );
        named += 1;
    }
    assert_eq!(named, 6);
}
