//! Configurations: which are refused and how, and what a changed one does to a running Envoy.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::block_in_place;
use wsbalancer_backend::{Fleet, FleetConfig, Pod};
use wsbalancer_client::{Held, imbalance};
use wsbalancer_e2e::doctor;
use wsbalancer_e2e::{PATIENCE, ROOT, Stage, addresses, assert_all_well, load, seldom};
use wsbalancer_harness::{Envoy, Sample, wait_until};

/// Fields of the plugin configuration, and what the log says of them.
fn refused() -> Vec<(Value, &'static str)> {
    let service = |fields: Value| {
        let mut service = json!({ "cluster": "chat", "endpoints": ["10.0.0.1:80"] });
        merge(&mut service, fields);
        json!({ "services": [service] })
    };
    vec![
        (
            json!({ "cacheTtl": "30s" }),
            "cacheTtl: is not an option: did you mean cacheTTL?",
        ),
        (
            json!({ "services": [] }),
            "services: is empty: list at least one",
        ),
        (
            json!({ "services": "chat" }),
            "services: \"chat\" is not a list: put it in [ ]",
        ),
        (
            json!({ "cacheTTL": true }),
            "cacheTTL: true is not a duration from 10 ms to a year: write 500ms, 30s,",
        ),
        (
            json!({ "cacheTTL": "soon" }),
            "cacheTTL: \"soon\" is not a duration from 10 ms to a year",
        ),
        (
            json!({ "refreshInterval": 0 }),
            "refreshInterval: 0 s is not between 10 ms and a year",
        ),
        (
            json!({ "refreshInterval": "1m" }),
            "refreshInterval: 60s is not shorter than the cacheTTL, which is 30s in services[0]",
        ),
        (
            json!({ "metricTimeout": "10s" }),
            "metricTimeout: 10s is longer than the refreshInterval, which is 5s in services[0]",
        ),
        (
            json!({ "metricPath": "metric" }),
            "metricPath: \"metric\" is not a path",
        ),
        (
            json!({ "unhealthyThreshold": 0 }),
            "unhealthyThreshold: 0 is not a whole number from 1 to 4294967295",
        ),
        (
            json!({ "unhealthyThreshold": 1.5 }),
            "unhealthyThreshold: 1.5 is not a whole number from 1 to 4294967295",
        ),
        (
            json!({ "attempts": 17 }),
            "attempts: 17 is not a whole number from 1 to 16",
        ),
        (
            json!({ "onNoPods": "queue" }),
            "onNoPods: \"queue\" is not one of fallback and reject",
        ),
        (
            json!({ "overrideHeader": "host" }),
            "overrideHeader: \"host\" is needed by HTTP itself",
        ),
        (
            service(json!({ "endpoints": [] })),
            "services[0].endpoints: is empty",
        ),
        (
            service(json!({ "endpoints": ["10.0.0.1:80", "10.0.0.1:80"] })),
            "services[0].endpoints[1]: 10.0.0.1:80 is listed twice",
        ),
        (
            service(json!({ "endpoints": ["10.0.0.1:80", "chat:80"] })),
            "services[0].endpoints[1]: \"chat:80\" is not the address of a pod",
        ),
        (
            service(json!({ "cluster": "" })),
            "services[0].cluster: \"\" is not the name of an Envoy cluster",
        ),
        (
            service(json!({ "attempts": 2 })),
            "services[0].attempts: is not an option here: it stands beside services",
        ),
    ]
}

#[test]
fn a_refused_configuration_is_named_in_the_log() -> Result<()> {
    let sample = Sample::standard()?;
    assert_eq!(Envoy::validate(&sample), Ok(()), "nothing else is wrong");
    for (fields, reason) in refused() {
        let mut sample = sample.clone();
        merge(sample.plugin_configuration(), fields.clone());
        let log = Envoy::validate(&sample).expect_err(&format!("{fields} was accepted"));
        let line = format!("configuration refused: {reason}");
        assert!(log.contains(&line), "{fields} gave no {line:?} in\n{log}");
    }
    Ok(())
}

#[test]
fn a_configuration_that_is_missing_is_refused() -> Result<()> {
    let mut sample = Sample::standard()?;
    *sample.plugin_configuration() = json!({});
    let log = Envoy::validate(&sample).expect_err("it was accepted");
    assert!(log.contains("configuration refused: "), "{log}");
    assert!(log.contains("services"), "{log}");
    Ok(())
}

