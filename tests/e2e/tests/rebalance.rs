//! Old WebSockets move to new pods, as slowly as configured and no more than needed.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tokio::task::block_in_place;
use wsbalancer_backend::FleetConfig;
use wsbalancer_client::{Held, imbalance};
use wsbalancer_e2e::eds::{self, endpoints};
use wsbalancer_e2e::{PATIENCE, Stage, addresses, assert_all_well, every};

/// How many may be closed in a second.
const RATE: u32 = 100;

/// Opens as many WebSockets anew as are missing, again and again, until `closed` have been closed;
/// when the first and the last of them were.
async fn reconnect(stage: &Stage, held: &Held, closed: usize) -> Result<(Instant, Instant)> {
    let all = held.len();
    let mut first = None;
    let mut returned = Vec::new();
    let mut back = 0;
    while back < closed {
        held.shrunk_to(all - back - 1).await;
        first.get_or_insert_with(Instant::now);
        let missing = all - back - held.len();
        let again = stage.load(u32::try_from(missing)?, 0)?.open().await;
        assert_all_well(&again.report());
        returned.push(again);
        back += missing;
    }
    let last = Instant::now();
    // They stay open for as long as the test runs.
    std::mem::forget(returned);
    Ok((first.unwrap_or(last), last))
}

#[tokio::test(flavor = "multi_thread")]
async fn old_websockets_move_to_new_pods() -> Result<()> {
    let old = |pods: &[_]| endpoints(&pods[..4]);
    let (stage, eds) = eds::stage(FleetConfig::local(8), old, |sample| {
        every(500)(sample).option(
            "rebalance",
            json!({ "threshold": 1.1, "maxPerSecond": RATE, "minAge": "1s" }),
        )
    })
    .await?;
    stage.until_usable(4)?;
    let held = stage.load(2_000, 1_000)?.open().await;
    assert_all_well(&held.report());
    let before = stage.counts();
    assert!(imbalance(&before[..4]) <= 1.02, "{before:?}");
    assert_eq!(stage.stat("websockets_rebalanced")?, 0, "all is even");

    eds.publish(&endpoints(&addresses(&stage.fleet)))?;
    // Each of the four may keep 275, which is 1.1 times the even share.
    let needed = 2_000 - 4 * 275;
    let (first, last) = reconnect(&stage, &held, needed).await?;
    let counts = stage.counts();
    assert_eq!(counts.iter().max(), Some(&275), "{counts:?}");
    assert_eq!(counts.iter().sum::<u64>(), 2_000);
    let fastest = Duration::from_secs(u64::try_from(needed)?) / RATE;
    // A worker whose timer was late may catch up half a second.
    let slack = Duration::from_millis(500);
    assert!(last - first + slack >= fastest, "{:?}", last - first);
    println!(
        "{needed} closed in {:?}, {RATE} a second allowed",
        last - first
    );

    let lists = stage.stat("discovery_ok")? + 10;
    stage.until_stat("discovery_ok", |now| now >= lists)?;
    assert_eq!(stage.stat("websockets_rebalanced")?, u64::try_from(needed)?);
    let line = format!("s on pod {}, which holds ", stage.pods()[0].address());
    block_in_place(|| stage.envoy.wait_for_log(&line, PATIENCE))?;
    Ok(())
}
