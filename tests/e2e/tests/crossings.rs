//! What a request costs in calls between Envoy and the VM, by Envoy's own trace log.

use anyhow::Result;
use tokio::task::block_in_place;
use wsbalancer_backend::{Fleet, FleetConfig};
use wsbalancer_e2e::{PATIENCE, addresses, load, seldom};
use wsbalancer_harness::{Envoy, Sample};

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_costs_few_crossings() -> Result<()> {
    let fleet = Fleet::start(FleetConfig::local(2)).await?;
    let sample = seldom(Sample::standard()?.pods(&addresses(&fleet))).option("logLevel", "warn");
    let options = Envoy::options().concurrency(1).component_log_level("wasm:trace");
    let envoy = block_in_place(|| options.start(&sample))?;
    block_in_place(|| envoy.wait_for_filter_stat("pods_usable", |usable| usable == 2, PATIENCE))?;
    let held = load(envoy.address(), 1, 0)?.open().await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    drop(held);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    std::fs::write("/tmp/trace.log", envoy.log())?;
    Ok(())
}
