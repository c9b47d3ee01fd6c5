//! What it costs to learn of many pods from Envoy's admin interface.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};
use wsbalancer_harness::{Envoy, Sample};

use crate::PATIENCE;
use crate::measures::{CpuClock, resident};

pub(crate) const CLUSTERS: u8 = 20;
pub(crate) const PODS_OF_A_CLUSTER: u8 = 50;

/// What it costs to read all clusters' lists once.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Discovery {
    /// Milliseconds of the process's CPU time, from the question to the pods in the table.
    refresh: f64,
    /// Milliseconds of it in which Envoy only writes the lists.
    writing: f64,
    /// Bytes that the process has more than one whose filter knows none of the pods.
    memory: f64,
}

impl Discovery {
    /// Measures over so many refreshes. The first ones take longer: V8 compiles a module well only
    /// after some use.
    pub(crate) fn take(refreshes: u32) -> Result<Self> {
        let options = Envoy::options().concurrency(1).log_level("error");
        let (ignorant, clusters) = sample()?;
        let services: Vec<Value> = clusters
            .iter()
            .map(|cluster| json!({ "cluster": cluster }))
            .collect();
        let knowing = ignorant.clone().option("services", services);

        let envoy = options.start(&ignorant)?;
        let pid = envoy.pid().cast_signed();
        envoy.wait_for_filter_stat("discovery_ok", |read| read > 0, PATIENCE)?;
        let memory = resident(pid)?;
        let clock = CpuClock::of(pid)?;
        let start = clock.read()?;
        for cluster in clusters
            .iter()
            .cycle()
            .take(clusters.len() * usize::try_from(refreshes)?)
        {
            envoy.admin_get(&format!("/clusters?format=json&filter=^{cluster}$"))?;
        }
        let writing = millis(clock.read()?.saturating_sub(start)) / f64::from(refreshes);
        drop(envoy);

        let envoy = options.start(&knowing)?;
        let pid = envoy.pid().cast_signed();
        let pods = u64::from(CLUSTERS) * u64::from(PODS_OF_A_CLUSTER);
        envoy.wait_for_filter_stat("pods_known", |known| known == pods, PATIENCE)?;
        // Once polled, in vain, the pods are left alone.
        envoy.wait_for_filter_stat("polls_failed", |polls| polls >= pods, PATIENCE)?;
        let clock = CpuClock::of(pid)?;
        let first = envoy.filter_stat("discovery_ok")?;
        let start = clock.read()?;
        let lists = u64::from(CLUSTERS) * u64::from(refreshes);
        let last = envoy.wait_for_filter_stat(
            "discovery_ok",
            |read| read >= first + lists,
            INTERVAL * refreshes + PATIENCE,
        )?;
        let spent = millis(clock.read()?.saturating_sub(start));
        let read = f64::from(u32::try_from(last - first)?);
        Ok(Self {
            refresh: spent * f64::from(CLUSTERS) / read,
            writing,
            memory: resident(pid)? - memory,
        })
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl fmt::Display for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "To learn of {} pods in {CLUSTERS} clusters takes {:.1} ms of CPU time, {:.1} ms of \
             which to write the lists, and {:.1} MB.",
            u32::from(CLUSTERS) * u32::from(PODS_OF_A_CLUSTER),
            self.refresh,
            self.writing,
            self.memory / 1e6,
        )
    }
}

/// Much shorter than one would have it, so that the measurement ends soon.
const INTERVAL: Duration = Duration::from_millis(100);

/// The project's sample with many clusters more, whose pods nobody is and which are hardly polled,
/// and the names of those.
pub(crate) fn sample() -> Result<(Sample, Vec<String>)> {
    let mut sample = Sample::standard()?;
    let template = sample.cluster().clone();
    let names: Vec<String> = (0..CLUSTERS)
        .map(|number| format!("chat-{number}"))
        .collect();
    let clusters: Vec<Value> = (0..CLUSTERS)
        .zip(&names)
        .map(|(number, name)| cluster(&template, number, name))
        .collect();
    let discovery = json!({
        "adminCluster": "envoy_admin",
        "interval": format!("{}ms", INTERVAL.as_millis()),
    });
    let sample = sample
        .option("cacheTTL", "6h")
        .option("discovery", discovery)
        .edit(|configuration| {
            if let Some(all) = configuration["static_resources"]["clusters"].as_array_mut() {
                all.extend(clusters);
            }
        });
    Ok((sample, names))
}

fn cluster(template: &Value, number: u8, name: &str) -> Value {
    let mut cluster = template.clone();
    let endpoints: Vec<Value> = (1..=PODS_OF_A_CLUSTER)
        .map(|pod| {
            let address = Ipv4Addr::new(127, 100, number, pod);
            json!({ "endpoint": { "address": {
                "socket_address": { "address": address, "port_value": 9 },
            }}})
        })
        .collect();
    cluster["load_assignment"] =
        json!({ "cluster_name": name, "endpoints": [{ "lb_endpoints": endpoints }] });
    cluster["name"] = name.into();
    cluster
}
