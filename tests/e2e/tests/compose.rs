//! docker-compose.yml fits what stands beside it, as far as that can be seen without a Docker Engine:
//! files that are mounted are there, Prometheus and Grafana are told of each other.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;
use wsbalancer_e2e::ROOT;
use wsbalancer_e2e::istio::documents;
use wsbalancer_e2e::prometheus::folder;

/// The only document of a file.
fn document(file: &str) -> Result<Value> {
    documents(file)?.pop().with_context(|| file.to_owned())
}

fn compose() -> Result<Value> {
    document("docker-compose.yml")
}

/// What a service mounts of the project: the path here, and the path in the container.
fn mounted(service: &Value) -> Vec<(String, String)> {
    let volumes = service["volumes"].as_array().into_iter().flatten();
    let files = volumes
        .filter_map(Value::as_str)
        .filter_map(|volume| volume.strip_prefix("./")?.strip_suffix(":ro"));
    files
        .filter_map(|volume| volume.split_once(':'))
        .map(|(here, there)| (here.to_owned(), there.to_owned()))
        .collect()
}

#[test]
fn what_is_mounted_is_there() -> Result<()> {
    let compose = compose()?;
    let services = compose["services"].as_object().context("services")?;
    let mounted: Vec<_> = services.values().flat_map(mounted).collect();
    assert_eq!(mounted.len(), 4, "{mounted:?}");
    for (here, _there) in mounted {
        assert!(Path::new(ROOT).join(&here).exists(), "{here}");
    }
    Ok(())
}

/// Nobody can pull them, and what was built before is not what the sources are now.
#[test]
fn the_project_s_own_images_are_built() -> Result<()> {
    let compose = compose()?;
    for (name, service) in compose["services"].as_object().context("services")? {
        let image = service["image"].as_str().context("an image")?;
        let is_own = image.starts_with("wsbalancer/");
        assert_eq!(service["build"].is_object(), is_own, "{name}");
        assert_eq!(service["pull_policy"] == "build", is_own, "{name}");
    }
    Ok(())
}

/// The jobs of the shipped configuration, with all that alerts and dashboard know of them.
#[test]
fn its_prometheus_asks_what_the_shipped_one_does() -> Result<()> {
    let jobs = |file: &str| -> Result<Vec<Value>> {
        let mut file = document(file)?;
        let jobs = file["scrape_configs"].as_array_mut().context("jobs")?;
        for job in &mut *jobs {
            let targets = job["static_configs"].take();
            let target = targets[0]["targets"][0].as_str().context("a target")?;
            assert!(target.contains(':'), "{target}");
        }
        Ok(jobs.clone())
    };
    assert_eq!(
        jobs("envoy/compose/prometheus.yml")?,
        jobs("envoy/prometheus/prometheus.yaml")?
    );

    // As they lie in the container.
    let etc = TempDir::new()?;
    let compose = compose()?;
    for (here, there) in mounted(&compose["services"]["prometheus"]) {
        let name = Path::new(&there).file_name().context("a file")?;
        fs::copy(Path::new(ROOT).join(here), etc.path().join(name))?;
    }
    let promtool = Command::new("promtool")
        .args(["check", "config", "prometheus.yml"])
        .current_dir(etc.path())
        .output()
        .context("`cargo xtask setup` installs promtool")?;
    let output = String::from_utf8_lossy(&promtool.stdout).into_owned();
    assert!(promtool.status.success(), "{output}");
    assert!(output.contains("1 rule files"), "{output}");
    Ok(())
}

#[test]
fn its_grafana_has_prometheus_and_the_dashboard() -> Result<()> {
    let compose = compose()?;
    let grafana = &compose["services"]["grafana"];
    let places = mounted(grafana);
    let place = |here: &str| {
        let mut places = places.iter().filter(|(place, _)| place == here);
        let place = places.next().map(|(_, there)| there.clone());
        place.with_context(|| format!("{here} is not mounted"))
    };
    // Where Grafana looks for these folders.
    assert_eq!(place("envoy/compose/grafana")?, "/etc/grafana/provisioning");
    let source = document("envoy/compose/grafana/datasources/prometheus.yaml")?;
    let source = &source["datasources"][0];
    assert_eq!(source["type"], "prometheus");
    assert_eq!(source["isDefault"], true);
    let url = source["url"].as_str().context("a URL")?;
    let (host, port) = url
        .strip_prefix("http://")
        .and_then(|address| address.split_once(':'))
        .context("an address")?;
    let ports = &compose["services"][host]["ports"][0];
    let published = ports.as_str().context("a port")?;
    assert!(published.ends_with(&format!(":{port}")), "{published}");

    let dashboards = document("envoy/compose/grafana/dashboards/wsbalancer.yaml")?;
    let looked_at = dashboards["providers"][0]["options"]["path"].as_str();
    let dashboard = place("envoy/prometheus/dashboard.json")?;
    let folder_of = Path::new(&dashboard).parent().and_then(Path::to_str);
    assert_eq!(looked_at, folder_of);
    let home = &grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"];
    assert_eq!(*home, dashboard);
    // It takes the data source that is the default.
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(folder().join("dashboard.json"))?)?;
    let variables = dashboard["templating"]["list"].as_array();
    let is_source = |variable: &&Value| variable["type"] == "datasource";
    let variable = variables.into_iter().flatten().find(is_source);
    assert_eq!(variable.context("a data source")?["query"], source["type"]);
    Ok(())
}
