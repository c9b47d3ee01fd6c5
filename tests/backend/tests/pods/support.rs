//! What all tests need: a fleet, and clients that tell exactly what came back.

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};
use wsbalancer_backend::{Fleet, FleetConfig, Pod};

/// A client's side of a WebSocket.
pub(crate) type Socket = WebSocketStream<TcpStream>;

/// What an HTTP request has brought.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// What the body is said to be.
    pub(crate) fn content_type(&self) -> &str {
        self.headers[header::CONTENT_TYPE].to_str().expect("text")
    }
}

/// A fleet with a control endpoint.
pub(crate) async fn start(pods: usize) -> Fleet {
    let mut config = FleetConfig::local(pods);
    config.control = Some("127.0.0.1:0".parse().unwrap());
    Fleet::start(config).await.expect("the fleet starts")
}

/// Opens a WebSocket on some path of a pod.
pub(crate) async fn open(pod: &Pod) -> Socket {
    let stream = TcpStream::connect(pod.address()).await.unwrap();
    let request = format!("ws://{}/chat?room=1", pod.address()).into_client_request();
    let (socket, _) = client_async(request.unwrap(), stream).await.unwrap();
    socket
}

/// Asserts that a message comes back.
pub(crate) async fn assert_echo(socket: &mut Socket, message: Message) {
    use futures_util::{SinkExt, StreamExt};
    socket.send(message.clone()).await.unwrap();
    let echo = socket.next().await.unwrap().unwrap();
    assert!(echo == message, "another message came back");
}

/// An HTTP client that keeps its connections.
pub(crate) fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

/// Sends one request on a connection of its own.
pub(crate) async fn request(method: Method, url: String, body: impl Into<Bytes>) -> Answer {
    let request = Request::builder().method(method).uri(url);
    let request = request.body(Full::new(body.into())).unwrap();
    let response = client().request(request).await.unwrap();
    Answer {
        status: response.status(),
        headers: response.headers().clone(),
        body: response.into_body().collect().await.unwrap().to_bytes(),
    }
}

/// Polls a pod's count once.
pub(crate) async fn poll(pod: &Pod) -> Answer {
    let url = format!("http://{}/metric", pod.address());
    request(Method::GET, url, "").await
}
