//! Many pods are asked in portions: no thread is held up for long, and still all counts of a round
//! are of one moment.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;
use wsbalancer_backend::{FleetConfig, Pod};
use wsbalancer_client::imbalance;
use wsbalancer_e2e::{Stage, assert_all_well, every};

const PODS: usize = 300;
const INTERVAL: Duration = Duration::from_secs(4);
/// Twenty pods leave together, and the next five milliseconds later.
const PORTIONS: u32 = 15;
const PAUSE: Duration = Duration::from_millis(5);

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_pods_are_asked_in_portions_within_a_tenth_of_the_interval() -> Result<()> {
    let millis = u32::try_from(INTERVAL.as_millis())?;
    let seldom = |sample| every(millis)(sample).option("burstInterval", 0);
    let stage = Stage::start(FleetConfig::local(PODS), seldom).await?;
    stage.until_usable(PODS)?;

    // Only rounds that begin from now on are watched from their beginning.
    let mut round = next_round(&stage).await?;
    for _ in 0..3 {
        let before = polls(&stage);
        let asked_at = asked_at(&stage, round).await?;
        let (first, last) = (asked_at.iter().min(), asked_at.iter().max());
        let (Some(&first), Some(&last)) = (first, last) else {
            panic!("there are pods");
        };
        let span = last.duration_since(first);
        assert!(span >= PAUSE * (PORTIONS - 1), "all at once: {span:?}");
        assert!(span <= INTERVAL / 10, "counts of other moments: {span:?}");
        let after = polls(&stage);
        let asked = after
            .iter()
            .zip(&before)
            .map(|(after, before)| after - before);
        assert!(asked.into_iter().all(|n| n == 1), "{before:?} {after:?}");
        round += 1;
    }

    // Half of them hold some that nobody here knows of.
    for pod in stage.pods().iter().step_by(2) {
        pod.preload(5);
    }
    let round = next_round(&stage).await?;
    let answers = round * u64::try_from(PODS)?;
    stage.until_stat("polls_ok", |polls| polls >= answers)?;
    let held = stage.load(2_250, 500)?.open().await;
    assert_all_well(&held.report());
    let counts = stage.counts();
    assert!(imbalance(&counts) <= 1.1, "within one of ten: {counts:?}");
    Ok(())
}

fn polls(stage: &Stage) -> Vec<u64> {
    stage.pods().iter().map(Pod::polls).collect()
}

/// How many polls each pod will have had after the next round, once the one before is over.
async fn next_round(stage: &Stage) -> Result<u64> {
    let most = polls(stage).into_iter().max().unwrap_or_default();
    asked_at(stage, most).await?;
    Ok(most + 1)
}

/// When each pod was asked for the time of this number.
async fn asked_at(stage: &Stage, time: u64) -> Result<Vec<Instant>> {
    let mut asked = JoinSet::new();
    for pod in stage.pods() {
        let pod = pod.clone();
        asked.spawn(async move {
            pod.until(|counters| counters.polls >= time).await?;
            anyhow::Ok(Instant::now())
        });
    }
    asked.join_all().await.into_iter().collect()
}
