//! Echo, handshakes, and what a pod remembers of them.

use axum::extract::ws::CloseCode;
use axum::http::{Method, Request, StatusCode, Version};
use futures_util::{SinkExt, StreamExt, poll};
use http_body_util::Empty;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as Code;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async, client_async_with_config};
use wsbalancer_backend::{HandshakeBehavior, Pod};

use crate::support::{assert_echo, open, request, start};

#[tokio::test]
async fn echoes_text_and_binary_and_answers_pings() {
    let fleet = start(1).await;
    let mut socket = open(&fleet.pods()[0]).await;
    assert_echo(&mut socket, Message::text("žluťoučký kůň")).await;
    assert_echo(&mut socket, Message::binary(vec![0, 255, 128])).await;
    assert_echo(&mut socket, Message::text("")).await;
    socket.send(Message::Ping("who".into())).await.unwrap();
    let pong = socket.next().await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong("who".into()));
}

#[tokio::test]
async fn echoes_64_mebibytes_in_one_frame() {
    const SIZE: usize = 64 * 1024 * 1024;
    let fleet = start(1).await;
    let address = fleet.pods()[0].address();
    let stream = TcpStream::connect(address).await.unwrap();
    let unlimited = WebSocketConfig::default()
        .max_message_size(None)
        .max_frame_size(None);
    let (mut socket, _) =
        client_async_with_config(format!("ws://{address}/"), stream, Some(unlimited))
            .await
            .unwrap();
    assert_echo(&mut socket, Message::Binary(Bytes::from(vec![7; SIZE]))).await;
}

#[tokio::test]
async fn answers_a_close_frame_with_its_code() {
    let fleet = start(1).await;
    let mut socket = open(&fleet.pods()[0]).await;
    let goodbye = CloseFrame {
        code: Code::Library(4321),
        reason: "done".into(),
    };
    socket.close(Some(goodbye)).await.unwrap();
    let Message::Close(Some(answer)) = socket.next().await.unwrap().unwrap() else {
        panic!("not a close frame");
    };
    assert_eq!(CloseCode::from(answer.code), 4321);
    assert!(socket.next().await.is_none());
}

#[tokio::test]
async fn chooses_the_first_protocol_and_remembers_the_handshake() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    assert_eq!(pod.last_handshake(), None);

    let mut handshake = format!("ws://{}/", pod.address())
        .into_client_request()
        .unwrap();
    let headers = handshake.headers_mut();
    headers.insert("sec-websocket-protocol", "zulu, alpha".parse().unwrap());
    headers.append("x-tag", "one".parse().unwrap());
    headers.append("x-tag", "two".parse().unwrap());
    let stream = TcpStream::connect(pod.address()).await.unwrap();
    let (_socket, response) = client_async(handshake, stream).await.unwrap();

    assert_eq!(response.headers()["sec-websocket-protocol"], "zulu");
    let remembered = pod.last_handshake().unwrap();
    assert_eq!(remembered["x-tag"], ["one", "two"]);
    assert_eq!(remembered["upgrade"], ["websocket"]);
}

#[tokio::test]
async fn describes_every_other_request() {
    let fleet = start(2).await;
    let url = format!("http://{}/some/path?a=1", fleet.pods()[1].address());
    let answer = request(Method::POST, url, vec![b'x'; 1_000_000]).await;
    assert_eq!(answer.status, StatusCode::OK);
    let seen = answer.json();
    assert_eq!(seen["podName"], "pod-1");
    assert_eq!(seen["method"], "POST");
    assert_eq!(seen["path"], "/some/path?a=1");
    assert_eq!(seen["headers"]["content-length"][0], "1000000");
}

async fn shake_hands(pod: &Pod) -> Result<(), Error> {
    let stream = TcpStream::connect(pod.address()).await.unwrap();
    client_async(format!("ws://{}/", pod.address()), stream)
        .await
        .map(drop)
}

#[tokio::test]
async fn refuses_a_handshake_with_the_status_it_is_told() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    pod.answer_handshake(HandshakeBehavior::Status(StatusCode::SERVICE_UNAVAILABLE));
    let Err(Error::Http(response)) = shake_hands(pod).await else {
        panic!("the handshake was not refused");
    };
    assert_eq!(response.status(), 503);
    let counters = pod.counters();
    assert_eq!((counters.handshakes, counters.opened), (1, 0));
}

#[tokio::test]
async fn ends_a_websocket_after_the_time_it_is_told() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    pod.answer_handshake("end:20ms".parse().unwrap());
    shake_hands(pod).await.unwrap();
    let counters = pod
        .until(|counters| counters.opened == 1 && counters.open == 0)
        .await
        .unwrap();
    assert_eq!(counters.handshakes, 1);
}

/// Whatever the pod does with others, and nothing where the path says nothing.
#[tokio::test]
async fn a_handshake_says_itself_what_becomes_of_it() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    for (path, status) in [("handshake/status:503", 503), ("handshake/none", 101)] {
        let stream = TcpStream::connect(pod.address()).await.unwrap();
        let url = format!("ws://{}/{path}", pod.address());
        let found = match client_async(url, stream).await {
            Ok((_socket, response)) => response.status(),
            Err(Error::Http(response)) => response.status(),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(found, status, "{path}");
    }
}

#[tokio::test]
async fn leaves_a_handshake_without_an_answer() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    pod.answer_handshake(HandshakeBehavior::Hang);
    let mut hanging = std::pin::pin!(shake_hands(pod));
    tokio::select! {
        asked = pod.until(|counters| counters.handshakes == 1) => { asked.unwrap(); }
        _ = hanging.as_mut() => panic!("the handshake was answered"),
    }
    pod.answer_handshake(HandshakeBehavior::Accept);
    shake_hands(pod).await.unwrap();
    assert!(poll!(hanging).is_pending());
}

#[tokio::test]
async fn a_handshake_without_its_key_is_a_bad_request() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    let handshake = Request::builder()
        .uri(format!("http://{}/", pod.address()))
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .body(http_body_util::Full::default())
        .unwrap();
    let response = crate::support::client().request(handshake).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(pod.opened(), 0);
}

#[tokio::test]
async fn many_websockets_share_an_http2_connection() {
    let fleet = start(1).await;
    let pod = &fleet.pods()[0];
    let stream = TcpStream::connect(pod.address()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);

    // The first answer comes after the settings that allow extended CONNECT.
    let url = format!("http://{}/", pod.address());
    let plain = Request::get(&url).body(Empty::<Bytes>::new()).unwrap();
    let answer = sender.send_request(plain).await.unwrap();
    assert_eq!(answer.version(), Version::HTTP_2);

    let mut sockets = Vec::new();
    for _ in 0..3 {
        let handshake = Request::connect(&url)
            .extension(Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .body(Empty::new())
            .unwrap();
        let answer = sender.send_request(handshake).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let upgraded = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        sockets.push(WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await);
    }
    assert_eq!(pod.open(), 3);
    for socket in &mut sockets {
        socket
            .send(Message::text("over one connection"))
            .await
            .unwrap();
        let echo = socket.next().await.unwrap().unwrap();
        assert_eq!(echo, Message::text("over one connection"));
    }

    sockets.pop();
    pod.until(|counters| counters.open == 2).await.unwrap();
    pod.drop_connections().await;
    for mut socket in sockets {
        let end = socket.next().await;
        assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    }
    assert_eq!(pod.open(), 0);
}
