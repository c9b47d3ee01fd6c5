//! Small real servers for the client to talk to: WebSockets that behave or misbehave.
//!
//! Every server listens on a port of its own and shows what it saw in [`watch`] channels, so
//! that tests wait for what they expect instead of for a time.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::http::StatusCode;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_util::sync::CancellationToken;

/// What a server does with the messages it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// It sends each back.
    Echo,
    /// It sends each back with its last byte changed.
    Garble,
    /// It sends none back.
    Swallow,
    /// It closes the WebSocket with code 1011 instead.
    HangUp,
    /// It sends each back, and a ping as soon as the WebSocket is open.
    Ping,
}

/// A server of WebSockets.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    conduct: Conduct,
    /// WebSockets that are open.
    pub(crate) open: watch::Sender<usize>,
    /// Codes of the Close frames that came; 1005 for one without a code.
    pub(crate) closings: watch::Sender<Vec<u16>>,
    /// Pongs that came.
    pub(crate) pongs: watch::Sender<usize>,
    /// Headers of the upgrades that came.
    pub(crate) upgrades: watch::Sender<Vec<HeaderMap>>,
    /// Once cancelled, the server closes all WebSockets with code 1001.
    pub(crate) shutdown: CancellationToken,
}

impl Server {
    /// Starts a server without TLS.
    pub(crate) async fn start(conduct: Conduct) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let server = Self::new(conduct, listener.local_addr().expect("an address"));
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        server
    }

    /// Starts a server with TLS.
    pub(crate) async fn start_tls(conduct: Conduct, acceptor: tokio_rustls::TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let server = Self::new(conduct, listener.local_addr().expect("an address"));
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (serving, acceptor) = (serving.clone(), acceptor.clone());
                tokio::spawn(async move {
                    // A client that distrusts the certificate leaves here.
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serving.serve(stream).await;
                    }
                });
            }
        });
        server
    }

    fn new(conduct: Conduct, address: SocketAddr) -> Self {
        Self {
            address,
            conduct,
            open: watch::Sender::new(0),
            closings: watch::Sender::default(),
            pongs: watch::Sender::new(0),
            upgrades: watch::Sender::default(),
            shutdown: CancellationToken::new(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/agents", self.address)
    }

    /// Waits until the server has so many Close frames, and returns their codes.
    pub(crate) async fn closings(&self, count: usize) -> Vec<u16> {
        wait_for(&self.closings, |codes| codes.len() >= count).await
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S) {
        #[expect(
            clippy::result_large_err,
            reason = "the library's callback has this type"
        )]
        let upgrade = |request: &Request, mut response: Response| {
            self.upgrades
                .send_modify(|upgrades| upgrades.push(request.headers().clone()));
            if let Some(offered) = request.headers().get("Sec-WebSocket-Protocol") {
                let first = offered.as_bytes().split(|&byte| byte == b',').next();
                let chosen = HeaderValue::from_bytes(first.unwrap_or_default());
                let chosen = chosen.expect("a part of a header's value");
                response
                    .headers_mut()
                    .insert("Sec-WebSocket-Protocol", chosen);
            }
            Ok(response)
        };
        // A client that went away during the handshake is none of this server's business.
        if let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, upgrade).await {
            self.open.send_modify(|open| *open += 1);
            self.converse(socket).await;
            self.open.send_modify(|open| *open -= 1);
        }
    }

    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(&self, mut socket: WebSocketStream<S>) {
        if self.conduct == Conduct::Ping {
            let ping = Message::Ping(Bytes::from_static(b"are you there?"));
            socket.send(ping).await.expect("a client that is there");
        }
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => {
                    let frame = CloseFrame { code: CloseCode::Away, reason: "shutting down".into() };
                    // The client may be gone already, and then nothing is left to close.
                    let _ = socket.close(Some(frame)).await;
                    while let Some(Ok(_)) = socket.next().await {}
                    return;
                }
                message = socket.next() => match message {
                    Some(Ok(Message::Close(frame))) => {
                        let code = frame.map_or(1005, |frame| frame.code.into());
                        self.closings.send_modify(|codes| codes.push(code));
                    }
                    Some(Ok(Message::Pong(_))) => self.pongs.send_modify(|pongs| *pongs += 1),
                    Some(Ok(_)) if self.conduct == Conduct::HangUp => {
                        let frame = CloseFrame { code: CloseCode::Error, reason: "".into() };
                        socket.close(Some(frame)).await.expect("a client that waits");
                    }
                    Some(Ok(message)) => {
                        if let Some(answer) = self.answer(message)
                            && socket.send(answer).await.is_err()
                        {
                            return;
                        }
                    }
                    Some(Err(_)) | None => return,
                },
            }
        }
    }

    fn answer(&self, message: Message) -> Option<Message> {
        match self.conduct {
            Conduct::Echo | Conduct::Ping => Some(message),
            Conduct::Garble => {
                let mut bytes = message.into_data().to_vec();
                *bytes.last_mut().expect("a message that is not empty") ^= 1;
                Some(Message::binary(bytes))
            }
            Conduct::Swallow | Conduct::HangUp => None,
        }
    }
}

/// Starts a gateway that refuses everything with a status and a body.
pub(crate) async fn start_refusing(status: StatusCode, body: &'static str) -> SocketAddr {
    serve_http(Router::new().fallback(move || async move { (status, body) })).await
}

/// An address where nobody listens, and nobody else can as long as this value lives.
pub(crate) struct Deserted {
    pub(crate) address: SocketAddr,
    _bound: TcpSocket,
}

impl Deserted {
    pub(crate) fn reserve() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(any_port).expect("a free port");
        let address = socket.local_addr().expect("an address");
        Self {
            address,
            _bound: socket,
        }
    }
}

/// Waits until `condition` holds for what the channel shows, and returns that.
pub(crate) async fn wait_for<T: Clone>(
    channel: &watch::Sender<T>,
    mut condition: impl FnMut(&T) -> bool,
) -> T {
    let mut watcher = channel.subscribe();
    let seen = watcher
        .wait_for(|value| condition(value))
        .await
        .expect("the channel is open");
    seen.clone()
}

/// Starts a server of HTTP.
pub(crate) async fn serve_http(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
