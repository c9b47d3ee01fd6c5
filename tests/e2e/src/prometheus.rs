//! A real Prometheus, on the configuration that the project delivers.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::block_in_place;
use wsbalancer_harness::{Child, Http, own_address, wait_until};

use crate::{PATIENCE, ROOT, Stage};

/// Where the project has its files for Prometheus.
#[must_use]
pub fn folder() -> PathBuf {
    PathBuf::from(ROOT).join("envoy/prometheus")
}

/// The project's file of this name.
///
/// # Errors
/// When it can't be read.
pub fn delivered(name: &str) -> anyhow::Result<String> {
    let path = folder().join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The project's alerts, with minutes shrunk to seconds.
///
/// # Errors
/// When they can't be read.
pub fn hasty_alerts() -> anyhow::Result<String> {
    let alerts = delivered("alerts.yaml")?;
    let hasty = alerts.lines().map(|line| {
        let (indent, text) = line.split_at(line.len() - line.trim_start().len());
        if text.starts_with("for: ") {
            format!("{indent}for: 1s")
        } else {
            line.replace("[5m]", "[3s]").replace("[2m]", "[3s]")
        }
    });
    Ok(hasty.collect::<Vec<_>>().join("\n"))
}

/// The project's configuration, made to scrape the Envoy of `stage`, whose status is on these listeners,
/// every half second.
///
/// # Errors
/// When it can't be read, or does not name each target once.
pub fn configuration(stage: &Stage, statuses: &[&str]) -> anyhow::Result<String> {
    let statuses: Option<Vec<String>> = statuses
        .iter()
        .map(|name| Some(stage.envoy.listener(name)?.to_string()))
        .collect();
    let statuses = statuses.context("a status listener")?.join("\", \"");
    let text = delivered("prometheus.yaml")?;
    let text = replaced(&text, "127.0.0.1:9901", &stage.envoy.admin().to_string())?;
    let text = replaced(&text, "127.0.0.1:9902", &statuses)?;
    let text = replaced(
        &text,
        "\n  scrape_interval: 15s\n",
        "\n  scrape_interval: 500ms\n",
    )?;
    replaced(
        &text,
        "\n  evaluation_interval: 15s\n",
        "\n  evaluation_interval: 500ms\n",
    )
}

fn replaced(text: &str, old: &str, new: &str) -> anyhow::Result<String> {
    let times = text.matches(old).count();
    ensure!(times == 1, "{old:?} stands there {times} times");
    Ok(text.replace(old, new))
}

/// A running Prometheus; gone when dropped, with all it has stored.
#[derive(Debug)]
pub struct Prometheus {
    api: String,
    http: Http,
    _process: Child,
    // Removed last: the process writes there.
    folder: TempDir,
}

impl Prometheus {
    /// Starts one with a configuration, and beside it the rules that this names `alerts.yaml`.
    ///
    /// # Errors
    /// When there is no Prometheus, or it refuses these; the error then has its log.
    pub fn start(configuration: &str, alerts: &str) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let file = |name: &str| folder.path().join(name);
        fs::write(file("prometheus.yaml"), configuration)?;
        fs::write(file("alerts.yaml"), alerts)?;
        // Not the port of the service that Debian's package may have started.
        let address = own_address();
        let log = fs::File::create(file("log"))?;
        let mut command = Command::new("prometheus");
        command
            .arg("--config.file")
            .arg(file("prometheus.yaml"))
            .arg("--storage.tsdb.path")
            .arg(file("data"))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(log);
        let process = Child::start(command).context("`cargo xtask setup` installs it")?;
        let prometheus = Self {
            api: format!("http://{address}/api/v1/"),
            http: Http::new(),
            _process: process,
            folder,
        };
        let ready = format!("http://{address}/-/ready");
        let log = prometheus.folder.path().join("log");
        block_in_place(|| {
            wait_until("Prometheus to be ready", PATIENCE, || {
                prometheus.http.get(&ready).ok()
            })
        })
        .with_context(|| fs::read_to_string(log).unwrap_or_default())?;
        Ok(prometheus)
    }

    /// What a query has now: series, each with its `metric` and its `value`.
    ///
    /// # Errors
    /// When it is no query of a vector.
    pub fn query(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let data = self.ask("query", &[("query", query)])?;
        let series = data["result"].as_array().cloned();
        series.with_context(|| format!("{query}: {data}"))
    }

    /// The labels of all series that a selector finds, names included.
    ///
    /// # Errors
    /// When it is no selector.
    pub fn series(&self, selector: &str) -> anyhow::Result<Vec<Value>> {
        let data = self.ask("series", &[("match[]", selector)])?;
        let series = data.as_array().cloned();
        series.with_context(|| format!("{selector}: {data}"))
    }

    /// The labels of the alerts that are firing.
    ///
    /// # Errors
    /// When it does not tell.
    pub fn firing(&self) -> anyhow::Result<Vec<Value>> {
        let data = self.ask("alerts", &[])?;
        let alerts = data["alerts"].as_array().context("no alerts")?;
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        Ok(firing.map(|alert| alert["labels"].clone()).collect())
    }

    fn ask(&self, what: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Value> {
        let url = format!("{}{what}", self.api);
        let answer = block_in_place(|| self.http.get_with(&url, parameters))?;
        let mut answer: Value = serde_json::from_str(&answer)?;
        ensure!(answer["status"] == "success", "{parameters:?}: {answer}");
        Ok(answer["data"].take())
    }
}
