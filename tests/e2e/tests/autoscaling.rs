//! What scales the pods by their WebSockets asks a real Prometheus, before real gateways, for as many as
//! there are.

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::task::block_in_place;
use wsbalancer_backend::Pod;
use wsbalancer_e2e::istio::documents;
use wsbalancer_e2e::markdown;
use wsbalancer_e2e::prometheus::{Prometheus, configuration};
use wsbalancer_e2e::{PATIENCE, Stage, assert_all_well, every, load, preloaded};
use wsbalancer_harness::{Envoy, Sample, wait_until};

const ADAPTER: &str = "envoy/autoscaling/prometheus-adapter.yaml";
const KEDA: &str = "envoy/autoscaling/keda.yaml";
const HPA: &str = "envoy/autoscaling/hpa.yaml";

/// The only document of a file.
fn document(file: &str) -> Result<Value> {
    documents(file)?.pop().with_context(|| file.to_owned())
}

fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.with_context(|| pointer.to_owned())
}

/// What the Prometheus Adapter asks, with its template filled.
fn query_of_adapter() -> Result<String> {
    let values = document(ADAPTER)?;
    let rule = &values["rules"]["external"][0];
    let (series, _matchers) = text(rule, "/seriesQuery")?
        .split_once('{')
        .context("no matchers")?;
    Ok(text(rule, "/metricsQuery")?.replace("<<.Series>>", series))
}

/// Both ways ask the same and scale alike, so what is tried of one holds for the other.
#[test]
fn adapter_and_keda_do_the_same() -> Result<()> {
    let (hpa, keda) = (document(HPA)?, document(KEDA)?);
    let trigger = &keda["spec"]["triggers"][0];
    assert_eq!(query_of_adapter()?, text(trigger, "/metadata/query")?);
    let metric = &hpa["spec"]["metrics"][0]["external"];
    let of_adapter = document(ADAPTER)?;
    assert_eq!(
        metric["metric"]["name"],
        of_adapter["rules"]["external"][0]["name"]["as"]
    );
    let target = &metric["target"];
    assert_eq!(target["type"], trigger["metricType"]);
    assert_eq!(target["averageValue"], trigger["metadata"]["threshold"]);
    assert_eq!(trigger["metadata"]["ignoreNullValues"], "false");
    let (hpa, keda) = (&hpa["spec"], &keda["spec"]);
    assert_eq!(
        hpa["behavior"],
        keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    );
    assert_eq!(hpa["minReplicas"], keda["minReplicaCount"]);
    assert_eq!(hpa["maxReplicas"], keda["maxReplicaCount"]);
    assert_eq!(
        hpa["scaleTargetRef"]["name"],
        keda["scaleTargetRef"]["name"]
    );
    Ok(())
}

#[test]
fn the_rebalancing_for_scale_outs_is_accepted() -> Result<()> {
    let options = markdown::snippet("For a service that is scaled, in the filter's configuration")?;
    let options: Value = serde_saphyr::from_str(&options)?;
    let sample = Sample::standard()?.option("rebalance", options["rebalance"].clone());
    assert_eq!(Envoy::validate(&sample), Ok(()));
    Ok(())
}

/// Waits until a query has exactly this one value.
fn until_value(prometheus: &Prometheus, query: &str, expected: u64) -> Result<()> {
    let mut last = Vec::new();
    let expected = expected.to_string();
    block_in_place(|| {
        wait_until(query, PATIENCE, || {
            last = prometheus.query(query).ok()?;
            let is_it = last.len() == 1 && last[0]["value"][1] == *expected;
            is_it.then_some(())
        })
    })
    .with_context(|| format!("expected {expected}, found {last:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_websocket_counts_once_however_many_gateways_tell_of_it() -> Result<()> {
    let stage = Stage::start(preloaded(4, &[300, 0]), every(500)).await?;
    let addresses: Vec<_> = stage.pods().iter().map(Pod::address).collect();
    let second = every(500)(Sample::standard()?.pods(&addresses));
    let second = block_in_place(|| Envoy::start(&second))?;
    let status = |envoy: &Envoy| envoy.listener("status").context("a status");
    let (of_first, of_second) = (status(&stage.envoy)?, status(&second)?);
    let configuration = configuration(&stage, &["status"])?
        .replace(
            &format!("\"{of_first}\""),
            &format!("\"{of_first}\", \"{of_second}\""),
        )
        // Both are on one host here, and yet two gateways.
        .replace(r"regex: (.+):\d+", "regex: (.+)");
    let prometheus = Prometheus::start(&configuration, "groups: []")?;
    let query = query_of_adapter()?;

    stage.until_usable(4)?;
    let through_first = stage.load(100, 0)?.open().await;
    assert_all_well(&through_first.report());
    let through_second = load(second.address(), 60, 0)?.open().await;
    assert_all_well(&through_second.report());
    until_value(&prometheus, &query, 600 + 160)?;
    // What each of them tells, added up, is twice as much.
    until_value(&prometheus, "count(wsbalancer_connections)", 2)?;
    until_value(&prometheus, "sum(wsbalancer_connections)", 2 * (600 + 160))?;

    // A gateway goes, and its WebSockets with it.
    block_in_place(|| drop(second));
    until_value(&prometheus, &query, 600 + 100)?;

    // The page's queries: the one that it explains, and those to watch.
    let pages = markdown::pages()?;
    let page = pages
        .iter()
        .find(|page| page.file.ends_with("autoscaling.md"));
    let page = page.context("docs/autoscaling.md")?;
    assert!(page.text.contains(&format!("```promql\n{query}\n```")));
    let rows = page.text.lines().filter(|line| line.starts_with("| "));
    let code = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    let queries: Vec<&str> = code.filter(|code| code.contains("wsbalancer_")).collect();
    assert_eq!(queries.len(), 4, "{queries:?}");
    for query in queries {
        block_in_place(|| {
            wait_until(query, PATIENCE, || match prometheus.query(query) {
                Ok(series) => (!series.is_empty()).then_some(Ok(())),
                Err(error) => Some(Err(error)),
            })
        })
        .flatten()?;
    }

    // Where nobody tells, that is not taken for none.
    let of_nobody = query.replace("\"chat\"", "\"other\"");
    assert_ne!(of_nobody, query);
    assert_eq!(prometheus.query(&of_nobody)?, [] as [Value; 0]);
    Ok(())
}
