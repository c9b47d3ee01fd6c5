//! The files of the repository that tests look at.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the workspace.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The YAML files below `envoy/`, but for the one that is not the filter's: the short file.
pub(crate) fn samples() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(ROOT).join("envoy")];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let is_yaml = path.extension().is_some_and(|kind| kind == "yaml");
            if path.is_dir() {
                folders.push(path);
            } else if is_yaml && !path.ends_with("service.yaml") {
                found.push(path);
            }
        }
    }
    found
}

/// The pages of the documentation: their names and texts.
pub(crate) fn documentation() -> Vec<(String, String)> {
    let mut pages = Vec::new();
    for folder in [".", "docs"] {
        for entry in Path::new(ROOT).join(folder).read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|kind| kind == "md") {
                let text = fs::read_to_string(&path).unwrap();
                pages.push((path.display().to_string(), text));
            }
        }
    }
    pages
}

/// The blocks of YAML in a page.
pub(crate) fn yaml_blocks(page: &str) -> Vec<String> {
    let blocks = page.split("\n```yaml\n").skip(1);
    blocks
        .map(|rest| rest.split_once("\n```").unwrap().0.to_owned())
        .collect()
}

/// Compares a file of the repository with what makes it, and writes it anew first if
/// `WSBALANCER_WRITE_SAMPLES` is set.
pub(crate) fn assert_is(file: &str, wanted: &str) {
    let path = Path::new(ROOT).join(file);
    if std::env::var_os("WSBALANCER_WRITE_SAMPLES").is_some() {
        fs::write(&path, wanted).unwrap();
    }
    let is_same = fs::read_to_string(&path).is_ok_and(|text| text == wanted);
    assert!(
        is_same,
        "{file} is another one: WSBALANCER_WRITE_SAMPLES=1 writes it anew"
    );
}
