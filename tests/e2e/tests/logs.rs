//! What operators find in the logs and in responses: which pod a WebSocket went to, why, and how it
//! ended.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::block_in_place;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Error;
use wsbalancer_backend::{Fleet, FleetConfig, HandshakeBehavior, MetricBehavior};
use wsbalancer_client::Load;
use wsbalancer_e2e::{PATIENCE, Stage, addresses, assert_all_well, every, preloaded, seldom};
use wsbalancer_harness::{Envoy, Sample};

/// The access log's file has a line of this format for each request.
fn with_access_log(mut sample: Sample, folder: &TempDir) -> Sample {
    sample.connection_manager()["access_log"] = json!([{
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": folder.path().join("access.log"),
            "log_format": { "text_format_source": { "inline_string":
                "%RESPONSE_CODE% \
                 chosen %FILTER_STATE(wasm.wsbalancer:PLAIN)% \
                 served %UPSTREAM_HOST%\n" } },
        },
    }]);
    sample
}

/// The lines of the access log, in any order. Envoy writes them seldom, but all when it ends.
fn access_log(stage: Stage, folder: &TempDir) -> Result<BTreeSet<String>> {
    block_in_place(|| drop(stage.envoy));
    let log = fs::read_to_string(folder.path().join("access.log"))?;
    Ok(log.lines().map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_has_the_chosen_pod_beside_the_one_that_served() -> Result<()> {
    let folder = TempDir::new()?;
    let change = |sample| seldom(with_access_log(sample, &folder));
    let stage = Stage::start(preloaded(2, &[0, 10]), change).await?;
    stage.until_usable(2)?;
    let [best, next] = stage.pods() else {
        unreachable!("there are two pods");
    };
    let (first, second) = (best.address(), next.address());
    let mut all = Vec::new();
    for _ in 0..2 {
        let held = stage.load(1, 0)?.open().await;
        assert_all_well(&held.report());
        all.push(held);
        // Those that are open stay.
        best.refuse().await;
    }
    drop(all);
    stage.until_open(0)?;
    let lines = access_log(stage, &folder)?;
    assert_eq!(
        lines,
        BTreeSet::from([
            format!("101 chosen {first} (estimate 0, runner-up {second} with 10) served {first}"),
            format!("101 chosen {first} (estimate 1, runner-up {second} with 10) served {second}"),
        ])
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_says_when_nothing_was_chosen() -> Result<()> {
    let folder = TempDir::new()?;
    let mut fleet = FleetConfig::local(1);
    fleet.pods[0].switches.metric = MetricBehavior::Status(StatusCode::INTERNAL_SERVER_ERROR);
    let change = |sample| seldom(with_access_log(sample, &folder));
    let stage = Stage::start(fleet, change).await?;
    stage.until_stat("polls_failed", |failed| failed == 1)?;
    let pod = stage.pods()[0].address();
    let held = stage.load(1, 0)?.open().await;
    assert_all_well(&held.report());
    drop(held);
    stage.until_open(0)?;
    let url = format!("http://{}/", stage.envoy.address());
    wsbalancer_e2e::ask::get(&url)?;
    assert_eq!(
        access_log(stage, &folder)?,
        BTreeSet::from([
            format!("101 chosen fallback (no pod is usable) served {pod}"),
            format!("200 chosen - served {pod}"),
        ])
    );
    Ok(())
}

/// The answer to a handshake, whatever it is.
async fn shake_hands(stage: &Stage) -> Result<(StatusCode, HeaderMap)> {
    let url = format!("ws://{}/chat", stage.envoy.address());
    let answer = match connect_async(url).await {
        Ok((_websocket, answer)) => answer.map(drop),
        Err(Error::Http(answer)) => answer.map(drop),
        Err(error) => return Err(error.into()),
    };
    let (parts, ()) = answer.into_parts();
    Ok((parts.status, parts.headers))
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_say_why_if_they_are_to() -> Result<()> {
    let headers = ["x-wsbalancer-pod", "x-wsbalancer-reason"];
    let debugging = |sample: Sample| seldom(sample.option("debugHeaders", true));
    let stage = Stage::start(preloaded(2, &[3, 1]), debugging).await?;
    stage.until_usable(2)?;
    let [other, best] = stage.pods() else {
        unreachable!("there are two pods");
    };
    let explanation = [
        best.address().to_string(),
        format!("estimate 1, runner-up {} with 3", other.address()),
    ];
    // Those that bring no WebSocket do, too.
    let refused = StatusCode::FORBIDDEN;
    best.answer_handshake(HandshakeBehavior::Status(refused));
    for expected in [refused, StatusCode::SWITCHING_PROTOCOLS] {
        let (status, answer) = shake_hands(&stage).await?;
        assert_eq!(status, expected);
        assert_eq!(headers.map(|name| &answer[name]), explanation.each_ref());
        best.answer_handshake(HandshakeBehavior::default());
    }

    let silent = Stage::start(FleetConfig::local(2), seldom).await?;
    silent.until_usable(2)?;
    let (status, answer) = shake_hands(&silent).await?;
    assert_eq!(status, StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(headers.map(|name| answer.get(name)), [None, None]);
    Ok(())
}

/// The filter is told of a pod that the cluster does not have: Envoy passes over it, and says
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_serves_without_having_been_chosen_is_counted() -> Result<()> {
    let fleet = Fleet::start(FleetConfig::local(2)).await?;
    let pods = addresses(&fleet);
    let sample = Sample::standard()?.pods(&pods[..1]);
    let sample = seldom(sample).without_discovery(&pods);
    let envoy = block_in_place(|| Envoy::start(&sample))?;
    let stage = Stage { fleet, envoy };
    stage.until_usable(2)?;
    let one_by_one = |connections| -> Result<Load> {
        Ok(Load {
            max_pending: 1,
            ..stage.load(connections, 0)?
        })
    };
    // With one more, the pod that serves is not the one to be chosen any more.
    let first = one_by_one(1)?.open().await;
    assert_all_well(&first.report());
    let before = stage.stat("upgrades_mismatched")?;
    let held = one_by_one(10)?.open().await;
    assert_all_well(&held.report());
    assert_eq!(stage.counts(), [11, 0]);
    assert_eq!(stage.stat("upgrades_mismatched")? - before, 10);
    assert_eq!(stage.stat("upgrades_retried")?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_has_its_lines_at_debug() -> Result<()> {
    let stage = Stage::start(preloaded(2, &[0, 10]), seldom).await?;
    stage.until_usable(2)?;
    let [best, next] = stage.pods() else {
        unreachable!("there are two pods");
    };
    let (best, next) = (best.address(), next.address());
    let url = format!("ws://{}/chat", stage.envoy.address());
    let wait_for = |text: &str| block_in_place(|| stage.envoy.wait_for_log(text, PATIENCE));

    let asked = Instant::now();
    let (websocket, _) = connect_async(&url).await?;
    let opened = Instant::now();
    wait_for(&format!(
        "cluster chat: opened a WebSocket on {best}; chosen {best} \
         (estimate 0, runner-up {next} with 10), 1 attempts"
    ))?;
    let at_least = opened.elapsed();
    // Without a word, as a phone that has lost its network.
    drop(websocket);
    let line = wait_for("closed a WebSocket")?;
    let at_most = asked.elapsed();
    let (start, end) = line.split_once(" after ").context("a time")?;
    assert!(
        start.ends_with(&format!("cluster chat: closed a WebSocket on {best}")),
        "{line}"
    );
    let (seconds, details) = end.split_once(" s: ").context("a reason")?;
    assert_eq!(details, "downstream_remote_disconnect");
    let lifetime = Duration::from_secs_f64(seconds.parse()?);
    // It is written in milliseconds.
    let rounding = Duration::from_millis(1);
    assert!(
        lifetime + rounding >= at_least && lifetime <= at_most + rounding,
        "{line}"
    );

    let (_websocket, _) = connect_async(&url).await?;
    stage.pods()[0].drop_connections().await;
    wait_for(" s: upstream_reset_after_response_started{connection_termination}")?;

    stage.pods()[0].answer_handshake(HandshakeBehavior::Status(StatusCode::FORBIDDEN));
    shake_hands(&stage).await?;
    wait_for(&format!(
        "cluster chat: opened no WebSocket on {best} (estimate 0, runner-up {next} with 10), \
         1 attempts: via_upstream"
    ))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_of_its_own_silences_what_envoy_would_write() -> Result<()> {
    let quiet = |sample: Sample| every(100)(sample.option("logLevel", "warn"));
    let stage = Stage::start(FleetConfig::local(2), quiet).await?;
    stage.until_usable(2)?;
    let pod = &stage.pods()[0];
    pod.refuse().await;
    let down = format!("pod {} is down", pod.address());
    block_in_place(|| stage.envoy.wait_for_log(&down, PATIENCE))?;
    pod.accept().await?;
    stage.until_usable(2)?;
    let held = stage.load(2, 0)?.open().await;
    assert_all_well(&held.report());
    drop(held);
    stage.until_open(0)?;
    stage.until_stat("polls_ok", |polls| polls > 20)?;

    let log = stage.envoy.log();
    let ours: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("wasm log wsbalancer"))
        .collect();
    assert!(
        ours.iter().all(|line| line.contains("[warning]")),
        "{ours:#?}"
    );
    assert!(log.contains("[debug][wasm]"), "Envoy itself writes more");
    Ok(())
}

/// So many pods come up at once that the lines would fill the log: most are left out, and told as
/// a number with the next line that is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_lines_is_cut_short_and_the_rest_is_told_as_a_number() -> Result<()> {
    const PODS: usize = 500;
    let start = Instant::now();
    // As long as an answer may take, none is late, which would be told as well.
    let patient = |sample: Sample| {
        let sample = sample.option("refreshInterval", "3s");
        sample.option("metricTimeout", "3s")
    };
    let stage = Stage::start(FleetConfig::local(PODS), patient).await?;
    stage.until_usable(PODS)?;
    // With the next poll, for which a line has been earned.
    let pod = &stage.pods()[0];
    pod.drain(Some(true));
    let drains = format!("pod {} drains", pod.address());
    block_in_place(|| stage.envoy.wait_for_log(&drains, PATIENCE))?;

    let log = stage.envoy.log();
    let written = log.matches(" is up with ").count();
    let earned = 10 * start.elapsed().as_secs() + 10;
    assert!(written <= 200 + usize::try_from(earned)?, "{written}");
    let left_out = log
        .lines()
        .filter_map(|line| line.strip_suffix(" lines were left out: there were too many"))
        .map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<usize>())
        .sum::<Result<usize, _>>()?;
    assert_eq!(written + left_out, PODS);
    Ok(())
}
