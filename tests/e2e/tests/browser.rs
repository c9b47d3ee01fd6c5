//! A browser's WebSockets: Chromium over TLS and HTTP/2 (RFC 8441), in front of HTTP/1.1 pods.

use anyhow::{Context, Result};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use serde_json::json;
use wsbalancer_backend::{FleetConfig, Pod};
use wsbalancer_e2e::browser::Browser;
use wsbalancer_e2e::{Stage, seldom};
use wsbalancer_harness::Sample;

/// The listener speaks TLS, and HTTP/2 to who can.
fn on_tls(mut sample: Sample, identity: &CertifiedKey<KeyPair>) -> Sample {
    let CertifiedKey { cert, signing_key } = identity;
    sample.listener()["filter_chains"][0]["transport_socket"] = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [{
                    "certificate_chain": { "inline_string": cert.pem() },
                    "private_key": { "inline_string": signing_key.serialize_pem() },
                }],
            },
        },
    });
    seldom(sample)
}

/// Opens so many WebSockets, sends each its number, and gives back what came of them.
const OPEN: &str = r"
    const [count, done] = arguments;
    window.sockets = [];
    const open = (number) => new Promise((resolve) => {
        const socket = new WebSocket(`wss://${location.host}/chat`);
        window.sockets.push(socket);
        socket.onopen = () => socket.send(`message ${number}`);
        socket.onmessage = (event) => resolve(event.data);
        socket.onclose = (event) => resolve(`closed with ${event.code}`);
    });
    Promise.all([...Array(count).keys()].map(open)).then(done);
";

#[tokio::test(flavor = "multi_thread")]
async fn websockets_of_a_browser_are_balanced() -> Result<()> {
    let identity = generate_simple_self_signed(["localhost".to_owned()])?;
    let fleet = FleetConfig::local(3);
    let stage = Stage::start(fleet, |sample| on_tls(sample, &identity)).await?;
    stage.until_usable(3)?;
    let browser = Browser::start().await?;
    // From here on it has a connection, and knows that this takes WebSockets.
    let url = format!("https://localhost:{}/page", stage.envoy.address().port());
    browser.open(&url).await?;
    let answers = browser.call(OPEN, vec![12.into()]).await?;
    let expected: Vec<String> = (0..12).map(|number| format!("message {number}")).collect();
    assert_eq!(answers, json!(expected));
    assert_eq!(stage.counts(), [4, 4, 4]);

    for pod in stage.pods() {
        let seen = pod.last_handshake().context("a handshake")?;
        assert!(seen.contains_key("sec-websocket-key"), "{seen:?}");
    }
    let http2 = "http.websockets.downstream_cx_http2_total";
    let connections = tokio::task::block_in_place(|| stage.envoy.counter(http2))?;
    assert!(connections >= 1);
    let http1 = "http.websockets.downstream_cx_http1_total";
    assert_eq!(
        tokio::task::block_in_place(|| stage.envoy.counter(http1))?,
        0,
        "none of them came over HTTP/1.1"
    );

    browser.close().await?;
    stage.until_open(0)?;
    assert_eq!(stage.pods().iter().map(Pod::opened).sum::<u64>(), 12);
    Ok(())
}
