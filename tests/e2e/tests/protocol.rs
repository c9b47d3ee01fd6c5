//! What of HTTP and of WebSockets passes through, and in which form.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{Method, Request, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use wsbalancer_backend::{FleetConfig, Pod, RequestSeen};
use wsbalancer_e2e::ask::get_json;
use wsbalancer_e2e::{
    PATIENCE, Stage, assert_all_well, every, preloaded, seldom, with_second_filter,
};
use wsbalancer_harness::{Envoy, Http, Sample, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn websockets_over_http2_are_balanced_onto_http1_pods() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(3), seldom).await?;
    stage.until_usable(3)?;
    let mut live = Vec::new();
    // A connection stays with one worker.
    for connection in 0..6_u8 {
        let client = connect_http2(stage.envoy.address()).await?;
        for stream in 0..10 {
            let mut socket = Http2Socket::open(client.clone()).await?;
            socket.echo(&[connection, stream, 0xff]).await?;
            live.push(socket);
        }
    }
    assert_eq!(stage.counts(), [20, 20, 20]);
    stage.until_stat("upgrades_balanced", |balanced| balanced == 60)?;
    for pod in stage.pods() {
        let seen = pod.last_handshake().context("a handshake")?;
        // Made by the filter: the client sent none.
        let [key] = seen["sec-websocket-key"].as_slice() else {
            panic!("one key: {seen:?}");
        };
        assert_eq!(key.len(), 24, "{key}");
    }
    for socket in &mut live {
        socket.echo(b"still there").await?;
    }
    drop(live);
    stage.until_open(0)
}

