//! The filter finds the pods that Envoy's cluster has, and leaves out those that Envoy has something against.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::block_in_place;
use wsbalancer_backend::{Fleet, FleetConfig, HandshakeBehavior, Pod};
use wsbalancer_client::{Held, imbalance};
use wsbalancer_e2e::doctor;
use wsbalancer_e2e::eds::{self, Endpoint, endpoints};
use wsbalancer_e2e::{
    PATIENCE, ROOT, Stage, addresses, assert_all_well, assert_skewed_pods_even_out, brisk, every,
    preloaded, seldom,
};
use wsbalancer_harness::{Envoy, Sample};

async fn open(stage: &Stage, websockets: u32) -> Result<Held> {
    let held = stage.load(websockets, 0)?.open().await;
    assert_all_well(&held.report());
    Ok(held)
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_an_endpoint_discovery_service_even_out() -> Result<()> {
    let fleet = preloaded(8, &[500, 0]);
    let (stage, _eds) = eds::stage(fleet, endpoints, |sample| sample).await?;
    assert_skewed_pods_even_out(&stage).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_dns_name_even_out() -> Result<()> {
    let fleet = Fleet::start(preloaded(8, &[500, 0])).await?;
    let sample = Sample::load(format!("{ROOT}/envoy/dns.yaml"))?.ready_to_run();
    let mut sample = sample.pods(&addresses(&fleet));
    let group = &mut sample.cluster()["load_assignment"]["endpoints"][0];
    for endpoint in group["lb_endpoints"].as_array_mut().into_iter().flatten() {
        endpoint["endpoint"]["address"]["socket_address"]["address"] = "localhost".into();
    }
    let envoy = block_in_place(|| Envoy::start(&sample))?;
    let stage = Stage { fleet, envoy };
    assert_skewed_pods_even_out(&stage).await?;
    doctor::until_found(&stage.envoy, &[])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_are_listed_by_hand_even_out() -> Result<()> {
    let fleet = Fleet::start(preloaded(8, &[500, 0])).await?;
    let pods = addresses(&fleet);
    let sample = Sample::standard()?.pods(&pods).without_discovery(&pods);
    let envoy = block_in_place(|| Envoy::start(&sample))?;
    assert_skewed_pods_even_out(&Stage { fleet, envoy }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn twice_as_many_pods_even_out() -> Result<()> {
    let few = |pods: &[SocketAddr]| endpoints(&pods[..4]);
    let (stage, eds) = eds::stage(FleetConfig::local(8), few, every(1_000)).await?;
    stage.until_usable(4)?;
    let _held = stage.load(1_000, 500)?.open().await;
    assert_eq!(stage.counts(), [250, 250, 250, 250, 0, 0, 0, 0]);
    eds.publish(&endpoints(&addresses(&stage.fleet)))?;
    stage.until_usable(8)?;
    let held = stage.load(2_000, 500)?.open().await;
    assert_all_well(&held.report());
    let counts = stage.counts();
    assert!(imbalance(&counts) <= 1.01, "{counts:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_come_and_go_under_load() -> Result<()> {
    let few = |pods: &[SocketAddr]| endpoints(&pods[..4]);
    let (stage, eds) = eds::stage(FleetConfig::local(8), few, every(200)).await?;
    stage.until_usable(4)?;
    let pods = addresses(&stage.fleet);
    let load = stage.load(1_600, 200)?;
    let opening = tokio::spawn(async move { load.open().await });

    stage.until_stat("upgrades_balanced", |upgrades| upgrades >= 400)?;
    eds.publish(&endpoints(&pods))?;
    stage.until_usable(8)?;
    stage.until_stat("upgrades_balanced", |upgrades| upgrades >= 1_000)?;
    eds.publish(&endpoints(&pods[..3]))?;
    stage.until_usable(3)?;
    let gone: Vec<u64> = stage.pods()[3..].iter().map(Pod::opened).collect();
    let refreshed = stage.pods()[0].polls() + 3;
    stage.pods()[0].until(|pod| pod.polls >= refreshed).await?;
    let soon = stage.counts();
    assert!(imbalance(&soon[..3]) <= 1.05, "{soon:?}");

    let held = opening.await?;
    assert_all_well(&held.report());
    assert!(gone.iter().all(|opened| *opened > 0), "all were used");
    let counts = stage.counts();
    let (kept, left) = counts.split_at(3);
    assert_eq!(left, gone, "what vanished gets nothing new");
    assert!(imbalance(kept) <= 1.05, "{kept:?}");
    assert_eq!(stage.stat("pods_known")?, 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_away_for_a_moment_keeps_its_counts_and_is_not_new() -> Result<()> {
    let (stage, eds) = eds::stage(FleetConfig::local(4), endpoints, |mut sample| {
        sample.plugin_configuration()["slowStart"] = json!({ "window": "300s" });
        every(200)(sample)
    })
    .await?;
    stage.until_usable(4)?;
    let _first = open(&stage, 40).await?;
    let pods = addresses(&stage.fleet);
    eds.publish(&endpoints(&pods[1..]))?;
    stage.until_stat("pods_known", |known| known == 3)?;
    let _more = open(&stage, 30).await?;
    assert_eq!(stage.counts(), [10, 20, 20, 20]);
    eds.publish(&endpoints(&pods))?;
    stage.until_usable(4)?;
    let _rest = open(&stage, 30).await?;
    assert_eq!(stage.counts(), [25; 4]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_drain_or_are_unhealthy_get_nothing_new() -> Result<()> {
    let all = |pods: &[SocketAddr]| {
        let mut all = endpoints(pods);
        all[0] = all[0].clone().health("DRAINING");
        all[1] = all[1].clone().health("UNHEALTHY");
        all
    };
    let (stage, eds) = eds::stage(FleetConfig::local(4), all, seldom).await?;
    stage.until_usable(2)?;
    let _held = open(&stage, 20).await?;
    assert_eq!(stage.counts(), [0, 0, 10, 10]);
    let draining = format!(
        "pod {} is down: its endpoint is draining",
        stage.pods()[0].address()
    );
    block_in_place(|| stage.envoy.wait_for_log(&draining, PATIENCE))?;

    eds.publish(&endpoints(&addresses(&stage.fleet)))?;
    stage.until_usable(4)?;
    let _more = open(&stage, 20).await?;
    assert_eq!(stage.counts(), [10; 4]);
    Ok(())
}

/// The health check asks other ports than the pods' own, so that only it sees them fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_fails_the_active_health_check_gets_nothing_new() -> Result<()> {
    let checks = Fleet::start(FleetConfig::local(3)).await?;
    let listed = |pods: &[SocketAddr]| {
        let checked = pods.iter().zip(checks.pods());
        checked
            .map(|(pod, check)| Endpoint::new(*pod).health_check_port(check.address().port()))
            .collect()
    };
    let (stage, _eds) = eds::stage(FleetConfig::local(3), listed, |mut sample| {
        sample.cluster()["health_checks"] = json!([{
            "timeout": "1s",
            "interval": "0.1s",
            // By default a cluster without traffic is checked once a minute.
            "no_traffic_interval": "0.1s",
            "unhealthy_threshold": 1,
            "healthy_threshold": 1,
            "http_health_check": { "path": "/healthy" },
        }]);
        every(200)(sample)
    })
    .await?;
    stage.until_usable(3)?;
    let (failing, polls) = (&checks.pods()[0], stage.pods()[0].polls());
    failing.refuse().await;
    stage.until_usable(2)?;
    let _held = open(&stage, 20).await?;
    assert_eq!(stage.counts()[0], 0);
    stage.pods()[0].until(|pod| pod.polls > polls + 2).await?;
    assert_eq!(stage.stat("polls_failed")?, 0, "its count still comes");

    failing.accept().await?;
    stage.until_usable(3)?;
    let _more = open(&stage, 10).await?;
    let counts = stage.counts();
    assert!(imbalance(&counts) <= 1.2, "{counts:?}");
    Ok(())
}

/// No polls disturb it: each good answer would begin the count of failures anew. Nor does the filter
/// itself leave the pod out first.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_outlier_detection_ejects_gets_nothing_new() -> Result<()> {
    let (stage, _eds) = eds::stage(FleetConfig::local(3), endpoints, |mut sample| {
        sample.cluster()["outlier_detection"] = json!({
            "consecutive_5xx": 3,
            "base_ejection_time": "300s",
            "max_ejection_percent": 50,
        });
        seldom(sample).option("passiveHealth", false)
    })
    .await?;
    stage.until_usable(3)?;
    let failing = &stage.pods()[0];
    failing.answer_handshake(HandshakeBehavior::Status(StatusCode::SERVICE_UNAVAILABLE));
    let report = stage.load(30, 0)?.open().await.report();
    assert!(report.connections.failed >= 3, "{report:?}");
    stage.until_usable(2)?;
    failing.answer_handshake(HandshakeBehavior::Accept);
    let before = failing.opened();
    let _held = open(&stage, 20).await?;
    assert_eq!(failing.opened(), before);
    let ejected = format!(
        "pod {} is down: Envoy's outlier detection has ejected it",
        failing.address()
    );
    block_in_place(|| stage.envoy.wait_for_log(&ejected, PATIENCE))?;
    let found = doctor::findings(&stage.envoy)?;
    let is_it = |one: &doctor::Finding| one.what.starts_with("it is ejected: ");
    assert!(found.iter().any(is_it), "{found:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_of_a_later_priority_stand_in() -> Result<()> {
    let listed = |pods: &[SocketAddr]| {
        vec![
            Endpoint::new(pods[0]),
            Endpoint::new(pods[1]).priority(1),
            Endpoint::new(pods[2]).priority(1),
        ]
    };
    let (stage, _eds) = eds::stage(FleetConfig::local(3), listed, seldom).await?;
    stage.until_usable(3)?;
    let _held = open(&stage, 10).await?;
    assert_eq!(stage.counts(), [10, 0, 0]);
    stage.pods()[0].refuse().await;
    let first = open(&stage, 1).await?;
    stage.until_usable(2)?;
    let _more = open(&stage, 9).await?;
    assert_eq!(stage.counts(), [10, 5, 5]);
    drop(first);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_no_header_can_name_are_left_out_with_a_word() -> Result<()> {
    let mut fleet = FleetConfig::local(2);
    fleet.pods[1].listen = "[::1]:0".parse()?;
    let listed = |pods: &[SocketAddr]| {
        let pipe = json!({ "pipe": { "path": "/nonexistent/pod.sock" } });
        [endpoints(pods), vec![Endpoint::of_address(&pipe)]].concat()
    };
    let (stage, _eds) = eds::stage(fleet, listed, seldom).await?;
    stage.until_usable(2)?;
    let _held = open(&stage, 20).await?;
    assert_eq!(stage.counts(), [10, 10]);
    let lists = stage.stat("discovery_ok")? + 5;
    stage.until_stat("discovery_ok", |now| now >= lists)?;
    let told = "1 of its hosts can't be chosen, because they have no ip:port: the pipe \
                /nonexistent/pod.sock";
    assert_eq!(stage.envoy.log().matches(told).count(), 1);
    Ok(())
}

/// What stands in for the admin interface does with a request.
#[derive(Clone)]
enum AdminAnswer {
    Hang,
    Body(u16, Arc<[u8]>),
}

impl AdminAnswer {
    fn text(status: u16, body: &str) -> Self {
        Self::Body(status, body.as_bytes().into())
    }

    fn list(pods: &[SocketAddr]) -> Self {
        let hosts: Vec<Value> = pods
            .iter()
            .map(|pod| {
                json!({ "address": { "socket_address": {
                "address": pod.ip(), "port_value": pod.port() } } })
            })
            .collect();
        let chat = json!({ "name": "chat", "host_statuses": hosts });
        Self::text(200, &json!({ "cluster_statuses": [chat] }).to_string())
    }
}

/// An admin interface that answers as it is told: no Envoy's own does so badly.
struct Admin {
    address: SocketAddr,
    answer: watch::Sender<AdminAnswer>,
}

impl Admin {
    async fn start(answer: AdminAnswer) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (answer, answers) = watch::channel(answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Self::serve(stream, answers.clone()));
            }
        });
        Ok(Self { address, answer })
    }

    async fn serve(mut stream: TcpStream, answers: watch::Receiver<AdminAnswer>) -> Result<()> {
        let mut request = [0; 4096];
        // The request is a single segment, as short as it is.
        while stream.read(&mut request).await? > 0 {
            let answer = answers.borrow().clone();
            let AdminAnswer::Body(status, body) = answer else {
                return std::future::pending().await;
            };
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_list_stays_when_the_admin_interface_fails() -> Result<()> {
    let fleet = Fleet::start(FleetConfig::local(4)).await?;
    let pods = addresses(&fleet);
    let admin = Admin::start(AdminAnswer::list(&pods[..3])).await?;
    let mut sample = brisk(seldom(Sample::standard()?.pods(&pods)));
    // An answer of 20 MB may take as long as the interval.
    sample.plugin_configuration()["discovery"] =
        json!({ "adminCluster": "bad_admin", "interval": "400ms" });
    sample = sample.edit(|configuration| {
        let clusters = &mut configuration["static_resources"]["clusters"];
        let mut bad = clusters[1].clone();
        bad["name"] = "bad_admin".into();
        bad["load_assignment"] = json!({ "cluster_name": "bad_admin", "endpoints": [{
            "lb_endpoints": [{ "endpoint": { "address": { "socket_address": {
                "address": admin.address.ip(), "port_value": admin.address.port() } } } }] }] });
        clusters.as_array_mut().expect("clusters").push(bad);
    });
    let envoy = block_in_place(|| Envoy::start(&sample))?;
    let stage = Stage { fleet, envoy };
    stage.until_usable(3)?;

    let blank = |megabytes: usize| AdminAnswer::Body(200, vec![b' '; megabytes << 20].into());
    for (answer, told) in [
        (AdminAnswer::text(500, "no"), "status 500"),
        (
            AdminAnswer::text(200, "nonsense"),
            "the answer is not that of /clusters?format=json",
        ),
        (AdminAnswer::text(200, "{}"), "Envoy has no such cluster"),
        (blank(20), "the list is over 16777216 bytes"),
        // Envoy itself gives up before it has buffered that much.
        (blank(50), "no answer"),
        (AdminAnswer::Hang, "status 504"),
    ] {
        let (ok, failed) = (stage.stat("discovery_ok")?, stage.stat("discovery_failed")?);
        admin.answer.send_replace(answer);
        // The pause grows with each failure: two are enough to see that one line is written.
        stage.until_stat("discovery_failed", |now| now >= failed + 2)?;
        let line = format!("its pods can't be found, the last known stay: {told}");
        assert_eq!(stage.envoy.log().matches(&line).count(), 1, "{line}");
        let found = doctor::until_found(&stage.envoy, &["discovery"])?;
        assert!(found[0].what.contains(told), "{found:#?}");
        let held = open(&stage, 9).await?;
        assert_eq!(stage.counts(), [3, 3, 3, 0], "{told}");
        assert_all_well(&held.close().await);
        stage.until_open(0)?;
        admin.answer.send_replace(AdminAnswer::list(&pods[..3]));
        stage.until_stat("discovery_ok", |now| now > ok)?;
    }

    admin.answer.send_replace(AdminAnswer::list(&pods));
    stage.until_usable(4)?;
    Ok(())
}
