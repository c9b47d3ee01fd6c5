//! What an upgrade and a list of pods cost the filter itself, natively: without Envoy and its
//! calls.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use fastrand::Rng;
use serde_json::json;
use wsbalancer::clock::Timestamp;
use wsbalancer::config::{PassiveHealth, Rules};
use wsbalancer::discovery;
use wsbalancer::host::Answer;
use wsbalancer::pod::{PodAddress, Reported};
use wsbalancer::table::{Event, Table};

const PODS: [u32; 3] = [10, 100, 1_000];
/// How many pods the override header names by default.
const PLACES: usize = 3;
const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);
const RULES: Rules = Rules {
    cache_ttl: Duration::from_secs(30),
    refresh_interval: Duration::from_secs(5),
    unhealthy_threshold: 3,
    counts_connections: true,
    passive_health: Some(PassiveHealth {
        consecutive_failures: 5,
        base_ejection_time: Duration::from_secs(10),
        max_ejection_percent: 50.0,
    }),
    counts_sessions: false,
    slow_start: None,
};

fn addresses(count: u32) -> Vec<PodAddress> {
    let address = |n: u32| {
        let ip = Ipv4Addr::from_bits(0x0a00_0001 + n);
        PodAddress::try_from(SocketAddr::new(IpAddr::V4(ip), 8080)).expect("it is an address")
    };
    (0..count).map(address).collect()
}

/// A table whose pods have all reported some count.
fn table(count: u32) -> Table {
    let pods = addresses(count);
    let mut table = Table::new(&pods);
    let mut random = Rng::with_seed(7);
    table.ask(NOW, |_| Some(NOW));
    for pod in pods {
        let answer = Event::Answered {
            pod,
            asked_at: NOW,
            outcome: Ok(Reported::of(random.u64(..1_000))),
        };
        table.apply(&RULES, &[answer]);
    }
    table
}

/// From the shared bytes of the traffic to the changed ones, as for every upgrade.
fn upgrade(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("upgrade: decode, choose, apply, encode");
    for count in PODS {
        let mut table = table(count);
        let bytes = table.traffic_bytes();
        let mut random = Rng::with_seed(11);
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                table.set_traffic(black_box(&bytes).clone());
                let view = table.view(&RULES, NOW);
                let ranking = table.rank(PLACES, &view, &mut random);
                let pod = ranking.best[0].pod;
                table.apply(&RULES, &[Event::Chosen { pod }]);
                table.traffic_bytes()
            });
        });
    }
    group.finish();
}

/// A host as Envoy 1.40 lists it.
fn host(pod: &PodAddress) -> serde_json::Value {
    let pod = pod.socket().expect("it has an address");
    let stats = ["cx_connect_fail", "cx_total", "rq_error", "rq_success"];
    let stats = stats.map(|name| json!({ "name": name, "value": "1234" }));
    json!({
        "address": { "socket_address": {
            "address": pod.ip(),
            "port_value": pod.port(),
        } },
        "stats": stats,
        "health_status": { "eds_health_status": "HEALTHY" },
        "weight": 1,
        "locality": { "region": "eu-west-1", "zone": "a" },
    })
}

/// From the admin interface's answer to the table's pods, as for every list.
fn host_list(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("list of pods: read, assign");
    for count in PODS {
        let hosts: Vec<_> = addresses(count).iter().map(host).collect();
        let chat = json!({ "name": "chat", "host_statuses": hosts });
        let answer = json!({ "cluster_statuses": [chat] });
        let body = serde_json::to_vec_pretty(&answer).expect("it is JSON");
        group.throughput(criterion::Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter_batched(
                || table(count),
                |mut table| {
                    let body = black_box(&body);
                    let hosts = discovery::read("chat", Answer::Response { status: 200, body });
                    let members = hosts.expect("it is a list").members;
                    table.reset(&members, &RULES, NOW);
                    table
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, upgrade, host_list);
criterion_main!(benches);
