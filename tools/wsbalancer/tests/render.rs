//! `wsbalancer render`: the samples are what it makes of `envoy/service.yaml`, and other files differ
//! from them by what they say.

mod files;

use std::fs;
use std::process::Command;

use serde_json::Value;
use wsbalancer_cli::check::check;
use wsbalancer_cli::render::{Rendered, Short, Target, render};

use crate::files::{ROOT, assert_is};

const TARGETS: [Target; 5] = [
    Target::Envoy,
    Target::Istio,
    Target::EnvoyGateway,
    Target::Kubernetes,
    Target::Compose,
];

fn rendered(short: &str, target: Target) -> Rendered {
    let short = Short::parse(short).unwrap_or_else(|error| panic!("{error}: {short}"));
    render(&short, target).unwrap_or_else(|error| panic!("{error}"))
}

fn main_file(short: &str, target: Target) -> String {
    rendered(short, target).files.remove(0).text
}

fn sample(file: &str) -> String {
    fs::read_to_string(format!("{ROOT}/envoy/{file}")).unwrap()
}

/// Sessions of Socket.IO.
const SESSIONS: &str = "sessions: { openedBy: [{ pathPrefix: /socket.io/ }], \
                        carriedBy: [{ query: sid }], keptBy: { cookie: wsbalancer-pod } }\n";

/// `WSBALANCER_WRITE_SAMPLES=1 cargo test -p wsbalancer-cli --test render` writes them.
#[test]
fn the_samples_are_made_of_the_short_file() {
    let short = sample("service.yaml");
    for (target, folder) in [
        (Target::Envoy, ""),
        (Target::Istio, "istio/"),
        (Target::EnvoyGateway, "envoy-gateway/"),
    ] {
        let mut files = rendered(&short, target).files;
        if target == Target::Istio {
            files.extend(rendered(&format!("{short}{SESSIONS}"), target).files.pop());
        }
        for file in files {
            assert_is(&format!("envoy/{folder}{}", file.name), &file.text);
        }
    }
}

/// Where the first chain of HTTP filters is …
const FILTERS: &str =
    "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";

/// … and the options of its first one.
const OPTIONS: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config\
    /http_filters/0/typed_config/config/configuration/value";

