//! Several gateways before the same pods, who know of each other only through the pods' counts.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::task::{JoinSet, block_in_place};
use wsbalancer_backend::{Fleet, FleetConfig, Pod, raise_descriptor_limit};
use wsbalancer_client::{Held, imbalance};
use wsbalancer_e2e::{PATIENCE, addresses, assert_all_well, every, load, preloaded};
use wsbalancer_harness::{Envoy, Sample, wait_until};

/// An Envoy before `pods`, which it asks every second.
fn gateway(pods: &[SocketAddr]) -> Result<Envoy> {
    let sample = every(1_000)(Sample::standard()?.pods(pods));
    block_in_place(|| {
        let envoy = Envoy::start(&sample)?;
        let all = u64::try_from(pods.len())?;
        envoy.wait_for_filter_stat("pods_usable", |usable| usable == all, PATIENCE)?;
        Ok(envoy)
    })
}

/// Opens a hundred WebSockets for each of `hundreds` through the gateway beside it, all at the
/// same time and over five seconds.
async fn open(gateways: &[Envoy], hundreds: &[u32]) -> Result<Vec<Held>> {
    let mut opening = JoinSet::new();
    for (gateway, hundreds) in gateways.iter().zip(hundreds) {
        let load = load(gateway.address(), hundreds * 100, hundreds * 20)?;
        opening.spawn(async move { load.open().await });
    }
    let held = opening.join_all().await;
    for held in &held {
        assert_all_well(&held.report());
    }
    Ok(held)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_fill_empty_pods_evenly() -> Result<()> {
    let fleet = Fleet::start(FleetConfig::local(8)).await?;
    let pods = addresses(&fleet);
    let gateways = [gateway(&pods)?, gateway(&pods)?];
    let _held = open(&gateways, &[10, 10]).await?;
    let counts: Vec<u64> = fleet.pods().iter().map(Pod::open).collect();
    assert_eq!(counts.iter().sum::<u64>(), 2_000);
    assert!(imbalance(&counts) <= 1.01, "{counts:?}");
    Ok(())
}

/// Four of the pods begin with 500 WebSockets that no gateway opened, and the gateways have three,
/// two and one sixth of the traffic. Then the first of them is restarted, with all that this means
/// for its clients.
#[tokio::test(flavor = "multi_thread")]
async fn three_gateways_even_out_skewed_pods() -> Result<()> {
    raise_descriptor_limit()?;
    let fleet = Fleet::start(preloaded(8, &[500, 0])).await?;
    let counts = || -> Vec<u64> { fleet.pods().iter().map(Pod::reported).collect() };
    let pods = addresses(&fleet);
    let mut gateways = vec![gateway(&pods)?, gateway(&pods)?, gateway(&pods)?];
    let _held = open(&gateways, &[15, 10, 5]).await?;
    let even = counts();
    assert_eq!(even.iter().sum::<u64>(), 2_000 + 3_000);
    assert!(imbalance(&even) <= 1.05, "{even:?}");

    let stopped = gateways.remove(0);
    block_in_place(|| drop(stopped));
    let left = || fleet.pods().iter().map(Pod::open).sum::<u64>();
    block_in_place(|| {
        wait_until("the pods to notice", PATIENCE, || {
            (left() == 1_500).then_some(())
        })
    })?;
    gateways.insert(0, gateway(&pods)?);
    let _more = open(&gateways, &[15, 2, 1]).await?;
    let first = gateways.first().context("a gateway")?;
    // It made no use of the fallback.
    let all = |balanced| balanced == 1_500;
    block_in_place(|| first.wait_for_filter_stat("upgrades_balanced", all, PATIENCE))?;
    let even = counts();
    assert_eq!(even.iter().sum::<u64>(), 2_000 + 3_300);
    assert!(imbalance(&even) <= 1.05, "{even:?}");
    Ok(())
}
