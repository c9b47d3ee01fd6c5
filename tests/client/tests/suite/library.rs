//! The library against real servers, good ones and bad ones.

use std::sync::Arc;
use std::time::Duration;

use crate::servers::{self, Conduct, Deserted, Server, wait_for};
use axum::http::StatusCode;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use wsbalancer_client::{Connections, Failure, Load, MessageKind, Messages, Report};

/// A load without pacing: nothing here depends on a rate.
fn load(url: &str, connections: u32) -> Load {
    let target = url.parse().expect("the URL of a test server");
    Load {
        connections,
        rate: None,
        ..Load::new(target)
    }
}

fn the_failure(report: &Report) -> &Failure {
    match report.failures.as_slice() {
        [failure] => failure,
        failures => panic!("expected one reason: {failures:?}"),
    }
}

#[tokio::test]
async fn echoes_are_verified_and_closes_are_clean() {
    let server = Server::start(Conduct::Echo).await;
    for (message_kind, message_size) in [
        (MessageKind::Binary, 128),
        (MessageKind::Text, 128),
        (MessageKind::Binary, 100_000),
    ] {
        let load = Load {
            messages: 3,
            message_kind,
            message_size,
            ..load(&server.url(), 20)
        };
        let mut held = load.open().await;
        assert_eq!(held.len(), 20);
        let more = held.exchange(2).await;
        assert_eq!(
            more,
            Messages {
                sent: 40,
                verified: 40,
                failed: 0
            }
        );
        let report = held.close().await;
        let expected = Connections {
            requested: 20,
            opened: 20,
            failed: 0,
            closed_early: 0,
        };
        assert_eq!(report.connections, expected);
        assert_eq!(
            report.messages,
            Messages {
                sent: 100,
                verified: 100,
                failed: 0
            }
        );
        assert_eq!(report.failures, []);
        let handshake = report.handshake.expect("handshakes succeeded");
        assert!(handshake.p50_micros > 0);
        assert!(handshake.p50_micros <= handshake.p90_micros);
        assert!(handshake.p90_micros <= handshake.p99_micros);
        assert!(handshake.p99_micros <= handshake.max_micros);
    }
    assert_eq!(server.closings(60).await, [1000; 60]);
}

#[tokio::test]
async fn a_garbled_echo_is_a_failure_and_the_connection_goes_on() {
    let server = Server::start(Conduct::Garble).await;
    let held = Load {
        messages: 2,
        ..load(&server.url(), 3)
    }
    .open()
    .await;
    assert_eq!(held.len(), 3);
    let report = held.close().await;
    assert_eq!(
        report.messages,
        Messages {
            sent: 6,
            verified: 0,
            failed: 6
        }
    );
    let reason = "message: the echo differs from what was sent".to_owned();
    assert_eq!(the_failure(&report), &Failure { reason, count: 6 });
}

#[tokio::test]
async fn a_missing_echo_is_a_failure() {
    let server = Server::start(Conduct::Swallow).await;
    let message_timeout = Duration::from_millis(5);
    let held = Load {
        messages: 2,
        message_timeout,
        ..load(&server.url(), 2)
    }
    .open()
    .await;
    let report = held.close().await;
    // Whoever does not echo the first message is not sent the second.
    assert_eq!(
        report.messages,
        Messages {
            sent: 2,
            verified: 0,
            failed: 2
        }
    );
    let reason = "message: no echo within 5ms".to_owned();
    assert_eq!(the_failure(&report), &Failure { reason, count: 2 });
}

#[tokio::test]
async fn refused_connections_have_one_reason() {
    let deserted = Deserted::reserve();
    let held = load(&format!("ws://{}/", deserted.address), 7).open().await;
    assert!(held.is_empty());
    let report = held.close().await;
    assert_eq!(
        (report.connections.opened, report.connections.failed),
        (0, 7)
    );
    assert_eq!(report.handshake, None);
    let failure = the_failure(&report);
    assert!(
        failure.reason.starts_with("connect: Connection refused"),
        "{failure:?}"
    );
    assert_eq!(failure.count, 7);
}

#[tokio::test]
async fn a_gateway_that_refuses_is_quoted() {
    let address =
        servers::start_refusing(StatusCode::SERVICE_UNAVAILABLE, "no healthy upstream").await;
    let report = load(&format!("ws://{address}/"), 2)
        .open()
        .await
        .close()
        .await;
    let reason = "handshake: 503 Service Unavailable: no healthy upstream".to_owned();
    assert_eq!(the_failure(&report), &Failure { reason, count: 2 });
}

#[tokio::test]
async fn a_gateway_that_never_answers_is_given_up() {
    // The system accepts the connections; nobody ever reads from them.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let connect_timeout = Duration::from_millis(5);
    let load = Load {
        connect_timeout,
        ..load(&format!("ws://{address}/"), 2)
    };
    let report = load.open().await.close().await;
    let reason = "handshake: not done within 5ms".to_owned();
    assert_eq!(the_failure(&report), &Failure { reason, count: 2 });
}

#[tokio::test]
async fn an_unknown_host_fails_every_connection() {
    // RFC 6761, section 6.4: names below "invalid" never exist.
    let report = load("ws://gateway.invalid/", 4).open().await.close().await;
    let failure = the_failure(&report);
    assert!(
        failure.reason.starts_with("resolve gateway.invalid:80: "),
        "{failure:?}"
    );
    assert_eq!((failure.count, report.connections.failed), (4, 4));
}