fn read(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// They explain only what differs from `envoy.yaml`, so they are no output as they stand.
#[test]
fn the_samples_for_socket_io_and_for_dns_say_what_short_files_make() {
    let mut sample_for_sessions = read(&sample("socketio.yaml"));
    let options = sample_for_sessions.pointer_mut(OPTIONS).unwrap();
    let sessions = options["services"][0].as_object_mut().unwrap();
    // Beside the services it says the same.
    options["sessions"] = sessions.remove("sessions").unwrap();
    let sessions = format!("sessions: {}\n", options["sessions"]);
    let short = sample("service.yaml") + &sessions;
    let mut made = read(&main_file(&short, Target::Envoy));
    // Who keeps the sessions is the sample's own.
    for configuration in [&mut made, &mut sample_for_sessions] {
        let filters = configuration.pointer_mut(FILTERS).unwrap();
        let keeps = |filter: &Value| filter["name"] == "envoy.filters.http.stateful_session";
        filters
            .as_array_mut()
            .unwrap()
            .retain(|filter| !keeps(filter));
    }
    assert_eq!(made, sample_for_sessions);

    let mut sample_for_dns = read(&sample("dns.yaml"));
    // Envoy's statistics are for the Prometheus of docker-compose's profile.
    let listeners = sample_for_dns["static_resources"]["listeners"].as_array_mut();
    let statistics = listeners.unwrap().pop();
    assert_eq!(statistics.unwrap()["name"], "statistics");
    let short = "name: chat\nservices: [\"http://chat-headless:8080\"]\nrefreshInterval: 1s\n";
    let made = read(&main_file(short, Target::Compose));
    // What is not left to defaults there.
    let options = sample_for_dns.pointer_mut(OPTIONS).unwrap();
    let discovery = options["discovery"].as_object_mut().unwrap();
    assert_eq!(discovery.remove("interval"), Some("1s".into()));
    let status = OPTIONS.replace("listeners/0", "listeners/1") + "/status";
    let status = sample_for_dns.pointer_mut(&status).unwrap();
    let hosts = status.as_object_mut().unwrap().remove("hosts");
    assert_eq!(hosts, Some(serde_json::json!(["envoy"])));
    let cluster = &mut sample_for_dns["static_resources"]["clusters"][0];
    cluster["dns_lookup_family"] = "V4_PREFERRED".into();
    assert_eq!(made, sample_for_dns);
}

/// Each file that it mounts is made with it, but for the module; each port is one that Envoy listens on.
#[test]
fn the_compose_file_fits_the_configuration_beside_it() {
    let made = rendered("services: [\"http://pod:8080\"]", Target::Compose);
    let [envoy, compose] = &made.files[..] else {
        panic!("two files")
    };
    assert_eq!(
        (envoy.name, compose.name),
        ("envoy.yaml", "docker-compose.yml")
    );
    let (envoy, compose) = (read(&envoy.text), read(&compose.text));
    let service = &compose["services"]["envoy"];
    let texts = |list: &str| -> Vec<String> {
        let list = service[list].as_array().unwrap().iter();
        list.map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        texts("volumes"),
        [
            "./envoy.yaml:/etc/envoy/envoy.yaml:ro",
            "./wsbalancer.wasm:/etc/envoy/wsbalancer.wasm:ro",
        ]
    );
    let listeners = envoy["static_resources"]["listeners"].as_array().unwrap();
    let addresses = listeners
        .iter()
        .map(|one| &one["address"]["socket_address"]);
    let published: Vec<String> = addresses
        .map(|address| {
            assert_eq!(
                address["address"], "0.0.0.0",
                "from outside of the container"
            );
            format!(":{}", address["port_value"])
        })
        .collect();
    let ports = texts("ports");
    assert_eq!(ports.len(), published.len());
    for (port, listener) in ports.iter().zip(&published) {
        assert!(port.ends_with(listener), "{port}: {listener}");
    }
    assert!(envoy["admin"]["address"]["socket_address"]["address"] == "127.0.0.1");
}

/// The lines that one has and the other has not.
fn added(one: &str, other: &str) -> Vec<String> {
    let known: Vec<&str> = other.lines().collect();
    let lines = one.lines().filter(|line| !known.contains(line));
    lines.map(|line| line.trim().to_owned()).collect()
}

#[test]
fn what_the_short_file_says_is_all_that_differs() {
    let plain = "name: chat\npods: [\"127.0.0.1:9001\", \"127.0.0.1:9002\"]\n";
    for (more, expected) in [
        ("cacheTTL: 60", "cacheTTL: 60s"),
        ("metricPath: /count", "metricPath: /count"),
        ("dialTimeout: 500ms", "connect_timeout: 0.5s"),
        ("readTimeout: 10", "timeout: 10s"),
        (
            "allowedOrigins: [\"https://a.example\"]",
            "allowedOrigins: [\"https://a.example\"]",
        ),
        (
            "rebalance: { threshold: 1.5 }",
            "rebalance: {\"threshold\":1.5}",
        ),
        ("debugHeaders: true", "debugHeaders: true"),
        ("metricHost: \"true\"", "metricHost: \"true\""),
        (
            "sessions: { openedBy: [{ pathPrefix: / }], carriedBy: [{ query: sid }] }",
            "sessions: {\"openedBy\":[{\"pathPrefix\":\"/\"}],\"carriedBy\":[{\"query\":\"sid\"}]}",
        ),
    ] {
        let made = main_file(&format!("{plain}{more}\n"), Target::Envoy);
        let added = added(&made, &main_file(plain, Target::Envoy));
        let expected: Value = serde_saphyr::from_str(expected).unwrap();
        let [line] = &added[..] else {
            panic!("{more}: {added:?}");
        };
        assert_eq!(
            serde_saphyr::from_str::<Value>(line).unwrap(),
            expected,
            "{more}"
        );
    }
}

/// What keeps the sessions comes with them, behind the filter.
#[test]
fn sessions_bring_the_filter_that_keeps_them() {
    let short = format!(
        "pods: [10.0.0.1:80]\n{}",
        SESSIONS.replace("wsbalancer-pod", "my-pod")
    );
    let made: Value = serde_saphyr::from_str(&main_file(&short, Target::Envoy)).unwrap();
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let filters = &made.pointer(manager).unwrap()["http_filters"];
    let names: Vec<&Value> = (0..3).map(|place| &filters[place]["name"]).collect();
    let keeper = "envoy.filters.http.stateful_session";
    assert_eq!(names, ["wsbalancer", keeper, "envoy.filters.http.router"]);
    let state = &filters[1]["typed_config"]["session_state"];
    assert_eq!(state["typed_config"]["cookie"]["name"], "my-pod");

    let short = format!("services: [\"http://a.b\"]\n{SESSIONS}");
    let remarks = rendered(&short, Target::EnvoyGateway).remarks;
    assert!(
        remarks[0].contains("sessionName wsbalancer-pod"),
        "{remarks:?}"
    );
}

#[test]
fn a_write_timeout_holds_for_clients_and_pods() {
    let made = main_file("pods: [10.0.0.1:80]\nwriteTimeout: 2s", Target::Envoy);
    let option = "socket_options: [{ level: 6, name: 18, int_value: 2000 }]";
    assert_eq!(made.matches(option).count(), 2);
    assert!(made.contains(&format!("\n      {option}")));
    assert!(made.contains(&format!("\n      upstream_bind_config: {{ {option} }}")));
    assert!(made.contains("has not read for 2s what"));
}

#[test]
fn names_are_looked_up_and_tls_is_checked_as_wanted() {
    let verified = main_file("services: [\"https://chat.example.com\"]", Target::Envoy);
    let made: Value = serde_saphyr::from_str(&verified).unwrap();
    let cluster = &made["static_resources"]["clusters"][0];
    assert_eq!(cluster["type"], "STRICT_DNS");
    let tls = &cluster["transport_socket"]["typed_config"];
    assert_eq!(tls["sni"], "chat.example.com");
    let context = &tls["common_tls_context"]["validation_context"];
    assert_eq!(
        context["match_typed_subject_alt_names"][0]["matcher"]["exact"],
        "chat.example.com"
    );
    let unverified = main_file(
        "services: [\"https://chat.example.com\"]\ntlsVerify: false",
        Target::Envoy,
    );
    let made: Value = serde_saphyr::from_str(&unverified).unwrap();
    let tls = &made["static_resources"]["clusters"][0]["transport_socket"]["typed_config"];
    assert!(tls["common_tls_context"].is_null(), "{tls}");
}

const PLUGIN: &str = "
http:
  middlewares:
    balance:
      plugin:
        traefikwsbalancer:
          metricPath: /metric
          balancerMetricPath: /balance
          services: [\"http://agents.chat.svc.cluster.local:80\"]
          cacheTTL: 45
          enableIPScanning: true
";

#[test]
fn a_file_of_the_plugin_makes_a_gateway_of_every_kind() {
    for target in TARGETS {
        let made = rendered(PLUGIN, target);
        assert_eq!(made.remarks.len(), 1, "{:?}", made.remarks);
        let all: String = made.files.iter().map(|file| file.text.as_str()).collect();
        assert!(all.contains("cacheTTL: 45s"), "{target:?}");
        assert!(!all.contains("/balancer-metrics"), "{target:?}");
        let (mut configurations, mut documents) = (0, 0);
        for file in &made.files {
            let checked = check(&file.text).unwrap();
            assert_eq!(checked.refused, [], "{target:?}");
            configurations += checked.accepted;
            documents += serde_saphyr::from_multiple::<Value>(&file.text)
                .unwrap()
                .len();
            for left in ["{{", "{%", "chat.default", "chat.example.com"] {
                let text = file.text.replace("metricHost: chat.example.com", "");
                assert!(!text.contains(left), "{target:?}: {}: {left}", file.name);
            }
        }
        assert!(
            configurations > 0 && documents >= made.files.len(),
            "{target:?}"
        );
    }
    let istio = main_file(PLUGIN, Target::Istio);
    assert!(
        istio.contains("outbound|80||agents.chat.svc.cluster.local"),
        "{istio}"
    );
    let proxy = &rendered(PLUGIN, Target::EnvoyGateway).files[1].text;
    assert!(proxy.contains("\n  namespace: chat\n"), "{proxy}");
    let gateway = main_file(PLUGIN, Target::EnvoyGateway);
    assert!(
        gateway.contains("httproute/chat/agents/rule/0"),
        "{gateway}"
    );
}

#[test]
fn what_a_target_can_not_have_is_said() {
    let pods = Short::parse("pods: [10.0.0.1:80]").unwrap();
    let two = Short::parse("services: [\"http://a.b\", \"http://c.d\"]").unwrap();
    for target in [Target::Istio, Target::EnvoyGateway] {
        let error = render(&pods, target).unwrap_err().to_string();
        assert!(error.starts_with("services: is missing"), "{error}");
        let error = render(&two, target).unwrap_err().to_string();
        assert!(error.starts_with("services: has several"), "{error}");
    }
    let tls = rendered(
        "services: [\"https://a.b\"]\nwriteTimeout: 5s",
        Target::EnvoyGateway,
    );
    assert_eq!(tls.remarks.len(), 2, "{:?}", tls.remarks);
}

/// In the filter's words.
#[test]
fn options_that_the_filter_refuses_are_not_written() {
    let short = Short::parse("pods: [10.0.0.1:80]\nrebalance: { threshold: 0.5 }").unwrap();
    let error = render(&short, Target::Envoy).unwrap_err().to_string();
    assert!(
        error.starts_with("rebalance.threshold: 0.5 is not a number greater than 1"),
        "{error}"
    );
}

#[test]
fn the_program_prints_the_first_file_or_writes_all() {
    let folder = tempfile::tempdir().unwrap();
    let short = format!("{ROOT}/envoy/service.yaml");
    let run = |arguments: &[&str]| {
        let tool = Command::new(env!("CARGO_BIN_EXE_wsbalancer"))
            .arg("render")
            .args(arguments)
            .output();
        tool.unwrap()
    };
    let printed = run(&[&short, "--for", "istio"]);
    assert_eq!(printed.status.code(), Some(0));
    assert!(printed.stdout == sample("istio/gateway.yaml").into_bytes());
    let said = String::from_utf8(printed.stderr).unwrap();
    assert!(said.contains("gateway-patch.yaml"), "{said}");

    let path = folder.path().join("made");
    let written = run(&[&short, "--for", "istio", "--output", path.to_str().unwrap()]);
    assert_eq!(written.status.code(), Some(0));
    let made = fs::read_to_string(path.join("gateway-patch.yaml")).unwrap();
    assert_eq!(made, sample("istio/gateway-patch.yaml"));

    let wrong = folder.path().join("wrong.yaml");
    fs::write(&wrong, "pods: [a]\nmetricPaht: /\n").unwrap();
    let refused = run(&[wrong.to_str().unwrap(), "--for", "envoy"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("wrong.yaml:2: metricPaht: is no option"),
        "{said}"
    );
}