/// As a `Struct`, in which every number is a floating-point number, and as JSON in a string.
#[tokio::test(flavor = "multi_thread")]
async fn every_option_at_once_in_both_forms() -> Result<()> {
    for form in ["Struct", "StringValue"] {
        let mut fleet = FleetConfig::local(4);
        fleet.metric_path = "/count".to_owned();
        let stage = Stage::start(fleet, |sample| with_every_option(sample, form)).await?;
        stage.until_usable(4)?;
        let held = stage.load(20, 0)?.open().await;
        assert_all_well(&held.report());
        let counts = stage.counts();
        assert!(imbalance(&counts) <= 1.2, "{form}: {counts:?}");
        for pod in stage.pods() {
            let seen = pod.last_handshake().context("a handshake")?;
            let [value] = seen["x-pod"].as_slice() else {
                panic!("one value: {seen:?}");
            };
            assert_eq!(value.split(',').count(), 2, "{value}");
        }
    }
    Ok(())
}

fn with_every_option(mut sample: Sample, form: &str) -> Sample {
    let plugin = sample.plugin_configuration();
    merge(
        plugin,
        json!({
            "metricPath": "/overruled",
            "cacheTTL": "1m",
            "refreshInterval": 10,
            "metricTimeout": 1.5,
            "unhealthyThreshold": 9,
            "overrideHeader": "X-Pod",
            "attempts": 2,
            "onNoPods": "reject",
        }),
    );
    merge(
        &mut plugin["services"][0],
        json!({
            "metricPath": "/count",
            "cacheTTL": 2,
            "refreshInterval": "250ms",
            "metricTimeout": "0.25s",
            "unhealthyThreshold": 5,
        }),
    );
    sample.cluster()["load_balancing_policy"]["policies"][0]["typed_extension_config"]["typed_config"]
        ["override_host_sources"] = json!([{ "header": "x-pod" }]);
    let filter = &mut sample.connection_manager()["http_filters"][0];
    filter["typed_config"]["config"]["configuration"]["@type"] =
        format!("type.googleapis.com/google.protobuf.{form}").into();
    sample
}

