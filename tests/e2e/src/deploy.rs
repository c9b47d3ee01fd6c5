//! Helm and Kustomize, as `cargo xtask test` gets them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ROOT;

/// The chart.
pub const CHART: &str = "deploy/helm/wsbalancer";

/// What Helm makes of the chart with some values.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Made {
    /// The files that the templates make, by the templates' names.
    made: BTreeMap<String, String>,
    /// What the linter says, but for advice.
    pub lint: Vec<String>,
    /// Why Helm refuses the values; empty where it does not.
    pub error: String,
}

impl Made {
    /// The manifests, as one file.
    #[must_use]
    pub fn manifests(&self) -> String {
        let files = self.made.iter();
        let files = files.filter(|(name, _)| !name.ends_with("NOTES.txt"));
        files
            .map(|(_, text)| format!("---\n{}\n", text.trim()))
            .collect()
    }

    /// What Helm prints after it has installed the chart.
    #[must_use]
    pub fn notes(&self) -> &str {
        let mut files = self.made.iter();
        files
            .find(|(name, _)| name.ends_with("NOTES.txt"))
            .map_or("", |(_, text)| text)
    }
}

/// Renders and lints the chart with each of these values, for a release `wsbalancer` in the namespace
/// `default`.
///
/// # Errors
/// When there is no Python, or what `cargo xtask test` gets for it is missing.
pub fn helm(all: &[Value]) -> Result<Vec<Made>> {
    let case = |values: &Value| json!({ "values": values.to_string(), "release": "wsbalancer", "namespace": "default" });
    let cases: Vec<Value> = all.iter().map(case).collect();
    let root = root()?;
    let mut process = Command::new("python3")
        .arg(root.join("tests/e2e/deploy/helm.py"))
        .arg(root.join(CHART))
        .env("PYTHONPATH", tools(&root))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = process.stdin.take().context("its input")?;
    input.write_all(Value::from(cases).to_string().as_bytes())?;
    drop(input);
    let output = process.wait_with_output()?;
    ensure!(output.status.success(), "Helm can't be asked");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What `kubectl kustomize` makes of a folder.
///
/// # Errors
/// When it refuses it, or what `cargo xtask test` gets for it is missing.
pub fn kustomize(folder: &Path) -> Result<String> {
    let output = Command::new(tools(&root()?).join("bin/kubectl"))
        .arg("kustomize")
        .arg(folder)
        .output()
        .context("no kubectl: `cargo xtask test` gets it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    // A warning is of something that a later version refuses.
    ensure!(output.status.success() && said.is_empty(), "{said}");
    Ok(String::from_utf8(output.stdout)?)
}

fn root() -> Result<PathBuf> {
    Ok(Path::new(ROOT).canonicalize()?)
}

fn tools(root: &Path) -> PathBuf {
    root.join("target/deploy")
}
