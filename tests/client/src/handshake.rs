//! One opening handshake: TCP, TLS where the URL asks for it, and the upgrade.
//!
//! A handshake that fails ends as a reason in words that is the same for all that fail the
//! same way, so that reasons can be counted.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderValue, Request, header};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Error};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use crate::load::Load;
use crate::tls;

/// An open WebSocket.
pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Allocated for every connection as long as it is open: with the library's default of
/// 128 KiB, 20,000 connections would take more than 2 GiB.
const READ_BUFFER_BYTES: usize = 4096;
/// So much of what a gateway says about its refusal is told.
const LONGEST_EXPLANATION: usize = 80;

/// Everything the handshakes of a load have in common, prepared once.
pub(crate) struct Handshaker {
    addresses: Vec<SocketAddr>,
    request: Request<()>,
    connector: Connector,
    timeout: Duration,
}

impl Handshaker {
    /// Resolves the host and prepares the request; an error is the reason why no
    /// connection of this load can succeed.
    pub(crate) async fn prepare(load: &Load) -> Result<Self, String> {
        let addresses = lookup_host(load.target.address())
            .await
            .map_err(|error| format!("resolve {}: {error}", load.target.address()))?
            .collect();
        let connector = if load.target.is_tls() {
            Connector::Rustls(tls::configure(load.insecure))
        } else {
            Connector::Plain
        };
        Ok(Self {
            addresses,
            request: upgrade_request(load).map_err(|error| format!("request: {error}"))?,
            connector,
            timeout: load.connect_timeout,
        })
    }

    /// Opens one WebSocket and tells how long that took, or the reason why it failed.
    pub(crate) async fn shake_hands(&self) -> Result<(Socket, Duration), String> {
        let started = Instant::now();
        let socket = timeout(self.timeout, self.open()).await.map_err(|_| {
            format!(
                "handshake: not done within {}",
                humantime::format_duration(self.timeout)
            )
        })??;
        Ok((socket, started.elapsed()))
    }

    async fn open(&self) -> Result<Socket, String> {
        let stream = TcpStream::connect(self.addresses.as_slice())
            .await
            .map_err(|error| format!("connect: {error}"))?;
        // Nagle's algorithm would add the peer's delayed acknowledgement to every latency.
        stream
            .set_nodelay(true)
            .map_err(|error| format!("connect: {error}"))?;
        let (socket, _response) = client_async_tls_with_config(
            fresh(&self.request)?,
            stream,
            Some(WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES)),
            Some(self.connector.clone()),
        )
        .await
        .map_err(|error| format!("handshake: {}", explain(&error)))?;
        Ok(socket)
    }
}

/// The request with a key of its own, as RFC 6455, section 4.1, demands.
fn fresh(request: &Request<()>) -> Result<Request<()>, String> {
    let mut request = request.clone();
    let key = tungstenite::handshake::client::generate_key();
    let key = HeaderValue::try_from(key).map_err(|error| format!("request: {error}"))?;
    request.headers_mut().insert(header::SEC_WEBSOCKET_KEY, key);
    Ok(request)
}

fn upgrade_request(load: &Load) -> Result<Request<()>, Error> {
    let mut request = load.target.uri().clone().into_client_request()?;
    for (name, value) in &load.headers {
        if name == header::HOST {
            // There is one host: the user's stands in for that of the URL.
            request.headers_mut().insert(name, value.clone());
        } else {
            request.headers_mut().append(name, value.clone());
        }
    }
    if !load.subprotocols.is_empty() {
        let names = HeaderValue::try_from(load.subprotocols.join(", "))?;
        request
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, names);
    }
    Ok(request)
}

/// The error in words; for a refusal, its status and the start of what it says.
pub(crate) fn explain(error: &Error) -> String {
    match error {
        Error::Io(error) => error.to_string(),
        Error::Protocol(error) => error.to_string(),
        Error::Http(response) => {
            let status = response.status();
            match response.body().as_deref().and_then(first_line) {
                Some(line) => format!("{status}: {line}"),
                None => status.to_string(),
            }
        }
        other => other.to_string(),
    }
}

fn first_line(body: &[u8]) -> Option<String> {
    let line = str::from_utf8(body).ok()?.lines().next()?.trim();
    (!line.is_empty()).then(|| line.chars().take(LONGEST_EXPLANATION).collect())
}