#[tokio::test]
async fn an_early_close_is_noticed_while_holding() {
    let server = Server::start(Conduct::Echo).await;
    let mut held = load(&server.url(), 5).open().await;
    server.shutdown.cancel();
    held.shrunk_to(0).await;
    let reason = "closed early: code 1001 (shutting down)".to_owned();
    assert_eq!(the_failure(&held.report()), &Failure { reason, count: 5 });
    // What is closed takes no part in anything that follows.
    assert_eq!(held.exchange(1).await, Messages::default());
    assert_eq!(held.close_some(5).await, 0);
    assert_eq!(held.close().await.connections.closed_early, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_instead_of_an_echo_is_known_once_the_exchange_is_over() {
    let server = Server::start(Conduct::HangUp).await;
    let held = Load {
        messages: 2,
        ..load(&server.url(), 50)
    }
    .open()
    .await;
    let report = held.report();
    assert_eq!((held.len(), report.connections.closed_early), (0, 50));
    assert_eq!(
        report.messages,
        Messages {
            sent: 50,
            verified: 0,
            failed: 50
        }
    );
    let reason = "closed early: code 1011".to_owned();
    assert_eq!(the_failure(&report), &Failure { reason, count: 50 });
}

#[tokio::test]
async fn some_can_be_closed_and_the_others_stay() {
    let server = Server::start(Conduct::Echo).await;
    let mut held = load(&server.url(), 10).open().await;
    assert_eq!(held.close_some(4).await, 4);
    assert_eq!(held.len(), 6);
    assert_eq!(wait_for(&server.open, |&open| open <= 6).await, 6);
    assert_eq!(
        held.exchange(1).await,
        Messages {
            sent: 6,
            verified: 6,
            failed: 0
        }
    );
    assert_eq!(held.close_some(100).await, 6);
    let report = held.close().await;
    assert_eq!(report.failures, []);
    assert_eq!(server.closings(10).await, [1000; 10]);
}

#[tokio::test]
async fn pings_are_answered_while_holding() {
    let server = Server::start(Conduct::Ping).await;
    let held = Load {
        messages: 0,
        ..load(&server.url(), 5)
    }
    .open()
    .await;
    assert_eq!(wait_for(&server.pongs, |&pongs| pongs >= 5).await, 5);
    assert_eq!(held.close().await.failures, []);
}

#[tokio::test]
async fn headers_and_subprotocols_reach_the_server() {
    let server = Server::start(Conduct::Echo).await;
    let header = |name: &str, value: &str| {
        (
            name.parse().expect("a header's name"),
            value.parse().expect("a header's value"),
        )
    };
    let load = Load {
        headers: vec![
            header("Host", "ws.example"),
            header("X-Room", "1"),
            header("X-Room", "2"),
        ],
        subprotocols: vec!["agents.v2".to_owned(), "agents.v1".to_owned()],
        ..load(&server.url(), 2)
    };
    assert_eq!(load.open().await.close().await.failures, []);
    let upgrades = wait_for(&server.upgrades, |upgrades| upgrades.len() == 2).await;
    for upgrade in &upgrades {
        let values = |name| upgrade.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(values("Host"), ["ws.example"]);
        assert_eq!(values("X-Room"), ["1", "2"]);
        assert_eq!(values("Sec-WebSocket-Protocol"), ["agents.v2, agents.v1"]);
    }
    let key = "Sec-WebSocket-Key";
    assert_ne!(
        upgrades[0].get(key),
        upgrades[1].get(key),
        "each handshake has its own key"
    );
}

#[tokio::test]
async fn a_stop_leaves_open_what_is_open_and_starts_nothing_more() {
    let server = Server::start(Conduct::Echo).await;
    let stop = CancellationToken::new();
    let load = Load {
        max_pending: 1,
        ..load(&server.url(), 1000)
    };
    let held = load
        .open_until(&stop, |progress| {
            if progress.opened >= 5 {
                stop.cancel();
            }
        })
        .await;
    let opened = held.len();
    assert!((5..1000).contains(&opened), "{opened}");
    let report = held.close().await;
    assert_eq!(report.connections.opened, opened as u64);
    let reason = "interrupted before it was opened".to_owned();
    assert_eq!(
        the_failure(&report),
        &Failure {
            reason,
            count: 1000 - opened as u64
        }
    );
}

#[tokio::test]
async fn a_certificate_of_nobody_is_accepted_only_if_told_so() {
    let certified =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = certified
        .signing_key
        .serialize_der()
        .try_into()
        .expect("a private key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider's versions of TLS")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .expect("a certificate and its key");
    let server = Server::start_tls(Conduct::Echo, TlsAcceptor::from(Arc::new(config))).await;
    let url = format!("wss://localhost:{}/", server.address.port());

    let trusting = Load {
        insecure: true,
        ..load(&url, 3)
    };
    let report = trusting.open().await.close().await;
    assert_eq!((report.messages.verified, report.failures), (3, vec![]));

    let report = load(&url, 3).open().await.close().await;
    let failure = the_failure(&report);
    assert!(failure.reason.contains("UnknownIssuer"), "{failure:?}");
    assert_eq!(failure.count, 3);
}
