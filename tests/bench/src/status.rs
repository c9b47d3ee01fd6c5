//! What it costs to show the status of many pods.

use std::fmt;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};
use wsbalancer_harness::{Envoy, Http};

use crate::PATIENCE;
use crate::discovery::{self, millis};
use crate::measures::CpuClock;

/// Milliseconds of CPU time for one answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    page: f64,
    json: f64,
    prometheus: f64,
    /// What Envoy's own list of the same hosts takes.
    clusters: f64,
}

impl Status {
    /// Measures over so many answers of each form.
    pub(crate) fn take(answers: u32) -> Result<Self> {
        let (ignorant, clusters) = discovery::sample()?;
        let services: Vec<Value> = clusters
            .iter()
            .map(|cluster| json!({ "cluster": cluster }))
            .collect();
        let envoy = Envoy::options().concurrency(1).log_level("error").start(
            &ignorant.option("services", services).option(
                "discovery",
                json!({ "adminCluster": "envoy_admin", "interval": "1h" }),
            ),
        )?;
        let pods = u64::from(discovery::CLUSTERS) * u64::from(discovery::PODS_OF_A_CLUSTER);
        envoy.wait_for_filter_stat("polls_failed", |polls| polls >= pods, PATIENCE)?;
        let status = envoy
            .listener("status")
            .context("the sample has a status")?;
        let page = format!("http://{status}/balancer-metrics");
        let clock = CpuClock::of(envoy.pid().cast_signed())?;
        let cost = |url: &str| -> Result<f64> {
            let start = clock.read()?;
            for _ in 0..answers {
                Http::new().get(url)?;
            }
            let spent = clock.read()?.saturating_sub(start);
            Ok(millis(spent) / f64::from(answers))
        };
        // The first answers take longer: V8 compiles a module well only after some use.
        cost(&format!("{page}?format=json"))?;
        cost(&format!("{page}?format=prometheus"))?;
        Ok(Self {
            page: cost(&page)?,
            json: cost(&format!("{page}?format=json"))?,
            prometheus: cost(&format!("{page}?format=prometheus"))?,
            clusters: cost(&format!("http://{}/clusters?format=json", envoy.admin()))?,
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            page,
            json,
            prometheus,
            clusters,
        } = self;
        write!(
            f,
            "To show 1,000 pods takes {json:.1} ms of CPU time as JSON, {:.2} of what Envoy's own \
             list of them takes; as Prometheus' text {prometheus:.1} ms, {:.2} of it; the page \
             itself {page:.2} ms, {:.2} of it.",
            json / clusters,
            prometheus / clusters,
            page / clusters,
        )
    }
}