#[test]
fn every_file_of_the_project_is_accepted() -> Result<()> {
    let root = Path::new(ROOT);
    let files: Vec<PathBuf> = fs::read_dir(root.join("envoy"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    // What the tool renders others from is no configuration of Envoy's.
    let is_yaml = |file: &&PathBuf| {
        file.extension().is_some_and(|kind| kind == "yaml") && !file.ends_with("service.yaml")
    };
    assert!(files.iter().any(|file| is_yaml(&file)));
    for file in files.iter().filter(is_yaml) {
        let sample = Sample::load(file)?.wasm(root.join("target/wsbalancer.wasm"));
        assert_eq!(Envoy::validate(&sample), Ok(()), "{}", file.display());
    }
    Ok(())
}

/// New WebSockets follow the new configuration. Those of the old one stay: Envoy drains them,
/// which ends them only after its `--drain-time-s`, ten minutes by default.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_listener_takes_over_and_live_websockets_stay() -> Result<()> {
    let dynamic = Dynamic::start(4).await?;
    let (kept, left) = dynamic.fleet.pods().split_at(2);
    dynamic.until_up(dynamic.fleet.pods(), 1)?;
    let mut old = dynamic.open(20).await?;
    assert_eq!(
        dynamic
            .fleet
            .pods()
            .iter()
            .map(Pod::open)
            .collect::<Vec<_>>(),
        [5; 4]
    );

    let mut two_pods = dynamic.sample.clone();
    two_pods.plugin_configuration()["services"][0]["endpoints"] =
        json!(kept.iter().map(Pod::address).collect::<Vec<_>>());
    dynamic.publish(&mut two_pods)?;
    dynamic.until_stat("listener_manager.lds.update_success", 2)?;
    dynamic.until_stat("listener_manager.total_listeners_warming", 0)?;
    let mut new = dynamic.open(20).await?;
    assert_eq!(open_on(kept), [15; 2]);
    assert_eq!(open_on(left), [5; 2]);

    for held in [&mut old, &mut new] {
        let messages = held.exchange(3).await;
        assert_eq!((messages.verified, held.len()), (60, 20));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_change_is_rejected_and_the_old_configuration_goes_on() -> Result<()> {
    let dynamic = Dynamic::start(3).await?;
    dynamic.until_up(dynamic.fleet.pods(), 1)?;
    let mut old = dynamic.open(9).await?;

    dynamic.publish(&mut dynamic.sample.clone().option("attempts", 0))?;
    dynamic.until_stat("listener_manager.lds.update_rejected", 1)?;
    let log = dynamic.envoy.log();
    assert!(
        log.contains("configuration refused: attempts: 0 is not a whole number from 1 to 16"),
        "{log}"
    );
    let found = doctor::findings(&dynamic.envoy)?;
    let is_it = |one: &doctor::Finding| one.rule == "refused" && one.place == "changing";
    assert!(found.iter().any(is_it), "{found:#?}");
    let mut new = dynamic.open(9).await?;
    assert_eq!(
        dynamic
            .fleet
            .pods()
            .iter()
            .map(Pod::open)
            .collect::<Vec<_>>(),
        [6; 3]
    );
    for held in [&mut old, &mut new] {
        let messages = held.exchange(3).await;
        assert_eq!((messages.verified, held.len()), (27, 9));
    }

    // It takes the next one that is good.
    dynamic.publish(&mut dynamic.sample.clone().option("attempts", 1))?;
    dynamic.until_stat("listener_manager.lds.update_success", 2)?;
    dynamic.until_stat("listener_manager.total_listeners_warming", 0)?;
    block_in_place(|| {
        wait_until(
            "a WebSocket with a single pod in its header",
            PATIENCE,
            || {
                let opening = async { dynamic.open(1).await };
                tokio::runtime::Handle::current().block_on(opening).ok()?;
                let seen = dynamic.fleet.pods().iter().filter_map(Pod::last_handshake);
                let mut values =
                    seen.flat_map(|seen| seen["x-gateway-destination-endpoint"].clone());
                values.any(|value| !value.contains(',')).then_some(())
            },
        )
    })
}

/// An Envoy that takes its listener from a file that can change.
struct Dynamic {
    fleet: Fleet,
    envoy: Envoy,
    /// The configuration with the listener in its usual place.
    sample: Sample,
    listeners: TempDir,
}

impl Dynamic {
    const LISTENER: &str = "changing";

    async fn start(pods: usize) -> Result<Self> {
        let fleet = Fleet::start(FleetConfig::local(pods)).await?;
        let mut sample = seldom(Sample::standard()?.pods(&addresses(&fleet)));
        sample.listener()["name"] = Self::LISTENER.into();
        let listeners = TempDir::new()?;
        publish(&listeners, &mut sample)?;
        // The listener in the bootstrap stays, under another name and without the filter.
        let bootstrap = sample.clone().without_filter().edit(|configuration| {
            configuration["static_resources"]["listeners"][0]["name"] = "static".into();
            configuration["node"] = json!({ "id": "test", "cluster": "test" });
            configuration["dynamic_resources"]["lds_config"]["path_config_source"] = json!({
                "path": listeners.path().join("listeners.json"),
                "watched_directory": { "path": listeners.path() },
            });
        });
        let envoy = block_in_place(|| Envoy::start(&bootstrap))?;
        Ok(Self {
            fleet,
            envoy,
            sample,
            listeners,
        })
    }

    /// Has Envoy take the listener of `sample`.
    fn publish(&self, sample: &mut Sample) -> Result<()> {
        publish(&self.listeners, sample)
    }

    fn address(&self) -> Result<SocketAddr> {
        let address = self.envoy.listener(Self::LISTENER);
        address.context("Envoy should have the listener")
    }

    async fn open(&self, websockets: u32) -> Result<Held> {
        let held = load(self.address()?, websockets, 0)?.open().await;
        assert_all_well(&held.report());
        Ok(held)
    }

    /// Waits until each of `pods` has come up for `filters` filters, one after the other.
    fn until_up(&self, pods: &[Pod], filters: usize) -> Result<()> {
        block_in_place(|| {
            self.envoy.wait_until("counts from all pods", PATIENCE, || {
                let log = self.envoy.log();
                let is_up = |pod: &Pod| {
                    let text = format!("pod {} is up with", pod.address());
                    log.matches(&text).count() == filters
                };
                pods.iter().all(is_up).then_some(())
            })
        })
    }

    fn until_stat(&self, name: &str, value: u64) -> Result<()> {
        block_in_place(|| self.envoy.wait_for_stat(name, |now| now == value, PATIENCE))?;
        Ok(())
    }
}

/// Puts the listener of `sample` into the folder, in one step: Envoy watches for moves.
fn publish(folder: &TempDir, sample: &mut Sample) -> Result<()> {
    let mut listener = sample.listener().clone();
    listener["@type"] = "type.googleapis.com/envoy.config.listener.v3.Listener".into();
    let draft = folder.path().join("draft");
    fs::write(&draft, json!({ "resources": [listener] }).to_string())?;
    fs::rename(draft, folder.path().join("listeners.json"))?;
    Ok(())
}

fn open_on(pods: &[Pod]) -> Vec<u64> {
    pods.iter().map(Pod::open).collect()
}

fn merge(object: &mut Value, fields: Value) {
    let Value::Object(fields) = fields else {
        panic!("fields: {fields}");
    };
    for (name, value) in fields {
        object[name] = value;
    }
}
