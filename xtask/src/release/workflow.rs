//! The workflow that makes a release does nothing by itself: what it makes, everybody can make.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn workflow() -> Value {
    let file = Path::new(ROOT).join(".github/workflows/release.yml");
    serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn it_calls_the_command_and_nothing_else() {
    let workflow = workflow();
    let jobs = workflow["jobs"].as_object().unwrap();
    assert_eq!(jobs.len(), 1);
    let steps = jobs["release"]["steps"].as_array().unwrap();
    let done: Vec<&str> = steps
        .iter()
        .map(|step| step["uses"].as_str().or(step["run"].as_str()).unwrap())
        .collect();
    let [checkout, toolchain, command, upload] = done.as_slice() else {
        panic!("{done:?}");
    };
    assert!(checkout.starts_with("actions/checkout@"), "{checkout}");
    assert!(toolchain.starts_with("rustup "), "{toolchain}");
    assert_eq!(*command, "cargo xtask release --verify");
    assert!(upload.starts_with("gh release create "), "{upload}");
    assert!(
        upload.contains(&format!(" {}/*", super::FOLDER)),
        "{upload}"
    );
    // Each is one command.
    for run in [toolchain, upload] {
        let others = BTreeSet::from(['\n', ';', '|', '&']);
        assert!(!run.trim().contains(|c| others.contains(&c)), "{run}");
    }
}

#[test]
fn it_runs_for_tags_of_versions_and_may_write_releases_alone() {
    let workflow = workflow();
    assert_eq!(workflow["on"], json!({ "push": { "tags": ["v*"] } }));
    assert_eq!(workflow["permissions"], json!({ "contents": "write" }));
}

#[test]
fn it_has_the_toolchain_of_the_images() {
    let dockerfile = fs::read_to_string(Path::new(ROOT).join("Dockerfile")).unwrap();
    let version = dockerfile
        .split_once("FROM rust:")
        .and_then(|(_before, rest)| rest.split('-').next())
        .unwrap();
    let workflow = workflow();
    let toolchain = workflow["env"]["RUSTUP_TOOLCHAIN"].as_str().unwrap();
    assert!(toolchain.starts_with(&format!("{version}.")), "{toolchain}");
    let steps = &workflow["jobs"]["release"]["steps"];
    let install = steps[1]["run"].as_str().unwrap();
    assert!(install.contains("$RUSTUP_TOOLCHAIN"), "{install}");
}
