//! What was interesting once is tried again.

use std::fs;
use std::path::{Path, PathBuf};

use wsbalancer_fuzz::{TARGETS, target};

/// Files of a target's corpus at most …
const MOST_FILES: usize = 40;
/// … and their bytes.
const MOST_BYTES: usize = 50_000;

fn corpus(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let entries = fs::read_dir(folder.join(name)).expect("each target has a corpus");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    files.sort();
    files
}

#[track_caller]
fn replay(name: &str) {
    let files = corpus(name);
    assert!((1..=MOST_FILES).contains(&files.len()), "{}", files.len());
    let mut bytes = 0;
    for file in files {
        // The output of a failed test names the last one.
        println!("{}", file.display());
        let data = fs::read(file).expect("it can be read");
        bytes += data.len();
        (target(name).run)(&data);
    }
    assert!(bytes <= MOST_BYTES, "{bytes}");
}

#[test]
fn configuration() {
    replay("configuration");
}

#[test]
fn counts() {
    replay("counts");
}

#[test]
fn life() {
    replay("life");
}

#[test]
fn listing() {
    replay("listing");
}

#[test]
fn status() {
    replay("status");
}

#[test]
fn table() {
    replay("table");
}

#[test]
fn every_target_is_built() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let mut built: Vec<String> = fs::read_dir(fuzz)
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").file_name())
        .map(|name| name.to_string_lossy().replace(".rs", ""))
        .collect();
    built.sort();
    assert_eq!(built, TARGETS.map(|target| target.name));
}