/// A client with a key of its own gets the answer to it.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_an_http1_client_is_its_own() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(2), every(200)).await?;
    stage.until_usable(2)?;
    let mut request =
        format!("ws://{}/chat?room=7", stage.envoy.address()).into_client_request()?;
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", "chat.v2, chat.v1".parse()?);
    headers.insert("cookie", "session=1".parse()?);
    let key = request.headers()["sec-websocket-key"].clone();
    // It checks `sec-websocket-accept` against the key.
    let (_socket, answer) = connect_async(request).await?;
    assert_eq!(answer.headers()["sec-websocket-protocol"], "chat.v2");
    let seen = stage
        .pods()
        .iter()
        .find_map(Pod::last_handshake)
        .context("a handshake")?;
    assert_eq!(seen["sec-websocket-key"], [key.to_str()?]);
    assert_eq!(seen["sec-websocket-protocol"], ["chat.v2, chat.v1"]);
    assert_eq!(seen["sec-websocket-version"], ["13"]);
    assert_eq!(seen["cookie"], ["session=1"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_requests_are_not_steered() -> Result<()> {
    // The filter would leave the first two alone.
    let stage = Stage::start(preloaded(4, &[1_000, 1_000, 0, 0]), every(200)).await?;
    stage.until_usable(4)?;
    let http = Http::new();
    let url = format!("http://{}/index.html?a=b", stage.envoy.address());
    let mut shares: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..200 {
        let answer = block_in_place(|| http.get(&url))?;
        let seen: RequestSeen = serde_json::from_str(&answer)?;
        assert_eq!((&*seen.method, &*seen.path), ("GET", "/index.html?a=b"));
        assert!(
            !seen.headers.contains_key("x-gateway-destination-endpoint"),
            "{seen:?}"
        );
        *shares.entry(seen.pod_name).or_default() += 1;
    }
    // 50 each, on average; 20 are five standard deviations from that.
    assert_eq!(shares.len(), 4, "{shares:?}");
    assert!(shares.values().all(|&share| share >= 20), "{shares:?}");
    for name in ["balanced", "fallback", "rejected", "retried"] {
        assert_eq!(stage.stat(&format!("upgrades_{name}"))?, 0, "{name}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_and_frames_pass_unchanged() -> Result<()> {
    let mut pod = RecordingPod::start().await?;
    let sample = every(200)(Sample::standard()?.pods(&[pod.address]));
    let envoy = block_in_place(|| Envoy::start(&sample))?;
    block_in_place(|| envoy.wait_for_filter_stat("pods_usable", |usable| usable == 1, PATIENCE))?;

    let lines = [
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-extensions: permessage-deflate; client_max_window_bits, x-future; a=\"b c\"",
        "sec-websocket-protocol: chat.v2, chat.v1",
        "origin: https://chat.example",
        "cookie: session=1; theme=dark",
        "authorization: Bearer dGVzdA==",
    ];
    let request = format!(
        "GET /chat?room=7 HTTP/1.1\r\nhost: chat.example\r\nupgrade: websocket\r\n\
         connection: Upgrade\r\n{}\r\n\r\n",
        lines.join("\r\n")
    );
    let mut client = BufReader::new(TcpStream::connect(envoy.address()).await?);
    client.write_all(request.as_bytes()).await?;
    let answer = read_head(&mut client).await?;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    for line in RecordingPod::ANSWER {
        assert!(
            answer.lines().any(|seen| seen == line),
            "{line:?} in\n{answer}"
        );
    }
    let seen = pod.handshakes.recv().await.context("a handshake")?;
    assert!(seen.starts_with("GET /chat?room=7 HTTP/1.1\r\n"), "{seen}");
    for line in lines.into_iter().chain(["host: chat.example"]) {
        assert_eq!(
            seen.lines().filter(|seen| *seen == line).count(),
            1,
            "{line:?} in\n{seen}"
        );
    }

    let frames = odd_frames();
    let (mut reader, mut writer) = tokio::io::split(client);
    let mut echo = vec![0; frames.len()];
    // Both at once: no buffer on the way holds all of it.
    tokio::try_join!(writer.write_all(&frames), reader.read_exact(&mut echo))?;
    assert!(echo == frames, "what comes back differs");
    Ok(())
}

/// As where a mesh and a team both configure it.
#[tokio::test(flavor = "multi_thread")]
async fn two_filters_in_one_chain_count_a_websocket_once() -> Result<()> {
    let change = |sample| with_second_filter(seldom(sample));
    let stage = Stage::start(FleetConfig::local(2), change).await?;
    stage.until_usable(2)?;
    let mut held = stage.load(20, 0)?.open().await;
    assert_all_well(&held.report());
    assert_eq!(stage.counts(), [10, 10]);
    stage.until_stat("upgrades_balanced", |balanced| balanced == 20)?;
    let url = stage.status_url()? + "?format=json";
    let own = |status: &Value| status["services"][0]["ownConnections"].clone();
    // What is open is told with each worker's next tick.
    let until_open = |count: u64| {
        block_in_place(|| {
            wait_until("so many WebSockets", PATIENCE, || {
                (own(&get_json(&url).ok()?) == count).then_some(())
            })
        })
    };
    until_open(20)?;
    assert_eq!(held.exchange(1).await.verified, 20);
    drop(held);
    until_open(0)
}

/// Envoy keeps the stream open for as long as the client stays, or the route's timeout lets it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_keeps_the_upgrade_header_settles_the_handshake() -> Result<()> {
    let mut pod = RecordingPod::answering("426 Upgrade Required").await?;
    let sample = every(200)(Sample::standard()?.pods(&[pod.address]));
    let envoy = block_in_place(|| Envoy::start(&sample))?;
    block_in_place(|| envoy.wait_for_filter_stat("pods_usable", |usable| usable == 1, PATIENCE))?;
    let mut client = BufReader::new(TcpStream::connect(envoy.address()).await?);
    let request = "GET /chat HTTP/1.1\r\nhost: chat\r\nupgrade: websocket\r\n\
        connection: upgrade\r\nsec-websocket-version: 12\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(request.as_bytes()).await?;
    let answer = read_head(&mut client).await?;
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    assert!(answer.contains("\r\nupgrade: websocket\r\n"), "{answer}");
    pod.handshakes.recv().await.context("a handshake")?;
    let status = envoy.listener("status").context("a listener")?;
    let url = format!("http://{status}/balancer-metrics?format=json");
    let pods = get_json(&url)?["podMetrics"]["chat"].clone();
    assert_eq!(pods[0]["inFlight"], 0, "{pods}");
    assert_eq!(pods[0]["ownConnections"], 0, "{pods}");
    // Envoy has not ended it meanwhile.
    assert_eq!(envoy.counter("http.websockets.downstream_rq_active")?, 1);
    Ok(())
}

/// Frames that only their ends may judge (RFC 6455, section 5.2), as clients mask them.
fn odd_frames() -> Vec<u8> {
    const MASK: [u8; 4] = [1, 2, 3, 4];
    let short = |first: u8| [&[first, 0x83][..], &MASK, b"abc"].concat();
    // A compressed text in three fragments with a ping in between, reserved bits, a reserved
    // opcode, an empty message.
    let mut frames = [
        short(0x41),
        short(0x00),
        short(0x89),
        short(0x80),
        short(0xb2),
        short(0x83),
        [&[0x82, 0x80][..], &MASK].concat(),
    ]
    .concat();
    let mut payload = vec![0; 4 << 20];
    fastrand::Rng::with_seed(7).fill(&mut payload);
    frames.extend([0x82, 0x80 | 127]);
    frames.extend((4_u64 << 20).to_be_bytes());
    frames.extend(MASK);
    frames.append(&mut payload);
    frames
}

/// A pod that knows nothing of WebSockets: it tells what it was sent, and sends the rest back.
struct RecordingPod {
    address: SocketAddr,
    /// Heads of handshakes.
    handshakes: mpsc::UnboundedReceiver<String>,
}

impl RecordingPod {
    /// What it says to a handshake.
    const ANSWER: [&str; 3] = [
        "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "sec-websocket-extensions: permessage-deflate; client_max_window_bits=10",
        "sec-websocket-protocol: chat.v1",
    ];

    async fn start() -> Result<Self> {
        Self::answering("101 Switching Protocols").await
    }

    /// One that says this to a handshake, with all that belongs to a 101.
    async fn answering(status: &'static str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (heads, handshakes) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Self::serve(stream, heads.clone(), status));
            }
        });
        Ok(Self {
            address,
            handshakes,
        })
    }

    async fn serve(
        stream: TcpStream,
        heads: mpsc::UnboundedSender<String>,
        status: &str,
    ) -> Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let head = read_head(&mut stream).await?;
            ensure!(!head.is_empty(), "the connection has ended");
            if head.starts_with("GET /metric ") {
                let body = r#"{"agentsConnections": 0}"#;
                let length = body.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).await?;
                continue;
            }
            heads.send(head)?;
            let answer = format!(
                "HTTP/1.1 {status}\r\nupgrade: websocket\r\nconnection: upgrade\r\n{}\r\n\r\n",
                Self::ANSWER.join("\r\n")
            );
            stream.write_all(answer.as_bytes()).await?;
            let (mut reader, mut writer) = tokio::io::split(stream);
            tokio::io::copy(&mut reader, &mut writer).await?;
            return Ok(());
        }
    }
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await? > 0 {}
    Ok(head)
}

/// An HTTP/2 connection without TLS, by prior knowledge (RFC 9113, section 3.3).
async fn connect_http2(address: SocketAddr) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await?;
    let (client, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(connection);
    let client = client.ready().await?;
    // The server's settings say whether it takes extended CONNECT.
    block_in_place(|| {
        wait_until("extended CONNECT", PATIENCE, || {
            client.is_extended_connect_protocol_enabled().then_some(())
        })
    })?;
    Ok(client)
}

/// A WebSocket on a stream of HTTP/2 (RFC 8441).
struct Http2Socket {
    sending: SendStream<Bytes>,
    receiving: RecvStream,
}

impl Http2Socket {
    async fn open(client: SendRequest<Bytes>) -> Result<Self> {
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri("http://chat/chat")
            .header("sec-websocket-version", "13")
            .extension(Protocol::from_static("websocket"))
            .body(())?;
        let (answer, sending) = client.ready().await?.send_request(request, false)?;
        let answer = answer.await?;
        assert_eq!(answer.status(), StatusCode::OK);
        // It answers a key, and the client sent none.
        let headers = answer.headers();
        assert!(!headers.contains_key("sec-websocket-accept"), "{headers:?}");
        Ok(Self {
            sending,
            receiving: answer.into_body(),
        })
    }

    /// Sends a short message, and checks that it comes back.
    async fn echo(&mut self, message: &[u8]) -> Result<()> {
        let length = u8::try_from(message.len())?;
        ensure!(length < 126, "longer messages have another header");
        // A mask of zeros leaves the message as it is.
        let sent = [&[0x82, 0x80 | length, 0, 0, 0, 0], message].concat();
        self.sending.send_data(sent.into(), false)?;
        let expected = [&[0x82, length], message].concat();
        let mut received = Vec::new();
        while received.len() < expected.len() {
            let data = self
                .receiving
                .data()
                .await
                .context("the stream has ended")??;
            self.receiving.flow_control().release_capacity(data.len())?;
            received.extend(data);
        }
        assert_eq!(received, expected);
        Ok(())
    }
}
